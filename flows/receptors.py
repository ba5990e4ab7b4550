"""Receptor models as a Prefect flow: every variant in every helix-12 state, from any start, each a task of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from esr1md.catalogue import load_flow
from esr1md.receptor import request as requests

runners = load_flow("runners")
runners.before_prefect_is_imported()

from prefect import flow, get_run_logger, task  # noqa: E402
from prefect.artifacts import create_table_artifact  # noqa: E402
from prefect.cache_policies import NO_CACHE  # noqa: E402


@task(task_run_name="{name}", cache_policy=NO_CACHE, tags=["esr1md", "receptors"])
def build(name: str, asked: requests.Request, out: Path) -> dict[str, str]:
    """One model with its quality report; a model above a quality limit is a row of the table, not a failed task."""
    outcome = requests.build_models(asked, out, get_run_logger().info)
    for folder, model in outcome.built.items():
        return {"model": folder.name, "built": "yes", "source": model.source, "why not": ""}
    return {"model": name, "built": "no", "source": "", "why not": str(next(iter(outcome.failed.values())))}


@flow(name="receptors", description="Wild-type and mutant ER-alpha ligand-binding-domain models.")
def receptors(
    out: str,
    variants: list[str] | None = None,
    states: list[str] | None = None,
    start: str = "bundled",
    ph: float = 7.4,
) -> list[dict[str, Any]]:
    """Build receptor models; what is there already is not built again.

    Args:
        out: Folder for the models, one folder each.
        variants: Names such as Y537S or D538G+F404L; WT if not given, every catalogued one for all.
        states: Helix-12 states (agonist, antagonist, displaced); all bundled ones if not given.
        start: bundled, a PDB id, or the path of a structure file.
        ph: Of the protonation states.
    """
    begin = requests.find_start(start)
    asked = requests.Request(
        requests.chosen_variants(variants or []), requests.chosen_states(states or [], begin), begin, ph
    )
    rows = [
        build(name, requests.Request((variant,), (state,), begin, ph), Path(out))
        for variant, state, name in asked.names()
    ]
    create_table_artifact(rows, key="receptors", description=f"Models in {out}")
    return rows
