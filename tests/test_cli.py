"""The command line: exit codes, one JSON document on standard output, one line per error, tables of 100 columns."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from esr1md import __version__
from esr1md.commands.terminal import doctor_view, duration, ranking_view, signed
from esr1md.errors import InputError, StageError
from esr1md.scoring.scores import Score
from report_example import empty_ranking, make_screen

REPOSITORY = Path(__file__).resolve().parents[1]
TINY = (
    "name: tiny\nvariants:\n  - WT\n  - {variant}\nligands: [{ligand}]\nprotocol: quick\nreplicas: 1\nplatform: CPU\n"
)


@pytest.fixture
def finished(tmp_path) -> Path:
    """A store in which a screen has finished."""
    store = tmp_path / "runs"
    ranking = make_screen(store, mutants=("Y537S", "D538G"))
    folder = store / "screens" / ranking.screen
    folder.mkdir(parents=True)
    (folder / "ranking.json").write_text(ranking.model_dump_json())
    plan = {"replicas": [], "slots": 1, "estimate": {"replica_seconds": 1.0}}
    (folder / "plan.json").write_text(json.dumps(plan))
    (folder / "run.json").write_text(json.dumps({"started": 0.0, "finished": 1.0, "pid": None, "host": None}))
    return store


# -- help and version -------------------------------------------------------------------------------------


def test_help_names_the_commands():
    command = [sys.executable, "-m", "esr1md.cli", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY)
    assert done.returncode == 0 and "doctor" in done.stdout


def test_the_command_line_imports_no_heavy_package():
    code = (
        "import sys, esr1md.cli, esr1md.config; "
        "print([m for m in ('openmm', 'torch', 'rdkit', 'mdtraj', 'prefect', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY, check=True)
    assert done.stdout.strip() == "[]"


def test_version(run):
    assert run("--version") == (0, f"esr1md {__version__}\n", "")


@pytest.mark.parametrize(
    "command", ["screen", "status", "rank", "report", "variants", "ligands", "screens", "protocols", "doctor"]
)
def test_every_command_explains_itself(command, run):
    code, out, _ = run(command, "--help")
    assert code == 0 and "--json" in out


# -- bad input: exit code 2, one line on standard error, nothing on standard output -----------------------


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["screen", "quickstar"], "unknown screen 'quickstar'"),
        (["screen", "none.yaml"], "no screen file 'none.yaml'"),
        (["screen", "quickstart", "--limit", "0"], "--limit"),
        (["screen"], "Missing argument"),
        (["scren", "quickstart"], "No such command 'scren'"),
        (["ligands", "--jsno"], "--jsno"),
        (["ligands", "faslodx"], "did you mean 'Faslodex'?"),
        (["variants", "Y538S"], "538 is Asp (D) in P03372"),
        (["variants", "A10G"], "outside the ligand-binding domain"),
        (["variants", "V422del", "K303R"], "outside the ligand-binding domain"),
        (["status"], "no store at 'runs'"),
        (["rank"], "no store at 'runs'"),
        (["report", "--store", "nowhere"], "no store at 'nowhere'"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(arguments, says, run):
    code, out, err = run(*arguments)
    assert code == 2
    assert out == ""
    assert says in err
    assert err.startswith("error: ") and err.count("\n") == 1


@pytest.mark.parametrize(
    ("variant", "ligand", "line", "says"),
    [
        ("Y538S", "estradiol", 4, "538 is Asp (D) in P03372"),
        ("A10G", "estradiol", 4, "outside the ligand-binding domain"),
        ("Y537S", "estradoil", 5, "did you mean 'estradiol'"),
        ("Y537S", "{name: x, smiles: C1CC}", 5, "SMILES"),
        ("Y537S", "{name: x, smiles: Oc1ccccc1C.Nc1ccccc1C}", 5, "x"),
    ],
)
def test_a_bad_screen_is_refused_at_its_line_before_anything_is_computed(variant, ligand, line, says, run):
    Path("own.yaml").write_text(TINY.replace("{variant}", variant).replace("{ligand}", ligand))
    code, out, err = run("screen", "own.yaml", "--json")
    assert (code, out) == (2, "")
    assert f"own.yaml:{line}: " in err and says in err
    assert err.count("\n") == 1
    assert not Path("runs").exists()


def test_a_platform_that_is_not_there_is_refused(run):
    code, out, err = run("screen", "quickstart", "--platform", "CUDAA", "--json")
    assert (code, out) == (2, "")
    assert "CUDAA" in err and err.count("\n") == 1


# -- other errors -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (InputError("bad thing", where="a.yaml:3"), 2, "error: a.yaml:3: bad thing"),
        (StageError("pose", "does not fit"), 1, "error: pose: does not fit"),
        (ValueError("broken\nsecond line"), 1, "unexpected error: ValueError: broken (ESR1MD_TRACEBACK=1 shows where)"),
        (KeyboardInterrupt(), 130, "interrupted; what is finished is kept"),
        (SystemError(), 1, "unexpected error: SystemError: no message"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_errors_become_one_line_and_their_exit_code(error, code, says, run, monkeypatch):
    def fail(*_):
        raise error

    monkeypatch.setattr("esr1md.catalogue.names", fail)
    found, out, err = run("screens", "--json")
    assert (found, out) == (code, "")
    assert err.startswith(says) and err.count("\n") == 1


def test_a_traceback_only_when_asked(run, monkeypatch):
    def fail(*_):
        raise ValueError("broken")

    monkeypatch.setattr("esr1md.catalogue.names", fail)
    assert "Traceback" not in run("screens")[2]
    monkeypatch.setenv("ESR1MD_TRACEBACK", "1")
    assert "Traceback" in run("screens")[2]


# -- JSON -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["variants", "ligands", "screens", "protocols"])
def test_listings_are_one_json_document(command, run):
    code, out, _ = run(command, "--json")
    rows = json.loads(out)
    assert code == 0 and len(rows) > 1 and all(row["name"] for row in rows)


def test_whatever_prints_during_a_command_stays_off_the_document():
    """Also output of C libraries and child processes, which does not go through ``sys.stdout``."""
    code = (
        "import os, sys, subprocess, json\n"
        "from esr1md import cli, catalogue\n"
        "real = catalogue.names\n"
        "def names(folder):\n"
        "    print('print'); os.write(1, b'write\\n'); subprocess.run(['echo', 'child'])\n"
        "    return real(folder)\n"
        "catalogue.names = names\n"
        "sys.exit(cli.main(['screens', '--json']))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY)
    assert done.returncode == 0
    assert {row["name"] for row in json.loads(done.stdout)} >= {"quickstart"}
    assert {"print", "write", "child"} <= set(done.stderr.split())


def test_a_closed_pipe_is_no_error():
    command = f"'{sys.executable}' -m esr1md.cli ligands --json | head -c 10"
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True, cwd=REPOSITORY)
    assert done.returncode == 0 and done.stderr == ""


def test_a_dry_run_plans_the_matrix_and_writes_nothing(run):
    Path("own.yaml").write_text(TINY.replace("{variant}", "p.Tyr537Ser").replace("{ligand}", "E2"))
    code, out, err = run("screen", "own.yaml", "--dry-run", "--json")
    plan = json.loads(out)
    assert code == 0
    assert [(r["variant"], r["ligand"], r["state"], r["done"]) for r in plan["replicas"]] == [
        ("WT", "estradiol", "agonist", False),
        ("Y537S", "estradiol", "agonist", False),
    ]
    assert "2 variants x 1 ligand, 2 cells, 1 replica of each" in err
    assert "protocol quick on CPU" in err
    assert not Path("runs").exists()


def test_a_dry_run_shows_the_matrix(run):
    code, out, _ = run("screen", "quickstart", "--dry-run", "--platform", "CPU", "--limit", "3")
    assert code == 0
    rows = [line.split() for line in out.splitlines() if "0/1" in line]
    assert sum(row.count("0/1") for row in rows) == 3


# -- a finished screen ------------------------------------------------------------------------------------


def test_rank_is_the_ranking_document(run, finished):
    code, out, _ = run("rank", "--json")
    document = json.loads(out)
    assert code == 0
    assert document == json.loads((finished / "screens" / "quickstart" / "ranking.json").read_text())


def test_rank_names_the_screens_it_could_be(run, finished):
    code, out, err = run("rank", "quikstart")
    assert (code, out) == (2, "") and "expected one of quickstart" in err


def test_report_writes_the_file_it_names(run, finished, tmp_path):
    code, out, _ = run("report", "--out", "answer.html", "--json")
    written = Path(json.loads(out)["report"])
    assert code == 0
    assert written == tmp_path / "answer.html" and "<html" in written.read_text()[:500]


def test_status_is_one_document_of_all_screens(run, finished):
    code, out, _ = run("status", "--json")
    assert code == 0
    document = json.loads(out)
    assert [(s["screen"], s["complete"], s["active"]) for s in document["screens"]] == [("quickstart", True, False)]
    assert document["machine"]["cores"] >= 1


# -- what a chemist sees ----------------------------------------------------------------------------------


def shown(view) -> str:
    console = Console(width=100, highlight=False)
    with console.capture() as capture:
        console.print(view)
    return capture.get()


def test_the_ranking_fits_100_columns_and_says_what_cannot_be_told(tmp_path):
    ranking = make_screen(tmp_path, mutants=("Y537S", "D538G"), undecided=True)
    text = shown(ranking_view(ranking))
    assert max(map(len, text.splitlines())) <= 100
    assert "…" not in text  # nothing cut
    assert text.count("cannot tell") >= 10
    for line in ranking.ranking:
        assert f"{line.rank_low}-{line.rank_high}   {line.ligand}" in text
    assert "Y537S +" in text
    assert "95 %" in text and "no entropy" in " ".join(text.split())


def test_many_comparisons_are_left_to_details(tmp_path):
    ranking = make_screen(tmp_path, mutants=("Y537S", "D538G", "E380Q", "L536H", "S463P"))
    assert "add --details" in shown(ranking_view(ranking))
    assert shown(ranking_view(ranking, details=True)).count("S463P") == 5


def test_failures_and_explained_outcomes_are_told_apart(tmp_path):
    text = shown(ranking_view(make_screen(tmp_path)))
    assert text.index("Explained outcomes") < text.index("does not fit under") < text.index("Failures")
    assert "replicas/3f2a/failure.json" in text


def test_an_empty_ranking_is_said_to_be_no_answer():
    assert "No answer yet" in shown(ranking_view(empty_ranking()))


def test_a_score_without_an_interval_says_so():
    score = Score(value=-0.04, low=None, high=None, n_replicas=1, unit="kcal/mol")
    assert signed(score).plain == "+0.0\nno interval"
    assert signed(None).plain == "-"


@pytest.mark.parametrize(
    ("seconds", "text"), [(12, "12 s"), (89, "89 s"), (290, "5 min"), (7800, "2 h 10 min"), (200_000, "2 d 7 h")]
)  # fmt: skip
def test_durations_are_as_precise_as_an_estimate(seconds, text):
    assert duration(seconds) == text


def test_the_doctor_tells_what_to_do():
    check = {"check": "GPU", "status": "problem", "found": "nvidia-smi fails", "do": "reboot"}
    text = shown(doctor_view({"esr1md": "1", "machine": "m", "status": "problem", "checks": [check], "platforms": []}))
    assert "-> reboot" in text and "1 problem to mend first" in text


def test_main_returns_to_the_shell(monkeypatch):
    done = subprocess.run([sys.executable, "-m", "esr1md.cli", "ligands", "nobody"], capture_output=True, text=True,
                          cwd=REPOSITORY, env={**os.environ, "ESR1MD_TRACEBACK": ""})  # fmt: skip
    assert done.returncode == 2 and done.stdout == ""


# -- running a screen -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("failed", "code"), [(False, 0), (True, 3)])
def test_a_screen_with_failed_cells_ends_with_exit_code_3(failed, code, run, monkeypatch):
    """An explained outcome is an answer, an error is not. The engine is replaced, what it leaves is not."""
    kinds = ("outcome", "error") if failed else ("outcome",)

    class Engine:
        @staticmethod
        def run_screen_flow(config, store, *, site, limit, platform, retry):
            ranking = make_screen(Path(store))
            failures = tuple(failure for failure in ranking.failures if failure.kind in kinds)
            folder = Path(store) / "screens" / "tiny"
            folder.mkdir(parents=True)
            ranking = ranking.model_copy(update={"screen": "tiny", "failures": failures})
            (folder / "ranking.json").write_text(ranking.model_dump_json())
            plan = {"replicas": [], "slots": 1, "estimate": {"replica_seconds": 1.0}}
            (folder / "plan.json").write_text(json.dumps(plan))
            (folder / "run.json").write_text(json.dumps({"started": 0.0, "finished": 1.0, "pid": None, "host": None}))

    monkeypatch.setattr("esr1md.catalogue.load_flow", lambda: Engine)
    Path("own.yaml").write_text(TINY.replace("{variant}", "Y537S").replace("{ligand}", "estradiol"))
    found, out, err = run("screen", "own.yaml", "--json")
    assert found == code, err
    assert json.loads(out)["screen"] == "tiny"
    assert "2 to run" in err


def test_the_flow_is_this_copys_own_whatever_the_working_folder_holds(tmp_path):
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows" / "__init__.py").write_text("raise RuntimeError('shadowed')")
    (tmp_path / "flows" / "screen.py").write_text("raise RuntimeError('shadowed')")
    code = "from esr1md.catalogue import load_flow; print(load_flow().__file__)"
    environment = {**os.environ, "PREFECT_HOME": str(tmp_path / "home"), "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.stdout.strip() == str(REPOSITORY / "flows" / "screen.py"), done.stderr
