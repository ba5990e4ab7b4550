"""A screen as a Prefect flow: plan, prepare, simulate in chunks, finish.

    python -m flows.screen quickstart --store runs

or deployed, from a checkout or an installed copy, by its entrypoint ``flows/screen.py:screen``. What the tasks
call is in :mod:`esr1md.screen.run`; this file only says what waits for what, and shows it in Prefect.
"""

from __future__ import annotations

import importlib.util
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from esr1md.config import load_screen
from esr1md.errors import InputError
from esr1md.screen.run import (
    PREPARATIONS,
    Plan,
    Step,
    early_preparations,
    finish_screen,
    open_pool,
    perform,
    plan_screen,
    start_screen,
    steps,
)
from esr1md.screen.transfers import KIND as TRANSFERS
from esr1md.store import Store
from esr1md.workers import WorkerPool

#: Work (s) that is worth a task of its own: less, and Prefect's bookkeeping would show in the run time.
CHUNK_SECONDS = 30.0
#: Chunks per slot at least, so that no slot idles while the last ones end.
CHUNKS_PER_SLOT = 4


def _sibling(name: str) -> ModuleType:
    """``flows/NAME.py`` beside this file, whatever folder called ``flows`` the user may have."""
    full = f"esr1md_flows_{name}"
    if full not in sys.modules:
        spec = importlib.util.spec_from_file_location(full, Path(__file__).with_name(f"{name}.py"))
        sys.modules[full] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[full])
    return sys.modules[full]


runners = _sibling("runners")
runners.before_prefect_is_imported()

from prefect import flow, task  # noqa: E402
from prefect.cache_policies import NO_CACHE  # noqa: E402
from prefect.futures import as_completed  # noqa: E402
from prefect.runtime import flow_run  # noqa: E402


@task(task_run_name="{step.kind}: {step.name}", cache_policy=NO_CACHE, tags=["esr1md", "prepare"])
def prepare(step: Step, pool: WorkerPool, store: Store) -> None:
    """One shared preparation: a receptor, a ligand's parameters or a pose."""
    perform(step, pool, store)


@task(task_run_name="{name}", cache_policy=NO_CACHE, tags=["esr1md", "replicas"])
def simulate(name: str, chunk: Sequence[Step], pool: WorkerPool, store: Store) -> dict[str, str]:
    """Replicas, one after the other; returns the status of each by name.

    Not retried by Prefect: the store keeps what is finished, a worker that died is replaced and its replica
    tried again by :func:`esr1md.screen.run.perform`, and a scientific failure would only fail again.
    """
    return {step.name: perform(step, pool, store)["status"] for step in chunk}


@task(task_run_name="{step.name}", cache_policy=NO_CACHE, tags=["esr1md", "transfers"])
def transfer(step: Step, pool: WorkerPool, store: Store) -> None:
    """One repeat of the relative free energy of two ligands."""
    perform(step, pool, store)


@task(task_run_name="rank {plan.name}", cache_policy=NO_CACHE, tags=["esr1md"])
def finish(plan: Plan, store: Store) -> dict[str, Any]:
    """Score, rank, tables and report."""
    ranking = finish_screen(plan, store)
    return {
        "screen": plan.name,
        "folder": str(store.root / "screens" / plan.name),
        "ranking": [line.ligand for line in ranking.ranking],
        "failures": len(ranking.failures),
    }


def _run_name() -> str:
    return str(flow_run.parameters.get("config", "screen"))


@flow(
    name="screen",
    flow_run_name=_run_name,
    description="Which ER-alpha ligands still bind, and hold helix 12, once ESR1 is mutated.",
    validate_parameters=True,
)
def screen(
    config: str,
    store: str = "runs",
    limit: int | None = None,
    platform: str | None = None,
    retry: bool = False,
) -> dict[str, Any]:
    """Run a screen, or what an earlier run of it left.

    Args:
        config: Name of a bundled screen, or path of a YAML file.
        store: Folder that results are kept in and resumed from.
        limit: Run at most so many of the replicas that are not done.
        platform: OpenMM platform, instead of the screen's own.
        retry: Compute again what failed before.
    """
    plan = plan_screen(load_screen(config), store, limit=limit, platform=platform)
    start_screen(plan, retry=retry)
    place = Store(plan.store_root)
    ordered = steps(plan)
    pending: dict[str, Any] = {}
    with open_pool(plan) as pool, runners.task_runner(plan.slots) as runner:
        try:
            # submitted in order, and threads are taken in order: a waiting task never blocks what it waits for
            for step in ordered:
                if step.kind in PREPARATIONS:
                    submit(runner, prepare, {"step": step, "pool": pool, "store": place}, [step], pending)
            for chunk in chunks([step for step in ordered if step.kind == "replicas"], plan.slots):
                parameters = {"name": chunk_name(chunk), "chunk": chunk, "pool": pool, "store": place}
                submit(runner, simulate, parameters, chunk, pending)
            for step in (step for step in ordered if step.kind == TRANSFERS):
                submit(runner, transfer, {"step": step, "pool": pool, "store": place}, [step], pending)
            for future in as_completed(list(dict.fromkeys(pending.values()))):
                future.result()
        except BaseException:  # bad input that only the work could find, a full disk, Ctrl-C
            pool.close()  # before the runner waits for its threads
            raise
    return finish(plan, place)


def submit(runner: Any, call: Any, parameters: dict, done: Sequence[Step], pending: dict[str, Any]) -> None:
    """Hand a task to the runner, after those that its steps need, and note whom to wait for from now on."""
    needed = dict.fromkeys(pending[digest] for step in done for digest in step.needs if digest in pending)
    future = runner.submit(call, parameters, wait_for=list(needed))
    pending.update((step.digest, future) for step in done)


def chunks(replicas: Sequence[Step], slots: int) -> list[list[Step]]:
    """Consecutive replicas put together until a task is worth its overhead, if that leaves no slot idle."""
    if not replicas:
        return []
    worth = math.ceil(CHUNK_SECONDS / max(replicas[0].seconds, 0.1))
    spread = max(1, len(replicas) // (slots * CHUNKS_PER_SLOT))
    size = min(worth, spread)
    return [list(replicas[i : i + size]) for i in range(0, len(replicas), size)]


def chunk_name(chunk: Sequence[Step]) -> str:
    more = f" and {len(chunk) - 1} more" if len(chunk) > 1 else ""
    return f"{chunk[0].name}{more}"


def run_screen_flow(
    config: str | Path,
    store: str | Path,
    *,
    limit: int | None = None,
    platform: str | None = None,
    retry: bool = False,
) -> dict[str, Any]:
    """Run the flow here and now, with Prefect's bookkeeping in ``STORE/.prefect`` unless ``PREFECT_API_URL`` is set.

    Raises
    ------
    InputError
        As :func:`esr1md.screen.run.run_screen`.
    """
    plan = plan_screen(load_screen(config), store, limit=limit, platform=platform)  # bad input is told at once
    start_screen(plan, retry=retry)
    with early_preparations(plan) as hand_over, runners.local_engine(plan.store_root):
        hand_over()
        return screen(str(config), str(plan.store_root), limit, platform)


def main(arguments: Sequence[str] | None = None) -> int:
    """``python -m flows.screen``: run, or ``--serve`` as a deployment."""
    import argparse

    parser = argparse.ArgumentParser(prog="python -m flows.screen", description=__doc__.split("\n")[0])
    parser.add_argument("config", help="a bundled screen or a YAML file")
    parser.add_argument("--store", default="runs", help="folder that results are kept in (default: %(default)s)")
    parser.add_argument("--limit", type=int, help="run at most N of the replicas that are not done")
    parser.add_argument("--platform", help="OpenMM platform, instead of the screen's own")
    parser.add_argument("--retry", action="store_true", help="compute again what failed before")
    parser.add_argument("--serve", action="store_true", help="offer the screen as a deployment instead of running it")
    given = parser.parse_args(arguments)
    if given.serve:
        screen.serve(name=given.config, parameters={"config": given.config, "store": given.store})
        return 0
    try:
        done = run_screen_flow(given.config, given.store, limit=given.limit, platform=given.platform, retry=given.retry)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(f"{done['folder']}/report.html")
    return 3 if done["failures"] else 0


if __name__ == "__main__":
    sys.exit(main())
