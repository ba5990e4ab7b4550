"""What tells a store from any other, and where its leases are: ``STORE/store.json``.

A store's ``id`` is made once and goes with its folder: it is the same from every machine, wherever the folder is
mounted. A database that serves several stores tells their rows apart by it.

``leases`` says how processes keep out of each other's way (:mod:`.leases`): ``folder``, by locks of the file system, or
the identity of the database that they take leases in. A process that would do otherwise is refused: it would not see
the others.
"""

from __future__ import annotations

import json
import os
import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from esr1md.errors import InputError
from esr1md.store.disk import unwritable, write_json
from esr1md.store.layout import SQLITE_NAME

FILE = "store.json"
#: Locks of the file system, not leases of a database.
FOLDER = "folder"


@dataclass(frozen=True)
class Identity:
    """A store's ``id``, where its ``leases`` are, and how that ``database`` was last named."""

    id: str
    leases: str | None = None
    database: str | None = None


def store_identity(root: Path) -> Identity:
    """Who the store in ``root`` is; it is given an identity if it has none yet.

    Raises
    ------
    InputError
        ``store.json`` cannot be read, or cannot be written.
    """
    return _read(root) or _written(root, Identity(_id_in_index(root) or uuid.uuid4().hex))


def require_leases(root: Path, leases: str, database: str | None = None) -> Identity:
    """The store's identity, once it is certain that all its processes keep out of each other's way by ``leases``.

    Parameters
    ----------
    root
        The store's folder.
    leases
        :data:`FOLDER`, or the identity of a database.
    database
        What a message calls that database; no password.

    Raises
    ------
    InputError
        Other processes of this store use other leases.
    """
    identity = store_identity(root)
    if identity.leases is None:
        set_leases(root, leases, database)
        identity = store_identity(root)  # what was written last, if another process was doing the same
    if identity.leases != leases:
        other = "locks in its folder" if identity.leases == FOLDER else f"leases in the database {identity.database}"
        raise InputError(
            f"the processes of this store keep out of each other's way by {other}, and this one was started "
            + (f"with the database {database}" if database else "without that database"),
            where=f"store {root}",
            expected="ESR1MD_DATABASE_URL unset" if identity.leases == FOLDER else "ESR1MD_DATABASE_URL to name it",
            do="or, while nothing runs on this store, 'esr1md store rebuild' to move its index here",
        )
    return identity


def set_leases(root: Path, leases: str, database: str | None = None) -> Identity:
    """Say how the processes of the store keep out of each other's way from now on; parameters as above."""
    identity = Identity(store_identity(root).id, leases, database)
    with _explained(root):
        write_json(root / FILE, _document(identity))
    return identity


def _read(root: Path) -> Identity | None:
    path = root / FILE
    try:
        found = json.loads(path.read_text())
        return Identity(found["id"], found.get("leases"), found.get("database"))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError("is damaged", where=str(path), do="remove it and run 'esr1md store rebuild'") from None


def _written(root: Path, identity: Identity) -> Identity:
    """``identity``, or that which another process has given the store meanwhile."""
    beside = root / f".{FILE}.{uuid.uuid4().hex}"
    with _explained(root):
        root.mkdir(parents=True, exist_ok=True)
        write_json(beside, _document(identity))
        try:
            os.link(beside, root / FILE)  # fails if there is one: exactly one process succeeds
        except FileExistsError:
            pass
        finally:
            beside.unlink()
    return _read(root)


def _document(identity: Identity) -> dict[str, str]:
    return {name: value for name, value in asdict(identity).items() if value is not None}


def _id_in_index(root: Path) -> str | None:
    """The identity that the rows of the store's own index have, where ``store.json`` has been lost."""
    index = root / SQLITE_NAME
    if not index.is_file():
        return None
    query = " UNION ".join(f"SELECT store FROM {table}" for table in ("replicas", "screen_replicas", "reviews"))
    with suppress(sqlite3.Error), closing(sqlite3.connect(f"{index.as_uri()}?mode=ro", uri=True)) as connection:
        found = connection.execute(f"{query} LIMIT 2").fetchall()
        if len(found) == 1:
            return found[0][0]
    return None


@contextmanager
def _explained(root: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise unwritable(root, error) from error
