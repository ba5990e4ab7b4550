"""Where a store can be merged from: another store's folder, an object store, or a bundle (a tar file).

Each is read as one stream of folders and then of loose files. Nothing in it is trusted: a name that leads out of its
folder, a link or a device ends the merge by name.
"""

from __future__ import annotations

import json
import shutil
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from esr1md.errors import InputError
from esr1md.store.artifacts import Store
from esr1md.store.bundle import END, FORMAT, HEAD, REVIEWS, fingerprint, screen_files
from esr1md.store.incoming import Damaged
from esr1md.store.layout import ENDINGS, KINDS, SCREENS, SQLITE_NAME, check_file, check_screen, is_digest
from esr1md.store.manifest import Files, ending_of, files_of, hash_bytes, list_files
from esr1md.store.plans import PLAN
from esr1md.store.references import plan_of, screens_of
from esr1md.store.remote import Remote, is_url
from esr1md.store.salvage import read_reviews
from esr1md.store.shared import SharedFolders

#: Records and loose files are read into memory; none of ours is larger (bytes).
LARGEST_RECORD = 1 << 30
_BUNDLES = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2", ".tar.zst")


@dataclass(frozen=True)
class Offered:
    """A finished folder that a source has.

    Attributes
    ----------
    kind, digest
        Which.
    ending, record
        ``done.json`` or ``failure.json``, and its bytes.
    files
        Its manifest; ``None`` if an older version wrote none.
    gather
        Writes its files into a folder.
    """

    kind: str
    digest: str
    ending: str
    record: bytes
    files: Files | None
    gather: Callable[[Path], None]


class Source:
    """Something to merge from: ``screens`` are fingerprints of plans by name."""

    name: str
    screens: dict[str, str]

    def folders(self, broken: Callable[[str, str], None]) -> Iterator[Offered]:
        """Every finished folder; of one whose record is damaged ``broken`` is told the place and why."""
        raise NotImplementedError

    def loose(self) -> Iterator[tuple[str, bytes]]:
        """Files of the screens (``screens/NAME/...``) and ``reviews.jsonl``, once all folders have been seen.

        None of them counts before the last one came: only then is it known whether they are whole.
        """
        raise NotImplementedError


@contextmanager
def open_source(location: str) -> Iterator[Source]:
    """A source by path or URL.

    Raises
    ------
    InputError
        There is nothing, or it is neither a store nor a bundle.
    """
    if is_url(location):
        if location.partition("?")[0].endswith(_BUNDLES):
            with _open_url(location) as handle:
                yield _Bundle(location.partition("?")[0], handle)
        else:
            yield _Bucket(Remote(location))
        return
    path = Path(location).expanduser()
    if path.is_dir():
        if not any((path / kind).is_dir() for kind in (*KINDS, SCREENS)):
            raise InputError(f"'{path}' is no store", expected="a folder with replicas/ or screens/ in it")
        yield _Folder(Store(path))
    elif path.is_file():
        with open(path, "rb") as handle:
            yield _Bundle(str(path), handle)
    else:
        raise InputError(f"there is no '{location}'", expected="a store's folder, a bundle (.tar) or a URL")


@contextmanager
def _open_url(url: str) -> Iterator[BinaryIO]:
    import fsspec

    try:
        with fsspec.open(url, "rb") as handle:
            yield handle
    except (ImportError, OSError, ValueError) as error:
        raise InputError(f"'{url}' cannot be read ({' '.join(str(error).split())[:200]})") from error


def _parsed(content: bytes, place: str) -> Files | None:
    try:
        record = json.loads(content)
    except (ValueError, RecursionError):
        raise Damaged("its record cannot be read", where=place) from None
    if not isinstance(record, dict):
        raise Damaged("its record is none", where=place)
    return files_of(record, place)


# -- a store's folder --------------------------------------------------------------------------------------------------


class _Folder(Source):
    def __init__(self, store: Store) -> None:
        self.store, self.name = store, str(store.root)
        self.screens = {name: fingerprint(plan_of(store, name)) for name in screens_of(store)}

    def folders(self, broken: Callable[[str, str], None]) -> Iterator[Offered]:
        for kind in KINDS:
            base = self.store.root / kind
            for path in sorted(base.iterdir()) if base.is_dir() else ():
                ending = ending_of(path)
                if not is_digest(path.name) or ending is None:
                    continue
                try:
                    record = (path / ending).read_bytes()
                    files = _parsed(record, f"{kind}/{path.name}/{ending}")
                except InputError as error:
                    broken(f"{kind}/{path.name}", error.what)
                    continue
                names = list(files) if files is not None else list(list_files(path))
                yield Offered(kind, path.name, ending, record, files, lambda to, p=path, n=names: _copy_files(p, n, to))

    def loose(self) -> Iterator[tuple[str, bytes]]:
        for name in self.screens:
            yield from screen_files(self.store, name)
        own = self.store.root / SQLITE_NAME
        if lines := _review_lines(own) if own.is_file() else "":
            yield REVIEWS, lines.encode()


def _copy_files(folder: Path, names: list[str], to: Path) -> None:
    inside = folder.resolve()
    for name in names:
        path = folder / name
        if not path.resolve().is_relative_to(inside) or path.is_symlink():
            raise Damaged(f"{name} is a link", where=str(folder))
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        try:
            shutil.copyfile(path, to / name)
        except FileNotFoundError:
            raise Damaged(f"{name} is missing", where=str(folder)) from None


def _review_lines(index: Path) -> str:
    """The reviews in a store's own index, as :func:`esr1md.store.reviews.export_lines` writes them."""
    lines = []
    for row in read_reviews(index):
        lines.append(json.dumps({name: value for name, value in row.items() if name != "store"}, ensure_ascii=False))
    return "".join(f"{line}\n" for line in lines)


# -- an object store ---------------------------------------------------------------------------------------------------


class _Bucket(Source):
    def __init__(self, remote: Remote) -> None:
        self.remote, self.name = remote, remote.url
        self.shared = SharedFolders(remote, Path("/nonexistent"))
        self._files: dict[str, list[str]] = {}
        for path in sorted(remote.listing(SCREENS)):
            name, _, file = path.partition("/")
            if file:
                self._files.setdefault(check_screen(name), []).append(check_file(file))
        self.screens = {}
        for name, files in self._files.items():
            if PLAN in files:
                self.screens[name] = _fingerprint(remote.read(f"{SCREENS}/{name}/{PLAN}"), f"{SCREENS}/{name}")

    def folders(self, broken: Callable[[str, str], None]) -> Iterator[Offered]:
        for kind in KINDS:
            for digest, state in sorted(self.shared.listed(kind).items()):
                ending = ENDINGS[0] if state == "done" else ENDINGS[1]
                record = self.remote.read(f"{kind}/{digest}/{ending}")
                if record is None:
                    continue
                try:
                    files = _parsed(record, f"{kind}/{digest}/{ending}")
                    if files is None:
                        raise Damaged("its record lists no files")
                except InputError as error:
                    broken(f"{kind}/{digest}", error.what)
                    continue
                yield Offered(
                    kind, digest, ending, record, files,
                    lambda to, k=kind, d=digest, f=files: self.shared.gather(k, d, f, to),
                )  # fmt: skip

    def loose(self) -> Iterator[tuple[str, bytes]]:
        for name in self.screens:
            for file in self._files[name]:
                content = self.remote.read(f"{SCREENS}/{name}/{file}")
                if content is not None:
                    yield f"{SCREENS}/{name}/{file}", content


def _fingerprint(plan: bytes | None, place: str) -> str:
    try:
        return fingerprint(json.loads(plan or b""))
    except (ValueError, KeyError, TypeError, RecursionError):
        raise InputError("its plan.json cannot be read", where=place) from None


# -- a bundle ----------------------------------------------------------------------------------------------------------


class _Bundle(Source):
    """A tar, read once from front to back."""

    def __init__(self, name: str, handle: BinaryIO) -> None:
        self.name = name
        try:
            self._tar = tarfile.open(fileobj=handle, mode="r|*")
        except (tarfile.TarError, EOFError, OSError) as error:
            raise self._not_one(error) from None
        self._members = self._checked_members()
        first = next(self._members, None)
        if first is None or first.name != HEAD:
            raise self._not_one()
        try:
            head = json.loads(self._read(first))
            self.screens = {check_screen(name): str(found) for name, found in head["screens"].items()}
            newer = head["format"] > FORMAT
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise self._not_one() from None
        if newer:
            raise InputError(f"'{name}' is of a newer version of esr1md ({head.get('esr1md')})", do="install that one")
        self._next: tarfile.TarInfo | None = None
        self._seen: dict[str, int] = {}

    def folders(self, broken: Callable[[str, str], None]) -> Iterator[Offered]:
        self._next = next(self._members, None)
        while self._next is not None and self._next.name.partition("/")[0] in KINDS:
            first = self._next
            kind, digest, name = self._parts(first)
            if name not in ENDINGS:
                raise InputError(f"'{first.name}' comes before the record of its folder", where=self.name)
            record = self._read(first)
            self._seen[kind] = self._seen.get(kind, 0) + 1
            self._next = next(self._members, None)
            try:
                files = _parsed(record, first.name)
                if files is None:
                    raise Damaged("its record lists no files")
            except InputError as error:
                broken(f"{kind}/{digest}", error.what)
            else:
                yield Offered(
                    kind, digest, name, record, files,
                    lambda to, p=f"{kind}/{digest}/", f=files: self._gather(p, f, to),
                )  # fmt: skip
            self._skip(f"{kind}/{digest}/")

    def loose(self) -> Iterator[tuple[str, bytes]]:
        found: Files = {}
        end = None
        while self._next is not None and end is None:
            name, content = self._next.name, self._read(self._next)
            if name == END:
                end = content
            else:
                found[name] = hash_bytes(content)
                yield name, content
            self._next = next(self._members, None)
        try:
            listed = json.loads(end or b"{}")
            whole = listed["folders"] == self._seen and listed["files"].keys() == found.keys()
        except (ValueError, KeyError, TypeError, AttributeError):
            whole = False
        if not whole:
            raise InputError(f"'{self.name}' is not whole", do="get it again; the folders that came are kept")
        for name, entry in found.items():
            if listed["files"][name] != entry:
                raise Damaged(f"{name} is damaged", where=self.name, do="get the bundle again")

    # -- inside ----------------------------------------------------------------------------------------------------

    def _checked_members(self) -> Iterator[tarfile.TarInfo]:
        try:
            for member in self._tar:
                if member.isdir():
                    continue
                check_file(member.name, self.name)
                if not member.isreg():
                    raise InputError(f"'{member.name}' is a link or a device", where=self.name,
                                     do="do not trust where it came from")  # fmt: skip
                yield member
        except (tarfile.TarError, EOFError, OSError) as error:
            raise InputError(
                f"'{self.name}' cannot be read to its end ({' '.join(str(error).split())[:100]})",
                do="get it again; what came is kept",
            ) from error  # fmt: skip

    def _read(self, member: tarfile.TarInfo) -> bytes:
        if member.size > LARGEST_RECORD:
            raise InputError(f"'{member.name}' is too large ({member.size} bytes)", where=self.name)
        with self._reading(member):
            return self._tar.extractfile(member).read()

    def _gather(self, place: str, files: Files, to: Path) -> None:
        while self._next is not None and self._next.name.startswith(place):
            name = self._next.name[len(place) :]
            if name not in files or self._next.size != files[name]["bytes"]:
                raise Damaged(f"{name} is not as its record says", where=self.name)
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            with self._reading(self._next), open(to / name, "wb") as handle:
                shutil.copyfileobj(self._tar.extractfile(self._next), handle, 1 << 20)
            self._next = next(self._members, None)

    def _skip(self, place: str) -> None:
        while self._next is not None and self._next.name.startswith(place):
            self._next = next(self._members, None)

    @contextmanager
    def _reading(self, member: tarfile.TarInfo) -> Iterator[None]:
        try:
            yield
        except (tarfile.TarError, EOFError) as error:
            raise InputError(
                f"'{self.name}' ends in the middle of {member.name} ({error})", do="get it again; what came is kept"
            ) from None

    def _parts(self, member: tarfile.TarInfo) -> tuple[str, str, str]:
        kind, _, rest = member.name.partition("/")
        digest, _, name = rest.partition("/")
        if not is_digest(digest) or not name:
            raise InputError(f"'{member.name}' is in no folder of a result", where=self.name)
        return kind, digest, name

    def _not_one(self, error: Exception | None = None) -> InputError:
        said = f" ({' '.join(str(error).split())[:100]})" if error else ""
        return InputError(f"'{self.name}' is no bundle{said}", expected="a file that 'esr1md store export' wrote")
