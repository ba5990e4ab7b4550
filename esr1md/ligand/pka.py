"""pKa of the ionisable groups where a mean over a whole class says too little.

Dimorphite-DL (Ropp 2019) finds the groups and knows a mean pKa for each of some sixty kinds. For a few kinds the
mean decides wrongly at pH 7.4, and those are the kinds that ligands of the estrogen receptor carry: its mean phenol
(7.1) would ionise 4-hydroxytamoxifen, its mean amine (8.2) would protonate the amine beside the CF2 of giredestrant.
For these the pKa is computed from the substituents, after Perrin, Dempsey and Serjeant, *pKa Prediction for Organic
Acids and Bases* (1981): the Hammett equation for phenols, additive decrements that fade by 0.4 with each carbon for
amines. They are right to about half a unit on the simple compounds they come from; on drugs expect one unit.

Every function takes a neutral molecule with explicit hydrogens.
"""

from __future__ import annotations

from rdkit import Chem

#: Hammett sigma of ring substituents for phenols (ortho, meta, para): from the pKa of the mono-substituted phenols.
_SIGMA = {
    "nitro": (1.21, 0.70, 1.24), "cyano": (1.32, 0.61, 0.88), "sulfonyl": (0.90, 0.62, 0.94),
    "acyl": (0.00, 0.36, 0.84), "CF3": (0.60, 0.43, 0.56), "F": (0.53, 0.30, 0.01), "Cl": (0.62, 0.36, 0.23),
    "Br": (0.66, 0.39, 0.25), "I": (0.63, 0.35, 0.27), "O": (0.00, 0.11, -0.12), "N": (0.00, -0.05, -0.30),
    "aryl": (0.00, 0.06, 0.17), "vinyl": (0.00, 0.05, 0.15), "alkyl": (-0.16, -0.07, -0.15),
    "ring N": (1.00, 0.55, 1.00),
}  # fmt: skip
#: pKa = 9.92 - 2.23 * sum(sigma) (phenols in water, 25 C).
_PHENOL, _PHENOL_RHO = 9.92, 2.23

#: pKa of a plain alkylamine by its hydrogens, and what a substituent on the beta carbon (N-C-C-X) takes off it.
_AMINE = {0: 10.3, 1: 11.0, 2: 10.6}
_BETA = {
    "F": 1.65, "Cl": 1.5, "Br": 1.4, "I": 1.3, "O": 1.2, "S": 1.0, "N": 0.9, "aryl N": 1.2, "acyl N": 1.5,
    "cyano": 2.8, "nitro": 3.0, "sulfonyl": 2.5, "acyl": 1.2, "acid": 0.0, "aryl": 0.5, "vinyl": 0.4, "alkynyl": 0.8,
    "CF3": 1.9, "P": 1.0, "alkyl": 0.0, "N+": 2.0,
}  # fmt: skip
#: The same on the alpha carbon (N-C-X), where it is not simply 1 / 0.4 of the value on the beta carbon.
_ALPHA = {"aryl": 1.0, "vinyl": 0.9, "alkynyl": 2.2, "acyl": 2.7, "acid": 0.5, "cyano": 5.0, "alkyl": 0.0,
          "N": 2.0, "aryl N": 2.0, "acyl N": 2.0}  # fmt: skip
_FADE = 0.4
#: Share that each of the two ways round an azetidine passes on: its 3-substituents act once and a third, not twice.
_AZETIDINE = 0.65

#: What two charges of one sign cost the second (pKa units), by the bonds between the atoms.
_REPULSION = {2: 6.0, 3: 4.0, 4: 1.6, 5: 0.6}

#: Names that Dimorphite-DL gives to kinds of site.
_PHENOLS = {"Phenol", "Phenol_unactivated"}
_GENERIC_AMINE = "Amines_primary_secondary_tertiary"
_RING_NITROGEN = "Aromatic_nitrogen_unprotonated"
_RING_NH = "*Aromatic_nitrogen_protonated"
_AMIDINES = {"AmidineGuanidine1", "AmidineGuanidine2", "Amidine_carbon_substituted"}


def site_pka(mol: Chem.Mol, index: int, kind: str, mean: float) -> float | None:
    """The pKa of one site.

    Parameters
    ----------
    mol
        Neutral molecule, hydrogens explicit.
    index
        The atom that gains or loses a proton.
    kind, mean
        What Dimorphite-DL calls the site, and its mean pKa.

    Returns
    -------
    float | None
        The pKa; ``None`` for an atom that is no site at all (a ring nitrogen whose lone pair is in the ring).
    """
    atom = mol.GetAtomWithIdx(index)
    if kind in _PHENOLS and any(n.GetIsAromatic() and n.GetAtomicNum() == 6 for n in atom.GetNeighbors()):
        return phenol_pka(mol, atom)
    if kind == _GENERIC_AMINE:
        return amine_pka(mol, atom)
    if kind in (_RING_NITROGEN, "Diazine"):
        return None if atom.GetDegree() > 2 else min(mean, 3.0) if kind == "Diazine" else ring_nitrogen_pka(mol, atom)
    if kind == _RING_NH:
        return ring_nh_pka(mol, atom, mean)
    if kind == "*Ringed_imide1":
        return ring_imide_pka(mol, atom, mean)
    if kind == "*Sulfonamide":
        return sulfonamide_pka(atom)
    if kind == "*Amide_electronegative":
        partners = {n.GetSymbol() for n in atom.GetNeighbors()}
        return 12.0 if "N" in partners else 9.5 if "O" in partners else mean  # hydrazides, O-alkyl hydroxamates
    if kind in _AMIDINES:
        return amidine_pka(mol, atom, mean)
    return mean


def repulsion(mol: Chem.Mol, first: int, second: int, kinds: tuple[str, str] = ("", "")) -> float:
    """What two protonated bases of one molecule cost each other (pKa units); 9 for the halves of a biguanide."""
    apart = int(Chem.GetDistanceMatrix(mol)[first][second])
    if apart <= 4 and set(kinds) <= _AMIDINES:
        return 9.0
    return _REPULSION.get(apart, 0.0)


def phenol_pka(mol: Chem.Mol, oxygen: Chem.Atom) -> float:
    """Hammett equation over the substituents of the phenol's own ring; a fused ring counts as nothing."""
    carbon = next(n for n in oxygen.GetNeighbors() if n.GetIsAromatic())
    ring = _ring_of(mol, carbon.GetIdx())
    if len(ring) != 6:
        return _PHENOL
    start = ring.index(carbon.GetIdx())
    if any(mol.GetAtomWithIdx(i).GetAtomicNum() == 8 for i in ring) and any(
        _exocyclic_double(mol.GetAtomWithIdx(ring[(start + step) % 6])) == "O" for step in (2, 4)
    ):
        return 4.5  # 4-hydroxycoumarins and 4-hydroxypyrones: vinylogous acids
    total = 0.0
    for step in range(1, 6):
        member = mol.GetAtomWithIdx(ring[(start + step) % 6])
        place = min(step, 6 - step) - 1  # 0 ortho, 1 meta, 2 para
        if member.GetAtomicNum() == 7:
            total += _SIGMA["ring N"][place] if member.GetDegree() == 2 else 0.0
            continue
        for substituent in member.GetNeighbors():
            if substituent.GetIdx() not in ring:
                group = {"acid": "acyl", "aryl N": "N", "acyl N": "N", "alkynyl": "vinyl", "S": "Cl"}
                kind = group_of(substituent, member)
                total += _SIGMA.get(group.get(kind, kind), (0.0, 0.0, 0.0))[place]
    return _PHENOL - _PHENOL_RHO * total


def amine_pka(mol: Chem.Mol, nitrogen: Chem.Atom) -> float:
    """A plain alkylamine less what its substituents take; every path counts, so both ways round a ring do."""
    heavy = [n for n in nitrogen.GetNeighbors() if n.GetAtomicNum() > 1]
    if any(n.GetAtomicNum() == 7 for n in heavy):
        other = next(n for n in heavy if n.GetAtomicNum() == 7)
        return 3.5 if any(_is_acyl(n) for n in other.GetNeighbors()) else 7.0  # acyl hydrazines, hydrazines
    if any(n.GetAtomicNum() != 6 for n in heavy):
        return 6.0 if any(n.GetAtomicNum() == 8 for n in heavy) else 5.0  # hydroxylamines; N-S, N-P
    if any(n.GetHybridization() != Chem.HybridizationType.SP3 for n in heavy):
        return 5.0  # enamines, enaminones, ynamines
    hydrogens = nitrogen.GetDegree() - len(heavy)
    return _AMINE[min(hydrogens, 2)] - sum(_taken(nitrogen, alpha, 0, {nitrogen.GetIdx()}) for alpha in heavy)


def _taken(before: Chem.Atom, carbon: Chem.Atom, depth: int, seen: set[int]) -> float:
    """What the substituents on this saturated carbon, and on the carbons beyond it, take off the pKa."""
    total = 0.0
    for atom in carbon.GetNeighbors():
        if atom.GetIdx() == before.GetIdx() or atom.GetIdx() in seen or atom.GetAtomicNum() == 1:
            continue
        kind = group_of(atom, carbon)
        if kind == "alkyl":
            if depth < 2:
                strained = depth == 0 and carbon.IsInRingSize(4) and atom.IsInRingSize(4)
                beyond = _taken(carbon, atom, depth + 1, seen | {carbon.GetIdx()})
                total += beyond * (_AZETIDINE if strained else 1.0)
        elif depth == 0:
            total += _ALPHA.get(kind, _BETA.get(kind, 1.0) / _FADE)
        else:
            total += _BETA.get(kind, 1.0) * _FADE ** (depth - 1)
    return total


def ring_nitrogen_pka(mol: Chem.Mol, nitrogen: Chem.Atom) -> float:
    """Pyridine (5.2) and imidazole (7.0) with their substituents; any other azole is no base at pH 7."""
    ring = _ring_of(mol, nitrogen.GetIdx())
    start = ring.index(nitrogen.GetIdx())
    members = [mol.GetAtomWithIdx(ring[(start + step) % len(ring)]) for step in range(len(ring))]
    if len(ring) == 5:
        hetero = [step for step, atom in enumerate(members) if atom.GetAtomicNum() != 6]
        if len(hetero) != 2 or hetero[1] not in (2, 3) or members[hetero[1]].GetAtomicNum() != 7:
            return 2.5
        poor = {"nitro", "cyano", "acyl", "acid", "sulfonyl", "CF3", "F", "Cl", "Br", "I"}
        pka = 7.0 - 1.5 * any(mol.GetRingInfo().NumAtomRings(atom.GetIdx()) > 1 for atom in members)
        return pka - 3.0 * sum(kind in poor for _, kind in _exocyclic(members, ring))
    pka = 5.2 - 3.5 * sum(atom.GetAtomicNum() == 7 for atom in members[1:])
    change = {"N": (1.6, 0.8, 3.9), "aryl N": (1.6, 0.8, 2.5), "O": (-1.9, -0.3, 1.4),
              "alkyl": (0.6, 0.4, 0.8), "CH2X": (-1.5, -0.5, -0.8),
              "F": (-5.6, -2.3, -1.5), "Cl": (-4.5, -2.4, -1.4), "Br": (-4.3, -2.4, -1.4), "I": (-3.4, -1.9, -1.2),
              "acyl": (-2.0, -1.8, -1.7), "acid": (-2.0, -1.8, -1.7), "cyano": (-5.4, -3.8, -3.3),
              "nitro": (-7.8, -4.4, -4.0), "CF3": (-4.5, -2.4, -2.5), "sulfonyl": (-4.0, -3.0, -2.5)}  # fmt: skip
    for step, kind in _exocyclic(members, ring):
        place = min(step, 6 - step) - 1
        pka += change.get(kind, (0.0, 0.0, 0.0))[place] if len(ring) == 6 else 0.0
    return pka


def ring_nh_pka(mol: Chem.Mol, nitrogen: Chem.Atom, mean: float) -> float:
    """N-H of pyridones (11), pyrimidinones (10), uracils (9.4) and azolones; Dimorphite's mean is 7.2."""
    ring = _ring_of(mol, nitrogen.GetIdx())
    beside = [n for n in nitrogen.GetNeighbors() if n.GetIdx() in ring]
    if any(_exocyclic_double(n) == "N" for n in beside):
        return 11.0
    carbonyls = sum(_exocyclic_double(n) in ("O", "S") for n in beside)
    if len(ring) == 6:
        others = sum(mol.GetAtomWithIdx(i).GetAtomicNum() == 7 for i in ring) - 1
        return 9.4 if carbonyls == 2 else 11.0 - min(others, 1)
    symbols = [mol.GetAtomWithIdx(i).GetSymbol() for i in ring]
    return mean if {"O", "S"} & set(symbols) and symbols.count("N") > 1 else 9.0


def sulfonamide_pka(nitrogen: Chem.Atom) -> float:
    """Acyl 4.5, heteroaryl 6.5, aryl 8.7, primary 10, alkyl 11.5; Dimorphite's mean is 7.9."""
    others = [n for n in nitrogen.GetNeighbors() if n.GetAtomicNum() > 1 and n.GetSymbol() != "S"]
    if not others:
        return 10.0 if sum(n.GetSymbol() == "S" for n in nitrogen.GetNeighbors()) == 1 else 3.0
    partner = others[0]
    if _is_acyl(partner):
        return 4.5
    if partner.GetIsAromatic():
        return 6.5 if any(n.GetIsAromatic() and n.GetAtomicNum() != 6 for n in partner.GetNeighbors()) else 8.7
    return 11.5


def ring_imide_pka(mol: Chem.Mol, nitrogen: Chem.Atom, mean: float) -> float:
    """Hydantoins 8.7 and barbiturates 7.7; oxazolidine- and thiazolidinediones keep Dimorphite's mean (6.5)."""
    ring = _ring_of(mol, nitrogen.GetIdx())
    symbols = [mol.GetAtomWithIdx(i).GetSymbol() for i in ring]
    return mean if {"O", "S"} & set(symbols) else 7.7 if len(ring) == 6 else 8.7


def amidine_pka(mol: Chem.Mol, nitrogen: Chem.Atom, mean: float) -> float:
    """Guanidines 12, amidines the class's mean, less what acyl and aryl groups or a sulfur on the carbon take."""
    carbons = [b.GetOtherAtom(nitrogen) for b in nitrogen.GetBonds() if b.GetBondTypeAsDouble() == 2.0]
    if not carbons:
        return mean
    around = carbons[0].GetNeighbors()
    nitrogens = [n for n in around if n.GetAtomicNum() == 7]
    acyl = any(_is_acyl(n) and n.GetIdx() != carbons[0].GetIdx() for each in nitrogens for n in each.GetNeighbors())
    if len(nitrogens) == 3:
        aryls = [n for each in nitrogens for n in each.GetNeighbors() if n.GetIsAromatic()]
        poor = any(n.GetIsAromatic() and n.GetAtomicNum() == 7 for aryl in aryls for n in aryl.GetNeighbors())
        return 12.0 - (3.6 if acyl else 0.0) - (4.0 if poor else 1.2 if aryls else 0.0)
    chalcogen = any(n.GetAtomicNum() in (8, 16) for n in around)
    return mean - (4.5 if acyl else 0.0) - (0.5 if chalcogen else 0.0) - (2.0 if acyl and chalcogen else 0.0)


def group_of(atom: Chem.Atom, attached_to: Chem.Atom) -> str:
    """What a substituent counts as, by its first atom: ``F``, ``O``, ``acyl``, ``aryl``, ``cyano`` ..."""
    symbol = atom.GetSymbol()
    beyond = [n for n in atom.GetNeighbors() if n.GetIdx() != attached_to.GetIdx()]
    if symbol == "N":
        if atom.GetFormalCharge() > 0:
            return "nitro" if any(n.GetAtomicNum() == 8 for n in beyond) else "N+"
        if any(_is_acyl(n) or _is_sulfonyl(n) for n in beyond):
            return "acyl N"
        return "aryl N" if atom.GetIsAromatic() or any(n.GetIsAromatic() for n in beyond) else "N"
    if symbol == "S":
        return "sulfonyl" if _is_sulfonyl(atom) else "S"
    if symbol != "C":
        return symbol
    if _exocyclic_double(atom) in ("O", "S"):
        return "acid" if any(n.GetAtomicNum() == 8 and n.GetTotalNumHs(True) for n in beyond) else "acyl"
    if atom.GetIsAromatic():
        return "aryl"
    if atom.GetHybridization() == Chem.HybridizationType.SP:
        return "cyano" if any(n.GetAtomicNum() == 7 for n in beyond) else "alkynyl"
    if atom.GetHybridization() == Chem.HybridizationType.SP2:
        return "vinyl"
    if attached_to.GetIsAromatic() and sum(n.GetAtomicNum() == 9 for n in beyond) >= 2:
        return "CF3"
    if attached_to.GetIsAromatic() and any(n.GetAtomicNum() not in (1, 6) for n in beyond):
        return "CH2X"
    return "alkyl"


def _ring_of(mol: Chem.Mol, index: int) -> list[int]:
    """The smallest ring of an atom, in order around it (aromatic rings first)."""
    rings = [list(ring) for ring in mol.GetRingInfo().AtomRings() if index in ring]
    aromatic = [ring for ring in rings if all(mol.GetAtomWithIdx(i).GetIsAromatic() for i in ring)]
    return min(aromatic or rings, key=len)


def _exocyclic(members: list[Chem.Atom], ring: list[int]) -> list[tuple[int, str]]:
    return [(step, group_of(n, atom)) for step, atom in enumerate(members) for n in atom.GetNeighbors()
            if step and n.GetIdx() not in ring and n.GetAtomicNum() > 1]  # fmt: skip


def _exocyclic_double(atom: Chem.Atom) -> str:
    """Element doubly bonded to this carbon (not within an aromatic ring), or an empty text."""
    for bond in atom.GetBonds():
        other = bond.GetOtherAtom(atom)
        if bond.GetBondType() == Chem.BondType.DOUBLE and other.GetAtomicNum() != 6:
            return other.GetSymbol()
    return ""


def _is_acyl(atom: Chem.Atom) -> bool:
    return atom.GetAtomicNum() == 6 and _exocyclic_double(atom) in ("O", "S")


def _is_sulfonyl(atom: Chem.Atom) -> bool:
    return atom.GetAtomicNum() == 16 and atom.GetDegree() >= 3
