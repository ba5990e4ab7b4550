"""Starts of a placement: the ligand's conformers laid on reference ligands.

Two ways for each reference: the maximum common substructure (its atoms also fix the embedding of new
conformers), and, for scaffolds that share little, Open3DAlign on Crippen contributions with the result flipped
about the reference's principal axes. Lengths are angstrom.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from rdkit import Chem
from rdkit.Chem import AllChem, rdFMCS, rdMolAlign, rdMolDescriptors

from esr1md.poses.growth import rigid_pieces, rotor_tree
from esr1md.poses.references import Reference

#: Methods of laying by shape: as aligned, and turned by 180 degrees about each of the reference's principal axes.
FLIPS = (
    "shape",
    "shape flipped about its long axis",
    "shape flipped about its middle axis",
    "shape flipped about its short axis",
)
METHODS = ("core", *FLIPS)

#: Longest search for a common core (s), after which the reference is used by its shape alone. A guard, far above the
#: 25 s that the slowest pair at hand takes on a loaded machine (bazedoxifene on raloxifene).
CORE_LIMIT = 300


@dataclass(frozen=True)
class Start:
    """A conformer laid on a reference: positions (n x 3), the atoms that lie on the reference's, one of ``METHODS``."""

    xyz: np.ndarray
    core: frozenset[int]
    reference: str
    method: str


def conformers(mol: Chem.Mol, count: int, seed: int, coordinates: dict | None = None) -> Chem.Mol:
    """A copy of ``mol`` with up to ``count`` ETKDGv3 conformers; ``coordinates`` (atom -> Point3D) fixes a core."""
    copy = Chem.Mol(mol)
    copy.RemoveAllConformers()
    settings = AllChem.ETKDGv3()
    settings.randomSeed = seed
    settings.numThreads = 1
    settings.useSmallRingTorsions = True
    settings.maxIterations = 30
    if coordinates:
        settings.SetCoordMap(coordinates)
        settings.useRandomCoords = True
        settings.maxIterations = 4  # a core the ligand's stereochemistry refuses is not worth insisting on
    AllChem.EmbedMultipleConfs(copy, count, settings)
    return copy


def common_core(mol: Chem.Mol, reference: Chem.Mol, limit: int = 6) -> list[list[tuple[int, int]]]:
    """Ways to lay the maximum common substructure of two molecules on each other: lists of (ligand, reference).

    Rings match whole rings only; a ring atom may be of any element, since a core keeps its shape when C
    becomes N, O or S. The search takes seconds for some pairs of fused rings, so its result is kept.
    """
    return [list(way) for way in _all_ways(_graph(mol), _graph(reference))[:limit]]


def _graph(mol: Chem.Mol) -> bytes:
    """A molecule without its positions: a reference moves with the receptor, its core stays the same."""
    copy = Chem.Mol(mol)
    copy.RemoveAllConformers()
    return copy.ToBinary()


@lru_cache(maxsize=1024)
def _all_ways(ligand: bytes, other: bytes) -> tuple[tuple[tuple[int, int], ...], ...]:
    mol, reference = Chem.Mol(ligand), Chem.Mol(other)
    bare, to_mol = _near_rings(mol)
    bare_reference, to_reference = _near_rings(reference)
    settings = rdFMCS.MCSParameters()
    settings.AtomTyper = rdFMCS.AtomCompare.CompareAnyHeavyAtom
    settings.BondTyper = rdFMCS.BondCompare.CompareOrder
    settings.BondCompareParameters.RingMatchesRingOnly = True
    settings.BondCompareParameters.CompleteRingsOnly = True
    settings.AtomCompareParameters.RingMatchesRingOnly = True
    settings.Timeout = CORE_LIMIT
    if bare.HasSubstructMatch(bare_reference):
        query = bare_reference
    else:
        result = rdFMCS.FindMCS([bare, bare_reference], settings)
        if result.canceled or result.numAtoms < 6:  # the largest core so far would depend on the machine's load
            return ()
        query = result.queryMol
    target = bare_reference.GetSubstructMatch(query)

    def likeness(match: tuple[int, ...]) -> int:
        return sum(
            bare.GetAtomWithIdx(i).GetAtomicNum() == bare_reference.GetAtomWithIdx(j).GetAtomicNum()
            for i, j in zip(match, target, strict=True)
        )

    matches = bare.GetSubstructMatches(query, uniquify=False, maxMatches=200)
    best = sorted(matches, key=lambda m: (-likeness(m), m))
    return tuple(tuple((to_mol[i], to_reference[j]) for i, j in zip(m, target, strict=True)) for m in best)


def _near_rings(mol: Chem.Mol, reach: int = 6) -> tuple[Chem.Mol, list[int]]:
    """Heavy atoms within ``reach`` bonds of a ring and their indices in ``mol``: tails only slow the search."""
    heavy = [a.GetIdx() for a in mol.GetAtoms() if a.GetAtomicNum() > 1]
    kept = {a.GetIdx() for a in mol.GetAtoms() if a.IsInRing()}
    for _ in range(reach):
        kept |= {n.GetIdx() for i in kept for n in mol.GetAtomWithIdx(i).GetNeighbors() if n.GetAtomicNum() > 1}
    kept = kept or set(heavy)
    bare = Chem.RWMol(Chem.RemoveAllHs(mol))
    for position in reversed(range(len(heavy))):
        if heavy[position] not in kept:
            bare.RemoveAtom(position)
    cut = bare.GetMol()
    cut.UpdatePropertyCache(strict=False)
    Chem.FastFindRings(cut)
    return cut, [i for i in heavy if i in kept]


def starts_on(mol: Chem.Mol, free: Chem.Mol, reference: Reference, seed: int) -> list[Start]:
    """Lay a ligand on one reference.

    Parameters
    ----------
    mol
        The ligand (all hydrogens, no conformer needed).
    free
        The same with free conformers.
    reference
        In the receptor's frame already.
    """
    found: list[Start] = []
    fixed = reference.mol.GetConformer()
    points = fixed.GetPositions()
    piece = rigid_pieces(mol)[0]
    for number, mapping in enumerate(common_core(mol, reference.mol)):
        sources = [free]
        if number < 2 and len(mapping) >= 10 and len({piece[i] for i, _ in mapping}) > 1:
            # a core of one rigid piece needs no embedding of its own: aligning free conformers gives the same
            wanted = {i: fixed.GetAtomPosition(j) for i, j in mapping}
            sources.append(conformers(mol, 2, seed + number, wanted))
        for source in sources:
            for conformer in [c.GetId() for c in source.GetConformers()][:4]:
                copy = Chem.Mol(source, confId=conformer)
                rdMolAlign.AlignMol(copy, reference.mol, atomMap=mapping)
                xyz = copy.GetConformer().GetPositions()
                core = frozenset(i for i, j in mapping if np.linalg.norm(xyz[i] - points[j]) < 1.0)
                if len(core) >= 6:
                    found.append(Start(xyz, core, reference.name, "core"))
    contributions = rdMolDescriptors._CalcCrippenContribs(mol), rdMolDescriptors._CalcCrippenContribs(reference.mol)
    heavy = [a.GetIdx() for a in reference.mol.GetAtoms() if a.GetAtomicNum() > 1]
    centre = points[heavy].mean(0)
    axes = np.linalg.svd(points[heavy] - centre)[2]
    for conformer in [c.GetId() for c in free.GetConformers()][:6]:
        copy = Chem.Mol(free, confId=conformer)
        alignment = rdMolAlign.GetCrippenO3A(copy, reference.mol, *contributions)
        alignment.Align()
        xyz = copy.GetConformer().GetPositions()
        flips = [np.eye(3)] + [2.0 * np.outer(axis, axis) - np.eye(3) for axis in axes]
        for number, flip in enumerate(flips):
            moved = (xyz - centre) @ flip.T + centre
            core = _on_shape(moved, mol, points[heavy])
            if len(core) >= 6:
                found.append(Start(moved, core, reference.name, FLIPS[number]))
    return found


def _on_shape(xyz: np.ndarray, mol: Chem.Mol, target: np.ndarray) -> frozenset[int]:
    """Heavy atoms of the largest rigid piece, if most of them lie within 1.5 angstrom of the reference's atoms."""
    root, _ = rotor_tree(mol, set())
    near = np.linalg.norm(xyz[root][:, None] - target[None], axis=-1).min(1) < 1.5
    return frozenset(int(i) for i in root) if near.mean() > 0.6 else frozenset()
