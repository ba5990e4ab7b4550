"""Libraries: every row answered once, whatever happens; tables that hold what a reader needs."""

from __future__ import annotations

import csv
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing

import pytest
from rdkit import Chem

from esr1md.errors import InputError
from esr1md.ligand import library
from esr1md.ligand.library import LibrarySettings, Progress, prepare_library
from esr1md.ligand.library_journal import JOURNAL

FLAT = LibrarySettings(conformers=False)


def table(path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def journal_rows(out) -> list[tuple]:
    with closing(sqlite3.connect(out / JOURNAL)) as journal:
        return journal.execute("select number, failure, seconds from rows order by number").fetchall()


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """A library with everything in it, prepared once."""
    folder = tmp_path_factory.mktemp("library")
    source = folder / "mixed.csv"
    rows = [
        ("tamoxifen", "CC/C(=C(\\c1ccccc1)c1ccc(OCCN(C)C)cc1)c1ccccc1"),
        ("bad", "c1ccc"),
        ("sulfoxide", "CCCCS(=O)CC"),
        ("=cmd|'/C calc'!A0", "CC(=O)O[Na]"),
        ("tamoxifen", "CC/C(=C(\\c1ccccc1)c1ccc(OCC[NH+](C)C)cc1)c1ccccc1.[Cl-]"),
        ("<b>\x1b[31m", "C[Fe]C"),
        ("nitrophenol", "Oc1ccc([N+](=O)[O-])cc1"),
        ("../../up", "CN1C2CCC1CC(O)C2"),
    ]  # fmt: skip
    with open(source, "w", newline="") as handle:
        csv.writer(handle).writerows([("name", "smiles"), *rows])
    out = folder / "out"
    return source, out, prepare_library(source, out, workers=2)


def test_the_summary_counts_every_row(mixed):
    _, out, summary = mixed
    assert (summary["rows"], summary["prepared"], summary["failed"]) == (8, 6, 2)
    assert summary["ligands"] == 8 == len(table(out / "ligands.csv"))
    assert (summary["stereo_enumerated"], summary["duplicates"], summary["names_given_twice"]) == (2, 1, 1)
    assert json.loads((out / "summary.json").read_text()) == summary
    assert sorted(path.name for path in out.iterdir() if not path.name.startswith(".")) == [
        "failures.csv", "library.sqlite", "ligands.csv", "ligands.sdf", "summary.json",
    ]  # fmt: skip


def test_the_table_of_ligands(mixed):
    _, out, _ = mixed
    rows = table(out / "ligands.csv")
    by_id = {row["id"]: row for row in rows}
    assert len(by_id) == len(rows) and [int(row["row"]) for row in rows] == sorted(int(row["row"]) for row in rows)
    assert by_id["1-1"]["charge"] == "1" and "tertiary amine" in by_id["1-1"]["state"]
    assert {by_id["3-1"]["stereoisomer"], by_id["3-2"]["stereoisomer"]} == {"R", "S"}
    assert by_id["3-1"]["name"] == "sulfoxide" and by_id["3-1"]["ligand"].startswith("sulfoxide (")
    assert by_id["4-1"]["removed"] == "sodium" and by_id["4-1"]["name"] == "'=cmd|'/C calc'!A0"
    assert by_id["5-1"]["removed"] == "chloride" and by_id["5-1"]["same_as"] == "1-1"
    assert by_id["5-1"]["inchikey"] == by_id["1-1"]["inchikey"]
    assert by_id["7-1"]["other_states"].startswith("O=[N+]([O-])c1ccc(O)cc1 (3")
    assert {by_id["8-1"]["compound_smiles"], by_id["8-2"]["compound_smiles"]} == {"CN1C2CCC1CC(O)C2"}
    for row in rows:
        assert Chem.CanonSmiles(row["smiles"]) == row["smiles"]


def test_the_failures_say_which_row_and_why(mixed):
    _, out, _ = mixed
    rows = table(out / "failures.csv")
    assert [(row["row"], row["line"], row["name"]) for row in rows] == [("2", "3", "bad"), ("6", "7", "<b>[31m")]
    assert "cannot be parsed" in rows[0]["reason"] and "is a metal (Fe)" in rows[1]["reason"]


def test_the_sdf_holds_every_ligand_in_3d(mixed):
    _, out, _ = mixed
    rows = table(out / "ligands.csv")
    mols = list(Chem.SDMolSupplier(str(out / "ligands.sdf"), removeHs=False))
    assert [mol.GetProp("id") for mol in mols] == [row["id"] for row in rows]
    for mol, row in zip(mols, rows, strict=True):
        assert mol.GetConformer().Is3D() and mol.GetProp("inchikey") == row["inchikey"]
        Chem.AssignStereochemistryFrom3D(mol)
        for atom in mol.GetAtoms():
            if atom.GetSymbol() == "N":
                atom.SetChiralTag(Chem.ChiralType.CHI_UNSPECIFIED)  # a protonated amine is no centre
        assert Chem.CanonSmiles(Chem.MolToSmiles(Chem.RemoveHs(mol))) == row["smiles"]


def test_a_second_run_does_nothing_again(mixed):
    source, out, first = mixed
    before, tables = journal_rows(out), (out / "ligands.csv").read_bytes()
    again = prepare_library(source, out, workers=1)
    assert journal_rows(out) == before and (out / "ligands.csv").read_bytes() == tables
    assert again["done_before"] == 8 and again["failed"] == first["failed"]


def test_a_folder_holds_one_library_prepared_one_way(mixed, tmp_path):
    source, out, _ = mixed
    other = tmp_path / "other.smi"
    other.write_text("CCO\n")
    with pytest.raises(InputError, match="holds a library prepared with another file.*use another --out"):
        prepare_library(other, out)
    with pytest.raises(InputError, match="prepared with conformers true instead of false"):
        prepare_library(source, out, FLAT)


def test_a_limit_can_be_raised_later(tmp_path):
    source, out = tmp_path / "a.smi", tmp_path / "out"
    source.write_text("".join(f"{'C' * n}O name-{n}\n" for n in range(1, 13)))
    assert prepare_library(source, out, FLAT, limit=4)["rows"] == 4
    kept = journal_rows(out)
    more = prepare_library(source, out, FLAT, limit=10, workers=2)
    assert (more["rows"], more["done_before"]) == (10, 4) and journal_rows(out)[:4] == kept
    assert [row["name"] for row in table(out / "ligands.csv")] == [f"name-{n}" for n in range(1, 11)]
    fewer = prepare_library(source, out, FLAT, limit=2)  # the tables follow what was asked for
    assert fewer["rows"] == 2 and len(table(out / "ligands.csv")) == 2


def test_two_runs_in_one_folder_are_refused(tmp_path):
    source = tmp_path / "a.smi"
    source.write_text("CCO\n")
    (tmp_path / "out").mkdir()
    with library.only_run(tmp_path / "out", "ligands prepare"):
        with pytest.raises(InputError, match="another 'ligands prepare' is running"):
            prepare_library(source, tmp_path / "out", FLAT)


def test_a_file_without_rows_and_a_foreign_journal(tmp_path):
    source = tmp_path / "a.smi"
    source.write_text("\n\n")
    with pytest.raises(InputError, match="holds no molecule"):
        prepare_library(source, tmp_path / "out", FLAT)
    source.write_text("CCO\n")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / JOURNAL).write_text("this is no database, it is a long enough text file " * 30)
    with pytest.raises(InputError, match="journal cannot be opened"):
        prepare_library(source, tmp_path / "bad", FLAT)


def end_on_x(rows, settings):
    """As prepare_rows, but a row called x ends its process, as a fault in a library would."""
    if any(row.name == "x" for row in rows):
        os.kill(os.getpid(), signal.SIGSEGV)
    return library.prepare_rows(rows, settings)


def test_a_row_that_ends_its_process_costs_only_itself(tmp_path, monkeypatch):
    source, out = tmp_path / "a.smi", tmp_path / "out"
    source.write_text("CCO a\nCCC b\nCCN x\nCCCC c\n")
    monkeypatch.setattr(library, "prepare_in_worker", end_on_x)
    summary = prepare_library(source, out, FLAT)
    assert (summary["rows"], summary["failed"]) == (4, 1)
    (failure,) = table(out / "failures.csv")
    assert failure["name"] == "x" and "SIGSEGV" in failure["reason"]
    monkeypatch.undo()
    again = prepare_library(source, out, FLAT, retry=True)
    assert (again["failed"], again["done_before"]) == (0, 3)


def take_memory_on_x(rows, settings):
    """As prepare_rows, but a row called x wants 4 GB."""

    def hungry(name, mol, **options):
        if name == "x":
            bytearray(4 * 2**30)
        return prepare_compound(name, mol, **options)

    from esr1md.ligand import states

    prepare_compound = states.prepare_compound
    states.prepare_compound = hungry
    try:
        return library.prepare_rows(rows, settings)
    finally:
        states.prepare_compound = prepare_compound


def test_a_row_that_wants_too_much_memory_costs_only_itself(tmp_path, monkeypatch):
    source, out = tmp_path / "a.smi", tmp_path / "out"
    source.write_text("CCO a\nCCN x\nCCCC c\n")
    monkeypatch.setattr(library, "prepare_in_worker", take_memory_on_x)
    summary = prepare_library(source, out, FLAT)
    assert (summary["rows"], summary["failed"]) == (3, 1)
    assert table(out / "failures.csv")[0]["reason"] == "needs more than 2 GB of memory"


@pytest.mark.slow
def test_kill_9_and_run_again(tmp_path):
    source, out = tmp_path / "a.smi", tmp_path / "out"
    source.write_text("".join(f"{'C' * (n % 40 + 1)}C(=O)N{'C' * (n // 40 + 1)} name-{n}\n" for n in range(320)))
    command = [sys.executable, "-m", "esr1md.cli", "ligands", "prepare", str(source), "--out", str(out), "--no-3d",
               "--workers", "1", "--json"]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if len(journal_rows(out)) > 20:
                break
        except sqlite3.Error:
            pass
        time.sleep(0.05)
    process.kill()
    process.wait()
    kept = journal_rows(out)
    assert 20 < len(kept) < 320 and not (out / "ligands.csv").exists()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    summary = json.loads(done.stdout)
    after = {number: entry for number, *entry in journal_rows(out)}
    assert summary["rows"] == 320 == len(after) and summary["done_before"] == len(kept)
    assert all(after[number] == entry for number, *entry in kept)  # the time each took is that of its first try
    names = [row["name"] for row in table(out / "ligands.csv")]
    assert names == [f"name-{n}" for n in range(320)]


@pytest.mark.slow
def test_parameters_go_where_a_screen_finds_them(tmp_path):
    from esr1md.ligand.parameters import parameters_identity
    from esr1md.ligand.states import ligand_from_smiles
    from esr1md.specs import WILD_TYPE, Cell, HelixState, ReplicaSpec, digest_of
    from esr1md.store import Store

    source, store = tmp_path / "a.smi", tmp_path / "store"
    source.write_text("Oc1ccc(CCN)cc1 tyramine\n")
    summary = prepare_library(source, tmp_path / "out", LibrarySettings(parameters=str(store)))
    (row,) = table(tmp_path / "out" / "ligands.csv")
    ligand = ligand_from_smiles("any name", "NCCc1ccc(O)cc1")
    spec = ReplicaSpec(Cell(WILD_TYPE, ligand, HelixState.AGONIST), 7, {}, "")
    assert summary["failed"] == 0 and row["parameters"] == digest_of(parameters_identity(ligand, spec.versions))
    assert Store(store).find("parameters", row["parameters"]) is not None
    (mol,) = Chem.SDMolSupplier(str(tmp_path / "out" / "ligands.sdf"), removeHs=False)
    assert mol.GetNumAtoms() == 22 and mol.GetConformer().Is3D()


def test_a_store_that_cannot_be_written_to_is_no_fault_of_the_rows(tmp_path):
    source, store = tmp_path / "a.smi", tmp_path / "store"
    source.write_text("CCO\nCCN\n")
    store.write_text("a file, not a folder")
    with pytest.raises(InputError, match="store"):
        prepare_library(source, tmp_path / "out", LibrarySettings(parameters=str(store)))
    assert journal_rows(tmp_path / "out") == []


def test_progress_says_how_much_is_left():
    progress = Progress(done=30, earlier=10, fraction=0.5, seconds=10.0)
    progress._begun_at = 0.25
    assert progress.rate == 2.0 and progress.seconds_left == pytest.approx(20.0)
    assert Progress(done=50, total=100, seconds=5.0).seconds_left == pytest.approx(5.0)
    assert Progress(done=2, total=100, seconds=5.0).seconds_left is None
