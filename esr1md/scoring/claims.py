"""Published claims against a screen: agrees, contradicts, cannot tell, not run, or beyond what a screen can say.

A claim is data (:class:`esr1md.scoring.evidence.OrdinalClaim`): comparisons of cells in one quantity. Cells are
compared seed by seed, with the intervals of :mod:`esr1md.scoring.comparisons`. A comparison agrees only if its whole
95 % interval lies on the claim's side, and only where the replicas were long enough; short ones can contradict but not
agree, as for controls. A claim of several comparisons agrees if all agree, and is contradicted by one of m only beyond
the interval of level 1 - 0.05/m, for of forty 95 % intervals one or two miss by chance.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from esr1md.analysis.statistics import LEVEL, Noise, bootstrap_interval, paired_difference
from esr1md.config import Thresholds
from esr1md.ligand.catalogue import catalogue_entries
from esr1md.scoring.cells import CellKey, Matrix, cell_noise, difference_noise, score_of, unit_of
from esr1md.scoring.evidence import Check, OrdinalClaim
from esr1md.scoring.ligand_ranks import is_agonist
from esr1md.scoring.scores import Record, Score
from esr1md.scoring.verdicts import too_short
from esr1md.specs import HelixState

Outcome = Literal["agrees", "contradicts", "cannot tell", "not run", "not checkable"]


class Compared(Record):
    """One comparison of a claim.

    ``predicted`` is the difference of two cells, paired by seed (``first`` minus ``second``, so that a positive one
    speaks for `<` and `>`), or the quantity of one cell where the claim gives a number; ``None`` where it was not run,
    and ``why`` says what is missing. ``expected`` is where the claim puts it.
    """

    quantity: str
    first: str
    second: str
    expected: str
    predicted: Score | None
    outcome: Literal["agrees", "contradicts", "cannot tell", "not run"]
    why: str = ""


class ClaimCheck(Record):
    """What a screen says on a published claim.

    ``compared`` holds its comparisons (of a universal claim those that were run), and ``decisive`` the one that speaks
    least for it. ``detail`` is a sentence or two for a chemist.
    """

    id: str
    statement: str
    domain: str
    source: str
    doi: str = ""
    confidence: str
    notes: str = ""
    outcome: Outcome
    detail: str
    proxy: str = ""
    compared: tuple[Compared, ...] = ()
    decisive: Compared | None = None


class Differences:
    """Differences between cells of a screen, with the noise that its cells share computed once for each quantity."""

    def __init__(self, cells: Matrix) -> None:
        self.cells = cells
        self._noise: dict[tuple[str, str], Mapping] = {}

    def between(self, quantity: str, a: CellKey, b: CellKey) -> tuple[dict[int, float], Noise | None]:
        """Seed -> ``a - b``, and the spread of a single one. The cells differ in the variant or the ligand."""
        values = paired_difference(self.cells.values(a, quantity), self.cells.values(b, quantity))
        return values, self.noise(quantity, "variant" if a[1] == b[1] else "ligand", a)

    def of_cell(self, quantity: str, cell: CellKey) -> tuple[dict[int, float], Noise | None]:
        """Seed -> value of one cell, and the spread of a single one."""
        return self.cells.values(cell, quantity), self.noise(quantity, "cell", cell)

    def noise(self, quantity: str, differing: Literal["variant", "ligand", "cell"], cell: CellKey) -> Noise | None:
        """Spread of a single replica of the cell, or of a difference between two that differ in one thing."""
        variant, ligand, state = cell
        if (quantity, differing) not in self._noise:
            if differing == "cell":
                found: Mapping = cell_noise(self.cells, quantity)
            elif differing == "variant":
                found = difference_noise(self.cells, quantity, lambda c: (c[1], c[2]), lambda c: c[0])
            else:
                found = difference_noise(self.cells, quantity, lambda c: (c[0], c[2]), lambda c: c[1])
            self._noise[quantity, differing] = found
        key = {"cell": cell, "variant": (ligand, state), "ligand": (variant, state)}[differing]
        return self._noise[quantity, differing].get(key)


def check_claims(
    claims: Sequence[OrdinalClaim], cells: Matrix, thresholds: Thresholds, production_ps: float | None = None
) -> tuple[ClaimCheck, ...]:
    """What the replicas of a screen say on each claim, in the order given.

    Parameters
    ----------
    claims
        From :func:`esr1md.scoring.evidence.evidence`.
    cells
        The replicas (:func:`esr1md.scoring.cells.matrix`).
    thresholds
        ``minimum_production_ps`` decides what replicas are long enough to agree with anything.
    production_ps
        Production of each replica (ps); ``None`` if not recorded, which is not held against them.
    """
    differences = Differences(cells)
    short = too_short(production_ps, thresholds)
    return tuple(_check_claim(claim, differences, short, production_ps) for claim in claims)


def state_choices(ligand: str, state: HelixState | None) -> tuple[str, ...]:
    """The states a ligand's cells may be compared in, the preferred one first."""
    if state is not None:
        return (str(state),)
    agonists = {entry.name for entry in catalogue_entries() if is_agonist(entry)}
    if ligand in agonists:
        return (str(HelixState.AGONIST),)
    return str(HelixState.ANTAGONIST), str(HelixState.DISPLACED)


def _check_claim(claim: OrdinalClaim, differences: Differences, short: bool, production_ps: float | None) -> ClaimCheck:
    def result(outcome: Outcome, detail: str, **more) -> ClaimCheck:
        same = claim.model_dump(include={"id", "statement", "domain", "source", "doi", "confidence", "notes", "proxy"})
        return ClaimCheck(**same, outcome=outcome, detail=detail, **more)

    if not claim.checkable:
        return result("not checkable", claim.not_checkable)
    pairs = [(check, *pair) for check in claim.checks for pair in _pairs(check, differences.cells)]
    measured = [(check, a, b, *_measure(differences, check, a, b)) for check, a, b in pairs]
    n_run = sum(bool(values) for *_, values, _ in measured)
    strict = 1 - (1 - LEVEL) / max(1, n_run)
    every = [_compare(differences.cells, strict, *each) for each in measured]
    compared = tuple(c for c, _ in every if c.predicted is not None or not claim.universal)
    if not n_run:
        return result("not run", _why_not_run(claim, [c for c, _ in every]), compared=compared)
    weakest = min((c for c in every if c[0].predicted is not None), key=lambda c: c[1])[0]
    more = {"compared": compared, "decisive": weakest}
    run = [c for c in compared if c.predicted is not None]
    count = {name: sum(c.outcome == name for c in run) for name in ("agrees", "contradicts", "cannot tell")}
    detail = _text(weakest)
    if len(compared) > 1:
        missing = len(compared) - len(run)
        said = [f"{count['agrees']} of {len(run)} comparisons agree"]
        if count["contradicts"]:
            said.append(f"{count['contradicts']} contradict")
        if missing:
            said.append(f"{missing} more not run ({next(c.why for c in compared if c.predicted is None)})")
        detail = f"{', '.join(said)}; least for it: {detail}"
    if ratio := next((check.ratio for check in claim.checks if check.ratio), None):
        detail += f"; measured ratio {ratio[0]:g} to {ratio[1]:g}, of which only the sign is compared"
    if count["contradicts"]:
        return result("contradicts", detail, **more)
    if count["agrees"] < len(compared):
        return result("cannot tell", detail, **more)
    if short:
        why = f"; {production_ps:g} ps per replica can contradict but not agree"
        return result("cannot tell", detail + why, **more)
    return result("agrees", detail, **more)


def _pairs(check: Check, cells: Matrix) -> Iterator[tuple[CellKey, CellKey | float]]:
    """Every comparison a check is about, each in the state where both sides ran, or the preferred one."""
    of, than = check.of, check.than
    classes = {entry.name: entry.drug_class.replace("/", " ").split() for entry in catalogue_entries()}
    by_class = [n for n in cells.names(1) if set(classes.get(n, ())) & set(of.ligand_class)]
    for ligand in (*of.ligand, *by_class):
        for variant in of.variant:
            if isinstance(than, float):
                others: list[tuple[str, str] | None] = [None]
            else:
                others = [(v, n) for v in than.variant or (variant,) for n in than.ligand or (ligand,)]
            for other in others:
                choices = state_choices(ligand, of.state)
                both = [
                    state
                    for state in choices
                    if cells.values((variant, ligand, state), check.quantity)
                    and (other is None or cells.values((*other, state), check.quantity))
                ]
                state = (both or choices)[0]
                yield (variant, ligand, state), than if isinstance(than, float) else (*other, state)


def _measure(
    differences: Differences, check: Check, a: CellKey, b: CellKey | float
) -> tuple[dict[int, float], Noise | None]:
    """Seed -> what a comparison is judged by: the larger side of the claim minus the smaller, or one cell's value."""
    if isinstance(b, float):
        return differences.of_cell(check.quantity, a)
    return differences.between(check.quantity, *((a, b) if check.relation == ">" else (b, a)))


def _place(check: Check) -> tuple[float, float]:
    """Between which values the claim puts what :func:`_measure` gives."""
    within, number = check.within or 0.0, check.than if isinstance(check.than, float) else None
    if check.relation == "~":
        return (number or 0.0) - within, (number or 0.0) + within
    if number is None:
        return -within, math.inf
    return (number, math.inf) if check.relation == ">" else (-math.inf, number + within)


def _compare(
    cells: Matrix,
    strict: float,
    check: Check,
    a: CellKey,
    b: CellKey | float,
    values: Mapping[int, float],
    noise: Noise | None,
) -> tuple[Compared, float]:
    """One comparison, and how far inside its side it lies (the smallest number is the weakest)."""
    least, most = _place(check)
    first, second = (a, b) if check.relation == ">" or isinstance(b, float) else (b, a)
    ends = [f"{word} {end + 0.0:g}" for word, end in (("above", least), ("below", most)) if math.isfinite(end)]
    record = Compared(
        quantity=check.quantity,
        first="/".join(first),
        second="" if isinstance(second, float) else "/".join(second),
        expected=" and ".join(ends),
        predicted=score_of(values, unit_of(check.quantity), noise),
        outcome="not run",
    )
    score = record.predicted
    if score is None:
        return record.model_copy(update={"why": _why_missing(cells, check.quantity, a, b)}), -math.inf
    if score.low is None or score.high is None:
        return record.model_copy(update={"outcome": "cannot tell", "why": "one replica has no interval"}), -math.inf
    margin = min(score.low - least, most - score.high)
    low, high = bootstrap_interval(list(values.values()), strict, noise=noise)
    outcome = "agrees" if margin > 0 else "contradicts" if high <= least or low >= most else "cannot tell"
    return record.model_copy(update={"outcome": outcome}), margin


def _why_missing(cells: Matrix, quantity: str, a: CellKey, b: CellKey | float) -> str:
    for cell in (a, b):
        if isinstance(cell, float):
            continue
        name = "/".join(cell)
        if cell not in cells.replicas:
            return f"{name} is not in this screen"
        if not cells.replicas[cell]:
            return f"every replica of {name} failed ({cells.failed.get(cell, 0)})"
        if not cells.values(cell, quantity):
            return f"{quantity} was not measured in {name}"
    return f"{'/'.join(a)} and {'/'.join(b) if not isinstance(b, float) else b} have no seed in common"


def _why_not_run(claim: OrdinalClaim, every: Sequence[Compared]) -> str:
    if not every:
        classes = sorted({name for check in claim.checks for name in check.of.ligand_class})
        return f"no {' or '.join(classes)} is in this screen"
    if claim.universal and len(every) > 1:
        return f"none of its {len(every)} comparisons was run; the first: {every[0].why}"
    return every[0].why


def _text(compared: Compared) -> str:
    """``binding, Y537S/x/antagonist - WT/x/antagonist: +1.2 kcal/mol, 95 % interval +0.4 to +2 (n = 5), ...``."""
    score = compared.predicted
    unit = {"angstrom": "A"}.get(score.unit, score.unit)
    interval = "no interval" if score.low is None else f"95 % interval {score.low:+.2g} to {score.high:+.2g}"
    what = compared.quantity.removesuffix("_kcal").removesuffix("_angstrom").replace("_", " ")
    cells = f"{compared.first} - {compared.second}" if compared.second else compared.first
    return (
        f"{what}, {cells}: {score.value:+.2g} {unit}, {interval} (n = {score.n_replicas}), expected {compared.expected}"
    )
