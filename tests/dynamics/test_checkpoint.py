"""A replica that is killed goes on from its checkpoint: no frame twice, none missing, none torn."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import mdtraj
import numpy as np
import pandas
import pytest

from esr1md.dynamics import checkpoint as checkpoints
from esr1md.dynamics.platforms import PlatformChoice
from esr1md.dynamics.run import remove_checkpoint, simulate
from systems import CPU, apo_complex, tiny_protocol

#: A minimisation in two chunks, heating, and eight frames.
PROTOCOL = tiny_protocol(
    stages=[
        {"kind": "minimise", "iterations": 20, "solvent": False},
        {"kind": "heat", "from_kelvin": 150, "duration_ps": 0.08},
        {"kind": "equilibrate", "duration_ps": 0.08},
        {"kind": "produce", "duration_ps": 0.32, "frame_ps": 0.04},
    ]
)


class Killed(BaseException):
    """Stands for a signal that Python cannot catch: nothing after it runs but ``finally``."""


def run(folder: Path, **options):
    return simulate(apo_complex(), PROTOCOL, seed=5, platform=options.pop("platform", CPU), folder=folder, **options)


def kill_at(stage: str, fraction: float):
    def progress(name, done):
        if name == stage and done >= fraction - 1e-9:
            raise Killed

    return progress


def frames(folder: Path) -> mdtraj.Trajectory:
    return mdtraj.load_xtc(str(folder / "trajectory.xtc"), top=str(folder / "complex.pdb"))


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return folder, run(folder)


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """Killed after six frames with a checkpoint at every look."""
    folder = tmp_path_factory.mktemp("killed")
    with pytest.raises(Killed):
        run(folder, progress=kill_at("produce", (0.16 + 6 * 0.04) / 0.48), checkpoint_s=0)
    return folder


@pytest.fixture
def copy(killed, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(killed, folder)
    return folder


def check_same(folder: Path, whole: Path, tolerance_nm: float = 2e-3) -> None:
    one, two = frames(folder), frames(whole)
    np.testing.assert_allclose(one.time, two.time)
    np.testing.assert_allclose(one.xyz, two.xyz, atol=tolerance_nm)  # XTC keeps 0.001 nm
    rows = [pandas.read_parquet(f / "energies.parquet") for f in (folder, whole)]
    assert rows[0][["stage", "time_ps"]].equals(rows[1][["stage", "time_ps"]])
    np.testing.assert_allclose(rows[0]["potential_kj"], rows[1]["potential_kj"], rtol=1e-3)


@pytest.mark.parametrize(
    ("stage", "fraction"), [("minimise", 0.0), ("heat", 0.1), ("equilibrate", 0.25), ("produce", 0.5), ("produce", 1.0)]
)
def test_a_replica_killed_in_any_stage_ends_as_if_nothing_had_happened(uninterrupted, tmp_path, stage, fraction):
    whole, expected = uninterrupted
    with pytest.raises(Killed):
        run(tmp_path, progress=kill_at(stage, fraction), checkpoint_s=0)
    record = run(tmp_path)
    check_same(tmp_path, whole)
    assert record.n_frames == expected.n_frames == 8
    assert record.temperature_kelvin == pytest.approx(expected.temperature_kelvin, rel=1e-3)
    if stage != "minimise":  # killed there before its first checkpoint
        assert [entry["exact"] for entry in record.resumed] == [True] and record.resumed[0]["notes"] == []
    assert not list(tmp_path.glob("*checkpoint*")), "a finished replica needs none"


def test_only_work_since_the_checkpoint_is_done_again(copy):
    seen, noted = [], []
    run(
        copy,
        progress=lambda stage, fraction: seen.append((stage, fraction)),
        note=lambda event, **fields: noted.append((event, fields)),
    )
    assert {stage for stage, _ in seen} == {"produce"}
    assert seen[0][1] > (0.16 + 5 * 0.04) / 0.48 and [f for _, f in seen] == sorted(f for _, f in seen)
    assert [event for event, _ in noted] == ["device", "resumed", "phase begun", "phase ended", "simulated"]
    assert noted[1][1] == {"from": "produce, 50 steps (5 frames)", "exact": True, "notes": []}
    assert noted[2][1] == {"phase": "producing", "number": 4, "of": 4}


def test_frames_after_the_checkpoint_are_cut_off(copy, uninterrupted):
    with open(copy / "trajectory.xtc", "ab") as handle:
        handle.write(b"half a frame that was being written")
    with open(copy / "energies.csv", "a") as handle:
        handle.write("produce,0.99,not a num")
    run(copy)
    check_same(copy, uninterrupted[0])


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty"])
def test_a_damaged_checkpoint_gives_way_to_the_one_before_and_it_is_said(copy, uninterrupted, damage):
    path = copy / checkpoints.CURRENT
    content = path.read_bytes()
    middle = len(content) // 2
    path.write_bytes(
        {
            "truncated": content[:middle],
            "flipped": content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :],
            "empty": b"",
        }[damage]
    )
    record = run(copy)
    check_same(copy, uninterrupted[0])
    [entry] = record.resumed
    assert "checkpoint.npz is damaged" in entry["notes"][0]
    assert "checkpoint.previous.npz was used instead" in entry["notes"][0]


def test_without_any_good_checkpoint_the_replica_starts_again_and_it_is_said(copy, uninterrupted):
    (copy / checkpoints.CURRENT).write_bytes(b"x")
    (copy / checkpoints.PREVIOUS).write_bytes(b"x")
    record = run(copy)
    check_same(copy, uninterrupted[0])
    assert record.resumed[0]["from"] == "the beginning" and "started again" in record.resumed[0]["notes"][-1]


def test_a_trajectory_shorter_than_its_checkpoint_says_is_not_trusted(copy, uninterrupted):
    (copy / "trajectory.xtc").write_bytes((copy / "trajectory.xtc").read_bytes()[:100])
    record = run(copy)
    check_same(copy, uninterrupted[0])
    assert "more than is left of trajectory.xtc" in record.resumed[0]["notes"][0]


def test_going_on_with_another_platform_is_recorded(copy):
    record = run(copy, platform=PlatformChoice("Reference"))
    [entry] = record.resumed
    assert entry["exact"] is False and "platform: CPU then, Reference now" in entry["notes"]
    assert frames(copy).n_frames == 8


def test_a_checkpoint_of_another_seed_is_not_gone_on_with(copy):
    record = simulate(apo_complex(), PROTOCOL, seed=6, platform=CPU, folder=copy)
    assert record.n_frames == 8 and "another system, protocol or seed" in record.resumed[0]["notes"][-1]


def test_between_two_renames_the_checkpoint_before_is_enough(copy, uninterrupted):
    """A kill between putting the last checkpoint aside and putting the new one in its place."""
    (copy / checkpoints.CURRENT).unlink()
    record = run(copy)
    check_same(copy, uninterrupted[0])
    assert record.resumed[0]["from"].startswith("produce") and record.resumed[0]["notes"] == []


def test_a_kill_in_the_analysis_does_not_cost_the_simulation(uninterrupted, tmp_path):
    run(tmp_path, keep_checkpoint=True)
    seen = []
    record = run(tmp_path, progress=lambda stage, fraction: seen.append(stage), keep_checkpoint=True)
    check_same(tmp_path, uninterrupted[0])
    assert seen == [] and record.n_frames == 8
    assert record.resumed[0]["from"] == "produce, 80 steps (8 frames)"
    remove_checkpoint(tmp_path)
    assert not list(tmp_path.glob("*checkpoint*")) and not (tmp_path / "energies.csv").exists()


_PROGRAM = """
import sys
sys.path[:0] = {path!r}
from pathlib import Path
from test_checkpoint import run
run(Path(sys.argv[1]), checkpoint_s=0)
"""


@pytest.mark.slow
def test_kill_9_at_random_instants(uninterrupted, tmp_path):
    """The real signal, again and again, until the replica is through."""
    rng = np.random.default_rng(3)
    here = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
    kills = 0
    for attempt in range(12):
        process = subprocess.Popen([sys.executable, "-c", _PROGRAM.format(path=here), str(tmp_path)])
        limit = time.monotonic() + 120
        while process.poll() is None and not (tmp_path / "system.xml.gz").exists() and time.monotonic() < limit:
            time.sleep(0.01)
        if attempt < 4:
            time.sleep(float(rng.uniform(0.2, 1.5)) if attempt else 0.0)
            process.send_signal(signal.SIGKILL)
        process.wait(120)
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL
        kills += 1
        (tmp_path / "system.xml.gz").unlink(missing_ok=True)
    assert kills and process.returncode == 0
    check_same(tmp_path, uninterrupted[0])
    record = json.loads((tmp_path / "simulation.json").read_text())
    assert record["n_frames"] == 8 and sum(p["seconds"] for p in record["timeline"]) > 0


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_full_disk_during_a_frame_loses_nothing_before_it(uninterrupted, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1500k", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"no small disk can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        work = disk / "work"
        work.mkdir()

        def fill(stage, fraction):
            if stage == "produce" and fraction > 0.6 and not (disk / "ballast").exists():
                free = shutil.disk_usage(disk).free
                (disk / "ballast").write_bytes(b"x" * max(free - 4096, 0))

        with pytest.raises(Exception, match="write|space"):
            run(work, progress=fill, checkpoint_s=0)
        (disk / "ballast").unlink()
        subprocess.run(["mount", "-o", "remount,size=8m", str(disk)], check=True)
        record = run(work)
        assert record.n_frames == 8 and record.resumed
        check_same(work, uninterrupted[0])
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=False)


@pytest.mark.slow
def test_the_hills_of_a_biased_replica_survive_a_kill(tmp_path):
    """Whole domain with a helix-12 bias: hills are neither lost nor laid twice."""
    produce = {"kind": "produce", "duration_ps": 0.048, "frame_ps": 0.016, "helix12_bias": {"deposit_ps": 0.012}}
    stages = [{"kind": "minimise", "iterations": 20, "solvent": False}, produce]
    protocol = tiny_protocol(stages=stages, region=None, scoring={"receptor": "whole"})
    hills = []
    for name, stops in (("whole", False), ("killed", True)):
        folder = tmp_path / name
        folder.mkdir()
        options = {"seed": 2, "platform": CPU, "folder": folder, "checkpoint_s": 0}
        if stops:
            with pytest.raises(Killed):
                simulate(apo_complex(), protocol, progress=kill_at("produce", 2 / 3), **options)
        assert simulate(apo_complex(), protocol, **options).n_frames == 3
        hills.append(np.loadtxt(folder / "helix12_hills.csv", delimiter=",", skiprows=1))
    assert len(hills[0]) == 4
    np.testing.assert_allclose(hills[1], hills[0], atol=1e-3)
