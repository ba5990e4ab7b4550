"""Train the simulation heads on the replicas of a store, and judge them on ligands and variants left out."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from scipy import stats

from esr1md.scoring.cells import ReplicaObservation
from esr1md.specs import Ligand
from esr1md.surrogate.affinity import AffinityModel
from esr1md.surrogate.calibration import quantile
from esr1md.surrogate.cells import APO, WILD_TYPE, CellTable, apo_changes, cell_table
from esr1md.surrogate.features import DESCRIPTORS, STATES
from esr1md.surrogate.model import HEADS, SimulationEnsemble
from esr1md.surrogate.simulation import SimulationModel, Skill

#: Fewer replicas or ligands than this teach nothing.
FEWEST_REPLICAS, FEWEST_LIGANDS = 6, 3
MEMBERS, HIDDEN, MOST_COMPONENTS = 5, 32, 16
STEPS, LEARNING_RATE = 250, 0.02
#: Of what all ligands share, and of what sets one apart.
WEIGHT_DECAY, OWN_DECAY = 0.02, 0.3
#: Ligands and variants are left out one by one, or in this many groups when there are more.
MOST_FOLDS = 12
#: What the encoder's numbers count beside the descriptors: energies follow size and charge before they follow affinity.
ENCODER_WEIGHT = 0.5
#: Level of the intervals of simulation scores, as everywhere in a screen.
LEVEL = 0.95


def train_simulation(
    observations: Sequence[ReplicaObservation],
    ligands: Mapping[str, Ligand],
    affinity: AffinityModel,
    seed: int = 0,
    report: Callable[[str], None] = lambda text: None,
) -> tuple[SimulationModel | None, str]:
    """Train on finished replicas of one protocol, and judge on ligands and variants left out.

    Returns
    -------
    (model, reason)
        ``None`` and why when there is too little to learn from.

    Raises
    ------
    ValueError
        If a ligand observed is not in ``ligands``.
    """
    usable = [o for o in observations if o.ligand == APO or math.isfinite(o.summary.get("binding_kcal", math.nan))]
    names = sorted({o.ligand for o in usable} - {APO})
    if unknown := sorted(set(names) - set(ligands)):
        raise ValueError(f"no structure given for {', '.join(unknown)}")
    if len(usable) < FEWEST_REPLICAS or len(names) < FEWEST_LIGANDS:
        return None, (
            f"No predictions: the surrogate needs at least {FEWEST_REPLICAS} finished replicas of {FEWEST_LIGANDS} "
            f"ligands, and there are {len(usable)} of {len(names)}."
        )
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # sums in one order: the same model on every machine with the same torch
    try:
        table = cell_table(usable, ligands, affinity)
        if not np.isfinite(table.target[:, HEADS.index("binding")]).any():
            return None, "No predictions: no ligand was simulated in the wild type, which mutants are compared with."
        network = fit(table, seed)
        skills = judge(table, seed, report)
    finally:
        torch.set_num_threads(threads)
    wild: dict[tuple[str, str], dict[str, tuple[float, float]]] = {}
    for key, target, error in zip(table.keys, table.target, table.error, strict=True):
        for score in ("binding", "helix12"):
            column = HEADS.index(score)
            if key[0] == WILD_TYPE and np.isfinite(target[column]):
                wild.setdefault(key[1:], {})[score] = (float(target[column]), float(error[column]))
    model = SimulationModel(
        network=network,
        skills=skills,
        variants=tuple(sorted({key[0] for key in table.keys})),
        states={score: _states(table, score) for score in ("binding", "helix12")},
        smiles={name: ligands[name].smiles for name in names},
        apo=apo_changes(usable),
        wild=wild,
        n_replicas=len(usable),
        n_cells=len(table.keys),
        spread={score: _spread(table, score) for score in ("binding", "helix12")},
    )
    return model, ""


def _states(table: CellTable, score: str) -> tuple[str, ...]:
    """States in which a ligand's (helix 12: also apo's) score was measured in the wild type."""
    column = HEADS.index(score)
    rows = zip(table.keys, table.target, strict=True)
    return tuple(sorted({key[2] for key, target in rows if np.isfinite(target[column])}))


def _spread(table: CellTable, score: str) -> float:
    shifts = table.target[:, HEADS.index(f"{score}_shift")]
    shifts = shifts[np.isfinite(shifts)]
    return float(np.sqrt((shifts**2).mean())) if len(shifts) else 0.0


# -- fitting ----------------------------------------------------------------------------------------------


def fit(table: CellTable, seed: int) -> SimulationEnsemble:
    """Fit scaling and ensemble to all cells of ``table``."""
    return fit_without(table, np.zeros((1, len(table.keys)), bool), seed)


def fit_without(table: CellTable, held: np.ndarray, seed: int) -> SimulationEnsemble:
    """One ensemble for each row of ``held`` (f, n), trained at once on the cells that the row does not mark.

    Every member has its own start and its own weights on the ligands (exponential: Bayesian bootstrap), so that
    they differ where few ligands speak; members of different rows that share a number share both. Full-batch AdamW on
    the squared errors over their variances: the standard error of each target and what the head leaves unexplained,
    which it learns too.

    Returns
    -------
    SimulationEnsemble
        Of f * :data:`MEMBERS` members, those of the first row first.
    """
    generator = torch.Generator().manual_seed(seed)
    ligand_index = {name: i for i, name in enumerate(sorted({key[1] for key in table.keys}))}
    n_components = max(1, min(len(ligand_index) - 1, MOST_COMPONENTS))
    sizes = (table.ligand.shape[1], table.variant.shape[1], len(STATES), n_components)
    network = SimulationEnsemble(*sizes, len(held) * MEMBERS, HIDDEN)
    _fit_scaling(network, table, held)
    one = SimulationEnsemble(*sizes, MEMBERS, HIDDEN)
    one.start(generator)
    with torch.no_grad():
        for mine, theirs in zip(network.parameters(), one.parameters(), strict=True):
            mine.copy_(theirs.repeat(len(held), 1, 1))
    draws = torch.empty(MEMBERS, len(ligand_index), dtype=torch.float64).exponential_(generator=generator)
    share = draws[:, torch.tensor([ligand_index[key[1]] for key in table.keys])].repeat(len(held), 1)
    share = share * torch.from_numpy(~held).repeat_interleave(MEMBERS, dim=0)
    ligand, variant, state = (torch.from_numpy(part) for part in (table.ligand, table.variant, table.state))
    with torch.no_grad():
        wanted = (torch.from_numpy(table.target) - state @ network.base) / network.scale
        known = ~torch.isnan(wanted)
        wanted = torch.where(known, wanted, torch.zeros_like(wanted))
        noise = torch.nan_to_num(torch.from_numpy(table.error) / network.scale) ** 2
        share = share[:, :, None] * known
        share = share / share.sum(dim=1, keepdim=True).clamp_min(1e-12)
    groups = [
        {"params": network.own.parameters(), "weight_decay": OWN_DECAY},
        {"params": [*network.shared.parameters(), network.deviation], "weight_decay": WEIGHT_DECAY},
    ]
    optimiser = torch.optim.AdamW(groups, lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, STEPS)
    for _ in range(STEPS):
        optimiser.zero_grad()
        variance = torch.nn.functional.softplus(network.deviation) ** 2 + noise + 1e-3
        error = network.scaled(ligand, variant, state) - wanted
        (share * (error**2 / variance + torch.log(variance))).sum().backward()
        optimiser.step()
        schedule.step()
    return network.eval()


def _fit_scaling(network: SimulationEnsemble, table: CellTable, held: np.ndarray) -> None:
    """Means, weights and principal components of the features; means of the targets that are not ``held`` (f, n)."""
    first_row = {key[1]: i for i, key in reversed(list(enumerate(table.keys))) if key[1] != APO}
    unique = table.ligand[[first_row[name] for name in sorted(first_row)]]
    mean, spread = unique.mean(axis=0), unique.std(axis=0)
    weight = np.zeros_like(spread)
    split = unique.shape[1] - 1 - len(DESCRIPTORS)  # the encoder's vectors, then predicted affinity and descriptors
    for block, counts in ((slice(0, split), ENCODER_WEIGHT), (slice(split, None), 1.0)):
        varying = spread[block] > 1e-9
        # as blocks: a dozen descriptors are not drowned by hundreds of numbers of the encoder
        weight[block][varying] = counts / (spread[block][varying] * math.sqrt(max(1, varying.sum())))
    scores = (unique - mean) * weight
    _, singular, rows = np.linalg.svd(scores, full_matrices=False)
    components = np.zeros(network.components.shape)
    kept = min(components.shape[1], int((singular > 1e-9).sum()))
    # The sign of a component is arbitrary: fixed by its largest entry, so that platforms agree.
    signs = np.sign(rows[np.arange(kept), np.abs(rows[:kept]).argmax(axis=1)])
    if kept:
        components[:, :kept] = (rows[:kept] * signs[:, None]).T * (math.sqrt(len(unique)) / singular[0])
    size = np.sqrt((table.variant**2).mean(axis=0))  # zero stays zero: it is the wild type
    variant_weight = np.where(size > 1e-9, 1 / np.where(size > 1e-9, size, 1.0), 0.0)
    # Numbers of one mutation at three places move together: the block as a whole has the weight of a few.
    variant_weight /= math.sqrt(max(1.0, float((variant_weight > 0).sum()) / 3))
    base = np.zeros((len(held), len(STATES), len(HEADS)))
    for row, out in enumerate(held):
        for i in range(len(STATES)):
            of_state = (table.state[:, i] > 0) & ~out
            for head, name in enumerate(HEADS):
                values = table.target[of_state, head]
                if not name.endswith("shift") and np.isfinite(values).any():
                    base[row, i, head] = np.nanmean(values)
    left = table.target - table.state @ base[0]
    scale = np.array([np.sqrt(np.nanmean(c**2)) if np.isfinite(c).any() else 1.0 for c in left.T])
    for name, value in (
        ("ligand_mean", mean),
        ("ligand_weight", weight),
        ("components", components),
        ("variant_weight", variant_weight),
        ("base", np.repeat(base, MEMBERS, axis=0)),
        ("scale", np.where(scale > 1e-6, scale, 1.0)),
    ):
        getattr(network, name).copy_(torch.from_numpy(np.ascontiguousarray(value)))


# -- judging ----------------------------------------------------------------------------------------------


def judge(table: CellTable, seed: int, report: Callable[[str], None] = lambda text: None) -> tuple[Skill, ...]:
    """Errors on ligands, then on variants, left out of training one by one (or in :data:`MOST_FOLDS` groups).

    Apo stays in when ligands are left out, the wild type when variants are: it is what shifts are measured from.
    """
    found = []
    for left_out, column, kept in (("ligand", 1, APO), ("variant", 0, WILD_TYPE)):
        names = sorted({key[column] for key in table.keys} - {kept})
        if len(names) < 2:
            continue
        order = np.random.default_rng(seed).permutation(len(names))
        folds = [[names[i] for i in order[start::MOST_FOLDS]] for start in range(min(MOST_FOLDS, len(names)))]
        report(f"{len(folds)} times without some of the {left_out}s")
        held = np.array([[key[column] in fold for key in table.keys] for fold in folds])
        network = fit_without(table, held, seed)
        with torch.no_grad():
            features = (torch.from_numpy(part) for part in (table.ligand, table.variant, table.state))
            said = network(*features)[0].unflatten(0, (len(folds), MEMBERS)).mean(dim=1).numpy()
            guessed = (torch.from_numpy(table.state) @ network.base)[::MEMBERS].numpy()
        errors = np.full((len(table.keys), len(HEADS)), np.nan)
        plain = errors.copy()
        for number, out in enumerate(held):
            rest = table.take(~out)
            # A state of which nothing is left in training would not be predicted, and so is not judged.
            seen = np.array([[key[2] in _seen(rest, head) for head in range(len(HEADS))] for key in table.keys])
            errors[out] = np.where(seen, said[number] - table.target, np.nan)[out]
            plain[out] = np.where(seen, guessed[number] - table.target, np.nan)[out]
        for head, name in enumerate(HEADS):
            if left_out == "variant" and not name.endswith("shift"):
                continue
            groups = [key[column] for key in table.keys]
            if (skill := skill_of(name, left_out, groups, errors[:, head], plain[:, head])) is not None:
                found.append(skill)
    return tuple(found)


def _seen(table: CellTable, head: int) -> set[str]:
    # zero is what a shift is where none was measured, so a shift can always be judged
    if HEADS[head].endswith("shift"):
        return set(STATES)
    return {key[2] for key, row in zip(table.keys, table.target, strict=True) if np.isfinite(row[head])}


def skill_of(head: str, left_out: str, groups: Sequence[str], errors: np.ndarray, plain: np.ndarray) -> Skill | None:
    """Judge a head by its errors (n,) and those of the plain guess (n,), cells of a group counting as one.

    Squared errors are averaged over the cells of a group first, for they are not independent.
    """
    squares: list[tuple[float, float, float, float]] = []
    for group in sorted(set(groups)):
        rows = np.array([g == group for g in groups]) & np.isfinite(errors) & np.isfinite(plain)
        if rows.any():
            network, guess = float((errors[rows] ** 2).mean()), float((plain[rows] ** 2).mean())
            squares.append((network, guess, float(np.abs(errors[rows]).max()), float(np.abs(plain[rows]).max())))
    if len(squares) < 2:
        return None
    network, guess, worst, worst_plain = (np.array(part) for part in zip(*squares, strict=True))
    better = guess - network
    standard_error = float(better.std(ddof=1)) / math.sqrt(len(better))
    skilled = float(better.mean()) > standard_error
    square, most = (network, worst) if skilled else (guess, worst_plain)
    conformal = quantile(np.sort(most), LEVEL)
    t = float(stats.t.ppf(0.5 + LEVEL / 2, len(square) - 1)) * math.sqrt(float(square.mean()))
    return Skill(
        head, left_out, float(np.sqrt(network.mean())), float(np.sqrt(guess.mean())), len(squares), skilled,
        conformal if math.isfinite(conformal) else t,
    )  # fmt: skip
