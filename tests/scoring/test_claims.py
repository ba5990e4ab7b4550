"""Claims against made-up replicas whose truth is known."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from esr1md.config import Thresholds
from esr1md.scoring.cells import ReplicaObservation, matrix
from esr1md.scoring.claims import check_claims
from esr1md.scoring.draws import score_draws
from esr1md.scoring.evidence import OrdinalClaim, evidence
from esr1md.scoring.rank_agreement import _tau, rank_agreements
from esr1md.scoring.scores import Failure, Score
from esr1md.scoring.validation import Validation, validate_screen

LONG, SHORT = 2000.0, 2.0
#: What the literature says: mutations cost 4-hydroxytamoxifen and fulvestrant binding, D538G more than Y537S.
LOSS = {"WT": 0.0, "Y537S": 6.0, "D538G": 9.0}
BINDERS = {"4-hydroxytamoxifen": -60.0, "fulvestrant": -70.0, "estradiol": -40.0}


def replicas(loss=LOSS, *, n=5, noise=0.3, summaries=None, ligands=BINDERS, seed=0) -> list[ReplicaObservation]:
    """Binders in every variant of ``loss``; odd seeds shift all by -4, even by +4. ``summaries``: cell -> metrics."""
    generator = np.random.default_rng(seed)
    made = []
    for number, variant in itertools.product(range(1, n + 1), loss):
        for ligand, binding in ligands.items():
            state = "agonist" if ligand in ("estradiol", "apo") else "antagonist"
            summary = {"helix12_angstrom": 10.0 if state == "antagonist" else -10.0, "frames": 20.0}
            if ligand != "apo":
                summary["binding_kcal"] = binding + loss[variant] + 4.0 * (-1) ** number + generator.normal(0, noise)
            for name, value in (summaries or {}).get((variant, ligand), {}).items():
                summary[name] = value + generator.normal(0, noise)
            name = f"{variant}-{ligand}-{number}"
            made.append(ReplicaObservation(name, variant, ligand, state, number, summary))
    return made


def check(claim: str | OrdinalClaim, observations, production_ps=LONG, failures=()):
    claims = evidence().claims_named([claim]) if isinstance(claim, str) else (claim,)
    cells = matrix(observations, failures, BINDERS)
    (found,) = check_claims(claims, cells, Thresholds(), production_ps)
    return found


def test_a_screen_like_the_literature_agrees():
    found = {name: check(name, replicas()).outcome for name in ("P01", "P04", "S01", "S02", "S21")}
    assert found == dict.fromkeys(found, "agrees")
    two = check("P01", replicas())
    assert [(c.first, c.second) for c in two.compared] == [
        ("Y537S/4-hydroxytamoxifen/antagonist", "WT/4-hydroxytamoxifen/antagonist"),
        ("D538G/4-hydroxytamoxifen/antagonist", "Y537S/4-hydroxytamoxifen/antagonist"),
    ]
    assert two.compared[1].predicted.value == pytest.approx(3.0, abs=0.5)
    assert two.decisive == two.compared[1], "the smaller of the two steps speaks least for the claim"
    assert "2 of 2 comparisons agree" in two.detail


def test_the_opposite_contradicts():
    opposite = {name: -loss for name, loss in LOSS.items()}
    for name in ("P01", "P04", "S01", "S02", "S21"):
        assert check(name, replicas(opposite)).outcome == "contradicts", name


def test_estradiol_must_lose_alike_in_both_mutants():
    assert check("P05", replicas({"WT": 0, "Y537S": 6.0, "D538G": 6.1})).outcome == "agrees"
    found = check("P05", replicas())
    assert found.outcome == "contradicts" and "above -1 and below 1" in found.detail


def test_noise_allows_no_answer():
    found = check("P01", replicas(noise=20.0))
    assert found.outcome == "cannot tell"


def test_short_replicas_contradict_but_do_not_agree():
    agreed = check("P01", replicas(), SHORT)
    assert agreed.outcome == "cannot tell" and "2 ps per replica can contradict but not agree" in agreed.detail
    assert {c.outcome for c in agreed.compared} == {"agrees"}
    assert check("P01", replicas({n: -v for n, v in LOSS.items()}), SHORT).outcome == "contradicts"


def test_one_replica_has_no_interval():
    found = check("S01", replicas(n=1))
    assert found.outcome == "cannot tell" and "no interval" in found.detail


def test_what_was_not_simulated_is_said():
    found = check("P19", replicas())
    assert found.outcome == "not run" and "Y537S/bazedoxifene/antagonist is not in this screen" in found.detail
    no_d538g = {"WT": 0.0, "Y537S": 6.0}
    part = check("P01", replicas(no_d538g))
    assert part.outcome == "cannot tell", "half of a chain is not the claim"
    assert "1 more not run (D538G/4-hydroxytamoxifen/antagonist is not in this screen)" in part.detail
    assert check("S01", replicas(no_d538g)).outcome == "agrees", "a universal claim is judged by what was run"
    failures = [Failure(variant="D538G", ligand="4-hydroxytamoxifen", state="antagonist", seed=i, stage="dynamics",
                        cause="x") for i in (1, 2)]  # fmt: skip
    failed = check("P01", replicas(no_d538g), failures=failures)
    assert "every replica of D538G/4-hydroxytamoxifen/antagonist failed (2)" in failed.detail


def test_claims_beyond_a_screen_are_never_checked():
    found = check("S05", replicas())
    assert (found.outcome, found.compared) == ("not checkable", ())
    assert "not affinity" in found.detail


def test_helix12_claims_use_their_own_metric():
    ligands = {"apo": 0.0}
    loops = {("WT", "apo"): {"loop_rmsf_angstrom": 3.0}, ("D538G", "apo"): {"loop_rmsf_angstrom": 2.0},
             ("Y537S", "apo"): {"loop_rmsf_angstrom": 1.0, "latch_537_351_angstrom": 2.8}}  # fmt: skip
    made = replicas(noise=0.05, summaries=loops, ligands=ligands)
    assert check("P11", made).outcome == "agrees"
    latch = check("P15", made)
    assert latch.outcome == "agrees"
    assert latch.compared[0].predicted.value == pytest.approx(2.8, abs=0.1) and latch.compared[0].second == ""
    assert "expected below 3.5" in latch.detail
    open_latch = {**loops, ("Y537S", "apo"): {"latch_537_351_angstrom": 6.0}}
    assert check("P15", replicas(noise=0.05, summaries=open_latch, ligands=ligands)).outcome == "contradicts"


def test_ligands_are_compared_in_one_variant_and_state():
    bound = {"4-hydroxytamoxifen": -70.0, "raloxifene": -60.0, "bazedoxifene": -60.0, "fulvestrant": -60.0}
    found = check("P08", replicas(ligands=bound))
    assert found.outcome == "agrees" and len(found.compared) == 6
    assert check("P08", replicas(ligands=bound | {"fulvestrant": -80.0})).outcome == "contradicts"


def test_of_many_comparisons_one_may_miss_by_chance():
    """A universal claim that is true by nothing but noise: 39 comparisons of zero are rarely called a contradiction."""
    base = evidence().claims_named(["S21"])[0]
    variants = {"WT": 0.0, **dict.fromkeys(base.checks[0].than.variant, 0.0)}
    outcomes = [check(base, replicas(variants, n=3, noise=2.0, seed=100 + i)).outcome for i in range(40)]
    assert outcomes.count("agrees") == 0
    assert outcomes.count("contradicts") <= 5


def test_published_ratios_are_shown_and_only_their_sign_is_compared():
    found = check("S01", replicas({"WT": 0.0, "Y537S": 60.0}))
    assert found.outcome == "agrees" and "measured ratio 1 to 30, of which only the sign is compared" in found.detail


# -- draws and ranks ----------------------------------------------------------------------------------------


def test_draws_have_the_interval_they_were_made_of():
    scores = [Score(value=1.0, low=-1.0, high=2.0, n_replicas=5, unit="kcal/mol"),
              Score(value=0.0, low=-3.0, high=3.0, n_replicas=5, unit="kcal/mol")]  # fmt: skip
    drawn = score_draws(scores, np.random.default_rng(0), shared=0.5)
    for i, score in enumerate(scores):
        low, middle, high = np.quantile(drawn[:, i], [0.025, 0.5, 0.975])
        assert (low, middle, high) == pytest.approx((score.low, score.value, score.high), abs=0.2)
    assert stats.spearmanr(drawn).statistic == pytest.approx(0.48, abs=0.05)
    with pytest.raises(ValueError, match="without an interval"):
        score_draws([scores[0].model_copy(update={"low": None})], np.random.default_rng(0))


def test_tau_is_kendalls_and_weights_are_copies():
    generator = np.random.default_rng(1)
    x, y = generator.normal(size=9), generator.normal(size=9)
    index = np.arange(9)
    ours = _tau(x[None], [(index, y[None])], np.ones((1, 9)))[0]
    assert ours == pytest.approx(stats.kendalltau(x, y).statistic)
    weights = np.array([[2, 1, 0, 1, 1, 1, 1, 1, 1]])
    copies = np.repeat(index, weights[0])
    pairs = [(a, b) for a, b in itertools.combinations(copies, 2) if a != b]
    by_hand = np.mean([np.sign((x[a] - x[b]) * (y[a] - y[b])) for a, b in pairs])
    assert _tau(x[None], [(index, y[None])], weights)[0] == pytest.approx(by_hand)


def test_order_of_the_mutations_effects():
    """Fanning 2018 has six ratios: 4-OHT 22, 27; fulvestrant 28, 39; estradiol 6.4, 8.0."""
    cost = {"estradiol": (1.0, 1.5), "4-hydroxytamoxifen": (4.0, 5.0), "fulvestrant": (6.0, 9.0)}

    def observed(sign: float, n=5):
        made = []
        for number, (ligand, losses) in itertools.product(range(1, n + 1), cost.items()):
            state = "agonist" if ligand == "estradiol" else "antagonist"
            for variant, loss in zip(("WT", "Y537S", "D538G"), (0.0, *losses), strict=True):
                energy = {"binding_kcal": -50.0 + sign * loss + 0.01 * number * len(variant + ligand)}
                made.append(ReplicaObservation(f"{variant}{ligand}{number}", variant, ligand, state, number, energy))
        return matrix(made, [], cost)

    found = {each.series: each for each in rank_agreements(evidence(), observed(+1))}
    fanning = found["fanning-2018-table-2"]
    assert (fanning.n_measured, fanning.n_predicted, fanning.kind) == (6, 6, "mutations")
    assert fanning.tau == pytest.approx(1.0) and fanning.outcome == "agrees"
    point = next(p for p in fanning.points if (p.ligand, p.variant) == ("fulvestrant", "Y537S"))
    assert point.measured == pytest.approx(np.log10(3.68 / 0.13)) and point.measured_error > 0
    assert point.predicted.value == pytest.approx(6.0, abs=0.5)
    pooled = found["all mutations"]
    assert (pooled.n_measured, pooled.n_predicted) == (10, 10) and "fanning-2016-table-2" in pooled.source
    assert 0.5 < pooled.tau <= 1 and pooled.low <= pooled.tau <= pooled.high
    wrong = {each.series: each for each in rank_agreements(evidence(), observed(-1))}["fanning-2018-table-2"]
    assert wrong.tau == pytest.approx(-1.0) and wrong.outcome == "contradicts"
    short = {each.series: each for each in rank_agreements(evidence(), observed(+1), short=True)}
    assert short["fanning-2018-table-2"].outcome == "cannot tell"
    single = {each.series: each for each in rank_agreements(evidence(), observed(+1, n=1))}["fanning-2018-table-2"]
    assert single.tau == pytest.approx(1.0) and single.low is None and single.outcome == "cannot tell"


def test_too_few_points_and_equal_measurements_say_nothing():
    found = {each.series: each for each in rank_agreements(evidence(), matrix(replicas({"WT": 0.0}), [], BINDERS))}
    assert found["fanning-2018-table-2"].outcome == "not run" and found["fanning-2018-table-2"].tau is None
    agonists = found["kuhl-2005 WT RBA agonist"]
    assert (agonists.n_measured, agonists.n_predicted, agonists.outcome) == (5, 1, "cannot tell")


def test_four_points_in_order_may_be_chance():
    energies = {"estradiol": 0.0, "4-hydroxytamoxifen": 5.0}
    made = []
    for number, ligand in itertools.product(range(1, 6), energies):
        for variant, loss in (("WT", 0.0), ("Y537S", 2.0), ("D538G", 1.0 if ligand == "estradiol" else 3.0)):
            loss = loss and loss + energies[ligand]
            state = "agonist" if ligand == "estradiol" else "antagonist"
            energy = {"binding_kcal": -50.0 + loss + 0.01 * number * len(variant)}
            made.append(ReplicaObservation(f"{variant}{ligand}{number}", variant, ligand, state, number, energy))
    found = {each.series: each for each in rank_agreements(evidence(), matrix(made, [], energies))}
    four = found["fanning-2016-table-2"]
    assert four.tau == pytest.approx(1.0) and four.low == pytest.approx(1.0)
    assert four.chance == pytest.approx(1 / 24, abs=0.01) and four.outcome == "cannot tell"
    assert "4 % of random orders do as well" in four.detail


def test_agonists_of_the_wild_type_are_ranked_against_their_relative_binding():
    bound = {
        "estradiol": -44.0,
        "estrone": -43.0,
        "diethylstilbestrol": -46.0,
        "genistein": -38.0,
        "bisphenol A": -30.0,
    }
    made = [
        ReplicaObservation(f"{name}{n}", "WT", name, "agonist", n, {"binding_kcal": energy + 5 * n + 0.1 * (n % 3)})
        for name, energy in bound.items()
        for n in range(1, 5)
    ]
    found = {each.series: each for each in rank_agreements(evidence(), matrix(made, [], bound))}
    assert found["kuhl-2005 WT RBA agonist"].tau == pytest.approx(1.0)


# -- the whole of it ----------------------------------------------------------------------------------------


def validation(observations, production_ps=LONG, **more):
    return validate_screen(screen="test", protocol="p", cells=matrix(observations, [], BINDERS), evidence=evidence(),
                           thresholds=Thresholds(), production_ps=production_ps, **more)  # fmt: skip


def test_summary_of_a_screen():
    found = validation(replicas(), n_planned=50)
    assert found.counts["not checkable"] == 18 and sum(found.counts.values()) == 32
    assert found.rate.agrees == found.counts["agrees"] > 3
    assert found.rate.low < found.rate.rate <= found.rate.high
    assert found.tau.series == "all mutations"
    assert found.n_missing == 5 and found.notes[0].startswith("Partial: 45 of 50 replicas finished")
    assert {context.ligand for context in found.clinical} == {"fulvestrant"}


def test_validation_survives_json():
    found = validation(replicas())
    assert Validation.model_validate_json(found.model_dump_json()) == found


def test_short_replicas_have_no_agreement_rate():
    found = validation(replicas(), SHORT)
    assert found.too_short and found.rate is None and found.counts["agrees"] == 0
    assert "there is no agreement rate" in found.notes[0]


def test_clinical_results_change_no_score():
    """The claims and ranks are the same without any clinical result."""
    without = evidence().model_copy(update={"clinical": ()})
    cells = matrix(replicas(), [], BINDERS)
    same = {"screen": "t", "protocol": "p", "cells": cells, "thresholds": Thresholds(), "production_ps": LONG}
    one, other = (validate_screen(evidence=each, **same) for each in (evidence(), without))
    assert one.clinical and not other.clinical
    assert one.model_dump(exclude={"clinical"}) == other.model_dump(exclude={"clinical"})
