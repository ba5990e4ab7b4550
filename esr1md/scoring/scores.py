"""The records a screen ends with: scores with intervals, verdicts, a ranking.

Pydantic models so that one definition serves Python, ``ranking.json`` and ``--json``. Energies are
kcal/mol and lengths angstrom here, because these records are what people read.
"""

from __future__ import annotations

import math
from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict


class Record(BaseModel):
    """Base of the records: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Verdict(StrEnum):
    """What a score with its interval allows one to say about a mutation's effect."""

    RETAINED = "retained"
    WEAKENED = "weakened"
    LOST = "lost"
    CANNOT_TELL = "cannot tell"


class Score(Record):
    """A number with its 95 % interval.

    Attributes
    ----------
    value
        Point estimate, in ``unit``.
    low, high
        Ends of the 95 % interval; ``None`` when one replica or less leaves it undefined.
    n_replicas
        Independent replicas (for a paired difference: pairs) behind the number; 0 for a prediction.
    unit
        ``kcal/mol``, ``angstrom``, ``angstrom^2``, ``ps``, ``ratio``, ``fraction`` or ``count``.
    origin
        ``simulated`` or ``predicted`` (surrogate).
    """

    value: float
    low: float | None
    high: float | None
    n_replicas: int
    unit: str
    origin: Literal["simulated", "predicted"] = "simulated"


def supported_digits(score: Score, most: int = 2) -> int:
    """Decimals that the interval of a score supports: one significant digit of its half-width, two where that is 1.

    One decimal where there is no interval.
    """
    if score.low is None or score.high is None or score.high <= score.low:
        return 1
    half = (score.high - score.low) / 2
    place = math.floor(math.log10(half))
    if half / 10**place < 2:
        place -= 1
    return min(most, max(0, -place))


class CellScore(Record):
    """Everything known of one cell.

    ``binding`` is the MM/GBSA energy (kcal/mol, more negative binds better, no entropy);
    ``binding_relative`` the same minus the reference ligand's in the same variant;
    ``helix12`` the C-alpha RMSD of helix 12 to the agonist reference minus that to the antagonist
    reference (angstrom, higher keeps helix 12 farther from the active position).
    ``helix12_over_hormone`` and ``helix12_over_apo`` are the helix-12 score proper: the C-alpha RMSD of helix 12 to its
    active place minus the same with estradiol, and without a ligand, in the agonist state of the same variant
    (angstrom; 0 is as active as the hormone leaves it, higher keeps it farther away), ``None`` where that was not
    simulated.
    ``metrics`` holds the means of the other measured columns by name. Scores that could not be made
    (apo has no binding) are ``None``. ``notes`` says what is special of the ligand: a doubtful structure, what is
    not modelled of it.
    """

    variant: str
    ligand: str
    state: str
    n_replicas: int
    n_failed: int
    binding: Score | None
    binding_relative: Score | None
    helix12: Score | None
    helix12_over_hormone: Score | None = None
    helix12_over_apo: Score | None = None
    metrics: dict[str, Score] = {}
    pose_confidence: str = ""
    pose_reason: str = ""
    pose_reference: str = ""
    notes: str = ""
    replicas: tuple[str, ...] = ()
    origin: Literal["simulated", "predicted"] = "simulated"


class Comparison(Record):
    """A mutant against the wild type for one ligand in one state, paired by seed.

    ``binding_shift`` > 0: the mutation weakens binding. ``helix12_shift`` < 0: helix 12 moves towards
    the active position. ``reason`` is one sentence a chemist can read. ``binding_stands`` and ``helix12_stands`` say
    whether the verdict still holds when all verdicts of the screen are to be true together at 95 % (Holm); ``None``
    without a verdict.
    """

    variant: str
    ligand: str
    state: str
    binding_shift: Score | None
    binding_verdict: Verdict
    helix12_shift: Score | None
    helix12_verdict: Verdict
    reason: str
    binding_stands: bool | None = None
    helix12_stands: bool | None = None


class RankedLigand(Record):
    """One line of the ranking; ``rank_low`` to ``rank_high`` is the 95 % rank interval, ``p_best`` the chance of 1.

    ``binding`` is the mean over variants of the relative binding (kcal/mol; of the absolute one, which
    ``notes`` then says, in a state without reference ligand), ``worst_shift`` the largest binding shift
    over the mutants and ``worst_variant`` the mutant that has it. Ranks start anew in each state.

    ``on_front`` and ``p_front``: whether no other ligand is as good in binding, helix 12 and worst shift and better in
    one, and how likely that is; ``weighted`` (standard deviations over the ligands, higher is better) and
    ``weighted_rank`` with its interval follow the weights of the configuration. They are ``None`` where a criterion
    is missing; chances also where replicas were too short for a verdict.
    """

    rank: int
    rank_low: int
    rank_high: int
    ligand: str
    drug_class: str
    smiles: str
    state: str
    binding: Score | None
    helix12: Score | None
    worst_variant: str | None
    worst_shift: Score | None
    binding_verdict: Verdict
    helix12_verdict: Verdict
    p_best: float | None = None
    on_front: bool | None = None
    p_front: float | None = None
    weighted: float | None = None
    weighted_rank: int | None = None
    weighted_low: int | None = None
    weighted_high: int | None = None
    notes: str = ""


class Control(Record):
    """A known fact the run should reproduce; ``outcome`` says whether it did."""

    name: str
    statement: str
    outcome: Literal["agrees", "contradicts", "cannot tell", "not run"]
    detail: str


class Failure(Record):
    """Something that could not be computed. ``kind`` is ``outcome`` for an explained scientific result
    (a ligand that does not fit a state) and ``error`` for what went wrong."""

    variant: str
    ligand: str
    state: str
    seed: int | None
    stage: str
    cause: str
    where: str = ""
    kind: Literal["outcome", "error"] = "error"


class Ranking(Record):
    """The result document of a screen (``ranking.json``, ``esr1md rank --json``).

    ``production_ps`` is the production of each replica (``None``: not recorded) and ``minimum_production_ps`` the
    least that allows a verdict; below it every verdict is `cannot tell`.
    """

    screen: str
    protocol: str
    reference_ligand: str
    created: str
    platform: str
    production_ps: float | None = None
    minimum_production_ps: float = 0.0
    versions: dict[str, str]
    limits: tuple[str, ...]
    controls: tuple[Control, ...]
    ranking: tuple[RankedLigand, ...]
    cells: tuple[CellScore, ...]
    comparisons: tuple[Comparison, ...]
    predictions: tuple[CellScore, ...] = ()
    failures: tuple[Failure, ...] = ()

    @property
    def too_short(self) -> bool:
        """Whether the replicas were too short for any verdict."""
        return self.production_ps is not None and self.production_ps < self.minimum_production_ps
