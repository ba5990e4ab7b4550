"""Well-tempered metadynamics of helix 12 between its agonist and its antagonist place.

The coordinate s is made of the distances d between centroids of CA atoms: of both halves of helix 12 to four rigid
groups of the core that line the two places. In the space of these eight distances the bundled agonist and antagonist
models are two points, and s (angstrom) is where helix 12 is along the line through them, from its middle,

    s = sum u (d - m) / (n L),   u = d(antagonist) - d(agonist),   m their mean,   L = sqrt(sum u^2 / n),

a weighted sum of plain distances: -3.6 A in the agonist model, 3.6 A in the antagonist one. How far helix 12 is off
that line is ``z = sqrt(sum (d - m)^2 / n - s^2)``. docs/helix12-free-energy.md has both in every crystal at hand.

OpenMM's own ``app.Metadynamics`` (Barducci, Bussi, Parrinello, Phys. Rev. Lett. 2008, 100, 020603) lays the hills; here
are its coordinate, its walls, its place in a checkpoint and a record of every hill.
"""

from __future__ import annotations

import copy
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import openmm
from openmm import app, unit
from pydantic import Field, model_validator

from esr1md.config import Settings
from esr1md.errors import StageError
from esr1md.receptor.frame import bundled_model, model_alpha_carbons

if TYPE_CHECKING:  # the protocol holds these settings, and both of these import the protocol
    from esr1md.complex import Complex
    from esr1md.dynamics.region import Subsystem

#: CA atoms whose centroids are the two halves of helix 12: two, so that its direction counts and not only its place.
HELIX12_HALVES = ((538, 539, 540, 541), (541, 542, 543, 544))
#: Core groups that line its places: the mouth of the pocket at helix 3 and at helix 11 (agonist), and the AF-2 groove
#: at helix 3 and at helix 5 (antagonist). Four that are not in a plane say where a point is.
ANCHORS = ((347, 348, 350, 351), (521, 522, 523), (358, 361, 362), (372, 375, 376))

#: Half the width (angstrom) of a basin about the mean of s over the crystals of a state.
BASIN_HALF_WIDTH = 1.0
#: s (angstrom) from, to: helix 12 in the agonist and in the antagonist place.
AGONIST_BASIN = (-3.5 - BASIN_HALF_WIDTH, -3.5 + BASIN_HALF_WIDTH)
ANTAGONIST_BASIN = (3.6 - BASIN_HALF_WIDTH, 3.6 + BASIN_HALF_WIDTH)

#: How far (angstrom) the grid of the bias reaches beyond the walls. Off the grid OpenMM's bias drops to zero, so the
#: walls must hold helix 12 on it.
GRID_MARGIN = 2.0
#: Grid points for each standard deviation of a hill, as ``app.Metadynamics`` itself takes.
_POINTS_PER_WIDTH = 5

KCAL = 4.184
#: kcal/mol/K.
_KT_PER_KELVIN = 8.31446261815324e-3 / KCAL
#: kJ/mol/nm^2 per kcal/mol/A^2.
_WALL_UNIT = 418.4
#: Slope (kJ/mol/nm) of the bias that the forces are compared under: far above the rounding of a GPU's forces.
_TEST_SLOPE = 1e4

Positive = Annotated[float, Field(gt=0)]


class Helix12Bias(Settings):
    """Well-tempered metadynamics along s while a protocol produces.

    Attributes
    ----------
    height_kcal, width_angstrom, deposit_ps
        Height of the first hill, its standard deviation, and how often one is laid.
    bias_factor
        s is sampled as if at ``bias_factor`` times the temperature; barriers up to about
        ``bias_factor * kT`` (at 300 K 0.6 kcal/mol each) become crossable.
    minimum_angstrom, maximum_angstrom
        Walls on s, close beyond the basins: driven further, helix 12 unwinds there.
    off_line_angstrom
        Wall on z: without it helix 12 could drift into the solvent, where s tells nothing. At most 0.8 A in crystals
        of the agonist and the antagonist state, 1.7 A in 6B0F, above 22 A in 1A52.
    wall_kcal_per_angstrom2
        A wall costs this times the square of the distance beyond it (on z: close to the wall).
    grid_points
        Points of the grid that the bias is kept on; five for each width if not given.
    """

    height_kcal: Positive = 0.2
    width_angstrom: Annotated[float, Field(ge=0.05, le=1)] = 0.25
    bias_factor: Annotated[float, Field(gt=1, le=1000)] = 15.0
    deposit_ps: Annotated[float, Field(ge=0.01)] = 5.0
    minimum_angstrom: Annotated[float, Field(ge=-12)] = -5.0
    maximum_angstrom: Annotated[float, Field(le=12)] = 5.5
    off_line_angstrom: Annotated[float, Field(ge=4, le=30)] = 8.0
    wall_kcal_per_angstrom2: Annotated[float, Field(ge=5, le=500)] = 20.0
    grid_points: Annotated[int, Field(ge=20, le=20_000)] | None = None

    @model_validator(mode="after")
    def validate_walls(self) -> "Helix12Bias":
        low, high = self.minimum_angstrom, self.maximum_angstrom
        if low > AGONIST_BASIN[0] or high < ANTAGONIST_BASIN[1]:
            raise ValueError(
                f"the walls at {low:g} and {high:g} A cut into where helix 12 lies: minimum_angstrom must be at most "
                f"{AGONIST_BASIN[0]:.1f} (agonist) and maximum_angstrom at least {ANTAGONIST_BASIN[1]:.1f} (antagonist)"
            )
        return self

    @model_validator(mode="after")
    def validate_grid(self) -> "Helix12Bias":
        spacing = self.grid_angstrom[1] - self.grid_angstrom[0]
        if self.grid_points is not None and spacing > self.width_angstrom / 2:
            raise ValueError(
                f"grid_points {self.grid_points} are {spacing:.2f} A apart, too coarse for hills of width_angstrom "
                f"{self.width_angstrom:g}: at least {1 + int(np.ceil(2 * self._span / self.width_angstrom))}"
            )
        return self

    @property
    def _span(self) -> float:
        return self.maximum_angstrom - self.minimum_angstrom + 2 * GRID_MARGIN

    @property
    def grid_angstrom(self) -> np.ndarray:
        """s (n,) in angstrom at which the bias is kept, margins beyond the walls included."""
        n = self.grid_points or 1 + int(np.ceil(_POINTS_PER_WIDTH * self._span / self.width_angstrom))
        return np.linspace(self.minimum_angstrom - GRID_MARGIN, self.maximum_angstrom + GRID_MARGIN, n)

    def filling_ps(self, depth_kcal: float = 10.0, temperature_kelvin: float = 300.0) -> float:
        """Least time (ps) until hills have filled a free energy ``depth_kcal`` deep all along s.

        Of hills laid evenly over the length L between the walls, each ``height exp(-bias / kT (bias_factor - 1))``
        high: ``t = deposit L c (exp(bias / c) - 1) / (height width sqrt(2 pi))`` with ``c = kT (bias_factor - 1)`` and
        ``bias = depth (bias_factor - 1) / bias_factor``. Helix 12 follows only if it relaxes faster than that.
        """
        c = _KT_PER_KELVIN * temperature_kelvin * (self.bias_factor - 1)
        bias = depth_kcal * (self.bias_factor - 1) / self.bias_factor
        area = self.height_kcal * self.width_angstrom * np.sqrt(2 * np.pi)
        length = self.maximum_angstrom - self.minimum_angstrom
        return float(self.deposit_ps * length * c * np.expm1(bias / c) / area)


def price(settings: Helix12Bias, production_ps: float, replicas: int, temperature_kelvin: float = 300.0) -> str:
    """What a run costs and what it can be hoped to give, in one sentence for the plan of a screen."""
    filling = settings.filling_ps(temperature_kelvin=temperature_kelvin) / 1000
    ns = production_ps / 1000
    short = " (longer than this production)" if filling > ns else ""
    return (
        f"helix-12 metadynamics: {replicas} x {ns:g} ns for each cell; hills need at least {filling:.1f} ns{short} to "
        "fill 10 kcal/mol, and helix 12 must then pass between its places several times, which it did not do once in "
        "240 ns without a bias: expect 'not converged' from a short run"
    )


@dataclass(frozen=True)
class Hills:
    """Every hill that was laid, in order; the i-th was laid at ``time_ps[i]``, where helix 12 then was.

    Attributes
    ----------
    time_ps, s_angstrom, height_kcal
        (n,) each; the time counts from the first biased step, heights are as tempered.
    """

    time_ps: np.ndarray
    s_angstrom: np.ndarray
    height_kcal: np.ndarray

    def write(self, path: Path) -> None:
        """As CSV with a header line."""
        table = np.column_stack([self.time_ps, self.s_angstrom, self.height_kcal])
        header = "time_ps,s_angstrom,height_kcal"
        np.savetxt(path, table, fmt=("%.4f", "%.5f", "%.6e"), delimiter=",", header=header, comments="")

    @classmethod
    def read(cls, path: Path) -> "Hills":
        """What :meth:`write` wrote.

        Raises
        ------
        StageError
            The file is missing or is not such a table.
        """
        try:
            rows = path.read_text(encoding="utf-8").splitlines()[1:]
            table = np.loadtxt(rows, delimiter=",", ndmin=2) if rows else np.empty((0, 3))
        except (OSError, ValueError) as error:
            raise StageError("analysis", f"the hills cannot be read: {error}", where=str(path)) from None
        if table.shape[1] != 3 or not np.isfinite(table).all():
            raise StageError("analysis", "the hills are not three columns of finite numbers", where=str(path))
        return cls(*table.T)


@dataclass(frozen=True)
class Line:
    """The line between two points in a space of distances, along which s is measured.

    Attributes
    ----------
    pairs
        (n, 2) groups that a distance is between.
    middle_nm
        (n,) distances in the middle of the line.
    weights
        (n,) ``u / (n L)``: s is their sum over the distances less the middle.
    """

    pairs: tuple[tuple[int, int], ...]
    middle_nm: tuple[float, ...]
    weights: tuple[float, ...]

    @classmethod
    def through(cls, pairs: Sequence[tuple[int, int]], first_nm: np.ndarray, last_nm: np.ndarray) -> "Line":
        """From the distances (n,) at its two ends, s growing from the first to the last."""
        change = np.asarray(last_nm) - np.asarray(first_nm)
        weights = change / (len(change) * np.sqrt((change**2).mean()))
        middle = (np.asarray(first_nm) + np.asarray(last_nm)) / 2
        return cls(tuple(pairs), tuple(map(float, middle)), tuple(map(float, weights)))

    def measure(self, centroids: np.ndarray) -> tuple[float, float]:
        """s and z, in the unit of ``centroids`` times nm: (n_groups, 3) in nm gives nm."""
        first, second = np.array(self.pairs).T
        off = np.linalg.norm(centroids[first] - centroids[second], axis=1) - np.array(self.middle_nm)
        s = float(np.dot(self.weights, off))
        return s, float(np.sqrt(max(0.0, (off**2).mean() - s**2)))

    @property
    def s_expression(self) -> str:
        """s as an energy expression over groups g1, g2 ..."""
        return "+".join(f"({w!r})*({d}-({m!r}))" for w, d, m in zip(self.weights, *self._terms, strict=True))

    @property
    def q_expression(self) -> str:
        """``z^2 + s^2`` likewise."""
        return "(" + "+".join(f"({d}-({m!r}))^2" for d, m in zip(*self._terms, strict=True)) + f")/{len(self.pairs)}"

    @property
    def _terms(self) -> tuple[list[str], tuple[float, ...]]:
        return [f"distance(g{i + 1},g{j + 1})" for i, j in self.pairs], self.middle_nm


@lru_cache(maxsize=1)
def helix12_line() -> Line:
    """The line from the bundled agonist to the bundled antagonist model; groups are both halves, then the anchors."""
    pairs = tuple((half, 2 + anchor) for half in range(2) for anchor in range(len(ANCHORS)))
    first, second = np.array(pairs).T
    ends = []
    for state in ("agonist", "antagonist"):
        centroids = _centroids(model_alpha_carbons(bundled_model(state))) / 10
        ends.append(np.linalg.norm(centroids[first] - centroids[second], axis=1))
    return Line.through(pairs, *ends)


def coordinate(positions: Mapping[int, np.ndarray]) -> tuple[float, float]:
    """s and z (angstrom) in one structure.

    Parameters
    ----------
    positions
        P03372 residue number -> CA position (3, angstrom).

    Raises
    ------
    KeyError
        A residue that s is made of is missing.
    """
    s, z = helix12_line().measure(_centroids(positions) / 10)
    return 10 * s, 10 * z


def _centroids(positions: Mapping[int, np.ndarray]) -> np.ndarray:
    """(6, 3) in the unit of ``positions``."""
    return np.array([np.mean([positions[n] for n in group], axis=0) for group in HELIX12_HALVES + ANCHORS])


def helix12_groups(sub: Subsystem, complex_: Complex) -> list[list[int]]:
    """Particles of ``sub`` that are both halves of helix 12 and the anchors.

    Raises
    ------
    StageError
        The receptor lacks one of the residues, the simulated region leaves one out, or helix 12 cannot move.
    """
    topology = list(complex_.topology.atoms())
    alpha = {}
    for index in complex_.receptor_atoms:
        atom = topology[int(index)]
        if atom.name == "CA" and atom.residue.id.lstrip("-").isdigit():
            alpha[int(atom.residue.id)] = int(index)
    groups = HELIX12_HALVES + ANCHORS
    wanted = sorted({n for group in groups for n in group})
    if missing := [n for n in wanted if n not in alpha]:
        raise StageError("dynamics", f"the receptor lacks residues {missing}, by which helix 12 is driven")
    place = {int(atom): i for i, atom in enumerate(sub.atoms)}
    if absent := [n for n in wanted if alpha[n] not in place]:
        raise StageError(
            "dynamics",
            f"the simulated region leaves out residues {absent}, by which helix 12 is driven; metadynamics needs the "
            "whole domain (a protocol without region), for helix 12 leaves the region",
        )
    helix12 = sorted({n for half in HELIX12_HALVES for n in half})
    if fixed := [n for n in helix12 if not sub.mobile[place[alpha[n]]]]:
        raise StageError("dynamics", f"helix 12 cannot be driven: residues {fixed} are fixed in the simulated region")
    return [[place[alpha[n]] for n in group] for group in groups]


def install(
    sub: Subsystem,
    complex_: Complex,
    settings: Helix12Bias,
    *,
    temperature_kelvin: float,
    time_step_fs: float,
) -> "Bias":
    """Add the bias and its walls to ``sub.system``; to be called before its Context is made.

    Raises
    ------
    StageError
        See :func:`helix12_groups`.
    """
    groups = helix12_groups(sub, complex_)
    return Bias(
        sub.system, groups, helix12_line(), settings, temperature_kelvin=temperature_kelvin, time_step_fs=time_step_fs
    )


class Bias:
    """A growing bias along s, in a System.

    Parameters
    ----------
    system
        Gets two forces: the bias in a force group of its own (:attr:`force_group`) and the walls in group 0.
    groups
        Particles of each group. A centroid weighs its particles alike, so that particles of mass 0 (fixed ones) count
        too.
    line
        What s is, over these groups.
    settings
        Hills, walls and grid.
    temperature_kelvin, time_step_fs
        Of the dynamics that is biased.
    """

    def __init__(
        self,
        system: openmm.System,
        groups: Sequence[Sequence[int]],
        line: Line,
        settings: Helix12Bias,
        *,
        temperature_kelvin: float,
        time_step_fs: float,
    ) -> None:
        self.settings = settings
        self._time_step_ps = time_step_fs / 1000
        self._step = 0
        self._hills = array("d")  # step, s (angstrom), height (kcal/mol) of one hill after the other
        self._n_particles = system.getNumParticles()
        self._coordinate = _centroid_force(system, groups, line.s_expression)
        system.addForce(_walls(system, groups, line, settings))
        grid = settings.grid_angstrom
        variable = app.BiasVariable(
            copy.copy(self._coordinate), grid[0] / 10, grid[-1] / 10, settings.width_angstrom / 10, False, len(grid)
        )
        self._metadynamics = _Metadynamics(
            self._laid,
            system,
            [variable],
            temperature_kelvin * unit.kelvin,
            settings.bias_factor,
            settings.height_kcal * unit.kilocalorie_per_mole,
            max(1, round(settings.deposit_ps / self._time_step_ps)),
        )

    @property
    def force_group(self) -> int:
        """Force group of the bias alone."""
        return self._metadynamics._force.getForceGroup()

    @property
    def deposit_steps(self) -> int:
        """Time steps of the protocol from one hill to the next."""
        return self._metadynamics.frequency

    def step(self, context: openmm.Context, integrator: openmm.Integrator, steps: int, per_step: int = 1) -> None:
        """Integrate ``steps`` steps of the protocol, laying hills when they are due, whatever the chunks.

        Parameters
        ----------
        per_step
            Integrator steps in one step of the protocol: 2**k after the time step was halved k times.

        Raises
        ------
        openmm.OpenMMException
            The simulation blew up; the bias is then as it was at the last hill.
        """
        self._metadynamics.step(_Simulation(self, context, integrator, per_step), steps)

    def value(self, context: openmm.Context) -> float:
        """s (angstrom) of the context's positions."""
        return 10 * self._metadynamics._force.getCollectiveVariableValues(context)[0]

    def hills(self) -> Hills:
        """All hills so far."""
        step, s, height = self.state()["hills"].T
        return Hills(step * self._time_step_ps, s, height)

    def state(self) -> dict[str, np.ndarray]:
        """What :meth:`restore` needs to go on as if nothing had happened: for a checkpoint."""
        return {
            "step": np.array(self._step),
            "grid_kj": self._metadynamics._totalBias.copy(),
            "hills": np.array(self._hills).reshape(-1, 3),
        }

    def restore(self, context: openmm.Context, state: Mapping[str, np.ndarray]) -> None:
        """Make the bias, here and in ``context``, what it was when :meth:`state` was called.

        Raises
        ------
        StageError
            The state is not of this bias (another grid), or not whole.
        """
        if lacking := {"step", "grid_kj", "hills"} - set(state):
            raise StageError("dynamics", f"the state of the helix-12 bias lacks {', '.join(sorted(lacking))}")
        grid, hills = np.asarray(state["grid_kj"], dtype=float), np.asarray(state["hills"], dtype=float)
        n = len(self.settings.grid_angstrom)
        if grid.shape != (n,) or hills.ndim != 2 or hills.shape[1] != 3 or not np.isfinite(grid).all():
            raise StageError(
                "dynamics", f"the state of the helix-12 bias has a grid of shape {grid.shape}; expected ({n},) numbers"
            )
        self._metadynamics.load(grid, context)
        self._hills = array("d", hills.ravel())
        self._step = int(state["step"])

    def free_energy(self) -> tuple[np.ndarray, np.ndarray]:
        """Free energy along s, as the bias so far says.

        Returns
        -------
        s_angstrom, free_energy_kcal : (n,)
            Between the walls, the lowest at zero; ``F = -bias_factor / (bias_factor - 1) * bias``. Where helix 12
            has not been, F is as high as the highest and says nothing.
        """
        s = self.settings.grid_angstrom
        free_energy = self._metadynamics.getFreeEnergy().value_in_unit(unit.kilocalorie_per_mole)
        inside = (s >= self.settings.minimum_angstrom) & (s <= self.settings.maximum_angstrom)
        return s[inside], free_energy[inside] - free_energy[inside].min()

    def force_error(self, context: openmm.Context, repeats: int = 3) -> float:
        """How far the bias's forces in this very context are from the Reference platform's (relative, 0 is none).

        Before the first hill the bias has no force and would pass any comparison, so it is given a slope for the
        time of the test: the context's *total* forces with the slope less those without it must be the bias's own on
        Reference, on every atom. A bias that disturbs other forces (openmm#5328, PME beside a CustomCVForce) does not
        pass, and the error need not be in the bias alone. To be called with positions set, before a run.

        Parameters
        ----------
        repeats
            How often the forces are compared; the worst counts, for that error came and went.
        """
        saved = self.state()
        positions = context.getState(positions=True).getPositions(asNumpy=True)
        worst = 0.0
        try:
            reference = self._reference_forces(positions)
            size = float(np.linalg.norm(reference))
            for _ in range(repeats):
                self._metadynamics.load(np.zeros_like(saved["grid_kj"]), context)
                without = _forces(context)
                self._metadynamics.load(self._slope(), context)
                difference = _forces(context) - without - reference
                worst = max(worst, float(np.linalg.norm(difference)) / size)
        finally:
            self.restore(context, saved)
        return worst

    def _slope(self) -> np.ndarray:
        grid = self.settings.grid_angstrom / 10
        return _TEST_SLOPE * (grid - grid[0])

    def _reference_forces(self, positions) -> np.ndarray:
        """Forces (n, 3) of the test slope alone, by a plain centroid force on the Reference platform."""
        system = openmm.System()
        for _ in range(self._n_particles):
            system.addParticle(1.0)
        force = copy.copy(self._coordinate)
        force.setUsesPeriodicBoundaryConditions(False)
        force.setEnergyFunction(f"{_TEST_SLOPE}*({force.getEnergyFunction()})")
        system.addForce(force)
        platform = openmm.Platform.getPlatformByName("Reference")
        context = openmm.Context(system, openmm.VerletIntegrator(0.001), platform)
        context.setPositions(positions)
        return _forces(context)

    def _laid(self, s_nm: float, height_kj: float) -> None:
        if not np.isfinite(s_nm) or not np.isfinite(height_kj):
            raise openmm.OpenMMException(f"the coordinate of helix 12 is {s_nm}")
        self._hills.extend((self._step, 10 * s_nm, height_kj / KCAL))


class _Metadynamics(app.Metadynamics):
    """OpenMM's metadynamics, with every hill told of and the bias loadable.

    The bias directory that OpenMM offers for a restart is not used: it holds the grid alone, is read only when the
    object is made, and would be a second checkpoint beside the engine's, of another moment. ``_addGaussian``,
    ``_selfBias``, ``_totalBias`` and ``_force`` are private to OpenMM; ``tests/dynamics/test_helix12_bias.py`` fails if
    they change.
    """

    def __init__(self, laid: Callable[[float, float], None], *arguments) -> None:
        self._laid = laid
        super().__init__(*arguments)

    def _addGaussian(self, position, height, context) -> None:
        self._laid(float(position[0]), height.value_in_unit(unit.kilojoule_per_mole))
        super()._addGaussian(position, height, context)

    def load(self, bias_kj: np.ndarray, context: openmm.Context) -> None:
        """Replace the bias (n,) by ``bias_kj``; a hill of no height then puts it into the context."""
        self._selfBias[:], self._totalBias[:] = bias_kj, bias_kj
        super()._addGaussian([self.variables[0].minValue], 0.0 * unit.kilojoule_per_mole, context)


class _Simulation:
    """As much of ``app.Simulation`` as ``app.Metadynamics.step`` asks for; counts the protocol's steps."""

    def __init__(self, bias: Bias, context: openmm.Context, integrator: openmm.Integrator, per_step: int) -> None:
        self._bias, self.context, self._integrator, self._per_step = bias, context, integrator, per_step

    @property
    def currentStep(self) -> int:
        return self._bias._step

    def step(self, steps: int) -> None:
        self._integrator.step(steps * self._per_step)
        self._bias._step += steps


def _centroid_force(
    system: openmm.System, groups: Sequence[Sequence[int]], energy: str
) -> openmm.CustomCentroidBondForce:
    """One term over the centroids g1, g2 ... of all groups."""
    force = openmm.CustomCentroidBondForce(len(groups), energy)
    for group in groups:
        force.addGroup(list(group), [1.0] * len(group))
    force.addBond(list(range(len(groups))))
    force.setUsesPeriodicBoundaryConditions(system.usesPeriodicBoundaryConditions())
    return force


def _walls(
    system: openmm.System, groups: Sequence[Sequence[int]], line: Line, settings: Helix12Bias
) -> openmm.CustomCentroidBondForce:
    """Walls at both ends of s and on z.

    That on z is ``k (z^2 - w^2)^2 / (4 w^2)`` beyond w, which near w is ``k (z - w)^2``: z itself has no slope at zero.
    The numbers are in the expression, for global parameters would be in the context, among the engine's.
    """
    k = settings.wall_kcal_per_angstrom2 * _WALL_UNIT
    lower, upper, off = (
        x / 10 for x in (settings.minimum_angstrom, settings.maximum_angstrom, settings.off_line_angstrom)
    )
    ends = f"max(0,s-({upper!r}))^2+max(0,({lower!r})-s)^2"
    energy = f"{k!r}*({ends}+max(0,q-s*s-{off**2!r})^2/{4 * off**2!r}); s={line.s_expression}; q={line.q_expression}"
    return _centroid_force(system, groups, energy)


def _forces(context: openmm.Context) -> np.ndarray:
    return context.getState(forces=True).getForces(asNumpy=True)._value
