"""A list that comes again with much of it changed: visible at once or not at all, wherever it is cut off."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from hashhub.config import Config
from hashhub.errors import Unavailable
from hashhub.hub import Hub, follow, housekeeping
from hashhub.model import (
    Action,
    Counts,
    EntryState,
    Import,
    ImportState,
    Record,
    RecordReview,
    ReviewKind,
    Verdict,
    WithdrawalReason,
)
from hashhub.store import Store, commits, entry_writes, feeds
from hashhub.store.database import Database
from hashhub.store.entries import EntryTable
from hashhub.store.schema import WITHDRAWN
from tests.hub.conftest import OPERATOR, Desk, Open, digest, item, seeds, writer
from tests.patience import wait_until
from tests.rows import EntryRow, pack_entries

MANY = range(12)


@pytest.fixture(autouse=True)
def _everything_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every withdrawal of three entries or more counts as large, and is written into rows one by one."""
    monkeypatch.setattr(entry_writes, "LARGE", 2)
    monkeypatch.setattr(feeds, "LARGE", 2)
    monkeypatch.setattr(entry_writes, "PIECE", 1)
    for module in (entry_writes, commits):
        monkeypatch.setattr(module, "CHANGE_IDS", 5)


@pytest.fixture
def cut_off(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that lets a process end after so many rows of an update were written."""
    written = entry_writes.DeferredWithdrawals.write_rows

    def after(rows: int) -> None:
        left = itertools.count()

        def stop(*arguments: Any) -> None:
            if next(left) >= rows:
                raise Unavailable("the process ends here")
            written(*arguments)

        monkeypatch.setattr(entry_writes.DeferredWithdrawals, "write_rows", stop)

    return after


@contextmanager
def held_up(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Let rows that updates leave wait, as on a busy disk, until the end; the event tells that they do."""
    settle = entry_writes.DeferredWithdrawals.settle_due
    waits, goes_on = threading.Event(), threading.Event()

    def settle_later(*arguments: Any, **options: Any) -> None:
        waits.set()
        assert goes_on.wait(300)
        settle(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(entry_writes.DeferredWithdrawals, "settle_due", settle_later)
        try:
            yield waits
        finally:
            goes_on.set()


def first_edition(desk: Desk) -> None:
    desk.hash_set("alpha/list")
    desk.contribute("alpha/list", *(item(n, external_id=f"x{n}") for n in MANY))


def second_edition(desk: Desk, *, replace: bool = False) -> Any:
    """Every second item under its id, with another file."""
    changed = [item(100 + n, external_id=f"x{n}") for n in MANY if n % 2 == 0]
    done = desk.contribute("alpha/list", *changed, replace=replace, allow_shrinking=True)
    with suppress(Unavailable):  # where the test cuts it off
        desk.hub.store.commits.tidy()
    return done


def batches_kept(store: Store) -> int:
    """How many batches lie in the database, of whatever import."""
    count: int = store.database.fetch("SELECT count(*) FROM staged_batch")[0][0]
    return count


def shown(desk: Desk) -> dict[str, Any]:
    """All that can be seen of the hash set."""
    listed = {state: desk.entries("alpha/list", state) for state in EntryState}
    store = desk.hub.store
    return {
        "listed": {state: [e.id for e in found] for state, found in listed.items()},
        "all": [(e.id, e.state, e.reasons, e.update_revision) for e in desk.entries("alpha/list")],
        "counts": {state: store.entries.entry_count("alpha", "list", state) for state in EntryState},
        "ids": {state: store.entries.active_ids("alpha", "list", states=[state]).tolist() for state in EntryState},
        "live": {
            x: [e.id for e in found]
            for x, found in store.entries.existing_by_external_ids("alpha", "list", [f"x{n}" for n in MANY]).items()
        },
        "matched": desk.known(*MANY, *(100 + n for n in MANY)),
        "successors": [store.entries.get_entry("alpha", "list", e.id).successors for e in desk.entries("alpha/list")],
    }


@pytest.mark.parametrize("rows", [0, 1, 4])
@pytest.mark.parametrize("replace", [False, True])
def test_cut_off_after_some_rows_nobody_sees_a_difference(
    open_hub: Open, cut_off: Any, monkeypatch: pytest.MonkeyPatch, rows: int, replace: bool
) -> None:
    desk = Desk(open_hub(start=False))
    desk.hub.follower.catch_up()
    first_edition(desk)
    cut_off(rows)
    done = second_edition(desk, replace=replace)
    assert (done.counts.superseded, done.counts.absent) == (6, 6 if replace else 0)
    assert desk.hub.store.deferred_withdrawals.listed() == str(done.revision)
    before = shown(desk)
    assert before["matched"] == [*(n for n in MANY if n % 2 and not replace), *(100 + n for n in MANY if n % 2 == 0)]
    # Another process, and one that starts now, see the same.
    assert shown(Desk(open_hub(publisher=False))) == before
    monkeypatch.undo()
    desk.hub.store.commits.tidy()
    assert not desk.hub.store.deferred_withdrawals.listed()
    assert shown(desk) == before


def test_entries_count_once_whenever_their_rows_are_written(
    open_hub: Open, cut_off: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = Desk(open_hub(start=False))
    desk.hub.follower.catch_up()
    first_edition(desk)
    cut_off(0)
    second_edition(desk)
    cut_off(10**9)
    store = desk.hub.store
    walk = EntryTable.ids_in_state

    def written_meanwhile(entries: EntryTable, set_key: int, code: int, **options: Any) -> Any:
        if code == WITHDRAWN:
            store.commits.settle()
        return walk(entries, set_key, code, **options)

    monkeypatch.setattr(EntryTable, "ids_in_state", written_meanwhile)
    assert store.entries.entry_count("alpha", "list", EntryState.WITHDRAWN) == 6
    assert not store.deferred_withdrawals.listed()


def test_entries_that_were_read_too_long_ago_are_not_taken_for_active(
    open_hub: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their rows do not say that they are withdrawn, and what said so is gone."""
    desk = Desk(open_hub(start=False))
    desk.hub.follower.catch_up()
    first_edition(desk)
    store, none_moved = desk.hub.store, np.zeros(1, np.int64)
    settle = entry_writes.DeferredWithdrawals.settle_due
    monkeypatch.setattr(entry_writes.DeferredWithdrawals, "settle_due", lambda *_, **__: None)
    second_edition(desk)
    listed = store.deferred_withdrawals.listed()
    part = next(store.deferred_withdrawals.parts(listed))
    ids = np.array([part.ids.first], np.int64)
    assert store.deferred_withdrawals.is_withdrawn(listed, ids, none_moved).all()
    settle(store.deferred_withdrawals)
    desk.hash_set("beta/list")
    for n in (200, 300):
        desk.contribute("beta/list", *(item(n + m, external_id=f"x{m}") for m in MANY))
    with pytest.raises(Unavailable, match="updated while they were read"):
        entry_writes.DeferredWithdrawals(store.database).is_withdrawn(listed, ids, none_moved)


def test_an_entry_that_is_outstanding_is_moved_as_what_it_is(open_hub: Open, cut_off: Any) -> None:
    desk = Desk(open_hub())
    first_edition(desk)
    ids = [e.id for e in desk.entries("alpha/list")]
    cut_off(0)
    second_edition(desk, replace=True)
    cut_off(10**9)
    # Restored, withdrawn, erased by hand before its row says that an update withdrew it; then the rows are written.
    restored, withdrawn, erased = ids[1], ids[3], ids[5]
    desk.hub.entries.restore(writer("alpha"), "alpha", "list", restored)
    desk.hub.entries.withdraw(OPERATOR, "alpha", "list", withdrawn, WithdrawalReason.ERROR)
    desk.hub.entries.erase(OPERATOR, "alpha", "list", erased)
    desk.hub.store.commits.settle()
    by_id = {e.id: e for e in desk.entries("alpha/list")}
    assert by_id[restored].state is EntryState.ACTIVE
    assert by_id[withdrawn].reasons == ("WITHDRAWN_BY_OPERATOR",)
    assert by_id[erased].reasons == ("ERASED",)
    assert all(by_id[i].state is EntryState.WITHDRAWN for i in ids if i != restored)


def test_the_next_list_knows_what_the_rows_do_not_say_yet(open_hub: Open, cut_off: Any) -> None:
    desk = Desk(open_hub())
    first_edition(desk)
    cut_off(2)
    second_edition(desk)
    again = second_edition(desk)
    assert (again.counts.unchanged, again.counts.superseded) == (6, 0)


@seeds(2, 1)
def test_lists_one_after_the_other_mean_the_same_whenever_rows_are_written(
    any_desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Here nothing is written before the end; there, on SQLite, after each list. Holds are written in time."""
    monkeypatch.setattr(entry_writes, "MOST", 100)
    with Hub.open(Config(data=str(tmp_path / "there"))) as hub:
        there = Desk(hub)
        hub.follower.catch_up()
        with monkeypatch.context() as nothing_is_written:
            nothing_is_written.setattr(entry_writes.DeferredWithdrawals, "settle_due", lambda *_, **__: None)
            here = [_told(any_desk, done) for done in _editions(any_desk, seed)]
            before = shown(any_desk)
            assert any_desk.hub.store.deferred_withdrawals.listed()
        expected = []
        for done in _editions(there, seed):
            expected.append(_told(there, done))
            hub.store.commits.tidy()
        assert here == expected
        assert before == shown(there)
        any_desk.hub.store.commits.tidy()
        assert shown(any_desk) == before


def _editions(desk: Desk, seed: int) -> Iterator[Import]:
    """Contribute lists of some of the items: changed or not, some with opinions, whole ones and lists of changes."""
    random = Random(seed)
    desk.hash_set("alpha/list")
    yield desk.contribute("alpha/list", *(item(n, external_id=f"x{n}" if n % 3 else "") for n in MANY))
    for edition in range(7):
        items: list[Record] = []
        replace = random.random() < 0.3
        for n in random.sample(MANY, random.randint(6, len(MANY))):
            name = f"x{n}" if n % 3 else ""
            match random.choice("uuccrwq" if not replace else "uuccrq"):
                case "u":
                    items.append(item(n, external_id=name))
                case "c":
                    items.append(item(n, external_id=name, tags=(f"edition {edition}",)))
                case "r":
                    said = RecordReview(ReviewKind.FALSE_POSITIVE, "somebody", f"edition {edition}")
                    items.append(item(n, external_id=name, tags=("reviewed",), reviews=(said,)))
                case "q":  # another file under its id; without one, another item
                    items.append(item(n + 100 * random.randint(0, 2), external_id=name))
                case _:
                    items.append(item(n, external_id=name, action=Action.WITHDRAW))
        yield desk.contribute("alpha/list", *items, replace=replace, allow_shrinking=True)


def _told(desk: Desk, done: Import) -> Any:
    return done.counts, desk.report(done)


def test_a_large_deletion_by_the_source_is_held_before_its_rows_are_written(
    any_desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    any_desk.hash_set("alpha/list")
    old = [item(n, source_time="2026-01-01T00:00:00Z") for n in MANY]
    any_desk.contribute("alpha/list", *old, source="old")
    with held_up(monkeypatch) as waits:
        time = "2026-01-02T00:00:00Z"
        any_desk.contribute("alpha/list", *(item(n, action=Action.WITHDRAW, source_time=time) for n in MANY))
        assert waits.wait(180)
        again = any_desk.contribute("alpha/list", *old, source="old")
        assert (again.counts.stays_withdrawn, any_desk.known(*MANY)) == (len(MANY), [])


def test_what_is_held_is_written_for_one_commit_and_not_for_each(
    open_hub: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Small lists after a large deletion must not write a million rows again, each of them."""
    desk = Desk(open_hub(start=False))
    desk.hub.follower.catch_up()
    desk.hash_set("alpha/list")
    desk.contribute("alpha/list", *(item(n) for n in MANY))
    monkeypatch.setattr(entry_writes.DeferredWithdrawals, "settle_due", lambda *_, **__: None)
    desk.contribute("alpha/list", *(item(n, action=Action.WITHDRAW) for n in MANY))
    written: list[int] = []
    write = entry_writes.DeferredWithdrawals.write_rows

    def noted(self: Any, c: Any, part: Any, ids: Any) -> None:
        written.extend(ids)
        write(self, c, part, ids)

    monkeypatch.setattr(entry_writes.DeferredWithdrawals, "write_rows", noted)
    for n in range(3):
        desk.contribute("alpha/list", item(100 + n))
    assert len(written) == len(MANY)
    assert desk.hub.store.deferred_withdrawals.listed()


class TestWhatACommitLeavesToDo:
    def test_it_is_done_without_anybody_waiting_for_it(self, open_hub: Open) -> None:
        desk = Desk(open_hub())
        first_edition(desk)
        changed = [item(100 + n, external_id=f"x{n}") for n in MANY]
        desk.contribute("alpha/list", *changed)
        store = desk.hub.store
        wait_until(lambda: not store.deferred_withdrawals.listed() and not batches_kept(store))
        assert desk.known(*MANY, *(100 + n for n in MANY)) == [100 + n for n in MANY]

    def test_a_hub_that_starts_does_what_one_that_was_killed_left(self, open_hub: Open) -> None:
        desk = Desk(open_hub(start=False))
        desk.hub.follower.catch_up()
        first_edition(desk)
        desk.contribute("alpha/list", *(item(100 + n, external_id=f"x{n}") for n in MANY))
        store = desk.hub.store
        assert store.deferred_withdrawals.listed()
        assert batches_kept(store)
        open_hub(publisher=False)
        wait_until(lambda: not store.deferred_withdrawals.listed() and not batches_kept(store))

    def test_what_a_process_that_ended_left_is_done_by_one_that_lives(
        self, open_hub: Open, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(housekeeping, "LEFT_SECONDS", 0.0)
        desk = Desk(open_hub(start=False))
        desk.hub.follower.catch_up()
        desk.hub.contribute.tidying.start()
        wait_until(lambda: not desk.hub.contribute.tidying._wake.is_set())
        first_edition(desk)
        other = Desk(open_hub(publisher=False, start=False))
        other.contribute("alpha/list", *(item(100 + n, external_id=f"x{n}") for n in MANY))
        assert desk.hub.store.deferred_withdrawals.listed()
        assert desk.hub.housekeeping is not None
        for _ in range(2):
            desk.hub.housekeeping.round()
        wait_until(lambda: not desk.hub.store.deferred_withdrawals.listed())

    def test_it_rests_while_lists_come_in(self, open_hub: Open, monkeypatch: pytest.MonkeyPatch) -> None:
        desk = Desk(open_hub(start=False))
        desk.hub.follower.catch_up()
        first_edition(desk)
        second_edition(desk)
        rests: list[float] = []

        def wait(seconds: float) -> bool:
            rests.append(seconds)
            return False

        desk.contribute("alpha/list", *(item(200 + n, external_id=f"x{n}") for n in MANY))
        opened = desk.add(desk.open("alpha/list"), (item(1000),))
        desk.hub.store.commits.tidy(wait)
        assert len(rests) > len(MANY)
        assert all(0 < seconds <= 2 for seconds in rests)
        assert not desk.hub.store.deferred_withdrawals.listed()
        monkeypatch.setattr(commits, "MOST_REST", 1e-9)
        desk.commit(opened)
        opened = desk.add(desk.open("alpha/list"), (item(1001),))
        desk.contribute("alpha/list", *(item(250 + n, external_id=f"x{n}") for n in MANY))
        rests.clear()
        desk.hub.store.commits.tidy(wait)
        assert rests[0]
        assert not any(rests[1:]), "what is left to do grows for as long as somebody keeps sending"
        assert not desk.hub.store.deferred_withdrawals.listed()
        desk.commit(opened)
        rests.clear()
        desk.contribute("alpha/list", *(item(300 + n, external_id=f"x{n}") for n in MANY))
        desk.hub.store.commits.tidy(wait)
        assert rests
        assert not any(rests)

    def test_digests_are_swept_faster_when_lists_keep_coming_in(
        self, open_hub: Open, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(follow, "LONG_PAUSES", 4)
        monkeypatch.setattr(follow, "SWEEP_PIECE", 1)
        desk = Desk(open_hub(start=False))
        follower = desk.hub.follower
        follower.catch_up()
        first_edition(desk)
        desk.contribute("alpha/list", *(item(100 + n, external_id=f"x{n}") for n in MANY))
        desk.hub.store.commits.settle()
        desk.add(desk.open("alpha/list"), (item(1000),))
        pauses: list[float] = []

        def wait(seconds: float) -> bool:
            pauses.append(seconds)
            return False

        monkeypatch.setattr(follower.thread, "wait", wait)
        follower._look()
        assert len(pauses) > 4
        assert min(pauses[:4]) > max(pauses[4:])

    def test_what_is_erased_does_not_stay_in_a_list_as_it_was_sent(self, open_hub: Open) -> None:
        desk = Desk(open_hub(start=False))
        desk.hub.follower.catch_up()
        first_edition(desk)
        assert batches_kept(desk.hub.store)
        desk.hub.entries.erase(OPERATOR, "alpha", "list", desk.entries("alpha/list")[0].id)
        assert not batches_kept(desk.hub.store)

    def test_what_fails_is_told_and_tried_again(self, open_hub: Open, cut_off: Any) -> None:
        desk = Desk(open_hub())
        first_edition(desk)
        cut_off(0)
        desk.contribute("alpha/list", *(item(100 + n, external_id=f"x{n}") for n in MANY))
        wait_until(lambda: any("tidied up" in warning for warning in desk.hub.status(OPERATOR).warnings))
        store = desk.hub.store
        assert store.deferred_withdrawals.listed()
        cut_off(10**9)
        wait_until(lambda: not store.deferred_withdrawals.listed() and not desk.hub.contribute.tidying.warning)

    def test_nothing_counts_as_erased_while_a_list_as_it_was_sent_may_have_it(
        self, open_hub: Open, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        desk = Desk(open_hub(start=False))
        desk.hub.follower.catch_up()
        first_edition(desk)
        entry = desk.entries("alpha/list")[0].id
        desk.hub.entries.withdraw(OPERATOR, "alpha", "list", entry, WithdrawalReason.ERROR)
        write, busy = Database.write, iter([Unavailable("too many writes wait for the database")])

        def write_when_free(database: Database) -> Any:
            if (error := next(busy, None)) is not None:
                raise error
            return write(database)

        monkeypatch.setattr(Database, "write", write_when_free)
        with pytest.raises(Unavailable):
            desk.hub.entries.erase(OPERATOR, "alpha", "list", entry)
        assert desk.entries("alpha/list")[0].reasons != ("ERASED",)
        assert desk.hub.entries.erase(OPERATOR, "alpha", "list", entry).reasons == ("ERASED",)
        assert not batches_kept(desk.hub.store)

    def test_another_list_does_not_wait_for_it(self, open_hub: Open, monkeypatch: pytest.MonkeyPatch) -> None:
        desk = Desk(open_hub())
        first_edition(desk)
        desk.hash_set("beta/list")
        with held_up(monkeypatch) as waits:
            desk.contribute("alpha/list", *(item(100 + n, external_id=f"x{n}") for n in MANY))
            assert waits.wait(180)
            done: list[Any] = []
            other = threading.Thread(target=lambda: done.append(desk.contribute("beta/list", item(1))), daemon=True)
            other.start()
            other.join(60)
            assert done, "it waits"

    def test_nor_does_the_next_one_of_the_same_hash_set(self, any_desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        first_edition(any_desk)
        with held_up(monkeypatch) as waits:
            any_desk.contribute("alpha/list", *(item(100 + n, external_id=f"x{n}") for n in MANY))
            assert waits.wait(180)
            done: list[Any] = []
            changed = [item(200 + n, external_id=f"x{n}") for n in MANY]
            other = threading.Thread(target=lambda: done.append(any_desk.contribute("alpha/list", *changed)))
            other.start()
            other.join(60)
            assert done, "it waits"
            assert done[0].counts.superseded == len(MANY)
            assert any_desk.known(*MANY, *(100 + n for n in MANY)) == []

    def test_after_many_lists_the_next_one_takes_its_lease_only_then(
        self, open_hub: Open, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What is left may take longer than a lease lasts, and others would then commit into the same hash set."""
        monkeypatch.setattr(entry_writes, "MOST", 0)
        desk = Desk(open_hub())
        first_edition(desk)
        with held_up(monkeypatch) as waits:
            desk.contribute("alpha/list", *(item(100 + n, external_id=f"x{n}") for n in MANY))
            assert waits.wait(180)
            again = desk.add(desk.open("alpha/list"), (item(1),))
            after = threading.Thread(target=lambda: desk.commit(again))
            after.start()
            after.join(0.5)
            assert after.is_alive()
            assert desk.hub.store.imports.get_import(again.id).state is ImportState.OPEN
        after.join()
        assert desk.hub.store.imports.get_import(again.id).state is ImportState.COMMITTED


class TestTheMatcher:
    def test_what_an_update_leaves_without_an_entry_is_dropped_in_time(self, open_hub: Open) -> None:
        desk = Desk(open_hub())
        first_edition(desk)
        desk.hash_set("beta/list")
        desk.contribute("beta/list", item(0))
        assert desk.hub.matcher.count("MD5") == len(MANY)
        second_edition(desk)
        # 0 is still listed by somebody else; 2, 4 … are listed by nobody; 100, 102 … are new.
        wait_until(lambda: desk.hub.matcher.count("MD5") == len(MANY) + 1)
        assert desk.known(0, 2, 4) == [0]

    def test_it_is_dropped_after_a_restart_too(self, open_hub: Open, monkeypatch: pytest.MonkeyPatch) -> None:
        with monkeypatch.context() as busy:
            busy.setattr("hashhub.hub.follow.Follower.sweep", lambda _: False)
            desk = Desk(open_hub())
            first_edition(desk)
            second_edition(desk)
            assert desk.hub.matcher.count("MD5") == len(MANY) + 6
            desk.hub.matcher.compact()
            desk.hub.close()
        again = Desk(open_hub())
        wait_until(lambda: again.hub.matcher.count("MD5") == len(MANY))
        # Once a snapshot lacks it, a start does not look for it again.
        again.hub.matcher.compact()
        numbers = itertools.count(1000)

        def is_noted() -> bool:
            """A snapshot notes it that is newer than the sweep, which may end behind the last list."""
            again.contribute("alpha/list", item(next(numbers)))
            again.hub.matcher.compact()
            return again.hub.follower.mark.read()[1] >= 1

        wait_until(is_noted)

    def test_nothing_is_dropped_that_somebody_is_about_to_list(self, open_hub: Open) -> None:
        """Its hashes are not in the table yet, so that the store does not know of them."""
        desk = Desk(open_hub(start=False))
        desk.hub.follower.catch_up()
        first_edition(desk)
        desk.hash_set("beta/list")
        store: Store = desk.hub.store
        opened = desk.add(desk.open("beta/list"), [item(n) for n in (2, 4)])
        store.commits.begin_commit(opened.id)
        first = store.stage.allocate_entries(opened.id, 1)
        store.stage.stage_entries(opened.id, pack_entries([EntryRow(first, EntryState.ACTIVE, item(2))]))
        second_edition(desk)
        assert not desk.hub.follower.sweep()
        assert desk.hub.matcher.contains("MD5", _rows("MD5", 2)).all()
        store.commits.finish_commit(opened.id, counts=Counts(items=1, accepted=1))
        while desk.hub.follower.sweep():
            pass
        desk.hub.follower.catch_up()
        assert desk.hub.matcher.contains("MD5", _rows("MD5", 2)).all()
        assert not desk.hub.matcher.contains("MD5", _rows("MD5", 4)).any()
        assert desk.verdict(2) is Verdict.MATCH

    def test_a_list_that_is_always_coming_in_holds_it_up_for_a_minute_at_most(
        self, still_desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """And what that list has is spared, whether it was staged before or while digests are dropped."""
        desk = still_desk
        follower, store = desk.hub.follower, desk.hub.store
        follower.catch_up()
        first_edition(desk)
        desk.hash_set("beta/list")
        opened = desk.add(desk.open("beta/list"), [item(n) for n in (2, 6)])
        store.commits.begin_commit(opened.id)
        first = store.stage.allocate_entries(opened.id, 2)

        def stage(entry: int, number: int) -> None:
            store.stage.stage_entries(opened.id, pack_entries([EntryRow(entry, EntryState.ACTIVE, item(number))]))

        stage(first, 2)
        second_edition(desk)
        monkeypatch.setattr(follow, "SWEEP_PIECE", 1)
        assert not follower.sweep()
        assert not follower.sweep()
        assert desk.hub.matcher.contains("MD5", _rows("MD5", 0)).all()
        monkeypatch.setattr(follow, "LONGEST_HOLD_UP", 0.0)  # the minute is over
        assert follower.sweep()
        stage(first + 1, 6)
        follower.catch_up()
        while follower.sweep():
            pass
        assert store.feeds.is_staging()
        held = [n for n in range(0, 12, 2) if desk.hub.matcher.contains("MD5", _rows("MD5", n)).all()]
        assert held == [2, 6]
        store.commits.finish_commit(opened.id, counts=Counts(items=2, accepted=2))
        follower.catch_up()
        assert [n for n in held if desk.verdict(n) is Verdict.MATCH] == held
        # What is withdrawn next has its minute again.
        monkeypatch.setattr(follow, "LONGEST_HOLD_UP", 60.0)
        desk.contribute("alpha/list", *(item(200 + n, external_id=f"x{n}") for n in MANY if n % 2 == 0))
        store.commits.tidy()
        following = desk.add(desk.open("beta/list"), [item(50)])
        store.commits.begin_commit(following.id)
        store.stage.allocate_entries(following.id, 1)
        follower.catch_up()
        assert not follower.sweep()
        assert desk.hub.matcher.contains("MD5", _rows("MD5", 100)).all()

    @pytest.mark.parametrize(
        ("database", "sweeps"), [("sqlite", 0), ("sqlite", 1), ("sqlite", 2), ("postgresql", 1)], indirect=["database"]
    )
    @pytest.mark.parametrize("part", ["digests_of_range", "_frame_digests", "still_active"])
    def test_a_database_that_is_away_for_a_moment_has_nothing_dropped_that_is_staged_nor_anything_forgotten(
        self, still_desk: Desk, monkeypatch: pytest.MonkeyPatch, part: str, sweeps: int
    ) -> None:
        """However far the look at what is staged had got."""
        desk = still_desk
        follower, store = desk.hub.follower, desk.hub.store
        follower.catch_up()
        first_edition(desk)
        second_edition(desk)
        desk.hash_set("beta/list")
        opened = desk.add(desk.open("beta/list"), [item(2)])
        store.commits.begin_commit(opened.id)
        first = store.stage.allocate_entries(opened.id, 1)
        store.stage.stage_entries(opened.id, pack_entries([EntryRow(first, EntryState.ACTIVE, item(2))]))
        follower.catch_up()
        monkeypatch.setattr(follow, "LONGEST_HOLD_UP", 0.0)
        monkeypatch.setattr(follow, "SWEEP_PIECE", 1)
        assert all(follower.sweep() for _ in range(sweeps))
        with monkeypatch.context() as away, suppress(Unavailable):
            away.setattr(feeds.Feeds, part, _away)
            while follower.sweep():
                pass
        while follower.sweep():
            pass
        assert [n for n in range(0, 12, 2) if desk.hub.matcher.contains("MD5", _rows("MD5", n)).all()] == [2]
        store.commits.finish_commit(opened.id, counts=Counts(items=1, accepted=1))
        follower.catch_up()
        assert desk.verdict(2) is Verdict.MATCH


def _away(*_: Any, **__: Any) -> Any:
    raise Unavailable("the database is away")


@pytest.fixture
def still_desk(database: str, tmp_path: Path) -> Iterator[Desk]:
    """A desk at a hub that was not started, on each kind of database in turn."""
    is_url = "://" in database
    config = Config(data=str(tmp_path / "hub") if is_url else database, database=database if is_url else "")
    with Hub.open(config) as hub:
        yield Desk(hub)


def _rows(algorithm: str, number: int) -> Any:
    import numpy as np

    return np.frombuffer(digest(algorithm, number).digest, np.uint8).reshape(1, -1)
