"""Plans of many replicas: digests, ligands from files, the plan on the disk, what a screen will cost."""

from __future__ import annotations

import gzip
import io
import itertools
import json
import os
from dataclasses import replace
from pathlib import Path

import openmm
import pandas
import pytest
from rdkit import Chem
from rich.console import Console
from test_screen import finish_replica, write_screen

from esr1md.cli import main
from esr1md.commands.plan_view import about, about_time, plan_view, write_plan_json
from esr1md.config import load_screen
from esr1md.dynamics.protocol import load_protocol
from esr1md.dynamics.throughput import Load, Measurement, remember, speed_digest
from esr1md.errors import InputError
from esr1md.screen import ligands as screen_ligands
from esr1md.screen.finish import read_plan
from esr1md.screen.ligand_cache import cache_file
from esr1md.screen.plan import plan_screen
from esr1md.screen.run import start_screen
from esr1md.screen.status import screen_status
from esr1md.specs import Cell, HelixState, Ligand, Mutation, ReplicaSpec, Variant, digest_of, digests_of
from esr1md.store import Store, plans
from esr1md.store.records import open_index, rebuild, replica_rows
from esr1md.units import Price

PHENOLS = [
    ("phenol", "Oc1ccccc1"),
    ("cresol", "Cc1ccc(O)cc1"),
    ("tyramine", "NCCc1ccc(O)cc1"),
    ("naphthol", "Oc1ccc2ccccc2c1"),
]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ESR1MD_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def plan_of(folder: Path, **changes: str):
    return plan_screen(load_screen(write_screen(folder, **changes)), folder / "store")


# -- digests ---------------------------------------------------------------------------------------------


def test_digests_of_many_are_those_of_each():
    ligands = [None, Ligand("a", "Oc1ccccc1", "A", 0), Ligand("b", "C[NH3+]", "B", 1, "SERM", "a note")]
    variants = [Variant(), Variant((Mutation(537, "Y", "S"),)), Variant((Mutation(422, "V", ""),))]
    pose = {"seed": 1, "exclude": ["estradiol", "ä"]}
    protocols = [{"name": "one", "description": "x", "solvent": {"b": 1.5, "a": None}}, {"name": "two", "steps": 10**9}]
    specs = [
        ReplicaSpec(Cell(variant, ligand, state), seed, protocol, source, place, charges, {"openmm": "8", "a": "1"})
        for variant, ligand, state in itertools.product(variants, ligands, HelixState)
        for protocol, source in zip(protocols, ("00" * 32, "ab" * 32), strict=True)
        for seed, place in ((1, pose), (2, {**pose, "rank": 2}), (2**31 - 1, {**pose, "rank": 3}))
        for charges in ("nagl", "am1bcc")
    ]
    plain = [digest_of(spec.identity) for spec in specs]
    assert [digest.hex() for digest in digests_of(specs)] == plain == [spec.digest for spec in specs]
    assert len(set(plain)) == len(variants) * 3 * 2 * 3 * (1 + 2 * 2), "charges and poses are not apo's"
    assert replace(specs[0], seed=7).digest not in plain, "a digest is not carried over to another spec"


def test_jobs_are_made_when_asked_for_and_always_the_same(tmp_path):
    plan = plan_of(tmp_path, pose="{poses: 3}", replicas="4", charges="am1bcc")
    jobs = plan.jobs
    assert len(jobs) == 24 and len(plan.cells) == 6
    listed = list(jobs)
    assert [job.spec.digest for job in listed] == [digest_of(job.spec.identity) for job in listed] == list(jobs.digests)
    assert [job.spec.seed for job in listed] == [seed for seed in (1, 2, 3, 4) for _ in range(6)]
    assert [job.spec.pose.get("rank") for job in listed if job.spec.cell.ligand][::4] == [None, 2, 3, None]
    assert jobs[-1] == listed[-1] and jobs[3].spec.digest == listed[3].spec.digest
    assert list(jobs[5:9]) == listed[5:9] and list(jobs[5:9].digests) == [job.spec.digest for job in listed[5:9]]
    assert jobs[6:8].cells == plan.cells[:2]
    with pytest.raises(IndexError):
        jobs[24]
    assert list(jobs.rows) == plan.to_json()["replicas"] and jobs.rows[2]["name"] == listed[2].spec.name


# -- ligands of files ------------------------------------------------------------------------------------


def _write(path: Path) -> None:
    rows = pandas.DataFrame(PHENOLS, columns=["compound", "drawn"])
    if path.name == "l.smi":
        path.write_text("".join(f"{smiles} {name}\n" for name, smiles in PHENOLS))
    elif path.name == "l.csv.gz":
        path.write_bytes(gzip.compress(rows.rename(columns={"drawn": "smiles"}).to_csv(index=False).encode()))
    elif path.name == "l.parquet":
        rows.to_parquet(path)
    else:
        with Chem.SDWriter(str(path)) as writer:
            for name, smiles in PHENOLS:
                mol = Chem.MolFromSmiles(smiles)
                mol.SetProp("_Name", name)
                writer.write(mol)


@pytest.mark.parametrize("name", ["l.smi", "l.csv.gz", "l.sdf", "l.parquet"])
def test_a_file_beside_the_yaml_gives_the_same_ligands_in_every_format(tmp_path, name):
    _write(tmp_path / name)
    columns = ", smiles_column: drawn, name_column: compound" if name == "l.parquet" else ""
    plan = plan_of(tmp_path, ligands=f"[estradiol, {{file: {name}{columns}, drug_class: agonist}}]",
                   reference_ligand="{agonist: cresol}")  # fmt: skip
    single = plan_of(tmp_path, ligands=f"[estradiol, {', '.join(f'{{name: {n}, smiles: {s}}}' for n, s in PHENOLS)}]")
    assert list(plan.ligands) == ["estradiol", *(name for name, _ in PHENOLS)] == list(single.ligands)
    assert [each.identity for each in plan.ligands.values()] == [each.identity for each in single.ligands.values()]
    assert plan.ligands["tyramine"].formal_charge == 1
    assert {cell.state for cell in plan.cells} == {HelixState.AGONIST} and plan.references == {
        HelixState.AGONIST: "cresol"
    }
    assert json.loads(json.dumps(plan.to_json()))["config"]["ligands"][1]["file"] == str(tmp_path / name)


BAD_ROWS = """\
Oc1ccccc1 phenol
C1CC broken
C[Si](C)(C)O silanol
Oc1ccccc1 again
CC(O)F open
Cc1ccc(O)cc1 phenol
Oc1ccc2ccccc2c1 naphthol
"""


def test_a_bad_row_is_refused_with_its_line_or_left_out_and_listed(tmp_path):
    (tmp_path / "l.smi").write_text(BAD_ROWS)
    with pytest.raises(InputError, match=r"small.yaml:3, l.smi:2: ligand 'broken': .*'skip_bad: true' .*\(2 more in"):
        plan_of(tmp_path, ligands="[{file: l.smi}]", reference_ligand="")
    plan = plan_of(tmp_path, ligands="[{file: l.smi, skip_bad: true}]", reference_ligand="")
    assert list(plan.ligands) == ["phenol", "naphthol"]
    assert [(row.line, row.name) for row in plan.left_out] == [
        (2, "broken"), (3, "silanol"), (4, "again"), (5, "open"), (6, "phenol"),
    ]  # fmt: skip
    reasons = [row.reason for row in plan.left_out]
    words = ("cannot be parsed", "is Si", "the same ligand as 'phenol'", "undefined stereo", "another ligand is called")
    assert all(word in reason for word, reason in zip(words, reasons, strict=True)), reasons
    assert plan.to_json()["left_out"][0] == {
        "file": str(tmp_path / "l.smi"),
        "line": 2,
        "name": "broken",
        "reason": reasons[0],
    }
    shown = _shown(plan, 100)
    assert "Left out: 5 rows" in shown and "l.smi:3: silanol" in shown
    every = plan_of(tmp_path, ligands="[{file: l.smi, skip_bad: true, stereo: enumerate}]", reference_ligand="")
    assert {"open (R)", "open (S)"} < set(every.ligands)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ligands": "[{file: no.smi}]"}, "small.yaml:3: no file 'no.smi'"),
        ({"ligands": "[{file: l.smi, stereo: some}]"}, "small.yaml:3: stereo 'some' is not known"),
        ({"ligands": "[{file: l.smi, skip: true}]"}, "small.yaml:3: unknown key 'skip'.*did you mean 'skip_bad'"),
        ({"ligands": "[{file: empty.smi}]"}, "small.yaml:3: .*empty.smi' holds no molecule"),
        ({"ligands": "[{file: bad.smi, skip_bad: true}]"}, "small.yaml:3: none of 1 rows can be simulated.*line 1"),
        ({"ligands": "[{file: t.csv}]"}, "small.yaml:3.*no SMILES column among 'a', 'b'.*with smiles_column"),
        ({"ligands": "[phenol, {file: l.smi}]"}, "unknown ligand 'phenol'"),
        ({"ligands": "[{file: l.smi}]", "states": "{phenl: agonist}"}, "states names 'phenl'.*mean 'phenol'"),
        ({"ligands": "[{file: l.smi}]", "reference_ligand": "phenl"}, "reference_ligand 'phenl' is not a ligand"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_file_is_told_at_its_line(tmp_path, changes, message):
    (tmp_path / "l.smi").write_text("Oc1ccccc1 phenol\n")
    (tmp_path / "empty.smi").write_text("# nothing\n")
    (tmp_path / "bad.smi").write_text("C1CC x\n")
    (tmp_path / "t.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match=message):
        plan_of(tmp_path, **{"reference_ligand": "", **changes})


def _dies_of_cresol(structures):
    if any(structure.name == "cresol" for structure in structures):
        os._exit(7)
    return screen_ligands.prepare_in_worker(structures)


def test_many_rows_are_prepared_by_processes_once_and_one_that_kills_its_process_costs_itself(tmp_path, monkeypatch):
    _write(tmp_path / "l.smi")
    changes = {"ligands": "[{file: l.smi, skip_bad: true}]", "reference_ligand": ""}
    here = plan_of(tmp_path, **changes)
    cache_file().unlink()
    monkeypatch.setattr(screen_ligands, "FEW", 2)
    heard: list[str] = []
    config = load_screen(write_screen(tmp_path, **changes))
    with monkeypatch.context() as patch:
        patch.setattr(screen_ligands, "prepare_in_worker", _dies_of_cresol)
        first = plan_screen(config, tmp_path / "store", report=heard.append)
    assert list(first.ligands) == ["phenol", "tyramine", "naphthol"]
    assert "the worker process exited with code 7; limits are 120 s" in first.left_out[0].reason
    assert any(said.startswith("preparing ligands: 4 of 4") for said in heard)
    again = plan_screen(config, tmp_path / "store")
    assert again.ligands == here.ligands, "a process that died is no property of the ligand"
    monkeypatch.setattr(screen_ligands, "_by_processes", None)
    monkeypatch.setattr(screen_ligands, "_here", lambda structures: iter([{each: None for each in structures}]))
    assert plan_screen(config, tmp_path / "store").ligands == here.ligands, "from the cache"
    monkeypatch.setattr("esr1md.screen.ligand_cache._code", lambda: "another version")
    with pytest.raises(TypeError):
        plan_screen(config, tmp_path / "store")


def test_a_damaged_cache_costs_time_only(tmp_path):
    _write(tmp_path / "l.smi")
    cache_file().parent.mkdir()
    cache_file().write_bytes(b"no database" * 100)
    for _ in range(2):
        assert len(plan_of(tmp_path, ligands="[{file: l.smi}]", reference_ligand="").ligands) == 4


# -- the plan on the disk --------------------------------------------------------------------------------


def test_a_large_plan_is_kept_as_columns_and_read_as_rows(tmp_path, monkeypatch):
    small = plan_of(tmp_path)
    start_screen(small)
    folder = tmp_path / "store/screens/small"
    as_rows = json.loads((folder / "plan.json").read_text())
    assert as_rows["replicas"] == small.to_json()["replicas"] and plans.read_plan(folder) == as_rows
    monkeypatch.setattr(plans, "MOST_ROWS", 5)
    start_screen(small)
    document = json.loads((folder / "plan.json").read_text())
    assert document["replicas"]["variants"] == ["WT", "Y537S"] and document | {"replicas": 0} == as_rows | {
        "replicas": 0
    }
    read = read_plan(Store(tmp_path / "store"), "small")["replicas"]
    assert list(read) == as_rows["replicas"] and len(read) == 12
    assert read[-1] == as_rows["replicas"][-1] and read[2:4] == as_rows["replicas"][2:4]
    assert list(read.digests) == list(small.jobs.digests)
    finish_replica(Store(tmp_path / "store"), small.jobs[7])
    status = screen_status(Store(tmp_path / "store"))
    assert (status.total, status.done, status.waiting) == (12, 1, 11)
    assert rebuild(Store(tmp_path / "store")) == 1
    assert [row["digest"] for row in replica_rows(open_index(Store(tmp_path / "store")), "small")] == [
        small.jobs[7].spec.digest
    ]
    for damage in ({"digest": "AAAA"}, {"seed": "zzz"}, {"variants": ["WT"]}):
        (folder / "plan.json").write_text(json.dumps(document | {"replicas": document["replicas"] | damage}))
        with pytest.raises(InputError, match="the plan's replicas are damaged"):
            read_plan(Store(tmp_path / "store"), "small")


def test_the_states_of_all_folders_are_found_at_once(tmp_path):
    plan, store = plan_of(tmp_path), Store(tmp_path / "store")
    assert store.states("replicas") == {} and plan.ended() == {"done": 0, "failed": 0}
    finish_replica(store, plan.jobs[0])
    finish_replica(store, plan.jobs[5])
    failed = store.folder("replicas", plan.jobs[3].spec.digest)
    failed.mkdir()
    (failed / "failure.json").write_text("{}")
    store.folder("replicas", plan.jobs[4].spec.digest).mkdir()
    found = store.states("replicas")
    assert found == {plan.jobs[0].spec.digest: "done", plan.jobs[5].spec.digest: "done", failed.name: "failed"}
    assert plan.ended() == {"done": 2, "failed": 1} and plan.summary()["replicas_done"] == 2
    again = plan_of(tmp_path)
    assert again.estimate.left == 9


def test_a_dry_run_as_json_is_one_document_whose_replicas_say_what_is_done(tmp_path):
    plan = plan_of(tmp_path)
    finish_replica(Store(tmp_path / "store"), plan.jobs[1])
    out = io.StringIO()
    write_plan_json(plan, out)
    document = json.loads(out.getvalue())
    assert [row.pop("done") for row in document["replicas"]] == [False, True, *[False] * 10]
    assert document == json.loads(json.dumps(plan.to_json()))


# -- what it will cost -----------------------------------------------------------------------------------

SITE = """\
name: rented
kind: slurm
platform: CUDA
per_gpu: 4
price: 2.50 USD per GPU hour
slurm: {jobs: 3, gpus: 2, cores: 8}
"""


def _on_rented_gpus(folder: Path, **changes: str):
    (folder / "rented.yaml").write_text(SITE)
    return plan_of(folder, site=str(folder / "rented.yaml"), platform="", protocol="standard", **changes)


def test_gpu_hours_and_money_of_machines_elsewhere(tmp_path):
    plan = _on_rented_gpus(tmp_path)
    estimate = plan.estimate
    assert plan.slots == 12 and estimate.basis.kind == "guess" and estimate.basis.digits == 1
    assert estimate.hours_of == "GPU" and estimate.shares["production"] > 0.5
    assert sum(estimate.shares.values()) == pytest.approx(1, abs=1e-3)
    preparation = estimate.shares["preparation"]
    replicas = 12 * estimate.replica_seconds / 3600 / 4  # four share a GPU
    assert estimate.hours == pytest.approx(replicas / (1 - preparation), rel=0.01)
    assert estimate.money == pytest.approx(2.5 * estimate.hours)
    document = plan.to_json()["estimate"]
    assert document["price"] == "2.50 USD per GPU hour" and document["currency"] == "USD"
    assert document["money"] == float(f"{estimate.money:.0e}"), "a guess has one digit"


def test_a_measured_rate_comes_before_a_guess_and_finished_replicas_before_both(tmp_path):
    guess = _on_rented_gpus(tmp_path)
    protocol = load_protocol("standard")
    loads = (Load(1, (800.0,), 15.0), Load(4, (400.0,) * 4, 15.0))
    remember(Measurement("NVIDIA Test", "CUDA", openmm.__version__, speed_digest(protocol), "standard", 4046, 4046,
                         False, 8, 4, loads, "2026-01-02"))  # fmt: skip
    rated = _on_rented_gpus(tmp_path)
    assert rated.estimate.basis.kind == "bench" and not rated.estimate.measured
    assert "400 ns/day each, 4 at once on NVIDIA Test ('esr1md bench' of 2026-01-02)" in rated.estimate.basis.words
    dynamics = protocol.dynamics_ps / 1000 / 400 * 86_400
    assert dynamics < rated.estimate.replica_seconds < 1.2 * dynamics + 10
    assert rated.estimate.replica_seconds != guess.estimate.replica_seconds
    for job in rated.jobs[:3]:
        finish_replica(Store(tmp_path / "store"), job)
    other = _on_rented_gpus(tmp_path)
    assert other.estimate.basis.kind == "bench", "those were on another platform"
    for job in rated.jobs[3:6]:
        _finish_on(Store(tmp_path / "store"), job, "CUDA", 100.0 + job.spec.seed)
    timed = _on_rented_gpus(tmp_path)
    assert timed.estimate.measured and timed.estimate.left == 6
    assert timed.estimate.replica_seconds == 101.0 and "median of 3 replicas" in timed.estimate.basis.words
    (Store(tmp_path / "store").folder("replicas", rated.jobs[3].spec.digest) / "record.json").write_text("{")
    assert "median of 2 replicas" in _on_rented_gpus(tmp_path).estimate.basis.words, "damaged: it costs its time only"


def _finish_on(store: Store, job, platform: str, seconds: float) -> None:
    def make(folder: Path) -> None:
        (folder / "record.json").write_text(json.dumps({"platform": platform, "seconds": seconds}))

    store.produce("replicas", job.spec.digest, make, spec=job.spec.identity)


def test_core_hours_and_a_price_for_something_else(tmp_path):
    config = load_screen(write_screen(tmp_path))
    cores = plan_screen(config, tmp_path / "store", price=Price(0.1, "EUR", "core hour")).estimate
    assert cores.hours_of == "core" and cores.money == pytest.approx(0.1 * cores.hours) and cores.money > 0
    gpu = plan_screen(config, tmp_path / "store", price=Price(2.5, "USD", "GPU hour"))
    assert gpu.estimate.money is None and gpu.to_json()["estimate"]["money"] is None
    assert "not known: the price is 2.50 USD per GPU hour, and this runs on Reference" in _shown(gpu, 100)


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [(16_234.0, 2, "16,000"), (16_234.0, 1, "20,000"), (2.449, 2, "2.4"), (0.0087, 1, "0.009"), (0.0, 2, "0")],
)
def test_numbers_have_the_digits_that_are_known(value, digits, text):
    assert about(value, digits) == text


@pytest.mark.parametrize(
    ("seconds", "digits", "text"),
    [(41.7, 2, "42 s"), (400, 1, "7 min"), (20_000, 2, "5.6 h"), (5.7e7, 2, "660 days"), (1e8, 2, "3.2 years")],
)
def test_times_are_in_the_unit_that_suits_them(seconds, digits, text):
    assert about_time(seconds, digits) == text


def _shown(plan, width: int) -> str:
    out = io.StringIO()
    Console(file=out, width=width).print(plan_view(plan))
    return out.getvalue()


def test_a_matrix_that_does_not_fit_is_shown_by_its_sums(tmp_path):
    (tmp_path / "l.smi").write_text("".join(f"Oc1ccccc1{'C' * n} compound-{n}\n" for n in range(1, 111)))
    plan = _on_rented_gpus(tmp_path, ligands="[{file: l.smi}]", states="[agonist, antagonist]", replicas="100",
                           reference_ligand="", apo="")  # fmt: skip
    for width in (80, 120):
        lines = _shown(plan, width).splitlines()
        rows = [line.split() for line in lines if line.startswith(("agonist", "antagonist"))]
        assert rows == [[state, "110", "2", "220", "0", "22,000"] for state in ("agonist", "antagonist")]
        assert max(map(len, lines)) <= width and not any("compound-7" in line for line in lines)
        flat = " ".join(" ".join(lines).split())
        assert "All of 2 variants x 110 ligands x 2 states x 100 replicas count alike: 3 replicas save 97 %" in flat
        assert "'esr1md surrogate screen l.smi' ranks the ligands in minutes; the best 100 would cost about" in flat
        assert "USD (2.50 USD per GPU hour)" in flat and "a guess" in flat and "assumed 5 s to build" in flat


def test_a_small_screen_is_shown_cell_by_cell_without_advice(tmp_path):
    plan = plan_of(tmp_path)
    finish_replica(Store(tmp_path / "store"), plan.jobs[0])
    shown = _shown(plan_of(tmp_path), 80)
    rows = [line.split() for line in shown.splitlines()]
    assert ["estradiol", "agonist", "1/2", "0/2"] in rows and "Cost of the 11 replicas" in shown
    assert "surrogate" not in shown and "count alike" not in shown
    for job in plan.jobs[1:]:
        finish_replica(Store(tmp_path / "store"), job)
    assert "Cost" not in _shown(plan_of(tmp_path), 80)


def test_the_command_line_may_say_what_an_hour_costs(tmp_path, capsys):
    screen = [str(write_screen(tmp_path)), "--dry-run", "--store", str(tmp_path / "store")]
    assert main(["screen", *screen, "--price", "0.04 EUR per core hour"]) == 0
    said = capsys.readouterr()
    assert "EUR (0.04 EUR per core hour)" in said.out and "core hours, " in said.err and " EUR (a guess)" in said.err
    assert main(["screen", *screen, "--price", "cheap"]) == 2
    assert "--price: the price 'cheap' cannot be read" in capsys.readouterr().err
