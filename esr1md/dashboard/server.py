"""Serving the dashboard: uvicorn, with threads for the requests and compressed answers."""

from __future__ import annotations

import logging
import socket
import warnings
from collections.abc import Callable
from typing import Any

import uvicorn
from starlette.middleware.gzip import GZipMiddleware

from esr1md.dashboard.app import make_app
from esr1md.dashboard.data import Reader
from esr1md.dashboard.settings import DashboardSettings
from esr1md.errors import InputError

#: Requests that are answered at the same time.
THREADS = 16


def asgi(wsgi: Callable[..., Any]) -> Any:
    """A WSGI application as uvicorn serves it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning, message=".*native WSGI.*")
        from uvicorn.middleware.wsgi import WSGIMiddleware

        bridge = WSGIMiddleware(wsgi, workers=THREADS)

    async def application(scope: Any, receive: Any, send: Any) -> None:
        async def send_plain(message: Any) -> None:
            if message["type"] == "http.response.start":  # ASGI wants names in lower case; the bridge leaves WSGI's
                headers = [(name.lower(), value) for name, value in message["headers"]]
                message = {**message, "headers": headers}
            await send(message)

        if scope["type"] == "http":
            await bridge(scope, receive, send_plain)

    return GZipMiddleware(application, minimum_size=2000, compresslevel=5)


class _Server(uvicorn.Server):
    """A server with which the reading in the background ends: a large store must not keep its process alive."""

    def __init__(self, config: uvicorn.Config, reader: Reader) -> None:
        super().__init__(config)
        self._reader = reader

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            super().run(sockets)
        finally:
            self._reader.close()


def make_server(settings: DashboardSettings) -> uvicorn.Server:
    """The server of a dashboard, not yet started; ``run()`` serves until it is interrupted.

    Raises
    ------
    InputError
        Settings that would let strangers in.
    """
    app = make_app(settings)
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    reader = app.server.extensions["esr1md"].reader
    reader.warm()
    # a proxy's X-Forwarded-* are not read: a sender's address is that of the connection, which cannot be made up
    config = uvicorn.Config(
        asgi(app.server), settings.host, settings.port, log_level="warning", access_log=False, server_header=False,
        proxy_headers=False, lifespan="off", ws="none", timeout_graceful_shutdown=3,
    )  # fmt: skip
    return _Server(config, reader)


def serve(settings: DashboardSettings, say: Callable[[str], None]) -> None:
    """Serve a dashboard until it is interrupted; ``say`` hears its address once it can be opened.

    Raises
    ------
    InputError
        The address is in use or not this machine's.
    """
    server = make_server(settings)
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((settings.host, settings.port))
    except OSError as error:
        raise InputError(f"cannot listen at {settings.host}:{settings.port} ({error.strerror or error})",
                         do="choose another --port, or stop what listens there") from error  # fmt: skip
    with listening:
        say(settings.url)
        server.run(sockets=[listening])
