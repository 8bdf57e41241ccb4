"""Which engine answers a search, and with which thresholds: arithmetic alone.

A permuted digest is cut into chunks, one table each; chunks are paired into *regions*. A table groups digests by its
chunk's address bits, and keeps 16 bits of the partner chunk as a *fingerprint*. A search visits the groups within T_i
bits of the query's address, and reads a row where address and fingerprint together are within R_j bits.

Nothing is missed: if sum(R_j + 1) >= r + 1 over the regions, a digest within r bits has at most R_j differences in some
region; if sum(T_i + 1) >= R_j + 1 over that region's tables, one of them finds it ("GPH", ICDE 2018). -1: unused.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from math import comb
from typing import Final

FINGERPRINT_BITS: Final = 16

SCAN_BELOW: Final = 4096
"""Digests below which tables are not built: comparing all of them takes 6 µs. Measured, the two meet between 5,000 and
8,000.
"""

# Nanoseconds, one core of a 2.6 GHz EPYC with an index larger than its caches. They only decide between engines, so a
# factor of two is enough; `docs/decisions/` has the measurements.
_VISIT_NS: Final = 20.0
_FINGERPRINT_NS: Final = 0.4
_CANDIDATE_NS: Final = 60.0
_COMPARE_NS: Final = 1.3


class SearchEngine(StrEnum):
    """How one segment is searched."""

    SORTED = "SORTED"
    """Binary search in the sorted digests: exact algorithms, and distance 0 of any other."""
    TABLES = "TABLES"
    """Multi-index hashing: Hamming distances on large segments."""
    SCAN = "SCAN"
    """Every digest compared, by our own kernel: small segments, and squared Euclidean distances."""
    FAISS = "FAISS"
    """Every digest compared, by FAISS: large segments, at Hamming radii too large for their tables."""


@dataclass(frozen=True, slots=True)
class DigestLayout:
    """The tables of one segment: an even number, each with an address of `address_bits`, at least FINGERPRINT_BITS.

    Table i has its address at bit `i * address_bits` of the permuted digest. Tables 2j and 2j + 1 are each other's
    partners.
    """

    tables: int
    address_bits: int

    @property
    def regions(self) -> tuple[tuple[int, ...], ...]:
        """The tables of each region."""
        return tuple((t, t + 1) for t in range(0, self.tables, 2))

    def fingerprint_bit(self, table: int) -> int:
        """Where the table's fingerprint starts in the permuted digest: with its partner's address."""
        return (table ^ 1) * self.address_bits


_FAISS_FROM: Final = 100_000
"""Digests from which a scan is FAISS's. Measured: ours 23 µs and FAISS's 28 µs at 16,384; 2.4 ms and 1.6 ms at 1 M."""

_LEAN_ABOVE: Final = 40_000_000
"""256-bit digests from which memory decides: at 100 M, 12 tables take 10.2 GB where 16 take 12.6, and were 9 % slower
(179 µs, 164 µs). Between 10 M and 100 M nothing was measured; the number is a choice."""


def layout_for(bits: int, count: int) -> DigestLayout:
    """Return the layout for a segment of `count` Hamming digests of this width.

    16-bit chunks: a radius of 31 needs only one flipped bit in each of 16 chunks, 272 visits, and long groups are read
    in order at the speed of memory. Very large segments of 256-bit digests have 12 tables with addresses of 20 bits
    instead.
    """
    if bits == 256 and count >= _LEAN_ABOVE:  # noqa: PLR2004 - the width of PDQ
        return DigestLayout(tables=12, address_bits=20)
    return DigestLayout(tables=bits // FINGERPRINT_BITS, address_bits=FINGERPRINT_BITS)


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What a search at one radius visits. in_chunk[i]: T_i; in_region[i]: the R_j of table i's region; -1: unused."""

    in_chunk: tuple[int, ...]
    in_region: tuple[int, ...]
    visits: int
    fingerprints: float
    candidates: float

    @property
    def nanoseconds(self) -> float:
        """The estimated time of one query."""
        return self.visits * _VISIT_NS + self.fingerprints * _FINGERPRINT_NS + self.candidates * _CANDIDATE_NS


def ball(bits: int, radius: int) -> int:
    """Return how many values of `bits` bits lie within `radius` bits of a given one; 0 for a negative radius."""
    return sum(comb(bits, d) for d in range(min(bits, radius) + 1))


@lru_cache(maxsize=4096)
def thresholds(layout: DigestLayout, count: int, max_distance: int) -> Thresholds:
    """Deal `max_distance + 1` units to the regions, each where it costs least, for a segment of `count` digests."""
    regions = layout.regions
    units = [0] * len(regions)
    for _ in range(max_distance + 1):
        cost = [
            _region_cost(layout, len(region), units[j] + 1, count) - _region_cost(layout, len(region), units[j], count)
            for j, region in enumerate(regions)
        ]
        units[cost.index(min(cost))] += 1
    in_chunk: list[int] = []
    in_region: list[int] = []
    for region, given in zip(regions, units, strict=True):
        in_chunk += _split(given, len(region))
        in_region += [given - 1] * len(region)
    work = [_table_work(layout, t, r, count) for t, r in zip(in_chunk, in_region, strict=True)]
    return Thresholds(
        tuple(in_chunk),
        tuple(in_region),
        visits=sum(ball(layout.address_bits, t) for t in in_chunk),
        fingerprints=sum(w[0] for w in work),
        candidates=sum(w[1] for w in work),
    )


def _split(units: int, tables: int) -> list[int]:
    """Return the chunk thresholds that share `units` between the tables of one region."""
    return [(units + tables - 1 - t) // tables - 1 for t in range(tables)]


def _table_work(layout: DigestLayout, in_chunk: int, in_region: int, count: int) -> tuple[float, float]:
    """Return the expected fingerprints scanned and candidates passed by one table."""
    group = count / 2.0**layout.address_bits
    scanned = ball(layout.address_bits, in_chunk) * group
    passed = sum(
        comb(layout.address_bits, d) * ball(FINGERPRINT_BITS, in_region - d) / 2.0**FINGERPRINT_BITS
        for d in range(in_chunk + 1)
    )
    return scanned, passed * group


@lru_cache(maxsize=4096)
def _region_cost(layout: DigestLayout, tables: int, units: int, count: int) -> float:
    total = 0.0
    for in_chunk in _split(units, tables):
        scanned, passed = _table_work(layout, in_chunk, units - 1, count)
        visits = ball(layout.address_bits, in_chunk)
        total += visits * _VISIT_NS + scanned * _FINGERPRINT_NS + passed * _CANDIDATE_NS
    return total


@dataclass(frozen=True, slots=True)
class DigestPart:
    """How one segment is searched, and why. `thresholds` is None unless the engine is TABLES."""

    engine: SearchEngine
    why: str
    count: int
    expected_ns: float
    thresholds: Thresholds | None = None


def choose(layout: DigestLayout | None, count: int, max_distance: int, *, scan_only: bool = False) -> DigestPart:
    """Choose the engine for a segment of `count` digests. layout: None: it has no tables. scan_only: not Hamming."""
    if max_distance == 0:
        return DigestPart(SearchEngine.SORTED, "distance 0 is a look-up in the sorted digests", count, 200.0)
    scan_ns = count * _COMPARE_NS
    if scan_only:
        return DigestPart(SearchEngine.SCAN, "squared Euclidean distances have no tables", count, 10 * scan_ns)
    if layout is None:
        return DigestPart(SearchEngine.SCAN, f"fewer than {SCAN_BELOW:,} digests", count, scan_ns)
    tables = thresholds(layout, count, max_distance)
    if tables.nanoseconds < scan_ns:
        return DigestPart(
            SearchEngine.TABLES, "the tables compare the fewest digests", count, tables.nanoseconds, tables
        )
    why = f"at {max_distance} bits the tables would visit {tables.visits:,} groups"
    return DigestPart(SearchEngine.FAISS if count >= _FAISS_FROM else SearchEngine.SCAN, why, count, scan_ns)
