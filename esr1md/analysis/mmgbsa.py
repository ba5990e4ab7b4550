"""Single-trajectory MM/GBSA: the energy of bringing ligand and receptor together, frame by frame.

    dG = E_vdw + E_coulomb + dG_GB + gamma * dSASA        (no configurational entropy)

Bonded and internal terms cancel exactly, because complex, receptor and ligand share one set of coordinates.

Van der Waals and Coulomb are sums over the pairs of ligand and receptor; dG_GB is
:class:`~esr1md.analysis.generalised_born.GeneralisedBorn` for every model, with or without salt, since it needs one
pass for all three molecules and gives each residue's part; the surface is OpenMM's ``LCPOForce``. A scorer is built
once and serves every frame of every replica with the same atoms (:func:`scorer_of`).

Source: Srinivasan et al., J. Am. Chem. Soc. 1998, 120, 9401; Genheden and Ryde, Expert Opin. Drug Discov. 2015,
10, 449. Surface tension as in MMPBSA.py (Miller 2012, doi 10.1021/ct300418h).
"""

from __future__ import annotations

import hashlib
import os
from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import openmm
import torch
from openmm import app
from openmm.app.internal.lcpo import LCPO_PARAMETERS, getLCPOParamsTopology
from scipy.spatial.distance import cdist

from esr1md.analysis.generalised_born import COULOMB, GeneralisedBorn, Model
from esr1md.complex import KCAL, Complex, charges, nonbonded_force
from esr1md.dynamics.platforms import PlatformChoice
from esr1md.errors import StageError

#: kcal/mol/A^2.
SURFACE_TENSION = 0.0072
PROBE_RADIUS_NM = 0.14
#: kcal/mol/K.
GAS_CONSTANT = 8.31446261815324e-3 / KCAL
#: Standard deviation (kcal/mol) of the interaction energy above which interaction entropy does not converge.
#: Source: Ekberg and Ryde, J. Chem. Theory Comput. 2021, 17, 5379 (doi 10.1021/acs.jctc.1c00374).
ENTROPY_SPREAD_KCAL = 3.6

#: Scorers kept in a process: a worker sees the replicas of several cells in turn.
_SCORERS_KEPT = 8


@dataclass(frozen=True)
class Energies:
    """MM/GBSA terms per frame, each (n_frames,) in kcal/mol, and those terms by receptor residue.

    ``residue_vdw``, ``residue_coulomb`` and ``residue_polar`` are (n_frames, n_residues), kcal/mol. Van der Waals and
    Coulomb are the ligand with each residue. The polar term is what the solvent screens of that Coulomb energy and
    what the residue itself loses of its solvation; ``ligand_polar`` (n_frames,) is what the ligand loses of its own.
    The four sum to everything but the surface term.
    """

    vdw_kcal: np.ndarray
    coulomb_kcal: np.ndarray
    gb_kcal: np.ndarray
    sasa_kcal: np.ndarray
    residue_vdw: np.ndarray
    residue_coulomb: np.ndarray
    residue_polar: np.ndarray
    ligand_polar: np.ndarray

    @property
    def binding_kcal(self) -> np.ndarray:
        return self.vdw_kcal + self.coulomb_kcal + self.gb_kcal + self.sasa_kcal

    @property
    def interaction_kcal(self) -> np.ndarray:
        """Energy (n_frames,) of ligand and receptor without solvent: van der Waals and Coulomb."""
        return self.vdw_kcal + self.coulomb_kcal


class MMGBSA:
    """Scorer of one complex over a fixed set of atoms.

    Parameters
    ----------
    complex_
        The complex whose parameters are used.
    atoms
        (n,) indices of the solute atoms to score, ascending: the whole solute or a region of whole residues.
    platform
        Where the surface is evaluated; on CUDA the generalised Born terms are computed on the GPU as well, if torch
        sees it, else on the CPU with the platform's number of threads.
    model
        ``obc2`` or ``gbn2``.
    solute_dielectric, solvent_dielectric
        Relative permittivities.
    salt_molar, temperature_kelvin
        1:1 salt that screens the generalised Born terms, and its temperature.

    Attributes
    ----------
    residues
        (n_residues,) indices in the topology of the receptor's residues, in the order of the energies by residue.

    Raises
    ------
    StageError
        An apo complex, or an atom without parameters of the model or the surface area.
    """

    def __init__(
        self,
        complex_: Complex,
        atoms: np.ndarray,
        platform: PlatformChoice,
        *,
        model: Model = "obc2",
        solute_dielectric: float = 1.0,
        solvent_dielectric: float = 78.5,
        salt_molar: float = 0.0,
        temperature_kelvin: float = 300.0,
    ) -> None:
        if not len(complex_.ligand_atoms):
            raise StageError("analysis", "MM/GBSA needs a ligand; this complex is apo")
        atoms = np.asarray(atoms)
        is_ligand = np.isin(atoms, complex_.ligand_atoms)
        self._order = np.concatenate([np.flatnonzero(~is_ligand), np.flatnonzero(is_ligand)])
        self._first = int((~is_ligand).sum())
        receptor, ligand = atoms[~is_ligand], atoms[is_ligand]
        nonbonded = nonbonded_force(complex_.system)
        charge, sigma, epsilon = nonbonded_parameters(nonbonded, np.concatenate([receptor, ligand]))
        self._charge = charge
        first = self._first
        depth = 4 * np.sqrt(epsilon[first:, None] * epsilon[:first])
        sixth = (0.5 * (sigma[first:, None] + sigma[:first])) ** 6
        self._attraction, self._repulsion = depth * sixth, depth * sixth**2
        self._solute_dielectric = solute_dielectric
        topology_atoms = list(complex_.topology.atoms())
        self.residues, self._residue_of = np.unique(
            [topology_atoms[i].residue.index for i in receptor], return_inverse=True
        )
        self._gb = GeneralisedBorn(
            complex_.topology,
            charges(nonbonded),
            np.concatenate([receptor, ligand]),
            first,
            model=model,
            solute_dielectric=solute_dielectric,
            solvent_dielectric=solvent_dielectric,
            salt_molar=salt_molar,
            temperature_kelvin=temperature_kelvin,
            device=torch_device(platform),
        )
        parameters = surface_parameters(complex_.topology)
        self._surface = SurfaceEnergy(
            [parameters[i] for i in (*receptor, *ligand)],
            (slice(0, len(atoms)), slice(0, first), slice(first, len(atoms))),
            platform,
        )
        self._threads = frame_threads(platform)

    def score(self, positions: np.ndarray) -> Energies:
        """Energies of frames.

        Parameters
        ----------
        positions
            (n_frames, n, 3) in nm, of the atoms this scorer was made for, in their order.

        Raises
        ------
        StageError
            No frame, a frame of another shape, or with a coordinate that is not finite.
        """
        check_frames(positions, len(self._order))
        ordered = positions[:, self._order].astype(float)
        with frames_at_once(self._threads) as apply:
            terms = apply(self._terms, ordered)
            surface = np.array([self._surface(frame) for frame in ordered])
            vdw, coulomb, polar, ligand_polar = (np.array(term) / KCAL for term in zip(*terms, strict=True))
        return Energies(
            vdw.sum(axis=1),
            coulomb.sum(axis=1),
            polar.sum(axis=1) + ligand_polar,
            (surface[:, 0] - surface[:, 1] - surface[:, 2]) / KCAL,
            vdw,
            coulomb,
            polar,
            ligand_polar,
        )

    def _terms(self, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
        """Van der Waals, Coulomb and polar energy (kJ/mol) by residue, and the ligand's own polar one."""
        polar = self._gb.binding(frame)
        n = len(self.residues)
        by_residue = (np.bincount(self._residue_of, t, n) for t in (*self._pairs(frame), polar[: self._first]))
        return *by_residue, float(polar[self._first :].sum())

    def _pairs(self, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Van der Waals and Coulomb energy (kJ/mol) of each receptor atom with the ligand."""
        first = self._first
        inverse = 1.0 / cdist(frame[first:], frame[:first], "sqeuclidean")
        sixth = inverse**3
        vdw = ((self._repulsion * sixth - self._attraction) * sixth).sum(axis=0)
        potential = self._charge[first:] @ np.sqrt(inverse)
        return vdw, COULOMB / self._solute_dielectric * self._charge[:first] * potential


_scorers: OrderedDict[str, MMGBSA] = OrderedDict()


def scorer_of(complex_: Complex, atoms: np.ndarray, platform: PlatformChoice, **settings) -> MMGBSA:
    """The :class:`MMGBSA` of these arguments: one that this process has made of equal ones, or a new one.

    Replicas of a cell have equal atoms, parameters and settings though each builds its complex anew, and one worker
    process takes several replicas.
    """
    key = _scorer_key(complex_, atoms, platform, settings)
    scorer = _scorers.pop(key, None) or MMGBSA(complex_, atoms, platform, **settings)
    _scorers[key] = scorer
    while len(_scorers) > _SCORERS_KEPT:
        _scorers.popitem(last=False)
    return scorer


def _scorer_key(complex_: Complex, atoms: np.ndarray, platform: PlatformChoice, settings: dict) -> str:
    """Digest of all that a scorer is made from."""
    digest = hashlib.sha256()
    solute = set(complex_.solute_atoms.tolist())
    for atom in complex_.topology.atoms():
        if atom.index in solute:
            residue = atom.residue
            digest.update(f"{atom.name} {atom.element} {residue.name} {residue.id} {residue.index};".encode())
    bonds = [(a.index, b.index) for a, b in complex_.topology.bonds() if a.index in solute]
    parameters = nonbonded_parameters(nonbonded_force(complex_.system), complex_.solute_atoms)
    for array in (np.array(bonds), complex_.ligand_atoms, np.asarray(atoms), *parameters):
        digest.update(array.tobytes() + b";")
    digest.update(repr((platform.name, sorted(platform.properties.items()), sorted(settings.items()))).encode())
    return digest.hexdigest()


def interaction_entropy(interaction_kcal: np.ndarray, temperature_kelvin: float) -> tuple[float, float]:
    """-T dS of binding by interaction entropy, and the standard deviation of the interaction energy (kcal/mol).

        -T dS = kT ln < exp((E - <E>) / kT) >

    The average is ruled by the rare highest energies, so it does not converge unless they are close together: above
    :data:`ENTROPY_SPREAD_KCAL` the value says more about the number of frames than about the ligand.

    Parameters
    ----------
    interaction_kcal
        (n_frames,) van der Waals and Coulomb energy of ligand and receptor without solvent.

    Raises
    ------
    StageError
        Fewer than two frames.

    Source: Duan, Liu, Zhang, J. Am. Chem. Soc. 2016, 138, 5722 (doi 10.1021/jacs.6b02682).
    """
    if len(interaction_kcal) < 2:
        raise StageError("analysis", "interaction entropy needs at least two scored frames; there is one")
    thermal = GAS_CONSTANT * temperature_kelvin
    excess = (interaction_kcal - interaction_kcal.mean()) / thermal
    entropy = thermal * (np.logaddexp.reduce(excess) - np.log(len(excess)))
    return float(entropy), float(interaction_kcal.std(ddof=1))


# -- surface ---------------------------------------------------------------------------------------------------


class SurfaceEnergy:
    """gamma * SASA of several overlapping sets of atoms, by LCPO, in one context.

    Parameters
    ----------
    parameters
        Of each atom, from :func:`surface_parameters`.
    parts
        The sets, each as if it were alone in the solvent.
    platform
        Where to evaluate; on one thread of a CPU, for it runs beside the threads that have a frame each.
    """

    def __init__(self, parameters: list, parts: tuple[slice, ...], platform: PlatformChoice) -> None:
        system = surface_system(parameters, parts)
        self._groups = range(len(parts))
        properties = platform.properties | ({"Threads": "1"} if platform.name == "CPU" else {})
        self._context = openmm.Context(system, openmm.VerletIntegrator(0.001), platform.platform(), properties)

    def __call__(self, positions: np.ndarray) -> list[float]:
        """Energy (kJ/mol) of each set at positions (n, 3), nm."""
        self._context.setPositions(positions)
        return [
            self._context.getState(energy=True, groups={group}).getPotentialEnergy()._value for group in self._groups
        ]


def surface_system(parameters: list, parts: tuple[slice, ...]) -> openmm.System:
    """A System with an ``LCPOForce`` for each part, in groups 0, 1, ...; arguments as for :class:`SurfaceEnergy`."""
    system = openmm.System()
    for _ in parameters:
        system.addParticle(1.0)
    for group, part in enumerate(parts):
        area = openmm.LCPOForce()
        area.setSurfaceTension(SURFACE_TENSION * KCAL * 100)
        members = range(len(parameters))[part]
        for i, (radius, *coefficients) in enumerate(parameters):
            # an atom of radius 0 is not there for this force
            there = radius > 0 and i in members
            area.addParticle(radius + PROBE_RADIUS_NM if there else 0.0, *coefficients)
        area.setForceGroup(group)
        system.addForce(area)
    return system


#: LCPO parameters (angstrom) by element, bonds and heavy neighbours of atoms that LCPO has no type for.
_STAND_INS = {
    ("N", 1, 1): LCPO_PARAMETERS["N_sp2_1"],
    ("C", 2, 2): LCPO_PARAMETERS["C_sp2_2"],
    ("C", 2, 1): LCPO_PARAMETERS["C_sp3_1"],
    ("Br", 1, 1): (1.85, *LCPO_PARAMETERS["Cl"][1:]),
    ("I", 1, 1): (1.98, *LCPO_PARAMETERS["Cl"][1:]),
}


def surface_parameters(topology: app.Topology) -> list[tuple[float, float, float, float, float]]:
    """LCPO parameters (radius nm, p1, p2, p3, p4 nm^-2) of every atom; water and ions get none.

    LCPO has no type for a sulfur with three or four heavy neighbours (sulfoxide, sulfone): phosphorus of the
    same radius and coordination stands in. Nor has it any for sp atoms, bromine and iodine: the type with as many
    heavy neighbours stands in (as Amber has it for sp nitrogen and carbon), for bromine and iodine chlorine's with
    their own radius (Bondi 1964). Any other atom without a type is an error.

    Source: Weiser, Shenkin, Still, J. Comput. Chem. 1999, 20, 217.

    Raises
    ------
    StageError
        An atom of the solute has no LCPO type.
    """
    copy, atoms = app.Topology(), {}
    neighbours: dict[int, int] = {}
    bonds: dict[int, int] = {}
    stand_ins: dict[int, tuple[float, ...]] = {}
    for first, second in topology.bonds():
        for a, b in ((first, second), (second, first)):
            bonds[a.index] = bonds.get(a.index, 0) + 1
            if b.element is not None and b.element.symbol != "H":
                neighbours[a.index] = neighbours.get(a.index, 0) + 1
    for chain in topology.chains():
        new_chain = copy.addChain(chain.id)
        for residue in chain.residues():
            new_residue = copy.addResidue(residue.name, new_chain, residue.id)
            solvent = residue.name in ("HOH", "NA", "CL")
            for atom in residue.atoms():
                element = None if solvent else atom.element
                if element is not None and element.symbol == "S" and neighbours.get(atom.index, 0) >= 3:
                    element = app.element.phosphorus
                kind = (element.symbol, bonds.get(atom.index, 0), neighbours.get(atom.index, 0)) if element else None
                if kind in _STAND_INS:
                    stand_ins[atom.index] = _STAND_INS[kind]
                    element = app.element.fluorine  # of which OpenMM asks no number of bonds
                atoms[atom.index] = copy.addAtom(atom.name, element, new_residue)
    for first, second in topology.bonds():
        copy.addBond(atoms[first.index], atoms[second.index])
    try:
        found = getLCPOParamsTopology(copy)
    except ValueError as error:
        raise StageError("analysis", f"no surface-area parameters: {error}") from error
    plain = [(p[0]._value, p[1], p[2], p[3], p[4]._value) for p in found]
    for index, parameters in stand_ins.items():
        plain[index] = parameters
    return [(radius / 10, p1, p2, p3, p4 * 100) for radius, p1, p2, p3, p4 in plain]


# -- what scorers share ----------------------------------------------------------------------------------------


def nonbonded_parameters(nonbonded: openmm.NonbondedForce, atoms: np.ndarray) -> tuple[np.ndarray, ...]:
    """Charge (e), sigma (nm) and epsilon (kJ/mol), each (n,), of some atoms."""
    values = [[value._value for value in nonbonded.getParticleParameters(int(i))] for i in atoms]
    return tuple(np.array(values).T)


def check_frames(positions: np.ndarray, n_atoms: int) -> None:
    """Raise ``StageError`` unless ``positions`` is (n_frames, n_atoms, 3), at least one frame, and finite."""
    if positions.ndim != 3 or positions.shape[1:] != (n_atoms, 3):
        raise StageError("analysis", f"frames of shape {positions.shape[1:]} do not match {n_atoms} scored atoms")
    if not len(positions):
        raise StageError("analysis", "there is no frame to score")
    bad = np.flatnonzero(~np.isfinite(positions).all(axis=(1, 2)))
    if len(bad):
        raise StageError("analysis", f"frame {bad[0]} has a coordinate that is not finite")


def torch_device(platform: PlatformChoice) -> str:
    """Where torch computes for a platform: the GPU for one that uses it through CUDA, if torch can too."""
    if platform.name != "CUDA" or not torch.cuda.is_available():
        return "cpu"
    index = platform.properties.get("DeviceIndex", "0").split(",")[0]
    return f"cuda:{index}"


def frame_threads(platform: PlatformChoice) -> int:
    """Frames scored at once: the platform's CPU threads; one on a GPU."""
    if torch_device(platform) != "cpu":
        return 1
    threads = platform.properties.get("Threads") or os.environ.get("OPENMM_CPU_THREADS") or os.cpu_count() or 1
    return max(1, int(threads))


@contextmanager
def frames_at_once(threads: int) -> Iterator:
    """``apply(function, frames)`` over threads, each of which computes alone: frames share better than their loops."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(threads) as pool:
            yield pool.map
    finally:
        torch.set_num_threads(before)
