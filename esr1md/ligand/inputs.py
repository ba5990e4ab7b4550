"""Reads molecules from whatever a chemist has: a SMILES, .smi, CSV, SDF, any of them gzipped, or Parquet.

A reader yields rows of text one at a time and never holds more than one; what a row means is decided later
(:func:`molecule_of`), so that parsing can be done by many processes and a bad row costs only itself.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Literal

from rdkit import Chem, rdBase

from esr1md.catalogue import did_you_mean
from esr1md.errors import InputError
from esr1md.ligand.molecules import MAX_LINE, InputRow, clean_name

Kind = Literal["smiles", "smi", "csv", "sdf", "parquet"]

ENDINGS: dict[str, Kind] = {
    ".smi": "smi", ".smiles": "smi", ".ism": "smi", ".csv": "csv", ".tsv": "csv", ".tab": "csv",
    ".sdf": "sdf", ".sd": "sdf", ".mol": "sdf", ".parquet": "parquet", ".pq": "parquet",
}  # fmt: skip
#: Lines of one SDF record beyond which it is no molecule.
MAX_RECORD_LINES = 20_000
#: A file that unpacks to more than so many bytes, at more than this ratio, is not a list of molecules.
BOMB_BYTES, BOMB_RATIO = 64 * 2**20, 200
#: Rows of a Parquet file that are unpacked at a time, and bytes of it that are read at a time.
BATCH_ROWS, BUFFER_BYTES = 1024, 2**16

_SMILES_COLUMNS = ("smiles", "canonical_smiles", "isomeric_smiles", "smi", "structure")
_NAME_COLUMNS = ("name", "title", "compound", "compound_name", "ligand", "ligand_name", "id", "compound_id", "mol_id",
                 "molecule", "molecule_chembl_id", "chembl_id", "zinc_id", "dtxsid", "cas", "casrn")  # fmt: skip
_NAME_FIELDS = ("Name", "name", "ID", "id", "Title", "COMPOUND_NAME", "chembl_id", "ChEMBL_ID", "zinc_id", "ZINC_ID")
_PARQUET = b"PAR1"
_FORMATS = "a SMILES, or a file that ends in .smi, .csv, .tsv or .sdf (also with .gz), or in .parquet"


class InputFile:
    """A source of rows; iterate over it once, inside ``with``."""

    def __init__(self, label: str, kind: Kind, rows: Iterator[InputRow], raw: BinaryIO | None = None,
                 fraction: Callable[[], float] = lambda: 1.0) -> None:  # fmt: skip
        self.label, self.kind, self._rows, self._raw, self._fraction = label, kind, rows, raw, fraction

    def __enter__(self) -> InputFile:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._raw is not None:
            self._raw.close()

    def __iter__(self) -> Iterator[InputRow]:
        return self._rows

    @property
    def fraction(self) -> float:
        """How much of the file has been read (0 to 1)."""
        return 1.0 if self._raw is None or self._raw.closed else self._fraction()


def open_input(source: str | Path, *, kind: Kind | None = None, smiles_column: str | None = None,
               name_column: str | None = None) -> InputFile:  # fmt: skip
    """Open a file of molecules, or take a SMILES as a list of one.

    Parameters
    ----------
    source
        Path or SMILES.
    kind
        What the file is; found by its ending, else by its content.
    smiles_column, name_column
        Columns of a CSV or Parquet file, where they are not called ``smiles`` and ``name``.

    Raises
    ------
    InputError
        No such file, not text, a format that is not read, no SMILES column. Iterating raises it where a gzipped or
        Parquet file is damaged, or a gzipped one unpacks without end.
    """
    path = Path(str(source)).expanduser()
    if not str(source).strip() or not _exists(path):
        return _written_smiles(str(source), path)
    if not path.is_file():
        raise InputError(f"'{path}' is not a file", expected=_FORMATS)
    try:
        raw = open(path, "rb")
    except OSError as error:
        raise InputError(f"'{path}' cannot be read ({error.strerror})", expected=_FORMATS) from error
    try:
        packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        stream = io.BufferedReader(_Unpacked(raw, str(path)) if packed else raw)
        head = stream.peek(2**16)[: 2**16]
        found = kind or _kind(path, head)
        if found == "parquet":
            stream.detach()  # which would close the file with itself
            rows, fraction = _parquet_rows(raw, packed, str(path), smiles_column, name_column)
            return InputFile(str(path), found, rows, raw, fraction)
        lines = _Lines(stream, _encoding(head, path))
        if found == "sdf":
            rows = _sdf_rows(lines)
        elif found == "csv":
            rows = _csv_rows(lines, str(path), smiles_column, name_column)
        else:
            rows = _smi_rows(lines)
    except BaseException:
        raw.close()
        raise
    size = max(1, path.stat().st_size)
    return InputFile(str(path), found, rows, raw, lambda: min(1.0, raw.tell() / size))


# -- files ------------------------------------------------------------------------------------------------


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a SMILES can be too long for a path, or hold a NUL
        return False


def _written_smiles(text: str, path: Path) -> InputFile:
    """A SMILES on the command line; anything that looks like a missing file is said to be one."""
    ending = path.suffix.lower()
    if ending in ENDINGS or ending in (".gz", ".txt", ".mol2", ".pdb", ".xlsx") or not text.strip():
        raise InputError(f"no file '{text}'", expected=_FORMATS)
    parts = text.split(None, 1)
    with rdBase.BlockLogs():
        if ">" not in text and Chem.MolFromSmiles(parts[0], sanitize=False) is None:
            raise InputError(f"'{clean_name(text)}' is neither a file nor a SMILES", expected=_FORMATS)
    row = _smiles_row(1, 1, text if len(parts) > 1 else f"{text} ligand")
    return InputFile("SMILES", "smiles", iter([row]))


def _kind(path: Path, head: bytes) -> Kind:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in (".gz", ".gzip"):
        suffixes.pop()
    ending = suffixes[-1] if suffixes else ""
    if ending in ENDINGS:
        return ENDINGS[ending]
    if ending in (".mol2", ".pdb", ".cif", ".xlsx", ".xls", ".zip", ".cdx", ".rxn", ".rdf"):
        raise InputError(f"'{path}': {ending} files are not read", expected=_FORMATS, do="export it as SDF or CSV")
    if head.startswith(_PARQUET):
        return "parquet"
    text = head.decode("utf-8", errors="replace")
    if "V2000" in text or "V3000" in text or "M  END" in text:
        return "sdf"
    first = next((line for line in text.splitlines() if line.strip()), "")
    if "smiles" in first.lower() and any(mark in first for mark in ",;\t|"):
        return "csv"
    return "smi"


def _encoding(head: bytes, path: Path) -> str:
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if head.startswith((b"PK\x03\x04", b"%PDF", b"\xd0\xcf\x11\xe0")) or head[:4096].count(0) >= 8:
        if head[:4096].strip(b"\0"):
            raise InputError(f"'{path}' is not a text file", expected=_FORMATS, do="export it as SDF or CSV")
    return "utf-8-sig"


class _Unpacked(io.RawIOBase):
    """The content of a gzipped stream, with an end to what it may unpack to."""

    def __init__(self, raw: BinaryIO, label: str) -> None:
        self._file, self._raw, self._label, self._done = gzip.GzipFile(fileobj=raw), raw, label, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:
        try:
            data = self._file.read(min(len(buffer), 2**16))
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(f"the gzipped file is damaged after {self._done} bytes ({error})", where=self._label,
                             do="copy or pack it again") from None  # fmt: skip
        self._done += len(data)
        if self._done > BOMB_BYTES and self._done > BOMB_RATIO * max(1, self._raw.tell()):
            raise InputError(f"the gzipped file unpacks to more than {BOMB_RATIO} times its size", where=self._label,
                             expected="a list of molecules")  # fmt: skip
        buffer[: len(data)] = data
        return len(data)


def _as_latin1(error: UnicodeError) -> tuple[str, int]:
    if isinstance(error, UnicodeDecodeError):
        return error.object[error.start : error.end].decode("latin-1"), error.end
    raise error


codecs.register_error("esr1md-latin1", _as_latin1)


class _Lines:
    """Lines with their numbers; one that is too long comes cut, and ``cut`` says so. Bytes that are no UTF-8 are
    taken as Latin-1: names in old files are."""

    def __init__(self, stream: io.BufferedReader, encoding: str) -> None:
        self._text = io.TextIOWrapper(stream, encoding=encoding, errors="esr1md-latin1", newline=None)
        self.number, self.cut = 0, False

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = self._text.readline(MAX_LINE + 1)
        if not line:
            raise StopIteration
        self.number += 1
        self.cut = len(line) > MAX_LINE and not line.endswith("\n")
        while self.cut and (rest := self._text.readline(MAX_LINE)):
            if rest.endswith("\n"):
                break
        return line.rstrip("\n")


def _too_long() -> str:
    return f"the line is longer than {MAX_LINE:,} characters"


# -- formats ----------------------------------------------------------------------------------------------


def _smiles_row(number: int, line: int, text: str) -> InputRow:
    """``SMILES name words`` or ``SMILES |extension| name words``."""
    smiles, _, rest = text.strip().replace("\t", " ").partition(" ")
    rest = rest.strip()
    if rest.startswith("|") and (end := rest.find("|", 1)) > 0:
        smiles, rest = f"{smiles} {rest[: end + 1]}", rest[end + 1 :]
    return InputRow(number, line, clean_name(rest) or f"row {number}", smiles, "smiles")


def _smi_rows(lines: _Lines) -> Iterator[InputRow]:
    number = 0
    for line in lines:
        if lines.cut:
            number += 1
            yield InputRow(number, lines.number, f"row {number}", "", "smiles", _too_long())
            continue
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if number == 0 and line.split()[0].strip('",;').lower() in _SMILES_COLUMNS:
            continue  # a header
        number += 1
        yield _smiles_row(number, lines.number, line)


def _csv_rows(lines: _Lines, label: str, smiles_column: str | None, name_column: str | None) -> Iterator[InputRow]:
    header_line = next((line for line in lines if line.strip()), "")
    if not header_line:
        return iter(())
    delimiter = max(",;\t|", key=header_line.count) if any(mark in header_line for mark in ",;\t|") else ","
    header = [cell.strip() for cell in next(csv.reader([header_line], delimiter=delimiter))]
    smiles_at, name_at = _columns(header, smiles_column, name_column, label, f"{label}:{lines.number}",
                                  "a header line with a column 'smiles'")  # fmt: skip
    return _csv_body(lines, delimiter, smiles_at, name_at)


def _csv_body(lines: _Lines, delimiter: str, smiles_at: int, name_at: int | None) -> Iterator[InputRow]:
    reader = csv.reader(_checked_lines(lines), delimiter=delimiter)
    number = 0
    while True:
        begun = lines.number + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except _LineTooLong:
            number += 1
            yield InputRow(number, lines.number, f"row {number}", "", "smiles", _too_long())
            reader = csv.reader(_checked_lines(lines), delimiter=delimiter)
            continue
        except csv.Error as error:
            number += 1
            reason = f"the row cannot be read ({error}); a quote is opened on line {begun} and not closed before line"
            yield InputRow(number, begun, f"row {number}", "", "smiles", f"{reason} {lines.number}")
            continue
        if not any(cell.strip() for cell in cells):
            continue
        number += 1
        name = clean_name(cells[name_at]) if name_at is not None and name_at < len(cells) else ""
        problem = "" if smiles_at < len(cells) else f"the row has {len(cells)} cells, too few for its SMILES column"
        text = "" if problem else cells[smiles_at].strip()
        yield InputRow(number, begun, name or f"row {number}", text, "smiles", problem)


class _LineTooLong(Exception):
    pass


def _checked_lines(lines: _Lines) -> Iterator[str]:
    for line in lines:
        if lines.cut:
            raise _LineTooLong
        yield line + "\n"


def _columns(header: list[str], smiles_column: str | None, name_column: str | None, label: str, where: str,
             expected: str) -> tuple[int, int | None]:  # fmt: skip
    """Which columns of a table hold the SMILES and, if any does, the names."""
    smiles_at = _column(header, smiles_column, _SMILES_COLUMNS, "smiles", label, "--smiles-column")
    name_at = _column(header, name_column, _NAME_COLUMNS, "", label, "--name-column")
    if smiles_at is None:
        shown = ", ".join(f"'{clean_name(cell)[:30]}'" for cell in header[:8])
        raise InputError(f"no SMILES column among {shown}", where=where, expected=expected,
                         do="name the column with --smiles-column")  # fmt: skip
    return smiles_at, name_at


def _column(header: list[str], asked: str | None, known: tuple[str, ...], part: str, label: str,
            option: str) -> int | None:  # fmt: skip
    if asked is not None:
        if asked in header:
            return header.index(asked)
        raise InputError(f"no column '{asked}'", where=f"{label}, {option}",
                         expected=f"one of {', '.join(clean_name(c)[:30] for c in header[:12])}",
                         do=did_you_mean(asked, header))  # fmt: skip
    plain = [re.sub(r"[^a-z0-9]+", "_", cell.lower()).strip("_") for cell in header]
    for name in known:
        if name in plain:
            return plain.index(name)
    return next((i for i, cell in enumerate(plain) if part and part in cell), None)


def _parquet_rows(raw: BinaryIO, packed: bool, label: str, smiles_column: str | None,
                  name_column: str | None) -> tuple[Iterator[InputRow], Callable[[], float]]:  # fmt: skip
    """The rows of a Parquet file, unpacked a batch at a time, and the share of them that has been read."""
    import pyarrow
    from pyarrow import parquet

    if packed:
        raise InputError("a Parquet file cannot be read while it is gzipped", where=label,
                         do="unpack it with gunzip; Parquet is compressed by itself")  # fmt: skip
    raw.seek(0)
    try:
        # pre_buffer would hold the whole column of a row group, and many writers make one row group of a file
        file = parquet.ParquetFile(raw, buffer_size=BUFFER_BYTES, pre_buffer=False)
    except (pyarrow.ArrowException, OSError) as error:
        raise _damaged(label, error) from error
    header = list(file.schema_arrow.names)
    smiles_at, name_at = _columns(header, smiles_column, name_column, label, label, "a column 'smiles'")
    kind = _value_type(file.schema_arrow.types[smiles_at])
    if not _is_text(kind):
        raise InputError(f"column '{clean_name(header[smiles_at])}' holds {kind}", where=label,
                         expected="text: a SMILES", do="name another column with --smiles-column")  # fmt: skip
    wanted = list(dict.fromkeys(header[at] for at in (smiles_at, name_at) if at is not None))
    if twice := [name for name in wanted if header.count(name) > 1]:
        raise InputError(f"two columns are called '{clean_name(twice[0])}'", where=label, expected="one")
    total, read = max(1, file.metadata.num_rows), [0]

    def rows() -> Iterator[InputRow]:
        number = 0
        batches = file.iter_batches(batch_size=BATCH_ROWS, columns=wanted)
        while True:
            try:
                batch = next(batches, None)
                if batch is None:
                    return
                texts = _texts(batch.column(header[smiles_at]))
                names = _texts(batch.column(header[name_at])) if name_at is not None else [""] * len(texts)
            except (pyarrow.ArrowException, OSError) as error:
                raise _damaged(label, error, number) from None
            for text, name in zip(texts, names, strict=True):
                number += 1
                read[0] = number
                yield _parquet_row(number, text, name)

    return rows(), lambda: read[0] / total


def _value_type(kind: Any) -> Any:
    import pyarrow

    return kind.value_type if pyarrow.types.is_dictionary(kind) else kind


def _is_text(kind: Any) -> bool:
    import pyarrow

    return pyarrow.types.is_string(kind) or pyarrow.types.is_large_string(kind)


def _texts(column: Any) -> list[str]:
    """The cells of an Arrow array as text; null is empty, and bytes that are no UTF-8 are taken as Latin-1."""
    import pyarrow

    kind = _value_type(column.type)
    column = column.cast(kind)
    if not _is_text(kind):
        return ["" if cell is None else str(cell) for cell in column.to_pylist()]
    cells = column.cast(pyarrow.large_binary()).to_pylist()  # as text one bad byte would fail the whole batch
    return ["" if cell is None else cell.decode("utf-8", "esr1md-latin1") for cell in cells]


def _parquet_row(number: int, text: str, name: str) -> InputRow:
    called = clean_name(name[:MAX_LINE]) or f"row {number}"
    if len(text) > MAX_LINE:
        return InputRow(number, number, called, "", "smiles", f"the SMILES is longer than {MAX_LINE:,} characters")
    return InputRow(number, number, called, text.strip(), "smiles")


def _damaged(label: str, error: Exception, after: int = 0) -> InputError:
    said = " ".join(str(error).split())[:200]
    return InputError(f"the Parquet file is damaged{f' after row {after}' if after else ''} ({said})", where=label,
                      do="copy or write it again")  # fmt: skip


def _sdf_rows(lines: _Lines) -> Iterator[InputRow]:
    number, begun, record, problem = 0, 1, [], ""
    for line in lines:
        if line.rstrip() == "$$$$":
            if problem or any(each.strip() for each in record):
                number += 1
                yield _sdf_row(number, begun, record, problem)
            record, problem, begun = [], "", lines.number + 1
        elif lines.cut:
            problem = problem or f"line {lines.number} is longer than {MAX_LINE:,} characters"
        elif len(record) >= MAX_RECORD_LINES:
            problem = problem or f"the record is longer than {MAX_RECORD_LINES:,} lines ('$$$$' missing?)"
        else:
            record.append(line)
    if problem or any(each.strip() for each in record):
        yield _sdf_row(number + 1, begun, record, problem)


def _sdf_row(number: int, line: int, record: list[str], problem: str) -> InputRow:
    name = clean_name(record[0]) if record else ""
    if not name:
        for index, text in enumerate(record[:-1]):
            found = re.fullmatch(r">.*<([^<>]+)>.*", text)
            if found and found[1] in _NAME_FIELDS:
                name = clean_name(record[index + 1])
                break
    text = "" if problem else "\n".join(record) + "\n"
    return InputRow(number, line, name, text, "sdf", problem)
