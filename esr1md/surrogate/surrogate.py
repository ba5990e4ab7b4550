"""A surrogate as it is used: the affinity model, what a store's simulations have taught it, and its card."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rdkit import Chem

from esr1md.catalogue import did_you_mean
from esr1md.errors import InputError
from esr1md.receptor.sequence import parse_variant
from esr1md.surrogate.affinity import AffinityModel
from esr1md.surrogate.card import UNITS, Card, shipped_folder, statement
from esr1md.surrogate.cells import WILD_TYPE
from esr1md.surrogate.features import parent_features
from esr1md.surrogate.files import load_files
from esr1md.surrogate.simulation import SimulationModel

#: Compounds of a library have no name; one stands for all where only features count.
_SOME = "library compound"


@dataclass(frozen=True)
class Column:
    """A column of :meth:`Surrogate.table`: its name, its unit and what it means."""

    name: str
    unit: str
    meaning: str


@dataclass(frozen=True)
class Surrogate:
    """A trained surrogate.

    Attributes
    ----------
    affinity
        Of the wild type, from assays.
    simulation
        Scores of a store's screens; ``None`` where it was not trained on one.
    card
        Data, figures and limits.
    digest
        SHA-256 of its weights.
    """

    affinity: AffinityModel
    simulation: SimulationModel | None
    card: Card
    digest: str = ""

    @property
    def statement(self) -> str:
        """One sentence, to stand on every output: what the numbers are."""
        return statement(self.card)

    def on(self, device: str) -> Surrogate:
        """The same with its message passing on a torch device (``cpu``, ``cuda`` ...)."""
        self.affinity.network.to(torch.device(device))
        return self

    def columns(self, variants: Sequence[str] = (), state: str = "antagonist") -> tuple[Column, ...]:
        """Columns of :meth:`table`.

        Raises
        ------
        InputError
            A variant that cannot be; variants of a surrogate that was trained on no store; a state that it never saw.
        """
        found = [
            Column("pchembl", "-log10 mol/l", "predicted assay affinity for the wild type"),
            Column("pchembl_low", "-log10 mol/l", "low end; 90 % interval"),
            Column("pchembl_high", "-log10 mol/l", "high end; 90 % interval"),
            Column("pchembl_sd", "-log10 mol/l", "predicted standard deviation"),
            Column("similarity", "fraction", "Tanimoto of Morgan counts to the nearest training compound"),
            Column("nearest", "", "InChIKey of the nearest training compound"),
            Column("in_domain", "", "whether the similarity is one at which the model was judged"),
        ]
        for variant in self._checked(variants, state):
            for score in self._scores(state):
                name, unit = _name(score, variant), UNITS[score]
                plain = self._plain(score, variant)
                meaning = f"predicted simulation score ({score}) of {variant}, {state} state"
                found += [Column(name, unit, f"{meaning}; no skill: {plain}" if plain else meaning),
                          Column(f"{name}_low", unit, "low end; 95 % interval"),
                          Column(f"{name}_high", unit, "high end; 95 % interval")]  # fmt: skip
        return tuple(found)

    def table(
        self,
        molecules: Sequence[Chem.Mol],
        variants: Sequence[str] = (),
        state: str = "antagonist",
        smiles: Sequence[str] | None = None,
    ) -> dict[str, np.ndarray]:
        """Predict n neutral parents (:mod:`esr1md.surrogate.standard`), with their SMILES if at hand; column -> (n,).

        Raises
        ------
        InputError
            As :meth:`columns`.
        """
        variants = self._checked(variants, state)
        smiles = [Chem.MolToSmiles(mol) for mol in molecules] if smiles is None else smiles
        said = self.affinity.predict(molecules, smiles)
        table: dict[str, np.ndarray] = {
            "pchembl": said.value,
            "pchembl_low": said.low,
            "pchembl_high": said.high,
            "pchembl_sd": said.sd,
            "similarity": said.similarity,
            "nearest": np.array(self.affinity.inchikeys, dtype=object)[said.nearest],
            "in_domain": said.in_domain,
        }
        if not variants or not len(molecules):
            return table | {c.name: np.zeros(0) for c in self.columns(variants, state) if c.name not in table}
        features = parent_features(molecules, smiles, self.affinity, said.value)
        for variant in variants:
            cells = self.simulation.predict_features([(variant, _SOME, state)] * len(molecules), features)
            for score in self._scores(state):
                value = np.array([cell[score].value for cell in cells])
                half = np.array([cell[score].half_width for cell in cells])
                name = _name(score, variant)
                table |= {name: value, f"{name}_low": value - half, f"{name}_high": value + half}
        return table

    def _scores(self, state: str) -> list[str]:
        """Scores that can be predicted of a ligand in a state."""
        return [
            score
            for score, states in self.simulation.states.items()
            if state in states and self.simulation.skill(score, "ligand") is not None
        ]

    def _checked(self, variants: Sequence[str], state: str) -> list[str]:
        """Variants by their proper names, each once."""
        names = list(dict.fromkeys(parse_variant(variant).name for variant in variants))
        if names and self.simulation is None:
            raise InputError(
                f"this surrogate knows nothing of {names[0]}: it was trained on assays of the wild type only",
                do="train it on a store of simulations: esr1md surrogate train --store STORE",
            )
        known = sorted({s for states in self.simulation.states.values() for s in states}) if names else []
        if names and state not in known:
            raise InputError(f"nothing was simulated in the state '{state}'", expected=f"one of {', '.join(known)}",
                             do=did_you_mean(state, known))  # fmt: skip
        return names

    def _plain(self, score: str, variant: str) -> str:
        """What stands in for a head without skill; empty where it has some."""
        said = []
        if not self.simulation.skill(score, "ligand").skilled:
            said.append("the mean of the simulated ligands stands in")
        if variant != WILD_TYPE:
            kind = "ligand" if variant in self.simulation.variants else "variant"
            shift = self.simulation.skill(f"{score}_shift", kind)
            if shift is None or not shift.skilled:
                said.append("the wild type's value stands in for the mutant's")
        return ", ".join(said)


def _name(score: str, variant: str) -> str:
    """Column of a score: ``binding_Y537S_kcal``, ``helix12_WT_angstrom``."""
    return f"{score}_{variant}_{UNITS[score].split('/')[0]}"


def load_surrogate(folder: Path | None = None) -> Surrogate:
    """Read a surrogate; without a folder the one that is shipped (``ligands/surrogate``).

    Raises
    ------
    InputError
        No such folder, or files that are no surrogate's, are damaged or are pickles.
    """
    return Surrogate(*load_files(shipped_folder() if folder is None else Path(folder)))
