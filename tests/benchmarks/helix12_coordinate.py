"""The coordinate along which helix 12 is driven: its value in every structure, and what the bias costs.

    python tests/benchmarks/helix12_coordinate.py [--pdb ../shared/data/pdb] [--cost]

s in all bundled models and, with --pdb, in every chain that ``structures.csv`` there lists, by the helix-12 state it
gives; the gap between the states, beside two other coordinates and other anchors; how rigid the anchors are. --cost:
time of a step of the whole domain in OBC2 without cutoff with and without the bias, and of a hill (CPU platform, one
thread).
"""

from __future__ import annotations

import argparse
import csv
import itertools
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import openmm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from esr1md.complex import build_complex  # noqa: E402
from esr1md.dynamics.helix12_bias import (  # noqa: E402
    AGONIST_ANCHOR,
    ANTAGONIST_ANCHOR,
    HELIX12_RESIDUES,
    Helix12Bias,
    coordinate,
    install,
)
from esr1md.dynamics.protocol import load_protocol  # noqa: E402
from esr1md.dynamics.region import whole  # noqa: E402
from esr1md.receptor.bundled import BUNDLED  # noqa: E402
from esr1md.receptor.frame import alpha_carbons, bundled_model, model_alpha_carbons  # noqa: E402
from esr1md.receptor.source import choose_chain  # noqa: E402
from esr1md.receptor.structure_file import read_structure  # noqa: E402
from systems import CPU  # noqa: E402

#: Core residues about the two places from which other anchors are drawn.
_AGONIST_SIDE = (347, 348, 350, 351, 383, 384, 522, 523, 525)
_ANTAGONIST_SIDE = (355, 358, 361, 362, 368, 372, 373, 375, 376, 379)


@dataclass(frozen=True)
class Entry:
    """One chain: CA positions (angstrom) by residue number, and the state that is given for it."""

    name: str
    chain: str
    state: str
    alpha: dict[int, np.ndarray]


def centroid(alpha: dict[int, np.ndarray], group: tuple[int, ...]) -> np.ndarray:
    return np.mean([alpha[n] for n in group], axis=0)


def distances(alpha, agonist=AGONIST_ANCHOR, antagonist=ANTAGONIST_ANCHOR) -> tuple[float, float, float]:
    """Helix 12 to the agonist anchor, to the antagonist anchor, and between the anchors (angstrom)."""
    h, a, b = centroid(alpha, HELIX12_RESIDUES), centroid(alpha, agonist), centroid(alpha, antagonist)
    return tuple(float(np.linalg.norm(v)) for v in (h - a, h - b, a - b))


def projection(alpha: dict[int, np.ndarray]) -> float:
    """Place of helix 12 along the line between the anchors, from its middle (angstrom)."""
    to_agonist, to_antagonist, apart = distances(alpha)
    return (to_agonist**2 - to_antagonist**2) / (2 * apart)


def contacts(alpha: dict[int, np.ndarray]) -> float:
    """CA contacts of helix 12 with the antagonist anchor less those with the agonist one (switched at 10 A)."""
    counts = []
    for anchor in (ANTAGONIST_ANCHOR, AGONIST_ANCHOR):
        apart = [np.linalg.norm(alpha[i] - alpha[j]) for i in HELIX12_RESIDUES for j in anchor]
        counts.append(sum(1 / (1 + (r / 10) ** 6) for r in apart))
    return float(counts[0] - counts[1])


def read_entries(pdb: Path) -> list[Entry]:
    structures, entries = {}, []
    with open(pdb / "structures.csv", newline="") as handle:
        for row in csv.DictReader(handle):
            path = pdb / row["file"]
            if path not in structures:
                structures[path] = read_structure(path)
            chain = choose_chain(structures[path], str(path), row["chain"]).chain
            name = Path(row["file"]).stem.replace("_protein", "")
            entries.append(Entry(name, row["chain"], row["h12_state"], alpha_carbons(chain)))
    return entries


def print_table(entries: list[Entry]) -> list[Entry]:
    """One line an entry, its chains together; returns the entries in which everything is there."""
    wanted = HELIX12_RESIDUES + AGONIST_ANCHOR + ANTAGONIST_ANCHOR
    complete = [e for e in entries if all(n in e.alpha for n in wanted)]
    print("| structure | helix 12 | chains | s (A) | sum of the distances (A) |\n|---|---|---|---|---|")
    for (name, state), group in itertools.groupby(complete, key=lambda e: (e.name, e.state)):
        values = np.array([coordinate(e.alpha) for e in group])
        low, high = values.min(axis=0), values.max(axis=0)
        s, reach = (
            f"{lo:.1f}" if f"{lo:.1f}" == f"{hi:.1f}" else f"{lo:.1f} to {hi:.1f}"
            for lo, hi in zip(low, high, strict=True)
        )
        print(f"| {name} | {state} | {len(values)} | {s} | {reach} |")
    for entry in entries:
        if entry not in complete:
            lacking = [n for n in wanted if n not in entry.alpha]
            print(f"| {entry.name} | {entry.state} | 1 | lacks {lacking[0]} to {lacking[-1]} | |")
    return complete


def print_gap(name: str, agonist: np.ndarray, antagonist: np.ndarray) -> None:
    low, high = (agonist, antagonist) if agonist.mean() < antagonist.mean() else (antagonist, agonist)
    gap, widest = low_high_gap(low, high), max(np.ptp(low), np.ptp(high))
    print(
        f"{name:12s} agonist {agonist.mean():6.2f} ({agonist.min():.2f} to {agonist.max():.2f})  antagonist "
        f"{antagonist.mean():6.2f} ({antagonist.min():.2f} to {antagonist.max():.2f})  gap {gap:.2f}  "
        f"gap / widest class {gap / widest:.1f}"
    )


def low_high_gap(low: np.ndarray, high: np.ndarray) -> float:
    return float(high.min() - low.max())


def print_classes(entries: list[Entry]) -> None:
    agonist = [e.alpha for e in entries if e.state == "agonist"]
    antagonist = [e.alpha for e in entries if e.state == "antagonist"]
    print(f"\n{len(agonist)} agonist and {len(antagonist)} antagonist chains")
    for name, measure in (("s", lambda a: coordinate(a)[0]), ("projection", projection), ("contacts", contacts)):
        print_gap(name, np.array([measure(a) for a in agonist]), np.array([measure(a) for a in antagonist]))
    for entry in entries:
        if entry.state not in ("agonist", "antagonist"):
            values = coordinate(entry.alpha)[0], projection(entry.alpha), contacts(entry.alpha)
            print(f"{entry.name} {entry.chain} ({entry.state}): " + "  ".join(f"{v:.2f}" for v in values))

    both = agonist + antagonist
    anchors = AGONIST_ANCHOR + ANTAGONIST_ANCHOR
    within = [
        np.std([np.linalg.norm(a[i] - a[j]) for a in both])
        for group in (AGONIST_ANCHOR, ANTAGONIST_ANCHOR)
        for i, j in itertools.combinations(group, 2)
    ]
    between = [np.std([np.linalg.norm(a[i] - a[j]) for a in both]) for i, j in itertools.combinations(anchors, 2)]
    apart = [distances(a)[2] for a in both]
    print(
        f"anchors: {min(apart):.2f} to {max(apart):.2f} A apart; standard deviation of CA distances over the crystals: "
        f"within an anchor at most {max(within):.2f} A, of all pairs at most {max(between):.2f} A"
    )

    gaps = []
    for left in itertools.combinations(_AGONIST_SIDE, 3):
        for right in itertools.combinations(_ANTAGONIST_SIDE, 3):
            places = [[distances(a, left, right) for a in state] for state in (agonist, antagonist)]
            values = [np.array([d[0] - d[1] for d in state]) for state in places]
            gaps.append(low_high_gap(*values))
    print(f"{len(gaps)} other pairs of anchors, three residues each: gap {min(gaps):.1f} to {max(gaps):.1f} A")


def print_cost() -> None:
    protocol = load_protocol("standard")
    complex_ = build_complex(bundled_model("agonist"), None, None, protocol)

    def context(system: openmm.System) -> tuple[openmm.Context, openmm.Integrator]:
        integrator = openmm.LangevinMiddleIntegrator(300, 1, 0.002)
        made = openmm.Context(system, integrator, CPU.platform(), CPU.properties)
        made.setPositions(complex_.positions)
        integrator.step(2)
        return made, integrator

    plain = openmm.XmlSerializer.deserialize(openmm.XmlSerializer.serialize(complex_.system))
    unbiased, without = context(plain)
    sub = replace(whole(complex_), system=complex_.system)
    # the steps are timed without hills: one of these is laid every 250 steps
    bias = install(sub, complex_, Helix12Bias(), temperature_kelvin=300, time_step_fs=4)
    biased, integrator = context(sub.system)
    print(f"forces of the bias in the whole domain against Reference: relative error {bias.force_error(biased):.1e}")
    times: dict[str, list[float]] = {"without": [], "with": []}
    for _ in range(8):
        for name, stepper in (("without", without), ("with", integrator)):
            started = time.process_time()
            stepper.step(5)
            times[name].append((time.process_time() - started) / 5 * 1000)
    middle = {name: float(np.median(values)) for name, values in times.items()}
    ratios = np.array(times["with"]) / np.array(times["without"])
    print(
        f"step of {len(sub.atoms)} atoms, OBC2 without cutoff: {middle['without']:.1f} ms without and "
        f"{middle['with']:.1f} ms with the bias; ratio of neighbours in time: median {np.median(ratios):.3f}, "
        f"{ratios.min():.3f} to {ratios.max():.3f}"
    )
    started = time.process_time()
    for _ in range(20):
        bias._metadynamics._addGaussian((bias.value(biased) / 10,), 0.0 * openmm.unit.kilojoule_per_mole, biased)
    assert unbiased.getStepCount() == biased.getStepCount()
    print(f"a hill: {(time.process_time() - started) / 20 * 1000:.1f} ms, once in {bias.deposit_steps} steps")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pdb", type=Path, help="folder with structures.csv and the files that it lists")
    parser.add_argument("--cost", action="store_true", help="time the bias instead")
    arguments = parser.parse_args()
    if arguments.cost:
        print_cost()
        return
    models = [
        Entry(f"model {name}", "A", str(model.state), model_alpha_carbons(bundled_model(name)))
        for name, model in BUNDLED.items()
    ]
    print_table(models)
    if arguments.pdb is not None:
        print()
        print_classes(print_table(read_entries(arguments.pdb)))


if __name__ == "__main__":
    main()
