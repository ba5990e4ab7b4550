"""Delete a residue: take it out, close the chain again, find new places for the side chains near it.

Seen from the backbone, a deletion can be taken up anywhere near it. If helix 8 keeps its place, methionine 421
moves to where valine 422 was, 420 to where 421 was, and so on up to a loop that is flexible enough to lose a
residue. Stretches before, behind and across the deletion are closed (:mod:`esr1md.receptor.loops`) from the
model's own torsions less those of each residue in turn; the closures that touch least are relaxed, and the lowest
energy stays.
"""

from __future__ import annotations

import gemmi
import numpy as np

from esr1md.errors import StageError
from esr1md.receptor.loops import Loop, different, internal_coordinates, put_backbone, sample_loops, vary
from esr1md.receptor.prepare import Model, chain_pdb, load_model, positions_of
from esr1md.receptor.relax import build_system
from esr1md.receptor.repack import repack
from esr1md.receptor.settle import Candidate, settle, side_chains_near
from esr1md.receptor.sidechain import nonbonded_parameters
from esr1md.specs import Mutation

#: First and last residue of the stretches tried, counted from the deleted one.
_STRETCHES = ((-6, -1), (-8, -1), (-10, -1), (1, 6), (1, 8), (1, 10), (-5, 4), (-4, 3))
_NOISE = np.array([0.0, 5.0, 10.0, 15.0, 20.0])  # degrees
_RELAXED = 5
#: Residues a deletion needs on each side.
MARGIN = 6


def delete(model: Model, mutation: Mutation) -> Model:
    """Delete one residue; the numbers of all others stay.

    Raises
    ------
    StageError
        If the chain cannot be closed without a Ramachandran outlier or a clash of backbones.
    """
    chain = gemmi.read_pdb_string(model.pdb_text())[0][0]
    loops = _closures(chain, mutation.position)
    if not loops:
        raise StageError("receptor", f"{mutation}: the chain cannot be closed again around the deleted residue")
    moved = {number for loop in loops for number in loop.numbers}
    shorter = _without(chain, mutation.position)
    topology = load_model(chain_pdb(put_backbone(shorter, loops[0]))).topology
    models = [Model(topology, positions_of(put_backbone(shorter, loop), topology), []) for loop in loops]
    neighbours = side_chains_near([model, *models], moved) - {mutation.position}
    system = build_system(topology)
    parameters = nonbonded_parameters(system)
    candidates = []
    for loop, closed in zip(loops, models, strict=True):
        arrangement = repack(topology, parameters, closed.positions, [], sorted(moved | neighbours), 1, moved)[0]
        title = f"{mutation}: residue removed, chain closed again by moving {loop.numbers[0]}-{loop.numbers[-1]}"
        candidates.append(Candidate(closed, arrangement, title))
    return settle(model, system, candidates, moved, neighbours)


def _without(chain: gemmi.Chain, number: int) -> gemmi.Chain:
    shorter = gemmi.Chain(chain.name)
    for residue in chain:
        if residue.seqid.num != number:
            shorter.add_residue(residue)
    return shorter


def _closures(chain: gemmi.Chain, deleted: int) -> list[Loop]:
    """The best closures that differ from each other."""
    generator = np.random.default_rng(deleted)
    residues = {residue.seqid.num: residue for residue in chain}
    found: list[Loop] = []
    for first, last in _STRETCHES:
        numbers = [n for n in range(deleted + first, deleted + last + 1) if n != deleted]
        # with the residue that is to go, and one on each side that is joined to
        path = sorted({*numbers, deleted})
        path = [path[0] - 1, *path, path[-1] + 1]
        if any(n not in residues or residues[n].name in ("ACE", "NME") for n in (path[0] - 1, *path, path[-1] + 1)):
            continue
        own = internal_coordinates([residues[n] for n in (path[0] - 1, *path, path[-1] + 1)])
        starts = np.concatenate([vary(generator, np.delete(own, k, axis=0), _NOISE) for k in range(1, len(path) - 1)])
        names = [residues[n].name for n in numbers]
        found += sample_loops(_without(chain, deleted), numbers, names, starts)
    sound = [loop for loop in sorted(found, key=lambda loop: loop.score) if not loop.outliers]
    return different(sound, _RELAXED)
