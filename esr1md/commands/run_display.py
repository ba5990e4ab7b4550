"""Running a screen from the command line: what will be done, how far it is, all on standard error.

The display reads the store's own progress records (:func:`esr1md.screen.status.screen_status`), so it shows the same as
``esr1md status`` from another terminal, and needs nothing from the engine that drives the screen.
"""

from __future__ import annotations

import importlib.util
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

import esr1md
from esr1md.commands.terminal import duration, stderr_console
from esr1md.screen.status import ScreenStatus, screen_status
from esr1md.store import Store

if TYPE_CHECKING:
    from esr1md.screen.plan import Plan

#: How often the display looks at the store (s); and, where it is no terminal, how often it says so at most.
LOOK_S, SAY_S = 1.0, 20.0
#: Running replicas that are listed by name.
MOST_RUNNING = 8


def load_flow(flow: str = "screen") -> ModuleType:
    """The module ``flows/FLOW.py`` that belongs to this copy of esr1md.

    Loaded by its place beside the package, in a checkout or an installed wheel, because ``import flows`` would
    take a folder of that name in the user's working folder.

    Raises
    ------
    FileNotFoundError
        The installation lacks it.
    """
    name = f"esr1md_flows_{flow}"
    if name in sys.modules:
        return sys.modules[name]
    path = Path(esr1md.__file__).resolve().parents[1] / "flows" / f"{flow}.py"
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: the installation of esr1md is incomplete; reinstall it")
    spec = importlib.util.spec_from_file_location(name, path)
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def announce(plan: Plan) -> None:
    """Say what will be done: the matrix, the engine, the time."""
    console = stderr_console()
    n_ligands, apo = len(plan.ligands), " and apo" if plan.config.apo else ""
    n_variants, n_replicas = len(plan.variants), plan.config.replicas
    console.print(
        Text.assemble(
            (plan.name, "bold"),
            f": {n_variants} variant{'s' * (n_variants > 1)} x {n_ligands} ligand{'s' * (n_ligands > 1)}{apo}, "
            f"{plan.matrix_size // n_replicas} cells, {n_replicas} replica{'s' * (n_replicas > 1)} of each",
        )
    )
    console.print(
        f"  protocol {plan.protocol.name} on {plan.platform.name} ({plan.platform.reason}); "
        f"{plan.slots} at once ({plan.packing.basis}: {plan.packing.reason}), "
        f"{plan.threads} CPU thread{'s' * (plan.threads > 1)} each"
    )
    if plan.network.jobs:
        console.print(Text(f"  {plan.network.price(plan.protocol.time_step_fs)[1]}", style="yellow"), soft_wrap=True)
        for said in plan.network.left_out:
            console.print(Text(f"  left out: {said}", style="yellow"), soft_wrap=True)
    left = replicas_left(plan)
    limited = f" of the {plan.matrix_size}" if len(plan.jobs) < plan.matrix_size else ""
    if not left:
        console.print(f"  store {plan.store_root}: all {len(plan.jobs)}{limited} replicas are there", soft_wrap=True)
        return
    how = "measured on this store" if plan.estimate.measured else "estimated"
    console.print(
        f"  store {plan.store_root}: {len(plan.jobs) - left} replicas there, {left}{limited} to run, "
        f"about {duration(plan.estimate.seconds)} ({how}), {plan.estimate.bytes / 1e6:.0f} MB of disk, "
        f"{min(plan.slots, left) * plan.estimate.replica.memory / 1e9:.1f} GB of memory",
        soft_wrap=True,
    )
    bias = plan.protocol.production.helix12_bias
    if bias is not None:
        from esr1md.dynamics.helix12_bias import price

        protocol = plan.protocol
        said = price(bias, protocol.production.duration_ps, n_replicas, protocol.temperature_kelvin)
        console.print(Text(f"  {said}", style="yellow"), soft_wrap=True)


def replicas_left(plan: Plan) -> int:
    """Replicas of the plan that are neither done nor recorded as failed."""
    store = Store(plan.store_root)
    digests = [job.spec.digest for job in plan.jobs]
    return sum(store.find("replicas", d) is None and store.failure("replicas", d) is None for d in digests)


@contextmanager
def progress(store: Store, screen: str) -> Iterator[None]:
    """Show how far a screen is while the body runs it: live on a terminal, else a line now and then."""
    console = stderr_console()
    stop = threading.Event()
    show = _show_live if console.is_terminal else _say_lines
    thread = threading.Thread(target=show, args=(console, store, screen, stop), name="display", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(timeout=5)


def status_view(status: ScreenStatus, width: int = 100) -> RenderableType:
    """One screen: a bar, what runs now and how far it is, what failed and why."""
    parts: list[RenderableType] = []
    answered = status.done + status.n_failed
    head = Table.grid(padding=(0, 2))
    left = f"about {duration(status.seconds_left)} left" if status.seconds_left is not None else ""
    words = [f"{status.done} of {status.total} replicas"]
    words += [f"{status.n_failed} not computed"] if status.n_failed else []
    words += [f"{duration(status.seconds)} so far" if status.active else "", left]
    bar = ProgressBar(total=max(1, status.total), completed=answered, width=24)
    head.add_row(Text(status.screen, style="bold"), bar, Text(", ".join(word for word in words if word)))
    parts.append(head)
    for name in status.preparing:
        parts.append(Text(f"  preparing {name}", style="dim"))
    for running in status.running[:MOST_RUNNING]:
        parts.append(
            Text(f"  {running.name:<44.44} {running.stage:<12} {running.fraction:>4.0%}  {duration(running.seconds)}")
        )
    if len(status.running) > MOST_RUNNING:
        parts.append(Text(f"  and {len(status.running) - MOST_RUNNING} more running", style="dim"))
    for cause, count in status.failed.items():
        parts.append(Text(f"  {count} x {cause}", style="yellow", overflow="ellipsis", no_wrap=True))
    return Group(*parts)


def status_line(status: ScreenStatus) -> str:
    """The same as one line, for logs."""
    failed = f", {status.n_failed} not computed" if status.n_failed else ""
    running = f", running {', '.join(r.name for r in status.running[:2])}" if status.running else ""
    preparing = f", preparing {', '.join(status.preparing[:2])}" if status.preparing else ""
    left = f", about {duration(status.seconds_left)} left" if status.seconds_left is not None else ""
    return f"{status.screen}: {status.done} of {status.total} replicas done{failed}{running}{preparing}{left}"


def _show_live(console: Console, store: Store, screen: str, stop: threading.Event) -> None:
    waiting = Text(f"{screen}: starting the workflow engine ...", style="dim")
    with Live(waiting, console=console, refresh_per_second=4, transient=True) as live:
        while not stop.wait(LOOK_S):
            status = _look(store, screen)
            if status is not None:
                live.update(status_view(status))


def _say_lines(console: Console, store: Store, screen: str, stop: threading.Event) -> None:
    said, silent = None, SAY_S
    while not stop.wait(LOOK_S):
        silent += LOOK_S
        status = _look(store, screen)
        if status is None:
            continue
        answered = (status.done, status.n_failed)
        if silent >= SAY_S or (said is not None and answered != said and silent >= SAY_S / 4):
            console.print(status_line(status), soft_wrap=True)
            said, silent = answered, 0.0


def _look(store: Store, screen: str) -> ScreenStatus | None:
    """The status, or nothing while this run has not begun; a display must never end a screen."""
    try:
        status = screen_status(store, screen)
    except Exception:
        return None
    return status if status.active else None
