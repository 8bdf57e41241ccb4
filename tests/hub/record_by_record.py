"""The rules of intake said a second time, for one record after the other: what the columns must come to.

Slow and plain: every item is compared with every other and with every entry. Only what a raw value is in the hash set
(`KindMeanings`), what holds cover, and hygiene are taken from the hub.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import combinations

import msgspec

from hashhub import hygiene
from hashhub.hashes import ALGORITHMS, Hash, Metric
from hashhub.hub.intake.identity import HeldItems
from hashhub.hub.intake.items import ItemKind, KindMeanings
from hashhub.item import COMPARED, union
from hashhub.model import (
    Action,
    Counts,
    Disposition,
    Entry,
    EntryState,
    Finding,
    HashSet,
    Purpose,
    Record,
    Review,
    Unclassified,
    number_of,
)
from hashhub.schemes import Scheme
from hashhub.store import Hold

EXACT = [a.name for a in ALGORITHMS.values() if a.metric is Metric.EXACT]
ACCEPTED, QUARANTINED, DUPLICATE = Disposition.ACCEPTED, Disposition.QUARANTINED, Disposition.DUPLICATE


class Item:
    """One item of the source, and what becomes of it."""

    def __init__(self, record: Record) -> None:
        said = hygiene.inspect(record)
        self.record = msgspec.structs.replace(record, hashes=tuple(dict.fromkeys(said.hashes)), reviews=said.reviews)
        self.original = self.record
        self.said = said
        self.outcome = said.disposition
        self.asks_withdrawal = record.action is Action.WITHDRAW and said.disposition is not Disposition.REJECTED
        if self.asks_withdrawal:
            self.outcome = Disposition.WITHDRAWN
        self.states = self.outcome in {ACCEPTED, QUARANTINED}
        self.why: list[tuple[str, str]] = []
        self.asides = [n for n in said.notes if n[0] not in said.reasons]
        self.lacks_value = False
        self.withdrawn_by: Hold | None = None
        self.earlier: list[Entry] = []
        self.held = ""
        self.twin: Entry | None = None
        self.is_held = False

    @property
    def waits_as_before(self) -> bool:
        return self.outcome is QUARANTINED and self.twin is not None and self.twin.state is EntryState.QUARANTINED

    @property
    def becomes_entry(self) -> bool:
        return self.outcome in {ACCEPTED, QUARANTINED} and not self.waits_as_before

    @property
    def reasons(self) -> tuple[str, ...]:
        reasons = (*self.said.reasons, *(code for code, _ in self.why)) if self.outcome is QUARANTINED else ()
        return tuple(dict.fromkeys(map(str, (*reasons, "UNCLASSIFIED") if self.is_undecided else reasons)))

    @property
    def name(self) -> str:
        return self.record.external_id

    @property
    def exact(self) -> list[Hash]:
        return exact_of(self.original.hashes)

    @property
    def is_bare(self) -> bool:
        return not self.name and not self.exact

    @property
    def grounds(self) -> list[tuple[str, str]]:
        return [n for n in self.said.notes if n[0] in self.said.reasons]

    @property
    def is_undecided(self) -> bool:
        return self.lacks_value and not self.record.value

    def remark(self, code: str, detail: str) -> None:
        if all(code != given for given, _ in self.why):
            self.why.append((str(code), detail))

    def quarantine(self, code: str, detail: str) -> None:
        if self.becomes_entry:
            self.outcome = QUARANTINED
            self.remark(code, detail)


def exact_of(hashes: Iterable[Hash]) -> list[Hash]:
    return [h for h in hashes if h.algorithm in EXACT]


class Model:
    """All decisions about one source. `entries`: the hash set's, of any state, by id; `reviews`: those that count for
    them.
    """

    def __init__(
        self,
        hash_set: HashSet,
        scheme: Scheme | None,
        holds: HeldItems,
        entries: Sequence[Entry],
        reviews: dict[int, list[Review]],
        *,
        replace: bool,
        has_classifications: bool | None,
    ) -> None:
        self.hash_set = hash_set
        self.values = KindMeanings(hash_set, scheme)
        self.scheme = scheme
        self.holds = holds
        self.entries = entries
        self.live = [e for e in entries if e.state is not EntryState.WITHDRAWN]
        self.reviews = reviews
        self.replace = replace
        self.has_classifications = has_classifications
        self.items: list[Item] = []
        self.superseded: set[int] = set()
        self.absent: set[int] = set()
        self.withdrawn: set[int] = set()
        self.kept: set[int] = set()

    def decide(self, records: Sequence[Record]) -> None:
        self.items = [Item(r) for r in records]
        for item in self.items:
            if item.states:
                self.look_at(item)
        self.expect_values()
        self.within_the_source()
        self.against_the_hash_set()
        self.remove()

    def look_at(self, item: Item) -> None:
        meaning = self.values.meanings[self.values.number(ItemKind.of(item.record))]
        if meaning.ground:
            item.quarantine(*meaning.ground)
        for hold in self.holds.of(item.record):
            if hold.effect == "WITHDRAWN":
                item.withdrawn_by = item.withdrawn_by or hold
            else:
                text = "an operator put this item into quarantine; it waits there until an operator releases it"
                item.quarantine("QUARANTINED_BY_OPERATOR", text)
                item.is_held = True

    def expect_values(self) -> None:
        scheme, purpose = self.scheme, self.hash_set.purpose
        expected = self.has_classifications
        if expected is None:
            expected = scheme is not None or any(i.record.value for i in self.items if i.states)
        is_due = expected or (scheme is not None and scheme.value_required)
        if not is_due or (scheme is None and purpose is Purpose.BENIGN):
            return
        waits = self.hash_set.unclassified is not Unclassified.LISTED or purpose is Purpose.BENIGN
        text = f"the item has no value of {scheme.name}" if scheme else "the item has no classification"
        for item in self.items:
            if item.states and not item.record.value:
                item.lacks_value = True
                if waits:
                    item.quarantine("UNCLASSIFIED", text)

    def groups(self, is_one: Callable[[Item, Item], bool]) -> list[list[Item]]:
        """The items that are connected by pairs that are one."""
        stating = [i for i in self.items if i.states]
        group_of = {id(i): [i] for i in stating}
        for a, b in combinations(stating, 2):
            if is_one(a, b) and group_of[id(a)] is not group_of[id(b)]:
                joined = sorted([*group_of[id(a)], *group_of[id(b)]], key=self.items.index)
                group_of |= {id(i): joined for i in joined}
        return list({id(g): g for g in group_of.values() if len(g) > 1}.values())

    def within_the_source(self) -> None:
        self.check_bindings()
        for place, removal in enumerate(self.items):
            if removal.asks_withdrawal:
                for item in self.items[:place]:
                    if item.becomes_entry and is_meant(removal, item.name, item.original.hashes, bare=item.is_bare):
                        item.outcome, item.why = DUPLICATE, []
                        item.remark("SUPERSEDED", "withdrawn further on in the same source")

        def same_item(a: Item, b: Item) -> bool:
            if a.name and a.name == b.name:
                return True
            shares = bool(set(a.exact) & set(b.exact))
            is_bare = a.is_bare and b.is_bare and set(a.record.hashes) == set(b.record.hashes)
            return not a.name and not b.name and (shares or is_bare)

        def same_file(a: Item, b: Item) -> bool:
            shares = bool(set(a.exact) & set(b.exact))
            return same_item(a, b) or (shares and a.record.member == b.record.member)

        groups, files = self.groups(same_item), self.groups(same_file)
        apart = {id(i) for i in self.items if any(code == "CONTRADICTORY_BINDING" for code, _ in i.why)}
        for group in files:
            apart |= self.tell_conflict([i for i in group if i.becomes_entry])
        for group in groups:
            staying = [i for i in group if i.becomes_entry]
            if len(staying) > 1 and not any(id(i) in apart for i in staying):
                self.merge(staying)

    def check_bindings(self) -> None:
        for common in EXACT:
            by_digest: dict[bytes, list[Item]] = {}
            for item in self.items:
                for h in item.exact if item.states else ():
                    if h.algorithm == common and item not in by_digest.setdefault(h.digest, []):
                        by_digest[h.digest].append(item)
            for other in EXACT:
                for sharing in by_digest.values():
                    firsts = {d for i in sharing if (d := next((h for h in i.exact if h.algorithm == other), None))}
                    if len(sharing) > 1 and len(firsts) > 1:
                        for item in sharing:
                            text = f"items with one digest in common have different {other} digests"
                            item.quarantine("CONTRADICTORY_BINDING", text)

    def tell_conflict(self, items: list[Item]) -> set[int]:
        spelt = {self.values.meanings[self.values.number(ItemKind.of(i.record))].spelling for i in items} - {""}
        if len(spelt) < 2:
            return set()
        stated = ", ".join(sorted(repr(s[:20]) for s in spelt))
        for item in items:
            others = ", ".join(o.record.position for o in items[:5] if o is not item)
            item.quarantine("CONFLICTING_CATEGORIES", f"the source states {stated} for it (also at {others})")
        return {id(i) for i in items}

    def merge(self, items: list[Item]) -> None:
        for name in EXACT:
            if len({h for i in items for h in i.record.hashes if h.algorithm == name}) > 1:
                for item in items:
                    text = f"what the source states about the same item adds up to two {name} digests"
                    item.quarantine("CONTRADICTORY_BINDING", text)
                return
        first = next((i for i in items if i.record.value), items[0])
        carrier = first
        for item in (i for i in items if i is not first):
            merged = union([carrier.record, item.record])
            if max(len(merged.hashes), len(merged.tags)) > 64:
                carrier = item
                text = f"the same item as {first.record.position}; one entry holds at most 64 hashes"
                item.asides.append(("TOO_MANY_HASHES", f"{text}, so that this is another"))
                continue
            carrier.record = merged
            for code, detail in (*item.grounds, *item.why):
                if code != "UNCLASSIFIED" or not merged.value:
                    carrier.outcome = QUARANTINED
                    carrier.remark(code, detail)
            carrier.withdrawn_by = carrier.withdrawn_by or item.withdrawn_by
            item.outcome, item.why = DUPLICATE, []
            text = f"the same item as {carrier.record.position}; its hashes were merged into it"
            item.remark("DUPLICATE_IN_SOURCE", text)

    def about(self, item: Item) -> list[Entry]:
        """The entries about an item: live ones, and withdrawn ones that were reviewed."""
        chosen = []
        for e in self.entries:
            live = e.state is not EntryState.WITHDRAWN
            if not live and e.id not in self.reviews:
                continue
            shares = bool(set(item.exact) & set(e.hashes))
            is_unnamed = not item.name and not e.external_id
            has_same = item.is_bare and not exact_of(e.hashes) and set(e.hashes) == set(item.record.hashes)
            if (item.name and item.name == e.external_id) or (shares and (is_unnamed or not live)) or has_same:
                chosen.append(e)
        return chosen

    def against_the_hash_set(self) -> None:
        replaced: set[int] = set()
        taken: set[int] = set()
        for item in self.items:
            if not item.becomes_entry:
                continue
            entries = self.about(item)
            live = [e for e in entries if e.state is not EntryState.WITHDRAWN]
            if item.withdrawn_by is not None and not live:
                item.outcome, item.why = Disposition.STAYS_WITHDRAWN, []
                name = f"{self.hash_set.name}/{number_of(item.withdrawn_by.entry_id)}"
                by = item.withdrawn_by.origin
                who = "the contributor or an operator" if by in {"CONTRIBUTOR", "SOURCE"} else "only an operator"
                why = "by a newer deletion message of the source" if by == "SOURCE" else "by hand"
                how = f"to restore it: hashhub entry restore {name} ({who})"
                item.remark("STAYS_WITHDRAWN", f"{name} was withdrawn {why} and stays so; {how}")
                continue
            free = [e for e in live if e.state is EntryState.ACTIVE or e.id not in taken]
            item.twin = next((e for e in free if self.is_identical(e, item)), None)
            taken |= {item.twin.id} if item.twin is not None else set()
            waits = item.outcome is QUARANTINED if item.twin is None else item.twin.state is EntryState.QUARANTINED
            active = [e for e in live if waits and e.state is EntryState.ACTIVE]
            self.kept |= {e.id for e in active}
            item.earlier = entries if item.twin is None else [e for e in entries if e not in live]
            if item.twin is None:
                replaced |= {e.id for e in live}
                if active:
                    item.held = ", ".join(e.name for e in active)
                continue
            self.kept.add(item.twin.id)
            replaced |= {e.id for e in live if e.id > item.twin.id and e.state is EntryState.QUARANTINED}
        for item in self.items:
            if item.waits_as_before and item.twin is not None:
                item.held = ""
                item.why.append(("", f"{item.twin.name} has stated this before, and waits as before"))
            elif item.twin is not None:
                item.outcome = Disposition.UNCHANGED
                item.why = [("IDENTICAL_ENTRY", f"entry {item.twin.name} already states exactly this")]
        self.superseded = replaced - self.kept
        if self.replace:
            self.absent = {e.id for e in self.live} - self.kept - self.superseded

    def is_identical(self, entry: Entry, item: Item) -> bool:
        stated = self.values.classification(ItemKind.of(item.record))
        known = entry.classification
        waits = item.outcome is QUARANTINED and (item.is_held or set(entry.reasons) == set(item.reasons))
        return (
            (entry.state is EntryState.ACTIVE or waits)
            and (known and (known.scheme, known.value)) == (stated and (stated.scheme, stated.value))
            and ("UNCLASSIFIED" in entry.reasons) == item.is_undecided
            and set(entry.hashes) == set(item.record.hashes)
            and all(_at(entry, f.entry_path) == getattr(item.record, f.name) for f in COMPARED)
        )

    def remove(self) -> None:
        for item in self.items:
            if not item.asks_withdrawal:
                continue
            meant = [e for e in self.live if is_meant(item, e.external_id, e.hashes, bare=not exact_of(e.hashes))]
            if not item.name:  # digest by digest
                meant.sort(key=lambda e: next((n for n, h in enumerate(item.exact) if h in e.hashes), 0))
            gone = [e for e in meant if e.id not in self.kept | self.superseded]
            self.withdrawn |= {e.id for e in gone}
            if gone:
                item.remark("WITHDRAWN_BY_SOURCE", f"withdrawn: {', '.join(e.name for e in gone)}")
            elif meant:
                item.remark("SUPERSEDED", "stated again further on in the same source; nothing was withdrawn")
            else:
                text = "the hash set has no such entry; there was nothing to withdraw"
                item.remark("UNKNOWN_EXTERNAL_ID", text)

    def restated(self, first_entry: int) -> set[tuple[int, int]]:
        """The pairs of entries about the same item, the earlier one first."""
        pairs = set()
        entry = first_entry
        for item in self.items:
            later = item.twin.id if item.twin is not None else entry
            pairs |= {(e.id, later) for e in item.earlier}
            entry += item.becomes_entry
        return pairs

    def new_entries(self) -> list[tuple[str, EntryState, frozenset[Hash], tuple[str, ...]]]:
        """Position, state, hashes and reasons of each entry to write."""
        written = []
        for item in self.items:
            if item.becomes_entry:
                state = EntryState.ACTIVE if item.outcome is ACCEPTED else EntryState.QUARANTINED
                hashes = frozenset(item.record.hashes)
                written.append((item.record.position, state, hashes, item.reasons))
        return written

    def counts(self) -> Counts:
        became = {d: sum(i.outcome is d for i in self.items) for d in Disposition}
        return Counts(
            items=len(self.items),
            accepted=became[ACCEPTED],
            quarantined=became[QUARANTINED],
            rejected=became[Disposition.REJECTED],
            duplicate=became[DUPLICATE],
            unchanged=became[Disposition.UNCHANGED],
            withdrawn=became[Disposition.WITHDRAWN],
            stays_withdrawn=became[Disposition.STAYS_WITHDRAWN],
            noted=sum(len(i.asides) for i in self.items),
            superseded=len(self.superseded),
            absent=len(self.absent),
        )

    def findings(self, first_entry: int) -> list[Finding]:
        lines = []
        entry = first_entry
        for item in self.items:
            number = entry if item.becomes_entry else 0
            if item.waits_as_before and item.twin is not None:
                number = item.twin.id
            if item.outcome is not ACCEPTED:
                says = item.outcome in {Disposition.REJECTED, QUARANTINED}
                why = (item.grounds if says else []) + item.why
                details = [detail for _, detail in why]
                if item.held and item.outcome is QUARANTINED:
                    details.append(f"{item.held} matches until this one is released")
                lines.append(Finding(item.record.position, item.outcome, why[0][0], "; ".join(details), number))
            lines += [Finding(item.record.position, Disposition.NOTED, c, d, number) for c, d in item.asides]
            entry += item.becomes_entry
        return lines


def is_meant(removal: Item, external_id: str, hashes: Sequence[Hash], *, bare: bool) -> bool:
    """Whether a withdrawal means what has these identities."""
    if removal.record.external_id:
        return removal.record.external_id == external_id
    if removal.exact:
        return bool(set(removal.exact) & set(hashes))
    return bare and set(hashes) == set(removal.record.hashes)


def _at(entry: Entry, path: str) -> object:
    value: object = entry
    for name in path.split("."):
        value = getattr(value, name)
    return value
