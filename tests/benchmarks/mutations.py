"""Modelled mutations against crystals of the mutant, beside PDBFixer's template placement.

    python tests/benchmarks/mutations.py --pdb ../shared/data/pdb

Each case builds a variant from the crystal of another one and compares the result with crystals of the variant,
after superposition of the LBD core: RMSD of the mutated side chain's heavy atoms, chi1, and C-alpha RMSD of the
H11-H12 loop (527-536). A crystal that a bundled model was made of is compared with a model for which nothing was
taken from that one. A crystal with a symmetric side chain is compared with whichever naming is nearer. How far
the crystals of one variant are from each other, by the same measures, follows: a smaller difference decides nothing.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import sys
import tempfile
import time
from dataclasses import asdict, astuple, dataclass
from pathlib import Path

import gemmi
import numpy as np
from openmm import app
from pdbfixer import PDBFixer

from esr1md.receptor.build import build_receptor
from esr1md.receptor.bundled import BUNDLED
from esr1md.receptor.frame import (
    alpha_carbons,
    bundled_model,
    helix12_state,
    model_alpha_carbons,
    superpose,
    superpose_core,
)
from esr1md.receptor.relax import cpu_platform
from esr1md.receptor.residues import HEAVY_ATOMS, chi_torsions
from esr1md.receptor.sequence import ONE_LETTER, THREE_LETTER, parse_variant, wild_type_residue
from esr1md.receptor.source import read_source

LOOP = tuple(range(527, 537))
SYMMETRIC = {"TYR": (("CD1", "CD2"), ("CE1", "CE2")), "PHE": (("CD1", "CD2"), ("CE1", "CE2")), "LEU": (("CD1", "CD2"),)}


@dataclass(frozen=True)
class Case:
    """A variant built from ``start`` (file, chain) and the crystals it is compared with."""

    variant: str
    site: int
    start: tuple[str, str]
    references: tuple[tuple[str, str], ...]


Y537S = (
    ("5WGD.cif", "A"),
    ("5WGD.cif", "B"),
    *((f"litpcba/{i}_ago_protein.pdb", "A") for i in ("2P15", "2QR9", "2QSE", "4PPS", "5DRJ", "5DZI")),
)
WILD_AGONIST = (("1QKU.pdb", "A"), ("1ERE.cif", "A"), ("litpcba/1L2I_ago_protein.pdb", "A"))
WILD_ANTAGONIST = (("3ERT.pdb", "A"), ("1XPC.pdb", "A"))
L536S = (("litpcba/5UFX_ant_protein.pdb", "A"),)
CASES = (
    Case("Y537S", 537, ("1QKU.pdb", "A"), Y537S),
    Case("Y537S", 537, ("1ERE.cif", "A"), Y537S),
    Case("Y537S", 537, ("litpcba/1L2I_ago_protein.pdb", "A"), Y537S),
    Case("L536S", 536, ("3ERT.pdb", "A"), L536S),
    Case("WT", 537, ("5WGD.cif", "A"), WILD_AGONIST),
    Case("WT", 537, ("litpcba/2P15_ago_protein.pdb", "A"), WILD_AGONIST),
    Case("WT", 536, ("litpcba/5UFX_ant_protein.pdb", "A"), WILD_ANTAGONIST),
)


@dataclass(frozen=True)
class Score:
    """One model against one crystal; lengths in angstrom, angles in degrees.

    ``side_chain_rmsd``: heavy atoms of the mutated side chain after fitting its own N, CA and C, so that it measures
    the side chain; ``placed_rmsd``: the same atoms after superposition of the core only, which adds how far the
    backbone there differs.
    """

    side_chain_rmsd: float
    placed_rmsd: float
    chi1_error: float
    loop_rmsd: float


def moved_to_frame(chain: gemmi.Chain) -> gemmi.Chain:
    rotation, translation, _ = superpose_core(alpha_carbons(chain), model_alpha_carbons(bundled_model("antagonist")))
    chain = chain.clone()
    for residue in chain:
        for atom in residue:
            atom.pos = gemmi.Position(*(rotation @ np.array(atom.pos.tolist()) + translation))
    return chain


def chi1(residue: gemmi.Residue) -> float:
    names = chi_torsions(residue.name)[0][0]
    return math.degrees(gemmi.calculate_dihedral(*(residue[name][0].pos for name in names)))


def position(residue: gemmi.Residue, name: str) -> np.ndarray:
    return np.array(residue[name][0].pos.tolist())


def compare(model: gemmi.Chain, crystal: gemmi.Chain, site: int) -> Score:
    """Score of a model; both chains lie in the frame of the core."""
    mine, theirs = model[str(site)][0], crystal[str(site)][0]
    if mine.name != theirs.name:
        raise ValueError(f"residue {site}: model has {mine.name}, crystal {theirs.name}")
    backbone = [np.array([position(r, n) for n in ("N", "CA", "C")]) for r in (mine, theirs)]
    rotation, translation, _ = superpose(*backbone)
    names = [n for n in HEAVY_ATOMS[mine.name][4:] if n in theirs]
    swaps = [{}, {a: b for pair in SYMMETRIC.get(mine.name, ()) for a, b in (pair, pair[::-1])}]

    def rmsd(fit: bool) -> float:
        atoms = np.array([position(mine, n) for n in names])
        atoms = atoms @ rotation.T + translation if fit else atoms
        return min(
            math.sqrt(((atoms - np.array([position(theirs, swap.get(n, n)) for n in names])) ** 2).sum(axis=1).mean())
            for swap in swaps
        )

    turn = (chi1(mine) - chi1(theirs) + 180) % 360 - 180
    a, b = alpha_carbons(model), alpha_carbons(crystal)
    shared = [n for n in LOOP if n in a and n in b]
    loop = math.sqrt(np.mean([np.sum((a[n] - b[n]) ** 2) for n in shared]))
    return Score(rmsd(True), rmsd(False), abs(turn), loop)


def ours(case: Case, pdb: Path, folder: Path, crystal: str = "") -> gemmi.Chain:
    """The variant as esr1md builds it from the crystal's chain, with nothing taken from ``crystal``."""
    source = folder / "start.pdb"
    write_chain(read_source(pdb / case.start[0], case.start[1]).chain, source)
    state = helix12_state(alpha_carbons(gemmi.read_structure(str(source))[0][0]))
    model = build_receptor(parse_variant(case.variant), state, folder, source=source, without=made_of(crystal))
    return gemmi.read_structure(str(model.pdb))[0][0]


def made_of(crystal: str) -> set[str]:
    """Bundled models made of a crystal's file."""
    return {name for name, model in BUNDLED.items() if model.file == crystal}


def template(case: Case, pdb: Path, folder: Path, crystal: str = "") -> gemmi.Chain:
    """The same change by PDBFixer: ``applyMutations`` and the atoms it adds, on the crystal's chain."""
    source = folder / "template.pdb"
    chain = read_source(pdb / case.start[0], case.start[1]).chain
    write_chain(chain, source)
    wanted = {m.position: m.mutant for m in parse_variant(case.variant).mutations}
    changes = [
        f"{residue.name}-{residue.seqid.num}-{THREE_LETTER[letter]}"
        for residue in chain
        if ONE_LETTER[residue.name] != (letter := wanted.get(residue.seqid.num, wild_type_residue(residue.seqid.num)))
    ]
    with cpu_platform() as platform:
        fixer = PDBFixer(filename=str(source), platform=platform)
        fixer.applyMutations(changes, "A")
        fixer.missingResidues = {}
        fixer.findMissingAtoms()
        fixer.missingTerminals = {}
        fixer.addMissingAtoms(seed=1)
    app.PDBFile.writeFile(fixer.topology, fixer.positions, str(source), keepIds=True)
    return gemmi.read_structure(str(source))[0][0]


def write_chain(chain: gemmi.Chain, path: Path) -> None:
    structure = gemmi.Structure()
    structure.add_model(gemmi.Model(1))
    structure[0].add_chain(chain)
    structure.setup_entities()
    structure.write_pdb(str(path))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pdb", type=Path, default=Path("../shared/data/pdb"), help="folder of crystal structures")
    parser.add_argument("--json", type=Path, help="write every number here as well")
    parser.add_argument("--cases", type=int, nargs="*", help="only these cases (from 0)")
    options = parser.parse_args()
    rows = []
    print("| start -> variant | crystal | method | side chain (A) | placed (A) | chi1 (deg) | loop CA (A) | CPU (s) |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for index, case in enumerate(CASES):
        if options.cases and index not in options.cases:
            continue
        start = Path(case.start[0]).stem.split("_")[0]
        for method in (template, ours):
            built: dict[frozenset, tuple[gemmi.Chain, float]] = {}
            for file, chain in case.references:
                left_out = frozenset(made_of(file) if method is ours else ())
                if left_out not in built:
                    with tempfile.TemporaryDirectory() as name:
                        started = time.process_time()
                        model = moved_to_frame(method(case, options.pdb, Path(name), file))
                        built[left_out] = (model, time.process_time() - started)
                model, seconds = built[left_out]
                score = compare(model, moved_to_frame(read_source(options.pdb / file, chain).chain), case.site)
                crystal = f"{Path(file).stem.split('_')[0]}:{chain}"
                row = {"start": start, "variant": case.variant, "site": case.site, "crystal": crystal,
                       "method": method.__name__, "seconds": round(seconds, 1), **asdict(score)}  # fmt: skip
                rows.append(row)
                print(
                    f"| {start} -> {case.variant} ({case.site}) | {crystal} | {method.__name__} "
                    f"| {score.side_chain_rmsd:.2f} | {score.placed_rmsd:.2f} | {score.chi1_error:.0f} "
                    f"| {score.loop_rmsd:.2f} | {seconds:.0f} |",
                    flush=True,
                )
                if options.json:
                    options.json.write_text(json.dumps(rows, indent=1) + "\n")
    print_summary(rows)
    print_spread(options.pdb)


def print_spread(pdb: Path) -> None:
    """Mean scores of every reference crystal of a variant against every other."""
    groups = (("Y537S", 537, Y537S), ("WT agonist", 537, WILD_AGONIST), ("WT antagonist", 536, WILD_ANTAGONIST))
    for name, site, files in groups:
        chains = [moved_to_frame(read_source(pdb / file, chain).chain) for file, chain in files]
        scores = [astuple(compare(a, b, site)) for a, b in itertools.combinations(chains, 2)]
        side, placed, turn, loop = np.mean(scores, axis=0)
        print(f"| {name} ({site}) | {len(chains)} crystals | each other | {side:.2f} | {placed:.2f} | {turn:.0f} "
              f"| {loop:.2f} | |")  # fmt: skip


def print_summary(rows: list[dict]) -> None:
    """Means per method over cases (crystals of one case averaged first), and in how many cases ours is no worse."""
    cases = sorted({(row["start"], row["variant"], row["site"]) for row in rows})
    table = {}
    for method in ("template", "ours"):
        table[method] = np.array(
            [
                [
                    np.mean([row[key] for row in rows if row["method"] == method
                             and (row["start"], row["variant"], row["site"]) == case])
                    for key in ("side_chain_rmsd", "placed_rmsd", "chi1_error", "loop_rmsd")
                ]
                for case in cases
            ]
        )  # fmt: skip
        side, placed, turn, loop = table[method].mean(axis=0)
        agree = int((table[method][:, 2] <= 40).sum())
        print(f"| mean of {len(cases)} cases | | {method} | {side:.2f} | {placed:.2f} | {turn:.0f} "
              f"({agree} of {len(cases)} within 40) | {loop:.2f} | |")  # fmt: skip
    no_worse = (table["ours"] <= table["template"] + 0.05).sum(axis=0)
    print(f"cases in which ours is no worse (0.05 A, 0.05 deg): side chain {no_worse[0]}, placed {no_worse[1]}, "
          f"chi1 {no_worse[2]}, loop {no_worse[3]} of {len(cases)}")  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
