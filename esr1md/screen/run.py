"""A screen from configuration to ranking: ``plan_screen``, the steps of the plan, ``finish_screen``.

:func:`run_screen` is the whole of it in plain Python; ``flows/screen.py`` drives the same steps from Prefect.

    config = load_screen("quickstart")
    ranking = run_screen(config, "results")
"""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from esr1md.config import ScreenConfig
from esr1md.dynamics.slots import worker_environment
from esr1md.errors import StageError
from esr1md.scoring.scores import Ranking
from esr1md.screen import transfers
from esr1md.screen.finish import finish_screen, mark_run, rank_stored, read_json, replace_file, screen_folder
from esr1md.screen.plan import Plan, plan_screen
from esr1md.screen.replica import (
    parameters_identity,
    pose_identity,
    pose_receptor_of,
    prepare_parameters,
    prepare_pose,
    prepare_receptor,
    progress_file,
    receptor_of,
    run_replica,
    write_progress,
)
from esr1md.screen.status import screen_status
from esr1md.specs import digest_of
from esr1md.store.artifacts import KINDS, Store
from esr1md.store.records import open_index, replica_row, set_members, upsert
from esr1md.workers import WorkerDied, WorkerPool

__all__ = [
    "PREPARATIONS",
    "Plan",
    "Step",
    "early_preparations",
    "finish_screen",
    "open_pool",
    "perform",
    "plan_screen",
    "rank_stored",
    "run_replica",
    "run_screen",
    "run_steps",
    "screen_status",
    "start_screen",
    "steps",
]

#: How often a step whose process died is tried before it counts as failed.
ATTEMPTS = 2

_STEP_NAMES = {"receptors": "receptor", "parameters": "parameters of", "poses": "pose of"}
#: What replicas share, by kind: each is made once.
PREPARATIONS = {"receptors": prepare_receptor, "parameters": prepare_parameters, "poses": prepare_pose}


@dataclass(frozen=True)
class Step:
    """One call to make in a worker: a shared preparation or a replica.

    ``needs`` are digests of steps to wait for: not for their success, only so that no worker waits for
    another's lock. ``seconds`` is an estimate.
    """

    kind: str
    digest: str
    name: str
    function: Callable
    args: tuple
    needs: tuple[str, ...] = ()
    seconds: float = 0.0


def steps(plan: Plan) -> list[Step]:
    """Every step that is left, each after those it needs: receptors, parameters, poses, then replicas."""
    store = Store(plan.store_root)
    found: dict[str, dict[str, Step]] = {kind: {} for kind in KINDS}

    def add(kind: str, digest: str, name: str, subject: Any, needs: tuple[str, ...] = ()) -> None:
        if store.find(kind, digest) is None and store.failure(kind, digest) is None:
            args = (kind, digest, name, plan.store_root, subject)
            found[kind].setdefault(digest, Step(kind, digest, name, _prepare, args, needs))

    for job in plan.jobs:
        spec, cell = job.spec, job.spec.cell
        if store.find("replicas", spec.digest) or store.failure("replicas", spec.digest):
            continue
        receptor = receptor_of(job)
        needs = [receptor.digest]
        add("receptors", receptor.digest, f"{receptor.variant}/{receptor.state}", receptor)
        if cell.ligand is not None:
            wild, parameters = pose_receptor_of(job), digest_of(parameters_identity(job))
            pose = digest_of(pose_identity(job))
            add("receptors", wild.digest, f"{wild.variant}/{wild.state}", wild)
            add("parameters", parameters, cell.ligand_name, job)
            add("poses", pose, f"{cell.ligand_name}/{cell.state}", job, needs=(parameters, wild.digest))
            needs.append(pose)
        found["replicas"][spec.digest] = Step(
            "replicas",
            spec.digest,
            spec.name,
            run_replica,
            (job, plan.store_root, plan.platform, plan.packing),
            tuple(needs),
            plan.estimate.replica_seconds,
        )
    for repeat in plan.network.jobs:
        if store.find(transfers.KIND, repeat.digest) or store.failure(transfers.KIND, repeat.digest):
            continue
        needs = []
        for job in (repeat.first, repeat.second):
            receptor, wild = receptor_of(job), pose_receptor_of(job)
            parameters, pose = digest_of(parameters_identity(job)), digest_of(pose_identity(job))
            cell = job.spec.cell
            add("receptors", receptor.digest, f"{receptor.variant}/{receptor.state}", receptor)
            add("receptors", wild.digest, f"{wild.variant}/{wild.state}", wild)
            add("parameters", parameters, cell.ligand_name, job)
            add("poses", pose, f"{cell.ligand_name}/{cell.state}", job, needs=(parameters, wild.digest))
            needs += [receptor.digest, pose]
        args = (repeat, plan.store_root, plan.platform, plan.packing)
        found[transfers.KIND][repeat.digest] = Step(
            transfers.KIND, repeat.digest, repeat.name, transfers.run_transfer, args, tuple(needs)
        )
    return [step for kind in KINDS for step in found[kind].values()]


def start_screen(plan: Plan, *, retry: bool = False) -> None:
    """Make the store ready: room on the disk, debris of dead runs gone, plan and index written.

    Faults (a bug, a process that died) of an earlier run are forgotten, so that this one tries again; recorded
    scientific failures stay, unless ``retry`` asks to compute those anew as well.

    Raises
    ------
    InputError
        The store cannot be written to or has too little room.
    """
    store = Store(plan.store_root)
    store.require_writable(plan.estimate.bytes)
    store.sweep()
    for kind, digest in _digests(plan):
        failure = store.failure(kind, digest)
        if failure is not None and (retry or failure["unexpected"]):
            store.forget(kind, digest)
    for job in plan.jobs:
        progress_file(store, job.spec.digest).unlink(missing_ok=True)
    document = json.dumps(plan.to_json(), indent=1) + "\n"
    replace_file(screen_folder(store, plan.name) / "plan.json", document)
    mark_run(store, plan.name, started=time.time(), finished=None, pid=os.getpid(), host=socket.gethostname())
    engine = open_index(store)
    set_members(engine, plan.name, [job.spec.digest for job in plan.jobs])
    rows = (replica_row(store.folder("replicas", job.spec.digest)) for job in plan.jobs)
    upsert(engine, [row for row in rows if row is not None])
    engine.dispose()
    take_ctrl_c_back()  # last: what the plan says of its ligands is found by substructure search


def take_ctrl_c_back() -> None:
    """Install Python's SIGINT handler again: RDKit 2026.03 leaves its own behind after any substructure search.

    With that one the first Ctrl-C does nothing and the second ends the process without a word.
    """
    if threading.current_thread() is threading.main_thread():
        handler = signal.getsignal(signal.SIGINT)
        if handler is not None:
            signal.signal(signal.SIGINT, handler)


_early_pool: ContextVar[WorkerPool | None] = ContextVar("early_pool", default=None)


def open_pool(plan: Plan) -> WorkerPool:
    """The processes the plan's steps run in; what they print goes to ``STORE/logs/``.

    Inside :func:`early_preparations` these are the processes it has started.
    """
    return _early_pool.get() or WorkerPool(
        plan.slots,
        threads=plan.threads,
        log_folder=plan.store_root / "logs",
        environment=worker_environment(plan.packing, _warn),
    )


def _warn(said: str) -> None:
    warnings.warn(said, stacklevel=2)


@contextmanager
def early_preparations(plan: Plan) -> Iterator[Callable[[], None]]:
    """Begin with the plan's preparations while the body starts a workflow engine, which takes seconds.

    Yields a function that hands over: what is under way is finished, nothing new is begun. An exception of a
    preparation is left for the steps that need it to find again.
    """
    pool, store, handed_over = open_pool(plan), Store(plan.store_root), threading.Event()
    slots = threading.BoundedSemaphore(plan.slots)

    def do(step: Step) -> None:
        with slots:  # or more steps than workers would be waiting in the pool at the handover
            if not handed_over.is_set():
                perform(step, pool, store)

    def prepare() -> None:
        with suppress(Exception):
            run_steps([s for s in steps(plan) if s.kind in PREPARATIONS], do, plan.slots, handed_over.set)

    thread = threading.Thread(target=prepare, name="early preparations", daemon=True)
    thread.start()
    token = _early_pool.set(pool)
    try:
        yield handed_over.set
    finally:
        _early_pool.reset(token)
        handed_over.set()
        pool.close()
        thread.join()


def perform(step: Step, pool: WorkerPool, store: Store) -> dict[str, Any] | None:
    """Do one step in a worker; returns a replica's row, ``None`` for a preparation.

    When the worker dies the step is tried once more, then left as a failure in the replica's progress file:
    the next run computes it anew.

    Raises
    ------
    InputError
        The store is full or not writable, or the user's structure cannot be used: the screen cannot go on.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            row = pool.call(step.function, *step.args)
            break
        except WorkerDied as death:
            if attempt == ATTEMPTS:
                return _record_death(step, store, str(death))
    if row is not None:
        engine = open_index(store)
        upsert(engine, [row])
        engine.dispose()
    return row


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


def run_screen(
    config: ScreenConfig,
    store_root: Path | str,
    *,
    limit: int | None = None,
    platform: str | None = None,
    retry: bool = False,
    report: bool = True,
) -> Ranking:
    """Plan, compute what is missing and rank, in this process and its workers, without Prefect.

    Parameters
    ----------
    config
        From :func:`esr1md.config.load_screen`.
    store_root
        Results; what is there already is not computed again.
    limit, platform
        See :func:`esr1md.screen.plan.plan_screen`.
    retry
        Compute again what failed before.
    report
        Write the HTML report as well.

    Raises
    ------
    InputError
        Something the user must change. Failures of single replicas are in the ranking instead.
    """
    plan = plan_screen(config, store_root, limit=limit, platform=platform)
    start_screen(plan, retry=retry)
    store = Store(plan.store_root)
    with open_pool(plan) as pool:
        run_steps(steps(plan), lambda step: perform(step, pool, store), plan.slots, pool.close)
    return finish_screen(plan, store, report=report)


def _prepare(kind: str, digest: str, name: str, store_root: Path, subject: Any) -> None:
    """In a worker: leave a shared preparation, or its failure, in the store."""
    path = store_root / "progress" / f"{digest}.step"
    said = {"name": f"{_STEP_NAMES[kind]} {name}", "pid": os.getpid(), "host": socket.gethostname()}
    write_progress(path, {**said, "updated": time.time()})
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


def _digests(plan: Plan) -> set[tuple[str, str]]:
    found = set()
    for job in plan.jobs:
        found.add(("replicas", job.spec.digest))
        found.add(("receptors", receptor_of(job).digest))
        if job.spec.cell.ligand is not None:
            found.add(("receptors", pose_receptor_of(job).digest))
            found.add(("parameters", digest_of(parameters_identity(job))))
            found.add(("poses", digest_of(pose_identity(job))))
    found |= {(transfers.KIND, repeat.digest) for repeat in plan.network.jobs}
    return found
