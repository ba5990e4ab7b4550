"""How near a pose brings a warhead to Cys530: hand-made geometry, labels, and what may change the order of poses."""

from __future__ import annotations

import json

import numpy as np
import openmm
import pytest
from openmm import app
from rdkit import Chem
from rdkit.Chem import AllChem

from esr1md.catalogue import data_path
from esr1md.commands.poses import _poses_view
from esr1md.commands.terminal import stdout_console
from esr1md.ligand.catalogue import catalogue_ligand
from esr1md.ligand.parameters import parametrise
from esr1md.ligand.states import ligand_from_smiles
from esr1md.poses import pocket, request
from esr1md.poses.place import Pose, place_ligand
from esr1md.poses.pocket_forces import Terms
from esr1md.poses.warhead import approach, preferred_order
from esr1md.specs import HelixState

OUT_OF_REACH = (
    "pre-reaction complex: C-beta 7.2 A from Cys530 SG; no bond is modelled; not a reactive pose (beyond 4 A)"
)


def receptor(**sulfurs: tuple[float, float, float]) -> pocket.Receptor:
    """A receptor of nothing but residues with SG at the given positions (angstrom): ``CYS530=(0, 0, 0)``."""
    topology = app.Topology()
    chain = topology.addChain("A")
    for name in sulfurs:
        atom = "SG" if name.startswith("CY") else "OG"
        element = app.element.sulfur if atom == "SG" else app.element.oxygen
        topology.addAtom(atom, element, topology.addResidue(name[:3], chain, id=name[3:]))
    numbers = np.array([int(name[3:]) for name in sulfurs])
    return pocket.Receptor(topology, Terms.of(openmm.System()), np.array(list(sulfurs.values()), dtype=float), numbers)


def at_origin(smiles: str, atom: int) -> tuple[Chem.Mol, np.ndarray]:
    """A molecule with explicit hydrogens, and positions with one atom at the origin."""
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    AllChem.EmbedMolecule(mol, randomSeed=7)
    xyz = mol.GetConformer().GetPositions()
    return mol, xyz - xyz[atom]


def test_a_pose_in_reach():
    mol, xyz = at_origin("C=CC(=O)NC", 0)
    found = approach(mol, xyz, receptor(CYS381=(0, 0, 15), CYS530=(0, 3.6, 0)))
    assert found.cys530 == 3.6 and found.reactive
    assert found.label == "pre-reaction complex: C-beta 3.6 A from Cys530 SG; no bond is modelled"


def test_a_pose_out_of_reach_says_so():
    mol, xyz = at_origin("C=CC(=O)NC", 0)
    found = approach(mol, xyz, receptor(CYS381=(0, 0, 15), CYS530=(7.2, 0, 0)))
    assert found.cys530 == 7.2 and not found.reactive and found.label == OUT_OF_REACH


def test_the_carbon_that_is_attacked_is_measured():
    mol, xyz = at_origin("ClCC(=O)Nc1ccccc1", 1)
    assert approach(mol, xyz, receptor(CYS530=(0, 0, 3.4))).label.startswith("pre-reaction complex: C-alpha 3.4 A")


def test_of_two_warheads_the_nearer_counts():
    mol, xyz = at_origin("C=CC(=O)NCCCCNC(=O)C=C", 0)
    near = xyz[13] + np.array([0.0, 0.0, 3.5])  # beside the other CH2
    assert approach(mol, xyz, receptor(CYS530=tuple(near))).cys530 == pytest.approx(3.5, abs=0.01)


def test_another_cysteine_that_is_nearer_is_named():
    mol, xyz = at_origin("C=CC(=O)NC", 0)
    found = approach(mol, xyz, receptor(CYS381=(0, 0, 3.0), CYM447=(0, 0, 9), CYS530=(9, 0, 0)))
    assert not found.reactive and found.label.endswith("; Cys381 is nearer (3.0 A)")


def test_a_receptor_without_cys530():
    mol, xyz = at_origin("C=CC(=O)NC", 0)
    found = approach(mol, xyz, receptor(CYS417=(0, 0, 5.0), SER530=(0, 0, 3.0)))
    assert found.cys530 is None and not found.reactive
    assert found.label == (
        "no Cys530 in this receptor: C-beta 5.0 A from Cys417 SG, the nearest cysteine; no bond is modelled"
    )
    assert approach(mol, xyz, receptor(SER530=(0, 0, 3.0))).label == "no Cys530 in this receptor; no bond is modelled"


def test_a_ligand_without_warhead_has_no_label():
    mol, xyz = at_origin("CCC(=O)NC", 0)
    assert approach(mol, xyz, receptor(CYS530=(0, 0, 3.5))) is None


def test_only_a_tie_is_broken_by_the_warhead():
    assert preferred_order([0.0, 2.9, 4.0], [False, True, False], 3.0) == [1, 0, 2]
    assert preferred_order([0.0, 3.1, 4.0], [False, True, True], 3.0) == [0, 1, 2]
    assert preferred_order([1.0, 0.0, 2.0], [True, True, True], 3.0) == [1, 0, 2]
    assert preferred_order([2.0, 0.0, 1.0], [False, False, False], 3.0) == [1, 2, 0]


# ----------------------------------------------------------------------------------------- where it is shown


@pytest.mark.slow
def test_record_sdf_and_both_outputs_carry_the_label(tmp_path):
    ligand = ligand_from_smiles("probe", "C=CC(=O)Nc1ccc(O)cc1")
    model = data_path("structures") / "models" / "antagonist.pdb"
    poses = place_ligand(
        ligand, parametrise(ligand, tmp_path / "parameters"), model, HelixState.ANTAGONIST, tmp_path / "probe"
    )
    record = json.loads((tmp_path / "probe" / "record.json").read_text())
    assert record["labels"] == ["covalent warhead (acrylamide), no bond to the receptor modelled"]
    for pose, row in zip(poses, record["poses"], strict=True):
        distance = row["anchors_angstrom"]["warhead_C530"]
        assert row["label"] == pose.label
        assert pose.label.startswith(f"pre-reaction complex: C-beta {distance:.1f} A from Cys530 SG; no bond is")
        assert ("not a reactive pose" in pose.label) == (distance > 4.0)
        written = Chem.MolFromMolFile(str(pose.sdf), removeHs=False)
        beta = written.GetConformer().GetPositions()[written.GetSubstructMatch(Chem.MolFromSmarts("[CH2]=C"))[0]]
        sulfur = pocket.read_receptor(model).named(530, "SG")
        assert np.linalg.norm(beta - sulfur) == pytest.approx(distance, abs=0.01)
        kept = next(iter(Chem.SDMolSupplier(str(pose.sdf))))
        assert kept.GetProp("label") == pose.label and kept.GetProp("labels") == record["labels"][0]
    assert Pose.from_folder(tmp_path / "probe").label == poses[0].label


def test_the_command_shows_labels_of_ligand_and_pose(tmp_path):
    names = ("H3B-6545", "vepdegestrant", "palazestrant")
    ligands = [catalogue_ligand(name) for name in names]
    (tmp_path / "receptor.pdb").touch()
    place = request.Place(tmp_path / "receptor.pdb", HelixState.ANTAGONIST, ())
    outcome = request.Outcome(dict.fromkeys(names, "what was asked"))
    for ligand in ligands:
        outcome.poses[ligand.name] = [
            Pose(ligand.name, HelixState.ANTAGONIST, tmp_path / ligand.name / "pose_1.sdf", "low", "why", "3ERT_OHT",
                 -90.0, 30.0, 0, {}, label=OUT_OF_REACH if ligand.name == "H3B-6545" else "")
        ]  # fmt: skip
    document = {row["name"]: row for row in request.as_document(ligands, place, outcome, tmp_path)["ligands"]}
    assert document["H3B-6545"]["poses"][0]["label"] == OUT_OF_REACH
    assert document["vepdegestrant"]["labels"] == ["ternary complex not modelled"]
    assert document["palazestrant"]["labels"] == ["low-confidence structure"]
    assert document["palazestrant"]["confidence"] == "low"

    console = stdout_console()
    with console.capture() as shown:
        console.print(_poses_view(ligands, outcome, place, tmp_path))
    text = " ".join(shown.get().split())
    for said in (
        "vepdegestrant: ternary complex not modelled",
        "palazestrant: low-confidence structure",
        "H3B-6545: low-confidence structure",
        "H3B-6545: covalent warhead (4-aminobut-2-enamide), no bond to the receptor modelled",
        f"pose 1: why; {OUT_OF_REACH}",
    ):
        assert said in text
