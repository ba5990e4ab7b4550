"""Which ligands may be simulated: the catalogue's, those of a file, and why others are left out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rdkit import Chem

from esr1md.errors import InputError
from esr1md.explore.question import Say, silent
from esr1md.ligand.catalogue import catalogue_ligands
from esr1md.ligand.inputs import open_input
from esr1md.ligand.molecules import molecule_of
from esr1md.ligand.states import ligand_from_smiles
from esr1md.specs import Ligand

#: How a screen's YAML names a ligand: a name of the catalogue, or a name with a structure.
Choice = str | dict[str, Any]


@dataclass(frozen=True)
class Candidate:
    """A ligand that may be simulated, and how a screen's YAML names it."""

    ligand: Ligand
    choice: Choice


@dataclass(frozen=True)
class LeftOut:
    """What is no candidate, and why."""

    name: str
    reason: str


def catalogue_candidates() -> tuple[Candidate, ...]:
    """Every catalogued ligand that can be simulated."""
    return tuple(Candidate(ligand, ligand.name) for ligand in catalogue_ligands())


def file_candidates(path: Path | str, report: Say = silent) -> tuple[tuple[Candidate, ...], tuple[LeftOut, ...]]:
    """The ligands of a file of molecules (SMILES, CSV, SDF; a prepared library's ``ligands.csv``), each once.

    A row that is no single defined compound is left out with its reason. ``report`` hears how far it is.

    Raises
    ------
    InputError
        The file cannot be read, or none of its rows can be used.
    """
    found: dict[str, Candidate] = {}
    taken: set[str] = set()
    left: list[LeftOut] = []
    with open_input(path) as rows:
        for row in rows:
            name = f"{row.name} (row {row.number})" if row.name.casefold() in taken else row.name
            try:
                if row.problem:
                    raise InputError(row.problem)
                smiles = row.text.strip() if row.kind == "smiles" else Chem.MolToSmiles(molecule_of(row))
                ligand = ligand_from_smiles(name, smiles)
            except InputError as error:
                left.append(LeftOut(row.name or f"row {row.number}", f"line {row.line}: {error}"))
                continue
            if ligand.inchikey in found:
                same = found[ligand.inchikey].ligand.name
                left.append(LeftOut(name, f"line {row.line}: the same compound as '{same}'"))
                continue
            taken.add(name.casefold())
            found[ligand.inchikey] = Candidate(ligand, {"name": ligand.name, "smiles": smiles})
            if row.number % 50 == 0:
                report(f"{row.number:,} candidates read, {len(left):,} left out ...")
    if not found:
        why = f" ({left[0].name}: {left[0].reason})" if left else ""
        raise InputError(f"no row can be a candidate{why}", where=str(path), expected="a file of SMILES or an SDF")
    return tuple(found.values()), tuple(left)


def candidate_pool(
    path: Path | str | None, with_catalogue: bool = False, report: Say = silent
) -> tuple[tuple[Candidate, ...], tuple[LeftOut, ...]]:
    """The candidates of a file, of the catalogue where no file is given, or of both; and what is none.

    Raises
    ------
    InputError
        As :func:`file_candidates`.
    """
    found, left_out = file_candidates(path, report=report) if path else ((), ())
    return (*found, *(catalogue_candidates() if with_catalogue or not path else ())), left_out
