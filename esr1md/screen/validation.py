"""A screen of a store beside what is published, from whatever of it has finished."""

from __future__ import annotations

from collections.abc import Sequence

from esr1md.config import Thresholds
from esr1md.scoring.cells import matrix
from esr1md.scoring.evidence import Evidence, OrdinalClaim
from esr1md.scoring.validation import Validation, validate_screen
from esr1md.screen.finish import collect, read_plan
from esr1md.store import Store


def stored_validation(
    store: Store, name: str, published: Evidence, claims: Sequence[OrdinalClaim] | None = None
) -> Validation:
    """The validation of one screen, from whatever replicas have finished.

    Raises
    ------
    InputError
        No such screen.
    """
    plan = read_plan(store, name)
    observations, failures = collect(store, plan)
    return validate_screen(
        screen=plan["screen"],
        protocol=plan["protocol"]["name"],
        cells=matrix(observations, failures, [ligand["name"] for ligand in plan["ligands"]]),
        evidence=published,
        claims=claims,
        thresholds=Thresholds.model_validate(plan["config"]["thresholds"]),
        production_ps=plan["production_ps"],
        n_planned=len(plan["replicas"]),
    )
