"""Whether the SQL index of a store says what its folders say."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from sqlalchemy import func, select

from esr1md.errors import InputError
from esr1md.store import database
from esr1md.store.artifacts import Store
from esr1md.store.disk import read_json
from esr1md.store.index import Index, open_index
from esr1md.store.layout import SCREENS, SQLITE_NAME, STATES, is_digest
from esr1md.store.manifest import ending_of
from esr1md.store.plans import PLAN, digests_of
from esr1md.store.records import replica_row
from esr1md.store.tables import members, replicas
from esr1md.store.verify import Finding

#: Rows that are read at once.
PAGE = 5000


def verify_index(store: Store, *, quick: bool = False) -> Iterator[Finding]:
    """Compare the rows of the index with the folders of replicas, and its screens with the plans.

    Parameters
    ----------
    quick
        Compare only what is done and what has failed, not the rows' contents.
    """
    url = database.database_url(store.root)
    place = database.shown(url) if database.is_server(url) else SQLITE_NAME
    file = database.sqlite_file(url)
    if file is not None and not file.is_file():
        if next(_digests_here(store), None) is not None:
            yield Finding("no index", place)
        return
    try:
        index = open_index(store)
        missing, other, gone, example = _compare(store, index, quick)
        screens = sorted(_other_screens(store, index))
    except InputError as error:
        yield Finding("index", place, error.what)
        return
    said = [
        f"{count} {what}"
        for count, what in ((missing, "replicas are not in it"), (other, "are otherwise"), (gone, "are not there"))
        if count
    ]
    if said:
        yield Finding("index", place, f"{', '.join(said)} (such as {example[:12]})")
    if screens:
        yield Finding("index", place, f"other replicas for screen {', '.join(screens)}")


def _compare(store: Store, index: Index, quick: bool) -> tuple[int, int, int, str]:
    """How many replicas have no row, another row, and how many rows have no folder; and one of them."""
    here, rows = _digests_here(store), _rows(index, quick)
    digest, row = next(here, None), next(rows, None)
    missing = other = gone = 0
    example = ""
    while digest is not None or row is not None:
        wrong = None
        if row is None or (digest is not None and digest < row["digest"]):
            if _status(store, digest) is not None:
                missing, wrong = missing + 1, digest
            digest = next(here, None)
        elif digest is None or row["digest"] < digest:
            if store.shared is None or row["digest"] not in store.shared.listed("replicas"):
                gone, wrong = gone + 1, row["digest"]
            row = next(rows, None)
        else:
            status = _status(store, digest)
            if status != row["status"] or (not quick and _row(store, digest) not in (None, row)):
                other, wrong = other + 1, digest
            digest, row = next(here, None), next(rows, None)
        example = example or wrong or ""
    return missing, other, gone, example


def _digests_here(store: Store) -> Iterator[str]:
    base = store.root / "replicas"
    yield from sorted(filter(is_digest, os.listdir(base))) if base.is_dir() else ()


def _status(store: Store, digest: str) -> str | None:
    return STATES.get(ending_of(store.root / "replicas" / digest))


def _row(store: Store, digest: str) -> dict[str, Any] | None:
    try:
        return replica_row(store.root / "replicas" / digest)
    except (InputError, KeyError, TypeError, AttributeError):  # a damaged folder, told as such
        return None


def _rows(index: Index, quick: bool) -> Iterator[dict[str, Any]]:
    """Every row, in digest order, a page at a time; with ``quick`` digest and status only."""
    wanted, last = [c for c in replicas.columns if c.name != "store" and not quick], ""
    wanted = wanted or [replicas.c.digest, replicas.c.status]
    while True:
        query = (
            select(*wanted)
            .where((replicas.c.store == index.store) & (replicas.c.digest > last))
            .order_by(replicas.c.digest)
            .limit(PAGE)
        )
        page = index.read(lambda connection, query=query: [dict(row) for row in connection.execute(query).mappings()])
        if not page:
            return
        yield from page
        last = page[-1]["digest"]


def _other_screens(store: Store, index: Index) -> Iterator[str]:
    """Screens that the index knows with another number of replicas than their plan."""
    query = select(members.c.screen, func.count()).where(members.c.store == index.store).group_by(members.c.screen)
    known = dict(index.read(lambda connection: [tuple(row) for row in connection.execute(query)]))
    sizes = {}
    for path in (store.root / SCREENS).glob(f"*/{PLAN}"):
        try:
            plan = read_json(path)
            sizes[plan["screen"]] = len(set(digests_of(plan)))
        except (InputError, KeyError, TypeError):
            continue  # told by verify_screens
    yield from (name for name, count in sizes.items() if known.get(name, 0) != count)
    if store.shared is None:
        yield from (name for name in known if name not in sizes)
