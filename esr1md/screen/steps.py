"""The steps of a screen: shared preparations, replicas and transfers, each done once, in a process that may die."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from esr1md.config import load_site
from esr1md.errors import StageError, StoppedEarly
from esr1md.screen import transfers
from esr1md.screen.finish import read_json
from esr1md.screen.plan import Plan
from esr1md.screen.progress import own_process, progress_file, write_progress
from esr1md.screen.replica import (
    Job,
    parameters_identity,
    pose_identity,
    pose_receptor_of,
    prepare_parameters,
    prepare_pose,
    prepare_receptor,
    receptor_of,
    run_replica,
)
from esr1md.sites import Pool
from esr1md.specs import Cell, digest_of
from esr1md.stopping import seconds_left
from esr1md.store.artifacts import KINDS, Store
from esr1md.store.records import open_index, replica_row, upsert
from esr1md.workers import SignOfLife, WorkerDied

#: How often a step whose process died is tried before it counts as failed.
ATTEMPTS = 2
#: How often a step may be stopped early, each time with a checkpoint, before something is wrong with the wall time.
MOST_STOPS = 200
#: Seconds between looks at a replica that another run is computing.
BUSY_S = 5.0

_STEP_NAMES = {"receptors": "receptor", "parameters": "parameters of", "poses": "pose of"}
#: What replicas share, by kind: each is made once.
PREPARATIONS = {"receptors": prepare_receptor, "parameters": prepare_parameters, "poses": prepare_pose}


@dataclass(frozen=True)
class Step:
    """One call to make in a worker: a shared preparation or a replica.

    ``needs`` are digests of steps to wait for: not for their success, only so that no worker waits for
    another's lock. ``seconds`` is an estimate; ``sign`` is where the call shows that it gets on.
    """

    kind: str
    digest: str
    name: str
    function: Callable
    args: tuple
    needs: tuple[str, ...] = ()
    seconds: float = 0.0
    sign: SignOfLife | None = None


def steps(plan: Plan) -> Iterator[Step]:
    """Every step that is left, each after those it needs: receptors, parameters, poses, replicas, transfers.

    Replicas are made one by one when they are asked for, so that a million of them need no memory at once.
    """
    store, silent_s = Store(plan.store_root), load_site(plan.config.site).silent_minutes * 60
    answered = {kind: store.states(kind) for kind in KINDS}

    def left(kind: str, digest: str) -> bool:
        return digest not in answered[kind]

    # all replicas of a cell share their preparations
    cells: dict[Cell, Job] = {}
    for job in plan.jobs:
        if job.spec.cell not in cells and left("replicas", job.spec.digest):
            cells[job.spec.cell] = job
    repeats = [repeat for repeat in plan.network.jobs if left(transfers.KIND, repeat.digest)]
    for job in (job for repeat in repeats for job in (repeat.first, repeat.second)):
        cells.setdefault(job.spec.cell, job)
    shared: dict[str, Preparation] = {}
    needs: dict[Cell, tuple[str, ...]] = {}
    for cell, job in cells.items():
        made = preparations_of(job)
        shared |= {each.digest: each for each in made if left(each.kind, each.digest)}
        needs[cell] = tuple(dict.fromkeys((made[0].digest, made[-1].digest)))  # the rest is needed by these
    for kind in PREPARATIONS:
        for each in shared.values():
            if each.kind == kind:
                args = (kind, each.digest, each.name, plan.store_root, each.subject)
                yield Step(kind, each.digest, each.name, _prepare, args, each.needs)
    for job in plan.jobs:
        if left("replicas", job.spec.digest):
            yield Step(
                "replicas",
                job.spec.digest,
                job.spec.name,
                run_replica,
                (job, plan.store_root, plan.platform, plan.packing),
                needs[job.spec.cell],
                plan.estimate.replica_seconds,
                SignOfLife(progress_file(store, job.spec.digest), silent_s),
            )
    for repeat in repeats:
        args = (repeat, plan.store_root, plan.platform, plan.packing)
        both = dict.fromkeys((*needs[repeat.first.spec.cell], *needs[repeat.second.spec.cell]))
        sign = SignOfLife(progress_file(store, repeat.digest), silent_s)
        yield Step(transfers.KIND, repeat.digest, repeat.name, transfers.run_transfer, args, tuple(both), sign=sign)


@dataclass(frozen=True)
class Preparation:
    """Something that replicas share: ``subject`` is what it is made from, ``needs`` are digests of what comes first."""

    kind: str
    digest: str
    name: str
    subject: Any
    needs: tuple[str, ...] = ()


def preparations_of(job: Job) -> list[Preparation]:
    """What a replica is prepared by: its receptor first and, of a ligand, its pose last, with what the pose needs."""
    cell, receptor = job.spec.cell, receptor_of(job)
    own = Preparation("receptors", receptor.digest, f"{receptor.variant}/{receptor.state}", receptor)
    if cell.ligand is None:
        return [own]
    wild, parameters = pose_receptor_of(job), digest_of(parameters_identity(job))
    pose, name = digest_of(pose_identity(job)), f"{cell.ligand_name}/{cell.state}"
    return [
        own,
        Preparation("receptors", wild.digest, f"{wild.variant}/{wild.state}", wild),
        Preparation("parameters", parameters, cell.ligand_name, job),
        Preparation("poses", pose, name, job, (parameters, wild.digest)),
    ]


def perform(step: Step, pool: Pool, store: Store) -> dict[str, Any] | None:
    """Do one step in a worker; returns a replica's row, ``None`` for a preparation.

    When the worker dies the step is tried once more, then left as a failure in the replica's progress file: the next
    run computes it anew. A step that was stopped early goes on elsewhere. A replica that another run is computing has
    the status ``busy``: :func:`await_others`.

    Raises
    ------
    InputError
        The store is full or not writable, or the user's structure cannot be used: the screen cannot go on.
    StoppedEarly
        The time of this process itself is over.
    """
    deaths = stops = 0
    while True:
        try:
            row = pool.call(step.function, *step.args, sign=step.sign)
            break
        except StoppedEarly as stopped:
            stops += 1
            if seconds_left() <= 0:
                raise
            if stops == MOST_STOPS:
                return _record_death(step, store, f"stopped early {stops} times, the last time: {stopped}")
        except WorkerDied as death:
            deaths += 1
            if deaths == ATTEMPTS:
                return _record_death(step, store, str(death))
    if row is not None and row["status"] != "busy":
        upsert(open_index(store), [row])
    return row


def await_others(busy: Iterable[Step], do: Callable[[Step], dict[str, Any] | None], store: Store) -> Iterator[dict]:
    """Rows of replicas that other runs were computing: as those leave them, or computed here if they did not.

    Parameters
    ----------
    busy
        Steps that ended ``busy``.
    do
        :func:`perform` with a pool and a store.
    """
    waiting = list(busy)
    while waiting:
        still = []
        for step in waiting:
            row = replica_row(store.folder(step.kind, step.digest)) or do(step)
            if row is not None and row["status"] == "busy":
                still.append(step)
            elif row is not None:
                yield row
        waiting = still
        if waiting:
            time.sleep(BUSY_S)


def run_steps(ordered: Iterable[Step], do: Callable[[Step], Any], slots: int, abort: Callable[[], None]) -> list[Any]:
    """Do steps in order, as many at once as ``do`` lets, each after those it needs.

    Threads are taken in order and a step only needs earlier ones, so a waiting step never blocks the one
    that it waits for. The first exception aborts the rest.
    """
    futures: dict[str, Future] = {}
    stop = threading.Event()

    def when_ready(step: Step) -> Any:
        for digest in step.needs:
            if digest in futures:
                futures[digest].exception()  # waits; what failed is found again, with its reason, by the step
        if stop.is_set():
            return None
        try:
            return do(step)
        except BaseException:
            if stop.is_set():  # its worker was ended by the abort of another step's exception
                return None
            stop.set()
            abort()
            raise

    with ThreadPoolExecutor(2 * slots + 2, thread_name_prefix="step") as threads:
        try:
            for step in ordered:
                futures[step.digest] = threads.submit(when_ready, step)
            return [future.result() for future in futures.values()]
        except BaseException:
            stop.set()
            abort()
            raise


def _prepare(kind: str, digest: str, name: str, store_root: Path, subject: Any) -> None:
    """In a worker: leave a shared preparation, or its failure, in the store."""
    path = store_root / "progress" / f"{digest}.step"
    write_progress(path, {"name": f"{_STEP_NAMES[kind]} {name}", **own_process(), "updated": time.time()})
    try:
        PREPARATIONS[kind](Store(store_root), subject)
    except StageError:
        pass  # recorded; the replicas that need it will show it
    finally:
        path.unlink(missing_ok=True)


def _record_death(step: Step, store: Store, cause: str) -> dict[str, Any] | None:
    if step.kind != "replicas":
        return None  # its replicas try once more, and show it if it happens again
    path = progress_file(store, step.digest)
    seen = read_json(path) or {"digest": step.digest, "name": step.name, "stage": "dynamics"}
    failure = {"stage": seen["stage"], "cause": cause, "where": str(store.root / "logs"), "kind": "error"}
    write_progress(path, {**seen, "died": failure})
    return {"digest": step.digest, "status": "died", **failure}
