"""Single-trajectory MM/GBSA: the energy of bringing ligand and receptor together, frame by frame.

    dG = E_vdw + E_coulomb + dG_GB + gamma * dSASA        (no configurational entropy)

Bonded and internal terms cancel exactly, because complex, receptor and ligand share one set of coordinates.
Contexts are built once and serve every frame of every replica with the same atoms.

Source: Srinivasan et al., J. Am. Chem. Soc. 1998, 120, 9401; Genheden and Ryde, Expert Opin. Drug Discov. 2015,
10, 449. Surface tension as in MMPBSA.py (Miller 2012, doi 10.1021/ct300418h).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import openmm
from openmm import app
from openmm.app.internal.lcpo import getLCPOParamsTopology

from esr1md.complex import KCAL, Complex, charges, gbsa_obc_force, nonbonded_force
from esr1md.dynamics.platforms import PlatformChoice
from esr1md.errors import StageError

#: kJ mol^-1 nm e^-2.
COULOMB = 138.935456
#: kcal/mol/A^2.
SURFACE_TENSION = 0.0072
PROBE_RADIUS_NM = 0.14
_GROUP_GB, _GROUP_SURFACE = 0, 1


@dataclass(frozen=True)
class Energies:
    """MM/GBSA terms per frame, each (n_frames,) in kcal/mol, and the pair term by receptor residue.

    ``residue_pair`` is (n_frames, n_residues): van der Waals plus Coulomb of the ligand with each residue.
    """

    vdw_kcal: np.ndarray
    coulomb_kcal: np.ndarray
    gb_kcal: np.ndarray
    sasa_kcal: np.ndarray
    residue_pair: np.ndarray

    @property
    def binding_kcal(self) -> np.ndarray:
        return self.vdw_kcal + self.coulomb_kcal + self.gb_kcal + self.sasa_kcal


class MMGBSA:
    """Scorer of one complex over a fixed set of atoms.

    Parameters
    ----------
    complex_
        The complex whose parameters are used.
    atoms
        (n,) indices of the solute atoms to score, ascending: the whole solute or a region of whole residues.
    platform
        Where the generalised Born terms are evaluated.
    solute_dielectric, solvent_dielectric
        Relative permittivities.

    Raises
    ------
    StageError
        An apo complex, or an atom without surface-area parameters.
    """

    def __init__(
        self,
        complex_: Complex,
        atoms: np.ndarray,
        platform: PlatformChoice,
        *,
        solute_dielectric: float = 1.0,
        solvent_dielectric: float = 78.5,
    ) -> None:
        if not len(complex_.ligand_atoms):
            raise StageError("analysis", "MM/GBSA needs a ligand; this complex is apo")
        self._atoms = np.asarray(atoms)
        is_ligand = np.isin(self._atoms, complex_.ligand_atoms)
        self._ligand, self._receptor = np.flatnonzero(is_ligand), np.flatnonzero(~is_ligand)
        nonbonded = nonbonded_force(complex_.system)
        parameters = [nonbonded.getParticleParameters(int(i)) for i in self._atoms]
        self._charge = np.array([q._value for q, _, _ in parameters])
        self._sigma = np.array([s._value for _, s, _ in parameters])
        self._epsilon = np.array([e._value for _, _, e in parameters])
        self._solute_dielectric = solute_dielectric
        topology_atoms = list(complex_.topology.atoms())
        residue = np.array([topology_atoms[i].residue.index for i in self._atoms[self._receptor]])
        self.residues, self._residue_of = np.unique(residue, return_inverse=True)
        gb = gbsa_obc_force(
            complex_.topology,
            charges(nonbonded),
            solute_dielectric=solute_dielectric,
            solvent_dielectric=solvent_dielectric,
            surface_area=False,
        )
        surface = surface_parameters(complex_.topology)
        self._contexts = [
            (_context(gb, surface, self._atoms[part], platform), part)
            for part in (np.arange(len(self._atoms)), self._receptor, self._ligand)
        ]

    def score(self, positions: np.ndarray) -> Energies:
        """Energies of frames.

        Parameters
        ----------
        positions
            (n_frames, n, 3) in nm, of the atoms this scorer was made for, in their order.

        Raises
        ------
        StageError
            A frame of another shape, or with a coordinate that is not finite.
        """
        if positions.ndim != 3 or positions.shape[1:] != (len(self._atoms), 3):
            raise StageError(
                "analysis",
                f"frames of shape {positions.shape[1:]} do not match {len(self._atoms)} scored atoms",
            )
        bad = np.flatnonzero(~np.isfinite(positions).all(axis=(1, 2)))
        if len(bad):
            raise StageError("analysis", f"frame {bad[0]} has a coordinate that is not finite")
        pair = [self._pair_energies(frame) for frame in positions]
        solvation = np.array([[self._solvation(i, frame) for i in range(3)] for frame in positions])
        change = (solvation[:, 0] - solvation[:, 1] - solvation[:, 2]) / KCAL
        vdw, coulomb = (np.array([p[i] for p in pair]) / KCAL for i in (0, 1))
        return Energies(vdw.sum(axis=1), coulomb.sum(axis=1), change[:, 0], change[:, 1], residue_pair=vdw + coulomb)

    def _solvation(self, index: int, frame: np.ndarray) -> tuple[float, float]:
        context, part = self._contexts[index]
        context.setPositions(frame[part])
        return tuple(
            context.getState(energy=True, groups={group}).getPotentialEnergy()._value
            for group in (_GROUP_GB, _GROUP_SURFACE)
        )

    def _pair_energies(self, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Van der Waals and Coulomb energy (kJ/mol) of the ligand with each receptor residue, in double precision."""
        ligand, receptor = self._ligand, self._receptor
        difference = frame[ligand][:, None].astype(float) - frame[receptor][None].astype(float)
        squared = (difference**2).sum(axis=-1)
        sigma = 0.5 * (self._sigma[ligand][:, None] + self._sigma[receptor][None])
        epsilon = np.sqrt(self._epsilon[ligand][:, None] * self._epsilon[receptor][None])
        sixth = (sigma**2 / squared) ** 3
        vdw = (4 * epsilon * (sixth**2 - sixth)).sum(axis=0)
        charge = self._charge[ligand][:, None] * self._charge[receptor][None]
        coulomb = (COULOMB / self._solute_dielectric * charge / np.sqrt(squared)).sum(axis=0)
        n = len(self.residues)
        return np.bincount(self._residue_of, vdw, n), np.bincount(self._residue_of, coulomb, n)


def surface_parameters(topology: app.Topology) -> list[tuple[float, float, float, float, float]]:
    """LCPO parameters (radius nm, p1, p2, p3, p4 nm^-2) of every atom; water and ions get none.

    LCPO has no type for a sulfur with three or four heavy neighbours (sulfoxide, sulfone): phosphorus of the
    same radius and coordination stands in. Any other atom without a type is an error.

    Source: Weiser, Shenkin, Still, J. Comput. Chem. 1999, 20, 217.

    Raises
    ------
    StageError
        An atom of the solute has no LCPO type.
    """
    copy, atoms = app.Topology(), {}
    neighbours: dict[int, int] = {}
    for first, second in topology.bonds():
        for a, b in ((first, second), (second, first)):
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
                atoms[atom.index] = copy.addAtom(atom.name, element, new_residue)
    for first, second in topology.bonds():
        copy.addBond(atoms[first.index], atoms[second.index])
    try:
        found = getLCPOParamsTopology(copy)
    except ValueError as error:
        raise StageError("analysis", f"no surface-area parameters: {error}") from error
    return [(p[0]._value / 10, p[1], p[2], p[3], p[4]._value * 100) for p in found]


def _context(gb: openmm.GBSAOBCForce, surface: list, atoms: np.ndarray, platform: PlatformChoice) -> openmm.Context:
    """A context with the solvation terms of some atoms: generalised Born in group 0, surface in group 1."""
    system = openmm.System()
    part = openmm.GBSAOBCForce()
    part.setSoluteDielectric(gb.getSoluteDielectric())
    part.setSolventDielectric(gb.getSolventDielectric())
    part.setSurfaceAreaEnergy(0.0)
    area = openmm.LCPOForce()
    area.setSurfaceTension(SURFACE_TENSION * KCAL * 100)
    for atom in atoms:
        system.addParticle(1.0)
        part.addParticle(*gb.getParticleParameters(int(atom)))
        radius, *coefficients = surface[int(atom)]
        area.addParticle(radius + PROBE_RADIUS_NM if radius else 0.0, *coefficients)
    part.setForceGroup(_GROUP_GB)
    area.setForceGroup(_GROUP_SURFACE)
    system.addForce(part)
    system.addForce(area)
    return openmm.Context(system, openmm.VerletIntegrator(0.001), platform.platform(), platform.properties)
