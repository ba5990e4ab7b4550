"""Fill the cells that were not simulated, with intervals as wide as the surrogate's error on what it had not seen."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from scipy.sparse import csr_array

from esr1md.scoring.cells import CellKey, ReplicaObservation, reader_notes
from esr1md.scoring.ligand_ranks import is_agonist
from esr1md.scoring.scores import CellScore, Ranking, Score
from esr1md.specs import HelixState, Ligand
from esr1md.surrogate.card import UNITS
from esr1md.surrogate.cells import APO
from esr1md.surrogate.kernel import morgan_counts, tanimoto
from esr1md.surrogate.simulation import Prediction
from esr1md.surrogate.standard import standard_smiles
from esr1md.surrogate.surrogate import Surrogate
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
        ``tanimoto_to_training``, the similarity to the nearest ligand that was simulated. Apo has no binding, nor has
        a state in which none was measured. Where a head has no skill its plain guess is given and ``notes`` say so.

    Raises
    ------
    ValueError
        For a helix-12 state of which nothing was simulated: its scores cannot be extrapolated.
    """
    found = surrogate.simulation.predict(cells, ligands, surrogate.affinity)
    trained = morgan_counts([standard_smiles(n, s)[0] for n, s in surrogate.simulation.smiles.items()])
    near = {name: _similarity(ligands[name], trained) for name in {cell[1] for cell in cells} - {APO}}
    return tuple(
        CellScore(
            variant=variant,
            ligand=ligand,
            state=state,
            n_replicas=0,
            n_failed=0,
            binding=_score(said.get("binding"), "binding"),
            binding_relative=None,
            helix12=_score(said.get("helix12"), "helix12"),
            metrics={"tanimoto_to_training": near[ligand]} if ligand in near else {},
            notes="; ".join([*reader_notes(ligands.get(ligand), ()), *_plain_notes(said)]),
            origin="predicted",
        )
        for (variant, ligand, state), said in zip(cells, found, strict=True)
    )


def _score(said: Prediction | None, head: str) -> Score | None:
    if said is None:
        return None
    low, high = said.value - said.half_width, said.value + said.half_width
    return Score(value=said.value, low=low, high=high, n_replicas=0, unit=UNITS[head], origin="predicted")


def _plain_notes(said: Mapping[str, Prediction]) -> list[str]:
    plain = [{"binding": "binding", "helix12": "helix 12"}[head] for head, each in said.items() if each.plain]
    return [f"no skill for {' and '.join(plain)}: a plain guess"] if plain else []


def _similarity(ligand: Ligand, trained: csr_array) -> Score:
    own = morgan_counts([standard_smiles(ligand.name, ligand.smiles)[0]])
    value = float(tanimoto(own, trained).max())
    return Score(value=value, low=None, high=None, n_replicas=0, unit="fraction", origin="predicted")


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
        and cell[2] in surrogate.simulation.states["helix12" if cell[1] == APO else "binding"]
        and (cell[1] == APO or cell[1] in ligands)
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
    base: Surrogate | None = None,
) -> Ranking:
    """Train on the replicas of a screen, fill its holes and write the limits of that into the ranking.

    The ranking of simulated ligands is not touched. Parameters as for
    :func:`~esr1md.surrogate.training.train` and :func:`predict_missing`.
    """
    surrogate, limits = train(
        observations, ligands, folder, seed, base=base, protocol=ranking.protocol, screens=[ranking.screen]
    )
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
