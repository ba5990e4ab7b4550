"""Active learning as a Prefect flow: simulate, train, propose, until budget, target or candidates are exhausted.

    python -m flows.explore quickstart --store runs --gpu-hours 2

Each round's screen is a run of the flow in ``flows/screen.py``, each decision a task. What is decided, and why, is in
:mod:`esr1md.explore`; killed and started again the flow goes on where it was.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from esr1md.catalogue import load_flow, named_file
from esr1md.config import load_screen
from esr1md.errors import InputError
from esr1md.explore.candidates import candidate_pool
from esr1md.explore.loop import explore as explore_in_rounds
from esr1md.explore.question import Exploration, Say, silent
from esr1md.explore.rounds import Step, advance
from esr1md.ligand.inputs import open_input
from esr1md.screen.plan import plan_screen
from esr1md.store import Store

#: Shows a screen, by its name, while the body runs it.
Display = Callable[[str], AbstractContextManager]


runners = load_flow("runners")
screen_flow = load_flow("screen")

from prefect import flow, task  # noqa: E402
from prefect.cache_policies import NO_CACHE  # noqa: E402
from prefect.runtime import flow_run  # noqa: E402


@task(name="propose", cache_policy=NO_CACHE, tags=["esr1md", "explore"])
def propose(store: Store, exploration: Exploration, *arguments: Any, **options: Any) -> Step:
    """One decision: what is known, what to simulate next, or why to stop."""
    return advance(store, exploration, *arguments, **options)


def _run_name() -> str:
    return str(flow_run.parameters.get("name") or flow_run.parameters.get("config", "explore"))


@flow(
    name="explore",
    flow_run_name=_run_name,
    description="Which ligands to simulate next, round after round, within a budget of GPU-hours.",
    validate_parameters=True,
)
def explore(
    config: str,
    gpu_hours: float,
    store: str = "runs",
    name: str | None = None,
    candidates: str | None = None,
    with_catalogue: bool = False,
    objective: str = "binding",
    by: str = "mix",
    top: int = 5,
    target: float | None = None,
    batch: int = 4,
    replicas: int | None = None,
    variants: list[str] | None = None,
    diversity: float = 0.25,
    platform: str | None = None,
) -> dict[str, Any]:
    """Explore, or go on with what an earlier run left.

    Args:
        config: Name of a bundled screen, or path of a YAML file: what is simulated first.
        gpu_hours: Hours of one GPU (of this machine, without GPUs) that may be spent.
        store: Folder that results are kept in and resumed from.
        name: Name of the exploration, if not the screen's.
        candidates: File of molecules to choose from; the catalogue if not given.
        with_catalogue: Choose from the catalogue as well as from the file.
        objective: binding or helix12.
        by: mix, expected-improvement or uncertainty.
        top: How many of the best ligands are looked for.
        target: Half-width of the 95 % interval that is enough for each of them.
        batch: New ligands of a round at most.
        replicas: Of each cell, if not the screen's.
        variants: Of the receptor, if not the screen's.
        diversity: How much ligands that resemble each other are avoided, 0 to 1.
        platform: OpenMM platform, instead of the screen's own.
    """
    path, kept = named_file("screens", config), Store(Path(store))
    exploration = exploration_of(
        config, gpu_hours, name, objective, by, top, target, batch, replicas, variants, diversity
    )
    report, display = _audience.get()
    found, left_out = candidate_pool(candidates, with_catalogue, report)

    def simulate(round_screen: Path) -> None:
        with display(load_screen(round_screen).name):
            screen_flow.screen(str(round_screen), str(kept.root), None, platform)

    return explore_in_rounds(kept, exploration, found, simulate, path, left_out, decide_round=propose, report=report)


def exploration_of(
    config: str, gpu_hours: float, name: str | None, objective: str, by: str, top: int, target: float | None,
    batch: int, replicas: int | None, variants: list[str] | None, diversity: float,
) -> Exploration:  # fmt: skip
    """The flow's parameters as what :mod:`esr1md.explore` takes; called as the screen unless named."""
    screen = load_screen(named_file("screens", config)).name
    return Exploration(
        name or screen, screen, gpu_hours, objective, by, top, target, batch, replicas, tuple(variants or ()), diversity
    )


#: Who hears what is done, and what shows the screens: the terminal that the flow was started from, if any.
_audience: ContextVar[tuple[Say, Display]] = ContextVar("audience", default=(silent, nullcontext))


def run_explore_flow(
    parameters: Mapping[str, Any], report: Say = silent, display: Display = nullcontext
) -> dict[str, Any]:
    """Run the flow here and now, with Prefect's bookkeeping in ``STORE/.prefect`` unless ``PREFECT_API_URL`` is set.

    Parameters
    ----------
    parameters
        Those of :func:`explore`, by name.
    report, display
        Hear what is done, and show the screens while they run.

    Raises
    ------
    InputError
        As :func:`esr1md.explore.loop.explore`; bad input is told before Prefect starts.
    """
    given = inspect.signature(explore.fn).bind(**parameters)
    given.apply_defaults()
    asked = given.arguments
    exploration_of(*(asked[key] for key in inspect.signature(exploration_of).parameters))
    if asked["candidates"]:
        with open_input(asked["candidates"]):
            pass
    plan = plan_screen(load_screen(asked["config"]), asked["store"], platform=asked["platform"])
    plan.store_root.mkdir(parents=True, exist_ok=True)
    token = _audience.set((report, display))
    try:
        with runners.local_engine(plan.store_root):
            return explore(**asked | {"store": str(plan.store_root)})
    finally:
        _audience.reset(token)


def main(arguments: Sequence[str] | None = None) -> int:
    """``python -m flows.explore``: run, or ``--serve`` as a deployment."""
    import argparse

    parser = argparse.ArgumentParser(prog="python -m flows.explore", description=__doc__.split("\n")[0])
    parser.add_argument("config", help="a bundled screen or a YAML file: what is simulated first")
    parser.add_argument("--gpu-hours", type=float, required=True, help="hours of one GPU that may be spent")
    parser.add_argument("--store", default="runs", help="folder that results are kept in (default: %(default)s)")
    parser.add_argument("--candidates", help="file of molecules to choose from; the catalogue if not given")
    parser.add_argument("--target", type=float, help="half-width of the best ligands' intervals that is enough")
    parser.add_argument("--platform", help="OpenMM platform, instead of the screen's own")
    parser.add_argument("--serve", action="store_true", help="offer it as a deployment instead of running it")
    given = vars(parser.parse_args(arguments))
    if given.pop("serve"):
        explore.serve(name=given["config"], parameters=given)
        return 0
    try:
        done = run_explore_flow(given, report=lambda said: print(said, file=sys.stderr))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(f"{done['why']}\n{done['folder']}/summary.json")
    return 3 if done["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
