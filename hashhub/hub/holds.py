"""Which items of a source are held: withdrawn or quarantined by hand, or by its own newer deletion message.

A hold covers an item with the same external id or any exact digest in common; where the item or the held entry has
neither, an item with the very same hashes. Of an erased entry only keyed traces are left, which cover the same items.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime
from typing import TYPE_CHECKING, Final

from hashhub.frames import known_by
from hashhub.hashes import ALGORITHMS, Hash, is_exact
from hashhub.model import Entry
from hashhub.store import Origin

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from hashhub.model import Record
    from hashhub.store.holds import Hold, LiveItem

    Item = Record | Entry | LiveItem


_EXACT: Final = frozenset(name for name in ALGORITHMS if is_exact(name))


class HeldItems:
    """The holds of one hash set, by what they cover: `by_external_id`, `by_hash` (exact ones), `by_trace` (keyed)."""

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
                if h.algorithm in _EXACT:
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
        return [hashes for hashes in self._by_hashes if _EXACT.isdisjoint(h.algorithm for h in hashes)]

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
            if h.algorithm in _EXACT:
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
    return not external_id and all(h.algorithm not in _EXACT for h in hashes)


def _time(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None
