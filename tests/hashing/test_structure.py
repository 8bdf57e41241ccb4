"""Files that say much with few bytes are refused before anything is decoded; what encoders write is not."""

from __future__ import annotations

import io
import itertools
import random
import struct
import zlib
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from hashhub.errors import LimitExceeded, Reason
from hashhub.hashing import Limits, hash_media
from hashhub.hashing.structure import scan_count
from hashhub.testing.pictures import picture
from tests.examples import examples

MANY = 10_000_000  # bytes of what is repeated


def encoded(image: Image.Image, image_format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


@cache
def progressive(size: tuple[int, int] = (160, 120)) -> bytes:
    return encoded(picture(3, size), "JPEG", progressive=True, quality=80)


def scans(jpeg: bytes) -> Iterator[tuple[int, int]]:
    """Where each scan of a JPEG that an encoder wrote begins and ends."""
    at = 2
    while jpeg[at + 1] != 0xD9:
        begin, is_scan = at, jpeg[at + 1] == 0xDA
        at += 2 + int.from_bytes(jpeg[at + 2 : at + 4])
        if is_scan:
            while jpeg[at] != 0xFF or jpeg[at + 1] in {0, *range(0xD0, 0xD8)}:
                at += 1
            yield begin, at


def with_scans(count: int, jpeg: bytes = b"", *, with_data: bool = True) -> bytes:
    """The progressive picture, its last scan repeated until there are `count`."""
    jpeg = jpeg or progressive()
    places = list(scans(jpeg))
    begin, end = places[-1]
    scan = jpeg[begin : end if with_data else begin + 2 + int.from_bytes(jpeg[begin + 2 : begin + 4])]
    return jpeg[:end] + scan * (count - len(places)) + jpeg[end:]


def refusal(data: bytes, **limits: Any) -> dict[str, str]:
    with pytest.raises(LimitExceeded) as refused:
        hash_media(data, limits=Limits(**limits))
    assert refused.value.reason is Reason.MEDIA_TOO_LARGE
    return refused.value.metadata


class TestScans:
    @pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
    @pytest.mark.parametrize("options", [{}, {"progressive": True}, {"progressive": True, "restart_marker_rows": 1}])
    def test_what_encoders_write_is_counted_exactly(self, mode: str, options: dict[str, Any]) -> None:
        data = encoded(picture(2, (160, 120)).convert(mode), "JPEG", **options)
        expected = {"L": 6, "RGB": 10, "CMYK": 18}[mode] if "progressive" in options else 1
        assert scan_count(data, 0, Limits()) == expected == len(list(scans(data)))
        assert hash_media(data).frames

    def test_they_are_bounded_inclusively(self) -> None:
        assert hash_media(with_scans(64)).frames
        assert refusal(with_scans(65)) == {"limit": "max_scans", "bound": "64"}
        assert hash_media(with_scans(65), limits=Limits(max_scans=65)).frames

    @pytest.mark.parametrize("with_data", [True, False])
    def test_thousands_are_refused(self, *, with_data: bool) -> None:
        assert refusal(with_scans(3000, with_data=with_data))["limit"] == "max_scans"

    def test_scans_times_pixels_are_bounded_inclusively(self) -> None:
        pixels = 160 * 120
        assert hash_media(with_scans(20), limits=Limits(max_scan_pixels=20 * pixels)).frames
        assert refusal(with_scans(20), max_scan_pixels=20 * pixels - 1)["limit"] == "max_scan_pixels"

    def test_those_of_all_pictures_of_an_mpo_count(self) -> None:
        frames = [picture(n, (160, 120)) for n in range(3)]  # Pillow misplaces a fourth when it writes
        data = encoded(frames[0], "MPO", save_all=True, append_images=frames[1:], progressive=True)
        total = 3 * 10 * 160 * 120
        assert hash_media(data, limits=Limits(max_scan_pixels=total)).frame_count == 3
        assert refusal(data, max_scan_pixels=total - 1)["limit"] == "max_scan_pixels"

    def test_a_thumbnail_and_what_follows_the_picture_do_not_count(self) -> None:
        exif = Image.Exif()
        exif[0x010E] = "x"
        plain = encoded(picture(2, (160, 120)), "JPEG", exif=exif.tobytes() + with_scans(100)[:60_000])
        assert scan_count(plain, 0, Limits()) == 1
        assert scan_count(progressive() + with_scans(100), 0, Limits()) == 10

    @given(st.integers(0, 2**32), st.integers(1, 12))
    @settings(max_examples=examples(200), deadline=None)
    def test_no_damage_hides_scans_from_the_count(self, seed: int, damages: int) -> None:
        """Filling, stray bytes, restart markers and stuffed bytes go wherever decoders pass over them."""
        rng = random.Random(seed)
        data = bytearray(with_scans(80))
        marks = [m for m in range(2, len(data) - 1) if data[m] == 0xFF and data[m + 1] == 0xDA]
        for at in sorted(rng.sample(marks, damages), reverse=True):
            stray = rng.choice(
                [
                    b"\xff" * rng.randint(1, 9),
                    b"\0" * 5,
                    b"\xff\x00" * 3,
                    b"\xff\xd3",
                    rng.randbytes(4).replace(b"\xff", b"\0"),
                ]
            )
            data[at:at] = stray
        with pytest.raises(LimitExceeded):
            scan_count(bytes(data), 0, Limits())

    @given(st.binary(max_size=400))
    def test_any_bytes_can_be_counted(self, data: bytes) -> None:
        assert 0 <= scan_count(b"\xff\xd8" + data, 0, Limits()) <= 64


def png_chunk(kind: bytes) -> bytes:
    return struct.pack(">I", 0) + kind + struct.pack(">I", zlib.crc32(kind))


def codestream(jp2: bytes) -> bytes:
    return jp2[jp2.index(b"\xff\x4f\xff\x51") :]


@pytest.fixture(scope="module")
def still() -> Image.Image:
    return picture(5, (96, 64))


class TestBlocks:
    @pytest.mark.parametrize("place", [33, -12])
    def test_of_a_png(self, still: Image.Image, place: int) -> None:
        data = encoded(still, "PNG")
        assert refusal(data[:place] + png_chunk(b"abCd") * (MANY // 12) + data[place:])["limit"] == "blocks"
        assert hash_media(data[:place] + png_chunk(b"abCd") * 1000 + data[place:]).frames

    @pytest.mark.parametrize("filling", [b"\xff", b"\0", b"\xff\xe5\0\2", b"\xff\0"])
    def test_of_a_jpeg_before_its_picture(self, still: Image.Image, filling: bytes) -> None:
        data = encoded(still, "JPEG")
        at = data.index(b"\xff\xdb")
        assert refusal(data[:at] + filling * (MANY // len(filling)) + data[at:])["limit"] == "blocks"
        assert hash_media(data[:at] + filling * 100 + data[at:]).frames

    def test_of_a_jpeg_that_has_no_picture(self) -> None:
        assert refusal(b"\xff\xd8\xff" + bytes(MANY))["limit"] == "blocks"

    def test_boxes_and_segments_of_a_jpeg_2000(self, still: Image.Image) -> None:
        boxed = encoded(still, "JPEG2000")
        assert refusal(boxed[:12] + b"\0\0\0\x08free" * (MANY // 8) + boxed[12:])["limit"] == "blocks"
        bare = codestream(boxed)
        at = bare.index(b"\xff\x52")
        comments = b"\xff\x64\0\4\0\1" * (MANY // 6)
        assert refusal(bare[:at] + comments + bare[at:])["limit"] == "blocks"
        head = boxed[: boxed.index(b"\xff\x4f\xff\x51")]
        assert refusal(head + bare[:at] + comments + bare[at:])["limit"] == "blocks"
        assert hash_media(bare).frames

    @pytest.mark.parametrize("image_format", ["PNG", "JPEG", "JPEG2000"])
    def test_what_encoders_write_passes(self, image_format: str) -> None:
        for size, seed in itertools.product([(16, 16), (700, 500)], range(2)):
            assert hash_media(encoded(picture(seed, size), image_format)).frames
