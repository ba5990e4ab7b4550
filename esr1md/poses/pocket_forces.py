"""The forces of :mod:`esr1md.poses.pocket`: amber14SB and GAFF2 terms copied into a small System."""

from __future__ import annotations

import numpy as np
import openmm
from openmm import app, unit

from esr1md.ligand.parameters import LigandParameters

KCAL = 4.184
#: Dielectric constant, and Coulomb's constant over it (kJ nm/mol/e^2).
DIELECTRIC = 8.0
COULOMB = 138.935456 / DIELECTRIC

#: Spring (kcal/mol/angstrom^2) that holds each moving heavy atom of the receptor near where it was given.
HOLD = 1.0
#: Cutoff of non-bonded pairs while side chains move (angstrom); Coulomb is shifted to zero there.
CUTOFF = 10.0


def ligand_topology(parameters: LigandParameters) -> app.Topology:
    """The ligand alone: one residue ``LIG``, atoms in the parameters' order."""
    mol = parameters.molecule()
    topology = app.Topology()
    residue = topology.addResidue("LIG", topology.addChain("L"), id="1")
    atoms = [
        topology.addAtom(name, app.Element.getByAtomicNumber(atom.GetAtomicNum()), residue)
        for name, atom in zip(parameters.atom_names, mol.GetAtoms(), strict=True)
    ]
    for bond in mol.GetBonds():
        topology.addBond(atoms[bond.GetBeginAtomIdx()], atoms[bond.GetEndAtomIdx()])
    return topology


def ligand_system(parameters: LigandParameters) -> openmm.System:
    return app.ForceField(str(parameters.xml)).createSystem(ligand_topology(parameters))


def nonbonded(system: openmm.System) -> openmm.NonbondedForce:
    return next(f for f in system.getForces() if isinstance(f, openmm.NonbondedForce))


def charge_sigma_epsilon(force: openmm.NonbondedForce, index: int) -> tuple[float, float, float]:
    return tuple(v.value_in_unit_system(unit.md_unit_system) for v in force.getParticleParameters(index))


def copy_bonded(source: openmm.System, target: openmm.System, number: dict[int, int], moves: set[int] | None) -> None:
    """Copy bonds, angles and torsions whose atoms are all kept and of which at least one moves."""
    kinds = (
        (openmm.HarmonicBondForce, 2, "getNumBonds", "getBondParameters", "addBond"),
        (openmm.HarmonicAngleForce, 3, "getNumAngles", "getAngleParameters", "addAngle"),
        (openmm.PeriodicTorsionForce, 4, "getNumTorsions", "getTorsionParameters", "addTorsion"),
    )
    for force in source.getForces():
        for kind, width, count, get, add in kinds:
            if not isinstance(force, kind):
                continue
            copy = kind()
            for i in range(getattr(force, count)()):
                values = getattr(force, get)(i)
                atoms = [number.get(a) for a in values[:width]]
                if None not in atoms and (moves is None or moves.intersection(atoms)):
                    getattr(copy, add)(*atoms, *values[width:])
            target.addForce(copy)


def exceptions(
    force: openmm.NonbondedForce,
    number: dict[int, int],
) -> dict[tuple[int, int], tuple[float, float, float]]:
    """(charge product, sigma, epsilon) of each excluded or scaled pair of kept atoms, by particle numbers."""
    found = {}
    for k in range(force.getNumExceptions()):
        a, b, *values = force.getExceptionParameters(k)
        i, j = number.get(a), number.get(b)
        if i is not None and j is not None:
            found[min(i, j), max(i, j)] = tuple(v.value_in_unit_system(unit.md_unit_system) for v in values)
    return found


def hold_side_chains(system: openmm.System, places: dict[int, np.ndarray]) -> None:
    """Springs on the heavy atoms that move: a pose must suit the receptor as it was given, not one of its own.

    ``places`` are positions (angstrom) by particle number.
    """
    springs = openmm.CustomExternalForce(f"{HOLD * KCAL * 100.0}*((x-x0)^2+(y-y0)^2+(z-z0)^2)")
    for axis in ("x0", "y0", "z0"):
        springs.addPerParticleParameter(axis)
    for particle, place in places.items():
        springs.addParticle(particle, place / 10.0)
    system.addForce(springs)


def add_plain_pairs(system: openmm.System, rows: list, special: dict, born: list | None = None) -> None:
    """Every pair by OpenMM's own non-bonded force, the fastest there is.

    With ``born`` (radius in nm and scale of each particle) the solvent is generalised Born (OBC2, with a surface term)
    and there is no cutoff; without, a dielectric that goes into the charges.
    """
    dielectric = DIELECTRIC if born is None else 1.0
    force = openmm.NonbondedForce()
    for charge, sigma, epsilon in rows:
        force.addParticle(charge / dielectric**0.5, sigma, epsilon)
    for (i, j), (product, sigma, epsilon) in special.items():
        force.addException(i, j, product / dielectric, sigma, epsilon)
    system.addForce(force)
    if born is None:
        force.setNonbondedMethod(openmm.NonbondedForce.CutoffNonPeriodic)
        force.setCutoffDistance(CUTOFF / 10.0)
        force.setReactionFieldDielectric(1.0)
        return
    solvent = openmm.GBSAOBCForce()
    for (charge, _, _), (radius, scale) in zip(rows, born, strict=True):
        solvent.addParticle(charge, radius, scale)
    system.addForce(solvent)


def add_soft_pairs(system: openmm.System, rows: list, special: dict, n_pocket: int) -> None:
    """Pairs inside the ligand and with the frozen pocket, all through the soft core ``soft``."""
    core = "4*epsilon*(1/(x*x) - 1/x) + q/sqrt(r*r + 0.04*soft); x=0.5*soft+(r/sigma)^6;"
    inside = openmm.CustomBondForce(core)
    inside.addGlobalParameter("soft", 0.0)
    for name in ("sigma", "epsilon", "q"):
        inside.addPerBondParameter(name)
    for i in range(n_pocket, len(rows)):
        for j in range(i + 1, len(rows)):
            (qi, si, ei), (qj, sj, ej) = rows[i], rows[j]
            q, sigma, epsilon = special.get((i, j), (qi * qj, (si + sj) / 2, (ei * ej) ** 0.5))
            if q or epsilon:
                inside.addBond(i, j, (sigma or 0.1, epsilon, COULOMB * q))
    system.addForce(inside)
    between = openmm.CustomNonbondedForce(
        core + f"sigma=0.5*(sigma1+sigma2); epsilon=epsilon1*epsilon2; q={COULOMB}*q1*q2"
    )
    between.addGlobalParameter("soft", 0.0)
    for name in ("q", "sigma", "epsilon"):
        between.addPerParticleParameter(name)
    for charge, sigma, epsilon in rows:
        between.addParticle((charge, sigma or 0.1, epsilon**0.5))
    between.addInteractionGroup(range(n_pocket), range(n_pocket, len(rows)))
    system.addForce(between)
