"""Harmonic restraints of a selection of atoms to where they started."""

from __future__ import annotations

import numpy as np
import openmm

from esr1md.complex import GROUP_RESTRAINT, Complex
from esr1md.dynamics.protocol import NAMED_SELECTIONS, Restraint
from esr1md.dynamics.region import Subsystem
from esr1md.errors import StageError

#: kJ/mol/nm^2 per kcal/mol/A^2.
UNIT = 418.4

_BACKBONE = ("N", "CA", "C", "O")


def add_restraint(sub: Subsystem, complex_: Complex) -> openmm.CustomExternalForce:
    """One harmonic restraint over all mobile solute atoms; :func:`set_restraint` sets the constants of each stage."""
    periodic = sub.system.usesPeriodicBoundaryConditions()
    expression = "periodicdistance(x,y,z,x0,y0,z0)^2" if periodic else "(x-x0)^2+(y-y0)^2+(z-z0)^2"
    force = openmm.CustomExternalForce(f"0.5*k*{expression}")
    for name in ("k", "x0", "y0", "z0"):
        force.addPerParticleParameter(name)
    solute = set(complex_.solute_atoms.tolist())
    for i, atom in enumerate(sub.atoms):
        if sub.mobile[i] and int(atom) in solute:
            force.addParticle(i, [0.0, *complex_.positions[atom]])
    force.setForceGroup(GROUP_RESTRAINT)
    sub.system.addForce(force)
    return force


def set_restraint(
    context: openmm.Context,
    force: openmm.CustomExternalForce,
    sub: Subsystem,
    complex_: Complex,
    restraint: Restraint | None,
) -> None:
    """Give each atom that ``restraint`` selects its force constant, the others none.

    Raises
    ------
    StageError
        The selection names no atom that moves.
    """
    chosen = set() if restraint is None else set(selected_atoms(complex_, restraint.selection).tolist())
    constant = 0.0 if restraint is None else restraint.kcal_per_angstrom2 * 2 * UNIT
    hits = 0
    for i in range(force.getNumParticles()):
        particle, (_, x0, y0, z0) = force.getParticleParameters(i)
        hit = int(sub.atoms[particle]) in chosen
        hits += hit
        force.setParticleParameters(i, particle, [constant if hit else 0.0, x0, y0, z0])
    without_ligand = restraint is not None and restraint.selection == "ligand-heavy" and not len(complex_.ligand_atoms)
    if restraint is not None and not hits and not without_ligand:
        outside = " of the simulated region" if chosen else ""
        raise StageError(
            "dynamics", f"the restraint's selection '{restraint.selection}' holds no atom{outside} that can move"
        )
    force.updateParametersInContext(context)


def selected_atoms(complex_: Complex, selection: str) -> np.ndarray:
    """Indices (ascending) of the solute atoms that a restraint's selection names.

    Parameters
    ----------
    selection
        One of :data:`~esr1md.dynamics.protocol.NAMED_SELECTIONS`, or MDTraj's atom selection language
        (``residue`` is the P03372 number).
    """
    if selection in NAMED_SELECTIONS:
        ligand = set(complex_.ligand_atoms.tolist())
        solute = set(complex_.solute_atoms.tolist())
        wanted = {
            "solute-heavy": lambda a: True,
            "protein-heavy": lambda a: a.index not in ligand,
            "protein-backbone": lambda a: a.index not in ligand and a.name in _BACKBONE,
            "ligand-heavy": lambda a: a.index in ligand,
        }[selection]
        atoms = (a for a in complex_.topology.atoms() if a.index in solute)
        return np.array([a.index for a in atoms if a.element.symbol != "H" and wanted(a)], dtype=int)
    import mdtraj

    solute = complex_.solute_atoms
    topology = mdtraj.Topology.from_openmm(complex_.topology)
    return np.intersect1d(topology.select(selection), solute)
