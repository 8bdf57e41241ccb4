"""A decoded picture's pixels as an array: where they lie, if Pillow has them in one piece, as it has those of pictures
below 16 MB. A copy of two megapixels takes as long as a quarter of decoding them.

Pillow hands them out by Arrow's C data interface (arrow.apache.org/docs/format/CDataInterface.html), as lists of four
bytes a pixel, of which the last is filling.
"""

from __future__ import annotations

import ctypes
import sys
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from PIL import Image

_Bytes = npt.NDArray[np.uint8]

_CHANNELS: Final = 4  # bytes that Pillow has for a pixel of RGB
_FORMAT: Final = b"+w:4"  # lists of four


class _Schema(ctypes.Structure):
    """The begin of an ArrowSchema."""

    _fields_ = (("format", ctypes.c_char_p),)


class _Array(ctypes.Structure):
    """The begin of an ArrowArray."""


_Array._fields_ = (
    ("length", ctypes.c_int64),
    ("null_count", ctypes.c_int64),
    ("offset", ctypes.c_int64),
    ("n_buffers", ctypes.c_int64),
    ("n_children", ctypes.c_int64),
    ("buffers", ctypes.POINTER(ctypes.c_void_p)),
    ("children", ctypes.POINTER(ctypes.POINTER(_Array))),
)

_pointer_of: Final = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi)
)


def rgb_pixels(picture: Image.Image) -> _Bytes:
    """Return the pixels of an RGB picture, uint8[height, width, 3 or 4], to be read only: red, green and blue first,
    the fourth means nothing. Four bytes are a little-endian word to the kernels.

    They may be the picture's own, and are kept for as long as the array is.
    """
    in_place = pixels_in_place(picture)
    return np.asarray(picture) if in_place is None else in_place


def pixels_in_place(picture: Image.Image) -> _Bytes | None:
    """Return the pixels of an RGB picture as `rgb_pixels` does, uint8[height, width, 4]; None unless Pillow has them in
    one piece.
    """
    if sys.byteorder != "little":
        return None
    try:
        of_type, of_pixels = picture.__arrow_c_array__()
    except ValueError:  # in several pieces
        return None
    schema = _Schema.from_address(_pointer_of(of_type, b"arrow_schema"))
    array = _Array.from_address(_pointer_of(of_pixels, b"arrow_array"))
    count = picture.width * picture.height
    if schema.format != _FORMAT or (array.length, array.offset, array.n_children) != (count, 0, 1):
        return None
    values = array.children[0].contents
    if (values.length, values.offset, values.n_buffers) != (count * _CHANNELS, 0, 2):
        return None
    memory: Any = (ctypes.c_uint8 * (count * _CHANNELS)).from_address(values.buffers[1])
    memory.owner = of_pixels  # lets go of the picture's memory once nobody has the array any more
    pixels = np.frombuffer(memory, np.uint8).reshape(picture.height, picture.width, _CHANNELS)
    pixels.flags.writeable = False
    return pixels
