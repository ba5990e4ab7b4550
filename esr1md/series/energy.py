"""The energy of one pose: relaxed in its complex, MM/GBSA of what results, and what the ligand lost in shape.

Single structures, not an ensemble: compounds of a series differ by a few atoms, and the noise of a short simulation is
larger than what they differ by. Everything is computed for each pose on its own, so that a compound's energy does not
depend on which others are in the series.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import openmm
from openmm import unit
from scipy.spatial import cKDTree

from esr1md.analysis.mmgbsa import MMGBSA
from esr1md.complex import KCAL, Complex, build_complex
from esr1md.dynamics.platforms import PlatformChoice
from esr1md.dynamics.protocol import Protocol, Restraint, load_protocol
from esr1md.dynamics.region import Subsystem, extract
from esr1md.dynamics.restraints import add_restraint, set_restraint
from esr1md.errors import StageError
from esr1md.ligand.parameters import LigandParameters
from esr1md.receptor.frame import POCKET_RESIDUES

#: Residues within MOBILE_NM of the pose move, with those that line the pocket; residues within SHELL_NM of these are
#: present and fixed, the rest of the receptor is left out while minimising and scored afterwards.
MOBILE_NM, SHELL_NM = 0.4, 0.35
#: Spring (kcal/mol/A^2) on every heavy atom of the receptor that moves, as while posing.
HOLD = Restraint(selection="protein-heavy", kcal_per_angstrom2=1.0)
#: Most iterations in the complex, and of the ligand alone.
ITERATIONS, ALONE_ITERATIONS = 500, 2000
#: Root mean square force (kJ/mol/nm) at which a minimisation ends: a tenth of it changes MM/GBSA by 0.01 kcal/mol.
TOLERANCE = 30.0


@dataclass(frozen=True)
class PoseEnergy:
    """What a pose binds with, kcal/mol.

    Attributes
    ----------
    vdw, coulomb, gb, surface
        Terms of single-trajectory MM/GBSA in the relaxed complex.
    strain
        Energy of the ligand as bound less that of the nearest minimum it has alone in the same implicit solvent.
    moved_angstrom
        Heavy-atom RMSD of the ligand between the pose as given and relaxed.
    """

    vdw: float
    coulomb: float
    gb: float
    surface: float
    strain: float
    moved_angstrom: float

    @property
    def interaction(self) -> float:
        """MM/GBSA without strain."""
        return self.vdw + self.coulomb + self.gb + self.surface

    @property
    def binding(self) -> float:
        """MM/GBSA with the ligand's strain."""
        return self.interaction + self.strain


def series_protocol() -> Protocol:
    """Force field, implicit solvent and scoring that every series is computed with."""
    return load_protocol("quick")


def pose_energy(
    receptor_pdb: Path,
    parameters: LigandParameters,
    pose_sdf: Path,
    protocol: Protocol,
    platform: PlatformChoice,
    relaxed_pdb: Path | None = None,
) -> PoseEnergy:
    """Relax a pose in its complex and score it.

    Parameters
    ----------
    receptor_pdb
        What the pose was made in.
    parameters, pose_sdf
        The ligand, atoms in the same order.
    protocol
        Its force field, solvent and dielectric constants are used; its stages are not.
    platform
        Where energies are evaluated.
    relaxed_pdb
        File to write the relaxed complex to.

    Raises
    ------
    StageError
        No force-field parameters, or an energy that is not finite.
    """
    complex_ = build_complex(receptor_pdb, parameters, pose_sdf, protocol)
    positions = relaxed(complex_, platform)
    if relaxed_pdb is not None:
        from openmm import app

        with open(relaxed_pdb, "w") as handle:
            app.PDBFile.writeFile(complex_.topology, positions * unit.nanometer, handle, keepIds=True)
    scoring = protocol.scoring
    scorer = MMGBSA(
        complex_,
        complex_.solute_atoms,
        platform,
        model=scoring.model,
        solute_dielectric=scoring.solute_dielectric,
        solvent_dielectric=scoring.solvent_dielectric,
        salt_molar=scoring.salt_molar,
        temperature_kelvin=protocol.temperature_kelvin,
    )
    energies = scorer.score(positions[None, complex_.solute_atoms])
    ligand = complex_.ligand_atoms
    heavy = [a.index for a in complex_.topology.atoms() if a.residue.name == "LIG" and a.element.symbol != "H"]
    moved = np.sqrt(((positions[heavy] - complex_.positions[heavy]) ** 2).sum(axis=1).mean()) * 10
    terms = [float(energies.vdw_kcal[0]), float(energies.coulomb_kcal[0]), float(energies.gb_kcal[0]),
             float(energies.sasa_kcal[0])]  # fmt: skip
    strain = ligand_strain(complex_, positions[ligand], platform)
    if not np.isfinite([*terms, strain]).all():
        raise StageError("energy", "the energy of the relaxed pose is not finite", where=str(pose_sdf))
    return PoseEnergy(*terms, strain=strain, moved_angstrom=float(moved))


def relaxed(complex_: Complex, platform: PlatformChoice) -> np.ndarray:
    """Positions (n_atoms, 3) in nm of a complex whose ligand and pocket are minimised in implicit solvent.

    Raises
    ------
    StageError
        The minimiser fails or ends at an energy that is not finite.
    """
    sub = extract(complex_, *moving_region(complex_))
    restraint = add_restraint(sub, complex_)
    context = openmm.Context(sub.system, openmm.VerletIntegrator(0.001), platform.platform(), platform.properties)
    context.setPositions(complex_.positions[sub.atoms])
    set_restraint(context, restraint, sub, complex_, HOLD)
    positions = complex_.positions.copy()
    positions[sub.atoms] = _minimised(context, ITERATIONS)
    return positions


def moving_region(complex_: Complex) -> tuple[np.ndarray, np.ndarray]:
    """Atoms (n,) of the region that is minimised, and which of them move (n,): whole residues around the pose."""
    residue = np.array([atom.residue.index for atom in complex_.topology.atoms()])
    ligand = complex_.positions[complex_.ligand_atoms]
    lining = {
        r.index
        for r in complex_.topology.residues()
        if r.chain.id != "L" and r.id.isdigit() and int(r.id) in POCKET_RESIDUES
    }
    mobile = set(residue[_within(complex_.positions, ligand, MOBILE_NM)]) | lining
    mobile |= set(residue[complex_.ligand_atoms])
    moves = np.isin(residue, list(mobile))
    kept = set(residue[_within(complex_.positions, complex_.positions[moves], SHELL_NM)]) | mobile
    atoms = np.flatnonzero(np.isin(residue, list(kept)))
    return atoms, moves[atoms]


def ligand_strain(complex_: Complex, positions: np.ndarray, platform: PlatformChoice) -> float:
    """Energy (kcal/mol) of the ligand at ``positions`` (n, 3; nm) above the nearest minimum it has alone in solvent."""
    atoms = complex_.ligand_atoms
    sub: Subsystem = extract(complex_, atoms, np.ones(len(atoms), dtype=bool))
    context = openmm.Context(sub.system, openmm.VerletIntegrator(0.001), platform.platform(), platform.properties)
    context.setPositions(positions)
    bound = _energy(context)
    _minimised(context, ALONE_ITERATIONS)
    return (bound - _energy(context)) / KCAL


def _minimised(context: openmm.Context, iterations: int) -> np.ndarray:
    try:
        openmm.LocalEnergyMinimizer.minimize(context, tolerance=TOLERANCE, maxIterations=iterations)
    except openmm.OpenMMException as error:
        raise StageError("energy", f"the minimisation failed ({' '.join(str(error).split())[:200]})") from error
    if not np.isfinite(_energy(context)):
        raise StageError("energy", "the energy is not finite after minimising")
    return context.getState(positions=True).getPositions(asNumpy=True).value_in_unit(unit.nanometer)


def _energy(context: openmm.Context) -> float:
    return context.getState(energy=True).getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole)


def _within(positions: np.ndarray, reference: np.ndarray, distance: float) -> np.ndarray:
    separation, _ = cKDTree(reference).query(positions, distance_upper_bound=distance)
    return np.flatnonzero(np.isfinite(separation))
