"""What an exploration looks for and what it may cost."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from esr1md.errors import InputError
from esr1md.receptor.build import check_buildable
from esr1md.receptor.sequence import parse_variant
from esr1md.scoring.cells import BINDING, HELIX12
from esr1md.store.artifacts import Store
from esr1md.surrogate.acquisition import WAYS, By

Objective = Literal["binding", "helix12"]
Say = Callable[[str], None]
#: What an exploration may be called: a screen's name with room for the number of a round.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,94}")


def silent(said: str) -> None:
    """Where nobody listens."""


@dataclass(frozen=True)
class Goal:
    """An objective: its entry in a replica's summary, its unit, the sign that makes lower better, and its words."""

    metric: str
    unit: str
    sign: float
    words: str


GOALS = {
    "binding": Goal(BINDING, "kcal/mol", 1.0, "binding"),
    "helix12": Goal(HELIX12, "angstrom", -1.0, "helix 12"),
}


@dataclass(frozen=True)
class Exploration:
    """What an exploration looks for and what it may cost.

    Attributes
    ----------
    name
        Of its folder; its screens are called ``NAME-1``, ``NAME-2`` ...
    screen
        Name of the screen that it begins with, in the same store.
    gpu_hours
        To be spent in all: hours of one GPU, or of this machine where the screen runs on CPU cores.
    objective
        ``binding`` (kcal/mol, lower is better) or ``helix12`` (angstrom, farther from the active place is better).
    by
        How a candidate is valued, one of :data:`~esr1md.surrogate.acquisition.WAYS`.
    top
        How many of the best ligands are looked for.
    target
        Half-width of the 95 % interval (in the unit of the objective) that is enough for each of them.
    batch
        New ligands of a round at most.
    replicas, variants
        Of the screen if not given.
    diversity
        Of a round's ligands, 0 to 1: see :func:`~esr1md.surrogate.acquisition.select_batch`.
    seed
        Of the surrogate.

    Raises
    ------
    InputError
        A value that cannot be, or an unknown or unbuildable variant.
    """

    name: str
    screen: str
    gpu_hours: float
    objective: Objective = "binding"
    by: By = "mix"
    top: int = 5
    target: float | None = None
    batch: int | None = None
    replicas: int | None = None
    variants: tuple[str, ...] = ()
    diversity: float = 0.25
    seed: int = 0

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise InputError(f"name '{self.name}' cannot name a folder", expected="letters, digits, '.', '-' and '_'")
        for field, allowed in (("objective", get_args(Objective)), ("by", WAYS)):
            if getattr(self, field) not in allowed:
                raise InputError(f"{field} is '{getattr(self, field)}'", expected=f"one of {', '.join(allowed)}")
        for field in ("top", "batch", "replicas"):
            value = getattr(self, field)
            if value is not None and value < 1:
                raise InputError(f"{field} is {value}", expected="1 or more")
        for field in ("gpu_hours", "target"):
            value = getattr(self, field)
            if value is not None and not (value > 0 and math.isfinite(value)):
                raise InputError(f"{field} is {value:g}", expected="a number above 0")
        if not 0 <= self.diversity <= 1:
            raise InputError(f"diversity is {self.diversity:g}", expected="0 to 1")
        found = [parse_variant(text) for text in self.variants]
        for variant in found:
            check_buildable(variant)
        object.__setattr__(self, "variants", tuple(dict.fromkeys(variant.name for variant in found)))

    @property
    def goal(self) -> Goal:
        return GOALS[self.objective]

    @property
    def unit(self) -> str:
        return self.goal.unit

    def to_json(self) -> dict[str, Any]:
        """What is asked, as records have it."""
        return asdict(self) | {"variants": list(self.variants)}

    def folder(self, store: Store) -> Path:
        """``STORE/explore/NAME``."""
        return store.root / "explore" / self.name

    def round_screen(self, number: int) -> str:
        """Name of the screen of a round."""
        return f"{self.name}-{number}"
