"""The hub's lists as one caller sees them: what answers are made from (`hashhub.answering`)."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final

import msgspec

from hashhub.answering.lists import VisibleSets
from hashhub.answering.lookup import look_up
from hashhub.frames import reach
from hashhub.hashes import SEARCHED, Hash
from hashhub.hub import access
from hashhub.hygiene import Code
from hashhub.model import EntryState, MatchOptions, Query, Reliability, Withdrawal, WithdrawalReason

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from hashhub.answering.lists import Lists
    from hashhub.matcher import Matcher
    from hashhub.model import Entry, Principal
    from hashhub.store import Store
    from hashhub.store.entries import EntryTable


_MOST: Final = 256  # is counted no further: more than weigh by themselves in a day
# Why an entry was withdrawn, as far as outsiders are told. The wish of the person shown is one of those that they are
# not told, and so that its absence does not give it away, neither are all reasons that are no correction of the entry.
TOLD: Final = frozenset({WithdrawalReason.FALSE_POSITIVE, WithdrawalReason.NOT_ILLEGAL_HERE, WithdrawalReason.ERROR})


def disclosed(principal: Principal, entry: Entry) -> Entry:
    """Return the entry as the principal may read it; every channel that shows an entry uses this.

    Operators, auditors and the entry's contributor read everything. Others are not told that a withdrawal was asked
    for, nor by which token one was made or in which words; and of the reasons only those that correct the entry.
    """
    if access.reads_all_of(principal, entry.contributor):
        return entry
    if entry.state is not EntryState.WITHDRAWN:
        if entry.withdrawal is None and Code.WITHDRAWAL_PENDING not in entry.reasons:
            return entry
        reasons = tuple(r for r in entry.reasons if r != Code.WITHDRAWAL_PENDING)
        return msgspec.structs.replace(entry, reasons=reasons, withdrawal=None)
    told = entry.withdrawal is not None and entry.withdrawal.reason in TOLD
    return msgspec.structs.replace(
        entry,
        reasons=entry.reasons if told else (),
        withdrawal=Withdrawal(reason=entry.withdrawal.reason, revision=entry.withdrawal.revision)
        if entry.withdrawal is not None and told
        else None,
    )


class VisibleLists:
    """The store, as terms let the principal see it in an answer."""

    def __init__(self, store: Store, principal: Principal) -> None:
        self._store, self._principal = store, principal

    @property
    def entries(self) -> EntryTable:
        """Reads them."""
        return self._store.entries

    def seen(self) -> VisibleSets:
        """Return what is seen now, by one look at the registry."""
        registry = self._store.resources.registry()
        sight = access.sight(self._principal, registry, access.DisclosureChannel.ANSWER)
        return VisibleSets(registry.contributors, registry.hash_sets, sight.visible, sight.disclosed)

    def has_any(self) -> bool:
        """Return whether terms let the principal know of a hash set, as of this process's last look at the database.

        Of entries nothing is asked: that one is there must not show in who may not see it.
        """
        sight = access.sight(self._principal, self._store.resources.held, access.DisclosureChannel.ANSWER)
        return bool(sight.visible or sight.disclosed)

    def hash_set_keys(self, names: Collection[str]) -> Mapping[int, str]:
        """Return the names of hash sets, these among them, by their keys."""
        return self._store.feeds.hash_set_keys(names)

    def disclosed(self, entry: Entry, asked: frozenset[Hash]) -> Entry:
        """Return the entry as the principal may read it; if not listed, with the digests asked about only."""
        entry = disclosed(self._principal, entry)
        listed = access.sight(self._principal, self._store.resources.held, access.DisclosureChannel.LIST).visible
        if f"{entry.contributor}/{entry.hash_set}" in listed:
            return entry
        return msgspec.structs.replace(entry, hashes=tuple(h for h in entry.hashes if h in asked))


def caller(principal: Principal) -> str:
    """Return whose traffic the principal's queries are, where the circuit breaker counts."""
    return principal.contributor or principal.name


def items_doubted(
    lists: Lists, matcher: Matcher, contributor: str, statements: Sequence[tuple[Sequence[Hash], bytes]]
) -> list[int]:
    """Return of how many items each statement (hashes and packed frames) of a contributor may be.

    As many as its digests of one algorithm can be of (`frames.reach`), or as entries that reliable others list have
    some of its hashes and none of each other's. `lists`: as the contributor sees them, so that the number tells nothing
    of others.
    """
    asked = [
        (at, h)
        for at, (hashes, _) in enumerate(statements)
        for h in hashes
        if h.algorithm in SEARCHED and SEARCHED[h.algorithm].default_max_distance is not None
    ]
    queries = [Query(hashes=(h,)) for _, h in asked]
    by_query, people = look_up(lists, matcher, queries, MatchOptions(policy=""), caller=None)
    shared: defaultdict[int, defaultdict[int, set[Hash]]] = defaultdict(lambda: defaultdict(set))
    for number, hits in by_query.items():
        at, h = asked[number]
        for hit in hits.nearest():
            who = people[hit.hash_set.contributor]
            if who.id != contributor and who.reliability <= Reliability.C:
                shared[at][hit.entry_id].add(h)
    counts = [reach(hashes, packed, _MOST) for hashes, packed in statements]
    for at, hashes_by_entry in shared.items():
        apart, taken = 0, set[Hash]()
        for own in sorted(hashes_by_entry.values(), key=len):  # an entry that binds all of them joins none
            if taken.isdisjoint(own):
                apart += 1
                taken |= own
        counts[at] = max(counts[at], apart)
    return counts
