"""The surrogate as Prefect flows: train it on measured affinities, screen a library with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from esr1md.catalogue import load_flow
from esr1md.surrogate.data import read_affinities
from esr1md.surrogate.screening import Question, screen_library
from esr1md.surrogate.screening_tables import Wanted
from esr1md.surrogate.training import train_on_affinities

runners = load_flow("runners")
runners.before_prefect_is_imported()
told = load_flow("ligands").told

from prefect import flow, get_run_logger  # noqa: E402
from prefect.artifacts import create_markdown_artifact, create_table_artifact  # noqa: E402


@flow(name="surrogate-screen", description="Predict a whole library with intervals; the best compounds as a table.")
def screen(
    library: str,
    out: str,
    model: str | None = None,
    variants: list[str] | None = None,
    state: Literal["agonist", "antagonist", "displaced"] = "antagonist",
    top: int = 50,
    by: str = "pchembl",
    workers: int | None = None,
) -> dict[str, Any]:
    """Screen a library, or what an earlier run of it left.

    Args:
        library: SMILES, .smi, CSV, SDF or Parquet file (also .gz) on the machine that works.
        out: Folder for predictions, failures and the page of the best.
        model: Folder of a trained surrogate; the shipped one if not given.
        variants: Variants whose simulation scores are wanted, of a model that was trained on a store.
        state: Helix-12 state of those scores.
        top: Compounds on the page.
        by: Column they are ranked by.
        workers: Processes; one for each core if not given.
    """
    question = Question(str(Path(model).absolute()) if model else "", tuple(variants or ()), state)
    with told(f"compounds of {Path(library).name}") as report:
        found = screen_library(library, Path(out), question, Wanted(top, by), workers=workers, report=report)
    create_markdown_artifact(found["statement"], key="surrogate-statement")
    create_table_artifact(found["top"], key="surrogate-top", description=f"Best of {found['predicted']:,} compounds")
    return {name: found[name] for name in ("rows", "predicted", "failed", "statement", "files")}


@flow(name="surrogate-train", description="Train the surrogate on a table of measured affinities.")
def train(affinities: str, out: str, seed: int = 0, value_column: str | None = None) -> dict[str, Any]:
    """Train on measured affinities, or go on with what an earlier run left.

    Args:
        affinities: CSV of SMILES and measured values on the machine that works.
        out: Folder for weights and card.
        seed: Same seed and data, same model.
        value_column: Column of the values, if it cannot be told by its name.
    """
    say = get_run_logger().info
    data = read_affinities(affinities, value_column=value_column, report=say)
    surrogate = train_on_affinities(data, Path(out), source=Path(affinities).name, seed=seed, report=say)
    create_markdown_artifact((Path(out) / "card.md").read_text(), key="surrogate-card")
    return {"out": out, "statement": surrogate.statement}
