"""Measures how many simulations of a system a device should run at once, and remembers it for the plans of screens.

Every simulation is a process of its own that steps until it is told to end; what counts is the window in which all of
them ran, so that neither starting nor ending is measured.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import resource
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import openmm
from openmm import unit

from esr1md.dynamics.platforms import PlatformChoice
from esr1md.dynamics.protocol import Protocol
from esr1md.dynamics.slots import Device, divide_cores
from esr1md.errors import Esr1mdError, StageError
from esr1md.specs import digest_of
from esr1md.workers import WorkerDied, WorkerPool, usable_cores

if TYPE_CHECKING:
    from esr1md.complex import Complex

#: On a GPU the fewest simulations whose total is within 3 % of the largest total are best: each takes memory. On
#: the CPU it is the most within 10 %: all else that a replica does uses one thread, so that fewer leave cores idle.
CLOSE_TO_BEST_GPU, CLOSE_TO_BEST_CPU = 0.03, 0.10
RULES = {True: "the fewest within 3 % of the largest total", False: "the most within 10 % of the largest total"}
#: Wall time between looks at the clock in a measured run (s); each look waits for the device.
CHUNK_S = 0.25
#: Iterations that take the worst out of the starting structure, whatever the protocol's minimiser does.
RELAX_ITERATIONS = 100
START_LIMIT_S = 600
#: What a protocol's speed does not depend on.
_NOT_SPEED = ("name", "description", "stages", "scoring")


@dataclass(frozen=True)
class Load:
    """Several simulations at once: ns/day of each in the window in which all ran, or why there is none.

    ``memory_mb`` is the largest process's resident memory at its peak; ``gpu_mb`` the device's memory that the
    simulations took, per simulation (``None`` where nobody tells).
    """

    count: int
    each: tuple[float, ...] = ()
    seconds: float = 0.0
    threads: int = 1
    memory_mb: float | None = None
    gpu_mb: float | None = None
    failed: str = ""

    @property
    def total(self) -> float:
        """ns/day of all together."""
        return sum(self.each)


@dataclass(frozen=True)
class Measurement:
    """What ``esr1md bench`` found for one system on one device; ``protocol`` is :func:`speed_digest`."""

    device: str
    platform: str
    openmm: str
    protocol: str
    protocol_name: str
    atoms: int
    mobile: int
    mps: bool
    cores: int
    best: int
    loads: tuple[Load, ...]
    measured: str

    @property
    def gain(self) -> float:
        """Total at the best number over that of one simulation."""
        totals = {load.count: load.total for load in self.loads if not load.failed}
        return totals[self.best] / totals[1] if totals.get(1) else float("nan")


# -- the system ------------------------------------------------------------------------------------------------


def write_system(complex_: Complex, protocol: Protocol, folder: Path) -> tuple[int, int]:
    """Leave what :func:`relax` and :func:`step_until_told` need in ``folder``; returns atoms and mobile atoms."""
    from esr1md.dynamics import region  # not above: it loads the chemistry, which the measured processes do without

    sub = region.simulated(complex_, protocol.region)
    system = sub.system
    if protocol.solvent.explicit:
        system.addForce(openmm.MonteCarloBarostat(protocol.pressure_bar, protocol.temperature_kelvin, 25))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "system.xml").write_text(openmm.XmlSerializer.serialize(system))
    np.save(folder / "positions.npy", complex_.positions[sub.atoms])
    settings = {
        "kelvin": protocol.temperature_kelvin, "friction": protocol.friction_per_ps, "fs": protocol.time_step_fs,
    }  # fmt: skip
    (folder / "settings.json").write_text(json.dumps(settings))
    return len(sub.atoms), int(sub.mobile.sum())


def _context(folder: Path, choice: PlatformChoice, integrator: openmm.Integrator) -> openmm.Context:
    system = openmm.XmlSerializer.deserialize((folder / "system.xml").read_text())
    context = openmm.Context(system, integrator, choice.platform(), choice.properties)
    context.setPositions(np.load(folder / "positions.npy"))
    return context


def relax(folder: Path, choice: PlatformChoice, iterations: int = RELAX_ITERATIONS) -> None:
    """Minimise a little and keep the positions, so that every measured run starts from a structure that stays whole.

    Implicit solvent is left out, which makes it cheap on a CPU. Restrains nothing and is no preparation for production:
    the speed of dynamics is all that is asked.
    """
    integrator = openmm.VerletIntegrator(0.001)
    integrator.setIntegrationForceGroups({0})
    context = _context(folder, choice, integrator)
    openmm.LocalEnergyMinimizer.minimize(context, maxIterations=iterations)
    positions = context.getState(positions=True).getPositions(asNumpy=True).value_in_unit(unit.nanometer)
    np.save(folder / "relaxed.npy", positions)
    os.replace(folder / "relaxed.npy", folder / "positions.npy")


def step_until_told(folder: Path, run: Path, number: int, choice: PlatformChoice) -> dict[str, Any]:
    """One simulation of a measurement, in a process of its own: steps until ``run/stop`` is there.

    Returns
    -------
    dict
        ``times`` (s, the machine's monotonic clock) and ``steps`` done by then, from the end of the warm-up;
        ``fs`` of a step; ``memory_mb``.

    Raises
    ------
    StageError
        The energy stopped being finite.
    """
    settings = json.loads((folder / "settings.json").read_text())
    integrator = openmm.LangevinMiddleIntegrator(settings["kelvin"], settings["friction"], settings["fs"] / 1000)
    integrator.setConstraintTolerance(1e-5)
    context = _context(folder, choice, integrator)
    context.setVelocitiesToTemperature(settings["kelvin"] / 2, number + 1)
    chunk, spent = 4, 0.0
    for _ in range(12):  # kernels are compiled and tuned in the first calls
        spent = _timed(integrator, context, chunk)
        if spent > CHUNK_S / 2:
            break
        chunk *= 2
    chunk = max(1, round(chunk * CHUNK_S / spent))
    times, steps = [time.monotonic()], [0]
    (run / f"ready-{number}").touch()
    while not (run / "stop").exists():
        _timed(integrator, context, chunk)
        times.append(time.monotonic())
        steps.append(steps[-1] + chunk)
    return {"times": times, "steps": steps, "fs": settings["fs"], "memory_mb": _peak_memory()}


def _peak_memory() -> float:
    """This process's largest resident memory (MB)."""
    with contextlib.suppress(OSError):  # not getrusage where this is: on Linux that counts the parent's before the exec
        if found := re.search(r"^VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE):
            return int(found[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # bytes on macOS


def _timed(integrator: openmm.Integrator, context: openmm.Context, steps: int) -> float:
    started = time.perf_counter()
    integrator.step(steps)
    energy = context.getState(energy=True).getPotentialEnergy()._value  # waits for the device
    if not np.isfinite(energy):
        raise StageError("dynamics", f"the measured simulation became unstable (energy {energy})")
    return time.perf_counter() - started


# -- measuring -------------------------------------------------------------------------------------------------


def measure(
    folder: Path,
    choice: PlatformChoice,
    count: int,
    seconds: float,
    pool: WorkerPool,
    *,
    device: Device | None = None,
    progress: Callable[[str, float], None] = lambda said, fraction: None,
) -> Load:
    """``count`` simulations of a written, relaxed system at once on one device.

    Parameters
    ----------
    folder
        From :func:`write_system`, after :func:`relax`.
    seconds
        Length of the window in which all run.
    pool
        With at least ``count`` processes.
    device
        The GPU; ``None`` on the CPU, whose cores are divided.
    progress
        Called with what is being done and the finished fraction of the window.

    Returns
    -------
    Load
        With ``failed`` set if one of them could not run: out of memory, most likely.

    Raises
    ------
    StageError
        Not all of them began in time; the pool is closed.
    """
    run = folder / f"run-{count}-{time.monotonic_ns()}"
    run.mkdir()
    threads = divide_cores(count)
    own = dict(device.properties) if device else {"Threads": str(threads)} if choice.name == "CPU" else {}
    choice = replace(choice, properties={**choice.properties, **own})
    before = _gpu_memory(device)
    with ThreadPoolExecutor(count) as threads_of_calls:
        calls = [threads_of_calls.submit(pool.call, step_until_told, folder, run, n, choice) for n in range(count)]
        try:
            _wait_for_all(run, calls, progress)
            begun = time.monotonic()
            while (gone := time.monotonic() - begun) < seconds and not any(call.done() for call in calls):
                progress("running", gone / seconds)
                time.sleep(0.1)
            after = _gpu_memory(device)
        except BaseException:
            pool.close()  # or the calls would be waited for
            raise
        finally:
            (run / "stop").touch()
    try:
        ran = [call.result() for call in calls]
        each, window = common_rates(ran)
    except (WorkerDied, Esr1mdError, openmm.OpenMMException, RuntimeError, MemoryError) as error:
        return Load(count, threads=threads, failed=str(error).splitlines()[0])
    finally:
        shutil.rmtree(run, ignore_errors=True)
    return Load(
        count,
        tuple(round(rate, 4) for rate in each),
        round(window, 2),
        threads,
        round(max(one["memory_mb"] for one in ran)),
        round((after - before) / count) if after is not None and before is not None else None,
    )


def _wait_for_all(run: Path, calls: Sequence[Future], progress: Callable[[str, float], None]) -> None:
    limit = time.monotonic() + START_LIMIT_S
    while (ready := len(list(run.glob("ready-*")))) < len(calls):
        if wait(calls, timeout=0.1, return_when=FIRST_EXCEPTION).done:
            return  # what has failed is found by its result
        if time.monotonic() > limit:
            raise StageError("dynamics", f"{ready} of {len(calls)} simulations began in {START_LIMIT_S:g} s")
        progress(f"starting ({ready} of {len(calls)} ready)", 0.0)


def common_rates(ran: Iterable[dict[str, Any]]) -> tuple[list[float], float]:
    """ns/day of each simulation in the window in which all ran, and its length (s).

    A simulation's steps at the edges of the window are interpolated between its looks at the clock.
    """
    ran = list(ran)
    start, end = max(one["times"][0] for one in ran), min(one["times"][-1] for one in ran)
    window = end - start
    if window <= 0:
        raise StageError("dynamics", "the measured simulations never ran at the same time", where="measure longer")
    rates = []
    for one in ran:
        first, last = np.interp([start, end], one["times"], one["steps"])
        rates.append(float((last - first) * one["fs"] * 1e-6 / window * 86400))
    return rates, window


def best_count(loads: Iterable[Load], *, gpu: bool) -> int:
    """How many at once are best: ``RULES[gpu]``, of those that worked."""
    worked = sorted((load for load in loads if not load.failed), key=lambda load: load.count)
    most = max(load.total for load in worked)
    near = [
        load.count for load in worked if load.total >= (1 - (CLOSE_TO_BEST_GPU if gpu else CLOSE_TO_BEST_CPU)) * most
    ]
    return near[0] if gpu else near[-1]


def _gpu_memory(device: Device | None) -> float | None:
    """Memory in use on an NVIDIA GPU (MB); its processes are not told apart, so that it works in containers too."""
    program = shutil.which("nvidia-smi")
    if program is None or device is None or not device.identity.startswith("GPU-"):
        return None
    command = [program, f"--id={device.identity}", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
        return float(done.stdout.split()[0])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None


# -- remembering -----------------------------------------------------------------------------------------------


def speed_digest(protocol: Protocol) -> str:
    """Digest of all of a protocol that decides how fast its dynamics is: not its name, stages or scoring."""
    return digest_of(protocol.model_dump(mode="json", exclude=set(_NOT_SPEED)))


def device_name(devices: Sequence[Device]) -> str:
    """What measurements are kept under: the GPU's name, or the processor's with its usable cores."""
    if devices:
        return devices[0].name
    model = ""
    with contextlib.suppress(OSError):
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
        model = found[1].strip() if found else ""
    return f"{model or 'CPU'} ({usable_cores()} cores)"


def measurements_file() -> Path:
    """Where measurements are kept: ``bench.json`` in the user's cache (``ESR1MD_CACHE``)."""
    from esr1md.receptor.fetch import cache_folder

    return cache_folder().parent / "bench.json"


def measurements() -> list[Measurement]:
    """All that are kept, oldest first; none if the file cannot be read."""
    try:
        rows = json.loads(measurements_file().read_text())
        return [_from_json(row) for row in rows]
    except (OSError, ValueError, TypeError, KeyError):
        return []


def remember(found: Measurement) -> None:
    """Keep a measurement instead of an earlier one of the same system, device and software."""
    path = measurements_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path.with_suffix(".lock"), "ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        kept = [each for each in measurements() if _key(each) != _key(found)]
        beside = path.with_suffix(".new")
        beside.write_text(json.dumps([asdict(each) for each in [*kept, found]], indent=1) + "\n")
        os.replace(beside, path)


def recall(devices: Sequence[Device], platform: str, protocol: Protocol, *, mps: bool) -> Measurement | None:
    """The latest measurement of this protocol's dynamics on such a device with this OpenMM, of whatever system."""
    wanted = (device_name(devices), platform, openmm.__version__, speed_digest(protocol), mps)
    for found in reversed(measurements()):
        if (found.device, found.platform, found.openmm, found.protocol, found.mps) == wanted:
            return found
    return None


def new_measurement(
    loads: Sequence[Load],
    devices: Sequence[Device],
    platform: str,
    protocol: Protocol,
    atoms: tuple[int, int],
    *,
    mps: bool,
) -> Measurement:
    """What was found, with all it depends on; at least one of ``loads`` must have worked."""
    return Measurement(
        device=device_name(devices),
        platform=platform,
        openmm=openmm.__version__,
        protocol=speed_digest(protocol),
        protocol_name=protocol.name,
        atoms=atoms[0],
        mobile=atoms[1],
        mps=mps,
        cores=usable_cores(),
        best=best_count(loads, gpu=bool(devices)),
        loads=tuple(loads),
        measured=date.today().isoformat(),
    )


def _key(found: Measurement) -> tuple:
    return found.device, found.platform, found.openmm, found.protocol, found.atoms, found.mps


def _from_json(row: dict[str, Any]) -> Measurement:
    loads = tuple(Load(**{**load, "each": tuple(load["each"])}) for load in row["loads"])
    return Measurement(**{**row, "loads": loads})
