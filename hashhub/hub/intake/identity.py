"""When two items are the same: keys (digests, external ids, all hashes) as columns, their groups, and holds."""

from __future__ import annotations

import hashlib
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from hashhub.frames import known_by
from hashhub.hashes import ALGORITHMS, Hash, Metric
from hashhub.model import Entry
from hashhub.store import Origin
from hashhub.store.entry_codec import KEY_BYTES, are_among, ascending, ordered_hashes
from hashhub.store.schema import ALGORITHM_CODES

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from numpy.typing import NDArray

    from hashhub.model import Record
    from hashhub.store import Store
    from hashhub.store.holds import Hold, LiveItem

    Item = Record | Entry | LiveItem

_HEAD: Final = 8  # bytes of a key that are compared first; every key has as many
_MOST_PAIRED: Final = 1 << 62  # pairs of numbers that can be told apart by one int64
_CHUNK: Final = 250_000  # rows compared at a time: some milliseconds, between which other threads go on
ALGORITHM_OF_CODE: Final = {code: name for name, code in ALGORITHM_CODES.items()}
EXACT_CODES: Final = {ALGORITHM_CODES[a.name]: a.name for a in ALGORITHMS.values() if a.metric is Metric.EXACT}
"""The store's code and the name of each exact algorithm."""
WIDTHS: Final = {name: ALGORITHMS[name].digest_bytes for name in EXACT_CODES.values()}


def is_bare(shape: bytes) -> bool:
    """Whether an item with hashes of these algorithms has no exact digest."""
    return EXACT_CODES.keys().isdisjoint(shape)


def keys_of_hashes(packed: Iterable[bytes], shape: bytes) -> NDArray[np.uint8]:
    """Return the keys of whole sets of packed hashes of one shape, uint8[n, KEY_BYTES]."""
    keys = [hashlib.blake2b(ordered_hashes(p, shape), digest_size=KEY_BYTES).digest() for p in packed]
    return np.frombuffer(b"".join(keys), np.uint8).reshape(-1, KEY_BYTES)


class Links(NamedTuple):
    """Which rows have which key: row `rows[i]` has the key with the number `keys[i]`. int64[n] both."""

    keys: NDArray[np.int64]
    rows: NDArray[np.int64]

    def where(self, chosen: NDArray[np.bool_]) -> Links:
        """Return the chosen ones."""
        return Links(self.keys[chosen], self.rows[chosen])


class Column:
    """All keys of one sort in the source: `keys` uint8[n, bytes], `items` uint32[n] ascending."""

    def __init__(self, width: int) -> None:
        """`width`: the bytes of a key."""
        self.keys: NDArray[np.uint8] = np.empty((0, width), np.uint8)
        self.items: NDArray[np.uint32] = np.empty(0, np.uint32)
        self._keys, self._items = [self.keys], [self.items]

    def extend(self, keys: NDArray[np.uint8], items: NDArray[np.int64]) -> None:
        """Append keys, each of the item beside it; `items` go on ascending."""
        self._keys.append(keys)
        self._items.append(items.astype(np.uint32))

    def close(self) -> None:
        """End the column: from here on it is read."""
        self.keys, self.items = np.concatenate(self._keys), np.concatenate(self._items)
        self._keys, self._items = [], []

    def links(self, keys: NDArray[np.void]) -> Links:
        """Return which items have which of `keys`, which are distinct and sorted, as `distinct` gives them."""
        if not len(keys) or not len(self.items):
            return Links(np.empty(0, np.int64), np.empty(0, np.int64))
        wanted = heads(np.frombuffer(keys.tobytes(), np.uint8).reshape(len(keys), -1))
        order = np.argsort(wanted)
        wanted = wanted[order]
        rows: list[NDArray[np.int64]] = []
        places: list[NDArray[np.int64]] = []
        for start in range(0, len(self.items), _CHUNK):
            chunk = heads(self.keys[start : start + _CHUNK])
            at = np.minimum(places_among(wanted, chunk), len(wanted) - 1)
            rows.append(np.flatnonzero(wanted[at] == chunk))
            places.append(at[rows[-1]])
            rows[-1] += start
        candidates = np.concatenate(rows)
        whole = as_scalars(self.keys[candidates])
        if (wanted[1:] == wanted[:-1]).any():  # heads do not tell all of the keys apart
            numbers = np.minimum(np.searchsorted(keys, whole), len(keys) - 1)
        else:
            numbers = order[np.concatenate(places)]
        has_one = keys[numbers] == whole
        return Links(numbers[has_one].astype(np.int64), self.items[candidates[has_one]].astype(np.int64))

    def first_of(self, items: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the row of each item's first key, -1 for an item without one."""
        if not len(self.items):
            return np.full(len(items), -1, np.int64)
        rows = np.searchsorted(self.items, items.astype(np.uint32))
        inside = np.minimum(rows, len(self.items) - 1)
        return np.where(self.items[inside] == items, inside, -1)

    def shared(self) -> Links:
        """Return the items of each key that more than one item has, by key and then ascending."""
        none = Links(np.empty(0, np.int64), np.empty(0, np.int64))
        if len(self.items) < 2:  # noqa: PLR2004 - nothing to compare
            return none
        every = heads(self.keys)
        ordered = np.sort(every)
        repeated = ordered[1:][ordered[1:] == ordered[:-1]]
        del ordered
        if not len(repeated):
            return none
        rows = np.flatnonzero(are_among(every, repeated))
        _, numbers = np.unique(as_scalars(self.keys[rows]), return_inverse=True)
        pairs = ascending_pairs(numbers, self.items[rows].astype(np.int64))
        counts = np.bincount(pairs[:, 0])
        return Links(pairs[:, 0], pairs[:, 1]).where(counts[pairs[:, 0]] > 1)


class ItemGroups:
    """Disjoint sets of items; only items that are joined with another are ever in it."""

    def __init__(self) -> None:
        self._edges: list[NDArray[np.int64]] = []

    def join(self, classes: Sequence[NDArray[np.int64]], items: NDArray[np.int64]) -> None:
        """Join the items that are in one class; a class is named by one number of each of `classes`."""
        if len(items) < 2:  # noqa: PLR2004 - nothing to join
            return
        order = np.lexsort((items, *classes[::-1]))
        is_next = np.ones(len(items) - 1, np.bool_)
        for numbers in classes:
            is_next &= numbers[order][1:] == numbers[order][:-1]
        self._edges.append(np.stack([items[order][:-1], items[order][1:]], axis=1)[is_next])

    def all(self) -> Links:
        """Return the groups, by their first item: `keys` numbers them, `rows` has their items, ascending in each."""
        edges = np.concatenate([np.empty((0, 2), np.int64), *self._edges])
        items, ends = np.unique(edges, return_inverse=True)
        ends = ends.reshape(-1, 2)
        root = np.arange(len(items))
        while True:
            least = np.minimum(root[ends[:, 0]], root[ends[:, 1]])
            before = root.copy()
            np.minimum.at(root, root[ends[:, 0]], least)
            np.minimum.at(root, root[ends[:, 1]], least)
            root = root[root]
            if (root == before).all():
                break
        order = np.argsort(root, kind="stable")
        _, numbers = np.unique(root[order], return_inverse=True)
        return Links(numbers.astype(np.int64), items[order])


def lists_of(links: Links) -> list[list[int]]:
    """Return the rows of each key, of links in the order of keys."""
    if not len(links.keys):
        return []
    ends = np.flatnonzero(np.diff(links.keys)) + 1
    return [part.tolist() for part in np.split(links.rows, ends)]


def heads(keys: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Return the beginnings of keys, which tell nearly all of them apart, as numbers."""
    return np.ascontiguousarray(keys[:, :_HEAD]).view(np.uint64).ravel()


def as_scalars(keys: NDArray[np.uint8]) -> NDArray[np.void]:
    """Return keys, uint8[n, bytes], as one value each; all of one width, so that they compare as their bytes do."""
    return np.ascontiguousarray(keys).view(f"S{keys.shape[1]}").ravel()


def ascending_pairs(first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the distinct pairs of numbers that are not negative, int64[n, 2], in ascending order; see `ascending`."""
    width = int(second.max(initial=0)) + 1
    if int(first.max(initial=0)) < _MOST_PAIRED // width:  # a pair as one number is sorted in a fifth of the time
        return np.stack(np.divmod(ascending(first * width + second), width), axis=1)
    order = np.lexsort((second, first))
    pairs = np.stack([first[order], second[order]], axis=1)
    return pairs[np.concatenate(([True], (pairs[1:] != pairs[:-1]).any(axis=1)))]


def places_among(ordered: NDArray[np.uint64], wanted: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return what `np.searchsorted` does, of many values in no order: sorted first, in a fifth of the time."""
    order = np.argsort(wanted)
    places = np.empty(len(wanted), np.int64)
    places[order] = np.searchsorted(ordered, wanted[order])
    return places


def distinct(keys: NDArray[np.uint8]) -> tuple[NDArray[np.void], NDArray[np.int64]]:
    """Return the distinct keys, sorted, and for each of `keys`, uint8[n, bytes], which one it is."""
    scalars = as_scalars(keys)
    beginnings = heads(keys).byteswap() if sys.byteorder == "little" else heads(keys)  # which sort as the bytes do
    order = np.argsort(beginnings)  # of numbers: a quarter of what sorting bytes takes
    beginnings, ordered = beginnings[order], scalars[order]
    is_first = np.ones(len(ordered), np.bool_)
    is_first[1:] = ordered[1:] != ordered[:-1]
    if (is_first[1:] & (beginnings[1:] == beginnings[:-1])).any():  # heads do not tell all of the keys apart
        values, numbers = np.unique(scalars, return_inverse=True)
        return values, numbers.astype(np.int64)
    numbers = np.empty(len(keys), np.int64)
    numbers[order] = np.cumsum(is_first) - 1
    return ordered[is_first], numbers


def same_items(store: Store, entries: Sequence[Entry], *, hash_sets: Iterable[str] = ()) -> dict[int, list[Entry]]:
    """Return the other live entries about each entry's file or external id, by id, in its set and in `hash_sets`."""
    about: dict[int, dict[int, Entry]] = {}
    by_set: dict[str, list[Entry]] = {}
    for entry in entries:
        by_set.setdefault(entry.hash_set, []).append(entry)
    for own_set, stated in by_set.items():
        contributor = stated[0].contributor
        ids = [e.external_id for e in stated if e.external_id]
        by_external_id = store.entries.existing_by_external_ids(contributor, own_set, ids)
        for e in stated:
            about[e.id] = {x.id: x for x in by_external_id.get(e.external_id, ())} if e.external_id else {}
        # By exact digests; an item that has none by all of its hashes, which the first one leads to.
        known = {e.id: [h for h in e.hashes if h.algorithm in WIDTHS] for e in stated}
        asked: dict[str, dict[bytes, list[Entry]]] = {}
        for e in stated:
            for h in known[e.id] or known_by(e)[:1]:
                asked.setdefault(h.algorithm, {}).setdefault(h.digest, []).append(e)
        for hash_set in {own_set, *hash_sets}:
            for algorithm, digests in asked.items():
                sharing = store.entries.live_entries_by_digests(contributor, hash_set, algorithm, list(digests))
                for digest, others in sharing.items():
                    for e in digests[digest]:
                        whole = set(known_by(e))
                        about[e.id] |= {x.id: x for x in others if known[e.id] or set(known_by(x)) == whole}
    return {i: [x[1] for x in sorted(others.items()) if x[0] != i] for i, others in about.items() if set(others) - {i}}


class HeldItems:
    """The holds of one hash set, by what they cover: `by_external_id`, `by_hash` (exact ones), `by_trace` (keyed).

    An item is held that was withdrawn or quarantined by hand, or by its source's own newer deletion message. A hold
    covers an item with the same external id or any exact digest in common; where the item or the held entry has
    neither, an item with the very same hashes. Of an erased entry only keyed traces are left, which cover the same.
    """

    def __init__(
        self, holds: Sequence[Hold], trace_of: Callable[[str, bytes], bytes], *, newer: Collection[int] = ()
    ) -> None:
        """`trace_of(kind, value)`: the keyed trace of an external id (`EXTERNAL_ID`, UTF-8) or a digest (its
        algorithm's name). `newer`: revisions of holds made after the source was first sent, other than by itself.
        """
        self._trace_of = trace_of
        self._newer = newer
        self.by_external_id: dict[str, list[Hold]] = defaultdict(list)
        self.by_hash: dict[Hash, list[Hold]] = defaultdict(list)
        self._by_hashes: dict[frozenset[Hash], list[Hold]] = defaultdict(list)
        self.by_trace: dict[bytes, list[Hold]] = defaultdict(list)
        for hold in holds:
            if hold.external_id:
                self.by_external_id[hold.external_id].append(hold)
            for h in hold.hashes:
                if h.algorithm in WIDTHS:
                    self.by_hash[h].append(hold)
            if hold.hashes:
                self._by_hashes[frozenset(hold.hashes)].append(hold)
            for trace in hold.traces:
                self.by_trace[trace].append(hold)
        self._count = len(holds)

    def __len__(self) -> int:
        return self._count

    @property
    def hash_sets(self) -> Collection[frozenset[Hash]]:
        """The sets of hashes without an exact one that are held, each as a whole."""
        return [hashes for hashes in self._by_hashes if WIDTHS.keys().isdisjoint(h.algorithm for h in hashes)]

    def about(self, item: Item) -> list[Hold]:
        """Return the holds that cover an item, whatever their time, by revision."""
        return sorted({(h.entry_id, h.effect): h for h in self._covering(item)}.values(), key=lambda h: h.revision)

    def of(self, record: Record) -> list[Hold]:
        """Return the holds that stand against a record, by revision: not the source's own that it overtakes."""
        return [h for h in self.about(record) if h.origin is not Origin.SOURCE or self._is_older(record, h)]

    def _covering(self, record: Item) -> Iterator[Hold]:
        external_id, hashes = record.external_id, _hashes_of(record)
        if external_id:
            yield from self.by_external_id.get(external_id, ())
        for h in hashes:
            if h in self.by_hash:
                yield from self.by_hash[h]
        is_bare = _is_bare(external_id, hashes)
        for hold in self._by_hashes.get(frozenset(hashes), ()):
            if is_bare or _is_bare(hold.external_id, hold.hashes):
                yield hold
        if self.by_trace:
            yield from self._covering_by_trace(record, is_bare=is_bare)

    def _covering_by_trace(self, record: Item, *, is_bare: bool) -> Iterator[Hold]:
        if record.external_id:
            yield from self.by_trace.get(self._trace_of("EXTERNAL_ID", record.external_id.encode()), ())
        if is_bare:
            traces = [self._trace_of(h.algorithm, h.digest) for h in _hashes_of(record)]
            yield from (h for h in self.by_trace.get(traces[0], ()) if h.traces.issuperset(traces))
            return
        for h in record.hashes:
            if h.algorithm in WIDTHS:
                yield from self.by_trace.get(self._trace_of(h.algorithm, h.digest), ())

    def _is_older(self, record: Record, hold: Hold) -> bool:
        """Whether the source is known to be older than its own deletion message."""
        if hold.revision in self._newer:
            return True
        stated, deleted = _time(record.source_time), _time(hold.source_time)
        if stated is None or deleted is None or (stated.tzinfo is None) != (deleted.tzinfo is None):
            return False
        return stated <= deleted


def _hashes_of(item: Item) -> tuple[Hash, ...]:
    """Return by what an item is known; rows of the store and records of the intake have all of it as hashes."""
    return known_by(item) if isinstance(item, Entry) else tuple(item.hashes)


def _is_bare(external_id: str, hashes: Sequence[Hash]) -> bool:
    return not external_id and all(h.algorithm not in WIDTHS for h in hashes)


def _time(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None
