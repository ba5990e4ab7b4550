"""Mutations: deletions closed, side chains chosen with their neighbours, the pocket left alone."""

from __future__ import annotations

import gemmi
import numpy as np
import pytest
from openmm import app

from esr1md.errors import StageError
from esr1md.receptor.build import build_receptor
from esr1md.receptor.frame import (
    HELIX12,
    POCKET_RESIDUES,
    alpha_carbons,
    bundled_model,
    helix12_state,
    superpose_core,
)
from esr1md.receptor.mutate import mutate, mutations_that_meet
from esr1md.receptor.prepare import load_model
from esr1md.receptor.quality import assess, ramachandran
from esr1md.receptor.relax import FORCE_FIELD, build_system
from esr1md.receptor.repack import repack
from esr1md.receptor.residues import chi1_rarity
from esr1md.receptor.sequence import parse_variant
from esr1md.receptor.settle import Candidate, backbone_torsions, is_n_cap, outliers, settle
from esr1md.receptor.sidechain import nonbonded_parameters
from esr1md.specs import Mutation

STATES = ("agonist", "antagonist")


def chain_of(state: str) -> gemmi.Chain:
    return gemmi.read_structure(str(bundled_model(state)))[0][0].clone()


def position(chain, number, name) -> np.ndarray:
    return np.array(chain[str(number)][0][name][0].pos.tolist())


@pytest.mark.slow
@pytest.mark.parametrize("state", STATES)
def test_v422del_is_really_built(state, tmp_path):
    model = build_receptor(parse_variant("V422del"), state, tmp_path)
    chain = gemmi.read_structure(str(model.pdb))[0][0]
    numbers = [residue.seqid.num for residue in chain]
    assert numbers == [n for n in range(305, 552) if n != 422]
    bond = np.linalg.norm(position(chain, 421, "C") - position(chain, 423, "N"))
    assert bond == pytest.approx(1.335, abs=0.04)
    omega = np.degrees(gemmi.calculate_omega(chain["421"][0], chain["423"][0]))
    assert abs(omega) > 155
    for one, two, three, ideal in (
        (("CA", 421), ("C", 421), ("N", 423), 117),
        (("C", 421), ("N", 423), ("CA", 423), 122),
    ):
        a, b, c = (position(chain, n, name) for name, n in (one, two, three))
        cosine = np.dot(a - b, c - b) / np.linalg.norm(a - b) / np.linalg.norm(c - b)
        assert np.degrees(np.arccos(cosine)) == pytest.approx(ideal, abs=8)
    quality, parent = model.quality, assess(bundled_model(state))
    assert quality["problems"] == [] and quality["chain_breaks"] == 0
    assert set(quality["details"]["ramachandran_outliers"]) <= set(parent["details"]["ramachandran_outliers"])
    assert set(quality["details"]["clashes"]) <= set(parent["details"]["clashes"])
    assert any("V422del: residue removed" in step for step in model.steps)
    # OpenMM bonds 421 to 423 and finds templates for everything
    pdb = app.PDBFile(str(model.pdb))
    bonds = {(a.residue.id, b.residue.id) for a, b in pdb.topology.bonds() if a.name == "C" and b.name == "N"}
    assert ("421", "423") in bonds
    app.ForceField(FORCE_FIELD).createSystem(pdb.topology)
    # the core and helix 12 stay
    before = alpha_carbons(chain_of(state))
    assert superpose_core(alpha_carbons(chain), before)[2] < 0.6
    assert helix12_state(alpha_carbons(chain)) == state
    assert max(np.linalg.norm(position(chain, n, "CA") - before[n]) for n in HELIX12) < 0.05


def test_nothing_is_deleted_that_is_not_there():
    model = load_model(bundled_model("agonist").read_text())
    with pytest.raises(StageError, match="cannot build Y537S: the model has TYR there|cannot build S537Y"):
        mutate(model, (Mutation(537, "S", "Y"),), chain_of("agonist"))


@pytest.mark.slow
def test_a_model_without_the_residue_is_refused(tmp_path):
    model = build_receptor(parse_variant("V422del"), "agonist", tmp_path)
    with pytest.raises(StageError, match="cannot build V422I: the model has no residue there"):
        mutate(load_model(model.pdb.read_text()), (Mutation(422, "V", "I"),), chain_of("agonist"))


@pytest.mark.parametrize("name", ["F404L", "E380Q"])
def test_pocket_side_chains_stay_where_the_ligand_held_them(name, tmp_path):
    """The models are built without their ligand, whose place a free side chain would fill."""
    variant = parse_variant(name)
    model = build_receptor(variant, "antagonist", tmp_path)
    before, after = chain_of("antagonist"), gemmi.read_structure(str(model.pdb))[0][0]
    for number in set(POCKET_RESIDUES) - {m.position for m in variant.mutations}:
        heavy = [atom.name for atom in before[str(number)][0] if not atom.is_hydrogen()]
        apart = [position(before, number, a) - position(after, number, a) for a in heavy]
        assert np.sqrt(np.mean(np.square(apart).sum(axis=1))) < 0.6, number


def test_neighbours_make_room(tmp_path):
    """A tryptophan in place of A340 does not fit unless its neighbours turn."""
    model = build_receptor(parse_variant("A340W"), "antagonist", tmp_path)
    assert model.quality["problems"] == []
    assert model.quality["details"]["clashes"] == []
    assert "side chains chosen" in "; ".join(model.steps)


@pytest.mark.parametrize(
    ("name", "groups"),
    [
        ("Y537S+D538G", [["Y537S", "D538G"]]),
        ("E380Q+F404L", [["E380Q"], ["F404L"]]),
        ("E380Q+L536S+Y537S", [["E380Q", "L536S", "Y537S"]]),
    ],
)
def test_mutations_that_meet_are_made_together(name, groups):
    """In the antagonist state 380 and 536 meet: one choice of rotamers has to suit both."""
    model = load_model(bundled_model("antagonist").read_text())
    found = mutations_that_meet(model, list(parse_variant(name).mutations))
    assert sorted(sorted(map(str, group)) for group in found) == sorted(sorted(group) for group in groups)


def test_a_neighbour_that_is_well_placed_is_left_alone():
    model = load_model(bundled_model("antagonist").read_text())
    parameters = nonbonded_parameters(build_system(model.topology))
    best = repack(model.topology, parameters, model.positions, [], [353, 384, 387, 391, 428], 1)[0]
    assert np.abs(best - model.positions).max() < 1e-9


def test_repacking_finds_a_side_chain_that_was_turned_into_another():
    """Leu387 put into a clash: with its true conformation on the grid's list it returns to its own rotamer."""
    model = load_model(bundled_model("antagonist").read_text())
    parameters = nonbonded_parameters(build_system(model.topology))
    atoms = {a.name: a.index for a in model.topology.atoms() if a.residue.id == "391"}
    found = repack(model.topology, parameters, model.positions, [391], [], 1)[0]
    apart = 10 * np.linalg.norm(found[atoms["CG"]] - model.positions[atoms["CG"]])
    assert apart < 1.0


def test_settling_chooses_the_lower_energy():
    """Of the model and the model with one side chain pushed into its neighbours, the model."""
    model = load_model(bundled_model("agonist").read_text(), ["start"])
    atoms = [
        a.index
        for a in model.topology.atoms()
        if a.residue.id == "404" and a.name not in ("N", "CA", "C", "O", "H", "HA")
    ]
    pushed = model.positions.copy()
    pushed[atoms] += 0.15
    candidates = [Candidate(model, pushed, "pushed"), Candidate(model, model.positions, "as it is")]
    chosen = settle(model, build_system(model.topology), candidates, {404}, set())
    assert chosen.steps[0] == "start" and chosen.steps[-1].startswith("as it is: best of 2")
    # a handicap larger than the difference turns the choice round
    candidates[1] = Candidate(model, model.positions, "as it is", handicap=1e5)
    assert settle(model, build_system(model.topology), candidates, {404}, set()).steps[-1].startswith("pushed")


@pytest.mark.slow
@pytest.mark.parametrize(("name", "state"), [("S463P", "antagonist"), ("V534E", "displaced"), ("P535H", "antagonist")])
def test_no_new_ramachandran_outlier_at_a_mutation(name, state, tmp_path):
    """Positions where the backbone that is there does not suit the new residue."""
    variant = parse_variant(name)
    found = build_receptor(variant, state, tmp_path).quality["details"]["ramachandran_outliers"]
    known = {outlier.split()[0][3:] for outlier in assess(bundled_model(state))["details"]["ramachandran_outliers"]}
    new = {int(outlier.split()[0][3:]) for outlier in found if outlier.split()[0][3:] not in known}
    site = variant.mutations[0].position
    assert not new & set(range(site - 4, site + 5))


@pytest.mark.parametrize("state", STATES)
def test_torsions_and_outliers_are_those_that_quality_counts(state):
    model = load_model(bundled_model(state).read_text())
    torsions = backbone_torsions(model.topology, model.positions)
    counted = ramachandran([r for r in chain_of(state) if r.name not in ("ACE", "NME")])
    for label, _, phi, psi, _ in counted:
        assert torsions[int(label[3:])][1:] == pytest.approx((phi, psi), abs=0.05)
    assert {int(label[3:]) for label, *_, allowed in counted if not allowed} == outliers(torsions) & {
        int(label[3:]) for label, *_ in counted
    }


def test_tyrosine_537_starts_helix_12_of_the_agonist_state():
    model = load_model(bundled_model("agonist").read_text())
    torsions = backbone_torsions(model.topology, model.positions)
    assert is_n_cap(torsions, 537)
    assert not is_n_cap(torsions, 541)  # inside the helix
    assert not is_n_cap(torsions, 533)  # in the loop


def test_serine_before_a_helix_takes_the_rotamer_that_bonds_to_it():
    """Doig 1997: +60 for serine and threonine, -60 for residues that bond to nothing there."""
    serine = {chi: chi1_rarity("SER", chi, n_cap=True) for chi in (60, 180, -60)}
    assert serine[60] == 0 and min(serine[180], serine[-60]) > 1
    assert chi1_rarity("TYR", -60, n_cap=True) == 0 and chi1_rarity("TYR", 180, n_cap=True) > 1
    assert chi1_rarity("ASN", 60, n_cap=True) == chi1_rarity("ASN", 180, n_cap=True) == 0
    assert chi1_rarity("ALA", 60, n_cap=True) == 0  # no chi 1
