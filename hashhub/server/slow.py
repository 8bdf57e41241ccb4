"""Cuts off who sends a request too slowly, or takes nothing of an answer.

A thread waits for each request that is being read, and for each piece of a stream that is taken. A whole answer waits
in gRPC's memory, and no thread for it: its bytes are counted for its token until it has left (`Answers`).
"""

from __future__ import annotations

import functools
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Self

from hashhub.background import Background
from hashhub.errors import Reason, Unavailable

if TYPE_CHECKING:
    from types import TracebackType

    import grpc

READER: Final = 10
"""Times as long as a sender has, in which who reads must take an answer or a piece of one: the line may be slow, and
the reader busy with what it took before.
"""
_ANSWER_BYTES: Final = 8 * 1024  # what gRPC keeps of a call besides its answer

_LOOKS: Final = 4  # in the time that a sender has


class Watched:
    """One request that is being read, in the body. `is_late`: it was cut off."""

    __slots__ = ("_cut_off", "_slow", "is_late", "until")

    def __init__(self, slow: Slow, until: float, cut_off: Callable[[], object]) -> None:
        self._slow, self.until, self._cut_off = slow, until, cut_off
        self.is_late = False

    @property
    def error(self) -> Unavailable:
        """What a sender that was cut off is told."""
        return Unavailable(
            f"the request had not come whole within {self._slow.seconds:g} s; send smaller ones",
            reason=Reason.SLOW_SENDER,
        )

    def end(self) -> None:
        """Cut the sender off, and remember that it was late."""
        self.is_late = True
        self._cut_off()

    def __enter__(self) -> Self:
        self._slow.add(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._slow.remove(self)


class Slow:
    """Looks after the requests that are being read."""

    def __init__(self, seconds: float) -> None:
        """`seconds`: that each request has to come whole."""
        self.seconds = seconds
        self._reading: dict[int, Watched] = {}
        self.thread = Background(
            "slow-senders", self._look, complaint="slow senders are not cut off", pause=seconds / _LOOKS
        )
        self.thread.start()

    def watch(self, cut_off: Callable[[], object], *, times: int = 1) -> Watched:
        """Return what to read a request in; `cut_off` ends the reading, from another thread. `times`: as long as a
        sender has.
        """
        return Watched(self, time.monotonic() + times * self.seconds, cut_off)

    def add(self, watched: Watched) -> None:
        """Watch a request from now on."""
        self._reading[id(watched)] = watched  # one step of the interpreter, as the removal: no lock

    def remove(self, watched: Watched) -> None:
        """Stop watching a request that has come whole, or was cut off."""
        del self._reading[id(watched)]

    def close(self) -> None:
        """End the thread."""
        self.thread.close()

    def _look(self) -> None:
        now = time.monotonic()
        for watched in list(self._reading.values()):
            if watched.until <= now and not watched.is_late:
                watched.end()


class Answers:
    """Answers that were given over gRPC and have not left, because their readers do not take them."""

    def __init__(self, slow: Slow) -> None:
        self._slow = slow
        self._lock = threading.Lock()
        self._bytes: Counter[str] = Counter()

    def untaken(self, token: str) -> int:
        """Return how many bytes of answers wait for this token's readers."""
        return self._bytes.get(token, 0)

    def wait(self, token: str, size: int, context: grpc.ServicerContext) -> None:
        """Count the answer that the call is about to give until it has left, or its reader was cut off."""
        size += _ANSWER_BYTES
        watched = self._slow.watch(context.cancel, times=READER)
        with self._lock:
            self._bytes[token] += size
        self._slow.add(watched)
        ended = functools.partial(self._ended, token, size, watched)
        if not context.add_callback(ended):  # the caller has gone already
            ended()

    def _ended(self, token: str, size: int, watched: Watched) -> None:
        self._slow.remove(watched)
        with self._lock:
            self._bytes[token] -= size
            if self._bytes[token] <= 0:
                del self._bytes[token]
