from __future__ import annotations

import json
import shutil
from functools import partial

import numpy as np
import pandas
import pytest

from esr1md.analysis import observe as observation
from esr1md.analysis.frames import read_frames
from esr1md.analysis.observe import frames_to_score, observe, summarise
from esr1md.dynamics.run import simulate
from esr1md.errors import StageError
from systems import CPU, apo_complex, hydroxytamoxifen, hydroxytamoxifen_complex, tiny_protocol


@pytest.fixture(scope="module")
def replica(tmp_path_factory):
    folder = tmp_path_factory.mktemp("observe")
    simulate(hydroxytamoxifen_complex(), tiny_protocol(), seed=1, platform=CPU, folder=folder)
    return folder


def test_an_observation_has_every_metric_and_its_means(replica):
    summary = observe(replica, hydroxytamoxifen_complex(), tiny_protocol(), CPU, ligand_sdf=hydroxytamoxifen()[1])
    table = pandas.read_parquet(replica / "observation.parquet")
    assert len(table) == summary["frames"] == 3
    assert (table["h12_state"] == "antagonist").all() and summary["h12_fraction_antagonist"] == 1.0
    for name in ("binding_kcal", "helix12_angstrom", "latch_537_380_angstrom", "ligand_n_d351_angstrom"):
        assert summary[name] == pytest.approx(table[name].mean())
    np.testing.assert_allclose(
        table["binding_kcal"], table[["vdw_kcal", "coulomb_kcal", "gb_kcal", "sasa_kcal"]].sum(axis=1)
    )
    contacts = json.loads((replica / "contacts.json").read_text())
    assert contacts["fingerprint"]["GLU353"]["hydrogen bond"] > 0.5
    total = contacts["residue_energy_kcal"]
    assert {"ASP351", "GLU353", "LYS362", "ARG394", "PHE404", "LEU525", "CYS530", "LEU536", "TYR537"} <= set(total)
    assert any(name.endswith("524") for name in total) and 25 <= len(total) <= 35
    for name, terms in contacts["residue_terms_kcal"].items():
        assert set(terms) == {"vdw", "coulomb", "polar"} and total[name] == pytest.approx(
            sum(terms.values()), abs=0.002
        )
    assert total["GLU353"] < -2 and contacts["ligand_desolvation_kcal"] > 3
    assert json.loads((replica / "summary.json").read_text()) == pytest.approx(summary)


def test_frames_in_pieces_are_the_frames_together(replica, monkeypatch):
    """However few frames are held at once; groove area aside, which MDTraj computes differently for several frames."""
    observed = []
    for chunk in (1, 2, 100):
        monkeypatch.setattr(observation, "read_frames", partial(read_frames, chunk=chunk))
        observe(replica, hydroxytamoxifen_complex(), tiny_protocol(), CPU, ligand_sdf=hydroxytamoxifen()[1])
        table = pandas.read_parquet(replica / "observation.parquet").drop(columns="h12_groove_area_angstrom2")
        summary = json.loads((replica / "summary.json").read_text())
        observed.append((table, summary, json.loads((replica / "contacts.json").read_text())))
    for table, summary, contacts in observed[1:]:
        pandas.testing.assert_frame_equal(table, observed[0][0], rtol=1e-5, atol=1e-4)
        assert contacts["fingerprint"] == observed[0][2]["fingerprint"]
        for name in ("loop_rmsf_angstrom", "h12_rmsf_angstrom", "binding_sd_kcal"):
            assert summary[name] == pytest.approx(observed[0][1][name], rel=1e-4)


def test_entropy_and_the_solutes_own_free_energy_come_when_asked_for(replica, monkeypatch):
    """Entropy comes with its spread, and with a warning where that is too large."""
    monkeypatch.setattr(observation, "ENTROPY_SPREAD_KCAL", 0.01)
    asked = {"frames": 3, "receptor": "whole", "entropy": "interaction", "trajectories": "three", "salt_molar": 0.15}
    protocol = tiny_protocol(scoring=asked)
    with pytest.warns(UserWarning, match="does not converge"):
        summary = observe(replica, hydroxytamoxifen_complex(), protocol, CPU, ligand_sdf=hydroxytamoxifen()[1])
    table = pandas.read_parquet(replica / "observation.parquet")
    interaction = table["vdw_kcal"] + table["coulomb_kcal"]
    assert summary["interaction_sd_kcal"] == pytest.approx(interaction.std()) and summary["entropy_converged"] == 0.0
    assert 0 < summary["entropy_kcal"] <= interaction.max() - interaction.mean()
    assert summary["binding_kcal"] == pytest.approx(table["binding_kcal"].mean() + summary["entropy_kcal"])
    assert table["solute_kcal"].notna().all() and summary["solute_kcal"] < -1000


def test_apo_has_helix_12_but_no_binding(tmp_path):
    simulate(apo_complex(), tiny_protocol(), seed=1, platform=CPU, folder=tmp_path)
    summary = observe(tmp_path, apo_complex(), tiny_protocol(), CPU)
    assert summary["h12_fraction_agonist"] == 1.0
    assert not any(name.endswith("_kcal") for name in summary)
    three = tiny_protocol(scoring={"frames": 1, "receptor": "whole", "trajectories": "three"})
    assert {n for n in observe(tmp_path, apo_complex(), three, CPU) if n.endswith("_kcal")} == {"solute_kcal"}


def test_a_trajectory_of_something_else_is_refused(replica):
    with pytest.raises(StageError, match="trajectory has .* atoms"):
        observe(replica, apo_complex(), tiny_protocol(), CPU)


@pytest.mark.parametrize("damage", ["missing", "garbage", "torn"])
def test_a_damaged_trajectory_is_a_failure_with_its_place(replica, tmp_path, damage):
    folder = tmp_path / "copy"
    shutil.copytree(replica, folder)
    if damage == "missing":
        (folder / "trajectory.xtc").unlink()
    elif damage == "torn":
        (folder / "trajectory.xtc").write_bytes((folder / "trajectory.xtc").read_bytes()[:-500])
    else:
        (folder / "trajectory.xtc").write_bytes(b"not a trajectory" * 100)
    with pytest.raises(StageError) as caught:
        observe(folder, hydroxytamoxifen_complex(), tiny_protocol(), CPU, ligand_sdf=hydroxytamoxifen()[1])
    assert str(folder) in str(caught.value)


def test_a_metric_that_does_not_apply_is_absent_not_zero():
    table = pandas.DataFrame(
        {"time_ps": [0.1, 0.2], "h12_state": ["agonist"] * 2, "latch": [np.nan] * 2, "x": [1.0, np.nan]}
    )
    summary = summarise(table, {})
    assert "latch" not in summary and summary["x"] == 1.0


def test_scored_frames_are_spread_and_end_with_the_last():
    assert frames_to_score(20, 5).tolist() == [0, 5, 10, 14, 19]
    assert frames_to_score(3, 50).tolist() == [0, 1, 2]
    assert frames_to_score(1, 1).tolist() == [0]


def test_the_drift_is_not_part_of_the_means():
    rng = np.random.default_rng(4)
    n = 200
    drift = 6.0 * np.exp(-np.arange(n) / 10.0)
    table = pandas.DataFrame(
        {
            "time_ps": 20.0 + 10.0 * np.arange(n),
            "helix12_angstrom": 11.0 + drift + rng.normal(0, 0.2, n),
            "binding_kcal": np.where(np.arange(n) % 4 == 3, -50.0 + rng.normal(0, 2.0, n), np.nan),
            "h12_state": ["displaced"] * 15 + ["antagonist"] * (n - 15),
        }
    )
    summary = summarise(table, {})
    assert summary["helix12_angstrom"] == pytest.approx(11.0, abs=0.1)
    assert summary["h12_fraction_antagonist"] == 1.0
    assert 150 <= summary["settled_from_ps"] <= 900 and summary["frames"] == n - summary["settled_from_ps"] / 10
    assert 20 < summary["binding_effective_frames"] <= 50
    short = summarise(table.iloc[:20].reset_index(drop=True), {})
    assert short["frames"] == 20 and "settled_from_ps" not in short
