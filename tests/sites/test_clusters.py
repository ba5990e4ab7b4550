"""A screen on clusters: every replica once, the same ranking, also when a machine is killed in the middle."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from esr1md.config import load_screen, load_site
from esr1md.errors import InputError
from esr1md.screen.run import run_screen
from tiny_screen import TinyScreen, stamps, wait_for

pytestmark = pytest.mark.slow


@pytest.fixture
def site(tmp_path):
    def write(text: str) -> Path:
        path = tmp_path / "site.yaml"
        path.write_text(text)
        return path

    return write


def start(*arguments: str, log: Path) -> subprocess.Popen:
    with open(log, "w") as output:
        return subprocess.Popen(
            [sys.executable, "-m", *arguments], stdout=output, stderr=output, start_new_session=True
        )


@pytest.fixture
def dask_cluster(tmp_path):
    """A scheduler and two workers of one thread, as a user starts them."""
    where = tmp_path / "scheduler.json"
    scheduler = start(
        "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard",
        "--scheduler-file", str(where), log=tmp_path / "scheduler.log",
    )  # fmt: skip
    workers = [
        start(
            "distributed.cli.dask_worker",
            "--scheduler-file",
            str(where),
            "--nthreads",
            "1",
            "--no-dashboard",
            "--local-directory",
            str(tmp_path / "dask"),
            log=tmp_path / f"worker-{number}.log",
        )  # fmt: skip
        for number in range(2)
    ]
    import json

    wait_for(where.exists, 60, "the scheduler says where it is", lambda: scheduler.poll() is None)
    time.sleep(0.5)
    yield json.loads(where.read_text())["address"], workers
    for process in (*workers, scheduler):
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_a_killed_dask_worker_costs_no_replica(tiny_screen: TinyScreen, dask_cluster, site, tmp_path):
    address, workers = dask_cluster
    store = tiny_screen.prepared(tmp_path / "store")
    where = site(
        f"{{name: cluster, kind: dask, platform: CPU, workers: 1, threads: 1, dask: {{address: '{address}'}}}}"
    )
    run = tiny_screen.start(store, where)
    wait_for(lambda: stamps(store), 240, "a replica is done", lambda: run.poll() is None)
    wait_for(lambda: list(store.root.glob("progress/*.json")), 60, "another runs", lambda: run.poll() is None)
    before = stamps(store)
    os.killpg(workers[0].pid, signal.SIGKILL)
    assert run.wait(timeout=300) == 0, run.stderr.read()
    assert tiny_screen.ranked_the_same(store)
    after = stamps(store)
    assert before.items() <= after.items(), "a finished replica was computed again"
    assert sorted(after) == sorted(tiny_screen.digests)
    assert not list(store.root.glob("replicas/.*"))


def test_a_dask_run_that_is_killed_leaves_nothing_running_on_the_workers(
    tiny_screen: TinyScreen, dask_cluster, site, tmp_path
):
    address, _ = dask_cluster
    store = tiny_screen.prepared(tmp_path / "store")
    where = site(
        f"{{name: cluster, kind: dask, platform: CPU, workers: 1, threads: 1, dask: {{address: '{address}'}}}}"
    )
    run = tiny_screen.start(store, where, OMP_NUM_THREADS="1", ESR1MD_TEST_RUN=str(tmp_path))
    wait_for(lambda: list(store.root.glob("progress/*.json")), 240, "a replica runs", lambda: run.poll() is None)
    run.kill()
    run.wait()
    wait_for(lambda: not _held(store), 60, "the workers end what nobody waits for")


def test_ray(tiny_screen: TinyScreen, site, tmp_path):
    pytest.importorskip("ray")
    store = tiny_screen.prepared(tmp_path / "store")
    where = site("{name: rays, kind: ray, platform: CPU, workers: 1, threads: 1}")
    run = tiny_screen.start(store, where)
    assert run.wait(timeout=400) == 0, run.stderr.read()
    assert tiny_screen.ranked_the_same(store)


def test_no_cluster_at_the_address(tiny_screen: TinyScreen, site, tmp_path, monkeypatch):
    monkeypatch.setattr("esr1md.sites.dask_pool.ANSWER_S", 1)
    where = site("{name: gone, kind: dask, platform: CPU, dask: {address: 'tcp://127.0.0.1:9'}}")
    screen = load_screen(tiny_screen.file).on_site(where)
    with pytest.raises(InputError, match=r"no Dask cluster with a worker answers at 'tcp://127.0.0.1:9'"):
        run_screen(screen, tmp_path / "store")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{name: s, kind: slurm}", "does not say which platform its machines have"),
        ("{name: s, kind: dask, platform: CPU, slurm: {jobs: 2}}", "'slurm' is given for a site of kind 'dask'"),
        ("{name: s, kind: slurm, platform: CPU, slurm: {wall_time_minutes: 4}}", "margin_minutes"),
        ('{name: s, kind: slurm, platform: CPU, slurm: {directives: ["a\\nb"]}}', "has a line break in it"),
        ("{name: s, kind: moon}", "kind"),
    ],
)
def test_sites_that_cannot_be(site, text, said):
    with pytest.raises(InputError, match=said):
        load_site(site(text))


@pytest.mark.parametrize("kind", ["dask", "ray", "slurm"])
def test_without_its_library_the_extra_is_named(tiny_screen: TinyScreen, site, tmp_path, monkeypatch, kind):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    where = site(f"{{name: s, kind: {kind}, platform: CPU}}")
    with pytest.raises(InputError, match=r"is not installed; pip install 'esr1md\[(dask|ray)\]'"):
        run_screen(load_screen(tiny_screen.file).on_site(where), tmp_path / "store")


def test_slurm_without_slurm_is_one_line(tiny_screen: TinyScreen, site, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    where = site("{name: s, kind: slurm, platform: CPU}")
    with pytest.raises(InputError, match="there is no 'sbatch' on this machine"):
        run_screen(load_screen(tiny_screen.file).on_site(where), tmp_path / "store")


def _held(store) -> list[Path]:
    """Replicas that some process is computing now."""
    from esr1md.store.disk import kernel_lock

    found = []
    for path in store.root.glob("replicas/.*.lock"):
        with kernel_lock(path, wait=False) as free:
            if not free:
                found.append(path)
    return found
