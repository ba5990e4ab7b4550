"""Matrix: variants against ligands for one score or metric, as a heat map and as a table."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any

import dash_ag_grid
from dash import ClientsideFunction, Dash, Input, Output, State, dcc, html
from dash.development.base_component import Component

from esr1md.dashboard.address import Address
from esr1md.dashboard.context import context
from esr1md.dashboard.data import Screen
from esr1md.dashboard.parts import empty, field, graph, heading
from esr1md.dashboard.rows import row_key
from esr1md.dashboard.shell import Page, remember, remembered
from esr1md.report.depiction import in_words
from esr1md.report.figures import LEAST_COLUMNS, Look, Shift, heatmap
from esr1md.report.matrix import matrix_of

#: Ligands on one map; more cannot be read.
ROWS = 40
CONTROLS = {
    "measure": ("matrix-measure", "value"),
    "state": ("matrix-state", "value"),
    "find": ("matrix-find", "value"),
    "from": ("matrix-from", "value"),
}
ALL_STATES = "all"


def layout(screen: Screen, address: Address) -> Component:
    named = context().memos["measures"](screen)
    if not named:
        return html.Div([heading("Matrix"), empty("Nothing to compare yet", "No cell of this screen has a score.")])
    states = list(dict.fromkeys(cell[2] for cell in screen.cells))
    return html.Div(
        [
            heading(
                "Matrix",
                note="Variants against ligands. Coloured where an interval tells something, hatched where it does "
                "not, empty where nothing was run. Click a square to open its cell.",
            ),
            html.Div(
                [
                    field("Show", dcc.Dropdown([{"label": t, "value": n} for n, t in named.items()],
                                               address.choice("measure", named, next(iter(named))),
                                               id="matrix-measure", clearable=False), wide=True),
                    field("From the state", dcc.Dropdown([ALL_STATES, *states],
                                                         address.choice("state", states, ALL_STATES),
                                                         id="matrix-state", clearable=False, searchable=False)),
                    field("Find", dcc.Input(id="matrix-find", type="search", value=address["find"], debounce=0.3,
                                            placeholder="ligand", maxLength=200)),
                    field("From ligand number", dcc.Input(id="matrix-from", type="number", min=1, step=ROWS,
                                                          value=int(address.number("from", 1, 1, 1e6)), debounce=0.3)),
                    html.Span(id="matrix-said", className="said", role="status"),
                ],
                className="controls",
            ),
            html.Div(id="matrix-shown"),
            dcc.Store(id="matrix-screen", data=screen.name),
            dcc.Store(id="matrix-keys"),
            dcc.Store(id="matrix-opened"),
            remembered("matrix", CONTROLS),
        ]
    )  # fmt: skip


def register(app: Dash) -> None:
    remember(app, "matrix", CONTROLS)

    @app.callback(
        Output("matrix-shown", "children"), Output("matrix-keys", "data"), Output("matrix-said", "children"),
        [Input(*control) for control in CONTROLS.values()], State("matrix-screen", "data"),
    )  # fmt: skip
    def show(measure: str, state: str, find: str | None, first: int | None, name: str) -> tuple[Any, Any, str]:
        screen = context().reader.screen(name)
        by_row, look = context().memos["matrix"](screen, measure)
        rows = _rows(by_row, state, find or "")
        start = max(0, min((int(first or 1) - 1), max(0, len(rows) - 1)))
        shown = rows[start : start + ROWS]
        cells = [c for row in shown for c in by_row[row]]
        figure = heatmap(screen.ranking, cells, look, shown) if shown else None
        if figure is None:
            return empty("No square to show", "No ligand fits, or this score was not made for it."), None, ""
        columns = list(figure.layout.xaxis.ticktext)
        keys = {"screen": name, "rows": shown, "columns": columns}
        said = f"ligands {start + 1} to {start + len(shown)} of {len(rows)}"
        picture = graph("matrix-map", figure, f"Heat map of {look.title}: the same numbers are in the table below")
        widest = {"maxWidth": f"{260 + 130 * max(LEAST_COLUMNS, len(columns))}px"}
        return [html.Div(picture, style=widest), _table(name, cells, look, shown, columns)], keys, said

    app.clientside_callback(
        ClientsideFunction("esr1md", "openSquare"), Output("matrix-opened", "data"), Input("matrix-map", "clickData"),
        State("matrix-keys", "data"), prevent_initial_call=True,
    )  # fmt: skip


def prepare(screen: Screen, squares_of: Callable[[Screen, str], tuple[dict[Any, list[Shift]], Look]]) -> None:
    """Make the squares of both scores and draw a row of each: the first figures of a process take a second to load."""
    for measure in ("binding", "helix12"):
        by_row, look = squares_of(screen, measure)
        for row, cells in islice(by_row.items(), 1):
            heatmap(screen.ranking, cells, look, [row])


def squares(screen: Screen, measure: str) -> tuple[dict[tuple[str, str], list[Shift]], Look]:
    """(ligand, state) -> squares of its row, and how they are shown.

    Rows are in the order of the ranking, what was simulated before what was only predicted; the squares of a row in the
    order of the variants.
    """
    cells, look = matrix_of(screen.ranking, measure)
    order = {variant: place for place, variant in enumerate(screen.variants)}
    found: dict[tuple[str, str], list[Shift]] = {}
    for c in sorted(cells, key=lambda c: order.get(c.variant, len(order))):
        found.setdefault((c.ligand, c.state), []).append(c)
    ranked = [key for key in screen.lines if key in found]
    return {key: found[key] for key in dict.fromkeys([*ranked, *found])}, look


def _rows(by_row: dict[tuple[str, str], list[Shift]], state: str, find: str) -> list[tuple[str, str]]:
    wanted = find.strip().lower()
    return [key for key in by_row if (state in (ALL_STATES, None) or key[1] == state) and wanted in key[0].lower()]


def _table(
    name: str, cells: list[Shift], look: Look, rows: list[tuple[str, str]], columns: list[str]
) -> Component:  # fmt: skip
    """The same squares in words, for the keyboard and for those who do not see colours."""
    found = {c.cell: c for c in cells}
    data = []
    for ligand, state in rows:
        row: dict[str, Any] = {"id": row_key(ligand, state), "ligand": ligand, "state": state}
        for j, variant in enumerate(columns):
            if c := found.get((variant, ligand, state)):
                row[f"c{j}"] = c.score.value
                row[f"t{j}"] = _in_words(c, look)
        data.append(row)
    definitions = [
        {"field": "ligand", "headerName": "Ligand", "pinned": "left", "width": 200, "tooltipField": "ligand"},
        {"field": "state", "headerName": "Starting state", "width": 130},
        *({"field": f"c{j}", "headerName": variant, "width": 230, "cellRenderer": "Square",
           "cellRendererParams": {"screen": name, "variant": variant, "text": f"t{j}"}}
          for j, variant in enumerate(columns)),
    ]  # fmt: skip
    return html.Details(
        [
            html.Summary("The same as a table"),
            html.Div(
                dash_ag_grid.AgGrid(
                    id="matrix-table", rowData=data, columnDefs=definitions, getRowId="params.data.id",
                    defaultColDef={"sortable": True, "resizable": True},
                    dashGridOptions={"theme": {"function": "gridTheme(theme)"}, "rowHeight": 40,
                                     "enableCellTextSelection": True, "ensureDomOrder": True},
                    style={"height": f"{min(640, 60 + 41 * len(data))}px"},
                ),
                className="grid",
            ),
        ],
        open=False,
    )  # fmt: skip


def _in_words(c: Shift, look: Look) -> str:
    counted = "predicted" if c.score.origin == "predicted" else f"n = {c.score.n_replicas}"
    verdict = f", {c.verdict}" if c.verdict is not None else ""
    return f"{in_words(c.score, signed=look.diverging)}, {counted}{verdict}"


PAGE = Page("/matrix", "Matrix", layout, register)
