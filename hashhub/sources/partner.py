"""Bounded HTTP GETs from a partner: one origin, no redirect, a time for the whole answer, and a number of bytes.

`httpx2` takes all of it in an event loop of its own, where a timeout ends whatever is waited for: a name, a handshake,
a header or a body that comes byte by byte.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final, NamedTuple, Self, TypeVar
from urllib.parse import parse_qsl, urlencode, urlsplit

import msgspec

import hashhub
from hashhub.errors import (
    Cancelled,
    InvalidArgument,
    LimitExceeded,
    MalformedSource,
    Reason,
    Unauthenticated,
    Unavailable,
    missing_extra,
)
from hashhub.model import now
from hashhub.sources.settings import SourceSettings, is_secret, secret

if TYPE_CHECKING:
    import httpx2

T = TypeVar("T")
_LOOK_SECONDS: Final = 0.2  # between two looks whether the call is still wanted
_LONGEST_WAIT: Final = 86_400.0  # seconds that a partner may ask to be left alone for
_SUCCESS: Final = 200
_REFUSED: Final = (401, 403)
_TOO_MANY: Final = 429
_CLIENT_ERRORS: Final = range(400, 500)
_SERVER_ERRORS: Final = range(500, 600)
_LATER: Final = (408, 425, _TOO_MANY)


class Answer(NamedTuple):
    """What a partner answered. `headers`: in lower case."""

    body: bytes
    headers: Mapping[str, str]


class Partner:
    """Asks one partner. Use it as a context manager. Errors name paths and never queries, which may hold secrets."""

    def __init__(
        self,
        settings: SourceSettings,
        headers: Mapping[str, str],
        basic: tuple[str, str] | None = None,
        is_cancelled: Callable[[], bool] = lambda: False,
    ) -> None:
        """Connect lazily. `headers`: with each call; `basic`: user and password. Raises InvalidArgument for a proxy or
        CA file that cannot be used, FailedPrecondition without the extra `sources`.
        """
        try:
            import httpx2
        except ImportError as e:
            raise missing_extra(e, "sources", what="fetching from partners") from e
        # They tell of each call with its URL, in which ThreatExchange's token stands.
        for name in ("httpx2", "httpcore2"):
            logging.getLogger(name).setLevel(logging.WARNING)
        self._errors = httpx2.TimeoutException, httpx2.TransportError, httpx2.InvalidURL, httpx2.DecodingError
        self._settings = settings
        self._is_cancelled = is_cancelled
        self.base = settings.url.rstrip("/")
        try:
            trusted = ssl.create_default_context(cafile=settings.ca_file or None)
        except (OSError, ssl.SSLError) as e:
            raise InvalidArgument.field("ca_file", f"{settings.ca_file!r} holds no PEM certificates; check it") from e
        proxy = secret("proxy", settings.proxy) if is_secret(settings.proxy) else settings.proxy
        try:
            self._client: httpx2.AsyncClient = httpx2.AsyncClient(
                verify=trusted,
                proxy=proxy or None,
                trust_env=False,
                follow_redirects=False,
                timeout=None,
                auth=basic,
                headers={"user-agent": f"hashhub/{hashhub.__version__}", "accept-encoding": "gzip", **headers},
            )
        except ValueError as e:
            raise InvalidArgument.field("proxy", "must be the URL of a proxy, such as http://proxy.example:3128") from e
        self._runner = asyncio.Runner()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._runner as runner:
            runner.run(self._client.aclose())

    def get(self, path: str, query: str = "") -> Answer:
        """Return the answer to a GET of `path` below the partner's URL.

        Raises Unavailable: try again, after `retry_after` where the partner says so; Unauthenticated; MalformedSource
        for an answer that is no use at any time: another status, a redirect, too many bytes.
        """
        url = f"{self.base}{path}" + (f"?{query}" if query else "")
        return self._runner.run(self._watched(url, path or "/"))

    def query_of(self, link: str, path: str) -> str:
        """Return the query of a link to a further page, all of it that is used. Raises MalformedSource for one that
        leads elsewhere than to `path` below the partner's URL.
        """
        own = urlsplit(f"{self.base}{path}")
        try:
            parts = urlsplit(link)
            origin = (parts.scheme, parts.hostname, parts.port)
        except ValueError:
            parts, origin = urlsplit(""), ("", "", None)
        is_own = (not parts.scheme and not parts.netloc) or origin == (own.scheme, own.hostname, own.port)
        # Relative links leave out where the service is mounted.
        is_path = parts.path.rstrip("/") in {own.path.rstrip("/"), path.rstrip("/")}
        if not is_own or not is_path or parts.username or not parts.query:
            raise MalformedSource(
                f"the partner names a further page that is not at {own.netloc}{own.path}; nothing was asked there. Ask "
                "the partner, or correct the source's url",
                position=path,
            )
        return parts.query

    async def _watched(self, url: str, path: str) -> Answer:
        """Ask, unless nobody wants to know any more."""
        call = asyncio.ensure_future(self._ask(url, path))
        while not (await asyncio.wait({call}, timeout=_LOOK_SECONDS))[0]:
            if self._is_cancelled():
                call.cancel()
                await asyncio.wait({call})
                raise Cancelled("the fetch was ended; the next one goes on from there")
        return call.result()

    async def _ask(self, url: str, path: str) -> Answer:
        seconds = self._settings.call_seconds
        try:
            async with asyncio.timeout(seconds), self._client.stream("GET", url) as response:
                _check(response, path)
                body = bytearray()
                async for piece in response.aiter_bytes():
                    body += piece
                    if len(body) > self._settings.page_bytes:
                        raise MalformedSource(
                            f"the partner's answer is longer than {self._settings.page_bytes:,} bytes; ask for fewer "
                            "items by page_items, or raise page_bytes",
                            position=path,
                        )
                return Answer(bytes(body), {k.lower(): v for k, v in response.headers.items()})
        except TimeoutError as e:
            raise Unavailable(f"{path}: the partner gave no whole answer within {seconds:g} seconds") from e
        except self._errors as e:
            detail = str(e)[:200] or type(e).__name__
            told = f"{path}: the partner cannot be reached, or broke off ({detail}); check url, proxy and ca_file"
            raise Unavailable(told) from e


def _check(response: httpx2.Response, path: str) -> None:
    """Raise what a status other than success means."""
    status = response.status_code
    if status == _SUCCESS:
        return
    if status in _LATER or status in _SERVER_ERRORS:
        wait = _retry_after(response.headers.get("retry-after", ""))
        if status == _TOO_MANY:
            raise LimitExceeded(f"{path}: the partner asks for fewer calls (HTTP 429)", retry_after=wait)
        raise Unavailable(f"{path}: the partner has a fault of its own (HTTP {status})", retry_after=wait)
    if status in _REFUSED:
        told = f"{path}: the partner refuses the credentials (HTTP {status}); check them and whether they have expired"
        raise Unauthenticated(told, reason=Reason.TOKEN_UNKNOWN, metadata={"tokenOf": "partner"})
    what = "redirects elsewhere, which is not followed" if status not in _CLIENT_ERRORS else "refuses the call"
    raise MalformedSource(f"the partner {what} (HTTP {status}); check the source's url and protocol", position=path)


def _retry_after(text: str) -> float | None:
    """Return the seconds that a partner asks to be left alone for, within bounds."""
    try:
        seconds = float(text) if text.strip().isdecimal() else (parsedate_to_datetime(text) - now()).total_seconds()
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(seconds, 0.0), _LONGEST_WAIT)


def without(query: str, name: str) -> str:
    """Return a query without one of its fields, so that a secret is not kept."""
    return urlencode([(key, value) for key, value in parse_qsl(query, keep_blank_values=True) if key != name])


def decoded(body: bytes, kind: type[T], position: str) -> T:
    """Return an answer's JSON as `kind`. Raises MalformedSource."""
    try:
        return msgspec.json.decode(body, type=kind, strict=False)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as e:
        told = f"the partner's answer is not the JSON of this protocol ({str(e)[:120]}); check the source's url"
        raise MalformedSource(told, position=position) from e
