"""Ctrl-C and ``kill -9`` of a flow: it ends at once and leaves no process behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from esr1md.store import Store

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
SCREEN = """
name: interrupted
variants: [WT, Y537S]
ligands: [estradiol, fulvestrant]
protocol: quick
replicas: 2
platform: CPU
"""
CODE = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from esr1md.catalogue import load_flow
load_flow().run_screen_flow(sys.argv[1], sys.argv[2])
"""


@pytest.mark.parametrize(
    ("number", "moment"), [(signal.SIGINT, "step"), (signal.SIGKILL, "step"), (signal.SIGKILL, "server")]
)
def test_interrupted_flow_leaves_no_process_and_no_half_result(tmp_path, number, moment):
    """At its first step, and in the second in which Prefect's server exists but does not answer yet."""
    if not Path("/proc/self/environ").exists():
        pytest.skip("finds the run's processes by their environment in /proc")
    (tmp_path / "screen.yaml").write_text(SCREEN)
    store = tmp_path / "store"
    mark = f"ESR1MD_TEST_MARK={tmp_path}"
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    process = subprocess.Popen(
        [sys.executable, "-c", CODE, str(tmp_path / "screen.yaml"), str(store)],
        cwd=ROOT, env={**kept, "ESR1MD_TEST_MARK": str(tmp_path)}, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    if moment == "step":
        _wait(lambda: list(store.glob("progress/*.step")), 300, "nothing was prepared")
        assert len(_marked(mark)) >= 3, "the flow and at least one worker, who is watched"
    else:
        _wait(lambda: any("uvicorn" in _command(pid) for pid in _marked(mark)), 300, "no server was started")
    process.send_signal(number)
    process.wait(timeout=120)
    assert process.returncode != 0
    _wait(lambda: not _marked(mark), 60, "a process outlived the run", lambda: map(_command, _marked(mark)))
    if number == signal.SIGINT:
        error = process.stderr.read()
        assert error.rstrip().endswith("KeyboardInterrupt"), error

    def swept() -> bool:
        """A killed process vanishes from /proc a moment before it lets go of its locks."""
        Store(store).sweep()
        return not list(store.glob("*/.*.tmp"))

    _wait(swept, 20, "what was half-written is not cleared")


def _marked(mark: str) -> list[int]:
    """Processes whose environment holds ``mark``."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (path / "environ").read_bytes().split(b"\0"):
                found.append(int(path.name))
        except OSError:
            continue
    return found


def _command(pid: int) -> str:
    try:
        return f"{pid}: {(Path('/proc') / str(pid) / 'cmdline').read_bytes().replace(bytes(1), b' ').decode()}"
    except OSError:
        return f"{pid}: gone"


def _wait(condition, seconds: float, complaint: str, what=tuple) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, f"{complaint}: {'; '.join(what())}"
        time.sleep(0.1)
