"""Who may ask the sidecar: who holds its secret, or, on loopback, any program of this machine; never a web page.

A page that somebody on this machine looks at can post to loopback without being asked (a simple request, without
CORS): it could find out what is listed, or fill the queue. Browsers say whose page asks, in `Origin` or
`Sec-Fetch-Site`, and a page's name is in `Host` where it has turned its own name to 127.0.0.1.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import ipaddress
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from hashhub.client import is_loopback
from hashhub.desk.moderation import PATH as MODERATION
from hashhub.errors import InvalidArgument, PermissionDenied, Reason, Unauthenticated

if TYPE_CHECKING:
    from hashhub.hook.settings import SidecarSettings

_SHORTEST_SECRET: Final = 16
_OPEN: Final = frozenset({"/healthz", "/docs", "/openapi.json"})  # tell nothing about uploads
_OWN_PAGES: Final = frozenset({"", "none", "same-origin"})


class Guard:
    """Lets requests through, or raises."""

    def __init__(self, settings: SidecarSettings, *, for_persons: str = "") -> None:
        """`for_persons`: a path of persons' own tokens. Raises InvalidArgument for a bad or missing secret."""
        self._secret = _secret(settings.secret_file)
        self._for_persons = for_persons
        self._is_loopback = is_loopback(settings.listen)
        if not self._secret and not self._is_loopback and not settings.insecure_listen:
            raise InvalidArgument.field(
                "sidecar.listen",
                f"{settings.listen} is reachable from other machines, and whoever may ask can find out what is listed: "
                "set sidecar.secret_file, or say with sidecar.insecure_listen that only the app reaches it",
                "INSECURE",
            )

    def check(self, method: str, path: str, headers: Mapping[str, str]) -> None:
        """Raise PermissionDenied for web pages, Unauthenticated, or InvalidArgument for two ends of a body."""
        if "content-length" in headers and "transfer-encoding" in headers:
            raise InvalidArgument.field("Content-Length", "must not stand beside Transfer-Encoding; send one of them")
        if _is_below(path, MODERATION):  # pages that look by themselves who asks
            return
        own = headers.get("sec-fetch-site", "").lower() in _OWN_PAGES
        if not own or (method != "GET" and "origin" in headers) or not self._is_for_us(headers.get("host", "")):
            raise PermissionDenied(
                "the sidecar is for the app, and refuses web pages; let the app's own server ask, without Origin"
            )
        if not self._secret or path in _OPEN or _is_below(path, self._for_persons):
            return
        given = _credentials(headers.get("authorization", ""))
        if not given:
            raise Unauthenticated(
                "the secret is missing; send Authorization: Bearer SECRET", reason=Reason.TOKEN_MISSING
            )
        if not hmac.compare_digest(given, self._secret):
            raise Unauthenticated("the secret is another one; see sidecar.secret_file", reason=Reason.TOKEN_UNKNOWN)

    def _is_for_us(self, host: str) -> bool:
        """Whether a request on loopback names this machine; elsewhere the app may know it by any name."""
        if not self._is_loopback or self._secret:
            return True
        name = host[: host.rfind("]") + 1].strip("[]") if host.startswith("[") else host.partition(":")[0]
        if name.lower() == "localhost":
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True


def _is_below(path: str, above: str) -> bool:
    return bool(above) and (path == above or path.startswith(f"{above}/"))


def _secret(file: str) -> bytes:
    if not file:
        return b""
    try:
        secret = Path(file).read_bytes().strip()
    except OSError as e:
        raise InvalidArgument.field("sidecar.secret_file", f"cannot be read: {e.strerror}") from e
    if len(secret) < _SHORTEST_SECRET:
        raise InvalidArgument.field(
            "sidecar.secret_file", f"must hold at least {_SHORTEST_SECRET} characters; try `openssl rand -hex 32`"
        )
    return secret


def _credentials(header: str) -> bytes:
    """Return the secret of a Bearer header, or the password of a Basic one, which URLs with `:SECRET@` become."""
    scheme, _, value = header.partition(" ")
    if scheme.lower() == "bearer":
        return value.strip().encode("latin-1", "replace")
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(value.strip(), validate=True).partition(b":")[2]
        except (binascii.Error, ValueError):
            return b""
    return b""
