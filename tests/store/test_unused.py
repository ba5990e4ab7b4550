"""What no screen needs is listed with its size and removed only on request; what is needed or worked on never is."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from small_store import PDB, produce, replica, replica_spec, screen, small_screen

from esr1md.errors import InputError, StageError
from esr1md.store import Store
from esr1md.store.quarantine import move_to_quarantine
from esr1md.store.unused import Unneeded
from esr1md.store.verify import verify

DAY = 86400.0


def age(store: Store, days: float) -> None:
    """As if everything in the store had been written so many days ago."""
    then = time.time() - days * DAY
    for path in sorted(store.root.rglob("*"), reverse=True):
        os.utime(path, (then, then))


@pytest.fixture
def kept(tmp_path) -> tuple[Store, dict[str, str]]:
    """A screen, and all that it does not need; why by place."""
    store, _ = small_screen(tmp_path / "store")
    failed_pose = produce(
        store, "poses", {"ligand": "none"}, {"log.txt": "steric"}, StageError("pose", "does not fit", kind="outcome")
    )
    where = str(store.folder("poses", failed_pose))
    failed = replica(store, "Y537S", "phenol", 3, StageError("pose", "does not fit", where=where, kind="outcome"))
    plan = json.loads((store.root / "screens/small/plan.json").read_text())
    plan["replicas"].append({"digest": failed, "name": "failed"})
    (store.root / "screens/small/plan.json").write_text(json.dumps(plan))
    other = produce(store, "replicas", replica_spec("D538G", "phenol", 9), {"final.pdb": PDB})
    unused = {
        f"replicas/{other}": "no screen needs it",
        f"poses/{produce(store, 'poses', {'ligand': 'old'}, {'record.json': {}})}": "no screen needs it",
        f"receptors/{produce(store, 'receptors', {'variant': 'X'}, {'r.pdb': PDB})}": "no screen needs it",
    }
    (store.root / "replicas" / f".{'a' * 64}.tmp").mkdir()
    (store.root / "replicas" / f".{'b' * 64}.tmp").mkdir()
    (store.root / "replicas" / f".{'b' * 64}.tmp" / "checkpoint.npz").write_bytes(b"far")
    unused[f"replicas/.{'a' * 64}.tmp"] = "left by a process that was ended"
    unused[f"replicas/.{'b' * 64}.tmp"] = "no screen needs it"
    (store.root / "replicas" / "cc").write_text("damaged")
    aside = move_to_quarantine(store.root, store.root / "replicas" / "cc", "for the test")
    unused[f"quarantine/{aside.name}"] = "in quarantine"
    age(store, 10)
    return store, unused


def test_what_no_plan_leads_to_is_listed_and_only_that_removed(kept):
    store, unused = kept
    found = list(Unneeded(store))
    assert {each.where: each.why for each in found} == unused
    for each in found:
        assert each.days == pytest.approx(10, abs=0.01)
    replica_row = next(each for each in found if each.where.startswith("replicas/") and "." not in each.where)
    assert replica_row.bytes == sum(path.stat().st_size for path in (store.root / replica_row.where).iterdir())
    before = {path for path in store.root.rglob("*") if path.is_file()}
    unneeded = Unneeded(store)
    assert all(unneeded.remove(each) for each in unneeded)
    gone = before - {path for path in store.root.rglob("*") if path.is_file()}
    assert gone and {path.relative_to(store.root).parts[:2] for path in gone} <= {
        tuple(where.split("/")) for where in unused
    } | {tuple(f"{where}.why.json".split("/")) for where in unused}
    assert list(verify(store)) == [] and list(Unneeded(store)) == []


def test_what_is_young_stays(kept):
    store, unused = kept
    assert list(Unneeded(store, older_than_days=11)) == []
    young = next(where for where in unused if where.startswith("poses/"))
    (store.root / young / "record.json").write_text("{}")
    assert young not in {each.where for each in Unneeded(store)}
    assert {each.where for each in Unneeded(store, older_than_days=0)} == set(unused)


def test_preparations_stay_while_a_screen_is_unfinished(kept):
    """Which receptors and poses the replicas to come will be made from is not known before they are."""
    store, unused = kept
    screen(store, "going-on", ["d" * 64], finished=False)
    assert {each.where for each in Unneeded(store)} == {
        where for where in unused if not where.startswith(("poses/", "receptors/"))
    }


def test_a_checkpoint_of_a_planned_replica_stays(kept):
    store, unused = kept
    screen(store, "going-on", ["b" * 64], finished=False)
    assert f"replicas/.{'b' * 64}.tmp" not in {each.where for each in Unneeded(store)}


def test_what_a_new_screen_needs_by_the_time_of_its_removal_stays(kept):
    store, unused = kept
    unneeded = Unneeded(store)
    listed = {each.where: each for each in unneeded}
    wanted = next(where for where in listed if where.startswith("replicas/") and "." not in where)
    screen(store, "new", [wanted.partition("/")[2]])
    assert not unneeded.remove(listed[wanted]) and (store.root / wanted).is_dir()
    assert unneeded.remove(listed[f"replicas/.{'a' * 64}.tmp"])


def test_what_is_being_computed_stays(kept):
    store, unused = kept
    spec, digest = {"variant": "busy"}, None

    def while_computing(folder: Path) -> None:
        unneeded = Unneeded(store, older_than_days=0)
        mine = [each for each in unneeded if each.where.endswith(folder.name)]
        assert len(mine) == 1 and not unneeded.remove(mine[0])
        (folder / "done.txt").write_text("whole")

    from esr1md.specs import digest_of

    digest = digest_of(spec)
    assert (store.produce("replicas", digest, while_computing, spec=spec) / "done.txt").read_text() == "whole"


def test_a_store_without_screens_is_refused(tmp_path):
    store = Store(tmp_path)
    produce(store, "parameters", {"x": 1}, {"ligand.xml": "<x/>"})
    with pytest.raises(InputError, match="nothing tells what is needed"):
        Unneeded(store)


def test_a_plan_that_cannot_be_read_stops_it(kept):
    store, unused = kept
    (store.root / "screens/small/plan.json").write_text("{")
    with pytest.raises(InputError, match="plan.json: the file is damaged"):
        Unneeded(store)
