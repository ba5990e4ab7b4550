"""A real store whose simulation and surrogate are stand-ins with a known law."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import numpy as np
from rdkit import Chem
from rdkit.Chem import Crippen

from esr1md.config import load_screen
from esr1md.explore.candidates import Candidate
from esr1md.explore.predictions import Guess
from esr1md.explore.question import Exploration
from esr1md.explore.rounds import advance
from esr1md.ligand.states import ligand_from_smiles
from esr1md.scoring.scores import Score
from esr1md.screen.plan import plan_screen
from esr1md.screen.run import start_screen
from esr1md.store import Store
from esr1md.surrogate.kernel import KernelRegression, morgan_counts

PROTOCOL = """
name: tiny
solvent: {model: obc2, cutoff_angstrom: 12}
region: {mobile_angstrom: 4, shell_angstrom: 3}
stages:
  - {kind: minimise, iterations: 2, solvent: false}
  - {kind: produce, duration_ps: 0.04, frame_ps: 0.02}
scoring: {frames: 1, receptor: simulated}
"""
#: What every replica of the stand-in takes: at two at once 0.01 hours.
SECONDS = 72.0
#: Phenols with chains: every one more methylene binds by 1 kcal/mol more.
CHAINS = {f"chain-{n}": f"Oc1ccc(cc1)C{'C' * n}" for n in range(3, 15)}


def candidate(name: str, smiles: str) -> Candidate:
    return Candidate(ligand_from_smiles(name, smiles), {"name": name, "smiles": smiles})


POOL = tuple(candidate(name, smiles) for name, smiles in CHAINS.items())


def law(variant: str, smiles: str) -> float:
    """Binding (kcal/mol): lipophilicity, and what a mutation costs."""
    return -2.0 * Crippen.MolLogP(Chem.MolFromSmiles(smiles)) - 20.0 + (3.0 if variant == "Y537S" else 0.0)


class World:
    """A store, and a simulation that follows the law with a noise that only variant, ligand and seed decide."""

    def __init__(self, root: Path, noise: float = 0.3):
        self.store, self.noise, self.computed = Store(root / "store"), noise, []
        self.die_after: int | None = None

    def simulate(self, path: Path) -> None:
        plan = plan_screen(load_screen(path), self.store.root)
        start_screen(plan)
        for job in plan.jobs:
            if self.store.find("replicas", job.spec.digest):
                continue
            if self.die_after is not None and len(self.computed) >= self.die_after:
                raise KeyboardInterrupt
            self.store.produce(
                "replicas", job.spec.digest, functools.partial(self._write, job.spec), spec=job.spec.identity
            )
            self.computed.append(job.spec.name)

    def _write(self, spec, folder: Path) -> None:
        cell = spec.cell
        generator = np.random.default_rng(sum(map(ord, spec.name)))
        summary = {"helix12_angstrom": 10.0 + generator.normal(0, self.noise)}
        if cell.ligand:
            summary["binding_kcal"] = law(cell.variant.name, cell.ligand.smiles) + generator.normal(0, self.noise)
            summary["helix12_angstrom"] += Crippen.MolLogP(Chem.MolFromSmiles(cell.ligand.smiles))
        (folder / "summary.json").write_text(json.dumps(summary))
        (folder / "record.json").write_text(json.dumps({"platform": "Reference", "seconds": SECONDS}))


def kernel_guess(found, layout, exploration, folder) -> Guess:
    """A surrogate of a few lines: kernel regression for each variant."""
    scores, measured = {}, found.scores(exploration.objective)
    for variant in layout.variants:
        cells = [cell for cell in measured if cell[0] == variant and cell[1] != "apo"]
        cells = cells or [cell for cell in measured if cell[1] != "apo"]
        own = morgan_counts([Chem.MolFromSmiles(found.ligands[cell[1]].smiles) for cell in cells])
        model = KernelRegression.fit(own, np.array([measured[cell].value for cell in cells]))
        for unit in layout.candidates:
            mean, sd = model.posterior(morgan_counts([Chem.MolFromSmiles(unit.ligand.smiles)]))
            for cell in unit.cells:
                if cell[0] == variant and unit.missing[cell]:
                    half = 1.96 * float(sd[0]) + 0.5
                    scores[cell] = Score(value=float(mean[0]), low=float(mean[0]) - half, high=float(mean[0]) + half,
                                         n_replicas=0, unit=exploration.unit, origin="predicted")  # fmt: skip
    return Guess(scores, ("A stand-in.",))


def no_guess(found, layout, exploration, folder) -> Guess:
    return Guess({}, ("No predictions.",), "the surrogate needs more replicas")


propose = functools.partial(advance, guess=kernel_guess)


def first_screen(folder: Path, **changes: str) -> Path:
    (folder / "tiny.yaml").write_text(PROTOCOL)
    lines = {
        "name": "base",
        "variants": "[WT, Y537S]",
        "ligands": "[4-hydroxytamoxifen, {name: chain-3, smiles: 'Oc1ccc(cc1)CCCC'}, "
        "{name: lead, smiles: 'Oc1ccc(cc1)c1ccccc1', drug_class: SERM}]",
        "apo": "true",
        "reference_ligand": "4-hydroxytamoxifen",
        "protocol": str(folder / "tiny.yaml"),
        "replicas": "2",
        "platform": "Reference",
        "states": "{lead: antagonist}",
        **changes,
    }
    path = folder / "base.yaml"
    path.write_text("".join(f"{key}: {value}\n" for key, value in lines.items() if value))
    return path


def asked(**changes) -> Exploration:
    return Exploration(**{"name": "base", "screen": "base", "gpu_hours": 1.0, "batch": 3, "top": 3} | changes)
