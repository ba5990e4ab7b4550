"""The index of a store: a database (:mod:`.database`) seen from one store (:mod:`.identity`).

One database may serve several stores: a group has one PostgreSQL. A digest means the same in all of them, but whether
it is done, which screens want it and what people said of it are each store's own affair, so every row has the store's
identity and every query names it. A copy of a store's folder has the same identity; to use it beside the original with
the same server, remove its ``store.json``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from sqlalchemy import URL, Connection

from esr1md.errors import InputError
from esr1md.store import database
from esr1md.store.identity import FOLDER, require_leases, store_identity
from esr1md.store.migrate import bring_to_head, database_identity

if TYPE_CHECKING:
    from esr1md.store.artifacts import Store

T = TypeVar("T")


@dataclass(frozen=True)
class Index:
    """A database, and the store whose rows are meant; it may be passed between threads and processes."""

    url: URL
    store: str

    def write(self, do: Callable[[Connection], T]) -> T:
        """``do(connection)`` in one transaction, see :func:`esr1md.store.database.write`."""
        return database.write(self.url, do)

    def read(self, do: Callable[[Connection], T]) -> T:
        """``do(connection)`` in one transaction that only reads, see :func:`esr1md.store.database.read`."""
        return database.read(self.url, do)

    def dispose(self) -> None:
        """Close this process's idle connections; they are opened again when needed."""
        database.dispose(self.url)

    def __str__(self) -> str:
        return database.shown(self.url)


def open_index(store: Store, url: str | URL | None = None) -> Index:
    """The index of a store, its tables made or brought up to date if need be.

    Opening it again in the same process costs next to nothing.

    Parameters
    ----------
    store
        Its ``store.sqlite`` is used when neither ``url`` nor ``ESR1MD_DATABASE_URL`` names a database.
    url
        ``postgresql://user@host/name`` or ``sqlite:////path/of/a/file``.

    Raises
    ------
    DamagedDatabase
        The SQLite file is malformed, or is no index.
    InputError
        The database cannot be opened, is of a newer version, or is not the one that this store's processes use.
    """
    where = database.database_url(store.root, url)
    if url is None and not store.root.is_dir():
        raise InputError("the index of results cannot be opened: there is no such store", where=f"store {store.root}")
    identity = store_identity(store.root)
    bring_to_head(where, identity.id)
    if url is None:
        require_leases(store.root, *leases_of(where))
    return Index(where, identity.id)


def leases_of(url: URL) -> tuple[str, str | None]:
    """How processes that use a database keep out of each other's way, as ``store.json`` says it."""
    return (database_identity(url), database.shown(url)) if database.is_server(url) else (FOLDER, None)
