"""The pieces that pages are made of: headings, empty and error states, labelled controls, chips, links."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dash import dcc, html
from dash.development.base_component import Component

from esr1md.dashboard.context import is_dark
from esr1md.dashboard.theme import themed
from esr1md.report.depiction import FATES
from esr1md.scoring.scores import Verdict

_GRAPH = {"displayModeBar": "hover", "displaylogo": False, "responsive": True,
          "modeBarButtonsToRemove": ["select2d", "lasso2d", "autoScale2d"]}  # fmt: skip


def link(text: Any, to: str, **more: Any) -> Component:
    """A link inside the dashboard."""
    return html.A(text, href=to, **{"data-inside": ""}, **more)


def heading(title: Any, *beside: Any, note: Any = None) -> Component:
    """The title of a page, what belongs beside it, and one sentence below."""
    return html.Div(
        [html.Div([html.H1(title), *beside], className="heading"), *([html.P(note, className="note")] if note else [])]
    )


def field(label: str, control: Component, *, wide: bool = False) -> Component:
    """A control under its label."""
    return html.Div([html.Label(label, htmlFor=getattr(control, "id", None)), control],
                    className="field wide" if wide else "field")  # fmt: skip


def empty(title: str, said: Any = "", *beside: Any) -> Component:
    """Nothing to show, why, and what to do."""
    return html.Div([html.H2(title), html.P(said), *beside], className="empty")


def problem(title: str, said: Any) -> Component:
    """Something that is wrong with the store or the address."""
    return html.Div([html.H2(title), html.P(said)], className="problem", role="alert")


def chip(verdict: Verdict | str, text: str = "") -> Component:
    """A verdict, with its sign, or an outcome in one word; *cannot tell* is hatched and has no colour."""
    name = str(verdict)
    sign = f"{FATES[name]} " if isinstance(verdict, Verdict) else ""
    return html.Span([sign, text or name], className=f"chip {name.replace(' ', '-')}")


def graph(name: str, figure: Any, label: str, **more: Any) -> Component:
    """A figure in the colours of the page, with a sentence for those who cannot see it."""
    shown = themed(figure, is_dark()) if figure is not None and not isinstance(figure, dict) else figure
    least = ((shown or {}).get("layout", {}).get("meta") or {}).get("least_width")
    height = ((shown or {}).get("layout", {})).get("height")
    style = {"minWidth": f"{least}px" if least else None, "height": f"{height}px" if height else None}
    return html.Div(
        dcc.Graph(id=name, figure=shown, config=_GRAPH, style={k: v for k, v in style.items() if v}, **more),
        className="figure", role="group", **{"aria-label": label},
    )  # fmt: skip


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]], *, name: str = "", caption: str = "") -> Component:
    """A plain table; the first cell of a row heads it."""
    head = html.Thead(html.Tr([html.Th(column, scope="col") for column in columns]))
    body = html.Tbody([html.Tr([html.Th(row[0], scope="row"), *(html.Td(cell) for cell in row[1:])]) for row in rows])
    parts = [html.Caption(caption)] if caption else []
    return html.Div(html.Table([*parts, head, body], className=f"plain {name}".strip()), className="scroll")


def facts(pairs: Sequence[tuple[str, Any]]) -> Component:
    """Names and values, side by side."""
    return html.Dl([html.Div([html.Dt(name), html.Dd(value)]) for name, value in pairs], className="facts")


def external(text: str, url: str) -> Component:
    """A link out of the dashboard; anything but http(s) is shown as plain text."""
    if not url.startswith(("https://", "http://")):
        return html.Span(text)
    return html.A(text, href=url, target="_blank", rel="noopener noreferrer")
