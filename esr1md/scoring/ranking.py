"""All replicas of a screen -> its ranking: cells, comparisons, ranked ligands, controls and limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from esr1md.config import Thresholds, Weights
from esr1md.scoring.cells import ReplicaObservation, matrix, score_cells
from esr1md.scoring.comparisons import compare_with_wild_type, helix12_scores, relative_binding
from esr1md.scoring.controls import check_controls
from esr1md.scoring.ligand_ranks import DEFAULT_WEIGHTS, is_agonist, rank_ligands
from esr1md.scoring.limits import limits_of
from esr1md.scoring.scores import Failure, Ranking
from esr1md.scoring.verdicts import DEFAULT_THRESHOLDS, too_short
from esr1md.specs import HelixState, Ligand

#: Antagonists are what the product is about; the agonist state comes last and has ranks of its own.
STATE_ORDER = (HelixState.ANTAGONIST, HelixState.DISPLACED, HelixState.AGONIST)


def rank_screen(
    *,
    screen: str,
    protocol: str,
    platform: str,
    versions: Mapping[str, str],
    reference_ligand: Mapping[str, str] | str | None,
    observations: Sequence[ReplicaObservation],
    failures: Sequence[Failure] = (),
    ligands: Mapping[str, Ligand],
    thresholds: Thresholds = DEFAULT_THRESHOLDS,
    weights: Weights = DEFAULT_WEIGHTS,
    production_ps: float | None = None,
    created: str | None = None,
) -> Ranking:
    """Score, compare and rank everything that finished; what failed or is missing is said, never fatal.

    Parameters
    ----------
    screen, protocol, platform, versions
        Written into the record.
    reference_ligand
        Name of the ligand that relative binding refers to, one for all states or state -> name;
        without one, absolute energies are ranked.
    observations
        Finished replicas, in any order: the answer does not depend on it.
    failures
        What did not finish.
    ligands
        Name -> ligand, in the order wanted for tables.
    thresholds
        What counts as weakened and as lost.
    weights
        What each criterion counts in the weighted rank.
    production_ps
        Length of one replica's production (ps): too short a one allows no verdict, and the limits say so.
    created
        ISO time of the record; now if not given.

    Raises
    ------
    ValueError
        If two observations claim the same cell and seed.
    """
    cells = matrix(observations, failures, ligands)
    if reference_ligand is None or isinstance(reference_ligand, str):
        reference = {str(state): reference_ligand for state in HelixState} if reference_ligand else {}
        reference_name = reference_ligand or ""
    else:
        reference = {str(state): name for state, name in reference_ligand.items()}
        reference_name = ", ".join(f"{name} ({state})" for state, name in sorted(reference.items()))
    relative = relative_binding(cells, reference)
    scores = score_cells(cells, relative, helix12_scores(cells), ligands)
    comparisons = compare_with_wild_type(cells, thresholds, production_ps)
    agonists = [n for n in cells.names(1) if n in ligands and is_agonist(ligands[n])]
    ranked = [
        line
        for state in STATE_ORDER
        for line in rank_ligands(cells, str(state), relative, comparisons, failures, ligands, reference, weights)
    ]
    short = too_short(production_ps, thresholds)
    if short:  # replicas of picoseconds agree with each other: a chance made of that would only look sure
        ranked = [line.model_copy(update={"p_best": None, "p_front": None}) for line in ranked]
    return Ranking(
        screen=screen,
        protocol=protocol,
        reference_ligand=reference_name,
        created=created or datetime.now(UTC).isoformat(timespec="seconds"),
        platform=platform,
        production_ps=production_ps,
        minimum_production_ps=thresholds.minimum_production_ps,
        versions=dict(versions),
        limits=limits_of(cells, scores, comparisons, failures, reference, agonists, production_ps, short),
        controls=check_controls(cells, scores, reference, thresholds, production_ps),
        ranking=tuple(ranked),
        cells=scores,
        comparisons=comparisons,
        failures=tuple(failures),
    )
