from __future__ import annotations

import subprocess

import pytest

from esr1md.dynamics import platforms
from esr1md.errors import InputError


@pytest.fixture(autouse=True)
def fresh_probes():
    platforms.probe.cache_clear()
    yield
    platforms.probe.cache_clear()


def test_cpu_passes_its_probe_with_forces_of_reference():
    result = platforms.probe("CPU")
    assert result.ok and result.force_error < platforms.TOLERANCE and result.seconds > 0


def test_an_absent_platform_is_refused_by_name_with_what_is_there(monkeypatch):
    monkeypatch.setattr(platforms, "available", lambda: ["CPU", "Reference"])
    with pytest.raises(InputError, match="platform CUDA cannot be used.*CPU, Reference"):
        platforms.choose_platform("CUDA")


def test_an_unknown_platform_lists_the_known():
    with pytest.raises(InputError, match="unknown platform 'Metal'.*CUDA"):
        platforms.choose_platform("Metal")


def test_a_driver_that_crashes_is_refused_and_the_next_one_taken(monkeypatch):
    real_run = subprocess.run

    def run(command, **options):
        if command[-1] == "OpenCL":
            return subprocess.CompletedProcess(command, -11, "", "")
        return real_run(command, **options)

    monkeypatch.setattr(platforms, "available", lambda: ["OpenCL", "CPU"])
    monkeypatch.setattr(platforms.subprocess, "run", run)
    choice = platforms.choose_platform("auto", threads=1)
    assert choice.name == "CPU" and "killed by signal 11" in choice.reason
    with pytest.raises(InputError, match="killed by signal 11"):
        platforms.choose_platform("opencl")


def test_wrong_forces_are_not_accepted(monkeypatch):
    import numpy as np

    monkeypatch.setattr(
        platforms,
        "_forces",
        lambda system, positions, name: (np.full((3, 3), 1.0 + 0.01 * (name != "Reference")), 0.1, ""),
    )
    result = platforms._run_probe("CPU")
    assert not result.ok and "differ from Reference" in result.reason


def test_threads_are_fixed_so_that_forces_repeat():
    assert platforms.choose_platform("CPU", threads=1).properties == {"Threads": "1", "DeterministicForces": "true"}
