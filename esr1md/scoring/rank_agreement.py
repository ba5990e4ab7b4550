"""Kendall's tau between predicted and measured affinities, within one paper and assay.

Two kinds of series: how much each mutation costs each ligand (shift of MM/GBSA against log10 of the ratio mutant/WT),
and the ligands of one variant that start in one state. Only the order is compared: MM/GBSA without entropy exaggerates
differences severalfold. The interval is a bootstrap over the points, the predictions of each draw perturbed by the
noise of their replicas (the wild type's moves the mutants of a ligand together). The scatter of the points holds the
errors of the measurements; they are not added a second time. Of a few points in perfect order every resample is in
perfect order too, so a tau counts only if orders dealt at random reach it less than once in forty times.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from esr1md.analysis.statistics import Noise
from esr1md.scoring.cells import BINDING, CellKey, Matrix, score_of
from esr1md.scoring.claims import Differences, state_choices
from esr1md.scoring.comparisons import WILD
from esr1md.scoring.draws import N_DRAWS, SEED, score_draws
from esr1md.scoring.evidence import AffinityValue, Dataset, Evidence
from esr1md.scoring.scores import Record, Score

#: Points below which a tau says nothing: of three, one in six orders is right by chance.
FEWEST_POINTS = 4
Kind = Literal["mutations", "ligands"]


class RankPoint(Record):
    """A measured value with its prediction.

    ``measured`` is log10 of the ratio mutant/WT of the affinity constants (``mutations``) or of the affinity constant
    itself (``ligands``; relative binding affinities with the sign turned): lower is tighter. ``predicted`` is the shift
    against WT or the mean binding (kcal/mol), ``None`` where it was not run.
    """

    ligand: str
    variant: str
    state: str
    measured: float
    measured_error: float | None
    predicted: Score | None


class RankAgreement(Record):
    """Kendall's tau of one series, or pooled over the pairs within several.

    ``low`` to ``high`` is the 95 % interval, ``chance`` how often orders dealt at random reach a tau as far from zero
    on its side; ``tau`` is ``None`` with fewer than four predicted points.
    """

    series: str
    kind: Kind
    source: str
    n_measured: int
    n_predicted: int
    tau: float | None
    low: float | None
    high: float | None
    chance: float | None = None
    outcome: Literal["agrees", "contradicts", "cannot tell", "not run"]
    detail: str
    points: tuple[RankPoint, ...] = ()


@dataclass(frozen=True)
class _Measured:
    ligand: str
    variant: str
    log10: float
    error: float | None


def rank_agreements(evidence: Evidence, cells: Matrix, short: bool = False) -> tuple[RankAgreement, ...]:
    """Every series of at least four measured values, then all series of mutations pooled if there are several.

    Parameters
    ----------
    evidence
        From :func:`esr1md.scoring.evidence.evidence`.
    cells
        The replicas.
    short
        Whether the replicas are too short to agree with anything.
    """
    differences = Differences(cells)
    found: list[RankAgreement] = []
    for dataset in evidence.datasets:
        for name, kind, measured in _series(dataset):
            if len(measured) >= FEWEST_POINTS:
                predict = _shift if kind == "mutations" else _mean
                points = _points(measured, cells, lambda *cell, p=predict, m=measured: p(differences, m, *cell))
                found.append(_agreement([points], name, kind, dataset.source, short))
    shifts = [each for each in found if each.kind == "mutations"]
    if len(shifts) > 1:
        source = "pairs within " + " and within ".join(each.series for each in shifts)
        found.append(_agreement([each.points for each in shifts], "all mutations", "mutations", source, short))
    return tuple(found)


def _series(dataset: Dataset) -> list[tuple[str, Kind, list[_Measured]]]:
    """The series a dataset holds: ratios to WT, and ligands of one variant in one state by one quantity."""
    exact = [value for value in dataset.values if value.log_affinity is not None]
    wild = {(v.ligand, v.quantity): v for v in exact if v.variant == WILD}
    ratios = []
    for value in exact:
        base = wild.get((value.ligand, value.quantity))
        if value.variant != WILD and base is not None:
            error = math.hypot(_log_error(value), _log_error(base)) or None
            ratios.append(_Measured(value.ligand, value.variant, value.log_affinity - base.log_affinity, error))
    series: list[tuple[str, Kind, list[_Measured]]] = [(dataset.name, "mutations", ratios)]
    groups: dict[tuple[str, ...], list[_Measured]] = {}
    for value in exact:
        key = (value.variant, value.quantity, state_choices(value.ligand, None)[0])
        one = _Measured(value.ligand, value.variant, value.log_affinity, _log_error(value) or None)
        groups.setdefault(key, []).append(one)
    return series + [(f"{dataset.name} {' '.join(key)}", "ligands", group) for key, group in groups.items()]


def _log_error(value: AffinityValue) -> float:
    return value.error / value.value / math.log(10) if value.error else 0.0


def _points(
    measured: Sequence[_Measured], cells: Matrix, predict: Callable[[str, str, str], Score | None]
) -> tuple[RankPoint, ...]:
    points = []
    for one in measured:
        choices = state_choices(one.ligand, None)
        scores = {state: predict(one.variant, one.ligand, state) for state in choices}
        state = next((s for s in choices if scores[s] is not None), choices[0])
        points.append(RankPoint(ligand=one.ligand, variant=one.variant, state=state, measured=one.log10,
                                measured_error=one.error, predicted=scores[state]))  # fmt: skip
    return tuple(points)


def _shift(
    differences: Differences, measured: Sequence[_Measured], variant: str, ligand: str, state: str
) -> Score | None:
    values, noise = differences.between(BINDING, (variant, ligand, state), (WILD, ligand, state))
    return score_of(values, "kcal/mol", noise)


def _mean(
    differences: Differences, measured: Sequence[_Measured], variant: str, ligand: str, state: str
) -> Score | None:
    """Mean over the seeds that all of the series' ligands have, with the noise that is left of their differences."""
    ligands = [one.ligand for one in measured if differences.cells.values((one.variant, one.ligand, state), BINDING)]
    cell: CellKey = (variant, ligand, state)
    seeds = [set(differences.cells.values((variant, name, state), BINDING)) for name in ligands]
    own: Mapping[int, float] = differences.cells.values(cell, BINDING)
    common = set.intersection(*seeds) if seeds else set()
    noise = differences.noise(BINDING, "ligand", cell)
    single = noise and Noise(noise.sd / math.sqrt(2), noise.df)
    return score_of({seed: value for seed, value in own.items() if seed in common}, "kcal/mol", single)


def _agreement(series: Sequence[Sequence[RankPoint]], name: str, kind: Kind, source: str, short: bool) -> RankAgreement:
    """Tau over the pairs within each series, with its interval."""
    every = [point for points in series for point in points]
    predicted = {(p.ligand, p.variant, p.state): p.predicted for p in every if p.predicted is not None}
    units = list(predicted)
    counts = {"n_measured": len(every), "n_predicted": sum(p.predicted is not None for p in every)}
    common = {"series": name, "kind": kind, "source": source, "points": tuple(every) if len(series) == 1 else ()}
    none = {"tau": None, "low": None, "high": None}
    if len(units) < FEWEST_POINTS:
        outcome = "not run" if not units else "cannot tell"
        detail = f"{len(units)} of the measured cells have a prediction; {FEWEST_POINTS} are needed"
        return RankAgreement(**common, **counts, **none, outcome=outcome, detail=detail)
    blocks = []
    for points in series:
        known = [p for p in points if p.predicted is not None]
        index = np.array([units.index((p.ligand, p.variant, p.state)) for p in known], dtype=int)
        blocks.append((index, np.array([[p.measured for p in known]])))
    scores = [predicted[unit] for unit in units]
    values = np.array([[score.value for score in scores]])
    tau = float(_tau(values, blocks, np.ones_like(values))[0])
    low = high = None
    detail = f"{len(units)} predictions for {counts['n_predicted']} measured values"
    if math.isnan(tau):
        return RankAgreement(**common, **counts, **none, outcome="cannot tell", detail=f"{detail}, all of them equal")
    if all(score.low is not None for score in scores):
        generator = np.random.default_rng(SEED)
        draws = np.empty((N_DRAWS, len(units)))
        for ligand in dict.fromkeys(unit[0] for unit in units):
            mine = [i for i, unit in enumerate(units) if unit[0] == ligand]
            draws[:, mine] = score_draws([scores[i] for i in mine], generator, 0.5 if kind == "mutations" else 0.0)
        weights = generator.multinomial(len(units), np.full(len(units), 1 / len(units)), N_DRAWS)
        taus = _tau(draws, blocks, weights)
        low, high = (float(q) for q in np.nanquantile(taus, [0.025, 0.975]))
        low, high = min(low, tau), max(high, tau)
    else:
        detail += "; a single replica leaves no interval"
    dealt = _tau(
        np.random.default_rng(SEED).permuted(np.tile(values, (N_DRAWS, 1)), axis=1), blocks, np.ones_like(values)
    )
    chance = float((1 + (dealt * np.sign(tau) >= abs(tau) - 1e-9).sum()) / (1 + N_DRAWS))
    outcome = "cannot tell" if low is None else "agrees" if low > 0 else "contradicts" if high < 0 else "cannot tell"
    if outcome != "cannot tell" and chance > 0.025:
        outcome, detail = "cannot tell", f"{detail}; {100 * chance:.0f} % of random orders do as well"
    if outcome == "agrees" and short:
        outcome, detail = "cannot tell", f"{detail}; the replicas are too short to agree"
    return RankAgreement(**common, **counts, tau=tau, low=low, high=high, chance=chance, outcome=outcome, detail=detail)


def _tau(predicted: np.ndarray, measured: Sequence[tuple[np.ndarray, np.ndarray]], weights: np.ndarray) -> np.ndarray:
    """Kendall's tau (n,) over the pairs within each series, ties of the measured values left out.

    Parameters
    ----------
    predicted : (n, k)
        Of the k distinct predictions.
    measured
        For each series the predictions it is about, and its values (1, m).
    weights : (n, k)
        How often the resample has each prediction.
    """
    agree = np.zeros(len(predicted))
    pairs = np.zeros(len(predicted))
    for index, values in measured:
        first, second = np.triu_indices(len(index), 1)
        a, b = index[first], index[second]
        weight = weights[:, a] * weights[:, b]
        order = np.sign(values[:, first] - values[:, second])
        agree += (weight * order * np.sign(predicted[:, a] - predicted[:, b])).sum(axis=1)
        pairs += (weight * np.abs(order)).sum(axis=1)
    with np.errstate(invalid="ignore"):
        return np.where(pairs > 0, agree / np.where(pairs > 0, pairs, 1), np.nan)
