"""NAGL and AM1-BCC charges against the electrostatic potential that both are meant to give: HF/6-31G*.

    pip install pyscf
    python tests/benchmarks/charges_esp.py

For small molecules with the rings of the catalogue, in the geometry of MMFF94s: the potential on four shells around the
molecule (1.4, 1.6, 1.8 and 2.0 van der Waals radii, as for Merz-Kollman charges) by Hartree-Fock, and how far that of
each set of charges is from it. AM1-BCC was fitted to reproduce this potential (Jakalian, Jack and Bayly, J. Comput.
Chem. 2002, 23, 1623), NAGL to reproduce AM1-BCC. The lowest possible error is that of charges fitted to the points.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from rdkit import Chem
from rdkit.Chem import AllChem, GetPeriodicTable

from esr1md.ligand.am1bcc import compute
from esr1md.ligand.charges import equal_on_equal_atoms, nagl_charges

MOLECULES = {
    "phenol": "Oc1ccccc1",
    "benzofuran": "c1ccc2occc2c1",
    "pyrrole": "c1cc[nH]c1",
    "N-methylpyrrole": "Cn1cccc1",
    "indole": "c1ccc2[nH]ccc2c1",
    "2,3-dimethylindole": "Cc1[nH]c2ccccc2c1C",
    "N-methylindole": "Cn1ccc2ccccc21",
    "1H-indazole": "c1ccc2[nH]ncc2c1",
    "benzimidazole": "c1ccc2[nH]cnc2c1",
    "carbazole": "c1ccc2[nH]c3ccccc3c2c1",
}
SHELLS, DENSITY = (1.4, 1.6, 1.8, 2.0), 1.0  # of van der Waals radii; points for each square angstrom
BOHR, DEBYE = 0.529177210903, 4.803204  # angstrom; debye for each e angstrom


def geometry(smiles: str) -> Chem.Mol:
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    AllChem.EmbedMolecule(mol, randomSeed=1)
    AllChem.MMFFOptimizeMolecule(mol, mmffVariant="MMFF94s", maxIters=5000)
    return mol


def shells(mol: Chem.Mol) -> np.ndarray:
    """Points (n x 3, angstrom) on the shells."""
    xyz = mol.GetConformer().GetPositions()
    radii = np.array([GetPeriodicTable().GetRvdw(a.GetAtomicNum()) for a in mol.GetAtoms()])
    found = []
    for scale in SHELLS:
        for centre, radius in zip(xyz, scale * radii, strict=True):
            count = int(4 * np.pi * radius**2 * DENSITY)
            k = np.arange(count) + 0.5  # Fibonacci's sphere
            polar, around = np.arccos(1 - 2 * k / count), np.pi * (1 + 5**0.5) * k
            sphere = np.stack([np.cos(around) * np.sin(polar), np.sin(around) * np.sin(polar), np.cos(polar)], axis=1)
            points = centre + radius * sphere
            outside = (np.linalg.norm(points[:, None] - xyz[None], axis=-1) > scale * radii - 1e-6).all(axis=1)
            found.append(points[outside])
    return np.concatenate(found)


def hartree_fock(mol: Chem.Mol, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Potential (e/angstrom) at points and dipole (debye), HF/6-31G*."""
    from pyscf import gto, scf

    atoms = [(a.GetSymbol(), tuple(p)) for a, p in zip(mol.GetAtoms(), mol.GetConformer().GetPositions(), strict=True)]
    whole = gto.M(atom=atoms, basis="6-31g*", charge=Chem.GetFormalCharge(mol), verbose=0)
    field = scf.RHF(whole).run()
    density = field.make_rdm1()
    grid = points / BOHR
    electrons = np.concatenate([
        np.einsum("pij,ij->p", whole.intor("int1e_grids", grids=part), density)
        for part in np.array_split(grid, max(1, len(grid) // 500))
    ])  # fmt: skip
    nuclei = (whole.atom_charges()[None] / np.linalg.norm(grid[:, None] - whole.atom_coords()[None], axis=-1)).sum(1)
    return (nuclei - electrons) / BOHR, field.dip_moment(verbose=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=list(MOLECULES), help=", ".join(MOLECULES))
    columns = ("molecule", "error NAGL", "AM1-BCC", "fitted", "dipole HF (D)", "NAGL", "AM1-BCC", "ring N: each (e)")
    print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|")
    for name in parser.parse_args().names:
        mol = geometry(MOLECULES[name])
        xyz, points = mol.GetConformer().GetPositions(), shells(mol)
        potential, dipole = hartree_fock(mol, points)
        inverse = 1.0 / np.linalg.norm(points[:, None] - xyz[None], axis=-1)
        with tempfile.TemporaryDirectory() as folder:
            bcc = equal_on_equal_atoms(mol, compute(mol, Path(folder)))
        sets = [nagl_charges(mol), bcc, fitted(mol, inverse, potential)]
        errors = [np.sqrt(((inverse @ q - potential) ** 2).sum() / (potential**2).sum()) for q in sets]
        moments = [np.linalg.norm(q @ xyz) * DEBYE for q in sets[:2]]
        ring = [a.GetIdx() for a in mol.GetAtoms() if a.GetAtomicNum() == 7 and a.GetTotalDegree() == 3]
        nitrogen = ", ".join(f"{q[ring[0]]:+.2f}" for q in sets) if ring else ""
        print(
            f"| {name} | {errors[0]:.2f} | {errors[1]:.2f} | {errors[2]:.2f} | {np.linalg.norm(dipole):.2f} | "
            f"{moments[0]:.2f} | {moments[1]:.2f} | {nitrogen} |",
            flush=True,
        )


def fitted(mol: Chem.Mol, inverse: np.ndarray, potential: np.ndarray) -> np.ndarray:
    """Charges (e) of least squares at the points whose sum is the formal charge."""
    n = mol.GetNumAtoms()
    left = np.zeros((n + 1, n + 1))
    left[:n, :n] = inverse.T @ inverse
    left[n, :n] = left[:n, n] = 1.0
    right = np.append(inverse.T @ potential, Chem.GetFormalCharge(mol))
    return np.linalg.solve(left, right)[:n]


if __name__ == "__main__":
    main()
