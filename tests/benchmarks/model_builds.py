"""Every variant in every helix-12 state: seconds, memory and quality of each build, and 10 ps of dynamics.

    python tests/benchmarks/model_builds.py --out builds.jsonl
    python tests/benchmarks/model_builds.py --out stability.jsonl --stability --variants WT Y537S V422del

Each row is written when it is there, one JSON object a line, and a later call goes on with what is missing; the
tables of all rows come last. Every build has a process of its own, so that its peak memory is its own. Processor
seconds are printed beside elapsed ones, because a machine with other work makes the latter longer.

``--stability`` also runs each model without a ligand under the ``quick`` protocol, for 10 ps instead of 2. That
protocol moves the pocket, the H11-H12 loop and helix 12 in a fixed shell, so the C-alpha RMSD of the whole core
can hardly grow; the RMSD of those C-alpha atoms that move is reported beside it.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import mdtraj
import numpy as np

from esr1md.complex import build_complex
from esr1md.dynamics.platforms import choose_platform
from esr1md.dynamics.protocol import Protocol, load_protocol
from esr1md.dynamics.region import select_region
from esr1md.dynamics.run import simulate
from esr1md.errors import Esr1mdError
from esr1md.receptor.build import build_receptor
from esr1md.receptor.frame import CORE, bundled_model
from esr1md.receptor.quality import assess
from esr1md.receptor.sequence import parse_variant
from esr1md.receptor.variants import variant_entries
from esr1md.specs import HelixState

Row = dict[str, object]


def build(name: str, state: HelixState, folder: Path) -> Row:
    """Build one model and compare its Ramachandran outliers with those of the model it was made from."""
    variant = parse_variant(name)
    started, used = time.perf_counter(), time.process_time()
    model = build_receptor(variant, state, folder)
    seconds = {"seconds": round(time.perf_counter() - started, 1),
               "processor_seconds": round(time.process_time() - used, 1)}  # fmt: skip
    outliers = {text.split()[0] for text in model.quality["details"]["ramachandran_outliers"]}
    before = assess(bundled_model(state))["details"]["ramachandran_outliers"]
    known = {int(text.split()[0][3:]) for text in before}
    new = sorted(label for label in outliers if int(label[3:]) not in known)
    at_site = [label for label in new for m in variant.mutations if abs(int(label[3:]) - m.position) <= 1]
    return {**seconds, "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
            "new_outliers": new, "new_outliers_at_site": at_site, "problems": model.quality["problems"]}  # fmt: skip


def stability(name: str, state: HelixState, folder: Path) -> Row:
    """As :func:`build`, and C-alpha RMSD (angstrom) from the start over 10 ps of the quick protocol."""
    built = build(name, state, folder)
    quick = load_protocol("quick")
    produce = {**quick.production.model_dump(), "duration_ps": 10.0, "frame_ps": 0.5}
    protocol = Protocol.model_validate(
        {**quick.model_dump(), "stages": [*(s.model_dump() for s in quick.stages[:-1]), produce]}
    )
    complex_ = build_complex(folder / "receptor.pdb", None, None, protocol)
    atoms, mobile = select_region(complex_, protocol.region)
    moving = set(atoms[mobile].tolist())
    simulate(complex_, protocol, seed=1, platform=choose_platform("CPU", threads=1), folder=folder)
    frames = mdtraj.load(str(folder / "trajectory.xtc"), top=str(folder / "complex.pdb"))
    start = 10 * complex_.positions
    alphas = [a.index for a in frames.topology.atoms if a.name == "CA"]
    core = [i for i in alphas if frames.topology.atom(i).residue.resSeq in CORE]
    mobile_alphas = [i for i in alphas if i in moving]

    def rmsd(indices: list[int]) -> float:
        """Largest over the frames; no fit, for the shell holds the frame."""
        apart = 10 * frames.xyz[:, indices] - start[indices]
        return round(float(np.sqrt((apart**2).sum(axis=2).mean(axis=1)).max()), 2)

    return {
        **built, "core_rmsd": rmsd(core), "mobile_rmsd": rmsd(mobile_alphas), "core_atoms": len(core),
        "mobile_core_atoms": len(set(core) & moving), "mobile_atoms": len(mobile_alphas),
    }  # fmt: skip


def measured(work: Callable[[str, HelixState, Path], Row], name: str, state: HelixState) -> Row:
    """A row of one model, measured in a process of its own."""
    receiver, sender = multiprocessing.get_context("fork").Pipe(duplex=False)

    def child() -> None:
        with tempfile.TemporaryDirectory() as folder:
            try:
                row = work(name, state, Path(folder))
            except Esr1mdError as error:
                row = {"error": str(error)}
        sender.send({"variant": name, "state": str(state), **row})

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    sender.close()
    row = receiver.recv()
    process.join()
    return row


def read_rows(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def print_builds(rows: list[Row]) -> None:
    """Processor seconds by variant and state, and what stands out."""
    print("| variant | " + " | ".join(map(str, HelixState)) + " |")
    print("| --- " * (1 + len(HelixState)) + "|")
    for name in dict.fromkeys(row["variant"] for row in rows):
        cells = {row["state"]: row for row in rows if row["variant"] == name}
        print(f"| {name} | " + " | ".join(_cell(cells.get(str(state))) for state in HelixState) + " |")
    mutants = [row for row in rows if row["variant"] != "WT" and "error" not in row]
    for key in ("processor_seconds", "seconds", "peak_mib"):
        values = [row[key] for row in mutants]
        worst = max(mutants, key=lambda row: row[key])
        print(f"{key} of {len(values)} mutants: median {statistics.median(values):g}, largest {worst[key]:g} "
              f"({worst['variant']}, {worst['state']})")  # fmt: skip
    for row in rows:
        if row.get("error") or row.get("problems") or row.get("new_outliers"):
            print(json.dumps(row))


def _cell(row: Row | None) -> str:
    if row is None:
        return ""
    return "failed" if "error" in row else f"{row['processor_seconds']:g}{'*' if row['new_outliers_at_site'] else ''}"


def print_stability(rows: list[Row]) -> None:
    print("| variant | state | core CA-RMSD (A) | CA-RMSD of what moves (A) | moving CA, of the core |")
    print("| --- | --- | --- | --- | --- |")
    for row in rows:
        if "error" in row:
            print(f"| {row['variant']} | {row['state']} | failed: {row['error']} | | |")
            continue
        print(f"| {row['variant']} | {row['state']} | {row['core_rmsd']:.2f} | {row['mobile_rmsd']:.2f} "
              f"| {row['mobile_atoms']}, {row['mobile_core_atoms']} of {row['core_atoms']} |")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="rows, one JSON object a line; added to if present")
    parser.add_argument("--stability", action="store_true", help="10 ps of the quick protocol for each model")
    parser.add_argument("--variants", nargs="*", help="only these variants")
    parser.add_argument("--states", nargs="*", type=HelixState, default=list(HelixState), help="only these states")
    options = parser.parse_args()
    names = options.variants or [entry.name for entry in variant_entries() if entry.buildable]
    done = {(row["variant"], row["state"]) for row in read_rows(options.out)}
    for name in names:
        for state in options.states:
            if (name, str(state)) in done:
                continue
            row = measured(stability if options.stability else build, name, state)
            with options.out.open("a") as file:
                file.write(json.dumps(row) + "\n")
            print(json.dumps(row), flush=True)
    rows = read_rows(options.out)
    print_builds(rows)
    if options.stability:
        print_stability(rows)


if __name__ == "__main__":
    main()
