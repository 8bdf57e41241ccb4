"""How often an unrelated picture matches, against the size of the list: measured on synthetic pictures, not assumed.

    python -m bench.false_positives --n 10000000

Every picture is another scene, so that each match between two of them is false. Held-out pictures ask lists of growing
size; the share of them that match anything is the false-positive rate of an upload. Where the pictures at hand do not
fill a list, it is padded with digests that have the pictures' statistics (bench/workloads.py), fitted to the listed
pictures only; one list is also made of padding alone, to show how well that stands in. No match observed is not a rate
of zero, so each rate has an upper bound (95 %, Wilson's interval): with no match among q queries it is about 4 / q.
Beside it stand what independent random bits would give, which is nothing at all, and what the pairs of real pictures
alone let
expect: a pair's chance p makes 1 - (1 - p) ** n.
"""

from __future__ import annotations

import argparse
from math import comb
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bench import pictures, result, workloads
from hashhub.hygiene import MIN_PDQ_QUALITY
from hashhub.matcher import Matcher

_SIZES: Final = (1_000, 10_000, 100_000, 1_000_000, 10_000_000)
_FEWEST: Final = 500  # queries
_DEVIATIONS: Final = 1.96  # of a normal distribution that 95 % lie within


def measure(algorithm: str, radii: list[int], most: int, seconds: float) -> list[dict[str, Any]]:
    """Measure one algorithm with lists of up to `most` digests; each list and radius gets as many queries as these
    seconds allow.
    """
    taken = pictures.load()
    digests = taken[algorithm.lower()][taken["quality"] >= MIN_PDQ_QUALITY]  # hygiene lists no others
    asking = len(digests) // 5
    listed, queries = digests[:-asking], digests[-asking:]
    sizes = sorted({n for n in (*_SIZES, len(listed)) if n <= most})
    padding = _padding(listed, max(0, sizes[-1] - len(listed), min(len(listed), most)))
    lists = [(n, min(n, len(listed))) for n in sizes] + [(min(len(listed), most), 0)]
    rows: list[dict[str, Any]] = []
    pairs_of_pictures: dict[int, tuple[int, int]] = {}
    for n, real in lists:
        with Matcher() as matcher:
            matcher.rebuild(1, [(algorithm, listed[:real]), (algorithm, padding[: n - real])])
            for radius in radii:
                affordable = int(seconds * 1e6 / matcher.explain(algorithm, radius).expected_microseconds)
                asked = queries[: max(_FEWEST, affordable)]
                lims = matcher.search(algorithm, asked, max_distance=radius).lims
                hits, pairs = int((np.diff(lims) > 0).sum()), int(lims[-1])
                if n == real:  # the largest list of pictures alone, in the end
                    pairs_of_pictures[radius] = pairs, n * len(asked)
                near, compared = pairs_of_pictures[radius]
                padded = real and n > real
                rows.append(
                    {
                        "algorithm": algorithm,
                        "n": n,
                        "pictures": real,
                        "max_distance": radius,
                        "queries": len(asked),
                        "queries_matched": hits,
                        "pairs_matched": pairs,
                        "false_positive_rate": hits / len(asked),
                        "below": upper_bound(hits, len(asked)),
                        "expected_from_pairs": _any_of(n, near / compared) if padded else None,
                        "expected_below": _any_of(n, upper_bound(near, compared)) if padded else None,
                        "independent_bits": _independent(8 * digests.shape[1], radius, n),
                    }
                )
    return rows


def _padding(listed: NDArray[np.uint8], n: int) -> NDArray[np.uint8]:
    drawn = workloads.Copula(listed).draw(n, np.random.default_rng(result.SEED))
    return np.concatenate([listed[:0], *drawn])


def upper_bound(hits: int, queries: int) -> float:
    """Return the upper end of Wilson's interval for a share of which `hits` of `queries` were observed."""
    share, z2 = hits / queries, _DEVIATIONS**2
    spread = _DEVIATIONS * (share * (1 - share) / queries + z2 / (4 * queries**2)) ** 0.5
    return float((share + z2 / (2 * queries) + spread) / (1 + z2 / queries))


def _independent(bits: int, radius: int, n: int) -> float:
    chance = sum(comb(bits, d) for d in range(radius + 1)) / 2**bits
    return _any_of(n, chance)


def _any_of(n: int, chance: float) -> float:
    """Return the chance that any of n independent events of this chance happens."""
    return float(-np.expm1(n * np.log1p(-chance)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=_SIZES[-1], help="digests of the longest list (10,000,000)")
    parser.add_argument("--seconds", type=float, default=10.0, help="of one core, for each list and radius (10)")
    parser.add_argument("--radii", default="31,47,63,79", help="for PDQ (31,47,63,79)")
    parser.add_argument("--phash-radii", default="4,8,10", help="for pHash (4,8,10)")
    parser.add_argument(
        "--out", type=Path, help="where to write the result; default: bench/results/false-positives.json"
    )
    options = parser.parse_args()
    rows = measure("PDQ", [int(r) for r in options.radii.split(",")], options.n, options.seconds)
    rows += measure("PHASH", [int(r) for r in options.phash_radii.split(",")], options.n, options.seconds)
    result.show(rows)
    facts = {"pictures": len(pictures.load()["quality"]), "size": list(pictures.SIZE)}
    packages = ("numpy", "numba", "imagehash", "Pillow")
    result.save("false-positives", facts, rows, out=options.out, packages=packages)


if __name__ == "__main__":
    main()
