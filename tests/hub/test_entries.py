"""Withdrawn by hand: with a reason, by one or by two, held against lists, restored, erased; and what outsiders are told
of it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from hashhub.errors import FailedPrecondition, InvalidArgument, PermissionDenied
from hashhub.hub import entries as module
from hashhub.hub.access import disclosed
from hashhub.model import (
    Action,
    Entry,
    EntryState,
    Principal,
    Record,
    ReviewKind,
    Role,
    Verdict,
    WithdrawalReason,
    now,
)
from hashhub.store import DailyLimit, Origin, withdrawal_requests
from tests.hub.conftest import AUDITOR, OPERATOR, PLATFORM, Desk, Stock, digest, item, writer

SECOND = Principal(name="alpha-second", role=Role.CONTRIBUTOR, contributor="alpha")
ALPHA = writer("alpha")
BETA = writer("beta")


def entry_of(desk: Desk, number: int, name: str = "alpha/list") -> Entry:
    """The newest entry about the synthetic file with this number."""
    return [e for e in desk.entries(name) if digest("MD5", number) in e.hashes][-1]


def withdraw(
    desk: Desk, number: int, who: Principal = ALPHA, reason: str = "ERROR", comment: str = "", **options: Any
) -> Entry:
    entry = entry_of(desk, number)
    return desk.hub.entries.withdraw(who, "alpha", "list", entry.id, WithdrawalReason(reason), comment, **options)


def restore(desk: Desk, entry: Entry, who: Principal = ALPHA, comment: str = "") -> Entry:
    return desk.hub.entries.restore(who, entry.contributor, entry.hash_set, entry.id, comment)


def fill(desk: Desk) -> None:
    desk.hash_set("alpha/list")
    desk.contributor("beta")
    desk.contribute("alpha/list", *(item(n) for n in range(1, 6)))


@pytest.fixture
def listed(any_stock: Stock) -> Desk:
    return any_stock(fill)


class TestReasons:
    def test_are_kept_with_who_and_why(self, listed: Desk) -> None:
        done = withdraw(listed, 1, reason="OTHER", comment="the file is a logo")
        assert done.withdrawal is not None
        assert done.withdrawal.reason is WithdrawalReason.OTHER
        assert (done.withdrawal.actor, done.withdrawal.comment) == ("alpha-desk", "the file is a logo")
        assert done.withdrawal.revision == done.update_revision == listed.hub.revision()
        assert done == entry_of(listed, 1)
        assert listed.known(1, 2) == [2]

    def test_other_needs_a_comment(self, listed: Desk) -> None:
        with pytest.raises(InvalidArgument, match="must say why"):
            withdraw(listed, 1, reason="OTHER", comment=" ")
        assert listed.known(1) == [1]

    def test_twice_is_a_success_that_changes_nothing(self, listed: Desk) -> None:
        done = withdraw(listed, 1)
        before = listed.hub.revision()
        assert withdraw(listed, 1, reason="FALSE_POSITIVE") == done
        assert listed.hub.revision() == before

    def test_a_firmer_word_holds_more_firmly(self, listed: Desk) -> None:
        """Whose entry fell out of the list, or was withdrawn by its contributor, can still be held at the wish of the
        person shown.
        """
        withdraw(listed, 1)
        done = withdraw(listed, 1, reason="REQUESTED_BY_PERSON_SHOWN")
        assert done.withdrawal is not None
        assert done.withdrawal.reason is WithdrawalReason.REQUESTED_BY_PERSON_SHOWN
        with pytest.raises(PermissionDenied, match="only an operator"):
            restore(listed, done)

    def test_what_was_superseded_is_not_the_one_to_withdraw(self, listed: Desk) -> None:
        old = entry_of(listed, 1)
        listed.contribute("alpha/list", item(1, tags=("new",)))
        new = entry_of(listed, 1)
        assert new.id != old.id
        with pytest.raises(FailedPrecondition, match=new.name):
            listed.hub.entries.withdraw(ALPHA, "alpha", "list", old.id, WithdrawalReason.ERROR)
        assert listed.hub.entries.get(ALPHA, "alpha", "list", old.id).successors == (new.name,)
        assert listed.hub.entries.get(ALPHA, "alpha", "list", new.id).predecessors == (old.name,)


def _fill_several(desk: Desk) -> None:
    for name in ("alpha/list", "alpha/other", "alpha/third", "beta/list"):
        desk.hash_set(name)
    both = [item(1, external_id=i, position=i) for i in ("a", "b")]
    desk.contribute("alpha/list", *both, item(2), item(3, external_id="a2"))
    desk.contribute("alpha/other", item(1, algorithms=("SHA1",)), item(2), item(4, external_id="a"))
    desk.contribute("alpha/third", item(5), item(6))
    desk.contribute("beta/list", item(1), item(2))


class TestThePersonShown:
    @pytest.fixture
    def several(self, any_stock: Stock) -> Desk:
        return any_stock(_fill_several)

    def live(self, desk: Desk, number: int) -> list[str]:
        return sorted(
            f"{e.contributor}/{e.hash_set}"
            for name in ("alpha/list", "alpha/other", "alpha/third", "beta/list")
            for e in desk.entries(name, EntryState.ACTIVE)
            if {digest("MD5", number), digest("SHA1", number)} & set(e.hashes)
        )

    def test_all_of_its_contributors_entries_are_withdrawn_with_it(self, several: Desk) -> None:
        before = several.hub.revision()
        done = withdraw(several, 1, reason="REQUESTED_BY_PERSON_SHOWN")
        assert several.hub.revision() == before + 1
        assert self.live(several, 1) == ["beta/list"]
        assert len(several.match(digest("SHA1", 1)).matches) == 1
        event = several.hub.history.list(ALPHA, f"entries/{done.name}", "", None, 1, 0)[0][0]
        withdrawn = [e for name in ("alpha/list", "alpha/other") for e in several.entries(name, EntryState.WITHDRAWN)]
        others = sorted(f"entries/{e.name}" for e in withdrawn if e.id != done.id)
        assert event.facts["also"] == tuple(others)
        assert event.facts["entries"] == len(withdrawn) == 3
        for entry in withdrawn:
            assert entry.withdrawal is not None
            assert entry.withdrawal.reason is WithdrawalReason.REQUESTED_BY_PERSON_SHOWN
            with pytest.raises(PermissionDenied):
                restore(several, entry)
            again = several.contribute(f"alpha/{entry.hash_set}", item(1, external_id=entry.external_id))
            assert again.counts.stays_withdrawn == 1
        for outsider in (BETA,):
            shown = several.hub.history.list(outsider, f"entries/{done.name}", "", None, 1, 0)[0]
            assert [e.facts for e in shown] == [{}]
        assert withdraw(several, 1, reason="REQUESTED_BY_PERSON_SHOWN").withdrawal is not None
        assert self.live(several, 4) == ["alpha/other"]  # an external id means an item in its own hash set only

    @pytest.mark.parametrize(
        "reason", [r for r in WithdrawalReason if r is not WithdrawalReason.REQUESTED_BY_PERSON_SHOWN]
    )
    def test_for_other_reasons_the_others_stay(self, several: Desk, reason: str) -> None:
        several.hub.entries.withdraw(
            OPERATOR, "alpha", "list", entry_of(several, 2).id, WithdrawalReason(reason), "words"
        )
        assert self.live(several, 2) == ["alpha/other", "beta/list"]

    def test_it_reaches_those_beside_one_that_is_withdrawn_already(self, several: Desk) -> None:
        withdraw(several, 2)
        assert self.live(several, 2) == ["alpha/other", "beta/list"]
        withdraw(several, 2, reason="REQUESTED_BY_PERSON_SHOWN")
        assert self.live(several, 2) == ["beta/list"]

    def test_who_gives_the_reason_in_bulk_shows(self, several: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(withdrawal_requests, "WISHES_A_DAY", 3)
        for number in (1, 3):  # the first one is three entries
            assert not [w for w in several.hub.status(OPERATOR).warnings if "persons shown" in w]
            done = withdraw(several, number, reason="REQUESTED_BY_PERSON_SHOWN")
        (warning,) = [w for w in several.hub.status(OPERATOR).warnings if "persons shown" in w]
        assert warning.startswith("alpha withdrew 4 entries")
        event = several.hub.history.list(OPERATOR, f"entries/{done.name}", "", None, 1, 0)[0][0]
        assert event.facts["requests_of_persons_shown_today"] == 4
        withdraw(several, 2, who=OPERATOR, reason="REQUESTED_BY_PERSON_SHOWN")
        assert "alpha withdrew 4 entries" in str(several.hub.status(OPERATOR).warnings)


class TestOutsiders:
    @pytest.mark.parametrize("reason", WithdrawalReason)
    def test_the_wish_of_the_person_shown_reads_like_others(self, listed: Desk, reason: WithdrawalReason) -> None:
        done = withdraw(listed, 1, reason=reason, comment="words")
        told = disclosed(PLATFORM, done)
        is_told = reason in {WithdrawalReason.FALSE_POSITIVE, WithdrawalReason.NOT_ILLEGAL_HERE, WithdrawalReason.ERROR}
        assert told.state is EntryState.WITHDRAWN
        assert (told.withdrawal is not None) is is_told
        assert told.reasons == (done.reasons if is_told else ())
        assert "words" not in str(told)
        assert "alpha-desk" not in str(told)
        for insider in (OPERATOR, AUDITOR, ALPHA, SECOND):
            assert disclosed(insider, done) == done

    def test_the_wish_is_not_the_only_one_that_reads_plainly(self, listed: Desk) -> None:
        wish = disclosed(BETA, withdraw(listed, 1, reason="REQUESTED_BY_PERSON_SHOWN"))
        listed.contribute("alpha/list", item(3), item(4), item(5), replace=True)
        absent = disclosed(BETA, entry_of(listed, 2))
        assert (absent.reasons, absent.withdrawal) == (wish.reasons, wish.withdrawal) == ((), None)

    def test_a_request_is_not_told_at_all(self, listed: Desk) -> None:
        before = disclosed(BETA, entry_of(listed, 2))
        withdraw(listed, 1)
        asked = withdraw(listed, 2)
        assert asked.withdrawal is not None
        assert asked.withdrawal.pending
        assert disclosed(BETA, asked) == before
        answer = listed.match(digest("MD5", 2), who=BETA)
        assert [m.entry.reasons for m in answer.matches] == [()]
        own = listed.match(digest("MD5", 2), who=ALPHA)
        assert [m.entry.reasons for m in own.matches] == [("WITHDRAWAL_PENDING",)]


class TestSecondPerson:
    def test_beyond_the_daily_share_an_entry_stays_until_another_token_agrees(self, listed: Desk) -> None:
        withdraw(listed, 1)
        asked = withdraw(listed, 2)
        assert (asked.state, asked.reasons) == (EntryState.ACTIVE, ("WITHDRAWAL_PENDING",))
        assert withdraw(listed, 2) == asked  # the same token's word is one word
        assert listed.known(1, 2) == [2]
        done = withdraw(listed, 2, SECOND, comment="agreed")
        assert (done.state, done.reasons) == (EntryState.WITHDRAWN, ("WITHDRAWN_BY_CONTRIBUTOR",))
        assert done.withdrawal is not None
        assert (done.withdrawal.actor, done.withdrawal.pending) == ("alpha-desk", False)
        assert listed.known(2) == []
        (event, *_), _ = listed.hub.history.list(OPERATOR, f"entries/{done.name}", "", None, 10, 0)
        assert (event.actor.name, event.facts["asked_by"]) == ("alpha-second", "tokens/alpha-desk")
        assert event.details == {"comment": "agreed"}

    def test_or_the_operator_whose_agreement_leaves_it_the_contributors(self, listed: Desk) -> None:
        withdraw(listed, 1)
        withdraw(listed, 2)
        done = withdraw(listed, 2, OPERATOR)
        assert done.state is EntryState.WITHDRAWN
        assert restore(listed, done).state is EntryState.ACTIVE

    def test_strangers_and_lists_do_not_agree(self, listed: Desk) -> None:
        withdraw(listed, 1)
        withdraw(listed, 2)
        with pytest.raises(PermissionDenied):
            withdraw(listed, 2, BETA)
        listed.contribute("alpha/list", item(2, tags=("new",)))
        newer = entry_of(listed, 2)
        assert newer.reasons == ("WITHDRAWAL_PENDING",)  # the request is about the item
        assert withdraw(listed, 2, SECOND).state is EntryState.WITHDRAWN

    def test_the_request_can_be_taken_back(self, listed: Desk) -> None:
        before = entry_of(listed, 2)
        withdraw(listed, 1)
        withdraw(listed, 2)
        assert restore(listed, before) == before
        assert withdraw(listed, 2, SECOND).reasons == ("WITHDRAWAL_PENDING",)  # there is nothing to agree to

    def test_wishes_of_persons_shown_and_operators_are_not_limited(self, listed: Desk) -> None:
        for number, who in ((1, ALPHA), (2, ALPHA), (3, OPERATOR), (4, OPERATOR)):
            reason = "ERROR" if who is OPERATOR else "REQUESTED_BY_PERSON_SHOWN"
            assert withdraw(listed, number, who, reason).state is EntryState.WITHDRAWN
        assert withdraw(listed, 5).state is EntryState.WITHDRAWN  # none of these counts

    def test_numbers_and_shares_are_counted_exactly(self, any_desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        any_desk.hash_set("alpha/list")
        any_desk.contribute("alpha/list", *(item(n) for n in range(60)))
        done = [withdraw(any_desk, n).state for n in range(5)]
        assert done == [EntryState.WITHDRAWN] * 3 + [EntryState.ACTIVE] * 2  # 5 % of 60
        monkeypatch.setattr(module, "WITHDRAWALS_A_DAY", DailyLimit(entries=4, share=1.0))
        assert withdraw(any_desk, 10).state is EntryState.WITHDRAWN
        assert withdraw(any_desk, 11).state is EntryState.ACTIVE


class TestRestoring:
    def test_it_matches_again_and_lists_may_state_it(self, listed: Desk) -> None:
        before = entry_of(listed, 1)
        done = withdraw(listed, 1)
        assert listed.contribute("alpha/list", item(1, tags=("t",))).counts.stays_withdrawn == 1
        again = restore(listed, done, comment="it was right")
        assert msgspec.structs.replace(again, update_revision=before.update_revision) == before
        assert listed.known(1) == [1]
        assert restore(listed, done) == again
        assert listed.contribute("alpha/list", item(1, tags=("t",))).counts.accepted == 1

    def test_it_is_what_it_was(self, listed: Desk) -> None:
        entry = entry_of(listed, 1)
        listed.hub.entries.quarantine(OPERATOR, "alpha", "list", entry.id)
        withdraw(listed, 1)
        again = restore(listed, entry)
        assert (again.state, again.reasons) == (EntryState.QUARANTINED, ("QUARANTINED_BY_OPERATOR",))
        assert listed.known(1) == []
        listed.hub.entries.release(OPERATOR, "alpha", "list", entry.id)
        assert listed.known(1) == [1]

    def test_what_an_operator_withdrew_only_an_operator_restores(self, listed: Desk) -> None:
        listed.hash_set("alpha/other")
        done = withdraw(listed, 1, OPERATOR)
        assert listed.contribute("alpha/other", item(1)).counts.stays_withdrawn == 1
        with pytest.raises(PermissionDenied, match="only an operator"):
            restore(listed, done)
        assert restore(listed, done, OPERATOR).state is EntryState.ACTIVE
        assert listed.contribute("alpha/other", item(1, tags=("t",))).counts.accepted == 1

    def test_an_earlier_statement_is_no_way_round_an_operators_hold(self, listed: Desk) -> None:
        old = entry_of(listed, 1)
        listed.contribute("alpha/list", item(1, tags=("new",)))
        withdraw(listed, 1, OPERATOR)
        with pytest.raises(PermissionDenied, match="only an operator"):
            restore(listed, old)
        listed.hub.entries.quarantine(OPERATOR, "alpha", "list", entry_of(listed, 2).id)
        waiting = entry_of(listed, 2)
        assert waiting.state is EntryState.QUARANTINED

    def test_not_beside_a_statement_that_stands(self, listed: Desk) -> None:
        old = entry_of(listed, 1)
        listed.contribute("alpha/list", item(1, tags=("new",)))
        with pytest.raises(FailedPrecondition, match=entry_of(listed, 1).name):
            restore(listed, old)
        absent = entry_of(listed, 2)
        listed.contribute("alpha/list", item(1, tags=("new",)), item(3), item(4), item(5), replace=True)
        listed.contribute("alpha/list", item(2))
        with pytest.raises(FailedPrecondition, match="states the item"):
            restore(listed, absent)

    def test_what_the_source_deleted_or_no_longer_holds(self, listed: Desk) -> None:
        listed.contribute("alpha/list", Record(position="x", action=Action.WITHDRAW, hashes=(digest("MD5", 1),)))
        listed.contribute("alpha/list", item(3), item(4), item(5), replace=True)
        for number, reason in ((1, "WITHDRAWN_BY_SOURCE"), (2, "ABSENT_FROM_LIST")):
            gone = entry_of(listed, number)
            assert gone.reasons == (reason,)
            assert restore(listed, gone).state is EntryState.ACTIVE
        assert listed.known(1, 2) == [1, 2]


class TestSourcesOwnDeletions:
    def test_are_held_against_older_lists_until_a_newer_one_states_the_item(self, any_desk: Desk) -> None:
        any_desk.hash_set("alpha/list")
        old, new = "2026-01-01T00:00:00Z", "2026-01-03T00:00:00Z"
        any_desk.contribute("alpha/list", item(1, source_time=old))
        gone = Record(
            position="x", action=Action.WITHDRAW, hashes=(digest("MD5", 1),), source_time="2026-01-02T00:00:00Z"
        )
        any_desk.contribute("alpha/list", gone)
        (hold,) = any_desk.hub.store.holds.of_set("alpha", "list")
        assert (hold.origin, hold.source_time) == (Origin.SOURCE, "2026-01-02T00:00:00Z")
        assert any_desk.contribute("alpha/list", item(1, source_time=old, tags=("t",))).counts.stays_withdrawn == 1
        assert any_desk.contribute("alpha/list", item(1, source_time=new)).counts.accepted == 1
        assert any_desk.hub.store.holds.of_set("alpha", "list") == []
        assert any_desk.known(1) == [1]


class TestQuarantine:
    def test_is_not_shed_by_the_next_statement_until_it_is_released(self, listed: Desk) -> None:
        entry = entry_of(listed, 1)
        listed.hub.entries.quarantine(OPERATOR, "alpha", "list", entry.id)
        for tags in (("a",), ("b",)):
            listed.contribute("alpha/list", item(1, tags=tags))
            assert listed.known(1) == []
        newest = entry_of(listed, 1)
        assert newest.reasons == ("QUARANTINED_BY_OPERATOR",)
        listed.hub.entries.release(OPERATOR, "alpha", "list", newest.id)
        assert listed.known(1) == [1]
        listed.contribute("alpha/list", item(1, tags=("c",)))
        assert entry_of(listed, 1).state is EntryState.ACTIVE

    def test_a_release_makes_no_claim_of_what_nobody_classified(self, any_desk: Desk) -> None:
        any_desk.hash_set("alpha/list", scheme="vic-us")
        opened = any_desk.open("alpha/list")
        any_desk.commit(any_desk.add(opened, [item(1)]))
        (entry,) = any_desk.entries("alpha/list")
        if entry.state is EntryState.QUARANTINED:
            entry = any_desk.hub.entries.release(OPERATOR, "alpha", "list", entry.id)
        assert entry.reasons == ("UNCLASSIFIED",)
        any_desk.hub.entries.quarantine(OPERATOR, "alpha", "list", entry.id)
        entry = any_desk.hub.entries.release(OPERATOR, "alpha", "list", entry.id)
        assert entry.reasons == ("UNCLASSIFIED",)
        assert any_desk.verdict(1, policy="block") is not Verdict.MATCH


class TestErasing:
    def test_nothing_of_the_item_is_left_in_any_file(self, desk: Desk, sqlite_directory: Path) -> None:
        desk.hash_set("alpha/list")
        desk.contributor("beta")
        secret_texts = ("external-4711", "tag-of-the-item", "series-x", "review-words", "withdrawal-words")
        known = item(1, algorithms=("MD5", "SHA1", "PDQ"), external_id="external-4711", tags=("tag-of-the-item",))
        known = msgspec.structs.replace(known, series="series-x", position="row external-4711")
        desk.contribute("alpha/list", known, *(item(n, algorithms=("MD5", "PDQ")) for n in range(2, 40)))
        entry = entry_of(desk, 1)
        desk.hub.reviews.create(
            BETA, "alpha", "list", entry.id, ReviewKind.FALSE_POSITIVE, "review-words", request_id="r1"
        )
        desk.hub.entries.withdraw(
            ALPHA, "alpha", "list", entry.id, WithdrawalReason.OTHER, "withdrawal-words", request_id="r2"
        )
        with pytest.raises(PermissionDenied):
            desk.hub.entries.erase(ALPHA, "alpha", "list", entry.id)
        desk.hub.matcher.compact()
        erased = desk.hub.entries.erase(OPERATOR, "alpha", "list", entry.id)
        assert (erased.state, erased.reasons, erased.hashes) == (EntryState.WITHDRAWN, ("ERASED",), ())
        assert desk.hub.entries.erase(OPERATOR, "alpha", "list", entry.id) == erased
        assert desk.hub.housekeeping is not None
        desk.hub.housekeeping.round()
        needles = [h.digest for h in known.hashes] + [text.encode() for text in secret_texts]
        for path in sqlite_directory.rglob("*"):
            if path.is_file():
                content = path.read_bytes()
                assert [n for n in needles if n in content] == [], path
        desk.hub.store.history.verify_history(desk.hub.store.database_id)
        assert desk.known(2, 3) == [2, 3]

    def test_with_it_goes_what_it_had_replaced(self, desk: Desk, sqlite_directory: Path) -> None:
        desk.hash_set("alpha/list")
        for week in range(3):
            desk.contribute("alpha/list", item(1, external_id="external-4711", tags=(f"week {week}",)), item(2))
        desk.hub.entries.erase(OPERATOR, "alpha", "list", entry_of(desk, 1).id)
        assert [e.reasons for e in desk.entries("alpha/list", EntryState.WITHDRAWN)] == [("ERASED",)] * 3
        database = (sqlite_directory / "hashhub.db").read_bytes()
        assert digest("MD5", 1).digest not in database
        assert b"external-4711" not in database
        assert desk.contribute("alpha/list", item(1)).counts.stays_withdrawn == 1
        assert desk.known(1, 2) == [2]

    def test_no_list_of_the_contributor_brings_it_back(self, listed: Desk) -> None:
        listed.hash_set("alpha/other")
        entry = entry_of(listed, 1)
        listed.hub.entries.erase(OPERATOR, "alpha", "list", entry.id)
        assert listed.known(1, 2) == [2]
        for name in ("alpha/list", "alpha/other"):
            assert listed.contribute(name, item(1, tags=("t",))).counts.stays_withdrawn == 1
        with pytest.raises(FailedPrecondition, match="erased"):
            restore(listed, entry, OPERATOR)
        assert listed.known(1) == []
        listed.hash_set("beta/list")
        assert listed.contribute("beta/list", item(1)).counts.accepted == 1  # others' statements are theirs


class TestExpiry:
    def test_entries_whose_time_has_passed_are_withdrawn(self, listed: Desk) -> None:
        at = now()
        listed.contribute("alpha/list", item(20, expire_time=at), item(21))
        assert listed.hub.housekeeping is not None
        listed.hub.housekeeping.round()
        (gone,) = [e for e in listed.entries("alpha/list") if e.reasons == ("EXPIRED",)]
        assert listed.known(20, 21) == [21]
        for who, kind in (
            (ALPHA, "ENTRIES_EXPIRED"),
            (BETA, "ENTRIES_WITHDRAWN"),
        ):  # others are not told that it expired
            for asked in ("ENTRIES_EXPIRED", "ENTRIES_WITHDRAWN"):
                told, _ = listed.hub.history.list(
                    who, f"entries/{gone.name}", "", None, 10, 0, kinds=frozenset({asked})
                )
                assert [e.kind for e in told] == [kind] * (asked == kind)
        before = listed.hub.revision()
        listed.hub.housekeeping.round()
        assert listed.hub.revision() == before
        again = restore(listed, gone)
        assert (again.state, again.expire_time) == (EntryState.ACTIVE, None)
        listed.hub.housekeeping.round()
        assert listed.known(20) == [20]
