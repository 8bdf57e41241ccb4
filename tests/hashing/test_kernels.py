"""Compiled loops beside what they stand in for, NumPy's sums and Pillow's resizing; how a process comes by them."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import imagehash
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from hashhub.hashing import DEFAULT_LIMITS, Transform, compiled, hash_media, pdq
from hashhub.hashing.perceptual import resized
from hashhub.hashing.pool import MediaPool
from hashhub.model import TURNS, Effort
from tests.examples import examples
from tests.patience import wait_until

SIZES = ((32, 32), (9, 8))


def noise(width: int, height: int, seed: int, *, extreme: bool = False) -> Image.Image:
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 2, (height, width, 3)) * 255 if extreme else random.integers(0, 256, (height, width, 3))
    return Image.fromarray(pixels.astype(np.uint8))


def test_this_pillow_resizes_as_the_kernels_do() -> None:
    """If a later one does not, nothing breaks, but hashing takes longer."""
    assert compiled.load()
    from hashhub.hashing import kernels

    assert kernels.agrees_with_pillow()


@settings(max_examples=examples(60), deadline=None)
@given(st.integers(1, 700), st.integers(1, 700), st.integers(0, 2**32), st.booleans())
def test_grey_and_its_small_sizes_are_pillows(width: int, height: int, seed: int, extreme: bool) -> None:
    assert compiled.load()
    from hashhub.hashing import kernels

    picture = noise(width, height, seed, extreme=extreme)
    grey = picture.convert("L")
    assert np.array_equal(kernels.grey_of(np.asarray(picture)), np.asarray(grey))
    for size in SIZES:
        assert resized(np.asarray(grey), *size).tobytes() == grey.resize(size, Image.Resampling.LANCZOS).tobytes()


@pytest.mark.parametrize("size", [(64, 64), (65, 64), (64, 96), (4000, 64), (64, 90)])
@pytest.mark.parametrize("value", [0, 255])
def test_the_largest_sums_of_weights_are_pillows(size: tuple[int, int], value: int) -> None:
    """Smallest pictures have the largest weights, flat ones the largest sums, and stripes the farthest from them."""
    assert compiled.load()
    for stripes in (1, 2, 3):
        pixels = np.full((size[1], size[0], 3), value, np.uint8)
        pixels[:, ::stripes] = 255 - value
        grey = Image.fromarray(pixels).convert("L")
        for small in SIZES:
            assert resized(np.asarray(grey), *small).tobytes() == grey.resize(small, Image.Resampling.LANCZOS).tobytes()


@pytest.mark.parametrize("size", [(63, 900), (900, 63), (5, 5), (64, 64), (300, 200), (65_537, 64)])
def test_odd_sizes_are_pillows(size: tuple[int, int]) -> None:
    assert compiled.load()
    grey = Image.new("L", size, 100)
    assert resized(np.asarray(grey), 9, 8).tobytes() == grey.resize((9, 8)).tobytes()


@settings(max_examples=examples(60), deadline=None)
@given(st.integers(5, 500), st.integers(5, 500), st.integers(0, 2**32), st.booleans())
def test_pdq_is_numpys(width: int, height: int, seed: int, extreme: bool) -> None:
    assert compiled.load()
    picture = noise(width, height, seed, extreme=extreme)
    forms = [(False, False), (True, False), (False, True), (True, True)]
    pixels = np.asarray(picture)
    assert pdq.compute(pixels, forms) == pdq.compute_with_numpy(pixels, forms)


def test_phash_and_dhash_are_imagehash_s_however_the_picture_is_turned() -> None:
    picture = noise(640, 427, 3).resize((1000, 667), Image.Resampling.BICUBIC)
    file = io.BytesIO()
    picture.save(file, "PNG")
    [frame] = hash_media(file.getvalue(), effort=Effort.THOROUGH).frames
    forms = {None: frame.hashes} | {
        Transform(variant.name): variant.hashes for variant in frame.variants if variant.name in TURNS
    }
    for transform, hashes in forms.items():
        turned = picture if transform is None else picture.transpose(Image.Transpose[transform.name])
        values = {value.algorithm: value.digest.hex() for value in hashes}
        assert values["PHASH"] == str(imagehash.phash(turned)), transform
        assert values["DHASH"] == str(imagehash.dhash(turned)), transform


WITHOUT = """
import sys
for name in sys.argv[2:]:
    sys.modules[name] = None
from hashhub.hashing import compiled, hash_media
from hashhub.model import Effort
hashes = hash_media(open(sys.argv[1], "rb").read(), effort=Effort.THOROUGH)
assert compiled.are_used() is not bool(sys.argv[2:])
print([(value.algorithm, value.digest.hex()) for value in hashes.hashes])
"""


def test_without_numba_the_answers_are_the_same(tmp_path: Path) -> None:
    file = tmp_path / "picture.png"
    noise(300, 203, 9).save(file)
    answers = {run(WITHOUT, str(file), *missing) for missing in ((), ("numba",))}
    assert len(answers) == 1


def run(code: str, *arguments: str, cache: Path | None = None, **variables: str) -> str:
    environment = os.environ | variables | ({"HASHHUB_KERNEL_CACHE": str(cache)} if cache else {})
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=200,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


IS_KEPT = "from hashhub.hashing import compiled; print(compiled.load(compiles=False), compiled.are_used())"


def test_a_pool_hashes_at_once_while_the_kernels_are_compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first start on a machine: nothing waits for the compiler, and what it made is kept for the next start."""
    cache = tmp_path / "kernels"
    monkeypatch.setenv("HASHHUB_KERNEL_CACHE", str(cache))
    assert run(IS_KEPT, cache=cache).split() == ["False", "False"], "and nothing is compiled where that is not wanted"
    file = io.BytesIO()
    noise(400, 301, 5).save(file, "PNG")
    expected = hash_media(file.getvalue(), effort=Effort.STANDARD)
    pool = MediaPool(children=1, max_queued=1, seconds=60, memory_bytes=1 << 30, limits=DEFAULT_LIMITS)
    try:
        with pool.room() as place:
            assert place.hash(file.getvalue(), effort=Effort.STANDARD) == expected
        wait_until(lambda: list(cache.rglob("complete")), 400)
        assert run(IS_KEPT, cache=cache).split() == ["True", "True"]
        with pool.room() as place:  # the child loads them by itself
            assert place.hash(file.getvalue(), effort=Effort.STANDARD) == expected
    finally:
        pool.close()
