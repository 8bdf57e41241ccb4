"""Every search against brute force, at the exact boundary."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from hashhub.errors import InvalidArgument, Reason
from hashhub.hashes import ALGORITHMS, Hash, distance
from hashhub.matcher import Matcher, Matches, SearchEngine, index, kernels
from hashhub.matcher.plan import SCAN_BELOW, ball, choose, layout_for, thresholds
from tests.examples import examples

Digests = NDArray[np.uint8]


def random_digests(rng: np.random.Generator, n: int, algorithm: str) -> Digests:
    return rng.integers(0, 256, (n, ALGORITHMS[algorithm].digest_bytes), dtype=np.uint8)


def flipped(rng: np.random.Generator, digests: Digests, k: int) -> Digests:
    """Each digest with exactly k different bits flipped."""
    bits = np.unpackbits(digests, axis=1)
    places = rng.permuted(np.tile(np.arange(bits.shape[1], dtype=np.uint16), (len(bits), 1)), axis=1)[:, :k]
    np.put_along_axis(bits, places, 1 - np.take_along_axis(bits, places, axis=1), axis=1)
    return np.packbits(bits, axis=1)


def brute(queries: Digests, digests: Digests, max_distance: int, algorithm: str) -> list[list[tuple[int, bytes]]]:
    """The answer by definition: all distinct digests within max_distance, nearest first, then by digest."""
    answer = []
    rows = np.unique(digests, axis=0)
    words = np.ascontiguousarray(rows.view(np.uint64).T)
    for query in queries:
        if algorithm == "PHOTODNA":
            distances = ((rows.astype(np.int64) - query) ** 2).sum(axis=1)
        else:
            distances = np.bitwise_count(words ^ query.view(np.uint64)[:, None]).sum(axis=0, dtype=np.int64)
        near = np.flatnonzero(distances <= max_distance)
        answer.append(sorted((int(distances[k]), rows[k].tobytes()) for k in near))
    return answer


def listed(matches: Matches) -> list[list[tuple[int, bytes]]]:
    return [
        [(int(matches.distances[k]), matches.digests[k].tobytes()) for k in range(lo, hi)]
        for lo, hi in zip(matches.lims, matches.lims[1:], strict=False)
    ]


@pytest.fixture(scope="module")
def large() -> Iterator[tuple[Matcher, Digests]]:
    """PDQ, large enough for tables: random ones, a dense cluster, and digests that agree in most bits."""
    rng = np.random.default_rng(7)
    centre = np.repeat(random_digests(rng, 1, "PDQ"), 300, axis=0)
    cluster = np.concatenate([flipped(rng, centre, k) for k in range(0, 24, 3)])
    sparse = flipped(rng, np.zeros((1_000, 32), np.uint8), 6)
    digests = np.concatenate([random_digests(rng, 20_000, "PDQ"), cluster, sparse])
    with Matcher(threads=2) as matcher:
        matcher.rebuild(1, [("PDQ", digests)])
        yield matcher, digests


@pytest.fixture(scope="module")
def short() -> Iterator[tuple[Matcher, Digests]]:
    """The same for 64 bits."""
    rng = np.random.default_rng(8)
    sparse = flipped(rng, np.zeros((1_000, 8), np.uint8), 5)
    digests = np.concatenate([random_digests(rng, 20_000, "PHASH"), sparse])
    with Matcher(threads=2) as matcher:
        matcher.rebuild(1, [("PHASH", digests)])
        yield matcher, digests


@pytest.mark.parametrize("radius", range(32))
def test_every_pdq_radius_is_exact_at_its_boundary(large: tuple[Matcher, Digests], radius: int) -> None:
    matcher, digests = large
    rng = np.random.default_rng(radius)
    assert matcher.explain("PDQ", radius).engine is (SearchEngine.TABLES if radius else SearchEngine.SORTED)
    origin = digests[rng.choice(len(digests), 200)]
    queries = np.concatenate([flipped(rng, origin[:100], radius), flipped(rng, origin[100:], radius + 1)])
    hits = matcher.search("PDQ", queries, max_distance=radius)
    answers = listed(hits)
    for k in range(100):
        assert (radius, origin[k].tobytes()) in answers[k], "a digest at the distance itself is found"
    for k in range(100, 200):
        assert origin[k].tobytes() not in {digest for _, digest in answers[k]}, "one bit further is not"
    assert answers == brute(queries, digests, radius, "PDQ")


@pytest.mark.parametrize("radius", range(11))
def test_every_64_bit_radius_is_exact_at_its_boundary(short: tuple[Matcher, Digests], radius: int) -> None:
    matcher, digests = short
    rng = np.random.default_rng(radius)
    origin = digests[rng.choice(len(digests), 200)]
    queries = np.concatenate([flipped(rng, origin[:100], radius), flipped(rng, origin[100:], radius + 1)])
    assert listed(matcher.search("PHASH", queries, max_distance=radius)) == brute(queries, digests, radius, "PHASH")


@pytest.mark.parametrize("radius", [40, 52, 90, 256])
def test_larger_radii_are_exact_too(large: tuple[Matcher, Digests], radius: int) -> None:
    matcher, digests = large
    queries = random_digests(np.random.default_rng(radius), 2, "PDQ")
    assert listed(matcher.search("PDQ", queries, max_distance=radius)) == brute(queries, digests, radius, "PDQ")


def test_faiss_scans_large_segments_exactly() -> None:
    """With withdrawn digests among those within reach."""
    rng = np.random.default_rng(13)
    digests = random_digests(rng, 120_000, "PDQ")
    queries = flipped(rng, digests[:3], 70)
    with Matcher() as matcher:
        matcher.apply(1, add={"PDQ": digests})
        matcher.apply(2, withdraw={"PDQ": digests[1:2]})
        for radius in (69, 70, 95):
            assert matcher.explain("PDQ", radius).engine is SearchEngine.FAISS
            expected = brute(queries, np.delete(digests, 1, axis=0), radius, "PDQ")
            assert listed(matcher.search("PDQ", queries, max_distance=radius)) == expected


def test_the_planner_uses_every_engine(large: tuple[Matcher, Digests]) -> None:
    matcher, _ = large
    assert matcher.explain("PDQ", 0).engine is SearchEngine.SORTED
    tables = matcher.explain("PDQ", 31)
    assert tables.engine is SearchEngine.TABLES
    assert tables.thresholds is not None
    assert tables.thresholds.visits == 16 * 17, "of 16 bits each, at most one flipped"
    assert 0 < tables.thresholds.candidates < tables.count / 10
    assert matcher.explain("PDQ", 90).engine is SearchEngine.SCAN
    assert choose(layout_for(256, 10**6), 10**6, 90).engine is SearchEngine.FAISS
    with Matcher() as small:
        small.apply(1, add={"PDQ": np.ones((5, 32), np.uint8)})
        assert (small.explain("PDQ", 31).engine, small.explain("PDQ", 31).thresholds) == (SearchEngine.SCAN, None)
        assert small.explain("MD5", 0).engine is SearchEngine.SORTED
        assert small.explain("PHOTODNA", 10).engine is SearchEngine.SCAN


def test_expected_candidates_are_what_random_digests_give() -> None:
    """The estimate that the planner works with, against a count over random digests."""
    rng = np.random.default_rng(5)
    of, layout = index.space("PDQ"), layout_for(256, 200_000)
    rows = of.pack(random_digests(rng, 200_000, "PDQ"))
    query = of.pack(random_digests(rng, 1, "PDQ"))
    tables = thresholds(layout, len(rows), 31)
    chunks = np.bitwise_count((rows ^ query).astype(">u8").view(">u2").astype(np.uint16)).astype(int)
    passed = 0
    for table, (in_chunk, in_region) in enumerate(zip(tables.in_chunk, tables.in_region, strict=True)):
        near = chunks[:, table] <= in_chunk
        passed += int((near & (chunks[:, table] + chunks[:, table ^ 1] <= in_region)).sum())
    assert tables.visits == 16 * ball(16, 1)
    assert passed == pytest.approx(tables.candidates, rel=6 / tables.candidates**0.5)


@pytest.mark.parametrize("bits", [64, 256])
@given(data=st.data())
@settings(max_examples=examples(300), deadline=None)
def test_no_pattern_of_differences_escapes_the_thresholds(bits: int, data: st.DataObject) -> None:
    """The pigeonhole argument itself: however r differences spread over the chunks, some table accepts."""
    radius = data.draw(st.integers(1, 48 if bits == 256 else 16))
    count = data.draw(st.sampled_from([5_000, 1_000_000, 100_000_000]))
    layout = layout_for(bits, count)
    places = data.draw(st.lists(st.integers(0, bits - 1), min_size=radius, max_size=radius, unique=True))
    tables = thresholds(layout, count, radius)

    # An entry is found by what its address and the sixteen bits of its fingerprint differ in.
    def between(first: int, width: int) -> int:
        return sum(first <= p < first + width for p in places)

    assert any(
        between(t * layout.address_bits, layout.address_bits) <= tables.in_chunk[t]
        and between(t * layout.address_bits, layout.address_bits) + between(layout.fingerprint_bit(t), 16)
        <= tables.in_region[t]
        for t in range(layout.tables)
    )
    assert sum(t + 1 for t in tables.in_region[::2]) == radius + 1


def test_faiss_agrees_on_a_batch(large: tuple[Matcher, Digests]) -> None:
    matcher, digests = large
    rng = np.random.default_rng(3)
    queries = np.concatenate(
        [flipped(rng, digests[rng.choice(len(digests), 300)], 25), random_digests(rng, 300, "PDQ")]
    )
    oracle = faiss.IndexBinaryFlat(256)
    distinct = np.unique(digests, axis=0)
    oracle.add(distinct)
    lims, distances, labels = oracle.range_search(queries, 31 + 1)
    hits = matcher.search("PDQ", queries, max_distance=31)
    assert np.array_equal(hits.lims, lims.astype(np.int64))
    assert hits.distances.dtype == np.uint16
    answers = listed(hits)
    for k in range(len(queries)):
        part = slice(int(lims[k]), int(lims[k + 1]))
        expected = sorted(zip(distances[part].astype(int), map(bytes, distinct[labels[part]]), strict=True))
        assert answers[k] == expected


def test_a_batch_is_its_queries_one_by_one(large: tuple[Matcher, Digests]) -> None:
    matcher, digests = large
    queries = flipped(np.random.default_rng(4), digests[::150], 9)
    assert len(queries) > 2 * 64, "more than one block for each thread"
    one_by_one = [listed(matcher.search("PDQ", q[None], max_distance=31))[0] for q in queries]
    assert listed(matcher.search("PDQ", queries, max_distance=31)) == one_by_one


def test_distances_are_those_of_the_reference(large: tuple[Matcher, Digests]) -> None:
    matcher, digests = large
    query = flipped(np.random.default_rng(1), digests[:1], 17)
    hits = matcher.search("PDQ", query, max_distance=31)
    for d, digest in zip(hits.distances, hits.digests, strict=True):
        assert distance(Hash("PDQ", query[0].tobytes()), Hash("PDQ", digest.tobytes())) == d


@pytest.mark.parametrize("algorithm", ["MD5", "SHA1", "SHA256"])
@pytest.mark.parametrize("count", [1, 3, 20_000])
def test_exact_algorithms_match_whole_digests_only(algorithm: str, count: int) -> None:
    rng = np.random.default_rng(count)
    digests = random_digests(rng, count, algorithm)
    other = flipped(rng, digests, 1)
    with Matcher() as matcher:
        matcher.apply(1, add={algorithm: digests})
        assert listed(matcher.search(algorithm, digests[:50], max_distance=0)) == [
            [(0, d.tobytes())] for d in digests[:50]
        ]
        assert len(matcher.search(algorithm, other, max_distance=0)) == 0
        assert matcher.contains(algorithm, digests).all()
        assert not matcher.contains(algorithm, other).any()


def test_photodna_is_squared_euclidean_and_exact_at_its_boundary() -> None:
    rng = np.random.default_rng(2)
    digests = random_digests(rng, 3_000, "PHOTODNA")
    query = digests[:5].copy()
    query[:, 7] ^= 3  # a known distance: each of the five is nearest to its origin
    with Matcher() as matcher:
        matcher.apply(1, add={"PHOTODNA": digests})
        apart = int((query[0].astype(int) - digests[0].astype(int)) @ (query[0].astype(int) - digests[0].astype(int)))
        for radius in (apart - 1, apart, 600_000, 144 * 255**2):
            hits = matcher.search("PHOTODNA", query, max_distance=radius)
            assert listed(hits) == brute(query, digests, radius, "PHOTODNA")
            assert hits.distances.dtype == np.int32
        oracle = faiss.IndexScalarQuantizer(144, faiss.ScalarQuantizer.QT_8bit_direct, faiss.METRIC_L2)
        oracle.train(digests.astype(np.float32))
        oracle.add(digests.astype(np.float32))
        lims, _, labels = oracle.range_search(query.astype(np.float32), 900_000 + 1)
        hits = matcher.search("PHOTODNA", query, max_distance=900_000)
        assert np.array_equal(hits.lims, lims.astype(np.int64))
        first = {d.tobytes() for d in hits.digests[: hits.lims[1]]}
        assert first == {digests[k].tobytes() for k in labels[: lims[1]]}


@pytest.mark.parametrize(
    ("algorithm", "count", "radius", "engine"),
    [
        ("MD5", 5_000, 0, SearchEngine.SORTED),
        ("SHA1", 5_000, 0, SearchEngine.SORTED),
        ("PDQ", 120_000, 0, SearchEngine.SORTED),
        ("PDQ", 300, 31, SearchEngine.SCAN),
        ("PDQ", 120_000, 31, SearchEngine.TABLES),
        ("PDQ", 120_000, 70, SearchEngine.FAISS),
        ("PHOTODNA", 3_000, 9, SearchEngine.SCAN),
    ],
)
def test_what_hits_nothing_is_what_a_search_finds_nothing_for(
    algorithm: str, count: int, radius: int, engine: SearchEngine
) -> None:
    rng = np.random.default_rng(count + radius)
    digests = random_digests(rng, count, algorithm)
    near = digests[:40].copy()
    near[:, 3] ^= rng.integers(0, 4, 40, np.uint8)  # at the distance 0 to 9
    queries = np.concatenate([near, random_digests(rng, 40, algorithm)])
    with Matcher() as matcher:
        matcher.apply(1, add={algorithm: digests})
        matcher.apply(2, add={algorithm: random_digests(rng, 10, algorithm)}, withdraw={algorithm: digests[::3]})
        assert matcher.explain(algorithm, radius).engine is engine
        answers = set()
        for query in queries:
            hits = matcher.search(algorithm, query[None], max_distance=radius)
            nothing = matcher.hits_nothing(algorithm, [query.tobytes()], max_distance=radius)
            assert nothing == (len(hits) == 0)
            answers.add(nothing)
        assert answers == {True, False}
        with pytest.raises(InvalidArgument):
            matcher.hits_nothing(algorithm, [queries[0].tobytes(), queries[0, :3].tobytes()], max_distance=radius)


@pytest.mark.parametrize("algorithm", ["MD5", "SHA1", "SHA256"])
@pytest.mark.parametrize("count", [1, 2, 7, 3_000])
def test_a_few_exact_digests_are_looked_up_as_many_are(algorithm: str, count: int) -> None:
    rng = np.random.default_rng(count)
    digests = random_digests(rng, count, algorithm)
    digests[: count // 2, :-1] = digests[0, :-1]  # those differ in their last byte only, if at all
    digests[-1] = 255 * (count % 2)  # the first or the last of all
    others = digests.copy()
    others[:, -1] ^= rng.integers(0, 256, count, np.uint8)
    with Matcher() as matcher:
        matcher.apply(1, add={algorithm: digests})
        matcher.apply(2, add={algorithm: others[::5]}, withdraw={algorithm: digests[::3]})
        for listed_ones in (digests, others):
            is_there = matcher.contains(algorithm, listed_ones)
            for first in range(0, min(count, 600), 3):
                few = [digest.tobytes() for digest in listed_ones[first : first + 3]]
                assert matcher.hits_nothing(algorithm, few, max_distance=None) == (
                    not is_there[first : first + 3].any()
                )
        every = [digest.tobytes() for digest in others]
        assert matcher.hits_nothing(algorithm, every, max_distance=0) == (not matcher.contains(algorithm, others).any())


def test_photodna_needs_a_distance() -> None:
    with Matcher() as matcher, pytest.raises(InvalidArgument) as raised:
        matcher.search("PHOTODNA", np.zeros((1, 144), np.uint8), max_distance=None)
    assert raised.value.reason is Reason.DISTANCE_REQUIRED


@pytest.mark.parametrize(
    ("algorithm", "shape", "max_distance", "limit", "field"),
    [
        ("PDQ", (1, 31), 31, None, "PDQ digests"),
        ("PDQ", (32,), 31, None, "PDQ digests"),
        ("PDQ", (1, 32), -1, None, "max_distance"),
        ("PDQ", (1, 32), 257, None, "max_distance"),
        ("MD5", (1, 16), 1, None, "max_distance"),
        ("PDQ", (1, 32), 31, 0, "limit"),
        ("CRC32", (1, 4), 0, None, "algorithm"),
    ],
)
def test_wrong_arguments_are_named(
    algorithm: str, shape: tuple[int, ...], max_distance: int, limit: int | None, field: str
) -> None:
    with Matcher() as matcher, pytest.raises(InvalidArgument) as raised:
        matcher.search(algorithm, np.zeros(shape, np.uint8), max_distance=max_distance, limit=limit)
    assert raised.value.violations[0].field == field


def test_a_cluster_is_returned_whole_or_truncated_to_the_nearest(large: tuple[Matcher, Digests]) -> None:
    matcher, digests = large
    centre = digests[20_000:20_001]
    queries = np.concatenate([centre, random_digests(np.random.default_rng(0), 1, "PDQ")])
    whole = matcher.search("PDQ", queries, max_distance=31)
    assert whole.lims[1] > 2_000
    assert not whole.truncated.any()
    cut = matcher.search("PDQ", queries, max_distance=31, limit=10)
    assert cut.truncated.tolist() == [True, False]
    assert listed(cut)[0] == listed(whole)[0][:10]
    assert cut.lims.tolist() == [0, 10, 10]
    exact = matcher.search("PDQ", queries, max_distance=31, limit=int(whole.lims[1]))
    assert not exact.truncated.any()


def test_answers_larger_than_the_first_room_are_complete() -> None:
    """All digests near one query, twice: the second search uses the room that the first one grew."""
    rng = np.random.default_rng(6)
    digests = np.unique(flipped(rng, np.repeat(random_digests(rng, 1, "PDQ"), 100_000, axis=0), 8), axis=0)
    with Matcher() as matcher:
        matcher.apply(1, add={"PDQ": digests})
        for _ in range(2):
            hits = matcher.search("PDQ", digests[:3], max_distance=16)
            assert np.diff(hits.lims).tolist() == [len(digests)] * 3


def test_groups_of_several_blocks_are_searched_to_their_ends() -> None:
    """Of 600,000 digests of 64 bits most groups span two cache lines; some here span many, the first and the last one
    of the last table among them.
    """
    rng = np.random.default_rng(22)
    rows = rng.integers(0, 2**64, (600_000, 1), dtype=np.uint64)
    rest = ~np.uint64(0xFFFF)
    for at, last in enumerate((0x0000, 0x0001, 0xFFFE, 0xFFFF)):
        rows[at * 200 : at * 200 + 200] = rows[at * 200 : at * 200 + 200] & rest | np.uint64(last)
    segment = index.build(index.space("PHASH"), [index.SegmentSource(rows)], threads=2)
    sizes = np.diff(segment.parts.start.reshape(4, -1).astype(np.int64))
    assert sizes[3, [0, -1]].min() > 200, "the groups at the ends of the last table are long"
    near = np.concatenate([rows[:800:20], rows[1_000:1_020]]) ^ np.uint64(0b101 << 40)
    queries = np.concatenate([near, rng.integers(0, 2**64, (20, 1), dtype=np.uint64)])
    distances = np.stack([np.bitwise_count(query ^ segment.parts.rows.reshape(-1)) for query in queries])
    for radius in (3, 7):
        assert segment.plan(radius).engine is SearchEngine.TABLES
        hits = segment.search(queries, radius)
        order = np.lexsort((hits.rows, hits.queries))
        assert np.array_equal(np.stack([hits.queries, hits.rows], axis=1)[order], np.argwhere(distances <= radius))


def test_a_cluster_too_dense_for_the_tables_is_scanned_once() -> None:
    """So large that candidates were verified, and matches written, before the kernel gives the tables up for this
    query.
    """
    rng = np.random.default_rng(14)
    centre = random_digests(rng, 1, "PDQ")
    cluster = np.unique(flipped(rng, np.repeat(centre, 3_000, axis=0), 7), axis=0)
    digests = np.concatenate([random_digests(rng, 300_000, "PDQ"), cluster])
    alone = digests[:2]
    with Matcher(threads=1) as matcher:
        matcher.apply(1, add={"PDQ": digests})
        hits = matcher.search("PDQ", np.concatenate([alone, centre, alone]), max_distance=20)
        assert np.diff(hits.lims).tolist() == [1, 1, len(cluster), 1, 1]
        assert np.array_equal(hits.digests[2:-2], cluster), "all at one distance: by digest, each once"


@given(seed=st.integers(0, 2**32 - 1), limit=st.integers(1, 12))
@settings(max_examples=examples(60), deadline=None)
def test_a_limit_keeps_the_nearest_of_each_query(seed: int, limit: int) -> None:
    """Many equal distances, queries with and without matches."""
    rng = np.random.default_rng(seed)
    digests = flipped(rng, np.repeat(random_digests(rng, 3, "PHASH"), 12, axis=0), int(rng.integers(1, 5)))
    queries = np.concatenate([digests[:3], random_digests(rng, 2, "PHASH"), digests[-2:]])
    with Matcher(threads=1) as matcher:
        matcher.apply(1, add={"PHASH": digests})
        whole = brute(queries, digests, 8, "PHASH")
        hits = matcher.search("PHASH", queries, max_distance=8, limit=limit)
        assert listed(hits) == [answer[:limit] for answer in whole]
        assert hits.truncated.tolist() == [len(answer) > limit for answer in whole]


def test_equal_prefixes_do_not_slow_down_or_break_anything() -> None:
    """Digests that agree in all but their last bytes: one bucket, one group."""
    digests = np.zeros((30_000, 32), np.uint8)
    digests[:, 28:] = np.arange(30_000, dtype=">u4").view(np.uint8).reshape(-1, 4)
    with Matcher() as matcher:
        matcher.apply(1, add={"PDQ": digests, "SHA256": digests})
        assert matcher.contains("SHA256", digests).all()
        assert matcher.count("PDQ") == 30_000
        assert listed(matcher.search("PDQ", digests[:2], max_distance=3)) == brute(digests[:2], digests, 3, "PDQ")


@given(
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(0, 400),
    words=st.sampled_from([1, 2, 3, 4, 18]),
    spread=st.sampled_from([2, 256]),
    threads=st.sampled_from([1, 2]),
)
@settings(max_examples=examples(100), deadline=None)
def test_sorting_is_numpy_unique(seed: int, count: int, words: int, spread: int, threads: int) -> None:
    rng = np.random.default_rng(seed)
    raw = rng.integers(0, spread, (count, 8 * words), dtype=np.uint8)
    rows = raw.view(">u8").astype(np.uint64)
    dead = rng.integers(0, 256, -(-count // 8), dtype=np.uint8)
    living = np.unpackbits(dead, bitorder="little")[:count] == 0
    sources = [index.SegmentSource(rows[: count // 3]), index.SegmentSource(rows, dead)]
    expected = np.unique(np.concatenate([raw[: count // 3], raw[living]]), axis=0)
    ordered = index.sorted_rows(sources, words, threads)
    assert np.array_equal(ordered.astype(">u8").view(np.uint8).reshape(-1, 8 * words), expected)


@given(
    seed=st.integers(0, 2**32 - 1),
    counts=st.lists(st.integers(0, 200), max_size=6),
    unsorted=st.integers(0, 40),
    words=st.sampled_from([1, 2, 3, 4, 18]),
    spread=st.sampled_from([2, 256]),
    at_once=st.sampled_from([1, 7, 1 << 22]),
    has_dead=st.booleans(),
)
@settings(max_examples=examples(150), deadline=None)
def test_merging_is_numpy_unique(
    seed: int, counts: list[int], unsorted: int, words: int, spread: int, at_once: int, has_dead: bool
) -> None:
    """Of sorted sources with rows in common, withdrawn in some of them, beside one that is not sorted; in pieces."""
    rng = np.random.default_rng(seed)
    raw = [np.unique(rng.integers(0, spread, (count, 8 * words), dtype=np.uint8), axis=0) for count in counts]
    dead = [rng.integers(0, 256, -(-len(rows) // 8), dtype=np.uint8) * np.uint8(has_dead) for rows in raw]
    living = [
        rows[np.unpackbits(bits, bitorder="little")[: len(rows)] == 0] for rows, bits in zip(raw, dead, strict=True)
    ]
    more = rng.integers(0, spread, (unsorted, 8 * words), dtype=np.uint8)
    sources = [
        index.SegmentSource(rows.view(">u8").astype(np.uint64), bits if has_dead else None, is_sorted=True)
        for rows, bits in zip(raw, dead, strict=True)
    ]
    if unsorted:
        sources.insert(int(rng.integers(0, len(sources) + 1)), index.SegmentSource(more.view(">u8").astype(np.uint64)))
    shares: list[float] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(index, "_MERGED_AT_ONCE", at_once)
        ordered = index.sorted_rows(sources, words, 1, lambda _, share: shares.append(share))
    expected = np.unique(np.concatenate([more, *living]), axis=0)
    assert np.array_equal(ordered.astype(">u8").view(np.uint8).reshape(-1, 8 * words), expected)
    assert all(0 <= share <= 1 for share in shares)
    if at_once == 1 and not unsorted and len(counts) > 1 and any(len(rows) for rows in raw):
        assert len(shares) >= sum(len(rows) for rows in raw) // 2, (
            "a merge can be given up between any two of its pieces"
        )


def test_what_is_sorted_is_not_sorted_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A merge of a segment with what is new takes a sixth of the time that sorting all of it again does."""
    rng = np.random.default_rng(3)
    of = index.space("SHA256")
    segments = [
        index.build(of, [index.SegmentSource(of.plain(random_digests(rng, 2_000, "SHA256")))]) for _ in range(3)
    ]

    def refuse(*_: object) -> None:
        raise AssertionError("sorted once more")

    monkeypatch.setattr(kernels, "scatter", refuse)
    merged = index.build(of, [segment.source(segment.dead) for segment in segments])
    assert merged.count == 6_000
    assert all(merged.contains(segment.parts.rows).all() for segment in segments)


def test_sorting_survives_bad_pivots() -> None:
    """Organ-pipe orders drive a median of three to its worst case; the heap sort behind it must take over."""
    ramp = np.concatenate([np.arange(40_000), np.arange(40_000)[::-1]]).astype(np.uint64)
    rows = np.zeros((len(ramp), 2), np.uint64)
    rows[:, 1] = ramp  # one bucket: the prefix is the same
    assert np.array_equal(index.sorted_rows([index.SegmentSource(rows)], 2)[:, 1], np.arange(40_000, dtype=np.uint64))


@pytest.mark.parametrize("algorithm", list(ALGORITHMS))
def test_packing_is_undone_by_unpacking(algorithm: str) -> None:
    digests = random_digests(np.random.default_rng(9), 50, algorithm)
    of = index.space(algorithm)
    assert np.array_equal(of.unpack(of.pack(digests), np.arange(len(digests))), digests)


@pytest.mark.parametrize("algorithm", list(ALGORITHMS))
@pytest.mark.parametrize("count", [1, 3])
def test_a_few_digests_are_packed_as_many_are(algorithm: str, count: int) -> None:
    """In several threads at once as well: each has room of its own."""
    of = index.space(algorithm)

    def differing(seed: int) -> int:
        rng = np.random.default_rng(seed)
        given = [random_digests(rng, count, algorithm) for _ in range(200)]
        return sum(not np.array_equal(of.pack_few([*map(bytes, some)]), of.pack(some)) for some in given)

    with ThreadPoolExecutor(4) as threads:
        assert sum(threads.map(differing, range(4))) == 0


@pytest.mark.parametrize("name", ["PDQ", "PHASH"])
def test_a_permutation_moves_every_bit_and_keeps_distances(name: str) -> None:
    of = index.space(name)
    bits = of.algorithm.bits
    assert sorted(of.permutation) == list(range(bits))
    ones = np.packbits(np.eye(bits, dtype=np.uint8), axis=1)
    moved = np.unpackbits(of.pack(ones).astype(">u8").view(np.uint8), axis=1)
    assert np.array_equal(moved[list(of.permutation)], np.eye(bits, dtype=np.uint8))


def test_small_and_large_segments_meet_at_the_threshold() -> None:
    rng = np.random.default_rng(12)
    for count in (SCAN_BELOW - 1, SCAN_BELOW):
        digests = random_digests(rng, count, "PDQ")
        with Matcher() as matcher:
            matcher.apply(1, add={"PDQ": digests})
            queries = flipped(rng, digests[:100], 31)
            assert listed(matcher.search("PDQ", queries, max_distance=31)) == brute(queries, digests, 31, "PDQ")


def test_compiled_code_needs_no_particular_cpu(tmp_path: Path) -> None:
    """The same searches with the kernels compiled for the plainest CPU that LLVM knows, in a process of its own."""
    import os
    import subprocess
    import sys

    code = (
        "import numpy as np\n"
        "from hashhub.matcher import Matcher\n"
        "rng = np.random.default_rng(0)\n"
        "digests = rng.integers(0, 256, (6000, 32), dtype=np.uint8)\n"
        "queries = digests[:50].copy(); queries[:, :3] ^= 255; queries[:, 3] ^= 127\n"
        "with Matcher(threads=1) as m:\n"
        "    m.apply(1, add={'PDQ': digests})\n"
        "    assert len(m.search('PDQ', queries, max_distance=30)) == 0\n"
        "    found = m.search('PDQ', queries, max_distance=31)\n"
        "    assert (found.digests == digests[:50]).all() and (found.distances == 31).all()\n"
    )
    subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        timeout=100,
        env={
            **os.environ,
            "NUMBA_CPU_NAME": "generic",
            "NUMBA_CPU_FEATURES": "",
            "HASHHUB_KERNEL_CACHE": str(tmp_path),
        },
    )
