"""All digests of a set that are near one another: each is searched for among all, in bounded memory."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hashhub.cancellation import check
from hashhub.matcher.index import Hits, SegmentSource, build, space
from hashhub.matcher.search import checked_distance, known_algorithm, packed_rows

_BLOCK: Final = 512  # digests that a thread searches for at once
_MOST_HITS: Final = 1 << 20  # of one block, some 20 MB; beyond it the block is cut in two, down to one digest


class DigestPair(NamedTuple):
    """Digests and what is near them: places of the one and the other (int64[k]), and distances (int32[k]).

    All that is near a digest is in the same part, itself at distance 0 included; the parts go up by `left`.
    """

    left: NDArray[np.int64]
    right: NDArray[np.int64]
    distances: NDArray[np.int32]


class NearDigests:
    """The distinct digests of one algorithm, by place: numbers from 0, in an order of their own."""

    def __init__(self, algorithm: str, digests: NDArray[np.uint8], *, threads: int | None = None) -> None:
        """`digests`: uint8[n, digest_bytes], repeated or not. Raises InvalidArgument as `Matcher.search` does."""
        self._algorithm = known_algorithm(algorithm)
        self._threads = threads or len(os.sched_getaffinity(0))
        self._segment = build(
            space(algorithm), [SegmentSource(packed_rows(self._algorithm.name, digests))], threads=self._threads
        )

    def __len__(self) -> int:
        return self._segment.count

    def places(self, digests: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Return where each digest, uint8[n, digest_bytes], is: int64[n]; -1 where it is not."""
        return self._segment.locate(packed_rows(self._algorithm.name, digests))

    def distances(self, left: NDArray[np.intp], right: NDArray[np.intp]) -> NDArray[np.int32]:
        """Return in how many bits the digests at these places, int64[n] each, differ: int32[n]. Of a Hamming metric."""
        rows = self._segment.parts.rows
        apart: NDArray[np.int32] = np.bitwise_count(rows[left] ^ rows[right]).sum(axis=1, dtype=np.int32)
        return apart

    def near(self, max_distance: int | None, wanted: NDArray[np.int64] | None = None) -> Iterator[DigestPair]:
        """Yield what is within `max_distance` (inclusive; None: the default) of the digests at the places `wanted`,
        int64[n] ascending, or of all. A part has some million hits at most, or those of one digest.
        """
        distance = checked_distance(self._algorithm, max_distance)
        places = np.arange(len(self)) if wanted is None else wanted
        waiting: deque[tuple[int, int, Future[tuple[int, Hits]]]] = deque()
        with ThreadPoolExecutor(self._threads, "near") as pool:
            try:
                for low in range(0, len(places), _BLOCK):
                    high = min(low + _BLOCK, len(places))
                    waiting.append((low, high, pool.submit(self._search, places[low:high], distance)))
                    if len(waiting) > self._threads:
                        yield from self._finished(places, distance, *waiting.popleft())
                while waiting:
                    yield from self._finished(places, distance, *waiting.popleft())
            finally:
                for _, _, future in waiting:
                    future.cancel()

    def _finished(
        self, places: NDArray[np.int64], distance: int, low: int, high: int, future: Future[tuple[int, Hits]]
    ) -> Iterator[DigestPair]:
        """Yield what a thread has searched for, and what it left off of its block because there were too many hits."""
        count, hits = future.result()
        while True:
            check()
            yield DigestPair(places[low + hits.queries], hits.rows, hits.distances)
            low += count
            if low >= high:
                return
            # What is behind it is likely to be as crowded.
            count, hits = self._search(places[low : min(high, low + 2 * count)], distance)

    def _search(self, block: NDArray[np.int64], distance: int) -> tuple[int, Hits]:
        """Search for as many of a block, from its beginning, as have a bounded number of hits; return how many."""
        size = len(block)
        rows = self._segment.parts.rows[block]
        while (hits := self._segment.search_bounded(rows[:size], distance, _MOST_HITS)) is None:
            size = max(1, size // 2)
        return size, hits
