"""The store's promises: made once, whole or not at all; failures kept; the disk's refusals explained."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from esr1md.errors import InputError, StageError
from esr1md.specs import digest_of
from esr1md.store import Store
from esr1md.store.disk import read_json, write_json

SPEC = {"ligand": "estradiol"}
DIGEST = digest_of(SPEC)

# Appends one byte to COUNT when it starts computing, then takes SECONDS, then writes the result.
MAKER = """
import sys, time
from pathlib import Path
from esr1md.specs import digest_of
from esr1md.store import Store
root, count, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
spec = {"ligand": "estradiol"}
def make(folder):
    with open(count, "a") as handle:
        handle.write("x")
    (folder / "half.txt").write_text("half")
    time.sleep(seconds)
    (folder / "result.txt").write_text("whole")
print(Store(root).produce("poses", digest_of(spec), make, spec=spec))
"""


def start_maker(root: Path, count: Path, seconds: float) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", MAKER, str(root), str(count), str(seconds)],
        cwd=Path(__file__).resolve().parents[2],
        stdout=subprocess.PIPE,
        text=True,
    )


def wait_for(path: Path, seconds: float = 20) -> None:
    limit = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < limit, f"{path} did not appear"
        time.sleep(0.01)


def write_result(folder: Path) -> None:
    (folder / "result.txt").write_text("whole")


def never(folder: Path) -> None:
    raise AssertionError("computed although the store had the answer")


def test_result_is_made_once_and_complete(tmp_path):
    store = Store(tmp_path / "store")
    assert store.find("poses", DIGEST) is None
    assert not (tmp_path / "store").exists(), "asking creates nothing"
    folder = store.produce("poses", DIGEST, write_result, spec=SPEC)
    assert folder == tmp_path / "store" / "poses" / DIGEST
    assert store.produce("poses", DIGEST, never, spec=SPEC) == folder == store.find("poses", DIGEST)
    assert {p.name for p in folder.iterdir()} == {"result.txt", "spec.json", "done.json"}
    assert json.loads((folder / "spec.json").read_text()) == SPEC
    done = json.loads((folder / "done.json").read_text())
    assert done["started"] <= done["finished"] and "openmm" in done["versions"]
    assert list(store.done("poses")) == [folder]
    assert [p.name for p in folder.parent.iterdir()] == [DIGEST], "no lock or temporary folder is left"


def test_unknown_kind_is_a_programming_error(tmp_path):
    with pytest.raises(ValueError, match="unknown kind"):
        Store(tmp_path).produce("recipes", DIGEST, write_result, spec=SPEC)


def test_killed_process_leaves_debris_that_the_next_call_clears(tmp_path):
    root, count = tmp_path / "store", tmp_path / "count"
    process = start_maker(root, count, 60)
    wait_for(root / "poses" / f".{DIGEST}.tmp" / "half.txt")
    process.send_signal(signal.SIGKILL)
    process.wait()
    store = Store(root)
    assert (root / "poses" / f".{DIGEST}.tmp").exists()
    assert store.find("poses", DIGEST) is None and list(store.done("poses")) == []
    folder = store.produce("poses", DIGEST, write_result, spec=SPEC)
    assert not (folder / "half.txt").exists()
    assert [p.name for p in folder.parent.iterdir()] == [DIGEST]


def test_folder_without_done_record_is_debris(tmp_path):
    store = Store(tmp_path)
    folder = store.folder("poses", DIGEST)
    folder.mkdir(parents=True)
    (folder / "result.txt").write_text("from a process that died between the rename and the record")
    assert store.find("poses", DIGEST) is None
    store.produce("poses", DIGEST, write_result, spec=SPEC)
    assert (folder / "result.txt").read_text() == "whole"


def test_two_processes_compute_once(tmp_path):
    root, count = tmp_path / "store", tmp_path / "count"
    makers = [start_maker(root, count, 1.0) for _ in range(2)]
    answers = {maker.communicate(timeout=60)[0].strip() for maker in makers}
    assert all(maker.returncode == 0 for maker in makers)
    assert answers == {str(root / "poses" / DIGEST)}
    assert count.read_text() == "x"


def test_sweep_clears_the_dead_and_spares_the_living(tmp_path):
    root, count = tmp_path / "store", tmp_path / "count"
    store = Store(root)
    dead = root / "poses" / f".{'0' * 64}.tmp"
    dead.mkdir(parents=True)
    unmarked = root / "replicas" / ("1" * 64)
    unmarked.mkdir(parents=True)
    finished = store.produce("receptors", DIGEST, write_result, spec=SPEC)
    process = start_maker(root, count, 1.0)
    wait_for(root / "poses" / f".{DIGEST}.tmp" / "half.txt")
    assert store.sweep() == 2
    assert not dead.exists() and not unmarked.exists() and finished.exists()
    assert process.wait(timeout=60) == 0 and store.find("poses", DIGEST)


def test_scientific_failure_is_kept_and_raised_without_computing(tmp_path):
    store = Store(tmp_path)

    def fail(folder):
        (folder / "log.txt").write_text("what happened")
        raise StageError("pose", "does not fit under a closed helix 12", where=str(folder / "log.txt"), kind="outcome")

    for make in (fail, never):
        with pytest.raises(StageError, match="does not fit") as caught:
            store.produce("poses", DIGEST, make, spec=SPEC)
        assert caught.value.where == str(store.folder("poses", DIGEST) / "log.txt")
        assert Path(caught.value.where).read_text() == "what happened"
    record = store.failure("poses", DIGEST)
    assert (record["stage"], record["kind"], record["unexpected"]) == ("pose", "outcome", False)
    assert store.find("poses", DIGEST) is None
    assert list(store.failed("poses")) == [store.folder("poses", DIGEST)]

    folder = store.produce("poses", DIGEST, write_result, spec=SPEC, retry=True)
    assert store.failure("poses", DIGEST) is None and not (folder / "failure.json").exists()


def test_unexpected_fault_keeps_its_traceback(tmp_path):
    store = Store(tmp_path)

    def fail(folder):
        raise ZeroDivisionError("no atoms")

    with pytest.raises(StageError, match="receptor: ZeroDivisionError: no atoms") as caught:
        store.produce("receptors", DIGEST, fail, spec=SPEC)
    assert "ZeroDivisionError" in Path(caught.value.where).read_text()
    record = store.failure("receptors", DIGEST)
    assert (record["kind"], record["unexpected"]) == ("error", True)
    store.forget("receptors", DIGEST)
    assert store.produce("receptors", DIGEST, write_result, spec=SPEC)


def test_bad_input_found_late_is_not_kept_as_a_failure(tmp_path):
    store = Store(tmp_path)

    def refuse(folder):
        raise InputError("receptor file is not ER-alpha")

    with pytest.raises(InputError, match="not ER-alpha"):
        store.produce("receptors", DIGEST, refuse, spec=SPEC)
    assert store.failure("receptors", DIGEST) is None
    assert list((tmp_path / "receptors").iterdir()) == []


def test_interrupt_leaves_nothing(tmp_path):
    def interrupt(folder):
        (folder / "half.txt").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Store(tmp_path).produce("poses", DIGEST, interrupt, spec=SPEC)
    assert list((tmp_path / "poses").iterdir()) == []


@pytest.mark.parametrize("name", ["checkpoint.npz", "checkpoint.previous.npz"])
def test_an_interrupted_computation_with_a_checkpoint_is_gone_on_with(tmp_path, name):
    store, seen = Store(tmp_path / "store"), []

    def make(folder):
        seen.append(sorted(path.name for path in folder.iterdir()))
        (folder / name).write_bytes(b"far")
        if len(seen) < 3:
            raise KeyboardInterrupt
        (folder / name).unlink()
        (folder / "result.txt").write_text("whole")

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            store.produce("replicas", DIGEST, make, spec=SPEC)
        assert store.sweep() == 0 and store.find("replicas", DIGEST) is None
    folder = store.produce("replicas", DIGEST, make, spec=SPEC)
    assert seen == [[], [name], [name]]
    assert (folder / "result.txt").read_text() == "whole" and not list(folder.parent.glob(".*.tmp"))


def test_a_failure_after_a_checkpoint_is_a_failure(tmp_path):
    store = Store(tmp_path / "store")

    def make(folder):
        (folder / "checkpoint.npz").write_bytes(b"far")
        raise StageError("dynamics", "unstable")

    for _ in range(2):
        with pytest.raises(StageError, match="unstable"):
            store.produce("replicas", DIGEST, make, spec=SPEC)
    assert store.failure("replicas", DIGEST)["cause"] == "unstable"
    assert not list((store.root / "replicas").glob(".*.tmp"))


@pytest.mark.parametrize("wrap", [False, True], ids=["raised", "wrapped in a stage's own error"])
def test_full_disk_is_one_clear_line_and_loses_nothing(tmp_path, wrap):
    store = Store(tmp_path)
    finished = store.produce("receptors", DIGEST, write_result, spec=SPEC)

    def fill(folder):
        (folder / "half.txt").write_text("half")
        try:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            if not wrap:
                raise
            raise StageError("dynamics", "the trajectory could not be written") from error

    with pytest.raises(InputError, match="disk is full") as caught:
        store.produce("poses", DIGEST, fill, spec=SPEC)
    assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)
    assert list((tmp_path / "poses").iterdir()) == [], "debris is gone, and it is not called a failed pose"
    assert store.find("receptors", DIGEST) == finished


def test_file_size_limit_during_the_record_is_a_full_disk(tmp_path):
    """A real refusal by the kernel (not a patched one), in the store's own writing."""
    code = (
        "import resource, signal, sys\n"
        "from esr1md.errors import InputError\n"
        "from esr1md.store import Store\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "def make(folder):\n"
        "    (folder / 'a.txt').write_text('a')\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (8, 8))\n"
        "try:\n"
        "    Store(sys.argv[1]).produce('poses', 'ab' * 32, make, spec={'long': 'x' * 100})\n"
        "except InputError as error:\n"
        "    print(error)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    assert "disk is full" in ran.stdout and ran.stdout.count("\n") == 1
    assert list((tmp_path / "poses").iterdir()) == []


def test_really_full_disk(tmp_path):
    """A 1 MB file system filled to the last byte (needs root on Linux)."""
    mount = tmp_path / "small"
    mount.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(mount)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("a small tmpfs cannot be mounted here (needs root)")
    try:
        store = Store(mount / "store")

        def fill(folder):
            with open(folder / "big.bin", "wb") as handle:
                for _ in range(64):
                    handle.write(b"0" * 65536)

        with pytest.raises(InputError, match="disk is full"):
            store.produce("poses", DIGEST, fill, spec=SPEC)
        assert list((mount / "store" / "poses").iterdir()) == []
        with pytest.raises(InputError, match="GB free and this run needs"):
            store.require_writable(bytes_needed=10**9)
    finally:
        subprocess.run(["umount", str(mount)], check=True)


def test_unwritable_store_is_one_clear_line(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    for call in (
        lambda: Store(blocked / "store").require_writable(),
        lambda: Store(blocked / "store").produce("poses", DIGEST, never, spec=SPEC),
    ):
        with pytest.raises(InputError, match="cannot write to the store") as caught:
            call()
        assert "--store" in str(caught.value) and str(blocked) in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_folder_without_write_permission(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(InputError, match="cannot write to the store"):
            Store(tmp_path / "store").require_writable()
    finally:
        tmp_path.chmod(0o700)


def test_many_threads_may_write_one_file(tmp_path):
    """The first runs of a new store say its leases at the same time, from threads of one process."""
    path, failed = tmp_path / "store.json", []

    def write(number: int) -> None:
        try:
            for _ in range(20):
                write_json(path, {"number": number})
                assert read_json(path)["number"] in range(8)
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == [] and [each.name for each in tmp_path.iterdir()] == ["store.json"]
