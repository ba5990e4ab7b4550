"""How a process is told to stop in time: by a signal, or at an instant that was set beforehand.

A batch job ends at its wall time whatever it does. A replica that knows it in time leaves a checkpoint and raises
:class:`~esr1md.errors.StoppedEarly`, and whoever asked for it gives it to another process.
"""

from __future__ import annotations

import _thread
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from esr1md.repeating import repeating

#: Environment variable with the instant to stop at, in seconds of the system's monotonic clock (``time.monotonic``,
#: which on Linux is the same for all processes since the machine started, and which nobody sets back).
STOP_AT = "ESR1MD_STOP_AT"

_asked = threading.Event()


def on_sigterm() -> None:
    """Let ``SIGTERM`` (``scancel``, an evicted pod) ask this process to stop; called in its main thread."""
    signal.signal(signal.SIGTERM, _ask)


def _ask(number: int, frame: FrameType | None) -> None:
    _asked.set()


def stop_requested() -> bool:
    """Whether work in this process should come to an end that can be gone on from."""
    return _asked.is_set() or seconds_left() <= 0


def seconds_left() -> float:
    """Seconds until this process is to stop; infinite where nothing was set."""
    instant = os.environ.get(STOP_AT)
    return float(instant) - time.monotonic() if instant else float("inf")


def take_ctrl_c_back() -> None:
    """Install Python's SIGINT handler again: RDKit 2026.03 leaves its own behind after any substructure search.

    With that one the first Ctrl-C does nothing and the second ends the process without a word.
    """
    if threading.current_thread() is threading.main_thread():
        handler = signal.getsignal(signal.SIGINT)
        if handler is not None:
            signal.signal(signal.SIGINT, handler)


@contextmanager
def ctrl_c_kept() -> Iterator[None]:
    """Ctrl-C interrupts the body, which may use RDKit at any time, within a second or the native call that runs.

    No handler is asked (:func:`take_ctrl_c_back` says why): the signal is blocked and a thread looks for it. Threads
    that were there before, of a numeric library say, would still take it, so this goes before imports. The main thread
    must not wait for anything longer than a second at a time.
    """
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "sigtimedwait"):
        yield
        return

    def look() -> None:
        if signal.sigtimedwait({signal.SIGINT}, 0) is not None:
            _thread.interrupt_main()

    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        with repeating(look, 0.2, "Ctrl-C"):
            yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
