"""Slurm jobs as Dask workers (dask-jobqueue): each takes steps until its wall time is nearly over, new ones follow."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

import distributed
from dask_jobqueue import SLURMCluster

from esr1md.config import SiteConfig
from esr1md.errors import InputError
from esr1md.workers import module_command


def start_jobs(site: SiteConfig, logs: Path) -> distributed.Client:
    """Submit the jobs of a site; they join when Slurm starts them.

    Parameters
    ----------
    site
        Of kind ``slurm``.
    logs
        Folder for what the jobs print.

    Raises
    ------
    InputError
        There is no ``sbatch`` here.
    """
    if shutil.which("sbatch") is None:
        raise InputError(
            f"site '{site.name}' is of kind slurm, and there is no 'sbatch' on this machine",
            do="start the screen on a login node, or choose another site",
        )
    if any(character.isspace() or not character.isprintable() for character in str(logs)):
        raise InputError(
            f"the store's path {str(logs.parent)!r} has a blank or a control character in it, which Slurm's directives "
            "cannot hold",
            do="choose another --store",
        )
    cluster = SLURMCluster(**cluster_options(site, logs))
    cluster.adapt(minimum_jobs=1, maximum_jobs=site.slurm.jobs, interval="10s", wait_count=6)
    return distributed.Client(cluster, set_as_default=False)


def cluster_options(site: SiteConfig, logs: Path) -> dict:
    """Arguments of ``dask_jobqueue.SLURMCluster``."""
    jobs = site.slurm
    margin = jobs.margin_minutes * 60
    directives = [*([f"--gpus={jobs.gpus}"] if jobs.gpus else []), *jobs.directives]
    logs.mkdir(parents=True, exist_ok=True)
    _, environment = module_command("esr1md")
    return {
        "queue": jobs.partition,
        "account": jobs.account,
        "cores": site.slots_each,
        "job_cpu": jobs.cores,
        "processes": 1,
        "memory": f"{jobs.memory_gb} GB",
        "walltime": _clock(jobs.wall_time_minutes),
        "interface": jobs.interface,
        "job_extra_directives": directives,
        "job_script_prologue": [f"export PYTHONPATH={shlex.quote(environment['PYTHONPATH'])}", *jobs.environment],
        "log_directory": str(logs),
        "local_directory": None,
        "death_timeout": 120,
        # the replicas end first, then the worker leaves, then Slurm would have ended it
        "worker_extra_args": ["--lifetime", f"{jobs.wall_time_minutes * 60 - margin / 2:.0f}s"],
    }


def _clock(minutes: int) -> str:
    return f"{minutes // 60:02d}:{minutes % 60:02d}:00"
