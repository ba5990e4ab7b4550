"""Leases in a database server, for a store that several machines share.

A row says which process makes a digest. Its owner raises ``beat`` every few seconds, through a process of its own
(:mod:`.heartbeat`). Whoever wants the digest meanwhile watches the row: a beat that it has seen unchanged for the
lease's ``seconds`` *on its own monotonic clock* is that of an owner that is gone, hangs or was suspended, and an update
that names the owner and the beat as they were seen gives the row to exactly one of those who watch. No two machines'
clocks are ever compared, and no clock that can be set is read.

Time in which the database cannot be asked does not count, so that an owner that could not renew its lease while the
server was down keeps it.
"""

from __future__ import annotations

import os
import socket
import time
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import URL, Connection, select
from sqlalchemy.dialects.postgresql import insert

from esr1md.errors import InputError
from esr1md.store.database import PATIENCE_SECONDS, database_url, shown, write
from esr1md.store.heartbeat import DEAD, renewed
from esr1md.store.identity import require_leases, store_identity
from esr1md.store.leases import LEASE_SECONDS, Hold
from esr1md.store.migrate import bring_to_head, database_identity
from esr1md.store.processes import has_ended, process_identity
from esr1md.store.tables import leases

if TYPE_CHECKING:
    from esr1md.store.artifacts import Store

#: For how long a database that is away is waited for when a finished result is to be published (s): what is given up
#: then is the whole computation.
PUBLISHING_SECONDS = 3600.0
#: Pauses between two looks at another's lease (s): a quarter of what has been waited, within these.
LOOKS = (0.1, 10.0)


def lease_seconds() -> float:
    """For how long this process's leases are good after each renewal (s).

    Raises
    ------
    InputError
        ``ESR1MD_LEASE_SECONDS`` is not a number of at least 1.
    """
    given = os.environ.get("ESR1MD_LEASE_SECONDS")
    try:
        seconds = float(given) if given else LEASE_SECONDS
    except ValueError:
        seconds = 0.0
    if not 1 <= seconds <= 86400:
        raise InputError(f"'{given}' is not a time for leases", where="ESR1MD_LEASE_SECONDS", expected="1 to 86400 s")
    return seconds


@dataclass(frozen=True)
class _Key:
    url: URL
    store: str
    kind: str
    digest: str

    def matches(self) -> Any:
        return (leases.c.store == self.store) & (leases.c.kind == self.kind) & (leases.c.digest == self.digest)

    def __str__(self) -> str:
        return f"{self.kind}/{self.digest}"


class _Lease(Hold):
    def __init__(self, key: _Key, owner: str, predecessor: str | None, predecessor_gone: bool) -> None:
        super().__init__(True)
        self._key, self.owner = key, owner
        self.predecessor, self.predecessor_gone = predecessor, predecessor_gone

    def still_held(self) -> bool:
        mine = self._key.matches() & (leases.c.owner == self.owner)
        renewal = leases.update().where(mine).values(beat=leases.c.beat + 1)
        return write(self._key.url, lambda c: c.execute(renewal).rowcount == 1, brief=True, patience=PUBLISHING_SECONDS)

    def release(self) -> None:
        mine = self._key.matches() & (leases.c.owner == self.owner)
        try:
            write(self._key.url, lambda c: c.execute(leases.delete().where(mine)), brief=True)
        except InputError as error:
            warnings.warn(f"the lease of {self._key} could not be given back, it ends by itself ({error})",
                          stacklevel=2)  # fmt: skip


@contextmanager
def leased(store: Store, kind: str, digest: str, *, wait: bool) -> Iterator[Hold]:
    """See :func:`esr1md.store.leases.hold`."""
    url = database_url(store.root)
    bring_to_head(url, store_identity(store.root).id, brief=True, patience=PATIENCE_SECONDS)
    identity = require_leases(store.root, database_identity(url), shown(url))
    key, owner = _Key(url, identity.id, kind, digest), uuid.uuid4().hex
    seconds = lease_seconds()
    lease = _take(key, owner, seconds, wait)
    if not isinstance(lease, _Lease):
        yield lease
        return
    try:
        with renewed(url, owner, seconds):
            yield lease
    finally:
        lease.release()


#: What calls that do not wait have seen of each lease: its row, for how long (s) unchanged, and when they looked last.
_glimpsed: dict[_Key, tuple[dict[str, Any], float, float]] = {}


def _take(key: _Key, owner: str, seconds: float, wait: bool) -> Hold:
    began = looked = time.monotonic()
    pause, seen, unchanged = LOOKS[0], None, 0.0
    if not wait and key in _glimpsed:
        seen, unchanged, looked = _glimpsed.pop(key)
    while True:
        stale = seen if seen is not None and unchanged >= seen["seconds"] else None
        found = write(key.url, lambda c, stale=stale: _try(c, key, owner, seconds, stale), brief=True)
        if isinstance(found, _Lease):
            return found
        now = time.monotonic()
        if found is not None:
            same = seen is not None and (found["owner"], found["beat"]) == (seen["owner"], seen["beat"])
            # a look that took longer than it should have (the database was away) says nothing of the time between
            most = 2 * pause if wait else found["seconds"] / 3
            unchanged = unchanged + min(now - looked, most) if same else 0.0
            if not wait:
                _glimpsed[key] = found, unchanged, now
                return Hold(False, by=f"process {found['pid']} of {found['host']}")
            pause = min(max((now - began) / 4, LOOKS[0]), LOOKS[1], found["seconds"] / 6)
            seen = found
            time.sleep(pause)
        looked = now


def _try(connection: Connection, key: _Key, owner: str, seconds: float, stale: Any) -> _Lease | Any:
    """The lease; or the row of who has it; or ``None`` when it has just been given back."""
    mine = {
        "owner": owner,
        "seconds": seconds,
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "process": process_identity(os.getpid()),
        "taken_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    found = connection.execute(select(leases).where(key.matches())).mappings().first()
    if found is None:
        new = insert(leases).values(store=key.store, kind=key.kind, digest=key.digest, beat=0, **mine)
        taken = connection.execute(new.on_conflict_do_nothing()).rowcount == 1
        return _Lease(key, owner, None, True) if taken else None
    if found["owner"] == owner:  # taken by the try before this one, whose answer was lost
        return _Lease(key, owner, None, True)
    gone = found["beat"] == DEAD or has_ended(found["pid"], found["process"])
    if gone or (stale and (found["owner"], found["beat"]) == (stale["owner"], stale["beat"])):
        as_seen = key.matches() & (leases.c.owner == found["owner"]) & (leases.c.beat == found["beat"])
        if connection.execute(leases.update().where(as_seen).values(beat=0, **mine)).rowcount == 1:
            return _Lease(key, owner, found["owner"], gone)
        return None
    return dict(found)
