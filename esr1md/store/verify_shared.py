"""Whether the copies in an object store are what was sent there."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from esr1md.store.artifacts import Store
from esr1md.store.incoming import Damaged, differences_of
from esr1md.store.layout import ENDINGS, KINDS, STATES, is_digest
from esr1md.store.manifest import Files, hash_file
from esr1md.store.shared import LARGE
from esr1md.store.threads import together
from esr1md.store.verify import Finding, Report

#: Folders whose objects are listed at once: those that begin with two hex digits.
_PREFIXES = [f"{number:02x}" for number in range(256)]


def verify_shared(
    store: Store, places: Sequence[tuple[str, str]] = (), *, quick: bool = False, report: Report = lambda seen: None
) -> Iterator[Finding]:
    """Look at every folder of the object store that a working folder belongs to.

    Parameters
    ----------
    places
        Look at these folders only, by kind and digest.
    quick
        Compare the sizes of objects only. Without it each is got once, hashed, and not kept.
    report
        Called now and then with the number of folders that have been looked at.
    """
    for kind, digest in places:
        sizes = {name: info["size"] for name, info in store.shared.remote.listing(f"{kind}/{digest}").items()}
        if wrong := damage_there(store, kind, digest, sizes, quick):
            yield Finding("damaged there", f"{kind}/{digest}", wrong)
    seen = 0
    for kind in KINDS if not places else ():
        few = len(store.shared.listed(kind)) < LARGE
        for prefix in [""] if few else _PREFIXES:
            folders = _by_digest(store.shared.remote.listing(kind, prefix))
            indexed = set(store.shared.remote.listing(f"index/{kind}", prefix))
            rows = [(store, kind, digest, sizes, quick) for digest, sizes in folders.items()]
            for (_, _, digest, sizes, _), wrong in zip(rows, together(damage_there, rows), strict=True):
                if seen % 64 == 0:
                    report(seen)
                seen += 1
                if wrong:
                    yield Finding("damaged there", f"{kind}/{digest}", wrong)
                elif not _marker_fits(digest, sizes, indexed):
                    yield Finding("not indexed there", f"{kind}/{digest}")
            for digest in {name.rpartition(".")[0] for name in indexed} - folders.keys():
                yield Finding("not indexed there", f"{kind}/{digest}", "it is in the list and not there")
    report(seen)


def damage_there(store: Store, kind: str, digest: str, sizes: dict[str, int], quick: bool = False) -> str | None:
    """What is wrong with one folder there; ``None`` for one that is well, or that was not sent to its end yet."""
    ending = _ending_in(sizes)
    if ending is None:
        return None
    try:
        files = store.shared.files(kind, digest, ending)
        if files is None:
            return None  # it has just been removed
        for name, entry in files.items():
            if sizes.get(name) != entry["bytes"]:
                return f"{name} is missing" if name not in sizes else f"{name} has {sizes[name]} bytes"
        if not quick:
            found = _hashes(store, kind, digest, files)
            if wrong := next(differences_of(found, files), None):
                return " ".join(wrong)
    except Damaged as error:
        return error.what
    return None


def _hashes(store: Store, kind: str, digest: str, files: Files) -> Files:
    found: Files = {}
    for name in files:
        with tempfile.NamedTemporaryFile(dir=store.root, prefix=".verify-") as handle:
            if store.shared.remote.get(f"{kind}/{digest}/{name}", Path(handle.name)):
                found[name] = hash_file(Path(handle.name))
    return found


def _by_digest(listing: dict[str, dict[str, Any]]) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for path, info in listing.items():
        digest, _, name = path.partition("/")
        if is_digest(digest) and name:
            found.setdefault(digest, {})[name] = info["size"]
    return found


def _ending_in(sizes: dict[str, int]) -> str | None:
    return next((name for name in ENDINGS if name in sizes), None)


def _marker_fits(digest: str, sizes: dict[str, int], indexed: set[str]) -> bool:
    ending = _ending_in(sizes)
    return ending is None or f"{digest}.{STATES[ending]}" in indexed
