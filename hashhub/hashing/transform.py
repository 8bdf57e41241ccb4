"""The eight ways to turn a picture, but for the picture as it is."""

from __future__ import annotations

from enum import StrEnum


class Transform(StrEnum):
    """The seven rotations and flips. Rotations are counter-clockwise; TRANSVERSE is the other diagonal.

    The names are Pillow's, the values what variants of an upload are called.
    """

    FLIP_LEFT_RIGHT = "flip-left-right"
    FLIP_TOP_BOTTOM = "flip-top-bottom"
    ROTATE_90 = "rotate-90"
    ROTATE_180 = "rotate-180"
    ROTATE_270 = "rotate-270"
    TRANSPOSE = "transpose"
    TRANSVERSE = "transverse"
