"""What entries state, as digests in pages: a list means the same for them as for the entries' rows, and no digest stays
of what is gone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import numpy as np
import pytest

from hashhub.errors import HashHubError
from hashhub.hub import contribute
from hashhub.hub.intake import Intake, source
from hashhub.model import Action, Record, RecordReview, ReviewKind, Unclassified, WithdrawalReason, now
from hashhub.store import Store, comparison, entry_writes
from hashhub.store.comparison import EntryComparison
from tests.hub.conftest import OPERATOR, Desk, item, seeds, writer
from tests.hub.test_videos import video

_OTHER_FORM = 20  # after so many steps
SETS = ("alpha/list", "alpha/other")
DECIDED = ("outcome", "refers_to", "lacks_value", "kind")
COMPARED = ("superseded", "absent", "withdrawn", "restated", "earlier", "live_count", "deletion_times", "reviews")


@pytest.fixture(autouse=True)
def _everything_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three entries make a page, and every withdrawal of three or more is written into rows afterwards; every list is
    compared with all of the hash set.
    """
    monkeypatch.setattr(contribute, "PIECE", 3)
    monkeypatch.setattr(comparison, "DIGEST_PAGES", 2)
    monkeypatch.setattr(comparison, "PAGE", 4)
    monkeypatch.setattr(entry_writes, "LARGE", 2)
    monkeypatch.setattr(entry_writes, "PIECE", 2)
    monkeypatch.setattr(source, "STREAMED_SHARE", 1_000_000)


def decided(intake: Intake) -> dict[str, Any]:
    """All that was decided about a list."""
    values = {name: getattr(intake.decisions, name) for name in DECIDED}
    values |= {name: getattr(intake.compared, name) for name in COMPARED}
    values |= {"counts": intake.counts, "overtaken": intake.overtaken}
    return {name: v.tolist() if isinstance(v, np.ndarray) else v for name, v in values.items()}


def _by_rows(self: EntryComparison, set_key: int) -> Iterator[comparison.StatedEntries]:
    """Yield the live entries of a hash set by their rows alone."""
    sql = f"{comparison.SQL} entry e WHERE e.hash_set = ? AND e.state = ? ORDER BY e.id"
    for state in (1, 2):
        yield self.stated(self._db.fetch(sql, (set_key, state)), lambda _: set())


class DecidedTwice(Intake):
    """Decides by the rows of the entries, too, and compares."""

    times = 0

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._by_rows = Intake(*arguments, **named)

    def decide(self, batches: Any) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(EntryComparison, "by_digests", _by_rows)
            self._by_rows.decide(batches)
        super().decide(batches)
        assert decided(self) == decided(self._by_rows)
        DecidedTwice.times += 1


def places(store: Store) -> dict[int, tuple[bytes, int]]:
    """The digest and classification of each entry that has a place in a page, by id."""
    told: dict[int, tuple[bytes, int]] = {}
    for first, last, form, content in store.database.fetch(
        "SELECT first_entry, last_entry, form, content FROM statement_page"
    ):
        digests, classifications = entry_writes.unpacked_page(first, last, form, content)
        for at in np.flatnonzero(digests.any(axis=1)).tolist():
            told[first + at] = digests[at].tobytes(), int(classifications[at])
    return told


def forget(store: Store, sql: str) -> None:
    with store.database.write() as c:
        c.exec_driver_sql(sql)


def check_places(store: Store) -> None:
    """Every place that says something says what the entry's row does."""
    rows = store.database.fetch(f"{comparison.SQL} entry e")
    read = store.comparison.stated(rows)
    meanings = [read.meanings[n] for n in read.meaning_of.tolist()]
    stated = {
        i: (digest.tobytes(), meaning)
        for i, digest, meaning in zip(read.ids.tolist(), read.statements, meanings, strict=True)
    }
    for entry, (digest, key) in places(store).items():
        assert stated[entry] == (digest, store.comparison.meanings([key or None])[0]), entry


class Chance:
    """Random work at a desk: each step is one that some caller may take."""

    def __init__(self, desk: Desk, random: Random) -> None:
        self.desk, self.random = desk, random
        self.sent: dict[str, list[list[Record]]] = {name: [] for name in SETS}
        self.began = now()

    def _record(self, number: int) -> Record:
        choice = self.random.choice
        changed: dict[str, Any] = {}
        if self.random.random() < 0.4:
            changed["external_id"] = f"x{number}"
        if self.random.random() < 0.3:
            changed["media_size"] = number + choice((0, 1))
        if self.random.random() < 0.2:
            changed["expire_time"] = datetime(2200, 1, choice((1, 2)), tzinfo=UTC)
        if self.random.random() < 0.1:
            changed["reviews"] = (RecordReview(ReviewKind.FALSE_POSITIVE, "someone", choice("ab")),)
        if self.random.random() < 0.15:
            return Record(position=f"line {number}", frames=video(range(number, number + 3)), **changed)
        algorithms = choice((("MD5", "SHA1"), ("SHA1", "MD5"), ("MD5",), ("PDQ",)))
        return item(number, algorithms=algorithms, value=choice(("", "1", "1", "2")), **changed)

    def new_list(self, name: str) -> list[Record]:
        before = self.random.choice(self.sent[name] or [[]])
        fresh = {r.position: r for r in before if self.random.random() < 0.9}
        for number in self.random.sample(range(14), self.random.randint(1, 6)):
            fresh[f"line {number}"] = self._record(number)
        return list(fresh.values())

    def send(self) -> None:
        name = self.random.choice(SETS)
        records = self.random.choice(self.sent[name]) if self.sent[name] and self.random.random() < 0.3 else None
        records = records or self.new_list(name)
        self.sent[name].append(records)
        self.desk.contribute(
            name, *records, replace=self.random.random() < 0.3, allow_shrinking=True, has_classifications=True, batch=5
        )

    def delete(self) -> None:
        record = item(self.random.randrange(14), action=Action.WITHDRAW)
        self.desk.contribute(self.random.choice(SETS), record)

    def one(self) -> None:
        contributor, _, own = self.random.choice(SETS).partition("/")
        entries = self.desk.entries(f"{contributor}/{own}")
        if not entries:
            return
        entry, hub = self.random.choice(entries).id, self.desk.hub
        actions: list[Callable[[], object]] = [
            lambda: hub.entries.withdraw(writer(contributor), contributor, own, entry, WithdrawalReason.ERROR, "wrong"),
            lambda: hub.entries.restore(OPERATOR, contributor, own, entry, "it was right"),
            lambda: hub.entries.quarantine(OPERATOR, contributor, own, entry),
            lambda: hub.entries.release(OPERATOR, contributor, own, entry),
            lambda: hub.entries.erase(OPERATOR, contributor, own, entry),
            lambda: hub.reviews.create(OPERATOR, contributor, own, entry, ReviewKind.MISCLASSIFIED, "look"),
        ]
        self.random.choice(actions)()

    def revert(self) -> None:
        self.desk.hub.history.revert(OPERATOR, "alpha-desk", self.began, comment="a mistake")
        self.began = now()

    def expire(self) -> None:
        self.desk.hub.store.transitions.expire(datetime(2200, 1, 1, 12, tzinfo=UTC))

    def tidy(self) -> None:
        self.desk.hub.store.commits.tidy()

    def bury(self) -> None:
        name = self.random.choice(SETS)
        self.desk.hub.store.retention.purge_withdrawn(name, now() + timedelta(days=1))

    def step(self) -> None:
        chosen = self.random.choices(
            (self.send, self.delete, self.one, self.revert, self.expire, self.tidy, self.bury), (8, 1, 6, 1, 1, 2, 1)
        )[0]
        with suppress(HashHubError):  # what is refused changes nothing
            chosen()


@seeds(2, 1)
def test_a_list_means_the_same_for_digests_and_for_rows(
    any_desk: Desk, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(contribute, "Intake", DecidedTwice)
    monkeypatch.setattr(any_desk.hub.contribute.tidying, "wake", lambda: None)  # chance says when
    if seed % 2:  # what an item that expired states is another thing once it is restored
        monkeypatch.setattr("hashhub.store.entry_transitions.now", lambda: datetime(2200, 1, 1, 13, tzinfo=UTC))
    any_desk.hash_set(SETS[0], scheme="vic-us", unclassified=Unclassified.LISTED)
    any_desk.hash_set(SETS[1])
    before = DecidedTwice.times
    chance = Chance(any_desk, Random(seed))
    store = any_desk.hub.store
    for number in range(40):
        if number == _OTHER_FORM:
            forget(store, "UPDATE statement_page SET form = form - 1")
        chance.step()
        check_places(store)
    assert DecidedTwice.times > before + 5
    assert places(store)


def test_of_what_is_unchanged_no_row_is_read(any_desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    any_desk.hash_set("alpha/list")
    records = [item(n, external_id=f"x{n}") for n in range(7)]
    any_desk.contribute("alpha/list", *records, item(7), item(8, external_id="x8", algorithms=("PDQ",)))
    read: list[int] = []
    stated = EntryComparison.stated

    def counted(self: EntryComparison, rows: Any, *arguments: Any, **named: Any) -> Any:
        read.extend(row[0] for row in rows)
        return stated(self, rows, *arguments, **named)

    monkeypatch.setattr(EntryComparison, "stated", counted)
    anew = [item(n, external_id=f"x{n}", media_size=1) for n in range(5, 7)]
    done = any_desk.contribute("alpha/list", *records[:5], *anew, item(7, media_size=1))
    assert (done.counts.unchanged, done.counts.accepted, done.counts.superseded) == (5, 3, 3)
    assert len(read) == 4


def test_an_import_that_is_cut_off_leaves_no_page(any_desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    any_desk.hash_set("alpha/list")
    store = any_desk.hub.store

    def stop(*_: Any, **__: Any) -> None:
        raise RuntimeError("the process ends here")

    opened = any_desk.add(any_desk.open("alpha/list"), [item(n) for n in range(8)])
    with monkeypatch.context() as patch:
        patch.setattr(store.commits, "finish_commit", stop)
        with pytest.raises(RuntimeError):
            any_desk.commit(opened)
    staged = set(places(store))
    assert len(staged) == 8
    assert not list(store.comparison.stated_entries("alpha", "list"))  # nobody sees them yet
    any_desk.commit(opened)
    assert len(places(store)) == 8
    assert not staged & set(places(store))


def test_an_entry_that_was_restored_since_stands(any_desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(any_desk.hub.contribute.tidying, "wake", lambda: None)  # the rows wait
    any_desk.hash_set("alpha/list")
    any_desk.contribute("alpha/list", *map(item, range(8)))
    entries = [e.id for e in any_desk.entries("alpha/list")]
    any_desk.contribute("alpha/list", *map(item, range(3)), replace=True, allow_shrinking=True)
    store = any_desk.hub.store
    assert store.deferred_withdrawals.listed()
    any_desk.hub.entries.restore(writer("alpha"), "alpha", "list", entries[5])
    assert store.deferred_withdrawals.listed()
    done = any_desk.contribute("alpha/list", *map(item, range(7)))
    assert (done.counts.unchanged, done.counts.accepted) == (4, 3)


def test_an_entry_whose_page_says_nothing_more_is_still_compared(
    any_desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The only one of its page lost its expiry when it was restored, so that the digest was cleared."""
    any_desk.hash_set("alpha/list")
    any_desk.contribute("alpha/list", item(1), item(2))
    any_desk.contribute("alpha/list", item(3, expire_time=datetime(2200, 1, 1, tzinfo=UTC)), source="another")
    entry = any_desk.entries("alpha/list")[-1]
    assert entry.expire_time is not None
    store = any_desk.hub.store
    store.transitions.expire(datetime(2200, 1, 1, 12, tzinfo=UTC))
    monkeypatch.setattr("hashhub.store.entry_transitions.now", lambda: datetime(2200, 1, 1, 13, tzinfo=UTC))
    any_desk.hub.entries.restore(OPERATOR, "alpha", "list", entry.id, "it stands")
    assert [e.id for e in any_desk.entries("alpha/list")][-1] == entry.id
    done = any_desk.contribute("alpha/list", *map(item, (1, 2, 3)))
    assert done.counts.unchanged == 3
