"""What the folders and files of a store may be called: no name from outside leads out of its folder."""

from __future__ import annotations

import re

from esr1md.errors import InputError

#: The kinds of folder a store holds, in the order in which they are made.
KINDS = ("receptors", "parameters", "poses", "replicas", "transfers")

DONE = "done.json"
FAILURE = "failure.json"
#: One of the two ends every folder that is not debris; what the folder is then.
STATES = {DONE: "done", FAILURE: "failed"}
ENDINGS = tuple(STATES)
SPEC = "spec.json"
SCREENS = "screens"
QUARANTINE = "quarantine"
#: The index of a store that has no other database.
SQLITE_NAME = "store.sqlite"

#: An unfinished folder that holds such a file is work to go on with, not debris.
CHECKPOINTS = "checkpoint*.npz"

_DIGEST = re.compile(r"[0-9a-f]{64}")
_SCREEN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
#: Suffixes of hidden folders that are being got from elsewhere (:mod:`.incoming`).
COMING = (".incoming", ".replaced")
#: Those, and the ones of what is being computed (:mod:`.unfinished`).
_UNFINISHED = re.compile(r"\.([0-9a-f]{64})(?:\.[0-9a-f]{32})?\.(?:tmp|lost|copy|incoming|replaced)")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f\\]")


def is_digest(text: str) -> bool:
    """Whether ``text`` is a SHA-256 in 64 lower-case hex digits."""
    return isinstance(text, str) and _DIGEST.fullmatch(text) is not None


def check_kind(kind: str) -> str:
    """``kind`` itself; ``ValueError`` for what is none of :data:`KINDS`."""
    if kind not in KINDS:
        raise ValueError(f"unknown kind {kind!r}; expected one of {', '.join(KINDS)}")
    return kind


def check_digest(digest: str) -> str:
    """``digest`` itself; ``InputError`` for what cannot name a result."""
    if not is_digest(digest):
        raise InputError(f"{digest!r} cannot name a result", expected="a SHA-256 digest of 64 hex digits")
    return digest


def check_screen(name: str) -> str:
    """``name`` itself; ``InputError`` for what cannot name a screen's folder."""
    if not isinstance(name, str) or not _SCREEN.fullmatch(name):
        raise InputError(f"{name!r} cannot name a screen", expected="letters, digits, '.', '-' and '_'")
    return name


def check_file(name: str, where: str = "") -> str:
    """``name`` itself; ``InputError`` unless it is a relative path of plain parts, which stays in its folder."""
    parts = name.split("/") if isinstance(name, str) else [""]
    if any(part in ("", ".", "..") or len(part.encode()) > 255 for part in parts) or _UNPRINTABLE.search(name):
        raise InputError(f"file name {name!r} leads out of its folder", where=where,
                         expected="a relative path without '..'", do="do not trust where it came from")  # fmt: skip
    return name


def debris_of(name: str) -> str | None:
    """The digest that a hidden folder of unfinished work belongs to; ``None`` for any other name."""
    found = _UNFINISHED.fullmatch(name)
    return found and found[1]
