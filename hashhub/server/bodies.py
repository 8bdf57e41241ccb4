"""Bytes of requests: how many are held at a time, how long they may take to come, and how they are unpacked.

A body over HTTP is kept only after its sender was authenticated and within the budget, until its call has ended. One of
known length takes its part at once, so that it is refused before it is sent. Of a refused request's body a little is
read: a client that still sends would see its connection break instead of the answer.

gRPC would unpack each message before anybody knows whose it is: 30 KB of a stranger became 31 MB. So it hands messages
on as they come, and `unpacked` unpacks them.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
import zlib
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from typing import Any, Final

from hashhub.errors import InvalidArgument, LimitExceeded, Reason, Unavailable
from hashhub.senders import ByteBudget, SenderPace

_AT_ONCE: Final = 64 * 1024  # bytes; of a known length so many give their sender time beforehand
GRACE: Final = 10.0  # seconds
SLOWEST: Final = 16 * 1024  # bytes a second; 128 kbit/s
_DRAIN_SECONDS: Final = 1.0
_RETRY_SECONDS: Final = 1.0
_FREE: Final = 4 * 1024  # bytes; shorter bodies take no room: the number of connections bounds them
_SHARE: Final = 2  # one token gets one in so many bytes of the budget
_UNPACKED: Final = 1 << 20  # bytes unpacked at a time
_GZIP: Final = 16 + zlib.MAX_WBITS
_GZIP_BEGINS: Final = b"\x1f\x8b"  # no message of protobuf begins so: there is no wire type 7
_MOST_MEMBERS: Final = 1_000  # of gzip in one body; block by block, as bgzip packs, 32 MiB are 512

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


def body_budget(total: int, largest: int) -> ByteBudget:
    """Return a budget of so many bytes, one token's half; both at least `largest`, so that every body fits."""
    total = max(total, largest)
    return ByteBudget(total, max(total // _SHARE, largest))


def take_bytes(budget: ByteBudget, token: str, nbytes: int) -> None:
    """Take room for so many bytes of a token's. Raises LimitExceeded when there is none."""
    if budget.take(nbytes, token):
        return
    who = "the server is being sent" if budget.has_room_for(nbytes, token) else "this token sends"
    raise LimitExceeded(
        f"{who} more bytes at a time than the server holds; retry in a moment, with fewer or smaller requests at once",
        retry_after=_RETRY_SECONDS,
    )


class RequestBody:
    """The body of one HTTP request: read within the budget, until `release`."""

    def __init__(
        self,
        receive: Receive,
        length: int | None,
        budget: ByteBudget,
        token: str,
        *,
        limit: int,
        until: float | None,
    ) -> None:
        """`length`: None where the sender does not tell it beforehand. `limit`: bytes. `until`: the monotonic time by
        which the caller wants its answer.
        """
        self._receive, self._length = receive, length
        self._budget, self._token, self._limit = budget, token, limit
        self._until = math.inf if until is None else until
        self._taken = 0

    async def read(self) -> bytes:
        """Return the whole body. Raises LimitExceeded, at once for one known to be too large or to find no room;
        Unavailable for a sender who is too slow; InvalidArgument when it breaks off.
        """
        if self._length == 0:
            return b""
        if self._length is not None:
            self._check(self._length)
            self._take(self._length)
        pace = SenderPace(SLOWEST, GRACE, self._late, most=math.inf)
        pace.came(min(self._length or 0, _AT_ONCE))
        body = bytearray()
        while True:
            message = await pace.next(self._receive, self._until)
            if message["type"] != "http.request":
                raise InvalidArgument.field("body", "ended before it was complete; send it again", "INCOMPLETE")
            piece = message.get("body", b"")
            if self._length is None:
                self._check(len(body) + len(piece))
                self._take(len(piece))
            body += piece
            if not message.get("more_body", False):
                return bytes(body)

    def gunzip(self, data: bytes) -> bytes:
        """Unpack within the budget. Raises LimitExceeded for too much, InvalidArgument for what is no whole member."""
        return _unpacked(data, self._limit, self._take, "body")

    def release(self) -> None:
        """Give the body's room back."""
        taken, self._taken = self._taken, 0
        if taken:
            self._budget.give_back(taken, self._token)

    def _late(self) -> Unavailable:
        if time.monotonic() >= self._until:
            return Unavailable(
                "the deadline passed before the body had arrived; allow more time", reason=Reason.DEADLINE_EXCEEDED
            )
        return Unavailable(
            f"the body came too slowly, at less than {SLOWEST} bytes a second; send it faster, or in smaller parts",
            reason=Reason.DEADLINE_EXCEEDED,
        )

    def _check(self, length: int) -> None:
        if length > self._limit:
            raise too_large(self._limit, str(length) if self._length is not None else "more")

    def _take(self, nbytes: int) -> None:
        if nbytes <= _FREE and self._length is not None:
            return
        take_bytes(self._budget, self._token, nbytes)
        self._taken += nbytes


async def drain(receive: Receive, length: int | None) -> bool:
    """Throw a refused body away, as far as it is short and comes soon; return whether that was all of it."""
    if length == 0:
        return True
    if length is not None and length > _AT_ONCE:
        return False
    received = 0
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_DRAIN_SECONDS):
            while received <= _AT_ONCE:
                message = await receive()
                received += len(message.get("body", b""))
                if not message.get("more_body", False):
                    return True
    return False


def unpacked(body: bytes, most: int) -> bytes:
    """Return a message of protobuf, which may have come as gzip and have at most so many bytes.

    Raises LimitExceeded (TOO_LARGE), InvalidArgument for what is not whole members.
    """
    return _unpacked(body, most, lambda _: None, "request") if is_packed(body) else body


def is_packed(body: bytes) -> bool:
    """Whether a message of protobuf came as gzip."""
    return body.startswith(_GZIP_BEGINS)


def _unpacked(data: bytes, most: int, take: Callable[[int], None], field: str) -> bytes:
    pieces: list[bytes] = []
    size = 0
    try:
        for piece in gunzipped(data):
            size += len(piece)
            if size > most:
                raise too_large(most, "more when unpacked")
            take(len(piece))
            pieces.append(piece)
    except zlib.error as e:
        raise InvalidArgument.field(
            field,
            f"is not gzip, as it says, or not all of it, or more than {_MOST_MEMBERS} members of it; send it again",
            "NOT_GZIP",
        ) from e
    return b"".join(pieces)


def gunzipped(data: bytes) -> Iterator[bytes]:
    """Yield what gzip members hold, one behind the other (RFC 1952), in pieces of bounded size.

    Raises zlib.error unless all of it is whole members, at most `_MOST_MEMBERS`: an empty one costs something, too.
    """
    packed = memoryview(data)
    at = 0
    for _ in range(_MOST_MEMBERS):
        unpacker = zlib.decompressobj(_GZIP)
        given: bytes | memoryview = b""
        while not unpacker.eof:
            if not given:  # in pieces: what follows a member is copied for it
                given = packed[at : at + _AT_ONCE]
                at += len(given)
            piece = unpacker.decompress(given, _UNPACKED)
            if not piece and not given and not unpacker.eof:
                raise zlib.error("the last member is cut off")
            given = unpacker.unconsumed_tail
            yield piece
        at -= len(unpacker.unused_data)
        if at == len(packed):
            return
    raise zlib.error(f"more than {_MOST_MEMBERS} members")


def too_large(limit: int, got: str) -> LimitExceeded:
    """Return the error for a body or message above `limit` bytes."""
    return LimitExceeded(
        f"the body must be at most {limit} bytes, got {got}; send smaller batches", reason=Reason.TOO_LARGE
    )
