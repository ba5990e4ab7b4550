"""A library of ligands as a Prefect flow: states, conformers and, if wanted, parameters of every row."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from esr1md.catalogue import load_flow
from esr1md.dynamics.slots import usable_cores
from esr1md.ligand.library import prepare_library
from esr1md.ligand.library_journal import LibrarySettings
from esr1md.ligand.row_workers import Progress

runners = load_flow("runners")
runners.before_prefect_is_imported()

from prefect import flow  # noqa: E402
from prefect.artifacts import create_link_artifact, create_progress_artifact, update_progress_artifact  # noqa: E402

#: Seconds between two words to Prefect of how far it is.
SAY_S = 10.0


@flow(name="ligands", description="Chemistry states, conformers and parameters of a whole library.")
def ligands(
    library: str,
    out: str,
    store: str | None = None,
    workers: int | None = None,
    limit: int | None = None,
    retry: bool = False,
) -> dict[str, Any]:
    """Prepare a library, or what an earlier run of it left.

    Args:
        library: SMILES, .smi, CSV, SDF or Parquet file on the machine that works.
        out: Folder for ligands.sdf, the table and the failures.
        store: Store that parameters and charges go into; none are made without it.
        workers: Processes; one for each core if not given.
        limit: Only the first rows.
        retry: Prepare again what failed before.
    """
    settings = LibrarySettings(parameters=store or "")
    with told(f"rows of {Path(library).name}") as report:
        found = prepare_library(
            library, Path(out), settings, limit=limit, workers=workers or usable_cores(), retry=retry, report=report
        )
    create_link_artifact(Path(out).absolute().as_uri(), "the prepared library", key="ligands")
    return found


@contextmanager
def told(what: str) -> Iterator[Callable[[Progress], None]]:
    """A progress bar on the page of the run; yields what moves it by the rows that are done."""
    bar = create_progress_artifact(0.0, key="rows", description=what)
    last = 0.0

    def say(progress: Progress) -> None:
        nonlocal last
        fraction = progress.done / progress.total if progress.total else progress.fraction
        if time.monotonic() - last > SAY_S or fraction == 1.0:
            last = time.monotonic()
            done = f"{progress.done:,} {what}, {progress.failed:,} of them failed"
            update_progress_artifact(bar, 100 * fraction, description=done)

    yield say
