"""Near digests of a set against a comparison of all pairs."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from hashhub.cancellation import scope
from hashhub.errors import InvalidArgument, Unavailable
from hashhub.hashes import ALGORITHMS
from hashhub.matcher import NearDigests, pairs, plan
from hashhub.matcher.index import Segment
from hashhub.matcher.plan import SearchEngine


def crowd(seed: int, count: int, width: int) -> NDArray[np.uint8]:
    """Random digests, some of them repeated, some altered in a few bits."""
    random = np.random.default_rng(seed)
    base = random.integers(0, 256, (max(1, count // 4), width), dtype=np.uint8)
    chosen = base[random.integers(0, len(base), count)]
    bits = random.random((count, width * 8)) < random.choice([0, 0.02, 0.06, 0.15], (count, 1))
    return np.asarray(chosen ^ np.packbits(bits, axis=1), np.uint8)


def compared(index: NearDigests, digests: NDArray[np.uint8], most: int, wanted: set[int]) -> set[tuple[int, int, int]]:
    distinct = np.unique(digests, axis=0)
    places = index.places(distinct).tolist()
    distances = np.bitwise_count(distinct[:, None, :] ^ distinct[None, :, :]).sum(axis=2, dtype=np.int64)
    near = np.argwhere(distances <= most).tolist()
    return {(places[a], places[b], int(distances[a, b])) for a, b in near if places[a] in wanted}


@settings(max_examples=15)
@given(
    seed=st.integers(0, 2**32),
    count=st.integers(1, 300),
    algorithm=st.sampled_from(["PDQ", "PHASH"]),
    threads=st.sampled_from([1, 3]),
    most_hits=st.sampled_from([1, 50, 1 << 20]),
    some=st.booleans(),
)
def test_every_near_pair_is_there_once(
    seed: int, count: int, algorithm: str, threads: int, most_hits: int, some: bool
) -> None:
    of = ALGORITHMS[algorithm]
    digests = crowd(seed, count, of.digest_bytes)
    index = NearDigests(algorithm, digests, threads=threads)
    assert len(index) == len(np.unique(digests, axis=0))
    assert sorted(set(index.places(digests).tolist())) == list(range(len(index)))
    wanted = np.arange(0, len(index), 3) if some else None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pairs, "_MOST_HITS", most_hits)
        patch.setattr(pairs, "_BLOCK", 37)
        parts = list(index.near(None, wanted))
    told = [x for p in parts for x in zip(p.left.tolist(), p.right.tolist(), p.distances.tolist(), strict=True)]
    assert of.default_max_distance is not None
    expected = compared(
        index, digests, of.default_max_distance, set(range(len(index)) if wanted is None else wanted.tolist())
    )
    assert len(told) == len(expected)
    assert set(told) == expected
    # All of a digest is in one part, and parts go up.
    lefts = [set(p.left.tolist()) for p in parts]
    assert all(max(a) < min(b) for a, b in itertools.pairwise(lefts) if a and b)


def test_a_part_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """1,000 digests that are all near one another: a million pairs, never more than a few thousand held at once."""
    monkeypatch.setattr(pairs, "_MOST_HITS", 5_000)
    digests = np.zeros((1_000, 32), np.uint8)
    digests[:, :2] = np.arange(1_000, dtype=">u2").view(np.uint8).reshape(-1, 2)
    index = NearDigests("PDQ", digests, threads=2)
    # What this thread searched for before has left room for more hits than may be held here.
    assert len(index._segment.search(index._segment.parts.rows[:48], 16).rows) == 48_000
    sizes = [len(p.left) for p in index.near(16)]
    assert sum(sizes) == 1_000_000
    assert max(sizes) <= 5_000


def test_a_scan_that_holds_all_its_hits_is_asked_for_few_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    scan = Segment.scan_with_faiss

    def noted(self: Segment, queries: NDArray[np.uint64], distance: int) -> object:
        asked.append(len(queries))
        return scan(self, queries, distance)

    monkeypatch.setattr(Segment, "scan_with_faiss", noted)
    monkeypatch.setattr(pairs, "_MOST_HITS", 50_000)
    monkeypatch.setattr(plan, "_FAISS_FROM", 1_000)
    digests = np.random.default_rng(1).integers(0, 256, (10_000, 8), dtype=np.uint8)
    index = NearDigests("PHASH", digests, threads=1)
    assert index._segment.plan(30).engine is SearchEngine.FAISS
    next(index.near(30))
    assert max(asked) <= 5


def test_it_ends_when_nobody_waits() -> None:
    index = NearDigests("PDQ", crowd(1, 100, 32))
    with scope(lambda: False), pytest.raises(Unavailable):
        list(index.near(None))


def test_wrong_arguments() -> None:
    with pytest.raises(InvalidArgument, match="PHOTODNA has no default"):
        list(NearDigests("PHOTODNA", np.zeros((1, 144), np.uint8)).near(None))
    with pytest.raises(InvalidArgument):
        NearDigests("PDQ", np.zeros((1, 31), np.uint8))
    assert list(NearDigests("PDQ", np.zeros((0, 32), np.uint8)).near(None)) == []
