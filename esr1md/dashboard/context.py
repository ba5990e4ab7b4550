"""What the pages of one dashboard share: its store, its settings, what was made before."""

from __future__ import annotations

from dataclasses import dataclass

import flask
from flask import current_app, g, request

from esr1md.dashboard.data import Reader
from esr1md.dashboard.memo import Memo
from esr1md.dashboard.reviews import Reviews
from esr1md.dashboard.security import Limiter
from esr1md.dashboard.settings import DashboardSettings

THEME_COOKIE = "esr1md_theme"


@dataclass(frozen=True)
class Context:
    """Of one dashboard.

    Attributes
    ----------
    settings, reader
        How it is served, and its store.
    memos
        Name -> remembered results.
    writes
        How often one user may write.
    reviews
        What was decided.
    """

    settings: DashboardSettings
    reader: Reader
    memos: dict[str, Memo]
    writes: Limiter
    reviews: Reviews


def context() -> Context:
    """Of the dashboard that the current request is for."""
    return current_app.extensions["esr1md"]


def user() -> str:
    """Who is logged in by the reverse proxy; empty where nobody is named."""
    return getattr(g, "user", "")


def is_dark() -> bool:
    """Whether the page is dark; the page itself says so in a cookie, by the reader's choice or the system's."""
    return flask.has_request_context() and request.cookies.get(THEME_COOKIE) == "dark"


def theme() -> str:
    """``light``, ``dark``, or empty before the page has said."""
    chosen = request.cookies.get(THEME_COOKIE, "") if flask.has_request_context() else ""
    return chosen if chosen in ("light", "dark") else ""
