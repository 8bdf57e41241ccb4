"""Sets of entry ids as one value: an update of a million entries is one row of the feed.

A contiguous range is its two ends; any other set is a 64-bit Roaring bitmap in its portable form, which other languages
read too (https://github.com/RoaringBitmap/RoaringFormatSpec): every second of a million ids takes 128 KiB.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, Self, TypeVar

import numpy as np
import pyroaring
from numpy.typing import NDArray

from hashhub.errors import DataLoss

_Number = TypeVar("_Number", bound=np.integer[Any])
_CHUNK: Final = 100_000  # ids put into a bitmap at a time: 1.4 ms, between which other threads go on
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
        ordered = ascending(np.fromiter(ids, np.int64) if not isinstance(ids, np.ndarray) else ids)
        if not len(ordered):
            raise ValueError("a set of entry ids must not be empty")
        first, last = int(ordered[0]), int(ordered[-1])
        made = cls(first, last)
        if last - first + 1 != len(ordered):
            made._ids = pyroaring.BitMap64()
            for start in range(0, len(ordered), _CHUNK):
                made._ids |= pyroaring.BitMap64(array("Q", ordered[start : start + _CHUNK].astype(np.uint64).tobytes()))
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


def ascending(values: NDArray[_Number]) -> NDArray[_Number]:
    """Return the distinct values in ascending order; `np.unique` takes several times as long, under Python's lock."""
    ordered = np.sort(values)
    if len(ordered) < 2:  # noqa: PLR2004 - nothing to compare
        return ordered
    return ordered[np.concatenate(([True], ordered[1:] != ordered[:-1]))]


def are_among(values: NDArray[_Number], ordered: NDArray[_Number]) -> NDArray[np.bool_]:
    """Return which values are among ascending ones, bool[n], without `np.unique` (see `ascending`)."""
    if not len(ordered):
        return np.zeros(len(values), np.bool_)
    nearest = np.minimum(np.searchsorted(ordered, values), len(ordered) - 1)
    is_there: NDArray[np.bool_] = ordered[nearest] == values
    return is_there


def runs(ids: Sequence[int]) -> list[tuple[int, int]]:
    """Return the maximal ranges of consecutive ids, both ends inclusive; `ids` are distinct and ascending."""
    if not ids:
        return []
    a = np.asarray(ids, np.int64)
    breaks = np.flatnonzero(np.diff(a) != 1)
    return list(zip(a[np.r_[0, breaks + 1]].tolist(), a[np.r_[breaks, len(a) - 1]].tolist(), strict=True))


def merged(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the ranges in order, those that touch joined."""
    merged: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if merged and merged[-1][1] + 1 >= first:
            merged[-1] = merged[-1][0], max(last, merged[-1][1])
        else:
            merged.append((first, last))
    return merged
