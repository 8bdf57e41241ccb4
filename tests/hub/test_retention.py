"""Deleting a hash set with everything that hangs on it, and what age does: nothing unasked, and nothing unseen."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import sqlalchemy as sa

from hashhub.config import Config
from hashhub.errors import (
    AlreadyExists,
    Conflict,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Reason,
)
from hashhub.hub import Hub
from hashhub.hub import housekeeping as module
from hashhub.model import (
    ConflictFilter,
    EntryState,
    EventKind,
    HashSet,
    Marking,
    Principal,
    Purpose,
    QueueKind,
    ReviewKind,
    Role,
    WithdrawalReason,
    now,
)
from hashhub.store import deletion
from hashhub.store import retention as store_module
from hashhub.store import schema as s
from hashhub.store.leases import Leases
from tests.hub.conftest import AUDITOR, OPERATOR, PLATFORM, Desk, Open, item, writer

ALPHA, BETA = writer("alpha"), writer("beta")
SECOND = Principal(name="alpha-second", role=Role.CONTRIBUTOR, contributor="alpha")


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deletion, "PURGED_AT_ONCE", 7)
    monkeypatch.setattr(deletion, "FINDINGS", 5)
    monkeypatch.setattr(deletion, "DETAILS", 3)


@pytest.fixture
def still(database: str, tmp_path: Path) -> Iterator[Desk]:
    """A desk at a hub on each kind of database that deletes rows only when a test says so."""
    is_url = "://" in database
    config = Config(data=str(tmp_path / "hub") if is_url else database, database=database if is_url else "")
    with Hub.open(config) as hub:
        hub.follower.start()
        made = Desk(hub)
        made.hash_set("alpha/list")
        made.hash_set("alpha/other")
        made.hash_set("beta/list")
        yield made


def fill(desk: Desk) -> None:
    """Give alpha/list something of everything, and others what must stay."""
    desk.contribute("alpha/list", *[item(n, external_id=f"x{n}") for n in range(20)], item(3, external_id="x3"))
    desk.contribute("alpha/list", *[item(n, external_id=f"x{n}", tags=("new",)) for n in range(5)])
    desk.contribute("beta/list", item(1), item(100))
    desk.contribute("alpha/other", item(2), item(200))
    ids = {e.external_id: e.id for e in desk.entries("alpha/list", EntryState.ACTIVE)}
    desk.hub.reviews.create(BETA, "alpha", "list", ids["x6"], ReviewKind.FALSE_POSITIVE, "words about a person")
    desk.hub.entries.withdraw(OPERATOR, "alpha", "list", ids["x7"], WithdrawalReason.ERROR, "by hand")
    desk.hub.entries.withdraw(ALPHA, "alpha", "list", ids["x8"], WithdrawalReason.ERROR)
    desk.hub.entries.withdraw(ALPHA, "alpha", "list", ids["x9"], WithdrawalReason.REQUESTED_BY_PERSON_SHOWN)
    desk.hub.entries.quarantine(OPERATOR, "alpha", "list", ids["x10"])
    desk.hub.entries.erase(OPERATOR, "alpha", "list", ids["x11"])


def rows(desk: Desk, name: str = "list") -> dict[str, int]:
    """How many rows say something of a hash set of alpha's, by table."""

    def read(c: sa.Connection) -> dict[str, int]:
        x = s.hash_set
        key = c.scalar(sa.select(x.c.key).where(x.c.contributor == "alpha", x.c.id == name))
        entries = sa.select(s.entry.c.id).where(s.entry.c.hash_set != key)
        imports = sa.select(s.imports.c.key).where(s.imports.c.hash_set != key)
        conditions = {
            table: table.c.hash_set == key for table in (s.entry, s.imports, s.reviewed, s.withdrawal, s.statement_page)
        }
        conditions |= {table: table.c.entry.not_in(entries) for table in (s.hash_, s.review)}
        conditions[s.succession] = s.succession.c.earlier.not_in(entries)
        of_imports = (s.finding, s.finding_run, s.staged_batch, s.allocation)
        conditions |= {table: table.c["import"].not_in(imports) for table in of_imports}
        return {
            table.name: c.scalar(sa.select(sa.func.count()).select_from(table).where(where)) or 0
            for table, where in conditions.items()
        }

    return desk.hub.store.database.read(read)


def test_a_deleted_hash_set_is_gone_at_once_and_its_rows_soon(still: Desk) -> None:
    fill(still)
    before = rows(still)
    assert {name for name, count in before.items() if not count} <= {"finding_run", "staged_batch", "allocation"}
    dry = still.hub.retention.delete(OPERATOR, "alpha", "list", validate_only=True)
    assert (dry.entries, dry.imports, dry.reviews, dry.revision) == (before["entry"], 2, 1, 0)
    assert dry.holds == 4  # x7, x9, x10, x11; x8 was the contributor's own
    assert rows(still) == before
    deleted = still.hub.retention.delete(OPERATOR, "alpha", "list", comment="no legal basis any more")
    assert not deleted.pending
    # Nobody sees anything of it from now on, although every row is still there.
    assert rows(still)["entry"] == before["entry"]
    assert still.known(*range(20)) == [1, 2]  # what beta lists, and alpha's other set
    for who in (OPERATOR, AUDITOR, ALPHA):
        with pytest.raises(NotFound):
            still.hub.hash_sets.get(who, "alpha", "list")
        assert "alpha/list" not in [x.name for x in still.hub.hash_sets.list(who, None, 100, "")[0]]
    for use in (
        lambda: still.entries("alpha/list"),
        lambda: still.open("alpha/list"),
        lambda: still.hub.contribute.list(OPERATOR, "alpha", "list", 10, ""),
        lambda: still.hub.retention.get(OPERATOR, "alpha", "list"),
        lambda: still.hub.retention.delete(OPERATOR, "alpha", "list"),
    ):
        with pytest.raises(NotFound):
            use()
    with pytest.raises(AlreadyExists) as refused:
        still.hub.hash_sets.create(OPERATOR, HashSet(contributor="alpha", id="list"))
    assert "deleted" in refused.value.message
    still.hub.keeper.delete_rows()
    assert set(rows(still).values()) == {0}
    assert still.known(*range(20)) == [1, 2]
    assert len(still.entries("beta/list")) == len(still.entries("alpha/other")) == 2
    with pytest.raises(AlreadyExists):
        still.hub.hash_sets.create(OPERATOR, HashSet(contributor="alpha", id="list"))
    (erased,) = still.hub.store.history.list_events(kinds=[EventKind.HASH_SET_ERASED])
    assert erased.subject == "hash-sets/alpha/list"
    assert erased.facts == {
        "entries": before["entry"], "hashes": before["hash"], "imports": 2, "findings": dry.findings, "reviews": 1,
        "holds": 3,
    }  # fmt: skip


def test_the_history_verifies_and_says_who_did_what_but_holds_no_words(still: Desk) -> None:
    fill(still)
    still.hub.retention.delete(OPERATOR, "alpha", "list", comment="the reason")
    store = still.hub.store
    store.history.verify_history(store.database_id)
    key, _ = store.deletions.unfinished()[0]
    store.commits.settle()
    while store.deletions.step(key):
        store.history.verify_history(store.database_id)  # in the middle, too
    store.history.verify_history(store.database_id)
    events = still.hub.history.list(OPERATOR, "hash-sets/alpha/list", "", None, 1000, 0)[0]
    kinds = {e.kind for e in events}
    assert {EventKind.HASH_SET_CREATED, EventKind.IMPORT_COMMITTED, EventKind.ENTRIES_REVIEWED} < kinds
    assert all(e.details is None for e in events if e.kind is EventKind.ENTRIES_REVIEWED)
    assert [e.details for e in events if e.kind is EventKind.HASH_SET_DELETED] == [{"comment": "the reason"}]
    assert next(e for e in events if e.kind is EventKind.HASH_SET_CREATED).details  # terms stay on record


def test_details_that_go_without_a_deletion_break_the_chain(still: Desk) -> None:
    fill(still)
    store = still.hub.store
    with store.database.write() as c:
        c.execute(
            sa.delete(s.event_detail).where(
                s.event_detail.c.revision.in_(
                    sa.select(s.event.c.revision).where(s.event.c.kind == EventKind.ENTRIES_REVIEWED)
                )
            )
        )
    with pytest.raises(Exception, match="details are missing"):
        store.history.verify_history(store.database_id)


def test_what_is_withdrawn_everywhere_stays_withdrawn(still: Desk) -> None:
    fill(still)
    still.hub.retention.delete(OPERATOR, "alpha", "list")
    still.hub.keeper.delete_rows()
    done = still.contribute("alpha/other", *[item(n, external_id=f"x{n}") for n in range(6, 13)])
    became = {e.external_id: e.state for e in still.entries("alpha/other") if e.external_id}
    active = {x for x, state in became.items() if state is EntryState.ACTIVE}
    assert active == {"x6", "x8", "x12"}  # x8: its contributor's own withdrawal was about the set that is gone
    assert {became.get(x) for x in ("x7", "x9", "x10")} == {EntryState.QUARANTINED}
    assert "x11" not in became  # erased
    assert done.counts.stays_withdrawn == 1
    for e in still.entries("alpha/other", EntryState.QUARANTINED):
        still.hub.entries.release(OPERATOR, "alpha", "other", e.id)
    assert still.known(7, 9, 10) == [7, 9, 10]


def test_a_restart_in_the_middle_goes_on(still: Desk) -> None:
    fill(still)
    still.hub.retention.delete(OPERATOR, "alpha", "list")
    store = still.hub.store
    store.commits.settle()
    ((key, name),) = store.deletions.unfinished()
    assert name == "alpha/list"
    for _ in range(3):
        assert store.deletions.step(key)
    again = Desk(still.hub)
    again.hub.keeper.delete_rows()
    assert set(rows(again).values()) == {0}
    assert store.deletions.unfinished() == []
    assert not store.deletions.step(key)  # another process that was slower
    assert len(store.history.list_events(kinds=[EventKind.HASH_SET_ERASED])) == 1


def test_a_contributor_deletes_its_own_and_many_only_with_a_second_person(
    still: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ALONE", 10)
    still.contribute("alpha/list", *[item(n) for n in range(8)])
    still.contribute("alpha/other", *[item(n) for n in range(100, 108)])
    for who in (BETA, AUDITOR, PLATFORM):
        with pytest.raises(PermissionDenied):
            still.hub.retention.delete(who, "alpha", "list")
    assert not still.hub.retention.delete(ALPHA, "alpha", "other").pending
    asked = still.hub.retention.delete(ALPHA, "alpha", "list")  # 16 within a day
    assert asked.pending
    assert still.known(*range(8)) == list(range(8))
    assert still.hub.retention.delete(ALPHA, "alpha", "list").pending  # the same one again is no second
    kinds = [e.kind for e in still.hub.store.history.list_events()]
    assert kinds.count(EventKind.HASH_SET_DELETION_ASKED) == 1
    (queued,) = [q for q in still.hub.queue.list(SECOND) if q.kind is QueueKind.DELETION_PENDING]
    assert (queued.name, queued.actor) == ("alpha/list", "alpha-desk")
    assert not [q for q in still.hub.queue.list(BETA) if q.kind is QueueKind.DELETION_PENDING]
    still.hub.retention.update(SECOND, "alpha", "list", drop_request=True)
    assert still.hub.retention.delete(SECOND, "alpha", "list").pending
    assert not still.hub.retention.delete(ALPHA, "alpha", "list").pending
    assert still.known(*range(8)) == []


def test_a_stolen_tokens_request_is_taken_back_with_what_it_did(still: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or whoever asks next, and means to ask, would be the second person and delete at once."""
    monkeypatch.setattr(module, "ALONE", 2)
    still.contribute("alpha/list", *[item(n) for n in range(8)], source="ours")
    since = now()
    assert still.hub.retention.delete(ALPHA, "alpha", "list").pending
    assert still.hub.retention.delete(ALPHA, "alpha", "list").pending
    for validate_only in (True, False):
        (undone,) = still.hub.history.revert(OPERATOR, ALPHA.name, since, comment="stolen", validate_only=validate_only)
        assert (undone.event.kind, undone.reverted) == (EventKind.HASH_SET_DELETION_ASKED, True)
    assert still.hub.retention.get(OPERATOR, "alpha", "list").asked_by == ""
    assert not any(x.reverted for x in still.hub.history.revert(OPERATOR, ALPHA.name, since, comment="again"))
    assert still.hub.retention.delete(SECOND, "alpha", "list").pending
    assert still.known(*range(8)) == list(range(8))


def test_a_list_that_empties_the_hash_set_first_is_no_way_around_the_second_person(
    still: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a list took back can be brought back, and what was deleted cannot: a stolen token must not do both alone."""
    monkeypatch.setattr(module, "ALONE", 10)
    for name, first in (("alpha/list", 0), ("alpha/other", 100)):
        still.contribute(name, *[item(n) for n in range(first, first + 8)])
        still.contribute(name, *[item(n, tags=("new",)) for n in range(first, first + 8)])  # replaced: still eight
        still.contribute(name, item(first), replace=True, allow_shrinking=True)
    assert still.known(*range(8), *range(100, 108)) == [0, 100]
    assert not still.hub.retention.delete(ALPHA, "alpha", "other").pending
    assert still.hub.retention.delete(ALPHA, "alpha", "list").pending  # 16 within a day
    _age(still, days=2)
    assert not still.hub.retention.delete(ALPHA, "alpha", "list").pending


def test_a_hold_stops_deletion_and_age_and_only_operators_set_it(still: Desk) -> None:
    still.contribute("alpha/list", item(1))
    with pytest.raises(PermissionDenied):
        still.hub.retention.update(ALPHA, "alpha", "list", hold=True)
    still.hub.retention.update(OPERATOR, "alpha", "list", hold=True, days=1, comment="court order")
    with pytest.raises(PermissionDenied):
        still.hub.retention.update(ALPHA, "alpha", "list", hold=False)
    for who in (ALPHA, OPERATOR):
        with pytest.raises(FailedPrecondition) as refused:
            still.hub.retention.delete(who, "alpha", "list")
        assert refused.value.reason is Reason.RETENTION_HOLD
    _age(still, days=400)
    still.hub.keeper.apply_ages()
    assert still.known(1) == [1]
    still.hub.retention.update(OPERATOR, "alpha", "list", hold=False)
    still.hub.keeper.apply_ages()
    assert still.known(1) == []
    told = [e for e in still.hub.store.history.list_events() if e.kind is EventKind.RETENTION_CHANGED]
    assert len(told) == 2


def test_an_import_that_is_being_committed_is_waited_for_and_an_open_one_ends(still: Desk) -> None:
    open_ = still.add(still.open("alpha/list"), [item(1)])
    busy = still.add(still.open("alpha/list"), [item(2)])
    store = still.hub.store
    store.commits.begin_commit(busy.id)
    with pytest.raises(Conflict):
        still.hub.retention.delete(OPERATOR, "alpha", "list")
    store.leases.release_commit(busy.id)
    still.hub.retention.delete(OPERATOR, "alpha", "list")
    for import_ in (open_, busy):
        with pytest.raises(NotFound):
            still.commit(import_)
    still.hub.keeper.delete_rows()
    assert set(rows(still).values()) == {0}


@pytest.mark.parametrize("steps", [1, 3])
def test_what_a_cancellation_that_was_cut_off_left_goes_too(
    still: Desk, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    """Whether some of what was staged was still there, or all but the digests of it was gone."""
    monkeypatch.setattr("hashhub.store.stage.PAGE", 1)
    opened = still.add(still.open("alpha/list"), [item(n) for n in range(3)])
    store = still.hub.store

    def stop(*_: Any, **__: Any) -> None:
        raise RuntimeError("the process ends here")

    with monkeypatch.context() as patch:
        patch.setattr(store.commits, "finish_commit", stop)
        with pytest.raises(RuntimeError):
            still.commit(opened)
    renew, left = Leases.renew, list(range(steps))

    def renewed(self: Leases, *arguments: Any) -> None:
        if not left:
            stop()
        left.pop()
        renew(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Leases, "renew", renewed)
        with pytest.raises(RuntimeError):
            store.imports.cancel_import(opened.id)
    assert rows(still)["entry"] == 3 - steps
    assert rows(still)["statement_page"] == 1
    still.hub.retention.delete(OPERATOR, "alpha", "list")
    still.hub.keeper.delete_rows()
    assert set(rows(still).values()) == {0}


def test_a_reader_of_the_feed_is_told_to_drop_it(still: Desk) -> None:
    reader = Principal(name="mirror", role=Role.AUDITOR, may_mirror=True)
    fill(still)
    page = still.hub.changes.page(reader)
    while not page.is_complete:
        page = still.hub.changes.page(reader, page.position)
    still.hub.retention.delete(OPERATOR, "alpha", "list")
    soon = still.hub.changes.page(reader, page.position)
    assert [c.hash_set_name for c in soon.changes if c.hash_set_name] == ["alpha/list"]
    assert not [c for c in soon.changes if c.entry_name.startswith("alpha/list/")]
    still.hub.keeper.delete_rows()
    late = still.hub.changes.page(reader, page.position)  # one that comes back after years
    assert [c.hash_set_name for c in late.changes if c.hash_set_name] == ["alpha/list"]


def test_a_revert_says_that_a_deleted_hash_set_cannot_be_brought_back(still: Desk) -> None:
    begun = now()
    fill(still)
    still.hub.retention.delete(OPERATOR, "alpha", "list")
    still.hub.keeper.delete_rows()
    for who in (ALPHA, OPERATOR, BETA):
        outcomes = still.hub.history.revert(OPERATOR, who.name, begun, validate_only=True)
        of_set = [r for r in outcomes if "alpha/list" in r.event.subject]
        assert of_set
        assert {r.outcome for r in of_set} == {"its hash set was deleted, and cannot be brought back"}


def test_no_file_holds_anything_of_it(open_hub: Open, sqlite_directory: Path) -> None:
    desk = Desk(open_hub())
    desk.hash_set("alpha/list")
    desk.hash_set("beta/list")
    known = [item(n, algorithms=("MD5", "PDQ"), external_id=f"external-{n}-id") for n in range(30)]
    desk.contribute("alpha/list", *known)
    desk.contribute("beta/list", item(99))
    first, second, *_ = desk.entries("alpha/list")
    desk.hub.reviews.create(BETA, "alpha", "list", first.id, ReviewKind.FALSE_POSITIVE, "words-of-it", request_id="r1")
    desk.hub.entries.withdraw(
        OPERATOR, "alpha", "list", second.id, WithdrawalReason.ERROR, "words-of-it", request_id="r2"
    )
    desk.hub.matcher.compact()
    desk.hub.retention.delete(OPERATOR, "alpha", "list")
    desk.hub.keeper.delete_rows()
    desk.hub.follower.catch_up()  # a snapshot is written anew once the matcher is past the deletion
    assert desk.hub.housekeeping is not None
    desk.hub.housekeeping.round()
    needles = [h.digest for x in known for h in x.hashes] + [b"words-of-it", b"external-3-id"]
    for path in sqlite_directory.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert [n for n in needles if n in content] == [], path
    assert desk.known(99, 3) == [99]
    desk.hub.store.history.verify_history(desk.hub.store.database_id)


def test_a_restored_backup_does_not_bring_it_back_to_matching(open_hub: Open, sqlite_directory: Path) -> None:
    hub = open_hub()
    desk = Desk(hub)
    desk.hash_set("alpha/list")
    desk.contribute("alpha/list", *[item(n) for n in range(20)])
    with sqlite3.connect(sqlite_directory / "hashhub.db") as c, sqlite3.connect(sqlite_directory / "copy") as copy:
        c.backup(copy)
    hub.retention.delete(OPERATOR, "alpha", "list")
    hub.keeper.delete_rows()
    hub.close()
    for left in sqlite_directory.glob("hashhub.db*"):
        left.unlink()
    shutil.move(sqlite_directory / "copy", sqlite_directory / "hashhub.db")
    restored = Desk(open_hub())
    assert restored.known(*range(20)) == []
    # Withdrawn, not deleted: whoever restored the backup because of the deletion still has it all.
    assert len(restored.entries("alpha/list", EntryState.WITHDRAWN)) == 20


# By age


def _age(desk: Desk, *, days: float) -> None:
    """Let everything that there is have happened so many days ago."""
    millis = round(days * 86_400_000)
    with desk.hub.store.database.write() as c:
        t = s.imports
        c.execute(
            sa.update(t).values(
                create_time=t.c.create_time - millis,
                commit_time=t.c.commit_time - millis,
                touch_time=t.c.touch_time - millis,
            )
        )
        c.execute(sa.update(s.event).values(time=s.event.c.time - millis))
        c.execute(sa.update(s.delivery).values(create_time=s.delivery.c.create_time - millis))


def test_what_nobody_lists_any_more_expires_and_what_is_listed_does_not(still: Desk) -> None:
    first = [item(n, external_id=f"x{n}") for n in range(20)]
    still.contribute("alpha/list", *first, source="first")
    still.contribute("alpha/other", item(50), source="again and again")
    still.contribute("beta/list", item(60))
    for name in ("alpha/list", "alpha/other"):
        contributor, _, own = name.partition("/")
        still.hub.retention.update(OPERATOR, contributor, own, days=30)
    _age(still, days=40)
    # Listed again: many in a row, which a report tells as a run, and one alone.
    still.contribute("alpha/list", *first[:12], item(99), first[15])
    still.contribute("alpha/other", item(50), source="again and again")  # byte for byte: no import
    still.hub.keeper.apply_ages()
    live = {e.external_id for e in still.entries("alpha/list", EntryState.ACTIVE)}
    assert live == {f"x{n}" for n in (*range(12), 15)} | {""}
    assert still.known(15, 16, 50, 60, 99) == [15, 50, 60, 99]
    event = next(e for e in still.hub.store.history.list_events() if e.kind is EventKind.ENTRIES_EXPIRED)
    assert (event.reason, event.facts, event.subject) == (
        "RETENTION", {"entries": 7, "retention_days": 30}, "hash-sets/alpha/list",
    )  # fmt: skip
    assert event.actor.name == "system"
    still.contribute("alpha/list", first[16])  # listed again, it is there again
    assert still.known(16) == [16]
    before = still.hub.store.revision()
    still.hub.keeper.apply_ages()
    assert still.hub.store.revision() == before


def test_what_somebody_restored_counts_from_then(still: Desk) -> None:
    still.contribute("alpha/list", item(1), item(2))
    still.hub.retention.update(OPERATOR, "alpha", "list", days=30)
    first, _ = still.entries("alpha/list", EntryState.ACTIVE)
    still.hub.entries.withdraw(OPERATOR, "alpha", "list", first.id, WithdrawalReason.ERROR)
    _age(still, days=40)
    still.hub.entries.restore(OPERATOR, "alpha", "list", first.id)
    still.hub.keeper.apply_ages()
    assert [e.id for e in still.entries("alpha/list", EntryState.ACTIVE)] == [first.id]


def test_a_stolen_token_takes_nothing_back_by_age(still: Desk) -> None:
    still.hub.retention.update(ALPHA, "alpha", "list", days=400)  # while there is nothing in it
    still.contribute("alpha/list", item(1))
    for days in (1, 399):
        with pytest.raises(PermissionDenied):
            still.hub.retention.update(ALPHA, "alpha", "list", days=days)
    still.hub.retention.update(ALPHA, "alpha", "list", days=500)
    still.hub.retention.update(ALPHA, "alpha", "list", days=0)
    with pytest.raises(PermissionDenied):
        still.hub.retention.update(ALPHA, "alpha", "list", days=500)
    with pytest.raises(PermissionDenied):
        still.hub.retention.update(BETA, "alpha", "list", days=0)
    with pytest.raises(InvalidArgument):
        still.hub.retention.update(OPERATOR, "alpha", "list", days=-1)
    with pytest.raises(InvalidArgument):
        still.hub.retention.update(OPERATOR, "alpha", "list")


def test_withdrawn_rows_go_by_age_and_what_holds_stays(still: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "PURGED_AT_ONCE", 3)
    fill(still)
    still.hub.keeper.apply_ages()
    assert len(still.entries("alpha/list", EntryState.WITHDRAWN)) == 9  # nothing goes unasked
    still.hub.keeper.config = Config(keep_withdrawn_days=30)
    still.hub.keeper.apply_ages()
    assert len(still.entries("alpha/list", EntryState.WITHDRAWN)) == 9  # not old yet
    reviewed = still.entries("alpha/list", EntryState.WITHDRAWN)[0]
    still.hub.reviews.create(BETA, "alpha", "list", reviewed.id, ReviewKind.FALSE_POSITIVE)
    _age(still, days=31)
    still.hub.keeper.apply_ages()
    left = still.entries("alpha/list", EntryState.WITHDRAWN)
    # An erased one is a name alone, and an objection must be there when the item is listed again.
    assert {e.id for e in left if "ERASED" not in e.reasons} == {reviewed.id}
    assert len(left) == 2
    events = [e for e in still.hub.store.history.list_events() if e.kind is EventKind.RETENTION_APPLIED]
    assert sum(n for e in events if isinstance(n := e.facts["entries"], int)) == 7
    still.contribute("alpha/list", *[item(n, external_id=f"x{n}") for n in (7, 8, 9)])
    states = {e.external_id: e.state for e in still.entries("alpha/list") if e.external_id in {"x7", "x8", "x9"}}
    assert set(states.values()) == {EntryState.QUARANTINED}


def test_no_file_holds_what_went_by_age(
    open_hub: Open, sqlite_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the rows go in several pieces, between which the hub looks after what was erased."""
    monkeypatch.setattr(store_module, "PURGED_AT_ONCE", 4)
    desk = Desk(open_hub(start=False))
    desk.hub.follower.start()
    desk.hash_set("alpha/list")
    old = [item(n, algorithms=("MD5", "PDQ"), external_id=f"external-{n}-id") for n in range(10)]
    desk.contribute("alpha/list", *old)
    desk.contribute("alpha/list", item(99))
    desk.hub.store.commits.tidy()
    desk.hub.matcher.compact()
    for entry in desk.entries("alpha/list")[:10]:
        desk.hub.entries.withdraw(OPERATOR, "alpha", "list", entry.id, WithdrawalReason.ERROR)
    _age(desk, days=40)
    desk.hub.keeper.config = Config(keep_withdrawn_days=30, keep_reports_days=30)
    housekeeping = desk.hub.housekeeping
    assert housekeeping is not None
    rebuild = Mock(wraps=desk.hub.matcher.rebuild)
    monkeypatch.setattr(desk.hub.matcher, "rebuild", rebuild)
    purge = store_module.RetentionTable.purge_withdrawn

    def purge_between_rounds(*arguments: Any) -> int:
        gone = purge(*arguments)
        housekeeping.round()
        return gone

    monkeypatch.setattr(store_module.RetentionTable, "purge_withdrawn", purge_between_rounds)
    desk.hub.keeper.apply_ages()
    desk.hub.follower.catch_up()
    for _ in range(3):
        housekeeping.round()
    assert rebuild.call_count == 1  # the snapshots of millions are not written for each thousand that goes
    needles = [h.digest for x in old for h in x.hashes]
    for path in sqlite_directory.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert [n for n in needles if n in content] == [], path
    assert desk.known(99, 3) == [99]


def test_reports_go_by_age_and_say_so(still: Desk) -> None:
    done = still.contribute("alpha/list", *[item(1) for _ in range(30)])
    assert len(still.report(done)) == 29
    still.hub.keeper.config = Config(keep_reports_days=30)
    still.hub.keeper.apply_ages()
    assert len(still.report(done)) == 29
    _age(still, days=31)
    still.hub.keeper.apply_ages()
    (line,) = still.report(done)
    assert (line.disposition, line.reason) == ("NOTED", "REPORT_DELETED")
    assert "29 lines" in line.detail
    assert still.hub.contribute.get(ALPHA, done.id).counts == done.counts
    before = still.hub.store.revision()
    still.hub.keeper.apply_ages()
    assert still.hub.store.revision() == before


# Retiring a contributor


@pytest.mark.parametrize("withdraw", [False, True])
def test_a_contributor_is_retired_with_its_entries_or_without(still: Desk, withdraw: bool) -> None:
    fill(still)
    still.hub.contributors.retire(OPERATOR, "alpha", "closed", withdraw_entries=withdraw)
    assert still.known(0, 4, 200) == ([] if withdraw else [0, 4, 200])
    assert still.known(100) == [100]
    again = still.hub.contributors.retire(OPERATOR, "alpha", "closed", withdraw_entries=withdraw)
    assert again.retire_time is not None
    # Retired or not, an operator can delete what is left.
    still.hub.retention.delete(OPERATOR, "alpha", "list")
    still.hub.keeper.delete_rows()
    assert set(rows(still).values()) == {0}


def test_conflicts_go_with_the_hash_set(still: Desk) -> None:
    assert still.hub.finder is not None
    still.hash_set("gamma/benign", purpose=Purpose.BENIGN, marking=Marking(bulk=True))
    still.contribute("alpha/list", *[item(n) for n in range(20)])
    still.contribute("gamma/benign", *[item(n) for n in range(3)])
    still.hub.finder.catch_up()
    everything = ConflictFilter()
    assert len(still.hub.conflicts.list(OPERATOR, everything, 100)[0]) == 3
    still.hub.retention.delete(OPERATOR, "alpha", "list")
    assert still.hub.conflicts.list(OPERATOR, everything, 100)[0] == []
    still.hub.conflicts.summarise(OPERATOR, everything)
    still.contribute("gamma/benign", item(4), item(5))  # about what nobody sees any more
    still.hub.finder.catch_up()
    still.hub.keeper.delete_rows()
    still.hub.finder.catch_up()
    assert still.hub.conflicts.list(OPERATOR, everything, 100)[0] == []
    for table in ("conflict", "conflict_entry"):
        assert not still.hub.store.database.fetch(f"SELECT 1 FROM {table}")  # noqa: S608 - ours
