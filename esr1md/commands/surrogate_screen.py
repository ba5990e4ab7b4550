"""``esr1md surrogate screen``: the model asked about a whole library."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from esr1md.commands.ligands import shown_progress
from esr1md.commands.output import FAILURES_LEFT, JsonOption, document_output, show, write_json
from esr1md.commands.surrogate import surrogate_app

#: Compounds that the terminal shows; the page has the others.
SHOWN = 10


class TableFormat(StrEnum):
    PARQUET = "parquet"
    CSV = "csv"


@surrogate_app.command()
def screen(
    library: Annotated[
        str,
        typer.Argument(
            metavar="LIBRARY",
            help="A .smi, .csv, .tsv or .sdf file (also .gz), a .parquet file, or one SMILES.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder for the tables and the page; one library each. Without it: LIBRARY's "
                     "name and '-surrogate', here."),
    ] = None,
    model: Annotated[
        Path | None, typer.Option("--model", "-m", help="Folder of a trained model. Without it: the shipped one.")
    ] = None,
    variant: Annotated[
        list[str] | None,
        typer.Option("--variant", "-v", help="Simulation scores for this variant too, if the model was trained on a "
                     "store; may be repeated."),
    ] = None,
    state: Annotated[str, typer.Option(help="Helix-12 state of the simulation scores.")] = "antagonist",
    top: Annotated[int, typer.Option(min=1, max=1000, help="Compounds on the page.")] = 50,
    by: Annotated[
        str, typer.Option(metavar="COLUMN", help="Rank by this column; energies lowest first, all else highest first.")
    ] = "pchembl",
    table_format: Annotated[TableFormat, typer.Option("--format", help="Of the table of predictions.")] = (
        TableFormat.PARQUET
    ),
    workers: Annotated[
        int | None,
        typer.Option(min=1, max=1024, help="Processes. Without it: one for each CPU core, at most 8 for each GPU."),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first N rows of the file.")] = None,
    smiles_column: Annotated[str | None, typer.Option(help="Column of a table, if it is not called 'smiles'.")] = None,
    name_column: Annotated[str | None, typer.Option(help="Column of a table, if not called 'name' or 'id'.")] = None,
    json: JsonOption = False,
) -> None:  # fmt: skip
    """Predict a whole library, of any length, in little memory; the best compounds on a page with pictures.

    The shipped model predicts [bold]assay affinity for the wild type[/bold], nothing of mutants or of helix 12. A
    model trained on a store of simulations predicts their scores too, for the variants asked for.

    Every prediction has a 90 % interval, its nearest training compound and whether it lies inside the model's domain;
    compounds outside are not ranked with the others. Interrupt it or kill it: the same command goes on where it
    stopped.

    OUT holds predictions.parquet (or .csv), failures.csv (row, line, name, reason), top.html and summary.json.

    Examples:

        esr1md surrogate screen vendor.smi.gz

        esr1md surrogate screen hits.csv --out hits --name-column "Catalog ID" --top 100 --format csv

        esr1md surrogate screen hits.sdf --out hits --model runs/screens/my-screen/surrogate --variant Y537S

        esr1md surrogate screen "CCCCS(=O)CC" --out one --json

    Exit codes: 0 every row is predicted, 3 some are not (failures.csv says why), 2 bad input.
    """
    with document_output(json) as document:
        from esr1md.surrogate.screening import Question, screen_library
        from esr1md.surrogate.screening_tables import Wanted

        out = out or Path(f"{Path(library).name.split('.')[0]}-surrogate" if Path(library).is_file() else "surrogate")
        question = Question(str(model.absolute()) if model else "", tuple(dict.fromkeys(variant or ())), state)
        with shown_progress() as report:
            summary = screen_library(
                library, out, question, Wanted(top, by, str(table_format), limit), workers=workers,
                smiles_column=smiles_column, name_column=name_column, report=report,
            )  # fmt: skip
        if json:
            write_json(document, summary)
        else:
            show(_view(summary, out))
    if summary["failed"]:
        raise typer.Exit(FAILURES_LEFT)


def _view(summary: dict[str, Any], out: Path) -> Any:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from esr1md.commands.terminal import duration
    from esr1md.surrogate.screening_page import share

    rows, failed = summary["rows"], summary["failed"]
    lines: list[Any] = [
        Text(summary["statement"], style="yellow"),
        Text(),
        Text.assemble((f"{summary['predicted']:,} of {rows:,} compounds predicted", "bold"),
                      f", {summary['in_domain']:,} inside the model's domain"),
    ]  # fmt: skip
    if failed:
        what = "row" if failed == 1 else "rows"
        lines.append(Text(f"  {failed:,} {what} could not be predicted: {out / 'failures.csv'}", style="yellow"))
    if new := rows - summary["done_before"]:
        lines.append(Text(f"  {new:,} rows in {duration(summary['seconds'])}, {summary['rows_per_second']:.1f} rows/s",
                          style="dim"))  # fmt: skip
    else:
        lines.append(Text("  nothing was left to do", style="dim"))
    by, columns = summary["by"], {column["name"]: column["meaning"] for column in summary["columns"]}
    interval = f"{by}_low" in columns and f"{by}_high" in columns
    table = Table(box=None, pad_edge=False, header_style="bold")
    titles = [("", "right"), ("compound", "left"), ("row", "right"), (f"predicted {by}", "right")]
    titles += [(share(columns[f"{by}_low"]), "left")] if interval else []
    for title, justify in (*titles, ("similarity", "right")):
        table.add_column(title, justify=justify)
    for row in summary["top"][:SHOWN]:
        held = [f"{_number(row[f'{by}_low'])} to {_number(row[f'{by}_high'])}"] if interval else []
        table.add_row(str(row["rank"]), Text(row["name"]), f"{row['row']:,}", _number(row[by]), *held,
                      _number(row["similarity"]))  # fmt: skip
    if summary["top"]:
        lines += [Text(), table]
    if summary["out_of_domain"]:
        lines.append(Text(f"\n{summary['out_of_domain']:,} compounds outside the model's domain are not ranked; "
                          "the page lists the first of them", style="yellow"))  # fmt: skip
    lines.append(Text(f"\n{out / summary['files'][0]}\n{out / 'top.html'}"))
    return Group(*lines)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
