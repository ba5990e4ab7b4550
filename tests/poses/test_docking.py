"""Vina through Meeko: poses in the atom order that was given, and what it cannot dock."""

from __future__ import annotations

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import AllChem, rdMolAlign

from esr1md.catalogue import data_path
from esr1md.errors import InputError
from esr1md.poses import docking
from esr1md.poses.references import load_references
from esr1md.poses.request import check_excluded
from esr1md.poses.search import names_of, similarity, suitable_references
from esr1md.receptor.frame import bundled_model
from esr1md.specs import HelixState

pytest.importorskip("vina", reason="AutoDock Vina has no wheel for this Python")


@pytest.fixture(scope="module")
def estradiol() -> Chem.Mol:
    mol = Chem.AddHs(Chem.MolFromSmiles("C[C@]12CC[C@@H]3c4ccc(O)cc4CC[C@H]3[C@@H]1CC[C@@H]2O"))
    AllChem.EmbedMolecule(mol, randomSeed=1)
    return mol


def crystal() -> Chem.Mol:
    return Chem.MolFromMolFile(str(data_path("structures") / "poses" / "1QKU_EST.sdf"))


def test_estradiol_docks_where_the_crystal_has_it(estradiol):
    centre = crystal().GetConformer().GetPositions().mean(axis=0)
    found = docking.dock(bundled_model("agonist"), estradiol, centre, np.full(3, 20.0), exhaustiveness=1, poses=3)
    assert found == sorted(found, key=lambda pose: pose.score) and found[0].score < -8.0
    copy = Chem.Mol(estradiol)
    copy.GetConformer().SetPositions(found[0].xyz)
    for bond in copy.GetBonds():  # every atom kept its own place, hydrogens too
        assert 0.9 < np.linalg.norm(found[0].xyz[bond.GetBeginAtomIdx()] - found[0].xyz[bond.GetEndAtomIdx()]) < 1.7
    assert rdMolAlign.CalcRMS(Chem.RemoveHs(copy), crystal()) < 2.0
    Chem.AssignStereochemistryFrom3D(copy, replaceExistingTags=True)
    assert Chem.CanonSmiles(Chem.MolToSmiles(Chem.RemoveHs(copy))) == Chem.CanonSmiles(
        Chem.MolToSmiles(Chem.RemoveHs(estradiol))
    )


def test_local_optimisation_lowers_the_score(estradiol):
    start = Chem.Mol(estradiol)
    rdMolAlign.AlignMol(
        start, crystal(), atomMap=list(zip(estradiol.GetSubstructMatch(crystal()), range(20), strict=True))
    )
    poses = [start.GetConformer().GetPositions()]
    (as_is,), (better,) = (
        docking.vina_scores(bundled_model("agonist"), estradiol, poses, optimise=o) for o in (False, True)
    )
    assert better < as_is < 0.0


def test_what_vina_has_no_type_for_is_said():
    assert docking.why_not(Chem.MolFromSmiles("OB(O)c1ccccc1")) == "AutoDock Vina has no type for B"
    assert docking.why_not(Chem.MolFromSmiles("c1ccccc1Br")) == ""


@pytest.mark.parametrize("name", ["raloxifene", "1ERR", "1ERR_RAL"])
def test_a_reference_is_left_out_by_any_of_its_names(name):
    check_excluded((name,))
    (raloxifene,) = [reference for reference in load_references() if name in names_of(reference)]
    kept = suitable_references(raloxifene.mol, load_references(), HelixState.ANTAGONIST, (name,))
    assert raloxifene.name not in [reference.name for reference in kept]


def test_similar_references_are_left_out():
    references = {reference.name: reference for reference in load_references()}
    mol = references["1SJ0_E4D"].mol
    limit = similarity(mol, references["1XPC_AIT"].mol)
    assert 0.3 < limit < 1.0
    kept = suitable_references(mol, tuple(references.values()), HelixState.ANTAGONIST, (), limit - 0.01)
    names = [reference.name for reference in kept]
    assert names and "1XPC_AIT" not in names and "1SJ0_E4D" not in names


def test_an_unknown_name_to_leave_out_is_refused():
    with pytest.raises(InputError, match="no reference pose of 'raloxifen'.*raloxifene"):
        check_excluded(("raloxifen",))
