"""Rounds of an exploration on a real store; the simulation and the surrogate are stand-ins with a known law."""

from __future__ import annotations

import functools
import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import Crippen

from esr1md.config import load_screen
from esr1md.errors import InputError
from esr1md.explore.candidates import Candidate, candidate_pool, file_candidates
from esr1md.explore.known import known
from esr1md.explore.loop import explore
from esr1md.explore.predictions import Guess
from esr1md.explore.question import Exploration
from esr1md.explore.rounds import advance
from esr1md.explore.written import choices
from esr1md.ligand.states import ligand_from_smiles
from esr1md.scoring.scores import Score
from esr1md.screen.finish import read_plan
from esr1md.screen.plan import plan_screen
from esr1md.screen.run import start_screen
from esr1md.store import Store
from esr1md.surrogate.kernel import KernelRegression, morgan_counts

PROTOCOL = """
name: tiny
solvent: {model: obc2, cutoff_angstrom: 12}
region: {mobile_angstrom: 4, shell_angstrom: 3}
stages:
  - {kind: minimise, iterations: 2, solvent: false}
  - {kind: produce, duration_ps: 0.04, frame_ps: 0.02}
scoring: {frames: 1, receptor: simulated}
"""
#: What every replica of the stand-in takes: at two at once 0.01 hours.
SECONDS = 72.0
#: Phenols with chains: every one more methylene binds by 1 kcal/mol more.
CHAINS = {f"chain-{n}": f"Oc1ccc(cc1)C{'C' * n}" for n in range(3, 15)}


def candidate(name: str, smiles: str) -> Candidate:
    return Candidate(ligand_from_smiles(name, smiles), {"name": name, "smiles": smiles})


POOL = tuple(candidate(name, smiles) for name, smiles in CHAINS.items())


def law(variant: str, smiles: str, state: str = "antagonist") -> float:
    """Binding (kcal/mol): lipophilicity, and what a mutation costs."""
    return -2.0 * Crippen.MolLogP(Chem.MolFromSmiles(smiles)) - 20.0 + (3.0 if variant == "Y537S" else 0.0)


class World:
    """A store, and a simulation that follows the law with a noise that only variant, ligand and seed decide."""

    def __init__(self, root: Path, noise: float = 0.3):
        self.store, self.noise, self.computed = Store(root / "store"), noise, []
        self.die_after: int | None = None

    def simulate(self, path: Path) -> None:
        plan = plan_screen(load_screen(path), self.store.root)
        start_screen(plan)
        for job in plan.jobs:
            if self.store.find("replicas", job.spec.digest):
                continue
            if self.die_after is not None and len(self.computed) >= self.die_after:
                raise KeyboardInterrupt
            self.store.produce(
                "replicas", job.spec.digest, functools.partial(self._write, job.spec), spec=job.spec.identity
            )
            self.computed.append(job.spec.name)

    def _write(self, spec, folder: Path) -> None:
        cell = spec.cell
        generator = np.random.default_rng(sum(map(ord, spec.name)))
        summary = {"helix12_angstrom": 10.0 + generator.normal(0, self.noise)}
        if cell.ligand:
            summary["binding_kcal"] = law(cell.variant.name, cell.ligand.smiles) + generator.normal(0, self.noise)
            summary["helix12_angstrom"] += Crippen.MolLogP(Chem.MolFromSmiles(cell.ligand.smiles))
        (folder / "summary.json").write_text(json.dumps(summary))
        (folder / "record.json").write_text(json.dumps({"platform": "Reference", "seconds": SECONDS}))


def kernel_guess(found, layout, exploration, folder) -> Guess:
    """A surrogate of a few lines: kernel regression for each variant."""
    scores, measured = {}, found.scores(exploration.objective)
    for variant in layout.variants:
        cells = [cell for cell in measured if cell[0] == variant and cell[1] != "apo"]
        cells = cells or [cell for cell in measured if cell[1] != "apo"]
        own = morgan_counts([Chem.MolFromSmiles(found.ligands[cell[1]].smiles) for cell in cells])
        model = KernelRegression.fit(own, np.array([measured[cell].value for cell in cells]))
        for unit in layout.candidates:
            mean, sd = model.posterior(morgan_counts([Chem.MolFromSmiles(unit.ligand.smiles)]))
            for cell in unit.cells:
                if cell[0] == variant and unit.missing[cell]:
                    half = 1.96 * float(sd[0]) + 0.5
                    scores[cell] = Score(value=float(mean[0]), low=float(mean[0]) - half, high=float(mean[0]) + half,
                                         n_replicas=0, unit=exploration.unit, origin="predicted")  # fmt: skip
    return Guess(scores, ("A stand-in.",))


def no_guess(found, layout, exploration, folder) -> Guess:
    return Guess({}, ("No predictions.",), "the surrogate needs more replicas")


propose = functools.partial(advance, guess=kernel_guess)


def first_screen(folder: Path, **changes: str) -> Path:
    (folder / "tiny.yaml").write_text(PROTOCOL)
    lines = {
        "name": "base",
        "variants": "[WT, Y537S]",
        "ligands": "[4-hydroxytamoxifen, {name: chain-3, smiles: 'Oc1ccc(cc1)CCCC'}, "
        "{name: lead, smiles: 'Oc1ccc(cc1)c1ccccc1', drug_class: SERM}]",
        "apo": "true",
        "reference_ligand": "4-hydroxytamoxifen",
        "protocol": str(folder / "tiny.yaml"),
        "replicas": "2",
        "platform": "Reference",
        "states": "{lead: antagonist}",
        **changes,
    }
    path = folder / "base.yaml"
    path.write_text("".join(f"{key}: {value}\n" for key, value in lines.items() if value))
    return path


def asked(**changes) -> Exploration:
    return Exploration(**{"name": "base", "screen": "base", "gpu_hours": 1.0, "batch": 3, "top": 3} | changes)


@pytest.fixture(scope="module")
def simulated(tmp_path_factory) -> Path:
    """A folder with the first screen, run; to be copied."""
    folder = tmp_path_factory.mktemp("explore")
    World(folder).simulate(first_screen(folder))
    return folder


@pytest.fixture
def world(simulated, tmp_path) -> World:
    import shutil

    shutil.copytree(simulated, tmp_path, dirs_exist_ok=True)
    return World(tmp_path)


# -- one proposal ------------------------------------------------------------------------------------------


def test_proposal_is_explained_affordable_and_a_screen_that_computes_only_what_is_new(world):
    step = propose(world.store, asked(gpu_hours=0.1), POOL)
    record = step.record
    assert (record["kind"], record["basis"], step.number) == ("ligands", "surrogate", 1)
    # 72 s, as many at once as the plan has: a ligand is 2 variants x 2 replicas
    hours = SECONDS / 3600 / record["budget"]["at_once"]
    assert record["budget"]["measured"] and record["round_gpu_hours"] == pytest.approx(
        len(record["chosen"]) * 4 * hours
    )
    assert record["round_gpu_hours"] <= 0.1 and len(record["chosen"]) == min(3, int(0.1 / (4 * hours)))
    for entry in record["chosen"]:
        assert [cell["variant"] for cell in entry["cells"]] == ["WT", "Y537S"], "a ligand goes into every variant"
        assert f"predicted {np.mean([c['predicted'] for c in entry['cells']]):.1f} (" in entry["why"]
        assert entry["nearest_simulated"] in entry["why"] and entry["acquisition"] > 0
        assert all(cell["low"] < cell["predicted"] < cell["high"] for cell in entry["cells"])
    assert json.loads((step.screen.with_suffix(".json")).read_text()) == record
    before = set(World(world.store.root.parent).computed)
    plan = plan_screen(load_screen(step.screen), world.store.root)
    new = [job.spec.name for job in plan.jobs if world.store.find("replicas", job.spec.digest) is None]
    assert {name.split("/")[1] for name in new} == set(record["ligands"]) and not before
    assert len(plan.jobs) - len(new) == len(read_plan(world.store, "base")["replicas"]), "the protocol is the same"
    assert list(plan.ligands)[:3] == ["4-hydroxytamoxifen", "chain-3", "lead"]


def sure_guess(found, layout, exploration, folder) -> Guess:
    """Knows the law, to +- 2 kcal/mol."""
    cells = {cell: law(cell[0], unit.ligand.smiles) for unit in layout.candidates for cell in unit.cells}
    return Guess({cell: Score(value=value, low=value - 2, high=value + 2, n_replicas=0, unit="kcal/mol",
                              origin="predicted") for cell, value in cells.items()}, ())  # fmt: skip


@pytest.mark.parametrize("by", ["mix", "expected-improvement"])
def test_the_promising_are_chosen_first(world, by):
    pool = (candidate("polar", "OCC(O)CO"), *POOL)
    record = advance(world.store, asked(batch=3, diversity=0.0, by=by), pool, guess=sure_guess).record
    assert record["ligands"] == ["chain-14", "chain-13", "chain-12"]
    assert record["chosen"][0]["why"].startswith(f"number 1 of 12 by {by} (")
    assert record["known"]["leading"][0] == {
        "ligand": "chain-14", "value": pytest.approx(law("WT", CHAINS["chain-14"]) + 1.5, abs=0.01), "half_width": 2.0,
        "simulated": False,
    }  # fmt: skip


def test_alike_ones_give_way(world):
    pool = (*POOL, candidate("ring", "CC(C)(C)c1ccc2cc3ccccc3cc2c1"))  # lipophilic, and no phenol
    near = advance(world.store, asked(batch=2, top=10, diversity=0.0), pool, guess=sure_guess).record
    apart = advance(world.store, asked(batch=2, top=10, diversity=1.0), pool, guess=sure_guess).record
    assert near["ligands"] == ["chain-14", "chain-13"] and apart["ligands"] == ["chain-14", "ring"]
    assert apart["chosen"][1]["similarity_to_chosen"] < 0.3 < near["chosen"][1]["similarity_to_chosen"] < 1


def test_a_proposal_that_was_not_run_is_replaced_and_the_next_one_knows_its_results(world):
    first = propose(world.store, asked(), POOL)
    assert propose(world.store, asked(batch=1), POOL).number == 1
    again = propose(world.store, asked(), POOL)
    assert again.record["ligands"] == first.record["ligands"], "same data, same proposal"
    world.simulate(again.screen)
    second = propose(world.store, asked(), POOL)
    assert second.number == 2 and second.record["known"]["replicas"] == 16 + 4 * 3
    assert not set(second.record["ligands"]) & set(first.record["ligands"])
    assert set(first.record["ligands"]) < {c["name"] if isinstance(c, dict) else c for c in _ligands(second.screen)}


def _ligands(path: Path) -> list:
    return [choice.name for choice in load_screen(path).ligands]


def test_without_a_surrogate_it_goes_by_diversity_and_says_so(world):
    pool = (*POOL, candidate("pyridine", "Cc1ccncc1C"))
    record = advance(world.store, asked(batch=1), pool, guess=no_guess).record
    assert record["basis"] == "diversity" and record["ligands"] == ["pyridine"]
    assert record["limits"][0] == (
        "Nothing is predicted, so ligands are chosen by diversity alone: the surrogate needs more replicas"
    )
    chosen = record["chosen"][0]
    assert chosen["acquisition"] is None and chosen["cells"][0]["predicted"] is None
    assert "by diversity, for about" in record["why"] and "least like all" in chosen["why"]


@pytest.mark.slow
def test_the_surrogate_itself_decides_whether_its_predictions_are_used(world, tmp_path_factory):
    """Replicas that follow the law teach it something, mere noise nothing, and a single ligand is too few."""
    record = advance(world.store, asked(batch=1, diversity=0.0), POOL).record
    assert record["basis"] == "surrogate" and record["chosen"][0]["cells"][0]["predicted"] is not None
    noisy = World(tmp_path_factory.mktemp("noisy"), noise=30.0)
    noisy.simulate(first_screen(noisy.store.root.parent))
    record = advance(noisy.store, asked(), POOL).record
    assert record["basis"] == "diversity" and "No skill for binding on unseen ligands" in record["limits"][0]
    assert not any(said.startswith("No skill for binding") for said in record["limits"]), "it is said once"
    few = World(tmp_path_factory.mktemp("few"))
    few.simulate(first_screen(few.store.root.parent, ligands="[4-hydroxytamoxifen]", states=""))
    assert "alone: No predictions" in advance(few.store, asked(), POOL).record["limits"][0]


def test_helix_12_is_wanted_far_from_the_active_place(world):
    record = propose(world.store, asked(objective="helix12", batch=1, by="expected-improvement"), POOL).record
    assert record["unit"] == "angstrom" and record["known"]["leading"][0]["value"] > 13
    values = [entry["value"] for entry in record["known"]["leading"]]
    assert values == sorted(values, reverse=True)


def test_variants_of_its_own_make_half_known_rows_candidates_and_count_the_references(world):
    step = propose(world.store, asked(variants=("WT", "D538G"), batch=20), POOL)
    record = step.record
    assert record["beside_replicas"] == 4, "the reference ligand and apo in D538G, two replicas each"
    assert record["known"]["variants"] == ["WT", "D538G"]
    costs = {entry["ligand"]: entry["replicas"] for entry in record["chosen"]}
    assert costs.pop("lead", 2) == 2 and set(costs.values()) <= {2, 4}
    assert "Y537S" not in load_screen(step.screen).variants
    plan = plan_screen(load_screen(step.screen), world.store.root)
    new = [job for job in plan.jobs if world.store.find("replicas", job.spec.digest) is None]
    assert len(new) * SECONDS / 3600 / record["budget"]["at_once"] == pytest.approx(record["round_gpu_hours"], abs=1e-3)


def test_too_small_a_budget_and_no_candidates_are_reasons_to_stop(world):
    record = propose(world.store, asked(gpu_hours=0.001), POOL).record
    assert (record["kind"], record["reason"]) == ("stop", "budget") and "do not cover" in record["why"]
    pool = tuple(c for c in POOL if c.ligand.name == "chain-3")
    record = propose(world.store, asked(), pool).record
    assert (record["kind"], record["reason"]) == ("stop", "candidates")
    assert not (world.store.root / "explore/base/round-1.json").exists()


def test_a_name_of_another_ligand_is_left_out(world):
    record = propose(world.store, asked(), (candidate("lead", "CCCCc1ccccc1O"), *POOL)).record
    assert record["left_out"][0]["name"] == "lead" and "rename it" in record["left_out"][0]["reason"]


def test_a_screen_that_has_not_run_is_named(tmp_path):
    with pytest.raises(InputError, match="no screen 'base' in this store"):
        propose(Store(tmp_path), asked(), POOL)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"gpu_hours": 0.0}, "gpu_hours is 0"),
        ({"target": -1.0}, "target is -1"),
        ({"objective": "affinity"}, "objective is 'affinity'; expected one of binding, helix12"),
        ({"by": "luck"}, "by is 'luck'"),
        ({"top": 0}, "top is 0"),
        ({"diversity": 2.0}, "diversity is 2"),
        ({"variants": ("Y538S",)}, "538 is Asp"),
        ({"name": "a/b"}, "name 'a/b'"),
    ],
)
def test_bad_questions_are_refused(changes, said):
    with pytest.raises(InputError, match=said):
        asked(**changes)


def test_a_ligand_stays_named_as_the_user_named_it():
    plain = {"smiles": None, "sdf": None, "drug_class": "", "stereo": "defined", "protonation": "dominant"}
    drawn = {**plain, "name": "x", "smiles": "CC(O)F", "stereo": "enumerate"}
    found = choices([{**plain, "name": "Faslodex"}, drawn], ["fulvestrant", "x (R)", "x (S)"])
    both = {"name": "x", "smiles": "CC(O)F", "stereo": "enumerate"}
    assert found == {"fulvestrant": "Faslodex", "x (R)": both, "x (S)": both}


# -- candidates of a file ----------------------------------------------------------------------------------


def test_bad_rows_of_a_file_are_left_out_with_their_reasons(tmp_path):
    path = tmp_path / "hits.csv"
    path.write_text("name,smiles\ngood,Oc1ccccc1CC\nopen,CC(O)F\nbroken,C1CC\ngood,CCCCc1ccccc1\ntwin,CCc1ccccc1O\n")
    found, left = file_candidates(path)
    assert [c.ligand.name for c in found] == ["good", "good (row 4)"]
    reasons = {entry.name: entry.reason for entry in left}
    assert set(reasons) == {"open", "broken", "twin"} and reasons["twin"] == "line 6: the same compound as 'good'"
    assert all(reason.startswith("line ") for reason in reasons.values())
    assert found[0].choice == {"name": "good", "smiles": "Oc1ccccc1CC"}
    assert len(candidate_pool(path, with_catalogue=True)[0]) > len(candidate_pool(None)[0]) > 20


def test_a_file_without_a_candidate_is_refused(tmp_path):
    path = tmp_path / "bad.smi"
    path.write_text("C1CC broken\n")
    with pytest.raises(InputError, match="no row can be a candidate .broken: line 1"):
        file_candidates(path)


# -- the loop ----------------------------------------------------------------------------------------------


def loop(world: World, exploration: Exploration, pool=POOL, guess=kernel_guess):
    decide = functools.partial(advance, guess=guess)
    first = world.store.root.parent / "base.yaml"
    return explore(world.store, exploration, pool, world.simulate, first, decide_round=decide)


def test_loop_spends_its_budget_and_finds_the_best(world):
    each = 4 * SECONDS / 3600 / read_plan(world.store, "base")["slots"]
    summary = loop(world, asked(gpu_hours=6.5 * each, batch=2))
    assert summary["reason"] == "budget" and [r["round"] for r in summary["rounds"]] == [1, 2, 3]
    assert summary["spent_gpu_hours"] == pytest.approx(6 * each, abs=1e-3)
    assert len(world.computed) == len(set(world.computed)) == 24, "what the first screen had computed cost nothing"
    best = sorted(CHAINS, key=lambda name: law("WT", CHAINS[name]))[:3]
    assert len({entry["ligand"] for entry in summary["ligands"][:3]} & set(best)) >= 2, "of twelve, six were tried"
    assert json.loads((world.store.root / "explore/base/summary.json").read_text()) == summary
    assert summary["screen"] == "base-3"


def test_first_screen_is_paid_from_the_budget_when_it_is_not_there(tmp_path):
    world, path = World(tmp_path), first_screen(tmp_path)
    assert path.is_file()
    summary = loop(world, asked(gpu_hours=0.02))
    assert summary["reason"] == "budget" and summary["rounds"] == []
    assert summary["spent_gpu_hours"] == pytest.approx(
        16 * SECONDS / 3600 / read_plan(world.store, "base")["slots"], abs=1e-3
    )


def test_killed_loop_goes_on_without_deciding_or_computing_anything_again(world, simulated, tmp_path_factory):
    import shutil

    other = tmp_path_factory.mktemp("whole")
    shutil.copytree(simulated, other, dirs_exist_ok=True)
    whole = loop(World(other), asked(gpu_hours=0.25, batch=2))
    world.die_after = 11  # in the second round
    with pytest.raises(KeyboardInterrupt):
        loop(world, asked(gpu_hours=0.25, batch=2))
    stored = (world.store.root / "explore/base/round-2.json").read_bytes()
    world.die_after = None
    summary = loop(world, asked(gpu_hours=0.25, batch=2))
    assert (world.store.root / "explore/base/round-2.json").read_bytes() == stored
    assert len(world.computed) == len(set(world.computed))
    assert [r["ligands"] for r in summary["rounds"]] == [r["ligands"] for r in whole["rounds"]]
    assert summary["spent_gpu_hours"] == whole["spent_gpu_hours"]


def test_more_hours_go_on_with_an_exploration_and_another_question_is_refused(world):
    first = loop(world, asked(gpu_hours=0.1, batch=2))
    more = loop(world, asked(gpu_hours=0.2, batch=2))
    assert more["rounds"][: len(first["rounds"])] == first["rounds"] and len(more["rounds"]) > len(first["rounds"])
    for changes, pool, said in (
        ({"objective": "helix12"}, POOL, "objective of exploration 'base' are 'helix12'"),
        ({}, POOL[1:], "candidates of exploration 'base' are not the same"),
    ):
        with pytest.raises(InputError, match=said):
            loop(world, asked(gpu_hours=0.3, **changes), pool)


def test_target_is_met_by_more_replicas_of_the_leading_ligands(simulated, tmp_path):
    world = World(tmp_path, noise=1.0)
    path = first_screen(tmp_path, ligands="[4-hydroxytamoxifen, {name: chain-3, smiles: 'Oc1ccc(cc1)CCCC'}]", states="")
    world.simulate(path)
    summary = loop(world, asked(gpu_hours=50.0, target=1.0, top=2), POOL[1:3])
    assert summary["reason"] == "target"
    assert [r["kind"] for r in summary["rounds"]].count("replicas") >= 1
    assert all(entry["half_width"] <= 1.0 for entry in summary["ligands"][:2])
    number = next(r["round"] for r in summary["rounds"] if r["kind"] == "replicas")
    record = json.loads((world.store.root / f"explore/base/round-{number}.json").read_text())
    assert record["replicas"] > 2 and "instead of 2" in record["why"]


def test_unknown_target_is_not_called_met_while_candidates_are_unjudged(world):
    record = advance(world.store, asked(target=100.0), POOL, guess=no_guess).record
    assert record["kind"] == "ligands" and any("nobody can say" in said for said in record["limits"])
    assert propose(world.store, asked(target=100.0), POOL).record["reason"] == "target"


def test_all_candidates_simulated_is_the_end(world):
    summary = loop(world, asked(gpu_hours=10.0, batch=10), POOL[:4])
    assert summary["reason"] == "candidates" and len(summary["ligands"]) == 3 + 3


def test_a_simulation_without_answers_ends_the_loop(world):
    def idle(path: Path) -> None:
        start_screen(plan_screen(load_screen(path), world.store.root))

    decide = functools.partial(advance, guess=kernel_guess)
    summary = explore(world.store, asked(), POOL, idle, world.store.root.parent / "base.yaml", decide_round=decide)
    assert summary["reason"] == "unanswered" and "replicas of round 1 have no answer" in summary["why"]


def test_two_runs_of_one_exploration_are_refused(world):
    inner = []

    def simulate(path: Path) -> None:
        if not inner:
            with pytest.raises(InputError, match="another 'surrogate explore' is running") as caught:
                loop(world, asked())
            inner.append(caught)
        world.simulate(path)

    decide = functools.partial(advance, guess=kernel_guess)
    explore(
        world.store, asked(gpu_hours=0.05), POOL, simulate, world.store.root.parent / "base.yaml", decide_round=decide
    )
    assert inner


def test_hours_count_from_the_beginning_of_the_exploration(world):
    found = known(world.store, ["base"])
    assert found.hours_since(None) == 0
    assert found.hours_since(datetime(2000, 1, 1, tzinfo=UTC)) == pytest.approx(16 * found.replica_hours)
    assert found.hours_since(datetime.now(UTC)) == 0


# -- the command -------------------------------------------------------------------------------------------


def test_command_tells_bad_input_on_one_line(world, run):
    for arguments, said in (
        (("nothing", "--gpu-hours", "1"), "no screen 'nothing' in this store"),
        (("base", "--gpu-hours", "-1"), "gpu_hours is -1"),
        (("base", "--gpu-hours", "1", "--variant", "Y538S"), "538 is Asp"),
        (("base", "--gpu-hours", "1", "--candidates", "nowhere.smi"), "no file 'nowhere.smi'"),
    ):
        code, out, err = run("surrogate", "propose", *arguments, "--store", str(world.store.root))
        assert (code, out) == (2, "") and said in err and err.strip().count("\n") == 0, err


@pytest.mark.slow
def test_command_proposes_a_screen_with_its_reasons(world, run):
    code, out, _ = run("surrogate", "propose", "base", "--gpu-hours", "0.1", "--json", "-s", str(world.store.root))
    record = json.loads(out)
    assert code == 0 and record["kind"] == "ligands" and Path(record["screen_file"]).is_file()
    code, out, _ = run("surrogate", "propose", "base", "--gpu-hours", "0.1", "-s", str(world.store.root))
    assert code == 0 and f"run it:  esr1md screen {record['screen_file']}" in out.replace("\n", "")
    assert record["chosen"][0]["ligand"] in out and "measured in this store" in out
