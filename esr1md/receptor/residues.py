"""Facts about the 20 amino acids: heavy atoms, side-chain torsions, modified forms (PDB atom names)."""

from __future__ import annotations

import math

import gemmi

from esr1md.receptor.sequence import ONE_LETTER, THREE_LETTER

BACKBONE = ("N", "CA", "C", "O")

#: Side-chain heavy atoms in PDB order.
SIDE_CHAIN = {
    "ALA": "CB", "ARG": "CB CG CD NE CZ NH1 NH2", "ASN": "CB CG OD1 ND2", "ASP": "CB CG OD1 OD2",
    "CYS": "CB SG", "GLN": "CB CG CD OE1 NE2", "GLU": "CB CG CD OE1 OE2", "GLY": "",
    "HIS": "CB CG ND1 CD2 CE1 NE2", "ILE": "CB CG1 CG2 CD1", "LEU": "CB CG CD1 CD2",
    "LYS": "CB CG CD CE NZ", "MET": "CB CG SD CE", "PHE": "CB CG CD1 CD2 CE1 CE2 CZ", "PRO": "CB CG CD",
    "SER": "CB OG", "THR": "CB OG1 CG2", "TRP": "CB CG CD1 CD2 NE1 CE2 CE3 CZ2 CZ3 CH2",
    "TYR": "CB CG CD1 CD2 CE1 CE2 CZ OH", "VAL": "CB CG1 CG2",
}  # fmt: skip
HEAVY_ATOMS = {name: (*BACKBONE, *side.split()) for name, side in SIDE_CHAIN.items()}

#: Chains of atoms whose consecutive fours are chi 1, chi 2, ...; proline's ring has none to turn.
_CHI_PATH = {
    "ARG": "N CA CB CG CD NE CZ", "ASN": "N CA CB CG OD1", "ASP": "N CA CB CG OD1", "CYS": "N CA CB SG",
    "GLN": "N CA CB CG CD OE1", "GLU": "N CA CB CG CD OE1", "HIS": "N CA CB CG ND1",
    "ILE": "N CA CB CG1 CD1", "LEU": "N CA CB CG CD1", "LYS": "N CA CB CG CD CE NZ",
    "MET": "N CA CB CG SD CE", "PHE": "N CA CB CG CD1", "SER": "N CA CB OG HG", "THR": "N CA CB OG1 HG1",
    "TRP": "N CA CB CG CD1", "TYR": "N CA CB CG CD1", "VAL": "N CA CB CG1",
}  # fmt: skip

#: Percent of residues whose chi 1 is near +60, 180 and -60 degrees (Lovell 2000, Proteins 40:389).
_CHI1_SHARE = {
    "ARG": (9, 35, 56), "ASN": (16, 27, 51), "ASP": (19, 27, 51), "CYS": (23, 26, 50), "GLN": (6, 27, 56),
    "GLU": (7, 31, 52), "HIS": (13, 32, 54), "ILE": (14, 10, 76), "LEU": (1, 31, 61), "LYS": (6, 35, 55),
    "MET": (5, 24, 60), "PHE": (11, 33, 53), "SER": (48, 22, 29), "THR": (49, 7, 43), "TRP": (17, 34, 45),
    "TYR": (13, 34, 52), "VAL": (6, 73, 20),
}  # fmt: skip

#: Wells of chi 1 (+60, 180, -60) that a residue at the start of a helix (N-cap) takes: that of serine and threonine
#: bonds to the amide three residues on, most others keep out of its way (Doig 1997, Protein Sci. 6:147).
_N_CAP_WELLS = {"SER": (0,), "THR": (0,), "ASP": (0, 1), "ASN": (0, 1)}
_N_CAP_SHARE = 80  # percent in these wells: Doig calls the rule "generally observed" and gives no share in the abstract

_STAGGERED = (-60.0, 60.0, 180.0)
_PLANAR = (-90.0, -60.0, -30.0, 0.0, 30.0, 60.0, 90.0, 120.0, 150.0, 180.0, -120.0, -150.0)
#: The last torsion of these residues turns a planar group, so a staggered grid would miss its minima.
_PLANAR_END = {"ASN", "ASP", "GLN", "GLU", "HIS", "PHE", "TRP", "TYR"}

#: Names other programs give to protonation states of the standard residues.
_PROTONATION_NAMES = {
    "HID": "HIS", "HIE": "HIS", "HIP": "HIS", "HSD": "HIS", "HSE": "HIS", "HSP": "HIS", "CYX": "CYS",
    "CYM": "CYS", "ASH": "ASP", "GLH": "GLU", "LYN": "LYS",
}  # fmt: skip

#: Modified residues of ER-alpha crystals that gemmi's table does not give a parent.
_MODIFIED = {"CCS": "CYS"}


def parent_residue(name: str) -> str | None:
    """The standard residue that ``name`` is a form of, or ``None`` if it is not an amino acid."""
    if name in ONE_LETTER:
        return name
    if name in _PROTONATION_NAMES:
        return _PROTONATION_NAMES[name]
    if name in _MODIFIED:
        return _MODIFIED[name]
    tabulated = gemmi.find_tabulated_residue(name)
    if not tabulated.is_amino_acid():
        return None
    return THREE_LETTER.get(tabulated.one_letter_code.upper())


def is_protonation_name(name: str) -> bool:
    """Whether ``name`` is only a protonation state (HIE, CYX), not a chemical modification."""
    return name in _PROTONATION_NAMES


def chi_torsions(name: str) -> list[tuple[tuple[str, str, str, str], tuple[float, ...]]]:
    """Side-chain torsions of a residue with the angles (degrees) worth trying for each."""
    path = _CHI_PATH.get(name, "").split()
    torsions = []
    for i in range(len(path) - 3):
        last = i == len(path) - 4
        angles = _PLANAR if last and name in _PLANAR_END else _STAGGERED
        torsions.append((tuple(path[i : i + 4]), angles))
    return torsions


def chi1_rarity(name: str, degrees: float, n_cap: bool = False) -> float:
    """Minus the logarithm of how often a residue's chi 1 is in the well of an angle, relative to its best well.

    Parameters
    ----------
    name, degrees
        Residue and its chi 1.
    n_cap
        Whether it is the last residue before a helix.
    """
    shares = _CHI1_SHARE.get(name)
    if shares is None:
        return 0.0
    if n_cap:
        wells = _N_CAP_WELLS.get(name, (2,))
        shares = [
            _N_CAP_SHARE / len(wells) if k in wells else (100 - _N_CAP_SHARE) / (3 - len(wells)) for k in range(3)
        ]
    well = int((degrees % 360) // 120)  # 0 to 120: +60; 120 to 240: 180; 240 to 360: -60
    return math.log(max(shares) / shares[well])
