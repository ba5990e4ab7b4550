"""Intervals from a handful of replicas, and how sure a rank is.

A replica is the unit; the frames of one run are correlated and never counted. Screens have 2 to 10 replicas
per cell, where the textbook bootstrap percentile interval is far too narrow: with n = 2 it covers the true
mean half of the time. Three repairs are made, each checked by simulation in ``tests/analysis``:

1. **Narrowness.** Resampled means have the variance ``(n-1)/n s^2/n``. The *smoothed* bootstrap adds normal
   noise of standard deviation ``s/sqrt(n)`` to every draw, which restores ``s^2/n`` and fills the gaps
   between the few values that resampling can reach ([1]_, "narrowness bias").
2. **Unknown spread.** Deviations are widened by ``t(df)/z``, as Student's t widens the normal interval
   ([1]_, "expanded percentile interval").
3. **Borrowed spread.** Two replicas know their spread so badly (t = 12.7) that alone they decide nothing.
   Cells run under one protocol share their noise, so their variances are *moderated*: shrunk towards a
   common value by the amount that the scatter of the variances themselves supports ([2]_, the method of
   ``limma``). When all cells are equally noisy this is the pooled variance; when many cells show that
   they are not, each keeps its own.

Differences between cells run from the same seeds are taken seed by seed, so whatever a seed does to both
cancels; the noise left over is the residual of the additive model ``value = cell + seed`` within the block of
cells compared (:func:`block_noise`), which counts a wild type shared by several mutants once.

References
----------
.. [1] T. C. Hesterberg, What teachers should know about the bootstrap, Am. Stat. 69, 371 (2015).
.. [2] G. K. Smyth, Linear models and empirical Bayes methods for assessing differential expression in
       microarray experiments, Stat. Appl. Genet. Mol. Biol. 3, 3 (2004).
.. [3] F. E. Satterthwaite, An approximate distribution of estimates of variance components, Biometrics
       Bull. 2, 110 (1946).
.. [4] A. Grossfield et al., Best practices for quantification of uncertainty and sampling quality in
       molecular simulations, Living J. Comp. Mol. Sci. 1, 5067 (2019).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import optimize, special, stats

#: Level of every interval unless another is asked for.
LEVEL = 0.95

#: Cells needed before the scatter of their variances is believed; with fewer the spread is pooled, because a
#: prior guessed from five variances of one degree of freedom lets 95 % intervals cover 91 %.
FEWEST_VARIANCES = 10


@dataclass(frozen=True)
class Noise:
    """How much single replicas scatter: standard deviation ``sd`` known with ``df`` degrees of freedom."""

    sd: float
    df: float


def sample_noise(values: Sequence[float]) -> Noise | None:
    """Standard deviation of the replicas (n,) themselves, n - 1 degrees of freedom; ``None`` for n < 2."""
    x = np.asarray(values, dtype=float)
    return Noise(float(x.std(ddof=1)), float(x.size - 1)) if x.size > 1 else None


def block_noise(block: Mapping[str, Mapping[int, float]]) -> Noise | None:
    """Replica noise left in a block of cells once every cell's mean and every seed's shift are taken out.

    Parameters
    ----------
    block
        Cell label -> seed -> value. Seeds may be missing.

    Returns
    -------
    Noise or None
        Residual of the two-way additive model ``value = cell + seed`` (randomised block design), with as many
        degrees of freedom as values beyond the rank of the design. The difference of two cells over n
        shared seeds then has the standard error ``sqrt(2/n) sd``. ``None`` without degrees of freedom.
    """
    rows = [(cell, seed, value) for cell in sorted(block) for seed, value in sorted(block[cell].items())]
    if not rows:
        return None
    cells = {name: i for i, name in enumerate(sorted(block))}
    seeds = {seed: i for i, seed in enumerate(sorted({seed for _, seed, _ in rows}))}
    design = np.zeros((len(rows), len(cells) + len(seeds)))
    values = np.empty(len(rows))
    for i, (cell, seed, value) in enumerate(rows):
        design[i, cells[cell]] = design[i, len(cells) + seeds[seed]] = 1.0
        values[i] = value
    values -= values.mean()
    solution, _, rank, _ = np.linalg.lstsq(design, values, rcond=None)
    df = len(rows) - int(rank)
    if df < 1:
        return None
    residual = values - design @ solution
    return Noise(math.sqrt(float(residual @ residual) / df), float(df))


def seed_effect(block: Mapping[str, Mapping[int, float]]) -> float:
    """Probability (F test) that seeds which shift all cells of a block alike would look so by chance.

    The cells' own spreads are independent only if this is not small; with a common shift each of them holds
    the same few seeds, and pooling them would count that shift again and again. 1 when it cannot be tested.
    """
    residual = block_noise(block)
    within = pooled_sd([sample_noise(list(values.values())) for values in block.values()])
    if residual is None or within is None or within.df - residual.df < 1:
        return 1.0
    explained_df = within.df - residual.df
    explained = (within.df * within.sd**2 - residual.df * residual.sd**2) / explained_df
    if explained <= 0:
        return 1.0
    if residual.sd == 0:
        return 0.0
    return float(stats.f.sf(explained / residual.sd**2, explained_df, residual.df))


def pooled_sd(noises: Sequence[Noise | None]) -> Noise | None:
    """One spread for all: variances averaged with their degrees of freedom as weights, which are summed."""
    known = [n for n in noises if n is not None]
    df = sum(n.df for n in known)
    if df < 1:
        return None
    return Noise(math.sqrt(sum(n.df * n.sd**2 for n in known) / df), df)


def moderated(noises: Sequence[Noise | None]) -> list[Noise | None]:
    """Every cell's spread, shrunk towards the spread common to all (empirical Bayes, Smyth 2004).

    The variances ``s^2`` are taken as draws of ``sigma^2 chi2(d)/d``, with ``1/sigma^2`` itself drawn from a
    scaled chi2 of ``d0`` degrees of freedom around ``1/s0^2``. ``d0`` and ``s0`` follow from the mean and the
    variance of ``log s^2``; then ``s~^2 = (d0 s0^2 + d s^2) / (d0 + d)`` has ``d0 + d`` degrees of freedom,
    never more than were measured in all. If the variances scatter no more than chance allows, ``d0`` is
    infinite and every cell gets the pooled spread; so it does with fewer than
    :data:`FEWEST_VARIANCES` cells.

    Returns
    -------
    list of Noise or None
        In the order given. A cell that has no spread of its own (one replica) gets the common one;
        ``None`` only when no cell has any.
    """
    pool = pooled_sd(noises)
    if pool is None:
        return [None] * len(noises)
    known = [n for n in noises if n is not None and n.df >= 1]
    # log(0) has no use: identical replicas (a rigid metric) are lifted to a tiny variance, as limma does.
    floor = max(1e-5 * float(np.median([n.sd**2 for n in known])), 1e-30)
    d = np.array([n.df for n in known])
    log_variance = np.log([max(n.sd**2, floor) for n in known])
    e = log_variance - special.digamma(d / 2) + np.log(d / 2)
    excess = -1.0
    if len(known) >= FEWEST_VARIANCES:
        excess = float(np.sum((e - e.mean()) ** 2) / (len(known) - 1) - np.mean(special.polygamma(1, d / 2)))
    if excess <= 1e-6:
        prior_df, prior_variance = math.inf, pool.sd**2
    else:
        prior_df = 2 * _inverse_trigamma(excess)
        prior_variance = math.exp(float(e.mean()) + special.digamma(prior_df / 2) - math.log(prior_df / 2))

    def shrink(noise: Noise | None) -> Noise:
        own_df, own_variance = (noise.df, noise.sd**2) if noise else (0.0, 0.0)
        if math.isinf(prior_df):
            return pool
        variance = (prior_df * prior_variance + own_df * own_variance) / (prior_df + own_df)
        return Noise(math.sqrt(variance), min(prior_df + own_df, pool.df))

    return [shrink(n) for n in noises]


def _inverse_trigamma(y: float) -> float:
    """x > 0 with ``trigamma(x) = y``."""
    return math.exp(optimize.brentq(lambda log_x: special.polygamma(1, math.exp(log_x)) - y, -20.0, 20.0))


def t_interval(value: float, standard_error: float, df: float, level: float = LEVEL) -> tuple[float, float]:
    """``value -+ t(df) standard_error``: the interval when the error is normal."""
    half = float(special.stdtrit(df, 0.5 + level / 2)) * standard_error
    return value - half, value + half


def bootstrap_interval(
    values: Sequence[float],
    level: float = LEVEL,
    n_boot: int = 4000,
    seed: int = 0,
    noise: Noise | None = None,
) -> tuple[float, float] | None:
    """Interval of the mean of a few replicas: smoothed bootstrap, widened by Student's t.

    Draws n replicas with replacement, ``n_boot`` times; adds normal noise so that a draw has the full
    variance (of the replicas, or of ``noise`` when the spread is borrowed from other cells); takes the
    percentiles of the means' deviations and multiplies them by ``t(df)/z``. For normal replicas this is
    Student's t interval within the Monte Carlo error of the percentiles; for skewed ones it leans as they do.

    Parameters
    ----------
    values : (n,)
        One number per replica. Their order does not matter.
    level
        Coverage wanted.
    n_boot, seed
        Number of resamples and seed of the generator: the same input gives the same interval.
    noise
        Spread of a single replica known from more than these (see :func:`moderated`); the sample's own
        if not given.

    Returns
    -------
    (low, high) or None
        ``None`` for fewer than two replicas: one run says nothing of its own scatter.

    Raises
    ------
    ValueError
        If a value is not finite.
    """
    x = np.sort(np.asarray(values, dtype=float))
    if not np.isfinite(x).all():
        raise ValueError(f"replica values must be finite, got {x.tolist()}")
    n = x.size
    if n < 2:
        return None
    noise = noise or Noise(float(x.std(ddof=1)), float(n - 1))
    mean, own_sd = float(x.mean()), float(x.std(ddof=1))
    if noise.sd == 0:
        return mean, mean
    # Shape from the replicas, size from the noise: deviations carry (n-1)/n of the variance, the kernel 1/n.
    deviations = (x - mean) * (noise.sd / own_sd if own_sd > 0 else 0.0)
    kernel = noise.sd / math.sqrt(n) if own_sd > 0 else noise.sd
    shares, normal = _resamples(n, n_boot, seed)
    draws = shares @ deviations + normal * (kernel / math.sqrt(n))
    tail = (1 - level) / 2
    widen = float(special.stdtrit(noise.df, 1 - tail) / special.ndtri(1 - tail))
    low, high = np.quantile(draws, [tail, 1 - tail])
    return mean + widen * float(low), mean + widen * float(high)


@lru_cache(maxsize=8)
def _resamples(n: int, n_boot: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Share of each of n replicas in every resample (n_boot, n), and standard normal numbers (n_boot,).

    They do not depend on the data, and a screen asks for thousands of intervals. Each normal number comes with
    both signs, so that smoothing adds no bias of its own.
    """
    generator = np.random.default_rng(seed)
    shares = generator.multinomial(n, np.full(n, 1 / n), n_boot) / n
    half = generator.standard_normal((n_boot + 1) // 2)
    return shares, np.concatenate([half, -half])[:n_boot]


def paired_difference(mutant: Mapping[int, float], wild: Mapping[int, float]) -> dict[int, float]:
    """``mutant - wild`` for every seed both have: seed -> difference, in the order of the seeds."""
    return {seed: mutant[seed] - wild[seed] for seed in sorted(set(mutant) & set(wild))}


def satterthwaite(variances: Sequence[float], dfs: Sequence[float], most: float = math.inf) -> float:
    """Degrees of freedom of a sum of independent variance estimates (Satterthwaite), at most ``most``."""
    total = sum(variances)
    if total == 0:
        return min(min(dfs), most)
    return min(total**2 / sum(v**2 / df for v, df in zip(variances, dfs, strict=True)), most)


def replicas_to_decide(margin: float, sd: float, df: float, n: int, most: int = 1000) -> int | None:
    """How many replicas in all bring the half-width of an interval below ``margin``.

    The smallest m > n with ``t(df + m - n) sd / sqrt(m) < margin``: it assumes that the mean stays where it
    is and that the spread is as estimated, so it is a plan and not a promise.

    Returns
    -------
    int or None
        ``None`` when more than ``most`` would be needed.
    """
    if margin <= 0:
        return None
    m = np.arange(n + 1, most + 1)
    enough = special.stdtrit(df + m - n, 0.5 + LEVEL / 2) * sd / np.sqrt(m) < margin
    return int(m[np.argmax(enough)]) if enough.any() else None


def draws(
    values: Sequence[float],
    standard_errors: Sequence[float | None],
    df: float,
    n_draws: int = 4000,
    seed: int = 0,
) -> np.ndarray:
    """What the values might have been (n_draws, k): each perturbed by its standard error times Student's t.

    The t of one draw share their denominator, for the spread is estimated once for all. An unknown error
    (``None``) leaves the value as it is. The order of the input does not change what an item gets.
    """
    centre = np.asarray(values, dtype=float)
    errors = np.array([0.0 if error is None else error for error in standard_errors])
    generator = np.random.default_rng(seed)
    scale = np.sqrt(df / generator.chisquare(df, (n_draws, 1))) if math.isfinite(df) and df > 0 else 1.0
    order = np.argsort(centre, kind="stable")
    shifts = np.empty((n_draws, centre.size))
    shifts[:, order] = generator.standard_normal((n_draws, centre.size))
    return centre + errors * scale * shifts


@dataclass(frozen=True)
class Ranks:
    """How sure the ranks of k items are (1 is the lowest value); one entry for each item.

    ``low`` and ``high`` hold the observed rank; ``best`` is the probability of having the lowest value of all, given
    that values and errors are what they seem.
    """

    low: tuple[int, ...]
    high: tuple[int, ...]
    best: tuple[float | None, ...]


def rank_intervals(
    values: Sequence[float],
    standard_errors: Sequence[float | None],
    df: float,
    level: float = LEVEL,
    n_draws: int = 4000,
    seed: int = 0,
) -> Ranks:
    """Between which ranks each item lies, and how likely it is the best (1 is the lowest value).

    Every one of the :func:`draws` is ranked (parametric bootstrap); the percentiles of an item's ranks are its
    interval, rounded outwards and made to hold the observed rank.

    Parameters
    ----------
    values : (k,)
    standard_errors : (k,)
        ``None`` where it is not known: such an item may have any rank, and then no probability of being best is
        given for any item, since it might be that one.
    df
        Degrees of freedom of the standard errors.
    """
    k = len(values)
    if k == 0:
        return Ranks((), (), ())
    unknown = [error is None for error in standard_errors]
    ranks = draws(values, standard_errors, df, n_draws, seed).argsort(axis=1).argsort(axis=1) + 1
    observed = np.asarray(values, dtype=float).argsort(kind="stable").argsort() + 1
    tail = (1 - level) / 2
    low = np.minimum(np.floor(np.quantile(ranks, tail, axis=0, method="lower")), observed)
    high = np.maximum(np.ceil(np.quantile(ranks, 1 - tail, axis=0, method="higher")), observed)
    best = (ranks == 1).mean(axis=0)
    return Ranks(
        tuple(1 if unknown[i] else int(low[i]) for i in range(k)),
        tuple(k if unknown[i] else int(high[i]) for i in range(k)),
        tuple(None if any(unknown) else float(best[i]) for i in range(k)),
    )


def pareto_front(criteria: np.ndarray) -> np.ndarray:
    """Which items no other beats: at least as low in every criterion and lower in one.

    Parameters
    ----------
    criteria : (..., k, m)
        Lower is better in each of the m.

    Returns
    -------
    (..., k) of bool
    """
    one, other = criteria[..., :, None, :], criteria[..., None, :, :]
    beaten = (other <= one).all(axis=-1) & (other < one).any(axis=-1)
    return ~beaten.any(axis=-1)


def holm(p_values: Sequence[float], level: float = LEVEL) -> list[bool]:
    """Which of a family of findings stand together: the chance that any of them is false is at most ``1 - level``.

    Source: S. Holm, A simple sequentially rejective multiple test procedure, Scand. J. Stat. 6, 65 (1979).
    """
    alpha, m = 1 - level, len(p_values)
    stands = [False] * m
    for k, index in enumerate(sorted(range(m), key=p_values.__getitem__)):
        if p_values[index] > alpha / (m - k):
            break
        stands[index] = True
    return stands
