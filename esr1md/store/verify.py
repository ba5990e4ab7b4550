"""What is wrong in a store, found by looking at every folder: what, where, what it means and what mends it.

Nothing is changed, and nothing is kept of a folder that is well, so that a million of them can be looked at.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from esr1md.errors import InputError
from esr1md.store.artifacts import Store, failure_record
from esr1md.store.disk import read_json
from esr1md.store.incoming import incoming_lock
from esr1md.store.layout import COMING, FAILURE, KINDS, SCREENS, debris_of, is_digest
from esr1md.store.leases import hold
from esr1md.store.manifest import differences, ending_of, files_of, read_ending, spec_problem
from esr1md.store.plans import PLAN, digests_of
from esr1md.store.threads import together
from esr1md.store.unfinished import can_go_on

#: Called with how many folders have been looked at.
Report = Callable[[int], None]

#: Findings by name: what they mean, and what mends them.
MEANINGS = {
    "damaged": ("its content cannot be trusted", "repair: moved to quarantine, computed anew by the next run"),
    "debris": ("what a process left that was ended", "repair, or the next run, clears it"),
    "checkpoint": ("an interrupted computation", "the next run goes on from there"),
    "not checkable": ("an older version listed no files", "repair lists them once they have been seen to load"),
    "stray": ("no folder of a result", "look at it, and move it elsewhere"),
    "unreadable plan": ("the screen cannot be shown or ranked", "repair: moved to quarantine; run the screen again"),
    "unreadable record": ("the screen cannot be shown or ranked", "repair: moved to quarantine; run the screen again"),
    "missing": ("the screen has ended without them", "run the screen again"),
    "unfinished": ("the screen has not ended", "run the screen again to go on"),
    "no index": ("questions about many replicas have no answer", "rebuild, or the next run"),
    "index": ("the index says something else than the folders", "rebuild, or repair"),
    "unsent": ("finished here and not in the object store yet", "repair, or the next run, sends it"),
    "damaged there": ("its copy in the object store cannot be trusted", "repair: sent again, or moved to quarantine"),
    "not indexed there": ("other machines do not see it in their lists", "repair"),
}  # fmt: skip
#: Nothing that has to be mended.
NOTES = {"checkpoint", "not checkable", "stray", "unfinished"}


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it should be.

    Attributes
    ----------
    what
        A key of :data:`MEANINGS`.
    where
        Path in the store.
    detail
        What exactly.
    """

    what: str
    where: str
    detail: str = ""

    @property
    def problem(self) -> bool:
        """Whether it has to be mended."""
        return self.what not in NOTES

    @property
    def means(self) -> str:
        return MEANINGS[self.what][0]

    @property
    def mend(self) -> str:
        return MEANINGS[self.what][1]

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "problem": self.problem, "means": self.means, "mend": self.mend}


def verify(
    store: Store, places: Sequence[tuple[str, str]] = (), *, quick: bool = False, report: Report = lambda seen: None
) -> Iterator[Finding]:
    """Look at everything in the local folder of a store.

    Parameters
    ----------
    places
        Look at these folders only, by kind and digest.
    quick
        Compare the sizes of files only, without reading them.
    report
        Called now and then with the number of folders that have been looked at.
    """
    if places:
        for kind, digest in places:
            if store.folder(kind, digest).is_dir():
                yield from look_at(store, kind, digest, quick)
        return
    seen = 0
    for kind in KINDS:
        for findings in _side_by_side(store, kind, quick):
            if seen % 64 == 0:
                report(seen)
            seen += 1
            yield from findings
    report(seen)
    yield from verify_screens(store)
    if store.shared is not None:
        for kind, digest in store.shared.unsent():
            yield Finding("unsent", f"{kind}/{digest}")


def place_of(text: str) -> tuple[str, str]:
    """Kind and digest of ``replicas/DIGEST``, as findings and records write it.

    Raises
    ------
    InputError
        It is no such place.
    """
    kind, _, digest = "/".join(text.rstrip("/").split("/")[-2:]).rpartition("/")
    if kind not in KINDS or not is_digest(digest):
        raise InputError(f"'{text}' is no folder of a result", expected=f"{'|'.join(KINDS)}/DIGEST")
    return kind, digest


def _side_by_side(store: Store, kind: str, quick: bool) -> Iterator[list[Finding]]:
    """The findings of each entry of a kind's folder; files are read by several threads, a few folders ahead."""
    base = store.root / kind
    if base.is_dir():
        with os.scandir(base) as entries:
            rows = ((store, kind, entry.name, quick) for entry in entries)
            yield from together(look_at, rows, min(8, os.cpu_count() or 1))


def look_at(store: Store, kind: str, name: str, quick: bool) -> list[Finding]:
    """The findings of one entry of a kind's folder."""
    return list(_findings(store, kind, name, quick))


def _findings(store: Store, kind: str, name: str, quick: bool) -> Iterator[Finding]:
    path, place = store.root / kind / name, f"{kind}/{name}"
    if name.startswith("."):
        if (of := debris_of(name)) is not None and path.is_dir():
            yield from _unfinished(store, kind, of, path)
        return
    if not is_digest(name) or not path.is_dir():
        yield Finding("stray", place)
        return
    try:
        found = read_ending(path)
        if found is None:
            yield from _unfinished(store, kind, name, path)
            return
        ending, record = found
        if ending == FAILURE:
            failure_record(path)
        files = files_of(record, str(path / ending))
        if problem := spec_problem(path, name):
            yield Finding("damaged", place, problem)
        elif files is None:
            unreadable = next(_unreadable_json(path), None)
            yield Finding("damaged", place, unreadable) if unreadable else Finding("not checkable", place)
        elif wrong := list(differences(path, files, quick=quick)):
            more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
            yield Finding("damaged", place, f"{wrong[0][0]} {wrong[0][1]}{more}")
    except InputError as error:
        yield Finding("damaged", place, f"{Path(error.where).name}: {error.what}")
    except OSError as error:
        yield Finding("damaged", place, f"cannot be read ({error.strerror})")


def _unfinished(store: Store, kind: str, digest: str, path: Path) -> Iterator[Finding]:
    """A folder without an ending: nothing to speak of while somebody works in it."""
    with nobody_in(store, path, digest) as free:
        if free and path.is_dir() and (path.name.startswith(".") or ending_of(path) is None):
            yield Finding("checkpoint" if can_go_on(path) else "debris", f"{kind}/{path.name}")


@contextmanager
def nobody_in(store: Store, path: Path, digest: str) -> Iterator[bool]:
    """Keep others out of a folder of unfinished work; yields whether none is in it."""
    if path.suffix in COMING:
        lock = incoming_lock(path.with_name(digest), wait=False)
    else:
        lock = hold(store, path.parent.name, digest, wait=False)
    with lock as free:
        yield bool(free)


def _unreadable_json(folder: Path) -> Iterator[str]:
    for path in sorted(folder.glob("*.json")):
        try:
            read_json(path)
        except InputError as error:
            yield f"{path.name}: {error.what}"


def verify_screens(store: Store) -> Iterator[Finding]:
    """Plans that cannot be read, and replicas of ended screens that are not there."""
    there = store.states("replicas")
    for folder in sorted((store.root / SCREENS).glob("*/")):
        place, read = f"{SCREENS}/{folder.name}", {}
        for name in (PLAN, "run.json", "ranking.json"):
            try:
                read[name] = read_json(folder / name)
            except InputError as error:
                what = "unreadable plan" if name == PLAN else "unreadable record"
                yield Finding(what, f"{place}/{name}", error.what)
        if read.get(PLAN) is None:
            continue
        try:
            digests = set(digests_of(read[PLAN]))
        except (KeyError, TypeError, InputError):
            yield Finding("unreadable plan", f"{place}/{PLAN}", "it lists no replicas")
            continue
        missing = sum(digest not in there for digest in digests)
        broken = sum(not is_digest(digest) for digest in digests)
        if broken:
            yield Finding("unreadable plan", f"{place}/{PLAN}", f"{broken} replicas have no digest")
        elif missing:
            run = read.get("run.json")
            ended = isinstance(run, dict) and run.get("finished") is not None
            yield Finding("missing" if ended else "unfinished", place, f"{missing} of {len(digests)} replicas")
