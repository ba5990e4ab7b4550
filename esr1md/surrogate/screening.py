"""Asks the surrogate about whole libraries: many processes, little memory, every finished chunk kept.

The rows of a file go in chunks of :data:`CHUNK` to processes that parse, featurise and predict; each answer becomes a
part in ``OUT/.parts``, named by the number of its chunk, so that a run that was killed goes on where it stopped and
the order of the rows is kept. The tables, the best compounds and their page are written from the parts at the end. A
row that cannot be predicted, even one that ends the process that tries it, is a line in ``failures.csv``.

On a machine with a GPU each process featurises on its core and predicts its chunk, one batch, on the GPU that all of
them share; more than :data:`MOST_GPU_PROCESSES` would only fill its memory.
"""

from __future__ import annotations

import contextlib
import faulthandler
import functools
import itertools
import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from esr1md.catalogue import did_you_mean
from esr1md.errors import Esr1mdError, InputError
from esr1md.ligand.inputs import InputFile, open_input
from esr1md.ligand.molecules import InputRow
from esr1md.ligand.row_workers import Progress, answers, chunks_of, fingerprint, reason, replacing, tidy
from esr1md.specs import digest_of
from esr1md.store.locks import only_run
from esr1md.surrogate.screening_tables import (
    FAILURE,
    ROW_FIELDS,
    SUMMARY,
    Answer,
    Wanted,
    keep_part,
    part_paths,
    part_schema,
    parts_of,
    write_tables,
)
from esr1md.workers import WorkerDied, WorkerPool, usable_cores

if TYPE_CHECKING:
    import pyarrow
    from rdkit import Chem

    from esr1md.surrogate.surrogate import Surrogate

#: Rows that one process takes at a time; also how much a kill can cost each process.
CHUNK = 512
#: Seconds after which the process of a chunk is given up: so many, and so many more for each row.
LIMIT_S, ROW_LIMIT_S = 60.0, 1.0
#: Processes that share a GPU unless more are asked for; each takes about half a gigabyte of its memory.
MOST_GPU_PROCESSES = 8
#: Processes that load the model at once before it is known how many rows there are.
MOST_WARM = 8
PARTS, ABOUT = ".parts", "about.json"
#: Packages whose versions change the numbers; a folder's rows are all of the same.
_VERSIONS = ("rdkit", "torch", "chemprop")
#: Columns that hold a finite number for every compound that is predicted at all.
_ALWAYS = ("pchembl", "pchembl_low", "pchembl_high")
#: What the model is asked before any row, so that a model that cannot answer is found out first.
_PROBE = "C[C@]12CC[C@H]3[C@@H](CCc4cc(O)ccc43)[C@@H]1CC[C@@H]2O"


@dataclass(frozen=True)
class Question:
    """What a library is asked: by which model, for which variants and helix-12 state.

    Attributes
    ----------
    model
        Folder of the model; empty: the one that is shipped.
    variants
        Variants whose simulation scores are wanted; only a model trained on a store has any.
    state
        Helix-12 state of those scores.
    """

    model: str = ""
    variants: tuple[str, ...] = ()
    state: str = "antagonist"


def screen_library(
    source: str | Path,
    out: Path,
    question: Question | None = None,
    wanted: Wanted | None = None,
    *,
    workers: int | None = None,
    smiles_column: str | None = None,
    name_column: str | None = None,
    report: Callable[[Progress], None] = lambda progress: None,
) -> dict[str, Any]:
    """Predict every molecule of a file; what an earlier call finished is not done again.

    Parameters
    ----------
    source
        File or SMILES, see :func:`esr1md.ligand.inputs.open_input`.
    out
        Folder for ``predictions.parquet`` (or ``.csv``), ``failures.csv``, ``top.html`` and ``summary.json``.
    workers
        Processes; without it one for each core, at most :data:`MOST_GPU_PROCESSES` for each GPU if there is one.
    report
        Called about twice a second.

    Returns
    -------
    dict
        Counts, columns and the best compounds, as in ``summary.json``.

    Raises
    ------
    InputError
        The source or the model cannot be read, the model knows no such variant, there is no such column, ``out`` is
        no folder that can be written to, or it holds another library or other answers.
    """
    question, wanted = question or Question(), wanted or Wanted()
    with open_input(source, smiles_column=smiles_column, name_column=name_column) as rows:
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"'{out}' is not a folder to write to ({error.strerror})", where="--out",
                             expected="a new folder, or that of an earlier run") from error  # fmt: skip
        with only_run(out, "surrogate screen"):
            try:
                return _screened(rows, fingerprint(source, rows), out, question, wanted, workers, report,
                                 {"smiles_column": smiles_column, "name_column": name_column})  # fmt: skip
            finally:
                tidy(out / "logs")


def _screened(rows: InputFile, library: str, out: Path, question: Question, wanted: Wanted, workers: int | None,
              report: Callable[[Progress], None], columns: dict[str, str | None]) -> dict[str, Any]:  # fmt: skip
    slots = workers or usable_cores()
    with WorkerPool(slots, log_folder=out / "logs") as pool:
        if rows.kind != "smiles":
            _warm_up(pool, question)
        answer = _asked(pool, question)
        check_column(wanted.by, answer.schema)
        about = {
            "library": library, **columns, "model": answer.digest, "variants": list(question.variants),
            "state": question.state, "chunk": CHUNK, "versions": _versions(),
        }  # fmt: skip
        with _writing(out):
            check_same(out, about)
        if (finished := _finished(out, about, wanted)) is not None:
            return finished
        at_once = min(slots, MOST_GPU_PROCESSES * answer.gpus) if answer.gpus and not workers else slots
        progress = _run(pool, at_once, rows, out, question, answer, wanted, report)
    origin = {
        "source": rows.label, "out": str(out), "model": question.model or "shipped",
        "model_sha256": answer.digest, "variants": list(question.variants), "state": question.state,
        "identity": _identity(about, wanted), "done_before": progress.earlier,
        "seconds": round(progress.seconds, 1), "rows_per_second": round(progress.rate, 1), "processes": at_once,
    }  # fmt: skip
    with _writing(out):
        parts = part_paths(out / PARTS, progress.done, CHUNK)
        return write_tables(out, parts, progress.done, answer, wanted, origin)


def _warm_up(pool: WorkerPool, question: Question) -> None:
    """Let other processes load the model while the first one does: that takes as long as thousands of rows."""

    def load() -> None:
        with contextlib.suppress(Exception):  # what is wrong with the model, the first process says
            pool.call(describe_in_worker, question)

    for _ in range(min(pool.slots, MOST_WARM) - 1):
        threading.Thread(target=load, daemon=True).start()


def check_column(name: str, schema: pyarrow.Schema) -> None:
    """Refuse to rank by what is no number of the answer.

    Raises
    ------
    InputError
        No such column, with those there are.
    """
    import pyarrow

    numbers = [field.name for field in schema if pyarrow.types.is_floating(field.type)]
    if name not in numbers:
        raise InputError(f"no column '{name}' to rank by", where="--by", expected=f"one of {', '.join(numbers)}",
                         do=did_you_mean(name, numbers))  # fmt: skip


# -- one folder, one question --------------------------------------------------------------------------------


def check_same(out: Path, about: dict[str, Any]) -> None:
    """A folder is one library asked one question of one model; the first run writes which, later ones must agree.

    Raises
    ------
    InputError
        The folder holds something else, with what differs.
    """
    path = out / PARTS / ABOUT
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        with replacing(path) as handle:
            json.dump(about, handle, indent=2)
        return
    try:
        stored = dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise InputError(f"cannot be read ({error})", where=str(path),
                         do="use another --out, or remove the folder to start again") from error  # fmt: skip
    for key, value in about.items():
        if stored.get(key) != value:
            what = {"library": "another file", "model": "another model", "versions": "other package versions"}.get(
                key, f"{key.replace('_', ' ')} {_said(stored.get(key))} instead of {_said(value)}"
            )
            raise InputError(f"this folder holds a screening with {what}", where=str(out), do="use another --out")


def _said(value: Any) -> str:
    return ", ".join(map(str, value)) or "none" if isinstance(value, list) else str(value)


def _identity(about: dict[str, Any], wanted: Wanted) -> str:
    return digest_of({"about": about, "top": wanted.top, "by": wanted.by, "format": wanted.format,
                      "limit": wanted.limit})  # fmt: skip


def _finished(out: Path, about: dict[str, Any], wanted: Wanted) -> dict[str, Any] | None:
    """The summary of an earlier run that did all that is asked for now; ``None`` if there is none."""
    try:
        summary = dict(json.loads((out / SUMMARY).read_text(encoding="utf-8")))
        whole = all((out / name).exists() for name in summary["files"])
        if not whole or summary["identity"] != _identity(about, wanted):
            return None
    except (OSError, ValueError, KeyError, TypeError):  # none, or not whole: it is written again
        return None
    return {**summary, "done_before": summary["rows"], "seconds": 0.0, "rows_per_second": 0.0}


def _versions() -> dict[str, str]:
    found = {}
    for name in _VERSIONS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "absent"
    return found


# -- a chunk of rows, in a worker -----------------------------------------------------------------------------


@functools.lru_cache(maxsize=1)
def loaded(model: str) -> Surrogate:
    """The model of a folder, read once in each process; on a GPU if there is one, on any of several."""
    import torch

    from esr1md.surrogate.surrogate import load_surrogate

    torch.set_num_threads(1)  # the processes are the parallel part; their threads would only wait for each other
    surrogate = load_surrogate(Path(model) if model else None)
    return surrogate.on(f"cuda:{os.getpid() % gpus()}") if gpus() else surrogate


def gpus() -> int:
    """GPUs that torch can use."""
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def describe(question: Question) -> Answer:
    """What the model answers, tried on estradiol; called in a worker, so that torch is loaded only there.

    Raises
    ------
    InputError
        No usable model, or one that knows no such variant or state.
    """
    from rdkit import Chem

    surrogate = loaded(question.model)
    columns = surrogate.columns(question.variants, question.state)
    tried = surrogate.table([Chem.MolFromSmiles(_PROBE)], question.variants, question.state)
    schema = part_schema(columns, tried, surrogate.statement)
    return Answer(surrogate.statement, surrogate.digest, schema, gpus())


def screen_rows(rows: list[InputRow], question: Question, answer: Answer) -> pyarrow.Table:
    """Predictions and failures of some rows, in their order, as a part; called in a worker process, which ends itself
    when a chunk takes too long."""
    from esr1md.surrogate.standard import standard_molecule

    surrogate = loaded(question.model)
    if surrogate.digest != answer.digest:
        raise InputError("the model was changed while it was being used", where=question.model, do="start again")
    faulthandler.dump_traceback_later(LIMIT_S + len(rows) * ROW_LIMIT_S, exit=True)
    try:
        molecules: list[Chem.Mol] = []
        smiles: list[str | None] = [None] * len(rows)
        failures: list[str | None] = [None] * len(rows)
        for at, row in enumerate(rows):
            try:
                molecule, smiles[at] = standard_molecule(row)
                molecules.append(molecule)
            except InputError as error:
                failures[at] = reason(error, row)
            except Exception as error:  # one bad row never stops the rest; the record says what it was
                failures[at] = _unexpected(error)
        readable = [at for at, said in enumerate(failures) if said is None]
        values, refused = _predicted(surrogate, molecules, [smiles[at] for at in readable], question)
        for at, said in zip(readable, refused, strict=True):
            failures[at] = said
    finally:
        faulthandler.cancel_dump_traceback_later()
    return _part(rows, smiles, failures, readable, values, answer.schema)


#: What a worker is asked to do.
describe_in_worker, screen_in_worker = describe, screen_rows


def _predicted(surrogate: Surrogate, molecules: Sequence[Chem.Mol], smiles: Sequence[str],
               question: Question) -> tuple[dict[str, np.ndarray], list[str | None]]:  # fmt: skip
    """Column name -> (n,), and for each molecule why it has none of it; where a batch fails, one molecule at a time."""
    if not molecules:
        return {}, []
    try:
        values = surrogate.table(molecules, question.variants, question.state, smiles)
    except Exception as error:
        if type(error).__name__ == "OutOfMemoryError":  # torch's, of the GPU: no fault of any row
            raise Esr1mdError("the GPU has not enough memory for so many processes; use fewer --workers, the same "
                              "command goes on where it stopped") from error  # fmt: skip
        if len(molecules) == 1:
            return {}, [_unexpected(error)]
        each = [_predicted(surrogate, [mol], [text], question) for mol, text in zip(molecules, smiles, strict=True)]
        names = next((list(found) for found, _ in each if found), [])
        joined = {name: np.array([found[name][0] if found else None for found, _ in each], object) for name in names}
        return joined, [refused[0] for _, refused in each]
    finite = functools.reduce(np.logical_and, (np.isfinite(values[name]) for name in _ALWAYS))
    return values, [None if fine else "the model gives no finite number for it" for fine in finite]


def _unexpected(error: Exception) -> str:
    return f"unexpected {type(error).__name__}: {' '.join(str(error).split())[:300]}"


def _part(rows: Sequence[InputRow], smiles: Sequence[str | None], failures: Sequence[str | None],
          readable: Sequence[int], values: dict[str, np.ndarray], schema: pyarrow.Schema) -> pyarrow.Table:  # fmt: skip
    """The columns of ``schema``: a row for each of ``rows``; nothing is said of one that failed."""
    import pyarrow

    given: dict[str, list[Any]] = {
        "row": [row.number for row in rows], "line": [row.line for row in rows], "name": [row.name for row in rows],
        "smiles": list(smiles), FAILURE: list(failures),
    }  # fmt: skip
    for name in schema.names[len(ROW_FIELDS) :]:
        cells: list[Any] = [None] * len(rows)
        if name in values:
            for at, value in zip(readable, values[name].tolist(), strict=True):
                cells[at] = None if failures[at] is not None else value
        given[name] = cells
    return pyarrow.Table.from_pydict(given, schema=schema)


# -- many rows ------------------------------------------------------------------------------------------------


def _asked(pool: WorkerPool, question: Question) -> Answer:
    try:
        return pool.call(describe_in_worker, question)
    except WorkerDied as death:
        raise Esr1mdError(f"the model could not be loaded: {death}") from death


def _run(pool: WorkerPool, at_once: int, rows: InputFile, out: Path, question: Question, answer: Answer,
         wanted: Wanted, report: Callable[[Progress], None]) -> Progress:  # fmt: skip
    """Every chunk of the library that has no whole part gets one."""
    there = parts_of(out / PARTS)
    read = earlier = failed_earlier = done = failed = 0

    def missing() -> Iterator[list[InputRow]]:
        nonlocal read, earlier, failed_earlier
        for chunk in chunks_of(itertools.islice(rows, wanted.limit), CHUNK):
            read += len(chunk)
            held, of_them_failed = there.get(_number(chunk), (0, 0))
            if held < len(chunk):
                yield chunk
            else:
                earlier += len(chunk)
                failed_earlier += of_them_failed

    progress = Progress(total=wanted.limit)
    start = said = time.monotonic()
    lost = functools.partial(_lost, schema=answer.schema)
    for chunk, tables in answers(pool, missing(), screen_in_worker, question, answer, lost=lost, at_once=at_once):
        if chunk:
            with _writing(out):
                failed += keep_part(out / PARTS, _number(chunk), tables)
            done += len(chunk)
        progress.earlier, progress.done, progress.failed = earlier, earlier + done, failed_earlier + failed
        now = time.monotonic()
        progress.now(now - start, rows.fraction * (earlier + done) / max(1, read))  # rows under way are not done
        if now - said > 0.5:
            report(progress)
            said = now
    progress.earlier, progress.done, progress.failed = earlier, earlier + done, failed_earlier + failed
    report(progress)
    if not progress.done:
        raise InputError("the file holds no molecule", where=rows.label)
    return progress


def _number(chunk: Sequence[InputRow]) -> int:
    return (chunk[0].number - 1) // CHUNK


def _lost(row: InputRow, death: WorkerDied, schema: pyarrow.Schema) -> pyarrow.Table:
    said = f"{death}, or it took longer than {LIMIT_S:.0f} s"
    return _part([row], [None], [said], [], {}, schema)


@contextmanager
def _writing(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(f"cannot be written to ({error.strerror or error})", where=str(out),
                         do="make room; the same command goes on where it stopped") from error  # fmt: skip
