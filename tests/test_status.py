"""How far screens are: what is read once, who runs them, the live view, the metrics, and what a replica logs."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import signal
import socket
import struct
import subprocess
import sys
import termios
import threading
import time
import urllib.error
import urllib.request
import warnings
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_classic
from rich.console import Console

from esr1md.commands.status_view import status_line, status_view, store_view
from esr1md.dynamics.platforms import PlatformChoice
from esr1md.dynamics.slots import Device, held
from esr1md.errors import InputError, StageError, StoppedEarly
from esr1md.screen import endings
from esr1md.screen.finish import death, mark_run
from esr1md.screen.machine import Gpu, Machine, MachineWatch
from esr1md.screen.metrics import MetricsServer, openmetrics_text, write_textfile
from esr1md.screen.progress import SILENT_S, Speed, own_process, progress_file, write_progress
from esr1md.screen.replica_log import LOG, ReplicaLog, read_log, replica_log
from esr1md.screen.status import ScreenWatch, runners, screen_status
from esr1md.screen.watch import Look, StoreWatch
from esr1md.specs import digest_of
from esr1md.store import Store
from esr1md.store.location import open_store
from esr1md.store.plans import write_plan
from esr1md.store.records import open_index, set_members, upsert

ROOT = Path(__file__).resolve().parents[1]
HOST = socket.gethostname()
#: No process has this number (Linux ends at 2**22).
NOBODY = 2**22 + 1


class Screen:
    """A screen in a store: its files as a run writes them."""

    def __init__(
        self, folder: Path, name: str = "small", replicas: int = 12, slots: int = 2, store: Store | None = None
    ) -> None:
        self.store, self.name = store or Store(folder / "store"), name
        self.digests = [digest_of({"screen": name, "replica": i}) for i in range(replicas)]
        self.names = [f"Y537S/ligand {i}/antagonist#1" for i in range(replicas)]
        self.folder = self.store.root / "screens" / name
        (self.folder / "runs").mkdir(parents=True)
        cell = {"variant": "Y537S", "state": "antagonist", "seed": 1}
        rows = [
            {"digest": digest, "name": self.names[i], "ligand": f"ligand {i}", **cell}
            for i, digest in enumerate(self.digests)
        ]
        plan = {"screen": name, "slots": slots, "estimate": {"replica_seconds": 100.0}, "replicas": rows}
        write_plan(self.folder, plan)

    def run_by(self, host: str = HOST, pid: int | None = None, **values) -> None:
        pid = os.getpid() if pid is None else pid
        now = time.time()
        said = {"host": host, "pid": pid, "started": now - 60, "finished": None, "updated": now, **values}
        (self.folder / "runs" / f"{host}-{pid}.json").write_text(json.dumps(said))

    def finish(self, number: int, seconds: float = 40.0) -> Path:
        def make(folder: Path) -> None:
            (folder / "record.json").write_text(json.dumps({"seconds": seconds}))

        return self.store.produce("replicas", self.digests[number], make, spec={"replica": number})

    def fail(self, number: int, error: Exception) -> None:
        def make(folder: Path) -> None:
            raise error

        with pytest.raises(StageError):
            self.store.produce("replicas", self.digests[number], make, spec={"replica": number})

    def report(self, number: int, **values) -> None:
        said = {"digest": self.digests[number], "name": self.names[number], "stage": "produce", "fraction": 0.5,
                "started": time.time() - 30, "updated": time.time(), "ns_per_day": None, **own_process()}  # fmt: skip
        write_progress(progress_file(self.store, self.digests[number]), {**said, **values})


@pytest.fixture
def screen(tmp_path) -> Screen:
    return Screen(tmp_path)


# -- what has ended --------------------------------------------------------------------------------------


def test_a_watch_follows_a_screen_as_it_goes(screen):
    watch = ScreenWatch(screen.store)
    seen = watch.look()
    assert (seen.total, seen.done, seen.waiting, seen.n_failed, seen.active) == (12, 0, 12, 0, False)
    screen.run_by()
    screen.finish(0)
    screen.fail(1, StageError("pose", "does not fit", kind="outcome"))
    screen.fail(2, RuntimeError("CUDA_ERROR_LAUNCH_FAILED"))
    screen.report(3, ns_per_day=700.0)
    screen.report(4, died={"stage": "heat", "cause": "ended by SIGSEGV", "where": "", "kind": "error"})
    screen.report(5, pid=NOBODY, process="")
    seen = watch.look()
    assert (seen.done, len(seen.running), seen.waiting, seen.n_failed) == (1, 1, 7, 3)
    assert seen.failed == {
        "pose: does not fit": 1, "dynamics: RuntimeError: CUDA_ERROR_LAUNCH_FAILED": 1, "heat: ended by SIGSEGV": 1,
    }  # fmt: skip
    assert set(seen.failed_stages) == {("pose", "outcome", 1), ("dynamics", "error", 1), ("heat", "error", 1)}
    assert (seen.finished_last_hour, seen.replica_seconds, seen.ns_per_day) == (1, 40.0, 700.0)
    assert json.loads(json.dumps(seen.to_json()))["n_failed"] == 3

    screen.store.forget("replicas", screen.digests[1])
    screen.store.forget("replicas", screen.digests[2])
    screen.finish(2)  # a fault that the next run got over
    seen = watch.look()
    assert (seen.done, seen.waiting, list(seen.failed)) == (2, 8, ["heat: ended by SIGSEGV"])


def test_what_has_ended_is_read_once(screen, monkeypatch):
    read: list[str] = []
    really = endings.whole_json

    def counted(path: Path):
        read.append(path.parent.name)
        return really(path)

    monkeypatch.setattr(endings, "whole_json", counted)
    for number in range(8):
        screen.finish(number)
    watch = ScreenWatch(screen.store)
    assert watch.look().done == 8 and set(read) == set(screen.digests[:8])
    read.clear()
    assert watch.look().done == 8 and read == []
    screen.finish(9)
    assert watch.look().done == 9 and set(read) == {screen.digests[9]}


def test_a_large_screen_is_read_from_the_index(tmp_path, monkeypatch):
    monkeypatch.setattr(endings, "FEW", 10)
    monkeypatch.setattr("esr1md.store.plans.MOST_ROWS", 10)
    screen = Screen(tmp_path, replicas=endings.FEW + 20)
    index = open_index(screen.store)
    set_members(index, screen.name, screen.digests)
    rows = []
    for number in range(endings.FEW + 10):
        screen.finish(number)
        if number >= 5:  # the runner of the others was killed before it could tell the index
            rows.append(
                {name: "" for name in ("variant", "ligand", "inchikey", "state", "protocol", "failure_stage",
                                       "failure_cause", "failure_where", "failure_kind", "platform")}
                | {"digest": screen.digests[number], "seed": 1, "status": "done", "seconds": 70.0, "summary": None,
                   "started": "2026-01-01T00:00:00+00:00", "finished": "2026-01-01T00:01:10+00:00"}
            )  # fmt: skip
    upsert(index, rows)
    read: list[str] = []
    really = endings.whole_json
    monkeypatch.setattr(endings, "whole_json", lambda path: read.append(path.parent.name) or really(path))
    watch = ScreenWatch(screen.store)
    seen = watch.look()
    assert (seen.done, seen.waiting, seen.finished_last_hour, seen.notes) == (endings.FEW + 10, 10, 5, ())
    assert set(read) == set(screen.digests[:5])
    assert sorted(set(watch.replica_seconds())) == [40.0, 70.0]


def test_what_a_crash_of_the_machine_tore_is_passed_over(screen):
    screen.run_by()
    for number in (0, 1):
        screen.report(number)
    progress_file(screen.store, screen.digests[0]).write_bytes(b"")
    (screen.folder / "runs" / "elsewhere-7.json").write_bytes(b'{"host": "elsewh')
    (screen.folder / "run.json").write_bytes(b"")
    seen = screen_status(screen.store)
    assert (len(seen.running), seen.waiting, [runner.host for runner in seen.runners]) == (1, 11, [HOST])
    assert death(screen.store, screen.digests[0]) is None
    mark_run(screen.store, screen.name, started=1.0, finished=None)
    assert json.loads((screen.folder / "run.json").read_text())["started"] == 1.0


def test_an_index_that_cannot_be_read_is_said_and_the_folders_count(tmp_path, monkeypatch):
    monkeypatch.setattr(endings, "FEW", 10)
    screen = Screen(tmp_path, replicas=endings.FEW)
    for number in range(endings.FEW):
        screen.finish(number)
    (screen.store.root / "store.sqlite").write_bytes(b"no database at all" * 100)
    seen = screen_status(screen.store)
    assert seen.done == endings.FEW and "the index cannot be read" in seen.notes[0]


@pytest.mark.filterwarnings("ignore:.*is used with an index in a file of this machine")
def test_what_others_have_published_in_an_object_store_counts(tmp_path, monkeypatch):
    screens = []
    for machine in ("one", "two"):
        monkeypatch.setenv("ESR1MD_CACHE", str(tmp_path / machine))
        screens.append(Screen(tmp_path, store=open_store(f"file://{tmp_path}/bucket")))
    one, two = screens
    assert one.store.root != two.store.root
    one.finish(0)
    one.fail(1, StageError("pose", "does not fit", kind="outcome"))
    two.finish(2)
    watch = ScreenWatch(two.store)
    seen = watch.look()
    assert (seen.done, seen.failed, seen.waiting) == (2, {"pose: does not fit": 1}, 9)
    one.finish(3)
    monkeypatch.setattr("esr1md.store.shared.LISTING_S", 0.0)
    seen = watch.look()
    assert (seen.done, seen.n_failed, seen.replica_seconds) == (3, 1, 40.0)
    assert not (two.store.root / "replicas" / two.digests[0]).exists(), "nothing was fetched for that"

    monkeypatch.setattr("esr1md.screen.watch.FETCH_S", 0.0)
    watched = StoreWatch(two.store)
    later = Screen(tmp_path, "later", store=one.store)
    later.run_by("elsewhere", 7)
    one.store.send_folder("screens", "later")
    assert [(seen.screen, seen.active) for seen in watched.look().screens] == [("later", True), ("small", False)]


# -- who runs it, and how long it will take --------------------------------------------------------------


def test_a_screen_is_active_while_any_of_its_runners_is(screen):
    screen.run_by(pid=NOBODY)
    screen.run_by("elsewhere", 7, updated=time.time() - SILENT_S - 5)
    screen.run_by("faraway", 8, finished=time.time())
    assert not screen_status(screen.store).active
    screen.report(0, host="elsewhere")  # a worker of the silent one works on
    assert [(r.host, r.alive) for r in screen_status(screen.store).runners] == [("elsewhere", True)]
    screen.run_by(site="local")
    screen.run_by("faraway", 9, site="slurm")
    (screen.folder / "run.json").write_text(json.dumps({"host": "faraway", "pid": 9, "started": 1.0, "finished": None}))
    seen = screen_status(screen.store)
    assert {(r.host, r.pid, r.site) for r in seen.runners} == {
        (HOST, os.getpid(), "local"), ("elsewhere", 7, ""), ("faraway", 9, "slurm"),
    }  # fmt: skip
    assert len(runners(screen.store, screen.name)) == 5, "run.json is the newest of them, not one more"


def test_a_store_of_before_has_one_runner(screen):
    said = {"host": HOST, "pid": os.getpid(), "started": time.time() - 9, "finished": None, "updated": time.time()}
    (screen.folder / "run.json").write_text(json.dumps(said))
    seen = screen_status(screen.store)
    assert seen.active and seen.seconds == pytest.approx(9, abs=2)


def test_another_process_with_the_same_number_is_not_the_replica(screen):
    screen.run_by()
    screen.report(0, process=own_process()["process"] + "1")
    assert screen_status(screen.store).running == ()
    screen.report(0)
    assert len(screen_status(screen.store).running) == 1


def test_time_left_says_where_it_comes_from(tmp_path):
    screen = Screen(tmp_path, replicas=40, slots=4)
    assert screen_status(screen.store).seconds_left is None
    screen.run_by()
    seen = screen_status(screen.store)
    assert (seen.seconds_left, seen.left_basis) == (40 * 100 / 4, "the plan's estimate, 4 at once")
    step = screen.store.root / "progress" / f"{digest_of({})}.step"
    write_progress(step, {"name": "pose of ligand 1/antagonist", "updated": time.time(), **own_process()})
    seen = screen_status(screen.store)
    assert seen.left_basis == "the plan's estimate, 4 at once, once prepared"
    assert status_line(seen).endswith("preparing pose of ligand 1/antagonist, about 17 min left once prepared")
    step.unlink()
    screen.report(39, fraction=0.5, started=time.time() - 100)
    seen = screen_status(screen.store)
    assert seen.left_basis == "as fast as what runs now, 4 at once"
    assert seen.seconds_left == pytest.approx(39.5 * 200 / 4, rel=0.02)
    screen.finish(0, seconds=50.0)
    seen = screen_status(screen.store)
    assert seen.left_basis == "median of the last 1 finished, 4 at once"
    assert seen.seconds_left == pytest.approx(38.5 * 50 / 4, rel=0.02)
    for number in range(1, 12):
        screen.finish(number)
    seen = screen_status(screen.store)  # the runner began a minute ago
    assert seen.left_basis == "12 replicas in the last 1 min"
    assert seen.seconds_left == pytest.approx(27.5 * 60 / 12, rel=0.1)


def test_speed_is_that_of_the_last_minute():
    now = 0.0
    speed = Speed(dynamics_ps=1000, window_s=60, clock=lambda: now)
    assert speed.add("minimise", 0.0) is None and speed.add("heat", 0.1) is None
    now = 10.0
    assert speed.add("heat", 0.15) == pytest.approx(0.05 / 10 * 86400)  # ns/day: 1 ns in all
    for now in range(20, 200, 10):
        last = speed.add("produce", 0.15 + (now - 10) / 1000)
    assert last == pytest.approx(0.001 * 86400), "what was faster at first has left the window"
    assert speed.add("analysis", 1.0) is None
    now = 300.0
    assert speed.add("produce", 0.9) is None, "a replica that goes on begins anew"


# -- the machine -----------------------------------------------------------------------------------------


def test_gpus_are_asked_and_their_slots_counted(program, tmp_path, monkeypatch):
    monkeypatch.setenv("ESR1MD_SLOTS", str(tmp_path / "slots"))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    program(
        "nvidia-smi",
        """if [ "$1" = -L ]; then
  echo 'GPU 0: NVIDIA H200 (UUID: GPU-11111111-aaaa)'; echo 'GPU 1: NVIDIA H200 (UUID: GPU-22222222-bbbb)'
else
  echo 'GPU-11111111-aaaa, NVIDIA H200, 87, 2048, 143771'; echo 'GPU-22222222-bbbb, NVIDIA H200, [N/A], [N/A], [N/A]'
fi""",
    )
    first = Device("NVIDIA H200", "GPU-11111111-aaaa", (("DeviceIndex", "0"),), "CUDA")
    other = Device("gfx90a", "HIP-0", (("DeviceIndex", "0"),), "HIP")
    cuda, hip = PlatformChoice("CUDA"), PlatformChoice("HIP")
    with held(cuda, 8, [first]), held(cuda, 8, [first]), held(hip, 2, [other]):
        machine = MachineWatch().look()
    assert machine.gpus == (
        Gpu("NVIDIA H200", "GPU-11111111-aaaa", 2, 0.87, 2048 * 2**20, 143771 * 2**20),
        Gpu("NVIDIA H200", "GPU-22222222-bbbb", 0),
        Gpu("HIP-0", "HIP-0", 1),
    )
    assert [gpu.slots_held for gpu in MachineWatch().look().gpus] == [0, 0]


def test_a_driver_that_does_not_answer_is_a_note(program, tmp_path, monkeypatch):
    monkeypatch.setenv("ESR1MD_SLOTS", str(tmp_path / "slots"))
    program("nvidia-smi", "[ \"$1\" = -L ] && echo 'GPU 0: T4 (UUID: GPU-1)' || exit 9")
    machine = MachineWatch().look()
    assert machine.gpus == (Gpu("T4", "GPU-1", 0),) and "nvidia-smi says nothing" in machine.notes[0]


# -- views -----------------------------------------------------------------------------------------------


def shown(view, width: int, height: int = 100) -> list[str]:
    console = Console(width=width, height=height, highlight=False, force_terminal=False)
    with console.capture() as capture:
        console.print(view)
    return capture.get().splitlines()


def busy(folder: Path) -> Screen:
    screen = Screen(folder, "resistance", replicas=400, slots=16)
    screen.run_by(site="local")
    screen.run_by("gpu-17.cluster", 99, site="slurm")
    for number in range(20):
        screen.report(
            number, host=("gpu-17.cluster", HOST)[number % 2], device="NVIDIA H200", ns_per_day=800.0 + number
        )
    for number in range(20, 32):
        screen.fail(number, StageError("pose", f"atom C{number} does not fit under helix 12, wherever it is put " * 3))
    return screen


@pytest.mark.parametrize(("width", "height"), [(60, 24), (80, 24), (100, 40), (200, 60)])
def test_the_view_fits_the_terminal_and_says_what_it_leaves_out(tmp_path, width, height):
    screen = busy(tmp_path)
    idle = [Screen(tmp_path, f"older-{number}", replicas=2).name for number in range(3)]
    machine = Machine(HOST, (Gpu("NVIDIA H200", "GPU-1", 7, 0.5, 10**9, 10**11),), 3.5, 16)
    statuses = [screen_status(screen.store, name) for name in (*idle, screen.name)]
    lines = shown(store_view(statuses, machine, height), width)
    assert len(lines) <= height and max(map(len, lines)) <= width
    text = "\n".join(lines)
    assert lines[0].startswith("resistance") and "0 of 400 replicas done, 20 running" in text
    assert "older-2" in text and "7 slots held" in text and "gpu-17.cluster" in text
    rows = sum("antagonist#1" in line or "antagon…" in line or "produce " in line for line in lines)
    assert f"and {20 - rows} more running" in text or rows == 20
    causes = sum("1 x pose" in line for line in lines)
    assert f"and {12 - causes} other reasons" in text or causes == 12


def test_the_same_on_one_line(tmp_path):
    screen = busy(tmp_path)
    line = status_line(screen_status(screen.store))
    assert line.startswith("resistance: 0 of 400 replicas done, 12 not computed, running Y537S/ligand")
    assert "and 18 more" in line and "16,190 ns/day" in line and "left" in line
    idle = screen_status(Screen(tmp_path, "idle").store, "idle")
    assert any("nobody runs it" in row for row in shown(status_view(idle), 80))


# -- the command -----------------------------------------------------------------------------------------


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "esr1md.cli", "status", *arguments]


def environment(**values: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm-256color", **values}


def test_json_lines_follow_the_screen_and_ctrl_c_is_a_good_end(screen):
    screen.run_by()
    process = subprocess.Popen(
        command("--store", str(screen.store.root), "--watch", "--json", "--interval", "0.2"),
        env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        first = json.loads(process.stdout.readline())
        screen.finish(0)
        for line in process.stdout:
            last = json.loads(line)
            if last["screens"][0]["done"]:
                break
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=20)
    finally:
        process.kill()
    assert first["screens"][0]["done"] == 0 and last["screens"][0]["done"] == 1 and last["time"] > first["time"]
    assert all(json.loads(line)["machine"]["host"] == HOST for line in rest.splitlines())
    assert (process.returncode, errors) == (0, "")


def test_a_pipe_gets_a_line_now_and_then(screen):
    process = subprocess.Popen(
        command("--store", str(screen.store.root), "--watch", "--interval", "0.2"), env=environment(TERM="dumb"),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        line = process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        rest, errors = process.communicate(timeout=20)
    finally:
        process.kill()
    assert line.rstrip().endswith("small: 0 of 12 replicas done") and (rest, errors, process.returncode) == ("", "", 0)


def test_the_live_view_fills_the_terminal_follows_its_size_and_ends_with_q(tmp_path):
    screen = busy(tmp_path)
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(sys.executable, command("--store", str(screen.store.root), "--watch"), environment())
    resize(terminal, 24, 100)
    first = read_until(terminal, b"q ends")
    resize(terminal, 40, 60)
    second = read_until(terminal, b"q ends")
    os.write(terminal, b"q")
    last = read_until(terminal, None)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert b"\x1b[?1049h" in first and b"0 of 400 replicas done" in first
    assert b"produce" in second, "it goes on after the terminal has changed its size"
    assert last.index(b"\x1b[?1049l") < last.rindex(b"0 of 400 replicas done"), "the last look stays on the terminal"


def resize(terminal: int, rows: int, columns: int) -> None:
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def read_until(terminal: int, wanted: bytes | None, limit_s: float = 60) -> bytes:
    """What a program prints until it prints ``wanted``, or ends."""
    text, ends = b"", time.monotonic() + limit_s
    while time.monotonic() < ends and not (wanted and wanted in text):
        if select.select([terminal], [], [], 0.5)[0]:
            try:
                more = os.read(terminal, 65536)
            except OSError:  # Linux's way to say that nobody writes any more
                return text
            text += more
    assert wanted is None or wanted in text, text[-2000:]
    return text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--metrics", "esr1md.txt"], "ends in .prom"),
        (["--metrics", "no/such/folder/esr1md.prom"], "cannot be written"),
        (["--serve-metrics", "port"], "a port, or HOST:PORT"),
        (["--serve-metrics", "192.0.2.1:9464"], "cannot be served"),
        (["smal"], "no screen 'smal'"),
    ],
)
def test_what_cannot_be_is_one_line(run, screen, arguments, message):
    code, out, err = run("status", "--store", str(screen.store.root), *arguments)
    assert (code, out) == (2, "") and message in err and len(err.splitlines()) == 1


# -- metrics ---------------------------------------------------------------------------------------------


def look_of(screen: Screen) -> Look:
    seen = StoreWatch(screen.store).look()
    gpus = (Gpu('A "quoted" \\ name', "GPU-1", 3, 0.25, 5 * 10**9, 10**10), Gpu("other", "HIP-0", 1))
    return Look(seen.time, seen.cost, seen.screens, Machine(HOST, gpus, 1.0, 4), seen.replica_seconds)


def samples(families) -> dict:
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for family in families for s in family.samples}


@pytest.fixture
def told(screen) -> Look:
    screen.run_by()
    for number, seconds in enumerate((5.0, 25.0, 4000.0)):
        screen.finish(number, seconds)
    screen.fail(3, StageError("pose", "does not fit", kind="outcome"))
    screen.report(4, ns_per_day=700.0, updated=time.time() - 90)
    return look_of(screen)


def test_metrics_are_openmetrics(told):
    text = openmetrics_text(told).decode()
    families = {family.name: family for family in parse_openmetrics(text)}
    found = samples(families.values())
    small = ("screen", "small")
    for status, count in {"done": 3, "failed": 1, "running": 1, "waiting": 7}.items():
        assert found["esr1md_replicas", (small, ("status", status))] == count
    assert found["esr1md_failed_replicas", (("kind", "outcome"), small, ("stage", "pose"))] == 1
    assert found["esr1md_finished_replicas_total", (small,)] == 3
    duration = "esr1md_replica_duration_seconds"
    assert found[f"{duration}_count", (small,)] == 3 and found[f"{duration}_sum", (small,)] == 4030
    assert [found[f"{duration}_bucket", (("le", le), small)] for le in ("10.0", "30.0", "3600.0", "+Inf")] == [
        1,
        2,
        2,
        3,
    ]
    assert found["esr1md_speed_ns_per_day", (("host", HOST), small)] == 700
    assert found["esr1md_longest_silence_seconds", (small,)] == pytest.approx(90, abs=5)
    assert found["esr1md_screen_active", (small,)] == 1 and found["esr1md_runners", (("host", HOST), small)] == 1
    gpu = (("gpu", "GPU-1"), ("host", HOST), ("name", 'A "quoted" \\ name'))
    assert found["esr1md_gpu_utilisation_ratio", gpu] == 0.25 and found["esr1md_gpu_slots_held", gpu] == 3
    assert sum(key[0] == "esr1md_gpu_slots_held" for key in found) == 2
    assert sum(key[0] == "esr1md_gpu_memory_bytes" for key in found) == 1, "what is not known is not told"
    assert found["esr1md_cpu_load_ratio", (("host", HOST),)] == 0.25
    assert text.endswith("# EOF\n") and families[duration].unit == "seconds"
    for family in families.values():
        assert family.documentation and family.type in ("gauge", "counter", "histogram", "info")


def test_the_textfile_is_what_node_exporter_reads(told, tmp_path):
    path = tmp_path / "esr1md.prom"
    path.write_text("of before")
    write_textfile(path, told)
    text = path.read_text()
    found = samples(parse_classic(text))
    assert found["esr1md_replicas", (("screen", "small"), ("status", "done"))] == 3
    kinds = {line.split()[3] for line in text.splitlines() if line.startswith("# TYPE")}
    assert kinds == {"gauge", "counter", "histogram"}, "that format has no other"
    assert [each.name for each in tmp_path.glob("esr1md.prom*")] == ["esr1md.prom"]


def test_metrics_are_served_as_they_are_asked_for(screen):
    screen.run_by()
    with MetricsServer(StoreWatch(screen.store), "127.0.0.1", 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()

        def ask(address: str, **headers: str):
            with urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=20) as answer:
                return answer.headers["Content-Type"], answer.read().decode()

        prometheus = "application/openmetrics-text;version=1.0.0;q=0.8,text/plain;version=0.0.4;q=0.3,*/*;q=0.1"
        kind, text = ask(server.url, Accept=prometheus)
        assert kind == "application/openmetrics-text; version=1.0.0; charset=utf-8"
        assert samples(parse_openmetrics(text))["esr1md_replicas", (("screen", "small"), ("status", "waiting"))] == 12
        kind, text = ask(server.url, Accept="text/plain;version=0.0.4")
        assert kind.startswith("text/plain; version=0.0.4") and "# EOF" not in text and list(parse_classic(text))
        with pytest.raises(urllib.error.HTTPError) as missing:
            ask(server.url.replace("/metrics", "/etc/passwd"))
        assert missing.value.code == 404
        server.shutdown()


# -- the log of a replica --------------------------------------------------------------------------------

WRITER = """
import sys
from pathlib import Path
from esr1md.screen.replica_log import ReplicaLog
log = ReplicaLog(Path(sys.argv[1]))
log("begun", attempt=log.attempt)
number = 0
while True:
    log("checkpoint", number=number, text="x" * 3000)
    number += 1
"""


def test_a_killed_replica_leaves_whole_lines_and_the_next_attempt_goes_on_after_them(tmp_path):
    for attempt in (1, 2):
        process = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], env=environment())
        limit = time.monotonic() + 60
        while not _checkpoints(tmp_path, attempt) > 50:
            assert time.monotonic() < limit and process.poll() is None
            time.sleep(0.02)
        process.kill()
        process.wait()
        assert (tmp_path / LOG).read_bytes().rstrip(b" ").endswith(b"\n")
    events = read_log(tmp_path)
    assert [event["attempt"] for event in events if event["event"] == "begun"] == [1, 2]
    numbers = [event["number"] for event in events if event["event"] == "checkpoint"]
    second = numbers.index(0, 1)
    assert numbers == [*range(second), *range(len(numbers) - second)], "none is missing or twice"
    assert [e["monotonic_s"] for e in events] == sorted(e["monotonic_s"] for e in events)


def _checkpoints(folder: Path, attempt: int) -> int:
    """So many came after the beginning of an attempt."""
    events = [event["event"] for event in read_log(folder)]
    begun = [number for number, event in enumerate(events) if event == "begun"]
    return len(events) - begun[attempt - 1] - 1 if len(begun) >= attempt else 0


def test_what_a_crash_tore_is_cut_off(tmp_path):
    ReplicaLog(tmp_path)("begun", attempt=1)
    with open(tmp_path / LOG, "a") as handle:
        handle.write('{"event": "check')
    assert len(read_log(tmp_path)) == 1
    ReplicaLog(tmp_path)("done")
    assert [event["event"] for event in read_log(tmp_path)] == ["begun", "done"]


@pytest.mark.parametrize(
    ("error", "ending"),
    [
        (None, {"event": "done"}),
        (StageError("pose", "does not fit: TMP/pose.sdf", kind="outcome"),
         {"event": "failed", "stage": "pose", "cause": "does not fit: FINAL/pose.sdf", "kind": "outcome"}),
        (RuntimeError("no\nGPU"), {"event": "failed", "cause": "RuntimeError: no GPU", "kind": "error"}),
        (InputError("the disk is full"), {"event": "failed", "cause": "the disk is full", "kind": "input"}),
        (StoppedEarly("with a checkpoint"), {"event": "stopped", "why": "with a checkpoint"}),
        (KeyboardInterrupt(), {"event": "interrupted", "by": "KeyboardInterrupt"}),
    ],
)  # fmt: skip
def test_a_log_says_how_it_ended(tmp_path, error, ending):
    folder, final = tmp_path / ".digest.tmp", tmp_path / "digest"
    folder.mkdir()
    if isinstance(error, StageError):
        error.cause = error.cause.replace("TMP", str(folder))
    try:
        with warnings.catch_warnings(record=True), replica_log(folder, final, name="WT/apo") as log:
            warnings.warn("the box is small", stacklevel=1)
            log("phase begun", phase="heating")
            if error is not None:
                raise error
    except BaseException as raised:
        assert raised is error
    begun, warned, phase, last = read_log(folder)
    assert begun["name"] == "WT/apo" and begun["attempt"] == 1 and begun["pid"] == os.getpid()
    assert (warned["event"], warned["message"]) == ("warning", "the box is small")
    assert (phase["event"], phase["phase"]) == ("phase begun", "heating")
    expected = {k: v.replace("FINAL", str(final)) if isinstance(v, str) else v for k, v in ending.items()}
    assert expected.items() <= last.items() and last["seconds"] >= 0
    assert all(event["time"].endswith("+00:00") for event in (begun, last))


def test_a_disk_that_refuses_the_log_ends_the_log_and_says_so(tmp_path):
    log = ReplicaLog(tmp_path)
    os.close(log._file)
    log._file = os.open("/dev/full", os.O_WRONLY)
    with pytest.warns(UserWarning, match="log of this replica cannot be written"):
        log("begun")
    log("done")  # nothing more happens
    assert read_log(tmp_path) == []
