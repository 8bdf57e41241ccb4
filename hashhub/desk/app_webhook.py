"""The app's own URL, called with what an upload turned out to be; signed, by Standard Webhooks, as the hub's are."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import ssl
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import msgspec

from hashhub.addresses import is_loopback_host
from hashhub.errors import InvalidArgument, Unavailable

if TYPE_CHECKING:
    from hashhub.desk.decision import FollowUp

_SECONDS: Final = 10.0
_SECRET_BYTES: Final = 16  # fewer could be guessed
_PREFIX: Final = "whsec_"


class AppUrl:
    """Calls one URL. No redirects are followed, and of the answer only the status is read."""

    def __init__(self, url: str, secret_file: str) -> None:
        """Call nothing yet. Raises InvalidArgument for another URL than https or a local http, and for a bad secret."""
        parts = urlsplit(url)
        try:
            port = parts.port
        except ValueError:
            port = -1
        if (
            not parts.hostname
            or port == -1
            or parts.username is not None
            or parts.scheme not in {"https", "http"}
            or (parts.scheme == "http" and not is_loopback_host(parts.hostname))
        ):
            raise InvalidArgument.field(
                "recheck.url", "must be https://HOST/PATH, or http:// on this machine, without user and password"
            )
        try:
            self._key = _key(Path(secret_file).read_text("ascii").strip())
        except (OSError, ValueError) as e:
            raise InvalidArgument.field(
                "recheck.secret_file",
                f"must be a readable file with {_PREFIX} and at least {_SECRET_BYTES} bytes in base64 "
                f"({type(e).__name__})",
            ) from e
        self._host, self._port, self._is_tls = parts.hostname, port, parts.scheme == "https"
        self._path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")

    def __call__(self, rechecked: FollowUp) -> None:
        """Tell it. Raises Unavailable unless it answers with 200 to 299, and when 10 seconds pass without a byte."""
        body = msgspec.json.encode({"type": "upload.rechecked", "timestamp": rechecked.time, "data": rechecked})
        # The same however often this is told, and another where an upload turns out to be something else later.
        message, timestamp = f"msg_{hashlib.sha256(body).hexdigest()[:32]}", str(int(time.time()))
        signed = hmac.digest(self._key, f"{message}.{timestamp}.".encode() + body, hashlib.sha256)
        headers = {
            "content-type": "application/json",
            "webhook-id": message,
            "webhook-timestamp": timestamp,
            "webhook-signature": f"v1,{base64.b64encode(signed).decode()}",
        }
        connection = (
            http.client.HTTPSConnection(self._host, self._port, timeout=_SECONDS, context=ssl.create_default_context())
            if self._is_tls
            else http.client.HTTPConnection(self._host, self._port, timeout=_SECONDS)
        )
        try:
            connection.request("POST", self._path, body, headers)
            status = connection.getresponse().status
        except (OSError, http.client.HTTPException) as e:
            raise Unavailable(f"the app's URL cannot be reached ({type(e).__name__}); is it running?") from e
        finally:
            connection.close()
        if not 200 <= status < 300:  # noqa: PLR2004 - success, by RFC 9110
            raise Unavailable(f"the app's URL answered with {status}, expected 200 to 299")


def _key(secret: str) -> bytes:
    key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    if len(key) < _SECRET_BYTES:
        raise ValueError("too short")
    return key
