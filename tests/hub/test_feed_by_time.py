"""The change feed for readers that keep a time instead of a position."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import pytest

from hashhub.config import Config
from hashhub.errors import InvalidArgument
from hashhub.hashes import Hash
from hashhub.hub import Hub, backup
from hashhub.model import ChangedEntry, ChangeKind, EntryState, Principal, WithdrawalReason
from hashhub.store.tokens import MAX_READERS, SentPosition
from tests.hub.conftest import OPERATOR, Desk, Open, item, seeds
from tests.hub.receiving import admit, mirroring
from tests.hub.test_changes import SHARED, terms
from tests.hub.test_withdrawn_entries import held

NEVER = datetime.fromtimestamp(0, UTC)


class Clock:
    """The hub's clock, which is turned on by hand."""

    def __init__(self) -> None:
        self.time = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.time

    def pass_by(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("hashhub.hub.exchange.now", made)
    return made


class ByTime:
    """A client that keeps entries, and of where it is nothing but the time that it was told."""

    def __init__(self, hub: Hub, who: Principal, reader: str = "stopncii") -> None:
        self.hub, self.who, self.reader = hub, who, reader
        self.time = NEVER
        self.entries: dict[str, tuple[Hash, ...]] = {}
        self.lines: list[ChangedEntry] = []

    def read(self, size: int = 1000, *, pages: int = 1_000_000, keeps: bool = True) -> list[ChangedEntry]:
        """Read to the end, or only some pages, and take in what came. `keeps`: the time is kept, too."""
        self.lines = []
        position, since = "", None
        for number in range(pages):
            since = None if number else self.time
            page = self.hub.changes.page(
                self.who,
                position,
                page_size=size,
                withdrawn_entries=True,
                reader=self.reader,
                since_time=since,
            )
            position = page.position
            for line in page.changes:
                self.take(line)
            self.lines += page.changes
            if page.is_complete:
                if keeps and page.read_time is not None:
                    self.time = page.read_time
                break
            assert page.read_time is None
        return [line for line in self.lines if line.entry is not None]

    def take(self, line: ChangedEntry) -> None:
        if line.kind is ChangeKind.WITHDRAW:
            self.entries.pop(line.entry_name, None)
        elif line.entry is not None:
            self.entries[line.entry.name] = line.entry.hashes


def reader_of(desk: Desk) -> Principal:
    who = mirroring()
    admit(desk.hub.store, who)
    return who


def test_a_reader_goes_on_from_the_time_that_it_was_told(any_desk: Desk, clock: Clock) -> None:
    desk = any_desk
    desk.hash_set("alpha/list", marking=SHARED)
    desk.contribute("alpha/list", item(1), item(2))
    client = ByTime(desk.hub, reader_of(desk))
    assert len(client.read(1)) == 2
    clock.pass_by(60)
    assert client.read() == []
    desk.contribute("alpha/list", item(3))
    desk.hub.store.transitions.withdraw([desk.entries("alpha/list")[0].id], "X")
    clock.pass_by(60)
    assert [line.kind for line in client.read()] == [ChangeKind.UPSERT, ChangeKind.WITHDRAW]
    assert client.entries == held(desk.hub, client.who)


def test_two_clients_of_one_name_each_go_on_from_their_own_time(desk: Desk, clock: Clock) -> None:
    """Also within one second: what the other one has read counts for it alone."""
    desk.hash_set("alpha/list", marking=SHARED)
    who = reader_of(desk)
    one, two = ByTime(desk.hub, who), ByTime(desk.hub, who)
    for number in range(4):
        for turn, client in enumerate((one, two, two)):
            clock.pass_by(0.3)
            desk.contribute("alpha/list", item(10 * number + turn))
            client.read()
    one.read()
    two.read()
    assert one.entries == two.entries == held(desk.hub, who)


def test_an_answer_that_was_lost_or_taken_in_halfway_is_told_again(desk: Desk, clock: Clock) -> None:
    desk.hash_set("alpha/list", marking=SHARED)
    desk.contribute("alpha/list", *(item(n) for n in range(4)))
    client = ByTime(desk.hub, reader_of(desk))
    client.read()
    clock.pass_by(10)
    desk.hash_set("alpha/more", marking=SHARED)
    desk.contribute("alpha/more", *(item(n) for n in range(10, 14)))
    client.read(keeps=False)
    clock.pass_by(10)
    # It holds all four, and by its time none of them: it must lose the one that is withdrawn.
    desk.hub.store.transitions.withdraw([desk.entries("alpha/more")[0].id], "X")
    client.read(1)
    assert client.entries == held(desk.hub, client.who)
    clock.pass_by(10)
    desk.contribute("alpha/more", item(20))
    client.read(keeps=False)
    clock.pass_by(10)
    terms(desk, "alpha/more", bulk=False)
    client.read(2)
    assert client.entries == held(desk.hub, client.who)


def test_a_hash_set_that_was_given_and_lost_between_two_kept_times_is_withdrawn(desk: Desk, clock: Clock) -> None:
    desk.hash_set("alpha/list", marking=SHARED)
    desk.hash_set("alpha/more", marking=SHARED)
    terms(desk, "alpha/more", bulk=False)
    desk.contribute("alpha/list", item(1))
    desk.contribute("alpha/more", item(2), item(3))
    client = ByTime(desk.hub, reader_of(desk))
    client.read()
    clock.pass_by(10)
    terms(desk, "alpha/more", bulk=True)
    client.read(keeps=False)
    assert len(client.entries) == 3
    terms(desk, "alpha/more", bulk=False)
    clock.pass_by(10)
    client.read()
    assert client.entries == held(desk.hub, client.who)
    assert len(client.entries) == 1


def test_what_a_first_reader_is_told_has_nothing_that_was_withdrawn(desk: Desk, clock: Clock) -> None:
    """Who never had it must not learn of it: it may be gone because of a person's wish."""
    desk.hash_set("alpha/list", marking=SHARED)
    desk.contribute("alpha/list", item(1), item(2))
    gone = desk.entries("alpha/list")[0]
    desk.hub.store.transitions.withdraw([gone.id], "X")
    client = ByTime(desk.hub, reader_of(desk))
    assert [line.entry.name for line in client.read() if line.entry] == [desk.entries("alpha/list")[1].name]
    # A time that the hub does not know: it may have had it.
    stranger = ByTime(desk.hub, client.who, "ncmec")
    stranger.time = clock.time - timedelta(days=1)
    assert {line.entry_name for line in stranger.read() if line.kind is ChangeKind.WITHDRAW} == {gone.name}


def test_what_was_never_active_is_never_told(desk: Desk, clock: Clock) -> None:
    desk.hash_set("alpha/list", marking=SHARED)
    desk.contribute("alpha/list", item(1), item(7, algorithms=("MD5", "PDQ"), quality=1))
    assert len(desk.entries("alpha/list", EntryState.QUARANTINED)) == 1
    client = ByTime(desk.hub, reader_of(desk))
    client.time = clock.time - timedelta(days=1)
    assert len(client.read()) == 1


def test_an_erased_entry_is_withdrawn_without_its_hashes(desk: Desk, clock: Clock) -> None:
    desk.hash_set("alpha/list", marking=SHARED)
    desk.contribute("alpha/list", item(1), item(2))
    client = ByTime(desk.hub, reader_of(desk))
    client.read()
    clock.pass_by(10)
    entry = desk.entries("alpha/list")[0]
    desk.hub.entries.erase(OPERATOR, "alpha", "list", entry.id)
    *_, line = client.read()
    assert (line.kind, line.entry_name, line.entry and line.entry.hashes) == (ChangeKind.WITHDRAW, entry.name, ())


def test_a_restored_hub_tells_everything_again(open_hub: Open, tmp_path: Path, clock: Clock) -> None:
    """What the backup has undone: a withdrawal, a quarantine, a hash set that had been lost sight of."""
    desk = Desk(open_hub(data=str(tmp_path / "hub")))
    for name in ("alpha/list", "alpha/more"):
        desk.hash_set(name, marking=SHARED)
        desk.contribute(name, *(item(len(name) + n) for n in range(3)))
    client = ByTime(desk.hub, reader_of(desk))
    client.read()
    backup.back_up(Config(data=str(tmp_path / "hub")), tmp_path / "backup", lambda *_: None)
    clock.pass_by(60)
    first, second, _ = desk.entries("alpha/list")
    desk.hub.entries.quarantine(OPERATOR, "alpha", "list", first.id)
    desk.hub.entries.withdraw(OPERATOR, "alpha", "list", second.id, WithdrawalReason.ERROR)
    terms(desk, "alpha/more", bulk=False)
    client.read()
    assert len(client.entries) == 1
    desk.hub.close()
    log = tmp_path / "hub" / "withdrawals.log"
    backup.restore(tmp_path / "backup", Config(data=str(tmp_path / "again")), log, lambda *_: None)
    client.hub = desk.hub = open_hub(data=str(tmp_path / "again"))
    clock.pass_by(60)
    client.read(1)
    assert client.entries == held(desk.hub, client.who)
    assert second.name not in client.entries, "withdrawn, also where the backup lacks it"
    assert len(client.entries) == 5


def test_a_clock_that_was_wrong_hides_nothing(desk: Desk, clock: Clock) -> None:
    desk.hash_set("alpha/list", marking=SHARED)
    who = reader_of(desk)
    client, other = ByTime(desk.hub, who), ByTime(desk.hub, who)
    for seconds in (0, -3600, 30 * 86_400, -30 * 86_400, 5, 5):
        clock.pass_by(seconds)
        desk.contribute("alpha/list", item(len(client.entries)))
        other.read()
        desk.contribute("alpha/list", item(100 + len(client.entries)))
        client.read()
        assert client.entries == held(desk.hub, who)
        other.read()
        assert other.entries == held(desk.hub, who)


def test_positions_are_few_however_often_it_is_read(desk: Desk, clock: Clock) -> None:
    desk.hash_set("alpha/list", marking=SHARED)
    who = reader_of(desk)
    store = desk.hub.store

    def keep(reader: str, revision: int, at: int) -> datetime | None:
        sent = SentPosition(f"position {revision}", revision, 1, is_complete=True)
        return store.tokens.keep_position(who.name, reader, sent, at)

    for second in range(400):
        keep("often", second, second)
    for day in range(1, 200):
        at = 400 + day * 86_400
        keep("often", 400 + day, at)
        for since in (at, at - 86_400, at - 89 * 86_400):
            kept = store.tokens.kept_position(who.name, "often", since)
            if since >= 400:
                assert kept is not None, "not more than 90 days ago"
    rows = store.database.fetch("SELECT count(*) FROM feed_position WHERE token = ?", (who.name,))
    assert rows[0][0] <= 120
    for number in range(MAX_READERS + 5):
        keep(f"r{number}", 1, 10_000_000_000 + number)
    rows = store.database.fetch("SELECT count(DISTINCT reader) FROM feed_position WHERE token = ?", (who.name,))
    assert rows[0][0] == MAX_READERS
    store.tokens.delete_token(who.name)
    assert store.database.fetch("SELECT count(*) FROM feed_position")[0][0] == 0
    assert keep("often", 1, 1) is None


def test_a_time_needs_a_reader_and_stands_alone(desk: Desk) -> None:
    who = reader_of(desk)
    page = desk.hub.changes.page(who, reader="stopncii")
    wrong: list[dict[str, object]] = [
        {"since_time": NEVER},
        {"since_time": NEVER, "reader": "Not/a name"},
        {"since_time": NEVER, "reader": "taxii", "from_now": True},
        {"since_time": NEVER, "reader": "taxii", "position": page.position},
    ]
    for fields in wrong:
        with pytest.raises(InvalidArgument):
            desk.hub.changes.page(who, **fields)  # type: ignore[arg-type]


@seeds(1, 1)
def test_random_changes_leave_exactly_what_may_be_held(any_desk: Desk, seed: int, clock: Clock) -> None:
    """200 steps. Clients share names, lose answers, take in a part of them, and stay away for up to a month."""
    desk, random = any_desk, Random(seed)
    who = reader_of(desk)
    names = ["alpha/one", "alpha/two"]
    for name in names:
        desk.hash_set(name, marking=SHARED)
    is_shared = dict.fromkeys(names, True)
    clients = [ByTime(desk.hub, who, name) for name in ("stopncii", "stopncii", "ncmec")]
    number = 0
    for _ in range(200):
        clock.pass_by(random.choice((0.1, 0.4, 3, 100, 5_000, 86_400)))
        name = random.choice(names)
        contributor, _, set_id = name.partition("/")
        active = desk.entries(name, EntryState.ACTIVE)
        match random.choices(("add", "withdraw", "quarantine", "release", "terms", "read"), (3, 3, 1, 1, 1, 6))[0]:
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
            case "read":
                client, size = random.choice(clients), random.choice((1, 3, 1000))
                match random.choice(("all", "all", "unkept", "broken off")):
                    case "all":
                        client.read(size)
                        assert client.entries == held(desk.hub, who)
                    case "unkept":
                        client.read(size, keeps=False)
                    case "broken off":
                        client.read(size, pages=random.randrange(1, 9), keeps=False)
    for client in clients:
        client.read()
        assert client.entries == held(desk.hub, who), client.reader
