"""``esr1md store``: tables for people, one JSON document for programs, exit codes, one-line errors, helpful help."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from small_store import PDB, produce, replica, replica_spec, screen, small_screen

from esr1md.errors import StageError
from esr1md.specs import digest_of
from esr1md.store import Store
from esr1md.store.records import rebuild


@pytest.fixture
def kept(tmp_path) -> tuple[Store, list[str]]:
    """The store ``runs`` of the folder that commands run in."""
    store, digests = small_screen(tmp_path / "runs")
    rebuild(store)
    return store, digests


def test_verify_says_what_it_means_and_what_mends_it(run, kept):
    store, digests = kept
    code, out, err = run("store", "verify")
    assert code == 0 and "9 folders, every file read: nothing to mend" in out and err == ""
    (store.folder("replicas", digests[0]) / "final.pdb").write_text("changed")
    screen(store, "going-on", ["d" * 64], finished=False)
    rebuild(store)
    code, out, err = run("store", "verify")
    assert code == 3 and "1 problems" in out
    said = " ".join(out.split())
    for text in ("damaged", f"replicas/{digests[0][:13]}...", "final.pdb has 7 bytes", "cannot be trusted",
                 "quarantine", "unfinished", "screens/going-on", "1 of 1 replicas"):  # fmt: skip
        assert text in said, text
    code, out, err = run("store", "verify", "--quick", "--json")
    document = json.loads(out)
    assert code == 3 and document["problems"] == 1 and document["folders"] == 9 and document["quick"]
    assert {(f["what"], f["problem"]) for f in document["findings"]} == {("damaged", True), ("unfinished", False)}
    code, out, err = run("store", "verify", f"replicas/{digests[1]}")
    assert code == 0


def test_repair_does_nothing_when_asked_what_it_would_do(run, kept):
    store, digests = kept
    assert run("store", "repair")[1].strip() == "nothing to mend"
    (store.folder("replicas", digests[0]) / "final.pdb").write_text("changed")
    code, out, err = run("store", "repair", "--dry-run")
    assert code == 0 and "would be mended" in out and store.find("replicas", digests[0])
    code, out, err = run("store", "repair", "--json")
    repairs = json.loads(out)["repairs"]
    assert code == 0 and [each["what"] for each in repairs] == ["damaged", "index"]
    assert repairs[0]["done"].startswith("moved to quarantine/replicas-") and not store.find("replicas", digests[0])
    code, out, err = run("store", "verify")
    assert code == 3 and "missing" in out and "1 in STORE/quarantine" in out


def test_what_somebody_works_in_is_left_alone(run, kept):
    store, digests = kept
    spec = replica_spec("D538G", "phenol", 1)

    def while_computing(folder: Path) -> None:
        (folder / "half.txt").write_text("half")
        assert json.loads(run("store", "verify", "--json")[1])["findings"] == []
        assert run("store", "repair")[1].strip() == "nothing to mend"
        assert (folder / "half.txt").exists()

    store.produce("replicas", digest_of(spec), while_computing, spec=spec)


def test_rebuild_says_how_many_and_where(run, kept):
    store, digests = kept
    replica(store, "Y537S", "phenol", 1, StageError("dynamics", "no"))
    code, out, err = run("store", "rebuild")
    assert code == 0 and " ".join(out.split()).endswith("store.sqlite: 5 replicas")
    assert json.loads(run("store", "rebuild", "--json")[1])["replicas"] == 5


def test_export_and_merge_by_command(run, kept, tmp_path):
    store, digests = kept
    plan = json.loads((store.root / "screens/small/plan.json").read_text())
    plan["replicas"].append({"digest": "e" * 64, "name": "later"})
    (store.root / "screens/small/plan.json").write_text(json.dumps(plan))
    code, out, err = run("store", "export", "small", "--out", "small.tar")
    assert code == 0 and "9 folders (1 receptors, 2 parameters, 2 poses, 4 replicas)" in " ".join(out.split())
    assert "1 replicas of the plans are not finished" in out
    code, out, err = run("store", "export", "small", "--out", "small.tar")
    assert code == 2 and out == "" and "is there already" in err
    code, out, err = run("store", "merge", "small.tar", "--store", "theirs", "--dry-run")
    assert code == 0 and "9 folders (" in out and "would come" in out and "screen small: new" in out
    assert not (tmp_path / "theirs").exists()
    code, out, err = run("store", "merge", "small.tar", "--store", "theirs", "--as", "ours", "--json")
    document = json.loads(out)
    assert code == 0 and document["screens"] == ["ours"] and document["added"]["replicas"] == 4
    code, out, err = run("store", "merge", "small.tar", "--store", "theirs", "--as", "ours")
    assert code == 0 and "screen ours: was here" in out and "0 folders came" in out
    (store.folder("replicas", digests[0]) / "final.pdb").write_text("changed")
    code, out, err = run("store", "merge", "runs", "--store", "others")
    assert code == 3 and f"left out, damaged: replicas/{digests[0][:13]}..." in out


def test_gc_lists_first_and_removes_when_told(run, kept):
    store, digests = kept
    unused = produce(store, "replicas", replica_spec("D538G", "phenol", 9), {"final.pdb": PDB})
    code, out, err = run("store", "gc")
    assert code == 0 and out.strip() == "nothing is unused", "it is of today"
    code, out, err = run("store", "gc", "--older-than", "0")
    assert code == 0 and f"replicas/{unused[:13]}..." in out and "1 folders" in out and "can go: add --remove" in out
    assert store.find("replicas", unused)
    code, out, err = run("store", "gc", "--older-than", "0", "--remove", "--json")
    document = json.loads(out)
    assert code == 0 and [(row["where"], row["removed"]) for row in document["unused"]] == [
        (f"replicas/{unused}", True)
    ]
    assert store.find("replicas", unused) is None and all(store.find("replicas", digest) for digest in digests)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("verify", "--store", "nowhere"), "no store at 'nowhere'"),
        (("verify", "replicas/12"), "'replicas/12' is no folder of a result"),
        (("export", "--store", "nowhere", "--out", "x.tar"), "no store at 'nowhere'"),
        (("export", "other", "--out", "x.tar"), "no screen 'other' in this store; expected one of small"),
        (("merge", "nothing.tar"), "there is no 'nothing.tar'"),
        (("gc", "--store", "empty"), "no screen has run in this store"),
        (("verify", "--store", "s3://key:secret@bucket/x"), "holds a password or a key"),
    ],
)
def test_errors_are_one_line(run, kept, tmp_path, arguments, said):
    (tmp_path / "empty").mkdir()
    code, out, err = run("store", *arguments)
    assert code == 2 and out == "" and err.count("\n") == 1 and said in err and "secret" not in err


@pytest.mark.parametrize("command", ["verify", "repair", "rebuild", "export", "merge", "gc"])
def test_help_teaches_by_examples(run, command):
    code, out, err = run("store", command, "--help")
    assert code == 0 and out.count(f"esr1md store {command}") >= 2 and "Examples:" in out


def test_screens_of_another_version_of_python_types_are_refused(run, kept):
    store, _ = kept
    (store.root / "screens/small/plan.json").write_text('{"screen": "small", "replicas": 7}')
    for command in (("export", "small", "--out", "x.tar"), ("gc",)):
        code, out, err = run("store", *command)
        assert code == 2 and "plan.json: it lists no replicas" in err
    assert run("store", "verify")[0] == 3
