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
from esr1md.errors import InputError

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


def may_write() -> None:
    """Refuse a write to a dashboard that takes none, and one too many in a minute.

    Raises
    ------
    InputError
        It may not be written.
    """
    if context().settings.read_only:
        raise InputError("this dashboard is read only")
    if not context().writes.allow(user() or request.remote_addr or ""):
        raise InputError("too many entries in a minute", do="wait a little")


def is_dark() -> bool:
    """Whether the page is dark; the page itself says so in a cookie, by the reader's choice or the system's."""
    return theme() == "dark"


def theme() -> str:
    """``light``, ``dark``, or empty before the page has said."""
    chosen = request.cookies.get(THEME_COOKIE, "") if flask.has_request_context() else ""
    return chosen if chosen in ("light", "dark") else ""
