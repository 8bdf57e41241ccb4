from __future__ import annotations

import hashlib
import io
import resource
import struct
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import imagehash
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo

from bench import reference_hashes
from hashhub.errors import FailedPrecondition, HashHubError, InvalidArgument, LimitExceeded, NotFound, Reason
from hashhub.hashes import Hash, distance
from hashhub.hashing import (
    DIGEST_ALGORITHMS,
    PERCEPTUAL_ALGORITHMS,
    Limits,
    MediaHashes,
    Transform,
    hash_media,
    pdq_dihedral,
)
from hashhub.hashing.decoding import load_decoders, sample
from hashhub.hygiene import MIN_PDQ_QUALITY
from hashhub.model import TURNS, Effort
from hashhub.testing.pictures import picture
from tests.examples import examples


@cache
def scene(seed: int = 3, size: tuple[int, int] = (256, 192)) -> Image.Image:
    return picture(seed, size)


def encoded(image: Image.Image, image_format: str = "PNG", **options: Any) -> bytes:
    load_decoders()  # registers HEIF
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def animated(image_format: str, frames: list[Image.Image], **options: Any) -> bytes:
    return encoded(frames[0], image_format, save_all=True, append_images=frames[1:], **options)


def pdq(data: bytes) -> Hash:
    """The PDQ hash of a still picture."""
    (media,) = hash_media(data, algorithms=["PDQ"]).frames[0].hashes
    return media


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims this size and holds next to nothing."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(b"\0" * 64)) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@cache
def files() -> dict[str, bytes]:
    """One still picture in each format."""
    return {
        "image/png": encoded(scene()),
        "image/jpeg": encoded(scene(), "JPEG", quality=92),
        "image/gif": encoded(scene(), "GIF"),
        "image/bmp": encoded(scene(), "BMP"),
        "image/tiff": encoded(scene(), "TIFF"),
        "image/webp": encoded(scene(), "WEBP", quality=92),
        "image/avif": encoded(scene(), "AVIF", quality=92),
        "image/heic": encoded(scene(), "HEIF", quality=92),
        "image/jp2": encoded(scene(), "JPEG2000"),
    }


LARGE = (361, 401)  # pictures of more than 700 pixels each way
FORMATS = tuple(files())


class TestHashes:
    @pytest.mark.parametrize("index", LARGE)
    def test_hashes_are_those_of_the_reference_on_the_same_pixels(self, index: int) -> None:
        """Also of large pictures: PDQ is computed at full size, nothing is resampled first."""
        image = Image.fromarray(reference_hashes.picture(index))
        assert min(image.size) > 700
        frame = hash_media(encoded(image, compress_level=1)).frames[0]
        pdq_hash, quality = reference_hashes.recorded()[index][False, False]
        assert frame.hashes == (
            Hash.of("PDQ", pdq_hash.to_bytes(32)),
            Hash.of("PHASH", bytes.fromhex(str(imagehash.phash(image)))),
            Hash.of("DHASH", bytes.fromhex(str(imagehash.dhash(image)))),
        )
        assert frame.quality == quality
        shrunk = pdq(encoded(image.resize((512, 384), Image.Resampling.BOX)))
        assert shrunk != frame.hashes[0]

    @pytest.mark.parametrize("media_type", FORMATS)
    def test_every_format_gives_the_picture(self, media_type: str) -> None:
        data = files()[media_type]
        media = hash_media(data)
        assert (media.media_type, media.width, media.height, media.frame_count) == (media_type, 256, 192, 1)
        assert (media.size_bytes, media.not_perceptual) == (len(data), None)
        assert [h.algorithm for h in media.hashes] == [*DIGEST_ALGORITHMS, *PERCEPTUAL_ALGORITHMS]
        assert distance(media.frames[0].hashes[0], pdq(files()["image/png"])) <= 16

    def test_all_ways_to_hand_over_bytes_agree(self, tmp_path: Path) -> None:
        data = files()["image/jpeg"]
        path = tmp_path / "picture"
        path.write_bytes(data)
        stream = io.BytesIO(b"before" + data)
        stream.seek(6)
        assert hash_media(data) == hash_media(path) == hash_media(stream)
        assert not stream.closed

    def test_a_raw_stream_that_gives_one_byte_at_a_time_is_read_to_its_end(self) -> None:
        class Trickle(io.BytesIO):
            def read(self, size: int | None = -1, /) -> bytes:
                return super().read(1 if size else 0)

        assert hash_media(Trickle(files()["image/webp"])) == hash_media(files()["image/webp"])

    @given(st.sets(st.sampled_from([*DIGEST_ALGORITHMS, *PERCEPTUAL_ALGORITHMS])))
    @settings(max_examples=examples(20), deadline=None)
    def test_only_what_was_asked_for_is_computed(self, wanted: set[str]) -> None:
        media = hash_media(files()["image/jpeg"], algorithms=wanted)
        assert {h.algorithm for h in media.hashes} == wanted
        if wanted.isdisjoint(PERCEPTUAL_ALGORITHMS):
            assert media.not_perceptual == "no perceptual algorithm was asked for"
            assert media.frames == ()
        else:
            assert (media.frames[0].quality is None) == ("PDQ" not in wanted)

    def test_names_of_algorithms_may_be_aliases(self) -> None:
        media = hash_media(b"x", algorithms=["sha-256"])
        assert media.hashes == (Hash.of("SHA256", hashlib.sha256(b"x").digest()),)

    @pytest.mark.parametrize("name", ["PHOTODNA", "no-such"])
    def test_an_algorithm_not_computed_here_is_refused(self, name: str) -> None:
        with pytest.raises(InvalidArgument, match="PDQ") as caught:
            hash_media(b"x", algorithms=[name])
        assert caught.value.reason is Reason.UNKNOWN_ALGORITHM

    def test_threads_do_not_disturb_each_other(self) -> None:
        batch = list(files().values()) * 3
        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(hash_media, batch)) == [hash_media(data) for data in batch]


class TestWhatIsNoPicture:
    @pytest.mark.parametrize(
        ("data", "media_type"),
        [
            (b"", "application/octet-stream"),
            (b"BMW is a maker of cars and motorcycles", "application/octet-stream"),
            (b"RIFF\x24\0\0\0WAVEfmt ", "application/octet-stream"),
            (b"#EXTM3U\n#EXTINF:9,\nfile:///etc/passwd\n", "application/octet-stream"),
            (b"%PDF-1.7", "application/pdf"),
        ],
    )
    def test_it_has_digests_and_an_explanation(self, data: bytes, media_type: str) -> None:
        media = hash_media(data)
        assert (media.media_type, media.frames, media.frame_count) == (media_type, (), 0)
        assert media.not_perceptual is not None
        assert media_type in media.not_perceptual
        assert media.size_bytes == len(data)
        assert [h.algorithm for h in media.hashes] == [*DIGEST_ALGORITHMS]
        assert media.digests[2].digest == hashlib.sha256(data).digest()

    def test_it_may_be_larger_than_a_picture_may(self) -> None:
        data = b"text " * 1000
        assert hash_media(data, limits=Limits(max_bytes=10)).size_bytes == len(data)


class TestUnreadable:
    @pytest.mark.parametrize("media_type", FORMATS)
    @pytest.mark.parametrize("share", [0.15, 0.5, 0.9])
    def test_a_truncated_picture_is_an_error(self, media_type: str, share: float) -> None:
        data = files()[media_type]
        with pytest.raises(InvalidArgument, match="truncated") as caught:
            hash_media(data[: int(len(data) * share)])
        assert caught.value.reason is Reason.UNREADABLE_MEDIA
        assert caught.value.metadata == {"mediaType": media_type}

    @pytest.mark.parametrize(
        "data",
        [
            b"\xff\xd8\xff",
            b"\x89PNG\r\n\x1a\n",
            b"GIF89a",
            b"II*\0garbage",
            b"RIFF\x24\0\0\0WEBPVP8 ",
            b"\0\0\0\x18ftypmif1\0\0\0\0mif1avif",
            b"BM" + bytes(12) + b"\x28\0\0\0",
            b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
            b"\xff\x0a and then JPEG XL",
            b"8BPS\0\1",
            b"\0\0\1\0\1\0",
        ],
    )
    def test_a_signature_without_a_picture_is_an_error(self, data: bytes) -> None:
        with pytest.raises(InvalidArgument) as caught:
            hash_media(data)
        assert caught.value.reason is Reason.UNREADABLE_MEDIA

    @pytest.mark.parametrize(
        ("brands", "media_type"),
        [
            (b"avif\0\0\0\0mif1avif", "image/avif"),
            (b"mif1\0\0\0\0mif1avif", "image/avif"),
            (b"mif1\0\0\0\0mif1heic", "image/heic"),
            (b"mif1\0\0\0\0mif1abcd", "image/heif"),
        ],
    )
    def test_the_kind_of_heif_is_told_by_its_brands(self, brands: bytes, media_type: str) -> None:
        with pytest.raises(InvalidArgument) as caught:
            hash_media(b"\0\0\0\x18ftyp" + brands)
        assert caught.value.metadata == {"mediaType": media_type}

    def test_digests_of_a_damaged_picture_can_be_had_by_asking_for_nothing_else(self) -> None:
        data = files()["image/png"][:500]
        assert len(hash_media(data, algorithms=DIGEST_ALGORITHMS).hashes) == 3

    def test_no_file(self, tmp_path: Path) -> None:
        with pytest.raises(NotFound) as caught:
            hash_media(tmp_path / "secret-name.jpg")
        assert "secret-name" not in str(caught.value)

    def test_a_directory(self, tmp_path: Path) -> None:
        with pytest.raises(InvalidArgument) as caught:
            hash_media(tmp_path)
        assert caught.value.reason is Reason.UNREADABLE_MEDIA

    @given(st.binary(max_size=200))
    @settings(max_examples=examples(300), deadline=None)
    def test_any_bytes_give_hashes_or_an_error_of_the_family(self, data: bytes) -> None:
        with suppress(HashHubError):
            assert isinstance(hash_media(data), MediaHashes)

    @given(
        st.sampled_from(FORMATS),
        st.lists(
            st.tuples(st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=6)), min_size=1, max_size=4
        ),
        st.floats(0.05, 1),
    )
    @settings(max_examples=examples(250), deadline=None, suppress_health_check=[HealthCheck.too_slow])
    def test_any_damage_gives_hashes_or_an_error_of_the_family(
        self, media_type: str, patches: list[tuple[float, bytes]], share: float
    ) -> None:
        data = bytearray(files()[media_type])
        for place, patch in patches:
            at = int(place**3 * len(data))  # mostly near the beginning, where the structure is
            data[at : at + len(patch)] = patch
        with suppress(InvalidArgument, LimitExceeded):
            media = hash_media(
                bytes(data[: int(len(data) * share)]), algorithms=["PDQ"], limits=Limits(max_pixels=1 << 20)
            )
            # Damage to the signature makes it no picture; anything else must have been decoded.
            assert media.frames or media.not_perceptual


class TestLimits:
    @pytest.mark.parametrize(
        "data",
        [
            pytest.param(png_header(32_768, 32_768), id="png"),
            pytest.param(png_header(2_147_483_647, 2_147_483_647), id="png-largest"),
            pytest.param(b"GIF89a\xff\xff\xff\xff\0\0\0,\0\0\0\0\xff\xff\xff\xff\0\2\2\x4c\1\0;", id="gif"),
            pytest.param(
                b"RIFF\x2c\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0\xfe\x3f\0\xfe\x3f\0VP8L\x0d\0\0\0\x2f\xfe\xbf\xff\x0f"
                + bytes(9),
                id="webp",
            ),
            pytest.param(
                b"BM"
                + struct.pack("<IHHI", 1000, 0, 0, 54)
                + struct.pack("<IiiHHIIiiII", 40, 40_000, 40_000, 1, 24, *[0] * 6),
                id="bmp",
            ),
        ],
    )
    @pytest.mark.parametrize("pillows_own", [Image.MAX_IMAGE_PIXELS, None])
    def test_a_gigapixel_header_is_refused_before_memory_is_taken(
        self, data: bytes, pillows_own: int | None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", pillows_own)  # None in many applications
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with pytest.raises(LimitExceeded) as caught:
            hash_media(data)
        assert caught.value.reason is Reason.MEDIA_TOO_LARGE
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024  # KiB on Linux

    def test_pixels_are_bounded_inclusively(self) -> None:
        data = encoded(scene(1, (64, 48)))
        assert hash_media(data, limits=Limits(max_pixels=64 * 48)).frames
        with pytest.raises(LimitExceeded, match="64 x 48") as caught:
            hash_media(data, limits=Limits(max_pixels=64 * 48 - 1))
        assert caught.value.metadata == {"limit": "max_pixels", "bound": "3071"}

    def test_a_pixel_of_jpeg_2000_counts_fourfold(self) -> None:
        data = encoded(scene(1, (64, 48)), "JPEG2000")
        assert hash_media(data, limits=Limits(max_pixels=4 * 64 * 48)).frames
        with pytest.raises(LimitExceeded, match="64 x 48"):
            hash_media(data, limits=Limits(max_pixels=4 * 64 * 48 - 1))

    @pytest.mark.parametrize("size", [(64, 48), (48, 64)])
    def test_sides_are_bounded_inclusively(self, size: tuple[int, int]) -> None:
        data = encoded(scene(1, size))
        assert hash_media(data, limits=Limits(max_side=64)).frames
        with pytest.raises(LimitExceeded) as caught:
            hash_media(data, limits=Limits(max_side=63))
        assert caught.value.metadata == {"limit": "max_side", "bound": "63"}

    def test_bytes_are_bounded_inclusively(self) -> None:
        data = files()["image/jpeg"]
        assert hash_media(data, limits=Limits(max_bytes=len(data))).frames
        with pytest.raises(LimitExceeded) as caught:
            hash_media(io.BytesIO(data), limits=Limits(max_bytes=len(data) - 1))
        assert caught.value.metadata["limit"] == "max_bytes"

    def test_a_stream_without_end_is_left_at_the_limit(self) -> None:
        class Endless(io.BytesIO):
            def read(self, size: int | None = -1, /) -> bytes:
                return b"\xff\xd8\xff" + bytes((size or 1) - 3)

        with pytest.raises(LimitExceeded):
            hash_media(Endless(), limits=Limits(max_bytes=5_000_000))

    @pytest.mark.parametrize("image_format", ["GIF", "PNG", "WEBP", "TIFF"])
    def test_frames_in_the_file_are_bounded_inclusively(self, image_format: str) -> None:
        data = animated(image_format, [scene(seed, (32, 32)) for seed in range(5)])
        assert hash_media(data, limits=Limits(max_source_frames=5)).frame_count == 5
        with pytest.raises(LimitExceeded) as caught:
            hash_media(data, limits=Limits(max_source_frames=4))
        assert caught.value.metadata == {"limit": "max_source_frames", "bound": "4"}

    def test_a_million_frames_are_refused_quickly(self) -> None:
        head = b"GIF89a\1\0\1\0\x80\0\0" + bytes(6)
        frame = b",\0\0\0\0\1\0\1\0\0\2\2\x4c\1\0"
        with pytest.raises(LimitExceeded, match="more frames"):
            hash_media(head + frame * 1_000_000 + b";")

    def test_endless_pages_are_refused_quickly(self) -> None:
        """Pillow's own count of pages compares each with all before it: hours for this file."""
        data = bytearray(encoded(scene(1, (32, 32)), "TIFF"))
        (first,) = struct.unpack_from("<I", data, 4)
        (entries,) = struct.unpack_from("<H", data, first)
        page = data[first : first + 2 + 12 * entries]
        struct.pack_into("<I", data, first + len(page), len(data))
        for _ in range(200_000):
            data += page + struct.pack("<I", len(data) + len(page) + 4)
        with pytest.raises(LimitExceeded, match="more frames"):
            hash_media(bytes(data), limits=Limits(max_source_frames=500))

    @pytest.mark.parametrize("filling", [b"!\xfe" + b"\1a" * 1_000_000 + b"\0", b"\x07" * 1_000_001])
    def test_a_million_blocks_are_refused_quickly(self, filling: bytes) -> None:
        data = encoded(scene(), "GIF")
        at = 13 + 3 * 256  # after the header and the colour table
        with pytest.raises(LimitExceeded, match="blocks"):
            hash_media(data[:at] + filling + data[at:])

    def test_pixels_of_all_frames_are_bounded_inclusively(self) -> None:
        data = animated("GIF", [scene(seed, (32, 32)) for seed in range(4)])
        assert hash_media(data, limits=Limits(max_total_pixels=4 * 1024)).frame_count == 4
        with pytest.raises(LimitExceeded, match="4 frames of 32 x 32"):
            hash_media(data, limits=Limits(max_total_pixels=4 * 1024 - 1))

    def test_a_large_page_behind_a_small_one_is_found(self) -> None:
        data = animated("TIFF", [scene(1, (32, 32)), scene(2, (256, 192))])
        with pytest.raises(LimitExceeded, match="256 x 192"):
            hash_media(data, limits=Limits(max_pixels=2000))
        with pytest.raises(LimitExceeded, match="pages are larger"):
            hash_media(data, limits=Limits(max_total_pixels=2100))

    def test_a_bound_below_one_is_refused(self) -> None:
        with pytest.raises(InvalidArgument) as caught:
            Limits(max_frames=0, max_bytes=-1)
        assert [v.field for v in caught.value.violations] == ["limits.max_bytes", "limits.max_frames"]


class TestAnimations:
    @pytest.mark.parametrize("image_format", ["GIF", "PNG", "WEBP", "AVIF"])
    def test_every_frame_is_hashed_with_its_time(self, image_format: str) -> None:
        scenes = [scene(seed) for seed in range(4)]
        media = hash_media(animated(image_format, scenes, duration=[100, 200, 300, 400]))
        assert [(f.index, f.timestamp_ms) for f in media.frames] == [(0, 0), (1, 100), (2, 300), (3, 600)]
        for frame, image in zip(media.frames, scenes, strict=True):
            assert distance(frame.hashes[0], pdq(encoded(image))) <= 24

    def test_a_picture_that_comes_back_is_listed_once(self) -> None:
        a, b = scene(1), scene(2)
        media = hash_media(animated("PNG", [a, b, a, b, a], duration=40))
        assert media.frame_count == 5
        assert [(f.index, f.timestamp_ms) for f in media.frames] == [(0, 0), (1, 40)]

    @pytest.mark.parametrize("image_format", ["GIF", "PNG", "WEBP", "AVIF"])
    def test_long_animations_are_sampled_evenly(self, image_format: str) -> None:
        scenes = [scene(seed, (40, 30)) for seed in range(11)]
        media = hash_media(animated(image_format, scenes, duration=50), limits=Limits(max_frames=3))
        assert [(f.index, f.timestamp_ms) for f in media.frames] == [(0, 0), (5, 250), (10, 500)]
        assert media.frame_count == 11

    def test_of_large_frames_fewer_are_hashed(self) -> None:
        data = animated("GIF", [scene(seed, (40, 30)) for seed in range(11)])
        media = hash_media(data, limits=Limits(max_pixels=3 * 40 * 30 + 1))
        assert [f.index for f in media.frames] == [0, 5, 10]

    @given(st.integers(1, 5000), st.integers(1, 64))
    def test_samples_are_spread_from_the_first_to_the_last(self, count: int, most: int) -> None:
        sampled = sorted(sample(count, most))
        assert len(sampled) == min(count, most)
        assert sampled[0] == 0
        if most > 1:
            assert sampled[-1] == count - 1
            gaps = np.diff(sampled)
            assert len(sampled) == 1 or np.max(gaps) - np.min(gaps) <= 1

    def test_pages_of_a_tiff_are_frames(self) -> None:
        media = hash_media(animated("TIFF", [scene(1), scene(2, (100, 80))]))
        assert [f.hashes[0] for f in media.frames] == [pdq(encoded(scene(1))), pdq(encoded(scene(2, (100, 80))))]
        assert (media.width, media.height) == (256, 192)

    def test_both_pictures_of_an_mpo_are_frames(self) -> None:
        media = hash_media(animated("MPO", [scene(1), scene(2)]))
        assert (media.media_type, media.frame_count) == ("image/jpeg", 2)
        assert distance(media.frames[1].hashes[0], pdq(encoded(scene(2)))) <= 8

    def test_an_animation_cut_off_between_frames_is_an_error(self) -> None:
        data = animated("PNG", [scene(seed) for seed in range(4)], duration=40)
        with pytest.raises(InvalidArgument) as caught:
            hash_media(data[: data.rindex(b"fcTL") - 4])
        assert caught.value.reason is Reason.UNREADABLE_MEDIA

    def test_a_text_chunk_cannot_pose_as_a_time(self) -> None:
        texts = PngInfo()
        texts.add_text("timestamp", "soon")
        texts.add_text("duration", "long")
        assert hash_media(encoded(scene(), pnginfo=texts)).frames[0].timestamp_ms == 0


ORIENTED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""How a camera stores a picture under each EXIF orientation: the inverse of what a viewer must do."""


class TestDisplayedPicture:
    @pytest.mark.parametrize("image_format", ["PNG", "WEBP", "TIFF"])
    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_orientation_is_applied(self, orientation: int, image_format: str) -> None:
        stored = scene() if orientation == 1 else scene().transpose(ORIENTED[orientation])
        exif = Image.Exif()
        exif[0x0112] = orientation
        lossless = {"lossless": True} if image_format == "WEBP" else {}
        media = hash_media(encoded(stored, image_format, exif=exif, **lossless))
        upright = hash_media(encoded(scene()))
        assert media.frames == upright.frames
        assert (media.width, media.height) == (256, 192)

    @pytest.mark.parametrize("orientation", range(2, 9))
    def test_orientation_is_applied_to_jpeg(self, orientation: int) -> None:
        exif = Image.Exif()
        exif[0x0112] = orientation
        data = encoded(scene().transpose(ORIENTED[orientation]), "JPEG", quality=97, exif=exif)
        assert distance(pdq(data), pdq(encoded(scene()))) <= 4

    def test_a_malformed_tag_does_not_keep_the_picture_from_being_turned(self) -> None:
        """The first tag should be a number and is text: Pillow cannot write this block anew, but a viewer turns the
        picture.
        """
        tags = struct.pack(">HHHII", 3, 0x011B, 2, 21, 50) + struct.pack(">HHIHH", 0x0112, 3, 1, 6, 0)
        tags += struct.pack(">HHII", 0x8769, 4, 1, 72) + bytes(4) + b"x" * 20 + b"\0\0"
        tags += struct.pack(">HHHII", 1, 0x9003, 2, 5, 90) + b"\0\0\0\0" + b"2020\0\0"
        stored = scene().transpose(ORIENTED[6])
        data = encoded(stored, "JPEG", quality=97, exif=b"Exif\0\0MM\0*\0\0\0\x08" + tags)
        assert distance(pdq(data), pdq(encoded(scene()))) <= 4

    def test_exif_that_cannot_be_read_at_all_hides_no_picture(self) -> None:
        texts = PngInfo()
        texts.add_text("Raw profile type exif", "\nexif\n       4\nno hexadecimal digits")
        assert pdq(encoded(scene(), pnginfo=texts)) == pdq(encoded(scene()))

    @pytest.mark.parametrize(
        "exif", [b"Exif\0\0", b"Exif\0\0MM\0*\xff\xff\xff\xff", b"Exif\0\0II*\0\x08\0\0\0\xff\xff"]
    )
    def test_a_broken_exif_block_hides_no_picture(self, exif: bytes) -> None:
        assert pdq(encoded(scene(), "JPEG", exif=exif)) == pdq(encoded(scene(), "JPEG"))

    @pytest.mark.parametrize(
        ("mode", "image_format", "bits"),
        [
            ("1", "PNG", 24),
            ("L", "PNG", 4),
            ("LA", "PNG", 4),
            ("P", "PNG", 16),
            ("RGBA", "PNG", 0),
            ("CMYK", "TIFF", 4),
            ("CMYK", "JPEG", 8),
            ("YCbCr", "JPEG", 8),
            ("YCbCr", "TIFF", 8),
        ],
    )
    def test_modes_that_pillow_converts(self, mode: str, image_format: str, bits: int) -> None:
        assert distance(pdq(encoded(scene().convert(mode), image_format)), pdq(encoded(scene()))) <= bits

    @pytest.mark.parametrize(
        ("scale", "offset", "dtype", "image_format"),
        [
            (250, 77, np.uint16, "PNG"),
            (250, 77, np.uint16, "TIFF"),
            (250, 77, np.int32, "TIFF"),
            (8_000_000, -(2**30), np.int32, "TIFF"),
            (1 / 255, 0, np.float32, "TIFF"),
            (1e30, -1e32, np.float32, "TIFF"),
        ],
    )
    def test_deep_grey(self, scale: float, offset: float, dtype: type, image_format: str) -> None:
        grey = scene().convert("L")
        deep = Image.fromarray((np.asarray(grey, dtype=np.float64) * scale + offset).astype(dtype))
        media = hash_media(encoded(deep, image_format), algorithms=["PDQ"]).frames[0]
        assert distance(media.hashes[0], pdq(encoded(grey))) <= 2
        assert media.quality is not None
        assert media.quality >= 50

    def test_floats_without_a_value_are_black(self) -> None:
        values = np.asarray(scene().convert("L"), dtype=np.float32).copy()
        values[:4] = np.nan
        values[4:8] = np.inf
        black = scene().convert("L")
        black.paste(0, (0, 0, black.width, 8))
        assert distance(pdq(encoded(Image.fromarray(values), "TIFF")), pdq(encoded(black))) <= 4

    def test_lab_is_hashed_by_its_lightness(self) -> None:
        to_lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
        lab = ImageCms.applyTransform(scene(), to_lab)
        assert lab is not None
        assert distance(pdq(encoded(lab, "TIFF")), pdq(encoded(scene()))) <= 31

    def test_transparency_is_laid_on_white(self) -> None:
        alpha = Image.linear_gradient("L").resize(scene().size)
        clear = scene().copy()
        clear.putalpha(alpha)
        on_white = Image.composite(scene(), Image.new("RGB", scene().size, "white"), alpha)
        assert distance(pdq(encoded(clear)), pdq(encoded(on_white))) <= 2

    def test_colours_behind_full_transparency_do_not_count(self) -> None:
        hidden = scene().copy()
        hidden.putalpha(0)
        white = Image.new("RGB", scene().size, "white")
        assert pdq(encoded(hidden)) == pdq(encoded(white))

    def test_a_transparent_palette_colour_is_white(self) -> None:
        image = Image.new("P", (64, 64))
        image.putpalette([0, 0, 0, 200, 0, 0])
        image.paste(1, (10, 5, 40, 60))
        shown = Image.new("RGB", (64, 64), "white")
        shown.paste((200, 0, 0), (10, 5, 40, 60))
        expected = pdq(encoded(shown))
        assert pdq(encoded(image, transparency=0)) == expected
        assert pdq(encoded(image, "GIF", transparency=0)) == expected

    def test_transparent_grey_and_colour_keys_are_white(self) -> None:
        grey = Image.new("L", (64, 64), 7)
        grey.paste(90, (10, 5, 40, 60))
        shown = Image.new("L", (64, 64), "white")
        shown.paste(90, (10, 5, 40, 60))
        assert pdq(encoded(grey, transparency=7)) == pdq(encoded(shown))
        assert pdq(encoded(grey.convert("RGB"), transparency=(7, 7, 7))) == pdq(encoded(shown))


class TestQuality:
    @pytest.mark.parametrize("colour", ["white", "black", (90, 120, 30)])
    def test_a_blank_picture_has_none(self, colour: str | tuple[int, int, int]) -> None:
        frame = hash_media(encoded(Image.new("RGB", (200, 150), colour))).frames[0]
        assert frame.quality == 0

    def test_a_natural_picture_is_not(self) -> None:
        frame = hash_media(files()["image/png"]).frames[0]
        assert frame.quality is not None
        assert frame.quality >= MIN_PDQ_QUALITY

    @pytest.mark.parametrize("size", [(1, 1), (4, 300), (300, 4)])
    def test_a_picture_too_small_for_pdq_has_quality_zero(self, size: tuple[int, int]) -> None:
        frame = hash_media(encoded(scene().resize(size))).frames[0]
        assert frame.hashes[0] == Hash.of("PDQ", bytes(32))
        assert frame.quality == 0

    def test_without_pdq_nothing_says_how_good_it_is(self) -> None:
        frame = hash_media(files()["image/png"], algorithms=["PHASH"]).frames[0]
        assert frame.quality is None


class TestDihedral:
    @pytest.mark.parametrize("size", [(256, 192), (190, 333)])
    def test_variants_are_the_hashes_of_the_transformed_pixels(self, size: tuple[int, int]) -> None:
        image = scene(11, size)
        media = hash_media(encoded(image), effort=Effort.THOROUGH)
        variants = {v.name: v.hashes for v in media.frames[0].variants if v.name in TURNS}
        assert list(variants) == list(Transform)
        for transform, hashes in variants.items():
            turned = hash_media(encoded(image.transpose(Image.Transpose[Transform(transform).name]))).frames[0]
            assert hashes[1:] == turned.hashes[1:], transform
            assert distance(hashes[0], turned.hashes[0]) <= 2, transform  # bits whose coefficient is the median

    def test_variants_are_among_all_hashes_only_when_asked_for(self) -> None:
        data = encoded(scene(11, (256, 192)))
        assert len(hash_media(data).hashes) == 6
        assert len(hash_media(data, effort=Effort.STANDARD).hashes) == 6 + 7
        assert hash_media(data).frames[0].variants == ()

    def test_estimates_from_the_hash_alone_are_near(self) -> None:
        exact_by_transform: dict[Transform, list[int]] = {t: [] for t in Transform}
        for seed in range(6):
            frame = hash_media(
                encoded(scene(seed, (640, 640)), compress_level=1), algorithms=["PDQ"], effort=Effort.STANDARD
            ).frames[0]
            estimates = dict(pdq_dihedral(frame.hashes[0]))
            for variant in (v for v in frame.variants if v.name in TURNS):
                exact_by_transform[Transform(variant.name)].append(
                    distance(variant.hashes[0], estimates[Transform(variant.name)])
                )
        assert max(exact_by_transform.pop(Transform.TRANSPOSE)) == 0
        for transform, distances in exact_by_transform.items():
            assert max(distances) <= 24, transform

    @given(st.binary(min_size=32, max_size=32))
    def test_the_eight_form_a_group(self, digest: bytes) -> None:
        start = Hash.of("PDQ", digest)

        def turned(value: Hash, transform: Transform) -> Hash:
            return dict(pdq_dihedral(value))[transform]

        t = Transform
        for involution in (t.FLIP_LEFT_RIGHT, t.FLIP_TOP_BOTTOM, t.ROTATE_180, t.TRANSPOSE, t.TRANSVERSE):
            assert turned(turned(start, involution), involution) == start
        assert turned(turned(start, t.ROTATE_90), t.ROTATE_270) == start
        assert turned(turned(start, t.ROTATE_90), t.ROTATE_90) == turned(start, t.ROTATE_180)
        assert turned(turned(start, t.TRANSPOSE), t.FLIP_TOP_BOTTOM) == turned(start, t.ROTATE_90)

    def test_only_pdq_can_be_turned(self) -> None:
        with pytest.raises(InvalidArgument, match="PHASH"):
            pdq_dihedral(Hash.of("PHASH", bytes(8)))


class TestExtra:
    @pytest.mark.parametrize("library", ["PIL", "imagehash", "numpy"])
    def test_without_the_extra_the_message_says_how_to_get_it(
        self, library: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        data = files()["image/png"]
        monkeypatch.setitem(sys.modules, library, None)
        with pytest.raises(FailedPrecondition, match=r"pip install 'hashhub\[hashing\]'") as caught:
            hash_media(data)
        assert caught.value.reason is Reason.MISSING_EXTRA

    def test_digests_need_no_extra(self) -> None:
        """In a fresh interpreter, neither importing nor digesting loads a library of the extra."""
        program = (
            "import sys; from hashhub.hashing import hash_media, pdq_dihedral; from hashhub.hashes import Hash\n"
            "hash_media(b'text'); hash_media(b'\\x89PNG\\r\\n\\x1a\\n', algorithms=['MD5']); pdq_dihedral(Hash('PDQ', "
            "bytes(32)))\n"
            "print({'PIL', 'imagehash', 'numpy', 'scipy'} & set(sys.modules))"
        )
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "set()"


def test_first_pictures_of_two_threads_are_hashed() -> None:
    """In a fresh interpreter. The pauses bring about what a busy machine did once: while one thread imported SciPy
    through Numba, another came upon a part of it by another way, and each waited for what the other had begun.
    """
    program = (
        "import sys, time; from concurrent.futures import ThreadPoolExecutor\n"
        "from importlib.machinery import SourceFileLoader; from hashhub.hashing import hash_media\n"
        "pauses = {'hashhub.hashing.pdq': 0.3, 'scipy._distributor_init': 1, 'scipy._lib._testutils': 0.1,\n"
        "          'numba._version': 0.5}\n"
        "run = SourceFileLoader.exec_module\n"
        "def slowly(self, module): time.sleep(pauses.pop(module.__name__, 0)); run(self, module)\n"
        "SourceFileLoader.exec_module = slowly\n"
        "files = [sys.stdin.buffer.read()] * 2\n"
        "with ThreadPoolExecutor(2) as pool: first, second = pool.map(hash_media, files)\n"
        "print(first == second, pauses)"
    )
    done = subprocess.run([sys.executable, "-c", program], input=files()["image/png"], capture_output=True, check=False)
    assert done.stdout == b"True {}\n", done.stderr.decode()


def test_importing_and_hashing_leave_pillows_logger_alone() -> None:
    program = (
        "import logging, sys; from hashhub.hashing import hash_media, quiet_pillow\n"
        "hash_media(sys.stdin.buffer.read()); print(logging.getLogger('PIL').level)\n"
        "quiet_pillow(); print(logging.getLogger('PIL').level)\n"
        "logging.getLogger('PIL').setLevel(logging.INFO); quiet_pillow(); print(logging.getLogger('PIL').level)"
    )
    done = subprocess.run([sys.executable, "-c", program], input=files()["image/png"], capture_output=True, check=True)
    assert done.stdout.split() == [b"0", b"50", b"20"]


def test_what_pillow_says_of_a_damaged_file_stays_out_of_the_log() -> None:
    """In a fresh interpreter, where nobody has set up logging and so errors go to standard error."""
    program = (
        "import sys; from hashhub.hashing import hash_media, quiet_pillow; quiet_pillow()\n"
        "data = bytearray(sys.stdin.buffer.read())\n"
        "try: print(hash_media(bytes(data)).frames)\n"
        "except Exception as e: print(type(e).__name__)"
    )
    data = bytearray(encoded(scene(1, (32, 32)), "TIFF"))
    (first,) = struct.unpack_from("<I", data, 4)
    (entries,) = struct.unpack_from("<H", data, first)
    for at in range(first + 2, first + 2 + 12 * entries, 12):
        if struct.unpack_from("<H", data, at) == (277,):  # samples per pixel
            struct.pack_into("<H", data, at + 8, 9)
    done = subprocess.run([sys.executable, "-c", program], input=bytes(data), capture_output=True, check=True)
    assert done.stdout == b"InvalidArgument\n"
    assert done.stderr == b""
