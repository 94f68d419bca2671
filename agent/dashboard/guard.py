"""Who may ask: looked at before anything else, for every request.

- Host: a page elsewhere may give its own name our address (DNS rebinding). Only our addresses, `localhost` and
  `dashboard.names` are answered.
- Origin and Sec-Fetch-Site: a page elsewhere may make the browser send us requests. Those are refused; what changes
  anything must name our own origin.
- Token: exchanged once for a cookie that scripts cannot read and that other sites' requests do not carry. It is made of
  the token alone, so it outlives a restart of the agent and dies with the token.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from typing import Final

from starlette.datastructures import Headers
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agent.dashboard.settings import is_loopback

COOKIE: Final = "crackscout"
PUBLIC: Final = ("/login", "/static/")  # the page's own files hold no secret
SAFE_METHODS: Final = {"GET", "HEAD"}
CONTENT_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
SECURITY_HEADERS: Final = {
    "content-security-policy": CONTENT_POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "cache-control": "no-store",
}


@dataclass(frozen=True)
class Guard:
    """The rules.

    Args:
        host: the address that is answered at.
        names: under which it may be called as well.
        token: to be shown first; None: anybody on this computer may look.
    """

    host: str
    names: Iterable[str] = ()
    token: str | None = field(default=None, repr=False)

    def knows(self, host_header: str) -> bool:
        """Whether a Host header means us."""
        name = host_header.rpartition("]")[0].lstrip("[") if host_header.startswith("[") else ""
        if not name:
            name = host_header.partition(":")[0]
        name = name.lower()
        if name in self.names:
            return True
        if is_loopback(name):
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return not is_loopback(self.host)  # an address cannot be given to another by DNS

    def cookie(self) -> str:
        """Return what the cookie holds."""
        return hmac.new((self.token or "").encode(), b"crackscout dashboard", hashlib.sha256).hexdigest()

    def accepts(self, token: str) -> bool:
        """Whether this is the token."""
        return self.token is not None and hmac.compare_digest(token.encode(), self.token.encode())

    def admits(self, headers: Headers, port: object) -> bool:
        """Whether the request carries the cookie, or needs none."""
        if self.token is None:
            return True
        try:
            found = SimpleCookie(headers.get("cookie", "")).get(f"{COOKIE}_{port}")
        except CookieError:
            return False
        return found is not None and hmac.compare_digest(found.value.encode(), self.cookie().encode())


class GuardedApp:
    """Lets through what the guard allows, and adds the security headers to every answer.

    Args:
        app: what answers.
        guard: the rules.
    """

    def __init__(self, app: ASGIApp, guard: Guard) -> None:
        self._app = app
        self._guard = guard

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        headers = SECURITY_HEADERS
        if scope["path"].startswith("/static/"):  # asked for again by its ETag: a radio link is slow
            headers = {**headers, "cache-control": "no-cache"}

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                there = {name.lower() for name, _ in message["headers"]}
                added = [
                    (name.encode(), value.encode()) for name, value in headers.items() if name.encode() not in there
                ]
                message["headers"] = [*message["headers"], *added]
            await send(message)

        answer = self._refusal(scope) or self._app
        await answer(scope, receive, send_with_headers)

    def _refusal(self, scope: Scope) -> Response | None:
        return self._foreign(scope) or self._unknown(scope)

    def _foreign(self, scope: Scope) -> Response | None:
        """Refuse what is meant for another address, or comes from a page elsewhere."""
        headers, method = Headers(scope=scope), scope["method"]
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self._guard.knows(hosts[0]):
            return PlainTextResponse(
                "This is not an address of this agent. Open it by its own, or name it in dashboard.names.\n", 421
            )
        if method not in {*SAFE_METHODS, "POST"}:
            return PlainTextResponse("GET, HEAD and POST are answered.\n", 405)
        origins = headers.getlist("origin")
        own = all(origin == f"{scope['scheme']}://{hosts[0]}" for origin in origins)
        site = headers.get("sec-fetch-site", "none")
        followed = scope["path"] in {"/", "/login"} and method in SAFE_METHODS  # a link to us, in a mail for instance
        if not own or (method == "POST" and not origins) or (site not in {"same-origin", "none"} and not followed):
            return PlainTextResponse("Requests of other sites are refused.\n", 403)
        return None

    def _unknown(self, scope: Scope) -> Response | None:
        """Refuse who has not shown the token."""
        path = scope["path"]
        if path.startswith(PUBLIC) or self._guard.admits(Headers(scope=scope), port_of(scope)):
            return None
        if path == "/":
            query = f"?{scope['query_string'].decode('ascii', 'replace')}" if scope["query_string"] else ""
            return RedirectResponse(f"/login{query}", 303)
        return JSONResponse({"error": "the token is missing or was exchanged; open the page again"}, 401)


def port_of(scope: Scope) -> int:
    """Return the port that was called: cookies know none, so their names tell it."""
    server = scope.get("server") or ("", 0)
    return int(server[1] or 0)
