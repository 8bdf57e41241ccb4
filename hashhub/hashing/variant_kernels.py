"""The compiled loops of variants: Pillow's `reduce`, to the bit, and sums that NumPy takes five times as long for.

Pillow gives each pixel of the smaller picture the rounded mean of a square of the larger, in integers of 32 bits
(libImaging/Reduce.c): those at the right and at the bottom that of what is left of their squares.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numba.core import types
from numpy.typing import NDArray

from hashhub.kernel_cache import jit

MOST: Final = 16
"""Largest factor: sums of so many by so many bytes fit in 16 bits."""
_CHANNELS: Final = 4


@jit
def reduce(pixels: NDArray[np.uint8], factor: int, out: NDArray[np.uint8]) -> None:
    """Write the means of squares of uint8[height, width, 4] to uint8[rows, columns, 4], sides rounded up."""
    height, width = pixels.shape[0], pixels.shape[1]
    rows, columns = out.shape[0], out.shape[1]
    whole = width // factor
    down = np.zeros(columns * factor * _CHANNELS, np.uint16)
    words = down.view(np.uint64)  # the four channels of a pixel
    across = np.empty(columns, np.uint64)
    sums = across.view(np.uint16)
    for y in range(rows):
        top, bottom = y * factor, min((y + 1) * factor, height)
        first = pixels[top].reshape(-1)
        for x in range(width * _CHANNELS):
            down[x] = first[x]
        for k in range(top + 1, bottom):
            row = pixels[k].reshape(-1)
            for x in range(width * _CHANNELS):
                down[x] += row[x]
        if factor == 2:  # noqa: PLR2004 - constant steps, which LLVM can make vectors of
            for x in range(columns):
                across[x] = words[2 * x] + words[2 * x + 1]
        elif factor == 3:  # noqa: PLR2004 - likewise
            for x in range(columns):
                across[x] = words[3 * x] + words[3 * x + 1] + words[3 * x + 2]
        else:
            for x in range(columns):
                across[x] = words[x * factor]
            for k in range(1, factor):
                for x in range(columns):
                    across[x] += words[x * factor + k]
        to = out[y].reshape(-1)
        _divide(sums, 0, whole * _CHANNELS, (bottom - top) * factor, to)
        if whole < columns:
            _divide(sums, whole * _CHANNELS, columns * _CHANNELS, (bottom - top) * (width - whole * factor), to)


@jit
def _divide(sums: NDArray[np.uint16], begin: int, end: int, count: int, out: NDArray[np.uint8]) -> None:
    """Write sums of `count` bytes divided by it, as Pillow does (division_UINT32)."""
    share = np.uint32(np.float32(1 << 32) / np.float32(count << 8))
    half = np.uint32(count // 2)
    for x in range(begin, end):
        out[x] = np.uint32((np.uint32(sums[x]) + half) * share) >> np.uint32(24)


@jit
def add_up(mask: NDArray[np.uint8], table: NDArray[np.int32]) -> None:
    """Write the summed-area table of uint8[height, width] to int32[height + 1, width + 1]."""
    height, width = mask.shape
    table[0] = 0
    for y in range(height):
        total = np.int32(0)
        table[y + 1, 0] = 0
        for x in range(width):
            total += np.int32(mask[y, x])
            table[y + 1, x + 1] = table[y, x + 1] + total


@jit
def count_edges(
    light: NDArray[np.int16], step: int, even: int, pooled: int, lefts: NDArray[np.int32], rights: NDArray[np.int32]
) -> None:
    """Write for each column of int16[height, width] but the first and the last how many of its pixels, added up from
    above by `pooled` rows, may be on a left or on a right side, to int32[(height - 1) // pooled + 1, width - 2].

    On a side the pixels before and behind differ by more than `step`; the outer one, at the left of a left side, and
    the one above it by no more than `even`.
    """
    rows, columns = lefts.shape
    lefts[0] = 0
    rights[0] = 0
    for row in range(1, rows):
        lefts[row], rights[row] = lefts[row - 1], rights[row - 1]
        for y in range((row - 1) * pooled + 1, row * pooled + 1):
            line, above, to_left, to_right = light[y], light[y - 1], lefts[row], rights[row]
            for x in range(columns):
                before, behind = np.int32(line[x]), np.int32(line[x + 2])
                is_step = abs(before - behind) > step
                to_left[x] += np.int32(is_step & (abs(before - np.int32(above[x])) <= even))
                to_right[x] += np.int32(is_step & (abs(behind - np.int32(above[x + 2])) <= even))


@jit
def most_gained(counts: NDArray[np.int32], enough: NDArray[np.float32], gain: NDArray[np.float64]) -> None:
    """Write for each column of int32[rows, columns] by how much it grows more than `enough` does, at most, from a row
    to the same or a later one.
    """
    rows, columns = counts.shape
    least = np.empty(columns, np.float64)
    least[:] = np.inf
    gain[:] = 0.0
    for row in range(rows):
        for x in range(columns):
            gained = np.float64(counts[row, x]) - np.float64(enough[row])
            least[x] = min(least[x], gained)
            gain[x] = max(gain[x], gained - least[x])


_counts = types.Array(types.int32, 2, "C")
SIGNATURES: Final[tuple[tuple[Any, tuple[Any, ...]], ...]] = (
    (
        reduce,
        (types.Array(types.uint8, 3, "C", readonly=True), types.int64, types.Array(types.uint8, 3, "C")),
    ),
    (add_up, (types.Array(types.uint8, 2, "C"), _counts)),
    (most_gained, (_counts, types.Array(types.float32, 1, "C"), types.Array(types.float64, 1, "C"))),
    (count_edges, (types.Array(types.int16, 2, "C"), types.int64, types.int64, types.int64, _counts, _counts)),
)
"""What is called from outside, and the types that it is called with: what has to be compiled or loaded."""
