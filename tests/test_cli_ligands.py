"""``esr1md ligands``: the catalogue by default, libraries by ``prepare``; exit codes, one JSON document."""

from __future__ import annotations

import json

import pytest

from esr1md import cli
from esr1md.commands.ligands import progress_line
from esr1md.ligand.library import Progress


@pytest.fixture
def run(capfd, tmp_path, monkeypatch):
    """Run a command in an empty folder; returns (exit code, standard output, standard error)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ESR1MD_TRACEBACK", raising=False)

    def call(*arguments: str) -> tuple[int, str, str]:
        code = cli.main(["ligands", *arguments])
        out, err = capfd.readouterr()
        return code, out, err

    return call


def test_without_a_command_the_catalogue_is_listed(run):
    plain, listed = run(), run("list")
    assert plain == listed and plain[0] == 0 and "fulvestrant" in plain[1]
    assert run("Faslodex") == run("list", "Faslodex") and "SERD" in run("Faslodex")[1]
    code, out, _ = run("--json")
    assert code == 0 and len(json.loads(out)) == 37


def test_help_teaches_with_examples(run):
    code, out, _ = run("--help")
    assert code == 0 and "prepare" in out and "list" in out
    code, out, _ = run("prepare", "--help")
    assert code == 0 and "esr1md ligands prepare" in out and "failures.csv" in out and "Exit codes" in out


def test_a_library_with_a_bad_row_ends_with_3(run, tmp_path):
    (tmp_path / "lib.csv").write_text("smiles,name\nCCO,fine\nc1cc,broken\nCCCCS(=O)CC,both\n")
    code, out, err = run("prepare", "lib.csv", "--out", "lib", "--no-3d", "--workers", "1", "--json")
    summary = json.loads(out)
    assert code == 3 and err == ""
    assert (summary["rows"], summary["failed"], summary["ligands"]) == (3, 1, 3)
    assert "broken" in (tmp_path / "lib" / "failures.csv").read_text()
    code, out, err = run("prepare", "lib.csv", "--out", "lib", "--no-3d", "--workers", "1")
    assert code == 3 and "2 of 3 compounds prepared: 3 ligands" in out and "nothing was left to do" in out


def test_a_clean_library_ends_with_0(run, tmp_path):
    code, out, err = run("prepare", "[NH3+]CCc1ccc(O)cc1", "--out", "one", "--no-3d", "--workers", "1")
    assert (code, err) == (0, "") and "1 of 1 compounds prepared" in out and "one/ligands.csv" in out


@pytest.mark.parametrize(("arguments", "says"), [
    (["prepare", "absent.smi", "--out", "o"], "no file 'absent.smi'"),
    (["prepare", "not a smiles", "--out", "o"], "neither a file nor a SMILES"),
    (["prepare", "CCO"], "Missing option '--out'"),
    (["prepare"], "Missing argument"),
    (["prepare", "CCO", "--out", "o", "--workers", "0"], "--workers"),
    (["prepare", "table.csv", "--out", "o"], "no SMILES column among 'id', 'x'"),
    (["prepare", "table.csv", "--out", "o", "--smiles-column", "y"], "no column 'y'"),
    (["prepare", "empty.smi", "--out", "o"], "the file holds no molecule"),
    (["prepare", "CCO", "--out", "table.csv"], "is not a folder"),
    (["faslodx"], "did you mean 'Faslodex'?"),
    (["--jsno"], "--jsno"),
])  # fmt: skip
def test_bad_input_is_one_line_and_exit_code_2(arguments, says, run, tmp_path):
    (tmp_path / "table.csv").write_text("id,x\n1,2\n")
    (tmp_path / "empty.smi").write_text("\n")
    code, out, err = run(*arguments)
    assert code == 2 and out == "" and says in err
    assert err.startswith("error: ") and err.count("\n") == 1


def test_one_line_of_progress():
    progress = Progress(done=1204, failed=12, earlier=1000, total=20_000, seconds=51.0)
    assert progress_line(progress) == (
        "1,204 of 20,000 rows, 1,000 of them before, 12 failed, 4.0 rows/s, about 78 min left"
    )
    assert progress_line(Progress()) == "0 rows"


def test_parameters_say_what_was_guessed_and_how_charges_compare(run):
    code, out, _ = run("parameters", "estrone", "H3B-6545", "--json")
    assert code == 0
    estrone, covalent = json.loads(out)["ligands"]
    assert 0 < estrone["rmse"] < 0.03 and estrone["atoms"] == 42 and estrone["am1bcc_seconds"] > 1
    assert max(term["penalty"] or 0 for term in covalent["estimated"]) > 100
    assert any("covalent" in label for label in covalent["labels"])
    code, out, _ = run("parameters", "estrone")
    assert code == 0 and "NAGL - AM1-BCC" in out and f"{estrone['rmse']:.3f}" in out
    assert run("parameters", "estrne")[0] == 2
