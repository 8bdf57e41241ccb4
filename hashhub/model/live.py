"""Live streams: what is watched for, and what is answered."""

from __future__ import annotations

from typing import Final

import msgspec

from hashhub.errors import Violation
from hashhub.model.checks import refuse, wrong_in_text
from hashhub.model.matching import MatchOptions, MatchResult, ReasonLine, Verdict, VideoMatch

MAX_ENTER_FRAMES: Final = 60  # of a live stream: a minute at one frame a second
MAX_LIVE_RATE: Final = 60  # frames a second that a live stream may announce
MAX_LIVE_PICTURE: Final = 4 * 1024 * 1024  # bytes of one frame: a 1080p JPEG has some 500 KB


class Hysteresis(msgspec.Struct, frozen=True, kw_only=True):
    """When a live stream counts as showing an entry, and when not any more.

    Attributes:
        enter_hits: It does once so many of the last `enter_frames` frames have hit the entry. Likewise at once when a
            frame of quality is the listed picture itself: the same file, or PDQ distance 0.
        enter_frames: 1 to MAX_ENTER_FRAMES.
        leave_ms: It does no more after so many milliseconds of frames that were looked for and did not hit it.
        unread_frames: After so many frames in a row that could not be looked for, a stream is not clean any more: its
            verdict is UNAVAILABLE, unless it is MATCH or REVIEW.
    """

    enter_hits: int = 2
    enter_frames: int = 3
    leave_ms: int = 10_000
    unread_frames: int = 5

    def __post_init__(self) -> None:
        """Raise InvalidArgument for a value out of its bounds."""
        bounds = (
            ("enter_frames", 1, MAX_ENTER_FRAMES),
            ("enter_hits", 1, max(1, self.enter_frames)),
            ("leave_ms", 1, 600_000),
            ("unread_frames", 1, 1_000),
        )
        wrong = [
            Violation(name, f"must be {least} to {most}, got {value}", "OUT_OF_RANGE")
            for name, least, most in bounds
            if not least <= (value := getattr(self, name)) <= most
        ]
        if wrong:
            refuse("hysteresis", wrong)


class LiveOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How to watch a live stream.

    `frames_per_second`: how many frames the caller means to send; a gap between two frames counts as watched for as
    long as two of them take, and no longer. `changes_only`: answer when the verdict or the matches change, and every
    10 seconds, instead of to each frame.
    """

    match: MatchOptions
    label: str = ""
    frames_per_second: float = 1.0
    hysteresis: Hysteresis = Hysteresis()
    changes_only: bool = False

    def __post_init__(self) -> None:
        """Raise InvalidArgument for a value out of its bounds."""
        wrong = wrong_in_text("label", self.label, required=False)
        if not 0 < self.frames_per_second <= MAX_LIVE_RATE:
            text = f"must be above 0 and at most {MAX_LIVE_RATE}, got {self.frames_per_second:g}"
            wrong.append(Violation("frames_per_second", text, "OUT_OF_RANGE"))
        if wrong:
            refuse("live options", wrong)


class LivePicture(msgspec.Struct, frozen=True):
    """A frame of a live stream as a picture file, for the hub to hash: its time from the start, and its bytes."""

    offset_ms: int
    content: bytes


class LiveRange(msgspec.Struct, frozen=True, kw_only=True):
    """When a live stream showed an entry: the times of the first and the last frame that hit it, in milliseconds, and
    how many did. `is_ended`: it counts as shown no more.

    `video`: of an entry that the stream plays as a video; the shares are of the last minute, the ranges the newest.
    """

    entry: str
    begin_ms: int
    end_ms: int
    hit_count: int
    is_ended: bool = False
    video: VideoMatch | None = None


class LiveAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What a live stream shows now.

    Attributes:
        offset_ms: Of the frame that the answer is about.
        verdict: The policy's, about all that is shown now; UNAVAILABLE while the frames cannot be looked for.
        result: The same with its reasons and matches, if it differs from the last answer's.
        ranges: Of each entry that is shown and may be seen, and once of each that is shown no more.
        hit_count: Entries that this frame hit, whether they count as shown or not.
        quality: PDQ's, of this frame; None if it was not hashed.
        unread: Why this frame was not looked for; None if it was.
        frames_hashed: Frames that were looked for so far.
        frames_unread: Frames that could not be looked for so far.
        frames_skipped: Frames that were left out so far, because newer ones were there and there was no time for all.
        policy: The policy applied, NAME@VERSION.
        revision: The hub's, of which the verdict is true.
    """

    offset_ms: int
    verdict: Verdict
    result: MatchResult | None = None
    ranges: tuple[LiveRange, ...] = ()
    hit_count: int = 0
    quality: int | None = None
    unread: ReasonLine | None = None
    frames_hashed: int = 0
    frames_unread: int = 0
    frames_skipped: int = 0
    policy: str = ""
    revision: int = 0
