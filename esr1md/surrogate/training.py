"""Train the surrogate on the replicas of a screen, and measure what it is worth on ligands it has not seen."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from esr1md.scoring.cells import BINDING, HELIX12, CellKey, ReplicaObservation
from esr1md.specs import Ligand
from esr1md.surrogate.card import Card, HeadError, Surrogate, limits_of, save
from esr1md.surrogate.features import (
    FINGERPRINT_BITS,
    STATES,
    ligand_features,
    state_features,
    variant_features,
)
from esr1md.surrogate.model import HEADS, SurrogateModel

#: Fewer replicas or ligands than this teach nothing.
FEWEST_REPLICAS, FEWEST_LIGANDS = 6, 3
MEMBERS, HIDDEN, MOST_COMPONENTS = 5, 32, 16
STEPS, LEARNING_RATE, WEIGHT_DECAY = 250, 0.02, 0.02
#: Ligands are left out one by one, or in this many groups when there are more.
MOST_FOLDS = 12


@dataclass(frozen=True)
class CellTable:
    """Cells as arrays: features (n, L), (n, V), (n, S), targets (n, 2) with NaN where not measured."""

    keys: tuple[CellKey, ...]
    ligand: np.ndarray
    variant: np.ndarray
    state: np.ndarray
    target: np.ndarray
    weight: np.ndarray

    def take(self, rows: np.ndarray) -> CellTable:
        """The cells of a boolean mask (n,)."""
        keys = tuple(key for key, keep in zip(self.keys, rows, strict=True) if keep)
        arrays = (self.ligand, self.variant, self.state, self.target, self.weight)
        return CellTable(keys, *(array[rows] for array in arrays))

    def tensors(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        return torch.from_numpy(self.ligand), torch.from_numpy(self.variant), torch.from_numpy(self.state)


def train(
    observations: Sequence[ReplicaObservation], ligands: Mapping[str, Ligand], folder: Path, seed: int = 0
) -> tuple[Surrogate | None, tuple[str, ...]]:
    """Train on cell means, estimate the error on unseen ligands, save weights and card.

    Parameters
    ----------
    observations
        Finished replicas of one screen (one protocol), in any order.
    ligands
        Name -> ligand, for every ligand observed.
    folder
        Receives ``model.safetensors``, ``card.json`` and ``card.md``; made if need be.
    seed
        Same seed and replicas: same model.

    Returns
    -------
    (surrogate, limits)
        ``None`` when there is too little to learn from; ``limits`` are sentences for the ranking: why there is
        no surrogate, or what it is not worth.

    Raises
    ------
    ValueError
        If a ligand observed is not in ``ligands``.
    """
    usable = [o for o in observations if o.ligand == "apo" or BINDING in o.summary]
    names = {o.ligand for o in usable} - {"apo"}
    if unknown := sorted(names - set(ligands)):
        raise ValueError(f"no structure given for {', '.join(unknown)}")
    if len(usable) < FEWEST_REPLICAS or len(names) < FEWEST_LIGANDS:
        return None, (
            f"No predictions: the surrogate needs at least {FEWEST_REPLICAS} finished replicas of {FEWEST_LIGANDS} "
            f"ligands, and there are {len(usable)} of {len(names)}.",
        )
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # sums in one order: the same model on every machine with the same torch
    try:
        table = cell_table(usable, ligands)
        model = fit(table, seed)
        errors = leave_ligands_out(table, seed)
    finally:
        torch.set_num_threads(threads)
    card = Card(
        seed=seed,
        n_replicas=len(usable),
        n_cells=len(table.keys),
        variants=tuple(sorted({key[0] for key in table.keys})),
        states=known_states(table),
        smiles={name: ligands[name].smiles for name in sorted(names)},
        errors=errors,
        variant_spread=variant_spread(table),
        sizes=model.sizes,
        versions={name: version(name) for name in ("torch", "rdkit")},
    )
    surrogate = Surrogate(model, card)
    save(surrogate, folder)
    return surrogate, limits_of(card)


def known_states(table: CellTable) -> dict[str, tuple[str, ...]]:
    """Head -> the helix-12 states in which it was measured."""
    measured = {
        head: {key[2] for key, row in zip(table.keys, table.target, strict=True) if np.isfinite(row[i])}
        for i, head in enumerate(HEADS)
    }
    return {head: tuple(sorted(states)) for head, states in measured.items()}


def cell_table(observations: Sequence[ReplicaObservation], ligands: Mapping[str, Ligand]) -> CellTable:
    """Means of the replicas of each cell with its features; weights are numbers of replicas over their mean."""
    cells: dict[CellKey, list[ReplicaObservation]] = {}
    for replica in sorted(observations, key=lambda o: (*o.cell, o.seed)):
        cells.setdefault(replica.cell, []).append(replica)

    def mean(replicas: list[ReplicaObservation], metric: str) -> float:
        values = [r.summary[metric] for r in replicas if math.isfinite(r.summary.get(metric, math.nan))]
        return math.fsum(values) / len(values) if values else math.nan

    count = np.array([len(replicas) for replicas in cells.values()], dtype=float)
    return CellTable(
        keys=tuple(cells),
        ligand=np.array([ligand_features(None if k[1] == "apo" else ligands[k[1]]) for k in cells]),
        variant=np.array([variant_features(k[0]) for k in cells]),
        state=np.array([state_features(k[2]) for k in cells]),
        target=np.array([[mean(r, BINDING), mean(r, HELIX12)] for r in cells.values()]),
        weight=count / count.mean(),
    )


def fit(table: CellTable, seed: int) -> SurrogateModel:
    """Fit scaling and ensemble to the cells of ``table``.

    Every member has its own start and its own weights on the ligands (exponential: Bayesian bootstrap), so that
    they differ where few ligands speak. Full-batch AdamW on the squared error of both heads.
    """
    generator = torch.Generator().manual_seed(seed)
    ligand_index = {name: i for i, name in enumerate(sorted({key[1] for key in table.keys}))}
    n_components = max(1, min(len(ligand_index) - 1, MOST_COMPONENTS))
    model = SurrogateModel(table.ligand.shape[1], table.variant.shape[1], len(STATES), n_components, MEMBERS, HIDDEN)
    _fit_scaling(model, table)
    model.start(generator)
    draws = torch.empty(MEMBERS, len(ligand_index), dtype=torch.float64).exponential_(generator=generator)
    of_ligand = torch.tensor([ligand_index[key[1]] for key in table.keys])
    weight = draws[:, of_ligand] * torch.from_numpy(table.weight)
    with torch.no_grad():
        ligand, variant, state = table.tensors()
        z = model.standardise(ligand, variant, state)
        wanted = (torch.from_numpy(table.target) - state @ model.base) / model.scale
        known = ~torch.isnan(wanted)
        wanted = torch.where(known, wanted, torch.zeros_like(wanted))
        share = weight[:, :, None] * known
        share = share / share.sum(dim=1, keepdim=True).clamp_min(1e-12)
    optimiser = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, STEPS)
    for _ in range(STEPS):
        optimiser.zero_grad()
        loss = (share * (model.deviation(z) - wanted) ** 2).sum()
        loss.backward()
        optimiser.step()
        schedule.step()
    return model.eval()


def _fit_scaling(model: SurrogateModel, table: CellTable) -> None:
    """Means, weights and principal components of the features; means and spread of the targets."""
    first_row = {key[1]: i for i, key in reversed(list(enumerate(table.keys))) if key[1] != "apo"}
    unique = table.ligand[[first_row[name] for name in sorted(first_row)]]
    mean, spread = unique.mean(axis=0), unique.std(axis=0)
    weight = np.zeros_like(spread)
    for block in (slice(0, FINGERPRINT_BITS), slice(FINGERPRINT_BITS, None)):
        varying = spread[block] > 1e-9
        # Both blocks count alike: a dozen descriptors are not drowned by hundreds of fragments.
        weight[block][varying] = 1 / (spread[block][varying] * math.sqrt(max(1, varying.sum())))
    scores = (unique - mean) * weight
    _, singular, rows = np.linalg.svd(scores, full_matrices=False)
    components = np.zeros(model.components.shape)
    kept = min(components.shape[1], int((singular > 1e-9).sum()))
    # The sign of a component is arbitrary: fixed by its largest entry, so that platforms agree.
    signs = np.sign(rows[np.arange(kept), np.abs(rows[:kept]).argmax(axis=1)])
    if kept:
        components[:, :kept] = (rows[:kept] * signs[:, None]).T * (math.sqrt(len(unique)) / singular[0])
    variant_mean, variant_sd = table.variant.mean(axis=0), table.variant.std(axis=0)
    variant_weight = np.where(variant_sd > 1e-9, 1 / np.where(variant_sd > 1e-9, variant_sd, 1.0), 0.0)
    # Five numbers of one mutation at three places move together: the block as a whole has the weight of a few.
    variant_weight /= math.sqrt(max(1.0, float((variant_weight > 0).sum()) / 3))
    base = np.zeros((len(STATES), len(HEADS)))
    for i in range(len(STATES)):
        rows_of_state = table.state[:, i] > 0
        for head in range(len(HEADS)):
            values = table.target[rows_of_state, head]
            if np.isfinite(values).any():
                base[i, head] = np.nanmean(values)
    scale = np.nanstd(table.target - table.state @ base, axis=0)
    for name, value in (
        ("ligand_mean", mean),
        ("ligand_weight", weight),
        ("components", components),
        ("variant_mean", variant_mean),
        ("variant_weight", variant_weight),
        ("base", base),
        ("scale", np.where(scale > 1e-6, scale, 1.0)),
    ):
        getattr(model, name).copy_(torch.from_numpy(np.ascontiguousarray(value)))


def leave_ligands_out(table: CellTable, seed: int) -> dict[str, HeadError]:
    """Error on the cells of ligands left out of training, one by one (or in :data:`MOST_FOLDS` groups).

    Apo always stays in. The squared errors are averaged over the cells of a ligand first, for they are not
    independent, then over ligands.
    """
    names = sorted({key[1] for key in table.keys} - {"apo"})
    order = np.random.default_rng(seed).permutation(len(names))
    folds = [[names[i] for i in order[start::MOST_FOLDS]] for start in range(min(MOST_FOLDS, len(names)))]
    squares: dict[str, list[np.ndarray]] = {name: [] for name in names}
    mean_squares: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for fold in folds:
        held = np.array([key[1] in fold for key in table.keys])
        kept, left = table.take(~held), table.take(held)
        known = known_states(kept)
        model = fit(kept, seed)
        with torch.no_grad():
            predicted = model(*left.tensors()).mean(dim=0).numpy()
            guessed = left.state @ model.base.numpy()
        for i, key in enumerate(left.keys):
            # A state of which nothing is left in training would not be predicted, and so is not judged.
            judged = np.array([key[2] in known[head] for head in HEADS])
            target = np.where(judged, left.target[i], np.nan)
            squares[key[1]].append((predicted[i] - target) ** 2)
            mean_squares[key[1]].append((guessed[i] - target) ** 2)
    errors = {}
    for i, head in enumerate(HEADS):
        per_ligand = [
            (np.nanmean([row[i] for row in squares[n]]), np.nanmean([row[i] for row in mean_squares[n]]))
            for n in names
            if any(np.isfinite(row[i]) for row in squares[n])
        ]
        if per_ligand:
            model_square, mean_square = np.mean(per_ligand, axis=0)
            errors[head] = HeadError(float(model_square**0.5), float(mean_square**0.5), len(per_ligand))
    return errors


def variant_spread(table: CellTable) -> dict[str, float]:
    """Root mean square difference between two variants of the same ligand and state, per head.

    With one variant it is not known; the spread of all cells about their state's mean stands in.
    """
    groups: dict[tuple[str, str], list[int]] = {}
    for i, (_, ligand, state) in enumerate(table.keys):
        groups.setdefault((ligand, state), []).append(i)
    spread = {}
    for head, name in enumerate(HEADS):
        total, df = 0.0, 0
        for rows in groups.values():
            values = table.target[rows, head]
            values = values[np.isfinite(values)]
            if len(values) > 1:
                total += float(((values - values.mean()) ** 2).sum())
                df += len(values) - 1
        if df:
            spread[name] = math.sqrt(2 * total / df)
        else:
            by_state = [table.target[table.state[:, s] > 0, head] for s in range(len(STATES))]
            about = np.concatenate([v - np.nanmean(v) for v in by_state if np.isfinite(v).any()])
            spread[name] = float(np.nanstd(about))
    return spread
