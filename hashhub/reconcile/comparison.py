"""What all questions about shared digests have in common: whose files, which rows, which digests are compared how.

Near: two perceptual digests within their algorithm's default distance. A sheet of several pictures (the context `grid`)
is near to nothing; only an entry that says so itself is one, so that nobody takes another's out of comparison.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hashhub.cancellation import check
from hashhub.errors import DataLoss
from hashhub.hashes import ALGORITHMS
from hashhub.matcher import NearDigests
from hashhub.reconcile.columns import bits_of
from hashhub.reconcile.results import By

if TYPE_CHECKING:
    from hashhub.reconcile.extract import Extract, ExtractFile

BATCH: Final = 1 << 16  # rows handed over at a time
PERCEPTUAL: Final = {
    a.name: a.default_max_distance
    for a in ALGORITHMS.values()
    if a.is_perceptual and a.default_max_distance is not None
}
"""Perceptual hash algorithms with the distance within which two digests are near, inclusive."""
EXACT: Final = tuple(a.name for a in ALGORITHMS.values() if not a.is_perceptual)
_GRID: Final = bits_of("context")["grid"]
_NO_ROWS: Final = (
    "SELECT 0::INTEGER AS g, 0::BIGINT AS entry, '' AS algorithm, ''::BLOB AS digest, 0::UBIGINT AS h LIMIT 0"
)


class GroupSet(NamedTuple):
    """What is compared: names in order, and for each its digest files and how many ACTIVE entries they have."""

    names: tuple[str, ...]
    files: tuple[tuple[ExtractFile, ...], ...]
    entries: tuple[int, ...]

    def only(self, chosen: Callable[[str], bool]) -> GroupSet:
        """Return the same groups, with no files in those whose name is not chosen."""
        return self._replace(
            files=tuple(files if chosen(name) else () for name, files in zip(self.names, self.files, strict=True))
        )


def groups_of(extract: Extract, hash_sets: Iterable[Mapping[str, Any]], by: By) -> GroupSet:
    """Return the groups that hash sets (rows of `Extract.hash_sets`) are in. One without entries is among them."""
    column = {By.HASH_SET: "hash_set", By.CONTRIBUTOR: "contributor", By.JURISDICTION: "jurisdiction"}[by]
    name_of = {row["hash_set"]: row[column] for row in hash_sets}
    names = tuple(sorted(set(name_of.values())))
    files: dict[str, list[ExtractFile]] = {name: [] for name in names}
    for file in extract.files:
        if file.hash_set in name_of:
            files[name_of[file.hash_set]].append(file)
    return GroupSet(
        names,
        tuple(tuple(files[name]) for name in names),
        tuple(sum(f.active_entries for f in files[name]) for name in names),
    )


def exact_rows(extract: Extract, groups: GroupSet, part: int = 0, parts: int = 1, where: str = "true") -> str:
    """Return a SELECT of the exact digests of ACTIVE entries: g (the group's number), entry, algorithm, digest, and h,
    a 64-bit hash of the digest; of all digests those of one part of `parts`.
    """
    algorithms = ", ".join(f"'{name}'" for name in EXACT)
    chosen = (
        " UNION ALL ".join(
            f"SELECT {g}::INTEGER AS g, entry, algorithm, digest, hash(digest) AS h "  # noqa: S608 - our own text
            f"FROM {extract.source(files)} "
            f"WHERE state = 'ACTIVE' AND algorithm IN ({algorithms}) AND ({where})"
            for g, files in enumerate(groups.files)
            if files
        )
        or _NO_ROWS
    )
    return chosen if parts == 1 else f"SELECT * FROM ({chosen}) WHERE h % {parts} = {part}"  # noqa: S608 - our own text


def perceptual_digests(
    extract: Extract, groups: GroupSet, connection: Any, algorithm: str, where: str = "true"
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint8]]]:
    """Yield ACTIVE entries with groups and comparable digests of an algorithm (uint8[n, digest_bytes])."""
    width = ALGORITHMS[algorithm].digest_bytes
    for g, files in enumerate(groups.files):
        if not files:
            continue
        reader = connection.sql(
            f"SELECT entry, digest FROM {extract.source(files)} "  # noqa: S608 - our own names
            f"WHERE state = 'ACTIVE' AND algorithm = '{algorithm}' AND d_context & {_GRID} = 0 AND ({where})"
        ).to_arrow_reader(BATCH)
        for batch in reader:
            check()
            entries = batch.column(0).to_numpy().astype(np.int64)
            flat = b"".join(batch.column(1).to_pylist())
            if len(flat) != width * len(entries):
                raise DataLoss(
                    "the extract is damaged: a digest has a wrong length; write it anew into an empty directory"
                )
            yield entries, np.full(len(entries), g, np.int64), np.frombuffer(flat, np.uint8).reshape(-1, width)


def near_index(
    extract: Extract, groups: GroupSet, connection: Any, algorithm: str
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.intp], NearDigests] | None:
    """Return an algorithm's comparable digests as entries, groups, places in an index, and the index; or None."""
    gathered = list(perceptual_digests(extract, groups, connection, algorithm))
    if not gathered:
        return None
    entries, of_group, digests = (np.concatenate(parts) for parts in zip(*gathered, strict=True))
    del gathered
    index = NearDigests(algorithm, digests)
    return entries, of_group, index.places(digests), index


def rows(connection: Any, query: str) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of a query, of which memory holds a batch at a time."""
    for batch in connection.sql(query).to_arrow_reader(BATCH):
        check()
        yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)


def insert(connection: Any, table: str, rows: Any) -> None:
    """Add the rows of an Arrow table to a table of a connection."""
    connection.register("part", rows)
    connection.execute(f"INSERT INTO {table} SELECT * FROM part")  # noqa: S608 - our own names
    connection.unregister("part")


def components(left: NDArray[np.int64], right: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the distinct ids that pairs connect, ascending, and for each the smallest connected with it: labels passed
    along pairs and shortened by jumping (Shiloach and Vishkin 1982), in rounds that grow as a chain's logarithm.
    """
    ids, places = np.unique(np.concatenate([left, right]), return_inverse=True)
    a, b = places[: len(left)], places[len(left) :]
    label = np.arange(len(ids))
    while True:
        before = label.copy()
        smaller = np.minimum(label[a], label[b])
        # Also at the labels themselves, so that whole components are joined and not only their ends.
        for at in (a, b, label[a], label[b]):
            np.minimum.at(label, at, smaller)
        while (label != label[label]).any():
            label = label[label]
        if (label == before).all():
            return ids, ids[label]


def silent(_done: int, _of: int, _what: str) -> None:
    """Stand in where the caller wants no progress."""
