"""A screen from configuration to ranking: ``plan_screen``, the steps of the plan, ``finish_screen``.

:func:`run_screen` is the whole of it in plain Python; ``flows/screen.py`` drives the same steps from Prefect.

    config = load_screen("quickstart")
    ranking = run_screen(config, "results")
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from itertools import takewhile
from pathlib import Path
from uuid import uuid4

from esr1md.config import ScreenConfig, load_site
from esr1md.errors import InputError
from esr1md.repeating import repeating
from esr1md.scoring.scores import Ranking
from esr1md.screen import transfers
from esr1md.screen.finish import finish_screen, mark_run, rank_stored, read_json, screen_folder
from esr1md.screen.plan import Plan, plan_screen
from esr1md.screen.progress import alive
from esr1md.screen.replica import run_replica
from esr1md.screen.status import screen_status
from esr1md.screen.steps import PREPARATIONS, Step, await_others, perform, preparations_of, run_steps, steps
from esr1md.sites import Pool, open_site_pool
from esr1md.sites.node import Assignment
from esr1md.stopping import take_ctrl_c_back
from esr1md.store.artifacts import KINDS, Store
from esr1md.store.plans import write_plan
from esr1md.store.records import open_index, replica_row, set_members, upsert

__all__ = [
    "PREPARATIONS",
    "Plan",
    "Step",
    "await_others",
    "early_preparations",
    "finish_screen",
    "open_pool",
    "perform",
    "plan_screen",
    "rank_stored",
    "run_replica",
    "run_screen",
    "running",
    "run_steps",
    "screen_status",
    "start_screen",
    "steps",
]

#: Seconds between the signs of life of a run.
HEARTBEAT_S = 30.0


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
    states = {kind: store.states(kind) for kind in KINDS}
    for kind, digest in _digests(plan):
        if states[kind].get(digest) == "failed" and (failure := store.failure(kind, digest)) is not None:
            if retry or failure["unexpected"]:
                store.forget(kind, digest)
    planned = set(plan.jobs.digests)
    for path in store.root.glob("progress/*.json"):
        left_behind = read_json(path) if path.stem in planned else None
        if left_behind is not None and not alive(left_behind):  # another run may be at it
            path.unlink(missing_ok=True)
    for path in (screen_folder(store, plan.name) / "runs").glob("*.json"):
        if (run := read_json(path)) is not None and (run.get("finished") or not alive(run)):
            path.unlink(missing_ok=True)
    write_plan(screen_folder(store, plan.name), plan.record())
    mark_run(store, plan.name, started=time.time(), finished=None, site=plan.config.site)
    store.send_folder("screens", plan.name)
    index = open_index(store)
    set_members(index, plan.name, plan.jobs.digests)
    known = (replica_row(store.folder("replicas", digest)) for digest in states["replicas"] if digest in planned)
    upsert(index, (row for row in known if row is not None))
    take_ctrl_c_back()  # last: what the plan says of its ligands is found by substructure search


@contextmanager
def running(plan: Plan) -> Iterator[None]:
    """Say every half minute, for whoever looks from another machine, that this run of a screen goes on."""
    store = Store(plan.store_root)

    def say() -> None:
        with suppress(InputError):  # a full disk is met by the work itself
            mark_run(store, plan.name)

    with repeating(say, HEARTBEAT_S, "heartbeat"):
        yield


_early_pool: ContextVar[Pool | None] = ContextVar("early_pool", default=None)


def open_pool(plan: Plan) -> Pool:
    """The processes the plan's steps run in, here or on the machines of its site; they print to ``STORE/logs/``.

    Inside :func:`early_preparations` these are the processes it has started.
    """
    if (started := _early_pool.get()) is not None:
        return started
    site = load_site(plan.config.site)
    store = Store(plan.store_root)
    remote = store.shared.remote.url if store.shared is not None else None
    name = f"{plan.name}-{uuid4().hex}"
    assignment = Assignment(site, plan.protocol, plan.platform.name, plan.store_root, name, remote)
    return open_site_pool(assignment, plan.packing)


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
            shared = takewhile(lambda step: step.kind in PREPARATIONS, steps(plan))
            run_steps(shared, do, plan.slots, handed_over.set)

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
    busy: list[Step] = []
    with running(plan), open_pool(plan) as pool:

        def again(step: Step) -> dict | None:
            return perform(step, pool, store)

        def do(step: Step) -> None:
            row = again(step)
            if row is not None and row["status"] == "busy":
                busy.append(step)

        run_steps(steps(plan), do, pool.slots, pool.close)
        for _ in await_others(busy, again, store):
            pass
    return finish_screen(plan, store, report=report)


def _digests(plan: Plan) -> set[tuple[str, str]]:
    found = {("replicas", digest) for digest in plan.jobs.digests}
    for job in {job.spec.cell: job for job in plan.jobs}.values():  # the rest is the same for all replicas of a cell
        found |= {(each.kind, each.digest) for each in preparations_of(job)}
    return found | {(transfers.KIND, repeat.digest) for repeat in plan.network.jobs}
