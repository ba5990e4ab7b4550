"""Facts the run should reproduce: a screen that fails them should not be believed on the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from esr1md.analysis.statistics import Noise, block_noise, paired_difference
from esr1md.config import Thresholds
from esr1md.scoring.cells import CellKey, Matrix, score_of
from esr1md.scoring.comparisons import ACTIVE_PLACE, HORMONE, WILD
from esr1md.scoring.scores import CellScore, Control, Score
from esr1md.scoring.verdicts import too_short
from esr1md.specs import HelixState


def check_controls(
    cells: Matrix,
    scores: Sequence[CellScore],
    reference: Mapping[str, str],
    thresholds: Thresholds,
    production_ps: float | None = None,
) -> tuple[Control, ...]:
    """Each known fact with whether this run agrees, contradicts it, cannot tell or did not run it.

    1. Estradiol keeps helix 12 over the pocket, in the wild type and in every variant screened (1ERE,
       1QKU, 5WGD: the metric is below 0).
    2. The antagonist-state reference ligand keeps helix 12 in the AF-2 groove of the wild type
       (3ERT: above 0).
    3. Without a ligand, Y537S holds helix 12 nearer the active place than the wild type does (apo coactivator
       Kd 13.6 nM against none; Fanning et al., eLife 5, e12792 (2016)). Each is measured over estradiol's complex
       of the same variant, because the active place of Y537S is its own, 1 A from the wild type's.

    Replicas under ``thresholds.minimum_production_ps`` can contradict a fact but not agree with it: helix 12
    had no time to leave the place it started in.
    """
    scored = {(s.variant, s.ligand, s.state): s for s in scores}
    agonist, antagonist = str(HelixState.AGONIST), str(HelixState.ANTAGONIST)
    variants = [v for v in cells.names(0) if (v, HORMONE, agonist) in scored] or [WILD]
    found = [_side(scored, (v, HORMONE, agonist), -1) for v in variants]
    if name := reference.get(antagonist):
        found.append(_side(scored, (WILD, name, antagonist), +1))
    found.append(_apo_y537s(cells))
    if not too_short(production_ps, thresholds):
        return tuple(found)
    why = f"; it started there and had {production_ps:g} ps to leave"
    return tuple(
        control.model_copy(update={"outcome": "cannot tell", "detail": control.detail + why})
        if control.outcome == "agrees"
        else control
        for control in found
    )


def _side(scored: Mapping[CellKey, CellScore], cell: CellKey, sign: int) -> Control:
    """Helix 12 on the agonist (-1) or the antagonist (+1) side of the midpoint between the references."""
    variant, ligand, state = cell
    name = f"{ligand} in {variant}, {state} state"
    place = "over the pocket (agonist side)" if sign < 0 else "in the AF-2 groove (antagonist side)"
    statement = f"{ligand} keeps helix 12 {place} of {variant}"
    record = scored.get(cell)
    if record is None or record.helix12 is None:
        detail = "no finished replica" if record else "not part of this screen"
        return Control(name=name, statement=statement, outcome="not run", detail=detail)
    score = record.helix12
    detail = f"helix 12 RMSD difference {_text(score)}"
    if score.low is None or score.high is None:
        return Control(name=name, statement=statement, outcome="cannot tell", detail=f"{detail}: no interval")
    least, most = sorted((sign * score.low, sign * score.high))
    outcome = "agrees" if least > 0 else "contradicts" if most < 0 else "cannot tell"
    return Control(name=name, statement=statement, outcome=outcome, detail=detail)


def _apo_y537s(cells: Matrix) -> Control:
    name = "apo Y537S against apo wild type, agonist state"
    statement = "without a ligand, Y537S holds helix 12 nearer its active place than the wild type does"
    state = str(HelixState.AGONIST)
    block = {
        f"{ligand} in {variant}": cells.values((variant, ligand, state), ACTIVE_PLACE)
        for variant in (WILD, "Y537S")
        for ligand in ("apo", HORMONE)
    }
    missing = [cell for cell, values in block.items() if not values]
    if missing:
        detail = f"needs replicas, in the agonist state, of {', '.join(missing)}"
        return Control(name=name, statement=statement, outcome="not run", detail=detail)
    over_hormone = {v: paired_difference(block[f"apo in {v}"], block[f"{HORMONE} in {v}"]) for v in (WILD, "Y537S")}
    noise = block_noise(block)  # of one value; a difference of differences has that of four
    double = noise and Noise(2 * noise.sd, noise.df)
    difference = score_of(paired_difference(over_hormone["Y537S"], over_hormone[WILD]), "angstrom", double)
    if difference is None:
        detail = "the four cells it compares have no seed in common"
        return Control(name=name, statement=statement, outcome="cannot tell", detail=detail)
    detail = f"distance from the active place over estradiol's, Y537S minus wild type: {_text(difference)}"
    if difference.low is None or difference.high is None:
        outcome = "cannot tell"
    else:
        outcome = "agrees" if difference.high < 0 else "contradicts" if difference.low > 0 else "cannot tell"
    return Control(name=name, statement=statement, outcome=outcome, detail=detail + _latch(cells))


def _latch(cells: Matrix) -> str:
    """The 537-D351 distance in both, for the reader: the lock by which Y537S is active."""
    metric, state = "latch_537_351_angstrom", str(HelixState.AGONIST)
    means = {}
    for variant in (WILD, "Y537S"):
        values = list(cells.values((variant, "apo", state), metric).values())
        if not values:
            return ""
        means[variant] = sum(values) / len(values)
    return f"; 537-D351 latch {means['Y537S']:.1f} A against {means[WILD]:.1f} A"


def _text(score: Score) -> str:
    interval = "" if score.low is None else f" (95 % interval {score.low:+.1f} to {score.high:+.1f})"
    return f"{score.value:+.1f} A{interval}, {score.n_replicas} replica{'' if score.n_replicas == 1 else 's'}"
