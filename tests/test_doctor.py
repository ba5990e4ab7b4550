"""The doctor: every finding has a status and, when something is wrong, what to do; nothing can make it fail."""

from __future__ import annotations

from importlib import metadata

import openmm
import pytest

from esr1md import doctor
from esr1md.dynamics import platforms
from esr1md.dynamics.platforms import Probe


def only(findings: list[doctor.Finding]) -> doctor.Finding:
    (finding,) = findings
    return finding


@pytest.mark.slow
def test_diagnose_looks_at_everything_and_leaves_no_trace(tmp_path):
    groups: list[str] = []
    store = tmp_path / "new" / "store"
    found = doctor.diagnose(store, report=groups.append)
    checks = {check["check"]: check for check in found["checks"]}
    assert {"python", "packages", "prefect", "AmberTools programs", "charge network", "docking", "store"} <= set(checks)
    assert {"platform CPU", "platform Reference"} <= set(checks)
    assert len(groups) == 10 and not store.parent.exists()
    assert all(c["status"] in ("ok", "warn", "problem", "absent") and c["found"] for c in found["checks"])
    assert all(c["do"] for c in found["checks"] if c["status"] in ("warn", "problem"))
    cpu = next(probe for probe in found["platforms"] if probe["name"] == "CPU")
    assert cpu["ok"] and cpu["force_error"] < 1e-3


def test_a_check_that_breaks_is_a_finding():
    def broken():
        raise RuntimeError("boom\nand more")

    finding = only(doctor._guarded("thing", broken))
    assert (finding.check, finding.status) == ("thing", "problem")
    assert "RuntimeError: boom" in finding.found and "more" not in finding.found


def test_missing_and_wrong_packages_are_named(monkeypatch):
    wanted = ["openmm>=99", "no-such-package>=1", "rich>=1", "colorama>=99; extra == 'test'"]
    monkeypatch.setattr(metadata, "requires", lambda name: wanted)
    finding = only(doctor.check_packages())
    assert finding.status == "problem"
    assert f"OpenMM {metadata.version('openmm')} is not >=99".lower() in finding.found.lower()
    assert "no-such-package is missing" in finding.found
    assert "rich" not in finding.found and "colorama" not in finding.found
    assert finding.do.startswith("pip install")


def test_an_untested_version_is_a_warning(monkeypatch, tmp_path):
    constraints = tmp_path / "constraints.txt"
    constraints.write_text("# a comment\nrich==0.0.1\n")
    monkeypatch.setattr(metadata, "requires", lambda name: ["rich>=1"])
    monkeypatch.setattr(doctor, "constraints_file", lambda: constraints)
    finding = only(doctor.check_packages())
    assert finding.status == "warn" and f"rich {metadata.version('rich')} (0.0.1)" in finding.found


def test_no_nvidia_driver_is_absent_not_a_problem(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    gpus, findings = doctor.find_gpus()
    assert gpus == [] and only(findings).status == "absent"


def test_gpus_are_read_from_nvidia_smi(program):
    program(
        "nvidia-smi",
        'case "$1" in --query*) echo "NVIDIA H200, 143771 MiB, 570.1";; *) echo "CUDA Version: 12.8";; esac',
    )
    gpus, findings = doctor.find_gpus()
    assert gpus == [doctor.Gpu("NVIDIA H200", "143771 MiB", "570.1", "12.8")]
    assert only(findings).status == "ok"


def test_a_broken_driver_is_a_problem(program):
    program("nvidia-smi", 'echo "Driver/library version mismatch" >&2; exit 18')
    gpus, findings = doctor.find_gpus()
    finding = only(findings)
    assert gpus == [] and finding.status == "problem" and "mismatch" in finding.found


@pytest.mark.parametrize(("cuda", "extra"), [("12.8", "cuda12"), ("13.0", "cuda13"), ("", "cuda12")])
def test_a_gpu_without_its_platform_says_what_to_install(cuda, extra, monkeypatch):
    probes = [
        Probe("CUDA", False, "not part of this installation", listed=False),
        Probe("CPU", True, "agrees", 1e-6, 0.1),
    ]
    monkeypatch.setattr("esr1md.dynamics.platforms.probe_platforms", lambda: probes)
    kept: list[dict] = []
    cuda_finding, cpu = doctor.check_platforms([doctor.Gpu("H200", "1", "1", cuda)], kept)
    assert cuda_finding.status == "problem" and extra in cuda_finding.do
    assert cpu.status == "ok" and [probe["name"] for probe in kept] == ["CUDA", "CPU"]


def test_a_platform_with_wrong_forces_is_reported(monkeypatch):
    wrong = Probe("OpenCL", False, "its forces differ from Reference by 0.3 (relative)", 0.3, 0.1)
    monkeypatch.setattr("esr1md.dynamics.platforms.probe_platforms", lambda: [wrong])
    finding = only(doctor.check_platforms([], []))
    assert finding.status == "warn" and "differ" in finding.found and "platform: OpenCL" in finding.do


def test_a_library_that_a_platform_lacks_is_named(monkeypatch):
    """Only its own: what other plugins lack says nothing of this platform."""
    failures = (
        "Error loading library /x/libOpenMMCUDA.so: libcuda.so.1: no such file",
        "Error loading library /x/libOpenMMOpenCL.so: libOpenCL.so.1: no such file",
    )
    monkeypatch.setattr(openmm.Platform, "getPluginLoadFailures", lambda: failures)
    monkeypatch.setattr(platforms, "available", lambda: ["CPU", "Reference"])
    platforms.probe.cache_clear()
    probes = [platforms.probe(name) for name in ("OpenCL", "HIP")]
    platforms.probe.cache_clear()
    assert [probe.reason for probe in probes] == [
        "OpenMM cannot load it: libOpenCL.so.1: no such file",
        "not part of this installation of OpenMM",
    ]
    monkeypatch.setattr("esr1md.dynamics.platforms.probe_platforms", lambda: probes)
    opencl, hip = doctor.check_platforms([], [])
    assert (opencl.status, opencl.found, hip.status) == ("absent", probes[0].reason, "absent")


def test_a_store_that_cannot_be_written_is_a_problem(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    finding = only(doctor.check_store(blocked))
    assert finding.status == "problem" and "--store" in finding.do


def test_a_nearly_full_disk_is_told(tmp_path, monkeypatch):
    usage = type("Usage", (), {"free": 5e9, "total": 1e12, "used": 0})
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: usage)
    assert only(doctor.check_store(tmp_path)).status == "warn"
    usage.free = 1e9
    assert only(doctor.check_store(tmp_path)).status == "problem"


def test_a_program_that_hangs_is_stopped(program):
    done = doctor._run([str(program("hang", "exec sleep 30"))], 0.2)
    assert not done.ok and "did not finish" in done.last


def test_a_program_that_crashes_says_by_which_signal(program):
    done = doctor._run([str(program("crash", "kill -SEGV $$"))], 5)
    assert not done.ok and done.last == "killed by signal 11"


def test_the_ambertools_programs_run():
    programs, sqm = doctor.check_ambertools()
    assert programs.status == "ok"
    assert sqm.status == "ok" or (sqm.status == "absent" and "apt-get install" in sqm.do)


def test_a_program_that_lacks_a_library_is_a_problem(program, tmp_path, monkeypatch):
    folder = tmp_path / "bin" / "wrapped_progs"
    folder.mkdir(parents=True)
    for name in ("antechamber", "parmchk2"):
        program(name, 'echo "error while loading shared libraries: libx.so" >&2; exit 127').rename(folder / name)
    monkeypatch.setattr("esr1md.ligand.ambertools.amber_home", lambda: tmp_path)
    finding = only(doctor.check_ambertools())
    assert finding.status == "problem" and "libx.so" in finding.found and "ldd" in finding.do
