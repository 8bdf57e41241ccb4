"""PDQ to the bit: the reference, which pdqhash wraps, hashes the same pixels."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pdqhash
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hashhub.hashing.pdq import compute
from hashhub.testing.pictures import picture

MIRRORS: Final = [(left_right, top_bottom) for left_right in (False, True) for top_bottom in (False, True)]

Pixels = np.ndarray[Any, np.dtype[np.uint8]]


def reference(pixels: Pixels) -> tuple[int, int]:
    bits, quality = pdqhash.compute(np.ascontiguousarray(pixels))
    return int("".join(map(str, bits)), 2), quality


def assert_the_same(pixels: Pixels) -> None:
    found = compute(pixels, MIRRORS)
    assert list(found) == MIRRORS
    for (left_right, top_bottom), ours in found.items():
        turned = pixels[:: -1 if top_bottom else 1, :: -1 if left_right else 1]
        assert ours == reference(turned), (pixels.shape, left_right, top_bottom)


# 5 is the smallest side that is hashed, 64 the number of samples; windows grow at 129, 257, ….
SIDES: Final = st.one_of(st.sampled_from([4, 5, 63, 64, 65, 128, 129, 256, 257]), st.integers(1, 400))


@settings(max_examples=150)
@given(SIDES, SIDES, st.integers(0, 2**32), st.sampled_from([0, 3, 255]))
def test_any_pixels(width: int, height: int, seed: int, contrast: int) -> None:
    # A flat picture's hash is the rounding alone: the severest test there is.
    rng = np.random.default_rng(seed)
    colour = rng.integers(0, 256 - contrast, 3)
    assert_the_same((colour + rng.integers(0, contrast + 1, (height, width, 3))).astype(np.uint8))


@pytest.mark.parametrize("size", [(512, 384), (64, 64), (1500, 1100), (333, 1024)])
def test_pictures(size: tuple[int, int]) -> None:
    assert_the_same(np.asarray(picture(7, size)))


def test_a_part_of_a_larger_array() -> None:
    pixels = np.asarray(picture(8, (300, 200)))[10:190:2, 5:295:3]
    assert compute(pixels, [(False, False)]) == {(False, False): reference(pixels)}
