"""vPDQ's text forms: what is written is read again, what others write is read, and what is damaged is named."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashhub import vpdq
from hashhub.errors import MalformedSource
from hashhub.model import VideoFrame
from hashhub.vpdq import FrameFormat

DIGEST = "f0e1d2c3b4a5968778695a4b3c2d1e0f" * 2
FRAME = VideoFrame(0, 100, bytes.fromhex(DIGEST))


def line(number: int = 0, quality: object = 100, digest: str = DIGEST, seconds: str = "0.000") -> str:
    return f"{number},{quality},{digest},{seconds}"


def videos() -> st.SearchStrategy[tuple[VideoFrame, ...]]:
    frame = st.builds(
        VideoFrame, st.integers(0, vpdq.MAX_OFFSET_MS), st.integers(0, 100), st.binary(min_size=32, max_size=32)
    )
    return st.lists(frame, min_size=1, max_size=20).map(lambda f: tuple(sorted(f, key=lambda one: one.offset_ms)))


class TestRoundTrip:
    @given(videos(), st.sampled_from(FrameFormat))
    def test_what_is_written_is_read_again(self, frames: tuple[VideoFrame, ...], form: FrameFormat) -> None:
        assert vpdq.parse(vpdq.render(frames, form)) == frames

    def test_lines_are_those_of_the_reference(self) -> None:
        frames = (FRAME, VideoFrame(59_967, 7, FRAME.digest), VideoFrame(1_234_567, 0, FRAME.digest))
        assert vpdq.render(frames) == (
            f"0,100,{DIGEST},0.000\n1,7,{DIGEST},59.967\n2,0,{DIGEST},1234.567\n"
        )  # outputVPDQFeatureToFile: std::fixed, three places

    def test_the_array_is_that_of_threatexchange(self) -> None:
        assert json.loads(vpdq.render((FRAME, VideoFrame(2500, 3, FRAME.digest)), FrameFormat.ARRAY)) == [
            f"{DIGEST},100,0.000",
            f"{DIGEST},3,2.500",
        ]


class TestForeignTexts:
    @pytest.mark.parametrize(
        "text",
        [
            line(),
            line() + "\r\n",
            f"\ufeff\n{line()}\n\n",
            f"frame_number,quality,hash,timestamp\n{line()}\n",
            line(digest=DIGEST.upper()),
            line(seconds="0"),
            json.dumps([f"{DIGEST},100,0.0"], indent=2),
            json.dumps({"0": {"quality": 100, "hash": DIGEST, "timestamp": 0.0}}),
        ],
    )
    def test_every_spelling_of_a_frame_is_read(self, text: str) -> None:
        assert vpdq.parse(text) == (FRAME,)

    def test_times_of_three_significant_digits_are_read_as_numbers(self) -> None:
        """ThreatExchange's `f"{1234.567:.3}"`: frames of a long video share a time."""
        array = json.dumps([f"{DIGEST},100,{seconds:.3}" for seconds in (9.967, 59.967, 1234.567, 1234.6)])
        assert [frame.offset_ms for frame in vpdq.parse(array)] == [9970, 60_000, 1_230_000, 1_230_000]

    def test_the_earlier_object_is_in_the_order_of_its_numbers(self) -> None:
        frames = {
            str(n): {"quality": n, "hash": DIGEST, "timestamp": n / 10}
            for n in (10, 9, 2)  # as text, "10" goes before "2"
        }
        assert [frame.quality for frame in vpdq.parse(json.dumps(frames))] == [2, 9, 10]

    def test_frames_that_were_left_out_leave_gaps_in_the_numbers(self) -> None:
        assert len(vpdq.parse(f"{line(0)}\n{line(30, seconds='1.0')}\n{line(59, seconds='1.9')}")) == 3


class TestDamage:
    @pytest.mark.parametrize(
        ("text", "position"),
        [
            ("", "line 1"),
            ("\n\n", "line 1"),
            ("frame_number,quality,hash,timestamp\n", "line 1"),
            ("[]", "line 1"),
            ("{}", "line 1"),
            ('["' + DIGEST + ',100,0.0"', "line 1"),
            ("[" * 100_000, "line 1"),
            ("[1]", "value[0]"),
            (json.dumps([f"{DIGEST},100,0.0", f"{DIGEST},100"]), "value[1]"),
            (json.dumps({"one": {}}), "value['one']"),
            (json.dumps({"1": DIGEST}), "value['1']"),
            (json.dumps({"1": {"quality": 100, "timestamp": 0}}), "value['1']"),
            (json.dumps({"1": {"quality": True, "hash": DIGEST, "timestamp": 0}}), "value['1']"),
            (f"{line()}\n\n{line(1)[:-30]}", "line 3"),
            (line(digest=DIGEST[:-1]), "line 1"),
            (line(digest=DIGEST[:-1] + "g"), "line 1"),
            (line(quality=101), "line 1"),
            (line(quality=-1), "line 1"),
            (line(quality="٣"), "line 1"),
            (line(quality="1.0"), "line 1"),
            (line(-1), "line 1"),
            (line(seconds="nan"), "line 1"),
            (line(seconds="inf"), "line 1"),
            (line(seconds="1e999"), "line 1"),
            (line(seconds="-1"), "line 1"),
            (line(seconds=""), "line 1"),
            (line(seconds="99999999"), "line 1"),
            (f"{line()}\nframe_number,quality,hash,timestamp", "line 2"),
            (f"{line(0, seconds='2')}\n{line(1, seconds='1.999')}", "line 2"),  # times go back
            (f"{line(0)}\n{line(0)}", "line 2"),  # two videos in one text
        ],
    )
    def test_it_is_named_by_its_place(self, text: str, position: str) -> None:
        with pytest.raises(MalformedSource) as caught:
            vpdq.parse(text)
        assert caught.value.position == position
        assert DIGEST not in caught.value.message

    @given(st.text(max_size=200))
    def test_any_text_is_read_or_refused(self, text: str) -> None:
        with contextlib.suppress(MalformedSource):
            assert vpdq.parse(text)

    def test_frames_are_bounded(self) -> None:
        text = "\n".join(line(n) for n in range(4))
        assert len(vpdq.parse(text, most=4)) == 4
        with pytest.raises(MalformedSource, match="more than 3 frames") as caught:
            vpdq.parse(text, most=3)
        assert caught.value.position == "line 4"
