"""Agreement with experiment: the metrics against scipy, pooling within series, and who is better."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from esr1md.analysis.agreement import agreement, centred, tau_difference


@pytest.fixture
def values() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(7)
    x = generator.normal(size=24).round(1)  # rounded, so that there are ties
    return x, (x + generator.normal(size=24)).round(1)


def test_one_series_is_scipys_tau_and_r(values):
    x, y = values
    found = agreement(x, y, ["a"] * len(x))
    assert found.n == 24
    assert found.tau.value == pytest.approx(stats.kendalltau(x, y).statistic)
    assert found.r.value == pytest.approx(stats.pearsonr(x, y).statistic)
    assert found.rmse.value == pytest.approx(np.std((x - x.mean()) - (y - y.mean())))
    for estimate in (found.tau, found.r, found.rmse):
        assert estimate.low < estimate.value < estimate.high


def test_only_pairs_within_a_series_count():
    """Each series is ranked backwards, though the better series is scored better."""
    measured, score = [-9, -8, -7, -12, -11, -10], [-47, -48, -49, -80, -81, -82]
    found = agreement(measured, score, ["a"] * 3 + ["b"] * 3)
    assert found.tau.value == -1.0 and found.r.value == pytest.approx(-1.0)
    assert stats.kendalltau(measured, score).statistic > 0


def test_a_series_offset_is_no_error():
    measured = np.array([-9.0, -8.0, -7.0, -12.0, -11.0, -10.0])
    series = ["a", "a", "a", "b", "b", "b"]
    found = agreement(measured, measured - np.array([40, 40, 40, 70, 70, 70]), series)
    assert found.rmse.value == pytest.approx(0.0, abs=1e-12) and found.tau.value == 1.0
    assert centred(measured, series) == pytest.approx([-1, 0, 1, -1, 0, 1])


def test_order_and_repetition_do_not_change_the_answer(values):
    x, y = values
    series = np.array(["a", "b"] * 12)
    turned = np.random.default_rng(1).permutation(len(x))
    one, two = agreement(x, y, series), agreement(x[turned], y[turned], series[turned])
    assert one.tau.value == pytest.approx(two.tau.value) and one.rmse.value == pytest.approx(two.rmse.value)
    assert agreement(x, y, series) == one


def test_missing_scores_are_left_out(values):
    x, y = values
    holes = y.copy()
    holes[::3] = np.nan
    assert agreement(x, holes, ["a"] * 24).n == 16


@pytest.mark.parametrize("score", [[1.0, 1.0, 1.0, 1.0], [np.nan] * 4, [1.0, 2.0, np.nan, np.nan]])
def test_what_is_not_defined_has_no_value(score):
    found = agreement([-9, -8, -7, -6], score, ["a"] * 4)
    assert found.tau.value is None and found.tau.low is None


def test_lengths_must_agree():
    with pytest.raises(ValueError, match="lengths differ"):
        agreement([1.0, 2.0], [1.0], ["a", "a"])


def test_the_interval_holds_the_truth_about_as_often_as_it_says():
    """Pearson's r of 0.6 in samples of 20: a 95 % percentile interval covers it in 80 to 100 % of samples."""
    generator, held = np.random.default_rng(3), 0
    for _ in range(60):
        x = generator.normal(size=20)
        y = 0.6 * x + 0.8 * generator.normal(size=20)
        found = agreement(x, y, ["a"] * 20, draws=400)
        held += found.r.low <= 0.6 <= found.r.high
    assert held >= 48


def test_a_better_score_is_above_and_a_coin_toss_is_not():
    generator = np.random.default_rng(5)
    measured = generator.normal(size=40)
    series = ["a"] * 20 + ["b"] * 20
    good, noise = measured + 0.2 * generator.normal(size=40), generator.normal(size=40)
    assert tau_difference(measured, good, noise, series).verdict == "above"
    assert tau_difference(measured, noise, good, series).verdict == "below"
    same = tau_difference(measured, good, good, series)
    assert same.tau.value == 0.0 and same.verdict == "cannot tell"
    assert tau_difference(measured[:2], good[:2], noise[:2], series[:2]).verdict == "cannot tell"
