"""What `threatexchange` hashes of a file is among what is looked up for it."""

from __future__ import annotations

import pytest

from hashhub.hashes import Hash
from hashhub.hashing import hash_media
from hashhub.model import Effort
from tests.hashing.assets import deep_grey, encoded, exif, files, hidden, scene, translucent


def cases() -> dict[str, bytes]:
    return files() | {
        "jpeg-turned": encoded(scene(), "JPEG", exif=exif(6)),
        "heic-turned": encoded(scene(), "HEIF", exif=exif(6)),
        "avif-turned": encoded(scene(), "AVIF", exif=exif(6)),
        "png-turned-palette": encoded(scene().quantize(64), "PNG", exif=exif(6)),
        "png-turned-alpha": encoded(translucent(scene()), "PNG", exif=exif(6)),
        "png-hidden": encoded(hidden(scene()), "PNG"),
        "png-grey-alpha": encoded(translucent(scene()).convert("LA"), "PNG"),
        "png-clear-colour": encoded(scene().quantize(64), "PNG", transparency=3),
        "tiff-16-bit": encoded(deep_grey(scene()), "TIFF"),
        "tiff-cmyk": encoded(scene().convert("CMYK"), "TIFF"),
        "tiff-ycbcr": encoded(scene().convert("YCbCr"), "TIFF"),
    }


@pytest.mark.parametrize("name", cases())
def test_it_is_looked_up(name: str) -> None:
    hasher = pytest.importorskip("threatexchange.signal_type.pdq.pdq_hasher")
    if name == "tiff-fax":
        pytest.skip("threatexchange takes no bilevel pictures")
    data = cases()[name]
    theirs, _quality = hasher.pdq_from_bytes(data)
    query = hash_media(data, algorithms=["PDQ"], effort=Effort.STANDARD).query()
    assert Hash.of("PDQ", bytes.fromhex(theirs)) in {*query.hashes, *(h for v in query.variants for h in v.hashes)}
