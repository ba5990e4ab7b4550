"""A fast score for partial poses: the terms of AutoDock Vina with a capped repulsion, and salt bridges.

Vina's terms and weights are those of Trott and Olson (2010). The repulsion is capped, since side chains give
way later, except where atoms would pass through each other; salt bridges and the E353/R394 clamp are added,
which Vina does not know. Lengths are angstrom, scores about kcal/mol.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from rdkit import Chem

#: Vina's atom radii (angstrom).
RADII = {"C": 1.9, "N": 1.8, "O": 1.7, "S": 2.0, "P": 2.1, "F": 1.5, "Cl": 1.8, "Br": 2.0, "I": 2.2, "B": 1.9}

#: Deepest overlap (angstrom) that still raises the repulsion: a side chain can give way by about this much.
SOFTEST_OVERLAP = 1.3
#: Below this distance (angstrom) nothing gives way: a chain would thread a ring or pass through a bond.
THREADING = 2.6
#: Weight of one ideal salt bridge (or like-charge contact, with the opposite sign).
SALT_BRIDGE = 1.5
#: Extra weight of a hydroxyl at the E353/R394 clamp that anchors the A ring of every high-affinity ligand.
CLAMP_BONUS = 1.0


@dataclass(frozen=True)
class Features:
    """Heavy atoms of a receptor pocket or a ligand with what the score needs (all arrays of length n).

    ``index`` points into the molecule the atoms came from; ``clamp`` marks E353 OE and R394 NH (receptor) or
    hydroxyl O (ligand); ``charge`` is +1 or -1 on the atoms that carry a formal charge.
    """

    index: np.ndarray
    radius: np.ndarray
    hydrophobic: np.ndarray
    donor: np.ndarray
    acceptor: np.ndarray
    charge: np.ndarray
    clamp: np.ndarray


def ligand_features(mol: Chem.Mol) -> Features:
    """Features of a ligand's heavy atoms; ``index`` is the RDKit atom index."""
    heavy = [a for a in mol.GetAtoms() if a.GetAtomicNum() > 1]
    polar = {7, 8, 9, 15, 16}
    donors = [a.GetAtomicNum() in (7, 8) and a.GetTotalNumHs(includeNeighbors=True) > 0 for a in heavy]
    acceptors = [
        a.GetAtomicNum() == 8
        or (
            a.GetAtomicNum() == 7
            and a.GetFormalCharge() <= 0
            and a.GetTotalNumHs(includeNeighbors=True) == 0
            and a.GetDegree() < 3
        )
        for a in heavy
    ]
    greasy = [
        a.GetAtomicNum() in (9, 17, 35, 53)
        or (a.GetAtomicNum() in (6, 16) and not any(n.GetAtomicNum() in polar - {16} for n in a.GetNeighbors()))
        for a in heavy
    ]
    carboxylate = {i for match in mol.GetSubstructMatches(Chem.MolFromSmarts("[CX3](=O)[O-]")) for i in match[1:]}
    charge = [-1.0 if a.GetIdx() in carboxylate else float(np.sign(a.GetFormalCharge())) for a in heavy]
    hydroxyl = [a.GetAtomicNum() == 8 and d for a, d in zip(heavy, donors, strict=True)]
    return Features(
        np.array([a.GetIdx() for a in heavy]),
        np.array([RADII[a.GetSymbol()] for a in heavy]),
        np.array(greasy),
        np.array(donors),
        np.array(acceptors),
        np.array(charge),
        np.array(hydroxyl),
    )


#: Resolution of the tabulated score (angstrom^2) and its end: at r = 3 a bin is 0.02 angstrom wide.
TABLE_STEP, TABLE_END = 0.1, 100.0


@dataclass(frozen=True)
class PocketScore:
    """The score of one ligand's atoms in one pocket, tabulated by squared distance for each pair of atom types.

    Attributes
    ----------
    pocket_xyz
        Pocket heavy atoms, m x 3 (float32, angstrom).
    offset
        Where the table of each pair starts, n x m.
    table
        Concatenated tables, the last bin of each zero.
    row
        Position among the ligand's heavy atoms by atom index of the whole molecule.
    """

    pocket_xyz: np.ndarray
    offset: np.ndarray
    table: np.ndarray
    row: dict[int, int]

    def atoms(self, xyz: np.ndarray, index: np.ndarray) -> np.ndarray:
        """Score of the heavy atoms ``index`` in each pose of ``xyz`` (b x n x 3): array b, lower is better."""
        picked = xyz[:, index].astype(np.float32)
        square = -2.0 * (picked.reshape(-1, 3) @ self.pocket_xyz.T).reshape(*picked.shape[:-1], -1)
        square += (picked**2).sum(-1)[..., None]
        square += (self.pocket_xyz**2).sum(-1)
        np.clip(square, 0.0, TABLE_END, out=square)
        square *= 1.0 / TABLE_STEP
        where = square.astype(np.int32)
        where += self.offset[[self.row[int(i)] for i in index]]
        return self.table[where].sum((-1, -2))


def pocket_score(ligand: Features, pocket_xyz: np.ndarray, pocket: Features) -> PocketScore:
    """Tabulate :func:`pair_terms` for a ligand in a pocket."""
    kinds, rows = zip(
        *(
            np.unique(np.column_stack([getattr(f, n) for n in _TYPE]).astype(float), axis=0, return_inverse=True)
            for f in (ligand, pocket)
        ),
        strict=True,
    )
    bins = int(TABLE_END / TABLE_STEP) + 1
    r = np.sqrt((np.arange(bins) + 0.5) * TABLE_STEP)
    table = np.array(
        [
            [pair_terms(r, dict(zip(_TYPE, a, strict=True)), dict(zip(_TYPE, b, strict=True))) for b in kinds[1]]
            for a in kinds[0]
        ],
        dtype=np.float32,
    )
    table[..., -1] = 0.0
    own, other = (np.asarray(r).reshape(-1) for r in rows)
    offset = ((own[:, None] * len(kinds[1]) + other[None]) * bins).astype(np.int32)
    return PocketScore(
        pocket_xyz.astype(np.float32), offset, table.reshape(-1), {int(i): k for k, i in enumerate(ligand.index)}
    )


_TYPE = ("radius", "hydrophobic", "donor", "acceptor", "charge", "clamp")


def pair_terms(r: np.ndarray, ligand: dict[str, float], pocket: dict[str, float]) -> np.ndarray:
    """Score of two atoms at distances ``r`` (angstrom): Vina's weighted terms, salt bridges and the clamp."""
    gap = r - ligand["radius"] - pocket["radius"]
    score = -0.035579 * np.exp(-((gap / 0.5) ** 2)) - 0.005156 * np.exp(-(((gap - 3.0) / 2.0) ** 2))
    score += 0.840245 * np.clip(-gap, 0.0, SOFTEST_OVERLAP) ** 2
    score += 6.0 * np.clip(THREADING - r, 0.0, None) ** 2
    contact = np.clip(-gap / 0.7, 0.0, 1.0)
    if ligand["hydrophobic"] and pocket["hydrophobic"]:
        score -= 0.035069 * np.clip(1.5 - gap, 0.0, 1.0)
    if (ligand["donor"] and pocket["acceptor"]) or (ligand["acceptor"] and pocket["donor"]):
        score -= 0.587439 * contact
    if ligand["clamp"] and pocket["clamp"]:
        score -= CLAMP_BONUS * contact
    return score + SALT_BRIDGE * ligand["charge"] * pocket["charge"] * np.clip((2.5 - gap) / 2.5, 0.0, 1.0)
