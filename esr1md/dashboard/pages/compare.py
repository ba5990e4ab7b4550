"""Compare: two or more cells side by side, each against the first, by metric and by residue."""

from __future__ import annotations

import html as text
from typing import Any

import plotly.graph_objects as go
from dash import ClientsideFunction, Dash, Input, Output, State, dcc, html
from dash.development.base_component import Component

from esr1md.dashboard.address import Address, cell_href
from esr1md.dashboard.cell_data import CellData
from esr1md.dashboard.comparing import SCORES, difference, residue_differences, scores_of, strongest
from esr1md.dashboard.context import context
from esr1md.dashboard.data import Cell, Screen
from esr1md.dashboard.parts import empty, field, graph, heading, link, table
from esr1md.dashboard.shell import Page
from esr1md.report.depiction import number, supported_digits
from esr1md.report.figures import MUTED, TEMPLATE, UNITS, VARIANT_COLOURS, least_width
from esr1md.report.matrix import metric_title
from esr1md.scoring.scores import Score

MOST_CELLS, MOST_RESIDUES = 6, 18
_BETWEEN = "|"


def layout(screen: Screen, address: Address) -> Component:
    known = {_BETWEEN.join(cell): cell for cell in screen.cells}
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
    return [_BETWEEN.join(cell) for cell in cells if cell in screen.cells]


def _name(cell: Cell) -> str:
    return f"{cell[1]} in {cell[0]} ({cell[2]})"


def _metrics(screen: Screen, cells: list[Cell]) -> Component:
    scores = [scores_of(screen.cells[cell]) for cell in cells]
    titles = dict(SCORES)
    names = list(dict.fromkeys(name for each in scores for name in each))
    names.sort(key=lambda name: (name not in titles, list(titles).index(name) if name in titles else 0,
                                 metric_title(name)))  # fmt: skip
    rows = []
    for name in names:
        base = scores[0].get(name)
        row: list[Any] = [titles.get(name) or metric_title(name)]
        for k, each in enumerate(scores):
            score = each.get(name)
            said = [html.Div(_in_words(score)) if score else html.Div("not measured", className="muted")]
            if k and score and base:
                apart = difference(score, base)
                said.append(html.Div(_signed(apart), className=f"apart {_sure(apart)}"))
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
    chosen = strongest(apart, MOST_RESIDUES)
    title = html.H2("By residue")
    if not chosen:
        return html.Section([title, empty("No residue to compare", "The energies of residues are not there for two of "
                                          "these cells with a seed in common.")])  # fmt: skip
    figure = go.Figure()
    for k, (cell, found) in enumerate(zip(cells[1:], apart, strict=True)):
        mine = [found.get(residue) for residue in chosen]
        known = [s is not None and s.low is not None for s in mine]
        figure.add_scatter(
            x=[j + 0.12 * (k - (len(apart) - 1) / 2) for j in range(len(chosen))], mode="markers",
            y=[s.value if s else None for s in mine], name=text.escape(_name(cell)),
            marker=dict(size=8, color=VARIANT_COLOURS[k], symbol=("circle", "square", "diamond", "cross", "x")[k % 5]),
            error_y=dict(type="data", symmetric=False, thickness=1.2, width=3, color=MUTED,
                         array=[s.high - s.value if ok else 0 for s, ok in zip(mine, known, strict=True)],
                         arrayminus=[s.value - s.low if ok else 0 for s, ok in zip(mine, known, strict=True)]),
            hovertemplate="%{y:+.1f} kcal/mol<extra></extra>",
        )  # fmt: skip
    figure.update_layout(
        template=TEMPLATE, height=340, margin=dict(l=8, r=8, t=44, b=8), meta=least_width(44 * len(chosen) + 120),
        legend=dict(orientation="h", x=0, y=1, yref="container", yanchor="top", xanchor="left"),
    )  # fmt: skip
    figure.update_xaxes(tickvals=list(range(len(chosen))), ticktext=[str(n) for n in chosen], automargin=True,
                        title=dict(text="residue (P03372)", font=dict(size=12)), showgrid=False)  # fmt: skip
    figure.update_yaxes(title=dict(text=f"minus {text.escape(_name(cells[0]))}, kcal/mol", font=dict(size=12)),
                        zeroline=True, zerolinewidth=1, automargin=True)  # fmt: skip
    note = "Energy with the ligand, mean over shared seeds; below 0 the residue holds it more than in the first."
    return html.Section(
        [
            title,
            html.P(note, className="note"),
            graph("compare-residues", figure, "Difference of each residue's energy with the ligand"),
        ]
    )


def _in_words(score: Score) -> str:
    digits = supported_digits(score)
    unit = UNITS.get(score.unit, score.unit)
    value = number(score.value, digits).removeprefix("+")
    if score.low is None or score.high is None or score.low == score.high:
        return f"{value} {unit}".rstrip()
    return f"{value} {unit} ({number(score.low, digits)} to {number(score.high, digits)})".replace("+", "")


def _signed(score: Score) -> str:
    digits = supported_digits(score)
    if score.low is None or score.high is None:
        return f"{number(score.value, digits)} (too few replicas for an interval)"
    return f"{number(score.value, digits)} ({number(score.low, digits)} to {number(score.high, digits)})"


def _sure(score: Score) -> str:
    return "sure" if score.low is not None and (score.low > 0 or score.high < 0) else ""


def register(app: Dash) -> None:
    app.clientside_callback(
        ClientsideFunction("esr1md", "goToCells"), Output("compare-went", "data"), Input("compare-cells", "value"),
        State("compare-shown", "data"), prevent_initial_call=True,
    )  # fmt: skip


PAGE = Page("/compare", "Compare", layout, register)
