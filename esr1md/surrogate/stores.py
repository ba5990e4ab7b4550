"""The finished replicas of a store's screens, as a surrogate is trained on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from esr1md.errors import InputError
from esr1md.scoring.cells import ReplicaObservation
from esr1md.screen.finish import collect, read_plan
from esr1md.screen.status import screen_names
from esr1md.specs import Ligand
from esr1md.store.artifacts import Store


@dataclass(frozen=True)
class StoredObservations:
    """Replicas of one protocol, each once; ``ligands`` by name."""

    observations: tuple[ReplicaObservation, ...]
    ligands: dict[str, Ligand]
    protocol: str
    screens: tuple[str, ...]


def stored_observations(store: Store, screens: Sequence[str] = ()) -> StoredObservations:
    """What the screens of a store have finished.

    Parameters
    ----------
    screens
        Names; all of the store without any.

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
            where=f"store {store.root}", expected="screens of one protocol", do="choose with --screen",
        )  # fmt: skip
    found: dict[str, ReplicaObservation] = {}
    ligands: dict[str, Ligand] = {}
    for name, plan in plans.items():
        for each in plan["ligands"]:
            ligand = Ligand(**each)
            if ligands.setdefault(ligand.name, ligand).inchikey != ligand.inchikey:
                raise InputError(f"'{ligand.name}' is another compound in screen '{name}'", where=f"store {store.root}",
                                 do="choose screens with --screen")  # fmt: skip
        for replica in collect(store, plan)[0]:
            found.setdefault(replica.digest, replica)
    # the same cell and seed may have been run twice, with another pose or charges: the first screen's counts
    cells = {(replica.cell, replica.seed): replica for replica in reversed(found.values())}
    return StoredObservations(tuple(cells.values()), ligands, first["name"], names)
