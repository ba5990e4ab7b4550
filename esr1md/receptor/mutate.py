"""Mutate a prepared receptor: change side chains, choose rotamers with their neighbours, relax what is near."""

from __future__ import annotations

import itertools

import gemmi
import numpy as np

from esr1md.errors import StageError
from esr1md.receptor.deletion import delete
from esr1md.receptor.loops import different, internal_coordinates, put_backbone, sample_loops, vary
from esr1md.receptor.prepare import Model, chain_pdb, load_model, positions_of
from esr1md.receptor.relax import build_system
from esr1md.receptor.repack import repack
from esr1md.receptor.sequence import THREE_LETTER
from esr1md.receptor.settle import Candidate, settle, side_chains_near
from esr1md.receptor.sidechain import nonbonded_parameters, replace_residue, templates
from esr1md.specs import Mutation

_TRIED = 6  # arrangements relaxed
_PROLINES = 3  # ring puckers tried
_TOGETHER = 1.2  # nm between C-alpha atoms: side chains this near can meet
#: The H11-H12 loop and the first turn of helix 12, whose backbone differs between wild type and mutant crystals.
FLEXIBLE = tuple(range(528, 541))
_BEFORE, _AFTER = 4, 2  # residues of it that move with a mutation
_NOISE = np.repeat((10.0, 20.0, 30.0), 30)  # degrees by which its torsions are varied
_BASINS = ((-120.0, 135.0), (-68.0, 150.0), (-64.0, -42.0))  # phi and psi also tried at and before the mutation
_PER_BASIN = 30
_BACKBONES = 14  # of them relaxed
_TOUCHES = 2.0  # badness (squared overlap, angstrom^2) of a backbone worth relaxing
_RARITY = 0.15  # of it per unit of rarity of its torsions
#: kJ/mol that a moved backbone must be better by: less is within the noise of the comparison.
_HANDICAP = 15.0


def mutate(model: Model, mutations: tuple[Mutation, ...], donor: gemmi.Chain) -> Model:
    """Apply mutations; atoms far from them keep their coordinates to the last digit.

    Substitutions near each other are made together. The new side chains and those within 0.5 nm of them are
    chosen from their torsion grids (:func:`esr1md.receptor.repack.repack`); the best arrangements are relaxed
    with the backbone of four residues on each side held loosely, and compared in implicit water
    (:func:`esr1md.receptor.settle.settle`). In the H11-H12 loop, where crystals of wild type and mutants differ in
    the backbone, small backbone moves are tried as well. Deletions come last (:func:`esr1md.receptor.deletion.delete`).

    Parameters
    ----------
    model
        Prepared receptor.
    mutations
        Mutations whose ``wild`` residue the model has.
    donor
        Chain of a prepared model that has all 20 amino acids.

    Raises
    ------
    StageError
        If the model lacks a residue that is to be changed.
    """
    present = {int(r.id): r.name for r in model.topology.residues()}
    for mutation in mutations:
        found = present.get(mutation.position, "no residue")
        if found != THREE_LETTER[mutation.wild]:
            raise StageError("receptor", f"cannot build {mutation}: the model has {found} there")
    library = templates(donor)
    for group in mutations_that_meet(model, [m for m in mutations if m.mutant]):
        model = _substitute(model, group, library)
    for mutation in mutations:
        if not mutation.mutant:
            model = delete(model, mutation)
    return model


def mutations_that_meet(model: Model, mutations: list[Mutation]) -> list[list[Mutation]]:
    """Mutations near enough to each other to be made together."""
    alphas = {int(a.residue.id): model.positions[a.index] for a in model.topology.atoms() if a.name == "CA"}
    groups: list[list[Mutation]] = []
    for mutation in mutations:
        here = alphas[mutation.position]
        near = [g for g in groups if any(np.linalg.norm(alphas[m.position] - here) < _TOGETHER for m in g)]
        groups = [group for group in groups if group not in near]
        groups.append([*(m for group in near for m in group), mutation])
    return groups


def _substitute(model: Model, mutations: list[Mutation], library: dict[str, list[gemmi.Residue]]) -> Model:
    chain = gemmi.read_pdb_string(model.pdb_text())[0][0]
    sites = {mutation.position for mutation in mutations}
    title = " and ".join(map(str, mutations))
    # the ring of proline has no torsion to turn, so its conformers are those of the donor's prolines
    puckers = _PROLINES if any(mutation.mutant == "P" for mutation in mutations) else 1
    changed = []
    for pucker in range(puckers):
        new = chain
        for mutation in mutations:
            sources = library[THREE_LETTER[mutation.mutant]]
            template = sources[pucker % len(sources)] if mutation.mutant == "P" else sources[0]
            new = replace_residue(new, mutation.position, template)
        changed.append(new)
    backbones = [(new, title, 0.0, _TRIED) for new in changed]
    if sites & set(FLEXIBLE):
        title += ", backbone moved"
        backbones += [(new, title, _HANDICAP, 2) for new in _other_backbones(changed[0], sites)]
    topology = load_model(chain_pdb(changed[0])).topology
    models = [Model(topology, positions_of(new, topology), []) for new, *_ in backbones]
    neighbours = side_chains_near([model, *models], sites)
    system = build_system(topology)
    parameters = nonbonded_parameters(system)
    candidates = []
    for placed, (_, words, handicap, best) in zip(models, backbones, strict=True):
        arrangements = repack(topology, parameters, placed.positions, sorted(sites), sorted(neighbours), best)
        candidates += [Candidate(placed, positions, words, handicap) for positions in arrangements]
    return settle(model, system, candidates, sites, neighbours)


def _other_backbones(chain: gemmi.Chain, sites: set[int]) -> list[gemmi.Chain]:
    """The chain with its backbone about the mutations moved in several ways, all joined and allowed."""
    residues = {residue.seqid.num: residue for residue in chain}
    numbers = list(range(min(sites) - _BEFORE, max(sites) + _AFTER + 1))
    around = range(numbers[0] - 2, numbers[-1] + 3)
    if any(n not in residues or residues[n].name in ("ACE", "NME") for n in around):
        return []
    own = internal_coordinates([residues[n] for n in around])
    starts = _starts(own, [site - numbers[0] + 1 for site in sorted(sites)])
    loops = sample_loops(chain, numbers, [residues[n].name for n in numbers], starts)
    sound = [loop for loop in loops if not loop.outliers and loop.score <= _TOUCHES]
    sound.sort(key=lambda loop: loop.score + _RARITY * loop.rarity)
    return [put_backbone(chain, loop) for loop in different(sound, _BACKBONES)]


def _starts(own: np.ndarray, rows: list[int]) -> np.ndarray:
    """The chain's own coordinates varied, and with the mutated residues and those before them in other basins."""
    generator = np.random.default_rng(sum(rows))
    starts = [vary(generator, own, _NOISE)]
    for here, before in itertools.product((None, *_BASINS), repeat=2):
        if here is None and before is None:
            continue
        other = own.copy()
        for row in rows:
            other[row, :2] = other[row, :2] if here is None else here
            other[row - 1, :2] = other[row - 1, :2] if before is None else before
        starts.append(vary(generator, other, np.full(_PER_BASIN, 12.0)))
    return np.concatenate(starts)
