"""What to simulate next: how much each candidate promises, and a batch of them that do not resemble each other.

Pure functions on arrays, of n candidates. Everywhere a *lower* value is the better one, as of a binding energy; turn
the sign of a score of which more is better. Expected improvement: Jones, Schonlau & Welch, J. Global Optim. 13, 455
(1998), equation 15.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from scipy.special import ndtr

By = Literal["mix", "expected-improvement", "uncertainty"]
#: How candidates may be valued.
WAYS: tuple[str, ...] = get_args(By)
#: Exponent of the uncertainty in :func:`mix`.
UNCERTAINTY_SHARE = 0.25


def expected_improvement(mean: np.ndarray, sd: np.ndarray, best: np.ndarray | float) -> np.ndarray:
    """By how much each candidate is expected to fall below the best value known.

    With ``z = (best - mean) / sd`` it is ``(best - mean) Phi(z) + sd phi(z)``; without any uncertainty
    ``max(best - mean, 0)``.

    Parameters
    ----------
    mean, sd : (n,)
        Predictions and their standard deviations, in one unit.
    best : (n,) or float
        What is to be improved on: :func:`top_threshold`, of all or of what each candidate is compared with.

    Returns
    -------
    (n,)
        In the same unit, 0 or more.

    Raises
    ------
    ValueError
        A standard deviation is negative.
    """
    mean, sd = np.asarray(mean, dtype=float), np.asarray(sd, dtype=float)
    if (sd < 0).any():
        raise ValueError(f"a standard deviation is negative: {sd.min():g}")
    gain = np.asarray(best, dtype=float) - mean
    z = np.divide(gain, sd, out=np.zeros_like(sd), where=sd > 0)
    density = np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)
    return np.where(sd > 0, np.maximum(gain * ndtr(z) + sd * density, 0.0), np.maximum(gain, 0.0))


def mix(mean: np.ndarray, sd: np.ndarray, best: np.ndarray | float) -> np.ndarray:
    """``EI^(3/4) sd^(1/4)``: expected improvement that leans towards what is least known, (n,), in its unit.

    The geometric mean needs no scale of its own: a candidate that cannot be good is not worth its uncertainty.
    """
    uncertain = np.asarray(sd, dtype=float) ** UNCERTAINTY_SHARE
    return expected_improvement(mean, sd, best) ** (1 - UNCERTAINTY_SHARE) * uncertain


def acquisition(by: By, mean: np.ndarray, sd: np.ndarray, best: np.ndarray | float) -> np.ndarray:
    """What each candidate promises, by one of :data:`WAYS`: (n,) in the unit of ``mean``, more is better.

    ``uncertainty`` is the standard deviation itself and asks for no ``best``.

    Raises
    ------
    ValueError
        An unknown way, or a negative standard deviation.
    """
    if by == "expected-improvement":
        return expected_improvement(mean, sd, best)
    if by == "uncertainty":
        return np.asarray(sd, dtype=float)
    if by == "mix":
        return mix(mean, sd, best)
    raise ValueError(f"unknown acquisition {by!r}; expected one of {', '.join(WAYS)}")


def top_threshold(known: np.ndarray, mean: np.ndarray, top: int) -> float:
    """The value that the best ``top`` are now believed to reach: what a candidate has to improve on to be one of them.

    With ``top`` 1 and good predictions it is the best value known. To find the best twenty of a thousand, improvement
    on the very best is the wrong question: it sends the search after the uncertain
    (tests/benchmarks/active_learning.py).

    Parameters
    ----------
    known : (k,)
        Values measured.
    mean : (n,)
        Predictions of what was not.
    top
        How many are looked for, 1 or more; the worst one's value if there are fewer.

    Raises
    ------
    ValueError
        Nothing is known and nothing predicted, or ``top`` is below 1.
    """
    believed = np.sort(np.concatenate([np.asarray(known, dtype=float), np.asarray(mean, dtype=float)]))
    if top < 1 or not len(believed):
        raise ValueError(f"no threshold of the best {top} of {len(believed)}")
    return float(believed[min(top, len(believed)) - 1])


@dataclass(frozen=True)
class Pick:
    """One choice of a batch.

    Attributes
    ----------
    index
        Which candidate.
    value
        What it promised.
    similarity
        To the most similar one among those chosen before it and those given as known, 0 to 1.
    worth
        ``value * (1 - diversity * similarity)``, the largest of all that the budget had room for.
    """

    index: int
    value: float
    similarity: float
    worth: float


def select_batch(
    value: np.ndarray,
    similar_to: Callable[[int], np.ndarray],
    *,
    cost: np.ndarray | None = None,
    budget: float = np.inf,
    most: int | None = None,
    diversity: float = 1.0,
    nearest: np.ndarray | None = None,
) -> list[Pick]:
    """Candidates one after the other, each the most promising that differs from those before and is still affordable.

    The value of a candidate is multiplied by ``1 - diversity * s``, s being its similarity to the most similar one
    chosen before it: with ``diversity`` 1 its twin is never taken. A dear one that no longer
    fits the budget gives way to cheaper ones.

    Parameters
    ----------
    value : (n,)
        What each promises, 0 or more; those at 0 are never taken.
    similar_to
        Index -> similarities of that candidate to all (n,), 0 to 1.
    cost : (n,)
        In the unit of ``budget``; nothing if not given.
    budget
        May be spent in all.
    most
        Candidates at most.
    diversity
        0 (none) to 1.
    nearest : (n,)
        Similarity of each to the nearest compound that is known already, where that is to count as well.

    Returns
    -------
    list of Pick
        In the order of choice; empty if nothing is worth anything or affordable.

    Raises
    ------
    ValueError
        A negative value or cost, or a diversity outside 0 to 1.
    """
    value = np.asarray(value, dtype=float)
    cost = np.zeros(len(value)) if cost is None else np.asarray(cost, dtype=float)
    if (value < 0).any() or (cost < 0).any():
        raise ValueError("values and costs must be 0 or more")
    if not 0 <= diversity <= 1:
        raise ValueError(f"diversity is {diversity:g}; expected 0 to 1")
    near = np.zeros(len(value)) if nearest is None else np.array(nearest, dtype=float)
    free = np.ones(len(value), dtype=bool)
    picks: list[Pick] = []
    left = budget
    while most is None or len(picks) < most:
        worth = np.where(free & (cost <= left * (1 + 1e-9)), value * (1 - diversity * near), -np.inf)
        if not (worth > 0).any():
            break
        best = int(worth.argmax())
        picks.append(Pick(best, float(value[best]), float(near[best]), float(worth[best])))
        free[best] = False
        left -= cost[best]
        near = np.maximum(near, similar_to(best))
    return picks
