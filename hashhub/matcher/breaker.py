"""The circuit breaker: notices digests that are near an outlandish share of all queries.

A blank picture, a meme or a platform's placeholder that slipped into a hash set matches a large part of ordinary traffic. The matcher goes on
telling the truth about it (a hit left out would be a miss that nobody sees), but marks such hits, so that the caller can answer them without
reading and judging every entry again, and reports the digest, so that somebody withdraws or quarantines it. Whose digest it is the matcher does not
know: the hub looks that up, so that a mark changes the answers only of those who may see one of its entries, and to REVIEW at most.

A mark lowers what a hit is worth, so nobody may be able to cause one by uploading something known again and again:

- A hit at distance 0 is neither counted nor marked. The query is the listed digest itself; that it is frequent says nothing about whether it
  was listed rightly. Exact algorithms have no other hits.
- A query digest counts once for a listed digest, however often it is repeated. PAIRS pairs are remembered, then all are forgotten:
  a repetition counts once among that many *different* pairs, a share of 1 / PAIRS of what is counted.

Queries are counted with their repetitions. That makes a trip harder, which is the harmless direction.

What is left: somebody who sends many *different* pictures near one listed digest, more than the `share` of all traffic, does trip it. Copies of the
listed picture itself are answered as before even then.

Counting follows Misra and Gries ("Finding repeated elements", 1982): with COUNTERS counters every digest that is hit by more than
1 / COUNTERS of the pairs of a window is among them, whatever the traffic. Searches hand over what they found and never wait; the one that finds
the lock free counts for the others. Memory is bounded: COUNTERS digests, PAIRS numbers, what _HANDED searches found.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict, deque
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

COUNTERS: Final = 1024
PAIRS: Final = 16_384
"""Pairs of query and listed digest that are remembered: about 1 MB, and repetitions stay far below any sensible share."""
_HANDED: Final = 1024
"""Searches that may wait to be counted while another thread counts; older ones are dropped, whether they hit or not."""
_NEAREST: Final = 16
"""Hits counted of one query: a query beside a large cluster must not cost more here than in the search."""


@dataclass(frozen=True, slots=True)
class CircuitBreaker:
    """When a digest trips: in one window of `window_seconds` it was near at least `min_hits` different queries and at least `share` of all
    queries of its algorithm, without being equal to them.

    It stays tripped until a whole window passes in which it did not.
    """

    share: float = 0.05
    min_hits: int = 1_000
    window_seconds: float = 60.0


@dataclass(frozen=True, slots=True)
class Tripped:
    """A tripped digest. prefix: its first eight hexadecimal digits; hits: different queries near it in the window that tripped it, of `queries`."""

    algorithm: str
    prefix: str
    hits: int
    queries: int


class Breaker:
    """Counts different queries by digest and window."""

    def __init__(self, settings: CircuitBreaker) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._handed: deque[tuple[str, int, list[tuple[bytes, bytes]]]] = deque(maxlen=_HANDED)
        self._tripped: dict[tuple[str, bytes], Tripped] = {}
        self._again: set[tuple[str, bytes]] = set()
        self._open_window()

    def _open_window(self) -> None:
        self._counts: dict[tuple[str, bytes], int] = {}
        self._seen: set[int] = set()
        self._queries: defaultdict[str, int] = defaultdict(int)
        self._window_end = time.monotonic() + self._settings.window_seconds

    @property
    def tripped(self) -> tuple[Tripped, ...]:
        """The digests tripped now."""
        return tuple(self._tripped.values())

    def missed(self, algorithm: str, queries: int) -> None:
        """Count queries without a hit."""
        self._handed.append((algorithm, queries, []))
        if len(self._handed) > _HANDED // 2:
            self._count_if_free()

    def record(
        self,
        algorithm: str,
        queries: NDArray[np.uint8],
        lims: NDArray[np.int64],
        distances: NDArray[np.int32],
        digests: NDArray[np.uint8],
    ) -> NDArray[np.bool_]:
        """Count one search and return which of its hits are of tripped digests (bool[k]).

        queries: uint8[q, digest_bytes]; lims: int64[q + 1]; distances: int32[k] and digests: uint8[k, digest_bytes], the nearest first within
        each query.
        """
        pairs: list[tuple[bytes, bytes]] = []
        for i in np.flatnonzero(lims[1:] > lims[:-1]).tolist() if distances.any() else ():  # copies never count
            query = queries[i].tobytes()
            first = int(lims[i])
            last = min(int(lims[i + 1]), first + _NEAREST)
            pairs += [(digests[k].tobytes(), query) for k in range(first, last) if distances[k]]
        self._handed.append((algorithm, len(queries), pairs))
        self._count_if_free()
        tripped = self._tripped
        marked = np.zeros(len(digests), np.bool_)
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
        settings = self._settings
        if time.monotonic() >= self._window_end:
            # Those that did not trip again in the last window recover.
            self._tripped = {key: value for key, value in self._tripped.items() if key in self._again}
            self._again = set()
            self._open_window()
        while self._handed:
            algorithm, queries, pairs = self._handed.popleft()
            self._queries[algorithm] += queries
            for digest, query in pairs:
                key = (algorithm, digest)
                pair = hash((key, query))  # of bytes, so keyed by a secret of this process
                if pair in self._seen:
                    continue
                if len(self._seen) >= PAIRS:
                    self._seen = set()
                self._seen.add(pair)
                hits = self._counts.get(key, 0) + 1
                if hits == 1 and len(self._counts) >= COUNTERS:
                    self._counts = {k: n - 1 for k, n in self._counts.items() if n > 1}
                    continue
                self._counts[key] = hits
                if hits >= settings.min_hits and hits >= settings.share * self._queries[algorithm]:
                    self._again.add(key)
                    # Replaced, not changed: readers iterate over it without a lock.
                    self._tripped = self._tripped | {
                        key: Tripped(algorithm, digest[:4].hex(), hits, self._queries[algorithm])
                    }
