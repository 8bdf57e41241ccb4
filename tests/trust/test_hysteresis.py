"""What a stream shows: against an oracle that looks at the whole stream again for each frame, and by name."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashhub.errors import InvalidArgument
from hashhub.model import Hysteresis
from hashhub.trust import FrameOutcome, SightingTracker, Span

GAP = 2_000
READ, BLANK, UNREAD = FrameOutcome.READ, FrameOutcome.BLANK, FrameOutcome.UNREAD


class Frame(NamedTuple):
    after_ms: int
    look: FrameOutcome
    hits: dict[str, bool]


def frames() -> st.SearchStrategy[list[Frame]]:
    hits = st.dictionaries(st.sampled_from("abc"), st.sampled_from([False, False, False, True]), max_size=2)
    one = st.builds(Frame, st.sampled_from([1, 500, 1_000, 5_000]), st.sampled_from([*[READ] * 4, BLANK, UNREAD]), hits)
    return st.lists(one, max_size=40)


def settings() -> st.SearchStrategy[Hysteresis]:
    return st.integers(1, 5).flatmap(
        lambda frames: st.builds(
            Hysteresis,
            enter_frames=st.just(frames),
            enter_hits=st.integers(1, frames),
            leave_ms=st.sampled_from([1, 1_000, 3_000]),
            unread_frames=st.integers(1, 3),
        )
    )


def oracle(stream: list[Frame], key: str, s: Hysteresis) -> Span | None:
    """Whether, and since when, the stream shows the key at its end: worked out from the whole of it, by the words of
    docs/match/live.md.
    """
    time = 0
    at = []
    for frame in stream:
        time += frame.after_ms
        at.append(time)
    counted: list[tuple[int, bool, bool]] = []  # of frames that say something of the key: number, hit, enough alone
    for i, frame in enumerate(stream):
        if frame.look is READ or (frame.look is BLANK and key in frame.hits):
            counted.append((i, key in frame.hits, frame.look is READ and frame.hits.get(key, False)))
    shown: Span | None = None
    since = 0  # the counted frames before are over and done with
    for n, (i, is_hit, is_enough) in enumerate(counted):
        if is_hit:
            recent = [j for j, hit, _ in counted[max(since, n + 1 - s.enter_frames) : n + 1] if hit]
            if shown is not None:
                shown = Span(shown.begin_ms, at[i], shown.hits + 1)
            elif is_enough or len(recent) >= s.enter_hits:
                shown = Span(at[recent[0]], at[i], len(recent))
        elif shown is not None:
            last = next(j for j, hit, _ in reversed(counted[: n + 1]) if hit)
            quiet = sum(
                min(at[j] - at[j - 1], GAP)
                for j in range(last + 1, i + 1)
                if stream[j].look is READ and stream[j - 1].look is READ
            )
            if quiet >= s.leave_ms:
                shown, since = None, n + 1
    return shown


@given(frames(), settings())
def test_what_is_shown_is_what_the_whole_stream_says(stream: list[Frame], s: Hysteresis) -> None:
    machine: SightingTracker[str] = SightingTracker(s, longest_gap_ms=GAP, most=100)
    time = 0
    for i, frame in enumerate(stream):
        time += frame.after_ms
        before = dict(machine.shown)
        ended = machine.frame(time, frame.look, frame.hits)
        expected = {key: span for key in "abc" if (span := oracle(stream[: i + 1], key, s)) is not None}
        assert machine.shown == expected
        assert ended == {key: span for key, span in before.items() if key not in expected}
        run = 0
        for look in (f.look for f in reversed(stream[: i + 1])):
            if look is not UNREAD:
                break
            run += 1
        assert machine.is_unknown == (run >= s.unread_frames or all(f.look is UNREAD for f in stream[: i + 1]))
        assert machine.tracked >= machine.shown.keys()


@given(frames(), settings(), st.integers(0, 39))
def test_an_unread_frame_changes_nothing_of_what_is_shown(stream: list[Frame], s: Hysteresis, at: int) -> None:
    def run(frames: list[Frame]) -> dict[str, Span]:
        machine: SightingTracker[str] = SightingTracker(s, longest_gap_ms=GAP, most=100)
        time = 0
        for frame in frames:
            time += frame.after_ms
            machine.frame(time, frame.look, frame.hits)
        return machine.shown

    read = [f for f in stream if f.look is READ]
    with_unread = [*read[:at], Frame(700, UNREAD, {"a": True}), *read[at:]]
    # The time that an unread frame breaks does not count: at most, something is shown for longer.
    assert run(with_unread).keys() >= run(read).keys()
    assert machine_keys(with_unread, s) == machine_keys([*read[:at], Frame(700, UNREAD, {}), *read[at:]], s)


def machine_keys(frames: list[Frame], s: Hysteresis) -> set[str]:
    machine: SightingTracker[str] = SightingTracker(s, longest_gap_ms=GAP, most=100)
    time = 0
    for frame in frames:
        time += frame.after_ms
        machine.frame(time, frame.look, frame.hits)
    return set(machine.shown)


def test_one_frame_near_something_changes_nothing() -> None:
    machine: SightingTracker[str] = SightingTracker(Hysteresis(), longest_gap_ms=GAP, most=100)
    for second in range(20):
        machine.frame(second * 1000, READ, {"a": False} if second == 7 else {})
        assert not machine.shown
    assert not machine.tracked


def test_one_frame_without_a_hit_ends_nothing_and_many_do() -> None:
    machine: SightingTracker[str] = SightingTracker(Hysteresis(leave_ms=3_000), longest_gap_ms=GAP, most=100)
    hits = [True, True, False, True, True, False, False, False]
    for second, is_hit in enumerate(hits):
        ended = machine.frame(second * 1000, READ, {"a": False} if is_hit else {})
        assert bool(ended) == (second == 7)
    assert ended == {"a": Span(0, 4_000, 4)}


def test_black_frames_after_a_hit_end_nothing() -> None:
    machine: SightingTracker[str] = SightingTracker(Hysteresis(), longest_gap_ms=GAP, most=100)
    machine.frame(0, READ, {"a": True})
    for second in range(1, 100):
        machine.frame(second * 1000, BLANK, {})
    assert machine.shown == {"a": Span(0, 0, 1)}


def test_a_long_gap_is_not_watched() -> None:
    machine: SightingTracker[str] = SightingTracker(Hysteresis(leave_ms=10_000), longest_gap_ms=GAP, most=100)
    machine.frame(0, READ, {"a": True})
    machine.frame(3_600_000, READ, {})
    assert machine.shown


def test_what_is_tracked_is_bounded_and_says_so() -> None:
    machine: SightingTracker[int] = SightingTracker(Hysteresis(), longest_gap_ms=GAP, most=10)
    machine.frame(0, READ, dict.fromkeys(range(11), False))
    assert (len(machine.tracked), machine.is_full) == (10, True)
    for second in (1, 2, 3):
        machine.frame(second * 1000, READ, {})
    assert (len(machine.tracked), machine.is_full) == (0, False)


def test_what_is_forgotten_has_to_be_hit_anew() -> None:
    machine: SightingTracker[str] = SightingTracker(Hysteresis(), longest_gap_ms=GAP, most=100)
    machine.frame(0, READ, {"a": True})
    machine.forget("a")
    machine.frame(1_000, READ, {"a": False})
    assert not machine.shown


@pytest.mark.parametrize(
    "wrong",
    [
        {"enter_frames": 0},
        {"enter_frames": 61},
        {"enter_hits": 4},
        {"enter_hits": 0},
        {"leave_ms": 0},
        {"leave_ms": 600_001},
        {"unread_frames": 0},
        {"unread_frames": 1_001},
    ],
)
def test_settings_have_bounds(wrong: dict[str, int]) -> None:
    with pytest.raises(InvalidArgument) as caught:
        Hysteresis(**wrong)
    assert {v.field for v in caught.value.violations} >= {next(iter(wrong))} - {"enter_frames"}
