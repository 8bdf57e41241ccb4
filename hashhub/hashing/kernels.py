"""The compiled loops of hashing: PDQ, to the bit what `hashing.pdq` computes with NumPy, and Pillow's LANCZOS before
pHash and dHash, each in a fraction of the time.
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

_Floats = NDArray[np.float32]

# PDQ. Sums are taken in the reference's order, many side by side: down the columns for all columns of a row, along the
# rows for `LANES` rows. Of the filtered rows only those of one window are kept.

LANES: Final = 32
"""Rows summed side by side."""
_LINE: Final = 16  # floats in a cache line; rows begin an odd number of lines apart, as columns else share few sets
_SAMPLES: Final = 64
_SIDE: Final = 16


# Of `count` rows or columns a window holds `size`, `size // 2` of them behind its own. Step k adds number k, if there
# is one, and then subtracts number k - size, if there is one; after it the window is that of number k - size // 2.


@jit
def _divisor(k: int, count: int, size: int) -> float:
    """Return how many numbers are in the window after step k, as float32."""
    if k < size:
        return np.float32(k + 1)  # type: ignore[return-value] # Numba's floats
    if k >= count:
        return np.float32(size - (k - count + 1))  # type: ignore[return-value] # likewise
    return np.float32(size)  # type: ignore[return-value] # likewise


@jit
def _step(rows: _Floats, k: int, count: int, size: int, total: _Floats, means: _Floats) -> None:
    """Do step k for all columns and write the means of the window it ends. `rows`: row j at j modulo their count."""
    divisor = _divisor(k, count, size)
    entering, leaving = rows[k % rows.shape[0]], rows[(k - size) % rows.shape[0]]
    if k < size:
        for x in range(total.shape[0]):
            total[x] += entering[x]
            means[x] = total[x] / divisor
    elif k < count:
        for x in range(total.shape[0]):
            total[x] = total[x] + entering[x] - leaving[x]
            means[x] = total[x] / divisor
    else:
        for x in range(total.shape[0]):
            total[x] -= leaving[x]
            means[x] = total[x] / divisor


@jit
def _sampled(rows: _Floats, base: int, step: int, count: int, size: int, total: _Floats, means: _Floats) -> None:
    """Write the means of 64 windows, evenly spaced, to float32[64, columns]; number j is row `base + j * step`."""
    total[:] = np.float32(0)
    k = 0
    for i in range(_SAMPLES):
        last = np.int64((i + 0.5) * count / _SAMPLES) + size // 2
        while k <= last:
            entering, leaving = rows[base + min(k, count - 1) * step], rows[base + max(k - size, 0) * step]
            if k < size:
                for x in range(total.shape[0]):
                    total[x] += entering[x]
            elif k < count:
                for x in range(total.shape[0]):
                    total[x] = total[x] + entering[x] - leaving[x]
            else:
                for x in range(total.shape[0]):
                    total[x] -= leaving[x]
            k += 1
        divisor, of_sample = _divisor(last, count, size), means[i]
        for x in range(total.shape[0]):
            of_sample[x] = total[x] / divisor


@jit
def _along(rows: _Floats, width: int, size: int, first: int, total: _Floats, sums: _Floats) -> None:
    """Write the sums of the windows along rows, side by side, from that of step `first` on."""
    total[:] = np.float32(0)
    for k in range(width + size // 2):
        if k < size:
            for row in range(total.shape[0]):
                total[row] += rows[row, k]
        elif k < width:
            for row in range(total.shape[0]):
                total[row] = total[row] + rows[row, k] - rows[row, k - size]
        else:
            for row in range(total.shape[0]):
                total[row] -= rows[row, k - size]
        if k >= first:
            for row in range(total.shape[0]):
                sums[row, k - first] = total[row]


@jit
def _sampled_along(rows: _Floats, base: int, step: int, width: int, size: int, total: _Floats, means: _Floats) -> None:
    """Write the means of 64 windows along rows to float32[rows, 64]; number j is at `base + j * step`."""
    total[:] = np.float32(0)
    k = 0
    for i in range(_SAMPLES):
        last = np.int64((i + 0.5) * width / _SAMPLES) + size // 2
        while k <= last:
            entering, leaving = base + k * step, base + (k - size) * step
            if k < size:
                for row in range(total.shape[0]):
                    total[row] += rows[row, entering]
            elif k < width:
                for row in range(total.shape[0]):
                    total[row] = total[row] + rows[row, entering] - rows[row, leaving]
            else:
                for row in range(total.shape[0]):
                    total[row] -= rows[row, leaving]
            k += 1
        divisor = _divisor(last, width, size)
        for row in range(total.shape[0]):
            means[row, i] = total[row] / divisor


@jit
def _light(pixels: NDArray[np.uint8], y: int, luma: _Floats) -> None:
    """Write the luminance of a row of pixels.

    The reference computes 0.299 R + 0.587 G + 0.114 B in double. A whole number below 2**18 divided by 1000 gives the
    same float: its errors are far smaller than any thousandth's distance from the middle between two floats.
    """
    row = pixels[y].reshape(-1)
    for x in range(pixels.shape[1]):
        r, g, b = np.int32(row[3 * x]), np.int32(row[3 * x + 1]), np.int32(row[3 * x + 2])
        luma[x] = np.float32(np.int32(299 * r + 587 * g + 114 * b)) / np.float32(1000)


@jit
def samples(pixels: NDArray[np.uint8], mirrored: bool, squares: _Floats) -> None:  # noqa: FBT001 - kernels have no keywords
    """Filter a picture (uint8[height, width, 3], RGB) and sample it at 64 x 64 points.

    `squares[0, 0]` of float32[2, 2, 64, 64] gets it as it is and, if `mirrored`, `squares[1, 0]` with left and right
    changed, `squares[0, 1]` with top and bottom changed, `squares[1, 1]` with both. Both sides are at least 1.
    """
    height, width = pixels.shape[0], pixels.shape[1]
    across, down = (width + 127) // 128, (height + 127) // 128  # windows
    ways = 2 if mirrored else 1
    # A window of an even size reaches further ahead than back; of the mirrored picture it is the window before.
    before = 1 if mirrored and across % 2 == 0 else 0
    above = 1 if mirrored and down % 2 == 0 else 0
    first, ahead = across // 2 - before, down // 2
    pitch = (-(-(width + 1) // _LINE) | 1) * _LINE
    luma = np.zeros((LANES, pitch), np.float32)
    total = np.empty(LANES, np.float32)
    divisors = np.array([_divisor(k, width, across) for k in range(first, width + across // 2)], np.float32)
    ring = np.empty(((-(-down // LANES) + 1) * LANES, pitch), np.float32)
    totals = np.zeros(width + before, np.float32)
    filtered = np.zeros((LANES, pitch), np.float32)
    narrow = np.empty((2, height + ahead + LANES, _SAMPLES), np.float32)  # a row for each step
    for top in range(0, height + ahead, LANES):
        if top < height:
            for row in range(min(LANES, height - top)):
                _light(pixels, top + row, luma[row])
            at = top % ring.shape[0]
            _along(luma, width, across, first, total, ring[at : at + LANES])
            for row in range(at, at + LANES):
                means = ring[row]
                for x in range(width + before):
                    means[x] /= divisors[x]
        for k in range(top, min(top + LANES, height + ahead)):
            _step(ring, k, height, down, totals, filtered[k - top])
        for way in range(ways):
            base, step = (width - 1, -1) if way else (before, 1)
            _sampled_along(filtered, base, step, width, across, total, narrow[way, top : top + LANES])
    of_column = np.empty(_SAMPLES, np.float32)
    for way in range(ways):
        _sampled(narrow[way], ahead, 1, height, down, of_column, squares[way, 0])
        if mirrored:
            _sampled(narrow[way], ahead - above + height - 1, -1, height, down, of_column, squares[way, 1])


@jit
def transform(square: _Floats, cosines: _Floats, values: _Floats) -> int:
    """Write the transform's part that is kept, float32[16, 16], by its matrix `cosines`; return the gradient."""
    gradient = 0
    for i in range(_SAMPLES):
        for j in range(_SAMPLES):
            if i + 1 < _SAMPLES:
                change = (square[i + 1, j] - square[i, j]) * np.float32(100) / np.float32(255)
                gradient += int(abs(np.int32(change)))
            if j + 1 < _SAMPLES:
                change = (square[i, j + 1] - square[i, j]) * np.float32(100) / np.float32(255)
                gradient += int(abs(np.int32(change)))
    half = np.zeros((_SIDE, _SAMPLES), np.float32)
    turned = np.empty((_SAMPLES, _SIDE), np.float32)
    for i in range(_SIDE):
        for k in range(_SAMPLES):
            cosine = cosines[i, k]
            turned[k, i] = cosine
            for j in range(_SAMPLES):
                half[i, j] += cosine * square[k, j]
    values[:] = np.float32(0)
    for i in range(_SIDE):
        for k in range(_SAMPLES):
            part = half[i, k]
            for j in range(_SIDE):
                values[i, j] += part * turned[k, j]
    return gradient


# Before pHash and dHash, `imagehash` resizes the grey picture to 32 x 32 and to 9 x 8. Pillow does that with integers,
# first along the rows, rounded to bytes, then down the columns (libImaging/Resample.c). It goes the other way round,
# which rounds differently, where a picture is much taller than wide. Whether the installed Pillow still does it this
# way is asked once, with two small pictures.

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


_matrix = types.Array(types.float32, 2, "C")
_pixels = types.Array(types.uint8, 3, "C", readonly=True)
_bytes = types.Array(types.uint8, 2, "C")
_places = types.Array(types.int64, 1, "C")
_of_pixels = types.Array(types.int32, 2, "C")
_read = types.Array(types.uint8, 1, "C", readonly=True)
SIGNATURES: Final[tuple[tuple[Any, tuple[Any, ...]], ...]] = (
    (samples, (_pixels, types.boolean, types.Array(types.float32, 4, "C"))),
    (transform, (_matrix, _matrix, _matrix)),
    (to_grey, (_read, types.Array(types.uint8, 1, "C"))),
    (weigh, (types.int64, _places, _places, _of_pixels)),
    (along_rows, (types.Array(types.uint8, 2, "C", readonly=True), _places, _places, _of_pixels, _bytes)),
    (down_columns, (_bytes, _places, _places, _of_pixels, _bytes)),
)
"""What is called from outside, and the types that it is called with: what has to be compiled or loaded."""
