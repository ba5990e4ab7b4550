"""A screen whose protocol drives helix 12 ends in free energies, and in no score."""

from __future__ import annotations

import json

import numpy as np
import pandas
import pytest

from esr1md.config import load_screen
from esr1md.dynamics.helix12_bias import Hills
from esr1md.screen.finish import finish_screen
from esr1md.screen.plan import plan_screen
from esr1md.screen.run import start_screen
from esr1md.store import Store

SCREEN = """
name: driven
variants: [WT, Y537S]
ligands: [estradiol]
apo: false
states: [agonist]
protocol: helix12-metadynamics
replicas: 2
platform: CPU
"""


@pytest.fixture
def driven(tmp_path):
    """A planned screen with stand-ins for its replicas: hills that stay agonist in WT, torn ones in one of Y537S."""
    path = tmp_path / "driven.yaml"
    path.write_text(SCREEN)
    plan = plan_screen(load_screen(path), tmp_path / "store")
    start_screen(plan)
    store = Store(plan.store_root)
    for job in plan.jobs:

        def make(folder, variant=job.spec.cell.variant.name, seed=job.spec.seed):
            n = 400
            s = np.full(n, -3.5) + 0.2 * np.sin(np.arange(n))
            if variant != "WT":  # to and fro
                s = 4.0 * np.sin(np.arange(n) / 12.0)
            Hills(np.arange(1, n + 1) * 5.0, s, np.full(n, 0.05)).write(folder / "helix12_hills.csv")
            if (variant, seed) == ("Y537S", plan.jobs[-1].spec.seed):
                (folder / "helix12_hills.csv").write_text("time_ps,s_angstrom,height_kcal\n5.0,torn")
            (folder / "record.json").write_text("{}")
            (folder / "summary.json").write_text(json.dumps({"frames": 3}))

        store.produce("replicas", job.spec.digest, make, spec=job.spec.identity)
    return plan, finish_screen(plan, report=False)


def test_each_cell_has_a_row_that_says_what_is_known(driven):
    plan, _ = driven
    folder = plan.store_root / "screens" / "driven"
    table = pandas.read_csv(folder / "free_energies.csv").set_index("variant")
    assert np.isnan(table.loc["WT", "agonist_less_antagonist_kcal"]) and not table.loc["WT", "converged"]
    assert table.loc["WT", "replicas"] == 2 and "not converged" in table.loc["WT", "reason"]
    assert np.isfinite(table.loc["Y537S", "agonist_less_antagonist_kcal"])
    assert table.loc["Y537S", "replicas"] == 1
    assert "the hills of 1 replicas cannot be read" in table.loc["Y537S", "reason"]
    pages = sorted(path.name for path in (folder / "free_energies").iterdir())
    assert pages == ["WT_estradiol_agonist.html", "Y537S_estradiol_agonist.html"]
    assert "F(agonist) - F(antagonist)" in (folder / "free_energies" / "WT_estradiol_agonist.html").read_text()


def test_biased_frames_make_no_score(driven):
    _, ranking = driven
    assert all(cell.helix12 is None and cell.binding is None for cell in ranking.cells)
    assert all(entry.helix12_shift is None for entry in ranking.comparisons)
