"""How much of what one holds another holds, too: ACTIVE entries, each once, whatever number of digests it has.

Each group (hash set, contributor, jurisdiction) is one bit. A digest stands for the bits of all that hold it, an entry
for those of all its digests: a digest that ten thousand share costs no more than others, for any number of groups.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hashhub.reconcile import comparison
from hashhub.reconcile.comparison import PERCEPTUAL, GroupSet, insert
from hashhub.reconcile.engines import run
from hashhub.reconcile.extract import arrow
from hashhub.reconcile.results import Backend, By, Overlap, OverlapCell, Progress

if TYPE_CHECKING:
    from hashhub.reconcile.extract import Extract

_WORD: Final = 64  # groups in one column of bits
PART: Final = 12_000_000  # rows that are looked at together: some 700 MB


def compute(
    extract: Extract,
    by: By,
    *,
    near: bool = False,
    engine: Backend = Backend.DUCKDB,
    progress: Progress | None = None,
) -> Overlap:
    """Return the overlap between hash sets, contributors or jurisdictions. One without entries is among the names.

    `near`: by perceptual hashes, too, within the default distance of each algorithm that has one. What is near is
    searched for here whatever the engine is, in memory: some 250 bytes for each distinct digest.

    Raises FailedPrecondition when `hashhub[reconcile]` or `[ray]` is not installed, and what `Extract.connect` raises.
    """
    with extract.connect() as connection:
        groups = comparison.groups_of(extract, extract.hash_sets(), by)
        algorithms = tuple(PERCEPTUAL) if near else ()
        rows = sum(f.rows for files in groups.files for f in files)
        parts = max(1, -(-rows // PART))
        steps = parts + len(algorithms) + 1
        told = progress or comparison.silent
        for name, bits in (("shared", "m"), ("near", "n")):
            columns = ", ".join(f"{bits}{i} UBIGINT" for i in range(_words(groups)))
            connection.execute(f"CREATE TEMP TABLE {name} (entry BIGINT, g INTEGER, {columns})")
        queries = [shared_sql(extract, groups, part, parts) for part in range(parts)]
        for step, table in enumerate(run(extract, queries, connection, engine)):
            insert(connection, "shared", table)
            told(step + 1, steps, "exact digests")
        for step, algorithm in enumerate(algorithms):
            told(parts + step, steps, f"near {algorithm} hashes")
            _add_near(extract, groups, connection, algorithm)
        told(steps - 1, steps, "entries")
        counts = _counted(connection, groups)
    return Overlap(
        by=by,
        revision=extract.revision,
        names=groups.names,
        entries=dict(zip(groups.names, groups.entries, strict=True)),
        alone={name: groups.entries[i] - int(counts.shared[i]) for i, name in enumerate(groups.names)},
        cells=tuple(
            OverlapCell(left=left, right=right, exact=int(counts.exact[i, j]), near=int(counts.near[i, j]))
            for i, left in enumerate(groups.names)
            for j, right in enumerate(groups.names)
            if i != j
        ),
        max_distances={name: PERCEPTUAL[name] for name in algorithms},
    )


def shared_sql(extract: Extract, groups: GroupSet, part: int, parts: int) -> str:
    """Return a SELECT of the entries that share an exact digest with another group: entry, its group g, and the bits
    m0, m1, … of all groups that hold one of its digests. Of the digests it looks at one part of `parts`.
    """
    words = range(_words(groups))
    chosen = comparison.exact_rows(extract, groups, part, parts)
    bit = [f"CASE WHEN g // {_WORD} = {i} THEN 1::UBIGINT << (g % {_WORD}) ELSE 0::UBIGINT END" for i in words]
    # Most digests are nobody else's: their 64-bit hashes tell that at a third of the cost of the digests themselves.
    return (
        f"WITH d AS NOT MATERIALIZED ({chosen}), "  # noqa: S608 - our own text
        "c AS (SELECT h FROM d GROUP BY h HAVING min(g) <> max(g)), "
        "r AS MATERIALIZED (SELECT * FROM d SEMI JOIN c USING (h)), "
        f"m AS (SELECT algorithm, digest, {', '.join(f'bit_or({b}) AS m{i}' for i, b in enumerate(bit))} FROM r "
        "GROUP BY algorithm, digest HAVING min(g) <> max(g)) "
        f"SELECT entry, any_value(g), {', '.join(f'bit_or(m{i}) AS m{i}' for i in words)} "
        "FROM r JOIN m USING (algorithm, digest) GROUP BY entry"
    )


def _add_near(extract: Extract, groups: GroupSet, connection: Any, algorithm: str) -> None:
    """Add to the table `near` the entries with the bits of all groups that hold something near one of their digests."""
    found = comparison.near_index(extract, groups, connection, algorithm)
    if found is None:
        return
    entries, of_group, places, index = found
    words = _words(groups)
    held = np.zeros((len(index), words), np.uint64)
    bits = np.uint64(1) << (of_group % _WORD).astype(np.uint64)
    np.bitwise_or.at(held, (places, of_group // _WORD), bits)
    about = np.zeros_like(held)
    for part in index.near(PERCEPTUAL[algorithm]):
        order = np.argsort(part.left, kind="stable")
        left, right = part.left[order], part.right[order]
        starts = np.flatnonzero(np.concatenate(([True], left[1:] != left[:-1])))
        about[left[starts]] = np.bitwise_or.reduceat(held[right], starts, axis=0)
    of_entry = about[places]
    # Most are near nothing of anybody else's.
    of_entry[np.arange(len(entries)), of_group // _WORD] &= ~bits
    has_any = of_entry.any(axis=1)
    columns = {"entry": entries[has_any], "g": of_group[has_any].astype(np.int32)}
    insert(connection, "near", arrow().table({**columns, **{f"n{i}": of_entry[has_any, i] for i in range(words)}}))


def _words(groups: GroupSet) -> int:
    """Return how many columns of bits the groups take."""
    return max(1, -(-len(groups.names) // _WORD))


class _Counts(NamedTuple):
    """exact, near: how many entries of i j holds, too, int64[n, n]; shared: how many of i anybody else does."""

    exact: NDArray[np.int64]
    near: NDArray[np.int64]
    shared: NDArray[np.int64]


def _counted(connection: Any, groups: GroupSet) -> _Counts:
    """Count the rows of the tables `shared` and `near`."""
    count, words = len(groups.names), range(_words(groups))
    counts = _Counts(np.zeros((count, count), np.int64), np.zeros((count, count), np.int64), np.zeros(count, np.int64))

    def merged(table: str, bits: str) -> str:
        columns = ", ".join(f"bit_or({bits}{i}) AS {bits}{i}" for i in words)
        return f"(SELECT entry, any_value(g) AS g, {columns} FROM {table} GROUP BY entry)"  # noqa: S608 - our own text

    by_bits = ", ".join(f"coalesce({bits}{i}, 0) AS {bits}{i}" for bits in "mn" for i in words)
    names = ", ".join(f"{bits}{i}" for bits in "mn" for i in words)
    reader = connection.sql(
        f"SELECT g, count(*), {names} FROM (SELECT coalesce(s.g, t.g) AS g, {by_bits} "  # noqa: S608 - our own text
        f"FROM {merged('shared', 'm')} s "
        f"FULL JOIN {merged('near', 'n')} t USING (entry)) GROUP BY g, {names}"
    ).to_arrow_reader(comparison.BATCH)
    for batch in reader:
        g, n, *bits = (column.to_numpy() for column in batch.columns)
        exact = np.stack(bits[: len(words)], axis=1)
        near = np.stack(bits[len(words) :], axis=1) & ~exact
        np.add.at(counts.shared, g, np.where((exact | near).any(axis=1), n, 0))
        for j in range(count):
            for held, total in ((exact, counts.exact), (near, counts.near)):
                has = (held[:, j // _WORD] >> np.uint64(j % _WORD)) & np.uint64(1) == 1
                np.add.at(total[:, j], g[has], n[has])
    return counts
