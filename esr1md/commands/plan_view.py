"""What a dry run shows: the matrix, what it will cost and what would cost less, the rows that were left out."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, TextIO

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from esr1md.commands.terminal import stdout_console
from esr1md.config import LigandFile
from esr1md.ligand.labels import labels
from esr1md.screen.estimate import significant
from esr1md.specs import Cell
from esr1md.store import Store

if TYPE_CHECKING:
    from esr1md.screen.estimate import Estimate
    from esr1md.screen.plan import Plan

#: Matrices of more rows, and of more columns than fit, are shown by their sums.
MOST_ROWS = 40
#: Rows that were left out, and bearers of a label, that are shown by name.
MOST_NAMED = 8
#: From here on (wall time, replicas) it is said what would cost less; and of how many ligands the cost is given.
LONG_S, MANY, FEW_LIGANDS = 14 * 86_400, 20_000, 100


def plan_view(plan: Plan) -> RenderableType:
    """The whole view; what the store holds is looked up now."""
    counts = _counts(plan)
    return Group(*_matrix(plan, counts), *_labels(plan), *_left_out(plan), *_cost(plan))


def write_plan_json(plan: Plan, out: TextIO) -> None:
    """The record of a plan as one JSON document, each replica with ``done``; replicas are written one by one."""
    states = Store(plan.store_root).states("replicas")
    record = plan.record()
    rows = record.pop("replicas")
    head = json.dumps(record, indent=2, allow_nan=False)
    out.write(f'{head[:-2]},\n  "replicas": [')
    for number, row in enumerate(rows):
        done = json.dumps({**row, "done": states.get(row["digest"]) == "done"}, allow_nan=False)
        out.write(f"{',' if number else ''}\n    {done}")
    out.write("\n  ]\n}\n")
    out.flush()


# -- the matrix --------------------------------------------------------------------------------------------------


def _counts(plan: Plan) -> dict[Cell, tuple[int, int]]:
    """Replicas there and wanted of each cell, in order."""
    states, jobs = Store(plan.store_root).states("replicas"), plan.jobs
    cell_of = [jobs.matrix.place(number)[0] for number in jobs.numbers]
    wanted, there = Counter(cell_of), Counter[int]()
    if states:
        there.update(cell for cell, digest in zip(cell_of, jobs.digests, strict=True) if states.get(digest) == "done")
    return {jobs.matrix.cells[cell]: (there[cell], count) for cell, count in wanted.items()}


def _matrix(plan: Plan, counts: Mapping[Cell, tuple[int, int]]) -> Iterator[RenderableType]:
    """A row per ligand and state, a column per variant; or the sums where that does not fit."""
    rows: dict[tuple[str, str], dict[str, tuple[int, int]]] = {}
    for cell, count in counts.items():
        rows.setdefault((cell.ligand_name, str(cell.state)), {})[cell.variant.name] = count
    cells = [[f"{there}/{wanted}" for there, wanted in row.values()] for row in rows.values()]
    widest = max((len(text) for row in cells for text in row), default=0)
    width = max((len(ligand) for ligand, _ in rows), default=0) + 14
    width += sum(3 + max(len(variant.name), widest) for variant in plan.variants)
    if len(rows) > MOST_ROWS or width > stdout_console().width:
        yield from _sums(plan, counts)
        return
    table = _table(f"Replicas there / wanted ({plan.name})")
    for heading in ("ligand", "starts"):
        table.add_column(heading)
    for variant in plan.variants:
        table.add_column(variant.name, justify="right")
    for (ligand, state), row in rows.items():
        found = (row.get(variant.name) for variant in plan.variants)
        table.add_row(Text(ligand), state, *(f"{each[0]}/{each[1]}" if each else "-" for each in found))
    yield table


def _sums(plan: Plan, counts: Mapping[Cell, tuple[int, int]]) -> Iterator[RenderableType]:
    table = _table(f"Replicas there / wanted ({plan.name})")
    for heading in ("starts", "ligands", "variants", "cells", "there", "wanted"):
        table.add_column(heading, justify="left" if heading == "starts" else "right")
    for state in dict.fromkeys(cell.state for cell in counts):
        here = {cell: count for cell, count in counts.items() if cell.state == state}
        numbers = (
            len({cell.ligand_name for cell in here if cell.ligand is not None}),
            len({cell.variant for cell in here}),
            len(here),
            sum(there for there, _ in here.values()),
            sum(wanted for _, wanted in here.values()),
        )
        apo = " and apo" if any(cell.ligand is None for cell in here) else ""
        table.add_row(f"{state}{apo}", *(f"{number:,}" for number in numbers))
    yield table
    yield _indented(Text.assemble(("variants ", "dim"), ", ".join(variant.name for variant in plan.variants)))


# -- the cost ----------------------------------------------------------------------------------------------------


def _cost(plan: Plan) -> Iterator[RenderableType]:
    """What is left to spend, where that is known from, and what would make it less."""
    left = plan.estimate.left
    if not left:
        return
    yield Text()
    yield Text(f"Cost of the {left:,} replicas that are left" if left > 1 else "Cost of the one replica that is left",
               style="bold")  # fmt: skip
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column()
    for term, said in _cost_lines(plan, plan.estimate):
        grid.add_row(term, Text(said))
    yield _indented(grid)
    yield from (_indented(Text(said, style="yellow")) for said in advice(plan))


def _cost_lines(plan: Plan, estimate: Estimate) -> Iterator[tuple[str, str]]:
    digits = estimate.basis.digits
    each = about_time(estimate.replica_seconds, digits)
    yield "time", f"about {about_time(estimate.seconds, digits)}; a replica takes {each}, {plan.slots:,} run at once"
    yield f"{estimate.hours_of} hours", f"about {about(estimate.hours, digits)}"
    if estimate.money is not None:
        yield "money", f"about {about(estimate.money, digits)} {estimate.price.currency} ({estimate.price})"
    elif estimate.price is not None:
        yield "money", f"not known: the price is {estimate.price}, and this runs on {plan.platform.name}"
    yield "disk", f"{about_bytes(estimate.bytes)}, and {about_bytes(estimate.memory)} of memory while it runs"
    parts = sorted(estimate.shares.items(), key=lambda part: -part[1])
    yield "goes into", ", ".join(f"{part} {share * 100:.0f} %" for part, share in parts if share >= 0.005)
    yield "a guess" if estimate.basis.kind == "guess" else "measured", estimate.basis.words
    yield "assumed", estimate.assumed


def advice(plan: Plan) -> list[str]:
    """What would make a screen cheaper that is large for the machine: two lines at most, none for others."""
    estimate = plan.estimate
    if estimate.seconds < LONG_S and estimate.left < MANY:
        return []
    said = []
    ligands, seeds = len(plan.ligands), len(plan.config.seeds)
    states = len({cell.state for cell in plan.cells})
    factors = {"variants": len(plan.variants), "ligands": ligands, "states": states, "replicas": seeds}
    product = " x ".join(f"{count:,} {name}" for name, count in factors.items() if count > 1)
    fewer = [f"{min(3, seeds - 1)} replicas save {100 - 100 * min(3, seeds - 1) / seeds:.0f} %"] if seeds > 2 else []
    fewer += [f"one state saves {100 - 100 / states:.0f} % at most"] if states > 1 else []
    said.append(f"All of {product} count alike" + (f": {', '.join(fewer)}." if fewer else "."))
    if ligands > FEW_LIGANDS:
        hours = about(estimate.hours * FEW_LIGANDS / ligands, estimate.basis.digits)
        files = [entry.file.name for entry in plan.config.ligands if isinstance(entry, LigandFile)]
        said.append(
            f"'esr1md surrogate screen {files[0] if files else 'FILE'}' ranks the ligands in minutes; the best "
            f"{FEW_LIGANDS} would cost about {hours} {estimate.hours_of} hours."
        )
    return said


def about(value: float, digits: int) -> str:
    """A number with the digits that are known: ``16,000``, ``2.4``."""
    value = significant(value, digits)
    return f"{value:,.0f}" if value >= 10 else f"{value:g}"


def about_time(seconds: float, digits: int) -> str:
    """The same of a time, in the unit that suits it: ``40 s``, ``5 min``, ``20 h``, ``3 days``, ``1.8 years``."""
    for name, size, most in (("s", 1, 90), ("min", 60, 90), ("h", 3600, 48), ("days", 86_400, 730)):
        if seconds < most * size:
            return f"{about(seconds / size, digits)} {name}"
    return f"{about(seconds / (365.25 * 86_400), digits)} years"


def about_bytes(number: float) -> str:
    """Two digits: ``5.8 GB``, ``1.4 TB``."""
    for name, size in (("TB", 1e12), ("GB", 1e9)):
        if number >= size:
            return f"{about(number / size, 2)} {name}"
    return f"{about(number / 1e6, 2)} MB"


# -- what was left out ---------------------------------------------------------------------------------------------


def _left_out(plan: Plan) -> Iterator[RenderableType]:
    rows = plan.left_out
    if not rows:
        return
    yield Text(f"Left out: {len(rows):,} row{'s' * (len(rows) > 1)} that cannot be simulated", style="bold yellow")
    for row in rows[:MOST_NAMED]:
        said = f"{row.file.rpartition('/')[2]}:{row.line}: {row.name}: {row.reason}"
        yield _indented(Text(said, no_wrap=True, overflow="ellipsis"))
    if len(rows) > MOST_NAMED:
        yield _indented(Text(f"and {len(rows) - MOST_NAMED:,} more; --json lists all", style="dim"))


def _labels(plan: Plan) -> Iterator[RenderableType]:
    """What must be known of ligands: a line for each label, with those that bear it."""
    bearers: dict[str, list[str]] = {}
    for name, ligand in plan.ligands.items():
        for label in labels(ligand):
            bearers.setdefault(label, []).append(name)
    for label, names in bearers.items():
        more = f" and {len(names) - MOST_NAMED:,} more" if len(names) > MOST_NAMED else ""
        yield Text.assemble((f"{', '.join(names[:MOST_NAMED])}{more}: ", "bold yellow"), (label, "yellow"))


def _indented(what: RenderableType) -> RenderableType:
    return Padding(what, (0, 0, 0, 2))


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False,
                 header_style="bold", show_edge=False)  # fmt: skip
