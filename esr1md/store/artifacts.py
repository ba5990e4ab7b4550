"""Content-addressed folders: every computed thing is made once, whole, or not at all.

``STORE/KIND/DIGEST/`` is a result whose spec has that SHA-256. Such a folder comes to be only through
:meth:`Store.produce`, which keeps four promises whatever dies, and whenever it dies:

1. two processes never compute the same digest at the same time (a lock that the kernel frees on death);
2. a folder with ``done.json`` is complete and on the disk (written aside, synced, renamed, marked last);
3. a folder without ``done.json`` or ``failure.json`` is debris, and the next attempt clears it, unless it holds a
   checkpoint: then the next attempt goes on there;
4. a scientific failure is kept as ``failure.json`` and raised from there, not computed again until asked.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import socket
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from esr1md.errors import InputError, StageError
from esr1md.specs import numeric_versions

#: The kinds of folder a store holds, in the order in which they are made.
KINDS = ("receptors", "parameters", "poses", "replicas", "transfers")

DONE = "done.json"
FAILURE = "failure.json"
#: An unfinished folder that holds such a file is work to go on with, not debris.
CHECKPOINTS = "checkpoint*.npz"

#: Less free space than this after an error means that the disk was full, whatever the error said.
FULL_BYTES = 4 * 1024 * 1024

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_UNWRITABLE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.ENOENT}


@dataclass(frozen=True)
class Store:
    """A folder of results, shared safely by any number of processes on one file system.

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
        if kind not in KINDS:
            raise ValueError(f"unknown kind {kind!r}; expected one of {', '.join(KINDS)}")
        return self.root / kind / digest

    def find(self, kind: str, digest: str) -> Path | None:
        """The finished folder of ``digest``, or ``None`` when it is absent, failed or half-written."""
        folder = self.folder(kind, digest)
        return folder if (folder / DONE).is_file() else None

    def failure(self, kind: str, digest: str) -> dict[str, Any] | None:
        """The failure record of ``digest``, or ``None``; a finished result has none."""
        folder = self.folder(kind, digest)
        if (folder / DONE).is_file():
            return None
        return _read_json(folder / FAILURE)

    def done(self, kind: str) -> Iterator[Path]:
        """Finished folders of a kind, in digest order."""
        yield from (path for path in self._folders(kind) if (path / DONE).is_file())

    def failed(self, kind: str) -> Iterator[Path]:
        """Folders of a kind that hold a failure record, in digest order."""
        yield from (path for path in self._folders(kind) if (path / FAILURE).is_file() and not (path / DONE).is_file())

    def produce(
        self,
        kind: str,
        digest: str,
        make: Callable[[Path], Any],
        *,
        spec: dict[str, Any],
        retry: bool = False,
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

        Raises
        ------
        StageError
            From ``make`` or, without computing anything, from the record of an earlier failure.
        InputError
            The store cannot be written to, or its disk is full. Nothing finished is lost by either.
        """
        final = self.folder(kind, digest)
        if (final / DONE).is_file():
            return final
        if not retry:
            self._raise_recorded(final)
        with self._locked(kind, digest):
            if (final / DONE).is_file():  # another process finished it while this one waited
                return final
            if not retry:
                self._raise_recorded(final)
            temporary = self._temporary(final)
            with self._explained():
                _clear(temporary)
                _remove(final)
                temporary.mkdir(exist_ok=True)
            started = _now()
            try:
                self._make(make, temporary, final, spec, started)
            except BaseException:  # also KeyboardInterrupt: no debris is left where it can be helped
                _clear(temporary)
                raise
            with self._explained():
                failed = (temporary / FAILURE).is_file()
                _publish(temporary, final)
                if not failed:
                    try:
                        _write_json(final / DONE, self._stamp(started))
                    except OSError:
                        _remove(final)
                        raise
                    return final
        self._raise_recorded(final)
        raise AssertionError("a failure record has just been written")

    def forget(self, kind: str, digest: str) -> None:
        """Remove a result or a failure record, so that it is computed anew."""
        with self._locked(kind, digest), self._explained():
            _remove(self.folder(kind, digest))

    def sweep(self) -> int:
        """Clear what dead processes left half-written, sparing live work; returns how many folders went."""
        removed = 0
        for kind in KINDS:
            base = self.root / kind
            for path in sorted(base.iterdir()) if base.is_dir() else []:
                if path.name.startswith(".") and path.name.endswith(".tmp"):
                    digest = path.name[1:-4]
                elif path.name.startswith(".") or (path / DONE).is_file() or (path / FAILURE).is_file():
                    continue
                else:
                    digest = path.name
                with self._locked(kind, digest, wait=False) as held:
                    final = self.folder(kind, digest)
                    whole = (final / DONE).is_file() or (final / FAILURE).is_file()
                    if held and (path != final or not whole) and not _can_go_on(path):
                        _remove(path)
                        removed += 1
        return removed

    def require_writable(self, bytes_needed: int = 0) -> None:
        """Check, before any computation, that results can be kept.

        Raises
        ------
        InputError
            The folder cannot be made or written to, or the disk has less than ``bytes_needed`` free.
        """
        probe = self.root / f".probe-{os.getpid()}"
        with self._explained():
            self.root.mkdir(parents=True, exist_ok=True)
            with open(probe, "wb") as handle:
                handle.write(b"esr1md")
                handle.flush()
                os.fsync(handle.fileno())
            probe.unlink()
        free = shutil.disk_usage(self.root).free
        if free < bytes_needed:
            raise InputError(
                f"the disk has {free / 1e9:.2f} GB free and this run needs about {bytes_needed / 1e9:.2f} GB",
                where=f"store {self.root}",
                do="free some space or choose another folder with --store",
            )

    # ------------------------------------------------------------------ inside

    def _folders(self, kind: str) -> Iterator[Path]:
        base = self.folder(kind, "x").parent
        if base.is_dir():
            yield from sorted(p for p in base.iterdir() if p.is_dir() and not p.name.startswith("."))

    @staticmethod
    def _temporary(final: Path) -> Path:
        # One fixed name per digest is enough: only the holder of the digest's lock touches it.
        return final.parent / f".{final.name}.tmp"

    def _make(self, make: Callable, temporary: Path, final: Path, spec: dict, started: str) -> None:
        """Run ``make``; leave in ``temporary`` either the whole result or a failure record, synced."""
        failure = None
        try:
            make(temporary)
        except StageError as error:
            self._raise_if_full(error)
            # The caller gets paths that will exist: the temporary folder is about to take its final name.
            moved = [text.replace(str(temporary), str(final)) for text in (error.cause, error.where)]
            failure = {
                "stage": error.stage,
                "cause": moved[0],
                "where": moved[1] or str(final),
                "kind": error.kind,
                "unexpected": getattr(error, "unexpected", False),
            }
        except InputError:
            raise
        except Exception as error:
            self._raise_if_full(error)
            # Not a scientific failure but a fault (a bug, a lost GPU): kept with its traceback so that the
            # table can show it, and marked so that the next run, unlike this one, tries it again.
            with self._explained():
                (temporary / "traceback.txt").write_text(traceback.format_exc())
            failure = {
                "stage": getattr(error, "stage", None) or kind_stage(final.parent.name),
                "cause": f"{type(error).__name__}: {' '.join(str(error).split())}"[:400],
                "where": str(final / "traceback.txt"),
                "kind": "error",
                "unexpected": True,
            }
        with self._explained():
            _write_json(temporary / "spec.json", spec)
            if failure is not None:
                _write_json(temporary / FAILURE, {**failure, **self._stamp(started)})
            _sync_tree(temporary)

    def _raise_recorded(self, final: Path) -> None:
        if (final / DONE).is_file():
            return
        record = _read_json(final / FAILURE)
        if record is not None:
            error = StageError(record["stage"], record["cause"], where=record["where"], kind=record["kind"])
            # so that a replica that fails because its pose has failed says the same of itself
            error.unexpected = record["unexpected"]
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
    def _locked(self, kind: str, digest: str, *, wait: bool = True) -> Iterator[bool]:
        """Hold the digest's lock; yields ``False`` when ``wait`` is off and another process holds it.

        ``flock`` belongs to the open file, so the kernel frees it however the process ends. The lock file is
        removed by its holder; whoever then wakes on the removed file sees that the path leads to another
        file (or to none) and starts again.
        """
        path = self.root / kind / f".{digest}.lock"
        handle = None
        with self._explained():
            path.parent.mkdir(parents=True, exist_ok=True)
            while handle is None:
                candidate = open(path, "ab")
                try:
                    fcntl.flock(candidate, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
                    if _same_file(candidate, path):
                        handle = candidate
                except BlockingIOError:
                    break
                finally:
                    if handle is None:
                        candidate.close()
        try:
            yield handle is not None
        finally:
            if handle is not None:
                path.unlink(missing_ok=True)
                handle.close()

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

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn what the file system refuses into one line that says what to do."""
        try:
            yield
        except OSError as error:
            if error.errno in _FULL:
                raise self._full() from error
            if error.errno in _UNWRITABLE:
                raise InputError(
                    f"cannot write to the store ({error.strerror or error})",
                    where=f"store {self.root}",
                    expected="a folder this user can write to",
                    do="choose another with --store",
                ) from error
            raise


def kind_stage(kind: str) -> str:
    """The stage named in a table when a folder of ``kind`` failed without saying where."""
    return {"receptors": "receptor", "poses": "pose", "replicas": "dynamics"}.get(kind, kind)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _same_file(handle: Any, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle.fileno()), os.stat(path))
    except FileNotFoundError:
        return False


def _clear(temporary: Path) -> None:
    """Remove an unfinished folder unless it can be gone on with."""
    if not _can_go_on(temporary):
        _remove(temporary)


def _can_go_on(unfinished: Path) -> bool:
    return any(unfinished.glob(CHECKPOINTS))


def _remove(path: Path) -> None:
    if path.exists():
        shutil.rmtree(path)


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError):
        return None


def _write_json(path: Path, value: Any) -> None:
    """Write beside, sync, rename: a reader sees the whole record or none."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    with open(beside, "w", encoding="utf-8") as handle:
        json.dump(value, handle, indent=1, sort_keys=True)
        handle.write("\n")
        handle.flush()
        os.fsync(handle.fileno())
    os.replace(beside, path)
    _sync(path.parent)


def _publish(temporary: Path, final: Path) -> None:
    os.rename(temporary, final)
    _sync(final.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_tree(folder: Path) -> None:
    for parent, _, files in os.walk(folder):
        for name in files:
            _sync(Path(parent) / name)
        _sync(Path(parent))
