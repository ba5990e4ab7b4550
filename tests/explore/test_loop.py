"""Rounds until budget, target or candidates are exhausted, through kills."""

from __future__ import annotations

import functools
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from toy_world import CHAINS, POOL, SECONDS, World, asked, first_screen, kernel_guess, law, no_guess, propose

from esr1md.config import load_screen
from esr1md.errors import InputError
from esr1md.explore.known import known
from esr1md.explore.loop import explore
from esr1md.explore.question import Exploration
from esr1md.explore.rounds import advance
from esr1md.screen.finish import read_plan
from esr1md.screen.plan import plan_screen
from esr1md.screen.run import start_screen


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


def test_a_replica_that_was_run_twice_counts_once_and_is_paid_twice(world):
    """Another pose or other charges make another digest of the same cell and seed."""

    def write(folder: Path) -> None:
        (folder / "summary.json").write_text(json.dumps({"binding_kcal": -1.0, "helix12_angstrom": 1.0}))
        (folder / "record.json").write_text(json.dumps({"platform": "Reference", "seconds": SECONDS}))

    plan = read_plan(world.store, "base")
    for replica in plan["replicas"]:
        replica["digest"] = replica["digest"][::-1]
        world.store.produce("replicas", replica["digest"], write, spec={})
    path = world.store.root / "screens/twin/plan.json"
    path.parent.mkdir()
    path.write_text(json.dumps(plan))
    once, both = known(world.store, ["base"]), known(world.store, ["base", "twin"])
    assert both.observations == once.observations and both.scores("binding") == once.scores("binding")
    assert len(both.runs) == 2 * len(once.runs)


def test_screens_of_other_protocols_or_compounds_do_not_belong_together(world):
    plan = read_plan(world.store, "base")
    path = world.store.root / "screens/other/plan.json"
    path.parent.mkdir()
    for changes, said in (
        ({"protocol": plan["protocol"] | {"name": "long"}}, "'base' .tiny. and 'other' .long. are of other protocols"),
        (
            {"ligands": [plan["ligands"][0] | {"smiles": "CCO", "inchikey": "X"}]},
            "another compound in screen 'other'",
        ),
    ):
        path.write_text(json.dumps(plan | changes))
        with pytest.raises(InputError, match=said):
            known(world.store, ["base", "other"])
