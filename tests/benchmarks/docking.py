"""Redocking and cross-docking on the crystal complexes at hand: our placement beside plain Vina.

    python tests/benchmarks/docking.py run --pdb ../shared/data/pdb --out docking.jsonl --set cross --method vina
    python tests/benchmarks/docking.py table docking.jsonl

Every ligand goes into its own receptor (redock) and into the other receptors of its helix-12 state (cross). A
receptor keeps the heavy atoms of its file; a ligand starts from its SMILES. References of our placement that are the
ligand itself or resemble it (Tanimoto of Morgan fingerprints above 0.7) are left out. Plain Vina: exhaustiveness 8 in a
box of 8 angstrom around the receptor's own crystal ligand, one ETKDG conformer. RMSD is symmetry-corrected over heavy
atoms, without fitting; a pose is valid if it passes every PoseBusters test of its "dock" set. Rows are written as they
come and not computed twice.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cache
from pathlib import Path

os.environ.setdefault("OPENMM_CPU_THREADS", "1")

import gemmi
import numpy as np
from rdkit import Chem, RDLogger
from rdkit.Chem import AllChem, rdMolAlign

from esr1md.errors import Esr1mdError
from esr1md.ligand.parameters import parametrise
from esr1md.poses.docking import dock
from esr1md.poses.place import cost, place_ligand
from esr1md.poses.references import SOURCES, Source, crystal_ligand, find_entry_files
from esr1md.receptor.frame import alpha_carbons, superpose_core
from esr1md.receptor.given import receptor_as_given
from esr1md.receptor.source import choose_chain
from esr1md.receptor.structure_file import read_structure
from esr1md.specs import HelixState, Ligand

SIMILAR = 0.7
BOX_MARGIN = 8.0


@dataclass(frozen=True)
class Case:
    """A ligand (of ``source``) into the receptor of another or the same entry."""

    source: Source
    receptor: Source

    @property
    def name(self) -> str:
        return f"{self.source.name} -> {self.receptor.name}"


def cases(which: str) -> list[Case]:
    found = []
    for source in SOURCES:
        for receptor in SOURCES:
            own, state = source == receptor, source.state == receptor.state
            if own if which == "redock" else not own and state and source.ligand != receptor.ligand:
                found.append(Case(source, receptor))
    if which == "cross":  # in an order whose beginning is a fair sample
        np.random.default_rng(1).shuffle(found)
    return found


@cache
def _folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="docking-"))


@cache
def receptor_of(source: Source, pdb: Path):
    """The receptor of an entry ready to pose in, its C-alpha atoms, and the crystal ligand in its frame; made once."""
    structure, ligand = find_entry_files(pdb, source)
    crystal = crystal_ligand(source, structure, ligand)
    box = tuple(
        (a.GetSymbol(), tuple(p))
        for a, p in zip(crystal.GetAtoms(), crystal.GetConformer().GetPositions(), strict=True)
    )
    kept = _folder() / f"{source.name}.pdb"
    given = receptor_as_given(structure, kept, box)
    return given, _alphas(kept), crystal


def _alphas(pdb: Path) -> dict[int, np.ndarray]:
    """C-alpha positions of all chains by residue number."""
    found: dict[int, np.ndarray] = {}
    for chain in gemmi.read_structure(str(pdb))[0]:
        found |= {number: xyz for number, xyz in alpha_carbons(chain).items() if number < 1000}
    return found


def run_case(case: Case, pdb: Path, method: str, exhaustiveness: int) -> dict:
    RDLogger.DisableLog("rdApp.*")
    given, alphas, other = receptor_of(case.receptor, pdb)
    if case.source == case.receptor:
        crystal = other
    else:
        structure, ligand = find_entry_files(pdb, case.source)
        crystal = crystal_ligand(case.source, structure, ligand)
        chain = choose_chain(read_structure(structure), name=case.source.chain if ligand is None else None).chain
        own = alpha_carbons(chain)
        rotation, translation, _ = superpose_core(own, alphas)
        crystal.GetConformer().SetPositions(crystal.GetConformer().GetPositions() @ rotation.T + translation)
    smiles = Chem.MolToSmiles(crystal)
    mol = Chem.MolFromSmiles(smiles)
    ligand = Ligand(case.source.ligand, smiles, Chem.MolToInchiKey(mol), Chem.GetFormalCharge(mol))
    row = {
        "set": "redock" if case.source == case.receptor else "cross",
        "case": case.name,
        "method": method,
        "ligand": case.source.ligand,
        "state": str(given.state or "unknown"),
    }
    started = (time.monotonic(), time.process_time())
    try:
        poses, more = (_vina if method == "vina" else _ours)(ligand, mol, given, other, exhaustiveness)
    except Esr1mdError as error:
        return {**row, "error": str(error)[:300], "seconds": round(time.monotonic() - started[0], 1)}
    row |= {
        "seconds": round(time.monotonic() - started[0], 1),
        "cpu_seconds": round(time.process_time() - started[1], 1),
    }
    bare = Chem.RemoveAllHs(crystal)
    row["rmsd"] = [round(float(rdMolAlign.CalcRMS(Chem.RemoveAllHs(Chem.Mol(pose)), bare)), 2) for pose in poses]
    failed = _busted(poses[0], given.pdb)
    return {**row, **more, "valid": not failed, "failed_checks": failed}


@cache
def _parameters(ligand: Ligand):
    return parametrise(ligand, Path(tempfile.mkdtemp(dir=_folder())))


def _ours(ligand, mol, given, other, exhaustiveness):
    folder = Path(tempfile.mkdtemp(dir=_folder()))
    parameters = _parameters(ligand)
    state = given.state or HelixState.DISPLACED
    found = place_ligand(
        ligand,
        parameters,
        given.pdb,
        state,
        folder / "pose",
        exclude=(ligand.name,),
        exclude_similar=SIMILAR,
        anyway=True,
    )
    poses = list(Chem.SDMolSupplier(str(folder / "pose" / "poses.sdf"), removeHs=False))
    shown = (
        "confidence",
        "reference",
        "interaction_kcal",
        "strain_kcal",
        "above_kcal",
        "vina_kcal",
        "clashes",
        "anchors_angstrom",
        "failed_checks",
    )
    return poses, {
        "poses": [{name: getattr(pose, name) for name in shown} for pose in found],
        "thorough": found[0].details["thorough"],
        "misfit": found[0].misfit,
        "cpu": found[0].details["cpu_seconds"],
    }


def _vina(ligand, mol, given, other, exhaustiveness):
    whole = Chem.AddHs(mol)
    AllChem.EmbedMolecule(whole, randomSeed=1)
    AllChem.MMFFOptimizeMolecule(whole)
    low, high = (f(other.GetConformer().GetPositions(), axis=0) for f in (np.min, np.max))
    size = np.maximum(high - low + 2 * BOX_MARGIN, 22.0)
    found = dock(given.pdb, whole, (low + high) / 2, size, exhaustiveness=exhaustiveness, poses=5)
    poses = []
    for docked in found:
        pose = Chem.Mol(whole)
        pose.GetConformer().SetPositions(docked.xyz)
        poses.append(pose)
    return poses, {"score": found[0].score}


def _busted(pose: Chem.Mol, receptor: Path) -> list[str]:
    from posebusters import PoseBusters

    table = PoseBusters(config="dock").bust([pose], mol_cond=str(receptor))
    return [str(name) for name, passed in table.iloc[0].items() if not bool(passed)]


def run(arguments: argparse.Namespace) -> None:
    done = set()
    if arguments.out.exists():
        done = {(r["case"], r["method"]) for r in map(json.loads, arguments.out.read_text().splitlines())}
    todo = [
        c
        for c in cases(arguments.set)[: arguments.limit]
        if (c.name, arguments.method) not in done and arguments.only in c.name
    ]
    print(f"{len(todo)} cases of {arguments.set} by {arguments.method}", file=sys.stderr)
    with ProcessPoolExecutor(arguments.workers) as pool:
        running = {pool.submit(run_case, c, arguments.pdb, arguments.method, arguments.exhaustiveness): c for c in todo}
        for future in as_completed(running):
            row = future.result()
            with arguments.out.open("a") as handle:
                handle.write(json.dumps(row) + "\n")
            best = row["rmsd"][0] if "rmsd" in row else row["error"][:80]
            print(
                f"{row['case']:24s} {row['method']:5s} {best} {row.get('rmsd', [])[1:]} {row['seconds']} s "
                f"{row.get('failed_checks', '')}",
                file=sys.stderr,
            )


def reorder(arguments: argparse.Namespace) -> None:
    """The poses of finished rows in the order that ``cost`` gives now: nothing else of a row depends on it."""
    rows = [json.loads(line) for line in arguments.file.read_text().splitlines()]
    for row in rows:
        if row["method"] == "ours" and "rmsd" in row and not row["misfit"]:
            poses = row["poses"]
            costs = [cost(p["above_kcal"], p["interaction_kcal"], p["vina_kcal"], p["failed_checks"]) for p in poses]
            order = sorted(range(len(poses)), key=costs.__getitem__)
            first = poses[order[0]]
            row["rmsd"] = [row["rmsd"][i] for i in order]
            row["poses"] = [
                {**poses[i], "above_kcal": round(poses[i]["above_kcal"] - first["above_kcal"], 2)} for i in order
            ]
            row |= {"failed_checks": first["failed_checks"], "valid": not first["failed_checks"]}
    arguments.file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def table(arguments: argparse.Namespace) -> None:
    rows = [json.loads(line) for path in arguments.files for line in path.read_text().splitlines()]
    print("| set | method | cases | top pose within 2 A | best of 5 within 2 A | median RMSD | valid | median s |")
    print("|---|---|---|---|---|---|---|---|")
    for which in ("redock", "cross"):
        for method in ("ours", "vina"):
            own = [r for r in rows if (r["set"], r["method"]) == (which, method)]
            if not own:
                continue
            top = np.array([r["rmsd"][0] if "rmsd" in r else np.inf for r in own])
            best = np.array([min(r["rmsd"]) if "rmsd" in r else np.inf for r in own])
            valid = np.mean([r.get("valid", False) for r in own])
            print(
                f"| {which} | {method} | {len(own)} | {np.mean(top <= 2):.0%} | {np.mean(best <= 2):.0%} | "
                f"{np.median(top):.2f} A | {valid:.0%} | {np.median([r['seconds'] for r in own]):.0f} |"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    runner = commands.add_parser("run")
    runner.add_argument("--pdb", type=Path, required=True)
    runner.add_argument("--out", type=Path, required=True)
    runner.add_argument("--set", choices=("redock", "cross"), default="redock")
    runner.add_argument("--method", choices=("ours", "vina"), default="ours")
    runner.add_argument("--limit", type=int)
    runner.add_argument("--only", default="")
    runner.add_argument("--workers", type=int, default=2)
    runner.add_argument("--exhaustiveness", type=int, default=8)
    runner.set_defaults(call=run)
    shower = commands.add_parser("table")
    shower.add_argument("files", type=Path, nargs="+")
    shower.set_defaults(call=table)
    orderer = commands.add_parser("reorder", help="after a change of how finished poses are ordered")
    orderer.add_argument("file", type=Path)
    orderer.set_defaults(call=reorder)
    arguments = parser.parse_args()
    arguments.call(arguments)


if __name__ == "__main__":
    main()
