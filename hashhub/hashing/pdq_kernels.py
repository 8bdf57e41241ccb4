"""The compiled loops of PDQ, to the bit what `hashing.pdq` computes with NumPy, in a twentieth of the time.

    16 rows of pixels ── luminance ── box along the rows ── a ring of rows ── box down the columns ── 16 rows ─┐
                              ┌──────────────────────────────────────────────────────────────────────────────┘
                              └── box along the rows, at 64 columns ── (height, 64) ── box down them, at 64 rows

Every sum is taken in the reference's order; what differs is how many are taken at once. A running sum along a row has
to wait for its last addition, so 16 rows are summed side by side, one in each lane of a vector: their pixels are
transposed in registers before, and the means after. Down the columns the lanes are neighbouring columns, as they lie.
Nothing of the picture's size is stored: a window of the columns has a 128th of the height, and so many rows are kept.

Numba compiles with neither fast-math nor contraction, so no multiplication is fused into an addition. Two loops and the
transposition are written in LLVM's language, because LLVM does not make vectors of them by itself; it is the same for
every processor.

Mirrored pictures share all of that but the last sums. A window of an odd size is the same from both sides; one of an
even size is, seen from the other side, the window of the number before. So one more mean in front of each row, and one
more row above, are all that mirrored pictures need. Their sums are taken in the order of the picture as it is: their
samples are those of the mirrored pixels but for rounding.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic
from numpy.typing import NDArray

from hashhub.kernel_cache import jit

_Floats = NDArray[np.float32]

LANES: Final = 16
"""Rows summed side by side. 32 are no faster where a vector has 16 floats."""
_TILE: Final = 16  # rows and columns transposed at once
_SAMPLES: Final = 64
_SIDE: Final = 16

_FLOAT = ir.FloatType()
_INDEX = ir.IntType(64)
_LANE = ir.IntType(32)
_VECTOR = ir.VectorType(_FLOAT, LANES)


# --- What LLVM is told directly ---------------------------------------------------------------------------------------


def _data(context: Any, builder: Any, kind: Any, array: Any) -> Any:
    return context.make_array(kind)(context, builder, array).data


def _vector(builder: Any, data: Any, index: Any) -> Any:
    return builder.bitcast(builder.gep(data, [index]), _VECTOR.as_pointer())


def _shuffled(builder: Any, a: Any, b: Any, lanes: list[int]) -> Any:
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(_LANE, LANES), lanes))


# Lanes of two vectors, the second's from 16 on: of each four of both, the first two in turn, the last two in turn, the
# first halves, the last halves; of all four fours of both, the first eight lanes, the last, and every other four.
_FIRST_TWO: Final = [lane + k for lane in range(0, 16, 4) for k in (0, 16, 1, 17)]
_LAST_TWO: Final = [lane + k for lane in range(0, 16, 4) for k in (2, 18, 3, 19)]
_FIRST_HALF: Final = [lane + k for lane in range(0, 16, 4) for k in (0, 1, 16, 17)]
_LAST_HALF: Final = [lane + k for lane in range(0, 16, 4) for k in (2, 3, 18, 19)]
_LOW: Final = [*range(8), *range(16, 24)]
_HIGH: Final = [*range(8, 16), *range(24, 32)]
_EVEN_FOURS: Final = [*range(4), *range(8, 12), *range(16, 20), *range(24, 28)]
_ODD_FOURS: Final = [lane + 4 for lane in _EVEN_FOURS]


@intrinsic
def _transpose_tile(
    _context: Any, source: Any, _at: Any, _pitch: Any, target: Any, _to: Any, _target_pitch: Any
) -> Any:
    """Write the 16 x 16 floats at `source[at]`, rows `pitch` apart, transposed to `target[to]`."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        read = _data(context, builder, signature.args[0], args[0])
        written = _data(context, builder, signature.args[3], args[3])
        index = args[1]
        rows = []
        for _ in range(_TILE):
            rows.append(builder.load(_vector(builder, read, index), align=4))
            index = builder.add(index, args[2])
        pairs: list[Any] = [None] * _TILE
        for i in range(0, _TILE, 2):
            pairs[i] = _shuffled(builder, rows[i], rows[i + 1], _FIRST_TWO)
            pairs[i + 1] = _shuffled(builder, rows[i], rows[i + 1], _LAST_TWO)
        # fours[4 g + c]: in its lanes 4 k to 4 k + 3, of rows 4 g to 4 g + 3, column 4 k + c.
        fours: list[Any] = [None] * _TILE
        for i in range(0, _TILE, 4):
            for k in (0, 1):
                fours[i + 2 * k] = _shuffled(builder, pairs[i + k], pairs[i + k + 2], _FIRST_HALF)
                fours[i + 2 * k + 1] = _shuffled(builder, pairs[i + k], pairs[i + k + 2], _LAST_HALF)
        columns: list[Any] = [None] * _TILE
        for c in range(4):
            for k, halves in ((0, _LOW), (8, _HIGH)):
                upper = _shuffled(builder, fours[c], fours[4 + c], halves)
                lower = _shuffled(builder, fours[8 + c], fours[12 + c], halves)
                columns[k + c] = _shuffled(builder, upper, lower, _EVEN_FOURS)
                columns[k + 4 + c] = _shuffled(builder, upper, lower, _ODD_FOURS)
        index = args[4]
        for column in columns:
            builder.store(column, _vector(builder, written, index), align=4)
            index = builder.add(index, args[5])
        return context.get_dummy_value()

    return types.void(source, types.int64, types.int64, target, types.int64, types.int64), codegen


def _gliding(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    """Emit the loop of `_glide` and of `_glide_storing`: the latter's has three more arguments."""
    source = _data(context, builder, signature.args[0], args[0])
    entering, leaving, step, count = args[1:5]
    total = _vector(builder, _data(context, builder, signature.args[5], args[5]), ir.Constant(_INDEX, 0))
    stores = len(args) > 6  # noqa: PLR2004 - those of `_glide`
    if stores:
        means = _data(context, builder, signature.args[6], args[6])
        nothing = ir.Constant(_VECTOR, ir.Undefined)
        first = builder.insert_element(nothing, args[8], ir.Constant(_LANE, 0))
        size = _shuffled(builder, first, nothing, [0] * LANES)
    register = cgutils.alloca_once(builder, _VECTOR)  # LLVM keeps it in a register
    builder.store(builder.load(total, align=4), register)
    with cgutils.for_range(builder, count) as loop:
        offset = builder.mul(loop.index, step)
        entered = builder.load(_vector(builder, source, builder.add(entering, offset)), align=4)
        left = builder.load(_vector(builder, source, builder.add(leaving, offset)), align=4)
        new = builder.fsub(builder.fadd(builder.load(register), entered), left)
        builder.store(new, register)
        if stores:
            to = builder.add(args[7], builder.mul(loop.index, ir.Constant(_INDEX, LANES)))
            builder.store(builder.fdiv(new, size), _vector(builder, means, to), align=4)
    builder.store(builder.load(register), total, align=4)
    return context.get_dummy_value()


@intrinsic
def _glide(_context: Any, source: Any, _entering: Any, _leaving: Any, _step: Any, _count: Any, total: Any) -> Any:
    """Add the vectors from `source[entering]` to the 16 totals and subtract those from `source[leaving]`, in turn.

    `count` of each, `step` apart.
    """
    place = types.int64
    return types.void(source, place, place, place, place, total), _gliding


@intrinsic
def _glide_storing(
    _context: Any,
    source: Any,
    _entering: Any,
    _leaving: Any,
    _step: Any,
    _count: Any,
    total: Any,
    means: Any,
    _to: Any,
    _size: Any,
) -> Any:
    """As `_glide`; after each subtraction the totals divided by `size` are the next vector of `means`, from
    `means[to]`.
    """
    place = types.int64
    return types.void(source, place, place, place, place, total, means, place, types.float32), _gliding


# --- Running sums -----------------------------------------------------------------------------------------------------
#
# As in `hashing.pdq`: of `count` rows or columns a window holds `size`, `ahead` (size // 2) of them behind its own.
# Step k adds number k, if there is one, and then subtracts number k - size, if there is one; after it the window is
# that of number k - ahead.


@jit
def _divisor(k: int, count: int, size: int) -> float:
    """Return how many numbers are in the window after step k, as float32."""
    if k < size:
        return np.float32(k + 1)  # type: ignore[return-value] # Numba's floats
    if k >= count:
        return np.float32(size - (k - count + 1))  # type: ignore[return-value] # likewise
    return np.float32(size)  # type: ignore[return-value] # likewise


@jit
def _sample(i: int, count: int) -> int:
    """Return which of `count` rows or columns is sample i."""
    return np.int64((i + 0.5) * count / _SAMPLES)  # type: ignore[return-value] # Numba's integers


@jit
def _step(source: _Floats, base: int, step: int, k: int, count: int, size: int, total: _Floats) -> None:
    """Do step k for 16 rows; number j is the vector at `source[base + j * step]`."""
    if k < count:
        at = base + k * step
        for lane in range(LANES):
            total[lane] += source[at + lane]
    if k >= size:
        at = base + (k - size) * step
        for lane in range(LANES):
            total[lane] -= source[at + lane]


@jit
def _box(source: _Floats, count: int, size: int, before: int, total: _Floats, means: _Floats) -> None:
    """Write the mean of each number's window to `means`, 16 rows side by side.

    `before`: 1 for one more in front, the mean of the window that the number before the first would have (the size is
    even then). `total`: float32[16], for its use.
    """
    first = size // 2 - before
    total[:] = np.float32(0)
    for k in range(size):
        _step(source, 0, LANES, k, count, size, total)
        if k >= first:
            divisor = _divisor(k, count, size)
            for lane in range(LANES):
                means[(k - first) * LANES + lane] = total[lane] / divisor
    to = (size - first) * LANES
    _glide_storing(source, size * LANES, 0, LANES, count - size, total, means, to, np.float32(size))
    for k in range(count, count + size // 2):
        _step(source, 0, LANES, k, count, size, total)
        divisor = _divisor(k, count, size)
        for lane in range(LANES):
            means[(k - first) * LANES + lane] = total[lane] / divisor


@jit
def _sampled_box(source: _Floats, base: int, step: int, count: int, size: int, total: _Floats, means: _Floats) -> None:
    """Write the means of 64 windows, evenly spaced, to `means`; number j is the vector at `source[base + j * step]`."""
    ahead = size // 2
    total[:] = np.float32(0)
    k = 0
    for i in range(_SAMPLES):
        last = _sample(i, count) + ahead
        while k < size and k <= last:
            _step(source, base, step, k, count, size, total)
            k += 1
        until = min(last + 1, count)
        if k < until:
            _glide(source, base + k * step, base + (k - size) * step, step, until - k, total)
            k = until
        while k <= last:
            _step(source, base, step, k, count, size, total)
            k += 1
        divisor = _divisor(last, count, size)
        for lane in range(LANES):
            means[i * LANES + lane] = total[lane] / divisor


# --- The picture ------------------------------------------------------------------------------------------------------


@jit
def _luma(pixels: NDArray[np.uint8], y: int, luma: _Floats, to: int) -> None:
    """Write the luminance of a row: 0.299 R + 0.587 G + 0.114 B, computed in double and rounded once, by the reference.

    Here integers below 2**18, which floats hold exactly, divided by 1000. The reference's errors in double are far
    smaller than the distance of any thousandth from the middle between two floats, so the floats are equal.
    """
    width, channels = pixels.shape[1], pixels.shape[2]
    row = pixels[y].reshape(-1)
    if channels == 3:  # noqa: PLR2004 - a constant step, which LLVM can make vectors of
        for x in range(width):
            r, g, b = np.int32(row[3 * x]), np.int32(row[3 * x + 1]), np.int32(row[3 * x + 2])
            luma[to + x] = _thousandth(np.float32(np.int32(299 * r + 587 * g + 114 * b)))
    else:
        words = row.view(np.uint32)  # little-endian
        for x in range(width):
            word = words[x]
            r, g, b = np.int32(word & 255), np.int32(word >> 8 & 255), np.int32(word >> 16 & 255)
            luma[to + x] = _thousandth(np.float32(np.int32(299 * r + 587 * g + 114 * b)))


@jit
def _thousandth(count: float) -> float:
    """Return a whole number of at most 255,000 divided by 1000, rounded once: the tests try each of them.

    A division takes as long as ten multiplications. The first product is exact, so the second's error, a 128th of
    those that a float has, is all that there is before the sum is rounded.
    """
    near = 1.03125 / 1024  # a 1000th, but for a 32nd of it, in six bits
    return count * np.float32(near) + count * np.float32(0.001 - near)  # type: ignore[return-value] # Numba's floats


@jit
def _to_lanes(rows: _Floats, pitch: int, width: int, columns: _Floats) -> None:
    """Write 16 rows, `pitch` apart, as one vector for each column."""
    for x in range(0, width, _TILE):
        _transpose_tile(rows, x, pitch, columns, x * LANES, LANES)


@jit
def _step_down(ring: _Floats, k: int, count: int, size: int, total: _Floats, means: _Floats) -> None:
    """Do step k for all columns at once and write the means of the row that it ends. `ring`: the last rows."""
    width = total.shape[0]
    entering = ring[k % ring.shape[0]]
    divisor = _divisor(k, count, size)
    if k < size:
        for x in range(width):
            total[x] += entering[x]
            means[x] = total[x] / divisor
        return
    leaving = ring[(k - size) % ring.shape[0]]
    if k < count:
        for x in range(width):
            total[x] = total[x] + entering[x] - leaving[x]
            means[x] = total[x] / divisor
    else:
        for x in range(width):
            total[x] -= leaving[x]
            means[x] = total[x] / divisor


@jit
def samples(
    pixels: NDArray[np.uint8],
    mirrored: bool,  # noqa: FBT001 - kernels have no keywords
    squares: _Floats,
) -> None:
    """Filter a picture (uint8[height, width, 3 or 4], red, green and blue first) and sample it at 64 x 64 points.

    `squares[0, 0]` of float32[2, 2, 64, 64] gets it as it is and, if `mirrored`, `squares[1, 0]` with left and right
    changed, `squares[0, 1]` with top and bottom changed, `squares[1, 1]` with both. Both sides are at least 1.
    """
    height, width = pixels.shape[0], pixels.shape[1]
    across, down = (width + 127) // 128, (height + 127) // 128  # windows
    ways = 2 if mirrored else 1
    # A window of an even size reaches further ahead than back; of the mirrored picture it is the window before.
    before = 1 if mirrored and across % 2 == 0 else 0
    above = 1 if mirrored and down % 2 == 0 else 0
    ahead = down // 2
    pitch = -(-(width + 1) // _TILE) * _TILE + _TILE  # an odd number of cache lines more often than a power of two
    luma = np.zeros(LANES * pitch, np.float32)
    columns = np.empty(LANES * pitch, np.float32)
    means = np.empty(LANES * pitch, np.float32)
    total = np.empty(LANES, np.float32)
    few = np.empty(LANES * _SAMPLES, np.float32)
    kept_rows = (-(-down // LANES) + 1) * LANES
    ring = np.empty((kept_rows, pitch), np.float32)
    totals = np.zeros(pitch, np.float32)
    filtered = np.zeros((LANES, pitch), np.float32)
    narrow = np.empty((2, (height + 2 * LANES) * _SAMPLES), np.float32)
    waiting = 0
    done = 0
    for top in range(0, height + ahead, LANES):
        if top < height:
            for row in range(min(LANES, height - top)):
                _luma(pixels, top + row, luma, row * pitch)
            _to_lanes(luma, pitch, width, columns)
            _box(columns, width, across, before, total, means)
            to = top % kept_rows * pitch
            for x in range(0, width + before, _TILE):
                _transpose_tile(means, x * LANES, LANES, ring.reshape(-1), to + x, pitch)
        for k in range(top, min(top + LANES, height + ahead)):
            _step_down(ring, k, height, down, totals, filtered[waiting])
            if k < ahead - above:  # no row's window is complete yet
                continue
            waiting += 1
            if waiting < LANES and k < height + ahead - 1:
                continue
            _to_lanes(filtered.reshape(-1), pitch, width + before, columns)
            for way in range(ways):
                if way:
                    _sampled_box(columns, (width - 1) * LANES, -LANES, width, across, total, few)
                else:
                    _sampled_box(columns, before * LANES, LANES, width, across, total, few)
                for i in range(0, _SAMPLES, _TILE):
                    _transpose_tile(few, i * LANES, LANES, narrow[way], done * _SAMPLES + i, _SAMPLES)
            done += waiting
            waiting = 0
    for way in range(ways):
        _sampled_down(narrow[way], above, 1, height, down, squares[way, 0])
        if mirrored:
            _sampled_down(narrow[way], height - 1, -1, height, down, squares[way, 1])


@jit
def _sampled_down(narrow: _Floats, base: int, step: int, count: int, size: int, square: _Floats) -> None:
    """Write the means of 64 windows down 64 columns to `square` (float32[64, 64]); row j is row `base + j * step` of
    `narrow`.
    """
    total = np.zeros(_SAMPLES, np.float32)
    k = 0
    for i in range(_SAMPLES):
        last = _sample(i, count) + size // 2
        while k <= last:
            if k < count:
                entering = (base + k * step) * _SAMPLES
                for x in range(_SAMPLES):
                    total[x] += narrow[entering + x]
            if k >= size:
                leaving = (base + (k - size) * step) * _SAMPLES
                for x in range(_SAMPLES):
                    total[x] -= narrow[leaving + x]
            k += 1
        divisor = _divisor(last, count, size)
        for x in range(_SAMPLES):
            square[i, x] = total[x] / divisor


@jit
def transform(square: _Floats, cosines: _Floats, values: _Floats) -> int:
    """Write the part of the transform of 64 x 64 samples that is kept to `values` (float32[16, 16]).

    `cosines`: float32[16, 64], the transform's matrix. Returns the sum from which the quality follows.
    """
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
SIGNATURES: Final[tuple[tuple[Any, tuple[Any, ...]], ...]] = (
    (
        samples,
        (
            types.Array(types.uint8, 3, "C", readonly=True),
            types.boolean,
            types.Array(types.float32, 4, "C"),
        ),
    ),
    (transform, (_matrix, _matrix, _matrix)),
)
"""What is called from outside, and the types that it is called with: what has to be compiled or loaded."""
