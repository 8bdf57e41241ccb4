"""The circuit breaker: notices listed digests near an outlandish share of all queries, such as a blank picture.

Hits of such a digest stay, but are marked, so that they are answered as REVIEW at most. Nobody may cause a mark by
sending something again and again: hits at distance 0 count nothing, a query digest counts once for a listed one (among
PAIRS different pairs), a variant counts as its upload, and every caller has counters and marks of its own.

Counting follows Misra and Gries ("Finding repeated elements", 1982): every digest that is hit by more than 1 / COUNTERS
of a window's pairs is among the counters. Memory is bounded for each of CALLERS callers, and searches never wait: one
that finds the lock free counts for the others.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

COUNTERS: Final = 1024
PAIRS: Final = 16_384
"""Pairs of query and listed digest that are remembered: about 1 MB, and repetitions stay far below any sensible
share.
"""
_HANDED: Final = 1024
"""Searches that may wait to be counted while another thread counts; older ones are dropped, whether they hit or not."""
CALLERS: Final = 64
"""Callers counted; of more, those that hit something last.

One that is left out trips nothing, which is the harmless direction.
"""
_NEAREST: Final = 16
"""Hits counted of one query: a query beside a large cluster must not cost more here than in the search."""


@dataclass(frozen=True, slots=True)
class CircuitBreaker:
    """When a digest trips for a caller: in one window of `window_seconds` it was near at least `min_hits` different
    queries and at least `share` of all queries of its algorithm, without being equal to them, that the caller sent.

    It stays tripped until a whole window passes in which it did not.
    """

    share: float = 0.05
    min_hits: int = 1_000
    window_seconds: float = 60.0


@dataclass(frozen=True, slots=True)
class TrippedDigest:
    """A digest that tripped for a caller: its `prefix` in hex, and `hits` of `queries` that were near it."""

    caller: str
    algorithm: str
    prefix: str
    hits: int
    queries: int


class _Window:
    """What is counted of one caller."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.tripped: dict[tuple[str, bytes], TrippedDigest] = {}
        self.again: set[tuple[str, bytes]] = set()
        self._open()

    def _open(self) -> None:
        self.counts: dict[tuple[str, bytes], int] = {}
        self.seen: set[int] = set()
        self.queries: defaultdict[str, int] = defaultdict(int)
        self._end = time.monotonic() + self._seconds

    def turn(self) -> None:
        """Begin anew when its time is over; digests that did not trip again in it recover."""
        if time.monotonic() >= self._end:
            self.tripped = {key: value for key, value in self.tripped.items() if key in self.again}
            self.again = set()
            self._open()


def counted(queries: NDArray[np.uint8], stands_for: Sequence[bytes] | None) -> int:
    """Return how many of the queries count: those that stand for themselves."""
    if stands_for is None:
        return len(queries)
    return sum(row.tobytes() == other for row, other in zip(queries, stands_for, strict=True))


class QueryBreaker:
    """Counts different queries by caller, digest and window."""

    def __init__(self, settings: CircuitBreaker) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._handed: deque[tuple[str, str, int, list[tuple[bytes, bytes]]]] = deque(maxlen=_HANDED)
        self._windows: OrderedDict[str, _Window] = OrderedDict()

    @property
    def tripped(self) -> tuple[TrippedDigest, ...]:
        """What has tripped now, for any caller."""
        return tuple(t for window in list(self._windows.values()) for t in window.tripped.values())

    def missed(self, algorithm: str, queries: int, *, caller: str | None) -> None:
        """Count queries without a hit; of nobody's traffic (None) nothing is counted."""
        if caller is None:
            return
        self._handed.append((caller, algorithm, queries, []))
        if len(self._handed) > _HANDED // 2:
            self._count_if_free()

    def record(
        self,
        algorithm: str,
        queries: NDArray[np.uint8],
        lims: NDArray[np.int64],
        distances: NDArray[np.int32],
        digests: NDArray[np.uint8],
        *,
        caller: str | None,
        stands_for: Sequence[bytes] | None = None,
    ) -> NDArray[np.bool_]:
        """Count one search and return which of its hits are of digests that have tripped for the caller (bool[k]).

        queries: uint8[q, digest_bytes]; lims: int64[q + 1]; distances: int32[k] and digests: uint8[k, digest_bytes],
        the nearest first within each query. Of nobody's traffic (caller None) nothing is counted or marked.
        `stands_for`: beside each query the digest that counts in its place.
        """
        if caller is None:
            return np.zeros(len(digests), np.bool_)
        pairs: list[tuple[bytes, bytes]] = []
        for i in np.flatnonzero(lims[1:] > lims[:-1]).tolist() if distances.any() else ():  # copies never count
            query = queries[i].tobytes() if stands_for is None else stands_for[i]
            first = int(lims[i])
            last = min(int(lims[i + 1]), first + _NEAREST)
            near = [digests[k].tobytes() for k in range(first, last) if distances[k]]
            pairs += [(digest, query) for digest in near if digest != query]  # a copy's variants do not count either
        self._handed.append((caller, algorithm, counted(queries, stands_for), pairs))
        self._count_if_free()
        marked = np.zeros(len(digests), np.bool_)
        window = self._windows.get(caller)
        tripped = window.tripped if window is not None else {}
        if tripped:
            for k in np.flatnonzero(distances).tolist():
                marked[k] = (algorithm, digests[k].tobytes()) in tripped
        return marked

    def _count_if_free(self) -> None:
        if self._lock.acquire(blocking=False):
            try:
                self._count()
            finally:
                self._lock.release()

    def _count(self) -> None:
        for known in self._windows.values():
            known.turn()
        while self._handed:
            caller, algorithm, queries, pairs = self._handed.popleft()
            window = self._windows.get(caller)
            if window is None:
                if len(self._windows) >= CALLERS:
                    if not pairs:  # whoever hits nothing takes nobody's place
                        continue
                    self._windows.popitem(last=False)
                window = self._windows[caller] = _Window(self._settings.window_seconds)
            elif pairs:
                self._windows.move_to_end(caller)
            window.queries[algorithm] += queries
            for digest, query in pairs:
                self._count_pair(window, caller, algorithm, digest, query)

    def _count_pair(self, window: _Window, caller: str, algorithm: str, digest: bytes, query: bytes) -> None:
        key = (algorithm, digest)
        pair = hash((key, query))  # of bytes, so keyed by a secret of this process
        if pair in window.seen:
            return
        if len(window.seen) >= PAIRS:
            window.seen = set()
        window.seen.add(pair)
        hits = window.counts.get(key, 0) + 1
        if hits == 1 and len(window.counts) >= COUNTERS:
            window.counts = {k: n - 1 for k, n in window.counts.items() if n > 1}
            return
        window.counts[key] = hits
        if hits >= self._settings.min_hits and hits >= self._settings.share * window.queries[algorithm]:
            window.again.add(key)
            # Replaced, not changed: readers iterate over it without a lock.
            window.tripped = window.tripped | {
                key: TrippedDigest(caller, algorithm, digest[:4].hex(), hits, window.queries[algorithm])
            }
