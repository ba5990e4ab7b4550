"""The surrogate learns a signal that is there, admits one that is not, and never changes with the same seed."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from rdkit import Chem
from rdkit.Chem import Crippen, rdMolDescriptors

from esr1md.scoring.cells import ReplicaObservation
from esr1md.scoring.ranking import rank_screen
from esr1md.scoring.scores import Failure, Ranking
from esr1md.specs import Ligand
from esr1md.surrogate.card import limits_of, load
from esr1md.surrogate.features import (
    DESCRIPTORS,
    FINGERPRINT_BITS,
    POCKET,
    VARIANT_FEATURES,
    distances,
    ligand_features,
    tanimoto,
    variant_features,
)
from esr1md.surrogate.prediction import add_predictions, predict
from esr1md.surrogate.training import train

SMILES = {
    "4-hydroxytamoxifen": "CC/C(=C(/c1ccc(O)cc1)c1ccc(OCC[NH+](C)C)cc1)c1ccccc1",
    "tamoxifen": "CC/C(=C(\\c1ccccc1)c1ccc(OCC[NH+](C)C)cc1)c1ccccc1",
    "endoxifen": "CC/C(=C(\\c1ccc(O)cc1)c1ccc(OCC[NH2+]C)cc1)c1ccccc1",
    "raloxifene": "O=C(c1ccc(OCC[NH+]2CCCCC2)cc1)c1c(-c2ccc(O)cc2)sc2cc(O)ccc12",
    "lasofoxifene": "Oc1ccc2c(c1)CC[C@H](c1ccccc1)[C@@H]2c1ccc(OCC[NH+]2CCCC2)cc1",
    "toremifene": "C[NH+](C)CCOc1ccc(/C(=C(/CCCl)c2ccccc2)c2ccccc2)cc1",
    "fulvestrant": "C[C@]12CC[C@@H]3c4ccc(O)cc4C[C@@H](CCCCCCCCCS(=O)CCCC(F)(F)C(F)(F)F)[C@H]3[C@@H]1CC[C@@H]2O",
    "brilanestrant": "CC/C(=C(/c1ccc(/C=C/C(=O)[O-])cc1)c1ccc2n[nH]cc2c1)c1ccc(F)cc1Cl",
    "GW7604": "CC/C(=C(\\c1ccc(O)cc1)c1ccc(/C=C/C(=O)[O-])cc1)c1ccccc1",
    "giredestrant": "C[C@@H]1Cc2c([nH]c3ccccc23)[C@@H](c2c(F)cc(NC3C[NH+](CCCF)C3)cc2F)N1CC(F)(F)CO",
    "bazedoxifene": "Cc1c(-c2ccc(O)cc2)n(Cc2ccc(OCC[NH+]3CCCCCC3)cc2)c2ccc(O)cc12",
    "arzoxifene": "COc1ccc(-c2sc3cc(O)ccc3c2Oc2ccc(OCC[NH+]3CCCCC3)cc2)cc1",
    "ospemifene": "OCCOc1ccc(/C(=C(/CCCl)c2ccccc2)c2ccccc2)cc1",
    "ICI-164384": "CCCCN(C)C(=O)CCCCCCCCCC[C@@H]1Cc2cc(O)ccc2[C@H]2CC[C@]3(C)[C@@H](O)CC[C@H]3[C@H]12",
}
LIGANDS = {name: Ligand(name, smiles, f"KEY-{name}", 0, "SERM") for name, smiles in SMILES.items()}
VARIANTS = ("WT", "Y537S", "D538G", "L536H")


def truth(variant: str, ligand: str) -> tuple[float, float]:
    """A made-up law that a chemist could believe: size and lipophilicity bind, mutations cost, less for L536H."""
    mol = Chem.MolFromSmiles(SMILES[ligand])
    cost = {"WT": 0.0, "Y537S": 6.0, "D538G": 4.0, "L536H": 1.0, "E380Q": 2.0}[variant]
    binding = -0.9 * mol.GetNumHeavyAtoms() - 1.5 * Crippen.MolLogP(mol) - 0.05 * rdMolDescriptors.CalcTPSA(mol) + cost
    return binding, 11.0 + 0.3 * rdMolDescriptors.CalcNumRotatableBonds(mol) - 0.3 * cost


def replicas(names, variants=VARIANTS, noise=1.0, seed=0, signal=True, n_seeds=2) -> list[ReplicaObservation]:
    generator = np.random.default_rng(seed)
    made = []
    for number in range(1, n_seeds + 1):
        for variant in variants:
            for name in names:
                binding, helix12 = truth(variant, name) if signal else (-40.0, 12.0)
                summary = {
                    "binding_kcal": binding + generator.normal(0, noise),
                    "helix12_angstrom": helix12 + generator.normal(0, 0.3 * noise),
                }
                made.append(
                    ReplicaObservation(f"{variant}-{name}-{number}", variant, name, "antagonist", number, summary)
                )
            apo = {"helix12_angstrom": -12.0 + generator.normal(0, 0.3 * noise)}
            made.append(ReplicaObservation(f"{variant}-apo-{number}", variant, "apo", "agonist", number, apo))
    return made


def rank(observations, failures=()) -> Ranking:
    return rank_screen(
        screen="test",
        protocol="quick",
        platform="CPU",
        versions={},
        reference_ligand="4-hydroxytamoxifen",
        observations=observations,
        failures=failures,
        ligands=LIGANDS,
        created="2025-01-01T00:00:00+00:00",
    )


@pytest.fixture(scope="module")
def screen(tmp_path_factory):
    """Trained on ten ligands in four variants (88 replicas); four ligands are kept back."""
    names = list(SMILES)[:10]
    folder = tmp_path_factory.mktemp("surrogate")
    surrogate, limits = train(replicas(names), LIGANDS, folder, seed=1)
    return surrogate, limits, folder


def test_learns_a_signal_better_than_the_mean(screen):
    surrogate, limits, _ = screen
    binding = surrogate.card.errors["binding"]
    assert binding.rmse < 0.7 * binding.mean_rmse
    assert binding.n_ligands == 10
    assert len(limits) == 1 or all("binding" not in sentence for sentence in limits[1:])


def test_intervals_hold_ligands_that_were_kept_back(screen):
    surrogate = screen[0]
    kept = list(SMILES)[10:]
    cells = [(v, n, "antagonist") for v in VARIANTS for n in kept]
    held = []
    for cell in predict(surrogate, cells, LIGANDS):
        binding, helix12 = truth(cell.variant, cell.ligand)
        held += [cell.binding.low <= binding <= cell.binding.high, cell.helix12.low <= helix12 <= cell.helix12.high]
        assert cell.origin == cell.binding.origin == "predicted" and cell.n_replicas == cell.binding.n_replicas == 0
        assert 0.1 < cell.metrics["tanimoto_to_training"].value < 1
    assert np.mean(held) >= 0.85


def test_knows_that_mutations_cost_binding(screen):
    predicted = {c.variant: c.binding.value for c in predict(
        screen[0], [(v, "bazedoxifene", "antagonist") for v in VARIANTS], LIGANDS)}  # fmt: skip
    assert predicted["Y537S"] > predicted["L536H"]
    assert predicted["Y537S"] - predicted["WT"] == pytest.approx(6.0, abs=3.0)


def test_unseen_variant_widens_the_interval(screen):
    known, unseen = predict(
        screen[0], [("Y537S", "bazedoxifene", "antagonist"), ("E380Q", "bazedoxifene", "antagonist")], LIGANDS
    )
    assert unseen.binding.high - unseen.binding.low > known.binding.high - known.binding.low


def test_states_and_scores_that_were_never_measured_are_not_invented(screen):
    apo, bound = predict(screen[0], [("Y537S", "apo", "agonist"), ("Y537S", "tamoxifen", "agonist")], LIGANDS)
    assert apo.binding is None and apo.helix12.value == pytest.approx(-12.0, abs=1.5)
    assert bound.binding is None
    with pytest.raises(ValueError, match="not on displaced"):
        predict(screen[0], [("WT", "tamoxifen", "displaced")], LIGANDS)


def test_same_seed_same_model_whatever_the_order_and_another_seed_another(screen, tmp_path):
    made = replicas(list(SMILES)[:4], variants=("WT", "Y537S"))
    cells = [("Y537S", "bazedoxifene", "antagonist")]
    one, _ = train(made, LIGANDS, tmp_path / "one", seed=3)
    two, _ = train(made[::-1], LIGANDS, tmp_path / "two", seed=3)
    three, _ = train(made, LIGANDS, tmp_path / "three", seed=4)
    assert predict(one, cells, LIGANDS) == predict(two, cells, LIGANDS) != predict(three, cells, LIGANDS)
    assert (tmp_path / "one/model.safetensors").read_bytes() == (tmp_path / "two/model.safetensors").read_bytes()
    assert torch.get_num_threads() >= 1


def test_saved_model_predicts_the_same(screen):
    surrogate, _, folder = screen
    cells = [("WT", "arzoxifene", "antagonist"), ("E380Q", "apo", "agonist")]
    assert predict(load(folder), cells, LIGANDS) == predict(surrogate, cells, LIGANDS)
    assert load(folder).card == surrogate.card
    card = (folder / "card.md").read_text()
    assert f"{surrogate.card.errors['binding'].rmse:.2f}" in card and "ospemifene" not in card


def test_without_a_signal_card_and_limits_say_it_is_no_better_than_the_mean(tmp_path):
    surrogate, limits = train(replicas(list(SMILES)[:6], noise=4.0, signal=False), LIGANDS, tmp_path, seed=0)
    error = surrogate.card.errors["binding"]
    assert error.rmse >= error.mean_rmse
    assert any("binding the surrogate is no better" in sentence for sentence in limits)
    assert "| no |" in (tmp_path / "card.md").read_text()
    assert limits == limits_of(surrogate.card)


def test_too_few_replicas_or_ligands_give_a_reason_and_no_model(tmp_path):
    surrogate, limits = train(replicas(list(SMILES)[:2]), LIGANDS, tmp_path / "two")
    assert surrogate is None and "of 2." in limits[0]
    surrogate, limits = train(replicas(list(SMILES)[:3], variants=("WT",), n_seeds=1), LIGANDS, tmp_path / "few")
    assert surrogate is None and limits[0].startswith("No predictions: the surrogate needs at least 6")
    assert not (tmp_path / "two").exists()


def test_unknown_ligand_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no structure given for toremifene"):
        train(replicas(list(SMILES)[:6]), {n: v for n, v in LIGANDS.items() if n != "toremifene"}, tmp_path)


def test_ranking_gets_the_missing_cells_and_only_those(tmp_path):
    names = list(SMILES)[:5]
    gone = ("Y537S", "raloxifene", "antagonist")
    unfit = ("Y537S", "fulvestrant", "antagonist")
    made = [o for o in replicas(names, variants=("WT", "Y537S")) if o.cell != gone]
    failures = [Failure(variant=c[0], ligand=c[1], state=c[2], seed=1, stage="pose", cause="x", kind=kind)
                for c, kind in ((gone, "error"), (unfit, "outcome"))]  # fmt: skip
    before = rank(made, failures)
    after = add_predictions(
        before, made, LIGANDS, Path(tmp_path), reference_ligand="4-hydroxytamoxifen", planned=[gone]
    )
    predicted = [(c.variant, c.ligand, c.state) for c in after.predictions]
    assert gone in predicted and unfit not in predicted
    assert len(predicted) == len(set(predicted)) == 2 * len(SMILES) - 9 - 1
    assert not set(predicted) & {(c.variant, c.ligand, c.state) for c in before.cells if c.n_replicas}
    assert (after.ranking, after.cells) == (before.ranking, before.cells)
    relative = after.predictions[0].binding_relative
    assert relative.high - relative.low > after.predictions[0].binding.high - after.predictions[0].binding.low
    assert any("surrogate trained on" in sentence for sentence in after.limits)
    assert Ranking.model_validate_json(after.model_dump_json()) == after


def test_ranking_of_too_little_data_says_why_there_are_no_predictions(tmp_path):
    made = replicas(list(SMILES)[:2])
    after = add_predictions(rank(made), made, LIGANDS, tmp_path)
    assert after.predictions == () and after.limits[-1].startswith("No predictions")


# -- features ----------------------------------------------------------------------------------------------


def test_wild_type_is_zero_and_mutations_are_told_apart_by_place_and_kind():
    assert not variant_features("WT").any()
    named = {v: dict(zip(VARIANT_FEATURES, variant_features(v), strict=True)) for v in ("Y537S", "D538G", "S463P")}
    assert named["Y537S"]["h12_agonist_mutated"] == pytest.approx(1.0)
    assert named["Y537S"]["h12_agonist_volume"] == pytest.approx((89.0 - 193.6) / 100)
    assert named["D538G"]["h12_antagonist_charge"] == pytest.approx(1.0)
    assert named["S463P"]["h12_agonist_mutated"] < 0.2
    double = variant_features("Y537S+D538G")
    assert double == pytest.approx(variant_features("Y537S") + variant_features("D538G"))
    deletion = dict(zip(VARIANT_FEATURES, variant_features("V422del"), strict=True))
    assert deletion["deletions"] == 1 and deletion["pocket_volume"] < 0


def test_distances_agree_with_the_known_places():
    assert distances(351)[0] == 0 and distances(537)[1] == distances(537)[2] == 0
    assert distances(463)[0] > 15


def test_pocket_is_what_touches_tamoxifen_in_3ert(shared_data):
    gemmi = pytest.importorskip("gemmi")
    chain = gemmi.read_structure(str(shared_data / "pdb/3ERT.pdb"))[0]["A"]
    drug = [atom.pos for residue in chain if residue.name == "OHT" for atom in residue]
    near = {
        residue.seqid.num
        for residue in chain
        if residue.name not in ("OHT", "HOH") and min(a.pos.dist(p) for a in residue for p in drug) <= 4.5
    }
    assert near == set(POCKET)


def test_ligand_features_have_the_stated_shape_and_see_the_charge():
    features = ligand_features(LIGANDS["GW7604"])
    assert features.shape == (FINGERPRINT_BITS + len(DESCRIPTORS),)
    named = dict(zip(DESCRIPTORS, features[FINGERPRINT_BITS:], strict=True))
    assert (named["formal_charge"], named["carboxylates"], named["cationic_nitrogens"]) == (-1, 1, 0)
    assert np.isnan(ligand_features(None)).all()
    with pytest.raises(ValueError, match="cannot read the SMILES 'C1CC'"):
        ligand_features(dataclasses.replace(LIGANDS["GW7604"], smiles="C1CC"))


def test_similarity_is_one_to_itself_and_small_to_another_scaffold():
    others = [LIGANDS["tamoxifen"], LIGANDS["raloxifene"]]
    assert tanimoto(LIGANDS["tamoxifen"], others) == 1.0
    assert tanimoto(LIGANDS["fulvestrant"], others) < 0.5
    assert tanimoto(LIGANDS["fulvestrant"], []) == 0.0
