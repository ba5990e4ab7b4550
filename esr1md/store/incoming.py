"""A finished folder from elsewhere (an object store, a bundle, another store) put in its place, whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from esr1md.errors import InputError
from esr1md.store.disk import kernel_lock, remove, sync, write_file
from esr1md.store.layout import DONE, FAILURE
from esr1md.store.manifest import Files, spec_problem, sync_and_hash


class Damaged(InputError):
    """A folder from elsewhere is not as its own list of files says."""


@contextmanager
def incoming(final: Path, *, wait: bool = True) -> Iterator[Path | None]:
    """An empty folder beside ``final`` to gather its files in, cleared when it is left.

    Only one process at a time has it; ``None`` where another does and ``wait`` is off.
    """
    beside = final.with_name(f".{final.name}.incoming")
    with incoming_lock(final, wait=wait) as held:
        if not held:
            yield None
            return
        remove(beside)
        beside.mkdir()
        try:
            yield beside
        finally:
            remove(beside)


def incoming_lock(final: Path, *, wait: bool) -> AbstractContextManager[bool]:
    """What :func:`incoming` holds while files come for ``final``."""
    return kernel_lock(final.with_name(f".{final.name}.incoming-lock"), wait=wait)


def clear_incoming(left: Path, digest: str) -> bool:
    """Remove what a process that was ended has left of a folder that was coming; whether it did."""
    with incoming_lock(left.with_name(digest), wait=False) as held:
        if held and left.is_dir():
            remove(left)
            return True
    return False


def accept(beside: Path, final: Path, ending: str, record: bytes, files: Files | None, origin: str) -> None:
    """Check what :func:`incoming` has gathered and put it in the place of ``final``.

    A finished folder is never replaced; a failure record gives way to a result.

    Parameters
    ----------
    ending, record
        ``done.json`` or ``failure.json``, and its bytes as they are elsewhere.
    files
        Its manifest; ``None`` for a folder of an older version, of which only ``spec.json`` can be checked.
    origin
        Where the folder is from, for messages.

    Raises
    ------
    Damaged
        A file is missing or not as the manifest says.
    """
    found = sync_and_hash(beside)
    wrong = next(differences_of(found, files), None) if files is not None else None
    problem = f"{wrong[0]} {wrong[1]}" if wrong else spec_problem(beside, final.name)
    if problem:
        raise Damaged(f"{final.parent.name}/{final.name} is damaged: {problem}", where=origin)
    write_file(beside / ending, record)
    if (final / DONE).is_file() or (ending == FAILURE and (final / FAILURE).is_file()):
        return
    replaced = final.with_name(f".{final.name}.replaced")
    remove(replaced)
    if final.exists():
        os.rename(final, replaced)
    os.rename(beside, final)
    sync(final.parent)
    remove(replaced)


def differences_of(found: Files, files: Files) -> Iterator[tuple[str, str]]:
    """As :func:`~esr1md.store.manifest.differences`, of what has been read already."""
    for name, expected in files.items():
        if name not in found:
            yield name, "is missing"
        elif found[name] != {"bytes": expected["bytes"], "sha256": expected["sha256"]}:
            yield name, "has another content than when it was written"
    for name in found.keys() - files.keys():
        yield name, "was not there when the folder was finished"
