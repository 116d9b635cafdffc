"""The door: who may ask, and the headers that every answer carries."""

import hashlib
import hmac
from collections.abc import Iterable
from datetime import datetime, timedelta
from http.cookies import CookieError, SimpleCookie
from ipaddress import ip_address

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dashboards.console.metrics import REFUSED
from taktwatch import clock
from taktwatch.errors import ConfigError

__all__ = ["COOKIE", "SESSION", "Guard", "check_binding", "is_loopback", "key_matches", "make_token", "token_is_valid"]

COOKIE = "taktwatch_session"
SESSION = timedelta(hours=12)
OPEN_PATHS = ("/static/", "/healthz", "/readyz", "/login", "/favicon.ico")
SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def is_loopback(host: str) -> bool:
    """Say whether a host name or address is this machine alone.

    >>> is_loopback("127.0.0.1"), is_loopback("::1"), is_loopback("localhost"), is_loopback("0.0.0.0")
    (True, True, True, False)
    """
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def check_binding(host: str, key: str | None) -> None:
    """Raise `ConfigError` where the console would be open to a network without a key."""
    if not key and not is_loopback(host):
        raise ConfigError(
            f"console.host is {host}: anyone on that network could look in; set TAKTWATCH_API_KEY in the environment, "
            f"or use 127.0.0.1"
        )


def key_matches(offered: str, key: str) -> bool:
    """Compare in constant time.

    >>> key_matches("a", "a"), key_matches("b", "a")
    (True, False)
    """
    return hmac.compare_digest(offered.encode(), key.encode())


def make_token(key: str, now: datetime) -> str:
    """Return what a logged-in browser carries: an expiry signed with the key, so that it survives a restart."""
    expiry = str(int((now + SESSION).timestamp()))
    return f"{expiry}.{signature(key, expiry)}"


def token_is_valid(token: str, key: str, now: datetime) -> bool:
    """Check signature and expiry of a token.

    >>> from datetime import UTC
    >>> now = datetime(2026, 3, 3, tzinfo=UTC)
    >>> token = make_token("secret", now)
    >>> token_is_valid(token, "secret", now), token_is_valid(token, "other", now)
    (True, False)
    >>> token_is_valid(token, "secret", now + SESSION)
    False
    """
    expiry, _, signed = token.partition(".")
    if not key_matches(signed, signature(key, expiry)):
        return False
    return int(expiry) > now.timestamp()


def signature(key: str, expiry: str) -> str:
    """Sign an expiry."""
    return hmac.new(key.encode(), f"taktwatch console until {expiry}".encode(), hashlib.sha256).hexdigest()


class Guard:
    """ASGI middleware: asks for the key where one is set; without one, answers only requests meant for this machine.

    The second keeps a foreign web page from reading a keyless console through a name that it points at 127.0.0.1.
    """

    def __init__(self, app: ASGIApp, *, key: str | None, own_hosts: Iterable[str] = ()) -> None:
        self.app = app
        self.key = key
        self.own_hosts = frozenset(own_hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request in, or answer 401 or 421; add security headers, and `no-cache` where nothing else was said."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "no-cache")
            await send(message)

        refusal = self.refusal(scope["path"], Headers(scope=scope))
        await (refusal or self.app)(scope, receive, send_guarded)

    def refusal(self, path: str, headers: Headers) -> JSONResponse | None:
        """Return the refusal of a request, or None where it may come in."""
        if self.key:
            if path == "/" or path.startswith(OPEN_PATHS) or self.is_known(headers, self.key):
                return None
            REFUSED.labels(reason="key").inc()
            return JSONResponse(
                {
                    "error": "unauthorized",
                    "detail": "this console wants its key: Authorization: Bearer KEY, or log in at /",
                },
                status_code=401,
                headers={"WWW-Authenticate": 'Bearer realm="taktwatch"'},
            )
        name = host_name(headers.get("host", ""))
        if is_loopback(name) or name in self.own_hosts:
            return None
        REFUSED.labels(reason="host").inc()
        return JSONResponse(
            {
                "error": "misdirected",
                "detail": f"without TAKTWATCH_API_KEY this console answers on loopback only, not as {name!r}",
            },
            status_code=421,
        )

    def is_known(self, headers: Headers, key: str) -> bool:
        """Check the bearer key, then the login cookie."""
        scheme, _, offered = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and key_matches(offered.strip(), key):
            return True
        try:
            cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        except CookieError:
            return False
        return cookie is not None and token_is_valid(cookie.value, key, clock.now())


def host_name(host: str) -> str:
    """Return the name in a Host header without its port.

    >>> host_name("127.0.0.1:8321"), host_name("[::1]:8321"), host_name("box")
    ('127.0.0.1', '::1', 'box')
    """
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]
