"""Place a side chain on a backbone: take it from a prepared model, turn it through its torsions, choose.

The 20 amino acids with their hydrogens and amber names are read from a prepared model, so that a mutated
residue has the bond lengths, angles and handedness of a relaxed one.
"""

from __future__ import annotations

from dataclasses import dataclass

import gemmi
import numpy as np
import openmm
from openmm import app
from scipy.spatial.distance import cdist

from esr1md.errors import StageError
from esr1md.receptor.frame import superpose
from esr1md.receptor.relax import nonbonded_force
from esr1md.receptor.residues import HEAVY_ATOMS, chi_torsions

_KEPT_BACKBONE = ("N", "CA", "C", "O", "H")
_COULOMB = 138.935458  # kJ nm / (mol e^2)
_PAIR_CAP = 40.0  # kJ/mol: a touching pair is bad, not infinitely so, because the neighbours relax later
_REACH = 0.9  # nm
_SCREENING = 0.2  # nm at which screening by distance sets in


def templates(chain: gemmi.Chain, without: set[int] = frozenset()) -> dict[str, list[gemmi.Residue]]:
    """Complete residues of a prepared chain by name; histidines are its neutral N-epsilon tautomers first."""
    found: dict[str, list[gemmi.Residue]] = {}
    for residue in chain:
        complete = residue.name in HEAVY_ATOMS and all(name in residue for name in HEAVY_ATOMS[residue.name])
        if complete and residue.seqid.num not in without and any(atom.is_hydrogen() for atom in residue):
            found.setdefault(residue.name, []).append(residue.clone())
    found.get("HIS", []).sort(key=lambda residue: ("HE2" not in residue, "HD1" in residue))
    return found


def with_side_chain(old: gemmi.Residue, template: gemmi.Residue, carbonyl: np.ndarray) -> gemmi.Residue:
    """The template's side chain and hydrogens on the backbone of ``old``.

    Parameters
    ----------
    old, template
        Complete residues.
    carbonyl
        Position (3, angstrom) of C of the residue before, which places the amide hydrogen if ``old`` is a
        proline.
    """
    names = ("N", "CA", "C")
    rotation, translation, _ = superpose(
        np.array([template[name][0].pos.tolist() for name in names]),
        np.array([old[name][0].pos.tolist() for name in names]),
    )
    new = gemmi.Residue()
    new.name, new.seqid, new.het_flag = template.name, old.seqid, "A"
    for atom in template:
        copy = atom.clone()
        if atom.name in _KEPT_BACKBONE and atom.name in old:
            copy.pos = old[atom.name][0].pos
        elif atom.name == "H":
            nitrogen, alpha = (np.array(old[name][0].pos.tolist()) for name in ("N", "CA"))
            outward = sum((nitrogen - x) / np.linalg.norm(nitrogen - x) for x in (carbonyl, alpha))
            copy.pos = gemmi.Position(*(nitrogen + 1.01 * outward / np.linalg.norm(outward)))
        else:
            copy.pos = gemmi.Position(*(rotation @ np.array(atom.pos.tolist()) + translation))
        new.add_atom(copy)
    return new


def replace_residue(chain: gemmi.Chain, number: int, template: gemmi.Residue) -> gemmi.Chain:
    """A copy of a capped chain with one residue replaced on its backbone."""
    new = gemmi.Chain(chain.name)
    before = None
    for residue in chain:
        if residue.seqid.num == number:
            residue = with_side_chain(residue, template, np.array(before["C"][0].pos.tolist()))
        new.add_residue(residue)
        before = residue
    return new


def rotamers(
    topology: app.Topology, system: openmm.System, positions: np.ndarray, number: int, best: int = 1
) -> list[np.ndarray]:
    """Conformations of one side chain, the ``best`` of a grid over its torsions, nearest to rest first.

    Energies are those of :func:`capped_energy` with the atoms within 0.9 nm.

    Parameters
    ----------
    topology, system, positions
        The receptor (positions n x 3, nm) with the side chain in any conformation.
    number
        Residue number.

    Returns
    -------
    list of n x 3 arrays (nm)
    """
    residue = residue_numbered(topology, number)
    moving, shapes = conformations(topology, positions, number)
    if len(shapes) == 1:
        return [positions]
    others = surroundings(topology, residue, positions)
    energies = capped_energy(nonbonded_parameters(system), moving, shapes, others, positions[others])
    chosen = []
    for k in np.argsort(energies, kind="stable")[:best]:
        trial = positions.copy()
        trial[moving] = shapes[k]
        chosen.append(trial)
    return chosen


def residue_numbered(topology: app.Topology, number: int) -> app.Residue:
    """The residue of a model by its number.

    Raises
    ------
    StageError
        If the model has no such residue.
    """
    residue = next((r for r in topology.residues() if r.id == str(number)), None)
    if residue is None:
        raise StageError("receptor", f"residue {number} is not in the model")
    return residue


def conformations(
    topology: app.Topology, positions: np.ndarray, number: int, neighbours: dict[int, set[int]] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """A side chain on the grid of its torsions: staggered at tetrahedral ends, every 30 degrees at planar ones.

    Returns
    -------
    moving : (m,) int
        Indices of the side chain's atoms.
    shapes : (k, m, 3)
        Their positions (nm) in each conformation; one, as it is, if there is nothing to turn.
    """
    residue = residue_numbered(topology, number)
    atoms = {atom.name: atom.index for atom in residue.atoms()}
    torsions = chi_torsions(residue.name)
    moving = [i for name, i in atoms.items() if name not in (*_KEPT_BACKBONE, "HA", "HA2", "HA3")]
    if not torsions or not moving:
        return np.array(moving, dtype=int), positions[moving][None]
    local = sorted(atoms.values())  # turn a copy of this residue only
    place = {index: k for k, index in enumerate(local)}
    neighbours = bonded(topology) if neighbours is None else neighbours
    turned = [[place[i] for i in _beyond(neighbours, atoms[names[1]], atoms[names[2]])] for names, _ in torsions]
    fours = [[place[atoms[name]] for name in names] for names, _ in torsions]
    columns = [place[i] for i in moving]
    shapes = positions[local][None]
    for four, (_, angles), beyond in zip(fours, torsions, turned, strict=True):
        degrees = np.tile(np.array(angles, dtype=float), len(shapes))
        shapes = _set_torsion(np.repeat(shapes, len(angles), axis=0), four, degrees, beyond)
    return np.array(moving), shapes[:, columns]


def capped_energy(
    parameters: NonbondedParameters,
    moving: np.ndarray,
    shapes: np.ndarray,
    others: np.ndarray,
    other_shapes: np.ndarray,
    screened: bool = False,
) -> np.ndarray:
    """Lennard-Jones and Coulomb energy (kJ/mol) between two groups of atoms, each pair capped at 40 kJ/mol.

    Parameters
    ----------
    parameters
        From :func:`nonbonded_parameters`.
    moving, shapes
        m atom indices and k x m x 3 positions (nm).
    others, other_shapes
        o atom indices and o x 3 positions.
    screened
        Let the dielectric constant grow with distance beyond 0.2 nm, as water between the atoms would make it.

    Returns
    -------
    (k,)
    """
    distance = np.maximum(cdist(shapes.reshape(-1, 3), other_shapes), 0.05)
    distance = distance.reshape(len(shapes), len(moving), len(others))
    sigma = 0.5 * (parameters.sigma[moving][:, None] + parameters.sigma[others])
    epsilon = np.sqrt(parameters.epsilon[moving][:, None] * parameters.epsilon[others])
    sixth = (sigma / distance) ** 6
    pair = 4 * epsilon * (sixth**2 - sixth)
    coulomb = _COULOMB * parameters.charge[moving][:, None] * parameters.charge[others] / distance
    pair += coulomb * np.minimum(1.0, _SCREENING / distance) if screened else coulomb
    return np.minimum(pair, _PAIR_CAP).sum(axis=(1, 2))


@dataclass(frozen=True)
class NonbondedParameters:
    """Charge (e), sigma (nm) and epsilon (kJ/mol) per atom, each (n,)."""

    charge: np.ndarray
    sigma: np.ndarray
    epsilon: np.ndarray


def nonbonded_parameters(system: openmm.System) -> NonbondedParameters:
    """The nonbonded parameters of a System's atoms."""
    force = nonbonded_force(system)
    rows = [force.getParticleParameters(i) for i in range(force.getNumParticles())]
    values = np.array([[value._value for value in row] for row in rows])
    return NonbondedParameters(*values.T)


def bonded(topology: app.Topology) -> dict[int, set[int]]:
    """Indices of the atoms bonded to each atom."""
    neighbours: dict[int, set[int]] = {atom.index: set() for atom in topology.atoms()}
    for first, second in topology.bonds():
        neighbours[first.index].add(second.index)
        neighbours[second.index].add(first.index)
    return neighbours


def _beyond(neighbours: dict[int, set[int]], fixed: int, pivot: int) -> list[int]:
    """Atoms on the far side of the bond ``fixed`` - ``pivot``."""
    found, queue = {pivot}, [pivot]
    while queue:
        for other in neighbours[queue.pop()]:
            if other != fixed and other not in found:
                found.add(other)
                queue.append(other)
    return sorted(found - {pivot})


def surroundings(
    topology: app.Topology, residue: app.Residue, positions: np.ndarray, without: set[int] = frozenset()
) -> np.ndarray:
    """Atoms a side chain can meet: those near it, less what is within three bonds of C-beta and ``without``."""
    centre = next(atom.index for atom in residue.atoms() if atom.name == "CA")
    close = np.linalg.norm(positions - positions[centre], axis=1) < _REACH + 0.6
    for atom in topology.atoms():
        apart = atom.residue.index - residue.index
        if apart == 0 and atom.name not in ("O", "H"):
            close[atom.index] = False
        elif (apart == -1 and atom.name == "C") or (apart == 1 and atom.name == "N"):
            close[atom.index] = False
    close[list(without)] = False
    return np.flatnonzero(close)


def _set_torsion(shapes: np.ndarray, four: list[int], degrees: np.ndarray, beyond: list[int]) -> np.ndarray:
    """Shapes (k x n x 3) with the torsion of four atoms set (k,), and the atoms ``beyond`` turned with it."""
    a, b, c, d = shapes[:, four].swapaxes(0, 1)
    axis = (c - b) / np.linalg.norm(c - b, axis=1, keepdims=True)
    first, second = np.cross(b - a, c - b), np.cross(c - b, d - c)
    now = np.arctan2((np.cross(first, second) * axis).sum(axis=1), (first * second).sum(axis=1))
    angle = (np.radians(degrees) - now)[:, None, None]
    arms, axis = shapes[:, beyond] - c[:, None], axis[:, None]
    along = (arms * axis).sum(axis=2, keepdims=True) * axis
    turned = shapes.copy()
    turned[:, beyond] = (
        c[:, None] + along + np.cos(angle) * (arms - along) + np.sin(angle) * np.cross(axis, arms - along)
    )
    return turned
