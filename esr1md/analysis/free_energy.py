"""Free energy of helix 12 along s from the hills of metadynamics, and whether it has converged.

Everything follows from the hills (:class:`~esr1md.dynamics.helix12_bias.Hills`): the bias at any time is their sum up
to then, the free energy is ``F(s, t) = -bias_factor / (bias_factor - 1) * bias(s, t)`` [1]_, and s itself is where they
were laid. The number asked for is

    F(agonist) - F(antagonist),   F(place) = -kT ln of the integral of exp(-F(s)/kT) over its basin,

**positive where the antagonist place is the more stable**. *Not converged* is the answer unless helix 12 went to and
fro often enough and the difference stopped moving [2]_.

References
----------
.. [1] A. Barducci, G. Bussi, M. Parrinello, Phys. Rev. Lett. 100, 020603 (2008).
.. [2] G. Bussi, A. Laio, Using metadynamics to explore complex free-energy landscapes, Nat. Rev. Phys. 2, 200 (2020).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from esr1md.analysis.statistics import bootstrap_interval, sample_noise, t_interval
from esr1md.dynamics.helix12_bias import AGONIST_BASIN, ANTAGONIST_BASIN, Helix12Bias, Hills
from esr1md.errors import StageError

Basins = tuple[tuple[float, float], tuple[float, float]]

#: Places of helix 12 (s in angstrom, from and to): agonist, antagonist.
BASINS: Basins = (AGONIST_BASIN, ANTAGONIST_BASIN)
#: Passages from one basin to the other, either way, that a converged run has at least: two round trips.
FEWEST_CROSSINGS = 4
#: Most that the difference (kcal/mol) may move in the last half of a converged run.
MOST_DRIFT_KCAL = 1.0
#: Most that the differences (kcal/mol) of converged replicas may lie apart.
MOST_SPREAD_KCAL = 2.0
#: Times at which the difference is looked at.
HISTORY_POINTS = 100

#: kcal/mol/K.
_GAS_CONSTANT = 8.31446261815324e-3 / 4.184


@dataclass(frozen=True)
class FreeEnergy:
    """What the metadynamics of one replica says.

    Attributes
    ----------
    s_angstrom, free_energy_kcal
        (n,) the profile at the end, between the walls, its lowest point at zero.
    history_ps, history_kcal
        (m,) F(agonist) - F(antagonist) as the bias grew; NaN until both basins had been visited.
    hills
        Where helix 12 was.
    crossings
        Passages between the basins.
    antagonist_kcal
        Free energy of the antagonist basin in this profile: the zero that replicas share.
    difference_kcal
        F(agonist) - F(antagonist), mean over the last half of the run; ``None`` if a basin was not visited by then.
    drift_kcal
        Range of the difference in the last half.
    converged, reason
        The verdict, and what it rests on.
    """

    s_angstrom: np.ndarray
    free_energy_kcal: np.ndarray
    history_ps: np.ndarray
    history_kcal: np.ndarray
    hills: Hills
    crossings: int
    antagonist_kcal: float
    difference_kcal: float | None
    drift_kcal: float | None
    converged: bool
    reason: str


@dataclass(frozen=True)
class ReplicaFreeEnergy:
    """What several replicas say together; a replica is the unit.

    Attributes
    ----------
    s_angstrom
        (n,).
    mean_kcal, low_kcal, high_kcal
        (n,) mean profile of the replicas that visited both basins, each measured from its antagonist basin, and its
        95 % interval (Student's t, point by point); ``None`` without such replicas, or with one alone.
    difference_kcal, interval_kcal
        F(agonist) - F(antagonist), and its interval as scores have it; ``None`` likewise.
    n_replicas, n_both
        Replicas, and those of them that visited both basins.
    converged, reason
        The verdict, and what it rests on.
    """

    s_angstrom: np.ndarray
    mean_kcal: np.ndarray | None
    low_kcal: np.ndarray | None
    high_kcal: np.ndarray | None
    difference_kcal: float | None
    interval_kcal: tuple[float, float] | None
    n_replicas: int
    n_both: int
    converged: bool
    reason: str


def analyse(hills: Hills, settings: Helix12Bias, temperature_kelvin: float, basins: Basins = BASINS) -> FreeEnergy:
    """Profile, difference between the basins over time, and verdict of one replica.

    Parameters
    ----------
    settings, temperature_kelvin
        The run was biased with.
    basins
        (from, to) in angstrom of the agonist and the antagonist place.

    Raises
    ------
    StageError
        There is no hill.
    """
    if not len(hills.time_ps):
        raise StageError("analysis", "no hill was laid: production is shorter than deposit_ps")
    grid = settings.grid_angstrom
    inside = (grid >= settings.minimum_angstrom) & (grid <= settings.maximum_angstrom)
    s = grid[inside]
    marks = np.unique(np.linspace(0, len(hills.time_ps), HISTORY_POINTS + 1).round().astype(int))
    bias, history = np.zeros(len(grid)), []
    first_visit = [np.flatnonzero(_within(hills.s_angstrom, basin)) for basin in basins]
    both = max(visits[0] if len(visits) else len(hills.time_ps) for visits in first_visit)
    for start, end in zip(marks[:-1], marks[1:], strict=True):
        bias += _bias(grid, hills, settings, slice(start, end))
        profile = _from_bias(bias, settings)[inside]
        history.append(difference(s, profile, temperature_kelvin, basins) if end > both else np.nan)
    history_ps, history_kcal = hills.time_ps[marks[1:] - 1], np.array(history)
    late = history_kcal[history_ps > history_ps[-1] / 2]
    known = len(late) > 1 and bool(np.isfinite(late).all())
    value, drift = (float(late.mean()), float(np.ptp(late))) if known else (None, None)
    n_crossings = crossings(hills.s_angstrom, basins)
    second = hills.time_ps > hills.time_ps[-1] / 2
    recent = crossings(hills.s_angstrom[second], basins)
    converged, reason = _verdict([len(v) > 0 for v in first_visit], n_crossings, recent, drift)
    profile = profile - profile.min()
    return FreeEnergy(
        s_angstrom=s,
        free_energy_kcal=profile,
        history_ps=history_ps,
        history_kcal=history_kcal,
        hills=hills,
        crossings=n_crossings,
        antagonist_kcal=_basin(s, profile, temperature_kelvin, basins[1]),
        difference_kcal=value,
        drift_kcal=drift,
        converged=converged,
        reason=reason,
    )


def difference(
    s_angstrom: np.ndarray, free_energy_kcal: np.ndarray, temperature_kelvin: float, basins: Basins = BASINS
) -> float:
    """F(agonist) - F(antagonist) in kcal/mol from a profile (n,): positive if the antagonist place is favoured."""
    agonist, antagonist = (_basin(s_angstrom, free_energy_kcal, temperature_kelvin, basin) for basin in basins)
    return agonist - antagonist


def crossings(s_angstrom: np.ndarray, basins: Basins = BASINS) -> int:
    """How often a series (n,) of s goes from one basin to the other; what lies between them does not count."""
    where = np.where(_within(s_angstrom, basins[0]), -1, np.where(_within(s_angstrom, basins[1]), 1, 0))
    where = where[where != 0]
    return int((where[1:] != where[:-1]).sum())


def combine(replicas: Sequence[FreeEnergy]) -> ReplicaFreeEnergy:
    """Mean and interval over replicas that ran with the same settings.

    Raises
    ------
    ValueError
        No replica, or replicas on different grids.
    """
    if not replicas:
        raise ValueError("no replica")
    s = replicas[0].s_angstrom
    if any(not np.array_equal(r.s_angstrom, s) for r in replicas):
        raise ValueError("the replicas were biased on different grids")
    both = [r for r in replicas if r.difference_kcal is not None]
    values = [r.difference_kcal for r in both]
    mean = low = high = None
    if both:
        profiles = np.array([r.free_energy_kcal - r.antagonist_kcal for r in both])
        mean = profiles.mean(axis=0)
    if len(both) > 1:
        noises = [sample_noise(column) for column in profiles.T]
        root = np.sqrt(len(both))
        low, high = np.array([t_interval(m, n.sd / root, n.df) for m, n in zip(mean, noises, strict=True)]).T
    converged, reason = _verdict_of_replicas(replicas, values)
    return ReplicaFreeEnergy(
        s_angstrom=s,
        mean_kcal=mean,
        low_kcal=low,
        high_kcal=high,
        difference_kcal=float(np.mean(values)) if values else None,
        interval_kcal=bootstrap_interval(values),
        n_replicas=len(replicas),
        n_both=len(both),
        converged=converged,
        reason=reason,
    )


def _verdict(visited: Sequence[bool], n_crossings: int, recent: int, drift: float | None) -> tuple[bool, str]:
    """Converged or not, and why; the first reason against it is said."""
    for seen, place in zip(visited, ("agonist", "antagonist"), strict=True):
        if not seen:
            return False, f"not converged: helix 12 never reached the {place} place"
    if n_crossings < FEWEST_CROSSINGS:
        passed = f"{n_crossings} time" + ("s" if n_crossings != 1 else "")
        return False, f"not converged: helix 12 passed between the places {passed}, of {FEWEST_CROSSINGS} at least"
    if not recent:
        return False, "not converged: helix 12 did not pass between the places in the last half of the run"
    if drift is None:
        return False, "not converged: both places were known only in the last half of the run"
    if drift > MOST_DRIFT_KCAL:
        return False, (
            f"not converged: the difference still moved by {drift:.1f} kcal/mol in the last half of the run, "
            f"{MOST_DRIFT_KCAL:g} at most"
        )
    return True, (
        f"converged by its own account: {n_crossings} passages between the places, {recent} of them in the last half, "
        f"in which the difference moved by {drift:.1f} kcal/mol"
    )


def _verdict_of_replicas(replicas: Sequence[FreeEnergy], values: Sequence[float]) -> tuple[bool, str]:
    against = [r.reason for r in replicas if not r.converged]
    if len(replicas) == 1:
        return False, against[0] if against else "not converged: one replica cannot say how replicas differ"
    if against:
        more = f" ({against[0]})" if len(against) == 1 else f" (the first: {against[0]})"
        return False, f"not converged: {len(against)} of {len(replicas)} replicas are not{more}"
    spread = max(values) - min(values)
    if spread > MOST_SPREAD_KCAL:
        return False, (
            f"not converged: replicas that each seem converged lie {spread:.1f} kcal/mol apart, {MOST_SPREAD_KCAL:g} "
            "at most: something slow that s does not drive"
        )
    return True, f"converged by its own account: all {len(replicas)} replicas, at most {spread:.1f} kcal/mol apart"


def _within(s: np.ndarray, basin: tuple[float, float]) -> np.ndarray:
    return (s >= basin[0]) & (s <= basin[1])


def _bias(grid: np.ndarray, hills: Hills, settings: Helix12Bias, part: slice) -> np.ndarray:
    """Sum (n,) of some hills on the grid, kcal/mol."""
    distance = (grid[None] - hills.s_angstrom[part, None]) / settings.width_angstrom
    return hills.height_kcal[part] @ np.exp(-0.5 * distance**2)


def _from_bias(bias_kcal: np.ndarray, settings: Helix12Bias) -> np.ndarray:
    return -settings.bias_factor / (settings.bias_factor - 1) * bias_kcal


def _basin(s: np.ndarray, free_energy: np.ndarray, temperature: float, basin: tuple[float, float]) -> float:
    """-kT ln of the integral of exp(-F/kT) over a basin, in kcal/mol (s in angstrom)."""
    kt = _GAS_CONSTANT * temperature
    part = _within(s, basin)
    lowest = free_energy[part].min()
    return float(lowest - kt * np.log(np.trapezoid(np.exp(-(free_energy[part] - lowest) / kt), s[part])))
