"""Compare: two or more cells side by side, each against the first, by metric and by residue."""

from __future__ import annotations

import html as text
from typing import Any

import plotly.graph_objects as go
from dash import ClientsideFunction, Dash, Input, Output, State, dcc, html
from dash.development.base_component import Component

from esr1md.dashboard.address import Address, cell_href, cell_key
from esr1md.dashboard.cell_data import CellData
from esr1md.dashboard.cell_figures import lay_out, strongest
from esr1md.dashboard.comparing import difference, residue_differences, scores_of
from esr1md.dashboard.context import context
from esr1md.dashboard.data import Cell, Screen
from esr1md.dashboard.parts import empty, field, graph, heading, link, table
from esr1md.dashboard.shell import Page
from esr1md.report.depiction import in_words
from esr1md.report.figures import VARIANT_COLOURS, error_bars, least_width, span
from esr1md.report.matrix import SCORE_TITLES, metric_title
from esr1md.scoring.scores import Score

MOST_CELLS = 6


def layout(screen: Screen, address: Address) -> Component:
    known = {cell_key(cell): cell for cell in screen.cells}
    chosen = address.choices("cells", known)[:MOST_CELLS] or _usual(screen)
    options = [{"label": _name(cell), "value": key} for key, cell in known.items()]
    head = [
        heading("Compare", note="Every cell against the first. Intervals of differences are made from both intervals; "
                "where seeds are shared the difference is surer than they say."),
        html.Div(
            [
                field("Cells, the first is the base", dcc.Dropdown(options, chosen, id="compare-cells", multi=True,
                                                                   placeholder="choose two or more", maxHeight=420),
                      wide=True),
                dcc.Store(id="compare-shown", data={"screen": screen.name, "cells": chosen}),
                dcc.Store(id="compare-went"),
            ],
            className="controls broad",
        ),
    ]  # fmt: skip
    if len(chosen) < 2:
        return html.Div([*head, empty("Choose two cells or more", "Ligands, variants or starting states, any mix.")])
    cells = [known[key] for key in chosen]
    return html.Div([*head, _metrics(screen, cells), _residues(screen, cells)])


def _usual(screen: Screen) -> list[str]:
    """The best ligand in the wild type and in the first mutant."""
    first = next(iter(screen.lines), None)
    if first is None:
        return []
    cells = [(variant, *first) for variant in screen.variants[:2]]
    return [cell_key(cell) for cell in cells if cell in screen.cells]


def _name(cell: Cell) -> str:
    return f"{cell[1]} in {cell[0]} ({cell[2]})"


def _metrics(screen: Screen, cells: list[Cell]) -> Component:
    scores = [scores_of(screen.cells[cell]) | screen.cells[cell].metrics for cell in cells]
    known = {name for each in scores for name in each}
    names = [name for name in SCORE_TITLES if name in known]
    names += sorted(known.difference(names), key=metric_title)
    rows = []
    for name in names:
        base = scores[0].get(name)
        row: list[Any] = [SCORE_TITLES.get(name) or metric_title(name)]
        for k, each in enumerate(scores):
            score = each.get(name)
            said = [html.Div(in_words(score, signed=False)) if score else html.Div("not measured", className="muted")]
            if k and score and base:
                apart = difference(score, base)
                words = in_words(apart, with_unit=False, unknown="too few replicas for an interval")
                said.append(html.Div(words, className=f"apart {_sure(apart)}"))
            row.append(said)
        rows.append(row)
    heads = ["Measure", *(link(_name(cell), cell_href(screen.name, *cell)) for cell in cells)]
    return html.Section(
        [
            html.H2("By measure"),
            html.P(["Below each value its difference to the first, ", html.B("bold"),
                    " where the interval excludes 0."], className="note"),
            table(heads, rows, name="compared"),
        ]
    )  # fmt: skip


def _residues(screen: Screen, cells: list[Cell]) -> Component:
    data: list[CellData] = [context().memos["cell"](screen, cell) for cell in cells]
    apart = [residue_differences(each, data[0]) for each in data[1:]]
    chosen = strongest([{residue: score.value for residue, score in each.items()} for each in apart])
    title = html.H2("By residue")
    if not chosen:
        return html.Section([title, empty("No residue to compare", "The energies of residues are not there for two of "
                                          "these cells with a seed in common.")])  # fmt: skip
    figure = go.Figure()
    for k, (cell, found) in enumerate(zip(cells[1:], apart, strict=True)):
        mine = [found.get(residue) for residue in chosen]
        figure.add_scatter(
            x=[j + 0.12 * (k - (len(apart) - 1) / 2) for j in range(len(chosen))], mode="markers",
            y=[s.value if s else None for s in mine], name=text.escape(_name(cell)),
            marker=dict(size=8, color=VARIANT_COLOURS[k], symbol=("circle", "square", "diamond", "cross", "x")[k % 5]),
            error_y=error_bars([span(score) for score in mine], width=3, thickness=1.2),
            hovertemplate="%{y:+.1f} kcal/mol<extra></extra>",
        )  # fmt: skip
    lay_out(figure, 340)
    figure.update_layout(meta=least_width(44 * len(chosen) + 120))
    figure.update_xaxes(tickvals=list(range(len(chosen))), ticktext=[str(n) for n in chosen],
                        title=dict(text="residue (P03372)", font=dict(size=12)), showgrid=False)  # fmt: skip
    figure.update_yaxes(title=dict(text=f"minus {text.escape(_name(cells[0]))}, kcal/mol", font=dict(size=12)),
                        zeroline=True, zerolinewidth=1)  # fmt: skip
    note = "Energy with the ligand, mean over shared seeds; below 0 the residue holds it more than in the first."
    return html.Section(
        [
            title,
            html.P(note, className="note"),
            graph("compare-residues", figure, "Difference of each residue's energy with the ligand"),
        ]
    )


def _sure(score: Score) -> str:
    return "sure" if score.low is not None and (score.low > 0 or score.high < 0) else ""


def register(app: Dash) -> None:
    app.clientside_callback(
        ClientsideFunction("esr1md", "goToCells"), Output("compare-went", "data"), Input("compare-cells", "value"),
        State("compare-shown", "data"), prevent_initial_call=True,
    )  # fmt: skip


PAGE = Page("/compare", "Compare", layout, register)
