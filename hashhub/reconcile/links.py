"""Entries about the same media: by equal exact digests, and, apart from that and weaker, by perceptual hashes.

What many entries share is told as a star around the first by hash set and number: ten thousand entries with one digest
give 9,999 links, not 50 million, and whoever follows links reaches them all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from hashhub.cancellation import check
from hashhub.hashes import ALGORITHMS
from hashhub.matcher import DigestPair, NearDigests
from hashhub.model import number_of
from hashhub.reconcile import comparison
from hashhub.reconcile.comparison import EXACT, PERCEPTUAL, GroupSet, insert
from hashhub.reconcile.extract import arrow
from hashhub.reconcile.results import By, Link, Progress

if TYPE_CHECKING:
    from hashhub.reconcile.extract import Extract

MOST_NEAR: Final = 100
"""Of a digest that is near to more digests of entries before its own than this, the nearest so many are linked."""
_STRENGTH: Final = sorted(EXACT, key=lambda name: -ALGORITHMS[name].digest_bytes)


def links(extract: Extract, *, near: bool = True, progress: Progress | None = None) -> Iterator[Link]:
    """Yield the links between ACTIVE entries, within hash sets and across them: first the exact ones, by hash set
    and number, then for each perceptual hash algorithm the near ones. `left` is the entry that comes first by these.

    A near link is between entries that no exact digest connects, also not by way of others. Raises what
    `Extract.connect` raises.
    """
    told = progress or comparison.silent
    algorithms = tuple(PERCEPTUAL) if near else ()
    with extract.connect() as connection:
        groups = comparison.groups_of(extract, extract.hash_sets(), By.HASH_SET)
        told(0, 1 + len(algorithms), "exact digests")
        connection.execute("CREATE TEMP TABLE exact (a BIGINT, ga INTEGER, b BIGINT, gb INTEGER, algorithms INTEGER)")
        connection.execute(f"INSERT INTO exact {stars(comparison.exact_rows(extract, groups))}")
        yield from _exact_links(connection, groups)
        if algorithms:
            pairs = connection.sql("SELECT a, b FROM exact").fetchnumpy()
            # The entries that exact digests connect, and for each the first that it is connected with.
            ids, items = comparison.components(pairs["a"].astype(np.int64), pairs["b"].astype(np.int64))
            for step, algorithm in enumerate(algorithms):
                told(1 + step, 1 + len(algorithms), f"near {algorithm} hashes")
                yield from _near_links(extract, groups, connection, algorithm, ids, items)


def stars(rows: str) -> str:
    """Return a SELECT of the links between entries with an exact digest in common, of `comparison.exact_rows`: a, b
    (entries, a < b), their groups ga and gb, and by which algorithms, as bits in the order of EXACT.
    """
    # Bits and not a list: DuckDB cannot put lists that it gathers on the disk.
    bit = " ".join(f"WHEN '{name}' THEN {1 << i}" for i, name in enumerate(EXACT))
    return (
        f"WITH d AS NOT MATERIALIZED ({rows}), "  # noqa: S608 - our own text
        "c AS (SELECT h FROM d GROUP BY h HAVING min(entry) <> max(entry)), "
        "r AS MATERIALIZED (SELECT * FROM d SEMI JOIN c USING (h)), "
        "m AS (SELECT algorithm, digest, min(entry) AS a, arg_min(g, entry) AS ga FROM r GROUP BY algorithm, digest) "
        f"SELECT m.a, any_value(m.ga), r.entry, any_value(r.g), bit_or(CASE algorithm {bit} END) "
        "FROM r JOIN m USING (algorithm, digest) WHERE r.entry <> m.a GROUP BY m.a, r.entry"
    )


def _exact_links(connection: Any, groups: GroupSet) -> Iterator[Link]:
    query = "SELECT a, ga, b, gb, algorithms FROM exact ORDER BY a, b"
    for a, ga, b, gb, algorithms in comparison.rows(connection, query):
        shared = [name for name in _STRENGTH if algorithms >> EXACT.index(name) & 1]
        yield Link(
            left=f"{groups.names[ga]}/{number_of(a)}",
            right=f"{groups.names[gb]}/{number_of(b)}",
            algorithm=shared[0],
            distance=0,
            is_exact=True,
            why=f"both have the same {_listed(shared)}",
        )


def _listed(algorithms: Sequence[str]) -> str:
    names = " and ".join([", ".join(algorithms[:-1]), algorithms[-1]]) if len(algorithms) > 1 else algorithms[0]
    return f"{names} digest{'s' * (len(algorithms) > 1)}"


def _near_links(
    extract: Extract,
    groups: GroupSet,
    connection: Any,
    algorithm: str,
    ids: NDArray[np.int64],
    items: NDArray[np.int64],
) -> Iterator[Link]:
    found = comparison.near_index(extract, groups, connection, algorithm)
    if found is None:
        return
    entries, of_group, places, index = found
    nearest_of = _EntryDistances(entries, places, index)
    at = np.searchsorted(ids, entries)
    at[at == len(ids)] = 0
    item = np.where(ids[at] == entries, items[at], entries) if len(ids) else entries
    # Of each item one entry stands at a digest's place, and of all at a place the first one is its middle.
    order = np.lexsort((entries, item, places))
    entries, of_group, places, item = entries[order], of_group[order], places[order], item[order]
    stands = np.ones(len(places), np.bool_)
    stands[1:] = (places[1:] != places[:-1]) | (item[1:] != item[:-1])
    entries, of_group, places, item = entries[stands], of_group[stands], places[stands], item[stands]
    order = np.lexsort((entries, places))
    entries, of_group, places, item = entries[order], of_group[order], places[order], item[order]
    middle = np.searchsorted(places, np.arange(len(index)))
    connection.execute("CREATE OR REPLACE TEMP TABLE near_pairs (a BIGINT, ga INTEGER, b BIGINT, gb INTEGER)")

    def add(one: NDArray[np.int64], other: NDArray[np.int64]) -> None:
        apart = item[one] != item[other]
        one, other = one[apart], other[apart]
        low = np.where(entries[one] < entries[other], one, other)
        high = one + other - low
        columns = {
            "a": entries[low],
            "ga": of_group[low].astype(np.int32),
            "b": entries[high],
            "gb": of_group[high].astype(np.int32),
        }
        insert(connection, "near_pairs", arrow().table(columns))

    add(middle[places], np.arange(len(places)))
    for part in index.near(PERCEPTUAL[algorithm]):
        nearest = _nearest(part, entries[middle])
        add(middle[nearest.left], middle[nearest.right])
    yield from _told(connection, groups, algorithm, nearest_of)


def _nearest(part: DigestPair, lowest: NDArray[np.int64]) -> DigestPair:
    """Return the MOST_NEAR nearest of entries before a digest's own. `lowest`: the first entry at each place."""
    earlier = lowest[part.right] < lowest[part.left]
    left, right, distances = part.left[earlier], part.right[earlier], part.distances[earlier]
    order = np.lexsort((lowest[right], distances, left))
    left, right, distances = left[order], right[order], distances[order]
    first = np.searchsorted(left, left)  # where each digest's own begin
    chosen = np.arange(len(left)) - first < MOST_NEAR
    return DigestPair(left[chosen], right[chosen], distances[chosen])


class _EntryDistances:
    """How far entries are apart: as the nearest two of their digests, of which an entry may have several."""

    def __init__(self, entries: NDArray[np.int64], places: NDArray[np.intp], index: NearDigests) -> None:
        """`entries`, `places`: each digest's entry, and its place in the index; int64[n], in any order."""
        order = np.argsort(entries, kind="stable")
        self._entries, self._first, self._counts = np.unique(entries[order], return_index=True, return_counts=True)
        self._places, self._index = places[order], index

    def between(self, a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.int32]:
        """Return the distance of each entry of `a` from the one beside it in `b`, int64[n]: int32[n]."""
        at, other = np.searchsorted(self._entries, a), np.searchsorted(self._entries, b)
        width = self._counts[other]
        pairs = self._counts[at] * width
        starts = np.cumsum(pairs) - pairs
        of = np.repeat(np.arange(len(a)), pairs)
        number = np.arange(len(of)) - starts[of]
        left = self._places[self._first[at][of] + number // width[of]]
        right = self._places[self._first[other][of] + number % width[of]]
        least: NDArray[np.int32] = np.minimum.reduceat(self._index.distances(left, right), starts)
        return least


def _told(connection: Any, groups: GroupSet, algorithm: str, nearest_of: _EntryDistances) -> Iterator[Link]:
    bits, most = ALGORITHMS[algorithm].bits, PERCEPTUAL[algorithm]
    reader = connection.sql(
        "SELECT a, any_value(ga), b, any_value(gb) FROM near_pairs GROUP BY a, b ORDER BY a, b"
    ).to_arrow_reader(comparison.BATCH)
    for batch in reader:
        check()
        a_of, _, b_of, _ = (column.to_numpy().astype(np.int64) for column in batch.columns)
        distances = nearest_of.between(a_of, b_of).tolist()
        columns = (*(column.to_pylist() for column in batch.columns), distances)
        for a, ga, b, gb, distance in zip(*columns, strict=True):
            if distance:
                why = (
                    f"their {algorithm} hashes differ in {distance} of {bits} bits, and up to {most} count as near: "
                    "pictures that look alike, perhaps the same one"
                )
            else:
                why = f"their {algorithm} hashes are equal: pictures that look alike, perhaps the same one"
            yield Link(
                left=f"{groups.names[ga]}/{number_of(a)}",
                right=f"{groups.names[gb]}/{number_of(b)}",
                algorithm=algorithm,
                distance=distance,
                is_exact=False,
                why=why,
            )
