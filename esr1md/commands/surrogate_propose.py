"""``esr1md surrogate propose`` and ``explore``: which ligands to simulate next, once or round after round."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from esr1md.commands.output import FAILURES_LEFT, JsonOption, document_output, narrated, show, write_json
from esr1md.commands.surrogate import surrogate_app

#: Ligands that a view lists; the file has all of them.
MOST_SHOWN = 20


class ObjectiveName(StrEnum):
    BINDING = "binding"
    HELIX12 = "helix12"


class ByName(StrEnum):
    MIX = "mix"
    EXPECTED_IMPROVEMENT = "expected-improvement"
    UNCERTAINTY = "uncertainty"


StoreOption = Annotated[
    Path, typer.Option("--store", "-s", envvar="ESR1MD_STORE", help="Folder that results are kept in and resumed from.")
]
HoursOption = Annotated[
    float, typer.Option("--gpu-hours", help="May be spent: hours of one GPU, or of this machine where it has none.")
]
NameOption = Annotated[str | None, typer.Option("--name", help="Of the exploration, if not the screen's.")]
CandidatesOption = Annotated[
    Path | None,
    typer.Option("--candidates", "-c", help="A .smi, .csv or .sdf file, or a prepared library's ligands.csv, to choose "
                 "from. Without it: the catalogue."),
]  # fmt: skip
WithCatalogueOption = Annotated[
    bool, typer.Option("--with-catalogue", help="Choose from the catalogue as well as from the file.")
]
ObjectiveOption = Annotated[
    ObjectiveName,
    typer.Option(help="What is looked for: low binding energies, or helix 12 far from the active place."),
]
ByOption = Annotated[ByName, typer.Option(help="How a candidate is valued.")]
TopOption = Annotated[int, typer.Option(min=1, help="How many of the best ligands are looked for.")]
BatchOption = Annotated[int, typer.Option(min=1, help="New ligands of a round at most.")]
ReplicasOption = Annotated[int | None, typer.Option(min=1, help="Of each cell. Without it: as the screen.")]
VariantOption = Annotated[
    list[str] | None,
    typer.Option("--variant", "-v", help="Simulate these variants instead of the screen's; may be repeated."),
]
DiversityOption = Annotated[
    float, typer.Option(min=0, max=1, help="How much ligands that resemble each other are avoided.")
]


@surrogate_app.command()
def propose(
    screen: Annotated[str, typer.Argument(metavar="SCREEN", help="A screen that has run in the store.")],
    gpu_hours: HoursOption,
    store: StoreOption = Path("runs"),
    name: NameOption = None,
    candidates: CandidatesOption = None,
    with_catalogue: WithCatalogueOption = False,
    objective: ObjectiveOption = ObjectiveName.BINDING,
    by: ByOption = ByName.MIX,
    top: TopOption = 5,
    batch: BatchOption = 10,
    replicas: ReplicasOption = None,
    variant: VariantOption = None,
    diversity: DiversityOption = 0.25,
    seed: Annotated[int, typer.Option(min=0, help="Of the surrogate.")] = 0,
    json: JsonOption = False,
) -> None:
    """Which ligands to simulate next, and why: a screen to run, within a budget.

    The surrogate is trained on what the store holds and predicts every candidate in every variant. Each is valued by
    expected improvement over the best TOP, by uncertainty, or by a mix; ligands that resemble one chosen already give
    way. Where the surrogate has too little to learn from, or no skill, the proposal is by diversity alone and says so.

    STORE/explore/NAME/round-N.yaml is the screen, round-N.json the reasons. Run the screen and propose again: the next
    round knows its results. A proposal that was not run is replaced.

    Examples:

        esr1md surrogate propose quickstart --gpu-hours 2

        esr1md surrogate propose my-screen --gpu-hours 24 --candidates hits.csv --by expected-improvement --json

        esr1md screen runs/explore/quickstart/round-1.yaml
    """
    from esr1md.commands.stored import existing_store
    from esr1md.explore.candidates import candidate_pool
    from esr1md.explore.question import Exploration
    from esr1md.explore.rounds import advance
    from esr1md.store import Store

    with document_output(json) as document:
        exploration = Exploration(
            name or screen, screen, gpu_hours, objective=str(objective), by=str(by), top=top, batch=batch,
            replicas=replicas, variants=tuple(variant or ()), diversity=diversity, seed=seed,
        )  # fmt: skip
        kept = Store(existing_store(store))
        with narrated("reading the candidates ...") as report:
            found, left_out = candidate_pool(candidates, with_catalogue, report)
            step = advance(kept, exploration, found, left_out, report=report)
        record = step.record | {"screen_file": str(step.screen) if step.screen else None}
        if json:
            write_json(document, record)
        else:
            show(_proposal_view(record))


@surrogate_app.command()
def explore(
    config: Annotated[
        str, typer.Argument(metavar="NAME|YAML", help="The screen to begin with: a bundled one or your own.")
    ],
    gpu_hours: HoursOption,
    store: StoreOption = Path("runs"),
    name: NameOption = None,
    candidates: CandidatesOption = None,
    with_catalogue: WithCatalogueOption = False,
    objective: ObjectiveOption = ObjectiveName.BINDING,
    by: ByOption = ByName.MIX,
    top: TopOption = 5,
    target: Annotated[
        float | None,
        typer.Option(help="Stop when the 95 % interval of each of the best TOP is at most so much to either side "
                     "(kcal/mol; angstrom for helix12)."),
    ] = None,
    batch: BatchOption = 4,
    replicas: ReplicasOption = None,
    variant: VariantOption = None,
    diversity: DiversityOption = 0.25,
    platform: Annotated[str | None, typer.Option(help="OpenMM platform, instead of the screen's own.")] = None,
    json: JsonOption = False,
) -> None:  # fmt: skip
    """Simulate, train and propose in turn, until budget, target interval or candidates are exhausted.

    Interrupt it or kill it: the same command goes on where it was. A round that was decided is not decided again, and
    no replica is computed twice; a larger --gpu-hours goes on with an exploration that had spent its own.

    Examples:

        esr1md surrogate explore quickstart --gpu-hours 2

        esr1md surrogate explore my-screen.yaml --gpu-hours 100 --candidates hits.csv --target 1.5
    """
    with document_output(json) as document:
        from esr1md.catalogue import load_flow
        from esr1md.commands.run_display import progress
        from esr1md.commands.terminal import stderr_console
        from esr1md.store import Store

        console, kept = stderr_console(), Store(store)
        parameters: dict[str, Any] = {
            "config": config, "gpu_hours": gpu_hours, "store": str(store), "name": name,
            "candidates": str(candidates) if candidates else None, "with_catalogue": with_catalogue,
            "objective": str(objective), "by": str(by), "top": top, "target": target, "batch": batch,
            "replicas": replicas, "variants": variant, "diversity": diversity, "platform": platform,
        }  # fmt: skip
        summary = load_flow("explore").run_explore_flow(
            parameters,
            report=lambda said: console.print(said, soft_wrap=True, markup=False),
            display=lambda screen: progress(kept, screen),
        )
        if json:
            write_json(document, summary)
        else:
            show(_summary_view(summary))
    if summary["failed"]:
        raise typer.Exit(FAILURES_LEFT)


def _proposal_view(record: dict[str, Any]) -> Any:
    """The decision: what it goes by, what to run, why each."""
    from rich.console import Group
    from rich.text import Text

    from esr1md.commands.terminal import duration, table_view

    lines: list[Any] = [Text(record["why"], style="bold"), *(Text(said, style="yellow") for said in record["limits"])]
    budget = record["budget"]
    how = "measured in this store" if budget["measured"] else "estimated"
    lines.append(Text(f"a replica takes {duration(budget['replica_seconds'])} ({how}), {budget['at_once']} at once; "
                      f"{budget['counted']} are counted", style="dim"))  # fmt: skip
    if record["left_out"]:
        first = record["left_out"][0]
        lines.append(Text(f"left out: {len(record['left_out'])}, such as {first['name']}: {first['reason']}",
                          style="dim"))  # fmt: skip
    if record["kind"] == "stop":
        return Group(*lines)
    rows = [
        {"ligand": entry["ligand"], "hours": f"{entry['gpu_hours']:.3g}" if "gpu_hours" in entry else "",
         "why": entry["why"]}
        for entry in record["chosen"][:MOST_SHOWN]
    ]  # fmt: skip
    lines += [Text(), table_view("", rows, {"ligand": "ligand", "hours": "GPU-hours", "why": "why"})]
    if len(record["chosen"]) > MOST_SHOWN:
        lines.append(Text(f"and {len(record['chosen']) - MOST_SHOWN} more", style="dim"))
    path = record["screen_file"]
    lines.append(Text(f"\nreasons: {Path(path).with_suffix('.json')}\nrun it:  esr1md screen {path}"))
    return Group(*lines)


def _summary_view(summary: dict[str, Any]) -> Any:
    """Why it stopped, the rounds, the ligands as they stand."""
    from rich.console import Group
    from rich.text import Text

    from esr1md.commands.terminal import table_view

    rounds = [{"round": each["round"], "hours": f"{each['round_gpu_hours']:.3g}", "why": each["why"]}
              for each in summary["rounds"]]  # fmt: skip
    ligands = [
        {"ligand": each["ligand"], "value": f"{each['value']:.1f}",
         "half": "one replica" if each["half_width"] is None else f"+- {each['half_width']:.1f}"}
        for each in summary["ligands"][:MOST_SHOWN]
    ]  # fmt: skip
    value = f"{summary['objective']}, {summary['unit']}"
    parts: list[Any] = [
        Text(summary["why"], style="bold"),
        Text(f"{summary['spent_gpu_hours']:.3g} of {summary['gpu_hours']:.3g} GPU-hours spent, {summary['replicas']} "
             f"replicas, {summary['failed']} failed"),
        *(Text(said, style="yellow") for said in summary["limits"]),
        Text(),
    ]  # fmt: skip
    if rounds:
        parts += [table_view("", rounds, {"round": "round", "hours": "GPU-hours", "why": "what and why"}), Text()]
    parts += [table_view("", ligands, {"ligand": "ligand", "value": value, "half": "95 %"}),
              Text(f"\n{summary['folder']}/summary.json\nranking: esr1md rank {summary['screen']}")]  # fmt: skip
    return Group(*parts)
