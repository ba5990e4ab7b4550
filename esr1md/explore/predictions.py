"""What the surrogate says of the cells that were not simulated."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from esr1md.explore.known import Known
from esr1md.explore.layout import Layout
from esr1md.explore.question import Exploration
from esr1md.scoring.cells import CellKey
from esr1md.scoring.scores import Score

if TYPE_CHECKING:
    from esr1md.surrogate.simulation import Prediction


@dataclass(frozen=True)
class Guess:
    """What the surrogate says of cells that were not simulated, or why nothing can be made of it.

    ``scores`` is empty and ``why_not`` a sentence where the proposal has to go by diversity alone.
    """

    scores: dict[CellKey, Score]
    limits: tuple[str, ...]
    why_not: str = ""

    @property
    def basis(self) -> str:
        return "diversity" if self.why_not else "surrogate"


def guess(found: Known, layout: Layout, exploration: Exploration, folder: Path) -> Guess:
    """Train on everything known and predict the candidates' cells; the model is left in ``folder``."""
    from esr1md.surrogate.card import skill_limits
    from esr1md.surrogate.training import train  # with torch and all that it brings, seconds

    objective = exploration.objective
    surrogate, limits = train(
        found.observations, found.ligands, folder, exploration.seed, protocol=found.plan["protocol"]["name"],
        screens=found.screens,
    )  # fmt: skip
    if surrogate is None:
        return Guess({}, limits, limits[0])
    model = surrogate.simulation
    ligands = found.ligands | {unit.ligand.name: unit.ligand for unit in layout.candidates}
    cells = [cell for unit in layout.candidates for cell in unit.cells
             if unit.missing[cell] and cell[2] in model.states[objective]]  # fmt: skip
    said = zip(cells, model.predict(cells, ligands, surrogate.affinity), strict=True)
    predicted = {cell: scores[objective] for cell, scores in said if objective in scores}
    if predicted and all(each.plain for each in predicted.values()):
        poor = [asdict(s) for s in model.skills if s.head in (objective, f"{objective}_shift") and not s.skilled]
        why = next(iter(skill_limits(poor)), f"the surrogate's skill for {exploration.goal.words} cannot be judged")
        return Guess({}, limits, why)
    return Guess({cell: _score(each, exploration.unit) for cell, each in predicted.items()}, limits)


def _score(said: Prediction, unit: str) -> Score:
    low, high = said.value - said.half_width, said.value + said.half_width
    return Score(value=said.value, low=low, high=high, n_replicas=0, unit=unit, origin="predicted")
