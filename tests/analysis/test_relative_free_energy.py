from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas
import pytest

import transfer_toy as toy
from esr1md.analysis.relative_free_energy import (
    EdgeFreeEnergy,
    RelativeFreeEnergy,
    analyse,
    closure,
    combine,
    reverse,
    round_trips,
)
from esr1md.dynamics.atm import Transfer, state_energies
from esr1md.dynamics.atm_run import COLUMNS, SAMPLES, read_samples, sample
from esr1md.errors import StageError
from esr1md.report.relative_free_energy import convergence_figure, verdict_line, write_convergence

KT, KCAL = toy.KT, 4.184


# --- against integrals ------------------------------------------------------------------------------------


@cache
def edge(first: str, second: str) -> EdgeFreeEnergy:
    """Three repeats of an edge of the toy, simulated."""
    repeats = []
    for seed in (1, 2, 3):
        with TemporaryDirectory() as folder:
            sample(toy.transfer(first, second), seed=seed, platform=toy.REFERENCE, folder=Path(folder), **toy.DYNAMICS)
            repeats.append(analyse(read_samples(Path(folder)), toy.SETTINGS, toy.TEMPERATURE))
    return combine(repeats)


@pytest.mark.slow
@pytest.mark.parametrize("pair", ["AB", "BC", "CA"])
def test_a_transfer_gives_what_the_integrals_over_the_cage_give(pair):
    """Sign, units, soft core, restraints and both legs; an error in any moves the result by more than 0.2 kcal/mol."""
    found, exact = edge(*pair), toy.exact_kcal(*pair)
    assert found.converged, found.reason
    assert abs(exact) > 0.4
    assert found.difference_kcal == pytest.approx(exact, abs=0.2)
    assert found.error_kcal < 0.15 and found.mbar_error_kcal < 0.1


@pytest.mark.slow
def test_a_ligand_against_itself_is_zero():
    found = edge("A", "A")
    assert found.converged, found.reason
    assert found.difference_kcal == pytest.approx(0, abs=0.2)


@pytest.mark.slow
def test_a_cycle_of_three_closes():
    closed = closure([edge("A", "B"), edge("B", "C"), edge("C", "A")])
    assert closed.sum_kcal == pytest.approx(0, abs=0.35)
    assert closed.error_kcal < 0.25
    # that the sum is within its own interval is a matter of chance one time in twenty, so a wider one is asked for
    assert abs(closed.sum_kcal) < 4 * max(closed.error_kcal, 0.05)
    opened = closure([edge("A", "B"), edge("B", "C"), reverse(edge("C", "A"))])
    assert not opened.closes and opened.sum_kcal == pytest.approx(-2 * edge("C", "A").difference_kcal, abs=0.4)


@pytest.mark.slow
def test_how_the_ligands_are_held_on_each_other_does_not_change_the_result():
    """Tightly as they lie in the cage, or loosely and turned by a third about their axis: the restraints cancel."""
    found = []
    for stiff, place, partners in ((20.0, 2.5, (0, 1, 2)), (1.0, 1.0, (1, 2, 0))):
        settings = toy.SETTINGS.model_copy(
            update={
                "align_orientation_kcal": stiff, "align_kcal_per_angstrom2": place, "site_angstrom": 3.5,
                "sample_ps": 20.0,
            }
        )  # fmt: skip
        values = []
        for seed in (1, 2):
            with TemporaryDirectory() as folder:
                sample(
                    toy.triangles(settings, partners), seed=seed, platform=toy.REFERENCE, folder=Path(folder),
                    **toy.DYNAMICS | {"time_step_fs": 5.0},
                )  # fmt: skip
                values.append(analyse(read_samples(Path(folder)), settings, toy.TEMPERATURE).difference_kcal)
        found.append(np.mean(values))
    assert found[0] == pytest.approx(found[1], abs=0.25)
    assert found[0] < -0.35


# --- on samples that are drawn ------------------------------------------------------------------------------

DRAWN = Transfer(states_per_leg=4)


def drawn(seed: int, iterations: int = 200, settings: Transfer = DRAWN, **wells: float) -> pandas.DataFrame:
    """Independent samples of every state of two harmonic wells on a line, the replicas in random order."""
    rng = np.random.default_rng(seed)
    x = np.linspace(-6, 8, 4001)
    u0, u1 = energies(x, **wells)
    whole = state_energies(u0, u1, settings) + np.minimum(u0, u1)[:, None]
    weights = np.exp(-whole / KT)
    states = np.arange(2 * settings.states_per_leg)
    places = np.stack([rng.choice(x, size=iterations, p=w / w.sum()) for w in weights.T], axis=1)
    rows = []
    for i, now in enumerate(places):
        u0, u1 = energies(now, **wells)
        for replica, state in enumerate(rng.permutation(states)):
            rows.append((i, replica, state, u0[state], u1[state]))
    return pandas.DataFrame(rows, columns=COLUMNS)


def energies(x: np.ndarray, apart: float = 1.5, stiff: float = 4.0, up_kcal: float = 2.0):
    return KT * 0.5 * x**2, KT * 0.5 * stiff * (x - apart) ** 2 + up_kcal * KCAL


def test_two_harmonic_wells_have_their_known_difference():
    exact = 2.0 + KT / KCAL * 0.5 * np.log(4.0)
    repeats = [analyse(drawn(seed), DRAWN, toy.TEMPERATURE) for seed in (1, 2, 3)]
    for repeat in repeats:
        assert repeat.difference_kcal == pytest.approx(exact, abs=max(0.1, 4 * repeat.error_kcal))
        assert 0 < repeat.error_kcal < 0.1
        assert repeat.converged, repeat.reason
        assert repeat.profile_kcal[0] == 0 and repeat.profile_kcal[-1] == repeat.difference_kcal
        # both legs have the same middle, but for the soft core
        assert repeat.profile_kcal[3] == pytest.approx(repeat.profile_kcal[4], abs=0.01)
        assert repeat.overlap.sum(axis=1) == pytest.approx(np.ones(8))
        assert repeat.forward_kcal[-1] == pytest.approx(repeat.difference_kcal, abs=0.05)
        assert repeat.forward_error_kcal[0] > 2 * repeat.forward_error_kcal[-1]
    together = combine(repeats)
    assert together.converged and together.n_repeats == together.n_known == 3
    assert together.interval_kcal[0] < together.difference_kcal < together.interval_kcal[1]
    assert together.difference_kcal == pytest.approx(exact, abs=0.1)


def test_the_error_of_one_repeat_is_the_scatter_of_many():
    """Over 12 repeats: MBAR's error must neither flatter nor frighten."""
    repeats = [analyse(drawn(seed, iterations=60), DRAWN, toy.TEMPERATURE) for seed in range(12)]
    scatter = np.std([r.difference_kcal for r in repeats], ddof=1)
    stated = np.sqrt(np.mean([r.error_kcal**2 for r in repeats]))
    assert 0.5 < stated / scatter < 2


def test_samples_that_repeat_themselves_count_once():
    table = drawn(1, iterations=60)
    last = table["iteration"].max() + 1
    repeated = pandas.concat([table.assign(iteration=table["iteration"] * 5 + k) for k in range(5)])
    one, five = (analyse(t, DRAWN, toy.TEMPERATURE) for t in (table, repeated))
    assert repeated["iteration"].max() + 1 == 5 * last
    assert five.error_kcal == pytest.approx(one.error_kcal, rel=0.5)
    assert five.samples.max() <= 90


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(apart=7.0, stiff=100.0), r"not converged: states \d and \d overlap by 0.0\d\d, 0.03 at least"),
        (dict(iterations=20), r"not converged: \d+ independent samples of state \d"),
    ],
    ids=["no overlap", "few samples"],
)
def test_a_repeat_that_has_not_converged_says_why(change, message):
    repeat = analyse(drawn(1, **change), DRAWN, toy.TEMPERATURE)
    assert not repeat.converged and re.search(message, repeat.reason), repeat.reason


def test_replicas_that_never_travelled_are_not_converged():
    table = drawn(1)
    still = analyse(table.assign(replica=table["state"]), DRAWN, toy.TEMPERATURE)
    assert still.round_trips == 0
    assert not still.converged and "0 round trips" in still.reason


def test_a_difference_that_drifts_is_not_converged():
    early, late = drawn(1, iterations=100), drawn(2, iterations=100, up_kcal=3.5)
    table = pandas.concat([early, late.assign(iteration=late["iteration"] + 100)])
    repeat = analyse(table, DRAWN, toy.TEMPERATURE)
    assert not repeat.converged
    assert re.search("settled only after|halves of the run differ", repeat.reason), repeat.reason


@pytest.mark.parametrize("spoil", ["missing", "state", "one"])
def test_samples_that_are_not_whole_are_refused(spoil):
    table = drawn(1, iterations=20)
    if spoil == "missing":
        table = table.iloc[:-1]
    elif spoil == "state":
        table = table.assign(state=table["state"].replace(3, 2))
    else:
        table = table[table["iteration"] == 0]
    with pytest.raises(StageError, match="one of each of 8 states"):
        analyse(table, DRAWN, toy.TEMPERATURE)


def test_a_folder_without_samples_is_answered_in_words(tmp_path):
    with pytest.raises(StageError, match="perturbation energies cannot be read"):
        read_samples(tmp_path)
    pandas.DataFrame({"u": [1.0]}).to_parquet(tmp_path / SAMPLES)
    with pytest.raises(StageError, match="have columns"):
        read_samples(tmp_path)


# --- repeats and cycles -------------------------------------------------------------------------------------


def repeat_of(value: float | None, converged: bool = True, error: float = 0.1) -> RelativeFreeEnergy:
    nothing = np.zeros(0)
    return RelativeFreeEnergy(
        difference_kcal=value, error_kcal=None if value is None else error, profile_kcal=nothing,
        profile_error_kcal=nothing, overlap=nothing, fractions=nothing, forward_kcal=nothing,
        forward_error_kcal=nothing, backward_kcal=nothing, backward_error_kcal=nothing, halves_kcal=0.0,
        state_of_replica=nothing, round_trips=9, dropped=0, samples=nothing, converged=converged,
        reason="fine" if converged else "not converged: because",
    )  # fmt: skip


def edge_of(*values: float) -> EdgeFreeEnergy:
    return combine([repeat_of(v) for v in values])


def test_repeats_are_the_unit():
    together = edge_of(1.0, 1.2, 1.4)
    assert together.converged
    assert together.difference_kcal == pytest.approx(1.2)
    assert together.error_kcal == pytest.approx(0.2 / np.sqrt(3))
    assert together.mbar_error_kcal == pytest.approx(0.1 / np.sqrt(3))
    assert together.interval_kcal[1] - together.interval_kcal[0] > 0.8  # Student's t with two degrees of freedom


@pytest.mark.parametrize(
    ("repeats", "message"),
    [
        ([repeat_of(1.0)], "1 of the 3 repeats that are needed"),
        (
            [repeat_of(1.0), repeat_of(1.1, converged=False)],
            r"1 of 2 repeats are not .the first: not converged: because",
        ),
        ([repeat_of(1.0), repeat_of(1.1), repeat_of(2.5)], "lie 1.5 kcal/mol apart"),
        ([repeat_of(None, converged=False)], "1 of 1 repeats are not"),
    ],
)
def test_repeats_that_do_not_agree_are_not_converged(repeats, message):
    together = combine(repeats)
    assert not together.converged and re.search(message, together.reason), together.reason


def test_a_cycle_is_summed_with_the_errors_of_its_repeats():
    closed = closure([edge_of(1.0, 1.1, 1.2), edge_of(-0.4, -0.5, -0.6), reverse(edge_of(0.5, 0.6, 0.7))])
    assert closed.sum_kcal == pytest.approx(0.0)
    assert closed.error_kcal == pytest.approx(0.1)
    assert closed.interval_kcal == pytest.approx((-0.245, 0.245), abs=0.01)  # 6 degrees of freedom
    assert closed.closes
    assert not closure([edge_of(1.0, 1.1, 1.2), edge_of(0.4, 0.5, 0.6)]).closes
    with pytest.raises(ValueError, match="one repeat alone"):
        closure([edge_of(1.0)])


def test_round_trips_are_counted_end_to_end_and_back():
    walks = np.array([[0, 3], [1, 2], [3, 1], [2, 0], [0, 1], [3, 3], [0, 2]])
    assert round_trips(walks, 4) == 2 + 1
    assert round_trips(np.zeros((5, 2), int), 4) == 0


# --- the page -----------------------------------------------------------------------------------------------


def test_the_page_says_the_number_the_verdict_and_each_repeat(tmp_path):
    repeats = [analyse(drawn(seed), DRAWN, toy.TEMPERATURE) for seed in (1, 2)]
    together = combine(repeats)
    page = write_convergence(repeats, together, tmp_path / "edge.html", title="A </script> to B").read_text()
    assert f"dG(second) - dG(first) = {together.difference_kcal:.2f} kcal/mol" in page
    assert "2 of the 3 repeats that are needed" in page
    assert f"Repeat 2: {repeats[1].difference_kcal:.2f} kcal/mol" in page
    assert page.count("</script>") == 2 and "A &lt;/script&gt; to B" in page
    assert not re.search(r"<(script|link|img)[^>]+(src|href)=", page)
    figure = convergence_figure(repeats, together)
    assert [trace.type for trace in figure.data].count("heatmap") == 1
    drawn_overlap = next(trace for trace in figure.data if trace.type == "heatmap").z
    assert np.diag(drawn_overlap, 1).min() == min(np.diag(r.overlap, 1).min() for r in repeats)


def test_a_page_of_states_that_do_not_overlap_gives_no_number(tmp_path):
    nothing = repeat_of(None, converged=False)
    line = verdict_line(combine([nothing]))
    assert line.startswith("The difference of the binding free energies is not known; not converged")
