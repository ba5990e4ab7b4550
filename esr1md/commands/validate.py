"""``esr1md validate`` and ``esr1md coverage``: a store's screens beside what is published, and beside a population."""

from __future__ import annotations

import json as json_module
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from esr1md.commands.output import JsonOption, document_output, show, write_json
from esr1md.commands.stored import stored_ranking, stored_screens
from esr1md.errors import InputError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from esr1md.scoring.claims import ClaimCheck
    from esr1md.scoring.coverage import Coverage
    from esr1md.scoring.evidence import ClinicalResult
    from esr1md.scoring.rank_agreement import RankAgreement
    from esr1md.scoring.validation import Validation

StoreArgument = Annotated[
    Path, typer.Argument(metavar="STORE", envvar="ESR1MD_STORE", help="Folder that 'esr1md screen' wrote to.")
]
ScreenOption = Annotated[str | None, typer.Option("--screen", metavar="NAME", help="Only this screen of the store.")]
#: Clinical results shown of each ligand; all are in ``--json``.
MOST_CLINICAL = 4


def validate(
    store: StoreArgument = Path("runs"),
    screen: ScreenOption = None,
    claims: Annotated[str | None, typer.Option(metavar="ID,ID", help="Only these claims: P01,P04.")] = None,
    json: JsonOption = False,
) -> None:
    """Compare the screens of a store with published affinities and claims: agrees, contradicts or cannot tell.

    A claim agrees only if the whole 95 % interval lies on its side and the replicas were long enough; short ones can
    contradict but not agree. Claims on growth or degradation in cells are listed, with why they cannot be checked.
    Clinical results stand beside the ligands for context and are in no score.

    Examples:

        esr1md validate runs

        esr1md validate runs --screen quickstart --claims P01,P04

        esr1md validate runs --json > validation.json
    """
    with document_output(json) as out:
        from esr1md.commands.terminal import stderr_console
        from esr1md.scoring.evidence import evidence
        from esr1md.screen.validation import stored_validation

        published = evidence()
        wanted = published.claims_named([word.strip() for word in claims.split(",")]) if claims else None
        kept, names = stored_screens(store, screen)
        found = []
        with stderr_console().status("reading ...") as waiting:
            for name in names:
                waiting.update(f"comparing screen {name} with what is published ...")
                found.append(stored_validation(kept, name, published, wanted))
        if not any(each.n_replicas for each in found):
            failed = sum(each.n_failed for each in found)
            raise InputError(
                f"no finished replica in {', '.join(names)}" + (f" ({failed} failed)" if failed else ""),
                where=f"store {store}",
                do=f"run 'esr1md screen' to go on, or see 'esr1md status --store {store}'",
            )
        if json:
            write_json(out, {"store": str(store), "screens": [each.model_dump(mode="json") for each in found]})
            return
        from rich.console import Group

        show(Group(*map(validation_view, found)))


def coverage(
    store: StoreArgument = Path("runs"),
    screen: ScreenOption = None,
    profile: Annotated[
        Path | None, typer.Option("--profile", metavar="YAML", help="Patients with variants and allele fractions.")
    ] = None,
    population: Annotated[
        str | None, typer.Option("--population", metavar="NAME", help="Published frequencies other than the default.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """For each ligand, the share of the ESR1-mutant population in which it is retained. Research use only.

    Without a profile the population is published frequencies of mutations. A profile is YAML: patients with the allele
    fraction of each clone; a patient counts as retained only if every clone from smallest_fraction up is:

        name: my cohort
        smallest_fraction: 0.01
        profiles:
          - {name: P1, variants: {Y537S: 0.12, D538G: 0.03}}
          - {name: P2, patients: 3, variants: {D538G: 0.2}}

    Examples:

        esr1md coverage runs

        esr1md coverage runs --screen reference --population toy-2017

        esr1md coverage runs --profile cohort.yaml --json
    """
    if profile is not None and population is not None:
        raise InputError("--profile and --population are both given", expected="one of them")
    with document_output(json) as out:
        from esr1md.commands.terminal import stderr_console
        from esr1md.config import Thresholds
        from esr1md.scoring.coverage import RESEARCH_USE, coverages
        from esr1md.scoring.evidence import evidence
        from esr1md.scoring.population import load_profiles

        known = evidence().populations
        chosen = load_profiles(profile) if profile is not None else known.named(population)
        kept, names = stored_screens(store, screen)
        documents, views = [], []
        with stderr_console().status("reading ...") as waiting:
            for name in names:
                waiting.update(f"reading the ranking of {name} ...")
                ranking = stored_ranking(store, name)
                plan = json_module.loads((kept.root / "screens" / name / "plan.json").read_text())
                thresholds = Thresholds.model_validate(plan["config"]["thresholds"])
                found = coverages(ranking, chosen, thresholds)
                others = {
                    other.name: coverages(ranking, other, thresholds)
                    for other in known.populations
                    if profile is None and other.name != chosen.name
                }
                documents.append(
                    {
                        "screen": name,
                        "too_short": ranking.too_short,
                        "coverage": [each.model_dump(mode="json") for each in found],
                        "other_populations": {
                            key: [each.model_dump(mode="json") for each in rows if each.headline]
                            for key, rows in others.items()
                        },
                    }
                )
                views.append(coverage_view(name, found, others, short=ranking.too_short))
        if json:
            write_json(out, {"store": str(store), "use": RESEARCH_USE, "population": chosen.model_dump(mode="json"),
                             "screens": documents})  # fmt: skip
            return
        from rich.console import Group

        show(Group(*views))


# -- what the terminal shows --------------------------------------------------------------------------------


def validation_view(found: Validation) -> RenderableType:
    """Summary first, then claims by outcome, agreement of ranks, clinical context, notes."""
    from rich.console import Group
    from rich.text import Text

    parts: list[RenderableType] = [
        Text(f"{found.screen} ({found.protocol}) beside what is published", style="bold"),
        Text(_summary(found)),
        Text(),
    ]
    checked = [claim for claim in found.claims if claim.outcome != "not checkable"]
    if checked:
        parts += [_claims_table(checked), Text()]
    if found.agreement:
        parts += [_agreement_table(found.agreement), Text()]
    beyond = [claim for claim in found.claims if claim.outcome == "not checkable"]
    if beyond:
        parts.append(Text("Claims that no score of a screen can speak on", style="bold"))
        parts += [_line(f"{claim.id}  {claim.statement}", claim.detail) for claim in beyond]
        parts.append(Text())
    if found.clinical:
        parts += [Text(f"Clinical results, for context. {found.clinical_use}", style="bold")]
        for context in found.clinical:
            parts += _clinical_lines(context.ligand, context.results)
        parts.append(Text())
    parts += [Text("How far this goes", style="bold"), *(_line(note) for note in found.notes), Text()]
    return Group(*parts)


def _summary(found: Validation) -> str:
    counts = ", ".join(f"{n} {name}" for name, n in found.counts.items() if n)
    rate = ""
    if found.rate is not None:
        rate = (
            f" Agreement rate {100 * found.rate.rate:.0f} % of {found.rate.decided} decided claims "
            f"(95 % interval {100 * found.rate.low:.0f} to {100 * found.rate.high:.0f})."
        )
    tau = f" Kendall tau of the mutations' effects: {_tau_text(found.tau)}." if found.tau is not None else ""
    return f"Claims: {counts or 'none'}.{rate}{tau}"


def _tau_text(each: RankAgreement) -> str:
    if each.tau is None:
        return f"{each.outcome} ({each.detail})"
    interval = "no interval" if each.low is None else f"{each.low:+.2f} to {each.high:+.2f}"
    return f"{each.tau:+.2f}, {interval}: {each.outcome}"


def _table(title: str, *headings: str) -> Any:
    from rich import box
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False,
                  header_style="bold", show_edge=False)  # fmt: skip
    for heading in headings:
        first = heading == headings[0]
        table.add_column(heading, vertical="top", overflow="fold", no_wrap=first)
    return table


def _outcome(outcome: str) -> Any:
    from rich.text import Text

    from esr1md.commands.terminal import OUTCOME_STYLE

    return Text(outcome, style=OUTCOME_STYLE[outcome])


def _claims_table(claims: list[ClaimCheck]) -> Any:
    from rich.text import Text

    from esr1md.commands.terminal import signed

    table = _table("Published claims", "claim", "statement, and what the screen says", "predicted", "")
    order = ("contradicts", "agrees", "cannot tell", "not run")
    for claim in sorted(claims, key=lambda c: order.index(c.outcome)):
        source = f" ({claim.source}{': ' if claim.notes else ''}{claim.notes.rstrip('.')})"
        said = Text.assemble(claim.statement, (source, "dim"), "\n", (claim.detail, "dim"))
        if claim.proxy and claim.outcome != "not run":
            said.append(f"\nlooked at: {claim.proxy}", style="dim")
        score = claim.decisive.predicted if claim.decisive else None
        table.add_row(claim.id, said, signed(score, 2), _outcome(claim.outcome))
    return table


def _agreement_table(agreement: Iterable[RankAgreement]) -> Any:
    from rich.text import Text

    table = _table("Order of predicted and measured affinities, within one paper (Kendall tau)",
                   "series", "points", "tau", "95 % interval", "")  # fmt: skip
    for each in agreement:
        series = Text.assemble(each.series, "\n", (each.detail, "dim"))
        interval = "-" if each.low is None else f"{each.low:+.2f} to {each.high:+.2f}"
        tau = "-" if each.tau is None else f"{each.tau:+.2f}"
        table.add_row(series, f"{each.n_predicted}/{each.n_measured}", tau, interval, _outcome(each.outcome))
    return table


def _clinical_lines(ligand: str, results: Iterable[ClinicalResult]) -> Iterable[RenderableType]:
    """The results that are about mutants first; what is left out is counted."""
    results = list(results)
    shown = [r for r in results if r.of_mutants][:MOST_CLINICAL] or results[:1]
    for result in shown:
        against = f" against {result.comparator}" if result.comparator else ""
        ratio = ""
        if result.hr is not None:
            ratio = f", HR {result.hr:g}" + (f" ({result.hr_low:g}-{result.hr_high:g})" if result.hr_low else "")
        status = f", ESR1 {result.esr1_status}" if result.esr1_status else ""
        said = f"{ligand}: {result.trial}, {result.drugs}{against}{status}: {result.endpoint} {result.value}{ratio}"
        yield _line(said, result.source)
    if len(results) > len(shown):
        yield _line(f"{ligand}: {len(results) - len(shown)} more with --json")


def _line(text: str, dim: str = "") -> RenderableType:
    from rich.padding import Padding
    from rich.text import Text

    return Padding(Text.assemble(text, (f"  {dim}" if dim else "", "dim")), (0, 0, 0, 2))


def coverage_view(
    screen: str, found: Iterable[Coverage], others: dict[str, tuple[Coverage, ...]], *, short: bool
) -> RenderableType:
    """The headline of each ligand, the same by other rules and frequencies, notes."""
    from rich.console import Group
    from rich.text import Text

    from esr1md.scoring.coverage import RESEARCH_USE

    found = list(found)
    if not found:
        return Text(f"{screen}: no antagonist was ranked, so there is nothing to cover a population with")
    first = found[0]
    heads = [each for each in found if each.headline]
    what = {"mutations": "mutations", "all clones": "patients, all clones"}.get(heads[0].rule, heads[0].rule)
    table = _table(f"{screen}: share of {first.population} ({what}) in which a ligand is ...", "ligand", "retained",
                   "95 % interval", "weakened", "lost", "cannot tell", "not simulated")  # fmt: skip
    for column in table.columns[1:]:
        column.justify = "right"
    for each in heads:
        name = Text.assemble(each.ligand, "\n", (each.state, "dim"))
        interval = f"{_percent(each.low)} to {_percent(each.high)}"
        rest = (each.weakened, each.lost, each.cannot_tell, each.not_simulated)
        table.add_row(name, Text(_percent(each.retained), style="bold"), interval, *map(_percent, rest))
    parts: list[RenderableType] = [table, Text()]
    by = {"by binding alone": [c for c in found if c.judged == "binding" and c.rule != "by clone"],
          "by helix 12 alone": [c for c in found if c.judged == "helix 12" and c.rule != "by clone"],
          "clones by their fraction": [c for c in found if c.judged == "both" and c.rule == "by clone"],
          **{f"frequencies of {name}": [c for c in rows if c.headline] for name, rows in others.items()}}  # fmt: skip
    more = _table("Retained otherwise", "ligand", *(label for label, rows in by.items() if rows))
    for each in heads:
        cells = [
            next(f"{_percent(c.retained)}\n{_percent(c.low)} to {_percent(c.high)}" for c in rows
                 if (c.ligand, c.state) == (each.ligand, each.state))
            for rows in by.values() if rows
        ]  # fmt: skip
        more.add_row(each.ligand, *cells)
    parts += [more, Text()]
    notes = list(dict.fromkeys(note for each in heads for note in each.notes))
    if short:
        notes.insert(0, "the replicas are too short for any verdict, so nothing is known of any mutation")
    parts += [_line(note[0].upper() + note[1:] + ".") for note in notes]
    return Group(*parts, Text(RESEARCH_USE, style="bold yellow"))


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
