"""The compiled loops of PDQ, to the bit what `hashing.pdq` computes with NumPy, in a twentieth of the time.

    16 rows of pixels ─┬─ luminance ── box along the rows ── a ring of rows ── box down the columns ── 16 rows ─┐
                       └─ grey      ┌───────────────────────────────────────────────────────────────────────────┘
                                    └── box along the rows, at 64 columns ── (height, 64) ── box down them, at 64 rows

Every sum is taken in the reference's order; what differs is how many are taken at once. A running sum along a row has
to wait for its last addition, so 16 rows are summed side by side, one in each lane of a vector: their pixels are
transposed in registers before, and the means after. Down the columns the lanes are neighbouring columns, as they lie:
16 x 16 means at a time are transposed, summed down, divided and transposed back without leaving the registers. Nothing
of the picture's size is stored: a window of the columns has a 128th of the height, and so many rows are kept.

The pixels of a large picture are in no cache that is near, and whoever reads them waits. So the grey picture that pHash
and dHash are made of is written in the same go, to the bit what Pillow gives.

Numba compiles with neither fast-math nor contraction, so no multiplication is fused into an addition, but where a
division is replaced by what rounds the same (`_divided`). Two loops and what is done to 16 x 16 numbers are written in
LLVM's language, because LLVM does not make vectors of them by itself; it is the same for every processor.

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
_WORDS = ir.VectorType(_LANE, LANES)
_BYTE = ir.IntType(8)

_NEAR: Final = 1.03125 / 1024  # a 1000th, but for a 32nd of it, in six bits
_REST: Final = 0.001 - _NEAR
_AHEAD: Final = 64  # words that are fetched ahead: processors do so by themselves only within a page of memory


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


def _transposed(builder: Any, rows: list[Any]) -> list[Any]:
    """Emit what makes 16 rows of 16 floats the columns that they have."""
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
    return columns


def _loaded(builder: Any, data: Any, at: Any, pitch: Any) -> list[Any]:
    """Emit what loads 16 vectors from `data[at]`, `pitch` apart."""
    vectors = []
    for _ in range(_TILE):
        vectors.append(builder.load(_vector(builder, data, at), align=4))
        at = builder.add(at, pitch)
    return vectors


def _store(builder: Any, vectors: list[Any], data: Any, to: Any, pitch: Any) -> None:
    """Emit what stores vectors from `data[to]`, `pitch` apart."""
    for vector in vectors:
        builder.store(vector, _vector(builder, data, to), align=4)
        to = builder.add(to, pitch)


@intrinsic
def _transpose_tile(
    _context: Any, source: Any, _at: Any, _pitch: Any, target: Any, _to: Any, _target_pitch: Any
) -> Any:
    """Write the 16 x 16 floats at `source[at]`, rows `pitch` apart, transposed to `target[to]`."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        read = _data(context, builder, signature.args[0], args[0])
        written = _data(context, builder, signature.args[3], args[3])
        rows = _loaded(builder, read, args[1], args[2])
        _store(builder, _transposed(builder, rows), written, args[4], args[5])
        return context.get_dummy_value()

    return types.void(source, types.int64, types.int64, target, types.int64, types.int64), codegen


def _summed_pairs(builder: Any, words: Any, low: int, high: int) -> Any:
    """Emit low * (word & 0xffff) + high * (word >> 16) for halves below 2**15: one instruction of most processors."""
    halves = ir.VectorType(ir.IntType(16), 2 * LANES)
    products = builder.mul(
        builder.zext(builder.bitcast(words, halves), ir.VectorType(_LANE, 2 * LANES)),
        ir.Constant(ir.VectorType(_LANE, 2 * LANES), [low, high] * LANES),
    )
    lanes = (list(range(k, 2 * LANES, 2)) for k in (0, 1))
    return builder.add(*(_shuffled(builder, products, products, of) for of in lanes))


def _lighting(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    """Emit `_light_tile` and `_light_tile_with_grey`: the latter has two more arguments."""
    pixels = _data(context, builder, signature.args[0], args[0])
    luma = _data(context, builder, signature.args[3], args[3])
    signs = ir.FunctionType(ir.VoidType(), [_BYTE.as_pointer(), _LANE, _LANE, _LANE])
    fetch = cgutils.get_or_insert_function(builder.module, signs, "llvm.prefetch.p0")

    def all_of(number: float, kind: Any = _WORDS) -> Any:
        return ir.Constant(kind, [number] * LANES)

    index = args[1]
    rows = []
    for row in range(_TILE):
        place = builder.bitcast(builder.gep(pixels, [builder.shl(index, ir.Constant(_INDEX, 2))]), _WORDS.as_pointer())
        words = builder.load(place, align=1)
        ahead = builder.gep(place, [ir.Constant(_INDEX, _AHEAD // LANES)])
        how = (ir.Constant(_LANE, k) for k in (0, 3, 1))  # to read, to be kept near, data
        builder.call(fetch, [builder.bitcast(ahead, _BYTE.as_pointer()), *how])
        red_blue = builder.and_(words, all_of(0xFF00FF))
        green = builder.and_(builder.lshr(words, all_of(8)), all_of(0xFF))
        count = builder.add(_summed_pairs(builder, red_blue, 299, 114), builder.mul(green, all_of(587)))
        count = builder.uitofp(count, _VECTOR)
        near, rest = (builder.fmul(count, all_of(float(np.float32(share)), _VECTOR)) for share in (_NEAR, _REST))
        rows.append(builder.fadd(near, rest))
        index = builder.add(index, args[2])
        if len(args) > 5:  # noqa: PLR2004 - those of `_light_tile`
            level = builder.add(_summed_pairs(builder, red_blue, 19595, 7471), builder.mul(green, all_of(38470)))
            level = builder.add(level, all_of(0x8000))
            grey = builder.trunc(builder.lshr(level, all_of(16)), ir.VectorType(_BYTE, LANES))
            to = builder.add(args[6], builder.mul(args[2], ir.Constant(_INDEX, row)))
            data = _data(context, builder, signature.args[5], args[5])
            builder.store(grey, builder.bitcast(builder.gep(data, [to]), grey.type.as_pointer()), align=1)
    _store(builder, _transposed(builder, rows), luma, args[4], ir.Constant(_INDEX, LANES))
    return context.get_dummy_value()


@intrinsic
def _light_tile(_context: Any, pixels: Any, _at: Any, _width: Any, luma: Any, _to: Any) -> Any:
    """Write the luminance (`_light`) of 16 x 16 pixels of four bytes to `luma[to]`, as a vector for each column.

    `at`: number of the first of them in a picture that is `width` wide.
    """
    place = types.int64
    return types.void(pixels, place, place, luma, place), _lighting


@intrinsic
def _light_tile_with_grey(
    _context: Any, pixels: Any, _at: Any, _width: Any, luma: Any, _to: Any, grey: Any, _grey_to: Any
) -> Any:
    """As `_light_tile`; write their grey, too, to the same places of a picture of bytes, from `grey[grey_to]`."""
    place = types.int64
    return types.void(pixels, place, place, luma, place, grey, place), _lighting


def _has_fma(context: Any) -> bool:
    """Whether the processor multiplies and adds in one step, rounding once."""
    codegen = context.codegen()
    triple, _, features = codegen.magic_tuple()
    return not triple.startswith("x86") or "+fma" in features.split(",")


def _divided(context: Any, builder: Any, total: Any, size: Any, reciprocal: Any) -> Any:
    """Emit total / size, rounded as a division is, from the size's rounded reciprocal where that is sooner.

    The size is a whole number below 2**10. The quotient that is near is off by two units in its last place at most. So
    what it leaves of the total is exact, and the second quotient's error, before it is rounded, a 2**46th of it. No
    quotient is nearer than a 2**35th of it to the middle between two floats.
    """
    if not _has_fma(context):
        return builder.fdiv(total, size)
    name = "f32" if total.type == _FLOAT else f"v{LANES}f32"
    signs = ir.FunctionType(total.type, [total.type] * 3)
    fused = cgutils.get_or_insert_function(builder.module, signs, f"llvm.fma.{name}")
    near = builder.fmul(total, reciprocal)
    left = builder.call(fused, [builder.fneg(near), size, total])
    return builder.call(fused, [left, reciprocal, near])


def _divisors(builder: Any, size: Any) -> list[Any]:
    """Emit vectors of a size and of its reciprocal, for `_divided`."""
    nothing = ir.Constant(_VECTOR, ir.Undefined)
    vectors = []
    for number in (size, builder.fdiv(ir.Constant(_FLOAT, 1.0), size)):
        first = builder.insert_element(nothing, number, ir.Constant(_LANE, 0))
        vectors.append(_shuffled(builder, first, nothing, [0] * LANES))
    return vectors


@intrinsic
def _quotient(_context: Any, _total: Any, _size: Any, _reciprocal: Any) -> Any:
    """Return total / size as float32. `reciprocal`: of the size, a whole number below 2**10."""

    def codegen(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return _divided(context, builder, *args)

    return types.float32(types.float32, types.float32, types.float32), codegen


@intrinsic
def _settle_tile(
    _context: Any,
    means: Any,
    _at: Any,
    ring: Any,
    _to: Any,
    _pitch: Any,
    leaving: Any,
    total: Any,
    _x: Any,
    _size: Any,
    columns: Any,
) -> Any:
    """Do 16 steps of `_step_down` for 16 columns, each of which adds a row and subtracts one, in registers.

    `means[at]`: the rows that enter, as a vector for each column; they are written to `ring[to]`, `pitch` apart.
    `leaving`: int64[16], where in the ring those rows begin that leave. `total[x]`: the columns' sums. The means of
    the rows go to `columns[at]`, as a vector for each column.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        read, ring_data, places, sums, written = (
            _data(context, builder, signature.args[i], args[i]) for i in (0, 2, 5, 6, 9)
        )
        sizes = _divisors(builder, args[8])
        entering = _transposed(builder, _loaded(builder, read, args[1], ir.Constant(_INDEX, LANES)))
        running = _vector(builder, sums, args[7])
        new = builder.load(running, align=4)
        rows = []
        to = args[3]
        for row, vector in enumerate(entering):
            builder.store(vector, _vector(builder, ring_data, to), align=4)
            to = builder.add(to, args[4])
            begin = builder.load(builder.gep(places, [ir.Constant(_INDEX, row)]))
            left = builder.load(_vector(builder, ring_data, builder.add(begin, args[7])), align=4)
            new = builder.fsub(builder.fadd(new, vector), left)
            rows.append(_divided(context, builder, new, *sizes))
        builder.store(new, running, align=4)
        _store(builder, _transposed(builder, rows), written, args[1], ir.Constant(_INDEX, LANES))
        return context.get_dummy_value()

    place = types.int64
    return types.void(means, place, ring, place, place, leaving, total, place, types.float32, columns), codegen


def _gliding(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    """Emit the loop of `_glide` and of `_glide_storing`: the latter's has three more arguments."""
    source = _data(context, builder, signature.args[0], args[0])
    entering, leaving, step, count = args[1:5]
    total = _vector(builder, _data(context, builder, signature.args[5], args[5]), ir.Constant(_INDEX, 0))
    stores = len(args) > 6  # noqa: PLR2004 - those of `_glide`
    if stores:
        means = _data(context, builder, signature.args[6], args[6])
        sizes = _divisors(builder, args[8])
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
            builder.store(_divided(context, builder, new, *sizes), _vector(builder, means, to), align=4)
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
def _light(pixels: NDArray[np.uint8], y: int, begin: int, luma: _Floats, grey: NDArray[np.uint8]) -> None:
    """Write the luminance of a row's pixels from `begin` on to the same places of a row, and their grey to those of
    row y, unless `grey` has no rows.

    Luminance: 0.299 R + 0.587 G + 0.114 B, computed in double and rounded once, by the reference. Here integers below
    2**18, which floats hold exactly, divided by 1000. The reference's errors in double are far smaller than the
    distance of any thousandth from the middle between two floats, so the floats are equal. Grey: as Pillow makes it
    (libImaging/Convert.c, L24).
    """
    width, channels = pixels.shape[1], pixels.shape[2]
    row = pixels[y].reshape(-1)
    if channels == 3:  # noqa: PLR2004 - a constant step, which LLVM can make vectors of
        for x in range(begin, width):
            r, g, b = np.int32(row[3 * x]), np.int32(row[3 * x + 1]), np.int32(row[3 * x + 2])
            luma[x] = _thousandth(np.float32(np.int32(299 * r + 587 * g + 114 * b)))
        if grey.shape[0]:
            to = grey[y]
            for x in range(begin, width):
                r, g, b = np.int32(row[3 * x]), np.int32(row[3 * x + 1]), np.int32(row[3 * x + 2])
                to[x] = np.int32(19595 * r + 38470 * g + 7471 * b + 0x8000) >> 16
    else:
        words = row.view(np.uint32)  # little-endian
        for x in range(begin, width):
            word = words[x]
            r, g, b = np.int32(word & 255), np.int32(word >> 8 & 255), np.int32(word >> 16 & 255)
            luma[x] = _thousandth(np.float32(np.int32(299 * r + 587 * g + 114 * b)))
        if grey.shape[0]:
            to = grey[y]
            for x in range(begin, width):
                word = words[x]
                r, g, b = np.int32(word & 255), np.int32(word >> 8 & 255), np.int32(word >> 16 & 255)
                to[x] = np.int32(19595 * r + 38470 * g + 7471 * b + 0x8000) >> 16


@jit
def _thousandth(count: float) -> float:
    """Return a whole number of at most 255,000 divided by 1000, rounded once: the tests try each of them.

    A division takes as long as ten multiplications. The first product is exact, so the second's error, a 128th of
    those that a float has, is all that there is before the sum is rounded.
    """
    return count * np.float32(_NEAR) + count * np.float32(_REST)  # type: ignore[return-value] # Numba's floats


@jit
def _light_to_lanes(
    pixels: NDArray[np.uint8], top: int, luma: _Floats, columns: _Floats, grey: NDArray[np.uint8]
) -> None:
    """Write the luminance of 16 rows from `top` on as one vector for each column, and their grey as `_light` does.

    `luma`: float32[16, at least the width, a multiple of 16], for its use. Below the picture the lanes mean nothing.
    """
    height, width = pixels.shape[0], pixels.shape[1]
    whole = 0  # columns that are transposed before they are stored at all
    if top + LANES <= height and pixels.shape[2] == 4:  # noqa: PLR2004 - bytes of a word
        whole = width // _TILE * _TILE
        for x in range(0, whole, _TILE):
            if grey.shape[0]:
                _light_tile_with_grey(pixels, top * width + x, width, columns, x * LANES, grey, top * width + x)
            else:
                _light_tile(pixels, top * width + x, width, columns, x * LANES)
    for row in range(min(LANES, height - top)):
        _light(pixels, top + row, whole, luma[row], grey)
    for x in range(whole, width, _TILE):
        _transpose_tile(luma, x, luma.shape[1], columns, x * LANES, LANES)


@jit
def grey(pixels: NDArray[np.uint8], out: NDArray[np.uint8]) -> None:
    """Write the grey picture (`_light`) of uint8[height, width, 3 or 4] to uint8[height, width]."""
    height, width = out.shape
    pitch = -(-width // _TILE) * _TILE
    luma = np.empty((LANES, pitch), np.float32)
    columns = np.empty(LANES * pitch, np.float32)
    for top in range(0, height, LANES):
        _light_to_lanes(pixels, top, luma, columns, out)


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
    reciprocal = np.float32(1) / divisor
    if k < size:
        for x in range(width):
            total[x] += entering[x]
            means[x] = _quotient(total[x], divisor, reciprocal)
        return
    leaving = ring[(k - size) % ring.shape[0]]
    if k < count:
        for x in range(width):
            total[x] = total[x] + entering[x] - leaving[x]
            means[x] = _quotient(total[x], divisor, reciprocal)
    else:
        for x in range(width):
            total[x] -= leaving[x]
            means[x] = _quotient(total[x], divisor, reciprocal)


@jit
def samples(
    pixels: NDArray[np.uint8],
    mirrored: bool,  # noqa: FBT001 - kernels have no keywords
    squares: _Floats,
    grey: NDArray[np.uint8],
) -> None:
    """Filter a picture (uint8[height, width, 3 or 4], red, green and blue first) and sample it at 64 x 64 points.

    `squares[0, 0]` of float32[2, 2, 64, 64] gets it as it is and, if `mirrored`, `squares[1, 0]` with left and right
    changed, `squares[0, 1]` with top and bottom changed, `squares[1, 1]` with both. Both sides are at least 1.
    `grey`: uint8[height, width], which gets the picture in grey (`_light`), or with no rows.
    """
    height, width = pixels.shape[0], pixels.shape[1]
    across, down = (width + 127) // 128, (height + 127) // 128  # windows
    ways = 2 if mirrored else 1
    # A window of an even size reaches further ahead than back; of the mirrored picture it is the window before.
    before = 1 if mirrored and across % 2 == 0 else 0
    above = 1 if mirrored and down % 2 == 0 else 0
    ahead = down // 2
    pitch = -(-(width + 1) // _TILE) * _TILE + _TILE  # an odd number of cache lines more often than a power of two
    luma = np.zeros((LANES, pitch), np.float32)
    columns = np.empty(LANES * pitch, np.float32)
    means = np.empty(LANES * pitch, np.float32)
    total = np.empty(LANES, np.float32)
    few = np.empty(LANES * _SAMPLES, np.float32)
    kept_rows = (-(-down // LANES) + 1) * LANES
    ring = np.empty((kept_rows, pitch), np.float32)
    rows = ring.reshape(-1)
    leaving = np.empty(LANES, np.int64)
    totals = np.zeros(pitch, np.float32)
    filtered = np.zeros((LANES, pitch), np.float32)
    narrow = np.empty((2, (height + ahead + LANES) * _SAMPLES), np.float32)  # a row for each step
    for top in range(0, height + ahead, LANES):
        if top < height:
            _light_to_lanes(pixels, top, luma, columns, grey)
            _box(columns, width, across, before, total, means)
        to = top % kept_rows * pitch
        if down <= top <= height - LANES:  # each step adds a row and subtracts one
            for row in range(LANES):
                leaving[row] = (top + row - down) % kept_rows * pitch
            for x in range(0, width + before, _TILE):
                _settle_tile(means, x * LANES, rows, to + x, pitch, leaving, totals, x, np.float32(down), columns)
        else:
            if top < height:
                for x in range(0, width + before, _TILE):
                    _transpose_tile(means, x * LANES, LANES, rows, to + x, pitch)
            for k in range(top, min(top + LANES, height + ahead)):
                _step_down(ring, k, height, down, totals, filtered[k - top])
            _to_lanes(filtered.reshape(-1), pitch, width + before, columns)
        for way in range(ways):
            if way:
                _sampled_box(columns, (width - 1) * LANES, -LANES, width, across, total, few)
            else:
                _sampled_box(columns, before * LANES, LANES, width, across, total, few)
            for i in range(0, _SAMPLES, _TILE):
                _transpose_tile(few, i * LANES, LANES, narrow[way], top * _SAMPLES + i, _SAMPLES)
    for way in range(ways):
        _sampled_down(narrow[way], ahead, 1, height, down, squares[way, 0])
        if mirrored:
            _sampled_down(narrow[way], ahead - above + height - 1, -1, height, down, squares[way, 1])


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
                entering = narrow[(base + k * step) * _SAMPLES :]
                for x in range(_SAMPLES):
                    total[x] += entering[x]
            if k >= size:
                leaving = narrow[(base + (k - size) * step) * _SAMPLES :]
                for x in range(_SAMPLES):
                    total[x] -= leaving[x]
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
_pixels = types.Array(types.uint8, 3, "C", readonly=True)
_bytes = types.Array(types.uint8, 2, "C")
SIGNATURES: Final[tuple[tuple[Any, tuple[Any, ...]], ...]] = (
    (samples, (_pixels, types.boolean, types.Array(types.float32, 4, "C"), _bytes)),
    (grey, (_pixels, _bytes)),
    (transform, (_matrix, _matrix, _matrix)),
)
"""What is called from outside, and the types that it is called with: what has to be compiled or loaded."""
