"""Is a receptor model fit to be simulated? Counts of what is wrong with it, and limits.

Counts, not scores: each number can be looked up atom by atom in the model. Everything is measured on the
first chain of the file.
"""

from __future__ import annotations

import math
from pathlib import Path

import gemmi
import numpy as np
from scipy.spatial import cKDTree

from esr1md.errors import InputError
from esr1md.receptor.frame import helix12_distances, helix12_state
from esr1md.receptor.geometry import ANGLE_LIMIT, BOND_LIMIT, geometry_outliers
from esr1md.receptor.residues import HEAVY_ATOMS
from esr1md.receptor.rotamer_library import rotamer

#: Largest value of each number that still passes; a model above any of them is refused. A relaxed model has
#: no or few clashes (both bundled ones: none), while an unrelaxed crystal at 1.6 to 3.2 A has 0 to 8. Of side
#: chains, 1 to 3 % are rotamer outliers in the bundled models, 2 % in 5WGD (1.8 A) and 17 % in 1ERE (3.1 A).
LIMITS = {
    "clashes_per_1000_atoms": 4.0,
    "severe_clashes": 0,
    "chirality_errors": 0,
    "cis_peptides": 1,
    "twisted_peptides": 2,
    "chain_breaks": 0,
    "missing_heavy_atoms": 0,
    "ramachandran_outliers_percent": 2.5,
    "rotamer_outliers_percent": 10.0,
    "bond_outliers": 2,
    "angle_outliers": 5,
}

WORDS = {
    "clashes_per_1000_atoms": "clashes per 1000 heavy atoms",
    "severe_clashes": "pairs of atoms on top of each other",
    "chirality_errors": "residues with the wrong handedness",
    "cis_peptides": "cis peptide bonds before residues other than proline",
    "twisted_peptides": "peptide bonds more than 40 degrees from planar",
    "chain_breaks": "chain breaks",
    "missing_heavy_atoms": "missing heavy atoms",
    "ramachandran_outliers_percent": "percent Ramachandran outliers",
    "rotamer_outliers_percent": "percent rotamer outliers",
    "bond_outliers": f"bond lengths more than {BOND_LIMIT} A from rest",
    "angle_outliers": f"bond angles more than {ANGLE_LIMIT:.0f} degrees from rest",
}

# Bondi radii (angstrom), carbon, nitrogen, oxygen, sulfur
_RADII = {"C": 1.70, "N": 1.55, "O": 1.52, "S": 1.80}
_POLAR = ("N", "O", "S")
_OVERLAP = 0.4  # angstrom, the overlap at which MolProbity counts a clash (Chen 2010)
_HYDROGEN_BOND_ALLOWANCE = 0.6  # polar heavy atoms approach to about 2.5 A in a hydrogen bond
_SEVERE = 1.6  # angstrom between unbonded atoms that nothing but an error explains
_BREAK = 2.0  # angstrom, C to N


def assess(pdb: Path | gemmi.Structure, *, every_chain: bool = False) -> dict:
    """Measure a model.

    Parameters
    ----------
    pdb
        PDB file, or a structure; hydrogens may be present and are not used.
    every_chain
        Measure all chains (a dimer), clashes between them included, instead of the first.

    Returns
    -------
    dict
        ``residues``, ``heavy_atoms``, each key of :data:`LIMITS`, ``bond_rms_angstrom``, ``angle_rms_degrees``,
        ``helix12`` (state and C-alpha RMSD, angstrom, to either place; ``None`` where it cannot be measured), a
        ``details`` dict with the atoms or residues behind each count, and ``problems``: a sentence per exceeded
        limit (empty: it passes).

        A clash is a pair of heavy atoms, four or more bonds apart, whose van der Waals spheres (Bondi)
        overlap by 0.4 angstrom or more (1.0 for two polar atoms, which may be hydrogen bonded). A residue is
        a Ramachandran outlier outside the regions of :func:`ramachandran_allowed`, a rotamer outlier far from every
        rotamer (:mod:`esr1md.receptor.rotamer_library`); bonds and angles are judged by
        :mod:`esr1md.receptor.geometry`.
    """
    structure = gemmi.read_structure(str(pdb)) if isinstance(pdb, Path) else pdb
    chains = [[residue for residue in chain if residue.name in HEAVY_ATOMS] for chain in structure[0]]
    chains = [chain for chain in chains if chain]
    chains = chains if every_chain else chains[:1]
    if not chains:
        raise ValueError("no residues to measure")
    residues = [residue for chain in chains for residue in chain]
    clashes, severe = _clashes(chains)
    breaks, cis, twisted = (sum(found, []) for found in zip(*map(_peptides, chains), strict=True))
    torsions = [torsion for chain in chains for torsion in ramachandran(chain)]
    outliers = [f"{label} ({phi:.0f}, {psi:.0f})" for label, _, phi, psi, allowed in torsions if not allowed]
    found = [(residue, rotamer(residue)) for residue in residues]
    side_chains = [(residue, *each) for residue, each in found if each is not None]
    odd = [f"{_label(r)} ({', '.join(f'{chi:.0f}' for chi in angles)})" for r, _, off, angles in side_chains if off > 1]
    geometry = [geometry_outliers(chain) for chain in chains]
    heavy_atoms = sum(not atom.is_hydrogen() for residue in residues for atom in residue)
    details = {
        "clashes": clashes,
        "severe_clashes": severe,
        "chirality_errors": [_label(r) for r in residues if _wrong_handed(r)],
        "cis_peptides": cis,
        "twisted_peptides": twisted,
        "chain_breaks": breaks,
        "missing_heavy_atoms": [
            f"{_label(r)} {name}" for r in residues for name in HEAVY_ATOMS[r.name] if name not in r
        ],
        "ramachandran_outliers": outliers,
        "rotamer_outliers": odd,
        "bond_outliers": [label for bonds, *_ in geometry for label in bonds],
        "angle_outliers": [label for _, angles, *_ in geometry for label in angles],
    }
    numbers = {
        "clashes_per_1000_atoms": round(1000 * len(clashes) / max(heavy_atoms, 1), 2),
        **{k: len(details[k]) for k in ("severe_clashes", "chirality_errors", "cis_peptides",
                                        "twisted_peptides", "chain_breaks", "missing_heavy_atoms", "bond_outliers",
                                        "angle_outliers")},
        "ramachandran_outliers_percent": round(100 * len(outliers) / max(len(torsions), 1), 2),
        "rotamer_outliers_percent": round(100 * len(odd) / max(len(side_chains), 1), 2),
    }  # fmt: skip
    problems = []
    for key, limit in LIMITS.items():
        if numbers[key] > limit:
            examples = details.get(key) or details.get(key.split("_p")[0]) or []
            shown = f": {', '.join(examples[:3])}{' ...' if len(examples) > 3 else ''}" if examples else ""
            problems.append(f"{numbers[key]:g} {WORDS[key]} (limit {limit:g}){shown}")
    helix12 = [_helix12(chain) for chain in chains]
    document = {
        "residues": len(residues), "heavy_atoms": heavy_atoms, **numbers,
        "bond_rms_angstrom": round(max(row[2] for row in geometry), 4),
        "angle_rms_degrees": round(max(row[3] for row in geometry), 2),
        "helix12": helix12[0], "details": details, "problems": problems,
    }  # fmt: skip
    return document | ({"helix12_by_chain": helix12} if every_chain else {})


def _helix12(residues: list[gemmi.Residue]) -> dict | None:
    """State of helix 12 and its distances (angstrom), if the core and helix 12 are there."""
    alphas = {r.seqid.num: np.array(r["CA"][0].pos.tolist()) for r in residues if "CA" in r}
    try:
        state, distances = helix12_state(alphas), helix12_distances(alphas)
    except InputError:
        return None
    if state is None:
        return None
    return {"state": str(state), **{f"{place}_angstrom": round(rmsd, 2) for place, rmsd in distances.items()}}


def ramachandran_allowed(phi: float, psi: float, residue: str) -> bool:
    """Whether a backbone conformation (degrees) is in a generously allowed region.

    Rectangles around the regions of Lovell et al. 2003 (Proteins 50:437): for general residues the beta and
    polyproline region, the alpha region with its bridge, and the left-handed alpha region; glycine also at
    the mirror images; proline only at phi -120 to -35.
    """
    if residue == "GLY":
        return ramachandran_allowed(phi, psi, "ALA") or ramachandran_allowed(-phi, -psi, "ALA")
    if residue == "PRO" and not -120 <= phi <= -35:
        return False
    alpha = -175 <= phi <= -35 and -90 <= psi <= 60
    beta = (-180 <= phi <= -35 or phi > 170) and (psi >= 40 or psi <= -150)
    left_handed = 30 <= phi <= 90 and -25 <= psi <= 95
    return alpha or beta or left_handed


def _label(residue: gemmi.Residue) -> str:
    return f"{residue.name}{residue.seqid.num}"


def _clashes(chains: list[list[gemmi.Residue]]) -> tuple[list[str], list[str]]:
    """Clashing pairs of heavy atoms of different residues, and pairs closer than any bond.

    Pairs in one residue and the backbone pairs of a peptide bond are at most three bonds apart or are fixed
    by the geometry of the residue.
    """
    residues, chain_of, names, elements, places, owners = [], [], [], [], [], []
    for number, chain in enumerate(chains):
        for residue in chain:
            for atom in residue:
                if not atom.is_hydrogen():
                    names.append(atom.name)
                    elements.append(atom.element.name)
                    places.append(atom.pos.tolist())
                    owners.append(len(residues))
            residues.append(residue)
            chain_of.append(number)
    positions = np.array(places)
    clashes, severe = [], []
    for i, j in sorted(cKDTree(positions).query_pairs(2 * max(_RADII.values()) - _OVERLAP)):
        between = chain_of[owners[i]] != chain_of[owners[j]]
        gap = 2 if between else abs(owners[i] - owners[j])
        distance = float(np.linalg.norm(positions[i] - positions[j]))
        if gap == 0:
            continue
        label = (
            f"{_label(residues[owners[i]])} {names[i]} - {_label(residues[owners[j]])} {names[j]} "
            f"({distance:.2f} A{', between the chains' if between else ''})"
        )
        if gap == 1 and _within_three_bonds(residues, names, owners, i, j):
            continue
        if distance < _SEVERE:
            severe.append(label)
        contact = _RADII.get(elements[i], 1.7) + _RADII.get(elements[j], 1.7) - _OVERLAP
        if elements[i] in _POLAR and elements[j] in _POLAR:
            contact -= _HYDROGEN_BOND_ALLOWANCE
        if distance < contact:
            clashes.append(label)
    return clashes, severe


#: Bonds from each atom to the peptide bond of its residue: to C of the one before, to N of the one after.
_BONDS_TO_C = {"C": 0, "CA": 1, "O": 1, "N": 2, "CB": 2}
_BONDS_TO_N = {"N": 0, "CA": 1, "C": 2, "CB": 2}


def _within_three_bonds(residues, names, owners, i: int, j: int) -> bool:
    before, after = (i, j) if owners[i] < owners[j] else (j, i)
    to_n = dict(_BONDS_TO_N)
    if residues[owners[after]].name == "PRO":
        to_n |= {"CD": 1, "CG": 2}
    if (names[before], names[after]) == ("O", "C"):
        return True  # four bonds, but phi alone sets this distance, 2.8 angstrom in a helix
    first, second = _BONDS_TO_C.get(names[before]), to_n.get(names[after])
    return first is not None and second is not None and first + 1 + second <= 3


def _peptides(residues) -> tuple[list[str], list[str], list[str]]:
    breaks, cis, twisted = [], [], []
    for before, after in zip(residues, residues[1:], strict=False):
        pair = f"{_label(before)}-{_label(after)}"
        if not all(name in before for name in ("CA", "C")) or not all(name in after for name in ("N", "CA")):
            breaks.append(pair)
            continue
        if not _bonded(before, after):
            breaks.append(pair)
            continue
        omega = math.degrees(gemmi.calculate_omega(before, after))
        if abs(omega) < 40:
            if after.name != "PRO":
                cis.append(pair)
        elif abs(omega) < 140:
            twisted.append(f"{pair} ({omega:.0f})")
    return breaks, cis, twisted


def _bonded(before: gemmi.Residue, after: gemmi.Residue) -> bool:
    """Whether two residues are joined; by distance, because a deletion skips a number without a break."""
    return "C" in before and "N" in after and before["C"][0].pos.dist(after["N"][0].pos) <= _BREAK


def ramachandran(residues: list[gemmi.Residue]) -> list[tuple[str, str, float, float, bool]]:
    """Label, residue name, phi, psi (degrees) and whether allowed, of every residue with both neighbours."""
    found = []
    for before, residue, after in zip(residues, residues[1:], residues[2:], strict=False):
        if not (_bonded(before, residue) and _bonded(residue, after)):
            continue
        phi, psi = (math.degrees(angle) for angle in gemmi.calculate_phi_psi(before, residue, after))
        if not (math.isnan(phi) or math.isnan(psi)):
            allowed = ramachandran_allowed(phi, psi, residue.name)
            found.append((_label(residue), residue.name, phi, psi, allowed))
    return found


def _wrong_handed(residue: gemmi.Residue) -> bool:
    """Whether C-alpha is D, or the second centre of isoleucine or threonine is inverted."""
    centres = [("CA", "N", "C", "CB")]
    if residue.name == "ILE":
        centres.append(("CB", "CA", "CG1", "CG2"))
    elif residue.name == "THR":
        centres.append(("CB", "CA", "OG1", "CG2"))
    for centre, *others in centres:
        if all(name in residue for name in (centre, *others)):
            origin = np.array(residue[centre][0].pos.tolist())
            a, b, c = (np.array(residue[name][0].pos.tolist()) - origin for name in others)
            if np.dot(a, np.cross(b, c)) < 0:
                return True
    return False
