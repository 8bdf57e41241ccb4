"""PDQ, to the bit what the C++ reference (github.com/facebook/ThreatExchange, pdq/cpp) makes of the same pixels.

    RGB ── luminance ── tent filter: twice (box along rows, box along columns) ── 64 x 64 samples
        ── DCT, 16 x 16 of it ── above the median?

`kernels` computes it where Numba is installed, NumPy otherwise. Every sum is taken in the reference's order and
every step rounded to its type: a flat picture's hash is nothing but rounding.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

from hashhub.hashing import compiled

_Floats = npt.NDArray[np.float32]

_UPRIGHT: Final = (False, False)
_SAMPLES: Final = 64  # a side, after the filter
_SIDE: Final = 16  # of the DCT's part that is kept
_LONGEST: Final = 1 << 16  # beyond, the kernels' rows would be much memory; no decoder here gives more
_LEAST_SIDE: Final = 5  # the reference gives smaller pictures the hash 0 and the quality 0
_ROWS: Final = 64  # whose luminance is computed at once, in double
_LUMA: Final = (0.299, 0.587, 0.114)

# Row i is frequency i + 1. The reference computes in double what float32's square root of 1/32 scales.
_DCT: Final = np.array(
    [
        [
            float(np.float32(math.sqrt(2 / _SAMPLES))) * math.cos(math.pi / 2 / _SAMPLES * (i + 1) * (2 * j + 1))
            for j in range(_SAMPLES)
        ]
        for i in range(_SIDE)
    ]
).astype(np.float32)


def compute(
    pixels: npt.NDArray[np.uint8], mirrors: Iterable[tuple[bool, bool]]
) -> dict[tuple[bool, bool], tuple[int, int]]:
    """Return (hash, quality) of an RGB picture, (height, width, 3), after each of `mirrors`: (left to right, top to
    bottom).

    A mirrored form's hash is that of the mirrored pixels but for rounding: its sums are taken in the order of the
    picture as it is. Pictures with a side below 64 are mirrored first: their samples repeat, so that many coefficients
    lie at the median, where rounding would decide.

    The hash is a big-endian integer: its bit 16 * i + j is element (i, j) of the 16 x 16 matrix. The quality is 0 to
    100.
    """
    wanted = sorted(mirrors)
    height, width, _ = pixels.shape
    if min(height, width) < _LEAST_SIDE:
        return dict.fromkeys(wanted, (0, 0))
    if compiled.are_used() and max(height, width) <= _LONGEST:
        return _compute_with_kernels(pixels, wanted)
    return compute_with_numpy(pixels, wanted)


def _mirrored(pixels: npt.NDArray[np.uint8], form: tuple[bool, bool]) -> npt.NDArray[np.uint8]:
    left_right, top_bottom = form
    return pixels[:: -1 if top_bottom else 1, :: -1 if left_right else 1]


def _compute_with_kernels(
    pixels: npt.NDArray[np.uint8], wanted: list[tuple[bool, bool]]
) -> dict[tuple[bool, bool], tuple[int, int]]:
    from hashhub.hashing import kernels

    if min(pixels.shape[:2]) < _SAMPLES and wanted != [_UPRIGHT]:
        return {form: _compute_with_kernels(_mirrored(pixels, form), [_UPRIGHT])[_UPRIGHT] for form in wanted}
    read = np.ascontiguousarray(pixels).view()
    read.flags.writeable = False  # one kind of array, so that there is one kernel
    values = np.empty((_SIDE, _SIDE), np.float32)
    squares = np.empty((2, 2, _SAMPLES, _SAMPLES), np.float32)
    if pixels.shape[:2] == (_SAMPLES, _SAMPLES):  # the reference does not filter it
        squares[0, 0] = _luma(pixels).T
        squares[0, 1] = squares[0, 0, ::-1]
        squares[1] = squares[0, :, :, ::-1]
    else:
        kernels.samples(read, wanted != [_UPRIGHT], squares)
    hashes = {}
    for left_right, top_bottom in wanted:
        gradient = kernels.transform(squares[int(left_right), int(top_bottom)], _DCT, values)
        hashes[left_right, top_bottom] = (_bits(values), _quality(gradient))
    return hashes


def compute_with_numpy(
    pixels: npt.NDArray[np.uint8], mirrors: Iterable[tuple[bool, bool]]
) -> dict[tuple[bool, bool], tuple[int, int]]:
    """Return what `compute` does, without the kernels. Both sides are at least 5."""
    wanted = sorted(mirrors)
    height, width, _ = pixels.shape
    if min(height, width) < _SAMPLES and wanted != [_UPRIGHT]:
        return {form: compute_with_numpy(_mirrored(pixels, form), [_UPRIGHT])[_UPRIGHT] for form in wanted}
    luma = _luma(pixels)
    if height == width == _SAMPLES:  # the reference does not filter it
        rows = _transposed(luma)
        return {(lr, tb): _hash(rows[:: -1 if tb else 1, :: -1 if lr else 1]) for lr, tb in wanted}
    # A window of an odd size is the same from both sides; one of an even size is, seen from the other side, the window
    # of the number before. So mirrored pictures share all but the last sums, with one more mean in front.
    is_mirrored = wanted != [_UPRIGHT]
    before, above = (int(is_mirrored and _window(side) % 2 == 0) for side in (width, height))
    down = _transposed(_box(_transposed(_box(luma, before)), above))  # (width + before, height + above)
    hashes = {}
    for left_right in sorted({lr for lr, _ in wanted}):
        columns = _transposed(_sampled(down[:width][::-1] if left_right else down[before:]))
        for top_bottom in sorted({tb for lr, tb in wanted if lr == left_right}):
            hashes[left_right, top_bottom] = _hash(_sampled(columns[:height][::-1] if top_bottom else columns[above:]))
    return hashes


def _luma(pixels: npt.NDArray[np.uint8]) -> _Floats:
    """Return the luminance, (width, height): one row for each column of the picture."""
    height, width, _ = pixels.shape
    turned = np.empty((width, height), np.float32)
    r, g, b = _LUMA
    for top in range(0, height, _ROWS):
        rows = pixels[top : top + _ROWS]
        turned[:, top : top + _ROWS] = (rows[..., 0] * r + rows[..., 1] * g + rows[..., 2] * b).astype(np.float32).T
    return turned


def _transposed(rows: _Floats) -> _Floats:
    return np.ascontiguousarray(rows.T)


def _box(rows: _Floats, before: int) -> _Floats:
    """Return for each row the mean of the rows around it; `before`: 1 for one more in front, as `_windows`."""
    means = np.empty((len(rows) + before, rows.shape[1]), np.float32)
    for row, (total, size) in zip(means, _windows(rows, before), strict=True):
        np.divide(total, size, out=row)
    return means


def _sampled(rows: _Floats) -> _Floats:
    """Return 64 rows of `_box(rows)`, evenly spaced; of fewer, some several times."""
    count = len(rows)
    samples = [int((i + 0.5) * count / _SAMPLES) for i in range(_SAMPLES)]
    wanted = frozenset(samples)
    means = {at: total / size for at, (total, size) in enumerate(_windows(rows, 0)) if at in wanted}
    return np.stack([means[at] for at in samples])


def _window(count: int) -> int:
    """Return how many of `count` rows a window holds: a 128th, rounded up."""
    return -(-count // (2 * _SAMPLES))


def _windows(rows: _Floats, before: int) -> Iterator[tuple[_Floats, np.float32]]:
    """Yield for each row the sum of its window's rows, one running array, and their number. `before`: 1 to begin at the
    window before the first, where a window holds an even number.
    """
    count = len(rows)
    size = _window(count)
    ahead = size // 2  # rows of a window that are behind its own; one more than before it if the size is even
    total = np.zeros(rows.shape[1], np.float32)
    for at in range(ahead):
        total += rows[at]
    if before:
        yield total, np.float32(ahead)
    for at in range(ahead, size):
        total += rows[at]
        yield total, np.float32(at + 1)
    whole = np.float32(size)
    for entering, leaving in zip(rows[size:], rows[:-size], strict=True):
        total += entering
        total -= leaving
        yield total, whole
    for left in range(1, ahead + 1):
        total -= rows[count - size + left - 1]
        yield total, np.float32(size - left)


def _hash(square: _Floats) -> tuple[int, int]:
    """Return (hash, quality) of the 64 x 64 samples."""
    steps = (np.diff(square, axis=axis) * np.float32(100) / np.float32(255) for axis in (0, 1))
    gradient = sum(int(np.abs(step.astype(np.int32)).sum()) for step in steps)
    half = np.zeros((_SIDE, _SAMPLES), np.float32)
    for k in range(_SAMPLES):
        half += _DCT[:, k, None] * square[k]
    whole = np.zeros((_SIDE, _SIDE), np.float32)
    for k in range(_SAMPLES):
        whole += half[:, k, None] * _DCT[:, k]
    return _bits(whole), _quality(gradient)


def _quality(gradient: int) -> int:
    return min(100, gradient // 90)


def _bits(matrix: _Floats) -> int:
    values = matrix.ravel()
    median = np.partition(values, values.size // 2 - 1)[values.size // 2 - 1]  # the lower of the two in the middle
    return int.from_bytes(np.packbits(values > median, bitorder="little").tobytes(), "little")
