"""Active learning, in retrospect: how many of the strongest binders are found with how few measurements.

    python tests/benchmarks/active_learning.py run --data ../shared/data/affinity/chembl_esr1_max_pchembl_labels.csv \
        --out active-learning.jsonl
    python tests/benchmarks/active_learning.py table active-learning.jsonl
    python tests/benchmarks/active_learning.py plot active-learning.jsonl --out docs/images/active-learning.svg

Every compound of the file with a measured ER-alpha binding affinity, each once, in random order (the file's order
follows the label). The learner sees 2 % of the labels at random, then asks for 1 % of the compounds at a time: the
most promising ones by a Gaussian process and the functions of esr1md/surrogate/acquisition.py, beside ``greedy`` (the
best predicted mean) and ``random``. The process is that of esr1md/surrogate/kernel.py; its similarity is the mean of
those by Morgan counts and by atom-pair counts, or by Morgan counts alone. Counted is which of the strongest 5 % have
been asked for. A row for each strategy and seed is written as it comes and not computed twice.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas
import scipy.linalg
import scipy.sparse
from rdkit import Chem
from rdkit.Chem import rdFingerprintGenerator

from esr1md.surrogate.acquisition import acquisition, select_batch, top_threshold
from esr1md.surrogate.kernel import BITS, MOST, morgan_counts, tanimoto

LABEL, KEY, SMILES = "esr1_binding_max_pchembl", "standard_inchi_key", "canonical_smiles"
START, BATCH, UP_TO, TOP = 0.02, 0.01, 0.35, 0.05
GOAL, GOAL_LABELS = 0.80, 0.25
NOISE = 0.1


@dataclass(frozen=True)
class Strategy:
    """How a batch is chosen: an acquisition (``greedy`` and ``random`` are themselves), how large a share of the best
    is to be improved on (0: the very best), the diversity within a batch, and the similarity of the process."""

    by: str
    share: float = TOP
    diversity: float = 0.0
    similarity: str = "both"


STRATEGIES = {
    "mix": Strategy("mix"),
    "expected improvement": Strategy("expected-improvement"),
    "greedy": Strategy("greedy"),
    "random": Strategy("random"),
    "uncertainty": Strategy("uncertainty"),
    "expected improvement on the very best": Strategy("expected-improvement", share=0.0),
    "mix, diversity 0.25": Strategy("mix", diversity=0.25),
    "mix, diversity 0.5": Strategy("mix", diversity=0.5),
    "mix, diversity 1": Strategy("mix", diversity=1.0),
    "mix, Morgan counts alone": Strategy("mix", similarity="morgan"),
    "greedy, Morgan counts alone": Strategy("greedy", similarity="morgan"),
}
#: Those that are drawn, with their colours and how they are dashed.
DRAWN = {
    "mix": ("#1f6feb", ""),
    "expected improvement": ("#8250df", "7 4"),
    "greedy": ("#d1242f", ""),
    "uncertainty": ("#b26a00", ""),
    "random": ("#6e7781", ""),
}


def compounds(path: Path) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Similarities (n, n) of both kinds and affinities (n,) of the compounds measured, each once, in random order."""
    table = pandas.read_csv(path).dropna(subset=[LABEL, KEY, SMILES]).drop_duplicates(KEY)
    table = table.sample(frac=1.0, random_state=0)
    molecules = [Chem.MolFromSmiles(smiles) for smiles in table[SMILES]]
    morgan, pairs = morgan_counts(molecules), pair_counts(molecules)
    by_morgan = tanimoto(morgan, morgan)
    similarities = {"morgan": by_morgan, "both": (by_morgan + tanimoto(pairs, pairs)) / 2}
    return similarities, table[LABEL].to_numpy(dtype=float)


def pair_counts(molecules: list[Chem.Mol]) -> scipy.sparse.csr_array:
    """Folded counts of atom pairs, as ``morgan_counts`` has those of environments: (n, BITS) CSR."""
    generator = rdFingerprintGenerator.GetAtomPairGenerator(fpSize=BITS)
    rows = [np.minimum(generator.GetCountFingerprintAsNumPy(mol), MOST) for mol in molecules]
    return scipy.sparse.csr_array(np.array(rows, dtype=np.uint8))


def posterior(similarity: np.ndarray, known: np.ndarray, rest: np.ndarray, values: np.ndarray):
    """Mean and standard deviation of the unmeasured (m,), (m,), as ``KernelRegression.posterior`` has them."""
    own, cross = similarity[np.ix_(known, known)].astype(float), similarity[np.ix_(rest, known)].astype(float)
    factor = scipy.linalg.cholesky(own + NOISE * np.eye(len(known)), lower=True, overwrite_a=True)
    mean = values[known].mean()
    dual = scipy.linalg.cho_solve((factor, True), values[known] - mean)
    half = scipy.linalg.solve_triangular(factor, cross.T, lower=True)
    variance = np.maximum(1.0 - (half**2).sum(axis=0), 0.0)
    return mean + cross @ dual, values[known].std() * np.sqrt(variance)


def search(
    similarities: dict[str, np.ndarray], affinity: np.ndarray, strategy: str, seed: int, say: Callable[[str], None]
) -> dict[str, list[float]]:
    """Share of the labels asked for and of the top found, after every batch."""
    n, generator = len(affinity), np.random.default_rng(seed)
    asked = STRATEGIES[strategy]
    similarity = similarities[asked.similarity]
    top = np.zeros(n, dtype=bool)
    top[np.argsort(-affinity, kind="stable")[: round(TOP * n)]] = True
    order = generator.permutation(n)
    known = order[: round(START * n)]
    batch, path = round(BATCH * n), {"labels": [], "found": []}
    while True:
        path["labels"].append(round(len(known) / n, 5))
        path["found"].append(round(float(top[known].sum() / top.sum()), 5))
        say(f"{strategy}, seed {seed}: {path['labels'][-1]:.0%} of the labels, {path['found'][-1]:.0%} of the top")
        if len(known) + batch > UP_TO * n:
            return path
        rest = np.setdiff1d(order, known)
        if asked.by == "random":
            chosen = generator.permutation(len(rest))[:batch]
        else:
            mean, sd = posterior(similarity, known, rest, -affinity)  # lower is better
            if asked.by == "greedy":
                chosen = np.argsort(mean, kind="stable")[:batch]
            else:
                looked_for = max(1, round(asked.share * n))
                value = acquisition(asked.by, mean, sd, top_threshold(-affinity[known], mean, looked_for))
                picks = select_batch(
                    value, lambda i, rest=rest: similarity[rest[i], rest], most=batch, diversity=asked.diversity
                )
                chosen = np.array([pick.index for pick in picks])
        known = np.concatenate([known, rest[chosen]])


def needed(path: dict[str, list[float]], goal: float = GOAL) -> float:
    """Share of the labels after which ``goal`` of the top was found; NaN if it was not."""
    return next((share for share, f in zip(path["labels"], path["found"], strict=True) if f >= goal), float("nan"))


def run(data: Path, out: Path, seeds: int) -> None:
    done = {(row["strategy"], row["seed"]) for row in read(out)} if out.exists() else set()
    similarities, affinity = compounds(data)
    with open(out, "a", encoding="utf-8") as handle:
        for seed in range(seeds):
            for strategy in STRATEGIES:
                if (strategy, seed) in done:
                    continue
                begun = time.perf_counter()
                path = search(similarities, affinity, strategy, seed, lambda said: print(f"\r{said:<90}", end=""))
                seconds = round(time.perf_counter() - begun, 2)
                row = {"strategy": strategy, "seed": seed, "n": len(affinity), "seconds": seconds, **path}
                handle.write(json.dumps(row) + "\n")
                handle.flush()
    print(f"\r{out}{'':<80}")


def read(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def by_strategy(rows: list[dict]) -> dict[str, list[dict]]:
    return {name: mine for name in STRATEGIES if (mine := [row for row in rows if row["strategy"] == name])}


def at(path: dict, share: float) -> float:
    """Share of the top found by the time that ``share`` of the labels was asked for."""
    return max(f for seen, f in zip(path["labels"], path["found"], strict=True) if seen <= share + 1e-9)


def table(rows: list[dict]) -> str:
    goal = f"labels for {GOAL:.0%}"
    lines = [f"| strategy | top found at 10 % | at {GOAL_LABELS:.0%} of the labels | {goal} (range) | seeds | met |",
             "|---|---|---|---|---|---|"]  # fmt: skip
    for name, mine in by_strategy(rows).items():
        tenth, quarter = ([at(row, share) for row in mine] for share in (0.10, GOAL_LABELS))
        took = np.array([needed(row) for row in mine])
        ok = np.isfinite(took)
        said = f"{np.mean(took):.1%} ({took.min():.1%} to {took.max():.1%})" if ok.all() else f"above {UP_TO:.0%}"
        met = f"{int((np.array(quarter) >= GOAL).sum())} of {len(mine)}"
        lines.append(f"| {name} | {np.mean(tenth):.1%} +- {np.std(tenth):.1%} | {np.mean(quarter):.1%} +- "
                     f"{np.std(quarter):.1%} | {said} | {len(mine)} | {met} |")  # fmt: skip
    return "\n".join(lines)


def plot(rows: list[dict]) -> str:
    """Share of the top found against the share of labels asked for: means with the range over the seeds, as SVG."""
    width, height, left, top, right, bottom = 760, 460, 64, 46, 20, 58
    across, down = width - left - right, height - top - bottom

    def x(share: float) -> float:
        return left + across * share / UP_TO

    def y(share: float) -> float:
        return top + down * (1 - share)

    def text(
        at_x: float, at_y: float, said: str, anchor: str = "middle", colour: str = "#57606a", more: str = ""
    ) -> str:
        return f'<text x="{at_x:.1f}" y="{at_y:.1f}" text-anchor="{anchor}" fill="{colour}" {more}>{said}</text>'

    n = rows[0]["n"]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="Helvetica, Arial, sans-serif" font-size="13">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        text(left, 24, f"Finding the strongest {TOP:.0%} of {n:,} measured ER-alpha ligands", "start", "#1f2328",
             'font-size="15" font-weight="bold"'),
        f'<rect x="{left}" y="{y(1):.1f}" width="{x(GOAL_LABELS) - left:.1f}" height="{y(GOAL) - y(1):.1f}" '
        'fill="#1a7f37" fill-opacity="0.10"/>',
        text(left + 8, y(1) + 18, f"goal: {GOAL:.0%} with at most {GOAL_LABELS:.0%} of the labels", "start", "#1a7f37"),
    ]  # fmt: skip
    for share in np.linspace(0, 1, 6):
        parts.append(
            f'<line x1="{left}" x2="{left + across}" y1="{y(share):.1f}" y2="{y(share):.1f}" stroke="#e6e9ee"/>'
        )
        parts.append(text(left - 8, y(share) + 4, f"{share:.0%}", "end"))
    for share in np.arange(0, UP_TO + 1e-9, 0.05):
        parts.append(text(x(share), top + down + 20, f"{share:.0%}"))
    parts.append(text(left + across / 2, height - 14, "labels asked for"))
    parts.append(f'<text transform="translate(16 {top + down / 2:.0f}) rotate(-90)" text-anchor="middle" '
                 'fill="#57606a">strongest found</text>')  # fmt: skip
    groups = by_strategy(rows)
    for number, (name, (colour, dash)) in enumerate(DRAWN.items()):
        labels = groups[name][0]["labels"]
        found = np.array([row["found"] for row in groups[name]])
        low, high, mean = found.min(axis=0), found.max(axis=0), found.mean(axis=0)
        band = [f"{x(a):.1f},{y(b):.1f}" for a, b in [*zip(labels, high, strict=True),
                                                      *zip(labels[::-1], low[::-1], strict=True)]]  # fmt: skip
        line = [f"{x(a):.1f},{y(b):.1f}" for a, b in zip(labels, mean, strict=True)]
        parts.append(f'<polygon points="{" ".join(band)}" fill="{colour}" fill-opacity="0.10"/>')
        parts.append(f'<polyline points="{" ".join(line)}" fill="none" stroke="{colour}" stroke-width="2" '
                     f'stroke-dasharray="{dash}"/>')  # fmt: skip
        at_y = top + down * 0.34 + 20 * number
        parts.append(f'<line x1="{left + across - 190}" x2="{left + across - 162}" y1="{at_y - 4}" y2="{at_y - 4}" '
                     f'stroke="{colour}" stroke-width="2" stroke-dasharray="{dash}"/>')  # fmt: skip
        parts.append(text(left + across - 154, at_y, name, "start", "#1f2328"))
    seeds = len(groups["mix"])
    parts.append(text(left + across, 40, f"mean and range of {seeds} starts", "end"))
    return "\n".join([*parts, "</svg>", ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    measure = commands.add_parser("run", help="search with every strategy and seed")
    measure.add_argument("--data", type=Path, required=True, help="CSV of ChEMBL's ESR1 labels")
    measure.add_argument("--out", type=Path, required=True, help="JSONL file that rows are added to")
    measure.add_argument("--seeds", type=int, default=10)
    for name, what in (("table", "Markdown table of the rows"), ("plot", "SVG of the rows")):
        show = commands.add_parser(name, help=what)
        show.add_argument("rows", type=Path)
        if name == "plot":
            show.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    if given.command == "run":
        run(given.data, given.out, given.seeds)
    elif given.command == "table":
        print(table(read(given.rows)))
    else:
        given.out.write_text(plot(read(given.rows)), encoding="utf-8")
        print(given.out)


if __name__ == "__main__":
    main()
