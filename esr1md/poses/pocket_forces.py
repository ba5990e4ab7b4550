"""The forces of :mod:`esr1md.poses.pocket`: amber14SB and GAFF2 terms copied into a small System."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from xml.etree import ElementTree

import numpy as np
import openmm
from openmm import app

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


#: Bonded forces: OpenMM's class, its method that adds a term, and a term's atoms and parameters in a serialised System.
_BONDED = {
    "HarmonicBondForce": (openmm.HarmonicBondForce, "addBond", ("p1", "p2"), ("d", "k")),
    "HarmonicAngleForce": (openmm.HarmonicAngleForce, "addAngle", ("p1", "p2", "p3"), ("a", "k")),
    "PeriodicTorsionForce": (
        openmm.PeriodicTorsionForce, "addTorsion", ("p1", "p2", "p3", "p4"), ("periodicity", "phase", "k"),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Terms:
    """The force-field terms of a System, read once and from its serialised form.

    One by one OpenMM gives them as quantities, which takes seconds for a protein.

    Attributes
    ----------
    masses
        Of the particles (dalton).
    pairs
        (charge, sigma, epsilon) of each particle (e, nm, kJ/mol).
    exceptions
        (charge product, sigma, epsilon) of each excluded or scaled pair.
    bonded
        Name of the force and of its method that adds a term; the atoms and the parameters (OpenMM's units) of each.
    """

    masses: list[float]
    pairs: list[tuple[float, float, float]]
    exceptions: dict[tuple[int, int], tuple[float, float, float]]
    bonded: list[tuple[type[openmm.Force], str, list[tuple[tuple[int, ...], tuple[float, ...]]]]]

    @classmethod
    def of(cls, system: openmm.System) -> Terms:
        root = ElementTree.fromstring(openmm.XmlSerializer.serialize(system))
        terms = cls([float(particle.get("mass")) for particle in root.iterfind("Particles/Particle")], [], {}, [])
        for force in root.iterfind("Forces/Force"):
            name = force.get("type")
            if name == "NonbondedForce":
                terms.pairs.extend(_numbers(row, ("q", "sig", "eps")) for row in force.iterfind("Particles/Particle"))
                for row in force.iterfind("Exceptions/Exception"):
                    terms.exceptions[int(row.get("p1")), int(row.get("p2"))] = _numbers(row, ("q", "sig", "eps"))
            elif name in _BONDED:
                kind, add, atoms, values = _BONDED[name]
                found = [(tuple(int(row.get(a)) for a in atoms), _numbers(row, values)) for row in force[0]]
                terms.bonded.append((kind, add, found))
        return terms


def _numbers(row: ElementTree.Element, names: tuple[str, ...]) -> tuple[float, ...]:
    return tuple(int(row.get(name)) if name == "periodicity" else float(row.get(name)) for name in names)


@lru_cache(maxsize=4)
def ligand_terms(parameters: LigandParameters) -> Terms:
    """The terms of a ligand, atoms in the parameters' order."""
    return Terms.of(app.ForceField(str(parameters.xml)).createSystem(ligand_topology(parameters)))


def copy_bonded(source: Terms, target: openmm.System, number: dict[int, int], moves: set[int] | None) -> None:
    """Copy bonds, angles and torsions whose atoms are all kept and of which at least one moves."""
    for kind, add, terms in source.bonded:
        copy = kind()
        for own, values in terms:
            atoms = [number.get(a) for a in own]
            if None not in atoms and (moves is None or moves.intersection(atoms)):
                getattr(copy, add)(*atoms, *values)
        target.addForce(copy)


def exceptions(source: Terms, number: dict[int, int]) -> dict[tuple[int, int], tuple[float, float, float]]:
    """(charge product, sigma, epsilon) of each excluded or scaled pair of kept atoms, by particle numbers."""
    found = {}
    for (a, b), values in source.exceptions.items():
        i, j = number.get(a), number.get(b)
        if i is not None and j is not None:
            found[min(i, j), max(i, j)] = values
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
