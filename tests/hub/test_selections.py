"""Many entries at once: what a selection hits, and what is done to all of it."""

from __future__ import annotations

import json
import threading
import time
from datetime import timedelta
from typing import Any

import pytest

from hashhub import cancellation
from hashhub.errors import (
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Reason,
    Unavailable,
)
from hashhub.hub.health import Renewals
from hashhub.hub.selections import BulkOrder
from hashhub.hygiene import Code
from hashhub.model import (
    TLP,
    EntryAction,
    EntryChanges,
    EntryState,
    EventKind,
    Marking,
    Principal,
    Purpose,
    QueueItem,
    QueueKind,
    ReviewKind,
    Role,
    Selection,
    Verdict,
    WithdrawalReason,
)
from tests.hub.conftest import AUDITOR, OPERATOR, PLATFORM, Desk, Open, Stock, digest, item, writer

ALPHA, BETA = writer("alpha"), writer("beta")
COLLEAGUE = Principal(name="alpha-night", role=Role.CONTRIBUTOR, contributor="alpha")
ERROR = WithdrawalReason.ERROR
WITHDRAW, RESTORE = EntryAction.WITHDRAW, EntryAction.RESTORE
QUARANTINE, RELEASE = EntryAction.QUARANTINE, EntryAction.RELEASE


def change(
    desk: Desk,
    who: Principal,
    action: EntryAction,
    *,
    dry: bool = False,
    request_id: str = "",
    order: dict[str, Any] | None = None,
    **criteria: Any,
) -> EntryChanges:
    wanted = BulkOrder(action, ERROR if action is WITHDRAW else None, **(order or {}))
    return desk.hub.selections.change(who, Selection(**criteria), wanted, validate_only=dry, request_id=request_id)


def search(desk: Desk, who: Principal, **criteria: Any) -> list[int]:
    """The numbers of the synthetic files of all entries that are hit, read page by page."""
    entries, after = [], 0
    while True:
        page, after, _ = desk.hub.selections.search(who, Selection(**criteria), 2, after)
        entries += page
        if not after:
            return [int(e.provenance.position.split()[-1]) for e in entries]


def skipped(done: EntryChanges) -> dict[str, int]:
    return {line.reason: line.count for line in done.skipped}


def events(desk: Desk) -> list[tuple[EventKind, str]]:
    page, _ = desk.hub.history.list(AUDITOR, "", "", None, 1000, 0)
    return [(e.kind, e.subject) for e in page if e.kind.startswith(("ENTR", "WITHDRAWAL"))]


def queue(desk: Desk, who: Principal, contributor: str = "") -> dict[tuple[QueueKind, str, str], QueueItem]:
    items = desk.hub.queue.list(who, contributor)
    return {(i.kind, i.hash_set or i.contributor, i.reason): i for i in items}


def fill(desk: Desk) -> None:
    """alpha with two lists, beta with one that has some of the same files."""
    desk.hash_set("alpha/list", scheme="vic-us")
    desk.hash_set("alpha/other", scheme="vic-us")
    desk.hash_set("beta/list", scheme="vic-us", marking=Marking(tlp=TLP.GREEN, bulk=True))
    desk.contribute(
        "alpha/list",
        *(
            item(
                n, value="1" if n % 2 else "2", external_id=f"id-{n}", series="S" if n < 3 else "", tags=("t", f"t{n}")
            )
            for n in range(1, 9)
        ),
        item(9, external_id="id-9"),
    )
    desk.contribute("alpha/other", item(1, value="1"), item(20, value="1"))
    desk.contribute("beta/list", item(1, value="1"), item(30, value="1"), item(31))


@pytest.fixture
def stocked(any_stock: Stock) -> Desk:
    return any_stock(fill)


class TestSearching:
    @pytest.mark.parametrize(
        ("criteria", "hit"),
        [
            ({"hash_set": "alpha/list"}, [*range(1, 10)]),
            ({"contributor": "alpha"}, [*range(1, 10), 1, 20]),
            ({"hashes": (digest("MD5", 1), digest("SHA1", 3))}, [1, 3, 1]),
            ({"hashes": (digest("MD5", 1),), "hash_set": "alpha/other"}, [1]),
            ({"hashes": (digest("MD5", 99),)}, []),
            ({"external_ids": ("id-2", "id-9", "none")}, [2, 9]),
            ({"external_ids": ("id-2", "id-9"), "hashes": (digest("MD5", 2), digest("MD5", 3))}, [2]),
            ({"states": (EntryState.QUARANTINED,)}, [9]),
            ({"reasons": ("UNCLASSIFIED",)}, [9]),
            ({"series": ("S",)}, [1, 2]),
            ({"tags": ("t4", "t5")}, [4, 5]),
            ({"text": "ID-7"}, [7]),
            ({"hash_set": "alpha/list", "dimensions": {"verdict": ("csam",)}}, [1, 3, 5, 7]),
            ({"hash_set": "alpha/list", "dimensions": {"verdict": ("unclassified",)}}, []),
        ],
    )  # fmt: skip
    def test_by_each_criterion(self, stocked: Desk, criteria: dict[str, Any], hit: list[int]) -> None:
        assert search(stocked, ALPHA, **{"contributor": "alpha", **criteria}) == hit

    def test_by_import_and_by_name(self, stocked: Desk) -> None:
        entries = stocked.entries("alpha/list")
        source = f"alpha/list/{entries[0].provenance.import_id}"
        assert search(stocked, ALPHA, imports=(source,)) == [*range(1, 10)]
        assert search(stocked, ALPHA, imports=(source,), tags=("t3",)) == [3]
        assert search(stocked, ALPHA, names=(entries[1].name, entries[4].name)) == [2, 5]
        with pytest.raises(NotFound):
            search(stocked, ALPHA, imports=("alpha/list/none",))

    def test_goes_by_meaning(self, stocked: Desk) -> None:
        value_1 = stocked.entries("alpha/list")[0].classification
        assert value_1 is not None
        dimensions = {name: values for name, values in value_1.dimensions.items() if name == "age_band"}
        assert set(search(stocked, ALPHA, hash_set="alpha/list", dimensions=dimensions)) >= {1, 3, 5, 7}
        with pytest.raises(InvalidArgument, match="dimension"):
            search(stocked, ALPHA, hash_set="alpha/list", dimensions={"colour": ("red",)})

    def test_shows_of_others_what_their_terms_let_it_list(self, stocked: Desk) -> None:
        md5 = (digest("MD5", 1), digest("MD5", 31))
        assert search(stocked, BETA, hashes=md5) == [1, 31]  # none of alpha's, whose terms allow no lists
        assert search(stocked, ALPHA, hashes=md5) == [1, 1, 1]  # not beta's quarantined one
        assert search(stocked, OPERATOR, hashes=md5) == [1, 1, 1, 31]
        assert search(stocked, ALPHA, hash_set="beta/list") == [1, 30]
        with pytest.raises(NotFound):
            search(stocked, BETA, hash_set="alpha/list")
        with pytest.raises(NotFound):
            search(stocked, BETA, hash_set="alpha/none")
        with pytest.raises(PermissionDenied):
            search(stocked, PLATFORM, hashes=md5)

    def test_does_not_tell_others_of_requests(self, stocked: Desk) -> None:
        ids = [e.id for e in stocked.entries("beta/list")]
        assert change(stocked, BETA, WITHDRAW, hash_set="beta/list").pending == 3
        assert search(stocked, BETA, reasons=("WITHDRAWAL_PENDING",), hash_set="beta/list") == [1, 30, 31]
        assert search(stocked, ALPHA, reasons=("WITHDRAWAL_PENDING",), hash_set="beta/list") == []
        page, _, _ = stocked.hub.selections.search(ALPHA, Selection(hash_set="beta/list"), 10, 0)
        assert [e.id for e in page] == ids[:2]
        assert all(e.withdrawal is None and not e.reasons for e in page)

    def test_nothing_is_no_selection(self, stocked: Desk) -> None:
        with pytest.raises(InvalidArgument):
            search(stocked, OPERATOR)
        for who in (OPERATOR, ALPHA):
            nothing: list[dict[str, Any]] = [{}, {"contributor": "alpha"}]
            for criteria in nothing:
                with pytest.raises(InvalidArgument):
                    change(stocked, who, WITHDRAW, **criteria)
        assert len(stocked.entries("alpha/list", EntryState.ACTIVE)) == 8

    def test_looks_at_hidden_entries_no_more_than_at_unknown_ones(self, stocked: Desk) -> None:
        stocked.contribute("alpha/list", *[item(n, external_id=f"hidden {n}") for n in range(1_000, 1_200)])
        name = "alpha/list/{}".format

        def answers(first: int, last: int) -> list[tuple[int, int, int]]:
            asked: list[dict[str, Any]] = [
                selected
                for n in range(first, last)
                for selected in (
                    {"hashes": (digest("MD5", n),)},
                    {"external_ids": (f"hidden {n}",)},
                    {"names": (name(n - 990),)},  # of the hidden ones, 10 to 209
                )
            ]
            pages = [stocked.hub.selections.search(BETA, Selection(**x), 10, 0) for x in asked]
            return [(len(page.entries), page.after, page.looked_at) for page in pages]

        assert stocked.hub.entries.get(ALPHA, "alpha", "list", 209).external_id == "hidden 1199"
        hidden = answers(1_000, 1_200)
        assert hidden == answers(5_000, 5_200) == [(0, 0, 0)] * 600

    def test_a_search_without_an_index_is_cut_into_pages(self, stocked: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("hashhub.hub.selections.LOOKED_AT", 3)
        monkeypatch.setattr("hashhub.store.entry_selector.PIECE", 2)
        first = stocked.hub.selections.search(ALPHA, Selection(hash_set="alpha/list", tags=("t8",)), 10, 0)
        assert (first.entries, first.looked_at) == ([], 4)
        assert first.after
        assert search(stocked, ALPHA, hash_set="alpha/list", tags=("t8",)) == [8]


class TestWithdrawing:
    def test_is_one_event_for_all(self, stocked: Desk) -> None:
        before = len(events(stocked))
        would = change(stocked, OPERATOR, WITHDRAW, dry=True, hash_set="alpha/list", tags=("t",))
        assert (would.selected, would.changed, would.revision, would.validate_only) == (8, 8, 0, True)
        assert would.examples[0] == stocked.entries("alpha/list")[0].name
        assert len(events(stocked)) == before
        done = change(stocked, OPERATOR, WITHDRAW, hash_set="alpha/list", tags=("t",))
        assert (done.selected, done.changed) == (8, 8)
        assert events(stocked)[0] == (EventKind.ENTRIES_WITHDRAWN, "hash-sets/alpha/list")
        assert len(events(stocked)) == before + 1
        gone = stocked.entries("alpha/list", EntryState.WITHDRAWN)
        assert {(e.update_revision, e.reasons, e.withdrawal.reason if e.withdrawal else None) for e in gone} == {
            (done.revision, ("WITHDRAWN_BY_OPERATOR",), ERROR)
        }
        assert stocked.known(2, 3, 4) == []
        assert stocked.known(1) == [1]  # alpha/other and beta state it too

    def test_stays_withdrawn(self, stocked: Desk) -> None:
        change(stocked, OPERATOR, WITHDRAW, external_ids=("id-2", "id-3"), contributor="alpha")
        again = stocked.contribute("alpha/list", *(item(n, value="2", external_id=f"id-{n}") for n in (2, 3, 4)))
        assert again.counts.stays_withdrawn == 2

    def test_the_daily_number_goes_by_the_sum(self, stocked: Desk) -> None:
        names = tuple(e.name for e in stocked.entries("alpha/list")[:2])
        done = change(stocked, ALPHA, WITHDRAW, names=names)
        assert (done.changed, done.pending) == (0, 2)
        assert events(stocked)[0] == (EventKind.WITHDRAWAL_ASKED, "hash-sets/alpha/list")
        assert stocked.known(1, 2) == [1, 2]
        again = change(stocked, ALPHA, WITHDRAW, names=names)
        assert (again.changed, again.pending, skipped(again)) == (0, 0, {"WITHDRAWAL_PENDING": 2})
        agreed = change(stocked, COLLEAGUE, WITHDRAW, names=names)
        assert (agreed.changed, agreed.pending) == (2, 0)
        assert stocked.known(2) == []
        gone = stocked.entries("alpha/list", EntryState.WITHDRAWN)
        assert {e.withdrawal.actor for e in gone if e.withdrawal} == {ALPHA.name}
        assert change(stocked, ALPHA, WITHDRAW, names=names).changed == 0

    def test_one_is_let_through_as_the_first_of_a_day(self, stocked: Desk) -> None:
        assert change(stocked, ALPHA, WITHDRAW, external_ids=("id-2",), hash_set="alpha/list").changed == 1

    def test_what_is_agreed_to_and_what_is_asked_for_are_two_events(self, stocked: Desk) -> None:
        change(stocked, ALPHA, WITHDRAW, external_ids=("id-2", "id-3"), hash_set="alpha/list")
        done = change(stocked, COLLEAGUE, WITHDRAW, external_ids=("id-2", "id-3", "id-4"), hash_set="alpha/list")
        assert (done.changed, done.pending) == (2, 1)
        assert [kind for kind, _ in events(stocked)[:2]] == [EventKind.WITHDRAWAL_ASKED, EventKind.ENTRIES_WITHDRAWN]

    def test_nobody_reaches_what_is_not_theirs(self, stocked: Desk) -> None:
        done = change(stocked, BETA, WITHDRAW, dry=True, hashes=(digest("MD5", 1), digest("MD5", 20)))
        assert (done.selected, done.unmatched, done.unmatched_examples) == (1, 1, (digest("MD5", 20).text,))
        assert done == change(stocked, BETA, WITHDRAW, dry=True, hashes=(digest("MD5", 1), digest("MD5", 20)))
        nowhere = change(stocked, BETA, WITHDRAW, dry=True, hashes=(digest("MD5", 999),))
        alphas = change(stocked, BETA, WITHDRAW, dry=True, hashes=(digest("MD5", 20),))
        assert (nowhere.selected, nowhere.unmatched) == (alphas.selected, alphas.unmatched) == (0, 1)
        others: list[dict[str, Any]] = [
            {"hash_set": "alpha/list"},
            {"names": (stocked.entries("alpha/list")[0].name,)},
            {"imports": ("alpha/list/any",)},
            {"contributor": "alpha", "reasons": ("UNCLASSIFIED",)},
        ]
        for criteria in others:
            with pytest.raises(PermissionDenied):
                change(stocked, BETA, WITHDRAW, **criteria)
        for who in (PLATFORM, AUDITOR):
            with pytest.raises(PermissionDenied):
                change(stocked, who, WITHDRAW, hash_set="alpha/list")
        for action in (QUARANTINE, RELEASE):
            with pytest.raises(PermissionDenied):
                change(stocked, ALPHA, action, hash_set="alpha/list")
        assert len(stocked.entries("alpha/list", EntryState.ACTIVE)) == 8

    def test_is_of_one_contributor(self, stocked: Desk) -> None:
        with pytest.raises(InvalidArgument, match=r"alpha \(2\), beta \(1\)"):
            change(stocked, OPERATOR, WITHDRAW, hashes=(digest("MD5", 1),))
        done = change(stocked, OPERATOR, WITHDRAW, hashes=(digest("MD5", 1),), contributor="alpha")
        assert done.changed == 2
        assert events(stocked)[0] == (EventKind.ENTRIES_WITHDRAWN, "contributors/alpha")

    def test_refuses_when_there_are_more_than_expected(self, stocked: Desk) -> None:
        stocked.contribute("alpha/list", item(10, value="1", tags=("t",)))
        with pytest.raises(FailedPrecondition) as refused:
            change(stocked, OPERATOR, WITHDRAW, tags=("t",), hash_set="alpha/list", order={"expected_count": 8})
        assert refused.value.reason is Reason.SELECTION_GREW
        done = change(stocked, OPERATOR, WITHDRAW, tags=("t",), hash_set="alpha/list", order={"expected_count": 9})
        assert done.changed == 9

    def test_of_the_person_shown_takes_the_same_items_along(self, stocked: Desk) -> None:
        wanted = BulkOrder(WITHDRAW, WithdrawalReason.REQUESTED_BY_PERSON_SHOWN)
        chosen = Selection(external_ids=("id-1", "id-2"), hash_set="alpha/list")
        done = stocked.hub.selections.change(ALPHA, chosen, wanted)
        assert (done.changed, done.pending, done.also) == (2, 0, 1)
        assert [e.provenance.position for e in stocked.entries("alpha/other", EntryState.WITHDRAWN)] == ["line 1"]

    def test_a_firmer_hold_takes_the_place_of_a_weaker_one(self, stocked: Desk) -> None:
        change(stocked, ALPHA, WITHDRAW, external_ids=("id-2",), hash_set="alpha/list")
        done = change(stocked, OPERATOR, WITHDRAW, external_ids=("id-2", "id-3"), hash_set="alpha/list")
        assert (done.changed, skipped(done)) == (2, {})
        held = stocked.entries("alpha/list", EntryState.WITHDRAWN)[0]
        with pytest.raises(PermissionDenied):
            stocked.hub.entries.restore(ALPHA, "alpha", "list", held.id)

    def test_a_repeated_request_is_one(self, stocked: Desk) -> None:
        first = change(stocked, OPERATOR, WITHDRAW, hash_set="alpha/list", request_id="r1")
        count = len(events(stocked))
        again = change(stocked, OPERATOR, WITHDRAW, hash_set="alpha/list", request_id="r1")
        assert (again.changed, again.revision) == (first.changed, first.revision)
        assert len(events(stocked)) == count

    def test_says_what_was_not_there(self, stocked: Desk) -> None:
        done = change(
            stocked, OPERATOR, WITHDRAW, dry=True, contributor="alpha",
            external_ids=("id-2", "no-such"),
        )  # fmt: skip
        assert (done.selected, done.unmatched, done.unmatched_examples) == (1, 1, ("no-such",))
        none = change(stocked, OPERATOR, WITHDRAW, dry=True, names=("alpha/list/999999",))
        assert (none.selected, none.unmatched_examples) == (0, ("alpha/list/999999",))

    def test_a_call_that_nobody_waits_for_does_nothing(self, stocked: Desk) -> None:
        with cancellation.scope(lambda: False), pytest.raises(Unavailable):
            change(stocked, OPERATOR, WITHDRAW, hash_set="alpha/list")
        assert len(stocked.entries("alpha/list", EntryState.ACTIVE)) == 8


class TestTakingBack:
    def test_restores_what_was_withdrawn_and_what_was_asked_for(self, stocked: Desk) -> None:
        change(stocked, ALPHA, WITHDRAW, external_ids=("id-2",), hash_set="alpha/list")
        change(stocked, ALPHA, WITHDRAW, external_ids=("id-3", "id-4"), hash_set="alpha/list")
        change(stocked, OPERATOR, WITHDRAW, external_ids=("id-5",), hash_set="alpha/list")
        done = change(stocked, ALPHA, RESTORE, hash_set="alpha/list")
        assert (done.selected, done.changed, skipped(done)) == (4, 3, {"ROLE_NOT_ALLOWED": 1})
        assert stocked.known(2, 3, 4, 5) == [2, 3, 4]
        assert not [e for e in stocked.entries("alpha/list") if "WITHDRAWAL_PENDING" in e.reasons]
        assert change(stocked, OPERATOR, RESTORE, hash_set="alpha/list").changed == 1
        assert stocked.known(5) == [5]

    def test_leaves_what_is_stated_again_or_erased(self, stocked: Desk) -> None:
        stocked.contribute("alpha/list", item(2, value="1", external_id="id-2"))  # supersedes
        change(stocked, OPERATOR, WITHDRAW, external_ids=("id-3",), hash_set="alpha/list")
        (gone,) = [e for e in stocked.entries("alpha/list") if e.external_id == "id-3"]
        stocked.hub.entries.erase(OPERATOR, "alpha", "list", gone.id)
        done = change(stocked, OPERATOR, RESTORE, hash_set="alpha/list")
        assert (done.changed, skipped(done)) == (0, {"ERASED": 1, "SUPERSEDED": 1})

    def test_what_is_held_in_one_set_stays_out_of_another(self, stocked: Desk) -> None:
        """An operator's hold stands in all sets of the contributor, so another set's entry is not restored either."""
        change(stocked, ALPHA, WITHDRAW, hashes=(digest("MD5", 1),), hash_set="alpha/other")
        change(stocked, OPERATOR, WITHDRAW, external_ids=("id-1",), hash_set="alpha/list")
        done = change(stocked, ALPHA, RESTORE, hash_set="alpha/other")
        assert (done.changed, skipped(done)) == (0, {"ROLE_NOT_ALLOWED": 1})
        assert change(stocked, OPERATOR, RESTORE, hash_set="alpha/other").changed == 1

    def test_quarantine_and_release(self, stocked: Desk) -> None:
        done = change(stocked, OPERATOR, QUARANTINE, hash_set="alpha/list")
        assert (done.selected, done.changed) == (9, 9)
        assert stocked.known(2, 3) == []
        assert skipped(change(stocked, OPERATOR, QUARANTINE, hash_set="alpha/list")) == {"QUARANTINED": 9}
        released = change(stocked, OPERATOR, RELEASE, hash_set="alpha/list", tags=("t",))
        assert released.changed == 8
        assert stocked.known(2, 3) == [2, 3]
        assert events(stocked)[0] == (EventKind.ENTRIES_RELEASED, "hash-sets/alpha/list")
        # What said nothing of itself is no claim of harm, however it is released.
        change(stocked, OPERATOR, RELEASE, hash_set="alpha/list")
        (undecided,) = [e for e in stocked.entries("alpha/list") if e.external_id == "id-9"]
        assert (undecided.state, undecided.reasons) == (EntryState.ACTIVE, ("UNCLASSIFIED",))

    def test_a_release_replaces_what_its_import_would_have_replaced(self, stocked: Desk) -> None:
        stocked.contribute(
            "alpha/list", item(2, external_id="id-2"), item(3, external_id="id-3"), has_classifications=True
        )
        done = change(stocked, OPERATOR, RELEASE, external_ids=("id-2", "id-3"), hash_set="alpha/list")
        assert (done.changed, done.also, skipped(done)) == (2, 2, {"ACTIVE": 2})
        newest = [e for e in stocked.entries("alpha/list", EntryState.ACTIVE) if e.external_id in {"id-2", "id-3"}]
        assert len(newest) == 2

    @pytest.mark.parametrize("action", list(EntryAction))
    def test_a_revert_undoes_it(self, stocked: Desk, action: EntryAction) -> None:
        criteria: dict[str, Any] = {"hash_set": "alpha/list"}
        if action is RESTORE:
            change(stocked, OPERATOR, WITHDRAW, **criteria)
        thief = Principal(name="thief", role=Role.OPERATOR, contributor="operator")
        before = [(e.id, e.state, e.reasons) for e in stocked.entries("alpha/list")]
        since = stocked.hub.history.list(AUDITOR, "", "", None, 1, 0)[0][0].time
        assert change(stocked, thief, action, **criteria).changed
        assert [(e.id, e.state, e.reasons) for e in stocked.entries("alpha/list")] != before
        would = stocked.hub.history.revert(OPERATOR, "thief", since, validate_only=True)
        done = stocked.hub.history.revert(OPERATOR, "thief", since, comment="stolen")
        assert [x.reverted for x in done] == [x.reverted for x in would] == [True]
        states = [(i, state) for i, state, _ in before]
        assert [(e.id, e.state) for e in stocked.entries("alpha/list")] == states

    def test_a_request_under_a_quarantine_is_taken_back(self, stocked: Desk) -> None:
        """It waited on, and the remark came back with the release."""
        since = stocked.hub.history.list(AUDITOR, "", "", None, 1, 0)[0][0].time
        assert change(stocked, ALPHA, WITHDRAW, external_ids=("id-2", "id-3"), hash_set="alpha/list").pending == 2
        change(stocked, OPERATOR, QUARANTINE, external_ids=("id-2",), hash_set="alpha/list")
        (line,) = stocked.hub.history.revert(OPERATOR, ALPHA.name, since, comment="stolen", withdrawals_only=True)
        assert (line.reverted, line.entry_count) == (True, 2)
        assert not [kind for kind, *_ in queue(stocked, ALPHA) if kind is QueueKind.WITHDRAWAL_PENDING]
        (event,) = [e for e in stocked.hub.history.list(AUDITOR, "", "", None, 3, 0)[0] if e.reason == "REVERT"]
        assert event.facts["entries"] == 2
        change(stocked, OPERATOR, RELEASE, external_ids=("id-2",), hash_set="alpha/list")
        assert stocked.known(2, 3) == [2, 3]
        assert not [e for e in stocked.entries("alpha/list") if "WITHDRAWAL_PENDING" in e.reasons]

    def test_a_revert_takes_requests_back(self, stocked: Desk) -> None:
        since = stocked.hub.history.list(AUDITOR, "", "", None, 1, 0)[0][0].time
        change(stocked, ALPHA, WITHDRAW, hash_set="alpha/list")
        (line,) = stocked.hub.history.revert(OPERATOR, ALPHA.name, since, comment="stolen", withdrawals_only=True)
        assert (line.reverted, line.entry_count) == (True, 9)
        assert not [e for e in stocked.entries("alpha/list") if "WITHDRAWAL_PENDING" in e.reasons]


class TestLarge:
    @pytest.fixture
    def many(self, any_desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Desk:
        """As though 20 entries were many: what is large is settled afterwards."""
        for name in ("entry_writes.LARGE", "feeds.LARGE"):
            monkeypatch.setattr(f"hashhub.store.{name}", 5)
        monkeypatch.setattr("hashhub.store.entry_writes.PIECE", 3)
        monkeypatch.setattr("hashhub.store.entry_transitions.CHANGE_IDS", 7)
        any_desk.hash_set("alpha/list")
        any_desk.contribute("alpha/list", *(item(n) for n in range(20)))
        return any_desk

    def test_reads_as_it_will_be_written(self, many: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(
                "hashhub.store.entry_writes.DeferredWithdrawals.settle_due", lambda *_: None
            )  # as if it were killed
            done = change(many, OPERATOR, WITHDRAW, hash_set="alpha/list")
            assert done.changed == 20
            assert many.known(*range(20)) == []
            unsettled = many.entries("alpha/list")
            assert search(many, ALPHA, hash_set="alpha/list", states=(EntryState.WITHDRAWN,)) == list(range(20))
            assert change(many, OPERATOR, WITHDRAW, hash_set="alpha/list").selected == 0
        many.hub.store.commits.settle()
        assert many.entries("alpha/list") == unsettled
        assert {e.withdrawal.reason for e in unsettled if e.withdrawal} == {ERROR}
        assert len(many.hub.store.holds.of_set("alpha", "list")) == 20
        assert change(many, OPERATOR, RESTORE, hash_set="alpha/list").changed == 20
        assert many.known(*range(20)) == list(range(20))

    def test_an_operators_hold_stands_in_all_sets_before_it_is_written(
        self, many: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        many.hash_set("alpha/second")
        with monkeypatch.context() as patch:
            patch.setattr("hashhub.store.entry_writes.DeferredWithdrawals.settle_due", lambda *_: None)
            change(many, OPERATOR, WITHDRAW, hash_set="alpha/list")
        assert many.contribute("alpha/second", item(3), item(40)).counts.stays_withdrawn == 1

    def test_entries_that_moved_since_they_were_chosen_are_looked_at_again(
        self, many: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        entries = many.entries("alpha/list")
        choose = many.hub.store.selector.choose

        def choose_late(*arguments: Any) -> Any:
            chosen = choose(*arguments)
            many.hub.entries.withdraw(OPERATOR, "alpha", "list", entries[0].id, WithdrawalReason.FALSE_POSITIVE)
            return chosen

        monkeypatch.setattr(many.hub.store.selector, "choose", choose_late)
        done = change(many, OPERATOR, WITHDRAW, hash_set="alpha/list")
        assert (done.selected, done.changed, skipped(done)) == (20, 19, {"WITHDRAWN": 1})
        first = many.hub.entries.get(OPERATOR, "alpha", "list", entries[0].id)
        assert first.withdrawal is not None
        assert first.withdrawal.reason is WithdrawalReason.FALSE_POSITIVE


def test_a_restored_backup_is_told_again(open_hub: Open, tmp_path: Any) -> None:
    """Withdrawals of many are in the log outside the database, with those that were only held more firmly."""
    desk = Desk(open_hub())
    desk.hash_set("alpha/list")
    desk.contribute("alpha/list", *(item(n, external_id=f"id-{n}") for n in range(4)))
    change(desk, ALPHA, WITHDRAW, external_ids=("id-0",), hash_set="alpha/list")
    change(desk, OPERATOR, WITHDRAW, external_ids=("id-0", "id-1", "id-2"), hash_set="alpha/list")
    log = (tmp_path / "data" / "withdrawals.log").read_text("utf-8").splitlines()
    assert sum(len(json.loads(line).get("traces", ())) for line in log) == 4


class TestQueue:
    def test_says_what_waits(self, stocked: Desk) -> None:
        names = tuple(e.name for e in stocked.entries("alpha/list")[:2])
        change(stocked, ALPHA, WITHDRAW, names=names)
        target = stocked.entries("alpha/list")[3]
        stocked.hub.reviews.create(BETA, "beta", "list", stocked.entries("beta/list")[0].id, ReviewKind.CONFIRMED)
        stocked.hub.reviews.create(OPERATOR, "alpha", "list", target.id, ReviewKind.FALSE_POSITIVE)
        waiting = queue(stocked, ALPHA)
        assert waiting[QueueKind.QUARANTINED, "alpha/list", "UNCLASSIFIED"].count == 1
        asked = waiting[QueueKind.WITHDRAWAL_PENDING, "alpha/list", ""]
        assert (asked.count, asked.actor, asked.name) == (2, ALPHA.name, names[0])
        objection = waiting[QueueKind.OBJECTION, "alpha/list", "FALSE_POSITIVE"]
        assert (objection.count, objection.name) == (1, target.name)
        assert {kind for kind, *_ in waiting} == {
            QueueKind.QUARANTINED,
            QueueKind.WITHDRAWAL_PENDING,
            QueueKind.OBJECTION,
        }

    def test_is_ones_own(self, stocked: Desk) -> None:
        assert {i.contributor for i in stocked.hub.queue.list(BETA)} == {"beta"}
        assert {i.contributor for i in stocked.hub.queue.list(OPERATOR)} == {"alpha", "beta"}
        assert {i.contributor for i in stocked.hub.queue.list(AUDITOR, "beta")} == {"beta"}
        with pytest.raises(PermissionDenied):
            stocked.hub.queue.list(BETA, "alpha")
        with pytest.raises(PermissionDenied):
            stocked.hub.queue.list(PLATFORM)
        with pytest.raises(NotFound):
            stocked.hub.queue.list(OPERATOR, "nobody")

    def test_where_nothing_waits_nothing_is_asked(self, stocked: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        """It asked the database seven times for each hash set of the hub, whatever there was."""
        database = stocked.hub.store.database
        asked: list[str] = []
        fetch = database.fetch

        def counting(sql: str, parameters: tuple[Any, ...] = ()) -> Any:
            if threading.current_thread() is threading.main_thread():
                asked.append(sql)
            return fetch(sql, parameters)

        monkeypatch.setattr(database, "fetch", counting)

        def statements(who: Principal, contributor: str = "") -> int:
            asked.clear()
            stocked.hub.queue.list(who, contributor)
            return len(asked)

        statements(ALPHA)  # what changed since is read
        of_alpha, of_one, of_all = statements(ALPHA), statements(OPERATOR, "alpha"), statements(OPERATOR)
        for number in range(10):
            stocked.hash_set(f"alpha/more-{number}")
            stocked.hash_set(f"gamma/more-{number}")
        statements(ALPHA)
        assert statements(ALPHA) == of_alpha
        assert statements(OPERATOR, "alpha") == of_one + 10, "what awaits acceptance is looked up by hash set"
        assert statements(OPERATOR) == of_all + 20

    def test_empties(self, stocked: Desk) -> None:
        change(stocked, OPERATOR, RELEASE, contributor="alpha", reasons=(Code.UNCLASSIFIED,))
        assert not queue(stocked, ALPHA)

    def test_open_imports_are_told_once_nobody_goes_on_with_them(
        self, stocked: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        opened = stocked.add(stocked.open("alpha/list"), [item(50), item(51)])
        assert not [kind for kind, *_ in queue(stocked, ALPHA) if kind is QueueKind.OPEN_IMPORT]
        monkeypatch.setattr("hashhub.hub.queue.PREPARING", timedelta(days=-1))
        waiting = queue(stocked, ALPHA)[QueueKind.OPEN_IMPORT, "alpha/list", ""]
        assert (waiting.name, waiting.count) == (f"alpha/list/{opened.id}", 2)

    def test_a_list_that_is_not_renewed_is_told(self, stocked: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        day = 86_400.0
        # Not the hub's own, which a thread of its looks up meanwhile.
        renewals = Renewals(stocked.hub.store)
        renewals.intervals = {"alpha/list": (time.time() - 3 * day, day), "beta/list": (time.time() - day / 2, day)}
        monkeypatch.setattr(stocked.hub.renewals, "at", renewals.at)
        late = [item for item in stocked.hub.queue.list(OPERATOR) if item.kind is QueueKind.OVERDUE]
        assert [item.hash_set for item in late] == ["alpha/list"]

    def test_what_awaits_acceptance_is_told_to_operators(self, stocked: Desk) -> None:
        stocked.hash_set("alpha/benign", purpose=Purpose.BENIGN)
        stocked.contribute("alpha/benign", item(60), item(61))
        key = (QueueKind.AWAITS_ACCEPTANCE, "alpha/benign", "")
        assert queue(stocked, OPERATOR)[key].count == 2
        assert key not in queue(stocked, ALPHA)
        stocked.hub.hash_sets.accept(OPERATOR, "alpha", "benign", stocked.hub.revision())
        assert key not in queue(stocked, OPERATOR)


def test_verdicts_are_those_of_single_withdrawals(desk: Desk) -> None:
    desk.hash_set("alpha/list")
    desk.contribute("alpha/list", *(item(n) for n in range(3)))
    change(desk, OPERATOR, WITHDRAW, hash_set="alpha/list")
    assert {desk.verdict(n) for n in range(3)} == {Verdict.NO_MATCH}


def test_examples_come_in_the_order_of_their_numbers_whatever_order_the_database_has(stocked: Desk) -> None:
    for number in (7, 3, 5, 1):  # by which PostgreSQL keeps the rows anew
        change(stocked, OPERATOR, WITHDRAW, external_ids=(f"id-{number}",))
    restored = change(stocked, OPERATOR, RESTORE, hash_set="alpha/list", states=(EntryState.WITHDRAWN,))
    assert [int(name.rpartition("/")[2]) for name in restored.examples] == [1, 3, 5, 7]
