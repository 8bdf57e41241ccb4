"""PDQ to the bit: what the reference made of generated pictures is recorded beside this file.

`python -m bench.reference_hashes` makes the pictures, renews the record and compares with the reference itself, which
takes a C++ compiler to install.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.reference_hashes import COUNT, MIRRORS, RECORDED, fingerprint, mirrored, picture, recorded
from hashhub.hashing.pdq import compute

UPRIGHT = (False, False)
PARTS = 8


def test_the_pictures_are_those_that_the_reference_was_given() -> None:
    assert f"# SHA-256 of the pictures: {fingerprint()}\n" in RECORDED.read_text("ascii")


def test_the_record_is_of_all_kinds_of_pictures() -> None:
    hashed = recorded()
    assert len(hashed) == COUNT
    qualities = np.array([by_mirror[UPRIGHT][1] for by_mirror in hashed])
    assert np.mean(qualities >= 50) > 0.4  # as photographs have
    assert np.mean(qualities == 0) > 0.1  # flat: nothing but rounding
    shapes = [picture(index).shape for index in range(COUNT)]
    assert {5, 64, 128, 129} <= {side for shape in shapes for side in shape[:2]}
    assert sum(len(set(by_mirror.values())) == 4 for by_mirror in hashed) > COUNT // 2


@pytest.mark.parametrize("part", range(PARTS))
def test_hashes_and_qualities_are_those_of_the_reference(part: int) -> None:
    hashed = recorded()
    for index in range(part, COUNT, PARTS):
        assert compute(picture(index), MIRRORS) == hashed[index], index


# 5 is the smallest side that is hashed, 64 the number of samples; windows grow at 129, 257, ….
SIDES = st.one_of(st.sampled_from([4, 5, 63, 64, 65, 128, 129, 256, 257]), st.integers(1, 400))


@settings(max_examples=100)
@given(SIDES, SIDES, st.integers(0, 2**32), st.sampled_from([0, 3, 255]))
def test_a_mirrored_form_is_the_hash_of_the_mirrored_pixels(width: int, height: int, seed: int, contrast: int) -> None:
    rng = np.random.default_rng(seed)
    colour = rng.integers(0, 256 - contrast, 3)
    pixels = (colour + rng.integers(0, contrast + 1, (height, width, 3))).astype(np.uint8)
    hashed = compute(pixels, MIRRORS)
    assert list(hashed) == MIRRORS
    for mirror in MIRRORS:
        assert hashed[mirror] == compute(mirrored(pixels, mirror), [UPRIGHT])[UPRIGHT], mirror


def test_a_part_of_a_larger_array() -> None:
    pixels = picture(1)[1:-1:2, 2:-2:3]
    assert not pixels.flags.c_contiguous
    assert compute(pixels, MIRRORS) == compute(np.ascontiguousarray(pixels), MIRRORS)
