"""``esr1md validate`` and ``esr1md coverage`` on stores of made-up replicas."""

from __future__ import annotations

import itertools
import json

import pytest

from esr1md.config import Thresholds
from esr1md.specs import digest_of

#: Binding (kcal/mol) in the wild type, and what each mutation costs.
BINDING = {"4-hydroxytamoxifen": -60.0, "fulvestrant": -50.0}
LOSS = {"WT": 0.0, "Y537S": 6.0, "D538G": 9.0}


@pytest.fixture
def make_store(tmp_path):
    """A store with a screen: replicas with a summary unless ``finished(variant, ligand, seed)`` says no."""

    def make(name="reference", *, production_ps=2000.0, finished=lambda *place: True, failed=lambda *place: False):
        root = tmp_path / "runs"
        replicas = []
        for seed, ligand, variant in itertools.product((1, 2, 3, 4), BINDING, LOSS):
            digest = digest_of([variant, ligand, seed])
            replicas.append({"digest": digest, "name": f"{variant}-{seed}", "variant": variant, "ligand": ligand,
                             "state": "antagonist", "seed": seed})  # fmt: skip
            folder = root / "replicas" / digest
            if failed(variant, ligand, seed):
                folder.mkdir(parents=True, exist_ok=True)
                failure = {"stage": "dynamics", "cause": "it exploded", "where": "here", "kind": "error"}
                (folder / "failure.json").write_text(json.dumps(failure))
            elif finished(variant, ligand, seed):
                folder.mkdir(parents=True, exist_ok=True)
                energy = BINDING[ligand] + LOSS[variant] + 3 * (-1) ** seed + 0.01 * seed * len(variant)
                summary = {"frames": 20, "binding_kcal": energy, "helix12_angstrom": 11.0 + 0.01 * seed * len(variant)}
                (folder / "summary.json").write_text(json.dumps(summary))
                (folder / "record.json").write_text("{}")
                (folder / "done.json").write_text("{}")
        screen = root / "screens" / name
        screen.mkdir(parents=True)
        ligands = [{"name": n, "smiles": "C", "inchikey": n, "formal_charge": 0, "drug_class": "SERD"} for n in BINDING]
        plan = {"screen": name, "protocol": {"name": "standard"}, "platform": "CPU", "versions": {}, "ligands": ligands,
                "reference_ligand": "4-hydroxytamoxifen", "replicas": replicas, "production_ps": production_ps,
                "config": {"thresholds": Thresholds().model_dump()}, "slots": 1,
                "estimate": {"replica_seconds": 1.0}}  # fmt: skip
        (screen / "plan.json").write_text(json.dumps(plan))
        (screen / "run.json").write_text(json.dumps({"started": 0.0, "finished": None, "pid": None, "host": None}))
        return root

    return make


# -- validate -----------------------------------------------------------------------------------------------


def test_validate_prints_claims_and_a_summary(run, make_store):
    make_store()
    code, out, err = run("validate", "runs")
    assert code == 0 and err == ""
    words = " ".join(out.split())
    assert "Agreement rate 100 % of" in words and "Kendall tau of the mutations' effects: +" in words
    for name in ("P01", "S02", "S05", "fanning-2018-table-2", "plasmaMATCH", "no score here predicts them"):
        assert name in words, name
    assert max(map(len, out.splitlines())) <= 100
    assert out.index("P01") < out.index("P19"), "decided claims come first"


def test_validate_json_is_one_document(run, make_store):
    make_store()
    code, out, _ = run("validate", "runs", "--json", "--claims", "p01,P19,S05")
    document = json.loads(out)
    (screen,) = document["screens"]
    outcomes = {claim["id"]: claim["outcome"] for claim in screen["claims"]}
    assert code == 0 and outcomes == {"P01": "agrees", "P19": "not run", "S05": "not checkable"}
    assert screen["counts"]["agrees"] == 1 and screen["rate"]["decided"] == 1
    (p01,) = (claim for claim in screen["claims"] if claim["id"] == "P01")
    assert p01["compared"][0]["predicted"]["value"] == pytest.approx(6.0, abs=0.1)
    assert p01["source"].startswith("Fanning 2018")
    ligands = {context["ligand"] for context in screen["clinical"]}
    assert ligands == {"fulvestrant"}


def test_validate_of_short_replicas_agrees_with_nothing(run, make_store):
    make_store(production_ps=2.0)
    code, out, _ = run("validate", "runs", "--json")
    (screen,) = json.loads(out)["screens"]
    assert code == 0 and screen["too_short"] and screen["rate"] is None
    assert screen["counts"]["agrees"] == 0 and screen["counts"]["cannot tell"] > 0
    assert screen["tau"]["outcome"] == "cannot tell"


def test_partial_results_are_flagged(run, make_store):
    make_store(finished=lambda variant, ligand, seed: ligand != "fulvestrant",
               failed=lambda variant, ligand, seed: (variant, ligand) == ("WT", "fulvestrant"))  # fmt: skip
    code, out, _ = run("validate", "runs", "--claims", "P01,P04")
    words = " ".join(out.split())
    assert code == 0 and "Partial: 12 of 24 replicas finished (4 failed, 8 not run)" in words
    assert "Claims: 1 agrees, 1 not run" in words
    assert "WT/fulvestrant/antagonist failed (4)" in words


def test_every_screen_of_a_store_or_the_one_asked_for(run, make_store):
    make_store("first")
    make_store("second")
    for arguments, names in ((), ["first", "second"]), (("--screen", "second"), ["second"]):
        code, out, _ = run("validate", "runs", "--json", *arguments)
        assert code == 0 and [s["screen"] for s in json.loads(out)["screens"]] == names


# -- coverage -----------------------------------------------------------------------------------------------


def test_coverage_of_published_frequencies(run, make_store):
    make_store()
    code, out, err = run("coverage", "runs")
    words = " ".join(out.split())
    assert code == 0 and err == "" and "Research use only" in words
    assert max(map(len, out.splitlines())) <= 100
    code, out, _ = run("coverage", "runs", "--json", "--population", "toy-2017")
    document = json.loads(out)
    assert document["population"]["n"] == 90 and document["use"].startswith("Research use only")
    (screen,) = document["screens"]
    (one,) = (c for c in screen["coverage"] if c["headline"] and c["ligand"] == "fulvestrant")
    assert (one["lost"], one["not_simulated"]) == pytest.approx((0.5, 0.5))
    assert set(screen["other_populations"]) == {"bba-2023", "ross-2019", "martinez-2026"}


def test_coverage_of_a_profile(run, make_store, tmp_path):
    make_store()
    (tmp_path / "cohort.yaml").write_text("name: mine\nprofiles:\n  - {name: P1, variants: {Y537S: 0.1, Y537N: 0.1}}\n")
    code, out, _ = run("coverage", "runs", "--profile", "cohort.yaml", "--json")
    rows = {(c["rule"], c["judged"]): c for c in json.loads(out)["screens"][0]["coverage"]
            if c["ligand"] == "fulvestrant"}  # fmt: skip
    assert code == 0 and rows["all clones", "both"]["lost"] == 1.0
    assert rows["by clone", "both"]["lost"] == pytest.approx(0.5)
    code, out, _ = run("coverage", "runs", "--profile", "cohort.yaml")
    assert code == 0 and "clones by their" in " ".join(out.split())


def test_coverage_of_short_replicas_knows_nothing(run, make_store):
    make_store(production_ps=2.0)
    code, out, _ = run("coverage", "runs")
    assert code == 0 and "too short for any verdict" in out and "0 % to 100 %" in out


# -- bad input ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["validate", "nowhere"], "store nowhere: there is no such folder"),
        (["validate", "."], "store .: no screen has run in this store"),
        (["coverage", "nowhere"], "store nowhere: there is no such folder"),
        (
            ["validate", "runs", "--screen", "referense"],
            "no screen 'referense' in this store; expected one of reference",
        ),
        (["validate", "runs", "--claims", "P99"], "unknown claim 'P99'"),
        (["coverage", "runs", "--population", "toy"], "unknown population 'toy'"),
        (["coverage", "runs", "--profile", "none.yaml"], "none.yaml: cannot be read"),
        (["coverage", "runs", "--profile", "x.yaml", "--population", "toy-2017"], "--profile and --population"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(arguments, says, run, make_store):
    if "runs" in arguments:
        make_store()
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert says in err and err.startswith("error: ") and err.count("\n") == 1


def test_a_store_without_a_finished_replica_is_said(run, make_store):
    make_store(finished=lambda *place: False, failed=lambda variant, *rest: variant == "WT")
    code, out, err = run("validate", "runs")
    assert (code, out) == (2, "")
    assert "no finished replica in reference (8 failed)" in err and err.count("\n") == 1


@pytest.mark.parametrize("command", ["validate", "coverage"])
def test_commands_explain_themselves(command, run):
    code, out, _ = run(command, "--help")
    assert code == 0 and "--json" in out and "Examples" in out
