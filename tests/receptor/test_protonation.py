"""Protonation states: PROPKA, histidine tautomers by hydrogen bonds, and the water that is kept."""

from __future__ import annotations

import json

import gemmi
import numpy as np
import pytest
from openmm import app

from esr1md.catalogue import data_path
from esr1md.errors import InputError
from esr1md.receptor.build import ReceptorModel, build_receptor
from esr1md.receptor.frame import bundled_model
from esr1md.receptor.protonation import choose_states, ligand_from_sdf, present_states, unusual
from esr1md.receptor.relax import FORCE_FIELD
from esr1md.receptor.sequence import parse_variant
from esr1md.receptor.source import moved, read_source
from esr1md.receptor.surroundings import (
    bundled_surroundings,
    chain_surroundings,
    file_surroundings,
    place_water,
)
from esr1md.specs import WILD_TYPE, HelixState

POSES = data_path("structures") / "poses"


def chain_of(state: str) -> gemmi.Chain:
    return gemmi.read_structure(str(bundled_model(state)))[0][0]


def by_number(sites) -> dict:
    return {site.number: site for site in sites}


@pytest.fixture(scope="module")
def agonist_sites():
    return by_number(choose_states(chain_of("agonist"), ligand_from_sdf(POSES / "1QKU_EST.sdf"), 7.4))


def test_every_titratable_residue_is_answered(agonist_sites):
    chain = chain_of("agonist")
    titratable = [r.seqid.num for r in chain if r.name in ("ASP", "GLU", "HIS", "LYS", "CYS", "TYR", "ARG")]
    assert sorted(agonist_sites) == titratable and len(titratable) > 60
    # acids and bases are charged at pH 7.4; the force field's usual forms
    for site in agonist_sites.values():
        assert site.state == site.residue or site.residue == "HIS"


def test_his524_accepts_from_estradiol_and_gives_to_the_backbone(agonist_sites):
    """Helix 11's histidine: delta nitrogen bare towards the 17-beta hydroxyl, epsilon to Glu419 O."""
    site = agonist_sites[524]
    assert site.state == "HIE"
    assert "NE2" in site.reason and "GLU419 O" in site.reason and "ND1 2.8 A from the ligand's hydroxyl" in site.reason


def test_the_ligand_decides_a_tautomer(tmp_path):
    """An acceptor in place of the hydroxyl and no partner for the other nitrogen turn the tautomer over."""
    chain = chain_of("agonist")
    histidine = chain["524"][0]
    for residue in list(chain):
        if residue.seqid.num in (419, 420, 421):
            for atom in residue:
                atom.pos += gemmi.Position(30, 0, 0)
    origin = np.array(histidine["ND1"][0].pos.tolist())
    around = [np.array(histidine[name][0].pos.tolist()) for name in ("CG", "CE1")]
    outward = 2 * origin - sum(around)
    outward /= np.linalg.norm(outward)

    def ligand(bond: float):
        oxygen = origin + 2.8 * outward
        return (("O", tuple(oxygen)), ("C", tuple(oxygen + bond * outward)))

    assert by_number(choose_states(chain, ligand(1.22), 7.4))[524].state == "HID"  # a carbonyl only accepts
    amine = (("N", tuple(origin + 2.8 * outward)), *(
        ("C", tuple(origin + 2.8 * outward + 1.47 * np.array(arm))) for arm in ((1, 0, 0), (0, 1, 0), (0, 0, 1))
    ))  # fmt: skip
    assert by_number(choose_states(chain, amine, 7.4))[524].state == "HIE"  # an amine only gives


@pytest.mark.parametrize(
    ("ph", "expected"), [(2.0, {353: "GLH", 351: "ASH", 524: "HIP", 529: "LYS"}),
                         (7.4, {353: "GLU", 351: "ASP", 524: "HIE", 529: "LYS"}),
                         (13.0, {353: "GLU", 351: "ASP", 524: "HIE", 529: "LYN"})]
)  # fmt: skip
def test_forms_follow_the_ph(ph, expected):
    sites = by_number(choose_states(chain_of("agonist"), ligand_from_sdf(POSES / "1QKU_EST.sdf"), ph))
    assert {number: sites[number].state for number in expected} == expected
    if ph == 13.0:
        assert any("the force field has no other form" in said for said in unusual(tuple(sites.values())))


def test_a_close_call_is_said(agonist_sites):
    assert "both forms occur" in agonist_sites[385].reason  # buried, pKa near 7


@pytest.mark.parametrize("ph", [5.0, 12.0])
def test_a_model_at_another_ph_has_those_forms_and_can_be_simulated(ph, tmp_path):
    model = build_receptor(WILD_TYPE, HelixState.ANTAGONIST, tmp_path, ph=ph)
    pdb = app.PDBFile(str(model.pdb))
    states = present_states(pdb.topology)
    assert {row["number"]: row["state"] for row in model.protonation["sites"]} == states
    assert model.protonation["ph"] == ph and "OHT" in model.protonation["ligand"]
    # what PROPKA predicts of the changed model is what it has, but for calls that are close
    assert all("both forms occur" in said for said in model.protonation["differs"])
    forms = set(states.values())
    assert "HIP" in forms and "GLH" in forms if ph == 5.0 else "LYN" in forms
    app.ForceField(FORCE_FIELD).createSystem(pdb.topology)
    assert model.quality["problems"] == []
    before, after = (
        {(r.seqid.num, a.name): a.pos for r in gemmi.read_structure(str(path))[0][0] for a in r if not a.is_hydrogen()}
        for path in (bundled_model("antagonist"), model.pdb)
    )
    assert before.keys() == after.keys()
    assert all(before[key].dist(after[key]) < 1e-3 for key in before if key[1] in ("N", "CA", "C", "O"))
    assert max(before[key].dist(after[key]) for key in before) < 1.0


def test_the_record_says_what_each_residue_is_and_survives_json(tmp_path):
    model = build_receptor(parse_variant("Y537S"), HelixState.AGONIST, tmp_path)
    rows = {row["number"]: row for row in model.protonation["sites"]}
    assert 537 not in rows and rows[524]["residue"] == "HIS" and 4 < rows[524]["pka"] < 7.4
    for number in (513, 516, 524, 547):
        assert rows[number]["state"] in ("HID", "HIE") and rows[number]["reason"]
    back = ReceptorModel.from_json(json.loads(json.dumps(model.to_json())), tmp_path)
    assert back.protonation == model.protonation
    assert tuple(back.conserved_water) == model.conserved_water


def test_a_given_ligand_takes_the_crystal_ligands_place(tmp_path):
    around = bundled_surroundings("agonist", POSES / "2QSE_1HP.sdf")
    assert around.ligand_name == "2QSE_1HP.sdf"
    assert around.ligand == ligand_from_sdf(POSES / "2QSE_1HP.sdf")
    model = build_receptor(WILD_TYPE, HelixState.AGONIST, tmp_path, ligand=POSES / "2QSE_1HP.sdf")
    assert any("with 2QSE_1HP.sdf" in step for step in model.steps)


NO_ATOMS = "\n\n\n  0  0  0  0  0  0  0  0  0  0999 V2000\nM  END\n"


@pytest.mark.parametrize("content", [None, "", "hello\n", NO_ATOMS, b"\xff\xfe\0"])
def test_a_bad_ligand_file_is_refused(content, tmp_path):
    path = tmp_path / "ligand.sdf"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError) as caught:
        ligand_from_sdf(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_flat_drawing_is_no_pose(tmp_path):
    from rdkit import Chem
    from rdkit.Chem import AllChem

    molecule = Chem.MolFromSmiles("Oc1ccccc1")
    AllChem.Compute2DCoords(molecule)
    path = tmp_path / "flat.sdf"
    path.write_text(Chem.MolToMolBlock(molecule))
    with pytest.raises(InputError, match="3D coordinates"):
        ligand_from_sdf(path)


# -- the conserved water ------------------------------------------------------------------------------------------


def water_of(folder) -> np.ndarray:
    residue = gemmi.read_structure(str(folder / "waters.pdb"))[0]["W"][0]
    assert residue.name == "HOH" and [atom.name for atom in residue] == ["O", "H1", "H2"]
    oxygen, *hydrogens = (np.array(atom.pos.tolist()) for atom in residue)
    arms = [hydrogen - oxygen for hydrogen in hydrogens]
    assert [np.linalg.norm(arm) for arm in arms] == pytest.approx([0.9572] * 2, abs=2e-3)
    angle = np.degrees(np.arccos(np.dot(*arms) / np.prod([np.linalg.norm(arm) for arm in arms])))
    assert angle == pytest.approx(104.52, abs=0.3)
    return oxygen


@pytest.mark.parametrize("state", ["agonist", "antagonist"])
@pytest.mark.parametrize("name", ["WT", "D538G"])
def test_the_water_bridges_e353_and_r394_and_touches_nothing(name, state, tmp_path):
    model = build_receptor(parse_variant(name), HelixState(state), tmp_path)
    oxygen = water_of(tmp_path)
    assert oxygen == pytest.approx(np.array(model.conserved_water), abs=2e-3)
    chain = gemmi.read_structure(str(model.pdb))[0][0]

    def nearest(number, names):
        atoms = [a for a in chain[str(number)][0] if a.name in names]
        return min(np.linalg.norm(np.array(a.pos.tolist()) - oxygen) for a in atoms)

    assert nearest(353, ("OE1", "OE2")) < 3.5 and nearest(394, ("NE", "NH1", "NH2")) < 3.5
    heavy = np.array([a.pos.tolist() for r in chain for a in r if not a.is_hydrogen()])
    assert np.linalg.norm(heavy - oxygen, axis=1).min() > 2.4
    # room for the ligand the crystal holds
    ligand = np.array([position for _, position in bundled_surroundings(state).ligand])
    assert np.linalg.norm(ligand - oxygen, axis=1).min() > 2.3
    # it can be added to the receptor and parametrised
    pdb, water = app.PDBFile(str(model.pdb)), app.PDBFile(str(tmp_path / "waters.pdb"))
    modeller = app.Modeller(pdb.topology, pdb.positions)
    modeller.add(water.topology, water.positions)
    app.ForceField(FORCE_FIELD, "amber14/tip3p.xml").createSystem(modeller.topology)


def test_the_water_is_found_where_the_crystal_has_it(shared_data):
    found = {name: read_source(shared_data / "pdb" / name).conserved_water
             for name in ("3ERT.pdb", "1QKU.pdb", "1XPC.pdb", "5WGD.cif")}  # fmt: skip
    assert found["1QKU.pdb"] is None  # 3.2 A
    waters = gemmi.read_structure(str(shared_data / "pdb" / "3ERT.pdb"))
    positions = [a.pos.tolist() for c in waters[0] for r in c if r.is_water() for a in r]
    assert list(found["3ERT.pdb"]) in positions
    assert found["1XPC.pdb"] is not None and found["5WGD.cif"] is not None


def test_the_water_is_carried_by_the_pocket_not_by_the_frame(shared_data):
    source = read_source(shared_data / "pdb" / "1XPC.pdb")
    turn, _ = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))
    turn *= np.sign(np.linalg.det(turn))
    placed = [
        place_water(chain_of("antagonist"), chain_surroundings(each, "1XPC"))[0]
        for each in (source, moved(source, turn, np.array([7.0, 8.0, 9.0])))
    ]
    # the ligand counts as an obstacle, and here it lies elsewhere: only the water is compared
    assert placed[0] == pytest.approx(placed[1], abs=0.05)


def test_a_variant_without_r394_has_no_such_water():
    chain = chain_of("antagonist")
    chain["394"][0].name = "HIS"
    water, words = place_water(chain, bundled_surroundings("antagonist"))
    assert water is None and "residues 353 and 394 are GLU and HIS" in words


def test_the_crystal_ligand_is_the_one_in_the_pocket(shared_data):
    for name, ligand in (("3ERT.pdb", "OHT A600"), ("1QKU.pdb", "EST A600"), ("5WGD.cif", "EST A601"),
                         ("1ERR.pdb", "RAL A600"), ("1A52.pdb", "EST B2")):  # fmt: skip
        assert read_source(shared_data / "pdb" / name).pocket_ligand.name == ligand
    around = file_surroundings(shared_data / "pdb" / "3ERT.pdb")
    pose = np.array([position for _, position in ligand_from_sdf(POSES / "3ERT_OHT.sdf")])
    crystal = np.array([position for _, position in around.ligand])
    apart = np.linalg.norm(pose[:, None] - crystal[None], axis=2).min(axis=1)
    assert apart.max() < 0.5  # the file's ligand lands on the bundled pose


def test_bundled_models_have_the_forms_their_ligand_asks_for():
    for state in ("agonist", "antagonist"):
        chain = chain_of(state)
        present = present_states(app.PDBFile(str(bundled_model(state))).topology)
        sites = by_number(choose_states(chain, bundled_surroundings(state).ligand, 7.4))
        assert present[524] == sites[524].state == "HIE"
        # every acid and base, whatever happens to tautomers that no hydrogen bond decides
        assert all(present[n] == site.state for n, site in sites.items() if site.residue != "HIS")
