"""Planning, steps, failures and status of a screen; the simulation itself is replaced, the store is real."""

from __future__ import annotations

import json
import os
import signal
import time
import types
from pathlib import Path

import pytest

from esr1md.catalogue import data_path
from esr1md.config import load_screen
from esr1md.errors import InputError, StageError
from esr1md.screen.finish import collect
from esr1md.screen.plan import plan_screen
from esr1md.screen.progress import progress_file, write_progress
from esr1md.screen.replica import Job, pose_identity, receptor_of, run_replica
from esr1md.screen.replica_log import read_log
from esr1md.screen.run import Step, perform, run_steps, start_screen, steps
from esr1md.screen.status import screen_status
from esr1md.specs import Cell, HelixState, Ligand, ReplicaSpec, Variant, digest_of, file_digest
from esr1md.store import Store
from esr1md.store.records import open_index, replica_rows
from esr1md.workers import WorkerPool

TINY_PROTOCOL = """
name: tiny
solvent: {model: obc2, cutoff_angstrom: 12}
region: {mobile_angstrom: 4, shell_angstrom: 3}
stages:
  - {kind: minimise, iterations: 2, solvent: false}
  - {kind: produce, duration_ps: 0.04, frame_ps: 0.02}
scoring: {frames: 1, receptor: simulated}
"""


def write_screen(folder: Path, text: str = "", **changes: str) -> Path:
    """A small screen's YAML (lines by key), and its protocol, in ``folder``."""
    (folder / "tiny.yaml").write_text(TINY_PROTOCOL)
    lines = {
        "name": "small",
        "variants": "[WT, Y537S]",
        "ligands": "[estradiol, 4-hydroxytamoxifen]",
        "apo": "true",
        "reference_ligand": "{agonist: estradiol}",
        "protocol": str(folder / "tiny.yaml"),
        "replicas": "2",
        "platform": "Reference",
        **changes,
    }
    path = folder / "small.yaml"
    path.write_text("".join(f"{key}: {value}\n" for key, value in lines.items() if value) + text)
    return path


def plan_of(folder: Path, **changes: str):
    return plan_screen(load_screen(write_screen(folder, **changes)), folder / "store")


# -- identity --------------------------------------------------------------------------------------------


def test_digest_of_a_spec_never_changes_by_accident():
    """A change here makes every user recompute everything: raise SCIENCE_VERSION instead, on purpose."""
    ligand = Ligand("phenol", "Oc1ccccc1", "ISWSIDIOOBJBQZ-UHFFFAOYSA-N", 0)
    spec = ReplicaSpec(
        Cell(Variant(), ligand, HelixState.AGONIST),
        seed=1,
        protocol={"name": "quick", "description": "left out", "time_step_fs": 4.0},
        receptor_source="00" * 32,
        pose={"seed": 1, "exclude": []},
        versions={"openmm": "8.6.1"},
    )
    assert spec.digest == "96b31aee97087d05cc464d3b7e46f409bbe32443a21601bd8fed6b45fc0ce0f0"
    renamed = ReplicaSpec(
        Cell(Variant(), Ligand("carbolic acid", ligand.smiles, ligand.inchikey, 0), HelixState.AGONIST),
        seed=1,
        protocol={"name": "mine", "time_step_fs": 4.0},
        receptor_source="00" * 32,
        pose={"seed": 1, "exclude": []},
        versions={"openmm": "8.6.1"},
    )
    assert renamed.digest == spec.digest, "names are not part of the identity"


def test_everything_that_changes_a_number_changes_the_digest(tmp_path):
    base = {job.spec.digest for job in plan_of(tmp_path).jobs}
    assert len(base) == 12
    (tmp_path / "other").mkdir()
    for changes in (
        {"pose": "{seed: 2}"},
        {"pose": "{exclude: [estradiol]}"},
        {"charges": "am1bcc"},
        {"first_seed": "3"},
    ):
        other = plan_of(tmp_path / "other", **changes)
        bound = {job.spec.digest for job in other.jobs if job.spec.cell.ligand}
        assert len(bound) == 8 and not bound & base, changes
    apo = {job.spec.digest for job in plan_of(tmp_path / "other", pose="{seed: 2}").jobs if not job.spec.cell.ligand}
    assert apo < base, "no pose is made for apo"


# -- the plan --------------------------------------------------------------------------------------------


def test_bundled_quickstart_is_planned(tmp_path):
    plan = plan_screen(load_screen("quickstart"), tmp_path / "store", platform="Reference")
    names = [job.spec.name for job in plan.jobs]
    assert len(set(names)) == len(names) == plan.matrix_size
    assert names[:2] == ["WT/4-hydroxytamoxifen/antagonist#1", "Y537S/4-hydroxytamoxifen/antagonist#1"]
    assert [name.rpartition("#")[2] for name in names] == sorted(name.rpartition("#")[2] for name in names)
    assert plan.estimate.seconds > 0 and plan.estimate.bytes > 0 and not plan.estimate.measured
    assert not (tmp_path / "store").exists(), "planning writes nothing"
    assert json.loads(json.dumps(plan.to_json()))["screen"] == "quickstart"


@pytest.mark.parametrize(
    ("changes", "line", "message"),
    [
        ({"variants": "[WT, Y538S]"}, 2, "538 is Asp"),
        ({"variants": "[WT, L540del]"}, 2, "deletes a residue of helix 12"),
        ({"variants": "[WT, Y537S, p.Tyr537Ser]"}, 2, "are both Y537S"),
        ({"ligands": "[estradiol, fulvestrnt]"}, 3, "unknown ligand 'fulvestrnt'"),
        ({"ligands": "[estradiol, fulvestrant, Faslodex]"}, 3, "is the same ligand as 'fulvestrant'"),
        ({"ligands": "[estradiol, {name: x, smiles: 'C1CC'}]"}, 3, "SMILES"),
        ({"protocol": "quik"}, 6, "unknown protocol 'quik'"),
        ({"site": "clustr"}, 9, "unknown site 'clustr'"),
        ({"states": "{estradiol: sideways}"}, 9, "sideways"),
        ({"reference_ligand": "{antagonist: estradiol}"}, 5, "not simulated in the antagonist state"),
    ],
)
def test_bad_input_is_told_at_its_line_before_anything_runs(tmp_path, changes, line, message):
    with pytest.raises(InputError) as caught:
        plan_of(tmp_path, **changes)
    text = str(caught.value)
    assert f"small.yaml:{line}" in text and message in text and "\n" not in text
    assert not (tmp_path / "store").exists()


def test_structure_that_is_not_er_alpha_is_refused_at_its_line(tmp_path):
    (tmp_path / "broken.pdb").write_text("ATOM      1  N   ALA A")
    with pytest.raises(InputError, match=r"small.yaml:9") as caught:
        plan_of(tmp_path, receptors="{agonist: broken.pdb}")
    assert "broken.pdb" in str(caught.value)


def test_a_screen_starts_from_a_pdb_entry(tmp_path, monkeypatch, shared_data):
    monkeypatch.setenv("ESR1MD_PDB_MIRROR", str(shared_data / "pdb"))
    plan = plan_of(tmp_path, receptors="{agonist: 5wgd}")
    started = {job.spec.cell.state: job for job in plan.jobs}[HelixState.AGONIST]
    assert started.source == shared_data / "pdb" / "5WGD.cif"
    assert started.spec.receptor_source == file_digest(started.source)


@pytest.mark.parametrize("written", ["9zzz", "nowhere.pdb"])
def test_an_entry_that_is_not_at_hand_is_told_at_its_line(tmp_path, monkeypatch, written):
    monkeypatch.setenv("ESR1MD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("esr1md.receptor.fetch.SERVER", "http://127.0.0.1:9")
    monkeypatch.setattr("esr1md.receptor.fetch.time.sleep", lambda seconds: None)
    with pytest.raises(InputError, match=r"small.yaml:9") as caught:
        plan_of(tmp_path, receptors=f"{{agonist: {written}}}")
    assert written.upper() in str(caught.value) or written in str(caught.value)


def test_limit_takes_replicas_that_are_not_done(tmp_path):
    store = Store(tmp_path / "store")
    config = load_screen(write_screen(tmp_path))
    first = plan_screen(config, store.root, limit=2)
    assert [job.spec.name for job in first.jobs] == ["WT/estradiol/agonist#1", "Y537S/estradiol/agonist#1"]
    assert first.matrix_size == 12
    for job in first.jobs:
        finish_replica(store, job)
    second = plan_screen(config, store.root, limit=2)
    assert [job.spec.name for job in second.jobs][2:] == [
        "WT/4-hydroxytamoxifen/antagonist#1",
        "Y537S/4-hydroxytamoxifen/antagonist#1",
    ]
    with pytest.raises(InputError, match="limit is 0"):
        plan_screen(config, store.root, limit=0)


def finish_replica(store: Store, job: Job, **summary: float) -> None:
    def make(folder):
        record = {"ligand": job.spec.cell.ligand_name, "platform": "Reference", "seconds": 12.0}
        (folder / "record.json").write_text(json.dumps(record))
        (folder / "summary.json").write_text(json.dumps(summary))

    store.produce("replicas", job.spec.digest, make, spec=job.spec.identity)


# -- steps -----------------------------------------------------------------------------------------------


def test_steps_come_after_what_they_need_and_shared_ones_once(tmp_path):
    plan = plan_of(tmp_path, variants="[D538G, Y537S]")  # no wild type, and poses are made on it all the same
    ordered = list(steps(plan))
    seen: set[str] = set()
    for step in ordered:
        assert set(step.needs) <= seen, f"{step.name} comes before what it needs"
        seen.add(step.digest)
    assert len(seen) == len(ordered)
    names = {(step.kind, step.name) for step in ordered}
    assert {name for kind, name in names if kind == "receptors"} == {
        f"{variant}/{state}" for variant in ("WT", "D538G", "Y537S") for state in ("agonist", "antagonist")
    }
    assert {name for kind, name in names if kind == "poses"} == {
        "estradiol/agonist",
        "4-hydroxytamoxifen/antagonist",
    }
    poses = {digest_of(pose_identity(job)) for job in plan.jobs if job.spec.cell.ligand}
    assert len(poses) == 2, "all variants and seeds start from the same pose"


def test_nothing_is_left_of_a_finished_screen(tmp_path):
    plan = plan_of(tmp_path, ligands="[estradiol]", reference_ligand="", apo="")
    store = Store(plan.store_root)
    for job in plan.jobs:
        finish_replica(store, job)
    assert list(steps(plan)) == []


def test_waiting_steps_do_not_block_the_ones_they_wait_for():
    first = [Step("poses", f"p{i}", "", None, ()) for i in range(3)]
    then = [Step("replicas", f"r{i}", "", None, (), needs=(f"p{i % 3}",)) for i in range(40)]
    done: list[str] = []

    def do(step):
        assert set(step.needs) <= set(done)
        time.sleep(0.01)
        done.append(step.digest)
        return step.digest

    answers = run_steps([*first, *then], do, 1, lambda: None)
    assert answers == [step.digest for step in (*first, *then)]


def test_bad_input_found_in_a_worker_ends_the_run():
    aborted, done = [], []

    def do(step):
        if step.digest == "2":
            raise InputError("the disk is full")
        done.append(step.digest)

    with pytest.raises(InputError, match="disk is full"):
        run_steps([Step("replicas", str(i), "", None, ()) for i in range(100)], do, 1, lambda: aborted.append(1))
    assert aborted and len(done) < 99


# -- replicas and their failures -------------------------------------------------------------------------


@pytest.fixture
def simulated(monkeypatch):
    """Replace what computes; returns a dict of faults to raise by stage, and counts of calls."""
    calls: dict[str, int] = {}
    faults: dict[str, Exception] = {}

    class Anything:
        """Stands in for a record of a preparation."""

        def __getattr__(self, name):
            return Path("/nowhere/folder/file") if name in ("pdb", "sdf") else ""

        warnings = ()

    def stand_in(stage, answer=None):
        def call(*args, **kwargs):
            calls[stage] = calls.get(stage, 0) + 1
            if stage in faults:
                raise faults[stage]
            return answer(*args, **kwargs) if callable(answer) else answer

        return call

    import dataclasses

    @dataclasses.dataclass
    class Simulation:
        n_frames: int = 1
        timeline: list = dataclasses.field(default_factory=list)

    def observe(folder, *args, **kwargs):
        (folder / "summary.json").write_text(json.dumps({"helix12_angstrom": 1.0}))

    monkeypatch.setattr("esr1md.screen.replica.prepare_receptor", stand_in("receptor", Anything()))
    monkeypatch.setattr("esr1md.screen.replica.prepare_parameters", stand_in("parameters", Anything()))
    monkeypatch.setattr("esr1md.screen.replica.prepare_pose", stand_in("pose", Anything()))
    built = types.SimpleNamespace(system=None, positions=[])
    monkeypatch.setattr("esr1md.complex.build_complex", stand_in("complex", built))
    monkeypatch.setattr("esr1md.dynamics.platforms.verify", lambda choice, *arguments, **options: choice)
    monkeypatch.setattr("esr1md.dynamics.run.simulate", stand_in("dynamics", Simulation()))
    monkeypatch.setattr("esr1md.analysis.observe.observe", stand_in("analysis", observe))
    return calls, faults


def test_replica_is_computed_once_and_says_what_it_is(tmp_path, simulated):
    calls, _ = simulated
    plan = plan_of(tmp_path)
    job = plan.jobs[0]
    stages: list[str] = []
    for _ in range(2):
        row = run_replica(job, plan.store_root, plan.platform, progress=lambda stage, fraction: stages.append(stage))
        assert (row["status"], row["variant"], row["ligand"]) == ("done", "WT", "estradiol")
        assert row["summary"] == {"helix12_angstrom": 1.0}
    assert set(calls.values()) == {1}
    assert list(dict.fromkeys(stages)) == [
        "waiting", "receptor", "parameters", "pose", "complex", "dynamics", "analysis",
    ]  # fmt: skip
    store = Store(plan.store_root)
    assert not progress_file(store, job.spec.digest).exists()
    record = json.loads((store.find("replicas", job.spec.digest) / "record.json").read_text())
    assert list(record["stage_seconds"]) == [
        "receptor", "parameters", "pose", "complex", "waiting", "dynamics", "analysis",
    ]  # fmt: skip
    assert [entry["phase"] for entry in record["simulation"]["timeline"]] == ["waiting"]
    events = read_log(store.find("replicas", job.spec.digest))
    assert (events[0]["event"], events[0]["name"], events[-1]["event"]) == ("begun", job.spec.name, "done")
    assert [each["stage"] for each in events if each["event"] == "stage ended"] == list(record["stage_seconds"])


def test_scientific_failure_is_a_row_and_is_not_tried_again_until_asked(tmp_path, simulated):
    calls, faults = simulated
    plan = plan_of(tmp_path)
    job, store = plan.jobs[0], Store(plan.store_root)
    faults["pose"] = StageError("pose", "does not fit under helix 12", where="/nowhere", kind="outcome")
    for _ in range(2):
        start_screen(plan)
        row = run_replica(job, plan.store_root, plan.platform)
        assert (row["status"], row["failure_stage"], row["failure_kind"]) == ("failed", "pose", "outcome")
        assert row["ligand"] == "estradiol"
    assert calls["pose"] == 1
    last = read_log(store.folder("replicas", job.spec.digest))[-1]
    assert (last["event"], last["stage"], last["cause"]) == ("failed", "pose", "does not fit under helix 12")
    observations, failures = collect(store, plan.to_json())
    assert observations == [] and len(failures) == 1
    assert (failures[0].ligand, failures[0].seed, failures[0].kind) == ("estradiol", 1, "outcome")

    faults.clear()
    start_screen(plan, retry=True)
    assert run_replica(job, plan.store_root, plan.platform)["status"] == "done"


def test_fault_is_shown_with_its_stage_and_tried_again_by_the_next_run(tmp_path, simulated):
    calls, faults = simulated
    plan = plan_of(tmp_path)
    job = plan.jobs[0]
    faults["dynamics"] = RuntimeError("CUDA_ERROR_LAUNCH_FAILED")
    for _ in range(2):  # within a run it stays failed
        row = run_replica(job, plan.store_root, plan.platform)
        assert (row["failure_stage"], row["failure_kind"]) == ("dynamics", "error")
        assert "CUDA_ERROR_LAUNCH_FAILED" in row["failure_cause"]
        assert "Traceback" in Path(row["failure_where"]).read_text()
    assert calls["dynamics"] == 1
    faults.clear()
    start_screen(plan)
    assert run_replica(job, plan.store_root, plan.platform)["status"] == "done"


def test_death_of_a_worker_is_tried_once_more_then_a_failure_of_this_run(tmp_path):
    plan = plan_of(tmp_path)
    start_screen(plan)
    store, job, count = Store(plan.store_root), plan.jobs[0], tmp_path / "count"
    step = Step("replicas", job.spec.digest, job.spec.name, die, (count,))
    with WorkerPool(1, log_folder=tmp_path / "logs") as pool:
        row = perform(step, pool, store)
    assert count.read_text() == "xx" and row["status"] == "died" and "SIGSEGV" in row["cause"]
    status = screen_status(store, "small")
    assert status.n_failed == 1 and "SIGSEGV" in next(iter(status.failed))
    _, failures = collect(store, plan.to_json())
    assert failures[0].kind == "error" and "SIGSEGV" in failures[0].cause

    start_screen(plan)
    assert screen_status(store, "small").n_failed == 0
    assert job.spec.digest in {step.digest for step in steps(plan)}


def die(count: Path) -> None:
    with open(count, "a") as handle:
        handle.write("x")
    os.kill(os.getpid(), signal.SIGSEGV)


# -- status and index ------------------------------------------------------------------------------------


def test_status_counts_done_running_waiting_and_failed(tmp_path, simulated):
    _, faults = simulated
    plan = plan_of(tmp_path)
    store = Store(plan.store_root)
    start_screen(plan)
    finish_replica(store, plan.jobs[0])
    faults["dynamics"] = StageError("dynamics", "the energy stopped being finite")
    run_replica(plan.jobs[1], plan.store_root, plan.platform)
    running = plan.jobs[2].spec
    import socket

    said = {
        "digest": running.digest, "name": running.name, "stage": "produce", "fraction": 0.5,
        "pid": os.getpid(), "host": socket.gethostname(), "started": time.time() - 6, "updated": time.time(),
    }  # fmt: skip
    write_progress(progress_file(store, running.digest), said)
    write_progress(progress_file(store, plan.jobs[3].spec.digest), {**said, "pid": 2**22 + 1})  # that process is gone
    status = screen_status(store)
    assert (status.total, status.done, status.n_failed, status.waiting) == (12, 1, 1, 9)
    assert status.failed == {"dynamics: the energy stopped being finite": 1}
    assert [(r.name, r.stage, r.fraction) for r in status.running] == [(running.name, "produce", 0.5)]
    assert status.active and not status.complete
    # 9.5 replicas are left, of 12 s each as the finished one took
    assert status.seconds_left == pytest.approx(9.5 * 12 / plan.slots, rel=0.01)
    json.dumps(status.to_json())


def test_status_of_an_unknown_screen_is_one_line(tmp_path):
    start_screen(plan_of(tmp_path))
    with pytest.raises(InputError, match="no screen 'smal'") as caught:
        screen_status(Store(tmp_path / "store"), "smal")
    assert "one of small" in str(caught.value)


def test_start_brings_the_index_up_to_date(tmp_path):
    plan = plan_of(tmp_path)
    finish_replica(Store(plan.store_root), plan.jobs[0])
    start_screen(plan)
    rows = replica_rows(open_index(Store(plan.store_root)), "small")
    assert [row["digest"] for row in rows] == [plan.jobs[0].spec.digest]


def test_a_run_that_needs_more_disk_than_there_is_does_not_start(tmp_path, monkeypatch):
    plan = plan_of(tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 1000})())
    with pytest.raises(InputError, match="GB free and this run needs about"):
        start_screen(plan)


def test_ctrl_c_still_works_once_a_screen_is_planned(tmp_path):
    """RDKit 2026.03 replaces the SIGINT handler in any substructure search and leaves its own behind."""
    from rdkit import Chem

    from esr1md.ligand.labels import labels_of

    plan = plan_of(tmp_path)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        Chem.MolFromSmiles("CCO").HasSubstructMatch(Chem.MolFromSmarts("CO"))
        labels_of.cache_clear()  # the plan's own search comes after that
        start_screen(plan)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(5)
    finally:
        signal.signal(signal.SIGINT, before)


def test_receptor_of_a_variant_and_of_the_wild_type_differ(tmp_path):
    jobs = {job.spec.cell.variant.name: job for job in plan_of(tmp_path).jobs}
    assert receptor_of(jobs["WT"]).digest != receptor_of(jobs["Y537S"]).digest


def test_three_trajectories_need_the_empty_receptor_in_every_state(tmp_path):
    protocol = tmp_path / "three.yaml"
    text = (data_path("configs") / "protocols" / "standard.yaml").read_text()
    assert "trajectories" not in text
    protocol.write_text(text.replace("scoring:", "scoring:\n  trajectories: three", 1))
    with pytest.raises(InputError, match="apo is not simulated in the antagonist state"):
        plan_of(tmp_path, protocol=str(protocol), apo="true", states="{default: antagonist, apo: agonist}")
    with pytest.raises(InputError, match="three trajectories"):
        plan_of(tmp_path, protocol=str(protocol), apo="false")
    every = "{default: antagonist, estradiol: agonist, apo: [agonist, antagonist]}"
    assert plan_of(tmp_path, protocol=str(protocol), apo="true", states=every).jobs
