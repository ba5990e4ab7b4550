"""Replicas of a store as the table that the simulation heads are trained on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from esr1md.scoring.cells import BINDING, HELIX12, CellKey, ReplicaObservation
from esr1md.specs import HelixState, Ligand
from esr1md.surrogate.affinity import AffinityModel
from esr1md.surrogate.features import APO_METRICS, ligand_features, state_features, variant_features

WILD_TYPE = "WT"
APO = "apo"
#: Score of each head: the mean of a cell's replicas, or that less the wild type's.
METRICS = {"binding": BINDING, "helix12": HELIX12}


@dataclass(frozen=True)
class CellTable:
    """Cells as arrays, n of them in the order of ``keys``.

    Attributes
    ----------
    keys
        (variant, ligand or ``apo``, state).
    ligand, variant, state : (n, L), (n, V), (n, S)
        Features (features.py).
    target : (n, 4)
        Of the heads of the model, NaN where not measured: scores in the rows of the wild type, shifts in the others.
    error : (n, 4)
        Standard error of each target by its replicas.
    """

    keys: tuple[CellKey, ...]
    ligand: np.ndarray
    variant: np.ndarray
    state: np.ndarray
    target: np.ndarray
    error: np.ndarray

    def take(self, rows: np.ndarray) -> CellTable:
        """The cells of a boolean mask (n,)."""
        keys = tuple(key for key, keep in zip(self.keys, rows, strict=True) if keep)
        arrays = (self.ligand, self.variant, self.state, self.target, self.error)
        return CellTable(keys, *(array[rows] for array in arrays))


def cell_table(
    observations: Sequence[ReplicaObservation], ligands: Mapping[str, Ligand], affinity: AffinityModel
) -> CellTable:
    """The cells of finished replicas, in an order that does not depend on how they came.

    Replicas of a cell are averaged; a shift is the mean over the seeds that cell and wild type share, or the difference
    of the means where they share none. Standard errors come from the spread of replicas within cells, pooled over the
    table, for two replicas say little of their own.
    """
    cells: dict[CellKey, dict[int, ReplicaObservation]] = {}
    for replica in sorted(observations, key=lambda o: (*o.cell, o.seed)):
        cells.setdefault(replica.cell, {})[replica.seed] = replica
    spread = {metric: _spread(cells, metric) for metric in METRICS.values()}
    apo = apo_changes(observations)
    target, error = np.full((len(cells), 4), np.nan), np.full((len(cells), 4), np.nan)
    for i, (variant, ligand, state) in enumerate(cells):
        for head, metric in enumerate(METRICS.values()):
            own = _values(cells[variant, ligand, state], metric)
            wild = _values(cells.get((WILD_TYPE, ligand, state), {}), metric)
            if variant == WILD_TYPE and own:
                target[i, 2 * head] = math.fsum(own.values()) / len(own)
                error[i, 2 * head] = spread[metric] / math.sqrt(len(own))
            elif own and wild:
                shared = sorted(set(own) & set(wild))
                if shared:
                    target[i, 2 * head + 1] = math.fsum(own[seed] - wild[seed] for seed in shared) / len(shared)
                else:
                    target[i, 2 * head + 1] = float(np.mean(list(own.values())) - np.mean(list(wild.values())))
                error[i, 2 * head + 1] = spread[metric] * math.sqrt(1 / len(own) + 1 / len(wild))
    of_ligand = {name: ligand_features(None if name == APO else ligands[name], affinity) for _, name, _ in cells}
    return CellTable(
        keys=tuple(cells),
        ligand=np.array([of_ligand[name] for _, name, _ in cells]),
        variant=np.array([variant_features(variant, apo.get(variant)) for variant, _, _ in cells]),
        state=np.array([state_features(state) for _, _, state in cells]),
        target=target,
        error=error,
    )


def apo_changes(observations: Sequence[ReplicaObservation]) -> dict[str, tuple[float, ...]]:
    """Variant -> change of :data:`~esr1md.surrogate.features.APO_METRICS` of its empty receptor from the wild type's.

    Agonist state; only variants of which, like of the wild type, all metrics were measured.
    """
    means: dict[str, list[float]] = {}
    for variant in {o.variant for o in observations}:
        own = [o for o in observations if o.cell == (variant, APO, str(HelixState.AGONIST))]
        values = [[float(o.summary.get(metric, math.nan)) for metric in APO_METRICS] for o in own]
        if values and np.isfinite(values).all():
            means[variant] = np.mean(values, axis=0).tolist()
    wild = means.pop(WILD_TYPE, None)
    if wild is None:
        return {}
    return {v: tuple(a - b for a, b in zip(own, wild, strict=True)) for v, own in sorted(means.items())}


def _values(replicas: Mapping[int, ReplicaObservation], metric: str) -> dict[int, float]:
    found = {seed: float(replica.summary.get(metric, math.nan)) for seed, replica in replicas.items()}
    return {seed: value for seed, value in found.items() if math.isfinite(value)}


def _spread(cells: Mapping[CellKey, Mapping[int, ReplicaObservation]], metric: str) -> float:
    """Standard deviation of a replica within its cell, pooled; 0 if no cell has two."""
    total, df = 0.0, 0
    for replicas in cells.values():
        values = list(_values(replicas, metric).values())
        if len(values) > 1:
            total += float(((np.array(values) - np.mean(values)) ** 2).sum())
            df += len(values) - 1
    return math.sqrt(total / df) if df else 0.0
