"""What a screening writes: a part for each chunk; from the parts the tables, the best compounds and the summary."""

from __future__ import annotations

import csv
import heapq
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow
import pyarrow.compute
import pyarrow.csv
from pyarrow import parquet

from esr1md.errors import Esr1mdError
from esr1md.ligand.molecules import table_cell
from esr1md.ligand.row_workers import replacing

if TYPE_CHECKING:
    from esr1md.surrogate.surrogate import Column

SUMMARY, FAILURES, PAGE = "summary.json", "failures.csv", "top.html"
#: Why a row of a part has no prediction; null where it has one.
FAILURE = "failure"
#: Columns of a part before the predictions.
ROW_FIELDS = (
    ("row", pyarrow.int64(), "place in the library, from 1"),
    ("line", pyarrow.int64(), "line of the file it begins at"),
    ("name", pyarrow.string(), "name in the library"),
    ("smiles", pyarrow.string(), "what was predicted: the neutral compound without its salt"),
    (FAILURE, pyarrow.string(), "why there is no prediction"),
)
#: Last column of the tables, the same in every row, so that a row that is copied elsewhere still says what it is.
ORIGIN = "origin"
#: Columns that every model has; any other is a simulation score.
_AFFINITY = ("pchembl", "pchembl_low", "pchembl_high", "pchembl_sd", "similarity", "nearest", "in_domain")
#: Rows that are gathered before they are written to the tables.
ROW_GROUP = 65_536
#: Compounds outside the model's domain that are listed, at most; they are not ranked with the others.
MOST_OUTSIDE = 20
_FAILED = b"esr1md.failed"


@dataclass(frozen=True)
class Answer:
    """What a model's answers are.

    Attributes
    ----------
    statement
        One sentence that stands on every output.
    digest
        SHA-256 of the weights.
    schema
        Columns of a part, with unit and meaning in each field's metadata.
    gpus
        GPUs that the processes can use.
    """

    statement: str
    digest: str
    schema: pyarrow.Schema
    gpus: int = 0


@dataclass(frozen=True)
class Wanted:
    """How a screening is written down.

    Attributes
    ----------
    top
        Compounds on the page.
    by
        Column they are ranked by.
    format
        ``parquet`` or ``csv``.
    limit
        Only the first rows of the file.
    """

    top: int = 50
    by: str = "pchembl"
    format: str = "parquet"
    limit: int | None = None


# -- parts ----------------------------------------------------------------------------------------------------


def part_schema(columns: Sequence[Column], tried: Mapping[str, np.ndarray], statement: str) -> pyarrow.Schema:
    """Columns of a part: :data:`ROW_FIELDS` and the model's, their types those of an answer that was tried."""
    fields = [pyarrow.field(name, kind, metadata={"meaning": meaning}) for name, kind, meaning in ROW_FIELDS]
    for column in columns:
        described = {"unit": column.unit, "meaning": column.meaning}
        fields.append(pyarrow.field(column.name, _arrow_type(tried[column.name].dtype), metadata=described))
    return pyarrow.schema(fields, metadata={"esr1md.statement": statement})


def _arrow_type(kind: np.dtype) -> pyarrow.DataType:
    if kind.kind == "f":
        return pyarrow.float32()  # seven digits are more than any prediction has
    return {"b": pyarrow.bool_(), "i": pyarrow.int64()}.get(kind.kind, pyarrow.string())


def part_path(folder: Path, number: int) -> Path:
    """The part of a chunk (from 0)."""
    return folder / f"{number:08d}.parquet"


def part_paths(folder: Path, rows: int, chunk: int) -> list[Path]:
    """The parts that hold the first ``rows`` rows, in their order."""
    return [part_path(folder, number) for number in range(math.ceil(rows / chunk))]


def keep_part(folder: Path, number: int, tables: Sequence[pyarrow.Table]) -> int:
    """Write the part of a chunk, which appears whole or not at all; the number of its failures."""
    table = pyarrow.concat_tables(tables)
    failed = table.num_rows - table[FAILURE].null_count
    path = part_path(folder, number)
    temporary = path.with_suffix(".part")
    marked = table.replace_schema_metadata({**(table.schema.metadata or {}), _FAILED: str(failed).encode()})
    parquet.write_table(marked, temporary, compression="zstd")
    os.replace(temporary, path)
    return failed


def parts_of(folder: Path) -> dict[int, tuple[int, int]]:
    """Chunk number -> rows and failures of its part; one that cannot be read, as after a power cut, is none."""
    found = {}
    for path in folder.glob("*.parquet"):
        try:
            about = parquet.read_metadata(path)
            found[int(path.stem)] = about.num_rows, int(about.metadata[_FAILED])
        except (pyarrow.ArrowException, OSError, ValueError, KeyError, TypeError):
            continue
    return found


# -- tables ---------------------------------------------------------------------------------------------------


def write_tables(out: Path, parts: Sequence[Path], rows: int, answer: Answer, wanted: Wanted,
                 origin: Mapping[str, Any]) -> dict[str, Any]:  # fmt: skip
    """Write predictions, failures, page and summary from the parts, one at a time, rows in the library's order.

    Parameters
    ----------
    parts, rows
        Files of the first ``rows`` rows of the library.
    origin
        What the summary says besides: library, model, time.

    Returns
    -------
    dict
        Content of ``summary.json``, which is written last.

    Raises
    ------
    Esr1mdError
        The parts do not hold each row once: a part was removed or changed meanwhile.
    """
    from esr1md.surrogate.screening_page import screening_page

    lowest = lowest_first(wanted.by, answer.schema)
    inside, outside = Best(wanted.top, lowest), Best(min(wanted.top, MOST_OUTSIDE), lowest)
    table_name = f"predictions.{wanted.format}"
    failed = in_domain = read = 0
    with replacing(out / FAILURES) as handle, TableWriter(out / table_name, wanted.format, answer) as write:
        refused = csv.writer(handle)
        refused.writerow(("row", "line", "name", "reason"))
        for path in parts:
            part = _read_part(path, answer.schema).slice(0, rows - read)
            if part.num_rows == 0 or part["row"].to_pylist() != list(range(read + 1, read + part.num_rows + 1)):
                raise Esr1mdError(f"'{path}' does not hold row {read + 1} and those after it; remove it, and the same "
                                  "command predicts them again")  # fmt: skip
            read += part.num_rows
            good = part.filter(pyarrow.compute.is_null(part[FAILURE]))
            for row in part.filter(pyarrow.compute.is_valid(part[FAILURE])).to_pylist():
                refused.writerow((row["row"], row["line"], table_cell(row["name"]), table_cell(row[FAILURE])))
            failed += part.num_rows - good.num_rows
            domain = good["in_domain"]
            in_domain += pyarrow.compute.sum(domain).as_py() or 0
            inside.offer(good.filter(domain), wanted.by)
            outside.offer(good.filter(pyarrow.compute.invert(domain)), wanted.by)
            write(good)
    if read != rows:
        raise Esr1mdError(f"the parts hold {read:,} of {rows:,} rows; the same command predicts the others again")
    other = out / f"predictions.{'csv' if wanted.format == 'parquet' else 'parquet'}"
    other.unlink(missing_ok=True)  # of an earlier call: it need not hold the same rows
    summary = {
        "statement": answer.statement, **origin, "rows": rows, "predicted": rows - failed, "failed": failed,
        "in_domain": in_domain, "out_of_domain": rows - failed - in_domain, "limit": wanted.limit,
        "by": wanted.by, "lowest_first": lowest,
        "columns": [_described(field) for field in _table_schema(answer) if field.name != ORIGIN],
        "top": inside.ranked(), "outside_domain": outside.ranked(),
        "files": [table_name, FAILURES, PAGE],
    }  # fmt: skip
    with replacing(out / PAGE) as handle:
        handle.write(screening_page(summary))
    with replacing(out / SUMMARY) as handle:
        json.dump(summary, handle, indent=2, allow_nan=False)
        handle.write("\n")
    return summary


def lowest_first(by: str, schema: pyarrow.Schema) -> bool:
    """Whether the best compound has the lowest value: energies, and how unsure a prediction is."""
    unit = (schema.field(by).metadata or {}).get(b"unit", b"")
    return unit == b"kcal/mol" or by.endswith("_sd")


def _read_part(path: Path, schema: pyarrow.Schema) -> pyarrow.Table:
    try:
        return parquet.read_table(path, schema=schema)
    except (pyarrow.ArrowException, OSError) as error:
        raise Esr1mdError(f"'{path}' cannot be read ({' '.join(str(error).split())[:200]}); remove it, and the same "
                          "command predicts its rows again") from error  # fmt: skip


def _table_schema(answer: Answer) -> pyarrow.Schema:
    """Columns of the tables: those of a part without the failure, and what the numbers are."""
    fields = [field for field in answer.schema if field.name != FAILURE]
    fields.append(pyarrow.field(ORIGIN, pyarrow.dictionary(pyarrow.int8(), pyarrow.string()),
                                metadata={"meaning": answer.statement}))  # fmt: skip
    described = {"esr1md.statement": answer.statement, "esr1md.model_sha256": answer.digest}
    return pyarrow.schema(fields, metadata=described)


def _described(field: pyarrow.Field) -> dict[str, str]:
    known = {key.decode(): text.decode() for key, text in field.metadata.items()}
    return {"name": field.name, "unit": known.get("unit", ""), "meaning": known["meaning"]}


def origin_words(schema: pyarrow.Schema) -> str:
    """What the numbers of a row are, in a few words."""
    predicted = set(schema.names[len(ROW_FIELDS) :])
    more = "" if predicted <= set(_AFFINITY) else ", and simulation scores as predicted from a store"
    return f"surrogate prediction: assay affinity for the wild type{more}"


class TableWriter:
    """Rows gathered and written in groups, to a file that appears whole or not at all."""

    def __init__(self, path: Path, kind: str, answer: Answer) -> None:
        self._path, self._part, self._kind = path, path.with_name(f"{path.name}.part"), kind
        self._schema, self._words = _table_schema(answer), origin_words(answer.schema)
        self._waiting: list[pyarrow.Table] = []
        self._rows = 0

    def __enter__(self) -> Any:
        if self._kind == "csv":
            plain = pyarrow.schema([f if f.name != ORIGIN else f.with_type(pyarrow.string()) for f in self._schema])
            self._writer: Any = pyarrow.csv.CSVWriter(str(self._part), plain)
        else:
            self._writer = parquet.ParquetWriter(str(self._part), self._schema, compression="zstd")
        return self.add

    def __exit__(self, kind: Any, *rest: Any) -> None:
        try:
            if kind is None:
                self._flush()
        finally:
            self._writer.close()
        if kind is None:
            os.replace(self._part, self._path)

    def add(self, table: pyarrow.Table) -> None:
        self._waiting.append(table)
        self._rows += table.num_rows
        if self._rows >= ROW_GROUP:
            self._flush()

    def _flush(self) -> None:
        if not self._rows:
            return
        table = pyarrow.concat_tables(self._waiting).drop_columns([FAILURE]).combine_chunks()
        self._waiting, self._rows = [], 0
        said = pyarrow.array([self._words] * table.num_rows)
        if self._kind == "csv":
            columns = [_csv_cells(table[name]) for name in table.column_names]
            self._writer.write_table(pyarrow.table([*columns, said], names=self._schema.names))
        else:
            columns = [table[name] for name in table.column_names]
            self._writer.write_table(pyarrow.table([*columns, said.dictionary_encode().cast(self._schema.types[-1])],
                                                   schema=self._schema))  # fmt: skip


def _csv_cells(column: pyarrow.ChunkedArray) -> Any:
    """Numbers with four decimals; text that a spreadsheet takes for no formula."""
    if pyarrow.types.is_floating(column.type):
        return pyarrow.compute.round(column, 4)
    if pyarrow.types.is_string(column.type):
        return pyarrow.array([None if cell is None else table_cell(cell) for cell in column.to_pylist()],
                             pyarrow.string())  # fmt: skip
    return column


# -- the best -------------------------------------------------------------------------------------------------


class Best:
    """The ``size`` best compounds of any number of rows, each once, in memory for ``size``.

    Of equal values the earlier row is the better; a compound that comes again is counted, not listed again.
    """

    def __init__(self, size: int, lowest: bool) -> None:
        self._size, self._sign = size, -1.0 if lowest else 1.0
        self._heap: list[tuple[float, int, str]] = []
        self._kept: dict[str, dict[str, Any]] = {}

    def offer(self, table: pyarrow.Table, by: str) -> None:
        """Take what is good enough from a part's rows (columns of the part's schema)."""
        values = self._sign * table[by].to_numpy().astype(float)
        least = self._heap[0][0] if len(self._heap) == self._size else -math.inf
        good = np.flatnonzero(values >= least)  # NaN is never
        for at, smiles in zip(good.tolist(), table["smiles"].take(good).to_pylist(), strict=True):
            if smiles in self._kept:
                self._kept[smiles]["copies"] += 1
            elif len(self._heap) < self._size or values[at] > self._heap[0][0]:
                self._keep(float(values[at]), table.slice(at, 1).to_pylist()[0])

    def _keep(self, value: float, row: dict[str, Any]) -> None:
        if len(self._heap) == self._size:
            del self._kept[heapq.heappop(self._heap)[2]]
        heapq.heappush(self._heap, (value, -row["row"], row["smiles"]))
        self._kept[row["smiles"]] = {**row, "copies": 1}

    def ranked(self) -> list[dict[str, Any]]:
        """The rows, best first: ``rank``, the columns of the table and ``copies`` (rows that hold the compound)."""
        return list(self._rows())

    def _rows(self) -> Iterator[dict[str, Any]]:
        for rank, (_, _, smiles) in enumerate(sorted(self._heap, reverse=True), start=1):
            row = {name: _plain(value) for name, value in self._kept[smiles].items() if name != FAILURE}
            yield {"rank": rank, **row}


def _plain(value: Any) -> Any:
    """As JSON has it: no NaN, and no more digits than were predicted."""
    if isinstance(value, float):
        return round(value, 4) if math.isfinite(value) else None
    return value
