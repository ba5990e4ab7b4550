"""Intervals that hold what they promise on compounds that training did not see (split conformal prediction).

Scores are residuals over the predicted standard deviation (Papadopoulos et al., ECML 2002; Lei et al., JASA 113, 1094
(2018)), so that a compound of which the model is unsure gets a wider interval.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

#: Levels that are kept; an interval is asked for at one of them.
LEVELS = (0.5, 0.68, 0.8, 0.9, 0.95)


@dataclass(frozen=True)
class Calibration:
    """Half-widths in predicted standard deviations, by level.

    Attributes
    ----------
    factors
        Level -> half-width of its interval over the predicted standard deviation; infinite where the residuals are
        too few for the level.
    n
        Residuals behind them.
    """

    factors: dict[float, float]
    n: int

    def interval(self, value: np.ndarray, sd: np.ndarray, level: float = 0.9) -> tuple[np.ndarray, np.ndarray]:
        """Low and high ends (n,), (n,) around ``value`` (n,) with predicted ``sd`` (n,)."""
        half = self.factors[level] * sd
        return value - half, value + half


def calibrate(residuals: np.ndarray, sd: np.ndarray) -> Calibration:
    """Conformal factors of held-out residuals.

    Parameters
    ----------
    residuals, sd : (n,)
        Measured less predicted, of compounds that training did not see, and their predicted standard deviations.

    Raises
    ------
    ValueError
        No residual, or a standard deviation that is not above 0.
    """
    if not len(residuals) or not (np.asarray(sd) > 0).all():
        raise ValueError("calibration needs residuals and standard deviations above 0")
    scores = np.sort(np.abs(residuals) / sd)
    return Calibration({level: quantile(scores, level) for level in LEVELS}, len(scores))


def quantile(scores: np.ndarray, level: float) -> float:
    """The ``ceil((n + 1) level)``-th smallest score, which covers a new one with at least that chance; or infinity."""
    place = math.ceil((len(scores) + 1) * level)
    return float(scores[place - 1]) if place <= len(scores) else math.inf
