"""The journal of a library's preparation (SQLite), and the tables that are written from it."""

from __future__ import annotations

import csv
import dataclasses
import json
import sqlite3
import sys
import zlib
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from esr1md.errors import InputError
from esr1md.ligand.molecules import table_cell
from esr1md.ligand.row_workers import Progress, replacing
from esr1md.specs import numeric_versions

JOURNAL = "library.sqlite"
_SCHEMA = """
create table if not exists about (key text primary key, value text not null);
create table if not exists rows (
    number integer primary key, line integer, name text, failure text, smiles text, inchikey text, removed text,
    possible integer, notes text, seconds real);
create table if not exists ligands (
    row integer, isomer integer, name text, label text, smiles text, inchikey text, charge integer, share real,
    state text, others text, notes text, warnings text, parameters text, sdf blob, primary key (row, isomer));
create index if not exists by_key on ligands (inchikey);
"""
_COLUMNS = ("id", "row", "name", "ligand", "stereoisomer", "smiles", "inchikey", "charge", "state", "share",
            "other_states", "compound_smiles", "removed", "same_as", "parameters", "notes", "warnings")  # fmt: skip


@dataclass(frozen=True)
class LibrarySettings:
    """How a library is prepared; a folder holds one library, prepared one way.

    Attributes
    ----------
    charges
        ``dominant`` (at pH 7.4, whatever was drawn) or ``as written``.
    max_isomers
        Stereoisomers of one compound at most.
    conformers
        Whether each ligand gets one 3D conformer with hydrogens in ``ligands.sdf``.
    parameters
        Store that each ligand's GAFF2 parameters and charges go into; empty: none are made.
    """

    charges: str = "dominant"
    max_isomers: int = 16
    conformers: bool = True
    parameters: str = ""


def open_journal(out: Path) -> sqlite3.Connection:
    try:
        journal = sqlite3.connect(out / JOURNAL, check_same_thread=False)
        journal.execute("pragma journal_mode = wal")
        journal.executescript(_SCHEMA)
    except sqlite3.Error as error:
        raise InputError(f"the journal cannot be opened ({error})", where=str(out / JOURNAL),
                         do="use another folder, or remove this file to start again") from error  # fmt: skip
    return journal


def check_same(journal: sqlite3.Connection, out: Path, asked: dict[str, Any]) -> None:
    """A folder is one library prepared one way; the first run writes what and how, later ones must agree."""
    asked = {**asked, "versions": {**numeric_versions(), "dimorphite-dl": version("dimorphite-dl")}}
    stored = dict(journal.execute("select key, value from about"))
    for key, value in asked.items():
        text = json.dumps(value, sort_keys=True)
        if key in stored and stored[key] != text:
            what = {"source": "another file", "versions": "other package versions"}.get(
                key, f"{key} {stored[key]} instead of {text}"
            )
            raise InputError(f"this folder holds a library prepared with {what}", where=str(out),
                             do="use another --out")  # fmt: skip
        journal.execute("insert or ignore into about values (?, ?)", (key, text))
    journal.commit()


def keep(journal: sqlite3.Connection, entry: dict[str, Any]) -> None:
    names = ("number", "line", "name", "failure", "smiles", "inchikey", "removed", "possible", "notes", "seconds")
    for each in entry.get("ligands", ()):
        columns = ("isomer", "name", "label", "smiles", "inchikey", "charge", "share", "state", "others", "notes",
                   "warnings", "parameters", "sdf")  # fmt: skip
        journal.execute(
            f"insert or replace into ligands (row, {', '.join(columns)}) values (?{', ?' * len(columns)})",
            (entry["number"], *(each[column] for column in columns)),
        )
    journal.execute(f"insert or replace into rows ({', '.join(names)}) values (?{', ?' * (len(names) - 1)})",
                    tuple(entry.get(name) for name in names))  # fmt: skip


def export(journal: sqlite3.Connection, out: Path, label: str, progress: Progress, settings: LibrarySettings,
            limit: int | None) -> dict[str, Any]:  # fmt: skip
    """Write the tables from the journal, rows in the file's order, one at a time."""
    within = (limit if limit is not None else sys.maxsize,)
    n_ligands = _write_ligands(journal, out, within)
    n_records = _write_sdf(journal, out, within) if settings.conformers or settings.parameters else 0
    with replacing(out / "failures.csv") as handle:
        writer = csv.writer(handle)
        writer.writerow(("row", "line", "name", "reason"))
        query = "select number, line, name, failure from rows where failure is not null and number <= ? order by number"
        for number, line, name, failure in journal.execute(query, within):
            writer.writerow((number, line, table_cell(name), table_cell(failure)))
    named = "select count(*) from (select name from rows where number <= ? group by name having count(*) > 1)"
    several = "select count(*) from rows where possible > 1 and number <= ?"
    same = ("select count(*) from ligands a where row <= ? and exists (select 1 from ligands b "
            "where b.inchikey = a.inchikey and (b.row, b.isomer) < (a.row, a.isomer))")  # fmt: skip
    summary = {
        "source": label, "out": str(out), "rows": progress.done, "prepared": progress.done - progress.failed,
        "failed": progress.failed, "ligands": n_ligands, "duplicates": journal.execute(same, within).fetchone()[0],
        "stereo_enumerated": journal.execute(several, within).fetchone()[0],
        "names_given_twice": journal.execute(named, within).fetchone()[0],
        "done_before": progress.earlier, "seconds": round(progress.seconds, 1),
        "rows_per_second": round(progress.rate, 3), "settings": dataclasses.asdict(settings),
        "files": ["ligands.csv", *(["ligands.sdf"] if n_records else []), "failures.csv"],
    }  # fmt: skip
    with replacing(out / "summary.json") as handle:
        handle.write(json.dumps(summary, indent=2) + "\n")
    return summary


def _write_ligands(journal: sqlite3.Connection, out: Path, within: tuple[int]) -> int:
    query = """
        select l.row, l.isomer, r.name, l.name, l.label, l.smiles, l.inchikey, l.charge, l.state, l.share, l.others,
               r.smiles, r.removed, l.parameters, l.notes, l.warnings,
               (select b.row || '-' || b.isomer from ligands b where b.inchikey = l.inchikey
                order by b.row, b.isomer limit 1)
        from ligands l join rows r on r.number = l.row where l.row <= ? order by l.row, l.isomer"""
    count = 0
    with replacing(out / "ligands.csv") as handle:
        writer = csv.writer(handle)
        writer.writerow(_COLUMNS)
        for (row, isomer, name, ligand, label, smiles, key, charge, state, share, others, compound, removed,
             parameters, notes, warnings, first) in journal.execute(query, within):  # fmt: skip
            own = f"{row}-{isomer}"
            listed = " ".join(f"{s} ({100 * f:.0f} %)" for s, f in json.loads(others))
            writer.writerow((own, row, table_cell(name), table_cell(ligand), label, smiles, key, charge, state, share,
                             listed, compound, removed, "" if first == own else first, parameters,
                             table_cell(notes), warnings))  # fmt: skip
            count += 1
    return count


def _write_sdf(journal: sqlite3.Connection, out: Path, within: tuple[int]) -> int:
    count = 0
    query = ("select row, isomer, name, smiles, inchikey, charge, sdf from ligands where sdf is not null and row <= ? "
             "order by row, isomer")  # fmt: skip
    with replacing(out / "ligands.sdf") as handle:
        for row, isomer, name, smiles, key, charge, block in journal.execute(query, within):
            text = zlib.decompress(block).decode()
            handle.write(f"{name}\n{text.partition(chr(10))[2]}")
            fields = {"id": f"{row}-{isomer}", "smiles": smiles, "inchikey": key, "charge": charge}
            handle.writelines(f">  <{field}>\n{value}\n\n" for field, value in fields.items())
            handle.write("$$$$\n")
            count += 1
    return count
