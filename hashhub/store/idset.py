"""Sets of entry ids as one value: an update of a million entries is one row of the feed.

A contiguous range is its two ends; any other set is a 64-bit Roaring bitmap in its portable form, which other languages
read too (https://github.com/RoaringBitmap/RoaringFormatSpec): every second of a million ids takes 128 KiB.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, Self

import numpy as np
import pyroaring
from numpy.typing import NDArray

from hashhub.errors import DataLoss

_DENSE: Final = 8  # read a whole range and drop what is not asked for, as long as that is at most so many times as much


class IdSet:
    """An immutable, non-empty set of entry ids, ascending where it is walked. `ids` is None for the whole range."""

    __slots__ = ("_ids", "first", "last")

    def __init__(self, first: int, last: int, packed: bytes | None = None) -> None:
        """`packed`: as the property; None for the whole range. Raises DataLoss when it cannot be read."""
        self.first, self.last = first, last
        try:
            self._ids = None if packed is None else pyroaring.BitMap64.deserialize(packed)
        except (ValueError, TypeError, OverflowError) as e:
            raise DataLoss("a change of the feed cannot be read: restore the database from a backup") from e

    @classmethod
    def of(cls, ids: Iterable[int] | NDArray[np.int64]) -> Self:
        """Build from distinct or repeated ids in any order. Raises ValueError when there are none."""
        array = ascending(np.fromiter(ids, np.int64) if not isinstance(ids, np.ndarray) else ids)
        if not len(array):
            raise ValueError("a set of entry ids must not be empty")
        first, last = int(array[0]), int(array[-1])
        made = cls(first, last)
        if last - first + 1 != len(array):
            made._ids = pyroaring.BitMap64(array.tolist())
            made._ids.run_optimize()
        return made

    @property
    def packed(self) -> bytes | None:
        """The bitmap as the store keeps it; None for a contiguous range."""
        return None if self._ids is None else bytes(self._ids.serialize())

    def parts(self, size: int) -> Iterator[IdSet]:
        """Yield the set in parts of at most `size` ids each; a range is one part, however long."""
        if self.is_range or len(self) <= size:
            yield self
        else:
            yield from (IdSet.of(piece) for piece in self.pieces(size))

    @property
    def is_range(self) -> bool:
        """Whether every id from `first` to `last` is in it."""
        return self._ids is None

    @property
    def is_dense(self) -> bool:
        """Whether reading the whole range and dropping the rest is cheaper than asking for each id."""
        return self.last - self.first + 1 <= _DENSE * len(self)

    def __len__(self) -> int:
        return self.last - self.first + 1 if self._ids is None else len(self._ids)

    def __contains__(self, entry_id: int) -> bool:
        return self.first <= entry_id <= self.last and (self._ids is None or entry_id in self._ids)

    def after(self, entry_id: int, limit: int) -> list[int]:
        """Return up to `limit` ids greater than `entry_id`, ascending."""
        start = max(entry_id + 1, self.first)
        if self._ids is None:
            return list(range(start, min(start + limit - 1, self.last) + 1))
        page: list[int] = []
        for value in self._ids.iter_equal_or_larger(start):
            page.append(value)
            if len(page) == limit:
                break
        return page

    def pieces(self, size: int) -> Iterator[NDArray[np.int64]]:
        """Yield all ids in pieces int64[n], n <= size, ascending."""
        if self._ids is None:
            for low in range(self.first, self.last + 1, size):
                yield np.arange(low, min(low + size, self.last + 1), dtype=np.int64)
            return
        whole = np.asarray(self._ids.to_array(), np.uint64).astype(np.int64)
        for low in range(0, len(whole), size):
            yield whole[low : low + size]


def ascending(ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the distinct ids in ascending order: on long arrays several times as fast as `np.unique`, which hashes."""
    ordered = np.sort(ids)
    if len(ordered) < 2:  # noqa: PLR2004 - nothing to compare
        return ordered
    return ordered[np.concatenate(([True], ordered[1:] != ordered[:-1]))]
