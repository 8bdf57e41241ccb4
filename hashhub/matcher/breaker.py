"""The circuit breaker: notices digests that answer an outlandish share of all queries.

A blank picture, a meme or a platform's placeholder that slipped into a hash set matches a large part of ordinary traffic. The matcher goes on
telling the truth about it (a hit left out would be a miss that nobody sees), but marks such hits, so that the caller can answer them without
fetching every entry again, and reports the digest, so that somebody withdraws or quarantines it.

Counting follows Misra and Gries ("Finding repeated elements", 1982): with COUNTERS counters every digest that is hit by more than
1 / COUNTERS of the hits of a window is among them, whatever the traffic. Searches hand over what they found and never wait; the one that finds
the lock free counts for the others.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

COUNTERS: Final = 1024
_HANDED: Final = 4096
"""Searches whose hits may wait to be counted; older ones are dropped, which only delays a trip."""
_NEAREST: Final = 16
"""Hits counted of one query: a query beside a large cluster must not cost more here than in the search."""


@dataclass(frozen=True, slots=True)
class CircuitBreaker:
    """When a digest trips: in one window of `window_seconds` it answered at least `min_hits` queries and at least `share` of them.

    It stays tripped until a whole window passes in which it did not.
    """

    share: float = 0.05
    min_hits: int = 1_000
    window_seconds: float = 60.0


@dataclass(frozen=True, slots=True)
class Tripped:
    """A tripped digest. prefix: its first eight hexadecimal digits; hits: those of the window that tripped it, of `queries`."""

    algorithm: str
    prefix: str
    hits: int
    queries: int


class Breaker:
    """Counts hits by digest and window."""

    def __init__(self, settings: CircuitBreaker) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._handed: deque[tuple[str, int, list[bytes]]] = deque(maxlen=_HANDED)
        self._counts: dict[tuple[str, bytes], int] = {}
        self._queries = 0
        self._window_end = time.monotonic() + settings.window_seconds
        self._tripped: dict[tuple[str, bytes], Tripped] = {}
        self._again: set[tuple[str, bytes]] = set()

    @property
    def tripped(self) -> tuple[Tripped, ...]:
        """The digests tripped now."""
        return tuple(self._tripped.values())

    def missed(self, queries: int) -> None:
        """Count queries without a hit."""
        self._handed.append(("", queries, []))

    def record(self, algorithm: str, lims: NDArray[np.int64], digests: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Count one search and return which of its hits are of tripped digests (bool[k]).

        lims: int64[q + 1]; digests: uint8[k, digest_bytes], the nearest first within each query.
        """
        rank = np.arange(len(digests)) - np.repeat(lims[:-1], np.diff(lims))
        counted = [row.tobytes() for row in digests[rank < _NEAREST]]
        self._handed.append((algorithm, len(lims) - 1, counted))
        if self._lock.acquire(blocking=False):
            try:
                self._count()
            finally:
                self._lock.release()
        tripped = self._tripped
        if not tripped:
            return np.zeros(len(digests), np.bool_)
        return np.fromiter(((algorithm, row.tobytes()) in tripped for row in digests), np.bool_, len(digests))

    def _count(self) -> None:
        settings = self._settings
        if time.monotonic() >= self._window_end:
            # A new window: those that did not trip again in the last one recover.
            self._tripped = {key: value for key, value in self._tripped.items() if key in self._again}
            self._again = set()
            self._counts = {}
            self._queries = 0
            self._window_end = time.monotonic() + settings.window_seconds
        while self._handed:
            algorithm, queries, digests = self._handed.popleft()
            self._queries += queries
            for digest in digests:
                key = (algorithm, digest)
                hits = self._counts.get(key, 0) + 1
                if hits == 1 and len(self._counts) >= COUNTERS:
                    self._counts = {k: n - 1 for k, n in self._counts.items() if n > 1}
                    continue
                self._counts[key] = hits
                if hits >= settings.min_hits and hits >= settings.share * self._queries:
                    self._again.add(key)
                    # Replaced, not changed: readers iterate over it without a lock.
                    self._tripped = self._tripped | {key: Tripped(algorithm, digest[:4].hex(), hits, self._queries)}
