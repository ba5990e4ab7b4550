"""One binding mode for a series: chosen for all compounds together, by where the rigid scaffold lies."""

from __future__ import annotations

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import AllChem

from esr1md.series.binding_mode import ALIKE, PlacedLigand, common_scaffold, rigid_atoms, shared_mode

TURNED = np.array([[1.0, 0.0, 0.0], [0.0, -1.0, 0.0], [0.0, 0.0, -1.0]])  # half a turn about the long axis


def benzofuran(tail: str) -> Chem.Mol:
    mol = Chem.AddHs(Chem.MolFromSmiles(f"Oc1cc({tail})c2oc(-c3ccc(O)cc3)cc2c1"))
    AllChem.EmbedMolecule(mol, randomSeed=1)
    return mol


def on_axes(mol: Chem.Mol, like: tuple[Chem.Mol, np.ndarray] | None = None) -> np.ndarray:
    """Positions with the scaffold's centre at the origin and its long axis along x, or laid on another's scaffold."""
    core = Chem.MolFromSmarts("Oc1ccc2oc(-c3ccc(O)cc3)cc2c1")
    xyz = mol.GetConformer().GetPositions()
    own = list(mol.GetSubstructMatch(core))
    if like is None:
        xyz = xyz - xyz[own].mean(axis=0)
        return xyz @ np.linalg.svd(xyz[own])[2].T
    there = like[1][list(like[0].GetSubstructMatch(core))]
    a, b = xyz[own] - xyz[own].mean(axis=0), there - there.mean(axis=0)
    u, _, v = np.linalg.svd(a.T @ b)
    turn = u @ np.diag([1, 1, np.sign(np.linalg.det(u @ v))]) @ v
    return (xyz - xyz[own].mean(axis=0)) @ turn + there.mean(axis=0)


@pytest.fixture(scope="module")
def series() -> list[tuple[Chem.Mol, np.ndarray]]:
    mols = [benzofuran(tail) for tail in ("Cl", "Br", "C", "OC")]
    first = on_axes(mols[0])
    return [(mol, on_axes(mol, (mols[0], first))) for mol in mols]


def test_the_series_outvotes_a_compound_that_prefers_its_own_mode(series):
    """Three compounds prefer one mode by 2 kcal/mol, the fourth the other by 1: the fourth's second pose is used."""
    ligands = [PlacedLigand(mol, (xyz, xyz @ TURNED), (0.0, 2.0)) for mol, xyz in series[:3]]
    mol, xyz = series[3]
    ligands.append(PlacedLigand(mol, (xyz @ TURNED, xyz), (0.0, 1.0)))
    mode = shared_mode(ligands)
    assert mode.in_mode == ((0,), (0,), (0,), (1,)) and mode.missing == ()
    assert mode.rmsd[3][1] < ALIKE < mode.rmsd[3][0]


def test_a_strong_preference_wins_over_weak_ones(series):
    ligands = [PlacedLigand(mol, (xyz, xyz @ TURNED), (0.0, 0.5)) for mol, xyz in series[:3]]
    mol, xyz = series[3]
    ligands.append(PlacedLigand(mol, (xyz @ TURNED, xyz), (0.0, 9.0)))
    assert [alike[0] for alike in shared_mode(ligands).in_mode] == [1, 1, 1, 0]


def test_a_compound_without_a_pose_in_the_mode_is_named_and_kept(series):
    ligands = [PlacedLigand(mol, (xyz,), (0.0,)) for mol, xyz in series[:3]]
    mol, xyz = series[3]
    ligands.append(PlacedLigand(mol, (xyz @ TURNED,), (0.0,)))
    mode = shared_mode(ligands)
    assert mode.missing == (3,) and mode.in_mode[3] == (0,)


def test_renumbered_equal_atoms_are_the_same_mode(series):
    """Half a turn of the para-phenol about its own axis exchanges equal atoms and moves nothing."""
    (mol, xyz), (other, there) = series[:2]
    heavy = [atom.GetIdx() for atom in mol.GetAtoms() if atom.GetAtomicNum() > 1]
    bare = Chem.RemoveHs(mol)
    same = next(m for m in bare.GetSubstructMatches(bare, uniquify=False) if m != tuple(range(len(m))))
    swapped = xyz.copy()
    swapped[heavy] = xyz[[heavy[k] for k in same]]
    assert np.abs(swapped - xyz).max() > 2.0
    mode = shared_mode([PlacedLigand(mol, (xyz, swapped), (0.0, 0.1)), PlacedLigand(other, (there,), (0.0,))])
    assert mode.in_mode[0] == (0, 1)


def test_a_flexible_arm_is_no_part_of_the_mode():
    mols = [
        Chem.MolFromSmiles(f"Oc1ccc(/C(=C({tail})/c2ccccc2)c2ccc(OCCN3CCCCC3)cc2)cc1") for tail in ("CC", "CCC", "CCCl")
    ]
    scaffold = common_scaffold(mols)
    match = mols[0].GetSubstructMatch(scaffold)
    rigid = {match[k] for k in rigid_atoms(scaffold, mols[0], match)}
    piperidine = mols[0].GetSubstructMatch(Chem.MolFromSmarts("N1CCCCC1"))
    assert not rigid & set(piperidine)
    assert rigid >= {atom for ring in mols[0].GetRingInfo().AtomRings() for atom in ring} - set(piperidine)


def test_compounds_that_share_nothing_keep_all_their_poses():
    mols = [Chem.AddHs(Chem.MolFromSmiles(s)) for s in ("CCCCO", "N#Cc1ccccc1")]
    for mol in mols:
        AllChem.EmbedMolecule(mol, randomSeed=1)
    xyz = [mol.GetConformer().GetPositions() for mol in mols]
    mode = shared_mode([PlacedLigand(m, (x, x + 5.0), (0.0, 1.0)) for m, x in zip(mols, xyz, strict=True)])
    assert mode.scaffold == "" and mode.in_mode == ((0, 1), (0, 1)) and mode.leader is None
