"""Bond lengths and angles of a protein against those it should have.

Bonds and most angles are compared with the equilibrium values of amber14SB, which lie within 0.02 angstrom and 3
degrees of Engh and Huber's (1991). Angles that the force field widens or closes by other terms (five-membered rings,
branching side chains) are compared with their means in high-resolution crystals instead.
"""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import gemmi
import numpy as np
from openmm import app

from esr1md.receptor.relax import FORCE_FIELD
from esr1md.receptor.residues import HEAVY_ATOMS

#: Deviations from rest (angstrom, degrees) above which a bond or an angle is an outlier.
BOND_LIMIT, ANGLE_LIMIT = 0.08, 10.0
#: Acids that may carry a hydrogen: the name of that form and of the hydrogen.
_PROTONATED = {"ASP": ("ASH", "HD2"), "GLU": ("GLH", "HE2")}
_LINKED = 2.0  # angstrom, C to N: farther is a chain break and counted as such

#: Mean angles (degrees) of high-resolution crystals where the force field's value is not where the angle rests
#: (Hintze 2016, Proteins 84:1177).
_CRYSTAL = {
    "LEU": {"CA-CB-CG": 116.0}, "ILE": {"CB-CG1-CD1": 114.0}, "CYS": {"CA-CB-SG": 113.8},
    "MET": {"CA-CB-CG": 113.6, "CB-CG-SD": 112.8, "CG-SD-CE": 100.8},
    "GLU": {"CA-CB-CG": 113.4, "CB-CG-CD": 113.2}, "GLN": {"CA-CB-CG": 113.4, "CB-CG-CD": 112.7},
    "ARG": {"CA-CB-CG": 113.4}, "LYS": {"CA-CB-CG": 113.4},
    "ASP": {"CA-CB-CG": 112.9}, "ASN": {"CA-CB-CG": 112.6},
    "PHE": {"CA-CB-CG": 113.7}, "TYR": {"CA-CB-CG": 113.6},
    "HIS": {"CA-CB-CG": 113.7, "CB-CG-CD2": 131.0, "CB-CG-ND1": 122.7, "CE1-NE2-CD2": 108.8, "CG-CD2-NE2": 107.2,
            "CG-ND1-CE1": 109.2, "ND1-CE1-NE2": 108.5, "ND1-CG-CD2": 106.2},
    "PRO": {"CA-CB-CG": 104.2, "CB-CG-CD": 105.0, "N-CD-CG": 103.2, "CA-N-CD": 111.8, "N-CA-CB": 102.9,
            "N-CA-C": 112.8},
    "TRP": {"CA-CB-CG": 113.7, "CB-CG-CD1": 127.0, "CB-CG-CD2": 126.6, "CD1-CG-CD2": 106.3, "CG-CD1-NE1": 110.1,
            "CD1-NE1-CE2": 108.9, "NE1-CE2-CD2": 107.4, "CG-CD2-CE2": 107.2, "NE1-CE2-CZ2": 130.1,
            "CG-CD2-CE3": 133.9, "CD2-CE2-CZ2": 122.4, "CE2-CD2-CE3": 118.8, "CD2-CE3-CZ3": 118.7,
            "CE2-CZ2-CH2": 117.5},
}  # fmt: skip


@dataclass(frozen=True)
class Ideal:
    """Equilibrium values: bonds (angstrom) by two, angles (degrees) by three atom names of a residue.

    Names of the next residue start with ``+``.
    """

    bonds: dict[tuple[str, str], float]
    angles: dict[tuple[str, str, str], float]


@lru_cache(maxsize=1)
def ideal_geometry() -> dict[str, Ideal]:
    """Equilibrium bond lengths and angles between heavy atoms, peptide bond included, by residue name.

    The 20 residues, and the protonated acids ``ASH`` and ``GLH``, whose C-O bonds differ from each other.
    """
    root = ElementTree.parse(Path(app.__file__).parent / "data" / FORCE_FIELD).getroot()
    lengths, degrees = {}, {}
    for bond in root.find("HarmonicBondForce"):
        key = (bond.get("type1"), bond.get("type2"))
        lengths[key] = lengths[key[::-1]] = 10 * float(bond.get("length"))
    for angle in root.find("HarmonicAngleForce"):
        key = (angle.get("type1"), angle.get("type2"), angle.get("type3"))
        degrees[key] = degrees[key[::-1]] = math.degrees(float(angle.get("angle")))
    residues = {residue.get("name"): residue for residue in root.find("Residues")}
    # every residue's backbone has the types of alanine's, so alanine stands for the next residue
    following = {"+N": _types(residues["ALA"])["N"], "+CA": _types(residues["ALA"])["CA"]}
    ideal = {
        name: _ideal(name, residues["HIE" if name == "HIS" else name], following, lengths, degrees)
        for name in HEAVY_ATOMS
    }
    for parent, (form, _) in _PROTONATED.items():
        ideal[form] = _ideal(parent, residues[form], following, lengths, degrees)
    return ideal


def _form(residue: gemmi.Residue) -> str:
    """The residue's name, or that of its protonated form if it carries that hydrogen."""
    form, hydrogen = _PROTONATED.get(residue.name, (residue.name, ""))
    return form if hydrogen and hydrogen in residue else residue.name


def _types(residue: ElementTree.Element) -> dict[str, str]:
    return {atom.get("name"): atom.get("type") for atom in residue.findall("Atom")}


def _ideal(name, residue, following, lengths, degrees) -> Ideal:
    heavy, crystal = HEAVY_ATOMS[name], _CRYSTAL.get(name, {})
    types = _types(residue) | following
    pairs = [(bond.get("atomName1"), bond.get("atomName2")) for bond in residue.findall("Bond")]
    pairs = [pair for pair in pairs if all(name in heavy for name in pair)] + [("C", "+N"), ("+N", "+CA")]
    bonds = {pair: lengths[types[pair[0]], types[pair[1]]] for pair in pairs if pair != ("+N", "+CA")}
    neighbours: dict[str, list[str]] = {}
    for a, b in pairs:
        neighbours.setdefault(a, []).append(b)
        neighbours.setdefault(b, []).append(a)
    angles = {}
    for centre, around in neighbours.items():
        for i, first in enumerate(around):
            for last in around[i + 1 :]:
                rest = degrees[types[first], types[centre], types[last]]
                rest = crystal.get(f"{first}-{centre}-{last}", crystal.get(f"{last}-{centre}-{first}", rest))
                angles[first, centre, last] = rest
    return Ideal(bonds, angles)


def geometry_outliers(residues: list[gemmi.Residue]) -> tuple[list[str], list[str], float, float]:
    """Bonds and angles far from rest, and the root-mean-square deviations.

    Parameters
    ----------
    residues
        Standard residues of one chain in order; atoms that are missing are passed over.

    Returns
    -------
    bonds, angles, bond_rms, angle_rms
        Labels such as ``LEU306 CA-CB 1.70 A (rest 1.53)``; RMS in angstrom and degrees.
    """
    ideal = ideal_geometry()
    bonds, angles, bond_off, angle_off = [], [], [], []
    for residue, after in zip(residues, [*residues[1:], None], strict=True):
        atoms = {atom.name: np.array(atom.pos.tolist()) for atom in residue if not atom.is_hydrogen()}
        if after is not None and "C" in atoms and "N" in after:
            for name in ("N", "CA"):
                if name in after and np.linalg.norm(np.array(after["N"][0].pos.tolist()) - atoms["C"]) < _LINKED:
                    atoms["+" + name] = np.array(after[name][0].pos.tolist())
        label = f"{residue.name}{residue.seqid.num}"
        for (a, b), rest in ideal[_form(residue)].bonds.items():
            if a in atoms and b in atoms:
                length = float(np.linalg.norm(atoms[a] - atoms[b]))
                bond_off.append(length - rest)
                if abs(length - rest) > BOND_LIMIT:
                    bonds.append(f"{label} {a}-{b} {length:.2f} A (rest {rest:.2f})")
        for (a, b, c), rest in ideal[_form(residue)].angles.items():
            if a in atoms and b in atoms and c in atoms:
                angle = _angle(atoms[a], atoms[b], atoms[c])
                angle_off.append(angle - rest)
                if abs(angle - rest) > ANGLE_LIMIT:
                    angles.append(f"{label} {a}-{b}-{c} {angle:.0f} degrees (rest {rest:.0f})")
    return bonds, angles, _rms(bond_off), _rms(angle_off)


def _angle(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> float:
    first, second = a - b, c - b
    cosine = np.dot(first, second) / max(np.linalg.norm(first) * np.linalg.norm(second), 1e-9)
    return math.degrees(math.acos(float(np.clip(cosine, -1, 1))))


def _rms(values: list[float]) -> float:
    return float(np.sqrt(np.mean(np.square(values)))) if values else 0.0
