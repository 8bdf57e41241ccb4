"""What queries hit among what their caller may see.

Nothing that the caller may not see counts towards a limit, or shows in what comes out; its only trace is `withheld`, where the terms
of its hash set allow that. The limits are on the rest, and fair: no contributor's entries push out those of another.
"""

from __future__ import annotations

import time
from collections import defaultdict
from typing import TYPE_CHECKING, Final

import numpy as np

from hashhub.hashes import ALGORITHMS
from hashhub.hub import access

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hashhub.matcher import Matcher, Matches
    from hashhub.model import Contributor, HashSet, MatchOptions, Principal, Query
    from hashhub.store import EntryHit, Store

MAX_JUDGED: Final = 20_000  # entries judged of one query: far above what honest lists give, and some 0.3 s of work
_MAX_JUDGED_IN_CALL: Final = 200_000  # of all queries of a call together; but each query has its nearest _MIN_JUDGED
_MIN_JUDGED: Final = 1_000
_FIRST_DIGESTS: Final = 1_000  # nearest digests of each hash looked up at first: almost always all of them
_GROWTH: Final = 32  # how many times as many digests a further round asks for
_SECONDS: Final = 10.0  # after which a call begins no further round: a distance may take in the whole index


class Hit:
    """How a query hit an entry: by the digest of `algorithm` that is at `distance` from the query's."""

    __slots__ = ("algorithm", "distance", "entry_hit", "hash_set", "query_digest", "rank")

    def __init__(
        self, entry_hit: EntryHit, hash_set: HashSet, algorithm: str, distance: int, query_digest: bytes
    ) -> None:
        self.entry_hit, self.hash_set = entry_hit, hash_set
        self.algorithm, self.distance, self.query_digest = algorithm, distance, query_digest
        # Exact digests first, then by distance, then by entry: the order of an answer never depends on chance.
        self.rank = (ALGORITHMS[algorithm].is_perceptual, distance, entry_hit.entry_id)

    @property
    def entry_id(self) -> int:
        """The entry's id."""
        return self.entry_hit.entry_id


class Hits:
    """What one query hit.

    withheld: something that the caller may not see, but may know of. tripped: a digest whose circuit breaker has tripped; entries that
    were hit by nothing else are not among the hits. cut_short: not all entries that the caller may see are among the hits.
    """

    __slots__ = ("_by_contributor", "cut_short", "tripped", "withheld")

    def __init__(self) -> None:
        self._by_contributor: dict[str, dict[int, Hit]] = {}
        self.withheld = False
        self.tripped = False
        self.cut_short = False

    def add(self, hit: Hit) -> None:
        """Take in a hit; the closest one of an entry stays."""
        own = self._by_contributor.setdefault(hit.hash_set.contributor, {})
        known = own.get(hit.entry_id)
        if known is None or hit.rank < known.rank:
            own[hit.entry_id] = hit
            if len(own) > 2 * MAX_JUDGED:
                self.cut_short = True
                nearest = sorted(own.values(), key=_rank)[:MAX_JUDGED]
                self._by_contributor[hit.hash_set.contributor] = {h.entry_id: h for h in nearest}

    def nearest(self, limit: int) -> list[Hit]:
        """Return the hits, the nearest first. Of more than `limit`, contributors have the same number each, as far as they have any."""
        hits = [hit for own in self._by_contributor.values() for hit in own.values()]
        if len(hits) > limit:
            self.cut_short = True
            turns = [
                (turn, hit.rank, hit)
                for own in self._by_contributor.values()
                for turn, hit in enumerate(sorted(own.values(), key=_rank))
            ]
            hits = [hit for _, _, hit in sorted(turns, key=lambda t: t[:2])[:limit]]
        hits.sort(key=_rank)
        return hits


def _rank(hit: Hit) -> tuple[bool, int, int]:
    return hit.rank


def judged_at_most(queries: int) -> int:
    """Return how many entries are judged of each query of a call in which so many queries hit something."""
    return min(MAX_JUDGED, max(_MIN_JUDGED, _MAX_JUDGED_IN_CALL // queries))


def look_up(
    store: Store, matcher: Matcher, principal: Principal, queries: Sequence[Query], options: MatchOptions
) -> tuple[dict[int, Hits], Mapping[str, Contributor]]:
    """Return what each query hit, by its number, and all contributors. A query that hit nothing its caller may know of is left out.

    Every hash is first asked for its nearest _FIRST_DIGESTS, all of an algorithm at once. The few with more are then asked one by one, for
    more and more, so that all are looked up and memory is bounded by what one hash hits.
    """
    by_algorithm: dict[str, tuple[list[bytes], list[int]]] = {}  # digests, and beside each the query that it is of
    for i, query in enumerate(queries):
        for h in query.hashes:
            if (column := by_algorithm.get(h.algorithm)) is None:
                column = by_algorithm[h.algorithm] = ([], [])
            column[0].append(h.digest)
            column[1].append(i)
    hits: dict[int, Hits] = {}
    view = _View(store, principal)
    unfinished: list[tuple[str, bytes, int]] = []
    for algorithm, (digests, askers) in by_algorithm.items():
        matches = _search(matcher, algorithm, digests, options, _FIRST_DIGESTS)
        if len(matches):
            _take_in(view, algorithm, matches, digests, askers, hits)
            unfinished += [(algorithm, digests[r], askers[r]) for r in np.flatnonzero(matches.truncated).tolist()]
    until = time.monotonic() + _SECONDS
    for algorithm, digest, asker in unfinished:
        limit = _FIRST_DIGESTS
        is_truncated = True
        while is_truncated:
            if time.monotonic() > until:
                hits.setdefault(asker, Hits()).cut_short = True
                break
            limit *= _GROWTH
            matches = _search(matcher, algorithm, [digest], options, limit)
            _take_in(view, algorithm, matches, [digest], [asker], hits)
            is_truncated = bool(matches.truncated[0])
    return hits, view.contributors


class _View:
    """Which hash sets the caller sees, by one look at the registry."""

    def __init__(self, store: Store, principal: Principal) -> None:
        self.store = store
        self.contributors: Mapping[str, Contributor] = {}
        self._principal = principal
        self._sets: Mapping[str, HashSet] = {}
        self._visible: frozenset[str] = frozenset()

    def of(self, name: str) -> tuple[HashSet, bool]:
        """Return a hash set, and whether the caller sees its entries."""
        if name not in self._sets:
            # Only now, behind the entries: what an entry belongs to was there before it.
            registry = self.store.registry()
            self.contributors, self._sets = registry.contributors, registry.hash_sets
            self._visible = access.sight(self._principal, registry, access.WayOut.ANSWER).visible
        return self._sets[name], name in self._visible


def _search(matcher: Matcher, algorithm: str, digests: Sequence[bytes], options: MatchOptions, limit: int) -> Matches:
    of = ALGORITHMS[algorithm]
    rows = np.frombuffer(b"".join(digests), np.uint8).reshape(len(digests), of.digest_bytes)
    max_distance = options.max_distances.get(algorithm, of.default_max_distance)
    return matcher.search(algorithm, rows, max_distance=max_distance, limit=limit)


def _take_in(
    view: _View,
    algorithm: str,
    matches: Matches,
    digests: Sequence[bytes],
    askers: Sequence[int],
    hits: dict[int, Hits],
) -> None:
    """Look up who has the digests that were matched, and add what the caller may see to the hits of the queries."""
    reached: defaultdict[bytes, list[tuple[int, int, bytes, bool]]] = defaultdict(list)
    for r in np.flatnonzero(np.diff(matches.lims)).tolist():
        asker, digest = askers[r], digests[r]
        for k in range(int(matches.lims[r]), int(matches.lims[r + 1])):
            hit = (asker, int(matches.distances[k]), digest, bool(matches.tripped[k]))
            reached[matches.digests[k].tobytes()].append(hit)
    for entry_hit in view.store.hits_by_digests(algorithm, reached):
        hash_set, is_visible = view.of(entry_hit.hash_set)
        if not is_visible and not hash_set.marking.disclose_existence:
            continue
        for asker, distance, query_digest, tripped in reached[entry_hit.digest]:
            of_query = hits.get(asker)
            if of_query is None:
                of_query = hits[asker] = Hits()
            if not is_visible:
                of_query.withheld = True
            elif tripped:
                of_query.tripped = True
            else:
                of_query.add(Hit(entry_hit, hash_set, algorithm, distance, query_digest))
