"""Content-addressed folders: every computed thing is made once, whole, or not at all.

``STORE/KIND/DIGEST/`` is a result whose spec has that SHA-256. Such a folder comes to be only through
:meth:`Store.produce`, which keeps four promises whatever dies, and whenever it dies:

1. two processes never compute the same digest at the same time (:mod:`.leases`, freed by their owner's death);
2. a folder with ``done.json`` is complete and on the disk (written aside, synced, renamed, marked last);
3. a folder without ``done.json`` or ``failure.json`` is debris, and the next attempt clears it, unless it holds a
   checkpoint: then the next attempt goes on there;
4. a scientific failure is kept as ``failure.json`` and raised from there, not computed again until asked.
"""

from __future__ import annotations

import errno
import os
import shutil
import socket
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from esr1md.errors import InputError, StageError, StoppedEarly
from esr1md.specs import numeric_versions
from esr1md.store import unfinished
from esr1md.store.disk import kernel_lock, read_json, remove, sync, unwritable, write_json
from esr1md.store.incoming import clear_incoming
from esr1md.store.layout import (
    CHECKPOINTS,
    COMING,
    DONE,
    FAILURE,
    KINDS,
    SPEC,
    check_digest,
    check_kind,
    debris_of,
    is_digest,
)
from esr1md.store.leases import Busy, Hold, LeaseLost, hold
from esr1md.store.manifest import Files, ending_of, sync_and_hash
from esr1md.store.threads import together
from esr1md.store.unfinished import can_go_on

if TYPE_CHECKING:
    from esr1md.store.shared import SharedFolders

__all__ = ["CHECKPOINTS", "DONE", "FAILURE", "KINDS", "Busy", "LeaseLost", "Store"]

#: How a record names the store's own folder.
IN_STORE = "STORE"

#: What every failure record says.
_SAID = ("stage", "cause", "where", "kind")

#: Less free space than this after an error means that the disk was full, whatever the error said.
FULL_BYTES = 4 * 1024 * 1024

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_UNWRITABLE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.ENOENT}


@dataclass(frozen=True)
class Store:
    """A folder of results, shared safely by any number of processes.

    It may be the working folder of an object store (:func:`esr1md.store.location.open_store`): then what it holds is
    sent there, and what others have sent is got when it is asked for.

    Parameters
    ----------
    root
        The store's folder; made when the first result is. Read-only calls never create anything.
    """

    root: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "root", Path(self.root).expanduser().absolute())

    def folder(self, kind: str, digest: str) -> Path:
        """Where the result of ``digest`` is, or would be."""
        return self.root / check_kind(kind) / check_digest(digest)

    @cached_property
    def shared(self) -> SharedFolders | None:
        """The object store that this folder is the working folder of; ``None`` where the folder is the store."""
        from esr1md.store.location import remote_url

        if (url := remote_url(self.root)) is None:
            return None
        from esr1md.store.shared import shared_folders

        return shared_folders(self.root, url)

    def __reduce__(self) -> tuple:
        return (Store, (self.root,))

    def has(self, kind: str, digest: str) -> bool:
        """Whether ``digest`` is finished; unlike :meth:`find` it gets nothing from an object store."""
        done = (self.folder(kind, digest) / DONE).is_file()
        return done or (self.shared is not None and self.shared.state(kind, digest) == "done")

    def find(self, kind: str, digest: str) -> Path | None:
        """The finished folder of ``digest``, or ``None`` when it is absent, failed or half-written.

        Raises
        ------
        InputError
            The object store that it is in does not answer, or its copy there is damaged.
        """
        folder = self.folder(kind, digest)
        if (folder / DONE).is_file():
            return folder
        if self.shared is not None and self.shared.state(kind, digest) == "done":
            with self.explained():
                return self.shared.fetch(kind, digest)
        return None

    def glance(self, kind: str, digests: Iterable[str], names: Sequence[str]) -> Iterator[tuple[str, Path | None]]:
        """Each digest in turn, and a folder that has at least some small files of its result; ``None`` if unfinished.

        What :meth:`find` returns where the result is here. Of what is only in an object store no more than those files
        is got, of several results at once: the trajectories of a large screen stay where they are.

        Parameters
        ----------
        names
            Files wanted, such as ``summary.json``; those that a result does not have are left out.

        Raises
        ------
        InputError
            As :meth:`find`.
        """

        def look(digest: str) -> tuple[str, Path | None]:
            folder = self.folder(kind, digest)
            if (folder / DONE).is_file():
                return digest, folder
            if self.shared is None or self.shared.state(kind, digest) != "done":
                return digest, None
            with self.explained():
                return digest, self.shared.glance(kind, digest, names)

        if self.shared is None:
            yield from map(look, digests)
        else:
            yield from together(look, ((digest,) for digest in digests))

    def failure(self, kind: str, digest: str) -> dict[str, Any] | None:
        """The failure record of ``digest``, or ``None``; a finished result has none."""
        folder = self.folder(kind, digest)
        if (folder / DONE).is_file():
            return None
        if self.shared is None:
            return failure_record(folder)
        state = self.shared.state(kind, digest)
        if state != "done" and (record := failure_record(folder)) is not None:
            return record
        return _located(self.shared.failure(kind, digest), folder) if state == "failed" else None

    def done(self, kind: str) -> Iterator[Path]:
        """Finished folders of a kind, in digest order."""
        for digest in self._digests(kind):
            if (folder := self.find(kind, digest)) is not None:
                yield folder

    def failed(self, kind: str) -> Iterator[Path]:
        """Folders of a kind that hold a failure record, in digest order."""
        for digest in self._digests(kind):
            folder = self.folder(kind, digest)
            if not self.has(kind, digest) and self.failure(kind, digest) is not None:
                yield folder if self.shared is None else self.shared.fetch(kind, digest) or folder

    def states(self, kind: str) -> dict[str, str]:
        """``done`` or ``failed`` by digest, of every folder of a kind that is either.

        One listing and a look into each folder that is there: for a screen of a million replicas, of which few are,
        that is far less than a question for each.
        """
        found = {} if self.shared is None else dict(self.shared.listed(kind))
        base = self.root / check_kind(kind)
        for digest in filter(is_digest, os.listdir(base) if base.is_dir() else ()):
            if (base / digest / DONE).is_file():
                found[digest] = "done"
            elif (base / digest / FAILURE).is_file():
                found.setdefault(digest, "failed")
        return found

    def produce(
        self,
        kind: str,
        digest: str,
        make: Callable[[Path], Any],
        *,
        spec: dict[str, Any],
        retry: bool = False,
        wait: bool = True,
    ) -> Path:
        """The finished folder of ``digest``; made by ``make(temporary_folder)`` if it does not exist yet.

        Parameters
        ----------
        kind, digest
            One of :data:`KINDS` and the SHA-256 of ``spec``.
        make
            Writes the result into the folder it is given, which is empty or holds what an interrupted call left
            beside a checkpoint; what it returns is not used.
        spec
            What ``digest`` is the digest of; kept as ``spec.json`` beside the result.
        retry
            Compute again what an earlier call recorded as failed.
        wait
            Wait for another process that is making it.

        Raises
        ------
        StageError
            From ``make`` or, without computing anything, from the record of an earlier failure.
        Busy
            Another process is making it, and ``wait`` is off.
        LeaseLost
            Another process took it over because this one stood still for too long; nothing was published.
        InputError
            The store cannot be written to, or its disk is full. Nothing finished is lost by either.
        """
        final = self.folder(kind, digest)
        if (found := self.find(kind, digest)) is not None:
            return found
        if not retry:
            self._raise_recorded(final)
        with self._locked(kind, digest, wait=wait) as held:
            if not held:
                raise Busy(f"{kind}/{digest} is being made by {held.by}")
            if (found := self._find_now(final)) is not None:  # another process finished it while this one waited
                return found
            if not retry:
                self._raise_recorded(final)
            with self.explained():
                temporary = unfinished.begin(final, held)
                remove(final)
            started = _now()
            try:
                files = self._make(make, temporary, final, spec, started, held)
                held.require()
            except BaseException as error:  # also KeyboardInterrupt: no debris is left where it can be helped
                unfinished.leave(temporary, final)
                if isinstance(error, Exception):  # what a lost lease has led to is not the computation's fault
                    held.require()
                raise
            with self.explained():
                failed = (temporary / FAILURE).is_file()
                if self.shared is not None:
                    self.shared.note_unsent(kind, digest)
                if not _publish(temporary, final):
                    return final
                if not failed:
                    try:
                        write_json(final / DONE, {**self._stamp(started), "files": files})
                    except OSError:
                        remove(final)
                        raise
                self.send(kind, digest)
                if not failed:
                    return final
        self._raise_recorded(final)
        raise AssertionError("a failure record has just been written")

    def forget(self, kind: str, digest: str) -> None:
        """Remove a result or a failure record, so that it is computed anew."""
        with self._locked(kind, digest), self.explained():
            if self.shared is not None:
                self.shared.forget(kind, digest)
            remove(self.folder(kind, digest))

    def send(self, kind: str, digest: str) -> bool:
        """Publish a folder to the object store as well, if there is one; whether that is reachable."""
        if self.shared is None:
            return True
        from esr1md.store.remote import Unreachable

        try:
            self.shared.publish(kind, digest)
            return True
        except Unreachable as error:
            warnings.warn(
                f"{error}; {kind}/{digest} stays in {self.root} and is sent by the next run or "
                "'esr1md store repair'", stacklevel=3,
            )  # fmt: skip
            return False

    def send_folder(self, folder: str, name: str) -> None:
        """Share ``screens/NAME`` or ``explore/NAME`` as it is now; does nothing where the folder is the store."""
        if self.shared is None:
            return
        from esr1md.store.remote import Unreachable
        from esr1md.store.shared_screens import send_folder

        try:
            send_folder(self.shared.remote, self.root, folder, name)
        except Unreachable as error:
            warnings.warn(f"{error}; {folder}/{name} stays in {self.root} and is sent by the next run", stacklevel=2)

    def sweep(self) -> int:
        """Clear what dead processes left half-written, sparing live work; returns how many folders went.

        What could not be sent to an object store before is sent.
        """
        removed = 0
        for kind in KINDS:
            base = self.root / kind
            for path in sorted(base.iterdir()) if base.is_dir() else []:
                removed += self._clear(kind, path)
        for kind, digest in self.shared.unsent() if self.shared is not None else ():
            with self._locked(kind, digest, wait=False) as held:
                if held and not self.send(kind, digest):
                    break
        return removed

    def require_writable(self, bytes_needed: int = 0) -> None:
        """Check, before any computation, that results can be kept.

        Raises
        ------
        InputError
            The folder, or the object store, cannot be written to, or the disk has less than ``bytes_needed`` free.
        """
        probe = self.root / f".probe-{os.getpid()}"
        with self.explained():
            self.root.mkdir(parents=True, exist_ok=True)
            with open(probe, "wb") as handle:
                handle.write(b"esr1md")
                handle.flush()
                os.fsync(handle.fileno())
            probe.unlink()
        if self.shared is not None:
            self.shared.require_writable()
        free = shutil.disk_usage(self.root).free
        if free < bytes_needed:
            raise InputError(
                f"the disk has {free / 1e9:.2f} GB free and this run needs about {bytes_needed / 1e9:.2f} GB",
                where=f"store {self.root}",
                do="free some space or choose another folder with --store",
            )

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Turn what the file system refuses into one line that says what to do."""
        try:
            yield
        except OSError as error:
            if error.errno in _FULL:
                raise self._full() from error
            if error.errno in _UNWRITABLE:
                raise unwritable(self.root, error) from error
            raise

    # ------------------------------------------------------------------ inside

    def _digests(self, kind: str) -> list[str]:
        base = self.root / check_kind(kind)
        here = {name for name in os.listdir(base) if is_digest(name)} if base.is_dir() else set()
        return sorted(here if self.shared is None else here | self.shared.listed(kind).keys())

    def _find_now(self, final: Path) -> Path | None:
        """As :meth:`find`, for the holder of the digest's lock: an object store is asked again."""
        if self.shared is not None and not (final / DONE).is_file():
            if self.shared.state(final.parent.name, final.name, now=True) is None:
                return None
        return self.find(final.parent.name, final.name)

    def _clear(self, kind: str, path: Path) -> bool:
        """Remove an entry of a kind's folder if it is of no use to anybody; whether it was a folder, and is gone."""
        if path.name.startswith(".") and path.name.endswith(("-lock", ".lock")):
            with kernel_lock(path, wait=False):
                return False  # one that nobody holds goes as it is let go
        digest = debris_of(path.name) or path.name
        final = self.root / kind / digest
        if not is_digest(digest) or (path == final and ending_of(final) is not None):
            return False
        if path.suffix in COMING:
            return clear_incoming(path, digest)
        with self._locked(kind, digest, wait=False) as held:
            finished_meanwhile = path == final and ending_of(final) is not None
            useless = self.has(kind, digest) or not can_go_on(path)
            if not held or finished_meanwhile or not useless:
                return False
            remove(path)
        return True

    @contextmanager
    def _mirrored(self, final: Path, temporary: Path, held: Hold) -> Iterator[None]:
        """Go on from what another machine has left of a computation, and leave the same for others meanwhile."""
        if self.shared is None:
            yield
            return
        from esr1md.store.mirror import Mirror

        mirror = Mirror(self.shared.remote, final.parent.name, final.name, temporary, held.still_held)
        with self.explained():
            mirror.restore()
        mirror.start()
        try:
            yield
        except BaseException as error:
            recorded = isinstance(error, Exception) and not isinstance(error, (InputError, StoppedEarly))
            mirror.stop(once_more=not recorded)
            raise
        mirror.stop()

    def _make(self, make: Callable, temporary: Path, final: Path, spec: dict, started: str, held: Hold) -> Files:
        """Run ``make``; leave in ``temporary`` either the whole result or a failure record, synced; its manifest."""
        failure = None
        try:
            with self._mirrored(final, temporary, held):
                make(temporary)
        except StageError as error:
            self._raise_if_full(error)
            # The caller gets paths that will exist: the temporary folder is about to take its final name.
            moved = [text.replace(str(temporary), str(final)) for text in (error.cause, error.where)]
            failure = {
                "stage": error.stage,
                "cause": moved[0],
                "where": self._portable(moved[1] or str(final)),
                "kind": error.kind,
                "unexpected": getattr(error, "unexpected", False),
            }
        except (InputError, StoppedEarly, Busy):
            raise
        except Exception as error:
            self._raise_if_full(error)
            # Not a scientific failure but a fault (a bug, a lost GPU): kept with its traceback so that the
            # table can show it, and marked so that the next run, unlike this one, tries it again.
            with self.explained():
                (temporary / "traceback.txt").write_text(traceback.format_exc())
            failure = {
                "stage": getattr(error, "stage", None) or kind_stage(final.parent.name),
                "cause": f"{type(error).__name__}: {' '.join(str(error).split())}"[:400],
                "where": self._portable(str(final / "traceback.txt")),
                "kind": "error",
                "unexpected": True,
            }
        with self.explained():
            write_json(temporary / SPEC, spec)
            files = sync_and_hash(temporary)
            if failure is not None:
                write_json(temporary / FAILURE, {**failure, **self._stamp(started), "files": files})
        return files

    def _portable(self, where: str) -> str:
        """A path in the store as a record keeps it: it holds on any machine, and after a merge."""
        return where.replace(str(self.root), IN_STORE, 1) if where.startswith(f"{self.root}/") else where

    def _raise_recorded(self, final: Path) -> None:
        record = self.failure(final.parent.name, final.name)
        if record is not None:
            if self.shared is not None and not (final / FAILURE).is_file():
                with self.explained():  # so that what the record speaks of can be looked at
                    self.shared.fetch(final.parent.name, final.name)
            error = StageError(record["stage"], record["cause"], where=record["where"], kind=record["kind"])
            # so that a replica that fails because its pose has failed says the same of itself
            error.unexpected = record.get("unexpected", False)
            raise error

    @staticmethod
    def _stamp(started: str) -> dict[str, Any]:
        return {
            "started": started,
            "finished": _now(),
            "host": socket.gethostname(),
            "versions": numeric_versions(),
        }

    @contextmanager
    def _locked(self, kind: str, digest: str, *, wait: bool = True) -> Iterator[Hold]:
        """See :func:`esr1md.store.leases.hold`; what the file system refuses is explained."""
        with ExitStack() as stack:
            with self.explained():
                held = stack.enter_context(hold(self, kind, digest, wait=wait))
            yield held

    def _raise_if_full(self, error: BaseException) -> None:
        # C++ writers say "write failed" where Python says ENOSPC, so the disk itself is asked as well.
        seen: BaseException | None = error
        while seen is not None:
            if isinstance(seen, OSError) and seen.errno in _FULL:
                raise self._full() from error
            seen = seen.__cause__ or seen.__context__
        if shutil.disk_usage(self.root).free < FULL_BYTES:
            raise self._full() from error

    def _full(self) -> InputError:
        return InputError(
            "the disk is full (or a quota or file size limit is reached)",
            where=f"store {self.root}",
            do="finished results are kept: free some space or choose another --store, and run again",
        )


def failure_record(folder: Path) -> dict[str, Any] | None:
    """What ``failure.json`` of a folder says, with the paths of this machine; ``None`` when there is none.

    Raises
    ------
    InputError
        It is damaged.
    """
    return _located(read_json(folder / FAILURE), folder)


def _located(record: Any, folder: Path) -> dict[str, Any] | None:
    if record is None:
        return None
    if not isinstance(record, dict) or not all(isinstance(record.get(name), str) for name in _SAID):
        raise InputError("the file is damaged (it says no failure)", where=str(folder / FAILURE),
                         do="'esr1md store repair' has it computed anew")  # fmt: skip
    if record["where"].startswith(f"{IN_STORE}/"):
        return {**record, "where": record["where"].replace(IN_STORE, str(folder.parents[1]), 1)}
    return record


def kind_stage(kind: str) -> str:
    """The stage named in a table when a folder of ``kind`` failed without saying where."""
    return {"receptors": "receptor", "poses": "pose", "replicas": "dynamics"}.get(kind, kind)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _publish(temporary: Path, final: Path) -> bool:
    """Put a whole folder in its place; ``False`` where an owner that was late in losing its lease has done so first."""
    try:
        os.rename(temporary, final)
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
            raise
        if (final / DONE).is_file():
            remove(temporary)
            return False
        remove(final)
        os.rename(temporary, final)
    sync(final.parent)
    return True
