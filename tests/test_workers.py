"""Worker processes: answers, errors, deaths and ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from esr1md.errors import StageError
from esr1md.workers import PoolClosed, WorkerDied, WorkerPool


@pytest.fixture
def pool(tmp_path):
    with WorkerPool(2, log_folder=tmp_path / "logs") as pool:
        yield pool


def test_answers_come_from_another_process_with_its_threads_limited(pool):
    assert pool.call(os.getpid) != os.getpid()
    assert pool.call(os.getenv, "OPENMM_CPU_THREADS") == "1"


def test_a_worker_is_used_again(pool):
    assert pool.call(os.getpid) == pool.call(os.getpid)


def test_an_error_is_raised_here_and_the_worker_lives(pool):
    before = pool.call(os.getpid)
    with pytest.raises(ValueError, match="invalid literal"):
        pool.call(int, "x")
    with pytest.raises(StageError) as caught:
        pool.call(raise_stage_error)
    assert (caught.value.stage, caught.value.where) == ("pose", "here")
    assert pool.call(os.getpid) == before


def raise_stage_error():
    raise StageError("pose", "does not fit", where="here")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_death_fails_its_own_call_only(pool, number):
    with ThreadPoolExecutor(4) as threads:
        ends = [threads.submit(pool.call, die_if, n, int(number) if n == 2 else 0) for n in range(6)]
    with pytest.raises(WorkerDied, match=number.name):
        ends.pop(2).result()
    assert [future.result() for future in ends] == [0, 1, 3, 4, 5]


def die_if(n: int, number: int) -> int:
    if number:
        os.kill(os.getpid(), number)
    return n


def test_exit_code_is_named(pool):
    with pytest.raises(WorkerDied, match="exited with code 7"):
        pool.call(os._exit, 7)


def test_closing_ends_the_running_call_and_refuses_the_waiting_ones(pool):
    with ThreadPoolExecutor(6) as threads:
        calls = [threads.submit(pool.call, time.sleep, 600) for _ in range(6)]
        while len(pool._alive) < 2:
            time.sleep(0.01)
        time.sleep(0.3)
        started = time.monotonic()
        pool.close()
        for call in calls:
            with pytest.raises(PoolClosed):
                call.result(timeout=20)
    assert time.monotonic() - started < 10


def test_an_error_that_cannot_be_pickled_is_told_in_words(pool):
    with pytest.raises(RuntimeError, match="Unpicklable: odd"):
        pool.call(raise_unpicklable)


def raise_unpicklable():
    class Unpicklable(Exception):
        pass

    raise Unpicklable("odd")


def test_what_a_library_prints_goes_to_the_log(pool, tmp_path, capfd):
    pool.call(print, "chatter", flush=True)
    assert capfd.readouterr() == ("", "")
    assert "chatter" in "".join(path.read_text() for path in (tmp_path / "logs").iterdir())


SLEEP = "import ctypes; ctypes.{}(None).sleep(600)"
#: What a worker is doing: native code without and with the interpreter lock, as docking; a program of its own.
BUSY = {
    "native code": SLEEP.format("CDLL"),
    "native code that keeps the lock": SLEEP.format("PyDLL"),
    "a program": "import subprocess; subprocess.run(['sleep', '600'])",
}


@pytest.mark.parametrize("busy", BUSY)
def test_workers_end_with_a_killed_parent(tmp_path, busy):
    """``kill -9`` of the run must not leave simulations computing for nobody."""
    code = (
        "import os, sys\n"
        "from esr1md.workers import WorkerPool\n"
        "pool = WorkerPool(1, log_folder=sys.argv[1])\n"
        "print(pool.call(os.getpid), flush=True)\n"
        "pool.call(exec, sys.argv[2])\n"
    )
    root = Path(__file__).resolve().parents[1]
    parent = subprocess.Popen([sys.executable, "-c", code, str(tmp_path), BUSY[busy]], cwd=root, stdout=subprocess.PIPE)
    worker = int(parent.stdout.readline())
    time.sleep(0.5)
    group = _members(worker)
    assert len(group) == (3 if busy == "a program" else 2), "the worker, who watches for it, what it started"
    parent.kill()
    parent.wait()
    limit = time.monotonic() + 20
    while any(map(_running, group)):
        assert time.monotonic() < limit, "the worker outlived its parent"
        time.sleep(0.1)


def _members(group: int) -> list[int]:
    """Processes of a process group."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if os.getpgid(int(path.name)) == group:
                found.append(int(path.name))
        except ProcessLookupError:  # it has ended
            continue
    return found


def _running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except FileNotFoundError:
        return False
