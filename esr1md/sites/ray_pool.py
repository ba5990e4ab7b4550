"""Calls on a Ray cluster: given, or started on this machine for as long as a run lasts."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError, TaskCancelledError

from esr1md.errors import InputError
from esr1md.sites import node
from esr1md.sites.node import Assignment
from esr1md.workers import PoolClosed, SignOfLife, WorkerDied, module_command


class RayPool:
    """Calls as Ray tasks, each in a process of its own beside Ray's.

    Parameters
    ----------
    assignment
        What every machine is told.
    threads
        CPU cores that a call keeps busy.

    Raises
    ------
    InputError
        The cluster does not answer, or has not the GPUs that a simulation asks for.
    """

    def __init__(self, assignment: Assignment, threads: int) -> None:
        self._assignment, settings = assignment, assignment.site.ray
        self._ours = not ray.is_initialized()
        _, environment = module_command("esr1md")
        try:
            ray.init(
                settings.address or "local",
                ignore_reinit_error=True,
                include_dashboard=False,
                log_to_driver=False,
                logging_level="ERROR",
                runtime_env={"env_vars": {"PYTHONPATH": environment["PYTHONPATH"]}},
            )
        except (ConnectionError, RayError, ValueError) as error:
            raise InputError(
                f"no Ray cluster answers at '{settings.address}' ({str(error).splitlines()[0][:200]})",
                expected="'auto', HOST:6379 or ray://HOST:10001",
                do="start it with 'ray start --head', or correct the address of the site",
            ) from None
        here = ray.cluster_resources()
        if settings.gpus and settings.gpus > here.get("GPU", 0):
            ray.shutdown()
            raise InputError(
                f"each simulation asks for {settings.gpus:g} GPU and the Ray cluster has {here.get('GPU', 0):g}",
                where=f"site '{assignment.site.name}'",
            )
        by_gpus = here.get("GPU", 0) / settings.gpus if settings.gpus else float("inf")
        self.slots = max(1, int(min(here.get("CPU", 1) / threads, by_gpus)))
        self._work = ray.remote(node.work).options(num_cpus=threads, num_gpus=settings.gpus, max_retries=3)
        self._refs: set[ray.ObjectRef] = set()
        self._guard, self._closed = threading.Lock(), False

    def __enter__(self) -> RayPool:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def call(self, function: Callable, *args: Any, sign: SignOfLife | None = None) -> Any:
        """See :class:`esr1md.sites.pools.Pool`."""
        with self._guard:
            if self._closed:
                raise PoolClosed
            ref = self._work.remote(self._assignment, function, args, sign)
            self._refs.add(ref)
        try:
            return ray.get(ref)
        except RayTaskError as error:
            raise error.cause from None
        except (RayError, TaskCancelledError) as ending:
            if self._closed:
                raise PoolClosed from ending
            raise WorkerDied(f"the Ray worker that had it was lost ({type(ending).__name__})") from None
        finally:
            with self._guard:
                self._refs.discard(ref)

    def close(self) -> None:
        """End every call, and the cluster if it was started for this pool."""
        with self._guard:
            if self._closed:
                return
            self._closed = True
            refs = list(self._refs)
        for ref in refs:
            ray.cancel(ref, force=True)
        if self._ours:
            ray.shutdown()
