"""What a file is, by its first bytes alone: a picture or video that is to be decoded, or something else."""

from __future__ import annotations

from typing import Final

SIGNATURE_BYTES: Final = 1024  # enough for the brands of an ISO base media file, and five packets of MPEG-2 TS

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
    (b"\x00\x00\x01\xba", "video/mpeg"),  # program stream
    (b"\x00\x00\x01\xb3", "video/mpeg"),  # MPEG-1 or MPEG-2 video alone
    (b"FLV\x01", "video/x-flv"),
    (b"0&\xb2u\x8ef\xcf\x11\xa6\xd9\x00\xaa\x00b\xcel", "video/x-ms-asf"),
    (b"OggS\x00", "video/ogg"),
    # Neither; named for the caller's sake.
    (b"%PDF-", "application/pdf"),
    (b"PK\x03\x04", "application/zip"),
)

# Brands of ISO base media files (ISO/IEC 14496-12, 23008-12, the AV1 image format); any other brand is a video.
_BRANDS: Final[dict[bytes, str]] = {
    **dict.fromkeys((b"avif", b"avis"), "image/avif"),
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"), "image/heic"),
    **dict.fromkeys((b"mif1", b"msf1", b"mif2", b"miaf"), "image/heif"),
}

# Major brands of videos that have a name of their own; QuickTime's is from Apple's file format specification.
_VIDEO_BRANDS: Final = ((b"qt  ", "video/quicktime"), (b"3gp", "video/3gpp"), (b"3g2", "video/3gpp"))

# First boxes of QuickTime files older than `ftyp`.
_OLD_BOXES: Final = frozenset({b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"})

# Packets of MPEG-2 TS: how long, and where in them the sync byte stands. Recordings of cameras put a time before each.
_PACKETS: Final = ((188, 0), (192, 4), (204, 0))
_SYNC: Final = 0x47

# Sizes of the header that follows a BMP's file header, one for each version of the format. `BM` alone also begins
# texts.
_BMP_HEADERS: Final = frozenset({12, 16, 40, 52, 56, 64, 108, 124})


def media_type_of(head: bytes) -> str:
    """Return the media type of a file that begins with `head`, its first SIGNATURE_BYTES or all of it.

    Every `image/` type is a picture, every `video/` type may hold a video; `application/octet-stream` is what is not
    known.
    """
    for signature, media_type in _SIGNATURES:
        if head.startswith(signature):
            return media_type
    if head[:4] == b"RIFF":
        return {b"WEBP": "image/webp", b"AVI ": "video/x-msvideo"}.get(head[8:12], "application/octet-stream")
    if head[4:8] == b"ftyp":
        size = min(int.from_bytes(head[:4]), len(head))
        brands = [head[8:12], *(head[at : at + 4] for at in range(16, size - 3, 4))]
        # The first brand is the major one, but `mif1` there says little: the compatible ones tell AVIF from HEIC.
        types = [_BRANDS[brand] for brand in brands if brand in _BRANDS]
        if head[8:12] not in _BRANDS:
            named = (media_type for brand, media_type in _VIDEO_BRANDS if head[8:12].startswith(brand))
            return next(named, "video/mp4")
        return next((media_type for media_type in types if media_type != "image/heif"), types[0])
    if head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in _BMP_HEADERS:
        return "image/bmp"
    return _video_type_of(head)


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
