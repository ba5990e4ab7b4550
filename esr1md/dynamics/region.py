"""A pocket-centred region of a complex as a smaller System.

On a CPU the implicit solvent costs eight times everything else and grows with the square of the atoms, so a
short screen simulates the part that moves on its time scale: ligand, pocket, H11-H12 loop and helix 12. The
region has a mobile part and a shell of fixed atoms (mass 0) that holds it in place; the rest of the domain is
left out of the forces and keeps its model position, so every frame is still a whole complex.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import openmm
from scipy.spatial import cKDTree

from esr1md.complex import Complex
from esr1md.dynamics.protocol import Region
from esr1md.errors import StageError
from esr1md.receptor.frame import POCKET_RESIDUES


@dataclass(frozen=True)
class Subsystem:
    """A System over some atoms of a complex.

    Attributes
    ----------
    system
        OpenMM System of ``len(atoms)`` particles; fixed ones have mass 0.
    atoms
        (n,) indices into the complex, ascending.
    mobile
        (n,) booleans: which of ``atoms`` move.
    """

    system: openmm.System
    atoms: np.ndarray
    mobile: np.ndarray


def simulated(complex_: Complex, region: Region | None) -> Subsystem:
    """What a protocol simulates of a complex: its region, or all of it; a System to which forces may be added.

    Raises
    ------
    StageError
        As :func:`select_region` and :func:`extract`.
    """
    return whole(complex_) if region is None else extract(complex_, *select_region(complex_, region))


def whole(complex_: Complex) -> Subsystem:
    """The complex as it is, every atom mobile; a System of its own, to which forces may be added."""
    n = complex_.system.getNumParticles()
    return Subsystem(copy.deepcopy(complex_.system), np.arange(n), np.ones(n, dtype=bool))


def select_region(complex_: Complex, region: Region) -> tuple[np.ndarray, np.ndarray]:
    """Atoms of the region and which of them move.

    Returns
    -------
    atoms : (n,) int
        Indices into the complex, ascending; whole residues only.
    mobile : (n,) bool

    Raises
    ------
    StageError
        When the receptor lacks residues of the pocket or of helix 12.
    """
    residues = list(complex_.topology.residues())
    number = {}
    for residue in residues:
        if residue.chain.id != "L" and residue.id.lstrip("-").isdigit():
            number[int(residue.id)] = residue.index
    first, last = region.helix12
    wanted = set(POCKET_RESIDUES) | set(range(first, last + 1))
    # Caps carry the numbers beyond the model's ends, so a model that stops early still has its helix 12.
    missing = sorted(n for n in wanted if n not in number and n <= 544)
    if missing:
        raise StageError("dynamics", f"the receptor lacks residues {missing} that the region needs")
    residue_of_atom = np.array([atom.residue.index for atom in complex_.topology.atoms()])
    mobile_residues = {number[n] for n in wanted if n in number}
    if len(complex_.ligand_atoms):
        ligand = complex_.positions[complex_.ligand_atoms]
        near = _atoms_within(complex_.positions, ligand, region.mobile_angstrom / 10)
        mobile_residues |= set(residue_of_atom[near]) | set(residue_of_atom[complex_.ligand_atoms])
    mobile_atoms = np.isin(residue_of_atom, list(mobile_residues))
    near = _atoms_within(complex_.positions, complex_.positions[mobile_atoms], region.shell_angstrom / 10)
    kept_residues = set(residue_of_atom[near]) | mobile_residues
    atoms = np.flatnonzero(np.isin(residue_of_atom, list(kept_residues)))
    return atoms, mobile_atoms[atoms]


def extract(complex_: Complex, atoms: np.ndarray, mobile: np.ndarray) -> Subsystem:
    """The complex's System restricted to ``atoms``: every term whose atoms are all kept, the others dropped.

    Residues are kept whole, so charges stay integral; a bonded term cut at the region's edge only ever
    joins fixed atoms to absent ones and exerts no force on anything that moves.

    Raises
    ------
    StageError
        For a force this function does not know, rather than leaving it out.
    """
    source = complex_.system
    index = {int(atom): i for i, atom in enumerate(atoms)}
    system = openmm.System()
    for atom, moves in zip(atoms, mobile, strict=True):
        system.addParticle(source.getParticleMass(int(atom)) if moves else 0.0)
    for i in range(source.getNumConstraints()):
        a, b, distance = source.getConstraintParameters(i)
        if a in index and b in index and mobile[index[a]] and mobile[index[b]]:
            system.addConstraint(index[a], index[b], distance)
    for force in source.getForces():
        copy = _restrict(force, index, atoms)
        if copy is not None:
            copy.setForceGroup(force.getForceGroup())
            system.addForce(copy)
    return Subsystem(system, atoms, mobile)


def _restrict(force: openmm.Force, index: dict[int, int], atoms: np.ndarray) -> openmm.Force | None:
    """A copy of ``force`` over the kept atoms."""
    if isinstance(force, openmm.NonbondedForce):
        copy = openmm.NonbondedForce()
        for atom in atoms:
            copy.addParticle(*force.getParticleParameters(int(atom)))
        for i in range(force.getNumExceptions()):
            a, b, *parameters = force.getExceptionParameters(i)
            if a in index and b in index:
                copy.addException(index[a], index[b], *parameters)
        copy.setNonbondedMethod(force.getNonbondedMethod())
        copy.setCutoffDistance(force.getCutoffDistance())
        copy.setReactionFieldDielectric(force.getReactionFieldDielectric())
        return copy
    if isinstance(force, openmm.GBSAOBCForce):
        copy = openmm.GBSAOBCForce()
        for atom in atoms:
            copy.addParticle(*force.getParticleParameters(int(atom)))
        copy.setNonbondedMethod(force.getNonbondedMethod())
        copy.setCutoffDistance(force.getCutoffDistance())
        copy.setSoluteDielectric(force.getSoluteDielectric())
        copy.setSolventDielectric(force.getSolventDielectric())
        copy.setSurfaceAreaEnergy(force.getSurfaceAreaEnergy())
        return copy
    bonded = {
        openmm.HarmonicBondForce: ("Bond", 2),
        openmm.HarmonicAngleForce: ("Angle", 3),
        openmm.PeriodicTorsionForce: ("Torsion", 4),
    }
    for kind, (term, n_atoms) in bonded.items():
        if isinstance(force, kind):
            copy = kind()
            get, add = getattr(force, f"get{term}Parameters"), getattr(copy, f"add{term}")
            for i in range(getattr(force, f"getNum{term}s")()):
                parameters = get(i)
                members = parameters[:n_atoms]
                if all(member in index for member in members):
                    add(*(index[member] for member in members), *parameters[n_atoms:])
            return copy
    if isinstance(force, openmm.CMMotionRemover):
        return None
    raise StageError("dynamics", f"a region cannot carry a {type(force).__name__}; use a protocol without region")


def _atoms_within(positions: np.ndarray, reference: np.ndarray, distance: float) -> np.ndarray:
    """Indices of ``positions`` (n, 3) within ``distance`` (nm) of any of ``reference`` (m, 3)."""
    separation, _ = cKDTree(reference).query(positions, distance_upper_bound=distance)
    return np.flatnonzero(np.isfinite(separation))
