"""A dashboard that is served, a page of it in a real browser, and what it complained of."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from esr1md.dashboard.server import make_server
from esr1md.dashboard.settings import DashboardSettings

ARGUMENTS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--enable-unsafe-swiftshader",
)  # fmt: skip
#: The machine of the tests may be busy, and draws in software (ms).
PATIENCE = 90_000
#: What a driver without a graphics card says of itself.
_DRIVER = ("GL Driver Message", "Using empty representation")


@contextmanager
def serving(store: Path, **settings: Any) -> Iterator[str]:
    """A dashboard that a thread serves; its address."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
        server = make_server(DashboardSettings(store=store, port=port, **settings))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        try:
            limit = time.monotonic() + 60
            while not server.started:
                assert time.monotonic() < limit and thread.is_alive(), "the dashboard did not start"
                time.sleep(0.05)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.should_exit = True
            thread.join(10)


@contextmanager
def open_browser(program: str) -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(ARGUMENTS))
        yield browser
        browser.close()


class Visit:
    """One page.

    Attributes
    ----------
    page
        Playwright's.
    complaints
        Errors and warnings of the console, exceptions, answers with an error, requests to anywhere else.
    """

    def __init__(self, browser: Any, address: str, *, width: int = 1400, height: int = 900, **options: Any) -> None:
        self._context = browser.new_context(viewport={"width": width, "height": height}, **options)
        self._context.set_default_timeout(PATIENCE)
        self.page = self._context.new_page()
        self.complaints: list[str] = []
        self._home = "/".join(address.split("/")[:3])
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.complaints.append(f"exception: {error}"))
        self.page.on("response", self._answer)
        self.page.on("request", self._ask)
        self.go(address)

    def go(self, address: str) -> None:
        """Open an address and wait until its page is there."""
        address = address if address.startswith("http") else self._home + address
        self.page.goto(address, wait_until="domcontentloaded")
        self.settle()

    def settle(self) -> None:
        """Wait for the page's heading, or for what it says instead."""
        self.page.wait_for_selector("#page :is(h1, h2)")

    def text(self, selector: str = "#page") -> str:
        return self.page.locator(selector).first.inner_text()

    def wait_for_text(self, text: str, selector: str = "#page") -> None:
        self.page.locator(selector).filter(has_text=text).first.wait_for()

    def choose(self, dropdown: str, *options: str) -> None:
        """Choose from a drop-down list, as a user does."""
        self.page.click(f"#{dropdown}")
        for option in options:
            self.page.locator(".dash-options-list-option", has_text=option).first.click()
        self.page.keyboard.press("Escape")

    def rows(self) -> list[str]:
        """Ids of the grid's rows from top to bottom, of those that are drawn."""
        found = self.page.locator(".ag-pinned-left-cols-container [row-id]").evaluate_all(
            "rows => rows.map(r => [+r.getAttribute('row-index'), r.getAttribute('row-id')])"
        )
        return [name for _, name in sorted(found)]

    def wait_for_rows(self, rows: list[str]) -> None:
        """Wait until the grid shows exactly these rows in this order."""
        self.page.wait_for_function(
            """wanted => JSON.stringify([...document.querySelectorAll('.ag-pinned-left-cols-container [row-id]')]
               .map(r => [+r.getAttribute('row-index'), r.getAttribute('row-id')]).sort((a, b) => a[0] - b[0])
               .map(r => r[1])) === JSON.stringify(wanted)""",
            arg=rows,
        )

    def close(self) -> None:
        self._context.close()

    def _hear(self, message: Any) -> None:
        if message.type in ("error", "warning") and not any(said in message.text for said in _DRIVER):
            self.complaints.append(f"{message.type}: {message.text}")

    def _answer(self, response: Any) -> None:
        if response.status >= 400:
            self.complaints.append(f"{response.status}: {response.url}")

    def _ask(self, request: Any) -> None:
        if not request.url.startswith((self._home, "data:", "blob:")):
            self.complaints.append(f"asked somebody else: {request.url}")
