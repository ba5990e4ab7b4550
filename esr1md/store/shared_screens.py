"""``screens/NAME/`` (plan, ranking, tables, report) and ``explore/NAME/`` of a store that is kept in an object store.

Unlike results they change, so each side remembers what it last saw of the other: a file that is as it was when it came,
or was sent, follows the remote; one that was changed here is sent by :func:`send_folder` and never overwritten.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from esr1md.errors import InputError
from esr1md.store.disk import read_json, write_json
from esr1md.store.layout import SCREENS, check_file, check_screen
from esr1md.store.manifest import hash_file, list_files
from esr1md.store.remote import Remote
from esr1md.store.threads import together

#: What is shared besides results.
FOLDERS = (SCREENS, "explore")
#: What was last seen of the remote, by file: its ``version`` there and the ``sha256`` of what was the same here.
SEEN = ".shared.json"


def send_folder(remote: Remote, root: Path, folder: str, name: str) -> int:
    """Send what has changed in ``FOLDER/NAME`` since it was last sent or got; how many files.

    Raises
    ------
    Unreachable
        The next call sends it.
    """
    place = f"{_check(folder)}/{check_screen(name)}"
    seen, changed = _seen(root / place), {}
    for file in list_files(root / place):
        if not Path(file).name.startswith("."):
            digest = hash_file(root / place / file)["sha256"]
            if seen.get(file, {}).get("sha256") != digest:
                changed[file] = digest
    for _ in together(remote.send, [(root / place / file, f"{place}/{file}") for file in changed]):
        pass
    if changed:
        there = remote.listing(place)
        seen |= {file: {"version": there[file]["version"], "sha256": digest} for file, digest in changed.items()}
        write_json(root / place / SEEN, seen)
    return len(changed)


def fetch_folders(remote: Remote, root: Path) -> int:
    """Get what is new or has changed there, unless it was changed here as well; how many files."""
    got = 0
    for folder in FOLDERS:
        by_name: dict[str, dict[str, Any]] = {}
        for path, info in remote.listing(folder).items():
            name, _, file = path.partition("/")
            try:
                by_name.setdefault(check_screen(name), {})[check_file(file)] = info["version"]
            except InputError:
                continue  # nothing that esr1md has put there
        for name, there in by_name.items():
            got += _fetch(remote, root, f"{folder}/{name}", there)
    return got


def _fetch(remote: Remote, root: Path, place: str, there: dict[str, str]) -> int:
    seen, got = _seen(root / place), {}
    for file, version in there.items():
        here, known = root / place / file, seen.get(file, {})
        if here.is_file() and (known.get("version") == version or hash_file(here)["sha256"] != known.get("sha256")):
            continue
        beside = here.with_name(f".{here.name}.incoming")
        if remote.get(f"{place}/{file}", beside):
            digest = hash_file(beside)["sha256"]
            beside.replace(here)
            got[file] = {"version": version, "sha256": digest}
    if got:
        write_json(root / place / SEEN, seen | got)
    return len(got)


def _seen(folder: Path) -> dict[str, Any]:
    return read_json(folder / SEEN) or {}


def _check(folder: str) -> str:
    if folder not in FOLDERS:
        raise ValueError(f"unknown folder {folder!r}; expected one of {', '.join(FOLDERS)}")
    return folder
