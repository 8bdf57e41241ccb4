"""Which token an `authorization` header opened last."""

from __future__ import annotations

import hashlib
from typing import Final

_MOST_KNOWN: Final = 100_000  # tokens in use at a time; more begin anew
ANONYMOUS: Final = ""


class TokenNames:
    """Names of tokens by digests of headers. It gives no rights: only where a look for a token waits depends on it."""

    def __init__(self) -> None:
        self._known: dict[bytes, str] = {}

    def name(self, authorization: str) -> str:
        """Return the name of the token that a header opened last, that of strangers where it opened none."""
        return self._known.get(_digest(authorization), ANONYMOUS)

    def note(self, authorization: str, token: str) -> None:
        """Remember whose header it is."""
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        self._known[_digest(authorization)] = token

    def forget(self, authorization: str) -> None:
        """Take a header that lets nobody in any more for a stranger's."""
        self._known.pop(_digest(authorization), None)


def _digest(authorization: str) -> bytes:
    return hashlib.sha256(authorization.encode("utf-8", "replace")).digest()
