"""``esr1md ligands parameters``: how far each ligand's force field can be trusted."""

from __future__ import annotations

import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from esr1md.commands.ligands import ligands_app
from esr1md.commands.output import FAILURES_LEFT, JsonOption, document_output, show, write_json
from esr1md.errors import Esr1mdError

if TYPE_CHECKING:
    from esr1md.ligand.assessment import Assessment


@ligands_app.command()
def parameters(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[LIGAND]...", help="Catalogued names; all if none is given.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """What GAFF2 had to guess for each ligand, and how far its NAGL charges are from AM1-BCC ones.

    A penalty above some 100 is a torsion taken from a distant relative: look at what it turns. Charges that differ
    by more than 0.03 e (RMS) deserve a second screen with [bold]charges: am1bcc[/bold] in its YAML.

    Examples:

        esr1md ligands parameters

        esr1md ligands parameters elacestrant fulvestrant --json
    """
    from esr1md.commands.terminal import stderr_console
    from esr1md.ligand.assessment import assess_parameters
    from esr1md.ligand.catalogue import catalogue_ligand, catalogue_ligands

    found: list[Assessment] = []
    failed: list[dict[str, str]] = []
    with document_output(json) as document:
        ligands = [catalogue_ligand(name) for name in names] if names else catalogue_ligands()
        with stderr_console().status("parametrising ...") as waiting:
            for number, ligand in enumerate(ligands):
                waiting.update(f"parametrising {ligand.name} ({number + 1} of {len(ligands)}) ...")
                try:
                    with tempfile.TemporaryDirectory() as folder:
                        found.append(assess_parameters(ligand, Path(folder)))
                except Esr1mdError as error:
                    failed.append({"name": ligand.name, "cause": str(error)})
        if json:
            write_json(document, {"ligands": [asdict(entry) for entry in found], "failed": failed})
        else:
            show(_view(found, failed))
    if failed:
        raise typer.Exit(FAILURES_LEFT)


def _view(found: list[Assessment], failed: list[dict[str, str]]) -> Any:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from esr1md.ligand.assessment import AGREEMENT

    table = Table(box=None, pad_edge=False, header_style="bold")
    for title, justify in (("ligand", "left"), ("atoms", "right"), ("estimated terms", "right"),
                           ("largest penalty", "left"), ("NAGL - AM1-BCC (e, RMS)", "right"),
                           ("most on", "left")):  # fmt: skip
        table.add_column(title, justify=justify)
    for entry in found:
        worst = entry.doubtful
        apart = "" if entry.rmse is None else f"{entry.rmse:.3f}"
        table.add_row(
            entry.name,
            str(entry.atoms),
            str(len(entry.estimated)),
            f"{worst.penalty:.0f}, {worst.kind} {worst.types}" if worst else "",
            Text(apart, style="yellow" if entry.rmse is not None and entry.rmse > AGREEMENT else ""),
            f"{entry.worst_difference:+.3f}, {entry.worst_atom}" if entry.worst_atom else "no AM1-BCC charges",
        )
    lines: list[Any] = [table]
    compared = [entry for entry in found if entry.rmse is not None]
    if len(compared) > 1:
        squares = sum(entry.rmse**2 * entry.atoms for entry in compared) / sum(entry.atoms for entry in compared)
        lines.append(Text(f"\nover all atoms of {len(compared)} ligands: {squares**0.5:.3f} e RMS"))
    lines += [
        Text(f"{entry.name}: {said}", style="yellow") for entry in found for said in (*entry.labels, *entry.warnings)
    ]
    lines += [Text(f"{entry['name']}: {entry['cause']}", style="red") for entry in failed]
    return Group(*lines)
