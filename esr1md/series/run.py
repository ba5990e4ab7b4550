"""A measured series from its file to its score: posed, brought into one binding mode, relaxed, compared.

Poses and parameters go into a store, energies into files beside it, each as soon as it is there; a run that was
interrupted goes on where it stopped. A compound that cannot be computed is a line of the result and stops nothing.
"""

from __future__ import annotations

import dataclasses
import json
import os
import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from esr1md.dynamics.platforms import PlatformChoice
from esr1md.errors import Esr1mdError, InputError, StageError
from esr1md.ligand.parameters import parameters_identity
from esr1md.poses.request import Place
from esr1md.series.binding_mode import ABSENT, BindingMode
from esr1md.series.compounds import Compound, Form
from esr1md.specs import digest_of, file_digest, numeric_versions
from esr1md.store import Store
from esr1md.store.disk import beside
from esr1md.workers import PoolClosed, WorkerDied, WorkerPool

#: Seed of conformers and docking.
SEED = 1

Report = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Setting:
    """Where a series is computed and kept.

    Attributes
    ----------
    store
        Folder of the parameters and poses.
    energies
        Folder of one JSON file for each relaxed pose.
    receptor_pdb, state
        What is posed in, and whose references are used.
    receptor
        Digest of the receptor's file.
    exclude
        Reference poses that are not used, as for ``esr1md ligands pose``.
    platform
        Where energies are evaluated.
    retry
        Compute again what an earlier run recorded as failed.
    poses
        Poses of each form in the series' binding mode that are relaxed and scored, best first by what ranked them.
    """

    store: Path
    energies: Path
    receptor_pdb: Path
    state: Any
    receptor: str
    exclude: tuple[str, ...]
    platform: PlatformChoice
    retry: bool = False
    poses: int = 1


def setting_of(
    place: Place,
    out: Path,
    platform: PlatformChoice,
    *,
    exclude: Sequence[str] = (),
    retry: bool = False,
    poses: int = 1,
) -> Setting:
    """The setting of a receptor that lies in the output folder."""
    return Setting(out / "store", out / "energies", place.pdb, place.state, file_digest(place.pdb), tuple(exclude),
                   platform, retry, poses)  # fmt: skip


# -- one ligand, in a worker ---------------------------------------------------------------------------------


def pose_identity(form: Form, setting: Setting) -> dict[str, Any]:
    """What the poses of a form depend on."""
    versions = numeric_versions()
    return {
        "ligand": form.ligand.identity,
        "state": str(setting.state),
        "parameters": digest_of(parameters_identity(form.ligand, versions)),
        "receptor_pdb": setting.receptor,
        "options": {"seed": SEED, "exclude": list(setting.exclude), "anyway": True},
        "versions": versions,
    }


def place_form(form: Form, setting: Setting) -> str:
    """Parametrise and pose a form, or find it done; the digest of its poses. Called in a worker.

    Raises
    ------
    StageError
        No parameters or no pose, now or in the record of an earlier attempt.
    """
    from esr1md.ligand.parameters import LigandParameters, parametrise
    from esr1md.poses.place import place_ligand

    store, identity = Store(setting.store), pose_identity(form, setting)
    of_parameters = parameters_identity(form.ligand, identity["versions"])
    folder = store.produce("parameters", digest_of(of_parameters), lambda at: parametrise(form.ligand, at),
                           spec=of_parameters, retry=setting.retry)  # fmt: skip
    parameters = LigandParameters.from_folder(folder)
    store.produce(
        "poses", digest_of(identity),
        lambda at: place_ligand(form.ligand, parameters, setting.receptor_pdb, setting.state, at, seed=SEED,
                                exclude=setting.exclude, anyway=True),
        spec=identity, retry=setting.retry,
    )  # fmt: skip
    return digest_of(identity)


def energy_identity(poses: str, rank: int) -> dict[str, Any]:
    """What the energy of a pose depends on."""
    from esr1md.series import energy

    protocol = energy.series_protocol().model_dump(mode="json")
    used = {name: protocol[name] for name in ("protein", "ligand", "solvent", "scoring")}
    how = [energy.MOBILE_NM, energy.SHELL_NM, energy.ITERATIONS, energy.TOLERANCE, energy.HOLD.model_dump(mode="json")]
    return {"poses": poses, "rank": rank, "protocol": used, "relaxation": how, "versions": numeric_versions()}


def score_pose(form: Form, poses: str, rank: int, setting: Setting) -> dict[str, Any]:
    """Relax and score a pose, or read what an earlier run left. Called in a worker.

    Raises
    ------
    StageError
        As :func:`esr1md.series.energy.pose_energy`.
    """
    from esr1md.ligand.parameters import LigandParameters
    from esr1md.series import energy

    identity = energy_identity(poses, rank)
    path = setting.energies / f"{digest_of(identity)}.json"
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):  # absent, or of a run that was ended while writing it
        pass
    store = Store(setting.store)
    parameters = LigandParameters.from_folder(
        store.folder("parameters", digest_of(parameters_identity(form.ligand, numeric_versions())))
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    found = energy.pose_energy(
        setting.receptor_pdb, parameters, store.folder("poses", poses) / f"pose_{rank}.sdf", energy.series_protocol(),
        setting.platform, path.with_suffix(".pdb"),
    )  # fmt: skip
    record = {**dataclasses.asdict(found), "interaction": found.interaction, "binding": found.binding,
              "relaxed": path.with_suffix(".pdb").name, "spec": identity}  # fmt: skip
    with beside(path) as part:
        part.write_text(json.dumps(record, indent=1))
        os.replace(part, path)
    return record


# -- many ----------------------------------------------------------------------------------------------------


def compute(
    compounds: Sequence[Compound], setting: Setting, workers: int, report: Report
) -> tuple[list[dict[str, Any]], dict[str, BindingMode]]:
    """Pose and score every form of every compound.

    Returns
    -------
    results : list of dict
        One for each compound, in order: ``score`` (kcal/mol, ``None`` if it failed), its terms, which form and pose it
        is of, ``forms`` with all that was computed, ``failures``.
    modes : dict
        Binding mode by series.

    Raises
    ------
    InputError
        The disk is full or cannot be written to: no fault of a compound, so everything stops.
    """
    forms = [(i, k) for i, compound in enumerate(compounds) for k in range(len(compound.forms))]
    with WorkerPool(workers, log_folder=setting.store.parent / "logs") as pool:
        placed = _all(pool, place_form, [(compounds[i].forms[k], setting) for i, k in forms], workers, "posing", report)
        digests = {at: each for at, each in zip(forms, placed, strict=True) if isinstance(each, str)}
        failures = {at: str(each) for at, each in zip(forms, placed, strict=True) if not isinstance(each, str)}
        poses = {at: _poses(setting, digest) for at, digest in digests.items()}
        chosen, modes = _chosen(compounds, poses, setting.poses)
        tasks = [(at, rank) for at in digests for rank in chosen[at]]
        scored = _all(
            pool, score_pose, [(compounds[i].forms[k], digests[i, k], rank, setting) for (i, k), rank in tasks],
            workers, "scoring", report,
        )  # fmt: skip
    energies: dict[tuple[int, int], dict[int, Any]] = {}
    for (at, rank), each in zip(tasks, scored, strict=True):
        if isinstance(each, dict):
            energies.setdefault(at, {})[rank] = each
        else:
            failures[at] = str(each)
    return [
        _result(i, compound, digests, poses, chosen, energies, failures, modes) for i, compound in enumerate(compounds)
    ], modes


def _poses(setting: Setting, digest: str) -> list[dict[str, Any]]:
    """What was recorded of each pose, best first, with its molecule."""
    from rdkit import Chem

    folder = Store(setting.store).folder("poses", digest)
    rows = json.loads((folder / "record.json").read_text())["poses"]
    for row in rows:
        row["mol"] = next(iter(Chem.SDMolSupplier(str(folder / row["sdf"]), removeHs=False)))
    return rows


def _chosen(compounds: Sequence[Compound], poses: dict[tuple[int, int], list[dict[str, Any]]], most: int):
    """Ranks of the poses of each form that are scored, and the binding mode of each series."""
    from esr1md.series.binding_mode import PlacedLigand, shared_mode

    chosen, modes = {}, {}
    for series in dict.fromkeys(compound.series for compound in compounds):
        members = [at for at in poses if compounds[at[0]].series == series]
        placed = [
            PlacedLigand(
                poses[at][0]["mol"],
                tuple(row["mol"].GetConformer().GetPositions() for row in poses[at]),
                tuple(row["above_kcal"] for row in poses[at]),
            )
            for at in members
        ]
        modes[series] = mode = shared_mode(placed)
        for at, alike, ligand, rmsd in zip(members, mode.in_mode, placed, mode.rmsd, strict=True):
            near = [k for k in alike if ligand.above[k] <= ABSENT] or list(alike)
            chosen[at] = [k + 1 for k in near[:most]]
            for row, distance in zip(poses[at], rmsd, strict=True):
                row["mode_rmsd"] = None if distance != distance else round(distance, 2)
    return chosen, modes


def _result(i, compound, digests, poses, chosen, energies, failures, modes) -> dict[str, Any]:
    """What is kept of a compound."""
    from esr1md.series.compounds import state_penalty

    forms, best = [], None
    for k, form in enumerate(compound.forms):
        at = (i, k)
        row: dict[str, Any] = {
            "name": form.ligand.name, "smiles": form.ligand.smiles, "charge": form.ligand.formal_charge,
            "isomer": form.isomer, "share": form.share, "failure": failures.get(at),
        }  # fmt: skip
        if at in poses:
            row["poses_digest"] = digests[at]
            row["poses"] = [
                {**{name: each[name] for name in ("rank", "confidence", "reason", "reference", "vina_kcal",
                                                  "above_kcal", "mode_rmsd", "misfit")},
                 "energy": energies.get(at, {}).get(each["rank"])}
                for each in poses[at]
            ]  # fmt: skip
            penalty = state_penalty(form.share)
            for each in row["poses"]:
                if each["energy"] is None:
                    continue
                score = each["energy"]["binding"] + penalty
                if best is None or score < best[0]:
                    best = score, k, each, penalty
        forms.append(row)
    result: dict[str, Any] = {"score": None, "forms": forms, "notes": list(compound.notes)}
    result["failures"] = [f"{row['name']}: {row['failure']}" for row in forms if row["failure"]]
    if best is None:
        return result
    score, k, pose, penalty = best
    in_mode = pose["mode_rmsd"] is not None and (i, k) in chosen and _alike(pose)
    if modes[compound.series].scaffold and not in_mode:
        result["notes"].append("No pose in the binding mode of its series: scored where it lies.")
    if pose["misfit"]:
        result["notes"].append(pose["misfit"])
    return {
        **result, "score": score, "form": forms[k]["name"], "pose": pose["rank"], "state_penalty": penalty,
        "vina": pose["vina_kcal"], "confidence": pose["confidence"], "in_mode": in_mode,
        **{name: pose["energy"][name] for name in ("vdw", "coulomb", "gb", "surface", "strain", "interaction")},
    }  # fmt: skip


def _alike(pose: dict[str, Any]) -> bool:
    from esr1md.series.binding_mode import ALIKE

    return pose["mode_rmsd"] is not None and pose["mode_rmsd"] <= ALIKE


def _all(
    pool: WorkerPool, function: Callable, calls: Sequence[tuple], workers: int, step: str, report: Report
) -> list[Any]:
    """Answers of all calls in order; what could not be computed is its error in its place."""
    answers: list[Any] = [None] * len(calls)
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
    for number in range(len(calls)):
        waiting.put(number)
    finished: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()

    def work() -> None:
        try:
            while True:
                try:
                    number = waiting.get_nowait()
                except queue.Empty:
                    return
                answers[number] = _answer(pool, function, calls[number])
                finished.put(None)
        except BaseException as error:
            finished.put(error)

    threads = [threading.Thread(target=work, daemon=True) for _ in range(min(workers, len(calls)))]
    for thread in threads:
        thread.start()
    report(step, 0, len(calls))
    for done in range(1, len(calls) + 1):
        while True:
            try:
                said = finished.get(timeout=0.5)
                break
            except queue.Empty:  # so that Ctrl-C is heard
                continue
        if said is not None:
            raise said
        report(step, done, len(calls))
    return answers


def _answer(pool: WorkerPool, function: Callable, arguments: tuple) -> Any:
    try:
        return pool.call(function, *arguments)
    except (InputError, PoolClosed):
        raise
    except (Esr1mdError, WorkerDied) as error:
        return error
    except Exception as error:  # one bad compound never stops the rest; the table says what it was
        return StageError("series", f"unexpected {type(error).__name__}: {' '.join(str(error).split())[:300]}")
