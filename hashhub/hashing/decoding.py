"""A picture's file to frames as people see them: upright, opaque, 8-bit RGB, within limits.

    opened ── limits on size, blocks, frames ── the frames sampled ── limits on each again ── upright, opaque, RGB

Pillow is asked for the one format that the file's signature names, and whatever it raises leaves as an error of the
family.
"""

from __future__ import annotations

import importlib
import io
import logging
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from hashhub.errors import FailedPrecondition, InvalidArgument, Reason
from hashhub.hashing import compiled
from hashhub.hashing.boxes import Contents, check_boxes
from hashhub.hashing.perceptual import Transform
from hashhub.hashing.structure import (
    Limits,
    check_blocks,
    check_size,
    errors_of_the_family,
    film_behind,
    frame_count,
    has_picture_behind,
    is_raw,
    jpeg_end,
    scan_count,
    too_large,
)

if TYPE_CHECKING:
    from PIL import Image

# Pillow's names; pillow-heif brings HEIF.
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

# Files of boxes (ISO/IEC 14496-12), of which Pillow's plug-ins pass over what they cannot read; and the types of the
# items that they can.
_OF_BOXES: Final[dict[str, frozenset[bytes]]] = {
    "image/avif": frozenset({b"av01"}),
    "image/heic": frozenset({b"hvc1", b"hev1"}),
    "image/heif": frozenset({b"hvc1", b"hev1"}),
}


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame of a picture, as people see it. `timestamp_ms`: when it is first shown. `readings`: as reference tools
    read it, by its name in `model.READINGS`, where that differs and was asked for; two at most.
    """

    index: int
    timestamp_ms: int
    shown: Image.Image
    readings: tuple[tuple[str, Image.Image], ...] = ()


class Picture:
    """An opened picture whose header is within the limits; nothing is decoded yet. `frame_count`: frames in the file.
    `skipped`: what else of it is not looked at, as a sentence; None for nothing.
    """

    def __init__(
        self, opened: Image.Image, data: bytes, limits: Limits, *, skipped: str | None, has_tiles: bool
    ) -> None:
        """Raises LimitExceeded (MEDIA_TOO_LARGE)."""
        self._opened, self._data, self._limits = opened, data, limits
        self._has_tiles = has_tiles
        self.skipped = skipped
        check_size(limits, *opened.size, counts=_counts(opened))
        self.frame_count = frame_count(opened, data, limits)
        if self.frame_count * opened.width * opened.height > limits.max_total_pixels:
            raise too_large(
                "max_total_pixels",
                limits.max_total_pixels,
                "pixels in all frames",
                f"the picture has {self.frame_count} frames of {opened.width} x {opened.height}",
            )

    def frames(self, *, with_readings: bool = False) -> Iterator[Frame]:
        """Decode and yield the frames to hash: all, or evenly spaced ones of a long or large animation."""
        opened, limits = self._opened, self._limits
        pixels = max(1, opened.width * opened.height * _counts(opened))
        sampled = sample(self.frame_count, min(limits.max_frames, max(1, limits.max_pixels // pixels)))
        clock = 0.0
        spent = _DecodingCost(limits)
        for index in range(self.frame_count):
            if index not in sampled and opened.format == "MPO":  # pictures side by side: none builds on another
                continue
            if self.frame_count > 1:
                opened.seek(index)
                check_size(limits, *opened.size, counts=_counts(opened))  # pages and GIF frames have sizes of their own
            if index in sampled:
                spent.add(opened, self._data)
                if opened.format == "TIFF":
                    _check_strips(opened)
                opened.load()
                if self._has_tiles and _lacks_a_tile(opened):
                    raise ValueError("a tile could not be decoded")
                if opened.format in {"JPEG", "MPO"} and _ends_early(opened, self._data):
                    raise ValueError("the data of the JPEG ends before its picture")
                # WebP and AVIF say when a frame is shown; in GIF and APNG it follows from the durations before it.
                shown_at = _milliseconds(opened.info.get("timestamp"), clock)
                shown = _displayed(opened)
                readings = _readings(opened, shown, is_first=index == 0) if with_readings else ()
                yield Frame(index, round(shown_at), shown, readings)
            if self.frame_count > 1:
                clock += _milliseconds(opened.info.get("duration"), 0.0)


@contextmanager
def opened_picture(data: bytes, media_type: str, limits: Limits) -> Iterator[Picture]:
    """Open a picture; what is raised meanwhile is UNREADABLE_MEDIA, MEDIA_TOO_LARGE or MISSING_EXTRA."""
    require_extra("hashing")
    from PIL import Image

    # Pillow warns about sizes, which are checked here, and about broken metadata, which is not looked at. A filter for
    # its modules alone, because `catch_warnings` swaps state that all threads of a process share; again on each call,
    # because applications and test runners reset the filters.
    warnings.filterwarnings("ignore", module="PIL")

    with errors_of_the_family("picture", media_type, "decoded"):
        Image.init()
        plugin = _PILLOW_FORMATS.get(media_type)
        if plugin == "HEIF":
            _register_heif()
        if plugin not in Image.OPEN:
            raise _not_decoded(media_type, f"{media_type} pictures cannot be decoded here")
        check_blocks(data, media_type)
        contents = check_boxes(data, limits, _OF_BOXES[media_type]) if media_type in _OF_BOXES else None
        with Image.open(io.BytesIO(data), formats=(plugin,)) as opened:
            skipped: str | None = None
            film = -1
            if contents is not None:
                _check_complete(opened, contents, media_type)
                skipped = _FILM if contents.has_film else None
            elif opened.format == "TIFF":
                if is_raw(data, limits):  # its pages are but previews
                    raise _not_decoded(media_type, "a camera's raw picture cannot be decoded here")
            elif opened.format in {"JPEG", "MPO"}:
                film = film_behind(data)
                skipped = _FILM if film >= 0 else None
            has_tiles = contents is not None and contents.has_tiles and opened.format == "HEIF"
            picture = Picture(opened, data, limits, skipped=skipped, has_tiles=has_tiles)
            if has_picture_behind(opened, data, film, limits):
                raise _not_decoded(media_type, "the file holds a second picture behind the first, which is not read")
            yield picture


_FILM: Final = "the film behind the picture (a motion photo, as phones write it) was not looked at"


def _check_complete(opened: Image.Image, contents: Contents, media_type: str) -> None:
    """Raise InvalidArgument (UNREADABLE_MEDIA) if the file holds a picture that the decoder leaves out."""
    decoded = getattr(opened, "n_frames", 1)
    if opened.format == "AVIF":  # either the tracks or one still
        is_complete = contents.frames <= decoded if contents.frames > 1 else contents.pictures <= 1
        is_complete = is_complete and not (contents.frames > 1 and contents.pictures)
    else:
        is_complete = contents.pictures <= decoded and not contents.frames
    if not is_complete:
        raise _not_decoded(media_type, f"the {media_type} file holds further pictures that cannot be decoded here")


def _not_decoded(media_type: str, what: str) -> InvalidArgument:
    return InvalidArgument(
        f"{what}; convert the picture to JPEG or PNG",
        reason=Reason.UNREADABLE_MEDIA,
        metadata={"mediaType": media_type},
    )


def quiet_pillow() -> None:
    """Keep Pillow from logging, which may quote a file, unless the application has set its level. For programs."""
    logger = logging.getLogger("PIL")
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.CRITICAL)


def load_decoders() -> None:
    """Load what the first picture would, starting no thread, for a process that forks. Raises MISSING_EXTRA."""
    require_extra("hashing")
    from PIL import AvifImagePlugin, Image

    Image.init()
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    _register_heif()


def _register_heif() -> None:
    """Teach Pillow HEIC, unless the application has. Raises FailedPrecondition (MISSING_EXTRA)."""
    from PIL import Image

    if "HEIF" in Image.OPEN:
        return
    try:
        import pillow_heif
    except ImportError as e:
        raise FailedPrecondition(
            "HEIC pictures need a library that is not installed; run: pip install 'hashhub[hashing]'",
            reason=Reason.MISSING_EXTRA,
            metadata={"extra": "hashing"},
        ) from e
    pillow_heif.register_heif_opener(decode_threads=1, thumbnails=False, depth_images=False, aux_images=False)


_EXTRAS: Final = {
    "hashing": ("perceptual hashes", ("imagehash", "numpy", "PIL", "PIL.Image")),
    "video": ("frames of videos", ("av", "av.container", "numpy")),
}


def require_extra(extra: str) -> None:
    """Import the libraries of an extra. Raises FailedPrecondition (MISSING_EXTRA)."""
    what, libraries = _EXTRAS[extra]
    compiled.import_scipy_and_numba()
    try:
        for library in libraries:
            importlib.import_module(library)
    except ImportError as e:
        raise FailedPrecondition(
            f"{what} need libraries that are not installed; run: pip install 'hashhub[{extra}]'",
            reason=Reason.MISSING_EXTRA,
            metadata={"extra": extra},
        ) from e


# Decoding one takes ten times as long as in any other format.
_JPEG_2000_COUNTS: Final = 4


def _counts(picture: Image.Image) -> int:
    """Return how many times `Limits.max_pixels` counts a pixel."""
    return _JPEG_2000_COUNTS if picture.format == "JPEG2000" else 1


# TIFF 6.0: rows of a strip, places of strips, planes; width, length and places of tiles; compression.
_ROWS, _STRIPS, _PLANES, _TILE_WIDTH, _TILE_LENGTH, _TILES, _COMPRESSION = 278, 273, 284, 322, 323, 324, 259
_OLD_JPEG: Final = 6  # places its strips as it likes
_SEPARATE: Final = 2


def _check_strips(page: Image.Image) -> None:
    """Raise ValueError unless the page's strips or tiles are as many as cover it: what is left is black otherwise."""
    tags: Any = page.tag_v2  # type: ignore[attr-defined] # of Pillow's TIFF pages
    if tags.get(_COMPRESSION) == _OLD_JPEG:
        return
    width, height = tags[256], tags[257]  # as stored; the page may have been turned
    planes = tags.get(277, 1) if tags.get(_PLANES) == _SEPARATE else 1
    if _TILES in tags:
        expected = math.ceil(width / tags[_TILE_WIDTH]) * math.ceil(height / tags[_TILE_LENGTH])
        count = len(tags[_TILES])
    else:
        expected = math.ceil(height / min(tags.get(_ROWS, height), height))
        count = len(tags[_STRIPS])
    if count != expected * planes:
        raise ValueError("strips or tiles are missing")


class _DecodingCost:
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


# Where libheif cannot decode a tile, it leaves Y, Cb and Cr at 0, which no encoder writes: as green of one of these
# shades, in full and in limited range, by the matrices of BT.709, BT.2020 and BT.601.
_LOST: Final = (76, 77, 78, 83, 84, 85, 86, 87, 88, 93, 94, 95, 135, 136, 137)
_LOST_SIDE: Final = 16  # pixels: an area of a lost colour that is no accident


def _lacks_a_tile(picture: Image.Image) -> bool:
    import numpy as np

    if picture.mode not in {"RGB", "RGBA", "RGBa"}:
        return False
    pixels = np.asarray(picture)
    sampled = pixels[:: _LOST_SIDE // 2, :: _LOST_SIDE // 2]
    is_lost = (sampled[..., 0] == 0) & (sampled[..., 2] == 0) & np.isin(sampled[..., 1], _LOST)
    for row, column in np.argwhere(is_lost)[:_MOST_LOOKS]:
        top, left = row * (_LOST_SIDE // 2), column * (_LOST_SIDE // 2)
        area = pixels[top : top + _LOST_SIDE, left : left + _LOST_SIDE, :3]
        if area.shape[:2] == (_LOST_SIDE, _LOST_SIDE) and (area == area[0, 0]).all():
            return True
    return False


_MOST_LOOKS: Final = 10_000  # at areas that may be a lost tile

# What libjpeg makes of blocks whose data is missing (jdhuff.c): no deviation from the middle, here also inverted.
_MISSING: Final = frozenset({127, 128})
# Data of a scan as good as any, without and with restart markers.
_PADDINGS: Final = (
    bytes(range(1, 251)) * 8,
    b"".join(bytes(range(1, 251, 16)) + bytes((0xFF, 0xD0 + n % 8)) for n in range(256)),
)


def _ends_early(picture: Image.Image, data: bytes) -> bool:
    """Return whether a JPEG ends before its last pixels, but with an end marker: some tools mend files so. If none is
    missing, the picture stays the same with more data behind its last scan, even if it ends in this grey.
    """
    from PIL import JpegImagePlugin

    width, height = picture.size
    corner = (max(0, width - 8), height - 1, width, height)
    if not _MISSING.issuperset(picture.crop(corner).tobytes()):
        return False
    begin = getattr(picture, "offset", 0)
    scans = memoryview(data)[begin : jpeg_end(data, begin)]
    for padding in _PADDINGS:
        with JpegImagePlugin.JpegImageFile(io.BytesIO(b"".join((scans, padding, b"\xff\xd9")))) as longer:
            longer.load()
            if longer.tobytes() != picture.tobytes():
                return True
    return False


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


def _turn(picture: Image.Image) -> Transform | None:
    """Return what makes the picture upright; None if it is, or if its EXIF block cannot be read: that hides nothing."""
    try:
        # Not ImageOps.exif_transpose, which also writes the EXIF block anew and fails where an unrelated tag is
        # malformed.
        return _UPRIGHT.get(picture.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:  # noqa: BLE001 - a dozen types on hostile bytes
        return None


def _displayed(picture: Image.Image) -> Image.Image:
    """Return the loaded frame as people see it: upright, opaque, 8-bit RGB.

    - Orientation as in EXIF; a broken EXIF block counts as none, as it does in browsers. HEIC has properties for that,
      which the decoder has applied; EXIF does not count in it.
    - Transparency on white, the commonest page. Alpha itself is no part of the hash.
    - 16-bit grey by its high byte. 32-bit integers likewise while they fit in 16 bits; beyond, and for floats, the
      range in use is stretched to 0..255 (perceptual hashes hardly depend on scale and offset).
    - Palette, bilevel, CMYK, YCbCr and HSV by Pillow's conversion, without colour profiles; L*a*b* by its lightness.
    """
    from PIL import Image

    turn = _turn(picture)
    upright = picture if turn is None else picture.transpose(Image.Transpose[turn.name])
    match upright.mode:
        case "LAB":
            upright = upright.getchannel("L")
        case "La":
            upright = upright.convert("LA")
        case mode if _is_deep(mode):
            upright = _eight_bit(upright)
    if _is_transparent(upright):
        layer = upright.convert("RGBA")
        upright = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    return upright if upright.mode == "RGB" else upright.convert("RGB")


def _readings(picture: Image.Image, shown: Image.Image, *, is_first: bool) -> tuple[tuple[str, Image.Image], ...]:
    """Return the pixels of the loaded frame that reference tools hash, where those are not the pixels shown, by the
    name that says best why.

    Most tools hash `Image.open(file).convert("RGB")`: not turned, the colours behind full transparency as they are,
    16-bit grey clipped at 255. threatexchange hands over the array behind `Image.open(file)` instead
    (`signal_type/pdq/pdq_hasher.py`): of a palette picture the indices, of CMYK and the like the first three channels.
    """
    import numpy as np
    from PIL import Image, ImageChops

    readings: list[tuple[str, Image.Image]] = []
    is_turned = _turn(picture) is not None
    if is_turned or _is_deep(picture.mode) or _is_transparent(picture):
        name = "as-stored" if is_turned else "grey-clipped" if _is_deep(picture.mode) else "without-alpha"
        with suppress(ValueError):  # Pillow has no such conversion: no tool has read the picture so
            readings.append((name, picture.convert("RGB")))
    if is_first and picture.mode in _AS_ARRAY:
        array = np.asarray(picture)
        if array.ndim > 2:  # noqa: PLR2004 - rows, columns, channels
            array = np.ascontiguousarray(array[..., :3])
        stored = Image.fromarray(array)
        readings.append(("as-stored", stored.convert("RGB")))
    return tuple(
        (name, pixels)
        for name, pixels in readings
        if is_turned or pixels.size != shown.size or ImageChops.difference(pixels, shown).getbbox() is not None
    )


_AS_ARRAY: Final = frozenset({"P", "CMYK", "YCbCr", "HSV", "LAB"})  # modes whose array is not what is shown


_OPAQUE: Final = 255


def _is_deep(mode: str) -> bool:
    return mode in {"I", "F"} or mode.startswith("I;16")


def _is_transparent(picture: Image.Image) -> bool:
    """Return whether something shines through: most screenshots have an alpha channel of nothing but 255."""
    if picture.mode in {"RGBA", "LA", "RGBa", "La"}:
        lowest, _ = picture.getchannel(picture.mode[-1]).getextrema()
        return lowest != _OPAQUE
    return picture.has_transparency_data


def _eight_bit(picture: Image.Image) -> Image.Image:
    import numpy as np
    from PIL import Image

    values = np.asarray(picture)
    if picture.mode != "F" and values.min() >= 0 and values.max() < 1 << 16:
        return Image.fromarray((values >> 8).astype(np.uint8))
    scaled = np.nan_to_num(values.astype(np.float64), posinf=0.0, neginf=0.0)
    low, high = np.min(scaled), np.max(scaled)
    return Image.fromarray(((scaled - low) * (255.0 / (high - low) if high > low else 0.0)).astype(np.uint8))
