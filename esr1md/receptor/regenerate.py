"""Compute the bundled models again from their crystals: ``esr1md receptors build --regenerate PDB_FOLDER``."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import gemmi
import numpy as np
import yaml

from esr1md.catalogue import data_path
from esr1md.errors import StageError
from esr1md.receptor.build import assessed, with_sequence
from esr1md.receptor.bundled import BUNDLED, DONORS, Bundled, bundled_chain
from esr1md.receptor.frame import alpha_carbons, bundled_model, superpose_core
from esr1md.receptor.prepare import MODEL_FIRST, MODEL_LAST, PH, Model, prepare_chain
from esr1md.receptor.quality import LIMITS
from esr1md.receptor.sequence import parse_variant
from esr1md.receptor.source import moved, read_source
from esr1md.receptor.surroundings import chain_surroundings, place_water
from esr1md.specs import HelixState, file_digest


def regenerate_models(pdb_folder: Path, out: Path, names: Collection[str] = tuple(BUNDLED)) -> dict[str, Any]:
    """Compute bundled models again from the crystal structures and write them with their provenance.

    What a crystal does not show comes from the bundled models as they are, not as they are computed now: processors
    differ in the last digits, and 0.001 angstrom there can choose another loop. After a change to how models are
    made, run it again until nothing changes. Side chains and backbone that no crystal shows may still settle
    elsewhere on another processor; what the crystal shows comes out the same within 0.3 angstrom.

    Parameters
    ----------
    pdb_folder
        Folder with the entries of :data:`BUNDLED` as the wwPDB distributes them, and LIT-PCBA's copy of 6B0F.
    out
        Receives ``models/NAME.pdb`` for every model and ``receptors.yaml``.
    names
        Which models to compute; the others are copied from the bundled ones.

    Returns
    -------
    dict
        The content of ``receptors.yaml``.

    Raises
    ------
    InputError, StageError
        If a structure is missing or its model does not pass.
    """
    frame = alpha_carbons(read_source(pdb_folder / "3ERT.pdb", "A").chain)
    bundled = yaml.safe_load((data_path("structures") / "receptors.yaml").read_text(encoding="utf-8"))["models"]
    (out / "models").mkdir(parents=True, exist_ok=True)
    entries: dict[str, Any] = {}
    donors: dict[str, gemmi.Chain] = {}
    for name, start in BUNDLED.items():
        pdb = out / "models" / f"{name}.pdb"
        if name in names:
            entries[name] = _regenerated(start, pdb_folder, frame, donors, pdb)
        else:
            pdb.write_bytes(bundled_model(name).read_bytes())
            entries[name] = {**bundled[name], "state": str(start.state), "quality": assessed(pdb, start.state)}
        if name in DONORS:
            donors[name] = bundled_chain(name)
    document = {
        "about": "Models of the ER-alpha ligand-binding domain prepared from wwPDB entries (CC0 1.0).",
        "made_by": "esr1md receptors build --regenerate PDB_FOLDER --out structures",
        "residues": f"{MODEL_FIRST}-{MODEL_LAST} (UniProt P03372), ACE and NME caps",
        "force_field": "amber14SB names and hydrogens",
        "ph": PH,
        "quality_limits": LIMITS,
        "models": entries,
    }
    text = yaml.safe_dump(document, sort_keys=False, width=110, allow_unicode=True)
    (out / "receptors.yaml").write_text(text, encoding="utf-8")
    return document


def _regenerated(
    start: Bundled, pdb_folder: Path, frame: dict[int, np.ndarray], donors: dict[str, gemmi.Chain], pdb: Path
) -> dict[str, Any]:
    """Compute one bundled model, write it to ``pdb`` and return its entry of ``receptors.yaml``."""
    source = read_source(pdb_folder / start.file, start.chain)
    rotation, translation, _ = superpose_core(alpha_carbons(source.chain), frame)
    source = moved(source, rotation, translation)
    model = prepare_chain(source, donors, whole=bool(donors))
    model = with_sequence(model, parse_variant(start.variant), bundled_chain(HelixState.AGONIST))
    model, rmsd = _settled(model, frame)
    pdb.write_text(model.pdb_text(), encoding="utf-8")
    water, _ = place_water(gemmi.read_structure(str(pdb))[0][0], chain_surroundings(source, start.entry))
    quality = assessed(pdb, start.state)
    if quality["problems"]:
        raise StageError("receptor", f"{pdb.stem} model: {'; '.join(quality['problems'])}", where=str(pdb))
    return {
        "file": f"models/{pdb.name}",
        "variant": start.variant,
        "state": str(start.state),
        "sha256": file_digest(pdb),
        "entry": start.entry,
        "chain": start.chain,
        "resolution_angstrom": start.resolution,
        "chosen_because": start.reason,
        "source_file": start.file,
        "source_sha256": file_digest(pdb_folder / start.file),
        "conserved_water_angstrom": list(water) if water and source.conserved_water else None,
        "core_rmsd_to_frame_angstrom": round(rmsd, 2),
        "steps": [*model.steps, f"core superposed on 3ERT chain A ({rmsd:.2f} A)"],
        "quality": quality,
    }


def _settled(model: Model, frame: dict[int, np.ndarray]) -> tuple[Model, float]:
    """The model superposed on the frame after relaxation, and the RMSD of its core (angstrom)."""
    alphas = {
        int(atom.residue.id): 10 * model.positions[atom.index] for atom in model.topology.atoms() if atom.name == "CA"
    }
    rotation, translation, rmsd = superpose_core(alphas, frame)
    positions = model.positions @ rotation.T + translation / 10
    return Model(model.topology, positions, model.steps), rmsd
