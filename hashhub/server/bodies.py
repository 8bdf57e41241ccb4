"""Request bodies: how many bytes of them are held at a time, how long they may take, and how they are unpacked.

A body is kept after its sender was authenticated, and only when the budget has room for it; its bytes stay in the
budget until the call has ended. Reading holds no thread. A body of known length takes its room at once, so that it is
refused before it is sent and not in the middle; one of unknown length takes room as it comes. A sender must keep up
`_SLOWEST` bytes a second, after a grace of `_GRACE` seconds.

Of a refused request's body a little is read and thrown away: a client that is still sending sees its connection break
instead of the answer.
"""

from __future__ import annotations

import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final

from hashhub.background import Background
from hashhub.errors import HashHubError, InvalidArgument, LimitExceeded, Reason, Unavailable
from hashhub.server.hyper import BrokenBody, CancelledBody, Request

_AT_ONCE: Final = 64 * 1024  # bytes; a body of at most so many is read in one step
_GRACE: Final = 10.0  # seconds
_SLOWEST: Final = 16 * 1024  # bytes a second; 128 kbit/s
_REST_SECONDS: Final = 1.0
_LOOK_SECONDS: Final = 0.25
_RETRY_SECONDS: Final = 1.0
_SMALL: Final = 4 * 1024  # bytes; a piece is joined to the one before up to so many: a chunk may have one byte or two
_FREE: Final = 4 * 1024  # bytes; shorter bodies take no room: the number of connections bounds them
_SHARE: Final = 2  # one token gets one in so many bytes of the budget
_UNPACKED: Final = 1 << 20  # bytes unpacked at a time
_GZIP: Final = 16 + zlib.MAX_WBITS
_MOST_MEMBERS: Final = 1_000  # of gzip in one body; block by block, as bgzip packs, 32 MiB are 512

Then = Callable[[bytes], None]
Refuse = Callable[[HashHubError], None]


class Budget:
    """Bytes that may be held at a time, in all and for one token."""

    def __init__(self, total: int, largest: int) -> None:
        """`total` bytes, of which one token gets half; both at least `largest`, so that every body fits sometime."""
        self._total = max(total, largest)
        self._most = max(self._total // _SHARE, largest)
        self._held = 0
        self._by_token: Counter[str] = Counter()
        self._lock = threading.Lock()

    @property
    def held(self) -> int:
        """How many bytes are taken now."""
        return self._held

    def take(self, token: str, nbytes: int) -> None:
        """Take room for so many bytes. Raises LimitExceeded when there is none."""
        with self._lock:
            if self._held + nbytes <= self._total and self._by_token[token] + nbytes <= self._most:
                self._held += nbytes
                self._by_token[token] += nbytes
                return
            own = self._by_token[token] + nbytes > self._most
        raise LimitExceeded(
            f"{'this token sends' if own else 'the server is being sent'} more bytes at a time than the server holds; "
            "retry in a moment, with fewer or smaller requests at once",
            retry_after=_RETRY_SECONDS,
        )

    def release(self, token: str, nbytes: int) -> None:
        """Give back what was taken."""
        with self._lock:
            self._held -= nbytes
            self._by_token[token] -= nbytes
            if self._by_token[token] <= 0:
                del self._by_token[token]


class Reading:
    """One body on its way. `start` calls either `then` with its bytes or `refuse` with what is wrong, once."""

    __slots__ = (
        "_begin", "_budget", "_clock", "_expected", "_limit", "_pieces", "_received", "_refuse", "_request", "_taken",
        "_then", "_token", "_until",
    )  # fmt: skip

    def __init__(self, request: Request, budget: Budget, token: str, *, limit: int, until: float | None) -> None:
        """`limit`: bytes. `until`: the monotonic time by which the caller wants its answer."""
        self._request = request
        self._budget = budget
        self._token = token
        self._limit = limit
        self._until = until
        self._begin = time.monotonic()
        self._expected = request.length
        self._received = 0
        self._pieces: list[bytes] = []
        self._taken = 0

    def start(self, clock: Clock, then: Then, refuse: Refuse) -> None:
        """Read. Raises LimitExceeded at once for a body that is known to be too large or to find no room."""
        length = self._expected
        if length == 0:
            then(b"")
            return
        if length is not None:
            self._check(length)
            self._take(length)
        self._clock, self._then, self._refuse = clock, then, refuse
        clock.add(self)
        if length is not None and length <= _AT_ONCE:
            self._request.collect(self._whole)
        else:
            self._request.chunk(self._piece)

    def gunzip(self, data: bytes) -> bytes:
        """Return what was packed; it takes room, too. Raises LimitExceeded when that is too large or finds no room,
        InvalidArgument for what is not whole members.
        """
        pieces: list[bytes] = []
        size = 0
        try:
            for piece in gunzipped(data):
                size += len(piece)
                if size > self._limit:
                    raise too_large(self._limit, "more when unpacked")
                self._take(len(piece))
                pieces.append(piece)
        except zlib.error as e:
            raise _no_gzip() from e
        return b"".join(pieces)

    def end(self) -> None:
        """Give the body's room back."""
        taken, self._taken = self._taken, 0
        if taken:
            self._budget.release(self._token, taken)

    def is_late(self, at: float) -> bool:
        """Whether the sender is too slow, or the answer would come too late in any case."""
        if self._until is not None and at >= self._until:
            return True
        # What is read in one step is not seen coming; it then counts as a whole.
        seen = self._expected if self._expected is not None and self._expected <= _AT_ONCE else self._received
        return at > self._begin + _GRACE + seen / _SLOWEST

    def cancel(self) -> None:
        """Stop waiting for the sender, who is then told."""
        self._request.cancel()

    def _whole(self, result: Callable[[], bytes]) -> None:
        try:
            body = result()
        except (BrokenBody, CancelledBody) as e:
            self._fail(e)
            return
        self._finish(body)

    def _piece(self, result: Callable[[], bytes]) -> None:
        try:
            piece = result()
            self._received += len(piece)
            if self._pieces and len(self._pieces[-1]) + len(piece) <= _SMALL:
                self._pieces[-1] += piece
            else:
                self._pieces.append(piece)
            if self._expected is None:
                self._check(self._received)
                self._take(len(piece))
            # An empty piece is the end, or what is left of a body that was cut off; so it is asked for once more.
            if self._received != self._expected and self._request.chunk(self._piece if piece else self._after_end):
                return
            if self._expected is not None and self._received != self._expected:
                raise BrokenBody
        except (HashHubError, BrokenBody, CancelledBody) as e:
            self._fail(e)
            return
        body = b"".join(self._pieces)
        self._pieces.clear()
        self._finish(body)

    def _after_end(self, result: Callable[[], bytes]) -> None:
        del result
        self._fail(BrokenBody())

    def _finish(self, body: bytes) -> None:
        self._request.is_read = True
        then = self._then
        self._leave()
        then(body)

    def _fail(self, error: Exception) -> None:
        refuse = self._refuse
        self._leave()
        self._pieces.clear()
        self.end()
        refuse(error if isinstance(error, HashHubError) else self._why(error))

    def _leave(self) -> None:
        self._clock.remove(self)
        # Whoever reads refers to this object: a cycle, which would keep the request until the collector comes by and
        # stops all calls for as long as it takes.
        del self._then, self._refuse

    def _why(self, error: Exception) -> HashHubError:
        if isinstance(error, BrokenBody):
            # Of a body in chunks granian says the same when it was cut off and when trailers follow it.
            how = ", without trailers" if self._expected is None else ""
            return InvalidArgument.field("body", f"ended before it was complete; send it again{how}", "INCOMPLETE")
        if self._until is not None and time.monotonic() >= self._until:
            return Unavailable(
                "the deadline passed before the body had arrived; allow more time", reason=Reason.DEADLINE_EXCEEDED
            )
        return Unavailable(
            f"the body came too slowly, at less than {_SLOWEST} bytes a second; send it faster, or in smaller parts",
            reason=Reason.DEADLINE_EXCEEDED,
        )

    def _check(self, length: int) -> None:
        if length > self._limit:
            raise too_large(self._limit, str(length) if self._expected is not None else "more")

    def _take(self, nbytes: int) -> None:
        if nbytes <= _FREE and self._expected is not None:
            return
        self._budget.take(self._token, nbytes)
        self._taken += nbytes


class Rest:
    """The body of a request that is refused: at most `_AT_ONCE` bytes of it are thrown away, for at most a second."""

    def __init__(self, request: Request, then: Callable[[], None]) -> None:
        """`then` answers the request."""
        self._request = request
        self._then = then
        self._expected = request.length
        self._received = 0
        self._until = time.monotonic() + _REST_SECONDS

    def start(self, clock: Clock) -> None:
        """Answer, now if nothing is to come, or more than is worth waiting for."""
        request = self._request
        if request.is_read or request.is_begun or (self._expected is not None and self._expected > _AT_ONCE):
            self._then()
            return
        self._clock = clock
        clock.add(self)
        request.chunk(self._piece)

    def is_late(self, at: float) -> bool:
        """Whether it is time to answer without the rest."""
        return at > self._until

    def cancel(self) -> None:
        """Stop waiting; the answer follows."""
        self._request.cancel()

    def _piece(self, result: Callable[[], bytes]) -> None:
        try:
            piece = result()
        except (BrokenBody, CancelledBody):
            self._end()
            return
        self._received += len(piece)
        if self._received == self._expected:
            self._request.is_read = True
        elif self._received <= _AT_ONCE and piece:
            if self._request.chunk(self._piece):
                return
        elif not piece:
            self._request.is_read = not self._request.chunk(lambda _: None)
        self._end()

    def _end(self) -> None:
        self._clock.remove(self)
        self._then()


class Clock:
    """Ends readings whose senders are late: one thread for all of them."""

    def __init__(self) -> None:
        """Start its thread."""
        self._readings: dict[int, Reading | Rest] = {}
        self.thread = Background("bodies", self._look, complaint="slow senders are not cut off", pause=_LOOK_SECONDS)
        self.thread.start()

    def add(self, reading: Reading | Rest) -> None:
        """Watch the reading from now on."""
        self._readings[id(reading)] = reading

    def remove(self, reading: Reading | Rest) -> None:
        """Watch it no more. Removing it twice is fine."""
        self._readings.pop(id(reading), None)

    def close(self) -> None:
        """Stop looking."""
        self.thread.close()

    def _look(self) -> None:
        at = time.monotonic()
        for reading in list(self._readings.values()):
            if reading.is_late(at):
                reading.cancel()


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


def _no_gzip() -> InvalidArgument:
    return InvalidArgument.field(
        "body",
        f"is not gzip, as its encoding says, or not all of it, or more than {_MOST_MEMBERS} members of it",
        "NOT_GZIP",
    )
