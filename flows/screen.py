"""A screen as a Prefect flow: plan, prepare, simulate in chunks, finish.

    python -m flows.screen quickstart --store runs

or deployed, from a checkout or an installed copy, by its entrypoint ``flows/screen.py:screen``. What the tasks
call is in :mod:`esr1md.screen.run`; this file only says what waits for what, and shows it in Prefect.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

from esr1md.catalogue import load_flow
from esr1md.config import ScreenConfig, load_screen, load_site
from esr1md.errors import InputError
from esr1md.screen.run import (
    PREPARATIONS,
    Plan,
    Step,
    await_others,
    early_preparations,
    finish_screen,
    open_pool,
    perform,
    plan_screen,
    running,
    start_screen,
    steps,
)
from esr1md.sites import Pool
from esr1md.store import Store
from esr1md.store.location import open_store

#: Work (s) that is worth a task of its own: less, and Prefect's bookkeeping would show in the run time.
CHUNK_SECONDS = 30.0
#: Chunks per slot at least, so that no slot idles while the last ones end.
CHUNKS_PER_SLOT = 4
#: Tasks that Prefect is given at once, for each slot.
TASKS_PER_SLOT = 4
#: Tags of a task beyond its kind at most: one of many small cells is found by the first of them.
MOST_TAGS = 12
RETRIES, RETRY_S = 3, [10, 30, 60]

runners = load_flow("runners")
runners.before_prefect_is_imported()
shown = load_flow("artifacts")

from prefect import flow, tags, task  # noqa: E402
from prefect.cache_policies import NO_CACHE  # noqa: E402
from prefect.runtime import flow_run  # noqa: E402

_retried = {
    "retries": RETRIES, "retry_delay_seconds": RETRY_S, "retry_condition_fn": runners.infrastructure_fault,
    "cache_policy": NO_CACHE,
}  # fmt: skip


@task(task_run_name="{step.kind}: {step.name}", tags=["esr1md", "prepare"], **_retried)
def prepare(step: Step, pool: Pool, store: Store) -> None:
    """One shared preparation: a receptor, a ligand's parameters or a pose."""
    perform(step, pool, store)


@task(task_run_name="{name}", tags=["esr1md", "replicas"], **_retried)
def simulate(name: str, chunk: Sequence[Step], pool: Pool, store: Store, busy: list[Step]) -> dict[str, str]:
    """Replicas, one after the other; returns the status of each by name.

    Retried by Prefect only where its infrastructure failed: the store keeps what is finished, a worker that died is
    replaced and its replica tried again by :func:`esr1md.screen.run.perform`, and a scientific failure is a record.
    """
    found = {}
    for step in chunk:
        found[step.name] = perform(step, pool, store)["status"]
        if found[step.name] == "busy":
            busy.append(step)
    return found


@task(task_run_name="{step.name}", tags=["esr1md", "transfers"], **_retried)
def transfer(step: Step, pool: Pool, store: Store) -> None:
    """One repeat of the relative free energy of two ligands."""
    perform(step, pool, store)


@task(task_run_name="what other runs compute", tags=["esr1md", "replicas"], **_retried)
def join(busy: Sequence[Step], pool: Pool, store: Store) -> int:
    """Wait for replicas that other runs of this store have in hand, and take over what they leave."""
    return sum(1 for _ in await_others(busy, lambda step: perform(step, pool, store), store))


@task(task_run_name="rank {plan.name}", **_retried)
def finish(plan: Plan, store: Store) -> dict[str, Any]:
    """Score, rank, tables and report, which the run's page in Prefect shows as well."""
    ranking = finish_screen(plan, store)
    folder = store.root / "screens" / plan.name
    shown.ranking(ranking, folder)
    return {
        "screen": plan.name,
        "folder": str(folder),
        "ranking": [line.ligand for line in ranking.ranking],
        "failures": len(ranking.failures),
    }


def _run_name() -> str:
    given = flow_run.parameters
    return Path(str(given.get("config", "screen"))).stem + (" (joining)" if given.get("joining") else "")


@flow(
    name="screen",
    flow_run_name=_run_name,
    description="Which ER-alpha ligands still bind, and hold helix 12, once ESR1 is mutated.",
    validate_parameters=True,
)
def screen(
    config: str,
    store: str = "runs",
    site: str | None = None,
    limit: int | None = None,
    platform: Literal["auto", "CUDA", "HIP", "OpenCL", "CPU", "Reference"] | None = None,
    retry: bool = False,
    joining: bool = False,
) -> dict[str, Any]:
    """Run a screen, or what an earlier run of it left.

    Args:
        config: Name of a bundled screen (quickstart, reference), or path of a YAML file on the machine that works.
        store: Folder, or URL such as s3://bucket/er, that results are kept in; the same for every machine that works.
        site: Where to run (local, dask, slurm, ray, kubernetes, or a YAML file), instead of the screen's own.
        limit: Run at most so many of the replicas that are not done.
        platform: OpenMM platform, instead of the screen's own.
        retry: Compute again what failed before.
        joining: This run helps another one of the same screen; set by that one.
    """
    root = open_store(store).root
    plan = plan_screen(_at_site(load_screen(config), site), root, limit=limit, platform=platform)
    start_screen(plan, retry=retry and not joining)
    chosen = load_site(plan.config.site)
    if chosen.kind == "prefect" and not joining:
        runners.invite(chosen.prefect, flow_run.parameters, flow_run.id)
    place, busy = Store(plan.store_root), []
    with (
        running(plan),
        open_pool(plan) as pool,
        shown.progress(plan, place),
        runners.task_runner(pool.slots) as runner,
    ):
        try:
            submit(plan, place, pool, runners.Window(runner, TASKS_PER_SLOT * pool.slots + 2), busy)
        except BaseException:  # bad input that only the work could find, a full disk, Ctrl-C, a cancelled run
            pool.close()  # before the runner waits for its threads
            raise
    return finish(plan, place)


def submit(plan: Plan, store: Store, pool: Pool, window: Any, busy: list[Step]) -> None:
    """Hand every step to Prefect, each after those it needs, a bounded number at a time.

    Preparations come first and threads are taken in order: a waiting task never blocks what it waits for.
    """
    common = {"pool": pool, "store": store}
    pending: dict[str, Any] = {}
    replicas: list[Step] = []
    size = chunk_size(plan.estimate.left, plan.estimate.replica_seconds, pool.slots)

    def needed(done: Iterable[Step]) -> list[Any]:
        return list(dict.fromkeys(pending[digest] for step in done for digest in step.needs if digest in pending))

    def hand(call: Any, parameters: dict[str, Any], chunk: Sequence[Step]) -> Any:
        with tags(*cell_tags(chunk)):
            return window.submit(call, {**parameters, **common}, needed(chunk))

    def flush() -> None:
        if replicas:
            chunk = tuple(replicas)
            hand(simulate, {"name": chunk_name(chunk), "chunk": chunk, "busy": busy}, chunk)
            replicas.clear()

    for step in steps(plan):
        if step.kind in PREPARATIONS:
            pending[step.digest] = hand(prepare, {"step": step}, [step])
        elif step.kind == "replicas":
            replicas.append(step)
            if len(replicas) == size:
                flush()
        else:
            flush()
            hand(transfer, {"step": step}, [step])
    flush()
    window.finish()
    if busy:
        window.submit(join, {"busy": tuple(busy), **common})
        window.finish()


def chunk_size(replicas: int, seconds: float, slots: int) -> int:
    """Replicas put together until a task is worth its overhead, if that leaves no slot idle.

    Parameters
    ----------
    replicas
        That are left.
    seconds
        Estimate of each.
    slots
        Simulations at once.
    """
    worth = math.ceil(CHUNK_SECONDS / max(seconds, 0.1))
    return min(worth, max(1, replicas // (slots * CHUNKS_PER_SLOT)))


def chunk_name(chunk: Sequence[Step]) -> str:
    more = f" and {len(chunk) - 1} more" if len(chunk) > 1 else ""
    return f"{chunk[0].name}{more}"


def cell_tags(chunk: Sequence[Step]) -> list[str]:
    """Variants, ligands and helix-12 states of a task, by which Prefect's pages find and limit runs."""
    parts = (part for step in chunk for part in step.name.partition("#")[0].split("/")[:3])
    return list(dict.fromkeys(parts))[:MOST_TAGS]


def _at_site(config: ScreenConfig, site: str | None) -> ScreenConfig:
    return config if site is None else config.on_site(site)


def run_screen_flow(
    config: str | Path,
    store: str | Path,
    *,
    site: str | None = None,
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
    settings = _at_site(load_screen(config), site)
    plan = plan_screen(settings, store, limit=limit, platform=platform)  # bad input is told at once
    start_screen(plan, retry=retry)
    with early_preparations(plan) as hand_over, runners.local_engine(plan.store_root):
        hand_over()
        return screen(str(config), str(plan.store_root), site, limit, platform)


def main(arguments: Sequence[str] | None = None) -> int:
    """``python -m flows.screen``: run, or ``--serve`` as a deployment."""
    import argparse

    parser = argparse.ArgumentParser(prog="python -m flows.screen", description=__doc__.split("\n")[0])
    parser.add_argument("config", help="a bundled screen or a YAML file")
    parser.add_argument("--store", default="runs", help="folder that results are kept in (default: %(default)s)")
    parser.add_argument("--site", help="where to run, instead of the screen's own")
    parser.add_argument("--limit", type=int, help="run at most N of the replicas that are not done")
    parser.add_argument("--platform", help="OpenMM platform, instead of the screen's own")
    parser.add_argument("--retry", action="store_true", help="compute again what failed before")
    parser.add_argument("--serve", action="store_true", help="offer the screen as a deployment instead of running it")
    given = parser.parse_args(arguments)
    if given.serve:
        screen.serve(name=given.config, parameters={"config": given.config, "store": given.store})
        return 0
    try:
        options = {name: getattr(given, name) for name in ("site", "limit", "platform", "retry")}
        done = run_screen_flow(given.config, given.store, **options)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(f"{done['folder']}/report.html")
    return 3 if done["failures"] else 0


if __name__ == "__main__":
    sys.exit(main())
