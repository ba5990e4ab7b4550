"""What the pages read: rankings and statuses of the screens of a store, loaded once for each change of it.

Many threads ask, one loads. A screen that is loaded is shown as it was until a newer state has been read, so that
nobody waits but the first. What changes while a screen runs is looked at not more often than it takes to read it.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from esr1md.config import Weights
from esr1md.errors import Esr1mdError
from esr1md.ligand.catalogue import catalogue_entries
from esr1md.report.data import settings_of
from esr1md.scoring.scores import CellScore, Comparison, RankedLigand, Ranking
from esr1md.screen.finish import rank_stored, screen_folder
from esr1md.screen.status import ScreenStatus, ScreenWatch, screen_names
from esr1md.store import Store
from esr1md.store.disk import read_json
from esr1md.store.plans import read_plan

Cell = tuple[str, str, str]

#: Screens that are made ready before anybody asks for them: the ones that changed last.
PREPARED = 4

#: A store is looked at for changes at most once in so many seconds, ...
LOOK_S = 2.0
#: ... and a running screen is ranked anew at most every so many times the time that takes.
REST = 5.0

#: What reading a file of the store may raise when its content is not what it should be.
UNREADABLE = (Esr1mdError, OSError, AttributeError, KeyError, TypeError, ValueError, RecursionError)


@dataclass(frozen=True, eq=False)
class Screen:
    """One screen as it was when it was read; equal to itself alone.

    Attributes
    ----------
    name
        Of the screen.
    ranking
        ``None`` where ``problem`` says why there is none.
    live
        Whether the ranking is of what has finished so far.
    weights
        What the criteria of the weighted rank count.
    plan
        Its ``plan.json``.
    version
        Another one for every other content; part of the name of whatever is made from it.
    """

    name: str
    ranking: Ranking | None
    live: bool = False
    problem: str = ""
    weights: Weights = Weights()
    plan: dict[str, Any] = field(default_factory=dict, repr=False)
    version: str = ""

    @cached_property
    def cells(self) -> dict[Cell, CellScore]:
        """Simulated cells, and those that were predicted and not simulated."""
        if self.ranking is None:
            return {}
        found = {(c.variant, c.ligand, c.state): c for c in self.ranking.predictions}
        return found | {(c.variant, c.ligand, c.state): c for c in self.ranking.cells}

    @cached_property
    def comparisons(self) -> dict[Cell, Comparison]:
        return {(c.variant, c.ligand, c.state): c for c in self.ranking.comparisons} if self.ranking else {}

    @cached_property
    def lines(self) -> dict[tuple[str, str], RankedLigand]:
        """(ligand, state) -> its line of the ranking."""
        return {(r.ligand, r.state): r for r in self.ranking.ranking} if self.ranking else {}

    @cached_property
    def variants(self) -> tuple[str, ...]:
        """The wild type first, the others in the order of the screen."""
        names = dict.fromkeys(variant for variant, _, _ in self.cells)
        return tuple(sorted(names, key=lambda name: name != "WT"))

    @cached_property
    def mutants(self) -> tuple[str, ...]:
        """Variants without the wild type."""
        return tuple(name for name in self.variants if name != "WT")

    @cached_property
    def ligands(self) -> tuple[str, ...]:
        """Names of what its cells hold, ``apo`` among them."""
        return tuple(dict.fromkeys(ligand for _, ligand, _ in self.cells))

    @cached_property
    def inchikeys(self) -> dict[str, str]:
        """Ligand of the plan -> InChIKey."""
        return {each["name"]: each["inchikey"] for each in self.plan.get("ligands", ())}

    @cached_property
    def smiles(self) -> dict[str, str]:
        """Ligand -> SMILES of what was simulated or predicted; predictions are of the screen or of the catalogue."""
        if self.ranking is None:
            return {}
        known = {entry.name: entry.simulated_smiles or entry.smiles for entry in catalogue_entries()}
        known |= {each["name"]: each["smiles"] for each in self.plan.get("ligands", ())}
        known |= {line.ligand: line.smiles for line in self.ranking.ranking if line.smiles}
        return {name: known[name] for name in self.ligands if known.get(name)}


@dataclass(eq=False)
class _Entry:
    """What a reader knows of one screen; who reads the screen holds ``reading``."""

    reading: threading.Lock = field(default_factory=threading.Lock)
    screen: Screen | None = None
    signature: tuple = ()
    looked: float = 0.0
    cost: float = 0.0


class Reader:
    """Screens of one store for many threads.

    Parameters
    ----------
    store
        The store.
    prepare
        What is made of a screen that was read in the background, before anybody asks for it.
    """

    def __init__(self, store: Store, prepare: Callable[[Screen], None] = lambda screen: None) -> None:
        self.store, self._prepare = store, prepare
        self._entries: dict[str, _Entry] = {}
        self._lock = threading.Lock()
        self._watches: dict[str, tuple[ScreenWatch, threading.Lock]] = {}
        self._background = ThreadPoolExecutor(1, thread_name_prefix="esr1md-dashboard-reader")

    def names(self) -> list[str]:
        """Screens of the store, the one that changed last first."""
        begun = {name: _stamp(screen_folder(self.store, name) / "run.json") for name in screen_names(self.store)}
        return sorted(begun, key=lambda name: begun[name] or (0, 0), reverse=True)

    def screen(self, name: str) -> Screen:
        """A screen as last read; a change of it is read in the background, the first time at once.

        Of a name that the store does not have nothing is read: it may come from anybody.
        """
        entry = self._entry(name)
        if entry is None:
            return Screen(name, None, problem="this store has no such screen")
        if entry.screen is None:
            with entry.reading:
                return entry.screen or self._load(name, entry)
        if self._is_due(entry):
            self._background.submit(self._refresh, name, entry)
        return entry.screen

    def status(self, name: str) -> ScreenStatus:
        """How far a screen is now."""
        with self._lock:
            watch, lock = self._watches.get(name, (None, None))
            if watch is None:
                watch, lock = self._watches[name] = ScreenWatch(self.store, name), threading.Lock()
        with lock:
            return watch.look()

    def warm(self) -> None:
        """Begin to read every screen, so that the first visitor does not wait for it."""
        names = self.names()
        for name in names:
            self._background.submit(self.screen, name)
        for name in names[:PREPARED]:
            self._background.submit(lambda name=name: self._prepare(self.screen(name)))

    def close(self) -> None:
        """Begin nothing more in the background."""
        self._background.shutdown(wait=False, cancel_futures=True)

    # -- inside ---------------------------------------------------------------------------------------------

    def _entry(self, name: str) -> _Entry | None:
        with self._lock:
            if name in self._entries:
                return self._entries[name]
        if name not in screen_names(self.store):
            return None
        with self._lock:
            return self._entries.setdefault(name, _Entry())

    def _is_due(self, entry: _Entry) -> bool:
        now = time.monotonic()
        rest = max(LOOK_S, REST * entry.cost) if entry.screen.live else LOOK_S
        with self._lock:
            if now - entry.looked < rest:
                return False
            entry.looked = now
            return True

    def _refresh(self, name: str, entry: _Entry) -> None:
        with entry.reading:
            found = self._signature(name)
            if found == entry.signature if entry.screen.live else found[:-1] == entry.signature[:-1]:
                return
            screen = self._load(name, entry)
        self._prepare(screen)

    def _signature(self, name: str) -> tuple:
        """What changes with the content: times and sizes of a screen's files; last, while it runs, of the replicas."""
        folder = screen_folder(self.store, name)
        files = [folder / file for file in ("plan.json", "run.json", "ranking.json")]
        return tuple(map(_stamp, (*files, self.store.root / "replicas")))

    def _load(self, name: str, entry: _Entry) -> Screen:
        entry.signature, began = self._signature(name), time.monotonic()
        screen = read_screen(self.store, name, version=_version(entry.signature))
        entry.cost = time.monotonic() - began
        entry.looked = time.monotonic()
        entry.screen = screen
        return screen


def read_screen(store: Store, name: str, version: str = "") -> Screen:
    """A screen from its folder: its ranking, or that of what has finished; what cannot be read becomes ``problem``."""
    folder = screen_folder(store, name)
    try:
        plan = read_plan(folder)
        if plan is None:
            return Screen(name, None, problem="its plan.json is missing", version=version)
        run = read_json(folder / "run.json") or {}
        live = run.get("finished") is None or not (folder / "ranking.json").is_file()
        if live:
            ranking = rank_stored(store, name, predict=False)
        else:
            ranking = Ranking.model_validate_json((folder / "ranking.json").read_bytes())
        settings = settings_of(plan)
        return Screen(name, ranking, live, "", settings.weights if settings else Weights(), plan, version)
    except ValidationError as error:
        return Screen(name, None, problem=f"ranking.json is damaged: {_first_line(error)}", version=version)
    except UNREADABLE as error:
        return Screen(name, None, problem=f"it cannot be read: {_first_line(error)}", version=version)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


def _stamp(path: Path) -> tuple[int, int] | None:
    """When a file or folder changed last, and its size."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def _version(signature: tuple) -> str:
    return hashlib.sha256(repr(signature).encode()).hexdigest()[:16]
