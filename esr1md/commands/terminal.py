"""What the command line shows: tables that fit 100 columns and say when the noise is too large to decide."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from esr1md.scoring.scores import Failure, Ranking, Score, Verdict

VERDICT_STYLE = {
    Verdict.RETAINED: "bold green",
    Verdict.WEAKENED: "bold yellow",
    Verdict.LOST: "bold red",
    Verdict.CANNOT_TELL: "dim",
}
STATUS_STYLE = {"ok": "green", "warn": "yellow", "problem": "bold red", "absent": "dim"}
OUTCOME_STYLE = {"agrees": "green", "contradicts": "bold red", "cannot tell": "dim", "not run": "dim"}
#: Beside a ligand on the Pareto front.
FRONT = "\u25c6"
#: More comparisons than this are left to the report and to ``--json``.
MOST_COMPARISONS = 24
MOST_FAILURES = 8
#: Width of tables where the output is no terminal (a file, a log).
PLAIN_WIDTH = 100


def stdout_console() -> Console:
    """Console for results; 100 columns where the output is not a terminal."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=PLAIN_WIDTH)


def stderr_console() -> Console:
    """Console for progress and messages, so that standard output holds results only."""
    console = Console(stderr=True, highlight=False)
    return console if console.is_terminal else Console(stderr=True, highlight=False, width=PLAIN_WIDTH)


def ranking_view(ranking: Ranking, *, details: bool = False) -> RenderableType:
    """The answer of a screen: controls first, headline, ranking, mutants, helix 12, controls, failures, limits."""
    from esr1md.report.caveats import controls_in_words
    from esr1md.report.words import headline

    answer = headline(ranking)
    head = Text.assemble((answer.title, "bold"), "\n", (answer.detail, "")) if answer.detail else Text(answer.title)
    parts: list[RenderableType] = [*_disbelief(ranking)]
    if ranking.controls:
        parts.append(Text(f"Controls first: {controls_in_words(ranking)} (below)", style="dim"))
    parts += [head, Text()]
    for state in dict.fromkeys(line.state for line in ranking.ranking):
        parts += [_ranked_table(ranking, state), *_notes(ranking, state), Text()]
    if ranking.ranking:
        parts += [*_key(ranking), Text()]
    if ranking.comparisons and (details or len(ranking.comparisons) <= MOST_COMPARISONS):
        parts += [*_comparisons(ranking), Text()]
    elif ranking.comparisons:
        parts += [
            Text(f"{len(ranking.comparisons)} mutant - WT comparisons: add --details, or see the report."),
            Text(),
        ]
    parts += _helix12(ranking, details)
    parts += [*_controls(ranking), *_failures(ranking), *_limits(ranking)]
    return Group(*parts)


def table_view(title: str, rows: Sequence[dict[str, Any]], columns: dict[str, str]) -> RenderableType:
    """A table of ``rows``; ``columns`` maps a key of the rows to its heading. Numbers go to the right."""
    table = _table(title or None)
    for key, heading in columns.items():
        numeric = bool(rows) and all(isinstance(row.get(key), int | float | None) for row in rows)
        table.add_column(heading, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text("" if row.get(key) is None else str(row[key])) for key in columns))
    return table


def variants_view(rows: Sequence[dict[str, Any]], *, details: bool = False) -> RenderableType:
    """Catalogued variants, one line each, or everything known of a few."""
    if not details:
        lines = []
        for row in rows:
            does = Text(row["mechanisms"][0]["text"] if row["mechanisms"] else "")
            if row["not_buildable"]:
                does = Text(f"not screened: {row['not_buildable']}", style="yellow")
            lines.append((Text(row["name"]), Text(row["region"].partition(" (")[0].partition(",")[0]), does))
        return Group(
            _one_line_table(("variant", "region", "what it does"), lines, whole=2),
            Text("'esr1md variants NAME' shows everything known of one, with sources", style="dim"),
        )
    parts: list[RenderableType] = []
    for row in rows:
        parts.append(Text.assemble((row["name"], "bold"), f"  {row['type']}  {row['region']}"))
        for entry in row["mechanisms"]:
            parts.append(Text.assemble(f"  {entry['text']} ", (f"({entry['source']})", "dim")))
        for entry in row["frequencies"]:
            source = (f"({entry['source']})", "dim")
            parts.append(Text.assemble(f"  frequency: {entry['value']} {entry['context']} ", source))
        if row["not_buildable"]:
            parts.append(Text(f"  not screened: {row['not_buildable']}", style="yellow"))
        parts += [*(Text(f"  {note}") for note in row["notes"]), Text()]
    return Group(*parts)


def ligands_view(rows: Sequence[dict[str, Any]], *, details: bool = False) -> RenderableType:
    """Catalogued ligands, one line each, or everything known of a few."""
    if not details:
        lines = []
        for row in rows:
            structure = Text(row["confidence"]) if row["simulated"] else Text("none", style="yellow")
            known = Text(row["approval"]) if row["simulated"] else Text(row["not_simulated"], style="yellow")
            lines.append((Text(row["name"]), Text(row["drug_class"]), structure, known))
        return Group(
            _one_line_table(("ligand", "class", "structure", "approval, or why it is not screened"), lines, whole=3),
            *_label_lines((row["name"], row["labels"]) for row in rows),
            Text("'esr1md ligands NAME' shows everything known of one", style="dim"),
        )
    parts: list[RenderableType] = []
    for row in rows:
        names = f"  ({', '.join(row['synonyms'])})" if row["synonyms"] else ""
        parts.append(Text.assemble((row["name"], "bold"), f"  {row['drug_class']}{names}"))
        entries = ", ".join(f"{entry['id']} {entry['receptor']}".strip() for entry in row["pdb"])
        for heading, value in (
            ("approval", row["approval"]), ("simulated", row["simulated_smiles"] or row["not_simulated"]),
            ("protonation", row["protonation"]), ("structures", entries), ("source", row["source"]),
            ("confidence", row["confidence"]), ("labels", "; ".join(row["labels"])), ("notes", row["notes"]),
        ):  # fmt: skip
            if value:
                parts.append(Text.assemble((f"  {heading:<12}", "dim"), value))
        parts.append(Text())
    return Group(*parts)


def doctor_view(diagnosis: dict[str, Any]) -> RenderableType:
    """The diagnosis as a table, problems with what to do about them."""
    table = _table(f"esr1md {diagnosis['esr1md']} on {diagnosis['machine']}")
    table.add_column("check", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("found", overflow="fold")
    for check in diagnosis["checks"]:
        found = Text(check["found"])
        if check["do"]:
            found.append(f"\n-> {check['do']}", style="yellow" if check["status"] != "absent" else "dim")
        table.add_row(check["check"], Text(check["status"], style=STATUS_STYLE[check["status"]]), found)
    n_problems = sum(check["status"] == "problem" for check in diagnosis["checks"])
    last = {
        "ok": Text("Ready: everything a screen needs is here.", style="green"),
        "warn": Text("Ready, with the warnings above.", style="yellow"),
        "problem": Text(f"{n_problems} problem{'s' * (n_problems > 1)} to mend first.", style="bold red"),
    }[diagnosis["status"]]
    return Group(table, last)


def duration(seconds: float) -> str:
    """``40 s``, ``5 min``, ``2 h 10 min``, ``3 d 4 h``: as precise as an estimate deserves."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 36:
        return f"{hours} h {minutes} min"
    return f"{hours // 24} d {hours % 24} h"


def signed(score: Score | None, digits: int = 1) -> Text:
    """``+0.8`` over ``-3.1 to +4.7``; an undefined interval says that one replica is too few."""
    if score is None:
        return Text("-", style="dim", justify="right")
    text = Text(_number(score.value, digits), justify="right")
    if score.low is None or score.high is None:
        return text.append("\nno interval", style="dim")
    return text.append(f"\n{_number(score.low, digits)} to {_number(score.high, digits)}", style="dim")


def _number(value: float, digits: int) -> str:
    """With its sign, and no ``-0.0``."""
    return f"{round(value, digits) + 0.0:+.{digits}f}"


def _disbelief(ranking: Ranking) -> Iterable[RenderableType]:
    """What stands on top, before any number, if a control contradicts what is known."""
    from esr1md.report.caveats import DISBELIEVE, LOOK_AT

    against = [control for control in ranking.controls if control.outcome == "contradicts"]
    if not against:
        return
    said = Text()
    for control in against:
        said.append(f"{control.name}: ", style="bold").append(f"{control.statement}\n")
        said.append(f"found: {control.detail}\n")
    said.append("Look at, in this order:", style="bold")
    for place, what in enumerate(LOOK_AT, start=1):
        said.append(f"\n{place}. {what}")
    yield Panel(said, title=DISBELIEVE, title_align="left", border_style="bold red", box=box.HEAVY)
    yield Text()


def _ranked_table(ranking: Ranking, state: str) -> Table:
    """The ranking of one state; columns that would be empty are left out."""
    from esr1md.report.caveats import cautious, ligand_stands

    lines = [line for line in ranking.ranking if line.state == state]
    table = _table(f"Ligands started in the {state} state")
    chances = any(line.p_best is not None for line in lines)
    weighted = any(line.weighted_rank is not None for line in lines)
    shifted = any(line.worst_shift is not None for line in lines)
    headings = [("rank\nbest" if chances else "rank", "right"), ("ligand", "left"), ("binding\nkcal/mol", "right"),
                ("helix 12\nA", "right")]  # fmt: skip
    headings += [("worst mutant\nkcal/mol", "right")] * shifted + [("all\nwishes", "right")] * weighted
    for heading, justify in (*headings, ("binding\nhelix 12", "left")):
        table.add_column(heading, justify=justify, vertical="top")
    for line in lines:
        rank = Text(_interval_of_ranks(line.rank_low, line.rank_high))
        if line.p_best is not None:
            rank.append(f"\n{cautious(line.p_best)}", style="dim")
        name = Text.assemble(line.ligand, "\n", (line.drug_class, "dim"))
        if line.on_front:
            name.append(f" {FRONT}", style="bold cyan")
            if line.p_front is not None:
                name.append(f" {cautious(line.p_front)}", style="dim")
        row = [rank, name, signed(line.binding), signed(line.helix12)]
        if shifted:
            worst = signed(line.worst_shift)
            if line.worst_variant and line.worst_shift is not None:
                worst = Text(f"{line.worst_variant} ", justify="right") + worst
            row.append(worst)
        if weighted:
            own = Text("-" if line.weighted_rank is None else f"{line.weighted_rank}")
            if line.weighted_low is not None and line.weighted_high is not None:
                own.append(f"\n{_interval_of_ranks(line.weighted_low, line.weighted_high)}", style="dim")
            row.append(own)
        alone = {kind: ligand_stands(ranking, line.ligand, state, kind) is False for kind in ("binding", "helix12")}
        verdicts = _verdict(line.binding_verdict, alone["binding"]), _verdict(line.helix12_verdict, alone["helix12"])
        row.append(Text("\n").join(verdicts))
        table.add_row(*row)
    return table


def _interval_of_ranks(low: int, high: int) -> str:
    return f"{low}" if low == high else f"{low}-{high}"


def _notes(ranking: Ranking, state: str) -> Iterable[RenderableType]:
    """What must be known of the ligands of a table; one line for all that share it."""
    notes = ((line.ligand, (line.notes,)) for line in ranking.ranking if line.state == state and line.notes)
    yield from (_indented(line) for line in _label_lines(notes))


def _label_lines(said: Iterable[tuple[str, Iterable[str]]]) -> Iterable[Text]:
    """A line for each label, with the names of all that bear it."""
    names: dict[str, list[str]] = {}
    for name, labels_of_it in said:
        for label in labels_of_it:
            names.setdefault(label, []).append(name)
    for label, bearers in names.items():
        yield Text.assemble((f"{', '.join(bearers)}: ", "bold yellow"), (label, "yellow"))


def _key(ranking: Ranking) -> Iterable[RenderableType]:
    """How to read the numbers, once."""
    relative = f" relative to {ranking.reference_ligand}" if ranking.reference_ligand else ""
    lines = ranking.ranking
    scatter = "from the scatter between replicas only"
    new = (
        ("best", f"chance of rank 1, {scatter}", any(line.p_best is not None for line in lines)),
        (FRONT, "no other ligand is as good in binding, helix 12 and worst mutant and better in one; chance of that",
         any(line.on_front for line in lines)),
        ("all wishes", "rank by these three with the weights of the configuration, and its 95 % interval",
         any(line.weighted_rank is not None for line in lines)),
    )  # fmt: skip
    for term, meaning in (
        *((term, meaning) for term, meaning, there in new if there),
        ("binding", f"MM/GBSA energy{relative}, mean over the variants; lower binds better; no entropy"),
        ("helix 12", "how much farther it is from the active position than from the antagonist one; higher is safer"),
        ("worst mutant", "the mutant that loses most binding against WT, and how much"),
        ("verdicts", "over all mutants: what the 95 % intervals exclude; 'cannot tell' when they leave both answers"),
    ):
        yield _indented(Text.assemble((f"{term}: ", "bold dim"), (meaning, "dim")))


def _comparisons(ranking: Ranking) -> Iterable[RenderableType]:
    from esr1md.report.caveats import does_not_stand

    yield _comparison_table(ranking)
    if said := does_not_stand(ranking):
        yield _indented(Text(said, style="dim"))


def _helix12(ranking: Ranking, details: bool) -> Iterable[RenderableType]:
    """Helix 12 over the hormone's complex and over apo; what is missing for it, and how to add it."""
    from esr1md.report.caveats import SHORT_RUNS, missing_helix12_scores

    scored = [c for c in ranking.cells if c.helix12_over_hormone or c.helix12_over_apo]
    if scored and (details or len(scored) <= MOST_COMPARISONS):
        table = _table("Helix 12: how much farther from its active place (RMSD, A; 0: as active)")
        over = [("over estradiol", "helix12_over_hormone"), ("over apo", "helix12_over_apo")]
        over = [(heading, key) for heading, key in over if any(getattr(c, key) for c in scored)]
        for heading in ("ligand", "starts", "variant"):
            table.add_column(heading)
        for heading, _ in over:
            table.add_column(heading, justify="right")
        for cell in sorted(scored, key=lambda c: (c.ligand, c.state)):
            scores = (_one_line(getattr(cell, key)) for _, key in over)
            table.add_row(cell.ligand, cell.state, cell.variant, *scores)
        yield table
        yield _indented(Text(SHORT_RUNS, style="dim"))
    elif scored:
        yield Text(f"{len(scored)} cells with helix 12 over estradiol or apo: add --details, or see the report.")
    lacking = missing_helix12_scores(ranking)
    yield from (_indented(Text(said, style="yellow")) for said in lacking)
    if scored or lacking:
        yield Text()


def _one_line(score: Score | None) -> Text:
    """``+11.2 (+11.0 to +11.5)``; what a cell is over itself is no news."""
    if score is None:
        return Text("-", style="dim")
    if score.value == score.low == score.high == 0:
        return Text("itself", style="dim")
    known = score.low is not None and score.high is not None
    interval = f"{_number(score.low, 1)} to {_number(score.high, 1)}" if known else "no interval"
    return Text.assemble(_number(score.value, 1), (f" ({interval})", "dim"))


def _comparison_table(ranking: Ranking) -> Table:
    table = _table("Each mutant against the wild type, paired by seed")
    for heading, justify in (
        ("ligand", "left"), ("mutant", "left"), ("binding shift\nkcal/mol (> 0 weaker)", "right"), ("", "left"),
        ("helix 12 shift\nA (< 0 to active)", "right"), ("", "left"),
    ):  # fmt: skip
        table.add_column(heading, justify=justify)
    for row in ranking.comparisons:
        table.add_row(Text.assemble(row.ligand, "\n", (row.state, "dim")), row.variant,
                      signed(row.binding_shift), _verdict(row.binding_verdict, row.binding_stands is False),
                      signed(row.helix12_shift),
                      _verdict(row.helix12_verdict, row.helix12_stands is False))  # fmt: skip
    return table


def _controls(ranking: Ranking) -> Iterable[RenderableType]:
    if ranking.controls:
        yield Text("Controls", style="bold")
    for control in ranking.controls:
        said = Text.assemble(control.statement, "\n", (control.detail, "dim"))
        outcome = Text(control.outcome, style=OUTCOME_STYLE[control.outcome])
        line = Table.grid(padding=(0, 2, 0, 0))
        line.add_column(min_width=13)
        line.add_row(outcome, said)
        yield Padding(line, (0, 0, 0, 2))
    if ranking.controls:
        yield Text()


def _failures(ranking: Ranking) -> Iterable[RenderableType]:
    """Explained outcomes and failures; one line for each cause, however many replicas it stopped."""
    for kind, title in (("outcome", "Explained outcomes"), ("error", "Failures")):
        causes: dict[tuple[str, str], list[Failure]] = {}
        for failure in ranking.failures:
            if failure.kind == kind:
                causes.setdefault((failure.stage, failure.cause), []).append(failure)
        if not causes:
            continue
        yield Text(title, style="bold" if kind == "outcome" else "bold red")
        for (stage, cause), stopped in list(causes.items())[:MOST_FAILURES]:
            first = stopped[0]
            seed = f"#{first.seed}" if first.seed is not None else ""
            more = f" and {len(stopped) - 1} more" if len(stopped) > 1 else ""
            where = f" (see {first.where})" if first.where and kind == "error" else ""
            cell = f"{first.variant}/{first.ligand}/{first.state}{seed}"
            yield _indented(Text(f"{cell}{more}: {stage}: {cause}{where}"))
        if len(causes) > MOST_FAILURES:
            yield _indented(Text(f"and {len(causes) - MOST_FAILURES} more causes, in the report", style="dim"))
        yield Text()


def _limits(ranking: Ranking) -> Iterable[RenderableType]:
    if ranking.limits:
        yield Text("What this run cannot say", style="bold")
        yield from (_indented(Text(limit)) for limit in ranking.limits)


def _indented(text: Text) -> RenderableType:
    return Padding(text, (0, 0, 0, 2))


def _verdict(verdict: Verdict, alone: bool = False) -> Text:
    """The verdict, marked if it does not stand together with all others."""
    from esr1md.report.figures import ALONE

    return Text(f"{verdict} {ALONE}" if alone else str(verdict), style=VERDICT_STYLE[verdict])


def _one_line_table(headings: Sequence[str], lines: Sequence[tuple[Text, ...]], *, whole: int) -> Table:
    """A listing with one line a row: the first ``whole`` columns in full, the others share the room left."""
    widths = [max((line[i].cell_len for line in lines), default=0) for i in range(whole)]
    widths = [max(width, len(heading)) for width, heading in zip(widths, headings, strict=False)]
    between = 3 * len(headings)
    room = max(12, (stdout_console().width - sum(widths) - between) // max(1, len(headings) - whole))
    table = _table(None)
    for heading in headings:
        table.add_column(heading, no_wrap=True)
    for line in lines:
        for text in line[whole:]:
            text.truncate(room, overflow="ellipsis")
        table.add_row(*line)
    return table


def _table(title: str | None) -> Table:
    return Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False,
                 header_style="bold", show_edge=False)  # fmt: skip
