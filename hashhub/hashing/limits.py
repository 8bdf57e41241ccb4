"""What one picture may cost, and the error for one that would cost more."""

from __future__ import annotations

from typing import Final

import msgspec

from hashhub.errors import InvalidArgument, LimitExceeded, Reason, Violation


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What one picture may cost. All bounds are inclusive and checked before the memory or the time is spent.

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
    """

    max_bytes: int = 64 * 1024 * 1024
    max_pixels: int = 64 * 1024 * 1024
    max_side: int = 65_535
    max_frames: int = 32
    max_source_frames: int = 10_000
    max_total_pixels: int = 256 * 1024 * 1024
    max_scans: int = 64
    max_scan_pixels: int = 2048 * 1024 * 1024

    def __post_init__(self) -> None:
        """Raise InvalidArgument naming every bound that is not positive."""
        wrong = [name for name in self.__struct_fields__ if getattr(self, name) < 1]
        if wrong:
            raise InvalidArgument(
                f"limits must be at least 1: {', '.join(wrong)}",
                violations=tuple(Violation(f"limits.{name}", "must be at least 1", "OUT_OF_RANGE") for name in wrong),
            )


DEFAULT_LIMITS: Final = Limits()


def too_large(limit: str, bound: int, unit: str, measured: str) -> LimitExceeded:
    """Return the error for a picture beyond `limit`; `measured` is a comparative: "the picture has more frames"."""
    return LimitExceeded(
        f"{measured} than allowed: {limit} is {bound} {unit}; send a smaller picture or raise the limit",
        reason=Reason.MEDIA_TOO_LARGE,
        metadata={"limit": limit, "bound": str(bound)},
    )
