"""A picture's file to frames as people see them: upright, opaque, 8-bit RGB, within limits.

    opened ── limits on size, blocks, frames ── the frames sampled ── limits on each again ── upright, opaque, RGB

Pillow is asked for the one format that the file's signature names, and whatever it raises leaves as an error of the
family.
"""

from __future__ import annotations

import io
import logging
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from hashhub.errors import FailedPrecondition, HashHubError, InvalidArgument, LimitExceeded, Reason
from hashhub.hashing.limits import Limits, too_large
from hashhub.hashing.perceptual import Transform
from hashhub.hashing.structure import check_blocks, frame_count, scan_count

if TYPE_CHECKING:
    from PIL import Image

# Pillow's names. HEIF counts only if the application has registered a plug-in for it (pillow-heif).
_PILLOW_FORMATS: Final[dict[str, str]] = {
    "image/avif": "AVIF",
    "image/bmp": "BMP",
    "image/gif": "GIF",
    "image/heic": "HEIF",
    "image/heif": "HEIF",
    "image/jp2": "JPEG2000",
    "image/jpeg": "JPEG",
    "image/png": "PNG",
    "image/tiff": "TIFF",
    "image/webp": "WEBP",
}


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame of a picture, as people see it. `timestamp_ms`: when it is first shown, from the start.

    `readings`: the same frame as reference tools read such a file, by its name in `model.READINGS`, where that differs.
    """

    index: int
    timestamp_ms: int
    shown: Image.Image
    readings: tuple[tuple[str, Image.Image], ...] = ()


class Picture:
    """An opened picture whose header is within the limits. Nothing of it has been decoded yet.

    `frame_count`: frames in the file.
    """

    def __init__(self, opened: Image.Image, data: bytes, limits: Limits) -> None:
        """Raises LimitExceeded (MEDIA_TOO_LARGE)."""
        self._opened, self._data, self._limits = opened, data, limits
        _check_pixels(opened, limits)
        self.frame_count = frame_count(opened, data, limits)
        if self.frame_count * opened.width * opened.height > limits.max_total_pixels:
            raise too_large(
                "max_total_pixels",
                limits.max_total_pixels,
                "pixels in all frames",
                f"the picture has {self.frame_count} frames of {opened.width} x {opened.height}",
            )

    def frames(self) -> Iterator[Frame]:
        """Decode and yield the frames to hash: all, or evenly spaced ones of a long or large animation."""
        opened, limits = self._opened, self._limits
        sampled = sample(self.frame_count, min(limits.max_frames, max(1, limits.max_pixels // _pixels(opened))))
        clock = 0.0
        spent = _Spent(limits)
        for index in range(self.frame_count):
            if index not in sampled and opened.format == "MPO":  # pictures side by side: none builds on another
                continue
            if self.frame_count > 1:
                opened.seek(index)
                _check_pixels(opened, limits)  # pages and GIF frames have sizes of their own
            if index in sampled:
                spent.add(opened, self._data)
                opened.load()
                # WebP and AVIF say when a frame is shown; in GIF and APNG it follows from the durations before it.
                shown_at = _milliseconds(opened.info.get("timestamp"), clock)
                yield Frame(index, round(shown_at), _displayed(opened))
            if self.frame_count > 1:
                clock += _milliseconds(opened.info.get("duration"), 0.0)


@contextmanager
def opened_picture(data: bytes, media_type: str, limits: Limits) -> Iterator[Picture]:
    """Open a picture; whatever is raised while it is open leaves as an error of the family.

    Raises:
        InvalidArgument: UNREADABLE_MEDIA.
        LimitExceeded: MEDIA_TOO_LARGE.
        FailedPrecondition: MISSING_EXTRA.
    """
    _require_extra()
    from PIL import Image

    # Pillow warns about sizes, which are checked here, and about broken metadata, which is not looked at. A filter for
    # its modules alone, because `catch_warnings` swaps state that all threads of a process share; again on each call,
    # because applications and test runners reset the filters.
    warnings.filterwarnings("ignore", module="PIL")

    with _errors_of_the_family(media_type):
        Image.init()
        plugin = _PILLOW_FORMATS.get(media_type)
        if plugin not in Image.OPEN:
            raise InvalidArgument(
                f"{media_type} pictures cannot be decoded here; convert the picture to JPEG or PNG",
                reason=Reason.UNREADABLE_MEDIA,
                metadata={"mediaType": media_type},
            )
        check_blocks(data, media_type)
        with Image.open(io.BytesIO(data), formats=(plugin,)) as opened:
            yield Picture(opened, data, limits)


def quiet_pillow() -> None:
    """Keep Pillow from logging, unless the application has set its level.

    What it logs, errors too, is about the bytes of one damaged file and may quote them; what matters of it is raised.
    A program calls this at its start: a library does not set another's level.
    """
    logger = logging.getLogger("PIL")
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.CRITICAL)


def load_decoders() -> None:
    """Load what the first picture would load. Raises FailedPrecondition (MISSING_EXTRA)."""
    _require_extra()
    from PIL import Image

    Image.init()


def _require_extra() -> None:
    """Raise FailedPrecondition (MISSING_EXTRA) unless the libraries of the extra can be imported."""
    try:
        import imagehash  # noqa: F401 - only whether it is there
        import numpy as np  # noqa: F401 - likewise
        import PIL.Image  # noqa: F401 - likewise
    except ImportError as e:
        raise FailedPrecondition(
            "perceptual hashes need libraries that are not installed; run: pip install 'hashhub[hashing]'",
            reason=Reason.MISSING_EXTRA,
            metadata={"extra": "hashing"},
        ) from e


@contextmanager
def _errors_of_the_family(media_type: str) -> Iterator[None]:
    """Map whatever decoding raises to the family."""
    from PIL import Image

    try:
        yield
    except HashHubError:
        raise
    except Image.DecompressionBombError as e:
        raise LimitExceeded(
            f"the {media_type} picture has more pixels than Pillow accepts; send a smaller one",
            reason=Reason.MEDIA_TOO_LARGE,
            metadata={"limit": "Image.MAX_IMAGE_PIXELS", "mediaType": media_type},
        ) from e
    except MemoryError as e:
        raise LimitExceeded(
            f"the {media_type} picture needs more memory than there is; send a smaller one or lower max_pixels",
            reason=Reason.MEDIA_TOO_LARGE,
            metadata={"limit": "memory", "mediaType": media_type},
        ) from e
    except Exception as e:  # Pillow's plug-ins raise a dozen types on hostile bytes, and none may pass
        raise InvalidArgument(
            f"the {media_type} picture cannot be decoded ({type(e).__name__}): it is truncated, damaged or in an "
            "unsupported variant; send the complete file",
            reason=Reason.UNREADABLE_MEDIA,
            metadata={"mediaType": media_type},
        ) from e


# Decoding one takes ten times as long as in any other format.
_JPEG_2000_COUNTS: Final = 4


def _pixels(picture: Image.Image) -> int:
    """Return the pixels of the current frame, as `Limits.max_pixels` counts them; at least 1."""
    return max(1, picture.width * picture.height * (_JPEG_2000_COUNTS if picture.format == "JPEG2000" else 1))


def _check_pixels(picture: Image.Image, limits: Limits) -> None:
    size = f"the picture is {picture.width} x {picture.height}"
    if max(picture.size) > limits.max_side:
        raise too_large("max_side", limits.max_side, "pixels", f"{size}, longer")
    if _pixels(picture) > limits.max_pixels:
        raise too_large("max_pixels", limits.max_pixels, "pixels", f"{size}, larger")


class _Spent:
    """What the frames decoded so far have cost, in the measures of the limits."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._pixels = 0
        self._scan_pixels = 0

    def add(self, opened: Image.Image, data: bytes) -> None:
        """Add the current frame, which is about to be decoded. Raises LimitExceeded (MEDIA_TOO_LARGE)."""
        limits = self._limits
        pixels = opened.width * opened.height
        self._pixels += pixels
        if self._pixels > limits.max_total_pixels:
            raise too_large("max_total_pixels", limits.max_total_pixels, "pixels in all frames", "the pages are larger")
        if opened.format in {"JPEG", "MPO"}:
            # The frames of an MPO are JPEGs at places that the file names, the same one twice if it likes.
            self._scan_pixels += pixels * scan_count(data, getattr(opened, "offset", 0), limits)
            if self._scan_pixels > limits.max_scan_pixels:
                raise too_large(
                    "max_scan_pixels",
                    limits.max_scan_pixels,
                    "pixels in all scans",
                    "the JPEG has more scans for its size",
                )


def sample(count: int, most: int) -> frozenset[int]:
    """Return which of `count` frames to hash: all of them, or `most` evenly spaced ones with the first and the last."""
    if count <= most:
        return frozenset(range(count))
    if most == 1:
        return frozenset((0,))
    return frozenset(i * (count - 1) // (most - 1) for i in range(most))


def _milliseconds(value: object, otherwise: float) -> float:
    """Return the time in a picture's `info`, where a text chunk of the file can put anything."""
    if isinstance(value, int | float) and math.isfinite(value) and value >= 0:
        return float(value)
    return otherwise


# EXIF 2.32, 4.6.4 A: the value of the orientation tag, and what makes the stored picture upright. 1 is upright.
_ORIENTATION_TAG: Final = 0x0112
_UPRIGHT: Final[dict[int, Transform]] = {
    2: Transform.FLIP_LEFT_RIGHT,
    3: Transform.ROTATE_180,
    4: Transform.FLIP_TOP_BOTTOM,
    5: Transform.TRANSPOSE,
    6: Transform.ROTATE_270,
    7: Transform.TRANSVERSE,
    8: Transform.ROTATE_90,
}


def _displayed(picture: Image.Image) -> Image.Image:
    """Return the loaded frame as people see it: upright, opaque, 8-bit RGB.

    - Orientation as in EXIF; a broken EXIF block counts as none, as it does in browsers.
    - Transparency on white, the commonest page. Alpha itself is no part of the hash.
    - 16-bit grey by its high byte. 32-bit integers likewise while they fit in 16 bits; beyond, and for floats, the
      range in use is stretched to 0..255 (perceptual hashes hardly depend on scale and offset).
    - Palette, bilevel, CMYK, YCbCr and HSV by Pillow's conversion, without colour profiles; L*a*b* by its lightness.
    """
    from PIL import Image

    upright = picture
    try:
        # Not ImageOps.exif_transpose, which also writes the EXIF block anew and fails where an unrelated tag is
        # malformed.
        if turn := _UPRIGHT.get(picture.getexif().get(_ORIENTATION_TAG, 1)):
            upright = picture.transpose(Image.Transpose[turn.name])
    except Exception:  # noqa: BLE001, S110 - EXIF of any shape must not hide a readable picture
        pass

    match upright.mode:
        case "I" | "F":
            upright = _eight_bit(upright)
        case "LAB":
            upright = upright.getchannel("L")
        case "La":
            upright = upright.convert("LA")
        case mode if mode.startswith("I;16"):
            upright = _eight_bit(upright)
    if upright.has_transparency_data:
        layer = upright.convert("RGBA")
        upright = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    return upright if upright.mode == "RGB" else upright.convert("RGB")


def _eight_bit(picture: Image.Image) -> Image.Image:
    import numpy as np
    from PIL import Image

    values = np.asarray(picture)
    if picture.mode != "F" and values.min() >= 0 and values.max() < 1 << 16:
        return Image.fromarray((values >> 8).astype(np.uint8))
    scaled = np.nan_to_num(values.astype(np.float64), posinf=0.0, neginf=0.0)
    low, high = np.min(scaled), np.max(scaled)
    return Image.fromarray(((scaled - low) * (255.0 / (high - low) if high > low else 0.0)).astype(np.uint8))
