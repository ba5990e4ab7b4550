"""The explore flow's own part: parameters, rounds as flow runs and decisions as tasks, one real run."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from pathlib import Path

import pytest

from esr1md.catalogue import load_flow
from esr1md.config import load_screen
from esr1md.explore.predictions import Guess
from esr1md.explore.rounds import advance
from esr1md.screen.plan import plan_screen
from esr1md.screen.run import start_screen
from esr1md.store import Store

ROOT = Path(__file__).resolve().parents[2]
PROTOCOL = """
name: tiny
solvent: {model: obc2, cutoff_angstrom: 12}
region: {mobile_angstrom: 4, shell_angstrom: 3}
stages:
  - {kind: minimise, iterations: 2, solvent: false}
  - {kind: produce, duration_ps: 0.04, frame_ps: 0.02}
scoring: {frames: 1, receptor: simulated}
"""


@pytest.fixture(scope="module")
def flow_module():
    return load_flow("explore")


@pytest.fixture
def first(tmp_path) -> Path:
    (tmp_path / "tiny.yaml").write_text(PROTOCOL)
    path = tmp_path / "small.yaml"
    ligand = "{name: biphenol, smiles: 'Oc1ccc(cc1)c1ccc(O)cc1'}"  # small: placing a ligand takes longest
    path.write_text(f"name: small\nvariants: [WT]\nligands: [{ligand}]\nstates: agonist\nreplicas: 1\n"
                    f"protocol: {tmp_path / 'tiny.yaml'}\nplatform: CPU\n")  # fmt: skip
    (tmp_path / "hits.smi").write_text("Oc1ccc(cc1)c1ccccc1 phenylphenol\nOc1ccc2ccccc2c1 naphthol\n")
    return path


@pytest.fixture
def no_surrogate(flow_module, monkeypatch):
    """Decisions without a trained model: what is decided is tested elsewhere."""
    guess = functools.partial(Guess, {}, ("No predictions.",), "too little is simulated")
    monkeypatch.setattr(flow_module, "advance", functools.partial(advance, guess=lambda *arguments: guess()))


def test_deployments_see_typed_and_described_parameters(flow_module):
    schema = flow_module.explore.to_deployment(name="x")._parameter_openapi_schema
    assert schema.required == ["config", "gpu_hours"]
    assert all(value.get("description") for value in schema.properties.values())
    assert schema.properties["gpu_hours"]["type"] == "number"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["quikstart", "--gpu-hours", "1"], "unknown screen 'quikstart'"),
        (["quickstart", "--gpu-hours", "0"], "gpu_hours is 0"),
        (["quickstart", "--gpu-hours", "1", "--candidates", "nowhere.csv"], "no file 'nowhere.csv'"),
    ],
)
def test_bad_input_is_one_line_before_prefect_starts(flow_module, tmp_path, capsys, arguments, said):
    assert flow_module.main([*arguments, "--store", str(tmp_path / "store")]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("error: ") and said in err and err.count("\n") == 1
    assert not (tmp_path / "store").exists()


@pytest.mark.slow
def test_rounds_are_runs_of_the_screen_flow(flow_module, no_surrogate, first, tmp_path, monkeypatch):
    ran, said = [], []

    def screen(config, store, limit, platform):
        plan = plan_screen(load_screen(config), store, platform=platform)
        start_screen(plan)
        for job in plan.jobs:
            Store(plan.store_root).produce("replicas", job.spec.digest, _write, spec=job.spec.identity)
        ran.append((plan.name, list(plan.ligands)))

    def _write(folder):
        (folder / "record.json").write_text(json.dumps({"platform": "CPU", "seconds": 36.0}))
        (folder / "summary.json").write_text(json.dumps({"binding_kcal": -30.0, "helix12_angstrom": 1.0}))

    monkeypatch.setattr(flow_module.screen_flow, "screen", screen)
    asked = {"config": str(first), "store": str(tmp_path / "store"), "gpu_hours": 1.0, "batch": 1,
             "candidates": str(tmp_path / "hits.smi")}  # fmt: skip
    summary = flow_module.run_explore_flow(asked, report=said.append)
    assert summary["reason"] == "candidates" and summary["replicas"] == 3
    assert [name for name, _ in ran] == ["small", "small-1", "small-2"]
    assert ran[-1][1][0] == "biphenol" and set(ran[-1][1]) == {"biphenol", "phenylphenol", "naphthol"}
    assert any(line.startswith("round 1: 1 of 2 candidates, by diversity") for line in said)


@pytest.mark.slow
def test_real_exploration_from_the_command_line(first, tmp_path):
    """Two ligands and one replica each, truly simulated; the surrogate has too little to learn from and says so."""
    run = "import sys; from esr1md.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", run, "surrogate", "explore", str(first), "--store", str(tmp_path / "store"),
               "--gpu-hours", "0.5", "--candidates", str(tmp_path / "one.smi"), "--json"]  # fmt: skip
    (tmp_path / "one.smi").write_text("Oc1ccc2ccccc2c1 naphthol\n")
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    summary = json.loads(ran.stdout)
    assert summary["why"] == "Stopped: no candidate is left to simulate." and "round 1: 1 of 1 candidates" in ran.stderr
    assert json.loads((tmp_path / "store/explore/small/summary.json").read_text()) == summary
    assert summary["replicas"] == 2 and summary["failed"] == 0 and summary["spent_gpu_hours"] > 0
    assert {entry["ligand"] for entry in summary["ligands"]} == {"biphenol", "naphthol"}
    decision = json.loads((tmp_path / "store/explore/small/round-1.json").read_text())
    assert decision["basis"] == "diversity" and decision["ligands"] == ["naphthol"]
