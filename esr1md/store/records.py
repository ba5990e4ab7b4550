"""The SQL index of a store: one row per replica, so that a question about thousands of folders is one query.

The folders are the truth; :func:`rebuild` makes the same index from them again. SQLite in the store by
default, any SQLAlchemy URL by argument or ``ESR1MD_DATABASE_URL``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import (
    JSON,
    Column,
    Connection,
    Engine,
    Float,
    Integer,
    MetaData,
    String,
    Table,
    create_engine,
    event,
    select,
)
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from esr1md.errors import InputError
from esr1md.store.artifacts import DONE, FAILURE, Store

metadata = MetaData()

#: Results, by digest. ``seconds`` is the wall time; a failure's kind is ``outcome`` or ``error``.
replicas = Table(
    "replicas",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("variant", String, nullable=False, index=True),
    Column("ligand", String, nullable=False, index=True),
    Column("inchikey", String, index=True),
    Column("state", String, nullable=False),
    Column("seed", Integer, nullable=False),
    Column("protocol", String, nullable=False),
    Column("status", String, nullable=False, index=True),
    Column("failure_stage", String),
    Column("failure_cause", String),
    Column("failure_where", String),
    Column("failure_kind", String),
    Column("platform", String),
    Column("seconds", Float),
    Column("started", String),
    Column("finished", String),
    Column("summary", JSON),
)

#: Which screens asked for which replica; a replica belongs to as many screens as name its spec.
members = Table(
    "screen_replicas",
    metadata,
    Column("screen", String, primary_key=True),
    Column("digest", String(64), primary_key=True),
)


def open_index(store: Store, url: str | None = None) -> Engine:
    """Connect to the index, making its tables if need be.

    Parameters
    ----------
    store
        Its ``store.sqlite`` is used when neither ``url`` nor ``ESR1MD_DATABASE_URL`` names a database.
    url
        SQLAlchemy URL.

    Raises
    ------
    InputError
        The database cannot be opened.
    """
    url = url or os.environ.get("ESR1MD_DATABASE_URL") or f"sqlite:///{store.root / 'store.sqlite'}"
    try:
        engine = create_engine(url)
        if engine.dialect.name == "sqlite":
            event.listen(engine, "connect", _tune_sqlite)
        metadata.create_all(engine)
    except SQLAlchemyError as error:
        raise InputError(
            f"the index of results cannot be opened: {getattr(error, 'orig', None) or error}",
            where=f"store {store.root}",
            expected="a writable store, or a database that ESR1MD_DATABASE_URL names",
        ) from error
    return engine


def _tune_sqlite(connection: Any, _: Any) -> None:
    # WAL lets `esr1md status` read while a screen writes; the index can be rebuilt, so NORMAL is safe enough.
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute("PRAGMA busy_timeout=30000")


def replica_row(folder: Path) -> dict[str, Any] | None:
    """The index row of one replica folder, or ``None`` when the folder is neither done nor failed."""
    done, failure = _json(folder / DONE), _json(folder / FAILURE)
    ending = done or failure
    if ending is None:
        return None
    spec, record = _json(folder / "spec.json"), _json(folder / "record.json") or {}
    if spec is None:
        return None
    ligand = spec["ligand"] or {}
    failed = {} if done else failure
    return {
        "digest": folder.name,
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
        "summary": _json(folder / "summary.json"),
    }


@contextmanager
def _writing(engine: Engine) -> Iterator[Connection]:
    """One transaction; what the database refuses (a full disk, no permission) becomes one clear line."""
    try:
        with engine.begin() as connection:
            yield connection
    except DBAPIError as error:
        raise InputError(
            f"the index of results cannot be written: {error.orig}",
            where=str(engine.url.render_as_string(hide_password=True)),
            do="free some space or mend the database; finished results are kept, run again to go on",
        ) from error


def upsert(engine: Engine, rows: Iterable[dict[str, Any]]) -> None:
    """Insert or replace replicas by digest, in one transaction."""
    rows = list(rows)
    digests = [row["digest"] for row in rows]
    if rows:
        with _writing(engine) as connection:
            connection.execute(replicas.delete().where(replicas.c.digest.in_(digests)))
            connection.execute(replicas.insert(), rows)


def set_members(engine: Engine, screen: str, digests: Iterable[str]) -> None:
    """Say which replicas a screen is made of, replacing what was said before."""
    wanted = [{"screen": screen, "digest": digest} for digest in sorted(set(digests))]
    with _writing(engine) as connection:
        connection.execute(members.delete().where(members.c.screen == screen))
        if wanted:
            connection.execute(members.insert(), wanted)


def replica_rows(engine: Engine, screen: str | None = None) -> list[dict[str, Any]]:
    """Rows in digest order; of one screen when it is named."""
    query = select(replicas).order_by(replicas.c.digest)
    if screen is not None:
        query = query.where(replicas.c.digest.in_(select(members.c.digest).where(members.c.screen == screen)))
    with engine.connect() as connection:
        return [dict(row) for row in connection.execute(query).mappings()]


def rebuild(store: Store, url: str | None = None) -> int:
    """Make the index from the folders again; returns the number of replicas found."""
    engine = open_index(store, url)
    base = store.root / "replicas"
    folders = sorted(p for p in base.iterdir() if not p.name.startswith(".")) if base.is_dir() else []
    rows = [row for row in map(replica_row, folders) if row is not None]
    plans = [_json(path) for path in sorted(store.root.glob("screens/*/plan.json"))]
    links = [
        {"screen": plan["screen"], "digest": digest}
        for plan in plans
        if plan
        for digest in sorted({replica["digest"] for replica in plan["replicas"]})
    ]
    with _writing(engine) as connection:
        for table, wanted in ((replicas, rows), (members, links)):
            connection.execute(table.delete())
            if wanted:
                connection.execute(table.insert(), wanted)
    engine.dispose()
    return len(rows)


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return None
