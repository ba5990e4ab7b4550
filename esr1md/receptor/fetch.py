"""Get a PDB entry by its id: from a mirror folder, from the cache, or from RCSB.

A downloaded entry is kept with its SHA-256, which is checked whenever the entry is used again.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import gemmi
import httpx

from esr1md.errors import InputError
from esr1md.receptor.structure_file import MAXIMUM_BYTES
from esr1md.specs import file_digest

#: Where entries come from; ``ENTRY.cif`` or ``ENTRY.pdb`` is added.
SERVER = "https://files.rcsb.org/download"
MIRROR_VARIABLE, CACHE_VARIABLE = "ESR1MD_PDB_MIRROR", "ESR1MD_CACHE"

_FORMATS = ("cif", "pdb")  # mmCIF first: it has the assembly and every name in full
_WAITS = (0.5, 1.0, 2.0, 4.0)  # seconds before each further attempt
_TIMEOUT = httpx.Timeout(20.0, connect=5.0)
_DEADLINE = 120.0  # seconds for one download, however slowly it drips
_BUSY = {408, 425, 429, 500, 502, 503, 504}


@dataclass(frozen=True)
class Entry:
    """A PDB entry at hand.

    Attributes
    ----------
    name
        Four characters, upper case.
    path
        The file.
    origin
        ``mirror``, ``cache`` or the address it was just loaded from.
    sha256
        Of the file.
    steps
        Where it was found, in words.
    """

    name: str
    path: Path
    origin: str
    sha256: str
    steps: tuple[str, ...]


def entry_name(text: str) -> str | None:
    """``5WGD`` for ``5wgd`` or ``pdb_00005wgd``; ``None`` for what is not a PDB id."""
    match = re.fullmatch(r"(?:pdb_0000)?([0-9][a-z0-9]{3})", text.strip(), re.IGNORECASE | re.ASCII)
    return match[1].upper() if match else None


def cache_folder() -> Path:
    """Where downloaded entries are kept: ``pdb`` in ESR1MD_CACHE, or in ``esr1md`` of the XDG cache folder."""
    own = os.environ.get(CACHE_VARIABLE)
    if own:
        return Path(own).expanduser() / "pdb"
    shared = Path(os.environ.get("XDG_CACHE_HOME", ""))
    # the XDG specification says to ignore a relative path
    return (shared if shared.is_absolute() else Path.home() / ".cache") / "esr1md" / "pdb"


def find_entry(text: str, *, server: str | None = None) -> Entry:
    """The file of a PDB entry: mirror first, then cache, then the server.

    Parameters
    ----------
    text
        PDB id in any case; extended ids (``pdb_00005wgd``) too.
    server
        Another address than :data:`SERVER`.

    Raises
    ------
    InputError
        If it is no PDB id, there is no such entry, or it is not at hand and the server cannot be reached.
    """
    name = entry_name(text)
    if name is None:
        raise InputError(
            f"'{text}' is not a PDB id", expected="four characters such as 5WGD (or pdb_00005wgd)",
            do="give the id, or the path of a structure file",
        )  # fmt: skip
    mirrored = _from_mirror(name)
    if mirrored is not None:
        step = f"entry {name} from the mirror ({mirrored.name})"
        return Entry(name, mirrored, "mirror", file_digest(mirrored), (step,))
    steps: list[str] = []
    cached = _from_cache(name, steps)
    if cached is not None:
        path, digest = cached
        return Entry(name, path, "cache", digest, (*steps, f"entry {name} from the cache, checksum verified"))
    address, suffix, content = _download(name, server or SERVER)
    path, digest = _keep(name, suffix, content)
    return Entry(name, path, address, digest, (*steps, f"entry {name} loaded from {address}"))


def _mirror_names(name: str) -> Iterator[str]:
    """What a mirror may call an entry, flat or in the wwPDB's two-letter folders."""
    for folder in ("", f"{name[1:3].lower()}/"):
        for packed in ("", ".gz"):
            for suffix in _FORMATS:
                for written in (name, name.lower()):
                    yield f"{folder}{written}.{suffix}{packed}"
            yield f"{folder}pdb{name.lower()}.ent{packed}"


def _from_mirror(name: str) -> Path | None:
    mirror = os.environ.get(MIRROR_VARIABLE)
    if not mirror:
        return None
    folder = Path(mirror).expanduser()
    if not folder.is_dir():
        raise InputError(
            f"{MIRROR_VARIABLE} names '{mirror}', which is no folder", expected="a folder with files such as 5WGD.cif",
            do=f"correct or unset {MIRROR_VARIABLE}",
        )  # fmt: skip
    # mmCIF in any spelling before PDB in any
    found = [folder / candidate for candidate in _mirror_names(name) if (folder / candidate).is_file()]
    return min(found, key=lambda path: ".cif" not in path.name, default=None)


def _from_cache(name: str, steps: list[str]) -> tuple[Path, str] | None:
    """The cached file if it is what was loaded; a damaged one is left for the next download to replace."""
    for suffix in _FORMATS:
        path = cache_folder() / f"{name}.{suffix}"
        try:
            expected = path.with_suffix(f".{suffix}.sha256").read_text().split()[0]
            found = file_digest(path)
        except (OSError, UnicodeDecodeError, IndexError):
            continue
        if found == expected:
            return path, found
        steps.append(f"the cached {path.name} was damaged (checksum) and was loaded again")
    return None


def _keep(name: str, suffix: str, content: bytes) -> tuple[Path, str]:
    digest = hashlib.sha256(content).hexdigest()
    path = cache_folder() / f"{name}.{suffix}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, content)
        _write(path.with_suffix(f".{suffix}.sha256"), f"{digest}  {path.name}\n".encode())  # as sha256sum writes it
    except OSError as error:
        raise InputError(
            f"the cache cannot be written ({error.strerror})", where=str(path.parent),
            do=f"name another folder with {CACHE_VARIABLE}",
        ) from None  # fmt: skip
    return path, digest


def _write(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


class _TryAgain(Exception):
    """What went wrong may go right the next time."""


def _download(name: str, server: str) -> tuple[str, str, bytes]:
    """Address, format and content of an entry."""
    with httpx.Client(timeout=_TIMEOUT, follow_redirects=True) as client:
        for suffix in _FORMATS:
            address = f"{server}/{name}.{suffix}"
            for wait in (*_WAITS, None):
                try:
                    content = _load(client, address, name, suffix)
                    break
                except (_TryAgain, httpx.TransportError) as error:
                    if wait is None:
                        raise _offline(name, server, error) from None
                    time.sleep(wait)
            if content is not None:
                return address, suffix, content
    raise InputError(
        f"there is no PDB entry {name} at {httpx.URL(server).host}", expected="the id of an ER-alpha structure",
        do="check the id, or give a structure file",
    )  # fmt: skip


def _load(client: httpx.Client, address: str, name: str, suffix: str) -> bytes | None:
    """The content of an address; ``None`` if there is nothing (404)."""
    start, content = time.monotonic(), bytearray()
    with client.stream("GET", address) as response:
        if response.status_code == 404:
            return None
        if response.status_code in _BUSY:
            raise _TryAgain(f"HTTP {response.status_code}")
        if response.status_code != 200:
            raise InputError(f"{address} answered HTTP {response.status_code}", do="give a structure file instead")
        for chunk in response.iter_bytes():
            content += chunk
            if len(content) > MAXIMUM_BYTES:
                raise InputError(
                    f"{address} sends more than {MAXIMUM_BYTES // 1_000_000} MB", expected="an entry of ER-alpha",
                    do="check the id",
                )  # fmt: skip
            if time.monotonic() - start > _DEADLINE:
                raise _TryAgain(f"not loaded within {_DEADLINE:.0f} s")
    reason = _not_the_entry(bytes(content), name, suffix)
    if reason:
        raise _TryAgain(reason)
    return bytes(content)


def _not_the_entry(content: bytes, name: str, suffix: str) -> str:
    """Why the content is not the whole entry (empty if it is): a proxy's page and a cut file have status 200 too."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        return "the answer is not text"
    last = text.rstrip().rpartition("\n")[2].strip()
    if suffix == "pdb":
        whole = text.startswith("HEADER") and text[62:66].upper() == name
        return ("" if last == "END" else "the answer is cut off") if whole else f"the answer is not entry {name}"
    try:
        block = gemmi.cif.read_string(text).sole_block()
    except (ValueError, RuntimeError, IndexError):
        return f"the answer is cut off or not entry {name}"
    if block.name.upper() != name or block.find_loop("_atom_site.id").get_loop() is None:
        return f"the answer is not entry {name}"
    return "" if last == "#" else "the answer is cut off"


def _offline(name: str, server: str, error: Exception) -> InputError:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return InputError(
        f"PDB entry {name} is not in the cache ({cache_folder()}) and could not be loaded from "
        f"{httpx.URL(server).host} ({reason})",
        do=f"try again with a network, or put {name}.cif into a folder and name it with {MIRROR_VARIABLE}",
    )
