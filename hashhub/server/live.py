"""Frames of live streams on their way in: the newest are kept, and each stream has a rate.

    client ──> reader, a thread ──> Inbox: few frames, the newest ──> the stream's own thread, when there is time

A frame that is looked up late is worth less than the one after it. So the reader goes on whether or not there is time,
and what there is no time for is dropped, the oldest first, and counted. It reads no faster than a live stream has
reason to send. Memory is bounded by what an Inbox holds and two frames besides.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final, Generic, NamedTuple, TypeVar

from hashhub.errors import HashHubError, LimitExceeded
from hashhub.model import MAX_LIVE_PICTURE

F = TypeVar("F")

_MOST_FRAMES: Final = 10  # that wait
_STALE_SECONDS: Final = 0.1  # a frame that waited longer gives way to a newer one: answers are due within 0.2 s
READ_RATE: Final = 400.0  # frames a second that are read, a picture counting as one more for each _READ_BYTES
_READ_BURST: Final = 1_000.0
_READ_BYTES: Final = 65_536


class FrameRate:
    """A token bucket that limits frames a second. Not thread-safe."""

    def __init__(self, rate: float, burst: float = 0.0, clock: Callable[[], float] = time.monotonic) -> None:
        """`burst`: at once; 0: as many as in a second."""
        self._rate, self._most, self._clock = rate, max(1.0, burst or rate), clock
        self._left, self._at = self._most, clock()

    def wait(self) -> float:
        """Return the seconds until there is one."""
        now = self._clock()
        self._left = min(self._most, self._left + (now - self._at) * self._rate)
        self._at = now
        return max(0.0, (1.0 - self._left) / self._rate)

    def take(self, count: float = 1.0) -> None:
        """Take so many, now or of those to come."""
        self._left -= count


class NextFrame(NamedTuple, Generic[F]):
    """What came of looking into an Inbox: a frame, or none yet, and how many were left out since the last look."""

    frame: F | None
    skipped: int


class Inbox(Generic[F]):
    """The newest frames that wait. Filled by one thread, emptied by another."""

    def __init__(self, size: Callable[[F], int], clock: Callable[[], float] = time.monotonic) -> None:
        """`size`: bytes of a frame; those that wait have MAX_LIVE_PICTURE at most."""
        self._size, self._clock = size, clock
        self._changed = threading.Condition()
        self.frames: deque[tuple[F, float]] = deque()
        self._bytes = 0
        self._skipped = 0
        self._is_open = True
        self._error: HashHubError | None = None
        self.last_at = clock()
        """When a frame came last."""

    @property
    def is_over(self) -> bool:
        """Whether no frame waits and none will come. Raises the error that the stream broke off with."""
        with self._changed:
            if self._error is not None:
                raise self._error
            return not self._is_open and not self.frames

    def put(self, frame: F) -> None:
        """Add the newest frame."""
        with self._changed:
            now = self.last_at = self._clock()
            self.frames.append((frame, now))
            self._bytes += self._size(frame)
            while len(self.frames) > _MOST_FRAMES or (self._bytes > MAX_LIVE_PICTURE and len(self.frames) > 1):
                self._drop()
            self._changed.notify()

    def close(self, error: HashHubError | None = None) -> None:
        """No frame will come any more; `error`: it broke off, and what waits is of no use."""
        with self._changed:
            self._is_open, self._error = False, error
            self._changed.notify()

    def take(self, seconds: float, may_take: Callable[[], float]) -> NextFrame[F]:
        """Return the next frame, waiting so long for one. `may_take` takes it, or tells how long there may be none.

        The oldest comes first, but for those that waited for longer than _STALE_SECONDS where there are newer ones, and
        those that had to wait until one may be taken.
        """
        until = self._clock() + seconds
        with self._changed:
            while True:
                wait = until - self._clock()
                if self.frames and self._error is None:
                    pause = may_take()
                    if not pause:
                        stale = self._clock() - _STALE_SECONDS
                        while len(self.frames) > 1 and self.frames[0][1] < stale:
                            self._drop()
                        frame, _ = self.frames.popleft()
                        self._bytes -= self._size(frame)
                        return NextFrame(frame, self._left_out())
                    while len(self.frames) > 1:
                        self._drop()
                    wait = min(wait, pause)
                elif not self._is_open:
                    return NextFrame(None, self._left_out())
                if until <= self._clock():
                    return NextFrame(None, self._left_out())
                self._changed.wait(max(0.0, wait))

    def _drop(self) -> None:
        frame, _ = self.frames.popleft()
        self._bytes -= self._size(frame)
        self._skipped += 1

    def _left_out(self) -> int:
        skipped, self._skipped = self._skipped, 0
        return skipped


def read_into(inbox: Inbox[F], frames: Iterable[F], size: Callable[[F], int]) -> None:
    """Begin to read frames into the inbox, in a thread that ends with them.

    Raises LimitExceeded when there is no thread to be had.
    """

    def run() -> None:
        pace = FrameRate(READ_RATE, _READ_BURST)
        try:
            for frame in frames:
                inbox.put(frame)
                pace.take(1 + size(frame) / _READ_BYTES)
                if wait := pace.wait():
                    time.sleep(wait)
        except HashHubError as e:
            inbox.close(e)
        except BaseException:
            inbox.close(HashHubError("internal error while frames were read; open another stream"))
            raise
        else:
            inbox.close()

    try:
        threading.Thread(target=run, name="live-reader", daemon=True).start()
    except RuntimeError as e:
        raise LimitExceeded("the server has no thread for another live stream; retry later", retry_after=5.0) from e
