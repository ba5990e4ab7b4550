"""Which residues hold a ligand: MM/GBSA energy by residue, ligands against residues, mutants in the hover text."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go

from esr1md.report.data import TERMS, Interaction
from esr1md.report.depiction import number
from esr1md.report.figures import (
    INK,
    MOST_ROWS_WITH_WORDS,
    MUTED,
    TEMPLATE,
    UNDECIDED,
    WORSE_IS_HIGH,
    least_width,
    row_label,
    shorten,
)

#: Columns of the map, the same in every report so that reports can be compared: what lines the pocket, the latch and
#: the foot of helix 12.
POCKET = (343, 346, 347, 350, 351, 353, 384, 387, 391, 394, 404, 421, 424, 521, 524, 525, 530, 536, 537, 540)

#: Mutants in one hover text at most, those that differ most.
MOST_MUTANTS = 8

LETTERS = dict(
    ALA="A", ARG="R", ASN="N", ASP="D", ASH="D", CYS="C", CYX="C", CYM="C", GLN="Q", GLU="E", GLH="E", GLY="G", HIS="H",
    HID="H", HIE="H", HIP="H", ILE="I", LEU="L", LYS="K", LYN="K", MET="M", PHE="F", PRO="P", SER="S", THR="T",
    TRP="W", TYR="Y", VAL="V",
)  # fmt: skip

Cells = Mapping[tuple[str, str, str], Mapping[int, Interaction]]


def shown_variant(cells: Cells) -> str | None:
    """The variant that the map shows: the wild type, or the one with most cells; ``None`` without any."""
    variants = [variant for variant, _, _ in cells]
    if not variants:
        return None
    return "WT" if "WT" in variants else max(dict.fromkeys(variants), key=variants.count)


def without_solvent(cells: Cells) -> bool:
    """Whether a replica of an earlier version is among them: its energies leave the solvent's screening out."""
    return any(not energy.terms for cell in cells.values() for energy in cell.values())


def residue_heatmap(cells: Cells, order: Sequence[tuple[str, str]]) -> go.Figure | None:
    """Ligand x residue heat map of the mean energy (kcal/mol) in :func:`shown_variant`; ``None`` without any.

    Parameters
    ----------
    cells
        (variant, ligand, state) -> P03372 number -> energy, from :attr:`StoreData.interactions`.
    order
        (ligand, state) in the order of the ranking; others follow.
    """
    base = shown_variant(cells)
    if base is None:
        return None
    present = [(ligand, state) for variant, ligand, state in cells if variant == base]
    rows = [key for key in dict.fromkeys(order) if key in present]
    rows += [key for key in dict.fromkeys(present) if key not in rows]
    columns = [residue for residue in POCKET if any(residue in cells[base, *key] for key in rows)]
    if not columns:
        return None
    names = _residue_names(cells, columns)
    z = np.full((len(rows), len(columns)), np.nan)
    hover = np.full(z.shape, "", dtype=object)
    for i, (ligand, state) in enumerate(rows):
        mine = cells[base, ligand, state]
        mutants = {v: c for (v, other, s), c in cells.items() if (other, s) == (ligand, state) and v != base}
        for j, residue in enumerate(columns):
            if residue in mine:
                z[i, j] = mine[residue].total
            hover[i, j] = _hover(ligand, base, names[residue], residue, mine, mutants)
    # The salt bridge to D351 is so strong that a scale to its end would leave all others white.
    limit = float(max(2.0, np.nanpercentile(np.abs(z), 90)))
    several = len({state for _, state in rows}) > 1
    words = len(rows) <= MOST_ROWS_WITH_WORDS
    grid = dict(x=list(range(len(columns))), y=list(range(len(rows))), xgap=2, ygap=2)
    figure = go.Figure()
    figure.add_heatmap(
        z=np.zeros_like(z), zmin=0, zmax=1, colorscale=[[0, UNDECIDED], [1, UNDECIDED]], text=hover, hoverinfo="text",
        showscale=False, **grid,
    )  # fmt: skip
    figure.add_heatmap(
        z=z.clip(-limit, limit), zmin=-limit, zmax=limit, colorscale=WORSE_IS_HIGH, hoverinfo="skip", **grid,
        colorbar=dict(
            orientation="h", thickness=8, len=1, x=0, xanchor="left", xpad=0, nticks=7, y=0, yref="container",
            yanchor="bottom", outlinewidth=0, tickfont=dict(size=11),
            title=dict(text=f"energy with the ligand in {base}, kcal/mol (blue holds it, orange repels it; beyond the "
                            "ends one colour)", side="bottom", font=dict(size=12, color=MUTED)),
        ),
    )  # fmt: skip
    if words:
        figure.update_layout(
            annotations=[
                dict(x=j, y=i, text=number(z[i, j]), showarrow=False,
                     font=dict(size=11, color="#ffffff" if abs(z[i, j]) > 0.75 * limit else INK))
                for i, j in np.argwhere(np.isfinite(z)).tolist()
            ]
        )  # fmt: skip
    labels = [shorten(html.escape(row_label(*row, several), quote=False)) + " " for row in rows]
    figure.update_layout(
        template=TEMPLATE,
        height=len(rows) * (34 if words else 22) + 126,
        margin=dict(l=8, r=8, t=34, b=82),
        meta=least_width(len(columns) * (38 if words else 30) + 150),
        xaxis=dict(
            tickvals=list(range(len(columns))), ticktext=[names[c] for c in columns], side="top", showgrid=False,
            ticks="", range=[-0.5, len(columns) - 0.5], fixedrange=True, tickfont=dict(size=12),
        ),
        yaxis=dict(
            tickvals=list(range(len(rows))), ticktext=labels, showgrid=False, range=[len(rows) - 0.5, -0.5],
            automargin=True, fixedrange=True,
        ),
    )  # fmt: skip
    return figure


def _residue_names(cells: Cells, columns: Sequence[int]) -> dict[int, str]:
    """``E353`` by number, as most variants have it."""
    found: dict[int, list[str]] = {residue: [] for residue in columns}
    for cell in cells.values():
        for residue in columns:
            if residue in cell:
                found[residue].append(cell[residue].residue[:3])
    common = {residue: max(names, key=names.count) for residue, names in found.items()}
    return {residue: f"{LETTERS.get(name, name)}{residue}" for residue, name in common.items()}


def _hover(
    ligand: str,
    base: str,
    name: str,
    residue: int,
    mine: Mapping[int, Interaction],
    mutants: Mapping[str, Mapping[int, Interaction]],
) -> str:
    lines = [f"<b>{name}</b> with {html.escape(ligand, quote=False)}"]
    if residue not in mine:
        return lines[0] + f"<br>{base}: not among the strongest residues of every replica"
    energy = mine[residue]
    lines.append(f"{base}: {number(energy.total)} kcal/mol, mean over replicas")
    if energy.terms:
        said = {"vdw": "van der Waals", "coulomb": "Coulomb", "polar": "solvent"}
        lines.append(", ".join(f"{said[term]} {number(energy.terms[term])}" for term in TERMS))
    shifts = {v: cell[residue].total - energy.total for v, cell in mutants.items() if residue in cell}
    largest = sorted(shifts, key=lambda v: -abs(shifts[v]))[:MOST_MUTANTS]
    lines += [f"{v} - {base}: {number(shifts[v])}" for v in largest]
    if len(shifts) > len(largest):
        lines.append(f"and {len(shifts) - len(largest)} mutants that differ less")
    return "<br>".join(lines)
