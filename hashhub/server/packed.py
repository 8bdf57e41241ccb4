"""Messages that come over gRPC as gzip, unpacked here.

gRPC itself unpacks each message for as far as the largest one may go, before anybody knows whose it is or what its kind
may hold: 30 KB of a stranger became 31 MB, for each of many at once. So it is told to hand them on as they come.
"""

from __future__ import annotations

import zlib
from typing import Final

from hashhub.errors import InvalidArgument
from hashhub.server.bodies import gunzipped, too_large

ALGORITHMS: Final = 0b101  # as gRPC numbers them: none, gzip; deflate's first byte could be a message's
_GZIP: Final = b"\x1f\x8b"  # no message begins so: there is no wire type 7


def unpacked(body: bytes, most: int) -> bytes:
    """Return the message, which may have come as gzip and have at most so many bytes.

    Raises LimitExceeded (TOO_LARGE), InvalidArgument for what is not whole members.
    """
    if not body.startswith(_GZIP):
        return body
    pieces: list[bytes] = []
    size = 0
    try:
        for piece in gunzipped(body):
            size += len(piece)
            if size > most:
                raise too_large(most, "more when unpacked")
            pieces.append(piece)
    except zlib.error as e:
        raise _no_gzip() from e
    return b"".join(pieces)


def _no_gzip() -> InvalidArgument:
    return InvalidArgument.field("request", "begins as gzip and is not, or not all of it; send it again", "NOT_GZIP")
