"""The line that one operator gives to another: a secret, of use once."""

from __future__ import annotations

import base64
import binascii
from datetime import datetime
from typing import Final

import msgspec

from hashhub.client import Client
from hashhub.conversion import refuse
from hashhub.errors import InvalidArgument
from hashhub.model import now
from hashhub.model.resources import wrong_in_slug, wrong_in_text

_PREFIX: Final = "hashhub-peer-1:"
_MAX: Final = 32_768  # characters; a chain of certificates takes some thousands


class JoinLine(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a line says: `hub` makes it for the hub `to`, which reaches it at `address` by `token` and
    its `secret`. `ca`: PEM of the
    authority, empty: a public one. `offered`: hash sets by label, as they were then. `expire_time`: of the secret.
    """

    hub: str
    to: str
    jurisdiction: str
    address: str
    token: str
    secret: str
    expire_time: datetime
    ca: str = ""
    offered: dict[str, int] = {}

    @property
    def text(self) -> str:
        """The line itself."""
        return _PREFIX + base64.urlsafe_b64encode(msgspec.json.encode(self)).decode().rstrip("=")


def client_of(address: str, secret: str, ca: str) -> Client:
    """Return the client of another hub; without TLS only on this machine, and where no certificate is expected."""
    return Client(address, secret, ca_certificates=ca.encode() or None, tls=bool(ca) or None)


def read(text: str) -> JoinLine:
    """Return what a line says. Raises InvalidArgument, without any part of it, which is a secret."""
    text = "".join(text.split())  # what mail breaks
    if not text.startswith(_PREFIX) or len(text) > _MAX:
        raise InvalidArgument.field("line", f"is none of `hashhub peer invite`, which begins with {_PREFIX}", "PATTERN")
    body = text.removeprefix(_PREFIX)
    try:
        line = msgspec.json.decode(base64.b64decode(body + "=" * (-len(body) % 4), b"-_", validate=True), type=JoinLine)
    except (binascii.Error, ValueError, msgspec.DecodeError) as e:
        raise InvalidArgument.field("line", "is damaged; ask the other operator to send all of it", "PATTERN") from e
    wrong = [*wrong_in_slug("hub", line.hub), *wrong_in_slug("to", line.to)]
    refuse([*wrong, *wrong_in_text("address", line.address)])
    if line.expire_time.tzinfo is None or line.expire_time <= now():
        raise InvalidArgument.field("line", "has expired; ask the other operator for a new one", "OUT_OF_RANGE")
    return line
