"""From measured rows to what is computed: compounds, each in every form it may bind in."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from rdkit import Chem, rdBase
from rdkit.Chem import Crippen, Descriptors

from esr1md.errors import InputError
from esr1md.ligand.affinity_table import RT, LeftOut, Measured
from esr1md.ligand.molecules import molecule_from_smiles
from esr1md.ligand.states import prepare_compound
from esr1md.specs import Ligand

#: Protonation states with a smaller share at pH 7.4 are not computed (-RT ln of it is 1.4 kcal/mol).
LEAST_SHARE = 0.1
#: Stereoisomers computed of a compound whose SMILES leaves centres open.
MOST_ISOMERS = 8

#: What a series is also ranked by, each so that lower means stronger: nothing that needs a structure.
NULL_MODELS = {
    "molecular weight": "heavier binds better",
    "cLogP": "greasier binds better (Crippen)",
    "heavy atoms": "larger binds better",
}


@dataclass(frozen=True)
class Form:
    """A compound in one stereoisomer and protonation state.

    Attributes
    ----------
    ligand
        Its name tells it from the compound's other forms.
    isomer
        Label of the stereoisomer, empty where the SMILES says which.
    share
        Of this protonation state at pH 7.4 (0 to 1).
    """

    ligand: Ligand
    isomer: str
    share: float


@dataclass(frozen=True)
class Compound:
    """A measured compound.

    Attributes
    ----------
    name, smiles, inchikey, series
        Neutral compound as given.
    lines
        Of the file that measured it.
    dg_kcal
        Measured; the mean where it was measured more than once.
    forms
        What is posed and scored.
    nulls
        Null models (:data:`NULL_MODELS`) of the neutral compound, in their own units.
    beside
        Other predictions from the file.
    notes
        What a reader must know.
    """

    name: str
    smiles: str
    inchikey: str
    series: str
    lines: tuple[int, ...]
    dg_kcal: float
    forms: tuple[Form, ...]
    nulls: dict[str, float]
    beside: dict[str, float]
    notes: tuple[str, ...] = ()


def compounds_of(
    rows: Sequence[Measured], report: Callable[[str, int, int], None] = lambda step, done, total: None
) -> tuple[list[Compound], list[LeftOut]]:
    """Compounds in the order of the file, one for each structure and series; rows that cannot be prepared.

    A compound measured twice in a series counts once, with the mean of its free energies.
    """
    found: dict[tuple[str, str], Compound] = {}
    values: dict[tuple[str, str], list[float]] = {}
    refused: list[LeftOut] = []
    taken: dict[str, int] = {}
    for done, row in enumerate(rows):
        report("reading compounds", done, len(rows))
        try:
            compound = _compound(row, _unique(row.name, taken))
        except InputError as error:
            refused.append(LeftOut(row.line, row.name, error.what))
            continue
        key = (compound.series, compound.inchikey)
        values.setdefault(key, []).append(row.dg_kcal)
        if key in found:
            before = found[key]
            found[key] = replace(before, lines=(*before.lines, row.line), dg_kcal=float(np.mean(values[key])))
        else:
            found[key] = compound
    for key, each in values.items():
        if len(each) > 1:
            spread = max(each) - min(each)
            note = f"Measured {len(each)} times, {spread:.2f} kcal/mol apart: their mean is used."
            found[key] = replace(found[key], notes=(*found[key].notes, note))
    return list(found.values()), refused


def state_penalty(share: float) -> float:
    """What it costs (kcal/mol) to be in a state that only this share of the compound is in at pH 7.4."""
    return -RT * math.log(share)


def _compound(row: Measured, name: str) -> Compound:
    mol = molecule_from_smiles(row.name, row.smiles)
    prepared = prepare_compound(name, mol, charges="dominant", max_isomers=MOST_ISOMERS)
    forms = []
    for each in prepared.ligands:
        wanted = [state for state in each.states if state.share >= LEAST_SHARE] or [each.states[0]]
        for number, state in enumerate(wanted):
            ligand = each.ligand if number == 0 else _in_state(each.ligand, state.smiles, f"charge {state.description}")
            forms.append(Form(ligand, each.label, state.share))
    neutral = Chem.MolFromSmiles(prepared.smiles)
    nulls = {
        "molecular weight": float(Descriptors.MolWt(neutral)),
        "cLogP": float(Crippen.MolLogP(neutral)),
        "heavy atoms": float(neutral.GetNumHeavyAtoms()),
    }
    return Compound(name, prepared.smiles, prepared.inchikey, row.series, (row.line,), row.dg_kcal, tuple(forms), nulls,
                    dict(row.beside), prepared.notes)  # fmt: skip


def _in_state(ligand: Ligand, smiles: str, said: str) -> Ligand:
    mol = Chem.MolFromSmiles(smiles)
    charge = Chem.GetFormalCharge(mol)
    with rdBase.BlockLogs():
        key = Chem.MolToInchiKey(mol)
    return replace(ligand, name=f"{ligand.name} [{charge:+d}]", smiles=smiles, inchikey=key, formal_charge=charge,
                   notes=f"A minor state at pH 7.4: {said.removeprefix('charge ')}.")  # fmt: skip


def _unique(name: str, taken: dict[str, int]) -> str:
    """A name that no other row has: files give one compound's name to several salts and batches."""
    taken[name] = taken.get(name, 0) + 1
    return name if taken[name] == 1 else f"{name} ({taken[name]})"
