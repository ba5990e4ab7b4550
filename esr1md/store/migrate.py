"""Brings the tables of an index to the version that this code knows, whoever else is doing the same."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import URL, Connection, inspect, text

from esr1md.errors import InputError
from esr1md.store import database

#: Every version of the tables, oldest first; each has a file in ``migrations/versions/``.
VERSIONS = ("0001", "0002", "0003", "0004")
HEAD = VERSIONS[-1]

#: What the advisory lock of PostgreSQL is taken on while tables are made.
_LOCK = 0x657372316D64  # "esr1md"
#: The tables of version 0001, which has no record of its version.
_OLDEST = {"replicas", "screen_replicas"}


def bring_to_head(url: URL, store: str, *, brief: bool = False, patience: float | None = None) -> None:
    """Make the tables, or migrate older ones, so that they are at :data:`HEAD`; next to nothing when they are.

    Everything happens in one transaction: a migration that is interrupted has not happened.

    Parameters
    ----------
    url
        From :func:`esr1md.store.database.database_url`.
    store
        Identity of the store that rows without one are given to.
    brief, patience
        See :func:`esr1md.store.database.write`; :data:`~esr1md.store.database.OPENING_SECONDS` if not given.

    Raises
    ------
    DamagedDatabase
        The SQLite file is malformed, or is no index.
    InputError
        The database cannot be reached; or its tables are of a newer version, or another program's.
    """
    patience = database.OPENING_SECONDS if patience is None else patience
    known = database.known_of(url)
    if known.get("version") == HEAD:
        return
    file = database.sqlite_file(url)
    if file is not None and not file.parent.is_dir():
        raise InputError(f"there is no folder {file.parent} to keep the index of results in", where=str(file),
                         expected="a store, or a database that ESR1MD_DATABASE_URL names")  # fmt: skip

    if database.read(url, _version, brief=brief, patience=patience) != HEAD:
        database.write(url, lambda connection: _migrate(connection, url, store),
                       brief=brief, patience=patience, doing="opened")  # fmt: skip
    database.known_of(url)["version"] = HEAD


def database_identity(url: URL) -> str:
    """What tells this database from any other, however it is reached; its tables must be at :data:`HEAD`."""
    known = database.known_of(url)
    if "id" not in known:
        query = text("SELECT id FROM database_identity")
        known["id"] = database.write(url, lambda connection: connection.execute(query).scalar_one())
    return known["id"]


def _version(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def _migrate(connection: Connection, url: URL, store: str) -> None:
    """Other processes that want the same are kept out by SQLite's write lock, or an advisory lock of PostgreSQL."""
    if database.is_server(url):
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    version = _version(connection)
    if version == HEAD:  # another process was faster
        return
    if version is not None and version not in VERSIONS:
        raise InputError(
            f"the index of results has tables of version '{version}', which this esr1md does not know",
            where=database.shown(url),
            expected=f"version {HEAD} or older",
            do="use a newer esr1md, or a database that belongs to no other program",
        )
    if version is None:
        version = _unrecorded_version(connection, url)

    from alembic import command  # here: it takes as long to import as the rest of the store, and is seldom needed
    from alembic.config import Config

    config = Config(attributes={"connection": connection, "store": store})
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    if version is not None:
        command.stamp(config, version)
    command.upgrade(config, HEAD)


def _unrecorded_version(connection: Connection, url: URL) -> str | None:
    """The version of tables that have no record of it; ``None`` where there are none of ours."""
    inspector = inspect(connection)
    tables = set(inspector.get_table_names())
    if _OLDEST <= tables and {"digest", "summary"} <= {c["name"] for c in inspector.get_columns("replicas")}:
        return VERSIONS[0]
    if database.is_server(url):
        strangers = tables & {*_OLDEST, "database_identity", "leases", "reviews"}
        if strangers:
            raise InputError(
                f"the database has tables of another program ({', '.join(sorted(strangers))})",
                where=database.shown(url),
                expected="a database of its own for the index of results",
            )
    elif tables:
        raise database.damaged(url, f"it has the tables {', '.join(sorted(tables)[:5])}")
    return None
