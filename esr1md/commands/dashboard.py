"""``esr1md dashboard``: the web application over a store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def dashboard(
    store: Annotated[
        str, typer.Option("--store", "-s", envvar="ESR1MD_STORE", help="Folder or URL of the store to look at.")
    ] = "runs",
    host: Annotated[str, typer.Option(help="Address to listen at; any but this machine's own needs a login.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(help="Port to listen at.")] = 8050,
    read_only: Annotated[bool, typer.Option("--read-only", help="Take no reviews and start nothing.")] = False,
    token: Annotated[
        str,
        typer.Option(envvar="ESR1MD_DASHBOARD_TOKEN", show_envvar=True, show_default=False,
                     help="Secret to log in with. Give it in the environment: others can see a command line."),
    ] = "",
    user_header: Annotated[
        str, typer.Option(metavar="NAME", help="Header in which your reverse proxy names the user it has checked.")
    ] = "",
    proxy: Annotated[
        list[str] | None, typer.Option(metavar="IP", help="Address of a reverse proxy that is believed; repeatable.")
    ] = None,
) -> None:  # fmt: skip
    """Look at rankings, cells and running screens in a browser, and review them together.

    Opens nothing to other machines: it listens at 127.0.0.1 unless you give another --host, which needs a login, either
    a token (ESR1MD_DASHBOARD_TOKEN) or a reverse proxy that has checked the user (--user-header, --proxy).
    Everything it shows comes from the store and from this machine; it needs no network.

    Examples:

        esr1md dashboard

        esr1md dashboard --store /data/runs --port 9000 --read-only

        ESR1MD_DASHBOARD_TOKEN=... esr1md dashboard --host 0.0.0.0

        esr1md dashboard --host 10.0.0.7 --user-header X-Forwarded-User --proxy 10.0.0.2
    """
    from esr1md.commands.terminal import stderr_console
    from esr1md.dashboard.server import serve
    from esr1md.dashboard.settings import DashboardSettings

    place: Path | str = store if "://" in store else Path(store)
    settings = DashboardSettings(place, host, port, token, user_header, tuple(proxy or ()), read_only)
    console = stderr_console()
    serve(settings, lambda url: console.print(f"dashboard of {store}: {url}  (stop it with ctrl-C)"))
