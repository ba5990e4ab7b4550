"""Damage is found wherever it is, said with what it means, and mended without deleting anything."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from small_store import PDB, produce, replica, screen, small_screen

from esr1md.errors import InputError, StageError
from esr1md.store import Store
from esr1md.store.manifest import hash_file, sync_and_hash
from esr1md.store.readable import unreadable
from esr1md.store.records import open_index, rebuild, replica_rows, set_members, upsert
from esr1md.store.repair import repair
from esr1md.store.verify import verify
from esr1md.store.verify_index import verify_index


def findings(store: Store, **options) -> dict[str, str]:
    """What is found, by place."""
    return {finding.where: finding.what for finding in verify(store, **options)}


@pytest.fixture
def kept(tmp_path) -> tuple[Store, list[str]]:
    return small_screen(tmp_path / "store")


def test_a_sound_store_has_nothing_to_mend(kept):
    store, digests = kept
    rebuild(store)
    seen = []
    assert list(verify(store, report=seen.append)) == [] and list(verify_index(store)) == []
    assert seen[-1] == len(list(store.root.glob("*/*/done.json")))
    assert list(repair(store)) == []


def test_done_record_lists_every_file_with_its_checksum(kept):
    store, digests = kept
    folder = store.find("replicas", digests[0])
    files = json.loads((folder / "done.json").read_text())["files"]
    assert set(files) == {"record.json", "final.pdb", "summary.json", "spec.json", "ligand/state.txt"}
    for name, entry in files.items():
        assert entry == hash_file(folder / name) and entry["bytes"] == (folder / name).stat().st_size


def damage(folder: Path, how: str) -> None:
    final = folder / "final.pdb"
    if how == "bit flip":
        content = bytearray(final.read_bytes())
        content[10] ^= 1
        final.write_bytes(content)
    elif how == "truncated":
        os.truncate(final, 5)
    elif how == "missing":
        final.unlink()
    elif how == "extra":
        (folder / "more.txt").write_text("put there by hand")
    elif how == "record":
        (folder / "done.json").write_text('{"finished": ')
    elif how == "list":
        record = json.loads((folder / "done.json").read_text())
        record["files"]["../../outside"] = {"bytes": 1, "sha256": "0" * 64}
        (folder / "done.json").write_text(json.dumps(record))
    elif how == "spec":
        (folder / "spec.json").write_text('{"variant": "Y537S"}')


@pytest.mark.parametrize(
    ("how", "said", "seen_quickly"),
    [
        ("bit flip", "final.pdb has another content than when it was written", False),
        ("truncated", "final.pdb has 5 bytes instead of", True),
        ("missing", "final.pdb is missing", True),
        ("extra", "more.txt was not there when the folder was finished", True),
        ("record", "done.json: the file is damaged", True),
        ("list", "'../../outside' leads out of its folder", True),
        ("spec", "spec.json is of", True),
    ],
)
def test_damage_is_found_and_the_folder_computed_anew(kept, how, said, seen_quickly):
    store, digests = kept
    rebuild(store)
    folder = store.find("replicas", digests[1])
    damage(folder, how)
    found = list(verify(store))
    assert [(f.what, f.where, f.problem) for f in found] == [("damaged", f"replicas/{digests[1]}", True)]
    assert said in found[0].detail
    assert bool(list(verify(store, quick=True))) == seen_quickly

    before = sorted(path.name for path in folder.rglob("*"))
    assert [each.done for each in repair(store, dry_run=True)] and folder.is_dir()
    done = list(repair(store))
    assert done[0].done.startswith("moved to quarantine/replicas-")
    moved = store.root / done[0].done.removeprefix("moved to ")
    assert sorted(path.name for path in moved.rglob("*")) == before, "nothing was deleted"
    why = json.loads(Path(f"{moved}.why.json").read_text())
    assert why["was"] == f"replicas/{digests[1]}" and why["why"] == found[0].detail
    assert [each.finding.what for each in done[1:]] == ["index"], "the index forgets it as well"
    assert store.find("replicas", digests[1]) is None
    assert findings(store) == {"screens/small": "missing"}
    assert replica(store, "WT", "estradiol", 2) == digests[1] and list(verify(store)) == []


def test_what_processes_left_is_told_apart_from_what_they_do(kept):
    """A killed process's debris, its checkpoint, and a folder that a living one works in."""
    store, digests = kept
    base = store.root / "replicas"
    dead, far, living = ("d" * 64, "e" * 64, "f" * 64)
    (base / f".{dead}.tmp").mkdir()
    (base / f".{far}.tmp").mkdir()
    (base / f".{far}.tmp" / "checkpoint.npz").write_bytes(b"far")
    (base / ("a" * 64)).mkdir()
    (base / f".{'b' * 64}.incoming").mkdir()
    (base / "notes").mkdir()
    code = (
        "import sys, time\nfrom esr1md.store import Store\n"
        "def make(folder):\n    (folder / 'half').write_text('x'); time.sleep(60)\n"
        f"Store(sys.argv[1]).produce('replicas', '{living}', make, spec={{}})"
    )
    worker = subprocess.Popen([sys.executable, "-c", code, str(store.root)], cwd=Path(__file__).parents[2])
    try:
        limit = time.monotonic() + 30
        while not (base / f".{living}.tmp" / "half").exists():
            assert time.monotonic() < limit and worker.poll() is None
            time.sleep(0.02)
        found = findings(store)
        assert found == {
            f"replicas/.{dead}.tmp": "debris", f"replicas/.{far}.tmp": "checkpoint", "replicas/" + "a" * 64: "debris",
            f"replicas/.{'b' * 64}.incoming": "debris", "replicas/notes": "stray",
        }  # fmt: skip
        assert {each.finding.where for each in repair(store) if each.done == "cleared"} == {
            where for where, what in found.items() if what == "debris"
        }
        assert (base / f".{far}.tmp" / "checkpoint.npz").exists() and (base / f".{living}.tmp" / "half").exists()
        assert (base / "notes").is_dir()
    finally:
        worker.kill()
        worker.wait()


def without_list(folder: Path) -> None:
    """As an older version left it."""
    record = json.loads((folder / "done.json").read_text())
    del record["files"]
    (folder / "done.json").write_text(json.dumps(record))


def test_folders_of_older_versions_work_and_are_listed_once_they_have_been_read(kept):
    store, digests = kept
    rebuild(store)
    old, broken = store.folder("replicas", digests[0]), store.folder("replicas", digests[1])
    for folder in (old, broken):
        without_list(folder)
    os.utime(old / "done.json", (1e9, 1e9))
    assert store.find("replicas", digests[0]) == old
    assert set(findings(store).values()) == {"not checkable"}
    assert not any(finding.problem for finding in verify(store))
    (broken / "final.pdb").write_text(PDB[:40])
    assert set(findings(store).values()) == {"not checkable"}, "nothing tells that without reading it as what it is"

    done = {each.finding.where: each.done for each in repair(store)}
    assert "its 5 files can be read, and are listed now" == done[f"replicas/{digests[0]}"]
    assert (
        "final.pdb cannot be read" in done[f"replicas/{digests[1]}"] and "quarantine" in done[f"replicas/{digests[1]}"]
    )
    record = json.loads((old / "done.json").read_text())
    assert record["listed_by"] == "esr1md store repair" and record["files"] == sync_and_hash(old)
    assert (old / "done.json").stat().st_mtime == 1e9
    (old / "final.pdb").write_text("changed")
    assert findings(store)[f"replicas/{digests[0]}"] == "damaged"


def _xtc(path: Path) -> None:
    from mdtraj.formats import XTCTrajectoryFile

    with XTCTrajectoryFile(str(path), "w") as trajectory:
        trajectory.write(np.random.default_rng(1).normal(size=(3, 50, 3)).astype("f4"))


def _parquet(path: Path) -> None:
    import pandas

    pandas.DataFrame({"x": np.arange(2000.0)}).to_parquet(path)


def _gzip(path: Path) -> None:
    import gzip

    path.write_bytes(gzip.compress(bytes(range(256)) * 40))


def _sdf(path: Path) -> None:
    from rdkit import Chem

    with Chem.SDWriter(str(path)) as writer:
        writer.write(Chem.MolFromSmiles("Oc1ccccc1"))


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("trajectory.xtc", _xtc),
        ("energies.parquet", _parquet),
        ("system.xml.gz", _gzip),
        ("pose.sdf", _sdf),
        ("ligand.xml", lambda path: path.write_text("<ForceField><Atom name='C'/></ForceField>")),
        ("data.npz", lambda path: np.savez(path, x=np.arange(500))),
        ("record.json", lambda path: path.write_text('{"a": [1, 2, 3]}')),
        ("final.pdb", lambda path: path.write_text(PDB)),
    ],
)
def test_a_file_that_ends_in_the_middle_is_not_readable(tmp_path, name, write):
    path = tmp_path / name
    write(path)
    assert unreadable(tmp_path) is None
    os.truncate(path, int(path.stat().st_size * 0.6))
    assert unreadable(tmp_path).startswith(f"{name} cannot be read")


def test_screens_whose_replicas_are_missing(kept):
    store, digests = kept
    failed = replica(store, "Y537S", "phenol", 1, StageError("dynamics", "the energy is nan"))
    screen(store, "ended", [*digests, failed, "c" * 64])
    screen(store, "going-on", ["c" * 64, "d" * 64], finished=False)
    screen(store, "mangled", digests)
    (store.root / "screens/mangled/plan.json").write_text('{"screen": "mangled", "replicas": [')
    screen(store, "outside", ["../../etc"])
    found = {finding.where: finding for finding in verify(store)}
    assert {where: finding.what for where, finding in found.items()} == {
        "screens/ended": "missing", "screens/going-on": "unfinished", "screens/mangled/plan.json": "unreadable plan",
        "screens/outside/plan.json": "unreadable plan",
    }  # fmt: skip
    assert found["screens/ended"].detail == "1 of 6 replicas"
    assert not found["screens/going-on"].problem and found["screens/ended"].problem
    done = {each.finding.where: each.done for each in repair(store)}
    assert done["screens/mangled/plan.json"].startswith("moved to quarantine/screens-mangled-plan.json")


@pytest.mark.parametrize("wrong", ["missing row", "other row", "row without folder", "other screen"])
def test_index_that_differs_from_the_folders_is_made_again(database, kept, wrong):
    store, digests = kept
    rebuild(store)
    rows = replica_rows(open_index(store))
    assert list(verify_index(store)) == []
    index = open_index(store)
    if wrong == "missing row":
        replica(store, "Y537S", "phenol", 7)
    elif wrong == "other row":
        upsert(index, [{**rows[0], "summary": {"binding_kcal": -99.0}}])
        assert list(verify_index(store, quick=True)) == [], "what is in it is only read without --quick"
    elif wrong == "row without folder":
        shutil.rmtree(store.folder("replicas", digests[0]))
    else:
        set_members(index, "small", digests[:1])
    found = list(verify_index(store))
    assert [finding.what for finding in found] == ["index"]
    assert all(finding.problem for finding in found)
    assert "made from the folders again" in [each for each in repair(store) if each.finding == found[0]][0].done
    assert list(verify_index(store)) == []


def test_a_store_without_an_index_is_told_so(kept):
    store, digests = kept
    assert [finding.what for finding in verify_index(store)] == ["no index"]
    assert not (store.root / "store.sqlite").exists(), "looking makes none"
    assert [each.finding.what for each in repair(store)] == ["no index"]
    assert list(verify_index(store)) == []


def test_names_from_outside_never_leave_their_folder(tmp_path):
    store = Store(tmp_path)
    for digest in ("../../etc", "", "ab", "A" * 64, "0" * 63 + "/", "0" * 65, "0" * 64 + "\n"):
        with pytest.raises(InputError, match="cannot name a result"):
            store.find("replicas", digest)
    with pytest.raises(ValueError, match="unknown kind"):
        store.folder("../replicas", "0" * 64)


def test_a_damaged_failure_record_is_one_line_that_says_what_to_do(tmp_path):
    store = Store(tmp_path)
    digest = produce(store, "poses", {"x": 1}, {"log.txt": "what"}, StageError("pose", "does not fit"))
    record = json.loads((store.folder("poses", digest) / "failure.json").read_text())
    assert record["where"] == f"STORE/poses/{digest}" and "log.txt" in record["files"]
    shutil.move(store.root / "poses", tmp_path / "elsewhere" / "poses")
    assert Store(tmp_path / "elsewhere").failure("poses", digest)["where"] == f"{tmp_path}/elsewhere/poses/{digest}"
    store = Store(tmp_path / "elsewhere")
    for text in ("{", "7", '{"cause": "does not fit"}', "[" * 100_000):
        (store.folder("poses", digest) / "failure.json").write_text(text)
        with pytest.raises(InputError, match="failure.json: the file is damaged.*esr1md store repair") as caught:
            store.failure("poses", digest)
        assert "\n" not in str(caught.value)
    assert list(repair(store))[0].done.startswith("moved to quarantine/poses-")
    assert store.failure("poses", digest) is None
