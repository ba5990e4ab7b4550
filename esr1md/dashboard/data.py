"""What the pages read: rankings and statuses of the screens of a store, loaded once for each change of it.

Many threads ask, one loads. A screen that is loaded is shown as it was until a newer state has been read, so that
nobody waits but the first. What changes while a screen runs is looked at not more often than it takes to read it.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from esr1md.errors import Esr1mdError
from esr1md.ligand.catalogue import catalogue_entries
from esr1md.report.data import ScreenSettings, read_settings
from esr1md.scoring.scores import CellScore, Comparison, RankedLigand, Ranking
from esr1md.screen.finish import rank_stored
from esr1md.screen.status import ScreenStatus, ScreenWatch, screen_names
from esr1md.store import Store

Cell = tuple[str, str, str]

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
    settings
        Thresholds and weights, where the plan says them.
    version
        Another one for every other content; part of the name of whatever is made from it.
    """

    name: str
    ranking: Ranking | None
    live: bool = False
    problem: str = ""
    settings: ScreenSettings | None = None
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
        return {name: known[name] for name in dict.fromkeys(cell[1] for cell in self.cells) if known.get(name)}


class Reader:
    """Screens of one store for many threads.

    Parameters
    ----------
    store
        The store.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self._screens: dict[str, Screen] = {}
        self._signatures: dict[str, tuple] = {}
        self._looked: dict[str, float] = {}
        self._cost: dict[str, float] = {}
        self._lock = threading.Lock()
        self._loading: dict[str, threading.Lock] = {}
        self._watches: dict[str, tuple[ScreenWatch, threading.Lock]] = {}
        self._background = ThreadPoolExecutor(1, thread_name_prefix="esr1md-dashboard-reader")

    def names(self) -> list[str]:
        """Screens of the store, the one that changed last first."""
        return sorted(screen_names(self.store), key=lambda name: -_mtime(self._folder(name) / "run.json"))

    def screen(self, name: str) -> Screen:
        """A screen as last read; a change of it is read in the background, the first time at once."""
        with self._lock:
            known = self._screens.get(name)
            lock = self._loading.setdefault(name, threading.Lock())
        if known is None:
            with lock:
                with self._lock:
                    known = self._screens.get(name)
                return known or self._load(name)
        if self._is_due(name):
            self._background.submit(self._refresh, name, lock)
        return known

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
        for name in self.names():
            self._background.submit(self.screen, name)

    def close(self) -> None:
        self._background.shutdown(wait=False, cancel_futures=True)

    # -- inside ---------------------------------------------------------------------------------------------

    def _folder(self, name: str) -> Path:
        return self.store.root / "screens" / name

    def _is_due(self, name: str) -> bool:
        now = time.monotonic()
        with self._lock:
            rest = LOOK_S if not self._screens[name].live else max(LOOK_S, REST * self._cost.get(name, 0.0))
            if now - self._looked.get(name, 0.0) < rest:
                return False
            self._looked[name] = now
            return True

    def _refresh(self, name: str, lock: threading.Lock) -> None:
        with lock:
            if self._signature(name) != self._signatures.get(name):
                self._load(name)

    def _signature(self, name: str) -> tuple:
        """What changes with the content: times and sizes of its files; while it runs, of the replicas' folder."""
        folder = self._folder(name)
        files = tuple(_stamp(folder / file) for file in ("plan.json", "run.json", "ranking.json"))
        known = self._screens.get(name)
        running = known is None or known.live
        return (*files, *((_stamp(self.store.root / "replicas"),) if running else ()))

    def _load(self, name: str) -> Screen:
        before, began = self._signature(name), time.monotonic()
        screen = read_screen(self.store, name, version=_version(before))
        with self._lock:
            self._screens[name] = screen
        self._signatures[name] = self._signature(name) if not screen.live else before
        self._cost[name] = time.monotonic() - began
        self._looked[name] = time.monotonic()
        return screen


def read_screen(store: Store, name: str, version: str = "") -> Screen:
    """A screen from its folder: its ranking, or that of what has finished; what cannot be read becomes ``problem``."""
    folder = store.root / "screens" / name
    try:
        plan = json.loads((folder / "plan.json").read_text(encoding="utf-8"))
        run = _json(folder / "run.json") or {}
        live = run.get("finished") is None or not (folder / "ranking.json").is_file()
        if live:
            ranking = rank_stored(store, name, predict=False)
        else:
            ranking = Ranking.model_validate_json((folder / "ranking.json").read_bytes())
        return Screen(name, ranking, live, "", read_settings(store.root, name), plan, version)
    except FileNotFoundError as error:
        return Screen(name, None, problem=f"{_within(store, error.filename)} is missing", version=version)
    except (json.JSONDecodeError, UnicodeDecodeError, ValidationError) as error:
        where = "ranking.json" if isinstance(error, ValidationError) else "a file of this screen"
        return Screen(name, None, problem=f"{where} is damaged: {_first_line(error)}", version=version)
    except UNREADABLE as error:
        return Screen(name, None, problem=f"it cannot be read: {_first_line(error)}", version=version)


def _within(store: Store, path: str | None) -> str:
    """A path as it is called inside the store."""
    try:
        return str(Path(path or "").relative_to(store.root))
    except ValueError:
        return Path(path or "a file").name


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


def _json(path: Path) -> dict[str, Any] | None:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def _mtime(path: Path) -> float:
    stamp = _stamp(path)
    return stamp[0] if stamp else 0


def _version(signature: tuple) -> str:
    return hashlib.sha256(repr(signature).encode()).hexdigest()[:16]
