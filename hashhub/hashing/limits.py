"""What one picture or video may cost, and the error for one that would cost more."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import msgspec

from hashhub.errors import HashHubError, InvalidArgument, LimitExceeded, Reason, Violation
from hashhub.model import MAX_FRAMES


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What one picture or video may cost. All bounds are inclusive and checked before the memory or the time is spent.

    Attributes:
        max_bytes: Encoded size of a picture. Media of other kinds are digested as a stream, whatever their size.
        max_pixels: Width times height of one frame; one of JPEG 2000 counts fourfold. It also bounds the frames hashed
            of an animation, all together. The default, 64 Mi pixels, took 4 s of one core and 2.1 GB; with all
            rotations and flips 8 s, and 16 s and 2.9 GB for a picture 65,535 wide. Pillow's own limit (178 million)
            applies as well.
        max_side: Width and height, each: what JPEG and GIF can express. Some work goes by rows and columns, not by
            pixels.
        max_frames: Frames hashed of an animation or a file of several pages. If it has more, this many are taken,
            evenly spaced, the first and the last among them: frame `i * (frame_count - 1) // (max_frames - 1)` for each
            i; of large frames as many as `max_pixels` allows.
        max_source_frames: Frames in the file.
        max_total_pixels: Frames in the file times the pixels of one: most formats must decode all of them to reach the
            last, at 7 to 27 ns a pixel.
        max_scans: Scans of one JPEG. Encoders write 10 for a progressive picture, 24 for one of four colours, and those
            that search for the best division a few more; a hostile file has thousands, of 10 bytes each.
        max_scan_pixels: Scans times pixels of all JPEG frames hashed, at 0.02 to 2 ns each.
        video_interval_ms: A frame of a video is hashed each so many milliseconds, and one after each cut.
        key_frames_only: Whether of a video only key frames are decoded, at most one each `video_interval_ms`. They
            stand where the encoder put them: commonly at cuts, and two to ten seconds apart.
        max_video_frames: Frames hashed of one video. If the interval asks for more, it is doubled until they fit.
        max_video_seconds: Length of a video.
        max_video_pixels: Frames in a video times the pixels of one, decoded at 1 to 6 ns a pixel; one that is hashed
            counts fivefold. A video that has more is read by its key frames, as many of them as fit. The default is
            ten minutes of 1920 x 1080 at 30 frames a second.
    """

    max_bytes: int = 64 * 1024 * 1024
    max_pixels: int = 64 * 1024 * 1024
    max_side: int = 65_535
    max_frames: int = 32
    max_source_frames: int = 10_000
    max_total_pixels: int = 256 * 1024 * 1024
    max_scans: int = 64
    max_scan_pixels: int = 2048 * 1024 * 1024
    video_interval_ms: int = 1000
    key_frames_only: bool = False
    max_video_frames: int = MAX_FRAMES
    max_video_seconds: int = 24 * 60 * 60
    max_video_pixels: int = 40 * 1024 * 1024 * 1024

    def __post_init__(self) -> None:
        """Raise InvalidArgument naming every bound that is not positive, or `max_video_frames` beyond MAX_FRAMES."""
        bounds = [name for name in self.__struct_fields__ if name != "key_frames_only"]
        wrong = [name for name in bounds if getattr(self, name) < 1]
        if wrong:
            raise InvalidArgument(
                f"limits must be at least 1: {', '.join(wrong)}",
                violations=tuple(Violation(f"limits.{name}", "must be at least 1", "OUT_OF_RANGE") for name in wrong),
            )
        if self.max_video_frames > MAX_FRAMES:
            raise InvalidArgument.field(
                "limits.max_video_frames", f"must be at most {MAX_FRAMES}, as many as a query may have", "OUT_OF_RANGE"
            )


DEFAULT_LIMITS: Final = Limits()
# Of a video that are decoded in a second of CPU time: a third of what one core did where this was measured, so that a
# slower one does not give up.
VIDEO_PIXELS: Final = 150_000_000


def video_pixels(cpu_seconds: float) -> int:
    """Return the `max_video_pixels` of so much CPU time; a video that has more is read by its key frames."""
    return max(1, int(cpu_seconds * VIDEO_PIXELS))


def check_size(limits: Limits, width: int, height: int, what: str = "picture", *, counts: int = 1) -> None:
    """Raise LimitExceeded (MEDIA_TOO_LARGE) for a frame beyond the limits, of which a pixel counts so many times."""
    size = f"the {what} is {width} x {height}"
    if max(width, height) > limits.max_side:
        raise too_large("max_side", limits.max_side, "pixels", f"{size}, longer", what)
    if width * height * counts > limits.max_pixels:
        raise too_large("max_pixels", limits.max_pixels, "pixels", f"{size}, larger", what)


def too_large(limit: str, bound: int, unit: str, measured: str, what: str = "picture") -> LimitExceeded:
    """Return the error for a picture beyond `limit`; `measured` is a comparative: "the picture has more frames"."""
    return LimitExceeded(
        f"{measured} than allowed: {limit} is {bound} {unit}; send a smaller {what} or raise the limit",
        reason=Reason.MEDIA_TOO_LARGE,
        metadata={"limit": limit, "bound": str(bound)},
    )


@contextmanager
def errors_of_the_family(what: str, media_type: str, cannot: str) -> Iterator[None]:
    """Map whatever reading hostile bytes raises to the family: decoders have dozens of errors, and none may pass."""
    try:
        yield
    except HashHubError:
        raise
    except Exception as e:
        is_bomb = type(e).__name__ == "DecompressionBombError"  # of Pillow, which may not be there
        # libheif and libavif say it in words.
        if is_bomb or isinstance(e, MemoryError) or "memory" in str(e).casefold():
            has = "has more pixels than Pillow accepts; send a smaller one"
            needs = "needs more memory than there is; send a smaller one or lower max_pixels"
            raise LimitExceeded(
                f"the {media_type} {what} {has if is_bomb else needs}",
                reason=Reason.MEDIA_TOO_LARGE,
                metadata={"limit": "Image.MAX_IMAGE_PIXELS" if is_bomb else "memory", "mediaType": media_type},
            ) from e
        raise InvalidArgument(
            f"the {media_type} {what} cannot be {cannot} ({type(e).__name__}): it is truncated, damaged or in an "
            "unsupported variant; send the complete file",
            reason=Reason.UNREADABLE_MEDIA,
            metadata={"mediaType": media_type},
        ) from e
