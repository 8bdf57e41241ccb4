"""Which hash sets have each row's digest: what keeps a search from answering with what somebody may not see, or with a
thousand digests of one contributor. It may name more hash sets than have the digest now, and never fewer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

ANY: Final = 0
"""In place of a hash set's key: it is not known which ones have the digest."""


class Owners:
    """For each row the number of a set of keys of hash sets. One writer at a time; readers need no lock."""

    def __init__(self, count: int) -> None:
        """Nothing is said of any row yet."""
        self.numbers: NDArray[np.uint32] = np.zeros(count, np.uint32)
        self.sets: list[frozenset[int]] = [frozenset()]
        self._number_of: dict[frozenset[int], int] = {frozenset(): 0}
        self.is_changed = False
        self.as_written = self.numbers

    @classmethod
    def stored(
        cls, numbers: NDArray[np.uint32], sets: Iterable[Iterable[int]], as_written: NDArray[np.uint32]
    ) -> Owners:
        """Return what was written: the rows' numbers and the sets. `as_written`: the numbers in a fixed mapping."""
        owners = cls(0)
        owners.numbers, owners.sets, owners.as_written = numbers, [frozenset(keys) for keys in sets], as_written
        owners._number_of = {keys: number for number, keys in enumerate(owners.sets)}
        return owners

    def add(self, at: NDArray[np.int64], sets: Sequence[frozenset[int]], numbers: NDArray[np.uint32]) -> None:
        """Add to the row at each of these places (negative: none) the set with the number beside it."""
        here = at >= 0
        at, before = at[here], self.numbers[at[here]]
        pairs, inverse = np.unique(before.astype(np.uint64) << np.uint64(32) | numbers[here], return_inverse=True)
        unions = [self.sets[pair >> 32] | sets[pair & 0xFFFFFFFF] for pair in pairs.tolist()]
        after = np.array([self._numbered(keys) for keys in unions], np.uint32)[inverse]
        if not np.array_equal(before, after):
            self.numbers[at] = after
            self.is_changed = True

    def add_key(self, at: NDArray[np.int64], key: int) -> None:
        """Add one hash set to the rows at these places (negative: none)."""
        self.add(at, [frozenset({key})], np.zeros(len(at), np.uint32))

    def forget(self, at: NDArray[np.int64]) -> None:
        """Say nothing any more of the rows at these places (negative: none): nobody has them."""
        self.numbers[at[at >= 0]] = 0
        self.is_changed = True

    def _numbered(self, keys: frozenset[int]) -> int:
        number = self._number_of.setdefault(keys, len(self.sets))
        if number == len(self.sets):
            self.sets.append(keys)
        return number
