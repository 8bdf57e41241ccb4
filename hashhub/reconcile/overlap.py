"""How much of what one holds another holds, too.

An entry counts once, whatever number of digests it has, and only ACTIVE entries count. Exact: they share a digest of an
exact algorithm. Each group (hash set, contributor, jurisdiction) is one bit. What a digest stands for is the bits of
all that hold it, and what an entry stands for is those of all its digests: so a digest that ten thousand entries share
costs no more than ten thousand others, and there can be any number of groups.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hashhub.cancellation import check
from hashhub.hashes import ALGORITHMS
from hashhub.reconcile.results import By, Engine, Overlap, OverlapCell, Progress

if TYPE_CHECKING:
    from hashhub.reconcile.extract import Extract, File

_WORD: Final = 64  # groups in one column of bits
_BATCH: Final = 1 << 16  # rows handed over at a time
_PART: Final = 8_000_000  # rows of exact digests that are looked at together: some 500 MB
_EXACT: Final = tuple(a.name for a in ALGORITHMS.values() if not a.is_perceptual)


class Groups(NamedTuple):
    """What is compared: names in order, and for each its digest files and how many ACTIVE entries they have."""

    names: tuple[str, ...]
    files: tuple[tuple[File, ...], ...]
    entries: tuple[int, ...]

    @property
    def words(self) -> int:
        """How many columns of bits it takes."""
        return max(1, -(-len(self.names) // _WORD))


def compute(extract: Extract, by: By, *, engine: Engine = Engine.DUCKDB, progress: Progress | None = None) -> Overlap:
    """Return the overlap between hash sets, contributors or jurisdictions. One without entries is among the names.

    Raises FailedPrecondition when `hashhub[reconcile]` is not installed, and what `Extract.connect` raises.
    """
    with extract.connect() as connection:
        groups = _groups(extract, connection, by)
        rows = sum(f.rows for files in groups.files for f in files)
        parts = max(1, -(-rows // _PART))
        bits = ", ".join(f"m{i} UBIGINT" for i in range(groups.words))
        connection.execute(f"CREATE TEMP TABLE shared (entry BIGINT, g INTEGER, {bits})")
        for part in range(parts):
            check()
            if progress is not None:
                progress(part, parts + 1, "exact digests")
            connection.execute(f"INSERT INTO shared {shared_sql(extract, groups, part, parts)}")  # noqa: S608 - our own text
        if progress is not None:
            progress(parts, parts + 1, "entries")
        held, shared = _held(connection, groups)
    cells = tuple(
        OverlapCell(left=left, right=right, exact=int(held[i, j]))
        for i, left in enumerate(groups.names)
        for j, right in enumerate(groups.names)
        if i != j
    )
    return Overlap(
        by=by,
        revision=extract.revision,
        names=groups.names,
        entries=dict(zip(groups.names, groups.entries, strict=True)),
        alone={name: groups.entries[i] - int(shared[i]) for i, name in enumerate(groups.names)},
        cells=cells,
    )


def _groups(extract: Extract, connection: Any, by: By) -> Groups:
    column = {By.HASH_SET: "hash_set", By.CONTRIBUTOR: "contributor", By.JURISDICTION: "jurisdiction"}[by]
    name_of: Mapping[str, str] = {row["hash_set"]: row[column] for row in extract.hash_sets(connection)}
    names = tuple(sorted(set(name_of.values())))
    files: dict[str, list[File]] = {name: [] for name in names}
    for file in extract.files:
        files[name_of[file.hash_set]].append(file)
    return Groups(
        names,
        tuple(tuple(files[name]) for name in names),
        tuple(sum(f.active_entries for f in files[name]) for name in names),
    )


def shared_sql(extract: Extract, groups: Groups, part: int, parts: int) -> str:
    """Return a SELECT of the entries that share an exact digest with another group: entry, its group g, and the bits
    m0, m1, … of all groups that hold one of its digests. Of the digests it looks at one part of `parts`.
    """
    words = range(groups.words)
    algorithms = ", ".join(f"'{name}'" for name in _EXACT)
    sources = [
        f"SELECT {g}::INTEGER AS g, entry, algorithm, digest, hash(digest) AS h FROM {extract.source(files)} "  # noqa: S608 - our own names
        f"WHERE state = 'ACTIVE' AND algorithm IN ({algorithms})"
        for g, files in enumerate(groups.files)
        if files
    ]
    no_rows = "SELECT 0::INTEGER AS g, 0::BIGINT AS entry, '' AS algorithm, ''::BLOB AS digest, 0::UBIGINT AS h LIMIT 0"
    chosen = " UNION ALL ".join(sources) or no_rows
    if parts > 1:
        chosen = f"SELECT * FROM ({chosen}) WHERE h % {parts} = {part}"  # noqa: S608 - our own text
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


def _held(connection: Any, groups: Groups) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return from the table `shared` how many entries of i j holds, too, int64[n, n], and how many of i anybody else
    holds, int64[n].
    """
    count = len(groups.names)
    held = np.zeros((count, count), np.int64)
    shared = np.zeros(count, np.int64)
    words = range(groups.words)
    merged = ", ".join(f"bit_or(m{i}) AS m{i}" for i in words)
    by_bits = ", ".join(f"m{i}" for i in words)
    result = connection.sql(
        f"SELECT g, count(*), {by_bits} FROM (SELECT entry, any_value(g) AS g, {merged} FROM shared GROUP BY entry) "  # noqa: S608 - our own text
        f"GROUP BY g, {by_bits}"
    )
    for g, n, bits in _batches(result, groups.words):
        np.add.at(shared, g, n)
        for word in words:
            for place in range(min(_WORD, count - word * _WORD)):
                has = (bits[word] >> np.uint64(place)) & np.uint64(1) == 1
                held[:, word * _WORD + place] += np.bincount(g[has], n[has], count).astype(np.int64)
    np.fill_diagonal(held, 0)
    return held, shared


def _batches(
    result: Any, words: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], Sequence[NDArray[np.uint64]]]]:
    for batch in result.to_arrow_reader(_BATCH):
        columns = [batch.column(i).to_numpy(zero_copy_only=False) for i in range(words + 2)]
        yield columns[0].astype(np.int64), columns[1].astype(np.int64), columns[2:]
