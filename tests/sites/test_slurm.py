"""A screen as real Slurm jobs whose wall time is far shorter than the screen."""

from __future__ import annotations

import json

import pytest

from esr1md.config import load_site
from esr1md.sites.slurm import cluster_options
from tiny_screen import TinyScreen, wait_for

pytestmark = pytest.mark.slow

SITE = """
name: jobs
kind: slurm
platform: CPU
workers: 1
threads: 1
slurm: {jobs: 1, cores: 1, memory_gb: 1.5, wall_time_minutes: 2, margin_minutes: 1.5}
"""


@pytest.fixture
def slurm():
    """A running Slurm; the test is skipped, by name, where it is not installed."""
    from slurm_server import SlurmServer, missing_programs

    if lacking := missing_programs():
        pytest.skip(f"needs Slurm and munge (Debian: slurm-wlm, munge); there is no {', '.join(lacking)}")
    server = SlurmServer()
    yield server
    server.remove()


def test_jobs_end_in_time_and_others_go_on(tiny_screen: TinyScreen, slurm, tmp_path):
    """Every job has half a minute until its replica must stop, so several are needed; none is killed by Slurm."""
    site = tmp_path / "site.yaml"
    site.write_text(SITE)
    store = tiny_screen.prepared(tmp_path / "store")
    run = tiny_screen.start(store, site, OMP_NUM_THREADS="1", **slurm.environment)
    assert run.wait(timeout=900) == 0, run.stderr.read()
    assert tiny_screen.ranked_the_same(store)
    logs = list((store.root / "logs").glob("dask-worker-*.err"))
    assert len(logs) > 1, "one job was enough"
    assert not any("DUE TO TIME LIMIT" in log.read_text() for log in logs), "Slurm had to end a job"
    resumed = [json.loads((folder / "simulation.json").read_text())["resumed"] for folder in store.done("replicas")]
    assert len(resumed) == len(tiny_screen.digests)
    wait_for(lambda: not slurm.jobs(), 120, "the last job ends")


def test_what_sbatch_is_given(tmp_path):
    path = tmp_path / "site.yaml"
    path.write_text(
        "{name: s, kind: slurm, platform: CUDA, per_gpu: 6, slurm: {partition: gpu, account: me, gpus: 2, cores: 8, "
        "wall_time_minutes: 90, environment: [module load cuda], directives: ['--constraint=a100']}}"
    )
    from dask_jobqueue.slurm import SLURMJob

    script = SLURMJob("tcp://127.0.0.1:8786", name="job", **cluster_options(load_site(path), tmp_path)).job_script()
    for line in ("-p gpu", "-A me", "--gpus=2", "--constraint=a100", "-t 01:30:00", "--cpus-per-task=8"):
        assert line in script, script
    assert script.index("module load cuda") < script.index("distributed.cli")
    assert "--nthreads 12" in script and "--lifetime 5250s" in script
