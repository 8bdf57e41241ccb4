"""What a contributor's next word about an item does to what was said about it before: by others, by an operator, by
itself.
"""

from __future__ import annotations

import threading
from typing import Any

import msgspec
import pytest

from hashhub.hub.selections import BulkOrder
from hashhub.hygiene import Code
from hashhub.model import (
    Action,
    Entry,
    EntryAction,
    EntryState,
    Import,
    Marking,
    Record,
    RecordReview,
    Review,
    ReviewKind,
    Role,
    Selection,
    Verdict,
    WithdrawalReason,
    now,
)
from tests.hub.conftest import AUDITOR, OPERATOR, Desk, digest, item, writer
from tests.hub.receiving import Receiver, admit, entitled, mirroring


def dispute(desk: Desk, entry: Entry, kind: ReviewKind = ReviewKind.FALSE_POSITIVE, who: str = "beta") -> Review:
    return desk.hub.reviews.create(writer(who), entry.contributor, entry.hash_set, entry.id, kind)


def reviews(desk: Desk, entry: Entry) -> list[Review]:
    return desk.hub.reviews.list(AUDITOR, entry.contributor, entry.hash_set, entry.id, 100, 0)[0]


def only(desk: Desk, *states: EntryState) -> Entry:
    (entry,) = desk.entries("alpha/list", *(states or (EntryState.ACTIVE,)))
    return entry


def withdraw(desk: Desk, entry: Entry) -> None:
    desk.hub.entries.withdraw(writer("alpha"), "alpha", "list", entry.id, WithdrawalReason.ERROR)


def delete(desk: Desk, stated: Record) -> None:
    """Send a deletion message of the source, which a newer list may undo."""
    desk.contribute("alpha/list", msgspec.structs.replace(stated, action=Action.WITHDRAW))


@pytest.fixture
def two(any_desk: Desk) -> Desk:
    """Alpha and beta both list file 1, which is enough for `block`."""
    for name in ("alpha/list", "beta/list"):
        any_desk.hash_set(name)
        any_desk.contribute(name, item(1))
    assert any_desk.verdict(1, policy="block") is Verdict.MATCH
    return any_desk


class TestReviewsStayWithTheItem:
    def test_a_newer_statement_does_not_shed_them(self, two: Desk) -> None:
        made = dispute(two, only(two))
        for tag in ("once", "twice"):
            assert two.contribute("alpha/list", item(1, tags=(tag,))).counts.superseded == 1
            assert two.verdict(1, policy="block") is Verdict.REVIEW
            assert reviews(two, only(two)) == [made]
        assert made.entry_id not in {e.id for e in two.entries("alpha/list", EntryState.ACTIVE)}
        # Its author takes it back, under the name that the entry has now; others may dispute it anew.
        dispute(two, only(two), ReviewKind.CONFIRMED)
        assert two.verdict(1, policy="block") is Verdict.MATCH
        two.contributor("gamma")
        dispute(two, only(two), who="gamma")
        assert two.verdict(1, policy="block") is Verdict.REVIEW

    @pytest.mark.parametrize(
        "again",
        [
            {},
            {"external_id": "another name"},
            {"algorithms": ("MD5", "SHA256")},
            {"algorithms": ("SHA1",), "tags": ("t",)},
        ],
    )
    def test_nor_does_a_withdrawal(self, two: Desk, again: dict[str, Any]) -> None:
        dispute(two, only(two))
        delete(two, item(1))
        two.contribute("alpha/list", item(1, **again))
        assert [r.author for r in reviews(two, only(two))] == ["beta"]
        shared = digest(again.get("algorithms", ("MD5",))[0], 1)
        assert two.match(shared, policy="block").verdict is Verdict.REVIEW

    @pytest.mark.parametrize("fields", [{"external_id": "their id", "algorithms": ("MD5",)}, {"algorithms": ("PDQ",)}])
    def test_whatever_an_item_is_known_by(self, two: Desk, fields: dict[str, Any]) -> None:
        two.contribute("alpha/list", item(5, **fields))
        old = two.entries("alpha/list")[-1]
        dispute(two, old)
        delete(two, item(5, **fields))
        if "external_id" in fields:
            fields = {**fields, "algorithms": ("SHA256",)}
        two.contribute("alpha/list", item(5, **fields))
        assert [r.author for r in reviews(two, two.entries("alpha/list")[-1])] == ["beta"]

    def test_one_that_is_stated_under_the_old_name_counts(self, two: Desk) -> None:
        old = only(two)
        two.contribute("alpha/list", item(1, tags=("new",)))
        dispute(two, old)
        assert two.verdict(1, policy="block") is Verdict.REVIEW
        assert reviews(two, two.entries("beta/list")[0]) == []

    def test_other_items_and_other_hash_sets_have_their_own(self, two: Desk) -> None:
        two.hash_set("alpha/other")
        dispute(two, only(two))
        withdraw(two, only(two))
        two.contribute("alpha/list", item(2, hashes=(digest("MD5", 2),)))
        two.contribute("alpha/other", item(1))
        for entry in (*two.entries("alpha/list", EntryState.ACTIVE), *two.entries("alpha/other")):
            assert reviews(two, entry) == []

    def test_a_replacing_list_that_leaves_it_out_and_takes_it_up_again(self, two: Desk) -> None:
        dispute(two, only(two))
        for items in ([item(2)], [item(2), item(1)]):
            two.contribute("alpha/list", *items, replace=True, allow_shrinking=True)
        assert two.verdict(1, policy="block") is Verdict.REVIEW

    def test_what_the_source_says_is_not_said_twice(self, two: Desk) -> None:
        said = (RecordReview(ReviewKind.CONFIRMED, "member"), RecordReview(ReviewKind.DUPLICATE, "member"))
        two.contribute("alpha/list", item(1, reviews=said[:1]))
        two.contribute("alpha/list", item(1, reviews=said, tags=("new",)))
        assert [r.kind for r in reviews(two, only(two))] == [ReviewKind.CONFIRMED, ReviewKind.DUPLICATE]

    def test_a_hit_asks_for_them_once_and_a_miss_not_at_all(self, two: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        dispute(two, only(two))
        two.contribute("alpha/list", item(1, tags=("new",)))
        store, asked = two.hub.store, list[str]()
        real = store.database.fetch

        def fetch(sql: str, parameters: tuple[Any, ...] = ()) -> Any:
            if threading.current_thread() is threading.main_thread():  # the hub's others look for work of theirs
                asked.append(sql)
            return real(sql, parameters)

        two.verdict(1)  # what is kept in memory is there
        monkeypatch.setattr(store.database, "fetch", fetch)
        two.match(digest("MD5", 9))
        assert asked == []
        two.match(digest("MD5", 1))
        assert len([sql for sql in asked if "review" in sql]) == 1


def test_a_release_leaves_other_hash_sets_statements_alone(two: Desk) -> None:
    [newer] = two.entries("beta/list")
    two.hub.entries.quarantine(OPERATOR, "beta", "list", newer.id)
    two.hub.entries.release(OPERATOR, "beta", "list", newer.id)
    assert two.verdict(1, policy="block") is Verdict.MATCH


class TestAQuarantinedNewerStatement:
    @pytest.fixture
    def waiting(self, any_desk: Desk) -> Desk:
        """File 1 is active; a newer statement about it waits for a person."""
        any_desk.hash_set("alpha/list", scheme="vic-us")
        any_desk.contribute("alpha/list", item(1, value="1"), item(2, value="1"))
        self.sent = any_desk.contribute("alpha/list", item(1, value="9"))
        return any_desk

    sent: Import

    @staticmethod
    def pair(desk: Desk) -> tuple[Entry, Entry]:
        about = [e for e in desk.entries("alpha/list") if digest("MD5", 1) in e.hashes]
        return about[0], about[-1]

    @staticmethod
    def feed(desk: Desk, after: int) -> list[tuple[str, int]]:
        store = desk.hub.store
        return [
            (str(c.kind), i) for c in store.feeds.changes(after + 1) for i in store.feeds.change_ids(c).after(0, 100)
        ]

    @staticmethod
    def matches(desk: Desk, number: int = 1) -> list[int]:
        return [m.entry.id for m in desk.match(digest("MD5", number)).matches]

    def test_leaves_the_active_one_alone_until_it_is_released(self, waiting: Desk) -> None:
        old, new = self.pair(waiting)
        assert (old.state, new.state) == (EntryState.ACTIVE, EntryState.QUARANTINED)
        assert (self.sent.counts.quarantined, self.sent.counts.superseded) == (1, 0)
        assert f"{old.name} matches until this one is released" in waiting.report(self.sent)[0].detail
        assert self.matches(waiting) == [old.id]
        before = waiting.hub.revision()
        released = waiting.hub.entries.release(OPERATOR, "alpha", "list", new.id)
        old, new = self.pair(waiting)
        assert new == released
        assert (old.state, old.reasons) == (EntryState.WITHDRAWN, (Code.SUPERSEDED,))
        assert old.update_revision == new.update_revision == before + 1 == waiting.hub.revision()
        assert self.matches(waiting) == [new.id]
        assert self.feed(waiting, before) == [("UPSERT", new.id), ("WITHDRAW", old.id)]

    def test_is_dropped_and_the_active_one_stays(self, waiting: Desk) -> None:
        old, new = self.pair(waiting)
        before = waiting.hub.revision()
        withdraw(waiting, new)
        assert self.matches(waiting) == [old.id]
        assert self.feed(waiting, before) == [("WITHDRAW", new.id)]

    @pytest.mark.parametrize("replace", [False, True])
    def test_sent_again_it_still_waits(self, waiting: Desk, replace: bool) -> None:
        old, new = self.pair(waiting)
        again = waiting.contribute("alpha/list", item(1, value="9"), item(2, value="1"), replace=replace)
        assert (again.counts.unchanged, again.counts.quarantined) == (1, 1)
        assert (again.counts.absent, again.counts.superseded) == (0, 0)
        assert (old, new) == self.pair(waiting)

    def test_replacing_lists_hold_too(self, waiting: Desk) -> None:
        waiting.contribute("alpha/list", item(1, value="1"), item(2, value="8"), replace=True)
        assert self.matches(waiting, 2)
        # The older one, stated again, is the last word: what waited is out of date.
        old, new = self.pair(waiting)
        assert (old.state, new.state, new.reasons) == (EntryState.ACTIVE, EntryState.WITHDRAWN, (Code.SUPERSEDED,))

    def test_an_accepted_one_replaces_both(self, waiting: Desk) -> None:
        done = waiting.contribute("alpha/list", item(1, value="2"))
        assert (done.counts.accepted, done.counts.superseded) == (1, 2)
        assert self.matches(waiting) == [self.pair(waiting)[1].id]

    def test_another_one_takes_its_place(self, waiting: Desk) -> None:
        waiting.contribute("alpha/list", item(1, value="8"))
        old, new = self.pair(waiting)
        assert self.matches(waiting) == [old.id]
        assert len(waiting.entries("alpha/list", EntryState.QUARANTINED)) == 1
        waiting.hub.entries.release(OPERATOR, "alpha", "list", new.id)
        assert self.matches(waiting) == [new.id]

    def test_a_withdrawal_by_the_contributor_still_ends_it(self, waiting: Desk) -> None:
        withdraw(waiting, self.pair(waiting)[0])
        assert self.matches(waiting) == []
        waiting.hub.entries.release(OPERATOR, "alpha", "list", self.pair(waiting)[1].id)
        assert len(self.matches(waiting)) == 1

    def test_a_contradictory_source_ends_nothing(self, waiting: Desk) -> None:
        """Two conflicting statements of one source wait beside the active one; each may be released, and neither ends
        the other.
        """
        old = self.pair(waiting)[0]
        waiting.contribute("alpha/list", item(1, value="2"), item(1, value="3", position="line 9"))
        assert self.matches(waiting) == [old.id]
        conflicting = [e.id for e in waiting.entries("alpha/list", EntryState.QUARANTINED)]
        assert len(conflicting) == 2
        for entry_id in conflicting:
            waiting.hub.entries.release(OPERATOR, "alpha", "list", entry_id)
        assert self.matches(waiting) == conflicting

    def test_reviews_made_meanwhile_come_along(self, waiting: Desk) -> None:
        old, new = self.pair(waiting)
        dispute(waiting, old)
        waiting.hub.entries.release(OPERATOR, "alpha", "list", new.id)
        assert [r.entry_id for r in reviews(waiting, new)] == [old.id]


class TestTheSameFileAgain:
    FILE = (item(1), item(2))

    def send(self, desk: Desk, *items: Record, **options: Any) -> Import:
        return desk.contribute("alpha/list", *(items or self.FILE), source="file", **options)

    @pytest.mark.parametrize("replace", [False, True])
    def test_does_not_bring_back_what_was_withdrawn_by_hand(self, any_desk: Desk, replace: bool) -> None:
        any_desk.hash_set("alpha/list")
        done = self.send(any_desk, replace=replace)
        assert self.send(any_desk, replace=replace) == done
        withdraw(any_desk, any_desk.entries("alpha/list")[0])
        assert any_desk.known(1, 2) == [2]
        again = self.send(any_desk, replace=replace)
        assert (again.counts.stays_withdrawn, again.counts.unchanged) == (1, 1)
        assert any_desk.known(1, 2) == [2]
        revision = any_desk.hub.revision()
        assert self.send(any_desk, replace=replace) == again
        assert any_desk.hub.revision() == revision

    def test_a_newer_statement_stands(self, any_desk: Desk) -> None:
        any_desk.hash_set("alpha/list")
        done = self.send(any_desk)
        any_desk.contribute("alpha/list", item(1, tags=("newer",)))
        assert self.send(any_desk) == done
        assert any_desk.entries("alpha/list", EntryState.ACTIVE)[-1].tags == ("newer",)

    def test_what_happens_elsewhere_does_not_matter(self, any_desk: Desk) -> None:
        for name in ("alpha/list", "beta/list"):
            any_desk.hash_set(name)
        done = self.send(any_desk)
        any_desk.contribute("beta/list", item(1))
        any_desk.hub.entries.withdraw(
            OPERATOR, "beta", "list", any_desk.entries("beta/list")[0].id, WithdrawalReason.ERROR
        )
        assert self.send(any_desk) == done

    def test_a_quarantine_by_an_operator_is_not_undone(self, any_desk: Desk) -> None:
        any_desk.hash_set("alpha/list")
        done = self.send(any_desk)
        any_desk.hub.entries.quarantine(OPERATOR, "alpha", "list", any_desk.entries("alpha/list")[0].id)
        assert self.send(any_desk) == done
        assert any_desk.known(1, 2) == [2]

    def test_a_later_source_withdrew_it(self, any_desk: Desk) -> None:
        any_desk.hash_set("alpha/list")
        self.send(any_desk)
        any_desk.contribute("alpha/list", item(2), replace=True, allow_shrinking=True)
        assert any_desk.known(1, 2) == [2]
        assert self.send(any_desk).counts.accepted == 1
        assert any_desk.known(1, 2) == [1, 2]


def test_receivers_hear_of_reviews_that_an_entry_takes_over_from_a_withdrawn_one(desk: Desk) -> None:
    """A list that states it again lets them count for it; nothing else about it changes."""
    desk.hash_set("alpha/list", marking=Marking(bulk=True))
    desk.contribute("alpha/list", item(1, external_id="kept"), source="one")
    desk.contribute("alpha/list", item(1, external_id="gone"), source="two")
    gone = next(e for e in desk.entries("alpha/list") if e.external_id == "gone")
    desk.contributor("beta")
    dispute(desk, gone)
    desk.hub.entries.withdraw(OPERATOR, "alpha", "list", gone.id, WithdrawalReason.ERROR)
    who = mirroring()
    admit(desk.hub.store, who)
    receiver = Receiver(desk.hub, who)
    receiver.catch_up()
    assert len(receiver.entries) == 1
    desk.contribute("alpha/list", item(1, external_id="kept"), item(2), source="three")
    assert [r.author for r in reviews(desk, only_named(desk, "kept"))] == ["beta"]
    receiver.catch_up()
    assert (receiver.entries, receiver.sets) == entitled(desk.hub, who)


class TestAnOlderStatementThatStandsAgain:
    """What was said of the item under its newer statements counts for it: nobody sheds it by going back."""

    @pytest.fixture(params=["tags", "named", "bare", "renamed"])
    def replaced(self, request: pytest.FixtureRequest, two: Desk) -> tuple[Desk, Entry, Entry]:
        """Alpha stated a file anew, and beta objects to the newer statement: the older and the newer one."""
        if request.param == "tags":
            stated, anew = item(1), item(1, tags=("new",))
        elif request.param == "named":  # the same id, other hashes
            stated, anew = item(5, external_id="x"), item(5, external_id="x", algorithms=("SHA256",))
        elif request.param == "bare":
            stated, anew = item(5, algorithms=("PDQ",)), item(5, algorithms=("PDQ",), tags=("new",))
        else:  # its source withdrew it, so that nothing took its place
            stated, anew = item(5, external_id="x"), item(5, external_id="y")
        if stated.external_id or "PDQ" in {h.algorithm for h in stated.hashes}:
            two.contribute("alpha/list", stated)
        if request.param == "renamed":
            delete(two, stated)
        two.contribute("alpha/list", anew)
        older, newer = two.entries("alpha/list")[-2:]
        dispute(two, newer)
        return two, older, newer

    def by_hand(self, desk: Desk, older: Entry, newer: Entry) -> None:
        withdraw(desk, newer)
        desk.hub.entries.restore(OPERATOR, "alpha", "list", older.id)

    def test_by_hand(self, replaced: tuple[Desk, Entry, Entry]) -> None:
        desk, older, newer = replaced
        self.by_hand(desk, older, newer)
        assert [r.author for r in reviews(desk, older)] == ["beta"]

    def test_many_at_once(self, replaced: tuple[Desk, Entry, Entry]) -> None:
        desk, older, newer = replaced
        withdraw(desk, newer)
        chosen = Selection(names=(older.name,))
        assert desk.hub.selections.change(OPERATOR, chosen, BulkOrder(EntryAction.RESTORE)).changed == 1
        assert [r.author for r in reviews(desk, older)] == ["beta"]

    def test_receivers_hear_of_it(self, replaced: tuple[Desk, Entry, Entry]) -> None:
        desk, older, newer = replaced
        who = mirroring(Role.OPERATOR)
        admit(desk.hub.store, who)
        receiver = Receiver(desk.hub, who)
        receiver.catch_up()
        self.by_hand(desk, older, newer)
        receiver.catch_up()
        assert (receiver.entries, receiver.sets) == entitled(desk.hub, who)
        assert older.name in receiver.entries

    def test_along_a_chain_of_statements(self, two: Desk) -> None:
        """The first one shares no key with the last."""
        for algorithms in (("MD5",), ("MD5", "SHA256"), ("SHA256",)):
            two.contribute("alpha/list", item(5, algorithms=algorithms))
        older = two.entries("alpha/list")[-3]
        newer = two.entries("alpha/list")[-1]
        dispute(two, newer)
        withdraw(two, newer)
        two.hub.entries.restore(OPERATOR, "alpha", "list", older.id)
        assert [r.author for r in reviews(two, older)] == ["beta"]

    def test_when_an_import_is_reverted(self, two: Desk) -> None:
        older, since = only(two), now()
        two.contribute("alpha/list", item(1, tags=("new",)))
        dispute(two, only(two))
        two.hub.history.revert(OPERATOR, "alpha-desk", since, comment="a mistake")
        assert only(two).id == older.id
        assert two.verdict(1, policy="block") is Verdict.REVIEW

    def test_but_not_what_was_said_of_other_items_or_by_other_hash_sets(self, two: Desk) -> None:
        two.hash_set("alpha/other")
        two.contribute("alpha/other", item(1))
        two.contribute("alpha/list", item(2), item(3, algorithms=("PDQ",)), item(4, algorithms=("PDQ",)))
        dispute(two, two.entries("alpha/other")[0])
        for entry in two.entries("alpha/list")[1:3]:
            dispute(two, entry)
        for number in (0, 3):
            entry = two.entries("alpha/list")[number]
            withdraw(two, entry)
            two.hub.entries.restore(OPERATOR, "alpha", "list", entry.id)
            assert reviews(two, entry) == []


def only_named(desk: Desk, external_id: str) -> Entry:
    (entry,) = (e for e in desk.entries("alpha/list") if e.external_id == external_id)
    return entry
