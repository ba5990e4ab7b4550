"""``esr1md receptors``: models in folders, one JSON document, exit codes, one line per error."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import gemmi
import pytest

from esr1md import cli
from esr1md.catalogue import data_path
from esr1md.receptor.frame import bundled_model
from esr1md.specs import file_digest

FILES = {"receptor.pdb", "quality.json", "quality.html", "record.json", "waters.pdb"}


@pytest.fixture
def run(capfd, tmp_path, monkeypatch):
    """Run a command in an empty folder, without mirror; returns (exit code, standard output, standard error)."""
    monkeypatch.chdir(tmp_path)
    for variable in ("ESR1MD_TRACEBACK", "ESR1MD_PDB_MIRROR"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("ESR1MD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("esr1md.receptor.fetch.SERVER", "http://127.0.0.1:9")  # nobody listens at 'discard'
    monkeypatch.setattr("esr1md.receptor.fetch._WAITS", ())

    def call(*arguments: str) -> tuple[int, str, str]:
        code = cli.main(["receptors", *arguments])
        out, err = capfd.readouterr()
        return code, out, err

    return call


class Page(HTMLParser):
    """Checks that tags close, and notes what a page would load."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open, self.loads, self.text = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.loads += [value for name, value in attributes if name in ("src", "href") and not value.startswith("#")]
        if tag not in ("meta", "link", "br", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def page(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    parsed = Page(text)
    assert parsed.open == [] and parsed.loads == [] and "<script" not in text and "@import" not in text
    return " ".join(" ".join(parsed.text).split())


def one_error(code: int, out: str, err: str, expected: int = 2) -> str:
    assert code == expected and out == ""
    last = err.strip().splitlines()[-1]
    assert last.startswith("error: ") and "Traceback" not in err
    return last


# -- build --------------------------------------------------------------------------------------------------------


def test_a_bundled_model_with_everything_a_reviewer_needs(run, tmp_path):
    code, out, err = run("build", "--state", "antagonist", "--out", "models", "--json")
    assert code == 0
    document = json.loads(out)
    (row,) = document["models"]
    folder = tmp_path / "models" / "WT_antagonist"
    assert row["folder"] == "models/WT_antagonist" and document["failures"] == []
    assert {path.name for path in folder.iterdir()} == FILES
    assert sorted(path.name for path in folder.parent.iterdir()) == ["WT_antagonist"]
    assert (folder / "receptor.pdb").read_bytes() == bundled_model("antagonist").read_bytes()
    assert row["quality"]["problems"] == [] and row["quality"]["helix12"]["state"] == "antagonist"
    record = json.loads((folder / "record.json").read_text())
    assert record["receptor"]["source_digest"] == file_digest(bundled_model("antagonist"))
    assert record["receptor"]["steps"] == row["steps"] and record["provenance"]["versions"]["openmm"]
    assert record["files"]["receptor.pdb"] == file_digest(folder / "receptor.pdb") == row["sha256"]
    text = page(folder / "quality.html")
    for words in ("WT · antagonist", "Every measure is within its limit", "His524", "conserved water", "PROPKA",
                  "Measured antagonist", row["steps"][0]):  # fmt: skip
        assert words in text


def test_the_table_and_the_default_states(run):
    code, out, _ = run("build", "--out", "models")
    assert code == 0
    for state in sorted(path.stem for path in (data_path("structures") / "models").glob("*.pdb")):
        if state in ("agonist", "antagonist", "displaced"):
            assert f"WT_{state}" in out
    assert "passes" in out and max(map(len, out.splitlines())) <= 100


def test_a_second_build_replaces_the_first_and_a_strange_folder_is_kept(run, tmp_path):
    arguments = ("build", "--state", "agonist", "--out", "models")
    assert run(*arguments)[0] == 0
    mine = tmp_path / "models" / "WT_agonist"
    (mine / "old.txt").write_text("")
    assert run(*arguments)[0] == 0
    assert {path.name for path in mine.iterdir()} == FILES
    (mine / "record.json").unlink()
    assert "holds something else than a receptor model" in one_error(*run(*arguments))
    assert (mine / "receptor.pdb").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--variant", "Y538S"), "did you mean D538S, or Y537S?"),
        (("--variant", "K303R"), "outside the ligand-binding domain"),
        (("--state", "agonists"), "did you mean 'agonist'?"),
        (("--from", "nope"), "'nope' is neither a file nor a PDB id"),
        (("--from", "bundeld"), "did you mean 'bundled'?"),
        (("--from", "none/at-all.pdb"), "no such structure file"),
        (("--from", "../3ERT"), "no such structure file"),
        (("--from", "."), "a folder was given"),
        (("--from", "3ERT"), "PDB entry 3ERT is not in the cache"),
        (("--keep-mutations",), "the bundled models have no engineered mutations"),
        (("--accept-quality", "  "), "gives no reason"),
        (("--assembly", "trimer"), "expected monomer or dimer"),
        (("--ligand", "none.sdf"), "none.sdf: cannot read the ligand"),
        (("--ph", "15"), "--ph"),
        (("--ph", "acid"), "--ph"),
        (("--regenerate", "none"), "no folder 'none'"),
        (("--regenerate", ".", "--variant", "Y537S"), "takes no other option"),
        (("--regenerate", "."), "no such structure file"),
    ],
)
def test_bad_requests_are_one_line_and_leave_no_model(arguments, message, run, tmp_path):
    assert message in one_error(*run("build", *arguments, "--out", "models", "--json"))
    assert not list(tmp_path.glob("models/**/receptor.pdb")) and not list(tmp_path.glob("models/.*"))


def test_out_is_needed_and_must_be_a_folder(run, tmp_path):
    assert "--out" in one_error(*run("build"))
    (tmp_path / "file").write_text("")
    assert "cannot write to 'file'" in one_error(*run("build", "--state", "agonist", "--out", "file"))


def test_one_bad_model_does_not_stop_the_others(run, tmp_path):
    """The structure is an antagonist: the agonist is refused, with exit code 3 and the reason in the document."""
    path = tmp_path / "mine.pdb"
    path.write_text(bundled_model("antagonist").read_text())
    states = ("--state", "agonist", "--state", "displaced")
    code, out, err = run("build", "--from", "mine.pdb", *states, "--out", "models", "--json")
    assert code == 3
    document = json.loads(out)
    assert document["models"] == [] and [row["model"] for row in document["failures"]] == [
        "mine_WT_agonist", "mine_WT_displaced",
    ]  # fmt: skip
    assert all("helix 12 is in the antagonist state" in row["cause"] for row in document["failures"])
    assert list((tmp_path / "models").iterdir()) == []


def bad_model(tmp_path) -> Path:
    """The antagonist model with a lysine's end on top of helix 5, as a bundled model would never be."""
    structure = gemmi.read_structure(str(bundled_model("antagonist")))
    chain = structure[0][0]
    target = chain["391"][0]["CG"][0].pos
    chain["531"][0]["NZ"][0].pos = gemmi.Position(target.x + 1.0, target.y, target.z)
    path = tmp_path / "bad.pdb"
    structure.write_pdb(str(path))
    return path


def test_a_bad_model_needs_a_reason_which_is_recorded(run, tmp_path, monkeypatch):
    path = bad_model(tmp_path)
    monkeypatch.setattr("esr1md.receptor.build.bundled_model", lambda state: path)
    arguments = ("build", "--state", "antagonist", "--out", "models")
    message = one_error(*run(*arguments), expected=1)
    assert "model is bad" in message and "on top of each other" in message
    assert list((tmp_path / "models").iterdir()) == []
    code, out, _ = run(*arguments, "--accept-quality", "K531 is far from the pocket")
    assert code == 0 and "accepted by request" in out
    record = json.loads((tmp_path / "models" / "WT_antagonist" / "record.json").read_text())
    assert record["provenance"]["options"]["accept_quality"] == "K531 is far from the pocket"
    assert any("K531 is far from the pocket" in step for step in record["receptor"]["steps"])
    text = page(tmp_path / "models" / "WT_antagonist" / "quality.html")
    assert "Accepted by request" in text and "K531 is far from the pocket" in text


@pytest.mark.slow
def test_an_entry_from_the_mirror_reverted_or_kept(run, tmp_path, shared_data, monkeypatch):
    monkeypatch.setenv("ESR1MD_PDB_MIRROR", str(shared_data / "pdb"))
    code, out, err = run("build", "--from", "5wgd", "--keep-mutations", "--out", "models", "--json")
    assert code == 0, err
    (row,) = json.loads(out)["models"]
    assert (row["name"], row["variant"], row["state"]) == ("5WGD_Y537S_agonist", "Y537S", "agonist")
    record = json.loads((tmp_path / "models" / row["name"] / "record.json").read_text())
    provenance = record["provenance"]
    assert provenance["source"]["entry"] == "5WGD" and provenance["gaps_in_source"] == [[461, 472]]
    assert provenance["source"]["sha256"] == file_digest(shared_data / "pdb" / "5WGD.cif")
    assert provenance["differences_in_source"] == ["Y537S"]
    chain = gemmi.read_structure(str(tmp_path / "models" / row["name"] / "receptor.pdb"))[0][0]
    assert chain["537"][0].name == "SER"
    assert any("differs from P03372 at Y537S" in step for step in row["steps"])
    assert any("most complete" in step and "B: 222" in step for step in row["steps"])
    assert "seen in 5WGD.cif" in " ".join(row["steps"])


# -- check --------------------------------------------------------------------------------------------------------


def test_check_of_a_model_and_of_a_crystal(run, shared_data, monkeypatch, tmp_path):
    code, out, _ = run("check", str(bundled_model("agonist")))
    assert code == 0 and "Passes every limit." in out and "agonist state" in out
    monkeypatch.setenv("ESR1MD_PDB_MIRROR", str(shared_data / "pdb"))
    code, out, err = run("check", "1ere", "--json", "--page", "page.html")
    assert code == 1 and err == ""
    found = json.loads(out)
    assert found["gaps"] == [[331, 336], [462, 464]] and found["ligand"].startswith("EST")
    assert found["quality"]["chain_breaks"] == 2 and len(found["quality"]["problems"]) >= 3
    text = page(tmp_path / "page.html")
    assert "This structure is not fit to be simulated as it is" in text and "331-336, 462-464" in text


def test_check_writes_nothing_to_the_page_it_could_not_measure(run, tmp_path):
    (tmp_path / "bad.pdb").write_text("nothing\n")
    assert "no ATOM record" in one_error(*run("check", "bad.pdb", "--page", "page.html", "--json"))
    assert not (tmp_path / "page.html").exists()
    assert "not one structure" in one_error(*run("check", "bundled"))
    model = str(bundled_model("agonist"))
    assert "cannot be written" in one_error(*run("check", model, "--page", "bad.pdb/page.html"))


def test_names_of_files_and_atoms_cannot_become_markup(run, tmp_path):
    path = tmp_path / "<b>x<b>.pdb"
    path.write_text(bundled_model("agonist").read_text())
    assert run("check", path.name, "--page", "page.html")[0] == 0
    assert "<b>x<b>" not in (tmp_path / "page.html").read_text().replace("<b>Reason", "")
    assert "<b>x<b>.pdb" in page(tmp_path / "page.html")


# -- help and variants --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["build", "check"])
def test_help_teaches_by_example(command, run):
    code, out, _ = run(command, "--help")
    assert code == 0 and f"esr1md receptors {command} " in out and "Examples" in out


def test_variants_show_explains_one(capfd):
    assert cli.main(["variants", "show", "p.Tyr537Ser"]) == 0
    text = " ".join(capfd.readouterr().out.split())
    assert text.startswith("Y537S missense H11-H12 loop") and "frequency:" in text and "Toy 2017" in text
    assert cli.main(["variants", "show", "Y537S", "--json"]) == 0
    (row,) = json.loads(capfd.readouterr().out)
    assert row["buildable"] and row["frequencies"] and row["mechanisms"] and row["region"]
    assert cli.main(["variants", "show"]) == 2
    assert re.search(r"^error: .*names no variant", capfd.readouterr().err)
