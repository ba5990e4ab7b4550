"""Three-trajectory MM/GBSA: complex, apo receptor and free ligand each from a simulation of their own.

    dG = <G(complex)> - <G(receptor, apo)> - <G(ligand, free)>,    G = E_bonded + E_vdw + E_coulomb + G_GB + gamma SASA

It has what the single trajectory leaves out, the strain of both partners, and its noise: G of the whole domain
scatters by tens of kcal/mol between frames, and nothing cancels. Bonds to hydrogen that the force field constrains have
no energy in any of the three.

Source: Genheden and Ryde, Expert Opin. Drug Discov. 2015, 10, 449, section 3.1.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import openmm

from esr1md.analysis.frames import count_frames, frames_to_score, read_frames
from esr1md.analysis.generalised_born import GeneralisedBorn, Model
from esr1md.analysis.mmgbsa import (
    SurfaceEnergy,
    check_frames,
    frame_threads,
    frames_at_once,
    surface_parameters,
    torch_device,
)
from esr1md.complex import KCAL, Complex, charges, nonbonded_force
from esr1md.dynamics.platforms import PlatformChoice
from esr1md.dynamics.protocol import Protocol
from esr1md.dynamics.region import extract
from esr1md.errors import StageError

#: What belongs to water, the ensemble or a bias, and not to the energy of the molecule itself.
_NOT_ITS_OWN = (
    openmm.GBSAOBCForce,
    openmm.CustomGBForce,
    openmm.CMMotionRemover,
    openmm.MonteCarloBarostat,
)


@dataclass(frozen=True)
class SoluteFreeEnergies:
    """Free energy of a solute in its solvent, term by term, each (n_frames,) in kcal/mol.

    ``vacuum_kcal`` is the force field's own energy: bonded terms, van der Waals and Coulomb.
    """

    vacuum_kcal: np.ndarray
    gb_kcal: np.ndarray
    sasa_kcal: np.ndarray

    @property
    def total_kcal(self) -> np.ndarray:
        return self.vacuum_kcal + self.gb_kcal + self.sasa_kcal


class SoluteFreeEnergy:
    """Scorer of everything but the water of a complex, an apo receptor or a free ligand.

    Parameters
    ----------
    complex_
        The system; either ``receptor_atoms`` or ``ligand_atoms`` may be empty.
    platform, model, solute_dielectric, solvent_dielectric, salt_molar, temperature_kelvin
        As for :class:`~esr1md.analysis.mmgbsa.MMGBSA`; the three systems of one binding energy need equal ones.

    Raises
    ------
    StageError
        An atom without parameters, or a force whose share of the solute is not known.
    """

    def __init__(
        self,
        complex_: Complex,
        platform: PlatformChoice,
        *,
        model: Model = "obc2",
        solute_dielectric: float = 1.0,
        solvent_dielectric: float = 78.5,
        salt_molar: float = 0.0,
        temperature_kelvin: float = 300.0,
    ) -> None:
        solute = complex_.solute_atoms
        self._n = len(solute)
        self._gb = GeneralisedBorn(
            complex_.topology,
            charges(nonbonded_force(complex_.system)),
            solute,
            self._n,
            model=model,
            solute_dielectric=solute_dielectric,
            solvent_dielectric=solvent_dielectric,
            salt_molar=salt_molar,
            temperature_kelvin=temperature_kelvin,
            device=torch_device(platform),
        )
        parameters = surface_parameters(complex_.topology)
        self._surface = SurfaceEnergy([parameters[i] for i in solute], (slice(0, self._n),), platform)
        self._vacuum = openmm.Context(
            vacuum_system(complex_, solute_dielectric),
            openmm.VerletIntegrator(0.001),
            platform.platform(),
            platform.properties,
        )
        self._threads = frame_threads(platform)

    def score(self, positions: np.ndarray) -> SoluteFreeEnergies:
        """Free energies of frames (n_frames, n, 3), nm, of the solute's atoms; raises as ``MMGBSA.score``."""
        check_frames(positions, self._n)
        frames = np.asarray(positions, dtype=float)
        with frames_at_once(self._threads) as apply:
            polar = apply(self._gb.energy, frames)
            vacuum = np.array([self._vacuum_energy(frame) for frame in frames])
            surface = np.array([self._surface(frame)[0] for frame in frames])
            return SoluteFreeEnergies(vacuum / KCAL, np.array(list(polar)) / KCAL, surface / KCAL)

    def _vacuum_energy(self, frame: np.ndarray) -> float:
        self._vacuum.setPositions(frame)
        return self._vacuum.getState(energy=True).getPotentialEnergy()._value


@dataclass(frozen=True)
class ThreeTrajectoryBinding:
    """A binding energy and its standard error over replicas (NaN with a single one of any kind), kcal/mol."""

    binding_kcal: float
    error_kcal: float


def three_trajectory_binding(
    complex_: Sequence[np.ndarray], receptor: Sequence[np.ndarray], ligand: Sequence[np.ndarray]
) -> ThreeTrajectoryBinding:
    """<G(complex)> - <G(receptor)> - <G(ligand)>, with replicas as the unit.

    Parameters
    ----------
    complex_, receptor, ligand
        For each replica its frames' ``total_kcal`` (n_frames,).

    Raises
    ------
    StageError
        No replica, or one without frames.
    """
    means, variances = [], []
    for name, replicas in (("complex", complex_), ("receptor", receptor), ("ligand", ligand)):
        if not len(replicas) or any(len(replica) == 0 for replica in replicas):
            raise StageError("analysis", f"three-trajectory MM/GBSA needs frames of the {name} in every replica")
        of_replicas = np.array([np.mean(replica) for replica in replicas])
        means.append(of_replicas.mean())
        variances.append(of_replicas.var(ddof=1) / len(of_replicas) if len(of_replicas) > 1 else np.nan)
    return ThreeTrajectoryBinding(float(means[0] - means[1] - means[2]), float(np.sqrt(sum(variances))))


def solvation_settings(protocol: Protocol) -> dict[str, Any]:
    """The arguments by which a protocol says how solutes are scored, alike for every scorer."""
    names = ("model", "solute_dielectric", "solvent_dielectric", "salt_molar")
    return {name: getattr(protocol.scoring, name) for name in names} | {
        "temperature_kelvin": protocol.temperature_kelvin
    }


def free_ligand_protocol(protocol: Protocol) -> Protocol:
    """The protocol without what only a receptor has: region, restraints and a bias of helix 12."""
    stages = tuple(
        stage.model_copy(update={name: None for name in ("restrain", "helix12_bias") if hasattr(stage, name)})
        for stage in protocol.stages
    )
    return protocol.model_copy(update={"region": None, "stages": stages})


def observe_free_ligand(folder: Path, complex_: Complex, protocol: Protocol, platform: PlatformChoice) -> float:
    """Mean free energy (kcal/mol) of a free ligand over as many frames as MM/GBSA scores.

    Parameters
    ----------
    folder
        Of its simulation.
    complex_
        The ligand alone (:func:`esr1md.complex.build_complex` without a receptor).
    protocol
        The complex's: it says how the frames are scored.

    Raises
    ------
    StageError
        No frame, or frames that are damaged.
    """
    n_atoms = len(complex_.solute_atoms)
    scored = frames_to_score(count_frames(folder / "trajectory.xtc", n_atoms), protocol.scoring.frames)
    xyz = np.concatenate([frames.xyz for frames in read_frames(folder, n_atoms)])[scored]
    return float(SoluteFreeEnergy(complex_, platform, **solvation_settings(protocol)).score(xyz).total_kcal.mean())


def vacuum_system(complex_: Complex, solute_dielectric: float = 1.0) -> openmm.System:
    """The System of a complex without water, solvent model and cutoff; its charges screened by ``solute_dielectric``.

    Raises
    ------
    StageError
        A force that is neither the force field's nor of the kinds that are left out.
    """
    system = copy.deepcopy(complex_.system)
    maps = []
    for index in reversed(range(system.getNumForces())):
        force = system.getForce(index)
        if isinstance(force, openmm.CMAPTorsionForce):
            maps.append(copy.deepcopy(force))
        if isinstance(force, (*_NOT_ITS_OWN, openmm.CMAPTorsionForce)):
            system.removeForce(index)
    solute = complex_.solute_atoms
    stripped = dataclasses.replace(complex_, system=system)
    vacuum = extract(stripped, solute, np.ones(len(solute), dtype=bool)).system
    for force in maps:
        vacuum.addForce(_solute_maps(force, solute))
    nonbonded = nonbonded_force(vacuum)
    nonbonded.setNonbondedMethod(openmm.NonbondedForce.NoCutoff)
    for i in range(nonbonded.getNumParticles()):
        charge, sigma, epsilon = nonbonded.getParticleParameters(i)
        nonbonded.setParticleParameters(i, charge / solute_dielectric**0.5, sigma, epsilon)
    for i in range(nonbonded.getNumExceptions()):
        first, second, product, sigma, epsilon = nonbonded.getExceptionParameters(i)
        nonbonded.setExceptionParameters(i, first, second, product / solute_dielectric, sigma, epsilon)
    return vacuum


def _solute_maps(force: openmm.CMAPTorsionForce, solute: np.ndarray) -> openmm.CMAPTorsionForce:
    """The torsion maps (amber19SB) of the atoms that are kept."""
    index = {int(atom): i for i, atom in enumerate(solute)}
    kept = openmm.CMAPTorsionForce()
    for i in range(force.getNumMaps()):
        kept.addMap(*force.getMapParameters(i))
    for i in range(force.getNumTorsions()):
        number, *atoms = force.getTorsionParameters(i)
        if all(atom in index for atom in atoms):
            kept.addTorsion(number, *(index[atom] for atom in atoms))
    return kept
