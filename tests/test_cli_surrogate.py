"""``esr1md surrogate train``, ``evaluate`` and ``card``: from a table on disk to figures; bad input in a line."""

from __future__ import annotations

import json

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import Crippen

CHAINS = ("C", "CC", "CCC", "OC", "NCC", "OCC", "FC", "ClC", "CCCC", "CC(C)", "N#CC", "SC")
RINGS = ("c1ccccc1", "c1ccncc1", "C1CCCCC1", "c1ccsc1", "c1ccc2ccccc2c1", "C1CCNCC1", "c1ccoc1", "C1CCOCC1",
         "c1cnccn1", "c1ccc2[nH]ccc2c1", "C1CCCC1", "c1ccc2occc2c1")  # fmt: skip


def rows(seed: int) -> list[tuple[str, float]]:
    generator = np.random.default_rng(seed)
    smiles = [f"{chain}{ring}" for chain in CHAINS for ring in RINGS]
    lipophilic = [Crippen.MolLogP(Chem.MolFromSmiles(each)) for each in smiles]
    return [(s, round(5 + 0.8 * p + generator.normal(0, 0.2), 2)) for s, p in zip(smiles, lipophilic, strict=True)]


@pytest.fixture
def tables(tmp_path):
    made = rows(0)
    header = "smiles,pchembl_value\n"
    train, test = (made[i::2] for i in (0, 1))
    (tmp_path / "train.csv").write_text(header + "".join(f"{s},{v}\n" for s, v in train))
    shared = [*test[:30], train[0], ("CCCCCCO", ">6"), ("c1cc", 5.0)]
    (tmp_path / "test.csv").write_text(header + "".join(f"{s},{v}\n" for s, v in shared))
    return tmp_path


def test_evaluate_judges_on_what_training_did_not_see(run, tables):
    code, out, err = run("surrogate", "evaluate", "train.csv", "test.csv", "--model", "parts", "--predictions",
                         "said.csv", "--json")  # fmt: skip
    found = json.loads(out)
    assert (code, err) == (0, "")
    assert (found["figures"]["n"], found["already_in_training"], found["only_bounds"]) == (30, 1, 1)
    assert len(found["left_out"]) == 1 and "cannot be parsed" in found["left_out"][0]
    said = np.genfromtxt(tables / "said.csv", delimiter=",", names=True, dtype=None, encoding="utf-8")
    error = said["measured"] - said["pchembl"]
    assert found["figures"]["rmse"] == pytest.approx(float(np.sqrt((error**2).mean())))
    assert found["figures"]["rmse"] < said["measured"].std()
    # the members are kept, so the same again is quick and the same; and it reads as a table
    code, out, _ = run("surrogate", "evaluate", "train.csv", "test.csv", "--model", "parts")
    assert code == 0 and f"{found['figures']['spearman']:.2f}" in out and "1 also in the training table" in out


def test_train_writes_a_surrogate_with_its_card(run, tables):
    code, out, err = run("surrogate", "train", "train.csv", "--out", "mine", "--source", "made up", "--json")
    assert code == 0, err
    assert json.loads(out)["affinity"]["n_compounds"] == len((tables / "train.csv").read_text().splitlines()) - 1
    assert sorted(path.name for path in (tables / "mine").iterdir()) == ["affinity.safetensors", "card.json", "card.md"]
    code, out, _ = run("surrogate", "card", "--model", "mine")
    assert code == 0 and "made up" in out and "Nothing of mutants" in out


def test_the_shipped_card(run):
    code, out, _ = run("surrogate", "card", "--json")
    assert code == 0 and "wild-type" in json.loads(out)["statement"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["train", "--out", "o"], "nothing to train on"),
        (["train", "absent.csv", "--out", "o"], "cannot be read"),
        (["train", "one.csv", "--out", "o"], "too few to learn from"),
        (["train", "constant.csv", "--out", "o"], "all compounds have the affinity 7.00"),
        (["train", "train.csv", "--out", "o", "--value-column", "nix"], "no column 'nix'"),
        (["train", "--store", "nowhere", "--out", "o"], "no store at 'nowhere'"),
        (["train", "--store", "empty", "--out", "o"], "no screen has run"),
        (["train", "train.csv", "--base", "x", "--out", "o"], "one of them"),
        (["evaluate", "train.csv", "train.csv"], "no compound is left to judge"),
        (["evaluate", "train.csv", "absent.csv"], "cannot be read"),
        (["card", "--model", "nowhere"], "no card can be read"),
    ],
)
def test_bad_input_is_one_line_and_2(run, tables, arguments, says):
    (tables / "one.csv").write_text("smiles,pchembl_value\nCCO,5\n")
    same = "".join(f"{s},7\n" for s, _ in rows(0)[:80])
    (tables / "constant.csv").write_text(f"smiles,pchembl_value\n{same}")
    (tables / "empty").mkdir()
    code, out, err = run("surrogate", *arguments)
    assert code == 2 and out == "" and says in " ".join(err.split())
    assert "Traceback" not in err


def test_help_teaches(run):
    for command in ("train", "evaluate", "card", "screen", "propose", "explore"):
        code, out, _ = run("surrogate", command, "--help")
        assert code == 0 and f"esr1md surrogate {command}" in out and "--json" in out
