"""How well a score agrees with measured affinities over congeneric series, and whether it beats another score.

Only compounds of one series are compared with each other: assays, receptors and offsets differ between series.

- **Kendall's tau-b** of a series; *pooled*: concordant less discordant pairs within series, over the geometric mean of
  the pairs that either side does not tie.
- **Pearson's r**; pooled after each series' mean has been taken off both sides.
- **Centred RMSE** (kcal/mol): the same means taken off, root mean square of what is left. A constant prediction has the
  spread of the measured values, which is given beside it.

Intervals are bootstrap percentiles over compounds, drawn within each series. Two scores are compared on the same
draws, so what makes a draw easy or hard cancels [1]_. Percentiles and not BCa: tau jumps as compounds repeat, and with
nine compounds the jackknife's acceleration is mostly noise.

References
----------
.. [1] A. Nicholls, Confidence limits, error bars and method comparison in molecular modeling. Part 2: comparing
       methods, J. Comput.-Aided Mol. Des. 30, 103 (2016).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

#: Level of every interval, draws, and their seed: the same values give the same intervals.
LEVEL, DRAWS, SEED = 0.95, 4000, 20240229
#: Compounds with a value below which a series says nothing of a correlation.
FEWEST = 3

METRICS = ("tau", "r", "rmse")


@dataclass(frozen=True)
class Estimate:
    """A metric and its interval; ``None`` where it is not defined (too few values, or all the same)."""

    value: float | None
    low: float | None = None
    high: float | None = None

    def to_json(self) -> dict[str, float | None]:
        return {"value": self.value, "low": self.low, "high": self.high}


@dataclass(frozen=True)
class Agreement:
    """Agreement of one score with measured values.

    Attributes
    ----------
    n
        Compounds with both.
    tau, r, rmse
        Kendall's tau-b, Pearson's r and centred RMSE (unit of the values).
    """

    n: int
    tau: Estimate
    r: Estimate
    rmse: Estimate

    def to_json(self) -> dict:
        return {"n": self.n, **{name: getattr(self, name).to_json() for name in METRICS}}


@dataclass(frozen=True)
class Difference:
    """Pooled tau of one score less that of another, on the compounds that both have.

    ``verdict`` is ``above`` or ``below`` where the whole interval lies on that side of zero, else ``cannot tell``.
    """

    n: int
    tau: Estimate
    verdict: str

    def to_json(self) -> dict:
        return {"n": self.n, "tau": self.tau.to_json(), "verdict": self.verdict}


def agreement(
    measured: Sequence[float], score: Sequence[float], series: Sequence[str], *, draws: int = DRAWS, seed: int = SEED
) -> Agreement:
    """Agreement of a score with measured values, pooled within series.

    Parameters
    ----------
    measured, score : (n,)
        Values of the same kind and sign (lower binds better, kcal/mol, say). A score that is not finite leaves its
        compound out.
    series : (n,)
        Which series each compound belongs to.
    draws, seed
        Bootstrap resamples, and the seed they are drawn with.

    Raises
    ------
    ValueError
        Arrays of different length.
    """
    x, y, groups, _ = _usable(measured, [score], series)
    point = _metrics(x[None], y[0][None], _sizes(groups))
    if len(x) < FEWEST:
        return Agreement(len(x), *(Estimate(None) for _ in METRICS))
    index, sizes = _draws(groups, draws, seed)
    resampled = _metrics(x[index], y[0][index], sizes)
    return Agreement(len(x), *(_estimate(point[m][0], resampled[m]) for m in METRICS))


def tau_difference(
    measured: Sequence[float],
    score: Sequence[float],
    other: Sequence[float],
    series: Sequence[str],
    *,
    draws: int = DRAWS,
    seed: int = SEED,
) -> Difference:
    """Pooled tau of ``score`` less that of ``other``, with a paired bootstrap interval; see :func:`agreement`."""
    x, (y, z), groups, _ = _usable(measured, [score, other], series)
    if len(x) < FEWEST:
        return Difference(len(x), Estimate(None), "cannot tell")
    sizes = _sizes(groups)
    first, second = (_metrics(x[None], v[None], sizes)["tau"][0] for v in (y, z))
    index, _ = _draws(groups, draws, seed)
    resampled = _metrics(x[index], y[index], sizes)["tau"] - _metrics(x[index], z[index], sizes)["tau"]
    estimate = _estimate(first - second, resampled)
    if estimate.low is not None and estimate.low > 0:
        return Difference(len(x), estimate, "above")
    if estimate.high is not None and estimate.high < 0:
        return Difference(len(x), estimate, "below")
    return Difference(len(x), estimate, "cannot tell")


def centred(values: Sequence[float], series: Sequence[str]) -> np.ndarray:
    """Values (n,) less the mean of their series."""
    values, names = np.asarray(values, dtype=float), np.asarray(series)
    means: Mapping[str, float] = {name: values[names == name].mean() for name in set(series)}
    return values - np.array([means[name] for name in series])


# -- inside: compounds are sorted by series, so that every draw has each series at the same places -----------------


def _usable(measured, scores, series):
    """Finite rows sorted by series: values, scores, series, and the order they were taken in."""
    arrays = [np.asarray(v, dtype=float) for v in (measured, *scores)]
    names = np.asarray(series, dtype=object)
    if any(len(a) != len(names) for a in arrays):
        raise ValueError(f"lengths differ: {[len(a) for a in arrays]} values, {len(names)} series")
    finite = np.flatnonzero(np.isfinite(np.array(arrays)).all(axis=0))
    order = finite[np.argsort(names[finite].astype(str), kind="stable")]
    return arrays[0][order], [a[order] for a in arrays[1:]], names[order], order


def _sizes(groups: np.ndarray) -> list[int]:
    return [int(n) for n in np.unique(groups.astype(str), return_counts=True)[1]]


def _draws(groups: np.ndarray, draws: int, seed: int) -> tuple[np.ndarray, list[int]]:
    """Indices (draws, n) of compounds drawn with replacement within each series."""
    generator, sizes = np.random.default_rng(seed), _sizes(groups)
    starts = np.cumsum([0, *sizes[:-1]])
    parts = [a + generator.integers(0, n, size=(draws, n)) for a, n in zip(starts, sizes, strict=True)]
    return np.concatenate(parts, axis=1), sizes


def _metrics(x: np.ndarray, y: np.ndarray, sizes: list[int]) -> dict[str, np.ndarray]:
    """Metrics (d,) of d samples, ``x`` and ``y`` (d, n) with the series one after the other; NaN if not defined."""
    balance, in_x, in_y = (np.zeros(len(x)) for _ in range(3))
    dx, dy = [], []
    start = 0
    for n in sizes:
        a, b = x[:, start : start + n], y[:, start : start + n]
        start += n
        upper = np.triu_indices(n, 1)
        signs = [np.sign(v[:, upper[0]] - v[:, upper[1]]) for v in (a, b)]
        balance += (signs[0] * signs[1]).sum(axis=1)
        in_x += np.abs(signs[0]).sum(axis=1)
        in_y += np.abs(signs[1]).sum(axis=1)
        dx.append(a - a.mean(axis=1, keepdims=True))
        dy.append(b - b.mean(axis=1, keepdims=True))
    cx, cy = (np.concatenate(v, axis=1) if v else np.zeros((len(x), 0)) for v in (dx, dy))
    with np.errstate(invalid="ignore", divide="ignore"):
        spread = np.sqrt((cx**2).sum(axis=1) * (cy**2).sum(axis=1))
        return {
            "tau": balance / np.sqrt(in_x * in_y),
            "r": np.where(spread > 1e-12, (cx * cy).sum(axis=1) / spread, np.nan),
            "rmse": np.sqrt(((cx - cy) ** 2).mean(axis=1)) if cx.shape[1] else np.full(len(x), np.nan),
        }


def _estimate(value: float, resampled: np.ndarray) -> Estimate:
    """Percentile interval of the draws in which the metric is defined (a draw of one compound alone has no tau)."""
    if not np.isfinite(value):
        return Estimate(None)
    good = resampled[np.isfinite(resampled)]
    if len(good) < len(resampled) / 2:
        return Estimate(float(value))
    low, high = np.quantile(good, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(float(value), float(low), float(high))
