"""How a dashboard is served, and the refusal of what would let strangers in."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path

from esr1md.errors import InputError

#: Names of this machine for itself; nobody else can reach a server that listens there.
LOOPBACK_NAMES = ("localhost",)
LEAST_TOKEN = 16


@dataclass(frozen=True)
class DashboardSettings:
    """What one dashboard shows, to whom.

    Attributes
    ----------
    store
        A store's folder, or the URL of one.
    host, port
        Where it listens. Any other address than this machine's own needs ``token`` or ``user_header``.
    token
        Secret that a user gives once to be let in; the browser then keeps a signed cookie.
    user_header
        Header in which a reverse proxy names the user that it has checked. It is believed only from ``proxies``.
    proxies
        Addresses of reverse proxies.
    read_only
        No reviews are taken and nothing is started.
    database
        SQLAlchemy URL of the store's database; the store's own without.
    """

    store: Path | str
    host: str = "127.0.0.1"
    port: int = 8050
    token: str = ""
    user_header: str = ""
    proxies: tuple[str, ...] = ()
    read_only: bool = False
    database: str | None = None

    @property
    def needs_login(self) -> bool:
        return bool(self.token or self.user_header)

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}/"

    def check(self) -> None:
        """Refuse an address that others can reach without a login, and a login that is none.

        Raises
        ------
        InputError
            With what to give instead.
        """
        if not is_loopback(self.host) and not self.needs_login:
            raise InputError(
                f"'{self.host}' can be reached from other machines, and this dashboard has no login",
                where="--host",
                expected="127.0.0.1, or a login for any other address",
                do="set ESR1MD_DASHBOARD_TOKEN, or name the header of your reverse proxy with --user-header",
            )
        if self.token and len(self.token) < LEAST_TOKEN:
            raise InputError(
                f"the token has {len(self.token)} characters",
                where="ESR1MD_DASHBOARD_TOKEN",
                expected=f"at least {LEAST_TOKEN}, hard to guess",
                do="make one: python -c 'import secrets; print(secrets.token_urlsafe())'",
            )
        if self.user_header and not self.proxies:
            raise InputError(
                "a header that names the user is believed from any sender",
                where="--user-header",
                expected="the addresses of the reverse proxies that set it",
                do="name them with --proxy",
            )
        for proxy in self.proxies:
            try:
                ipaddress.ip_address(proxy)
            except ValueError:
                what = f"'{proxy}' is not an IP address"
                raise InputError(what, where="--proxy", expected="such as 10.0.0.5") from None
        if not 0 < self.port < 65536:
            raise InputError(f"port {self.port} does not exist", where="--port", expected="1 to 65535")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server that listens at ``host``."""
    if host in LOOPBACK_NAMES:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
