"""A picture in grey and resized as `imagehash` has Pillow do it: the kernels' way, where they are used, or Pillow's.

Both give the same bytes. The kernels go along the rows first. Pillow does, too, unless a picture is much taller than
wide: there some of its versions go down the columns first, which rounds differently, so such a picture is left to
Pillow. Whether Pillow still does it this way is asked once, with two small pictures.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from hashhub.hashing import compiled
from hashhub.hashing.transform import Transform

if TYPE_CHECKING:
    from PIL import Image

_Bytes = npt.NDArray[np.uint8]

_TALLEST: Final = 1.5  # height to width; Pillow 13 changes the order from 1.7 on
_LEAST_SIDE: Final = 64  # smaller pictures are resized in microseconds anyway, and perhaps enlarged
_SUPPORT: Final = 3.0  # of the LANCZOS filter


class Grey:
    """A picture in 8-bit grey."""

    def __init__(self, of: Image.Image | _Bytes) -> None:
        """`of`: the grey picture, Pillow's or as uint8[height, width]."""
        self._of = of

    @classmethod
    def of(cls, picture: Image.Image, pixels: _Bytes) -> Grey:
        """Return the grey picture of an RGB picture; `pixels`: the same as an array."""
        if compiled.are_used() and _agrees_with_pillow():
            return cls(_grey(pixels))
        return cls(picture.convert("L"))

    def turned(self, transform: Transform) -> Grey:
        """Return the picture after a rotation or flip."""
        from PIL import Image

        if isinstance(self._of, Image.Image):
            return Grey(self._of.transpose(Image.Transpose[transform.name]))
        return Grey(np.ascontiguousarray(_TURNS[transform](self._of)))

    def resized(self, columns: int, rows: int) -> Image.Image:
        """Return the picture after Pillow's LANCZOS, as an image of Pillow's."""
        from PIL import Image

        if isinstance(self._of, Image.Image):
            return self._of.resize((columns, rows), Image.Resampling.LANCZOS)
        height, width = self._of.shape
        if min(height, width) < _LEAST_SIDE or height > width * _TALLEST:
            return Image.fromarray(self._of).resize((columns, rows), Image.Resampling.LANCZOS)
        return Image.fromarray(_resized(self._of, columns, rows))


_TURNS: Final = {
    Transform.FLIP_LEFT_RIGHT: lambda grey: grey[:, ::-1],
    Transform.FLIP_TOP_BOTTOM: lambda grey: grey[::-1],
    Transform.ROTATE_90: lambda grey: grey.T[::-1],
    Transform.ROTATE_180: lambda grey: grey[::-1, ::-1],
    Transform.ROTATE_270: lambda grey: grey[::-1].T,
    Transform.TRANSPOSE: lambda grey: grey.T,
    Transform.TRANSVERSE: lambda grey: grey[::-1, ::-1].T,
}


def _grey(pixels: _Bytes) -> _Bytes:
    from hashhub.hashing import pdq_kernels

    read = np.ascontiguousarray(pixels).view()
    read.flags.writeable = False  # one kind of array, so that there is one kernel
    grey = np.empty(read.shape[:2], np.uint8)
    pdq_kernels.grey(read, grey)
    return grey


def _resized(grey: _Bytes, columns: int, rows: int) -> _Bytes:
    from hashhub.hashing import grey_kernels

    height, width = grey.shape
    narrow = np.empty((height, columns), np.uint8)
    grey_kernels.along_rows(grey, *_weights(width, columns), narrow)
    small = np.empty((rows, columns), np.uint8)
    grey_kernels.down_columns(narrow, *_weights(height, rows), small)
    return small


@functools.lru_cache(maxsize=16)  # most pictures have one of few sizes
def _weights(count: int, fewer: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int32]]:
    """Return which of `count` pixels each of `fewer` is made of: the first, how many, and their weights."""
    from hashhub.hashing import grey_kernels

    starts, lengths = np.empty(fewer, np.int64), np.empty(fewer, np.int64)
    weights = np.zeros((fewer, math.ceil(_SUPPORT * count / fewer) * 2 + 1), np.int32)
    grey_kernels.weigh(count, starts, lengths, weights)
    return starts, lengths, weights


@functools.cache
def _agrees_with_pillow() -> bool:
    """Whether the installed Pillow makes grey and resizes as the kernels do."""
    from PIL import Image

    random = np.random.default_rng(0)
    for height, width in ((100, 150), (180, 120)):
        pixels = random.integers(0, 2, (height, width, 3), np.uint8) * np.uint8(255)
        grey = Image.fromarray(pixels).convert("L")
        if not np.array_equal(_grey(pixels), np.asarray(grey)):
            return False
        for size in ((32, 32), (9, 8)):
            pillows = np.asarray(grey.resize(size, Image.Resampling.LANCZOS))
            if not np.array_equal(_resized(np.array(grey), *size), pillows):
                return False
    return True
