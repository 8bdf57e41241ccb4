"""A decoded picture to its perceptual hashes, also as it would be after rotations and flips."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from hashhub.errors import InvalidArgument
from hashhub.hashes import Hash
from hashhub.hashing import compiled

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from PIL import Image

PERCEPTUAL_ALGORITHMS: Final = ("PDQ", "PHASH", "DHASH")
BORDER_REMOVED: Final = "border-removed"
"""The name of what is derived by cutting off a border, of a picture or of all frames of a video."""


class Transform(StrEnum):
    """The seven turns, counter-clockwise, by Pillow's names. The values are what variants are called."""

    FLIP_LEFT_RIGHT = "flip-left-right"
    FLIP_TOP_BOTTOM = "flip-top-bottom"
    ROTATE_90 = "rotate-90"
    ROTATE_180 = "rotate-180"
    ROTATE_270 = "rotate-270"
    TRANSPOSE = "transpose"
    TRANSVERSE = "transverse"


# Transposing swaps the axes, which PDQ treats alike but for the order of its sums: the hash of a transposed picture is
# the transposed hash, but for bits that rounding alone decides. Those are many in flat pictures; 400 synthetic ones of
# quality 50 or more had none. So these four follow from the four that keep the axes (None: the picture as it is), of
# which every bit is that of the mirrored pixels.
_TRANSPOSED: Final[dict[Transform, Transform | None]] = {
    Transform.TRANSPOSE: None,
    Transform.ROTATE_90: Transform.FLIP_LEFT_RIGHT,
    Transform.ROTATE_270: Transform.FLIP_TOP_BOTTOM,
    Transform.TRANSVERSE: Transform.ROTATE_180,
}


# Those four: whether left and right, top and bottom change places.
_MIRRORS: Final[dict[Transform | None, tuple[bool, bool]]] = {
    None: (False, False),
    Transform.FLIP_LEFT_RIGHT: (True, False),
    Transform.FLIP_TOP_BOTTOM: (False, True),
    Transform.ROTATE_180: (True, True),
}


def pdq_dihedral(value: Hash) -> tuple[tuple[Transform, Hash], ...]:
    """Return estimates of the PDQ hashes of the seven rotations and flips, from the hash alone.

    Bit (i, j) says whether the DCT coefficient at vertical frequency i + 1 and horizontal frequency j + 1 exceeds the
    median. Mirroring an axis negates its odd frequencies, and the median is close to 0, so those bits flip; transposing
    swaps i and j. TRANSPOSE is exact but for rounding. The others are not, because PDQ's box filters are off-centre by
    up to a pixel each and its sampling grid too. Measured on synthetic pictures against hashing the mirrored pixels,
    the estimates are off by 8 bits on average (at most 18) for pictures of 640 to 4,000 pixels a side, 14 (at most 30)
    at 512 x 384 and 31 (at most 60) at 256 x 256. That eats into a `max_distance` of 31, so use
    `hash_media` with an effort other than PLAIN wherever the pixels are at hand.

    Raises:
        InvalidArgument: if the hash is not a PDQ hash.
    """
    if value.algorithm != "PDQ":
        raise InvalidArgument.field(
            "hash", f"expected a PDQ hash, got {value.algorithm}; only PDQ can be turned without pixels", "NOT_PDQ"
        )
    upright = int.from_bytes(value.digest)
    mirrored: dict[Transform | None, int] = {
        None: upright,
        Transform.FLIP_LEFT_RIGHT: upright ^ _ODD_COLUMNS,
        Transform.FLIP_TOP_BOTTOM: upright ^ _ODD_ROWS,
        Transform.ROTATE_180: upright ^ _ODD_ROWS ^ _ODD_COLUMNS,
    }
    bits = {t: mirrored[t] if t in mirrored else _transpose(mirrored[_TRANSPOSED[t]]) for t in Transform}
    return tuple((t, Hash("PDQ", b.to_bytes(_PDQ_BYTES))) for t, b in bits.items())


# As a big-endian integer, bit 16 * i + j of a PDQ digest is element (i, j) of its 16 x 16 matrix, which stands for the
# frequencies i + 1 and j + 1: odd frequencies are the even positions.
_PDQ_BYTES: Final = 32
_PDQ_SIDE: Final = 16
_ODD_COLUMNS: Final = int("5555" * _PDQ_SIDE, 16)
_ODD_ROWS: Final = int("0000ffff" * (_PDQ_SIDE // 2), 16)


# Blocks of 8, 4, 2 and 1 bits a side that change places with those across the diagonal: how far apart they are, and the
# places of the nearer ones.
_SWAPS: Final = tuple(
    (
        (_PDQ_SIDE - 1) * k,
        sum(1 << (_PDQ_SIDE * i + j + k) for i in range(_PDQ_SIDE) for j in range(_PDQ_SIDE) if not (i & k or j & k)),
    )
    for k in (8, 4, 2, 1)
)


def _transpose(bits: int) -> int:
    for apart, nearer in _SWAPS:
        different = (bits ^ (bits >> apart)) & nearer
        bits ^= different | (different << apart)
    return bits


def perceptual_hashes(
    picture: Image.Image, wanted: frozenset[str], turned: Collection[str] = ()
) -> tuple[dict[Transform | None, tuple[Hash, ...]], int | None]:
    """Return the hashes of an 8-bit RGB picture in the order of PERCEPTUAL_ALGORITHMS, of those in `turned` also after
    the seven transforms, and PDQ's quality (0 to 100; None without PDQ).
    """
    import numpy as np

    hashes: dict[Transform | None, list[Hash]] = {
        t: [] for t in ((None,) if wanted.isdisjoint(turned) else (None, *Transform))
    }
    quality = None
    pixels = np.asarray(picture)
    if "PDQ" in wanted:
        pdq_hashes, quality = pdq_hashes_of(pixels, is_turned="PDQ" in turned)
        for transform, value in pdq_hashes.items():
            hashes[transform].append(value)
    if not wanted.isdisjoint(("PHASH", "DHASH")):
        from PIL import Image

        turned_imagehashes = wanted.intersection(turned) - {"PDQ"}
        grey = _grey(picture, pixels)  # what imagehash would do first, once for all
        for transform, of_transform in hashes.items():
            if transform is None:
                of_transform.extend(_imagehashes(grey, wanted))
            elif turned_imagehashes:
                turned_grey = Image.fromarray(grey).transpose(Image.Transpose[transform.name])
                of_transform.extend(_imagehashes(np.asarray(turned_grey), turned_imagehashes))
    return {transform: tuple(of_transform) for transform, of_transform in hashes.items()}, quality


def pdq_hashes_of(pixels: npt.NDArray[np.uint8], *, is_turned: bool) -> tuple[dict[Transform | None, Hash], int]:
    """Return the PDQ hash, by transform if `is_turned`, and the quality of the picture as it is."""
    from hashhub.hashing import pdq

    computed = pdq.compute(pixels, _MIRRORS.values() if is_turned else [_MIRRORS[None]])
    bits = {transform: computed[mirror][0] for transform, mirror in _MIRRORS.items() if mirror in computed}
    if is_turned:
        bits |= {turned: _transpose(bits[mirrored]) for turned, mirrored in _TRANSPOSED.items()}
    return {t: Hash("PDQ", b.to_bytes(_PDQ_BYTES)) for t, b in bits.items()}, computed[_MIRRORS[None]][1]


def _imagehashes(grey: npt.NDArray[np.uint8], wanted: frozenset[str]) -> Iterator[Hash]:
    import imagehash
    import numpy as np

    # Each would resize the picture to this size first; one that has it already is taken as it is.
    for name, function, size in (("PHASH", imagehash.phash, (32, 32)), ("DHASH", imagehash.dhash, (9, 8))):
        if name in wanted:
            yield Hash.of(name, np.packbits(function(resized(grey, *size)).hash.flatten()).tobytes())


def _grey(picture: Image.Image, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    import numpy as np

    if compiled.are_used():
        from hashhub.hashing import kernels

        if kernels.agrees_with_pillow():
            return kernels.grey_of(pixels)
    return np.asarray(picture.convert("L"))


def resized(grey: npt.NDArray[np.uint8], columns: int, rows: int) -> Image.Image:
    """Return an 8-bit grey picture after Pillow's LANCZOS, by the kernels where they are used."""
    from PIL import Image

    if compiled.are_used():
        from hashhub.hashing import kernels

        if (small := kernels.resized(grey, columns, rows)) is not None:
            return small
    return Image.fromarray(grey).resize((columns, rows), Image.Resampling.LANCZOS)
