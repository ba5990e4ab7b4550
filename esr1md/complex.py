"""Receptor + ligand + solvent -> an OpenMM System, its topology and positions."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import openmm
from openmm import app, unit
from openmm.app.internal.customgbforces import GBSAOBC2Force

from esr1md.dynamics.protocol import Protocol
from esr1md.errors import StageError
from esr1md.ligand.parameters import LigandParameters
from esr1md.receptor.surroundings import WATERS

PROTEIN_FORCE_FIELD = {"amber14SB": "amber14/protein.ff14SB.xml", "amber19SB": "amber19/protein.ff19SB.xml"}
#: Force field of each water model with its ions, and the box of water that OpenMM has of its geometry.
WATER_FORCE_FIELD = {"tip3p": "amber14/tip3p.xml", "tip3p-fb": "amber14/tip3pfb.xml", "opc": "amber14/opc.xml"}
_WATER_BOX = {"tip3p": "tip3p", "tip3p-fb": "tip3p", "opc": "tip4pew"}
LIGAND_RESIDUE = "LIG"

#: Force groups, so that energies can be split and slow forces integrated on their own.
GROUP_FAST, GROUP_SOLVENT, GROUP_RESTRAINT = 0, 1, 2

KCAL = 4.184

_WATER_ROOM = 0.23  # nm to the nearest heavy atom; nearer, a ligand has displaced it


@dataclass(frozen=True)
class Complex:
    """A system ready to simulate.

    Attributes
    ----------
    topology
        OpenMM topology; receptor atoms first, then the ligand, then water and ions.
    positions
        (n_atoms, 3) in nm.
    system
        OpenMM System with all forces; implicit solvent is in force group 1, everything else in group 0.
    receptor_atoms, ligand_atoms
        Atom indices; ``ligand_atoms`` is empty for apo.
    """

    topology: app.Topology
    positions: np.ndarray
    system: openmm.System
    receptor_atoms: np.ndarray
    ligand_atoms: np.ndarray

    @property
    def solute_atoms(self) -> np.ndarray:
        return np.concatenate([self.receptor_atoms, self.ligand_atoms])


def build_complex(
    receptor_pdb: Path | None,
    parameters: LigandParameters | None,
    pose_sdf: Path | None,
    protocol: Protocol,
    *,
    seed: int = 1,
) -> Complex:
    """Put receptor, posed ligand and solvent together and parametrise them.

    Parameters
    ----------
    receptor_pdb
        Model with hydrogens, amber names and P03372 numbers; ``None`` for a free ligand.
    parameters, pose_sdf
        The ligand's force field and its pose (same atom order); both ``None`` for apo.
    protocol
        Chooses force fields, solvent, cutoff and hydrogen mass. In explicit solvent the water between E353 and R394
        that ``waters.pdb`` beside ``receptor_pdb`` holds is kept.
    seed
        Seeds the placement of ions in explicit solvent.

    Raises
    ------
    StageError
        An atom or residue without parameters, or a pose that does not match its parameters.
    """
    if receptor_pdb is None:
        modeller = app.Modeller(app.Topology(), [] * unit.nanometer)
    else:
        pdb = app.PDBFile(str(receptor_pdb))
        modeller = app.Modeller(pdb.topology, pdb.positions)
    modeller.topology.setPeriodicBoxVectors(None)
    n_receptor = modeller.topology.getNumAtoms()
    files = [PROTEIN_FORCE_FIELD[protocol.protein]]
    if protocol.solvent.explicit:
        files.append(WATER_FORCE_FIELD[protocol.solvent.model])
    elif protocol.solvent.model == "gbn2":
        files.append("implicit/gbn2.xml")
    n_ligand = 0
    if parameters is not None:
        topology, positions = ligand_topology(parameters.sdf if pose_sdf is None else pose_sdf)
        n_ligand = topology.getNumAtoms()
        if n_ligand != len(parameters.charges):
            raise StageError(
                "complex",
                f"the pose has {n_ligand} atoms and the parameters {len(parameters.charges)}",
                where=str(pose_sdf),
            )
        modeller.add(topology, positions)
        files.append(str(parameters.xml))
    force_field = app.ForceField(*files)
    try:
        if protocol.solvent.explicit:
            if receptor_pdb is not None:
                _add_conserved_water(modeller, receptor_pdb.with_name(WATERS))
            modeller.addExtraParticles(force_field)  # a four-site model's own site in the water that was kept
            with _seeded(seed):
                modeller.addSolvent(
                    force_field,
                    model=_WATER_BOX[protocol.solvent.model],
                    padding=protocol.solvent.padding_angstrom * unit.angstrom,
                    boxShape="dodecahedron",
                    ionicStrength=protocol.solvent.ionic_strength_molar * unit.molar,
                )
        system = _create_system(force_field, modeller.topology, protocol)
    except ValueError as error:
        raise StageError(
            "complex", f"no force-field parameters: {error}", where=str(receptor_pdb or pose_sdf)
        ) from error
    positions = np.array(modeller.positions.value_in_unit(unit.nanometer))
    return Complex(
        modeller.topology,
        positions,
        system,
        np.arange(n_receptor),
        np.arange(n_receptor, n_receptor + n_ligand),
    )


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Python's own random numbers, by which OpenMM chooses the waters that become ions, from ``seed``."""
    before = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(before)


def _add_conserved_water(modeller: app.Modeller, waters: Path) -> None:
    """Add the water between E353 and R394, unless the ligand takes its place; solvent then goes around it."""
    if not waters.is_file():
        return
    pdb = app.PDBFile(str(waters))
    oxygen = np.array(pdb.positions.value_in_unit(unit.nanometer))[0]
    others = np.array(modeller.positions.value_in_unit(unit.nanometer))
    heavy = np.array([atom.element.symbol != "H" for atom in modeller.topology.atoms()])
    if np.linalg.norm(others[heavy] - oxygen, axis=1).min() > _WATER_ROOM:
        modeller.add(pdb.topology, pdb.positions)


def ligand_topology(sdf: Path) -> tuple[app.Topology, unit.Quantity]:
    """The ligand of an SDF as a one-residue topology named ``LIG`` (chain ``L``) and its positions.

    The atom names come from the SDF's ``atom_names`` property, bond orders from its bonds.

    Raises
    ------
    StageError
        No molecule in the file, or no atom names.
    """
    from rdkit import Chem

    molecule = next(iter(Chem.SDMolSupplier(str(sdf), removeHs=False)), None)
    if molecule is None or not molecule.HasProp("atom_names"):
        raise StageError("complex", "the SDF holds no molecule with atom names", where=str(sdf))
    names = molecule.GetProp("atom_names").split()
    topology = app.Topology()
    residue = topology.addResidue(LIGAND_RESIDUE, topology.addChain("L"), id="1")
    atoms = [
        topology.addAtom(name, app.Element.getByAtomicNumber(atom.GetAtomicNum()), residue)
        for name, atom in zip(names, molecule.GetAtoms(), strict=True)
    ]
    for bond in molecule.GetBonds():
        topology.addBond(atoms[bond.GetBeginAtomIdx()], atoms[bond.GetEndAtomIdx()])
    positions = molecule.GetConformer().GetPositions() / 10.0
    return topology, unit.Quantity([openmm.Vec3(*xyz) for xyz in positions], unit.nanometer)


def _create_system(force_field: app.ForceField, topology: app.Topology, protocol: Protocol) -> openmm.System:
    cutoff = protocol.solvent.cutoff_angstrom
    if protocol.solvent.explicit:
        method = app.PME
    else:
        method = app.CutoffNonPeriodic if cutoff else app.NoCutoff
    system = force_field.createSystem(
        topology,
        nonbondedMethod=method,
        nonbondedCutoff=(cutoff or 10.0) * unit.angstrom,
        constraints=app.HBonds,
        hydrogenMass=protocol.hydrogen_mass_dalton * unit.dalton,
        removeCMMotion=False,
    )
    nonbonded = nonbonded_force(system)
    if protocol.solvent.model == "obc2":
        solvent = gbsa_obc_force(topology, charges(nonbonded))
        if cutoff:
            solvent.setNonbondedMethod(openmm.GBSAOBCForce.CutoffNonPeriodic)
            solvent.setCutoffDistance(cutoff / 10)
        system.addForce(solvent)
    if not protocol.solvent.explicit:
        # The generalised Born term is the dielectric response; a reaction field would count it twice.
        nonbonded.setReactionFieldDielectric(1.0)
    for force in system.getForces():
        if isinstance(force, (openmm.GBSAOBCForce, openmm.CustomGBForce)):
            force.setForceGroup(GROUP_SOLVENT)
    return system


def nonbonded_force(system: openmm.System) -> openmm.NonbondedForce:
    """The system's one ``NonbondedForce``."""
    return next(force for force in system.getForces() if isinstance(force, openmm.NonbondedForce))


def charges(nonbonded: openmm.NonbondedForce) -> np.ndarray:
    """Partial charges (n_atoms,) in elementary charges."""
    return np.array([nonbonded.getParticleParameters(i)[0]._value for i in range(nonbonded.getNumParticles())])


def gbsa_obc_force(
    topology: app.Topology,
    charge: np.ndarray,
    *,
    solute_dielectric: float = 1.0,
    solvent_dielectric: float = 78.5,
    surface_area: bool = True,
) -> openmm.GBSAOBCForce:
    """OBC2 (igb=5) as OpenMM's native force, with mbondi2-style radii by element and bonding.

    The same model as ``implicit/obc2.xml``, which builds a custom force eight times slower on a CPU.

    Parameters
    ----------
    topology
        Gives elements and bonds for the Born radii.
    charge
        (n_atoms,) in elementary charges.
    surface_area
        Keep the force's own ACE surface term (2.26 kJ/mol/nm^2).

    Source: Onufriev, Bashford, Case, Proteins 2004, 55, 383 (doi 10.1002/prot.20033).
    """
    force = openmm.GBSAOBCForce()
    force.setSoluteDielectric(solute_dielectric)
    force.setSolventDielectric(solvent_dielectric)
    for q, (radius, scale) in zip(charge, GBSAOBC2Force.getStandardParameters(topology), strict=True):
        force.addParticle(float(q), radius, scale)
    if not surface_area:
        force.setSurfaceAreaEnergy(0.0)
    return force
