"""What is asked of an OpenID Connect issuer. No redirect is followed, and no proxy asked."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from hashhub.addresses import WEB_URL
from hashhub.errors import InvalidArgument, Reason, Unavailable

SECONDS: Final = 10.0
_BYTES: Final = 1 << 20


def discover(issuer: str, *names: str) -> list[str]:
    """Return the URLs of these names in the issuer's discovery document. Raises Unavailable, InvalidArgument."""
    if not WEB_URL.fullmatch(issuer):
        raise InvalidArgument.field("issuer", f"must be an https URL, or http on this machine; got {issuer[:80]!r}")
    document = ask(f"{issuer.rstrip('/')}/.well-known/openid-configuration")
    urls = [str(document.get(name)) for name in names]
    if document.get("issuer") != issuer or not all(map(WEB_URL.fullmatch, urls)):
        raise _away(issuer, f"its discovery document is another's, or names no {' and no '.join(names)}")
    return urls


def ask(url: str, form: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return the JSON object that a GET answers with, or the POST of a form. Raises Unavailable."""
    parts = urlsplit(url)
    connection = (HTTPSConnection if parts.scheme == "https" else HTTPConnection)(parts.netloc, timeout=SECONDS)
    try:
        connection.connect()
        # The timeout is for each piece of an answer, this for all of them.
        guard = threading.Timer(SECONDS, connection.sock.shutdown, (socket.SHUT_RDWR,))
        guard.daemon = True
        guard.start()
        try:
            target = parts._replace(scheme="", netloc="").geturl() or "/"
            headers = {"accept": "application/json", "content-type": "application/x-www-form-urlencoded"}
            connection.request("POST" if form else "GET", target, urlencode(form) if form else None, headers)
            text = connection.getresponse().read(_BYTES + 1)
        finally:
            guard.cancel()
        answer = json.loads(text) if len(text) <= _BYTES else None
    except (OSError, HTTPException, ValueError, OverflowError, RecursionError) as e:
        raise _away(url, str(e)[:200] or type(e).__name__) from e
    finally:
        connection.close()
    if not isinstance(answer, dict):
        raise _away(url, "no JSON object, or one of more than a megabyte")
    return answer


def _away(url: str, what: str) -> Unavailable:
    return Unavailable(
        f"the identity provider does not answer as it must at {url[:200]}: {what}; try again, or tell who runs it",
        reason=Reason.ISSUER_UNAVAILABLE,
    )
