"""What was looked for of a file, by which software, and what was not: said alike by whoever hashes and matches."""

from __future__ import annotations

from contextlib import suppress
from importlib import metadata
from typing import TYPE_CHECKING, Final

import msgspec

from hashhub import __version__
from hashhub.hashes import ALGORITHMS
from hashhub.hygiene import MIN_PDQ_QUALITY
from hashhub.model import Coverage, Effort, MatchResult, Query, ReasonLine
from hashhub.trust import AS_THEY_ARE, ReasonCode

if TYPE_CHECKING:
    from collections.abc import Collection

    from hashhub.hashing.media import MediaHashes

_EFFORTS: Final = tuple(Effort)  # the least first
EXACT_UNSEARCHED: Final = ("copies that differ from a listed file in anything",)
"""Which copies were not looked for where there are exact digests at most."""
_TURNED: Final = "mirrored or turned copies"
_FRAMED: Final = "copies in a border, on a screen or under a caption"
_CUT: Final = "cut copies, and whole ones of what is listed cut"
_IN_FRAMES: Final = "mirrored or turned copies, and copies in a part of the frames, such as a screen that plays them"
_EXCERPTS: Final = "excerpts of less than four seconds"
_NEVER: Final = "copies that are tilted, distorted, cut by a tenth or more, in a collage, or a photograph of a screen"
"""What no effort looks for."""


def unsearched(effort: Effort, *, is_video: bool = False) -> tuple[str, ...]:
    """Return which altered copies of a picture, or of a video, are not looked for with an effort, in words."""
    if is_video:
        return (_IN_FRAMES, _EXCERPTS, _NEVER)
    by_effort = {Effort.PLAIN: (_TURNED, _FRAMED, _CUT), Effort.STANDARD: (_CUT,), Effort.THOROUGH: ()}
    return (*by_effort[effort], _NEVER)


def coverage(
    media: MediaHashes,
    effort: Effort,
    *,
    asked: Effort | None = None,
    query: Query | None = None,
) -> Coverage:
    """Return what is looked for when the file's query is matched. `effort`: with which it was hashed; `asked`: that was
    asked for. `query`: the file's, where the caller has it.
    """
    query = query or media.query()
    used = {h.algorithm for h in query.hashes}
    for variant in query.variants:
        used.update([h.algorithm for h in variant.hashes])
    if query.frames:
        used.add("PDQ")
    gaps = [] if asked is None else [*effort_reduced(effort, asked)]
    quality = best_quality(media)
    if quality is not None and quality < MIN_PDQ_QUALITY:
        text = (
            f"PDQ quality {quality} is below {MIN_PDQ_QUALITY}: a blank or nearly blank picture; near matches say "
            "little about it"
        )
        gaps.append(ReasonLine(code=ReasonCode.LOW_QUALITY.value, text=text))
    if media.not_perceptual:
        text = f"only identical files were looked for: {media.not_perceptual}"
        gaps.append(ReasonLine(code=ReasonCode.EXACT_ONLY.value, text=text))
    elif media.frames_hashed < media.frame_count and not (media.video_frames and media.skipped):
        text = f"{media.frames_hashed} of {media.frame_count} frames were hashed; the others were not looked for"
        gaps.append(ReasonLine(code=ReasonCode.FRAMES_SKIPPED.value, text=text))
    if media.skipped:
        gaps.append(ReasonLine(code=ReasonCode.FRAMES_SKIPPED.value, text=media.skipped))
    if media.variants_skipped:
        gaps.append(ReasonLine(code=ReasonCode.VARIANTS_SKIPPED.value, text=media.variants_skipped))
    if media.video_frames:
        gaps.append(AS_THEY_ARE)
    return Coverage(
        algorithms=_in_order(used),
        effort=effort,
        variants=tuple([variant.variant for variant in query.variants]),
        frame_count=media.frame_count,
        frames_hashed=media.frames_hashed,
        gaps=tuple(gaps),
        unsearched=unsearched(effort, is_video=True)
        if media.video_frames
        else EXACT_UNSEARCHED
        if media.not_perceptual
        else unsearched(effort),
    )


def _in_order(used: Collection[str]) -> tuple[str, ...]:
    return tuple(name for name in ALGORITHMS if name in used)


def nothing_looked_for(reason: ReasonLine, effort: Effort, *, asked: Effort | None = None) -> Coverage:
    """Return the coverage of a file that could not be hashed, for this reason."""
    reduced = [] if asked is None else effort_reduced(effort, asked)
    return Coverage(effort=effort, gaps=(*reduced, reason), unsearched=EXACT_UNSEARCHED)


def remarked(result: MatchResult, covered: Coverage) -> MatchResult:
    """Return the answer with what was not looked for, so that NO_MATCH never stands alone where a gap is."""
    told = {reason.code for reason in result.reasons}
    return msgspec.structs.replace(
        result, reasons=(*result.reasons, *(gap for gap in covered.gaps if gap.code not in told))
    )


def best_quality(media: MediaHashes) -> int | None:
    """Return the PDQ quality of the best frame, 0 to 100; None without one."""
    qualities = [frame.quality for frame in media.frames if frame.quality is not None]
    if media.video_frames:
        qualities += [frame.quality for frame in media.video_frames]
    return max(qualities, default=None)


def least(*efforts: Effort) -> Effort:
    """Return the least of these efforts."""
    return min(efforts, key=_EFFORTS.index)


def effort_reduced(effort: Effort, asked: Effort) -> list[ReasonLine]:
    """Return the line that says that less was looked for than was asked for; none where that is not so."""
    if least(effort, asked) is asked:
        return []
    text = f"effort {asked.lower()} was asked for, and this token may have {effort.lower()} at most"
    return [ReasonLine(code=ReasonCode.EFFORT_REDUCED.value, text=text)]


_LIBRARIES: Final = ("pillow", "pillow-heif", "av", "imagehash")  # what can be hashed, and to what, depends on them


def software() -> str:
    """Return what hashes here, by name and version: of two runs with the same, a file has the same hashes."""
    versions = [f"hashhub {__version__}"]
    for name in _LIBRARIES:
        with suppress(metadata.PackageNotFoundError):
            versions.append(f"{name} {metadata.version(name)}")
    return ", ".join(versions)
