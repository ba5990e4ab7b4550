"""Draws of the true values behind scores, for questions that ask about many scores at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import special

from esr1md.scoring.scores import Score

#: Draws behind every interval that is made of them, and their seed: the same input gives the same answer.
N_DRAWS, SEED = 4000, 0
_Z = float(special.ndtri(0.975))


def score_draws(scores: Sequence[Score], generator: np.random.Generator, shared: float = 0.0) -> np.ndarray:
    """What the true values may be, given scores with 95 % intervals.

    Each is drawn from a normal distribution on either side of the value that reaches the interval's ends with its
    2.5 % and 97.5 % points (the intervals hold Student's t already).

    Parameters
    ----------
    scores : (k,)
        With intervals.
    generator
        Of the random numbers.
    shared
        Part of the variance that is common to all: 0.5 for shifts of mutants against one wild type, whose own noise
        moves them together.

    Returns
    -------
    ndarray (N_DRAWS, k)

    Raises
    ------
    ValueError
        A score without an interval.
    """
    if any(score.low is None or score.high is None for score in scores):
        raise ValueError("a score without an interval cannot be drawn")
    common = generator.standard_normal((N_DRAWS, 1))
    own = generator.standard_normal((N_DRAWS, len(scores)))
    z = np.sqrt(shared) * common + np.sqrt(1 - shared) * own
    value = np.array([score.value for score in scores])
    below = np.array([score.value - score.low for score in scores]) / _Z
    above = np.array([score.high - score.value for score in scores]) / _Z
    return value + np.where(z < 0, below, above) * z
