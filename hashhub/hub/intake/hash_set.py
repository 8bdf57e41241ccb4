"""Compares a list with the hash set's own entries: unchanged, replacing, withdrawn before, withdrawn now.

Entries that state exactly the same are found by digests of statements; keys are compared for the others only. What
items and entries with one key mean for each other is decided for the key, not for each pair.
"""

from __future__ import annotations

from collections import defaultdict, deque
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from hashhub.frames import known_by
from hashhub.hashes import Hash
from hashhub.hub.intake.identity import (
    EXACT_CODES,
    WIDTHS,
    Column,
    Links,
    ascending_pairs,
    distinct,
    heads,
    is_bare,
    keys_of_hashes,
    places_among,
)
from hashhub.hub.intake.items import QUARANTINED, UNCHANGED, WAITS, Decisions, listed
from hashhub.hygiene import Code
from hashhub.model import EntryState, Purpose, Record, RecordReview, ReviewKind, number_of
from hashhub.store.comparison import EXTERNAL_ID
from hashhub.store.entry_codec import are_among, ascending, columns_of, keys_of_texts
from hashhub.store.resources import to_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from hashhub.hub.intake.items import Batch
    from hashhub.hub.intake.source import SourceItems
    from hashhub.model import Entry, HashSet, Marking
    from hashhub.store import StatedEntries, Store
    from hashhub.store.holds import Hold

_LIVE: Final = (EntryState.ACTIVE, EntryState.QUARANTINED)
_LOOKUP: Final = 2_000  # withdrawals looked into at a time
_EARLIER_KEPT: Final = 64  # entries with one key that are noted as earlier ones of each item; reviewed ones always are
_NO_IDS: Final = np.empty(0, np.int64)


class _KeyedEntries(NamedTuple):
    """Entries that may share a key with an item and do not settle it: columns by number, and by sort of key (an
    algorithm's name, EXTERNAL_ID, HASHES) uint8[m, bytes] and the entry of each.
    """

    ids: NDArray[np.int64]
    is_active: NDArray[np.bool_]
    is_live: NDArray[np.bool_]
    is_named: NDArray[np.bool_]
    keys: dict[str, tuple[NDArray[np.uint8], NDArray[np.int64]]]


class HashSetComparison:
    """What a list means for the hash set. Call `compare` once; then the attributes are final.

    All ids ascend, int64[n]. `superseded`, `absent`, `withdrawn`: entries to withdraw. `deletion_times`: of the
    source's deletion messages, by entry. `reviews`: what the source says about entries that stay, as (entry id, author,
    kind, comment). `restated`, int64[n, 2]: entries about the same item, the earlier one and the one that stays.
    `earlier`, int64[n, 2]: item and entry about it that its new one comes after. `live_count`: live entries before a
    replacing import.
    """

    def __init__(
        self,
        store: Store,
        hash_set: HashSet,
        source: SourceItems,
        keep_alive: Callable[[], object],
        terms: tuple[Marking, ...] = (),
    ) -> None:
        """`keep_alive` is called every now and then. `terms`: what the list states of its items'."""
        self._terms = to_json(terms) if terms else None
        self._store = store
        self._hash_set = hash_set
        self._name = (hash_set.contributor, hash_set.id)
        self._source = source
        self._decisions: Decisions = source.decisions
        self._keep_alive = keep_alive
        self._twin_waits: NDArray[np.bool_] = np.empty(0, np.bool_)  # by item: what states the same is quarantined
        self._meaning_codes: dict[object, int] = {}
        self._live: list[NDArray[np.int64]] = []  # read, in a replacing import
        self._heads: dict[str, NDArray[np.uint64]] = {}
        self._held: NDArray[np.int64] = np.empty((0, 2), np.int64)
        self.superseded = self.absent = self.withdrawn = _NO_IDS
        self.deletion_times: dict[int, str] = {}
        self.reviews: list[tuple[int, str, ReviewKind, str]] = []
        self.restated: NDArray[np.int64] = np.empty((0, 2), np.int64)
        self.earlier: NDArray[np.int64] = np.empty((0, 2), np.int64)
        self.live_count = 0

    def compare(self, batches: Callable[[], Iterable[Batch]], *, replace: bool) -> None:
        """Decide about the items that would become entries, and about the hash set's entries."""
        is_streamed = not self._store.comparison.has_live_entries(*self._name, self._source.worth_reading)
        pages = self._store.comparison.stated_entries(*self._name) if is_streamed else self._asked(batches())
        others = self._find_same(pages, keeps_ids=is_streamed and replace)
        accounted = self._weigh(others)
        self._remove(accounted)
        self._add_opinions()
        if replace:
            live = ascending(np.concatenate([_NO_IDS, *self._live]))
            if not is_streamed:
                live = self._store.entries.active_ids(*self._name, states=_LIVE)
            self.live_count = len(live)
            self.absent = live[~are_among(live, accounted)]

    def holding(self, item: int) -> str:
        """Return the names of the active entries that match until the quarantined item is released."""
        low, high = np.searchsorted(self._held[:, 0], [item, item + 1])
        names = [self.name_of(entry) for entry in self._held[low:high, 1].tolist()]
        return listed(names)

    def name_of(self, entry: int) -> str:
        """Return the name of an entry of the hash set."""
        return f"{self._hash_set.name}/{number_of(entry)}"

    def _asked(self, batches: Iterable[Batch]) -> Iterator[StatedEntries]:
        """Yield the entries that have a key of the source, of which there are few; each once."""
        seen: set[int] = set()
        for page in self._store.comparison.stated_about(*self._name, self._source.keys(batches)):
            fresh = np.fromiter((i not in seen for i in page.ids.tolist()), np.bool_, len(page.ids))
            seen.update(page.ids.tolist())
            yield page.where(fresh)

    def _find_same(self, pages: Iterable[StatedEntries], *, keeps_ids: bool) -> _KeyedEntries:
        """Let each item refer to the first entry that states exactly the same; return the entries that share keys."""
        d = self._decisions
        candidates = np.flatnonzero(d.become_entries)
        item_heads = heads(np.take(d.statements, candidates, axis=0))
        order = np.argsort(item_heads)
        items = candidates[order].astype(np.uint32)
        item_heads = item_heads[order]
        del order, candidates
        codes = self._meaning_codes
        codes[None] = 0
        meaning_of = np.fromiter((codes.setdefault(m.stated, len(codes)) for m in d.values.meanings), np.int64)
        alike = self._alike(items, item_heads, meaning_of)
        if alike:  # hardly ever
            is_first = ~np.isin(items, [item for item, first in alike.items() if item != first])
            items, item_heads = items[is_first], item_heads[is_first]
        twins: dict[int, list[tuple[int, bool]]] = {first: [] for first in alike.values()}
        self._twin_waits = np.zeros(len(d.outcome), np.bool_)
        parts: list[_KeyedEntries] = []
        unread: list[NDArray[np.int64]] = [_NO_IDS]  # entries that may share keys
        displaced: list[int] = []
        for page in pages:
            self._keep_alive()
            live = ~page.are_withdrawn
            if keeps_ids:
                self._live.append(page.ids[live])
            settles = self._settle_page(page, live, items, item_heads, meaning_of, displaced, twins)
            if page.external_ids is None:
                unread.append(page.ids[~settles])
            else:
                parts.append(self._others(page, ~settles))
        self._share_out(alike, twins)
        for rows in self._store.comparison.keys_of(ascending(np.concatenate([*unread, np.array(displaced, np.int64)]))):
            self._keep_alive()
            parts.append(self._others(rows, np.ones(len(rows.ids), np.bool_)))
        self._heads = {}
        return _joined(parts)

    def _alike(
        self, items: NDArray[np.uint32], item_heads: NDArray[np.uint64], meaning_of: NDArray[np.int64]
    ) -> dict[int, int]:
        """Return of items that several may repeat the first one that states the same and waits for the same."""
        d = self._decisions
        is_again = np.append(False, item_heads[1:] == item_heads[:-1])[: len(items)]
        firsts: dict[object, int] = {}
        alike: dict[int, int] = {}
        for item in ascending(items[is_again | np.roll(is_again, -1)]).tolist():
            stated = d.statements[item].tobytes(), meaning_of[d.kind[item]], d.lacks_value[item], d.outcome[item]
            alike[item] = firsts.setdefault((*stated, frozenset(d.reasons(item))), item)
        return alike

    def _share_out(self, alike: dict[int, int], twins: dict[int, list[tuple[int, bool]]]) -> None:
        """Let each of the items that several repeat refer to the first entry that states the same and is active, or
        waits and is no other item's. `twins`: these entries and whether they wait, by the first item.
        """
        d = self._decisions
        left = {first: deque(sorted(entries)) for first, entries in twins.items()}
        taken: set[int] = set()
        for item, first in alike.items():
            while left[first] and left[first][0][0] in taken:
                left[first].popleft()
            d.refers_to[item], self._twin_waits[item] = left[first][0] if left[first] else (-1, False)
            if self._twin_waits[item]:
                taken.add(int(d.refers_to[item]))

    def _settle_page(
        self,
        page: StatedEntries,
        live: NDArray[np.bool_],
        items: NDArray[np.uint32],
        item_heads: NDArray[np.uint64],
        meaning_of: NDArray[np.int64],
        displaced: list[int],
        twins: dict[int, list[tuple[int, bool]]],
    ) -> NDArray[np.bool_]:
        """Return which entries of a page are what an item refers to and share no key with another item."""
        d = self._decisions
        settles = np.zeros(len(page.ids), np.bool_)
        if not len(items) or not len(page.ids):
            return settles
        codes = self._meaning_codes
        meanings = np.fromiter((codes.get(m, -1) for m in page.meanings), np.int64)[page.meaning_of]
        undecided = page.are_undecided
        waiting = [() if active else reasons for active, reasons in zip(page.are_active, page.reasons, strict=False)]
        number = {reasons: i for i, reasons in enumerate(dict.fromkeys(((), *waiting)))}
        waits_for = np.zeros(len(page.ids), np.int64)
        waits_for[: len(waiting)] = [number[reasons] for reasons in waiting]
        entries = np.argsort(page.ids)
        entries = entries[live[entries]]
        page_heads = heads(np.take(page.statements, entries, axis=0))
        has_several = len(ascending(page_heads)) < len(entries)  # hardly ever
        low, counts = _runs_of(item_heads, page_heads)
        places, entries = expand_ranges(low, counts, entries)
        chosen = items[places].astype(np.int64)
        lacks_value = d.lacks_value[chosen] & (meaning_of[d.kind[chosen]] == codes[None])
        is_same_statement = (
            (np.take(d.statements, chosen, axis=0) == np.take(page.statements, entries, axis=0)).all(axis=1)
            & (meaning_of[d.kind[chosen]] == meanings[entries])
            & (lacks_value == undecided[entries])
        )
        if self._terms is not None:  # what stands under other terms is stated anew under these
            known = {key: self._store.entries.source(key) for key in set(page.imports.tolist())}
            has_terms = [(s := known[key]) is not None and s.terms == self._terms for key in page.imports.tolist()]
            is_same_statement &= np.array(has_terms, np.bool_)[entries]
        reasons_of = list(number)
        for at in np.flatnonzero(is_same_statement & (waits_for[entries] > 0)).tolist():
            is_same_statement[at] = d.waits_for(int(chosen[at]), reasons_of[waits_for[entries[at]]])
        chosen, entries = chosen[is_same_statement], entries[is_same_statement]
        if twins:
            are_twins = np.isin(chosen, list(twins))
            of = entries[are_twins]
            waits = zip(page.ids[of].tolist(), (~page.are_active[of]).tolist(), strict=True)
            for item, entry in zip(chosen[are_twins].tolist(), waits, strict=True):
                twins[item].append(entry)
        if has_several:  # only the first can be what an item refers to, but for what several items repeat
            chosen, firsts = np.unique(chosen, return_index=True)
            entries = entries[firsts]
        before, ids = d.refers_to[chosen], page.ids[entries]
        is_first = (before < 0) | (ids < before)
        displaced += ascending(before[is_first & (before >= 0)]).tolist()
        d.refers_to[chosen[is_first]] = ids[is_first]
        self._twin_waits[chosen[is_first]] = ~page.are_active[entries[is_first]]
        settles[entries[is_first]] = True
        settles[entries[self._source.is_shared[chosen]]] = False
        return settles

    def _has_key(self, sort: str, keys: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Return which keys an item of the source may have: nearly all of the others are told apart."""
        if sort not in self._heads:
            self._heads[sort] = ascending(heads(self._column(sort).keys))
        known = self._heads[sort]
        if not len(known):
            return np.zeros(len(keys), np.bool_)
        wanted = heads(keys)
        return np.equal(known[np.minimum(places_among(known, wanted), len(known) - 1)], wanted)

    def _column(self, sort: str) -> Column:
        source = self._source
        return {EXTERNAL_ID: source.external_ids, "HASHES": source.hash_sets}.get(sort) or source.digests[sort]

    def _others(self, page: StatedEntries, chosen: NDArray[np.bool_]) -> _KeyedEntries:
        """Return the chosen entries of a page that may share a key with an item."""
        by_algorithm: dict[str, list[tuple[NDArray[np.uint8], NDArray[np.int64]]]] = defaultdict(list)
        for shape, rows, matrix in page.shapes:
            here = np.flatnonzero(chosen[rows])
            if not len(here):
                continue
            for code, digests in columns_of(shape, matrix[here]):
                if code in EXACT_CODES:
                    by_algorithm[EXACT_CODES[code]].append((np.ascontiguousarray(digests), rows[here]))
            if is_bare(shape) and len(self._source.hash_sets.items):
                packed = (row.tobytes() for row in matrix[here])
                by_algorithm["HASHES"].append((keys_of_hashes(packed, shape), rows[here]))
        external_ids = page.external_ids or ()
        named = np.fromiter(map(bool, external_ids), np.bool_, len(page.ids))
        if len(self._source.external_ids.items) and len(rows := np.flatnonzero(named & chosen)):
            by_algorithm[EXTERNAL_ID].append((keys_of_texts(external_ids[i] for i in rows.tolist()), rows))
        keys: dict[str, tuple[NDArray[np.uint8], NDArray[np.int64]]] = {}
        for sort, parts in by_algorithm.items():
            values, rows = (np.concatenate(part) for part in zip(*parts, strict=True))
            has_one = self._has_key(sort, values)
            keys[sort] = values[has_one], rows[has_one]
        sharing = ascending(np.concatenate([_NO_IDS, *(rows for _, rows in keys.values())]))
        place = np.empty(len(page.ids), np.int64)
        place[sharing] = np.arange(len(sharing))
        return _KeyedEntries(
            page.ids[sharing],
            page.are_active[sharing],
            ~page.are_withdrawn[sharing],
            named[sharing],
            {sort: (values, place[rows]) for sort, (values, rows) in keys.items()},
        )

    def _weigh(self, others: _KeyedEntries) -> NDArray[np.int64]:
        """Settle the items that the hash set already has; return the ids of entries that stay or are replaced. A
        quarantined statement replaces quarantined ones only: it must not end the protection that an earlier one gives.
        """
        d = self._decisions
        of_items, of_entries = self._links(others)
        key_count = int(max(of_items.keys.max(initial=-1), of_entries.keys.max(initial=-1))) + 1
        live = of_entries.where(others.is_live[of_entries.rows])
        has_live = np.zeros(key_count, np.bool_)
        has_live[live.keys] = True
        is_live_elsewhere = np.zeros(len(d.outcome), np.bool_)
        is_live_elsewhere[of_items.rows[has_live[of_items.keys]]] = True
        self._keep_withdrawn(is_live_elsewhere)
        of_items = of_items.where(d.become_entries[of_items.rows])
        refers = d.refers_to[of_items.rows] >= 0
        waits = np.where(refers, self._twin_waits[of_items.rows], d.outcome[of_items.rows] == QUARANTINED)

        # What the items with a key mean for the entries with it.
        states_anew = np.zeros(key_count, np.bool_)
        states_anew[of_items.keys[~refers]] = True
        lets_wait = np.zeros(key_count, np.bool_)
        lets_wait[of_items.keys[waits]] = True
        first_twin = least_by_key(of_items.keys[refers], d.refers_to[of_items.rows[refers]], key_count)
        stays = np.zeros(len(others.ids), np.bool_)
        stays[live.rows[lets_wait[live.keys]]] = True
        stays &= others.is_active
        # Stated anew, an entry is the last word: one that came after it and still waits is out of date.
        is_out_of_date = ~others.is_active[live.rows] & (others.ids[live.rows] > first_twin[live.keys])
        replaced = np.zeros(len(others.ids), np.bool_)
        replaced[live.rows[states_anew[live.keys] | is_out_of_date]] = True

        unchanged = d.become_entries & (d.refers_to >= 0)
        staying = ascending(np.concatenate([d.refers_to[unchanged], others.ids[stays]]))
        superseded = ascending(others.ids[replaced])
        self.superseded = superseded[~are_among(superseded, staying)]
        self._note_earlier(others, of_items, of_entries, refers, waits)
        self._note_reviews(others, of_items, of_entries)
        d.outcome[unchanged] = np.where(self._twin_waits[unchanged], WAITS, UNCHANGED)
        return ascending(np.concatenate([staying, self.superseded]))

    def _links(self, others: _KeyedEntries) -> tuple[Links, Links]:
        """Return which items and which entries have which keys, those of no item left out."""
        d, is_named = self._decisions, self._source.is_named
        items: list[Links] = []
        entries: list[Links] = []
        base = 0
        for sort, (keys, rows) in others.keys.items():
            values, numbers = distinct(keys)
            having = self._column(sort).links(values)
            having = having.where(d.become_entries[having.rows])
            unnamed = having.where(~is_named[having.rows])
            theirs = Links(numbers, rows)
            live = others.is_live[rows]
            if sort == EXTERNAL_ID:
                sharing = [(having, theirs)]
            elif sort == "HASHES":
                sharing = [(unnamed, theirs)]
            else:
                # The external id is the identity; but reviews stay with the file, whatever it is called.
                sharing = [(unnamed, theirs.where(live & ~others.is_named[rows])), (having, theirs.where(~live))]
            for of_items, of_entries in sharing:
                items.append(Links(of_items.keys + base, of_items.rows))
                entries.append(Links(of_entries.keys + base, of_entries.rows))
                base += len(values)
        return _concatenated(items), _concatenated(entries)

    def _keep_withdrawn(self, is_live_elsewhere: NDArray[np.bool_]) -> None:
        """Let the items stay withdrawn that are held and of which there is no live entry: bool by item."""
        d = self._decisions
        chosen = {
            item: hold
            for item, hold in d.withdrawn_by.items()
            if d.becomes_entry(item) and not is_live_elsewhere[item] and d.refers_to[item] < 0
        }
        names = self._store.entries.get_entries({hold.entry_id for hold in chosen.values()}) if chosen else {}
        for item, hold in chosen.items():
            entry = names.get(hold.entry_id)
            d.keep_withdrawn(item, _stays_withdrawn(hold, entry.name if entry else self.name_of(hold.entry_id)))

    def _note_earlier(
        self,
        others: _KeyedEntries,
        of_items: Links,
        of_entries: Links,
        refers: NDArray[np.bool_],
        waits: NDArray[np.bool_],
    ) -> None:
        """Note which entries the items' own come after, which quarantined items wait behind which active ones."""
        d = self._decisions
        bounded = self._bounded(others, of_entries)
        anew = common_pairs(of_items.where(~refers), bounded)
        waiting = np.zeros(len(d.outcome), np.bool_)
        waiting[of_items.rows[waits & ~refers]] = True
        is_held = waiting[anew[:, 0]] & others.is_active[anew[:, 1]]
        # In the order of ids, in whatever order they were read.
        self.earlier = ascending_pairs(anew[:, 0], others.ids[anew[:, 1]])
        self._held = ascending_pairs(anew[is_held, 0], others.ids[anew[is_held, 1]])
        withdrawn = of_entries.where(~others.is_live[of_entries.rows])
        again = common_pairs(of_items.where(refers), withdrawn)
        self.restated = ascending_pairs(others.ids[again[:, 1]], d.refers_to[again[:, 0]])

    def _bounded(self, others: _KeyedEntries, of_entries: Links) -> Links:
        """Return not too many of the entries with one key: the first ones, and those with reviews."""
        if np.bincount(of_entries.keys, minlength=1).max() <= _EARLIER_KEPT:
            return of_entries
        order = np.lexsort((others.ids[of_entries.rows], of_entries.keys))
        links = Links(of_entries.keys[order], of_entries.rows[order])
        _, starts, counts = np.unique(links.keys, return_index=True, return_counts=True)
        rank = np.arange(len(links.keys)) - np.repeat(starts, counts)
        reviewed = list(self._store.entries.reviews_of(others.ids[links.rows[rank >= _EARLIER_KEPT]].tolist()))
        return links.where((rank < _EARLIER_KEPT) | np.isin(others.ids[links.rows], reviewed))

    def _note_reviews(self, others: _KeyedEntries, of_items: Links, of_entries: Links) -> None:
        """Keep what the items' reviews add to what the entries about them have: each word for word once."""
        d = self._decisions
        reviewed = np.array([item for item in d.reviews if d.becomes_entry(item)], np.int64)
        links = of_items.where(np.isin(of_items.rows, reviewed))
        about: dict[int, set[int]] = defaultdict(set)
        for item, row in common_pairs(links, of_entries).tolist():
            about[item].add(int(others.ids[row]))
        for item in reviewed.tolist():
            twin = int(d.refers_to[item])
            if twin >= 0:
                about[item].add(twin)
            if item not in about:
                continue
            known = self._store.entries.reviews_of(about[item])
            stated = {(r.kind, r.author, r.comment) for reviews in known.values() for r in reviews}
            # An export that comes back repeats what others said: that is there as their own word.
            fresh = tuple(
                v
                for v in dict.fromkeys(d.reviews[item])
                if not stated & {(v.kind, author, v.comment) for author in (v.author, self.attributed(v).author)}
            )
            d.reviews[item] = fresh
            if twin >= 0:
                self.reviews += [(twin, v.author, v.kind, v.comment) for v in map(self.attributed, fresh)]

    def attributed(self, review: RecordReview) -> RecordReview:
        """Return a review of the source as that of a member of the contributor: it is nobody else's word."""
        return RecordReview(review.kind, f"{self._hash_set.contributor}/{review.author}", review.comment)

    def _remove(self, accounted: NDArray[np.int64]) -> None:
        """Find the entries that the source asks to withdraw and does not state again."""
        withdrawn: set[int] = set()
        for part, by_id, by_hash in self._looked_up(self._source.removals):
            for item, record in part:
                entries = _meant(record, by_id, by_hash)
                is_restated = are_among(np.array(list(entries), np.int64), accounted)
                gone = {i: e for (i, e), stays in zip(entries.items(), is_restated, strict=True) if not stays}
                withdrawn.update(gone)
                if record.source_time:
                    self.deletion_times |= dict.fromkeys(gone, record.source_time)
                self._decisions.remark(item, *_removal(gone, entries))
        self.withdrawn = np.array(sorted(withdrawn), np.int64)

    def _looked_up(
        self, items: dict[int, Record]
    ) -> Iterator[tuple[list[tuple[int, Record]], dict[str, list[Entry]], dict[Hash, list[Entry]]]]:
        """Yield items, some at a time, and the entries that have their external ids or, without one, their hashes."""
        numbered = list(items.items())
        for start in range(0, len(numbered), _LOOKUP):
            part = numbered[start : start + _LOOKUP]
            self._keep_alive()
            by_id = self._store.entries.existing_by_external_ids(*self._name, [r.external_id for _, r in part])
            yield part, by_id, self._own_entries([h for _, r in part if not r.external_id for h in r.hashes])

    def _add_opinions(self) -> None:
        """Add the items that are only reviews to the entries that stay and that they are about."""
        leaving = ascending(np.concatenate([self.superseded, self.withdrawn]))
        added: set[tuple[int, str, ReviewKind, str]] = set()
        for part, by_id, by_hash in self._looked_up(self._source.opinions):
            entries_of = {item: _reviewed(record, by_id, by_hash) for item, record in part}
            every = np.array(list({i for entries in entries_of.values() for i in entries}), np.int64)
            gone = set(every[are_among(every, leaving)].tolist())
            known = self._store.entries.reviews_of(i for i in every.tolist() if i not in gone)
            added |= {(i, r.author, r.kind, r.comment) for i, reviews in known.items() for r in reviews}
            for item, record in part:
                names = {i: e.name for i, e in entries_of[item].items() if i not in gone}
                self._add_opinion(item, record, names, added)

    def _add_opinion(
        self, item: int, record: Record, entries: dict[int, str], added: set[tuple[int, str, ReviewKind, str]]
    ) -> None:
        """Add an item's reviews to `entries` (names by id); `added`: what these have already."""
        d, purpose = self._decisions, self._hash_set.purpose
        names, stated = listed(list(entries.values())), d.values.kinds[d.kind[item]].purpose
        if not entries:
            d.refuse(item, Code.NO_ENTRY, "the hash set has no live entry that the opinion is about")
        elif stated and stated != purpose and purpose is not Purpose.TEST:
            text = (
                f"the opinion is that the item is {stated.lower()}, and the entries of the hash set are "
                f"{purpose.lower()}, so that nothing was added to {names}"
            )
            d.refuse(item, Code.PURPOSE_MISMATCH, text)
        else:
            said = dict.fromkeys(
                (i, v.author, v.kind, v.comment) for v in map(self.attributed, record.reviews) for i in entries
            )
            fresh = [one for one in said if one not in added]
            added.update(fresh)
            self.reviews += fresh
            d.opinions[item] = f"the item is a review of {names}" + ("" if fresh else ", which is there already")
            if fresh:
                d.asides[item] = Code.REVIEW_ADDED, f"added to {names}"
                self._source.noted += 1

    def _own_entries(self, hashes: Iterable[Hash]) -> dict[Hash, list[Entry]]:
        """Return the hash set's live entries that have one of the hashes, by hash."""
        wanted: dict[str, list[bytes]] = defaultdict(list)
        for h in hashes:
            wanted[h.algorithm].append(h.digest)
        return {
            Hash(name, digest): entries
            for name, digests in wanted.items()
            for digest, entries in self._store.entries.live_entries_by_digests(*self._name, name, digests).items()
        }


def _meant(record: Record, by_id: dict[str, list[Entry]], by_hash: dict[Hash, list[Entry]]) -> dict[int, Entry]:
    """Return the entries that a withdrawal means, by id."""
    if record.external_id:
        return {e.id: e for e in by_id.get(record.external_id, ())}
    if exact := [h for h in record.hashes if h.algorithm in WIDTHS]:
        return {e.id: e for h in exact for e in by_hash.get(h, ())}
    sharing = by_hash.get(record.hashes[0], ())
    return {e.id: e for e in sharing if set(known_by(e)) == set(record.hashes)}


def _reviewed(record: Record, by_id: dict[str, list[Entry]], by_hash: dict[Hash, list[Entry]]) -> dict[int, Entry]:
    """Return the live entries that an opinion is about, by id: those that contradict none of its digests."""
    if record.external_id:
        return {e.id: e for e in by_id.get(record.external_id, ())}
    digest_of = {h.algorithm: h.digest for h in record.hashes if h.algorithm in WIDTHS}
    sharing = {e.id: e for h in record.hashes for e in by_hash.get(h, ())}
    return {i: e for i, e in sharing.items() if all(digest_of.get(h.algorithm, h.digest) == h.digest for h in e.hashes)}


def _removal(gone: dict[int, Entry], entries: dict[int, Entry]) -> tuple[str, str]:
    """Return what became of a withdrawal, as (code, detail)."""
    if gone:
        return Code.WITHDRAWN_BY_SOURCE, f"withdrawn: {listed([e.name for e in gone.values()])}"
    if entries:
        return Code.SUPERSEDED, "stated again further on in the same source; nothing was withdrawn"
    return Code.UNKNOWN_EXTERNAL_ID, "the hash set has no such entry; there was nothing to withdraw"


def _stays_withdrawn(hold: Hold, name: str) -> str:
    if hold.entry_id < 0:
        return (
            "it was withdrawn by a newer deletion message of the source and stays so; a newer list can state it again"
        )
    who = "the contributor or an operator" if hold.origin in {"CONTRIBUTOR", "SOURCE"} else "only an operator"
    why = "by a newer deletion message of the source" if hold.origin == "SOURCE" else "by hand"
    return f"{name} was withdrawn {why} and stays so; to restore it: hashhub entry restore {name} ({who})"


def _runs_of(ordered: NDArray[np.uint64], wanted: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return where each wanted number begins among ordered ones, of which there are some, and how often it is there."""
    last = len(ordered) - 1
    starts = places_among(ordered, wanted)
    counts = (ordered[np.minimum(starts, last)] == wanted).astype(np.int64)
    counts[starts > last] = 0
    # Hardly any is there twice, and looking for its end takes as long again.
    several = np.flatnonzero((counts == 1) & (starts < last) & (ordered[np.minimum(starts + 1, last)] == wanted))
    counts[several] = np.searchsorted(ordered, wanted[several], "right") - starts[several]
    return starts, counts


def expand_ranges(
    starts: NDArray[np.int64], counts: NDArray[np.int64], values: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return each number of the ranges that begin at `starts`, and beside it the range's value."""
    if counts.max(initial=0) <= 1:  # mostly; and `np.repeat` holds Python's lock
        is_there = counts > 0
        return starts[is_there], values[is_there]
    ends = np.cumsum(counts)
    within = np.arange(int(ends[-1]) if len(ends) else 0) - np.repeat(ends - counts, counts)
    return np.repeat(starts, counts) + within, np.repeat(values, counts)


def least_by_key(keys: NDArray[np.int64], values: NDArray[np.int64], key_count: int) -> NDArray[np.int64]:
    """Return the least value beside each key from 0 to before `key_count`, the greatest number where there is none."""
    least = np.full(key_count, np.iinfo(np.int64).max)
    order = np.argsort(values)[::-1]
    least[keys[order]] = values[order]  # of those of one key the last stays; `np.minimum.at` holds Python's lock
    return least


def common_pairs(of_items: Links, of_entries: Links) -> NDArray[np.int64]:
    """Return the distinct pairs (item, entry's row) that have a key in common, int64[n, 2], ascending."""
    order = np.argsort(of_entries.keys)
    counts = np.bincount(of_entries.keys, minlength=int(of_items.keys.max(initial=-1)) + 1)
    starts = np.cumsum(counts) - counts
    places, items = expand_ranges(starts[of_items.keys], counts[of_items.keys], of_items.rows)
    return ascending_pairs(items, of_entries.rows[order][places])


def _concatenated(links: Sequence[Links]) -> Links:
    keys, rows = [x.keys for x in links], [x.rows for x in links]
    return Links(np.concatenate([_NO_IDS, *keys]), np.concatenate([_NO_IDS, *rows]))


def _joined(parts: Sequence[_KeyedEntries]) -> _KeyedEntries:
    """Return the entries of all pages."""
    parts = [part for part in parts if len(part.ids)]
    bases = np.cumsum([0, *(len(part.ids) for part in parts)]).tolist()
    keys: dict[str, list[tuple[NDArray[np.uint8], NDArray[np.int64]]]] = defaultdict(list)
    for base, part in zip(bases, parts, strict=False):
        for sort, (values, rows) in part.keys.items():
            keys[sort].append((values, rows + base))
    none = np.empty(0, np.bool_)
    return _KeyedEntries(
        np.concatenate([_NO_IDS, *(part.ids for part in parts)]),
        np.concatenate([none, *(part.is_active for part in parts)]),
        np.concatenate([none, *(part.is_live for part in parts)]),
        np.concatenate([none, *(part.is_named for part in parts)]),
        {s: (np.concatenate([v for v, _ in of]), np.concatenate([r for _, r in of])) for s, of in keys.items()},
    )
