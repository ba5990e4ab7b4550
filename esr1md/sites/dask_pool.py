"""Calls on a Dask cluster: given, started on this machine, or made of Slurm jobs (:mod:`esr1md.sites.slurm`)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection
from typing import Any
from uuid import uuid4

import distributed
from distributed.client import FutureCancelledError
from distributed.comm.core import CommClosedError

from esr1md.errors import InputError, StoppedEarly
from esr1md.sites import node
from esr1md.sites.node import Assignment
from esr1md.sites.remote_calls import RemoteCalls
from esr1md.workers import SignOfLife

#: Seconds that a scheduler may take to answer.
ANSWER_S = 30
#: Seconds for which a worker whose time is over keeps a call that it cannot do.
LEAVE_S = 2


class DaskPool(RemoteCalls):
    """Calls on the workers of a Dask cluster, each in a process of its own there.

    Dask gives a call whose worker has died to another one, three times at most. A call that nobody waits for any
    more, since this process has ended, is ended as well.

    Parameters
    ----------
    cluster
        Client of the cluster; closed with this pool, and the cluster with it if it was started for it.
    assignment
        What every machine is told.
    slots
        Calls at once; as many as the workers have threads, if not given.
    """

    lost = (distributed.KilledWorker, FutureCancelledError, CommClosedError, TimeoutError)

    def __init__(self, cluster: distributed.Client, assignment: Assignment, slots: int | None = None) -> None:
        super().__init__()
        self._client, self._assignment = cluster, assignment
        self.slots = slots or max(1, sum(cluster.nthreads().values()))

    def _submit(self, function: Callable, args: tuple, sign: SignOfLife | None) -> distributed.Future:
        key = f"{function.__name__}-{uuid4().hex}"
        return self._client.submit(_work, self._assignment, function, args, sign, key=key, pure=False)

    def _answer(self, handle: distributed.Future) -> Any:
        return handle.result()

    def _end(self, handles: Collection[distributed.Future]) -> None:
        try:
            self._client.cancel(list(handles))
            self._client.run(node.end_work, self._assignment, on_error="ignore")
        except (OSError, CommClosedError, TimeoutError):
            pass  # the scheduler is gone, and with it whoever waited for an answer
        finally:
            cluster = self._client.cluster
            self._client.close()
            if cluster is not None:
                cluster.close()


def connect(address: str | None, slots: int) -> distributed.Client:
    """A client of the cluster at ``address``; without one, of a cluster with one worker of ``slots`` threads here.

    Raises
    ------
    InputError
        The scheduler does not answer.
    """
    if address is None:
        cluster = distributed.LocalCluster(
            n_workers=1, threads_per_worker=slots, processes=False, dashboard_address=None
        )
        return distributed.Client(cluster, set_as_default=False)
    try:
        client = distributed.Client(address, timeout=ANSWER_S, set_as_default=False)
        client.wait_for_workers(1, timeout=ANSWER_S)
    except (OSError, TimeoutError, ValueError) as error:
        raise InputError(
            f"no Dask cluster with a worker answers at '{address}' ({str(error).splitlines()[0][:200]})",
            expected="the address of a scheduler, such as tcp://HOST:8786",
            do="start 'dask scheduler' and 'dask worker', or correct the address of the site",
        ) from None
    return client


class _Calls:
    """How many calls this worker has in hand."""

    guard, count = threading.Lock(), 0


def _work(assignment: Assignment, function: Callable, args: tuple, sign: SignOfLife | None) -> Any:
    """On a worker: the call, ended if the cluster forgets it. A worker whose time is over leaves after its last one."""
    worker = distributed.get_worker()
    key = distributed.worker.thread_state.key

    def wanted() -> bool:
        task = worker.state.tasks.get(key)
        return task is not None and task.state in ("executing", "long-running")

    with _Calls.guard:
        _Calls.count += 1
    over = False
    try:
        return node.work(assignment, function, args, sign, wanted)
    except StoppedEarly:
        over = True
        time.sleep(LEAVE_S)  # until the scheduler has noticed, what it sends here comes back at once
        raise
    finally:
        with _Calls.guard:
            _Calls.count -= 1
            if over and not _Calls.count:
                worker.loop.add_callback(worker.close_gracefully)
