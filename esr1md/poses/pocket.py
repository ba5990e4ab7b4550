"""The physics of placement: ligand and pocket in OpenMM with GAFF2 and amber14SB, everything far away left out.

A whole receptor costs seconds for each minimisation; the pocket costs a fraction of one. Only residues near the
ligand are kept, and only the ligand and the nearest side chains move. First the ligand moves alone and feels the
pocket through a soft core, so that a start with clashes finds its way out; then ligand and side chains move under
the plain potential. A dielectric of 8 stands in for the solvent while poses are looked for; those that are left are
told apart with generalised Born solvent.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from queue import Empty, SimpleQueue

import numpy as np
import openmm
from openmm import app, unit
from openmm.app.internal.customgbforces import GBSAOBC2Force

from esr1md.errors import StageError
from esr1md.ligand.parameters import LigandParameters
from esr1md.poses.docking_score import RADII, Features
from esr1md.poses.pocket_forces import (
    COULOMB,
    KCAL,
    Terms,
    add_plain_pairs,
    add_soft_pairs,
    copy_bonded,
    exceptions,
    hold_side_chains,
    ligand_terms,
    ligand_topology,
)

PROTEIN_FORCE_FIELD = "amber14/protein.ff14SB.xml"
#: Residues with an atom within this distance (angstrom) of a candidate are kept, or move, respectively.
KEEP_WITHIN, MOVE_WITHIN = 8.0, 4.0
#: Farther than any cutoff (angstrom): where the ligand goes to be apart from the pocket.
APART = 200.0

_BACKBONE = {"N", "H", "CA", "HA", "HA2", "HA3", "C", "O"}
_CAPS = {"ACE", "NME", "NMA", "NH2"}
_LETTERS = {
    "ALA": "A",
    "ARG": "R",
    "ASN": "N",
    "ASP": "D",
    "ASH": "D",
    "CYS": "C",
    "CYX": "C",
    "GLN": "Q",
    "GLU": "E",
    "GLH": "E",
    "GLY": "G",
    "HIS": "H",
    "HID": "H",
    "HIE": "H",
    "HIP": "H",
    "ILE": "I",
    "LEU": "L",
    "LYS": "K",
    "LYN": "K",
    "MET": "M",
    "PHE": "F",
    "PRO": "P",
    "SER": "S",
    "THR": "T",
    "TRP": "W",
    "TYR": "Y",
    "VAL": "V",
}

#: Formal charges as the placement score sees them, and the atoms that hold the A ring's hydroxyl.
_SIDE_CHAIN_CHARGES = {
    ("ASP", "OD1"): -1.0,
    ("ASP", "OD2"): -1.0,
    ("GLU", "OE1"): -1.0,
    ("GLU", "OE2"): -1.0,
    ("LYS", "NZ"): 1.0,
    ("ARG", "NH1"): 1.0,
    ("ARG", "NH2"): 1.0,
}
_CLAMP = {("353", "OE1"), ("353", "OE2"), ("394", "NH1"), ("394", "NH2")}


@dataclass(frozen=True)
class Receptor:
    """A receptor model read and parametrised once.

    Attributes
    ----------
    topology, terms
        OpenMM topology and its force-field terms (amber14SB).
    positions
        All atoms, n x 3, angstrom.
    residues
        Residue number (P03372) of each atom.
    """

    topology: app.Topology
    terms: Terms
    positions: np.ndarray
    residues: np.ndarray

    def named(self, residue: int, atom: str) -> np.ndarray | None:
        """Position (angstrom) of an atom by residue number and name, ``None`` if absent."""
        for found in self.topology.atoms():
            if found.residue.id == str(residue) and found.name == atom and found.residue.name not in _CAPS:
                return self.positions[found.index]
        return None


@lru_cache(maxsize=2)
def _read(path: str, stamp: int) -> Receptor:
    pdb = app.PDBFile(path)
    try:
        system = app.ForceField(PROTEIN_FORCE_FIELD).createSystem(pdb.topology)
    except ValueError as error:
        raise StageError("receptor", f"no force-field parameters: {error}", where=path) from error
    numbers = np.array([int(a.residue.id) for a in pdb.topology.atoms()])
    return Receptor(pdb.topology, Terms.of(system), np.array(pdb.positions.value_in_unit(unit.angstrom)), numbers)


def read_receptor(path: Path) -> Receptor:
    """A prepared receptor model (hydrogens, amber names, P03372 numbers), kept in memory for the next ligand."""
    return _read(str(path), path.stat().st_mtime_ns)


def pocket_features(receptor: Receptor, centre: np.ndarray, reach: float = 9.0) -> tuple[np.ndarray, Features]:
    """Positions (m x 3) and features of the receptor's heavy atoms within ``reach`` of any point of ``centre``."""
    near = _within(receptor.positions, centre, reach)
    bonded: dict[int, list[app.topology.Atom]] = {}
    for a, b in receptor.topology.bonds():
        bonded.setdefault(a.index, []).append(b)
        bonded.setdefault(b.index, []).append(a)
    rows = []
    for atom in receptor.topology.atoms():
        symbol = atom.element.symbol
        if symbol == "H" or not near[atom.index]:
            continue
        mates = [b.element.symbol for b in bonded.get(atom.index, [])]
        name, residue = atom.name, atom.residue.name
        charge = _SIDE_CHAIN_CHARGES.get((residue, name), 0.0)
        clamp = (atom.residue.id, name) in _CLAMP
        bare_nitrogen = symbol == "N" and residue in ("HIS", "HID", "HIE") and "H" not in mates
        rows.append(
            (
                atom.index,
                RADII[symbol],
                symbol in "CS" and not {"N", "O"} & set(mates),
                symbol in "NO" and "H" in mates,
                symbol == "O" or bare_nitrogen,
                charge,
                clamp,
            )
        )
    columns = [np.array(c) for c in zip(*rows, strict=True)]
    return receptor.positions[columns[0]].astype(np.float32), Features(*columns)


def near_charges(receptor: Receptor, centre: np.ndarray, reach: float = 10.0) -> tuple[np.ndarray, np.ndarray]:
    """Positions (m x 3, angstrom) and charges (m, e) of the receptor's atoms within ``reach`` of ``centre``."""
    near = np.flatnonzero(_nearest(receptor.positions, centre) < reach)
    return receptor.positions[near], np.array([receptor.terms.pairs[i][0] for i in near])


def residue_label(residue: app.topology.Residue) -> str:
    """``L540`` for a residue of the receptor."""
    return f"{_LETTERS.get(residue.name, residue.name)}{residue.id}"


@dataclass(frozen=True)
class Pocket:
    """Ligand and pocket ready to minimise.

    Attributes
    ----------
    system
        The pocket's particles first, then the ligand's.
    idle
        OpenMM Contexts of it that no thread uses now.
    kept
        Receptor atom index of each pocket particle.
    mobile
        True for pocket particles that move.
    receptor
        What the pocket was cut from.
    charges, sigmas, epsilons
        Non-bonded parameters of all particles (e, nm, kJ/mol).
    """

    system: openmm.System
    idle: SimpleQueue[openmm.Context]
    kept: np.ndarray
    mobile: np.ndarray
    receptor: Receptor
    charges: np.ndarray
    sigmas: np.ndarray
    epsilons: np.ndarray


def build_pocket(
    receptor: Receptor, parameters: LigandParameters, around: np.ndarray, *, flexible: bool, solvated: bool = False
) -> Pocket:
    """Cut the pocket out of a receptor and put the ligand's force field beside it.

    Parameters
    ----------
    around
        Points (n x 3, angstrom): positions the ligand may take.
    flexible
        Whether the side chains within :data:`MOVE_WITHIN` move under the plain potential, or only the ligand
        through the soft core.
    solvated
        Generalised Born solvent instead of the dielectric: ten times dearer, to tell finished poses apart.
    """
    distance = _within_residues(receptor, around)
    kept = np.flatnonzero(distance < KEEP_WITHIN)
    atoms = list(receptor.topology.atoms())
    mobile = np.array(
        [
            flexible
            and distance[i] < MOVE_WITHIN
            and atoms[i].name not in _BACKBONE
            and atoms[i].residue.name not in _CAPS | {"PRO"}
            for i in kept
        ]
    )
    guest_terms = ligand_terms(parameters)
    n_pocket, n_ligand = len(kept), len(guest_terms.masses)
    system = openmm.System()
    for k, index in enumerate(kept):
        system.addParticle(receptor.terms.masses[index] if mobile[k] else 0.0)
    for mass in guest_terms.masses:
        system.addParticle(mass)
    number = {int(index): k for k, index in enumerate(kept)}
    guest = {i: n_pocket + i for i in range(n_ligand)}
    copy_bonded(receptor.terms, system, number, {k for k in range(n_pocket) if mobile[k]})
    copy_bonded(guest_terms, system, guest, None)
    rows = [receptor.terms.pairs[i] for i in kept] + guest_terms.pairs
    special = [exceptions(receptor.terms, number), exceptions(guest_terms, guest)]
    if flexible:
        heavy = {k: receptor.positions[i] for k, i in enumerate(kept) if mobile[k] and atoms[i].element.symbol != "H"}
        hold_side_chains(system, heavy)
        born = None
        if solvated:
            whole = GBSAOBC2Force.getStandardParameters(receptor.topology)
            born = [whole[i] for i in kept] + list(GBSAOBC2Force.getStandardParameters(ligand_topology(parameters)))
        add_plain_pairs(system, rows, special[0] | special[1], born)
    else:
        add_soft_pairs(system, rows, special[1], n_pocket)
    return Pocket(system, SimpleQueue(), kept, mobile, receptor, *np.array(rows).T)


def minimise(
    pocket: Pocket,
    ligand_xyz: np.ndarray,
    *,
    steps: int,
    softness: tuple[float, ...] = (),
    pocket_xyz: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, float]:
    """Minimise from given positions; threads may call it at once, and it gives the same whatever was done before.

    Parameters
    ----------
    ligand_xyz
        Ligand positions, n x 3, angstrom.
    steps
        Most iterations of a round.
    softness
        Soft-core values of a rigid pocket, one round each; 0 is the plain potential.
    pocket_xyz
        Pocket positions to start from (angstrom) instead of the receptor's.

    Returns
    -------
    Ligand (n x 3) and pocket (m x 3) positions, angstrom, and the potential energy, kcal/mol.
    """
    start = pocket.receptor.positions[pocket.kept] if pocket_xyz is None else pocket_xyz
    context = _context(pocket)
    try:
        if pocket.mobile.any():  # the list of neighbours must be made anew, not mended from the last pose's
            context.setPositions(np.concatenate([start, ligand_xyz + APART]) / 10.0)
            context.getState(energy=True)
        context.setPositions(np.concatenate([start, ligand_xyz]) / 10.0)
        for value in softness or (None,):
            if value is not None:
                context.setParameter("soft", value)
            openmm.LocalEnergyMinimizer.minimize(context, 2.0, steps)
        state = context.getState(positions=True, energy=True)
    finally:
        pocket.idle.put(context)
    xyz = np.array(state.getPositions(asNumpy=True).value_in_unit(unit.angstrom))
    energy = state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole) / KCAL
    return xyz[len(start) :], xyz[: len(start)], energy


def _context(pocket: Pocket) -> openmm.Context:
    """An idle Context of the pocket, or a new one: there are as many as threads that minimise at once."""
    try:
        return pocket.idle.get_nowait()
    except Empty:
        cpu = openmm.Platform.getPlatformByName("CPU")
        return openmm.Context(pocket.system, openmm.VerletIntegrator(0.001), cpu, {"Threads": "1"})


def interaction_kcal(pocket: Pocket, ligand_xyz: np.ndarray, pocket_xyz: np.ndarray) -> float:
    """Lennard-Jones and Coulomb energy (kcal/mol, no cutoff) between ligand and pocket."""
    n = len(pocket_xyz)
    r = np.linalg.norm(ligand_xyz[:, None] - pocket_xyz[None], axis=-1) / 10.0
    sigma = (pocket.sigmas[n:, None] + pocket.sigmas[None, :n]) / 2.0
    epsilon = np.sqrt(pocket.epsilons[n:, None] * pocket.epsilons[None, :n])
    six = (sigma / r) ** 6
    coulomb = COULOMB * pocket.charges[n:, None] * pocket.charges[None, :n] / r
    return float((4.0 * epsilon * (six**2 - six) + coulomb).sum() / KCAL)


def _within(points: np.ndarray, centre: np.ndarray, reach: float) -> np.ndarray:
    return _nearest(points, centre) < reach


def _nearest(points: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """Distance (n) of each point to the nearest of ``centre``."""
    from scipy.spatial import cKDTree

    return cKDTree(centre).query(points)[0]


def _within_residues(receptor: Receptor, around: np.ndarray) -> np.ndarray:
    """For each atom, the distance (angstrom) from its residue's nearest atom to ``around``."""
    nearest = _nearest(receptor.positions, around)
    index = np.array([a.residue.index for a in receptor.topology.atoms()])
    best = np.full(index.max() + 1, np.inf)
    np.minimum.at(best, index, nearest)
    return best[index]
