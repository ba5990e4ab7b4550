"""Anchor and grow: a placed core keeps its place, the rest is built outwards bond by bond (Ewing and Kuntz 1997)."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from rdkit import Chem

from esr1md.poses.docking_score import PocketScore


@dataclass(frozen=True)
class Rotor:
    """A rotatable bond ``a - b``; ``moved`` turns with ``b``; ``fragment`` is the rigid piece that ``b`` starts."""

    a: int
    b: int
    moved: np.ndarray
    fragment: np.ndarray


_ROTATABLE = Chem.MolFromSmarts("[!$(*#*)&!D1]-&!@[!$(*#*)&!D1]")
_AMIDE = Chem.MolFromSmarts("[CX3](=O)-!@[NX3]")


def rotatable_bonds(mol: Chem.Mol) -> set[frozenset[int]]:
    """Bonds between heavy atoms that turn: single, acyclic, not terminal, not an amide."""
    heavy = Chem.RemoveAllHs(mol, sanitize=False)
    kept = [a.GetIdx() for a in mol.GetAtoms() if a.GetAtomicNum() > 1]
    heavy.UpdatePropertyCache(strict=False)
    Chem.FastFindRings(heavy)
    amides = {frozenset((m[0], m[2])) for m in mol.GetSubstructMatches(_AMIDE)}
    found = {frozenset((kept[i], kept[j])) for i, j in heavy.GetSubstructMatches(_ROTATABLE)}
    return {b for b in found if b not in amides and not _only_hydrogens_move(mol, b)}


def _only_hydrogens_move(mol: Chem.Mol, bond: frozenset[int]) -> bool:
    return any(sum(n.GetAtomicNum() > 1 for n in mol.GetAtomWithIdx(i).GetNeighbors()) < 2 for i in bond)


def rigid_pieces(mol: Chem.Mol) -> tuple[list[int], list[list[int]], set[frozenset[int]]]:
    """Number of the rigid piece of each atom, the atoms of each piece, and the bonds between pieces."""
    bonds = rotatable_bonds(mol)
    piece = [-1] * mol.GetNumAtoms()
    pieces: list[list[int]] = []
    for start in range(mol.GetNumAtoms()):
        if piece[start] >= 0:
            continue
        queue, members = deque([start]), []
        piece[start] = len(pieces)
        while queue:
            i = queue.popleft()
            members.append(i)
            for n in mol.GetAtomWithIdx(i).GetNeighbors():
                j = n.GetIdx()
                if piece[j] < 0 and frozenset((i, j)) not in bonds:
                    piece[j] = len(pieces)
                    queue.append(j)
        pieces.append(members)
    return piece, pieces, bonds


def rotor_tree(mol: Chem.Mol, core: set[int]) -> tuple[np.ndarray, list[Rotor]]:
    """Heavy atoms of the root piece and the rotors in the order of growth from it.

    The root is the rigid piece that holds most of ``core`` (the largest one breaks a tie).
    """
    piece, pieces, bonds = rigid_pieces(mol)
    root = max(range(len(pieces)), key=lambda p: (len(core.intersection(pieces[p])), len(pieces[p])))
    order, seen, links = deque([root]), {root}, []
    while order:
        p = order.popleft()
        for bond in sorted(sorted(b) for b in bonds):
            for a, b in (bond, bond[::-1]):
                if piece[a] == p and piece[b] not in seen:
                    seen.add(piece[b])
                    order.append(piece[b])
                    links.append((a, b))
    below: dict[int, set[int]] = {}
    for _, b in reversed(links):
        below[piece[b]] = set(pieces[piece[b]]).union(
            *(below[piece[d]] for c, d in links if piece[c] == piece[b] and piece[d] in below)
        )
    heavy = {a.GetIdx() for a in mol.GetAtoms() if a.GetAtomicNum() > 1}
    rotors = [
        Rotor(a, b, np.array(sorted(below[piece[b]] - {b})), np.array(sorted(heavy.intersection(pieces[piece[b]]))))
        for a, b in links
    ]
    return np.array(sorted(heavy.intersection(pieces[root]))), rotors


def turned(xyz: np.ndarray, rotor: Rotor, angles: np.ndarray) -> np.ndarray:
    """``xyz`` (b x n x 3) with ``rotor`` turned by each of ``angles`` (k, radian): ``(b k) x n x 3`` (Rodrigues)."""
    axis = xyz[:, rotor.b] - xyz[:, rotor.a]
    axis /= np.linalg.norm(axis, axis=-1, keepdims=True)
    origin = xyz[:, None, None, rotor.b]
    v = xyz[:, None, rotor.moved] - origin
    u = axis[:, None, None]
    cos, sin = np.cos(angles)[None, :, None, None], np.sin(angles)[None, :, None, None]
    rotated = v * cos + np.cross(u, v) * sin + u * (u * v).sum(-1, keepdims=True) * (1 - cos)
    out = np.repeat(xyz[:, None], len(angles), axis=1)
    out[:, :, rotor.moved] = rotated + origin
    return out.reshape(-1, *xyz.shape[1:])


def grow(
    xyz: np.ndarray, mol: Chem.Mol, core: frozenset[int], score: PocketScore, *, beam: int, step_degrees: float = 30.0
) -> tuple[np.ndarray, np.ndarray]:
    """Grow one placed conformer outwards from its core.

    Parameters
    ----------
    xyz
        Positions of all atoms, n x 3.
    core
        Atoms that lie on the reference; a piece that is mostly core keeps its torsion within 30 degrees.
    beam
        Partial poses kept at each bond.

    Returns
    -------
    poses (b x n x 3) and their scores (b), best first.
    """
    root, rotors = rotor_tree(mol, set(core))
    poses, placed = xyz[None].copy(), [int(i) for i in root]
    scores = score.atoms(poses, root)
    every = np.deg2rad(np.arange(0.0, 360.0, step_degrees))
    for rotor in rotors:
        mostly_core = sum(int(i) in core for i in rotor.fragment) > len(rotor.fragment) / 2
        angles = np.deg2rad(np.array([-30.0, -15.0, 0.0, 15.0, 30.0])) if mostly_core else every
        trial = turned(poses, rotor, angles)
        scores = np.repeat(scores, len(angles)) + score.atoms(trial, rotor.fragment)
        others = np.array([i for i in placed if i != rotor.a])
        own = np.array([i for i in rotor.fragment if i != rotor.b])
        if len(others) and len(own):
            apart = np.linalg.norm(trial[:, own][:, :, None] - trial[:, others][:, None], axis=-1)
            scores += (10.0 * np.clip(3.0 - apart, 0.0, None) ** 2).sum((-1, -2))  # gauche carbons are 3.0 apart
        best = np.argsort(scores, kind="stable")[:beam]
        poses, scores = trial[best], scores[best]
        placed.extend(int(i) for i in rotor.fragment)
    return poses, scores
