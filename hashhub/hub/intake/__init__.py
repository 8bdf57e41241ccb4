"""Decides what becomes of every item of an import: within its own source, and against its own hash set. Nothing depends
on what other contributors, or other hash sets, state. docs/reasons.md says what each code means.

Two items are the same when they share the contributor's own external id or, where the source has none, an exact digest;
an item without any exact digest is the same as another with the very same hashes. Items with ids of their own stay
apart even when they are about one file; whoever states them (`Record.member`) must not give it two categories.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from hashhub.errors import InvalidArgument
from hashhub.hub.intake.hash_set import HashSetComparison
from hashhub.hub.intake.items import (
    ACCEPTED,
    CODE,
    DISPOSITIONS,
    QUARANTINED,
    REJECTED,
    UNCHANGED,
    WAITS,
    Batch,
    Decisions,
    KindMeanings,
    Stager,
)
from hashhub.hub.intake.source import SourceItems
from hashhub.hygiene import ABOUT_SOURCE, Code
from hashhub.model import Counts, Disposition, EntryState, Finding, HashSet, Marking, Purpose, ReviewKind, Unclassified
from hashhub.store import EntryColumns
from hashhub.store.entry_codec import pack_reasons
from hashhub.store.schema import ENTRY_STATES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from numpy.typing import NDArray

    from hashhub.hub.intake.identity import HeldItems
    from hashhub.model import Classification
    from hashhub.schemes import Scheme
    from hashhub.store import FindingRun, Store
    from hashhub.store.comparison import Keys

__all__ = ["Batch", "Intake", "NewEntries", "Stager"]

_UNDECIDED: Final = pack_reasons((Code.UNCLASSIFIED.value,))
_SHORT: Final = 8  # lines; fewer take no less room as a run


class NewEntries(NamedTuple):
    """Entries to write, of one batch. `harmless`: ids of active ones. `reviews`: (entry id, author, kind, comment)."""

    columns: EntryColumns
    harmless: list[int]
    reviews: list[tuple[int, str, ReviewKind, str]]


class Intake:
    """The decisions about one import. Call `decide` once; then the rest can be asked. `overtaken`: ids of entries,
    ascending, that the source withdrew before and states again; `compared`: what the list means for the hash set.
    """

    def __init__(
        self,
        store: Store,
        hash_set: HashSet,
        scheme: Scheme | None,
        holds: Callable[[Iterable[Keys] | None], HeldItems],
        *,
        replace: bool,
        has_classifications: bool | None,
        terms: tuple[Marking, ...] = (),
        keep_alive: Callable[[], object] = lambda: None,
    ) -> None:
        """`holds`: those that may cover an item with one of the keys; None: all. `has_classifications`: whether the
        source's format carries them; None: not stated. `terms`: what it states of its items'.
        """
        self._store = store
        self._hash_set = hash_set
        self._scheme = scheme
        self._holds = holds
        self._replace = replace
        self._has_classifications = has_classifications
        self._values = KindMeanings(hash_set, scheme)
        self.decisions = Decisions(self._values, hash_set.name)
        self._source = SourceItems(self.decisions)
        self.compared = HashSetComparison(store, hash_set, self._source, keep_alive, terms)
        self.counts = Counts()
        self.overtaken: NDArray[np.int64] = np.empty(0, np.int64)

    @property
    def entry_count(self) -> int:
        """How many entries are to be written."""
        return int(self.decisions.become_entries.sum())

    @property
    def unchanged(self) -> NDArray[np.int64]:
        """The entries that state what an item states, and stay as they are; -1 for an item that is an opinion only."""
        return self.decisions.refers_to[np.isin(self.decisions.outcome, (UNCHANGED, WAITS))]

    def decide(self, batches: Callable[[], Iterable[Batch]]) -> None:
        """Decide about every item. `batches` gives the staged batches from the beginning, each time it is called.

        Raises InvalidArgument for a replacing list that is not a full one: all that it lacks would be withdrawn.
        """
        source, decisions = self._source, self.decisions
        source.read(batches())
        if self._replace:
            self._require_a_full_list()
        are_many = self._store.comparison.has_holds(self._hash_set.contributor, source.worth_reading)
        if holds := self._holds(source.keys(batches()) if are_many else None):
            source.ask_holds(holds, batches())
        self._expect_values()
        source.decide(batches())
        self.compared.compare(batches, replace=self._replace)
        accepted = decisions.outcome == ACCEPTED
        overtaken = {e for item, ids in decisions.overtaken.items() if accepted[item] for e in ids}
        self.overtaken = np.array(sorted(overtaken), np.int64)
        became = np.bincount(decisions.outcome, minlength=WAITS + 1).tolist()
        self.counts = Counts(
            items=len(source) + source.reject_count,
            accepted=became[ACCEPTED],
            quarantined=became[QUARANTINED] + became[WAITS],
            rejected=became[REJECTED] + source.reject_count,
            duplicate=became[CODE[Disposition.DUPLICATE]],
            unchanged=became[CODE[Disposition.UNCHANGED]],
            withdrawn=became[CODE[Disposition.WITHDRAWN]],
            stays_withdrawn=became[CODE[Disposition.STAYS_WITHDRAWN]],
            noted=source.noted,
            superseded=len(self.compared.superseded),
            absent=len(self.compared.absent),
        )
        source.forget_digests()

    def entries(self, batches: Iterable[Batch], first_entry: int) -> Iterator[NewEntries]:
        """Yield the entries to write, batch by batch. `first_entry`: id of the first; classifications are numbers."""
        first, next_entry = 0, first_entry
        for batch in batches:
            places = np.flatnonzero(self.decisions.become_entries[first : first + len(batch)])
            if len(places):
                yield self._entries(batch, first, places, next_entry)
            first += len(batch)
            next_entry += len(places)

    def classifications(self) -> list[Classification | None]:
        """Return what the entries may have as their classification, by number."""
        return [self._values.classification(kind) for kind in self._values.kinds]

    def findings(self, batches: Iterable[Batch], first_entry: int) -> Iterator[Finding | FindingRun]:
        """Yield what became of every item that was not simply accepted. `first_entry`: id of the first entry."""
        if self.counts.items == self.counts.accepted and not self.counts.noted:
            return  # nothing to say: the batches need not be read again
        decisions = self.decisions
        raw_from = () if self._source.raw_from is None else (self._source.raw_from,)
        asides = np.array(sorted({*decisions.asides, *decisions.opinions, *raw_from}), np.int64)
        first, next_entry = 0, first_entry
        for batch in batches:
            outcome = decisions.outcome[first : first + len(batch)]
            becomes_entry = (outcome == ACCEPTED) | (outcome == QUARANTINED)
            entry_of = next_entry + np.cumsum(becomes_entry) - becomes_entry
            is_told = outcome != ACCEPTED
            here = asides[slice(*np.searchsorted(asides, (first, first + len(batch))))] - first
            with_more = [*batch.with_remarks, *here.tolist()]
            is_told[with_more] = True
            is_only_unchanged = outcome == UNCHANGED
            is_only_unchanged[with_more] = False
            is_only_unchanged &= is_told
            told = np.flatnonzero(is_told)
            # Nearly all lines of a list that comes again say that an item is unchanged: they go in runs.
            ends = np.flatnonzero(np.diff(is_only_unchanged[told])) + 1
            for places in np.split(told, ends) if len(told) else ():
                if is_only_unchanged[places[0]]:
                    run = decisions.unchanged(batch.positions.of(places), decisions.refers_to[first + places])
                    yield from (run,) if len(run.positions) >= _SHORT else run.findings()
                    continue
                for place in places.tolist():
                    entry = int(entry_of[place]) if first_entry and becomes_entry[place] else 0
                    yield from self._lines(batch, first + place, place, entry)
            for reject in batch.rejects:
                disposition = Disposition.NOTED if reject.reason in ABOUT_SOURCE else Disposition.REJECTED
                yield Finding(reject.position, disposition, reject.reason, reject.detail)
            first += len(batch)
            next_entry += int(becomes_entry.sum())

    def _lines(self, batch: Batch, item: int, place: int, entry: int) -> Iterator[Finding]:
        """Yield what became of one item; `place`: in its batch; `entry`: its id, 0 without one."""
        decisions = self.decisions
        waits = decisions.outcome[item] == WAITS
        disposition = Disposition.QUARANTINED if waits else DISPOSITIONS[decisions.outcome[item]]
        entry = int(decisions.refers_to[item]) if waits else entry
        position, said = batch.positions[place], batch.remarks(place)
        if disposition is not Disposition.ACCEPTED:
            why = decisions.remarks(item)
            if disposition in {Disposition.REJECTED, Disposition.QUARANTINED}:
                why = said.grounds + why
            details = [detail for _, detail in why]
            if disposition is Disposition.QUARANTINED and (holding := self.compared.holding(item)):
                details.append(f"{holding} matches until this one is released")
            if waits:
                details.append(f"{self.compared.name_of(entry)} has stated this before, and waits as before")
            yield Finding(position, disposition, why[0][0], "; ".join(details), entry)
        for reason, detail in said.asides:
            yield Finding(position, Disposition.NOTED, reason, detail, entry)
        if (aside := decisions.asides.get(item)) is not None:
            yield Finding(position, Disposition.NOTED, *aside, entry)
        if item == self._source.raw_from:
            value = batch.kinds[batch.kind_of[place]].value
            text = (
                f"the hash set has no scheme, so that {value[:40]!r} says nothing here; "
                "this value and all further ones are kept as the source gives them"
            )
            yield Finding(position, Disposition.NOTED, Code.UNKNOWN_VALUE, text, entry)

    def restated(self, first_entry: int) -> NDArray[np.int64]:
        """Return pairs of entries about the same item, the earlier one first, int64[n, 2]."""
        earlier = self.compared.earlier
        ids = first_entry + np.cumsum(self.decisions.become_entries) - 1
        pairs = np.stack([earlier[:, 1], ids[earlier[:, 0]]], axis=1) if len(earlier) else earlier
        return np.concatenate([self.compared.restated, pairs])

    def _entries(self, batch: Batch, first: int, places: NDArray[np.int64], first_id: int) -> NewEntries:
        d = self.decisions
        items = first + places
        ids = range(first_id, first_id + len(places))
        is_active = d.outcome[items] == ACCEPTED
        external_ids, hashes = batch.external_ids.of(places), batch.hashes.of(places)
        details: list[bytes | None] = [packed or None for packed in batch.details.of(places)]
        flags, expire_times = batch.flags[places].tolist(), batch.expire_times_of(places)
        frames: list[bytes | None] = (
            [batch.frames.get(place) for place in places.tolist()] if batch.frames else [None] * len(places)
        )
        reasons: list[str | None] = [None] * len(places)
        for at in self._odd(items):
            item = int(items[at])
            if (merged := d.merged.get(item)) is not None:
                external_ids[at], flags[at], expire_times[at], hashes[at], details[at], others = merged
                frames[at] = others or frames[at]
            reasons[at] = self._reasons(item)
        is_harmless = self._values.are(lambda _, meaning: meaning.is_harmless)[d.kind[items]] & is_active
        columns = EntryColumns(
            ids=ids,
            states=np.where(is_active, ENTRY_STATES[EntryState.ACTIVE], ENTRY_STATES[EntryState.QUARANTINED]).tolist(),
            positions=batch.positions.of(places),
            external_ids=[x or None for x in external_ids],
            classifications=d.kind[items].tolist(),
            flags=flags,
            hashes=hashes,
            details=details,
            reasons=reasons,
            expire_times=expire_times,
            frames=frames,
            statements=np.take(d.statements, items, axis=0).view(f"V{d.statements.shape[1]}").ravel().tolist(),
        )
        reviews = (
            [
                (ids[at], v.author, v.kind, v.comment)
                for at, item in enumerate(items.tolist())
                if item in d.reviews
                for v in map(self.compared.attributed, d.reviews[item])
            ]
            if d.reviews
            else []
        )
        return NewEntries(columns, [ids[at] for at in np.flatnonzero(is_harmless).tolist()], reviews)

    def _odd(self, items: NDArray[np.int64]) -> list[int]:
        """Return at which of the items an entry is not just what the batch has."""
        d = self.decisions
        odd = (d.outcome[items] == QUARANTINED) | d.lacks_value[items]
        if d.merged:
            odd |= np.fromiter((item in d.merged for item in items.tolist()), np.bool_, len(items))
        return np.flatnonzero(odd).tolist()

    def _reasons(self, item: int) -> str | None:
        if self.decisions.outcome[item] != QUARANTINED:
            return _UNDECIDED if self.decisions.is_undecided(item) else None
        return pack_reasons(self.decisions.reasons(item))

    def _require_a_full_list(self) -> None:
        wrong, removals = "", len(self._source.removals)
        if (partial := self._source.partial) is not None:
            wrong = f"{partial.position}: {partial.detail}"
        elif removals:
            wrong = f"the source asks for withdrawals ({removals}), so that it is a list of changes"
        elif self._source.opinions:
            wrong = f"the source has opinions about entries ({len(self._source.opinions)}), which are no list of items"
        if wrong:
            raise InvalidArgument.field(
                "import.replace",
                f"only a full list can replace the hash set, but {wrong}; import it without replace, and so every "
                "other part",
                "NOT_ALLOWED",
            )

    def _expect_values(self) -> None:
        """Quarantine the items that lack a value where one is due, unless the hash set lists them as undecided, which a
        benign set does not. A value is due when the scheme demands one, and when the source's format carries
        classifications; only a benign set without a scheme goes without.
        """
        scheme, purpose = self._scheme, self._hash_set.purpose
        has_classifications = self._has_classifications
        if has_classifications is None:
            has_classifications = scheme is not None or self._source.has_values
        if scheme is None and purpose is Purpose.BENIGN:
            return
        if not has_classifications and not (scheme and scheme.value_required):
            return
        waiting = f"the item has no value of {scheme.name}" if scheme else "the item has no classification"
        if self._hash_set.unclassified is Unclassified.LISTED and purpose is not Purpose.BENIGN:
            waiting = ""  # in a benign set there would be nothing to be undecided about but whether it clears
        self._source.expect_values(waiting)
