"""What is judged of a file before anything decodes it: its type, by its first bytes; what it may cost (`Limits`); how
many frames or scans it has and whether reading it ends soon, by a walk over its blocks.

Pillow and the libraries below it follow whatever a file says, some of it byte by byte in Python. A file of 30 MB can
name millions of frames, scans, chunks or pages; here they are counted with bounds, at a fraction of the cost. Each walk
goes where the decoder goes and counts at least what the decoder meets, so that damage cannot hide anything from it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from hashhub.errors import HashHubError, InvalidArgument, LimitExceeded, Reason, Violation
from hashhub.model import MAX_FRAMES

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from PIL import Image


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


SIGNATURE_BYTES: Final = 4096  # an SVG begins with comments, brands take 256, five packets of MPEG-2 TS 1,020

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
    (b"II\xbc\x01", "image/jxr"),
    (b"IIRO", "image/x-olympus-orf"),
    (b"IIRS", "image/x-olympus-orf"),
    (b"MMOR", "image/x-olympus-orf"),
    (b"IIU\x00", "image/x-panasonic-rw2"),
    (b"II\x1a\x00\x00\x00HEAPCCDR", "image/x-canon-crw"),
    (b"FUJIFILMCCD-RAW", "image/x-fuji-raf"),
    (b"FOVb", "image/x-sigma-x3f"),
    (b"\x8aMNG\r\n\x1a\n", "image/x-mng"),
    (b"\x8bJNG\r\n\x1a\n", "image/x-jng"),
    (b"v/1\x01", "image/x-exr"),
    (b"#?RADIANCE", "image/vnd.radiance"),
    (b"DDS |", "image/vnd.ms-dds"),
    (b"qoif", "image/qoi"),
    (b"BPG\xfb", "image/bpg"),
    (b"FLIF", "image/flif"),
    (b"gimp xcf", "image/x-xcf"),
    (b"\xb1\x68\xde\x3a", "image/x-pcx"),  # several of them, DCX
    (b"\x59\xa6\x6a\x95", "image/x-sun-raster"),
    (b"icns", "image/x-icns"),
    (b"\xd7\xcd\xc6\x9a", "image/wmf"),
    (b"\x01\x00\x00\x00\x58\x00\x00\x00", "image/emf"),
    (b"\x01\x00\x00\x00\x6c\x00\x00\x00", "image/emf"),
    (b"\x00\x00\x01\xba", "video/mpeg"),  # program stream
    (b"\x00\x00\x01\xb3", "video/mpeg"),  # MPEG-1 or MPEG-2 video alone
    (b"FLV\x01", "video/x-flv"),
    (b"0&\xb2u\x8ef\xcf\x11\xa6\xd9\x00\xaa\x00b\xcel", "video/x-ms-asf"),
    (b"OggS\x00", "video/ogg"),
    # Neither; named for the caller's sake.
    (b"%PDF-", "application/pdf"),
    (b"ID3", "audio/mpeg"),  # has a picture of its cover soon behind
    (b"PK\x03\x04", "application/zip"),
)

# Icons and cursors; also the lengths 256 and 512 of a first box, whose name then follows.
_ICONS: Final = ((b"\x00\x00\x01\x00", "image/vnd.microsoft.icon"), (b"\x00\x00\x02\x00", "image/vnd.microsoft.icon"))

# Brands of ISO base media files (ISO/IEC 14496-12, 23008-12, the AV1 image format); any other brand is a video.
# Those of coded pictures that libheif does not decode here end as errors, too.
_BRANDS: Final[dict[bytes, str]] = {
    **dict.fromkeys((b"avif", b"avis"), "image/avif"),
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"), "image/heic"),
    **dict.fromkeys((b"avci", b"avcs", b"vvic", b"vvis", b"j2ki", b"j2is", b"jpeg", b"jpgs"), "image/heif"),
    **dict.fromkeys((b"mif1", b"msf1", b"mif2", b"mif3", b"miaf", b"1pic", b"unif"), "image/heif"),
    b"crx ": "image/x-canon-cr3",
}

# A picture behind a few bytes that do not belong to it, such as a line break or a byte order mark: some viewers show
# it. Only signatures so long that they hardly stand anywhere by accident.
_MAX_STRAY_BYTES: Final = 16
_STRAY: Final = re.compile(rb"\xff\xd8\xff[\xc0-\xfe]|\x89PNG\r\n\x1a\n|GIF8[79]a|RIFF....WEBP", re.DOTALL)

_SVG: Final = re.compile(rb"<(?:[A-Za-z_][\w.-]*:)?svg[\s>/]")
# The text of a C program: X11 passes over whatever stands before the width, and everybody over comments.
_XBM: Final = re.compile(rb"#define[ \t]+(?:\S*_)?width[ \t]+\d+\s+#define[ \t]+(?:\S*_)?height[ \t]+\d")
_NETPBM: Final = re.compile(rb"P[1-6]\s+(?:#|\d)|P7\nWIDTH|P[Ff]\n\d")

# Major brands of videos that have a name of their own; QuickTime's is from Apple's file format specification.
_VIDEO_BRANDS: Final = ((b"qt  ", "video/quicktime"), (b"3gp", "video/3gpp"), (b"3g2", "video/3gpp"))

# First boxes of QuickTime files older than `ftyp`.
_OLD_BOXES: Final = frozenset({b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"})
_FIRST_BOXES: Final = _OLD_BOXES | {b"ftyp"}

# Packets of MPEG-2 TS: how long, and where in them the sync byte stands. Recordings of cameras put a time before each.
_PACKETS: Final = ((188, 0), (192, 4), (204, 0))
_SYNC: Final = 0x47

# Sizes of the header that follows a BMP's file header, one for each version of the format. `BM` alone also begins
# texts.
_BMP_HEADERS: Final = frozenset({12, 16, 40, 52, 56, 64, 108, 124})


def media_type_of(head: bytes) -> str:
    """Return the media type of a file by its first SIGNATURE_BYTES. Every `image/` is a picture, every `video/` may
    hold a video; what is not known is `application/octet-stream`.
    """
    signatures = _SIGNATURES if head[4:8] in _FIRST_BOXES else _SIGNATURES + _ICONS
    for signature, media_type in signatures:
        if head.startswith(signature):
            return media_type
    if len(head) < _SHORTEST and (of_remnant := _of_remnant(head)):
        return of_remnant
    if head[:4] == b"RIFF":
        return {b"WEBP": "image/webp", b"AVI ": "video/x-msvideo"}.get(head[8:12], "application/octet-stream")
    if head[4:8] == b"ftyp":
        size = min(int.from_bytes(head[:4]), len(head))
        brands = [head[8:12], *(head[at : at + 4] for at in range(16, size - 3, 4))]
        # The first brand is the major one, but `mif1` there says little: the compatible ones tell AVIF from HEIC.
        types = [_BRANDS[brand] for brand in brands if brand in _BRANDS]
        if not types:
            named = (media_type for brand, media_type in _VIDEO_BRANDS if head[8:12].startswith(brand))
            return next(named, "video/mp4")
        return next((media_type for media_type in types if media_type != "image/heif"), types[0])
    if head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in _BMP_HEADERS:
        return "image/bmp"
    if _NETPBM.match(head):
        return "image/x-portable-anymap"
    if of_numbers := _by_numbers(head):
        return of_numbers
    if begin := stray_bytes(head):
        return media_type_of(head[begin:])
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if text.startswith(b"<") and b"<html" not in text.lower() and _SVG.search(text):
        return "image/svg+xml"
    if text.startswith(b"/* XPM") or _XBM.search(head):
        return "image/x-xpixmap" if text.startswith(b"/*") else "image/x-xbitmap"
    return _video_type_of(head)


def _by_numbers(head: bytes) -> str | None:
    """Return the type of a picture that has no signature but the numbers of its header."""
    at, width, height = head[:4], head[4:8], head[8:12]
    # PCX: version, encoding, bits; the first corner is not behind the second; planes.
    if at[:1] == b"\n" and at[1:2] in _PCX_VERSIONS and at[2:3] in {b"\0", b"\1"} and at[3:4] in _PCX_BITS:
        left, top, right, bottom = (int.from_bytes(head[n : n + 2], "little") for n in range(4, 12, 2))
        if left <= right and top <= bottom and 1 <= int.from_bytes(head[65:66]) <= _PLANES:
            return "image/x-pcx"
    # SGI: packed or not, bytes of a channel, dimensions.
    if at[:2] == b"\x01\xda" and at[2:3] in {b"\0", b"\1"} and at[3:4] in {b"\1", b"\2"}:
        return "image/x-sgi" if width[:2] in {b"\0\1", b"\0\2", b"\0\3"} else None
    # DIB: a bitmap without the header of its file. Width, height, one plane, bits.
    size = int.from_bytes(at, "little")
    planes = head[8:12] if size == _OS2_HEADER else head[12:16]
    is_dib = size in _BMP_HEADERS and planes[:2] == b"\1\0" and planes[2:] in _DIB_BITS and any(width) and any(height)
    return "image/x-ms-dib" if is_dib else None


_PCX_VERSIONS: Final = (b"\0", b"\2", b"\3", b"\4", b"\5")
_PCX_BITS: Final = (b"\1", b"\2", b"\4", b"\x08")
_PLANES: Final = 4
_OS2_HEADER: Final = 12
_DIB_BITS: Final = tuple(n.to_bytes(2, "little") for n in (1, 4, 8, 16, 24, 32))
_SHORTEST: Final = 18  # bytes that tell any of these formats
_TELLING: Final = 3  # bytes of a signature that hardly begin anything else
_BRAND: Final = slice(11, 12)  # the last byte of the brand


def _of_remnant(head: bytes) -> str | None:
    """Return the type of a file so short that its signature itself is cut off: an error, not "no picture"."""
    for signature, media_type in (*_SIGNATURES, *_ICONS, (b"RIFF", "image/webp")):
        if len(head) >= _TELLING and signature.startswith(head):
            return media_type
    if head[:4] == b"RIFF" and not head[_BRAND]:
        return "image/webp"
    if head[4:8] == b"ftyp" and not head[_BRAND]:
        return "image/heif"
    return "image/bmp" if head[:2] == b"BM" and head[6:10] == bytes(4) else None


def stray_bytes(head: bytes) -> int:
    """Return how many stray bytes stand before a picture; 0 for any other file."""
    if any(head.startswith(signature) for signature, _ in _SIGNATURES):
        return 0
    picture = _STRAY.search(head, 0, _MAX_STRAY_BYTES + 12)
    return picture.start() if picture is not None and picture.start() <= _MAX_STRAY_BYTES else 0


def _video_type_of(head: bytes) -> str:
    """Return the type of a video that has no signature at its very beginning."""
    if head.startswith(b"\x1aE\xdf\xa3"):  # EBML; the document type follows within its header
        return "video/webm" if b"webm" in head[:64] else "video/x-matroska"
    if head[4:8] in _OLD_BOXES and (head[0] == 0 or head[4:8] == b"mdat"):
        return "video/quicktime"
    return "video/mp2t" if packet_bytes(head) else "application/octet-stream"


def packet_bytes(head: bytes) -> int:
    """Return the length of a packet of the MPEG-2 transport stream that begins with `head`; 0 if it is none."""
    for length, at in _PACKETS:
        if len(head) > 2 * length + at and all(byte == _SYNC for byte in head[at::length]):
            return length
    return 0


# Blocks and stray bytes walked in a GIF. Encoders fill blocks with 255 bytes, so 255 MB of pixels stay below; a file of
# one-byte blocks would otherwise keep Pillow busy for most of a microsecond a byte.
_MAX_GIF_BLOCKS: Final = 1_000_000

# Segments, chunks or boxes of the other formats, and stray bytes among them: Pillow needs 1 to 4 microseconds for each.
# Encoders write tens; a PNG of 30 MB in pieces of 8 KiB has 4,000.
_MAX_BLOCKS: Final = 100_000

# Tags of all pages of a TIFF, and half a microsecond each; a page has some 15.
_MAX_TAGS: Final = 500_000


def frame_count(picture: Image.Image, data: bytes, limits: Limits) -> int:
    """Return the frames or pages, up to beyond `max_source_frames`. Pillow counts those of GIF and TIFF one by one, for
    minutes if there are millions; other formats declare them, and seeking fails beyond.
    """
    most = limits.max_source_frames
    match picture.format:
        case "GIF":
            count, _ = _gif_frames(data, most)
        case "TIFF":
            count = _page_count(picture, most)
        case _:
            count = getattr(picture, "n_frames", 1)
    if count > most:
        raise too_large("max_source_frames", most, "frames", "the picture has more frames")
    return max(count, 1)


def check_blocks(data: bytes, media_type: str) -> None:
    """Raise LimitExceeded (MEDIA_TOO_LARGE) for a file of so many blocks that reading their names takes seconds."""
    match media_type:
        case "image/png":
            _check_png_chunks(data)
        case "image/jp2":
            _check_jpeg_2000_blocks(data)
        case "image/jpeg":
            _check_jpeg_header(data, 0)


def scan_count(data: bytes, begin: int, limits: Limits) -> int:
    """Return the scans of the JPEG that begins at `begin` (ITU-T T.81, table B.1): each costs time for the whole
    picture. As libjpeg does, the walk passes over stray bytes, and a marker ends a scan's data. Raises LimitExceeded
    (MEDIA_TOO_LARGE).
    """
    count = 0
    for code, _, _ in _segments(data, _check_jpeg_header(data, begin)):
        if code == _END:
            break
        if code == _SCAN:
            count += 1
            if count > limits.max_scans:
                raise too_large("max_scans", limits.max_scans, "scans", "the JPEG has more scans")
    return count


def jpeg_end(data: bytes, begin: int) -> int:
    """Return where the marker is that ends the JPEG which begins at `begin`, or the length of the data."""
    return next((at for code, at, _ in _segments(data, begin + 2) if code == _END), len(data))


def film_behind(data: bytes) -> int:
    """Return where an MP4 file follows the JPEG, as phones put one there (motion photos); -1: there is none."""
    if b"ftyp" not in data:  # a search takes a tenth of the walk to the end of a JPEG
        return -1
    at = jpeg_end(data, 0)
    while (at := data.find(b"ftyp", at + 4)) >= 0:
        is_film = int.from_bytes(data[at - 4 : at]) in _FTYP_BYTES
        if is_film and not media_type_of(data[at - 4 : at + SIGNATURE_BYTES]).startswith("image/"):
            return at - 4
    return -1


_FTYP_BYTES: Final = range(16, 1024)


def has_picture_behind(picture: Image.Image, data: bytes, film: int, limits: Limits) -> bool:
    """Return whether another picture stands behind the last frame, before the `film` if there is one."""
    until = len(data) if film < 0 else film
    end = _tiff(data, limits)[1] if picture.format == "TIFF" else _end(picture, data)
    behind = data[end:until]
    if len(behind) < _LEAST_PICTURE:
        return False
    for near in (behind, behind.lstrip(b"\0")):  # writers fill up to a round number
        kind = media_type_of(near[:SIGNATURE_BYTES]) if len(near) >= _LEAST_PICTURE else ""
        if kind.startswith("image/") and kind != "image/jpeg":
            return True
    for signature in _BEHIND:  # four searches are a tenth of one by a pattern
        at = -1
        while (at := behind.find(signature, at + 1)) >= 0:
            begin = at - _BRAND_AT if signature == b"ftyp" else at - _WEBP_AT if signature == b"WEBP" else at
            is_picture = begin >= 0 and media_type_of(behind[begin : begin + SIGNATURE_BYTES]).startswith("image/")
            # Three bytes alone stand in much by accident: another segment follows a JPEG's first.
            after = behind[at + 4 + _segment_bytes(behind, at + 4) :][:1]
            if is_picture and (signature != _JPEG or after == b"\xff"):
                return True
    return False


_JPEG: Final = b"\xff\xd8\xff"
_BEHIND: Final = (_JPEG, b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"WEBP", b"ftyp")
_BRAND_AT, _WEBP_AT = 4, 8
_LEAST_PICTURE: Final = 18  # bytes


def _end(picture: Image.Image, data: bytes) -> int:
    """Return where a picture that can be opened ends; the length of the data where that is not known."""
    match picture.format:
        case "JPEG" | "MPO":
            at = end = 0
            for _ in range(getattr(picture, "n_frames", 1)):
                end = jpeg_end(data, max(at, 0)) + 2
                at = data.find(_JPEG, end)
            return end
        case "PNG":
            at = 8
            while at + 12 <= len(data) and data[at + 4 : at + 8] != b"IEND":
                at += 12 + int.from_bytes(data[at : at + 4])
            return at + 12
        case "GIF":
            return _gif_frames(data, _MAX_GIF_BLOCKS)[1]
        case "WEBP":
            return 8 + int.from_bytes(data[4:8], "little")
        case "BMP":
            begin = int.from_bytes(data[10:14], "little")
            if int.from_bytes(data[30:34], "little") in _PACKED and int.from_bytes(data[14:18], "little") > _OS2_HEADER:
                return begin + int.from_bytes(data[34:38], "little")
            bits = int.from_bytes(data[24:26] if data[14] == _OS2_HEADER else data[28:30], "little")
            return begin + (picture.width * bits + 31) // 32 * 4 * picture.height
        case "JPEG2000":
            # No two bytes of a codestream are above 0xFF8F but markers, so that its end is the first of its kind.
            end = data.find(b"\xff\xd9", max(0, data.find(b"\xff\x4f\xff\x51")))
            return end + 2 if end >= 0 else len(data)
        case "AVIF" | "HEIF":
            return _boxes_end(data)
    return len(data)


def _boxes_end(data: bytes) -> int:
    """Return where boxes end that follow one another, before any that is cut off and before a second `ftyp`."""
    at = 0
    while at + 8 <= len(data) and (at == 0 or data[at + 4 : at + 8] != b"ftyp"):
        size = int.from_bytes(data[at : at + 4])
        if size == 1:
            size = int.from_bytes(data[at + 8 : at + 16])
        if size == 0 and data[at + 4 : at + 8] in {b"mdat", b"meta"}:  # up to the end
            return len(data)
        if not 8 <= size <= len(data) - at:  # noqa: PLR2004 - its length and name
            break
        at += size
    return at


_PACKED: Final = frozenset({1, 2})  # by run lengths, so that only the header says how long it is


def is_raw(data: bytes, limits: Limits) -> bool:
    """Return whether a TIFF is a camera's raw file or holds a full picture that is no page of it: Digital Negative 1.7,
    tag 50706; Canon's CR2; Nikon's, Sony's and others' by SubIFDs (tag 330) that are no reduced copies (tag 254, bit
    0). Raises LimitExceeded (MEDIA_TOO_LARGE).
    """
    return data[8:11] == b"CR\x02" or _tiff(data, limits)[0]


def _tiff(data: bytes, limits: Limits) -> tuple[bool, int]:
    """Return whether a TIFF holds a full picture that is no page of it, and where the last ends that it names."""
    import numpy as np

    order: Literal["little", "big"] = "little" if data.startswith(b"II") else "big"
    is_big = int.from_bytes(data[2:4], order) == _BIG_TIFF
    word = 8 if is_big else 4
    left = _MAX_TAGS
    end = 0

    def number(at: int, size: int) -> int:
        return int.from_bytes(data[at : at + size], order)

    def numbers(count: int, at: int, of_one: int) -> npt.NDArray[np.int64]:
        count = min(count, max(0, len(data) - at) // of_one)
        kind = f"{'<' if order == 'little' else '>'}u{of_one}"
        return np.frombuffer(data, kind, count, at if count else 0).astype(np.int64)

    def directory(at: int) -> tuple[dict[int, tuple[int, int, int]], int]:
        """Return by tag the count and place of its values and the bytes of one, and where the next directory is."""
        nonlocal left, end
        head, entry = (8, 20) if is_big else (2, 12)
        count = min(number(at, head), max(0, len(data) - at) // entry)
        left -= 1 + count
        if left < 0:
            raise too_large("blocks", _MAX_TAGS, "tags", "the TIFF has more")
        tags: dict[int, tuple[int, int, int]] = {}
        end = max(end, at + head + count * entry + word)
        for place in range(at + head, at + head + count * entry, entry):
            values = number(place + 4, word)
            of_one = _VALUE_BYTES.get(number(place + 2, 2), 4)
            value = place + 4 + word
            if values * of_one > word:
                value = number(value, word)
                end = max(end, value + values * of_one)
            tags[number(place, 2)] = values, value, of_one
        for places, lengths in _PARTS:
            if places in tags and lengths in tags:
                begins, sizes = (numbers(*tags[tag]) for tag in (places, lengths))
                most = min(len(begins), len(sizes))
                end = max(end, int((begins[:most] + sizes[:most]).max(initial=0)))
        return tags, number(at + head + count * entry, word)

    at = number(8 if is_big else 4, word)
    seen: set[int] = set()
    while at and at not in seen and at < len(data) and len(seen) < limits.max_source_frames:
        seen.add(at)
        tags, at = directory(at)
        if _DNG_VERSION in tags:
            return True, end
        count, place, _ = tags.get(_SUB_IFDS, (0, 0, 0))
        for inner in range(place, place + word * count, word):
            of_inner, _ = directory(number(inner, word))
            _, kind, _ = of_inner.get(_NEW_SUBFILE_TYPE, (0, 0, 0))
            if not (kind and number(kind, 4) & 1):
                return True, end
    return False, end


_BIG_TIFF: Final = 43
_VALUE_BYTES: Final = {1: 1, 2: 1, 3: 2, 5: 8, 6: 1, 7: 1, 8: 2, 10: 8, 12: 8, 16: 8, 17: 8, 18: 8}  # by type; else 4
_PARTS: Final = ((273, 279), (324, 325), (513, 514))  # strips, tiles, an old JPEG: places and lengths
_DNG_VERSION: Final = 50706
_SUB_IFDS: Final = 330
_NEW_SUBFILE_TYPE: Final = 254

# 0xFF 0x00 is a byte of a scan's data, 0xFF 0xFF is filling, and restart markers stand within a scan.
_MARKER: Final = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_END: Final = 0xD9
_SCAN: Final = 0xDA
_ALONE: Final = frozenset({0x01, 0xD8})  # besides restarts and the end, the markers without a length


def _segment_bytes(data: bytes, at: int) -> int:
    """Return the length that stands at `at`, which counts itself."""
    return max(2, int.from_bytes(data[at : at + 2]))


def _segments(data: bytes, at: int) -> Iterator[tuple[int, int, int]]:
    """Yield the code of each marker of a JPEG, from `at` on, where it stands, and where its segment ends."""
    while (marker := _MARKER.search(data, at)) is not None:
        code, at = data[marker.end() - 1], marker.end()
        if code not in _ALONE:
            at += _segment_bytes(data, at)
        yield code, marker.start(), at


def _check_jpeg_header(data: bytes, begin: int) -> int:
    """Return where the first scan's marker is, or the length of the data if there is none."""
    at, left = begin + 2, _MAX_BLOCKS
    for code, start, end in _segments(data, at):
        left -= 1 + start - at
        if left < 0:
            break
        if code == _SCAN:
            return start
        at = end
    if len(data) - at > left:
        raise too_large("blocks", _MAX_BLOCKS, "blocks", "the JPEG has more segments or stray bytes before its picture")
    return len(data)


def _check_png_chunks(data: bytes) -> None:
    """Raise LimitExceeded for more chunks than are read (PNG specification, section 5.3: length, type, data, CRC)."""
    at = 8
    for _ in range(_MAX_BLOCKS):
        if at + 12 > len(data):
            return
        at += 12 + int.from_bytes(data[at : at + 4])
    raise too_large("blocks", _MAX_BLOCKS, "chunks", "the PNG has more chunks")


def _check_jpeg_2000_blocks(data: bytes) -> None:
    """Raise LimitExceeded for too many boxes or header segments (ISO/IEC 15444-1, annexes I.4 and A.1)."""
    at = 0
    is_codestream = data.startswith(b"\xff\x4f")
    if is_codestream:
        at = 2
    for _ in range(_MAX_BLOCKS):
        if at + 4 > len(data):
            return
        if is_codestream:
            if data[at : at + 2] in {b"\xff\x90", b"\xff\xd9"}:  # the first tile, or the end
                return
            at += 2 + _segment_bytes(data, at + 2)
            continue
        size = int.from_bytes(data[at : at + 4])
        if data[at + 4 : at + 8] == b"jp2c":  # the codestream is in this box
            at += 16 if size == 1 else 8
            is_codestream = True
            at += 2
        elif size == 1:
            at += max(16, int.from_bytes(data[at + 8 : at + 16]))
        elif size == 0:  # up to the end
            return
        else:
            at += max(8, size)
    raise too_large("blocks", _MAX_BLOCKS, "blocks", "the JPEG 2000 file has more blocks")


def _page_count(picture: Image.Image, most: int) -> int:
    """Return the pages of a TIFF, at most `most + 1`, step by step: Pillow miscounts when it leaps too far."""
    count = 1
    while count <= most:
        try:
            picture.seek(count)
        except EOFError:
            break
        count += 1
    picture.seek(0)
    return count


def _gif_frames(data: bytes, most: int) -> tuple[int, int]:
    """Return the image descriptors in a GIF (GIF89a, section 12 on), at most `most + 1`, and where it ends. Raises
    IndexError or ValueError for one that is cut off, LimitExceeded (MEDIA_TOO_LARGE) for a million blocks.
    """

    def table_bytes(flags: int) -> int:
        return 3 << (flags & 7) + 1 if flags & 0x80 else 0

    at = 13 + table_bytes(data[10])
    count = 0
    in_data = False  # within sub-blocks, each of which follows its length; an empty one ends them
    for _ in range(_MAX_GIF_BLOCKS):
        if count > most:
            return count, at
        if at >= len(data):
            raise ValueError("no trailer")
        if in_data:
            in_data = data[at] > 0
            at += data[at] + 1
            continue
        match data[at]:
            case 0x3B:  # trailer
                return count, at + 1
            case 0x2C:  # image descriptor, colour table, code size
                count += 1
                at += 11 + table_bytes(data[at + 9])
                in_data = True
            case 0x21:  # extension and its label
                at += 2
                in_data = True
            case _:  # decoders pass over stray bytes
                at += 1
    raise too_large("blocks", _MAX_GIF_BLOCKS, "blocks", "the GIF has more blocks")
