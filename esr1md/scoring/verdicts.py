"""From a shift and its interval to `retained`, `weakened`, `lost` or `cannot tell`, with the reason in words.

A verdict is given only if the whole 95 % interval lies on one side of the thresholds *and* the replicas ran long
enough for a mutation to show its effect; everything else is `cannot tell`, and says what would decide it. Replicas
of picoseconds agree with each other because none of them left the starting structure, so their interval says how
well that structure's response is known and nothing about binding.

The thresholds are in the units of the method, not of the bench. MM/GBSA without entropy exaggerates
differences of affinity, often severalfold (Genheden & Ryde, Expert Opin. Drug Discov. 10, 449 (2015)): if
threefold, the default 1 and 4 kcal/mol stand for about 2 and 10 times in affinity. Both are configurable
(:class:`esr1md.config.Thresholds`).
For helix 12, the agonist and the antagonist place lie more than 10 A apart on the scale used and crystals of
one state scatter by 2 A, so 1 A is the least worth naming and 4 A a clear departure.
"""

from __future__ import annotations

import math

from scipy import stats

from esr1md.analysis.statistics import Noise, replicas_to_decide
from esr1md.config import Thresholds
from esr1md.scoring.scores import Score, Verdict, supported_digits

DEFAULT_THRESHOLDS = Thresholds()


def binding_verdict(
    shift: Score | None,
    thresholds: Thresholds = DEFAULT_THRESHOLDS,
    noise: Noise | None = None,
    production_ps: float | None = None,
) -> tuple[Verdict, str]:
    """Whether binding survives a mutation.

    Parameters
    ----------
    shift
        Binding of the mutant minus the wild type (kcal/mol, > 0 weakens), paired by seed.
    thresholds
        What counts as weakened and as lost.
    noise
        Spread of a single paired difference, from which the number of replicas that would decide follows.
    production_ps
        Production (ps) of each replica; under ``thresholds.minimum_production_ps`` the answer is `cannot tell`.

    Returns
    -------
    (verdict, reason)
        The reason is a phrase such as ``binding shift +1 kcal/mol, 95 % interval -3 to +5 (2 pairs):
        spans retained to lost; about 9 more replicas of each would decide if it stays there``.
    """
    weakened, lost = thresholds.weakened_kcal, thresholds.lost_kcal
    short = _why_too_short(production_ps, thresholds)
    return _verdict(shift, 1.0, weakened, lost, noise, "binding shift", "kcal/mol", short)


def helix12_verdict(
    shift: Score | None,
    thresholds: Thresholds = DEFAULT_THRESHOLDS,
    noise: Noise | None = None,
    production_ps: float | None = None,
) -> tuple[Verdict, str]:
    """Whether helix 12 stays out of the active position: as :func:`binding_verdict`, in angstrom.

    A negative shift is a move towards the active position.
    """
    weakened, lost = thresholds.helix12_weakened_angstrom, thresholds.helix12_lost_angstrom
    short = _why_too_short(production_ps, thresholds)
    return _verdict(shift, -1.0, weakened, lost, noise, "helix 12 shift", "A", short)


def verdict_p(shift: Score | None, sign: float, weakened: float, lost: float, noise: Noise | None) -> float | None:
    """Chance (two-sided) of a shift as far from its nearest threshold if the truth lay on that threshold.

    Below 0.05 where the 95 % interval excludes the other answers; ``None`` without an interval.
    """
    if shift is None or shift.low is None or noise is None:
        return None
    loss = sign * shift.value
    margin = min(abs(loss - weakened), abs(loss - lost))
    error = noise.sd / math.sqrt(shift.n_replicas)
    return float(2 * stats.t.sf(margin / error, noise.df)) if error > 0 else 0.0


def combined_verdict(verdicts: list[Verdict]) -> Verdict:
    """The verdict over several mutants: the worst that is sure; `retained` only if it is so for every one."""
    for verdict in (Verdict.LOST, Verdict.WEAKENED, Verdict.CANNOT_TELL):
        if verdict in verdicts:
            return verdict
    return Verdict.RETAINED if verdicts else Verdict.CANNOT_TELL


def _verdict(
    shift: Score | None,
    sign: float,
    weakened: float,
    lost: float,
    noise: Noise | None,
    name: str,
    unit: str,
    short: str,
) -> tuple[Verdict, str]:
    if shift is None:
        return Verdict.CANNOT_TELL, f"no {name}"
    pairs = f"{shift.n_replicas} pair{'' if shift.n_replicas == 1 else 's'}"
    if shift.low is None or shift.high is None:
        text = f"{name} {shift.value:+.1f} {unit} from {pairs} of replicas: no interval, so more are needed"
        return Verdict.CANNOT_TELL, text
    digits = supported_digits(shift)
    value, low, high = (f"{round(x, digits) + 0.0:+.{digits}f}" for x in (shift.value, shift.low, shift.high))
    text = f"{name} {value} {unit}, 95 % interval {low} to {high} ({pairs})"
    if short:
        return Verdict.CANNOT_TELL, f"{text}: {short}"
    least, most = sorted((sign * shift.low, sign * shift.high))
    regions = (Verdict.RETAINED, Verdict.WEAKENED, Verdict.LOST)
    first, last = (_region(loss, weakened, lost) for loss in (least, most))
    if first == last:
        return regions[first], f"{text}: {regions[first]}"
    return Verdict.CANNOT_TELL, (
        f"{text}: spans {regions[first]} to {regions[last]}; "
        f"{_what_would_decide(sign * shift.value, shift.n_replicas, weakened, lost, noise)}"
    )


def too_short(production_ps: float | None, thresholds: Thresholds) -> bool:
    """Whether replicas with so much production (ps) allow no verdict; an unrecorded length is not held against them."""
    return production_ps is not None and production_ps < thresholds.minimum_production_ps


def _why_too_short(production_ps: float | None, thresholds: Thresholds) -> str:
    """Why replicas of this length allow no verdict, or nothing."""
    if not too_short(production_ps, thresholds):
        return ""
    return (
        f"{production_ps:g} ps per replica show only how the starting structure responds; "
        f"a verdict needs {thresholds.minimum_production_ps:g} ps"
    )


def _region(loss: float, weakened: float, lost: float) -> int:
    """0 retained, 1 weakened, 2 lost."""
    return int(loss >= weakened) + int(loss >= lost)


def _what_would_decide(loss: float, n: int, weakened: float, lost: float, noise: Noise | None) -> str:
    """How many more replicas bring the interval inside the region where the estimate is now."""
    if noise is None:
        return "more replicas are needed"
    margin = min(abs(loss - weakened), abs(loss - lost))
    total = replicas_to_decide(margin, noise.sd, noise.df, n, most=200)
    if total is None:
        return "it lies so near a threshold that even 200 replicas would not decide"
    more = total - n
    return f"about {more} more replica{'' if more == 1 else 's'} of each would decide if it stays there"
