"""A store in a bucket of a real S3 server, used from several machines: folders of their own, processes of their own."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer
from small_store import preparations, produce, replica, replica_spec, screen, small_screen

from esr1md import cli
from esr1md.dynamics import checkpoint as checkpoints
from esr1md.errors import InputError, StageError, StoppedEarly
from esr1md.specs import digest_of
from esr1md.store import Store
from esr1md.store.artifacts import DONE
from esr1md.store.incoming import Damaged
from esr1md.store.location import open_store, remote_url, working_folder
from esr1md.store.merge import merge
from esr1md.store.mirror import Mirror
from esr1md.store.records import open_index, rebuild, replica_rows
from esr1md.store.remote import Remote, Unreachable, checked_url, is_url
from esr1md.store.repair import repair
from esr1md.store.shared_screens import fetch_folders
from esr1md.store.unused import Unneeded
from esr1md.store.verify import verify
from esr1md.store.verify_shared import verify_shared

REPOSITORY = Path(__file__).resolve().parents[2]
SECRET = "not-to-be-seen-anywhere"
SPEC = {"ligand": "estradiol"}
DIGEST = digest_of(SPEC)

pytestmark = pytest.mark.filterwarnings("ignore:.*is used with an index in a file of this machine")


class S3:
    """The server's own client, made once."""

    made = None

    def __getattr__(self, name: str):
        return getattr(S3.made, name)


@pytest.fixture(scope="module")
def server() -> Iterator[ThreadedMotoServer]:
    logging.getLogger("werkzeug").setLevel(logging.INFO)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    S3.made = boto3.client(
        "s3", endpoint_url=f"http://{host}:{port}", region_name="us-east-1",
        aws_access_key_id="tester", aws_secret_access_key="tester",
    )  # fmt: skip
    yield server
    server.stop()


@pytest.fixture
def bucket(server, monkeypatch, request) -> str:
    """The URL of a place in an empty bucket; credentials are in the environment."""
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_ACCESS_KEY_ID": "tester", "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1", "ESR1MD_REMOTE_PATIENCE": "20",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    for name in ("ESR1MD_DATABASE_URL", "AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    name = f"bucket-{abs(hash(request.node.nodeid)):x}"
    client = S3()
    client.create_bucket(Bucket=name)
    yield f"s3://{name}/group/er"
    for found in client.list_objects_v2(Bucket=name).get("Contents", []):
        client.delete_object(Bucket=name, Key=found["Key"])


@pytest.fixture
def machine(bucket, tmp_path, monkeypatch) -> Callable[[str], Store]:
    """The store as a machine sees it, by the machine's name."""

    def see(name: str) -> Store:
        monkeypatch.setenv("ESR1MD_CACHE", str(tmp_path / name))
        return open_store(bucket)

    return see


def objects(url: str) -> dict[str, bytes]:
    """What is in the bucket, by key below the URL."""
    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    client, found = S3(), {}
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{prefix}/"):
        for entry in page.get("Contents", []):
            content = client.get_object(Bucket=bucket, Key=entry["Key"])["Body"].read()
            found[entry["Key"].removeprefix(f"{prefix}/")] = content
    return found


def names(url: str) -> set[str]:
    """The keys below the URL."""
    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    found = S3().list_objects_v2(Bucket=bucket, Prefix=f"{prefix}/")
    return {entry["Key"].removeprefix(f"{prefix}/") for entry in found.get("Contents", [])}


def put(url: str, name: str, content: bytes) -> None:
    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    S3().put_object(Bucket=bucket, Key=f"{prefix}/{name}", Body=content)


def start(code: str, cache: Path, *arguments: str, **environment: str) -> subprocess.Popen:
    """A process of another machine."""
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", code, *arguments],
        cwd=REPOSITORY,
        env={**os.environ, "ESR1MD_CACHE": str(cache), **environment},
        stdout=subprocess.PIPE,
        text=True,
    )


def wait_until(true: Callable[[], bool], seconds: float = 30) -> None:
    limit = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < limit, "it did not happen"
        time.sleep(0.01)


def write_result(folder: Path) -> None:
    (folder / "result.txt").write_text("whole")
    (folder / "below").mkdir()
    (folder / "below" / "more.bin").write_bytes(bytes(1000))


def never(folder: Path) -> None:
    raise AssertionError("computed although the store had the answer")


MAKER = """
import sys, time
from pathlib import Path
from esr1md.specs import digest_of
from esr1md.store.location import open_store
spec = {"ligand": "estradiol"}
def make(folder):
    with open(sys.argv[2], "a") as handle:
        handle.write("x")
    time.sleep(float(sys.argv[3]))
    for number in range(int(sys.argv[4])):
        (folder / f"{number}.bin").write_bytes(bytes(10_000))
    (folder / "result.txt").write_text("whole")
print(open_store(sys.argv[1]).produce("poses", digest_of(spec), make, spec=spec))
"""


# -- two machines --------------------------------------------------------------------------------------------


def test_what_one_machine_computes_another_finds(bucket, machine, tmp_path):
    maker = start(MAKER, tmp_path / "a", bucket, str(tmp_path / "count"), "0", "2")
    assert Path(maker.communicate(timeout=60)[0].strip()).is_relative_to(tmp_path / "a")
    ours = machine("b")
    assert ours.root.is_relative_to(tmp_path / "b") and ours == Store(ours.root)
    assert ours.has("poses", DIGEST) and not ours.folder("poses", DIGEST).exists(), "asking gets nothing"
    folder = ours.find("poses", DIGEST)
    assert folder == ours.folder("poses", DIGEST) == ours.produce("poses", DIGEST, never, spec=SPEC)
    theirs = next((tmp_path / "a").glob("stores/*/poses")) / DIGEST
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.name != DONE} == {
        path.name: path.read_bytes() for path in theirs.iterdir() if path.name != DONE
    }
    assert json.loads((folder / DONE).read_text()) == json.loads((theirs / DONE).read_text())
    assert list(ours.done("poses")) == [folder] and list(verify(ours)) == [] and list(verify_shared(ours)) == []
    assert [path.name for path in folder.parent.iterdir()] == [DIGEST]


def test_failures_are_seen_as_well(machine):
    theirs = machine("a")

    def fail(folder: Path) -> None:
        (folder / "log.txt").write_text("what happened")
        raise StageError("pose", "does not fit", where=str(folder / "log.txt"), kind="outcome")

    with pytest.raises(StageError, match="does not fit"):
        theirs.produce("poses", DIGEST, fail, spec=SPEC)
    ours = machine("b")
    assert ours.failure("poses", DIGEST)["where"] == str(ours.folder("poses", DIGEST) / "log.txt")
    assert ours.find("poses", DIGEST) is None
    with pytest.raises(StageError, match="does not fit") as caught:
        ours.produce("poses", DIGEST, never, spec=SPEC)
    assert Path(caught.value.where).read_text() == "what happened"
    assert list(ours.failed("poses")) == [ours.folder("poses", DIGEST)]

    ours.produce("poses", DIGEST, write_result, spec=SPEC, retry=True)
    third = machine("c")
    assert third.failure("poses", DIGEST) is None and third.find("poses", DIGEST)
    third.forget("poses", DIGEST)
    assert names(third.shared.remote.url) == {"store.json"}
    assert third.produce("poses", DIGEST, write_result, spec=SPEC)


def test_two_machines_with_one_database_compute_once(bucket, postgres, tmp_path):
    """Leases are in PostgreSQL; both machines know the store by the same identity."""
    url = postgres.new_database()
    count = tmp_path / "count"
    makers = [
        start(MAKER, tmp_path / name, bucket, str(count), "1.0", "2", ESR1MD_DATABASE_URL=url) for name in ("a", "b")
    ]
    answers = [maker.communicate(timeout=90)[0].strip() for maker in makers]
    assert [maker.returncode for maker in makers] == [0, 0]
    assert count.read_text() == "x" and len(set(answers)) == 2
    for answer in answers:
        assert (Path(answer) / "result.txt").read_text() == "whole"


def test_without_a_server_database_one_warning_says_what_is_safe(bucket, tmp_path, monkeypatch):
    monkeypatch.setenv("ESR1MD_CACHE", str(tmp_path))
    with pytest.warns(UserWarning, match="ESR1MD_DATABASE_URL") as told:
        store = open_store(bucket)
    assert len(told) == 1 and "\n" not in str(told[0].message)
    assert store.shared.remote.url == bucket == remote_url(store.root)
    identity = json.loads((store.root / "store.json").read_text())["id"]
    (store.root / "store.json").unlink()
    monkeypatch.setenv("ESR1MD_DATABASE_URL", "postgresql://er@db/er")
    assert json.loads((open_store(bucket).root / "store.json").read_text())["id"] == identity
    assert json.loads(objects(bucket)["store.json"])["id"] == identity, "leases are the same from every machine"


def test_a_screen_asks_for_a_listing_not_for_every_digest(bucket, machine, caplog):
    theirs = machine("a")
    specs = [{"number": number} for number in range(12)]
    for spec in specs:
        theirs.produce("receptors", digest_of(spec), write_result, spec=spec)
    ours = machine("b")
    caplog.clear()
    with caplog.at_level(logging.INFO, "werkzeug"):
        assert all(ours.has("receptors", digest_of(spec)) for spec in specs)
        assert not any(ours.has("receptors", digest_of({"other": number})) for number in range(2000))
    asked = [record.getMessage() for record in caplog.records if "HTTP/1.1" in record.getMessage()]
    assert len(asked) < 12, asked
    theirs.produce("receptors", DIGEST, write_result, spec=SPEC)
    ours.shared._listed["receptors"] -= 31  # as if so many seconds had gone
    assert ours.has("receptors", DIGEST)


def test_a_glance_gets_small_files_only(bucket, machine):
    theirs = machine("a")
    digests = [replica(theirs, "WT", "phenol", seed) for seed in (1, 2)]
    ours = machine("b")
    wanted = ("summary.json", "ligand/state.txt", "not-there.txt")
    found = dict(ours.glance("replicas", [*digests, "0" * 64], wanted))
    assert list(found) == [*digests, "0" * 64] and found["0" * 64] is None
    for digest in digests:
        names_there = {
            path.relative_to(found[digest]).as_posix() for path in found[digest].rglob("*") if path.is_file()
        }
        assert names_there == {"summary.json", "ligand/state.txt", DONE}
        assert (found[digest] / "summary.json").read_bytes() == (
            theirs.find("replicas", digest) / "summary.json"
        ).read_bytes()
    assert not (ours.root / "replicas").exists() and dict(theirs.glance("replicas", digests, wanted)) == {
        digest: theirs.folder("replicas", digest) for digest in digests
    }
    put(bucket, f"replicas/{digests[0]}/final.pdb", b"changed")
    with pytest.raises(Damaged, match="final.pdb is not as it was sent"):
        list(ours.glance("replicas", digests, ["final.pdb"]))
    theirs.forget("replicas", digests[0])
    produce(theirs, "replicas", replica_spec("WT", "phenol", 1), {"final.pdb": "computed anew"})
    (_, folder), *_ = ours.glance("replicas", digests, ["final.pdb"])
    assert (folder / "final.pdb").read_text() == "computed anew"


# -- faults --------------------------------------------------------------------------------------------------


def test_a_folder_that_was_sent_in_part_is_never_taken_for_done(bucket, machine, tmp_path):
    """kill -9 in the middle of sending: nobody sees it, nothing is lost, and the next run sends it."""
    maker = start(MAKER, tmp_path / "a", bucket, str(tmp_path / "count"), "0", "60")
    wait_until(lambda: maker.poll() is not None or f"poses/{DIGEST}/" in "".join(names(bucket)))
    maker.send_signal(signal.SIGKILL)
    maker.communicate()
    there = names(bucket)
    assert f"poses/{DIGEST}/{DONE}" not in there, "the kill came too late"
    assert any(name.startswith(f"poses/{DIGEST}/") for name in there)
    ours = machine("b")
    assert not ours.has("poses", DIGEST) and ours.find("poses", DIGEST) is None

    theirs = machine("a")
    folder = theirs.find("poses", DIGEST)
    assert folder is not None, "it is finished on the machine that made it"
    assert [finding.what for finding in verify(theirs)] == ["unsent"]
    theirs.sweep()  # a screen begins with that
    assert list(verify(theirs)) == [] and list(verify_shared(theirs)) == []
    assert (machine("b").find("poses", DIGEST) / "59.bin").stat().st_size == 10_000
    assert (tmp_path / "count").read_text() == "x"


def test_a_server_that_is_away_for_a_while_is_waited_for(server, machine):
    ours = machine("a")
    assert ours.find("poses", DIGEST) is None

    def make(folder: Path) -> None:
        write_result(folder)
        server.stop()
        threading.Timer(3.0, server.start).start()

    port = server._server.port
    server._port = port
    assert ours.produce("poses", DIGEST, make, spec=SPEC)
    assert list(ours.shared.unsent()) == [] and machine("b").find("poses", DIGEST)


def test_a_server_that_stays_away_loses_nothing(server, bucket, machine, monkeypatch, run):
    monkeypatch.setenv("ESR1MD_REMOTE_PATIENCE", "1")
    ours = machine("a")
    server._port = server._server.port

    def make(folder: Path) -> None:
        write_result(folder)
        server.stop()

    try:
        with pytest.warns(UserWarning, match="cannot be reached.*stays in .* sent by the next run or 'esr1md store"):
            folder = ours.produce("poses", DIGEST, make, spec=SPEC)
        assert (folder / "result.txt").read_text() == "whole"
        assert Store(ours.root).produce("poses", DIGEST, never, spec=SPEC) == folder, "what is here needs no network"
        with pytest.raises(Unreachable, match="cannot be reached") as caught:
            Store(ours.root).find("receptors", DIGEST)
        assert "\n" not in str(caught.value) and SECRET not in str(caught.value) and bucket in str(caught.value)
    finally:
        server.start()
    assert machine("b").find("poses", DIGEST) is None
    machine("a")
    code, out, err = run("store", "repair", "--store", bucket)
    assert code == 0 and "sent" in out
    assert machine("b").find("poses", DIGEST)


@pytest.mark.parametrize("has_copy", [True, False], ids=["a good copy is here", "no copy is left"])
def test_a_corrupted_object_is_found_and_mended(bucket, machine, has_copy):
    theirs = machine("a")
    theirs.produce("poses", DIGEST, write_result, spec=SPEC)
    put(bucket, f"poses/{DIGEST}/result.txt", b"whole?")
    ours = machine("b")
    with pytest.raises(Damaged, match="result.txt.*esr1md store repair") as caught:
        ours.find("poses", DIGEST)
    assert "\n" not in str(caught.value) and not ours.folder("poses", DIGEST).exists()
    fixer = theirs if has_copy else ours
    found = list(verify_shared(fixer))
    assert [(f.what, f.where) for f in found] == [("damaged there", f"poses/{DIGEST}")]
    assert list(verify_shared(fixer, quick=True)) != [], "it has another size"
    put(bucket, f"poses/{DIGEST}/result.txt", b"WHOLE")
    assert list(verify_shared(fixer, quick=True)) == [] and len(list(verify_shared(fixer))) == 1
    (done,) = [each for each in repair(fixer, [("poses", DIGEST)]) if each.finding.what == "damaged there"]
    if has_copy:
        assert done.done == "sent again from the copy in the working folder"
        assert (ours.find("poses", DIGEST) / "result.txt").read_text() == "whole"
    else:
        assert "quarantine/poses-" in done.done
        assert any(name.startswith("quarantine/poses-") and name.endswith("result.txt") for name in names(bucket))
        assert machine("c").find("poses", DIGEST) is None
        assert ours.produce("poses", DIGEST, write_result, spec=SPEC)
    assert list(verify_shared(machine("d"))) == []


@pytest.mark.parametrize("files", ["no list", {"../outside": {"bytes": 1, "sha256": "0" * 64}}, {"a": {"bytes": -1}}])
def test_a_damaged_list_of_files_costs_its_folder_only(bucket, machine, files):
    theirs = machine("a")
    theirs.produce("poses", DIGEST, write_result, spec=SPEC)
    put(bucket, f"poses/{DIGEST}/{DONE}", json.dumps({"files": files}).encode())
    ours = machine("b")
    with pytest.raises(Damaged):
        ours.find("poses", DIGEST)
    assert [(f.what, f.where) for f in verify_shared(ours)] == [("damaged there", f"poses/{DIGEST}")]
    assert any("quarantine/poses-" in each.done for each in repair(ours))
    assert ours.produce("poses", DIGEST, write_result, spec=SPEC) and list(verify_shared(machine("c"))) == []


def test_a_list_that_differs_from_the_folders_is_mended(bucket, machine):
    ours = machine("a")
    ours.produce("poses", DIGEST, write_result, spec=SPEC)
    bucket_name, _, prefix = bucket.removeprefix("s3://").partition("/")
    S3().delete_object(Bucket=bucket_name, Key=f"{prefix}/index/poses/{DIGEST}.done")
    put(bucket, f"index/poses/{'0' * 64}.done", b"")
    again = machine("b")
    assert {(f.what, f.where[:12]) for f in verify_shared(again)} == {
        ("not indexed there", f"poses/{DIGEST[:6]}"), ("not indexed there", "poses/000000"),
    }  # fmt: skip
    assert again.produce("poses", DIGEST, never, spec=SPEC), "the folder itself is asked before anything is computed"
    assert {each.done for each in repair(again)} == {"listed as done", "taken from the list"}
    assert list(verify_shared(machine("c"))) == []


def test_two_machines_that_computed_the_same_keep_the_first(machine):
    ours, theirs = machine("a"), machine("b")

    def make(folder: Path) -> None:
        theirs.produce("poses", DIGEST, lambda f: (f / "result.txt").write_text("theirs"), spec=SPEC)
        (folder / "result.txt").write_text("ours")

    folder = ours.produce("poses", DIGEST, make, spec=SPEC)
    assert (folder / "result.txt").read_text() == "theirs"
    (aside,) = [path for path in (ours.root / "quarantine").iterdir() if path.is_dir()]
    assert (aside / "result.txt").read_text() == "ours"


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [("AWS_ENDPOINT_URL", "http://127.0.0.1:9", "cannot be reached"), ("bucket", "s3://no-such-bucket/er", "bucket")],
)
def test_a_store_that_cannot_be_used_is_one_line_before_anything_is_computed(
    bucket, tmp_path, monkeypatch, run, variable, value, said
):
    monkeypatch.setenv("ESR1MD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("ESR1MD_REMOTE_PATIENCE", "0.5")
    if variable != "bucket":
        monkeypatch.setenv(variable, value)
    code, out, err = run("store", "verify", "--store", value if variable == "bucket" else bucket)
    last = err.strip().splitlines()[-1]
    assert code == 2 and out == "" and last.startswith("error: ") and said in last.lower() and SECRET not in err


def test_no_secret_is_written_down(bucket, machine):
    ours = machine("a")
    ours.produce("poses", DIGEST, write_result, spec=SPEC)
    screen(ours, "small", [])
    ours.send_folder("screens", "small")
    for path in [*ours.root.rglob("*")]:
        assert not path.is_file() or SECRET.encode() not in path.read_bytes()
    assert all(SECRET.encode() not in content for content in objects(bucket).values())


# -- checkpoints ---------------------------------------------------------------------------------------------

RUNNER = """
import os, sys, time
import numpy as np
from esr1md.dynamics import checkpoint
from esr1md.specs import digest_of
from esr1md.store.location import open_store
def make(folder):
    (folder / "system.xml").write_text("<System/>")
    step = 0
    while True:
        for _ in range(3):
            with open(folder / "trajectory.xtc", "ab") as handle:
                handle.write(step.to_bytes(4, "big") * 500)
            step += 1
            time.sleep(0.002)
        size = (folder / "trajectory.xtc").stat().st_size
        checkpoint.write(folder, checkpoint.Checkpoint(
            checkpoint.Place(step=step), {"host": "a"}, {"trajectory.xtc": size}, np.zeros((1, 3)), np.zeros((1, 3)),
            np.eye(3)))
        with open(sys.argv[2], "w") as handle:
            handle.write(str(step))
spec = {"ligand": "estradiol"}
open_store(sys.argv[1]).produce("replicas", digest_of(spec), make, spec=spec)
"""


def listed_checkpoint(bucket: str) -> str | None:
    """Which checkpoint the mirror image in the bucket holds."""
    name = f"unfinished/replicas/{DIGEST}/unfinished.json"
    if name not in names(bucket):
        return None
    bucket, _, prefix = bucket.removeprefix("s3://").partition("/")
    content = S3().get_object(Bucket=bucket, Key=f"{prefix}/{name}")["Body"].read()
    return json.loads(content)["files"]["checkpoint.npz"]["sha256"]


def test_another_machine_goes_on_from_the_mirrored_checkpoint(bucket, machine, tmp_path):
    """A running replica's machine is lost: what it had mirrored is whole, however it was cut off."""
    runner = start(RUNNER, tmp_path / "a", bucket, str(tmp_path / "step"), ESR1MD_MIRROR_INTERVAL="0.2")
    seen = set()
    wait_until(lambda: runner.poll() is not None or seen.add(listed_checkpoint(bucket)) or len(seen - {None}) > 2)
    runner.kill()
    runner.communicate()
    reached = int((tmp_path / "step").read_text())

    def go_on(folder: Path) -> None:
        found, notes = checkpoints.read(folder)
        assert found is not None and notes == [] and 0 < found.place.step <= reached
        checkpoints.cut_back(folder, found)
        frames = (folder / "trajectory.xtc").read_bytes()
        assert frames == b"".join(step.to_bytes(4, "big") * 500 for step in range(found.place.step))
        assert (folder / "system.xml").read_text() == "<System/>"
        (folder / "step.txt").write_text(str(found.place.step))
        checkpoints.remove(folder)

    folder = machine("b").produce("replicas", DIGEST, go_on, spec=SPEC)
    assert int((folder / "step.txt").read_text()) > 0
    assert {path.name for path in folder.iterdir()} == {"trajectory.xtc", "system.xml", "step.txt", "spec.json", DONE}
    assert not [name for name in names(bucket) if name.startswith("unfinished/")], "it is not needed any more"
    back = machine("a")  # the lost machine comes back, with a checkpoint of its own
    assert list((back.root / "replicas").glob(".*.tmp")) and back.sweep() == 1, "it is of no use any more"
    assert (back.produce("replicas", DIGEST, never, spec=SPEC) / "step.txt").read_text() == (
        folder / "step.txt"
    ).read_text()


def write_checkpoint(folder: Path, step: int) -> None:
    (folder / "trajectory.xtc").write_bytes(bytes(range(step)) * 100)
    (folder / "checkpoint.npz").write_bytes(f"step {step}".encode())


def test_a_process_that_is_told_to_stop_leaves_its_last_checkpoint(machine):
    def stop(folder: Path) -> None:
        write_checkpoint(folder, 7)
        raise StoppedEarly("told to")

    ours = machine("a")
    with pytest.raises(StoppedEarly):
        ours.produce("replicas", DIGEST, stop, spec=SPEC)
    assert ours.failure("replicas", DIGEST) is None

    def go_on(folder: Path) -> None:
        assert (folder / "checkpoint.npz").read_bytes() == b"step 7"
        (folder / "checkpoint.npz").unlink()

    assert machine("b").produce("replicas", DIGEST, go_on, spec=SPEC)


def test_whoever_is_farther_is_gone_on_with(bucket, machine, tmp_path):
    """The same machine keeps what it has not mirrored yet; after another has gone on, that one counts."""
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()

    def mirror(folder: Path) -> Mirror:
        return Mirror(Remote(bucket), "replicas", DIGEST, folder)

    first = mirror(here)
    assert first.restore() is False
    write_checkpoint(here, 1)
    first.stop(once_more=True)
    write_checkpoint(here, 2)  # not mirrored any more: the machine is lost
    back = mirror(here)
    assert back.restore() is False and (here / "checkpoint.npz").read_bytes() == b"step 2"
    other = mirror(there)
    assert other.restore() is True and (there / "checkpoint.npz").read_bytes() == b"step 1"
    write_checkpoint(there, 3)
    other.stop(once_more=True)
    late = mirror(here)
    assert late.restore() is True and (here / "checkpoint.npz").read_bytes() == b"step 3"
    assert (here / "trajectory.xtc").read_bytes() == bytes(range(3)) * 100


def test_a_process_that_has_lost_its_lease_mirrors_nothing(bucket, tmp_path):
    write_checkpoint(tmp_path, 1)
    mirror = Mirror(Remote(bucket), "replicas", DIGEST, tmp_path, still_ours=lambda: False)
    mirror.stop(once_more=True)
    assert not [name for name in names(bucket) if name.startswith("unfinished/")]


@pytest.mark.parametrize("wrong", ["checkpoint.npz", "trajectory.xtc", "unfinished.json"])
def test_a_damaged_mirror_image_is_computed_from_the_beginning(bucket, tmp_path, wrong):
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    mirror = Mirror(Remote(bucket), "replicas", DIGEST, here)
    write_checkpoint(here, 4)
    mirror.stop(once_more=True)
    put(bucket, f"unfinished/replicas/{DIGEST}/{wrong}", b"damaged")
    with pytest.warns(UserWarning, match="computed from the beginning"):
        assert Mirror(Remote(bucket), "replicas", DIGEST, there).restore() is False
    assert list(there.iterdir()) == []


def test_an_old_list_stays_whole_while_a_new_image_is_being_sent(bucket, tmp_path, monkeypatch):
    """Cut off before the new list is written, whatever was sent before: the old one can still be gone on with."""
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    mirror = Mirror(Remote(bucket), "replicas", DIGEST, here)
    write_checkpoint(here, 4)
    (here / "notes.txt").write_text("first")
    mirror.stop(once_more=True)
    write_checkpoint(here, 9)
    (here / "trajectory.xtc").write_bytes(bytes(range(4)) * 100 + b"more")  # grown
    (here / "notes.txt").write_text("other")
    monkeypatch.setattr(mirror._remote, "write", lambda *_: (_ for _ in ()).throw(Unreachable("cut off")))
    with pytest.warns(UserWarning, match="could not be mirrored"):
        mirror.stop(once_more=True)
    assert Mirror(Remote(bucket), "replicas", DIGEST, there).restore() is True
    assert (there / "checkpoint.npz").read_bytes() == b"step 4" and (there / "notes.txt").read_text() == "first"
    assert (there / "trajectory.xtc").read_bytes() == bytes(range(4)) * 100


# -- screens, and the rest of the house ----------------------------------------------------------------------


def test_screens_follow_and_own_changes_are_kept(bucket, machine):
    theirs = machine("a")
    digests = [replica(theirs, "WT", "phenol", 1)]
    screen(theirs, "small", digests)
    (theirs.root / "screens/small/relative").mkdir()
    (theirs.root / "screens/small/relative/page.html").write_text("page")
    theirs.send_folder("screens", "small")
    ours = machine("b")
    for name in ("plan.json", "report.html", "relative/page.html"):
        path = f"screens/small/{name}"
        assert (ours.root / path).read_bytes() == (theirs.root / path).read_bytes()
    (theirs.root / "screens/small/report.html").write_text("newer")
    (theirs.root / "screens/small/ranking.json").write_text("theirs")
    (ours.root / "screens/small/ranking.json").write_text("ours")
    theirs.send_folder("screens", "small")
    assert fetch_folders(ours.shared.remote, ours.root) == 1
    assert (ours.root / "screens/small/report.html").read_text() == "newer"
    assert (ours.root / "screens/small/ranking.json").read_text() == "ours"
    assert rebuild(ours) == 1 and [row["digest"] for row in replica_rows(open_index(ours), "small")] == digests
    put(bucket, "screens/../../../evil/plan.json", b"{}")
    put(bucket, "screens/.evil/plan.json", b"{}")
    assert fetch_folders(ours.shared.remote, ours.root) == 0
    assert not list(ours.root.parent.rglob("*evil*"))
    Store(ours.root.parent / "local").send_folder("screens", "small")  # an ordinary folder has nothing to send


def test_a_bucket_merges_into_a_folder_and_a_folder_into_a_bucket(bucket, machine, tmp_path):
    local, digests = small_screen(tmp_path / "local")
    rebuild(local)
    shared = machine("a")
    came = merge(shared, str(local.root))
    assert came.added["replicas"] == len(digests) and list(shared.shared.unsent()) == []
    assert f"replicas/{digests[0]}/{DONE}" in names(bucket) and "screens/small/plan.json" in names(bucket)
    again = Store(tmp_path / "again")
    came = merge(again, bucket)
    assert came.added["replicas"] == len(digests) and came.screens == ["small"]
    assert list(verify(again)) == []
    put(bucket, f"replicas/{digests[0]}/final.pdb", b"changed")
    other = Store(tmp_path / "other")
    assert [each["where"] for each in merge(other, bucket).damaged] == [f"replicas/{digests[0]}"]


def test_unused_folders_of_a_bucket_are_found(bucket, machine):
    ours = machine("a")
    screen(ours, "small", [replica(ours, "WT", "phenol", 1)])
    ours.send_folder("screens", "small")
    made = preparations(ours, "estradiol")
    other = machine("b")
    found = list(Unneeded(other, older_than_days=0))
    assert {each.where for each in found} == {f"parameters/{made['parameters']}", f"poses/{made['pose']}"}
    assert all(each.there and each.bytes > 0 for each in found)
    assert list(Unneeded(other, older_than_days=1)) == []
    unneeded = Unneeded(other, older_than_days=0)
    assert all(unneeded.remove(each) for each in unneeded)
    assert not [name for name in names(bucket) if made["pose"] in name]
    assert list(verify_shared(machine("c"))) == []


def test_store_commands_take_a_url(bucket, machine, run):
    ours = machine("a")
    screen(ours, "small", [replica(ours, "WT", "phenol", 1)])
    ours.send_folder("screens", "small")
    machine("b")
    code, out, err = run("store", "verify", "--store", bucket, "--json")
    found = json.loads(out)
    assert code == 0 and found["object_store"] == bucket and found["problems"] == 0 and found["folders"] == 4
    code, out, err = run("store", "export", "small", "--store", bucket, "--out", "small.tar", "--json")
    assert code == 0 and json.loads(out)["folders"] == {"receptors": 1, "parameters": 1, "poses": 1, "replicas": 1}


# -- URLs ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "s3://key:hidden@bucket/er", "s3://hidden@bucket/er", "s3://bucket/er?token=hidden", "sftp://me:hidden@host/er",
        "s3://bucket/../er", "simplecache::s3://hidden@bucket/er", "https://host/er", "zip://er",
    ],
)  # fmt: skip
def test_urls_with_secrets_or_that_cannot_be_written_to_are_refused(url):
    with pytest.raises(InputError) as caught:
        open_store(url)
    assert "hidden" not in str(caught.value) and "\n" not in str(caught.value)


def test_what_is_a_url(tmp_path):
    assert is_url("s3://bucket/er") and is_url(Path("s3://bucket/er")) and is_url("file:///data")
    assert not is_url("runs") and not is_url("/data/s3:x") and not is_url("./a:b") and not is_url(tmp_path)
    assert checked_url(Path("s3://bucket/a/b/")) == "s3://bucket/a/b" == checked_url("S3://bucket/a/b")
    assert working_folder("s3://bucket/a/b") != working_folder("s3://bucket/a-b")
    assert open_store(tmp_path) == open_store(str(tmp_path)) == Store(tmp_path)


def test_without_s3fs_one_line_names_the_extra(tmp_path):
    code = (
        "import sys\nsys.modules['s3fs'] = None\nfrom esr1md import cli\n"
        "sys.exit(cli.main(['store', 'verify', '--store', 's3://bucket/er']))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True,
        env={**os.environ, "ESR1MD_CACHE": str(tmp_path)},
    )  # fmt: skip
    assert ran.returncode == 2 and "pip install 'esr1md[s3]'" in ran.stderr.splitlines()[-1]


def test_any_other_file_system_of_fsspec_serves_as_well(tmp_path, monkeypatch):
    """A folder by URL: what a mounted network share would be, without any server."""
    url = f"file://{tmp_path}/share"
    monkeypatch.setenv("ESR1MD_CACHE", str(tmp_path / "a"))
    ours = open_store(url)
    ours.produce("poses", DIGEST, write_result, spec=SPEC)
    monkeypatch.setenv("ESR1MD_CACHE", str(tmp_path / "b"))
    theirs = open_store(url)
    assert theirs.root != ours.root and theirs.find("poses", DIGEST)
    assert list(verify_shared(theirs)) == []
    theirs.forget("poses", DIGEST)
    assert Store(theirs.root).find("poses", DIGEST) is None


def test_a_damaged_remote_record_is_one_line(tmp_path):
    (tmp_path / "remote.json").write_text('{"url": 3}')
    with pytest.raises(InputError, match="remote.json: the file is damaged"):
        Store(tmp_path).find("poses", DIGEST)
    assert cli.main(["store", "verify", "--store", str(tmp_path)]) == 2
