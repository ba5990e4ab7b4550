"""The index: what a run writes row by row is what the folders say when it is rebuilt."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text

from esr1md.errors import InputError, StageError
from esr1md.specs import digest_of
from esr1md.store import Store, records, reviews
from esr1md.store.database import DamagedDatabase, is_server
from esr1md.store.identity import FOLDER, store_identity
from esr1md.store.records import open_index, rebuild, replica_row, replica_rows, set_members, upsert
from esr1md.store.reviews import Subject, record


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


def plan_screen(store: Store, screen: str, digests: list[str]) -> None:
    folder = store.root / "screens" / screen
    folder.mkdir(parents=True)
    plan = {"screen": screen, "replicas": [{"digest": digest} for digest in digests]}
    (folder / "plan.json").write_text(json.dumps(plan))


def row(digest: str, **changed) -> dict:
    values = {"variant": "WT", "ligand": "phenol", "state": "agonist", "seed": 1, "protocol": "quick", "status": "done"}
    return (
        {name: None for name in records.replicas.columns.keys() if name != "store"}
        | values
        | changed
        | {"digest": digest}
    )


def test_rebuilt_index_equals_the_one_kept_during_the_run(database, store):
    digests = [
        produce_replica(store, "WT", 1),
        produce_replica(store, "Y537S", 1),
        produce_replica(store, "Y537S", 2, fails=True),
    ]
    index = open_index(store)
    for screen, members in (("first", digests), ("second", digests[:1])):
        plan_screen(store, screen, members)
        set_members(index, screen, members)
    for digest in digests:
        upsert(index, [replica_row(store.folder("replicas", digest))])
    before = {screen: replica_rows(index, screen) for screen in (None, "first", "second")}

    upsert(index, [row("gone"), row(digests[0], status="failed")])
    set_members(index, "first", ["gone"])
    set_members(index, "no such plan", digests)
    assert rebuild(store) == 3
    assert {screen: replica_rows(index, screen) for screen in (None, "first", "second")} == before
    assert replica_rows(index, "no such plan") == []
    assert len(before[None]) == len(before["first"]) == 3 and len(before["second"]) == 1
    rows = {(row["variant"], row["seed"]): row for row in before[None]}
    assert rows["Y537S", 1]["summary"] == {"binding_kcal": -31.0}
    assert rows["Y537S", 1]["status"] == "done" and rows["Y537S", 1]["seconds"] == 1.5
    failed = rows["Y537S", 2]
    assert (failed["status"], failed["failure_stage"]) == ("failed", "dynamics")
    assert failed["ligand"] == "phenol" and failed["summary"] is None


def test_an_index_that_was_removed_is_made_again(own, store):
    produce_replica(store, "WT", 1)
    index = open_index(store)
    own.unlink()
    assert rebuild(store) == 1 and len(replica_rows(index)) == 1


def test_a_row_written_twice_is_one_row(database, store):
    index = open_index(store)
    upsert(index, [row("a", seconds=1.0), row("b")])
    upsert(index, [row("a", seconds=2.0, summary={"binding_kcal": -7.5})])
    found = replica_rows(index)
    assert [r["digest"] for r in found] == ["a", "b"]
    assert found[0] == row("a", seconds=2.0, summary={"binding_kcal": -7.5})


def test_more_rows_than_a_statement_has_room_for(database, store, monkeypatch):
    """Two full batches and a part of one, first written and then changed in part."""
    monkeypatch.setattr(records, "BATCH", 10_000)
    index, digests = open_index(store), [f"{number:064x}" for number in range(25_000)]
    set_members(index, "large", iter(digests))
    upsert(index, (row(digest) for digest in digests))
    assert [r["digest"] for r in replica_rows(index, "large", ["digest"])] == digests
    set_members(index, "large", iter(digests[1:12_000] + ["new"]))
    assert [r["digest"] for r in replica_rows(index, "large", ["digest"])] == digests[1:12_000]
    count = index.read(lambda c: c.execute(text("SELECT count(*) FROM screen_replicas")).scalar())
    assert count == 12_000


def test_half_written_replica_has_no_row(database, store):
    folder = store.root / "replicas" / ("a" * 64)
    folder.mkdir(parents=True)
    assert replica_row(folder) is None
    assert rebuild(store) == 0


@pytest.mark.parametrize("content", ["{", "[]", "{}"])
def test_a_damaged_folder_is_left_out_and_said(own, store, content):
    produce_replica(store, "WT", 1)
    damaged = produce_replica(store, "WT", 2)
    (store.folder("replicas", damaged) / "spec.json").write_text(content)
    with pytest.warns(UserWarning, match=f"left out of the index: .*{damaged}"):
        assert rebuild(store) == 1


def test_another_database_by_url(store, tmp_path, monkeypatch):
    monkeypatch.setenv("ESR1MD_DATABASE_URL", f"sqlite:///{tmp_path / 'elsewhere.sqlite'}")
    produce_replica(store, "WT", 1)
    rebuild(store)
    assert (tmp_path / "elsewhere.sqlite").is_file() and not (store.root / "store.sqlite").exists()


def test_database_that_cannot_be_opened_is_one_line(store):
    with pytest.raises(InputError, match="/proc/no/such/folder/store.sqlite: ") as caught:
        open_index(store, "sqlite:////proc/no/such/folder/store.sqlite")
    assert "\n" not in str(caught.value)


def test_index_that_refuses_a_row_is_one_line_and_the_folder_is_kept(own, store):
    digest = produce_replica(store, "WT", 1)
    index = open_index(store)
    trigger = "CREATE TRIGGER full BEFORE INSERT ON replicas BEGIN SELECT RAISE(FAIL, 'disk is full'); END"
    index.write(lambda connection: connection.exec_driver_sql(trigger))
    with pytest.raises(InputError, match="index of results cannot be written: disk is full") as caught:
        upsert(index, [replica_row(store.folder("replicas", digest))])
    assert "\n" not in str(caught.value)
    assert store.find("replicas", digest)


# -- a damaged index -------------------------------------------------------------------------------------------

LIGAND = Subject("quick", "ISWSIDIOOBJBQZ-UHFFFAOYSA-N")


def damage(file: Path, table: str, page_of_it: int = 0) -> None:
    """Overwrite a page of a table."""
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        size = connection.execute("PRAGMA page_size").fetchone()[0]
        pages = [page for (page,) in connection.execute(
            "SELECT pageno FROM dbstat WHERE name = ? AND pagetype = 'leaf' ORDER BY path", (table,))]  # fmt: skip
    with open(file, "r+b") as handle:
        handle.seek((pages[page_of_it] - 1) * size)
        handle.write(b"\xde" * size)


def test_reviews_survive_a_rebuild(database, store):
    index = open_index(store)
    said = record(index, LIGAND, "advance", reviewer="ada")
    produce_replica(store, "WT", 1)
    assert rebuild(store) == 1
    assert reviews.history(index, LIGAND).current == (said,)


def test_a_damaged_index_is_kept_aside_and_its_reviews_are_carried_over(own, store):
    digest = produce_replica(store, "WT", 1)
    index = open_index(store)
    upsert(index, [replica_row(store.folder("replicas", digest))])
    said = record(index, LIGAND, "advance", reviewer="ada")
    index.dispose()
    damage(own, "replicas")
    with pytest.raises(DamagedDatabase, match="esr1md store rebuild"):
        replica_rows(index)
    with pytest.warns(UserWarning, match="was kept as store.sqlite.damaged-2"):
        assert rebuild(store) == 1
    assert [r["digest"] for r in replica_rows(index)] == [digest]
    assert reviews.history(index, LIGAND).entries == (said,)
    assert len(list(store.root.glob("store.sqlite.damaged-*"))) == 1


def test_what_cannot_be_read_of_the_reviews_is_said(own, store):
    index, said = open_index(store), []
    for number in range(12):
        follows = [said[-1].id] if said else []
        said.append(record(index, LIGAND, "hold", reviewer="ada", comment=f"{number} " + "x" * 1500, follows=follows))
    index.dispose()
    damage(own, "reviews", 2)
    with pytest.warns(UserWarning) as warned:
        rebuild(store)
    kept = reviews.history(index, LIGAND).entries
    assert 0 < len(kept) < 12 and set(kept) <= set(said)
    assert said[0] in kept and said[-1] in kept, "what lies on both sides of the damage"
    assert any(f"{len(kept)} reviews could be read and are kept; others" in str(w.message) for w in warned)


@pytest.mark.parametrize("content", [b"noise" * 1000, None])
def test_a_strange_file_is_kept_aside(own, store, content):
    produce_replica(store, "WT", 1)
    if content is None:
        with closing(sqlite3.connect(own)) as connection:
            connection.execute("CREATE TABLE contacts (name TEXT)")
    else:
        own.write_bytes(content)
    before = own.read_bytes()
    with pytest.warns(UserWarning, match="is damaged or is something else"):
        assert rebuild(store) == 1
    (aside,) = store.root.glob("store.sqlite.damaged-*")
    assert aside.read_bytes() == before and len(replica_rows(open_index(store))) == 1


# -- from one database to another ------------------------------------------------------------------------------


def test_a_store_moves_to_a_server_with_its_reviews(store, postgres_url, monkeypatch):
    monkeypatch.delenv("ESR1MD_DATABASE_URL")
    produce_replica(store, "WT", 1)
    said = record(open_index(store), LIGAND, "reject", reviewer="ada", comment="clashes\nwith M421")
    monkeypatch.setenv("ESR1MD_DATABASE_URL", postgres_url)
    with pytest.raises(InputError, match="locks in its folder.*esr1md store rebuild"):
        open_index(store)
    with pytest.warns(UserWarning, match="its index was moved to postgresql://"):
        assert rebuild(store) == 1
    index = open_index(store)
    assert is_server(index.url) and store_identity(store.root).leases != FOLDER
    assert reviews.history(index, LIGAND).entries == (said,)
    produce_replica(store, "WT", 2)
    with pytest.warns(UserWarning, match="the database of before"):
        monkeypatch.delenv("ESR1MD_DATABASE_URL")
        assert rebuild(store) == 2
    assert store_identity(store.root).leases == FOLDER
