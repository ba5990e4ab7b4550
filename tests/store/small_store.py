"""Stores with screens whose replicas are made from receptors, parameters and poses as real ones are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from esr1md.errors import StageError
from esr1md.specs import digest_of
from esr1md.store import Store

LIGANDS = {"estradiol": "VOXZDWNPVJITMN-ZBRFXRBCSA-N", "phenol": "ISWSIDIOOBJBQZ-UHFFFAOYSA-N"}
PDB = "ATOM      1  N   SER A 305       0.000   0.000   0.000  1.00  0.00           N\nEND\n"


def produce(
    store: Store, kind: str, spec: dict[str, Any], files: dict[str, Any], fails: StageError | None = None
) -> str:
    """Produce a folder with some files (text, or a value that becomes JSON); its digest."""

    def make(folder: Path) -> None:
        for name, content in files.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))
        if fails is not None:
            raise fails

    try:
        store.produce(kind, digest_of(spec), make, spec=spec)
    except StageError:
        assert fails is not None
    return digest_of(spec)


def preparations(store: Store, ligand: str) -> dict[str, str]:
    """The receptor, parameters and pose of a ligand; digests by what a replica's record calls them."""
    receptor = produce(store, "receptors", {"variant": "WT", "state": "agonist"}, {"receptor.pdb": PDB})
    parameters = produce(store, "parameters", {"ligand": LIGANDS[ligand]}, {"ligand.xml": "<ForceField/>"})
    pose = produce(
        store, "poses", {"ligand": LIGANDS[ligand], "receptor": receptor, "parameters": parameters},
        {"record.json": {"poses": []}},
    )  # fmt: skip
    return {"receptor": receptor, "parameters": parameters, "pose": pose}


def replica_spec(variant: str, ligand: str, seed: int) -> dict[str, Any]:
    return {
        "variant": variant,
        "ligand": {"smiles": ligand, "inchikey": LIGANDS[ligand]},
        "state": "agonist",
        "seed": seed,
    }


def replica(store: Store, variant: str, ligand: str, seed: int, fails: StageError | None = None) -> str:
    """One replica, with what it is made from."""
    made = preparations(store, ligand)
    record = {"ligand": ligand, "protocol": "quick", "platform": "CPU", "seconds": 1.5}
    record |= {name: {"digest": digest} for name, digest in made.items()}
    files = {"record.json": record, "final.pdb": PDB, "ligand/state.txt": "free"}
    if fails is None:
        files["summary.json"] = {"binding_kcal": -30.0 - seed}
    return produce(store, "replicas", replica_spec(variant, ligand, seed), files, fails)


def screen(
    store: Store, name: str, replicas: dict[str, tuple[str, str, int]] | list[str], *, finished: bool = True
) -> None:
    """``screens/NAME`` of some replicas, by digest."""
    folder = store.root / "screens" / name
    folder.mkdir(parents=True)
    plan = {
        "screen": name,
        "config": {"name": name, "thresholds": {"kcal": 1.0}, "weights": {}},
        "reference_ligand": "estradiol",
        "replicas": [{"digest": digest, "name": digest[:6]} for digest in replicas],
    }
    (folder / "plan.json").write_text(json.dumps(plan))
    (folder / "run.json").write_text(
        json.dumps({"started": 1.0, "finished": 2.0 if finished else None, "pid": 1, "host": "far"})
    )
    (folder / "ranking.json").write_text(json.dumps({"screen": name, "ranking": []}))
    (folder / "report.html").write_text("<html></html>")


def small_screen(root: Path, name: str = "small", seeds: int = 2) -> tuple[Store, list[str]]:
    """A store with one finished screen of two ligands; the store and the replicas' digests."""
    store = Store(root)
    digests = [replica(store, "WT", ligand, seed) for ligand in LIGANDS for seed in range(1, seeds + 1)]
    screen(store, name, digests)
    return store, digests
