"""Choose the side chains of a few residues together: the mutated ones and those that meet them.

Every residue has the grid of its torsions and the conformation it is found in. For each conformation of the
mutated residues, the neighbours settle one after another into their best answer to it; what is returned are the
best arrangements, to be relaxed and compared by the full force field.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from openmm import app

from esr1md.receptor.frame import POCKET_RESIDUES
from esr1md.receptor.sidechain import (
    NonbondedParameters,
    bonded,
    capped_energy,
    conformations,
    residue_numbered,
    surroundings,
)

_CONFORMERS = 12  # kept per residue after the fixed surroundings have judged
_CENTRE_CONFORMERS = 24
_PRODUCT = 5000  # combinations of several mutated residues looked at, before their neighbours answer
_COMBINATIONS = 60  # of the mutated residues' conformations
_SWEEPS = 4
#: kJ/mol in favour of the conformation a neighbour is found in, which the crystal's density has seen; more in the
#: pocket, whose side chains would otherwise fill the place of a ligand that is not there yet.
_AS_FOUND, _AS_FOUND_IN_POCKET = 10.0, 40.0


@dataclass(frozen=True)
class _SideChain:
    """One residue's conformations: atom indices (m,), positions (k, m, 3), own energies (k,), first chi well (k,)."""

    moving: np.ndarray
    shapes: np.ndarray
    energies: np.ndarray


def repack(
    topology: app.Topology,
    parameters: NonbondedParameters,
    positions: np.ndarray,
    centres: list[int],
    neighbours: list[int],
    best: int,
    moved: set[int] = frozenset(),
) -> list[np.ndarray]:
    """The best arrangements of the side chains of ``centres`` and ``neighbours``.

    Parameters
    ----------
    topology, parameters, positions
        The receptor (positions n x 3, nm).
    centres
        Residue numbers whose present conformation is arbitrary (just placed).
    neighbours
        Residue numbers whose present conformation is known but may give way.
    moved
        Those of ``neighbours`` whose backbone is new, so that where their side chains point proves nothing.
    best
        How many arrangements to return. With each conformation of ``centres`` goes what its neighbours answer, and
        also the neighbours as they are found.

    Returns
    -------
    list of n x 3 arrays (nm), lowest energy first
    """
    numbers = [*centres, *neighbours]
    neighbours_of = bonded(topology)
    moving = {n: conformations(topology, positions, n, neighbours_of) for n in numbers}
    sampled = {int(i) for indices, _ in moving.values() for i in indices}
    chains = []
    most = _CENTRE_CONFORMERS if len(centres) < 3 else max(3, int(_PRODUCT ** (1 / len(centres))))
    for number in numbers:
        residue = residue_numbered(topology, number)
        held = _held(number, moved) if number in neighbours else None
        fixed = surroundings(topology, residue, positions, without=sampled)
        chains.append(_judged(parameters, *moving[number], positions, fixed, most, held))
    pairs = {
        (a, b): _pair_energies(parameters, chains[a], chains[b])
        for a, b in itertools.combinations(range(len(chains)), 2)
    }
    arrangements = []
    for choice in _centre_choices(chains, pairs, len(centres)):
        as_found = (*choice, *([0] * len(neighbours)))
        for answer in {_settle(chains, pairs, choice), as_found}:
            arrangements.append((_total(chains, pairs, answer), answer))
    arrangements.sort(key=lambda entry: entry[0])
    results = []
    for _, answer in _diverse(arrangements, chains, best):
        trial = positions.copy()
        for chain, k in zip(chains, answer, strict=True):
            trial[chain.moving] = chain.shapes[k]
        results.append(trial)
    return results


def _held(number: int, moved: set[int]) -> float:
    """Energy (kJ/mol) in favour of the conformation that a neighbour is found in."""
    if number in moved:
        return 0.0
    return _AS_FOUND_IN_POCKET if number in POCKET_RESIDUES else _AS_FOUND


def _judged(
    parameters: NonbondedParameters,
    moving: np.ndarray,
    shapes: np.ndarray,
    positions: np.ndarray,
    fixed: np.ndarray,
    kept: int,
    held: float | None,
) -> _SideChain:
    """The conformations that the fixed surroundings leave; for a neighbour, first of all the one it is found in."""
    found = held is not None
    if found:
        shapes, kept = np.concatenate([positions[moving][None], shapes]), _CONFORMERS
    if not len(moving):
        return _SideChain(moving, shapes, np.zeros(len(shapes)))
    energies = capped_energy(parameters, moving, shapes, fixed, positions[fixed], screened=True)
    if found:
        energies[0] -= held
    order = np.argsort(energies, kind="stable")[:kept]
    if found:
        order = np.array([0, *order[order != 0]])
    return _SideChain(moving, shapes[order], energies[order])


def _pair_energies(parameters: NonbondedParameters, a: _SideChain, b: _SideChain) -> np.ndarray | None:
    """Energies (k_a, k_b) between the conformations of two side chains; ``None`` if they never come near."""
    if not len(a.moving) or not len(b.moving):
        return None
    if np.linalg.norm(a.shapes.mean(axis=(0, 1)) - b.shapes.mean(axis=(0, 1))) > 1.6:
        return None
    columns = [capped_energy(parameters, a.moving, a.shapes, b.moving, shape, screened=True) for shape in b.shapes]
    return np.array(columns).T


def _centre_choices(chains: list[_SideChain], pairs: dict, count: int) -> list[tuple[int, ...]]:
    """The best combinations of the mutated residues' conformations, judged among themselves."""
    combinations = itertools.product(*(range(len(chain.shapes)) for chain in chains[:count]))
    judged = []
    for combination in combinations:
        energy = sum(chains[a].energies[k] for a, k in enumerate(combination))
        for a, b in itertools.combinations(range(count), 2):
            if pairs[a, b] is not None:
                energy += pairs[a, b][combination[a], combination[b]]
        judged.append((energy, combination))
    judged.sort(key=lambda entry: entry[0])
    return [combination for _, combination in judged[:_COMBINATIONS]]


def _settle(chains: list[_SideChain], pairs: dict, choice: tuple[int, ...]) -> tuple[int, ...]:
    """Neighbours' best answers to a choice of the mutated residues, each to all others in turn."""
    answer = [*choice, *([0] * (len(chains) - len(choice)))]
    for _ in range(_SWEEPS):
        before = list(answer)
        for b in range(len(choice), len(chains)):
            energies = chains[b].energies.copy()
            for a, k in enumerate(answer):
                table = pairs.get((a, b)) if a < b else pairs.get((b, a))
                if a != b and table is not None:
                    energies += table[k] if a < b else table[:, k]
            answer[b] = int(np.argmin(energies))
        if answer == before:
            break
    return tuple(answer)


def _total(chains: list[_SideChain], pairs: dict, answer: tuple[int, ...]) -> float:
    energy = sum(chain.energies[k] for chain, k in zip(chains, answer, strict=True))
    for (a, b), table in pairs.items():
        if table is not None:
            energy += table[answer[a], answer[b]]
    return float(energy)


def _diverse(arrangements: list, chains: list[_SideChain], best: int) -> list:
    """The best arrangements that differ (0.4 A RMS over all sampled atoms) from those before, then runners-up."""
    first, second, seen = [], [], []
    for energy, answer in arrangements:
        shape = np.concatenate([chain.shapes[k] for chain, k in zip(chains, answer, strict=True)])
        known = any(np.sqrt(((shape - other) ** 2).sum(axis=1).mean()) < 0.04 for other in seen)
        (second if known else first).append((energy, answer))
        if not known:
            seen.append(shape)
    return (first + second)[:best]
