"""Library: compounds that were only predicted, how far that can be trusted, and which of them to simulate."""

from __future__ import annotations

from typing import Any

import dash_ag_grid
from dash import Dash, Input, Output, State, dcc, html, no_update
from dash.development.base_component import Component

from esr1md.dashboard import library_data
from esr1md.dashboard.address import Address
from esr1md.dashboard.context import context, is_dark, may_write
from esr1md.dashboard.data import Screen
from esr1md.dashboard.library_data import Library, Round
from esr1md.dashboard.parts import empty, facts, field, heading, problem, table
from esr1md.dashboard.shell import Page, remember, remembered
from esr1md.errors import Esr1mdError

CONTROLS = {"library": ("library-name", "value")}


def layout(screen: Screen, address: Address) -> Component:
    store = context().reader.store
    names = library_data.library_names(store)
    head = heading("Library", note="Predictions of the surrogate, not simulations. A compound outside the model's "
                   "domain is not ranked, and assay affinity says nothing of mutants.")  # fmt: skip
    chosen = address.choice("library", names, names[0] if names else "")
    if names:
        shown = [field("Library", dcc.Dropdown(names, chosen, id="library-name", clearable=False)),
                 html.Div(id="library-shown")]  # fmt: skip
    else:
        said = ["Screen one into this store: ", html.Code(f"esr1md surrogate screen FILE --out "
                f"{store.root}/{library_data.LIBRARIES}/NAME")]  # fmt: skip
        shown = [dcc.Store(id="library-name", data=""), empty("No library has been screened here", said)]
    return html.Div(
        [
            head,
            *shown,
            _simulate() if names else html.Div(),
            html.Section([html.H2("Proposals of the active-learning loop"), *_proposals(library_data.rounds(store))]),
            dcc.Store(id="library-screen", data=screen.name),
            remembered("library", CONTROLS),
        ]
    )


def _simulate() -> Component:
    if context().settings.read_only:
        return html.P("This dashboard is read only: it starts nothing.", className="note")
    can_start = library_data.deployment() is not None
    said = ("The deployment that is configured is started with it." if can_start
            else "No deployment is configured (PREFECT_API_URL, ESR1MD_DEPLOYMENT): run it yourself.")  # fmt: skip
    return html.Section(
        [
            html.H2("Simulate these"),
            html.P(f"Writes a screen of the compounds that are ticked, with the variants, protocol and reference of "
                   f"the screen above. {said}", className="note"),
            html.Div(
                [field("Name of the new screen", dcc.Input(id="library-request", type="text", maxLength=80,
                                                           placeholder="my-hits")),
                 html.Button("Write the screen and start it" if can_start else "Write the screen",
                             id="library-simulate", className="main"),
                 html.Span(id="library-said", className="said", role="status")],
                className="controls end",
            ),
        ]
    )  # fmt: skip


def _proposals(found: list[Round]) -> list[Component]:
    if not found:
        return [html.P(["None yet. ", html.Code("esr1md surrogate propose SCREEN --gpu-hours 2"), " makes one."],
                       className="muted")]  # fmt: skip
    parts = []
    for k, each in enumerate(found[:20]):
        record = each.record
        rows = [(str(c.get("ligand", "")), str(c.get("why", ""))) for c in record.get("chosen", ())
                if isinstance(c, dict)]  # fmt: skip
        parts.append(html.Details(
            [html.Summary(f"{each.exploration}, round {record.get('round', '?')}: {record.get('kind', '?')}"),
             html.P(str(record.get("why", "")), className="note"),
             table(("Ligand", "Why"), rows) if rows else html.Div(),
             html.P(["Run it: ", html.Code(f"esr1md screen {each.file} --store {context().settings.store}")])],
            open=k == 0,
        ))  # fmt: skip
    return parts


def register(app: Dash) -> None:
    remember(app, "library", CONTROLS)

    @app.callback(Output("library-shown", "children"), Input("library-name", "value"))
    def show(name: str | None) -> Any:
        library = library_data.library_named(context().reader.store, name)
        if library is None:
            return problem("There is no such library", "Choose another.")
        if library.problem:
            return problem(f"Library '{library.name}' cannot be shown: its summary is damaged", library.problem)
        return _table(library)

    @app.callback(
        Output("library-said", "children"), Input("library-simulate", "n_clicks"),
        State("library-grid", "selectedRows"), State("library-request", "value"), State("library-screen", "data"),
        prevent_initial_call=True,
    )  # fmt: skip
    def simulate(clicks: int | None, chosen: list[dict[str, Any]] | None, name: str | None, screen: str) -> Any:
        if not clicks:
            return no_update
        store = context().reader.store
        try:
            may_write()
            wanted = [{"name": str(c["name"]), "smiles": str(c["smiles"])} for c in chosen or ()]
            path = library_data.write_request(store, context().reader.screen(screen), wanted, (name or "").strip())
            if library_data.deployment() is not None:
                return f"Written and started: {library_data.start(path, store)}"
        except Esr1mdError as error:
            return str(error)
        return [f"Written: {path.name}. Run it: ", html.Code(f"esr1md screen {path} --store {store.root}")]


def _table(library: Library) -> Component:
    summary = library.summary
    by = str(summary.get("by", "pchembl"))
    meaning = {c["name"]: c for c in summary.get("columns", ()) if isinstance(c, dict) and "name" in c}
    unit = meaning.get(by, {}).get("unit", "")
    rows = [_row(each, by) for each in summary["top"]]
    title = f"Predicted {by}" + (f" ({unit})" if unit else "")
    columns = [
        {"field": "rank", "headerName": "Rank", "width": 80},
        {"field": "name", "headerName": "Compound", "width": 330, "cellRenderer": "Compound",
         "cellRendererParams": {"library": library.name, "theme": "dark" if is_dark() else "light"}},
        {"field": "value", "headerName": title, "width": 220, "cellRenderer": "Predicted"},
        {"field": "similarity", "headerName": "Similarity to training", "width": 150, "headerTooltip":
         "Tanimoto similarity to the nearest compound that the model has learned from"},
        {"field": "domain", "headerName": "Model's domain", "width": 140},
        {"field": "nearest", "headerName": "Nearest in training", "width": 260, "tooltipField": "nearest"},
        {"field": "smiles", "headerName": "SMILES", "width": 320, "cellClass": "mono", "tooltipField": "smiles"},
    ]  # fmt: skip
    numbers = [(what, f"{summary[key]:,}") for what, key in (("compounds", "rows"), ("predicted", "predicted"),
               ("in the domain", "in_domain"), ("failed", "failed"), ("outside", "out_of_domain")) if key in summary
               and isinstance(summary[key], int)]  # fmt: skip
    return html.Div(
        [
            html.P(str(summary.get("statement", "")), className="answer"),
            facts(numbers),
            html.Div(
                dash_ag_grid.AgGrid(
                    id="library-grid", rowData=rows, columnDefs=columns, getRowId="params.data.id",
                    defaultColDef={"sortable": True, "resizable": True, "wrapHeaderText": True},
                    dashGridOptions={"theme": {"function": "gridTheme(theme)"}, "rowHeight": 92, "headerHeight": 46,
                                     "rowSelection": {"mode": "multiRow", "enableClickSelection": False}},
                    style={"height": f"{min(620, 60 + 93 * max(2, len(rows)))}px"},
                ),
                className="grid",
            ),
        ]
    )  # fmt: skip


def _row(each: dict[str, Any], by: str) -> dict[str, Any]:
    value, low, high = each.get(by), each.get(f"{by}_low"), each.get(f"{by}_high")
    similarity = each.get("similarity")
    return {
        "id": str(each.get("row", each.get("name"))), "rank": each.get("rank"), "name": str(each.get("name", "")),
        "smiles": str(each.get("smiles", "")), "value": value, "low": low, "high": high,
        "similarity": round(similarity, 2) if isinstance(similarity, float) else similarity,
        "domain": "inside" if each.get("in_domain", True) else "outside", "nearest": str(each.get("nearest", "")),
    }  # fmt: skip


PAGE = Page("/library", "Library", layout, register)
