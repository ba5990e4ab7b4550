"""Energy minimisation of a receptor without solvent, of all of it or of a small part.

The force field is amber14SB with every charge halved, which is a uniform dielectric constant of 4: in plain
vacuum charged side chains would collapse onto the backbone. It serves to remove strain, never to score.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from functools import lru_cache

import numpy as np
import openmm
from openmm import app, unit
from openmm.app.internal.customgbforces import GBSAOBC2Force
from scipy.spatial import cKDTree

from esr1md.errors import StageError

FORCE_FIELD = "amber14/protein.ff14SB.xml"
_CHARGE_SCALE = 0.5
#: One thread, so that the same input gives the same model whatever the machine's core count.
_REPEATABLE = {"Threads": "1", "DeterministicForces": "true"}
_CUTOFF = 1.2  # nm
_SURROUNDINGS = 1.0  # nm: frozen atoms this near to a moving one are kept in a partial minimisation


@lru_cache(maxsize=1)
def force_field() -> app.ForceField:
    """amber14SB for proteins."""
    return app.ForceField(FORCE_FIELD)


@contextmanager
def cpu_platform() -> Iterator[openmm.Platform]:
    """The CPU platform for programs that make their own Context, with one thread and repeatable sums.

    It is asked for by name so that no program picks a GPU by itself. The platform's defaults are put back
    afterwards.
    """
    platform = openmm.Platform.getPlatform("CPU")
    before = {name: platform.getPropertyDefaultValue(name) for name in _REPEATABLE}
    for name, value in _REPEATABLE.items():
        platform.setPropertyDefaultValue(name, value)
    try:
        yield platform
    finally:
        for name, value in before.items():
            platform.setPropertyDefaultValue(name, value)


def build_system(topology: app.Topology) -> openmm.System:
    """System of a complete receptor, charges halved, no constraints, 1.2 nm cutoff."""
    system = force_field().createSystem(
        topology, nonbondedMethod=app.CutoffNonPeriodic, nonbondedCutoff=_CUTOFF * unit.nanometer,
        constraints=None, rigidWater=False, removeCMMotion=False,
    )  # fmt: skip
    nonbonded = nonbonded_force(system)
    for i in range(nonbonded.getNumParticles()):
        charge, sigma, epsilon = nonbonded.getParticleParameters(i)
        nonbonded.setParticleParameters(i, charge * _CHARGE_SCALE, sigma, epsilon)
    for i in range(nonbonded.getNumExceptions()):
        first, second, product, sigma, epsilon = nonbonded.getExceptionParameters(i)
        nonbonded.setExceptionParameters(i, first, second, product * _CHARGE_SCALE**2, sigma, epsilon)
    return system


def solvated_energy(topology: app.Topology, kept: np.ndarray) -> Callable[[np.ndarray], float]:
    """A function that gives the energy (kJ/mol) of part of a receptor in implicit water from its positions (n x 3, nm).

    amber14SB with full charges and the OBC2 model (Onufriev, Bashford and Case 2004) without cutoff. Minimisation
    cannot afford it; a choice between a few conformers can, and in vacuum would always go to the closest charge.
    Energies of conformers that differ in ``kept`` atoms only can be compared.

    Parameters
    ----------
    topology
        The whole receptor.
    kept
        Indices of the atoms that take part; their residues do so whole, which keeps charges integral.
    """
    taking_part = set(map(int, kept))
    residues = {atom.residue.index for atom in topology.atoms() if atom.index in taking_part}
    atoms = np.array([atom.index for atom in topology.atoms() if atom.residue.index in residues])
    system = force_field().createSystem(topology, nonbondedMethod=app.NoCutoff, removeCMMotion=False)
    solvent = openmm.GBSAOBCForce()
    solvent.setSoluteDielectric(1.0)
    solvent.setSolventDielectric(78.5)
    nonbonded, born = nonbonded_force(system), GBSAOBC2Force.getStandardParameters(topology)
    for i in map(int, atoms):
        solvent.addParticle(nonbonded.getParticleParameters(i)[0], *born[i])
    part = _subsystem(system, atoms, np.ones(len(born), dtype=bool))
    part.addForce(solvent)
    with cpu_platform() as platform:
        context = openmm.Context(part, openmm.VerletIntegrator(0.001), platform)

    def energy(positions: np.ndarray) -> float:
        context.setPositions(positions[atoms] * unit.nanometer)
        found = context.getState(getEnergy=True).getPotentialEnergy()
        return float(found.value_in_unit(unit.kilojoule_per_mole))

    return energy


def soft_system(system: openmm.System) -> openmm.System:
    """A copy without charges and with atoms of 0.6 times their size, in which overlapping atoms slide apart.

    At full size an overlap pushes so hard that minimisation turns residues into their mirror images or fails.
    """
    soft = deepcopy(system)
    nonbonded = nonbonded_force(soft)
    for i in range(nonbonded.getNumParticles()):
        _, sigma, epsilon = nonbonded.getParticleParameters(i)
        nonbonded.setParticleParameters(i, 0.0, 0.6 * sigma, epsilon)
    for i in range(nonbonded.getNumExceptions()):
        first, second, _, sigma, epsilon = nonbonded.getExceptionParameters(i)
        nonbonded.setExceptionParameters(i, first, second, 0.0, 0.6 * sigma, epsilon)
    return soft


def overlapping(topology: app.Topology, positions: np.ndarray) -> int:
    """How many pairs of atoms of residues that are not bonded lie within 0.13 nm."""
    rows = np.array([atom.residue.index for atom in topology.atoms()])
    pairs = cKDTree(positions).query_pairs(0.13, output_type="ndarray")
    return int((np.abs(rows[pairs[:, 0]] - rows[pairs[:, 1]]) > 1).sum()) if len(pairs) else 0


def nonbonded_force(system: openmm.System) -> openmm.NonbondedForce:
    """The only NonbondedForce of a System."""
    return next(force for force in system.getForces() if isinstance(force, openmm.NonbondedForce))


def minimise(
    system: openmm.System,
    positions: np.ndarray,
    *,
    mobile: np.ndarray | None = None,
    restraint: np.ndarray | None = None,
    anchor: np.ndarray | None = None,
    kept: np.ndarray | None = None,
    held_torsions: np.ndarray | None = None,
    iterations: int = 200,
) -> tuple[np.ndarray, float]:
    """Minimise with some atoms frozen and others held by springs.

    Parameters
    ----------
    system
        From :func:`build_system`.
    positions
        n x 3, nm.
    mobile
        n booleans; all atoms move if not given.
    restraint
        n spring constants (kJ/mol/nm^2), 0 for a free atom.
    anchor
        n x 3 (nm): where the springs end; ``positions`` if not given.
    kept
        Indices of the atoms that take part; the moving ones and what lies within 1 nm if not given. Give it
        where energies of several conformers are compared.
    held_torsions
        t x 4 indices of atoms whose torsions stay near what they are in ``anchor`` (500 kJ/mol/rad^2).
    iterations
        At most this many L-BFGS iterations.

    Returns
    -------
    positions (n x 3, nm), energy (kJ/mol)
        The energy is that of the minimised part, without the springs.

    Raises
    ------
    StageError
        If atoms lie on top of each other.
    """
    count = len(positions)
    mobile = np.ones(count, dtype=bool) if mobile is None else mobile
    restraint = np.zeros(count) if restraint is None else restraint
    kept = _with_surroundings(positions, mobile) if kept is None else kept
    if held_torsions is not None and len(held_torsions):
        system = deepcopy(system)
        system.addForce(_torsion_springs(held_torsions, positions if anchor is None else anchor))
    return minimiser(system, mobile, kept)(positions, restraint, anchor, iterations)


def _torsion_springs(torsions: np.ndarray, positions: np.ndarray) -> openmm.CustomTorsionForce:
    force = openmm.CustomTorsionForce("250*(2*sin(0.5*(theta-theta0)))^2")
    force.addPerTorsionParameter("theta0")
    force.setForceGroup(1)
    for atoms in torsions:
        a, b, c, d = positions[atoms]
        first, second = np.cross(b - a, c - b), np.cross(c - b, d - c)
        axis = (c - b) / np.linalg.norm(c - b)
        angle = np.arctan2(np.dot(np.cross(first, second), axis), np.dot(first, second))
        force.addTorsion(*map(int, atoms), [float(angle)])
    return force


Minimiser = Callable[[np.ndarray, np.ndarray, np.ndarray | None, int], tuple[np.ndarray, float]]


def minimiser(system: openmm.System, mobile: np.ndarray, kept: np.ndarray) -> Minimiser:
    """A function that minimises part of a receptor again and again: (positions, restraint, anchor, iterations).

    For many conformers of one part: making the part's System takes longer than minimising it. Parameters, result
    and errors are those of :func:`minimise`.
    """
    part = _subsystem(system, kept, mobile)
    springs = openmm.CustomExternalForce("0.5*k*((x-x0)^2+(y-y0)^2+(z-z0)^2)")
    springs.setForceGroup(1)
    for name in ("k", "x0", "y0", "z0"):
        springs.addPerParticleParameter(name)
    held = [(new, int(old)) for new, old in enumerate(kept) if mobile[old]]
    for new, _ in held:
        springs.addParticle(new, [0.0, 0.0, 0.0, 0.0])
    part.addForce(springs)
    with cpu_platform() as platform:
        context = openmm.Context(part, openmm.VerletIntegrator(0.001), platform)

    def run(
        positions: np.ndarray, restraint: np.ndarray, anchor: np.ndarray | None, iterations: int
    ) -> tuple[np.ndarray, float]:
        ends = positions if anchor is None else anchor
        for k, (new, old) in enumerate(held):
            springs.setParticleParameters(k, new, [float(restraint[old]), *map(float, ends[old])])
        springs.updateParametersInContext(context)
        context.setPositions(positions[kept] * unit.nanometer)
        try:
            openmm.LocalEnergyMinimizer.minimize(context, 5.0, iterations)
        except openmm.OpenMMException as error:
            raise StageError("receptor", f"atoms overlap so badly that minimisation failed ({error})") from error
        moved = positions.copy()
        state = context.getState(getPositions=True)
        moved[kept] = state.getPositions(asNumpy=True).value_in_unit(unit.nanometer)
        energy = context.getState(getEnergy=True, groups={0}).getPotentialEnergy()
        return moved, float(energy.value_in_unit(unit.kilojoule_per_mole))

    return run


def _with_surroundings(positions: np.ndarray, mobile: np.ndarray) -> np.ndarray:
    """Indices of the moving atoms and of the frozen ones that they can feel."""
    if mobile.all():
        return np.arange(len(positions))
    centres = positions[mobile]
    near = np.zeros(len(positions), dtype=bool)
    for start in range(0, len(centres), 200):
        block = centres[start : start + 200]
        squared = ((positions[:, None, :] - block[None, :, :]) ** 2).sum(axis=2)
        near |= (squared < _SURROUNDINGS**2).any(axis=1)
    return np.flatnonzero(near | mobile)


def _subsystem(system: openmm.System, kept: np.ndarray, mobile: np.ndarray) -> openmm.System:
    """The terms of ``system`` among the ``kept`` atoms that involve a moving one; frozen atoms get mass 0."""
    new_index = {int(old): new for new, old in enumerate(kept)}
    part = openmm.System()
    for old in kept:
        part.addParticle(system.getParticleMass(int(old)) if mobile[old] else 0.0)

    def inside(atoms: list[int]) -> bool:
        return all(a in new_index for a in atoms) and any(mobile[a] for a in atoms)

    bonds, angles, torsions = (
        openmm.HarmonicBondForce(), openmm.HarmonicAngleForce(), openmm.PeriodicTorsionForce()
    )  # fmt: skip
    nonbonded = openmm.NonbondedForce()
    for force in system.getForces():
        if isinstance(force, openmm.HarmonicBondForce):
            for i in range(force.getNumBonds()):
                *atoms, length, k = force.getBondParameters(i)
                if inside(atoms):
                    bonds.addBond(*(new_index[a] for a in atoms), length, k)
        elif isinstance(force, openmm.HarmonicAngleForce):
            for i in range(force.getNumAngles()):
                *atoms, angle, k = force.getAngleParameters(i)
                if inside(atoms):
                    angles.addAngle(*(new_index[a] for a in atoms), angle, k)
        elif isinstance(force, openmm.PeriodicTorsionForce):
            for i in range(force.getNumTorsions()):
                *atoms, periodicity, phase, k = force.getTorsionParameters(i)
                if inside(atoms):
                    torsions.addTorsion(*(new_index[a] for a in atoms), periodicity, phase, k)
        elif isinstance(force, openmm.NonbondedForce):
            nonbonded.setNonbondedMethod(force.getNonbondedMethod())
            nonbonded.setCutoffDistance(force.getCutoffDistance())
            for old in kept:
                nonbonded.addParticle(*force.getParticleParameters(int(old)))
            for i in range(force.getNumExceptions()):
                first, second, *parameters = force.getExceptionParameters(i)
                if first in new_index and second in new_index:
                    nonbonded.addException(new_index[first], new_index[second], *parameters)
        elif isinstance(force, openmm.CustomTorsionForce):
            springs = openmm.CustomTorsionForce(force.getEnergyFunction())
            springs.setForceGroup(force.getForceGroup())
            for i in range(force.getNumPerTorsionParameters()):
                springs.addPerTorsionParameter(force.getPerTorsionParameterName(i))
            for i in range(force.getNumTorsions()):
                *atoms, parameters = force.getTorsionParameters(i)
                if inside(atoms):
                    springs.addTorsion(*(new_index[a] for a in atoms), parameters)
            part.addForce(springs)
        else:
            raise TypeError(f"{type(force).__name__} has no rule for a partial System")
    for force in (bonds, angles, torsions, nonbonded):
        part.addForce(force)
    return part
