"""A real video, altered in five ways, is found among others, and where."""

from __future__ import annotations

import pytest

from hashhub.hashing import hash_media
from hashhub.model import MatchOptions, Query, Record, Verdict, VideoFrame
from hashhub.testing.videos import ALTERATIONS, Clip, clip, encoded
from tests.hub.conftest import PLATFORM, Desk


def frames_of(video: Clip, container: str = "mp4") -> tuple[VideoFrame, ...]:
    frames: tuple[VideoFrame, ...] = hash_media(encoded(video, container)).video_frames
    assert len(frames) > 5
    return frames


@pytest.fixture(scope="module")
def original() -> Clip:
    return clip(7, seconds=12, size=(160, 120))


def test_altered_videos_are_found_where_they_agree(desk: Desk, original: Clip) -> None:
    desk.hash_set("nl/known")
    desk.contribute(
        "nl/known",
        Record(position="this", frames=frames_of(original)),
        Record(position="another", frames=frames_of(clip(8, seconds=12, size=(160, 120)))),
    )
    stretches = {}
    for name, alter in ALTERATIONS.items():
        query = Query(hashes=(), frames=frames_of(alter(original)))
        result = desk.hub.match.hashes(PLATFORM, [query], MatchOptions(policy="any"))[0][0]
        (match,) = [m for m in result.matches if m.algorithm == "VPDQ"]
        assert result.verdict is Verdict.MATCH, name
        assert match.entry.provenance.position == "this", name
        assert match.video is not None
        stretches[name] = match.video.ranges
    for name in ("recompressed", "scaled", "slower"):
        (whole,) = stretches[name]
        assert whole.begin_ms <= 1000, name
        assert whole.end_ms >= 10_000, name
    # Within other material of half its length on either side.
    (within,) = stretches["inserted"]
    assert abs(within.begin_ms - 6_000) <= 1_500
    assert abs(within.entry_begin_ms) <= 1_500
    (cut,) = stretches["trimmed"]
    assert cut.entry_begin_ms > cut.begin_ms
