"""Finished folders of a store that is kept in an object store, and their copies in a local working folder.

An object ``KIND/DIGEST/FILE`` is a file of a folder. Its ending (``done.json`` or ``failure.json``) is sent last and
says which files belong to it, with their checksums, so that a folder that was sent in part is never taken for done.
``index/KIND/DIGEST.done`` is empty: a listing of those answers for a whole screen in one request per thousand.
"""

from __future__ import annotations

import json
import os
import threading
import time
import uuid
import warnings
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from esr1md.errors import InputError
from esr1md.store.disk import remove, write_file
from esr1md.store.incoming import Damaged, accept, incoming
from esr1md.store.layout import DONE, ENDINGS, FAILURE, KINDS, QUARANTINE, STATES, check_digest, is_digest
from esr1md.store.manifest import Files, files_of, hash_file, read_ending, sync_and_hash
from esr1md.store.mirror import forget as forget_unfinished
from esr1md.store.mirror import unfinished_place
from esr1md.store.remote import Remote, Unreachable
from esr1md.store.threads import together

#: A listing answers for so long (s) that a folder is not there; that it is done it answers for ever.
LISTING_S = 30.0
#: Questions of a kind in that time that are asked one by one before a listing is got.
SINGLE_QUESTIONS = 4
#: Above so many folders a listing is got in parts, so that its answer fits into memory.
LARGE = 10_000

_opened: dict[tuple[int, Path, str], SharedFolders] = {}


def shared_folders(root: Path, url: str) -> SharedFolders:
    """What this process knows of an object store and a working folder of it; the same object at every call."""
    return _opened.setdefault((os.getpid(), root, url), SharedFolders(Remote(url), root))


class SharedFolders:
    """What others have published, and the way of one's own there.

    Parameters
    ----------
    remote
        Where the store is kept.
    root
        The local working folder.
    """

    def __init__(self, remote: Remote, root: Path) -> None:
        self.remote, self.root = remote, root
        self._guard = threading.Lock()
        self._known: dict[str, dict[str, str]] = {kind: {} for kind in KINDS}
        self._listed: dict[str, float] = {}
        self._failures: dict[str, dict[str, Any]] = {kind: {} for kind in KINDS}
        self._asked: dict[str, list[float]] = defaultdict(list)

    # -- what is there ---------------------------------------------------------------------------------------------

    def state(self, kind: str, digest: str, *, now: bool = False) -> str | None:
        """``done``, ``failed`` or ``None``, as of the last seconds; with ``now`` as of this instant.

        Raises
        ------
        Unreachable
            Nothing is known of the kind yet, or ``now`` was asked for.
        """
        known, moment = self._known[kind], time.monotonic()
        with self._guard:
            if known.get(digest) == "done":
                return "done"
            if not now and moment - self._listed.get(kind, -LISTING_S) < LISTING_S:
                return known.get(digest)
            recent = [at for at in self._asked[kind] if moment - at < LISTING_S]
            self._asked[kind] = [*recent, moment]
            single = now or len(recent) < SINGLE_QUESTIONS
        if single:
            return self._ask(kind, digest)
        return self.listed(kind).get(digest)

    def listed(self, kind: str) -> dict[str, str]:
        """``done`` or ``failed`` by digest, of every folder of a kind; at most :data:`LISTING_S` old."""
        with self._guard:
            if time.monotonic() - self._listed.get(kind, -LISTING_S) < LISTING_S:
                return self._known[kind]
            try:
                found: dict[str, str] = {}
                for name in self._index_names(kind):
                    digest, _, state = name.rpartition(".")
                    if is_digest(digest) and found.get(digest) != "done":
                        found[digest] = state
            except Unreachable as error:
                if kind not in self._listed:
                    raise
                warnings.warn(f"{error}; what was known before counts", stacklevel=3)
                found = self._known[kind]
            self._known[kind], self._listed[kind] = found, time.monotonic()
            return found

    def record(self, kind: str, digest: str, ending: str) -> dict[str, Any] | None:
        """The content of ``done.json`` or ``failure.json`` of a folder there."""
        content = self.remote.read(f"{kind}/{digest}/{ending}")
        return None if content is None else self._parsed(content, f"{kind}/{digest}/{ending}")

    def files(self, kind: str, digest: str, ending: str) -> Files | None:
        """The manifest of a folder there; ``None`` when there is no such folder, ``Damaged`` if it cannot be used."""
        name = f"{kind}/{digest}/{ending}"
        content = self.remote.read(name)
        return None if content is None else self._parsed_files(content, name)

    def failure(self, kind: str, digest: str) -> dict[str, Any] | None:
        """The failure record of a folder there."""
        if digest not in self._failures[kind]:
            self._failures[kind][digest] = self.record(kind, digest, FAILURE)
        return self._failures[kind][digest]

    # -- from there to here ----------------------------------------------------------------------------------------

    def fetch(self, kind: str, digest: str) -> Path | None:
        """The local copy of a folder there, whole and checked, got if need be; ``None`` when there is none.

        Raises
        ------
        Damaged
            An object is missing or not as it was sent.
        """
        final = self.root / kind / check_digest(digest)
        final.parent.mkdir(parents=True, exist_ok=True)
        with incoming(final) as beside:
            for attempt in (1, 2):
                if (final / DONE).is_file():  # another process got it while this one waited
                    return final
                ending, content = self._ending(kind, digest)
                if ending is None:
                    return None
                try:
                    files = self._parsed_files(content, f"{kind}/{digest}/{ending}")
                    self.gather(kind, digest, files, beside)
                    accept(beside, final, ending, content, files, self.remote.url)
                    return final
                except Damaged as error:
                    if attempt == 2:
                        raise Damaged(
                            error.what, where=error.where,
                            do=f"'esr1md store repair {kind}/{digest}' mends it, or has it computed anew",
                        ) from None  # fmt: skip
        raise AssertionError("the loop returns or raises")

    def gather(self, kind: str, digest: str, files: Files, to: Path) -> None:
        """Get the files of a folder there; raises ``Damaged`` where one is missing."""
        rows = [(f"{kind}/{digest}/{name}", to / name) for name in files]
        for (name, _), there in zip(rows, together(self.remote.get, rows), strict=True):
            if not there:
                raise Damaged(f"{name} is missing", where=self.remote.url)

    def glance(self, kind: str, digest: str, names: Sequence[str]) -> Path | None:
        """A local folder with some files of a finished folder there, each checked, without the others.

        Raises
        ------
        Damaged
            One of them is missing or not as it was sent.
        """
        folder = self.root / "partial" / kind / check_digest(digest)
        if not (folder / DONE).is_file():
            content = self.remote.read(f"{kind}/{digest}/{DONE}")
            if content is None:
                return None
            self._parsed_files(content, f"{kind}/{digest}/{DONE}")
            folder.mkdir(parents=True, exist_ok=True)
            write_file(folder / DONE, content)
        files = self._parsed_files((folder / DONE).read_bytes(), f"{kind}/{digest}/{DONE}")
        for name in names:
            if name not in files or (folder / name).is_file():
                continue
            beside = folder / f".{name.replace('/', '-')}.{os.getpid()}.{threading.get_ident()}"
            there = self.remote.get(f"{kind}/{digest}/{name}", beside)
            if not there or hash_file(beside) != files[name]:
                beside.unlink(missing_ok=True)
                if self.remote.read(f"{kind}/{digest}/{DONE}") != (folder / DONE).read_bytes():
                    remove(folder)  # it was computed anew since this machine looked
                    return self.glance(kind, digest, names)
                raise Damaged(
                    f"{kind}/{digest}/{name} is {'not as it was sent' if there else 'missing'}", where=self.remote.url,
                    do=f"'esr1md store repair {kind}/{digest}' mends it, or has it computed anew",
                )  # fmt: skip
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            beside.replace(folder / name)
        return folder

    # -- from here to there ----------------------------------------------------------------------------------------

    def note_unsent(self, kind: str, digest: str) -> None:
        """Remember, on the disk, that a folder is to be sent: written before the folder is finished."""
        note = self._note(kind, digest)
        note.parent.mkdir(parents=True, exist_ok=True)
        write_file(note, b"")

    def unsent(self) -> Iterator[tuple[str, str]]:
        """Kind and digest of what is finished here and was not sent yet."""
        for note in sorted((self.root / "unsent").glob("*.*")):
            kind, _, digest = note.name.partition(".")
            if kind in KINDS and is_digest(digest):
                yield kind, digest

    def publish(self, kind: str, digest: str) -> None:
        """Send a finished folder, its ending last. One that is finished there stays as it is, and becomes ours.

        Raises
        ------
        Unreachable
            It stays here and is remembered as not sent.
        Damaged
            A file here is not as it was written.
        """
        final = self.root / kind / check_digest(digest)
        found = read_ending(final)
        if found is not None:
            ending, record = found
            files = files_of(record, str(final / ending))
            if files is None:  # an older version wrote none
                files = sync_and_hash(final)
                record = {**record, "files": files}
            there = self.record(kind, digest, DONE)
            if there is None:
                self._send(kind, digest, ending, record, files)
            elif there.get("files") != files:
                self._take_theirs(kind, digest, final)
            self._known[kind][digest] = "done" if there is not None else STATES[ending]
            forget_unfinished(self.remote, unfinished_place(kind, digest))
        self._note(kind, digest).unlink(missing_ok=True)

    def require_writable(self) -> None:
        """Put an object there and take it away again; raises ``Unreachable`` where that is not allowed."""
        name = f"probe/{uuid.uuid4().hex}"
        self.remote.write(name, b"esr1md")
        self.remote.delete([name])

    def forget(self, kind: str, digest: str) -> None:
        """Remove a folder there: what says that it is finished first."""
        self.unindex(kind, digest)
        place = f"{kind}/{digest}"
        self.remote.delete(f"{place}/{name}" for name in self.remote.listing(place))

    def quarantine(self, kind: str, digest: str) -> str:
        """Move a folder there aside, so that it is computed anew; where to."""
        place = f"{kind}/{check_digest(digest)}"
        to = f"{QUARANTINE}/{kind}-{digest}.{time.time_ns():x}"
        for ending in ENDINGS:
            self.remote.move(f"{place}/{ending}", f"{to}/{ending}")
        self.unindex(kind, digest)
        for name in self.remote.listing(place):
            self.remote.move(f"{place}/{name}", f"{to}/{name}")
        return to

    def reindex(self, kind: str, digest: str) -> str | None:
        """Put a folder there in the list, or take it out, as it is; its state."""
        state = self._ask(kind, check_digest(digest))
        for other in STATES.values():
            name = f"index/{kind}/{digest}.{other}"
            if other == state:
                self.remote.write(name, b"")
            else:
                self.remote.delete([name])
        return state

    def unindex(self, kind: str, digest: str) -> None:
        """Take back that a folder there is finished; its files stay."""
        place = f"{kind}/{check_digest(digest)}"
        self.remote.delete(f"index/{place}.{state}" for state in STATES.values())
        self.remote.delete(f"{place}/{ending}" for ending in ENDINGS)
        self._known[kind].pop(digest, None)
        self._failures[kind].pop(digest, None)

    # -- inside ----------------------------------------------------------------------------------------------------

    def _ending(self, kind: str, digest: str) -> tuple[str, bytes] | tuple[None, None]:
        """Name and content of the record that ends a folder there."""
        for ending in ENDINGS:
            if (content := self.remote.read(f"{kind}/{digest}/{ending}")) is not None:
                return ending, content
        return None, None

    def _ask(self, kind: str, digest: str) -> str | None:
        ending, _ = self._ending(kind, digest)
        if ending is None:
            self._known[kind].pop(digest, None)
            return None
        self._known[kind][digest] = STATES[ending]
        return STATES[ending]

    def _index_names(self, kind: str) -> Iterator[str]:
        folder = f"index/{kind}"
        some = self.remote.listing(folder, "0")
        if 16 * len(some) < LARGE:
            yield from self.remote.listing(folder)
            return
        yield from some
        del some
        for first in "123456789abcdef":
            yield from self.remote.listing(folder, first)

    def _send(self, kind: str, digest: str, ending: str, record: dict[str, Any], files: Files) -> None:
        final, place = self.root / kind / digest, f"{kind}/{digest}"

        def send(name: str) -> None:
            if hash_file(final / name) != files[name]:
                raise Damaged(
                    f"{place}/{name} has another content than when it was written", where=f"store {self.root}",
                    do="'esr1md store repair' moves it aside to be computed anew",
                )  # fmt: skip
            self.remote.send(final / name, f"{place}/{name}")

        self.remote.delete([f"{place}/{FAILURE}"])  # it speaks of files that are about to be replaced
        self._failures[kind].pop(digest, None)
        for _ in together(send, [(name,) for name in files]):
            pass
        self.remote.write(f"{place}/{ending}", json.dumps(record, sort_keys=True).encode())
        self.remote.write(f"index/{place}.{STATES[ending]}", b"")
        if ending == DONE:
            self.remote.delete([f"index/{place}.failed"])

    def _take_theirs(self, kind: str, digest: str, final: Path) -> None:
        """Two machines have computed the same: the first that was published is the store's."""
        from esr1md.store.quarantine import move_to_quarantine

        aside = move_to_quarantine(self.root, final, "another machine had published this result first")
        try:
            self.fetch(kind, digest)
        except BaseException:  # the next run settles it
            aside.rename(final)
            raise

    def _note(self, kind: str, digest: str) -> Path:
        return self.root / "unsent" / f"{kind}.{digest}"

    def _parsed(self, content: bytes, name: str) -> dict[str, Any]:
        try:
            record = json.loads(content)
        except (ValueError, RecursionError):
            record = None
        if not isinstance(record, dict):
            raise Damaged(f"{name} is damaged: it holds no record", where=self.remote.url)
        return record

    def _parsed_files(self, content: bytes, name: str) -> Files:
        record = self._parsed(content, name)
        try:
            files = files_of(record, f"{self.remote.url}/{name}")
        except InputError as error:
            raise Damaged(error.what, where=error.where) from None
        if files is None:
            raise Damaged(f"{name} is damaged: it lists no files", where=self.remote.url)
        return files
