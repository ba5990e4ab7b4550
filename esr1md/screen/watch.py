"""A store that is looked at again and again: its screens, and the machine that asks."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from esr1md.errors import InputError
from esr1md.screen.machine import Machine, MachineWatch
from esr1md.screen.status import ScreenStatus, ScreenWatch, screen_names
from esr1md.store.artifacts import Store

#: Seconds between two questions for what other machines have changed in an object store.
FETCH_S = 30.0


@dataclass(frozen=True)
class Look:
    """What was seen at one instant.

    Attributes
    ----------
    time
        Seconds since 1970.
    cost
        How long the look took (s).
    replica_seconds
        Wall time of each finished replica (s), by screen.
    """

    time: float
    cost: float
    screens: tuple[ScreenStatus, ...]
    machine: Machine
    replica_seconds: dict[str, np.ndarray]

    def to_json(self) -> dict[str, Any]:
        return {
            "time": datetime.fromtimestamp(self.time, UTC).isoformat(timespec="milliseconds"),
            "machine": self.machine.to_json(),
            "screens": [status.to_json() for status in self.screens],
        }


class StoreWatch:
    """Looks at the screens of a store, also at those that begin meanwhile; usable from any thread.

    Parameters
    ----------
    store
        The store.
    screen
        Only this one.

    Raises
    ------
    InputError
        There is no such screen.
    """

    def __init__(self, store: Store, screen: str | None = None) -> None:
        self._store, self._only = store, screen
        self._screens: dict[str, ScreenWatch] = {} if screen is None else {screen: ScreenWatch(store, screen)}
        self._machine = MachineWatch()
        self._lock, self._fetched = threading.Lock(), time.monotonic()

    def look(self) -> Look:
        with self._lock:
            began = time.perf_counter()
            self._fetch()
            if self._only is None:
                names = screen_names(self._store)
                self._screens = {name: self._screens.get(name) or ScreenWatch(self._store, name) for name in names}
            statuses = tuple(screen.look() for screen in self._screens.values())
            seconds = {name: screen.replica_seconds() for name, screen in self._screens.items()}
            machine = self._machine.look()
            return Look(time.time(), time.perf_counter() - began, statuses, machine, seconds)

    def _fetch(self) -> None:
        """Of an object store, get the plans and runs of other machines now and then."""
        if self._store.shared is None or time.monotonic() - self._fetched < FETCH_S:
            return
        from esr1md.store.shared_screens import fetch_folders

        with suppress(InputError):  # a remote that does not answer is in the notes of the screens
            fetch_folders(self._store.shared.remote, self._store.root)
        self._fetched = time.monotonic()
