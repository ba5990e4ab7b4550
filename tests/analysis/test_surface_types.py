"""Surface areas of atoms that LCPO has no type for, against areas counted point by point."""

from __future__ import annotations

import numpy as np
import pytest
from openmm import app
from rdkit import Chem
from rdkit.Chem import AllChem

from esr1md.analysis.mmgbsa import PROBE_RADIUS_NM, SURFACE_TENSION, SurfaceEnergy, surface_parameters
from esr1md.complex import KCAL
from esr1md.dynamics.platforms import PlatformChoice
from esr1md.errors import StageError


def molecule(smiles: str) -> tuple[app.Topology, np.ndarray]:
    """A topology and positions (n, 3) in nm."""
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    AllChem.EmbedMolecule(mol, randomSeed=1)
    topology = app.Topology()
    residue = topology.addResidue("LIG", topology.addChain("L"))
    atoms = [
        topology.addAtom(a.GetSymbol(), app.Element.getByAtomicNumber(a.GetAtomicNum()), residue)
        for a in mol.GetAtoms()
    ]
    for bond in mol.GetBonds():
        topology.addBond(atoms[bond.GetBeginAtomIdx()], atoms[bond.GetEndAtomIdx()])
    return topology, mol.GetConformer().GetPositions() / 10


def counted_area(xyz: np.ndarray, radii: np.ndarray, points: int = 1000) -> float:
    """Area (nm^2) of the spheres' union: points spread evenly over each, those inside another left out."""
    k = np.arange(points) + 0.5
    polar, turn = np.arccos(1 - 2 * k / points), np.pi * (1 + 5**0.5) * k
    sphere = np.column_stack([np.cos(turn) * np.sin(polar), np.sin(turn) * np.sin(polar), np.cos(polar)])
    area = 0.0
    for i, (centre, radius) in enumerate(zip(xyz, radii, strict=True)):
        at = centre + sphere * radius
        free = [((at - other) ** 2).sum(axis=1) > r**2 for j, (other, r) in enumerate(zip(xyz, radii, strict=True))
                if j != i]  # fmt: skip
        area += np.all(free, axis=0).mean() * 4 * np.pi * radius**2
    return area


@pytest.mark.parametrize(
    "smiles",
    ["Clc1ccc(O)cc1", "Brc1ccc(O)cc1", "Ic1ccc(O)cc1", "N#Cc1ccc(O)cc1", "N#CCc1ccc(O)cc1", "CC#CC", "C#Cc1ccccc1"],
)
def test_stand_ins_are_as_good_as_lcpo_is_for_the_types_it_has(smiles):
    """LCPO's own error for small molecules reaches 10 % (chlorophenol, which it has types for, 5 %)."""
    topology, xyz = molecule(smiles)
    parameters = surface_parameters(topology)
    energy = SurfaceEnergy(parameters, (slice(0, len(xyz)),), PlatformChoice("Reference", {}, ""))(xyz)[0]
    heavy = [i for i, row in enumerate(parameters) if row[0] > 0]
    radii = np.array([parameters[i][0] + PROBE_RADIUS_NM for i in heavy])
    assert energy / (SURFACE_TENSION * KCAL * 100) == pytest.approx(counted_area(xyz[heavy], radii), rel=0.12)


def test_an_element_without_any_type_is_refused():
    topology, _ = molecule("C[Se]C")
    with pytest.raises(StageError, match="no surface-area parameters"):
        surface_parameters(topology)
