"""How often an unrelated picture matches, against the size of the index: measured on synthetic pictures, not assumed.

    python -m bench.false_positives --radii 31,47,63

Every picture is a different scene, so that each match between two of them is false. Held-out pictures ask indexes of growing size; the share
of them that match anything is the false-positive rate of an upload. Beside it stands what independent random bits would give, which is nothing
at all, and the rate extrapolated from all pairs: a pair's chance p makes 1 - (1 - p) ** n. Where no pair matched, only a bound is known.
"""

from __future__ import annotations

import argparse
from math import comb
from pathlib import Path
from typing import Any, Final

import numpy as np

from bench import pictures, result
from hashhub.matcher import Matcher

_ASKING: Final = 20_000
_EXTRAPOLATED: Final = (1_000_000, 10_000_000, 100_000_000)


def measure(algorithm: str, radii: list[int], asking: int) -> list[dict[str, Any]]:
    """Measure one algorithm."""
    digests = pictures.load()[algorithm.lower()]
    asking = min(asking, len(digests) // 5)
    index, queries = digests[:-asking], digests[-asking:]
    bits = 8 * digests.shape[1]
    sizes = [n for n in (1_000, 3_000, 10_000, 30_000, 100_000) if n < len(index)] + [len(index)]
    rows: list[dict[str, Any]] = []
    for n in sizes:
        with Matcher() as matcher:
            matcher.rebuild(1, [(algorithm, index[:n])])
            for radius in radii:
                lims = matcher.search(algorithm, queries, max_distance=radius).lims
                rows.append(
                    {
                        "algorithm": algorithm,
                        "n": n,
                        "max_distance": radius,
                        "measured": True,
                        "queries": asking,
                        "pairs_matched": int(lims[-1]),
                        "false_positive_rate": float((np.diff(lims) > 0).mean()),
                        "independent_bits": _independent(bits, radius, n),
                    }
                )
    for radius in radii:
        # Pairs of distinct pictures; the chance of one is all that the larger sizes are told from.
        [largest] = [r for r in rows if r["n"] == len(index) and r["max_distance"] == radius]
        chance = largest["pairs_matched"] / (len(index) * asking)
        # With 95 % confidence; Poisson, by the normal approximation where there is anything to approximate.
        bound = max(3.0, largest["pairs_matched"] + 2 * largest["pairs_matched"] ** 0.5) / (len(index) * asking)
        rows += [
            {
                "algorithm": algorithm,
                "n": n,
                "max_distance": radius,
                "measured": False,
                "pairs": len(index) * asking,
                "false_positive_rate": _any_of(n, chance),
                "false_positive_rate_below": _any_of(n, bound),
                "independent_bits": _independent(bits, radius, n),
            }
            for n in _EXTRAPOLATED
        ]
    return rows


def _independent(bits: int, radius: int, n: int) -> float:
    chance = sum(comb(bits, d) for d in range(radius + 1)) / 2**bits
    return _any_of(n, chance)


def _any_of(n: int, chance: float) -> float:
    """Return the chance that any of n independent events of this chance happens."""
    return float(-np.expm1(n * np.log1p(-chance)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--radii", default="31,47,63,71,79", help="for PDQ (31,47,63,71,79)")
    parser.add_argument("--phash-radii", default="4,8,10", help="for pHash (4,8,10)")
    parser.add_argument("--asking", type=int, default=_ASKING, help="held-out pictures that ask (20,000)")
    parser.add_argument(
        "--out", type=Path, help="where to write the result; default: bench/results/false-positives.json"
    )
    options = parser.parse_args()
    rows = measure("PDQ", [int(r) for r in options.radii.split(",")], options.asking)
    rows += measure("PHASH", [int(r) for r in options.phash_radii.split(",")], options.asking)
    result.show(
        rows,
        (
            "algorithm",
            "n",
            "max_distance",
            "measured",
            "pairs_matched",
            "false_positive_rate",
            "false_positive_rate_below",
            "independent_bits",
        ),
    )
    facts = {"pictures": len(pictures.load()["quality"]), "size": list(pictures.SIZE)}
    result.save(
        "false-positives", facts, rows, out=options.out, packages=("numpy", "numba", "pdqhash", "imagehash", "Pillow")
    )


if __name__ == "__main__":
    main()
