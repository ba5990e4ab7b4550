"""One process at a time makes a digest: who may, who waits, and what happens when the owner is gone.

:func:`hold` is the one way to be the owner of a digest. Where the store is a folder with its own index, that is a lock
of the file system, which the kernel frees however the process ends. Where the index is a database server, several
machines share the store, and file locks are not to be relied on between machines: then it is a row of the database
(:mod:`.database_leases`) that its owner renews.

An owner that hangs or was suspended may find its lease taken by another, so whoever publishes asks
:meth:`Hold.still_held` first.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from esr1md.errors import Esr1mdError
from esr1md.store.disk import kernel_lock
from esr1md.store.identity import FOLDER, require_leases

if TYPE_CHECKING:
    from esr1md.store.artifacts import Store

#: A lease whose owner has not renewed it for so long is free to be taken (s); ``ESR1MD_LEASE_SECONDS`` overrides it.
LEASE_SECONDS = 60.0


class Busy(Esr1mdError):
    """Another process is making this digest, and the caller did not want to wait."""


class LeaseLost(Busy):
    """This process stood still for so long that another took its work over; what it made is not published."""


class Hold:
    """The right to make one digest, or, when it is false, that another process has it.

    Attributes
    ----------
    owner
        Names this hold in a database, and the folder that it works in; ``None`` with locks of the file system.
    predecessor
        The owner that this one has taken over from, if there was one.
    predecessor_gone
        Whether that one is known to have ended, so that it cannot be writing any more.
    by
        Who has it, where this hold is false.
    """

    owner: str | None = None
    predecessor: str | None = None
    predecessor_gone: bool = True

    def __init__(self, held: bool, by: str = "another process") -> None:
        self._held, self.by = held, by

    def __bool__(self) -> bool:
        return self._held

    def still_held(self) -> bool:
        """Whether nobody else has taken the digest over; if so, nobody can for the length of a lease from now."""
        return self._held

    def require(self) -> None:
        """Raise :class:`LeaseLost` if another has taken the digest over."""
        if not self.still_held():
            raise LeaseLost("this process stood still, or could not reach the database, for longer than its lease "
                            "lasts, and another has taken its work over; nothing was published")  # fmt: skip


def in_database() -> bool:
    """Whether leases are rows of a database server: what :func:`.database.is_server` says, without its driver."""
    return os.environ.get("ESR1MD_DATABASE_URL", "").startswith("postgres")


@contextmanager
def hold(store: Store, kind: str, digest: str, *, wait: bool = True) -> Iterator[Hold]:
    """Be the only process that makes ``digest``; yields a :class:`Hold`, false where another has it.

    Parameters
    ----------
    store, kind, digest
        What is to be made.
    wait
        Wait for the process that has it, or take over from one that is gone; if not, yield a false hold at once.

    Raises
    ------
    InputError
        The database cannot be reached, or other processes of this store use other leases.
    OSError
        The lock's file cannot be made.
    """
    if in_database():
        from esr1md.store.database_leases import leased  # here: a store of one machine needs no database driver

        with leased(store, kind, digest, wait=wait) as held:
            yield held
    else:
        require_leases(store.root, FOLDER)
        with kernel_lock(store.root / kind / f".{digest}.lock", wait=wait) as held:
            yield Hold(held)
