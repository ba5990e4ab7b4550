"""From data to a surrogate with its card: affinities of a table, replicas of a store, or both."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from esr1md.scoring.cells import ReplicaObservation
from esr1md.specs import Ligand
from esr1md.surrogate.affinity_training import DEFAULTS, Settings, train_affinity
from esr1md.surrogate.card import Card, limits_of
from esr1md.surrogate.data import Affinities
from esr1md.surrogate.files import load_files, save_files
from esr1md.surrogate.simulation import SimulationModel
from esr1md.surrogate.simulation_training import train_simulation
from esr1md.surrogate.surrogate import Surrogate, load_surrogate

#: Folder of members that have finished, inside that of a surrogate in training.
PARTS = ".parts"


def train_on_affinities(
    data: Affinities,
    folder: Path,
    *,
    source: str,
    attribution: str = "",
    seed: int = 0,
    settings: Settings = DEFAULTS,
    device: str | None = None,
    report: Callable[[str], None] = lambda text: None,
) -> Surrogate:
    """Train the affinity model and write it with its card; after a kill the same call goes on.

    Parameters
    ----------
    data
        From :func:`esr1md.surrogate.data.read_affinities`.
    folder
        Receives weights and card; made if need be.
    source, attribution
        What the data are called and to whom they are owed, for the card.
    seed, settings, device, report
        As in :func:`esr1md.surrogate.affinity_training.train_affinity`.

    Raises
    ------
    InputError
        The folder cannot be written to.
    """
    parts = folder / PARTS
    model = train_affinity(data, seed=seed, settings=settings, folder=parts, device=device, report=report)
    about = {
        "source": source,
        "attribution": attribution,
        "n_compounds": len(data),
        "n_bounds": int((data.bounds != 0).sum()),
        "n_assays": len(data.offsets),
        "left_out": len(data.left_out),
        "seed": seed,
        "settings": dataclasses.asdict(settings),
        "weight": model.weight,
        "noise": model.kernel.noise,
        "least_similarity": model.least_similarity,
        "held_out": model.held_out,
    }
    save_files(folder, model, None, Card(about, {}, _versions()))
    for path in parts.glob("member-*"):
        path.unlink()
    if parts.is_dir():
        parts.rmdir()
    return Surrogate(*load_files(folder))


def train(
    observations: Sequence[ReplicaObservation],
    ligands: Mapping[str, Ligand],
    folder: Path,
    seed: int = 0,
    *,
    base: Surrogate | None = None,
    protocol: str = "",
    screens: Sequence[str] = (),
    report: Callable[[str], None] = lambda text: None,
) -> tuple[Surrogate | None, tuple[str, ...]]:
    """Teach a surrogate the scores of finished replicas, judge it on what was left out, write it with its card.

    Parameters
    ----------
    observations
        Finished replicas of one protocol, in any order.
    ligands
        Name -> ligand, for every ligand observed.
    folder
        Receives weights and card; made if need be.
    seed
        Same seed and replicas: same model.
    base
        Whose affinity model encodes the ligands; the shipped one.
    protocol, screens
        Where the replicas come from, for the card.

    Returns
    -------
    (surrogate, limits)
        ``None`` when there is too little to learn from; ``limits`` are sentences for the ranking: why there is no
        surrogate, or what it is not worth.

    Raises
    ------
    ValueError
        If a ligand observed is not in ``ligands``.
    InputError
        The folder cannot be written to.
    """
    base = load_surrogate() if base is None else base
    model, reason = train_simulation(observations, ligands, base.affinity, seed, report)
    if model is None:
        return None, (reason,)
    card = Card(base.card.affinity, _about(model, seed, protocol, screens), _versions())
    save_files(folder, base.affinity, model, card)
    return Surrogate(*load_files(folder)), limits_of(card)


def _about(model: SimulationModel, seed: int, protocol: str, screens: Sequence[str]) -> dict:
    return {
        "protocol": protocol,
        "screens": list(screens),
        "n_replicas": model.n_replicas,
        "n_cells": model.n_cells,
        "ligands": sorted(model.smiles),
        "variants": list(model.variants),
        "states": sorted({state for states in model.states.values() for state in states}),
        "seed": seed,
        "skills": [dataclasses.asdict(skill) for skill in model.skills],
    }


def _versions() -> dict[str, str]:
    return {name: version(name) for name in ("chemprop", "rdkit", "torch")}
