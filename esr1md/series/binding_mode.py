"""One binding mode for a series: compounds that share a scaffold are compared where it lies the same way.

Two poses of one compound whose energies cannot be told apart would otherwise be chosen by chance, and compounds
compared across modes differ by the mode, not by what their substituents do. The mode is chosen by the force field that
ranked the poses, for the series as a whole: the place of the common scaffold that costs least, summed over compounds.
Measured affinities have no part in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from rdkit import Chem
from rdkit.Chem import rdFMCS

#: RMSD (angstrom) of the scaffold's atoms within which two compounds bind alike: a flat one turned over about
#: its long axis, which points its substituents to the other side of the pocket, moves by 1.6.
ALIKE = 1.0
#: What it costs (kcal/mol) that a compound has no pose in a mode, and the most that a pose in it may cost.
ABSENT = 10.0
#: Atoms below which a scaffold says nothing of how a compound lies; share of the compounds that must have it.
LEAST_ATOMS, SHARE = 8, 0.7
#: Acyclic atoms in a row by which rings are held together; a longer chain is an arm that may lie anywhere.
LINKER = 2
#: Seconds for the search of the scaffold, and matches of it (symmetry) that are tried.
SEARCH_S, MATCHES = 20, 64


@dataclass(frozen=True)
class PlacedLigand:
    """A ligand with its poses.

    Attributes
    ----------
    mol
        Atoms as in the poses; hydrogens may be there.
    poses
        Positions (n_atoms, 3) in angstrom of each pose, best first.
    above
        Energy (kcal/mol) of each pose above the ligand's best.
    """

    mol: Chem.Mol
    poses: tuple[np.ndarray, ...]
    above: tuple[float, ...]


@dataclass(frozen=True)
class BindingMode:
    """How a series binds.

    Attributes
    ----------
    scaffold
        SMARTS of what its compounds share; empty where they share too little.
    n_atoms
        Atoms of it whose place is compared: its rings and what holds them together, without flexible arms.
    leader
        Index of the ligand, and of its pose, that show the mode.
    in_mode
        For each ligand the poses that lie alike, best first; all of them where it lacks the scaffold or has none.
    rmsd
        For each ligand the scaffold's RMSD (angstrom) of each pose to the leader's; NaN without scaffold.
    missing
        Ligands that have the scaffold and no pose in the mode.
    """

    scaffold: str
    n_atoms: int
    leader: tuple[int, int] | None
    in_mode: tuple[tuple[int, ...], ...]
    rmsd: tuple[tuple[float, ...], ...]
    missing: tuple[int, ...]


def common_scaffold(mols: Sequence[Chem.Mol]) -> Chem.Mol | None:
    """The largest scaffold of all molecules, or else of most, whole rings only; ``None`` where it is small."""
    bare = [Chem.RemoveAllHs(mol) for mol in mols]
    if len(bare) < 2:
        return None
    for share in (1.0, SHARE):
        found = rdFMCS.FindMCS(
            bare, threshold=share, timeout=SEARCH_S, ringMatchesRingOnly=True, completeRingsOnly=True,
            atomCompare=rdFMCS.AtomCompare.CompareElements, bondCompare=rdFMCS.BondCompare.CompareOrder,
        )  # fmt: skip
        if found.numAtoms >= LEAST_ATOMS:
            return Chem.MolFromSmarts(found.smartsString)
    return None


def rigid_atoms(scaffold: Chem.Mol, mol: Chem.Mol, match: Sequence[int]) -> list[int]:
    """Indices in ``scaffold`` of its largest cluster of rings, with the short linkers within it and its neighbours.

    Parameters
    ----------
    mol, match
        A molecule that has the scaffold, and its atoms in the scaffold's order.
    """
    own = {atom: i for i, atom in enumerate(match)}
    bonds = [(own[b.GetBeginAtomIdx()], own[b.GetEndAtomIdx()]) for b in mol.GetBonds()
             if b.GetBeginAtomIdx() in own and b.GetEndAtomIdx() in own]  # fmt: skip
    neighbours: dict[int, set[int]] = {i: set() for i in own.values()}
    for a, b in bonds:
        neighbours[a].add(b)
        neighbours[b].add(a)
    rings = {own[atom] for atom in own if mol.GetAtomWithIdx(atom).IsInRing()}
    if not rings:
        return sorted(own.values())
    clusters: list[set[int]] = []
    left = set(rings)
    while left:
        cluster, edge = set(), {left.pop()}
        while edge:
            cluster |= edge
            edge = set().union(*(_near_rings(atom, neighbours, rings) for atom in edge)) - cluster
        left -= cluster
        clusters.append(cluster)
    largest = max(clusters, key=lambda cluster: (len(cluster & rings), -min(cluster)))
    return sorted(largest.union(*(neighbours[atom] for atom in largest)))


def _near_rings(atom: int, neighbours: dict[int, set[int]], rings: set[int]) -> set[int]:
    """Ring atoms within :data:`LINKER` acyclic atoms of a ring atom, and those acyclic atoms."""
    found: set[int] = set()
    paths = [[atom]]
    while paths:
        path = paths.pop()
        for step in neighbours[path[-1]] - set(path):
            if step in rings:
                found |= {*path, step}
            elif len(path) <= LINKER:
                paths.append([*path, step])
    return found


def shared_mode(ligands: Sequence[PlacedLigand]) -> BindingMode:
    """The binding mode of a series that costs least in all; see :class:`BindingMode`."""
    scaffold = common_scaffold([ligand.mol for ligand in ligands])
    everything = tuple(tuple(range(len(ligand.poses))) for ligand in ligands)
    unknown = tuple(tuple(float("nan") for _ in ligand.poses) for ligand in ligands)
    if scaffold is None:
        return BindingMode("", 0, None, everything, unknown, ())
    matches = [ligand.mol.GetSubstructMatches(scaffold, uniquify=False, maxMatches=MATCHES) for ligand in ligands]
    first = next(i for i, found in enumerate(matches) if found)
    rigid = rigid_atoms(scaffold, ligands[first].mol, matches[first][0])
    matches = [sorted({tuple(match[k] for k in rigid) for match in found}) for found in matches]
    best: tuple[float, tuple[int, int], list[list[float]]] | None = None
    for i, ligand in enumerate(ligands):
        for k, pose in enumerate(ligand.poses):
            if not matches[i] or ligand.above[k] > ABSENT:
                continue
            where = pose[list(matches[i][0])]
            rmsd = [
                [_nearest(other, found, where) for other in each.poses]
                for each, found in zip(ligands, matches, strict=True)
            ]
            cost = sum(
                min([ABSENT, *(a for a, r in zip(each.above, row, strict=True) if r <= ALIKE)])
                for each, found, row in zip(ligands, matches, rmsd, strict=True)
                if found
            )
            if best is None or cost < best[0] - 1e-9:
                best = cost, (i, k), rmsd
    if best is None:
        return BindingMode("", 0, None, everything, unknown, ())
    _, leader, rmsd = best
    in_mode, missing = [], []
    for i, row in enumerate(rmsd):
        alike = tuple(k for k, r in enumerate(row) if r <= ALIKE)
        if matches[i] and not alike:
            missing.append(i)
        in_mode.append(alike or everything[i])
    return BindingMode(
        Chem.MolToSmarts(scaffold), len(rigid), leader, tuple(in_mode),
        tuple(tuple(row) for row in rmsd), tuple(missing),
    )  # fmt: skip


def _nearest(pose: np.ndarray, matches: Sequence[Sequence[int]], where: np.ndarray) -> float:
    """Least RMSD (angstrom) of a pose's scaffold to ``where`` over the ways it matches; NaN where it does not."""
    if not matches:
        return float("nan")
    picked = pose[np.array(matches)]
    return float(np.sqrt(((picked - where) ** 2).sum(axis=2).mean(axis=1)).min())
