"""The coordinate along which helix 12 is driven: its value in every structure, and what the bias costs.

    python tests/benchmarks/helix12_coordinate.py [--pdb ../shared/data/pdb] [--cost] [--drive PS]

s in all bundled models and, with --pdb, in every chain that ``structures.csv`` there lists, by the helix-12 state it
gives; the gap between the states, beside two other coordinates and other anchors; how rigid the anchors are. --cost:
time of a step of the whole domain in OBC2 without cutoff with and without the bias, and of a hill (CPU platform, one
thread). --drive: where helix 12 of the agonist model goes in so many ps under hills far too high and too frequent for
a free energy, without solvent at a dielectric constant of 4.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import mdtraj
import numpy as np
import openmm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from esr1md.analysis import helix12  # noqa: E402
from esr1md.complex import build_complex, nonbonded_force  # noqa: E402
from esr1md.dynamics.helix12_bias import (  # noqa: E402
    ANCHORS,
    HELIX12_HALVES,
    Helix12Bias,
    Line,
    coordinate,
    helix12_line,
    install,
)
from esr1md.dynamics.protocol import load_protocol  # noqa: E402
from esr1md.dynamics.region import whole  # noqa: E402
from esr1md.dynamics.run import simulate  # noqa: E402
from esr1md.receptor.bundled import BUNDLED  # noqa: E402
from esr1md.receptor.frame import alpha_carbons, bundled_model, model_alpha_carbons  # noqa: E402
from esr1md.receptor.source import choose_chain  # noqa: E402
from esr1md.receptor.structure_file import read_structure  # noqa: E402
from systems import CPU, apo_complex, tiny_protocol  # noqa: E402

#: What two single centroids would be driven between: all of helix 12, and one anchor for each place.
_HELIX12 = tuple(range(538, 545))
_AGONIST, _ANTAGONIST = (347, 348, 350, 351, 522), (358, 362, 372, 375, 376)
#: Core residues about each anchor, from which others are drawn.
_ABOUT = ((343, 347, 348, 350, 351, 354), (519, 520, 521, 522, 523, 525), (355, 358, 359, 361, 362, 365),
          (368, 372, 373, 375, 376, 379))  # fmt: skip
_DRAWS = 1000


@dataclass(frozen=True)
class Entry:
    """One chain: CA positions (angstrom) by residue number, and the state that is given for it."""

    name: str
    chain: str
    state: str
    alpha: dict[int, np.ndarray]


def centroid(alpha: dict[int, np.ndarray], group: tuple[int, ...]) -> np.ndarray:
    return np.mean([alpha[n] for n in group], axis=0)


def two_distances(alpha: dict[int, np.ndarray]) -> float:
    """Distance of the one centroid of helix 12 to the agonist anchor less that to the antagonist one (angstrom)."""
    h = centroid(alpha, _HELIX12)
    return float(np.subtract(*(np.linalg.norm(h - centroid(alpha, g)) for g in (_AGONIST, _ANTAGONIST))))


def s_with(anchors: tuple[tuple[int, ...], ...], alphas: list[dict[int, np.ndarray]]) -> np.ndarray:
    """s (angstrom) of structures, were these the anchors."""
    pairs = helix12_line().pairs
    first, second = np.array(pairs).T

    def centroids(alpha: dict[int, np.ndarray]) -> np.ndarray:
        return np.array([centroid(alpha, g) for g in HELIX12_HALVES + anchors]) / 10

    ends = [centroids(model_alpha_carbons(bundled_model(state))) for state in ("agonist", "antagonist")]
    line = Line.through(pairs, *(np.linalg.norm(c[first] - c[second], axis=1) for c in ends))
    return np.array([10 * line.measure(centroids(alpha))[0] for alpha in alphas])


def contacts(alpha: dict[int, np.ndarray]) -> float:
    """CA contacts of helix 12 with the antagonist anchor less those with the agonist one (switched at 10 A)."""
    counts = []
    for anchor in (_ANTAGONIST, _AGONIST):
        apart = [np.linalg.norm(alpha[i] - alpha[j]) for i in _HELIX12 for j in anchor]
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
    wanted = sorted({n for group in HELIX12_HALVES + ANCHORS for n in group})
    complete = [e for e in entries if all(n in e.alpha for n in wanted)]
    print("| structure | helix 12 | chains | s (A) | z (A) |\n|---|---|---|---|---|")
    for (name, state), group in itertools.groupby(complete, key=lambda e: (e.name, e.state)):
        values = np.array([coordinate(e.alpha) for e in group])
        low, high = values.min(axis=0), values.max(axis=0)
        s, z = (
            f"{lo:.1f}" if f"{lo:.1f}" == f"{hi:.1f}" else f"{lo:.1f} to {hi:.1f}"
            for lo, hi in zip(low, high, strict=True)
        )
        print(f"| {name} | {state} | {len(values)} | {s} | {z} |")
    for entry in entries:
        if entry not in complete:
            lacking = [n for n in wanted if n not in entry.alpha]
            print(f"| {entry.name} | {entry.state} | 1 | lacks {lacking[0]} to {lacking[-1]} | |")
    return complete


def print_gap(name: str, agonist: np.ndarray, antagonist: np.ndarray) -> None:
    low, high = (agonist, antagonist) if agonist.mean() < antagonist.mean() else (antagonist, agonist)
    gap, widest = low_high_gap(low, high), max(np.ptp(low), np.ptp(high))
    print(
        f"{name:14s} agonist {agonist.mean():6.2f} ({agonist.min():.2f} to {agonist.max():.2f})  antagonist "
        f"{antagonist.mean():6.2f} ({antagonist.min():.2f} to {antagonist.max():.2f})  gap {gap:.2f}  "
        f"gap / widest class {gap / widest:.1f}"
    )


def low_high_gap(low: np.ndarray, high: np.ndarray) -> float:
    return float(high.min() - low.max())


def print_classes(entries: list[Entry]) -> None:
    agonist = [e.alpha for e in entries if e.state == "agonist"]
    antagonist = [e.alpha for e in entries if e.state == "antagonist"]
    print(f"\n{len(agonist)} agonist and {len(antagonist)} antagonist chains")
    for name, measure in (("s", lambda a: coordinate(a)[0]), ("two distances", two_distances), ("contacts", contacts)):
        print_gap(name, np.array([measure(a) for a in agonist]), np.array([measure(a) for a in antagonist]))
    print(
        "means of s for the basins:", *(f"{np.mean([coordinate(a)[0] for a in g]):.2f}" for g in (agonist, antagonist))
    )
    print("largest z:", *(f"{max(coordinate(a)[1] for a in g):.2f}" for g in (agonist, antagonist)))
    for entry in entries:
        if entry.state not in ("agonist", "antagonist"):
            values = (*coordinate(entry.alpha), two_distances(entry.alpha), contacts(entry.alpha))
            print(
                f"{entry.name} {entry.chain} ({entry.state}), s, z and the others: "
                + "  ".join(f"{v:.2f}" for v in values)
            )

    both = agonist + antagonist
    residues = [n for group in ANCHORS for n in group]
    spread = [np.std([np.linalg.norm(a[i] - a[j]) for a in both]) for i, j in itertools.combinations(residues, 2)]
    print(f"CA distances among the {len(residues)} anchor residues: standard deviation at most {max(spread):.2f} A")

    generator = np.random.default_rng(1)
    ratios = []
    while len(ratios) < _DRAWS:
        drawn = tuple(tuple(int(n) for n in generator.choice(about, 3, replace=False)) for about in _ABOUT)
        if all(n in a for a in both for group in drawn for n in group):
            low, high = s_with(drawn, agonist), s_with(drawn, antagonist)
            ratios.append(low_high_gap(low, high) / max(np.ptp(low), np.ptp(high)))
    print(f"{_DRAWS} other sets of three-residue anchors: gap / widest class {min(ratios):.1f} to {max(ratios):.1f}")


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


def print_drive(duration_ps: float) -> None:
    complex_ = apo_complex()
    system = openmm.XmlSerializer.deserialize(openmm.XmlSerializer.serialize(complex_.system))
    for i in reversed(range(system.getNumForces())):
        if isinstance(system.getForce(i), openmm.GBSAOBCForce):
            system.removeForce(i)
    nonbonded = nonbonded_force(system)
    for i in range(nonbonded.getNumParticles()):
        charge, sigma, epsilon = nonbonded.getParticleParameters(i)
        nonbonded.setParticleParameters(i, charge / 2, sigma, epsilon)
    for i in range(nonbonded.getNumExceptions()):
        first, second, product, sigma, epsilon = nonbonded.getExceptionParameters(i)
        nonbonded.setExceptionParameters(i, first, second, product / 4, sigma, epsilon)
    bias = {"height_kcal": 2, "deposit_ps": 0.2, "bias_factor": 100}
    stages = [
        {"kind": "minimise", "iterations": 200, "solvent": False},
        {"kind": "heat", "from_kelvin": 100, "duration_ps": 0.4},
        {"kind": "produce", "duration_ps": duration_ps, "frame_ps": 0.5, "helix12_bias": bias},
    ]
    protocol = tiny_protocol(region=None, scoring={"receptor": "whole"}, friction_per_ps=5, stages=stages)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        simulate(replace(complex_, system=system), protocol, seed=1, platform=CPU, folder=folder)
        trajectory = mdtraj.load_xtc(str(folder / "trajectory.xtc"), top=str(folder / "complex.pdb"))
    measured = helix12.measure(helix12.superpose_on_core(trajectory))
    alpha = helix12.residue_atoms(trajectory.topology, tuple(range(306, 551)), "CA")
    for i in range(0, trajectory.n_frames, max(1, trajectory.n_frames // 40)):
        s, z = coordinate({n: 10 * trajectory.xyz[i, atom] for n, atom in alpha.items()})
        rmsd = (measured[f"h12_rmsd_{state}_angstrom"][i] for state in ("agonist", "antagonist"))
        print(
            f"{trajectory.time[i]:6.1f} ps  s {s:5.2f}  z {z:4.2f}  RMSD to the agonist and the antagonist place "
            + "  ".join(f"{r:5.2f}" for r in rmsd)
            + f"  helicity {measured['h12_helicity'][i]:.2f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pdb", type=Path, help="folder with structures.csv and the files that it lists")
    parser.add_argument("--cost", action="store_true", help="time the bias instead")
    parser.add_argument("--drive", type=float, metavar="PS", help="drive helix 12 instead")
    arguments = parser.parse_args()
    if arguments.drive:
        print_drive(arguments.drive)
        return
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
