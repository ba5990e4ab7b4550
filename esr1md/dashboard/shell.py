"""What stands around every page: name, screen, navigation, theme; and which page an address leads to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dash import ClientsideFunction, Dash, Input, Output, State, dcc, html
from dash.development.base_component import Component

from esr1md.dashboard.address import Address, href
from esr1md.dashboard.context import context, user
from esr1md.dashboard.data import Screen
from esr1md.dashboard.parts import empty, link, problem


@dataclass(frozen=True)
class Page:
    """One page.

    Attributes
    ----------
    path, name
        Its address and its name in the navigation.
    layout
        Makes it from a screen and the rest of the address; with ``of_screen`` off from the address alone.
    register
        Adds its callbacks to the application.
    """

    path: str
    name: str
    layout: Callable[..., Component]
    register: Callable[[Dash], None] = lambda app: None
    of_screen: bool = True


def pages() -> tuple[Page, ...]:
    """All pages in the order of the navigation."""
    from esr1md.dashboard.pages import cell, compare, evidence, library, matrix, ranking, review, runs

    of = (ranking, matrix, cell, compare, evidence, library, review, runs)
    return tuple(module.PAGE for module in of)


def build(app: Dash) -> None:
    """Give the application its layout and all callbacks."""
    known = {page.path: page for page in pages()}
    app.layout = _frame
    for page in known.values():
        page.register(app)

    @app.callback(
        Output("page", "children"), Output("navigation", "children"), Output("screens", "children"),
        Output("title", "data"), Input("address", "data"), prevent_initial_call=True,
    )  # fmt: skip
    def show(asked: str) -> tuple[Any, ...]:
        pathname, _, search = asked.partition("?")
        address = Address.of(search)
        page = known.get(pathname.rstrip("/") or "/")
        screen, chooser, trouble = _screen(address)
        name = screen.name if screen else ""
        if page is None:
            body, title = _lost(), "Not found"
        elif page.of_screen and trouble is not None:
            body, title = trouble, page.name
        else:
            body = page.layout(screen, address) if page.of_screen else page.layout(address)
            title = page.name
        return body, _navigation(known, page, name), chooser, f"{title} - {name or 'esr1md'}"

    app.clientside_callback(ClientsideFunction("esr1md", "entitle"), Output("titled", "data"), Input("title", "data"))
    app.clientside_callback(
        ClientsideFunction("esr1md", "chooseScreen"), Output("screen-chosen", "data"), Input("screen-choice", "value"),
        State("screen-shown", "data"), prevent_initial_call=True,
    )  # fmt: skip
    # Dash's own dcc.Location shows a page anew whenever what is chosen on it is written into its address
    app.clientside_callback(
        ClientsideFunction("esr1md", "arrive"), Output("address", "data"), Input("arrived", "data")
    )  # fmt: skip


def remember(app: Dash, page: str, controls: dict[str, tuple[str, str]]) -> None:
    """Keep what is chosen on a page in its address.

    Parameters
    ----------
    page
        Name of the page; it has a store ``PAGE-remembered`` that holds the names of the controls.
    controls
        Name in the address -> id and property of the control.
    """
    app.clientside_callback(
        ClientsideFunction("esr1md", "remember"),
        Output(f"{page}-remembered", "data"),
        [Input(*control) for control in controls.values()],
        State(f"{page}-names", "data"),
        prevent_initial_call=True,
    )


def remembered(page: str, controls: dict[str, tuple[str, str]]) -> Component:
    """What :func:`remember` needs in the layout of the page."""
    return html.Div([dcc.Store(id=f"{page}-names", data=list(controls)), dcc.Store(id=f"{page}-remembered")])


# -- the frame --------------------------------------------------------------------------------------------


def _frame() -> Component:
    settings = context().settings
    who = [html.Span(user())] if user() else []
    mode = [html.Span("read only", className="tag")] if settings.read_only else []
    return html.Div(
        [
            dcc.Store(id="address"),
            dcc.Store(id="arrived", data=True),
            dcc.Store(id="title"),
            dcc.Store(id="titled"),
            dcc.Store(id="screen-chosen"),
            html.A("Skip to the page", href="#page", className="skip"),
            html.Header(
                [
                    html.Div([html.A("esr1md", href="/", className="brand"), html.Div(id="screens")], className="left"),
                    html.Nav(id="navigation", **{"aria-label": "Pages"}),
                    html.Div(
                        [*mode, *who, html.Button("Print", id="print", title="Print with all rows of a table"),
                         html.Button("\u25d0", id="theme", title="Light or dark",
                                     **{"aria-label": "Switch between light and dark"})],
                        className="right",
                    ),
                ]
            ),
            html.Main(
                dcc.Loading(
                    html.Div(id="page", tabIndex=-1), target_components={"page": "children"}, delay_show=250,
                    overlay_style={"visibility": "visible", "opacity": 0.5},
                    custom_spinner=html.Div("reading ...", className="loading", role="status"),
                )
            ),
            html.P(
                "Research use only. Short simulations show the local stability of where they start, never populations "
                "of helix-12 states.",
                className="use",
            ),
        ],
        id="frame",
    )  # fmt: skip


def _navigation(known: dict[str, Page], shown: Page | None, screen: str) -> list[Component]:
    return [
        link(
            page.name,
            href(page.path, screen=screen) if page.of_screen else page.path,
            className="current" if page is shown else "",
            **({"aria-current": "page"} if page is shown else {}),
        )
        for page in known.values()
    ]


def _screen(address: Address) -> tuple[Screen | None, Component, Component | None]:
    """The screen that an address means, the list to choose another, and what to show where there is none."""
    reader = context().reader
    names = reader.names()
    wanted = address["screen"] or (names[0] if names else "")
    chooser = html.Div(
        [
            dcc.Store(id="screen-shown", data=wanted),
            html.Label("Screen", htmlFor="screen-choice"),
            dcc.Dropdown(
                id="screen-choice", options=[{"label": n, "value": n} for n in names],
                value=wanted if wanted in names else None, clearable=False, searchable=len(names) > 8,
            ),
        ],
        className="chooser",
    )  # fmt: skip
    if not names:
        return (
            None,
            html.Div(),
            empty(
                "Nothing has been screened in this store yet",
                "Run a screen, and this page follows it from its first replica on:",
                html.Pre(f"esr1md screen quickstart --store {context().settings.store}"),
            ),
        )
    if wanted not in names:
        return None, chooser, problem(f"There is no screen '{wanted[:100]}' in this store", "Choose another above.")
    screen = reader.screen(wanted)
    if screen.problem:
        return (
            screen,
            chooser,
            problem(
                f"Screen '{wanted}' cannot be shown: {screen.problem}",
                "Run it again with esr1md screen: what has finished is kept, and its ranking is written anew.",
            ),
        )
    return screen, chooser, None


def _lost() -> Component:
    return empty("There is no such page", link("Go to the ranking", "/"))
