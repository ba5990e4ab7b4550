"""What a reader must know before the numbers: controls, verdicts that do not stand, scores that are missing."""

from __future__ import annotations

from esr1md.config import Weights
from esr1md.report.depiction import percent
from esr1md.report.figures import ALONE
from esr1md.report.words import names
from esr1md.scoring.comparisons import HORMONE
from esr1md.scoring.scores import CellScore, Ranking, Verdict
from esr1md.specs import HelixState

#: Variants named in one sentence before the rest is counted.
MOST_VARIANTS = 4

#: What a contradicted control means, for the report and the terminal.
DISBELIEVE = "Do not believe this run: a control contradicts what is known"
LOOK_AT = (
    "helix 12 over time in the cells of that control: one replica that ran away, or all of them?",
    "the final complex of those cells: is the ligand still in the pocket, is helix 12 whole?",
    "the confidence of the pose, the failures and the rescues of those cells",
    "longer replicas, or another protocol, before any other cell is simulated",
)

SHORT_RUNS = (
    "Short runs show the local stability of the state they start in, never populations: agonist and antagonist "
    "positions do not interconvert even in 240 ns."
)


def cautious(chance: float) -> str:
    """``34 %``; never 0 or 100 %, since a chance from draws is no certainty."""
    return "< 1 %" if chance < 0.01 else "> 99 %" if chance > 0.99 else percent(chance)


def controls_in_words(ranking: Ranking) -> str:
    """``2 agree, 1 cannot tell``; empty without controls."""
    outcomes = [c.outcome for c in ranking.controls]
    said = []
    for outcome, plural in (("contradicts", "contradict"), ("agrees", "agree"), ("cannot tell",) * 2, ("not run",) * 2):
        n = outcomes.count(outcome)
        if n:
            said.append(f"{n} {outcome if n == 1 else plural}")
    return ", ".join(said)


def does_not_stand(ranking: Ranking) -> str:
    """One sentence on the verdicts that hold one by one but not together; empty when all stand."""
    stands = [s for c in ranking.comparisons for s in (c.binding_stands, c.helix12_stands) if s is not None]
    alone = stands.count(False)
    if not alone:
        return ""
    of = f"{alone} of the {len(stands)} verdicts" if len(stands) > 1 else "The one verdict"
    return (
        f"{ALONE} {of} {'holds by itself but does' if alone == 1 else 'hold one by one but do'} not stand when all "
        "verdicts of this screen are to be true together at 95 % (Holm): of many comparisons some come out by chance."
    )


def ligand_stands(ranking: Ranking, ligand: str, state: str, kind: str) -> bool | None:
    """Whether the verdict over all mutants (``kind``: ``binding`` or ``helix12``) stands together with all others.

    *Retained* needs every mutant's verdict to stand, *weakened* and *lost* one that does; ``None`` where nothing says.
    """
    mine = [c for c in ranking.comparisons if (c.ligand, c.state) == (ligand, state)]
    line = next((r for r in ranking.ranking if (r.ligand, r.state) == (ligand, state)), None)
    if line is None or (verdict := getattr(line, f"{kind}_verdict")) is Verdict.CANNOT_TELL:
        return None
    stands = [getattr(c, f"{kind}_stands") for c in mine if getattr(c, f"{kind}_verdict") is verdict]
    stands = [s for s in stands if s is not None]
    if not stands:
        return None
    return all(stands) if verdict is Verdict.RETAINED else any(stands)


def weights_in_words(weights: Weights | None) -> str:
    """What the weighted rank counts: ``binding, helix 12 and the worst mutant alike``."""
    if weights is None:
        return "by the weights of the screen's configuration"
    given = dict(zip(("binding", "helix 12", "the worst mutant"), weights.as_tuple(), strict=True))
    counted = {name: weight for name, weight in given.items() if weight > 0}
    if len(counted) == 1:
        return f"{next(iter(counted))} alone"
    left_out = [name for name in given if name not in counted]
    beside = f"; {names(left_out)} not at all" if left_out else ""
    if len(set(counted.values())) == 1:
        return f"{names(counted)} alike{beside}"
    return names(f"{name} {weight:g}" for name, weight in counted.items()) + beside


def missing_helix12_scores(ranking: Ranking) -> list[str]:
    """Which cell that the helix-12 score needs is missing, and how to add it; empty when none is."""
    measured = [c for c in ranking.cells if c.n_replicas and c.helix12 is not None]
    agonist = str(HelixState.AGONIST)
    said = []
    for base, called, attribute, add in (
        (HORMONE, "estradiol's complex", "helix12_over_hormone", f"add '{HORMONE}' to the ligands of the screen"),
        ("apo", "the empty receptor", "helix12_over_apo", "set 'apo: true' in the screen"),
    ):
        lacking = [c for c in measured if getattr(c, attribute) is None]
        bases = {c.variant: c for c in ranking.cells if (c.ligand, c.state) == (base, agonist)}
        reasons: dict[str, list[str]] = {}
        for variant in dict.fromkeys(c.variant for c in lacking):
            reasons.setdefault(_why_no_base(bases.get(variant)), []).append(variant)
        for why, variants in reasons.items():
            where = names(variants, MOST_VARIANTS)
            do = {
                "was not simulated": f"{add} and run it again: what has finished is kept",
                "failed": "see what did not work, and run the screen again",
                "was simulated": "no seed is shared, or these scores are of an earlier version: run the screen again, "
                "nothing is simulated twice",
            }[why]
            said.append(
                f"No helix-12 score over {called} in {where}: {base} in the agonist state {why} there. To get it, {do}."
            )
    return said


def _why_no_base(cell: CellScore | None) -> str:
    if cell is None:
        return "was not simulated"
    return "was simulated" if cell.n_replicas else "failed" if cell.n_failed else "was not simulated"
