"""Screening a library: every row answered once and in order, whatever happens; every output says what it is."""

from __future__ import annotations

import csv
import gzip
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet
from rdkit import Chem
from rdkit.Chem import AllChem

from esr1md.catalogue import data_path
from esr1md.errors import Esr1mdError, InputError
from esr1md.ligand import inputs
from esr1md.ligand.inputs import open_input
from esr1md.surrogate import screening
from esr1md.surrogate.screening import Question, screen_library
from esr1md.surrogate.screening_page import concentration, screening_page
from esr1md.surrogate.screening_tables import Best, Wanted, lowest_first, part_path, part_schema

STATEMENT = "Fake: predicts assay affinity for the wild type <only>."
CSV = Wanted(format="csv")


# -- a model that answers at once -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Column:
    name: str
    unit: str
    meaning: str


class FakeSurrogate:
    """Affinity grows with the number of heavy atoms; a compound without an aromatic ring is out of domain."""

    statement, digest = STATEMENT, "0" * 64

    def columns(self, variants, state):
        for variant in variants:
            if variant != "Y537S":
                raise InputError(f"the model knows no variant '{variant}'", expected="Y537S")
        found = [("pchembl", "pChEMBL"), ("pchembl_low", "pChEMBL"), ("pchembl_high", "pChEMBL"),
                 ("pchembl_sd", "pChEMBL"), ("similarity", ""), ("nearest", ""), ("in_domain", "")]  # fmt: skip
        for variant in variants:
            found += [(f"binding_{variant}_kcal{end}", "kcal/mol") for end in ("", "_low", "_high")]
        return tuple(Column(name, unit, f"meaning of {name}; 80 % interval") for name, unit in found)

    def table(self, molecules, variants, state, smiles=None):
        if any(mol.HasSubstructMatch(Chem.MolFromSmarts("I")) for mol in molecules):
            raise ZeroDivisionError("iodine")
        size = np.array([mol.GetNumHeavyAtoms() for mol in molecules], dtype=float)
        size[[mol.HasSubstructMatch(Chem.MolFromSmarts("Br")) for mol in molecules]] = np.nan
        found = {
            "pchembl": 4 + size / 10, "pchembl_low": 3 + size / 10, "pchembl_high": 5 + size / 10,
            "pchembl_sd": 1 / (size + 1), "similarity": np.full(len(size), 0.5),
            "nearest": np.array(["CCO"] * len(size), dtype=object),
            "in_domain": np.array([mol.HasSubstructMatch(Chem.MolFromSmarts("c")) for mol in molecules]),
        }  # fmt: skip
        for variant in variants:
            found |= {f"binding_{variant}_kcal{end}": -size for end in ("", "_low", "_high")}
        return found


def fake_loaded(model):
    if model:
        raise InputError("no model of ours", where=model, expected="a folder written by 'esr1md surrogate train'")
    return FakeSurrogate()


def fake_describe(question):
    screening.loaded, screening.gpus = fake_loaded, lambda: 0
    return screening.describe(question)


def fake_screen_rows(rows, question, answer):
    """As screen_rows, but a row called x ends its process, as a fault in a library would."""
    screening.loaded = fake_loaded
    if any(row.name == "x" for row in rows):
        os.kill(os.getpid(), signal.SIGSEGV)
    time.sleep(float(os.environ.get("FAKE_SECONDS", "0")))
    return screening.screen_rows(rows, question, answer)


def use_fake():
    """Put the fake in place of the model, here and (these are called by name) in the worker processes."""
    me = sys.modules[__name__] if __name__ != "__main__" else __import__("test_screening")
    screening.describe_in_worker, screening.screen_in_worker = me.fake_describe, me.fake_screen_rows


@pytest.fixture(autouse=True)
def fake(monkeypatch):
    monkeypatch.setattr(screening, "describe_in_worker", fake_describe)
    monkeypatch.setattr(screening, "screen_in_worker", fake_screen_rows)


def screened(source, out, wanted=None, workers=1, **options):
    return screen_library(source, out, wanted=wanted, workers=workers, **options)


def rows_of(path: Path) -> list[dict]:
    if path.suffix == ".parquet":
        return parquet.read_table(path).to_pylist()
    with open(path, newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def smiles_file(path: Path, count: int) -> Path:
    """Distinct compounds, every third aromatic, every seventh junk."""
    lines = []
    for n in range(count):
        chain = "C" * (n % 40 + 1) + "O" + "C" * (n // 40 + 1)
        lines.append("c1ccc" if n % 7 == 6 else f"c1ccccc1{chain}" if n % 3 == 0 else chain)
    path.write_text("".join(f"{text} name-{n}\n" for n, text in enumerate(lines)))
    return path


# -- the tables -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """A library with everything in it, screened once."""
    folder = tmp_path_factory.mktemp("screening")
    source = folder / "mixed.csv"
    rows = [
        ("estrone", "CC12CCC3c4ccc(O)cc4CCC3C1CCC2=O"),
        ("bad", "c1ccc"),
        ("=cmd|'/C calc'!A0", "CC(=O)O[Na]"),
        ("<script>alert(1)</script>", "Oc1ccccc1"),
        ("phenol again", "[O-]c1ccccc1.[Na+]"),
        ("ferrocene\x1b[31m", "[Fe+2].c1cc[cH-]c1.c1cc[cH-]c1"),
        ("not finite", "Brc1ccccc1"),
        ("table raises", "Ic1ccccc1"),
        ("aniline", "Nc1ccccc1"),
    ]  # fmt: skip
    with open(source, "w", newline="") as handle:
        csv.writer(handle).writerows([("name", "smiles"), *rows])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(screening, "describe_in_worker", fake_describe)
        patch.setattr(screening, "screen_in_worker", fake_screen_rows)
        return source, folder / "out", screened(source, folder / "out", CSV, workers=2)


def test_every_row_is_predicted_or_refused_with_a_reason(mixed):
    _, out, summary = mixed
    predicted, refused = rows_of(out / "predictions.csv"), rows_of(out / "failures.csv")
    assert [row["row"] for row in predicted] == ["1", "3", "4", "5", "9"]
    assert [(row["row"], row["line"]) for row in refused] == [("2", "3"), ("6", "7"), ("7", "8"), ("8", "9")]
    reasons = [row["reason"] for row in refused]
    assert "cannot be parsed" in reasons[0] and "Fe" in reasons[1] and "no finite number" in reasons[2]
    assert reasons[3] == "unexpected ZeroDivisionError: iodine"  # and the rest of its batch was predicted
    assert (summary["rows"], summary["predicted"], summary["failed"]) == (9, 5, 4)
    assert (summary["in_domain"], summary["out_of_domain"]) == (4, 1)
    assert json.loads((out / "summary.json").read_text()) == summary


def test_salts_and_charges_are_taken_off(mixed):
    _, out, _ = mixed
    by_name = {row["name"]: row for row in rows_of(out / "predictions.csv")}
    assert by_name["phenol again"]["smiles"] == "Oc1ccccc1"
    assert by_name["'=cmd|'/C calc'!A0"]["smiles"] == "CC(=O)O"


def test_hostile_names_do_nothing(mixed):
    _, out, _ = mixed
    table = (out / "predictions.csv").read_text()
    assert "\"'=cmd" in table or "'=cmd" in table
    assert not any(line.split(",")[2].lstrip('"').startswith("=") for line in table.splitlines()[1:])
    assert "\x1b" not in (out / "failures.csv").read_text()
    page = (out / "top.html").read_text()
    assert "<script" not in page and "&lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_the_best_are_ranked_once_each_and_only_inside_the_domain(mixed):
    _, _, summary = mixed
    assert [row["smiles"] for row in summary["top"]] == [
        "CC12CCC3c4ccc(O)cc4CCC3C1CCC2=O", "Oc1ccccc1", "Nc1ccccc1",
    ]  # fmt: skip
    assert [(row["rank"], row["copies"]) for row in summary["top"]] == [(1, 1), (2, 2), (3, 1)]
    assert [row["smiles"] for row in summary["outside_domain"]] == ["CC(=O)O"]
    assert summary["top"][0]["pchembl"] == pytest.approx(6.0)


def test_every_output_says_what_it_is(mixed, tmp_path):
    source, out, summary = mixed
    assert summary["statement"] == STATEMENT
    page = (out / "top.html").read_text()
    assert "predicts assay affinity for the wild type &lt;only&gt;." in page and STATEMENT not in page
    assert {row["origin"] for row in rows_of(out / "predictions.csv")} == {
        "surrogate prediction: assay affinity for the wild type"
    }
    screened(source, tmp_path / "out")
    schema = parquet.read_schema(tmp_path / "out" / "predictions.parquet")
    assert schema.metadata[b"esr1md.statement"].decode() == STATEMENT
    assert schema.field("pchembl").metadata == {b"unit": b"pChEMBL", b"meaning": b"meaning of pchembl; 80 % interval"}
    assert schema.field("origin").metadata[b"meaning"].decode() == STATEMENT
    assert parquet.read_table(tmp_path / "out" / "predictions.parquet")["origin"][0].as_py().startswith("surrogate")
    assert [column["name"] for column in summary["columns"]][:4] == ["row", "line", "name", "smiles"]
    assert schema.names == [*[column["name"] for column in summary["columns"]], "origin"]


def test_the_page_needs_nothing_and_shows_each_compound(mixed):
    _, out, summary = mixed
    page = (out / "top.html").read_text()
    assert "default-src 'none'" in page and not re.search(r"(src|href)=.?(https?:|//)", page)
    assert page.count("<svg") == 2 * (len(summary["top"]) + len(summary["outside_domain"]))
    assert "Outside the model&#39;s domain" in page or "Outside the model's domain" in page
    assert "3.00 to 5.00" not in page and "5.00 to 7.00" in page  # estrone, 20 heavy atoms
    assert "with its 80 % interval" in page and "and 1 more" in page and "about 1 \u00b5M" in page


@pytest.mark.parametrize(("pchembl", "said"), [
    (9.0, "about 1 nM"), (7.3, "about 50 nM"), (5.0, "about 10 \u00b5M"), (3.2, "about 600 \u00b5M"),
    (2.2, "about 6 mM"), (12.5, "about 0.3 pM"),
])  # fmt: skip
def test_a_pchembl_as_a_concentration(pchembl, said):
    assert concentration(pchembl) == said


def test_an_empty_list_has_a_page_too(mixed):
    _, _, summary = mixed
    page = screening_page({**summary, "top": [], "outside_domain": [], "in_domain": 0})
    assert "No compound of this library lies inside" in page


# -- formats and order ----------------------------------------------------------------------------------------


def test_the_order_of_a_long_library_is_kept_by_several_processes(tmp_path, monkeypatch):
    monkeypatch.setattr(screening, "CHUNK", 16)
    source = smiles_file(tmp_path / "a.smi", 150)
    summary = screened(source, tmp_path / "out", workers=3)
    good, bad = rows_of(tmp_path / "out" / "predictions.parquet"), rows_of(tmp_path / "out" / "failures.csv")
    assert [row["row"] for row in good] == [n + 1 for n in range(150) if n % 7 != 6]
    assert [row["name"] for row in good] == [f"name-{row['row'] - 1}" for row in good]
    assert [int(row["row"]) for row in bad] == [n + 1 for n in range(150) if n % 7 == 6]
    assert summary["rows"] == 150 == len(good) + len(bad)
    best = max((row for row in good if row["in_domain"]), key=lambda row: (row["pchembl"], -row["row"]))
    assert summary["top"][0]["row"] == best["row"] and len(summary["top"]) == sum(row["in_domain"] for row in good)


@pytest.mark.slow
def test_every_format_gives_the_same_predictions(tmp_path):
    compounds = [("one", "Oc1ccccc1"), ("two", "c1cc"), ("three", "CCN")]
    (tmp_path / "a.smi").write_text("".join(f"{smiles} {name}\n" for name, smiles in compounds))
    (tmp_path / "a.csv").write_text("ID,smiles\n" + "".join(f"{name},{smiles}\n" for name, smiles in compounds))
    (tmp_path / "b.csv.gz").write_bytes(gzip.compress((tmp_path / "a.csv").read_bytes()))
    records = []
    for name, smiles in compounds:
        mol = Chem.MolFromSmiles(smiles)
        if mol is None:
            records.append(f"{name}\n\n\nnonsense\n$$$$\n")
            continue
        AllChem.Compute2DCoords(mol)
        mol.SetProp("_Name", name)
        records.append(Chem.MolToMolBlock(mol) + "$$$$\n")
    (tmp_path / "a.sdf").write_text("".join(records))
    names, smiles = zip(*compounds, strict=True)
    parquet.write_table(pyarrow.table({"id": names, "x": [1, 2, 3], "smiles": smiles}), tmp_path / "a.parquet")
    found = {}
    for name in ("a.smi", "b.csv.gz", "a.sdf", "a.parquet"):
        summary = screened(tmp_path / name, tmp_path / f"out-{name}")
        table = rows_of(tmp_path / f"out-{name}" / "predictions.parquet")
        found[name] = [(row["row"], row["name"], row["smiles"], row["pchembl"]) for row in table]
        assert (summary["rows"], summary["failed"]) == (3, 1)
    assert len(set(map(str, found.values()))) == 1 and [row[1] for row in found["a.smi"]] == ["one", "three"]


def test_one_smiles_is_a_library(tmp_path):
    summary = screened("Oc1ccccc1 phenol", tmp_path / "out")
    assert summary["rows"] == 1 and summary["top"][0]["name"] == "phenol" and summary["source"] == "SMILES"


def test_simulation_scores_are_ranked_lowest_first_and_said_to_be_there(tmp_path):
    source = smiles_file(tmp_path / "a.smi", 30)
    summary = screen_library(source, tmp_path / "out", Question(variants=("Y537S",)),
                             Wanted(by="binding_Y537S_kcal", format="csv"), workers=1)  # fmt: skip
    values = [row["binding_Y537S_kcal"] for row in summary["top"]]
    assert summary["lowest_first"] and values == sorted(values) and len(values) > 3
    (origin,) = {row["origin"] for row in rows_of(tmp_path / "out" / "predictions.csv")}
    assert origin.endswith("and simulation scores as predicted from a store")
    assert "Lowest first" in (tmp_path / "out" / "top.html").read_text()


# -- bad input ------------------------------------------------------------------------------------------------


def test_bad_questions_are_refused_before_any_row(tmp_path):
    source, out = smiles_file(tmp_path / "a.smi", 3), tmp_path / "out"
    with pytest.raises(InputError, match="knows no variant 'Y538S'; expected Y537S"):
        screen_library(source, out, Question(variants=("Y538S",)), workers=1)
    with pytest.raises(InputError, match="no column 'pchmbl' to rank by.*did you mean 'pchembl'"):
        screened(source, out, Wanted(by="pchmbl"))
    with pytest.raises(InputError, match="--by: no column 'smiles' to rank by"):
        screened(source, out, Wanted(by="smiles"))
    with pytest.raises(InputError, match="elsewhere: no model of ours"):
        screen_library(source, out, Question(model="elsewhere"), workers=1)
    (tmp_path / "empty.smi").write_text("\n")
    with pytest.raises(InputError, match="holds no molecule"):
        screened(tmp_path / "empty.smi", tmp_path / "none")
    with pytest.raises(InputError, match="is not a folder to write to"):
        screened(source, source)
    assert not (out / "summary.json").exists()


def test_a_damaged_file_keeps_what_came_before(tmp_path, monkeypatch):
    monkeypatch.setattr(screening, "CHUNK", 100)
    packed = gzip.compress("".join(f"{'C' * (n % 50 + 1)}O n{n}\n" for n in range(20_000)).encode(), 1)
    (tmp_path / "a.smi.gz").write_bytes(packed[: len(packed) // 2])
    with pytest.raises(InputError, match="gzipped file is damaged"):
        screened(tmp_path / "a.smi.gz", tmp_path / "out")
    assert part_path(tmp_path / "out" / ".parts", 0).exists() and not (tmp_path / "out" / "summary.json").exists()


# -- again, and after a kill ----------------------------------------------------------------------------------


def test_a_finished_run_started_again_does_nothing(mixed):
    source, out, first = mixed
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file() and path.name != ".lock"}
    again = screened(source, out, CSV)
    after = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file() and path.name != ".lock"}
    assert before == after and again["done_before"] == 9 and again["top"] == first["top"]


def test_another_way_to_write_it_down_predicts_nothing_again(tmp_path):
    source, out = smiles_file(tmp_path / "a.smi", 20), tmp_path / "out"
    screened(source, out)
    part = part_path(out / ".parts", 0)
    before = part.stat().st_mtime_ns
    summary = screened(source, out, Wanted(format="csv", top=2, by="pchembl_sd"))
    assert part.stat().st_mtime_ns == before and summary["done_before"] == 20 and len(summary["top"]) == 2
    assert (out / "predictions.csv").exists() and not (out / "predictions.parquet").exists()


def test_a_folder_holds_one_library_asked_one_question(mixed, tmp_path, monkeypatch):
    source, out, _ = mixed
    (tmp_path / "other.smi").write_text("CCO\n")
    with pytest.raises(InputError, match="holds a screening with another file; use another --out"):
        screened(tmp_path / "other.smi", out, CSV)
    with pytest.raises(InputError, match="variants none instead of Y537S"):
        screen_library(source, out, Question(variants=("Y537S",)), CSV, workers=1)
    about = json.loads((out / ".parts" / "about.json").read_text())
    with pytest.raises(InputError, match="another model"):
        screening.check_same(out, {**about, "model": "1" * 64})
    with pytest.raises(InputError, match="other package versions"):
        screening.check_same(out, {**about, "versions": {}})


def test_a_limit_can_be_raised_and_lowered(tmp_path, monkeypatch):
    monkeypatch.setattr(screening, "CHUNK", 8)
    source, out = smiles_file(tmp_path / "a.smi", 30), tmp_path / "out"
    assert screened(source, out, Wanted(limit=12))["rows"] == 12
    whole = part_path(out / ".parts", 0)
    before = whole.stat().st_mtime_ns
    more = screened(source, out)
    assert (more["rows"], more["done_before"]) == (30, 8) and whole.stat().st_mtime_ns == before
    fewer = screened(source, out, Wanted(limit=5))
    assert fewer["rows"] == 5 and len(rows_of(out / "predictions.parquet")) == 5
    assert [row["row"] for row in rows_of(out / "predictions.parquet")] == [1, 2, 3, 4, 5]


def test_a_damaged_part_is_predicted_again(tmp_path, monkeypatch):
    monkeypatch.setattr(screening, "CHUNK", 8)
    source, out = smiles_file(tmp_path / "a.smi", 30), tmp_path / "out"
    first = screened(source, out)
    part_path(out / ".parts", 1).write_bytes(b"PAR1 half a file")
    (out / "summary.json").unlink()
    again = screened(source, out)
    assert again["done_before"] == 22 and again["top"] == first["top"] and again["failed"] == first["failed"]


def test_a_part_that_does_not_belong_is_not_written_down(tmp_path, monkeypatch):
    monkeypatch.setattr(screening, "CHUNK", 8)
    source, out = smiles_file(tmp_path / "a.smi", 16), tmp_path / "out"
    screened(source, out)
    part_path(out / ".parts", 1).write_bytes(part_path(out / ".parts", 0).read_bytes())
    (out / "summary.json").unlink()
    with pytest.raises(Esr1mdError, match="does not hold row 9"):
        screened(source, out)


def test_a_row_that_ends_its_process_costs_only_itself(tmp_path, monkeypatch):
    monkeypatch.setattr(screening, "CHUNK", 4)
    source = tmp_path / "a.smi"
    source.write_text("CCO a\nCCC b\nCCN x\nCCCC c\nCCS d\n")
    summary = screened(source, tmp_path / "out")
    assert (summary["rows"], summary["failed"]) == (5, 1)
    (failure,) = rows_of(tmp_path / "out" / "failures.csv")
    assert (failure["row"], failure["name"]) == ("3", "x") and "SIGSEGV" in failure["reason"]
    assert [row["name"] for row in rows_of(tmp_path / "out" / "predictions.parquet")] == ["a", "b", "c", "d"]


def test_two_runs_in_one_folder_are_refused(tmp_path):
    source = smiles_file(tmp_path / "a.smi", 3)
    (tmp_path / "out").mkdir()
    with screening.only_run(tmp_path / "out", "surrogate screen"):
        with pytest.raises(InputError, match="another 'surrogate screen' is running"):
            screened(source, tmp_path / "out")


@pytest.mark.slow
def test_kill_9_and_run_again(tmp_path):
    """A real process with the fake model, ended by SIGKILL in the middle."""
    source, out, parts = smiles_file(tmp_path / "a.smi", 600), tmp_path / "out", tmp_path / "out" / ".parts"
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "import test_screening as t; from pathlib import Path; from esr1md.surrogate import screening\n"
        "t.use_fake(); screening.CHUNK = 20\n"
        f"t.screened({str(source)!r}, Path({str(out)!r}), workers=2)"
    )
    slow = {**os.environ, "FAKE_SECONDS": "0.2"}
    process = subprocess.Popen([sys.executable, "-c", code], env=slow, start_new_session=True)
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and process.poll() is None and len(list(parts.glob("*.parquet"))) < 6:
        time.sleep(0.02)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    kept = {path.name: path.stat().st_mtime_ns for path in parts.glob("*.parquet")}
    assert 6 <= len(kept) < 30 and not (out / "predictions.parquet").exists()
    subprocess.run([sys.executable, "-c", code], env={**os.environ, "FAKE_SECONDS": "0"}, check=True, timeout=90)
    summary = json.loads((out / "summary.json").read_text())
    assert (summary["rows"], summary["done_before"]) == (600, 20 * len(kept))
    assert all((parts / name).stat().st_mtime_ns == when for name, when in kept.items())
    good, bad = rows_of(out / "predictions.parquet"), rows_of(out / "failures.csv")
    assert sorted([row["row"] for row in good] + [int(row["row"]) for row in bad]) == list(range(1, 601))
    assert [row["row"] for row in good] == sorted(row["row"] for row in good)


# -- memory ---------------------------------------------------------------------------------------------------


def test_no_more_rows_are_read_than_are_under_way(tmp_path, monkeypatch):
    """The reader is asked for a chunk when a process is free, never for the whole library."""
    monkeypatch.setattr(screening, "CHUNK", 10)
    source, taken, seen = smiles_file(tmp_path / "a.smi", 400), [0], []
    rows = inputs._smi_rows

    def counted(lines):
        for row in rows(lines):
            taken[0] += 1
            yield row

    keep = screening.keep_part
    monkeypatch.setattr(inputs, "_smi_rows", counted)

    def kept(folder, number, tables):
        seen.append((len(seen), taken[0]))
        return keep(folder, number, tables)

    monkeypatch.setattr(screening, "keep_part", kept)
    screened(source, tmp_path / "out", workers=2)
    assert len(seen) == 40
    for finished, read in seen:  # two processes and the answers that may wait
        assert read <= 10 * (finished + 2 + 4 * 2 + 2)


def test_a_parquet_file_is_read_a_batch_at_a_time(tmp_path):
    path = tmp_path / "a.parquet"
    parquet.write_table(pyarrow.table({"smiles": ["CCO"] * 200_000}), path)  # one row group
    before = pyarrow.total_allocated_bytes()
    with open_input(path) as rows:
        first = next(iter(rows))
        assert (first.number, first.line, first.name, first.text) == (1, 1, "row 1", "CCO")
        assert rows.fraction < 0.01
        assert pyarrow.total_allocated_bytes() - before < 2**20  # not the 1.4 MB of the column
        assert sum(1 for _ in rows) == 199_999 and rows.fraction == 1.0


def table_of(values, smiles=None) -> pyarrow.Table:
    n = len(values)
    return pyarrow.table({"row": list(range(1, n + 1)), "smiles": smiles or [f"s{v}-{i}" for i, v in enumerate(values)],
                          "failure": [None] * n, "v": pyarrow.array(values, pyarrow.float32())})  # fmt: skip


def test_the_best_hold_no_more_than_they_are_asked_for():
    best = Best(3, lowest=False)
    generator = np.random.default_rng(7)
    values = generator.permutation(5000).astype(float).tolist()
    for at in range(0, 5000, 100):
        best.offer(table_of(values[at : at + 100]), "v")
    assert [row["v"] for row in best.ranked()] == [4999.0, 4998.0, 4997.0]
    assert len(best._heap) == len(best._kept) == 3
    low = Best(2, lowest=True)
    low.offer(table_of([3.0, float("nan"), 1.0, 2.0]), "v")
    assert [(row["rank"], row["v"], row["row"]) for row in low.ranked()] == [(1, 1.0, 3), (2, 2.0, 4)]


def test_of_equal_compounds_the_first_row_is_listed():
    best = Best(2, lowest=False)
    best.offer(table_of([5.0, 5.0, 5.0, 4.0, 5.0], ["a", "b", "a", "d", "c"]), "v")
    assert [(row["smiles"], row["row"], row["copies"]) for row in best.ranked()] == [("a", 1, 2), ("b", 2, 1)]


def test_which_end_is_best():
    schema = part_schema(FakeSurrogate().columns(["Y537S"], ""), FakeSurrogate().table([], ["Y537S"], ""), STATEMENT)
    assert lowest_first("binding_Y537S_kcal", schema) and lowest_first("pchembl_sd", schema)
    assert not lowest_first("pchembl", schema) and not lowest_first("similarity", schema)


# -- the command ----------------------------------------------------------------------------------------------


@pytest.fixture
def surrogate(run):
    """Run ``esr1md surrogate``; returns (exit code, standard output, standard error)."""
    return lambda *arguments: run("surrogate", *arguments)


def test_help_teaches_with_examples(surrogate):
    code, out, _ = surrogate("screen", "--help")
    assert code == 0 and "esr1md surrogate screen vendor.smi.gz" in out and "Exit codes" in out
    assert "assay affinity for the wild type" in out


def test_the_command_ends_with_3_when_rows_failed(surrogate, tmp_path):
    (tmp_path / "lib.csv").write_text("smiles,name\nOc1ccccc1,[bold]phenol[/bold]\nc1cc,broken\n")
    code, out, err = surrogate("screen", "lib.csv", "--out", "lib", "--workers", "1", "--json")
    summary = json.loads(out)
    assert code == 3 and err == "" and summary["failed"] == 1 and summary["statement"] == STATEMENT
    code, out, err = surrogate("screen", "lib.csv", "--out", "lib", "--workers", "1")
    assert code == 3 and STATEMENT in out and "1 of 2 compounds predicted" in out and "nothing was left to do" in out
    assert "[bold]phenol[/bold]" in out and "lib/top.html" in out


def test_without_out_the_folder_has_the_librarys_name(surrogate, tmp_path):
    (tmp_path / "my.library.smi").write_text("Oc1ccccc1 phenol\n")
    assert surrogate("screen", "my.library.smi", "--workers", "1")[0] == 0
    assert (tmp_path / "my-surrogate" / "top.html").is_file()


def test_the_command_ends_with_0_when_all_are_predicted(surrogate):
    code, out, err = surrogate("screen", "CCO", "--out", "one", "--workers", "1", "--format", "csv")
    assert code == 0 and err == "" and "1 compounds outside the model's domain are not ranked" in out
    assert "one/predictions.csv" in out


@pytest.mark.parametrize(("arguments", "says"), [
    (["absent.smi", "--out", "o"], "no file 'absent.smi'"),
    (["CCO", "--out", "o", "--variant", "Y538S"], "knows no variant 'Y538S'"),
    (["CCO", "--out", "o", "--by", "affinity"], "no column 'affinity'"),
    (["CCO", "--out", "o", "--format", "xlsx"], "--format"),
    (["CCO", "--out", "o", "--model", "elsewhere"], "no model of ours"),
    (["CCO", "--out", "o", "--top", "0"], "--top"),
])  # fmt: skip
def test_bad_input_is_one_line_and_exit_code_2(arguments, says, surrogate):
    code, out, err = surrogate("screen", *arguments)
    assert code == 2 and out == "" and says in err
    assert err.startswith("error: ") and err.count("\n") == 1


# -- the real model -------------------------------------------------------------------------------------------


@pytest.fixture
def shipped(monkeypatch) -> Path:
    """The real model in place of the fake; its folder."""
    monkeypatch.setattr(screening, "describe_in_worker", screening.describe)
    monkeypatch.setattr(screening, "screen_in_worker", screening.screen_rows)
    return data_path("ligands") / "surrogate"


@pytest.mark.slow
def test_the_shipped_model_knows_estradiol_from_sugar(shipped, surrogate, tmp_path):
    (tmp_path / "lib.smi").write_text(
        "OC[C@H]1OC(O)[C@H](O)[C@@H](O)[C@@H]1O glucose\n"
        "C[C@]12CC[C@H]3[C@@H](CCc4cc(O)ccc43)[C@@H]1CC[C@@H]2O estradiol\nc1cc broken\n"
    )
    code, out, err = surrogate("screen", "lib.smi", "--out", "lib", "--workers", "1", "--json")
    summary = json.loads(out)
    assert code == 3 and err == ""
    best = summary["top"][0]
    assert best["name"] == "estradiol" and best["similarity"] == 1.0 and best["in_domain"]
    assert best["pchembl_low"] < best["pchembl"] < best["pchembl_high"] and best["pchembl"] > 8
    assert [row["name"] for row in summary["outside_domain"]] == ["glucose"]
    assert "wild-type" in summary["statement"] and len(summary["model_sha256"]) == 64


@pytest.mark.slow
def test_a_corrupted_a_foreign_and_an_absent_model_are_refused(shipped, surrogate, tmp_path):
    broken, foreign = tmp_path / "broken", tmp_path / "foreign"
    shutil.copytree(shipped, broken)
    weights = broken / "affinity.safetensors"
    data = bytearray(weights.read_bytes())
    data[len(data) // 2] ^= 0xFF
    weights.write_bytes(data)
    foreign.mkdir()
    (foreign / "model.pt").write_bytes(b"\x80\x04cposix\nsystem\n(S'touch owned'\ntR.")
    for folder in (broken, foreign, tmp_path / "absent"):
        code, out, err = surrogate("screen", "CCO", "--out", "o", "--model", str(folder), "--workers", "1")
        assert code == 2 and out == "" and err.startswith("error: ") and err.count("\n") == 1
        assert folder.name in err
    assert not (tmp_path / "owned").exists()
    code, _, err = surrogate("screen", "CCO", "--out", "o", "--variant", "Y538S", "--workers", "1")
    assert code == 2 and "Y538S" in err and err.count("\n") == 1
