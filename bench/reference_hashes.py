"""Our PDQ against the C++ reference, bit by bit, on 800 generated pictures and their mirrored forms.

    python -m bench.reference_hashes            compare the reference, our PDQ and tests/hashing/pdq_reference.txt
    python -m bench.reference_hashes --renew    write that file from the reference

The reference (github.com/facebook/ThreatExchange, pdq/cpp, which `pdqhash` wraps) has no wheel, so that installing it
takes a C++ compiler. The tests compare with its recorded answers instead; this is the live comparison.

The pictures must be the same to the bit wherever they are made, so they come from SHAKE-128 and integer arithmetic:
no generator of NumPy and no resampling of Pillow, which later versions may change.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np

from hashhub.hashing.pdq import compute

Pixels: TypeAlias = np.ndarray[Any, np.dtype[np.uint8]]
Numbers: TypeAlias = np.ndarray[Any, np.dtype[np.int32]]
Mirror: TypeAlias = tuple[bool, bool]
Hashed: TypeAlias = tuple[int, int]  # hash, quality

RECORDED: Final = Path(__file__).parent.parent / "tests" / "hashing" / "pdq_reference.txt"
COUNT: Final = 800
MIRRORS: Final[list[Mirror]] = [
    (left_right, top_bottom) for left_right in (False, True) for top_bottom in (False, True)
]

# 5 is the smallest side that is hashed, 64 the number of samples; windows grow at 129, 257, ….
_SIDES: Final = (4, 5, 63, 64, 65, 127, 128, 129, 255, 256, 257)
_LONGEST: Final = 400  # of any other side, but of one picture in 40
_LONGEST_OF_LARGE: Final = 1600
_CONTRASTS: Final = (0, 3, 255)  # a flat picture's hash is the rounding alone: the severest test there is
_BYTES: Final = 33  # of a hash and a quality, in the file


def picture(index: int) -> Pixels:
    """Return picture `index` of COUNT, uint8[height, width, 3].

    Those with an even index are noise of some contrast, the others light and shade at every scale as photographs have.
    """
    width, height = size(index)
    if index % 2:
        return _scene(index, width, height)
    contrast = _CONTRASTS[index // 2 % len(_CONTRASTS)]
    colour = np.asarray([part * (256 - contrast) >> 8 for part in _random(f"{index} colour", 3)])
    noise = np.frombuffer(_random(f"{index} noise", width * height * 3), np.uint8).astype(np.int64)
    pixels: Pixels = (colour + (noise.reshape(height, width, 3) * (contrast + 1) >> 8)).astype(np.uint8)
    return pixels


def size(index: int) -> tuple[int, int]:
    """Return the width and height of picture `index`."""
    choice = int.from_bytes(_random(f"{index} size", 8))
    longest = _LONGEST_OF_LARGE if index % 40 == 1 else _LONGEST
    return _side(choice & 0xFFFFFFFF, longest), _side(choice >> 32, longest)


def _random(name: str, count: int) -> bytes:
    return hashlib.shake_128(name.encode()).digest(count)


def _side(choice: int, longest: int) -> int:
    return _SIDES[choice // 2 % len(_SIDES)] if choice % 2 else 1 + choice // 2 % longest


def _scene(index: int, width: int, height: int) -> Pixels:
    total = np.zeros((height, width, 3), np.int32)
    for octave in range(2, 8):
        cells = (1 << octave) + 1
        grid = np.frombuffer(_random(f"{index} octave {octave}", cells * cells * 3), np.uint8).astype(np.int32)
        grid = grid.reshape(cells, cells, 3) + 3 * grid.reshape(cells, cells, 3)[:, :, :1]  # mostly shading
        total += _enlarged(_enlarged(grid, height).transpose(1, 0, 2), width).transpose(1, 0, 2) >> octave
    low, high = int(total.min()), int(total.max())
    return ((total - low) * 255 // max(1, high - low)).astype(np.uint8)


def _enlarged(grid: Numbers, rows: int) -> Numbers:
    """Return `rows` rows between those of the grid, in proportion; all integers."""
    place = (np.arange(rows) * ((len(grid) - 1) * 256 - 1) // max(1, rows - 1)).astype(np.int32)
    at, share = place >> 8, (place & 255)[:, None, None]
    enlarged: Numbers = np.diff(grid, axis=0)[at]
    enlarged *= share
    enlarged += (grid << 8)[at]
    enlarged >>= 8
    return enlarged


def recorded() -> list[dict[Mirror, Hashed]]:
    """Return what the reference made of each picture, by mirrored form, as the file tells."""
    lines = [line for line in RECORDED.read_text("ascii").splitlines() if not line.startswith("#")]
    hashed = []
    for line in lines:
        data = base64.b64decode(line)
        parts = [data[at : at + _BYTES] for at in range(0, len(data), _BYTES)]
        hashed.append({mirror: (int.from_bytes(p[:-1]), p[-1]) for mirror, p in zip(MIRRORS, parts, strict=True)})
    return hashed


def mirrored(pixels: Pixels, mirror: Mirror) -> Pixels:
    """Return the picture after changing (left and right, top and bottom)."""
    left_right, top_bottom = mirror
    return np.ascontiguousarray(pixels[:: -1 if top_bottom else 1, :: -1 if left_right else 1])


def _by_the_reference() -> Iterator[dict[Mirror, Hashed]]:
    import pdqhash

    for index in range(COUNT):
        pixels = picture(index)
        hashed = {}
        for mirror in MIRRORS:
            bits, quality = pdqhash.compute(mirrored(pixels, mirror))
            hashed[mirror] = (int("".join(map(str, bits)), 2), quality)
        yield hashed


def fingerprint() -> str:
    """Return the SHA-256 of all pictures, to tell other pictures from other hashes."""
    total = hashlib.sha256()
    for index in range(COUNT):
        pixels = picture(index)
        total.update(repr(pixels.shape).encode() + pixels.tobytes())
    return total.hexdigest()


def _write(hashed: list[dict[Mirror, Hashed]]) -> None:
    head = [
        f"# What pdqhash {version('pdqhash')}, the C++ reference, on x86-64 made of the pictures that",
        "# `python -m bench.reference_hashes --renew` generates. A line for each, base64: 32 bytes of hash and one of",
        "# quality, for the picture as it is, top and bottom changed, left and right changed, and both.",
        f"# SHA-256 of the pictures: {fingerprint()}",
    ]
    body = [
        base64.b64encode(b"".join(h.to_bytes(32) + bytes((quality,)) for h, quality in by_mirror.values())).decode()
        for by_mirror in hashed
    ]
    RECORDED.write_text("\n".join([*head, *body]) + "\n", "ascii")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--renew", action="store_true", help="write the file that the tests compare with")
    hashed = list(_by_the_reference())
    if parser.parse_args().renew:
        _write(hashed)
    known = recorded()
    assert len(known) == COUNT, "the file is of other pictures; use --renew"
    ours = [compute(picture(index), MIRRORS) for index in range(COUNT)]
    different = [i for i in range(COUNT) if not hashed[i] == known[i] == ours[i]]
    assert not different, f"not the same: pictures {different[:20]}"
    print(f"{COUNT} pictures, {len(MIRRORS)} forms of each: the reference, ours and the recorded hashes are the same")


if __name__ == "__main__":
    main()
