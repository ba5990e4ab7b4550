"""Whether a pose of a degrader (PROTAC) leaves its ligase binder to the solvent, where a ligase could take it."""

from __future__ import annotations

import numpy as np
from rdkit import Chem

from esr1md.ligand.degraders import ligase_binder
from esr1md.ligand.labels import TERNARY
from esr1md.poses import pocket
from esr1md.poses.docking_score import RADII

#: Radius of the probe (angstrom) and points on the sphere of an atom.
PROBE, POINTS = 1.4, 400


def exit_label(mol: Chem.Mol, xyz: np.ndarray, receptor: pocket.Receptor) -> str:
    """How much of the ligase binder of a pose (positions n x 3, angstrom) is exposed; empty for other ligands.

    The share is of the surface that the same atoms have in the ligand alone, in the conformation of the pose. It says
    whether the linker leads out of the pocket, and nothing of whether a ligase fits there.
    """
    binder = ligase_binder(mol)
    if not binder:
        return ""
    heavy = np.array([atom.GetIdx() for atom in mol.GetAtoms() if atom.GetAtomicNum() > 1])
    own = np.array([RADII[mol.GetAtomWithIdx(int(i)).GetSymbol()] for i in heavy])
    atoms = [atom for atom in receptor.topology.atoms() if atom.element.symbol != "H"]
    around = receptor.positions[[atom.index for atom in atoms]]
    radii = np.array([RADII[atom.element.symbol] for atom in atoms])
    chosen = np.isin(heavy, binder)
    alone = exposed_area(xyz[heavy], own, chosen)
    bound = exposed_area(
        np.vstack([xyz[heavy], around]), np.append(own, radii), np.append(chosen, np.zeros(len(atoms)))
    )
    return f"degrader: ligase binder {100 * bound / alone:.0f} % exposed to solvent; {TERNARY}"


def exposed_area(xyz: np.ndarray, radii: np.ndarray, chosen: np.ndarray) -> float:
    """Solvent-accessible area (angstrom^2) of the chosen atoms among all (n x 3, n, n), by Shrake and Rupley (1973)."""
    number = np.arange(POINTS) + 0.5
    polar, azimuth = np.arccos(1 - 2 * number / POINTS), np.pi * (1 + 5**0.5) * number
    sphere = np.stack([np.sin(polar) * np.cos(azimuth), np.sin(polar) * np.sin(azimuth), np.cos(polar)], axis=1)
    reach = radii + PROBE
    area = 0.0
    for i in np.flatnonzero(chosen):
        apart = np.linalg.norm(xyz - xyz[i], axis=1)
        near = np.flatnonzero(apart < reach + reach[i])
        near = near[near != i]
        points = xyz[i] + reach[i] * sphere
        hidden = (np.linalg.norm(points[:, None] - xyz[near][None], axis=-1) < reach[near]).any(axis=1)
        area += 4 * np.pi * reach[i] ** 2 * float(1 - hidden.mean())
    return area
