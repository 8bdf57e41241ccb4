"""Whether our PDQ has the reference's bits, over a hundred thousand pictures and sizes.

    python -m bench.identity --count 100000

Each picture is hashed by `pdqhash`, which wraps the C++ reference, and by our compiled kernels; one in four, chosen at
random, by our NumPy path, too. Hash and quality must be equal. One in eight is hashed in its mirrored forms as well,
whose sums are taken in another order: their qualities must be equal, and of hashes of quality 50 or more it is counted
how many differ, and by how many bits at most. Sizes: odd, one pixel wide, tiny, around the filter's steps, much longer
than wide, and (one picture in a thousand) up to 12 megapixels. Contents: flat colours, whose hash is nothing but
rounding; noise of little and of full contrast; light and shade as photographs have. `bench.reference_hashes` is the
same comparison for the pictures of the tests.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np

from bench import result
from bench.reference_hashes import MIRRORS, mirrored
from hashhub.hashing import compiled, pdq

_UPRIGHT: Final = (False, False)
_STEPS: Final = (5, 63, 64, 65, 127, 128, 129, 255, 256, 257, 383, 384, 385)
_LARGE: Final = 1000  # of so many pictures one is large
_SIZES: Final = ("any", "any", "any", "tiny", "one pixel wide", "steps", "long")
_CONTENTS: Final = ("flat", "faint noise", "noise", "shading", "shading")
_IN_MIRRORED_FORMS: Final = 0.125
_HASHED_QUALITY: Final = 50  # from which a hash says something
_BY_NUMPY: Final = 0.25
_LEAST_SIDE: Final = 5  # the reference hashes no smaller picture; `compute` alone says so


def _size(random: np.random.Generator, kind: str) -> tuple[int, int]:
    match kind:
        case "tiny":
            height, width = (int(side) for side in random.integers(1, 17, 2))
        case "one pixel wide":
            height, width = int(random.integers(1, 400)), 1
        case "steps":
            height, width = (int(side) for side in random.choice(_STEPS, 2))
        case "long":
            height, width = int(random.integers(5, 24)), int(random.integers(200, 1500))
        case "large":
            height, width = (int(side) for side in random.integers(1000, 3500, 2))
        case _:
            height, width = (int(side) for side in random.integers(5, 160, 2))
    return (height, width) if random.integers(2) else (width, height)


def _picture(random: np.random.Generator, height: int, width: int, content: str) -> Any:
    contrast = {"flat": 0, "faint noise": 3, "noise": 255}.get(content)
    if contrast is not None:
        colour = random.integers(0, 256 - contrast, 3)
        noise = random.integers(0, contrast + 1, (height, width, 3), np.uint8)
        return colour.astype(np.uint8) + noise
    down, across = np.linspace(0, 1, height)[:, None, None], np.linspace(0, 1, width)[None, :, None]
    waves = random.uniform(-12, 12, (6, 2, 3))
    total = sum(np.sin(down * wave[0] + across * wave[1] + k) / (k + 1) for k, wave in enumerate(waves))
    low, high = total.min(), total.max()
    return ((total - low) * (255 / max(1e-9, high - low))).astype(np.uint8)


def pictures(count: int, seed: int) -> Iterator[tuple[str, str, Any]]:
    """Yield the kind of size, the content and the picture, uint8[height, width, 3]."""
    random = np.random.default_rng(seed)
    for index in range(count):
        size = "large" if index % _LARGE == _LARGE - 1 else _SIZES[index % len(_SIZES)]
        content = _CONTENTS[index // len(_SIZES) % len(_CONTENTS)]
        yield size, content, _picture(random, *_size(random, size), content)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100_000, help="pictures (100,000)")
    parser.add_argument("--seed", type=int, default=result.SEED)
    parser.add_argument("--out", type=Path, help="where to write the result; default: bench/results/identity.json")
    options = parser.parse_args()
    import pdqhash

    assert compiled.load(), "the kernels need Numba: pip install 'hashhub[kernels]'"
    rows: dict[str, dict[str, Any]] = {}
    choices = np.random.default_rng(options.seed + 1)
    began = time.perf_counter()
    for index, (size, content, picture) in enumerate(pictures(options.count, options.seed)):
        mirrors = MIRRORS if choices.random() < _IN_MIRRORED_FORMS else [_UPRIGHT]
        kernels = pdq.compute(picture, mirrors)
        by_numpy = choices.random() < _BY_NUMPY and min(picture.shape[:2]) >= _LEAST_SIDE
        numpys = pdq.compute_with_numpy(picture, mirrors) if by_numpy else None
        row = rows.setdefault(
            size,
            {
                "sizes": size,
                "pictures": 0,
                "mirrored": 0,
                "mirrored_differ": 0,
                "mirrored_bits": 0,
                "pixels": 0,
                "kernels_differ": 0,
                "by_numpy": 0,
                "numpy_differs": 0,
            },
        )
        row["pictures"] += 1
        row["pixels"] += picture.shape[0] * picture.shape[1]
        for mirror in mirrors:
            bits, quality = pdqhash.compute(mirrored(picture, mirror))
            reference = (int("".join(map(str, bits)), 2), quality)
            if mirror != _UPRIGHT:
                apart = (kernels[mirror][0] ^ reference[0]).bit_count() if quality >= _HASHED_QUALITY else 0
                row["mirrored"] += 1
                row["mirrored_differ"] += apart > 0 or kernels[mirror][1] != quality
                row["mirrored_bits"] = max(row["mirrored_bits"], apart)
                continue
            row["kernels_differ"] += kernels[mirror] != reference
            row["by_numpy"] += numpys is not None
            row["numpy_differs"] += numpys is not None and numpys[mirror] != reference
            if kernels[mirror] != reference or (numpys is not None and numpys[mirror] != reference):
                print(f"picture {index} ({size}, {content}, {picture.shape}, {mirror}) differs", flush=True)
    result.show(list(rows.values()))
    result.save(
        "identity",
        {"count": options.count, "seconds": round(time.perf_counter() - began)},
        list(rows.values()),
        out=options.out,
        packages=("numpy", "numba", "pdqhash"),
        seed=options.seed,
    )
    assert not any(row["kernels_differ"] or row["numpy_differs"] for row in rows.values())


if __name__ == "__main__":
    main()
