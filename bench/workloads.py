"""Digests and queries to measure matchers with, the same for every engine of a run.

uniform     independent random bits: what the theory speaks of
pdq, phash  those of synthetic pictures, padded to n with digests of like statistics; queries are held-out pictures
clustered   half of the digests are near-duplicates of popular items, in clusters whose sizes follow Zipf's law

Padding draws from a Gaussian copula: vectors with the correlation that the pictures' bits have, cut at their median as
PDQ and pHash cut theirs. `statistics` says how alike the two are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bench import pictures

Digests = NDArray[np.uint8]

WORKLOADS: Final = ("uniform", "pdq", "phash", "clustered")
_HELD_OUT: Final = 4096  # pictures that only ask
_CHUNK: Final = 250_000
_NEAR: Final = 20  # bits by which the members of a cluster differ from its centre, at most
_PLANTED: Final = 5  # one query of so many is near a stored digest


@dataclass(frozen=True)
class Workload:
    """`base` uint8[n, bytes], distinct; `queries` uint8[q, bytes]; `facts` goes into the result file."""

    base: Digests
    queries: Digests
    facts: dict[str, Any]


def make(kind: str, n: int, query_count: int, radii: Sequence[int], seed: int) -> Workload:
    """Return n distinct digests and the queries about them: one of five is a stored digest with some bits flipped, for
    each radius in turn.

    Of those, half have exactly as many flipped as the radius and a tenth one more, which must not be found; the others
    have fewer.
    """
    rng = np.random.default_rng([seed, n, WORKLOADS.index(kind)])
    facts: dict[str, Any] = {}
    if kind in {"pdq", "phash"}:
        real = pictures.load()[kind]
        real, held_out = real[:-_HELD_OUT], real[-_HELD_OUT:]
        model = Copula(real)
        base = np.concatenate([real[:n], *model.draw(max(0, n - len(real)), rng)])
        queries = held_out[rng.choice(len(held_out), min(query_count, len(held_out)), replace=False)]
        facts = {
            "pictures": min(n, len(real)),
            "bit_pairs_real": statistics(real, rng),
            "bit_pairs_padding": statistics(np.concatenate(list(model.draw(100_000, rng))), rng),
        }
    else:
        base = _random(n, 32, rng)
        queries = _random(query_count, 32, rng)
        if kind == "clustered":
            facts = _cluster(base, rng)
    base = _distinct(base, rng)
    _plant(base, queries, radii, rng)
    return Workload(base, queries, facts)


def _random(n: int, width: int, rng: np.random.Generator) -> Digests:
    return rng.integers(0, 256, (n, width), np.uint8)


class Copula:
    """Digests whose bits have the pairwise correlations of a sample."""

    def __init__(self, sample: Digests) -> None:
        """Fit to uint8[n, bytes]."""
        bits = np.unpackbits(sample[:200_000], axis=1).astype(np.float32) - 0.5
        mean = bits.mean(axis=0)
        # The first bit of a pHash, the mean brightness, is always above the median.
        self._constant = np.where(np.abs(mean) == 0.5, np.copysign(np.float32(np.inf), mean), 0)
        with np.errstate(invalid="ignore"):
            correlation = np.nan_to_num(np.corrcoef(bits, rowvar=False))
        latent = np.sin(np.pi / 2 * correlation)  # of Gaussians that are cut at 0 (Sheppard 1899)
        values, vectors = np.linalg.eigh(latent)
        self._root = (vectors * np.sqrt(np.maximum(values, 1e-6))).astype(np.float32)

    def draw(self, n: int, rng: np.random.Generator) -> Iterator[Digests]:
        """Yield n digests in chunks."""
        for start in range(0, n, _CHUNK):
            size = min(_CHUNK, n - start)
            values = rng.standard_normal((size, len(self._root)), np.float32) @ self._root.T + self._constant
            median = np.median(values, axis=1, keepdims=True)
            yield np.packbits(values > median, axis=1)


def statistics(digests: Digests, rng: np.random.Generator, pairs: int = 1_000_000) -> dict[str, float]:
    """Return the mean, the standard deviation and low quantiles of the distance between random pairs."""
    words = np.ascontiguousarray(digests).view(np.uint64)
    left, right = rng.integers(0, len(words), (2, pairs))
    kept = left != right
    distance = np.bitwise_count(words[left[kept]] ^ words[right[kept]]).sum(axis=1, dtype=np.int32)
    low = np.quantile(distance, [0.0001, 0.001, 0.01])
    return {
        "mean": float(distance.mean()),
        "deviation": float(distance.std()),
        "q0.0001": float(low[0]),
        "q0.001": float(low[1]),
        "q0.01": float(low[2]),
    }


def _cluster(base: Digests, rng: np.random.Generator) -> dict[str, Any]:
    """Turn the second half into clusters around digests of the first half."""
    n = len(base)
    start = n // 2
    sizes = np.maximum(2, max(2, n // 100) // np.arange(1, n // 4 + 2))
    sizes = sizes[: np.searchsorted(np.cumsum(sizes), n - start) + 1]  # the last one is cut off
    centres = np.repeat(rng.integers(0, start, len(sizes)), sizes)[: n - start]
    for at in range(start, n, _CHUNK):
        members = base[centres[at - start : at - start + _CHUNK]]
        flips = rng.integers(1, _NEAR + 1, len(members))
        # The k-th flipped bit of every member that has one; the same bit twice only lowers its distance.
        for k in range(_NEAR):
            active = np.flatnonzero(flips > k)
            bit = rng.integers(0, 256, len(active))
            members[active, bit // 8] ^= (1 << (bit % 8)).astype(np.uint8)
        base[at : at + _CHUNK] = members
    return {"clusters": len(sizes), "largest_cluster": int(sizes[0])}


def _distinct(base: Digests, rng: np.random.Generator) -> Digests:
    """Replace repeated digests by random ones, in place: engines differ in what they do with repeats."""
    words = base.view(np.uint64)
    mixed = np.zeros(len(words), np.uint64)
    for w, odd in enumerate(rng.integers(0, 2**63, words.shape[1], np.uint64) * 2 + 1):
        mixed += words[:, w] * odd
    ordered = np.sort(mixed)
    suspect = np.flatnonzero(np.isin(mixed, ordered[1:][ordered[1:] == ordered[:-1]]))
    if len(suspect):
        _, first = np.unique(base[suspect].view(f"V{base.shape[1]}").ravel(), return_index=True)
        again = np.delete(suspect, first)
        base[again] = _random(len(again), base.shape[1], rng)
    return base


def _plant(base: Digests, queries: Digests, radii: Sequence[int], rng: np.random.Generator) -> None:
    bits = 8 * base.shape[1]
    for i, query in enumerate(range(0, len(queries), _PLANTED)):
        radius = radii[i % len(radii)]
        planted = base[rng.integers(len(base))].copy()
        kind = rng.random()
        flips = radius if kind < 0.5 else radius + 1 if kind < 0.6 else int(rng.integers(0, radius + 1))
        for bit in rng.choice(bits, min(flips, bits), replace=False):
            planted[bit // 8] ^= 1 << (bit % 8)
        queries[query] = planted


def truth(workload: Workload, max_distance: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return, by comparing everything, where each query's matches are: lims int64[q + 1] and rows of `base`
    int64[k].
    """
    base = np.ascontiguousarray(workload.base).view(np.uint64)
    queries = np.ascontiguousarray(workload.queries).view(np.uint64)
    found: list[list[NDArray[np.int64]]] = [[] for _ in queries]
    for start in range(0, len(base), _CHUNK):
        part = base[start : start + _CHUNK]
        distance = np.empty(len(part), np.uint16)
        for i, query in enumerate(queries):
            distance[:] = np.bitwise_count(part[:, 0] ^ query[0])
            for w in range(1, part.shape[1]):
                distance += np.bitwise_count(part[:, w] ^ query[w])
            near = np.flatnonzero(distance <= max_distance)
            if len(near):
                found[i].append(near + start)
    rows = [np.concatenate(f) if f else np.empty(0, np.int64) for f in found]
    lims = np.concatenate([[0], np.cumsum([len(r) for r in rows])]).astype(np.int64)
    return lims, np.concatenate(rows) if rows else np.empty(0, np.int64)


def save(workload: Workload, radii: Sequence[int], directory: Path) -> None:
    """Write what the engines' processes read: the digests, the queries and, for each radius, the truth."""
    np.save(directory / "base.npy", workload.base)
    np.save(directory / "queries.npy", workload.queries)
    for radius in radii:
        lims, rows = truth(workload, radius)
        np.savez(directory / f"truth-{radius}.npz", lims=lims, rows=rows)
