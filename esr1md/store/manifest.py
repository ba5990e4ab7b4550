"""Which files a finished folder has, with size and SHA-256, so that damage can be found.

The list is the entry ``files`` of the record that ends the folder (``done.json``, or ``failure.json``):
``{"summary.json": {"bytes": 812, "sha256": "..."}, ...}``. Folders of older versions have none.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from esr1md.errors import InputError
from esr1md.specs import digest_of
from esr1md.store.disk import read_json, sync
from esr1md.store.layout import ENDINGS, SPEC, check_file, is_digest

#: ``{"bytes": ..., "sha256": ...}`` by file name.
Files = dict[str, dict[str, Any]]

_CHUNK = 1 << 20


def hash_file(path: Path) -> dict[str, Any]:
    """Size and SHA-256 of a file."""
    digest, size = hashlib.sha256(), 0
    with open(path, "rb") as handle:
        while block := handle.read(_CHUNK):
            digest.update(block)
            size += len(block)
    return {"bytes": size, "sha256": digest.hexdigest()}


def hash_bytes(content: bytes) -> dict[str, Any]:
    """As :func:`hash_file`, of what is in memory."""
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def list_files(folder: Path) -> Iterator[str]:
    """Names of the regular files of a folder and those below it, but its endings, in order."""
    for parent, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted(files):
            path = Path(parent, name)
            relative = path.relative_to(folder).as_posix()
            if relative not in ENDINGS and path.is_file() and not path.is_symlink():
                yield relative


def sync_and_hash(folder: Path) -> Files:
    """Have every file of a folder on the disk, and say what it holds."""
    files: Files = {}
    for name in list_files(folder):
        files[name] = hash_file(folder / name)
        sync(folder / name)
    for parent, _, _ in os.walk(folder):
        sync(Path(parent))
    return files


def ending_of(folder: Path) -> str | None:
    """Name of the record that ends a folder; ``None`` for a folder that is neither done nor failed."""
    return next((name for name in ENDINGS if (folder / name).is_file()), None)


def read_ending(folder: Path) -> tuple[str, dict[str, Any]] | None:
    """Name and content of the record that ends a folder; ``None`` for a folder that is neither done nor failed.

    Raises
    ------
    InputError
        The record is damaged.
    """
    for name in ENDINGS:
        record = read_json(folder / name)
        if record is not None:
            if not isinstance(record, dict):
                raise InputError("the file is damaged (it holds no record)", where=str(folder / name))
            return name, record
    return None


def files_of(record: dict[str, Any], where: str) -> Files | None:
    """The manifest in an ending record; ``None`` where an older version wrote none.

    Raises
    ------
    InputError
        It is damaged, or names a file outside of the folder.
    """
    files = record.get("files")
    if files is None:
        return None
    try:
        for name, entry in files.items():
            check_file(name, where)
            if (
                name in ENDINGS
                or not is_digest(entry["sha256"])
                or type(entry["bytes"]) is not int
                or entry["bytes"] < 0
            ):
                raise ValueError(name)
    except (AttributeError, KeyError, TypeError, ValueError):
        raise InputError("the list of files is damaged", where=where) from None
    return files


def differences(folder: Path, files: Files, *, quick: bool = False) -> Iterator[tuple[str, str]]:
    """What is not as the manifest says: file name and what is wrong with it.

    Parameters
    ----------
    quick
        Compare sizes only, without reading the files.
    """
    for name, expected in files.items():
        path = folder / name
        try:
            size = path.stat().st_size
        except (FileNotFoundError, NotADirectoryError):
            yield name, "is missing"
            continue
        if size != expected["bytes"]:
            yield name, f"has {size} bytes instead of {expected['bytes']}"
        elif not quick and hash_file(path)["sha256"] != expected["sha256"]:
            yield name, "has another content than when it was written"
    for name in list_files(folder):
        if name not in files:
            yield name, "was not there when the folder was finished"


def spec_problem(folder: Path, digest: str) -> str | None:
    """What is wrong with ``spec.json``, whose digest must be the folder's name; ``None`` if nothing is."""
    try:
        spec = read_json(folder / SPEC)
    except InputError as error:
        return f"{SPEC}: {error.what}"
    if spec is None:
        return f"{SPEC} is missing"
    try:
        found = digest_of(spec)
    except ValueError:
        return f"{SPEC} holds numbers that no spec has"
    return None if found == digest else f"{SPEC} is of {found[:10]}, not of this folder"
