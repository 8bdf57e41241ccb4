"""Further pictures that an upload may stand for, and their PDQ hashes: its border taken off, the picture that a screen
shows, and, if asked to look hard, crops of it and the picture around it.

    the frame ── reduced to some 220,000 pixels ──┬─ edges of a border ────────────── border-removed
                                                  ├─ the rectangle of a photograph ── content-box
                                                  └─ a grid of windows onto either ── crop, mirror-pad

A list holds the hash of a photograph; people send it with a border, in a letterbox, in a screenshot, under a caption,
or cut. PDQ forgives none of that (a border of 3 % moves 70 bits of 256), so the photograph is looked for in the upload
and hashed again. Everything is done on the reduced picture, whose PDQ is within a few bits of the whole one's.

What is refused: a rectangle that is small, that is mostly one flat colour (cards, buttons, keyboards) or that PDQ finds
too little in. `docs/variants.md` says what each variant finds and costs; `bench.robustness` measures it, and how far
from everything else these hashes stay.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

from hashhub.hashes import Hash
from hashhub.hygiene import MIN_PDQ_QUALITY
from hashhub.model import Effort

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from PIL import Image

    _Bytes = npt.NDArray[np.uint8]
    _Floats = npt.NDArray[np.float32]
    _Mask = npt.NDArray[np.bool_]

BORDER_REMOVED: Final = "border-removed"
CONTENT_BOX: Final = "content-box"
CROP: Final = "crop"
MIRROR_PAD: Final = "mirror-pad"

FRAMES: Final = 4
"""Frames of a file whose variants are looked for at most; of an animation the first ones that differ."""

THOROUGH_FRAMES: Final = 1
"""Frames of a file that windows are laid onto."""

_PIXELS: Final = 220_000  # that everything is done on
_LEAST_SIDE: Final = 48  # of the reduced picture, for a rectangle to be hashed
_LEAST_SHARE: Final = 0.04  # of the picture, for the rectangle of a photograph
_MOST_BOXES: Final = 2
_SLIMMEST: Final = 5.0  # sides of a photograph


class Box(NamedTuple):
    """A rectangle of a picture in its pixels; right and bottom are exclusive."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def width(self) -> int:
        return self.right - self.left

    @property
    def height(self) -> int:
        return self.bottom - self.top


class Derived(NamedTuple):
    """One picture that was derived from a frame: how, its PDQ hash and PDQ's quality."""

    name: str
    hash: Hash
    quality: int


def derive(shown: Image.Image, effort: Effort, *, windows: bool = True) -> Iterator[Derived]:
    """Yield what an 8-bit RGB frame may stand for, with PDQ qualities of at least MIN_PDQ_QUALITY.

    At most one border-removed and two content-box; with THOROUGH and `windows` at most `MOST_WINDOWS` more. A hash
    that is also one of an earlier picture's comes again: the caller leaves it out.
    """
    import numpy as np

    if effort is Effort.PLAIN or min(shown.size) < _LEAST_SIDE:
        return
    factor = max(1, round(math.sqrt(shown.width * shown.height / _PIXELS)))
    factor = min(factor, max(1, min(shown.size) // _LEAST_SIDE))
    reduced = shown.reduce(factor) if factor > 1 else shown
    pixels = np.asarray(reduced)
    whole = Box(0, 0, reduced.width, reduced.height)
    boxes: list[tuple[str, Box]] = []
    if (border := _border(pixels)) != whole:
        boxes.append((BORDER_REMOVED, border))
    boxes += [(CONTENT_BOX, box) for box in _content(pixels) if box not in (whole, border)]
    hashed = []
    for name, box in boxes:
        if derived := _hashed(name, pixels[box.top : box.bottom, box.left : box.right]):
            hashed.append(box)
            yield derived
    if effort is Effort.THOROUGH and windows:
        yield from _windows(reduced, whole, hashed)


def _hashed(name: str, pixels: _Bytes) -> Derived | None:
    from hashhub.hashing import pdq

    upright = (False, False)
    bits, quality = pdq.compute(pixels, [upright])[upright]
    return Derived(name, Hash("PDQ", bits.to_bytes(32)), quality) if quality >= MIN_PDQ_QUALITY else None


# ----------------------------------------------------------------------------------------------------------------------
# Borders

_NOISE: Final = 14  # levels that a pixel of a border may be off its colour: JPEG at quality 50 leaves as much
_STRAY: Final = 0.02  # of a border's line that may be off by more: specks, a watermark's tip
_BLOCK: Final = 8  # pixels of a JPEG block, as far as its ringing reaches


def _border(pixels: _Bytes) -> Box:
    """Return what is left of a picture, (height, width, 3), without a frame of one colour a side, of any width."""
    import numpy as np

    height, width, _ = pixels.shape
    left, top, right, bottom = 0, 0, width, height
    for _round in range(2):  # bars across the whole width hide what is beside the picture, and the other way round
        before = (left, top, right, bottom)
        inner = pixels[top:bottom, left:right]
        if min(inner.shape[:2]) < _LEAST_SIDE:
            break
        above, below = _flat_lines(inner), _flat_lines(inner[::-1])
        top, bottom = top + above, bottom - below
        inner = pixels[top:bottom, left:right].transpose(1, 0, 2)
        if min(inner.shape[:2]) < _LEAST_SIDE:
            break
        before_it, after_it = _flat_lines(inner), _flat_lines(inner[::-1])
        left, right = left + before_it, right - after_it
        if before == (left, top, right, bottom):
            break
    if min(right - left, bottom - top) < _LEAST_SIDE:
        return Box(0, 0, width, height)
    return Box(left, top, right, bottom)


def _flat_lines(lines: _Bytes) -> int:
    """Return how many lines, from the first, are of one colour; 0 if all are, for then there is no picture."""
    import numpy as np

    colour = np.median(lines[0], axis=0).astype(np.int16)
    count = len(lines)
    begin = 0
    while begin < count:  # in pieces, because most pictures have no border and end in the first
        piece = lines[begin : begin + 32].astype(np.int16)
        off = np.abs(piece - colour).max(axis=2) > _NOISE
        uneven = np.flatnonzero(off.mean(axis=1) > _STRAY)
        if len(uneven):
            edge = begin + int(uneven[0])
            return _step(lines, edge, colour) if edge else 0
        begin += 32
    return 0


def _step(lines: _Bytes, edge: int, colour: npt.NDArray[np.int16]) -> int:
    """Return where, within a JPEG block of `edge`, the picture begins: behind the largest step between lines."""
    import numpy as np

    begin, end = max(0, edge - 2), min(len(lines), edge + _BLOCK)
    steps = np.abs(np.diff(lines[begin:end].astype(np.int16), axis=0)).max(axis=2).mean(axis=1)
    outside = np.abs(lines[begin : end - 1].astype(np.int16) - colour).max(axis=2) > 3 * _NOISE
    steps[outside.mean(axis=1) > 5 * _STRAY] = 0  # such a line is the picture's already
    return begin + 1 + int(np.argmax(steps)) if steps.any() else edge


# ----------------------------------------------------------------------------------------------------------------------
# The photograph on a screen

_CELLS: Final = 64  # the longer side of the grid that is searched for a photograph
_GROUNDS: Final = 4  # colours of a screen's ground, at most
_GROUND_SHARE: Final = 0.02  # of the picture that is flat and of such a colour
_GROUND_NOISE: Final = 6
_BARE: Final = 0.8  # of a line that is ground: outside the photograph
_GROUND_COSTS: Final = 2.5  # a cell counts for the photograph if less than 1 / 2.5 of it is ground


def _content(pixels: _Bytes) -> list[Box]:
    """Return the rectangles of a screen, (height, width, 3), that hold a photograph; the heaviest first.

    A screen's ground is flat to the level, which photographs are not: what is neither ground nor text on it is what the
    screen shows. The grid is searched for the rectangle of the largest sum, where a cell of no ground counts 1 and one
    of nothing else -1.5; then its edges are moved to where ground begins.
    """
    import numpy as np

    height, width, _ = pixels.shape
    ground = _ground(pixels)
    if ground is None:
        return []
    size = max(2, math.ceil(max(height, width) / _CELLS))
    rows, columns = height // size, width // size
    if min(rows, columns) < 4:
        return []
    cells = ground[: rows * size, : columns * size].reshape(rows, size, columns, size).mean(axis=(1, 3))
    score = 1 - _GROUND_COSTS * cells
    boxes = []
    for _number in range(_MOST_BOXES):
        top, bottom, left, right = _heaviest(score)
        if (bottom - top) * (right - left) < _LEAST_SHARE * score.size:
            break
        score[top:bottom, left:right] = -2
        box = _grown(pixels, ground, Box(left * size, top * size, right * size, bottom * size))
        if box.width * box.height < _LEAST_SHARE * height * width or min(box.width, box.height) < _LEAST_SIDE:
            continue
        if max(box.width, box.height) > _SLIMMEST * min(box.width, box.height):
            continue
        boxes.append(box)
    return boxes


def _ground(pixels: _Bytes) -> _Mask | None:
    """Return which pixels have a colour of the ground, (height, width); None if no colour is a ground's."""
    import numpy as np

    signed = pixels.astype(np.int16)
    flat = np.ones(pixels.shape[:2], bool)
    flat[:, 1:] &= (np.abs(np.diff(signed, axis=1)) <= 2).all(axis=2)
    flat[1:] &= (np.abs(np.diff(signed, axis=0)) <= 2).all(axis=2)
    its = signed[flat]
    codes = (its[:, 0] >> 3) << 10 | (its[:, 1] >> 3) << 5 | its[:, 2] >> 3
    counts = np.bincount(codes, minlength=1)
    ground = np.zeros_like(flat)
    any_ground = False
    for _number in range(_GROUNDS):
        code = int(np.argmax(counts))
        if counts[code] < _GROUND_SHARE * flat.size:
            break
        counts[code] = 0
        colour = np.median(its[codes == code], axis=0).astype(np.int16)
        ground |= (np.abs(signed - colour) <= _GROUND_NOISE).all(axis=2)
        any_ground = True
    if not any_ground:
        return None
    # Dark and light parts of photographs may have the colour, but are not flat; what is flat begins a pixel late.
    flat[:, :-1] |= flat[:, 1:]
    flat[:-1] |= flat[1:]
    return ground & flat


def _heaviest(score: npt.NDArray[np.float64]) -> tuple[int, int, int, int]:
    """Return (top, bottom, left, right), ends exclusive, of the rectangle of the largest sum.

    Kadane's algorithm in two dimensions, for all pairs of rows at once: some 130,000 sums for a grid of 64 x 64.
    """
    import numpy as np

    rows, columns = score.shape
    until = np.zeros((rows + 1, columns), np.float32)
    np.cumsum(score, axis=0, out=until[1:])
    first, last = np.triu_indices(rows + 1, 1)
    sums = np.zeros((len(first), columns + 1), np.float32)
    np.cumsum(until[last] - until[first], axis=1, out=sums[:, 1:])
    least = np.minimum.accumulate(sums, axis=1)
    gains = sums - least
    pair, right = divmod(int(np.argmax(gains)), columns + 1)
    left = int(np.argmin(sums[pair, : right + 1]))
    return int(first[pair]), int(last[pair]), left, right


def _grown(pixels: _Bytes, ground: _Mask, box: Box) -> Box:
    """Return the box with each edge where ground begins, or where the screen ends."""
    left, top, right, bottom = box
    for _round in range(2):  # the lines that decide on one pair of edges are as long as the other pair says
        top, bottom = _edges(pixels[:, left:right], ground[:, left:right], top, bottom)
        turned = pixels[top:bottom].transpose(1, 0, 2)
        left, right = _edges(turned, ground[top:bottom].T, left, right)
    return Box(left, top, right, bottom)


def _edges(lines: _Bytes, ground: _Mask, begin: int, end: int) -> tuple[int, int]:
    import numpy as np

    bare = ground.mean(axis=1) > _BARE
    middle = (begin + end) // 2

    def first(lines: _Bytes, bare: npt.NDArray[np.bool_], begin: int, middle: int) -> int:
        inside = begin
        while inside < middle and bare[inside]:
            inside += 1
        outside = np.flatnonzero(bare[:inside])
        if not len(outside):
            return 0  # the picture goes on to the end of the screen
        edge = int(outside[-1]) + 1
        return _step(lines, edge, np.median(lines[edge - 1], axis=0).astype(np.int16))

    count = len(lines)
    return first(lines, bare, begin, middle), count - first(lines[::-1], bare[::-1], count - end, count - middle)


# ----------------------------------------------------------------------------------------------------------------------
# Windows

_SIDE: Final = 256  # the square that a picture is brought to
_MARGIN: Final = 32  # of its mirrored surroundings, each side
_SAMPLES: Final = 64
_KEPT: Final = 16


class Window(NamedTuple):
    """What is taken off each side of a picture, in thousandths of its width or height; negative: mirrored and added."""

    left: int
    top: int
    right: int
    bottom: int


def _windows(reduced: Image.Image, whole: Box, boxes: list[Box]) -> Iterator[Derived]:
    """Yield the hashes of windows onto the picture and, half as many each, onto the rectangles in it."""
    for box in (whole,):
        yield from _onto(reduced, box, WINDOWS)


def _onto(reduced: Image.Image, box: Box, windows: tuple[Window, ...]) -> Iterator[Derived]:
    bits, qualities = window_hashes(reduced, box, windows)
    for window, digest, quality in zip(windows, bits, qualities, strict=True):
        if quality >= MIN_PDQ_QUALITY:
            yield Derived(MIRROR_PAD if min(window) < 0 else CROP, Hash("PDQ", digest.tobytes()), int(quality))


def window_hashes(
    picture: Image.Image, box: Box, windows: tuple[Window, ...]
) -> tuple[_Bytes, npt.NDArray[np.int64]]:
    """Return the PDQ hashes, uint8[n, 32], and qualities of windows onto a rectangle of an RGB picture.

    Every step of PDQ until the median is linear, and alike for rows and columns: with D the DCT, A and B the weights by
    which rows and columns make the 64 samples each, its coefficients are (D A) L (D B)^T. So L is brought to one size
    once, and a window costs two small products.
    """
    import numpy as np
    from PIL import Image as Pillow

    square = picture.resize((_SIDE, _SIDE), Pillow.Resampling.BOX, box=box).convert("L")
    luma = np.pad(np.asarray(square, np.float32), _MARGIN, mode="symmetric")
    across, down, pairs = _grid(windows)
    weights, transform = _weights(across), _transform()
    sampled = np.matmul(_weights(down), luma)  # (ranges, 64, side)
    samples = np.stack([sampled[j] @ weights[i].T for i, j in pairs])  # (windows, 64, 64)
    steps = [
        np.abs((np.diff(samples, axis=axis) * np.float32(100 / 255)).astype(np.int16)).sum(axis=(1, 2), dtype=np.int64)
        for axis in (1, 2)
    ]
    coefficients = (transform @ samples @ transform.T).reshape(len(pairs), -1)
    median = np.partition(coefficients, _KEPT * _KEPT // 2 - 1, axis=1)[:, _KEPT * _KEPT // 2 - 1]
    bits = np.packbits(coefficients > median[:, None], axis=1, bitorder="little")[:, ::-1]
    return np.ascontiguousarray(bits), np.minimum(100, (steps[0] + steps[1]) // 90)


@lru_cache(maxsize=4)
def _grid(
    windows: tuple[Window, ...],
) -> tuple[tuple[tuple[int, int], ...], tuple[tuple[int, int], ...], tuple[tuple[int, int], ...]]:
    """Return the distinct ranges of columns and of rows, and which of them each window has."""
    across = {(w.left, w.right): 0 for w in windows}
    down = {(w.top, w.bottom): 0 for w in windows}
    across = {taken: i for i, taken in enumerate(across)}
    down = {taken: i for i, taken in enumerate(down)}
    return tuple(across), tuple(down), tuple((across[w.left, w.right], down[w.top, w.bottom]) for w in windows)


@lru_cache(maxsize=8)
def _weights(ranges: tuple[tuple[int, int], ...]) -> _Floats:
    """Return how the pixels of the padded square make 64 samples of each range, float32[n, 64, side].

    Two box filters of a 128th each make a tent of a 64th on either side of the sample. It is cut off where the window
    ends, as PDQ's boxes are.
    """
    import numpy as np

    at = np.arange(_SIDE + 2 * _MARGIN, dtype=np.float64) + 0.5
    weights = []
    for taken_before, taken_after in ranges:
        begin = _MARGIN + _SIDE * taken_before / 1000
        end = _MARGIN + _SIDE * (1 - taken_after / 1000)
        cell = (end - begin) / _SAMPLES
        centres = begin + cell * (np.arange(_SAMPLES) + 0.5)
        # The mean of the tent over each pixel, from its integral.
        tent = _under_tent((at + 0.5 - centres[:, None]) / cell) - _under_tent((at - 0.5 - centres[:, None]) / cell)
        tent[:, (at < begin) | (at > end)] = 0
        weights.append(tent / tent.sum(axis=1, keepdims=True))
    return np.stack(weights).astype(np.float32)


def _under_tent(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the integral, from the left to x, of a tent from -1/1 to 1/1."""
    import numpy as np

    x = np.clip(x, -1, 1)
    return np.where(x < 0, (x + 1) ** 2 / 2, 1 - (1 - x) ** 2 / 2)


@lru_cache(maxsize=1)
def _transform() -> _Floats:
    """Return the rows of the DCT that PDQ keeps, float32[16, 64]: frequencies 1 to 16 (`pdq._DCT`)."""
    import numpy as np

    frequency, sample = np.arange(1, _KEPT + 1)[:, None], np.arange(_SAMPLES)
    return (math.sqrt(2 / _SAMPLES) * np.cos(math.pi / 2 / _SAMPLES * frequency * (2 * sample + 1))).astype(np.float32)


WINDOWS: Final = (Window(0, 0, 0, 0),)
MOST_WINDOWS: Final = len(WINDOWS)
