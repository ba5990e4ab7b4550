"""What can happen to a screen while it runs, and what that costs: docs/reliability.md is the table of these tests."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from esr1md.config import load_screen
from esr1md.errors import InputError
from esr1md.screen.run import run_screen
from esr1md.store import Store
from tiny_screen import TinyScreen, ranking_of, stamps, wait_for

pytestmark = pytest.mark.slow

KILLS = 20


def test_killed_at_twenty_random_instants(tiny_screen: TinyScreen, tmp_path):
    """Whatever it is doing, planning or publishing: what was finished stays as it was, and the ranking is the same."""
    store = tiny_screen.prepared(tmp_path / "store")
    instants = random.Random(7)
    kept, typical = {}, 12.0
    for _ in range(KILLS):
        run = tiny_screen.start(store)
        begun = time.monotonic()
        try:
            run.wait(timeout=instants.uniform(0.5, typical))
        except subprocess.TimeoutExpired:
            run.kill()
            run.wait()
        else:
            assert run.returncode == 0, run.stderr.read()
            typical = max(2.0, time.monotonic() - begun)
            store.forget("replicas", kept.popitem()[0])  # so that there is something to do again
        now = stamps(store)
        assert kept.items() <= now.items(), "a finished replica was computed again"
        kept = now
    assert run_again(tiny_screen, store) == 0
    assert tiny_screen.ranked_the_same(store)
    assert not list(store.root.glob("replicas/.*")), "no debris is left"


@pytest.mark.parametrize("shared", ["sqlite", "postgresql"])
def test_two_runs_of_a_screen_share_it(tiny_screen: TinyScreen, tmp_path, request, monkeypatch, shared):
    """At the same time over one store: every replica once, both end well, with the same ranking."""
    environment = {"OMP_NUM_THREADS": "1"}
    if shared == "postgresql":
        environment["ESR1MD_DATABASE_URL"] = request.getfixturevalue("postgres").new_database()
    store = tiny_screen.prepared(tmp_path / "store")
    runs = [tiny_screen.start(store, **environment) for _ in range(2)]
    first: dict[str, tuple] = {}
    while any(run.poll() is None for run in runs):
        now = stamps(store)
        assert first.items() <= now.items(), "a finished replica was computed again"
        first = now
        time.sleep(0.5)
    for run in runs:
        assert run.wait() == 0, run.stderr.read()
    hosts = {path.name for path in store.root.glob("screens/tiny/runs/*.json")}
    assert len(hosts) == 2
    assert sorted(stamps(store)) == sorted(tiny_screen.digests)
    assert tiny_screen.ranked_the_same(store)


def test_one_of_two_runs_is_killed(tiny_screen: TinyScreen, tmp_path):
    store = tiny_screen.prepared(tmp_path / "store")
    runs = [tiny_screen.start(store) for _ in range(2)]
    wait_for(lambda: stamps(store), 240, "a replica is done", lambda: all(run.poll() is None for run in runs))
    before = stamps(store)
    runs[0].kill()
    runs[0].wait()
    assert runs[1].wait(timeout=300) == 0, runs[1].stderr.read()
    assert before.items() <= stamps(store).items()
    assert tiny_screen.ranked_the_same(store)


def test_the_disk_fills_up_and_is_emptied_again(tiny_screen: TinyScreen, tmp_path):
    """On a file system of its own: one clear line, nothing finished is lost, the same command goes on."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(place)], capture_output=True, text=True
    )
    if mounted.returncode != 0:
        pytest.skip("needs the right to mount a file system")
    try:
        store = tiny_screen.prepared(place / "store")
        ballast = place / "ballast"
        room = shutil.disk_usage(place).free - 5_500_000
        ballast.write_bytes(os.urandom(room))
        run = tiny_screen.start(store)
        said = run.communicate(timeout=300)[1]
        assert run.returncode != 0 and "InputError" in said.splitlines()[-1] and "disk" in said.splitlines()[-1], said
        kept = stamps(store)
        ballast.unlink()
        assert run_again(tiny_screen, store) == 0
        assert kept.items() <= stamps(store).items()
        assert tiny_screen.ranked_the_same(store)
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=False)


def test_a_store_that_cannot_be_written_to(tiny_screen: TinyScreen, tmp_path):
    place = tmp_path / "readonly"
    shutil.copytree(tiny_screen.undisturbed.root, place / "store")
    mounted = subprocess.run(["mount", "--bind", str(place), str(place)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("needs the right to mount a file system")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", str(place)], check=True)
        store = Store(place / "store")
        with pytest.raises(InputError, match="cannot write to the store"):
            run_screen(load_screen(tiny_screen.file), store.root)
        assert ranking_of(store) == ranking_of(tiny_screen.undisturbed), "reading still works"
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=False)


def test_the_machine_s_clock_is_set_back_in_the_middle(tiny_screen: TinyScreen, tmp_path):
    """Simulated in the run itself, by a clock that goes back a day after each look of its first minute."""
    store = tiny_screen.prepared(tmp_path / "store")
    folder = tmp_path / "back"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(
        "import time\n"
        "_true, _began = time.time, time.monotonic()\n"
        "time.time = lambda: _true() - (86400.0 if time.monotonic() - _began > 6 else 0.0)\n"
    )
    run = tiny_screen.start(store, PYTHONPATH=os.pathsep.join([str(folder), str(Path(__file__).parents[1])]))
    assert run.wait(timeout=300) == 0, run.stderr.read()
    assert tiny_screen.ranked_the_same(store)


def run_again(tiny_screen: TinyScreen, store: Store) -> int:
    run = tiny_screen.start(store)
    code = run.wait(timeout=400)
    assert code == 0, run.stderr.read()
    return code


def test_a_stopped_scheduler_is_not_waited_for_for_ever(tiny_screen: TinyScreen, tmp_path, request):
    """One of two runs is suspended (a laptop's lid): the other takes over what it had, and it cannot publish later."""
    environment = {
        "ESR1MD_DATABASE_URL": request.getfixturevalue("postgres").new_database(),
        "ESR1MD_LEASE_SECONDS": "4",
    }
    store = tiny_screen.prepared(tmp_path / "store")
    runs = [tiny_screen.start(store, **environment) for _ in range(2)]
    wait_for(lambda: stamps(store), 240, "a replica is done", lambda: all(run.poll() is None for run in runs))
    suspended = [runs[0].pid, *_descendants(runs[0].pid)]
    for pid in suspended:
        os.kill(pid, signal.SIGSTOP)
    try:
        assert runs[1].wait(timeout=300) == 0, runs[1].stderr.read()
        done = stamps(store)
        assert sorted(done) == sorted(tiny_screen.digests)
    finally:
        for pid in reversed(suspended):
            os.kill(pid, signal.SIGCONT)
    assert runs[0].wait(timeout=300) == 0, runs[0].stderr.read()
    assert stamps(store) == done, "what another had finished was replaced"
    assert tiny_screen.ranked_the_same(store)


def _descendants(pid: int) -> list[int]:
    import psutil

    return [child.pid for child in psutil.Process(pid).children(recursive=True)]
