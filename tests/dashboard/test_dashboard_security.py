"""Who may see, who may write, and what a browser is told to refuse."""

from __future__ import annotations

import functools
import re
import time

import pytest

from esr1md.dashboard.app import make_app
from esr1md.dashboard.security import CSRF_COOKIE, CSRF_HEADER, MOST_BYTES, Limiter
from esr1md.dashboard.settings import DashboardSettings
from esr1md.errors import InputError

TOKEN = "correct-horse-battery"
UPDATE = {"output": "title.data", "inputs": [], "changedPropIds": []}


@functools.cache
def app_of(store, **settings):
    return make_app(DashboardSettings(store=store, **settings))


def client_of(store, **settings):
    """A client without cookies; dashboards of the same settings are made once, but for one that counts attempts."""
    return app_of(store, **settings).server.test_client()


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("empty") / "store"


# -- who may be served ------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "::", "example.org"])
def test_other_addresses_need_a_login(store, host):
    with pytest.raises(InputError, match="has no login"):
        make_app(DashboardSettings(store=store, host=host))
    make_app(DashboardSettings(store=store, host=host, token=TOKEN))


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.8.8.8"])
def test_this_machine_needs_none(store, host):
    make_app(DashboardSettings(store=store, host=host))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"token": "short"}, "5 characters"),
        ({"user_header": "X-User"}, "believed from any sender"),
        ({"user_header": "X-User", "proxies": ("proxy.example",)}, "not an IP address"),
        ({"port": 0}, "port 0"),
    ],
)
def test_a_login_that_is_none_is_refused(store, settings, said):
    with pytest.raises(InputError, match=said):
        make_app(DashboardSettings(store=store, **settings))


def test_command_refuses_in_one_line(run):
    code, out, err = run("dashboard", "--host", "0.0.0.0")
    assert code == 2 and "has no login" in err and "ESR1MD_DASHBOARD_TOKEN" in err
    assert out == "" and "Traceback" not in err


def test_another_name_for_this_machine_is_refused(store):
    client = client_of(store)
    assert client.get("/", headers={"Host": "localhost:8050"}).status_code == 200
    assert client.get("/", headers={"Host": "rebound.example:8050"}).status_code == 400


# -- login ------------------------------------------------------------------------------------------------


def test_token_lets_in_and_nothing_else_does(store):
    client = client_of(store, token=TOKEN)
    asked = client.get("/matrix?screen=a", headers={"Accept": "text/html"})
    assert asked.status_code == 302 and asked.location == "/login?to=/matrix%3Fscreen%3Da"
    for path in ("/_dash-layout", "/_dash-dependencies", "/structure.svg?screen=a&ligand=b", "/assets/grid.js"):
        assert client.get(path).status_code == 401, path
    assert client.post("/login", data={"token": "wrong-wrong-wrong"}).status_code == 401
    assert client.get("/_dash-layout").status_code == 401
    answer = client.post("/login", data={"token": TOKEN, "to": "/matrix?screen=a"})
    assert answer.status_code == 303 and answer.location == "/matrix?screen=a"
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie and "SameSite=Strict" in cookie and TOKEN not in cookie
    assert client.get("/_dash-layout").status_code == 200


def test_bearer_token_serves_programs(store):
    client = client_of(store, token=TOKEN)
    assert client.get("/_dash-layout", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200
    assert client.get("/_dash-layout", headers={"Authorization": f"Bearer {TOKEN}x"}).status_code == 401


@pytest.mark.parametrize("cookie", ["", "9999999999.", "9999999999.0000", "soon.abc", "1.2.3"])
def test_made_up_session_is_none(store, cookie):
    client = client_of(store, token=TOKEN)
    client.set_cookie("esr1md_session", cookie)
    assert client.get("/_dash-layout").status_code == 401


@pytest.mark.parametrize("to", ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)"])
def test_login_leads_only_into_the_dashboard(store, to):
    client = client_of(store, token=TOKEN)
    assert client.post("/login", data={"token": TOKEN, "to": to}).location == "/"


def test_login_attempts_are_limited(store):
    client = client_of(store, token=TOKEN + "-of-its-own")
    codes = [client.post("/login", data={"token": "guess-guess-guess"}).status_code for _ in range(12)]
    assert codes[:10] == [401] * 10 and codes[10:] == [429, 429]


def test_user_header_is_believed_from_the_proxy_alone(store):
    client = client_of(store, user_header="X-User", proxies=("10.0.0.2",))
    named = {"X-User": "ada"}
    assert client.get("/_dash-layout", headers=named, environ_base={"REMOTE_ADDR": "10.0.0.2"}).status_code == 200
    assert client.get("/_dash-layout", headers=named, environ_base={"REMOTE_ADDR": "10.0.0.3"}).status_code == 401
    assert client.get("/_dash-layout", environ_base={"REMOTE_ADDR": "10.0.0.2"}).status_code == 401
    forged = named | {"X-Forwarded-For": "10.0.0.2"}
    assert client.get("/_dash-layout", headers=forged, environ_base={"REMOTE_ADDR": "10.0.0.3"}).status_code == 401


# -- writes from elsewhere --------------------------------------------------------------------------------


def csrf_of(client) -> str:
    client.get("/")
    return client.get_cookie(CSRF_COOKIE).value


def test_write_needs_our_own_cookie_repeated(store):
    client = client_of(store)
    value = csrf_of(client)
    assert client.post("/_dash-update-component", json=UPDATE).status_code == 403
    assert client.post("/_dash-update-component", json=UPDATE, headers={CSRF_HEADER: "x" + value}).status_code == 403
    ours = {CSRF_HEADER: value}
    assert client.post("/_dash-update-component", json=UPDATE, headers=ours).status_code != 403
    for elsewhere in ({"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        answer = client.post("/_dash-update-component", json=UPDATE, headers=ours | elsewhere)
        assert answer.status_code == 403


def test_cookie_that_an_attacker_planted_is_not_ours(store):
    client = client_of(store)
    client.set_cookie(CSRF_COOKIE, "planted.value")
    answer = client.post("/_dash-update-component", json=UPDATE, headers={CSRF_HEADER: "planted.value"})
    assert answer.status_code == 403
    assert csrf_of(client) != "planted.value"  # the next page replaces it


def test_large_body_is_refused(store):
    client = client_of(store)
    headers = {CSRF_HEADER: csrf_of(client), "Content-Type": "application/json"}
    answer = client.post("/_dash-update-component", data=b"x" * (MOST_BYTES + 1), headers=headers)
    assert answer.status_code == 413


def test_limiter_forgets_after_its_time():
    limiter = Limiter(2, seconds=0.2, keys=2)
    assert [limiter.allow("a") for _ in range(3)] == [True, True, False]
    assert limiter.allow("b")
    time.sleep(0.25)
    assert limiter.allow("a")


# -- what a browser is told -------------------------------------------------------------------------------


def test_policy_allows_our_scripts_alone(store):
    answer = client_of(store).get("/")
    policy = dict(part.split(" ", 1) for part in answer.headers["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert re.fullmatch(r"'self'( 'sha256-[A-Za-z0-9+/=]+')+", policy["script-src"])
    assert policy["connect-src"] == "'self'" and policy["frame-ancestors"] == "'none'"
    assert answer.headers["X-Content-Type-Options"] == "nosniff" and answer.headers["Cache-Control"] == "no-store"
    page = answer.get_data(as_text=True)
    assert "http://" not in page and "https://" not in page  # nothing is loaded from elsewhere


def test_viewer_makes_no_code_from_text_when_it_is_loaded():
    from esr1md.dashboard import molstar

    text = molstar.script().decode()
    assert molstar.STARTED not in text and text.count(molstar.NOT_STARTED) == 1
    assert not molstar.MODULE.search(text) and "WebAssembly" in text


# -- files ------------------------------------------------------------------------------------------------


def test_files_come_by_digest_and_only_from_finished_folders(example):
    root, ranking = example
    digest = ranking.cells[0].replicas[0]
    client = client_of(root)
    answer = client.get(f"/files/replicas/{digest}/spec.json")
    assert answer.status_code == 200 and answer.headers["Content-Disposition"].startswith("attachment")
    outside = root / "outside.txt"
    outside.write_text("secret")
    (root / "replicas" / digest / "link.txt").symlink_to(outside)
    for path in (
        f"/files/replicas/{digest}/nothing.json",
        f"/files/replicas/{digest}/link.txt",
        f"/files/replicas/{digest[:-1]}/spec.json",
        f"/files/screens/{digest}/plan.json",
        f"/film/{digest}.exe",
        f"/film/{'0' * 64}.pdb",
    ):
        assert client.get(path).status_code == 404, path
    for path in (f"/files/replicas/{digest}/..%2f..%2f..%2foutside.txt", "/files/replicas/../../outside.txt"):
        assert "secret" not in client.get(path).get_data(as_text=True), path
    (root / "replicas" / digest / "link.txt").unlink()
