"""What the screens of a store have found, together: replicas that finished and replicas that failed, each once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from esr1md.errors import InputError
from esr1md.scoring.cells import ReplicaObservation
from esr1md.scoring.scores import Failure
from esr1md.screen.finish import collect, read_plan
from esr1md.screen.status import screen_names
from esr1md.specs import Ligand
from esr1md.store.artifacts import Store

#: What to do about screens that do not belong together.
_CHOOSE = "choose with train --screen, or explore under another --name"


@dataclass(frozen=True)
class StoredObservations:
    """Replicas of one protocol, each once; ``ligands`` and the screens' ``plans`` (``plan.json``) by name."""

    observations: tuple[ReplicaObservation, ...]
    failures: tuple[Failure, ...]
    ligands: dict[str, Ligand]
    plans: dict[str, dict[str, Any]]

    @property
    def screens(self) -> tuple[str, ...]:
        return tuple(self.plans)

    @property
    def protocol(self) -> str:
        """Its name."""
        return next(iter(self.plans.values()))["protocol"]["name"]


def stored_observations(store: Store, screens: Sequence[str] = ()) -> StoredObservations:
    """What the screens of a store have finished, and what of them has failed.

    Parameters
    ----------
    screens
        Names; all of the store without any. Where the same cell and seed was run twice, with another pose or other
        charges, the first screen's counts.

    Raises
    ------
    InputError
        No screen in the store, none of a name, screens of several protocols, or one name for two ligands.
    """
    names = tuple(dict.fromkeys(screens)) or tuple(screen_names(store))
    if not names:
        raise InputError("no screen has run in this store", where=f"store {store.root}",
                         do="run one first: esr1md screen quickstart")  # fmt: skip
    plans = {name: read_plan(store, name) for name in names}
    protocols = {name: plan["protocol"] for name, plan in plans.items()}
    first = protocols[names[0]]
    if other := next((name for name in names if protocols[name] != first), None):
        raise InputError(
            f"screens '{names[0]}' ({first['name']}) and '{other}' ({protocols[other]['name']}) are of other protocols",
            where=f"store {store.root}", expected="screens of one protocol", do=_CHOOSE,
        )  # fmt: skip
    observations: dict[tuple, ReplicaObservation] = {}
    failures: dict[tuple, Failure] = {}
    ligands: dict[str, Ligand] = {}
    for name, plan in plans.items():
        for each in plan["ligands"]:
            ligand = Ligand(**each)
            if ligands.setdefault(ligand.name, ligand).inchikey != ligand.inchikey:
                raise InputError(f"'{ligand.name}' is another compound in screen '{name}'", where=f"store {store.root}",
                                 do=_CHOOSE)  # fmt: skip
        finished, failed = collect(store, plan)
        for replica in finished:
            observations.setdefault((*replica.cell, replica.seed), replica)
        for failure in failed:
            failures.setdefault((failure.variant, failure.ligand, failure.state, failure.seed), failure)
    return StoredObservations(tuple(observations.values()), tuple(failures.values()), ligands, plans)
