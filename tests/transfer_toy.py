"""Atoms in a cage of fixed atoms, whose relative free energies are integrals: what alchemical transfer is tested on.

The cage has six charged atoms of mass 0, a "ligand" is one atom; Lennard-Jones, Coulomb and native OBC2. With the
restraints of :mod:`esr1md.dynamics.atm` the free energy of either end state is a six-dimensional integral that factors
into a three-dimensional one over the ligand in the cage, weighted by a convolution for the one in the solvent.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import openmm
from scipy.signal import fftconvolve

from esr1md.dynamics.atm import Transfer, TransferSystem, transfer_system
from esr1md.dynamics.platforms import PlatformChoice
from esr1md.dynamics.region import Subsystem

REFERENCE = PlatformChoice("Reference", {}, "test")
TEMPERATURE = 300.0
KT = 8.31446261815324e-3 * TEMPERATURE
DYNAMICS = dict(temperature_kelvin=TEMPERATURE, friction_per_ps=5.0, time_step_fs=10.0)
SETTINGS = Transfer(
    states_per_leg=4, equilibrate_ps=4, sample_ps=40, exchange_ps=0.25, site_angstrom=3, site_kcal_per_angstrom2=5
)

CAGE = np.array([[4.5, 0, 0], [-4.2, 0.5, 0], [0, 4.3, 0], [0, -4.6, 0.3], [0, 0.2, 4.4], [0, 0, -5.0]]) / 10
_CAGE_CHARGES = (-0.3, 0.1, 0.15, -0.2, 0.15, 0.1)
#: Charge (e), Lennard-Jones sigma (nm) and epsilon (kJ/mol), Born radius (nm).
ATOMS = {"A": (0.0, 0.30, 1.0, 0.15), "B": (0.35, 0.34, 4.0, 0.17), "C": (-0.4, 0.42, 0.3, 0.16)}


def system(*names: str) -> openmm.System:
    """The cage with some atoms, forces as in a plain System."""
    made, nonbonded, solvent = _cage(charges=1.0)
    for name in names:
        made.addParticle(40.0)
        _add_atom(nonbonded, solvent, *ATOMS[name])
    return _with(made, nonbonded, solvent)


def _cage(charges: float) -> tuple[openmm.System, openmm.NonbondedForce, openmm.GBSAOBCForce]:
    made, nonbonded, solvent = openmm.System(), openmm.NonbondedForce(), openmm.GBSAOBCForce()
    for charge in _CAGE_CHARGES:
        made.addParticle(0.0)
        _add_atom(nonbonded, solvent, charges * charge, 0.33, 1.5, 0.16)
    return made, nonbonded, solvent


def _add_atom(nonbonded, solvent, charge: float, sigma: float, epsilon: float, radius: float) -> None:
    nonbonded.addParticle(charge, sigma, epsilon)
    solvent.addParticle(charge, radius, 0.8)


def _with(made: openmm.System, *forces: openmm.Force) -> openmm.System:
    for force in forces:
        made.addForce(force)
    return made


def transfer(first: str, second: str, settings: Transfer = SETTINGS) -> TransferSystem:
    n = len(CAGE)
    return transfer_system(
        Subsystem(system(first, second), np.arange(n + 2), np.array([False] * n + [True] * 2)),
        np.vstack([CAGE, np.zeros((2, 3))]),
        first=[n],
        second=[n + 1],
        anchors=[(n, n + 1)],
        settings=settings,
    )


def energy(names: str, *places: np.ndarray) -> float:
    """Potential energy (kJ/mol) of a plain System with atoms at ``places`` (nm)."""
    context = openmm.Context(system(*names), openmm.VerletIntegrator(0.001), REFERENCE.platform())
    context.setPositions(np.vstack([CAGE, *places]))
    return context.getState(energy=True).getPotentialEnergy()._value


@cache
def in_cage_kcal(name: str) -> float:
    """-kT ln of the end state's integral with ``name`` in the cage, less its energy far away; differences count.

    By a grid over the cage (0.36 A apart), which has converged to 0.01 kcal/mol.
    """
    n, half = 27, 0.47
    line = np.linspace(-half, half, n)
    places = np.stack(np.meshgrid(line, line, line, indexing="ij"), -1).reshape(-1, 3)
    context = openmm.Context(system(name), openmm.VerletIntegrator(0.001), REFERENCE.platform())
    r = np.linalg.norm(places, axis=1)
    wall, width = SETTINGS.site_kcal_per_angstrom2 * 418.4, SETTINGS.site_angstrom / 10
    site = wall / (8 * width**2) * np.maximum(0, r**2 - width**2) ** 2
    far = energy(name, np.array([30.0, 40.0, 0.0]))
    free = np.linalg.norm(places[:, None] - CAGE[None], axis=2).min(axis=1) > 0.15
    weights = np.zeros(len(places))
    for i in np.flatnonzero(free):
        context.setPositions(np.vstack([CAGE, places[i]]))
        inside = context.getState(energy=True).getPotentialEnergy()._value - far
        weights[i] = np.exp(-(inside + site[i]) / KT)
    spring = SETTINGS.align_kcal_per_angstrom2 * 418.4
    cube = (n, n, n)
    other = fftconvolve(np.exp(-site / KT).reshape(cube), np.exp(-0.5 * spring * r**2 / KT).reshape(cube), mode="same")
    return float(-KT * np.log((weights * other.ravel()).sum()) / 4.184)


def exact_kcal(first: str, second: str) -> float:
    """dG(binding, second) - dG(binding, first), by quadrature."""
    return in_cage_kcal(second) - in_cage_kcal(first)


# --- ligands that can turn ----------------------------------------------------------------------------------

_TRIANGLE = np.array([[0, 0, 0], [0.14, 0, 0], [0.03, 0.12, 0]])
_TRIANGLES = (
    ((0.25, 0.30, 0.6, 0.15), (-0.25, 0.28, 0.8, 0.15), (0.0, 0.26, 0.5, 0.12)),
    ((-0.5, 0.32, 2.5, 0.16), (0.2, 0.26, 1.5, 0.13), (0.3, 0.28, 2.5, 0.14)),
)


def triangles(settings: Transfer, partners: tuple[int, int, int] = (0, 1, 2)) -> TransferSystem:
    """Two rigid triangles in a wider cage; atom i of the first is laid on atom ``partners[i]`` of the second."""
    made, nonbonded, solvent = _cage(charges=2.0)
    for ligand in _TRIANGLES:
        start = made.getNumParticles()
        for atom in ligand:
            made.addParticle(30.0)
            _add_atom(nonbonded, solvent, *atom)
        for i, j in ((0, 1), (0, 2), (1, 2)):
            made.addConstraint(start + i, start + j, float(np.linalg.norm(_TRIANGLE[i] - _TRIANGLE[j])))
            nonbonded.addException(start + i, start + j, 0.0, 0.3, 0.0)
    n, place = len(CAGE), _TRIANGLE - _TRIANGLE.mean(axis=0)
    return transfer_system(
        Subsystem(_with(made, nonbonded, solvent), np.arange(n + 6), np.array([False] * n + [True] * 6)),
        np.vstack([1.25 * CAGE, place, place]),
        first=range(n, n + 3),
        second=range(n + 3, n + 6),
        anchors=[(n + i, n + 3 + j) for i, j in enumerate(partners)],
        settings=settings,
        site=range(n),
    )
