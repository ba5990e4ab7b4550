"""Rankings of made-up replicas whose truth is known."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from esr1md.config import Weights
from esr1md.scoring.cells import ReplicaObservation
from esr1md.scoring.ranking import rank_screen
from esr1md.scoring.scores import Failure, Ranking, Verdict
from esr1md.scoring.tables import ranking_tables
from esr1md.specs import Ligand

CLASSES = {"4-hydroxytamoxifen": "SERM", "fulvestrant": "SERD", "elacestrant": "SERD", "estradiol": "agonist"}
LIGANDS = {
    name: Ligand(name=name, smiles="C", inchikey=f"KEY-{name}", formal_charge=0, drug_class=drug_class)
    for name, drug_class in CLASSES.items()
}
#: True binding in the wild type (kcal/mol) and what Y537S does to it.
TRUTH = {"4-hydroxytamoxifen": (-50.0, 8.0), "fulvestrant": (-65.0, 0.0), "elacestrant": (-49.5, 0.0)}

#: True distance of helix 12 from the wild type's active place (A): that of Y537S lies 1 A away, and apo stays in it.
ACTIVE = {("WT", "estradiol"): 0.4, ("WT", "apo"): 2.4, ("Y537S", "estradiol"): 1.4, ("Y537S", "apo"): 1.6}


def replicas(n_seeds: int = 2, noise: float = 0.2, seed: int = 0) -> list[ReplicaObservation]:
    """WT and Y537S, three antagonists, estradiol and apo; odd seeds shift all runs by -5, even by +5."""
    generator = np.random.default_rng(seed)
    made = []
    for number in range(1, n_seeds + 1):
        common = 5.0 * (-1) ** number
        for variant in ("WT", "Y537S"):
            for ligand in (*TRUTH, "estradiol", "apo"):
                antagonist = ligand in TRUTH
                state = "antagonist" if antagonist else "agonist"
                summary = {
                    "frames": 20.0,
                    "helix12_angstrom": (12.0 if antagonist else -12.0) + generator.normal(0, 0.1),
                    "h12_rmsd_agonist_angstrom": ACTIVE.get((variant, ligand), 12.0) + generator.normal(0, 0.1),
                    "latch_537_351_angstrom": (2.9 if variant == "Y537S" else 6.0) + generator.normal(0, 0.1),
                }
                if ligand != "apo":
                    value, loss = TRUTH.get(ligand, (-40.0, 0.0))
                    summary["binding_kcal"] = value + loss * (variant != "WT") + common + generator.normal(0, noise)
                made.append(
                    ReplicaObservation(f"{variant}-{ligand}-{number}", variant, ligand, state, number, summary, "high")
                )
    return made


def rank(observations, failures=(), **changes) -> Ranking:
    settings = {
        "screen": "test",
        "protocol": "quick",
        "platform": "CPU",
        "versions": {"openmm": "8.6"},
        "reference_ligand": "4-hydroxytamoxifen",
        "ligands": LIGANDS,
        "production_ps": 2000.0,
        "created": "2025-01-01T00:00:00+00:00",
    }
    return rank_screen(observations=observations, failures=failures, **(settings | changes))


def cell(ranking: Ranking, variant: str, ligand: str):
    return next(c for c in ranking.cells if (c.variant, c.ligand) == (variant, ligand))


def comparison(ranking: Ranking, ligand: str):
    return next(c for c in ranking.comparisons if c.ligand == ligand)


def test_verdicts_follow_the_truth_when_the_noise_is_small():
    ranking = rank(replicas())
    lost = comparison(ranking, "4-hydroxytamoxifen")
    assert lost.binding_verdict == Verdict.LOST
    assert lost.binding_shift.value == pytest.approx(8.0, abs=0.6)
    assert lost.binding_shift.low < 8.0 < lost.binding_shift.high
    assert lost.helix12_verdict == Verdict.RETAINED
    assert comparison(ranking, "fulvestrant").binding_verdict == Verdict.RETAINED
    assert comparison(ranking, "elacestrant").binding_verdict == Verdict.RETAINED


def test_seed_shift_is_in_the_cell_and_not_in_the_differences():
    """Ten cells that share two seeds are not twenty independent runs: the cell's interval not pool."""
    ranking = rank(replicas())
    wide, narrow = (
        cell(ranking, "WT", "fulvestrant").binding,
        cell(ranking, "WT", "fulvestrant").binding_relative,
    )
    assert wide.high - wide.low > 5 * (narrow.high - narrow.low)
    assert narrow.value == pytest.approx(-15.0, abs=0.6)
    own = cell(ranking, "WT", "4-hydroxytamoxifen").binding_relative
    assert (own.value, own.low, own.high) == (0.0, 0.0, 0.0)


def test_ranking_is_by_mean_relative_binding_without_agonists():
    ranking = rank(replicas())
    assert [r.ligand for r in ranking.ranking] == ["fulvestrant", "elacestrant", "4-hydroxytamoxifen"]
    first, second, third = ranking.ranking
    assert (first.rank, first.rank_low, first.rank_high) == (1, 1, 1)
    assert first.binding.value == pytest.approx(-19.0, abs=0.6)  # -15 in WT, -23 in Y537S
    assert first.binding.low < first.binding.value < first.binding.high
    assert first.helix12.value == pytest.approx(12.0, abs=0.2)
    assert third.worst_variant == "Y537S" and third.binding_verdict == Verdict.LOST
    assert any("estradiol" in sentence and "not ranked" in sentence for sentence in ranking.limits)


def test_intervals_of_the_whole_pipeline_cover_95_percent():
    """Shifts, relative bindings and their mean over variants, from two replicas and a noise of 3 kcal/mol."""
    held = {"shift": [], "relative": [], "mean": []}
    for trial in range(120):
        ranking = rank(replicas(noise=3.0, seed=1000 + trial))
        for ligand, (value, loss) in TRUTH.items():
            shift = comparison(ranking, ligand).binding_shift
            held["shift"].append(shift.low <= loss <= shift.high)
            if ligand == "4-hydroxytamoxifen":
                continue
            relative = cell(ranking, "WT", ligand).binding_relative
            held["relative"].append(relative.low <= value + 50 <= relative.high)
            mean = next(r for r in ranking.ranking if r.ligand == ligand).binding
            held["mean"].append(mean.low <= value + 50 - 4 <= mean.high)
    for name, hits in held.items():
        assert 0.91 <= np.mean(hits) <= 0.985, name


def test_rank_interval_opens_with_the_noise():
    calm, noisy = rank(replicas(noise=0.05)), rank(replicas(noise=8.0, seed=2))
    widths = [sum(r.rank_high - r.rank_low for r in ranking.ranking) for ranking in (calm, noisy)]
    assert widths[0] == 0 < widths[1]
    assert all(r.rank_low <= r.rank <= r.rank_high for r in noisy.ranking)
    assert comparison(noisy, "fulvestrant").binding_verdict == Verdict.CANNOT_TELL
    assert any("cannot be told from noise" in sentence for sentence in noisy.limits)


def test_controls_of_a_sound_run_agree():
    outcomes = {c.name: c for c in rank(replicas()).controls}
    assert {c.outcome for c in outcomes.values()} == {"agrees"}
    assert set(outcomes) == {
        "estradiol in WT, agonist state",
        "estradiol in Y537S, agonist state",
        "4-hydroxytamoxifen in WT, antagonist state",
        "apo Y537S against apo wild type, agonist state",
    }
    assert "537-D351 latch 2.8 A against 6.0 A" in outcomes["apo Y537S against apo wild type, agonist state"].detail


def test_controls_that_fail_or_were_not_run_say_so():
    flipped = [
        ReplicaObservation(
            o.digest,
            o.variant,
            o.ligand,
            o.state,
            o.seed,
            dict(o.summary) | ({"helix12_angstrom": -o.summary["helix12_angstrom"]} if o.ligand == "estradiol" else {}),
        )  # fmt: skip
        for o in replicas()
        if o.ligand != "apo"
    ]
    outcomes = {c.name: c.outcome for c in rank(flipped).controls}
    assert outcomes["estradiol in WT, agonist state"] == "contradicts"
    assert outcomes["apo Y537S against apo wild type, agonist state"] == "not run"


def test_apo_control_is_measured_over_the_hormone_of_the_same_variant():
    """Y537S lies 1 A from the wild type's place in every crystal; that alone must not read as less active."""
    name = "apo Y537S against apo wild type, agonist state"

    def control(observations):
        return next(c for c in rank(observations).controls if c.name == name)

    sound = control(replicas(3))
    assert sound.outcome == "agrees" and "Y537S minus wild type: -1." in sound.detail
    loose = [
        dataclasses.replace(o, summary={**o.summary, "h12_rmsd_agonist_angstrom": 7.0 + 0.1 * o.seed})
        if (o.variant, o.ligand) == ("Y537S", "apo")
        else o
        for o in replicas(3)
    ]
    assert control(loose).outcome == "contradicts"
    without = control([o for o in replicas(3) if (o.variant, o.ligand) != ("Y537S", "estradiol")])
    assert without.outcome == "not run" and "estradiol in Y537S" in without.detail


def test_order_of_the_replicas_does_not_matter():
    made = replicas(n_seeds=3, noise=3.0)
    shuffled = [made[i] for i in np.random.default_rng(1).permutation(len(made))]
    assert rank(made) == rank(shuffled)


def test_ranking_survives_json():
    ranking = rank(replicas(), failures=[failure("WT", "estradiol")])
    assert Ranking.model_validate_json(ranking.model_dump_json()) == ranking


def failure(variant: str, ligand: str, kind: str = "error") -> Failure:
    state = "antagonist" if ligand in TRUTH else "agonist"
    return Failure(variant=variant, ligand=ligand, state=state, seed=1, stage="pose", cause="does not fit", kind=kind)


def test_a_failed_cell_hides_nothing_else():
    made = [o for o in replicas() if o.cell != ("Y537S", "fulvestrant", "antagonist")]
    ranking = rank(made, failures=[failure("Y537S", "fulvestrant")] * 2)
    lost = cell(ranking, "Y537S", "fulvestrant")
    assert (lost.n_replicas, lost.n_failed, lost.binding) == (0, 2, None)
    hole = comparison(ranking, "fulvestrant")
    assert hole.binding_verdict == Verdict.CANNOT_TELL
    assert hole.reason == (
        "no finished replica of Y537S/fulvestrant/antagonist (all 2 tried failed), so there is nothing to compare"
    )
    line = next(r for r in ranking.ranking if r.ligand == "fulvestrant")
    assert "mean over 1 of 2 variants, without Y537S" in line.notes and "does not fit" in line.notes
    assert comparison(ranking, "4-hydroxytamoxifen").binding_verdict == Verdict.LOST
    assert any("2 attempts ended in an error" in sentence for sentence in ranking.limits)


def test_missing_wild_type_is_said_for_every_ligand_it_touches():
    ranking = rank([o for o in replicas() if o.variant != "WT" or o.ligand != "elacestrant"])
    hole = comparison(ranking, "elacestrant")
    assert hole.binding_shift is None and hole.binding_verdict == Verdict.CANNOT_TELL
    assert hole.reason.startswith("no finished replica of WT/elacestrant/antagonist (it was not simulated)")
    assert "No wild type to compare the mutants with: elacestrant (antagonist)." in ranking.limits


def test_missing_reference_ligand_leaves_absolute_energies_and_says_so():
    without = [o for o in replicas() if o.ligand != "4-hydroxytamoxifen"]
    ranking = rank(without)
    assert [r.ligand for r in ranking.ranking] == ["fulvestrant", "elacestrant"]
    assert ranking.ranking[0].binding.value == pytest.approx(-65, abs=8)
    assert "absolute MM/GBSA energy" in ranking.ranking[0].notes
    assert cell(ranking, "WT", "fulvestrant").binding_relative is None
    said = "No binding relative to a reference ligand in the antagonist state for WT, Y537S"
    assert any(sentence.startswith(said) for sentence in ranking.limits)
    assert rank(without, reference_ligand=None).reference_ligand == ""


def test_a_reference_for_each_state():
    ranking = rank(replicas(), reference_ligand={"antagonist": "fulvestrant", "agonist": "estradiol"})
    assert ranking.reference_ligand == "estradiol (agonist), fulvestrant (antagonist)"
    assert cell(ranking, "WT", "elacestrant").binding_relative.value == pytest.approx(15.5, abs=0.6)
    assert cell(ranking, "WT", "estradiol").binding_relative.value == 0.0


def test_one_replica_gives_numbers_without_intervals_or_ranks():
    ranking = rank(replicas(n_seeds=1))
    assert cell(ranking, "WT", "fulvestrant").binding.low is None
    assert all((r.rank_low, r.rank_high) == (1, 3) for r in ranking.ranking)
    assert {c.binding_verdict for c in ranking.comparisons} == {Verdict.CANNOT_TELL}
    assert any("single replica" in sentence for sentence in ranking.limits)
    reference = next(r for r in ranking.ranking if r.ligand == "4-hydroxytamoxifen")
    assert (reference.binding.low, reference.binding.value, reference.binding.high) == (0.0, 0.0, 0.0)
    assert all("too few replicas for a rank interval" in r.notes for r in ranking.ranking)


def test_nothing_finished_is_still_a_ranking():
    ranking = rank([], failures=[failure("WT", "fulvestrant")])
    assert ranking.limits[0] == "No replica finished, so there is nothing to rank."
    assert ranking.ranking[0].binding is None and "no binding score" in ranking.ranking[0].notes
    assert rank([]).ranking == ()


def test_two_replicas_of_one_seed_are_refused():
    made = replicas()
    with pytest.raises(ValueError, match="two replicas of WT/4-hydroxytamoxifen/antagonist with seed 1"):
        rank([*made, made[0]])


def test_picoseconds_and_nanoseconds_are_told_apart():
    assert "10 replicas of 20 ps each, 200 ps in all" in rank(replicas(n_seeds=1), production_ps=20.0).limits[0]
    assert "no time to leave" in rank(replicas(n_seeds=1), production_ps=20.0).limits[0]
    assert "of 50 ns each, 500 ns in all" in rank(replicas(n_seeds=1), production_ps=50000.0).limits[0]


def test_tables_have_the_same_columns_full_and_empty():
    full, empty = ranking_tables(rank(replicas())), ranking_tables(rank([]))
    assert set(full) == {"ranking", "cells", "metrics", "comparisons", "predictions", "controls", "failures"}
    for name, table in full.items():
        assert list(table.columns) == list(empty[name].columns)
    assert len(full["cells"]) == 10 and len(full["comparisons"]) == 5
    row = full["ranking"].iloc[0]
    assert row["ligand"] == "fulvestrant" and row["binding_low"] < row["binding"] < row["binding_high"]
    assert set(full["comparisons"]["binding_verdict"]) >= {"lost", "retained", "cannot tell"}
    assert set(full["metrics"]["metric"]) == {"frames", "h12_rmsd_agonist_angstrom", "latch_537_351_angstrom"}


def test_a_run_of_picoseconds_decides_nothing_and_its_controls_agree_with_nothing():
    ranking = rank(replicas(), production_ps=2.0)
    assert {r.p_best for r in ranking.ranking} == {r.p_front for r in ranking.ranking} == {None}
    verdicts = {v for c in ranking.comparisons for v in (c.binding_verdict, c.helix12_verdict)}
    assert verdicts == {Verdict.CANNOT_TELL}
    outcomes = {control.outcome for control in ranking.controls}
    assert "agrees" not in outcomes and "cannot tell" in outcomes
    assert all("2 ps to leave" in c.detail for c in ranking.controls if c.outcome == "cannot tell")


def with_helix12(observations, place):
    """The same replicas with helix 12 at ``place(variant, ligand)`` angstrom from its active place, shifted by seed."""
    changed = []
    for i, replica in enumerate(observations):
        jitter = np.random.default_rng(i).normal(0, 0.1)
        value = place(replica.variant, replica.ligand) + 0.5 * replica.seed + jitter
        changed.append(dataclasses.replace(replica, summary={**replica.summary, "h12_rmsd_agonist_angstrom": value}))
    return changed


def test_helix12_score_is_over_the_hormone_and_over_apo_of_the_same_variant():
    """Y537S has its active place 1 A from the wild type's: the hormone's complex shows it, and so it cancels."""

    def place(variant, ligand):
        return (1.0 if variant == "Y537S" else 0.0) + {"estradiol": 0.5, "apo": 2.5}.get(ligand, 11.5)

    ranking = rank(with_helix12(replicas(3), place))
    for variant in ("WT", "Y537S"):
        found = cell(ranking, variant, "fulvestrant")
        assert found.helix12_over_hormone.value == pytest.approx(11.0, abs=0.3)
        assert found.helix12_over_apo.value == pytest.approx(9.0, abs=0.3)
        assert found.helix12_over_hormone.low < 11.0 < found.helix12_over_hormone.high
        assert found.helix12_over_hormone.high - found.helix12_over_hormone.low < 1.5  # the seeds' shift cancels
    hormone = cell(ranking, "WT", "estradiol")
    assert (hormone.helix12_over_hormone.value, hormone.helix12_over_hormone.high) == (0.0, 0.0)
    assert hormone.helix12_over_apo.value == pytest.approx(-2.0, abs=0.3)


def test_helix12_score_is_absent_where_the_hormone_was_not_simulated():
    kept = [r for r in with_helix12(replicas(), lambda v, n: 5.0) if r.ligand != "estradiol"]
    found = cell(rank(kept), "WT", "fulvestrant")
    assert found.helix12_over_hormone is None and found.helix12_over_apo is not None


def test_verdicts_that_stand_alone_may_not_stand_together():
    ranking = rank(replicas(4))
    lost = comparison(ranking, "4-hydroxytamoxifen")
    assert lost.binding_stands is True and lost.helix12_stands is True
    unsure = rank(replicas(2, noise=3.0))
    assert all(c.binding_stands is None for c in unsure.comparisons if c.binding_verdict == Verdict.CANNOT_TELL)


def test_the_ranking_says_how_sure_the_first_place_is_and_what_is_on_the_front():
    ranking = rank(replicas(3))
    first = ranking.ranking[0]
    assert first.ligand == "fulvestrant" and first.p_best > 0.95
    assert sum(r.p_best for r in ranking.ranking) == pytest.approx(1.0)
    assert first.on_front and first.p_front > 0.5
    assert sorted(r.weighted_rank for r in ranking.ranking) == [1, 2, 3]
    by_binding = rank(replicas(3), weights=Weights(helix12=0, resistance=0))
    assert [r.weighted_rank for r in by_binding.ranking] == [1, 2, 3]
    columns = ranking_tables(ranking)["ranking"].columns
    assert {"p_best", "on_front", "p_front", "weighted_rank"} <= set(columns)
