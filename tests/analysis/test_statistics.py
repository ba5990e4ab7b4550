"""Analytic cases and simulated coverage: a 95 % interval must hold the truth 95 times in a hundred."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from esr1md.analysis.statistics import (
    Noise,
    block_noise,
    bootstrap_interval,
    holm,
    moderated,
    paired_difference,
    pareto_front,
    pooled_sd,
    rank_intervals,
    replicas_to_decide,
    sample_noise,
    satterthwaite,
    seed_effect,
    t_interval,
)


@pytest.mark.parametrize("n", [2, 3, 5, 10])
def test_interval_from_its_own_replicas_covers_95_percent(n):
    generator = np.random.default_rng(n)
    held = 0
    for trial in range(1500):
        low, high = bootstrap_interval(generator.normal(3.0, 2.0, n), n_boot=600, seed=trial)
        held += low <= 3.0 <= high
    assert 0.92 <= held / 1500 <= 0.98


@pytest.mark.parametrize("n", [2, 3, 5, 10])
@pytest.mark.parametrize("n_cells", [4, 14])
def test_interval_with_a_shared_spread_covers_95_percent_and_is_narrower(n, n_cells):
    generator = np.random.default_rng(100 + n)
    trials, held, width_shared, width_own = 2400 // n_cells, 0, [], []
    for trial in range(trials):
        cells = generator.normal(-40.0, 3.0, (n_cells, n))
        for cell, noise in zip(cells, moderated([sample_noise(cell) for cell in cells]), strict=True):
            low, high = bootstrap_interval(cell, n_boot=600, seed=trial, noise=noise)
            held += low <= -40.0 <= high
            width_shared.append(high - low)
            low, high = bootstrap_interval(cell, n_boot=600, seed=trial)
            width_own.append(high - low)
    assert 0.92 <= held / (trials * n_cells) <= 0.98
    assert np.mean(width_shared) < np.mean(width_own)


def test_paired_differences_with_block_noise_cover_95_percent():
    """Six variants share two seeds whose shift is large; the wild type is in every difference."""
    generator = np.random.default_rng(5)
    held, trials = 0, 500
    for trial in range(trials):
        seed_shift = generator.normal(0, 10, 2)
        block = {f"v{i}": dict(enumerate(seed_shift + generator.normal(0, 2, 2))) for i in range(6)}
        noise = block_noise(block)
        assert noise.df == 5
        for mutant in ("v1", "v4"):
            differences = paired_difference(block[mutant], block["v0"])
            low, high = bootstrap_interval(
                list(differences.values()), n_boot=600, seed=trial, noise=Noise(2**0.5 * noise.sd, noise.df)
            )
            held += low <= 0 <= high
    assert 0.92 <= held / (2 * trials) <= 0.98


@pytest.mark.parametrize("n", [2, 3, 5, 20])
def test_bootstrap_agrees_with_students_t_on_normal_data(n):
    # Normal scores: as symmetric and as normal as n numbers can be.
    values = 10 + 2 * stats.norm.ppf((np.arange(n) + 0.5) / n)
    low, high = bootstrap_interval(values, n_boot=40000)
    expected = stats.t.interval(0.95, n - 1, loc=values.mean(), scale=stats.sem(values))
    assert low == pytest.approx(expected[0], abs=0.04 * (expected[1] - expected[0]))
    assert high == pytest.approx(expected[1], abs=0.04 * (expected[1] - expected[0]))


def test_plain_percentile_interval_would_not_do():
    """The reason for this module: resampling two values reaches the truth half of the time."""
    generator = np.random.default_rng(0)
    pairs = generator.normal(0, 1, (4000, 2))
    assert np.mean((pairs.min(axis=1) <= 0) & (pairs.max(axis=1) >= 0)) == pytest.approx(0.5, abs=0.03)


def test_one_replica_has_no_interval():
    assert bootstrap_interval([1.0]) is None
    assert bootstrap_interval([1.0], noise=Noise(2.0, 8)) is None
    assert sample_noise([1.0]) is None


def test_identical_replicas_have_a_point_interval_unless_the_spread_is_known():
    assert bootstrap_interval([2.0, 2.0]) == (2.0, 2.0)
    low, high = bootstrap_interval([2.0, 2.0], noise=Noise(1.0, 1000), n_boot=40000)
    assert low == pytest.approx(2 - 1.96 / 2**0.5, abs=0.05)
    assert high == pytest.approx(2 + 1.96 / 2**0.5, abs=0.05)


def test_order_of_replicas_does_not_matter_and_the_seed_fixes_the_answer():
    values = [1.0, 4.0, -2.0, 0.5]
    assert bootstrap_interval(values, seed=3) == bootstrap_interval(values[::-1], seed=3)
    assert bootstrap_interval(values, seed=3) != bootstrap_interval(values, seed=4)


def test_values_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="finite"):
        bootstrap_interval([1.0, float("nan")])


def test_skewed_replicas_give_a_leaning_interval():
    values = [0.0, 0.1, 0.2, 0.3, 0.2, 0.1, 0.0, 8.0]
    low, high = bootstrap_interval(values)
    assert high - np.mean(values) > 1.1 * (np.mean(values) - low)


def test_paired_difference_uses_shared_seeds_only():
    assert paired_difference({2: 5.0, 1: 3.0, 9: 0.0}, {1: 1.0, 2: 1.0, 4: 7.0}) == {1: 2.0, 2: 4.0}


def test_block_noise_of_two_cells_is_the_spread_of_their_differences():
    block = {"WT": {1: 1.0, 2: 5.0, 3: 2.0}, "Y537S": {1: 2.0, 2: 7.5, 3: 2.0}}
    noise = block_noise(block)
    assert noise.df == 2
    assert 2**0.5 * noise.sd == pytest.approx(np.std([1.0, 2.5, 0.0], ddof=1))


def test_block_noise_ignores_what_a_seed_does_to_all_cells_and_survives_missing_seeds():
    block = {cell: {seed: i * 4.0 + seed * 7.0 for seed in range(3)} for i, cell in enumerate("abc")}
    del block["b"][1]
    noise = block_noise(block)
    assert noise.sd == pytest.approx(0, abs=1e-9)
    assert noise.df == 3
    assert block_noise({"a": {1: 1.0}, "b": {1: 2.0}}) is None
    assert block_noise({}) is None


def test_seed_effect_tells_a_common_shift_from_chance():
    generator = np.random.default_rng(3)
    found = []
    for _ in range(300):
        noise = generator.normal(0, 1, (8, 2))
        found.append(seed_effect({str(i): dict(enumerate(row)) for i, row in enumerate(noise)}) < 0.05)
    assert np.mean(found) == pytest.approx(0.05, abs=0.035)
    shifted = {str(i): {1: row[0] + 4, 2: row[1] - 4} for i, row in enumerate(noise)}
    assert seed_effect(shifted) < 0.001
    assert seed_effect({"a": {1: 0.0, 2: 1.0}}) == 1.0


def test_pooled_sd_adds_degrees_of_freedom():
    pool = pooled_sd([Noise(1.0, 1), None, Noise(3.0, 3)])
    assert pool.df == 4
    assert pool.sd == pytest.approx(((1 + 27) / 4) ** 0.5)
    assert pooled_sd([None]) is None


def test_moderation_pools_equal_cells_and_spares_unequal_ones():
    few = moderated([Noise(1.0, 1), Noise(9.0, 1), None])
    assert few[0] == few[1] == few[2] == pooled_sd([Noise(1.0, 1), Noise(9.0, 1)])
    unequal = moderated([Noise(1.0, 4)] * 8 + [Noise(10.0, 4)] * 4)
    assert unequal[0].sd < 2.5 < 5 < unequal[-1].sd
    assert moderated([None, None]) == [None, None]


def test_moderated_cell_keeps_its_own_large_spread_covered():
    """Three floppy ligands in twelve: a pooled spread (75 % coverage) would call them too sure."""
    generator = np.random.default_rng(8)
    truth = np.array([1.0] * 9 + [6.0] * 3)
    held = {"moderated": 0, "pooled": 0}
    for trial in range(250):
        cells = [generator.normal(0, sd, 5) for sd in truth]
        own = [sample_noise(c) for c in cells]
        for name, noise in (("moderated", moderated(own)[-1]), ("pooled", pooled_sd(own))):
            low, high = bootstrap_interval(cells[-1], n_boot=500, seed=trial, noise=noise)
            held[name] += low <= 0 <= high
    assert held["pooled"] / 250 < 0.80
    assert held["moderated"] / 250 > 0.87


def test_t_interval_and_satterthwaite_match_their_formulas():
    low, high = t_interval(1.0, 2.0, 4)
    assert (low, high) == (pytest.approx(1 - 2 * 2.776445), pytest.approx(1 + 2 * 2.776445))
    assert satterthwaite([1.0, 1.0], [3, 3]) == pytest.approx(6)
    assert satterthwaite([1.0, 1.0], [3, 3], most=4) == 4
    assert satterthwaite([1.0, 0.0], [3, 5]) == pytest.approx(3)


def test_replicas_to_decide_is_the_smallest_number_that_decides():
    m = replicas_to_decide(margin=1.0, sd=2.0, df=10, n=3)
    half = [stats.t.ppf(0.975, 10 + k - 3) * 2.0 / k**0.5 for k in (m - 1, m)]
    assert half[1] < 1.0 <= half[0]
    assert replicas_to_decide(margin=1e-3, sd=5.0, df=2, n=2) is None
    assert replicas_to_decide(margin=0.0, sd=5.0, df=2, n=2) is None


def bounds(ranks):
    return list(zip(ranks.low, ranks.high, strict=True))


def test_rank_intervals_separate_the_clear_and_admit_the_unclear():
    assert bounds(rank_intervals([-9.0, -5.0, 0.0], [0.1, 0.1, 0.1], df=20)) == [(1, 1), (2, 2), (3, 3)]
    assert bounds(rank_intervals([-9.0, -5.0, -5.1], [0.1, 1.0, 1.0], df=20)) == [(1, 1), (2, 3), (2, 3)]
    assert bounds(rank_intervals([0.0, 1.0, 2.0], [None, 0.1, 0.1], df=20))[0] == (1, 3)
    assert bounds(rank_intervals([], [], df=3)) == []


def test_rank_intervals_follow_the_items_when_they_are_shuffled():
    values, errors = [-3.0, 1.0, 0.5, -2.5, 7.0], [1.0, 0.4, 0.6, 2.0, 0.3]
    straight = rank_intervals(values, errors, df=7)
    order = [3, 0, 4, 1, 2]
    shuffled = rank_intervals([values[i] for i in order], [errors[i] for i in order], df=7)
    assert bounds(shuffled) == [bounds(straight)[i] for i in order]
    assert shuffled.best == tuple(straight.best[i] for i in order)


def test_probability_of_being_best_is_that_of_the_normal_difference():
    """Two items d apart with errors s1 and s2: Phi(d / sqrt(s1^2 + s2^2)); with many degrees of freedom."""
    best = rank_intervals([0.0, 1.0], [0.6, 0.8], df=1e6, n_draws=40_000).best
    assert best[0] == pytest.approx(stats.norm.cdf(1.0), abs=0.01)
    assert sum(best) == pytest.approx(1.0)
    assert rank_intervals([0.0, 0.0, 0.0, 0.0], [1.0] * 4, df=1e6).best == pytest.approx([0.25] * 4, abs=0.03)
    assert rank_intervals([0.0, 1.0], [0.5, None], df=10).best == (None, None)


def test_the_chance_of_being_best_is_calibrated():
    """Of the items called best with a chance near p, a share near p is: true values drawn anew each time."""
    generator = np.random.default_rng(8)
    said, true = [], []
    for trial in range(400):
        values = generator.normal(0, 1, 5)
        measured = values + generator.normal(0, 0.7, 5)
        said += rank_intervals(measured, [0.7] * 5, df=1e6, n_draws=400, seed=trial).best
        true += list(values == values.min())
    said, true = np.array(said), np.array(true)
    for low, high in ((0.0, 0.1), (0.1, 0.4), (0.4, 0.8), (0.8, 1.01)):
        part = (said >= low) & (said < high)
        assert true[part].mean() == pytest.approx(said[part].mean(), abs=0.1)


def test_the_front_is_what_nothing_beats():
    criteria = np.array([[0, 3], [1, 1], [3, 0], [2, 2], [1, 1], [0, 4]], dtype=float)
    assert pareto_front(criteria).tolist() == [True, True, True, False, True, False]
    assert pareto_front(np.stack([criteria, -criteria])).shape == (2, 6)
    assert pareto_front(np.array([[1.0, 2.0, 3.0]])).tolist() == [True]


def test_findings_that_stand_together_are_holms():
    p = [0.001, 0.013, 0.04, 0.2]
    assert holm(p) == [True, True, False, False]  # 0.05/4, /3, /2: 0.04 > 0.025 ends it
    assert holm([0.04, 0.001, 0.2, 0.013]) == [False, True, False, True]
    assert holm([]) == []


def test_no_finding_of_a_family_is_false_95_times_in_a_hundred():
    generator = np.random.default_rng(3)
    trials = 1000
    one_false = sum(any(holm(generator.uniform(size=20))) for _ in range(trials))
    bare = sum((generator.uniform(size=20) < 0.05).any() for _ in range(trials))
    assert one_false / trials < 0.075
    assert bare / trials > 0.5  # what it would be without
