"""One replica's time series: where it has settled, and how many independent frames it then holds.

A run starts from a model and drifts before it fluctuates about a mean; frames of the drift say where the run began.
The drift ends where dropping it leaves the most independent frames ([1]_): dropping too little leaves a slow trend,
which makes the rest look correlated, dropping too much leaves few frames.

References
----------
.. [1] J. D. Chodera, A simple method for automated equilibration detection in molecular simulations, J. Chem. Theory
       Comput. 12, 1799 (2016).
.. [2] J. D. Chodera, W. C. Swope, J. W. Pitera, C. Seok, K. A. Dill, Use of the weighted histogram analysis method
       for the analysis of simulated and parallel tempering simulations, J. Chem. Theory Comput. 3, 26 (2007).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

#: Frames below which nothing is dropped: chance alone then looks like a drift.
FEWEST_FRAMES = 40
#: Starts that are tried, evenly spread; the last leaves a quarter of the frames.
STARTS, LAST_START = 40, 0.75


@dataclass(frozen=True)
class Settled:
    """Where a series has settled.

    Attributes
    ----------
    start
        Index of the first frame after the drift; 0 for a series too short to tell.
    inefficiency
        Frames for one independent one (statistical inefficiency, >= 1) from ``start`` on.
    effective
        Independent frames from ``start`` on.
    tested
        Whether the series was long enough to look for a drift.
    """

    start: int
    inefficiency: float
    effective: float
    tested: bool


def statistical_inefficiency(values: np.ndarray) -> float:
    """Frames for one independent one: ``g = 1 + 2 sum_t (1 - t/n) C(t)``, at least 1.

    The sum over the normalised autocorrelation stops where it first turns negative after three lags ([2]_), since
    later values are noise.

    Parameters
    ----------
    values : (n,)
        Finite; a constant series has g = 1.
    """
    x = np.asarray(values, dtype=float)
    n = x.size
    if n < 3:
        return 1.0
    x = x - x.mean()
    variance = float(x @ x) / n
    if variance <= 1e-20 * max(1.0, float(np.max(np.abs(values))) ** 2):
        return 1.0
    size = 1 << (2 * n - 1).bit_length()
    power = np.abs(np.fft.rfft(x, size)) ** 2
    lags = np.arange(1, n - 1)
    correlation = np.fft.irfft(power, size)[1 : n - 1] / (n - lags) / variance
    negative = np.flatnonzero((correlation <= 0) & (lags > 3))
    end = int(negative[0]) if negative.size else correlation.size
    return max(1.0, float(1 + 2 * (correlation[:end] * (1 - lags[:end] / n)).sum()))


def settled(values: np.ndarray) -> Settled:
    """Where a series has settled and what it is worth from there on ([1]_).

    Parameters
    ----------
    values : (n,)
        One number per frame, in the order of time.

    Raises
    ------
    ValueError
        A value is not finite.
    """
    x = np.asarray(values, dtype=float)
    if not np.isfinite(x).all():
        raise ValueError("a time series must be finite")
    if x.size < FEWEST_FRAMES:
        g = statistical_inefficiency(x)
        return Settled(0, g, x.size / g, tested=False)
    best: Settled | None = None
    for start in np.unique(np.linspace(0, LAST_START * x.size, STARTS).astype(int)):
        g = statistical_inefficiency(x[start:])
        effective = float((x.size - start) / g)
        if best is None or effective > best.effective:
            best = Settled(int(start), g, effective, tested=True)
    return best
