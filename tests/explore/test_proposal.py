"""One decision: what is chosen, why, what it costs, and what the surrogate is trusted with."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from toy_world import CHAINS, POOL, SECONDS, World, asked, candidate, first_screen, law, no_guess, propose

from esr1md.config import load_screen
from esr1md.errors import InputError
from esr1md.explore.known import known
from esr1md.explore.layout import lay_out
from esr1md.explore.predictions import Guess, guess
from esr1md.explore.rounds import advance
from esr1md.scoring.scores import Score
from esr1md.screen.finish import read_plan
from esr1md.screen.plan import plan_screen
from esr1md.store import Store
from esr1md.surrogate.simulation import Prediction, Skill


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


# -- the surrogate's answer ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("plain", "why_not"), [(True, "No skill for binding on unseen ligands: the surrogate (error 3.00 "), (False, "")]
)
def test_plain_guesses_are_no_predictions(world, monkeypatch, plain, why_not):
    """The stand-in has an answer in the antagonist state only, and none for variants other than WT and Y537S."""
    skill = Skill("binding", "ligand", rmse=3.0, plain_rmse=2.9, n=5, skilled=not plain, half_width=6.0)

    def answers(cells, ligands, affinity):
        assert {cell[2] for cell in cells} == {"antagonist"} and {cell[1] for cell in cells} <= set(ligands)
        return [{"binding": Prediction(-30.0, 6.0, plain), "helix12": Prediction(12.0, 1.0, False)} for _ in cells]

    simulation = SimpleNamespace(predict=answers, skills=(skill,), states={"binding": ("antagonist",), "helix12": ()})
    surrogate = SimpleNamespace(simulation=simulation, affinity=None)
    monkeypatch.setattr("esr1md.surrogate.training.train", lambda *given, **options: (surrogate, ("A limit.",)))
    found = known(world.store, ["base"])
    guessed = guess(found, lay_out(found, asked(), POOL), asked(), world.store.root)
    assert guessed.why_not.startswith(why_not) and bool(guessed.why_not) == plain and guessed.limits == ("A limit.",)
    assert (guessed.basis == "surrogate") == bool(guessed.scores) == (not plain)
    if not plain:
        score = guessed.scores["Y537S", "chain-4", "antagonist"]
        assert (score.low, score.value, score.high, score.unit) == (-36.0, -30.0, -24.0, "kcal/mol")
