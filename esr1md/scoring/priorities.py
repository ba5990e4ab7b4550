"""Several wishes at once: the Pareto front of a state's ligands, and a rank by weights that the user sets.

Three criteria, never added up unless the user's weights say how: relative binding over the variants, how far helix
12 is kept from the active place, and how little the worst mutant weakens binding. A ligand is on the front if no other
is at least as good in all of them and better in one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from esr1md.analysis.statistics import draws, pareto_front, rank_intervals
from esr1md.config import Weights
from esr1md.scoring.scores import RankedLigand, Score

#: Half-width of a 95 % interval in standard errors.
NORMAL_95 = 1.96


@dataclass(frozen=True)
class Wish:
    """A ligand's value of one criterion, lower is better, with its standard error; ``None`` where not known."""

    value: float | None
    error: float | None
    df: float = math.inf


@dataclass(frozen=True)
class Priority:
    """Where a ligand stands on several criteria together.

    Attributes
    ----------
    on_front
        Whether no other ligand beats it; ``None`` where a criterion is missing.
    p_front
        How likely that is, given the noise.
    weighted
        Weighted mean of its criteria, each in standard deviations over the ligands, higher is better.
    rank, low, high
        Rank by ``weighted`` and its 95 % interval.
    """

    on_front: bool | None = None
    p_front: float | None = None
    weighted: float | None = None
    rank: int | None = None
    low: int | None = None
    high: int | None = None


#: Draws behind the chance of being on the front and the intervals of ranks.
N_DRAWS = 2000


def priorities(
    wishes: Mapping[str, Sequence[Wish]], weights: Weights, *, front: bool = True, n_draws: int = 2 * N_DRAWS
) -> dict[str, Priority]:
    """The Pareto front and the weighted rank of the ligands of one state.

    Parameters
    ----------
    wishes
        Ligand -> its criteria in the order of the weights: relative binding (kcal/mol), helix 12 (angstrom, sign turned
        so that lower is better), worst binding shift (kcal/mol).
    weights
        What each counts; a criterion of weight zero is left out of both.
    front
        Also find the front, whose cost grows with the square of the number of ligands.
    n_draws
        Draws behind the intervals of ranks.

    Returns
    -------
    dict
        Ligand -> priority. A ligand without one of the criteria gets an empty one, and does not count for the others.
    """
    counted = [k for k, weight in enumerate(weights.as_tuple()) if weight > 0]
    names = [name for name, row in wishes.items() if all(row[k].value is not None for k in counted)]
    found = {name: Priority() for name in wishes}
    if len(names) < 2:
        return found
    values = np.array([[wishes[name][k].value for k in counted] for name in names])
    spread = values.std(axis=0, ddof=1)
    known = all(wishes[name][k].error is not None for name in names for k in counted)
    scaled = np.divide(values - values.mean(axis=0), spread, out=np.zeros_like(values), where=spread > 0)
    share = np.array([weights.as_tuple()[k] for k in counted])
    share = share / share.sum()
    weighted = scaled @ share  # lower is better, as the criteria are
    on_front = pareto_front(values) if front else [None] * len(names)
    chance = [None] * len(names)
    errors: list[float | None] = [None] * len(names)
    df = math.inf
    if known:
        df = min(wishes[name][k].df for name in names for k in counted)
        if front:
            sampled = np.stack(
                [
                    draws(values[:, i], [wishes[name][k].error for name in names], df, n_draws=N_DRAWS, seed=i)
                    for i, k in enumerate(counted)
                ],
                axis=-1,
            )
            chance = [float(p) for p in pareto_front(sampled).mean(axis=0)]
        own = np.array([[wishes[name][k].error for k in counted] for name in names])
        scale = np.divide(share, spread, out=np.zeros_like(share), where=spread > 0)
        errors = [float(e) for e in np.sqrt(((own * scale) ** 2).sum(axis=1))]
    ranks = rank_intervals(weighted, errors, df, n_draws=n_draws)
    place = weighted.argsort(kind="stable").argsort() + 1
    for i, name in enumerate(names):
        found[name] = Priority(
            on_front=None if on_front[i] is None else bool(on_front[i]),
            p_front=chance[i],
            weighted=float(-weighted[i]),
            rank=int(place[i]),
            low=ranks.low[i],
            high=ranks.high[i],
        )
    return found


def reweighed(lines: Sequence[RankedLigand], weights: Weights, n_draws: int = 2 * N_DRAWS) -> dict[str, Priority]:
    """The weighted ranks of one state's ligands under other weights, from the ranking alone.

    Parameters
    ----------
    lines
        Ranked ligands of one state.
    weights
        What each criterion counts now.
    n_draws
        Draws behind the intervals.

    Returns
    -------
    dict
        Ligand -> priority without a front. Places are those that a new ranking would give. Errors are taken from the
        widths of the scores' intervals, which hold the reference's noise as well: the rank intervals are rather wide.
    """
    wishes = {
        line.ligand: (_wish(line.binding), _wish(line.helix12, sign=-1.0), _wish(line.worst_shift)) for line in lines
    }
    return priorities(wishes, weights, front=False, n_draws=n_draws)


def _wish(score: Score | None, sign: float = 1.0) -> Wish:
    if score is None:
        return Wish(None, None)
    known = score.low is not None and score.high is not None
    return Wish(sign * score.value, (score.high - score.low) / (2 * NORMAL_95) if known else None)
