"""What happens while a list is being committed: after what it means was decided, and before it is visible.

A commit of a million takes half a minute, so that all of this does happen.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from numpy.typing import NDArray

from hashhub.errors import Conflict, FailedPrecondition, InvalidArgument, Reason
from hashhub.hub import Hub
from hashhub.hub.selections import BulkOrder
from hashhub.hygiene import Code
from hashhub.model import (
    Action,
    ChangeKind,
    EntryAction,
    EntryState,
    EventKind,
    Import,
    Principal,
    Record,
    Selection,
    WithdrawalReason,
    now,
)
from hashhub.store.commits import Commits
from hashhub.store.schema import imports
from tests.hub.conftest import OPERATOR, Desk, Stock, digest, item, total, writer
from tests.hub.test_holds import entry_of, stays

Meanwhile = Callable[..., None]


def _fill(desk: Desk) -> None:
    """A list of three files."""
    desk.hash_set("alpha/list")
    desk.contribute("alpha/list", *stated(1, 2, 3))


@pytest.fixture
def listed(any_stock: Stock) -> Desk:
    return any_stock(_fill)


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Meanwhile:
    """Return a function that has something done when the next commits, so many, are about to become visible."""
    finish = Commits.finish_commit

    def have_done(act: Callable[[], object], times: int = 1) -> None:
        left = [act] * times

        def finish_late(commits: Commits, *args: Any, **fields: Any) -> Import:
            if left:
                left.pop()()
            return finish(commits, *args, **fields)

        monkeypatch.setattr(Commits, "finish_commit", finish_late)

    return have_done


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The imports whose commits were begun, in order, each as often as it was."""
    imports: list[str] = []
    begin = Commits.begin_commit

    def note_and_begin(commits: Commits, import_id: str, **fields: Any) -> Import:
        imports.append(import_id)
        return begin(commits, import_id, **fields)

    monkeypatch.setattr(Commits, "begin_commit", note_and_begin)
    return imports


def stated(*numbers: int, **fields: Any) -> list[Record]:
    return [item(n, external_id=f"id-{n}", **fields) for n in numbers]


def withdraw(
    desk: Desk,
    name: str,
    number: int,
    reason: WithdrawalReason = WithdrawalReason.ERROR,
    who: Principal | None = None,
) -> None:
    entry = entry_of(desk, name, number, EntryState.ACTIVE)
    desk.hub.entries.withdraw(who or writer(entry.contributor), entry.contributor, entry.hash_set, entry.id, reason)


class TestHeld:
    @pytest.mark.parametrize("replace", [False, True])
    def test_what_is_withdrawn_by_hand_stays_withdrawn(self, listed: Desk, meanwhile: Meanwhile, replace: bool) -> None:
        meanwhile(lambda: withdraw(listed, "alpha/list", 2))
        done = listed.contribute("alpha/list", *stated(1, 2, 3, tags=("new",)), replace=replace)
        assert stays(listed, done) == ["line 2"]
        assert (done.counts.accepted, done.counts.superseded, total(done.counts)) == (2, 2, done.counts.items)
        assert listed.known(1, 2, 3) == [1, 3]

    def test_what_the_person_shown_wants_gone_does_not_come_with_another_list(
        self, listed: Desk, meanwhile: Meanwhile
    ) -> None:
        listed.hash_set("alpha/other")
        listed.contribute("alpha/other", item(9))
        meanwhile(lambda: withdraw(listed, "alpha/other", 9, WithdrawalReason.REQUESTED_BY_PERSON_SHOWN))
        done = listed.contribute("alpha/list", *stated(1, 4), item(9, external_id="another name"))
        assert stays(listed, done) == ["line 9"]
        assert listed.known(1, 4, 9) == [1, 4]

    def test_nor_where_so_many_are_withdrawn_that_their_rows_are_written_later(
        self, listed: Desk, meanwhile: Meanwhile, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("hashhub.store.entry_writes.LARGE", 1)
        order = BulkOrder(EntryAction.WITHDRAW, WithdrawalReason.ERROR)
        chosen = Selection(hash_set="alpha/list", states=(EntryState.ACTIVE,))
        meanwhile(lambda: listed.hub.selections.change(OPERATOR, chosen, order))
        done = listed.contribute("alpha/list", *stated(1, 2, 3, tags=("new",)))
        assert stays(listed, done) == ["line 1", "line 2", "line 3"]
        assert listed.known(1, 2, 3) == []

    def test_what_an_operator_quarantines_stays_in_quarantine(self, listed: Desk, meanwhile: Meanwhile) -> None:
        one = entry_of(listed, "alpha/list", 2)
        meanwhile(lambda: listed.hub.entries.quarantine(OPERATOR, "alpha", "list", one.id))
        done = listed.contribute("alpha/list", *stated(1, 2, 3, tags=("new",)))
        assert listed.reasons(done)["line 2"] == [Code.QUARANTINED_BY_OPERATOR]
        assert listed.known(1, 2, 3) == [1, 3]

    def test_what_is_erased_stays_erased(self, listed: Desk, meanwhile: Meanwhile) -> None:
        one = entry_of(listed, "alpha/list", 2)
        meanwhile(lambda: listed.hub.entries.erase(OPERATOR, "alpha", "list", one.id))
        done = listed.contribute("alpha/list", *stated(1, 2, 3, tags=("new",)))
        assert listed.reasons(done)["line 2"] == [Code.STAYS_WITHDRAWN]
        assert [e for e in listed.entries("alpha/list") if digest("MD5", 2) in e.hashes] == []

    def test_others_items_are_no_reason_to_decide_anew(
        self, listed: Desk, meanwhile: Meanwhile, begun: list[str]
    ) -> None:
        """Whoever withdraws what is theirs holds up nobody."""
        listed.hash_set("beta/list")
        listed.contribute("beta/list", *stated(1, 2, 3))
        begun.clear()
        meanwhile(lambda: withdraw(listed, "beta/list", 2))
        assert listed.contribute("alpha/list", *stated(1, 2, 3, tags=("new",))).counts.accepted == 3
        meanwhile(lambda: withdraw(listed, "alpha/list", 1))
        assert listed.contribute("alpha/list", *stated(2, 3, tags=("newer",))).counts.accepted == 2
        assert len(begun) == 2
        assert listed.known(1, 2, 3) == [1, 2, 3]  # the first by beta


class TestMoved:
    def test_what_expires_and_is_stated_again_is_listed(self, listed: Desk, meanwhile: Meanwhile) -> None:
        """It would be missing for good: the same list again would be one that is done already."""
        one = entry_of(listed, "alpha/list", 2)
        transitions = listed.hub.store.transitions
        meanwhile(
            lambda: transitions.withdraw(
                [one.id], Code.EXPIRED_BY_AGE, kind=EventKind.ENTRIES_EXPIRED, reason="RETENTION"
            )
        )
        done = listed.contribute("alpha/list", *stated(1, 2, 3), *stated(4))
        assert (done.counts.unchanged, done.counts.accepted) == (2, 2)
        assert listed.known(1, 2, 3, 4) == [1, 2, 3, 4]

    def test_what_expires_by_its_own_time_is_not_decided_anew(
        self, listed: Desk, meanwhile: Meanwhile, begun: list[str]
    ) -> None:
        """The list states it with that time; and where entries expire every second no commit would come to its end."""
        until = now() + timedelta(hours=1)
        listed.contribute("alpha/list", *stated(7, expire_time=until))
        begun.clear()
        meanwhile(lambda: listed.hub.store.transitions.expire(until))
        done = listed.contribute("alpha/list", *stated(7, expire_time=until), *stated(8))
        assert (done.counts.unchanged, done.counts.accepted, len(begun)) == (1, 1, 1)

    @pytest.mark.parametrize("is_full", [False, True])
    @pytest.mark.parametrize("large", [None, 0], ids=["few", "many"])
    def test_what_expires_is_not_said_to_be_replaced(
        self,
        listed: Desk,
        meanwhile: Meanwhile,
        monkeypatch: pytest.MonkeyPatch,
        large: int | None,
        *,
        is_full: bool,
    ) -> None:
        """Its time was over, and nothing took its place, as if the list had come a moment later."""
        if large is not None:
            monkeypatch.setattr("hashhub.store.entry_writes.LARGE", large)
        until = now() + timedelta(hours=1)
        listed.contribute("alpha/list", *stated(7, 8, expire_time=until))
        one, other = entry_of(listed, "alpha/list", 7), entry_of(listed, "alpha/list", 8)
        meanwhile(lambda: listed.hub.store.transitions.expire(until))
        done = listed.contribute("alpha/list", *stated(1, 2, 7, tags=("new",)), replace=is_full, allow_shrinking=True)
        # 3 and 8 are no longer in a full list; 8 had expired.
        assert (done.counts.superseded, done.counts.absent) == (2, 1 if is_full else 0)
        for entry in (one, other):
            before = listed.hub.entries.get(OPERATOR, "alpha", "list", entry.id)
            assert (before.state, before.reasons) == (EntryState.WITHDRAWN, (Code.EXPIRED,))
        store = listed.hub.store
        assert store.database.fetch("SELECT 1 FROM succession WHERE earlier = ?", (one.id,)) == []
        changed = [c for c in store.feeds.changes(done.revision) if c.kind is ChangeKind.WITHDRAW]
        assert not any(entry.id in store.feeds.change_ids(c) for c in changed for entry in (one, other))
        facts = store.history.get_event(done.revision).facts
        assert (facts["superseded"], facts.get("absent", 0)) == (2, 1 if is_full else 0)

    def test_what_is_restored_does_not_stand_twice(self, listed: Desk, meanwhile: Meanwhile) -> None:
        one = entry_of(listed, "alpha/list", 2)
        listed.contribute("alpha/list", *stated(1, 3), replace=True, allow_shrinking=True)
        meanwhile(lambda: listed.hub.entries.restore(writer("alpha"), "alpha", "list", one.id))
        listed.contribute("alpha/list", *stated(1, 2, 3, tags=("new",)))
        assert entry_of(listed, "alpha/list", 2, EntryState.ACTIVE).tags == ("new",)

    def test_again_and_again_is_told_and_nothing_of_it_stays(self, listed: Desk, meanwhile: Meanwhile) -> None:
        numbers = iter((1, 2, 3))
        meanwhile(lambda: withdraw(listed, "alpha/list", next(numbers), who=OPERATOR), times=3)
        opened = listed.add(listed.open("alpha/list"), stated(1, 2, 3, tags=("new",)))
        with pytest.raises(Conflict, match="commit it again") as refused:
            listed.commit(opened)
        assert refused.value.retry_after
        assert listed.entries("alpha/list", EntryState.ACTIVE) == []
        assert listed.commit(opened).counts.stays_withdrawn == 3


class TestAnotherListOfTheSet:
    """A process that stands still for longer than its lease lets others in; it must not go on as if nobody had been."""

    def test_what_the_other_states_is_gone_with_a_full_list_that_lacks_it(
        self, listed: Desk, meanwhile: Meanwhile
    ) -> None:
        meanwhile(lambda: by_another(listed, stated(4)))
        listed.contribute("alpha/list", *stated(1, 2, 3), replace=True)
        assert listed.known(1, 2, 3, 4) == [1, 2, 3]

    def test_what_the_other_states_anew_is_withdrawn_by_a_later_deletion(
        self, listed: Desk, meanwhile: Meanwhile
    ) -> None:
        meanwhile(lambda: by_another(listed, stated(2, tags=("new",))))
        gone = item(2, external_id="id-2", action=Action.WITHDRAW)
        assert listed.contribute("alpha/list", gone).counts.withdrawn == 1
        assert listed.known(1, 2, 3) == [1, 3]


def by_another(desk: Desk, records: list[Record]) -> None:
    """Have another process commit a list into the set, as if the present commit's lease had run out."""
    opened = desk.add(desk.open("alpha/list"), records)
    with desk.hub.store.database.write() as c:
        c.execute(sa.update(imports).values(lease_until=0))
    with Hub.open(desk.hub.keeper.config, publisher=False) as other:
        other.start()
        Desk(other).commit(opened)


class TestRetired:
    def test_nothing_comes_from_who_is_retired(self, listed: Desk, meanwhile: Meanwhile) -> None:
        meanwhile(lambda: listed.hub.contributors.retire(OPERATOR, "alpha", "left", withdraw_entries=True))
        with pytest.raises(FailedPrecondition) as refused:
            listed.contribute("alpha/list", *stated(1, 2, 3, tags=("new",)), *stated(4))
        assert refused.value.reason is Reason.CONTRIBUTOR_RETIRED
        assert listed.known(1, 2, 3, 4) == []

    def test_nobody_is_retired_without_the_words_that_their_withdrawals_need(self, listed: Desk) -> None:
        with pytest.raises(InvalidArgument, match="comment"):
            listed.hub.contributors.retire(OPERATOR, "alpha", withdraw_entries=True)
        assert listed.hub.contributors.get(OPERATOR, "alpha").retire_time is None


class TestTheMatcher:
    """What another's list stages is matchable once it is committed, whatever becomes of others' entries meanwhile."""

    def test_what_is_withdrawn_and_erased_elsewhere(self, listed: Desk, meanwhile: Meanwhile) -> None:
        listed.hash_set("beta/list")
        one = entry_of(listed, "alpha/list", 2)
        meanwhile(lambda: listed.hub.entries.erase(OPERATOR, "alpha", "list", one.id))
        assert listed.contribute("beta/list", *stated(2, 5)).counts.accepted == 2
        assert listed.hub.matcher.contains("MD5", rows(2)).all()
        assert listed.known(2, 5) == [2, 5]

    def test_what_is_deleted_elsewhere_with_its_hash_set(self, listed: Desk, meanwhile: Meanwhile) -> None:
        listed.hash_set("beta/list")

        def delete() -> None:
            listed.hub.retention.delete(OPERATOR, "alpha", "list", comment="no basis")
            listed.hub.keeper.delete_rows()

        meanwhile(delete)
        assert listed.contribute("beta/list", *stated(2, 5)).counts.accepted == 2
        assert listed.known(1, 2, 5) == [2, 5]


def rows(number: int) -> NDArray[np.uint8]:
    return np.frombuffer(digest("MD5", number).digest, np.uint8).reshape(1, -1)
