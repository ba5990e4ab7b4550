"""Samples one repeat of one edge: replica exchange over the alchemical states of a transfer.

OpenMM's own ``app.ReplicaExchangeSampler`` holds the replicas and exchanges their states. Its energies of every replica
in every state are not computed by changing parameters, as it would itself, but from u0 and u1
(:func:`~esr1md.dynamics.atm.state_energies`): one evaluation for a replica instead of one for each state.

The states of one repeat take turns in one context: repeats and edges are what runs side by side. A repeat that was
interrupted goes on from its last checkpoint (:mod:`~esr1md.dynamics.checkpoint`), also in the middle of a turn.
"""

from __future__ import annotations

import hashlib
import json
import platform as machine
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import openmm
import pandas
from openmm import app, unit

from esr1md.dynamics import checkpoint as checkpoints
from esr1md.dynamics import output
from esr1md.dynamics.atm import TransferSystem, parameters, schedule, state_energies
from esr1md.dynamics.checkpoint import Checkpoint, Place
from esr1md.dynamics.platforms import PlatformChoice, device_of
from esr1md.errors import StageError, StoppedEarly
from esr1md.stopping import stop_requested

Progress = Callable[[str, float], None]

#: What a finished repeat leaves, and what its samples grow in.
SAMPLES, GROWING, RECORD = "perturbation_energies.parquet", "perturbation_energies.csv", "transfer.json"
COLUMNS = ("iteration", "replica", "state", "u0_kj", "u1_kj")

#: Seconds between checkpoints: what a ``kill -9`` can cost, besides the turn of one replica.
CHECKPOINT_S = 60.0
#: kJ/mol/K.
GAS_CONSTANT = 8.31446261815324e-3

_MINIMISE_ITERATIONS = 500
#: An energy (kT) above the replica's best state beyond which no exchange is accepted; also keeps OpenMM's ``math.exp``
#: from overflowing.
_HOPELESS = 300.0


@dataclass(frozen=True)
class TransferRecord:
    """What a finished repeat was.

    Attributes
    ----------
    platform, device, openmm
        What it ran on; ``device`` is empty on a CPU.
    n_atoms, n_states, iterations
        Its size: particles, alchemical states, samples of each.
    seed, temperature_kelvin, time_step_fs
        Of its dynamics.
    settings
        :class:`~esr1md.dynamics.atm.Transfer` as data.
    displacement_angstrom
        d.
    ns_per_day
        Of all states together, samples and exchanges included.
    seconds
        Wall time by phase; work that a kill undid is not in it.
    resumed
        Each time it went on after an interruption: where, whether exactly, and what was different.
    """

    platform: str
    device: str
    openmm: str
    n_atoms: int
    n_states: int
    iterations: int
    seed: int
    temperature_kelvin: float
    time_step_fs: float
    settings: dict[str, Any]
    displacement_angstrom: tuple[float, float, float]
    ns_per_day: float
    seconds: dict[str, float]
    resumed: list[dict[str, Any]]


def sample(
    transfer: TransferSystem,
    *,
    seed: int,
    platform: PlatformChoice,
    folder: Path,
    temperature_kelvin: float = 300.0,
    friction_per_ps: float = 1.0,
    time_step_fs: float = 4.0,
    progress: Progress = lambda stage, fraction: None,
    checkpoint_s: float = CHECKPOINT_S,
) -> TransferRecord:
    """Equilibrate the states one after the other, then sample them all with exchanges.

    Writes ``perturbation_energies.parquet`` (a row for each sample: ``iteration``, ``replica``, ``state`` and the
    energies ``u0_kj`` and ``u1_kj``), ``system.xml.gz`` and ``transfer.json``; until it is done also
    ``perturbation_energies.csv`` and ``checkpoint.npz``.

    Parameters
    ----------
    transfer
        From :func:`esr1md.dynamics.atm.transfer_system`.
    seed
        Seeds velocities, thermostat and exchanges.
    platform
        From :func:`esr1md.dynamics.platforms.choose_platform`.
    folder
        Empty, or what an interrupted call left.
    progress
        Called with ``minimise``, ``equilibrate`` or ``sample`` and the finished fraction of the dynamics.
    checkpoint_s
        Seconds between checkpoints.

    Raises
    ------
    StageError
        The energy is not finite.
    """
    folder.mkdir(parents=True, exist_ok=True)
    dynamics = temperature_kelvin, friction_per_ps, time_step_fs
    run = _Run(transfer, seed, platform, folder, dynamics, progress, checkpoint_s)
    try:
        return run.run()
    except StageError:
        checkpoints.remove(folder)
        raise
    finally:
        run.close()


def read_samples(folder: Path) -> pandas.DataFrame:
    """The samples of a finished repeat.

    Raises
    ------
    StageError
        The table is missing or is not such a table.
    """
    path = folder / SAMPLES
    try:
        table = pandas.read_parquet(path)
    except (OSError, ValueError) as error:
        raise StageError("analysis", f"the perturbation energies cannot be read: {error}", where=str(path)) from None
    if tuple(table.columns) != COLUMNS:
        raise StageError("analysis", f"the perturbation energies have columns {list(table.columns)}", where=str(path))
    return table


class _Run:
    """One repeat: its context, its replicas, how far it is."""

    def __init__(
        self,
        transfer: TransferSystem,
        seed: int,
        platform: PlatformChoice,
        folder: Path,
        dynamics: tuple[float, float, float],
        progress: Progress,
        checkpoint_s: float,
    ) -> None:
        self._transfer, self._seed, self._platform, self._folder = transfer, seed, platform, folder
        self._kelvin, friction, self._step_fs = dynamics
        self._kt = GAS_CONSTANT * self._kelvin
        self._progress, self._checkpoint_s = progress, checkpoint_s
        self._random = random.Random(seed)
        integrator = openmm.LangevinMiddleIntegrator(self._kelvin, friction, self._step_fs / 1000)
        integrator.setRandomNumberSeed(seed)
        integrator.setConstraintTolerance(1e-5)
        topology = app.Topology()  # the sampler asks for a Simulation, and of that only its context and integrator
        self._simulation = app.Simulation(
            topology, transfer.system, integrator, platform.platform(), dict(platform.properties)
        )
        self._context = self._simulation.context
        self._states = schedule(transfer.settings)
        self._place = Place()
        self._file = None
        self._last_checkpoint = time.monotonic()
        self._began = time.perf_counter()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def run(self) -> TransferRecord:
        settings = self._transfer.settings
        text = output.write_system(self._transfer.system, self._folder / output.SYSTEM)
        self._identity = {
            "system": hashlib.sha256(text.encode()).hexdigest(),
            "settings": hashlib.sha256(
                json.dumps([settings.model_dump(mode="json"), self._kelvin, self._step_fs]).encode()
            ).hexdigest(),
            "seed": self._seed,
            "platform": self._platform.name,
            "device": device_of(self._context),
            "openmm": openmm.__version__,
            "processor": f"{machine.machine()} {machine.node()}",
        }
        self._context.setPositions(self._transfer.positions)
        self._apply(0)
        self._sampler = app.ReplicaExchangeSampler(
            [parameters(state) for state in self._states], self._simulation, self._steps(settings.exchange_ps)
        )
        self._perturbation = np.zeros((len(self._states), 2))
        found = self._go_on()
        self._file = open(self._folder / GROWING, "a", newline="", encoding="utf-8")
        if found is None:
            self._start()
        self._equilibrate()
        self._sample()
        return self._finish()

    # -- the phases ------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        self._file.write(",".join(COLUMNS) + "\n")
        self._progress("minimise", 0.0)
        try:
            openmm.LocalEnergyMinimizer.minimize(self._context, maxIterations=_MINIMISE_ITERATIONS)
        except openmm.OpenMMException as error:
            raise StageError("dynamics", f"the minimisation of the first state failed ({error})") from error
        self._context.setVelocitiesToTemperature(self._kelvin, self._seed)
        self._lap("minimising")

    def _equilibrate(self) -> None:
        """Walk through the states in order; where each ends its replica starts, and the next goes on."""
        settings = self._transfer.settings
        steps = self._steps(settings.equilibrate_ps)
        while self._place.stage == 0 and self._place.step < len(self._states):
            index = self._place.step
            self._progress("equilibrate", index * settings.equilibrate_ps / settings.total_ps)
            self._apply(index)
            try:
                self._simulation.integrator.step(steps)
            except openmm.OpenMMException as error:
                raise self._unstable(index, str(error)) from error
            self._sampler.replicaConformation[index] = conformation = self._conformation()
            self._check(index, conformation)
            self._place.step += 1
            if self._place.step == len(self._states):
                self._place.stage, self._place.step = 1, 0
            self._lap("equilibrating")
            self._checkpoint_if_due()

    def _sample(self) -> None:
        settings, n = self._transfer.settings, len(self._states)
        equilibrated = n * settings.equilibrate_ps
        while self._place.step < settings.iterations:
            for index in range(self._place.frames % n, n):
                self._turn(index)
                self._place.frames += 1
                done = equilibrated + self._place.frames * settings.exchange_ps
                self._progress("sample", min(1.0, done / settings.total_ps))
                if index + 1 < n:
                    self._checkpoint_if_due()
            self._exchange()
            self._place.step += 1
            self._checkpoint_if_due()
        self._lap("sampling")

    def _turn(self, index: int) -> None:
        """Let one replica go on in its state and keep what it was like at the end."""
        state = self._sampler.replicaStateIndex[index]
        try:
            self._sampler.simulateReplica(index)
            u0, u1 = self._transfer.energies(self._context)
        except openmm.OpenMMException as error:
            raise self._unstable(state, str(error)) from error
        self._check(state, self._sampler.replicaConformation[index])
        self._perturbation[index] = u0, u1
        self._file.write(f"{self._place.step},{index},{state},{u0:.6f},{u1:.6f}\n")

    def _exchange(self) -> None:
        energies = state_energies(*self._perturbation.T, self._transfer.settings)
        above = np.minimum(energies - energies.min(axis=1, keepdims=True), _HOPELESS * self._kt)
        self._sampler.replicaStateEnergy = [row * unit.kilojoules_per_mole for row in above]
        with self._own_random():
            self._sampler.exchangeReplicas()

    def _finish(self) -> TransferRecord:
        self._file.close()
        table = pandas.read_csv(self._folder / GROWING)
        table.to_parquet(self._folder / SAMPLES, index=False)
        settings, place = self._transfer.settings, self._place
        sampled_ns = settings.iterations * settings.exchange_ps * len(self._states) / 1000
        record = TransferRecord(
            platform=self._platform.name,
            device=self._identity["device"],
            openmm=openmm.__version__,
            n_atoms=self._transfer.system.getNumParticles(),
            n_states=len(self._states),
            iterations=settings.iterations,
            seed=self._seed,
            temperature_kelvin=self._kelvin,
            time_step_fs=self._step_fs,
            settings=settings.model_dump(mode="json"),
            displacement_angstrom=tuple(round(10 * float(x), 4) for x in self._transfer.displacement_nm),
            ns_per_day=sampled_ns / max(place.seconds.get("sampling", 0.0), 1e-9) * 86400,
            seconds={name: round(value, 3) for name, value in place.seconds.items()},
            resumed=place.resumed,
        )
        (self._folder / RECORD).write_text(json.dumps(asdict(record), indent=1))
        checkpoints.remove(self._folder)
        (self._folder / GROWING).unlink()
        return record

    # -- small things ----------------------------------------------------------------------------------------------

    def _steps(self, duration_ps: float) -> int:
        return max(1, round(duration_ps * 1000 / self._step_fs))

    def _apply(self, index: int) -> None:
        for name, value in parameters(self._states[index]).items():
            self._context.setParameter(name, value)

    def _check(self, state: int, conformation: openmm.State) -> None:
        if not np.isfinite(conformation.getPositions(asNumpy=True)._value).all():
            raise self._unstable(state, "a coordinate is not a number")

    def _unstable(self, state: int, cause: str) -> StageError:
        return StageError(
            "dynamics",
            f"the transfer became unstable in state {state + 1} of {len(self._states)} ({cause}); a shorter time step, "
            "or poses that lie on each other better, may help",
            where=str(self._folder),
        )

    def _conformation(self) -> openmm.State:
        return self._context.getState(positions=True, velocities=True, parameters=True, integratorParameters=True)

    def _lap(self, phase: str) -> None:
        now = time.perf_counter()
        self._place.seconds[phase] = self._place.seconds.get(phase, 0.0) + now - self._began
        self._began = now

    @contextmanager
    def _own_random(self) -> Iterator[None]:
        """The sampler draws from Python's own generator; for its time that is ours."""
        before = random.getstate()
        random.setstate(self._random.getstate())
        try:
            yield
        finally:
            self._random.setstate(random.getstate())
            random.setstate(before)

    # -- checkpoints -----------------------------------------------------------------------------------------------

    def _checkpoint_if_due(self) -> None:
        if time.monotonic() - self._last_checkpoint < self._checkpoint_s and not stop_requested():
            return
        self._lap("sampling" if self._place.stage else "equilibrating")
        self._file.flush()
        state = self._conformation()
        replicas = self._sampler.replicaConformation
        checkpoints.write(
            self._folder,
            Checkpoint(
                self._place,
                self._identity,
                {GROWING: (self._folder / GROWING).stat().st_size},
                state.getPositions(asNumpy=True)._value,
                state.getVelocities(asNumpy=True)._value,
                np.eye(3),
                self._context.createCheckpoint(),
                {
                    "positions": np.array([c.getPositions(asNumpy=True)._value for c in replicas]),
                    "velocities": np.array([c.getVelocities(asNumpy=True)._value for c in replicas]),
                    "state_of_replica": np.array(self._sampler.replicaStateIndex),
                    "perturbation": self._perturbation,
                    "random": np.array(self._random.getstate()[1]),
                },
            ),
        )
        self._last_checkpoint = time.monotonic()
        if stop_requested():
            raise StoppedEarly("stopped with a checkpoint")

    def _go_on(self) -> Checkpoint | None:
        """Load the newest checkpoint that can be trusted; ``None`` if there is none."""
        found, notes = checkpoints.read(self._folder)
        if found is not None:
            different = sorted(k for k in self._identity if found.identity.get(k) != self._identity[k])
            if {"system", "settings", "seed"} & set(different):
                notes.append("the checkpoint is of another system, settings or seed: the repeat was started again")
                found = None
        if found is None:
            checkpoints.remove(self._folder)
            (self._folder / GROWING).unlink(missing_ok=True)
            if notes:
                self._place.resumed.append({"time": _now(), "from": "the beginning", "exact": True, "notes": notes})
            return None
        checkpoints.cut_back(self._folder, found)
        self._place, arrays = found.place, found.bias
        for i, (positions, velocities) in enumerate(zip(arrays["positions"], arrays["velocities"], strict=True)):
            self._context.setPositions(positions)
            self._context.setVelocities(velocities)
            self._sampler.replicaConformation[i] = self._conformation()
        self._context.setPositions(found.positions)
        self._context.setVelocities(found.velocities)
        if different:
            notes += [f"{k}: {found.identity.get(k)} then, {self._identity[k]} now" for k in different]
        else:
            self._context.loadCheckpoint(found.blob)  # with the thermostat's random numbers
        self._sampler.replicaStateIndex = [int(i) for i in arrays["state_of_replica"]]
        self._perturbation = arrays["perturbation"].copy()
        self._random.setstate((3, tuple(int(i) for i in arrays["random"]), None))
        place = self._place
        where = f"state {place.step + 1}" if place.stage == 0 else f"iteration {place.step}"
        place.resumed.append({"time": _now(), "from": where, "exact": not different, "notes": notes})
        return found


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
