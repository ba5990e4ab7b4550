"""Take the H11-H12 loop and helix 12 from a crystal of the residues that are wanted.

Mutations there move the backbone (by 1.5 angstrom in the loop, and helix 12 by 1 as a whole, when tyrosine 537
becomes serine), and no energy finds such a move reliably. Where a bundled model was made of a crystal that has more of
the wanted residues, and helix 12 in the same place, its stretch is taken as it lies.
"""

from __future__ import annotations

import gemmi
import numpy as np

from esr1md.errors import StageError
from esr1md.receptor.frame import HELIX12, alpha_carbons, rmsd_without_fit, superpose
from esr1md.receptor.gaps import joined, mended
from esr1md.receptor.prepare import Model, chain_pdb, load_model, positions_of
from esr1md.receptor.relax import build_system
from esr1md.receptor.repack import repack
from esr1md.receptor.sequence import ONE_LETTER, residue_of
from esr1md.receptor.settle import Candidate, settle, side_chains_near
from esr1md.receptor.sidechain import nonbonded_parameters
from esr1md.specs import Variant

FIRST, LAST = 528, 547  # the H11-H12 loop and helix 12
_TAIL = 2  # residues of the model behind the stretch at least, to which it is joined
_SAME_PLACE = 2.0  # angstrom: crystals of one state differ by up to this, and then in the ligand
_AROUND = 10.0  # angstrom between C-alpha atoms: what the stretch packs against


def take_from_crystal(model: Model, variant: Variant, donors: dict[str, gemmi.Chain]) -> Model:
    """The model with the stretch from the donor that has the most of the wanted residues, or as it is.

    Parameters
    ----------
    model
        Prepared receptor.
    variant
        Whose residues are wanted.
    donors
        Prepared models by name, in the same frame.
    """
    chain = gemmi.read_pdb_string(model.pdb_text())[0][0]
    numbers = _stretch(chain)
    wrong = _wrong(chain, numbers, variant)
    fits = []
    for name, donor in donors.items():
        residues = {residue.seqid.num for residue in donor}
        if residues.issuperset(numbers) and _wrong(donor, numbers, variant) < wrong:
            copies, apart = _placed(chain, donor, numbers)
            fits.append((_wrong(donor, numbers, variant), apart, name, copies))
    for _, apart, name, copies in sorted(fits, key=lambda fit: fit[:2]):
        if apart > _SAME_PLACE:
            continue
        try:
            return _taken(model, chain, copies, f"{numbers[0]}-{numbers[-1]} as in the {name} model", apart)
        except StageError:
            continue
    return model


def _stretch(chain: gemmi.Chain) -> list[int]:
    """Numbers of the stretch as far as the chain has it and goes on behind it; empty if it does not reach so far."""
    present = {residue.seqid.num for residue in chain if residue.name in ONE_LETTER}
    numbers = list(range(FIRST, min(LAST, max(present) - _TAIL) + 1))
    return numbers if set(HELIX12) <= set(numbers) <= present else []


def _wrong(chain: gemmi.Chain, numbers: list[int], variant: Variant) -> int:
    return sum(ONE_LETTER.get(r.name) != residue_of(variant, r.seqid.num) for r in chain if r.seqid.num in set(numbers))


def _placed(chain: gemmi.Chain, donor: gemmi.Chain, numbers: list[int]) -> tuple[list[gemmi.Residue], float]:
    """The donor's stretch superposed by what lies around it, and how far helix 12 is away (angstrom)."""
    own, theirs = alpha_carbons(chain), alpha_carbons(donor)
    stretch = np.array([theirs[n] for n in numbers])
    around = [
        n for n in own.keys() & theirs.keys() - set(numbers)
        if np.linalg.norm(stretch - theirs[n], axis=1).min() < _AROUND
    ]  # fmt: skip
    rotation, translation, _ = superpose(np.array([theirs[n] for n in around]), np.array([own[n] for n in around]))
    copies = []
    for residue in donor:
        if residue.seqid.num in set(numbers):
            copy = residue.clone()
            for atom in copy:
                atom.pos = gemmi.Position(*(rotation @ np.array(atom.pos.tolist()) + translation))
            copies.append(copy)
    helix = np.array([residue["CA"][0].pos.tolist() for residue in copies if residue.seqid.num in HELIX12])
    return copies, float(rmsd_without_fit(helix, np.array([own[n] for n in HELIX12])))


def _taken(model: Model, chain: gemmi.Chain, copies: list[gemmi.Residue], title: str, apart: float) -> Model:
    numbers = {residue.seqid.num for residue in copies}
    whole, moved = mended(joined(chain, copies), min(numbers), max(numbers))
    if whole is None:
        raise StageError("receptor", f"{title}: does not join")
    topology = load_model(chain_pdb(whole)).topology
    placed = Model(topology, positions_of(whole, topology), [])
    system = build_system(topology)
    neighbours = side_chains_near([placed], numbers) - moved
    arrangements = repack(
        topology, nonbonded_parameters(system), placed.positions, [], sorted(neighbours | moved), 2, moved
    )
    note = f"residues {title}, a crystal with these residues (helix 12 {apart:.1f} A from where it was)"
    return settle(model, system, [Candidate(placed, a, note) for a in arrangements], numbers | moved, neighbours)
