"""The application: its pages, its routes and its rules put together."""

from __future__ import annotations

import html as text
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flask
from dash import Dash

from esr1md.dashboard import files, molstar, shell
from esr1md.dashboard.cell_data import read_cell
from esr1md.dashboard.context import Context, theme
from esr1md.dashboard.data import Reader, Screen
from esr1md.dashboard.memo import Memo
from esr1md.dashboard.pages import matrix
from esr1md.dashboard.reviews import Reviews, ligands_by_key
from esr1md.dashboard.rows import ranking_rows, weighted_ranks
from esr1md.dashboard.security import CSRF_COOKIE, CSRF_HEADER, MOST_WRITES, Limiter, protect
from esr1md.dashboard.settings import DashboardSettings
from esr1md.dashboard.substructure import molecules_of
from esr1md.report.caveats import controls_in_words
from esr1md.report.matrix import measures
from esr1md.report.words import headline
from esr1md.scoring.evidence import evidence
from esr1md.screen.validation import stored_validation
from esr1md.store.location import open_store

_HTML = """<!doctype html>
<html lang="en" data-theme="{theme}" data-ag-theme-mode="{theme}">
<head>{metas}<title>{title}</title>{favicon}{css}</head>
<body>{app_entry}<footer>{config}{scripts}{renderer}</footer></body>
</html>
"""


class _Dash(Dash):
    """Dash with a page of ours: the theme is in it from the start, so that nothing flashes."""

    def interpolate_index(self, **parts: Any) -> str:
        parts["title"] = text.escape(parts["title"])
        return _HTML.format(theme=theme(), **parts)


def make_app(settings: DashboardSettings) -> Dash:
    """The dashboard of a store as a Dash application; ``.server`` is its WSGI application.

    Raises
    ------
    InputError
        Settings that would let strangers in.
    """
    settings.check()
    molstar.load_later()
    server = flask.Flask("esr1md.dashboard")
    app = _Dash(
        "esr1md.dashboard",
        server=server,
        title="esr1md",
        update_title="",
        assets_folder=str(Path(__file__).parent / "assets"),
        serve_locally=True,
        suppress_callback_exceptions=True,
        csrf_token_name=CSRF_COOKIE,
        csrf_header_name=CSRF_HEADER,
        meta_tags=[{"name": "viewport", "content": "width=device-width, initial-scale=1"},
                   {"name": "color-scheme", "content": "light dark"}],
    )  # fmt: skip
    reader = Reader(open_store(settings.store), lambda screen: _prepare(memos, screen))
    memos = {
        "rows": Memo(ranking_rows, 8),
        "said": Memo(lambda screen: (headline(screen.ranking), controls_in_words(screen.ranking)), 8),
        "ligands by key": Memo(ligands_by_key, 8),
        "weights": Memo(weighted_ranks, 64),
        "molecules": Memo(molecules_of, 8),
        "measures": Memo(lambda screen: measures(screen.ranking), 8),
        "matrix": Memo(matrix.squares, 48),
        "validation": Memo(lambda screen: stored_validation(reader.store, screen.name, evidence()), 16),
        "cell": Memo(lambda screen, cell: read_cell(reader.store, screen, cell), 48),
        **files.memos(reader.store),
    }
    server.extensions["esr1md"] = Context(
        settings=settings,
        reader=reader,
        memos=memos,
        writes=Limiter(MOST_WRITES),
        reviews=Reviews(reader.store, settings.database),
    )
    shell.build(app)
    files.add_routes(server)
    protect(server, settings, app.csp_hashes())
    return app


def _prepare(memos: Mapping[str, Memo], screen: Screen) -> None:
    """Make what the first visitor of a screen would wait for."""
    if screen.ranking is not None:
        for name in ("said", "rows", "molecules", "measures"):
            memos[name](screen)
        matrix.prepare(screen, memos["matrix"])
