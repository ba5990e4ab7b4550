"""What is served beside the pages: pictures of structures, files of the store by digest."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import flask
from flask import Flask, Response, request

from esr1md.dashboard import molstar
from esr1md.dashboard.context import context
from esr1md.dashboard.library_data import library_named
from esr1md.dashboard.memo import Memo
from esr1md.dashboard.security import refusal
from esr1md.dashboard.theme import recoloured
from esr1md.dashboard.viewer import film_of, still_of
from esr1md.report.depiction import structure_pictures
from esr1md.store import KINDS, Store
from esr1md.store.layout import is_digest

PICTURE_SIZE = (190, 112)
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,80}")
#: What a browser may keep: the name of a thing that never changes under its address.
KEEP = "private, max-age=604800, immutable"


def memos(store: Store) -> dict[str, Memo]:
    """What the routes remember."""
    return {
        "picture": Memo(_picture, 6000),
        "rows as sent": Memo(lambda screen: gzip.compress(json.dumps(context().memos["rows"](screen)).encode(), 6), 8),
        "film": Memo(lambda digest: film_of(store, digest), 24),
        "still": Memo(lambda digest: still_of(film_of(store, digest)), 24),
    }


def add_routes(server: Flask) -> None:
    """Add the routes to the application."""

    @server.get("/structure.svg")
    def structure() -> Response:
        screen = context().reader.screen(request.args.get("screen", ""))
        answer = _drawn(screen.smiles.get(request.args.get("ligand", ""), ""))
        if answer.status_code == 200:
            answer.headers["Cache-Control"] = KEEP
        return answer

    @server.get("/rows.json")
    def rows() -> Response:
        screen = context().reader.screen(request.args.get("screen", ""))
        if screen.problem:
            return refusal(404, "There is no such screen, or it cannot be read.")
        answer = flask.make_response(context().memos["rows as sent"](screen))
        answer.headers["Content-Type"] = "application/json"
        answer.headers["Content-Encoding"] = "gzip"
        answer.headers["Cache-Control"] = KEEP if request.args.get("v") == screen.version else "no-store"
        return answer

    @server.get("/compound.svg")
    def compound() -> Response:
        library = library_named(context().reader.store, request.args.get("library", ""))
        rows = library.summary.get("top", ()) if library else ()
        return _drawn(next((r.get("smiles") for r in rows if str(r.get("row")) == request.args.get("row")), None))

    @server.get("/molstar.js")
    def viewer() -> Response:
        answer = flask.make_response(molstar.script())
        answer.headers["Content-Type"] = "text/javascript; charset=utf-8"
        answer.headers["Cache-Control"] = KEEP
        return answer

    @server.get("/film/<name>")
    def film(name: str) -> Response:
        digest, kind = name[:64], name[64:]
        types = {".pdb": "chemical/x-pdb", ".xtc": "application/octet-stream", "-still.pdb": "chemical/x-pdb"}
        found = context().memos["film"](digest) if is_digest(digest) and kind in types else None
        if found is None:
            return refusal(404, "There is no trajectory of this replica.")
        if kind == "-still.pdb":
            content = context().memos["still"](digest)
        else:
            content = found.topology if kind == ".pdb" else found.coordinates
        answer = flask.make_response(content)
        answer.headers["Content-Type"] = types[kind]
        answer.headers["Cache-Control"] = KEEP
        return answer

    @server.get("/files/<kind>/<digest>/<name>")
    def stored(kind: str, digest: str, name: str) -> Response:
        path = stored_file(context().reader.store, kind, digest, name)
        if path is None:
            return refusal(404, "There is no such file in the store.")
        answer = flask.send_file(path, as_attachment=True, download_name=f"{digest[:10]}-{name}", conditional=True)
        answer.headers["Cache-Control"] = KEEP
        return answer


def stored_file(store: Store, kind: str, digest: str, name: str) -> Path | None:
    """A file of a finished folder of the store; ``None`` for anything else, a link out of the folder among them."""
    if kind not in KINDS or not is_digest(digest) or not _NAME.fullmatch(name):
        return None
    folder = store.find(kind, digest)
    if folder is None:
        return None
    path = folder / name
    return path if path.is_file() and path.resolve().parent == folder.resolve() else None


def _drawn(smiles: str | None) -> Response:
    """The picture of a structure in the colours of the page that asks for it."""
    drawn = context().memos["picture"](str(smiles)) if smiles else ""
    if not drawn:
        return refusal(404, "There is no such structure.")
    answer = flask.make_response(recoloured(drawn, request.args.get("theme") == "dark"))
    answer.headers["Content-Type"] = "image/svg+xml; charset=utf-8"
    return answer


def _picture(smiles: str) -> str:
    return str(structure_pictures([smiles], PICTURE_SIZE)[0] or "")
