"""esr1md bench and the GPU benchmark: real processes on small systems; the real system once."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import openmm
import pytest
from rich.console import Console

from esr1md import cli
from esr1md.commands import bench
from esr1md.complex import Complex
from esr1md.config import SiteConfig
from esr1md.dynamics import throughput
from esr1md.dynamics.platforms import PlatformChoice
from esr1md.dynamics.protocol import load_protocol
from esr1md.dynamics.slots import Packing
from esr1md.dynamics.throughput import Load
from esr1md.errors import InputError, StageError
from esr1md.sites.packing import choose_slots
from esr1md.workers import WorkerPool
from systems import CPU

sys.path.insert(0, str(Path(__file__).parent / "benchmarks"))


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("ESR1MD_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def argon() -> Complex:
    """125 atoms in a periodic box, which two hundred steps cost nothing."""
    system, force = openmm.System(), openmm.NonbondedForce()
    force.setNonbondedMethod(openmm.NonbondedForce.CutoffPeriodic)
    force.setCutoffDistance(0.9)
    grid = np.stack(np.meshgrid(*3 * [np.arange(5)]), axis=-1).reshape(-1, 3) * 0.4 + 0.2
    for _ in grid:
        system.addParticle(39.95)
        force.addParticle(0.0, 0.34, 1.0)
    system.addForce(force)
    system.setDefaultPeriodicBoxVectors(*(2.0 * np.eye(3)))
    return Complex(None, grid, system, np.arange(len(grid)), np.arange(0))


@pytest.fixture
def written(argon, tmp_path) -> Path:
    assert throughput.write_system(argon, load_protocol("standard"), tmp_path / "system") == (125, 125)
    return tmp_path / "system"


# -- numbers ---------------------------------------------------------------------------------------------------


def test_counts_are_read_in_order_and_wrong_ones_refused():
    assert bench.read_counts("4, 1,2,2") == (1, 2, 4)
    for text in ("0", "1,x", "1;2", "49", ""):
        with pytest.raises(InputError, match="--counts: .* is no number of simulations; expected whole numbers"):
            bench.read_counts(text)


def test_counts_by_default():
    assert bench.default_counts(True, 4) == (1, 2, 4, 8, 16)
    assert bench.default_counts(False, 6) == (1, 2, 4, 6)
    assert bench.default_counts(False, 1) == (1,)


def test_only_the_window_in_which_all_ran_counts():
    """Two at 100 steps/s of 4 fs, the second begun 2 s later and slower before and after: 34.56 ns/day each."""
    first = {"times": [0.0, 10.0, 20.0], "steps": [0, 1000, 2000], "fs": 4.0}
    second = {"times": [2.0, 12.0], "steps": [0, 1000], "fs": 4.0}
    rates, window = throughput.common_rates([first, second])
    assert window == 10.0
    assert rates == pytest.approx([100 * 4e-6 * 86400] * 2)
    with pytest.raises(StageError, match="never ran at the same time"):
        throughput.common_rates([{"times": [0.0, 1.0], "steps": [0, 1], "fs": 4.0}, second])


def test_the_best_number_is_small_on_a_gpu_and_large_on_cores():
    loads = [Load(1, (10.0,)), Load(2, (19.6 / 2,) * 2), Load(4, (5.0,) * 4), Load(8, failed="no memory")]
    assert throughput.best_count(loads, gpu=True) == 2  # 19.6 is within 3 % of 20
    assert throughput.best_count(loads, gpu=False) == 4
    assert throughput.best_count([*loads[:2], Load(4, (4.7,) * 4)], gpu=False) == 4
    assert throughput.best_count([*loads[:2], Load(4, (4.0,) * 4)], gpu=False) == 2


# -- processes -------------------------------------------------------------------------------------------------


def test_simulations_run_at_once_and_are_measured(written, tmp_path):
    seen: list[str] = []
    with WorkerPool(2, log_folder=tmp_path / "logs") as pool:
        pool.call(throughput.relax, written, CPU)
        load = throughput.measure(written, CPU, 2, 1.0, pool, progress=lambda said, done: seen.append(said))
    assert not load.failed and load.count == 2 and len(load.each) == 2 and min(load.each) > 0
    assert load.seconds >= 0.5 and load.memory_mb > 50 and load.gpu_mb is None
    assert "running" in seen
    assert not list(written.glob("run-*"))


def test_memory_is_the_processes_own(tmp_path):
    """Not this one's, which getrusage would report for whatever it starts."""
    block = np.ones(30_000_000)
    with WorkerPool(1, log_folder=tmp_path / "logs") as pool:
        assert pool.call(throughput._peak_memory) < throughput._peak_memory() - 0.5 * block.nbytes / 2**20


def test_a_simulation_that_cannot_run_is_a_failed_number(written, tmp_path):
    broken = PlatformChoice("CPU", {"NoSuchProperty": "1"})
    with WorkerPool(2, log_folder=tmp_path / "logs") as pool:
        load = throughput.measure(written, broken, 2, 30.0, pool)
    assert "NoSuchProperty" in load.failed and load.each == ()


def test_what_hangs_at_the_start_is_ended(written, tmp_path, monkeypatch):
    monkeypatch.setattr(throughput, "START_LIMIT_S", 0.0)
    with WorkerPool(1, log_folder=tmp_path / "logs") as pool:
        process = pool.call(os.getpid)
        with pytest.raises(StageError, match="0 of 1 simulations began in 0 s"):
            throughput.measure(written, CPU, 1, 60.0, pool)
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)


def test_ctrl_c_leaves_nothing_running(written, tmp_path):
    def interrupt(said: str, fraction: float) -> None:
        if said == "running":
            raise KeyboardInterrupt

    with WorkerPool(2, log_folder=tmp_path / "logs") as pool:
        processes = [pool.call(os.getpid)]
        with pytest.raises(KeyboardInterrupt):
            throughput.measure(written, CPU, 2, 60.0, pool, progress=interrupt)
        with pytest.raises(ProcessLookupError):
            os.kill(processes[0], 0)


def test_what_was_measured_is_kept_and_shown(argon, capsys):
    plan = SimpleNamespace(packing=Packing(1, 1), platform=CPU, protocol=load_protocol("standard"))
    found, said = bench.measure_packing(plan, argon, (1, 2), 1.0)
    assert said == [] and found.atoms == 125 and [load.count for load in found.loads] == [1, 2]
    assert throughput.measurements() == [found]
    document = json.loads(json.dumps(bench.as_document(found, said), allow_nan=False))
    assert document["loads"][0]["gain"] == 1.0 and document["best"] in (1, 2)
    assert document["loads"][1]["ns_per_day"] == pytest.approx(sum(document["loads"][1]["each"]), rel=1e-3)
    with (console := Console(width=100)).capture() as text:
        console.print(bench._view(found, ["a word"]))
    assert "best" in text.get() and "a word" in text.get() and "125 atoms" in text.get()


def test_when_nothing_runs_nothing_is_kept(argon):
    plan = SimpleNamespace(packing=Packing(1, 1), platform=CPU, protocol=load_protocol("standard"))
    broken = replace(argon, positions=np.full_like(argon.positions, 0.2))  # all in one place
    with pytest.raises(StageError, match="it cannot be minimised on CPU: .*NaN|unstable"):
        bench.measure_packing(plan, broken, (1,), 1.0)
    assert throughput.measurements() == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--counts", "many"], "'many' is no number of simulations"),
        (["--state", "agonistic"], "unknown helix-12 state 'agonistic'.*did you mean 'agonist'"),
        (["--protocol", "standart"], "unknown protocol 'standart'"),
        (["--platform", "CUDAA"], "unknown platform 'CUDAA'"),
        (["--ligand", "fulvestrnt", "--platform", "CPU"], "fulvestrnt"),
    ],
)
def test_bad_input_is_one_line(arguments, message, capsys):
    assert cli.main(["bench", *arguments]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and re.search(message, lines[0])


# -- the real system -------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_command_measures_a_complex_and_plans_take_it(capfd):
    arguments = ["bench", "--apo", "--protocol", "quick", "--platform", "CPU", "--counts", "1", "--seconds", "1"]
    assert cli.main([*arguments, "--json"]) == 0
    document = json.loads(capfd.readouterr().out)
    assert (document["protocol_name"], document["platform"], document["best"]) == ("quick", "CPU", 1)
    assert 1000 < document["atoms"] < 2000 and document["mobile"] < document["atoms"]
    assert document["loads"][0]["ns_per_day"] > 0
    _, packing = choose_slots(SiteConfig(name="s"), "CPU", 10, load_protocol("quick"))
    assert (packing.slots, packing.basis) == (1, "measured") and "1 at once" in packing.reason


@pytest.mark.slow
def test_ctrl_c_ends_the_command_and_all_it_started(tmp_path):
    """In a process of its own: building the system replaces the handler of SIGINT, which nothing in Python shows."""
    command = [sys.executable, "-m", "esr1md.cli", "bench", "--apo", "--protocol", "quick", "--platform", "CPU",
               "--counts", "1", "--seconds", "600"]  # fmt: skip
    process = subprocess.Popen(command, env={**os.environ, "TMPDIR": str(tmp_path)}, stderr=subprocess.PIPE, text=True,
                               preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))  # fmt: skip
    try:
        while not list(tmp_path.glob("esr1md-bench-*/run-*/ready-0")) and process.poll() is None:
            time.sleep(0.1)
        (worker,) = _children(process.pid)
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=60)[1]
    finally:
        process.kill()
    assert process.returncode == 130 and said.startswith("interrupted")
    assert not list(tmp_path.glob("esr1md-bench-*"))
    with pytest.raises(ProcessLookupError):
        os.kill(worker, 0)


def _children(parent: int) -> list[int]:
    listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    return [int(pid) for pid, of in map(str.split, listed.splitlines()) if int(of) == parent]


@pytest.mark.slow
def test_the_gpu_benchmark_runs_on_a_cpu(tmp_path, capsys):
    import gpu

    gpu.main(["--system", "implicit", "--small", "--prepare", str(tmp_path / "systems")])
    common = ["--systems", str(tmp_path / "systems"), "--system", "implicit", "--platform", "HIP", "--platform", "CPU"]
    gpu.main([*common, "--counts", "1,2", "--seconds", "1", "--out", str(tmp_path / "out")])
    rows = [json.loads(line) for line in (tmp_path / "out" / "rows.jsonl").read_text().splitlines()]
    measured = {(row["what"], row.get("count")): row for row in rows if "skipped" not in row}
    assert {("bare", None), ("engine", None), ("packing", 1), ("packing", 2)} <= set(measured)
    assert all(row["ns_per_day"] > 0 for row in measured.values() if row["what"] != "machine")
    skipped = [row for row in rows if "skipped" in row]
    assert {(row["what"], row["platform"]) for row in skipped} == {("platform", "HIP"), ("packing", "CPU")}
    table = (tmp_path / "out" / "table.md").read_text()
    assert "| implicit | 1,5" in table and "Not measured: platform HIP" in table


def test_what_there_is_no_time_for_is_named(tmp_path, argon):
    import gpu

    gpu.save_systems({"implicit": (argon, load_protocol("standard"))}, tmp_path / "systems")
    gpu.main(["--systems", str(tmp_path / "systems"), "--system", "implicit", "--platform", "CPU", "--budget", "1",
              "--out", str(tmp_path / "out")])  # fmt: skip
    rows = [json.loads(line) for line in (tmp_path / "out" / "rows.jsonl").read_text().splitlines()]
    assert [row.get("skipped") for row in rows] == [None, "no time left (--budget)"]


def test_the_table_says_whether_goals_are_met():
    import gpu

    rows = [
        {"what": "machine", "devices": "NVIDIA H200", "openmm": "8.6", "cores": 16},
        {"what": "bare", "system": "implicit", "platform": "CUDA", "atoms": 4046, "ns_per_day": 100.0},
        {"what": "packing", "system": "implicit", "platform": "CUDA", "mps": True, "count": 4, "ns_per_day": 250.0,
         "gain": 2.5},
        {"what": "packing", "system": "explicit", "platform": "CUDA", "mps": False, "count": 2, "ns_per_day": 120.0,
         "gain": 1.2},
    ]  # fmt: skip
    table = gpu.table(rows)
    assert "| implicit | 4,046 | CUDA | 100 | - | - |" in table
    assert "implicit: 2.5 times one run; the goal of 2 is met." in table
    assert "explicit: 1.2 times one run; the goal of 1.3 is not met." in table
