"""The convergence plot of helix-12 metadynamics: profile, difference over time, and where helix 12 was.

The page is one file that needs no network, like the report.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import plotly.graph_objects as go

from esr1md.analysis.free_energy import BASINS, Basins, FreeEnergy, ReplicaFreeEnergy
from esr1md.report.convergence import write_figure_page
from esr1md.report.figures import INK, TEMPLATE, UNDECIDED, VARIANT_COLOURS

#: Points of a series that are drawn; the rest lie on the same pixels.
_MOST_POINTS = 2000
_S = "s (\u00c5): agonist place left, antagonist place right"


def convergence_figure(
    replicas: Sequence[FreeEnergy], together: ReplicaFreeEnergy, basins: Basins = BASINS
) -> go.Figure:
    """Three panels: F(s), F(agonist) - F(antagonist) against time, s against time; one colour a replica.

    The mean over replicas is black with its 95 % interval in grey; both places are shaded. The antagonist basin is the
    zero of a replica that visited both places, its lowest point that of any other. Energies are kcal/mol.
    """
    figure = go.Figure(layout=_layout(basins))
    if together.low_kcal is not None:
        s = together.s_angstrom
        figure.add_scatter(
            x=[*s, *s[::-1]], y=[*together.high_kcal, *together.low_kcal[::-1]], fill="toself", mode="lines",
            fillcolor=UNDECIDED, line=dict(width=0), hoverinfo="skip", name="95 % interval", showlegend=True,
        )  # fmt: skip
    for i, replica in enumerate(replicas):
        colour = VARIANT_COLOURS[i % len(VARIANT_COLOURS)]
        line = dict(mode="lines", line=dict(color=colour, width=1.3), name=f"replica {i + 1}", legendgroup=str(i))
        zero = 0.0 if replica.difference_kcal is None else replica.antagonist_kcal
        profile = replica.free_energy_kcal - zero
        figure.add_scatter(x=replica.s_angstrom, y=profile, **line)
        figure.add_scatter(
            x=replica.history_ps / 1000, y=replica.history_kcal, xaxis="x2", yaxis="y2", showlegend=False, **line
        )
        every = max(1, -(-len(replica.hills.time_ps) // _MOST_POINTS))
        figure.add_scatter(
            x=replica.hills.time_ps[::every] / 1000, y=replica.hills.s_angstrom[::every],
            xaxis="x3", yaxis="y3", showlegend=False, **line,
        )  # fmt: skip
    if together.mean_kcal is not None and len(replicas) > 1:
        figure.add_scatter(
            x=together.s_angstrom, y=together.mean_kcal, mode="lines", line=dict(color=INK, width=2.2), name="mean"
        )
    return figure


def write_convergence(
    replicas: Sequence[FreeEnergy],
    together: ReplicaFreeEnergy,
    path: Path,
    *,
    title: str,
    basins: Basins = BASINS,
) -> Path:
    """Write :func:`convergence_figure` with its verdict as one HTML file.

    Parameters
    ----------
    title
        What was simulated: ``Y537S, apo``.
    """
    figure = convergence_figure(replicas, together, basins)
    said = [verdict_line(together)]
    said += [f"Replica {i + 1}: {r.reason}." for i, r in enumerate(replicas)]
    return write_figure_page(figure, f"Helix-12 free energy: {title}", said, path)


def verdict_line(together: ReplicaFreeEnergy) -> str:
    """The number, its interval and the verdict in one sentence; no number without both places."""
    if together.difference_kcal is None:
        return f"F(agonist) - F(antagonist) is not known; {together.reason}."
    number = f"F(agonist) - F(antagonist) = {together.difference_kcal:.1f} kcal/mol"
    if together.interval_kcal is not None:
        number += f" (95 % interval {together.interval_kcal[0]:.1f} to {together.interval_kcal[1]:.1f})"
    counted = f"{together.n_both} of {together.n_replicas} replicas that visited both places"
    return f"{number}, positive if the antagonist place is favoured; {counted}; {together.reason}."


def _layout(basins: Basins) -> dict:
    """Three panels in a column, the places of helix 12 shaded in the first and the last."""
    small = dict(size=12)
    shapes = []
    for low, high in basins:
        shade = dict(type="rect", fillcolor="#56b4e9", opacity=0.12, line=dict(width=0), layer="below")
        shapes += [
            dict(shade, xref="x", yref="y domain", x0=low, x1=high, y0=0, y1=1),
            dict(shade, xref="x3 domain", yref="y3", x0=0, x1=1, y0=low, y1=high),
        ]

    def axis(text: str, **more) -> dict:
        return dict(title=dict(text=text, standoff=6, font=small), fixedrange=True, **more)

    return dict(
        template=TEMPLATE,
        height=900,
        margin=dict(l=64, r=8, t=40, b=44),
        hovermode="closest",
        shapes=shapes,
        legend=dict(orientation="h", x=0, y=1.0, yanchor="bottom"),
        xaxis=axis(_S, domain=[0, 1], anchor="y"),
        yaxis=axis("F(s) (kcal/mol)", domain=[0.70, 1.0], anchor="x"),
        xaxis2=axis("time (ns)", domain=[0, 1], anchor="y2"),
        yaxis2=axis("F(agonist) \u2212 F(antagonist) (kcal/mol)", domain=[0.37, 0.62], anchor="x2"),
        xaxis3=axis("time (ns)", domain=[0, 1], anchor="y3"),
        yaxis3=axis("s (\u00c5)", domain=[0.0, 0.29], anchor="x3"),
    )
