"""Kernel regression, message passing, training, calibration: each against what is known of it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from chemprop.featurizers.molgraph.molecule import CuikmolmakerMolGraphFeaturizer
from chemprop.nn import BondMessagePassing
from rdkit import Chem, DataStructs
from rdkit.Chem import Crippen, rdFingerprintGenerator
from scipy import stats

from esr1md.surrogate.affinity_training import Settings, censored_loss, expected_values, train_affinity
from esr1md.surrogate.calibration import calibrate
from esr1md.surrogate.data import Affinities, scaffold_folds, scaffold_of
from esr1md.surrogate.encoder import Graphs, message_passing
from esr1md.surrogate.evaluation import evaluate_predictions
from esr1md.surrogate.kernel import BITS, MOST, RADIUS, KernelRegression, left_out, morgan_counts, tanimoto
from esr1md.surrogate.surrogate import load_surrogate

SMILES = [
    "Oc1ccc(C2CCCCC2)cc1", "CC/C(=C(/c1ccc(O)cc1)c1ccc(OCCN(C)C)cc1)c1ccccc1", "CCCCCCCCCCCCO", "c1ccncc1",
    "C[C@]12CC[C@H]3c4ccc(O)cc4CC[C@H]3[C@@H]1CC[C@@H]2O", "CC(=O)Nc1ccc(O)cc1", "O=C(O)/C=C/c1ccccc1", "C",
]  # fmt: skip
RINGS = ("c1ccccc1", "c1ccncc1", "C1CCCCC1", "c1ccsc1", "c1ccc2ccccc2c1", "C1CCNCC1", "c1ccoc1", "C1CCOCC1",
         "c1cnccn1", "c1ccc2[nH]ccc2c1", "C1CCCC1", "c1ccc2occc2c1")  # fmt: skip


def molecules(smiles) -> list[Chem.Mol]:
    return [Chem.MolFromSmiles(each) for each in smiles]


def made_up(seed: int = 0, noise: float = 0.2) -> Affinities:
    """120 compounds of twelve scaffolds whose affinity follows lipophilicity and a phenol."""
    chains = ("C", "CC", "CCC", "OC", "NCC", "OCC", "FC", "ClC", "CCCC", "Oc1ccc(cc1)")
    smiles = sorted({Chem.CanonSmiles(f"{chain}{ring}") for ring in RINGS for chain in chains})
    generator = np.random.default_rng(seed)
    values = [5 + 0.6 * Crippen.MolLogP(m) + 1.5 * m.HasSubstructMatch(Chem.MolFromSmarts("[OH]c"))
              for m in molecules(smiles)]  # fmt: skip
    n = len(smiles)
    measured = np.array(values) + generator.normal(0, noise, n)
    return Affinities(tuple(smiles), tuple(f"KEY{i}" for i in range(n)), measured, np.ones(n), np.zeros(n, int), {})


QUICK = Settings(width=16, epochs=4, patience=2)


@pytest.fixture(scope="module")
def trained():
    return train_affinity(made_up(), settings=QUICK)


# -- kernel ------------------------------------------------------------------------------------------------


def test_similarity_is_rdkits_tanimoto_of_counts():
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=RADIUS, fpSize=BITS)
    prints = [generator.GetCountFingerprint(mol) for mol in molecules(SMILES)]
    counts = morgan_counts(molecules(SMILES))
    assert counts.shape == (len(SMILES), BITS) and counts.max() <= MOST
    expected = [[DataStructs.TanimotoSimilarity(a, b) for b in prints] for a in prints]
    assert tanimoto(counts, counts) == pytest.approx(np.array(expected), abs=1e-6)


def test_compounds_unknown_to_the_training_set_still_count_in_the_union():
    known, asked = morgan_counts(molecules(["CCO"])), morgan_counts(molecules(["CCOc1ccccc1", "[Xe]"]))
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=RADIUS, fpSize=BITS)
    first, second = (generator.GetCountFingerprint(Chem.MolFromSmiles(s)) for s in ("CCO", "CCOc1ccccc1"))
    assert tanimoto(asked, known)[:, 0] == pytest.approx([DataStructs.TanimotoSimilarity(first, second), 0.0])


def test_regression_is_the_gaussian_process_of_the_textbook():
    data = made_up()
    counts = morgan_counts(molecules(data.smiles))
    kernel = tanimoto(counts, counts).astype(float)
    asked = morgan_counts(molecules(SMILES))
    weights = np.linspace(1, 3, len(data))
    model = KernelRegression.fit(counts, data.values, weights, noise=0.2)
    inverse = np.linalg.inv(kernel + np.diag(0.2 / weights))
    mean = np.average(data.values, weights=weights)
    across = tanimoto(asked, counts)
    value, sd = model.posterior(asked)
    assert value == pytest.approx(mean + across @ inverse @ (data.values - mean), abs=1e-5)
    assert model.predict(asked) == pytest.approx(value)
    variance = 1 - np.einsum("mn,nk,mk->m", across, inverse, across)
    assert sd == pytest.approx(data.values.std() * np.sqrt(variance), abs=1e-5)
    assert sd[SMILES.index("C")] > sd[0]  # methane is like nothing known


def test_a_left_out_fold_has_no_part_in_its_own_prediction():
    data = made_up()
    counts = morgan_counts(molecules(data.smiles))
    kernel, folds = tanimoto(counts, counts).astype(float), scaffold_folds(data.smiles, 5, 0)
    said, apart = left_out(kernel, data.values, data.weights, folds, 0.1)
    changed = np.where(folds == 2, data.values + 100, data.values)
    again, _ = left_out(kernel, changed, data.weights, folds, 0.1)
    assert again[folds == 2] == pytest.approx(said[folds == 2])
    assert (np.abs(again - said)[folds != 2] > 1).any()
    assert (apart[np.ix_(folds == 1, folds == 1)] == 0).all() and (apart[np.ix_(folds == 1, folds == 2)] > 0).any()


def test_regression_refuses_nothing_and_no_noise():
    with pytest.raises(ValueError, match="needs compounds"):
        KernelRegression.fit(morgan_counts([]), np.zeros(0))
    with pytest.raises(ValueError, match="noise above 0"):
        KernelRegression.fit(morgan_counts(molecules(["CC"])), np.zeros(1), noise=0.0)


# -- message passing ---------------------------------------------------------------------------------------


def test_message_passing_is_chemprops_with_the_same_weights():
    ours = message_passing(32).eval()
    theirs = BondMessagePassing(d_v=ours.W_o.in_features - 32, d_e=ours.W_i.in_features - ours.W_o.in_features + 32,
                                d_h=32, depth=3).eval()  # fmt: skip
    theirs.load_state_dict(ours.state_dict())
    graphs = CuikmolmakerMolGraphFeaturizer()(SMILES)
    with torch.inference_mode():
        atoms = theirs(graphs)
        expected = torch.zeros(len(SMILES), 32).index_add_(0, graphs.batch, atoms) / 25
        assert torch.allclose(ours(graphs), expected, atol=1e-6)


def test_a_batch_is_the_graphs_it_was_cut_from():
    rows = np.array([4, 1, 7, 1])
    cut, direct = Graphs(SMILES).batch(rows), CuikmolmakerMolGraphFeaturizer()([SMILES[i] for i in rows])
    for name in ("V", "E", "edge_index", "rev_edge_index", "batch"):
        assert torch.equal(getattr(cut, name), getattr(direct, name)), name
    again = Graphs(SMILES).taken(rows).batch(np.array([0, 2]))
    assert torch.equal(again.V, CuikmolmakerMolGraphFeaturizer()([SMILES[4], SMILES[7]]).V)


# -- likelihood, bounds, intervals -------------------------------------------------------------------------


def test_loss_is_the_normal_density_and_its_tails():
    error, sd = torch.tensor([0.5, 0.5, 0.5]), torch.tensor([2.0, 2.0, 2.0])
    loss = censored_loss(error, sd, torch.tensor([0, 1, -1]))
    normal = stats.norm(0, 2)
    # at least 0.5 above the prediction: the tail beyond; at most: the rest
    assert loss.tolist() == pytest.approx([-normal.logpdf(0.5), -normal.logsf(0.5), -normal.logcdf(0.5)], abs=1e-5)


def test_a_bound_is_replaced_by_what_lies_beyond_it():
    data = made_up(noise=0.0)
    counts = morgan_counts(molecules(data.smiles))
    kernel, folds = tanimoto(counts, counts).astype(float), scaffold_folds(data.smiles, 5, 0)
    bounds = np.zeros(len(data), int)
    bounds[:10], bounds[10:20] = 1, -1
    values = data.values.copy()
    values[:10] -= 2.0  # a lower bound far below
    values[10:20] -= 2.0  # an upper bound that contradicts the analogues
    found = expected_values(kernel, dataclasses.replace(data, values=values, bounds=bounds), folds)
    assert (found[:10] > values[:10] + 0.5).all()
    assert (found[10:20] <= values[10:20]).all()
    assert np.array_equal(found[20:], values[20:])


def test_intervals_cover_what_they_promise_whatever_the_spread_was_said_to_be():
    generator = np.random.default_rng(0)
    sd = generator.uniform(0.5, 2.0, 4000)
    errors = 3 * sd * generator.standard_t(4, 4000)  # heavy tails, three times as wide as said
    similarity = generator.uniform(0, 1, 4000)
    errors[similarity < 0.3] *= 2  # and wider still far from the training set
    found = calibrate(errors[:2000], sd[:2000], similarity[:2000])
    for level in (0.5, 0.9, 0.95):
        low, high = found.interval(np.zeros(2000), sd[2000:], similarity[2000:], level)
        held = (low <= errors[2000:]) & (errors[2000:] <= high)
        assert held.mean() == pytest.approx(level, abs=0.03)
        assert held[similarity[2000:] < 0.3].mean() == pytest.approx(level, abs=0.06)
    few = calibrate(errors[:8], sd[:8], similarity[:8])
    assert few.factors[0.95] == (np.inf,)  # eight residuals say nothing of one in twenty
    with pytest.raises(ValueError, match="above 0"):
        calibrate(np.ones(3), np.zeros(3), np.ones(3))


def test_figures_are_those_of_their_definitions():
    measured = np.array([1.0, 2.0, 3.0, 4.0])
    said = np.array([1.5, 2.0, 2.0, 5.0])
    found = evaluate_predictions(measured, said, np.full(4, 2.0), said - 0.6, said + 0.6)
    assert (found["mae"], found["rmse"]) == (pytest.approx(0.625), pytest.approx(0.75))
    assert found["coverage"] == 0.5 and found["width"] == pytest.approx(1.2)
    assert found["spearman"] == pytest.approx(stats.spearmanr(measured, said).statistic)
    assert found["nll"] == pytest.approx(-stats.norm.logpdf(measured, said, 2.0).mean())
    assert np.isnan(evaluate_predictions(measured, np.ones(4), said, said, said)["spearman"])


# -- training ----------------------------------------------------------------------------------------------


def test_learns_and_says_what_it_is_worth(trained):
    data = made_up()
    said = trained.predict_smiles(data.smiles)
    assert np.corrcoef(said.value, data.values)[0, 1] > 0.8
    assert (said.low < said.value).all() and (said.value < said.high).all() and (said.sd > 0).all()
    assert said.similarity == pytest.approx(1.0, abs=1e-6) and (said.nearest == np.arange(len(data))).all()
    held = trained.held_out
    assert 0.3 < held["n"] / len(data) < 0.7 and held["rmse"] < data.values.std()
    assert held["coverage"] == pytest.approx(0.9, abs=0.06)


def test_far_compounds_are_outside_the_domain_and_less_certain(trained):
    near, far = trained.predict_smiles(["CCCc1ccccc1", "OB(O)C#CC#CS(=O)(=O)P"]).in_domain
    assert near and not far


def test_same_seed_same_model_another_seed_another(trained):
    data = made_up()
    again = train_affinity(data, settings=QUICK).predict_smiles(SMILES)
    assert np.array_equal(again.value, trained.predict_smiles(SMILES).value)
    assert not np.array_equal(train_affinity(data, settings=QUICK, seed=1).predict_smiles(SMILES).value, again.value)


def test_goes_on_after_a_kill_with_the_members_that_are_left(trained, tmp_path):
    class Killed(Exception):
        pass

    def report(text: str) -> None:
        if text.startswith("member 4"):
            raise Killed

    with pytest.raises(Killed):
        train_affinity(made_up(), settings=QUICK, folder=tmp_path, report=report)
    assert len(list(tmp_path.glob("member-*.safetensors"))) == 3
    next(tmp_path.glob("member-2-*")).write_bytes(b"torn")
    said: list[str] = []
    resumed = train_affinity(made_up(), settings=QUICK, folder=tmp_path, report=said.append)
    assert {text.split(":")[0] for text in said if text.startswith("member")} == {
        "member 2 of 5", "member 4 of 5", "member 5 of 5"}  # fmt: skip
    assert np.array_equal(resumed.predict_smiles(SMILES).value, trained.predict_smiles(SMILES).value)
    # other data begin anew
    said.clear()
    train_affinity(made_up(seed=3), settings=QUICK, folder=tmp_path, report=said.append)
    assert any(text.startswith("member 1") for text in said)


def test_folds_keep_scaffolds_together_and_a_congeneric_series_apart():
    data = made_up()
    folds = scaffold_folds(data.smiles, 5, 0)
    for scaffold in {scaffold_of(s) for s in data.smiles}:
        assert len({f for f, s in zip(folds, data.smiles, strict=True) if scaffold_of(s) == scaffold}) == 1
    assert np.ptp(np.bincount(folds)) < len(data) / 4
    series = [s for s in data.smiles if scaffold_of(s) == "c1ccccc1"]
    assert set(scaffold_folds(series, 5, 0)) == set(range(5))
    few = train_affinity(dataclasses.replace(data.take(np.arange(len(data)) < 60)), settings=QUICK)
    assert np.isfinite(few.predict_smiles(SMILES).value).all()


def test_the_shipped_model_knows_the_drugs_from_their_fragments():
    said = load_surrogate().affinity.predict_smiles(
        ["CC/C(=C(/c1ccc(O)cc1)c1ccc(OCCN(C)C)cc1)c1ccccc1", "C[C@]12CC[C@H]3c4ccc(O)cc4CC[C@H]3[C@@H]1CC[C@@H]2O",
         "CC(C)Cc1ccc(cc1)C(C)C(=O)O", "Cn1cnc2c1c(=O)n(C)c(=O)n2C"]
    )  # fmt: skip
    hydroxytamoxifen, estradiol, ibuprofen, caffeine = said.value
    assert min(hydroxytamoxifen, estradiol) > 8 and max(ibuprofen, caffeine) < 6.5
