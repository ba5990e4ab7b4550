"""The ligands of a screen: names of the catalogue, users' structures and whole files of them, each in one state."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from esr1md.config import ALL, LigandFile, ScreenConfig
from esr1md.errors import InputError
from esr1md.ligand.catalogue import catalogue_ligand, catalogue_ligands
from esr1md.ligand.inputs import open_input
from esr1md.ligand.library import CHUNK, MEMORY_BYTES, ROW_LIMIT_S, TOO_HUNGRY, row_limits
from esr1md.ligand.molecules import InputRow, molecule_of
from esr1md.ligand.row_workers import answers, chunks_of, reason
from esr1md.ligand.states import checked_name, ligands_from_sdf, prepare_compound
from esr1md.screen.ligand_cache import Prepared, Structure, recall, remember
from esr1md.specs import Ligand
from esr1md.workers import WorkerDied, WorkerPool, usable_cores

#: So many structures are prepared here; for more, processes are worth the two seconds that they take to start.
FEW = 100

Say = Callable[[str], None]


def silent(said: str) -> None:
    """Nobody listens."""


@dataclass(frozen=True)
class LeftOut:
    """A row of a file that is not simulated, and why."""

    file: str
    line: int
    name: str
    reason: str


@dataclass(frozen=True)
class Chosen:
    """The ligands of a screen in their order, each after the name that the user wrote; rows that were left out."""

    ligands: tuple[tuple[str, Ligand], ...]
    left_out: tuple[LeftOut, ...] = ()


@dataclass(frozen=True)
class _Asked:
    """A ligand that is asked for: what is to be prepared, or what that gave; the row of a file that it comes from."""

    name: str
    place: str
    made: Structure | Prepared
    file: LigandFile | None = None
    row: InputRow | None = None


def chosen_ligands(config: ScreenConfig, report: Say = silent) -> Chosen:
    """The ligands of a screen; no compound and no name twice.

    Parameters
    ----------
    report
        Hears how far the preparation is.

    Raises
    ------
    InputError
        One cannot be simulated, or comes twice, at its line of the configuration and of its file.
    """
    if config.ligands == ALL:
        return Chosen(tuple((ligand.name, ligand) for ligand in catalogue_ligands()))
    asked = [each for index in range(len(config.ligands)) for each in _asked(config, index)]
    made = prepare([each.made for each in asked if isinstance(each.made, Structure)], report)
    asked = [replace(each, made=made[each.made]) if isinstance(each.made, Structure) else each for each in asked]
    ligands: list[tuple[str, Ligand]] = []
    left_out: list[LeftOut] = []
    names: dict[str, str] = {}
    compounds: dict[str, str] = {}
    for each in asked:
        if isinstance(each.made, InputError):
            left_out.append(_left_out(each, each.made, asked))
            continue
        fresh = []
        for ligand in each.made:
            if (same := compounds.get(ligand.inchikey)) is not None:
                twice = InputError(f"'{each.name}' is the same ligand as '{same}'", do="remove one of them")
            elif ligand.name in names:
                twice = InputError(f"another ligand is called '{ligand.name}'", do="give one of them another name")
            else:
                fresh.append(ligand)
                continue
            left_out.append(_left_out(each, twice, asked))
        for ligand in fresh:
            names[ligand.name] = compounds[ligand.inchikey] = each.name
            ligands.append((each.name, ligand))
    if not ligands:
        raise InputError(f"none of {len(left_out):,} rows can be simulated", where=config.where("ligands"),
                         expected="one at least", do=f"line {left_out[0].line}: {left_out[0].reason}")  # fmt: skip
    return Chosen(tuple(ligands), tuple(left_out))


def _left_out(each: _Asked, problem: InputError, asked: Sequence[_Asked]) -> LeftOut:
    """The row as one that is left out, where that is wanted; else the problem is raised."""
    if each.file is None:
        raise problem.at(each.place)
    if each.file.skip_bad:
        return LeftOut(str(each.file.file), each.row.line, each.name, reason(problem, each.row))
    more = sum(isinstance(other.made, InputError) for other in asked if other.file is each.file and other is not each)
    do = f"{problem.do}, or 'skip_bad: true'" if problem.do else "'skip_bad: true'"
    do += " leaves such rows out" + (f" ({more:,} more in this file)" if more else "")
    raise InputError(problem.what, where=each.place, expected=problem.expected, do=do)


def _asked(config: ScreenConfig, index: int) -> list[_Asked]:
    """What an entry of the configuration asks for."""
    entry, place = config.ligands[index], config.where("ligands", index)
    charges = "as written" if entry.protonation == "as written" else "charges win"
    options = {"drug_class": entry.drug_class, "stereo": entry.stereo, "charges": charges}
    if isinstance(entry, LigandFile):
        return [
            _Asked(row.name, f"{place}, {entry.file.name}:{row.line}".removeprefix(", "),
                   _of_row(row, options), entry, row)
            for row in _rows(entry, place)
        ]  # fmt: skip
    if entry.smiles is not None:
        return [_Asked(entry.name, place, Structure(entry.name, entry.smiles, "smiles", **options))]
    try:
        if entry.sdf is not None:
            made = ligands_from_sdf(entry.sdf, entry.name, **options)
        else:
            made = [catalogue_ligand(entry.name)]
    except InputError as error:
        raise error.at(place) from error
    return [_Asked(entry.name, place, tuple(made))]


def _rows(entry: LigandFile, place: str) -> list[InputRow]:
    try:
        with open_input(entry.file, smiles_column=entry.smiles_column, name_column=entry.name_column) as source:
            rows = list(source)
    except InputError as error:
        do = error.do.replace("--smiles-column", "smiles_column").replace("--name-column", "name_column")
        raise InputError(error.what, where=error.at(place).where, expected=error.expected, do=do) from error
    if not rows:
        raise InputError(f"'{entry.file}' holds no molecule", where=place)
    return rows


def _of_row(row: InputRow, options: dict[str, str]) -> Structure | InputError:
    return InputError(row.problem) if row.problem else Structure(row.name, row.text, row.kind, **options)


# -- structures -> ligands -----------------------------------------------------------------------------------------


class GivenUp(InputError):
    """A structure that ended its process or took too much; another time it may not, so it is not remembered."""


def prepare(structures: Sequence[Structure], report: Say = silent) -> dict[Structure, Prepared]:
    """The ligands of structures, or why there are none; from the user's cache where they were prepared before."""
    made = recall(structures)
    left = [structure for structure in dict.fromkeys(structures) if structure not in made]
    new: dict[Structure, Prepared] = {}
    began = time.monotonic()
    for some in _here(left) if len(left) <= FEW else _by_processes(left):
        new |= some
        rate = len(new) / max(1e-3, time.monotonic() - began)
        seconds = f", about {(len(left) - len(new)) / rate:.0f} s left" if len(new) >= FEW else ""
        report(f"preparing ligands: {len(new):,} of {len(left):,}{seconds} ...")
    if new:
        remember({structure: each for structure, each in new.items() if not isinstance(each, GivenUp)})
    return made | new


def _here(structures: Sequence[Structure]) -> Iterator[dict[Structure, Prepared]]:
    return ({structure: _prepare_one(structure)} for structure in structures)


def _by_processes(structures: Sequence[Structure]) -> Iterator[dict[Structure, Prepared]]:
    def lost(structure: Structure, death: WorkerDied) -> list[Prepared]:
        ended = str(death).partition(" (see ")[0]  # its log goes with the folder
        limit = f"limits are {ROW_LIMIT_S:.0f} s and {MEMORY_BYTES / 2**30:.0f} GB of memory"
        return [GivenUp(f"ligand '{structure.name}' cannot be prepared: {ended}; {limit}")]

    with (
        tempfile.TemporaryDirectory(prefix="esr1md-ligands-") as logs,
        WorkerPool(usable_cores(), log_folder=Path(logs)) as pool,
    ):
        for chunk, found in answers(pool, chunks_of(structures, CHUNK), prepare_in_worker, lost=lost):
            yield dict(zip(chunk, chain.from_iterable(found), strict=True))


def prepare_in_worker(structures: Sequence[Structure]) -> list[Prepared]:
    """In a worker process, which ends itself when a structure takes too long."""
    found = []
    for structure in structures:
        try:
            with row_limits():
                found.append(_prepare_one(structure))
        except MemoryError:
            found.append(GivenUp(f"ligand '{structure.name}' {TOO_HUNGRY}"))
    return found


def _prepare_one(structure: Structure) -> Prepared:
    try:
        name = checked_name(structure.name, "")
        mol = molecule_of(InputRow(1, 1, name, structure.text, structure.kind))
        found = prepare_compound(
            name, mol, drug_class=structure.drug_class, stereo=structure.stereo, charges=structure.charges
        )
    except InputError as error:
        return error
    except Exception as error:  # one bad row of thousands is told like any other
        if isinstance(error, MemoryError):
            raise
        return InputError(f"ligand '{structure.name}': unexpected {type(error).__name__}: {error}")
    unused = " Coordinates of the file are not used." if structure.kind == "sdf" else ""
    return tuple(replace(each.ligand, notes=each.ligand.notes + unused) for each in found.ligands)
