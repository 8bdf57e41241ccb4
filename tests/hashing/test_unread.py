"""Pictures that are not read: formats that nothing here decodes, and a second picture behind the first."""

from __future__ import annotations

import io
import os
from functools import cache
from typing import Any, Final

import numpy as np
import pytest
from PIL import Image

from hashhub.errors import InvalidArgument, Reason
from hashhub.hashing import hash_media
from hashhub.hashing.structure import media_type_of
from hashhub.testing.pictures import picture

pillow_heif = pytest.importorskip("pillow_heif")
FIRST: Final = ("JPEG", "MPO", "PNG", "APNG", "GIF", "WEBP", "BMP", "AVIF", "HEIF", "JPEG2000", "J2K", "TIFF", "TIFFs")
BEHIND: Final = ("JPEG", "PNG", "GIF", "WEBP", "AVIF", "HEIF")
DIRECTLY_BEHIND: Final = ("BMP", "TIFF", "PCX", "SGI", "DIB", "XBM", "PPM")


@cache
def encoded(kind: str, seed: int = 1) -> bytes:
    pillow_heif.register_heif_opener()
    out = io.BytesIO()
    one, other = picture(seed, (97, 64)), picture(seed + 100, (97, 64))
    options: dict[str, Any] = {"format": kind}
    match kind:
        case "MPO" | "GIF":
            options |= {"save_all": True, "append_images": [other]}
        case "TIFFs":
            options = {"format": "TIFF", "save_all": True, "append_images": [other], "compression": "jpeg"}
        case "APNG":
            options = {"format": "PNG", "save_all": True, "append_images": [other]}
        case "J2K":
            options = {"format": "JPEG2000", "no_jp2": True}
        case "XBM":
            one = one.convert("1")
    one.save(out, **options)
    return out.getvalue()


def assert_unread(data: bytes) -> None:
    with pytest.raises(InvalidArgument) as error:
        hash_media(data)
    assert error.value.reason is Reason.UNREADABLE_MEDIA


@pytest.mark.parametrize("kind", ["PCX", "SGI", "DIB", "XBM", "ICNS", "DDS", "PPM"])
def test_a_format_that_is_not_read(kind: str) -> None:
    assert media_type_of(encoded(kind)).startswith("image/")
    assert_unread(encoded(kind))


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
@pytest.mark.parametrize("kind", ["PCX", "SGI", "DIB"])
def test_each_kind_of_pixels(kind: str, mode: str) -> None:
    if kind == "SGI" and mode in {"1", "P"}:
        mode = "RGBA"
    out = io.BytesIO()
    picture(3, (33, 20)).convert(mode).save(out, kind)
    assert_unread(out.getvalue())


@pytest.mark.parametrize("before", [b"", b"/* a picture */\n", b"\n// made by a program\n", b"\xef\xbb\xbf\r\n"])
def test_a_picture_written_as_c(before: bytes) -> None:
    assert_unread(before + encoded("XBM"))
    assert_unread(b"/* XPM */\nstatic char *a[] = {};")


@pytest.mark.parametrize(
    "text",
    [
        b"#define WIDTH 30\n#define HEIGHT 20\n", b"#include <width.h>\n#define width 3\nint height;", b"\n\n\n\n\n\n",
        b"\n\x05\x01\x08 is how some other file begins" + bytes(100), bytes(100), b"(\0\0\0" + bytes(100),
        b"\x01\xda\x09\x09" + bytes(100), b"a letter\n" * 20,
    ],
)  # fmt: skip
def test_what_is_no_picture_is_not_called_one(text: bytes) -> None:
    assert not media_type_of(text).startswith("image/")


@pytest.mark.parametrize("padding", [b"", b"and then ", b"\0" * 500])
@pytest.mark.parametrize("second", BEHIND)
@pytest.mark.parametrize("first", FIRST)
def test_a_second_picture_behind_the_first_is_not_read(first: str, second: str, padding: bytes) -> None:
    assert hash_media(encoded(first)).frames
    assert_unread(encoded(first) + padding + encoded(second, 2))


@pytest.mark.parametrize("second", DIRECTLY_BEHIND)
@pytest.mark.parametrize("first", FIRST)
def test_any_second_picture_directly_behind_the_first_is_not_read(first: str, second: str) -> None:
    assert_unread(encoded(first) + encoded(second, 2))


@pytest.mark.parametrize("first", FIRST)
def test_other_things_behind_a_picture_are_no_pictures(first: str) -> None:
    whole = hash_media(encoded(first)).frames
    noise = np.random.default_rng(1).integers(0, 256, 300_000, np.uint8).tobytes()
    for behind in (
        bytes(4000),
        b"\0\0\0",
        b"made by a camera " * 9,
        noise,
        b"\xff\xd8\xff and so on" * 9,
        os.urandom(9),
    ):
        assert hash_media(encoded(first) + behind).frames == whole


def test_a_thumbnail_and_a_preview_are_no_second_picture() -> None:
    exif = Image.Exif()
    exif[0x010E] = "a description"
    out = io.BytesIO()
    picture(1, (97, 64)).save(out, "JPEG", exif=exif.tobytes() + encoded("JPEG", 5), comment=encoded("PNG", 6)[:60_000])
    assert hash_media(out.getvalue()).frames


def test_a_film_behind_a_picture_is_told_as_before() -> None:
    film = b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + b"\0\0\0\x08free" + encoded("JPEG", 2)
    hashed = hash_media(encoded("JPEG") + film)
    assert hashed.skipped is not None
    assert_unread(encoded("JPEG") + encoded("JPEG", 2) + film)
