"""Where a series has settled: against pymbar's own answer, and by what the means are worth afterwards."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import lfilter

from esr1md.analysis.statistics import bootstrap_interval
from esr1md.analysis.timeseries import FEWEST_FRAMES, settled, statistical_inefficiency


def correlated(generator: np.random.Generator, n: int, time: float, sd: float = 1.0) -> np.ndarray:
    """AR(1) series (n,) in equilibrium with the correlation time ``time`` in frames."""
    rho = np.exp(-1 / time) if time else 0.0
    noise = generator.normal(0, sd * np.sqrt(1 - rho**2), n)
    noise[0] = generator.normal(0, sd)
    return lfilter([1.0], [1.0, -rho], noise)


@pytest.mark.parametrize("time", [0.0, 2.0, 10.0, 40.0])
def test_inefficiency_is_that_of_the_process(time):
    rho = np.exp(-1 / time) if time else 0.0
    expected = (1 + rho) / (1 - rho)
    found = [statistical_inefficiency(correlated(np.random.default_rng(s), 8000, time)) for s in range(5)]
    assert np.mean(found) == pytest.approx(expected, rel=0.2)


def test_the_same_as_pymbar():
    timeseries = pytest.importorskip("pymbar.timeseries")
    for seed in range(6):
        series = correlated(np.random.default_rng(seed), 400, 3.0)
        assert statistical_inefficiency(series) == pytest.approx(timeseries.statistical_inefficiency(series), rel=1e-4)


@pytest.mark.parametrize("drift", [5.0, -5.0])
def test_a_drift_is_dropped_and_little_else(drift):
    starts = []
    for seed in range(10):
        series = correlated(np.random.default_rng(seed), 500, 2.0)
        series[:100] += drift * np.linspace(1, 0, 100)
        starts.append(settled(series).start)
    assert 40 <= np.median(starts) <= 180


def test_a_series_in_equilibrium_keeps_most_of_its_frames():
    starts = [settled(correlated(np.random.default_rng(s), 400, 3.0)).start for s in range(20)]
    assert np.median(starts) <= 100


def test_short_and_constant_series_are_left_alone():
    short = settled(np.linspace(0, 1, FEWEST_FRAMES - 1))
    assert (short.start, short.tested) == (0, False)
    constant = settled(np.full(100, -40.0))
    assert constant.start == 0 and constant.effective == 100
    with pytest.raises(ValueError, match="finite"):
        settled(np.array([1.0, np.nan]))


@pytest.mark.slow
@pytest.mark.parametrize("replicas", [3, 5, 8])
def test_intervals_over_drifting_correlated_replicas_cover_95_percent(replicas):
    """The whole way from frames to an interval: every replica begins 4 A away, drifts in and fluctuates.

    Replicas differ by more than their frames' noise (each has found a basin of its own), as trajectories do.
    """
    trials, held, naive = 500, 0, 0
    for trial in range(trials):
        generator = np.random.default_rng(99991 * replicas + trial)
        kept, all_of_it = [], []
        for _ in range(replicas):
            series = generator.normal(0, 0.5) + correlated(generator, 200, 3.0)
            series += 4.0 * np.exp(-np.arange(200) / generator.uniform(5, 15))
            kept.append(series[settled(series).start :].mean())
            all_of_it.append(series.mean())
        for means, count in ((kept, "kept"), (all_of_it, "naive")):
            low, high = bootstrap_interval(means, n_boot=600, seed=0)
            inside = low <= 0 <= high
            held += inside and count == "kept"
            naive += inside and count == "naive"
    assert 0.92 <= held / trials <= 0.98
    if replicas == 8:
        assert naive / trials < held / trials - 0.05  # the drift is worth dropping
