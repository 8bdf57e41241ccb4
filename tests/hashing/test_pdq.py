"""PDQ to the bit: what the reference made of generated pictures is recorded beside this file.

`python -m bench.reference_hashes` makes the pictures, renews the record and compares with the reference itself, which
takes a C++ compiler to install.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.reference_hashes import COUNT, MIRRORS, RECORDED, fingerprint, mirrored, picture, recorded, size
from hashhub.hashing import compiled
from hashhub.hashing.pdq import compute, compute_with_numpy
from tests.examples import examples

UPRIGHT = (False, False)
PARTS = 8
LEAST_SIDE = 5  # that is hashed at all
HASHED_QUALITY = 50  # from which a hash says something
MOST_ROUNDED = 4  # bits whose coefficients lie so near the median that the order of additions decides


def test_the_pictures_are_those_that_the_reference_was_given() -> None:
    assert f"# SHA-256 of the pictures: {fingerprint()}\n" in RECORDED.read_text("ascii")


def test_the_record_is_of_all_kinds_of_pictures() -> None:
    hashed = recorded()
    assert len(hashed) == COUNT
    qualities = np.array([by_mirror[UPRIGHT][1] for by_mirror in hashed])
    assert np.mean(qualities >= 50) > 0.4  # as photographs have
    assert np.mean(qualities == 0) > 0.1  # flat: nothing but rounding
    assert {5, 64, 128, 129} <= {side for index in range(COUNT) for side in size(index)}
    assert sum(len(set(by_mirror.values())) == 4 for by_mirror in hashed) > COUNT // 2


@pytest.mark.parametrize("part", range(PARTS))
def test_hashes_and_qualities_are_those_of_the_reference(part: int) -> None:
    assert compiled.load()
    hashed = recorded()
    for index in range(part, COUNT, PARTS):
        pixels = picture(index)
        ours = compute(pixels, MIRRORS)
        assert ours[UPRIGHT] == hashed[index][UPRIGHT], index
        if min(pixels.shape[:2]) >= LEAST_SIDE:
            assert compute_with_numpy(pixels, MIRRORS) == ours, index
        for mirror in MIRRORS:
            assert_near(ours[mirror], hashed[index][mirror])


def assert_near(ours: tuple[int, int], theirs: tuple[int, int]) -> None:
    """Assert that two (hash, quality) differ in nothing but rounding. A flat picture's bits are nothing else."""
    assert ours[1] == theirs[1]
    assert ours[1] < HASHED_QUALITY or (ours[0] ^ theirs[0]).bit_count() <= MOST_ROUNDED


# 5 is the smallest side that is hashed, 64 the number of samples; windows grow at 129, 257, ….
SIDES = st.one_of(st.sampled_from([4, 5, 63, 64, 65, 128, 129, 256, 257]), st.integers(1, 400))


@settings(max_examples=examples(100), deadline=None)
@given(SIDES, SIDES, st.integers(0, 2**32), st.sampled_from([0, 3, 255]))
def test_a_mirrored_form_is_the_hash_of_the_mirrored_pixels(width: int, height: int, seed: int, contrast: int) -> None:
    rng = np.random.default_rng(seed)
    colour = rng.integers(0, 256 - contrast, 3)
    pixels = (colour + rng.integers(0, contrast + 1, (height, width, 3))).astype(np.uint8)
    hashed = compute(pixels, MIRRORS)
    assert list(hashed) == MIRRORS
    for mirror in MIRRORS:
        assert_near(hashed[mirror], compute(mirrored(pixels, mirror), [UPRIGHT])[UPRIGHT])
        assert compute(pixels, [mirror])[mirror] == hashed[mirror], "whatever else is asked for"


@settings(max_examples=examples(60), deadline=None)
@given(
    SIDES,
    st.one_of(SIDES, st.integers(500, 2500)),
    st.integers(0, 2**32),
    st.sampled_from([0, 3, 255]),
    st.booleans(),
    st.sets(st.sampled_from(MIRRORS), min_size=1),
)
def test_kernels_and_numpy_agree(
    side: int, other: int, seed: int, contrast: int, is_tall: bool, mirrors: set[tuple[bool, bool]]
) -> None:
    assert compiled.load()
    height, width = (other, side) if is_tall else (side, other)
    rng = np.random.default_rng(seed)
    colour = rng.integers(0, 256 - contrast, 3)
    pixels = (colour + rng.integers(0, contrast + 1, (height, width, 3))).astype(np.uint8)
    hashed = compute(pixels, mirrors)
    assert list(hashed) == sorted(mirrors)
    if min(height, width) < LEAST_SIDE:
        assert set(hashed.values()) == {(0, 0)}
    else:
        assert hashed == compute_with_numpy(pixels, mirrors)


@pytest.mark.parametrize(
    "shape", [(1, 1), (1, 700), (700, 1), (4, 4), (5, 5), (5, 6000), (6000, 5), (64, 64), (16, 16)]
)
def test_sizes_at_the_edges(shape: tuple[int, int]) -> None:
    assert compiled.load()
    pixels = np.random.default_rng(7).integers(0, 256, (*shape, 3), np.uint8)
    for mirror in MIRRORS:
        expected = (0, 0) if min(shape) < LEAST_SIDE else compute_with_numpy(pixels, [mirror])[mirror]
        assert compute(pixels, [mirror]) == {mirror: expected}


def test_neither_a_picture_that_may_not_be_written_nor_one_is_changed() -> None:
    pixels = picture(41)
    before = pixels.copy()
    pixels.flags.writeable = False
    assert compute(pixels, MIRRORS) == compute(before, MIRRORS)
    assert before.flags.writeable
    assert np.array_equal(before, pixels)


def test_threads_do_not_disturb_each_other() -> None:
    """The kernels run without the interpreter's lock."""
    pictures = [picture(index) for index in range(1, 33, 2)]
    alone = [compute(pixels, MIRRORS) for pixels in pictures]
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(lambda pixels: compute(pixels, MIRRORS), pictures * 4)) == alone * 4


def test_a_part_of_a_larger_array() -> None:
    pixels = picture(1)[1:-1:2, 2:-2:3]
    assert not pixels.flags.c_contiguous
    assert compute(pixels, MIRRORS) == compute(np.ascontiguousarray(pixels), MIRRORS)
