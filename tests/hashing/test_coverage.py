"""What was looked for of a file, and what was not."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from hashhub.hashing import hash_media
from hashhub.hashing.coverage import coverage
from hashhub.model import Effort, VideoFrame


@pytest.mark.parametrize(
    ("hashed", "skipped", "told"),
    [
        (2, None, []),
        (1, None, ["1 of 2 frames were hashed; the others were not looked for"]),
        (1, "only key frames were looked at", ["only key frames were looked at"]),
        (2, "the second of two videos was not looked at", ["the second of two videos was not looked at"]),
    ],
)
def test_what_was_skipped_of_a_video_is_told(hashed: int, skipped: str | None, told: list[str]) -> None:
    frame = VideoFrame(0, 100, b"1" * 32)
    video = replace(
        hash_media(b"text"),
        not_perceptual=None,
        video_frames=(frame,),
        frame_count=2,
        frames_hashed=hashed,
        skipped=skipped,
    )
    covered = coverage(video, Effort.PLAIN)
    assert [(gap.code, gap.text) for gap in covered.gaps] == [("FRAMES_SKIPPED", text) for text in told]
