"""PDQ hashes of further pictures that an upload may stand for: without border, shown by a screen, cropped.

    the frame ── reduced to some 220,000 pixels ──┬─ edges of a border ────────────── border-removed
                                                  ├─ the rectangle of a photograph ── content-box
                                                  └─ a grid of windows onto either ── crop, mirror-pad

PDQ forgives no border (3 % moves 70 bits of 256), so the photograph is looked for in the upload and hashed again.
Rectangles that are small, mostly flat, or in which PDQ finds too little are refused. docs/match/variants.md.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from hashhub.hashes import Hash
from hashhub.hashing.perceptual import BORDER_REMOVED, pdq_hashes_of
from hashhub.hygiene import MIN_PDQ_QUALITY
from hashhub.model import MAX_HASHES_PER_QUERY

_Bytes = npt.NDArray[np.uint8]
_Floats = npt.NDArray[np.float32]
_Mask = npt.NDArray[np.bool_]
_Sums = npt.NDArray[np.int32]
_Levels = npt.NDArray[np.int16]

CONTENT_BOX: Final = "content-box"
CROP: Final = "crop"
MIRROR_PAD: Final = "mirror-pad"
TURNED_BOX: Final = "turned-box"

_MOST_CONTENTS: Final = 3
MOST_BOXES: Final = 1 + _MOST_CONTENTS
"""Rectangles of a frame that are hashed, at most: one without its border, and photographs with and without a rim."""

_PIXELS: Final = 220_000  # that everything is done on
_LEAST_SIDE: Final = 48  # of the reduced picture, for a rectangle to be hashed
_LEAST_SHARE: Final = 0.04  # of the picture, for the rectangle of a photograph
_PHOTOGRAPHS: Final = 2  # on one screen, at most
_SLIMMEST: Final = 5.0  # sides of a photograph
_ROUNDEST: Final = 5  # corners of a fifth of the shorter side
_LEAST_RADIUS: Final = 3
_ROUND: Final = 0.8  # of a corner that is ground: outside of a circle


class Box(NamedTuple):
    """A rectangle of a picture in its pixels; right and bottom are exclusive."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def width(self) -> int:
        """In pixels."""
        return self.right - self.left

    @property
    def height(self) -> int:
        """In pixels."""
        return self.bottom - self.top


class DerivedHash(NamedTuple):
    """One picture that was derived from a frame: how, its PDQ hash and PDQ's quality."""

    name: str
    hash: Hash
    quality: int


def derive(shown: Image.Image, windows: int = 0) -> Iterator[DerivedHash]:
    """Yield what an 8-bit RGB frame may stand for, with PDQ qualities of at least MIN_PDQ_QUALITY: at most
    `MOST_BOXES`, each with its turns, and as many `windows` onto the frame and the first box together. Some hashes may
    come twice.
    """
    if min(shown.size) < _LEAST_SIDE:
        return
    factor = max(1, round(math.sqrt(shown.width * shown.height / _PIXELS)))
    factor = min(factor, max(1, min(shown.size) // _LEAST_SIDE))
    of_pillow = shown.reduce(factor) if factor > 1 else shown
    pixels, halved = np.asarray(of_pillow), np.asarray(of_pillow.reduce(_HALVES))
    whole = Box(0, 0, pixels.shape[1], pixels.shape[0])
    boxes: list[tuple[str, Box]] = []
    if (border := _border(pixels, halved)) != whole:
        boxes.append((BORDER_REMOVED, border))
    boxes += [(CONTENT_BOX, box) for box in _content(pixels, halved) if not _is_near(box, border)]
    hashed: list[tuple[str, Box]] = []
    for name, box in boxes:
        if derived := _hashed(name, _squared(pixels[box.top : box.bottom, box.left : box.right])):
            hashed.append((name, box))
            yield from derived
    if windows:
        reduced = Image.fromarray(pixels)
        shown_in_it = [box for _, box in sorted(hashed, key=lambda named: named[0] != CONTENT_BOX)][:1]
        shares = (windows - windows // 2, windows // 2) if hashed else (windows,)
        for box, share in zip((*shown_in_it, whole), shares, strict=True):
            yield from _onto(reduced, box, WINDOWS[:share])


def common_border(least: _Levels, most: _Levels) -> Box:
    """Return grey pictures' common part without their border. `least`, `most`: of a pixel above its picture's edge."""
    if min(least.shape) < _LEAST_SIDE:
        return Box(0, 0, least.shape[1], least.shape[0])
    pixels = np.stack((least, most, least), axis=2)
    return _border(pixels, pixels[::_HALVES, ::_HALVES])


def windows_a_frame(frames: int) -> int:
    """Return how many windows each of so many frames may have, so that all hashes of the file fit in a query."""
    algorithms, turns, readings = 3, 8, 2
    others = algorithms * (turns + readings) + turns * MOST_BOXES
    return max(0, min(MOST_WINDOWS, _MOST_IN_A_FILE // frames, (MAX_HASHES_PER_QUERY - _DIGESTS) // frames - others))


def _squared(pixels: _Bytes) -> _Bytes:
    """Return a box with rounded corners filled from beside them: the ground in them moves 15 of PDQ's bits."""
    longest = min(pixels.shape[:2]) // _ROUNDEST
    filled = pixels
    for down, across in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
        corner = filled[::down, ::across][:longest, :longest]
        off = _largest(corner.astype(np.int16) - corner[0, 0].astype(np.int16)) > _NOISE
        ground = np.logical_and.accumulate(~off, axis=1)  # from the edge on
        radius = round(math.sqrt(np.count_nonzero(ground) / (1 - math.pi / 4)))
        if not _LEAST_RADIUS <= radius < longest:
            continue
        at = radius - 0.5 - np.arange(radius)
        runs = np.ceil(radius - np.sqrt(radius**2 - at**2)).astype(int)  # of what is outside of the circle, by line
        outside = np.arange(longest) < np.pad(runs, (0, longest - radius))[:, None]
        if np.count_nonzero(outside & ground) < _ROUND * max(np.count_nonzero(outside), np.count_nonzero(ground)):
            continue
        if filled is pixels:
            filled = pixels.copy()
            corner = filled[::down, ::across][:longest, :longest]
        for line, run in zip(corner, (runs + 2).tolist(), strict=False):
            line[:run] = line[min(run, longest - 1)]
    return filled


def _hashed(name: str, pixels: _Bytes) -> list[DerivedHash]:
    """Return the hash of what a box holds, then those of its turns; none of too little."""
    hashes, quality = pdq_hashes_of(pixels, is_turned=True)
    if quality < MIN_PDQ_QUALITY:
        return []
    return [DerivedHash(name if turn is None else TURNED_BOX, value, quality) for turn, value in hashes.items()]


# ----------------------------------------------------------------------------------------------------------------------
# Borders

_HALVES: Final = 2  # what edges are looked for on is reduced by this again
_NOISE: Final = 14  # levels that a pixel of a border may be off its colour: JPEG at quality 50 leaves as much
_STRAY: Final = 0.02  # of a border's line that may be off by more: specks, a watermark's tip
_BLOCK: Final = 8  # pixels of a JPEG block, as far as its ringing reaches
_SPARSE: Final = 3  # of so many pixels of a line one is looked at where edges are made sharp
_PIECE: Final = 16  # lines looked at together


def _border(pixels: _Bytes | _Levels, halved: _Bytes | _Levels) -> Box:
    """Return a picture without a frame of one colour a side, of any width. `halved`: it, reduced by 2."""
    height, width, _ = halved.shape
    left, top, right, bottom = 0, 0, width, height
    least = _LEAST_SIDE // _HALVES
    for _round in range(2):  # bars across the whole width hide what is beside the picture, and the other way round
        before = (left, top, right, bottom)
        inner = halved[top:bottom, left:right]
        top, bottom = top + _flat_lines(inner), bottom - _flat_lines(inner[::-1])
        if bottom - top < least:
            break
        inner = halved[top:bottom, left:right].transpose(1, 0, 2)
        left, right = left + _flat_lines(inner), right - _flat_lines(inner[::-1])
        if right - left < least or before == (left, top, right, bottom):
            break
    if right - left < least or bottom - top < least:
        return Box(0, 0, pixels.shape[1], pixels.shape[0])
    return _sharpened(pixels, Box(left, top, right, bottom), halved.shape)


def _flat_lines(lines: _Bytes | _Levels) -> int:
    """Return how many lines, from the first, are of one colour; 0 if all are, for then there is no picture."""
    colour = _colour(lines[0])
    begin, end = 0, 1  # most pictures have no border and end at the first line
    while begin < len(lines):
        off = _largest(lines[begin:end] - colour) > _NOISE
        uneven = np.flatnonzero(off.sum(axis=1) > _STRAY * off.shape[1])
        if len(uneven):
            return begin + int(uneven[0])
        begin, end = end, end + _PIECE
    return 0


def _largest(differences: npt.NDArray[np.int16]) -> npt.NDArray[np.int16]:
    """Return the largest of the three colours, (…, 3) to (…), faster than NumPy's way along a short axis."""
    away = np.abs(differences)
    largest = np.maximum(away[..., 0], away[..., 1])
    return np.maximum(largest, away[..., 2], out=largest)


def _colour(line: _Bytes | _Levels) -> npt.NDArray[np.int16]:
    """Return the colour of a line that is to be of one: its median, by channel."""
    median: npt.NDArray[np.int16] = np.partition(line, len(line) // 2, axis=0)[len(line) // 2].astype(np.int16)
    return median


def _sharpened(pixels: _Bytes | _Levels, box: Box, within: tuple[int, ...]) -> Box:
    """Return a box of the halved picture, of size `within`, at the picture's own edges; its borders stay."""
    rows, columns = within[:2]
    height, width, _ = pixels.shape
    left, right, top, bottom = (at * _HALVES for at in (box.left, box.right, box.top, box.bottom))
    upright = pixels[:, left : min(width, right)]
    top = _step(upright, top) if box.top else 0
    bottom = height - _step(upright[::-1], height - bottom) if box.bottom < rows else height
    turned = pixels[top:bottom].transpose(1, 0, 2)
    left = _step(turned, left) if box.left else 0
    right = width - _step(turned[::-1], width - right) if box.right < columns else width
    return Box(left, top, right, bottom)


def _step(lines: _Bytes | _Levels, edge: int) -> int:
    """Return where, within a JPEG block of `edge`, the picture begins: behind the largest step between lines."""
    begin, end = max(0, edge - 3), min(len(lines), edge + _BLOCK)
    strip = lines[begin:end, ::_SPARSE].astype(np.int16)
    if len(strip) < 2:  # noqa: PLR2004 - no step between fewer
        return edge
    steps = _largest(strip[1:] - strip[:-1]).sum(axis=1)
    outside = _largest(strip[:-1] - _colour(strip[0])) > 3 * _NOISE
    steps[outside.sum(axis=1) > 5 * _STRAY * outside.shape[1]] = 0  # such a line is the picture's already
    return begin + 1 + int(np.argmax(steps)) if steps.any() else edge


# ----------------------------------------------------------------------------------------------------------------------
# The photograph on a screen

_CELLS: Final = 48  # the longer side of the grid that is searched for a photograph
_FEWEST_CELLS: Final = 4  # a side
_GROUNDS: Final = 4  # colours of a screen's ground, at most
_GROUND_SHARE: Final = 0.02  # of the picture that is flat and of such a colour
_GROUND_NOISE: Final = 6
_BANDS: Final = 0.75  # of all lines that begin and end alike where they make a ground
_BAND_NOISE: Final = 10
_BAND_CHANGE: Final = 24  # levels of red + green + blue
_FLAT: Final = 8  # levels of red + 2 green + blue between neighbours
_BARE: Final = 0.8  # of a line that is ground: outside the photograph
_GAP: Final = 0.97  # of a line that is ground: between photographs
_SMOOTH: Final = 0.15  # of a photograph that is flat
_MOST_PARTS: Final = 5  # photographs side by side
_RIM: Final = 16  # a rim is at most a 16th of the picture
_GROUND_COSTS: Final = 2.5  # a cell counts for the photograph if less than 1 / 2.5 of it is ground
_STEP: Final = 32  # levels of red + 2 green + blue between what is on either side of a photograph's edge
_STILL: Final = 1  # level of red + 2 green + blue between neighbours in what a program draws in one colour
_STILL_COSTS: Final = 6.0  # bars and panels are still but for their text and controls
_EVEN: Final = 16  # levels of the same between neighbours along the outer side of an edge
_POOLED: Final = 4  # pixels along an edge that are counted together
_EDGES: Final = 10  # lines that may be one side of a photograph
_EDGED: Final = 0.45  # of each side of a photograph that is an edge
_EDGED_IN_ALL: Final = 2.8  # the four shares together


def _content(pixels: _Bytes, halved: _Bytes) -> list[Box]:
    """Return the rectangles of a screen, (height, width, 3), that hold a photograph; the heaviest first.

    A screen's ground is flat to the level, which photographs are not: what is neither ground nor text on it is what the
    screen shows. The grid is searched for the rectangle of the largest sum, where a cell of no ground counts 1 and one
    of nothing else -1.5; then its edges are moved to where ground begins. Before all of these comes the rectangle with
    a straight edge on each side, which needs no ground of a few colours. `halved`: the same picture, reduced by 2.
    """
    height, width, _ = halved.shape
    size = max(2, math.ceil(max(height, width) / _CELLS))
    if min(height, width) // size < _FEWEST_CELLS:
        return []
    light, flat, coloured = _ground(halved)
    boxes: list[Box] = []
    edged = _edged(light)
    if coloured is not None:
        ground = _table(coloured)
        boxes = [
            part for box in _photographs(ground, size, 1 if edged else _PHOTOGRAPHS) for part in _parts(ground, box)
        ]
    for box in boxes[:1] or [Box(0, 0, width, height)]:
        smooth = np.count_nonzero(flat[box.top : box.bottom, box.left : box.right])
        if smooth > _SMOOTH * box.width * box.height:
            # Its ground may be one whose colour changes slowly: a gradient, a blurred picture.
            boxes = [*boxes[:_PHOTOGRAPHS], *_photographs(_table(flat), size, most=1)]
    shown: list[Box] = []
    rims: list[Box] = []
    on_bands = _photographs(_table(bands), size, most=1) if (bands := _bands(halved)) is not None else []
    for box in [*([edged] if edged else []), *on_bands, *boxes][: _PHOTOGRAPHS + 2]:
        if min(box.width, box.height) < _LEAST_SIDE // _HALVES:
            continue
        sharp = _sharpened(pixels, box, halved.shape)
        if _is_one(sharp, pixels.shape) and not any(_is_near(sharp, other) for other in (*shown, *rims)):
            peeled, *unpeeled = _peeled(pixels, sharp)
            shown.append(peeled)
            rims += unpeeled
    return [*shown, *rims][:_MOST_CONTENTS]


def _bands(halved: _Bytes) -> _Mask | None:
    """Return which pixels have the colour of both ends of their line: a ground that changes downwards, as in stories
    (None: too few lines do, or it does not change).
    """
    lines = halved[..., :3].astype(np.int16)
    alike = _largest(lines[:, 0] - lines[:, -1]) <= _BAND_NOISE
    if np.count_nonzero(alike) < _BANDS * len(alike):
        return None
    least, most = np.percentile(lines[alike, 0].sum(axis=1), (10, 90))
    if most - least < _BAND_CHANGE:  # of one colour, which `_ground` knows
        return None
    bands: _Mask = (_largest(lines - lines[:, :1]) <= _BAND_NOISE) & alike[:, None]
    return bands


def _is_near(box: Box, other: Box) -> bool:
    return all(abs(a - b) <= 1 for a, b in zip(box, other, strict=True))


def _is_one(box: Box, within: tuple[int, ...]) -> bool:
    """Whether a rectangle has the size and the shape of a photograph on a screen, (height, width, …) = `within`."""
    shorter, longer = sorted((box.width, box.height))
    return shorter >= max(_LEAST_SIDE, longer / _SLIMMEST) and shorter * longer >= _LEAST_SHARE * within[0] * within[1]


def _is_uneven(lines: _Bytes, colour: npt.NDArray[np.int16]) -> npt.NDArray[np.bool_]:
    """Return for each line whether more than round corners is of another colour."""
    off = _largest(lines - colour) > _NOISE
    uneven: npt.NDArray[np.bool_] = off.sum(axis=1) > (1 - _BARE) * off.shape[1]
    return uneven


def _table(mask: _Mask) -> _Sums:
    """Return the summed-area table of a mask, int32[height + 1, width + 1]: how many of the pixels above and to the
    left of each corner are set. A rectangle's own are four of its numbers away.
    """
    table = np.zeros((mask.shape[0] + 1, mask.shape[1] + 1), np.int32)
    np.cumsum(mask, axis=1, dtype=np.int32, out=table[1:, 1:])
    np.cumsum(table, axis=0, out=table)
    return table


def _down(ground: _Sums, left: int, right: int) -> npt.NDArray[np.float64]:
    """Return for each row the share of its pixels between two columns that are ground. `ground`: of `_table`."""
    shares: npt.NDArray[np.float64] = np.diff(ground[:, right] - ground[:, left]) / (right - left)
    return shares


def _across(ground: _Sums, top: int, bottom: int) -> npt.NDArray[np.float64]:
    """Return for each column the share of its pixels between two rows that are ground. `ground`: of `_table`."""
    shares: npt.NDArray[np.float64] = np.diff(ground[bottom] - ground[top]) / (bottom - top)
    return shares


def _photographs(ground: _Sums, size: int, most: int = _PHOTOGRAPHS) -> list[Box]:
    """Return at most so many heaviest rectangles of cells, their edges where `ground` (`_table`) begins."""
    corners = ground[::size, ::size]
    cells = np.diff(np.diff(corners, axis=0), axis=1) / size**2
    score = 1 - _GROUND_COSTS * cells
    boxes: list[Box] = []
    for _number in range(most):
        top, bottom, left, right = _heaviest(score)
        if (bottom - top) * (right - left) < _LEAST_SHARE * score.size:
            break
        score[top:bottom, left:right] = -2
        boxes.append(_grown(ground, Box(left * size, top * size, right * size, bottom * size)))
    return boxes


def _parts(ground: _Sums, box: Box) -> list[Box]:
    """Return the pictures side by side, or one above the other, in a rectangle. `ground`: of `_table`."""
    across = _runs(_across(ground, box.top, box.bottom)[box.left : box.right] > _GAP)
    if len(across) > 1:
        parts = [box._replace(left=box.left + begin, right=box.left + end) for begin, end in across]
    else:
        down = _runs(_down(ground, box.left, box.right)[box.top : box.bottom] > _GAP)
        parts = [box._replace(top=box.top + begin, bottom=box.top + end) for begin, end in down]
    return sorted(parts, key=lambda part: -part.width * part.height)


def _runs(bare: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return the runs of lines between bare ones that are at least a fifth of all; one run: all lines."""
    cuts = [-1, *np.flatnonzero(bare).tolist(), len(bare)]
    runs = [(a + 1, b) for a, b in itertools.pairwise(cuts) if b - a - 1 >= len(bare) / _MOST_PARTS]
    return runs if len(runs) > 1 else [(0, len(bare))]


def _peeled(pixels: _Bytes, box: Box) -> list[Box]:
    """Return a rectangle without a narrow rim of one colour, if it has one (a message's bubble, a card), and itself."""
    inner = pixels[box.top : box.bottom, box.left : box.right]
    turned = inner.transpose(1, 0, 2)
    left, right, top, bottom = (_rim(lines) for lines in (turned, turned[::-1], inner, inner[::-1]))
    peeled = Box(box.left + left, box.top + top, box.right - right, box.bottom - bottom)
    return [peeled, box] if peeled != box else [box]


def _rim(lines: _Bytes) -> int:
    """Return how many lines, of the first 16th, belong to a rim: of one colour but for round corners."""
    deepest = max(4, len(lines) // _RIM)
    widest = 0
    for first in (0, 2):  # the edge may lie a line or two outside the rim
        colour = _colour(lines[first, ::_SPARSE])
        if _is_uneven(lines[first : first + 1, ::_SPARSE], colour)[0]:  # most rectangles have no rim
            continue
        uneven = np.flatnonzero(_is_uneven(lines[first:deepest, ::_SPARSE], colour))
        if len(uneven):
            widest = max(widest, _step(lines, first + int(uneven[0])))
    return widest


def _ground(pixels: _Bytes) -> tuple[_Levels, _Mask, _Mask | None]:
    """Return red + 2 green + blue, (height, width), the flat pixels, and those of a ground's colour, if any: dark and
    light parts of photographs have such colours, but are not flat.
    """
    channels = [np.ascontiguousarray(pixels[..., channel]) for channel in range(3)]
    red, green, blue = (channel.astype(np.int16) for channel in channels)
    light = red + 2 * green + blue
    flat = np.ones(light.shape, bool)
    flat[:, 1:] &= np.abs(light[:, 1:] - light[:, :-1]) <= _FLAT
    flat[1:] &= np.abs(light[1:] - light[:-1]) <= _FLAT
    codes = ((red >> 3) << 10 | (green >> 3) << 5 | blue >> 3)[flat]
    counts = np.bincount(codes, minlength=1)
    of_flat = [channel[flat] for channel in channels]
    ground = None
    for _number in range(_GROUNDS):
        code = int(np.argmax(counts))
        if counts[code] < _GROUND_SHARE * flat.size:
            break
        at = np.flatnonzero(codes == code)
        its = np.ones(light.shape, bool)
        for channel, values in zip(channels, of_flat, strict=True):
            mean = round(int(values[at].sum(dtype=np.int64)) / int(counts[code]))
            low = max(0, mean - _GROUND_NOISE)
            its &= channel - np.uint8(low) <= min(255, mean + _GROUND_NOISE) - low  # what is lower wraps around
        ground = its if ground is None else ground | its
        counts[code] = 0
    flat[:, :-1] |= flat[:, 1:]  # a flat place begins a pixel late
    flat[:-1] |= flat[1:]
    return light, flat, None if ground is None else ground & flat


def _edged(light: _Levels) -> Box | None:
    """Return the rectangle with an edge on each side, and of those the one with the most in it that is not still.

    Programs draw grounds, bars and buttons of the very same colour; hardly any place in a photograph is so still. So a
    window weighs less than the photograph in it, however its colours and those around it change. None: no rectangle has
    four edges, or all that have are mostly still. `light`: red + 2 green + blue, (height, width).
    """
    ground = _table(_still(light))
    turned = np.ascontiguousarray(light.T)
    lefts, rights = _edge_lines(light)
    tops, bottoms = _edge_lines(turned)
    if not (len(lefts.at) and len(rights.at) and len(tops.at) and len(bottoms.at)):
        return None
    down = (tops.at[:, None] // _POOLED, bottoms.at[None, :] // _POOLED)  # (tops, bottoms)
    across = (lefts.at[:, None] // _POOLED, rights.at[None, :] // _POOLED)  # (lefts, rights)
    left, right = (_shares(lines, *down) for lines in (lefts, rights))  # (lines, tops, bottoms)
    top, bottom = (_shares(lines, *across) for lines in (tops, bottoms))  # (lines, lefts, rights)
    of_sides = (
        left[:, None], right[None],  # by left, right, top, bottom
        top.transpose(1, 2, 0)[..., None], bottom.transpose(1, 2, 0)[:, :, None],
    )  # fmt: skip
    least = np.minimum(np.minimum(of_sides[0], of_sides[1]), np.minimum(of_sides[2], of_sides[3]))
    in_all = of_sides[0] + of_sides[1] + of_sides[2] + of_sides[3]
    at = np.nonzero((least >= _EDGED) & (in_all >= _EDGED_IN_ALL))
    if not len(at[0]):
        return None
    x0, x1, y0, y1 = (lines.at[of] for lines, of in zip((lefts, rights, tops, bottoms), at, strict=True))
    area = ((x1 - x0) * (y1 - y0)).astype(np.float64)
    bare = ground[y1, x1] - ground[y0, x1] - ground[y1, x0] + ground[y0, x0]
    best = int(np.argmax(area - _STILL_COSTS * bare))
    if _GROUND_COSTS * bare[best] >= area[best]:
        return None
    return Box(int(x0[best]), int(y0[best]), int(x1[best]), int(y1[best]))


def _still(light: _Levels) -> _Mask:
    """Return which pixels are as light as their neighbours, but for a level. `light`: as of `_edged`."""
    still = np.ones(light.shape, bool)
    still[:, 1:] &= np.abs(light[:, 1:] - light[:, :-1]) <= _STILL
    still[1:] &= np.abs(light[1:] - light[:-1]) <= _STILL
    still[:, :-1] |= still[:, 1:]  # a still place begins a pixel late
    still[:-1] |= still[1:]
    return still


class _Lines(NamedTuple):
    """Columns that may be one side of a photograph."""

    at: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int32]  # (rows / _POOLED + 1, columns): pixels of each that are an edge, added up from above


def _shares(lines: _Lines, begin: npt.NDArray[np.int64], end: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return the share of each column that is an edge between two rows, in `_POOLED` pixels; -1 where they are none."""
    length = (end - begin) * _POOLED
    counted = (lines.counts[end] - lines.counts[begin]).transpose(2, 0, 1)
    shares: npt.NDArray[np.float64] = np.where(length >= _LEAST_SIDE // _HALVES, counted / np.maximum(length, 1), -1.0)
    return shares


def _edge_lines(light: _Levels) -> tuple[_Lines, _Lines]:
    """Return the columns in which a left and a right side are most likely: steps between two pixels of which the outer
    is like its neighbour along the edge, as grounds are and textures are not.
    """
    rows = (len(light) - 1) // _POOLED
    sides: list[_Lines] = []
    for counts in _edge_counts(light, rows):
        gain = _gains(counts)
        order = np.argsort(-gain)[: 2 * _EDGES]
        order = order[gain[order] > 0][:_EDGES]
        sides.append(_Lines(order + 1, counts.take(order, axis=1)))
    return sides[0], sides[1]


def _edge_counts(light: _Levels, rows: int) -> tuple[_Sums, _Sums]:
    """Return for each inner column how many pixels are on a left and a right side, summed from above by `_POOLED`."""
    lefts, rights = (np.zeros((rows + 1, light.shape[1] - 2), np.int32) for _ in range(2))
    step = np.abs(light[1:, 2:] - light[1:, :-2]) > _STEP
    even = np.abs(light[1:] - light[:-1]) <= _EVEN
    for counts, outer in ((lefts, even[:, :-2]), (rights, even[:, 2:])):
        edge = (step & outer)[: rows * _POOLED].view(np.uint8)
        pooled = edge.reshape(rows, _POOLED, -1).sum(axis=1, dtype=np.uint8)
        np.cumsum(pooled, axis=0, dtype=np.int32, out=counts[1:])
    return lefts, rights


def _gains(counts: _Sums) -> npt.NDArray[np.float64]:
    """Return for each column by how many pixels, at best, its edge exceeds what is needed. `counts`: edges above."""
    enough = np.arange(len(counts), dtype=np.float32) * np.float32(_EDGED * _POOLED)
    gains = counts - enough[:, None]
    most: npt.NDArray[np.float64] = (gains - np.minimum.accumulate(gains, axis=0)).max(axis=0)
    return most


def _heaviest(score: npt.NDArray[np.float64]) -> tuple[int, int, int, int]:
    """Return (top, bottom, left, right), ends exclusive, of the largest sum: Kadane's, for all row pairs at once."""
    rows, columns = score.shape
    until = np.zeros((columns + 1, rows + 1), np.float32)
    np.cumsum(np.cumsum(score, axis=0), axis=1, out=until[1:, 1:].T)
    first, last = np.triu_indices(rows + 1, 1)
    sums = until.take(last, axis=1)  # (columns + 1, pairs): the pairs lie side by side, and are compared so
    sums -= until.take(first, axis=1)
    gains = np.minimum.accumulate(sums, axis=0)
    np.subtract(sums, gains, out=gains)
    pair = int(np.argmax(gains.max(axis=0)))
    right = int(np.argmax(gains[:, pair]))
    left = int(np.argmin(sums[: right + 1, pair]))
    return int(first[pair]), int(last[pair]), left, right


def _grown(ground: _Sums, box: Box) -> Box:
    """Return the box with each edge where ground begins, or where the screen ends. `ground`: of `_table`."""
    left, top, right, bottom = box
    for _round in range(2):  # the lines that decide on one pair of edges are as long as the other pair says
        top, bottom = _edges(_down(ground, left, right) > _BARE, top, bottom)
        left, right = _edges(_across(ground, top, bottom) > _BARE, left, right)
    return Box(left, top, right, bottom)


def _edges(bare: npt.NDArray[np.bool_], begin: int, end: int) -> tuple[int, int]:
    """Return the first and, exclusive, the last line of what lies around the middle of a range between bare lines."""
    middle = (begin + end) // 2
    before, after = np.flatnonzero(~bare[begin:middle]), np.flatnonzero(~bare[middle + 1 : end])
    begin = begin + int(before[0]) if len(before) else middle
    end = middle + 2 + int(after[-1]) if len(after) else min(end, middle + 1)
    before, after = np.flatnonzero(bare[:begin]), np.flatnonzero(bare[end:])
    return int(before[-1]) + 1 if len(before) else 0, end + int(after[0]) if len(after) else len(bare)


# ----------------------------------------------------------------------------------------------------------------------
# Windows

_SIDE: Final = 256  # the square that a picture is brought to
_MARGIN: Final = 32  # of its mirrored surroundings, each side
_MOST_IN_A_FILE: Final = 512  # windows
_DIGESTS: Final = 3
_SAMPLES: Final = 64
_KEPT: Final = 16


class CropWindow(NamedTuple):
    """What is taken off each side of a picture, in thousandths of its width or height; negative: mirrored and added."""

    left: int
    top: int
    right: int
    bottom: int


def _onto(reduced: Image.Image, box: Box, windows: tuple[CropWindow, ...]) -> Iterator[DerivedHash]:
    bits, qualities = window_hashes(reduced, box, windows)
    for window, digest, quality in zip(windows, bits, qualities, strict=True):
        if quality >= MIN_PDQ_QUALITY:
            yield DerivedHash(MIRROR_PAD if min(window) < 0 else CROP, Hash("PDQ", digest.tobytes()), int(quality))


def window_hashes(
    picture: Image.Image, box: Box, windows: tuple[CropWindow, ...]
) -> tuple[_Bytes, npt.NDArray[np.int64]]:
    """Return the PDQ hashes, uint8[n, 32], and qualities of windows onto a rectangle of an RGB picture.

    Every step of PDQ until the median is linear, and alike for rows and columns: with D the DCT, A and B the weights by
    which rows and columns make the 64 samples each, its coefficients are (D A) L (D B)^T. So L is brought to one size
    once, and a window costs two small products.
    """
    square = picture.resize((_SIDE, _SIDE), Image.Resampling.BOX, box=box).convert("L")
    luma = np.pad(np.asarray(square, np.float32), _MARGIN, mode="symmetric")
    across, down, pairs = _grid(windows)
    transform = _transform()
    columns = [np.ascontiguousarray(_weights(*taken).T) for taken in across]
    sampled = (np.concatenate([_weights(*taken) for taken in down]) @ luma).reshape(len(down), _SAMPLES, -1)
    samples = np.empty((len(pairs), _SAMPLES, _SAMPLES), np.float32)
    for (i, j), of_window in zip(pairs, samples, strict=True):
        np.matmul(sampled[j], columns[i], out=of_window)
    quality = _qualities(samples)
    half = samples.reshape(-1, _SAMPLES) @ transform.T  # (windows * 64, 16)
    coefficients = np.matmul(transform, half.reshape(len(pairs), _SAMPLES, _KEPT)).reshape(len(pairs), -1)
    median = np.partition(coefficients, _KEPT * _KEPT // 2 - 1, axis=1)[:, _KEPT * _KEPT // 2 - 1]
    bits = np.packbits(coefficients > median[:, None], axis=1, bitorder="little")[:, ::-1]
    return np.ascontiguousarray(bits), quality


def _qualities(samples: _Floats) -> npt.NDArray[np.int64]:
    """Return PDQ's quality of (n, 64, 64) samples: whole steps of 2.55 levels, in 90ths, at most 100."""
    scaled = samples * np.float32(100 / 255)
    steps = np.zeros(len(samples), np.int64)
    for of_axis in (scaled[:, 1:] - scaled[:, :-1], scaled[:, :, 1:] - scaled[:, :, :-1]):
        whole = np.abs(of_axis, out=of_axis).astype(np.uint8)
        steps += whole.reshape(len(samples), -1).sum(axis=1, dtype=np.uint32)
    return np.minimum(100, steps // 90)


@lru_cache(maxsize=4)
def _grid(
    windows: tuple[CropWindow, ...],
) -> tuple[tuple[tuple[int, int], ...], tuple[tuple[int, int], ...], tuple[tuple[int, int], ...]]:
    """Return the distinct ranges of columns and of rows, and which of them each window has."""
    across = {(w.left, w.right): 0 for w in windows}
    down = {(w.top, w.bottom): 0 for w in windows}
    across = {taken: i for i, taken in enumerate(across)}
    down = {taken: i for i, taken in enumerate(down)}
    return tuple(across), tuple(down), tuple((across[w.left, w.right], down[w.top, w.bottom]) for w in windows)


@lru_cache(maxsize=256)
def _weights(taken_before: int, taken_after: int) -> _Floats:
    """Return how the padded square's pixels make a range's 64 samples, float32[64, side]: two box filters of a 128th
    make a tent of a 64th on either side, cut off where the window ends.
    """
    at = np.arange(_SIDE + 2 * _MARGIN + 1, dtype=np.float64)  # where pixels meet
    begin = _MARGIN + _SIDE * taken_before / 1000
    end = _MARGIN + _SIDE * (1 - taken_after / 1000)
    cell = (end - begin) / _SAMPLES
    centres = begin + cell * (np.arange(_SAMPLES) + 0.5)
    x = np.clip((np.clip(at, begin, end) - centres[:, None]) / cell, -1, 1)
    under = np.where(x < 0, (x + 1) ** 2 / 2, 1 - (1 - x) ** 2 / 2)  # the integral of the tent, from the left to x
    tent = np.diff(under, axis=1)
    weights: _Floats = (tent / tent.sum(axis=1, keepdims=True)).astype(np.float32)
    return weights


@lru_cache(maxsize=1)
def _transform() -> _Floats:
    """Return the rows of the DCT that PDQ keeps, float32[16, 64]: frequencies 1 to 16 (`pdq._DCT`)."""
    frequency, sample = np.arange(1, _KEPT + 1)[:, None], np.arange(_SAMPLES)
    rows: _Floats = (math.sqrt(2 / _SAMPLES) * np.cos(math.pi / 2 / _SAMPLES * frequency * (2 * sample + 1))).astype(
        np.float32
    )
    return rows


# Chosen from 575, on pictures of their own: each adds the most to what those before it find.
WINDOWS: Final = tuple(itertools.starmap(CropWindow, (
    (-25, -25, -25, -25), (25, 25, 25, 25), (-40, -40, -40, -40), (125, 0, 125, 0), (50, 50, 50, 50),
    (95, 95, 95, 95), (15, 30, 0, 30), (-15, -15, -15, -30), (40, 0, 40, 0), (-40, 0, -40, 0), (0, 0, 90, 0),
    (100, 0, 0, 0), (0, -80, 0, 0), (0, 80, 0, 0), (0, 0, 0, -80), (0, 140, 0, 140), (0, 0, -110, 0), (-110, 0, 0, 0),
    (0, 0, 0, 70), (0, -40, 0, -40), (130, 130, 130, 130), (15, 30, 15, 0), (0, -30, -30, -15), (170, 0, 170, 0),
    (0, 170, 0, 170), (70, 70, 70, 70), (15, 15, 30, 30), (-30, -30, -15, -15), (-35, -35, -35, -35),
    (-20, 0, -40, -40), (0, 40, 40, 20), (0, 50, 0, 50), (40, 40, 20, 20), (115, 115, 115, 115), (40, 20, 20, 40),
    (-50, -50, -50, -50), (-20, -40, -20, 0), (-30, -15, -15, -30), (0, 110, 0, 110), (185, 0, 185, 0),
    (0, 200, 0, 200), (155, 0, 155, 0), (5, 5, 5, 5), (20, 0, 20, 40), (40, 40, 40, 20), (0, 0, 0, -50),
    (40, 20, 0, 0), (0, 0, 0, -110), (-50, 0, -50, 0), (0, -20, -20, -40), (0, -100, 0, 0), (0, -60, 0, 0),
    (0, 0, 0, 90), (0, -60, 0, -60), (-40, -20, -40, -40), (0, 40, 20, 0), (-40, -40, -20, 0), (50, 0, 50, 0),
    (0, -40, -40, -20), (-15, -15, -30, -15), (-30, 0, 0, -30), (100, 0, 100, 0), (-30, -30, -30, -30),
    (35, 35, 35, 35), (-45, -45, -45, -45), (0, 60, 0, 0), (0, 15, 30, 15), (40, 0, 20, 0), (-40, -40, 0, -40),
    (40, 40, 20, 0), (-30, 0, -30, -15), (0, -40, -40, -40), (30, 0, 0, 30), (-100, 0, 0, 0), (40, 40, 20, 40),
    (-60, -60, -60, -60), (20, 0, 40, 40), (-40, -20, -20, -20), (-30, -30, -30, -60), (-40, -40, -40, -20),
    (0, 0, -120, 0), (-20, -40, -40, -40), (20, 40, 40, 0), (-60, -30, -30, -30), (0, 40, 40, 40),
    (-30, -30, -15, -30), (0, 0, -30, -15), (40, 40, 0, 20), (0, 0, 0, 50), (-30, -15, -30, -30), (-20, 0, -20, -40),
    (0, -30, -30, -30), (140, 0, 140, 0), (20, 40, 40, 20), (-60, 0, -30, 0), (-30, 0, -30, 0), (-20, -40, -20, -20),
    (60, 30, 60, 30), (-20, -20, -40, -20), (0, 0, 0, -90), (0, 40, 0, 20), (0, 0, -100, 0), (-40, 0, -20, 0),
    (0, -50, 0, -50), (0, 185, 0, 185), (40, 20, 40, 40), (0, -40, -40, 0), (20, 20, 40, 40), (40, 20, 0, 20),
    (60, 60, 30, 30), (200, 0, 200, 0), (-15, -15, -30, -30),
)))  # fmt: skip
MOST_WINDOWS: Final = len(WINDOWS)
