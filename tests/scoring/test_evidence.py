"""The published evidence: every record against the reference tables, and every error at its line."""

from __future__ import annotations

import csv
import math
import re
from collections import Counter

import mdtraj
import pytest

from esr1md.analysis import helix12
from esr1md.catalogue import data_path
from esr1md.errors import InputError
from esr1md.ligand.catalogue import catalogue_entries
from esr1md.scoring.evidence import Check, Quantity, _Claims, _Clinical, _Measurements, evidence
from esr1md.scoring.population import Populations
from esr1md.settings import load_settings


@pytest.fixture
def rows(shared_data):
    def read(name: str) -> list[dict[str, str]]:
        with open(shared_data / "reference" / f"{name}.csv", newline="", encoding="utf-8") as handle:
            return list(csv.DictReader(handle))

    return read


# -- against the reference tables, so that a typing error is found ------------------------------------------


def test_every_measured_value_is_that_of_the_reference_table(rows):
    def number(text: str) -> float | str:
        try:
            return float(text)
        except ValueError:
            return text.removeprefix("<=")

    theirs = Counter()
    for row in rows("reference_values"):
        plain = re.fullmatch(r"WT|[A-Z]\d+[A-Z]", row["variant"])
        bound = row["value"].startswith("<=")
        theirs[
            row["ligand"].replace("none (apo)", "apo"),
            row["variant"] if plain else "several",
            row["quantity"].removesuffix(" (set 2)"),
            number(row["value"]),
            row["unit"],
            "<=" if bound else row["relation"],
            float(row["error"]) if row["error"] else None,
            row["confidence"],
            row["assay"],
            row["cell_line"].replace("none", ""),
        ] += 1
    ours = Counter()
    for _, value in evidence().values():
        key = (
            value.ligand or value.ligand_text,
            value.variant or "several",
            value.quantity,
            value.value if value.value is not None else value.value_text,
            value.unit,
            value.relation,
            value.error,
            value.confidence,
            value.assay.replace("not stated", ""),
            value.cell_line.replace("not stated", ""),
        )
        ours[key] += 1
    assert ours - theirs == Counter() == theirs - ours


def test_every_value_has_the_paper_that_the_reference_table_gives(rows):
    paper_of = {}
    for dataset, value in evidence().values():
        key = (value.ligand or value.ligand_text, value.quantity, value.value or value.value_text, value.assay)
        paper_of.setdefault(key, set()).add(f"{dataset.source} {dataset.doi}")
    for row in rows("reference_values"):
        try:
            value = float(row["value"])
        except ValueError:
            value = row["value"].removeprefix("<=")
        ligand = row["ligand"].replace("none (apo)", "apo")
        key = (ligand, row["quantity"].removesuffix(" (set 2)"), value, row["assay"] or "not stated")
        (name, *rest) = row["source"].replace("doi ", "").split(" ")
        papers = paper_of.get(key) or paper_of[(*key[:3], row["assay"])]
        wanted = {"second": "second table", "sugi.bio": "ChEMBL"}.get(name, name)
        assert any(wanted in paper for paper in papers), (row, papers)
        if rest and rest[0].isdigit():  # a name is not enough: Fanning 2016 or 2018
            assert any(rest[0] in paper for paper in papers), (row, papers)


def test_every_claim_is_one_of_the_reference_table(rows):
    theirs = {row["claim_id"]: row for row in rows("ordinal_claims")}
    assert [claim.id for claim in evidence().claims] == list(theirs)
    for claim in evidence().claims:
        row = theirs[claim.id]
        assert claim.confidence == row["confidence"]
        assert claim.domain == row["quantity_domain"].removesuffix("+function")
        first = row["paper"].split()[0]
        assert first in claim.source, claim.id
        mutants = {name for name in row["mutants"].split(",") if re.fullmatch(r"[A-Z]\d+[A-Z]", name)}
        said = {v for check in claim.checks for cells in (check.of, check.than) for v in getattr(cells, "variant", ())}
        assert not said or not mutants or said - {"WT"} == mutants, claim.id


def test_every_clinical_result_is_that_of_the_reference_table(rows):
    theirs, ours = rows("clinical_evidence"), evidence().clinical
    assert len(ours) == len(theirs)
    names = {entry.name for entry in catalogue_entries()}
    for row, result in zip(theirs, ours, strict=True):
        same = ("trial", "drugs", "comparator", "esr1_status", "n", "endpoint", "p")
        assert {key: getattr(result, key) for key in same} == {key: row[key] for key in same}
        assert result.value == row["value"].removesuffix(" in seed")
        assert result.phase == (row["phase"] if "not stated" not in row["phase"] else "")
        assert list(result.nct) == [n for n in row["nct"].split(";") if n.startswith("NCT")]
        assert result.hr == (float(row["hr"]) if row["hr"] else None)
        interval = f"{result.hr_low:.2f}-{result.hr_high:.2f}" if result.hr_low else ""
        assert interval == row["ci95"]
        assert row["population"] in (result.population, "as above")
        for arm, ligands in ((row["drugs"], result.ligands), (row["comparator"], result.comparator_ligands)):
            words = set(re.findall(r"[\w-]+", arm))
            assert set(ligands) == words & names, arm


def test_every_frequency_is_that_of_the_reference_table(rows):
    sources = {"bba-2023": "1878:188830", "toy-2017": "Toy 2017", "martinez-2026": "Martinez 2026"}
    table = rows("mutations")
    for name, source in sources.items():
        for share in evidence().populations.named(name).frequencies:
            (written,) = (
                row["freq_value"].lstrip("~")
                for row in table
                if row["mutation"] == share.variant and source in row["freq_source"]
            )
            low, _, high = written.partition("-")
            expected = (float(low), float(high or low))
            percent = share.percent
            assert expected == ((share.percent_low, share.percent_high) if percent is None else (percent, percent))
    with_a_number = {r["mutation"] for r in table if "1878:188830" in r["freq_source"] and r["freq_value"]}
    assert with_a_number == {share.variant for share in evidence().populations.named().frequencies}


def test_frequencies_as_printed_are_those_of_the_reference_table(rows):
    def numbers(text: str) -> list[str]:
        return re.findall(r"\d+\.\d+|\b\d+\b", text)

    ours = {each.variant: each for each in evidence().mutations}
    for row in rows("mutations"):
        name = {"D538G+F404L": "F404L+D538G"}.get(row["mutation"], row["mutation"])
        if name not in ours or not row["freq_value"]:
            continue
        assert numbers(row["freq_value"]) in [numbers(f.value) for f in ours[name].frequencies], row


# -- what the records say -----------------------------------------------------------------------------------


def test_values_of_different_papers_stay_apart():
    found = {d.name: v.value for d, v in evidence().values()
             if (v.ligand, v.variant, v.quantity) == ("4-hydroxytamoxifen", "WT", "Ki")}  # fmt: skip
    assert found == {"fanning-2018-table-2": 0.12, "fanning-2016-table-2": 0.337}


def test_log_affinity_is_lower_for_the_tighter_ligand_whatever_the_quantity():
    kuhl = {v.ligand: v.log_affinity for d, v in evidence().values() if d.name == "kuhl-2005"}
    assert kuhl["diethylstilbestrol"] < kuhl["estradiol"] < kuhl["bisphenol A"]
    ki = {v.variant: v.log_affinity for d, v in evidence().values()
          if d.name == "fanning-2018-table-2" and v.ligand == "fulvestrant"}  # fmt: skip
    assert ki["Y537S"] - ki["WT"] == pytest.approx(math.log10(3.68 / 0.13))
    said = [v for _, v in evidence().values() if v.relation != "=" or v.kind != "binding" or v.ligand == "apo"]
    assert said and all(v.log_affinity is None for v in said)


def test_claims_on_function_are_never_checked_with_binding():
    for claim in evidence().claims:
        assert claim.checkable != bool(claim.not_checkable)
        if claim.domain in ("function", "degradation", "coactivator"):
            assert not claim.checkable, claim.id
    assert {c.id for c in evidence().claims if c.checkable} == {
        "S01", "S02", "S16", "S21", "P01", "P04", "P05", "P08", "P11", "P14", "P15", "P19", "P20", "P25",
    }  # fmt: skip


def test_a_check_asks_only_for_what_a_replica_measures():
    model = mdtraj.load(str(data_path("structures") / "models" / "antagonist.pdb"))
    helix12.superpose_on_core(model)
    measured = set(helix12.measure(model))
    from_summary = {"binding_kcal", "h12_rmsf_angstrom", "loop_rmsf_angstrom", "ligand_n_d351_angstrom"}
    fractions = {f"h12_fraction_{state}" for state in ("agonist", "antagonist", "displaced")}
    assert set(Quantity.__args__) <= measured | from_summary | fractions


def test_clinical_results_of_a_ligand_come_with_its_own_arm_and_mutants_first():
    results = evidence().clinical_of("fulvestrant")
    own = [("fulvestrant" in r.ligands, r.of_mutants) for r in results]
    assert own == sorted(own, reverse=True) and {True, False} == {first for first, _ in own}
    assert evidence().clinical_of("genistein") == ()
    ember = next(r for r in evidence().clinical_of("imlunestrant") if r.endpoint == "mPFS months")
    assert (ember.hr, ember.hr_low, ember.hr_high) == (0.62, 0.47, 0.82)


def test_names_of_claims_and_populations():
    assert [c.id for c in evidence().claims_named(["p04", "P01", "P04"])] == ["P04", "P01"]
    with pytest.raises(InputError, match="unknown claim 'P99'; expected of S01"):
        evidence().claims_named(["P99"])
    assert evidence().populations.named().name == "bba-2023"
    with pytest.raises(InputError, match="unknown population 'toy'; expected one of bba-2023"):
        evidence().populations.named("toy")


# -- files that are not right -------------------------------------------------------------------------------

VALUE = "{ligand: estradiol, variant: WT, quantity: Kd, value: 0.2, unit: nM}"
DATASET = "datasets:\n  - {name: x, source: y, kind: binding, confidence: high, values: [\n    %s]}\n"
CLAIM = "claims:\n  - id: C1\n    statement: s\n    domain: binding\n    source: y\n    confidence: high\n    %s\n"
RATIO = "{quantity: binding_kcal, of: {variant: WT, ligand: fulvestrant}, relation: '<', than: %s}"
RESULT = "results:\n  - {trial: T, drugs: d, source: s,\n    %s}\n"
SHARES = (
    "default: a\npopulations:\n  - {name: a, source: s, of: mutations, confidence: high,\n     frequencies: [%s]}\n"
)


@pytest.mark.parametrize(
    ("model", "text", "says"),
    [
        (_Measurements, DATASET % VALUE.replace("estradiol", "estradoil"), "x.yaml:3: unknown ligand 'estradoil'"),
        (_Measurements, DATASET % VALUE.replace("WT", "Y538S"), "x.yaml:3: wrong wild-type residue in 'Y538S'"),
        (_Measurements, DATASET % VALUE.replace("value: 0.2, ", ""), "neither value nor value_text"),
        (_Measurements, DATASET % VALUE.replace("unit", "units"), "x.yaml:3: unknown key 'units'"),
        (_Measurements, DATASET % VALUE.replace("nM", "nM, error: -1"), "x.yaml:3: error is '-1'"),
        (_Claims, CLAIM % "notes: n", "x.yaml:2: claim C1 has neither checks nor not_checkable"),
        (_Claims, CLAIM % f"checks: [{RATIO % '{variant: Y537S, ligand: estradiol}'}]", "'than' must differ in one"),
        (_Claims, CLAIM % f"checks: [{RATIO % '{variant: Y537S, state: agonist}'}]", "may not differ in state"),
        (_Claims, CLAIM % f"checks: [{(RATIO % '3').replace('<', '~')}]", "relation '~' needs 'within'"),
        (_Claims, CLAIM % f"checks: [{(RATIO % '3').replace('fulvestrant', 'apo')}]", "apo without a state"),
        (_Claims, CLAIM % f"checks: [{(RATIO % '3').replace('binding_kcal', 'binding')}]", "'binding' is not known"),
        (_Claims, CLAIM % f"checks: [{RATIO % '{variant: Y537S}, ratio: [0.1, 3]'}]", "no range on one side of 1"),
        (_Clinical, RESULT % "hr: 0.5, hr_low: 0.6, hr_high: 0.9", "the interval of the hazard ratio is 0.6 to 0.9"),
        (_Clinical, RESULT % "ligands: [faslodx]", "x.yaml:3: unknown ligand 'faslodx'"),
        (_Clinical, RESULT % "nct: [NCT1]", "x.yaml:3"),
        (Populations, SHARES % "{variant: Y537S}", "the share of Y537S is not clear"),
        (Populations, SHARES % "{variant: Y537S, count: 3}", "count 3 of nobody knows how many"),
        (Populations, SHARES % "{variant: Y537S, percent: 3}, {variant: Y537S, percent: 4}", "'Y537S' is there twice"),
        (Populations, (SHARES % "{variant: Y537S, percent: 3}").replace("default: a", "default: b"), "no population"),
    ],
)  # fmt: skip
def test_a_wrong_record_is_refused_at_its_line(model, text, says, tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as error:
        load_settings(path, model)
    assert says in str(error.value) and "x.yaml:" in str(error.value)


def test_a_check_may_compare_with_a_number():
    check = Check(quantity="helix12_angstrom", of={"variant": "WT", "ligand": "estradiol"}, relation="<", than=0)
    assert check.than == 0.0 and isinstance(check.than, float)
