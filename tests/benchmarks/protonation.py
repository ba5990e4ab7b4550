"""How often the dominant protonation state is the right one: ours, and Dimorphite-DL alone, in one run.

Two yardsticks: the curated states of the ligand catalogue, and the charges that DUD-E (``../shared/data/affinity``)
was prepared with by another program (Epik). DUD-E lists several states of many compounds; any of their charges counts.
"""

from __future__ import annotations

import argparse
import collections
import csv
import random
import time
from collections.abc import Callable
from pathlib import Path

from dimorphite_dl import protonate_smiles
from rdkit import Chem

from esr1md.ligand.catalogue import catalogue_entries
from esr1md.ligand.protonation import PH, neutralised, protonation_states
from esr1md.ligand.states import prepare_compound

TABLE = Path(__file__).resolve().parents[3] / "shared/data/affinity/dude_esr1.csv"


def ours(mol: Chem.Mol) -> int:
    return protonation_states(mol)[0].charge


def library_alone(mol: Chem.Mol) -> int:
    found = protonate_smiles(Chem.MolToSmiles(mol), ph_min=PH, ph_max=PH, precision=0.0)
    return Chem.GetFormalCharge(Chem.MolFromSmiles(found[0]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--compounds", type=int, default=700, help="of DUD-E")
    parser.add_argument("--seed", type=int, default=3, help="of the draw; the rules were looked over with 2")
    asked = parser.parse_args()
    entries = [entry for entry in catalogue_entries() if entry.simulated]
    same = sum(
        entry.ligand().smiles in [each.ligand.smiles for each in found.ligands]
        for entry in entries
        for found in [prepare_compound(entry.name, Chem.MolFromSmiles(entry.smiles))]
    )
    alone = 0
    for entry in entries:  # the stereochemistry and tautomer that are simulated, so that only protons can differ
        neutral = Chem.MolToSmiles(neutralised(Chem.MolFromSmiles(entry.simulated_smiles)))
        found = protonate_smiles(neutral, ph_min=PH, ph_max=PH, precision=0.0)
        alone += Chem.CanonSmiles(found[0]) == entry.ligand().smiles
    print("| | ours | Dimorphite-DL alone | of |\n|---|---|---|---|")
    print(f"| catalogue: the curated state | {same} | {alone} | {len(entries)} |")
    if not TABLE.is_file():
        print(f"\n{TABLE.name} is not in ../shared/data/affinity")
        return
    given = collections.defaultdict(set)
    with open(TABLE, newline="", encoding="utf-8") as handle:
        for row in csv.DictReader(handle):
            given[row["id"]].add(row["smiles"])
    chosen = random.Random(asked.seed).sample(sorted(given), min(asked.compounds, len(given)))
    mols = [neutralised(Chem.MolFromSmiles(sorted(given[name])[0])) for name in chosen]
    charges = [{Chem.GetFormalCharge(Chem.MolFromSmiles(smiles)) for smiles in given[name]} for name in chosen]

    def right(method: Callable[[Chem.Mol], int]) -> int:
        return sum(method(mol) in each for mol, each in zip(mols, charges, strict=True))

    start = time.process_time()
    mine = right(ours)
    spent = (time.process_time() - start) / len(mols)
    listed = sum(
        bool({state.charge for state in protonation_states(mol)} & each)
        for mol, each in zip(mols, charges, strict=True)
    )
    print(f"| DUD-E: a charge that Epik gave | {mine} | {right(library_alone)} | {len(mols)} |")
    print(f"| DUD-E: among the states with at least 1 % | {listed} | | {len(mols)} |")
    print(f"\n{1000 * spent:.1f} ms of processor time for each compound")


if __name__ == "__main__":
    main()
