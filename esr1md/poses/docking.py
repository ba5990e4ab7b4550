"""AutoDock Vina through its own Python package, with receptor and ligand typed by Meeko.

Vina 1.2 (Eberhardt et al., J. Chem. Inf. Model. 2021, 61, 3891; Trott and Olson, J. Comput. Chem. 2010, 31, 455)
samples what the references of :mod:`esr1md.poses.placement` do not suggest, and scores poses beside the force
field. Lengths are angstrom, energies kcal/mol.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from rdkit import Chem

from esr1md.errors import StageError

#: Poses within this energy of the best (kcal/mol) are reported.
ENERGY_RANGE = 6.0


#: Elements that Vina has a type for.
ELEMENTS = frozenset({"H", "C", "N", "O", "F", "Si", "P", "S", "Cl", "Br", "I"})


def why_not(mol: Chem.Mol) -> str:
    """Why Vina cannot dock a ligand: its authors offer no wheel for this Python, or it has no type for an element.

    Empty if it can.
    """
    try:
        version("vina")
    except PackageNotFoundError:
        return "AutoDock Vina is not installed (there is no wheel for every Python)"
    strange = sorted({atom.GetSymbol() for atom in mol.GetAtoms()} - ELEMENTS)
    return f"AutoDock Vina has no type for {', '.join(strange)}" if strange else ""


@dataclass(frozen=True)
class Docked:
    """A pose by Vina: positions of all atoms in the ligand's order (n x 3, angstrom) and its score (kcal/mol)."""

    xyz: np.ndarray
    score: float


def dock(
    receptor_pdb: Path,
    mol: Chem.Mol,
    centre: np.ndarray,
    size: np.ndarray,
    *,
    exhaustiveness: int = 8,
    poses: int = 9,
    seed: int = 1,
    threads: int = 1,
    evaluations: int = 0,
) -> list[Docked]:
    """Dock a ligand into a box of a rigid receptor.

    Parameters
    ----------
    receptor_pdb
        A receptor with all hydrogens and amber names.
    mol
        The ligand with all hydrogens and one conformer, whose rings and stereochemistry stay as they are.
    centre, size
        Of the box (3 each, angstrom).
    exhaustiveness, poses, seed, threads
        Vina's settings.
    evaluations
        Energies that each of its runs may compute; 0 leaves that to Vina, which takes more for a larger ligand.

    Returns
    -------
    list[Docked]
        Best score first; empty if Vina finds no pose in the box.

    Raises
    ------
    StageError
        Meeko or Vina refuses the receptor or the ligand, with their reason.
    """
    from meeko import PDBQTMolecule, RDKitMolCreate

    engine = _engine(receptor_pdb, mol, seed, threads)
    try:
        engine.compute_vina_maps(center=[float(x) for x in centre], box_size=[float(x) for x in size])
        engine.dock(exhaustiveness=exhaustiveness, n_poses=poses, max_evals=evaluations)
        found = engine.poses(n_poses=poses, energy_range=ENERGY_RANGE)
        scores = engine.energies(n_poses=poses, energy_range=ENERGY_RANGE)[:, 0] if found else []
    except RuntimeError as error:
        raise StageError("pose", f"Vina stopped: {error}", where=str(receptor_pdb)) from error
    if not found:
        return []
    docked = RDKitMolCreate.from_pdbqt_mol(PDBQTMolecule(found, skip_typing=True))[0]
    order = _order(mol, docked)
    return [
        Docked(conformer.GetPositions()[order], float(score))
        for conformer, score in zip(docked.GetConformers(), scores, strict=True)
    ]


def vina_scores(receptor_pdb: Path, mol: Chem.Mol, poses: list[np.ndarray], *, optimise: bool = False) -> list[float]:
    """Vina's score (kcal/mol) of given poses (n x 3, angstrom each), where they lie or after local optimisation."""
    scores = []
    everything = np.concatenate(poses)
    low, high = everything.min(axis=0) - 4.0, everything.max(axis=0) + 4.0
    copy = Chem.Mol(mol)
    engine = None
    for xyz in poses:
        copy.GetConformer().SetPositions(np.asarray(xyz, dtype=float))
        if engine is None:
            engine = _engine(receptor_pdb, copy, 1, 1)
            engine.compute_vina_maps(center=((low + high) / 2).tolist(), box_size=(high - low).tolist())
        else:
            engine.set_ligand_from_string(_ligand_pdbqt(copy))
        scores.append(float((engine.optimize() if optimise else engine.score())[0]))
    return scores


def type_receptor(receptor_pdb: Path) -> None:
    """Do beforehand what the first call for a receptor has to do: Meeko's typing, kept as long as this process lives.

    Raises
    ------
    StageError
        Meeko refuses the receptor, with its reason.
    """
    _receptor_pdbqt(receptor_pdb, receptor_pdb.stat().st_mtime_ns)


def _engine(receptor_pdb: Path, mol: Chem.Mol, seed: int, threads: int):
    with contextlib.redirect_stdout(io.StringIO()):
        from vina import Vina

        engine = Vina(sf_name="vina", cpu=threads, seed=seed, verbosity=0)
    engine.set_receptor(str(_receptor_pdbqt(receptor_pdb, receptor_pdb.stat().st_mtime_ns)))
    engine.set_ligand_from_string(_ligand_pdbqt(mol))
    return engine


@lru_cache(maxsize=8)
def _receptor_pdbqt(receptor_pdb: Path, stamp: int) -> Path:
    """The receptor typed by Meeko, in a temporary file that lives as long as this process."""
    import atexit
    import os
    import tempfile

    from meeko import MoleculePreparation, PDBQTWriterLegacy, Polymer, ResidueChemTemplates

    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            polymer = Polymer.from_pdb_string(
                receptor_pdb.read_text(),
                ResidueChemTemplates.create_from_defaults(),
                MoleculePreparation(),
                allow_bad_res=False,
            )
            text = PDBQTWriterLegacy.write_string_from_polymer(polymer)[0]
    except Exception as error:  # Meeko raises whatever its parts do
        raise StageError(
            "pose", f"Meeko cannot type the receptor: {str(error).splitlines()[0]}", where=str(receptor_pdb)
        ) from error
    handle, name = tempfile.mkstemp(suffix=".pdbqt", prefix="esr1md-")
    with os.fdopen(handle, "w") as file:
        file.write(text)
    atexit.register(Path(name).unlink, missing_ok=True)
    return Path(name)


def _ligand_pdbqt(mol: Chem.Mol) -> str:
    from meeko import MoleculePreparation, PDBQTWriterLegacy

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            setup = MoleculePreparation().prepare(mol)[0]
            text, fine, reason = PDBQTWriterLegacy.write_string(setup)
    except Exception as error:  # Meeko raises whatever its parts do
        raise StageError("pose", f"Meeko cannot type the ligand: {str(error).splitlines()[0]}") from error
    if not fine:
        raise StageError("pose", f"Meeko cannot type the ligand: {reason}")
    return text


def _order(mol: Chem.Mol, docked: Chem.Mol) -> list[int]:
    """Index in ``docked`` of each atom of ``mol``."""
    for use_chirality in (True, False):
        match = docked.GetSubstructMatch(mol, useChirality=use_chirality)
        if len(match) == mol.GetNumAtoms():
            return list(match)
    raise StageError("pose", "Vina's pose is not the ligand that was given")
