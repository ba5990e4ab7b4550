"""What no screen of a store needs any more, and its removal.

Unused are folders that no plan leads to, what interrupted processes left, and what is in quarantine. While a screen is
unfinished its receptors, parameters and poses are not known from its replicas, so then none of those counts as unused.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from esr1md.errors import InputError
from esr1md.store.artifacts import Store
from esr1md.store.disk import sync
from esr1md.store.layout import DONE, KINDS, QUARANTINE, SCREENS, debris_of, is_digest
from esr1md.store.manifest import ending_of
from esr1md.store.plans import PLAN
from esr1md.store.quarantine import WHY, in_quarantine
from esr1md.store.references import PREPARATIONS, references, screens_of
from esr1md.store.unfinished import can_go_on
from esr1md.store.verify import nobody_in


@dataclass(frozen=True)
class Unused:
    """One folder that can go.

    Attributes
    ----------
    where
        Path in the store, or in the object store where ``there`` is true.
    bytes, days
        How much it takes, and how long ago it was last written to.
    why
        Why it is not needed.
    """

    where: str
    bytes: int
    days: float
    why: str
    there: bool = False

    def to_json(self) -> dict[str, Any]:
        return {"where": self.where, "bytes": self.bytes, "days": round(self.days, 2), "why": self.why,
                "object_store": self.there}  # fmt: skip


class Unneeded:
    """The unused folders of a store.

    Parameters
    ----------
    store
        The store.
    older_than_days
        What was written to more recently is left alone.

    Raises
    ------
    InputError
        No screen has run in the store, so that nothing tells what is needed, or a plan cannot be read.
    """

    def __init__(self, store: Store, *, older_than_days: float = 7.0) -> None:
        if not screens_of(store):
            raise InputError(
                "no screen has run in this store, so nothing tells what is needed", where=f"store {store.root}",
                expected="a store with screens",
            )  # fmt: skip
        self.store, self.older_than_days = store, older_than_days
        self._plans = self._seen_plans()
        self.needed = references(store)

    def __iter__(self) -> Iterator[Unused]:
        now = time.time()
        for kind in KINDS:
            base = self.store.root / kind
            with os.scandir(base) if base.is_dir() else nullcontext(()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False) and (why := self._why(kind, entry.name)):
                        yield from self._if_old(f"{kind}/{entry.name}", Path(entry.path), why, now)
        for path in in_quarantine(self.store.root):
            yield from self._if_old(f"{QUARANTINE}/{path.name}", path, "in quarantine", now)
        if self.store.shared is not None:
            yield from self._there(now)

    def remove(self, unused: Unused) -> bool:
        """Remove one, unless somebody works in it or a screen has come to need it; whether it is gone."""
        kind, _, name = unused.where.partition("/")
        if kind in (QUARANTINE, "unfinished"):
            if unused.there:
                remote = self.store.shared.remote
                remote.delete(f"{unused.where}/{file}" for file in remote.listing(unused.where))
            else:
                _delete(self.store.root / unused.where)
                Path(f"{self.store.root / unused.where}{WHY}").unlink(missing_ok=True)
            return True
        digest = debris_of(name) or name
        with nobody_in(self.store, self.store.root / kind / name, digest) as free:
            if not free or self._why(kind, name, again=True) is None:
                return False
            if unused.there:
                self.store.shared.forget(kind, digest)
            else:
                _delete(self.store.root / unused.where)
        return True

    # -- inside ----------------------------------------------------------------------------------------------------

    def _why(self, kind: str, name: str, *, again: bool = False) -> str | None:
        """Why a folder is not needed; ``None`` if it is. With ``again`` plans that are new are read."""
        digest = debris_of(name) or name
        if not is_digest(digest):
            return None
        if again and self._plans != (now := self._seen_plans()):
            self._plans, self.needed = now, references(self.store)
        folder = self.store.root / kind / name
        if folder.is_dir() and not can_go_on(folder) and (name.startswith(".") or ending_of(folder) is None):
            return "left by a process that was ended"
        return None if self._may_be_needed(kind, digest) else "no screen needs it"

    def _may_be_needed(self, kind: str, digest: str) -> bool:
        return (kind, digest) in self.needed or (kind in PREPARATIONS and self.needed.planned > 0)

    def _if_old(self, where: str, path: Path, why: str, now: float) -> Iterator[Unused]:
        size, newest = _measure(path)
        if (days := (now - newest) / 86400) >= self.older_than_days:
            yield Unused(where, size, days, why)

    def _there(self, now: float) -> Iterator[Unused]:
        shared = self.store.shared
        for kind in KINDS:
            for digest in sorted(shared.listed(kind)):
                if not self._may_be_needed(kind, digest):
                    yield from self._if_old_there(f"{kind}/{digest}", "no screen needs it", now)
        mirrored = {tuple(path.split("/")[:2]) for path in shared.remote.listing("unfinished")}
        for kind, digest in sorted(mirrored):
            if kind in KINDS and is_digest(digest) and (why := self._why_mirrored(kind, digest)):
                yield from self._if_old_there(f"unfinished/{kind}/{digest}", why, now)
        aside = {path.partition("/")[0] for path in shared.remote.listing(QUARANTINE)}
        for name in sorted(aside):
            yield from self._if_old_there(f"{QUARANTINE}/{name}", "in quarantine", now)

    def _why_mirrored(self, kind: str, digest: str) -> str | None:
        if self.store.has(kind, digest):
            return "a checkpoint of what is finished"
        return None if (kind, digest) in self.needed else "a checkpoint that no screen needs"

    def _if_old_there(self, where: str, why: str, now: float) -> Iterator[Unused]:
        listing = self.store.shared.remote.listing(where)
        dates = [info["modified"] for info in listing.values()]
        if dates and None not in dates and (days := (now - max(dates)) / 86400) >= self.older_than_days:
            yield Unused(where, sum(info["size"] for info in listing.values()), days, why, there=True)

    def _seen_plans(self) -> dict[str, tuple[int, int]]:
        found = {}
        for path in (self.store.root / SCREENS).glob(f"*/{PLAN}"):
            stat = path.stat()
            found[path.parent.name] = (stat.st_mtime_ns, stat.st_size)
        return found


def _measure(path: Path) -> tuple[int, float]:
    """Bytes of a file or folder, and when it was last written to."""
    if not path.is_dir():
        stat = path.stat()
        return stat.st_size, stat.st_mtime
    size, newest = 0, path.stat().st_mtime
    for parent, _, files in os.walk(path):
        for name in files:
            stat = os.lstat(os.path.join(parent, name))
            size, newest = size + stat.st_size, max(newest, stat.st_mtime)
    return size, newest


def _delete(path: Path) -> None:
    """Remove a file or folder; one that is finished first loses what says so."""
    if not path.is_dir():
        path.unlink(missing_ok=True)
        return
    (path / DONE).unlink(missing_ok=True)
    sync(path)
    shutil.rmtree(path)
