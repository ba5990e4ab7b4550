"""The process that renews leases for another, ``python -m esr1md.store.heartbeat``, and how it is told which.

A thread of the owner could not: native code may hold the interpreter lock for minutes. This process is told by its
standard input what to renew, which ends when the owner does, in whatever way: then it marks the leases as those of a
dead process, so that nobody waits for them, and ends as well. While its owner is stopped it renews nothing, since work
that stands still is to be given to another.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import URL, make_url, text

from esr1md.errors import InputError
from esr1md.store.database import PATIENCE_SECONDS, write
from esr1md.store.processes import is_stopped
from esr1md.workers import module_command

#: The ``beat`` of a lease whose owner is known to have ended.
DEAD = -1
#: Renewals in the time in which a lease ends.
RENEWALS = 6
#: Pause before a database that could not be reached is tried again (s).
_AGAIN = 1.0


@contextmanager
def renewed(url: URL, owner: str, seconds: float) -> Iterator[None]:
    """Have the leases of ``owner`` renewed, often enough for leases of ``seconds``, until the body ends."""
    heart = _heart_of(url)
    heart.renew(owner, seconds)
    try:
        yield
    finally:
        heart.leave(owner)


class _Heart:
    """The process that renews this one's leases in one database; another is started if it has been ended."""

    def __init__(self, url: URL) -> None:
        self._url, self._owners, self._guard = url, {}, threading.Lock()
        self._process: subprocess.Popen | None = None

    def renew(self, owner: str, seconds: float) -> None:
        with self._guard:
            self._owners[owner] = seconds
            self._say(owner, seconds)

    def leave(self, owner: str) -> None:
        with self._guard:
            del self._owners[owner]
            self._say(owner, None)

    def _say(self, owner: str, seconds: float | None) -> None:
        if self._process is None:
            self._start()
        else:
            self._send({"owner": owner, "seconds": seconds})

    def _start(self) -> None:
        command, environment = module_command("esr1md.store.heartbeat", str(os.getpid()))
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,  # or whoever kills the owner's group ends this one before it can say so
        )
        threading.Thread(target=self._replace, args=(self._process,), name="heartbeat", daemon=True).start()
        # not as an argument, which everybody on the machine can read
        url = self._url.render_as_string(hide_password=False)
        self._send({"url": url}, *({"owner": owner, "seconds": seconds} for owner, seconds in self._owners.items()))

    def _send(self, *orders: dict) -> None:
        try:
            self._process.stdin.write("".join(json.dumps(order) + "\n" for order in orders).encode())
            self._process.stdin.flush()
        except BrokenPipeError:  # it has just ended, and the next one is told of all
            pass

    def _replace(self, process: subprocess.Popen) -> None:
        process.wait()
        with self._guard:
            self._process = None
            if self._owners:
                warnings.warn(f"the process that renews leases has ended ({process.returncode}); it is started again",
                              stacklevel=2)  # fmt: skip
                time.sleep(_AGAIN)  # if it ends again and again
                self._start()


_hearts: dict[URL, _Heart] = {}
_guard = threading.Lock()


def _after_fork() -> None:
    global _guard
    _guard = threading.Lock()
    _hearts.clear()


os.register_at_fork(after_in_child=_after_fork)


def _heart_of(url: URL) -> _Heart:
    with _guard:
        return _hearts.setdefault(url, _Heart(url))


# -- the process -------------------------------------------------------------------------------------------------------


def _beat_for(parent: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the owner's to answer
    orders = _Orders()
    url = make_url(orders.first()["url"])
    owners: dict[str, float] = {}
    due = time.monotonic()
    while True:
        wait = max(0.0, due - time.monotonic()) if owners else 60.0
        for order in orders.within(wait):
            if order["seconds"] is None:
                owners.pop(order["owner"], None)
            else:
                owners[order["owner"]] = order["seconds"]
                due = time.monotonic()
        if orders.ended or os.getppid() != parent:
            break
        if owners and time.monotonic() >= due:
            due = time.monotonic() + min(owners.values()) / RENEWALS
            if not is_stopped(parent) and not _set_beat(url, owners, "beat + 1", patience=0.0):
                due = min(due, time.monotonic() + _AGAIN)
    for _ in range(50):  # the input of a process ends a moment before it does
        if os.getppid() != parent:
            _set_beat(url, owners, str(DEAD), patience=PATIENCE_SECONDS)
            break
        time.sleep(0.1)


def _set_beat(url: URL, owners: dict[str, float], value: str, patience: float) -> bool:
    if not owners:
        return True
    names = {f"owner{i}": owner for i, owner in enumerate(owners)}
    update = text(f"UPDATE leases SET beat = {value} WHERE owner IN ({', '.join(f':{name}' for name in names)})")
    try:
        write(url, lambda connection: connection.execute(update, names), brief=True, patience=patience)
    except InputError:
        return False
    return True


class _Orders:
    """Lines from the standard input, as they come."""

    def __init__(self) -> None:
        self.ended, self._rest = False, b""

    def first(self) -> dict:
        while b"\n" not in self._rest and not self.ended:
            self._receive(None)
        line, _, self._rest = self._rest.partition(b"\n")
        return json.loads(line)

    def within(self, seconds: float) -> list[dict]:
        """The orders that come within so many seconds; at once when there are any."""
        if b"\n" not in self._rest:
            self._receive(seconds)
        *lines, self._rest = self._rest.split(b"\n")
        return [json.loads(line) for line in lines]

    def _receive(self, seconds: float | None) -> None:
        if not self.ended and select.select([0], [], [], seconds)[0]:
            said = os.read(0, 65536)
            self.ended, self._rest = not said, self._rest + said


if __name__ == "__main__":
    _beat_for(int(sys.argv[1]))
