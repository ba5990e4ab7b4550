"""How fast a library is screened with the surrogate, and with how much memory.

``esr1md surrogate screen`` as a user runs it, with the shipped model, beside ``chemprop predict`` with one model of
chemprop's default size (random weights: the time is the same), on the same compounds of the ChEMBL table of ER-alpha
(``../shared/data/affinity``) in one run. Wall time includes the start of the processes; memory is that of the command
and all its processes together (resident, sampled twice a second).

``--lines 1000000`` screens that many lines instead, 5 % of them junk, and checks that every line is in the table or in
``failures.csv``; ``--lines`` ten times smaller shows whether memory grows with the library. ``--no-model`` leaves the
model out (constant numbers), so that reading, parsing and writing are measured alone.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from library import TABLE, processor_seconds, resident_mb, tree

JUNK = (
    "c1ccc", "CC(C)(C)(C)C", "", "not a molecule", "[Fe+2].c1cc[cH-]c1.c1cc[cH-]c1", "c1ccccc1CCN.c1ccncc1CCO",
    "*CCO", "C" * 5000, "CCO>>CC=O", "[Na+].[Cl-]", "\u00e9\u00e8", "C" * 120_000, "=cmd|'/C calc'!A0",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2000, help="compounds for ours and for chemprop predict")
    parser.add_argument("--lines", type=int, default=0, help="instead: so many lines with 5 %% junk, ours only")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="of chemprop, a run with each")
    parser.add_argument("--model", help="folder of a model; the shipped one without it")
    parser.add_argument("--no-model", action="store_true", help="constant numbers in place of the model")
    asked = parser.parse_args()
    if not TABLE.is_file():
        print(f"needs {TABLE.name} in ../shared/data/affinity, which is not here")
        return
    print(f"{asked.workers} processes\n")
    print("| | rows | predicted | failed | wall (s) | rows/s | CPU (s) | peak memory (MB) |")
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder, "library.csv")
        if asked.lines:
            write(library, lines_with_junk(asked.lines))
        else:
            rows = itertools.islice(
                ((f"compound {n}", each) for n, each in enumerate(itertools.cycle(compounds()))), asked.rows
            )
            write(library, [("name", "smiles"), *rows])
        ours(library, Path(folder, "out"), asked)
        if not asked.lines:
            for threads in asked.threads:
                chemprop(library, Path(folder), threads)


def ours(library: Path, out: Path, asked: argparse.Namespace) -> None:
    options = ["--out", str(out), "--workers", str(asked.workers), "--json"]
    if asked.no_model:
        command = [sys.executable, __file__, "no-model", str(library), *options]
    else:
        command = [sys.executable, "-m", "esr1md.cli", "surrogate", "screen", str(library), *options]
        command += ["--model", asked.model] if asked.model else []
    wall, used, peak, said = measured(command)
    summary = json.loads(said)
    check_nothing_lost(out, summary["rows"])
    what = "esr1md surrogate screen" + (" without the model" if asked.no_model else "")
    print(line(what, summary["rows"], summary["predicted"], wall, used, peak), flush=True)
    print(f"  of that from the first row on: {summary['seconds']:g} s, {summary['rows_per_second']:g} rows/s")


def chemprop(library: Path, folder: Path, threads: int) -> None:
    """``chemprop predict`` as its own documentation runs it, on the CPU."""
    model, answer = folder / "model.pt", folder / "chemprop.csv"
    if not model.exists():
        write_chemprop_model(model)
    with open(library, encoding="utf-8") as handle:
        rows = sum(1 for _ in handle) - 1
    command = [str(Path(sys.executable).with_name("chemprop")), "predict", "--test-path", str(library), "--model-paths",
               str(model), "--preds-path", str(answer), "--smiles-columns", "smiles", "--accelerator", "cpu",
               "--devices", "1"]  # fmt: skip
    environment = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
    wall, used, peak, _ = measured(command, environment)
    with open(answer, encoding="utf-8") as handle:
        predicted = sum(1 for _ in handle) - 1
    print(line(f"chemprop predict, one model, {threads} threads", rows, predicted, wall, used, peak), flush=True)


def write_chemprop_model(path: Path) -> None:
    from chemprop.models import MPNN, save_model
    from chemprop.nn import BondMessagePassing, MeanAggregation, RegressionFFN

    save_model(path, MPNN(BondMessagePassing(), MeanAggregation(), RegressionFFN()), ["pchembl"])


def line(what: str, rows: int, predicted: int, wall: float, used: float, peak: float) -> str:
    return (
        f"| {what} | {rows:,} | {predicted:,} | {rows - predicted:,} | {wall:.1f} | {rows / wall:.0f} | {used:.0f} | "
        f"{peak:.0f} |"
    )


def write(path: Path, rows: Iterable[tuple[str, str]]) -> None:
    with open(path, "w", encoding="utf-8", newline="") as handle:
        csv.writer(handle).writerows(rows)


def compounds() -> list[str]:
    """The table's SMILES in random order, without those that ``chemprop predict`` ends at (empty, unreadable)."""
    from rdkit import Chem

    with open(TABLE, newline="", encoding="utf-8") as handle:
        found = [row["canonical_smiles"] for row in csv.DictReader(handle)]
    found = [smiles for smiles in found if smiles and Chem.MolFromSmiles(smiles) is not None]
    random.Random(7).shuffle(found)
    return found


def lines_with_junk(count: int) -> Iterator[tuple[str, str]]:
    """Header and ``count`` rows: the compounds of the table again and again, every twentieth replaced by junk."""
    yield "name", "smiles"
    for number, smiles in zip(range(count), itertools.cycle(compounds()), strict=False):
        yield f"compound {number}", JUNK[number // 20 % len(JUNK)] if number % 20 == 19 else smiles


def check_nothing_lost(out: Path, rows: int) -> None:
    """Every row is in the table or among the failures, once, and both are in the library's order."""
    from pyarrow import parquet

    file = parquet.ParquetFile(out / "predictions.parquet")
    good = (row for batch in file.iter_batches(columns=["row"]) for row in batch.column("row").to_pylist())
    with open(out / "failures.csv", newline="", encoding="utf-8") as handle:
        csv.field_size_limit(2**20)
        bad = (int(row["row"]) for row in csv.DictReader(handle))
        after = {next(good, None): good, next(bad, None): bad}
        for number in range(1, rows + 1):
            source = after.pop(number, None)
            if source is None:
                raise SystemExit(f"row {number} is in neither table, or not in its place")
            after[next(source, None)] = source
        if set(after) != {None}:
            raise SystemExit("there are more rows in the tables than in the library")


def measured(command: list[str], environment: dict[str, str] | None = None) -> tuple[float, float, float, str]:
    """Wall time and processor time of all processes (s), peak memory of the tree (MB), standard output."""
    start, used, peak = time.monotonic(), processor_seconds(), 0.0
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = subprocess.Popen(command, stdout=out, stderr=err, env={**os.environ, **(environment or {})})
        while process.poll() is None:
            peak = max(peak, sum(resident_mb(pid) for pid in tree(process.pid)))
            time.sleep(0.5)
        wall = time.monotonic() - start
        out.seek(0), err.seek(0)
        if process.returncode not in (0, 3):
            raise SystemExit(f"{' '.join(command)} ended with {process.returncode}: {err.read()[-2000:]}")
        return wall, processor_seconds() - used, peak, out.read()


# -- without the model ----------------------------------------------------------------------------------------


class Constant:
    """Answers the same of every compound."""

    statement, digest = "Constant numbers, to measure all but the model.", "0" * 64

    def columns(self, variants, state):
        from esr1md.surrogate.surrogate import Column

        names = ("pchembl", "pchembl_low", "pchembl_high", "pchembl_sd", "similarity", "nearest", "in_domain")
        return tuple(Column(name, "", "constant") for name in names)

    def table(self, molecules, variants, state, smiles=None):
        import numpy

        found = {column.name: numpy.full(len(molecules), 5.0) for column in self.columns((), "")}
        nearest = numpy.array(["C"] * len(molecules), dtype=object)
        return {**found, "nearest": nearest, "in_domain": found["pchembl"] > 0}


def constant(model: str) -> Constant:
    return Constant()


def describe(question):
    from esr1md.surrogate import screening

    screening.loaded, screening.gpus = constant, lambda: 0
    return screening.describe(question)


def screen_rows(rows, question, answer):
    from esr1md.surrogate import screening

    screening.loaded = constant
    return screening.screen_rows(rows, question, answer)


def without_model(arguments: list[str]) -> int:
    """``esr1md surrogate screen`` with constant numbers; processes find this file by its name."""
    import surrogate_screening

    from esr1md.cli import main
    from esr1md.surrogate import screening

    screening.describe_in_worker = surrogate_screening.describe
    screening.screen_in_worker = surrogate_screening.screen_rows
    return main(["surrogate", "screen", *arguments])


if __name__ == "__main__":
    if sys.argv[1:2] == ["no-model"]:
        sys.exit(without_model(sys.argv[2:]))
    main()
