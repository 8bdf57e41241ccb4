"""Compiled loops beside what they stand in for: Pillow's grey and resizing; and how a process comes by them."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
from pathlib import Path

import imagehash
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from hashhub.hashing import DEFAULT_LIMITS, Transform, compiled, hash_media
from hashhub.hashing.grey import Grey, _agrees_with_pillow
from hashhub.hashing.pool import MediaPool

SIZES = ((32, 32), (9, 8))


def noise(width: int, height: int, seed: int, *, extreme: bool = False) -> Image.Image:
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 2, (height, width, 3)) * 255 if extreme else random.integers(0, 256, (height, width, 3))
    return Image.fromarray(pixels.astype(np.uint8))


def test_this_pillow_resizes_as_the_kernels_do() -> None:
    """If a later one does not, nothing breaks, but hashing takes longer."""
    assert compiled.load()
    assert _agrees_with_pillow()


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 700), st.integers(1, 700), st.integers(0, 2**32), st.booleans(), st.sampled_from([None, *Transform])
)
def test_grey_and_its_sizes_are_pillows(
    width: int, height: int, seed: int, extreme: bool, transform: Transform | None
) -> None:
    assert compiled.load()
    picture = noise(width, height, seed, extreme=extreme)
    ours = Grey.of(picture, np.asarray(picture))
    pillows = picture.convert("L")
    if transform is not None:
        ours, pillows = ours.turned(transform), pillows.transpose(Image.Transpose[transform.name])
    for size in SIZES:
        assert ours.resized(*size).tobytes() == pillows.resize(size, Image.Resampling.LANCZOS).tobytes()


def test_phash_and_dhash_are_imagehash_s_however_the_picture_is_turned() -> None:
    picture = noise(640, 427, 3).resize((1000, 667), Image.Resampling.BICUBIC)
    file = io.BytesIO()
    picture.save(file, "PNG")
    [frame] = hash_media(file.getvalue(), dihedral=True).frames
    forms = {None: frame.hashes} | {Transform(variant.name): variant.hashes for variant in frame.variants}
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
hashes = hash_media(open(sys.argv[1], "rb").read(), dihedral=True)
assert compiled.are_used() is not bool(sys.argv[2:])
print([(value.algorithm, value.digest.hex()) for value in hashes.hashes])
"""


def test_without_numba_the_answers_are_the_same(tmp_path: Path) -> None:
    file = tmp_path / "picture.png"
    noise(300, 203, 9).save(file)
    answers = {run(WITHOUT, str(file), *missing) for missing in ((), ("numba",))}
    assert len(answers) == 1


def run(code: str, *arguments: str, cache: Path | None = None) -> str:
    environment = os.environ | ({"HASHHUB_KERNEL_CACHE": str(cache)} if cache else {})
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
    expected = hash_media(file.getvalue(), dihedral=True)
    pool = MediaPool(children=1, max_queued=1, seconds=60, memory_bytes=1 << 30, limits=DEFAULT_LIMITS)
    try:
        with pool.room() as place:
            assert place.hash(file.getvalue(), dihedral=True) == expected
        until = time.monotonic() + 400
        while run(IS_KEPT, cache=cache).split() != ["True", "True"]:
            assert time.monotonic() < until, "the kernels were not compiled"
            time.sleep(2)
        with pool.room() as place:  # the child loads them by itself
            assert place.hash(file.getvalue(), dihedral=True) == expected
    finally:
        pool.close()
