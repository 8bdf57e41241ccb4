"""A receiver of the change feed in plain dictionaries, and what it ought to hold, read straight from the store."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Any

from hashhub.hub import Hub
from hashhub.model import (
    ChangedEntry,
    ChangeKind,
    Contributor,
    ContributorKind,
    Entry,
    EntryState,
    FeedPage,
    HashSet,
    Principal,
    Review,
    Role,
)
from hashhub.store import Store

Held = dict[str, tuple[Entry, tuple[tuple[int, str, str], ...]]]


def mirroring(role: Role = Role.CONSUMER, contributor: str = "receiver", **fields: Any) -> Principal:
    """A token that may read the feed."""
    return Principal(name=f"{contributor}-mirror", role=role, contributor=contributor, may_mirror=True, **fields)


def admit(store: Store, who: Principal) -> str:
    """Store a token, and its contributor where that is missing; return its secret."""
    if who.contributor not in store.resources.contributors():
        contributor = Contributor(
            id=who.contributor, display_name="Reader", kind=ContributorKind.PLATFORM, jurisdiction="GB"
        )
        store.resources.create_contributor(contributor)
    secret = f"hh_{who.name}"
    store.tokens.put_token(hashlib.sha256(secret.encode()).digest(), who)
    return secret


class Receiver:
    """Takes pages in, as docs/match/mirror.md says that a receiver should."""

    def __init__(self, hub: Hub, who: Principal) -> None:
        self.hub, self.who = hub, who
        self.position = ""
        self.entries: Held = {}
        self.sets: dict[str, HashSet] = {}
        self.contributors: dict[str, Contributor] = {}
        self.lines: list[ChangedEntry] = []
        self.pages = 0

    def page(self, size: int = 1000, *, from_now: bool = False) -> FeedPage:
        """Take one page in."""
        page = self.hub.changes.page(self.who, self.position, from_now=from_now, page_size=size)
        assert len(page.changes) <= size
        for line in page.changes:
            self.take(line)
        self.lines += page.changes
        self.position = page.position
        self.pages += 1
        return page

    def take(self, line: ChangedEntry) -> None:
        if line.hash_set_name:
            self.sets.pop(line.hash_set_name, None)
            self.entries = {i: e for i, e in self.entries.items() if _set_of(e[0]) != line.hash_set_name}
        elif line.kind is ChangeKind.WITHDRAW:
            name, _, _ = line.entry_name.rpartition("/")
            assert name in self.sets, "an entry of a hash set that the receiver was never told of"
            self.entries.pop(line.entry_name, None)
        elif line.entry is not None:
            assert _set_of(line.entry) in self.sets, "an entry whose terms the receiver does not know"
            assert line.entry.contributor in self.contributors
            assert {r.author.partition("/")[0] for r in line.reviews} <= self.contributors.keys()
            self.entries[line.entry.name] = (line.entry, _told(line.reviews))
        elif line.hash_set is not None:
            self.sets[line.hash_set.name] = line.hash_set
        elif line.contributor is not None:
            self.contributors[line.contributor.id] = line.contributor

    def catch_up(self, size: int = 1000, *, from_now: bool = False) -> list[ChangedEntry]:
        """Take pages in up to a complete one, and return their lines."""
        before = len(self.lines)
        page = self.page(size, from_now=from_now)
        while not page.is_complete:
            page = self.page(size)
        return self.lines[before:]


def entitled(hub: Hub, who: Principal, groups: dict[str, set[str]] | None = None) -> tuple[Held, dict[str, HashSet]]:
    """Return what a principal may hold: an oracle that shares nothing with the feed but the store's plain reads."""
    store = hub.store
    sets = {
        name: hash_set
        for name, hash_set in store.resources.hash_sets().items()
        if _terms_admit(who, hash_set, groups or {})
    }
    held: Held = {}
    for name in sets:
        contributor, _, set_id = name.partition("/")
        after = 0
        while entries := store.entries.list_entries(contributor, set_id, (EntryState.ACTIVE,), 500, after):
            after = entries[-1].id
            reviews = store.entries.reviews_of(e.id for e in entries)
            held |= {e.name: (e, _told(tuple(reviews.get(e.id, ())))) for e in entries}
    return held, sets


def _terms_admit(who: Principal, hash_set: HashSet, groups: dict[str, set[str]]) -> bool:
    if who.role in (Role.OPERATOR, Role.AUDITOR) or who.contributor == hash_set.contributor:
        return True
    marking = hash_set.marking
    named = {f"contributors/{who.contributor}", f"tokens/{who.name}"}
    named |= {f"groups/{g}" for g, members in groups.items() if who.contributor in members}
    return (
        marking.bulk
        and (not marking.recipients or bool(named & set(marking.recipients)))
        and (not marking.permitted_purposes or bool(set(who.purposes) & set(marking.permitted_purposes)))
        and not (who.acts_for_others and marking.tlp == "AMBER_STRICT")
        and (marking.expire_time is None or marking.expire_time > datetime.now(UTC))
    )


def _set_of(entry: Entry) -> str:
    return f"{entry.contributor}/{entry.hash_set}"


def _told(reviews: tuple[Review, ...]) -> tuple[tuple[int, str, str], ...]:
    return tuple(sorted((r.id, r.author, str(r.kind)) for r in reviews))
