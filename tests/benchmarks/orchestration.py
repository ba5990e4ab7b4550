"""What orchestration costs: a screen of trivial cells, its engine stubbed here and nowhere else.

    python tests/benchmarks/orchestration.py                          # plain, local, dask, prefect
    python tests/benchmarks/orchestration.py local dask --replicas 1 4

Plan, store, index, worker processes, Prefect tasks and leases are the real ones; only what a worker computes is
replaced by writing a finished folder. Each way is timed with few and with many cells: the slope is the overhead of a
cell, the rest the start. ``plain`` is ``run_screen`` without Prefect, ``local`` the flow with its temporary server as
the command line runs it, ``dask`` the same over a scheduler and a worker process, ``prefect`` a deployment on a server
and a process worker that run already, started through its API.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SLOTS = 2

SCREEN = """
name: trivial
variants: [VARIANTS]
ligands: [estradiol, 4-hydroxytamoxifen, fulvestrant, elacestrant, imlunestrant]
protocol: quick
replicas: REPLICAS
platform: CPU
site: SITE
"""
VARIANTS = ("WT", "Y537S", "Y537N", "Y537C", "D538G", "E380Q", "L536H", "L536R", "S463P", "V422del")


# -- what stands in for the work --------------------------------------------------------------------------------


def prepare(kind: str, digest: str, name: str, store_root: Path, subject: Any) -> None:
    """Instead of a receptor, parameters or a pose: an empty folder."""
    from esr1md.store import Store

    Store(store_root).produce(kind, digest, lambda folder: None, spec={"kind": kind, "name": name})


def run_replica(job: Any, store_root: Path, platform: Any, packing: Any) -> dict[str, Any]:
    """Instead of a simulation: a folder with a record and a summary."""
    from esr1md.store import Store
    from esr1md.store.artifacts import Busy
    from esr1md.store.records import replica_row

    def make(folder: Path) -> None:
        record = {"ligand": job.spec.cell.ligand_name, "protocol": job.protocol, "platform": platform.name}
        (folder / "record.json").write_text(json.dumps(record))
        (folder / "summary.json").write_text(json.dumps({"binding_kcal": -30.0}))

    store = Store(store_root)
    try:
        store.produce("replicas", job.spec.digest, make, spec=job.spec.identity, wait=False)
    except Busy:
        return {"digest": job.spec.digest, "status": "busy"}
    return replica_row(store.folder("replicas", job.spec.digest))


def stub(*, flow: bool) -> None:
    """Replace the engine and the ranking, which is work as well, in this process and in the flow if it is run."""
    sys.path.insert(0, str(Path(__file__).parent))
    import orchestration

    from esr1md.screen import run, steps

    def finish(plan: Any, store: Any = None, *, report: bool = True) -> Any:
        class Nothing:
            screen, ranking, failures, limits, comparisons = plan.name, (), (), (), ()

        return Nothing()

    steps._prepare, steps.run_replica = orchestration.prepare, orchestration.run_replica
    run.finish_screen = finish
    if flow:
        from esr1md.catalogue import load_flow

        load_flow().finish_screen, load_flow().shown.ranking = finish, lambda found, folder: None


def stubbed(config: str, store: str) -> None:
    """The entry point of the deployment: the screen's flow, its engine stubbed."""


if os.environ.get("ESR1MD_STUBBED"):  # loaded by a Prefect worker
    stub(flow=True)
    from esr1md.catalogue import load_flow

    stubbed = load_flow().screen


# -- the ways ---------------------------------------------------------------------------------------------------


def screen_file(folder: Path, replicas: int, site: str) -> Path:
    """A screen of 50 cells times ``replicas``."""
    (folder / "site.yaml").write_text(site)
    text = SCREEN.replace("VARIANTS", ", ".join(VARIANTS)).replace("REPLICAS", str(replicas))
    path = folder / "trivial.yaml"
    path.write_text(text.replace("SITE", str(folder / "site.yaml")))
    return path


LOCAL = f"{{name: here, workers: {SLOTS}, threads: 1}}"


def run_child(how: str, screen: Path, store: Path) -> float:
    """Seconds of a fresh process from its start to its end, as a user waits."""
    begun = time.perf_counter()
    subprocess.run([sys.executable, __file__, "--child", how, str(screen), str(store)], cwd=ROOT, check=True)
    return time.perf_counter() - begun


def child(how: str, screen: str, store: str) -> None:
    stub(flow=how != "plain")
    if how == "plain":
        from esr1md.config import load_screen
        from esr1md.screen.run import run_screen

        run_screen(load_screen(screen), store)
    else:
        from esr1md.catalogue import load_flow

        load_flow().run_screen_flow(screen, store)


@contextlib.contextmanager
def dask_site(folder: Path) -> Iterator[str]:
    """The site of a scheduler and a worker that have been started."""
    where = folder / "scheduler.json"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    cli = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0"]
    path = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), str(ROOT)])}
    scheduler = subprocess.Popen([*cli, "--no-dashboard", "--scheduler-file", str(where)], env=path, **quiet)
    cli = [sys.executable, "-m", "distributed.cli.dask_worker", "--scheduler-file", str(where), "--no-dashboard"]
    worker = subprocess.Popen([*cli, "--nthreads", str(SLOTS)], env=path, cwd=folder, **quiet)
    try:
        while not where.exists() or not where.read_text().strip():
            time.sleep(0.1)
        address = json.loads(where.read_text())["address"]
        yield (
            f"{{name: dask, kind: dask, platform: CPU, workers: {SLOTS}, threads: 1, dask: {{address: '{address}'}}}}"
        )
    finally:
        for process in (worker, scheduler):
            process.terminate()
            process.wait()


@contextlib.contextmanager
def prefect_server(folder: Path) -> Iterator[dict[str, str]]:
    """Environment of a server (SQLite) with the deployment and one process worker, all running."""
    import httpx

    program = str(Path(sys.executable).parent / "prefect")
    with contextlib.closing(__import__("socket").socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **os.environ, "PREFECT_API_URL": f"http://127.0.0.1:{port}/api", "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1", "ESR1MD_STUBBED": "1",
        "PYTHONPATH": str(ROOT), "PREFECT_WORKER_QUERY_SECONDS": "2",
    }  # fmt: skip
    quiet = {"env": environment, "cwd": ROOT, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    server = subprocess.Popen([program, "server", "start", "--host", "127.0.0.1", "--port", str(port)], **quiet)
    running = [server]
    try:
        while True:
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{environment['PREFECT_API_URL']}/health").status_code == 200:
                    break
            time.sleep(0.5)
        subprocess.run([program, "work-pool", "create", "trivial", "--type", "process"], check=True, **quiet)
        entry = f"{Path(__file__).relative_to(ROOT)}:stubbed"
        subprocess.run(
            [program, "--no-prompt", "deploy", entry, "--name", "trivial", "--pool", "trivial", "--prefect-file",
             str(folder / "none.yaml")], check=True, **quiet,
        )  # fmt: skip
        running.append(subprocess.Popen([program, "worker", "start", "--pool", "trivial"], **quiet))
        time.sleep(8)
        yield environment
    finally:
        for process in reversed(running):  # started without a terminal, a worker may not heed anything gentler
            process.kill()
            process.wait()


def run_deployed(environment: dict[str, str], screen: Path, store: Path) -> float:
    """Seconds from asking the API until the run has completed."""
    code = (
        "import sys; from prefect.deployments import run_deployment\n"
        "run = run_deployment('screen/trivial', parameters={'config': sys.argv[1], 'store': sys.argv[2]},"
        " poll_interval=0.2)\n"
        "assert run.state.is_completed(), run.state"
    )
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-c", code, str(screen), str(store)], env=environment, check=True)
    return time.perf_counter() - begun


def measure(how: str, replicas: list[int]) -> dict[str, float]:
    """Overhead of a cell (ms) and start (s) of one way."""
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        site = stack.enter_context(dask_site(folder)) if how == "dask" else LOCAL
        environment = stack.enter_context(prefect_server(folder)) if how == "prefect" else {}
        seconds = []
        for each in replicas:
            screen, store = screen_file(folder, each, site), folder / f"store-{each}"
            seconds.append(
                run_deployed(environment, screen, store) if how == "prefect" else run_child(how, screen, store)
            )
            cells = len(list((store / "replicas").iterdir()))
            assert cells == 50 * each, f"{cells} of {50 * each} replicas"
            shutil.rmtree(store)
    few, many = (50 * each for each in replicas)
    slope = (seconds[1] - seconds[0]) / (many - few)
    return {"ms_per_cell": 1000 * slope, "start_s": seconds[0] - few * slope, "few_s": seconds[0], "many_s": seconds[1]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("ways", nargs="*", help="plain, local, dask, prefect (default: all)")
    parser.add_argument("--replicas", type=int, nargs=2, default=(1, 4), help="of 50 cells: few and many")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        child(*given.child)
        return
    print(f"{'way':<10}{'ms per cell':>14}{'start, s':>10}{'few, s':>9}{'many, s':>9}")
    for how in given.ways or ("plain", "local", "dask", "prefect"):
        found = measure(how, list(given.replicas))
        print(f"{how:<10}{found['ms_per_cell']:>14.1f}{found['start_s']:>10.1f}{found['few_s']:>9.1f}"
              f"{found['many_s']:>9.1f}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
