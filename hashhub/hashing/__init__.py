"""Media bytes to hashes. Media bytes exist in memory, here, and nowhere else in hashhub.

`hash_media` is the door: exact digests of anything, perceptual hashes of pictures. `pdq_dihedral` derives the hashes of
a picture's rotations and flips when only its PDQ hash is known. Needs `pip install 'hashhub[hashing]'` for perceptual
hashes.
"""

from __future__ import annotations

from hashhub.hashing.digest import DIGEST_ALGORITHMS
from hashhub.hashing.image import (
    DEFAULT_LIMITS,
    PERCEPTUAL_ALGORITHMS,
    FrameHashes,
    Limits,
    MediaHashes,
    Transform,
    Variant,
    hash_media,
    pdq_dihedral,
)

__all__ = [
    "DEFAULT_LIMITS",
    "DIGEST_ALGORITHMS",
    "PERCEPTUAL_ALGORITHMS",
    "FrameHashes",
    "Limits",
    "MediaHashes",
    "Transform",
    "Variant",
    "hash_media",
    "pdq_dihedral",
]
