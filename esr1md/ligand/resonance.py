"""Formal charges averaged over the resonance forms of a molecule.

A carboxylate written ``C(=O)[O-]`` has one oxygen at 0 and one at -1, although the two are the same.
Averaging over the forms that move an electron pair along a conjugated path gives each -0.5, whatever way
the molecule was written. The charge network was trained on these averages.

The method is that of Gilson, Gilson and Potter (J. Chem. Inf. Comput. Sci. 2003, 43, 1982): atoms that can
give or take an electron pair, paths of alternating bonds between them, all forms reachable by such transfers,
and of these the ones with the least sum of atom energies.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from rdkit import Chem
from rdkit.Chem.MolStandardize import rdMolStandardize

from esr1md.errors import StageError


class _Role(NamedTuple):
    """What one atom can do: give (``donor``) or take an electron pair, and what having this form costs."""

    donor: bool
    energy: float


#: (element, formal charge, sorted bond orders) -> role; table 1 of Gilson 2003. Anions and iminium-like
#: cations cost 5, neutral forms nothing, so charge separation never lowers the energy.
_ROLES = {
    ("O", 0, (2,)): _Role(False, 0.0),
    ("O", -1, (1,)): _Role(True, 5.0),
    ("S", 0, (2,)): _Role(False, 0.0),
    ("S", -1, (1,)): _Role(True, 5.0),
    ("N", 1, (1, 1, 2)): _Role(False, 5.0),
    ("N", 0, (1, 1, 1)): _Role(True, 0.0),
    ("N", 0, (1, 2)): _Role(False, 0.0),
    ("N", -1, (1, 1)): _Role(True, 5.0),
    ("N", 0, (3,)): _Role(False, 0.0),
    ("N", -1, (2,)): _Role(True, 5.0),
}

#: More forms than any drug-like molecule has; beyond it the search would not end in useful time.
MAX_FORMS = 20_000


def average_formal_charges(mol: Chem.Mol) -> np.ndarray:
    """Formal charge of each atom, averaged over the resonance forms of lowest energy.

    Functional groups are first written the way the network was trained on (RDKit's standard normalisation:
    a sulfoxide is S+ - O-, a nitro group N+ - O-, a sulfone S(=O)=O).

    Parameters
    ----------
    mol
        Molecule with explicit hydrogens.

    Returns
    -------
    np.ndarray
        ``n_atoms`` charges (e), in the order of ``mol``; their sum is the formal charge of the molecule.

    Raises
    ------
    StageError
        When a conjugated part has more than :data:`MAX_FORMS` forms.
    """
    written = Chem.Mol(mol)
    rdMolStandardize.Normalizer().normalizeInPlace(written)
    written = Chem.Mol(written)
    Chem.Kekulize(written, clearAromaticFlags=True)
    charges = np.array([atom.GetFormalCharge() for atom in written.GetAtoms()], dtype=float)
    for part in _conjugated_parts(written):
        forms = _lowest_forms(written, part)
        if forms:
            charges[part] = np.mean(forms, axis=0)
    return charges


def _conjugated_parts(mol: Chem.Mol) -> list[list[int]]:
    """Connected sets of atoms that electron pairs can move in: no hydrogen and no neutral sp3 carbon."""
    kept = {atom.GetIdx() for atom in mol.GetAtoms() if not _blocks(atom)}
    parts = []
    while kept:
        part, open_atoms = [], [kept.pop()]
        while open_atoms:
            index = open_atoms.pop()
            part.append(index)
            for neighbour in mol.GetAtomWithIdx(index).GetNeighbors():
                if neighbour.GetIdx() in kept:
                    kept.discard(neighbour.GetIdx())
                    open_atoms.append(neighbour.GetIdx())
        parts.append(sorted(part))
    return parts


def _blocks(atom: Chem.Atom) -> bool:
    if atom.GetAtomicNum() == 1:
        return True
    saturated = all(bond.GetBondType() == Chem.BondType.SINGLE for bond in atom.GetBonds())
    return atom.GetAtomicNum() == 6 and atom.GetFormalCharge() == 0 and atom.GetDegree() == 4 and saturated


class _Part:
    """One conjugated part: what does not change between its resonance forms."""

    def __init__(self, mol: Chem.Mol, atoms: list[int]) -> None:
        self.atoms = atoms
        inside = set(atoms)
        self.symbols = {i: mol.GetAtomWithIdx(i).GetSymbol() for i in atoms}
        self.bonds: dict[frozenset[int], int] = {}
        self.neighbours: dict[int, list[int]] = {i: [] for i in atoms}
        self.fixed_orders: dict[int, list[int]] = {i: [] for i in atoms}
        for i in atoms:
            for bond in mol.GetAtomWithIdx(i).GetBonds():
                other, order = bond.GetOtherAtomIdx(i), int(bond.GetBondTypeAsDouble())
                if other in inside:
                    self.neighbours[i].append(other)
                    self.bonds[frozenset((i, other))] = order
                else:
                    self.fixed_orders[i].append(order)
        self.bond_keys = sorted(self.bonds, key=sorted)
        self.charges = {i: mol.GetAtomWithIdx(i).GetFormalCharge() for i in atoms}

    def roles(self, charges: dict[int, int], orders: dict[frozenset[int], int]) -> dict[int, _Role]:
        found = {}
        for i in self.atoms:
            around = self.fixed_orders[i] + [orders[frozenset((i, j))] for j in self.neighbours[i]]
            role = _ROLES.get((self.symbols[i], charges[i], tuple(sorted(around))))
            if role:
                found[i] = role
        return found

    def transfer_paths(self, orders: dict[frozenset[int], int], donor: int, acceptors: set[int]) -> Iterator[list[int]]:
        """Simple paths from the donor whose bond orders go n, n+1, n, n+1 ... and end on a rise."""

        def extend(path: list[int], last: int, rise: bool) -> Iterator[list[int]]:
            for following in self.neighbours[path[-1]]:
                order = orders[frozenset((path[-1], following))]
                if following in path or order != last + (1 if rise else -1):
                    continue
                longer = [*path, following]
                if rise and following in acceptors:
                    yield longer
                yield from extend(longer, order, not rise)

        for first in self.neighbours[donor]:
            yield from extend([donor, first], orders[frozenset((donor, first))], True)


def _lowest_forms(mol: Chem.Mol, atoms: list[int]) -> list[list[int]]:
    """Formal charges (one list per form, in the order of ``atoms``) of the forms of lowest energy.

    Forms that differ only in where the double bonds stand count once.
    """
    part = _Part(mol, atoms)
    start_roles = part.roles(part.charges, part.bonds)
    if not {True, False} <= {role.donor for role in start_roles.values()}:
        return []
    if not any(role.energy for role in start_roles.values()):
        return []  # no charged group: a transfer would separate charges, so the form as written is the lowest

    energies: dict[tuple[int, ...], float] = {}
    seen: set[tuple[tuple[int, ...], tuple[int, ...]]] = set()
    to_do = [(part.charges, part.bonds)]
    while to_do:
        charges, orders = to_do.pop()
        charge_key = tuple(charges[i] for i in atoms)
        key = (charge_key, tuple(orders[b] for b in part.bond_keys))
        if key in seen:
            continue
        seen.add(key)
        if len(seen) > MAX_FORMS:
            raise StageError(
                "parameters",
                f"more than {MAX_FORMS} resonance forms in a conjugated part of "
                f"{len(atoms)} atoms; its charges cannot be averaged",
            )
        roles = part.roles(charges, orders)
        energies[charge_key] = sum(role.energy for role in roles.values())
        acceptors = {i for i, role in roles.items() if not role.donor}
        for donor in (i for i, role in roles.items() if role.donor):
            for path in part.transfer_paths(orders, donor, acceptors):
                new_orders = dict(orders)
                for step, (i, j) in enumerate(itertools.pairwise(path)):
                    new_orders[frozenset((i, j))] += 1 if step % 2 == 0 else -1
                new_charges = {**charges, path[0]: charges[path[0]] + 1, path[-1]: charges[path[-1]] - 1}
                to_do.append((new_charges, new_orders))
    lowest = min(energies.values())
    return [list(key) for key, energy in energies.items() if energy <= lowest + 1e-6]
