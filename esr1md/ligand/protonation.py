"""Protonation states near pH 7.4 with their estimated shares; the largest is the dominant state.

Dimorphite-DL (Ropp 2019), a maintained library, finds the ionisable groups; :mod:`esr1md.ligand.pka` corrects the pKa
where its class mean decides wrongly. Shares follow from the pKa values (Henderson-Hasselbalch), with neighbouring
protonated bases made to repel: the second proton of a piperazine costs 4 units.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rdkit import Chem, rdBase

from esr1md.errors import InputError
from esr1md.ligand.pka import repulsion, site_pka

if TYPE_CHECKING:
    from dimorphite_dl.protonate.detect import ProtonationSiteDetector

PH = 7.4
#: States below this share are not listed: two pKa units, twice the error of an estimate.
LEAST_SHARE = 0.01
#: A site this far from the pH is taken as settled; of the open ones at most so many are combined.
_SETTLED_UNITS, _MOST_OPEN = 4.0, 10

_detector: ProtonationSiteDetector | None = None


@dataclass(frozen=True)
class Site:
    """An ionisable group: the atom, ``base`` (gains a proton) or acid (loses one), its pKa and what it is."""

    atom: int
    base: bool
    pka: float
    kind: str


@dataclass(frozen=True)
class State:
    """One protonation state: canonical SMILES, estimated share at pH 7.4 (0 to 1), what is charged in it."""

    smiles: str
    share: float
    description: str

    @property
    def charge(self) -> int:
        """Total formal charge (e)."""
        return Chem.GetFormalCharge(Chem.MolFromSmiles(self.smiles))


def protonation_states(mol: Chem.Mol, ph: float = PH) -> list[State]:
    """The states of a molecule, the dominant one first.

    Parameters
    ----------
    mol
        One neutral molecule (see :func:`neutralised`), hydrogens implicit.
    ph
        Of the water around it.

    Returns
    -------
    list[State]
        The dominant state and every other with a share of at least 1 %, largest first.

    Raises
    ------
    InputError
        No state could be written for this molecule.
    """
    whole, sites = find_sites(mol)
    found: dict[str, float] = {}
    for charged, weight in _weights(whole, sites, ph):
        if weight < LEAST_SHARE and found:
            break
        smiles = _written(whole, sites, charged)
        if smiles:
            found[smiles] = found.get(smiles, 0.0) + weight
    if not found:
        raise InputError(
            f"no protonation state at pH {ph} can be written for '{Chem.MolToSmiles(mol)}'",
            do="write the charged form yourself and keep the charges as written",
        )
    ordered = sorted(found.items(), key=lambda item: (-round(item[1], 6), item[0]))
    return [State(smiles, round(share, 4), describe(Chem.MolFromSmiles(smiles))) for smiles, share in ordered]


def neutralised(mol: Chem.Mol) -> Chem.Mol:
    """Every proton that a written charge stands for is put back or taken off; permanent charges stay."""
    from rdkit.Chem.MolStandardize import rdMolStandardize

    with rdBase.BlockLogs():
        return rdMolStandardize.Uncharger(canonicalOrder=True, force=True, protonationOnly=True).uncharge(mol)


def has_ion(mol: Chem.Mol) -> bool:
    """Whether an atom is charged other than to write a bond (nitro group, N-oxide, ``[S+][O-]``)."""
    return any(_is_ion(atom) for atom in mol.GetAtoms())


def find_sites(mol: Chem.Mol) -> tuple[Chem.Mol, list[Site]]:
    """The molecule with explicit hydrogens, and its ionisable groups with their pKa (atoms of that molecule)."""
    from dimorphite_dl.mol import MoleculeRecord
    from dimorphite_dl.protonate.detect import ProtonationSiteDetector

    global _detector
    _detector = _detector or ProtonationSiteDetector()
    with rdBase.BlockLogs():
        record, matches = _detector.find_sites(MoleculeRecord(Chem.MolToSmiles(mol), ""))
    if record.mol is None:
        raise InputError(f"no ionisable groups can be looked for in '{Chem.MolToSmiles(mol)}'")
    whole = Chem.Mol(record.mol)
    Chem.SanitizeMol(whole)
    sites: dict[int, Site] = {}
    for match in matches:
        for datum in match.pkas:
            index = match.idxs_match[datum.idx_site]
            if index in sites:
                continue
            atom = whole.GetAtomWithIdx(index)
            base = atom.GetAtomicNum() == 7 and not match.name.startswith("*")
            pka = site_pka(whole, index, match.name, datum.mean)
            written = not base and not any(n.GetAtomicNum() == 1 for n in atom.GetNeighbors())
            if pka is not None and not written and atom.GetFormalCharge() == 0:
                sites[index] = Site(index, base, pka, match.name)
    return whole, list(sites.values())


def _weights(mol: Chem.Mol, sites: list[Site], ph: float) -> list[tuple[frozenset[int], float]]:
    """Which sites are charged, with the share of that state; largest first.

    In units of log10, a base that takes its proton adds ``pKa - pH`` and an acid that loses its proton adds
    ``pH - pKa``; neighbouring protonated bases subtract their repulsion (the pKa of polybasic acids are stepwise).
    """
    gain = [(site.pka - ph) if site.base else (ph - site.pka) for site in sites]
    clash = {
        (i, j): repulsion(mol, sites[i].atom, sites[j].atom, (sites[i].kind, sites[j].kind))
        for i, j in itertools.combinations(range(len(sites)), 2)
        if sites[i].base and sites[j].base and min(gain[i], gain[j]) > -_SETTLED_UNITS
    }
    torn = {index for pair, cost in clash.items() if cost for index in pair}
    unsettled = [i for i in range(len(sites)) if abs(gain[i]) < _SETTLED_UNITS or (i in torn and gain[i] > 0)]
    unsettled = sorted(unsettled, key=lambda i: (abs(gain[i]), i))[:_MOST_OPEN]
    settled = frozenset(i for i in range(len(sites)) if gain[i] > 0 and i not in unsettled)
    scored = []
    for count in range(len(unsettled) + 1):
        for chosen in itertools.combinations(sorted(unsettled), count):
            charged = settled | set(chosen)
            score = sum(gain[i] for i in chosen) - sum(
                cost for pair, cost in clash.items() if cost and charged.issuperset(pair)
            )
            scored.append((score, charged))
    best = max(score for score, _ in scored)
    total = sum(10.0 ** (score - best) for score, _ in scored)
    ranked = sorted(scored, key=lambda item: (-round(item[0], 9), sorted(item[1])))
    return [(frozenset(charged), 10.0 ** (score - best) / total) for score, charged in ranked]


def _written(mol: Chem.Mol, sites: list[Site], charged: frozenset[int]) -> str:
    """Canonical SMILES of the state, or an empty text where no valid structure can be drawn for it."""
    state = Chem.RWMol(mol)
    lost = []
    for index in charged:
        site = sites[index]
        atom = state.GetAtomWithIdx(site.atom)
        atom.SetFormalCharge(1 if site.base else -1)
        if site.base:
            atom.SetNoImplicit(True)
            atom.SetNumExplicitHs(atom.GetNumExplicitHs() + 1)
        else:
            lost.append(next(n.GetIdx() for n in atom.GetNeighbors() if n.GetAtomicNum() == 1))
    for index in sorted(lost, reverse=True):
        state.RemoveAtom(index)
    with rdBase.BlockLogs():
        if Chem.SanitizeMol(state, catchErrors=True) != Chem.SanitizeFlags.SANITIZE_NONE:
            return ""
        return Chem.MolToSmiles(Chem.RemoveHs(state))


def _is_ion(atom: Chem.Atom) -> bool:
    charge = atom.GetFormalCharge()
    return bool(charge) and not any(n.GetFormalCharge() * charge < 0 for n in atom.GetNeighbors())


def describe(mol: Chem.Mol) -> str:
    """``protonated tertiary amine, carboxylate; charge 0``."""
    charged = [_kind(atom) for atom in mol.GetAtoms() if _is_ion(atom)]
    total = Chem.GetFormalCharge(mol)
    counted = [f"{charged.count(k)} x {k}" if charged.count(k) > 1 else k for k in dict.fromkeys(charged)]
    return f"{', '.join(counted) or 'no charged group'}; charge {f'{total:+d}' if total else '0'}"


def _kind(atom: Chem.Atom) -> str:
    symbol, charge = atom.GetSymbol(), atom.GetFormalCharge()
    if symbol == "N" and charge > 0:
        if atom.GetIsAromatic():
            return "protonated aromatic N" if atom.GetTotalNumHs() else "quaternary aromatic N"
        if atom.GetHybridization() == Chem.HybridizationType.SP3:
            kind = {3: "primary", 2: "secondary", 1: "tertiary"}.get(atom.GetTotalNumHs())
            return f"protonated {kind} amine" if kind else "quaternary ammonium"
        return "protonated amidine or imine" if atom.GetTotalNumHs() else "iminium"
    if symbol in ("O", "S") and charge < 0 and atom.GetDegree():
        centre = atom.GetNeighbors()[0]
        if centre.GetIsAromatic():
            return "phenolate" if symbol == "O" else "thiolate"
        return {"C": "carboxylate", "S": "sulfonate", "P": "phosphate"}.get(centre.GetSymbol(), "oxide")
    return f"{symbol}{charge:+d}"


def percent(share: float) -> str:
    """``97 %``; never a false ``100 %``."""
    return f"{min(99, math.floor(100 * share + 0.5))} %" if share < 0.9999 else "over 99 %"
