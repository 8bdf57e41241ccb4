"""Bounds on senders: how many bytes are held of all of them together, and when one is too slow."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

Message: TypeAlias = MutableMapping[str, Any]


class ByteBudget:
    """Bytes that may be taken at a time, in all and by one holder. Thread-safe."""

    def __init__(self, most: int, most_of_one: int | None = None) -> None:
        """`most_of_one`: by one holder; None: all of them."""
        self.most, self.most_of_one = most, most if most_of_one is None else most_of_one
        self.taken = 0
        self._by_holder: Counter[str] = Counter()
        self._lock = threading.Lock()

    def take(self, size: int, holder: str = "") -> bool:
        """Take so many bytes; False, and nothing is taken, if there is no room for them."""
        with self._lock:
            if self.taken + size > self.most or not self.has_room_for(size, holder):
                return False
            self.taken += size
            self._by_holder[holder] += size
            return True

    def has_room_for(self, size: int, holder: str) -> bool:
        """Whether the holder may have so many more, wherever others leave room for them."""
        return self._by_holder[holder] + size <= self.most_of_one

    def give_back(self, size: int, holder: str = "") -> None:
        """Give back what was taken."""
        with self._lock:
            self.taken -= size
            self._by_holder[holder] -= size
            if not self._by_holder[holder]:
                del self._by_holder[holder]


class SenderPace:
    """When a sender is too slow. While it is waited for it has some seconds, and bytes that come give it more."""

    def __init__(
        self,
        rate: float,
        seconds: float,
        error: Callable[[], Exception] = TimeoutError,
        *,
        most: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`rate`: bytes that give a second; 0: none need come. `error`: what is raised. `most`: seconds that a sender
        can have; by default no more than at first, so that what came fast excuses no pause.
        """
        self._rate, self._error, self._clock = rate or math.inf, error, clock
        self._most = math.inf if not rate else seconds if most is None else most
        self._at = clock()
        self.deadline = self._at + (seconds if rate else math.inf)
        """When the sender is too slow unless more comes, by the clock."""

    def wait(self) -> None:
        """Begin to wait for the sender again: what was done meanwhile does not count."""
        at = self._clock()
        self.deadline += at - self._at
        self._at = at

    def came(self, count: int) -> float:
        """Count bytes, and the seconds until now. Return how many are left."""
        self._at = at = self._clock()
        self.deadline = min(self.deadline + count / self._rate, at + self._most)
        return self.deadline - at

    async def next(self, receive: Callable[[], Awaitable[Message]], until: float = math.inf) -> Message:
        """Return the next message of an ASGI server, and count its bytes. Raises the error; also by `until`."""
        self.wait()
        left = min(self.deadline, until) - self._at
        try:
            async with asyncio.timeout(left if left < math.inf else None) as self._patience:
                message = await receive()
        except TimeoutError as e:
            raise self._error() from e
        if self._patience.expired():  # it was cancelled, and answered all the same
            raise self._error()
        self.came(len(message.get("body", b"")))
        return message

    def cut_off(self) -> None:
        """End what `next` waits for."""
        if not self._patience.expired():  # as it may just have, with the wait not ended yet
            self._patience.reschedule(0.0)
