"""Fill the cells that were not simulated, with intervals as wide as the surrogate's error on unseen ligands."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from scipy import stats

from esr1md.scoring.cells import CellKey, ReplicaObservation, reader_notes
from esr1md.scoring.ligand_ranks import is_agonist
from esr1md.scoring.scores import CellScore, Ranking, Score
from esr1md.specs import HelixState, Ligand
from esr1md.surrogate.card import UNITS, Surrogate
from esr1md.surrogate.features import ligand_features, state_features, tanimoto, variant_features
from esr1md.surrogate.model import HEADS
from esr1md.surrogate.training import train


def predict(surrogate: Surrogate, cells: Sequence[CellKey], ligands: Mapping[str, Ligand]) -> tuple[CellScore, ...]:
    """Both scores of each cell, as predictions.

    Parameters
    ----------
    surrogate
        From :func:`~esr1md.surrogate.training.train`.
    cells
        (variant, ligand or ``apo``, state) by name. The state must be one the surrogate was trained on.
    ligands
        Name -> ligand, for every ligand in ``cells``.

    Returns
    -------
    tuple of CellScore
        In the order of ``cells``, with ``origin="predicted"`` and no replicas; ``metrics`` holds
        ``tanimoto_to_training``, the similarity to the nearest ligand trained on. Apo has no binding, nor has
        a state in which none was measured.

    Raises
    ------
    ValueError
        For a helix-12 state of which nothing was simulated: its scores cannot be extrapolated.
    """
    card = surrogate.card
    trained_states = {state for states in card.states.values() for state in states}
    if strange := sorted({state for _, _, state in cells} - trained_states):
        known = ", ".join(sorted(trained_states))
        raise ValueError(f"the surrogate was trained on {known}, not on {', '.join(strange)}")
    if not cells:
        return ()
    with torch.no_grad():
        members = surrogate.model(
            torch.from_numpy(np.array([ligand_features(None if c[1] == "apo" else ligands[c[1]]) for c in cells])),
            torch.from_numpy(np.array([variant_features(c[0]) for c in cells])),
            torch.from_numpy(np.array([state_features(c[2]) for c in cells])),
        ).numpy()
    mean, spread = members.mean(axis=0), members.std(axis=0, ddof=1)
    trained = [Ligand(name, smiles, "", 0) for name, smiles in card.smiles.items()]

    def score(i: int, head: str) -> Score | None:
        variant, ligand, state = cells[i]
        if head not in card.errors or state not in card.states[head] or (head == "binding" and ligand == "apo"):
            return None
        error, column = card.errors[head], HEADS.index(head)
        variance = error.rmse**2 + float(spread[i, column]) ** 2
        if variant not in card.variants:
            variance += card.variant_spread[head] ** 2
        half = float(stats.t.ppf(0.975, max(1, error.n_ligands - 1))) * math.sqrt(variance)
        value = float(mean[i, column])
        return Score(
            value=value, low=value - half, high=value + half, n_replicas=0, unit=UNITS[head], origin="predicted"
        )

    def similarity(name: str) -> dict[str, Score]:
        if name == "apo":
            return {}
        value = tanimoto(ligands[name], trained)
        near = Score(value=value, low=None, high=None, n_replicas=0, unit="fraction", origin="predicted")
        return {"tanimoto_to_training": near}

    near = {name: similarity(name) for name in {cell[1] for cell in cells}}
    return tuple(
        CellScore(
            variant=variant,
            ligand=ligand,
            state=state,
            n_replicas=0,
            n_failed=0,
            binding=score(i, "binding"),
            binding_relative=None,
            helix12=score(i, "helix12"),
            metrics=near[ligand],
            notes="; ".join(reader_notes(ligands.get(ligand), ())),
            origin="predicted",
        )
        for i, (variant, ligand, state) in enumerate(cells)
    )


def missing_cells(
    surrogate: Surrogate, ranking: Ranking, ligands: Mapping[str, Ligand], planned: Iterable[CellKey] = ()
) -> tuple[CellKey, ...]:
    """The cells worth a prediction: planned or tried without a replica, and every other ligand in its own state.

    Agonists are asked for in the agonist state, all others in the antagonist state, for each variant of the
    screen. Left out are cells that were simulated, that were found not to fit (an outcome is not a gap),
    and states of which nothing was simulated.
    """
    simulated = {(c.variant, c.ligand, c.state) for c in ranking.cells if c.n_replicas}
    unfit = {(f.variant, f.ligand, f.state) for f in ranking.failures if f.kind == "outcome"}
    wanted = [*planned, *((c.variant, c.ligand, c.state) for c in ranking.cells)]
    for variant in dict.fromkeys(c.variant for c in ranking.cells if c.n_replicas):
        for name, ligand in ligands.items():
            state = HelixState.AGONIST if is_agonist(ligand) else HelixState.ANTAGONIST
            wanted.append((variant, name, str(state)))
    return tuple(
        cell
        for cell in dict.fromkeys(wanted)
        if cell not in simulated
        and cell not in unfit
        and cell[2] in surrogate.card.states["helix12" if cell[1] == "apo" else "binding"]
        and (cell[1] == "apo" or cell[1] in ligands)
    )


def predict_missing(
    surrogate: Surrogate,
    ranking: Ranking,
    ligands: Mapping[str, Ligand],
    reference: Mapping[str, str],
    planned: Iterable[CellKey] = (),
) -> tuple[CellScore, ...]:
    """Predictions for :func:`missing_cells`, with binding relative to the simulated reference ligand.

    Parameters
    ----------
    ligands
        Name -> ligand: those of the screen and any other to be asked for, such as the whole catalogue.
    reference
        State -> name of the reference ligand.
    planned
        Cells of the configured matrix.
    """
    simulated = {(c.variant, c.ligand, c.state): c.binding for c in ranking.cells if c.binding}
    filled = []
    for cell in predict(surrogate, missing_cells(surrogate, ranking, ligands, planned), ligands):
        base = simulated.get((cell.variant, reference.get(cell.state, ""), cell.state))
        filled.append(cell.model_copy(update={"binding_relative": _difference(cell.binding, base)}))
    return tuple(filled)


def _difference(predicted: Score | None, base: Score | None) -> Score | None:
    """Prediction minus a simulated score; half-widths add in quadrature, for the errors are independent."""
    if predicted is None or base is None:
        return None
    value = predicted.value - base.value
    base_half = (base.high - base.low) / 2 if base.low is not None and base.high is not None else 0.0
    half = math.hypot((predicted.high - predicted.low) / 2, base_half)
    return predicted.model_copy(update={"value": value, "low": value - half, "high": value + half})


def add_predictions(
    ranking: Ranking,
    observations: Sequence[ReplicaObservation],
    ligands: Mapping[str, Ligand],
    folder: Path,
    *,
    reference_ligand: Mapping[str, str] | str | None = None,
    planned: Iterable[CellKey] = (),
    seed: int = 0,
) -> Ranking:
    """Train on the replicas of a screen, fill its holes and write the limits of that into the ranking.

    The ranking of simulated ligands is not touched. Parameters as for
    :func:`~esr1md.surrogate.training.train` and :func:`predict_missing`.
    """
    surrogate, limits = train(observations, ligands, folder, seed)
    if surrogate is None:
        return ranking.model_copy(update={"predictions": (), "limits": ranking.limits + limits})
    if reference_ligand is None or isinstance(reference_ligand, str):
        reference = {str(state): reference_ligand for state in HelixState} if reference_ligand else {}
    else:
        reference = {str(state): name for state, name in reference_ligand.items()}
    predictions = predict_missing(surrogate, ranking, ligands, reference, planned)
    # Without a prediction there is nothing to be careful about.
    return ranking.model_copy(
        update={"predictions": predictions, "limits": ranking.limits + (limits if predictions else ())}
    )
