"""Ways to sign in to a site: OpenID Connect with PKCE, a link that works once, a token that is typed in.

A way asks for no more than a browser's own: what another site has a browser do begins nothing, ends nothing, and is
not counted among the sign-ins of a minute.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode, urlsplit

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.responses import HTMLResponse, RedirectResponse

from hashhub.console.pages import _, render
from hashhub.console.site import Site, read_form
from hashhub.errors import LimitExceeded, PermissionDenied, Reason, Unauthenticated
from hashhub.openid import ask, discover

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from hashhub.console.sessions import Session

Routes = Iterable[tuple[str, Sequence[str], Callable[["Request"], Awaitable["Response"]]]]
_A_MINUTE: Final = 20  # sign-ins from one address
_ADDRESSES: Final = 10_000  # that are remembered
_AT_A_TIME: Final = 8  # sign-ins that wait for an issuer or the hub
_STATE_COOKIE: Final = "__Host-hashhub-sign-in"
_STATE_SECONDS: Final = 600
_SCOPE: Final = "openid profile email"


class Attempts:
    """Bounds how many sign-ins one address makes in a minute, and how many go on at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._times: dict[str, deque[float]] = {}
        self._places = threading.BoundedSemaphore(_AT_A_TIME)

    def make(self, request: Request, sign_in: Callable[[], tuple[str, float | None]]) -> tuple[str, float | None]:
        """Return a sign-in's secret and its end. Raises LimitExceeded, and what the sign-in does."""
        self.count(request)
        if not self._places.acquire(blocking=False):
            raise _busy()
        try:
            return sign_in()
        finally:
            self._places.release()

    def count(self, request: Request) -> None:
        """Count an attempt of this address. Raises LimitExceeded where it made too many."""
        address = request.client.host if request.client else ""
        with self._lock:
            times = self._times.pop(address, deque())
            while times and times[0] < time.monotonic() - 60:
                times.popleft()
            self._times[address] = times  # the newest at the end
            if len(self._times) > _ADDRESSES:
                del self._times[next(iter(self._times))]
            if len(times) >= _A_MINUTE:
                raise _busy()
            times.append(time.monotonic())


def _busy() -> LimitExceeded:
    text = _("too many sign-ins at a time; wait a minute, and try again")
    return LimitExceeded(text, reason=Reason.TOO_MANY_REQUESTS)


class OpenIDSignIn:
    """By the issuer that the hub trusts: authorization code with PKCE (RFC 7636), a state and a nonce."""

    template = "sign_in_openid.html"

    def __init__(self, issuer: str, client_id: str, *, enter: Callable[[str], tuple[str, datetime]]) -> None:
        """`enter`: returns the secret of a session for an ID token, and when it ends. Raises HashHubError."""
        self._issuer, self._client_id, self._enter = issuer, client_id, enter
        self._attempts = Attempts()

    def routes(self, site: Site) -> Routes:
        """See SignInWay."""
        redirect = f"{site.settings.origins[0]}{site.prefix}/sign-in/back"

        async def begin(_request: Request) -> Response:
            (place,) = await run_in_threadpool(discover, self._issuer, "authorization_endpoint")
            state, nonce, verifier = (secrets.token_urlsafe(32) for each in range(3))
            asked = {
                "response_type": "code", "client_id": self._client_id, "redirect_uri": redirect, "scope": _SCOPE,
                "state": state, "nonce": nonce, "code_challenge": challenge(verifier), "code_challenge_method": "S256",
            }  # fmt: skip
            response = RedirectResponse(f"{place}{'&' if urlsplit(place).query else '?'}{urlencode(asked)}", 303)
            kept = f"{state}.{nonce}.{verifier}"
            # Lax, for the issuer leads back from its own site; it is of use with the code alone.
            response.set_cookie(_STATE_COOKIE, kept, _STATE_SECONDS, secure=True, httponly=True, samesite="lax")
            return response

        async def back(request: Request) -> Response:
            parts = request.cookies.get(_STATE_COOKIE, "").split(".")
            given = request.query_params.get("state", "").encode()
            if len(parts) != 3 or not hmac.compare_digest(parts[0].encode(), given):  # noqa: PLR2004 - as it was made
                raise PermissionDenied(_("this sign-in was not begun here, or too long ago; begin it again"))

            def sign_in() -> tuple[str, float | None]:
                return self._finish(request.query_params, parts[1], parts[2], redirect)

            secret, ends = await run_in_threadpool(self._attempts.make, request, sign_in)
            session = await run_in_threadpool(site.begin, request, secret, ends=ends)
            # A page that leads on, and no redirect: a strict cookie does not come along from the issuer's site.
            response = HTMLResponse(render("signed_in.html", site=site.settings, visit=None))
            response.delete_cookie(_STATE_COOKIE, secure=True, httponly=True, samesite="lax")
            return site.signed_in(response, session)

        return (("/sign-in/begin", ["GET"], begin), ("/sign-in/back", ["GET"], back))

    def _finish(self, query: object, nonce: str, verifier: str, redirect: str) -> tuple[str, float]:
        get = getattr(query, "get")  # noqa: B009
        form = {
            "grant_type": "authorization_code", "code": str(get("code", "")), "redirect_uri": redirect,
            "client_id": self._client_id, "code_verifier": verifier,
        }  # fmt: skip
        error = get("error_description") or get("error")
        answer = {"error": error} if error else ask(discover(self._issuer, "token_endpoint")[0], form)
        token = str(answer.get("id_token"))
        if _claims(token).get("nonce") != nonce:
            why = answer.get("error_description") or answer.get("error") or _("it gave no ID token of this sign-in")
            raise Unauthenticated(
                _("the identity provider refused: {why}").format(why=str(why)[:200]), reason=Reason.LOGIN_REFUSED
            )
        secret, ends = self._enter(token)
        return secret, ends.timestamp()


class LinkSignIn:
    """By a link that works once, which whoever has the file of sessions makes (`hashhub console link`)."""

    template = "sign_in_link.html"

    def routes(self, site: Site) -> Routes:
        """See SignInWay."""

        async def take(request: Request) -> Response:
            if request.headers.get("sec-fetch-site", "none") not in {"none", "same-origin"}:
                raise PermissionDenied(_("another site led here; open the link itself"))
            secret = await run_in_threadpool(site.sessions.take_link, request.path_params["code"])
            if not secret:
                raise Unauthenticated(_("this link has been used, or is too old; make another (hashhub console link)"))
            session = await run_in_threadpool(site.begin, request, secret)
            return site.signed_in(RedirectResponse(f"{site.prefix}/", 303), session)

        return (("/sign-in/link/{code}", ["GET"], take),)


class TokenSignIn:
    """By a token that is typed in."""

    template = "sign_in_token.html"

    def __init__(self, check: Callable[[str], datetime | None]) -> None:
        """`check`: returns when a token ends, if it does. Raises HashHubError for one that is nobody's."""
        self._check = check
        self._attempts = Attempts()

    def routes(self, site: Site) -> Routes:
        """See SignInWay."""

        async def take(request: Request) -> Response:
            form = await read_form(request)
            token = str(form.get("token", "")).strip()

            def sign_in() -> Session:
                try:
                    ends = self._check(token)
                except Unauthenticated:
                    # Of wrong ones alone: who guesses locks nobody out, not even who comes by the same proxy.
                    self._attempts.count(request)
                    raise
                return site.begin(request, token, ends=ends.timestamp() if ends else None)

            session = await run_in_threadpool(sign_in)
            return site.signed_in(RedirectResponse(site.own_path(str(form.get("next", ""))), 303), session)

        return (("/sign-in/token", ["POST"], take),)


def challenge(verifier: str) -> str:
    """Return what PKCE sends ahead of a verifier (RFC 7636, S256)."""
    return urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def _claims(id_token: str) -> dict[str, object]:
    """Return what an ID token says, which the hub has yet to check; empty where it cannot be read."""
    try:
        body = id_token.split(".")[1]
        claims = msgspec.json.decode(urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    except (IndexError, ValueError):
        return {}
    return claims if isinstance(claims, dict) else {}
