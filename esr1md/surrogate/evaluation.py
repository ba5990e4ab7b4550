"""How good predictions are, and their intervals: error, order, likelihood, coverage."""

from __future__ import annotations

import math

import numpy as np
from scipy import stats


def evaluate_predictions(
    measured: np.ndarray, predicted: np.ndarray, sd: np.ndarray, low: np.ndarray, high: np.ndarray
) -> dict[str, float]:
    """Figures over n compounds; all arguments (n,), in one unit.

    Returns
    -------
    dict
        ``n``; ``mae`` and ``rmse`` in the unit; ``spearman`` (NaN where one side is constant); ``nll``, the mean
        negative log likelihood of a normal distribution with ``sd``; ``coverage``, the share of intervals that hold
        their measurement, with ``coverage_low`` and ``coverage_high``, its 95 % interval (Wilson, JASA 22, 209 (1927))
        if the compounds were independent; ``width``, the mean width of the intervals.

    Raises
    ------
    ValueError
        No compound.
    """
    measured, predicted, sd = (np.asarray(each, dtype=float) for each in (measured, predicted, sd))
    if not len(measured):
        raise ValueError("nothing to evaluate")
    error = measured - predicted
    constant = len(measured) < 3 or np.ptp(measured) == 0 or np.ptp(predicted) == 0
    inside = int(((np.asarray(low) <= measured) & (measured <= np.asarray(high))).sum())
    covered = stats.binomtest(inside, len(measured)).proportion_ci(0.95, method="wilson")
    return {
        "n": len(measured),
        "mae": float(np.abs(error).mean()),
        "rmse": float(np.sqrt((error**2).mean())),
        "spearman": math.nan if constant else float(stats.spearmanr(measured, predicted).statistic),
        "nll": float((0.5 * (error / sd) ** 2 + np.log(sd) + 0.5 * math.log(2 * math.pi)).mean()),
        "coverage": inside / len(measured),
        "coverage_low": float(covered.low),
        "coverage_high": float(covered.high),
        "width": float(np.mean(np.asarray(high) - np.asarray(low))),
    }
