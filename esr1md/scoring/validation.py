"""A screen beside what is published: every claim, the agreement of ranks, a summary; clinical results for context."""

from __future__ import annotations

from collections.abc import Sequence

from scipy import stats

from esr1md.config import Thresholds
from esr1md.scoring.cells import Matrix
from esr1md.scoring.claims import ClaimCheck, check_claims
from esr1md.scoring.evidence import APO, ClinicalResult, Evidence, OrdinalClaim
from esr1md.scoring.rank_agreement import RankAgreement, rank_agreements
from esr1md.scoring.scores import Record
from esr1md.scoring.verdicts import too_short

OUTCOMES = ("agrees", "contradicts", "cannot tell", "not run", "not checkable")
CLINICAL_USE = "Clinical results are context. They are in no score, and no score here predicts them."


class AgreementRate(Record):
    """Claims that agree, of those that agree or contradict, with the 95 % interval of a Jeffreys prior."""

    agrees: int
    decided: int
    rate: float
    low: float
    high: float


class LigandContext(Record):
    """Clinical results of a ligand of the screen, as published."""

    ligand: str
    results: tuple[ClinicalResult, ...]


class Validation(Record):
    """What a screen says on the published evidence.

    ``counts`` is by outcome over all claims asked for; ``rate`` is ``None`` where no claim was decided, or where the
    replicas were too short to agree. ``tau`` is the agreement over the mutations, all papers (``None``: no series has
    enough measured values). ``notes`` say what is partial and what the numbers leave out.
    """

    screen: str
    protocol: str
    n_replicas: int
    n_failed: int
    n_missing: int
    production_ps: float | None
    minimum_production_ps: float
    too_short: bool
    counts: dict[str, int]
    rate: AgreementRate | None
    tau: RankAgreement | None
    claims: tuple[ClaimCheck, ...]
    agreement: tuple[RankAgreement, ...]
    clinical: tuple[LigandContext, ...]
    clinical_use: str = CLINICAL_USE
    notes: tuple[str, ...]


def validate_screen(
    *,
    screen: str,
    protocol: str,
    cells: Matrix,
    evidence: Evidence,
    claims: Sequence[OrdinalClaim] | None = None,
    thresholds: Thresholds,
    production_ps: float | None,
    n_planned: int | None = None,
) -> Validation:
    """Compare a screen with the evidence.

    Parameters
    ----------
    screen, protocol
        Written into the record.
    cells
        The replicas (:func:`esr1md.scoring.cells.matrix`).
    evidence, claims
        What is published, and the claims to check (all).
    thresholds, production_ps
        Whether the replicas are long enough to agree with anything.
    n_planned
        Replicas of the plan; what neither finished nor failed is missing.
    """
    claims = evidence.claims if claims is None else claims
    short = too_short(production_ps, thresholds)
    checked = check_claims(claims, cells, thresholds, production_ps)
    agreement = rank_agreements(evidence, cells, short)
    counts = {name: sum(check.outcome == name for check in checked) for name in OUTCOMES}
    n_replicas = sum(len(replicas) for replicas in cells.replicas.values())
    n_failed = sum(cells.failed.values())
    n_missing = max(0, (n_planned or 0) - n_replicas - n_failed)
    ligands = [name for name in cells.names(1) if name != APO]
    return Validation(
        screen=screen,
        protocol=protocol,
        n_replicas=n_replicas,
        n_failed=n_failed,
        n_missing=n_missing,
        production_ps=production_ps,
        minimum_production_ps=thresholds.minimum_production_ps,
        too_short=short,
        counts=counts,
        rate=None if short else _rate(counts["agrees"], counts["contradicts"]),
        tau=_headline(agreement),
        claims=checked,
        agreement=agreement,
        clinical=tuple(LigandContext(ligand=name, results=found) for name in ligands
                       if (found := evidence.clinical_of(name))),
        notes=tuple(_notes(n_replicas, n_failed, n_missing, short, production_ps, thresholds)),
    )  # fmt: skip


def _rate(agrees: int, contradicts: int) -> AgreementRate | None:
    decided = agrees + contradicts
    if not decided:
        return None
    low, high = stats.beta.ppf([0.025, 0.975], agrees + 0.5, contradicts + 0.5)
    return AgreementRate(agrees=agrees, decided=decided, rate=agrees / decided, low=float(low), high=float(high))


def _headline(agreement: Sequence[RankAgreement]) -> RankAgreement | None:
    """The tau over mutations: pooled within papers where there are several, else the one."""
    shifts = [each for each in agreement if each.kind == "mutations"]
    return shifts[-1] if shifts else None


def _notes(
    n_replicas: int, n_failed: int, n_missing: int, short: bool, production_ps: float | None, thresholds: Thresholds
) -> list[str]:
    notes = []
    if n_failed or n_missing:
        planned = n_replicas + n_failed + n_missing
        notes.append(
            f"Partial: {n_replicas} of {planned} replicas finished ({n_failed} failed, {n_missing} not run); "
            "everything here is of those."
        )
    if short:
        notes.append(
            f"{production_ps:g} ps per replica are below the {thresholds.minimum_production_ps:g} ps that a verdict "
            "needs: such replicas can contradict a claim but not agree with it, so there is no agreement rate."
        )
    else:
        notes.append("Claims share cells, so the interval of the rate is narrower than it should be.")
    notes.append(
        "Signs and orders are compared, never sizes: MM/GBSA exaggerates differences and leaves out entropy. "
        "Claims on growth, degradation or transcription in cells are not checked with binding energies."
    )
    return notes
