"""The log of a replica: ``log.jsonl`` in its folder, one event a line, of every attempt to compute it.

The record says what the result is made of; the log says what happened on the way, also to a replica that failed, and
what a kill undid. Nothing is computed from it. Each line is one write to the end of the file that crosses no page of
it, so that a process that is killed leaves whole lines; an attempt that goes on from a checkpoint goes on in the same
file.
``docs/monitoring.md`` has every event with its fields.
"""

from __future__ import annotations

import json
import os
import socket
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from esr1md.errors import InputError, StageError, StoppedEarly

LOG = "log.jsonl"
#: Bytes that the kernel writes without looking whether the process is to be killed; pages of other sizes are multiples.
PAGE = 4096


class ReplicaLog:
    """An open log; written to by one process at a time, which holds the replica's lock.

    Parameters
    ----------
    folder
        Where the replica is computed now.
    final
        Where the folder will be: paths in the log are those that its reader finds.

    Attributes
    ----------
    attempt
        1, or one more for each attempt that began in this file before.
    """

    def __init__(self, folder: Path, final: Path | None = None) -> None:
        self._folder, self._final = str(folder), str(final or folder)
        path = folder / LOG
        earlier = _whole_lines(path)
        self.attempt = 1 + sum(json.loads(line)["event"] == "begun" for line in earlier)
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)

    def __call__(self, event: str, **fields: Any) -> None:
        """Write an event; a disk that refuses it ends the log, not the replica, and a warning says so."""
        if self._file is None:
            return
        line = json.dumps(
            {
                "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
                "monotonic_s": round(time.monotonic(), 3),
                "event": event,
                **fields,
            },
            default=str,
            ensure_ascii=False,
        ).replace(self._folder, self._final)
        try:
            os.write(self._file, self._in_one_page(line.encode() + b"\n"))
        except OSError as error:
            self.close()
            warnings.warn(f"the log of this replica cannot be written any more: {error.strerror}", stacklevel=2)

    def _in_one_page(self, line: bytes) -> bytes:
        """With spaces before it up to the next page if it does not fit into this one: a kill can come between two."""
        room = PAGE - os.fstat(self._file).st_size % PAGE
        return b" " * room + line if room < len(line) <= PAGE else line

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


@contextmanager
def replica_log(folder: Path, final: Path, **about: Any) -> Iterator[ReplicaLog]:
    """A log for as long as the body runs: begun with ``about``, ended with how the body ended.

    Python's warnings meanwhile are in it as well as where they would go anyway.
    """
    log = ReplicaLog(folder, final)
    log("begun", attempt=log.attempt, pid=os.getpid(), host=socket.gethostname(), **about)
    began = time.monotonic()
    try:
        with _warnings_noted(log):
            yield log
        log("done", seconds=round(time.monotonic() - began, 3))
    except BaseException as error:
        log(**_ending(error), seconds=round(time.monotonic() - began, 3))
        raise
    finally:
        log.close()


def read_log(folder: Path) -> list[dict[str, Any]]:
    """The events of a replica in their order; none where it has no log.

    A line that its writer has not finished yet is left out.
    """
    return [json.loads(line) for line in _lines(folder / LOG)[0]]


def _ending(error: BaseException) -> dict[str, Any]:
    """The event that an exception is."""
    if isinstance(error, StoppedEarly):
        return {"event": "stopped", "why": str(error)}
    if isinstance(error, StageError):
        return {"event": "failed", "stage": error.stage, "cause": error.cause, "where": error.where, "kind": error.kind}
    if isinstance(error, InputError):
        return {"event": "failed", "stage": getattr(error, "stage", ""), "cause": str(error), "kind": "input"}
    if isinstance(error, Exception):
        cause = f"{type(error).__name__}: {' '.join(str(error).split())}"
        return {"event": "failed", "stage": getattr(error, "stage", ""), "cause": cause, "kind": "error"}
    return {"event": "interrupted", "by": type(error).__name__}


@contextmanager
def _warnings_noted(log: ReplicaLog) -> Iterator[None]:
    with warnings.catch_warnings():  # also lets a warning that an earlier replica gave be given again
        shown = warnings.showwarning

        def note(message: Warning | str, category: type[Warning], filename: str, lineno: int, *rest: Any) -> None:
            log("warning", message=str(message), category=category.__name__, source=f"{Path(filename).name}:{lineno}")
            shown(message, category, filename, lineno, *rest)

        warnings.showwarning = note
        yield


def _lines(path: Path) -> tuple[list[bytes], int]:
    """Whole lines of a log, and how many bytes they are."""
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return [], 0
    whole = text.rfind(b"\n") + 1
    return text[:whole].splitlines(), whole


def _whole_lines(path: Path) -> list[bytes]:
    """The same, after cutting off what a crash of the machine or a full disk left of a last line."""
    lines, whole = _lines(path)
    if path.is_file() and path.stat().st_size > whole:
        os.truncate(path, whole)
    return lines
