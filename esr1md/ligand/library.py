"""Prepares whole libraries: many processes, little memory, every finished row kept.

The journal ``library.sqlite`` in the output folder is written row by row, so that a run that was killed goes on where
it stopped; the tables and the SDF are written from it at the end. A row that cannot be prepared, even one that ends
the process that tries it, is a line in ``failures.csv`` and stops nothing.
"""

from __future__ import annotations

import csv
import dataclasses
import faulthandler
import itertools
import json
import os
import queue
import sqlite3
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from esr1md.errors import InputError, StageError
from esr1md.ligand.inputs import InputFile, InputRow, molecule_of, open_input, table_cell
from esr1md.specs import Ligand, digest_of, file_digest, numeric_versions
from esr1md.workers import PoolClosed, WorkerDied, WorkerPool

JOURNAL = "library.sqlite"
#: Rows that one process takes at a time, and seconds after which a row is given up.
CHUNK, ROW_LIMIT_S = 8, 300.0

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


@dataclass
class Progress:
    """How far a library is."""

    done: int = 0
    failed: int = 0
    ligands: int = 0
    earlier: int = 0
    total: int | None = None
    fraction: float = 0.0
    seconds: float = 0.0
    _begun_at: float = 0.0

    @property
    def rate(self) -> float:
        """Rows per second of this run."""
        return (self.done - self.earlier) / self.seconds if self.seconds > 0 else 0.0

    @property
    def seconds_left(self) -> float | None:
        """Estimated from the rows, or from the part of the file, that this run has got through."""
        fraction = self.done / self.total if self.total else self.fraction
        begun = self.earlier / self.total if self.total else self._begun_at
        if fraction <= begun or self.done - self.earlier < 3:
            return None
        return self.seconds * (1.0 - fraction) / (fraction - begun)


def prepare_library(
    source: str | Path,
    out: Path,
    settings: LibrarySettings = LibrarySettings(),
    *,
    limit: int | None = None,
    workers: int = 1,
    smiles_column: str | None = None,
    name_column: str | None = None,
    report: Callable[[Progress], None] = lambda progress: None,
) -> dict[str, Any]:
    """Prepare every molecule of a file; what an earlier call finished is not done again.

    Parameters
    ----------
    source
        File or SMILES, see :func:`esr1md.ligand.inputs.open_input`.
    out
        Folder for ``ligands.csv``, ``ligands.sdf``, ``failures.csv``, ``summary.json`` and the journal.
    limit
        Only the first rows of the file.
    workers
        Processes.
    report
        Called about twice a second.

    Returns
    -------
    dict
        Counts, rate and file names, as in ``summary.json``.

    Raises
    ------
    InputError
        The source cannot be read, or ``out`` holds another library or one that was prepared otherwise.
    """
    with open_input(source, smiles_column=smiles_column, name_column=name_column) as rows:
        out.mkdir(parents=True, exist_ok=True)
        with closing(_open_journal(out)) as journal, _alone(out):
            columns = {"smiles_column": smiles_column, "name_column": name_column}
            _check_same(journal, out, {"source": _fingerprint(source, rows), **columns, **dataclasses.asdict(settings)})
            progress = _run(journal, rows, out, settings, limit, workers, report)
            if not progress.done:
                raise InputError("the file holds no molecule", where=rows.label)
            return _export(journal, out, rows.label, progress, settings, limit)


# -- one row, in a worker -----------------------------------------------------------------------------------


def prepare_rows(rows: list[InputRow], settings: LibrarySettings) -> list[dict[str, Any]]:
    """The journal entries of some rows; called in a worker process, which ends itself when one row takes too long."""
    return [_prepare_row(row, settings) for row in rows]


def _prepare_row(row: InputRow, settings: LibrarySettings) -> dict[str, Any]:
    start = time.perf_counter()
    faulthandler.dump_traceback_later(ROW_LIMIT_S, exit=True)
    try:
        entry = _prepared(row, settings)
    except (InputError, StageError) as error:
        entry = {"failure": error.cause if isinstance(error, StageError) else _reason(error, row)}
    except Exception as error:  # one bad row never stops the rest; the record says what it was
        entry = {"failure": f"unexpected {type(error).__name__}: {' '.join(str(error).split())[:300]}"}
    finally:
        faulthandler.cancel_dump_traceback_later()
    return {"number": row.number, "line": row.line, "name": row.name, **entry,
            "seconds": round(time.perf_counter() - start, 4)}  # fmt: skip


def _reason(error: InputError, row: InputRow) -> str:
    """The message without the name, which has its own column."""
    parts = [error.what.removeprefix(f"ligand '{row.name}': ").removeprefix(f"ligand '{row.name}' ")]
    parts += [f"expected {error.expected}"] if error.expected else []
    return " ".join("; ".join([*parts, *([error.do] if error.do else [])]).split())


def _prepared(row: InputRow, settings: LibrarySettings) -> dict[str, Any]:
    from esr1md.ligand.states import prepare_compound

    found = prepare_compound(row.name, molecule_of(row), charges=settings.charges, max_isomers=settings.max_isomers)
    ligands, impossible = [], []
    for isomer, each in enumerate(found.ligands, start=1):
        entry = {
            "isomer": isomer, "name": each.ligand.name, "label": each.label, "smiles": each.ligand.smiles,
            "inchikey": each.ligand.inchikey, "charge": each.ligand.formal_charge, "share": each.states[0].share,
            "state": each.states[0].description, "notes": each.ligand.notes, "warnings": "", "parameters": "",
            "others": json.dumps([[s.smiles, s.share] for s in each.states[1:]]), "sdf": None,
        }  # fmt: skip
        try:
            entry.update(_built(each.ligand, settings))
        except StageError as error:
            if found.possible_isomers == 1 or "no 3D conformer" not in error.cause:
                raise
            impossible.append(error)  # trans-bridged and the like: enumeration does not know what a ring allows
            continue
        ligands.append(entry)
    if not ligands:
        raise impossible[0]
    notes = [*found.notes]
    if impossible:
        notes.append(f"{len(impossible)} stereoisomers that have no 3D structure were left out.")
    return {
        "smiles": found.smiles, "inchikey": found.inchikey, "removed": ", ".join(found.removed),
        "possible": found.possible_isomers, "notes": " ".join(notes), "ligands": ligands,
    }  # fmt: skip


def _built(ligand: Ligand, settings: LibrarySettings) -> dict[str, Any]:
    """The 3D molecule as a compressed SDF record and, if asked for, where its parameters are in the store."""
    if settings.parameters:
        from esr1md.ligand.parameters import LigandParameters, parametrise
        from esr1md.replica import parameters_identity
        from esr1md.specs import WILD_TYPE, Cell, HelixState, ReplicaSpec
        from esr1md.store import Store

        # the identity a screen's replica gives them, so that a screen in this store finds them there
        identity = parameters_identity(ReplicaSpec(Cell(WILD_TYPE, ligand, HelixState.ANTAGONIST), 1, {}, ""))
        folder = Store(Path(settings.parameters)).produce(
            "parameters", digest_of(identity), lambda folder: parametrise(ligand, folder), spec=identity
        )
        made = LigandParameters.from_folder(folder)
        return {"parameters": folder.name, "warnings": " ".join(made.warnings), "sdf": _block(made.molecule())}
    if not settings.conformers:
        return {}
    from esr1md.ligand.parameters import ligand_molecule

    mol, warnings = ligand_molecule(ligand)
    return {"warnings": " ".join(warnings), "sdf": _block(mol)}


def _block(mol: Any) -> bytes:
    from rdkit import Chem

    return zlib.compress(Chem.MolToMolBlock(mol).encode())


# -- many rows ----------------------------------------------------------------------------------------------


def _run(journal: sqlite3.Connection, rows: InputFile, out: Path, settings: LibrarySettings, limit: int | None,
         workers: int, report: Callable[[Progress], None]) -> Progress:  # fmt: skip
    within = limit if limit is not None else -1
    counted = "select count(*), count(failure) from rows where ? < 0 or number <= ?"
    progress = Progress(total=limit)
    progress.done, progress.failed = journal.execute(counted, (within, within)).fetchone()
    progress.earlier = progress.done
    answers: queue.Queue[Any] = queue.Queue(maxsize=4 * workers)
    waiting = _Waiting(_not_done(journal, itertools.islice(rows, limit)), CHUNK if not settings.parameters else 1)
    start = said = saved = time.monotonic()

    with WorkerPool(workers, log_folder=out / "logs") as pool:
        threads = [
            threading.Thread(target=_work, args=(pool, waiting, settings, answers), daemon=True) for _ in range(workers)
        ]
        for thread in threads:
            thread.start()
        left = len(threads)
        broken: BaseException | None = None
        while left:
            try:
                answer = answers.get(timeout=0.5)
            except queue.Empty:
                answer = []
            if answer is None:
                left -= 1
            elif isinstance(answer, BaseException):
                broken = broken or answer
            else:
                for entry in answer:
                    _keep(journal, entry)
                    progress.done += 1
                    progress.failed += "failure" in entry
                    progress.ligands += len(entry.get("ligands", ()))
            now = time.monotonic()
            if now - saved > 1.0 or not left:
                journal.commit()
                saved = now
            progress.seconds, progress.fraction = now - start, rows.fraction
            if progress.done == progress.earlier:
                progress._begun_at = progress.fraction
            if now - said > 0.5 or not left:
                report(progress)
                said = now
    journal.commit()
    if broken is not None:
        raise broken
    _tidy(out / "logs")
    return progress


class _Waiting:
    """Chunks of the rows that are to be done, for several threads."""

    def __init__(self, rows: Iterator[InputRow], chunk: int) -> None:
        self._rows, self._chunk, self._guard = rows, chunk, threading.Lock()

    def take(self) -> list[InputRow]:
        with self._guard:
            return list(itertools.islice(self._rows, self._chunk))


def _not_done(journal: sqlite3.Connection, rows: Iterator[InputRow]) -> Iterator[InputRow]:
    """The rows without an entry. Rows finish nearly in order: all up to some number, and a few after it."""
    (below,) = journal.execute(
        "select min(number) - 1 from (select number + 1 as number from rows union select 1) "
        "where number not in (select number from rows)"
    ).fetchone()
    after = {number for (number,) in journal.execute("select number from rows where number > ?", (below,))}
    for row in rows:
        if row.number > below and row.number not in after:
            yield row


def _work(pool: WorkerPool, waiting: _Waiting, settings: LibrarySettings, answers: queue.Queue) -> None:
    """One thread: chunk after chunk in a process; rows of a chunk whose process died are tried one by one."""
    try:
        while chunk := waiting.take():
            try:
                answers.put(pool.call(prepare_rows, chunk, settings))
            except WorkerDied as death:
                if len(chunk) == 1:
                    answers.put([_lost(chunk[0], death)])
                    continue
                for row in chunk:
                    try:
                        answers.put(pool.call(prepare_rows, [row], settings))
                    except WorkerDied as again:
                        answers.put([_lost(row, again)])
    except PoolClosed:
        pass
    except BaseException as error:
        answers.put(error)
    finally:
        answers.put(None)


def _lost(row: InputRow, death: WorkerDied) -> dict[str, Any]:
    return {"number": row.number, "line": row.line, "name": row.name, "seconds": 0.0,
            "failure": f"{death}, or it took longer than {ROW_LIMIT_S:.0f} s"}  # fmt: skip


# -- the journal --------------------------------------------------------------------------------------------


def _open_journal(out: Path) -> sqlite3.Connection:
    try:
        journal = sqlite3.connect(out / JOURNAL, check_same_thread=False)
        journal.execute("pragma journal_mode = wal")
        journal.executescript(_SCHEMA)
    except sqlite3.Error as error:
        raise InputError(f"the journal cannot be opened ({error})", where=str(out / JOURNAL),
                         do="use another folder, or remove this file to start again") from error  # fmt: skip
    return journal


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Only one run at a time in a folder; the kernel frees the lock of one that died."""
    import fcntl

    with open(out / ".lock", "w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError("another 'ligands prepare' is running in this folder", where=str(out),
                             do="wait for it, or use another folder") from None  # fmt: skip
        yield


def _fingerprint(source: str | Path, rows: InputFile) -> str:
    return f"sha256:{file_digest(Path(str(source)).expanduser())}" if rows.kind != "smiles" else str(source)


def _check_same(journal: sqlite3.Connection, out: Path, asked: dict[str, Any]) -> None:
    """A folder is one library prepared one way; the first run writes what and how, later ones must agree."""
    asked = {**asked, "versions": numeric_versions()}
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


def _keep(journal: sqlite3.Connection, entry: dict[str, Any]) -> None:
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


# -- what a reader gets -------------------------------------------------------------------------------------


def _export(journal: sqlite3.Connection, out: Path, label: str, progress: Progress, settings: LibrarySettings,
            limit: int | None) -> dict[str, Any]:  # fmt: skip
    """Write the tables from the journal, rows in the file's order, one at a time."""
    within = (limit if limit is not None else sys.maxsize,)
    n_ligands = _write_ligands(journal, out, within)
    n_records = _write_sdf(journal, out, within) if settings.conformers or settings.parameters else 0
    with _replacing(out / "failures.csv") as handle:
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
    with _replacing(out / "summary.json") as handle:
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
    with _replacing(out / "ligands.csv") as handle:
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
    with _replacing(out / "ligands.sdf") as handle:
        for row, isomer, name, smiles, key, charge, block in journal.execute(query, within):
            text = zlib.decompress(block).decode()
            handle.write(f"{name}\n{text.partition(chr(10))[2]}")
            fields = {"id": f"{row}-{isomer}", "smiles": smiles, "inchikey": key, "charge": charge}
            handle.writelines(f">  <{field}>\n{value}\n\n" for field, value in fields.items())
            handle.write("$$$$\n")
            count += 1
    return count


@contextmanager
def _replacing(path: Path) -> Iterator[Any]:
    """A text file that appears whole or not at all."""
    part = path.with_name(f"{path.name}.part")
    with open(part, "w", encoding="utf-8", newline="") as handle:
        yield handle
    os.replace(part, path)


def _tidy(logs: Path) -> None:
    """Empty logs say nothing; the folder goes when nothing is left in it."""
    if logs.is_dir():
        for path in logs.iterdir():
            if path.stat().st_size == 0:
                path.unlink()
        if not any(logs.iterdir()):
            logs.rmdir()
