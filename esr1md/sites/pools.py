"""What a screen needs of a site: something that does calls, several at once, and may lose one but not the rest."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable
from typing import Any, Protocol

from esr1md.config import SiteConfig
from esr1md.dynamics.slots import Packing, worker_environment
from esr1md.errors import InputError
from esr1md.sites.node import Assignment
from esr1md.workers import SignOfLife, WorkerPool


class Pool(Protocol):
    """Does calls in processes that may die; :class:`esr1md.workers.WorkerPool` on this machine is one.

    ``slots`` is how many at once; it may grow when machines join.
    """

    slots: int

    def call(self, function: Callable, *args: Any, sign: SignOfLife | None = None) -> Any:
        """``function(*args)``, somewhere; raises what it raises, ``WorkerDied`` or ``PoolClosed``."""

    def close(self) -> None:
        """End all calls, also those that run."""

    def __enter__(self) -> Pool: ...

    def __exit__(self, *exception: object) -> None: ...


def open_site_pool(assignment: Assignment, packing: Packing) -> Pool:
    """The processes of a site.

    Parameters
    ----------
    assignment
        What every machine of the site is told.
    packing
        How this machine is shared, where the site is this machine.

    Raises
    ------
    InputError
        The site's library is not installed, or its cluster does not answer.
    """
    site, logs = assignment.site, assignment.store_root / "logs"
    if site.kind == "dask":
        _require("distributed", "dask", site)
        from esr1md.sites.dask_pool import DaskPool, connect

        return DaskPool(connect(site.dask.address, packing.slots), assignment)
    if site.kind == "slurm":
        _require("dask_jobqueue", "dask", site)
        from esr1md.sites.dask_pool import DaskPool
        from esr1md.sites.slurm import start_jobs

        return DaskPool(start_jobs(site, logs), assignment, slots=site.slurm.jobs * site.slots_each)
    if site.kind == "ray":
        _require("ray", "ray", site)
        from esr1md.sites.ray_pool import RayPool

        return RayPool(assignment, packing.threads)
    return WorkerPool(
        packing.slots, threads=packing.threads, log_folder=logs, environment=worker_environment(packing, _warn)
    )


def _require(module: str, extra: str, site: SiteConfig) -> None:
    if importlib.util.find_spec(module) is None:
        raise InputError(
            f"site '{site.name}' is of kind {site.kind}, and the package {module} is not installed",
            do=f"pip install 'esr1md[{extra}]'",
        )


def _warn(said: str) -> None:
    warnings.warn(said, stacklevel=2)
