"""Where a store is: a folder, or an object store by its URL with a local working folder beside it.

Simulations need a local disk, so the results of an object store are made, and got when somebody asks for them, in a
working folder in the user's cache. ``remote.json`` there says whose it is: ``Store(folder)`` finds it by itself, in
every process.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import uuid
import warnings
from pathlib import Path
from urllib.parse import urlsplit

from esr1md.errors import InputError
from esr1md.store.artifacts import Store
from esr1md.store.disk import read_json, write_json
from esr1md.store.identity import FILE as IDENTITY
from esr1md.store.layout import SCREENS
from esr1md.store.leases import in_database
from esr1md.store.remote import Remote, Unreachable, checked_url, is_url
from esr1md.store.shared_screens import fetch_folders

REMOTE = "remote.json"


def open_store(location: str | Path) -> Store:
    """The store at a folder or a URL; nothing is made for a folder, the working folder is for a URL.

    Parameters
    ----------
    location
        ``runs``, or ``s3://bucket/prefix`` or any other fsspec URL.

    Raises
    ------
    InputError
        The URL holds a password, cannot be written to, or does not answer.
    """
    if not is_url(location):
        return Store(Path(location))
    url = checked_url(location)
    root = working_folder(url)
    if not all((root / name).is_file() for name in (REMOTE, IDENTITY)):
        identity = _shared_identity(Remote(url))
        root.mkdir(parents=True, exist_ok=True)
        if not (root / IDENTITY).is_file():
            write_json(root / IDENTITY, identity)
        write_json(root / REMOTE, {"url": url})
    try:
        fetch_folders(Remote(url), root)
    except Unreachable as error:
        if not (root / SCREENS).is_dir():
            raise
        warnings.warn(f"{error}; the screens are as this machine last saw them", stacklevel=2)
    if not in_database():
        warnings.warn(
            f"{url} is used with an index in a file of this machine: safe as long as no other machine computes into "
            "it. For several, name one PostgreSQL database with ESR1MD_DATABASE_URL on all of them", stacklevel=2,
        )  # fmt: skip
    return Store(root)


def working_folder(url: str) -> Path:
    """``stores/NAME-HASH`` in the user's cache (``ESR1MD_CACHE``): one for each URL."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", urlsplit(url).netloc + urlsplit(url).path).strip("-.")[-60:]
    return cache_folder() / "stores" / f"{name}-{hashlib.sha256(url.encode()).hexdigest()[:12]}"


def cache_folder() -> Path:
    """``ESR1MD_CACHE``, or ``esr1md`` in the XDG cache folder."""
    own = os.environ.get("ESR1MD_CACHE")
    if own:
        return Path(own).expanduser().absolute()
    shared = Path(os.environ.get("XDG_CACHE_HOME", ""))
    # the XDG specification says to ignore a relative path
    return (shared if shared.is_absolute() else Path.home() / ".cache") / "esr1md"


def remote_url(root: Path) -> str | None:
    """The URL that a working folder belongs to; ``None`` for an ordinary store.

    Raises
    ------
    InputError
        ``remote.json`` is damaged.
    """
    found = read_json(root / REMOTE)
    if found is None:
        return None
    if not isinstance(found, dict) or not isinstance(found.get("url"), str):
        raise InputError("the file is damaged", where=str(root / REMOTE), expected='{"url": "s3://bucket/prefix"}')
    return checked_url(found["url"])


def _shared_identity(remote: Remote) -> dict[str, str]:
    """Who the store is, the same from every machine: ``store.json`` of the remote, made by whoever is first."""
    if (content := remote.read(IDENTITY)) is None:
        remote.create(IDENTITY, json.dumps({"id": uuid.uuid4().hex}).encode())
        content = remote.read(IDENTITY)
    try:
        return {"id": json.loads(content)["id"]}
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{IDENTITY} there is damaged", where=remote.url, do="remove it and run again") from None
