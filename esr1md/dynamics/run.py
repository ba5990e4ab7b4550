"""Runs one replica: the protocol's stages in order, with its trajectory, energies and final structure."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import openmm
from openmm import app, unit

from esr1md.complex import GROUP_FAST, GROUP_RESTRAINT, Complex
from esr1md.dynamics import region as regions
from esr1md.dynamics.platforms import PlatformChoice
from esr1md.dynamics.protocol import Heat, Minimise, Produce, Protocol, Restraint
from esr1md.errors import StageError

Progress = Callable[[str, float], None]

#: Steps between looks at the clock, the energy and the thermostat.
CHUNKS_PER_STAGE = 20
#: A kinetic temperature this many times the thermostat's means that the simulation is blowing up.
HOTTEST = 5
#: kJ/mol/K.
GAS_CONSTANT = 8.31446261815324e-3
#: kJ/mol/nm^2 per kcal/mol/A^2.
RESTRAINT_UNIT = 418.4


@dataclass(frozen=True)
class SimulationRecord:
    """What a finished simulation was, for the replica's ``record.json``.

    ``seconds`` is wall time by phase; energies are kJ/mol; ``ns_per_day`` is of production alone.
    """

    platform: str
    platform_properties: dict[str, str]
    openmm: str
    n_atoms_simulated: int
    n_atoms_mobile: int
    n_frames: int
    production_ps: float
    ns_per_day: float
    seconds: dict[str, float]
    temperature_kelvin: float
    energy_minimised: float


def simulate(
    complex_: Complex,
    protocol: Protocol,
    *,
    seed: int,
    platform: PlatformChoice,
    folder: Path,
    progress: Progress = lambda stage, fraction: None,
) -> SimulationRecord:
    """Run all stages and write ``complex.pdb``, ``trajectory.xtc``, ``energies.csv`` and ``final.pdb``.

    Parameters
    ----------
    complex_
        From :func:`esr1md.complex.build_complex`.
    seed
        Seeds velocities and thermostat.
    platform
        From :func:`esr1md.dynamics.platforms.choose_platform`.
    folder
        Empty folder to write to.
    progress
        Called with the stage's name and the finished fraction (0 to 1) of the replica's dynamics.

    Returns
    -------
    SimulationRecord
        Frames in ``trajectory.xtc`` are of the whole solute, also when only a region was simulated.

    Raises
    ------
    StageError
        The energy stopped being finite; names the stage and the atoms with the largest forces.
    """
    started = time.perf_counter()
    if protocol.region is None:
        sub = regions.whole(complex_)
    else:
        sub = regions.extract(complex_, *regions.select_region(complex_, protocol.region))
    solute = complex_.solute_atoms
    write_pdb(complex_, complex_.positions, folder / "complex.pdb")
    restraint = _add_restraint(sub, complex_)
    integrator = _integrator(protocol, seed)
    if protocol.solvent.explicit:
        sub.system.addForce(openmm.MonteCarloBarostat(protocol.pressure_bar, protocol.temperature_kelvin, 25))
    context = openmm.Context(sub.system, integrator, platform.platform(), platform.properties)
    context.setPositions(complex_.positions[sub.atoms])
    seconds = {"build": time.perf_counter() - started}
    writer = _Writer(complex_, sub, solute, folder, protocol)
    energy_minimised = float("nan")
    n_heated, done_ps, velocities = 0, 0.0, False
    for stage in protocol.stages:
        stage_start = time.perf_counter()
        _set_restraint(context, restraint, sub, complex_, stage)
        if isinstance(stage, Minimise):
            progress("minimise", done_ps / protocol.dynamics_ps)
            _minimise(context, sub, protocol, stage, platform)
            energy_minimised = _energy(context)
            _check_finite(context, sub, complex_, stage.kind, energy_minimised)
        else:
            if not velocities:
                start = stage.from_kelvin if isinstance(stage, Heat) else protocol.temperature_kelvin
                context.setVelocitiesToTemperature(start, seed)
                velocities = True
            n_heated += 1
            for fraction in _advance(context, integrator, sub, complex_, protocol, stage, writer):
                progress(stage.kind, (done_ps + fraction * stage.duration_ps) / protocol.dynamics_ps)
            done_ps += stage.duration_ps
        seconds[stage.kind] = seconds.get(stage.kind, 0.0) + time.perf_counter() - stage_start
    writer.close()
    final = complex_.positions.copy()
    final[sub.atoms] = _positions(context)
    write_pdb(complex_, final, folder / "final.pdb")
    record = SimulationRecord(
        platform=platform.name,
        platform_properties=dict(platform.properties),
        openmm=openmm.__version__,
        n_atoms_simulated=len(sub.atoms),
        n_atoms_mobile=int(sub.mobile.sum()),
        n_frames=writer.n_frames,
        production_ps=protocol.production.duration_ps,
        ns_per_day=protocol.production.duration_ps / 1000 / seconds["produce"] * 86400,
        seconds={name: round(value, 3) for name, value in seconds.items()},
        temperature_kelvin=writer.mean_temperature,
        energy_minimised=energy_minimised,
    )
    (folder / "simulation.json").write_text(json.dumps(asdict(record), indent=1))
    return record


def write_pdb(complex_: Complex, positions: np.ndarray, path: Path) -> None:
    """Write the solute (receptor and ligand, no water) of a complex as PDB; ``positions`` (n, 3) in nm."""
    solute = complex_.solute_atoms
    modeller = app.Modeller(complex_.topology, positions * unit.nanometer)
    if len(solute) < len(positions):
        keep = set(solute.tolist())
        modeller.delete([atom for atom in complex_.topology.atoms() if atom.index not in keep])
    with open(path, "w") as handle:
        app.PDBFile.writeFile(modeller.topology, modeller.positions, handle, keepIds=True)


def _integrator(protocol: Protocol, seed: int) -> openmm.LangevinMiddleIntegrator:
    integrator = openmm.LangevinMiddleIntegrator(
        protocol.temperature_kelvin, protocol.friction_per_ps, protocol.time_step_fs / 1000
    )
    integrator.setRandomNumberSeed(seed)
    integrator.setConstraintTolerance(1e-5)
    return integrator


def _add_restraint(sub: regions.Subsystem, complex_: Complex) -> openmm.CustomExternalForce:
    """One harmonic restraint over all mobile solute atoms; each stage sets the per-atom constants."""
    expression = (
        "periodicdistance(x,y,z,x0,y0,z0)^2"
        if sub.system.usesPeriodicBoundaryConditions()
        else ("(x-x0)^2+(y-y0)^2+(z-z0)^2")
    )
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


def _set_restraint(context, force: openmm.CustomExternalForce, sub, complex_: Complex, stage) -> None:
    wanted: Restraint | None = getattr(stage, "restrain", None)
    atoms = list(complex_.topology.atoms())
    for i in range(force.getNumParticles()):
        particle, (_, x0, y0, z0) = force.getParticleParameters(i)
        hit = wanted is not None and _selected(atoms[int(sub.atoms[particle])], wanted.selection, complex_)
        k = wanted.kcal_per_angstrom2 * 2 * RESTRAINT_UNIT if hit else 0.0
        force.setParticleParameters(i, particle, [k, x0, y0, z0])
    force.updateParametersInContext(context)


def _selected(atom: app.topology.Atom, selection: str, complex_: Complex) -> bool:
    if atom.element is None or atom.element.symbol == "H":
        return False
    ligand = len(complex_.ligand_atoms) and atom.index >= complex_.ligand_atoms[0]
    match selection:
        case "solute-heavy":
            return True
        case "protein-heavy":
            return not ligand
        case "protein-backbone":
            return not ligand and atom.name in ("N", "CA", "C", "O")
        case "ligand-heavy":
            return bool(ligand)
    raise ValueError(selection)


def _minimise(context, sub, protocol: Protocol, stage: Minimise, platform: PlatformChoice) -> None:
    if stage.solvent or protocol.solvent.explicit:
        openmm.LocalEnergyMinimizer.minimize(context, maxIterations=stage.iterations)
        return
    # Without the solvent force each evaluation is eight times cheaper on a CPU; a separate context keeps the
    # solvent out of the minimiser, which always sees every force group of its integrator.
    integrator = openmm.VerletIntegrator(0.001)
    integrator.setIntegrationForceGroups({GROUP_FAST, GROUP_RESTRAINT})
    vacuum = openmm.Context(sub.system, integrator, platform.platform(), platform.properties)
    vacuum.setPositions(context.getState(positions=True).getPositions(asNumpy=True))
    openmm.LocalEnergyMinimizer.minimize(vacuum, maxIterations=stage.iterations)
    context.setPositions(vacuum.getState(positions=True).getPositions(asNumpy=True))


def _advance(context, integrator, sub, complex_, protocol: Protocol, stage, writer: "_Writer"):
    """Integrate one dynamics stage, yielding the finished fraction; a produce stage writes its frames."""
    total = protocol.steps(stage.duration_ps)
    if isinstance(stage, Produce):
        marks = [protocol.steps(stage.frame_ps) * (i + 1) for i in range(round(stage.duration_ps / stage.frame_ps))]
    else:
        marks = [round(total * (i + 1) / CHUNKS_PER_STAGE) for i in range(CHUNKS_PER_STAGE)]
    degrees = degrees_of_freedom(sub)
    step = 0
    for mark in marks:
        if isinstance(stage, Heat):
            target = protocol.temperature_kelvin
            integrator.setTemperature(stage.from_kelvin + (target - stage.from_kelvin) * mark / total)
        try:
            integrator.step(mark - step)
        except openmm.OpenMMException as error:
            raise _exploded(context, sub, complex_, stage.kind, str(error)) from error
        step = mark
        state = context.getState(positions=isinstance(stage, Produce), energy=True)
        _check_finite(context, sub, complex_, stage.kind, state.getPotentialEnergy()._value)
        temperature = 2 * state.getKineticEnergy()._value / (degrees * GAS_CONSTANT)
        if temperature > HOTTEST * protocol.temperature_kelvin:
            raise _exploded(context, sub, complex_, stage.kind, f"{temperature:.0f} K")
        writer.write(stage, step, state, temperature)
        yield step / marks[-1]


def degrees_of_freedom(sub: regions.Subsystem) -> int:
    """Degrees of freedom of what moves: three per mobile atom less the constraints."""
    return max(1, 3 * int(sub.mobile.sum()) - sub.system.getNumConstraints())


def _energy(context) -> float:
    return context.getState(energy=True).getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole)


def _positions(context) -> np.ndarray:
    return context.getState(positions=True).getPositions(asNumpy=True).value_in_unit(unit.nanometer)


def _check_finite(context, sub, complex_, stage: str, energy: float) -> None:
    if not np.isfinite(energy):
        raise _exploded(context, sub, complex_, stage, f"potential energy is {energy}")


def _exploded(context, sub, complex_: Complex, stage: str, cause: str) -> StageError:
    """A StageError that names the atoms with the largest forces, where a chemist should look."""
    atoms = list(complex_.topology.atoms())
    try:
        forces = context.getState(forces=True).getForces(asNumpy=True)._value
        size = np.nan_to_num(np.linalg.norm(forces, axis=1), nan=np.inf)
        worst = [atoms[int(sub.atoms[i])] for i in np.argsort(-size)[:3]]
        named = ", ".join(f"{a.residue.name}{a.residue.id}:{a.name}" for a in worst)
    except openmm.OpenMMException:
        named = "unknown atoms"
    return StageError(
        "dynamics", f"the simulation became unstable in stage {stage} ({cause}); largest forces on {named}"
    )


class _Writer:
    """Frames and energies of a replica as they come."""

    def __init__(self, complex_: Complex, sub, solute: np.ndarray, folder: Path, protocol: Protocol) -> None:
        self._reference, self._sub, self._solute = complex_.positions, sub, solute
        self._protocol = protocol
        self._xtc_path = str(folder / "trajectory.xtc")
        self._energies = open(folder / "energies.csv", "w", newline="")
        self._table = csv.writer(self._energies)
        self._table.writerow(["stage", "time_ps", "potential_kj", "kinetic_kj", "temperature_kelvin"])
        self._temperatures: list[float] = []
        self._xtc = None
        self._topology = _solute_topology(complex_, solute)
        self.n_frames = 0

    def write(self, stage, step: int, state: openmm.State, temperature: float) -> None:
        protocol = self._protocol
        time_ps = step * protocol.time_step_fs / 1000
        potential, kinetic = state.getPotentialEnergy()._value, state.getKineticEnergy()._value
        self._table.writerow([stage.kind, f"{time_ps:.4f}", f"{potential:.4f}", f"{kinetic:.4f}", f"{temperature:.2f}"])
        if not isinstance(stage, Produce):
            return
        self._temperatures.append(temperature)
        frame = self._reference.copy()
        frame[self._sub.atoms] = state.getPositions(asNumpy=True)._value
        if self._xtc is None:
            interval = protocol.steps(stage.frame_ps)
            step_ps = protocol.time_step_fs / 1000
            self._xtc = app.XTCFile(
                self._xtc_path,
                self._topology,
                step_ps * unit.picosecond,
                firstStep=interval,
                interval=interval,
            )
        box = state.getPeriodicBoxVectors() if protocol.solvent.explicit else None
        self._xtc.writeModel(frame[self._solute] * unit.nanometer, periodicBoxVectors=box)
        self.n_frames += 1

    @property
    def mean_temperature(self) -> float:
        return float(np.mean(self._temperatures)) if self._temperatures else float("nan")

    def close(self) -> None:
        self._energies.close()


def _solute_topology(complex_: Complex, solute: np.ndarray) -> app.Topology:
    if len(solute) == complex_.topology.getNumAtoms():
        return complex_.topology
    keep = set(solute.tolist())
    modeller = app.Modeller(complex_.topology, complex_.positions * unit.nanometer)
    modeller.delete([atom for atom in complex_.topology.atoms() if atom.index not in keep])
    return modeller.topology
