"""A dashboard that is served, and a browser to look at it with."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from browsing import Visit, open_browser, serving  # noqa: E402
from example_store import example_store  # noqa: E402


@pytest.fixture(scope="session")
def serve() -> Iterator[Callable[..., str]]:
    """``serve(store, **settings)``: its address; every server ends with the session."""
    with ExitStack() as running:
        yield lambda store, **settings: running.enter_context(serving(store, **settings))


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


@pytest.fixture(scope="session")
def quickstart_url(serve) -> str:
    """The dashboard of what ``make demo`` has simulated in this checkout; skipped, by name, where it was not run."""
    store = Path(__file__).resolve().parents[2] / "runs"
    if not (store / "screens" / "quickstart" / "ranking.json").is_file():
        pytest.skip("needs the quickstart screen (make demo)")
    return serve(store, read_only=True)
