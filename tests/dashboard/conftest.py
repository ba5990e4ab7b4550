"""A dashboard that is served, and a browser to look at it with."""

from __future__ import annotations

import shutil
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from browsing import Visit, open_browser  # noqa: E402
from example_store import example_store  # noqa: E402

from esr1md.dashboard.settings import DashboardSettings  # noqa: E402


@pytest.fixture(scope="session")
def serve() -> Iterator[Callable[..., str]]:
    """``serve(store, **settings)``: its address; every server ends with the session."""
    from esr1md.dashboard.server import make_server

    running = []

    def start(store: Path, **settings) -> str:
        listening = socket.socket()
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
        server = make_server(DashboardSettings(store=store, port=port, **settings))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        limit = time.monotonic() + 60
        while not server.started:
            assert time.monotonic() < limit and thread.is_alive(), "the dashboard did not start"
            time.sleep(0.05)
        running.append((server, thread, listening))
        return f"http://127.0.0.1:{port}"

    yield start
    for server, thread, listening in running:
        server.should_exit = True
        thread.join(10)
        listening.close()


@pytest.fixture(scope="module")
def browser() -> Iterator:
    """The system's Chromium; the test is skipped, by name, where there is none.

    Not for the whole session: while Playwright runs, an event loop does in the main thread, in which Prefect's calls
    of other tests would be coroutines.
    """
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("needs Chromium (Debian: chromium)")
    with open_browser(program) as found:
        yield found


@pytest.fixture
def visit(browser) -> Iterator[Callable[..., Visit]]:
    """``visit(address, ...)``: a page in a browser context of its own, with what it complained of."""
    opened = []

    def go(address: str, **options) -> Visit:
        made = Visit(browser, address, **options)
        opened.append(made)
        return made

    yield go
    for each in opened:
        each.close()


@pytest.fixture(scope="session")
def example(tmp_path_factory):
    """A store with the report's example as a finished screen, and its ranking."""
    root = tmp_path_factory.mktemp("dashboard") / "store"
    return root, example_store(root)


@pytest.fixture(scope="session")
def example_url(example, serve) -> str:
    """The example's dashboard."""
    return serve(example[0])


@pytest.fixture(scope="session")
def real_store(tiny_screen, tmp_path_factory) -> Path:
    """A copy of a store in which everything was simulated."""
    root = tmp_path_factory.mktemp("real") / "store"
    shutil.copytree(tiny_screen.undisturbed.root, root)
    return root


@pytest.fixture(scope="session")
def real_url(real_store, serve) -> str:
    """The dashboard of what was simulated."""
    return serve(real_store)
