"""A Prefect server on PostgreSQL with two workers: a screen deployed, run through its API, and disturbed."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import httpx
import psutil
import psycopg
import pytest

from esr1md.dashboard.library_data import start
from tiny_screen import ROOT, TinyScreen, stamps, wait_for

pytestmark = pytest.mark.slow

PREFECT = str(Path(sys.executable).parent / "prefect")
POOL = "esr1md"


class Server:
    """A Prefect server, and workers of a process work pool in which the flows are deployed."""

    def __init__(self, folder: Path, database: str) -> None:
        with closing(socket.socket()) as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.folder = folder
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
        self.environment = {
            **kept, "PREFECT_API_URL": f"http://127.0.0.1:{self.port}/api", "PREFECT_HOME": str(folder / "home"),
            "PREFECT_SERVER_DATABASE_CONNECTION_URL": database, "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_SERVER_UI_ENABLED": "false", "DO_NOT_TRACK": "1", "OMP_NUM_THREADS": "1",
            "ESR1MD_CHECKOUT": str(ROOT), "ESR1MD_WORK_POOL": POOL, "PYTHONPATH": str(ROOT),
            "PREFECT_WORKER_QUERY_SECONDS": "2",
        }  # fmt: skip
        self.workers: list[subprocess.Popen] = []
        self.start()

    def start(self) -> None:
        arguments = ["server", "start", "--host", "127.0.0.1", "--port", str(self.port)]
        self.process = self._background(*arguments, log="server.log")
        wait_for(self._answers, 180, "the server answers", lambda: self.process.poll() is None)

    def stop(self) -> None:
        kill_tree(self.process)

    def work(self, number: int) -> None:
        for name in range(number):
            arguments = ["worker", "start", "--pool", POOL, "--limit", "1", "--name", f"w{name}"]
            self.workers.append(self._background(*arguments, log=f"worker-{len(self.workers)}.log"))

    def call(self, *arguments: str) -> str:
        ran = subprocess.run(
            [PREFECT, "--no-prompt", *arguments], cwd=ROOT, env=self.environment, capture_output=True, text=True
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout

    def runs(self) -> list[dict]:
        url = f"{self.environment['PREFECT_API_URL']}/flow_runs/filter"
        return httpx.post(url, json={"sort": "EXPECTED_START_TIME_DESC"}).raise_for_status().json()

    def tasks_tagged(self, *tags: str) -> list[dict]:
        url = f"{self.environment['PREFECT_API_URL']}/task_runs/filter"
        return httpx.post(url, json={"task_runs": {"tags": {"all_": tags}}}).raise_for_status().json()

    def artifacts(self) -> dict[str, dict]:
        url = f"{self.environment['PREFECT_API_URL']}/artifacts/latest/filter"
        return {each["key"]: each for each in httpx.post(url, json={}).raise_for_status().json()}

    def close(self) -> None:
        for process in (*self.workers, self.process):
            kill_tree(process)

    def _background(self, *arguments: str, log: str) -> subprocess.Popen:
        with open(self.folder / log, "a") as output:
            return subprocess.Popen(
                [PREFECT, *arguments], cwd=ROOT, env=self.environment, stdout=output, stderr=output
            )  # fmt: skip

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.environment['PREFECT_API_URL']}/health").status_code == 200
        except httpx.TransportError:
            return False


def kill_tree(process: subprocess.Popen) -> None:
    """SIGKILL to a process and all its descendants at once, as when a machine is lost."""
    try:
        tree = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
    except psutil.NoSuchProcess:
        tree = []
    for each in tree:
        try:
            each.send_signal(signal.SIGKILL)
        except psutil.NoSuchProcess:
            continue
    process.wait()


@pytest.fixture(scope="module")
def server(postgres, tmp_path_factory):
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as connection:
        connection.execute("CREATE DATABASE prefect")
    url = postgres.url("prefect").replace("postgresql://", "postgresql+asyncpg://")
    made = Server(tmp_path_factory.mktemp("prefect"), url)
    try:
        made.call("work-pool", "create", POOL, "--type", "process")
        made.call("deploy", "--all", "--prefect-file", "flows/prefect.yaml")
        made.work(2)
        yield made
    finally:
        made.close()


@pytest.fixture
def site(tmp_path) -> Path:
    path = tmp_path / "two.yaml"
    path.write_text("{name: two, kind: prefect, workers: 1, threads: 1, prefect: {members: 2}}\n")
    return path


def begin(server: Server, tiny_screen: TinyScreen, store, site: Path) -> None:
    parameters = {"config": tiny_screen.file, "store": store.root, "site": site}
    given = [text for name, value in parameters.items() for text in ("-p", f"{name}={value}")]
    server.call("deployment", "run", "screen/screen", *given)


def ended(store) -> bool:
    return (store.root / "screens" / "tiny" / "report.html").is_file()


def test_one_worker_is_lost_in_the_middle(server: Server, tiny_screen: TinyScreen, site, tmp_path):
    """With everything it runs, whichever of the two runs that was: every replica once, the same ranking."""
    store = tiny_screen.prepared(tmp_path / "store")
    begin(server, tiny_screen, store, site)
    wait_for(lambda: len(list(store.root.glob("screens/tiny/runs/*.json"))) == 2, 240, "both runs are at it")
    wait_for(lambda: len(stamps(store)) >= 2, 240, "two replicas are done")
    before = stamps(store)
    kill_tree(server.workers.pop(0))
    wait_for(lambda: ended(store), 300, "the screen is ranked")
    assert before.items() <= stamps(store).items(), "a finished replica was computed again"
    assert sorted(stamps(store)) == sorted(tiny_screen.digests)
    assert tiny_screen.ranked_the_same(store)
    shown = wait_for(lambda: "tiny-report" in (found := server.artifacts()) and found, 60, "the report is linked")
    assert {"tiny-progress", "tiny-ranking", "tiny-limits", "tiny-heat-map"} <= set(shown)
    assert shown["tiny-heat-map"]["data"].startswith("data:image/svg+xml;base64,")
    assert server.tasks_tagged("Y537S", "estradiol", "replicas") and not server.tasks_tagged("Y537S", "fulvestrant")


def test_the_server_is_started_again_in_the_middle(server: Server, tiny_screen: TinyScreen, site, tmp_path):
    site.write_text("{name: one, kind: local, workers: 1, threads: 1}\n")
    store = tiny_screen.prepared(tmp_path / "store")
    if not any(worker.poll() is None for worker in server.workers):
        server.work(1)
    begin(server, tiny_screen, store, site)
    wait_for(lambda: stamps(store), 300, "a replica is done")
    server.stop()
    time.sleep(3)
    server.start()
    wait_for(lambda: ended(store), 300, "the screen is ranked")
    assert sorted(stamps(store)) == sorted(tiny_screen.digests)
    assert tiny_screen.ranked_the_same(store)
    last = wait_for(
        lambda: (run := server.runs()[0])["state_type"] in ("COMPLETED", "FAILED", "CRASHED") and run, 120, "it ends"
    )
    assert last["state_type"] == "COMPLETED", last["state"]


def test_a_run_that_the_dashboard_started_is_cancelled(
    server: Server, tiny_screen: TinyScreen, site, tmp_path, monkeypatch
):
    """Its simulations end, and what they have done so far is kept."""
    site.write_text("{name: one, kind: local, workers: 1, threads: 1}\n")
    store, request = tiny_screen.prepared(tmp_path / "store"), tmp_path / "request.yaml"
    request.write_text(re.sub(r"(?m)^site: .*$", f"site: {site}", tiny_screen.file.read_text()))
    monkeypatch.setenv("PREFECT_API_URL", server.environment["PREFECT_API_URL"])
    monkeypatch.setenv("ESR1MD_DEPLOYMENT", "screen/screen")
    assert start(request, store) == "request"
    wait_for(lambda: list(store.root.glob("progress/*.json")), 300, "a replica runs")
    run = server.runs()[0]
    assert run["name"] == "request"
    server.call("flow-run", "cancel", run["id"])
    wait_for(lambda: not _simulating(store), 120, "the simulations have ended")
    done = stamps(store)
    time.sleep(5)
    assert stamps(store) == done and len(done) < len(tiny_screen.digests)
    state = wait_for(lambda: (found := server.runs()[0])["state_type"] == "CANCELLED" and found, 60, "it is cancelled")
    assert state["id"] == run["id"]


def _simulating(store) -> list[int]:
    """Worker processes whose output goes to this store."""
    found = []
    for process in psutil.process_iter():
        try:
            if any(str(store.root / "logs") in each.path for each in process.open_files()):
                found.append(process.pid)
        except psutil.Error:
            continue
    return found
