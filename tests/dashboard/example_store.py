"""Stores for the tests of the dashboard: what the report's example has, as a finished screen of a store."""

from __future__ import annotations

import json
import time
from pathlib import Path

from rdkit import Chem

from esr1md.config import Thresholds, Weights
from esr1md.scoring.scores import Ranking
from report_example import PEPTIDE, PROTOCOL, make_screen


def write_screen(root: Path, ranking: Ranking, *, finished: bool = True) -> None:
    """``plan.json``, ``run.json`` and ``ranking.json`` of a ranking that :func:`report_example.make_screen` made."""
    folder = root / "screens" / ranking.screen
    folder.mkdir(parents=True, exist_ok=True)
    smiles = {line.ligand: line.smiles for line in ranking.ranking}
    ligands = [
        {"name": name, "smiles": text, "inchikey": Chem.MolToInchiKey(Chem.MolFromSmiles(text)), "formal_charge": 0,
         "drug_class": "SERM", "notes": "", "confidence": "user"}
        for name, text in smiles.items()
    ]  # fmt: skip
    replicas = [
        {"digest": digest, "name": f"{c.variant}/{c.ligand}/{c.state}#{seed}", "variant": c.variant, "ligand": c.ligand,
         "state": c.state, "seed": seed}
        for c in ranking.cells
        for seed, digest in enumerate(c.replicas, start=1)
    ]  # fmt: skip
    plain = {"smiles": None, "sdf": None, "drug_class": "", "stereo": "defined", "protonation": "dominant"}
    named = [{"name": name} | plain for name in smiles]
    config = {
        "name": ranking.screen, "description": "", "variants": ["WT", "Y537S"], "ligands": named,
        "protocol": "quick", "replicas": 2, "reference_ligand": "4-hydroxytamoxifen",
        "thresholds": Thresholds().model_dump(), "weights": Weights().model_dump(),
    }  # fmt: skip
    plan = {
        "screen": ranking.screen, "protocol": PROTOCOL, "platform": "CPU", "slots": 2, "versions": {},
        "estimate": {"replica_seconds": 60.0}, "production_ps": 2000.0, "reference_ligand": "4-hydroxytamoxifen",
        "ligands": ligands, "replicas": replicas, "config": config,
    }  # fmt: skip
    (folder / "plan.json").write_text(json.dumps(plan))
    now = time.time()
    run = {"started": now - 600, "finished": now if finished else None, "pid": None, "host": "nowhere", "site": "local"}
    (folder / "run.json").write_text(json.dumps(run))
    (folder / "ranking.json").write_text(ranking.model_dump_json())
    for replica in replicas:
        place = root / "replicas" / replica["digest"]
        if place.is_dir():
            (place / "done.json").write_text(json.dumps({"finished": "2026-01-31T10:00:00+00:00"}))
            (place / "record.json").write_text(json.dumps({"seconds": 60.0, "pose": {}}))


def example_store(root: Path, **options) -> Ranking:
    """A store with one finished screen; ``options`` are those of :func:`report_example.make_screen`."""
    ranking = make_screen(root, **{"pdb": PEPTIDE, "mutants": ("Y537S", "D538G"), "hormone": True, **options})
    write_screen(root, ranking)
    return ranking
