"""``esr1md status``: how far the screens of a store are, once, live, or as metrics for a monitoring system."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from esr1md.commands.output import document_output, show, write_json
from esr1md.commands.stored import existing_store
from esr1md.errors import InputError

if TYPE_CHECKING:
    from esr1md.screen.watch import Look

_METRICS = "Metrics"


def status(
    name: Annotated[str | None, typer.Argument(metavar="[SCREEN]", help="Only this one.")] = None,
    store: Annotated[
        Path,
        typer.Option(
            "--store",
            "-s",
            metavar="FOLDER|URL",
            envvar="ESR1MD_STORE",
            help="Folder, or object store such as s3://bucket/er, that results are kept in.",
        ),
    ] = Path("runs"),
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Go on until q or Ctrl-C: live on a terminal, else lines.")
    ] = False,
    interval: Annotated[float, typer.Option(min=0.2, metavar="SECONDS", help="Between two looks of --watch.")] = 2.0,
    json: Annotated[
        bool, typer.Option("--json", help="One JSON document on standard output; with --watch a line for each look.")
    ] = False,
    metrics: Annotated[
        Path | None,
        typer.Option(metavar="FILE.prom", help="Write them for node_exporter.", rich_help_panel=_METRICS),
    ] = None,
    serve_metrics: Annotated[
        str | None,
        typer.Option(metavar="[HOST:]PORT", help="Serve them at /metrics (OpenMetrics).", rich_help_panel=_METRICS),
    ] = None,
) -> None:
    """How far the screens of a store are: replicas done, running and waiting, what failed and why, time left.

    Reads the store alone, so it can be asked on any machine that sees it, whoever runs the screens.

    Examples:

        esr1md status --watch

        esr1md status my-screen --json --watch --interval 60 >> progress.jsonl

        esr1md status --metrics /var/lib/node_exporter/esr1md.prom --watch

        esr1md status --serve-metrics 9464
    """
    address = None if serve_metrics is None else _address(serve_metrics)
    with document_output(json) as out:
        from esr1md.commands.status_view import store_view
        from esr1md.commands.status_watch import ends_well, watch_store
        from esr1md.screen.watch import StoreWatch
        from esr1md.store import Store

        watched = StoreWatch(Store(existing_store(store)), name)
        then = _writer(metrics)
        if address is not None:
            _serve(watched, *address)
            if not watch:
                with ends_well():
                    threading.Event().wait()
        if watch:
            watch_store(watched, interval, then, out if json else None)
        if address is not None or watch:
            return
        look = watched.look()
        then(look)
        if json:
            write_json(out, look.to_json())
        elif metrics is None:
            screens = look.screens
            show(store_view(screens, look.machine) if screens else f"no screen has run in store '{store}'")


def _writer(metrics: Path | None) -> Callable[[Look], None]:
    """What is to be done with every look."""
    if metrics is None:
        return lambda look: None
    from esr1md.screen.metrics import write_textfile

    return lambda look: write_textfile(metrics, look)


def _serve(watched, host: str, port: int) -> None:
    """Serve metrics in a thread for as long as this process lives."""
    from esr1md.commands.terminal import stderr_console
    from esr1md.screen.metrics import MetricsServer

    server = MetricsServer(watched, host, port)
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    stderr_console().print(f"metrics at {server.url}", soft_wrap=True)


def _address(text: str) -> tuple[str, int]:
    """Host and port of ``9464``, ``0.0.0.0:9464`` or ``[::1]:9464``; of this machine alone where no host is named."""
    host, _, port = text.rpartition(":")
    if not port.isdigit() or int(port) > 65535:
        raise InputError(f"metrics cannot be served at '{text}'", expected="a port, or HOST:PORT")
    return host.strip("[]") or "127.0.0.1", int(port)
