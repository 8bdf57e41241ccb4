"""Where two videos agree, and how far: against comparing every frame with every other."""

from __future__ import annotations

from random import Random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from hashhub import frames, hygiene
from hashhub.answering.stretches import GAP_MS, MAX_RANGES, TOLERANCE_MS, ending_at, ranges
from hashhub.hashes import Hash, distance
from hashhub.model import TimeRange, VideoFrame
from tests.examples import examples
from tests.hub.test_videos import noisy, picture

times = st.lists(st.tuples(st.integers(0, 400_000), st.integers(0, 400_000)), max_size=200)


def stretches(query: list[int], entry: list[int]) -> tuple[TimeRange, ...]:
    return ranges(np.array(query, np.int64), np.array(entry, np.int64))


@given(times)
@settings(max_examples=examples(200), deadline=None)
def test_stretches_begin_and_end_at_frames_that_agree(pairs: list[tuple[int, int]]) -> None:
    told = stretches([q for q, _ in pairs], [e for _, e in pairs])
    assert len(told) <= MAX_RANGES
    assert bool(told) == bool(pairs)
    for r in told:
        assert r.begin_ms in {q for q, _ in pairs}
        assert r.end_ms in {q for q, _ in pairs}
        assert {r.entry_begin_ms, r.entry_end_ms} <= {e for _, e in pairs}
        assert r.begin_ms <= r.end_ms
        assert r.entry_begin_ms <= r.entry_end_ms
    assert list(told) == sorted(told, key=lambda r: r.begin_ms)


@given(st.integers(1, 4), st.integers(0, 50), st.randoms(use_true_random=False))
@settings(max_examples=examples(60), deadline=None)
def test_planted_stretches_are_told(count: int, jitter: int, random: Random) -> None:
    """Cut out of one video and put into another in any order: each stretch is told, to the frame."""
    query, entry, planted = [], [], []
    at = 0
    places = random.sample(range(0, 1_000_000, 100_000), count)
    for place in places:
        length = random.randint(3, 40)
        at += GAP_MS + 1000 + random.randint(0, 5000)
        begin = at
        for i in range(length):
            query.append(at)
            entry.append(place + 1000 * i + random.randint(-jitter, jitter) + jitter)
            at += 1000
        planted.append((begin, at - 1000))
    told = stretches(query, entry)
    assert [(r.begin_ms, r.end_ms) for r in told] == planted


def test_a_slower_copy_is_one_stretch() -> None:
    query = list(range(0, 600_000, 1000))
    (told,) = stretches(query, [round(q * 1.05) for q in query])
    assert (told.begin_ms, told.end_ms) == (0, 599_000)


def test_a_still_scene_costs_no_more_than_its_bound() -> None:
    query = [q for q in range(0, 2_000_000, 1000) for _ in range(100)]
    entry = [e for _ in range(2000) for e in range(0, 100_000, 1000)]
    assert stretches(query, entry)
    assert TOLERANCE_MS < GAP_MS


@given(st.binary(min_size=32, max_size=32) | st.integers(0, 255).map(lambda b: bytes([b]) * 32))
@settings(max_examples=examples(300))
def test_frames_match_as_hygiene_judges_pictures(digest: bytes) -> None:
    columns = frames.columns_of([VideoFrame(0, 100, digest)])
    by_hygiene = hygiene._suspicion("PDQ", digest) is None
    assert bool(len(columns.matching().offsets)) == by_hygiene


@given(st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 100), st.binary(min_size=32, max_size=32))))
def test_packed_frames_are_the_same_frames(given_frames: list[tuple[int, int, bytes]]) -> None:
    listed = tuple(VideoFrame(*f) for f in sorted(given_frames))
    packed = frames.pack(listed)
    assert frames.unpack(packed) == listed
    assert len(packed) == frames.FRAME_BYTES * len(listed)


def test_the_noise_of_these_tests_is_what_it_says() -> None:
    one = picture(1)
    assert distance(Hash("PDQ", one), Hash("PDQ", noisy(one, 31))) == 31


def longest_ending(times: list[int], shown: list[list[int]]) -> int:
    """How many frames are in the longest stretch that ends with the last one, by looking at each end by itself."""
    most = 0
    for end in shown[-1]:
        count, since = 0, times[-1]
        for time, own in zip(reversed(times), reversed(shown), strict=True):
            back = times[-1] - time
            if any(abs(e - (end - back)) <= TOLERANCE_MS + back / 10 for e in own):
                if since - time > GAP_MS:
                    break
                count, since = count + 1, time
        most = max(most, count)
    return most


@given(
    st.lists(
        st.tuples(st.integers(1, 4_000), st.lists(st.integers(0, 40_000), max_size=6)), min_size=1, max_size=40
    ).filter(lambda frames: bool(frames[-1][1]))
)
@settings(max_examples=examples(200), deadline=None)
def test_the_stretch_that_ends_now_is_the_longest_there_is(frames_shown: list[tuple[int, list[int]]]) -> None:
    times = np.cumsum([step for step, _ in frames_shown])
    shown = [sorted(own) for _, own in frames_shown]
    places, at = ending_at(times, [np.array(own, np.int64) for own in shown], GAP_MS)
    assert len(places) == longest_ending(times.tolist(), shown)
    assert places[-1] == len(shown) - 1
    assert at[-1] >= shown[-1][0]
    assert (np.diff(at) >= 0).all()
    assert (np.diff(places) > 0).all()
    for place, time in zip(places.tolist(), at.tolist(), strict=True):
        assert any(time in own for own in shown[: place + 1])
