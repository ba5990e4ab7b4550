"""One replica from its spec to its record, every step of it kept in the store and computed once.

The receptor, the ligand's parameters and its pose are shared by many replicas and have digests of their own. Poses
are made on the *wild-type* model of the helix-12 state and used for every variant, so that a mutant and the wild
type start alike and their difference is the mutation's.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from esr1md.errors import StageError
from esr1md.ligand.parameters import parameters_identity as ligand_parameters_identity
from esr1md.scoring.cells import FREE_LIGAND
from esr1md.screen.progress import Progress, Reporter, reported, rounded
from esr1md.screen.replica_log import ReplicaLog, replica_log
from esr1md.specs import WILD_TYPE, HelixState, ReplicaSpec, Variant, digest_of
from esr1md.store.artifacts import Busy, Store
from esr1md.store.records import replica_row

#: Packages that decide a receptor; a replica depends on all of them.
_RECEPTOR_PACKAGES = ("openmm", "esr1md-science")


@dataclass(frozen=True)
class Job:
    """A replica and what is needed to compute it that is not part of its identity.

    Attributes
    ----------
    spec
        The replica.
    protocol
        The protocol's name, for tables (its content is in the spec).
    source
        The user's structure file that the receptor is built from; ``None`` for the bundled model.
    """

    spec: ReplicaSpec
    protocol: str
    source: Path | None = None


@dataclass(frozen=True)
class Receptor:
    """What a receptor folder is made from."""

    variant: Variant
    state: HelixState
    source_digest: str
    versions: dict[str, str] = dataclasses.field(hash=False)
    source: Path | None = None

    @property
    def identity(self) -> dict[str, Any]:
        return {
            "variant": self.variant.name,
            "state": str(self.state),
            "source": self.source_digest,
            "versions": {name: version for name, version in self.versions.items() if name in _RECEPTOR_PACKAGES},
        }

    @property
    def digest(self) -> str:
        return digest_of(self.identity)


def receptor_of(job: Job) -> Receptor:
    """The receptor a replica is simulated with."""
    spec = job.spec
    return Receptor(spec.cell.variant, spec.cell.state, spec.receptor_source, spec.versions, job.source)


def pose_receptor_of(job: Job) -> Receptor:
    """The wild-type receptor of the same state and source, in which the ligand is placed."""
    return dataclasses.replace(receptor_of(job), variant=WILD_TYPE)


def parameters_identity(job: Job) -> dict[str, Any]:
    """What the parameters of a replica's ligand depend on."""
    return ligand_parameters_identity(job.spec.cell.ligand, job.spec.versions, job.spec.charges)


def pose_identity(job: Job) -> dict[str, Any]:
    """What the starting pose of a replica depends on."""
    return {
        "ligand": job.spec.cell.ligand.identity,
        "state": str(job.spec.cell.state),
        "parameters": digest_of(parameters_identity(job)),
        "receptor": pose_receptor_of(job).digest,
        "options": {name: value for name, value in job.spec.pose.items() if name != "rank"},
        "versions": job.spec.versions,
    }


# -- the shared preparations: each returns its record, computing it if nobody has ------------------------------


def prepare_receptor(store: Store, receptor: Receptor):
    """The :class:`~esr1md.receptor.build.ReceptorModel` of a receptor, from the store or built.

    Raises
    ------
    StageError
        The model is bad, now or in the record of an earlier attempt.
    InputError
        The user's structure cannot be used.
    """
    from esr1md.receptor.build import ReceptorModel, build_receptor

    def make(folder: Path) -> None:
        model = build_receptor(receptor.variant, receptor.state, folder, source=receptor.source)
        _write(folder / "record.json", model.to_json())

    folder = store.produce("receptors", receptor.digest, make, spec=receptor.identity)
    return ReceptorModel.from_json(json.loads((folder / "record.json").read_text()), folder)


def prepare_parameters(store: Store, job: Job):
    """The :class:`~esr1md.ligand.parameters.LigandParameters` of a replica's ligand; raises ``StageError``."""
    from esr1md.ligand.parameters import LigandParameters, parametrise

    identity = parameters_identity(job)
    folder = store.produce(
        "parameters",
        digest_of(identity),
        lambda folder: parametrise(job.spec.cell.ligand, folder, job.spec.charges),
        spec=identity,
    )
    return LigandParameters.from_folder(folder)


def prepare_pose(store: Store, job: Job):
    """The starting :class:`~esr1md.poses.place.Pose` of a replica.

    Raises
    ------
    StageError
        The ligand does not fit the state (an outcome, not an error), or what it needs has failed.
    """
    from esr1md.poses.place import Pose, place_ligand

    identity = pose_identity(job)
    digest = digest_of(identity)
    if store.find("poses", digest) is None:
        receptor = prepare_receptor(store, pose_receptor_of(job))
        parameters = prepare_parameters(store, job)
        cell = job.spec.cell
        options = {**identity["options"], "exclude": tuple(job.spec.pose.get("exclude", ()))}
        store.produce(
            "poses",
            digest,
            lambda folder: place_ligand(cell.ligand, parameters, receptor.pdb, cell.state, folder, **options),
            spec=identity,
        )
    return Pose.from_folder(store.folder("poses", digest), job.spec.pose.get("rank", 1))


# -- the replica -----------------------------------------------------------------------------------------------


def run_replica(
    job: Job,
    store_root: Path,
    platform: Any,
    packing: Any = None,
    *,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Compute a replica, or find it computed, and return its row of the index; scientific failures are rows too.

    Parameters
    ----------
    job
        The replica.
    store_root
        The store. ``progress/DIGEST.json`` there says what is being done while it is being done.
    platform
        From :func:`esr1md.dynamics.platforms.choose_platform`.
    packing
        How simulations share the machine's GPUs (:class:`esr1md.dynamics.slots.Packing`); one on each if not given.
    progress
        Called with the stage and the finished fraction (0 to 1) of the dynamics.

    Returns
    -------
    dict
        :func:`esr1md.store.records.replica_row`: ``status`` is ``done`` or ``failed``; or ``busy``, and no more than
        the digest, where another process has the replica in hand.

    Raises
    ------
    InputError
        The store cannot be written to, its disk is full, or the user's structure cannot be used.
    """
    store = Store(store_root)
    spec = job.spec
    if store.find("replicas", spec.digest) is None:
        dynamics_ps = sum(stage.get("duration_ps", 0.0) for stage in spec.protocol["stages"])

        def make(folder: Path) -> None:
            with (
                reported(store, spec.digest, spec.name, dynamics_ps, progress) as report,
                replica_log(folder, store.folder("replicas", spec.digest), name=spec.name) as log,
            ):
                _compute(store, job, platform, packing, folder, report, log)

        try:
            store.produce("replicas", spec.digest, make, spec=spec.identity, wait=False)
        except Busy:
            return {"digest": spec.digest, "status": "busy"}
        except StageError:
            pass  # kept by the store: the row below shows it
    return replica_row(store.folder("replicas", spec.digest))


def _compute(
    store: Store, job: Job, platform: Any, packing: Any, folder: Path, report: Reporter, log: ReplicaLog
) -> None:
    spec, cell = job.spec, job.spec.cell
    record: dict[str, Any] = {
        "name": spec.name,
        "variant": cell.variant.name,
        "ligand": cell.ligand_name,
        "state": str(cell.state),
        "seed": spec.seed,
        "protocol": job.protocol,
        "platform": platform.name,
    }
    _write(folder / "record.json", record)  # a failed replica is shown by name as well
    seconds: dict[str, float] = {}
    started = time.perf_counter()

    @contextmanager
    def stage(name: str) -> Iterator[None]:
        begun = time.perf_counter()
        report(name, 0.0)
        log("stage begun", stage=name)
        try:
            yield
        except StageError:
            raise
        except Exception as error:
            error.stage = name  # a fault is shown at the stage it happened in
            raise
        finally:
            seconds[name] = round(time.perf_counter() - begun, 3)
            log("stage ended", stage=name, seconds=seconds[name])

    def note(event: str, **fields: Any) -> None:
        if event == "device":
            report.keep(platform=fields["platform"], device=fields["device"])
        elif event == "checkpoint":
            fields |= {"fraction": round(report.fraction, 4), "ns_per_day": rounded(report.ns_per_day)}
        log(event, **fields)

    waiting: list[str] = []

    def wait(said: str) -> None:
        if not waiting:
            waiting.append(said)
            log("slot waiting", reason=said)
        report("waiting", 0.0)

    with stage("receptor"):
        from esr1md.analysis.observe import observe
        from esr1md.complex import build_complex
        from esr1md.dynamics.platforms import verify
        from esr1md.dynamics.protocol import Protocol
        from esr1md.dynamics.run import remove_checkpoint, simulate
        from esr1md.dynamics.slots import GPU_PLATFORMS, Packing, held

        protocol = Protocol.model_validate({**spec.protocol, "name": job.protocol})
        receptor = prepare_receptor(store, receptor_of(job))
    parameters = pose = None
    if cell.ligand is not None:
        with stage("parameters"):
            parameters = prepare_parameters(store, job)
        with stage("pose"):
            pose = prepare_pose(store, job)
        record["pose"] = {
            "confidence": pose.confidence,
            "reason": pose.reason,
            "reference": pose.reference,
            "rank": pose.rank,
            "label": pose.label,
            "digest": pose.sdf.parent.name,
        }
        record["parameters"] = {"digest": parameters.sdf.parent.name, "warnings": list(parameters.warnings)}
        for said in parameters.warnings:
            log("warning", message=said, category="parameters")
    record["receptor"] = {"digest": receptor.pdb.parent.name, "source": receptor.source}
    with stage("complex"):
        complex_ = build_complex(receptor.pdb, parameters, pose and pose.sdf, protocol, seed=spec.seed)
        kind = {"protocol": digest_of(spec.protocol), "thousand_atoms": len(complex_.positions) // 1000}
        platform = verify(platform, complex_.system, complex_.positions, known=store.root / "platforms", key=kind)
        record["platform"] = platform.name
        log("platform", name=platform.name, reason=platform.reason, atoms=len(complex_.positions))
    with ExitStack() as slot:
        waited = datetime.now(UTC).isoformat(timespec="milliseconds")
        with stage("waiting"):
            share = packing or Packing(1, 1, per_device=1)
            platform = slot.enter_context(held(platform, share.per_device, share.devices, waiting=wait))
            if platform.name in GPU_PLATFORMS:
                log("slot taken", per_device=share.per_device, properties=platform.properties)
        with stage("dynamics"):
            simulation = simulate(
                complex_, protocol, seed=spec.seed, platform=platform, folder=folder, progress=report,
                note=note, keep_checkpoint=True,
            )  # fmt: skip
        with stage("analysis"):
            report("analysis", 1.0)
            summary = observe(folder, complex_, protocol, platform, ligand_sdf=parameters and parameters.sdf)
        if parameters is not None and protocol.scoring.trajectories == "three":
            with stage("free ligand"):
                alone = _free_ligand(parameters, protocol, spec.seed, platform, folder / "ligand", report, log)
                _write(folder / "summary.json", summary | {FREE_LIGAND: alone})
    remove_checkpoint(folder)
    record["simulation"] = dataclasses.asdict(simulation)
    record["simulation"]["timeline"].insert(0, {"phase": "waiting", "started": waited, "seconds": seconds["waiting"]})
    record["stage_seconds"] = seconds
    record["seconds"] = round(time.perf_counter() - started, 3)
    _write(folder / "record.json", record)


def _free_ligand(
    parameters: Any, protocol: Any, seed: int, platform: Any, folder: Path, report: Reporter, log: ReplicaLog
) -> float:
    """Free energy (kcal/mol) of the ligand alone in the same solvent, for three-trajectory MM/GBSA."""
    from esr1md.analysis.three_trajectory import free_ligand_protocol, observe_free_ligand
    from esr1md.complex import build_complex
    from esr1md.dynamics.run import remove_checkpoint, simulate

    alone = free_ligand_protocol(protocol)
    free = build_complex(None, parameters, parameters.sdf, alone, seed=seed)
    simulate(
        free, alone, seed=seed, platform=platform, folder=folder, keep_checkpoint=True,
        progress=lambda said, fraction: report("free ligand", fraction),
        note=lambda event, **fields: log(event, **fields, molecule="free ligand"),
    )  # fmt: skip
    value = observe_free_ligand(folder, free, protocol, platform)
    remove_checkpoint(folder)
    return value


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1) + "\n")
