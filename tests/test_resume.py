"""``kill -9`` in the middle of a replica, run again: nothing finished is recomputed, the ranking is the same.

The whole pipeline is real; only the protocol is tiny.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from esr1md.config import load_screen
from esr1md.screen.plan import plan_screen
from esr1md.screen.run import run_screen
from esr1md.screen.status import screen_status
from esr1md.store import Store
from esr1md.store.records import open_index, rebuild, replica_rows
from tiny_screen import NAME, ROOT, TinyScreen, stamps

pytestmark = pytest.mark.slow


def test_killed_run_resumes_and_ranks_the_same(tiny_screen: TinyScreen, tmp_path):
    store = tiny_screen.prepared(tmp_path / "store")
    digests = tiny_screen.digests

    process = tiny_screen.start(store)
    running = _wait_until_one_is_done_and_another_in_its_dynamics(process, store, digests)
    process.send_signal(signal.SIGKILL)
    process.wait()
    time.sleep(2)  # its worker notices and ends
    finished = stamps(store)
    assert finished and running not in finished, "the kill came in the middle of a replica"
    assert (store.root / "replicas" / f".{running}.tmp").is_dir(), "half a replica is on the disk"
    status = screen_status(store)
    assert not status.active and status.done == len(finished) and status.n_failed == 0

    ranking = run_screen(load_screen(tiny_screen.file), store.root, report=False)
    assert finished.items() <= stamps(store).items(), "a finished replica was computed again"
    assert not list((store.root / "replicas").glob(".*")), "no debris is left"
    assert tiny_screen.ranked_the_same(store)
    assert len(ranking.cells) == 2 and all(cell.n_replicas == 4 for cell in ranking.cells)

    engine = open_index(store)
    kept = replica_rows(engine, NAME)
    engine.dispose()
    rebuild(store)
    assert replica_rows(open_index(store), NAME) == kept and len(kept) == 8


def test_prefect_flow_resumes_the_same_store(tiny_screen: TinyScreen, tmp_path):
    """The flow, as a user starts it, in a folder with a ``flows`` of the user's own: quiet, and the same answer."""
    store = Store(tmp_path / "store")
    shutil.copytree(tiny_screen.undisturbed.root, store.root)
    redone = plan_screen(load_screen(tiny_screen.file), store.root).jobs[0].spec.digest
    store.forget("replicas", redone)
    others = stamps(store)
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows" / "__init__.py").write_text("raise RuntimeError('not ours')")
    code = (
        "import sys\n"
        "from esr1md.catalogue import load_flow\n"
        "print(load_flow().run_screen_flow(sys.argv[1], sys.argv[2]))\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, str(tiny_screen.file), str(store.root)],
        cwd=tmp_path,
        env=_environment(),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr == "", "nothing of Prefect's on the terminal"
    assert "'failures': 0" in ran.stdout
    now = stamps(store)
    assert {name: now[name] for name in others} == others
    assert tiny_screen.ranked_the_same(store)
    assert (store.root / "screens" / NAME / "report.html").stat().st_size > 10_000
    assert (store.root / ".prefect" / "prefect.db").is_file()


def _environment() -> dict[str, str]:
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
