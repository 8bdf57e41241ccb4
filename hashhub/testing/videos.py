"""Synthetic videos, and what everyday handling does to them.

A clip is a sequence of scenes. Each is a picture of `hashhub.testing.pictures` that the camera pans over, so that
frames of a scene are alike and those of two scenes are not. Needs `pip install 'hashhub[video]'`.

    video = clip(7, seconds=12)                       scenes, as frames
    encoded(video, "mp4")                             the bytes of a file
    ALTERATIONS["trimmed"](video)                     the frames of another clip
    encoded(ALTERATIONS["scaled"](video), "webm")

Frames are deterministic for a seed; the bytes of a file depend on the release of the encoder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from hashhub.testing.pictures import picture

Frame: TypeAlias = npt.NDArray[np.uint8]
"""RGB, uint8[height, width, 3]."""

_SCENE_SECONDS: Final = 3.0
_PAN: Final = 8  # a scene's picture is wider and higher than a frame by one part in so many


class Clip(NamedTuple):
    """Frames to show one after another, `rate` a second. `bitrate`: for the encoder, in bits a second; 0: its own."""

    frames: Sequence[Frame]
    rate: int
    bitrate: int = 0

    @property
    def seconds(self) -> float:
        """How long it is."""
        return len(self.frames) / self.rate


def clip(
    seed: int,
    *,
    seconds: float = 12.0,
    size: tuple[int, int] = (320, 240),
    rate: int = 10,
    scene_seconds: float = _SCENE_SECONDS,
) -> Clip:
    """Return the clip of this seed: scenes of `scene_seconds`, and cuts between them. `size` is (width, height)."""
    count = round(seconds * rate)
    of_scene = max(1, round(scene_seconds * rate))
    frames: list[Frame] = []
    for scene in range(-(-count // of_scene)):
        frames.extend(_panned(1000 * seed + scene, size, min(of_scene, count - len(frames))))
    return Clip(frames, rate)


def _panned(seed: int, size: tuple[int, int], count: int) -> Iterator[Frame]:
    width, height = size
    wide = np.asarray(picture(seed, (width + width // _PAN, height + height // _PAN)))
    for i in range(count):
        left, top = (width // _PAN) * i // max(count, 1), (height // _PAN) * i // max(count, 1)
        if seed % 2:
            left = width // _PAN - left
        yield wide[top : top + height, left : left + width]


_MPEG_RATE: Final = 25  # MPEG-2 has no slower ones; frames are shown several times

# Muxer, encoder, pixel format and the encoder's options. Each encodes with one thread, so that the same frames give the
# same bytes.
_X264: Final = {"preset": "ultrafast", "bf": "2"}
_CONTAINERS: Final[dict[str, tuple[str, str, str, dict[str, str]]]] = {
    "mp4": ("mp4", "libx264", "yuv420p", _X264),
    "mov": ("mov", "libx264", "yuv420p", _X264),
    "mkv": ("matroska", "libx264", "yuv420p", _X264),
    "ts": ("mpegts", "libx264", "yuv420p", _X264),
    "flv": ("flv", "libx264", "yuv420p", _X264),
    "3gp": ("3gp", "mpeg4", "yuv420p", {}),
    "avi": ("avi", "mpeg4", "yuv420p", {}),
    "asf": ("asf", "wmv2", "yuv420p", {}),
    "mpeg": ("mpeg", "mpeg2video", "yuv420p", {}),
    "webm": ("webm", "libvpx-vp9", "yuv420p", {"deadline": "realtime", "cpu-used": "8"}),
    "webm-vp8": ("webm", "libvpx", "yuv420p", {"deadline": "realtime", "cpu-used": "8"}),
}
CONTAINERS: Final = tuple(_CONTAINERS)
"""Kinds of files that `encoded` makes."""


def encoded(
    video: Clip,
    container: str = "mp4",
    *,
    codec: str | None = None,
    pixels: str | None = None,
    options: dict[str, str] | None = None,
    muxer_options: dict[str, str] | None = None,
    times: Sequence[int] | None = None,
    time_base: Fraction | None = None,
    key_frame_seconds: float = 2.0,
) -> bytes:
    """Return the clip as a file, one of CONTAINERS. `times`: of the frames, in `time_base`, if not one by one."""
    import av

    muxer, default_codec, default_pixels, defaults = _CONTAINERS[container]
    height, width, _ = video.frames[0].shape
    rate = _MPEG_RATE if muxer == "mpeg" else video.rate
    count = len(video.frames) * rate // video.rate
    # A file, since some muxers read what they wrote.
    with (
        TemporaryDirectory() as directory,
        av.open(f"{directory}/video", "w", format=muxer, options=muxer_options or {}) as output,
    ):
        stream: Any = output.add_stream(codec or default_codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = width, height, pixels or default_pixels
        stream.options = {**(defaults if codec is None else {}), **(options or {})}
        stream.codec_context.thread_count = 1
        stream.codec_context.gop_size = max(1, round(key_frame_seconds * rate))
        if time_base is not None:
            stream.codec_context.time_base = time_base
        if video.bitrate:
            stream.bit_rate = video.bitrate
        for i in range(count):
            pixels_of_frame = np.ascontiguousarray(video.frames[i * video.rate // rate])
            frame = av.VideoFrame.from_ndarray(pixels_of_frame, format="rgb24")
            frame.time_base = time_base or 1 / Fraction(rate)
            frame.pts = i if times is None else times[i]
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
        output.close()
        return Path(directory, "video").read_bytes()


# ----------------------------------------------------------------------------------------------------------------------
# Alterations


def _resized(frame: Frame, size: tuple[int, int]) -> Frame:
    return np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BICUBIC))


def _recompressed(video: Clip) -> Clip:
    height, width, _ = video.frames[0].shape
    return video._replace(bitrate=width * height * video.rate // 16)


def _scaled(video: Clip) -> Clip:
    height, width, _ = video.frames[0].shape
    size = (width * 5 // 8 // 2 * 2, height * 5 // 8 // 2 * 2)
    return video._replace(frames=[_resized(frame, size) for frame in video.frames])


def _trimmed(video: Clip) -> Clip:
    """The middle: a quarter gone at the beginning, and a quarter at the end."""
    quarter = len(video.frames) // 4
    return video._replace(frames=video.frames[quarter : len(video.frames) - quarter])


def _slower(video: Clip) -> Clip:
    """Fewer frames a second, and as long: every frame is shown at its time, or the last one before it."""
    rate = video.rate * 3 // 5
    count = int(len(video.frames) * rate / video.rate)
    return video._replace(frames=[video.frames[i * video.rate // rate] for i in range(count)], rate=rate)


def _inserted(video: Clip) -> Clip:
    """Between two other clips of the same size, each half as long."""
    height, width, _ = video.frames[0].shape
    seconds = video.seconds / 2
    before, after = (clip(seed, seconds=seconds, size=(width, height), rate=video.rate) for seed in (900_001, 900_002))
    return video._replace(frames=[*before.frames, *video.frames, *after.frames])


def _letterboxed(video: Clip) -> Clip:
    """Black bars, a twelfth of the height each. PDQ does not find these frames, so it is no part of ALTERATIONS."""
    bar = video.frames[0].shape[0] // 12 // 2 * 2
    return video._replace(frames=[np.pad(frame, ((bar, bar), (0, 0), (0, 0))) for frame in video.frames])


Alteration: TypeAlias = Callable[[Clip], Clip]

ALTERATIONS: Final[dict[str, Alteration]] = {
    "recompressed": _recompressed,
    "scaled": _scaled,
    "trimmed": _trimmed,
    "slower": _slower,
    "inserted": _inserted,
}
"""What happens to videos on their way, by name, and can be found again by their frames."""

LETTERBOXED: Final[Alteration] = _letterboxed
"""What cannot, since a frame's hash is of all of it."""
