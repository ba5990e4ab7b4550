"""Review: what the team decided about a ligand or a cell, by whom and why; the history stays."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

from dash import ALL, ClientsideFunction, Dash, Input, Output, State, ctx, dcc, html, no_update
from dash.development.base_component import Component

from esr1md.dashboard.address import Address, cell_href, href
from esr1md.dashboard.context import context, may_write, user
from esr1md.dashboard.data import Screen
from esr1md.dashboard.parts import chip, empty, field, heading, link, problem, table
from esr1md.dashboard.reviews import CONFLICT, subject_of
from esr1md.dashboard.shell import Page
from esr1md.errors import Esr1mdError
from esr1md.report.figures import shorten
from esr1md.store.reviews import COMMENT_LENGTH, NAME_LENGTH, VERDICTS, History, Review, Subject

WHOLE = "the ligand"


def layout(screen: Screen, address: Address) -> Component:
    names = [*(ligand for ligand, _ in screen.lines), *(cell[1] for cell in screen.cells if cell[1] != "apo")]
    ligands = list(dict.fromkeys(names))
    if not ligands:
        return html.Div([heading("Review"), empty("Nothing to review yet", "No ligand of this screen has finished.")])
    ligand = address.choice("ligand", ligands, ligands[0])
    cells = [f"{variant} from {state}" for variant, name, state in screen.cells if name == ligand]
    asked = f"{address['variant']} from {address['state']}"
    about = asked if asked in cells else WHOLE
    return html.Div(
        [
            heading("Review", note="Every entry is kept. What nobody has answered counts; two that answered the same "
                    "state are shown as a conflict until somebody answers both."),
            html.Div(
                [
                    html.Section(_form(ligands, ligand, cells, about, screen), className="card form"),
                    html.Section(html.Div(id="review-history"), className="card"),
                ],
                className="two",
            ),
            html.Section([html.H2("Reviews of this screen"), html.Div(id="review-all")]),
            dcc.Store(id="review-screen", data=screen.name),
            dcc.Store(id="review-went"),
            dcc.Store(id="review-heads"),
            dcc.Store(id="review-changed", data=0),
            dcc.Store(id="review-name", storage_type="local"),
            dcc.Download(id="review-file"),
        ]
    )  # fmt: skip


def _form(ligands: list[str], ligand: str, cells: list[str], about: str, screen: Screen) -> list[Component]:
    settings = context().settings
    subject: list[Component] = [
        html.H2("Your verdict"),
        html.Div(
            [
                field("Ligand", dcc.Dropdown(ligands, ligand, id="review-ligand", clearable=False), wide=True),
                field("About", dcc.Dropdown([WHOLE, *cells], about, id="review-about", clearable=False)),
            ],
            className="controls",
        ),
        dcc.Store(id="review-shown", data={"screen": screen.name, "ligand": ligand, "about": about}),
    ]
    if settings.read_only:
        return [*subject, html.P("This dashboard is read only: it takes no reviews.", className="note")]
    name = dcc.Input(id="review-reviewer", type="text", value=user(), disabled=bool(user()), maxLength=NAME_LENGTH,
                     placeholder="your name", autoComplete="name")  # fmt: skip
    return [
        *subject,
        html.Fieldset([html.Legend("Verdict"), dcc.RadioItems(list(VERDICTS), id="review-verdict", inline=True)]),
        field("Comment", dcc.Textarea(id="review-comment", maxLength=COMMENT_LENGTH, rows=4, className="comment")),
        field("Reviewer", name),
        html.Div([html.Button("Record", id="review-record", className="main"),
                  html.Span(id="review-said", className="said", role="status")], className="controls"),
        dcc.Store(id="review-id", data=uuid.uuid4().hex),
    ]  # fmt: skip


def register(app: Dash) -> None:
    app.clientside_callback(
        ClientsideFunction("esr1md", "goToReview"), Output("review-went", "data"), Input("review-ligand", "value"),
        Input("review-about", "value"), State("review-shown", "data"), prevent_initial_call=True,
    )  # fmt: skip
    app.clientside_callback(
        ClientsideFunction("esr1md", "rememberName"), Output("review-reviewer", "value"), Output("review-name", "data"),
        Input("review-reviewer", "value"), State("review-name", "data"), State("review-reviewer", "disabled"),
    )  # fmt: skip

    @app.callback(
        Output("review-history", "children"), Output("review-all", "children"), Output("review-heads", "data"),
        Input("review-changed", "data"), State("review-shown", "data"),
    )  # fmt: skip
    def show(_: int, shown: dict[str, str]) -> tuple[Any, Any, Any]:
        screen = context().reader.screen(shown["screen"])
        try:
            history = context().reviews.history(_subject(screen, shown))
            return _history(history, shown), _all(screen), list(history.heads)
        except Esr1mdError as error:
            return problem("The reviews cannot be read", str(error)), "", []

    @app.callback(
        Output("review-said", "children"), Output("review-changed", "data"), Output("review-comment", "value"),
        Output("review-verdict", "value"), Output("review-id", "data"), Input("review-record", "n_clicks"),
        State("review-shown", "data"), State("review-verdict", "value"), State("review-comment", "value"),
        State("review-reviewer", "value"), State("review-heads", "data"), State("review-id", "data"),
        State("review-changed", "data"), prevent_initial_call=True,
    )  # fmt: skip
    def record(
        _: int, shown: dict[str, str], verdict: str | None, comment: str | None, reviewer: str | None,
        heads: list[str], id: str, changed: int,
    ) -> tuple[Any, ...]:  # fmt: skip
        same = (no_update, no_update, no_update, no_update)
        if not verdict:
            return "Choose a verdict first.", *same
        try:
            may_write()
            screen = context().reader.screen(shown["screen"])
            context().reviews.record(_subject(screen, shown), verdict, reviewer=user() or reviewer or "",
                                     comment=comment or "", follows=heads or (), id=id)  # fmt: skip
        except Esr1mdError as error:
            return str(error), *same
        return "Recorded.", changed + 1, "", None, uuid.uuid4().hex

    @app.callback(
        Output("review-said", "children", allow_duplicate=True),
        Output("review-changed", "data", allow_duplicate=True), Input({"undo": ALL}, "n_clicks"),
        State("review-shown", "data"), State("review-reviewer", "value"), State("review-changed", "data"),
        prevent_initial_call=True,
    )  # fmt: skip
    def undo(clicks: list[int | None], shown: dict[str, str], reviewer: str | None, changed: int) -> tuple[Any, Any]:
        if not any(clicks) or not ctx.triggered_id:
            return no_update, no_update
        try:
            may_write()
            screen = context().reader.screen(shown["screen"])
            history = context().reviews.history(_subject(screen, shown))
            entry = next((e for e in history.entries if e.id == ctx.triggered_id["undo"]), None)
            if entry is None:
                return "That review is not there any more.", changed + 1
            context().reviews.undo(entry, reviewer=user() or reviewer or "")
        except Esr1mdError as error:
            return str(error), changed + 1
        return "Taken back.", changed + 1

    @app.callback(
        Output("review-file", "data"), Input("review-export", "n_clicks"), State("review-screen", "data"),
        prevent_initial_call=True,
    )  # fmt: skip
    def export(clicks: int | None, name: str) -> Any:
        if not clicks:
            return no_update
        content = "".join(f"{line}\n" for line in context().reviews.lines(name))
        return dcc.send_string(content, f"{name}-reviews.jsonl")


def _subject(screen: Screen, shown: dict[str, str]) -> Subject:
    if shown["about"] == WHOLE:
        return subject_of(screen, shown["ligand"])
    variant, _, state = shown["about"].partition(" from ")
    return subject_of(screen, shown["ligand"], variant, state)


# -- what was said --------------------------------------------------------------------------------------------


def _history(history: History, shown: dict[str, str]) -> Component:
    about = shown["ligand"] if shown["about"] == WHOLE else f"{shown['ligand']} in {shown['about']}"
    title = html.H2(f"What was said about {about}")
    if not history.entries:
        return html.Div([title, html.P("Nobody has reviewed it yet.", className="muted")])
    warning = []
    if history.conflict:
        names = ", ".join(f"{r.reviewer} ({r.verdict})" for r in history.current)
        warning = [problem("Reviewers disagree", f"They had not seen each other's entries: {names}. Your next verdict "
                           "answers all of them.")]  # fmt: skip
    undone = {e.undoes: e for e in history.entries if e.undoes}
    entries = [_entry(e, history, undone) for e in reversed(history.entries)]
    return html.Div([title, *warning, html.Ol(entries, className="entries")])


def _entry(entry: Review, history: History, undone: dict[str, Review]) -> Component:
    counts = entry in history.current
    what = chip(entry.verdict) if entry.verdict else html.Span("took back a review", className="tag")
    marks = [html.Span("counts", className="tag")] if counts else []
    if entry.id in undone:
        marks = [html.Span(f"taken back by {undone[entry.id].reviewer}", className="tag")]
    can_undo = (counts or entry.id in history.heads) and not context().settings.read_only
    button = [html.Button("Take back", id={"undo": entry.id}, className="quiet")] if can_undo else []
    return html.Li(
        [
            html.Div([what, " ", html.Strong(entry.reviewer), html.Small(f" {_when(entry.created)} "), *marks,
                      *button]),
            *([html.P(entry.comment, className="said-in-words")] if entry.comment else []),
        ],
        className="" if counts else "past",
    )  # fmt: skip


def _all(screen: Screen) -> Component:
    """Everything that counts in this screen."""
    found = context().reviews.histories(screen.name)
    names = {key: ligands[0] for key, ligands in context().memos["ligands by key"](screen).items()} if found else {}
    rows = []
    for subject, history in found.items():
        if not history.current:
            continue
        ligand = names.get(subject.inchikey)
        place = f"{subject.variant} from {subject.state}" if subject.variant else "ligand"
        last = history.current[-1]
        to = href("/review", screen=screen.name, ligand=ligand, variant=subject.variant, state=subject.state)
        look = cell_href(screen.name, subject.variant, ligand, subject.state) if subject.variant and ligand else ""
        rows.append((
            link(ligand, to) if ligand else subject.inchikey, link(place, look) if look else place,
            chip(history.verdict) if history.verdict else html.Span(CONFLICT, className="tag"),
            ", ".join(r.reviewer for r in history.current), _when(last.created),
            shorten(last.comment, 160),
        ))  # fmt: skip
    export = html.Button("Export the history (JSON lines)", id="review-export", className="quiet", disabled=not found)
    if not rows:
        return html.Div([html.P("None yet.", className="muted"), export])
    return html.Div([table(("Ligand", "About", "Verdict", "Reviewer", "When", "Comment"), rows), export])


def _when(text: str) -> str:
    time = datetime.fromisoformat(text)
    return f"{time.day} {time:%b %Y, %H:%M} UTC"


PAGE = Page("/review", "Review", layout, register)
