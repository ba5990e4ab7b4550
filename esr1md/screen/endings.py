"""Which replicas of a screen are done or failed, kept up to date at the cost of one listing of a folder.

A screen may have a million replicas, and whoever watches it asks every second. So what has ended is read once: from
the index where that knows it, else from the record that ends the replica's folder. After that only what is new in
the listing is looked at.
"""

from __future__ import annotations

import os
import time
from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from esr1md.errors import InputError
from esr1md.screen.progress import whole_json
from esr1md.store.artifacts import DONE, FAILURE, Store

#: With fewer new folders than this the index is not asked.
FEW = 100
#: So many failures are looked at again each time.
AGAIN = 1000
#: The times of what other machines finish are asked of the index no more often than this (s).
AWAY_S = 300.0
#: Steps of the date of a folder on any file system (s).
DATE_STEP_S = 2.0

_UNKNOWN, _DONE, _FAILED = 0, 1, 2


@dataclass(frozen=True)
class Failed:
    """Why a replica has no result: ``kind`` is ``outcome`` or ``error``."""

    stage: str
    cause: str
    kind: str


class Endings:
    """What has ended of the replicas (or transfers) of a screen.

    Parameters
    ----------
    store
        The store.
    kind
        Kind of folder.
    digests
        Those of the screen, each once.
    screen
        Its name in the index; ``None`` for what the index does not list.

    Attributes
    ----------
    seconds, finished
        Wall time (s) of each that is done, and when it was (s since 1970), in the order of ``digests``; NaN for others.
    failures
        By digest.
    notes
        What could not be used, and why.
    """

    def __init__(self, store: Store, kind: str, digests: list[str], screen: str | None = None) -> None:
        self._store, self._kind, self._screen = store, kind, screen
        self.digests = digests
        self._number = {digest: number for number, digest in enumerate(digests)}
        self._folder = store.root / kind
        self._listed_at: int | None = None
        self._listed_away: Mapping[str, str] | None = None
        self._indexed_at = float("-inf")
        self._turn = 0
        self._inode = np.zeros(len(digests), np.int64)  # of the folder that was read; 0: none is there
        self._state = np.zeros(len(digests), np.int8)
        self.seconds = np.full(len(digests), np.nan)
        self.finished = np.full(len(digests), np.nan)
        self.failures: dict[str, Failed] = {}
        self.notes: tuple[str, ...] = ()

    def __contains__(self, digest: str) -> bool:
        return digest in self._number

    @property
    def done(self) -> int:
        return int((self._state == _DONE).sum())

    def ended(self, digest: str) -> bool:
        return self._state[self._number[digest]] != _UNKNOWN

    def refresh(self) -> None:
        """Look at what is new since the last time."""
        if not self.digests:
            return
        try:
            changed_at = os.stat(self._folder).st_mtime_ns
        except FileNotFoundError:
            changed_at = self._listed_at
        if changed_at != self._listed_at:
            self._list()
            # a folder's date has steps: what happens within the same one would go unseen
            self._listed_at = changed_at if time.time() - changed_at / 1e9 > DATE_STEP_S else None
        self._look_again()
        new = np.flatnonzero((self._inode != 0) & (self._state == _UNKNOWN))
        known = self._from_index() if len(new) >= FEW and self._indexed_at < 0 else {}
        for number in new.tolist():
            digest = self.digests[number]
            if digest in known:
                self._set_done(number, *known[digest])
            else:
                self._read(number, self._folder / digest)
        if self._store.shared is not None:
            self._look_away()

    def _look_again(self) -> None:
        """At some failures in turn: one may have been forgotten and made anew, in a folder of the same inode."""
        failed = np.flatnonzero((self._inode != 0) & (self._state == _FAILED))
        asked = np.roll(failed, -self._turn)[:AGAIN].tolist()
        gone = [number for number in asked if not (self._folder / self.digests[number] / FAILURE).is_file()]
        if gone:
            self._forget(np.isin(np.arange(len(self._state)), gone))
        self._turn = (self._turn + AGAIN) % max(1, len(failed))

    def _set_done(self, number: int, seconds: float, finished: float) -> None:
        self.seconds[number], self.finished[number], self._state[number] = seconds, finished, _DONE

    def _look_away(self) -> None:
        """What others have published in an object store and is not here; without times, unless the index has them."""
        try:
            listed = self._store.shared.listed(self._kind)
        except InputError as error:
            self.notes = (f"what others have computed is not known: {error}",)
            return
        if listed is self._listed_away:
            return
        self._listed_away, away = listed, self._inode == 0
        seconds, finished = self.seconds.copy(), self.finished.copy()
        self._forget(away)
        there = [(self._number[digest], state) for digest, state in listed.items() if digest in self._number]
        there = [(number, state) for number, state in there if away[number]]
        untimed = sum(state == "done" and np.isnan(finished[number]) for number, state in there)
        known = self._from_index() if untimed and time.monotonic() - self._indexed_at > AWAY_S else {}
        for number, state in there:
            digest = self.digests[number]
            if state == "done":
                self._set_done(number, *known.get(digest, (seconds[number], finished[number])))
            elif (failure := self._store.shared.failure(self._kind, digest)) is not None:
                self._set_failed(number, failure)

    def _forget(self, which: np.ndarray) -> None:
        for number in np.flatnonzero(which & (self._state == _FAILED)).tolist():
            del self.failures[self.digests[number]]
        self._state[which] = _UNKNOWN
        self.seconds[which] = self.finished[which] = np.nan

    def _list(self) -> None:
        numbers, inodes = array("q"), array("q")
        with os.scandir(self._folder) as entries:
            for entry in entries:
                number = self._number.get(entry.name)
                if number is not None:
                    numbers.append(number)
                    inodes.append(entry.inode())
        now = np.zeros_like(self._inode)
        now[np.frombuffer(numbers, np.int64)] = np.frombuffer(inodes, np.int64)
        self._forget(now != self._inode)  # new, gone, or made anew
        self._inode, self._listed_away = now, None

    def _read(self, number: int, folder: Path) -> None:
        """What ends a folder; nothing where it is still being put in its place."""
        done = whole_json(folder / DONE)
        if done is not None:
            record = whole_json(folder / "record.json") or {}
            self._set_done(number, _seconds(record), _instant(done.get("finished")))
            return
        failure = whole_json(folder / FAILURE)
        if failure is not None:
            self._set_failed(number, failure)

    def _set_failed(self, number: int, failure: Mapping[str, Any]) -> None:
        self.failures[self.digests[number]] = Failed(failure["stage"], failure["cause"], failure["kind"])
        self._state[number] = _FAILED

    def _from_index(self) -> dict[str, tuple[float, float]]:
        """Wall time and end of what the index has as done. Failures are read from their folders: a later run may have
        forgotten them."""
        self._indexed_at = time.monotonic()
        if self._screen is None:
            return {}
        from esr1md.store.database import SQLITE_NAME, database_url, is_server
        from esr1md.store.records import open_index, replica_rows

        try:
            if not is_server(database_url(self._store.root)) and not (self._store.root / SQLITE_NAME).is_file():
                return {}
            index = open_index(self._store)
            rows = replica_rows(index, self._screen, ("digest", "status", "seconds", "finished"))
        except InputError as error:
            self.notes = (f"the index cannot be read, so the folders were: {error}",)
            return {}
        return {row["digest"]: (_seconds(row), _instant(row["finished"])) for row in rows if row["status"] == "done"}


def _seconds(record: Mapping[str, Any]) -> float:
    """Wall time of a replica; NaN where its record has none."""
    seconds = record.get("seconds") if isinstance(record, Mapping) else None
    return float(seconds) if isinstance(seconds, int | float) else float("nan")


def _instant(text: str | None) -> float:
    """Seconds since 1970 of an ISO date."""
    return datetime.fromisoformat(text).timestamp() if text else float("nan")
