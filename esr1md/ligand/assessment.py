"""How far a ligand's force field can be trusted: estimated bonded terms, and the two charge methods side by side."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from esr1md.ligand import am1bcc
from esr1md.ligand.ambertools import EstimatedTerm
from esr1md.ligand.charges import equal_on_equal_atoms
from esr1md.ligand.labels import labels
from esr1md.ligand.parameters import parametrise
from esr1md.specs import Ligand

#: RMS difference (e) up to which the two charge methods count as agreeing: what conformers alone do to AM1-BCC charges.
AGREEMENT = 0.03


@dataclass(frozen=True)
class Assessment:
    """What is known of one ligand's parameters.

    Attributes
    ----------
    name, atoms, labels
        The ligand, how many atoms it has, and what every reader must be told of it (:mod:`esr1md.ligand.labels`).
    estimated
        Bonded terms that GAFF2 lacks.
    rmse
        RMS difference (e) between NAGL and AM1-BCC charges; ``None`` without AM1-BCC charges.
    worst_atom, worst_difference
        The atom on which they differ most and what it is bonded to, and NAGL - AM1-BCC there (e).
    am1bcc_seconds
        Processor time that AM1-BCC took; ``None`` without.
    warnings
        From the parametrisation: chemistry outside the charge network's training, parameters set to zero.
    seconds
        Wall time of the parametrisation by NAGL.
    """

    name: str
    atoms: int
    labels: tuple[str, ...]
    estimated: tuple[EstimatedTerm, ...]
    rmse: float | None
    worst_atom: str
    worst_difference: float | None
    am1bcc_seconds: float | None
    warnings: tuple[str, ...]
    seconds: float

    @property
    def doubtful(self) -> EstimatedTerm | None:
        """The estimated term of the largest penalty."""
        scored = [term for term in self.estimated if term.penalty is not None]
        return max(scored, key=lambda term: term.penalty, default=None)


def assess_parameters(ligand: Ligand, folder: Path) -> Assessment:
    """Parametrise a ligand with NAGL charges and compare them with its shipped AM1-BCC charges, if there are any.

    Raises
    ------
    StageError
        The ligand cannot be parametrised.
    """
    parameters = parametrise(ligand, folder)
    mol = parameters.molecule()
    nagl = np.array(parameters.charges)
    record = am1bcc.shipped(ligand)
    rmse = difference = None
    worst = ""
    if record is not None:
        apart = nagl - equal_on_equal_atoms(mol, np.array(record.charges))
        atom = int(np.abs(apart).argmax())
        rmse, difference = float(np.sqrt((apart**2).mean())), float(apart[atom])
        around = sorted(other.GetSymbol() for other in mol.GetAtomWithIdx(atom).GetNeighbors())
        worst = f"{parameters.atom_names[atom]} (bonded to {', '.join(around)})"
    return Assessment(
        name=ligand.name,
        atoms=mol.GetNumAtoms(),
        labels=labels(ligand),
        estimated=parameters.estimated,
        rmse=rmse,
        worst_atom=worst,
        worst_difference=difference,
        am1bcc_seconds=record.seconds if record else None,
        warnings=parameters.warnings,
        seconds=round(sum(parameters.seconds.values()), 2),
    )
