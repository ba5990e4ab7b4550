"""Figures: what is coloured, what is hatched, what is marked as predicted."""

from __future__ import annotations

import json

import numpy as np
import pytest

from esr1md.report import figures
from esr1md.report.data import Interaction, Replica, mean_interactions, read_store
from esr1md.report.residues import residue_heatmap
from esr1md.report.trade_off import trade_off
from esr1md.scoring.scores import CellScore, Comparison, Verdict
from report_example import PEPTIDE, empty_ranking, make_screen, score


def comparison(variant: str, ligand: str, value: float, verdict: Verdict, half: float = 0.5) -> Comparison:
    return Comparison(
        variant=variant, ligand=ligand, state="antagonist", reason="because <so>",
        binding_shift=score(value, half, 3), binding_verdict=verdict,
        helix12_shift=None, helix12_verdict=Verdict.CANNOT_TELL,
    )  # fmt: skip


def predicted(variant: str, value: float, half: float | None) -> CellScore:
    return CellScore(
        variant=variant, ligand="new", state="antagonist", n_replicas=0, n_failed=0, binding_relative=None,
        binding=score(value, half, 0, origin="predicted"), helix12=None, origin="predicted",
    )  # fmt: skip


def test_only_decided_cells_are_coloured():
    ranking = empty_ranking(
        comparisons=(
            comparison("Y537S", "a", 2.0, Verdict.WEAKENED),
            comparison("Y537S", "b", 0.9, Verdict.CANNOT_TELL),
            comparison("D538G", "a", 0.0, Verdict.RETAINED),
        )
    )
    figure = figures.shift_heatmap(ranking, "binding")
    back, colour = (np.asarray(trace.z) for trace in figure.data[:2])
    # rows a, b; columns Y537S, D538G
    assert colour[0].tolist() == [2.0, 0.0]
    assert np.isnan(colour[1]).all()
    assert np.isfinite(back).tolist() == [[True, True], [True, False]]
    hatched = [y for y in figure.data[2].y if y is not None]
    assert hatched and min(hatched) >= 0.5 and max(hatched) <= 1.5  # strokes only over the row of b
    assert "n=3" not in str(figure.data[0].text[0][0]) and "3 replica pairs" in figure.data[0].text[0][0]
    assert "&lt;so&gt;" in figure.data[0].text[0][0]


def test_no_shift_no_figure():
    assert figures.shift_heatmap(empty_ranking(), "binding") is None
    only_binding = empty_ranking(comparisons=(comparison("Y537S", "a", 1.0, Verdict.RETAINED),))
    assert figures.shift_heatmap(only_binding, "helix12") is None


def test_ligands_that_were_only_predicted_are_left_to_their_own_table(tmp_path):
    ranking = make_screen(tmp_path, n_ligands=2)
    assert {c.ligand for c in ranking.predictions} == {"imlunestrant"}
    figure = figures.shift_heatmap(ranking, "binding")
    assert [text.strip() for text in figure.layout.yaxis.ticktext] == ["4-hydroxytamoxifen", "estradiol (agonist)"]
    nothing_run = ranking.model_copy(update={"cells": (), "comparisons": ()})
    assert [t.strip() for t in figures.shift_heatmap(nothing_run, "binding").layout.yaxis.ticktext] == ["imlunestrant"]


def test_a_verdict_that_does_not_stand_is_marked_in_its_square():
    firm = comparison("Y537S", "a", 2.0, Verdict.WEAKENED)
    alone = comparison("Y537S", "b", 1.6, Verdict.WEAKENED).model_copy(update={"binding_stands": False})
    figure = figures.shift_heatmap(empty_ranking(comparisons=(firm, alone)), "binding")
    assert [figures.ALONE in note.text for note in figure.layout.annotations] == [False, True]
    assert ["true together" in str(text) for text in figure.data[0].text[:, 0]] == [False, True]


def test_a_helix12_score_is_coloured_where_its_interval_excludes_zero():
    def cell(ligand, state, value, half):
        return CellScore(
            variant="WT", ligand=ligand, state=state, n_replicas=3, n_failed=0, binding=None, binding_relative=None,
            helix12=score(value, half, 3, "angstrom"), helix12_over_hormone=score(value, half, 3, "angstrom"),
        )  # fmt: skip

    cells = cell("a", "antagonist", 10.0, 0.4), cell("b", "agonist", 0.1, 0.4), cell("estradiol", "agonist", 0.0, 0.0)
    figure = figures.place_heatmap(empty_ranking(cells=cells), "over_hormone")
    assert [t.strip() for t in figure.layout.yaxis.ticktext] == ["a", "b (agonist)"]  # not the hormone over itself
    assert np.isfinite(np.asarray(figure.data[1].z)).tolist() == [[True], [False]]
    assert figures.place_heatmap(empty_ranking(cells=cells), "over_apo") is None


# --- binding against helix 12 -----------------------------------------------------------------------------


def test_the_front_is_told_by_shape_and_its_ligands_by_name(tmp_path):
    ranking = make_screen(tmp_path)
    lines = [line for line in ranking.ranking if line.state == "antagonist"]
    figure = trade_off(lines)
    front, beaten = (next(t for t in figure.data if t.name == name) for name in ("on the Pareto front", "beaten"))
    assert (front.marker.symbol, beaten.marker.symbol) == ("diamond", "circle")
    assert sorted(front.x) == sorted(line.binding.value for line in lines if line.on_front)
    worst = max(beaten.marker.color)
    assert beaten.marker.size[list(beaten.marker.color).index(worst)] == max(beaten.marker.size)
    assert {note.text for note in figure.layout.annotations} == {"\u2196 better"} | {line.ligand for line in lines}


def test_of_many_ligands_only_the_front_is_named(tmp_path):
    (line,) = make_screen(tmp_path, n_ligands=1).ranking
    lines = [
        line.model_copy(update={"ligand": f"l{i}", "on_front": i == 0, "binding": score(i - 20.0, 1.0, 2)})
        for i in range(30)
    ]
    figure = trade_off(lines)
    assert [note.text for note in figure.layout.annotations] == ["l0", "\u2196 better"]
    assert len(figure.data) == 2  # no intervals


def test_no_scatter_of_fewer_than_two_ligands(tmp_path):
    lines = make_screen(tmp_path, n_ligands=2).ranking
    assert trade_off(lines[:1]) is None
    assert trade_off([lines[0], lines[1].model_copy(update={"helix12": None})]) is None


# --- residues -----------------------------------------------------------------------------------------------


def test_energies_by_residue_are_means_over_the_replicas_that_all_list_them():
    first = {"residue_energy_kcal": {"GLU353": -8.0, "ASP351": -4.0, "WAT": -1.0}}
    second = {"residue_energy_kcal": {"GLU353": -6.0}, "residue_terms_kcal": {"GLU353": {"vdw": 1}}}
    assert mean_interactions([first, second, {}]) == {353: Interaction("GLU353", -7.0, {})}
    assert mean_interactions([{}]) == {}


def test_mutants_are_differences_in_the_hover_text():
    cells = {
        ("WT", "a", "antagonist"): {537: Interaction("TYR537", -1.0, {}), 353: Interaction("GLU353", -30.0, {})},
        ("Y537S", "a", "antagonist"): {537: Interaction("SER537", -0.4, {})},
    }
    figure = residue_heatmap(cells, [("a", "antagonist")])
    assert figure.layout.xaxis.ticktext == ("E353", "Y537")
    assert "Y537S - WT: +0.6" in figure.data[0].text[0, 1] and "Y537S" not in figure.data[0].text[0, 0]
    assert residue_heatmap({}, []) is None


def test_predicted_shift_has_the_widest_interval_and_a_mark():
    ranking = empty_ranking(predictions=(predicted("WT", -50.0, 1.0), predicted("Y537S", -47.0, 0.5)))
    (shift,) = figures.shifts(ranking, "binding")
    assert shift.score.value == pytest.approx(3.0)
    assert (shift.score.low, shift.score.high) == pytest.approx((1.5, 4.5))
    assert shift.verdict is None and shift.decided
    figure = figures.shift_heatmap(ranking, "binding")
    assert [t.name for t in figure.data if t.name] == ["cannot tell", "predicted, not simulated"]


def test_predicted_shift_without_interval_is_not_coloured():
    ranking = empty_ranking(predictions=(predicted("WT", -50.0, None), predicted("Y537S", -47.0, 0.5)))
    (shift,) = figures.shifts(ranking, "binding")
    assert shift.score.low is None and not shift.decided


def test_simulation_replaces_a_prediction():
    ranking = empty_ranking(
        comparisons=(comparison("Y537S", "new", 0.2, Verdict.RETAINED),),
        predictions=(predicted("WT", -50.0, 1.0), predicted("Y537S", -47.0, 0.5)),
    )
    (shift,) = figures.shifts(ranking, "binding")
    assert shift.score.origin == "simulated" and shift.score.value == pytest.approx(0.2)


def test_colours_tell_variants_apart_and_keep_the_wild_type_dark():
    colours = figures.variant_colours(["Y537S", "WT", "D538G", "E380Q", "L536H", "S463P"])
    assert colours["WT"] == figures.WILD_TYPE_COLOUR
    assert len(set(colours.values())) == 6


def test_orange_is_worse_in_both_maps():
    assert figures.WORSE_IS_HIGH[-1][1] == figures.WORSE_IS_LOW[0][1]
    assert [x for x, _ in figures.WORSE_IS_LOW] == [0, 0.25, 0.5, 0.75, 1]


def replica(variant: str, seed: int, values: list[float]) -> Replica:
    time = np.arange(len(values), dtype=float)
    measured = np.array(values)
    columns = {"time_ps": time, "h12_rmsd_agonist_angstrom": measured, "binding_kcal": measured}
    return Replica("d" * 64, variant, "a", "antagonist", seed, columns)


def test_replicas_of_a_variant_are_one_trace_parted_by_gaps_and_skip_unscored_frames():
    replicas = [replica("WT", 1, [1, 2]), replica("WT", 2, [3, np.nan, 4]), replica("Y537S", 1, [5])]
    figure = figures.helix12_traces(replicas, figures.variant_colours(["WT", "Y537S"]))
    wild, mutant = figure.data
    np.testing.assert_array_equal(wild.y, np.array([1, 2, np.nan, 3, 4, np.nan], dtype=np.float32))
    np.testing.assert_array_equal(wild.x, np.array([0, 1, np.nan, 0, 2, np.nan], dtype=np.float32))
    assert list(wild.customdata) == [1, 1, 1, 2, 2, 2]
    assert (mutant.name, mutant.xaxis) == ("Y537S", "x")


def test_shared_range_does_not_blow_up_noise():
    low, high = figures.shared_range([replica("WT", 1, [1.0, 1.1])], "binding_kcal")
    assert high - low == pytest.approx(2.0) and low < 1.0 < 1.1 < high
    assert figures.shared_range([], "binding_kcal") is None


def test_components_are_means_over_replicas(tmp_path):
    ranking = make_screen(tmp_path, pdb=PEPTIDE, n_ligands=1)
    replicas = [r for r in read_store(ranking, tmp_path).replicas if r.variant == "WT"]
    figure = figures.energy_panels(replicas, figures.variant_colours(["WT"]))
    (bars,) = [t for t in figure.data if t.type == "bar"]
    expected = np.mean([r.columns["coulomb_kcal"].mean() + r.columns["gb_kcal"].mean() for r in replicas])
    assert bars.x == ("vdW", "Coulomb<br>+ GB", "surface")
    assert bars.y[1] == pytest.approx(expected)
    assert sum(bars.y) == pytest.approx(np.mean([r.columns["binding_kcal"].mean() for r in replicas]))
    json.loads(figure.to_json())


def test_missing_columns_leave_a_figure_out_rather_than_empty():
    bare = Replica("d" * 64, "WT", "a", "antagonist", 1, {"time_ps": np.arange(3.0)})
    assert figures.helix12_traces([bare], {}) is None
    assert figures.energy_panels([bare], {}) is None
