"""One process at a time makes a digest, over locks of the file system and over leases in PostgreSQL."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
from sqlalchemy import event, select

from esr1md.errors import InputError
from esr1md.specs import digest_of
from esr1md.store import Store, unfinished
from esr1md.store.artifacts import Busy, LeaseLost
from esr1md.store.database import database_url, engine_of, read, write
from esr1md.store.index import open_index
from esr1md.store.leases import Hold, hold
from esr1md.store.processes import has_ended, is_stopped, process_identity
from esr1md.store.tables import leases

REPOSITORY = Path(__file__).resolve().parents[2]
SPEC = {"seed": 0}
DIGEST = digest_of(SPEC)
LEASE = 2.0

# Makes replicas of the given seeds; each attempt notes where it begins, and goes on from a checkpoint if there is one.
MAKER = """
import ctypes, sys, time
from pathlib import Path
from esr1md.errors import Esr1mdError
from esr1md.specs import digest_of
from esr1md.store import Store, unfinished
root, notes, seconds, *seeds = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]), *sys.argv[4:]
def make(folder):
    found = sorted(path.name for path in folder.iterdir())
    (folder / "frames.txt").write_text("frames")
    (folder / "checkpoint.npz").write_text("far")
    with open(notes, "a") as handle:
        handle.write(f"{seed} {'goes on' if found else 'begins'} {folder.name}\\n")
    if sys.argv[3].startswith("-"):
        ctypes.PyDLL(None).usleep(int(-seconds * 1e6))  # native code that keeps the interpreter lock
    else:
        end = time.monotonic() + seconds
        while time.monotonic() < end and not (root / "end").exists():
            time.sleep(0.02)
    (folder / "checkpoint.npz").unlink()
    (folder / "result.txt").write_text("whole")
for seed in seeds:
    spec = {"seed": int(seed)}
    try:
        Store(root).produce("replicas", digest_of(spec), make, spec=spec)
    except Esr1mdError as error:
        print(type(error).__name__, error, flush=True)
"""


@pytest.fixture(autouse=True)
def short_leases(monkeypatch):
    monkeypatch.setenv("ESR1MD_LEASE_SECONDS", str(LEASE))


@pytest.fixture
def store(tmp_path) -> Store:
    (tmp_path / "store").mkdir()
    return Store(tmp_path / "store")


@pytest.fixture
def maker(tmp_path, store):
    """Start processes that make replicas; whatever is left of them ends with the test."""
    started = []

    def start(seconds: float, *seeds: int) -> subprocess.Popen:
        arguments = [str(store.root), str(tmp_path / "notes"), str(seconds), *map(str, seeds or (0,))]
        process = subprocess.Popen([sys.executable, "-c", MAKER, *arguments], cwd=REPOSITORY,
                                   stdout=subprocess.PIPE, text=True)  # fmt: skip
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def notes(tmp_path):
    """What the makers have noted so far: words of each line."""

    def read_notes(at_least: int = 0) -> list[list[str]]:
        limit = time.monotonic() + 40
        while len(found := _lines(tmp_path / "notes")) < at_least:
            assert time.monotonic() < limit, f"{len(found)} attempts, not {at_least}"
            time.sleep(0.02)
        return found

    return read_notes


def _lines(path: Path) -> list[list[str]]:
    return [line.rsplit(" ", 1) for line in path.read_text().splitlines()] if path.exists() else []


def rows() -> list[dict]:
    query = select(leases)
    return read(database_url(Path()), lambda connection: [dict(r) for r in connection.execute(query).mappings()])


def lease_of_another_machine(store: Store, beat: int = 7) -> None:
    row = {"store": open_index(store).store, "kind": "replicas", "digest": DIGEST, "owner": "f" * 32, "beat": beat,
           "seconds": LEASE, "host": "elsewhere", "pid": os.getpid(), "process": "another-start/pid:[1]/1",
           "taken_at": "2001-01-01"}  # fmt: skip
    write(database_url(store.root), lambda connection: connection.execute(leases.insert(), row))


def renew() -> None:
    write(database_url(Path()), lambda connection: connection.execute(leases.update().values(beat=leases.c.beat + 1)))


def write_result(folder: Path) -> None:
    (folder / "result.txt").write_text("whole")


# -- both kinds ------------------------------------------------------------------------------------------------


def test_two_processes_compute_each_digest_once(database, store, maker, notes):
    processes = [maker(0.05, *range(8)) for _ in range(2)]
    assert [process.communicate(timeout=60)[0] for process in processes] == ["", ""]
    assert sorted(line[0] for line in notes()) == [f"{seed} begins" for seed in range(8)]
    assert len(list(store.done("replicas"))) == 8
    assert not [path.name for path in (store.root / "replicas").iterdir() if path.name.startswith(".")]
    assert database == "sqlite" or rows() == []


def test_a_killed_owner_is_followed_at_once_and_gone_on_from(database, store, maker, notes, monkeypatch):
    monkeypatch.setenv("ESR1MD_LEASE_SECONDS", "600")
    owner = maker(60)
    assert notes(1)[0][0] == "0 begins"
    with pytest.raises(Busy, match="is being made by"):
        store.produce("replicas", DIGEST, write_result, spec=SPEC, wait=False)
    owner.kill()
    assert maker(0).communicate(timeout=40)[0] == ""
    assert [line[0] for line in notes()] == ["0 begins", "0 goes on"]
    assert (store.find("replicas", DIGEST) / "frames.txt").exists()
    assert not [path.name for path in (store.root / "replicas").iterdir() if path.name.startswith(".")]


def test_an_interrupted_computation_is_left_to_whoever_comes(database, store):
    def interrupted(folder: Path) -> None:
        (folder / "checkpoint.npz").write_text("far")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.produce("replicas", DIGEST, interrupted, spec=SPEC)
    assert [path.name for path in (store.root / "replicas").iterdir()] == [f".{DIGEST}.tmp"]
    assert store.sweep() == 0
    seen = []
    store.produce("replicas", DIGEST, lambda folder: seen.extend(p.name for p in folder.iterdir()), spec=SPEC)
    assert seen == ["checkpoint.npz"]


def test_busy_says_who_and_costs_no_time(database, store):
    with hold(store, "replicas", DIGEST) as held, hold(store, "replicas", DIGEST, wait=False) as other:
        assert held and held.still_held() and not other
        started = time.monotonic()
        with pytest.raises(Busy, match=f"replicas/{DIGEST} is being made by"):
            store.produce("replicas", DIGEST, write_result, spec=SPEC, wait=False)
        assert time.monotonic() - started < 1
    assert store.produce("replicas", DIGEST, write_result, spec=SPEC, wait=False)


def test_processes_that_would_not_see_each_other_are_refused(store, postgres_url, monkeypatch):
    store.produce("replicas", DIGEST, write_result, spec=SPEC)
    monkeypatch.delenv("ESR1MD_DATABASE_URL")
    for call in (lambda: store.forget("replicas", DIGEST), lambda: open_index(store)):
        with pytest.raises(InputError, match="leases in the database postgresql://tester@127.0.0.1") as caught:
            call()
        assert "ESR1MD_DATABASE_URL" in str(caught.value) and "\n" not in str(caught.value)
    assert store.find("replicas", DIGEST), "reading needs no lease"


# -- locks -----------------------------------------------------------------------------------------------------


def test_a_suspended_owner_keeps_a_lock_of_the_file_system(store, maker, notes, monkeypatch):
    monkeypatch.delenv("ESR1MD_DATABASE_URL", raising=False)
    owner = maker(1)
    notes(1)
    owner.send_signal(signal.SIGSTOP)
    time.sleep(LEASE + 1)
    with pytest.raises(Busy):
        store.produce("replicas", DIGEST, write_result, spec=SPEC, wait=False)
    owner.send_signal(signal.SIGCONT)
    assert owner.communicate(timeout=40)[0] == "" and store.find("replicas", DIGEST)


# -- leases ----------------------------------------------------------------------------------------------------


def test_a_suspended_owner_loses_its_lease_and_cannot_publish(store, postgres_url, maker, notes):
    owner = maker(2)
    old = notes(1)[0][1]
    owner.send_signal(signal.SIGSTOP)
    started = time.monotonic()
    heir = maker(0)
    assert notes(2)[1][0] == "0 goes on"
    assert time.monotonic() - started >= LEASE
    assert heir.communicate(timeout=40)[0] == ""
    new = notes(2)[1][1]
    assert old != new, "the heir does not write where the old owner may still write"
    made = (store.find("replicas", DIGEST) / "done.json").read_bytes()
    owner.send_signal(signal.SIGCONT)
    said = owner.communicate(timeout=40)[0]
    assert said.startswith("LeaseLost this process stood still") and said.count("\n") == 1
    assert (store.find("replicas", DIGEST) / "done.json").read_bytes() == made
    assert not [path.name for path in (store.root / "replicas").iterdir() if path.name.startswith(".")]
    assert rows() == []


def test_an_owner_whose_native_code_keeps_the_interpreter_lock_keeps_its_lease(store, postgres_url, maker, notes):
    owner = maker(-3 * LEASE)
    notes(1)
    heir = maker(0)
    assert owner.communicate(timeout=60)[0] == heir.communicate(timeout=60)[0] == ""
    assert len(notes()) == 1


def test_an_owner_keeps_its_lease_while_the_database_is_down(store, postgres, postgres_url, maker, notes, monkeypatch):
    """The time in which nobody could renew or look is not counted, even if who waits is the first to be back."""
    monkeypatch.setenv("ESR1MD_LEASE_SECONDS", "4")
    owner = maker(60)
    notes(1)
    (heart,) = _children(owner.pid)
    looks, heirs = [], []
    event.listen(engine_of(database_url(store.root), brief=True), "after_cursor_execute", lambda *_: looks.append(1))

    def wait() -> None:
        with hold(store, "replicas", DIGEST) as held:
            heirs.append(held.predecessor)

    def looks_again(times: int) -> None:
        limit, before = time.monotonic() + 40, len(looks)
        while len(looks) < before + times and not heirs and time.monotonic() < limit:
            time.sleep(0.02)

    thread = threading.Thread(target=wait)
    with pytest.warns(UserWarning, match="cannot be reached"):
        thread.start()
        looks_again(4)
        postgres.stop("immediate")
        os.kill(heart, signal.SIGSTOP)
        time.sleep(5)
        postgres.start()
        looks_again(3)
        os.kill(heart, signal.SIGCONT)
        time.sleep(2)
        (store.root / "end").touch()
        assert owner.communicate(timeout=60)[0] == ""
        thread.join()
    assert heirs == [None] and store.find("replicas", DIGEST)


def test_no_clock_that_can_be_set_decides(store, postgres_url, monkeypatch):
    """Both the contender's clock and that in the row are wrong by years, and the first goes back all the time."""
    lease_of_another_machine(store)
    clock = iter(range(2_000_000_000, 0, -3600))
    monkeypatch.setattr(time, "time", lambda: next(clock))
    started = time.monotonic()
    with hold(store, "replicas", DIGEST) as held:
        assert held and LEASE <= time.monotonic() - started < LEASE + 3
        assert held.predecessor == "f" * 32 and not held.predecessor_gone


def test_a_lease_that_is_renewed_elsewhere_is_never_taken(store, postgres_url):
    lease_of_another_machine(store)
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(LEASE / 6):
            renew()
        write(database_url(store.root), lambda connection: connection.execute(leases.delete()))

    thread = threading.Thread(target=beat)
    thread.start()
    started = time.monotonic()
    threading.Timer(2.5 * LEASE, ended.set).start()
    with hold(store, "replicas", DIGEST) as held:
        assert time.monotonic() - started >= 2.5 * LEASE and held.predecessor is None
    thread.join()


def test_calls_that_do_not_wait_find_out_together_that_an_owner_stands_still(store, postgres_url, maker, notes):
    """As a scheduler does that has something else to do meanwhile: it looks in now and then."""
    owner = maker(60)
    notes(1)
    stopped = [owner.pid, *_children(owner.pid)]
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    try:
        began, took = time.monotonic(), False
        while not took and time.monotonic() - began < 30:
            with hold(store, "replicas", DIGEST, wait=False) as held:
                took = bool(held)
            time.sleep(0.3)
        assert took and time.monotonic() - began >= LEASE - 0.5
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGKILL)
        owner.wait()


def test_one_of_several_contenders_takes_a_lease_over(store, postgres_url):
    lease_of_another_machine(store)
    inside, most, heirs = [], [], []

    def contend() -> None:
        with hold(store, "replicas", DIGEST) as held:
            inside.append(held.owner)
            most.append(len(inside))
            heirs.append(held.predecessor)
            time.sleep(0.1)
            inside.remove(held.owner)

    threads = [threading.Thread(target=contend) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1, 1, 1, 1] and heirs == ["f" * 32, None, None, None]


def test_who_takes_a_lease_over_between_look_and_update_has_it(store, postgres_url):
    lease_of_another_machine(store)
    url, rivals = database_url(store.root), []

    def rival(connection, cursor, statement, *_) -> None:
        if statement.startswith("UPDATE leases SET owner") and not rivals:
            rivals.append("e" * 32)
            write(url, lambda c: c.execute(leases.update().values(owner=rivals[0], beat=0)))

    event.listen(engine_of(url, brief=True), "before_cursor_execute", rival)
    with hold(store, "replicas", DIGEST) as held:
        assert held.predecessor == "e" * 32


def test_what_a_late_owner_has_published_is_taken(store, postgres_url):
    """It passed its last check, stood still, and went on just before its heir was done."""

    def make(folder: Path) -> None:
        late = store.folder("replicas", DIGEST)
        late.mkdir()
        (late / "result.txt").write_text("the same")
        (late / "done.json").write_text("{}")
        write_result(folder)

    assert (store.produce("replicas", DIGEST, make, spec=SPEC) / "result.txt").read_text() == "the same"
    assert [path.name for path in (store.root / "replicas").iterdir()] == [DIGEST]


@pytest.mark.parametrize("fails", [False, True])
def test_what_a_lost_lease_leads_to_is_neither_a_result_nor_a_failure(store, postgres_url, fails):
    def make(folder: Path) -> None:
        write_result(folder)
        write(database_url(store.root), lambda connection: connection.execute(leases.delete()))
        if fails:
            raise FileNotFoundError("the folder was taken away")

    with pytest.raises(LeaseLost, match="nothing was published"):
        store.produce("replicas", DIGEST, make, spec=SPEC)
    assert store.failure("replicas", DIGEST) is None and store.find("replicas", DIGEST) is None
    assert store.produce("replicas", DIGEST, write_result, spec=SPEC)


def test_the_process_that_renews_ends_with_its_owner_and_is_started_again(
    store, postgres_url, maker, notes, monkeypatch
):
    owner = maker(60)
    notes(1)
    (heart,) = _children(owner.pid)
    identity = process_identity(heart)
    assert identity and not has_ended(heart, identity) and not is_stopped(heart)
    owner.kill()
    owner.wait()
    limit = time.monotonic() + 20
    while not has_ended(heart, identity):
        assert time.monotonic() < limit
        time.sleep(0.05)
    assert rows()[0]["beat"] == -1, "it says that its owner is dead"

    said: list[str] = []  # not pytest.warns: it is said by a thread
    monkeypatch.setattr("esr1md.store.heartbeat.warnings.warn", lambda text, **options: said.append(text))
    with hold(store, "replicas", DIGEST) as held:
        assert held.predecessor_gone
        for heart in (before := _children(os.getpid())):
            os.kill(heart, signal.SIGKILL)
        limit = time.monotonic() + 20
        while not set(_children(os.getpid())) - set(before) or rows()[0]["beat"] < 1:
            assert time.monotonic() < limit, "another one renews the lease"
            time.sleep(0.05)
    assert "renews leases has ended" in said[0]


def _children(pid: int) -> list[int]:
    found = []
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        with suppress(FileNotFoundError, ProcessLookupError):  # one that ends just now
            if b"esr1md.store.heartbeat" in Path(f"/proc/{child}/cmdline").read_bytes():
                found.append(int(child))
    return found


# -- the folder that is worked in ------------------------------------------------------------------------------


def unfinished_folder(final: Path, name: str, age: float, checkpoint: str = "checkpoint.npz") -> Path:
    folder = final.parent / f".{final.name}{name}"
    (folder / "ligand").mkdir(parents=True)
    for path in (folder / checkpoint, folder / "frames.txt", folder / "ligand" / "frames.txt"):
        path.write_text(name)
        os.utime(path, (1e9 - age, 1e9 - age))
    return folder


class Held(Hold):
    def __init__(self, owner: str | None, predecessor: str | None = None, gone: bool = True) -> None:
        super().__init__(True)
        self.owner, self.predecessor, self.predecessor_gone = owner, predecessor, gone


A, B, C = "a" * 32, "b" * 32, "c" * 32


@pytest.mark.parametrize(
    ("held", "found", "inherited", "in_place"),
    [
        (Held(None), {".tmp": 0}, ".tmp", True),
        (Held(A), {".tmp": 0}, ".tmp", True),
        (Held(A, B), {f".{B}.tmp": 0}, f".{B}.tmp", True),
        (Held(A, B, gone=False), {f".{B}.tmp": 0}, f".{B}.tmp", False),
        (Held(A), {f".{B}.tmp": 0}, f".{B}.tmp", False),
        (Held(None), {f".{B}.lost": 0}, f".{B}.lost", False),
        (Held(A, B), {f".{B}.tmp": 9, f".{C}.tmp": 5, ".tmp": 7}, f".{C}.tmp", False),
        (Held(A), {f".{B}.copy": 0}, None, None),
    ],
)
def test_only_the_folder_of_a_dead_owner_is_gone_on_in(tmp_path, held, found, inherited, in_place):
    final = tmp_path / "replicas" / DIGEST
    inodes = {name: unfinished_folder(final, name, age).stat().st_ino for name, age in found.items()}
    open_elsewhere = [open(final.parent / f".{DIGEST}{name}" / "frames.txt", "a") for name in found]
    folder = unfinished.begin(final, held)
    for handle in open_elsewhere:  # an owner that does not know yet
        handle.write("more")
        handle.close()
    assert folder.name == (f".{DIGEST}.{held.owner}.tmp" if held.owner else f".{DIGEST}.tmp")
    assert list(final.parent.iterdir()) == [folder], "nothing else is left"
    if inherited is None:
        assert list(folder.iterdir()) == []
        return
    assert (folder / "checkpoint.npz").read_text() == (folder / "ligand" / "frames.txt").read_text() == inherited
    assert (folder.stat().st_ino == inodes[inherited]) == in_place
    assert (folder / "frames.txt").read_text() == inherited + ("more" if in_place else "")


def test_debris_of_lost_owners_is_swept(store, postgres_url):
    final = store.root / "replicas" / DIGEST
    kept = unfinished_folder(final, f".{A}.tmp", 0)
    for name in (f".{B}.tmp", f".{B}.lost"):
        unfinished_folder(final, name, 0, checkpoint="record.json")
    unfinished_folder(final, f".{C}.copy", 0)
    assert store.sweep() == 3 and list(final.parent.iterdir()) == [kept] and rows() == []


def test_a_process_keeps_no_connection_while_it_computes(store, postgres_url):
    with hold(store, "replicas", DIGEST):
        pool, limit = engine_of(database_url(store.root), brief=True).pool, time.monotonic() + 20
        while engine_of(database_url(store.root), brief=True).pool is pool or pool.checkedin():
            assert time.monotonic() < limit
            time.sleep(0.05)


@pytest.mark.parametrize("text", ["soon", "0", "-5"])
def test_bad_time_for_leases(store, postgres_url, monkeypatch, text):
    monkeypatch.setenv("ESR1MD_LEASE_SECONDS", text)
    with pytest.raises(InputError, match=f"ESR1MD_LEASE_SECONDS: '{text}' is not a time"), hold(store, "poses", DIGEST):
        pass
