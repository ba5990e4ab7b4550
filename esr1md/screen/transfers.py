"""The relative free energies of a screen (``method: atm``): pairs of ligands, one repeat, the table at the end.

An edge is two ligands in one variant and helix-12 state; its repeats are steps of the screen beside the replicas, and
start from the same receptors and poses.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from esr1md.config import ScreenConfig
from esr1md.dynamics.protocol import Protocol
from esr1md.errors import InputError, StageError
from esr1md.screen.progress import Reporter, reported
from esr1md.screen.replica import Job, prepare_parameters, prepare_pose, prepare_receptor, receptor_of
from esr1md.screen.replica_log import ReplicaLog, replica_log
from esr1md.specs import HelixState, Ligand, digest_of
from esr1md.store.artifacts import Store

if TYPE_CHECKING:
    import pandas

KIND = "transfers"
TABLE, PAGES = "relative_free_energies.csv", "relative_free_energies"


@dataclass(frozen=True)
class TransferJob:
    """One repeat of an edge.

    Attributes
    ----------
    first, second
        Jobs of the two ligands in one variant and state with the repeat's seed: they say receptor, parameters, poses.
    sampling
        :class:`esr1md.dynamics.atm.Transfer` as data.
    """

    first: Job
    second: Job
    sampling: dict[str, Any] = dataclasses.field(hash=False)

    @property
    def identity(self) -> dict[str, Any]:
        return {"first": self.first.spec.identity, "second": self.second.spec.identity, "sampling": self.sampling}

    @property
    def digest(self) -> str:
        return digest_of(self.identity)

    @property
    def edge(self) -> dict[str, str]:
        """Variant, state and the names of the ligands, first to second."""
        cell = self.first.spec.cell
        return {
            "variant": cell.variant.name,
            "state": str(cell.state),
            "first": cell.ligand_name,
            "second": self.second.spec.cell.ligand_name,
        }

    @property
    def name(self) -> str:
        edge = self.edge
        return f"{edge['variant']}/{edge['first']} to {edge['second']}/{edge['state']}/{self.first.spec.seed}"


@dataclass(frozen=True)
class Network:
    """The edges of a screen: their repeats, how they are sampled, and pairs that were left out with the reason."""

    jobs: tuple[TransferJob, ...] = ()
    sampling: Any = None
    left_out: tuple[str, ...] = ()

    @property
    def edges(self) -> int:
        return len({tuple(job.edge.values()) for job in self.jobs})

    def price(self, time_step_fs: float) -> tuple[float, str]:
        """GPU hours, and the sentence of the plan."""
        from esr1md.dynamics.atm import price

        repeats = len(self.jobs) // max(1, self.edges)
        return price(self.sampling, self.edges, repeats, time_step_fs)

    def to_json(self, time_step_fs: float) -> dict[str, Any]:
        """For ``plan.json`` and the dry run."""
        hours, said = self.price(time_step_fs)
        return {
            "edges": self.edges,
            "gpu_hours": round(hours, 1),
            "summary": said,
            "left_out": list(self.left_out),
            "repeats": [{"digest": job.digest, "name": job.name, **job.edge} for job in self.jobs],
        }


def network_of(
    config: ScreenConfig,
    protocol: Protocol,
    jobs: Sequence[Job],
    references: dict[HelixState, str],
) -> Network:
    """The edges that a configuration asks for, checked.

    Parameters
    ----------
    jobs
        Every replica of the matrix: an edge needs both of its ligands in one variant and state, by the same seed.
    references
        Reference ligand of each state, from which the edges go out unless the configuration lists them.

    Raises
    ------
    InputError
        A protocol or a listed pair that cannot be computed, a ligand that is not in the screen, more repeats than
        replicas, or no edge at all.
    """
    if config.method != "atm":
        return Network()
    from esr1md.dynamics.atm import Transfer
    from esr1md.dynamics.atm_pair import check_ligands, check_protocol

    chosen = config.transfers
    check_protocol(protocol)
    try:
        sampling = Transfer.model_validate(chosen.sampling)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "sampling"
        raise InputError(
            f"transfers.sampling: {key}: {first['msg']}", expected=f"keys {', '.join(Transfer.model_fields)}"
        ) from None
    if chosen.repeats > config.replicas:
        raise InputError(
            f"{chosen.repeats} repeats of each edge and {config.replicas} replicas",
            expected="repeats from 1 to the number of replicas, whose seeds and poses they share",
        )
    seeds = config.seeds[: chosen.repeats]
    bound = {
        (job.spec.cell.variant.name, job.spec.cell.state, job.spec.cell.ligand_name, job.spec.seed): job
        for job in jobs
        if job.spec.cell.ligand is not None
    }
    places = list(dict.fromkeys((variant, state) for variant, state, _, _ in bound))
    ligands = {job.spec.cell.ligand_name: job.spec.cell.ligand for job in bound.values()}
    found: list[TransferJob] = []
    left_out: list[str] = []
    for variant, state in places:
        here = [name for name in ligands if (variant, state, name, seeds[0]) in bound]
        for first, second in _pairs(chosen.edges, here, references.get(state), ligands):
            try:
                check_ligands(ligands[first], ligands[second])
            except InputError as error:
                if chosen.edges != "reference":
                    raise
                left_out.append(f"{first} to {second}: {error.what}")
                continue
            found += [
                TransferJob(
                    bound[variant, state, first, seed], bound[variant, state, second, seed], sampling.model_dump()
                )
                for seed in seeds
            ]
    if not found:
        why = "; ".join(dict.fromkeys(left_out)) or "no state has two of the ligands that are named"
        raise InputError(
            f"method atm finds no pair of ligands to compare ({why})",
            expected="a reference_ligand with other ligands in its state, or transfers.edges",
        )
    order = {seed: i for i, seed in enumerate(seeds)}
    found.sort(key=lambda job: order[job.first.spec.seed])
    return Network(tuple(found), sampling, tuple(dict.fromkeys(left_out)))


def _pairs(
    edges: str | tuple[tuple[str, str], ...], here: list[str], reference: str | None, ligands: dict[str, Ligand]
) -> list[tuple[str, str]]:
    """The edges among the ligands of one variant and state."""
    if edges == "reference":
        return [(reference, name) for name in here if reference in here and name != reference]
    for pair in edges:
        for name in pair:
            if name not in ligands:
                raise InputError(f"transfers.edges names '{name}'", expected=f"one of {', '.join(ligands)}")
    return [(first, second) for first, second in edges if first in here and second in here]


def run_transfer(job: TransferJob, store_root: Path, platform: Any, packing: Any = None) -> None:
    """Compute one repeat of an edge, or find it computed; a failure is left in the store as a record.

    Raises
    ------
    InputError
        The store cannot be written to.
    """
    store = Store(store_root)
    if store.find(KIND, job.digest) is not None:
        return
    from esr1md.dynamics.atm import Transfer

    settings = Transfer.model_validate(job.sampling)

    def make(folder: Path) -> None:
        with (
            reported(store, job.digest, job.name, settings.total_ps) as report,
            replica_log(folder, store.folder(KIND, job.digest), name=job.name) as log,
        ):
            _compute(store, job, settings, platform, packing, folder, report, log)

    try:
        store.produce(KIND, job.digest, make, spec=job.identity)
    except StageError:
        pass  # kept by the store: the table at the end shows it


def _compute(
    store: Store, job: TransferJob, settings: Any, platform: Any, packing: Any, folder: Path,
    report: Reporter, log: ReplicaLog,
) -> None:  # fmt: skip
    from esr1md.complex import build_complex
    from esr1md.dynamics.atm_pair import pose_on_core, transfer_of
    from esr1md.dynamics.atm_run import sample
    from esr1md.dynamics.slots import Packing, held

    protocol = Protocol.model_validate({**job.first.spec.protocol, "name": job.first.protocol})
    report("preparing", 0.0)
    receptor = prepare_receptor(store, receptor_of(job.first))
    both = (job.first, job.second)
    parameters = [prepare_parameters(store, each) for each in both]
    poses = [prepare_pose(store, each).sdf for each in both]
    names = (job.edge["first"], job.edge["second"])
    record: dict[str, Any] = {**job.edge, "name": job.name, "second_pose": "its own"}

    def transfer() -> Any:
        complexes = tuple(
            build_complex(receptor.pdb, one, pose, protocol) for one, pose in zip(parameters, poses, strict=True)
        )
        return transfer_of(complexes, tuple(poses), protocol, settings, names=names)

    try:
        try:
            edge = transfer()
        except InputError as apart:
            if "apart" not in apart.what:
                raise
            # the two poses put their common core in different places: the second starts where the first has it
            poses[1] = pose_on_core(parameters[1], poses[0], folder / "second_pose.sdf")
            record["second_pose"] = f"laid on that of {names[0]}, because {apart.what}"
            edge = transfer()
    except InputError as refused:
        raise StageError("transfer", refused.what, where=refused.where, kind="outcome") from refused
    share = packing or Packing(1, 1, per_device=1)
    with held(platform, share.per_device, share.devices, waiting=lambda said: report("waiting", 0.0)) as chosen:
        report.keep(platform=chosen.name)
        log("platform", name=chosen.name, reason=chosen.reason)
        done = sample(
            edge,
            seed=job.first.spec.seed,
            platform=chosen,
            folder=folder,
            temperature_kelvin=protocol.temperature_kelvin,
            friction_per_ps=protocol.friction_per_ps,
            time_step_fs=protocol.time_step_fs,
            progress=report,
        )
    record["transfer"] = dataclasses.asdict(done)
    (folder / "record.json").write_text(json.dumps(record, indent=1) + "\n")


def write_relative_free_energies(plan: dict[str, Any], store: Store, folder: Path) -> pandas.DataFrame:
    """Write ``relative_free_energies.csv`` and a page for each edge from what has finished of a plan's repeats.

    Returns
    -------
    A row for each edge: dG(binding) of the second ligand minus the first (kcal/mol, negative where the second binds the
    more strongly) with its interval over repeats, whether it has converged, and why not; what failed is said there.
    """
    import pandas

    from esr1md.analysis.relative_free_energy import analyse, combine
    from esr1md.dynamics.atm import Transfer
    from esr1md.dynamics.atm_run import read_samples
    from esr1md.report.relative_free_energy import write_convergence

    settings = Transfer.model_validate(plan["config"]["transfers"]["sampling"])
    temperature = plan["protocol"]["temperature_kelvin"]
    edges: dict[tuple[str, ...], list] = {}
    failed: dict[tuple[str, ...], list[str]] = {}
    for repeat in plan["transfers"]["repeats"]:
        key = tuple(repeat[name] for name in ("variant", "state", "first", "second"))
        edges.setdefault(key, [])
        done = store.find(KIND, repeat["digest"])
        if done is not None:
            edges[key].append(analyse(read_samples(done), settings, temperature))
        elif (failure := store.failure(KIND, repeat["digest"])) is not None:
            failed.setdefault(key, []).append(failure["cause"])
    rows = []
    for key, repeats in edges.items():
        variant, state, first, second = key
        causes = "; ".join(dict.fromkeys(failed.get(key, [])))
        row: dict[str, Any] = {"variant": variant, "state": state, "first": first, "second": second,
                               "repeats": len(repeats), "failed": len(failed.get(key, []))}  # fmt: skip
        if repeats:
            together = combine(repeats)
            low, high = together.interval_kcal or (None, None)
            page = folder / PAGES / f"{variant}_{state}_{first}_{second}.html".replace("/", "_")
            page.parent.mkdir(parents=True, exist_ok=True)
            write_convergence(repeats, together, page, title=f"{variant}, {state}: {first} to {second}")
            row |= {"second_less_first_kcal": together.difference_kcal, "low_kcal": low, "high_kcal": high,
                    "converged": together.converged,
                    "reason": together.reason + (f"; failed: {causes}" if causes else "")}  # fmt: skip
        else:
            row |= {"second_less_first_kcal": None, "low_kcal": None, "high_kcal": None, "converged": False,
                    "reason": causes or "no repeat has finished"}  # fmt: skip
        rows.append(row)
    table = pandas.DataFrame(rows)
    table.to_csv(folder / TABLE, index=False)
    return table
