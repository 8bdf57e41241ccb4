"""What people upload, whole, damaged and hostile: the hashes of the whole file, or an error, and nothing between."""

from __future__ import annotations

import io
import random
import resource
import struct
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from hashhub.errors import FailedPrecondition, HashHubError, InvalidArgument, LimitExceeded, Reason
from hashhub.hashes import Hash, distance
from hashhub.hashing import Limits, MediaHashes, hash_media
from hashhub.hashing.boxes import check_boxes
from hashhub.hashing.coverage import coverage
from hashhub.hashing.structure import media_type_of
from hashhub.model import TURNS, Effort
from tests.examples import examples
from tests.hashing.assets import MP4, animated, box, encoded, exif, files, scene, with_size

FRAMES = {"mpo", "png-animated", "gif-animated", "webp-animated", "tiff-pages", "tiff-pages-lzw", "heic-pictures"} | {
    "avif-animated"
}

HEVC = frozenset({b"hvc1"})


def hashed(data: bytes, **limits: Any) -> MediaHashes:
    return hash_media(data, algorithms=["PDQ"], limits=Limits(**limits))


def pdq(data: bytes) -> Hash:
    (own,) = hashed(data).frames[0].hashes
    return own


def refused(data: bytes, **limits: Any) -> HashHubError:
    with pytest.raises((InvalidArgument, LimitExceeded)) as error:
        hashed(data, **limits)
    return error.value


class TestWhole:
    @pytest.mark.parametrize("name", files())
    def test_every_frame_is_the_picture_that_was_put_in(self, name: str) -> None:
        media = hashed(files()[name])
        assert (media.frame_count, media.frames_hashed) == ((3, 3) if name in FRAMES else (1, 1))
        assert media.skipped is None
        if "alpha" in name or name in {"png-16-bit", "tiff-fax"}:
            return
        expected = [scene(seed) for seed in range(3)] if name in FRAMES else [scene()]
        for frame, image in zip(media.frames, expected, strict=True):
            assert distance(frame.hashes[0], pdq(encoded(image, "PNG"))) <= 24

    def test_of_many_pictures_in_a_heic_a_sample_is_hashed(self) -> None:
        media = hashed(animated("HEIF", [scene(seed, (48, 48)) for seed in range(7)]), max_frames=3)
        assert [f.index for f in media.frames] == [0, 3, 6]

    def test_frames_of_an_avif_have_their_times(self) -> None:
        assert [f.timestamp_ms for f in hashed(files()["avif-animated"]).frames] == [0, 50, 100]

    def test_a_grid_is_one_picture(self) -> None:
        tiled, whole = files()["heic-grid"], files()["heic"]
        assert tiled.count(b"hvc1") > whole.count(b"hvc1")
        assert distance(pdq(tiled), pdq(whole)) <= 8


class TestCutOff:
    @pytest.mark.parametrize("name", files())
    def test_anywhere_it_hashes_as_the_whole_or_not_at_all(self, name: str) -> None:
        """A file that lacks only bytes behind its last pixel may be hashed."""
        data = files()[name]
        whole = hashed(data)
        points = {*range(10, len(data), len(data) // 40), *range(len(data) - 16, len(data))}
        refusals = 0
        for end in sorted(points):
            try:
                part = hashed(data[:end])
            except InvalidArgument as e:
                assert e.reason is Reason.UNREADABLE_MEDIA
                refusals += 1
            else:
                assert (part.frames, part.frame_count) == (whole.frames, whole.frame_count), end
        assert refusals >= 40

    @pytest.mark.parametrize("name", ["jpeg", "jpeg-restarts", "jpeg-cmyk"])
    @pytest.mark.parametrize("share", [0.4, 0.6, 0.9])
    def test_an_end_marker_does_not_make_a_jpeg_whole(self, name: str, share: float) -> None:
        data = files()[name]
        cut = data[: int(len(data) * share)].rstrip(b"\xff") + b"\xff\xd9"
        assert refused(cut).reason is Reason.UNREADABLE_MEDIA

    @pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_rows": 1}])
    @pytest.mark.parametrize("grey", [127, 128])
    def test_a_picture_may_end_in_the_grey_that_stands_for_missing_data(
        self, grey: int, options: dict[str, Any]
    ) -> None:
        image = scene()
        image.paste((grey,) * 3, (0, 40, *image.size))
        for mode in ("RGB", "L", "CMYK"):
            assert hashed(encoded(image.convert(mode), "JPEG", **options)).frames
        assert hashed(animated("MPO", [image, image.rotate(180), image], **options)).frame_count == 3

    def test_between_the_frames_of_a_gif(self) -> None:
        """Without its last byte an animation looks like a shorter one."""
        data = files()["gif-animated"]
        ends = [at for at in range(1, len(data)) if data[at - 1] == 0 and data[at] in {0x21, 0x2C}]
        assert len(ends) >= 2
        for end in ends:
            assert refused(data[:end]).reason is Reason.UNREADABLE_MEDIA

    def test_between_the_pages_of_a_tiff(self) -> None:
        data = files()["tiff-pages"]
        (at,) = struct.unpack_from("<I", data, 4)
        places = []
        while at:
            places.append(at)
            (tags,) = struct.unpack_from("<H", data, at)
            (at,) = struct.unpack_from("<I", data, at + 2 + 12 * tags)
        assert len(places) == 3
        for place in places:
            for end in (place - 2, place - 1, place, place + 1, place + 2):
                assert refused(data[:end]).reason is Reason.UNREADABLE_MEDIA


class TestDamaged:
    @pytest.mark.parametrize("name", files())
    @settings(max_examples=8, deadline=None)
    @given(seed=st.integers(0, 2**32))
    def test_any_flipped_bits_give_hashes_or_an_error_of_the_family(self, name: str, seed: int) -> None:
        rng = random.Random(seed)
        data = bytearray(files()[name])
        for _ in range(rng.randint(1, 4)):
            data[int(rng.random() ** 2 * len(data))] ^= 1 << rng.randrange(8)
        with suppress(InvalidArgument, LimitExceeded):
            media = hashed(bytes(data), max_pixels=1 << 20)
            assert media.frames or media.not_perceptual

    @pytest.mark.parametrize("name", ["heic", "heic-grid", "heic-alpha", "heic-pictures"])
    def test_a_hole_in_a_heic_is_no_grey_area(self, name: str) -> None:
        """As a download leaves one that was broken off and padded."""
        data = files()[name]
        begin = data.index(b"mdat") + 4
        for share in (0.2, 0.5, 0.8):
            at = begin + int((len(data) - begin) * share)
            assert refused(data[:at] + bytes(60) + data[at + 60 :]).reason is Reason.UNREADABLE_MEDIA

    @pytest.mark.parametrize("kind", [b"vvc1", b"zzzz", b"mime"])
    def test_a_tile_or_picture_that_cannot_be_decoded_is_not_left_out(self, kind: bytes) -> None:
        for name in ("heic-grid", "heic-pictures", "heic"):
            data = files()[name]
            at = data.rindex(b"hvc1")
            changed = data[:at] + kind + data[at + 4 :]
            if name == "heic-pictures" and kind != b"vvc1":  # then it is no picture: metadata, or something unknown
                assert hashed(changed).frame_count == 2
            else:
                assert refused(changed).reason is Reason.UNREADABLE_MEDIA

    @pytest.mark.parametrize("name", ["tiff", "tiff-lzw", "tiff-jpeg", "tiff-pages"])
    @pytest.mark.parametrize("rows", [0, 8, 9, 0xFFFF_FFFF])
    def test_strips_of_a_tiff_that_do_not_make_up_its_page_are_not_taken_for_it(self, name: str, rows: int) -> None:
        """Pillow otherwise leaves the rest of the page black."""
        data = bytearray(files()[name])
        (first,) = struct.unpack_from("<I", data, 4)
        (count,) = struct.unpack_from("<H", data, first)
        at = next(a for a in range(first + 2, first + 2 + 12 * count, 12) if data[a : a + 2] == b"\x16\x01")
        struct.pack_into("<HHII", data, at, 278, 4, 1, rows)
        try:
            media = hashed(bytes(data))
        except InvalidArgument as e:
            assert e.reason is Reason.UNREADABLE_MEDIA
        else:
            assert media.frames == hashed(files()[name]).frames

    @pytest.mark.parametrize("byte", [0, 1, 2])
    def test_a_tile_that_fails_is_no_green_area(self, byte: int) -> None:
        """libheif leaves it out and says nothing. The tile's unit begins to be another kind of slice, or cannot."""
        data = bytearray(files()["heic-grid"])
        data[data.index(b"mdat") + 4 + 4 + byte] ^= 0x7E if byte else 0x06
        assert refused(bytes(data)).reason is Reason.UNREADABLE_MEDIA

    @given(st.binary(max_size=300))
    @settings(max_examples=examples(200), deadline=None)
    def test_any_boxes_end(self, content: bytes) -> None:
        with suppress(LimitExceeded, ValueError, IndexError):
            check_boxes(box(b"ftyp", b"heic\0\0\0\0") + box(b"meta", b"\0\0\0\0" + content) + content, Limits(), HEVC)


def grid(data: bytes, width: int, height: int) -> bytes:
    """The grid, but it declares this size, and its items do not."""
    at = data.index(b"idat") + 8
    return data[:at] + struct.pack(">HH", width, height) + data[at + 4 :]


class TestHostile:
    @pytest.mark.parametrize("size", [(65_535, 65_535), (16_000, 16_000), (1, 65_535 * 2)])
    @pytest.mark.parametrize("name", ["heic", "heic-grid", "avif", "avif-animated"])
    def test_gigapixels_are_refused_before_memory_is_taken(self, name: str, size: tuple[int, int]) -> None:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        assert refused(with_size(files()[name], *size)).reason is Reason.MEDIA_TOO_LARGE
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 32 * 1024  # KiB on Linux

    def test_so_is_a_grid_whose_own_size_differs_from_the_declared_one(self) -> None:
        assert refused(grid(files()["heic-grid"], 65_535, 65_535)).metadata["limit"] == "max_pixels"

    @pytest.mark.parametrize("name", ["avif", "avif-alpha", "avif-animated"])
    def test_the_size_in_the_av1_stream_counts(self, name: str) -> None:
        """libavif would decode 96 x 72 and scale it to what is declared."""
        small = with_size(files()[name], 8, 8)
        assert refused(small, max_pixels=96 * 72 - 1).metadata["limit"] == "max_pixels"

    def test_tiles_that_are_used_again_and_again_count_each_time(self) -> None:
        data = files()["heic-grid"]
        pixels = 96 * 72 + 4 * 64 * 64
        assert hashed(data, max_total_pixels=pixels).frames
        assert refused(data, max_total_pixels=pixels - 1).metadata["limit"] == "max_total_pixels"

    def test_pictures_made_of_each_other(self) -> None:
        """A grid that is a tile of itself."""
        data = bytearray(files()["heic-grid"])
        at = data.index(b"dimg")
        struct.pack_into(">H", data, at + 8, struct.unpack_from(">H", data, at + 4)[0])
        assert refused(bytes(data)).reason is Reason.UNREADABLE_MEDIA

    def test_bytes_that_a_thousand_items_name_are_not_copied_a_thousand_times(self) -> None:
        padding = bytes(200_000)
        entries = b"".join(box(b"infe", b"\2\0\0\0" + struct.pack(">HH", n, 0) + b"Exif\0") for n in range(1, 1000))
        places = b"".join(struct.pack(">HHHII", n, 0, 1, 0, len(padding)) for n in range(1, 1000))
        meta = box(
            b"meta",
            bytes(4)
            + box(b"iinf", bytes(4) + struct.pack(">H", 999) + entries)
            + box(b"iloc", bytes(4) + b"\x44\0" + struct.pack(">H", 999) + places),
        )
        data = box(b"ftyp", b"heic\0\0\0\0mif1heic") + meta + box(b"mdat", padding)
        assert refused(data).metadata["limit"] == "shared_bytes"

    def test_millions_of_boxes(self) -> None:
        data = files()["heic"] + box(b"free", b"") * 1_000_000
        assert refused(data).metadata["limit"] == "blocks"

    def test_frames_of_a_sequence_are_counted_before_they_are_listed(self) -> None:
        data = bytearray(files()["avif-animated"])
        at = data.index(b"stsz")
        struct.pack_into(">II", data, at + 8, 1, 0xFFFF_FFFF)
        assert refused(bytes(data)).metadata["limit"] == "max_source_frames"


class TestWhatCannotBeRead:
    """A picture that is not decoded is an error with advice, never "no picture"."""

    @pytest.mark.parametrize(
        "head",
        [
            b"\0\0\0\x18ftypcrx \0\0\0\0crx isom",
            b"\0\0\0\x18ftypavci\0\0\0\0mif1avci",
            b"\0\0\0\x18ftypMiHB\0\0\0\0mif1MiHB",
            b'<svg xmlns="http://www.w3.org/2000/svg">',
            b'\xef\xbb\xbf<?xml version="1.0"?>\n<!-- ' + b"made by hand " * 100 + b"--><svg:svg>",
            b"P6\n4 4\n255\n",
            b"\0\0\2\0\1\0",
            b"IIRO\x08\0\0\0",
            b"II\xbc\x01\x08\0\0\0",
            b"FUJIFILMCCD-RAW 0201",
            b"qoif\0\0\0\1",
            b"\0\0\0\x0cJXL \r\n\x87\n",
        ],
    )
    def test_other_formats(self, head: bytes) -> None:
        error = refused(head + bytes(64))
        assert error.reason is Reason.UNREADABLE_MEDIA
        assert "convert the picture to JPEG or PNG" in error.message or "cannot be decoded" in error.message

    @pytest.mark.parametrize(
        "head",
        [
            b"P1 is the name of a field",
            b"<html><body><svg></svg>",
            b"<!-- svg -->",
            b"ID3\3\0\0\0\0\0\x0cAPIC\0" + b"\xff\xd8\xff\xe0",
        ],
    )
    def test_what_only_looks_alike(self, head: bytes) -> None:
        assert hashed(head + bytes(64)).not_perceptual

    def test_a_film_is_no_picture_unless_it_says_so(self) -> None:
        """One that names a brand of pictures besides its own is an error, not something that nobody looks at."""
        assert media_type_of(MP4) == "video/mp4"
        assert media_type_of(MP4.replace(b"isom", b"heic")) == "image/heic"
        assert refused(MP4.replace(b"isom", b"heic")).reason is Reason.UNREADABLE_MEDIA

    @pytest.mark.parametrize("name", ["dng", "cr2", "nef"])
    def test_a_raw_file_is_not_hashed_by_its_preview(self, name: str) -> None:
        data = bytearray(files()["tiff"])
        (first,) = struct.unpack_from("<I", data, 4)
        if name == "cr2":
            data += data[first : first + 200]
            struct.pack_into("<I", data, 4, len(data) - 200)
            data[8:12] = b"CR\2\0"
        else:
            # The tag 284 (one plane), which may be left out, becomes DNGVersion, or a picture beside the page.
            (count,) = struct.unpack_from("<H", data, first)
            at = next(a for a in range(first + 2, first + 2 + 12 * count, 12) if data[a : a + 2] == b"\x1c\x01")
            tag = (50706, 1, 4, 0x0401) if name == "dng" else (330, 4, 1, first)
            struct.pack_into("<HHII", data, at, *tag)
        assert "raw" in refused(bytes(data)).message

    def test_a_sequence_in_a_heic(self) -> None:
        data = files()["avif-animated"]
        swapped = data.replace(b"avis", b"hevc").replace(b"avif", b"heic")
        assert media_type_of(swapped[:200]) == "image/heic"
        assert "further pictures" in refused(swapped).message or refused(swapped).reason is Reason.UNREADABLE_MEDIA

    def test_a_still_beside_the_frames_of_an_avif(self) -> None:
        """libavif reads one or the other."""
        data = files()["avif-animated"]
        assert "further pictures" in refused(data[:8] + b"avif" + data[12:]).message

    def test_heic_without_its_library(self, monkeypatch: pytest.MonkeyPatch) -> None:
        data = files()["heic"]
        monkeypatch.setitem(__import__("sys").modules, "pillow_heif", None)
        monkeypatch.delitem(Image.OPEN, "HEIF", raising=False)
        with pytest.raises(FailedPrecondition, match=r"pip install 'hashhub\[hashing\]'") as error:
            hashed(data)
        assert error.value.reason is Reason.MISSING_EXTRA


class TestWhatElseIsInTheFile:
    @pytest.mark.parametrize("name", ["jpeg", "jpeg-progressive", "mpo", "heic", "avif"])
    def test_a_film_behind_the_picture_is_told(self, name: str) -> None:
        whole = hashed(files()[name])
        media = hashed(files()[name] + b"\0\0" * (name == "jpeg") + MP4)
        assert media.frames == whole.frames
        (gap,) = coverage(media, Effort.PLAIN).gaps
        assert gap.code == "FRAMES_SKIPPED"
        assert "motion photo" in gap.text

    def test_a_film_in_a_box_of_its_own(self) -> None:
        assert hashed(files()["heic"] + box(b"mpvd", MP4)).skipped is not None

    def test_bytes_that_are_no_film_are_not(self) -> None:
        assert hashed(files()["jpeg"] + b"SEFT ftyp and so on").skipped is None

    @pytest.mark.parametrize("name", ["jpeg", "png", "gif-animated", "webp"])
    @pytest.mark.parametrize("stray", [b"\n", b"\xef\xbb\xbf", b"\0" * 16])
    def test_a_picture_behind_a_few_stray_bytes_is_found(self, name: str, stray: bytes) -> None:
        assert hashed(stray + files()[name]).frames == hashed(files()[name]).frames

    def test_exact_digests_are_of_the_whole_file(self) -> None:
        media = hash_media(b"\n" + files()["jpeg"], algorithms=["SHA256", "PDQ"])
        assert media.digests == hash_media(b"\n" + files()["jpeg"], algorithms=["SHA256"]).digests


class TestExifInHeic:
    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_the_decoder_has_turned_the_picture(self, orientation: int) -> None:
        """pillow-heif writes the orientation as a property; other tools read the picture turned, too."""
        data = encoded(scene(), "HEIF", exif=exif(orientation))
        upright = Image.open(io.BytesIO(data)).convert("RGB")
        media = hash_media(data, algorithms=["PDQ"], effort=Effort.STANDARD)
        assert {variant.name for variant in media.frames[0].variants} == TURNS  # and no reading of another turn
        assert distance(media.frames[0].hashes[0], pdq(encoded(upright, "PNG"))) <= 2

    @pytest.mark.parametrize("block", [b"Exif\0\0", b"\xff" * 40, b"Exif\0\0MM\0*\xff\xff\xff\xff", b"x" * 5000])
    def test_exif_of_any_shape_hides_nothing(self, block: bytes) -> None:
        assert pdq(encoded(scene(), "HEIF", exif=block)) == pdq(files()["heic"])
