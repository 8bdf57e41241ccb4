"""Decides what becomes of every item of an import: within its own source, and against its own hash set.

Nothing else is looked at: no decision, count or reason depends on what other contributors, or other hash sets, state.
What they say meets this statement when a policy decides.

Two items are the *same item* when they share the contributor's own external id or, where the source has none, an exact
digest; an item without any exact digest is the same as another with the very same hashes. Items with ids of their own
stay apart even when they are about one file, but whoever states them (`Record.member`) must then not give that file two
categories. What hygiene found in single records (hashhub.hygiene) comes staged; the rules here need the hash set, or
all of the source:

    the item in this hash set                            within the source
    REGION_MISMATCH    the source names a region or      DUPLICATE_IN_SOURCE     same item, nothing contradicts: merged
    SCHEME_MISMATCH    scheme that is not the set's:                             into the first
                       quarantined                       CONFLICTING_CATEGORIES  same item, or same file and member, two
    PURPOSE_MISMATCH   likewise the purpose                                      raw values: all quarantined
    UNKNOWN_VALUE      no value of the set's scheme:     CONTRADICTORY_BINDING   one digest bound to two digests of
                       quarantined                                               another algorithm: all quarantined
    UNCLASSIFIED       no value where one is due:        SUPERSEDED              a later item of the source withdraws it
                       quarantined, or undecided

    against the hash set's own entries
    IDENTICAL_ENTRY      it states this already: unchanged
    SUPERSEDED           it holds another statement about the item: replaced (by a quarantined one: on its release)
    ABSENT_FROM_LIST     a replacing list lacks it: withdrawn
    WITHDRAWN_BY_SOURCE  the item names the entry: withdrawn, unless a later item states it again
    STAYS_WITHDRAWN      the item was withdrawn by hand, or this list is older than the source's own deletion message
                         (hub.holds)
    QUARANTINED_BY_OPERATOR  an operator put the item into quarantine: every newer statement about it waits there too

A value is due when the scheme demands one (`value_required`), and when the source's format carries classifications:
then an item without one says nothing. Only a benign hash set without a scheme goes without: no value means anything
there, so that none is missing. In a hash set whose operator chose `Unclassified.LISTED` such an item is active and
undecided, whatever the scheme demands: the operator has said so about this very list, and being listed is all that such
an entry then states. A benign set has no undecided entries.

Reviews stay with the item: those of an entry that this import replaces count for the new one, and so do those of a
withdrawn entry that shares its external id or an exact digest. Whoever disputed it need not do so again. What the
source says of others' opinions is kept as theirs inside the contributor, `CONTRIBUTOR/AUTHOR`.

Digests are compared in columns (hub.columns); Python looks only at the few items where something is found.
"""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

import msgspec
import numpy as np

from hashhub.connector import PURPOSE_TAG
from hashhub.errors import InvalidArgument
from hashhub.hashes import ALGORITHMS, Hash, Metric
from hashhub.hub.columns import Column, Groups, heads
from hashhub.hygiene import Code
from hashhub.item import states_the_same, union
from hashhub.model import (
    Action,
    Classification,
    Counts,
    Disposition,
    Entry,
    EntryState,
    Finding,
    HashSet,
    Purpose,
    Record,
    RecordReview,
    Reject,
    ReviewKind,
    SchemeStatus,
    Unclassified,
)
from hashhub.schemes import is_name
from hashhub.trust.policy import excludes_harm

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from hashhub.hub.holds import HeldItems
    from hashhub.schemes import Scheme
    from hashhub.store import Store
    from hashhub.store.holds import Hold

_T = TypeVar("_T")

_LIVE: Final = (EntryState.ACTIVE, EntryState.QUARANTINED)
_LOOKUP: Final = 2_000  # digests or ids asked of the store at a time
# A source with a digest for every so many entries of the hash set: reading all of them costs less than looking for each
# digest.
_STREAMED_SHARE: Final = 8
_NO_HEADS: Final = np.empty(0, np.uint64)
_PURPOSES: Final = {PURPOSE_TAG + p.lower(): p for p in Purpose}
_DISPOSITIONS: Final = tuple(Disposition)
_CODE: Final = {d: i for i, d in enumerate(_DISPOSITIONS)}


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
    """An entry to write: the record, with what duplicates of it add, and its reviews under their authors' full names.

    `earlier`: ids of the entries about the same item before it. `is_harmless`: its classification leaves no harm
    possible, in a hash set whose purpose does not say so already, so that it speaks against whoever claims harm.
    """

    record: Record
    state: EntryState
    reasons: tuple[str, ...]
    earlier: tuple[int, ...] = ()
    is_harmless: bool = False


class _Gist(NamedTuple):
    """What the rules within the source need of an item beside its hashes; `value` as the scheme spells it."""

    is_named: bool  # has an external id
    member: str
    value: str


class Intake:
    """The decisions about one import. Call `decide` once; then the attributes and iterators are final.

    `counts`; `entry_count`: entries to write; `superseded`, `absent`, `withdrawn`: ids of entries to withdraw,
    ascending; `deletion_times`: what the source gives as the time of its deletion messages, by id of the entry
    withdrawn; `overtaken`: ids of entries that a deletion message of the source withdrew before and that this newer
    list states again; `reviews`: what the source says about entries that stay as they are, as (entry id, author, kind,
    comment); `restated`: pairs of entry ids about the same item, the earlier and the one that stays as it is;
    `live_count`: active and quarantined entries of the hash set before a replacing import.
    """

    def __init__(
        self,
        store: Store,
        hash_set: HashSet,
        scheme: Scheme | None,
        holds: HeldItems,
        *,
        replace: bool,
        has_classifications: bool | None,
    ) -> None:
        """`scheme` is the hash set's, or None.

        `has_classifications`: whether the source's format carries them; None: not stated.
        """
        self._store = store
        self._hash_set = hash_set
        self._scheme = scheme
        self._holds = holds
        self._replace = replace
        self._has_classifications = has_classifications
        self._resolved: dict[str, Classification | None] = {}
        self._columns: dict[str, Column] = {a.name: Column() for a in ALGORITHMS.values() if a.metric is Metric.EXACT}
        self._external: dict[str, list[int]] = {}  # contributed items by external id
        self._removals: dict[int, Record] = {}  # items that ask for a withdrawal
        self._bare: dict[tuple[Hash, ...], list[int]] = {}  # items with neither external id nor exact digest
        self._without_value = array("q")  # items that may lack a value
        self._has_values = False  # some item has a value
        self._unclassified: NDArray[np.bool_] = np.empty(0, np.bool_)  # by item: a value was due, and there is none
        self._overtaken: dict[
            int, list[int]
        ] = {}  # item -> entries that the source withdrew before, and now states again
        self._withdrawn_by: dict[int, Hold] = {}  # item -> what keeps it from coming back
        self._own_heads: dict[str, NDArray[np.uint64]] | None = None  # of all live entries of the hash set, if read
        self._outcome: NDArray[np.uint8] = np.empty(0, np.uint8)
        self._gists: list[_Gist] = []  # the distinct ones
        self._gist: NDArray[np.uint32] = np.empty(0, np.uint32)  # by item, where in `_gists`; of contributed items only
        self._raw_from: int | None = None  # the first item whose value is kept although nothing says what it means
        self._partial: Reject | None = None  # what the source says of being incomplete
        self._remarks: dict[int, list[tuple[str, str]]] = defaultdict(list)  # item -> (code, detail) of these rules
        self._merged: dict[int, Record] = {}  # first item of a group of duplicates -> the union
        self._earlier: dict[int, tuple[int, ...]] = {}  # item -> entries about the same item before it
        self._held: dict[int, str] = {}  # quarantined item -> the entries that match until it is released
        self._noted = 0
        self.counts = Counts()
        self.entry_count = 0
        self.superseded: list[int] = []
        self.absent: list[int] = []
        self.withdrawn: list[int] = []
        self.deletion_times: dict[int, str] = {}
        self.overtaken: list[int] = []
        self.reviews: list[tuple[int, str, ReviewKind, str]] = []
        self.restated: list[tuple[int, int]] = []
        self.live_count = 0

    def classification(self, record: Record) -> Classification:
        """Return a record's raw value with what it implies in the hash set's scheme.

        One that the scheme lacks, and one that the source says is of another scheme, is kept and implies nothing.
        """
        scheme_id, version, region = "", "", record.region
        if not self._is_of_another_scheme(record):
            if (known := self._resolve(record.value)) is not None:
                return known
            if self._scheme is not None:
                scheme_id, version, region = self._scheme.id, self._scheme.version, self._scheme.region
        else:
            scheme_id, _, version = record.scheme.partition("@")
        return Classification(
            scheme=scheme_id,
            version=version,
            region=region,
            value=record.value,
            # nobody verified what it means: should it be released, it leads to no automatic match
            status=SchemeStatus.DRAFT,
            dimensions={},
        )

    def _is_of_another_scheme(self, record: Record) -> bool:
        scheme = self._scheme
        return scheme is not None and (
            scheme.contradicts_region(record.region) or scheme.contradicts_name(record.scheme)
        )

    def _resolve(self, value: str) -> Classification | None:
        if value not in self._resolved:
            self._resolved[value] = self._scheme.resolve(value) if self._scheme and value else None
        return self._resolved[value]

    def _spelling(self, value: str) -> str:
        """Return the raw value as the hash set's scheme spells it, so that two spellings of one value do not differ."""
        known = self._resolve(value)
        return value if known is None else known.value

    def decide(self, batches: Callable[[], Iterable[Batch]]) -> None:
        """Decide about every item. `batches` gives the staged batches from the beginning; it is called two or three
        times.

        Raises InvalidArgument for a replacing list that is not a full one: all that it lacks would be withdrawn.
        """
        reject_count = self._collect(batches())
        if self._replace:
            self._require_a_full_list()
        self._find_unclassified()
        self._within_the_source(batches)
        self._against_the_hash_set(batches)
        counts = Counter(self._outcome.tolist())
        self.overtaken = sorted(
            {
                e
                for item, ids in self._overtaken.items()
                if self._outcome[item] == _CODE[Disposition.ACCEPTED]
                for e in ids
            }
        )
        self.entry_count = counts[_CODE[Disposition.ACCEPTED]] + counts[_CODE[Disposition.QUARANTINED]]
        self.counts = Counts(
            items=len(self._outcome) + reject_count,
            accepted=counts[_CODE[Disposition.ACCEPTED]],
            quarantined=counts[_CODE[Disposition.QUARANTINED]],
            rejected=counts[_CODE[Disposition.REJECTED]] + reject_count,
            duplicate=counts[_CODE[Disposition.DUPLICATE]],
            unchanged=counts[_CODE[Disposition.UNCHANGED]],
            withdrawn=counts[_CODE[Disposition.WITHDRAWN]],
            stays_withdrawn=counts[_CODE[Disposition.STAYS_WITHDRAWN]],
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
                    record = self._merged.get(item, staged.record)
                    reasons: tuple[str, ...] = ()
                    if outcome == quarantined:
                        reasons = tuple(dict.fromkeys((*staged.reasons, *(c for c, _ in self._remarks.get(item, ())))))
                    if self._is_unclassified(item, record) and Code.UNCLASSIFIED not in reasons:
                        reasons = (*reasons, Code.UNCLASSIFIED.value)
                    if record.reviews:
                        record = msgspec.structs.replace(record, reviews=tuple(map(self._attributed, record.reviews)))
                    yield NewEntry(
                        record,
                        EntryState.ACTIVE if outcome == accepted else EntryState.QUARANTINED,
                        reasons,
                        self._earlier.get(item, ()),
                        bool(record.value) and self._is_harmless(record),
                    )
                item += 1

    def findings(self, batches: Iterable[Batch], first_entry: int) -> Iterator[Finding]:
        """Yield what became of every item that was not simply accepted, batch by batch. `first_entry`: id of the first
        entry.
        """
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
                    details = [detail for _, detail in why]
                    if item in self._held:
                        details.append(f"{self._held[item]} matches until this one is released")
                    yield Finding(position, disposition, why[0][0], "; ".join(details), entry_id)
                for reason, detail in staged.notes:
                    if reason not in staged.reasons:
                        yield Finding(position, Disposition.NOTED, reason, detail, entry_id)
                if item == self._raw_from:
                    text = (
                        f"the hash set has no scheme, so that {staged.record.value[:40]!r} says nothing here; "
                        "this value and all further ones are kept as the source gives them"
                    )
                    yield Finding(position, Disposition.NOTED, Code.UNKNOWN_VALUE, text, entry_id)
                entry += is_entry
                item += 1
            for reject in batch.rejects:
                disposition = Disposition.NOTED if reject.reason == Code.PARTIAL_SOURCE else Disposition.REJECTED
                yield Finding(reject.position, disposition, reject.reason, reject.detail)

    def _require_a_full_list(self) -> None:
        wrong = ""
        if self._partial is not None:
            wrong = f"{self._partial.position}: {self._partial.detail}"
        elif self._removals:
            wrong = f"the source asks for withdrawals ({len(self._removals)}), so that it is a list of changes"
        if wrong:
            raise InvalidArgument.field(
                "import.replace",
                f"only a full list can replace the hash set, but {wrong}; import it without replace, and so every "
                "other part",
                "NOT_ALLOWED",
            )

    def _collect(self, batches: Iterable[Batch]) -> int:
        """Read the columns; return the number of the connector's own rejects."""
        outcomes: list[NDArray[np.uint8]] = []
        has_holds = bool(self._holds)
        gists: list[NDArray[np.uint32]] = []
        number_of: dict[_Gist, int] = {}
        reject_count = item = 0
        for batch in batches:
            outcome = bytearray()
            gist = np.zeros(len(batch.staged), np.uint32)
            digests: dict[str, list[bytes]] = {name: [] for name in self._columns}
            items: dict[str, list[int]] = {name: [] for name in self._columns}
            for at, staged in enumerate(batch.staged):
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
                    if has_holds:
                        self._hold(item, record, outcome)
                    what = _Gist(not is_bare, record.member, self._spelling(record.value))
                    gist[at] = number_of.setdefault(what, len(number_of))
                    if record.external_id:
                        self._external.setdefault(record.external_id, []).append(item)
                    for h in record.hashes:
                        if h.algorithm in digests:
                            digests[h.algorithm].append(h.digest)
                            items[h.algorithm].append(item)
                            is_bare = False
                    if is_bare:
                        self._bare.setdefault(tuple(sorted(record.hashes)), []).append(item)
                item += 1
            outcomes.append(np.frombuffer(bytes(outcome), np.uint8))
            gists.append(gist)
            for name, column in self._columns.items():
                column.extend(digests[name], items[name])
            for reject in batch.rejects:
                if reject.reason == Code.PARTIAL_SOURCE:  # about the source, and no item of it
                    self._partial = reject
                    self._noted += 1
                else:
                    reject_count += 1
        for name, column in self._columns.items():
            column.close(ALGORITHMS[name].digest_bytes)
        self._outcome = np.concatenate(outcomes) if outcomes else self._outcome
        self._gist = np.concatenate(gists) if gists else self._gist
        self._gists = list(number_of)
        return reject_count

    def _gist_of(self, item: int) -> _Gist:
        return self._gists[int(self._gist[item])]

    def _classify(self, item: int, staged: Staged) -> Disposition:
        """Return the item's disposition after its raw value was looked up in the scheme."""
        record = staged.record
        if record.value:
            self._has_values = True
        else:
            self._without_value.append(item)
        if self._scheme and self._scheme.contradicts_region(record.region):
            text = f"the file says region {record.region[:20]}, the hash set's scheme is for {self._scheme.region}"
            self._remark(item, Code.REGION_MISMATCH, text)
            return Disposition.QUARANTINED
        if self._scheme and self._scheme.contradicts_name(record.scheme):
            text = f"the source's values are of {record.scheme[:80]!r}, those of the hash set of {self._scheme.name}"
            self._remark(item, Code.SCHEME_MISMATCH, text)
            return Disposition.QUARANTINED
        purpose = self._hash_set.purpose
        stated = next((_PURPOSES[t] for t in record.tags if t in _PURPOSES), purpose)
        if stated is not purpose and purpose is not Purpose.TEST:
            text = (
                f"the source says that its items are {stated.lower()}, those of the hash set are {purpose.lower()}; "
                "import it into another"
            )
            self._remark(item, Code.PURPOSE_MISMATCH, text)
            return Disposition.QUARANTINED
        if record.value and self._resolve(record.value) is None:
            value = repr(record.value[:40])
            if self._scheme:
                text = f"the hash set's scheme ({self._hash_set.scheme}) has no value {value}"
            elif purpose is Purpose.BENIGN:  # whatever the value means elsewhere, being in the set is the statement
                if self._raw_from is None:
                    self._raw_from = item
                    self._noted += 1
                return staged.disposition
            else:
                scheme = record.scheme if is_name(record.scheme) else "ID"
                text = (
                    f"the hash set has no scheme to say what {value} means; import into one that has "
                    f"(hashhub hash-set create CONTRIBUTOR/SET --purpose {purpose.lower()} --scheme {scheme})"
                )
            self._remark(item, Code.UNKNOWN_VALUE, text)
            return Disposition.QUARANTINED
        return staged.disposition

    def _find_unclassified(self) -> None:
        """Quarantine the items that lack a value where one is due, unless the operator has the hash set list them as
        undecided.
        """
        self._unclassified = np.zeros(len(self._outcome), np.bool_)
        has_classifications = self._has_classifications
        if has_classifications is None:
            has_classifications = self._scheme is not None or self._has_values
        if self._scheme is None and self._hash_set.purpose is Purpose.BENIGN:
            return
        if not has_classifications and not (self._scheme and self._scheme.value_required):
            return
        self._unclassified[np.frombuffer(self._without_value, np.int64)] = True
        if self._hash_set.unclassified is Unclassified.LISTED and self._hash_set.purpose is not Purpose.BENIGN:
            return  # in a benign set there would be nothing to be undecided about but whether it clears
        text = f"the item has no value of {self._scheme.name}" if self._scheme else "the item has no classification"
        for item in self._without_value:
            self._settle(item, Disposition.QUARANTINED, Code.UNCLASSIFIED, text)

    def _is_unclassified(self, item: int, record: Record) -> bool:
        """Whether the item lacks a value that is due, also after what duplicates of it say."""
        return not record.value and bool(self._unclassified[item])

    def _is_harmless(self, record: Record) -> bool:
        """Whether a record's value leaves no harm possible, in a hash set of which that cannot be told from its
        purpose.
        """
        is_told_by_purpose = self._hash_set.purpose in {Purpose.BENIGN, Purpose.TEST}
        return not is_told_by_purpose and excludes_harm(self.classification(record).dimensions)

    def _attributed(self, review: RecordReview) -> RecordReview:
        """Return a review of the source as that of a member of the contributor: whatever the source says, it is nobody
        else's word.
        """
        return RecordReview(review.kind, f"{self._hash_set.contributor}/{review.author}", review.comment)

    def _hold(self, item: int, record: Record, outcome: bytearray) -> None:
        """Note what holds the item; `outcome` ends with its own, which an operator's quarantine changes."""
        standing = self._holds.of(record)
        overtaken = [h.entry_id for h in self._holds.about(record) if h not in standing]
        if overtaken:
            self._overtaken[item] = overtaken
        for hold in standing:
            if hold.effect == "WITHDRAWN":
                self._withdrawn_by.setdefault(item, hold)
            else:
                outcome[-1] = _CODE[Disposition.QUARANTINED]
                if hold.entry_id > 0:
                    text = "an operator put this item into quarantine; it waits there until an operator releases it"
                    self._remark(item, Code.QUARANTINED_BY_OPERATOR, text)
                else:
                    text = (
                        "it was withdrawn by hand, and the database was restored from a backup that lacks its entry; "
                        "it waits until an "
                        "operator releases it"
                    )
                    self._remark(item, Code.STAYS_WITHDRAWN, text)

    def _within_the_source(self, batches: Callable[[], Iterable[Batch]]) -> None:
        one = Groups()  # the same item, to be merged
        akin = Groups()  # these, and items of one member about one file, which must not contradict each other
        for column in self._columns.values():
            for items in column.shared():
                self._check_bindings(items)
                unnamed: list[int] = []
                by_member: dict[str, list[int]] = defaultdict(list)
                for i in items:
                    gist = self._gist_of(i)
                    by_member[gist.member].append(i)
                    if not gist.is_named:
                        unnamed.append(i)
                # An external id is the identity; two members of a source may well state the same picture.
                one.join(unnamed)
                for same in (unnamed, *by_member.values()):
                    akin.join(same)
        for group in (*self._external.values(), *self._bare.values()):
            one.join(group)
            akin.join(group)
        self._withdraw_earlier()
        conflicts = [
            g for g in map(self._still_entries, akin.all()) if len({self._gist_of(i).value for i in g} - {""}) > 1
        ]
        groups = one.all()
        if conflicts or groups:
            self._merge(groups, conflicts, batches())

    def _still_entries(self, items: Iterable[int]) -> list[int]:
        """Return the items that would become entries as things stand."""
        codes = (_CODE[Disposition.ACCEPTED], _CODE[Disposition.QUARANTINED])
        return [i for i in items if self._outcome[i] in codes]

    def _withdraw_earlier(self) -> None:
        """Drop items that the same source withdraws further on: its last word counts."""
        last_by_id: dict[str, int] = {}
        last_by_digest: dict[str, dict[bytes, int]] = {name: {} for name in self._columns}
        last_by_hashes: dict[tuple[Hash, ...], int] = {}
        for removal, record in self._removals.items():
            exact = self._exact(record)
            if record.external_id:
                last_by_id[record.external_id] = removal
            elif exact:
                for h in exact:
                    last_by_digest[h.algorithm][h.digest] = removal
            else:
                last_by_hashes[tuple(sorted(record.hashes))] = removal
        dropped = [i for key, last in last_by_id.items() for i in self._external.get(key, ()) if i < last]
        dropped += [i for key, last in last_by_hashes.items() for i in self._bare.get(key, ()) if i < last]
        for name, last_of in last_by_digest.items():
            dropped += [i for i, digest in self._columns[name].having(last_of) if i < last_of[digest]]
        for i in dropped:
            self._settle(i, Disposition.DUPLICATE, Code.SUPERSEDED, "withdrawn further on in the same source")

    def _exact(self, stated: Record | Entry) -> list[Hash]:
        return [h for h in stated.hashes if h.algorithm in self._columns]

    def _check_bindings(self, items: list[int]) -> None:
        for name, column in self._columns.items():
            if len({d for i in items if (d := column.of(i)) is not None}) > 1:
                for i in items:  # also those that say nothing of the other digest: nobody can tell which file they are
                    self._settle(
                        i,
                        Disposition.QUARANTINED,
                        Code.CONTRADICTORY_BINDING,
                        f"items with one digest in common have different {name} digests",
                    )

    def _merge(self, groups: list[list[int]], conflicts: list[list[int]], batches: Iterable[Batch]) -> None:
        """Quarantine the items of each conflict; merge each other group's items into its first. A group lies in one
        conflict or in none.
        """
        wanted = {i for items in (*groups, *conflicts) for i in items}
        staged_of: dict[int, Staged] = {}
        item = 0
        for batch in batches:
            for staged in batch.staged:
                if item in wanted:
                    staged_of[item] = staged
                item += 1
        found = {i: staged.record for i, staged in staged_of.items()}
        for items in conflicts:
            listed = ", ".join(sorted({repr(v[:20]) for i in items if (v := self._gist_of(i).value)}))
            for i in items:
                others = ", ".join(found[j].position for j in items[:5] if j != i)
                text = f"the source states {listed} for it (also at {others})"
                self._settle(i, Disposition.QUARANTINED, Code.CONFLICTING_CATEGORIES, text)
        apart = {Code.CONFLICTING_CATEGORIES, Code.CONTRADICTORY_BINDING}
        for items in groups:
            same = self._still_entries(items)
            if len(same) < 2:  # noqa: PLR2004 - nothing left to merge
                continue
            if any(code in apart for i in same for code, _ in self._remarks.get(i, ())):
                continue  # each stays visible on its own
            first = next((i for i in same if found[i].value), same[0])
            rest = [i for i in same if i != first]
            merged = union([found[first], *(found[i] for i in rest)])
            if twofold := self._twofold(merged):
                # No two of them share the one digest and differ in the other, yet all of them cannot be one item.
                for i in same:
                    self._settle(
                        i,
                        Disposition.QUARANTINED,
                        Code.CONTRADICTORY_BINDING,
                        f"what the source states about the same item adds up to two {twofold} digests",
                    )
                continue
            self._merged[first] = merged
            for i in rest:
                suspect = [n for n in staged_of[i].notes if n[0] in staged_of[i].reasons]
                for code, detail in (*suspect, *self._remarks.get(i, ())):
                    if code != Code.UNCLASSIFIED or not merged.value:  # the union holds what is suspect about its parts
                        self._outcome[first] = _CODE[Disposition.QUARANTINED]
                        self._remark(first, code, detail)
                if i in self._withdrawn_by:
                    self._withdrawn_by.setdefault(first, self._withdrawn_by[i])
                self._outcome[i] = _CODE[Disposition.DUPLICATE]
                self._remarks[i] = [
                    (
                        Code.DUPLICATE_IN_SOURCE,
                        f"the same item as {found[first].position}; its hashes were merged into it",
                    )
                ]

    def _twofold(self, record: Record) -> str:
        """Return the exact algorithm of which the record has two different digests, or an empty string."""
        names = [h.algorithm for h in self._exact(record)]
        return next((name for name in names if names.count(name) > 1), "")

    def _against_the_hash_set(self, batches: Callable[[], Iterable[Batch]]) -> None:
        same = self._known_items()
        must_compare = same or self._withdrawn_by
        kept, replaced = self._compare(same, batches()) if must_compare else (set[int](), set[int]())
        self.superseded = sorted(replaced - kept)
        self._remove(kept | replaced)
        if self._replace:
            live = self._store.entries.active_ids(self._hash_set.contributor, self._hash_set.id, states=_LIVE)
            accounted = np.fromiter({*kept, *self.superseded}, np.int64)
            self.live_count = len(live)
            self.absent = live[~np.isin(live, accounted)].tolist()

    def _known_items(self) -> dict[int, set[int]]:
        """Return, by item, the ids of the hash set's entries of the same item: live ones, and withdrawn ones that were
        reviewed.

        Ids only: a list of a million known items must not bring a million entries into memory.
        """
        same: dict[int, set[int]] = defaultdict(set)
        mine = (self._hash_set.contributor, self._hash_set.id)
        count = sum(self._store.entries.entry_count(*mine, state) for state in _LIVE)
        if count:
            if sum(len(c.items) for c in self._columns.values()) * _STREAMED_SHARE >= count:
                self._own_heads = self._read_own_heads()
            for name, column in self._columns.items():
                for _, holders, entry in self._own(name, column.digests, column.items.tolist()):
                    if not entry.external_id:
                        for item in holders:
                            if not self._gist_of(item).is_named:
                                same[item].add(entry.id)
            bare: dict[str, list[tuple[Hash, ...]]] = defaultdict(list)
            for hashes in self._bare:
                bare[hashes[0].algorithm].append(hashes)
            for name, keys in bare.items():
                digests = np.frombuffer(b"".join([k[0].digest for k in keys]), np.uint8).reshape(len(keys), -1)
                for _, held, entry in self._own(name, digests, keys):
                    for key in held:
                        if set(entry.hashes) == set(key):
                            for item in self._bare[key]:
                                same[item].add(entry.id)
            for ids in _parts(list(self._external)):
                for external_id, entries in self._store.entries.existing_by_external_ids(*mine, ids).items():
                    for item in self._external[external_id]:
                        same[item].update(e.id for e in entries)
        self._add_withdrawn(same)
        return same

    def _read_own_heads(self) -> dict[str, NDArray[np.uint64]]:
        """Return the beginnings of all digests of the hash set's live entries, by algorithm."""
        parts: dict[str, list[NDArray[np.uint64]]] = defaultdict(list)
        for page in self._store.entries.live_digests(self._hash_set.contributor, self._hash_set.id):
            for name, digests in page.items():
                parts[name].append(heads(digests))
        return {name: np.unique(np.concatenate(heads)) for name, heads in parts.items()}

    def _add_withdrawn(self, same: dict[int, set[int]]) -> None:
        """Add withdrawn entries that were reviewed. A shared exact digest is enough whatever the external ids: it is
        the same file.
        """
        by_digest: dict[str, dict[bytes, set[int]]] = {name: defaultdict(set) for name in self._columns}
        for entry in self._store.entries.withdrawn_with_reviews(self._hash_set.contributor, self._hash_set.id):
            exact = self._exact(entry)
            for h in exact:
                by_digest[h.algorithm][h.digest].add(entry.id)
            if not exact:
                for item in self._bare.get(tuple(sorted(entry.hashes)), ()):
                    same[item].add(entry.id)
            for item in self._external.get(entry.external_id, ()):
                same[item].add(entry.id)
        for name, withdrawn in by_digest.items():
            for item, digest in self._columns[name].having(withdrawn):
                same[item] |= withdrawn[digest]

    def _own(
        self, name: str, digests: NDArray[np.uint8], holders: Sequence[_T]
    ) -> Iterator[tuple[bytes, list[_T], Entry]]:
        """Yield each live entry of the hash set that has one of the digests, uint8[n, bytes], with the digest and its
        holders.

        The store is asked about few of many digests. What it is asked depends on the source and the hash set alone: the
        matcher, which knows every digest of the hub, would make an import take longer where others have the item.
        """
        if not len(digests):
            return
        rows = np.arange(len(digests))
        if self._own_heads is not None:
            rows = np.flatnonzero(np.isin(heads(digests), self._own_heads.get(name, _NO_HEADS)))
        for part in _parts(rows.tolist()):
            by_digest: dict[bytes, list[_T]] = defaultdict(list)
            for row in part:
                by_digest[digests[row].tobytes()].append(holders[row])
            for digest, entries in self._live_entries(name, list(by_digest)).items():
                for entry in entries:
                    yield digest, by_digest[digest], entry

    def _live_entries(self, name: str, digests: Sequence[bytes]) -> dict[bytes, list[Entry]]:
        return self._store.entries.live_entries_by_digests(self._hash_set.contributor, self._hash_set.id, name, digests)

    def _compare(self, same: Mapping[int, set[int]], batches: Iterable[Batch]) -> tuple[set[int], set[int]]:
        """Settle items that the hash set already has; return the ids of entries that stay, and of those that a newer
        statement replaces.

        A quarantined statement replaces quarantined ones only. What is active stays until somebody has looked at it
        (`Entries.release`): a careless or hostile item must not end the protection that an earlier one gives.
        """
        accepted, quarantined = _CODE[Disposition.ACCEPTED], _CODE[Disposition.QUARANTINED]
        kept: set[int] = set()
        replaced: set[int] = set()
        first = 0
        for batch in batches:
            numbers = range(first, first + len(batch.staged))
            first = numbers.stop
            wanted = {e for i in numbers if i in same for e in same[i]}
            known = self._store.entries.get_entries(
                wanted | {self._withdrawn_by[i].entry_id for i in numbers if i in self._withdrawn_by}
            )
            for item, staged in zip(numbers, batch.staged, strict=True):
                hold = self._withdrawn_by.get(item)
                if (item not in same and hold is None) or self._outcome[item] not in (accepted, quarantined):
                    continue
                record = self._merged.get(item, staged.record)
                entries = [known[e] for e in sorted(same.get(item, ())) if e in known]
                live = [e for e in entries if e.state is not EntryState.WITHDRAWN]
                if hold is not None and not live:
                    self._keep_withdrawn(item, hold, known.get(hold.entry_id))
                    continue
                new_reviews = self._new_reviews(record, entries)
                twin = next((e for e in live if self._is_identical(e, item, record)), None)
                waits = self._outcome[item] == quarantined if twin is None else twin.state is EntryState.QUARANTINED
                active = [e for e in live if waits and e.state is EntryState.ACTIVE]
                kept.update(e.id for e in active)
                if twin is None:
                    replaced.update(e.id for e in live)
                    self._earlier[item] = tuple(e.id for e in entries)
                    if len(new_reviews) < len(record.reviews):
                        self._merged[item] = msgspec.structs.replace(record, reviews=new_reviews)
                    if active:
                        self._held[item] = ", ".join(e.name for e in active)
                    continue
                kept.add(twin.id)
                # Stated anew, it is the last word: one that came after it and still waits is out of date.
                replaced.update(e.id for e in live if e.id > twin.id and e.state is EntryState.QUARANTINED)
                self.restated += [(e.id, twin.id) for e in entries if e.state is EntryState.WITHDRAWN]
                self._outcome[item] = _CODE[Disposition.UNCHANGED]
                self._remarks[item] = [(Code.IDENTICAL_ENTRY, f"entry {twin.name} already states exactly this")]
                self.reviews += [(twin.id, v.author, v.kind, v.comment) for v in map(self._attributed, new_reviews)]
        return kept, replaced

    def _keep_withdrawn(self, item: int, hold: Hold, entry: Entry | None) -> None:
        """Let an item stay withdrawn, and say by which entry and who may restore it."""
        self._outcome[item] = _CODE[Disposition.STAYS_WITHDRAWN]
        if hold.entry_id < 0:
            text = (
                "it was withdrawn by a newer deletion message of the source and stays so; a newer list can state it "
                "again"
            )
            self._remarks[item] = [(Code.STAYS_WITHDRAWN, text)]
            return
        name = entry.name if entry is not None else f"{self._hash_set.name}/{hold.entry_id}"
        who = "the contributor or an operator" if hold.origin in {"CONTRIBUTOR", "SOURCE"} else "only an operator"
        why = "by a newer deletion message of the source" if hold.origin == "SOURCE" else "by hand"
        text = f"{name} was withdrawn {why} and stays so; to restore it: hashhub entry restore {name} ({who})"
        self._remarks[item] = [(Code.STAYS_WITHDRAWN, text)]

    def _new_reviews(self, record: Record, entries: Sequence[Entry]) -> tuple[RecordReview, ...]:
        """Return the record's reviews that no entry about the item has word for word from the same author."""
        if not record.reviews:
            return ()
        known = self._store.entries.reviews_of([e.id for e in entries])
        stated = {(r.kind, r.author, r.comment) for reviews in known.values() for r in reviews}
        return tuple(
            v for v in dict.fromkeys(record.reviews) if (v.kind, self._attributed(v).author, v.comment) not in stated
        )

    def _is_identical(self, entry: Entry, item: int, record: Record) -> bool:
        """Tell whether a live entry states exactly what the record states, and is undecided where that is."""
        stated = self.classification(record) if record.value else None
        known = entry.classification
        return (
            (known and (known.scheme, known.value)) == (stated and (stated.scheme, stated.value))
            and (Code.UNCLASSIFIED in entry.reasons) == self._is_unclassified(item, record)
            and states_the_same(entry, record)
        )

    def _remove(self, restated: set[int]) -> None:
        """Find the entries that the source asks to withdraw, but for those that it states again.

        By external id or, where the item has none, by exact digests or, where it has none either, by the very same
        hashes.
        """
        mine = (self._hash_set.contributor, self._hash_set.id)
        withdrawn: set[int] = set()
        for part in _parts(list(self._removals.items())):
            by_id = self._store.entries.existing_by_external_ids(*mine, [r.external_id for _, r in part])
            by_hash = self._own_entries([h for _, r in part if not r.external_id for h in r.hashes])
            for item, record in part:
                exact = self._exact(record)
                if record.external_id:
                    found = {e.id: e for e in by_id.get(record.external_id, ())}
                elif exact:
                    found = {e.id: e for h in exact for e in by_hash.get(h, ())}
                else:
                    known = by_hash.get(record.hashes[0], ())
                    found = {e.id: e for e in known if set(e.hashes) == set(record.hashes)}
                gone = {i: e for i, e in found.items() if i not in restated}
                withdrawn |= gone.keys()
                if record.source_time:
                    self.deletion_times |= dict.fromkeys(gone, record.source_time)
                if gone:
                    text = f"withdrawn: {', '.join(e.name for e in gone.values())}"
                    self._remark(item, Code.WITHDRAWN_BY_SOURCE, text)
                elif found:
                    text = "stated again further on in the same source; nothing was withdrawn"
                    self._remark(item, Code.SUPERSEDED, text)
                else:
                    text = "the hash set has no such entry; there was nothing to withdraw"
                    self._remark(item, Code.UNKNOWN_EXTERNAL_ID, text)
        self.withdrawn = sorted(withdrawn)

    def _own_entries(self, hashes: Iterable[Hash]) -> dict[Hash, list[Entry]]:
        """Return the hash set's live entries that have one of the hashes, by hash."""
        wanted: dict[str, list[bytes]] = defaultdict(list)
        for h in hashes:
            wanted[h.algorithm].append(h.digest)
        return {
            Hash(name, digest): entries
            for name, digests in wanted.items()
            for digest, entries in self._live_entries(name, digests).items()
        }

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


def same_item(store: Store, entry: Entry, *, hash_sets: Iterable[str] = ()) -> list[Entry]:
    """Return the live entries about an entry's file, or under its external id in its hash set, but for itself, by id.

    Of its own hash set, and of these further ones of its contributor.
    """
    exact = [h for h in entry.hashes if ALGORITHMS[h.algorithm].metric is Metric.EXACT]
    external = store.entries.existing_by_external_ids(entry.contributor, entry.hash_set, [entry.external_id])
    found = {e.id: e for entries in external.values() for e in entries}
    for hash_set in {entry.hash_set, *hash_sets}:
        for h in exact or entry.hashes[:1]:
            sharing = store.entries.live_entries_by_digests(entry.contributor, hash_set, h.algorithm, [h.digest])
            found |= {e.id: e for e in sharing.get(h.digest, ()) if exact or set(e.hashes) == set(entry.hashes)}
    return [found[i] for i in sorted(found) if i != entry.id]


def _parts(values: Sequence[_T]) -> Iterator[Sequence[_T]]:
    """Yield the values in parts that the store is asked about at once."""
    for low in range(0, len(values), _LOOKUP):
        yield values[low : low + _LOOKUP]
