"""The truth table of verdicts, and the sentence that goes with each."""

from __future__ import annotations

import pytest

from esr1md.analysis.statistics import Noise
from esr1md.config import Thresholds
from esr1md.scoring.scores import Score, Verdict
from esr1md.scoring.verdicts import binding_verdict, combined_verdict, helix12_verdict

RETAINED, WEAKENED, LOST, CANNOT_TELL = Verdict.RETAINED, Verdict.WEAKENED, Verdict.LOST, Verdict.CANNOT_TELL


def shift(low: float | None, high: float | None, n: int = 2, value: float | None = None) -> Score:
    middle = value if value is not None else (low + high) / 2
    return Score(value=middle, low=low, high=high, n_replicas=n, unit="kcal/mol")


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (-9.0, -2.0, RETAINED),
        (-1.0, 0.99, RETAINED),
        (-1.0, 1.0, CANNOT_TELL),
        (0.0, 2.0, CANNOT_TELL),
        (1.0, 3.99, WEAKENED),
        (1.0, 4.0, CANNOT_TELL),
        (0.9, 4.1, CANNOT_TELL),
        (4.0, 30.0, LOST),
        (3.9, 30.0, CANNOT_TELL),
    ],
)
def test_truth_table_of_binding_and_its_mirror_for_helix_12(low, high, verdict):
    assert binding_verdict(shift(low, high))[0] == verdict
    assert helix12_verdict(shift(-high, -low))[0] == verdict


def test_thresholds_move_the_verdict():
    wide = Thresholds(weakened_kcal=5, lost_kcal=10)
    assert binding_verdict(shift(1.0, 4.5))[0] == CANNOT_TELL
    assert binding_verdict(shift(1.0, 4.5), wide)[0] == RETAINED


def test_reason_names_the_shift_what_it_spans_and_what_would_decide():
    verdict, reason = binding_verdict(shift(-3.1, 4.7), noise=Noise(1.2, 5))
    assert verdict == CANNOT_TELL
    assert reason.startswith(
        "binding shift +1 kcal/mol, 95 % interval -3 to +5 (2 pairs): spans retained to lost; about "
    )
    assert reason.endswith(" more replicas of each would decide if it stays there")
    more = int(reason.split("about ")[1].split()[0])
    # +0.8 is 0.2 from the threshold of 1: (1.96 * 1.6 / 0.2)^2 = 246 replicas, over the 200 worth naming ...
    assert "even 200" in binding_verdict(shift(-3.1, 4.7), noise=Noise(1.6, 5))[1]
    # ... and a quieter method needs fewer.
    fewer = int(binding_verdict(shift(-3.1, 4.7), noise=Noise(0.5, 5))[1].split("about ")[1].split()[0])
    assert 20 < fewer < 30 < more <= 198


def test_decided_reason_says_the_verdict():
    assert binding_verdict(shift(-2.0, 0.0))[1].endswith("-2.0 to +0.0 (2 pairs): retained")
    assert helix12_verdict(shift(-8.0, -5.0))[1].startswith("helix 12 shift -6.5 A, 95 % interval -8.0 to -5.0")


def test_reason_has_the_digits_that_its_interval_supports():
    assert binding_verdict(shift(-0.31, 4.7))[1].startswith(
        "binding shift +2 kcal/mol, 95 % interval +0 to +5 (2 pairs)"
    )
    assert "+0.15 kcal/mol, 95 % interval +0.06 to +0.24" in binding_verdict(shift(0.062, 0.238))[1]


def test_one_pair_and_no_pair_cannot_tell():
    verdict, reason = binding_verdict(shift(None, None, n=1, value=9.0))
    assert verdict == CANNOT_TELL and "1 pair of replicas: no interval" in reason
    assert binding_verdict(None) == (CANNOT_TELL, "no binding shift")


def test_combined_verdict_is_the_worst_that_is_sure():
    assert combined_verdict([RETAINED, CANNOT_TELL, LOST]) == LOST
    assert combined_verdict([RETAINED, CANNOT_TELL, WEAKENED]) == WEAKENED
    assert combined_verdict([RETAINED, CANNOT_TELL]) == CANNOT_TELL
    assert combined_verdict([RETAINED, RETAINED]) == RETAINED
    assert combined_verdict([]) == CANNOT_TELL


@pytest.mark.parametrize("verdict_of", [binding_verdict, helix12_verdict])
@pytest.mark.parametrize(("low", "high"), [(-0.1, 0.1), (1.5, 2.0), (9.0, 9.1), (-9.1, -9.0)])
def test_picoseconds_never_give_a_verdict_however_narrow_the_interval(verdict_of, low, high):
    verdict, reason = verdict_of(shift(low, high), production_ps=2.0)
    assert verdict == CANNOT_TELL
    assert "2 ps per replica" in reason and "1000 ps" in reason
    assert verdict_of(shift(low, high), production_ps=1000.0)[0] == verdict_of(shift(low, high))[0] != CANNOT_TELL


def test_the_least_production_is_a_setting():
    allowed = Thresholds(minimum_production_ps=0)
    assert binding_verdict(shift(-1.0, 0.5), allowed, production_ps=2.0)[0] == RETAINED
