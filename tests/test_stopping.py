"""Replicas that are told to stop, and replicas that hang: what they have computed is gone on with."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from dataclasses import replace

import pytest

from esr1md import stopping
from esr1md.config import load_screen
from esr1md.errors import StoppedEarly
from esr1md.screen.plan import plan_screen
from esr1md.screen.run import open_pool, perform, run_replica, steps
from esr1md.sites.node import limit_by_wall_time
from esr1md.store import Store
from esr1md.workers import SignOfLife
from tiny_screen import TinyScreen, wait_for

pytestmark = pytest.mark.slow


@pytest.fixture
def plan(tiny_screen: TinyScreen, tmp_path):
    store = tiny_screen.prepared(tmp_path / "store")
    return plan_screen(load_screen(tiny_screen.file), store.root)


def summary(store: Store, digest: str) -> dict:
    return json.loads((store.find("replicas", digest) / "summary.json").read_text())


def resumed(store: Store, digest: str) -> list:
    return json.loads((store.find("replicas", digest) / "simulation.json").read_text())["resumed"]


def test_a_replica_whose_time_is_over_leaves_a_checkpoint_and_goes_on(plan, tiny_screen, monkeypatch):
    store, job = Store(plan.store_root), plan.jobs[0]
    monkeypatch.setenv(stopping.STOP_AT, str(time.monotonic()))
    with pytest.raises(StoppedEarly):
        run_replica(job, store.root, plan.platform, plan.packing)
    assert list(store.root.glob(f"replicas/.{job.spec.digest}.tmp/checkpoint.npz"))
    assert store.failure("replicas", job.spec.digest) is None, "it is not a failure"
    monkeypatch.delenv(stopping.STOP_AT)
    assert run_replica(job, store.root, plan.platform, plan.packing)["status"] == "done"
    assert len(resumed(store, job.spec.digest)) == 1
    assert summary(store, job.spec.digest) == summary(tiny_screen.undisturbed, job.spec.digest)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGSTOP])
def test_a_worker_that_is_ended_or_hangs_is_replaced(plan, tiny_screen, number):
    """SIGTERM is what ``scancel`` sends; a stopped process looks like one that hangs."""
    store = Store(plan.store_root)
    step = next(step for step in steps(plan) if step.kind == "replicas")
    step = replace(step, sign=SignOfLife(step.sign.path, 20.0))
    rows = []
    with open_pool(plan) as pool:
        thread = threading.Thread(target=lambda: rows.append(perform(step, pool, store)))
        thread.start()

        def in_its_dynamics() -> int | None:
            said = json.loads(step.sign.path.read_text()) if step.sign.path.exists() else {}
            return said.get("pid") if said.get("stage") in ("minimise", "produce") else None

        os.kill(wait_for(in_its_dynamics, 120, "its dynamics began", thread.is_alive), number)
        thread.join(timeout=180)
    assert rows and rows[0]["status"] == "done"
    assert summary(store, step.digest) == summary(tiny_screen.undisturbed, step.digest)
    if number == signal.SIGTERM:
        assert resumed(store, step.digest), "it went on where it stopped"


def test_a_replica_that_always_hangs_is_a_failure_that_says_so(plan):
    store = Store(plan.store_root)
    step = next(step for step in steps(plan) if step.kind == "replicas")
    step = replace(step, function=time.sleep, args=(600,), sign=SignOfLife(step.sign.path, 1.0))
    with open_pool(plan) as pool:
        row = perform(step, pool, store)
    assert row["status"] == "died" and "hung: nothing new for 1 s" in row["cause"]


def test_a_slurm_job_stops_before_slurm_ends_it(tmp_path, monkeypatch):
    from esr1md.config import SlurmJobs

    monkeypatch.setenv(stopping.STOP_AT, "")  # so that it is as before once the test is over
    monkeypatch.delenv(stopping.STOP_AT)
    monkeypatch.setenv("SLURM_JOB_END_TIME", str(time.time() + 600))
    limit_by_wall_time(SlurmJobs(wall_time_minutes=10, margin_minutes=4))
    assert 350 < stopping.seconds_left() < 361
    monkeypatch.delenv(stopping.STOP_AT)
    monkeypatch.delenv("SLURM_JOB_END_TIME")
    limit_by_wall_time(SlurmJobs(wall_time_minutes=10**6, margin_minutes=4))
    assert 0 < stopping.seconds_left() < 6e7 - 240
