"""Running a screen from the command line: what will be done, how far it is, all on standard error.

The display reads the store's own progress records (:class:`esr1md.screen.status.ScreenWatch`), so it shows the same as
``esr1md status`` from another terminal, and needs nothing from the engine that drives the screen.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.text import Text

from esr1md.commands.plan_view import about, about_bytes, about_time
from esr1md.commands.status_view import status_line, status_view
from esr1md.commands.terminal import stderr_console
from esr1md.screen.status import ScreenStatus, ScreenWatch
from esr1md.store import Store

if TYPE_CHECKING:
    from esr1md.screen.plan import Plan

#: How often the display looks at the store (s); and, where it is no terminal, how often it says so at most.
LOOK_S, SAY_S = 1.0, 20.0
#: A look at a large store may be slow: so many times as long as it took, none follows.
LOOKING = 10


def announce(plan: Plan) -> None:
    """Say what will be done: the matrix, the engine, the time."""
    console = stderr_console()
    n_ligands, apo = len(plan.ligands), " and apo" if plan.config.apo else ""
    n_variants, n_replicas = len(plan.variants), plan.config.replicas
    console.print(
        Text.assemble(
            (plan.name, "bold"),
            f": {n_variants} variant{'s' * (n_variants > 1)} x {n_ligands:,} ligand{'s' * (n_ligands > 1)}{apo}, "
            f"{plan.matrix_size // n_replicas:,} cells, {n_replicas} replica{'s' * (n_replicas > 1)} of each",
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
    estimate, jobs = plan.estimate, f"{len(plan.jobs):,}"
    left, digits = estimate.left, estimate.basis.digits
    limited = f" of the {plan.matrix_size:,}" if len(plan.jobs) < plan.matrix_size else ""
    if not left:
        console.print(f"  store {plan.store_root}: all {jobs}{limited} replicas are there", soft_wrap=True)
        return
    how = {"store": "measured on this store", "bench": "from a measured rate", "guess": "a guess"}[estimate.basis.kind]
    hours = f"{about(estimate.hours, digits)} {estimate.hours_of} hours"
    money = "" if estimate.money is None else f", {about(estimate.money, digits)} {estimate.price.currency}"
    console.print(
        f"  store {plan.store_root}: {len(plan.jobs) - left:,} replicas there, {left:,}{limited} to run: "
        f"about {about_time(estimate.seconds, digits)}, {hours}{money} ({how}), {about_bytes(estimate.bytes)} of disk, "
        f"{about_bytes(estimate.memory)} of memory",
        soft_wrap=True,
    )
    bias = plan.protocol.production.helix12_bias
    if bias is not None:
        from esr1md.dynamics.helix12_bias import price

        protocol = plan.protocol
        said = price(bias, protocol.production.duration_ps, n_replicas, protocol.temperature_kelvin)
        console.print(Text(f"  {said}", style="yellow"), soft_wrap=True)


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


def _show_live(console: Console, store: Store, screen: str, stop: threading.Event) -> None:
    waiting = Text(f"{screen}: starting the workflow engine ...", style="dim")
    with Live(waiting, console=console, refresh_per_second=4, transient=True) as live:
        for status in _looks(store, screen, stop):
            live.update(status_view(status))


def _say_lines(console: Console, store: Store, screen: str, stop: threading.Event) -> None:
    said, at = None, float("-inf")
    for status in _looks(store, screen, stop):
        answered, silent = (status.done, status.n_failed), time.monotonic() - at
        if silent >= SAY_S or (said is not None and answered != said and silent >= SAY_S / 4):
            console.print(status_line(status), soft_wrap=True)
            said, at = answered, time.monotonic()


def _looks(store: Store, screen: str, stop: threading.Event) -> Iterator[ScreenStatus]:
    """The status again and again while this run is active; a display must never end a screen."""
    watch, wait = None, LOOK_S
    while not stop.wait(wait):
        began = time.monotonic()
        try:
            watch = watch or ScreenWatch(store, screen)
            status = watch.look()
        except Exception:  # before the run has written its plan, say
            continue
        if status.active:
            yield status
        wait = max(LOOK_S, LOOKING * (time.monotonic() - began))
