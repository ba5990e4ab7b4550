"""``esr1md series``: a series of measured compounds, scored and compared with what was measured."""

from __future__ import annotations

import json as json_module
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from esr1md.commands.output import FAILURES_LEFT, JsonOption, document_output, show, write_json
from esr1md.errors import InputError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from esr1md.poses.request import Place
    from esr1md.specs import HelixState

#: Seconds between two lines of progress where the output is no terminal.
SAY_S = 20.0


def series(
    table: Annotated[Path, typer.Argument(metavar="FILE", help="A CSV with SMILES and measured affinities.")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder for poses, energies and results, gone on with "
                                             "if it is there. Without it: series-FILE here.")] = None,
    state: Annotated[str | None, typer.Option("--state", metavar="STATE", help="Helix-12 state: agonist, antagonist or "
                                              "displaced. With --receptor only where its helix 12 is incomplete.")
                     ] = None,
    receptor: Annotated[Path | None, typer.Option("--receptor", metavar="FILE", help="Score in this PDB or mmCIF file "
                                                  "instead of the model of the state.")] = None,
    variant: Annotated[str, typer.Option("--variant", "-v", metavar="VARIANT", help="Of the model: WT, Y537S ...")
                       ] = "WT",
    value_column: Annotated[str | None, typer.Option(help="Column of the measured values.")] = None,
    value_kind: Annotated[str | None, typer.Option(metavar="KIND", help="What they are: dG (kcal/mol), dG-kJ, pK, nM, "
                                                   "uM or M. Taken from the column's name where that says it.")] = None,
    smiles_column: Annotated[str | None, typer.Option(help="Column of the SMILES.")] = None,
    name_column: Annotated[str | None, typer.Option(help="Column of the names.")] = None,
    group_column: Annotated[str | None, typer.Option(help="Column of the series or assay: compounds are compared "
                                                     "within it only.")] = None,
    only: Annotated[list[str] | None, typer.Option("--only", metavar="COLUMN=VALUE", help="Rows where this holds (may "
                                                   "be repeated).")] = None,
    beside: Annotated[list[str] | None, typer.Option("--beside", metavar="COLUMN", help="Another prediction in the "
                                                     "file to compare with, lower is stronger (repeatable).")] = None,
    exclude: Annotated[list[str] | None, typer.Option("--exclude", metavar="NAME", help="Do not use the crystal pose "
                                                      "of this ligand or PDB id (may be repeated).")] = None,
    poses: Annotated[int, typer.Option(min=1, max=5, help="Poses of each compound, in the binding mode of the series, "
                                       "that are relaxed; the lowest counts.")] = 1,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first N usable rows.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, max=256, help="Processes. Without it: one for each CPU core.")
                       ] = None,
    platform: Annotated[str, typer.Option(help="OpenMM platform: CUDA, OpenCL, CPU or auto.")] = "auto",
    retry: Annotated[bool, typer.Option("--retry", help="Try again what failed before.")] = False,
    json: JsonOption = False,
) -> None:  # fmt: skip
    """Score a series of compounds; say how well that agrees with experiment, and whether costless guesses do better.

    Each compound is posed in one receptor, in every form that 10 % of it or more takes at pH 7.4. Its best pose in the
    binding mode that suits the whole series best is relaxed in its complex and scored by MM/GBSA with the ligand's
    strain. Beside it: molecular weight, cLogP, heavy atoms, and Vina's score of the same pose.

    OUT holds results.json, results.csv and series.html. Interrupt it or kill it: the same command goes on where it
    stopped. A compound takes about two minutes of one CPU core.

    Examples:

        esr1md series hits.csv --state antagonist --out hits

        esr1md series assays.csv --receptor 1X7E.pdb --only assay=CHEMBL832786 --value-column Ki_nM --out benzofurans

        esr1md series all.csv --state antagonist --group-column assay --out all --workers 8 --json > all.json

    Exit codes: 0 every compound is scored, 3 some are not, 2 bad input.
    """

    with document_output(json) as document:
        from esr1md.commands.terminal import stderr_console
        from esr1md.dynamics.platforms import choose_platform
        from esr1md.ligand.affinity_table import read_table
        from esr1md.poses.request import check_excluded
        from esr1md.series import run
        from esr1md.series.compare import compared, results_csv
        from esr1md.series.compounds import compounds_of
        from esr1md.series.page import series_page
        from esr1md.store.locks import only_run
        from esr1md.workers import usable_cores

        out = out or Path(f"series-{table.stem}")
        wanted = _state(state)
        if wanted is None and receptor is None:
            raise InputError("say where the compounds bind",
                             expected="--state agonist, antagonist or displaced, or --receptor FILE")  # fmt: skip
        if receptor is not None and variant != "WT":
            raise InputError("a structure file is taken with its own residues",
                             expected="--variant without --receptor",
                             do="build the variant: esr1md receptors build --from FILE --variant ...")  # fmt: skip
        read = read_table(
            table, smiles_column=smiles_column, name_column=name_column, value_column=value_column,
            value_kind=value_kind, group_column=group_column, beside=beside or (), only=only or (),
        )  # fmt: skip
        check_excluded(tuple(exclude or ()))
        with _shown() as report:
            compounds, refused = compounds_of(read.rows[:limit], report)
        if not compounds:
            raise InputError(f"no compound can be prepared: {refused[0].reason}", where=f"{table}:{refused[0].line}")
        _check_out(out)
        with only_run(out, "esr1md series"):
            with stderr_console().status("preparing the receptor ..."):
                place = _place(wanted, receptor, variant, out)
            setting = run.setting_of(place, out, choose_platform(platform, threads=1), exclude=exclude or (),
                                     retry=retry, poses=poses)  # fmt: skip
            with _shown() as report:
                results, modes = run.compute(compounds, setting, workers or usable_cores(), report)
            answer = {
                "out": str(out),
                "source": str(table),
                "receptor": {"file": str(receptor) if receptor else None, "state": str(place.state),
                             "steps": list(place.steps)},
                "notes": list(read.notes),
                "left_out": [{"line": row.line, "name": row.name, "reason": row.reason}
                             for row in sorted((*read.left_out, *refused), key=lambda row: row.line)],
                "modes": {name: {"scaffold": mode.scaffold, "atoms": mode.n_atoms} for name, mode in modes.items()},
                "comparison": compared(compounds, results),
                "compounds": [{"name": c.name, "series": c.series, "smiles": c.smiles, "lines": list(c.lines),
                               "measured_dg_kcal": c.dg_kcal, "nulls": c.nulls,
                               "beside": {k: v if v == v else None for k, v in c.beside.items()}, **r}
                              for c, r in zip(compounds, results, strict=True)],
            }  # fmt: skip
            (out / "results.json").write_text(json_module.dumps(answer, indent=1, allow_nan=False))
            (out / "results.csv").write_text(results_csv(compounds, results), encoding="utf-8")
            title = f"{table.name} in the {place.state} state"
            (out / "series.html").write_text(series_page(title, compounds, results, answer), encoding="utf-8")
        if json:
            write_json(document, answer)
        else:
            show(_view(answer, out))
    if refused or any(result["score"] is None for result in results):
        raise typer.Exit(FAILURES_LEFT)


def _state(text: str | None) -> HelixState | None:
    from esr1md.catalogue import did_you_mean
    from esr1md.specs import HelixState

    if text is None:
        return None
    known = [str(state) for state in HelixState]
    if text.strip().lower() not in known:
        raise InputError(f"unknown helix-12 state '{text}'", where="--state", expected=", ".join(known),
                         do=did_you_mean(text, known))  # fmt: skip
    return HelixState(text.strip().lower())


def _place(state: HelixState | None, receptor: Path | None, variant: str, out: Path) -> Place:
    """The receptor in ``OUT/receptor``, made once; an output folder is of one receptor."""
    from esr1md.poses.request import Place, file_place, model_place
    from esr1md.specs import HelixState, file_digest, numeric_versions

    folder = out / "receptor"
    asked = {
        "state": str(state) if state else None, "variant": variant,
        "file": _digest(file_digest, receptor) if receptor is not None else None, "versions": numeric_versions(),
    }  # fmt: skip
    record = folder / "place.json"
    if record.is_file():
        found = json_module.loads(record.read_text())
        if found["asked"] != asked:
            raise InputError("this folder holds a series scored in another receptor, or with other package versions",
                             where=str(out), do="use another --out")  # fmt: skip
        return Place(folder / found["pdb"], HelixState(found["state"]), tuple(found["steps"]))
    folder.mkdir(parents=True, exist_ok=True)
    place = file_place(receptor, None, folder) if receptor is not None else model_place(variant, state, folder)
    if receptor is not None and state is not None and place.state != state:
        incomplete = any("helix 12 is not complete" in step for step in place.steps)
        if not incomplete:
            raise InputError(f"helix 12 of '{receptor}' is in the {place.state} state, not {state}", where="--state",
                             do="leave --state out, or give another file")  # fmt: skip
        place = Place(place.pdb, state, place.steps)
    made = {"asked": asked, "pdb": place.pdb.name, "state": str(place.state), "steps": list(place.steps)}
    record.write_text(json_module.dumps(made, indent=1))
    return place


def _digest(file_digest: Callable[[Path], str], path: Path) -> str:
    try:
        return file_digest(path)
    except OSError as error:
        raise InputError(f"'{path}' cannot be read ({error.strerror})", where="--receptor",
                         expected="a PDB or mmCIF file") from error  # fmt: skip


def _check_out(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        known = {".lock", "receptor", "store", "energies", "logs", "results.json", "results.csv", "series.html"}
        if any(path.name not in known for path in out.iterdir()):
            raise InputError(f"'{out}' holds something else than a series", where="--out",
                             expected="a new folder, or that of an earlier run")  # fmt: skip
    except OSError as error:
        raise InputError(f"cannot write to '{out}' ({error.strerror})", where="--out",
                         expected="a folder you may write to") from None  # fmt: skip


@contextmanager
def _shown() -> Iterator[Callable[[str, int, int], None]]:
    """Progress on standard error: one live line on a terminal, else a line now and then."""
    import time

    from rich.text import Text

    from esr1md.commands.terminal import duration, stderr_console

    console = stderr_console()
    begun: dict[str, float] = {}

    def words(step: str, done: int, total: int) -> str:
        started = begun.setdefault(step, time.monotonic())
        text = f"{step}: {done} of {total}"
        if 0 < done < total:
            text += f", about {duration((time.monotonic() - started) * (total - done) / done)} left"
        return text

    if console.is_terminal:
        with console.status(Text("beginning ...")) as waiting:
            yield lambda *said: waiting.update(Text(words(*said)))
        return
    last = 0.0

    def say(step: str, done: int, total: int) -> None:
        nonlocal last
        text = words(step, done, total)
        if time.monotonic() - last > SAY_S or done == total:
            console.print(Text(text), soft_wrap=True)
            last = time.monotonic()

    yield say


def _view(answer: dict[str, Any], out: Path) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    from esr1md.commands.terminal import table_view
    from esr1md.series.page import estimate_text

    comparison = answer["comparison"]
    rows = []
    for row in comparison["scores"]:
        several = len(row["series"]) > 1
        for label, found in [("", row["pooled"]), *(row["series"].items() if several else ())]:
            against = row.get("ours_less_this") if not label else None
            rows.append({
                "score": f"  {label}" if label else row["score"], "n": found["n"], "tau": estimate_text(found["tau"]),
                "r": estimate_text(found["r"]), "rmse": estimate_text({**found["rmse"], "unsigned": True}),
                "less": estimate_text(against["tau"]) if against else "",
                "verdict": against["verdict"] if against else "",
            })  # fmt: skip
    parts: list[RenderableType] = [Text(comparison["headline"], style="bold"), Text()]
    parts.append(table_view("Agreement with experiment, 95 % intervals", rows, {
        "score": "score", "n": "n", "tau": "Kendall's tau", "r": "Pearson's r", "rmse": "centred RMSE\nkcal/mol",
        "less": "tau: ours\nless this", "verdict": "ours is",
    }))  # fmt: skip
    if comparison["spread_kcal"] is not None:
        parts.append(Text(f"A constant would have a centred RMSE of {comparison['spread_kcal']:.2f}.", style="dim"))
    parts += [Text(note) for note in answer["notes"]]
    failed = [row for row in answer["compounds"] if row["score"] is None]
    bad = [{"name": row["name"], "why": f"line {row['line']}: {row['reason']}"} for row in answer["left_out"]]
    bad += [{"name": row["name"], "why": "; ".join(row["failures"])} for row in failed]
    if bad:
        parts += [Text(), table_view(f"{len(bad)} not compared", bad[:30], {"name": "name", "why": "why"})]
    parts.append(Text(f"\n{out}"))
    return Group(*parts)
