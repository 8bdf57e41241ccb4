"""A video is read whatever its metadata are made of, and by each PyAV that may be installed."""

from __future__ import annotations

import io

import pytest

from hashhub.hashing import hash_media
from hashhub.testing.videos import clip, encoded

av = pytest.importorskip("av")

TITLE = b"a-title"


def titled(data: bytes) -> bytes:
    """Return the video with a title."""
    out = io.BytesIO()
    with av.open(io.BytesIO(data)) as source, av.open(out, "w", format="mp4") as target:
        target.metadata["title"] = TITLE.decode()
        (video,) = source.streams.video
        stream = target.add_stream_from_template(video)
        for packet in source.demux(video):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    return out.getvalue()


def test_a_title_that_is_not_utf_8_changes_no_frame() -> None:
    data = titled(encoded(clip(1, seconds=3.0)))
    assert TITLE in data
    hashes = hash_media(data)
    assert hashes.video_frames
    assert hash_media(data.replace(TITLE, b"\xff\xfe\xfd-\xe9\xe9\xe9")).video_frames == hashes.video_frames
