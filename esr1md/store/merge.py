"""What another store has, brought into this one: another folder, a bundle, or an object store.

Every folder is checked against its own list of files on the way and appears whole or not at all, so a merge that was
killed is simply done again. A finished folder is never replaced, and a failure never takes the place of a result.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from esr1md.errors import InputError
from esr1md.store.artifacts import Store
from esr1md.store.bundle import REVIEWS, fingerprint
from esr1md.store.disk import json_bytes, kernel_lock, remove
from esr1md.store.incoming import Damaged, accept, incoming
from esr1md.store.layout import FAILURE, SCREENS, check_file, check_screen, is_digest
from esr1md.store.leases import hold
from esr1md.store.manifest import sync_and_hash
from esr1md.store.plans import PLAN
from esr1md.store.readable import unreadable
from esr1md.store.references import plan_of, planned_in, screens_of
from esr1md.store.sources import Offered, Source, open_source

#: Rows that are put into the index at once.
BATCH = 500


@dataclass
class Merged:
    """What a merge did.

    Attributes
    ----------
    added, known
        Folders by kind that are new here, and that were here already.
    bytes
        Of the new ones.
    damaged
        Folders that were left out, with the reason.
    busy
        Folders that are just being computed here, and were left out.
    screens
        Names, here, of the screens that are new; ``same`` were here already.
    reviews
        How many are new.
    """

    source: str
    added: dict[str, int] = field(default_factory=dict)
    known: dict[str, int] = field(default_factory=dict)
    bytes: int = 0
    damaged: list[dict[str, str]] = field(default_factory=list)
    busy: list[str] = field(default_factory=list)
    screens: list[str] = field(default_factory=list)
    same: list[str] = field(default_factory=list)
    reviews: int = 0

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def merge(
    store: Store,
    other: str,
    *,
    rename: str | None = None,
    dry_run: bool = False,
    report: Callable[[str], None] = lambda said: None,
) -> Merged:
    """Bring everything that is finished elsewhere into a store.

    Parameters
    ----------
    store
        Where to.
    other
        A store's folder, a bundle, or a URL of either.
    rename
        Name here of the one screen that ``other`` has.
    dry_run
        Say what would come, and change nothing.

    Raises
    ------
    InputError
        Nothing can be read there, a screen of the same name has another plan, a name leads out of the store, or the
        disk is full. What came before is kept.
    """
    with open_source(other) as source:
        done = Merged(source.name)
        names = _names(store, source, rename)
        if dry_run:
            for offered in source.folders(_broken(done)):
                known = store.has(offered.kind, offered.digest) or _failed_alike(store, offered)
                _count(done.known if known else done.added, offered.kind)
                done.bytes += 0 if known else sum(entry["bytes"] for entry in (offered.files or {}).values())
            _sort_screens(store, names, done)
            return done
        store.require_writable()
        with kernel_lock(store.root / ".merge.lock", wait=False) as free, store.explained():
            if not free:
                raise InputError(
                    "another 'esr1md store merge' is running", where=f"store {store.root}", do="wait for it"
                )
            _merge_folders(store, source, done, report)
            _merge_screens(store, source, names, done)
    return done


# -- folders -----------------------------------------------------------------------------------------------------------


def _merge_folders(store: Store, source: Source, done: Merged, report: Callable[[str], None]) -> None:
    rows = _Rows(store)
    for offered in source.folders(_broken(done)):
        place = f"{offered.kind}/{offered.digest}"
        if store.has(offered.kind, offered.digest) or _failed_alike(store, offered):
            _count(done.known, offered.kind)
        else:
            with hold(store, offered.kind, offered.digest, wait=False) as free:
                if not free:
                    done.busy.append(place)
                    continue
                try:
                    done.bytes += _take(store, source, offered)
                except Damaged as error:
                    done.damaged.append({"where": place, "why": error.what})
                    continue
                _count(done.added, offered.kind)
        if offered.kind == "replicas":
            rows.add(offered.digest)
        report(f"{sum(done.added.values())} folders came, {sum(done.known.values())} were here, "
               f"{done.bytes / 1e6:.0f} MB")  # fmt: skip
    rows.write()


def _take(store: Store, source: Source, offered: Offered) -> int:
    """Put one folder in its place; returns its bytes."""
    final = store.folder(offered.kind, offered.digest)
    final.parent.mkdir(parents=True, exist_ok=True)
    with incoming(final) as beside:
        offered.gather(beside)
        record = offered.record
        if offered.files is None:  # an older version listed none: as 'repair' does, once they have been seen to load
            if (wrong := unreadable(beside)) is not None:
                raise Damaged(wrong)
            files = sync_and_hash(beside)
            record = json_bytes({**json.loads(record), "files": files, "listed_by": "esr1md store merge"})
        if store.shared is not None:
            store.shared.note_unsent(offered.kind, offered.digest)
        accept(beside, final, offered.ending, record, offered.files, source.name)
    store.send(offered.kind, offered.digest)
    return sum(path.stat().st_size for path in final.rglob("*") if path.is_file())


def _failed_alike(store: Store, offered: Offered) -> bool:
    """Whether both sides only have a failure."""
    return offered.ending == FAILURE and store.failure(offered.kind, offered.digest) is not None


def _broken(done: Merged) -> Callable[[str, str], None]:
    return lambda place, why: done.damaged.append({"where": place, "why": why})


def _count(by_kind: dict[str, int], kind: str) -> None:
    by_kind[kind] = by_kind.get(kind, 0) + 1


class _Rows:
    """Replicas that the index is to know, put there in batches: also those that an interrupted merge brought."""

    def __init__(self, store: Store) -> None:
        self._store, self._waiting = store, []

    def add(self, digest: str) -> None:
        self._waiting.append(digest)
        if len(self._waiting) >= BATCH:
            self.write()

    def write(self) -> None:
        if not self._waiting:
            return
        from esr1md.store.records import open_index, replica_row, upsert

        rows = (replica_row(self._store.folder("replicas", digest)) for digest in self._waiting)
        upsert(open_index(self._store), [row for row in rows if row is not None])
        self._waiting = []


# -- screens and reviews -----------------------------------------------------------------------------------------------


def _names(store: Store, source: Source, rename: str | None) -> dict[str, str]:
    """What the source's screens are called here.

    Raises
    ------
    InputError
        A screen of that name is here, with another plan.
    """
    if rename is not None:
        check_screen(rename)
        if len(source.screens) != 1:
            raise InputError(
                f"{source.name} has {len(source.screens)} screens", where="--as",
                expected="one, to give it another name", do="export one of them and merge that",
            )  # fmt: skip
    names = {name: rename or name for name in source.screens}
    here = set(screens_of(store))
    for name, to in names.items():
        if to in here and fingerprint(plan_of(store, to)) != source.screens[name]:
            raise InputError(
                f"a screen '{to}' is in this store already, and has other replicas or is judged otherwise",
                where=f"store {store.root}", do="give the other one another name with --as NAME",
            )  # fmt: skip
    return names


def _sort_screens(store: Store, names: dict[str, str], done: Merged) -> None:
    here = set(screens_of(store))
    done.same = sorted(to for to in names.values() if to in here)
    done.screens = sorted(to for to in names.values() if to not in here)


def _merge_screens(store: Store, source: Source, names: dict[str, str], done: Merged) -> None:
    """Gather plans, tables and reports aside, and put them in place once all of them have come."""
    aside = store.root / ".merge"
    remove(aside)
    try:
        reviews = b""
        for name, content in source.loose():
            if name == REVIEWS:
                reviews = content
                continue
            screen, file = _parts(name, source)
            if screen in names:
                path = aside / names[screen] / file
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(_as_here(file, content, screen, names[screen]))
        _sort_screens(store, names, done)
        for to in names.values():
            if not (aside / to / PLAN).is_file():
                raise Damaged(f"screen '{to}' has no plan", where=source.name)
            _put(store, aside / to, to)
        _index_screens(store, names.values())
        if reviews:
            done.reviews = _merge_reviews(store, reviews, names, source.name)
    finally:
        remove(aside)


def _put(store: Store, came: Path, name: str) -> None:
    """A new screen as a whole; of one that is here already only the files that are missing."""
    final = store.root / SCREENS / name
    final.parent.mkdir(exist_ok=True)
    sync_and_hash(came)
    if not final.exists():
        os.rename(came, final)
    for path in sorted(came.rglob("*")) if came.is_dir() else ():
        to = final / path.relative_to(came)
        if path.is_file() and not to.exists():
            to.parent.mkdir(parents=True, exist_ok=True)
            os.rename(path, to)
    store.send_folder(SCREENS, name)


def _index_screens(store: Store, names: Iterable[str]) -> None:
    from esr1md.store.records import open_index, set_members

    for name in names:
        set_members(open_index(store), name, planned_in(plan_of(store, name))["replicas"])


def _merge_reviews(store: Store, reviews: bytes, names: dict[str, str], where: str) -> int:
    from esr1md.store.records import open_index
    from esr1md.store.reviews import import_lines

    lines = []
    for line in reviews.decode("utf-8", "replace").splitlines():
        try:
            review = json.loads(line)
            name = review["screen"]
        except (ValueError, KeyError, TypeError, RecursionError):
            lines.append(line)  # told with its number
            continue
        if name in names:
            lines.append(line if names[name] == name else json.dumps(_renamed_review(review, names[name])))
    return import_lines(open_index(store), lines, f"{where}: {REVIEWS}")[0]


def _as_here(file: str, content: bytes, name: str, to: str) -> bytes:
    """A screen's file as it is here: under the screen's name here, and not being run by a process elsewhere.

    Raises
    ------
    Damaged
        It cannot be read, is of another screen, or names replicas by what is no digest.
    """
    if file not in (PLAN, "run.json", "ranking.json"):
        return content
    try:
        document = json.loads(content)
        if file == "run.json":
            document |= {"pid": None, "host": None}
        else:
            cells = document["cells"] if file == "ranking.json" and "cells" in document else []
            digests = chain.from_iterable(cell["replicas"] for cell in cells)
            if file == PLAN:
                digests = chain.from_iterable(planned_in(document).values())
            if document["screen"] != name or not all(map(is_digest, digests)):
                raise Damaged(f"{SCREENS}/{name}/{file} is of another screen, or names what is no replica")
            if name == to:
                return content
            document["screen"] = to
            if isinstance(document.get("config"), dict):
                document["config"]["name"] = to
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise Damaged(f"{SCREENS}/{name}/{file} cannot be read") from None
    return json.dumps(document, indent=1).encode() + b"\n"


def _renamed_review(review: dict[str, Any], to: str) -> dict[str, Any]:
    """A review of a screen that has another name here: another review, the same at every merge."""

    def known_here_as(name: Any) -> Any:
        return hashlib.sha256(f"{name} {to}".encode()).hexdigest()[:32] if isinstance(name, str) else name

    follows = review.get("follows")
    return {
        **review,
        "screen": to,
        "id": known_here_as(review.get("id")),
        "undoes": known_here_as(review.get("undoes")),
        "follows": [known_here_as(name) for name in follows] if isinstance(follows, list) else follows,
    }


def _parts(name: str, source: Source) -> tuple[str, str]:
    check_file(name, source.name)
    top, _, rest = name.partition("/")
    screen, _, file = rest.partition("/")
    if top != SCREENS or not file:
        raise InputError(f"'{name}' is nothing of a store", where=source.name, do="do not trust where it came from")
    return check_screen(screen), file
