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
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Final
from urllib.parse import urlencode, urlsplit

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from hashhub.console.pages import _, render
from hashhub.console.sessions import BrowserSession
from hashhub.console.site import Site, read_form
from hashhub.console.visit import Way
from hashhub.errors import LimitExceeded, PermissionDenied, Reason, Unauthenticated
from hashhub.openid import ask, discover

_A_MINUTE: Final = 20  # sign-ins from one address
_ADDRESSES: Final = 10_000  # that are remembered
_STATE: Final = "__Host-hashhub-sign-in"
_STATE_SECONDS: Final = 600
_DISCOVERED_SECONDS: Final = 300  # for which the issuer's places are remembered: nobody has it asked by opening a page


class SignInLimit:
    """Bounds how many sign-ins one address makes in a minute."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._times: dict[str, list[float]] = {}

    def count(self, request: Request) -> None:
        """Count an attempt of this address. Raises LimitExceeded where it made too many."""
        at, address = time.monotonic(), request.client.host if request.client else ""
        with self._lock:
            recent = [one for one in self._times.pop(address, ()) if one > at - 60]
            self._times[address] = recent  # the newest at the end
            if len(self._times) > _ADDRESSES:
                del self._times[next(iter(self._times))]
            if len(recent) >= _A_MINUTE:
                text = _("too many sign-ins at a time; wait a minute, and try again")
                raise LimitExceeded(text, reason=Reason.TOO_MANY_REQUESTS)
            recent.append(at)


def openid_way(issuer: str, client_id: str, enter: Callable[[str], tuple[str, datetime]]) -> Way:
    """Return the way by the issuer that the hub trusts: authorization code with PKCE (RFC 7636), a state and a nonce.

    `enter`: returns the secret of a session for an ID token, and when it ends. Raises HashHubError.
    """
    attempts = SignInLimit()

    @lru_cache(maxsize=2)
    def places(_at: int) -> list[str]:
        return discover(issuer, "authorization_endpoint", "token_endpoint")

    def place(index: int) -> str:
        return places(int(time.monotonic() / _DISCOVERED_SECONDS))[index]

    def redirect(site: Site) -> str:
        return f"{site.settings.origins[0]}{site.prefix}/sign-in/back"

    async def begin(site: Site, _request: Request) -> Response:
        url = await run_in_threadpool(place, 0)
        state, nonce, verifier = (secrets.token_urlsafe(32) for each in range(3))
        challenge = urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        asked = {
            "response_type": "code", "client_id": client_id, "redirect_uri": redirect(site), "state": state,
            "scope": "openid profile email", "nonce": nonce, "code_challenge": challenge,
            "code_challenge_method": "S256",
        }  # fmt: skip
        response = RedirectResponse(f"{url}{'&' if urlsplit(url).query else '?'}{urlencode(asked)}", 303)
        # Lax, for the issuer leads back from its own site; it is of use with the code alone.
        kept = f"{state}.{nonce}.{verifier}"
        response.set_cookie(_STATE, kept, _STATE_SECONDS, secure=True, httponly=True, samesite="lax")
        return response

    async def back(site: Site, request: Request) -> Response:
        parts = request.cookies.get(_STATE, "").split(".")
        given = request.query_params.get("state", "").encode()
        if len(parts) != 3 or not hmac.compare_digest(parts[0].encode(), given):  # noqa: PLR2004 - as it was made
            raise PermissionDenied(_("this sign-in was not begun here, or too long ago; begin it again"))

        def sign_in() -> BrowserSession:
            attempts.count(request)
            secret, ends = enter(id_token(site, request.query_params, *parts[1:]))
            return site.begin(request, secret, ends=ends.timestamp())

        session = await run_in_threadpool(sign_in)
        # A page that leads on, and no redirect: a strict cookie does not come along from the issuer's site.
        response = HTMLResponse(render("signed_in.html", site=site.settings, visit=None))
        response.delete_cookie(_STATE, secure=True, httponly=True, samesite="lax")
        return site.signed_in(response, session)

    def id_token(site: Site, query: Mapping[str, str], nonce: str, verifier: str) -> str:
        form = {
            "grant_type": "authorization_code", "code": query.get("code", ""), "redirect_uri": redirect(site),
            "client_id": client_id, "code_verifier": verifier,
        }  # fmt: skip
        answer = dict(query) if "error" in query else ask(place(1), form)
        token = str(answer.get("id_token"))
        if "error" in answer or _claims(token).get("nonce") != nonce:
            why = answer.get("error_description") or answer.get("error") or _("it gave no ID token of this sign-in")
            text = _("the identity provider refused: {why}").format(why=str(why)[:200])
            raise Unauthenticated(text, reason=Reason.LOGIN_REFUSED)
        return token

    return Way("sign_in_openid.html", {"GET /sign-in/begin": begin, "GET /sign-in/back": back})


def link_way() -> Way:
    """Return the way by a link that works once, which who has the file of sessions makes (`hashhub console link`)."""

    async def take(site: Site, request: Request) -> Response:
        if request.headers.get("sec-fetch-site", "none") not in {"none", "same-origin"}:
            raise PermissionDenied(_("another site led here; open the link itself"))
        secret = await run_in_threadpool(site.sessions.take_link, request.path_params["code"])
        if not secret:
            raise Unauthenticated(_("this link has been used, or is too old; make another (hashhub console link)"))
        session = await run_in_threadpool(site.begin, request, secret)
        return site.signed_in(RedirectResponse(f"{site.prefix}/", 303), session)

    return Way("sign_in_link.html", {"GET /sign-in/link/{code}": take})


def token_way(check: Callable[[str], datetime]) -> Way:
    """Return the way by a token that is typed in. `check`: returns when it ends; raises Unauthenticated."""
    attempts = SignInLimit()

    async def take(site: Site, request: Request) -> Response:
        form = await read_form(request)
        token = str(form.get("token", "")).strip()

        def sign_in() -> BrowserSession:
            try:
                return site.begin(request, token, ends=check(token).timestamp())
            except Unauthenticated:
                # Of wrong ones alone: who guesses locks nobody out, not even who comes by the same proxy.
                attempts.count(request)
                raise

        session = await run_in_threadpool(sign_in)
        return site.signed_in(RedirectResponse(site.own_path(str(form.get("next", ""))), 303), session)

    return Way("sign_in_token.html", {"POST /sign-in/token": take})


def _claims(id_token: str) -> dict[str, object]:
    """Return what an ID token says, which the hub has yet to check; empty where it cannot be read."""
    try:
        body = id_token.split(".")[1]
        claims = msgspec.json.decode(urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    except (IndexError, ValueError):
        return {}
    return claims if isinstance(claims, dict) else {}
