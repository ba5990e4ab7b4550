"""The affinity surrogate beside chemprop, a random forest and the nearest neighbour, on the same splits in one run.

    D=../shared/data/affinity/chembl_esr1_max_pchembl_labels.csv
    python tests/benchmarks/surrogate_affinity.py run --data $D --out affinity.jsonl
    python tests/benchmarks/surrogate_affinity.py table affinity.jsonl

A fifth of the compounds is the test set: whole Bemis-Murcko scaffolds drawn at random (``scaffold``), or single
compounds (``random``; the file's row order follows the label and is not used). Methods: ``ours``; ``kernel``, its
kernel regression alone; ``chemprop``, its command line with default settings (a tenth of the training set for its early
stopping); ``forest``, 200 trees on ECFP4 bits; ``neighbour``, the value of the most similar training compound. Where a
method gives no uncertainty, its standard deviation is that of its errors on a tenth of the training compounds
(chemprop: its validation set; forest: spread of the trees). Coverage and width are of 90 % intervals, pChEMBL. Rows are
written as they come and not computed twice.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")

import numpy as np
import pandas
from rdkit import Chem
from rdkit.Chem import rdFingerprintGenerator

from esr1md.surrogate.data import Affinities, read_affinities, scaffold_of
from esr1md.surrogate.evaluation import evaluate_predictions

METHODS = ("neighbour", "forest", "kernel", "chemprop", "ours")
#: Half-width of a 90 % interval of a normal distribution, in standard deviations.
NORMAL_90 = 1.6449


def test_rows(data: Affinities, split: str, seed: int, share: float = 0.2) -> np.ndarray:
    """Mask (n,) of the test compounds."""
    generator = np.random.default_rng(seed)
    out = np.zeros(len(data), bool)
    if split == "random":
        out[generator.permutation(len(data))[: int(share * len(data))]] = True
        return out
    groups: dict[str, list[int]] = {}
    for i, smiles in enumerate(data.smiles):
        groups.setdefault(scaffold_of(smiles), []).append(i)
    names = sorted(groups)
    generator.shuffle(names)
    for name in names:
        if out.sum() + len(groups[name]) <= share * len(data):
            out[groups[name]] = True
    return out


def bits(data: Affinities) -> np.ndarray:
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=2048)
    return np.array([generator.GetFingerprintAsNumPy(Chem.MolFromSmiles(smiles)) for smiles in data.smiles], np.float32)


def held_back(n: int, seed: int) -> np.ndarray:
    """A tenth of the training compounds, for the errors of methods that give none."""
    out = np.zeros(n, bool)
    out[np.random.default_rng(seed).permutation(n)[: n // 10]] = True
    return out


def neighbour(train: Affinities, test: Affinities, seed: int) -> tuple[np.ndarray, np.ndarray]:
    ours, theirs = bits(train), bits(test)

    def nearest(query: np.ndarray, known: np.ndarray) -> np.ndarray:
        shared = query @ known.T
        return (shared / (query.sum(1)[:, None] + known.sum(1)[None] - shared)).argmax(axis=1)

    back = held_back(len(train), seed)
    errors = train.values[back] - train.values[~back][nearest(ours[back], ours[~back])]
    return train.values[nearest(theirs, ours)], np.full(len(test), errors.std())


def forest(train: Affinities, test: Affinities, seed: int) -> tuple[np.ndarray, np.ndarray]:
    from sklearn.ensemble import RandomForestRegressor

    model = RandomForestRegressor(200, random_state=seed, n_jobs=1, max_features=1 / 3).fit(bits(train), train.values)
    trees = np.array([tree.predict(bits(test)) for tree in model.estimators_])
    return trees.mean(axis=0), np.maximum(trees.std(axis=0), 1e-3)


def kernel(train: Affinities, test: Affinities, seed: int) -> tuple[np.ndarray, np.ndarray]:
    from esr1md.surrogate.kernel import KernelRegression, morgan_counts

    known, asked = ([Chem.MolFromSmiles(s) for s in data.smiles] for data in (train, test))
    model = KernelRegression.fit(morgan_counts(known), train.values, train.weights)
    mean, sd = model.posterior(morgan_counts(asked))
    return mean, np.sqrt(sd**2 + model.noise * model.scale**2)


def chemprop(train: Affinities, test: Affinities, seed: int) -> tuple[np.ndarray, np.ndarray]:
    back = held_back(len(train), seed)
    rows = [(s, v, "val" if b else "train") for s, v, b in zip(train.smiles, train.values, back, strict=True)]
    rows += [(s, v, "test") for s, v in zip(test.smiles, test.values, strict=True)]
    program = Path(sys.executable).with_name("chemprop")
    with tempfile.TemporaryDirectory() as folder:
        table, out = Path(folder) / "all.csv", Path(folder) / "out"
        pandas.DataFrame(rows, columns=["smiles", "y", "split"]).to_csv(table, index=False)
        subprocess.run(
            [program, "train", "-i", table, "-s", "smiles", "--target-columns", "y", "-t", "regression", "-o", out,
             "--splits-column", "split", "--pytorch-seed", str(seed), "--accelerator", "cpu"],
            check=True, capture_output=True,
        )  # fmt: skip
        (weights,) = out.rglob("best.pt")
        asked = Path(folder) / "asked.csv"
        pandas.DataFrame({"smiles": [*test.smiles, *np.array(train.smiles)[back]]}).to_csv(asked, index=False)
        subprocess.run(
            [program, "predict", "-i", asked, "-o", Path(folder) / "said.csv", "--model-paths", weights,
             "--accelerator", "cpu"], check=True, capture_output=True,
        )  # fmt: skip
        said = pandas.read_csv(Path(folder) / "said.csv").iloc[:, -1].to_numpy(float)
    errors = train.values[back] - said[len(test) :]
    return said[: len(test)], np.full(len(test), np.sqrt((errors**2).mean()))


def run(arguments: argparse.Namespace) -> None:
    data = read_affinities(arguments.data, value_column=arguments.column)
    done = {(r["method"], r["split"], r["seed"]) for r in rows_of(arguments.out)} if arguments.out.exists() else set()
    for split in arguments.splits:
        for seed in arguments.seeds:
            out = test_rows(data, split, seed)
            train, test = data.take(~out), data.take(out)
            for method in arguments.methods:
                if (method, split, seed) in done:
                    continue
                begun, cpu = time.perf_counter(), time.process_time()
                if method == "ours":
                    from esr1md.surrogate.affinity_training import train_affinity

                    said = train_affinity(train, seed=seed).predict_smiles(test.smiles)
                    value, sd, low, high = said.value, said.sd, said.low, said.high
                else:
                    value, sd = globals()[method](train, test, seed)
                    low, high = value - NORMAL_90 * sd, value + NORMAL_90 * sd
                row = {"method": method, "split": split, "seed": seed, "n_train": len(train), "n_test": len(test),
                       **evaluate_predictions(test.values, value, sd, low, high),
                       "seconds": round(time.perf_counter() - begun, 1),
                       "cpu_seconds": round(time.process_time() - cpu, 1)}  # fmt: skip
                with open(arguments.out, "a") as handle:
                    handle.write(json.dumps(row) + "\n")
                print(row, flush=True)


def rows_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines() if line.strip()]


def table(arguments: argparse.Namespace) -> None:
    """Mean over the seeds, with the standard deviation between them."""
    rows = pandas.DataFrame(rows_of(arguments.out))
    names = ["mae", "rmse", "spearman", "nll", "coverage", "width"]
    print("| split | method | seeds | " + " | ".join(names) + " |\n|" + "---|" * (3 + len(names)))
    for split in rows["split"].unique():
        for method in (m for m in METHODS if m in set(rows["method"])):
            own = rows[(rows["split"] == split) & (rows["method"] == method)]
            cells = [f"{own[name].mean():.3f} ({own[name].std():.3f})" for name in names]
            print(f"| {split} | {method} | {len(own)} | " + " | ".join(cells) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    runs = commands.add_parser("run")
    runs.add_argument("--data", type=Path, required=True)
    runs.add_argument("--column", default="esr1_binding_max_pchembl")
    runs.add_argument("--out", type=Path, required=True)
    runs.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    runs.add_argument("--splits", nargs="+", choices=("scaffold", "random"), default=["scaffold", "random"])
    runs.add_argument("--seeds", nargs="+", type=int, default=list(range(5)))
    commands.add_parser("table").add_argument("out", type=Path)
    arguments = parser.parse_args()
    {"run": run, "table": table}[arguments.command](arguments)


if __name__ == "__main__":
    main()
