"""Periodic images: a frame is whole before any metric sees it."""

from __future__ import annotations

from pathlib import Path

import mdtraj
import numpy as np


def make_whole(trajectory: mdtraj.Trajectory) -> mdtraj.Trajectory:
    """Undo jumps across the periodic box, in place: every molecule whole, the ligand beside the receptor.

    A molecule is made whole along its bonds; the receptor's chains stay together and the ligand is put in the image
    nearest to them. Without a box the frames are left as they are.

    Parameters
    ----------
    trajectory
        The solute, with bonds in its topology (a PDB with CONECT records for the ligand).

    Returns
    -------
    The same trajectory.
    """
    if trajectory.unitcell_vectors is None or not np.any(trajectory.unitcell_vectors):
        return trajectory
    molecules = trajectory.topology.find_molecules()
    receptor = [molecule for molecule in molecules if next(iter(molecule)).residue.name != "LIG"]
    others = [molecule for molecule in molecules if next(iter(molecule)).residue.name == "LIG"]
    trajectory.image_molecules(inplace=True, anchor_molecules=receptor, other_molecules=others)
    return trajectory


def whole_positions(pdb: Path, positions: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Positions (n x 3, nm) of the solute in ``pdb``, made whole in a periodic box (3 x 3, nm)."""
    frame = mdtraj.load(str(pdb))
    frame.xyz = positions[None].astype(np.float32)
    frame.unitcell_vectors = box[None].astype(np.float32)
    return make_whole(frame).xyz[0].astype(float)
