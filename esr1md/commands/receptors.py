"""``esr1md receptors``: build receptor models from any start, and check any structure."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from esr1md.commands.output import FAILURES_LEFT, JsonOption, document_output, show, write_json
from esr1md.errors import InputError

if TYPE_CHECKING:
    from rich.console import RenderableType

receptors_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="Build receptor models and check structures: any ESR1 variant, any helix-12 state, any starting structure.",
)

NOT_FIT = 1


@receptors_app.command()
def build(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the models; one folder each is made in it.")],
    variant: Annotated[
        list[str] | None,
        typer.Option("--variant", "-v", metavar="VARIANT", help="Y537S, p.Tyr537Ser, D538G+F404L, V422del, WT or all."),
    ] = None,
    state: Annotated[
        list[str] | None,
        typer.Option("--state", metavar="STATE", help="agonist, antagonist or displaced. Without it: every bundled "
                     "state, or the one the structure is in."),
    ] = None,
    start: Annotated[
        str, typer.Option("--from", metavar="BUNDLED|PDBID|FILE", help="What to build from: bundled, a bundled "
                          "alternative (antagonist-1XPC, agonist-5WGD), an entry or a file.")
    ] = "bundled",
    ph: Annotated[float, typer.Option("--ph", min=0, max=14, help="pH of the protonation states (PROPKA).")] = 7.4,
    ligand: Annotated[
        Path | None,
        typer.Option("--ligand", metavar="SDF", help="A posed ligand whose hydrogen bonds decide protonation, instead "
                     "of the crystal ligand's."),
    ] = None,
    keep_mutations: Annotated[
        bool, typer.Option("--keep-mutations", help="Keep the structure's own mutations instead of reverting them.")
    ] = False,
    assembly: Annotated[
        str, typer.Option("--assembly", metavar="monomer|dimer", help="One chain, or the biological dimer.")
    ] = "monomer",
    accept_quality: Annotated[
        str | None,
        typer.Option("--accept-quality", metavar="REASON", help="Keep a model above a quality limit; recorded."),
    ] = None,
    regenerate: Annotated[
        Path | None,
        typer.Option("--regenerate", metavar="PDB_FOLDER", help="Instead: compute every bundled model again from "
                     "these entries."),
    ] = None,
    json: JsonOption = False,
) -> None:  # fmt: skip
    """Build models: every VARIANT in every STATE, each in its own folder with its quality report.

    A folder holds receptor.pdb, quality.json, quality.html, record.json (provenance) and waters.pdb (the conserved
    water, for explicit solvent). A model above a quality limit is refused.

    Examples:

        esr1md receptors build --variant Y537S --variant D538G --out models

        esr1md receptors build --from my.cif --variant D538G --ph 6.8 --out models

        esr1md receptors build --from 5WGD --out models

        esr1md receptors build --from 5WGD --keep-mutations --out models

        esr1md receptors build --regenerate pdb --out structures

    5WGD has serine at 537: without --keep-mutations it is reverted to the wild type, in the entry's own state.

    Entries are kept in the cache (ESR1MD_CACHE); ESR1MD_PDB_MIRROR names a folder that is looked in first.
    """

    if regenerate is not None:
        _alone(regenerate, variant, state, start, keep_mutations, accept_quality, ligand, assembly)
    if assembly not in ("monomer", "dimer"):
        raise InputError(f"unknown assembly '{assembly}'", expected="monomer or dimer")
    if accept_quality is not None and not accept_quality.strip():
        raise InputError("--accept-quality gives no reason", expected="why the model is good enough, in words")
    with document_output(json) as document:
        from esr1md.commands.terminal import stderr_console

        console = stderr_console()
        with console.status("reading ...") as waiting:
            if regenerate is not None:
                rows, failures, outcome = _regenerate(regenerate, out, waiting), [], None
            else:
                from esr1md.receptor import request as requests

                begin = requests.find_start(start)
                variants = requests.chosen_variants(variant or [])
                if keep_mutations:
                    variants = requests.keeping_mutations(variants, begin)
                states = requests.chosen_states(state or [], begin)
                asked = requests.Request(
                    variants, states, begin, ph, ligand, (accept_quality or "").strip(), assembly == "dimer"
                )

                def report(said: str) -> None:
                    waiting.update(said + " ...")
                    if not said.startswith("building"):
                        console.print(said, markup=False)

                outcome = requests.build_models(asked, out, report)
                rows = [_row(folder, model, outcome.seconds[folder]) for folder, model in outcome.built.items()]
                failures = [{"model": name, "cause": str(error)} for name, error in outcome.failed.items()]
        if outcome is not None and len(failures) == 1 and not rows:
            raise next(iter(outcome.failed.values()))
        if json:
            write_json(document, {"out": str(out), "models": rows, "failures": failures})
        else:
            show(_models_view(rows))
            if rows and outcome is not None:
                print(f"\nquality reports: {out}/*/quality.html")
    if failures:
        raise typer.Exit(FAILURES_LEFT)


@receptors_app.command()
def check(
    structure: Annotated[str, typer.Argument(metavar="FILE|PDBID", help="A PDB or mmCIF file, or an entry.")],
    page: Annotated[Path | None, typer.Option("--page", metavar="HTML", help="Write the report as a page too.")] = None,
    json: JsonOption = False,
) -> None:
    """The quality report of any structure as it is: nothing is built, nothing is moved.

    Exit code 1 if it exceeds a limit, which a crystal with gaps always does; 'receptors build' mends those.

    Examples:

        esr1md receptors check my-model.pdb

        esr1md receptors check 3ERT --page 3ert.html
    """

    with document_output(json) as document:
        from esr1md.receptor.check import check_structure
        from esr1md.receptor.quality_page import write_check_page
        from esr1md.receptor.request import find_start

        start = find_start(structure)
        if start.chain is None:
            raise InputError("'bundled' is not one structure", expected="a file or a PDB id")
        found, measured = check_structure(start)
        if page is not None:
            write_check_page(found, measured, page)
        if json:
            write_json(document, found)
        else:
            show(_check_view(found))
            if page is not None:
                print(f"\npage: {page}")
    if found["quality"]["problems"]:
        raise typer.Exit(NOT_FIT)


def _alone(folder: Path, *others: Any) -> None:
    """``--regenerate`` makes what is bundled and nothing else."""
    plain = (None, None, "bundled", False, None, None, "monomer")
    if tuple(value or None for value in others) != tuple(value or None for value in plain):
        raise InputError(
            "--regenerate makes the bundled models and takes no other option than --out",
            expected="--regenerate PDB_FOLDER --out DIR",
        )
    if not folder.is_dir():
        raise InputError(f"no folder '{folder}'", where="--regenerate", expected="a folder with PDB entries")


def _regenerate(folder: Path, out: Path, waiting: Any) -> list[dict[str, Any]]:
    from esr1md.receptor.regenerate import regenerate_models

    waiting.update("computing the bundled models from their crystals ...")
    document = regenerate_models(folder, out)
    return [
        {"name": name, "folder": str(out / "models"), "variant": entry["variant"], "state": entry["state"],
         "source": f"{entry['entry']} chain {entry['chain']}", "sha256": entry["sha256"],
         "quality": {key: value for key, value in entry["quality"].items() if key != "details"}, "seconds": None}
        for name, entry in document["models"].items()
    ]  # fmt: skip


def _row(folder: Path, model: Any, seconds: float) -> dict[str, Any]:
    from esr1md.specs import file_digest

    return {
        "name": folder.name, "folder": str(folder), "variant": model.variant.name, "state": str(model.state),
        "source": model.source, "sha256": file_digest(model.pdb),
        "quality": {key: value for key, value in model.quality.items() if key != "details"},
        "conserved_water": model.conserved_water, "steps": model.steps, "seconds": round(seconds, 1),
    }  # fmt: skip


def _models_view(rows: list[dict[str, Any]]) -> RenderableType:
    from esr1md.commands.terminal import table_view

    lines = []
    for row in rows:
        quality = row["quality"]
        helix12 = quality["helix12"]
        lines.append({
            "name": row["name"], "residues": quality["residues"],
            "helix12": helix12["state"] if helix12 else "not complete",
            "rama": quality["ramachandran_outliers_percent"], "rota": quality["rotamer_outliers_percent"],
            "clashes": quality["clashes_per_1000_atoms"],
            "quality": "accepted by request" if quality["problems"] else "passes",
            "seconds": None if row["seconds"] is None else round(row["seconds"]),
        })  # fmt: skip
    headings = {"name": "model", "residues": "residues", "helix12": "helix 12", "rama": "Rama\nout %",
                "rota": "rotamer\nout %", "clashes": "clashes\n/1000", "quality": "quality",
                "seconds": "s"}  # fmt: skip
    return table_view("Receptor models", lines, headings)


def _check_view(found: dict[str, Any]) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    from esr1md.commands.terminal import table_view
    from esr1md.receptor.quality import LIMITS, WORDS

    quality = found["quality"]
    lines = []
    for key, limit in LIMITS.items():
        examples = quality["details"].get(key) or quality["details"].get(key.split("_p")[0]) or []
        shown = ", ".join(examples[:3]) + (f" and {len(examples) - 3} more" if len(examples) > 3 else "")
        lines.append({"what": WORDS[key], "found": quality[key], "limit": limit,
                      "verdict": "passes" if quality[key] <= limit else "exceeds", "where": shown})  # fmt: skip
    headings = {"what": "measure", "found": "found", "limit": "limit", "verdict": "", "where": "where"}
    helix12 = quality["helix12"]
    place = (
        f"helix 12 is in the {helix12['state']} state ({helix12['agonist_angstrom']} A from the agonist, "
        f"{helix12['antagonist_angstrom']} A from the antagonist place)"
        if helix12
        else "helix 12 is not complete, so its state cannot be measured"
    )
    fit = "Passes every limit."
    if quality["problems"]:
        fit = "Not fit to be simulated as it is; 'esr1md receptors build --from' makes a model of it."
    return Group(
        Text(f"{found['name']}: {quality['residues']} residues, {place}", style="bold"),
        *(Text(f"  {step}") for step in found["steps"]),
        table_view("", lines, headings),
        Text(fit, style="green" if not quality["problems"] else "yellow"),
    )
