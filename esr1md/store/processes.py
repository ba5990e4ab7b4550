"""What can be said of a process by its number: whether it is the one that was meant, has ended, or stands still.

From ``/proc``; elsewhere than on Linux nothing is known, and nobody is called dead.
"""

from __future__ import annotations

import os
from pathlib import Path

_PROC = Path("/proc")


def process_identity(pid: int) -> str:
    """Tells a process from every other, also from a later one of the same number, and of another machine or container.

    ``MACHINE/START``: the machine's start and the name space of process numbers, then the instant (ticks) at which the
    process began. Empty where that cannot be known.
    """
    found = _state_and_start(pid)
    machine = _machine()
    return f"{machine}/{found[1]}" if found and machine else ""


def has_ended(pid: int, identity: str) -> bool:
    """Whether that process is known to have ended; ``False`` for one of another machine, of which nothing is known."""
    machine, _, start = identity.rpartition("/")
    if not machine or machine != _machine():
        return False
    found = _state_and_start(pid)
    return found is None or found[1] != start or found[0] in "ZX"


def is_stopped(pid: int) -> bool:
    """Whether a process of this machine has been stopped (``SIGSTOP``, a debugger), so that it does nothing."""
    found = _state_and_start(pid)
    return found is not None and found[0] in "Tt"


def _machine() -> str:
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{os.readlink(_PROC / 'self/ns/pid')}"
    except OSError:
        return ""


def _state_and_start(pid: int) -> tuple[str, str] | None:
    try:
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return fields[0], fields[19]
