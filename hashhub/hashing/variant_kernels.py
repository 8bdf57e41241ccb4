"""The compiled loops of variants: Pillow's `reduce`, to the bit, and what NumPy takes several times as long for.

Pillow gives each pixel of the smaller picture the rounded mean of a square of the larger, in integers of 32 bits
(libImaging/Reduce.c): those at the right and at the bottom that of what is left of their squares.

The rest is done on a small picture, where NumPy makes a pass, and an array, of each comparison. What it is for is said
in `hashing.variants`, which has the same in NumPy; floats are computed in its order, and of equals the first is taken.
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
        added = bottom - top
        if added >= 3:  # noqa: PLR2004 - three at once, so that sums are stored and read again less often
            second, third = pixels[top + 1].reshape(-1), pixels[top + 2].reshape(-1)
            for x in range(width * _CHANNELS):
                down[x] = np.uint16(first[x]) + np.uint16(second[x]) + np.uint16(third[x])
            added = 3
        else:
            for x in range(width * _CHANNELS):
                down[x] = first[x]
            added = 1
        for k in range(top + added, bottom):
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
def brightness(pixels: NDArray[np.uint8], light: NDArray[np.int16]) -> None:
    """Write red + 2 green + blue of uint8[height, width, 4] to int16[height, width]."""
    height, width = light.shape
    for y in range(height):
        words, to = pixels[y].reshape(-1).view(np.uint32), light[y]  # little-endian
        for x in range(width):
            word = words[x]
            to[x] = np.int16((word & 255) + 2 * (word >> 8 & 255) + (word >> 16 & 255))


@jit
def mark_alike(light: NDArray[np.int16], most: int, alike: NDArray[np.uint8]) -> None:
    """Write which pixels of int16[height, width] differ by no more than `most` from those to the left and above, where
    there are some, to uint8[height, width].
    """
    height, width = light.shape
    for y in range(height):
        row, above, to = light[y], light[max(y - 1, 0)], alike[y]
        to[0] = abs(np.int32(row[0]) - np.int32(above[0])) <= most
        for x in range(1, width):
            here = np.int32(row[x])
            to[x] = (abs(here - np.int32(row[x - 1])) <= most) & (abs(here - np.int32(above[x])) <= most)


@jit
def widen(mask: NDArray[np.uint8]) -> None:
    """Mark the pixels of uint8[height, width] to the left of one that is marked, and then those above one."""
    height, width = mask.shape
    for y in range(height):
        row = mask[y]
        for x in range(width - 1):  # what is read has not been written yet
            row[x] |= row[x + 1]
        if y:
            above = mask[y - 1]
            for x in range(width):
                above[x] |= row[x]


@jit
def count_colours(pixels: NDArray[np.uint8], mask: NDArray[np.uint8], counts: NDArray[np.int32]) -> None:
    """Count the marked pixels of uint8[height, width, 4] by the highest five bits of each colour, in int32[2**15]."""
    height, width = mask.shape
    counts[:] = 0
    for y in range(height):
        words, marked = pixels[y].reshape(-1).view(np.uint32), mask[y]
        for x in range(width):
            if marked[x]:
                counts[_code(words[x])] += 1


@jit
def _code(word: int) -> int:
    return (word >> 3 & 31) << 10 | (word >> 11 & 31) << 5 | word >> 19 & 31


@jit
def add_colours(pixels: NDArray[np.uint8], mask: NDArray[np.uint8], code: int, sums: NDArray[np.int64]) -> None:
    """Write the sums of red, green and blue of the marked pixels that `count_colours` counts so, to int64[3]."""
    height, width = mask.shape
    wanted = np.uint32(code)
    red = green = blue = np.int64(0)
    for y in range(height):
        words, marked = pixels[y].reshape(-1).view(np.uint32), mask[y]
        for x in range(width):
            word = words[x]
            if marked[x] & (np.uint32(_code(word)) == wanted):
                red += word & 255
                green += word >> 8 & 255
                blue += word >> 16 & 255
    sums[0], sums[1], sums[2] = red, green, blue


@jit
def mark_colour(
    pixels: NDArray[np.uint8], low: NDArray[np.uint8], high: NDArray[np.uint8], mask: NDArray[np.uint8]
) -> None:
    """Mark, beside those that are, the pixels of uint8[height, width, 4] whose colours are from `low` to `high`."""
    height, width = mask.shape
    for y in range(height):
        words, to = pixels[y].reshape(-1).view(np.uint32), mask[y]
        for x in range(width):
            word = words[x]
            r, g, b = word & 255, word >> 8 & 255, word >> 16 & 255
            to[x] |= (r >= low[0]) & (r <= high[0]) & (g >= low[1]) & (g <= high[1]) & (b >= low[2]) & (b <= high[2])


@jit
def heaviest(until: NDArray[np.float32]) -> tuple[int, int, int, int]:
    """Return the first and the last row, the first and the last column of the rectangle of the largest sum.

    `until`: float32[columns + 1, rows + 1], sums of all that is to the left and above. Of equal rectangles it is the
    one whose first row, then last row, then last column, then first column comes first.
    """
    columns, rows = until.shape
    best = np.float32(-np.inf)
    top = bottom = 0
    least, gained = np.empty(rows, np.float32), np.empty(rows, np.float32)
    for first in range(rows - 1):
        least[:] = np.inf
        gained[:] = -np.inf
        for x in range(columns):
            of_column, before = until[x], until[x, first]
            for last in range(first + 1, rows):
                total = of_column[last] - before
                least[last] = min(least[last], total)
                gained[last] = max(gained[last], total - least[last])
        for last in range(first + 1, rows):
            if gained[last] > best:
                best, top, bottom = gained[last], first, last
    left = right = begin = 0
    least_of_all, best = np.float32(np.inf), np.float32(-np.inf)
    for x in range(columns):
        total = until[x, bottom] - until[x, top]
        if total < least_of_all:
            least_of_all, begin = total, x
        if total - least_of_all > best:
            best, left, right = total - least_of_all, begin, x
    return top, bottom, left, right


@jit
def _share(counts: NDArray[np.int32], line: int, begin: int, end: int, pooled: int, least: int) -> float:
    """Return the share of a line that is an edge between two places, in `pooled` pixels; -1 where they are too near."""
    first, last = begin // pooled, end // pooled
    length = (last - first) * pooled
    return (counts[last, line] - counts[first, line]) / length if length >= least else -1.0


@jit
def edged(
    lefts: NDArray[np.int64],
    of_lefts: NDArray[np.int32],
    rights: NDArray[np.int64],
    of_rights: NDArray[np.int32],
    tops: NDArray[np.int64],
    of_tops: NDArray[np.int32],
    bottoms: NDArray[np.int64],
    of_bottoms: NDArray[np.int32],
    still: NDArray[np.int32],
    pooled: int,
    least: int,
    each: float,
    in_all: float,
    still_costs: float,
    ground_costs: float,
    sides: NDArray[np.int64],
) -> bool:
    """Write left, top, right and bottom of the rectangle whose sides are edges by `each` at least, by `in_all`
    together, and which has the most in it that is not still; return whether there is one that is not mostly still.

    Of lines that may be a side: where they are, and how much of them is an edge, as `count_edges` counts. `still`: of
    `add_up`. Of equal rectangles the first is taken, in the order of the lines.
    """
    best, best_area, best_still = -np.inf, 0.0, 0.0
    for a, left in enumerate(lefts):
        for b, right in enumerate(rights):
            for c, top in enumerate(tops):
                of_top = _share(of_tops, c, left, right, pooled, least)
                if of_top < each:
                    continue
                for d, bottom in enumerate(bottoms):
                    of_left = _share(of_lefts, a, top, bottom, pooled, least)
                    of_right = _share(of_rights, b, top, bottom, pooled, least)
                    of_bottom = _share(of_bottoms, d, left, right, pooled, least)
                    if min(of_left, of_right, of_bottom) < each or of_left + of_right + of_top + of_bottom < in_all:
                        continue
                    area = np.float64((right - left) * (bottom - top))
                    bare = still[bottom, right] - still[top, right] - still[bottom, left] + still[top, left]
                    weight = area - still_costs * bare
                    if weight > best:
                        best, best_area, best_still = weight, area, np.float64(bare)
                        sides[0], sides[1], sides[2], sides[3] = left, top, right, bottom
    return ground_costs * best_still < best_area


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
_pixels = types.Array(types.uint8, 3, "C")
_mask = types.Array(types.uint8, 2, "C")
_levels = types.Array(types.int16, 2, "C")
_bytes = types.Array(types.uint8, 1, "C")
_places = types.Array(types.int64, 1, "C")
SIGNATURES: Final[tuple[tuple[Any, tuple[Any, ...]], ...]] = (
    (
        reduce,
        (types.Array(types.uint8, 3, "C", readonly=True), types.int64, _pixels),
    ),
    (brightness, (_pixels, _levels)),
    (mark_alike, (_levels, types.int64, _mask)),
    (widen, (_mask,)),
    (count_colours, (_pixels, _mask, types.Array(types.int32, 1, "C"))),
    (add_colours, (_pixels, _mask, types.int64, _places)),
    (mark_colour, (_pixels, _bytes, _bytes, _mask)),
    (heaviest, (types.Array(types.float32, 2, "C"),)),
    (
        edged,
        (*(_places, _counts) * 4, _counts, types.int64, types.int64, *(types.float64,) * 4, _places),
    ),
    (add_up, (_mask, _counts)),
    (most_gained, (_counts, types.Array(types.float32, 1, "C"), types.Array(types.float64, 1, "C"))),
    (count_edges, (_levels, types.int64, types.int64, types.int64, _counts, _counts)),
)
"""What is called from outside, and the types that it is called with: what has to be compiled or loaded."""
