"""The generated pictures must behave as photographs do, or benchmarks and thresholds measured on them mean nothing."""

from __future__ import annotations

import io
from functools import cache
from random import Random

import numpy as np
import pytest
from PIL import Image

from hashhub.hashes import Hash, distance
from hashhub.hashing import hash_media
from hashhub.testing.pictures import ALTERATIONS, picture

SIZE = (256, 256)
COUNT = 150


def pdq(image: Image.Image) -> tuple[Hash, int]:
    buffer = io.BytesIO()
    image.save(buffer, "BMP")
    frame = hash_media(buffer.getvalue(), algorithms=["PDQ"]).frames[0]
    assert frame.quality is not None
    return frame.hashes[0], frame.quality


@cache
def hashed() -> list[tuple[Hash, int]]:
    return [pdq(picture(seed, SIZE)) for seed in range(COUNT)]


def test_a_seed_and_a_size_give_one_picture() -> None:
    assert picture(5, (90, 60)).tobytes() == picture(5, (90, 60)).tobytes()
    assert picture(5, (90, 60)).tobytes() != picture(6, (90, 60)).tobytes()


@pytest.mark.parametrize("size", [(16, 16), (16, 400), (401, 17), (333, 250)])
def test_any_size_of_at_least_16_is_made(size: tuple[int, int]) -> None:
    made = picture(1, size)
    assert (made.size, made.mode) == (size, "RGB")


def test_different_pictures_are_as_far_apart_as_unrelated_photographs() -> None:
    digests = np.array([np.frombuffer(h.digest, dtype=np.uint8) for h, _ in hashed()])
    bits = np.unpackbits(digests, axis=1).astype(np.int32)
    pairs = (bits[:, None, :] != bits[None, :, :]).sum(axis=2)[np.triu_indices(COUNT, 1)]
    assert 126 < pairs.mean() < 130
    assert 7 < pairs.std() < 12
    assert pairs.min() > 60


def test_nearly_all_have_enough_to_hash() -> None:
    assert np.mean([quality >= 50 for _, quality in hashed()]) > 0.95


def test_power_falls_with_frequency_as_in_natural_scenes() -> None:
    """The amplitude spectrum follows 1 / f ** s with s near 1; white noise has 0."""
    radius = np.hypot(*np.meshgrid(np.fft.fftfreq(256), np.fft.fftfreq(256)))
    rings = [(radius >= low) & (radius < low * 1.5) for low in (0.01, 0.02, 0.04, 0.08, 0.16)]
    slopes = []
    for seed in range(20):
        grey = np.asarray(picture(seed, SIZE).convert("L"), dtype=np.float64)
        window = np.hanning(256)[:, None] * np.hanning(256)
        amplitude = np.abs(np.fft.fft2((grey - grey.mean()) * window))
        slopes.append(
            np.polyfit(np.log([0.01, 0.02, 0.04, 0.08, 0.16]), [np.log(amplitude[r].mean()) for r in rings], 1)[0]
        )
    assert -1.8 < np.mean(slopes) < -1.0


@pytest.mark.parametrize("name", ["jpeg-90", "jpeg-50", "resize-double", "blur-light", "grey", "darken"])
def test_mild_alterations_stay_within_the_default_distance(name: str) -> None:
    distances = [
        distance(pdq(ALTERATIONS[name](picture(seed, SIZE), Random(seed)))[0], hashed()[seed][0]) for seed in range(20)
    ]
    assert np.mean([d <= 31 for d in distances]) >= 0.9


@pytest.mark.parametrize("name", ["rotate-90", "rotate-180", "rotate-270", "flip"])
def test_turned_pictures_look_unrelated(name: str) -> None:
    for seed in range(5):
        assert distance(pdq(ALTERATIONS[name](picture(seed, SIZE), Random(seed)))[0], hashed()[seed][0]) > 60


@pytest.mark.parametrize("name", ALTERATIONS)
def test_an_alteration_makes_a_new_picture_and_leaves_the_old_one(name: str) -> None:
    original = picture(8, (160, 120))
    before = original.tobytes()
    altered = ALTERATIONS[name](original, Random(4))
    assert altered.mode == "RGB"
    assert original.tobytes() == before
    assert (altered.size, altered.tobytes()) != (original.size, before)
    assert altered.tobytes() == ALTERATIONS[name](picture(8, (160, 120)), Random(4)).tobytes()
