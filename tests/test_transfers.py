"""Relative free energies of a screen: which edges it has, one repeat in a real receptor, the table at the end."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pandas
import pytest
from rdkit import Chem

from esr1md.config import load_screen
from esr1md.dynamics import atm_run
from esr1md.errors import InputError
from esr1md.ligand.catalogue import catalogue_ligand
from esr1md.ligand.parameters import parametrise
from esr1md.receptor.frame import bundled_model
from esr1md.screen import transfers
from esr1md.screen.plan import plan_screen
from esr1md.screen.run import steps
from esr1md.screen.transfers import run_transfer, write_relative_free_energies
from esr1md.store import Store
from systems import CPU, hydroxytamoxifen

PROTOCOL = """
name: tiny
solvent: {model: obc2}
region: {mobile_angstrom: 4, shell_angstrom: 3}
stages:
  - {kind: minimise, iterations: 2, solvent: false}
  - {kind: produce, duration_ps: 0.04, frame_ps: 0.02}
scoring: {frames: 1, receptor: simulated}
"""
SAMPLING = "{states_per_leg: 3, equilibrate_ps: 0.008, sample_ps: 0.016, exchange_ps: 0.008}"


def plan_of(folder: Path, **changes: str):
    (folder / "tiny.yaml").write_text(PROTOCOL)
    lines = {
        "name": "pairs",
        "variants": "[WT, Y537S]",
        "ligands": "[4-hydroxytamoxifen, tamoxifen, fulvestrant]",
        "reference_ligand": "4-hydroxytamoxifen",
        "protocol": str(folder / "tiny.yaml"),
        "replicas": "3",
        "platform": "CPU",
        "method": "atm",
        **changes,
    }
    path = folder / "pairs.yaml"
    path.write_text("".join(f"{key}: {value}\n" for key, value in lines.items() if value))
    return plan_screen(load_screen(path), folder / "store")


def test_edges_go_out_from_the_reference_and_the_plan_states_their_gpu_hours(tmp_path):
    plan = plan_of(tmp_path)
    edges = [tuple(job.edge.values()) for job in plan.network.jobs]
    assert (
        set(edges) == {(variant, "antagonist", "4-hydroxytamoxifen", "tamoxifen") for variant in ("WT", "Y537S")}
        and len(edges) == 6
    )  # three repeats
    assert len({job.digest for job in plan.network.jobs}) == 6
    assert "net charges +1 and +0 differ" in plan.network.left_out[0]
    told = plan.summary()["transfers"]
    assert told["edges"] == 2 and told["gpu_hours"] > 1 and "GPU hours" in told["summary"]
    assert json.loads(json.dumps(plan.to_json()))["transfers"]["repeats"][0]["first"] == "4-hydroxytamoxifen"
    last = [step.kind for step in steps(plan)]
    assert last.index("transfers") > max(i for i, kind in enumerate(last) if kind == "replicas")
    repeat = next(step for step in steps(plan) if step.kind == "transfers")
    assert {step.digest for step in steps(plan) if step.kind in ("receptors", "poses")} >= set(repeat.needs)
    assert not plan_of(tmp_path, method="mmgbsa").network.jobs


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"transfers": "{edges: [[4-hydroxytamoxifen, fulvestrant]]}"}, "net charges"),
        ({"transfers": "{edges: [[4-hydroxytamoxifen, raloxifene]]}"}, "names 'raloxifene'"),
        ({"transfers": "{repeats: 9}"}, "9 repeats of each edge and 3 replicas"),
        ({"transfers": "{sampling: {states_per_leg: 1}}"}, "states_per_leg"),
        ({"transfers": "{sampling: {windows: 12}}"}, "windows"),
        ({"reference_ligand": ""}, "no pair of ligands"),
        ({"ligands": "[4-hydroxytamoxifen, fulvestrant]"}, "no pair of ligands.*net charges"),
    ],
)
def test_what_cannot_be_computed_is_refused_before_anything_runs(tmp_path, changes, said):
    with pytest.raises(InputError, match=said):
        plan_of(tmp_path, **changes)


def test_another_solvent_is_refused(tmp_path):
    with pytest.raises(InputError, match="cannot be used for relative free energies"):
        plan_of(tmp_path, protocol="explicit")


@pytest.mark.slow
def test_a_repeat_runs_in_the_receptor_and_ends_in_the_table(tmp_path, monkeypatch):
    """4-hydroxytamoxifen to tamoxifen with the real force field; poses and parameters as they are at hand."""
    plan = plan_of(tmp_path, variants="[WT]", ligands="[4-hydroxytamoxifen, tamoxifen]",
                   transfers=f"{{repeats: 2, sampling: {SAMPLING}}}")  # fmt: skip
    parameters, pose = hydroxytamoxifen()
    made = {"4-hydroxytamoxifen": parameters, "tamoxifen": parametrise(catalogue_ligand("tamoxifen"), tmp_path / "tam")}
    far = tmp_path / "far.sdf"  # a pose whose core lies elsewhere: the second is laid on the first, and that is said
    with Chem.SDWriter(str(far)) as writer:
        molecule = made["tamoxifen"].molecule()
        molecule.GetConformer().SetPositions(molecule.GetConformer().GetPositions() + 40.0)
        writer.write(molecule)
    poses = {"4-hydroxytamoxifen": pose, "tamoxifen": far}
    monkeypatch.setattr(
        transfers, "prepare_receptor", lambda store, wanted: SimpleNamespace(pdb=bundled_model("antagonist"))
    )
    monkeypatch.setattr(transfers, "prepare_parameters", lambda store, job: made[job.spec.cell.ligand_name])
    monkeypatch.setattr(
        transfers, "prepare_pose", lambda store, job: SimpleNamespace(sdf=poses[job.spec.cell.ligand_name])
    )
    monkeypatch.setattr(atm_run, "_MINIMISE_ITERATIONS", 15)  # 500 in generalised Born are three minutes of a CPU
    store = Store(plan.store_root)
    first = plan.network.jobs[0]
    run_transfer(first, plan.store_root, CPU)
    folder = store.find("transfers", first.digest)
    record = json.loads((folder / "record.json").read_text())
    assert record["transfer"]["n_states"] == 6 and "apart" in record["second_pose"]
    samples = pandas.read_parquet(folder / "perturbation_energies.parquet")
    assert len(samples) == 2 * 6 and samples["u1_kj"].notna().all()
    assert first.digest not in {step.digest for step in steps(plan)}
    screen = store.root / "screens" / "pairs"
    screen.mkdir(parents=True)
    table = write_relative_free_energies(json.loads(json.dumps(plan.to_json())), store, screen)
    row = table.iloc[0]
    assert (row["first"], row["second"], row["repeats"]) == ("4-hydroxytamoxifen", "tamoxifen", 1)
    assert not row["converged"] and row["reason"]
    assert (screen / "relative_free_energies.csv").is_file()
    assert "4-hydroxytamoxifen to tamoxifen" in next((screen / "relative_free_energies").iterdir()).read_text()
