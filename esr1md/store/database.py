"""Connections to the database of an index: one engine for each database and process, and what to do when it is away.

SQLite (``STORE/store.sqlite``, write-ahead log) unless ``ESR1MD_DATABASE_URL`` names another database, PostgreSQL among
them (``postgresql://user@host/name``, with the extra ``esr1md[postgres]``).

:func:`write` and :func:`read` are the only ways to the rows. A database that does not answer for a while (a server that
is restarted, a network that is gone, another process that writes to the same file) is waited for; anything that waiting
cannot mend is one clear line. No message ever has a password in it.
"""

from __future__ import annotations

import os
import random
import threading
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import URL, Connection, Engine, Table, create_engine, event, make_url
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, DBAPIError

from esr1md.errors import InputError
from esr1md.store.layout import SQLITE_NAME

#: Names another database than the store's own SQLite file.
URL_VARIABLE = "ESR1MD_DATABASE_URL"

#: How long what is written waits for a database that cannot be reached (s): longer than a server takes to restart.
PATIENCE_SECONDS = 300.0
#: The same when a database is opened for the first time in a process: a wrong address is told soon.
OPENING_SECONDS = 15.0
#: Pauses between two tries (s) grow from the first to the second.
PAUSES = (0.1, 5.0)
#: After so long without use (s) a connection of the many processes of a screen is closed.
IDLE_SECONDS = 2.0

#: SQLSTATE classes and codes of PostgreSQL that pass: connection lost, shutting down, starting up, too many clients,
#: serialisation and deadlock.
_PASSING_STATES = ("08", "57P01", "57P02", "57P03", "53300", "40001", "40P01")
#: What libpq says, without any code, when a server refuses for good.
_REFUSALS = (
    "authentication failed",
    "does not exist",
    "no pg_hba.conf entry",
    "no password supplied",
    "is not permitted to log in",
    "permission denied",
    "could not translate host name",
    "invalid connection option",
    "invalid value for",
    "certificate",
)
#: Primary result codes of SQLite.
_SQLITE_PASSING = {5, 6, 15}  # BUSY, LOCKED, PROTOCOL
SQLITE_DAMAGED = {11, 26}  # CORRUPT, NOTADB

T = TypeVar("T")


class DamagedDatabase(InputError):
    """A SQLite file is malformed or is not an index of results; the store's own can be made anew from its folders."""


def database_url(root: Path, url: str | URL | None = None) -> URL:
    """The database of the store in ``root``: ``url``, else ``ESR1MD_DATABASE_URL``, else its own SQLite file.

    Raises
    ------
    InputError
        The URL cannot be read, or names neither SQLite nor PostgreSQL.
    """
    given = url or os.environ.get(URL_VARIABLE)
    if not given:
        return URL.create("sqlite", database=str(root / SQLITE_NAME))
    where = "the database's URL" if url else URL_VARIABLE
    try:
        parsed = make_url(given)
        name = parsed.get_backend_name()
    except (ArgumentError, ValueError):  # what they say may have the password in it
        raise InputError("is not a database URL", where=where, expected="postgresql://user@host/name") from None
    if name in ("postgresql", "postgres"):
        return parsed.set(drivername="postgresql+psycopg")
    if name == "sqlite" and parsed.database not in (None, "", ":memory:"):
        return parsed.set(drivername="sqlite")
    raise InputError(
        f"'{parsed.drivername}' is not a database that an index can be kept in",
        where=where,
        expected="postgresql://user@host/name or sqlite:////path/of/a/file",
    )


def is_server(url: URL) -> bool:
    """Whether the database is a server that several machines reach, not a file."""
    return url.get_backend_name() == "postgresql"


def sqlite_file(url: URL) -> Path | None:
    """The file of a SQLite database; ``None`` for a server."""
    return None if is_server(url) else Path(url.database)


def shown(url: URL) -> str:
    """The database as messages and records name it: without password, and without options, which may hold one."""
    if is_server(url):
        return str(URL.create("postgresql", url.username, None, url.host, url.port, url.database))
    return str(url.database)


def insert(url: URL, table: Table) -> sqlite.Insert | postgresql.Insert:
    """An insert that can say what is to become of rows that are there already: each database has its own."""
    return (postgresql if is_server(url) else sqlite).insert(table)


# -- engines -----------------------------------------------------------------------------------------------


@dataclass
class _Kept:
    engine: Engine
    identity: tuple[int, int] | None
    known: dict[str, Any] = field(default_factory=dict)
    closing: threading.Timer | None = None

    def close_when_idle(self) -> None:
        with _guard:
            if self.closing is not None:
                self.closing.cancel()
            self.closing = threading.Timer(IDLE_SECONDS, self.engine.dispose)
            self.closing.daemon = True
            self.closing.start()


_engines: dict[tuple[URL, bool], _Kept] = {}
_inherited: list[_Kept] = []  # a parent's, never used nor closed here: the sockets and file locks are the parent's
_guard = threading.RLock()


def _after_fork() -> None:
    global _guard
    _guard = threading.RLock()
    _inherited.extend(_engines.values())
    _engines.clear()


os.register_at_fork(after_in_child=_after_fork)


def engine_of(url: URL, *, brief: bool = False) -> Engine:
    """This process's engine for a database; the same one at every call.

    Parameters
    ----------
    url
        From :func:`database_url`.
    brief
        Close the connection :data:`IDLE_SECONDS` after its last use: for the many processes of a screen, which seldom
        say something and together would take all the connections that a server has.

    Raises
    ------
    InputError
        The driver of the database is not installed.
    """
    return _kept(url, brief).engine


def known_of(url: URL) -> dict[str, Any]:
    """What this process has found out about a database; empty again when its file has been replaced."""
    return _kept(url, False).known


def dispose(url: URL) -> None:
    """Close this process's idle connections to a database; the next use opens new ones."""
    with _guard:
        for key in [key for key in _engines if key[0] == url]:
            _engines.pop(key).engine.dispose()


def _kept(url: URL, brief: bool) -> _Kept:
    with _guard:
        kept, file = _engines.get((url, brief)), sqlite_file(url)
        identity = _identity(file) if file else None
        if kept is not None and file is not None and kept.identity != identity:
            if kept.identity is None and identity is not None:
                kept.identity = identity  # the file that this engine has just made
            else:  # moved away or replaced: the open connections lead to the old one
                kept.engine.dispose()
                kept = None
        if kept is None:
            kept = _engines[url, brief] = _Kept(_new_engine(url, brief), identity)
        return kept


def _identity(file: Path) -> tuple[int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _new_engine(url: URL, brief: bool) -> Engine:
    if not is_server(url):
        engine = create_engine(url, connect_args={"timeout": 2.0})
        event.listen(engine, "connect", _tune_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    # A server that vanishes without a word (a pulled cable) is noticed within a minute, not after the hours of TCP.
    options = {
        "connect_timeout": "10",
        "keepalives_idle": "20",
        "keepalives_interval": "10",
        "keepalives_count": "3",
        "tcp_user_timeout": "50000",
        "application_name": "esr1md",
    }
    options = {name: value for name, value in options.items() if name not in url.query}
    size = 1 if brief else 2
    try:
        return create_engine(url, connect_args=options, pool_size=size, max_overflow=30, pool_pre_ping=True)
    except ModuleNotFoundError:
        raise InputError(
            "PostgreSQL needs the package psycopg, which is not installed",
            where=shown(url),
            do="pip install 'esr1md[postgres]'",
        ) from None


def _tune_sqlite(connection: Any, _: Any) -> None:
    connection.isolation_level = None  # transactions begin where we say (_begin_sqlite), also before CREATE TABLE
    connection.execute("PRAGMA busy_timeout=2000")
    # WAL lets `esr1md status` read while a screen writes; FULL, because reviews cannot be made again after a power cut.
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")


def _begin_sqlite(connection: Connection) -> None:
    # Whoever reads first and writes later is refused at once, whatever the timeout, if another has written in between.
    immediate = connection.get_execution_options().get("immediate")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")


# -- transactions ------------------------------------------------------------------------------------------


def write(
    url: URL,
    do: Callable[[Connection], T],
    *,
    brief: bool = False,
    patience: float | None = None,
    doing: str = "written",
) -> T:
    """``do(connection)`` in one transaction, tried again for as long as the database cannot be reached.

    Parameters
    ----------
    url
        From :func:`database_url`.
    do
        Must do no harm when it is done twice: a connection may be lost after the commit and before its answer.
    brief
        See :func:`engine_of`.
    patience
        How long to try (s); :data:`PATIENCE_SECONDS` if not given. A warning says once that it is being waited for.
    doing
        For the message: the index "cannot be ...".

    Raises
    ------
    DamagedDatabase
        The SQLite file is malformed.
    InputError
        The database cannot be reached for ``patience`` seconds, or refuses.
    """
    patience = PATIENCE_SECONDS if patience is None else patience
    return _patiently(url, do, brief, patience, doing, immediate=True)


def read(url: URL, do: Callable[[Connection], T], *, brief: bool = False, patience: float = 0.0) -> T:
    """``do(connection)`` in one transaction that only reads; parameters and errors as those of :func:`write`."""
    return _patiently(url, do, brief, patience, "read", immediate=False)


def _patiently(
    url: URL, do: Callable[[Connection], T], brief: bool, patience: float, doing: str, *, immediate: bool
) -> T:
    began, pause, told = time.monotonic(), PAUSES[0], False
    while True:
        kept = _kept(url, brief)
        try:
            with kept.engine.connect() as connection:
                connection = connection.execution_options(immediate=immediate)
                with connection.begin():
                    return do(connection)
        except DBAPIError as error:
            left = patience - (time.monotonic() - began)
            if not _passes(error) or left <= 0:
                raise explained(error, url, doing) from error
            if not told and (is_server(url) or time.monotonic() - began > 10):  # a busy file is nothing to speak of
                told = True
                warnings.warn(
                    f"{shown(url)}: the database cannot be reached ({_said(error, url)}); trying again for "
                    f"{patience:g} s, finished results are kept meanwhile",
                    stacklevel=3,
                )
            # not all at the same instant: thousands of processes may be waiting for one server
            time.sleep(min(left, pause * random.uniform(0.5, 1.0)))
            pause = min(2 * pause, PAUSES[1])
        finally:
            if brief:
                kept.close_when_idle()


def explained(error: DBAPIError, url: URL, doing: str) -> InputError:
    """The one line that a user is told of a database's error."""
    if _sqlite_code(error) in SQLITE_DAMAGED:
        return damaged(url, _said(error, url))
    return InputError(
        f"the index of results cannot be {doing}: {_said(error, url)}",
        where=shown(url),
        do="mend the database, or free some space; finished results are kept, run again to go on",
    )


def damaged(url: URL, what: str) -> DamagedDatabase:
    """A SQLite file that is malformed, or is not an index, in one line."""
    return DamagedDatabase(
        f"the index of results is damaged or is something else ({what})",
        where=shown(url),
        expected="a database made by esr1md",
        do="'esr1md store rebuild' makes it anew from the folders and keeps the file beside it",
    )


def _passes(error: DBAPIError) -> bool:
    """Whether waiting may help."""
    code = _sqlite_code(error)
    if code is not None:
        return code in _SQLITE_PASSING
    state = getattr(error.orig, "sqlstate", None)
    if state is not None:
        return state.startswith(_PASSING_STATES)
    said = str(error.orig)
    lost = error.connection_invalidated or type(error.orig).__name__ in ("OperationalError", "ConnectionTimeout")
    return lost and not any(refusal in said for refusal in _REFUSALS)


def _sqlite_code(error: DBAPIError) -> int | None:
    code = getattr(error.orig, "sqlite_errorcode", None)
    if code is None:
        # "file is not a database" comes without a code from Python's own checks
        return 26 if "not a database" in str(error.orig) else None
    return code & 0xFF


def _said(error: DBAPIError, url: URL) -> str:
    """What the database says, on one line and without the password."""
    said = " ".join(str(error.orig).split())[:300]
    return said.replace(url.password, "***") if url.password else said
