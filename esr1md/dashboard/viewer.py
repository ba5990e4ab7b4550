"""What the 3D viewer loads: a cell's trajectory and its wild type, superposed on the core of the domain.

Frames are superposed here, for the viewer knows nothing of P03372 numbers; helix 12 has the colour of its state, the
ligand and the residues that hold it are sticks, key contacts are dashes.
"""

from __future__ import annotations

import io
import os
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import mdtraj
import numpy as np
from dash_molstar.utils import molstar_helper
from dash_molstar.utils.representations import Representation

from esr1md.analysis.frames import count_frames, frames_to_score, read_frames
from esr1md.analysis.helix12 import superpose_on_core
from esr1md.dashboard.cell_figures import STATE_COLOURS
from esr1md.errors import Esr1mdError
from esr1md.ligand.forcefield_xml import RESIDUE_NAME
from esr1md.receptor.frame import HELIX12, bundled_model, model_alpha_carbons
from esr1md.receptor.sequence import LBD_FIRST, LBD_LAST
from esr1md.report.data import KEY_RESIDUES, facing_helix12, mutated_positions
from esr1md.specs import HelixState
from esr1md.store import Store

#: Frames in the viewer at most; the whole trajectory is among the files.
MOST_FRAMES = 120
#: A polar pair farther apart (angstrom) is no key contact.
FARTHEST = 4.0
BOX_NM = 50.0
WILD_TYPE_COLOUR, MUTANT_COLOUR, LIGAND_COLOUR, WILD_LIGAND_COLOUR = 0x9AA5B1, 0xD9C7A3, 0xCC79A7, 0x8894A0


@dataclass(frozen=True)
class Film:
    """A superposed trajectory of one replica without water, as the viewer reads it.

    Attributes
    ----------
    topology
        PDB text of its first frame.
    coordinates
        XTC of all frames shown.
    times
        Of the frames (ps).
    ligand_chain, ligand_number, receptor_chain
        Where they are in the topology; no chain where there is no ligand.
    """

    topology: bytes
    coordinates: bytes
    times: tuple[float, ...]
    ligand_chain: str
    ligand_number: int
    receptor_chain: str


def film_of(store: Store, digest: str) -> Film | None:
    """The film of a replica; ``None`` where its files are missing or cannot be read."""
    folder = store.find("replicas", digest)
    if folder is None:
        return None
    try:
        trajectory = _frames(folder)
        superpose_on_core(trajectory)
        trajectory.xyz = trajectory.xyz @ _turn()
    except (Esr1mdError, OSError, ValueError, TypeError, RuntimeError):
        return None
    with tempfile.TemporaryDirectory() as place:
        first, film = os.path.join(place, "first.pdb"), os.path.join(place, "film.xtc")
        trajectory[0].save_pdb(first)
        trajectory.save_xtc(film)
        with open(first, "rb") as topology, open(film, "rb") as coordinates:
            text, frames = topology.read(), coordinates.read()
    return Film(text, frames, tuple(map(float, trajectory.time)), *_named(text))


def _frames(folder: Path) -> mdtraj.Trajectory:
    """The frames to show, read a chunk at a time, without water and ions."""
    n_atoms = mdtraj.load_topology(str(folder / "complex.pdb")).n_atoms
    keep = frames_to_score(count_frames(folder / "trajectory.xtc", n_atoms), MOST_FRAMES)
    parts, first = [], 0
    for chunk in read_frames(folder, n_atoms):
        here = keep[(keep >= first) & (keep < first + chunk.n_frames)] - first
        first += chunk.n_frames
        if len(here):
            solute = [a.index for a in chunk.topology.atoms if not a.residue.is_water and a.residue.n_atoms > 1]
            parts.append(chunk[here].atom_slice(solute))
    shown = mdtraj.join(parts, check_topology=False)
    # without a box the viewer divides by its length; this one is never drawn
    shown.unitcell_lengths = np.full((len(shown), 3), BOX_NM)
    shown.unitcell_angles = np.full((len(shown), 3), 90.0)
    return shown


@cache
def _turn() -> np.ndarray:
    """Rotation (3, 3) of the common frame that turns helix 12 towards the viewer, the same for every structure."""
    return facing_helix12(model_alpha_carbons(bundled_model(HelixState.ANTAGONIST))).astype(np.float32)


def _named(pdb: bytes) -> tuple[str, int, str]:
    """Chain and number of the ligand, and chain of the receptor, as the file has them."""
    ligand, receptor = ("", 0), "A"
    for line in io.StringIO(pdb.decode("ascii", "replace")):
        if line.startswith(("ATOM", "HETATM")):
            if line[17:20].strip() == RESIDUE_NAME:
                ligand = line[21].strip(), int(line[22:26])
            elif line[12:16].strip() == "CA":
                receptor = line[21].strip()
    return *ligand, receptor


def viewer_data(
    mutant: tuple[str, Film, str], wild: tuple[str, Film, str] | None, variant: str
) -> list[dict[str, Any]]:
    """``data`` of the viewer: the film of the cell, and the last frame of its wild type as a still.

    Parameters
    ----------
    mutant, wild
        Digest, film and helix-12 state (most frames) of a replica each.
    """
    shown = []
    if wild is not None:  # before the cell: measurements are of the structure that was loaded last
        digest, film, state = wild
        parts = _components(film, "WT", state, wild=True)
        shown.append(molstar_helper.parse_url(f"/film/{digest}-still.pdb", fmt="pdb", component=parts,
                                              preset={"kind": "empty"}))  # fmt: skip
    digest, film, state = mutant
    data = molstar_helper.parse_url(f"/film/{digest}.pdb", fmt="pdb", component=_components(film, variant, state),
                                    preset={"kind": "empty"})  # fmt: skip
    shown.append(molstar_helper.get_trajectory(data, molstar_helper.parse_url(f"/film/{digest}.xtc", fmt="xtc")))
    return shown


def _components(film: Film, variant: str, state: str, *, wild: bool = False) -> list[dict[str, Any]]:
    chain = film.receptor_chain
    body = [residue for residue in range(LBD_FIRST - 1, LBD_LAST + 2) if residue not in HELIX12]  # with both caps
    key = sorted({*KEY_RESIDUES, 537, *mutated_positions(variant)})
    parts = [
        _component("receptor", chain, body, "cartoon", WILD_TYPE_COLOUR if wild else MUTANT_COLOUR),
        _component("helix 12", chain, list(HELIX12), "cartoon", int(STATE_COLOURS[state].removeprefix("#"), 16)),
    ]
    if film.ligand_chain:
        colour = WILD_LIGAND_COLOUR if wild else LIGAND_COLOUR
        parts.append(_component("ligand", film.ligand_chain, [film.ligand_number], "ball-and-stick", colour))
    if not wild:
        return [*parts, _component("key residues", chain, key, "ball-and-stick", None)]
    return [part | {"label": f"wild type, {part['label']}"} for part in parts]


def _component(label: str, chain: str, residues: list[int], kind: str, colour: int | None) -> dict[str, Any]:
    look = Representation(type=kind, color="uniform" if colour is not None else "element-symbol")
    if colour is not None:
        look.set_color_params({"value": colour})
    return molstar_helper.create_component(label, [molstar_helper.get_targets(chain, residues)], [look])


def still_of(film: Film) -> bytes:
    """The last frame of a film as PDB text."""
    with tempfile.TemporaryDirectory() as place:
        first, moving = os.path.join(place, "first.pdb"), os.path.join(place, "film.xtc")
        with open(first, "wb") as topology, open(moving, "wb") as coordinates:
            topology.write(film.topology)
            coordinates.write(film.coordinates)
        last = mdtraj.load(moving, top=first)[-1]
        last.save_pdb(first)
        with open(first, "rb") as file:
            return file.read()


def key_contacts(film: Film) -> list[dict[str, Any]]:
    """Dashes of the first frame: the shortest polar pair of the ligand with each key residue, and the latches of 537.

    Pairs farther than :data:`FARTHEST` are no contacts.
    """
    with tempfile.NamedTemporaryFile(suffix=".pdb") as file:
        file.write(film.topology)
        file.flush()
        first = mdtraj.load(file.name)
    polar = {}
    for atom in first.topology.atoms:
        if atom.element is not None and atom.element.symbol in ("N", "O") and not atom.is_backbone:
            key = RESIDUE_NAME if atom.residue.name == RESIDUE_NAME else atom.residue.resSeq
            polar.setdefault(key, []).append(atom)
    wanted = [(RESIDUE_NAME, residue) for residue in KEY_RESIDUES] + [(537, 351), (537, 348), (537, 380)]
    found = []
    for one, other in wanted:
        pairs = [(a, b) for a in polar.get(one, ()) for b in polar.get(other, ())]
        if not pairs:
            continue
        distances = 10 * np.linalg.norm([first.xyz[0, a.index] - first.xyz[0, b.index] for a, b in pairs], axis=1)
        if distances.min() <= FARTHEST:
            found.append([_target(film, atom) for atom in pairs[int(distances.argmin())]])
    return [
        molstar_helper.get_measurement(targets, type="distance", add=place > 0) for place, targets in enumerate(found)
    ]  # fmt: skip


def _target(film: Film, atom: mdtraj.core.topology.Atom) -> Any:
    chain, number = (film.ligand_chain, film.ligand_number) if atom.residue.name == RESIDUE_NAME else (
        film.receptor_chain, atom.residue.resSeq)  # fmt: skip
    return molstar_helper.get_targets(chain, number, atom=atom.index)
