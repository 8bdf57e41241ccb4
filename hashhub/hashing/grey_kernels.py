"""The compiled loops before pHash and dHash: Pillow's LANCZOS, to the bit, in a tenth of the time.

`imagehash` resizes the grey picture to 32 x 32 and to 9 x 8. Pillow does that with integers, by weights of 22 bits,
first along the rows, rounded to bytes, then down the columns (libImaging/Resample.c). It goes the other way round,
which rounds differently, where a picture is much taller than wide. Whether the installed Pillow still does it this way
is asked once, with two small pictures.
"""

from __future__ import annotations

import functools
import math
from typing import Any, Final

import numpy as np
from numba.core import types
from numpy.typing import NDArray
from PIL import Image

from hashhub.kernel_cache import jit

_BITS: Final = 22  # of a weight: PRECISION_BITS
_SUPPORT: Final = 3.0  # of the LANCZOS filter, in pixels of the smaller picture
_TALLEST: Final = 1.5  # height to width; Pillow 13 changes the order from 1.7 on
_LEAST_SIDE: Final = 64  # smaller pictures are resized in microseconds anyway, and perhaps enlarged


def grey_of(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return RGB pixels in grey, as Pillow does (libImaging/Convert.c, L24)."""
    grey = np.empty(pixels.shape[:2], np.uint8)
    to_grey(_read_only(np.ascontiguousarray(pixels)).reshape(-1), grey.reshape(-1))
    return grey


def resized(grey: NDArray[np.uint8], columns: int, rows: int) -> Image.Image | None:
    """Return an 8-bit grey picture after Pillow's LANCZOS; None for one that is left to Pillow."""
    height, width = grey.shape
    if min(height, width) < _LEAST_SIDE or height > width * _TALLEST or not agrees_with_pillow():
        return None
    return Image.fromarray(_resized(grey, columns, rows))


@functools.cache
def agrees_with_pillow() -> bool:
    """Whether the installed Pillow makes grey and resizes as the kernels do."""
    random = np.random.default_rng(0)
    for height, width in ((100, 150), (180, 120)):
        pixels = random.integers(0, 2, (height, width, 3), np.uint8) * np.uint8(255)
        grey = Image.fromarray(pixels).convert("L")
        if not np.array_equal(grey_of(pixels), np.asarray(grey)):
            return False
        for size in ((32, 32), (9, 8)):
            pillows = grey.resize(size, Image.Resampling.LANCZOS)
            if not np.array_equal(_resized(np.asarray(grey), *size), np.asarray(pillows)):
                return False
    return True


def _resized(grey: NDArray[np.uint8], columns: int, rows: int) -> NDArray[np.uint8]:
    height, width = grey.shape
    narrow = np.empty((height, columns), np.uint8)
    along_rows(_read_only(grey), *_weights(width, columns), narrow)
    small = np.empty((rows, columns), np.uint8)
    down_columns(narrow, *_weights(height, rows), small)
    return small


def _read_only(array: NDArray[np.uint8]) -> NDArray[np.uint8]:
    read = array.view()
    read.flags.writeable = False  # one kind of array, so that there is one kernel
    return read


@functools.lru_cache(maxsize=16)  # most pictures have one of few sizes
def _weights(count: int, fewer: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32]]:
    """Return which of `count` pixels each of `fewer` is made of: the first, how many, and their weights."""
    starts, lengths = np.empty(fewer, np.int64), np.empty(fewer, np.int64)
    weights = np.zeros((fewer, math.ceil(_SUPPORT * count / fewer) * 2 + 1), np.int32)
    weigh(count, starts, lengths, weights)
    return starts, lengths, weights


@jit
def to_grey(pixels: NDArray[np.uint8], grey: NDArray[np.uint8]) -> None:
    """Write RGB, uint8[3 * n], in grey, uint8[n]."""
    for i in range(grey.shape[0]):
        r, g, b = np.int32(pixels[3 * i]), np.int32(pixels[3 * i + 1]), np.int32(pixels[3 * i + 2])
        grey[i] = np.int32(19595 * r + 38470 * g + 7471 * b + 0x8000) >> 16


@jit
def _sinc(x: float) -> float:
    if x == 0.0:
        return 1.0
    x *= math.pi
    return math.sin(x) / x


@jit
def weigh(count: int, starts: NDArray[np.int64], lengths: NDArray[np.int64], weights: NDArray[np.int32]) -> None:
    """Write as precompute_coeffs does how `count` pixels become fewer: the first of each, how many, their weights."""
    fewer = starts.shape[0]
    scale = count / fewer
    support = _SUPPORT * scale
    shares = np.empty(weights.shape[1], np.float64)
    for i in range(fewer):
        centre = (i + 0.5) * scale
        start = max(int(centre - support + 0.5), 0)
        length = min(int(centre + support + 0.5), count) - start
        total = 0.0
        for k in range(length):
            x = (k + start - centre + 0.5) * (1.0 / scale)
            share = _sinc(x) * _sinc(x / 3) if -_SUPPORT <= x < _SUPPORT else 0.0
            shares[k] = share
            total += share
        for k in range(length):
            share = shares[k] / total if total != 0.0 else shares[k]
            weights[i, k] = np.int32((-0.5 if share < 0 else 0.5) + share * (1 << _BITS))
        starts[i], lengths[i] = start, length


@jit
def _rounded(total: int) -> int:
    return min(max(total >> _BITS, 0), 255)


# Sums are cut to int32 after each addition: Numba by itself would go on in 64 bits, half as many to a vector.


@jit
def along_rows(
    picture: NDArray[np.uint8],
    starts: NDArray[np.int64],
    lengths: NDArray[np.int64],
    weights: NDArray[np.int32],
    out: NDArray[np.uint8],
) -> None:
    """Resize each row of uint8[height, width] to uint8[height, fewer]."""
    row = np.empty(picture.shape[1], np.int32)
    for y in range(picture.shape[0]):
        for x in range(row.shape[0]):
            row[x] = picture[y, x]
        for i in range(starts.shape[0]):
            pixels, of_pixels = row[starts[i] : starts[i] + lengths[i]], weights[i]
            total = np.int32(1 << (_BITS - 1))
            for k in range(pixels.shape[0]):
                total = np.int32(total + pixels[k] * of_pixels[k])
            out[y, i] = _rounded(total)


@jit
def down_columns(
    picture: NDArray[np.uint8],
    starts: NDArray[np.int64],
    lengths: NDArray[np.int64],
    weights: NDArray[np.int32],
    out: NDArray[np.uint8],
) -> None:
    """Resize each column of uint8[height, width] to uint8[fewer, width]."""
    totals = np.empty(picture.shape[1], np.int32)
    for i in range(starts.shape[0]):
        totals[:] = np.int32(1 << (_BITS - 1))
        for k in range(lengths[i]):
            row, weight = picture[starts[i] + k], weights[i, k]
            for x in range(totals.shape[0]):
                totals[x] = np.int32(totals[x] + np.int32(row[x]) * weight)
        for x in range(totals.shape[0]):
            out[i, x] = _rounded(totals[x])


_bytes = types.Array(types.uint8, 2, "C")
_places = types.Array(types.int64, 1, "C")
_of_pixels = types.Array(types.int32, 2, "C")
_read = types.Array(types.uint8, 1, "C", readonly=True)
SIGNATURES: Final[tuple[tuple[Any, tuple[Any, ...]], ...]] = (
    (to_grey, (_read, types.Array(types.uint8, 1, "C"))),
    (weigh, (types.int64, _places, _places, _of_pixels)),
    (along_rows, (types.Array(types.uint8, 2, "C", readonly=True), _places, _places, _of_pixels, _bytes)),
    (down_columns, (_bytes, _places, _places, _of_pixels, _bytes)),
)
"""What is called from outside, and the types that it is called with: what has to be compiled or loaded."""
