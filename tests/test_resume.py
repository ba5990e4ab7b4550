"""``kill -9`` in the middle of a replica, run again: nothing finished is recomputed, the ranking is the same.

The whole pipeline is real; only the protocol is tiny.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from esr1md.config import load_screen
from esr1md.screen.plan import plan_screen
from esr1md.screen.run import run_screen
from esr1md.screen.status import screen_status
from esr1md.store import Store
from esr1md.store.records import open_index, rebuild, replica_rows

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]

PROTOCOL = """
name: tiny
solvent: {model: obc2, cutoff_angstrom: 12}
region: {mobile_angstrom: 4, shell_angstrom: 3}
stages:
  - {kind: minimise, iterations: 20, solvent: false, restrain: {selection: protein-heavy, kcal_per_angstrom2: 5}}
  - {kind: produce, duration_ps: 0.2, frame_ps: 0.1}
scoring: {frames: 2, receptor: simulated}
"""

SCREEN = """
name: resumed
variants: [WT, Y537S]
ligands: [estradiol]
reference_ligand: estradiol
protocol: tiny.yaml
replicas: 2
platform: CPU
site: one.yaml
"""

RUN = """
import sys
from esr1md.config import load_screen
from esr1md.screen.run import run_screen
run_screen(load_screen(sys.argv[1]), sys.argv[2], report=False)
"""


@pytest.fixture(scope="module")
def screen_file(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("screen")
    (folder / "tiny.yaml").write_text(PROTOCOL)
    (folder / "one.yaml").write_text("{name: one, workers: 1, threads: 1}")
    path = folder / "resumed.yaml"
    path.write_text(
        SCREEN.replace("tiny.yaml", str(folder / "tiny.yaml")).replace("one.yaml", str(folder / "one.yaml"))
    )
    return path


@pytest.fixture(scope="module")
def uninterrupted(screen_file, tmp_path_factory):
    """The store and ranking of a run that nothing disturbed."""
    store = Store(tmp_path_factory.mktemp("uninterrupted"))
    return store, run_screen(load_screen(screen_file), store.root, report=False)


def test_killed_run_resumes_and_ranks_the_same(screen_file, uninterrupted, tmp_path):
    whole, expected = uninterrupted
    store = Store(tmp_path / "store")
    for kind in ("receptors", "parameters", "poses"):  # computed alike in both; made once to save time
        shutil.copytree(whole.root / kind, store.root / kind)
    digests = [job.spec.digest for job in plan_screen(load_screen(screen_file), store.root).jobs]

    process = subprocess.Popen([sys.executable, "-c", RUN, str(screen_file), str(store.root)], cwd=ROOT)
    running = _wait_until_one_is_done_and_another_in_its_dynamics(process, store, digests)
    process.send_signal(signal.SIGKILL)
    process.wait()
    time.sleep(2)  # its worker notices and ends
    finished = {digest: _state(store, digest) for digest in digests if store.find("replicas", digest)}
    assert finished and running not in finished, "the kill came in the middle of a replica"
    assert (store.root / "replicas" / f".{running}.tmp").is_dir(), "half a replica is on the disk"
    status = screen_status(store)
    assert not status.active and status.done == len(finished) and status.n_failed == 0

    ranking = run_screen(load_screen(screen_file), store.root, report=False)
    for digest, before in finished.items():
        assert _state(store, digest) == before, "a finished replica was computed again"
    assert not list((store.root / "replicas").glob(".*")), "no debris is left"
    assert _comparable(ranking) == _comparable(expected)
    assert len(ranking.cells) == 2 and all(cell.n_replicas == 2 for cell in ranking.cells)

    engine = open_index(store)
    kept = replica_rows(engine, "resumed")
    engine.dispose()
    rebuild(store)
    assert replica_rows(open_index(store), "resumed") == kept and len(kept) == 4


def test_prefect_flow_resumes_the_same_store(screen_file, uninterrupted, tmp_path):
    """The flow, as a user starts it, in a folder with a ``flows`` of the user's own: quiet, and the same answer."""
    whole, expected = uninterrupted
    store = Store(tmp_path / "store")
    shutil.copytree(whole.root, store.root)
    redone = plan_screen(load_screen(screen_file), store.root).jobs[0].spec.digest
    store.forget("replicas", redone)
    others = {path.name: _state(store, path.name) for path in store.done("replicas")}
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows" / "__init__.py").write_text("raise RuntimeError('not ours')")
    code = (
        "import sys\n"
        "from esr1md.commands.run_display import load_flow\n"
        "print(load_flow().run_screen_flow(sys.argv[1], sys.argv[2]))\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, str(screen_file), str(store.root)],
        cwd=tmp_path,
        env=_environment(),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr == "", "nothing of Prefect's on the terminal"
    assert "'failures': 0" in ran.stdout
    assert {name: _state(store, name) for name in others} == others
    again = json.loads((store.root / "screens" / "resumed" / "ranking.json").read_text())
    assert _without_time(again) == _comparable(expected)
    assert (store.root / "screens" / "resumed" / "report.html").stat().st_size > 10_000
    assert (store.root / ".prefect" / "prefect.db").is_file()


def _environment() -> dict[str, str]:
    import os

    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    return {**kept, "PYTHONPATH": str(ROOT)}


def _wait_until_one_is_done_and_another_in_its_dynamics(process, store: Store, digests: list[str]) -> str:
    limit = time.monotonic() + 240
    while time.monotonic() < limit:
        assert process.poll() is None, "the run ended before it could be killed"
        if any(store.find("replicas", digest) for digest in digests):
            for path in (store.root / "progress").glob("*.json"):
                try:
                    said = json.loads(path.read_text())
                except FileNotFoundError:
                    continue
                if said["stage"] in ("minimise", "produce"):
                    return said["digest"]
        time.sleep(0.02)
    raise AssertionError("no second replica began its dynamics in time")


def _state(store: Store, digest: str) -> tuple:
    """What changes when a replica is computed again."""
    folder = store.find("replicas", digest)
    done = folder / "done.json"
    return done.stat().st_ino, done.read_text(), (folder / "trajectory.xtc").stat().st_mtime_ns


def _comparable(ranking) -> dict:
    return _without_time(json.loads(ranking.model_dump_json()))


def _without_time(ranking: dict) -> dict:
    return {key: value for key, value in ranking.items() if key != "created"}
