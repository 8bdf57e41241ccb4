"""What a file is, by its first bytes alone: a picture or video that is to be decoded, or something else."""

from __future__ import annotations

import re
from typing import Final

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
