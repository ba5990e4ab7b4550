"""How a process is told to stop in time: by a signal, or at an instant that was set beforehand.

A batch job ends at its wall time whatever it does. A replica that knows it in time leaves a checkpoint and raises
:class:`~esr1md.errors.StoppedEarly`, and whoever asked for it gives it to another process.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from types import FrameType

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
