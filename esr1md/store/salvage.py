"""What becomes of a damaged index: the file is kept, and what can still be read of its reviews is carried over."""

from __future__ import annotations

import json
import sqlite3
import warnings
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import URL

from esr1md.errors import InputError
from esr1md.store import database

#: What belongs to a SQLite database besides its file.
_BESIDE = ("-wal", "-shm", "-journal")


def set_aside(url: URL) -> list[dict[str, Any]] | None:
    """Move a damaged SQLite file to ``NAME.damaged-TIME``, and return the reviews that can be read there.

    ``None``, and nothing is moved, where the file is sound or there is none. Warnings tell what was moved, and which
    reviews could not be read.
    """
    file = database.sqlite_file(url)
    if file is None or not file.is_file() or (what := _damage(file)) is None:
        return None
    database.dispose(url)
    aside = file.with_name(f"{file.name}.damaged-{datetime.now(UTC):%Y%m%dT%H%M%S%f}")
    for end in _BESIDE:  # first: they belong to the file only under its name
        beside = file.with_name(file.name + end)
        if beside.exists():
            beside.rename(aside.with_name(aside.name + end))
    file.rename(aside)
    warnings.warn(f"{file} is damaged or is something else ({what}); it was kept as {aside.name} and is made anew",
                  stacklevel=3)  # fmt: skip
    return read_reviews(aside)


def read_reviews(file: Path) -> list[dict[str, Any]]:
    """Rows of the reviews in a SQLite file, as many as can be read; a warning tells what could not.

    What they follow is a list, as in the table, unless that is damaged.
    """
    rows: dict[int, dict[str, Any]] = {}
    lost: str | None = None
    try:
        with closing(_open(file)) as connection:
            if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'reviews'").fetchone():
                return []
            # from both ends, so that a damaged page in the middle costs what is on it
            for order in ("ASC", "DESC"):
                try:
                    for row in connection.execute(f"SELECT rowid AS number, * FROM reviews ORDER BY rowid {order}"):
                        rows[row["number"]] = _as_in_table(row)
                except sqlite3.DatabaseError as error:
                    lost = str(error)
                else:
                    break
    except sqlite3.DatabaseError as error:
        lost = str(error)
    if lost is not None:
        warnings.warn(f"{file}: {len(rows)} reviews could be read and are kept; others, if there were any, could not "
                      f"({lost})", stacklevel=4)  # fmt: skip
    return [rows[number] for number in sorted(rows)]


def _as_in_table(row: sqlite3.Row) -> dict[str, Any]:
    values = {name: row[name] for name in row.keys() if name != "number"}
    with suppress(KeyError, ValueError, TypeError):
        values["follows"] = json.loads(values["follows"])
    return values


def _damage(file: Path) -> str | None:
    """What is wrong with a SQLite file; ``None`` if it is an index, and sound."""
    try:
        with closing(_open(file)) as connection:
            found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            if found != "ok":
                return " ".join(found.split())[:200]
            tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode & 0xFF not in database.SQLITE_DAMAGED:
            raise InputError(f"the index of results cannot be read: {error}", where=str(file)) from error
        return str(error)
    strange = tables and not tables & {"replicas", "alembic_version"}
    return f"it has the tables {', '.join(sorted(tables)[:5])}" if strange else None


def _open(file: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(file, timeout=30)
    connection.row_factory = sqlite3.Row
    return connection
