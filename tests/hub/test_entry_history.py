"""An entry's history: all that moved it, by a look at the whole feed, in pages that cost little beside many changes."""

from __future__ import annotations

from contextlib import suppress
from random import Random
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from hashhub.errors import HashHubError
from hashhub.hub import Hub
from hashhub.hub import history as module
from hashhub.model import Action, Entry, ReviewKind, WithdrawalReason
from hashhub.store import schema as s
from hashhub.store.entry_codec import IdSet
from tests.hub.conftest import OPERATOR, Desk, Open, item, seeds, writer
from tests.store.test_history_since import counted

if TYPE_CHECKING:
    from hashhub.model import Event

_NUMBERS = range(5)
_MOST_STEPS = 50_000  # of SQLite's machine, in tens: a change takes two of these


def _history(hub: Hub, entry: Entry, page_size: int) -> list[Event]:
    subject = f"entries/{entry.name}"
    page, before = hub.history.list(OPERATOR, subject, "", None, page_size, 0)
    events = [*page]
    while before:
        assert not events or before <= events[-1].revision
        page, before = hub.history.list(OPERATOR, subject, "", None, page_size, before)
        events += page
    return events


def _expected(hub: Hub, entry: Entry) -> set[int]:
    """The revisions at which something became of an entry: a look at every change, review and event."""
    store = hub.store
    changes = store.database.fetch("SELECT revision, kind, first_entry, last_entry, ids FROM change")
    moved = {
        revision
        for revision, kind, *ids in changes
        if kind != s.STAGED and revision >= entry.create_revision and entry.id in IdSet(*ids)
    }
    subject = f"entries/{entry.name}"
    named = {e.revision for e in store.history.list_events(subjects=[subject], limit=1000)}
    reviewed = {r.revision for r in store.entries.list_reviews(entry.id, 1000)}
    asked = {entry.withdrawal.revision} if entry.withdrawal is not None and entry.withdrawal.pending else set()
    return moved | named | reviewed | asked | {entry.create_revision}


def _something(desk: Desk, chance: Random) -> None:
    """Do one of what may become of entries; much of it is refused."""
    name = chance.choice(["alpha/one", "alpha/two"])
    entries = desk.entries(name)
    if not entries or chance.random() < 0.4:
        numbers = chance.sample(_NUMBERS, chance.randint(1, 3))
        gone = chance.random() < 0.3
        items = [
            item(n, action=Action.WITHDRAW)
            if gone
            else item(n, tags=(chance.choice("ab"),), quality=chance.choice([10, 90]))
            for n in numbers
        ]
        desk.contribute(name, *items, replace=not gone and chance.random() < 0.3, allow_shrinking=True)
        return
    entry = chance.choice(entries)
    which = ("alpha", entry.hash_set, entry.id)
    who = chance.choice([OPERATOR, writer("alpha"), writer("beta")])
    with suppress(HashHubError):
        match chance.choice(["withdraw", "restore", "quarantine", "release", "review", "review", "erase"]):
            case "withdraw":
                desk.hub.entries.withdraw(who, *which, WithdrawalReason.ERROR)
            case "restore":
                desk.hub.entries.restore(who, *which, "so")
            case "quarantine":
                desk.hub.entries.quarantine(who, *which)
            case "release":
                desk.hub.entries.release(who, *which)
            case "review":
                desk.hub.reviews.create(who, *which, chance.choice(list(ReviewKind)), "so")
            case _ if chance.random() < 0.2:
                desk.hub.entries.erase(OPERATOR, *which)


@seeds(3, 1)
def test_it_is_all_that_became_of_it(any_desk: Desk, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    chance = Random(seed)
    any_desk.contributor("beta")
    for name in ("alpha/one", "alpha/two"):
        any_desk.hash_set(name)
    for _ in range(60):
        _something(any_desk, chance)
    entries = [*any_desk.entries("alpha/one"), *any_desk.entries("alpha/two")]
    assert len(entries) > 10
    expected = {e.id: sorted(_expected(any_desk.hub, e), reverse=True) for e in entries}
    assert any(len(revisions) > 2 for revisions in expected.values())
    for changes in (module.CHANGES, 7, 1):
        monkeypatch.setattr(module, "CHANGES", changes)
        for entry in entries:
            revisions = [e.revision for e in _history(any_desk.hub, entry, chance.choice([1, 3, 100]))]
            assert revisions == expected[entry.id]


def _many_changes(hub: Hub, entry: Entry, count: int) -> None:
    """Write revisions that moved other entries of its set."""
    t = s.change
    with hub.store.database.write() as c:
        first: int = c.scalar(sa.select(s.metadata.c.revision)) or 0
        (key,) = c.execute(sa.select(t.c.hash_set).limit(1)).one()
        rows = [
            {"revision": first + n, "ordinal": 0, "kind": s.UPSERT, "first_entry": entry.id + n, "import": 0}
            | {"last_entry": entry.id + n, "ids": None, "hash_set": key}
            for n in range(1, count + 1)
        ]
        for start in range(0, count, 10_000):
            c.execute(sa.insert(t), rows[start : start + 10_000])
        c.execute(sa.update(s.metadata).values(revision=first + count))
        c.execute(sa.update(s.log).values(first_revision=first + count + 1))  # they are in no log


@pytest.mark.parametrize("then", ["nothing", "moved", "reviewed"])
def test_a_page_costs_little_beside_many_changes(open_hub: Open, then: str) -> None:
    desk = Desk(open_hub(start=False))
    desk.hash_set("alpha/one")
    desk.contribute("alpha/one", item(1))
    (entry,) = desk.entries("alpha/one")
    _many_changes(desk.hub, entry, 40_000)
    if then == "moved":
        desk.hub.store.transitions.withdraw([entry.id], "X")
    if then == "reviewed":
        desk.hub.reviews.create(writer("alpha"), "alpha", "one", entry.id, ReviewKind.CONFIRMED, "so")
    subject = f"entries/{entry.name}"
    revisions, before, pages = [], 0, 0
    while pages == 0 or before:
        with counted(desk.hub.store) as steps:
            page, before = desk.hub.history.list(OPERATOR, subject, "", None, 100, before)
        assert steps() < (500 if then == "nothing" else _MOST_STEPS)
        revisions += [e.revision for e in page]
        pages += 1
    assert revisions[-1] == entry.create_revision
    assert len(revisions) == (1 if then == "nothing" else 2)
    assert pages == (1 if then == "nothing" else 3)
