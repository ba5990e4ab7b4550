from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from double_well import BASINS, SETTINGS, TEMPERATURE, Run, potential_kcal
from esr1md.analysis import free_energy
from esr1md.analysis.free_energy import FreeEnergy, analyse, combine, crossings, difference
from esr1md.dynamics.helix12_bias import Hills
from esr1md.errors import StageError
from esr1md.report.free_energy import convergence_figure, verdict_line, write_convergence

KT = 8.31446261815324e-3 / 4.184 * TEMPERATURE
S = np.linspace(-5, 5.5, 211)


def hills(s: np.ndarray, height: float = 0.1) -> Hills:
    n = len(s)
    return Hills(np.arange(1, n + 1, dtype=float), np.asarray(s, dtype=float), np.full(n, height))


def made(value: float | None, converged: bool = True, shift: float = 0.0) -> FreeEnergy:
    profile = potential_kcal(S, 0.0) + shift
    few = hills(np.array([-3.0, 3.0]))
    zero = profile[np.abs(S - 3.15) < 1.25].min()
    reason = "converged by its own account" if converged else "not converged: because"
    return FreeEnergy(
        S, profile, few.time_ps, np.array([np.nan, value or np.nan]), few, 1, zero, value, 0.1, converged, reason
    )  # fmt: skip


# --- known answers --------------------------------------------------------------------------------------


def test_difference_of_two_wells_of_equal_shape_is_that_of_their_depths_and_positive_for_the_antagonist():
    wells = np.minimum(5.0 * (S + 3.5) ** 2 + 1.7, 5.0 * (S - 3.6) ** 2)
    assert difference(S, wells, TEMPERATURE) == pytest.approx(1.7, abs=0.02)


def test_a_wider_well_is_the_more_stable_by_kt_ln_of_the_widths():
    wells = np.minimum(10.0 * (S + 3.5) ** 2, 40.0 * (S - 3.6) ** 2)
    assert difference(S, wells, TEMPERATURE) == pytest.approx(-KT * np.log(2), abs=0.02)


@pytest.mark.parametrize("tilt", [1.0, -1.5])
def test_metadynamics_recovers_the_free_energy_of_a_double_well(tilt):
    """Three replicas of 3 ns over a barrier of 4 kcal/mol: the difference to 0.3, the barrier to 0.5 kcal/mol."""
    replicas = []
    for seed in (1, 2, 3):
        run = Run(seed=seed, tilt_kcal=tilt)
        run.step(150_000)
        replicas.append(analyse(run.bias.hills(), SETTINGS, TEMPERATURE, BASINS))
        s, profile = run.bias.free_energy()
        np.testing.assert_allclose(replicas[-1].s_angstrom, s)
        # what the hills add up to is what OpenMM has on its grid
        np.testing.assert_allclose(replicas[-1].free_energy_kcal, profile, atol=1e-9)
    exact = difference(s, potential_kcal(s, tilt), TEMPERATURE, BASINS)
    assert np.sign(exact) == -np.sign(tilt) and abs(exact) > 0.9
    together = combine(replicas)
    assert together.difference_kcal == pytest.approx(exact, abs=0.3)
    assert together.interval_kcal[0] < together.difference_kcal < together.interval_kcal[1]
    assert all(r.crossings > 50 and r.history_kcal.shape == r.history_ps.shape for r in replicas)
    flat = np.abs(s) < 4.5
    known = potential_kcal(s, tilt)[flat]
    found = together.mean_kcal[flat]
    assert np.abs((found - found.mean()) - (known - known.mean())).max() < 0.7


# --- verdicts -------------------------------------------------------------------------------------------


def test_what_lies_between_the_places_is_no_crossing():
    assert crossings(np.array([-3, -2, 0, -3, -4, 0, 2, 3.5, 1, 3, -1, -3])) == 2
    assert crossings(np.array([0.0, 1.0])) == 0


def test_a_run_that_stays_where_it_started_has_no_difference():
    result = analyse(hills(np.full(500, -3.0)), SETTINGS, TEMPERATURE)
    assert result.difference_kcal is None and not result.converged
    assert np.isnan(result.history_kcal).all()
    assert result.reason == "not converged: helix 12 never reached the antagonist place"


def to_and_fro(passages: int, each: int = 100) -> np.ndarray:
    return np.concatenate([np.full(each, -3.0 if i % 2 == 0 else 3.75) for i in range(passages + 1)])


def test_too_few_crossings_are_not_converged_and_the_difference_starts_with_the_second_place():
    result = analyse(hills(to_and_fro(1)), SETTINGS, TEMPERATURE)
    known = np.isfinite(result.history_kcal)
    assert known.sum() == pytest.approx(50, abs=2) and not known[:49].any()
    assert not result.converged and "1 time, of 4" in result.reason


def test_a_difference_that_still_moves_is_not_converged():
    moving = np.concatenate([to_and_fro(5, 20), to_and_fro(1, 400)])
    result = analyse(hills(moving), SETTINGS, TEMPERATURE)
    assert result.crossings >= 5 and result.drift_kcal > 1
    assert "still moved by" in result.reason


def test_a_run_that_settled_in_one_place_is_not_converged():
    settled = np.concatenate([to_and_fro(5, 20), np.full(400, 3.75)])
    assert "did not pass between the places in the last half" in analyse(hills(settled), SETTINGS, TEMPERATURE).reason


def test_many_crossings_and_a_still_difference_are_converged():
    result = analyse(hills(np.tile([-3.0, 3.75], 400), 0.02), SETTINGS, TEMPERATURE)
    assert result.converged and result.drift_kcal < 0.2
    assert result.reason.startswith("converged by its own account: 799 passages")


def test_no_hill_is_a_failure_that_says_why():
    with pytest.raises(StageError, match="shorter than deposit_ps"):
        analyse(hills(np.empty(0)), SETTINGS, TEMPERATURE)


# --- replicas -------------------------------------------------------------------------------------------


def test_replicas_are_averaged_from_the_antagonist_basin():
    together = combine([made(0.1, shift=0.0), made(0.3, shift=5.0)])
    assert together.difference_kcal == pytest.approx(0.2)
    assert together.interval_kcal[0] < 0.1 and together.interval_kcal[1] > 0.3
    # the same profile but for a constant: no spread is left
    np.testing.assert_allclose(together.low_kcal, together.high_kcal, atol=1e-9)
    assert together.converged and together.n_both == 2


def test_one_replica_is_never_enough():
    together = combine([made(0.1)])
    assert together.difference_kcal == pytest.approx(0.1) and together.interval_kcal is None
    assert together.low_kcal is None and not together.converged


def test_replicas_that_disagree_are_not_converged_though_each_says_so():
    together = combine([made(-2.0), made(1.5)])
    assert not together.converged and "3.5 kcal/mol apart" in together.reason


def test_a_replica_that_never_crossed_is_counted_and_not_averaged():
    together = combine([made(0.5), made(0.7), made(None, converged=False)])
    assert (together.n_replicas, together.n_both) == (3, 2)
    assert together.difference_kcal == pytest.approx(0.6)
    assert "1 of 3 replicas are not (not converged: because)" in together.reason
    nothing = combine([made(None, converged=False)] * 2)
    assert nothing.difference_kcal is None and nothing.mean_kcal is None
    assert verdict_line(nothing).startswith("F(agonist) - F(antagonist) is not known; not converged")


def test_replicas_of_different_grids_are_refused():
    other = replace(made(0.1), s_angstrom=S + 1)
    with pytest.raises(ValueError, match="different grids"):
        combine([made(0.1), other])


# --- the plot -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def two():
    found = []
    for seed in (1, 2):
        run = Run(seed=seed)
        run.step(20_000)
        found.append(analyse(run.bias.hills(), SETTINGS, TEMPERATURE, BASINS))
    return found, combine(found)


def test_the_figure_has_each_replica_in_every_panel(two):
    replicas, together = two
    figure = convergence_figure(replicas, together, BASINS)
    for name in ("replica 1", "replica 2"):
        assert {trace.yaxis for trace in figure.data if trace.name == name} == {None, "y2", "y3"}
    assert {trace.name for trace in figure.data} >= {"mean", "95 % interval"}
    places = [(shape.x0, shape.x1) for shape in figure.layout.shapes if shape.xref == "x"]
    assert places == [tuple(basin) for basin in BASINS]


def test_the_page_is_one_file_with_its_verdict(two, tmp_path):
    replicas, together = two
    path = write_convergence(replicas, together, tmp_path / "free_energy.html", title="<Y537S>, apo", basins=BASINS)
    page = path.read_text()
    assert "&lt;Y537S&gt;, apo" in page and "<Y537S>" not in page
    assert "positive if the antagonist place is favoured" in page
    assert replicas[0].reason.split(":")[0] in page
    assert not re.search(r"<(script|link|img)[^>]+(src|href)=", page)
    assert page.count("<script") == page.count("</script>") == 2


def test_constants_of_the_verdict_are_used(monkeypatch):
    series = hills(np.tile([-3.0, 3.75], 400), 0.02)
    monkeypatch.setattr(free_energy, "FEWEST_CROSSINGS", 1000)
    assert not analyse(series, SETTINGS, TEMPERATURE).converged
