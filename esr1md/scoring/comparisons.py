"""What is compared: a ligand with the reference ligand, a mutant with the wild type; always seed by seed."""

from __future__ import annotations

from collections.abc import Mapping

from esr1md.analysis.statistics import Noise, holm, paired_difference
from esr1md.config import Thresholds
from esr1md.scoring.cells import BINDING, HELIX12, CellKey, Matrix, difference_noise, score_of, unit_of
from esr1md.scoring.scores import Comparison, Score, Verdict
from esr1md.scoring.verdicts import binding_verdict, helix12_verdict, verdict_p
from esr1md.specs import HelixState

WILD = "WT"
#: What holds helix 12 in the active place: the hormone, whose complex others are compared with.
HORMONE = "estradiol"
#: Name in a replica's summary of helix 12's C-alpha RMSD to its active place.
ACTIVE_PLACE = "h12_rmsd_agonist_angstrom"


def relative_binding(cells: Matrix, reference: Mapping[str, str]) -> dict[CellKey, Score | None]:
    """Binding minus the reference ligand's, in the same variant and state, over the seeds both have.

    ``None`` where either was not simulated. The reference itself is zero by definition.
    """
    noise = difference_noise(cells, BINDING, lambda c: (c[0], c[2]), lambda c: c[1])
    relative: dict[CellKey, Score | None] = {}
    for cell in cells.replicas:
        variant, ligand, state = cell
        own = cells.values(cell, BINDING)
        if ligand == reference.get(state) and own:
            relative[cell] = Score(value=0.0, low=0.0, high=0.0, n_replicas=len(own), unit="kcal/mol")
            continue
        base = cells.values((variant, reference.get(state, ""), state), BINDING)
        relative[cell] = score_of(paired_difference(own, base), "kcal/mol", noise.get((variant, state)))
    return relative


def compare_with_wild_type(
    cells: Matrix, thresholds: Thresholds, production_ps: float | None = None
) -> tuple[Comparison, ...]:
    """Every mutant cell against the same ligand and state in the wild type, even if one has no replica."""
    noise = {
        metric: difference_noise(cells, metric, lambda c: (c[1], c[2]), lambda c: c[0]) for metric in (BINDING, HELIX12)
    }
    comparisons = []
    for cell in cells.replicas:
        variant, ligand, state = cell
        if variant == WILD:
            continue
        wild = (WILD, ligand, state)
        shifts = {
            metric: score_of(
                paired_difference(cells.values(cell, metric), cells.values(wild, metric)),
                unit_of(metric),
                noise[metric].get((ligand, state)),
            )
            for metric in (BINDING, HELIX12)
        }
        spread = {metric: noise[metric].get((ligand, state)) for metric in shifts}
        binding, binding_reason = binding_verdict(shifts[BINDING], thresholds, spread[BINDING], production_ps)
        helix12, helix12_reason = helix12_verdict(shifts[HELIX12], thresholds, spread[HELIX12], production_ps)
        if shifts[HELIX12] is None and shifts[BINDING] is None:
            reason = _why_not_compared(cells, cell, wild)
        elif shifts[BINDING] is None:
            apo = ligand == "apo"
            why = "no ligand, so no binding to compare" if apo else "binding was not scored in both"
            reason = f"{why}; {helix12_reason}"
        elif shifts[HELIX12] is None:
            reason = f"{binding_reason}; helix 12 was not measured in both"
        else:
            reason = f"{binding_reason}; {helix12_reason}"
        comparisons.append(
            Comparison(
                variant=variant,
                ligand=ligand,
                state=state,
                binding_shift=shifts[BINDING],
                binding_verdict=binding,
                helix12_shift=shifts[HELIX12],
                helix12_verdict=helix12,
                reason=reason,
            )
        )
    return _judged_together(comparisons, noise, thresholds)


def helix12_scores(cells: Matrix, hormone: str = HORMONE) -> dict[CellKey, tuple[Score | None, Score | None]]:
    """The helix-12 score of every cell: over the hormone's complex, and over the empty receptor, of the same variant.

    ``RMSD(cell) - RMSD(hormone or apo, agonist state)`` of helix 12 (537-544, C-alpha, angstrom) to its active place,
    over shared seeds: 0 is as active as the hormone leaves it, higher keeps helix 12 farther away. The difference is
    taken within a variant because a mutant's active place is its own (that of Y537S lies 1 A from the wild type's).

    Returns
    -------
    dict
        Cell -> (over the hormone, over apo); ``None`` where that was not simulated. A cell over itself is zero.
    """
    noise = difference_noise(cells, ACTIVE_PLACE, lambda c: (c[0],), lambda c: f"{c[1]}/{c[2]}")
    scores = {}
    for cell in cells.replicas:
        variant = cell[0]
        own = cells.values(cell, ACTIVE_PLACE)
        row: list[Score | None] = []
        for other in ((variant, hormone, str(HelixState.AGONIST)), (variant, "apo", str(HelixState.AGONIST))):
            if cell == other and own:
                row.append(Score(value=0.0, low=0.0, high=0.0, n_replicas=len(own), unit="angstrom"))
                continue
            shared = paired_difference(own, cells.values(other, ACTIVE_PLACE))
            row.append(score_of(shared, "angstrom", noise.get((variant,))))
        scores[cell] = (row[0], row[1])
    return scores


def _judged_together(
    comparisons: list[Comparison], noise: Mapping[str, Mapping[tuple, Noise | None]], thresholds: Thresholds
) -> tuple[Comparison, ...]:
    """The comparisons with whether each verdict stands among all of the screen (:func:`holm`)."""
    t = thresholds
    limits = {
        BINDING: ("binding", 1.0, t.weakened_kcal, t.lost_kcal),
        HELIX12: ("helix12", -1.0, t.helix12_weakened_angstrom, t.helix12_lost_angstrom),
    }
    family: list[tuple[int, str, float]] = []
    for i, found in enumerate(comparisons):
        for metric, (name, sign, weakened, lost) in limits.items():
            spread = noise[metric].get((found.ligand, found.state))
            p = verdict_p(getattr(found, f"{name}_shift"), sign, weakened, lost, spread)
            if p is not None:
                family.append((i, name, p))
    together = holm([p for _, _, p in family])
    updates: dict[int, dict[str, bool]] = {}
    for (i, name, _), stands in zip(family, together, strict=True):
        if getattr(comparisons[i], f"{name}_verdict") != Verdict.CANNOT_TELL:
            updates.setdefault(i, {})[f"{name}_stands"] = stands
    return tuple(found.model_copy(update=updates.get(i, {})) for i, found in enumerate(comparisons))


def _why_not_compared(cells: Matrix, mutant: CellKey, wild: CellKey) -> str:
    for cell in (wild, mutant):
        if not cells.replicas.get(cell):
            failed = cells.failed.get(cell, 0)
            fate = f"all {failed} tried failed" if failed else "it was not simulated"
            return f"no finished replica of {'/'.join(cell)} ({fate}), so there is nothing to compare"
    shared = set(cells.replicas[mutant]) & set(cells.replicas[wild])
    if not shared:
        return f"{'/'.join(mutant)} and {'/'.join(wild)} have no seed in common, so nothing pairs"
    return f"{'/'.join(mutant)} and {'/'.join(wild)} measured no score in common"
