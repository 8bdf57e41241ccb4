"""Searching segments: what callers hand in, checked; every segment by itself, then one answer in order."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hashhub.errors import InvalidArgument, Reason, Violation
from hashhub.hashes import SEARCHED, Algorithm, Metric
from hashhub.matcher.breaker import QueryBreaker, counted
from hashhub.matcher.index import Hits, Rows, Segment, space
from hashhub.matcher.owners import ANY
from hashhub.matcher.plan import DigestPart, SearchEngine, Thresholds

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
        known = ", ".join(SEARCHED)
        raise InvalidArgument(
            f"unknown hash algorithm {algorithm[:40]!r}; known algorithms are {known}",
            reason=Reason.UNKNOWN_ALGORITHM,
            violations=(Violation("algorithm", f"must be one of {known}", "UNKNOWN_ALGORITHM"),),
        )
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
