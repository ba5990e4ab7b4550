"""Calls on a Dask cluster: given, started on this machine, or made of Slurm jobs (:mod:`esr1md.sites.slurm`)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import distributed
from distributed.client import FutureCancelledError
from distributed.comm.core import CommClosedError

from esr1md.errors import InputError, StoppedEarly
from esr1md.sites import node
from esr1md.sites.node import Assignment
from esr1md.workers import PoolClosed, SignOfLife, WorkerDied

#: Seconds that a scheduler may take to answer.
ANSWER_S = 30
#: Seconds for which a worker whose time is over keeps a call that it cannot do.
LEAVE_S = 2


class DaskPool:
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

    def __init__(self, cluster: distributed.Client, assignment: Assignment, slots: int | None = None) -> None:
        self._client, self._assignment = cluster, assignment
        self.slots = slots or max(1, sum(cluster.nthreads().values()))
        self._futures: set[distributed.Future] = set()
        self._guard, self._closed = threading.Lock(), False

    def __enter__(self) -> DaskPool:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def call(self, function: Callable, *args: Any, sign: SignOfLife | None = None) -> Any:
        """See :class:`esr1md.sites.pools.Pool`."""
        with self._guard:
            if self._closed:
                raise PoolClosed
            key = f"{function.__name__}-{uuid4().hex}"
            future = self._client.submit(_work, self._assignment, function, args, sign, key=key, pure=False)
            self._futures.add(future)
        try:
            return future.result()
        except (distributed.KilledWorker, FutureCancelledError, CommClosedError, TimeoutError) as ending:
            if self._closed:
                raise PoolClosed from ending
            raise WorkerDied(f"the Dask workers that had it were lost ({type(ending).__name__}: {ending})") from None
        finally:
            with self._guard:
                self._futures.discard(future)

    def close(self) -> None:
        """End every call, wherever it runs, and what was started for this pool."""
        with self._guard:
            if self._closed:
                return
            self._closed = True
            futures = list(self._futures)
        try:
            self._client.cancel(futures)
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


_running = threading.Lock(), [0]


def _work(assignment: Assignment, function: Callable, args: tuple, sign: SignOfLife | None) -> Any:
    """On a worker: the call, ended if the cluster forgets it. A worker whose time is over leaves after its last one."""
    worker = distributed.get_worker()
    key = distributed.worker.thread_state.key
    guard, count = _running

    def wanted() -> bool:
        task = worker.state.tasks.get(key)
        return task is not None and task.state in ("executing", "long-running")

    with guard:
        count[0] += 1
    over = False
    try:
        return node.work(assignment, function, args, sign, wanted)
    except StoppedEarly:
        over = True
        time.sleep(LEAVE_S)  # until the scheduler has noticed, what it sends here comes back at once
        raise
    finally:
        with guard:
            count[0] -= 1
            if over and not count[0]:
                worker.loop.add_callback(worker.close_gracefully)
