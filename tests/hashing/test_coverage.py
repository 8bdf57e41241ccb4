"""What was looked for of a file, and what was not."""

from __future__ import annotations

import io

import pytest
from msgspec.structs import replace

from hashhub.hashing import MediaHashes, hash_media
from hashhub.hashing.coverage import coverage
from hashhub.model import MAX_HASHES_PER_QUERY, Effort, ReasonLine, VideoFrame
from hashhub.testing.pictures import picture
from hashhub.trust import AS_THEY_ARE


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
    assert covered.gaps == (*(ReasonLine(code="FRAMES_SKIPPED", text=text) for text in told), AS_THEY_ARE)


def told(media: MediaHashes, effort: Effort) -> list[str | None]:
    covered = coverage(media, effort)
    assert {gap.code for gap in covered.gaps} <= {"VARIANTS_SKIPPED"}
    return [gap.text for gap in covered.gaps]


@pytest.mark.parametrize(
    ("frames", "text"),
    [
        (1, None),
        (4, None),
        (5, "only 102 of 112 crops of each frame were looked for: 5 frames share"),
        (32, "only 16 of 112 crops of each frame were looked for: 32 frames share"),
    ],
)
def test_crops_that_a_picture_of_several_frames_has_no_room_for_are_told(frames: int, text: str | None) -> None:
    pages = [picture(seed, (64, 48)) for seed in range(frames)]
    file = io.BytesIO()
    pages[0].save(file, "TIFF", save_all=True, append_images=pages[1:])
    for effort in Effort:
        media = hash_media(file.getvalue(), effort=effort)
        query = media.query()
        assert len(query.hashes) + sum(len(v.hashes) for v in query.variants) <= MAX_HASHES_PER_QUERY
        lines = told(media, effort)
        if effort is Effort.THOROUGH and text:
            assert [line and line.startswith(text) for line in lines] == [True]
        else:
            assert lines == []


def test_crops_without_the_algorithm_that_hashes_them_are_told() -> None:
    file = io.BytesIO()
    picture(1, (64, 48)).save(file, "PNG")
    for effort in Effort:
        media = hash_media(file.getvalue(), algorithms=["PHASH"], effort=effort)
        assert bool(told(media, effort)) is (effort is Effort.THOROUGH)


def test_variants_that_are_looked_for_in_pictures_alone_are_told_of_a_video() -> None:
    video = replace(
        hash_media(b"text"), not_perceptual=None, video_frames=(VideoFrame(0, 100, b"1" * 32),), frame_count=1,
        frames_hashed=1,
    )  # fmt: skip
    for effort in Effort:
        assert told(video, effort) == [AS_THEY_ARE.text]


def test_what_is_asked_about_a_picture_has_each_hash_once_in_order() -> None:
    """Also of one frame without variants, which is read in fewer steps."""
    out = io.BytesIO()
    picture(1, (64, 48)).save(out, "PNG")
    for effort in (Effort.PLAIN, Effort.THOROUGH):
        media = hash_media(out.getvalue(), effort=effort)
        query = media.query("label")
        [frame] = media.frames
        assert query.hashes == tuple(dict.fromkeys((*media.digests, *frame.hashes)))
        twice = replace(media, frames=(frame, replace(frame, variants=())), frame_count=2, frames_hashed=2)
        assert twice.query("label") == query
        assert coverage(twice, effort).algorithms == coverage(media, effort).algorithms
