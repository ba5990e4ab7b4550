"""Mends what :mod:`.verify` finds. Nothing that was computed is deleted: damaged folders go to ``quarantine/``."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from esr1md.errors import InputError
from esr1md.store.artifacts import Store
from esr1md.store.disk import remove, write_json
from esr1md.store.layout import debris_of
from esr1md.store.leases import hold
from esr1md.store.manifest import ending_of, read_ending, sync_and_hash
from esr1md.store.quarantine import move_to_quarantine
from esr1md.store.readable import unreadable
from esr1md.store.unfinished import can_go_on
from esr1md.store.verify import Finding, Report, look_at, nobody_in, verify


@dataclass(frozen=True)
class Repair:
    """What was done about a finding; nothing if ``done`` is empty, and then ``why`` says why not."""

    finding: Finding
    done: str = ""
    why: str = ""

    def to_json(self) -> dict[str, Any]:
        return {**self.finding.to_json(), "done": self.done, "why_not": self.why}


def repair(
    store: Store,
    places: Sequence[tuple[str, str]] = (),
    *,
    dry_run: bool = False,
    report: Report = lambda seen: None,
) -> Iterator[Repair]:
    """Mend everything that can be mended, reading every file once.

    Parameters
    ----------
    places
        Look at these folders only, by kind and digest.
    dry_run
        Say what would be done, and change nothing.
    report
        Called now and then with the number of folders that have been looked at.
    """
    from esr1md.store.verify_index import verify_index

    findings = verify(store, places, report=report)
    if store.shared is not None:
        from esr1md.store.verify_shared import verify_shared

        findings = chain(findings, verify_shared(store, places, report=report))
    for finding in findings:
        if (mend := _MENDING.get(finding.what)) is None:
            continue
        yield Repair(finding, f"would be mended: {finding.mend}") if dry_run else mend(store, finding)
    wrong = list(verify_index(store))
    if wrong and not dry_run:
        from esr1md.store.records import rebuild

        found = rebuild(store)
        yield from (Repair(finding, f"made from the folders again: {found} replicas") for finding in wrong)
    else:
        yield from (Repair(finding, f"would be mended: {finding.mend}") for finding in wrong)


def _quarantine_folder(store: Store, finding: Finding) -> Repair:
    kind, digest = finding.where.split("/")
    with hold(store, kind, digest, wait=False) as free:
        if not free:
            return Repair(finding, why="it is being computed at this moment")
        to = move_to_quarantine(store.root, store.root / finding.where, finding.detail)
    return Repair(finding, f"moved to {to.relative_to(store.root)}")


def _quarantine_file(store: Store, finding: Finding) -> Repair:
    to = move_to_quarantine(store.root, store.root / finding.where, finding.detail)
    return Repair(finding, f"moved to {to.relative_to(store.root)}")


def _clear(store: Store, finding: Finding) -> Repair:
    path = store.root / finding.where
    with nobody_in(store, path, debris_of(path.name) or path.name) as free:
        if not free or can_go_on(path) or (not path.name.startswith(".") and ending_of(path) is not None):
            return Repair(finding, why="somebody works in it now")
        remove(path)
    return Repair(finding, "cleared")


def _list_files(store: Store, finding: Finding) -> Repair:
    """Give a folder of an older version the list of its files, once each of them has been read to its end."""
    path = store.root / finding.where
    with hold(store, path.parent.name, path.name, wait=False) as free:
        if not free:
            return Repair(finding, why="it is being computed at this moment")
        found = read_ending(path)
        if found is None:
            return Repair(finding, why="it is gone")
        if (wrong := unreadable(path)) is not None:
            to = move_to_quarantine(store.root, path, wrong)
            return Repair(finding, f"{wrong}: moved to {to.relative_to(store.root)}")
        name, record = found
        when = os.stat(path / name)
        files = sync_and_hash(path)
        write_json(path / name, {**record, "files": files, "listed_by": "esr1md store repair"})
        os.utime(path / name, (when.st_atime, when.st_mtime))
    return Repair(finding, f"its {len(files)} files can be read, and are listed now")


def _send(store: Store, finding: Finding) -> Repair:
    kind, digest = finding.where.split("/")
    try:
        store.shared.publish(kind, digest)
    except InputError as error:
        return Repair(finding, why=str(error))
    return Repair(finding, "sent")


def _mend_there(store: Store, finding: Finding) -> Repair:
    """Send a good copy again, or move a damaged one aside."""
    kind, digest = finding.where.split("/")
    with hold(store, kind, digest, wait=False) as free:
        if not free:
            return Repair(finding, why="it is being computed at this moment")
        if (store.root / finding.where).is_dir() and not look_at(store, kind, digest, quick=False):
            store.shared.unindex(kind, digest)
            store.shared.publish(kind, digest)
            return Repair(finding, "sent again from the copy in the working folder")
        to = store.shared.quarantine(kind, digest)
    return Repair(finding, f"moved to {to} there")


def _index_there(store: Store, finding: Finding) -> Repair:
    state = store.shared.reindex(*finding.where.split("/"))
    return Repair(finding, f"listed as {state}" if state else "taken from the list")


_MENDING = {
    "damaged": _quarantine_folder,
    "debris": _clear,
    "not checkable": _list_files,
    "unreadable plan": _quarantine_file,
    "unreadable record": _quarantine_file,
    "unsent": _send,
    "damaged there": _mend_there,
    "not indexed there": _index_there,
}
