"""Which windows a thorough search lays onto an upload: chosen from hundreds, for `hashhub.hashing.variants.WINDOWS`.

    python -m bench.windows --count 100

Pictures are cut in many ways, and asked about cut where the whole is listed (windows larger than the upload, mirrored)
and whole where the cut one is listed (windows into the upload). Windows are taken one at a time, each time the one that
brings most of these cases within reach; a case well within reach counts more than one at its edge, because what else
happens to a picture costs bits, too. The pictures are not those that bench.robustness measures with.
"""

from __future__ import annotations

import argparse
import itertools
from random import Random
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bench import result
from bench.robustness import cut
from hashhub.hashing.pdq import compute
from hashhub.hashing.variants import Box, Window, window_hashes
from hashhub.testing.pictures import picture

_FIRST_SEED: Final = 200
_SIZES: Final = ((512, 384), (384, 512), (640, 480), (560, 420))
_UPRIGHT: Final = (False, False)
_EDGE: Final = 38  # bits at which a case counts for nothing, and `_SURE` fewer at which it counts in full
_SURE: Final = 14
_WITHIN: Final = 31

# How much the cases of a kind count together, asked about when cut and when whole.
_WEIGHTS: Final[dict[str, tuple[float, float]]] = {
    "3 % a side": (2, 1), "2 % a side": (1, 0.5), "4 % a side": (1, 0.5), "alike": (1.5, 1), "uneven": (1.5, 1),
    "more uneven": (1, 1), "one side": (1.5, 1), "two sides": (1, 0.7), "far": (0.3, 1), "aspect": (0.2, 1.5),
}  # fmt: skip


def pool() -> tuple[Window, ...]:
    """Return the windows to choose from."""
    sides: set[tuple[int, int, int, int]] = set()
    for sign in (-1, 1):
        sides |= {(sign * 5 * k,) * 4 for k in range(1, 15)}
        for steps in ((0, 20, 40), (0, 30, 60), (0, 15, 30)):
            sides |= {(sign * a, sign * b, sign * c, sign * d) for a, b, c, d in itertools.product(steps, repeat=4)}
        for taken in range(30, 130, 10):
            sides |= {tuple(sign * taken * (at == i) for at in range(4)) for i in range(4)}  # type: ignore[misc] # four
            sides |= {(sign * taken, 0, sign * taken, 0), (0, sign * taken, 0, sign * taken)}
    sides |= {(taken,) * 4 for taken in (75, 85, 95, 105, 115, 130, 145)}
    for taken in range(125, 245, 15):
        sides |= {(taken, 0, taken, 0), (0, taken, 0, taken)}
    return tuple(Window(*each) for each in sorted(sides - {(0, 0, 0, 0)}))


def cases(rng: Random) -> list[tuple[str, tuple[float, float, float, float]]]:
    """Return what is cut off one picture, by kind: shares of left, top, right and bottom."""
    ways: list[tuple[str, tuple[Any, ...]]] = [
        *[("3 % a side", (0.03,) * 4)] * 2, ("2 % a side", (0.02,) * 4), ("4 % a side", (0.04,) * 4),
        ("alike", (rng.uniform(0.01, 0.05),) * 4),
        *[("uneven", tuple(rng.uniform(0, 0.04) for _ in range(4))) for _ in range(3)],
        *[("one side", tuple(rng.uniform(0.05, 0.1) * (at == i) for at in range(4))) for i in range(4)],
        ("two sides", (x := rng.uniform(0.02, 0.06), 0, x, 0)), ("two sides", (0, x := rng.uniform(0.02, 0.06), 0, x)),
        ("far", (rng.uniform(0.05, 0.14),) * 4),
        ("aspect", (x := rng.uniform(0.1, 0.2), 0, x, 0)), ("aspect", (0, x, 0, x)), ("aspect", (0.125, 0, 0.125, 0)),
        ("more uneven", tuple(rng.uniform(0, 0.06) for _ in range(4))),
    ]  # fmt: skip
    return ways


def distances(seed: int, windows: tuple[Window, ...]) -> tuple[list[str], NDArray[np.uint8]]:
    """Return the kinds of a picture's cases, cut and whole in turn, and their distances by window."""

    def digest(image: Any) -> NDArray[np.uint8]:
        return np.frombuffer(compute(np.asarray(image), [_UPRIGHT])[_UPRIGHT][0].to_bytes(32), np.uint8)

    whole = picture(seed, _SIZES[seed % len(_SIZES)])
    onto_whole, _ = window_hashes(whole, Box(0, 0, *whole.size), windows)
    kinds, rows = [], []
    for kind, shares in cases(Random(seed)):
        part = cut(*shares, whole)
        onto_part, _ = window_hashes(part, Box(0, 0, *part.size), windows)
        kinds.append(kind)
        rows.append(np.bitwise_count(onto_part ^ digest(whole)).sum(axis=1))
        rows.append(np.bitwise_count(onto_whole ^ digest(part)).sum(axis=1))
    return kinds, np.array(rows)


def choose(kinds: list[str], far: NDArray[np.int64], most: int) -> list[int]:
    """Return which windows to take, the best first, by distances int64[2 * cases, windows]."""
    weights = np.array([_WEIGHTS[kind][way] / kinds.count(kind) for kind in kinds for way in (0, 1)])
    worth = np.clip((_EDGE - far) / _SURE, 0, 1)
    reached = np.zeros(len(far))
    chosen: list[int] = []
    for _number in range(most):
        gains = weights @ (np.maximum(worth, reached[:, None]) - reached[:, None])
        chosen.append(int(np.argmax(gains)))
        reached = np.maximum(reached, worth[:, chosen[-1]])
    return chosen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100, help="pictures (100)")
    parser.add_argument("--most", type=int, default=112, help="windows to choose (112)")
    options = parser.parse_args()
    windows = pool()
    measured = [distances(_FIRST_SEED + i, windows) for i in range(options.count)]
    kinds = [kind for of_picture, _ in measured for kind in of_picture]
    far = np.concatenate([rows for _, rows in measured]).astype(np.int64)
    chosen = choose(kinds, far, options.most)
    within = (far <= _WITHIN).reshape(len(kinds), 2, -1)
    result.show(
        [
            {
                "cut": kind,
                **{
                    f"{what}, {n}": float(within[[k == kind for k in kinds], way][:, chosen[:n]].any(axis=1).mean())
                    for way, what in enumerate(("cut asks", "whole asks"))
                    for n in (options.most // 2, options.most)
                },
            }
            for kind in _WEIGHTS
        ]
    )
    print(f"of {len(windows)}:", *(tuple(windows[i]) for i in chosen), sep="\n")


if __name__ == "__main__":
    main()
