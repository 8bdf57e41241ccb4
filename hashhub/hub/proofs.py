"""What proves besides a token's secret who calls: identities, and sessions that are got with them.

HTTP's listener sees no certificates: its callers send a session's secret, which a call over gRPC gives to whoever holds
one; a person gets one for an ID token. A session is kept nowhere: its secret says whose it is, until when, and which
certificate it was got with (RFC 8705's thumbprint), or as which person, under a key in the hub's data directory.
"""

from __future__ import annotations

import base64
import hmac
import re
import secrets
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from hashhub.errors import AlreadyExists, Reason, Unauthenticated, Unavailable
from hashhub.local_files import written
from hashhub.model import CertificateId, now

if TYPE_CHECKING:
    from pathlib import Path

    from hashhub.model import Principal

LOGIN: Final = "OIDC:"  # before the value of people's claim, among identities
SESSION_SECONDS: Final = 900
SESSION_PREFIX: Final = "hhs_"
_MAC_BYTES: Final = 32
_KEY_BYTES: Final = 32
_NEVER: Final = 1 << 62
_IDENTITY: Final = re.compile(
    r"URI:[a-z][a-z0-9+.-]*:[!-~]{1,2000}|DNS:[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?|OIDC:\S(.{0,500}\S)?"
)


def is_identity(text: str) -> bool:
    """Whether it is a name in a certificate or a claim's value, written so that one thing is one text."""
    return _IDENTITY.fullmatch(text) is not None and text.isprintable()


class SessionClaims(NamedTuple):
    """What a session's secret says: for which token, until when, by which of its identities it was got, and with which
    certificate, or as which person of which issuer.
    """

    token: str
    end: int  # seconds since 1970
    identity: str
    certificate: CertificateId | None
    person: str
    issuer: str


class SessionIssuer:
    """Makes and reads the secrets of sessions."""

    def __init__(self, file: Path | None) -> None:
        """`file`: has their key, from the first one on; not the database, of which there are copies. None: this process
        alone has it.
        """
        self._file = file
        self._held = secrets.token_bytes(_KEY_BYTES) if file is None else b""

    def _key(self, *, makes: bool = False) -> bytes:
        """Return the key, empty where there is none yet. Raises as `written` does."""
        if not self._held and self._file is not None:
            with suppress(AlreadyExists):  # another worker was first
                if makes:
                    with written(self._file) as file:
                        file.write(secrets.token_bytes(_KEY_BYTES))
            with suppress(FileNotFoundError):
                key = self._file.read_bytes()
                self._held = key if len(key) == _KEY_BYTES else b""
        return self._held

    def begin(self, caller: Principal, seconds: float, issuer: str) -> tuple[str, datetime]:
        """Return a secret that stands for the caller for so long, and until when. `issuer`: of a person. Raises as
        `written` does; Unavailable.
        """
        certificate, person = caller.certificate, caller.person if issuer else ""
        end = min(int(now().timestamp() + seconds), certificate.end if certificate is not None else _NEVER)
        said = _encode(SessionClaims(caller.name, end, caller.identity, certificate, person, issuer))
        key = self._key(makes=True)
        if not key:
            raise Unavailable("the key of sessions is being made, or is damaged; try again, or remove session.key")
        secret = base64.urlsafe_b64encode(hmac.digest(key, said, "sha256") + said).decode().rstrip("=")
        return SESSION_PREFIX + secret, datetime.fromtimestamp(end, UTC)

    def read(self, secret: str) -> SessionClaims:
        """Return what a session's secret says. Raises Unauthenticated where it is over, or another's."""
        text = secret.removeprefix(SESSION_PREFIX)
        try:
            whole = base64.b64decode(text + "=" * (-len(text) % 4), "-_", validate=True)
        except ValueError:
            whole = b""
        mac, said = whole[:_MAC_BYTES], whole[_MAC_BYTES:]
        key = self._key()
        if not key or not hmac.compare_digest(mac, hmac.digest(key, said, "sha256")):
            raise Unauthenticated("the session is not of this hub; begin another one", reason=Reason.TOKEN_UNKNOWN)
        session = _decode(said)
        if session.end <= now().timestamp():
            told = "the session is over; begin another one"
            raise Unauthenticated(told, reason=Reason.TOKEN_EXPIRED, metadata={"token": session.token})
        return session


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(SessionClaims).decode
