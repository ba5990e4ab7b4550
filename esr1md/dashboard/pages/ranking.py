"""Ranking: every ligand with its scores, verdicts and place; filter, weigh, export."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dash_ag_grid
from dash import ClientsideFunction, Dash, Input, Output, State, dcc, html, no_update
from dash.development.base_component import Component

from esr1md.dashboard import exports
from esr1md.dashboard.address import Address, href
from esr1md.dashboard.context import context, is_dark
from esr1md.dashboard.data import Screen
from esr1md.dashboard.parts import chip, empty, field, heading
from esr1md.dashboard.rows import LETTERS, SCORES
from esr1md.dashboard.shell import Page, remember, remembered
from esr1md.dashboard.substructure import MOST_CHARACTERS, holding, pattern_of
from esr1md.report.caveats import DISBELIEVE
from esr1md.report.words import headline
from esr1md.scoring.scores import Verdict

CONTROLS = {
    "class": ("ranking-class", "value"),
    "verdict": ("ranking-verdict", "value"),
    "in": ("ranking-in", "value"),
    "smarts": ("ranking-smarts", "value"),
    "find": ("ranking-find", "value"),
    "origin": ("ranking-origin", "value"),
    "group": ("ranking-group", "value"),
    "wb": ("ranking-wb", "value"),
    "wh": ("ranking-wh", "value"),
    "wr": ("ranking-wr", "value"),
}
GROUPS = {"class": "class", "state": "starting state", "overall": "verdict", "origin": "origin"}
ORIGINS = ("simulated", "mixed", "predicted")
MOST_WEIGHT = 3.0
HEIGHT = 92
EMPTY_LAST = {"function": "emptyLast(valueA, valueB, isDescending)"}
#: How often an open page asks whether there is something newer (ms).
LOOK_MS = 4000


def layout(screen: Screen, address: Address) -> Component:
    rows = context().memos["rows"](screen)
    if not rows:
        said = headline(screen.ranking)
        return html.Div([heading("Ranking"), empty(said.title, said.detail)])
    mutants = screen.mutants
    return html.Div(
        [
            html.Div(_head(screen), id="ranking-head"),
            _filters(rows, mutants, address),
            _weights(screen, address),
            _toolbar(),
            _grid(screen, rows, mutants, address),
            dcc.Store(id="ranking-source", data=_source(screen)),
            dcc.Store(id="ranking-rows"),
            dcc.Store(id="ranking-reviews", data=context().reviews.of_ligands(screen)),
            dcc.Interval(id="ranking-look", interval=LOOK_MS),
            dcc.Store(id="ranking-hits"),
            dcc.Store(id="ranking-weighted"),
            dcc.Store(id="ranking-screen", data=screen.name),
            dcc.Store(id="ranking-wanted"),
            dcc.Download(id="ranking-file"),
            remembered("ranking", CONTROLS),
        ]
    )


def _source(screen: Screen) -> str:
    """Where the page gets its rows: once for each version, and not inside the page."""
    return href("/rows.json", screen=screen.name, v=screen.version)


def _head(screen: Screen) -> Component:
    ranking = screen.ranking
    said, controls = context().memos["said"](screen)
    live = [html.Span("running: what has finished so far", className="tag live")] if screen.live else []
    contradicted = [c for c in ranking.controls if c.outcome == "contradicts"]
    warning = [
        html.Div([html.Strong(DISBELIEVE + "."), *(html.Span(f" {c.name}: {c.detail}") for c in contradicted)],
                 className="problem", role="alert")
    ]  # fmt: skip
    return html.Div(
        [
            heading("Ranking", *live),
            *(warning if contradicted else []),
            html.P(said.title, className="answer"),
            html.P([said.detail, f" Controls: {controls}." if controls else ""], className="note"),
        ]
    )


def _filters(rows: list[dict[str, Any]], mutants: Sequence[str], address: Address) -> Component:
    classes = sorted({row["class"] for row in rows})
    verdicts = [
        {"label": f"{'binding' if place == 0 else 'helix 12'} {verdict}", "value": f"{place}{letter}"}
        for place in (0, 1)
        for verdict, letter in LETTERS.items()
    ]
    places = [{"label": "over all mutants", "value": "overall"}]
    places += [{"label": variant, "value": f"v{i}"} for i, variant in enumerate(mutants)]
    options = {place["value"] for place in verdicts}
    return html.Div(
        [
            field("Find", dcc.Input(id="ranking-find", type="search", value=address["find"], debounce=0.1,
                                    placeholder="name, note", maxLength=200)),
            field("Class", dcc.Dropdown(classes, address.choices("class", classes), id="ranking-class", multi=True,
                                        placeholder="all")),
            field("Verdict", dcc.Dropdown(verdicts, address.choices("verdict", options), id="ranking-verdict",
                                          multi=True, placeholder="any", searchable=False)),
            field("in", dcc.Dropdown(places, address.choice("in", [p["value"] for p in places], "overall"),
                                     id="ranking-in", clearable=False)),
            html.Div(
                [
                    html.Label("Substructure (SMARTS)", htmlFor="ranking-smarts"),
                    dcc.Input(id="ranking-smarts", type="text", value=address["smarts"], debounce=0.15,
                              placeholder="c1ccc(O)cc1", maxLength=MOST_CHARACTERS, spellCheck=False),
                    html.Span(id="ranking-smarts-said", className="said", role="status"),
                ],
                className="field wide",
            ),
            field("Origin", dcc.Dropdown(ORIGINS, address.choices("origin", ORIGINS), id="ranking-origin", multi=True,
                                         placeholder="all", searchable=False)),
            field("Group by", dcc.Dropdown([{"label": text, "value": name} for name, text in GROUPS.items()],
                                           address.choice("group", GROUPS) or None, id="ranking-group",
                                           placeholder="nothing", searchable=False)),
        ],
        className="controls", role="search",
    )  # fmt: skip


def _weights(screen: Screen, address: Address) -> Component:
    own = screen.weights.as_tuple()
    names = (("wb", "Binding"), ("wh", "Helix 12"), ("wr", "Worst mutant"))
    sliders = [
        html.Div(
            [
                html.Label(text, htmlFor=f"ranking-{name}", id=f"ranking-{name}-label"),
                dcc.Slider(0, MOST_WEIGHT, 0.25, value=address.number(name, value, 0, MOST_WEIGHT), marks=None,
                           id=f"ranking-{name}", updatemode="mouseup", tooltip={"placement": "top"}),
            ],
            className="weight",
        )
        for (name, text), value in zip(names, own, strict=True)
    ]  # fmt: skip
    return html.Div(
        [html.Div([html.H2("What counts"), html.Span(id="ranking-weights-said", className="said", role="status")]),
         *sliders],
        className="weights", role="group", **{"aria-label": "Weights of the criteria"},
    )  # fmt: skip


def _toolbar() -> Component:
    buttons = [
        html.Button(name, id=f"ranking-{kind}", title=f"Download what is shown as {name}", className="quiet")
        for kind, name in exports.FORMATS.items()
    ]
    signs = [chip(verdict) for verdict in Verdict]
    return html.Div(
        [
            html.Span(id="ranking-count", className="count", role="status"),
            html.Span([html.Span("upper sign binding, lower sign helix 12:", className="muted"), *signs],
                      className="legend"),
            html.Span([html.Span("Export what is shown", className="muted"), *buttons], className="buttons"),
        ],
        className="toolbar",
    )  # fmt: skip


def _grid(screen: Screen, rows: list[dict[str, Any]], mutants: Sequence[str], address: Address) -> Component:
    theme = "dark" if is_dark() else "light"
    scores = [_score_column(*score) for score in SCORES]
    columns: list[dict[str, Any]] = [
        {"field": "group", "headerName": "Group", "hide": not address["group"], "width": 130, "pinned": "left",
         "sortable": False},
        {"field": "rank", "headerName": "Rank", "width": 86, "cellRenderer": "Rank", "pinned": "left",
         "comparator": EMPTY_LAST,
         "filter": "agNumberColumnFilter", "headerTooltip": "by binding, within a starting state; 95 % interval below"},
        {"field": "ligand", "headerName": "Ligand", "width": 330, "cellRenderer": "Ligand", "pinned": "left",
         "filter": "agTextColumnFilter",
         "cellRendererParams": {"screen": screen.name, "theme": theme, "version": screen.version,
                                "variant": mutants[0] if mutants else "WT"}},
        {"field": "class", "headerName": "Class", "width": 104, "filter": "agTextColumnFilter"},
        *scores,
        {"headerName": "Verdict in" if len(mutants) < 3 else "Verdict in each mutant", "children": [
            {"field": "overall", "headerName": "all", "width": 66, "cellRenderer": "Verdicts"},
            *({"field": f"v{i}", "headerName": variant, "width": max(78, 24 + 8 * len(variant)),
               "cellRenderer": "Verdicts", "cellRendererParams": {"screen": screen.name, "variant": variant}}
              for i, variant in enumerate(mutants)),
        ]},
        {"field": "shown_weighted", "headerName": "Weighted rank", "width": 124, "cellRenderer": "Weighted",
         "comparator": EMPTY_LAST,
         "filter": "agNumberColumnFilter", "headerTooltip": "by the weights above; arrows against the screen's own",
         **({"sort": "asc"} if any(address[name] for name in ("wb", "wh", "wr")) else {})},
        {"field": "review", "headerName": "Review", "width": 140, "cellRenderer": "Reviewed",
         "cellRendererParams": {"screen": screen.name}},
        {"field": "origin", "headerName": "Origin", "width": 112},
        {"field": "approval", "headerName": "Approval", "width": 190, "filter": "agTextColumnFilter",
         "cellClass": "wrapped", "tooltipField": "approval"},
        {"field": "notes", "headerName": "Notes", "width": 380, "cellClass": "wrapped",
         "filter": "agTextColumnFilter", "tooltipField": "notes"},
    ]  # fmt: skip
    return html.Div(
        dash_ag_grid.AgGrid(
            id="ranking-grid",
            rowData=[],
            columnDefs=columns,
            getRowId="params.data.id",
            defaultColDef={"sortable": True, "resizable": True, "wrapHeaderText": True},
            dashGridOptions={
                "theme": {"function": "gridTheme(theme)"}, "animateRows": True, "rowBuffer": 4,
                "rowHeight": HEIGHT, "headerHeight": 46, "groupHeaderHeight": 26,
                "postSortRows": {"function": "together(params)"}, "tooltipShowDelay": 400,
                "enableCellTextSelection": True, "ensureDomOrder": True, "suppressColumnVirtualisation": False,
                "localeText": {"noRowsToShow": "No ligand fits these filters."},
            },
            style={"height": f"min({HEIGHT * max(3, len(rows)) + 120}px, calc(100vh - 120px))", "minHeight": "420px"},
        ),
        className="grid",
    )  # fmt: skip


def _score_column(name: str, text: str, unit: str, said: str) -> dict[str, Any]:
    return {
        "field": name, "headerName": f"{text} ({unit})", "headerTooltip": said, "width": 200, "cellRenderer": "Score",
        "filter": "agNumberColumnFilter", "cellRendererParams": {"name": name, "unit": unit},
        "comparator": EMPTY_LAST,
    }  # fmt: skip


def register(app: Dash) -> None:
    remember(app, "ranking", CONTROLS)
    app.clientside_callback(
        ClientsideFunction("esr1md", "fetchRows"), Output("ranking-rows", "data"), Input("ranking-source", "data")
    )
    app.clientside_callback(
        ClientsideFunction("esr1md", "arrange"),
        Output("ranking-grid", "rowData"), Output("ranking-grid", "columnState"), Output("ranking-count", "children"),
        Input("ranking-rows", "data"), Input("ranking-find", "value"), Input("ranking-class", "value"),
        Input("ranking-verdict", "value"), Input("ranking-in", "value"), Input("ranking-hits", "data"),
        Input("ranking-origin", "value"), Input("ranking-group", "value"), Input("ranking-weighted", "data"),
        Input("ranking-reviews", "data"), State("ranking-grid", "columnState"),
    )  # fmt: skip

    @app.callback(
        Output("ranking-head", "children"), Output("ranking-source", "data"),
        Input("ranking-look", "n_intervals"), State("ranking-source", "data"), State("ranking-screen", "data"),
        prevent_initial_call=True,
    )  # fmt: skip
    def look(_: int, shown: str, name: str) -> tuple[Any, Any]:
        screen = context().reader.screen(name)
        if _source(screen) == shown or screen.ranking is None:
            return no_update, no_update
        return _head(screen), _source(screen)

    @app.callback(
        Output("ranking-hits", "data"), Output("ranking-smarts-said", "children"), Input("ranking-smarts", "value"),
        State("ranking-screen", "data"),
    )  # fmt: skip
    def search(smarts: str | None, name: str) -> tuple[Any, str]:
        if not (smarts or "").strip():
            return None, ""
        pattern = pattern_of(smarts.strip())
        if pattern is None:
            return None, "not a SMARTS pattern; all are shown"
        screen = context().reader.screen(name)
        hits = holding(context().memos["molecules"](screen), pattern)
        return hits, f"in {len(hits)} of {len(screen.smiles)} ligands"

    @app.callback(
        Output("ranking-weighted", "data"), Output("ranking-weights-said", "children"),
        Input("ranking-wb", "value"), Input("ranking-wh", "value"), Input("ranking-wr", "value"),
        State("ranking-screen", "data"),
    )  # fmt: skip
    def weigh(binding: float, helix12: float, resistance: float, name: str) -> tuple[Any, str]:
        screen = context().reader.screen(name)
        chosen = tuple(min(MOST_WEIGHT, max(0.0, float(w or 0))) for w in (binding, helix12, resistance))
        own = screen.weights.as_tuple()
        if chosen == own:
            return {"own": True}, "as the screen's configuration weighs them"
        if not any(chosen):
            return {"own": True}, "every weight is 0: the screen's own are used"
        ranks = context().memos["weights"](screen, chosen)
        if not ranks:
            return {"ranks": {}}, "a criterion is missing for these ligands, so there is no weighted rank"
        return {"ranks": ranks}, "your weights; intervals of ranks are on the wide side"

    app.clientside_callback(
        ClientsideFunction("esr1md", "wanted"), Output("ranking-wanted", "data"),
        [Input(f"ranking-{kind}", "n_clicks") for kind in exports.FORMATS], State("ranking-grid", "virtualRowData"),
        State("ranking-grid", "columnState"), State("ranking-weighted", "data"), prevent_initial_call=True,
    )  # fmt: skip

    @app.callback(
        Output("ranking-file", "data"), Input("ranking-wanted", "data"), State("ranking-screen", "data"),
        prevent_initial_call=True,
    )  # fmt: skip
    def download(wanted: dict[str, Any] | None, name: str) -> Any:
        if not wanted:
            return no_update
        screen = context().reader.screen(name)
        table = exports.shown_table(screen, wanted["rows"], wanted["columns"], wanted.get("ranks"))
        kind = wanted["kind"]
        content = exports.encoded(table, kind, screen)
        return dcc.send_bytes(content, f"{exports.file_name(screen.name)}.{kind}")


PAGE = Page("/", "Ranking", layout, register)
