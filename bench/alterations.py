"""Which everyday alterations of a picture PDQ still finds.

    python -m bench.alterations --count 300

Each synthetic picture (512 x 384) is altered in each way and hashed again. The matcher is exact, so an altered picture
is found when its hash lies within the distance, 31 bits, of the original's. `turned`: when the query's seven rotations
and flips, derived from its hash, are searched as well.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
from pathlib import Path
from random import Random
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bench import result
from hashhub.hashes import ALGORITHMS, Hash
from hashhub.hashing import pdq_dihedral
from hashhub.hashing.pdq import compute
from hashhub.testing.pictures import ALTERATIONS, picture

_UPRIGHT: Final = (False, False)
_FIRST_SEED: Final = 20_000_000  # away from the pictures of tests and of bench.pictures


def distances(seed: int) -> NDArray[np.int64]:
    """Return the distance from a picture to each of its alterations, as it comes and by the nearest turn:
    int64[alterations, 2].
    """

    def pdq(image: Any) -> Hash:
        upright, _ = compute(np.asarray(image), [_UPRIGHT])[_UPRIGHT]
        return Hash("PDQ", upright.to_bytes(32))

    original = picture(seed)
    listed = int.from_bytes(pdq(original).digest)
    found = []
    for alter in ALTERATIONS.values():
        asked = pdq(alter(original, Random(seed)))
        turns = [(int.from_bytes(turned.digest) ^ listed).bit_count() for _, turned in pdq_dihedral(asked)]
        upright = (int.from_bytes(asked.digest) ^ listed).bit_count()
        found.append((upright, min(upright, *turns)))
    return np.array(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=300, help="pictures (300)")
    parser.add_argument("--out", type=Path, help="where to write the result; default: bench/results/alterations.json")
    options = parser.parse_args()
    within = ALGORITHMS["PDQ"].default_max_distance
    assert within is not None
    with multiprocessing.get_context("spawn").Pool(len(os.sched_getaffinity(0))) as pool:
        found = np.stack(pool.map(distances, range(_FIRST_SEED, _FIRST_SEED + options.count), chunksize=5))
    rows = [
        {
            "alteration": name,
            "pictures": options.count,
            "found": float((found[:, i, 0] <= within).mean()),
            "found_turned": float((found[:, i, 1] <= within).mean()),
            "median_distance": float(np.median(found[:, i, 0])),
            "p95_distance": float(np.percentile(found[:, i, 0], 95)),
        }
        for i, name in enumerate(ALTERATIONS)
    ]
    result.show(rows)
    packages = ("Pillow", "numpy")
    result.save("alterations", {"max_distance": within}, rows, out=options.out, packages=packages, seed=_FIRST_SEED)


if __name__ == "__main__":
    main()
