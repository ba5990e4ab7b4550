"""Figures of one cell beside its wild type: helix 12 and latches over time, residues, contacts, convergence."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from esr1md.dashboard.cell_data import CellData, ReplicaData
from esr1md.report.figures import GRID, INK, MUTED, PLAIN, TEMPLATE, error_bars, least_width, variant_colours
from esr1md.report.matrix import metric_title
from esr1md.report.residues import LETTERS
from esr1md.specs import HelixState

#: A polar pair closer than this (angstrom) can be a hydrogen bond.
HYDROGEN_BOND = 3.5
LATCHES = ("latch_537_351_angstrom", "latch_537_348_angstrom", "latch_537_380_angstrom", "ligand_n_d351_angstrom")
STATES = tuple(map(str, HelixState))
#: One colour for each state of helix 12, in the figures and on the structure.
STATE_COLOURS = {"agonist": "#d55e00", "antagonist": "#0072b2", "displaced": "#009e73"}
KINDS = ("hydrogen bond", "salt bridge", "hydrophobic")
_DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
#: Residues of a figure at most.
MOST_RESIDUES = 18


def helix12_over_time(cells: Sequence[CellData]) -> go.Figure | None:
    """RMSD of helix 12 to the active place minus RMSD to the groove (angstrom), a line for each replica.

    Bands say on which side a frame is nearer to; a strip below has each replica's state frame by frame.
    """
    replicas = [(c, r) for c in cells for r in c.replicas if r.column("helix12_angstrom") is not None]
    if not replicas:
        return None
    strips = len(replicas)
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, row_heights=[230, 14 * strips + 8],
                           vertical_spacing=0.06)  # fmt: skip
    colours = variant_colours([c.variant for c in cells])
    for cell, replica in replicas:
        figure.add_scatter(
            x=replica.time, y=replica.column("helix12_angstrom"), mode="lines",
            name=f"{cell.variant}, {replica.name}", line=_line(colours[cell.variant], replica, cell),
            hovertemplate="%{y:.1f} \u00c5 at %{x:.3~g} ps<extra>" + html.escape(cell.variant) + "</extra>",
            row=1, col=1,
        )  # fmt: skip
    for k, (cell, replica) in enumerate(replicas):
        if "h12_state" in replica.frames:
            codes = [STATES.index(s) if s in STATES else np.nan for s in replica.frames["h12_state"]]
            figure.add_heatmap(
                x=replica.time, y=[k], z=[codes], zmin=0, zmax=2, showscale=False, ygap=2, row=2, col=1,
                colorscale=_steps([STATE_COLOURS[s] for s in STATES]), text=[list(replica.frames["h12_state"])],
                hovertemplate="%{text} at %{x:.3~g} ps<extra>" + html.escape(cell.variant) + "</extra>",
            )  # fmt: skip
    values = np.concatenate([r.column("helix12_angstrom") for _, r in replicas])
    low, high = _padded(values, 2.0)
    for y0, y1, text, place in ((max(0.0, low), high, "nearer the AF-2 groove", "top"),
                                (low, min(0.0, high), "nearer the active place", "bottom")):  # fmt: skip
        if y1 > y0:
            colour = STATE_COLOURS["antagonist" if place == "top" else "agonist"]
            figure.add_hrect(y0=y0, y1=y1, fillcolor=colour, opacity=0.07, line_width=0, row=1, col=1)
            figure.add_annotation(
                x=1, xref="x domain", xanchor="right", y=1 if place == "top" else 0, yref="y domain", yanchor=place,
                text=text, showarrow=False, font=dict(size=11, color=MUTED),
            )  # fmt: skip
    for state in STATES:
        figure.add_scatter(x=[None], y=[None], mode="markers", name=f"{state} state",
                           marker=dict(symbol="square", size=11, color=STATE_COLOURS[state]), row=1, col=1)  # fmt: skip
    lay_out(figure, 320 + 16 * strips)
    figure.update_yaxes(title=dict(text="helix 12, \u00c5", font=dict(size=12)), range=[low, high], row=1, col=1)
    figure.update_yaxes(tickvals=list(range(strips)), ticktext=[f"{c.variant}, {r.seed}" for c, r in replicas],
                        tickfont=dict(size=10), row=2, col=1, showgrid=False)  # fmt: skip
    figure.update_xaxes(title=dict(text="time, ps", font=dict(size=12)), row=2, col=1)
    return figure


def latches_over_time(cells: Sequence[CellData]) -> go.Figure | None:
    """Latch distances (angstrom) over time, a panel for each that applies."""
    shown = [m for m in LATCHES if any(r.column(m) is not None for c in cells for r in c.replicas)]
    if not shown:
        return None
    figure = make_subplots(rows=1, cols=len(shown), subplot_titles=[metric_title(m) for m in shown],
                           horizontal_spacing=0.06)  # fmt: skip
    colours = variant_colours([c.variant for c in cells])
    for col, metric in enumerate(shown, start=1):
        for cell in cells:
            for replica in cell.replicas:
                values = replica.column(metric)
                if values is None:
                    continue
                figure.add_scatter(
                    x=replica.time, y=values, mode="lines", line=_line(colours[cell.variant], replica, cell),
                    name=f"{cell.variant}, {replica.name}", legendgroup=f"{cell.variant} {replica.digest}",
                    showlegend=col == 1, row=1, col=col,
                    hovertemplate="%{y:.1f} \u00c5 at %{x:.3~g} ps<extra>" + html.escape(cell.variant) + "</extra>",
                )  # fmt: skip
        figure.add_hline(y=HYDROGEN_BOND, line=dict(color=MUTED, width=1, dash="dot"), row=1, col=col)
        figure.update_yaxes(rangemode="tozero", row=1, col=col)
    figure.update_xaxes(title=dict(text="time, ps", font=dict(size=12)))
    figure.update_yaxes(title=dict(text="distance, \u00c5", font=dict(size=12)), row=1, col=1)
    figure.update_annotations(font=dict(size=12, color=INK))
    lay_out(figure, 300)
    figure.update_layout(margin=dict(t=64))
    return figure


def residue_bars(cells: Sequence[CellData]) -> go.Figure | None:
    """Energy of the strongest residues with the ligand (kcal/mol), a bar for each variant with its replicas' range."""
    with_energy = [c for c in cells if c.interactions]
    if not with_energy:
        return None
    chosen = strongest([{residue: e.total for residue, e in cell.interactions.items()} for cell in with_energy])
    colours = variant_colours([c.variant for c in cells])
    figure = go.Figure()
    for cell in with_energy:
        mine = [cell.interactions.get(residue) for residue in chosen]
        figure.add_bar(
            x=[_residue(cells, residue) for residue in chosen], y=[m.total if m else None for m in mine],
            name=cell.variant, marker=dict(color=colours[cell.variant]),
            error_y=error_bars([(m.total, *_spread(cell, m.residue)) if m else None for m in mine], width=2),
            hovertemplate="%{x}: %{y:.1f} kcal/mol<extra>" + html.escape(cell.variant) + "</extra>",
        )  # fmt: skip
    lay_out(figure, 300)
    figure.update_layout(barmode="group", bargap=0.25, meta=least_width(34 * len(chosen) + 120))
    figure.update_yaxes(title=dict(text="with the ligand, kcal/mol", font=dict(size=12)), zeroline=True,
                        zerolinecolor=GRID)  # fmt: skip
    return figure


def contact_barcode(cells: Sequence[CellData]) -> go.Figure | None:
    """Share of frames with each kind of contact by residue: a row for each kind and replica."""
    rows = [(kind, c, r) for kind in KINDS for c in cells for r in c.replicas
            if any(kind in kinds for kinds in r.contacts.get("fingerprint", {}).values())]  # fmt: skip
    if not rows:
        return None
    residues = sorted({int(name[3:]): name for _, _, r in rows for name in r.contacts["fingerprint"]}.items())
    numbers = [n for n, _ in residues]
    z = np.full((len(rows), len(numbers)), np.nan)
    for i, (kind, _, replica) in enumerate(rows):
        for name, kinds in replica.contacts["fingerprint"].items():
            if kind in kinds:
                z[i, numbers.index(int(name[3:]))] = kinds[kind]
    names = [_residue(cells, n) for n in numbers]
    figure = go.Figure(
        go.Heatmap(
            x=names, y=list(range(len(rows))), z=z, zmin=0, zmax=1, colorscale=PLAIN, xgap=2, ygap=2,
            colorbar=dict(title=dict(text="share of frames", font=dict(size=12)), thickness=10, outlinewidth=0,
                          tickformat=".0%", tickfont=dict(size=11)),
            hovertemplate="%{x}: %{z:.0%} of frames<extra></extra>",
        )
    )  # fmt: skip
    lay_out(figure, 20 * len(rows) + 110)
    figure.update_layout(meta=least_width(26 * len(names) + 240))
    figure.update_xaxes(tickangle=-60, showgrid=False, side="top", ticks="", tickfont=dict(size=11))
    figure.update_yaxes(tickvals=list(range(len(rows))), autorange="reversed", showgrid=False, tickfont=dict(size=11),
                        ticktext=[f"{kind}, {c.variant} {r.seed} " for kind, c, r in rows])  # fmt: skip
    return figure


def convergence(cells: Sequence[CellData]) -> go.Figure | None:
    """Running mean of the binding energy (kcal/mol) over the frames that were scored, a line for each replica."""
    figure = go.Figure()
    colours = variant_colours([c.variant for c in cells])
    for cell in cells:
        for replica in cell.replicas:
            values = replica.column("binding_kcal")
            if values is None:
                continue
            known = np.isfinite(values)
            figure.add_scatter(
                x=replica.time[known], y=np.cumsum(values[known]) / np.arange(1, known.sum() + 1), mode="lines",
                name=f"{cell.variant}, {replica.name}", line=_line(colours[cell.variant], replica, cell),
                hovertemplate="%{y:.1f} kcal/mol up to %{x:.3~g} ps<extra>" + html.escape(cell.variant) + "</extra>",
            )  # fmt: skip
    if not figure.data:
        return None
    lay_out(figure, 280)
    figure.update_xaxes(title=dict(text="time, ps", font=dict(size=12)))
    figure.update_yaxes(title=dict(text="running mean, kcal/mol", font=dict(size=12)))
    return figure


def strongest(strengths: Sequence[Mapping[int, float]]) -> list[int]:
    """The :data:`MOST_RESIDUES` residues that are strongest in any of ``strengths``, in the order of the chain."""
    size: dict[int, float] = {}
    for each in strengths:
        for residue, strength in each.items():
            size[residue] = max(size.get(residue, 0.0), abs(strength))
    return sorted(sorted(size, key=lambda residue: -size[residue])[:MOST_RESIDUES])


def _spread(cell: CellData, residue: str) -> tuple[float, float]:
    """Lowest and highest replica (kcal/mol)."""
    found = [r.contacts["residue_energy_kcal"][residue] for r in cell.replicas
             if residue in r.contacts.get("residue_energy_kcal", {})]  # fmt: skip
    return min(found), max(found)


def _residue(cells: Sequence[CellData], residue: int) -> str:
    """``E353``; of a mutated position both, the wild type first: ``Y537S``."""
    found = dict.fromkeys(
        LETTERS.get(name[:3], name[:3])
        for cell in cells
        for replica in cell.replicas
        for name in (*replica.contacts.get("residue_energy_kcal", {}), *replica.contacts.get("fingerprint", {}))
        if name[3:] == str(residue)
    )
    letters = list(found)
    return f"{letters[0] if letters else ''}{residue}{''.join(letters[1:])}"


def _line(colour: str, replica: ReplicaData, cell: CellData) -> dict:
    place = [r.digest for r in cell.replicas].index(replica.digest)
    return dict(color=colour, width=1.6, dash=_DASHES[place % len(_DASHES)])


def _steps(colours: Sequence[str]) -> list[list]:
    n = len(colours)
    return [[edge, colour] for i, colour in enumerate(colours) for edge in (i / n, (i + 1) / n)]


def _padded(values: np.ndarray, least: float) -> tuple[float, float]:
    values = values[np.isfinite(values)]
    middle, half = (values.max() + values.min()) / 2, max(0.56 * (values.max() - values.min()), least / 2)
    return float(middle - half), float(middle + half)


def lay_out(figure: go.Figure, height: int) -> None:
    """Give a figure the look of all others, its legend above."""
    figure.update_layout(
        template=TEMPLATE, height=height, margin=dict(l=8, r=8, t=44, b=8), hovermode="closest",
        legend=dict(orientation="h", x=0, y=1, yref="container", yanchor="top", xanchor="left", font=dict(size=12)),
    )  # fmt: skip
    figure.update_xaxes(automargin=True)
    figure.update_yaxes(automargin=True)
