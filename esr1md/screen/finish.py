"""The end of a screen: what its store holds -> ranking, tables, surrogate and report in ``screens/NAME/``."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas

from esr1md.config import Thresholds, Weights
from esr1md.errors import InputError
from esr1md.scoring.cells import ReplicaObservation
from esr1md.scoring.coverage import Coverage, coverages
from esr1md.scoring.evidence import evidence
from esr1md.scoring.ranking import rank_screen
from esr1md.scoring.scores import Failure, Ranking
from esr1md.scoring.tables import ranking_tables
from esr1md.screen.free_energies import write_free_energies
from esr1md.screen.plan import Plan
from esr1md.screen.progress import own_process, progress_file, whole_json
from esr1md.screen.status import screen_names
from esr1md.screen.transfers import write_relative_free_energies
from esr1md.specs import Ligand
from esr1md.store import plans
from esr1md.store.artifacts import Store
from esr1md.store.disk import beside


def screen_folder(store: Store, name: str) -> Path:
    """``STORE/screens/NAME``."""
    return store.root / "screens" / name


def finish_screen(plan: Plan, store: Store | None = None, *, report: bool = True) -> Ranking:
    """Rank what the store holds of a plan and write it to ``screens/NAME/``.

    Parameters
    ----------
    plan
        From :func:`esr1md.screen.plan.plan_screen`.
    store
        Its store, if it is not the plan's own.
    report
        Write ``report.html`` beside ``ranking.json`` and the CSV tables.

    Raises
    ------
    InputError
        The files cannot be written.
    """
    store = store or Store(plan.store_root)
    folder = screen_folder(store, plan.name)
    record = plan.record()
    ranking = _rank(record, store)
    replace_file(folder / "ranking.json", ranking.model_dump_json(indent=1) + "\n")
    covered = coverages(ranking, evidence().populations.named(), plan.config.thresholds)
    for table, rows in (ranking_tables(ranking) | {"coverage": coverage_table(covered)}).items():
        replace_file(folder / f"{table}.csv", rows.to_csv(index=False))
    if plan.network.jobs:
        write_relative_free_energies(record, store, folder)
    if plan.protocol.production.helix12_bias is not None:
        write_free_energies(record, plan.protocol, store, folder)
    if report:
        from esr1md.report.page import write_report

        write_report(ranking, store.root, folder / "report.html")
    mark_run(store, plan.name, finished=time.time())
    store.send_folder("screens", plan.name)
    return ranking


def coverage_table(covered: Sequence[Coverage]) -> pandas.DataFrame:
    """One row per ligand, verdict judged by and rule; the parts and notes are joined with semicolons."""
    columns = [name for name in Coverage.model_fields if name not in ("parts", "notes")]
    rows = [
        each.model_dump(include=set(columns))
        | {
            "parts": "; ".join(f"{part.name} {part.share:.3g} {part.fate}" for part in each.parts),
            "notes": "; ".join(each.notes),
        }
        for each in covered
    ]
    return pandas.DataFrame(rows, columns=[*columns, "parts", "notes"])


def rank_stored(store: Store, name: str, *, predict: bool = True) -> Ranking:
    """The ranking of a screen from whatever has finished, by its ``plan.json`` alone; writes no table.

    Without ``predict`` no surrogate is trained for the cells that are missing, and nothing at all is written.

    Raises
    ------
    InputError
        No such screen in the store.
    """
    return _rank(read_plan(store, name), store, predict=predict)


def _rank(plan: dict[str, Any], store: Store, *, predict: bool = True) -> Ranking:
    observations, failures = collect(store, plan)
    ligands = {ligand["name"]: Ligand(**ligand) for ligand in plan["ligands"]}
    ranking = rank_screen(
        screen=plan["screen"],
        protocol=plan["protocol"]["name"],
        platform=plan["platform"],
        versions=plan["versions"],
        reference_ligand=plan["reference_ligand"],
        observations=observations,
        failures=failures,
        ligands=ligands,
        thresholds=Thresholds.model_validate(plan["config"]["thresholds"]),
        weights=Weights.model_validate(plan["config"].get("weights", {})),
        production_ps=plan["production_ps"],
    )
    if not predict:
        return ranking
    folder = screen_folder(store, plan["screen"]) / "surrogate"
    return _with_predictions(ranking, observations, ligands, plan, folder)


def _with_predictions(
    ranking: Ranking,
    observations: list[ReplicaObservation],
    ligands: dict[str, Ligand],
    plan: dict[str, Any],
    folder: Path,
) -> Ranking:
    """The ranking with the surrogate's scores of the cells that were not simulated, catalogue included."""
    from esr1md.ligand.catalogue import catalogue_ligands
    from esr1md.surrogate.prediction import add_predictions

    simulated = {ligand.inchikey for ligand in ligands.values()}
    others = {
        ligand.name: ligand
        for ligand in catalogue_ligands()
        if ligand.inchikey not in simulated and ligand.name not in ligands
    }
    return add_predictions(
        ranking,
        observations,
        {**ligands, **others},
        folder,
        reference_ligand=plan["reference_ligand"],
        planned=dict.fromkeys((r["variant"], r["ligand"], r["state"]) for r in plan["replicas"]),
    )


def collect(store: Store, plan: dict[str, Any]) -> tuple[list[ReplicaObservation], list[Failure]]:
    """Observations and failures of a plan's replicas; one that has not run is in neither."""
    observations, failures = [], []
    replicas = {replica["digest"]: replica for replica in plan["replicas"]}
    for digest, folder in store.glance("replicas", replicas, ("record.json", "summary.json")):
        replica = replicas[digest]
        place = {key: replica[key] for key in ("variant", "ligand", "state", "seed")}
        if folder is not None:
            try:
                observations.append(_observed(folder, digest, place))
            except (ValueError, TypeError, AttributeError, OSError) as error:  # damaged: one replica, not the screen
                cause = f"its record cannot be read ({type(error).__name__}); 'esr1md store verify' says what it has"
                failures.append(Failure(**place, stage="record", cause=cause, where=str(folder)))
            continue
        record = store.failure("replicas", replica["digest"]) or death(store, replica["digest"])
        if record is not None:
            failures.append(Failure(**place, **{key: record[key] for key in ("stage", "cause", "where", "kind")}))
    return observations, failures


def _observed(folder: Path, digest: str, place: dict[str, Any]) -> ReplicaObservation:
    pose = json.loads((folder / "record.json").read_text()).get("pose", {})
    return ReplicaObservation(
        digest=digest,
        **place,
        summary=json.loads((folder / "summary.json").read_text()),
        pose_confidence=pose.get("confidence", ""),
        pose_reason=pose.get("reason", ""),
        pose_reference=pose.get("reference", ""),
        pose_label=pose.get("label", ""),
    )


def death(store: Store, digest: str) -> dict[str, Any] | None:
    """The failure record of a replica whose process died in the last run, or ``None``."""
    return (whole_json(progress_file(store, digest)) or {}).get("died")


def read_plan(store: Store, name: str) -> dict[str, Any]:
    """``plan.json`` of a screen with ``replicas`` as rows; ``InputError`` when the store has no such screen."""
    plan = plans.read_plan(screen_folder(store, name))
    if plan is None:
        known = screen_names(store)
        raise InputError(
            f"no screen '{name}' in this store",
            where=f"store {store.root}",
            expected=f"one of {', '.join(known)}" if known else "",
            do="" if known else "run one, or name another store with --store",
        )
    return plan


def mark_run(store: Store, name: str, **values: Any) -> None:
    """Note when this run of a screen began and ended, for ``esr1md status``; without values, that it goes on.

    Several runs may share a screen, on one machine or more: each has its own ``runs/HOST-PID.json``, and the last one
    to begin is ``run.json`` as well.
    """
    folder, us = screen_folder(store, name), own_process()
    own = folder / "runs" / f"{us['host']}-{us['pid']}.json"
    said = {**(whole_json(own) or {}), **us, **values, "updated": time.time()}
    document = json.dumps(said, indent=1) + "\n"
    replace_file(own, document)
    last = whole_json(folder / "run.json")
    if "started" in values or last is None or (last.get("pid"), last.get("host")) == (us["pid"], us["host"]):
        replace_file(folder / "run.json", document)


def read_json(path: Path) -> Any:
    """A JSON file, or ``None`` when there is none."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None


def replace_file(path: Path, text: str) -> None:
    """Write a file whole or not at all; ``InputError`` when the disk refuses."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with beside(path) as part:
            part.write_text(text, encoding="utf-8")
            os.replace(part, path)
    except OSError as error:
        raise InputError(
            f"{path.name} cannot be written ({error.strerror})",
            where=str(path.parent),
            do="free some space or choose another --store; finished results are kept",
        ) from error
