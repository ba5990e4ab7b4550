"""``esr1md ligands``: the catalogue, and whole libraries prepared for screening."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from esr1md.commands.output import FAILURES_LEFT, JsonOption, document_output, narrated, show, write_json

if TYPE_CHECKING:
    from esr1md.ligand.row_workers import Progress


class _ListByDefault(TyperGroup):
    """``esr1md ligands Faslodex`` is ``esr1md ligands list Faslodex``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args or (args[0] not in self.commands and args[0] not in ctx.help_option_names):
            args = ["list", *args]
        return super().parse_args(ctx, args)


ligands_app = typer.Typer(
    cls=_ListByDefault,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="The catalogued ligands, and your own: prepared, with every state and stereoisomer.\n\n"
    "Without a command the catalogue is listed: [bold]esr1md ligands[/bold], "
    "[bold]esr1md ligands Faslodex[/bold], [bold]esr1md ligands --json[/bold].",
)


@ligands_app.command(name="list")
def list_ligands(
    names: Annotated[list[str] | None, typer.Argument(metavar="[LIGAND]...", help="Only these; synonyms too.")] = None,
    json: JsonOption = False,
) -> None:
    """The catalogued ligands: class, protonation, evidence. Your own goes into a screen's YAML as SMILES or SDF.

    Examples:

        esr1md ligands

        esr1md ligands Faslodex "ICI 182,780"
    """
    from esr1md.ligand.catalogue import catalogue_entries, catalogue_entry

    with document_output(json) as out:
        entries = [catalogue_entry(name) for name in names] if names else catalogue_entries()
        rows = [
            entry.model_dump(mode="json") | {"simulated": entry.simulated, "labels": list(entry.labels)}
            for entry in entries
        ]
        if json:
            write_json(out, rows)
        else:
            from esr1md.commands.terminal import ligands_view

            show(ligands_view(rows, details=bool(names)))


@ligands_app.command()
def prepare(
    source: Annotated[
        str,
        typer.Argument(
            metavar="FILE|SMILES", help="A .smi, .csv, .tsv or .sdf file (also .gz), a .parquet file, or one SMILES."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the tables; one library each.")],
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first N rows of the file.")] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, max=1024, help="Processes. Without it: one for each CPU core.")
    ] = None,
    parameters: Annotated[
        bool, typer.Option("--parameters", help="Make GAFF2 parameters and NAGL charges too, about a second each.")
    ] = False,
    store: Annotated[
        Path | None,
        typer.Option("--store", "-s", help="Where the parameters go; a screen in the same store finds them there. "
                     "Without it: OUT/store."),
    ] = None,
    conformers: Annotated[
        bool, typer.Option("--3d/--no-3d", help="Write ligands.sdf with one conformer of each, hydrogens included.")
    ] = True,
    as_written: Annotated[
        bool, typer.Option("--as-written", help="Keep charges and tautomers as they are drawn.")
    ] = False,
    max_stereoisomers: Annotated[
        int, typer.Option(min=1, max=1024, help="Stereoisomers that are made of one compound at most.")
    ] = 16,
    retry: Annotated[bool, typer.Option("--retry", help="Try again what an earlier run could not prepare.")] = False,
    smiles_column: Annotated[str | None, typer.Option(help="Column of a CSV, if it is not called 'smiles'.")] = None,
    name_column: Annotated[str | None, typer.Option(help="Column of a CSV, if not called 'name' or 'id'.")] = None,
    json: JsonOption = False,
) -> None:  # fmt: skip
    """Prepare a library: salts off, stereoisomers and protonation states on, 3D, and parameters if asked for.

    Each compound becomes one ligand for each stereoisomer, in its dominant state at pH 7.4; the other states are
    listed beside it. Interrupt it or kill it: the same command goes on where it stopped.

    OUT holds ligands.csv (identity, states, notes), ligands.sdf (3D), failures.csv (row, name, reason) and
    summary.json.

    Examples:

        esr1md ligands prepare vendor.smi.gz --out vendor

        esr1md ligands prepare hits.csv --out hits --name-column "Catalog ID" --limit 100

        esr1md ligands prepare hits.sdf --out hits --parameters --store runs

        esr1md ligands prepare "CCCCS(=O)CC" --out one

    Exit codes: 0 every row is prepared, 3 some are not (failures.csv says why), 2 bad input.
    """

    with document_output(json) as document:
        from esr1md.ligand.library import LibrarySettings, prepare_library
        from esr1md.workers import usable_cores

        settings = LibrarySettings(
            charges="as written" if as_written else "dominant",
            max_isomers=max_stereoisomers,
            conformers=conformers,
            parameters=str((store or out / "store").absolute()) if parameters else "",
        )
        with shown_progress() as report:
            summary = prepare_library(
                source, out, settings, limit=limit, workers=workers or usable_cores(), retry=retry,
                smiles_column=smiles_column, name_column=name_column, report=report,
            )  # fmt: skip
        if json:
            write_json(document, summary)
        else:
            show(_summary_view(summary, out))
    if summary["failed"]:
        raise typer.Exit(FAILURES_LEFT)


@contextmanager
def shown_progress() -> Iterator[Callable[[Progress], None]]:
    """Progress on standard error: one live line on a terminal, else a line now and then."""
    with narrated() as say:
        yield lambda progress: say(progress_line(progress))


def progress_line(progress: Progress) -> str:
    """``1,204 of 20,000 rows, 12 failed, 4.1 rows/s, about 77 min left``."""
    from esr1md.commands.terminal import duration

    of = f" of {progress.total:,}" if progress.total else ""
    words = [f"{progress.done:,}{of} rows"]
    words += [f"{progress.earlier:,} of them before"] if progress.earlier else []
    words += [f"{progress.failed:,} failed"] if progress.failed else []
    words += [f"{progress.rate:.1f} rows/s"] if progress.rate else []
    left = progress.seconds_left
    return ", ".join(words) + (f", about {duration(left)} left" if left is not None else "")


def _summary_view(summary: dict[str, Any], out: Path) -> Any:
    from rich.console import Group
    from rich.text import Text

    from esr1md.commands.terminal import duration

    rows, failed = summary["rows"], summary["failed"]
    lines = [Text.assemble((f"{summary['prepared']:,} of {rows:,} compounds prepared", "bold"),
                           f": {summary['ligands']:,} ligands")]  # fmt: skip
    if summary["stereo_enumerated"]:
        lines.append(Text(f"  {summary['stereo_enumerated']:,} compounds with open stereochemistry: every stereoisomer "
                          "is a ligand of its own"))  # fmt: skip
    if summary["duplicates"]:
        lines.append(Text(f"  {summary['duplicates']:,} ligands are the same as an earlier one (column same_as)"))
    if summary["names_given_twice"]:
        lines.append(Text(f"  {summary['names_given_twice']:,} names are given more than once (column id is unique)"))
    if failed:
        lines.append(Text(f"  {failed:,} rows could not be prepared: {out / 'failures.csv'}", style="yellow"))
    if new := rows - summary["done_before"]:
        lines.append(Text(f"  {new:,} rows in {duration(summary['seconds'])}, {summary['rows_per_second']:.1f} rows/s",
                          style="dim"))  # fmt: skip
    else:
        lines.append(Text("  nothing was left to do", style="dim"))
    lines.append(Text(f"\n{out / 'ligands.csv'}"))
    return Group(*lines)
