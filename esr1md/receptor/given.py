"""A structure file made ready to pose a ligand in, as it is and where it lies: nothing is modelled, nothing is moved.

A model to simulate has every residue, relaxed (:mod:`esr1md.receptor.prepare`). To pose a ligand in somebody's
structure is another matter: its heavy atoms stay where the file has them, in the file's own frame; residues that it
does not show stay away, since a loop guessed beside the pocket would decide the pose. Its own mutations are kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from string import ascii_uppercase

import gemmi
import numpy as np
from scipy.spatial import cKDTree

from esr1md.errors import InputError
from esr1md.receptor.frame import alpha_carbons, helix12_state
from esr1md.receptor.prepare import CAPS, Model, cap, complete
from esr1md.receptor.protonation import Atoms
from esr1md.receptor.relax import build_system, minimise
from esr1md.receptor.residues import BACKBONE, parent_residue
from esr1md.receptor.sidechain import rotamers
from esr1md.receptor.source import Molecule, SourceChain, choose_chain
from esr1md.receptor.structure_file import read_structure
from esr1md.specs import HelixState

_BONDED = 2.5  # angstrom, C to N: farther apart, two residues are the ends of a gap
_REACH = 5.0  # angstrom from a box ligand within which a residue counts for its chain
_CAPS_FROM = 1000  # numbers of caps, so that those at a gap are not taken for the residues that are missing
_ITERATIONS = 200


@dataclass(frozen=True)
class GivenReceptor:
    """A receptor to pose in.

    Attributes
    ----------
    pdb
        All hydrogens, P03372 numbers, a chain for each stretch without a gap, in the frame of the file.
    state
        Helix-12 state measured in it; ``None`` where helix 12 is not complete.
    steps
        What was chosen, dropped and added.
    """

    pdb: Path
    state: HelixState | None
    steps: tuple[str, ...]


def receptor_as_given(path: Path, out: Path, box: Atoms = ()) -> GivenReceptor:
    """Make a structure file ready to pose in and write it to ``out``.

    Parameters
    ----------
    path
        PDB or mmCIF file with an ER-alpha ligand-binding domain.
    out
        PDB file to write.
    box
        Heavy atoms of a ligand that shows the pocket, in the file's frame: the chain around it is taken, and its
        hydrogen bonds decide protonation. Without it: the most complete chain and its own ligand.

    Raises
    ------
    InputError
        For a file that cannot be used, or no protein around ``box``.
    """
    structure = read_structure(path)
    name = _chain_around(structure, box, str(path)) if box else None
    source = choose_chain(structure, str(path), name)
    ligand = Molecule("the box ligand", box) if box else source.pocket_ligand
    model = _completed(source, ligand)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(model.pdb_text(), encoding="utf-8")
    return GivenReceptor(out, helix12_state(alpha_carbons(source.chain)), tuple(model.steps))


def _chain_around(structure: gemmi.Structure, box: Atoms, where: str) -> str:
    """Name of the chain with the most residues around a ligand."""
    points = cKDTree(np.array([position for _, position in box]))
    around: dict[str, int] = {}
    for chain in structure[0]:
        for residue in chain:
            if parent_residue(residue.name) is not None and len(residue):
                nearest = points.query([atom.pos.tolist() for atom in residue])[0].min()
                around[chain.name] = around.get(chain.name, 0) + bool(nearest < _REACH)
    best = max(around, key=around.__getitem__, default="")
    if not around.get(best):
        raise InputError(
            f"no residue lies within {_REACH:.0f} A of the box ligand", where=where,
            expected="a box ligand in the frame of the receptor file", do="superpose it, or leave it out",
        )  # fmt: skip
    return best


def _completed(source: SourceChain, ligand: Molecule | None) -> Model:
    """Capped stretches with every hydrogen; only hydrogens, caps and side-chain atoms the file lacks are placed."""
    parts = _stretches(source.chain)
    for part in parts:
        cap(part, [other for other in parts if other is not part])
    steps = [*source.steps, "heavy atoms as in the file"]
    if source.gaps:
        missing = ", ".join(f"{a}-{b}" if a != b else str(a) for a, b in source.gaps)
        steps.append(f"not in the file and left out, ends capped: residues {missing}")
    model = complete(parts, ligand, steps)
    for residue in model.topology.residues():
        if residue.name in CAPS:
            residue.id = str(int(residue.id) + _CAPS_FROM)
    system, positions, incomplete = build_system(model.topology), model.positions, set(source.incomplete)
    for number in sorted(incomplete):
        positions = rotamers(model.topology, system, positions, number)[0]
    mobile = np.array([
        atom.element.symbol == "H" or atom.residue.name in CAPS
        or (int(atom.residue.id) in incomplete and atom.name not in (*BACKBONE, "CB"))
        for atom in model.topology.atoms()
    ])  # fmt: skip
    positions, _ = minimise(system, positions, mobile=mobile, iterations=_ITERATIONS)
    return Model(model.topology, positions, model.steps)


def _stretches(chain: gemmi.Chain) -> list[gemmi.Chain]:
    """The chain cut at its gaps, parts named A, B, C ..."""
    parts: list[gemmi.Chain] = []
    before: gemmi.Residue | None = None
    for residue in chain:
        joined = (
            before is not None
            and residue.seqid.num == before.seqid.num + 1
            and before["C"][0].pos.dist(residue["N"][0].pos) < _BONDED
        )
        if not joined:
            parts.append(gemmi.Chain(ascii_uppercase[len(parts) % 26]))
        parts[-1].add_residue(residue.clone())
        before = residue
    return parts
