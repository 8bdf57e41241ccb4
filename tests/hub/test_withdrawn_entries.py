"""The change feed for readers that need each withdrawn entry itself, not only its name."""

from __future__ import annotations

import threading
from random import Random

import pytest

from hashhub.hashes import Hash
from hashhub.hub import Hub
from hashhub.model import ChangeKind, Entry, EntryState, FeedPage, Principal, Record
from hashhub.store import Position
from tests.hub.conftest import OPERATOR, Desk, item
from tests.hub.receiving import Held, Receiver, entitled, mirroring
from tests.hub.test_changes import OUTSIDER, SHARED, terms


class ByHash(Receiver):
    """Keeps entries by what they are, since its format has no names of ours."""

    def __init__(self, hub: Hub, who: Principal) -> None:
        super().__init__(hub, who)
        self.digests: dict[str, tuple[Hash, ...]] = {}

    def page(self, size: int = 1000, *, from_now: bool = False) -> FeedPage:
        page = self.hub.changes.page(self.who, self.position, from_now=from_now, page_size=size, withdrawn_entries=True)
        assert len(page.changes) <= size
        for line in page.changes:
            assert not line.hash_set_name, "a hash set is withdrawn entry by entry"
            if line.kind is ChangeKind.WITHDRAW:
                assert line.entry is not None
                assert (line.entry.name, line.entry.state) == (line.entry_name, EntryState.WITHDRAWN)
                if line.entry_name in self.digests:  # otherwise it came and went between two pages
                    assert line.entry.hashes == self.digests.pop(line.entry_name)
            elif line.entry is not None:
                self.digests[line.entry.name] = line.entry.hashes
        self.lines += page.changes
        self.position = page.position
        return page


def held(hub: Hub, who: Principal) -> dict[str, tuple[Hash, ...]]:
    entries: Held = entitled(hub, who)[0]
    return {name: entry.hashes for name, (entry, _) in entries.items()}


def withdrawals(receiver: ByHash, size: int = 1000) -> list[Entry]:
    return [x.entry for x in receiver.catch_up(size) if x.kind is ChangeKind.WITHDRAW and x.entry is not None]


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
def test_a_lost_hash_set_is_withdrawn_as_far_as_it_was_given(desk: Desk, size: int) -> None:
    """Also what was withdrawn since; but nothing that came after the last page, which the reader may not learn of."""
    desk.hash_set("alpha/list", marking=SHARED)
    desk.contribute("alpha/list", *(item(n) for n in range(6)))
    receiver = ByHash(desk.hub, OUTSIDER)
    receiver.catch_up(size)
    entries = desk.entries("alpha/list")
    desk.hub.store.transitions.withdraw([entries[1].id], "X")
    desk.contribute("alpha/list", item(50))
    terms(desk, "alpha/list", bulk=False)
    told = withdrawals(receiver, size)
    assert sorted(e.name for e in told) == sorted(e.name for e in entries)
    assert receiver.digests == {}
    terms(desk, "alpha/list", bulk=True)
    receiver.catch_up(size)
    assert receiver.digests == held(desk.hub, OUTSIDER)


def test_a_loss_in_the_middle_of_a_first_sync_and_one_that_is_taken_back(desk: Desk) -> None:
    desk.hash_set("alpha/list", marking=SHARED)
    desk.contribute("alpha/list", *(item(n) for n in range(6)))
    for pages in range(10):
        for lost_pages in range(4):
            receiver = ByHash(desk.hub, OUTSIDER)
            for _ in range(pages):
                receiver.page(1)
            before = set(receiver.digests)
            terms(desk, "alpha/list", bulk=False)
            for _ in range(lost_pages):
                receiver.page(1)
            if not lost_pages:
                assert {e.name for e in withdrawals(receiver, 1)} == before
                assert receiver.digests == {}
            terms(desk, "alpha/list", bulk=True)
            receiver.catch_up(1)
            assert receiver.digests == held(desk.hub, OUTSIDER)


def test_what_a_page_gave_before_the_loss_that_it_tells_is_withdrawn(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.hash_set("alpha/list", marking=SHARED)
    receiver = ByHash(desk.hub, OUTSIDER)
    receiver.catch_up()
    desk.contribute("alpha/list", item(1))
    history = desk.hub.store.history
    real, is_time = history.position, iter((False, False, True))  # before the page, and when all is in it

    def position() -> Position:
        # The matcher's thread asks for it, too.
        if threading.current_thread() is threading.main_thread() and next(is_time, False):
            terms(desk, "alpha/list", bulk=False)
        return real()

    monkeypatch.setattr(history, "position", position)
    lines = receiver.page().changes
    assert [line.kind for line in lines if line.entry] == [ChangeKind.UPSERT, ChangeKind.WITHDRAW]
    assert receiver.digests == {}


def test_why_an_entry_went_is_told_only_of_a_withdrawal(desk: Desk) -> None:
    desk.hash_set("alpha/list", marking=SHARED)
    desk.contribute("alpha/list", item(1), item(2))
    receiver = ByHash(desk.hub, OUTSIDER)
    receiver.catch_up()
    first, second = desk.entries("alpha/list")
    desk.hub.entries.quarantine(OPERATOR, "alpha", "list", first.id)
    desk.hub.store.transitions.withdraw([second.id], "X")
    told = withdrawals(receiver)
    assert [(e.name, e.reasons, e.withdrawal) for e in told] == [(first.name, (), None), (second.name, (), None)]


@pytest.mark.parametrize("seed", range(2))
def test_random_changes_leave_exactly_what_may_be_held(any_desk: Desk, seed: int) -> None:
    """250 steps: contributions, withdrawals, quarantines, releases, terms that come and go, at pages of any size."""
    desk, random = any_desk, Random(seed)
    who = mirroring()
    names = ["alpha/one", "alpha/two"]
    for name in names:
        desk.hash_set(name, marking=SHARED)
    receivers = {size: ByHash(desk.hub, who) for size in (1, 3, 1000)}
    is_shared = dict.fromkeys(names, True)
    number = 0
    for _ in range(250):
        name = random.choice(names)
        contributor, _, set_id = name.partition("/")
        active = desk.entries(name, EntryState.ACTIVE)
        match random.choices(("add", "withdraw", "quarantine", "release", "terms", "page"), (3, 3, 2, 2, 1, 6))[0]:
            case "add":
                desk.contribute(name, *(item(number + n) for n in range(random.randrange(1, 4))))
                number += 3
            case "withdraw" if active:
                desk.hub.store.transitions.withdraw([random.choice(active).id], "X")
            case "quarantine" if active:
                desk.hub.entries.quarantine(OPERATOR, contributor, set_id, random.choice(active).id)
            case "release":
                if waiting := desk.entries(name, EntryState.QUARANTINED):
                    desk.hub.entries.release(OPERATOR, contributor, set_id, random.choice(waiting).id)
            case "terms":
                is_shared[name] = not is_shared[name]
                terms(desk, name, bulk=is_shared[name])
            case "page":
                size = random.choice(list(receivers))
                receivers[size].page(size)
    for size, receiver in receivers.items():
        receiver.catch_up(size)
        assert receiver.digests == held(desk.hub, who), size


class ByOneHash(Receiver):
    """Knows an item by each of its hashes, as a reader of StopNCII or ThreatExchange does."""

    def __init__(self, hub: Hub, who: Principal, hash_set: str) -> None:
        super().__init__(hub, who)
        self.hash_set = hash_set
        self.statements: dict[Hash, str] = {}

    def page(self, size: int = 1000, *, from_now: bool = False) -> FeedPage:
        page = self.hub.changes.page(
            self.who, self.position, page_size=size, withdrawn_entries=True, hash_sets=[self.hash_set]
        )
        for line in page.changes:
            assert line.hash_set is None or line.hash_set.name == self.hash_set
            if line.entry is None:
                continue
            for h in line.entry.hashes:
                if line.kind is ChangeKind.WITHDRAW:
                    self.statements.pop(h, None)
                else:
                    self.statements[h] = line.entry.name
            for other in line.same_hash:
                assert other.name != line.entry.name
                assert other.state is EntryState.ACTIVE
                self.statements.update(dict.fromkeys(other.hashes, other.name))
        self.lines += page.changes
        self.position = page.position
        return page


def with_shared_hash(number: int, shared: int) -> Record:
    hashes = (*item(number, algorithms=("MD5",)).hashes, *item(shared, algorithms=("PDQ",)).hashes)
    return Record(position=f"line {number}", hashes=hashes, external_id=str(number))


@pytest.mark.parametrize("size", [1, 1000])
def test_a_hash_that_another_entry_has_too_stays_listed(desk: Desk, size: int) -> None:
    desk.hash_set("alpha/list", marking=SHARED)
    desk.hash_set("alpha/other", marking=SHARED)
    desk.contribute("alpha/list", with_shared_hash(1, 100), with_shared_hash(2, 100), item(3))
    desk.contribute("alpha/other", with_shared_hash(4, 100))
    receiver = ByOneHash(desk.hub, OUTSIDER, "alpha/list")
    receiver.catch_up(size)
    first, second, _ = desk.entries("alpha/list")
    assert len(receiver.statements) == 5
    desk.hub.store.transitions.withdraw([first.id], "X")
    (line,) = receiver.catch_up(size)
    assert [e.name for e in line.same_hash] == [second.name]
    assert {receiver.statements[h] for h in second.hashes} == {second.name}
    desk.hub.store.transitions.withdraw([second.id], "X")
    (line,) = receiver.catch_up(size)
    assert line.same_hash == ()
    assert len(receiver.statements) == 2


@pytest.mark.parametrize("seed", range(2))
def test_random_changes_leave_the_hashes_of_what_stands(any_desk: Desk, seed: int) -> None:
    desk, random = any_desk, Random(seed)
    desk.hash_set("alpha/list", marking=SHARED)
    receivers = {size: ByOneHash(desk.hub, OUTSIDER, "alpha/list") for size in (1, 3, 1000)}
    for number in range(150):
        active = desk.entries("alpha/list", EntryState.ACTIVE)
        match random.choices(("add", "change", "withdraw", "release", "terms", "page"), (4, 2, 4, 2, 1, 8))[0]:
            case "add":
                desk.contribute("alpha/list", with_shared_hash(number, 1000 + random.randrange(3)))
            case "change" if active:
                told = random.choice(active).external_id
                desk.contribute("alpha/list", with_shared_hash(int(told), 1000 + random.randrange(3)))
            case "withdraw" if active:
                desk.hub.store.transitions.withdraw([random.choice(active).id], "X")
            case "release" if active:
                desk.hub.entries.quarantine(OPERATOR, "alpha", "list", random.choice(active).id)
                waiting = random.choice(desk.entries("alpha/list", EntryState.QUARANTINED))
                desk.hub.entries.release(OPERATOR, "alpha", "list", waiting.id)
            case "terms":
                terms(desk, "alpha/list", bulk=bool(random.randrange(2)))
            case "page":
                size = random.choice(list(receivers))
                receivers[size].page(size)
    terms(desk, "alpha/list", bulk=True)
    standing = {h for e in desk.entries("alpha/list", EntryState.ACTIVE) for h in e.hashes}
    for size, receiver in receivers.items():
        receiver.catch_up(size)
        assert receiver.statements.keys() == standing, size
