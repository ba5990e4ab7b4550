"""The reviews of a screen as its pages show them; they are kept by :mod:`esr1md.store.reviews`."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

from rdkit import Chem, rdBase

from esr1md.dashboard.data import Screen
from esr1md.errors import Esr1mdError, InputError
from esr1md.store import Store
from esr1md.store import reviews as kept
from esr1md.store.index import Index, open_index

CONFLICT = "in conflict"


class Reviews:
    """Reviews in the database of one store; it is opened when first needed.

    Parameters
    ----------
    store, url
        The store, and the database that is not its own.
    """

    def __init__(self, store: Store, url: str | None = None) -> None:
        self._store, self._url = store, url

    @property
    def index(self) -> Index:
        return open_index(self._store, self._url)

    def histories(self, screen: str) -> dict[kept.Subject, kept.History]:
        """Subject -> all that was said about it.

        Raises
        ------
        InputError
            The database cannot be read.
        """
        return kept.histories(self.index, screen)

    def history(self, subject: kept.Subject) -> kept.History:
        return kept.history(self.index, subject)

    def record(self, subject: kept.Subject, verdict: str, **said: Any) -> kept.Review:
        """See :func:`esr1md.store.reviews.record`."""
        return kept.record(self.index, subject, verdict, **said)

    def undo(self, review: kept.Review, *, reviewer: str) -> kept.Review:
        """See :func:`esr1md.store.reviews.undo`."""
        return kept.undo(self.index, review, reviewer=reviewer)

    def lines(self, screen: str) -> Iterator[str]:
        """Every entry about a screen as a line of JSON."""
        return kept.export_lines(self.index, screen)

    def of_ligands(self, screen: Screen) -> dict[str, str]:
        """Ligand -> the verdict that counts, or that reviewers disagree.

        None where the database cannot be read, which the page of reviews explains.
        """
        found: dict[str, str] = {}
        try:
            reviewed = self.histories(screen.name)
        except Esr1mdError:
            return found
        names = ligands_by_key(screen) if reviewed else {}
        for subject, history in reviewed.items():
            said = CONFLICT if history.conflict and history.verdict is None else history.verdict
            if subject.kind == "ligand" and said:
                found |= dict.fromkeys(names.get(subject.inchikey, ()), said)
        return found


def subject_of(screen: Screen, ligand: str, variant: str = "", state: str = "") -> kept.Subject:
    """A ligand of a screen, or with ``variant`` and ``state`` one of its cells.

    Raises
    ------
    InputError
        The screen has no such ligand or cell, or the ligand no structure.
    """
    known = (variant, ligand, state) in screen.cells if variant else ligand in screen.ligands
    if not known:
        raise InputError(f"there is no such {'cell' if variant else 'ligand'} in screen '{screen.name}'")
    return kept.Subject(screen.name, inchikey_of(screen, ligand), variant or None, state if variant else None)


def ligands_by_key(screen: Screen) -> dict[str, list[str]]:
    """InChIKey -> names of the ligands of a screen that have it."""
    found: dict[str, list[str]] = {}
    for ligand in screen.ligands:
        found.setdefault(inchikey_of(screen, ligand), []).append(ligand)
    return found


def inchikey_of(screen: Screen, ligand: str) -> str:
    """Of what is simulated; ``apo`` without a ligand, empty where there is no structure."""
    if ligand == kept.APO:
        return kept.APO
    return screen.inchikeys.get(ligand) or _inchikey(screen.smiles.get(ligand, ""))


@functools.lru_cache(maxsize=4096)
def _inchikey(smiles: str) -> str:
    with rdBase.BlockLogs():
        molecule = Chem.MolFromSmiles(smiles) if smiles else None
    return Chem.MolToInchiKey(molecule) if molecule is not None else ""
