"""Which items of a list share a digest: columns of digests, compared with numpy, and the groups that sharing makes of
items.

Python sees only the few rows in which something is shared, so that a list of millions costs seconds and no object for
each digest.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from numpy.typing import NDArray

_HEAD: Final = 8  # bytes of a digest that are compared first; every exact algorithm's has as many


class Column:
    """All digests of one algorithm in the source: `digests` uint8[n, bytes], `items` int64[n] ascending."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._items: list[NDArray[np.int64]] = []
        self.digests: NDArray[np.uint8] = np.empty((0, 1), np.uint8)
        self.items: NDArray[np.int64] = np.empty(0, np.int64)

    def extend(self, digests: list[bytes], items: list[int]) -> None:
        """Append the digests, each of the item beside it; `items` go on ascending."""
        if digests:
            self._parts.append(b"".join(digests))
            self._items.append(np.asarray(items, np.int64))

    def close(self, width: int) -> None:
        """End the column: from here on it is read. `width`: the bytes of a digest."""
        self.digests = np.frombuffer(b"".join(self._parts), np.uint8).reshape(-1, width)
        self.items = np.concatenate(self._items) if self._items else self.items
        self._parts, self._items = [], []

    def having(self, digests: Collection[bytes]) -> Iterator[tuple[int, bytes]]:
        """Yield the item and the digest of each row that has one of `digests`."""
        if not len(self.digests) or not digests:
            return
        wanted = np.frombuffer(b"".join([d[:_HEAD] for d in digests]), np.uint64)
        for row in np.flatnonzero(np.isin(heads(self.digests), wanted)):
            digest = self.digests[row].tobytes()
            if digest in digests:
                yield int(self.items[row]), digest

    def of(self, item: int) -> bytes | None:
        """Return the first digest of an item, or None if it has none."""
        at = int(np.searchsorted(self.items, item))
        return self.digests[at].tobytes() if at < len(self.items) and self.items[at] == item else None

    def shared(self) -> Iterator[list[int]]:
        """Yield the items of each digest that more than one item has."""
        if len(self.digests) < 2:  # noqa: PLR2004 - nothing to compare
            return
        key = heads(self.digests)
        order = np.argsort(key, kind="stable")
        same = key[order][1:] == key[order][:-1]
        groups: dict[bytes, list[int]] = defaultdict(list)
        for at in np.flatnonzero(np.concatenate(([False], same)) | np.concatenate((same, [False]))):
            row = order[at]
            groups[self.digests[row].tobytes()].append(int(self.items[row]))
        for items in groups.values():
            if len(set(items)) > 1:
                yield items


class Groups:
    """Disjoint sets of items (union-find); only items that share something with another are ever in it."""

    def __init__(self) -> None:
        self._parent: dict[int, int] = {}

    def join(self, items: Sequence[int]) -> None:
        """Put the items, of which there is at least one, into one group."""
        for other in items[1:]:
            a, b = self._root(items[0]), self._root(other)
            self._parent[max(a, b)] = min(a, b)

    def all(self) -> list[list[int]]:
        """Return the groups of more than one item, each ascending."""
        groups: dict[int, list[int]] = defaultdict(list)
        for item in sorted(self._parent):
            groups[self._root(item)].append(item)
        return [g for g in groups.values() if len(g) > 1]

    def _root(self, item: int) -> int:
        parent = self._parent
        parent.setdefault(item, item)
        while parent[item] != item:
            parent[item] = parent[parent[item]]
            item = parent[item]
        return item


def heads(digests: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Return the beginnings of digests, which tell nearly all of them apart, as numbers."""
    return np.ascontiguousarray(digests[:, :_HEAD]).view(np.uint64).ravel()
