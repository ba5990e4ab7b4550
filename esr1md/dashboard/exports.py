"""Exactly what the grid shows as a file: the rows in their order, the columns that are visible."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import pandas
from rdkit import Chem
from rdkit.Chem import rdDepictor

from esr1md.dashboard.context import context
from esr1md.dashboard.data import Screen
from esr1md.dashboard.rows import LETTERS, NOT_COMPARED, SCORES
from esr1md.errors import InputError
from esr1md.ligand.molecules import table_cell
from esr1md.scoring.scores import Score

FORMATS = {"csv": "CSV", "parquet": "Parquet", "sdf": "SDF", "xlsx": "XLSX"}
_WORDS = {letter: str(verdict) for verdict, letter in LETTERS.items()} | {NOT_COMPARED: "", "p": "predicted"}
_SCORES = {name: (unit if unit == "kcal/mol" else "angstrom") for name, _, unit, _ in SCORES}


def shown_table(
    screen: Screen, keys: Sequence[str], columns: Sequence[str], ranks: Mapping[str, Sequence[int]] | None
) -> pandas.DataFrame:
    """The rows ``keys`` of the ranking with what is behind the visible ``columns``.

    A score becomes ``x``, ``x_low``, ``x_high``, ``x_n`` and ``x_unit``; the verdicts of a mutant become two columns.
    SMILES and starting state are always there.

    Parameters
    ----------
    keys
        Rows in the order shown.
    columns
        Fields of the grid that are visible, in their order.
    ranks
        Row -> weighted rank, low, high under the reader's weights; ``None`` for the screen's own.
    """
    rows = {row["id"]: row for row in context().memos["rows"](screen)}
    reviews = context().reviews.of_ligands(screen) if "review" in columns else {}
    found = []
    for key in keys:
        row = rows.get(key)
        if row is None:
            continue
        own = (row["weighted"], row["weighted_low"], row["weighted_high"])
        weighted = own if ranks is None else tuple(ranks.get(key, (None, None, None)))
        ligand = row["ligand"]
        cells: dict[str, Any] = {"ligand": ligand, "state": row["state"], "smiles": screen.smiles.get(ligand)}
        for column in columns:
            cells |= _cells(column, row, weighted, screen, reviews)
        found.append(cells)
    return pandas.DataFrame(found)


def _cells(
    column: str, row: Mapping[str, Any], weighted: Sequence[Any], screen: Screen, reviews: Mapping[str, str]
) -> dict[str, Any]:
    if column in ("group", "ligand"):
        return {}
    if column == "rank":
        return {"rank": row["rank"], "rank_low": row["rank_low"], "rank_high": row["rank_high"]}
    if column == "weighted":
        return dict(zip(("weighted_rank", "weighted_rank_low", "weighted_rank_high"), weighted, strict=True))
    if column in _SCORES:
        value: Score | None = _exact(column, row, screen)
        given = {"": value and value.value, "_low": value and value.low, "_high": value and value.high}
        found = {f"{column}{end}": number for end, number in given.items()}
        found |= {f"{column}_n": row.get(f"{column}_n"), f"{column}_unit": _SCORES[column]}
        return found | ({"worst_variant": row["worst_variant"]} if column == "worst" else {})
    if column == "overall" or re.fullmatch(r"v\d+", column):
        name = "all mutants" if column == "overall" else screen.mutants[int(column[1:])]
        binding, helix12 = row[column]
        return {f"binding verdict, {name}": _WORDS[binding], f"helix 12 verdict, {name}": _WORDS[helix12]}
    if column == "review":
        return {"review": reviews.get(row["ligand"], "")}
    return {column: row[column]} if column in row else {}


def _exact(column: str, row: Mapping[str, Any], screen: Screen) -> Score | None:
    """The score behind a cell of the grid, unrounded; a prediction's is what the grid has."""
    line = screen.lines.get((row["ligand"], row["state"]))
    if line is not None:
        return getattr(line, {"worst": "worst_shift"}.get(column, column))
    if row.get(column) is None:
        return None
    return Score(value=row[column], low=row.get(f"{column}_l"), high=row.get(f"{column}_h"), n_replicas=0,
                 unit=_SCORES[column], origin="predicted")  # fmt: skip


def encoded(table: pandas.DataFrame, kind: str, screen: Screen) -> bytes:
    """The table as the bytes of a file of ``kind``; text that a spreadsheet would take for a formula is quoted.

    Raises
    ------
    InputError
        An unknown kind.
    """
    if kind == "csv":
        return _plain(table).to_csv(index=False).encode()
    if kind == "parquet":
        buffer = io.BytesIO()
        table.to_parquet(buffer, index=False)
        return buffer.getvalue()
    if kind == "xlsx":
        return _workbook(_plain(table), screen)
    if kind == "sdf":
        return _structures(table).encode()
    raise InputError(f"unknown format '{kind[:20]}'", expected=", ".join(FORMATS))


def file_name(screen: str) -> str:
    return f"{re.sub('[^A-Za-z0-9_-]+', '-', screen)[:80]}-ranking"


def _plain(table: pandas.DataFrame) -> pandas.DataFrame:
    return table.map(lambda value: table_cell(_one_line(value)) if isinstance(value, str) else value)


def _one_line(text: str) -> str:
    """Without what no cell of a workbook may hold."""
    return re.sub(r"[\x00-\x1f]+", " ", text)[:32_000]


def _workbook(table: pandas.DataFrame, screen: Screen) -> bytes:
    buffer = io.BytesIO()
    with pandas.ExcelWriter(buffer, engine="openpyxl") as writer:
        table.to_excel(writer, sheet_name="ranking", index=False, freeze_panes=(1, 1))
        about = [("screen", screen.name), ("protocol", screen.ranking.protocol), ("created", screen.ranking.created),
                 ("reference ligand", screen.ranking.reference_ligand), ("intervals", "95 %"),
                 *(("limit", limit) for limit in screen.ranking.limits)]  # fmt: skip
        said = pandas.DataFrame(about, columns=["what", "value"])
        _plain(said).to_excel(writer, sheet_name="about", index=False)
    return buffer.getvalue()


def _structures(table: pandas.DataFrame) -> str:
    """SDF with 2D coordinates; every cell of a row is a property of its molecule."""
    buffer = io.StringIO()
    writer = Chem.SDWriter(buffer)
    for row in table.to_dict("records"):
        molecule = Chem.MolFromSmiles(row.get("smiles") or "")
        if molecule is None:
            continue
        rdDepictor.Compute2DCoords(molecule)
        molecule.SetProp("_Name", _one_line(str(row["ligand"])))
        for name, value in row.items():
            if value is not None and value == value and value != "":
                molecule.SetProp(name, _one_line(f"{value:.10g}" if isinstance(value, float) else str(value)))
        writer.write(molecule)
    writer.close()
    return buffer.getvalue()
