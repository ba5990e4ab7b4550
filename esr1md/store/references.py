"""Which folders the screens of a store are made of: plans name replicas, and replicas say what they are made from.

A receptor, a ligand's parameters and a pose are named by the ``record.json`` of each replica that used them, by the
``spec.json`` of a pose, and by the failure record of a replica that failed because they did.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from esr1md.errors import InputError
from esr1md.store.artifacts import Store
from esr1md.store.disk import read_json
from esr1md.store.layout import FAILURE, KINDS, SCREENS, SPEC, check_screen, is_digest
from esr1md.store.plans import PLAN, digests_of, read_plan

#: What replicas share.
PREPARATIONS = ("receptors", "parameters", "poses")

_SHARED = {"receptor": "receptors", "parameters": "parameters", "pose": "poses"}
_IN_STORE = re.compile(rf"(?:^|/)({'|'.join(KINDS)})/([0-9a-f]{{64}})(?:/|$)")


@dataclass
class References:
    """Folders by kind, as digests; ``planned`` replicas and transfers that are neither done nor failed."""

    digests: dict[str, set[bytes]] = field(default_factory=lambda: {kind: set() for kind in KINDS})
    planned: int = 0

    def add(self, kind: str, digest: Any) -> bool:
        """Note a folder; whether it is new. What is no digest is no folder."""
        if not is_digest(digest):
            return False
        short, known = bytes.fromhex(digest), self.digests[kind]  # a million of them take a third of the memory
        if short in known:
            return False
        known.add(short)
        return True

    def __contains__(self, folder: tuple[str, str]) -> bool:
        return bytes.fromhex(folder[1]) in self.digests[folder[0]]

    def __iter__(self) -> Iterator[tuple[str, str]]:
        for kind, known in self.digests.items():
            for short in sorted(known):
                yield kind, short.hex()


def screens_of(store: Store) -> list[str]:
    """Names of the screens that have a plan."""
    return sorted(path.parent.name for path in (store.root / SCREENS).glob(f"*/{PLAN}"))


def plan_of(store: Store, screen: str) -> dict[str, Any]:
    """``plan.json`` of a screen, see :func:`esr1md.store.plans.read_plan`.

    Raises
    ------
    InputError
        There is no such screen, or its plan cannot be read.
    """
    folder = store.root / SCREENS / check_screen(screen)
    try:
        plan = read_plan(folder)
        if plan is not None:
            planned_in(plan)
    except (KeyError, TypeError):
        raise InputError("it lists no replicas", where=str(folder / PLAN), do="run the screen again") from None
    if plan is None:
        known = screens_of(store)
        raise InputError(
            f"no screen '{screen}' in this store", where=f"store {store.root}",
            expected=f"one of {', '.join(known)}" if known else "a store that a screen was run in",
        )  # fmt: skip
    return plan


def planned_in(plan: dict[str, Any]) -> dict[str, list[str]]:
    """Digests of a plan's replicas and transfers."""
    return {
        "replicas": list(digests_of(plan)),
        "transfers": [repeat["digest"] for repeat in plan.get("transfers", {}).get("repeats", [])],
    }


def references(store: Store, screens: list[str] | None = None) -> References:
    """Every folder that screens are made of; of all of the store's screens unless some are named.

    Raises
    ------
    InputError
        A plan cannot be read: what it needs is not known.
    """
    found = References()
    for screen in screens_of(store) if screens is None else screens:
        for kind, digests in planned_in(plan_of(store, screen)).items():
            for digest in digests:
                if found.add(kind, digest):
                    _follow(store, kind, digest, found)
    return found


def _follow(store: Store, kind: str, digest: str, found: References) -> None:
    """Note what a replica or transfer was made from; of one that is not there, that it is only planned."""
    record = _read(store, kind, digest, "record.json")
    failure = _read(store, kind, digest, FAILURE)
    if record is None and failure is None and not store.has(kind, digest):
        found.planned += 1
        return
    for name, of_kind in _SHARED.items():
        entry = (record or {}).get(name)
        if isinstance(entry, dict) and found.add(of_kind, entry.get("digest")) and of_kind == "poses":
            _follow_pose(store, entry["digest"], found)
    for of_kind, named in _IN_STORE.findall(str((failure or {}).get("where", ""))):
        if found.add(of_kind, named) and of_kind == "poses":
            _follow_pose(store, named, found)


def _follow_pose(store: Store, digest: str, found: References) -> None:
    spec = _read(store, "poses", digest, SPEC) or {}
    found.add("receptors", spec.get("receptor"))
    found.add("parameters", spec.get("parameters"))


def _read(store: Store, kind: str, digest: str, name: str) -> dict[str, Any] | None:
    folder = store.root / kind / digest
    try:
        if folder.is_dir() or store.shared is None:
            return read_json(folder / name)
        return store.shared.record(kind, digest, name)
    except InputError:  # damaged: it says nothing of what it was made from, 'verify' says so
        return None
