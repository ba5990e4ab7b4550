"""What happens when a simulation becomes unstable: it is said where, and tried again in documented steps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import openmm

from esr1md.complex import Complex
from esr1md.dynamics.region import Subsystem

#: Iterations of the minimisation that every attempt begins with.
RELAX_ITERATIONS = 200

#: How often the time step is halved in each attempt, in order; every attempt first goes back to the last good instant,
#: relaxes there and draws new velocities.
ATTEMPTS = (0, 1, 2)

#: Atoms that are named.
N_WORST = 5

#: Two atoms of the solute nearer than this (nm) at the start cannot be pulled apart by a minimiser without tearing
#: something else.
OVERLAP = 0.04


@dataclass(frozen=True)
class WorstAtom:
    """An atom with its force (kJ/mol/nm)."""

    atom: str
    residue: str
    force: float


class Unstable(Exception):
    """The simulation blew up: cause in words; caught by the engine."""

    def __init__(self, cause: str) -> None:
        super().__init__(cause)
        self.cause = cause


def worst_atoms(context: openmm.Context, sub: Subsystem, complex_: Complex) -> list[WorstAtom]:
    """The atoms with the largest forces at the context's positions, largest first; empty if there are no forces."""
    try:
        forces = context.getState(forces=True).getForces(asNumpy=True)._value
    except openmm.OpenMMException:
        return []
    size = np.nan_to_num(np.linalg.norm(forces, axis=1), nan=np.inf)
    size[~sub.mobile] = 0.0
    atoms = list(complex_.topology.atoms())
    found = []
    for i in np.argsort(-size, kind="stable")[:N_WORST]:
        atom = atoms[int(sub.atoms[i])]
        found.append(WorstAtom(atom.name, f"{atom.residue.name}{atom.residue.id}", float(size[i])))
    return found


def in_words(atoms: list[WorstAtom]) -> str:
    """``LIG1:C3 (3.1e+06 kJ/mol/nm), LEU525:CD1 (...)``."""
    return ", ".join(f"{a.residue}:{a.atom} ({a.force:.2g} kJ/mol/nm)" for a in atoms[:3]) or "unknown atoms"


def overlaps(complex_: Complex) -> list[str]:
    """Pairs of solute atoms that lie on each other, in words (``LIG1:C3 and LEU525:CD1: 0.1 A``)."""
    from scipy.spatial import cKDTree

    solute = complex_.solute_atoms
    pairs = cKDTree(complex_.positions[solute]).query_pairs(OVERLAP)
    atoms = list(complex_.topology.atoms())
    said = []
    for i, j in sorted(pairs):
        a, b = atoms[int(solute[i])], atoms[int(solute[j])]
        apart = 10 * float(np.linalg.norm(complex_.positions[a.index] - complex_.positions[b.index]))
        said.append(
            f"{a.residue.name}{a.residue.id}:{a.name} and {b.residue.name}{b.residue.id}:{b.name}: {apart:.2f} A"
        )
    return said
