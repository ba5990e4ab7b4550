"""Who may see the dashboard and who may write to it: login, cookies, cross-site requests, headers, limits.

Every answer carries a content security policy that allows scripts from this server alone, and by digest the line with
which Dash starts. Every request that could change something must come from our own page: its origin is
checked, and it must repeat a signed cookie in a header, which no other site can read.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Sequence
from urllib.parse import quote, urlsplit

import flask
from flask import Flask, Response, g, request
from markupsafe import escape

from esr1md.dashboard.settings import LOOPBACK_NAMES, DashboardSettings, is_loopback

SESSION_COOKIE, CSRF_COOKIE, CSRF_HEADER = "esr1md_session", "esr1md_csrf", "X-CSRFToken"
SESSION_SECONDS = 12 * 3600

#: The largest body of a request (bytes); a review or the keys of an export need far less.
MOST_BYTES = 1_000_000
#: Reviews and other writes of one user in a minute; logins tried from one address in a minute.
MOST_WRITES, MOST_LOGINS = 30, 10

_SAFE = ("GET", "HEAD", "OPTIONS")
#: What a user who is not logged in may ask for: the page to log in on and its style.
_OPEN = ("/login", "/assets/dashboard.css")


class Limiter:
    """At most ``most`` events of one key in ``seconds``; remembers the last ``keys`` keys."""

    def __init__(self, most: int, seconds: float = 60.0, keys: int = 10_000) -> None:
        self._most, self._seconds, self._keys = most, seconds, keys
        self._seen: OrderedDict[str, deque[float]] = OrderedDict()
        self._lock = threading.Lock()

    def allow(self, key: str) -> bool:
        """Count an event; whether it is still within the limit."""
        now = time.monotonic()
        with self._lock:
            times = self._seen.setdefault(key, deque())
            self._seen.move_to_end(key)
            while times and now - times[0] > self._seconds:
                times.popleft()
            while len(self._seen) > self._keys:
                self._seen.popitem(last=False)
            if len(times) >= self._most:
                return False
            times.append(now)
            return True


def protect(server: Flask, settings: DashboardSettings, script_hashes: Sequence[str]) -> None:
    """Put every request and every answer of ``server`` under the rules of this module.

    Parameters
    ----------
    script_hashes
        CSP sources of the inline scripts of Dash's own page.
    """
    secret = hashlib.sha256(f"esr1md dashboard {settings.token or secrets.token_hex()}".encode()).digest()
    policy = content_security_policy(script_hashes)
    logins = Limiter(MOST_LOGINS)
    server.config["MAX_CONTENT_LENGTH"] = MOST_BYTES

    @server.before_request
    def admit() -> Response | None:
        if not settings.needs_login and not _is_own_name(request.host):
            return refusal(400, "This dashboard answers only to the name of its own machine.")
        g.user = ""
        if request.path in _OPEN:
            return None
        if settings.user_header:
            trusted = request.remote_addr in settings.proxies
            g.user = (request.headers.get(settings.user_header, "").strip() if trusted else "")[:200]
        if settings.needs_login and not g.user and not _has_session(settings, secret):
            if request.method == "GET" and settings.token and "text/html" in request.headers.get("Accept", ""):
                asked = quote(request.full_path.rstrip("?"), safe="/")
                return flask.redirect(f"/login?to={asked}")
            return refusal(401, "You are not logged in.")
        if request.method not in _SAFE:
            if not _from_here() or not _repeats_cookie(secret):
                return refusal(403, "This request did not come from the dashboard's own page. Reload it and try again.")
        return None

    @server.route("/login", methods=["GET", "POST"])
    def login() -> Response:
        if not settings.token:
            return refusal(404, "There is no login by token here.")
        if request.method == "GET":
            return _login_page(request.args.get("to", "/"))
        if not _from_here():
            return refusal(403, "This request did not come from the dashboard's own page.")
        if not logins.allow(request.remote_addr or ""):
            return refusal(429, "Too many attempts. Wait a minute.")
        if not hmac.compare_digest(request.form.get("token", "").strip().encode(), settings.token.encode()):
            return _login_page(request.form.get("to", "/"), "That is not the token.", 401)
        answer = flask.redirect(_local(request.form.get("to", "/")), 303)
        expires = str(int(time.time()) + SESSION_SECONDS)
        answer.set_cookie(
            SESSION_COOKIE, f"{expires}.{_signed(secret, expires)}", max_age=SESSION_SECONDS, httponly=True,
            samesite="Strict", secure=request.is_secure,
        )  # fmt: skip
        return answer

    @server.after_request
    def guard(answer: Response) -> Response:
        answer.headers.setdefault("Content-Security-Policy", policy)
        answer.headers["X-Content-Type-Options"] = "nosniff"
        answer.headers["X-Frame-Options"] = "DENY"
        answer.headers["Referrer-Policy"] = "same-origin"
        answer.headers["Cross-Origin-Opener-Policy"] = "same-origin"
        answer.headers["Cross-Origin-Resource-Policy"] = "same-origin"
        answer.headers["Permissions-Policy"] = "camera=(), microphone=(), geolocation=(), payment=(), usb=()"
        if "Cache-Control" not in answer.headers:
            answer.headers["Cache-Control"] = "no-store"
        if answer.mimetype == "text/html" and not _own_cookie(secret):
            nonce = secrets.token_urlsafe(18)
            # readable by our page, which repeats it in a header
            answer.set_cookie(CSRF_COOKIE, f"{nonce}.{_signed(secret, nonce)}", samesite="Strict",
                              secure=request.is_secure)  # fmt: skip
        return answer

    for code in (404, 413, 500):
        server.register_error_handler(code, _refuse)


def content_security_policy(script_hashes: Sequence[str]) -> str:
    """Everything from this server alone. Styles may be inline, for Plotly and AG Grid write theirs so; scripts not."""
    scripts = " ".join(["'self'", *script_hashes])
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src {scripts}",
            "style-src 'self' 'unsafe-inline'",
            "img-src 'self' data: blob:",
            "font-src 'self' data:",
            "connect-src 'self'",
            "worker-src 'self'",
            "form-action 'self'",
            "base-uri 'none'",
            "frame-ancestors 'none'",
        )
    )


def refusal(code: int, why: str) -> Response:
    """An answer that says why, to a person or to a callback."""
    return flask.make_response(why + "\n", code, {"Content-Type": "text/plain; charset=utf-8"})


def _refuse(error: Exception) -> Response:
    code = getattr(error, "code", 500)
    said = {404: "There is no such page or file.", 413: "That is too large."}
    return refusal(code, said.get(code, "Something went wrong here; the log of the dashboard says what."))


def _is_own_name(host: str) -> bool:
    """Whether a Host header names this machine itself: no other name can lead a browser here by DNS rebinding."""
    name = urlsplit(f"//{host}").hostname or ""
    return name in LOOPBACK_NAMES or is_loopback(name)


def _from_here() -> bool:
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site == "same-origin"
    origin = request.headers.get("Origin")
    return origin is None or urlsplit(origin).netloc == request.host


def _own_cookie(secret: bytes) -> str:
    """The cookie against cross-site requests, if this server made it; one of an earlier start is none."""
    cookie = request.cookies.get(CSRF_COOKIE, "")
    nonce, _, signature = cookie.partition(".")
    return cookie if nonce and hmac.compare_digest(signature.encode(), _signed(secret, nonce).encode()) else ""


def _repeats_cookie(secret: bytes) -> bool:
    cookie = _own_cookie(secret)
    return bool(cookie) and hmac.compare_digest(request.headers.get(CSRF_HEADER, "").encode(), cookie.encode())


def _has_session(settings: DashboardSettings, secret: bytes) -> bool:
    if not settings.token:
        return False
    kind, _, given = request.headers.get("Authorization", "").partition(" ")
    if kind.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), settings.token.encode()):
        return True
    expires, _, signature = request.cookies.get(SESSION_COOKIE, "").partition(".")
    own = hmac.compare_digest(signature.encode(), _signed(secret, expires).encode())
    return own and expires.isdigit() and int(expires) > time.time()


def _signed(secret: bytes, text: str) -> str:
    return hmac.new(secret, text.encode(), hashlib.sha256).hexdigest()


def _local(path: str) -> str:
    """``path`` if it is one of this server, else the first page."""
    parts = urlsplit(path.replace("\\", "/"))
    return path if path.startswith("/") and not path.startswith("//") and not parts.netloc else "/"


def _login_page(to: str, problem: str = "", code: int = 200) -> Response:
    said = f'<p class="problem" role="alert">{escape(problem)}</p>' if problem else ""
    page = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Log in - esr1md</title>
<meta name="viewport" content="width=device-width"><link rel="stylesheet" href="/assets/dashboard.css"></head>
<body class="login"><main><form method="post" action="/login"><h1>esr1md dashboard</h1>
<label for="token">Token</label>
<input id="token" name="token" type="password" autocomplete="current-password" required autofocus>
<input name="to" type="hidden" value="{escape(_local(to))}">{said}
<button type="submit">Log in</button></form></main></body></html>
"""
    return flask.make_response(page, code)
