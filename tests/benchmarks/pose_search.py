"""How long a pose takes: ``place_ligand`` in the bundled models, by the number of cores it may use.

    python tests/benchmarks/pose_search.py --threads 1 2

Wall and processor time (of all its processes) of one placement in a process of its own, with parameters at hand and
everything imported.
Run it on an idle machine.
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

LIGANDS = ("estradiol:agonist", "raloxifene:antagonist", "fulvestrant:antagonist")


def place(case: str, threads: int) -> None:
    from esr1md.catalogue import data_path
    from esr1md.ligand.catalogue import catalogue_ligand
    from esr1md.ligand.parameters import parametrise
    from esr1md.poses.place import place_ligand
    from esr1md.specs import HelixState

    name, state = case.split(":")
    with tempfile.TemporaryDirectory() as folder:
        ligand = catalogue_ligand(name)
        parameters = parametrise(ligand, Path(folder, "parameters"))
        model = data_path("structures") / "models" / f"{state}.pdb"
        started = time.monotonic(), sum(os.times()[:4])
        found = place_ligand(ligand, parameters, model, HelixState(state), Path(folder, "pose"), threads=threads)
        wall, processor = time.monotonic() - started[0], sum(os.times()[:4]) - started[1]
        print(json.dumps({
            "ligand": name, "state": state, "threads": threads, "wall": round(wall, 1),
            "processor": round(processor, 1), "wider": found[0].details["thorough"],
        }))  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", default=LIGANDS, metavar="LIGAND:STATE")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, os.cpu_count() or 1])
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        place(asked.cases[0], asked.threads[0])
        return
    print("| ligand | state | threads | wall (s) | processor (s) | wider search |\n|---|---|---|---|---|---|")
    for case in asked.cases:
        for threads in asked.threads:
            command = [sys.executable, __file__, case, "--threads", str(threads), "--one"]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            row = json.loads(done.stdout.splitlines()[-1])
            print(
                f"| {row['ligand']} | {row['state']} | {row['threads']} | {row['wall']} | {row['processor']} | "
                f"{'yes' if row['wider'] else 'no'} |", flush=True,
            )  # fmt: skip


if __name__ == "__main__":
    main()
