"""Relax alternative arrangements of the same atoms near a change, keep the best, let the backbone follow it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import openmm
from openmm import app
from scipy.spatial import cKDTree

from esr1md.receptor.frame import POCKET_RESIDUES
from esr1md.receptor.loops import dihedral
from esr1md.receptor.prepare import Model
from esr1md.receptor.quality import ramachandran_allowed
from esr1md.receptor.relax import minimiser, solvated_energy
from esr1md.receptor.residues import BACKBONE, chi1_rarity, chi_torsions
from esr1md.receptor.sidechain import residue_numbered

_NEIGHBOUR = 0.5  # nm between heavy atoms: side chains this near are chosen and relaxed with the change
_SURROUNDINGS = 1.0  # nm: frozen atoms that the relaxing ones feel
_REACH = 4  # residues on each side of a change whose backbone may follow it
_BACKBONE_SPRING = 100.0  # kJ/mol/nm^2: 0.5 A cost 0.1 kJ/mol per atom
_ITERATIONS, _FINALISTS = (60, 250), 6  # for all arrangements, then for the best of them
_STARTS = 2  # arrangements whose like are looked for
#: Springs on side chains of neighbours; stronger in the pocket, where no ligand holds them now.
_NEIGHBOUR_SPRING, _POCKET_SPRING = 100.0, 2000.0
_LIBRARY = 5.0  # kJ/mol per unit of chi1_rarity: 2 RT, as side-chain packers weigh a rotamer library
_POCKET_HANDICAP = 20.0  # kJ/mol that turning a side chain of the pocket must win
#: kJ/mol that a Ramachandran outlier near the change must win which was not there before: one residue in a thousand
#: of good crystals is one, and what holds it there is seldom what a model can know.
_OUTLIER_HANDICAP = 40.0
_BACKBONE_ATOMS = (*BACKBONE, "H", "HA", "HA2", "HA3")


@dataclass(frozen=True)
class Candidate:
    """One arrangement of a changed model.

    Attributes
    ----------
    model
        Its topology; all candidates have the same atoms.
    positions
        n x 3, nm.
    title
        What was done to get it.
    handicap
        Energy (kJ/mol) that it must be better by, for leaving what the crystal shows.
    """

    model: Model
    positions: np.ndarray
    title: str
    handicap: float = 0.0


_Judged = tuple[float, Candidate, np.ndarray]


def _cost(entry: _Judged) -> float:
    return entry[0]


def settle(
    before: Model,
    system: openmm.System,
    candidates: list[Candidate],
    centres: set[int],
    neighbours: set[int],
    near: Callable[[Candidate, np.ndarray], list[Candidate]] | None = None,
) -> Model:
    """Relax candidate arrangements and keep the one of lowest energy in implicit water.

    All are relaxed a little, with the backbone near the change held loosely, and judged; the best are relaxed
    further and judged again (:func:`esr1md.receptor.relax.solvated_energy`). Rare rotamers of the changed residues,
    turned side chains of the pocket and new Ramachandran outliers have to be better by some energy.

    Parameters
    ----------
    before
        What the candidates were made from.
    system
        Of the candidates' topology (:func:`esr1md.receptor.relax.build_system`).
    candidates
        At least one.
    centres
        Numbers of the residues that were changed: all their atoms move.
    neighbours
        Numbers of the residues whose side chains move with them.
    near
        Gives further candidates like one (the candidate, its relaxed positions n x 3, nm), to be judged with the rest;
        it is asked for those of each of the best two to which there are any.
    """
    topology = candidates[0].model.topology
    mobile, springs = _mobility(topology, centres, neighbours)
    kept = _taking_part(mobile, [candidate.positions for candidate in candidates])
    minimise, energy_of = minimiser(system, mobile, kept), solvated_energy(topology, kept)

    known = outliers(backbone_torsions(before.topology, before.positions))
    around = {n for centre in centres for n in range(centre - _REACH, centre + _REACH + 1)}

    def cost(candidate: Candidate, positions: np.ndarray) -> float:
        pocket = _turned(before, candidate.model, positions, neighbours & set(POCKET_RESIDUES))
        torsions = backbone_torsions(topology, positions)
        rare = sum(_chi1_rarity(topology, positions, number, is_n_cap(torsions, number)) for number in centres)
        odd = (outliers(torsions) & around) - known
        handicaps = candidate.handicap + _POCKET_HANDICAP * len(pocket) + _OUTLIER_HANDICAP * len(odd)
        return energy_of(positions) + handicaps + _LIBRARY * rare

    def relaxed(entries: Iterable[tuple[Candidate, np.ndarray]], iterations: int) -> list[_Judged]:
        judged = []
        with ThreadPoolExecutor(1) as beside:  # one is judged while the next is relaxed
            for candidate, start in entries:
                positions, _ = minimise(start, springs, None, iterations)
                judged.append((beside.submit(cost, candidate, positions), candidate, positions))
        return [(found.result(), candidate, positions) for found, candidate, positions in judged]

    entries = relaxed([(c, c.positions) for c in candidates], _ITERATIONS[0])
    if near is not None:
        further = (near(c, positions) for _, c, positions in sorted(entries, key=_cost))
        found = [c for like in itertools.islice(filter(None, further), _STARTS) for c in like]
        entries += relaxed([(c, c.positions) for c in found], _ITERATIONS[0])
    finalists = [entry[1:] for entry in sorted(entries, key=_cost)[:_FINALISTS]]
    _, chosen, positions = min(relaxed(finalists, _ITERATIONS[1]), key=_cost)
    step = (
        f"{chosen.title}: best of {len(entries)} arrangements by energy in implicit water, "
        f"{len(centres | neighbours)} side chains chosen and {int(mobile.sum())} atoms relaxed"
    )
    turned = _turned(before, chosen.model, positions, neighbours)
    if turned:
        step += f"; {', '.join(turned)} took another rotamer"
    return Model(chosen.model.topology, positions, [*before.steps, step])


def side_chains_near(models: list[Model], centres: set[int]) -> set[int]:
    """Residues with side-chain torsions within 0.5 nm of the side chains of ``centres`` in any of the models."""
    near: set[int] = set()
    for model in models:
        atoms = [atom for atom in model.topology.atoms() if atom.element.symbol != "H"]
        positions = model.positions[[atom.index for atom in atoms]]
        own = np.array([int(a.residue.id) in centres and a.name not in ("N", "C", "O") for a in atoms])
        side = np.array([a.name not in (*BACKBONE, "CB") for a in atoms])
        for i in np.flatnonzero(_near(positions, positions[own], _NEIGHBOUR) & side):
            if chi_torsions(atoms[i].residue.name):
                near.add(int(atoms[i].residue.id))
    return near - centres


def side_chains_of(topology: app.Topology, numbers: set[int]) -> set[int]:
    """Those of ``numbers`` whose side chains have torsions."""
    return {int(r.id) for r in topology.residues() if int(r.id) in numbers and chi_torsions(r.name)}


def backbone_torsions(topology: app.Topology, positions: np.ndarray) -> dict[int, tuple[str, float, float]]:
    """Name, phi and psi (degrees) by number of the residues with both neighbours (positions n x 3, nm)."""
    found = {}
    residues = list(topology.residues())
    rows = [{a.name: positions[a.index] for a in r.atoms() if a.name in ("N", "CA", "C")} for r in residues]
    for residue, before, here, after in zip(residues[1:], rows, rows[1:], rows[2:], strict=False):
        if "C" in before and len(here) == 3 and "N" in after:
            phi = dihedral(before["C"], here["N"], here["CA"], here["C"])
            psi = dihedral(here["N"], here["CA"], here["C"], after["N"])
            found[int(residue.id)] = (residue.name, phi, psi)
    return found


def outliers(torsions: dict[int, tuple[str, float, float]]) -> set[int]:
    """Numbers of the residues outside the allowed regions of the Ramachandran map."""
    return {number for number, (name, phi, psi) in torsions.items() if not ramachandran_allowed(phi, psi, name)}


def is_n_cap(torsions: dict[int, tuple[str, float, float]], number: int) -> bool:
    """Whether a residue that is not helical precedes three that are."""

    def helical(n: int) -> bool:
        return n in torsions and -100 <= torsions[n][1] <= -35 and -75 <= torsions[n][2] <= -5

    return not helical(number) and all(helical(number + k) for k in (1, 2, 3))


def _mobility(topology: app.Topology, centres: set[int], neighbours: set[int]) -> tuple[np.ndarray, np.ndarray]:
    """Mask of the atoms that move and their springs.

    What moves: ``centres``, side chains of ``neighbours``, everything up to four residues along the chain.
    """
    count = topology.getNumAtoms()
    rows = {int(residue.id): residue.index for residue in topology.residues()}
    centre_rows = np.array([rows[number] for number in centres])
    mobile, springs = np.zeros(count, dtype=bool), np.zeros(count)
    for atom in topology.atoms():
        number, backbone = int(atom.residue.id), atom.name in _BACKBONE_ATOMS
        beside = np.abs(centre_rows - atom.residue.index).min() <= _REACH
        if not beside and not (number in neighbours and not backbone):
            continue
        mobile[atom.index] = True
        if atom.element.symbol != "H" and (backbone or number not in centres):
            side_chain = _POCKET_SPRING if number in POCKET_RESIDUES else _NEIGHBOUR_SPRING
            springs[atom.index] = _BACKBONE_SPRING if backbone else side_chain
    return mobile, springs


def _taking_part(mobile: np.ndarray, conformers: list[np.ndarray]) -> np.ndarray:
    """Indices of the atoms that take part: the same for every conformer, so that energies can be compared."""
    centres = np.concatenate([conformer[mobile] for conformer in conformers])
    reached = [_near(conformer, centres, _SURROUNDINGS) for conformer in (conformers[0], conformers[-1])]
    return np.flatnonzero(mobile | reached[0] | reached[1])


def _turned(before: Model, after: Model, positions: np.ndarray, numbers: set[int]) -> list[str]:
    """Residues whose side chain went elsewhere (heavy atoms moved by more than 1 angstrom RMS)."""
    known = {(a.residue.id, a.name): before.positions[a.index] for a in before.topology.atoms()}
    turned = []
    for residue in after.topology.residues():
        if int(residue.id) not in numbers:
            continue
        heavy = [atom for atom in residue.atoms() if atom.element.symbol != "H"]
        apart = [np.sum((positions[a.index] - known[a.residue.id, a.name]) ** 2) for a in heavy]
        if np.sqrt(np.mean(apart)) > 0.1:
            turned.append(f"{residue.name.capitalize()}{residue.id}")
    return turned


def _chi1_rarity(topology: app.Topology, positions: np.ndarray, number: int, n_cap: bool) -> float:
    residue = residue_numbered(topology, number)
    torsions = chi_torsions(residue.name)
    if not torsions:
        return 0.0
    atoms = {atom.name: positions[atom.index] for atom in residue.atoms()}
    return chi1_rarity(residue.name, dihedral(*(atoms[name] for name in torsions[0][0])), n_cap)


def _near(positions: np.ndarray, centres: np.ndarray, distance: float) -> np.ndarray:
    """Mask of positions (n x 3) within ``distance`` of any of ``centres``."""
    return np.isfinite(cKDTree(centres).query(positions, distance_upper_bound=distance)[0])
