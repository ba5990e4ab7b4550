"""Relative free energy of two ligands from the samples of an alchemical transfer, and whether it has converged.

Every sample is a pair of energies u0, u1, from which its energy in every state follows
(:func:`~esr1md.dynamics.atm.state_energies`); MBAR [1]_ over all states of both legs gives their free energies. The
number asked for is

    F(last state) - F(first state) = dG(binding, second ligand) - dG(binding, first ligand),

**negative where the second ligand binds the more strongly**. A *repeat* is one seed; within it as many *replicas* as
states exchange places. MBAR's own error is that of samples thinned until they are independent; it knows nothing of what
no replica has visited, so the repeats are the unit, and *not converged* is the answer unless neighbouring states
overlap [2]_, replicas travelled between the ends, and early and late samples agree.

References
----------
.. [1] M. R. Shirts, J. D. Chodera, Statistically optimal analysis of samples from multiple equilibrium states, J. Chem.
       Phys. 129, 124105 (2008).
.. [2] P. V. Klimovich, M. R. Shirts, D. L. Mobley, Guidelines for the analysis of free energy calculations, J.
       Comput.-Aided Mol. Des. 29, 397 (2015).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas

from esr1md.analysis.statistics import bootstrap_interval, satterthwaite, t_interval
from esr1md.analysis.timeseries import settled, statistical_inefficiency
from esr1md.dynamics.atm import Transfer, state_energies
from esr1md.dynamics.atm_run import GAS_CONSTANT
from esr1md.errors import StageError

#: Least overlap of neighbouring states in a converged repeat (Klimovich 2015).
LEAST_OVERLAP = 0.03
#: Share of its samples that a converged repeat may have needed to settle.
MOST_DROPPED = 0.4
#: Independent samples of each state that a converged repeat has at least.
FEWEST_SAMPLES = 50
#: Travels of a replica from one end to the other and back, all replicas together, in a converged repeat.
FEWEST_ROUND_TRIPS = 5
#: Most that the two halves of a converged repeat may differ (kcal/mol).
MOST_DRIFT_KCAL = 0.5
#: Largest error that MBAR gives a converged repeat (kcal/mol).
MOST_ERROR_KCAL = 0.5
#: Repeats that are needed, and the most that they may lie apart (kcal/mol).
FEWEST_REPEATS, MOST_SPREAD_KCAL = 3, 1.0
#: Shares of the samples that the convergence over time is looked at with.
FRACTIONS = tuple(np.linspace(0.1, 1.0, 10).round(2))

KCAL = 4.184


@dataclass(frozen=True)
class RelativeFreeEnergy:
    """What one repeat says.

    Attributes
    ----------
    difference_kcal, error_kcal
        F(last) - F(first) and MBAR's standard error; ``None`` if the states do not overlap at all.
    profile_kcal, profile_error_kcal
        (k,) free energy of each state above the first.
    overlap
        (k, k) overlap matrix: row i is how the samples of state i share out among the states.
    fractions, forward_kcal, forward_error_kcal, backward_kcal, backward_error_kcal
        (m,) the difference from the first share of the samples and from the last; NaN where too few overlap.
    halves_kcal
        The difference of the last half from the first; ``None`` if either is not known.
    state_of_replica
        (iterations, k) where each replica was.
    round_trips
        Travels from one end to the other and back.
    dropped, samples
        Iterations before it had settled, and (k,) independent samples of each state after them.
    converged, reason
        The verdict, and what it rests on.
    """

    difference_kcal: float | None
    error_kcal: float | None
    profile_kcal: np.ndarray
    profile_error_kcal: np.ndarray
    overlap: np.ndarray
    fractions: np.ndarray
    forward_kcal: np.ndarray
    forward_error_kcal: np.ndarray
    backward_kcal: np.ndarray
    backward_error_kcal: np.ndarray
    halves_kcal: float | None
    state_of_replica: np.ndarray
    round_trips: int
    dropped: int
    samples: np.ndarray
    converged: bool
    reason: str


@dataclass(frozen=True)
class EdgeFreeEnergy:
    """What the repeats of an edge say together.

    Attributes
    ----------
    difference_kcal, interval_kcal
        Mean over repeats and its 95 % interval, as scores have it; ``None`` without repeats that have a number, or
        with one alone.
    error_kcal
        Standard error of the mean, from the scatter of the repeats; ``None`` with one alone.
    mbar_error_kcal
        What MBAR says the error of that mean is: much smaller than ``error_kcal`` means something slow.
    n_repeats, n_known
        Repeats, and those of them with a number.
    converged, reason
        The verdict, and what it rests on.
    """

    difference_kcal: float | None
    interval_kcal: tuple[float, float] | None
    error_kcal: float | None
    mbar_error_kcal: float | None
    n_repeats: int
    n_known: int
    converged: bool
    reason: str


@dataclass(frozen=True)
class Closure:
    """The sum around a cycle, which is 0 but for error.

    Attributes
    ----------
    sum_kcal, error_kcal, interval_kcal
        Sum over the edges, its standard error, and its 95 % interval (Student's t).
    closes
        Whether 0 is in the interval.
    """

    sum_kcal: float
    error_kcal: float
    interval_kcal: tuple[float, float]
    closes: bool


def analyse(samples: pandas.DataFrame, settings: Transfer, temperature_kelvin: float) -> RelativeFreeEnergy:
    """Free energies of the states, their overlap, convergence over time, and the verdict of one repeat.

    Parameters
    ----------
    samples
        From :func:`esr1md.dynamics.atm_run.read_samples`: each replica once in each iteration.
    settings, temperature_kelvin
        It was sampled with.

    Raises
    ------
    StageError
        The samples are not those of ``settings``, or some are missing.
    """
    n = 2 * settings.states_per_leg
    table = samples.sort_values(["iteration", "state"], kind="stable")
    if (
        len(table) < 2 * n
        or len(table) % n
        or not np.array_equal(table["state"].to_numpy().reshape(-1, n), np.tile(np.arange(n), (len(table) // n, 1)))
    ):
        raise StageError("analysis", f"the samples are not one of each of {n} states in each of two or more iterations")
    kt = GAS_CONSTANT * temperature_kelvin
    energies = state_energies(table["u0_kj"].to_numpy(), table["u1_kj"].to_numpy(), settings) / kt
    reduced = energies.reshape(-1, n, n)  # iteration, state sampled, state evaluated
    walk = samples.pivot(index="iteration", columns="replica", values="state").to_numpy()
    own = np.arange(n)
    dropped = settled(reduced[:, own, own].sum(axis=1)).start
    kept = reduced[dropped:]
    thin = _independent(kept)
    counts = np.array([len(rows) for rows in thin])
    unit_kcal = kt / KCAL
    found = _mbar(kept, thin)
    profile = error = np.full(n, np.nan)
    overlap = np.full((n, n), np.nan)
    if found is not None:
        profile, error, overlap = found[0] * unit_kcal, found[1] * unit_kcal, found[2]
    forward, backward = (
        np.array([_share(kept, float(f), late) for f in FRACTIONS]) * unit_kcal for late in (False, True)
    )
    half = FRACTIONS.index(0.5)
    halves = float(backward[half, 0] - forward[half, 0])
    trips = round_trips(walk, n)
    known = None if found is None else (float(profile[-1]), float(error[-1]))
    verdict = _verdict(known, overlap, dropped / len(reduced), counts, trips, halves)
    return RelativeFreeEnergy(
        difference_kcal=None if known is None else known[0],
        error_kcal=None if known is None else known[1],
        profile_kcal=profile,
        profile_error_kcal=error,
        overlap=overlap,
        fractions=np.array(FRACTIONS),
        forward_kcal=forward[:, 0],
        forward_error_kcal=forward[:, 1],
        backward_kcal=backward[:, 0],
        backward_error_kcal=backward[:, 1],
        halves_kcal=halves if np.isfinite(halves) else None,
        state_of_replica=walk,
        round_trips=trips,
        dropped=dropped,
        samples=counts,
        converged=verdict[0],
        reason=verdict[1],
    )


def combine(repeats: Sequence[RelativeFreeEnergy]) -> EdgeFreeEnergy:
    """Mean and interval over the repeats of one edge.

    Raises
    ------
    ValueError
        No repeat.
    """
    if not repeats:
        raise ValueError("no repeat")
    known = [r for r in repeats if r.difference_kcal is not None]
    values = np.array([r.difference_kcal for r in known])
    converged, reason = _verdict_of_repeats(repeats, values)
    return EdgeFreeEnergy(
        difference_kcal=float(values.mean()) if len(values) else None,
        interval_kcal=bootstrap_interval(values) if len(values) else None,
        error_kcal=float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else None,
        mbar_error_kcal=float(np.sqrt(sum(r.error_kcal**2 for r in known)) / len(known)) if known else None,
        n_repeats=len(repeats),
        n_known=len(known),
        converged=converged,
        reason=reason,
    )


def closure(edges: Sequence[EdgeFreeEnergy]) -> Closure:
    """The sum of the edges of a cycle, each in the direction of going round.

    An edge that is gone along backwards counts negative: pass :func:`reverse` of it.

    Raises
    ------
    ValueError
        An edge has no number, or no error (one repeat).
    """
    if any(edge.difference_kcal is None or edge.error_kcal is None for edge in edges):
        raise ValueError("an edge of the cycle has no number, or one repeat alone")
    total = sum(edge.difference_kcal for edge in edges)
    variances = [edge.error_kcal**2 for edge in edges]
    error = float(np.sqrt(sum(variances)))
    low, high = t_interval(total, error, satterthwaite(variances, [edge.n_known - 1 for edge in edges]))
    return Closure(total, error, (low, high), low <= 0 <= high)


def reverse(edge: EdgeFreeEnergy) -> EdgeFreeEnergy:
    """The same edge from the second ligand to the first."""
    interval = edge.interval_kcal
    return replace(
        edge,
        difference_kcal=None if edge.difference_kcal is None else -edge.difference_kcal,
        interval_kcal=None if interval is None else (-interval[1], -interval[0]),
    )


def round_trips(state_of_replica: np.ndarray, n_states: int) -> int:
    """Travels from one end to the other and back (iterations x replicas of states), all replicas together."""
    trips = 0
    for walk in np.asarray(state_of_replica).T:
        ends = walk[(walk == 0) | (walk == n_states - 1)]
        trips += int((ends[1:] != ends[:-1]).sum()) // 2
    return trips


def _independent(reduced: np.ndarray) -> list[np.ndarray]:
    """Iterations (of those given) whose sample of a state is independent of the one before, for each state.

    What must be independent is what MBAR uses, the energy difference of the neighbours of the state; and their sum over
    all states, for a slow change of the receptor or a ligand shifts all of them a little and none of them much.
    """
    m, n, _ = reduced.shape
    own = np.arange(n)
    differences = reduced[:, own, np.minimum(own + 1, n - 1)] - reduced[:, own, np.maximum(own - 1, 0)]
    common = statistical_inefficiency(differences.sum(axis=1))
    steps = (max(common, statistical_inefficiency(series)) for series in differences.T)
    return [np.unique(np.arange(0, m, step).astype(int)) for step in steps]


def _share(reduced: np.ndarray, fraction: float, late: bool) -> tuple[float, float]:
    """F(last) - F(first) and its error (kT) from the first or the last ``fraction`` of the iterations."""
    m = max(2, round(fraction * len(reduced)))
    part = reduced[-m:] if late else reduced[:m]
    found = _mbar(part, _independent(part))
    return (np.nan, np.nan) if found is None else (float(found[0][-1]), float(found[1][-1]))


def _mbar(reduced: np.ndarray, chosen: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Free energies above the first state, their errors (kT) and the overlap matrix; ``None`` where MBAR fails."""
    for name in ("pymbar", "pymbar.timeseries", "pymbar.mbar_solvers", "pymbar.mbar"):
        logging.getLogger(name).setLevel(logging.ERROR)  # it advises on packages whenever it is imported
    from pymbar import MBAR
    from pymbar.utils import ParameterError

    rows = np.concatenate([reduced[rows, state] for state, rows in enumerate(chosen)])
    try:
        with np.errstate(all="ignore"):  # states that do not overlap: seen below
            solved = MBAR(rows.T, [len(rows) for rows in chosen], solver_protocol="robust")
            differences = solved.compute_free_energy_differences()
            overlap = solved.compute_overlap()["matrix"]
    except (ParameterError, np.linalg.LinAlgError):
        return None
    energies, errors = differences["Delta_f"][0], differences["dDelta_f"][0]
    return (energies, errors, overlap) if np.isfinite(energies).all() and np.isfinite(errors).all() else None


def _verdict(
    known: tuple[float, float] | None,
    overlap: np.ndarray,
    dropped: float,
    samples: np.ndarray,
    trips: int,
    halves: float,
) -> tuple[bool, str]:
    """Converged or not, and why; the first reason against it is said."""
    if known is None:
        return False, "not converged: MBAR finds no free energies, the states do not overlap"
    neighbours = np.minimum(np.diag(overlap, 1), np.diag(overlap, -1))
    weakest = int(np.argmin(neighbours))
    if neighbours[weakest] < LEAST_OVERLAP:
        return False, (
            f"not converged: states {weakest + 1} and {weakest + 2} overlap by {neighbours[weakest]:.3f}, "
            f"{LEAST_OVERLAP:g} at least"
        )
    if dropped > MOST_DROPPED:
        return (
            False,
            f"not converged: it had settled only after {dropped:.0%} of the samples, {MOST_DROPPED:.0%} at most",
        )
    if samples.min() < FEWEST_SAMPLES:
        return False, (
            f"not converged: {samples.min()} independent samples of state {int(np.argmin(samples)) + 1}, "
            f"{FEWEST_SAMPLES} at least"
        )
    if trips < FEWEST_ROUND_TRIPS:
        return False, f"not converged: {trips} round trips of replicas, {FEWEST_ROUND_TRIPS} at least"
    if not abs(halves) <= MOST_DRIFT_KCAL:
        return False, (
            f"not converged: the halves of the run differ by {abs(halves):.2f} kcal/mol, {MOST_DRIFT_KCAL:g} at most"
        )
    if known[1] > MOST_ERROR_KCAL:
        return False, f"not converged: the error is {known[1]:.1f} kcal/mol, {MOST_ERROR_KCAL:g} at most"
    return True, (
        f"converged by its own account: {trips} round trips, least overlap {neighbours[weakest]:.2f}, halves "
        f"{abs(halves):.2f} kcal/mol apart"
    )


def _verdict_of_repeats(repeats: Sequence[RelativeFreeEnergy], values: np.ndarray) -> tuple[bool, str]:
    against = [r.reason for r in repeats if not r.converged]
    if against:
        more = f" ({against[0]})" if len(repeats) == 1 else f" (the first: {against[0]})"
        return False, f"not converged: {len(against)} of {len(repeats)} repeats are not{more}"
    if len(repeats) < FEWEST_REPEATS:
        return False, f"not converged: {len(repeats)} of the {FEWEST_REPEATS} repeats that are needed"
    spread = float(np.ptp(values))
    if spread > MOST_SPREAD_KCAL:
        return False, (
            f"not converged: repeats that each seem converged lie {spread:.1f} kcal/mol apart, {MOST_SPREAD_KCAL:g} at "
            "most: something slow that no state drives"
        )
    return True, f"converged by its own account: all {len(repeats)} repeats, at most {spread:.2f} kcal/mol apart"
