"""The compiled loops of PDQ, to the bit what `hashing.pdq` computes with NumPy, in a fraction of the time.

Sums are taken in the reference's order, many side by side: down the columns for all columns of a row, along the rows
for `LANES` rows. Of the filtered rows only those of one window are kept.

Mirrored pictures share all but the last sums. A window of an odd size is the same from both sides; one of an even size
is, seen from the other side, the window of the number before: one more mean in front of each row, and one more row.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numba.core import types
from numpy.typing import NDArray

from hashhub.kernel_cache import jit

_Floats = NDArray[np.float32]

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


_matrix = types.Array(types.float32, 2, "C")
_pixels = types.Array(types.uint8, 3, "C", readonly=True)
SIGNATURES: Final[tuple[tuple[Any, tuple[Any, ...]], ...]] = (
    (samples, (_pixels, types.boolean, types.Array(types.float32, 4, "C"))),
    (transform, (_matrix, _matrix, _matrix)),
)
"""What is called from outside, and the types that it is called with: what has to be compiled or loaded."""
