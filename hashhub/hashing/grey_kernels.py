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
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic
from numpy.typing import NDArray

from hashhub.kernel_cache import jit

_BITS: Final = 22  # of a weight: PRECISION_BITS
_SUPPORT: Final = 3.0  # of the LANCZOS filter, in pixels of the smaller picture
_LANES: Final = 16  # pixels of a row multiplied at once


@intrinsic
def _plus_product(_context: Any, _total: Any, _pixel: Any, _weight: Any) -> Any:
    """Return total + pixel * weight as int32: Numba by itself would go on in 64 bits, half as many to a vector."""

    def codegen(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return builder.add(args[0], builder.mul(args[1], args[2]))

    return types.int32(types.int32, types.int32, types.int32), codegen


@intrinsic
def _weighted(_context: Any, _row: Any, _start: Any, _weights: Any, _at: Any, _count: Any) -> Any:
    """Return the sum of `count` pixels of a row, from `start` on, by weights, from `at` on, as int32.

    A pixel stands in the row (int16) beside itself times 2**7, and a weight as its low 15 bits beside 2**8 times those
    above. That is all of the weight, and for two products of 16 bits and their sum processors have one instruction,
    which takes half as long as a product of 32 bits. `count`: a multiple of 16, so that no pixel is left over.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        row, weights = (context.make_array(signature.args[i])(context, builder, args[i]).data for i in (0, 2))
        word, index = ir.IntType(32), ir.IntType(64)
        sums = ir.VectorType(word, _LANES)
        stored, read = (ir.VectorType(kind, 2 * _LANES) for kind in (ir.IntType(16), word))
        first, second = (ir.Constant(sums, list(range(k, 2 * _LANES, 2))) for k in (0, 1))

        def pairs(data: Any, at: Any) -> Any:
            place = builder.gep(data, [builder.shl(at, ir.Constant(index, 1))])
            return builder.sext(builder.load(builder.bitcast(place, stored.as_pointer()), align=2), read)

        total = cgutils.alloca_once_value(builder, ir.Constant(sums, [0] * _LANES))  # LLVM keeps it in a register
        with cgutils.for_range(builder, builder.udiv(args[4], ir.Constant(index, _LANES))) as loop:
            offset = builder.mul(loop.index, ir.Constant(index, _LANES))
            products = builder.mul(
                pairs(row, builder.add(args[1], offset)), pairs(weights, builder.add(args[3], offset))
            )
            both = (builder.shuffle_vector(products, products, lanes) for lanes in (first, second))
            builder.store(builder.add(builder.load(total), builder.add(*both)), total)
        of_lanes = ir.FunctionType(word, [sums])
        added = cgutils.get_or_insert_function(builder.module, of_lanes, f"llvm.vector.reduce.add.v{_LANES}i32")
        return builder.call(added, [builder.load(total)])

    place = types.int64
    return types.int32(_row, place, _weights, place, place), codegen


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
            words = row.view(np.uint32)  # little-endian
            for x in range(width):
                word = words[x]
                r, g, b = np.uint32(word & 255), np.uint32(word >> 8 & 255), np.uint32(word >> 16 & 255)
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
    """Resize each row of uint8[height, width] to uint8[height, fewer], at most half as wide: no weight is more than 0.5
    then, and its parts fit in 16 bits.
    """
    height, width = picture.shape
    fewer = starts.shape[0]
    counts = np.empty(fewer, np.int64)
    pitch = (weights.shape[1] + _LANES - 1) // _LANES * _LANES
    parts = np.zeros((fewer * pitch, 2), np.int16)  # the pixels beyond weigh nothing
    for i in range(fewer):
        counts[i] = (lengths[i] + _LANES - 1) // _LANES * _LANES
        for k in range(lengths[i]):
            parts[i * pitch + k, 0] = weights[i, k] & 0x7FFF
            parts[i * pitch + k, 1] = weights[i, k] >> 15 << 8
    row = np.zeros((width + _LANES, 2), np.int16)
    for y in range(height):
        for x in range(width):
            row[x, 0] = picture[y, x]
            row[x, 1] = np.int16(picture[y, x]) << 7
        for i in range(fewer):
            total = _weighted(row, starts[i], parts, i * pitch, counts[i])
            out[y, i] = _rounded(np.int32(total + np.int32(1 << (_BITS - 1))))


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
