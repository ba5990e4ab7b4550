"""Quality numbers: a good model passes, each kind of damage is found and named."""

from __future__ import annotations

import math

import gemmi
import mdtraj
import numpy as np
import pytest

from esr1md.receptor.frame import bundled_model
from esr1md.receptor.geometry import ideal_geometry
from esr1md.receptor.quality import LIMITS, WORDS, assess, ramachandran_allowed
from esr1md.receptor.rotamer_library import _CENTRAL, _SYMMETRIC, _distance, rotamer
from esr1md.receptor.source import read_source


@pytest.fixture
def model() -> gemmi.Structure:
    return gemmi.read_structure(str(bundled_model("agonist")))


def residue(model, number):
    return model[0][0][str(number)][0]


def move(atom, to):
    atom.pos = gemmi.Position(*to)


@pytest.mark.parametrize("state", ["agonist", "antagonist"])
def test_bundled_models_pass(state):
    quality = assess(bundled_model(state))
    assert quality["problems"] == []
    assert (quality["residues"], quality["heavy_atoms"]) == (245, 1960)
    assert quality["clashes_per_1000_atoms"] < 1
    assert quality["chirality_errors"] == quality["chain_breaks"] == quality["missing_heavy_atoms"] == 0


def test_torsions_agree_with_mdtraj(model):
    trajectory = mdtraj.load(str(bundled_model("agonist")))
    _, phi = mdtraj.compute_phi(trajectory)
    residues = [r for r in model[0][0] if r.name not in ("ACE", "NME")]
    triples = zip(residues, residues[1:], residues[2:], strict=False)
    ours = [gemmi.calculate_phi_psi(*triple)[0] for triple in triples]
    # mdtraj counts the caps' peptide bonds too
    assert np.allclose(ours, phi[0][1 : len(ours) + 1], atol=1e-3)


def test_clash_is_found_and_named(model):
    target = residue(model, 391)["CD1"][0].pos
    move(residue(model, 531)["NZ"][0], (target.x + 1.0, target.y, target.z))
    quality = assess(model)
    assert quality["severe_clashes"] >= 1
    assert any("LYS531 NZ" in clash and "391" in clash for clash in quality["details"]["severe_clashes"])
    assert any("on top of each other" in problem for problem in quality["problems"])


def test_hydrogen_bonded_atoms_do_not_clash(model):
    """E353 and R394 hold the ligand together, 2.7 to 3 angstrom apart."""
    acid, base = residue(model, 353), residue(model, 394)
    nearest = min(acid[a][0].pos.dist(base[b][0].pos) for a in ("OE1", "OE2") for b in ("NE", "NH1", "NH2"))
    assert 2.4 < nearest < 4.5
    assert not any("GLU353 O" in c and "ARG394 N" in c for c in assess(model)["details"]["clashes"])


def test_mirror_image_residue_is_found(model):
    leucine = residue(model, 387)
    alpha, nitrogen, carbon, beta = (np.array(leucine[n][0].pos.tolist()) for n in ("CA", "N", "C", "CB"))
    normal = np.cross(nitrogen - alpha, carbon - alpha)
    normal /= np.linalg.norm(normal)
    move(leucine["CB"][0], beta - 2 * np.dot(beta - alpha, normal) * normal)
    assert assess(model)["details"]["chirality_errors"] == ["LEU387"]


def test_inverted_threonine_beta_carbon_is_found(model):
    threonine = residue(model, 347)
    assert threonine.name == "THR"
    one, two = threonine["OG1"][0].pos.tolist(), threonine["CG2"][0].pos.tolist()
    move(threonine["OG1"][0], two)
    move(threonine["CG2"][0], one)
    assert "THR347" in assess(model)["details"]["chirality_errors"]


def test_missing_atom_and_break_are_found(model):
    residue(model, 353).remove_atom("OE2", "\0", gemmi.Element("O"))
    chain = model[0][0]
    del chain[next(i for i, r in enumerate(chain) if r.seqid.num == 420)]
    quality = assess(model)
    assert quality["details"]["missing_heavy_atoms"] == ["GLU353 OE2"]
    assert quality["details"]["chain_breaks"] == ["GLU419-MET421"]
    assert len(quality["problems"]) == 2


def test_cis_peptide_is_found_unless_before_proline(model):
    chain = model[0][0]
    index = next(i for i, r in enumerate(chain) if r.seqid.num == 388)
    before, after = chain[index - 1], chain[index]
    axis_start, axis_end = (np.array(before["C"][0].pos.tolist()), np.array(after["N"][0].pos.tolist()))
    axis = (axis_end - axis_start) / np.linalg.norm(axis_end - axis_start)
    for later in list(chain)[index:]:
        for atom in later:
            arm = np.array(atom.pos.tolist()) - axis_start
            along = np.dot(arm, axis) * axis
            move(atom, axis_start + along - (arm - along))  # half a turn about the peptide bond
    assert abs(math.degrees(gemmi.calculate_omega(before, after))) < 20
    assert assess(model)["details"]["cis_peptides"] == ["LEU387-MET388"]


@pytest.mark.parametrize(
    ("phi", "psi", "name", "allowed"),
    [
        (-60, -45, "ALA", True), (-120, 130, "VAL", True), (-65, 145, "PRO", True), (57, 45, "ASN", True),
        (60, -130, "ALA", False), (60, -130, "GLY", True), (80, 170, "LEU", False), (-150, 60, "PRO", False),
        (-90, -120, "SER", False), (-170, 175, "THR", True), (100, 0, "ALA", False),
    ],
)  # fmt: skip
def test_ramachandran_regions(phi, psi, name, allowed):
    assert ramachandran_allowed(phi, psi, name) is allowed


def turned(residue: gemmi.Residue, names: tuple[str, ...], moving: tuple[str, ...], angle: float) -> None:
    """Turn the ``moving`` atoms so that the torsion ``names`` has ``angle`` degrees."""
    a, b, c, d = (residue[name][0].pos for name in names)
    now = math.degrees(gemmi.calculate_dihedral(a, b, c, d))
    axis = np.array((c - b).tolist()) / b.dist(c)
    by = math.radians(angle - now)
    for name in moving:
        arm = np.array((residue[name][0].pos - c).tolist())
        along = np.dot(arm, axis) * axis
        spun = along + math.cos(by) * (arm - along) + math.sin(by) * np.cross(axis, arm - along)
        move(residue[name][0], np.array(c.tolist()) + spun)


@pytest.mark.parametrize(
    ("angle", "outlier"), [(65, False), (-62, False), (176, False), (0, True), (120, True), (-120, True)]
)
def test_an_eclipsed_valine_is_a_rotamer_outlier(model, angle, outlier):
    valine = residue(model, 355)
    assert valine.name == "VAL"
    turned(valine, ("N", "CA", "CB", "CG1"), ("CG1", "CG2"), angle)
    found = assess(model)["details"]["rotamer_outliers"]
    assert any(label.startswith("VAL355 ") for label in found) is outlier
    name, distance, (chi,) = rotamer(valine)
    assert chi == pytest.approx(angle, abs=1e-6) and (distance > 1) is outlier


def test_every_rotamer_is_its_own_nearest():
    """Each central value is recognised; a flipped ring or carboxylate is the same."""
    for name, rotamers in _CENTRAL.items():
        for label, centre in rotamers.items():
            angles = [mean for mean, _ in centre]
            off = {other: _distance(angles, rotamers[other], name in _SYMMETRIC) for other in rotamers}
            near = min(off, key=off.get)
            assert near == label, (name, label, near)
    assert _distance([65, 30], _CENTRAL["PHE"]["p90"], True) == _distance([65, -150], _CENTRAL["PHE"]["p90"], True)
    assert _distance([65, 30], _CENTRAL["HIS"]["p90"], False) != _distance([65, -150], _CENTRAL["HIS"]["p90"], False)


def test_modern_crystals_have_few_rotamer_outliers_and_old_ones_many(shared_data):
    share = {}
    for name in ("5WGD.cif", "1ERE.cif"):
        structure = gemmi.Structure()
        structure.add_model(gemmi.Model(1))
        structure[0].add_chain(read_source(shared_data / "pdb" / name).chain)
        share[name] = assess(structure)["rotamer_outliers_percent"]
    assert share["5WGD.cif"] < 3 and share["1ERE.cif"] > 10


def test_equilibrium_values_are_those_of_the_textbooks():
    """Engh and Huber 1991, within 0.02 angstrom and 3 degrees."""
    alanine = ideal_geometry()["ALA"]
    for bond, length in {("N", "CA"): 1.458, ("CA", "C"): 1.525, ("C", "O"): 1.231, ("C", "+N"): 1.329}.items():
        assert alanine.bonds[bond] == pytest.approx(length, abs=0.02)
    for angle, degrees in {("N", "CA", "C"): 111.2, ("CA", "C", "+N"): 116.2, ("C", "+N", "+CA"): 121.7,
                           ("O", "C", "+N"): 123.0, ("CA", "C", "O"): 120.8, ("N", "CA", "CB"): 110.5,
                           }.items():  # fmt: skip
        value = alanine.angles.get(angle) or alanine.angles[angle[::-1]]
        assert value == pytest.approx(degrees, abs=3)
    assert len(ideal_geometry()) == 22  # with protonated aspartate and glutamate
    assert len(ideal_geometry()["TRP"].bonds) == 3 + 12 + 1  # backbone, side chain with its rings, peptide bond


def test_a_stretched_bond_and_a_bent_angle_are_found(model):
    leucine = residue(model, 387)
    beta, alpha = (np.array(leucine[name][0].pos.tolist()) for name in ("CB", "CA"))
    move(leucine["CB"][0], beta + 0.15 * (beta - alpha) / np.linalg.norm(beta - alpha))
    quality = assess(model)
    assert quality["details"]["bond_outliers"][0].startswith("LEU387 CA-CB 1.6")
    turned_angle = residue(model, 400)
    oxygen, carbon, before = (np.array(turned_angle[name][0].pos.tolist()) for name in ("O", "C", "CA"))
    move(turned_angle["O"][0], oxygen + 0.3 * (before - carbon) / np.linalg.norm(before - carbon))
    assert any(label.startswith("GLY400 CA-C-O ") for label in assess(model)["details"]["angle_outliers"])


@pytest.mark.parametrize("state", ["agonist", "antagonist"])
def test_the_state_is_measured(state):
    helix12 = assess(bundled_model(state))["helix12"]
    assert helix12["state"] == state and helix12[f"{state}_angstrom"] < 0.1


def test_no_state_without_helix_12(model):
    chain = model[0][0]
    for i in reversed(range(len(chain))):
        if chain[i].seqid.num == 540:
            del chain[i]
    assert assess(model)["helix12"] is None


def test_every_limit_has_words_and_each_can_be_exceeded(model):
    assert set(LIMITS) == set(WORDS)
    for residue_ in model[0][0]:
        if residue_.name not in ("ACE", "NME") and residue_.seqid.num % 3 == 0:
            for atom in residue_:
                atom.pos = gemmi.Position(*(np.array(atom.pos.tolist()) * [1, 1.3, -1.3]))
    quality = assess(model)
    exceeded = {key for key, limit in LIMITS.items() if quality[key] > limit}
    assert {"chirality_errors", "chain_breaks", "bond_outliers", "angle_outliers"} <= exceeded
    assert len(quality["problems"]) == len(exceeded)
