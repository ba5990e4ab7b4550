"""``esr1md status`` that goes on: live on a terminal, else a line now and then, or a JSON document for each look."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from esr1md.commands.status_view import status_line, store_view
from esr1md.commands.terminal import stdout_console
from esr1md.screen.watch import Look, StoreWatch

#: Where the output is no terminal: seconds between two lines of a screen while nothing has changed, and at least.
SAY_S, SAY_AT_LEAST_S = 60.0, 5.0
#: How soon a key or another size of the terminal is seen (s).
_KEY_S = 0.2
#: A look at a large store on a slow disk may take long: it takes at most this share of the time.
_SHARE = 0.1


def watch_store(watched: StoreWatch, interval: float, then: Callable[[Look], None], json_out: TextIO | None) -> None:
    """Look every ``interval`` seconds and show what was seen, until q, Ctrl-C or SIGTERM; all three are a good end.

    Parameters
    ----------
    then
        Called with each look.
    json_out
        Where JSON lines go instead of a view for eyes.
    """
    console = stdout_console()
    with ends_well():
        if json_out is not None:
            for look in _looks(watched, interval, then, threading.Event()):
                json.dump(look.to_json(), json_out, allow_nan=False)
                json_out.write("\n")
                json_out.flush()
        elif console.is_terminal and not console.is_dumb_terminal:
            _live(console, watched, interval, then)
        else:
            _lines(watched, interval, then)


def _looks(watched: StoreWatch, interval: float, then: Callable[[Look], None], stop: threading.Event) -> Iterator[Look]:
    while not stop.is_set():
        look = watched.look()
        then(look)
        yield look
        stop.wait(max(interval, look.cost * (1 / _SHARE - 1)))


def _live(console: Console, watched: StoreWatch, interval: float, then: Callable[[Look], None]) -> None:
    """The whole terminal, drawn again after each look and when its size changes; the last look stays behind."""
    looker = _Looker(watched, interval, then)
    looker.start()
    drawn = None
    try:
        with (
            _keys() as pressed,
            Live(Text("looking at the store ..."), console=console, screen=True, auto_refresh=False) as live,
        ):
            while pressed(_KEY_S) not in ("q", "Q"):
                looker.raise_if_failed()
                state = (looker.last, console.size)
                if state != drawn and looker.last is not None:
                    drawn = state
                    view = store_view(looker.last.screens, looker.last.machine, console.size.height - 2)
                    seen = time.strftime("%H:%M:%S", time.localtime(looker.last.time))
                    live.update(Group(view, Text(f"seen at {seen}; q ends", style="dim")), refresh=True)
    finally:
        looker.stop.set()
        if looker.last is not None:
            console.print(store_view(looker.last.screens, looker.last.machine))


class _Looker(threading.Thread):
    """Looks in a thread of its own, so that a slow disk or driver does not keep a key from being seen."""

    def __init__(self, watched: StoreWatch, interval: float, then: Callable[[Look], None]) -> None:
        super().__init__(name="looker", daemon=True)
        self.stop = threading.Event()
        self.last: Look | None = None
        self._looks = _looks(watched, interval, then, self.stop)
        self._error: Exception | None = None

    def run(self) -> None:
        try:
            for look in self._looks:
                self.last = look
        except Exception as error:
            self._error = error

    def raise_if_failed(self) -> None:
        if self._error is not None:
            raise self._error


def _lines(watched: StoreWatch, interval: float, then: Callable[[Look], None]) -> None:
    """A line for each screen that has changed, now and then."""
    said: dict[str, tuple[tuple, float]] = {}
    for look in _looks(watched, interval, then, threading.Event()):
        for status in look.screens:
            state = (status.done, status.n_failed, status.active, status.running[:1] and status.running[0].stage)
            before, at = said.get(status.screen, (None, float("-inf")))
            waited = time.monotonic() - at
            if waited >= (SAY_AT_LEAST_S if state != before else SAY_S if status.active else float("inf")):
                print(f"{time.strftime('%H:%M:%S')} {status_line(status)}", flush=True)
                said[status.screen] = (state, time.monotonic())


@contextlib.contextmanager
def _keys() -> Iterator[Callable[[float], str]]:
    """A function that waits for a key, at most so many seconds; without a keyboard it only waits."""
    if not sys.stdin.isatty():
        yield lambda seconds: time.sleep(seconds) or ""
        return
    import termios
    import tty

    keyboard = sys.stdin.fileno()
    before = termios.tcgetattr(keyboard)

    def pressed(seconds: float) -> str:
        ready, _, _ = select.select([keyboard], [], [], seconds)
        return os.read(keyboard, 1).decode(errors="ignore") if ready else ""  # a buffer would hide keys from select

    try:
        tty.setcbreak(keyboard)
        yield pressed
    finally:
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)


@contextlib.contextmanager
def ends_well() -> Iterator[None]:
    """Ctrl-C and SIGTERM end the body, and nothing more is said of it."""

    def interrupt(number, frame):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    except KeyboardInterrupt:
        pass
    finally:
        signal.signal(signal.SIGTERM, before)
