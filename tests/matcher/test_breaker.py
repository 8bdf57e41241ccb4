"""The circuit breaker: different queries near one digest trip it, repetitions and copies never do."""

from __future__ import annotations

from collections import defaultdict
from unittest.mock import Mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from hashhub.hashes import ALGORITHMS, Metric
from hashhub.matcher import CircuitBreaker, Matcher
from hashhub.matcher.search import CALLERS, COUNTERS, PAIRS, QueryBreaker

Digests = NDArray[np.uint8]

_RNG = np.random.default_rng(15)
BLANK, ITEM = _RNG.integers(0, 256, (2, 1, 32), np.uint8)
ROOMY = CircuitBreaker(share=0.5, min_hits=20, window_seconds=600)


def around(centre: Digests, count: int, first: int = 0) -> Digests:
    """Return `count` different digests, each two bits from the centre."""
    pairs = np.stack(np.triu_indices(256, 1), axis=1)[first : first + count]
    out = np.repeat(centre, count, axis=0)
    for column in (0, 1):
        bit = pairs[:, column]
        out[np.arange(count), bit // 8] ^= (1 << (bit % 8)).astype(np.uint8)
    return out


def test_a_digest_near_many_different_queries_is_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its near hits are still there; copies of it and other digests are not marked; it recovers after a quiet
    window.
    """
    clock = [0.0]
    monkeypatch.setattr("hashhub.matcher.search.time", Mock(monotonic=lambda: clock[0]))
    settings = CircuitBreaker(share=0.5, min_hits=20, window_seconds=60.0)
    with Matcher(circuit_breaker=settings) as matcher:
        matcher.apply(1, add={"PDQ": np.concatenate([BLANK, ITEM])})
        for query in around(BLANK, 19):
            assert not matcher.search("PDQ", query[None], max_distance=31).tripped.any()
        matcher.search("PDQ", around(BLANK, 1, first=19), max_distance=31)
        asked = np.concatenate([around(BLANK, 1), BLANK, ITEM, around(ITEM, 1)])
        hits = matcher.search("PDQ", asked, max_distance=31)
        assert hits.distances.tolist() == [2, 0, 0, 2]
        assert hits.tripped.tolist() == [True, False, False, False]
        (reported,) = matcher.status().tripped
        assert (reported.algorithm, reported.prefix) == ("PDQ", BLANK[0, :4].tobytes().hex())
        assert (reported.hits, reported.queries) == (20, 20)
        clock[0] = 60.0  # the window is over in which it tripped
        matcher.search("PDQ", ITEM, max_distance=31)
        assert matcher.status().tripped
        clock[0] = 120.0  # and one in which it did not
        matcher.search("PDQ", ITEM, max_distance=31)
        assert not matcher.status().tripped
        assert not matcher.search("PDQ", asked, max_distance=31).tripped.any()


@pytest.mark.parametrize("algorithm", list(ALGORITHMS))
def test_a_flood_of_copies_trips_nothing(algorithm: str) -> None:
    listed = _RNG.integers(0, 256, (1, ALGORITHMS[algorithm].digest_bytes), np.uint8)
    with Matcher(circuit_breaker=ROOMY) as matcher:
        matcher.apply(1, add={algorithm: listed})
        for _ in range(3):
            hits = matcher.search(algorithm, np.repeat(listed, 200, axis=0), max_distance=0)
            assert len(hits) == 200
            assert not hits.tripped.any()
        assert not matcher.status().tripped


@pytest.mark.parametrize("batch", [1, 200])
def test_a_flood_of_one_near_query_trips_nothing(batch: int) -> None:
    """Whoever uploads the same altered copy again and again lowers nobody's verdict."""
    with Matcher(circuit_breaker=ROOMY) as matcher:
        matcher.apply(1, add={"PDQ": ITEM})
        for _ in range(600 // batch):
            hits = matcher.search("PDQ", np.repeat(around(ITEM, 1), batch, axis=0), max_distance=31)
            assert len(hits) == batch
            assert not hits.tripped.any()
        assert not matcher.status().tripped


def test_a_share_and_a_number_are_needed() -> None:
    with Matcher(circuit_breaker=CircuitBreaker(share=0.5, min_hits=10, window_seconds=600)) as matcher:
        matcher.apply(1, add={"PDQ": BLANK, "MD5": ITEM[:, :16]})
        misses = _RNG.integers(0, 256, (20, 32), np.uint8)
        near = around(BLANK, 10)
        matcher.search("PDQ", misses, max_distance=31)
        for query in near:
            matcher.search("PDQ", query[None], max_distance=31)
        assert not matcher.status().tripped, "many, but a small share"
        for query in around(BLANK, 9, first=10):
            matcher.search("PDQ", query[None], max_distance=31)
        # Queries of another algorithm do not dilute the share.
        matcher.search("MD5", misses[:, :16], max_distance=0)
        assert not matcher.status().tripped
        matcher.search("PDQ", around(BLANK, 1, first=19), max_distance=31)
        assert [(t.hits, t.queries) for t in matcher.status().tripped] == [(20, 40)]


def test_a_heavy_digest_is_found_among_more_than_can_be_counted() -> None:
    many = np.unique(_RNG.integers(0, 256, (5 * COUNTERS, 32), np.uint8), axis=0)
    once = many.copy()
    once[:, 0] ^= 1
    settings = CircuitBreaker(share=0.2, min_hits=1_000, window_seconds=600)
    with Matcher(circuit_breaker=settings) as matcher:
        matcher.apply(1, add={"PDQ": many})
        for first in (0, 2_000, 4_000):
            matcher.search("PDQ", np.concatenate([once, around(many[:1], 2_000, first)]), max_distance=2)
        assert [t.prefix for t in matcher.status().tripped] == [many[0, :4].tobytes().hex()]


def _record(breaker: QueryBreaker, query: bytes, digest: bytes, distance: int) -> bool:
    rows = [np.frombuffer(b, np.uint8)[None] for b in (query, digest)]
    lims, distances = np.array([0, 1], np.int64), np.array([distance], np.int32)
    return bool(breaker.record("PDQ", rows[0], lims, distances, rows[1], caller="one")[0])


def test_one_callers_queries_mark_nothing_for_another() -> None:
    """Whoever sends many different pictures near a listed one lowers its own answers only."""
    with Matcher(circuit_breaker=ROOMY) as matcher:
        matcher.apply(1, add={"PDQ": ITEM})
        near = around(ITEM, 100)
        assert matcher.search("PDQ", near, max_distance=31, caller="flood").tripped.all()
        assert not matcher.search("PDQ", near[:1], max_distance=31, caller="other").tripped.any()
        assert [t.caller for t in matcher.status().tripped] == ["flood"]


def test_callers_beyond_the_number_trip_nothing_and_take_no_memory() -> None:
    breaker = QueryBreaker(CircuitBreaker(share=0.0, min_hits=5, window_seconds=600))
    rows = [np.full((1, 32), n, np.uint8) for n in (1, 2)]
    for n in range(3 * CALLERS):
        breaker.record("PDQ", rows[0], np.array([0, 1]), np.array([1], np.int32), rows[1], caller=f"caller {n}")
    assert len(breaker._windows) == CALLERS


def test_what_is_remembered_of_repetitions_is_bounded() -> None:
    """A repetition counts once among PAIRS different pairs, and nothing grows with the traffic."""
    breaker = QueryBreaker(CircuitBreaker(share=0.0, min_hits=5, window_seconds=600))
    repeated, listed = b"q" * 32, b"d" * 32
    for n in range(3 * PAIRS):
        _record(breaker, n.to_bytes(32), n.to_bytes(32), 1)
        assert not _record(breaker, repeated, listed, 1)
    assert breaker.tripped == ()
    (window,) = breaker._windows.values()
    assert len(window.seen) <= PAIRS
    assert len(window.counts) <= COUNTERS


def test_of_one_query_beside_a_cluster_the_nearest_hits_are_counted() -> None:
    breaker = QueryBreaker(CircuitBreaker(share=0.0, min_hits=1, window_seconds=600))
    cluster = np.repeat(np.arange(40, dtype=np.uint8)[:, None], 32, axis=1)
    distances = np.arange(1, 41, dtype=np.int32)
    marked = breaker.record("PDQ", ITEM, np.array([0, 40], np.int64), distances, cluster, caller="one")
    assert marked.tolist() == [True] * 16 + [False] * 24


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 2), st.integers(0, 2)), max_size=80))
def test_it_counts_different_near_queries(searches: list[tuple[int, int, int]]) -> None:
    """Against a dictionary of sets: the query's number, the listed digest's, their distance."""
    breaker = QueryBreaker(CircuitBreaker(share=0.0, min_hits=4, window_seconds=600))
    near: dict[int, set[int]] = defaultdict(set)
    for query, digest, distance in searches:
        if distance:
            near[digest].add(query)
        marked = _record(breaker, bytes([query]) * 32, bytes([100 + digest]) * 32, distance)
        assert marked == (distance > 0 and len(near[digest]) >= 4)


def test_every_algorithm_with_distances_can_trip() -> None:
    for name, of in ALGORITHMS.items():
        if of.metric is Metric.EXACT:
            continue
        listed = np.full((1, of.digest_bytes), 100, np.uint8)
        queries = np.repeat(listed, 8, axis=0)
        queries[np.arange(8), np.arange(8)] ^= 1
        with Matcher(circuit_breaker=CircuitBreaker(share=0.5, min_hits=8, window_seconds=600)) as matcher:
            matcher.apply(1, add={name: listed})
            assert matcher.search(name, queries, max_distance=1).tripped.all(), name
