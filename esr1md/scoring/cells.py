"""Replicas -> the score of every cell, and the spread that the cells of a screen share."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from esr1md.analysis.statistics import (
    Noise,
    block_noise,
    bootstrap_interval,
    moderated,
    sample_noise,
    seed_effect,
)
from esr1md.ligand.labels import labels
from esr1md.scoring.scores import CellScore, Failure, Score
from esr1md.specs import Ligand

#: Names in a replica's summary of the two scores; every other entry is a metric.
BINDING, HELIX12 = "binding_kcal", "helix12_angstrom"
#: Free energy of the simulated solute, and of the free ligand, where a protocol asks for three trajectories.
SOLUTE, FREE_LIGAND = "solute_kcal", "free_ligand_kcal"

#: (variant, ligand, state) of a cell.
CellKey = tuple[str, str, str]


@dataclass(frozen=True)
class ReplicaObservation:
    """What one finished replica says, as scoring needs it.

    Attributes
    ----------
    digest
        Digest of the replica's spec: the name of its folder.
    variant, ligand, state
        The cell by name; ``ligand`` is ``apo`` without one.
    seed
        Shared by the variants and ligands of a screen, so that differences pair.
    summary
        Means over the frames (``summary.json``); binding is absent for apo.
    pose_confidence, pose_reason, pose_reference
        How sure the starting pose is, why, and the crystal ligand it was placed by.
    pose_label
        For a covalent ligand or a degrader: where its warhead or its ligase binder was at the start.
    """

    digest: str
    variant: str
    ligand: str
    state: str
    seed: int
    summary: Mapping[str, float] = field(hash=False)
    pose_confidence: str = ""
    pose_reason: str = ""
    pose_reference: str = ""
    pose_label: str = ""

    @property
    def cell(self) -> CellKey:
        return self.variant, self.ligand, self.state


@dataclass(frozen=True)
class Matrix:
    """The replicas of a screen by cell and seed, in an order that does not depend on how they came.

    ``replicas`` holds every cell that was tried (one that only failed has no seeds); ``failed`` counts
    the failures of a cell.
    """

    replicas: dict[CellKey, dict[int, ReplicaObservation]]
    failed: dict[CellKey, int]

    def values(self, cell: CellKey, metric: str) -> dict[int, float]:
        """Seed -> value of ``metric`` for the replicas of ``cell`` that have it; empty for a cell not run."""
        return {
            seed: float(replica.summary[metric])
            for seed, replica in self.replicas.get(cell, {}).items()
            if math.isfinite(replica.summary.get(metric, math.nan))
        }

    def names(self, index: int) -> list[str]:
        """The variants (0), ligands (1) or states (2) in the order of the matrix."""
        return list(dict.fromkeys(cell[index] for cell in self.replicas))


def variant_order(name: str) -> tuple:
    """Sort key: the wild type, then single mutants by position, then combinations."""
    parts = [] if name == "WT" else name.split("+")
    return len(parts), [(int("".join(c for c in p if c.isdigit()) or 0), p) for p in parts]


def matrix(
    observations: Sequence[ReplicaObservation], failures: Sequence[Failure], ligand_order: Iterable[str]
) -> Matrix:
    """Sort replicas and failures into cells.

    Raises
    ------
    ValueError
        If two replicas claim the same cell and seed.
    """
    order = {name: i for i, name in enumerate(ligand_order)}

    def key(cell: CellKey) -> tuple:
        variant, ligand, state = cell
        return variant_order(variant), order.get(ligand, len(order)), ligand, state

    failed: dict[CellKey, int] = {}
    for failure in failures:
        if failure.variant and failure.ligand and failure.state:
            cell = (failure.variant, failure.ligand, failure.state)
            failed[cell] = failed.get(cell, 0) + 1
    cells = sorted({o.cell for o in observations} | set(failed), key=key)
    replicas: dict[CellKey, dict[int, ReplicaObservation]] = {cell: {} for cell in cells}
    for replica in sorted(observations, key=lambda o: (o.seed, o.digest)):
        if replica.seed in replicas[replica.cell]:
            raise ValueError(f"two replicas of {'/'.join(replica.cell)} with seed {replica.seed}")
        replicas[replica.cell][replica.seed] = replica
    return Matrix(_three_trajectories(replicas), failed)


def _three_trajectories(
    replicas: dict[CellKey, dict[int, ReplicaObservation]],
) -> dict[CellKey, dict[int, ReplicaObservation]]:
    """Binding from three trajectories where the free ligand was simulated: complex - apo - ligand of the same seed.

    The energy of the one trajectory stays as ``binding_single_kcal``. Without the apo replica of its variant, state and
    seed a replica has no binding.
    """

    def changed(cell: CellKey, replica: ReplicaObservation) -> ReplicaObservation:
        summary = dict(replica.summary)
        if FREE_LIGAND not in summary:
            return replica
        single = summary.pop(BINDING, math.nan)
        apo = replicas.get((cell[0], "apo", cell[2]), {}).get(replica.seed)
        if apo is not None and SOLUTE in apo.summary:
            summary[BINDING] = summary[SOLUTE] - apo.summary[SOLUTE] - summary[FREE_LIGAND]
        return replace(replica, summary={**summary, "binding_single_kcal": single})

    return {cell: {seed: changed(cell, r) for seed, r in own.items()} for cell, own in replicas.items()}


def unit_of(metric: str) -> str:
    """Unit of a summary entry, which its name ends with."""
    endings = {
        "_kcal": "kcal/mol",
        "_angstrom": "angstrom",
        "_angstrom2": "angstrom^2",
        "_ps": "ps",
        "frames": "count",
        "_ratio": "ratio",
    }
    for ending, unit in endings.items():
        if metric.endswith(ending):
            return unit
    return "fraction"


def score_of(values: Mapping[int, float], unit: str, noise: Noise | None) -> Score | None:
    """Mean of the replicas with its interval; ``None`` without replicas, no interval with one."""
    if not values:
        return None
    numbers = list(values.values())
    low, high = bootstrap_interval(numbers, noise=noise) or (None, None)
    mean = math.fsum(numbers) / len(numbers)
    return Score(value=mean, low=low, high=high, n_replicas=len(numbers), unit=unit)


def cell_noise(cells: Matrix, metric: str) -> dict[CellKey, Noise | None]:
    """Spread of a single replica of each cell, moderated over the cells of the screen.

    If the seeds shift all cells alike, the cells are no independent witnesses, and each keeps its own spread.
    """
    block = {"/".join(cell): cells.values(cell, metric) for cell in cells.replicas}
    own = [sample_noise(list(values.values())) for values in block.values()]
    shared = own if seed_effect(block) < 0.01 else moderated(own)
    return dict(zip(cells.replicas, shared, strict=True))


def difference_noise(
    cells: Matrix, metric: str, block_of: Callable[[CellKey], tuple], label_of: Callable[[CellKey], str]
) -> dict[tuple, Noise | None]:
    """Spread of a single difference between two cells of a block, moderated over the blocks of the screen.

    ``block_of`` names the block a cell is compared in, (ligand, state) for mutant against wild type, and
    ``label_of`` the cell within it.
    """
    blocks: dict[tuple, dict[str, dict[int, float]]] = {}
    for cell in cells.replicas:
        if values := cells.values(cell, metric):
            blocks.setdefault(block_of(cell), {})[label_of(cell)] = values
    residual = moderated([block_noise(block) for block in blocks.values()])
    return {
        block: noise and Noise(math.sqrt(2) * noise.sd, noise.df) for block, noise in zip(blocks, residual, strict=True)
    }


def reader_notes(ligand: Ligand | None, replicas: Iterable[ReplicaObservation]) -> list[str]:
    """What stands beside every number of a ligand: its labels, and those of the poses that the replicas began with."""
    of_poses = dict.fromkeys(replica.pose_label for replica in replicas if replica.pose_label)
    return [*(labels(ligand) if ligand else ()), *of_poses]


def score_cells(
    cells: Matrix,
    relative: Mapping[CellKey, Score | None],
    helix12: Mapping[CellKey, tuple[Score | None, Score | None]],
    ligands: Mapping[str, Ligand],
) -> tuple[CellScore, ...]:
    """The record of every cell.

    ``relative`` is its binding relative to the reference ligand, ``helix12`` how far helix 12 is from the active
    place over the hormone and over apo.
    """
    metrics = sorted(
        {
            name
            for replicas in cells.replicas.values()
            for replica in replicas.values()
            for name in replica.summary
            if name not in (BINDING, HELIX12)
        }
    )
    noise = {metric: cell_noise(cells, metric) for metric in (BINDING, HELIX12, *metrics)}

    def scored(cell: CellKey, metric: str) -> Score | None:
        return score_of(cells.values(cell, metric), unit_of(metric), noise[metric][cell])

    records = []
    for cell, replicas in cells.replicas.items():
        # The weakest pose speaks for the cell: replicas of one cell may have been placed differently.
        order = {"low": 0, "medium": 1, "high": 2}
        pose = min(replicas.values(), key=lambda r: order.get(r.pose_confidence, 3), default=None)
        records.append(
            CellScore(
                variant=cell[0],
                ligand=cell[1],
                state=cell[2],
                n_replicas=len(replicas),
                n_failed=cells.failed.get(cell, 0),
                binding=scored(cell, BINDING),
                binding_relative=relative.get(cell),
                helix12=scored(cell, HELIX12),
                helix12_over_hormone=helix12[cell][0],
                helix12_over_apo=helix12[cell][1],
                metrics={name: score for name in metrics if (score := scored(cell, name)) is not None},
                pose_confidence=pose.pose_confidence if pose else "",
                pose_reason=pose.pose_reason if pose else "",
                pose_reference=pose.pose_reference if pose else "",
                notes="; ".join(reader_notes(ligands.get(cell[1]), replicas.values())),
                replicas=tuple(r.digest for r in replicas.values()),
            )
        )
    return tuple(records)
