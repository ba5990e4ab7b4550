"""Coverage of a population by made-up screens whose truth is known."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from esr1md.config import Thresholds
from esr1md.errors import InputError
from esr1md.scoring.cells import ReplicaObservation
from esr1md.scoring.coverage import RESEARCH_USE, Coverage, _draws, coverages
from esr1md.scoring.evidence import evidence
from esr1md.scoring.population import Population, load_profiles
from esr1md.scoring.ranking import rank_screen
from esr1md.scoring.scores import Score
from esr1md.specs import Ligand

#: What each mutation does to the binding (kcal/mol) of each ligand: 1 is weakened, 4 lost.
LOSS = {
    "4-hydroxytamoxifen": {"D538G": 8.0, "Y537S": 2.5, "E380Q": -1.0},
    "fulvestrant": {"D538G": -1.0, "Y537S": -1.0, "E380Q": -1.0},
}
FATES = ("retained", "weakened", "lost", "cannot_tell", "not_simulated")


def ranking(loss=LOSS, *, n=5, noise=0.05, production_ps=2000.0, helix12=0.0, variants=("D538G", "Y537S", "E380Q")):
    """Ligands in WT and mutants; ``helix12`` is how far every mutant's helix 12 moves towards the active place."""
    generator = np.random.default_rng(3)
    made = []
    for number, ligand, variant in itertools.product(range(1, n + 1), loss, ("WT", *variants)):
        change = loss[ligand].get(variant, 0.0)
        summary = {
            "binding_kcal": -60.0 + change + 3.0 * (-1) ** number + generator.normal(0, noise),
            "helix12_angstrom": 12.0 - (helix12 if variant != "WT" else 0.0) + generator.normal(0, noise),
        }
        name = f"{variant}-{ligand}-{number}"
        made.append(ReplicaObservation(name, variant, ligand, "antagonist", number, summary, "high"))
    ligands = {name: Ligand(name=name, smiles="C", inchikey=name, formal_charge=0, drug_class="SERD") for name in loss}
    return rank_screen(screen="test", protocol="p", platform="CPU", versions={}, reference_ligand="fulvestrant",
                       observations=made, ligands=ligands, production_ps=production_ps)  # fmt: skip


def population(name="bba-2023", **changes) -> Population:
    return evidence().populations.named(name).model_copy(update=changes)


def headline(found, ligand="4-hydroxytamoxifen"):
    (one,) = (c for c in found if c.headline and c.ligand == ligand)
    return one


def cover(of, ligand="4-hydroxytamoxifen", **more):
    found = coverages(ranking(**more), of, Thresholds())
    for each in found:
        total = sum(getattr(each, fate) for fate in FATES)
        assert total == pytest.approx(1.0), "the shares add up to 1"
        assert sum(part.share for part in each.parts) == pytest.approx(1.0)
        assert 0 <= each.low <= each.retained <= each.high <= 1
        assert each.use == RESEARCH_USE
    return headline(found, ligand)


# -- published frequencies ----------------------------------------------------------------------------------


def test_shares_follow_the_verdicts_and_the_frequencies():
    found = cover(population())
    assert (found.lost, found.weakened, found.retained) == pytest.approx((0.33, 0.18, 0.13))
    assert (found.cannot_tell, found.not_simulated) == pytest.approx((0.0, 0.36))
    assert (found.low, found.high) == pytest.approx((0.13, 0.49)), "what the source does not name may be anything"
    assert [(part.name, part.fate) for part in found.parts] == [
        ("D538G", "lost"), ("Y537S", "weakened"), ("E380Q", "retained"), ("not named", "not simulated"),
    ]  # fmt: skip
    assert found.parts[0].chance["lost"] > 0.999
    assert any("how many were counted is not known here" in note for note in found.notes)
    assert any("not of patients" in note for note in found.notes)
    assert cover(population(), "fulvestrant").retained == pytest.approx(0.64)


def test_a_mutant_that_was_not_simulated_is_not_retained_and_not_lost():
    found = cover(population(), variants=("D538G", "Y537S"))
    assert found.not_simulated == pytest.approx(0.49) and found.retained == 0
    assert (found.low, found.high) == pytest.approx((0.0, 0.49))
    assert found.parts[2].why == "not in this screen" and found.parts[2].chance is None


def test_noise_makes_cannot_tell_and_a_wide_interval():
    found = cover(population(), noise=30.0)
    assert found.cannot_tell == pytest.approx(0.64) and found.retained == 0
    assert found.low < 0.05 and found.high > 0.9


def test_short_or_single_replicas_know_nothing():
    for more in ({"production_ps": 2.0}, {"n": 1}):
        found = cover(population(), "fulvestrant", **more)
        assert found.cannot_tell == pytest.approx(0.64)
        assert (found.low, found.high) == pytest.approx((0.0, 1.0))
        assert found.parts[0].chance is None


def test_a_counted_sample_brings_its_sampling_error():
    """Beta(22.5, 46.5) is D538G's share of 67: the interval of a ligand that only D538G keeps is that of the share."""
    loss = {"4-hydroxytamoxifen": {"D538G": -2.0, "Y537S": 9.0, "E380Q": 9.0}, "fulvestrant": {}}
    ross = population("ross-2019")
    found = cover(ross, loss=loss)
    assert found.retained == pytest.approx(22 / 67)
    assert found.low == pytest.approx(stats.beta.ppf(0.025, 22.5, 46.5), abs=0.01)
    # the rest is not named and may be retained: all but what Y537S and E380Q (Beta(15, 54)) lose
    assert found.high == pytest.approx(1 - stats.beta.ppf(0.025, 15, 54), abs=0.01)
    assert any("sampling error of 67 counted" in note for note in found.notes)


def test_more_counted_is_a_narrower_interval():
    loss = {"4-hydroxytamoxifen": {"D538G": -2.0, "Y537S": 9.0, "E380Q": 9.0}, "fulvestrant": {}}
    widths = []
    for n in (20, 2000):
        toy = population("toy-2017", n=n)
        found = cover(toy, loss=loss)
        widths.append(found.retained - found.low)
    assert widths[0] > 5 * widths[1] > 0


def test_ranges_are_scaled_to_the_whole():
    martinez = population("martinez-2026")
    loss = {"fulvestrant": {}, "4-hydroxytamoxifen": {}}
    variants = ("D538G", "Y537S", "E380Q", "Y537N", "Y537C")
    found = cover(
        martinez, "fulvestrant", loss=loss | {"fulvestrant": dict.fromkeys(variants, -2.0)}, variants=variants
    )
    assert found.retained == pytest.approx(0.9705) and found.not_simulated == pytest.approx(0.0295)
    keys = ("percent", "percent_low", "percent_high")
    doubled = tuple(
        share.model_copy(update={key: 2 * value for key in keys if (value := getattr(share, key)) is not None})
        for share in martinez.frequencies
    )
    scaled = cover(martinez.model_copy(update={"frequencies": doubled}), "fulvestrant")
    assert any("more than 100 %" in note for note in scaled.notes) and scaled.parts[-1].name != "not named"


def test_both_is_the_worse_of_binding_and_helix_12():
    found = coverages(ranking(helix12=8.0), population(), Thresholds())
    by = {(c.ligand, c.judged): c for c in found}
    assert by["fulvestrant", "binding"].retained == pytest.approx(0.64)
    assert by["fulvestrant", "helix 12"].lost == pytest.approx(0.64)
    assert by["fulvestrant", "both"].lost == pytest.approx(0.64) and by["fulvestrant", "both"].headline
    assert {c.judged for c in found if c.headline} == {"both"}


def test_the_wild_types_noise_moves_the_mutants_together():
    """Two mutants, each as likely retained as not: coins with a correlation of 1/2 agree in 2/3 of the draws."""
    even = Score(value=1.0, low=-1.0, high=3.0, n_replicas=5, unit="kcal/mol")
    drawn = _draws({"D538G": even, "Y537S": even}, 1.0, 1.0, 4.0, 1, False)
    retained = [drawn[variant] == 0 for variant in ("D538G", "Y537S")]
    assert [float(r.mean()) for r in retained] == pytest.approx([0.5, 0.5], abs=0.03)
    assert float((retained[0] == retained[1]).mean()) == pytest.approx(2 / 3, abs=0.03)


# -- profiles -----------------------------------------------------------------------------------------------

PROFILES = """\
name: cohort
smallest_fraction: 0.01
profiles:
  - {name: P1, variants: {E380Q: 0.30, D538G: 0.10}}
  - {name: P2, patients: 3, variants: {p.Glu380Gln: 0.2}}
"""


@pytest.fixture
def profiles(tmp_path):
    def load(text: str):
        path = tmp_path / "cohort.yaml"
        path.write_text(text)
        return load_profiles(path)

    return load


def test_a_patient_is_retained_only_if_every_clone_is(profiles):
    found = coverages(ranking(), profiles(PROFILES), Thresholds())
    whole = headline(found)
    assert whole.rule == "all clones"
    assert (whole.retained, whole.lost) == pytest.approx((0.75, 0.25))
    assert whole.parts[0].why == "E380Q retained, D538G lost"
    by_clone = next(c for c in found if (c.ligand, c.judged, c.rule) == ("4-hydroxytamoxifen", "both", "by clone"))
    assert (by_clone.retained, by_clone.lost) == pytest.approx((0.75 + 0.25 * 0.75, 0.25 * 0.25))
    assert not by_clone.headline and headline(found, "fulvestrant").retained == 1.0
    assert (whole.low, whole.high) == pytest.approx((0.75, 0.75)), "all verdicts are sure and the patients are all"


def test_small_clones_do_not_decide(profiles):
    text = PROFILES.replace("D538G: 0.10", "D538G: 0.005")
    assert cover(profiles(text)).retained == 1.0
    assert cover(profiles(text.replace("0.01\n", "0.001\n"))).lost == pytest.approx(0.25)


def test_a_clone_that_cannot_be_modelled_is_not_simulated(profiles):
    found = cover(profiles(PROFILES.replace("D538G", "other")))
    assert (found.retained, found.not_simulated) == pytest.approx((0.75, 0.25))
    assert (found.low, found.high) == pytest.approx((0.75, 1.0))
    lost = cover(profiles(PROFILES.replace("{p.Glu380Gln: 0.2}", "{other: 0.2, D538G: 0.2}")))
    assert lost.lost == pytest.approx(1.0), "one lost clone is enough, whatever the other does"
    assert lost.high == pytest.approx(0.0)


def test_a_sample_of_patients_brings_its_sampling_error(profiles):
    found = cover(profiles(PROFILES + "sample: true\n"))
    assert found.low < 0.5 and found.high > 0.9
    many = PROFILES.replace("name: P1,", "name: P1, patients: 100,").replace("patients: 3", "patients: 300")
    larger = cover(profiles(many + "sample: true\n"))
    assert larger.low == pytest.approx(0.71, abs=0.02)
    one = "name: one\nsample: true\nprofiles:\n  - {name: P1, variants: {E380Q: 0.1}}\n"
    alone = cover(profiles(one))
    assert alone.retained == 1.0 and alone.low < 0.4, "one patient says little of others"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("0.10", "10"), "cohort.yaml:4: the allele fraction of D538G is '10'; expected a number above 0 and up to 1"),
        (("0.30", "0.95"), "the allele fractions add up to 1.05"),
        (("D538G", "D538X"), "cohort.yaml:4"),
        (("D538G", "K303R"), "or count the clone under 'other'"),
        (("D538G", "WT"), "WT is no mutation"),
        (("D538G", "p.E380Q"), "is there twice (as E380Q)"),
        (("P2", "P1"), "cohort.yaml:5: profile 'P1' is there twice"),
        (("patients", "patient"), "cohort.yaml:5: unknown key 'patient'"),
        (("0.01", "0.5"), "every clone of 'P1' is below smallest_fraction (0.5)"),
        (("{p.Glu380Gln: 0.2}", "[E380Q]"), "variants is no mapping"),
        (("{p.Glu380Gln: 0.2}", "{}"), "cohort.yaml:5"),
    ],
)
def test_a_wrong_profile_is_one_line(change, says, profiles):
    with pytest.raises(InputError) as error:
        profiles(PROFILES.replace(*change))
    assert says in str(error.value) and "cohort.yaml:" in str(error.value)


def test_coverage_survives_json():
    found = coverages(ranking(), population(), Thresholds())
    assert tuple(Coverage.model_validate_json(each.model_dump_json()) for each in found) == found


def test_the_order_is_that_of_the_ranking():
    ranked = ranking()
    found = coverages(ranked, population(), Thresholds())
    assert list(dict.fromkeys(c.ligand for c in found)) == [line.ligand for line in ranked.ranking]
