"""What is measured of a pose: clashes, anchors, and the tests of PoseBusters."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rdkit import Chem

from esr1md.poses import pocket

if TYPE_CHECKING:
    import pandas as pd

#: A heavy-atom pair nearer than this fraction of the sum of van der Waals radii is a clash (not between atoms
#: that can share a hydrogen bond, which may come to 2.4 angstrom).
CLASH_FRACTION, HYDROGEN_BOND_LIMIT = 0.75, 2.4
_VDW = {"C": 1.7, "N": 1.55, "O": 1.52, "S": 1.8, "F": 1.47, "Cl": 1.75, "Br": 1.85, "I": 1.98, "P": 1.8, "B": 1.92}


def contacts(
    mol: Chem.Mol,
    xyz: np.ndarray,
    receptor: pocket.Receptor,
    receptor_xyz: np.ndarray,
) -> list[tuple[str, float]]:
    """Clashing heavy-atom pairs: the residue (``L540``) and by how much (angstrom) they are too near."""
    ligand = [a for a in mol.GetAtoms() if a.GetAtomicNum() > 1]
    found = []
    for atom in receptor.topology.atoms():
        symbol = atom.element.symbol
        if symbol == "H":
            continue
        distance = np.linalg.norm(xyz - receptor_xyz[atom.index], axis=1)
        if distance.min() > 3.0:
            continue
        for own in ligand:
            polar = symbol in "NO" and own.GetSymbol() in "NOF"
            limit = HYDROGEN_BOND_LIMIT if polar else CLASH_FRACTION * (_VDW[symbol] + _VDW[own.GetSymbol()])
            if distance[own.GetIdx()] < limit:
                found.append((pocket.residue_label(atom.residue), float(limit - distance[own.GetIdx()])))
    return found


def anchor_distances(mol: Chem.Mol, xyz: np.ndarray, receptor: pocket.Receptor) -> dict[str, float]:
    """Distances (angstrom) of the contacts that anchor ER ligands, for those the ligand can make.

    ``hydroxyl_E353``, ``hydroxyl_R394`` and ``hydroxyl_H524`` from the nearest hydroxyl (or N-H of an
    aromatic ring) of the ligand, ``amine_D351`` from its basic nitrogen.
    """
    donors = [m[0] for m in mol.GetSubstructMatches(Chem.MolFromSmarts("[OX2H,nX3H]"))]
    amines = [a.GetIdx() for a in mol.GetAtoms() if a.GetAtomicNum() == 7 and a.GetFormalCharge() > 0]
    wanted = (
        ("hydroxyl_E353", donors, 353, ("OE1", "OE2")),
        ("hydroxyl_R394", donors, 394, ("NH1", "NH2")),
        ("hydroxyl_H524", donors, 524, ("ND1", "NE2")),
        ("amine_D351", amines, 351, ("OD1", "OD2")),
    )
    found = {}
    for name, own, residue, atoms in wanted:
        points = [p for p in (receptor.named(residue, a) for a in atoms) if p is not None]
        if own and points:
            found[name] = round(float(np.linalg.norm(xyz[own][:, None] - np.array(points)[None], axis=-1).min()), 2)
    return found


def failed_checks(mol: Chem.Mol, receptor_pdb: Path) -> list[str]:
    """Names of the PoseBusters tests that a pose fails in the receptor as it was given.

    The tests of its set for docking: sane chemistry, bond lengths and angles, flat rings and double bonds, internal
    energy, clashes within the ligand and with the receptor (Buttenschoen, Morris and Deane, Chem. Sci. 2024, 15, 3130).
    """
    from pandas import isna

    tests = _busted("dock", mol, mol_cond=str(receptor_pdb))
    return [f"{name} (could not be tested)" if isna(passed) else str(name)
            for name, passed in tests.items() if isna(passed) or not passed]  # fmt: skip


def remember_conformers(mol: Chem.Mol) -> None:
    """Make beforehand the conformers that PoseBusters compares a ligand's energy with: it remembers them.

    Without, the first call of :func:`failed_checks` for a ligand takes seconds more.
    """
    _busted("mol", mol)


def _busted(tests: str, mol: Chem.Mol, **given: str) -> pd.Series:
    """The outcome of a set of PoseBusters' tests."""
    import rdkit
    from posebusters import PoseBusters

    if getattr(rdkit.log_handler.stream, "closed", False):  # PoseBusters flushes it, and fails if it is closed
        rdkit.log_handler.stream = sys.stderr
    return PoseBusters(config=tests).bust([mol], **given).iloc[0]
