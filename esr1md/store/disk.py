"""Files of a store on its disk: written aside, synced and renamed, so that a reader sees a whole file or none."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from esr1md.errors import InputError


def read_json(path: Path) -> Any:
    """The content of a JSON file, or ``None`` when there is no such file.

    Raises
    ------
    InputError
        The file is damaged.
    """
    try:
        return json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"the file is damaged ({' '.join(str(error).split())[:120]})", where=str(path),
            do="'esr1md store verify' finds all such files, 'esr1md store repair' has them computed anew",
        ) from None  # fmt: skip


def json_bytes(value: Any) -> bytes:
    """A record as it is written: indented, keys in order."""
    return (json.dumps(value, indent=1, sort_keys=True) + "\n").encode()


def write_json(path: Path, value: Any) -> None:
    """Write a record whole or not at all."""
    write_file(path, json_bytes(value))


def write_file(path: Path, content: bytes) -> None:
    """Write beside, sync, rename."""
    with beside(path) as part:
        with open(part, "wb") as handle:
            handle.write(content)
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(part, path)
    sync(path.parent)


@contextmanager
def beside(path: Path) -> Iterator[Path]:
    """A hidden name next to a file for what is to take its place, which no other thread of any machine uses."""
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        yield part
    finally:
        part.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Have a file or folder on the disk before going on."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove(path: Path) -> None:
    """Remove a folder with all that is in it, if it is there."""
    if path.exists():
        shutil.rmtree(path)


def unwritable(root: Path, error: OSError) -> InputError:
    """What a user is told where the file system refuses to have the store in ``root`` written to."""
    return InputError(
        f"cannot write to the store ({error.strerror or error})",
        where=f"store {root}",
        expected="a folder this user can write to",
        do="choose another with --store",
    )


@contextmanager
def kernel_lock(path: Path, *, wait: bool = True) -> Iterator[bool]:
    """Hold a lock file among the processes of this file system; yields ``False`` if not ``wait`` and another has it.

    ``flock`` belongs to the open file, so the kernel frees it however the process ends. The file is removed by its
    holder; whoever then wakes on the removed file sees that the path leads to another file, or to none, and starts
    again.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = None
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


def _same_file(handle: Any, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle.fileno()), os.stat(path))
    except FileNotFoundError:
        return False
