"""Groups of a ligand that can bind a cysteine covalently, found by SMARTS, each with the carbon that sulfur attacks.

Found are Michael acceptors with an open-chain double bond or a triple bond, maleimides, alpha-halo carbonyls, strained
rings and isothiocyanates. Not looked for: nitriles, aldehydes, disulfides, nucleophilic aromatic substitution. A
carbon at the double bond must carry hydrogen and neither a heteroatom nor, but for cyanoacrylamides and nitroalkenes,
an aromatic ring: cinnamic acids, the acids of many SERDs, dienones of steroids and enamines do not react with thiols
under the conditions of a cell.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from rdkit import Chem

#: The beta carbon of an open-chain double bond, with one or two hydrogens and no neighbour that takes its reactivity.
_OPEN = "!R;!$(*-[!#6;!#1])"
_TERMINAL, _INNER = f"[CX3;H2;{_OPEN}:1]", f"[CX3;H1;{_OPEN};!$(*-a):1]"
_BETA = f"[CX3;H1,H2;{_OPEN};!$(*-a):1]"

#: Group, what its electrophilic carbon is called, SMARTS with that carbon mapped 1. The first that matches a carbon
#: names it.
GROUPS: tuple[tuple[str, str, str], ...] = (
    ("maleimide", "ring carbon", "O=C1[CX3;H1:1]=[CX3]C(=O)N1"),
    ("cyanoacrylamide", "C-beta", f"[CX3;H1,H2;{_OPEN}:1]=[CX3](C#N)C(=O)[NX3]"),
    ("acrylamide", "C-beta", f"{_TERMINAL}=[CX3]C(=O)[NX3]"),
    ("4-aminobut-2-enamide", "C-beta", f"{_INNER}([CX4][NX3,NX4])=[CX3]C(=O)[NX3]"),
    ("crotonamide", "C-beta", f"{_INNER}=[CX3]C(=O)[NX3]"),
    ("propynamide", "C-beta", "[CX2:1]#[CX2]C(=O)[NX3]"),
    ("acrylate ester", "C-beta", f"{_BETA}=[CX3]C(=O)[OX2][#6]"),
    ("propynoate ester", "C-beta", "[CX2:1]#[CX2]C(=O)[OX2][#6]"),
    ("enone", "C-beta", f"{_BETA}=[CX3]C(=O)[#6]"),
    ("ynone", "C-beta", "[CX2:1]#[CX2]C(=O)[#6]"),
    ("vinyl sulfone", "C-beta", f"{_BETA}=[CX3]S(=O)(=O)[#6]"),
    ("vinyl sulfonamide", "C-beta", f"{_BETA}=[CX3]S(=O)(=O)[NX3]"),
    ("nitroalkene", "C-beta", f"[CX3;H1,H2;{_OPEN}:1]=[CX3][N+](=O)[O-]"),
    ("haloacetamide", "C-alpha", "[CX4;H2,$([CX4;H1]F):1]([Cl,Br,I])C(=O)[NX3]"),
    ("halomethyl ketone", "C-alpha", "[CX4;H2,$([CX4;H1]F):1]([Cl,Br,I])C(=O)[#6]"),
    ("epoxide", "ring carbon", "[CX4:1]1[OX2][CX4]1"),
    ("aziridine", "ring carbon", "[CX4:1]1[NX3,NX4][CX4]1"),
    ("isothiocyanate", "carbon", "[CX2:1](=N)=S"),
)


@dataclass(frozen=True)
class Warhead:
    """A cysteine-reactive group: its name, what its electrophilic carbon is called, and that atom's index."""

    group: str
    place: str
    atom: int


def find_warheads(mol: Chem.Mol) -> tuple[Warhead, ...]:
    """The cysteine-reactive groups of a molecule, hydrogens explicit or not, in the order of :data:`GROUPS`.

    A group with two electrophilic carbons (epoxide, aziridine, maleimide) is listed once for each.
    """
    found: dict[int, Warhead] = {}
    for group, place, query, electrophile in _queries():
        # not uniquified: a symmetric ring matches once from each of its carbons
        for match in mol.GetSubstructMatches(query, uniquify=False):
            found.setdefault(match[electrophile], Warhead(group, place, match[electrophile]))
    return tuple(found.values())


@lru_cache(maxsize=1)
def _queries() -> tuple[tuple[str, str, Chem.Mol, int], ...]:
    queries = []
    for group, place, smarts in GROUPS:
        query = Chem.MolFromSmarts(smarts)
        electrophile = next(a.GetIdx() for a in query.GetAtoms() if a.GetAtomMapNum() == 1)
        queries.append((group, place, query, electrophile))
    return tuple(queries)
