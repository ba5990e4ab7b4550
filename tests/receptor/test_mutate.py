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
from esr1md.receptor.quality import assess
from esr1md.receptor.relax import FORCE_FIELD, build_system
from esr1md.receptor.repack import repack
from esr1md.receptor.sequence import parse_variant
from esr1md.receptor.settle import Candidate, settle
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
