"""Pictures to perceptual hashes, and the door for media of any kind: `hash_media`.

    bytes ── signature ──┬─ a picture: decode within limits ── upright, opaque, 8-bit RGB ── PDQ, pHash, dHash per frame
                         └─ anything else: exact digests, and a sentence that says why there is no more

The signature (the first bytes) alone decides what is a picture, and Pillow is asked for that one format. So "not a
picture" is an answer, and "a picture that cannot be decoded" is an error: a damaged upload is never mistaken for a
harmless one.

PDQ is computed on the decoded pixels at full size, as the C++ reference does it: nothing is resampled first
(`hashing.pdq`). A file that lacks only bytes after its last pixel is hashed; if the application has set Pillow's
LOAD_TRUNCATED_IMAGES, so are files that end early, with what Pillow makes of them.
What differs from tools that hand a file's pixels over as they are stored: EXIF orientation is applied, and transparency
is laid on white, so that the hash is of the picture that people see.
"""

from __future__ import annotations

import io
import logging
import math
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from enum import StrEnum
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

import msgspec

from hashhub.errors import FailedPrecondition, HashHubError, InvalidArgument, LimitExceeded, NotFound, Reason, Violation
from hashhub.hashes import Hash, algorithm
from hashhub.hashing.digest import DIGEST_ALGORITHMS, digests, read_chunks
from hashhub.hygiene import MIN_PDQ_QUALITY

if TYPE_CHECKING:
    from PIL import Image

PERCEPTUAL_ALGORITHMS: Final = ("PDQ", "PHASH", "DHASH")

# What Pillow logs, errors too, is about the bytes of one damaged file and may quote them; what matters of it is raised.
if logging.getLogger("PIL").level == logging.NOTSET:  # unless the application has asked for it
    logging.getLogger("PIL").setLevel(logging.CRITICAL)


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
    """

    max_bytes: int = 64 * 1024 * 1024
    max_pixels: int = 64 * 1024 * 1024
    max_side: int = 65_535
    max_frames: int = 32
    max_source_frames: int = 10_000
    max_total_pixels: int = 256 * 1024 * 1024

    def __post_init__(self) -> None:
        """Raise InvalidArgument naming every bound that is not positive."""
        wrong = [name for name in self.__struct_fields__ if getattr(self, name) < 1]
        if wrong:
            raise InvalidArgument(
                f"limits must be at least 1: {', '.join(wrong)}",
                violations=tuple(Violation(f"limits.{name}", "must be at least 1", "OUT_OF_RANGE") for name in wrong),
            )


DEFAULT_LIMITS: Final = Limits()


class Transform(StrEnum):
    """The seven rotations and flips, by Pillow's names. Rotations are counter-clockwise; TRANSVERSE is the other
    diagonal.
    """

    FLIP_LEFT_RIGHT = "FLIP_LEFT_RIGHT"
    FLIP_TOP_BOTTOM = "FLIP_TOP_BOTTOM"
    ROTATE_90 = "ROTATE_90"
    ROTATE_180 = "ROTATE_180"
    ROTATE_270 = "ROTATE_270"
    TRANSPOSE = "TRANSPOSE"
    TRANSVERSE = "TRANSVERSE"


# Transposing swaps the axes, which PDQ treats alike: the hash of a transposed picture is the transposed hash, bit for
# bit. So these four follow from the four that keep the axes (None: the picture as it is).
_TRANSPOSED: Final[dict[Transform, Transform | None]] = {
    Transform.TRANSPOSE: None,
    Transform.ROTATE_90: Transform.FLIP_LEFT_RIGHT,
    Transform.ROTATE_270: Transform.FLIP_TOP_BOTTOM,
    Transform.TRANSVERSE: Transform.ROTATE_180,
}


# Those four: whether left and right, top and bottom change places.
_MIRRORS: Final[dict[Transform | None, tuple[bool, bool]]] = {
    None: (False, False),
    Transform.FLIP_LEFT_RIGHT: (True, False),
    Transform.FLIP_TOP_BOTTOM: (False, True),
    Transform.ROTATE_180: (True, True),
}


class Variant(msgspec.Struct, frozen=True):
    """The perceptual hashes that the frame would have after `transform`."""

    transform: Transform
    hashes: tuple[Hash, ...]


class FrameHashes(msgspec.Struct, frozen=True, kw_only=True):
    """The perceptual hashes of one frame.

    Attributes:
        index: Position in the file, from 0.
        timestamp_ms: When the frame is first shown, from the start; 0 for a still picture and for pages.
        hashes: One a requested perceptual algorithm, in the order of `PERCEPTUAL_ALGORITHMS`.
        quality: PDQ's measure of how much there is to hash, 0 to 100; None if PDQ was not asked for.
        variants: All seven transforms if they were asked for, else empty.
    """

    index: int
    timestamp_ms: int
    hashes: tuple[Hash, ...]
    quality: int | None
    variants: tuple[Variant, ...] = ()

    @property
    def is_low_quality(self) -> bool:
        """Whether PDQ found too little to hash: blank, tiny or smooth pictures whose hashes match each other by
        accident.
        """
        return self.quality is not None and self.quality < MIN_PDQ_QUALITY


class MediaHashes(msgspec.Struct, frozen=True, kw_only=True):
    """Everything computed from one file.

    Attributes:
        media_type: Detected from the first bytes, `application/octet-stream` if unknown; never taken from a name.
        size_bytes: Length of the file.
        width: Of the upright first frame, in pixels; None unless the picture was decoded. Likewise `height`.
        frame_count: Frames in the file, of which `frames` may be a sample; 0 unless decoded.
        frames: Frames in file order. One whose hashes all equal an earlier frame's is left out.
        digests: Exact hashes of the bytes.
        not_perceptual: Why there are no frames, as a sentence for people; None if there are.
    """

    media_type: str
    size_bytes: int
    width: int | None
    height: int | None
    frame_count: int
    frames: tuple[FrameHashes, ...]
    digests: tuple[Hash, ...]
    not_perceptual: str | None

    @property
    def hashes(self) -> tuple[Hash, ...]:
        """All distinct hashes: digests first, then the frames' own, then those of their variants."""
        own = chain.from_iterable(frame.hashes for frame in self.frames)
        turned = chain.from_iterable(variant.hashes for frame in self.frames for variant in frame.variants)
        return tuple(dict.fromkeys(chain(self.digests, own, turned)))


def hash_media(
    data: bytes | Path | BinaryIO,
    *,
    algorithms: Collection[str] | None = None,
    dihedral: bool = False,
    limits: Limits = DEFAULT_LIMITS,
) -> MediaHashes:
    """Return the hashes of one media file.

    Args:
        data: The bytes, a path, or an open binary stream, which is read from where it stands to its end and left open.
        algorithms: Names of the algorithms to compute, by default all of `DIGEST_ALGORITHMS` and
            `PERCEPTUAL_ALGORITHMS`. Without a perceptual one no picture is decoded, so nothing beyond the base install
            is needed.
        dihedral: Also compute each frame's perceptual hashes after the seven rotations and flips, for queries. They are
            the hashes of the transformed pixels, not estimates; hashing then takes three times as long. See
            `pdq_dihedral` for the estimate.
        limits: Bounds on what a picture may cost.

    Raises:
        InvalidArgument: UNREADABLE_MEDIA for a picture that is truncated, damaged or in a format not decoded here, or
            for a stream that cannot be read; UNKNOWN_ALGORITHM for an algorithm that is unknown or not computed here.
        LimitExceeded: MEDIA_TOO_LARGE, with the limit's name in the metadata.
        NotFound: RESOURCE_NOT_FOUND, if there is no file at the path.
        FailedPrecondition: MISSING_EXTRA, if a picture is to be hashed and the `hashing` extra is not installed.
    """
    wanted = _wanted(algorithms)
    if isinstance(data, Path):
        try:
            stream: BinaryIO = data.open("rb")
        except FileNotFoundError as e:
            raise NotFound("there is no media file at the given path; check the path") from e
        except (OSError, ValueError) as e:  # ValueError: a NUL in the path
            raise InvalidArgument(
                f"the media file cannot be opened ({type(e).__name__}); expected a readable file",
                reason=Reason.UNREADABLE_MEDIA,
            ) from e
        with stream:
            return _hash_stream(stream, wanted, limits, dihedral=dihedral)
    if isinstance(data, bytes | bytearray | memoryview):
        data = io.BytesIO(data)
    return _hash_stream(data, wanted, limits, dihedral=dihedral)


def pdq_dihedral(value: Hash) -> tuple[tuple[Transform, Hash], ...]:
    """Return estimates of the PDQ hashes of the seven rotations and flips, from the hash alone.

    Bit (i, j) says whether the DCT coefficient at vertical frequency i + 1 and horizontal frequency j + 1 exceeds the
    median. Mirroring an axis negates its odd frequencies, and the median is close to 0, so those bits flip; transposing
    swaps i and j. TRANSPOSE is exact. The others are not, because PDQ's box filters are off-centre by up to a pixel
    each and its sampling grid too. Measured on synthetic pictures against hashing the mirrored pixels, the estimates
    are off by 8 bits on average (at most 18) for pictures of 640 to 4,000 pixels a side, 14 (at most 30) at 512 x 384
    and 31 (at most 60) at 256 x 256. That eats into a `max_distance` of 31, so use `hash_media(dihedral=True)` wherever
    the pixels are at hand.

    Raises:
        InvalidArgument: if the hash is not a PDQ hash.
    """
    if value.algorithm != "PDQ":
        raise InvalidArgument.field(
            "hash", f"expected a PDQ hash, got {value.algorithm}; only PDQ can be turned without pixels", "NOT_PDQ"
        )
    upright = int.from_bytes(value.digest)
    kept: dict[Transform | None, int] = {
        None: upright,
        Transform.FLIP_LEFT_RIGHT: upright ^ _ODD_COLUMNS,
        Transform.FLIP_TOP_BOTTOM: upright ^ _ODD_ROWS,
        Transform.ROTATE_180: upright ^ _ODD_ROWS ^ _ODD_COLUMNS,
    }
    bits = {t: kept[t] if t in kept else _transpose(kept[_TRANSPOSED[t]]) for t in Transform}
    return tuple((t, Hash("PDQ", b.to_bytes(_PDQ_BYTES))) for t, b in bits.items())


# As a big-endian integer, bit 16 * i + j of a PDQ digest is element (i, j) of its 16 x 16 matrix, which stands for the
# frequencies i + 1 and j + 1: odd frequencies are the even positions.
_PDQ_BYTES: Final = 32
_PDQ_SIDE: Final = 16
_ODD_COLUMNS: Final = int("5555" * _PDQ_SIDE, 16)
_ODD_ROWS: Final = int("0000ffff" * (_PDQ_SIDE // 2), 16)


def _transpose(bits: int) -> int:
    side = range(_PDQ_SIDE)
    return sum((bits >> (_PDQ_SIDE * i + j) & 1) << (_PDQ_SIDE * j + i) for i in side for j in side)


def _wanted(algorithms: Collection[str] | None) -> frozenset[str]:
    """Return the canonical names asked for, all of them computed here."""
    computed = (*DIGEST_ALGORITHMS, *PERCEPTUAL_ALGORITHMS)
    if algorithms is None:
        return frozenset(computed)
    wanted = frozenset(algorithm(name).name for name in algorithms)
    for name in sorted(wanted.difference(computed)):
        expected = f"must be among {', '.join(computed)}"
        raise InvalidArgument(
            f"{name} cannot be computed here; algorithms {expected}",
            reason=Reason.UNKNOWN_ALGORITHM,
            violations=(Violation("algorithms", expected, "NOT_COMPUTED"),),
        )
    return wanted


def _hash_stream(stream: BinaryIO, wanted: frozenset[str], limits: Limits, *, dihedral: bool) -> MediaHashes:
    chunks = read_chunks(stream)
    head = b""
    for chunk in chunks:  # a raw stream may give less than was asked for
        head += chunk
        if len(head) >= _SIGNATURE_BYTES:
            break
    media_type = _media_type(head)

    is_picture = media_type.startswith("image/")
    if is_picture and not wanted.isdisjoint(PERCEPTUAL_ALGORITHMS):
        data = _collect(chain((head,), chunks), limits)
        # Decode first: no digest is handed out for a picture that could not be looked at.
        width, height, frame_count, frames = _hash_picture(data, media_type, wanted, limits, dihedral=dihedral)
        return MediaHashes(
            media_type=media_type,
            size_bytes=len(data),
            width=width,
            height=height,
            frame_count=frame_count,
            frames=frames,
            digests=digests((data,), wanted),
            not_perceptual=None,
        )

    counter = _Counter()
    exact = digests(counter.count(chain((head,), chunks)), wanted)
    return MediaHashes(
        media_type=media_type,
        size_bytes=counter.total,
        width=None,
        height=None,
        frame_count=0,
        frames=(),
        digests=exact,
        not_perceptual=(
            "no perceptual algorithm was asked for"
            if is_picture
            else f"not a picture ({media_type}): only exact digests can be computed"
        ),
    )


class _Counter:
    """Counts the bytes that pass through."""

    def __init__(self) -> None:
        self.total = 0

    def count(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            self.total += len(chunk)
            yield chunk


def _collect(chunks: Iterator[bytes], limits: Limits) -> bytes:
    kept: list[bytes] = []
    total = 0
    for chunk in chunks:
        total += len(chunk)
        if total > limits.max_bytes:
            raise _too_large("max_bytes", limits.max_bytes, "bytes", "the picture's file is larger")
        kept.append(chunk)
    return b"".join(kept)


# ----------------------------------------------------------------------------------------------------------------------
# Signatures

_SIGNATURE_BYTES: Final = 256

_SIGNATURES: Final[tuple[tuple[bytes, str], ...]] = (
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
    (b"II+\x00", "image/tiff"),
    (b"MM\x00+", "image/tiff"),
    (b"\x00\x00\x00\x0cjP  \r\n\x87\n", "image/jp2"),
    (b"\xff\x4f\xff\x51", "image/jp2"),
    # Pictures that are known but not decoded here: an error, not "no picture".
    (b"\xff\x0a", "image/jxl"),
    (b"\x00\x00\x00\x0cJXL \r\n\x87\n", "image/jxl"),
    (b"8BPS\x00", "image/vnd.adobe.photoshop"),
    (b"\x00\x00\x01\x00", "image/vnd.microsoft.icon"),
    # No pictures; named for the caller's sake.
    (b"\x1aE\xdf\xa3", "video/matroska"),
    (b"%PDF-", "application/pdf"),
    (b"PK\x03\x04", "application/zip"),
)

# Brands of ISO base media files (ISO/IEC 14496-12, 23008-12, the AV1 image format); any other brand is a video.
_BRANDS: Final[dict[bytes, str]] = {
    **dict.fromkeys((b"avif", b"avis"), "image/avif"),
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"), "image/heic"),
    **dict.fromkeys((b"mif1", b"msf1", b"mif2", b"miaf"), "image/heif"),
}

# Sizes of the header that follows a BMP's file header, one for each version of the format. `BM` alone also begins
# texts.
_BMP_HEADERS: Final = frozenset({12, 16, 40, 52, 56, 64, 108, 124})

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


def _media_type(head: bytes) -> str:
    for signature, media_type in _SIGNATURES:
        if head.startswith(signature):
            return media_type
    if head[:4] == b"RIFF":
        return {b"WEBP": "image/webp", b"AVI ": "video/x-msvideo"}.get(head[8:12], "application/octet-stream")
    if head[4:8] == b"ftyp":
        size = min(int.from_bytes(head[:4]), len(head))
        brands = [head[8:12], *(head[at : at + 4] for at in range(16, size - 3, 4))]
        # The first brand is the major one, but `mif1` there says little: the compatible ones tell AVIF from HEIC.
        found = [_BRANDS[brand] for brand in brands if brand in _BRANDS]
        if head[8:12] not in _BRANDS:
            return "video/mp4"
        return next((media_type for media_type in found if media_type != "image/heif"), found[0])
    if head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in _BMP_HEADERS:
        return "image/bmp"
    return "application/octet-stream"


# ----------------------------------------------------------------------------------------------------------------------
# Decoding


def _hash_picture(
    data: bytes, media_type: str, wanted: frozenset[str], limits: Limits, *, dihedral: bool
) -> tuple[int, int, int, tuple[FrameHashes, ...]]:
    """Return width and height of the upright first frame, frames in the file, and the hashes of those sampled."""
    _require_extra()
    from PIL import Image

    # Pillow warns about sizes, which are checked here, and about broken metadata, which is not looked at. A filter for
    # its modules alone, because `catch_warnings` swaps state that all threads of a server share; again on each call,
    # because applications and test runners reset the filters.
    warnings.filterwarnings("ignore", module="PIL")

    with _decoding(media_type):
        Image.init()
        plugin = _PILLOW_FORMATS.get(media_type)
        if plugin not in Image.OPEN:
            raise InvalidArgument(
                f"{media_type} pictures cannot be decoded here; convert the picture to JPEG or PNG",
                reason=Reason.UNREADABLE_MEDIA,
                metadata={"mediaType": media_type},
            )
        with Image.open(io.BytesIO(data), formats=(plugin,)) as picture:
            _check_pixels(picture, limits)
            count = _frame_count(picture, data, limits)
            if count * picture.width * picture.height > limits.max_total_pixels:
                raise _too_large(
                    "max_total_pixels",
                    limits.max_total_pixels,
                    "pixels in all frames",
                    f"the picture has {count} frames of {picture.width} x {picture.height}",
                )
            sampled = _sample(count, min(limits.max_frames, max(1, limits.max_pixels // _pixels(picture))))
            size = (0, 0)
            frames: dict[tuple[Hash, ...], FrameHashes] = {}
            clock = 0.0
            spent = 0
            for index in range(count):
                if count > 1:
                    picture.seek(index)
                    _check_pixels(picture, limits)  # pages and GIF frames have sizes of their own
                if index in sampled:
                    spent += picture.width * picture.height
                    if spent > limits.max_total_pixels:
                        raise _too_large(
                            "max_total_pixels", limits.max_total_pixels, "pixels in all frames", "the pages are larger"
                        )
                    picture.load()
                    shown = _displayed(picture)
                    size = size if any(size) else shown.size
                    # WebP and AVIF say when a frame is shown; in GIF and APNG it follows from the durations before it.
                    shown_at = _milliseconds(picture.info.get("timestamp"), clock)
                    frame = _hash_frame(shown, index, round(shown_at), wanted, dihedral=dihedral)
                    frames.setdefault(frame.hashes, frame)
                if count > 1:
                    clock += _milliseconds(picture.info.get("duration"), 0.0)
    return *size, count, tuple(frames.values())


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
def _decoding(media_type: str) -> Iterator[None]:
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


def _too_large(limit: str, bound: int, unit: str, found: str) -> LimitExceeded:
    return LimitExceeded(
        f"{found} than allowed: {limit} is {bound} {unit}; send a smaller picture or raise the limit",
        reason=Reason.MEDIA_TOO_LARGE,
        metadata={"limit": limit, "bound": str(bound)},
    )


# Decoding one takes ten times as long as in any other format.
_JPEG_2000_COUNTS: Final = 4


def _pixels(picture: Image.Image) -> int:
    """Return the pixels of the current frame, as `Limits.max_pixels` counts them; at least 1."""
    return max(1, picture.width * picture.height * (_JPEG_2000_COUNTS if picture.format == "JPEG2000" else 1))


def _check_pixels(picture: Image.Image, limits: Limits) -> None:
    size = f"the picture is {picture.width} x {picture.height}"
    if max(picture.size) > limits.max_side:
        raise _too_large("max_side", limits.max_side, "pixels", f"{size}, longer")
    if _pixels(picture) > limits.max_pixels:
        raise _too_large("max_pixels", limits.max_pixels, "pixels", f"{size}, larger")


def _frame_count(picture: Image.Image, data: bytes, limits: Limits) -> int:
    """Return the frames or pages in the file without decoding them; stop counting beyond `max_source_frames`.

    Pillow counts frames of GIF and pages of TIFF one by one and without end, so a file of millions would keep it busy
    for minutes. The other formats declare their number; if they declare too many, seeking fails.
    """
    most = limits.max_source_frames
    match picture.format:
        case "GIF":
            count = _gif_frame_count(data, most)
        case "TIFF":
            count = _page_count(picture, most)
        case _:
            count = getattr(picture, "n_frames", 1)
    if count > most:
        raise _too_large("max_source_frames", most, "frames", "the picture has more frames")
    return max(count, 1)


def _page_count(picture: Image.Image, most: int) -> int:
    """Return the pages of a TIFF, at most `most + 1`, one step at a time: asked for a page too far, Pillow
    miscounts.
    """
    count = 1
    while count <= most:
        try:
            picture.seek(count)
        except EOFError:
            break
        count += 1
    picture.seek(0)
    return count


# Blocks and stray bytes walked in a GIF. Encoders fill blocks with 255 bytes, so 255 MB of pixels stay below; a file of
# one-byte blocks would otherwise keep Pillow busy for most of a microsecond a byte.
_MAX_GIF_BLOCKS: Final = 1_000_000


def _gif_frame_count(data: bytes, most: int) -> int:
    """Return the image descriptors in a GIF (the blocks of GIF89a, section 12 on), at most `most + 1`.

    Raises:
        IndexError: where a descriptor is cut off.
        LimitExceeded: MEDIA_TOO_LARGE, if there are more than a million blocks.
    """

    def table_bytes(flags: int) -> int:
        return 3 << (flags & 7) + 1 if flags & 0x80 else 0

    at = 13 + table_bytes(data[10])
    count = 0
    in_data = False  # within sub-blocks, each of which follows its length; an empty one ends them
    for _ in range(_MAX_GIF_BLOCKS):
        if at >= len(data) or count > most:
            return count
        if in_data:
            in_data = data[at] > 0
            at += data[at] + 1
            continue
        match data[at]:
            case 0x3B:  # trailer
                return count
            case 0x2C:  # image descriptor, colour table, code size
                count += 1
                at += 11 + table_bytes(data[at + 9])
                in_data = True
            case 0x21:  # extension and its label
                at += 2
                in_data = True
            case _:  # decoders pass over stray bytes
                at += 1
    raise _too_large("blocks", _MAX_GIF_BLOCKS, "blocks", "the GIF has more blocks")


def _sample(count: int, most: int) -> frozenset[int]:
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
            upright = picture.transpose(Image.Transpose[turn])
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
    return upright.convert("RGB")


def _eight_bit(picture: Image.Image) -> Image.Image:
    import numpy as np
    from PIL import Image

    values = np.asarray(picture)
    if picture.mode != "F" and values.min() >= 0 and values.max() < 1 << 16:
        return Image.fromarray((values >> 8).astype(np.uint8))
    scaled = np.nan_to_num(values.astype(np.float64), posinf=0.0, neginf=0.0)
    low, high = np.min(scaled), np.max(scaled)
    return Image.fromarray(((scaled - low) * (255.0 / (high - low) if high > low else 0.0)).astype(np.uint8))


# ----------------------------------------------------------------------------------------------------------------------
# Hashing


def _hash_frame(
    picture: Image.Image, index: int, timestamp_ms: int, wanted: frozenset[str], *, dihedral: bool
) -> FrameHashes:
    """Return the hashes of an 8-bit RGB picture."""
    from PIL import Image

    transforms: tuple[Transform | None, ...] = (None, *Transform) if dihedral else (None,)
    found: dict[Transform | None, list[Hash]] = {t: [] for t in transforms}
    quality = None
    if "PDQ" in wanted:
        pdq, quality = _pdq(picture, dihedral=dihedral)
        for t in transforms:
            found[t].append(pdq[t])
    if not wanted.isdisjoint(("PHASH", "DHASH")):
        grey = picture.convert("L")  # what imagehash would do first, once for all
        for t in transforms:
            turned = grey if t is None else grey.transpose(Image.Transpose[t.value])
            found[t] += _imagehashes(turned, wanted)
    return FrameHashes(
        index=index,
        timestamp_ms=timestamp_ms,
        hashes=tuple(found[None]),
        quality=quality,
        variants=tuple(Variant(t, tuple(found[t])) for t in transforms if t is not None),
    )


def _pdq(picture: Image.Image, *, dihedral: bool) -> tuple[dict[Transform | None, Hash], int]:
    """Return the PDQ hash, by transform if `dihedral`, and the quality of the picture as it is."""
    import numpy as np

    from hashhub.hashing import pdq

    found = pdq.compute(np.asarray(picture), _MIRRORS.values() if dihedral else [_MIRRORS[None]])
    bits = {transform: found[mirror][0] for transform, mirror in _MIRRORS.items() if mirror in found}
    if dihedral:
        bits |= {turned: _transpose(bits[kept]) for turned, kept in _TRANSPOSED.items()}
    return {t: Hash("PDQ", b.to_bytes(_PDQ_BYTES)) for t, b in bits.items()}, found[_MIRRORS[None]][1]


def _imagehashes(grey: Image.Image, wanted: frozenset[str]) -> Iterator[Hash]:
    import imagehash
    import numpy as np

    for name, function in (("PHASH", imagehash.phash), ("DHASH", imagehash.dhash)):
        if name in wanted:
            yield Hash.of(name, np.packbits(function(grey).hash.flatten()).tobytes())
