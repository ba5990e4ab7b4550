"""What a screen will cost in time, disk, memory and money, before it runs, and how much of that is known.

The time of a replica is the median of finished ones where the store has some; else it follows from the rate that
``esr1md bench`` measured for the protocol, else from an assumed one.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any, Literal

from esr1md.dynamics.platforms import PlatformChoice
from esr1md.dynamics.protocol import Protocol
from esr1md.dynamics.slots import GPU_PLATFORMS, Packing
from esr1md.dynamics.throughput import Measurement, measurements, recall, speed_digest
from esr1md.screen.jobs import Jobs
from esr1md.screen.progress import whole_json
from esr1md.specs import WILD_TYPE, Cell
from esr1md.store.artifacts import Store
from esr1md.units import Price

#: Milliseconds per time step of the whole domain in implicit solvent, for an estimate before anything has run:
#: measured for native OBC2 on one CPU core; for GPUs from published DHFR rates. A pocket region costs a tenth.
_STEP_MS = {"CUDA": 0.4, "HIP": 0.6, "OpenCL": 0.8, "CPU": 300.0, "Reference": 60_000.0}
_REGION_SHARE = 0.1
_EXPLICIT_FACTOR = {"CUDA": 1.5, "HIP": 1.5, "OpenCL": 1.5, "CPU": 0.8, "Reference": 10.0}
#: Times the steps of one simulation that several do together which share a GPU, before it was measured.
_SHARING_GAIN = 2.0

#: A minimiser iteration in time steps, with and without implicit solvent: it evaluates several times.
_STEPS_PER_ITERATION = {True: 4.0, False: 0.5}
#: Seconds per replica of building its system and scoring its frames; of each shared preparation (one core).
_OVERHEAD_S = 5.0
_RECEPTOR_S, _PARAMETERS_S, _POSE_S = 3.0, {"nagl": 2.0, "am1bcc": 240.0}, 50.0
#: Finished replicas that are looked at for the time of one.
_LOOKED_AT = 200

#: Atoms of receptor and ligand, and of what the quick protocol's region simulates of them.
_ATOMS, _REGION_ATOMS = 4050, 1570
#: Diameter (nm) and volume (nm^3) of the domain, waters per nm^3, and sites of a water model.
_DIAMETER, _VOLUME, _WATERS, _SITES = 5.7, 45.0, 33.4, {"tip3p": 3, "tip3p-fb": 3, "opc": 4}
#: Bytes, as measured (tests/benchmarks/engine.py cost): of an XTC trajectory for each atom and frame, of the two PDB
#: files for each atom, of the System and of the last state for each simulated atom, of the checkpoints for each
#: simulated atom, of an observation for each frame, and of the rest of a replica.
_XTC, _PDB, _SYSTEM, _STATE, _CHECKPOINTS, _OBSERVED, _REST = 3.85, 163.0, 96.0, 50.0, 200.0, 200.0, 45_000
#: Bytes of memory of a process with its libraries, and for each simulated atom.
_PROCESS, _PER_ATOM = 585e6, 15_500.0


@dataclass(frozen=True)
class ReplicaCost:
    """What one replica takes: bytes on the disk when done and at most while it runs, and of memory."""

    bytes: int
    peak_bytes: int
    memory: int


@dataclass(frozen=True)
class Basis:
    """Where the time of a replica comes from: finished ones in the ``store``, ``esr1md bench``, or a ``guess``."""

    kind: Literal["store", "bench", "guess"]
    words: str

    @property
    def digits(self) -> int:
        """Significant digits that an estimate on this basis deserves."""
        return 1 if self.kind == "guess" else 2


@dataclass(frozen=True)
class Estimate:
    """What is left of a plan will cost.

    Attributes
    ----------
    left
        Replicas that have neither a result nor a failure.
    seconds, replica_seconds
        Wall time of all that are left, and of one.
    bytes, memory
        To be written to the disk in all; of memory of all processes at once.
    replica
        Disk and memory of one replica.
    basis, assumed
        Where the time comes from, and what is taken for granted besides.
    hours, hours_of
        How long a ``GPU`` or a ``core`` is held, all of them together.
    shares
        Part of the time that each kind of work takes; they add up to 1.
    price, money
        Of an hour, and of all ``hours`` in its currency; no money without a price, or with one for another thing.
    """

    left: int
    seconds: float
    replica_seconds: float
    bytes: int
    memory: int
    replica: ReplicaCost
    basis: Basis
    assumed: str
    hours: float
    hours_of: Literal["GPU", "core"]
    shares: dict[str, float]
    price: Price | None = None
    money: float | None = None

    @property
    def measured(self) -> bool:
        """Whether the time was measured on this store, not estimated."""
        return self.basis.kind == "store"

    def to_json(self) -> dict[str, Any]:
        """For ``plan.json``; hours and money with the digits that they deserve."""
        document = asdict(self) | {"measured": self.measured, "hours": significant(self.hours, self.basis.digits)}
        if self.price is not None:
            money = None if self.money is None else significant(self.money, self.basis.digits)
            document |= {"price": str(self.price), "money": money, "currency": self.price.currency}
        return document


def significant(value: float, digits: int) -> float:
    """Rounded to a number of significant digits."""
    return float(f"{value:.{digits - 1}e}")


def estimate(
    jobs: Jobs,
    protocol: Protocol,
    platform: PlatformChoice,
    packing: Packing,
    store: Store,
    states: Mapping[str, str],
    *,
    per_device: float = 1,
    price: Price | None = None,
) -> Estimate:
    """What the jobs that ``store`` does not hold yet will cost.

    Parameters
    ----------
    states
        ``done`` or ``failed`` by digest of a replica (:meth:`esr1md.store.artifacts.Store.states`).
    per_device
        Simulations that share a GPU, where one is used.
    price
        Of a GPU hour or a core hour.
    """
    left, cells, done = _left(jobs, states)
    gpu = platform.name in GPU_PLATFORMS
    parts, basis = _parts(protocol, platform, packing, per_device if gpu else packing.slots)
    modelled = each = sum(parts.values())
    if (median := _median_seconds(store, done, platform)) is not None:
        each, count = median
        basis = Basis("store", f"median of {count} replicas of this screen on {platform.name}")
    prepare = _preparation_seconds(cells, jobs.matrix.charges)
    # what was timed as a whole is divided as what is modelled
    work = {part: left * each * seconds / modelled for part, seconds in parts.items()} | {"preparation": prepare}
    total = sum(work.values())
    hours = total / 3600 / per_device if gpu else total / 3600 * packing.threads
    paid = price is not None and price.per == ("GPU hour" if gpu else "core hour")
    cost, at_once = replica_cost(protocol), min(packing.slots, left)
    return Estimate(
        left=left,
        seconds=round(math.ceil(left / packing.slots) * each + prepare / packing.slots, 1),
        replica_seconds=round(each, 1),
        bytes=left * cost.bytes + at_once * (cost.peak_bytes - cost.bytes),
        memory=at_once * cost.memory,
        replica=cost,
        basis=basis,
        assumed=_assumptions(basis, jobs.matrix.charges),
        hours=hours,
        hours_of="GPU" if gpu else "core",
        shares={part: round(seconds / total, 4) if total else 0.0 for part, seconds in work.items()},
        price=price,
        money=hours * price.amount if paid else None,
    )


def _left(jobs: Jobs, states: Mapping[str, str]) -> tuple[int, tuple[Cell, ...], list[str]]:
    """How many have not ended, the cells that have any of them, and the digests of those that are done."""
    if not states:
        return len(jobs), jobs.cells, []
    done, left, cells = [], 0, {}
    for number, digest in zip(jobs.numbers, jobs.digests, strict=True):
        state = states.get(digest)
        if state == "done":
            done.append(digest)
        elif state is None:
            left += 1
            cells[jobs.matrix.place(number)[0]] = None
    return left, tuple(jobs.matrix.cells[number] for number in cells), done


def _assumptions(basis: Basis, charges: str) -> str:
    each = "" if basis.kind == "store" else f"{_OVERHEAD_S:g} s to build and score a replica, "
    return f"{each}{_PARAMETERS_S[charges]:g} s for a ligand's parameters, {_POSE_S:g} s for a pose"


def _median_seconds(store: Store, done: list[str], platform: PlatformChoice) -> tuple[float, int] | None:
    """Median wall time of finished replicas on a platform, as far as they are in the folder, and of how many."""
    paths = (store.folder("replicas", digest) / "record.json" for digest in done)
    records = filter(None, map(whole_json, paths))
    seconds = list(islice((each["seconds"] for each in records if each["platform"] == platform.name), _LOOKED_AT))
    return (statistics.median(seconds), len(seconds)) if seconds else None


def _preparation_seconds(cells: tuple[Cell, ...], charges: str) -> float:
    """Of the receptors, parameters and poses that cells share; poses are made on the wild type."""
    bound = [cell for cell in cells if cell.ligand is not None]
    receptors = {(cell.variant.name, cell.state) for cell in cells} | {(WILD_TYPE.name, cell.state) for cell in bound}
    ligands = {cell.ligand.inchikey for cell in bound}
    poses = {(cell.ligand.inchikey, cell.state) for cell in bound}
    return _RECEPTOR_S * len(receptors) + _PARAMETERS_S[charges] * len(ligands) + _POSE_S * len(poses)


def replica_cost(protocol: Protocol) -> ReplicaCost:
    """Disk and memory of one replica of a complex of usual size, from its frames and atoms."""
    frames = round(protocol.production.duration_ps / protocol.production.frame_ps)
    atoms = simulated_atoms(protocol)
    fixed = _PDB * _ATOMS + (_SYSTEM + _STATE) * atoms + _REST
    growing = frames * (_XTC * _ATOMS + _OBSERVED)
    running = fixed + growing + _CHECKPOINTS * atoms - _PDB * _ATOMS / 2 - _STATE * atoms
    return ReplicaCost(
        bytes=round(fixed + growing),
        peak_bytes=round(max(running, fixed + growing)),
        memory=round(_PROCESS + _PER_ATOM * atoms),
    )


def simulated_atoms(protocol: Protocol) -> int:
    """About how many atoms a replica simulates: a region, the domain, or the domain in its box of water."""
    if protocol.region is not None:
        return _REGION_ATOMS
    if not protocol.solvent.explicit:
        return _ATOMS
    edge = _DIAMETER + 2 * protocol.solvent.padding_angstrom / 10
    waters = (edge**3 * math.sqrt(0.5) - _VOLUME) * _WATERS
    return _ATOMS + round(waters * _SITES[protocol.solvent.model])


def _parts(
    protocol: Protocol, platform: PlatformChoice, packing: Packing, at_once: float
) -> tuple[dict[str, float], Basis]:
    """Seconds of each part of a replica while ``at_once`` share the GPU or the cores, and where they come from."""
    found = _benched(packing, platform, protocol)
    if found is not None:
        load = next((load for load in found.loads if load.count == at_once), None) or next(
            load for load in found.loads if load.count == found.best
        )
        rate = load.total / max(at_once, load.count)
        step = protocol.time_step_fs * 1e-6 / rate * 86_400
        words = f"{significant(rate, 2):g} ns/day each, {at_once:g} at once on {found.device}"
        words += f" ('esr1md bench' of {found.measured})"
        basis = Basis("bench", words)
    else:
        step = _assumed_step(protocol, platform, packing.threads, at_once)
        rate = protocol.time_step_fs * 1e-6 / step * 86_400
        words = f"{significant(rate, 2):g} ns/day each on {platform.name}, not measured here"
        basis = Basis("guess", f"{words}: 'esr1md bench --protocol {protocol.name}' does that")
    stages = [stage for stage in protocol.stages if stage.kind == "minimise"]
    production = protocol.production.duration_ps
    seconds = {
        "production": protocol.steps(production) * step,
        "equilibration": (protocol.dynamics_ps - production) * 1000 / protocol.time_step_fs * step,
        "minimisation": sum(_STEPS_PER_ITERATION[each.solvent] * each.iterations for each in stages) * step,
        "building and scoring": _OVERHEAD_S,
    }
    return seconds, basis


def _benched(packing: Packing, platform: PlatformChoice, protocol: Protocol) -> Measurement | None:
    """What ``esr1md bench`` found for the machine; of GPUs that are elsewhere, what it found on any."""
    if platform.name in GPU_PLATFORMS and not packing.devices:
        wanted = (platform.name, speed_digest(protocol))
        return next((each for each in reversed(measurements()) if (each.platform, each.protocol) == wanted), None)
    for mps in dict.fromkeys((packing.mps == "used", False)):
        if (found := recall(packing.devices, platform.name, protocol, mps=mps)) is not None:
            return found
    return None


def _assumed_step(protocol: Protocol, platform: PlatformChoice, threads: int, at_once: float) -> float:
    """Seconds of a time step where nothing was measured."""
    step = _STEP_MS[platform.name] / 1000
    if platform.name == "CPU":
        step /= threads**0.7
    if platform.name in GPU_PLATFORMS:
        step *= at_once / min(at_once, _SHARING_GAIN)
    if protocol.solvent.explicit:
        step *= _EXPLICIT_FACTOR[platform.name]
    elif protocol.region is not None:
        step *= _REGION_SHARE
    return step
