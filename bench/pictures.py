"""PDQ and pHash of synthetic pictures, computed once and kept in bench/data.

    python -m bench.pictures --count 204800

Pictures are 128 x 96: their hashes have the statistics of larger ones, and a core makes some 300 a second. What was
made stays; a run that was cut off goes on where it stopped.
"""

from __future__ import annotations

import argparse
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bench import result

SIZE: Final = (128, 96)
_UPRIGHT: Final = (False, False)
_PIECE: Final = 4096  # pictures in one file
_FIRST_SEED: Final = 10_000_000  # away from those that tests use


def make(count: int) -> None:
    """Make at least `count` pictures' hashes, a file for every 4,096."""
    import imagehash

    from hashhub.hashing.pdq import compute
    from hashhub.testing.pictures import picture

    (result.DATA / "pictures").mkdir(parents=True, exist_ok=True)
    for piece in range(-(-count // _PIECE)):
        path = result.DATA / "pictures" / f"{piece:04}.npz"
        if path.exists():
            continue
        pdq = np.empty((_PIECE, 32), np.uint8)
        phash = np.empty((_PIECE, 8), np.uint8)
        quality = np.empty(_PIECE, np.uint8)
        for i in range(_PIECE):
            taken = picture(_FIRST_SEED + piece * _PIECE + i, SIZE)
            upright, quality[i] = compute(np.asarray(taken), [_UPRIGHT])[_UPRIGHT]
            pdq[i] = np.frombuffer(upright.to_bytes(32), np.uint8)
            phash[i] = np.packbits(imagehash.phash(taken).hash)
        unfinished = path.with_suffix(".tmp.npz")
        np.savez(unfinished, pdq=pdq, phash=phash, quality=quality)
        unfinished.rename(path)
        print(f"{(piece + 1) * _PIECE} pictures", flush=True)


def load(count: int | None = None) -> dict[str, NDArray[np.uint8]]:
    """Return `pdq` uint8[n, 32], `phash` uint8[n, 8] and `quality` uint8[n] of the pictures made so far, at most
    `count` of them.
    """
    paths = sorted((result.DATA / "pictures").glob("[0-9]*[0-9].npz"))
    if not paths:
        msg = "there are no pictures yet: run `python -m bench.pictures` first"
        raise SystemExit(msg)
    parts = []
    for path in paths[: None if count is None else -(-count // _PIECE)]:
        with np.load(path) as piece:
            parts.append({name: piece[name] for name in ("pdq", "phash", "quality")})
    return {name: np.concatenate([p[name] for p in parts])[:count] for name in parts[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=204_800, help="pictures to have in the end (204,800)")
    make(parser.parse_args().count)


if __name__ == "__main__":
    main()
