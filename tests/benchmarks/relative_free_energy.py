"""Relative free energies of three phenols in a frozen cut of the pocket, where cycles and self-edges are known to be 0.

``run``: alchemical transfers of phenol, p-cresol and 4-fluorophenol, each with its repeats, into ``--out``; a repeat
that is there already is not run again, one that was interrupted goes on. ``table``: what they say, and whether cycles
close.
``far``: how much of the two ligands' energy still depends on their distance at the displacement that is chosen.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
import openmm
from rdkit import Chem

from esr1md.analysis.relative_free_energy import RelativeFreeEnergy, analyse, closure, combine
from esr1md.catalogue import data_path
from esr1md.complex import Complex, build_complex
from esr1md.dynamics.atm import Transfer, TransferSystem, transfer_system
from esr1md.dynamics.atm_pair import common_frame, pose_on_core, two_ligands
from esr1md.dynamics.atm_run import RECORD, read_samples, sample
from esr1md.dynamics.platforms import PlatformChoice
from esr1md.dynamics.protocol import load_protocol
from esr1md.dynamics.region import extract
from esr1md.ligand.parameters import LigandParameters, parametrise
from esr1md.receptor.frame import bundled_model
from esr1md.report.relative_free_energy import write_convergence
from esr1md.specs import Ligand

LIGANDS = {"phenol": "Oc1ccccc1", "p-cresol": "Cc1ccc(O)cc1", "4-fluorophenol": "Oc1ccc(F)cc1"}
CYCLE = (("phenol", "p-cresol"), ("p-cresol", "4-fluorophenol"), ("4-fluorophenol", "phenol"))
EDGES = (("phenol", "phenol"), *CYCLE)
#: Whole residues of the pocket with an atom this near (angstrom) to the phenol: the host, which is held still.
HOST_ANGSTROM = 3.0
CPU = PlatformChoice("CPU", {"Threads": "1", "DeterministicForces": "true"}, "benchmark")


def parametrised(name: str, folder: Path) -> LigandParameters:
    mol = Chem.MolFromSmiles(LIGANDS[name])
    return parametrise(Ligand(name, Chem.MolToSmiles(mol), Chem.MolToInchiKey(mol), 0), folder / name)


def posed(name: str, folder: Path) -> tuple[LigandParameters, Path]:
    """The ligand on the phenol of 4-hydroxytamoxifen in 3ERT."""
    crystal = data_path("structures") / "poses" / "3ERT_OHT.sdf"
    mol = next(iter(Chem.SDMolSupplier(str(crystal), removeHs=False)))
    ring = mol.GetSubstructMatch(Chem.MolFromSmarts("[OX2H]c1ccccc1"))
    cut = Chem.RWMol(Chem.MolFromSmiles("Oc1ccccc1"))
    conformer = Chem.Conformer(cut.GetNumAtoms())
    for i, j in enumerate(ring):
        conformer.SetAtomPosition(i, mol.GetConformer().GetAtomPosition(j))
    cut.AddConformer(conformer)
    reference = folder / "phenol-of-3ERT.sdf"
    with Chem.SDWriter(str(reference)) as writer:
        writer.write(cut)
    parameters = parametrised(name, folder)
    return parameters, pose_on_core(parameters, reference, folder / name / "pose.sdf")


def pair(first: str, second: str, settings: Transfer) -> TransferSystem:
    """The two phenols, the first in a host of fixed residues."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        complexes: list[Complex] = []
        poses = []
        for i, ligand in enumerate((first, second)):
            (folder / str(i)).mkdir()
            parameters, pose = posed(ligand, folder / str(i))
            poses.append(next(iter(Chem.SDMolSupplier(str(pose), removeHs=False))))
            complexes.append(build_complex(bundled_model("antagonist"), parameters, pose, load_protocol("quick")))
    both = two_ligands(*complexes)
    core = common_frame(*poses, names=(first, second))
    n = poses[0].GetNumAtoms()
    ligands = both.ligand_atoms
    phenol = both.positions[ligands[[i for i, _ in core.pairs]]]
    residue = np.array([atom.residue.index for atom in both.topology.atoms()])
    distance = np.linalg.norm(both.positions[both.receptor_atoms][:, None] - phenol[None], axis=2).min(axis=1)
    near = both.receptor_atoms[distance < HOST_ANGSTROM / 10]
    host = both.receptor_atoms[np.isin(residue[both.receptor_atoms], np.unique(residue[near]))]
    atoms = np.concatenate([host, ligands])
    sub = extract(both, atoms, np.isin(atoms, ligands))
    start = len(host)
    return transfer_system(
        sub,
        both.positions[atoms],
        first=range(start, start + n),
        second=range(start + n, len(atoms)),
        anchors=[(start + i, start + n + j) for i, j in core.anchors],
        settings=settings,
    )


def far() -> None:
    print("| gap_angstrom | d (A) | u0 less u0 with the second ligand 50 A further away (kcal/mol) |")
    print("|---|---|---|")
    for gap in (10, 15, 20, 25, 40):
        transfer = pair("phenol", "p-cresol", Transfer(gap_angstrom=gap))
        context = openmm.Context(transfer.system, openmm.VerletIntegrator(0.001), CPU.platform(), CPU.properties)
        values = []
        for extra in (0.0, 50.0):
            x = transfer.positions.copy()
            d = transfer.displacement_nm
            x[transfer.second] += extra * d / np.linalg.norm(d)
            context.setPositions(x)
            values.append(transfer.energies(context)[0] / 4.184)
        print(f"| {gap} | {10 * np.linalg.norm(transfer.displacement_nm):.0f} | {values[0] - values[1]:+.4f} |")


def run(arguments: argparse.Namespace) -> None:
    settings = Transfer(
        states_per_leg=arguments.states, equilibrate_ps=arguments.equilibrate, sample_ps=arguments.ps, exchange_ps=0.25
    )
    for seed in range(1, arguments.repeats + 1):
        for first, second in arguments.edges:
            folder = arguments.out / f"{first}_{second}_{seed}"
            if (folder / RECORD).is_file():
                continue
            record = sample(pair(first, second, settings), seed=seed, platform=CPU, folder=folder, time_step_fs=4.0)
            print(folder.name, record.n_atoms, "atoms", json.dumps(record.seconds), flush=True)


def table(folder: Path) -> None:
    """Every edge in ``folder`` with its repeats, then the cycle of three if its edges are there."""
    repeats: dict[tuple[str, ...], list[RelativeFreeEnergy]] = {}
    for path in sorted(folder.glob(f"*/{RECORD}")):
        record = json.loads(path.read_text())
        found = analyse(read_samples(path.parent), Transfer(**record["settings"]), record["temperature_kelvin"])
        repeats.setdefault(tuple(path.parent.name.split("_")[:2]), []).append(found)
    print("| edge | repeats (kcal/mol, MBAR's error) | mean and its error | verdict |")
    print("|---|---|---|---|")
    edges = {}
    for (first, second), values in repeats.items():
        edges[first, second] = edge = combine(values)
        each = ", ".join(f"{r.difference_kcal:.2f} ({r.error_kcal:.2f})" for r in values)
        error = "" if edge.error_kcal is None else f" +- {edge.error_kcal:.2f}"
        print(f"| {first} to {second} | {each} | {edge.difference_kcal:.2f}{error} | {edge.reason} |")
        write_convergence(values, edge, folder / f"{first}_{second}.html", title=f"{first} to {second}")
    cycle = [edges.get(edge) for edge in CYCLE]
    if all(edge is not None and edge.error_kcal is not None for edge in cycle):
        closed = closure(cycle)
        low, high = closed.interval_kcal
        print(f"cycle: {closed.sum_kcal:.2f} kcal/mol (95 % interval {low:.2f} to {high:.2f}), closes: {closed.closes}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "table", "far"))
    parser.add_argument("--out", type=Path, default=Path("build/relative-free-energy"))
    parser.add_argument("--states", type=int, default=6, help="of each leg")
    parser.add_argument("--equilibrate", type=float, default=3.0, help="ps for each state")
    parser.add_argument("--ps", type=float, default=50.0, help="sampled for each state")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--edge", dest="edges", action="append", type=lambda t: tuple(t.split(":")), help="A:B")
    arguments = parser.parse_args()
    arguments.edges = arguments.edges or EDGES
    if arguments.what == "run":
        run(arguments)
    elif arguments.what == "table":
        table(arguments.out)
    else:
        far()


if __name__ == "__main__":
    main()
