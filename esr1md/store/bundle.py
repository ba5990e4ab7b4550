"""A screen in one file that can be sent to a colleague and merged: ``esr1md store export``.

A plain tar, the same bytes for the same content: ``esr1md-bundle.json`` (what it is), then every folder (its ending
first, so that whoever reads it knows what belongs to it), then ``screens/NAME/``, ``reviews.jsonl`` and, last,
``esr1md-bundle-end.json`` with the checksums of what is in no folder.
"""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from esr1md import __version__
from esr1md.errors import InputError
from esr1md.specs import digest_of
from esr1md.store.artifacts import Store
from esr1md.store.disk import json_bytes, sync
from esr1md.store.layout import SCREENS
from esr1md.store.manifest import Files, files_of, hash_bytes, list_files, read_ending, sync_and_hash
from esr1md.store.references import plan_of, planned_in, references, screens_of

HEAD, END, REVIEWS = "esr1md-bundle.json", "esr1md-bundle-end.json", "reviews.jsonl"
FORMAT = 1


@dataclass
class Exported:
    """What is in a bundle: folders by kind, their bytes, replicas of the plans that are not in it."""

    screens: list[str]
    folders: dict[str, int] = field(default_factory=dict)
    bytes: int = 0
    unfinished: int = 0
    unlisted: int = 0
    reviews: int = 0

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def fingerprint(plan: dict[str, Any]) -> str:
    """What makes two plans of one name the same screen: replicas, transfers, and how they are judged."""
    config = plan.get("config", {})
    return digest_of(
        {
            **{kind: sorted(set(digests)) for kind, digests in planned_in(plan).items()},
            "reference_ligand": plan.get("reference_ligand"),
            "thresholds": config.get("thresholds"),
            "weights": config.get("weights"),
        }
    )


def export(
    store: Store, screens: list[str] | None, out: Path, *, report: Callable[[str], None] = lambda said: None
) -> Exported:
    """Write a bundle of some screens, or of all, with every folder that they are made of.

    Parameters
    ----------
    screens
        Names; every screen of the store if none are given.
    out
        The file, which must not be there yet; it appears when it is whole.

    Raises
    ------
    InputError
        No such screen, a damaged folder, or a file that cannot be written.
    """
    names = sorted(set(screens or screens_of(store)))
    if not names:
        raise InputError("no screen has run in this store", where=f"store {store.root}")
    plans = {name: plan_of(store, name) for name in names}
    if out.exists():
        raise InputError(f"'{out}' is there already", do="remove it, or choose another name with --out")
    beside = out.with_name(f".{out.name}.{os.getpid()}")
    done = Exported(names)
    try:
        with open(beside, "wb") as handle:
            with tarfile.open(fileobj=handle, mode="w", format=tarfile.PAX_FORMAT) as tar:
                head = {
                    "format": FORMAT,
                    "esr1md": __version__,
                    "screens": {n: fingerprint(p) for n, p in plans.items()},
                }
                _add(tar, HEAD, json_bytes(head))
                _add_folders(tar, store, names, done, report)
                _add_the_rest(tar, store, names, done)
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(beside, out)
        sync(out.parent)
    except OSError as error:
        raise InputError(
            f"'{out}' cannot be written ({error.strerror})", do="free some space or choose another name"
        ) from error
    finally:
        beside.unlink(missing_ok=True)
    return done


def _add_folders(
    tar: tarfile.TarFile, store: Store, names: list[str], done: Exported, report: Callable[[str], None]
) -> None:
    needed = references(store, names)
    for kind, digest in needed:
        if store.find(kind, digest) is None and store.failure(kind, digest) is None:
            done.unfinished += kind in ("replicas", "transfers")
            continue
        folder = store.folder(kind, digest)
        if not folder.is_dir() and store.shared is not None:
            store.shared.fetch(kind, digest)
        ending, record, files = _listed(folder, done)
        done.bytes += _add(tar, f"{kind}/{digest}/{ending}", record)
        for name, entry in files.items():
            with open(folder / name, "rb") as handle:
                done.bytes += _copy(tar, f"{kind}/{digest}/{name}", handle, entry)
        done.folders[kind] = done.folders.get(kind, 0) + 1
        report(f"{sum(done.folders.values())} folders, {done.bytes / 1e6:.0f} MB")


def _listed(folder: Path, done: Exported) -> tuple[str, bytes, Files]:
    """Name, content and manifest of a folder's ending; of an older version's the manifest is made now."""
    found = read_ending(folder)
    if found is None:
        raise InputError("has been removed meanwhile", where=str(folder), do="export again")
    name, record = found
    files = files_of(record, str(folder / name))
    if files is not None:
        return name, (folder / name).read_bytes(), files
    done.unlisted += 1
    files = sync_and_hash(folder)
    return name, json_bytes({**record, "files": files, "listed_by": "esr1md store export"}), files


def _add_the_rest(tar: tarfile.TarFile, store: Store, names: list[str], done: Exported) -> None:
    """Screens and reviews, and the end with their checksums."""
    files: Files = {}

    def add(name: str, content: bytes) -> None:
        done.bytes += _add(tar, name, content)
        files[name] = hash_bytes(content)

    for name in names:
        for file, content in screen_files(store, name):
            add(file, content)
    lines = list(_reviews(store, names))
    if lines:
        add(REVIEWS, "".join(f"{line}\n" for line in lines).encode())
        done.reviews = len(lines)
    _add(tar, END, json_bytes({"folders": done.folders, "files": files}))


def screen_files(store: Store, screen: str) -> Iterator[tuple[str, bytes]]:
    """Place in the store and content of every file of ``screens/NAME/`` that is not hidden."""
    folder = store.root / SCREENS / screen
    for file in list_files(folder):
        if not any(part.startswith(".") for part in file.split("/")):
            yield f"{SCREENS}/{screen}/{file}", (folder / file).read_bytes()


def _reviews(store: Store, names: list[str]) -> Iterator[str]:
    from esr1md.store import database

    file = database.sqlite_file(database.database_url(store.root))
    if file is not None and not file.is_file():
        return
    from esr1md.store.records import open_index
    from esr1md.store.reviews import export_lines

    index = open_index(store)
    for name in names:
        yield from export_lines(index, name)


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> int:
    tar.addfile(_member(name, len(content)), io.BytesIO(content))
    return len(content)


def _copy(tar: tarfile.TarFile, name: str, handle: BinaryIO, entry: dict[str, Any]) -> int:
    reader = _HashingReader(handle)
    try:
        tar.addfile(_member(name, entry["bytes"]), reader)
    except OSError as error:
        if error.errno is not None:
            raise
        wrong = True  # tarfile says so of a file that ends before it should
    else:
        wrong = bool(handle.read(1)) or reader.digest.hexdigest() != entry["sha256"]
    if wrong:
        raise InputError(
            f"{name} has another content than when it was written",
            do="'esr1md store verify' finds what is damaged, 'esr1md store repair' has it computed anew",
        )  # fmt: skip
    return entry["bytes"]


def _member(name: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)  # owner, group and time are the same for everybody
    member.size, member.mode = size, 0o644
    return member


class _HashingReader:
    def __init__(self, handle: BinaryIO) -> None:
        self._handle, self.digest = handle, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        block = self._handle.read(size)
        self.digest.update(block)
        return block
