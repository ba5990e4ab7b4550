"""Runs one replica: the protocol's stages in order, with checkpoints, rescue and output.

A replica that was interrupted goes on from its last checkpoint (:mod:`~esr1md.dynamics.checkpoint`); one that becomes
unstable is rescued in documented steps (:mod:`~esr1md.dynamics.rescue`). Both are in its record.
"""

from __future__ import annotations

import hashlib
import json
import math
import platform as machine
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import openmm
from openmm import unit

from esr1md.complex import GROUP_FAST, GROUP_RESTRAINT, Complex
from esr1md.dynamics import checkpoint as checkpoints
from esr1md.dynamics import output, rescue
from esr1md.dynamics import region as regions
from esr1md.dynamics.checkpoint import Checkpoint, Place
from esr1md.dynamics.helix12_bias import Bias, install
from esr1md.dynamics.images import whole_positions
from esr1md.dynamics.platforms import TOLERANCE, PlatformChoice, device_of
from esr1md.dynamics.protocol import Heat, Minimise, Produce, Protocol
from esr1md.dynamics.rescue import Unstable
from esr1md.dynamics.restraints import add_restraint, set_restraint
from esr1md.errors import StageError, StoppedEarly
from esr1md.stopping import stop_requested

Progress = Callable[[str, float], None]
#: Called with the name of an event and its fields.
Note = Callable[..., None]

#: Seconds between checkpoints: what a ``kill -9`` can cost.
CHECKPOINT_S = 60.0
#: Seconds of dynamics between looks at the clock.
LOOK_S = 2.0
#: Looks at energy and temperature in a stage that keeps no frames.
LOOKS_PER_STAGE = 20
#: Iterations of a minimisation between checkpoints; each time the minimiser forgets what it learnt.
MINIMISE_CHUNK = 200
#: A kinetic temperature this many times the thermostat's means that the simulation is blowing up.
HOTTEST = 5
#: kJ/mol/K.
GAS_CONSTANT = 8.31446261815324e-3

_PHASE = {"minimise": "minimising", "heat": "heating", "equilibrate": "equilibrating", "produce": "producing"}


@dataclass(frozen=True)
class SimulationRecord:
    """What a finished simulation was, for the replica's ``record.json``.

    Attributes
    ----------
    platform, platform_properties, device, openmm
        What it ran on; ``device`` is empty on a CPU.
    n_atoms_simulated, n_atoms_mobile, n_frames, production_ps
        Its size.
    ns_per_day
        Of production alone.
    seconds
        Wall time by phase; ``writing`` is part of the others. Work that a kill undid is not in it.
    timeline
        The phases in order with their start (UTC) and wall time.
    temperature_kelvin
        Mean over frames.
    energy_minimised
        kJ/mol.
    time_step_fs
        At the end: smaller than the protocol's after a rescue that halved it.
    rescues
        Each time it became unstable: stage, time, cause, worst atoms with forces (kJ/mol/nm), what was done.
    resumed
        Each time it went on after an interruption: where, whether exactly, and what was different.
    """

    platform: str
    platform_properties: dict[str, str]
    device: str
    openmm: str
    n_atoms_simulated: int
    n_atoms_mobile: int
    n_frames: int
    production_ps: float
    ns_per_day: float
    seconds: dict[str, float]
    timeline: list[dict[str, Any]]
    temperature_kelvin: float
    energy_minimised: float
    time_step_fs: float
    rescues: list[dict[str, Any]]
    resumed: list[dict[str, Any]]


@dataclass(frozen=True)
class DryRun:
    """What would be simulated: everything was built, its energy (kJ/mol) evaluated once, nothing was run."""

    platform: str
    device: str
    n_atoms_simulated: int
    n_atoms_mobile: int
    energy: float
    dynamics_ps: float
    steps: int


def simulate(
    complex_: Complex,
    protocol: Protocol,
    *,
    seed: int,
    platform: PlatformChoice,
    folder: Path,
    progress: Progress = lambda stage, fraction: None,
    note: Note = lambda event, **fields: None,
    dry: bool = False,
    checkpoint_s: float = CHECKPOINT_S,
    keep_checkpoint: bool = False,
) -> SimulationRecord | DryRun:
    """Run all stages, or go on where an earlier call with the same arguments was interrupted.

    Writes ``complex.pdb`` (the start), ``trajectory.xtc``, ``energies.parquet``, ``final.pdb``, ``system.xml.gz``,
    ``state.xml.gz`` and ``simulation.json``, with a helix-12 bias ``helix12_hills.csv``; until it is done also
    ``checkpoint.npz`` and the one before it.

    Parameters
    ----------
    complex_
        From :func:`esr1md.complex.build_complex`.
    seed
        Seeds velocities, thermostat and barostat.
    platform
        From :func:`esr1md.dynamics.platforms.choose_platform`.
    folder
        Empty, or what an interrupted call left.
    progress
        Called with the stage's name and the finished fraction (0 to 1) of the replica's dynamics, every few seconds.
    note
        Called with what happens, for a log: ``device``, ``resumed``, ``phase begun`` and ``ended``, ``checkpoint``,
        ``rescue``, ``simulated``, each with its fields.
    dry
        Build everything, evaluate the energy once and run nothing; writes nothing.
    checkpoint_s
        Seconds between checkpoints.
    keep_checkpoint
        Leave a last checkpoint, for a caller whose own work on the frames may be interrupted: called again, this only
        writes the end anew. :func:`remove_checkpoint` takes it away.

    Returns
    -------
    SimulationRecord
        Frames in ``trajectory.xtc`` are of the whole solute, also when only a region was simulated.

    Raises
    ------
    StageError
        Atoms lie on each other, a restraint selects nothing, or the simulation stayed unstable after every rescue;
        names the stage and the atoms with the largest forces.
    StoppedEarly
        This process was told to stop (:mod:`esr1md.stopping`); a checkpoint is left.
    """
    started = time.perf_counter()
    overlapping = rescue.overlaps(complex_)
    if overlapping:
        raise StageError(
            "dynamics",
            f"{len(overlapping)} pairs of atoms lie on each other ({'; '.join(overlapping[:3])}): no minimisation can "
            "part them; place the ligand anew",
        )
    engine = _Engine(complex_, protocol, seed, platform, folder)
    try:
        if dry:
            return engine.dry_run()
        record = engine.run(progress, note, checkpoint_s, started, last=keep_checkpoint)
        if not keep_checkpoint:
            remove_checkpoint(folder)
        return record
    except StageError:
        checkpoints.remove(folder)
        raise
    finally:
        engine.close()


def remove_checkpoint(folder: Path) -> None:
    """Take away what a finished replica was to be gone on with from."""
    checkpoints.remove(folder)
    (folder / output.GROWING).unlink(missing_ok=True)


class _Engine:
    """One replica: its context, how far it is, and what it writes."""

    def __init__(
        self, complex_: Complex, protocol: Protocol, seed: int, platform: PlatformChoice, folder: Path
    ) -> None:
        self._complex, self._protocol, self._seed = complex_, protocol, seed
        self._platform, self._folder = platform, folder
        self._sub = regions.simulated(complex_, protocol.region)
        self._moving = self._sub.mobile & (_masses(self._sub.system) > 0)
        self._degrees = degrees_of_freedom(self._sub)
        self._restraint = add_restraint(self._sub, complex_)
        self._bias: Bias | None = None
        if protocol.production.helix12_bias is not None:
            self._bias = install(
                self._sub,
                complex_,
                protocol.production.helix12_bias,
                temperature_kelvin=protocol.temperature_kelvin,
                time_step_fs=protocol.time_step_fs,
            )
        if protocol.solvent.explicit:
            barostat = openmm.MonteCarloBarostat(protocol.pressure_bar, protocol.temperature_kelvin, 25)
            barostat.setRandomNumberSeed(seed)
            self._sub.system.addForce(barostat)
        self._integrator = openmm.LangevinMiddleIntegrator(
            protocol.temperature_kelvin, protocol.friction_per_ps, protocol.time_step_fs / 1000
        )
        self._integrator.setRandomNumberSeed(seed)
        self._integrator.setConstraintTolerance(1e-5)
        self._context = openmm.Context(self._sub.system, self._integrator, platform.platform(), platform.properties)
        self._context.setPositions(complex_.positions[self._sub.atoms])
        self._writer: output.Writer | None = None
        self._place = Place()
        self._last_checkpoint = time.monotonic()
        self._steps_per_s = 0.0

    def close(self) -> None:
        if self._writer is not None:
            self._writer.abandon()

    def dry_run(self) -> DryRun:
        for stage in self._protocol.stages:  # a selection that holds nothing is found before anything runs
            set_restraint(self._context, self._restraint, self._sub, self._complex, getattr(stage, "restrain", None))
        return DryRun(
            self._platform.name,
            device_of(self._context),
            len(self._sub.atoms),
            int(self._moving.sum()),
            self._energy(),
            self._protocol.dynamics_ps,
            self._protocol.steps(self._protocol.dynamics_ps),
        )

    # -- the run -----------------------------------------------------------------------------------------------

    def run(
        self, progress: Progress, note: Note, checkpoint_s: float, started: float, *, last: bool
    ) -> SimulationRecord:
        text = output.write_system(self._sub.system, self._folder / output.SYSTEM)
        self._identity = {
            "system": hashlib.sha256(text.encode()).hexdigest(),
            "protocol": hashlib.sha256(self._protocol.model_dump_json().encode()).hexdigest(),
            "seed": self._seed,
            "platform": self._platform.name,
            "properties": {k: v for k, v in self._platform.properties.items() if k != "DeviceIndex"},
            "device": device_of(self._context),
            "openmm": openmm.__version__,
            "processor": f"{machine.machine()} {machine.node()}",
        }
        self._progress, self._note, self._checkpoint_s = progress, note, checkpoint_s
        self._note("device", **{key: self._identity[key] for key in ("platform", "device", "properties", "openmm")})
        self._check_bias()
        output.write_pdb(self._complex, self._complex.positions, self._folder / "complex.pdb")
        self._go_on()
        self._writer = output.Writer(self._complex, self._sub, self._protocol, self._folder, frames=self._place.frames)
        self._phase("building", started=started)
        self._done_ps = sum(
            s.duration_ps for s in self._protocol.stages[: self._place.stage] if not isinstance(s, Minimise)
        )
        for index in range(self._place.stage, len(self._protocol.stages)):
            stage = self._protocol.stages[index]
            if index != self._place.stage:
                self._place.stage, self._place.step = index, 0
            set_restraint(self._context, self._restraint, self._sub, self._complex, getattr(stage, "restrain", None))
            self._stage_started = time.perf_counter()
            about = {"phase": _PHASE[stage.kind], "number": index + 1, "of": len(self._protocol.stages)}
            self._note("phase begun", **about)
            if isinstance(stage, Minimise):
                self._minimise(stage)
            else:
                self._dynamics(stage)
                self._done_ps += stage.duration_ps
            if last and isinstance(stage, Produce):
                self._checkpoint()
            self._phase(_PHASE[stage.kind], started=self._stage_started)
            self._note("phase ended", **about, seconds=round(time.perf_counter() - self._stage_started, 3))
        return self._finish()

    def _finish(self) -> SimulationRecord:
        begun = time.perf_counter()
        self._writer.close()
        state = self._state()
        final = self._complex.positions.copy()
        final[self._sub.atoms] = state.getPositions(asNumpy=True)._value
        if self._protocol.solvent.explicit:
            solute = self._complex.solute_atoms
            box = state.getPeriodicBoxVectors(asNumpy=True)._value
            final[solute] = whole_positions(self._folder / "complex.pdb", final[solute], box)
        output.write_pdb(self._complex, final, self._folder / "final.pdb")
        output.write_state(self._context, self._folder / output.FINAL_STATE)
        if self._bias is not None:
            self._bias.hills().write(self._folder / output.HILLS)
        place, protocol = self._place, self._protocol
        self._phase("finishing", started=begun)
        record = SimulationRecord(
            platform=self._platform.name,
            platform_properties=dict(self._platform.properties),
            device=self._identity["device"],
            openmm=openmm.__version__,
            n_atoms_simulated=len(self._sub.atoms),
            n_atoms_mobile=int(self._moving.sum()),
            n_frames=place.frames,
            production_ps=protocol.production.duration_ps,
            ns_per_day=protocol.production.duration_ps / 1000 / place.seconds["producing"] * 86400,
            seconds={name: round(value, 3) for name, value in place.seconds.items()},
            timeline=place.timeline,
            temperature_kelvin=place.temperature_sum / max(place.frames, 1),
            energy_minimised=place.energy_minimised,
            time_step_fs=protocol.time_step_fs / 2**place.halvings,
            rescues=place.rescues,
            resumed=place.resumed,
        )
        (self._folder / "simulation.json").write_text(json.dumps(asdict(record), indent=1))
        self._note("simulated", ns_per_day=round(record.ns_per_day, 3), frames=record.n_frames)
        return record

    def _check_bias(self) -> None:
        error = self._bias.force_error(self._context) if self._bias is not None else 0.0
        if not error <= TOLERANCE:
            raise StageError(
                "dynamics",
                f"platform {self._platform.name} computes other forces of the helix-12 bias than Reference (relative "
                f"error {error:.2g}); another version of OpenMM or another platform is needed",
            )

    # -- stages ------------------------------------------------------------------------------------------------

    def _minimise(self, stage: Minimise) -> None:
        while self._place.step < stage.iterations:
            self._tell(stage, 0.0)
            chunk = min(MINIMISE_CHUNK, stage.iterations - self._place.step)
            with self._explained(stage):
                self._lower_energy(chunk, solvent=stage.solvent or self._protocol.solvent.explicit)
            self._place.step += chunk
            self._place.energy_minimised = energy = self._energy()
            if not math.isfinite(energy):
                atoms = rescue.in_words(self._worst_atoms())
                raise StageError("dynamics", f"the energy is {energy} after minimising; largest forces on {atoms}")
            self._checkpoint_if_due()

    def _lower_energy(self, iterations: int, *, solvent: bool) -> None:
        if solvent:
            openmm.LocalEnergyMinimizer.minimize(self._context, maxIterations=iterations)
            return
        # Without the solvent force each evaluation is eight times cheaper on a CPU; a separate context keeps the
        # solvent out of the minimiser, which always sees every force group of its integrator.
        integrator = openmm.VerletIntegrator(0.001)
        integrator.setIntegrationForceGroups({GROUP_FAST, GROUP_RESTRAINT})
        vacuum = openmm.Context(self._sub.system, integrator, self._platform.platform(), self._platform.properties)
        vacuum.setPositions(self._state().getPositions(asNumpy=True))
        openmm.LocalEnergyMinimizer.minimize(vacuum, maxIterations=iterations)
        self._context.setPositions(vacuum.getState(positions=True).getPositions(asNumpy=True))

    def _dynamics(self, stage: Any) -> None:
        if not self._has_velocities:
            start = stage.from_kelvin if isinstance(stage, Heat) else self._protocol.temperature_kelvin
            self._context.setVelocitiesToTemperature(start, self._seed)
            self._has_velocities = True
        marks = self._marks(stage)
        good, hills = self._state(velocities=True), self._bias and self._bias.state()
        for mark in marks:
            if mark <= self._place.step:
                continue
            before = self._place.step
            while True:
                try:
                    state = self._advance_to(mark, marks[-1], stage)
                    break
                except Unstable as error:
                    self._rescue(stage, error, good)
                    self._place.step = before
                    if self._bias is not None:
                        self._bias.restore(self._context, hills)
            self._look(stage, mark, state)
            good, hills = state, self._bias and self._bias.state()
            self._tell(stage, mark / marks[-1] * stage.duration_ps)
            self._checkpoint_if_due()

    def _marks(self, stage: Any) -> list[int]:
        """Steps at which a stage's energy is looked at, and its frame written where it keeps frames."""
        if isinstance(stage, Produce):
            frames = round(stage.duration_ps / stage.frame_ps)
            return [self._protocol.steps(stage.frame_ps) * (i + 1) for i in range(frames)]
        total = self._protocol.steps(stage.duration_ps)
        looks = min(LOOKS_PER_STAGE, total)
        return [round(total * (i + 1) / looks) for i in range(looks)]

    def _advance_to(self, mark: int, total: int, stage: Any) -> openmm.State:
        """Integrate to a mark, with checkpoints on the way where it is far; the state there, checked.

        Raises
        ------
        Unstable
            The energy is not finite or the system is far too hot.
        """
        if isinstance(stage, Heat):
            target = self._protocol.temperature_kelvin
            self._set_temperature(stage.from_kelvin + (target - stage.from_kelvin) * mark / total)
        else:
            self._set_temperature(self._protocol.temperature_kelvin)
        while self._place.step < mark:
            steps = min(mark - self._place.step, max(1, int(LOOK_S * self._steps_per_s)) if self._steps_per_s else 10)
            begun = time.perf_counter()
            try:
                self._step(steps, biased=isinstance(stage, Produce))
            except openmm.OpenMMException as error:
                raise Unstable(" ".join(str(error).split())[:200]) from error
            self._steps_per_s = steps / max(time.perf_counter() - begun, 1e-6)
            self._place.step += steps
            if self._place.step < mark:
                self._tell(stage, self._place.step / total * stage.duration_ps)
            if self._place.step < mark and self._due():
                self._check(self._state(velocities=True, energy=True))
                self._checkpoint()
                self._stop_if_asked()
        state = self._state(velocities=True, energy=True)
        self._check(state)
        return state

    def _step(self, steps: int, *, biased: bool) -> None:
        """Time steps of the protocol, each as many of the integrator as rescues have made it."""
        if biased and self._bias is not None:
            self._bias.step(self._context, self._integrator, steps, 2**self._place.halvings)
        else:
            self._integrator.step(steps << self._place.halvings)

    def _set_temperature(self, kelvin: float) -> None:
        self._integrator.setTemperature(kelvin)
        if self._protocol.solvent.explicit:
            self._context.setParameter(openmm.MonteCarloBarostat.Temperature(), kelvin)

    def _check(self, state: openmm.State) -> None:
        potential, kinetic = state.getPotentialEnergy()._value, state.getKineticEnergy()._value
        if not math.isfinite(potential) or not math.isfinite(kinetic):
            raise Unstable(f"potential energy is {potential}, kinetic {kinetic} kJ/mol")
        temperature = self._temperature(state)
        if temperature > HOTTEST * self._protocol.temperature_kelvin:
            raise Unstable(f"{temperature:.0f} K")

    def _temperature(self, state: openmm.State) -> float:
        return 2 * state.getKineticEnergy()._value / (self._degrees * GAS_CONSTANT)

    def _look(self, stage: Any, mark: int, state: openmm.State) -> None:
        """Write what there is to write at a mark."""
        begun = time.perf_counter()
        temperature = self._temperature(state)
        self._writer.energies(stage.kind, mark * self._protocol.time_step_fs / 1000, state, temperature)
        if isinstance(stage, Produce):
            box = state.getPeriodicBoxVectors(asNumpy=True)._value
            self._writer.frame(state.getPositions(asNumpy=True)._value, box)
            self._place.frames += 1
            self._place.temperature_sum += temperature
        self._add("writing", time.perf_counter() - begun)

    # -- when it becomes unstable --------------------------------------------------------------------------------

    def _rescue(self, stage: Any, error: Unstable, good: openmm.State) -> None:
        """Go back to the last good instant, relax, halve the step as the ladder says; StageError at its end."""
        place = self._place
        attempt = len(place.rescues)
        self._context.setPeriodicBoxVectors(*good.getPeriodicBoxVectors())
        self._context.setPositions(good.getPositions(asNumpy=True))
        atoms = self._worst_atoms()
        name = f"unstable-{attempt + 1}.xml.gz"
        output.write_gzip(self._folder / name, openmm.XmlSerializer.serialize(good))
        entry = {
            "stage": stage.kind,
            "time_ps": round(place.step * self._protocol.time_step_fs / 1000, 4),
            "cause": error.cause,
            "worst_atoms": [asdict(atom) for atom in atoms],
            "state": name,
        }
        if attempt == len(rescue.ATTEMPTS):
            tried = f" after {attempt} rescues (relaxed, then steps down to {self._step_fs():g} fs)"
            raise StageError(
                "dynamics",
                f"the simulation became unstable in stage {stage.kind} ({error.cause}){tried}; "
                f"largest forces on {rescue.in_words(atoms)}",
                where=str(self._folder),
            ) from error
        place.halvings = rescue.ATTEMPTS[attempt]
        self._integrator.setStepSize(self._step_fs() / 1000)
        with self._explained(stage):
            self._lower_energy(rescue.RELAX_ITERATIONS, solvent=True)
        self._context.setVelocitiesToTemperature(self._integrator.getTemperature(), self._seed + 1000 * (attempt + 1))
        entry["done"] = f"went back, relaxed {rescue.RELAX_ITERATIONS} iterations, step {self._step_fs():g} fs"
        place.rescues.append(entry)
        self._note("rescue", **entry)
        self._last_checkpoint = -math.inf  # so that it is not forgotten

    def _worst_atoms(self) -> list[rescue.WorstAtom]:
        return rescue.worst_atoms(self._context, self._sub, self._complex)

    def _step_fs(self) -> float:
        return self._protocol.time_step_fs / 2**self._place.halvings

    @contextmanager
    def _explained(self, stage: Any) -> Iterator[None]:
        """What OpenMM's minimiser says of a NaN, with the atoms."""
        try:
            yield
        except openmm.OpenMMException as error:
            atoms = rescue.in_words(self._worst_atoms())
            raise StageError(
                "dynamics",
                f"the minimisation failed in stage {stage.kind} ({error}); largest forces on {atoms}",
                where=str(self._folder),
            ) from error

    # -- checkpoints -----------------------------------------------------------------------------------------------

    def _due(self) -> bool:
        return stop_requested() or time.monotonic() - self._last_checkpoint >= self._checkpoint_s

    def _checkpoint_if_due(self) -> None:
        if self._due():
            self._checkpoint()
            self._stop_if_asked()

    def _stop_if_asked(self) -> None:
        if stop_requested():
            raise StoppedEarly(f"stopped in stage {self._place.stage + 1}, step {self._place.step}, with a checkpoint")

    def _checkpoint(self) -> None:
        begun = time.perf_counter()
        state = self._state(velocities=True)
        # the phase that is under way counts up to here, so that what a kill undoes is not in the record
        counted = replace(self._place, seconds=dict(self._place.seconds), timeline=list(self._place.timeline))
        _count(counted, _PHASE[self._stage().kind], self._stage_started, begun)
        checkpoints.write(
            self._folder,
            Checkpoint(
                counted,
                self._identity,
                self._writer.sizes(),
                state.getPositions(asNumpy=True)._value,
                state.getVelocities(asNumpy=True)._value,
                state.getPeriodicBoxVectors(asNumpy=True)._value,
                self._context.createCheckpoint() if self._has_velocities else b"",
                self._bias.state() if self._bias is not None else {},
            ),
        )
        self._add("writing", time.perf_counter() - begun)
        self._last_checkpoint = time.monotonic()
        stage, step, frames = self._stage().kind, self._place.step, self._place.frames
        self._note("checkpoint", stage=stage, step=step, frames=frames, seconds=round(time.perf_counter() - begun, 3))

    def _go_on(self) -> None:
        """Begin, or load the newest checkpoint that can be trusted."""
        self._has_velocities = False
        found, notes = checkpoints.read(self._folder)
        if found is not None:
            different = {k for k in self._identity if found.identity.get(k) != self._identity[k]}
            if different & {"system", "protocol", "seed"}:
                notes.append("the checkpoint is of another system, protocol or seed: the replica was started again")
                found = None
        if found is None:
            for name in (output.GROWING, output.TRAJECTORY):
                (self._folder / name).unlink(missing_ok=True)
            checkpoints.remove(self._folder)
            if notes:
                self._resumed("the beginning", True, notes)
            return
        checkpoints.cut_back(self._folder, found)
        self._place = place = found.place
        exact = not different
        if found.blob and not different:
            self._context.loadCheckpoint(found.blob)
        else:
            notes += [f"{k}: {found.identity.get(k)} then, {self._identity[k]} now" for k in sorted(different)]
            self._context.setPeriodicBoxVectors(*found.box)
            self._context.setPositions(found.positions)
            self._context.setVelocities(found.velocities)
        if self._bias is not None:
            self._bias.restore(self._context, found.bias)
        self._has_velocities = bool(found.blob)
        self._integrator.setStepSize(self._step_fs() / 1000)
        stage = self._protocol.stages[place.stage]
        where = f"{stage.kind}, {place.step} " + (
            "iterations" if isinstance(stage, Minimise) else f"steps ({place.frames} frames)"
        )
        self._resumed(where, exact, notes)

    def _resumed(self, where: str, exact: bool, notes: list[str]) -> None:
        entry = {"from": where, "exact": exact, "notes": notes}
        self._place.resumed.append({"time": _now(), **entry})
        self._note("resumed", **entry)

    # -- small things ----------------------------------------------------------------------------------------------

    def _stage(self) -> Any:
        return self._protocol.stages[self._place.stage]

    def _tell(self, stage: Any, ps: float) -> None:
        """Report how far the dynamics are, ``ps`` into a stage."""
        self._progress(stage.kind, (self._done_ps + ps) / self._protocol.dynamics_ps)

    def _state(self, *, velocities: bool = False, energy: bool = False) -> openmm.State:
        return self._context.getState(positions=True, velocities=velocities, energy=energy)

    def _energy(self) -> float:
        return self._context.getState(energy=True).getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole)

    def _phase(self, name: str, *, started: float) -> None:
        _count(self._place, name, started, time.perf_counter())

    def _add(self, name: str, seconds: float) -> None:
        self._place.seconds[name] = self._place.seconds.get(name, 0.0) + seconds


def _count(place: Place, phase: str, started: float, ended: float) -> None:
    """Enter a phase that began and ended at these readings of the clock."""
    seconds = ended - started
    begun = datetime.fromtimestamp(time.time() - (time.perf_counter() - started), UTC)
    place.timeline.append(
        {"phase": phase, "started": begun.isoformat(timespec="milliseconds"), "seconds": round(seconds, 3)}
    )
    place.seconds[phase] = place.seconds.get(phase, 0.0) + seconds


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _masses(system: openmm.System) -> np.ndarray:
    return np.array([system.getParticleMass(i)._value for i in range(system.getNumParticles())])


def degrees_of_freedom(sub: regions.Subsystem) -> int:
    """Degrees of freedom of what moves: three per atom with a mass less the constraints."""
    moving = int((sub.mobile & (_masses(sub.system) > 0)).sum())
    return max(1, 3 * moving - sub.system.getNumConstraints())
