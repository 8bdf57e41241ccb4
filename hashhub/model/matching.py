"""Questions who knows a file, and their answers."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec

from hashhub.hashes import Hash
from hashhub.model.entries import Entry, ReviewKind, VideoFrame
from hashhub.model.hash_sets import Marking

MAX_HASHES_PER_QUERY: Final = 2560  # 32 frames with all variants, and 16 crops each, have fewer (hashing.variants)
MAX_QUERIES: Final = 1000  # in one call
MAX_MEDIA: Final = 100  # files in one call
MAX_VARIANTS: Final = 32  # of one query


class Verdict(StrEnum):
    """A policy's answer about one query.

    UNAVAILABLE means that the question could not be answered; a caller must never treat it as NO_MATCH.
    """

    MATCH = "MATCH"
    REVIEW = "REVIEW"
    BENIGN = "BENIGN"
    NO_MATCH = "NO_MATCH"
    UNAVAILABLE = "UNAVAILABLE"


class Effort(StrEnum):
    """Which variants of an upload are looked for besides the upload as it was sent."""

    PLAIN = "PLAIN"  # none
    STANDARD = "STANDARD"  # how reference tools read the file (READINGS); TURNS; its border removed, its content box
    THOROUGH = "THOROUGH"  # if nothing is known of those: crops, too; turns by every algorithm


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
    """The hashes of a further picture that was derived from an upload.

    `variant`: how, as a policy's `variants` names it: a-z, 0-9 and -. `frames`: of a video that was derived so.
    """

    variant: str
    hashes: tuple[Hash, ...]
    frames: tuple[VideoFrame, ...] = ()


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """One item to match. Its hashes are alternatives: each is searched. `label` is the caller's own and comes back.

    `variants`: hashes of what was derived from the upload; searched as well, and told apart. `frames`: of a video, in
    the order of their times.
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
    """A stretch of the query's video that an entry's video has as well, in milliseconds from the start of each. Ends
    are the times of the last frames that match.
    """

    begin_ms: int
    end_ms: int
    entry_begin_ms: int
    entry_end_ms: int


class VideoMatch(msgspec.Struct, frozen=True, kw_only=True):
    """How far two videos agree, frame by frame.

    `query_share`, `entry_share`: of the distinct frames of quality that each has, those that the other has as well, in
    percent. `ranges`: where, of the nearest entries; of a still picture's entry where the query shows it.
    """

    query_share: float
    entry_share: float
    ranges: tuple[TimeRange, ...] = ()


class EntryMatch(msgspec.Struct, frozen=True, kw_only=True):
    """An entry that was found: by which algorithm, at which distance, from which of the query's digests.

    `variant`: of the upload, whose digest that is; empty: the upload as it was sent. `video`: of a hit by frames, of
    which `distance` is that of the nearest.
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
    """The answer about one media file, what was computed from it, and what was looked for. `media_type` is empty when
    it was not decoded.
    """

    result: MatchResult
    hashes: tuple[Hash, ...] = ()
    quality: int | None = None
    media_type: str = ""
    coverage: Coverage = Coverage()
