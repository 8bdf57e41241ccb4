"""The compiled loop before variants: Pillow's `reduce`, to the bit, in a fifth of the time.

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


SIGNATURES: Final[tuple[tuple[Any, tuple[Any, ...]], ...]] = (
    (
        reduce,
        (types.Array(types.uint8, 3, "C", readonly=True), types.int64, types.Array(types.uint8, 3, "C")),
    ),
)
"""What is called from outside, and the types that it is called with: what has to be compiled or loaded."""
