from __future__ import annotations

import json
import shutil

import numpy as np
import pandas
import pytest

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
    assert "GLU353" in contacts["residue_energy_kcal"]
    assert json.loads((replica / "summary.json").read_text()) == pytest.approx(summary)


def test_apo_has_helix_12_but_no_binding(tmp_path):
    simulate(apo_complex(), tiny_protocol(), seed=1, platform=CPU, folder=tmp_path)
    summary = observe(tmp_path, apo_complex(), tiny_protocol(), CPU)
    assert summary["h12_fraction_agonist"] == 1.0
    assert not any(name.endswith("_kcal") for name in summary)


def test_a_trajectory_of_something_else_is_refused(replica):
    with pytest.raises(StageError, match="trajectory has .* atoms"):
        observe(replica, apo_complex(), tiny_protocol(), CPU)


@pytest.mark.parametrize("damage", ["missing", "garbage"])
def test_a_damaged_trajectory_is_a_failure_with_its_place(replica, tmp_path, damage):
    folder = tmp_path / "copy"
    shutil.copytree(replica, folder)
    if damage == "missing":
        (folder / "trajectory.xtc").unlink()
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
