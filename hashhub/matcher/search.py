"""Searching segments: what callers hand in, checked; every segment by itself, then one answer in order. Listed digests
near an outlandish share of all queries, such as a blank picture, are marked in it by the circuit breaker.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hashhub.errors import InvalidArgument, Reason, Violation
from hashhub.hashes import SEARCHED, Algorithm, Metric
from hashhub.matcher.index import ANY, Hits, Rows, Segment, space
from hashhub.matcher.plan import DigestPart, SearchEngine, Thresholds

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
    """Marks digests that match too much. Their hits stay, but are answered as REVIEW at most.

    Nobody may cause a mark by sending something again and again: hits at distance 0 count nothing, a query digest
    counts once for a listed one (among PAIRS different pairs), a variant counts as its upload, and every caller has
    counters and marks of its own.

    Counting follows Misra and Gries ("Finding repeated elements", 1982): every digest that is hit by more than
    1 / COUNTERS of a window's pairs is among the counters. Memory is bounded for each of CALLERS callers, and searches
    never wait: one that finds the lock free counts for the others.
    """

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


_BLOCK: Final = 128
"""Queries handed to a thread at once."""

HashSets: TypeAlias = Sequence[Collection[int]]
"""Keys of hash sets, by contributor."""
SegmentHits: TypeAlias = tuple[Segment, Hits]
_Hit: TypeAlias = tuple[Segment, int, Hits]  # with the number of the segment's first row


@dataclass(frozen=True, slots=True)
class Matches:
    """The answer to q queries, in FAISS's CSR shape: those of query i are at `lims[i]` (inclusive) to `lims[i + 1]`
    (exclusive).

    lims: int64[q + 1]. distances: uint16[k], for PHOTODNA int32[k]. digests: uint8[k, digest_bytes]. truncated:
    bool[q], whether a limit cut off more distant matches. tripped: bool[k], whether the circuit breaker has tripped for
    this digest and caller; never at distance 0. ids: int64[k]: equal ids within one answer are equal digests; they mean
    nothing beyond it. owners: beside each digest which hash sets may have it, of those that were asked for; None where
    it is not known. Within a query: ascending distance, then ascending digest, whatever the order and the chunking of
    changes.
    """

    lims: NDArray[np.int64]
    distances: NDArray[np.uint16 | np.int32]
    ids: NDArray[np.int64]
    digests: NDArray[np.uint8]
    truncated: NDArray[np.bool_]
    tripped: NDArray[np.bool_]
    owners: Sequence[frozenset[int] | None] = ()

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class Plan:
    """How a search would be answered. parts: one for each segment, the largest first. max_distance is inclusive."""

    algorithm: str
    max_distance: int
    count: int
    parts: tuple[DigestPart, ...]

    @property
    def engine(self) -> SearchEngine:
        """The engine of the largest segment."""
        return self.parts[0].engine

    @property
    def why(self) -> str:
        """Why that engine."""
        return self.parts[0].why

    @property
    def thresholds(self) -> Thresholds | None:
        """The thresholds of the largest segment, if its tables are used."""
        return self.parts[0].thresholds


def search_segment(segment: Segment, rows: Rows, max_distance: int, pool: ThreadPoolExecutor | None) -> Hits:
    """Search one segment, in blocks on all threads of the pool when there are many queries."""
    if pool is None or len(rows) <= _BLOCK:
        return segment.search(rows, max_distance)
    firsts = range(0, len(rows), _BLOCK)
    parts = list(pool.map(lambda at: segment.search(rows[at : at + _BLOCK], max_distance), firsts))
    return Hits(
        np.concatenate([part.queries + at for part, at in zip(parts, firsts, strict=True)]),
        np.concatenate([part.rows for part in parts]),
        np.concatenate([part.distances for part in parts]),
    )


def assembled(
    of: Algorithm,
    queries: NDArray[np.uint8],
    hits_by_segment: Sequence[SegmentHits],
    *,
    limit: int | None,
    breaker: QueryBreaker,
    caller: str | None,
    stands_for: Sequence[bytes] | None = None,
    among: Callable[[], HashSets] | None = None,
) -> Matches:
    """Order the hits of all segments, cut them off at the limit and put them into CSR shape."""
    kind: type[np.uint16 | np.int32] = np.int32 if of.metric is Metric.SQUARED_EUCLIDEAN else np.uint16
    truncated = np.zeros(len(queries), np.bool_)
    segments_hit: list[_Hit] = []
    first_id = 0
    for segment, hits in hits_by_segment:
        if len(hits.rows):
            segments_hit.append((segment, first_id, hits))
        first_id += segment.count
    shares, owner = _Shares(), np.empty(0, np.int64)
    if among is not None and segments_hit:
        shares = _Shares(among())
        segments_hit, owner = shares.seen(segments_hit)
    if not segments_hit:
        breaker.missed(of.name, counted(queries, stands_for), caller=caller)
        return Matches(
            np.zeros(len(queries) + 1, np.int64), np.empty(0, kind), np.empty(0, np.int64),
            np.empty((0, of.digest_bytes), np.uint8), truncated, np.empty(0, np.bool_),
        )  # fmt: skip
    number = _joined([hits.queries for _, _, hits in segments_hit])
    distances = _joined([hits.distances for _, _, hits in segments_hit])
    owner = owner if among is not None else np.zeros(len(number), np.int64)
    if limit is not None and (np.bincount(number, minlength=len(queries)) > limit).any():
        # Drop what is certainly too far before anything costly is done: of a large cluster little is left.
        near, truncated = shares.within(owner, number, distances, len(queries), limit, in_order=False)
        ends = np.cumsum([len(hits.rows) for _, _, hits in segments_hit])[:-1]
        segments_hit = [
            (segment, first, Hits(hits.queries[is_near], hits.rows[is_near], hits.distances[is_near]))
            for (segment, first, hits), is_near in zip(segments_hit, np.split(near, ends), strict=True)
        ]
        number, distances, owner = number[near], distances[near], owner[near]
    ids = _joined([hits.rows + first for _, first, hits in segments_hit])
    digests = _joined([segment.space.unpack(segment.parts.rows, hits.rows) for segment, _, hits in segments_hit])
    if len(ids) > 1:
        words = space(of.name).plain(digests)
        order = np.lexsort((*words.T[::-1], distances, number))
        number, distances, owner = number[order], distances[order], owner[order]
        ids, digests = ids[order], digests[order]
    if limit is not None and truncated.any():
        within, _ = shares.within(owner, number, distances, len(queries), limit, in_order=True)
        number, distances, owner = number[within], distances[within], owner[within]
        ids, digests = ids[within], digests[within]
    counts = np.bincount(number, minlength=len(queries))
    lims = np.zeros(len(queries) + 1, np.int64)
    counts.cumsum(out=lims[1:])
    tripped = breaker.record(of.name, queries, lims, distances, digests, caller=caller, stands_for=stands_for)
    owners = [shares.told[number] for number in owner.tolist()]
    return Matches(lims, distances.astype(kind), ids, digests, truncated, tripped, owners)


class _Shares:
    """Who has what was hit, and each contributor's share of it. Without hash sets that are asked for all is one share.

    told: by its number, which of these hash sets an owner is; None: that is not known.
    """

    def __init__(self, among: HashSets | None = None) -> None:
        self._among = among
        self.told: list[frozenset[int] | None] = [None] if among is None else []

    def seen(self, segments_hit: Sequence[_Hit]) -> tuple[list[_Hit], NDArray[np.int64]]:
        """Return the hits without those that only other hash sets have, and the number of each one's owner."""
        wanted = frozenset(chain.from_iterable(self._among or ()))
        left: list[_Hit] = []
        parts: list[NDArray[np.int64]] = []
        for segment, first, hits in segments_hit:
            known, of = np.unique(segment.owners.numbers[hits.rows], return_inverse=True)
            sets = [segment.owners.sets[number] for number in known.tolist()]
            told = [None if not keys or ANY in keys else keys & wanted for keys in sets]
            is_seen = np.array([keys is None or bool(keys) for keys in told], np.bool_)[of]
            if is_seen.any():
                hits = Hits(hits.queries[is_seen], hits.rows[is_seen], hits.distances[is_seen])  # noqa: PLW2901
                left.append((segment, first, hits))
                parts.append(of[is_seen] + len(self.told))
                self.told += told
        return left, _joined(parts) if parts else np.empty(0, np.int64)

    def within(
        self,
        owner: NDArray[np.int64],
        number: NDArray[np.int64],
        distances: NDArray[np.int32],
        queries: int,
        limit: int,
        *,
        in_order: bool,
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Return which hits are among the `limit` nearest of their query that one contributor has, and of which queries
        there are more. Unless they come `in_order` all of the furthest distance are. What may be anybody's always is.
        """
        is_within = np.array([keys is None for keys in self.told], np.bool_)[owner]
        is_cut = np.zeros(queries, np.bool_)
        for share in self._among or ():
            of_share = np.array([keys is not None and not keys.isdisjoint(share) for keys in self.told], np.bool_)
            own = np.flatnonzero(of_share[owner])
            near, is_cut_here = _nearest(number[own], distances[own], queries, limit, in_order=in_order)
            is_within[own[near]] = True
            is_cut |= is_cut_here
        if self._among is None:
            return _nearest(number, distances, queries, limit, in_order=in_order)
        return is_within, is_cut


def explain(of: Algorithm, segments: Sequence[Segment], max_distance: int) -> Plan:
    """Return how a search of these segments would be answered."""
    largest_first = sorted(segments, key=lambda s: -s.count)
    parts = tuple(segment.plan(max_distance) for segment in largest_first)
    nothing = DigestPart(
        SearchEngine.SCAN if of.is_perceptual else SearchEngine.SORTED, "there are no digests yet", 0, 0.0
    )
    return Plan(of.name, max_distance, sum(s.living for s in segments), parts or (nothing,))


def _joined(parts: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Concatenate, without a copy when there is one: mostly there is."""
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _nearest(
    number: NDArray[np.int64], distances: NDArray[np.int32], queries: int, limit: int, *, in_order: bool
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which hits are among the `limit` nearest of their query, and which queries have more."""
    counts = np.bincount(number, minlength=queries)
    if in_order:
        return np.arange(len(number)) - np.repeat(np.cumsum(counts) - counts, counts) < limit, counts > limit
    ordered = np.sort((number << 32) | distances)
    last = np.cumsum(counts) - counts + np.minimum(limit, counts) - 1
    furthest = np.where(counts > 0, ordered[np.maximum(last, 0)] & 0xFFFFFFFF, 0) if len(ordered) else counts
    near: NDArray[np.bool_] = distances <= furthest[number]
    return near, counts > limit


def known_algorithm(algorithm: str) -> Algorithm:
    """Return the algorithm with this canonical name. Raises InvalidArgument (UNKNOWN_ALGORITHM)."""
    of = SEARCHED.get(algorithm)
    if of is None:
        message = f"unknown hash algorithm {algorithm[:40]!r}; known algorithms are"
        raise InvalidArgument.unknown_name("algorithm", message, SEARCHED, Reason.UNKNOWN_ALGORITHM)
    return of


def packed_rows(algorithm: str, digests: NDArray[np.uint8]) -> Rows:
    """Return the digests as rows. Raises InvalidArgument unless they are uint8[n, digest_bytes] of an algorithm."""
    of = known_algorithm(algorithm)
    check_shape(of, digests)
    return space(of.name).pack(digests)


def check_shape(of: Algorithm, digests: NDArray[np.uint8]) -> None:
    """Raise InvalidArgument unless the digests are uint8[n, digest_bytes]."""
    if digests.dtype != np.uint8 or digests.shape[1:] != (of.digest_bytes,):
        raise InvalidArgument.field(
            f"{of.name} digests",
            f"must be uint8[n, {of.digest_bytes}], got {digests.dtype}{list(digests.shape)}",
            "WRONG_LENGTH",
        )


def check_widths(of: Algorithm, digests: Sequence[bytes]) -> None:
    """Raise InvalidArgument unless each digest has `digest_bytes`."""
    for digest in digests:
        if len(digest) != of.digest_bytes:
            raise InvalidArgument.field(
                f"{of.name} digests", f"must have {of.digest_bytes} bytes, got {len(digest)}", "WRONG_LENGTH"
            )


def checked_distance(of: Algorithm, max_distance: int | None) -> int:
    """Return the distance to use. Raises InvalidArgument where it is missing or out of range."""
    if max_distance is None:
        if of.default_max_distance is None:
            raise InvalidArgument(
                f"max_distance: {of.name} has no default distance, because {of.source}",
                reason=Reason.DISTANCE_REQUIRED,
                violations=(Violation("max_distance", f"must be given for {of.name}", "DISTANCE_REQUIRED"),),
            )
        return of.default_max_distance
    most = of.max_possible_distance
    if not 0 <= max_distance <= most:
        raise InvalidArgument.field(
            "max_distance", f"must be 0 to {most} for {of.name}, got {max_distance}", "OUT_OF_RANGE"
        )
    return max_distance
