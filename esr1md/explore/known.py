"""What the screens of an exploration have found so far, and what a replica of them takes."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from esr1md.config import ScreenConfig
from esr1md.explore.candidates import Choice
from esr1md.explore.question import GOALS, Objective
from esr1md.explore.written import choices, configuration
from esr1md.scoring.cells import CellKey, ReplicaObservation, cell_noise, matrix, score_of
from esr1md.scoring.scores import Failure, Score
from esr1md.screen.finish import screen_folder
from esr1md.screen.observations import stored_observations
from esr1md.specs import Ligand
from esr1md.store.artifacts import DONE, Store


@dataclass(frozen=True)
class Known:
    """What the screens of an exploration have found so far.

    Attributes
    ----------
    screens
        Their names.
    plan
        ``plan.json`` of the first screen: the configuration and the machine.
    config
        Its configuration.
    choices
        Name of each ligand -> how a screen's YAML names it.
    ligands, observations, failures
        Of all its screens, each replica once.
    answered
        Cell -> the seeds that have an observation or a failure.
    runs
        (moment it finished, seconds) of each replica.
    seconds
        Of one replica: the median of those that ran on the screen's platform, else the plan's estimate.
    measured
        Whether that was measured.
    """

    screens: tuple[str, ...]
    plan: dict[str, Any]
    config: ScreenConfig
    choices: dict[str, Choice]
    ligands: dict[str, Ligand]
    observations: tuple[ReplicaObservation, ...]
    failures: tuple[Failure, ...]
    answered: dict[CellKey, frozenset[int]]
    runs: tuple[tuple[datetime, float], ...]
    seconds: float
    measured: bool

    @property
    def gpu_share(self) -> int:
        """Simulations that share what an hour is counted of: a GPU, or this machine."""
        return max(1, self.plan["packing"]["per_device"] or self.plan["slots"])

    @property
    def replica_hours(self) -> float:
        return self.seconds / 3600 / self.gpu_share

    def hours_since(self, started: datetime | None) -> float:
        """Hours of the replicas that finished after ``started``; 0 without it. What failed has no time on record."""
        if started is None:
            return 0.0
        return math.fsum(seconds for finished, seconds in self.runs if finished >= started) / 3600 / self.gpu_share

    def scores(self, objective: Objective) -> dict[CellKey, Score]:
        """Measured score of each cell that has one, with the interval of its replicas."""
        goal = GOALS[objective]
        cells = matrix(self.observations, self.failures, self.ligands)
        noise = cell_noise(cells, goal.metric)
        found = {cell: score_of(cells.values(cell, goal.metric), goal.unit, noise[cell]) for cell in cells.replicas}
        return {cell: score for cell, score in found.items() if score is not None}


def known(store: Store, screens: Sequence[str]) -> Known:
    """What the store holds of some screens; the first decides configuration and machine.

    Raises
    ------
    InputError
        One of them has not been run in this store, or they do not belong together (:func:`stored_observations`).
    """
    held = stored_observations(store, screens)
    plans = tuple(held.plans.values())
    named: dict[str, Choice] = {}
    for plan in plans:
        named = choices(plan["config"]["ligands"], plan["ligands"]) | named
    answered: dict[CellKey, set[int]] = {}
    for replica in held.observations:
        answered.setdefault(replica.cell, set()).add(replica.seed)
    for failure in held.failures:
        answered.setdefault((failure.variant, failure.ligand, failure.state), set()).add(failure.seed)
    runs, here = [], []
    digests = dict.fromkeys(replica["digest"] for plan in plans for replica in plan["replicas"])
    for _, folder in store.glance("replicas", digests, ("record.json", DONE)):
        if folder is None:
            continue
        record = json.loads((folder / "record.json").read_text())
        finished = datetime.fromisoformat(json.loads((folder / DONE).read_text())["finished"])
        runs.append((finished, record["seconds"]))
        if record["platform"] == plans[0]["platform"]:
            here.append(record["seconds"])
    return Known(
        screens=held.screens,
        plan=plans[0],
        config=configuration(plans[0], str(screen_folder(store, screens[0]) / "plan.json")),
        choices=named,
        ligands=held.ligands,
        observations=held.observations,
        failures=held.failures,
        answered={cell: frozenset(seeds) for cell, seeds in answered.items()},
        runs=tuple(runs),
        seconds=statistics.median(here) if here else plans[0]["estimate"]["replica_seconds"],
        measured=bool(here),
    )
