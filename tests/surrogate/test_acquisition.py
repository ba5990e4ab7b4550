"""Acquisition functions against published formulas and simulation; batches against what they promise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from esr1md.surrogate.acquisition import (
    WAYS,
    acquisition,
    expected_improvement,
    mix,
    select_batch,
    top_threshold,
)


def test_expected_improvement_is_the_mean_of_what_would_be_gained():
    generator = np.random.default_rng(0)
    for mean, sd, best in ((-50.0, 3.0, -52.0), (-55.0, 1.0, -52.0), (-40.0, 6.0, -52.0)):
        drawn = generator.normal(mean, sd, 400_000)
        gained = np.maximum(best - drawn, 0).mean()
        assert expected_improvement(np.array([mean]), np.array([sd]), best)[0] == pytest.approx(gained, rel=0.03)


def test_expected_improvement_at_the_best_value_is_the_density_times_the_deviation():
    assert expected_improvement(np.zeros(1), np.array([2.0]), 0.0)[0] == pytest.approx(2 / np.sqrt(2 * np.pi))


def test_without_uncertainty_only_what_is_better_improves():
    found = expected_improvement(np.array([-3.0, -1.0]), np.zeros(2), -2.0)
    assert found.tolist() == [1.0, 0.0]


def test_a_far_hopeless_candidate_is_worth_nothing_and_no_warning():
    with np.errstate(all="raise", under="ignore"):
        assert expected_improvement(np.array([1e3]), np.array([1.0]), 0.0)[0] == 0.0


def test_mix_prefers_the_less_known_of_equally_promising_ones_and_drops_the_hopeless():
    mean, sd = np.array([-50.0, -50.0, 0.0]), np.array([2.0, 4.0, 4.0])
    found = mix(mean, sd, -51.0)
    assert found[1] > found[0] > 0 and found[2] == pytest.approx(0.0, abs=1e-12)


def test_ways_differ_and_an_unknown_one_is_refused():
    mean, sd = np.array([-50.0, -45.0, -30.0]), np.array([1.0, 3.0, 9.0])
    orders = {by: tuple(np.argsort(-acquisition(by, mean, sd, -50.0))) for by in WAYS}
    assert orders["uncertainty"] == (2, 1, 0)
    assert len({tuple(acquisition(by, mean, sd, -50.0)) for by in WAYS}) == 3
    with pytest.raises(ValueError, match="unknown acquisition 'greed'; expected one of mix"):
        acquisition("greed", mean, sd, 0.0)
    with pytest.raises(ValueError, match="a standard deviation is negative"):
        expected_improvement(mean, -sd, 0.0)


def test_threshold_counts_known_and_predicted_alike():
    known, mean = np.array([-50.0, -40.0]), np.array([-45.0, -60.0, -10.0])
    assert [top_threshold(known, mean, top) for top in (1, 2, 3, 9)] == [-60.0, -50.0, -45.0, -10.0]
    for arguments in ((known, mean, 0), (np.array([]), np.array([]), 1)):
        with pytest.raises(ValueError, match="no threshold"):
            top_threshold(*arguments)


# -- batches -----------------------------------------------------------------------------------------------


def test_the_second_of_two_alike_gives_way_to_another_kind():
    similarity = np.array([[1.0, 0.9, 0.1], [0.9, 1.0, 0.1], [0.1, 0.1, 1.0]])
    value = np.array([10.0, 9.0, 4.0])
    picks = select_batch(value, similarity.__getitem__, most=2)
    assert [pick.index for pick in picks] == [0, 2]
    assert (picks[0].similarity, picks[1].similarity) == (0.0, 0.1)
    assert picks[1].worth == pytest.approx(4.0 * 0.9)
    assert [pick.index for pick in select_batch(value, similarity.__getitem__, most=2, diversity=0.0)] == [0, 1]


def test_a_twin_is_never_taken():
    similarity = np.ones((3, 3))
    assert [p.index for p in select_batch(np.array([1.0, 3.0, 2.0]), similarity.__getitem__)] == [1]


def test_what_is_known_already_counts_where_it_is_given():
    similarity = np.eye(3)
    picks = select_batch(np.ones(3), similarity.__getitem__, most=1, nearest=np.array([0.8, 0.2, 0.5]))
    assert picks[0].index == 1 and picks[0].similarity == pytest.approx(0.2)


def test_a_dear_one_gives_way_to_cheap_ones_within_the_budget():
    picks = select_batch(np.array([5.0, 4.0, 3.0]), np.eye(3).__getitem__, cost=np.array([3.0, 9.0, 1.0]), budget=4.0)
    assert [pick.index for pick in picks] == [0, 2]
    assert select_batch(np.ones(2), np.eye(2).__getitem__, cost=np.array([2.0, 3.0]), budget=1.0) == []


def test_nonsense_is_refused():
    for value, cost, diversity, said in (([-1.0], [1.0], 1.0, "0 or more"), ([1.0], [-1.0], 1.0, "0 or more"),
                                         ([1.0], [1.0], 1.5, "diversity is 1.5")):  # fmt: skip
        with pytest.raises(ValueError, match=said):
            select_batch(np.array(value), np.eye(1).__getitem__, cost=np.array(cost), diversity=diversity)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.floats(0.0, 8.0), st.floats(0.0, 1.0))
def test_a_batch_is_affordable_distinct_and_greedy(seed, n, budget, diversity):
    generator = np.random.default_rng(seed)
    points = generator.random((n, 3))
    similarity = 1 / (1 + np.linalg.norm(points[:, None] - points[None], axis=2))
    value, cost = generator.random(n), generator.random(n) * 3
    picks = select_batch(value, similarity.__getitem__, cost=cost, budget=budget, diversity=diversity)
    chosen = [pick.index for pick in picks]
    assert len(set(chosen)) == len(chosen) and cost[chosen].sum() <= budget + 1e-6
    left = budget
    for number, pick in enumerate(picks):
        near = similarity[chosen[:number]].max(axis=0, initial=0.0)
        worth = value * (1 - diversity * near)
        free = [i for i in range(n) if i not in chosen[:number] and cost[i] <= left]
        assert pick.worth == pytest.approx(worth[free].max()) == pytest.approx(worth[pick.index])
        left -= cost[pick.index]
    rest = [i for i in range(n) if i not in chosen]
    assert all(cost[i] > left - 1e-6 for i in rest), "something affordable was left"
