"""Decides what becomes of every item of an import: within its own source, and against what the hub already holds.

Two items are the *same item* when they share the contributor's own external id or, where the source has none, an exact digest; an
item without any exact digest is the same as another with the very same hashes. What hygiene found in single records (hashhub.hygiene)
comes staged; the rules here need all of the source, or the hub:

    within the source                                          against the hub
    DUPLICATE_IN_SOURCE      same item, nothing contradicts:   IDENTICAL_ENTRY      the hash set holds it already: unchanged
                             merged into the first             SUPERSEDED           the hash set holds another statement: replaced
    CONFLICTING_CATEGORIES   same item, two raw values:        IN_BENIGN_SET        an exact digest is in a benign hash set:
                             all quarantined                                        quarantined
    CONTRADICTORY_BINDING    one digest bound to two digests   CONTRADICTORY_BINDING    as on the left, with another hash set's
                             of another exact algorithm:                            entry: quarantined
                             all quarantined                   ABSENT_FROM_LIST     a replacing list lacks it: withdrawn

Columns of digests are compared with numpy; Python looks only at the few items where something is found.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np

from hashhub.hashes import ALGORITHMS, Hash, Metric
from hashhub.hygiene import Code
from hashhub.model import (
    NO_FLAGS,
    Action,
    Classification,
    Counts,
    Disposition,
    Entry,
    EntryState,
    Finding,
    Flags,
    HashSet,
    Purpose,
    Record,
    Reject,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from hashhub.matcher import Matcher
    from hashhub.schemes import Scheme
    from hashhub.store import Store

_LIVE: Final = (EntryState.ACTIVE, EntryState.QUARANTINED)
_LOOKUP: Final = 2_000  # digests or ids asked of the store at a time


class Staged(msgspec.Struct, frozen=True, array_like=True):
    """A record as hygiene left it: unusable hashes are gone from it and stand in `notes` as (code, detail)."""

    record: Record
    disposition: Disposition
    reasons: tuple[str, ...]
    notes: tuple[tuple[str, str], ...]


class Batch(msgspec.Struct, frozen=True, array_like=True):
    """What one call staged."""

    staged: list[Staged]
    rejects: list[Reject]


class NewEntry(msgspec.Struct, frozen=True):
    """An entry to write: the record, with what duplicates of it add."""

    record: Record
    state: EntryState
    reasons: tuple[str, ...]


class _Column:
    """All digests of one algorithm in the source: `digests` uint8[n, bytes], `items` int64[n] ascending."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._items: list[NDArray[np.int64]] = []
        self.digests: NDArray[np.uint8] = np.empty((0, 1), np.uint8)
        self.items: NDArray[np.int64] = np.empty(0, np.int64)

    def extend(self, digests: list[bytes], items: list[int]) -> None:
        if digests:
            self._parts.append(b"".join(digests))
            self._items.append(np.asarray(items, np.int64))

    def close(self, width: int) -> None:
        self.digests = np.frombuffer(b"".join(self._parts), np.uint8).reshape(-1, width)
        self.items = np.concatenate(self._items) if self._items else self.items
        self._parts, self._items = [], []

    def of(self, item: int) -> bytes | None:
        at = int(np.searchsorted(self.items, item))
        return self.digests[at].tobytes() if at < len(self.items) and self.items[at] == item else None

    def shared(self) -> Iterator[list[int]]:
        """Yield the items of each digest that more than one item has."""
        if len(self.digests) < 2:  # noqa: PLR2004 - nothing to compare
            return
        key = np.ascontiguousarray(self.digests[:, :8]).view(np.uint64).ravel()
        order = np.argsort(key, kind="stable")
        same = key[order][1:] == key[order][:-1]
        groups: dict[bytes, list[int]] = defaultdict(list)
        for at in np.flatnonzero(np.concatenate(([False], same)) | np.concatenate((same, [False]))):
            row = order[at]
            groups[self.digests[row].tobytes()].append(int(self.items[row]))
        for items in groups.values():
            if len(set(items)) > 1:
                yield items


class Intake:
    """The decisions about one import. Call `decide` once; then the attributes and iterators are final.

    `counts`; `entry_count`: entries to write; `superseded`, `absent`, `withdrawn`: ids of entries to withdraw; `live_count`:
    active and quarantined entries of the hash set before a replacing import.
    """

    def __init__(
        self, store: Store, matcher: Matcher, hash_set: HashSet, scheme: Scheme | None, *, replace: bool
    ) -> None:
        """`scheme` is the hash set's, or None when its items carry no classification."""
        self._store = store
        self._matcher = matcher
        self._hash_set = hash_set
        self._scheme = scheme
        self._replace = replace
        self._resolved: dict[str, Classification | None] = {}
        self._columns: dict[str, _Column] = {a.name: _Column() for a in ALGORITHMS.values() if a.metric is Metric.EXACT}
        self._external: dict[str, list[int]] = {}  # contributed items by external id
        self._removals: dict[int, Record] = {}  # items that ask for a withdrawal
        self._bare: dict[tuple[Hash, ...], list[int]] = {}  # items with neither external id nor exact digest
        self._named: set[int] = set()  # items that have an external id
        self._outcome: NDArray[np.uint8] = np.empty(0, np.uint8)
        self._remarks: dict[int, list[tuple[str, str]]] = defaultdict(list)  # item -> (code, detail) of these rules
        self._merged: dict[int, Record] = {}  # first item of a group of duplicates -> the union
        self._noted = 0
        self.counts = Counts()
        self.entry_count = 0
        self.superseded: list[int] = []
        self.absent: list[int] = []
        self.withdrawn: list[int] = []
        self.live_count = 0

    def resolve(self, value: str) -> Classification | None:
        """Return what a raw value means in the hash set's scheme, or None when it means nothing there."""
        if value not in self._resolved:
            self._resolved[value] = self._scheme.resolve(value) if self._scheme and value else None
        return self._resolved[value]

    def decide(self, batches: Callable[[], Iterable[Batch]]) -> None:
        """Decide about every item. `batches` gives the staged batches from the beginning; it is called two or three times."""
        reject_count = self._collect(batches())
        self._within_the_source(batches)
        self._against_the_hub(batches)
        counts = Counter(self._outcome.tolist())
        self.entry_count = counts[_CODE[Disposition.ACCEPTED]] + counts[_CODE[Disposition.QUARANTINED]]
        self.counts = Counts(
            items=len(self._outcome) + reject_count,
            accepted=counts[_CODE[Disposition.ACCEPTED]],
            quarantined=counts[_CODE[Disposition.QUARANTINED]],
            rejected=counts[_CODE[Disposition.REJECTED]] + reject_count,
            duplicate=counts[_CODE[Disposition.DUPLICATE]],
            unchanged=counts[_CODE[Disposition.UNCHANGED]],
            withdrawn=counts[_CODE[Disposition.WITHDRAWN]],
            noted=self._noted,
            superseded=len(self.superseded),
            absent=len(self.absent),
        )

    def entries(self, batches: Iterable[Batch]) -> Iterator[NewEntry]:
        """Yield the entries to write, in the order of the source."""
        accepted, quarantined = _CODE[Disposition.ACCEPTED], _CODE[Disposition.QUARANTINED]
        item = 0
        for batch in batches:
            for staged, outcome in zip(
                batch.staged, self._outcome[item : item + len(batch.staged)].tolist(), strict=True
            ):
                if outcome in (accepted, quarantined):
                    reasons = staged.reasons
                    if item in self._remarks:
                        reasons = tuple(dict.fromkeys((*reasons, *(code for code, _ in self._remarks[item]))))
                    state = EntryState.ACTIVE if outcome == accepted else EntryState.QUARANTINED
                    yield NewEntry(
                        self._merged.get(item, staged.record), state, reasons if outcome == quarantined else ()
                    )
                item += 1

    def findings(self, batches: Iterable[Batch], first_entry: int) -> Iterator[Finding]:
        """Yield what became of every item that was not simply accepted, batch by batch. `first_entry`: id of the first entry."""
        if self.counts.items == self.counts.accepted and not self.counts.noted:
            return  # nothing to say: the batches need not be read again
        item = 0
        entry = first_entry
        for batch in batches:
            for staged, code in zip(batch.staged, self._outcome[item : item + len(batch.staged)].tolist(), strict=True):
                disposition = _DISPOSITIONS[code]
                is_entry = disposition in {Disposition.ACCEPTED, Disposition.QUARANTINED}
                position, entry_id = staged.record.position, entry if is_entry and first_entry else 0
                why = list(self._remarks.get(item, ()))
                if disposition in {Disposition.REJECTED, Disposition.QUARANTINED}:
                    why = [n for n in staged.notes if n[0] in staged.reasons] + why
                if disposition is not Disposition.ACCEPTED:
                    yield Finding(position, disposition, why[0][0], "; ".join(detail for _, detail in why), entry_id)
                for reason, detail in staged.notes:
                    if reason not in staged.reasons:
                        yield Finding(position, Disposition.NOTED, reason, detail, entry_id)
                entry += is_entry
                item += 1
            for reject in batch.rejects:
                yield Finding(reject.position, Disposition.REJECTED, reject.reason, reject.detail)

    def _collect(self, batches: Iterable[Batch]) -> int:
        """Read the columns; return the number of the connector's own rejects."""
        outcomes: list[NDArray[np.uint8]] = []
        reject_count = item = 0
        for batch in batches:
            outcome = bytearray()
            digests: dict[str, list[bytes]] = {name: [] for name in self._columns}
            items: dict[str, list[int]] = {name: [] for name in self._columns}
            for staged in batch.staged:
                record = staged.record
                if staged.notes:
                    self._noted += sum(reason not in staged.reasons for reason, _ in staged.notes)
                if staged.disposition is Disposition.REJECTED:
                    outcome.append(_CODE[Disposition.REJECTED])
                elif record.action is Action.WITHDRAW:
                    outcome.append(_CODE[Disposition.WITHDRAWN])
                    self._removals[item] = record
                else:
                    outcome.append(_CODE[self._classify(item, staged)])
                    is_bare = not record.external_id
                    if record.external_id:
                        self._external.setdefault(record.external_id, []).append(item)
                        self._named.add(item)
                    for h in record.hashes:
                        if h.algorithm in digests:
                            digests[h.algorithm].append(h.digest)
                            items[h.algorithm].append(item)
                            is_bare = False
                    if is_bare:
                        self._bare.setdefault(tuple(sorted(record.hashes)), []).append(item)
                item += 1
            outcomes.append(np.frombuffer(bytes(outcome), np.uint8))
            for name, column in self._columns.items():
                column.extend(digests[name], items[name])
            reject_count += len(batch.rejects)
        for name, column in self._columns.items():
            column.close(ALGORITHMS[name].digest_bytes)
        self._outcome = np.concatenate(outcomes) if outcomes else np.empty(0, np.uint8)
        return reject_count

    def _classify(self, item: int, staged: Staged) -> Disposition:
        """Return the item's disposition after its raw value was looked up in the scheme."""
        record = staged.record
        if self._scheme and self._scheme.contradicts_region(record.region):
            self._remark(
                item,
                Code.REGION_MISMATCH,
                f"the file says region {record.region[:20]}, the hash set's scheme is for {self._scheme.region}",
            )
            return Disposition.QUARANTINED
        if record.value and self.resolve(record.value) is None:
            scheme = self._hash_set.scheme or "none"
            self._remark(
                item, Code.UNKNOWN_VALUE, f"the hash set's scheme ({scheme}) has no value {record.value[:40]!r}"
            )
            return Disposition.QUARANTINED
        if not record.value and self._scheme and self._scheme.value_required:
            self._remark(item, Code.UNCLASSIFIED, f"the item has no value of {self._hash_set.scheme}")
            return Disposition.QUARANTINED
        return staged.disposition

    def _within_the_source(self, batches: Callable[[], Iterable[Batch]]) -> None:
        group = _Groups()
        for column in self._columns.values():
            for items in column.shared():
                self._check_bindings(items)
                # An external id is the identity; two members of a source may well state the same picture.
                group.join([i for i in items if i not in self._named])
        for items in (*self._external.values(), *self._bare.values()):
            group.join(items)
        groups = group.all()
        for removal, record in self._removals.items():
            for earlier in self._external.get(record.external_id, ()):
                if earlier < removal:  # the source's last word counts
                    self._settle(
                        earlier, Disposition.DUPLICATE, Code.SUPERSEDED, "withdrawn further on in the same source"
                    )
        if groups:
            self._merge(groups, batches())

    def _check_bindings(self, items: list[int]) -> None:
        for name, column in self._columns.items():
            bound = {i: d for i in items if (d := column.of(i)) is not None}
            if len(set(bound.values())) > 1:
                for i in bound:
                    self._settle(
                        i,
                        Disposition.QUARANTINED,
                        Code.CONTRADICTORY_BINDING,
                        f"items with one digest in common have different {name} digests",
                    )

    def _merge(self, groups: list[list[int]], batches: Iterable[Batch]) -> None:
        """Merge each group's items into its first, or quarantine them all when their raw values differ."""
        wanted = {i for items in groups for i in items}
        staged_of: dict[int, Staged] = {}
        item = 0
        for batch in batches:
            for staged in batch.staged:
                if item in wanted:
                    staged_of[item] = staged
                item += 1
        found = {i: staged.record for i, staged in staged_of.items()}
        accepted, quarantined = _CODE[Disposition.ACCEPTED], _CODE[Disposition.QUARANTINED]
        for items in groups:
            same = [i for i in items if self._outcome[i] in (accepted, quarantined)]
            if len(same) < 2:  # noqa: PLR2004 - nothing left to merge
                continue
            values = {found[i].value for i in same} - {""}
            if len(values) > 1:
                listed = ", ".join(sorted(repr(v[:20]) for v in values))
                for i in same:
                    others = ", ".join(found[j].position for j in same[:5] if j != i)
                    self._settle(
                        i,
                        Disposition.QUARANTINED,
                        Code.CONFLICTING_CATEGORIES,
                        f"the source states {listed} for it (also at {others})",
                    )
                continue
            if any(code == Code.CONTRADICTORY_BINDING for i in same for code, _ in self._remarks.get(i, ())):
                continue  # each stays visible on its own
            first = next((i for i in same if found[i].value), same[0])
            rest = [i for i in same if i != first]
            self._merged[first] = _union([found[first], *(found[i] for i in rest)])
            for i in rest:
                if self._outcome[i] == quarantined:  # the union holds what is suspect about it
                    self._outcome[first] = quarantined
                    suspect = [n for n in staged_of[i].notes if n[0] in staged_of[i].reasons]
                    for code, detail in (*suspect, *self._remarks.get(i, ())):
                        self._remark(first, code, detail)
                self._outcome[i] = _CODE[Disposition.DUPLICATE]
                self._remarks[i] = [
                    (
                        Code.DUPLICATE_IN_SOURCE,
                        f"the same item as {found[first].position}; its hashes were merged into it",
                    )
                ]

    def _against_the_hub(self, batches: Callable[[], Iterable[Batch]]) -> None:
        same, others = self._known_entries()
        sets = self._store.hash_sets()
        for item, (entry, name) in ((i, o) for i, found in others.items() for o in found):
            other_set = sets.get(f"{entry.contributor}/{entry.hash_set}")
            if other_set and other_set.purpose is Purpose.BENIGN and self._hash_set.purpose is not Purpose.BENIGN:
                self._settle(
                    item,
                    Disposition.QUARANTINED,
                    Code.IN_BENIGN_SET,
                    f"its {name} digest is in a benign hash set of the hub",
                )
            for h in entry.hashes:
                column = self._columns.get(h.algorithm)
                mine = column.of(item) if column else None
                if mine is not None and mine != h.digest and h.algorithm != name:
                    self._settle(
                        item,
                        Disposition.QUARANTINED,
                        Code.CONTRADICTORY_BINDING,
                        f"another hash set of the hub binds its {name} digest to a different {h.algorithm} digest",
                    )
        kept: set[int] = set()
        if same:
            kept = self._compare(same, batches())
        for item, record in self._removals.items():
            self._remove(item, record)
        if self._replace:
            live = self._store.active_ids(self._hash_set.contributor, self._hash_set.id).tolist()
            accounted = {*self.superseded, *self.withdrawn, *kept}
            self.live_count = len(live)
            self.absent = [i for i in live if i not in accounted]

    def _known_entries(self) -> tuple[dict[int, dict[int, Entry]], dict[int, list[tuple[Entry, str]]]]:
        """Return, by item, the same hash set's entries of the same item, and other hash sets' entries with a digest in common."""
        same: dict[int, dict[int, Entry]] = defaultdict(dict)
        others: dict[int, list[tuple[Entry, str]]] = defaultdict(list)
        mine = (self._hash_set.contributor, self._hash_set.id)
        waiting = self._quarantined()
        for name, column in self._columns.items():
            hit = self._matcher.contains(name, column.digests) if len(column.digests) else np.empty(0, bool)
            rows = np.flatnonzero(hit)
            for low in range(0, len(rows), _LOOKUP):
                part = rows[low : low + _LOOKUP]
                found = self._store.entries_by_digests(name, [column.digests[r].tobytes() for r in part])
                for r in part:
                    item, digest = int(column.items[r]), column.digests[r].tobytes()
                    for entry in found.get(digest, ()):
                        if (entry.contributor, entry.hash_set) != mine:
                            others[item].append((entry, name))
                        elif not entry.external_id and item not in self._named:
                            same[item][entry.id] = entry
            if waiting:
                for r in range(len(column.digests)):
                    for entry in waiting.get(Hash(name, column.digests[r].tobytes()), ()):
                        if not entry.external_id and int(column.items[r]) not in self._named:
                            same[int(column.items[r])][entry.id] = entry
        for hashes, items in self._bare.items():
            by_algorithm = self._store.entries_by_digests(hashes[0].algorithm, [hashes[0].digest]) if hashes else {}
            known = [*by_algorithm.get(hashes[0].digest, ()), *waiting.get(hashes[0], ())] if hashes else []
            for entry in known:
                if (entry.contributor, entry.hash_set) == mine and set(entry.hashes) == set(hashes):
                    same[items[0]][entry.id] = entry
        ids = list(self._external)
        for low in range(0, len(ids), _LOOKUP):
            known_ids = self._store.existing_by_external_ids(*mine, ids[low : low + _LOOKUP])
            for external_id, entry in known_ids.items():
                for item in self._external[external_id]:
                    same[item][entry.id] = entry
        return same, others

    def _quarantined(self) -> dict[Hash, list[Entry]]:
        """Return the hash set's quarantined entries by hash: the matcher does not hold them."""
        waiting: dict[Hash, list[Entry]] = defaultdict(list)
        contributor, hash_set = self._hash_set.contributor, self._hash_set.id
        if not self._store.entry_count(contributor, hash_set, EntryState.QUARANTINED):
            return waiting
        after = 0
        while page := self._store.list_entries(contributor, hash_set, (EntryState.QUARANTINED,), 1000, after):
            for entry in page:
                for h in entry.hashes:
                    waiting[h].append(entry)
            after = page[-1].id
        return waiting

    def _compare(self, same: dict[int, dict[int, Entry]], batches: Iterable[Batch]) -> set[int]:
        """Settle items that the hash set already has; return the ids of entries that stay."""
        accepted, quarantined = _CODE[Disposition.ACCEPTED], _CODE[Disposition.QUARANTINED]
        kept: set[int] = set()
        replaced: set[int] = set()
        item = 0
        for batch in batches:
            for staged in batch.staged:
                if item in same and self._outcome[item] in (accepted, quarantined):
                    record = self._merged.get(item, staged.record)
                    twin = next((e for e in same[item].values() if _identical(e, record)), None)
                    if twin is not None:
                        kept.add(twin.id)
                        self._outcome[item] = _CODE[Disposition.UNCHANGED]
                        self._remarks[item] = [(Code.IDENTICAL_ENTRY, f"entry {twin.name} already states exactly this")]
                    else:
                        replaced |= same[item].keys()
                item += 1
        self.superseded = sorted(replaced - kept)
        return kept

    def _remove(self, item: int, record: Record) -> None:
        """Find the entries of a record that asks for a withdrawal: by external id or, where it has none, by its exact digests."""
        mine = (self._hash_set.contributor, self._hash_set.id)
        found: dict[int, Entry] = {}
        if record.external_id:
            found = {e.id: e for e in self._store.existing_by_external_ids(*mine, [record.external_id]).values()}
        else:
            for h in record.hashes:
                if h.algorithm in self._columns:
                    known = self._store.entries_by_digests(h.algorithm, [h.digest], states=_LIVE).get(h.digest, ())
                    found |= {e.id: e for e in known if (e.contributor, e.hash_set) == mine}
        if found:
            self.withdrawn += [i for i in found if i not in self.withdrawn]
            self.superseded = [i for i in self.superseded if i not in found]
            self._remark(item, Code.WITHDRAWN_BY_SOURCE, f"withdrawn: {', '.join(e.name for e in found.values())}")
        else:
            self._remark(
                item, Code.UNKNOWN_EXTERNAL_ID, "the hash set has no such entry; there was nothing to withdraw"
            )

    def _remark(self, item: int, code: str, detail: str) -> None:
        if all(code != known for known, _ in self._remarks[item]):
            self._remarks[item].append((code, detail))

    def _settle(self, item: int, disposition: Disposition, code: str, detail: str) -> None:
        """Give an item that would become an entry another disposition, and say why."""
        if self._outcome[item] in (_CODE[Disposition.ACCEPTED], _CODE[Disposition.QUARANTINED]):
            self._outcome[item] = _CODE[disposition]
            if disposition is Disposition.DUPLICATE:
                self._remarks[item] = []
            self._remark(item, code, detail)


_DISPOSITIONS: Final = tuple(Disposition)
_CODE: Final = {d: i for i, d in enumerate(_DISPOSITIONS)}


class _Groups:
    """Disjoint sets of items (union-find); only items that share something with another are ever in it."""

    def __init__(self) -> None:
        self._parent: dict[int, int] = {}

    def join(self, items: Sequence[int]) -> None:
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


def _union(records: list[Record]) -> Record:
    """Return the first record with what the others add; where both say something, the first one's word stands."""
    first = records[0]
    flags = first.flags
    if any(r.flags != NO_FLAGS for r in records[1:]):
        flags = Flags(
            **{
                f: next((v for r in records if (v := getattr(r.flags, f)) is not None), None)
                for f in Flags.__struct_fields__
            }
        )
    return msgspec.structs.replace(
        first,
        hashes=tuple(dict.fromkeys(h for r in records for h in r.hashes)),
        flags=flags,
        media_type=next((r.media_type for r in records if r.media_type), ""),
        media_size=next((r.media_size for r in records if r.media_size is not None), None),
        series=next((r.series for r in records if r.series), ""),
        tags=tuple(dict.fromkeys(t for r in records for t in r.tags)),
        quality=next((r.quality for r in records if r.quality is not None), None),
        reviews=tuple(dict.fromkeys(v for r in records for v in r.reviews)),
    )


def _identical(entry: Entry, record: Record) -> bool:
    """Tell whether the entry states exactly what the record states. The source's own time stamp does not count."""
    return (
        (entry.classification.value if entry.classification else "") == record.value
        and set(entry.hashes) == set(record.hashes)
        and entry.flags == record.flags
        and (entry.media_type, entry.media_size, entry.series, entry.tags, entry.quality, entry.provenance.member)
        == (record.media_type, record.media_size, record.series, record.tags, record.quality, record.member)
    )
