"""The database of an index: opened and brought up to date by whoever is first, waited for while it is away."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import (
    JSON,
    Column,
    Float,
    Integer,
    MetaData,
    String,
    Table,
    create_engine,
    event,
    insert,
    inspect,
    text,
)

from esr1md.errors import InputError
from esr1md.store import Store
from esr1md.store import database as db
from esr1md.store.database import DamagedDatabase, database_url, engine_of, shown
from esr1md.store.identity import store_identity
from esr1md.store.migrate import HEAD, VERSIONS
from esr1md.store.records import open_index, replica_rows, set_members, upsert
from esr1md.store.tables import metadata
from postgres_server import PASSWORD

REPOSITORY = Path(__file__).resolve().parents[2]
ROW = {
    "digest": "ab", "variant": "WT", "ligand": "phenol", "inchikey": None, "state": "agonist", "seed": 1,
    "protocol": "quick", "status": "done", "failure_stage": None, "failure_cause": None, "failure_where": None,
    "failure_kind": None, "platform": "CPU", "seconds": 1.5, "started": "a", "finished": "b", "summary": {"rmsd": 1.25},
}  # fmt: skip


def python(code: str, *arguments: str) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", code, *arguments], cwd=REPOSITORY, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)  # fmt: skip


def old_tables() -> MetaData:
    """The tables as they were made before there were migrations."""
    old = MetaData()
    optional = ("failure_stage", "failure_cause", "failure_where", "failure_kind", "platform")
    Table(
        "replicas", old,
        Column("digest", String(64), primary_key=True),
        Column("variant", String, nullable=False, index=True), Column("ligand", String, nullable=False, index=True),
        Column("inchikey", String, index=True), Column("state", String, nullable=False),
        Column("seed", Integer, nullable=False), Column("protocol", String, nullable=False),
        Column("status", String, nullable=False, index=True), *(Column(name, String) for name in optional),
        Column("seconds", Float), Column("started", String), Column("finished", String), Column("summary", JSON),
    )  # fmt: skip
    Table("screen_replicas", old, Column("screen", String, primary_key=True),
          Column("digest", String(64), primary_key=True))  # fmt: skip
    return old


# -- versions --------------------------------------------------------------------------------------------------


def test_the_migrations_lead_to_the_tables(database, store):
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext
    from alembic.script import ScriptDirectory

    index = open_index(store)
    assert index.read(lambda c: compare_metadata(MigrationContext.configure(c), metadata)) == []
    assert index.read(lambda c: c.execute(text("SELECT version_num FROM alembic_version")).scalar()) == HEAD
    script = ScriptDirectory(str(REPOSITORY / "esr1md/store/migrations"))
    assert tuple(r.revision for r in script.walk_revisions())[::-1] == VERSIONS


def test_an_index_without_a_version_is_adopted_with_its_rows(database, store):
    url, old = database_url(store.root), old_tables()
    before = create_engine(url)
    old.create_all(before)
    with before.begin() as connection:
        connection.execute(insert(old.tables["replicas"]), [ROW, {**ROW, "digest": "cd", "summary": None}])
        connection.execute(insert(old.tables["screen_replicas"]), [{"screen": "one", "digest": "cd"}])
    before.dispose()
    index = open_index(store)
    assert replica_rows(index) == [ROW, {**ROW, "digest": "cd", "summary": None}]
    assert [row["digest"] for row in replica_rows(index, "one")] == ["cd"]


@pytest.mark.parametrize("version", ["9999", "4f5e1c2a3b1d"])
def test_tables_of_a_newer_version_are_refused(database, store, version):
    index = open_index(store)
    index.write(lambda c: c.execute(text("UPDATE alembic_version SET version_num = :v"), {"v": version}))
    index.dispose()
    with pytest.raises(InputError, match=f"tables of version '{version}', which this esr1md does not know") as caught:
        open_index(store)
    assert "newer esr1md" in str(caught.value) and "\n" not in str(caught.value)


def test_an_interrupted_migration_has_not_happened(database, store, monkeypatch):
    from alembic import command

    def interrupted(config, head):
        upgrade(config, head)
        raise KeyboardInterrupt

    upgrade = command.upgrade
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(command, "upgrade", interrupted)
        open_index(store)
    assert db.read(database_url(store.root), lambda c: inspect(c).get_table_names()) == []
    assert replica_rows(open_index(store)) == []


def test_processes_that_open_a_new_index_at_once(database, store):
    code = (
        "import sys; from esr1md.store import Store; from esr1md.store.records import *\n"
        "index = open_index(Store(sys.argv[1])); set_members(index, sys.argv[2], ['ab']); print(index.store)\n"
    )
    processes = [python(code, str(store.root), f"screen{number}") for number in range(4)]
    said = {process.communicate(timeout=60)[0] for process in processes}
    assert said == {f"{store_identity(store.root).id}\n"}


def test_an_open_index_is_opened_again_for_nothing(database, store):
    index, said = open_index(store), []
    event.listen(engine_of(index.url), "before_cursor_execute", lambda *arguments: said.append(arguments[2]))
    assert open_index(store) == index and said == []
    code = "import sys; from esr1md.store import Store; from esr1md.store.records import *\n"
    code += "open_index(Store(sys.argv[1])); print(sorted({'alembic', 'mako'} & set(sys.modules)))"
    assert python(code, str(store.root)).communicate(timeout=60)[0] == "[]\n"


# -- SQLite ----------------------------------------------------------------------------------------------------


def test_readers_and_writers_do_not_wait_for_each_other(own, store):
    index = open_index(store)
    upsert(index, [ROW])
    assert index.read(lambda c: c.exec_driver_sql("PRAGMA journal_mode").scalar()) == "wal"
    assert index.read(lambda c: c.exec_driver_sql("PRAGMA synchronous").scalar()) == 2, "a commit is on the disk"
    with closing(sqlite3.connect(own)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("DELETE FROM replicas")
        assert replica_rows(index) == [ROW]


def test_a_file_that_another_process_writes_to_is_waited_for(own, store):
    index = open_index(store)
    code = (
        "import sqlite3, sys, time\n"
        "connection = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "connection.execute('BEGIN IMMEDIATE'); print('begun', flush=True); time.sleep(3)\n"
        "connection.execute('COMMIT')\n"
    )
    process, started = python(code, str(own)), time.monotonic()
    assert process.stdout.readline() == "begun\n"
    upsert(index, [ROW])
    assert replica_rows(index) == [ROW] and time.monotonic() - started >= 3
    process.communicate()


@pytest.mark.parametrize("content", ["noise", "damaged page", "another program's"])
def test_a_file_that_is_no_index_is_one_line(own, store, content):
    if content == "noise":
        own.write_bytes(b"noise" * 1000)
    elif content == "damaged page":
        open_index(store).dispose()
        whole = own.read_bytes()
        own.write_bytes(whole[:100] + b"\xff" * 4000 + whole[4100:])
    else:
        with closing(sqlite3.connect(own)) as connection:
            connection.execute("CREATE TABLE contacts (name TEXT)")
    with pytest.raises(DamagedDatabase, match="damaged or is something else") as caught:
        replica_rows(open_index(store))
    assert str(own) in str(caught.value) and "esr1md store rebuild" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_was_replaced_is_opened_anew(own, store):
    upsert(open_index(store), [ROW])
    own.rename(own.with_name("old.sqlite"))
    for rest in store.root.glob("store.sqlite-*"):
        rest.unlink()
    assert replica_rows(open_index(store)) == []
    assert own.is_file()


# -- PostgreSQL ------------------------------------------------------------------------------------------------


def test_a_server_that_is_down_for_a_while_is_waited_for(postgres, postgres_url, store):
    """Rows are written one after the other while the server is stopped, as a crash would, and started again."""
    index = open_index(store)
    ended, written = threading.Event(), []

    def write() -> None:
        while not ended.is_set():
            upsert(index, [{**ROW, "digest": f"{len(written):04d}"}])
            written.append(time.monotonic())
            time.sleep(0.01)

    with pytest.warns(UserWarning, match="cannot be reached .* trying again for 300 s") as warned:
        thread = threading.Thread(target=write)
        thread.start()
        time.sleep(0.5)
        postgres.stop("immediate")
        time.sleep(4)
        postgres.start()
        back, limit = time.monotonic(), time.monotonic() + 20
        while written[-1] < back and time.monotonic() < limit:
            time.sleep(0.05)
        ended.set()
        thread.join()
    assert len(warned) == 1, "it is said once"
    assert PASSWORD not in str(warned[0].message)
    assert [row["digest"] for row in replica_rows(index)] == [f"{number:04d}" for number in range(len(written))]
    pauses = [after - before for before, after in zip(written, written[1:], strict=False)]
    assert max(pauses) > 4 and written[-1] > back


def test_a_server_that_does_not_come_back_is_given_up(store, monkeypatch):
    monkeypatch.setenv("ESR1MD_DATABASE_URL", f"postgresql://tester:{PASSWORD[:6]}@127.0.0.1:1/nothing")
    monkeypatch.setattr(db, "OPENING_SECONDS", 1.0)
    with pytest.warns(UserWarning, match="trying again for 1 s"), pytest.raises(InputError) as caught:
        open_index(store)
    said = str(caught.value)
    assert "postgresql://tester@127.0.0.1:1/nothing" in said and "\n" not in said and PASSWORD[:6] not in said


@pytest.mark.parametrize("wrong", ["password", "database"])
def test_what_waiting_cannot_mend_is_told_at_once(postgres, store, monkeypatch, wrong):
    url = database_url(store.root, postgres.url("postgres"))
    url = url.set(password="s3cret-Other") if wrong == "password" else url.set(database="nowhere")
    monkeypatch.setenv("ESR1MD_DATABASE_URL", url.render_as_string(hide_password=False))
    started = time.monotonic()
    with pytest.raises(InputError, match="failed for user|does not exist") as caught:
        open_index(store)
    assert time.monotonic() - started < 10
    assert "s3cret" not in str(caught.value) and "\n" not in str(caught.value)


def test_the_password_is_kept_nowhere(postgres_url, store):
    index = open_index(store)
    upsert(index, [ROW])
    assert PASSWORD not in f"{index} {index!r} {shown(index.url)}"
    kept = [path.read_bytes() for path in store.root.rglob("*") if path.is_file()]
    assert kept and not any(b"s3cret" in content for content in kept)


def test_tables_of_another_program_are_left_alone(postgres_url, store):
    url = database_url(store.root)
    db.write(url, lambda c: c.execute(text("CREATE TABLE reviews (stars INTEGER)")))
    with pytest.raises(InputError, match=r"has tables of another program \(reviews\)"):
        open_index(store)
    db.write(url, lambda c: c.execute(text("ALTER TABLE reviews RENAME TO guests")))
    assert replica_rows(open_index(store)) == []


def test_stores_in_one_database_are_apart(postgres_url, tmp_path):
    one, other = Store(tmp_path / "one"), Store(tmp_path / "other")
    for store, seconds in ((one, 1.0), (other, 2.0)):
        store.root.mkdir()
        upsert(open_index(store), [{**ROW, "seconds": seconds}])
    set_members(open_index(one), "screen", ["ab"])
    assert [row["seconds"] for row in replica_rows(open_index(one), "screen")] == [1.0]
    assert [row["seconds"] for row in replica_rows(open_index(other))] == [2.0]
    assert replica_rows(open_index(other), "screen") == []


def test_without_its_driver_the_extra_is_named(store, monkeypatch):
    monkeypatch.setenv("ESR1MD_DATABASE_URL", "postgres://nobody@127.0.0.1/without_a_driver")
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(InputError, match=r"pip install 'esr1md\[postgres\]'"):
        open_index(store)


# -- both ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["mysql://root:s3cret@host/name", "sqlite://", "s3cret", "postgresql://a:s3cret@h:x/y"])
def test_urls_that_are_no_database_of_ours(store, monkeypatch, url):
    monkeypatch.setenv("ESR1MD_DATABASE_URL", url)
    with pytest.raises(InputError, match="ESR1MD_DATABASE_URL: .*expected postgresql://user@host/name") as caught:
        open_index(store)
    assert "s3cret" not in str(caught.value)


def test_a_forked_process_has_connections_of_its_own(database, store):
    index = open_index(store)
    upsert(index, [ROW])
    engine = engine_of(index.url)
    child = os.fork()
    if child == 0:
        try:
            upsert(index, [{**ROW, "digest": "cd"}])
            os._exit(0 if len(replica_rows(index)) == 2 and engine_of(index.url) is not engine else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert [row["digest"] for row in replica_rows(index)] == ["ab", "cd"]


def test_a_lost_identity_is_found_again_in_the_rows(own, store):
    before = open_index(store)
    upsert(before, [ROW])
    (store.root / "store.json").unlink()
    assert open_index(store) == before


def test_a_damaged_identity_is_one_line(own, store):
    (store.root / "store.json").write_text("[1, 2")
    with pytest.raises(InputError, match="store.json: is damaged") as caught:
        open_index(store)
    assert "\n" not in str(caught.value)


def test_threads_give_a_store_one_identity(store):
    found = []
    threads = [threading.Thread(target=lambda: found.append(store_identity(store.root).id)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8 and len(set(found)) == 1
    assert [path.name for path in store.root.iterdir()] == ["store.json"]
