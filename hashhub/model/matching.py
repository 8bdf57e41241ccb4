"""Questions who knows a file or what a live stream shows, and their answers."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec

from hashhub.errors import Violation
from hashhub.hashes import Hash
from hashhub.model.entries import Entry, ReviewKind, VideoFrame
from hashhub.model.resources import Effort, Marking, refuse, wrong_in_text

MAX_HASHES_PER_QUERY: Final = 2560  # 32 frames with all variants, and 16 crops each, have fewer (hashing.variants)
MAX_QUERIES: Final = 1000  # in one call
MAX_MEDIA: Final = 100  # files in one call
MAX_VARIANTS: Final = 32  # of one query
MAX_ENTER_FRAMES: Final = 60  # of a live stream: a minute at one frame a second
MAX_LIVE_RATE: Final = 60  # frames a second that a live stream may announce
MAX_LIVE_PICTURE: Final = 4 * 1024 * 1024  # bytes of one frame: a 1080p JPEG has some 500 KB


class Verdict(StrEnum):
    """A policy's answer about one query.

    UNAVAILABLE means that the question could not be answered; a caller must never treat it as NO_MATCH.
    """

    MATCH = "MATCH"
    REVIEW = "REVIEW"
    BENIGN = "BENIGN"
    NO_MATCH = "NO_MATCH"
    UNAVAILABLE = "UNAVAILABLE"


READINGS: Final = frozenset({"as-stored", "without-alpha", "grey-clipped"})
"""Variants that are the upload as it was sent, read as reference tools read such a file: not turned as its EXIF
orientation says or by the numbers of its palette (`as-stored`), its transparency left out, its 16-bit grey clipped. A
list made with those tools holds exactly these hashes of the file, so a hit by one of them is a hit by the upload
itself. See docs/match/media.md."""
TURNS: Final = frozenset(
    {"flip-left-right", "flip-top-bottom", "rotate-90", "rotate-180", "rotate-270", "transpose", "transverse"}
)
"""Variants that are the upload, mirrored or rotated by quarters."""
VARIANTS: Final = (
    READINGS
    | TURNS
    | {
        "turned-box",
        "border-removed",
        "content-box",
        "crop",
        "mirror-pad",
        "frame",
    }
)
"""All variants that hashhub makes; `frame` is a picture of a video. Callers may make others."""


class VariantHashes(msgspec.Struct, frozen=True):
    """The hashes of a picture derived from an upload, by `variant`. `frames`: of a video derived so."""

    variant: str
    hashes: tuple[Hash, ...]
    frames: tuple[VideoFrame, ...] = ()


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """One item to match by any of its hashes. `label` is the caller's own and comes back. `variants`: hashes of what
    was derived from the upload, told apart. `frames`: of a video, by time.
    """

    hashes: tuple[Hash, ...]
    label: str = ""
    variants: tuple[VariantHashes, ...] = ()
    frames: tuple[VideoFrame, ...] = ()


class MatchOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How to search and judge.

    `policy` has no default: which statements suffice is a safety decision. `max_distances` maps an algorithm to an
    inclusive distance in its metric's unit; algorithms that it lacks use their default, and PHOTODNA has none. VPDQ
    stands for the frames of videos: where it is named, pictures are looked for among them, too.
    `effort` is for media that the hub hashes.
    """

    policy: str
    max_distances: dict[str, int] = {}
    match_limit: int = 100
    effort: Effort = Effort.STANDARD


class ReasonLine(msgspec.Struct, frozen=True, kw_only=True):
    """Why a verdict: a stable code, the policy's clause, a sentence, and the names of the entries concerned."""

    code: str
    clause: str = ""
    text: str = ""
    entries: tuple[str, ...] = ()


class TimeRange(msgspec.Struct, frozen=True, array_like=True):
    """A stretch that two videos share, in milliseconds of each; it ends with the last frames that match."""

    begin_ms: int
    end_ms: int
    entry_begin_ms: int
    entry_end_ms: int


class VideoMatch(msgspec.Struct, frozen=True, kw_only=True):
    """How far two videos agree. `query_share`, `entry_share`: of the distinct frames of quality that each has, those
    that the other has, in percent. `ranges`: where, of the nearest entries; of a picture's entry where the query shows
    it.
    """

    query_share: float
    entry_share: float
    ranges: tuple[TimeRange, ...] = ()


class EntryMatch(msgspec.Struct, frozen=True, kw_only=True):
    """An entry that was found: by which algorithm, at which distance, from which of the query's digests. `variant`: of
    the upload; empty: as it was sent. `video`: of a hit by frames, of which `distance` is the least.
    """

    entry: Entry
    algorithm: str
    distance: int
    query_digest: bytes
    reviews: dict[ReviewKind, int] = {}
    marking: Marking = Marking()
    variant: str = ""
    video: VideoMatch | None = None


class MatchResult(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to one query. `matches` is in order of distance; `truncated` and `withheld` say what it lacks."""

    verdict: Verdict
    reasons: tuple[ReasonLine, ...] = ()
    matches: tuple[EntryMatch, ...] = ()
    label: str = ""
    truncated: bool = False
    withheld: bool = False


class Coverage(msgspec.Struct, frozen=True, kw_only=True):
    """What was looked for of one file, and what was not.

    Attributes:
        algorithms: By which hash algorithms, in the order of the registry.
        effort: What was asked for, or what the caller's token may have if that is less.
        variants: Which variants of the upload were looked for, each named once.
        frame_count: Frames or pages of the file; 0: it was not decoded.
        frames_hashed: How many of them were hashed and looked for, or equal one that was.
        gaps: What was not looked for and why: EXACT_ONLY, LOW_QUALITY, FRAMES_SKIPPED and so on. Empty: all that was
            asked for was done.
        unsearched: Which altered copies were not looked for, whatever was asked for, in words.
    """

    algorithms: tuple[str, ...] = ()
    effort: Effort = Effort.PLAIN
    variants: tuple[str, ...] = ()
    frame_count: int = 0
    frames_hashed: int = 0
    gaps: tuple[ReasonLine, ...] = ()
    unsearched: tuple[str, ...] = ()


class MediaResult(msgspec.Struct, frozen=True, kw_only=True):
    """The answer about one media file, what was computed, what was looked for. `media_type`: empty if not decoded."""

    result: MatchResult
    hashes: tuple[Hash, ...] = ()
    quality: int | None = None
    media_type: str = ""
    coverage: Coverage = Coverage()


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
    """How to watch a live stream. `frames_per_second`: as the caller means to send; a longer gap than two of them was
    not watched. `changes_only`: answer when the verdict or the matches change, and every 10 seconds.
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
    how many did. `is_ended`: no more. `video`: of one played as a video; shares of the last minute, the newest ranges.
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
