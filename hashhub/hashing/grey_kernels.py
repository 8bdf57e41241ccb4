"""The compiled loops before pHash and dHash: Pillow's LANCZOS, to the bit, in a twentieth of the time.

`imagehash` makes a picture grey at full size and resizes that twice, to 32 x 32 and to 9 x 8. The grey picture comes
from `pdq_kernels`, which reads the pixels anyway. Pillow resizes with integers, by weights of 22 bits, first along the
rows, rounded to bytes, then down the columns (libImaging/Resample.c). Integer sums have no order, so here they are
taken in vectors.
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
_LOW_BITS: Final = 15
_PIXELS: Final = 32  # of a row, multiplied at once: of 16 bits each, those of a cache line
_ROWS: Final = 4  # summed side by side


@intrinsic
def _plus_product(_context: Any, _total: Any, _pixel: Any, _weight: Any) -> Any:
    """Return total + pixel * weight as int32: Numba by itself would go on in 64 bits, half as many to a vector."""

    def codegen(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return builder.add(args[0], builder.mul(args[1], args[2]))

    return types.int32(types.int32, types.int32, types.int32), codegen


def _rows_at_once(context: Any) -> int:
    """Return of how many rows a processor has room for the sums in its vectors."""
    return _ROWS if "+avx512bw" in context.codegen().magic_tuple()[2].split(",") else _ROWS // 2


@intrinsic
def _weigh_rows(
    _context: Any, rows: Any, _first: Any, _pitch: Any, weights: Any, _at: Any, _count: Any, sums: Any
) -> Any:
    """Write for each of 4 rows, `pitch` apart, the sum of `count` pixels from `first` on by the weights from `at` on,
    and by those from `at + count` on, times 2**15.

    A weight is in two parts, its low 15 bits and those above: for the sum of two products of 16 bits processors have
    one instruction, which takes half as long as a product of 32 bits. `count`: a multiple of 32, so that no pixel is
    left over; `first` and `at` are best where a cache line begins. Each sum has to wait for its last addition, so those
    of some rows are taken side by side.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        read, by, written = (context.make_array(signature.args[i])(context, builder, args[i]).data for i in (0, 3, 6))
        word, index = ir.IntType(32), ir.IntType(64)
        lanes = ir.VectorType(word, _PIXELS // 2)
        stored, wide = (ir.VectorType(kind, _PIXELS) for kind in (ir.IntType(16), word))
        pair = [ir.Constant(lanes, list(range(k, _PIXELS, 2))) for k in (0, 1)]
        of_lanes = ir.FunctionType(word, [lanes])
        added = cgutils.get_or_insert_function(builder.module, of_lanes, f"llvm.vector.reduce.add.v{_PIXELS // 2}i32")

        def loaded(data: Any, at: Any) -> Any:
            place = builder.bitcast(builder.gep(data, [at]), stored.as_pointer())
            return builder.sext(builder.load(place, align=2), wide)

        at_once = _rows_at_once(context)
        for top in range(0, _ROWS, at_once):
            # LLVM keeps them in registers.
            totals = [cgutils.alloca_once(builder, lanes) for _ in range(2 * at_once)]
            for total in totals:
                builder.store(ir.Constant(lanes, [0] * lanes.count), total)
            with cgutils.for_range(builder, builder.udiv(args[5], ir.Constant(index, _PIXELS))) as loop:
                offset = builder.mul(loop.index, ir.Constant(index, _PIXELS))
                low = builder.add(args[4], offset)
                parts = [loaded(by, at) for at in (low, builder.add(low, args[5]))]
                for row in range(at_once):
                    at = builder.add(args[1], builder.mul(args[2], ir.Constant(index, top + row)))
                    pixels = loaded(read, builder.add(at, offset))
                    for part, total in zip(parts, totals[2 * row :], strict=False):
                        products = builder.mul(pixels, part)
                        both = (builder.shuffle_vector(products, products, of) for of in pair)
                        builder.store(builder.add(builder.load(total), builder.add(*both)), total)
            for row in range(at_once):
                low, high = (builder.call(added, [builder.load(total)]) for total in totals[2 * row : 2 * row + 2])
                total = builder.add(low, builder.shl(high, ir.Constant(word, _LOW_BITS)))
                builder.store(total, builder.gep(written, [ir.Constant(index, top + row)]))
        return context.get_dummy_value()

    place = types.int64
    return types.void(rows, place, place, weights, place, place, sums), codegen


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
    # From where a line begins; the pixels before the first and behind the last weigh nothing.
    lines = np.empty(fewer, np.int64)
    counts = np.empty(fewer, np.int64)
    for i in range(fewer):
        lines[i] = starts[i] // _PIXELS * _PIXELS
        counts[i] = -((lines[i] - starts[i] - lengths[i]) // _PIXELS) * _PIXELS
    pitch = 2 * np.max(counts)
    parts, first_part = _aligned(fewer * pitch)
    for i in range(fewer):
        at = first_part + i * pitch + starts[i] - lines[i]
        for k in range(lengths[i]):
            parts[at + k] = weights[i, k] & ((1 << _LOW_BITS) - 1)
            parts[at + counts[i] + k] = weights[i, k] >> _LOW_BITS
    row_pitch = (width + 2 * _PIXELS - 1) // _PIXELS * _PIXELS
    rows, first = _aligned(_ROWS * row_pitch)
    sums = np.empty(_ROWS, np.int32)
    for top in range(0, height, _ROWS):
        count = min(_ROWS, height - top)
        for row in range(count):
            read, to = picture[top + row], rows[first + row * row_pitch :]
            for x in range(width):
                to[x] = read[x]
        for i in range(fewer):
            _weigh_rows(rows, first + lines[i], row_pitch, parts, first_part + i * pitch, counts[i], sums)
            for row in range(count):
                out[top + row, i] = _rounded(np.int32(sums[row] + np.int32(1 << (_BITS - 1))))


@jit
def _aligned(count: int) -> tuple[NDArray[np.int16], int]:
    """Return int16 zeros, and from where `count` of them lie as cache lines do."""
    zeros = np.zeros(count + _PIXELS, np.int16)
    return zeros, -(zeros.ctypes.data // 2) % _PIXELS


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
    (weigh, (types.int64, _places, _places, _weights)),
    (along_rows, (_bytes, _places, _places, _weights, _bytes)),
    (down_columns, (_bytes, _places, _places, _weights, _bytes)),
)
"""What is called from outside, and the types that it is called with: what has to be compiled or loaded."""
