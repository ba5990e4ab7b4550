"""Where an exploration stands: what is measured, what is predicted, what is left, and the ligands by that."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from esr1md.explore.known import Known
from esr1md.explore.layout import Layout
from esr1md.explore.predictions import Guess
from esr1md.explore.question import Exploration
from esr1md.scoring.cells import CellKey
from esr1md.scoring.scores import Score


@dataclass(frozen=True)
class Situation:
    """Everything that a decision is made from.

    ``measured`` are the scores of cells with replicas, ``spent`` the hours of the budget that are gone.
    """

    found: Known
    layout: Layout
    exploration: Exploration
    guessed: Guess
    measured: dict[CellKey, Score]
    spent: float

    @property
    def left(self) -> float:
        """Hours of the budget; never below 0."""
        return max(0.0, self.exploration.gpu_hours - self.spent)

    @property
    def predicted(self) -> bool:
        return self.guessed.basis == "surrogate"


@dataclass(frozen=True)
class Standing:
    """A ligand among all: the mean of its cells (in the unit of the objective) and the widest of their intervals.

    ``half_width`` is infinite where a cell has a single replica.
    """

    ligand: str
    value: float
    half_width: float
    simulated: bool
    cells: tuple[CellKey, ...]

    def to_json(self) -> dict[str, Any]:
        """Rounded, as records have it; ``half_width`` is ``None`` where it is infinite."""
        wide = None if math.isinf(self.half_width) else round(self.half_width, 3)
        return {"ligand": self.ligand, "value": round(self.value, 3), "half_width": wide, "simulated": self.simulated}


def standings(layout: Layout, exploration: Exploration, measured: Mapping[CellKey, Score],
              guessed: Mapping[CellKey, Score]) -> list[Standing]:  # fmt: skip
    """Every ligand of which each cell is measured or predicted, the best first."""
    rows = {unit.ligand.name: unit for unit in (*layout.known, *layout.candidates)}
    found = []
    for name, unit in rows.items():
        scores = [measured.get(cell) or guessed.get(cell) for cell in unit.cells]
        if any(score is None for score in scores):
            continue
        widest = max(half_width(score) for score in scores)
        simulated = all(cell in measured for cell in unit.cells)
        found.append(Standing(name, statistics.fmean(s.value for s in scores), widest, simulated, unit.cells))
    return sorted(found, key=lambda each: (exploration.goal.sign * each.value, each.ligand))


def half_width(score: Score) -> float:
    """Half of the 95 % interval; infinite where there is none."""
    return (score.high - score.low) / 2 if score.low is not None and score.high is not None else math.inf
