"""A table of compounds and measured affinities, read without guessing what its numbers are.

What a column holds is taken from its name where the name says it (``pIC50``, ``Ki_nM``, ``exp_dG_kcal_mol``) and
is said in the result; where it does not, the user is asked. All affinities become free energies at 298.15 K,
``dG = RT ln K``; an IC50 is taken for the constant it is proportional to within one assay.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from esr1md.catalogue import did_you_mean
from esr1md.errors import InputError
from esr1md.ligand.molecules import clean_name

#: kcal/mol at 298.15 K.
RT = 1.987204e-3 * 298.15
KINDS = ("dG", "dG-kJ", "pK", "nM", "uM", "M")
_MOLAR = {"nM": 1e-9, "uM": 1e-6, "M": 1.0}
_UNITS = {"nM": {"nm"}, "uM": {"um", "µm", "μm"}, "M": {"m"}}
_EXPERIMENT = {"exp", "expt", "experimental", "experiment", "measured"}
_CONSTANTS = {"ki", "kd", "ic50", "k"}
_PLAIN_VALUES = ("value", "affinity", "activity", "standard_value", "measured", "exp", "y")
_SMILES = ("smiles", "canonical_smiles", "isomeric_smiles", "smi", "structure")
_NAMES = ("name", "compound", "compound_name", "ligand", "title", "id", "compound_id", "molecule", "molecule_chembl_id",
          "chembl_id", "ligand_name")  # fmt: skip
_RELATIONS = ("relation", "standard_relation", "qualifier", "operator")
_UNIT_COLUMNS = ("standard_units", "units", "unit")
_GROUPS = ("series", "assay", "group", "assay_id", "assay_chembl_id")
#: A file larger than this is no series (bytes).
LARGEST = 32 * 2**20
#: Free energies (kcal/mol) that a measured affinity can have.
PLAUSIBLE = (-25.0, 0.0)


@dataclass(frozen=True)
class Measured:
    """A row with a usable value.

    Attributes
    ----------
    line
        Of the file.
    name, smiles, series
        As given; ``series`` is empty without a group column.
    dg_kcal
        Measured free energy of binding (kcal/mol).
    bound
        0: measured; 1: at least this strong (``Ki < 1 nM``); -1: at most this strong (``Ki > 10 uM``).
    beside
        Other predictions of the file by column (lower binds better); NaN where a cell is empty.
    """

    line: int
    name: str
    smiles: str
    series: str
    dg_kcal: float
    beside: dict[str, float] = field(default_factory=dict, hash=False)
    bound: int = 0

    @property
    def pk(self) -> float:
        """Negative decadic logarithm of the constant in mol/l (pChEMBL)."""
        return -self.dg_kcal / (RT * math.log(10))


@dataclass(frozen=True)
class LeftOut:
    """A row that is not used, and why."""

    line: int
    name: str
    reason: str


@dataclass(frozen=True)
class Table:
    """The rows of a file.

    Attributes
    ----------
    rows, left_out
        What is used and what is not.
    notes
        What was taken for what, one sentence each.
    """

    rows: tuple[Measured, ...]
    left_out: tuple[LeftOut, ...]
    notes: tuple[str, ...]


def read_table(
    path: Path,
    *,
    smiles_column: str | None = None,
    name_column: str | None = None,
    value_column: str | None = None,
    value_kind: str | None = None,
    group_column: str | None = None,
    beside: Sequence[str] = (),
    only: Sequence[str] = (),
    censored: bool = False,
    ungrouped: bool = False,
) -> Table:
    """Read a CSV (comma, semicolon or tab) of SMILES and measured values.

    Parameters
    ----------
    smiles_column, name_column, value_column, group_column
        Columns by name, where their headings do not say it; compounds are compared within a group only.
    value_kind
        One of :data:`KINDS`: kcal/mol, kJ/mol, negative decadic logarithm of molar, or a concentration.
    beside
        Columns with other predictions, lower binds better.
    only
        ``COLUMN=VALUE``: rows where each of these holds.
    censored
        Keep values that are bounds (``> 10000 nM``); without it they are left out.
    ungrouped
        Keep rows without a value in the group column, as of no group; without it they are left out.

    Raises
    ------
    InputError
        Not a table, no such column, a value whose kind is not clear, values that cannot be free energies of binding,
        or no row left.
    """
    header, rows = _cells(path)
    if value_kind is not None and value_kind not in KINDS:
        raise InputError(f"unknown kind of value '{value_kind}'", where="--value-kind", expected=", ".join(KINDS),
                         do=did_you_mean(value_kind, KINDS))  # fmt: skip
    smiles_at = _column(header, smiles_column, "--smiles-column", path)
    if smiles_at is None:
        smiles_at = _named(header, _SMILES) if _named(header, _SMILES) is not None else _first_with(header, "smiles")
    if smiles_at is None:
        raise InputError(f"no column of SMILES among {_shown(header)}", where=str(path),
                         expected="a heading with 'smiles' in it",
                         do="name the column with --smiles-column")  # fmt: skip
    name_at = _column(header, name_column, "--name-column", path)
    name_at = _named(header, _NAMES) if name_at is None else name_at
    group_at = _column(header, group_column, "--group-column", path)
    value_at, kind, notes = _value_column(header, value_column, value_kind, path)
    beside_at = {name: _column(header, name, "--beside", path) for name in beside}
    wanted = [_condition(header, text, path) for text in only]
    relation_at, unit_at = _named(header, _RELATIONS), _named(header, _UNIT_COLUMNS)
    if group_at is None and (unused := _named(header, _GROUPS)) is not None:
        values = {row[unused].strip() for _, row in rows if unused < len(row)}
        if len(values) > 1 and not any(at == unused for at, _ in wanted):
            notes.append(f"All rows are compared with each other: column '{header[unused]}' is not used as "
                         "--group-column.")  # fmt: skip
    found: list[Measured] = []
    left: list[LeftOut] = []
    for line, row in rows:
        cell = [*row, *[""] * (len(header) - len(row))]
        if any(cell[at].strip() != value for at, value in wanted):
            continue
        name = (clean_name(cell[name_at]) if name_at is not None else "") or f"line {line}"
        relation = cell[relation_at].strip() if relation_at is not None else ""
        units = cell[unit_at].strip().lower() if unit_at is not None else ""
        if not cell[smiles_at].strip():
            left.append(LeftOut(line, name, "no SMILES"))
            continue
        if units and kind in _UNITS and units not in _UNITS[kind]:
            left.append(LeftOut(line, name, f"its unit is '{cell[unit_at].strip()[:20]}', not {kind}"))
            continue
        text, bound = cell[value_at], 0
        if censored:
            text, relation, bound = _bound(text, relation, kind, relation_at is not None and header[relation_at])
        value = _free_energy(text, relation, kind)
        if isinstance(value, str):
            left.append(LeftOut(line, name, value))
            continue
        others = {column: _number(cell[at]) for column, at in beside_at.items()}
        series = clean_name(cell[group_at]) if group_at is not None else ""
        if group_at is not None and not series and not ungrouped:
            left.append(LeftOut(line, name, f"no value in the group column '{header[group_at]}'"))
            continue
        found.append(Measured(line, name, cell[smiles_at].strip(), series, value,
                              {c: math.nan if v is None else v for c, v in others.items()}, bound))  # fmt: skip
    if not found:
        why = f" ({left[0].reason} on line {left[0].line}, for one)" if left else ""
        raise InputError(f"no row with a SMILES and a value{why}", where=str(path),
                         expected="a SMILES and a number in each row")  # fmt: skip
    _check_plausible(found, header[value_at], kind, path)
    return Table(tuple(found), tuple(left), tuple(notes))


def _cells(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Heading and rows with their line numbers."""
    path = Path(path).expanduser()
    try:
        data = path.read_bytes() if path.stat().st_size <= LARGEST else b""
    except OSError as error:
        raise InputError(f"'{path}' cannot be read ({error.strerror})",
                         expected="a CSV file with SMILES and measured values") from error  # fmt: skip
    if not data.strip():
        raise InputError(f"'{path}' is empty or larger than {LARGEST // 2**20} MB",
                         expected="a CSV file with SMILES and measured values")  # fmt: skip
    if b"\0" in data:
        raise InputError(f"'{path}' is not a text file", expected="a CSV file", do="export it as CSV")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    first = next(line for line in text.splitlines() if line.strip())
    delimiter = max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    rows = []
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                rows.append((reader.line_num, row))
    except csv.Error as error:
        raise InputError(f"the table cannot be read ({error})", where=f"{path}:{reader.line_num}",
                         expected="a CSV file") from error  # fmt: skip
    header = [cell.strip() for cell in rows[0][1]]
    if len(header) < 2:
        raise InputError(f"only one column, '{clean_name(header[0])[:40]}'", where=str(path),
                         expected="a heading line with columns of SMILES and measured values")  # fmt: skip
    return header, rows[1:]


def _value_column(header: list[str], column: str | None, kind: str | None, path: Path) -> tuple[int, str, list[str]]:
    """Where the measured value is, its kind, and what was taken for granted."""
    if column is not None:
        at = _column(header, column, "--value-column", path)
        named = kind_of(header[at])
        if kind is None and named is None:
            raise InputError(f"what the numbers of column '{column}' are is not clear from its name", where=str(path),
                             expected=f"--value-kind {', '.join(KINDS)}")  # fmt: skip
        return at, kind or named, [] if kind else [f"Column '{column}' is taken as {_words(named)}."]
    candidates = [i for i, name in enumerate(header) if kind_of(name) is not None]
    if kind is not None:
        plain = [i for i, name in enumerate(header) if _plain(name) in _PLAIN_VALUES or set(_tokens(name)) & _CONSTANTS]
        candidates = [i for i in candidates if kind_of(header[i]) == kind] or plain or candidates
    if len(candidates) > 1:
        for words in (_EXPERIMENT, {"binding"}):
            said = [i for i in candidates if set(_tokens(header[i])) & words]
            candidates = said if len(said) == 1 else candidates
    if not candidates:
        raise InputError(f"no column among {_shown(header)} says that it holds a measured affinity", where=str(path),
                         expected="a heading such as dG, pKi, pIC50, Ki_nM",
                         do="name it with --value-column and --value-kind")  # fmt: skip
    if len(candidates) > 1:
        names = ", ".join(f"'{header[i]}'" for i in candidates)
        raise InputError(f"several columns may hold the measured value: {names}", where=str(path),
                         do="choose one with --value-column")  # fmt: skip
    at = candidates[0]
    kind = kind or kind_of(header[at])
    return at, kind, [f"Measured: column '{header[at]}', as {_words(kind)}."]


def kind_of(heading: str) -> str | None:
    """What a column holds by its name; ``None`` if the name does not say."""
    tokens = set(_tokens(heading))
    joined = _plain(heading)
    if re.search(r"(^|_)(d_?g|delta_?g)(_|$)", joined):
        return "dG-kJ" if tokens & {"kj", "kjmol"} else "dG"
    if any(re.fullmatch(r"p(ki|kd|k|ic50|chembl|affinity|activity)", token) for token in tokens):
        return "pK"
    if "kcal" in tokens or "kj" in tokens:
        return "dG" if "kcal" in tokens else "dG-kJ"
    for kind, names in (("nM", {"nm", "nanomolar"}), ("uM", {"um", "micromolar"})):
        if tokens & names:
            return kind
    return None


def _words(kind: str) -> str:
    return {"dG": "free energy in kcal/mol", "dG-kJ": "free energy in kJ/mol", "pK": "-log10 of a molar constant",
            "nM": "a constant in nM", "uM": "a constant in uM", "M": "a constant in M"}[kind]  # fmt: skip


def _bound(text: str, relation: str, kind: str, heading: str | bool) -> tuple[str, str, int]:
    """Value, relation and bound of a cell that may be censored; what is no bound is left for :func:`_free_energy`.

    A mark in the cell speaks of the cell's number. ChEMBL's ``standard_relation`` speaks of the concentration, also
    beside a pChEMBL.
    """
    marks = {"<": -1, "<=": -1, "<<": -1, ">": 1, ">=": 1, ">>": 1}
    found = re.match(r"\s*([<>]=?|<<|>>)\s*", text)
    mark, rest = (found[1], text[found.end() :]) if found else (relation.strip("'\""), text)
    if mark not in marks:
        return text, relation, 0
    of_logarithm = kind == "pK" and (found is not None or not (heading and "standard" in str(heading).lower()))
    return rest, "", marks[mark] * (1 if of_logarithm else -1)


def _free_energy(text: str, relation: str, kind: str) -> float | str:
    """dG (kcal/mol) of a cell, or why there is none."""
    text = text.strip()
    if text[:1] in "<>~" or (relation and relation not in ("=", "'='", '"="')):
        if text[:1] == "~" or relation.strip("'\"") == "~":
            return f"approximate value ({relation or ''}{text[:20]})"
        if text:
            return f"censored value ({relation.strip(chr(39)) if text[:1] not in '<>' else ''}{text[:20]})"
    value = _number(text)
    if value is None:
        return f"'{clean_name(text)[:30]}' is no number" if text else "no value"
    if kind == "dG":
        return value
    if kind == "dG-kJ":
        return value / 4.184
    if kind == "pK":
        return -RT * math.log(10) * value
    if value <= 0:
        return f"a constant of {value:g} {kind}"
    return RT * math.log(value * _MOLAR[kind])


def _check_plausible(rows: Sequence[Measured], heading: str, kind: str, path: Path) -> None:
    low, high = PLAUSIBLE
    strange = [row for row in rows if not low <= row.dg_kcal <= high]
    if 2 * len(strange) >= len(rows):
        raise InputError(
            f"column '{heading}' read as {_words(kind)} gives a free energy of {strange[0].dg_kcal:.1f} kcal/mol on "
            f"line {strange[0].line}, and {len(strange)} of {len(rows)} outside {low:g} to {high:g}",
            where=str(path), do=f"say what the numbers are with --value-kind ({', '.join(KINDS)})",
        )  # fmt: skip


def _condition(header: list[str], text: str, path: Path) -> tuple[int, str]:
    name, mark, value = text.partition("=")
    if not mark:
        raise InputError(f"'{text}' is no condition", where="--only", expected="COLUMN=VALUE")
    return _column(header, name.strip(), "--only", path), value.strip()


def _column(header: list[str], asked: str | None, option: str, path: Path) -> int | None:
    if asked is None:
        return None
    if asked in header:
        return header.index(asked)
    raise InputError(f"no column '{asked}'", where=f"{path}, {option}", expected=f"one of {_shown(header)}",
                     do=did_you_mean(asked, header))  # fmt: skip


def _named(header: list[str], known: Sequence[str]) -> int | None:
    plain = [_plain(name) for name in header]
    return next((plain.index(name) for name in known if name in plain), None)


def _first_with(header: list[str], part: str) -> int | None:
    return next((i for i, name in enumerate(header) if part in name.lower()), None)


def _plain(name: str) -> str:
    name = re.sub(r"Δ|δ", "d", name)
    return re.sub(r"[^a-z0-9]+", "_", re.sub(r"[µμ]", "u", name).lower()).strip("_")


def _tokens(name: str) -> list[str]:
    return _plain(name).split("_")


def _shown(header: Sequence[str]) -> str:
    return ", ".join(f"'{clean_name(name)[:30]}'" for name in header[:12])


def _number(text: str) -> float | None:
    try:
        value = float(text.strip())
    except ValueError:
        return None
    return value if math.isfinite(value) else None
