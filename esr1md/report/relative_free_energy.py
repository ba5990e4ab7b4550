"""The convergence page of a relative free energy: profile, convergence over time, overlap of states, replicas' travel.

The page is one file that needs no network, like the report.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import plotly.graph_objects as go

from esr1md.analysis.relative_free_energy import LEAST_OVERLAP, EdgeFreeEnergy, RelativeFreeEnergy
from esr1md.report.convergence import write_figure_page
from esr1md.report.figures import TEMPLATE, UNDECIDED, VARIANT_COLOURS

#: Points of a replica's walk that are drawn; the rest lie on the same pixels.
_MOST_POINTS = 1000


def convergence_figure(repeats: Sequence[RelativeFreeEnergy], together: EdgeFreeEnergy) -> go.Figure:
    """Four panels: free energy of each state, the difference from growing shares of the samples (solid from the
    beginning, dotted from the end), the overlap matrix of the repeat that overlaps least, and the walk of one replica
    of each repeat; one colour a repeat. Energies are kcal/mol.
    """
    figure = go.Figure(layout=_layout())
    if together.interval_kcal is not None:
        low, high = together.interval_kcal
        figure.add_scatter(
            x=[0, 1, 1, 0], y=[high, high, low, low], xaxis="x2", yaxis="y2", fill="toself", mode="lines",
            fillcolor=UNDECIDED, line=dict(width=0), hoverinfo="skip", name="95 % interval",
        )  # fmt: skip
    for i, repeat in enumerate(repeats):
        colour = VARIANT_COLOURS[i % len(VARIANT_COLOURS)]
        line = dict(name=f"repeat {i + 1}", legendgroup=str(i), line=dict(color=colour, width=1.3))
        states = np.arange(1, len(repeat.profile_kcal) + 1)
        figure.add_scatter(
            x=states, y=repeat.profile_kcal, mode="lines+markers", marker=dict(size=5),
            error_y=dict(array=repeat.profile_error_kcal, thickness=1, width=2, color=colour), **line,
        )  # fmt: skip
        for y, error, dash in (
            (repeat.forward_kcal, repeat.forward_error_kcal, "solid"),
            (repeat.backward_kcal, repeat.backward_error_kcal, "dot"),
        ):
            figure.add_scatter(
                x=repeat.fractions, y=y, xaxis="x2", yaxis="y2", mode="lines+markers", marker=dict(size=5),
                error_y=dict(array=error, thickness=1, width=2, color=colour), showlegend=False,
                **line | dict(line=dict(color=colour, width=1.3, dash=dash)),
            )  # fmt: skip
        every = max(1, -(-len(repeat.state_of_replica) // _MOST_POINTS))
        walk = repeat.state_of_replica[::every, 0]
        figure.add_scatter(
            x=np.arange(len(walk)) * every, y=walk + 1, xaxis="x4", yaxis="y4", mode="lines", showlegend=False, **line
        )
    overlap = min((r.overlap for r in repeats), key=_least)
    names = np.arange(1, len(overlap) + 1)
    figure.add_heatmap(
        x=names, y=names, z=overlap, xaxis="x3", yaxis="y3", colorscale=[[0, "#ffffff"], [1, "#0072b2"]], zmin=0,
        zmax=0.5, colorbar=dict(title="overlap", len=0.28, y=0.38, thickness=12), hovertemplate="%{y}, %{x}: %{z:.3f}",
        name="",
    )  # fmt: skip
    return figure


def write_convergence(
    repeats: Sequence[RelativeFreeEnergy], together: EdgeFreeEnergy, path: Path, *, title: str
) -> Path:
    """Write :func:`convergence_figure` with its verdict as one HTML file.

    Parameters
    ----------
    title
        Which edge, first ligand and then second: ``WT, antagonist: phenol to p-cresol``.
    """
    said = [verdict_line(together)]
    said += [f"Repeat {i + 1}: {repeat_line(r)}" for i, r in enumerate(repeats)]
    said.append(f"Neighbouring states of a converged repeat overlap by {LEAST_OVERLAP:g} at least.")
    return write_figure_page(convergence_figure(repeats, together), f"Relative free energy: {title}", said, path)


def verdict_line(together: EdgeFreeEnergy) -> str:
    """The number, its interval and the verdict in one sentence."""
    if together.difference_kcal is None:
        return f"The difference of the binding free energies is not known; {together.reason}."
    number = f"dG(second) - dG(first) = {together.difference_kcal:.2f} kcal/mol"
    if together.interval_kcal is not None:
        number += f" (95 % interval {together.interval_kcal[0]:.2f} to {together.interval_kcal[1]:.2f})"
    counted = f"{together.n_known} of {together.n_repeats} repeats have a number"
    return f"{number}, negative if the second ligand binds the more strongly; {counted}; {together.reason}."


def repeat_line(repeat: RelativeFreeEnergy) -> str:
    """One repeat in one sentence."""
    if repeat.difference_kcal is None:
        return f"{repeat.reason}."
    return f"{repeat.difference_kcal:.2f} kcal/mol (MBAR's error {repeat.error_kcal:.2f}); {repeat.reason}."


def _least(overlap: np.ndarray) -> float:
    """Least overlap of neighbours; of states without any, none."""
    neighbours = np.minimum(np.diag(overlap, 1), np.diag(overlap, -1))
    return float(np.nan_to_num(neighbours, nan=-1.0).min())


def _layout() -> dict:
    """Two rows of one panel, then one of two."""
    small = dict(size=12)

    def axis(text: str, **more) -> dict:
        return dict(title=dict(text=text, standoff=6, font=small), fixedrange=True, **more)

    return dict(
        template=TEMPLATE,
        height=1100,
        margin=dict(l=64, r=8, t=40, b=44),
        hovermode="closest",
        legend=dict(orientation="h", x=0, y=1.0, yanchor="bottom"),
        xaxis=axis("state: first ligand in the site left, second right", domain=[0, 1], anchor="y"),
        yaxis=axis("F (kcal/mol)", domain=[0.79, 1.0], anchor="x"),
        xaxis2=axis("share of the samples, from the beginning (solid) or the end (dotted)", domain=[0, 1], anchor="y2"),
        yaxis2=axis("F(last) \u2212 F(first) (kcal/mol)", domain=[0.53, 0.72], anchor="x2"),
        xaxis3=axis("state", domain=[0, 0.9], anchor="y3"),
        yaxis3=axis("state", domain=[0.22, 0.46], anchor="x3", autorange="reversed"),
        xaxis4=axis("iteration", domain=[0, 1], anchor="y4"),
        yaxis4=axis("state of replica 1", domain=[0.0, 0.15], anchor="x4"),
    )
