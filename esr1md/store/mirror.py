"""Checkpoints of a running computation, mirrored to the object store, so that a lost machine costs one interval.

An unfinished folder is sent under ``unfinished/KIND/DIGEST/``. First a hard link keeps the checkpoint of this moment,
then the files beside it are sent as long as they are now, which is at least as long as the checkpoint says, then the
checkpoint, and last ``unfinished.json``, which says under which key each file is, how long it was and its SHA-256. What
grew keeps its key, since its beginning stays; anything else gets a new one, so that what was there stays whole until
the new list is. Who goes on gets exactly the files of one list; the engine cuts them back to the checkpoint's lengths.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import threading
import uuid
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from esr1md.errors import InputError
from esr1md.store.disk import remove, write_json
from esr1md.store.layout import CHECKPOINTS, check_file
from esr1md.store.manifest import hash_file, list_files
from esr1md.store.remote import Remote, Unreachable, seconds

INTERVAL_VARIABLE, INTERVAL_S = "ESR1MD_MIRROR_INTERVAL", 300.0

#: Says, in the unfinished folder itself, which list it was last mirrored as or gone on from.
LINEAGE = ".mirrored.json"
_LIST = "unfinished.json"
_CHECKPOINT = "checkpoint.npz"
_SNAPSHOT = ".mirrored-checkpoint.npz"


def unfinished_place(kind: str, digest: str) -> str:
    """Where the checkpoints of a computation are mirrored to."""
    return f"unfinished/{kind}/{digest}"


def forget(remote: Remote, place: str) -> None:
    """Remove what is mirrored of a computation that is finished, or starts anew: the list first."""
    if remote.read(f"{place}/{_LIST}") is not None:
        remote.delete([f"{place}/{_LIST}"])
        remote.delete(f"{place}/{name}" for name in remote.listing(place))


class _NotOurs(Exception):
    """Another process has taken the computation over."""


class Mirror:
    """Sends an unfinished folder every now and then, in a thread of its own.

    Parameters
    ----------
    remote
        Where to.
    kind, digest
        What is being computed.
    folder
        Where that is being done.
    still_ours
        Whether this process still is the one that computes it; asked before anything is sent.
    """

    def __init__(
        self, remote: Remote, kind: str, digest: str, folder: Path, still_ours: Callable[[], bool] = lambda: True
    ) -> None:
        self._patient = remote
        # one try for each request: whoever waits for this thread to end would wait for its patience
        self._remote = Remote(remote.url, patience_s=0.0)
        self._place, self._folder, self._still_ours = unfinished_place(kind, digest), folder, still_ours
        self._id = uuid.uuid4().hex
        self._sent: dict[str, dict[str, Any]] = {}
        self._ended, self._thread = threading.Event(), threading.Thread(target=self._run, name="mirror", daemon=True)
        self._warned = False

    def restore(self) -> bool:
        """Go on from what is there, unless what is here is at least as far; whether the folder was replaced.

        A machine that comes back finds its own lineage and keeps what it has; where another has gone on meanwhile,
        that counts.
        """
        content = self._patient.read(f"{self._place}/{_LIST}")
        if content is None:
            return False
        try:
            found = json.loads(content)
            files = {check_file(name): entry for name, entry in found["files"].items()}
            if any(self._folder.glob(CHECKPOINTS)) and _lineage(self._folder) == found["id"]:
                self._sent = files
                return False
            remove(self._folder)
            self._folder.mkdir()
            for name, entry in files.items():
                self._get(name, entry)
        except Unreachable:
            raise
        except (InputError, ValueError, KeyError, TypeError, AttributeError) as error:
            warnings.warn(
                f"the checkpoint of {self._place} in {self._remote.url} cannot be used ({error}); it is computed from "
                "the beginning", stacklevel=4,
            )  # fmt: skip
            remove(self._folder)
            self._folder.mkdir()
            forget(self._patient, self._place)
            return False
        self._sent = files
        write_json(self._folder / LINEAGE, {"id": found["id"]})
        return True

    def start(self) -> None:
        """Begin to mirror."""
        self._thread.start()

    def stop(self, *, once_more: bool = False) -> None:
        """End; with ``once_more`` the newest checkpoint is sent first, for whoever goes on."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()
        if once_more:
            self._try_to_send()
        for path in [*self._folder.rglob(_SNAPSHOT), *([] if once_more else [self._folder / LINEAGE])]:
            path.unlink(missing_ok=True)

    # -- inside ----------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        interval = seconds(INTERVAL_VARIABLE, INTERVAL_S)
        while not self._ended.wait(interval):
            self._try_to_send()

    def _try_to_send(self) -> None:
        try:
            self._send()
        except _NotOurs:
            pass  # whoever has taken it over mirrors it now
        except (InputError, OSError) as error:  # the next time, or the end of the computation, will show
            if not self._warned:
                warnings.warn(f"a checkpoint could not be mirrored: {error}", stacklevel=2)
                self._warned = True

    def _send(self) -> None:
        """One mirror image of the folder, if there is a new checkpoint in it."""
        snapshots = {}
        for checkpoint in sorted(self._folder.rglob(_CHECKPOINT)):
            snapshot = checkpoint.with_name(_SNAPSHOT)
            snapshot.unlink(missing_ok=True)
            try:
                os.link(checkpoint, snapshot)
            except FileNotFoundError:  # it is just being replaced
                return
            snapshots[checkpoint.relative_to(self._folder).as_posix()] = snapshot
        new = {name: hash_file(path) for name, path in snapshots.items()}
        if not new or all(_same(self._sent.get(name), entry) for name, entry in new.items()):
            return
        files: dict[str, dict[str, Any]] = {}
        for name in list_files(self._folder):
            if not Path(name).name.startswith(".") and not Path(name).match(CHECKPOINTS):
                files[name] = self._send_file(name, self._folder / name)
        for name, path in snapshots.items():
            files[name] = self._send_file(name, path)
        if not self._still_ours():
            return
        before = {entry["key"] for entry in self._sent.values()}
        self._remote.write(
            f"{self._place}/{_LIST}",
            json.dumps({"id": self._id, "host": socket.gethostname(), "files": files}).encode(),
        )
        self._sent = files
        write_json(self._folder / LINEAGE, {"id": self._id})
        left = before - {entry["key"] for entry in files.values()}
        self._remote.delete(f"{self._place}/{key}" for key in left)

    def _send_file(self, name: str, path: Path) -> dict[str, Any]:
        before = self._sent.get(name)
        entry, grown = _hash_grown(path, before)
        if _same(before, entry):
            return before
        key = name if before is None else before["key"] if grown else f"{name}.{entry['sha256'][:16]}"
        if not self._still_ours():
            raise _NotOurs
        self._remote.send(path, f"{self._place}/{key}")
        return {**entry, "key": key}

    def _get(self, name: str, entry: dict[str, Any]) -> None:
        path = self._folder / name
        if not self._patient.get(f"{self._place}/{check_file(entry['key'])}", path):
            raise ValueError(f"{name} is missing")
        if path.stat().st_size > entry["bytes"]:
            os.truncate(path, entry["bytes"])
        if not _same(entry, hash_file(path)):
            raise ValueError(f"{name} is damaged")


def _lineage(folder: Path) -> str | None:
    try:
        return json.loads((folder / LINEAGE).read_bytes())["id"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _same(one: dict[str, Any] | None, other: dict[str, Any]) -> bool:
    return one is not None and all(one[key] == other[key] for key in ("bytes", "sha256"))


def _hash_grown(path: Path, before: dict[str, Any] | None) -> tuple[dict[str, Any], bool]:
    """Size and SHA-256 of a file as long as it is now, and whether its beginning is the file that was sent before."""
    size = path.stat().st_size
    digest, done, grown = hashlib.sha256(), 0, False
    with open(path, "rb") as handle:
        for end in sorted({min(before["bytes"], size), size} if before else {size}):
            while block := handle.read(min(1 << 20, end - done)):
                digest.update(block)
                done += len(block)
            if before is not None and done == before["bytes"] and digest.hexdigest() == before["sha256"]:
                grown = True
    return {"bytes": done, "sha256": digest.hexdigest()}, grown
