"""Calls on a Ray cluster: given, or started on this machine for as long as a run lasts."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from esr1md.errors import InputError
from esr1md.sites import node
from esr1md.sites.node import Assignment
from esr1md.sites.remote_calls import RemoteCalls
from esr1md.workers import SignOfLife, module_command


class RayPool(RemoteCalls):
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

    lost = (RayError,)

    def __init__(self, assignment: Assignment, threads: int) -> None:
        super().__init__()
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

    def _submit(self, function: Callable, args: tuple, sign: SignOfLife | None) -> ray.ObjectRef:
        return self._work.remote(self._assignment, function, args, sign)

    def _answer(self, handle: ray.ObjectRef) -> Any:
        try:
            return ray.get(handle)
        except RayTaskError as error:
            raise error.cause from None

    def _end(self, handles: Collection[ray.ObjectRef]) -> None:
        for handle in handles:
            ray.cancel(handle, force=True)
        if self._ours:
            ray.shutdown()
