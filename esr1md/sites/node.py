"""What a machine of a cluster does with a call: choose its own platform once, then run it in a process of its own."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil

from esr1md import stopping
from esr1md.config import SiteConfig, SlurmJobs
from esr1md.dynamics.platforms import PlatformChoice
from esr1md.dynamics.protocol import Protocol
from esr1md.dynamics.slots import Packing, worker_environment
from esr1md.errors import StoppedEarly
from esr1md.sites.packing import choose_slots
from esr1md.store.location import open_store
from esr1md.workers import SignOfLife, WorkerPool


@dataclass(frozen=True)
class Assignment:
    """What every machine of a site is told.

    Attributes
    ----------
    site, protocol
        Where and what.
    request
        The OpenMM platform as asked for.
    store_root
        The store, at the same path on every machine that shares its file system.
    name
        Of the run: machines share their processes between the calls of one run.
    remote
        URL of the store if it is an object store; each machine then has a working folder of its own.
    """

    site: SiteConfig
    protocol: Protocol = field(hash=False)
    request: str
    store_root: Path
    name: str
    remote: str | None = None


@dataclass
class _Node:
    """The processes of this machine (or of this process of a cluster) for one run."""

    pool: WorkerPool
    root: Path
    platform: PlatformChoice
    packing: Packing


_nodes: dict[str, _Node] = {}
_guard = threading.Lock()


def work(
    assignment: Assignment,
    function: Callable,
    args: Sequence[Any],
    sign: SignOfLife | None = None,
    wanted: Callable[[], bool] | None = None,
) -> Any:
    """``function(*args)`` in a process of this machine; platform, packing and store in ``args`` become this machine's.

    Raises
    ------
    StoppedEarly
        The time of this machine is over, before or during the call.
    WorkerDied, PoolClosed, Exception
        As :meth:`esr1md.workers.WorkerPool.call`.
    """
    node = _node(assignment)
    if stopping.stop_requested():
        raise StoppedEarly("the time of this machine is over")
    own = {PlatformChoice: node.platform, Packing: node.packing}
    here = [node.root if each == assignment.store_root else own.get(type(each), each) for each in args]
    if sign is not None and sign.path.is_relative_to(assignment.store_root):
        sign = replace(sign, path=node.root / sign.path.relative_to(assignment.store_root))
    return node.pool.call(function, *here, sign=sign, wanted=wanted)


def end_work(assignment: Assignment) -> None:
    """End the calls of a run on this machine."""
    with _guard:
        node = _nodes.pop(assignment.name, None)
    if node is not None:
        node.pool.close()


def limit_by_wall_time(jobs: SlurmJobs) -> None:
    """In a Slurm job: let replicas leave a checkpoint and stop ``margin_minutes`` before the job is ended."""
    by_hand = psutil.Process().create_time() + jobs.wall_time_minutes * 60  # older Slurm says nothing of its end
    left = float(os.environ.get("SLURM_JOB_END_TIME", by_hand)) - time.time() - jobs.margin_minutes * 60
    os.environ.setdefault(stopping.STOP_AT, str(time.monotonic() + left))


def _node(assignment: Assignment) -> _Node:
    with _guard:
        if assignment.name not in _nodes:
            if assignment.site.kind == "slurm":
                limit_by_wall_time(assignment.site.slurm)
            platform, packing = choose_slots(assignment.site, assignment.request, 10**6, assignment.protocol)
            root = open_store(assignment.remote or assignment.store_root).root
            pool = WorkerPool(
                packing.slots,
                threads=packing.threads,
                log_folder=root / "logs",
                environment=worker_environment(packing),
            )
            _nodes[assignment.name] = _Node(pool, root, platform, packing)
        return _nodes[assignment.name]
