# SPDX-License-Identifier: Apache-2.0
"""Who may speak to the review server: its own page on this machine, or a browser that was given the token.

What is covered: pages of other sites in the same browser (foreign Host headers as after DNS rebinding, cross-site
POSTs, framing, injected scripts) and, with `--host`, other machines without the token. What is not: other users of this
machine, who can reach loopback too, and whoever listens on the network, since it is plain HTTP.
"""

import hmac
from http.cookies import CookieError, SimpleCookie
from typing import Final
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "media-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
LOOPBACK: Final = ("127.0.0.1", "localhost", "[::1]")
COOKIE: Final = "affectory_review"
SAFE: Final = frozenset({"GET", "HEAD"})

# the page leads on by itself: a redirect would still count as coming from where the link stood, and go without cookie
_ENTERED: Final = '<!doctype html><meta http-equiv="refresh" content="0; url=/"><title>Review</title>'


class Guard:
    """Let through what comes from our own page; everything that leaves carries the same strict headers."""

    def __init__(self, app: ASGIApp, *, port: int, token: str | None) -> None:
        self._app = app
        self._hosts = {f"{name}:{port}" for name in LOOPBACK} | ({*LOOPBACK} if port == 80 else set())
        self._token = token
        self._cookie = f"{COOKIE}_{port}"  # cookies know no ports: two servers must not take each other's

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or let the app answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        answer = self._refusal(scope, headers)
        await (answer or self._app)(scope, receive, _with_headers(send))

    def _refusal(self, scope: Scope, headers: Headers) -> Response | None:
        host = headers.get("host", "")
        if self._token is None and host not in self._hosts:
            return PlainTextResponse("This server answers to its own address alone.", 421)
        if scope["method"] not in SAFE and (not host or urlsplit(headers.get("origin", "")).netloc != host):
            return PlainTextResponse("Answers are taken from the page of this server alone.", 403)
        if self._token is None or self._is_token(self._token, self._from_cookie(headers)):
            return None
        query = parse_qs(scope["query_string"].decode("latin-1"))
        if scope["path"] == "/" and self._is_token(self._token, query.get("token", [""])[0]):
            entered = HTMLResponse(_ENTERED)
            entered.set_cookie(self._cookie, self._token, httponly=True, samesite="strict")
            return entered
        return PlainTextResponse("Open the address that `affectory review` printed: the token is in it.", 401)

    def _from_cookie(self, headers: Headers) -> str:
        cookies: SimpleCookie = SimpleCookie()
        try:
            cookies.load(headers.get("cookie", ""))
        except CookieError:  # a cookie of another server on this host
            return ""
        return cookies[self._cookie].value if self._cookie in cookies else ""

    @staticmethod
    def _is_token(token: str, given: str) -> bool:
        return hmac.compare_digest(token.encode(), given.encode("utf-8", "surrogatepass"))


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(HEADERS)
        await send(message)

    return sending
