"""The rows that a round could have: what is known and what is a candidate, cell by cell, with what is missing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from esr1md.config import APO, ScreenConfig
from esr1md.explore.candidates import Candidate, Choice, LeftOut
from esr1md.explore.known import Known
from esr1md.explore.question import Exploration
from esr1md.receptor.sequence import parse_variant
from esr1md.scoring.cells import CellKey
from esr1md.specs import Ligand


@dataclass(frozen=True)
class Unit:
    """A ligand in every variant and every state that it starts in; ``missing`` counts replicas without an answer."""

    ligand: Ligand
    choice: Choice
    cells: tuple[CellKey, ...]
    missing: dict[CellKey, int]

    @property
    def replicas(self) -> int:
        return sum(self.missing.values())


@dataclass(frozen=True)
class Layout:
    """All rows that there could be: those known, and the candidates (``units`` with replicas missing).

    ``beside`` are the replicas that any further round has to run as well: of the reference ligands and of apo in a
    variant that was not simulated before.
    """

    variants: tuple[str, ...]
    seeds: tuple[int, ...]
    known: tuple[Unit, ...]
    candidates: tuple[Unit, ...]
    references: tuple[str, ...]
    beside: int
    left_out: tuple[LeftOut, ...]


def lay_out(found: Known, exploration: Exploration, candidates: Sequence[Candidate]) -> Layout:
    """Cells of every known ligand and candidate under the variants and seeds of the exploration."""
    config = found.config
    variants = exploration.variants or tuple(parse_variant(text).name for text in config.variants)
    replicas = exploration.replicas or config.replicas
    seeds = tuple(range(config.first_seed, config.first_seed + replicas))

    def unit(ligand: Ligand, choice: Choice) -> Unit:
        written = choice if isinstance(choice, str) else choice["name"]
        states = config.states_of(written, ligand.drug_class)
        cells = tuple((variant, ligand.name, str(state)) for state in states for variant in variants)
        return Unit(ligand, choice, cells, missing(cells))

    def missing(cells: Iterable[CellKey]) -> dict[CellKey, int]:
        return {cell: len(set(seeds) - found.answered.get(cell, frozenset())) for cell in cells}

    rows = tuple(unit(ligand, found.choices[name]) for name, ligand in found.ligands.items())
    references = tuple(row.ligand.name for row in rows if _is_reference(row, config))
    beside = sum(row.replicas for row in rows if row.ligand.name in references)
    if config.apo:
        beside += sum(missing((v, APO, str(state)) for state in config.states_of(APO) for v in variants).values())
    by_key = {row.ligand.inchikey for row in rows}
    by_name = {name.casefold() for name in found.ligands}
    new, left = [], []
    for candidate in candidates:
        if candidate.ligand.inchikey in by_key:
            continue
        if candidate.ligand.name.casefold() in by_name:
            left.append(LeftOut(candidate.ligand.name, "another ligand of this exploration has that name; rename it"))
            continue
        by_key.add(candidate.ligand.inchikey)
        by_name.add(candidate.ligand.name.casefold())
        new.append(unit(candidate.ligand, candidate.choice))
    half_known = tuple(row for row in rows if row.replicas and row.ligand.name not in references)
    return Layout(variants, seeds, rows, (*half_known, *new), references, beside, tuple(left))


def _is_reference(row: Unit, config: ScreenConfig) -> bool:
    given = config.reference_ligand
    wanted = given.values() if isinstance(given, dict) else (given,)
    written = row.choice if isinstance(row.choice, str) else row.choice["name"]
    return row.ligand.name in wanted or written in wanted
