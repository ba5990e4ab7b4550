"""Alchemical transfer of one ligand out of the pocket while another takes its place (OpenMM's ``ATMForce``).

Both ligands are in one system. The first is in the site; the second lies as it would there, but displaced by a vector
d into the solvent. ``u0`` is the potential energy of that, ``u1`` the energy with the first displaced by d and the
second by -d: they have changed places. Every alchemical state is a function of these two numbers alone [1]_,

    W = (lambda2 - lambda1) / alpha ln(1 + exp(-alpha (u - offset))) + lambda2 u,   u = softcore(u1 - u0),

on top of u0 in the first leg, and the same with u0 and u1 changed about in the second; both legs go from lambda = 0 to
1/2, where they meet. No atom is transmuted, so ligands may differ in any way, and

    F(last state) - F(first state) = dG(binding, second) - dG(binding, first),

**negative where the second ligand binds the more strongly**.

Restraints hold the second ligand's place and orientation relative to the first (less d). They depend on the relative
place of two orthonormal frames alone, so the integral over them is the same number whichever ligand is in the solvent:
they cancel exactly, however strong they are, as long as the one that is bound does not feel the wall about the site.

References
----------
.. [1] S. Azimi, S. Khuttan, J. Z. Wu, R. K. Pal, E. Gallicchio, Relative binding free energy calculations for ligands
       with diverse scaffolds with the alchemical transfer method, J. Chem. Inf. Model. 62, 309 (2022).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import openmm
from pydantic import Field, model_validator

from esr1md.complex import GROUP_RESTRAINT, GROUP_SOLVENT
from esr1md.config import Settings
from esr1md.dynamics.region import Subsystem
from esr1md.errors import StageError

KCAL = 4.184
#: kJ/mol/nm^2 per kcal/mol/A^2.
_RESTRAINT_UNIT = 418.4

#: Atoms of the receptor this near (angstrom) to the first ligand's core say where the site is.
SITE_ANGSTROM = 8.0

#: Milliseconds per time step of the whole domain in implicit solvent on a GPU (:mod:`esr1md.screen.estimate`); a step
#: of a transfer computes the forces that change twice. Neither has been measured for a transfer.
_GPU_STEP_MS, _EVALUATIONS = 0.4, 2

Positive = Annotated[float, Field(gt=0)]


class Transfer(Settings):
    """How an edge between two ligands is sampled.

    The alchemical constants are those of Azimi 2022 and of its authors' own workflow.

    Attributes
    ----------
    states_per_leg
        Alchemical states of each leg, both ends included; the two legs meet in the middle, so there are twice as many.
    alpha_per_kcal, offset_kcal
        Of the soft-plus potential.
    soft_core_from_kcal, soft_core_to_kcal, soft_core_power
        The perturbation is itself up to ``from`` and never more than ``to`` (Ubcore, Umax and Acore of ``ATMForce``).
    equilibrate_ps, sample_ps
        Dynamics of each state before and while samples are kept.
    exchange_ps
        Between attempts to exchange states; each replica leaves one sample each time.
    gap_angstrom
        Solvent between the ligand in it and anything else, at least, however the receptor turns.
    align_kcal_per_angstrom2, align_orientation_kcal
        Restraints of the ligands on each other: ``k/2 r^2`` and ``k (2 - cos - cos)`` of two angles between frames.
    site_angstrom, site_kcal_per_angstrom2
        Either ligand (less d) is pulled back to the site from beyond this distance; a ligand that is bound never feels
        it, one that is half transferred would else leave.
    """

    states_per_leg: Annotated[int, Field(ge=3, le=50)] = 11
    alpha_per_kcal: Positive = 0.1
    offset_kcal: float = 110.0
    soft_core_from_kcal: Annotated[float, Field(ge=0)] = 100.0
    soft_core_to_kcal: Positive = 200.0
    soft_core_power: Positive = 0.0625
    equilibrate_ps: Positive = 100.0
    sample_ps: Positive = 5000.0
    exchange_ps: Positive = 1.0
    gap_angstrom: Annotated[float, Field(ge=10, le=200)] = 25.0
    align_kcal_per_angstrom2: Annotated[float, Field(ge=0)] = 2.5
    align_orientation_kcal: Annotated[float, Field(ge=0)] = 10.0
    site_angstrom: Positive = 4.0
    site_kcal_per_angstrom2: Annotated[float, Field(ge=0)] = 25.0

    @model_validator(mode="after")
    def validate_soft_core(self) -> "Transfer":
        if self.soft_core_to_kcal <= self.soft_core_from_kcal:
            raise ValueError(
                f"soft_core_to_kcal {self.soft_core_to_kcal:g} must be above soft_core_from_kcal "
                f"{self.soft_core_from_kcal:g}"
            )
        return self

    @model_validator(mode="after")
    def validate_samples(self) -> "Transfer":
        if self.sample_ps < self.exchange_ps:
            raise ValueError(
                f"sample_ps {self.sample_ps:g} is shorter than exchange_ps {self.exchange_ps:g}: no sample is kept"
            )
        return self

    @property
    def iterations(self) -> int:
        """Samples of each state."""
        return round(self.sample_ps / self.exchange_ps)

    @property
    def total_ps(self) -> float:
        """Dynamics of one repeat of one edge, all states together."""
        return 2 * self.states_per_leg * (self.equilibrate_ps + self.sample_ps)


def price(settings: Transfer, edges: int, repeats: int, time_step_fs: float = 4.0) -> tuple[float, str]:
    """GPU hours of a network of edges, and what they buy, in one sentence for the plan of a screen.

    Returns
    -------
    hours : float
        From the steps and the whole-domain rate that plans assume; not measured for a transfer.
    sentence : str
    """
    steps = edges * repeats * settings.total_ps * 1000 / time_step_fs
    hours = steps * _EVALUATIONS * _GPU_STEP_MS / 3_600_000
    return hours, (
        f"relative free energies: {edges} edge{'s' if edges != 1 else ''} x {repeats} repeats x "
        f"{2 * settings.states_per_leg} states x {(settings.equilibrate_ps + settings.sample_ps) / 1000:g} ns, about "
        f"{hours:.0f} GPU hours (from an assumed rate; expect 'not converged' for ligands whose poses differ)"
    )


@dataclass(frozen=True)
class AlchemicalState:
    """One state: ``direction`` 1 is on top of u0, -1 on top of u1; lambdas are between 0 and 1/2."""

    direction: int
    lambda1: float
    lambda2: float


def schedule(settings: Transfer) -> tuple[AlchemicalState, ...]:
    """The states in order, from the first ligand in the site to the second.

    In each leg lambda2 goes to 1/2 first, then lambda1 follows (Azimi 2022): the soft-plus lets in the configurations
    where the perturbation is small before it asks for those where it is large.
    """
    t = np.linspace(0, 1, settings.states_per_leg)
    second, first = np.minimum(1, 2 * t) / 2, np.maximum(0, 2 * t - 1) / 2
    leg = [(float(a), float(b)) for a, b in zip(first, second, strict=True)]
    forward = [AlchemicalState(1, a, b) for a, b in leg]
    return (*forward, *(AlchemicalState(-1, s.lambda1, s.lambda2) for s in reversed(forward)))


def parameters(state: AlchemicalState) -> dict[str, float]:
    """The state as global parameters of the ``ATMForce``."""
    force = openmm.ATMForce
    return {force.Direction(): state.direction, force.Lambda1(): state.lambda1, force.Lambda2(): state.lambda2}


def state_energies(u0_kj: np.ndarray, u1_kj: np.ndarray, settings: Transfer) -> np.ndarray:
    """Energy of each configuration in each state, as ``ATMForce`` computes it.

    Parameters
    ----------
    u0_kj, u1_kj
        (n,) energies before and after the ligands change places; infinite where atoms lie on each other.

    Returns
    -------
    (n, k) kJ/mol, of which only differences between states mean anything: the lower of u0 and u1 is taken off.
    """
    huge = 1e12  # beyond it a double keeps no small difference, and no state is populated
    u0, u1 = (np.nan_to_num(np.asarray(u, dtype=float), nan=huge, posinf=huge) for u in (u0_kj, u1_kj))
    lowest = np.minimum(u0, u1)
    alpha, offset = settings.alpha_per_kcal / KCAL, settings.offset_kcal * KCAL
    columns = []
    for state in schedule(settings):
        base, other = (u0, u1) if state.direction == 1 else (u1, u0)
        u = soft_core(other - base, settings)
        plus = np.logaddexp(0, -alpha * (u - offset)) * (state.lambda2 - state.lambda1) / alpha
        columns.append(base - lowest + plus + state.lambda2 * u)
    return np.stack(columns, axis=1)


def soft_core(u_kj: np.ndarray, settings: Transfer) -> np.ndarray:
    """The perturbation energy (n,), in kJ/mol, with its largest values held below ``soft_core_to_kcal``."""
    low, high, a = settings.soft_core_from_kcal * KCAL, settings.soft_core_to_kcal * KCAL, settings.soft_core_power
    y = np.maximum(u_kj - low, 0) / (high - low)
    z = (1 + 2 * (y / a) + 2 * (y / a) ** 2) ** a
    return np.where(u_kj > low, (high - low) * (z - 1) / (z + 1) + low, u_kj)


# --- the system -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TransferSystem:
    """Two ligands and what they bind to, ready to sample.

    Attributes
    ----------
    system
        With one ``ATMForce``, which holds the nonbonded force and the implicit solvent.
    positions
        (n, 3) nm: the first ligand in the site, the second displaced.
    first, second
        Particles of either ligand.
    displacement_nm
        (3,) d.
    settings
        What its states are.
    """

    system: openmm.System
    positions: np.ndarray
    first: np.ndarray
    second: np.ndarray
    displacement_nm: np.ndarray
    settings: Transfer

    @property
    def force(self) -> openmm.ATMForce:
        return next(force for force in self.system.getForces() if isinstance(force, openmm.ATMForce))

    def energies(self, context: openmm.Context) -> tuple[float, float]:
        """u0 and u1 (kJ/mol) of a context's positions."""
        u1, u0, _ = self.force.getPerturbationEnergy(context)
        return u0._value, u1._value


def displacement(positions: np.ndarray, first: np.ndarray, second: np.ndarray, gap_angstrom: float) -> np.ndarray:
    """d (3,) in nm: away from the middle of the receptor, and so long that a ligand displaced by it has
    ``gap_angstrom`` to everything else even when the receptor has turned about the site.

    Parameters
    ----------
    positions
        (n, 3) nm, both ligands in the site.
    first, second
        Their particles.
    """
    ligands = np.concatenate([first, second])
    site = positions[ligands].mean(axis=0)
    others = np.delete(positions, ligands, axis=0)
    reach = np.linalg.norm(positions - site, axis=1).max() + np.linalg.norm(positions[ligands] - site, axis=1).max()
    direction = site - others.mean(axis=0) if len(others) else np.zeros(3)
    length = np.linalg.norm(direction)
    direction = direction / length if length > 1e-3 else np.array([1.0, 0.0, 0.0])
    return direction * (reach + gap_angstrom / 10)


def transfer_system(
    sub: Subsystem,
    positions: np.ndarray,
    *,
    first: Sequence[int],
    second: Sequence[int],
    anchors: Sequence[tuple[int, int]],
    settings: Transfer,
    site: Sequence[int] | None = None,
    displacement_nm: np.ndarray | None = None,
) -> TransferSystem:
    """Put the forces that a displacement changes into an ``ATMForce`` and add the restraints.

    Parameters
    ----------
    sub
        Receptor and both ligands: of :func:`esr1md.dynamics.atm_pair.two_ligands` what
        :func:`esr1md.dynamics.region.simulated` takes.
    positions
        (n, 3) nm of its particles, both ligands in the site.
    first, second
        Particles of either ligand.
    anchors
        Pairs of particles (of the first, of the second) that are laid on each other: three are two frames; one alone
        holds the place but not the orientation.
    site
        Particles whose centroid the ligands are held near to; those within 8 A of the first ligand if not given.
    displacement_nm
        d, if it is not to be chosen by :func:`displacement`.

    Raises
    ------
    StageError
        A nonbonded force is missing, or nothing is near the first ligand.
    """
    first, second = np.asarray(first, dtype=int), np.asarray(second, dtype=int)
    d = displacement(positions, first, second, settings.gap_angstrom) if displacement_nm is None else displacement_nm
    system = copy.deepcopy(sub.system)
    nonbonded = [
        i
        for i, force in enumerate(system.getForces())
        if isinstance(force, (openmm.NonbondedForce, openmm.GBSAOBCForce, openmm.CustomNonbondedForce))
    ]
    if not nonbonded:
        raise StageError("complex", "the system has no nonbonded force: nothing would change with the ligands' places")
    force = openmm.ATMForce(
        0.0,
        0.0,
        settings.alpha_per_kcal / KCAL,
        settings.offset_kcal * KCAL,
        0.0,
        settings.soft_core_to_kcal * KCAL,
        settings.soft_core_from_kcal * KCAL,
        settings.soft_core_power,
        1,
    )
    for i in nonbonded:
        force.addForce(copy.deepcopy(system.getForce(i)))
    for i in reversed(nonbonded):
        system.removeForce(i)
    away, back, still = openmm.Vec3(*d), openmm.Vec3(*-d), openmm.Vec3(0, 0, 0)
    moves = {**dict.fromkeys(first.tolist(), away), **dict.fromkeys(second.tolist(), back)}
    for i in range(system.getNumParticles()):
        force.addParticle(moves.get(i, still))  # a FixedDisplacement of ours would be freed twice
    force.setForceGroup(GROUP_SOLVENT)
    system.addForce(force)
    system.addForce(_alignment(anchors, d, settings))
    others = np.setdiff1d(np.arange(len(positions)), np.concatenate([first, second]))
    if site is None:
        core = positions[[a for a, _ in anchors]].mean(axis=0)
        near = np.linalg.norm(positions[others] - core, axis=1) < SITE_ANGSTROM / 10
        site = others[near]
    if not len(site):
        raise StageError("complex", f"nothing of the receptor is within {SITE_ANGSTROM:g} A of the first ligand")
    for restraint in _in_site(positions, site, anchors, d, settings):
        system.addForce(restraint)
    displaced = positions.copy()
    displaced[second] += d
    return TransferSystem(system, displaced, first, second, d, settings)


def _alignment(anchors: Sequence[tuple[int, int]], d: np.ndarray, settings: Transfer) -> openmm.CustomCompoundBondForce:
    """The second ligand's frame on the first's, less d.

    A frame is made of the two arms between its anchors by Gram and Schmidt, along the first and across it, so that the
    energy depends on the relative place and orientation of the ligands and on nothing within them.
    """
    n = len(anchors)
    particles = [a for a, _ in anchors] + [b for _, b in anchors]
    shift = [f"({x}{n + 1}-{x}1-({value!r}))^2" for x, value in zip("xyz", (float(v) for v in d), strict=True)]
    expression = f"{0.5 * settings.align_kcal_per_angstrom2 * _RESTRAINT_UNIT!r}*({'+'.join(shift)})"
    if n == 3:
        expression += f"+{settings.align_orientation_kcal * KCAL!r}*(2-{_COSINES}); {_scalar_products()}"
    elif n != 1:
        raise ValueError(f"{n} anchors; expected one or three")
    force = openmm.CustomCompoundBondForce(len(particles), expression)
    force.addBond(particles)
    force.setForceGroup(GROUP_RESTRAINT)
    return force


#: Cosines of the angles along and across two frames, by the scalar products of their arms (a, b and p, q).
_COSINES = "ap/sqrt(aa*pp)-(bq-ab*aq/aa-pq*bp/pp+ab*pq*ap/(aa*pp))/sqrt((bb-ab^2/aa)*(qq-pq^2/pp))"


def _scalar_products() -> str:
    """Lepton definitions of the products of the arms: a and b of the first ligand, p and q of the second."""
    arms = {"a": (2, 1), "b": (3, 1), "p": (5, 4), "q": (6, 4)}
    made = []
    for name in ("aa", "bb", "ab", "pp", "qq", "pq", "ap", "aq", "bp", "bq"):
        (i, j), (k, m) = arms[name[0]], arms[name[1]]
        made.append(f"{name}=" + "+".join(f"({x}{i}-{x}{j})*({x}{k}-{x}{m})" for x in "xyz"))
    return "; ".join(made)


def _in_site(
    positions: np.ndarray,
    site: Sequence[int],
    anchors: Sequence[tuple[int, int]],
    d: np.ndarray,
    settings: Transfer,
) -> list[openmm.CustomCentroidBondForce]:
    """Flat-bottomed restraints of either ligand's anchors (the second's less d) to where the first's are of the site.

    The reference is a point that moves with the site's centroid but does not turn with it: the distance between the
    two is short, and the flat bottom wide.
    """
    core = positions[[a for a, _ in anchors]].mean(axis=0)
    offset = core - positions[np.asarray(site)].mean(axis=0)
    forces = []
    for ligand, away in ((0, np.zeros(3)), (1, d)):
        apart = [f"({x}1-{x}2-({float(o + a)!r}))^2" for x, o, a in zip("xyz", offset, away, strict=True)]
        # near the wall k/2 (r - w)^2, but of the square of r, which has a slope at zero
        k, square = settings.site_kcal_per_angstrom2 * _RESTRAINT_UNIT, (settings.site_angstrom / 10) ** 2
        expression = f"{k / (8 * square)!r}*max(0,{'+'.join(apart)}-{square!r})^2"
        force = openmm.CustomCentroidBondForce(2, expression)
        group = [pair[ligand] for pair in anchors]
        force.addGroup(group, [1.0] * len(group))
        force.addGroup([int(i) for i in site], [1.0] * len(site))
        force.addBond([0, 1])
        force.setForceGroup(GROUP_RESTRAINT)
        forces.append(force)
    return forces
