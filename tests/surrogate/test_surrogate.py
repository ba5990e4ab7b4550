"""The surrogate learns a signal that is there, admits one that is not, and never changes with the same seed."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from rdkit import Chem
from rdkit.Chem import Crippen, rdMolDescriptors

from esr1md.errors import InputError
from esr1md.scoring.cells import ReplicaObservation
from esr1md.scoring.ranking import rank_screen
from esr1md.scoring.scores import Failure, Ranking
from esr1md.specs import Ligand
from esr1md.surrogate.card import limits_of
from esr1md.surrogate.cells import apo_changes, cell_table
from esr1md.surrogate.features import (
    DESCRIPTORS,
    POCKET,
    VARIANT_FEATURES,
    distances,
    ligand_features,
    n_ligand_features,
    variant_features,
)
from esr1md.surrogate.prediction import add_predictions, predict
from esr1md.surrogate.standard import standard_smiles
from esr1md.surrogate.surrogate import load_surrogate
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
def base():
    return load_surrogate()


@pytest.fixture(scope="module")
def screen(tmp_path_factory, base):
    """Trained on ten ligands in four variants (88 replicas); four ligands are kept back."""
    names = list(SMILES)[:10]
    folder = tmp_path_factory.mktemp("surrogate")
    surrogate, limits = train(replicas(names), LIGANDS, folder, seed=1, base=base, protocol="quick", screens=["test"])
    return surrogate, limits, folder


def test_learns_a_signal_better_than_the_mean(screen):
    surrogate, limits, _ = screen
    binding = surrogate.simulation.skill("binding", "ligand")
    assert binding.rmse < 0.9 * binding.plain_rmse and binding.skilled
    assert binding.n == 10
    assert not any("No skill for binding on" in sentence for sentence in limits)


def test_knows_what_a_mutation_costs_ligands_it_has_not_seen(screen):
    shift = screen[0].simulation.skill("binding_shift", "ligand")
    assert shift.skilled and shift.rmse < 0.5 * shift.plain_rmse  # replicas alone scatter by 1.0
    predicted = {c.variant: c.binding.value for c in predict(
        screen[0], [(v, "bazedoxifene", "antagonist") for v in VARIANTS], LIGANDS)}  # fmt: skip
    assert predicted["Y537S"] - predicted["WT"] == pytest.approx(6.0, abs=1.5)
    assert predicted["L536H"] - predicted["WT"] == pytest.approx(1.0, abs=1.5)


def test_a_simulated_wild_type_is_what_a_mutant_is_predicted_from(screen, base):
    made = [o for o in replicas(list(SMILES)[:10]) if o.cell != ("Y537S", "raloxifene", "antagonist")]
    surrogate, _ = train(made, LIGANDS, screen[2].parent / "gap", base=base)
    (cell,) = predict(surrogate, [("Y537S", "raloxifene", "antagonist")], LIGANDS)
    assert cell.binding.value == pytest.approx(truth("Y537S", "raloxifene")[0], abs=2.0)
    assert cell.binding.low < truth("Y537S", "raloxifene")[0] < cell.binding.high


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


def test_unseen_variant_is_guessed_with_a_wide_interval_or_the_wild_types_value(screen):
    known, unseen, wild = predict(
        screen[0], [(v, "bazedoxifene", "antagonist") for v in ("Y537S", "E380Q", "WT")], LIGANDS
    )
    assert unseen.binding.high - unseen.binding.low > known.binding.high - known.binding.low
    skill = screen[0].simulation.skill("binding_shift", "variant")
    assert skill.n == 3
    if not skill.skilled:
        assert unseen.binding.value == pytest.approx(wild.binding.value) and "no skill" in unseen.notes


def test_never_worse_than_the_wild_types_value_on_variants_without_a_pattern(tmp_path, base):
    # every ligand answers every mutation at random: nothing can be learned, and that is what must be said
    generator = np.random.default_rng(5)
    chance = {(v, n): generator.normal(0, 4) for v in VARIANTS[1:] for n in SMILES}
    made = [
        dataclasses.replace(o, summary={**o.summary, "binding_kcal": o.summary["binding_kcal"] + chance[place]})
        if (place := (o.variant, o.ligand)) in chance else o
        for o in replicas(list(SMILES)[:8], signal=False, noise=0.5)
    ]  # fmt: skip
    surrogate, limits = train(made, LIGANDS, tmp_path, base=base)
    for left_out in ("ligand", "variant"):
        assert not surrogate.simulation.skill("binding_shift", left_out).skilled
    assert any("No skill for the change of binding by a mutation on unseen variants" in said for said in limits)
    wild, mutant = predict(surrogate, [(v, "arzoxifene", "antagonist") for v in ("WT", "E380Q")], LIGANDS)
    assert mutant.binding.value == wild.binding.value
    assert mutant.binding.high - mutant.binding.low > wild.binding.high - wild.binding.low


def test_states_and_scores_that_were_never_measured_are_not_invented(screen):
    apo, bound = predict(screen[0], [("Y537S", "apo", "agonist"), ("Y537S", "tamoxifen", "agonist")], LIGANDS)
    assert apo.binding is None and apo.helix12.value == pytest.approx(-12.0, abs=1.5)
    assert bound.binding is None
    with pytest.raises(ValueError, match="not on displaced"):
        predict(screen[0], [("WT", "tamoxifen", "displaced")], LIGANDS)


def test_same_seed_same_model_whatever_the_order_and_another_seed_another(tmp_path, base):
    made = replicas(list(SMILES)[:4], variants=("WT", "Y537S"))
    cells = [("Y537S", "bazedoxifene", "antagonist")]
    one, _ = train(made, LIGANDS, tmp_path / "one", seed=3, base=base)
    two, _ = train(made[::-1], LIGANDS, tmp_path / "two", seed=3, base=base)
    three, _ = train(made, LIGANDS, tmp_path / "three", seed=4, base=base)
    assert predict(one, cells, LIGANDS) == predict(two, cells, LIGANDS)
    assert (tmp_path / "one/simulation.safetensors").read_bytes() == (
        tmp_path / "two/simulation.safetensors"
    ).read_bytes()
    assert one.digest == two.digest != three.digest
    assert torch.get_num_threads() >= 1


def test_saved_model_predicts_the_same(screen):
    surrogate, _, folder = screen
    cells = [("WT", "arzoxifene", "antagonist"), ("E380Q", "apo", "agonist")]
    assert predict(load_surrogate(folder), cells, LIGANDS) == predict(surrogate, cells, LIGANDS)
    card = (folder / "card.md").read_text()
    assert f"{surrogate.simulation.skill('binding', 'ligand').rmse:.2f}" in card and "ospemifene" not in card


def test_without_a_signal_card_and_limits_say_that_the_plain_guess_stands_in(tmp_path, base):
    surrogate, limits = train(replicas(list(SMILES)[:6], noise=4.0, signal=False), LIGANDS, tmp_path, seed=0, base=base)
    assert not surrogate.simulation.skill("binding", "ligand").skilled
    assert any(said.startswith("No skill for binding on unseen ligands") for said in limits)
    assert "| no |" in (tmp_path / "card.md").read_text()
    assert limits == limits_of(surrogate.card)
    one, two = predict(surrogate, [("WT", n, "antagonist") for n in ("arzoxifene", "bazedoxifene")], LIGANDS)
    assert one.binding.value == two.binding.value and "no skill for binding" in one.notes


def test_too_few_replicas_or_ligands_give_a_reason_and_no_model(tmp_path, base):
    surrogate, limits = train(replicas(list(SMILES)[:2]), LIGANDS, tmp_path / "two", base=base)
    assert surrogate is None and "of 2." in limits[0]
    surrogate, limits = train(
        replicas(list(SMILES)[:3], variants=("WT",), n_seeds=1), LIGANDS, tmp_path / "few", base=base
    )
    assert surrogate is None and limits[0].startswith("No predictions: the surrogate needs at least 6")
    surrogate, limits = train(replicas(list(SMILES)[:4], variants=("Y537S",)), LIGANDS, tmp_path / "mutant", base=base)
    assert surrogate is None and "no ligand was simulated in the wild type" in limits[0]
    assert not (tmp_path / "two").exists()


def test_unknown_ligand_is_refused(tmp_path, base):
    with pytest.raises(ValueError, match="no structure given for toremifene"):
        train(replicas(list(SMILES)[:6]), {n: v for n, v in LIGANDS.items() if n != "toremifene"}, tmp_path, base=base)


def test_a_library_gets_a_column_for_each_score_and_variant(screen):
    surrogate = screen[0]
    names = [column.name for column in surrogate.columns(["p.Tyr537Ser", "WT"], "antagonist")]
    assert names[:7] == ["pchembl", "pchembl_low", "pchembl_high", "pchembl_sd", "similarity", "nearest", "in_domain"]
    assert {"binding_WT_kcal", "binding_Y537S_kcal_low", "helix12_Y537S_angstrom_high"} < set(names)
    parents = [standard_smiles("x", SMILES[n])[0] for n in ("arzoxifene", "GW7604")]
    table = surrogate.table(parents, ["Y537S", "WT"])
    assert set(table) == set(names) and all(len(values) == 2 for values in table.values())
    assert table["binding_Y537S_kcal"] - table["binding_WT_kcal"] == pytest.approx([6.0, 6.0], abs=2.0)
    cells = predict(surrogate, [("Y537S", "arzoxifene", "antagonist")], LIGANDS)
    assert table["binding_Y537S_kcal"][0] == pytest.approx(cells[0].binding.value)
    assert {name: len(values) for name, values in surrogate.table([], ["WT"]).items()}["binding_WT_kcal"] == 0
    assert "simulation scores" in surrogate.statement and "not of measurements" in surrogate.statement


def test_what_a_surrogate_was_not_trained_on_is_refused(screen, base):
    assert "nothing of mutants" in base.statement
    with pytest.raises(InputError, match="knows nothing of Y537S"):
        base.columns(["Y537S"])
    with pytest.raises(InputError, match="nothing was simulated in the state 'displaced'"):
        screen[0].columns(["Y537S"], "displaced")
    with pytest.raises(InputError, match="Y538S"):
        screen[0].columns(["Y538S"])


def test_ranking_gets_the_missing_cells_and_only_those(tmp_path, base):
    names = list(SMILES)[:5]
    gone = ("Y537S", "raloxifene", "antagonist")
    unfit = ("Y537S", "fulvestrant", "antagonist")
    made = [o for o in replicas(names, variants=("WT", "Y537S")) if o.cell != gone]
    failures = [Failure(variant=c[0], ligand=c[1], state=c[2], seed=1, stage="pose", cause="x", kind=kind)
                for c, kind in ((gone, "error"), (unfit, "outcome"))]  # fmt: skip
    before = rank(made, failures)
    after = add_predictions(
        before, made, LIGANDS, Path(tmp_path), reference_ligand="4-hydroxytamoxifen", planned=[gone], base=base
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
    assert not variant_features("WT").any() and not variant_features("WT", (1.0, 2.0, 3.0)).any()
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


def test_ligand_features_have_the_stated_shape_and_see_the_charge(base):
    features = ligand_features(LIGANDS["GW7604"], base.affinity)
    assert features.shape == (n_ligand_features(base.affinity),)
    named = dict(zip(DESCRIPTORS, features[-len(DESCRIPTORS) :], strict=True))
    assert (named["carboxylic_acids"], named["basic_nitrogens"]) == (1, 0)
    amines = [ligand_features(LIGANDS[n], base.affinity)[-2] for n in ("raloxifene", "bazedoxifene", "ICI-164384")]
    assert amines == [1, 1, 0]  # no indole, no amide
    assert np.isnan(ligand_features(None, base.affinity)).all()
    with pytest.raises(InputError, match="cannot be parsed"):
        ligand_features(dataclasses.replace(LIGANDS["GW7604"], smiles="C1CC"), base.affinity)


def test_the_empty_receptors_metrics_are_the_mutants_less_the_wild_types():
    made = []
    for variant, helix12 in (("WT", -10.0), ("Y537S", -11.0), ("D538G", -9.0)):
        for seed in (1, 2):
            summary = {
                "helix12_angstrom": helix12 + 0.1 * seed,
                "h12_core_rmsf_ratio": 2.0,
                "latch_537_351_angstrom": 4.0,
            }
            made.append(ReplicaObservation(f"{variant}{seed}", variant, "apo", "agonist", seed, summary))
    incomplete = ReplicaObservation("x", "E380Q", "apo", "agonist", 1, {"helix12_angstrom": -3.0})
    assert apo_changes([*made, incomplete]) == {
        "D538G": pytest.approx((1.0, 0.0, 0.0)), "Y537S": pytest.approx((-1.0, 0.0, 0.0))}  # fmt: skip
    shown = dict(zip(VARIANT_FEATURES, variant_features("Y537S", (-1.0, 0.0, 0.0)), strict=True))
    assert shown["apo_helix12_angstrom"] == -1.0 and shown["apo_measured"] == 1.0
    assert not variant_features("Y537S")[-4:].any()


def test_targets_are_scores_of_the_wild_type_and_paired_shifts_with_their_errors(base):
    made = replicas(list(SMILES)[:3], variants=("WT", "Y537S"), noise=1.0, n_seeds=3)
    table = cell_table(made, LIGANDS, base.affinity)
    index = {key: i for i, key in enumerate(table.keys)}
    summary = {(o.variant, o.ligand, o.seed): o.summary["binding_kcal"] for o in made if o.ligand != "apo"}
    name = list(SMILES)[1]
    wild, mutant = (index[v, name, "antagonist"] for v in ("WT", "Y537S"))
    assert table.target[wild, 0] == pytest.approx(np.mean([summary["WT", name, s] for s in (1, 2, 3)]))
    assert table.target[mutant, 1] == pytest.approx(
        np.mean([summary["Y537S", name, s] - summary["WT", name, s] for s in (1, 2, 3)]))  # fmt: skip
    assert np.isnan(table.target[wild, 1]) and np.isnan(table.target[mutant, 0])
    assert table.error[wild, 0] == pytest.approx(1.0 / np.sqrt(3), rel=0.5)
    assert table.error[mutant, 1] == pytest.approx(table.error[wild, 0] * np.sqrt(2))
