"""What reference tools hash of a file where it is not what people see. `tests/interop/test_media.py` asks the tools."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from hashhub.hashes import Hash, distance
from hashhub.hashing import hash_media
from hashhub.model import READINGS, Effort
from tests.hashing.assets import animated, deep_grey, encoded, exif, files, hidden, scene, translucent


def read(data: bytes, effort: Effort = Effort.STANDARD) -> dict[str, set[Hash]]:
    """The PDQ hashes of the first frame's readings, by name."""
    by_name: dict[str, set[Hash]] = {}
    for variant in hash_media(data, algorithms=["PDQ"], effort=effort).frames[0].variants:
        if variant.name in READINGS:
            by_name.setdefault(variant.name, set()).update(variant.hashes)
    return by_name


def pdq(image: Image.Image) -> Hash:
    (own,) = hash_media(encoded(image, "PNG"), algorithms=["PDQ"]).frames[0].hashes
    return own


def converted(data: bytes) -> Image.Image:
    """As nearly every tool reads a file."""
    return Image.open(io.BytesIO(data)).convert("RGB")


def as_array(data: bytes) -> Image.Image:
    """As threatexchange reads a file."""
    array = np.asarray(Image.open(io.BytesIO(data)))
    return Image.fromarray(np.ascontiguousarray(array[..., :3]) if array.ndim == 3 else array).convert("RGB")


class TestAsStored:
    @pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "AVIF"])
    @pytest.mark.parametrize("orientation", range(2, 9))
    def test_a_turned_file_is_looked_up_as_it_is_stored_too(self, image_format: str, orientation: int) -> None:
        data = encoded(scene(), image_format, exif=exif(orientation))
        assert read(data) == {"as-stored": {pdq(converted(data))}}
        (own,) = hash_media(data, algorithms=["PDQ"]).frames[0].hashes
        assert distance(own, pdq(converted(data))) > 60

    @pytest.mark.parametrize("image_format", ["TIFF", "HEIF"])
    @pytest.mark.parametrize("orientation", [3, 6])
    def test_what_every_tool_turns_has_no_other_reading(self, image_format: str, orientation: int) -> None:
        """Pillow's TIFF reader and libheif turn the pixels themselves."""
        data = encoded(scene(), image_format, exif=exif(orientation))
        assert read(data) == {}
        (own,) = hash_media(data, algorithms=["PDQ"]).frames[0].hashes
        assert own == pdq(converted(data))

    @pytest.mark.parametrize("image_format", ["JPEG", "PNG", "AVIF", "HEIF"])
    def test_an_upright_file_has_no_other_reading(self, image_format: str) -> None:
        assert read(encoded(scene(), image_format)) == {}
        assert read(encoded(scene(), image_format, exif=exif(1))) == {}

    @pytest.mark.parametrize("name", ["png-palette", "gif", "gif-animated", "bmp-palette", "jpeg-cmyk"])
    def test_palettes_and_inks_as_threatexchange_takes_them(self, name: str) -> None:
        data = files()[name]
        assert read(data) == {"as-stored": {pdq(as_array(data))}}

    def test_of_a_turned_palette_picture_both(self) -> None:
        data = encoded(scene().quantize(64), "PNG", exif=exif(6))
        assert read(data) == {"as-stored": {pdq(converted(data)), pdq(as_array(data))}}


class TestWithoutAlpha:
    @pytest.mark.parametrize(("image_format", "options"), [("PNG", {}), ("WEBP", {"lossless": True}), ("TIFF", {})])
    @pytest.mark.parametrize("mode", ["RGBA", "LA"])
    def test_transparency_is_left_out(self, image_format: str, mode: str, options: dict[str, bool]) -> None:
        if mode == "LA" and image_format == "WEBP":
            image_format = "PNG"  # WebP has no grey
        data = encoded(translucent(scene()).convert(mode), image_format, **options if image_format == "WEBP" else {})
        assert read(data) == {"without-alpha": {pdq(converted(data))}}

    @pytest.mark.parametrize("name", ["heic-alpha", "avif-alpha", "webp-alpha"])
    def test_in_lossy_formats_too(self, name: str) -> None:
        assert read(files()[name]) == {"without-alpha": {pdq(converted(files()[name]))}}

    def test_a_picture_behind_full_transparency_is_read(self) -> None:
        data = encoded(hidden(scene()), "PNG")
        media = hash_media(data, algorithms=["PDQ"], effort=Effort.STANDARD)
        assert media.frames[0].quality == 0  # a white page, to people
        assert read(data) == {"without-alpha": {pdq(scene())}}

    def test_so_is_one_in_a_later_frame_that_looks_like_the_first(self) -> None:
        frames = [hidden(scene(seed)) for seed in (3, 4, 5)]
        data = animated("PNG", frames, duration=50, blend=0)
        assert read(data)["without-alpha"] >= {pdq(scene(seed)) for seed in (3, 4, 5)}

    def test_one_hidden_by_a_palette_is_read(self) -> None:
        palette = scene().quantize(64)
        data = encoded(palette, "PNG", transparency=bytes(64))
        assert read(data)["without-alpha"] == {pdq(converted(data))}

    def test_an_alpha_channel_of_nothing_but_255_is_none(self) -> None:
        opaque = scene().copy()
        opaque.putalpha(255)
        assert read(encoded(opaque, "PNG")) == {}

    def test_a_turned_and_transparent_file_has_one_reading(self) -> None:
        data = encoded(translucent(scene()), "PNG", exif=exif(8))
        assert read(data) == {"as-stored": {pdq(converted(data))}}


class TestGreyClipped:
    @pytest.mark.parametrize("image_format", ["PNG", "TIFF"])
    @pytest.mark.parametrize("seed", range(4))
    def test_sixteen_bits_are_clipped_at_255(self, image_format: str, seed: int) -> None:
        data = encoded(deep_grey(scene(seed)), image_format)
        assert read(data) == {"grey-clipped": {pdq(converted(data))}}
        (own,) = hash_media(data, algorithms=["PDQ"]).frames[0].hashes
        assert distance(own, pdq(converted(data))) > 60

    def test_integers_of_32_bits_likewise(self) -> None:
        data = encoded(Image.fromarray(np.asarray(deep_grey(scene())).astype(np.int32)), "TIFF")
        assert read(data) == {"grey-clipped": {pdq(converted(data))}}

    def test_values_that_fit_into_eight_bits_read_alike(self) -> None:
        grey = np.asarray(scene().convert("L")).astype(np.uint16)
        data = encoded(Image.fromarray(grey), "PNG")
        assert read(data) == {"grey-clipped": {pdq(scene().convert("L"))}}


class TestEffort:
    @pytest.mark.parametrize("name", files())
    def test_plain_hashes_what_people_see_and_nothing_else(self, name: str) -> None:
        assert read(files()[name], Effort.PLAIN) == {}

    @pytest.mark.parametrize("name", files())
    def test_no_frame_has_more_than_two_readings_and_their_names_are_known(self, name: str) -> None:
        plain = hash_media(files()[name], algorithms=["PDQ"])
        media = hash_media(files()[name], algorithms=["PDQ"], effort=Effort.STANDARD)
        assert [f.hashes for f in media.frames] == [f.hashes for f in plain.frames]
        for frame in media.frames:
            assert len([v for v in frame.variants if v.name in READINGS]) <= 2

    def test_the_query_names_them(self) -> None:
        data = encoded(translucent(scene()), "PNG")
        variants = {v.variant: set(v.hashes) for v in hash_media(data, effort=Effort.STANDARD).query().variants}
        assert pdq(converted(data)) in variants["without-alpha"]
        assert len(variants["without-alpha"]) == 3  # every perceptual algorithm
