"""What a surrogate can learn of mutations from short simulations: ligands and variants left out, beside plain guesses.

    esr1md screen mutant-transfer --store runs        # hours on two cores; what has finished counts
    python tests/benchmarks/surrogate_transfer.py export --store runs
    python tests/benchmarks/surrogate_transfer.py judge

``export`` writes the scores of the finished replicas to ``surrogate_transfer.csv`` beside this file, so that ``judge``
can be repeated without the simulations. ``judge`` leaves out every ligand and every variant in turn and compares the
errors with those of the mean of the state (a score) and of the wild type's value (a mutant); ``noise`` is what the
scatter of the replicas alone leaves of an error: a model that knew the truth would still be that far off.
"""

from __future__ import annotations

import argparse
import csv
import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from esr1md.ligand.catalogue import catalogue_ligand
from esr1md.scoring.cells import ReplicaObservation
from esr1md.surrogate.cells import cell_table
from esr1md.surrogate.features import APO_METRICS
from esr1md.surrogate.model import HEADS
from esr1md.surrogate.simulation_training import judge
from esr1md.surrogate.surrogate import load_surrogate

TABLE = Path(__file__).with_suffix(".csv")
METRICS = ("binding_kcal", *APO_METRICS)


def export(arguments: argparse.Namespace) -> None:
    from esr1md.screen.observations import stored_observations
    from esr1md.store import Store

    held = stored_observations(Store(arguments.store), [arguments.screen])
    with open(TABLE, "w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(("variant", "ligand", "state", "seed", *METRICS))
        for o in sorted(held.observations, key=lambda o: (*o.cell, o.seed)):
            values = [o.summary.get(metric) for metric in METRICS]
            writer.writerow((*o.cell, o.seed, *("" if v is None else f"{v:.4f}" for v in values)))
    print(f"{len(held.observations)} replicas: {TABLE}")


def observations() -> list[ReplicaObservation]:
    with open(TABLE, newline="") as handle:
        rows = list(csv.DictReader(handle))
    return [
        ReplicaObservation(
            str(i), row["variant"], row["ligand"], row["state"], int(row["seed"]),
            {metric: float(row[metric]) for metric in METRICS if row[metric]},
        )
        for i, row in enumerate(rows)
    ]  # fmt: skip


def show(arguments: argparse.Namespace) -> None:
    made = observations()
    names = sorted({o.ligand for o in made} - {"apo"})
    table = cell_table(made, {name: catalogue_ligand(name) for name in names}, load_surrogate().affinity)
    print(f"{len(made)} replicas of {len(names)} ligands, {len(table.keys)} cells, "
          f"variants {', '.join(sorted({o.variant for o in made}))}\n")  # fmt: skip
    print("| score | left out | n | network | plain guess | noise | skill |\n|---|---|---|---|---|---|---|")
    for skill in judge(table, arguments.seed):
        noise = np.sqrt(np.nanmean(table.error[:, HEADS.index(skill.head)] ** 2))
        errors = " | ".join(f"{value:.2f}" for value in (skill.rmse, skill.plain_rmse, noise))
        print(f"| {skill.head} | {skill.left_out} | {skill.n} | {errors} | {'yes' if skill.skilled else 'no'} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    exported = commands.add_parser("export")
    exported.add_argument("--store", type=Path, default=Path("runs"))
    exported.add_argument("--screen", default="mutant-transfer")
    commands.add_parser("judge").add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    {"export": export, "judge": show}[arguments.command](arguments)


if __name__ == "__main__":
    main()
