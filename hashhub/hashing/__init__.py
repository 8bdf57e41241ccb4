"""Media bytes to hashes. Media bytes exist in memory, here, and nowhere else in hashhub.

    media        hash_media: exact digests of anything, perceptual hashes of pictures and of videos' frames
      ├── structure    what a file is, by its first bytes, what it may cost and what its blocks hold
      ├── decoding     a picture's frames as people see them
      ├── video        a video's frames, one a second, to PDQ
      └── perceptual   PDQ (pdq), pHash and dHash of a frame, and of its rotations and flips
            └── compiled   whether the compiled loops (kernels) do it: the same bits, sooner
    pool         the same in child processes (child), for bytes that strangers send

Perceptual hashes need `hashhub[hashing]`, videos `hashhub[video]`; `hashhub[kernels]` makes both faster.
"""

from __future__ import annotations

from hashhub.hashing.decoding import quiet_pillow
from hashhub.hashing.media import DIGEST_ALGORITHMS, FrameHashes, MediaHashes, Variant, hash_media
from hashhub.hashing.perceptual import PERCEPTUAL_ALGORITHMS, Transform, pdq_dihedral
from hashhub.hashing.structure import DEFAULT_LIMITS, Limits

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
    "quiet_pillow",
]
