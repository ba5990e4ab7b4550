"""Intervals that hold what they promise on compounds that training did not see (split conformal prediction).

Scores are residuals over the predicted standard deviation (Papadopoulos et al., ECML 2002; Lei et al., JASA 113, 1094
(2018)), so that a compound of which the model is unsure gets a wider interval. They are ranked apart for compounds near
and far from the training set (Mondrian conformal prediction, Vovk et al., ACML 2012): new scaffolds and new members of
a known series are to be covered alike.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

#: Levels that are kept; an interval is asked for at one of them.
LEVELS = (0.5, 0.68, 0.8, 0.9, 0.95)
#: Bands of similarity, and residuals that a band needs; fewer bands where there are not enough.
BANDS, FEWEST_IN_BAND = 3, 100


@dataclass(frozen=True)
class Calibration:
    """Half-widths in predicted standard deviations, by level and band of similarity.

    Attributes
    ----------
    edges
        Similarities between the b bands (b - 1).
    factors
        Level -> half-width of its interval over the predicted standard deviation in each band (b); infinite where the
        residuals are too few for the level.
    n
        Residuals behind them.
    """

    edges: tuple[float, ...]
    factors: dict[float, tuple[float, ...]]
    n: int

    def interval(
        self, value: np.ndarray, sd: np.ndarray, similarity: np.ndarray, level: float = 0.9
    ) -> tuple[np.ndarray, np.ndarray]:
        """Low and high ends (n,), (n,) around ``value`` (n,) with predicted ``sd`` (n,), given each one's similarity to
        the nearest training compound (n,)."""
        half = np.array(self.factors[level])[np.searchsorted(self.edges, similarity)] * sd
        return value - half, value + half


def calibrate(residuals: np.ndarray, sd: np.ndarray, similarity: np.ndarray) -> Calibration:
    """Conformal factors of held-out residuals.

    Parameters
    ----------
    residuals, sd, similarity : (n,)
        Measured less predicted, of compounds that training did not see; their predicted standard deviations; their
        similarity to the nearest training compound.

    Raises
    ------
    ValueError
        No residual, or a standard deviation that is not above 0.
    """
    if not len(residuals) or not (np.asarray(sd) > 0).all():
        raise ValueError("calibration needs residuals and standard deviations above 0")
    bands = max(1, min(BANDS, len(residuals) // FEWEST_IN_BAND))
    edges = np.quantile(similarity, np.arange(1, bands) / bands)
    band = np.searchsorted(edges, similarity)
    scores = [np.sort((np.abs(residuals) / sd)[band == i]) for i in range(bands)]
    factors = {level: tuple(quantile(each, level) for each in scores) for level in LEVELS}
    return Calibration(tuple(float(edge) for edge in edges), factors, len(residuals))


def quantile(scores: np.ndarray, level: float) -> float:
    """The ``ceil((n + 1) level)``-th smallest score, which covers a new one with at least that chance; or infinity."""
    place = math.ceil((len(scores) + 1) * level)
    return float(scores[place - 1]) if place <= len(scores) else math.inf
