"""How much of a degrader's ligase binder a pose leaves to the solvent."""

from __future__ import annotations

import numpy as np
import openmm
import pytest
from openmm import app
from rdkit import Chem
from rdkit.Chem import AllChem

from esr1md.ligand.catalogue import catalogue_ligand
from esr1md.ligand.degraders import ligase_binder
from esr1md.poses.degrader import PROBE, exit_label, exposed_area
from esr1md.poses.pocket import Receptor
from esr1md.poses.pocket_forces import Terms


def carbons(xyz: np.ndarray) -> Receptor:
    """A receptor of nothing but carbon atoms at the given positions (n x 3, angstrom)."""
    topology = app.Topology()
    residue = topology.addResidue("ALA", topology.addChain("A"), id="1")
    for number in range(len(xyz)):
        topology.addAtom(f"C{number}", app.element.carbon, residue)
    return Receptor(topology, Terms.of(openmm.System()), np.asarray(xyz, dtype=float), np.ones(len(xyz), dtype=int))


def test_the_area_of_one_and_of_two_spheres():
    one = exposed_area(np.zeros((1, 3)), np.array([1.9]), np.array([True]))
    assert one == pytest.approx(4 * np.pi * (1.9 + PROBE) ** 2)
    # a neighbour of the same size at distance d hides a cap of height r - d / 2
    radius, apart = 1.9 + PROBE, 3.0
    two = exposed_area(np.array([[0.0, 0, 0], [apart, 0, 0]]), np.array([1.9, 1.9]), np.array([True, False]))
    assert two == pytest.approx(4 * np.pi * radius**2 - 2 * np.pi * radius * (radius - apart / 2), rel=0.01)


def test_a_binder_in_the_open_and_one_that_is_enclosed():
    mol = Chem.AddHs(Chem.MolFromSmiles(catalogue_ligand("vepdegestrant").smiles))
    AllChem.EmbedMolecule(mol, randomSeed=7)
    xyz = mol.GetConformer().GetPositions()
    binder = xyz[list(ligase_binder(mol))]
    assert len(binder) == 9
    far = carbons(np.array([[500.0, 0.0, 0.0]]))
    assert exit_label(mol, xyz, far) == (
        "degrader: ligase binder 100 % exposed to solvent; ternary complex not modelled"
    )
    grid = np.stack(np.meshgrid(*[np.arange(-12.0, 13.0, 2.0)] * 3), axis=-1).reshape(-1, 3) + binder.mean(0)
    assert exit_label(mol, xyz, carbons(grid)).startswith("degrader: ligase binder 0 % exposed")
    half = grid[grid[:, 0] > binder[:, 0].mean()]
    share = int(exit_label(mol, xyz, carbons(half)).split()[3])
    assert 10 < share < 90


def test_other_ligands_have_no_such_label():
    mol = Chem.AddHs(Chem.MolFromSmiles(catalogue_ligand("raloxifene").smiles))
    assert exit_label(mol, np.zeros((mol.GetNumAtoms(), 3)), carbons(np.zeros((1, 3)))) == ""
