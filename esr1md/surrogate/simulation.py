"""Guesses the scores of cells that were not simulated from those that were, and knows when it cannot.

Every head is judged on ligands left out of training, the shifts also on variants left out. A head that is no better
there than the plain guess (the mean of the state for a score, the wild type's value for a mutant) has no skill: the
plain guess is then what is predicted, and every output says so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from esr1md.receptor.sequence import parse_variant
from esr1md.scoring.cells import CellKey
from esr1md.specs import Ligand
from esr1md.surrogate.affinity import AffinityModel
from esr1md.surrogate.cells import APO, WILD_TYPE
from esr1md.surrogate.features import ligand_features, state_features, variant_features
from esr1md.surrogate.model import HEADS, SimulationEnsemble


@dataclass(frozen=True)
class Skill:
    """What a head is worth on what was left out of training.

    Attributes
    ----------
    head, left_out
        ``binding`` ...; ``ligand`` or ``variant``.
    rmse, plain_rmse
        Errors of the network and of the plain guess, each ligand (variant) counting once; unit of the head.
    n
        Ligands (variants) left out in turn.
    skilled
        Whether the network was better by more than the chance of one in six (paired over ligands or variants).
    half_width
        Half-width (unit of the head) of the 95 % interval of a prediction: conformal where enough was left out, else
        Student's t of the error.
    """

    head: str
    left_out: str
    rmse: float
    plain_rmse: float
    n: int
    skilled: bool
    half_width: float


@dataclass(frozen=True)
class Prediction:
    """A predicted score with its 95 % interval, in the unit of its head; ``plain``: the plain guess stands in."""

    value: float
    half_width: float
    plain: bool


@dataclass(frozen=True)
class SimulationModel:
    """Trained heads, and what they are worth.

    Attributes
    ----------
    network
        In evaluation mode.
    skills
        For each head and kind of thing left out that could be judged.
    variants, states
        Simulated variants; helix-12 states by score (``binding``, ``helix12``).
    smiles
        Simulated ligands by name.
    apo
        Variant -> change of the apo metrics (features.py).
    wild
        (ligand, state) -> head -> (value, standard error) of the simulated wild type.
    n_replicas, n_cells
        What it was trained on.
    spread
        Score -> root mean square difference between variants of a ligand and state.
    """

    network: SimulationEnsemble
    skills: tuple[Skill, ...]
    variants: tuple[str, ...]
    states: dict[str, tuple[str, ...]]
    smiles: dict[str, str]
    apo: dict[str, tuple[float, ...]]
    wild: dict[tuple[str, str], dict[str, tuple[float, float]]]
    n_replicas: int
    n_cells: int
    spread: dict[str, float]

    def skill(self, head: str, left_out: str) -> Skill | None:
        return next((s for s in self.skills if (s.head, s.left_out) == (head, left_out)), None)

    def predict(
        self, cells: Sequence[CellKey], ligands: Mapping[str, Ligand], affinity: AffinityModel
    ) -> list[dict[str, Prediction]]:
        """Scores of each cell by name (``binding``, ``helix12``); what was never measured is left out.

        A ligand whose wild type was simulated in that state starts from the simulated value, any other from the
        prediction for it; a mutant adds the shift.

        Raises
        ------
        ValueError
            A helix-12 state of which nothing was simulated: its scores cannot be extrapolated.
        InputError
            A variant that cannot be.
        """
        trained = {state for states in self.states.values() for state in states}
        if strange := sorted({state for _, _, state in cells} - trained):
            raise ValueError(f"the surrogate was trained on {', '.join(sorted(trained))}, not on {', '.join(strange)}")
        if not cells:
            return []
        of_ligand = {n: ligand_features(None if n == APO else ligands[n], affinity) for n in {c[1] for c in cells}}
        features = np.array([of_ligand[name] for _, name, _ in cells])
        return self.predict_features(cells, features)

    def predict_features(self, cells: Sequence[CellKey], features: np.ndarray) -> list[dict[str, Prediction]]:
        """As :meth:`predict`, with the ligands' features (n, L)."""
        for variant in {cell[0] for cell in cells}:
            parse_variant(variant)
        with torch.no_grad():
            members, _ = self.network(
                torch.from_numpy(features),
                torch.from_numpy(np.array([variant_features(v, self.apo.get(v)) for v, _, _ in cells])),
                torch.from_numpy(np.array([state_features(state) for _, _, state in cells])),
            )
        mean, between = members.mean(dim=0).numpy(), members.std(dim=0).numpy()
        base = np.array([state_features(state) for _, _, state in cells]) @ self.network.base.numpy()[0]
        return [self._cell(cell, mean[i], between[i], base[i]) for i, cell in enumerate(cells)]

    def _cell(self, cell: CellKey, mean: np.ndarray, between: np.ndarray, base: np.ndarray) -> dict[str, Prediction]:
        variant, ligand, state = cell
        found = {}
        for score in ("binding", "helix12"):
            if state not in self.states[score] or (score == "binding" and ligand == APO):
                continue
            column = HEADS.index(score)
            known = self.wild.get((ligand, state), {}).get(score)
            skill = self.skill(score, "ligand")
            plain = False
            if known is not None:
                value, half = known[0], 1.96 * known[1]
            elif skill is None:
                continue
            else:
                plain = not skill.skilled
                value = float(base[column] if plain else mean[column])
                half = skill.half_width if plain else math.hypot(skill.half_width, 1.96 * between[column])
            if variant != WILD_TYPE:
                shift, spread, guessed = self._shift(score, variant, mean[column + 1], between[column + 1])
                value, half, plain = value + shift, math.hypot(half, spread), plain or guessed
            found[score] = Prediction(value, half, plain)
        return found

    def _shift(self, score: str, variant: str, mean: float, between: float) -> tuple[float, float, bool]:
        """Mutant less wild type with its half-width, and whether it is the plain guess: none."""
        known = variant in self.variants
        skill = self.skill(f"{score}_shift", "ligand" if known else "variant")
        if skill is None or not skill.skilled:
            # what could not be judged is as uncertain as variants are different
            half = 1.96 * self.spread.get(score, 0.0) if skill is None else skill.half_width
            return 0.0, half, True
        return float(mean), math.hypot(skill.half_width, 1.96 * float(between)), False
