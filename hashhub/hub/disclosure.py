"""What one caller is shown (`VisibleLists`), and how much callers learn by asking: a distance that takes in a whole
list would give it to somebody who may not list it, so it is refused.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections import defaultdict
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import msgspec

from hashhub.answering.lists import VisibleSets
from hashhub.answering.lookup import look_up
from hashhub.background import Background
from hashhub.errors import HashHubError, PermissionDenied, Reason
from hashhub.frames import reach
from hashhub.hashes import SEARCHED, Hash
from hashhub.hub import access
from hashhub.hygiene import Code
from hashhub.model import EntryState, MatchOptions, Query, Reliability, Withdrawal, WithdrawalReason

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from hashhub.answering.lists import Lists
    from hashhub.config import Config
    from hashhub.matcher import Matcher
    from hashhub.model import Entry, MatchResult, Principal
    from hashhub.store import Store
    from hashhub.store.entries import EntryTable

_log = logging.getLogger("hashhub.access")
_SECONDS: Final = 10.0
_DAY: Final = 86_400
_SHOWN: Final = 1_000  # tokens in metrics
MOST: Final = 65_536  # SHA-256 of one token that wait to be written
_MOST_ITEMS: Final = 256  # are counted no further: more than weigh by themselves in a day
# Why an entry was withdrawn, as far as outsiders are told. The wish of the person shown is one of those that they are
# not told, and so that its absence does not give it away, neither are all reasons that are no correction of the entry.
TOLD: Final = frozenset({WithdrawalReason.FALSE_POSITIVE, WithdrawalReason.NOT_ILLEGAL_HERE, WithdrawalReason.ERROR})


def disclosed(principal: Principal, entry: Entry) -> Entry:
    """Return the entry as the principal may read it; every channel that shows an entry uses this. Outsiders are not
    told that a withdrawal was asked for, nor who made one in which words; of the reasons only those that correct the
    entry.
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
        """Return whether terms let the principal know of a hash set; nothing is asked of entries, which would show."""
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
    """Return of how many items each statement (hashes and packed frames) of a contributor may be: as many as its
    digests of one algorithm (`frames.reach`), or as entries that reliable others list with some of its hashes and none
    of each other's. `lists`: as the contributor sees them, so that the number tells nothing of others.
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
    counts = [reach(hashes, packed, _MOST_ITEMS) for hashes, packed in statements]
    for at, hashes_by_entry in shared.items():
        apart, taken = 0, set[Hash]()
        for own in sorted(hashes_by_entry.values(), key=len):  # an entry that binds all of them joins none
            if taken.isdisjoint(own):
                apart += 1
                taken |= own
        counts[at] = max(counts[at], apart)
    return counts


class DisclosureCounter:
    """Bounds and counts what tokens are told of closed hash sets: those that they see in answers and may not list.

    Each process keeps the smallest SHA-256 of entries' names (a sketch: exact below 1,024 names, within some percent
    beyond), and adds them every few seconds to the token's day in the database.
    """

    def __init__(self, store: Store, config: Config) -> None:
        self._store = store
        self._photodna = config.max_photodna_distance
        self._alarm = config.learned_alarm
        self._lock = threading.Lock()
        self._names: dict[str, set[int]] = {}
        self._counts: tuple[int, Mapping[str, int]] = (0, {})
        self._told: set[tuple[str, int]] = set()
        self.thread = Background(
            "learned", self.write, complaint="what tokens learn of closed hash sets is not counted", pause=_SECONDS
        )

    def check(self, principal: Principal, max_distances: Mapping[str, int]) -> None:
        """Raise PermissionDenied (DISTANCE_NOT_ALLOWED) for a distance beyond what closed sets' terms allow."""
        usual = {name: of.default_max_distance for name, of in SEARCHED.items()}
        wide = {n: d for n, d in max_distances.items() if d > (usual[n] or 0)}
        if not wide:
            return
        registry = self._store.resources.registry()
        closed = access.sight(principal, registry, access.DisclosureChannel.ANSWER).closed
        for name, distance in wide.items():
            own = usual[name]
            least = self._photodna if own is None else own
            granted = [registry.hash_sets[x].marking.max_distances.get(name, 0) for x in closed]
            most = max(least, min(granted, default=distance))
            if distance > most:
                raise PermissionDenied(
                    f"options.max_distances[{name}] must be at most {most} for this token, got {distance}: there are "
                    "hash sets that it may see in answers and not list, and a wider question would give them away; ask "
                    "with at most that, or have the operator or their contributors allow more in their terms"
                    + (" (for all: setting max_photodna_distance)" if own is None else ""),
                    reason=Reason.DISTANCE_NOT_ALLOWED,
                    metadata={"algorithm": name, "maxDistance": str(most)},
                )

    def note_answers(self, principal: Principal, results: Sequence[MatchResult]) -> None:
        """Count what answers tell: the entries that matched, and those that reasons name."""
        names = {m.entry.name for r in results for m in r.matches}
        self.note(principal, names.union(*(line.entries for r in results for line in r.reasons)))

    def note(self, principal: Principal, names: Iterable[str]) -> None:
        """Count those of the entries (`CONTRIBUTOR/SET/ID`) that are of closed hash sets."""
        closed = access.sight(principal, self._store.resources.held, access.DisclosureChannel.ANSWER).closed
        learned = {_number(name) for name in names if name.rpartition("/")[0] in closed}
        if not learned:
            return
        with self._lock:
            own = self._names.setdefault(principal.name, set())
            if len(own) < MOST:
                own |= learned
        with suppress(RuntimeError):  # no thread can be made: the next answer tries again
            self.thread.start(at_once=False)

    def counts(self) -> Mapping[str, int]:
        """Return of how many entries tokens learned today: the _SHOWN highest that this process has written."""
        day, counts = self._counts
        return counts if day == _today() else {}

    def warnings(self) -> list[str]:
        """Return what is to be said of tokens that learned more than the settings say, today or yesterday."""
        if not self._alarm:
            return []
        return [
            f"token {token} was told of {count:,} entries within a day of hash sets that it may not list "
            f"(learned_alarm {self._alarm:,}): ask its holder, and see `hashhub token update {token} --expires now`"
            for token, count in sorted(self._store.tokens.learned(since=_today() - 1).items())
            if count >= self._alarm
        ]

    def write(self) -> None:
        """Add what was counted to what all processes did, and warn in the log of tokens that learned much."""
        with self._lock:
            names, self._names = self._names, {}
        day = _today()
        try:
            counts = self._store.tokens.note_learned(day, names) if names else {}
        except BaseException:
            with self._lock:
                for token, own in names.items():
                    self._names.setdefault(token, set()).update(own)
            raise
        known = {**(self._counts[1] if self._counts[0] == day else {}), **counts}
        self._counts = (day, dict(sorted(known.items(), key=lambda x: -x[1])[:_SHOWN]))
        for token, count in counts.items():
            if self._alarm and count >= self._alarm and (token, day) not in self._told:
                self._told = {told for told in self._told if told[1] == day} | {(token, day)}
                _log.warning(
                    "token %s was told of %d entries today of hash sets that it may not list (learned_alarm)",
                    token,
                    count,
                )

    def close(self) -> None:
        """Write down what was counted last."""
        self.thread.close()
        try:
            self.write()
        except HashHubError as e:
            _log.warning("what tokens learned last could not be written: %s", e.message)


def _number(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8])


def _today() -> int:
    return int(time.time()) // _DAY
