"""Train the affinity model: five members that each leave other scaffolds out, and are judged on them.

Member k never sees fold k of the scaffolds. Within the rest, the kernel regression predicts each inner fold from the
others, and the network learns what is then left: it corrects predictions of unseen scaffolds, not of the compounds the
regression was fitted to. Half of fold k decides when to stop; the other half calibrates the intervals and tells what
the corrections are worth. The final regression has all compounds where that of a member had four fifths of them: its
errors are taken to be smaller by the same ratio as those of four fifths are than those of four fifths of four fifths.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from rdkit import Chem
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from scipy import stats
from torch import Tensor

from esr1md.surrogate.affinity import AffinityModel, kernel_features, run_network
from esr1md.surrogate.calibration import calibrate
from esr1md.surrogate.data import Affinities, scaffold_folds
from esr1md.surrogate.encoder import Graphs
from esr1md.surrogate.evaluation import evaluate_predictions
from esr1md.surrogate.kernel import KernelRegression, left_out, morgan_counts, tanimoto
from esr1md.surrogate.model import AffinityEnsemble, AffinityNetwork

MEMBERS = 5
#: Noise of a measurement over the variance of all that is tried for the kernel regression.
NOISES = (0.05, 0.1, 0.2, 0.4)
#: How much smaller errors are allowed to be expected with a quarter more compounds.
LEAST_LEARNING = 0.9
#: Share of left-out compounds, by similarity to the nearest other, that counts as outside the domain.
OUTSIDE = 0.02


@dataclass(frozen=True)
class Settings:
    """How the networks are trained; the defaults are those of the shipped model."""

    width: int = 32
    depth: int = 3
    dropout: float = 0.2
    epochs: int = 15
    patience: int = 5
    batch: int = 64
    learning_rate: float = 1e-3
    weight_decay: float = 1e-3


DEFAULTS = Settings()


def train_affinity(
    data: Affinities,
    *,
    seed: int = 0,
    settings: Settings = DEFAULTS,
    folder: Path | None = None,
    device: str | None = None,
    report: Callable[[str], None] = lambda text: None,
) -> AffinityModel:
    """Train, calibrate and judge.

    Parameters
    ----------
    data
        Compounds and affinities.
    seed
        Same seed, data and settings: same model (on one machine and device).
    folder
        Members that have finished are kept there; the same call goes on after a kill.
    device
        ``cpu``, ``cuda`` ...; the GPU if there is one. On a GPU the networks train in mixed precision (bfloat16).
    report
        Called with what is being done.
    """
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # sums in one order; two threads on a busy machine are also ten times slower
    try:
        return _train(data, seed, settings, folder, device, report)
    finally:
        torch.set_num_threads(threads)


def _train(data: Affinities, seed: int, settings: Settings, folder: Path | None, device: str,
           report: Callable[[str], None]) -> AffinityModel:  # fmt: skip
    report(f"similarities of {len(data):,} compounds")
    counts = morgan_counts([Chem.MolFromSmiles(smiles) for smiles in data.smiles])
    kernel = tanimoto(counts, counts).astype(float)
    folds = scaffold_folds(data.smiles, MEMBERS, seed)
    data = replace(data, values=expected_values(kernel, data, folds))
    noise = _best_noise(kernel, data, folds)
    graphs = Graphs(data.smiles)
    network = AffinityEnsemble(MEMBERS, settings.width, settings.depth, settings.dropout)
    identity = _identity(data, seed, settings, device)
    judged = []
    for k in range(MEMBERS):
        stored = _stored(folder, k, identity, network.members[k])
        if stored is None:
            train, held = np.flatnonzero(folds != k), np.flatnonzero(folds == k)

            def said(text: str, k: int = k) -> None:
                report(f"member {k + 1} of {MEMBERS}: {text}")

            stored = _train_member(network.members[k], data, kernel, graphs, train, held, noise, seed * MEMBERS + k,
                                   settings, device, said)  # fmt: skip
            _keep(folder, k, identity, network.members[k], stored)
        judged.append(stored)
    value, error, correction, sd, similarity = np.concatenate([rows for rows, _ in judged], axis=1)
    inner = np.mean([square for _, square in judged])
    learning = float(np.clip(np.sqrt((error**2).mean() / inner), LEAST_LEARNING, 1.0))
    power = float((correction**2).sum())
    weight = float(np.clip((error * correction).sum() / power, 0.0, 1.0)) if power > 0 else 0.0
    left = error - weight * correction
    calibration = calibrate(learning * left, sd, similarity)
    return AffinityModel(
        kernel=KernelRegression.fit(counts, data.values, data.weights, noise, kernel=kernel),
        network=network.cpu().eval(),
        weight=weight,
        calibration=calibration,
        least_similarity=float(np.quantile(similarity, OUTSIDE)),
        inchikeys=data.inchikeys,
        held_out=evaluate_predictions(
            value, value - left, sd, *calibration.interval(value - left, sd / learning, similarity)
        ),
    )


def expected_values(kernel: np.ndarray, data: Affinities, folds: np.ndarray, rounds: int = 3) -> np.ndarray:
    """Values (n,) with each bound replaced by what is to be expected beyond it.

    The mean of a normal distribution around what the other folds predict, cut off at the bound (the expectation step of
    a Tobit regression, Amemiya, J. Econometrics 24, 3 (1984)), repeated as the predictions follow.
    """
    values = data.values.copy()
    bounded = data.bounds != 0
    if not bounded.any():
        return values
    for _ in range(rounds):
        predicted, _ = left_out(kernel, values, data.weights, folds, NOISES[1])
        measured = ~bounded if (~bounded).any() else bounded
        sd = max(float(np.sqrt(((values - predicted)[measured] ** 2).mean())), 1e-3)
        sign = data.bounds[bounded]
        # how far the bound lies on its own side of the prediction; the tail beyond it has mean sd * hazard
        z = sign * (data.values[bounded] - predicted[bounded]) / sd
        hazard = np.exp(stats.norm.logpdf(z) - stats.norm.logsf(z))
        values[bounded] = predicted[bounded] + sign * sd * hazard
    return values


def _best_noise(kernel: np.ndarray, data: Affinities, folds: np.ndarray) -> float:
    measured = data.bounds == 0 if (data.bounds == 0).any() else np.ones(len(data), bool)

    def error(noise: float) -> float:
        predicted, _ = left_out(kernel, data.values, data.weights, folds, noise)
        return float(((predicted - data.values)[measured] ** 2).mean())

    return min(NOISES, key=error)


def _train_member(member: AffinityNetwork, data: Affinities, kernel: np.ndarray, graphs: Graphs, train: np.ndarray,
                  held: np.ndarray, noise: float, seed: int, settings: Settings, device: str,
                  report: Callable[[str], None]) -> tuple[np.ndarray, float]:  # fmt: skip
    """Train one member.

    Returns
    -------
    (5, c), float
        Value, error of the kernel regression, correction, deviation and greatest similarity of the c measured compounds
        of ``held`` that had no part in it; mean square of the errors in the inner folds.
    """
    inner = scaffold_folds([data.smiles[i] for i in train], MEMBERS, seed)
    own = kernel[np.ix_(train, train)]
    predicted, apart = left_out(own, data.values[train], data.weights[train], inner, noise)
    features = np.zeros((len(data), 3), np.float32)
    features[train] = kernel_features(predicted, apart)
    regression = KernelRegression.fit(None, data.values[train], data.weights[train], noise, kernel=own)
    features[held] = kernel_features(
        regression.from_similarity(kernel[np.ix_(held, train)]), kernel[np.ix_(held, train)]
    )
    half = scaffold_folds([data.smiles[i] for i in held], 2, seed)
    stop, judge = held[half == 0], held[(half == 1) & (data.bounds[held] == 0)]
    _fit(member, data, graphs, features, train, stop, seed, settings, device, report)
    alone = AffinityEnsemble(0, settings.width)
    alone.members.append(member)
    correction, sd = (part[0] for part in run_network(alone, graphs.taken(judge), features[judge]))
    value = data.values[judge]
    rows = np.stack([value, value - features[judge, 0], correction, sd, features[judge, 1]])
    measured = data.bounds[train] == 0
    return rows, float(((data.values[train] - predicted)[measured] ** 2).mean())


def _fit(member: AffinityNetwork, data: Affinities, graphs: Graphs, features: np.ndarray, train: np.ndarray,
         stop: np.ndarray, seed: int, settings: Settings, device: str,
         report: Callable[[str], None]) -> None:  # fmt: skip
    """Minimise the likelihood loss on ``train``; the weights of the epoch that is best on ``stop`` are kept."""
    generator = np.random.default_rng(seed)
    torch.manual_seed(seed)
    for layer in member.modules():
        if isinstance(layer, torch.nn.Linear):
            layer.reset_parameters()
    with torch.no_grad():
        member.read[-1].weight.mul_(0.1)  # begins with no correction
        member.mean.fill_(float(np.average(data.values[train], weights=data.weights[train])))
        member.scale.fill_(float(max(data.values[train].std(), 1e-3)))
    member.to(device)
    values, weights = (torch.from_numpy(part).float().to(device) for part in (data.values, data.weights))
    bounds, given = torch.from_numpy(data.bounds).to(device), torch.from_numpy(features).to(device)
    steps = settings.epochs * math.ceil(len(train) / settings.batch)
    optimiser = torch.optim.AdamW(member.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, settings.learning_rate, total_steps=steps, pct_start=0.1)

    def loss_of(rows: np.ndarray) -> Tensor:
        picked = torch.from_numpy(rows).to(device)
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=device.startswith("cuda")):
            correction, sd = member(graphs.batch(rows, device), given[picked])
        error = values[picked] - given[picked, 0] - correction.float()
        return (weights[picked].sqrt() * censored_loss(error, sd.float(), bounds[picked])).mean()

    best, kept, since = math.inf, None, 0
    for epoch in range(settings.epochs):
        member.train()
        order = generator.permutation(train)
        for start in range(0, len(order), settings.batch):
            optimiser.zero_grad()
            loss_of(order[start : start + settings.batch]).backward()
            torch.nn.utils.clip_grad_norm_(member.parameters(), 5.0)
            optimiser.step()
            schedule.step()
        member.eval()
        with torch.inference_mode():
            parts = [stop[start : start + 256] for start in range(0, len(stop), 256)]
            left = sum(float(loss_of(part)) * len(part) for part in parts) / max(1, len(stop))
        report(f"epoch {epoch + 1} of {settings.epochs}, loss on left-out scaffolds {left:.3f}")
        if left < best:
            best, since = left, 0
            kept = {name: value.detach().clone() for name, value in member.state_dict().items()}
        else:
            since += 1
            if since >= settings.patience:
                break
    if kept is not None:
        member.load_state_dict(kept)
    member.cpu().eval()


def censored_loss(error: Tensor, sd: Tensor, bounds: Tensor) -> Tensor:
    """Negative log likelihood of a normal distribution, of its tail where the value is only a bound.

    Parameters
    ----------
    error, sd : (b,)
        Value less prediction, and predicted standard deviation.
    bounds : (b,) int
        0: measured; 1: the truth is at least, -1: at most the value (Tobit).

    Returns
    -------
    (b,)
    """
    z = error / sd
    measured = 0.5 * z**2 + torch.log(sd) + 0.5 * math.log(2 * math.pi)
    return torch.where(bounds == 0, measured, -torch.special.log_ndtr(-bounds * z))


# -- going on after a kill ---------------------------------------------------------------------------------


def _identity(data: Affinities, seed: int, settings: Settings, device: str) -> str:
    text = repr((data.inchikeys, data.values.tolist(), data.weights.tolist(), data.bounds.tolist(), seed, settings,
                 torch.device(device).type, torch.__version__))  # fmt: skip
    return hashlib.sha256(text.encode()).hexdigest()


def _part(folder: Path, k: int, identity: str) -> Path:
    return folder / f"member-{k + 1}-{identity[:16]}.safetensors"


def _keep(
    folder: Path | None, k: int, identity: str, member: AffinityNetwork, judged: tuple[np.ndarray, float]
) -> None:
    if folder is None:
        return
    folder.mkdir(parents=True, exist_ok=True)
    path = _part(folder, k, identity)
    beside = path.with_suffix(".part")
    tensors = {name: value.numpy() for name, value in member.state_dict().items()}
    rows, inner = judged
    save_file({**tensors, "judged": rows, "inner": np.array(inner)}, beside)
    beside.replace(path)


def _stored(folder: Path | None, k: int, identity: str, member: AffinityNetwork) -> tuple[np.ndarray, float] | None:
    """What an earlier call kept of a member, whose weights are then set; ``None``: nothing usable."""
    path = folder and _part(folder, k, identity)
    if path is None or not path.exists():
        return None
    try:
        tensors = load_file(path)
        judged = tensors.pop("judged"), float(tensors.pop("inner"))
        member.load_state_dict({name: torch.from_numpy(value) for name, value in tensors.items()})
    except (SafetensorError, KeyError, RuntimeError, OSError):
        return None  # damaged: that member is trained again
    return judged
