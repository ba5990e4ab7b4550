"""Prepares whole libraries: many processes, little memory, every finished row kept.

The journal ``library.sqlite`` in the output folder is written row by row, so that a run that was killed goes on where
it stopped; the tables and the SDF are written from it at the end. A row that cannot be prepared, even one that ends
the process that tries it, is a line in ``failures.csv`` and stops nothing.
"""

from __future__ import annotations

import dataclasses
import faulthandler
import itertools
import json
import resource
import sqlite3
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from esr1md.errors import InputError, StageError
from esr1md.ligand.inputs import InputFile, open_input
from esr1md.ligand.library_journal import LibrarySettings, check_same, export, keep, open_journal
from esr1md.ligand.molecules import InputRow, molecule_of
from esr1md.ligand.row_workers import Progress, answers, chunks_of, fingerprint, reason, tidy
from esr1md.specs import Ligand, digest_of, numeric_versions
from esr1md.store.locks import only_run
from esr1md.workers import WorkerDied, WorkerPool

#: Rows that one process takes at a time, and seconds after which a row is given up.
CHUNK, ROW_LIMIT_S = 8, 120.0
#: Memory that one process may take; a row that needs more (suramin's resonance forms: 3.5 GB) is given up.
MEMORY_BYTES = 2 * 2**30
TOO_HUNGRY = f"needs more than {MEMORY_BYTES / 2**30:.0f} GB of memory"


class StoreProblem(InputError):
    """The store cannot be written to, or its disk is full: no fault of the row, so everything stops."""


DEFAULTS = LibrarySettings()


def prepare_library(
    source: str | Path,
    out: Path,
    settings: LibrarySettings = DEFAULTS,
    *,
    limit: int | None = None,
    workers: int = 1,
    retry: bool = False,
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
    retry
        Try rows again that an earlier call recorded as failed.
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
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"'{out}' is not a folder to write to ({error.strerror})", where="--out",
                             expected="a new folder, or that of an earlier run") from error  # fmt: skip
        with closing(open_journal(out)) as journal, only_run(out, "ligands prepare"):
            columns = {"smiles_column": smiles_column, "name_column": name_column}
            check_same(journal, out, {"source": fingerprint(source, rows), **columns, **dataclasses.asdict(settings)})
            if retry:
                journal.execute("delete from rows where failure is not null")
            progress = _run(journal, rows, out, settings, limit, workers, report)
            if not progress.done:
                raise InputError("the file holds no molecule", where=rows.label)
            return export(journal, out, rows.label, progress, settings, limit)


# -- one row, in a worker -----------------------------------------------------------------------------------


def prepare_rows(rows: list[InputRow], settings: LibrarySettings) -> list[dict[str, Any]]:
    """The journal entries of some rows; called in a worker process, which ends itself when one row takes too long."""
    return [_prepare_row(row, settings) for row in rows]


@contextmanager
def row_limits() -> Iterator[None]:
    """In a worker: above :data:`MEMORY_BYTES` a ``MemoryError``, after :data:`ROW_LIMIT_S` the process ends itself."""
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    limit = MEMORY_BYTES if most == resource.RLIM_INFINITY else min(MEMORY_BYTES, most)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, most))
    faulthandler.dump_traceback_later(ROW_LIMIT_S, exit=True)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


#: What a worker is asked to do.
prepare_in_worker = prepare_rows


def _prepare_row(row: InputRow, settings: LibrarySettings) -> dict[str, Any]:
    start = time.perf_counter()
    try:
        with row_limits():
            entry = _prepared(row, settings)
    except StoreProblem:
        raise
    except InputError as error:
        entry = {"failure": reason(error, row)}
    except (MemoryError, StageError) as error:
        cause = error.cause if isinstance(error, StageError) else "MemoryError"
        hungry = cause.startswith("MemoryError")  # the store keeps what a stage raised as its failure
        entry = {"failure": TOO_HUNGRY if hungry else cause}
    except Exception as error:  # one bad row never stops the rest; the record says what it was
        entry = {"failure": f"unexpected {type(error).__name__}: {' '.join(str(error).split())[:300]}"}
    return {"number": row.number, "line": row.line, "name": row.name, **entry,
            "seconds": round(time.perf_counter() - start, 4)}  # fmt: skip


def _prepared(row: InputRow, settings: LibrarySettings) -> dict[str, Any]:
    from esr1md.ligand.labels import labels
    from esr1md.ligand.states import prepare_compound

    found = prepare_compound(row.name, molecule_of(row), charges=settings.charges, max_isomers=settings.max_isomers)
    ligands, impossible = [], []
    for isomer, each in enumerate(found.ligands, start=1):
        said = (f"{label[0].upper()}{label[1:]}." for label in labels(each.ligand))
        entry = {
            "isomer": isomer, "name": each.ligand.name, "label": each.label, "smiles": each.ligand.smiles,
            "inchikey": each.ligand.inchikey, "charge": each.ligand.formal_charge, "share": each.states[0].share,
            "state": each.states[0].description, "notes": " ".join((each.ligand.notes, *said)),
            "warnings": "", "parameters": "",
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
    from rdkit import Chem

    from esr1md.ligand.stereo import has_conformer

    if not (settings.parameters or settings.conformers):
        return {}
    if not has_conformer(Chem.MolFromSmiles(ligand.smiles)):
        raise StageError("parameters", f"no 3D conformer found for '{ligand.smiles}': its bridged rings cannot have "
                                       "this stereochemistry, or RDKit cannot build them")  # fmt: skip
    if settings.parameters:
        from esr1md.ligand.parameters import LigandParameters, parameters_identity, parametrise
        from esr1md.store import Store

        # the identity a screen's replica gives them, so that a screen in this store finds them there
        identity = parameters_identity(ligand, numeric_versions())
        try:
            folder = Store(Path(settings.parameters)).produce(
                "parameters", digest_of(identity), lambda folder: parametrise(ligand, folder), spec=identity
            )
        except InputError as error:
            raise StoreProblem(error.what, where=error.where, expected=error.expected, do=error.do) from error
        made = LigandParameters.from_folder(folder)
        return {"parameters": folder.name, "warnings": " ".join(made.warnings), "sdf": _block(made.molecule())}
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
    chunks = chunks_of(_not_done(journal, itertools.islice(rows, limit)), CHUNK if not settings.parameters else 1)
    start = said = saved = time.monotonic()

    with WorkerPool(workers, log_folder=out / "logs") as pool:
        try:
            for _, finished in answers(pool, chunks, prepare_in_worker, settings, lost=_lost):
                for entry in itertools.chain.from_iterable(finished):
                    keep(journal, entry)
                    progress.done += 1
                    progress.failed += "failure" in entry
                    progress.ligands += len(entry.get("ligands", ()))
                now = time.monotonic()
                if now - saved > 1.0:
                    journal.commit()
                    saved = now
                progress.now(now - start, rows.fraction)
                if now - said > 0.5:
                    report(progress)
                    said = now
        finally:
            journal.commit()  # also when it is interrupted: what has finished is kept
    report(progress)
    tidy(out / "logs")
    return progress


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


def _lost(row: InputRow, death: WorkerDied) -> list[dict[str, Any]]:
    return [{"number": row.number, "line": row.line, "name": row.name, "seconds": 0.0,
             "failure": f"{death}, or it took longer than {ROW_LIMIT_S:.0f} s"}]  # fmt: skip
