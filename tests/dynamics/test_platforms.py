from __future__ import annotations

import json
import subprocess

import numpy as np
import pytest
from openmm import unit

from esr1md.dynamics import platforms
from esr1md.dynamics.platforms import PlatformChoice
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
    monkeypatch.setattr(
        platforms,
        "_forces",
        lambda system, positions, name, properties=None: (np.full((3, 3), 1.0 + 0.01 * (name != "Reference")), 0.1, ""),
    )
    result = platforms._run_probe("CPU", None)
    assert not result.ok and "differ from Reference" in result.reason


def test_threads_are_fixed_so_that_forces_repeat():
    assert platforms.choose_platform("CPU", threads=1).properties == {"Threads": "1", "DeterministicForces": "true"}


def test_opencl_on_a_processor_is_refused_even_if_its_forces_are_right(monkeypatch):
    """As PoCL does it: listed, right, and not a GPU."""
    answer = (np.ones((3, 3)), 0.1, "pthread-skylake-avx512-AMD EPYC")
    monkeypatch.setattr(platforms, "_forces", lambda *arguments: answer)
    result = platforms._run_probe("OpenCL", None)
    assert not result.ok and "its only device is a processor (pthread-" in result.reason


def test_a_processor_is_known_by_its_own_name_too():
    models = {
        line.partition(":")[2].strip()
        for line in open("/proc/cpuinfo").read().splitlines()
        if line.startswith("model name")
    }
    if not models:
        pytest.skip("this machine does not name its processor")
    assert all(platforms.is_processor(model) for model in models)
    assert not platforms.is_processor("NVIDIA H200") and not platforms.is_processor("gfx90a")


@pytest.fixture
def water():
    return platforms._gb_system(20)


def _positions(system_and_positions):
    return np.array(system_and_positions[1].value_in_unit(unit.nanometer))


def test_the_real_system_is_compared_once_in_a_process_of_its_own(water, tmp_path, monkeypatch):
    choice = PlatformChoice("CPU", {"Threads": "1", "DeterministicForces": "true"})
    assert platforms.verify(choice, water[0], _positions(water), known=tmp_path, key={"a": 1}) is choice
    kept = json.loads(next(tmp_path.glob("*.json")).read_text())
    assert kept["probe"]["ok"] and 0 < kept["probe"]["force_error"] < platforms.TOLERANCE
    monkeypatch.setattr(platforms.subprocess, "run", lambda *a, **k: pytest.fail("compared again"))
    assert platforms.verify(choice, water[0], _positions(water), known=tmp_path, key={"a": 1}) is choice


def _crashing_on_the_real_system(monkeypatch, name):
    real_run = subprocess.run

    def run(command, **options):
        if name in command[-2:-1]:
            return subprocess.CompletedProcess(command, -11, "", "")
        return real_run(command, **options)

    monkeypatch.setattr(platforms.subprocess, "run", run)


def test_a_crash_on_the_real_system_stops_a_requested_platform_in_words(water, tmp_path, monkeypatch):
    _crashing_on_the_real_system(monkeypatch, "OpenCL")
    with pytest.raises(InputError, match="OpenCL: the probe was killed by signal 11.*--platform"):
        platforms.verify(PlatformChoice("OpenCL"), water[0], _positions(water), known=tmp_path, key={})


def test_a_crash_on_the_real_system_gives_way_where_the_choice_was_ours(water, tmp_path, monkeypatch):
    _crashing_on_the_real_system(monkeypatch, "OpenCL")
    choice = PlatformChoice("OpenCL", {}, "fastest", fallbacks=("CPU",))
    found = platforms.verify(choice, water[0], _positions(water), known=tmp_path, key={})
    assert found.name == "CPU" and "OpenCL: the probe was killed by signal 11" in found.reason
    assert found.fallbacks == ()
