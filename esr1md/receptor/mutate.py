"""Mutate a prepared receptor: change side chains, choose rotamers with their neighbours, relax what is near."""

from __future__ import annotations

import itertools

import gemmi
import numpy as np

from esr1md.errors import StageError
from esr1md.receptor.deletion import delete
from esr1md.receptor.loops import (
    PHI,
    Loop,
    different,
    internal_coordinates,
    put_backbone,
    sample_loops,
    vary,
)
from esr1md.receptor.prepare import Model, chain_pdb, load_model, positions_of
from esr1md.receptor.relax import build_system
from esr1md.receptor.repack import repack
from esr1md.receptor.sequence import THREE_LETTER
from esr1md.receptor.settle import Candidate, settle, side_chains_near, side_chains_of
from esr1md.receptor.sidechain import nonbonded_parameters, replace_residue, templates
from esr1md.specs import Mutation

_TRIED = 6  # arrangements on the backbone as it is
_PROLINES = 3  # ring puckers tried
_TOGETHER = 1.2  # nm between C-alpha atoms: side chains this near can meet
#: The H11-H12 loop and the first turn of helix 12, whose backbone differs between wild type and mutant crystals.
FLEXIBLE = tuple(range(528, 541))
_BEFORE, _AFTER = 4, 2  # residues of it that move with a mutation
_APART = 3  # residues from the first to the last mutation at most, for all of it to be sampled
_NOISE = np.repeat((10.0, 20.0, 30.0), 30)  # degrees by which its torsions are varied
#: phi and psi also tried at and before the mutation: helix, its end, the inverse gamma turn, strand, polyproline, and
#: the residue before a helix (Doig 1997, Protein Sci. 6:147).
_BASINS = ((-63.0, -43.0), (-90.0, -5.0), (-82.0, 65.0), (-115.0, 132.0), (-68.0, 147.0), (-94.0, 165.0))
_PER_BASIN, _BASIN_NOISE = 10, 15.0
_PROLINE_PHI, _PROLINE_NOISE = -65.0, 10.0  # its ring holds it there
_BACKBONES = 12  # of them relaxed
_AGAIN, _AGAIN_NOISE, _AGAIN_APART = 5, np.full(60, 8.0), 0.3  # backbones near each of the best of them, angstrom
_TOUCHES = 2.0  # badness (squared overlap, angstrom^2) of a backbone worth relaxing
_RARITY = 0.15  # of it per unit of rarity of its torsions
#: kJ/mol that a moved backbone must be better by. Relaxed from different starts, one conformation comes out with
#: energies about 10 kJ/mol apart; the best of many moved backbones has to beat that twice over.
_HANDICAP = 25.0


def mutate(model: Model, mutations: tuple[Mutation, ...], donor: gemmi.Chain) -> Model:
    """Apply mutations; atoms far from them keep their coordinates to the last digit.

    Substitutions near each other are made together. The new side chains and those within 0.5 nm of them are
    chosen from their torsion grids (:func:`esr1md.receptor.repack.repack`); the best arrangements are relaxed
    with the backbone of four residues on each side held loosely, and compared in implicit water
    (:func:`esr1md.receptor.settle.settle`). In the H11-H12 loop, where crystals of wild type and mutants differ in
    the backbone, and for a proline, whose ring may not fit the backbone that is there, other backbones are tried as
    well, and then others near the best of them. Deletions come last (:func:`esr1md.receptor.deletion.delete`).

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
    prolines = {mutation.position for mutation in mutations if mutation.mutant == "P"}
    puckers = _PROLINES if prolines else 1
    changed = []
    for pucker in range(puckers):
        new = chain
        for mutation in mutations:
            sources = library[THREE_LETTER[mutation.mutant]]
            template = sources[pucker % len(sources)] if mutation.mutant == "P" else sources[0]
            new = replace_residue(new, mutation.position, template)
        changed.append(new)
    topology = load_model(chain_pdb(changed[0])).topology

    def model_of(new: gemmi.Chain) -> Model:
        return Model(topology, positions_of(new, topology), [])

    as_is = [model_of(new) for new in changed]
    stretch = _stretch(chain, sites & set(FLEXIBLE) | prolines) or _stretch(chain, prolines)
    others = [model_of(new) for new in _other_backbones(changed[0], sites & set(stretch), stretch)] if stretch else []
    neighbours = side_chains_near([model, *as_is, *others], sites) | side_chains_of(topology, set(stretch) - sites)
    system = build_system(topology)
    parameters = nonbonded_parameters(system)

    def arranged(placed: Model, best: int, moved: set[int]) -> list[np.ndarray]:
        return repack(topology, parameters, placed.positions, sorted(sites), sorted(neighbours), best, moved)

    def on_other_backbones(placed: list[Model]) -> list[Candidate]:
        return [
            Candidate(other, positions, f"{title}, backbone moved", _HANDICAP)
            for other in placed
            for positions in arranged(other, 1, set(stretch))
        ]

    def near(candidate: Candidate, positions: np.ndarray) -> list[Candidate]:
        if not candidate.handicap:
            return []
        relaxed = gemmi.read_pdb_string(Model(topology, positions, []).pdb_text())[0][0]
        return on_other_backbones([model_of(new) for new in _backbones_near(relaxed, stretch)])

    candidates = [
        Candidate(placed, positions, title) for placed in as_is for positions in arranged(placed, _TRIED, set())
    ]
    return settle(model, system, [*candidates, *on_other_backbones(others)], sites, neighbours, near)


def _stretch(chain: gemmi.Chain, sites: set[int]) -> list[int]:
    """Numbers of the residues whose backbone moves with mutations.

    None near the ends of the chain, nor where mutations are so far apart that sampling what lies between takes
    minutes and finds nothing.
    """
    if not sites or max(sites) - min(sites) > _APART:
        return []
    residues = {residue.seqid.num: residue for residue in chain}
    numbers = list(range(min(sites) - _BEFORE, max(sites) + _AFTER + 1))
    around = range(numbers[0] - 2, numbers[-1] + 3)
    return [] if any(n not in residues or residues[n].name in ("ACE", "NME") for n in around) else numbers


def _other_backbones(chain: gemmi.Chain, sites: set[int], numbers: list[int]) -> list[gemmi.Chain]:
    """The chain with the backbone of some residues moved in several ways, all joined and allowed."""
    own, names = _coordinates(chain, numbers)
    starts = _starts(own, names, [site - numbers[0] + 1 for site in sorted(sites)])
    loops = _sound(chain, numbers, names, starts)
    return [put_backbone(chain, loop) for loop in different(loops, _BACKBONES)]


def _backbones_near(chain: gemmi.Chain, numbers: list[int]) -> list[gemmi.Chain]:
    """The chain with the backbone of some residues moved a little in several ways."""
    own, names = _coordinates(chain, numbers)
    loops = _sound(chain, numbers, names, vary(np.random.default_rng(numbers[0]), own, _AGAIN_NOISE))
    return [put_backbone(chain, loop) for loop in different(loops, _AGAIN, _AGAIN_APART)]


def _coordinates(chain: gemmi.Chain, numbers: list[int]) -> tuple[np.ndarray, list[str]]:
    """Internal coordinates of residues and of their neighbours (n + 2 x 6), and the names of the residues."""
    residues = {residue.seqid.num: residue for residue in chain}
    own = internal_coordinates([residues[n] for n in range(numbers[0] - 2, numbers[-1] + 3)])
    return own, [residues[n].name for n in numbers]


def _sound(chain: gemmi.Chain, numbers: list[int], names: list[str], starts: np.ndarray) -> list[Loop]:
    """Closed backbones without a Ramachandran outlier that touch little, best first."""
    loops = sample_loops(chain, numbers, names, starts)
    sound = [loop for loop in loops if not loop.outliers and loop.score <= _TOUCHES]
    return sorted(sound, key=lambda loop: loop.score + _RARITY * loop.rarity)


def _starts(own: np.ndarray, names: list[str], rows: list[int]) -> np.ndarray:
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
        starts.append(vary(generator, other, np.full(_PER_BASIN, _BASIN_NOISE)))
    found = np.concatenate(starts)
    for row in rows:
        if names[row - 1] == "PRO":
            found[:, row, PHI] = generator.normal(_PROLINE_PHI, _PROLINE_NOISE, len(found))
    return found
