"""The ligand catalogue: ``ligands/ligands.yaml`` as checked entries, and one of them as a ligand."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from esr1md.catalogue import data_path, did_you_mean
from esr1md.errors import InputError
from esr1md.ligand.labels import labels_of
from esr1md.specs import Ligand


class PdbEntry(BaseModel):
    """A structure with the ligand; ``checked`` is false for an id we could not confirm."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(pattern="^[0-9][A-Z0-9]{3}$")
    receptor: str = ""
    checked: bool = True


class CatalogueEntry(BaseModel):
    """One compound of the catalogue.

    Attributes
    ----------
    name, synonyms
        Names a screen may use.
    drug_class
        ``agonist``, ``SERM``, ``SERD``, ``SERCA``, ``PROTAC`` ... (``class`` in the file).
    smiles
        The neutral drug as registered; ``None`` where no structure is public.
    simulated_smiles
        Protonation state and stereoisomer that is simulated; ``None`` when it cannot be.
    protonation
        Why that state.
    not_simulated
        Why it cannot be simulated; empty when it can.
    approval
        Regulatory status in one line.
    pdb, ligand_code
        Structures with the ligand and its three-letter code there.
    source
        Where the structure is from.
    confidence
        Of the structure: ``high``, ``medium`` or ``low``.
    notes
        What a reader of the scores must know.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    name: str
    synonyms: tuple[str, ...] = ()
    drug_class: str = Field(alias="class")
    smiles: str | None = None
    simulated_smiles: str | None = None
    protonation: str = ""
    not_simulated: str = ""
    approval: str
    pdb: tuple[PdbEntry, ...] = ()
    ligand_code: str = ""
    source: str = ""
    confidence: Literal["high", "medium", "low"]
    notes: str = ""

    @model_validator(mode="after")
    def check_simulated_or_why_not(self) -> CatalogueEntry:
        if bool(self.simulated_smiles) == bool(self.not_simulated):
            raise ValueError("give either simulated_smiles or not_simulated, not both and not neither")
        if self.simulated_smiles and not self.smiles:
            raise ValueError("simulated_smiles needs smiles")
        return self

    @property
    def simulated(self) -> bool:
        """Whether a screen can take this compound."""
        return self.simulated_smiles is not None

    @property
    def labels(self) -> tuple[str, ...]:
        """What must stand beside the compound wherever it is shown (:mod:`esr1md.ligand.labels`)."""
        return labels_of(self.smiles, self.drug_class, self.confidence)

    def ligand(self) -> Ligand:
        """The compound as it is simulated.

        Raises
        ------
        InputError
            It cannot be simulated, with the reason.
        """
        if self.simulated_smiles is None:
            raise InputError(
                f"ligand '{self.name}' is listed but not simulated: {self.not_simulated}",
                do="leave it out, or give a structure of your own as smiles or sdf",
            )
        from rdkit import Chem  # costs 0.2 s, which a mere listing need not pay

        mol = Chem.MolFromSmiles(self.simulated_smiles)
        low = f"Structure of {self.confidence} confidence." if self.confidence == "low" else ""
        return Ligand(
            name=self.name,
            smiles=Chem.MolToSmiles(mol),
            inchikey=Chem.MolToInchiKey(mol),
            formal_charge=Chem.GetFormalCharge(mol),
            drug_class=self.drug_class,
            notes=" ".join(filter(None, (self.notes, low, self.protonation))),
            confidence=self.confidence,
        )


def catalogue_entries() -> tuple[CatalogueEntry, ...]:
    """Every compound of the catalogue, in its order.

    Raises
    ------
    InputError
        ``ligands.yaml`` is not valid; the message names the entry and the field.
    """
    return _read_entries(data_path("ligands") / "ligands.yaml")


def catalogue_ligands() -> tuple[Ligand, ...]:
    """Every compound that can be simulated, as a ligand."""
    return tuple(entry.ligand() for entry in catalogue_entries() if entry.simulated)


def catalogue_entry(name_or_synonym: str) -> CatalogueEntry:
    """The entry with this name or synonym; case, spaces and hyphens do not matter.

    Raises
    ------
    InputError
        No such ligand; the nearest names are suggested.
    """
    by_key = _by_name(catalogue_entries())
    found = by_key.get(_key(name_or_synonym))
    if found is None:
        known = [name for entry in catalogue_entries() for name in (entry.name, *entry.synonyms)]
        raise InputError(
            f"unknown ligand '{name_or_synonym}'",
            expected="a name of the ligand catalogue (esr1md ligands lists them)",
            do=did_you_mean(name_or_synonym, known) or "give your own compound as name and smiles, or name and sdf",
        )
    return found


def catalogue_ligand(name_or_synonym: str) -> Ligand:
    """The catalogue's ligand of this name, in the state that is simulated.

    Raises
    ------
    InputError
        Unknown name, or a compound that cannot be simulated (no public structure, boron).
    """
    return catalogue_entry(name_or_synonym).ligand()


@functools.cache
def _read_entries(path: Path) -> tuple[CatalogueEntry, ...]:
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise InputError(f"not readable YAML ({error})", where=str(path)) from error
    if not isinstance(raw, list):
        raise InputError("the ligand catalogue must be a list of entries", where=str(path))
    entries = []
    for number, item in enumerate(raw, start=1):
        name = item.get("name", "") if isinstance(item, dict) else ""
        try:
            entries.append(CatalogueEntry.model_validate(item))
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"])
            raise InputError(
                f"entry {number} ({name or 'no name'}): {field}: {first['msg']}", where=str(path)
            ) from error
    _by_name(tuple(entries), where=str(path))
    return tuple(entries)


def _by_name(entries: tuple[CatalogueEntry, ...], where: str = "") -> dict[str, CatalogueEntry]:
    by_key: dict[str, CatalogueEntry] = {}
    for entry in entries:
        for name in (entry.name, *entry.synonyms):
            other = by_key.setdefault(_key(name), entry)
            if other is not entry:
                raise InputError(f"the name '{name}' is in both {other.name} and {entry.name}", where=where)
    return by_key


def _key(name: str) -> str:
    return re.sub(r"[\s_-]+", "", name).casefold()
