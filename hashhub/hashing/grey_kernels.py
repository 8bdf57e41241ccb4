"""The compiled loops before pHash and dHash: Pillow's grey and Pillow's LANCZOS, to the bit, in a tenth of the time.

`imagehash` makes a picture grey at full size and resizes that twice, to 32 x 32 and to 9 x 8. Pillow does both with
integers: grey as (19595 R + 38470 G + 7471 B + 2**15) >> 16 (libImaging/Convert.c, L24), resizing by weights of 22
bits, first along the rows, rounded to bytes, then down the columns (libImaging/Resample.c). Integer sums have no order,
so here they are taken in vectors.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numba.core import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from hashhub.kernel_cache import jit

_BITS: Final = 22  # of a weight: PRECISION_BITS
_SUPPORT: Final = 3.0  # of the LANCZOS filter, in pixels of the smaller picture


@intrinsic
def _plus_product(_context: Any, _total: Any, _pixel: Any, _weight: Any) -> Any:
    """Return total + pixel * weight as int32: Numba by itself would go on in 64 bits, half as many to a vector."""

    def codegen(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return builder.add(args[0], builder.mul(args[1], args[2]))

    return types.int32(types.int32, types.int32, types.int32), codegen


@jit
def grey(pixels: NDArray[np.uint8], out: NDArray[np.uint8]) -> None:
    """Write the grey picture of uint8[height, width, 3 or 4] to uint8[height, width]."""
    height, width, channels = pixels.shape
    for y in range(height):
        row, to = pixels[y].reshape(-1), out[y]
        if channels == 3:  # noqa: PLR2004 - a constant step, which LLVM can make vectors of
            for x in range(width):
                r, g, b = np.uint32(row[3 * x]), np.uint32(row[3 * x + 1]), np.uint32(row[3 * x + 2])
                to[x] = (np.uint32(19595) * r + np.uint32(38470) * g + np.uint32(7471) * b + np.uint32(0x8000)) >> 16
        else:
            for x in range(width):
                r, g, b = np.uint32(row[4 * x]), np.uint32(row[4 * x + 1]), np.uint32(row[4 * x + 2])
                to[x] = (np.uint32(19595) * r + np.uint32(38470) * g + np.uint32(7471) * b + np.uint32(0x8000)) >> 16


@jit
def _sinc(x: float) -> float:
    if x == 0.0:
        return 1.0
    x *= math.pi
    return math.sin(x) / x


@jit
def weigh(count: int, starts: NDArray[np.int64], lengths: NDArray[np.int64], weights: NDArray[np.int32]) -> None:
    """Write how `count` pixels in a row become fewer: pixel i is the sum of `lengths[i]` from `starts[i]` on, weighted.

    `weights`: int32[fewer, at least what `taps` says]. As precompute_coeffs and normalize_coeffs_8bpc do it.
    """
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


@jit
def along_rows(
    picture: NDArray[np.uint8],
    starts: NDArray[np.int64],
    lengths: NDArray[np.int64],
    weights: NDArray[np.int32],
    out: NDArray[np.uint8],
) -> None:
    """Resize each row of uint8[height, width] to uint8[height, fewer]."""
    for y in range(picture.shape[0]):
        for i in range(starts.shape[0]):
            start, length = starts[i], lengths[i]
            row, weight = picture[y, start : start + length], weights[i, :length]
            total = np.int32(1 << (_BITS - 1))
            for k in range(length):
                total = _plus_product(total, np.int32(row[k]), weight[k])
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
                totals[x] = _plus_product(totals[x], np.int32(row[x]), weight)
        for x in range(totals.shape[0]):
            out[i, x] = _rounded(totals[x])


_bytes = types.Array(types.uint8, 2, "C")
_places = types.Array(types.int64, 1, "C")
_weights = types.Array(types.int32, 2, "C")
SIGNATURES: Final[tuple[tuple[Any, tuple[Any, ...]], ...]] = (
    (grey, (types.Array(types.uint8, 3, "C", readonly=True), _bytes)),
    (weigh, (types.int64, _places, _places, _weights)),
    (along_rows, (_bytes, _places, _places, _weights, _bytes)),
    (down_columns, (_bytes, _places, _places, _weights, _bytes)),
)
"""What is called from outside, and the types that it is called with: what has to be compiled or loaded."""
