"""The rows of an index: one for each replica, so that a question about thousands of folders is one query.

The folders are the truth; :func:`rebuild` makes the same rows from them again. Only reviews (:mod:`.reviews`) cannot be
made again, and stay.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import JSON, URL, ColumnElement, Connection, bindparam, func, literal, select, true

from esr1md.errors import InputError
from esr1md.store import database, reviews, salvage
from esr1md.store.artifacts import Store, failure_record
from esr1md.store.disk import read_json
from esr1md.store.identity import FOLDER, set_leases, store_identity
from esr1md.store.index import Index, leases_of, open_index
from esr1md.store.layout import DONE, FAILURE, SCREENS, SPEC, SQLITE_NAME
from esr1md.store.plans import PLAN, digests_of
from esr1md.store.tables import members, replicas
from esr1md.store.threads import together

__all__ = [
    "Index",
    "open_index",
    "rebuild",
    "replica_row",
    "replica_rows",
    "set_members",
    "upsert",
]

#: Rows that are written or read at once.
BATCH = 5000

Item = TypeVar("Item")


def replica_row(folder: Path) -> dict[str, Any] | None:
    """The index row of one replica folder, or ``None`` when the folder is neither done nor failed.

    Raises
    ------
    InputError
        A file of the folder is damaged.
    """
    return _row_of(folder.name, lambda name: failure_record(folder) if name == FAILURE else read_json(folder / name))


def upsert(index: Index, rows: Iterable[dict[str, Any]]) -> None:
    """Insert replicas, or replace those of the same digest; all of a batch of :data:`BATCH`, or none.

    Raises
    ------
    InputError
        The database refuses, or cannot be reached for longer than it is waited for.
    """
    insert = database.insert(index.url, replicas)
    replaced = {c.name: insert.excluded[c.name] for c in replicas.columns if c.name not in ("store", "digest")}
    insert = insert.on_conflict_do_update(index_elements=["store", "digest"], set_=replaced)
    for batch in _batches(rows):
        batch = [{"store": index.store, **row} for row in batch]
        index.write(lambda connection, batch=batch: connection.execute(insert, batch))


def set_members(index: Index, screen: str, digests: Iterable[str]) -> None:
    """Say which replicas a screen is made of, replacing what was said before; errors as of :func:`upsert`."""
    wanted = set(digests)
    of_screen = (members.c.store == index.store) & (members.c.screen == screen)
    remove = members.delete().where(of_screen & (members.c.digest == bindparam("gone")))

    def replace(connection: Connection) -> None:
        there = set(connection.execute(select(members.c.digest).where(of_screen)).scalars())
        for batch in _batches(sorted(there - wanted)):
            connection.execute(remove, [{"gone": digest} for digest in batch])
        for batch in _batches(sorted(wanted - there)):
            rows = select(literal(index.store), literal(screen), _listed(index.url, batch)).where(true())
            insert = database.insert(index.url, members).from_select(["store", "screen", "digest"], rows)
            connection.execute(insert.on_conflict_do_nothing())

    index.write(replace)


def replica_rows(index: Index, screen: str | None = None, columns: Iterable[str] = ()) -> list[dict[str, Any]]:
    """Rows in digest order; of one screen when it is named, with some columns when those are.

    Raises
    ------
    InputError
        The database cannot be read.
    """
    wanted = [replicas.c[name] for name in columns] or [c for c in replicas.columns if c.name != "store"]
    query = select(*wanted).where(replicas.c.store == index.store).order_by(replicas.c.digest)
    if screen is not None:
        same = (members.c.store == replicas.c.store) & (members.c.digest == replicas.c.digest)
        query = query.join(members, same).where(members.c.screen == screen)
    return index.read(lambda connection: [dict(row) for row in connection.execute(query).mappings()])


# -- from the folders ----------------------------------------------------------------------------------------


def rebuild(store: Store, url: str | None = None) -> int:
    """Make the index from the folders again; returns the number of replicas found.

    A SQLite file that is damaged, or that is no index, is moved to ``NAME.damaged-TIME`` first, and what can still be
    read of its reviews is carried over. Warnings tell what happened to it. Other processes may go on meanwhile.

    Parameters
    ----------
    store
        Whose folders, and whose rows; those of other stores in the same database stay.
    url
        See :func:`open_index`. Without it the store's processes use this index from now on, whichever they used before.

    Raises
    ------
    InputError
        The database cannot be opened, or refuses.
    """
    where = database.database_url(store.root, url)
    before = store_identity(store.root).leases
    rescued = salvage.set_aside(where)
    index = open_index(store, where)
    if rescued is not None:
        reviews.restore(index, rescued)
    if url is None:
        _use_from_now_on(store, index, before)
    there = replicas.c.store == index.store
    gone = set(
        index.read(lambda connection: connection.execute(select(replicas.c.digest).where(there)).scalars().all())
    )
    found = 0
    for batch in _batches(_rows(store)):
        upsert(index, batch)
        gone.difference_update(row["digest"] for row in batch)
        found += len(batch)
    remove = replicas.delete().where(there & (replicas.c.digest == bindparam("gone")))
    for batch in _batches(sorted(gone)):
        index.write(lambda connection, batch=batch: connection.execute(remove, [{"gone": d} for d in batch]))

    screens = set()
    for path in sorted(store.root.glob(f"{SCREENS}/*/{PLAN}")):
        plan = _readable(lambda path=path: read_json(path), path)
        if plan is not None:
            screens.add(plan["screen"])
            set_members(index, plan["screen"], digests_of(plan))
    if store.shared is None:  # or other machines may have screens that this one has not
        orphans = members.delete().where((members.c.store == index.store) & members.c.screen.not_in(screens))
        index.write(lambda connection: connection.execute(orphans))
    return found


def _use_from_now_on(store: Store, index: Index, before: str | None) -> None:
    """Make an index the one of the store's processes; reviews that are in the folder's own index come along."""
    leases, shown = leases_of(index.url)
    if before in (None, leases):
        return
    set_leases(store.root, leases, shown)
    warnings.warn(f"store {store.root}: its index was moved to {index}; processes that still use the one of before "
                  "do not see what those that use this one compute", stacklevel=3)  # fmt: skip
    own = store.root / SQLITE_NAME
    if before == FOLDER and own.is_file():
        reviews.restore(index, salvage.read_reviews(own))
    elif before != FOLDER:
        warnings.warn("reviews stay in the database of before: 'esr1md store export' them there", stacklevel=3)


def _rows(store: Store) -> Iterator[dict[str, Any]]:
    base, here = store.root / "replicas", set()
    for folder in sorted(path for path in base.iterdir() if not path.name.startswith(".")) if base.is_dir() else []:
        here.add(folder.name)
        row = _readable(lambda folder=folder: replica_row(folder), folder)
        if row is not None:
            yield row
    if store.shared is not None:  # of what others have sent to the object store only the records are got
        away = sorted(digest for digest in store.shared.listed("replicas") if digest not in here)
        yield from filter(None, together(lambda digest: _row_away(store, digest), [(digest,) for digest in away]))


def _row_away(store: Store, digest: str) -> dict[str, Any] | None:
    def read(name: str) -> Any:
        return store.failure("replicas", digest) if name == FAILURE else store.shared.record("replicas", digest, name)

    return _readable(lambda: _row_of(digest, read), digest)


def _row_of(digest: str, read: Callable[[str], Any]) -> dict[str, Any] | None:
    done, failure = read(DONE), read(FAILURE)
    ending = done or failure
    if ending is None:
        return None
    spec, record = read(SPEC), read("record.json") or {}
    if spec is None:
        return None
    ligand = spec["ligand"] or {}
    failed = {} if done else failure
    return {
        "digest": digest,
        "variant": spec["variant"],
        "ligand": record.get("ligand", ligand.get("smiles", "apo")),
        "inchikey": ligand.get("inchikey"),
        "state": spec["state"],
        "seed": spec["seed"],
        "protocol": record.get("protocol", ""),
        "status": "done" if done else "failed",
        "failure_stage": failed.get("stage"),
        "failure_cause": failed.get("cause"),
        "failure_where": failed.get("where"),
        "failure_kind": failed.get("kind"),
        "platform": record.get("platform"),
        "seconds": record.get("seconds"),
        "started": ending.get("started"),
        "finished": ending.get("finished"),
        "summary": read("summary.json"),
    }


# -- inside --------------------------------------------------------------------------------------------------


def _readable(read: Callable[[], Item], what: Path | str) -> Item | None:
    """What ``read`` finds; ``None``, with a warning, where the files are damaged."""
    try:
        return read()
    except (InputError, KeyError, TypeError, AttributeError) as error:
        said = error if isinstance(error, InputError) else f"{what}: a record is damaged ({type(error).__name__})"
        warnings.warn(f"left out of the index: {said}", stacklevel=2)
        return None


def _listed(url: URL, texts: list[str]) -> ColumnElement[str]:
    """Texts as a column: one parameter, whereas a statement has room for some thousands, and rows of one cost more."""
    unpack = func.json_array_elements_text if database.is_server(url) else func.json_each
    return unpack(literal(texts, JSON)).table_valued("value").c.value


def _batches(items: Iterable[Item]) -> Iterator[list[Item]]:
    items = iter(items)
    while batch := list(itertools.islice(items, BATCH)):
        yield batch
