"""Synthetic files of each format that people upload, small enough to be damaged in hundreds of ways."""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from PIL import Image

from hashhub.hashing.decoding import load_decoders
from hashhub.testing.pictures import picture

SIZE = (96, 72)


def scene(seed: int = 3, size: tuple[int, int] = SIZE) -> Image.Image:
    return picture(seed, size)


def encoded(image: Image.Image, image_format: str, **options: Any) -> bytes:
    load_decoders()  # registers HEIF
    buffer = io.BytesIO()
    image.copy().save(buffer, image_format, **options)  # a picture remembers options of the format before
    return buffer.getvalue()


def animated(image_format: str, frames: Sequence[Image.Image], **options: Any) -> bytes:
    return encoded(frames[0], image_format, save_all=True, append_images=[f.copy() for f in frames[1:]], **options)


def translucent(image: Image.Image) -> Image.Image:
    """The picture, from clear at the top to opaque at the bottom."""
    clear = image.copy()
    clear.putalpha(Image.linear_gradient("L").resize(image.size))
    return clear


def hidden(image: Image.Image) -> Image.Image:
    """The picture behind full transparency: nothing of it is seen."""
    clear = image.copy()
    clear.putalpha(0)
    return clear


def deep_grey(image: Image.Image) -> Image.Image:
    """The picture in 16-bit grey, dark enough that not all of it is clipped at 255."""
    values = np.asarray(image.convert("L"), dtype=np.float64) / 255
    return Image.fromarray((values**4 * 65_535).astype(np.uint16))


def exif(orientation: int) -> Image.Exif:
    block = Image.Exif()
    block[0x0112] = orientation
    return block


@cache
def files() -> dict[str, bytes]:
    """One file of each kind of each format: still and moving, with and without compression, alpha, tiles."""
    still, alpha, frames = scene(), translucent(scene()), [scene(seed) for seed in range(3)]
    made = {
        "jpeg": encoded(still, "JPEG"),
        "jpeg-progressive": encoded(still, "JPEG", progressive=True),
        "jpeg-restarts": encoded(still, "JPEG", restart_marker_rows=1),
        "jpeg-cmyk": encoded(still.convert("CMYK"), "JPEG"),
        "mpo": animated("MPO", frames),
        "png": encoded(still, "PNG"),
        "png-palette": encoded(still.quantize(64), "PNG"),
        "png-alpha": encoded(alpha, "PNG"),
        "png-16-bit": encoded(deep_grey(still), "PNG"),
        "png-animated": animated("PNG", frames, duration=50),
        "gif": encoded(still, "GIF"),
        "gif-interlaced": encoded(still, "GIF", interlace=1),
        "gif-animated": animated("GIF", frames, duration=50),
        "webp": encoded(still, "WEBP"),
        "webp-lossless": encoded(still, "WEBP", lossless=True),
        "webp-alpha": encoded(alpha, "WEBP"),
        "webp-animated": animated("WEBP", frames, duration=50),
        "bmp": encoded(still, "BMP"),
        "bmp-palette": encoded(still.quantize(64), "BMP"),
        "tiff": encoded(still, "TIFF"),
        "tiff-lzw": encoded(still, "TIFF", compression="tiff_lzw"),
        "tiff-deflate": encoded(still, "TIFF", compression="tiff_adobe_deflate"),
        "tiff-jpeg": encoded(still, "TIFF", compression="jpeg"),
        "tiff-packbits": encoded(still, "TIFF", compression="packbits"),
        "tiff-fax": encoded(still.convert("1"), "TIFF", compression="group4"),
        "tiff-pages": animated("TIFF", frames),
        "tiff-pages-lzw": animated("TIFF", frames, compression="tiff_lzw"),
        "heic": encoded(still, "HEIF"),
        "heic-grey": encoded(still.convert("L"), "HEIF"),
        "heic-alpha": encoded(alpha, "HEIF"),
        "heic-thumbnail": encoded(still, "HEIF", thumbnails=[48]),
        "heic-grid": encoded(still, "HEIF", tile_size=64),
        "heic-pictures": animated("HEIF", frames),
        "avif": encoded(still, "AVIF"),
        "avif-alpha": encoded(alpha, "AVIF"),
        "avif-animated": animated("AVIF", frames, duration=50),
        "jp2": encoded(still, "JPEG2000"),
        "jp2-tiles": encoded(still, "JPEG2000", tile_size=(32, 32)),
    }
    return {name: made[name] for name in sorted(made)}


def box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", 8 + len(content)) + kind + content


MP4 = box(b"ftyp", b"mp42\0\0\0\0mp42isom") + box(b"mdat", b"frames") + box(b"moov", b"")
"""The skeleton of a film, as phones put one behind a picture."""


def with_size(data: bytes, width: int, height: int) -> bytes:
    """The HEIC or AVIF file, but every item declares this size."""
    changed = bytearray(data)
    at = -1
    while (at := changed.find(b"ispe", at + 1)) >= 0:
        struct.pack_into(">II", changed, at + 8, width, height)
    return bytes(changed)
