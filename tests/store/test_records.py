"""The index: what a run writes row by row is what the folders say when it is rebuilt."""

from __future__ import annotations

import json

import pytest

from esr1md.errors import InputError, StageError
from esr1md.specs import digest_of
from esr1md.store import Store
from esr1md.store.records import open_index, rebuild, replica_row, replica_rows, set_members, upsert


def produce_replica(store: Store, variant: str, seed: int, fails: bool = False) -> str:
    spec = {
        "variant": variant,
        "ligand": {"smiles": "Oc1ccccc1", "inchikey": "ISWSIDIOOBJBQZ-UHFFFAOYSA-N"},
        "state": "agonist",
        "seed": seed,
    }
    digest = digest_of(spec)

    def make(folder):
        record = {"ligand": "phenol", "protocol": "quick", "platform": "CPU", "seconds": 1.5}
        (folder / "record.json").write_text(json.dumps(record))
        if fails:
            raise StageError("dynamics", "the energy stopped being finite")
        (folder / "summary.json").write_text(json.dumps({"binding_kcal": -30.0 - seed}))

    try:
        store.produce("replicas", digest, make, spec=spec)
    except StageError:
        assert fails
    return digest


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


def test_rebuilt_index_equals_the_one_kept_during_the_run(store):
    digests = [
        produce_replica(store, "WT", 1),
        produce_replica(store, "Y537S", 1),
        produce_replica(store, "Y537S", 2, fails=True),
    ]
    for screen, members in (("first", digests), ("second", digests[:1])):
        plan = {"screen": screen, "replicas": [{"digest": digest} for digest in members]}
        folder = store.root / "screens" / screen
        folder.mkdir(parents=True)
        (folder / "plan.json").write_text(json.dumps(plan))
    engine = open_index(store)
    set_members(engine, "first", digests)
    set_members(engine, "second", digests[:1])
    for digest in digests:
        upsert(engine, [replica_row(store.folder("replicas", digest))])
    before = {screen: replica_rows(engine, screen) for screen in (None, "first", "second")}
    engine.dispose()

    (store.root / "store.sqlite").unlink()
    assert rebuild(store) == 3
    engine = open_index(store)
    assert {screen: replica_rows(engine, screen) for screen in (None, "first", "second")} == before
    assert len(before[None]) == len(before["first"]) == 3 and len(before["second"]) == 1
    rows = {(row["variant"], row["seed"]): row for row in before[None]}
    assert rows["Y537S", 1]["summary"] == {"binding_kcal": -31.0}
    assert rows["Y537S", 1]["status"] == "done" and rows["Y537S", 1]["seconds"] == 1.5
    failed = rows["Y537S", 2]
    assert (failed["status"], failed["failure_stage"]) == ("failed", "dynamics")
    assert failed["ligand"] == "phenol" and failed["summary"] is None


def test_a_row_written_twice_is_one_row(store):
    digest = produce_replica(store, "WT", 1)
    engine = open_index(store)
    for _ in range(2):
        upsert(engine, [replica_row(store.folder("replicas", digest))])
    assert len(replica_rows(engine)) == 1


def test_half_written_replica_has_no_row(store):
    folder = store.folder("replicas", "aa")
    folder.mkdir(parents=True)
    assert replica_row(folder) is None
    assert rebuild(store) == 0


def test_another_database_by_url(store, tmp_path, monkeypatch):
    monkeypatch.setenv("ESR1MD_DATABASE_URL", f"sqlite:///{tmp_path / 'elsewhere.sqlite'}")
    produce_replica(store, "WT", 1)
    rebuild(store)
    assert (tmp_path / "elsewhere.sqlite").is_file() and not (store.root / "store.sqlite").exists()


def test_database_that_cannot_be_opened_is_one_line(store):
    with pytest.raises(InputError, match="index of results cannot be opened") as caught:
        open_index(store, "sqlite:////proc/no/such/folder/store.sqlite")
    assert "\n" not in str(caught.value)


def test_index_that_refuses_a_row_is_one_line_and_the_folder_is_kept(store):
    digest = produce_replica(store, "WT", 1)
    engine = open_index(store)
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "CREATE TRIGGER full BEFORE INSERT ON replicas BEGIN SELECT RAISE(FAIL, 'disk is full'); END"
        )
    with pytest.raises(InputError, match="index of results cannot be written: disk is full") as caught:
        upsert(engine, [replica_row(store.folder("replicas", digest))])
    assert "\n" not in str(caught.value)
    assert store.find("replicas", digest)
