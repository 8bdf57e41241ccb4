"""Live streams that play listed videos: found within seconds, told where, and never more than a part too soon."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random
from typing import Any

import pytest

from hashhub.hub import playback
from hashhub.hub.live import LiveStream
from hashhub.model import (
    TLP,
    EntryState,
    Hysteresis,
    LiveAnswer,
    LiveOptions,
    Marking,
    MatchOptions,
    Principal,
    Purpose,
    Record,
    TimeRange,
    Verdict,
    VideoFrame,
    WithdrawalReason,
)
from tests.hub.conftest import OPERATOR, PLATFORM, Desk, writer
from tests.hub.test_videos import listed, noisy, picture, video


class Watched:
    """A stream of scenes, at an even pace; each frame has some bits of noise."""

    def __init__(
        self, desk: Desk, *, who: Principal = PLATFORM, policy: str = "any", step: int = 1000, **options: Any
    ) -> None:
        self.who, self.step, self.at = who, step, -step
        fields = {"match": MatchOptions(policy=policy), "frames_per_second": 1000 / step, **options}
        self.stream: LiveStream = desk.hub.live.open(who, LiveOptions(**fields))

    def see(self, scene: int, *, bits: int = 12, quality: int = 90) -> LiveAnswer:
        self.at += self.step
        value = noisy(picture(scene), bits, self.at) if bits else picture(scene)
        answer = self.stream.frame(self.who, VideoFrame(self.at, quality, value))
        assert answer is not None
        return answer

    def play(self, scenes: Iterable[int], **more: Any) -> list[LiveAnswer]:
        return [self.see(scene, **more) for scene in scenes]


@pytest.fixture
def known(any_desk: Desk) -> Desk:
    """A desk at a hub that knows a video of 300 seconds, each another scene."""
    return _known(any_desk)


@pytest.fixture
def small(desk: Desk) -> Desk:
    """The same on SQLite alone."""
    return _known(desk)


def _known(desk: Desk) -> Desk:
    desk.hash_set("nl/known")
    desk.contribute("nl/known", listed(1, range(300), external_id="v"))
    return desk


def verdicts(answers: Iterable[LiveAnswer]) -> list[str]:
    return [str(a.verdict) for a in answers]


def test_a_played_video_is_found_within_seconds_and_told_where(known: Desk) -> None:
    watched = Watched(known, hysteresis=Hysteresis(leave_ms=3_000))
    assert set(verdicts(watched.play(range(1000, 1020)))) == {"NO_MATCH"}
    answers = watched.play(range(100, 120))  # from its hundredth second on
    assert verdicts(answers[:7]) == ["NO_MATCH"] * 5 + ["MATCH"] * 2
    assert [a.hit_count for a in answers[:6]] == [0] * 4 + [1] * 2
    assert answers[5].result is not None
    (match,) = answers[5].result.matches
    assert (match.algorithm, match.distance, match.variant) == ("VPDQ", 12, "frame")
    assert match.video is not None
    assert match.video.ranges == (TimeRange(20_000, 25_000, 100_000, 105_000),)
    assert all(a.result is None for a in answers[6:])  # how far it has come is no news
    (shown,) = answers[-1].ranges
    assert (shown.entry, shown.begin_ms, shown.end_ms, shown.hit_count) == (match.entry.name, 20_000, 39_000, 20)
    assert shown.video is not None
    assert shown.video.ranges == (TimeRange(20_000, 39_000, 100_000, 119_000),)
    assert (shown.video.query_share, shown.video.entry_share) == (50.0, 6.7)
    over = watched.play(range(2000, 2003))
    assert verdicts(over) == ["MATCH", "MATCH", "NO_MATCH"]
    (ended,) = over[-1].ranges
    assert (ended.is_ended, ended.end_ms, ended.video) == (True, 39_000, shown.video)


@pytest.mark.parametrize("step", [100, 333, 2_500])
def test_it_is_found_at_any_pace(small: Desk, step: int) -> None:
    watched = Watched(small, step=step)
    answers = watched.play(100 + n * step // 1000 for n in range(20_000 // step))
    assert answers[-1].verdict is Verdict.MATCH
    assert next(a.offset_ms for a in answers if a.verdict is Verdict.MATCH) <= max(5_500, 5 * step)
    (shown,) = answers[-1].ranges
    assert shown.video is not None
    (where,) = shown.video.ranges
    assert where.begin_ms == 0
    assert abs(where.entry_begin_ms - 100_000) <= 1_000
    assert abs((where.entry_end_ms - where.entry_begin_ms) - (where.end_ms - where.begin_ms)) <= 2_000


@pytest.mark.parametrize("pace", [0.95, 1.0, 1.05])
def test_a_video_that_is_a_little_slower_is_one_range(small: Desk, pace: float) -> None:
    watched = Watched(small)
    answers = watched.play(int(n * pace) for n in range(100))
    (shown,) = answers[-1].ranges
    assert shown.video is not None
    (where,) = shown.video.ranges
    assert (where.begin_ms, where.entry_begin_ms) == (0, 0)
    assert where.end_ms >= 97_000


def test_flicker_neither_hides_it_nor_ends_it(small: Desk) -> None:
    watched = Watched(small)
    answers = [watched.see(n if n % 3 else 5_000 + n) for n in range(100, 160)]
    at = next(i for i, a in enumerate(answers) if a.verdict is Verdict.MATCH)
    assert at <= 8
    assert {a.verdict for a in answers[at:]} == {Verdict.MATCH}
    (shown,) = answers[-1].ranges
    assert shown.video is not None
    assert len(shown.video.ranges) == 1


def test_the_policy_tells_a_part_from_a_stream_that_plays_it_all_the_time(small: Desk) -> None:
    """A part is REVIEW by `block`; half a minute of hardly anything else is what a recording's match is."""
    whole, part = Watched(small, policy="any"), Watched(small, policy="any")
    of_whole = whole.play(range(40))
    assert {m.variant for a in of_whole[:30] if a.result for m in a.result.matches} == {"frame"}
    assert of_whole[30].result is not None
    assert of_whole[30].result.matches[0].variant == ""
    # Half of what is shown is something else.
    of_part = part.play(n for second in range(60) for n in (second, 9_000 + second))
    assert {m.variant for a in of_part if a.result for m in a.result.matches} <= {"frame"}
    blocked = Watched(small, policy="block").play(range(29))
    assert set(verdicts(blocked)) == {"NO_MATCH", "REVIEW"}


def test_an_intro_that_many_videos_share_is_never_more_than_a_look(small: Desk) -> None:
    for number in range(5):
        small.contribute("nl/known", listed(number, [*range(700, 708), *range(1000 * number, 1000 * number + 50)]))
    again = Watched(small, policy="block")
    answers = again.play([*range(700, 708), *range(9_000, 9_030)])
    assert set(verdicts(answers)) == {"NO_MATCH", "REVIEW"}
    assert answers[-1].verdict is Verdict.NO_MATCH  # over, 10 seconds after
    # Played over and over it is not one long video.
    loop = Watched(small, policy="any").play(list(range(700, 708)) * 8)
    assert {m.variant for a in loop if a.result for m in a.result.matches} <= {"frame"}


def test_single_frames_and_stills_go_on_with_nothing(small: Desk) -> None:
    small.contribute("nl/known", Record(position="still", frames=video([*[800] * 60, *range(810, 850)])))
    logo = Watched(small).play(n for second in range(40) for n in (800, 6_000 + second))
    still = Watched(small).play([800] * 60)
    order = Random(1).sample(range(300), 60)
    shuffled = Watched(small).play(order)
    for answers in (logo, still, shuffled):
        assert set(verdicts(answers)) == {"NO_MATCH"}
    assert Watched(small).play([*[800] * 3, *range(810, 820)])[-1].verdict is Verdict.MATCH


def test_a_clip_of_a_few_frames_is_found_whole(small: Desk) -> None:
    small.contribute("nl/known", listed(2, [900, 901, 902]))
    watched = Watched(small, policy="block")
    answers = watched.play([*range(4_000, 4_005), 900, 901, 902, *range(5_000, 5_005)])
    assert verdicts(answers) == ["NO_MATCH"] * 8 + ["NO_MATCH"] * 5  # it counted for one frame only
    twice = watched.play([900, 901, 902, 902, *range(5_000, 5_005)])
    assert twice[-1].verdict is Verdict.REVIEW


def test_blank_and_unread_frames_play_nothing(small: Desk) -> None:
    watched = Watched(small)
    assert set(verdicts(watched.play(range(100, 130), quality=20))) == {"NO_MATCH"}


def test_a_benign_part_clears_nothing(desk: Desk) -> None:
    desk.hash_set("nl/fine", purpose=Purpose.BENIGN)
    done = desk.contribute("nl/fine", listed(1, range(100)))
    desk.hub.hash_sets.accept(OPERATOR, "nl", "fine", done.revision)
    assert Verdict.BENIGN not in {a.verdict for a in Watched(desk).play(range(25))}


def test_hidden_videos_leave_no_trace(small: Desk) -> None:
    red = Marking(tlp=TLP.RED, recipients=("contributors/secret",))
    small.hash_set("secret/set", marking=red)
    small.contribute("secret/set", listed(3, range(2_000, 2_100)))
    hidden, nothing = Watched(small), Watched(small)
    for n in range(60):
        assert hidden.see(2_000 + n) == nothing.see(7_000 + n)
    own = Watched(small, who=writer("secret")).play(range(2_000, 2_010))
    assert own[-1].verdict is Verdict.MATCH


def test_that_something_is_known_is_told_once_it_goes_on(small: Desk) -> None:
    red = Marking(tlp=TLP.RED, recipients=("contributors/secret",), disclose_existence=True)
    small.hash_set("secret/set", marking=red)
    small.contribute("secret/set", listed(3, range(2_000, 2_100)))
    answers = Watched(small).play(range(2_000, 2_010))
    assert verdicts(answers) == ["NO_MATCH"] * 5 + ["REVIEW"] * 5
    assert all((a.hit_count, a.ranges) == (0, ()) for a in answers)
    assert answers[5].result is not None
    assert (answers[5].result.withheld, answers[5].result.matches) == (True, ())


def test_a_withdrawn_video_is_played_no_more(known: Desk) -> None:
    watched = Watched(known)
    (shown,) = watched.play(range(100, 110))[-1].ranges
    contributor, set_id, entry_id = shown.entry.split("/")
    entry = known.hub.entries.withdraw(
        writer("nl"), contributor, set_id, int(entry_id), WithdrawalReason.ERROR, "an error"
    )
    assert entry.state is EntryState.WITHDRAWN
    answer = watched.stream.look_again(PLATFORM)
    assert answer is not None
    assert (answer.verdict, answer.ranges) == (Verdict.NO_MATCH, ())
    assert set(verdicts(watched.play(range(110, 120)))) == {"NO_MATCH"}


def test_a_video_that_is_listed_meanwhile_is_found(small: Desk) -> None:
    watched = Watched(small)
    watched.play(range(3_000, 3_010))
    small.contribute("nl/known", listed(9, range(3_000, 3_100)))
    answers = watched.play(range(3_010, 3_016))
    assert answers[-1].verdict is Verdict.MATCH


def test_a_flood_of_videos_is_bounded_never_clean_and_pushes_nobody_out(
    small: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    small.hash_set("flood/set", purpose=Purpose.TEST)
    copies = [
        Record(position=f"line {n}", external_id=f"f{n}", frames=(*video(range(100, 200)), *_tail(n)))
        for n in range(playback.COMPARED + 10)
    ]
    small.contribute("flood/set", *copies)
    watched = Watched(small, policy="block")
    answers = watched.play(range(100, 115))
    assert answers[-1].hit_count == playback.COMPARED
    assert any(r.entry.startswith("nl/known") for r in answers[-1].ranges)
    assert watched.stream.sent is not None
    assert watched.stream.sent.truncated
    # Where even the entries that share the frames are too many to read.
    monkeypatch.setattr(playback, "MOST_OF_DIGEST", 3)
    cut = Watched(small, policy="block").play(range(100, 115))
    assert cut[-1].verdict is Verdict.REVIEW


def _tail(n: int) -> tuple[VideoFrame, ...]:
    return video([20_000 + n], begin=100_000)


def test_a_title_that_thousands_share_is_no_reason_to_look(small: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(playback, "MOST_OF_DIGEST", 3)
    for n in range(6):
        small.contribute("nl/known", listed(n, [600, 600, *range(30_000 + 100 * n, 30_020 + 100 * n)]))
    answers = Watched(small).play([600, 600, 600, *range(8_000, 8_010)])
    assert set(verdicts(answers)) == {"NO_MATCH"}


def test_memory_and_work_are_bounded_for_hours(small: Desk) -> None:
    watched = Watched(small, step=500)
    window = watched.stream.window
    compared: list[int] = []
    play = window._visible._play

    def counted(*args: Any, **named: Any) -> Any:
        compared.append(1)
        return play(*args, **named)

    window._visible._play = counted  # type: ignore[method-assign]
    for n in range(200):
        watched.see(n // 2)
    assert len(window._frames) <= 60_000 // 500 + 2
    assert len(window._visible._of) <= len(window._frames)
    assert len(window._visible._reached) == 1
    assert len(compared) <= 2 * 200
    for n in range(130):
        watched.see(40_000 + n)
    assert not window._visible._of
    assert not window._visible._reached


def test_frames_that_are_near_nothing_touch_no_database(small: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(small)

    def never(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(small.hub.store.entries, "entries_sharing_frames", never)
    monkeypatch.setattr(small.hub.store.resources, "registry", never)
    assert watched.play(range(50_000, 50_010))[-1].verdict is Verdict.NO_MATCH
