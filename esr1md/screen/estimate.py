"""What a screen will cost in time and disk, before it runs: measured where the store knows, else from its steps."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass

from esr1md.dynamics.platforms import PlatformChoice
from esr1md.dynamics.protocol import Protocol
from esr1md.screen.replica import Job
from esr1md.store.artifacts import Store

#: Milliseconds per time step of the whole domain in implicit solvent, for an estimate before anything has run:
#: measured for native OBC2 on one CPU core; for GPUs from published DHFR rates. A pocket region costs a tenth.
_STEP_MS = {"CUDA": 0.4, "HIP": 0.6, "OpenCL": 0.8, "CPU": 300.0, "Reference": 60_000.0}
_REGION_SHARE = 0.1
_EXPLICIT_FACTOR = {"CUDA": 1.5, "HIP": 1.5, "OpenCL": 1.5, "CPU": 0.8, "Reference": 10.0}

#: A minimiser iteration in time steps, with and without implicit solvent: it evaluates several times.
_STEPS_PER_ITERATION = {True: 4.0, False: 0.5}
#: Seconds per replica of building its system and scoring its frames; of each shared preparation (one core).
_OVERHEAD_S = 5.0
_RECEPTOR_S, _PARAMETERS_S, _POSE_S = 3.0, 2.0, 15.0

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
class Estimate:
    """What a plan will cost.

    Attributes
    ----------
    seconds, replica_seconds
        Wall time of what is left, and of one replica.
    bytes
        To be written to the disk in all.
    replica
        Disk and memory of one replica.
    measured
        Whether the time was measured on this store, not estimated.
    """

    seconds: float
    replica_seconds: float
    bytes: int
    replica: ReplicaCost
    measured: bool


def estimate(
    jobs: Iterable[Job], protocol: Protocol, platform: PlatformChoice, slots: int, threads: int, store: Store
) -> Estimate:
    """Wall time and disk for what ``store`` does not hold yet.

    The time of a replica is the median of finished ones under the same protocol and platform, where there are
    some; else it follows from the number of steps.
    """
    jobs = list(jobs)
    left = [job for job in jobs if store.find("replicas", job.spec.digest) is None]
    finished = [seconds for job in jobs if (seconds := _measured(store, job, platform)) is not None]
    each = statistics.median(finished) if finished else _replica_seconds(protocol, platform, threads)
    receptors = {(job.spec.cell.variant.name, job.spec.cell.state) for job in left}
    ligands = {job.spec.cell.ligand.inchikey for job in left if job.spec.cell.ligand}
    poses = {(job.spec.cell.ligand.inchikey, job.spec.cell.state) for job in left if job.spec.cell.ligand}
    prepare = _RECEPTOR_S * len(receptors) + _PARAMETERS_S * len(ligands) + _POSE_S * len(poses)
    rounds = math.ceil(len(left) / slots)
    cost = replica_cost(protocol)
    return Estimate(
        seconds=round(rounds * each + prepare / slots, 1),
        replica_seconds=round(each, 1),
        bytes=len(left) * cost.bytes + min(slots, len(left)) * (cost.peak_bytes - cost.bytes),
        replica=cost,
        measured=bool(finished),
    )


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


def _measured(store: Store, job: Job, platform: PlatformChoice) -> float | None:
    folder = store.find("replicas", job.spec.digest)
    if folder is None:
        return None
    record = json.loads((folder / "record.json").read_text())
    return record["seconds"] if record["platform"] == platform.name else None


def _replica_seconds(protocol: Protocol, platform: PlatformChoice, threads: int) -> float:
    per_step = _STEP_MS[platform.name] / 1000
    if platform.name == "CPU":
        per_step /= threads**0.7
    if protocol.solvent.explicit:
        per_step *= _EXPLICIT_FACTOR[platform.name]
    elif protocol.region is not None:
        per_step *= _REGION_SHARE
    minimise = [stage for stage in protocol.stages if stage.kind == "minimise"]
    steps = protocol.dynamics_ps * 1000 / protocol.time_step_fs
    return _OVERHEAD_S + per_step * (steps + sum(_STEPS_PER_ITERATION[m.solvent] * m.iterations for m in minimise))
