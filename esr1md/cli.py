"""The command line: plan and run screens, read their answers, look things up, check the machine.

Exit codes: 0 done, 2 bad input, 3 finished with failed cells, 130 interrupted, 1 anything else. With ``--json``
standard output holds exactly one JSON document; progress and messages go to standard error.
Rooms are imported inside the commands, so that ``esr1md --help`` answers at once.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer

from esr1md import __version__
from esr1md.commands.bench import bench
from esr1md.commands.dashboard import dashboard
from esr1md.commands.ligands import ligands_app
from esr1md.commands.output import FAILURES_LEFT, JsonOption, document_output, narrated, show, write_json
from esr1md.commands.parameters import parameters as _parameters_command  # noqa: F401  adds itself to "ligands"
from esr1md.commands.poses import pose as _pose_command  # noqa: F401  adds itself to "ligands"
from esr1md.commands.receptors import receptors_app
from esr1md.commands.series import series
from esr1md.commands.status import status
from esr1md.commands.store import store_app
from esr1md.commands.stored import existing_store, stored_ranking
from esr1md.commands.surrogate import surrogate_app
from esr1md.commands.surrogate_propose import propose as _propose_command  # noqa: F401  adds itself to "surrogate"
from esr1md.commands.surrogate_screen import screen as _screen_command  # noqa: F401  adds itself to "surrogate"
from esr1md.commands.validate import coverage, validate
from esr1md.errors import Esr1mdError, InputError

INTERRUPTED = 130

_UsageError = typer.BadParameter.__base__  # of the click that typer uses, its own or the installed one
_ClickException = _UsageError.__base__

app = typer.Typer(
    name="esr1md",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    epilog="Exit codes: 0 done, 2 bad input, 3 finished with failed cells, 130 interrupted, 1 anything else.",
)

app.add_typer(receptors_app, name="receptors")
app.add_typer(ligands_app, name="ligands")
app.add_typer(surrogate_app, name="surrogate")
app.add_typer(store_app, name="store")

StoreOption = Annotated[
    Path,
    typer.Option(
        "--store", "-s", metavar="FOLDER|URL", envvar="ESR1MD_STORE",
        help="Folder, or object store such as s3://bucket/er, that results are kept in and resumed from.",
    ),
]  # fmt: skip
ScreenArgument = Annotated[str, typer.Argument(metavar="NAME|YAML", help="A bundled screen or the path of your own.")]
DEFAULT_STORE = Path("runs")


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
) -> None:
    """Which ER-alpha ligand still binds, and still holds helix 12 out of the active position, once ESR1 is mutated?

    Start here:

        [bold]esr1md doctor[/bold]                what this machine can do

        [bold]esr1md screen quickstart[/bold]     minutes on a laptop: WT and Y537S against four ligands

        [bold]esr1md ligands[/bold]               what a screen can name; [bold]esr1md variants[/bold] likewise

    Your own screen is a YAML file; copy one of [bold]esr1md screens[/bold].
    """
    if version:
        print(f"esr1md {__version__}")
        raise typer.Exit


# -- screens ----------------------------------------------------------------------------------------------


@app.command()
def screen(
    config: ScreenArgument,
    store: StoreOption = DEFAULT_STORE,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check and plan everything, compute nothing.")] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="Run at most N of the replicas that are not done.")] = None,
    platform: Annotated[
        str | None, typer.Option(help="OpenMM platform, instead of the screen's own: CUDA, OpenCL, CPU or auto.")
    ] = None,
    site: Annotated[
        str | None,
        typer.Option(metavar="NAME|YAML", help="Where to run, instead of the screen's own; see 'esr1md sites'."),
    ] = None,
    retry: Annotated[bool, typer.Option("--retry", help="Compute again what failed before.")] = False,
    price: Annotated[
        str | None,
        typer.Option(help="Of an hour, for the estimate: '2.50 USD per GPU hour', '0.04 EUR per core hour'."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Run a screen: prepare, simulate, score, rank, report. What an earlier run finished is not computed again.

    Examples:

        esr1md screen quickstart --dry-run

        esr1md screen my-screen.yaml --store /data/er --limit 4

        esr1md screen reference --platform CUDA --json > ranking.json

        esr1md screen reference --site my-slurm.yaml --store /shared/er
    """
    from esr1md.catalogue import load_flow, named_file
    from esr1md.config import load_screen, read_price

    path = named_file("screens", config).resolve()
    settings = load_screen(path)
    settings = settings if site is None else settings.on_site(site)
    asked_price = None if price is None else read_price(price, "--price")
    with document_output(json) as out:
        from esr1md.commands.run_display import announce, progress
        from esr1md.screen.plan import plan_screen
        from esr1md.store import Store

        with narrated("planning ...") as report:
            plan = plan_screen(settings, store, limit=limit, platform=platform, price=asked_price, report=report)
        announce(plan)
        if dry_run:
            _show_plan(plan, json, out)
            return
        flow = load_flow()
        with progress(Store(plan.store_root), plan.name):
            options = {"site": site and plan.config.site, "limit": limit, "platform": platform, "retry": retry}
            flow.run_screen_flow(str(path), str(plan.store_root), **options)
        ranking = stored_ranking(plan.store_root, plan.name)
        _show_ranking(ranking, plan.store_root, json, out)
    if any(failure.kind == "error" for failure in ranking.failures):
        raise typer.Exit(FAILURES_LEFT)


app.command()(status)


@app.command()
def rank(
    name: Annotated[
        str | None, typer.Argument(metavar="[SCREEN]", help="Which screen, if the store has several.")
    ] = None,
    store: StoreOption = DEFAULT_STORE,
    details: Annotated[bool, typer.Option("--details", help="Every mutant - WT comparison, however many.")] = False,
    json: JsonOption = False,
) -> None:
    """The ranking of a screen that has run, wholly or in part, with intervals and verdicts."""
    with document_output(json) as out:
        _show_ranking(stored_ranking(store, name), existing_store(store), json, out, details=details)


@app.command()
def report(
    name: Annotated[
        str | None, typer.Argument(metavar="[SCREEN]", help="Which screen, if the store has several.")
    ] = None,
    store: StoreOption = DEFAULT_STORE,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The HTML file to write.")] = None,
    json: JsonOption = False,
) -> None:
    """Write the report of a screen again: one HTML file that opens anywhere, offline."""
    from esr1md.report.page import write_report

    with document_output(json) as document:
        ranking, root = stored_ranking(store, name), existing_store(store)
        path = write_report(ranking, root, out or root / "screens" / ranking.screen / "report.html")
        if json:
            write_json(document, {"screen": ranking.screen, "report": str(path.absolute())})
        else:
            print(path)


# -- looking things up ------------------------------------------------------------------------------------


@app.command()
def variants(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[show] [VARIANT]...", help="Only these; any notation.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """ESR1 mutations with what is known of them. Any point mutation of residues 306-550 can be screened.

    Examples:

        esr1md variants

        esr1md variants show Y537S

        esr1md variants p.Tyr537Ser D538G+F404L
    """
    if names and names[0] == "show":
        names = names[1:]
        if not names:
            raise InputError("'variants show' names no variant", expected="esr1md variants show Y537S")
    from dataclasses import asdict

    from esr1md.receptor.sequence import parse_variant
    from esr1md.receptor.variants import variant_entries

    with document_output(json) as out:
        known = {entry.name: asdict(entry) | {"buildable": entry.buildable} for entry in variant_entries()}
        wanted = [parse_variant(name).name for name in names] if names else list(known)
        rows = [known.get(name) or _uncatalogued_variant(name) for name in wanted]
        if json:
            write_json(out, rows)
        else:
            from esr1md.commands.terminal import variants_view

            show(variants_view(rows, details=bool(names)))


@app.command()
def screens(json: JsonOption = False) -> None:
    """The bundled screens and where their YAML files are, to copy and change."""
    from esr1md.config import load_screen

    _list_configs("screens", load_screen, json)


@app.command()
def protocols(json: JsonOption = False) -> None:
    """The bundled simulation protocols and where their YAML files are, to copy and change."""
    from esr1md.dynamics.protocol import load_protocol

    _list_configs("protocols", load_protocol, json)


@app.command()
def sites(json: JsonOption = False) -> None:
    """The bundled sites (where a screen can run) and where their YAML files are, to copy and change."""
    from esr1md.config import load_site

    _list_configs("sites", load_site, json)


@app.command()
def doctor(store: StoreOption = DEFAULT_STORE, json: JsonOption = False) -> None:
    """What this machine can do, and what to do about what it cannot. Exit code 1 if something must be mended."""
    from esr1md.commands.terminal import doctor_view, stderr_console
    from esr1md.doctor import diagnose

    with document_output(json) as out:
        console = stderr_console()
        with console.status("looking at this machine ...") as waiting:
            found = diagnose(store, report=lambda done: waiting.update(f"looked at {done} ..."))
        if json:
            write_json(out, found)
        else:
            show(doctor_view(found))
    if found["status"] == "problem":
        raise typer.Exit(1)


app.command()(bench)
app.command()(dashboard)
app.command()(series)
app.command()(validate)
app.command()(coverage)


# -- helpers ----------------------------------------------------------------------------------------------


def _list_configs(folder: str, load: Any, json: bool) -> None:
    from esr1md.catalogue import named_file, names
    from esr1md.commands.terminal import table_view

    with document_output(json) as out:
        rows = []
        for name in names(folder):
            path = named_file(folder, name)
            rows.append({"name": name, "description": load(name).description, "file": str(path)})
        if json:
            write_json(out, rows)
        else:
            show(table_view("", rows, {"name": "name", "description": "what it is", "file": "file"}))


def _uncatalogued_variant(name: str) -> dict[str, Any]:
    """The row of a variant that the catalogue does not list; raises if no model can be built of it."""
    from esr1md.receptor.build import check_buildable
    from esr1md.receptor.sequence import parse_variant

    check_buildable(parse_variant(name))
    return {"name": name, "type": "not catalogued", "region": "", "frequencies": (), "mechanisms": (),
            "confidence": "", "notes": ("valid; can be screened",), "not_buildable": "", "buildable": True}  # fmt: skip


def _show_plan(plan: Any, json: bool, out: TextIO) -> None:
    from esr1md.commands.plan_view import plan_view, write_plan_json

    if json:
        write_plan_json(plan, out)
    else:
        show(plan_view(plan))


def _show_ranking(ranking: Any, store: Path, json: bool, out: TextIO, *, details: bool = False) -> None:
    from esr1md.commands.terminal import ranking_view

    if json:
        write_json(out, ranking.model_dump(mode="json"))
        return
    show(ranking_view(ranking, details=details))
    written = store / "screens" / ranking.screen / "report.html"
    if written.is_file():
        print(f"\nreport: {written}")
        table = Path(written).with_name("free_energies.csv")
        if table.is_file():
            print(f"helix-12 free energies: {table} (a page for each cell beside it)")


def main(arguments: list[str] | None = None) -> int:
    """Run a command and return its exit code; every error becomes one line on standard error.

    ``ESR1MD_TRACEBACK=1`` shows where an unexpected error came from.
    """
    try:
        answer = app(args=arguments, prog_name="esr1md", standalone_mode=False)
        code = answer if isinstance(answer, int) else 0
        if code == INTERRUPTED:  # typer turns ^C into this exit code
            _say("interrupted; what is finished is kept, run the same command again to go on")
        return code
    except _ClickException as error:
        context = getattr(error, "ctx", None)
        help_of = f"; see '{context.command_path} --help'" if context else ""
        _say(f"error: {error.format_message().rstrip('.')}{help_of}")
        return error.exit_code
    except Esr1mdError as error:
        _traceback()
        _say(f"error: {error}")
        return error.exit_code
    except Exception as error:
        if not _traceback():
            first = (str(error).strip().splitlines() or ["no message"])[0]
            _say(f"unexpected error: {type(error).__name__}: {first} (ESR1MD_TRACEBACK=1 shows where)")
        return 1


def _traceback() -> bool:
    if os.environ.get("ESR1MD_TRACEBACK", "") in ("", "0"):
        return False
    import traceback

    traceback.print_exc()
    return True


def _say(line: str) -> None:
    print(line, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
