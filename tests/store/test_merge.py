"""A screen in one file, and stores brought together: everything is checked, nothing is replaced, nothing gets out."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tarfile
import time
from contextlib import closing
from pathlib import Path

import pytest
from small_store import LIGANDS, preparations, produce, replica, replica_spec, screen, small_screen

from esr1md.errors import InputError, StageError
from esr1md.specs import digest_of
from esr1md.store import Store
from esr1md.store.bundle import export
from esr1md.store.merge import merge
from esr1md.store.records import open_index, rebuild, replica_rows
from esr1md.store.reviews import Subject, export_lines, histories, record
from esr1md.store.verify import verify
from esr1md.store.verify_index import verify_index

ESTRADIOL = LIGANDS["estradiol"]


@pytest.fixture(scope="module")
def colleague(tmp_path_factory) -> tuple[Path, list[str]]:
    """A colleague's store: a screen, a failed replica, a review, and results of another screen."""
    store, digests = small_screen(tmp_path_factory.mktemp("colleague") / "theirs")
    failed = replica(store, "Y537S", "phenol", 1, StageError("dynamics", "the energy is nan"))
    other = replica(store, "D538G", "estradiol", 1)
    plan = json.loads((store.root / "screens/small/plan.json").read_text())
    plan["replicas"].append({"digest": failed, "name": "failed"})
    (store.root / "screens/small/plan.json").write_text(json.dumps(plan))
    screen(store, "other", [other])
    rebuild(store)
    record(open_index(store), Subject("small", ESTRADIOL), "advance", reviewer="ada", comment="looks good")
    record(open_index(store), Subject("other", ESTRADIOL), "hold", reviewer="ada")
    open_index(store).dispose()
    return store.root, [*digests, failed]


@pytest.fixture
def theirs(colleague, tmp_path) -> tuple[Store, list[str]]:
    """A copy of it, to do with as one likes."""
    root, digests = colleague
    return Store(shutil.copytree(root, tmp_path / "theirs")), digests


def content(root: Path) -> dict[str, bytes]:
    """Every result and screen of a store, byte for byte."""
    tops = ("receptors", "parameters", "poses", "replicas", "transfers", "screens")
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for top in tops
        for path in sorted((root / top).rglob("*"))
        if path.is_file() and not path.name.endswith("lock")
    }


def test_an_exported_screen_merges_into_an_empty_store(theirs, tmp_path):
    store, digests = theirs
    bundle = tmp_path / "small.tar"
    said = []
    done = export(store, ["small"], bundle, report=said.append)
    assert done.folders == {"receptors": 1, "parameters": 2, "poses": 2, "replicas": 5} and done.reviews == 1
    assert done.unfinished == 0 and done.screens == ["small"] and said
    assert list(tmp_path.glob(".small.tar*")) == []

    ours = Store(tmp_path / "ours")
    came = merge(ours, str(bundle))
    assert came.added == done.folders and came.known == {} and came.screens == ["small"] and came.reviews == 1
    wanted = {name: text for name, text in content(store.root).items() if "screens/other" not in name}
    wanted = {
        name: text for name, text in wanted.items() if digest_of(replica_spec("D538G", "estradiol", 1)) not in name
    }
    got = content(ours.root)
    run = json.loads(got.pop("screens/small/run.json"))
    wanted.pop("screens/small/run.json")
    assert got == wanted
    assert run["pid"] is None and run["host"] is None, "no process of another machine is running here"
    assert list(verify(ours)) == [] and list(verify_index(ours)) == []
    assert {row["digest"]: row["status"] for row in replica_rows(open_index(ours), "small")} == {
        digest: "failed" if digest == digests[-1] else "done" for digest in digests
    }
    assert ours.failure("replicas", digests[-1])["where"] == str(ours.folder("replicas", digests[-1]))
    assert list(histories(open_index(ours), "small")) == [Subject("small", ESTRADIOL)]
    again = merge(ours, str(bundle))
    assert again.added == {} and again.reviews == 0 and again.same == ["small"] and content(ours.root) == {**got, **{
        "screens/small/run.json": (ours.root / "screens/small/run.json").read_bytes()}}  # fmt: skip


def test_export_is_the_same_for_the_same_content_and_overwrites_nothing(theirs, tmp_path):
    store, _ = theirs
    export(store, None, tmp_path / "a.tar")
    for path in store.root.glob("replicas/*/*.json"):
        os.utime(path, (1, 1))
    export(store, ["other", "small"], tmp_path / "b.tar")
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()
    with pytest.raises(InputError, match="is there already"):
        export(store, None, tmp_path / "b.tar")
    with pytest.raises(InputError, match="no screen 'nope'.*expected one of other, small"):
        export(store, ["nope"], tmp_path / "c.tar")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tar", "b.tar", "theirs"]


def test_a_damaged_folder_is_not_exported(theirs, tmp_path):
    store, digests = theirs
    path = store.folder("replicas", digests[0]) / "final.pdb"
    for text in (path.read_text().replace("SER", "ALA"), "short", path.read_text() * 2):
        path.write_text(text)
        with pytest.raises(InputError, match=f"{digests[0]}/final.pdb has another content"):
            export(store, ["small"], tmp_path / "small.tar")
    assert list(tmp_path.glob("*.tar*")) == []


@pytest.mark.parametrize("kind", ["folder", "bundle"])
def test_what_is_finished_here_stays_and_a_failure_never_replaces_a_result(theirs, tmp_path, kind):
    store, digests = theirs
    ours = Store(tmp_path / "ours")
    mine = produce(ours, "replicas", replica_spec("WT", "estradiol", 1), {"summary.json": {"binding_kcal": 1.0}})
    assert mine == digests[0]
    good = produce(ours, "replicas", replica_spec("Y537S", "phenol", 1), {"summary.json": {"binding_kcal": 2.0}})
    assert good == digests[-1], "failed there, done here"
    bad = replica(ours, "WT", "phenol", 1, StageError("dynamics", "no luck"))
    assert bad in digests, "done there, failed here"
    before = content(ours.root)
    other = str(store.root)
    if kind == "bundle":
        export(store, None, tmp_path / "all.tar")
        other = str(tmp_path / "all.tar")
    dry = merge(ours, other, dry_run=True)
    assert content(ours.root) == before
    came = merge(ours, other)
    assert (came.added, came.known, came.screens) == (dry.added, dry.known, dry.screens)
    assert came.known["replicas"] == 2 and came.added["replicas"] == 4
    after = content(ours.root)
    assert after[f"replicas/{mine}/summary.json"] == before[f"replicas/{mine}/summary.json"]
    assert ours.find("replicas", good) and ours.failure("replicas", good) is None
    assert ours.find("replicas", bad) and not (ours.folder("replicas", bad) / "failure.json").exists()
    assert list(verify(ours)) == [] and list(verify_index(ours)) == []
    assert sorted(json.loads(line)["screen"] for line in export_lines(open_index(ours))) == ["other", "small"]


def test_a_screen_of_the_same_name_with_another_plan_needs_another_name(theirs, tmp_path):
    store, digests = theirs
    export(store, ["small"], tmp_path / "small.tar")
    ours, _ = small_screen(tmp_path / "ours", seeds=1)
    rebuild(ours)
    before = content(ours.root)
    for other in (str(store.root), str(tmp_path / "small.tar")):
        with pytest.raises(InputError, match="a screen 'small' is in this store already.*--as NAME"):
            merge(ours, other)
    assert content(ours.root) == before
    with pytest.raises(InputError, match="has 2 screens"):
        merge(ours, str(store.root), rename="theirs")
    with pytest.raises(InputError, match="cannot name a screen"):
        merge(ours, str(tmp_path / "small.tar"), rename="../out")
    for reviews in (1, 0):
        came = merge(ours, str(tmp_path / "small.tar"), rename="theirs")
        assert came.reviews == reviews
    plan = json.loads((ours.root / "screens/theirs/plan.json").read_text())
    assert plan["screen"] == plan["config"]["name"] == "theirs"
    assert json.loads((ours.root / "screens/theirs/ranking.json").read_text())["screen"] == "theirs"
    assert json.loads((ours.root / "screens/small/plan.json").read_text())["screen"] == "small"
    assert {row["digest"] for row in replica_rows(open_index(ours), "theirs")} == set(digests)
    assert list(histories(open_index(ours), "theirs")) == [Subject("theirs", ESTRADIOL)]


def test_damaged_folders_are_left_out_by_name(theirs, tmp_path):
    store, digests = theirs
    (store.folder("replicas", digests[0]) / "summary.json").write_text('{"binding_kcal": -99}')
    (store.folder("replicas", digests[1]) / "done.json").write_text("{")
    (store.folder("replicas", digests[2]) / "final.pdb").unlink()
    (store.folder("replicas", digests[2]) / "final.pdb").symlink_to("/etc/hostname")
    ours = Store(tmp_path / "ours")
    came = merge(ours, str(store.root))
    assert {each["where"] for each in came.damaged} == {f"replicas/{digest}" for digest in digests[:3]}
    assert any("is a link" in each["why"] for each in came.damaged)
    assert [ours.find("replicas", digest) for digest in digests[:3]] == [None] * 3
    assert list((ours.root / "replicas").glob(".*")) == []
    assert ours.find("replicas", digests[3]) and came.screens == ["other", "small"]


def test_a_damaged_review_is_one_line(theirs, tmp_path):
    other, _ = theirs
    with closing(sqlite3.connect(other.root / "store.sqlite")) as index, index:
        index.execute("UPDATE reviews SET follows = '[' WHERE screen = 'small'")
    with pytest.raises(InputError, match=r"reviews.jsonl, line \d: review: 'follows' is not a list") as caught:
        merge(Store(tmp_path / "ours"), str(other.root))
    assert "\n" not in str(caught.value)


def test_folders_of_an_older_version_are_read_before_they_come(theirs, tmp_path):
    store, digests = theirs
    for digest in digests[:2]:
        path = store.folder("replicas", digest) / "done.json"
        path.write_text(
            json.dumps({name: value for name, value in json.loads(path.read_text()).items() if name != "files"})
        )
    (store.folder("replicas", digests[1]) / "final.pdb").write_text("ATOM   ")
    ours = Store(tmp_path / "ours")
    came = merge(ours, str(store.root))
    assert [each["where"] for each in came.damaged] == [f"replicas/{digests[1]}"]
    assert (
        json.loads((ours.find("replicas", digests[0]) / "done.json").read_text())["listed_by"] == "esr1md store merge"
    )
    assert [finding.what for finding in verify(ours)] == ["missing"]


def test_what_is_just_being_computed_here_is_left_alone(theirs, tmp_path):
    store, digests = theirs
    ours = Store(tmp_path / "ours")

    def while_computing(folder):
        came = merge(ours, str(store.root))
        assert came.busy == [f"replicas/{digests[0]}"] and came.added["replicas"] == 5
        (folder / "summary.json").write_text('{"binding_kcal": 0.0}')

    folder = ours.produce("replicas", digests[0], while_computing, spec=replica_spec("WT", "estradiol", 1))
    assert json.loads((folder / "summary.json").read_text()) == {"binding_kcal": 0.0}


def test_a_merge_that_is_killed_goes_on(tmp_path):
    """SIGKILL at several instants of one merge after the other, until one comes through."""
    store, digests = small_screen(tmp_path / "theirs", seeds=6)
    rebuild(store)
    bundle = tmp_path / "small.tar"
    export(store, None, bundle)
    ours, killed = Store(tmp_path / "ours"), 0
    code = (
        "import json, sys\nfrom esr1md.store import Store\nfrom esr1md.store.merge import merge\n"
        "print(json.dumps(merge(Store(sys.argv[2]), sys.argv[1]).to_json()))"
    )
    command = [sys.executable, "-c", code, str(bundle), str(ours.root)]
    for instant in (1, 6, 12):
        process = subprocess.Popen(command, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE)
        while process.poll() is None and len(list(ours.root.glob("*/*/done.json"))) < instant:
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
        process.stdout.close()
        assert {finding.what for finding in verify(ours)} <= {"debris"}, "what is there is whole"
    assert killed >= 2, "the kills came too late to show anything"
    last = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True)
    assert json.loads(last.stdout)["screens"] == ["small"]
    wanted, got = content(store.root), content(ours.root)
    assert {name: text for name, text in got.items() if not name.endswith("run.json")} == {
        name: text for name, text in wanted.items() if not name.endswith("run.json")
    }
    assert list(verify(ours)) == [] and list(verify_index(ours)) == []
    ours.sweep()
    assert not list(ours.root.glob("*/.*")) and not (ours.root / ".merge").exists()


# -- what is not to be trusted -------------------------------------------------------------------------------


def tar_of(path: Path, *members: tuple[str, bytes] | tarfile.TarInfo, head: dict | None = None) -> Path:
    """A bundle by hand."""
    with tarfile.open(path, "w") as tar:
        first = json.dumps(head or {"format": 1, "esr1md": "0", "screens": {}}).encode()
        for member in (("esr1md-bundle.json", first), *members):
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                tar.addfile(info, io.BytesIO(member[1]))
    return path


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


@pytest.mark.parametrize(
    ("member", "said"),
    [
        (("/etc/esr1md", b"x"), "leads out of its folder"),
        (("../../outside", b"x"), "leads out of its folder"),
        (("screens/../../outside", b"x"), "leads out of its folder"),
        (("screens/small/../../../outside", b"x"), "leads out of its folder"),
        (("screens/.hidden/plan.json", b"x"), "cannot name a screen"),
        (("replicas/../done.json", b"x"), "leads out of its folder"),
        (("replicas/notadigest/done.json", b"x"), "is in no folder of a result"),
        (("store.sqlite", b"x"), "is nothing of a store"),
        (("screens/small", b"x"), "is nothing of a store"),
        (("a\nb", b"x"), "leads out of its folder"),
        (special("screens/small/plan.json", tarfile.SYMTYPE, "/etc/hostname"), "is a link or a device"),
        (special("screens/small/plan.json", tarfile.LNKTYPE, "/etc/hostname"), "is a link or a device"),
        (special("screens/small/fifo", tarfile.FIFOTYPE), "is a link or a device"),
        (special("screens/small/null", tarfile.CHRTYPE), "is a link or a device"),
    ],
)
def test_no_member_of_a_bundle_gets_out_of_the_store(tmp_path, member, said):
    ours = Store(tmp_path / "a" / "b" / "ours")
    with pytest.raises(InputError, match=said) as caught:
        merge(ours, str(tar_of(tmp_path / "evil.tar", member)))
    assert "\n" not in str(caught.value)
    left = {path.name for path in tmp_path.rglob("*") if path.is_file()} - {"evil.tar", "store.json"}
    assert left == set()


def test_a_manifest_cannot_name_a_file_outside(tmp_path):
    ours, spec = Store(tmp_path / "ours"), {"x": 1}
    digest = digest_of(spec)
    files = {"../../../outside": {"bytes": 1, "sha256": "0" * 64}}
    record = json.dumps({"files": files}).encode()
    bundle = tar_of(tmp_path / "evil.tar", (f"poses/{digest}/done.json", record))
    with pytest.raises(InputError, match="is not whole"):  # the folder is left out, and then the end is missing
        merge(ours, str(bundle))
    assert ours.find("poses", digest) is None


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("plan.json", {"screen": "../../../outside"}),
        ("plan.json", {"replicas": [{"digest": "../../../outside"}]}),
        ("ranking.json", {"screen": "../outside"}),
        ("ranking.json", {"cells": [{"replicas": ["../../../etc"]}]}),
        ("ranking.json", {"cells": 7}),
        ("run.json", None),
    ],
)
def test_records_of_a_screen_cannot_name_what_is_outside(tmp_path, file, change):
    """Whatever a bundle says of itself: these files are the only ones that commands go by later."""
    store, digests = small_screen(tmp_path / "theirs")
    path = store.root / "screens/small" / file
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}) if change else "7")
    ours = Store(tmp_path / "ours")
    with pytest.raises(InputError, match=f"screens/small/{file}"):
        merge(ours, str(store.root))
    assert not (ours.root / "screens").exists() and ours.find("replicas", digests[0])


def test_a_bundle_that_is_cut_short_keeps_what_came(theirs, tmp_path):
    store, digests = theirs
    whole = tmp_path / "small.tar"
    export(store, ["small"], whole)
    content = whole.read_bytes()
    end = content.index(b"esr1md-bundle-end.json")
    for size in (int(0.3 * end), int(0.7 * end), end - 600, end, end + 700):
        (tmp_path / "cut.tar").write_bytes(content[:size])
        ours = Store(tmp_path / f"ours{size}")
        with pytest.raises(InputError, match="get it again") as caught:
            merge(ours, str(tmp_path / "cut.tar"))
        assert "\n" not in str(caught.value)
        assert list(verify(ours)) == [] and not (ours.root / "screens").exists()
        assert merge(ours, str(whole)).screens == ["small"] and list(verify(ours)) == []


def test_a_changed_bundle_is_refused(theirs, tmp_path):
    store, digests = theirs
    export(store, ["small"], tmp_path / "small.tar")
    content = (tmp_path / "small.tar").read_bytes()
    at = content.index(b"<html></html>")
    (tmp_path / "changed.tar").write_bytes(content[:at] + b"<HTML></html>" + content[at + 13 :])
    with pytest.raises(InputError, match="screens/small/report.html is damaged"):
        merge(Store(tmp_path / "ours"), str(tmp_path / "changed.tar"))
    assert not (tmp_path / "ours" / "screens").exists()


@pytest.mark.parametrize("text", [b"", b"no tar", b"\x1f\x8b broken gzip"])
def test_what_is_no_bundle_is_one_line(tmp_path, text):
    (tmp_path / "x.tar").write_bytes(text)
    for other, said in ((str(tmp_path / "x.tar"), "is no bundle"), (str(tmp_path / "nope"), "there is no")):
        with pytest.raises(InputError, match=said) as caught:
            merge(Store(tmp_path / "ours"), other)
        assert "\n" not in str(caught.value)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="is no store"):
        merge(Store(tmp_path / "ours"), str(tmp_path / "empty"))
    assert not (tmp_path / "ours").exists()


def test_a_bundle_of_a_newer_version_is_refused(tmp_path):
    bundle = tar_of(tmp_path / "new.tar", head={"format": 99, "esr1md": "9.0", "screens": {}})
    with pytest.raises(InputError, match=r"newer version of esr1md \(9.0\)"):
        merge(Store(tmp_path / "ours"), str(bundle))


def test_one_merge_at_a_time(theirs, tmp_path):
    from esr1md.store.disk import kernel_lock

    store, _ = theirs
    ours = Store(tmp_path / "ours")
    with kernel_lock(ours.root / ".merge.lock"):
        with pytest.raises(InputError, match="another 'esr1md store merge' is running"):
            merge(ours, str(store.root))
    assert preparations(ours, "phenol")
