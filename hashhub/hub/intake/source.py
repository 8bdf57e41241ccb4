"""The items of a list among themselves: duplicates, conflicting categories, contradictory bindings, withdrawals."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np

from hashhub.answering.lookup import ENDS
from hashhub.hashes import FRAMES, Hash
from hashhub.hub.intake.identity import (
    ALGORITHM_OF_CODE,
    EXACT_CODES,
    WIDTHS,
    Column,
    ItemGroups,
    Links,
    ascending_pairs,
    distinct,
    is_bare,
    keys_of_hashes,
    lists_of,
)
from hashhub.hub.intake.items import (
    ACCEPTED,
    QUARANTINED,
    UNCHANGED,
    WITHDRAWN,
    Batch,
    Decisions,
    ItemKind,
    MergedItem,
    Remarks,
    listed,
)
from hashhub.hygiene import ABOUT_SOURCE, MAX_UNLIKE, Code, unlike_hashes
from hashhub.item import FieldKind, of_kind, union
from hashhub.model import MAX_HASHES_PER_ENTRY, Record, Reject
from hashhub.store.comparison import EXTERNAL_ID
from hashhub.store.entry_codec import (
    KEY_BYTES,
    STATEMENT_BYTES,
    keys_of_texts,
    pack_details,
    pack_flags,
    pack_hashes,
    shape_of,
    statement_of,
    unpack_hashes,
)
from hashhub.store.schema import to_millis

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from hashhub.hub.intake.identity import HeldItems
    from hashhub.store.comparison import Keys

MOST_OF_DIGEST: Final = 2 * ENDS  # items of one source with one digest, of which no more than that is said
_LOOKUP: Final = 2_000  # keys asked of the store at a time
# A source with a key for every so many entries of the hash set: reading all of them costs less than looking for each
# key.
STREAMED_SHARE: Final = 8
_Part = tuple[int, Record, Remarks]  # an item of a group, with what hygiene says of it
_OTHERS_SHOWN: Final = 5  # items of a conflict that are named
_TEXTS: Final = tuple(f.name for f in of_kind(FieldKind.TEXTS))


class SourceItems:
    """The list that is taken in: its keys as columns, and its items' decisions, which the rules here make first.

    `digests`: by exact algorithm; `external_ids`; `hash_sets`: all hashes of items without any exact digest.
    `removals`: items that ask for a withdrawal; `opinions`: those that are only reviews. `is_named`, bool[n]: has an
    external id. `is_shared`, bool[n]: shares a key with another item.
    """

    def __init__(self, decisions: Decisions) -> None:
        self.decisions = decisions
        self.digests = {name: Column(width) for name, width in WIDTHS.items()}
        self.external_ids = Column(KEY_BYTES)
        self.hash_sets = Column(KEY_BYTES)
        self.removals: dict[int, Record] = {}
        self.opinions: dict[int, Record] = {}
        self.is_named: NDArray[np.bool_] = np.empty(0, np.bool_)
        self.is_shared: NDArray[np.bool_] = np.empty(0, np.bool_)
        self.partial: Reject | None = None  # what the source says of being incomplete
        self.reject_count = 0  # the connector's own
        self.noted = 0
        self._unlike: dict[int, str] = {}  # what is wrong with perceptual hashes of items that have too many
        self.raw_from: int | None = None  # the first item whose value is kept although nothing says what it means

    def __len__(self) -> int:
        return len(self.decisions.outcome)

    @property
    def columns(self) -> Iterator[Column]:
        """All columns of keys."""
        yield from self.digests.values()
        yield self.external_ids
        yield self.hash_sets

    def forget_digests(self) -> None:
        """Give the memory of all exact digests back, once nothing is decided by them any more."""
        self.digests.clear()

    @property
    def worth_reading(self) -> int:
        """How many entries or holds cost less to be read, all of them, than to be looked for by each key."""
        return STREAMED_SHARE * sum(len(column.items) for column in self.columns)

    def keys(self, batches: Iterable[Batch]) -> Iterator[Keys]:
        """Yield all that the items which would become entries may be known by, some of it at a time."""
        for name, column in self.digests.items():
            for start in range(0, len(column.items), _LOOKUP):
                flat = column.keys[start : start + _LOOKUP].tobytes()
                yield name, [flat[at : at + WIDTHS[name]] for at in range(0, len(flat), WIDTHS[name])]
        first, states = 0, self.decisions.become_entries
        for batch in batches:
            here = states[first : first + len(batch)]
            first += len(batch)
            if batch.has_external_ids:
                yield EXTERNAL_ID, [x for x in batch.external_ids.of(np.flatnonzero(here)) if x]
            for shape, items in batch.shapes():
                # Of all hashes of a bare item one is enough to find it by.
                if shape and is_bare(shape):
                    _, digests = next(batch.digests(shape, items[here[items]]))
                    yield ALGORITHM_OF_CODE[shape[0]], [row.tobytes() for row in digests]

    def read(self, batches: Iterable[Batch]) -> None:
        """Read the columns."""
        outcome, kinds = [np.empty(0, np.uint8)], [np.empty(0, np.uint32)]
        statements = [np.empty((0, STATEMENT_BYTES), np.uint8)]
        named: list[NDArray[np.bool_]] = []
        first = 0
        for batch in batches:
            numbers = np.array([self.decisions.values.number(kind) for kind in batch.kinds], np.uint32)
            kinds.append(numbers[batch.kind_of] if len(batch) else numbers)
            outcome.append(batch.dispositions)
            statements.append(batch.statements)
            states = (batch.dispositions == ACCEPTED) | (batch.dispositions == QUARANTINED)
            self._read_hashes(batch, first, states)
            named.append(self._read_external_ids(batch, first, states))
            for item in np.flatnonzero(batch.dispositions == WITHDRAWN).tolist():
                self.removals[first + item] = batch.record(item)
            for item in np.flatnonzero(batch.dispositions == UNCHANGED).tolist():
                self.opinions[first + item] = batch.record(item)
            self.noted += sum(len(batch.remarks(item).asides) for item in batch.with_remarks)
            self.decisions.grounds |= {
                first + item: batch.remarks(item).reasons
                for item in batch.with_remarks
                if batch.dispositions[item] == QUARANTINED
            }
            self.decisions.reviews |= {first + item: reviews for item, reviews in batch.reviews.items() if states[item]}
            self._read_rejects(batch.rejects)
            first += len(batch)
        for column in self.columns:
            column.close()
        self.is_named = np.concatenate([np.empty(0, np.bool_), *named])
        self.is_shared = np.zeros(first, np.bool_)
        self.decisions.begin(np.concatenate(outcome), np.concatenate(kinds), np.concatenate(statements))
        for item, detail in self._unlike.items():
            self.decisions.quarantine(item, Code.UNLIKE_HASHES, detail)
        self._look_at_kinds()

    def _read_hashes(self, batch: Batch, first: int, states: NDArray[np.bool_]) -> None:
        parts: dict[str, list[tuple[NDArray[np.uint8], NDArray[np.int64]]]] = defaultdict(list)
        for shape, having in batch.shapes():
            items = having[states[having]]
            if not len(items):
                continue
            if len(shape) > MAX_UNLIKE:
                details = map(unlike_hashes, map(unpack_hashes, batch.hashes.of(items)))
                self._unlike |= {first + i: d for i, d in zip(items.tolist(), details, strict=True) if d}
            for code, digests in batch.digests(shape, items):
                if code in EXACT_CODES:
                    parts[EXACT_CODES[code]].append((digests, items))
            if is_bare(shape):
                parts[""].append((keys_of_hashes(batch.hashes.of(items), shape), items))
        for name, chosen in parts.items():
            column = self.digests[name] if name else self.hash_sets
            keys, items = (np.concatenate(part) for part in zip(*chosen, strict=True))
            order = np.argsort(items, kind="stable")
            column.extend(keys[order], items[order] + first)

    def _read_external_ids(self, batch: Batch, first: int, states: NDArray[np.bool_]) -> NDArray[np.bool_]:
        if not batch.has_external_ids:
            return np.zeros(len(batch), np.bool_)
        named = batch.external_ids.lengths > 0
        items = np.flatnonzero(named & states)
        self.external_ids.extend(keys_of_texts(batch.external_ids.of(items)), items + first)
        return named

    def _read_rejects(self, rejects: Iterable[Reject]) -> None:
        for reject in rejects:
            if reject.reason in ABOUT_SOURCE:
                self.noted += 1
            else:
                self.reject_count += 1
            if reject.reason == Code.PARTIAL_SOURCE:
                self.partial = reject

    def _look_at_kinds(self) -> None:
        d, values = self.decisions, self.decisions.values
        stating = d.become_entries
        d.outcome[stating & values.are(lambda _, meaning: meaning.ground is not None)[d.kind]] = QUARANTINED
        raw = values.are(lambda _, meaning: meaning.is_raw)
        if raw.any() and len(items := np.flatnonzero(stating & raw[d.kind])):
            self.raw_from = int(items[0])
            self.noted += 1

    @property
    def has_values(self) -> bool:
        """Whether some item has a value."""
        has_value = self.decisions.values.are(lambda kind, _: bool(kind.value))
        return bool(has_value[np.unique(self.decisions.kind[self.decisions.become_entries])].any())

    def expect_values(self, waiting: str) -> None:
        """Note which items lack a value, one being due; they wait for it if `waiting` says so, in a sentence."""
        d = self.decisions
        without = d.become_entries & d.values.are(lambda kind, _: not kind.value)[d.kind]
        d.lacks_value = without
        if waiting:
            d.waits_for_value = waiting
            d.outcome[without] = QUARANTINED

    def ask_holds(self, holds: HeldItems, batches: Iterable[Batch]) -> None:
        """Note what holds the items, and what they overtake."""
        d = self.decisions
        if holds.by_trace:  # keyed: each item must be asked about
            candidates = d.become_entries.copy()
        else:
            candidates = np.zeros(len(self), np.bool_)
            for column, keys in self._held_keys(holds):
                candidates[column.links(distinct(keys)[0]).rows] = True
        if not candidates.any():
            return
        for item, batch, place in _places(batches, candidates):
            record = batch.record(place)
            standing = holds.of(record)
            if overtaken := [h.entry_id for h in holds.about(record) if h not in standing]:
                d.overtaken[item] = overtaken
            for hold in standing:
                if hold.effect == "WITHDRAWN":
                    d.withdrawn_by.setdefault(item, hold)
                elif hold.entry_id > 0:
                    text = "an operator put this item into quarantine; it waits there until an operator releases it"
                    d.hold(item, Code.QUARANTINED_BY_OPERATOR, text)
                else:
                    text = (
                        "it was withdrawn by hand, and the database was restored from a backup that lacks its entry; "
                        "it waits until an operator releases it"
                    )
                    d.hold(item, Code.STAYS_WITHDRAWN, text)

    def _held_keys(self, holds: HeldItems) -> Iterator[tuple[Column, NDArray[np.uint8]]]:
        """Yield the keys by which items without traces are held, for each column."""
        for name, column in self.digests.items():
            digests = [h.digest for h in holds.by_hash if h.algorithm == name]
            yield column, np.frombuffer(b"".join(digests), np.uint8).reshape(-1, WIDTHS[name])
        yield self.external_ids, keys_of_texts(holds.by_external_id)
        for hashes in holds.hash_sets:
            packed = pack_hashes(hashes)
            yield self.hash_sets, keys_of_hashes([packed], shape_of(packed))

    def decide(self, batches: Iterable[Batch]) -> None:
        """Quarantine what contradicts itself, drop what the source withdraws again, merge the same items."""
        d = self.decisions
        same_item = ItemGroups()  # to be merged
        same_file = ItemGroups()  # these, and items of one member about one file, which must not contradict each other
        member_of = d.values.codes(lambda kind, _: kind.member)
        bound_otherwise: set[int] = set()
        repeated: list[Links] = []
        for column in self.digests.values():
            sharing = column.shared()
            if not len(sharing.rows):
                continue
            self.is_shared[sharing.rows] = True
            repeated.append(sharing)
            bound_otherwise |= self._check_bindings(sharing)
            # An external id is the identity; two members of a source may well state the same picture.
            unnamed = sharing.where(~self.is_named[sharing.rows])
            same_item.join([unnamed.keys], unnamed.rows)
            same_file.join([unnamed.keys], unnamed.rows)
            same_file.join([sharing.keys, member_of[d.kind[sharing.rows]]], sharing.rows)
        for column in (self.external_ids, self.hash_sets):
            sharing = column.shared()
            self.is_shared[sharing.rows] = True
            if column is self.hash_sets:
                repeated.append(sharing)
                sharing = sharing.where(~self.is_named[sharing.rows])
            same_item.join([sharing.keys], sharing.rows)
            same_file.join([sharing.keys], sharing.rows)
        self._withdraw_earlier()
        conflicts = self._conflicts(same_file.all())
        links = same_item.all()
        groups = lists_of(links.where(d.become_entries[links.rows]))
        if conflicts or groups:
            self._settle(groups, conflicts, bound_otherwise, batches)
        for sharing in repeated:
            self._note_repeated(sharing)

    def _note_repeated(self, sharing: Links) -> None:
        """Remark about what the source states more often than all of it can be judged."""
        d = self.decisions
        entries = sharing.where(d.become_entries[sharing.rows])
        counts = np.bincount(entries.keys)
        firsts = np.cumsum(counts) - counts
        for key in np.flatnonzero(counts > MOST_OF_DIGEST).tolist():
            item = int(entries.rows[firsts[key] + MOST_OF_DIGEST])
            if item not in d.asides:
                text = (
                    f"{MOST_OF_DIGEST} items before it and {counts[key] - MOST_OF_DIGEST - 1} behind it have a digest "
                    "in common with it; each is an entry, and when somebody asks about that digest, the hash set's "
                    f"first {ENDS} entries and its last {ENDS} with it are judged"
                )
                d.asides[item] = Code.REPEATED_DIGEST, text
                self.noted += 1

    def _check_bindings(self, sharing: Links) -> set[int]:
        """Quarantine the items of each key that come with two digests of one other exact algorithm; return them."""
        quarantined: set[int] = set()
        for name, column in self.digests.items():
            rows = column.first_of(sharing.rows)
            bound = sharing.where(rows >= 0)
            if not len(bound.rows):
                continue
            _, numbers = distinct(column.keys[rows[rows >= 0]])
            _, firsts, key_of = np.unique(bound.keys, return_index=True, return_inverse=True)
            contradicted = np.unique(bound.keys[numbers != numbers[firsts][key_of]])
            # Also those that say nothing of the other digest: nobody can tell which file they are.
            for item in sharing.rows[np.isin(sharing.keys, contradicted)].tolist():
                text = f"items with one digest in common have different {name} digests"
                self.decisions.quarantine(item, Code.CONTRADICTORY_BINDING, text)
                quarantined.add(item)
        return quarantined

    def _withdraw_earlier(self) -> None:
        """Drop items that the same source withdraws further on: its last word counts."""
        by_name: dict[str, tuple[list[bytes], list[int]]] = {name: ([], []) for name in (*WIDTHS, "", "HASHES")}
        for removal, record in self.removals.items():
            exact = [h for h in record.hashes if h.algorithm in WIDTHS]
            if record.external_id:
                keys = [("", keys_of_texts([record.external_id]).tobytes())]
            elif exact:
                keys = [(h.algorithm, h.digest) for h in exact]
            else:
                packed = pack_hashes(record.hashes)
                keys = [("HASHES", keys_of_hashes([packed], shape_of(packed)).tobytes())]
            for name, key in keys:
                by_name[name][0].append(key)
                by_name[name][1].append(removal)
        for name, (keys_of, removals) in by_name.items():
            if not keys_of:
                continue
            column = {"": self.external_ids, "HASHES": self.hash_sets}.get(name) or self.digests[name]
            flat = np.frombuffer(b"".join(keys_of), np.uint8).reshape(len(keys_of), -1)
            values, numbers = distinct(flat)
            last = np.full(len(values), -1, np.int64)
            np.maximum.at(last, numbers, np.array(removals, np.int64))
            having = column.links(values)
            if column is self.hash_sets:
                having = having.where(~self.is_named[having.rows])
            for item in having.rows[having.rows < last[having.keys]].tolist():
                self.decisions.drop_withdrawn(item)

    def _conflicts(self, groups: Links) -> list[list[int]]:
        """Return the items of each group that states two values."""
        d = self.decisions
        groups = groups.where(d.become_entries[groups.rows])
        if not len(groups.rows):
            return []
        valued = d.values.are(lambda _, meaning: bool(meaning.spelling))[d.kind[groups.rows]]
        spelling_of = d.values.codes(lambda _, meaning: meaning.spelling)
        stated = ascending_pairs(groups.keys[valued], spelling_of[d.kind[groups.rows]][valued])
        numbers, counts = np.unique(stated[:, 0], return_counts=True)
        return lists_of(groups.where(np.isin(groups.keys, numbers[counts > 1])))

    def _settle(
        self, groups: list[list[int]], conflicts: list[list[int]], bound_otherwise: set[int], batches: Iterable[Batch]
    ) -> None:
        """Quarantine the items of each conflict; merge each other group's items into its first."""
        apart = bound_otherwise.union(*conflicts)  # each of them stays visible on its own
        pending: dict[int, list[int]] = {}
        for items in groups:
            if len(items) > 1 and apart.isdisjoint(items):
                pending |= dict.fromkeys(items, items)
        chosen = np.zeros(len(self), np.bool_)
        chosen[list(pending)] = True
        named = [i for items in conflicts for i in items[:_OTHERS_SHOWN]]
        chosen[named] = True
        position_of: dict[int, str] = {}
        parts: dict[int, _Part] = {}
        frames: dict[int, bytes] = {}
        shown = set(named)
        for item, batch, place in _places(batches, chosen):
            if item in shown:
                position_of[item] = batch.positions[place]
            if (group := pending.get(item)) is not None:
                parts[item] = item, batch.record(place), batch.remarks(place)
                if place in batch.frames:
                    frames[item] = batch.frames[place]
                if item == group[-1]:  # all of them are there
                    self._merge([parts.pop(i) for i in group], {i: frames.pop(i) for i in group if i in frames})
        self._tell_conflicts(conflicts, position_of)

    def _tell_conflicts(self, conflicts: list[list[int]], position_of: dict[int, str]) -> None:
        d = self.decisions
        for items in conflicts:
            spellings = {d.values.meanings[d.kind[i]].spelling for i in items} - {""}
            stated = listed(sorted({repr(spelling[:20]) for spelling in spellings}))
            for i in items:
                others = ", ".join(position_of[j] for j in items[:_OTHERS_SHOWN] if j != i)
                text = f"the source states {stated} for it (also at {others})"
                d.quarantine(i, Code.CONFLICTING_CATEGORIES, text)

    def _merge(self, group: list[_Part], frames: dict[int, bytes]) -> None:
        """Merge items that are the same into as few as can hold them. `frames`: of those that are videos."""
        if name := _repeated_algorithm(h for _, record, _ in group for h in record.hashes):
            # No two of them share the one digest and differ in the other, yet all of them cannot be one item.
            for item, *_ in group:
                text = f"what the source states about the same item adds up to two {name} digests"
                self.decisions.quarantine(item, Code.CONTRADICTORY_BINDING, text)
            return
        with_value = next((part for part in group if part[1].value), group[0])
        first = with_value
        for carried, rest in _loads([with_value, *(part for part in group if part is not with_value)]):
            if carried is not first:
                text = (
                    f"the same item as {first[1].position}; one entry holds at most {MAX_HASHES_PER_ENTRY} hashes, "
                    "so that this is another"
                )
                self.decisions.asides[carried[0]] = (Code.TOO_MANY_HASHES, text)
                self.noted += 1
            if rest:
                self._merge_into(carried, rest, frames)

    def _merge_into(self, first: _Part, rest: list[_Part], frames: dict[int, bytes]) -> None:
        d = self.decisions
        item, record, _ = first
        merged = union([record, *(r for _, r, _ in rest)])
        # One entry has one list of frames: as of other fields, the first one's word stands.
        framed = next((i for i, *_ in (first, *rest) if i in frames), item)
        if lists := [h for h in merged.hashes if h.algorithm == FRAMES.name][1:]:
            merged = msgspec.structs.replace(merged, hashes=tuple(h for h in merged.hashes if h not in lists))
        for other, _, remarks in rest:
            for code, detail in (*remarks.grounds, *d.remarks(other)):
                if code != Code.UNCLASSIFIED or not merged.value:  # the union holds what is suspect about its parts
                    d.outcome[item] = QUARANTINED
                    d.remark(item, code, detail)
            if other in d.withdrawn_by:
                d.withdrawn_by.setdefault(item, d.withdrawn_by[other])
            d.reviews.pop(other, None)
        if detail := unlike_hashes(merged.hashes):
            d.quarantine(item, Code.UNLIKE_HASHES, detail)
        if merged.reviews:
            d.reviews[item] = merged.reviews
        packed = MergedItem(
            external_id=merged.external_id,
            flags=pack_flags(merged.flags),
            expire_time=None if merged.expire_time is None else to_millis(merged.expire_time),
            hashes=pack_hashes(merged.hashes),
            details=pack_details(merged),
            frames=frames[framed] if framed != item else None,
        )
        d.merge(item, record.position, d.values.number(ItemKind.of(merged)), packed, [other for other, *_ in rest])
        d.statements[item] = np.frombuffer(statement_of(merged), np.uint8)


def _places(batches: Iterable[Batch], chosen: NDArray[np.bool_]) -> Iterator[tuple[int, Batch, int]]:
    """Yield each chosen item with the batch that it is in and its place there."""
    first = 0
    for batch in batches:
        for place in np.flatnonzero(chosen[first : first + len(batch)]).tolist():
            yield first + place, batch, place
        first += len(batch)


def _repeated_algorithm(hashes: Iterable[Hash]) -> str:
    """Return the exact algorithm of which the hashes have two different digests, or an empty string."""
    digests: dict[str, bytes] = {}
    repeated = {
        h.algorithm for h in hashes if h.algorithm in WIDTHS and digests.setdefault(h.algorithm, h.digest) != h.digest
    }
    return next((name for name in WIDTHS if name in repeated), "")


def _loads(group: list[_Part]) -> Iterator[tuple[_Part, list[_Part]]]:
    """Cut items that are the same into runs that one entry each can hold: the first of each, and the rest of it."""
    first, rest = group[0], list[_Part]()
    held = _texts_and_hashes(first[1])
    for part in group[1:]:
        more = _texts_and_hashes(part[1])
        if all(len(a | b) <= max(MAX_HASHES_PER_ENTRY, len(a)) for a, b in zip(held, more, strict=True)):
            held = [a | b for a, b in zip(held, more, strict=True)]
            rest.append(part)
        else:
            yield first, rest
            first, rest, held = part, [], more
    yield first, rest


def _texts_and_hashes(record: Record) -> list[set[object]]:
    """Return what merging adds up."""
    return [set(record.hashes), *(set(getattr(record, name)) for name in _TEXTS)]
