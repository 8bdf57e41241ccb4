"""Who did what: the history as each may read it, the chain, and what is on record once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from hashhub.config import Config
from hashhub.errors import DataLoss, InvalidArgument, NotFound, PermissionDenied
from hashhub.hub import Hub
from hashhub.hub import entries as reviews_module
from hashhub.hub import history as module
from hashhub.hub.history import examine
from hashhub.hub.housekeeping import Housekeeping
from hashhub.model import (
    TLP,
    Event,
    EventKind,
    HashSet,
    Marking,
    Principal,
    Purpose,
    Record,
    ReviewKind,
    Role,
    Verdict,
    VideoFrame,
    WithdrawalReason,
    now,
    number_of,
)
from hashhub.store.events import Events
from tests.hub.conftest import AUDITOR, OPERATOR, PLATFORM, Desk, Open, Stock, digest, item, near
from tests.hub.test_entries import ALPHA, BETA, SECOND, entry_of, fill, restore, withdraw


def history(desk: Desk, who: Principal = OPERATOR, subject: str = "", actor: str = "") -> list[Event]:
    events: list[Event] = []
    before = 0
    while True:
        page, before = desk.hub.history.list(who, subject, actor, None, 3, before)
        events += page
        if not before:
            return events


def kinds(events: list[Event]) -> list[str]:
    return [event.kind.value for event in events]


@pytest.fixture
def listed(any_stock: Stock) -> Desk:
    return any_stock(fill)


class TestReading:
    def test_the_history_of_an_entry_is_read_a_page_at_a_time(
        self, listed: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for n in range(12):
            done = withdraw(listed, 1, OPERATOR, reason="FALSE_POSITIVE", comment=f"{n}")
            restore(listed, done, OPERATOR)
            listed.hub.reviews.create(BETA, "alpha", "list", done.id, ReviewKind.FALSE_POSITIVE, f"{n}")
            withdraw(listed, 2, OPERATOR)
            restore(listed, entry_of(listed, 2), OPERATOR)
        listed.contribute("alpha/list", item(1, tags=("new",)))
        subjects = [f"entries/{e.name}" for e in listed.entries("alpha/list")[:2]]
        whole = {(who, s): history(listed, who, s) for who in (OPERATOR, ALPHA, BETA) for s in subjects}
        assert len(whole[OPERATOR, subjects[0]]) == 38
        monkeypatch.setattr(module, "PIECE", 5)
        read: list[int] = []
        list_events = Events.list_events

        def counted(self: Events, **options: Any) -> list[Event]:
            events = list_events(self, **options)
            read[-1] += len(events)
            return events

        monkeypatch.setattr(Events, "list_events", counted)
        for (who, subject), events in whole.items():
            pages: list[Event] = []
            before = 0
            while True:
                read.append(0)
                page, before = listed.hub.history.list(who, subject, "", None, 3, before)
                pages += page
                if not before:
                    break
            assert pages == events
        assert max(read) <= 10  # of 38 events
        for (who, subject), events in whole.items():
            of_one = listed.hub.history.list(who, subject, "beta-desk", None, 100, 0)[0]
            assert of_one == [e for e in events if e.actor.name == "beta-desk"]

    def test_of_one_entry_from_import_to_restored_withdrawal(self, listed: Desk) -> None:
        old = entry_of(listed, 1)
        listed.contribute("alpha/list", item(1, tags=("new",)))
        entry = entry_of(listed, 1)
        listed.hub.reviews.create(BETA, "alpha", "list", entry.id, ReviewKind.FALSE_POSITIVE, "a logo")
        done = withdraw(listed, 1, reason="FALSE_POSITIVE", comment="beta is right")
        restore(listed, done, comment="beta is wrong")
        events = history(listed, OPERATOR, f"entries/{entry.name}")
        assert kinds(events) == ["ENTRIES_RESTORED", "ENTRIES_WITHDRAWN", "ENTRIES_REVIEWED", "IMPORT_COMMITTED"]
        assert [e.actor.name for e in events[:3]] == ["alpha-desk", "alpha-desk", "beta-desk"]
        assert [e.details for e in events[:3]] == [
            {"comment": "beta is wrong"}, {"comment": "beta is right"}, {"comment": "a logo"},
        ]  # fmt: skip
        assert kinds(history(listed, OPERATOR, f"entries/{old.name}")) == ["IMPORT_COMMITTED", "IMPORT_COMMITTED"]

    def test_a_set_and_a_contributor_hold_what_is_in_them(self, listed: Desk) -> None:
        withdraw(listed, 1)
        assert kinds(history(listed, subject="hash-sets/alpha/list")) == [
            "ENTRIES_WITHDRAWN", "IMPORT_COMMITTED", "HASH_SET_CREATED",
        ]  # fmt: skip
        assert kinds(history(listed, subject="contributors/alpha"))[-1] == "CONTRIBUTOR_CREATED"
        assert history(listed, subject="contributors/alph") == []
        assert kinds(history(listed, actor="alpha-desk")) == ["ENTRIES_WITHDRAWN", "IMPORT_COMMITTED"]
        assert history(listed, AUDITOR) == history(listed, OPERATOR)

    def test_others_learn_what_happened_and_not_who(self, listed: Desk) -> None:
        withdraw(listed, 1, reason="REQUESTED_BY_PERSON_SHOWN", comment="her words")
        withdraw(listed, 2, reason="FALSE_POSITIVE", comment="our words")
        withdraw(listed, 3)  # a request
        told = history(listed, BETA)
        assert kinds(told)[:2] == ["ENTRIES_WITHDRAWN", "ENTRIES_WITHDRAWN"]
        assert [e.reason for e in told[:2]] == ["FALSE_POSITIVE", ""]
        assert not any("words" in str(e) or "alpha-desk" in str(e) for e in told)
        assert all(e.facts == {} for e in told if e.actor.contributor == "alpha")
        assert "WITHDRAWAL_ASKED" not in kinds(told)
        own = history(listed, SECOND)
        assert kinds(own)[0] == "WITHDRAWAL_ASKED"
        assert own[1].actor.name == "alpha-desk"

    def test_of_what_one_may_not_see_there_is_nothing(self, desk: Desk) -> None:
        marking = Marking(tlp=TLP.RED, recipients=("contributors/alpha",))
        desk.hash_set("alpha/hidden", marking=marking)
        desk.contributor("beta")
        desk.contribute("alpha/hidden", item(1))
        (entry,) = desk.entries("alpha/hidden")
        desk.hub.entries.withdraw(ALPHA, "alpha", "hidden", entry.id, WithdrawalReason.ERROR)
        assert kinds(history(desk, BETA)) == ["CONTRIBUTOR_CREATED"]
        with pytest.raises(NotFound, match="may see"):
            history(desk, BETA, f"entries/{entry.name}")
        with pytest.raises(PermissionDenied):
            history(desk, PLATFORM)

    def test_a_wish_after_a_withdrawal_is_not_told(self, listed: Desk) -> None:
        entry = entry_of(listed, 1)
        about = f"entries/{entry.name}"
        listed.hub.entries.withdraw(ALPHA, "alpha", "list", entry.id, WithdrawalReason.ERROR)
        before = kinds(history(listed, BETA, about))
        listed.hub.entries.withdraw(ALPHA, "alpha", "list", entry.id, WithdrawalReason.REQUESTED_BY_PERSON_SHOWN)
        listed.hub.entries.erase(OPERATOR, "alpha", "list", entry.id)
        assert len(history(listed, ALPHA, about)) == len(before) + 2
        assert kinds(history(listed, BETA, about)) == before

    def test_a_request_that_is_reverted_is_not_told(self, listed: Desk) -> None:
        began = now()
        for number in (1, 2):
            withdraw(listed, number)
        second = entry_of(listed, 2)
        assert "WITHDRAWAL_PENDING" in second.reasons
        listed.hub.history.revert(OPERATOR, "alpha-desk", began, comment="stolen")
        assert kinds(history(listed, BETA, f"entries/{second.name}")) == ["IMPORT_COMMITTED"]

    def test_who_is_not_told_a_token_cannot_ask_for_it(self, listed: Desk) -> None:
        entry = entry_of(listed, 1)
        listed.hub.reviews.create(BETA, "alpha", "list", entry.id, ReviewKind.FALSE_POSITIVE)
        assert kinds(history(listed, BETA, actor="beta-desk")) == ["ENTRIES_REVIEWED"]
        assert history(listed, ALPHA, actor="beta-desk") == []

    def test_what_an_operators_token_wrote_is_not_its_organisations_to_read(self, listed: Desk) -> None:
        hidden = Marking(tlp=TLP.RED, recipients=("contributors/alpha",))
        listed.hash_set("alpha/hidden", marking=hidden)
        listed.contribute("alpha/hidden", item(7))
        (entry,) = listed.entries("alpha/hidden")
        insider = Principal(name="beta-operator", role=Role.OPERATOR, contributor="beta")
        wish = WithdrawalReason.REQUESTED_BY_PERSON_SHOWN
        listed.hub.entries.withdraw(insider, "alpha", "hidden", entry.id, wish, "a name")
        assert "a name" not in str(history(listed, BETA))
        assert "hidden" not in str(history(listed, BETA))

    def test_reviews_of_ones_entries_come_without_the_persons_name(self, listed: Desk) -> None:
        entry = entry_of(listed, 1)
        listed.hub.reviews.create(BETA, "alpha", "list", entry.id, ReviewKind.FALSE_POSITIVE, "a logo")
        (event, *_) = history(listed, ALPHA)
        assert (event.kind, event.actor.name, event.actor.contributor) == (EventKind.ENTRIES_REVIEWED, "", "beta")
        (review,) = listed.hub.reviews.list(ALPHA, "alpha", "list", entry.id, 10, 0)[0]
        assert (review.author, review.actor) == ("beta", "")
        (review,) = listed.hub.reviews.list(BETA, "alpha", "list", entry.id, 10, 0)[0]
        assert review.actor == "beta-desk"

    def test_details_can_be_erased_and_the_chain_holds(self, listed: Desk) -> None:
        withdraw(listed, 1, comment="a name")
        revision = listed.hub.revision()
        with pytest.raises(PermissionDenied):
            listed.hub.history.redact(ALPHA, revision)
        assert listed.hub.history.redact(OPERATOR, revision).details is None
        assert listed.hub.history.redact(OPERATOR, revision).details is None
        assert kinds(history(listed))[:2] == ["EVENT_REDACTED", "ENTRIES_WITHDRAWN"]
        listed.hub.store.history.verify_history(listed.hub.store.database_id)


class TestReviews:
    def test_an_objection_is_set_aside_with_a_reason(self, listed: Desk) -> None:
        entry = entry_of(listed, 1)
        made = listed.hub.reviews.create(BETA, "alpha", "list", entry.id, ReviewKind.FALSE_POSITIVE)
        other = entry_of(listed, 2)
        with pytest.raises(InvalidArgument, match="why"):
            listed.hub.reviews.set_aside(OPERATOR, "alpha", "list", entry.id, number_of(made.id), " ")
        with pytest.raises(PermissionDenied):
            listed.hub.reviews.set_aside(ALPHA, "alpha", "list", entry.id, number_of(made.id), "no")
        with pytest.raises(NotFound):
            listed.hub.reviews.set_aside(OPERATOR, "alpha", "list", other.id, number_of(made.id), "no")
        aside = listed.hub.reviews.set_aside(OPERATOR, "alpha", "list", entry.id, number_of(made.id), "we looked")
        assert (aside.kind, aside.sets_aside, aside.comment) == (ReviewKind.SET_ASIDE, made.id, "we looked")
        with pytest.raises(InvalidArgument, match="objection"):
            listed.hub.reviews.set_aside(OPERATOR, "alpha", "list", entry.id, number_of(aside.id), "no")
        with pytest.raises(InvalidArgument, match="kind"):
            listed.hub.reviews.create(BETA, "alpha", "list", entry.id, ReviewKind.SET_ASIDE)
        listed.contribute("alpha/list", item(1, tags=("new",)))  # it goes with the item
        newer = entry_of(listed, 1)
        objection = listed.hub.reviews.list(AUDITOR, "alpha", "list", newer.id, 10, 0)[0]
        assert [r.id for r in objection] == [made.id, aside.id]

    def test_those_beyond_the_daily_number_wait(self, listed: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(reviews_module, "OBJECTIONS_A_DAY", 2)
        listed.hash_set("beta/list")
        listed.contribute("beta/list", item(9))

        def object_to(
            number: int, who: Principal = BETA, name: str = "alpha/list", kind: str = "MISCLASSIFIED"
        ) -> bool:
            entry = entry_of(listed, number, name)
            contributor, _, hash_set = name.partition("/")
            made = listed.hub.reviews.create(who, contributor, hash_set, entry.id, ReviewKind(kind))
            return made.awaits_acceptance

        another = Principal(name="beta-other", role=Role.CONTRIBUTOR, contributor="beta")
        assert [object_to(n) for n in (1, 2)] == [False, False]
        assert object_to(3, another)  # by contributor, not by token
        assert not object_to(9, name="beta/list")  # its own
        assert not object_to(3, kind="CONFIRMED")
        assert not object_to(4, OPERATOR)
        assert object_to(5)
        assert not object_to(2, kind="FALSE_POSITIVE")  # of what is doubted already nothing more is

    def test_one_counts_as_often_as_its_entry_may_be_about_another_item(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(reviews_module, "OBJECTIONS_A_DAY", 6)
        for name in ("alpha", "beta"):
            desk.hash_set(f"{name}/list")
        bound = [digest("MD5", 1), digest("SHA1", 2), *(digest("PDQ", n) for n in range(3, 10))]
        desk.contribute("alpha/list", Record(position="1", hashes=tuple(bound)), item(20), item(21))
        waits = {}
        for entry in desk.entries("alpha/list"):
            made = desk.hub.reviews.create(BETA, "alpha", "list", entry.id, ReviewKind.FALSE_POSITIVE)
            waits[entry.provenance.position] = made.awaits_acceptance
        assert waits == {"1": True, "line 20": False, "line 21": False}


@contextmanager
def opened(data: Path) -> Iterator[sa.Connection]:
    """The database of a data directory, as somebody else than hashhub opens it."""
    engine = sa.create_engine(f"sqlite:///{data / 'hashhub.db'}")
    try:
        with engine.begin() as c:
            yield c
    finally:
        engine.dispose()


class TestChain:
    def test_a_digest_does_not_tell_what_an_outsider_may_not_read(self, listed: Desk) -> None:
        """The heads before and after are in the feed, and the rest of the event is easily guessed: the salt is what
        cannot be.
        """
        before = listed.hub.store.history.position().digest
        withdraw(listed, 1, reason=WithdrawalReason.REQUESTED_BY_PERSON_SHOWN)
        entry = entry_of(listed, 1)
        event = listed.hub.history.list(BETA, f"entries/{entry.name}", "", None, 1, 0)[0][0]
        assert not event.reason
        stored = json.loads(
            listed.hub.store.database.fetch("SELECT body FROM event ORDER BY revision DESC LIMIT 1")[0][0]
        )
        assert stored[8] == "REQUESTED_BY_PERSON_SHOWN"
        guessed = [*stored[:10], ""]
        body = json.dumps(guessed, separators=(",", ":"), sort_keys=True, ensure_ascii=False).encode()
        assert hashlib.sha256(before + body).digest() != event.digest

    def test_a_head_behind_which_the_history_was_rewritten_and_mended_is_not_contained(
        self, open_hub: Open, sqlite_directory: Path
    ) -> None:
        hub = open_hub()
        Desk(hub).hash_set("alpha/list")
        config = Config(data=str(sqlite_directory))
        early = examine(config).head
        Desk(hub).contribute("alpha/list", item(1))
        late = examine(config).head
        hub.close()
        last = int(late.partition(":")[0])
        with opened(sqlite_directory) as c:
            c.execute(
                sa.text("UPDATE event SET body = replace(CAST(body AS TEXT), 'alpha', 'alphb') WHERE revision = :last"),
                {"last": last},
            )
        assert examine(config, mend="I did it").is_sound
        assert examine(config, head=early).is_sound  # from before the break
        assert not examine(config, head=late).is_sound

    def test_it_verifies_by_what_docs_history_says_alone(self, listed: Desk) -> None:
        """Written from the document, without the store's code; equal on both databases."""
        withdraw(listed, 1, comment="naïve ☃")
        store = listed.hub.store
        rows = store.database.fetch(
            "SELECT e.body, e.digest, e.salt, d.salt, d.content, d.undo FROM event e "
            "LEFT JOIN event_detail d ON d.revision = e.revision ORDER BY e.revision"
        )

        def sha256(*parts: bytes) -> bytes:
            return hashlib.sha256(b"".join(parts)).digest()

        def root(leaves: list[bytes]) -> bytes:
            if len(leaves) == 1:
                return leaves[0]
            split = 1 << (len(leaves) - 1).bit_length() - 1
            return sha256(b"\1", root(leaves[:split]), root(leaves[split:]))

        leaves: list[bytes] = []
        for number, (body, stored, leaf_salt, salt, content, undo) in enumerate(rows, 1):
            event = json.loads(body)
            assert body == json.dumps(event, separators=(",", ":"), sort_keys=True, ensure_ascii=False).encode()
            assert event[:2] == ["hashhub-event-1", number]
            assert event[10] == hashlib.sha256(salt + content + b"\0" + (undo or b"")).hexdigest()
            leaves.append(sha256(b"\0", sha256(leaf_salt, body)))
            assert len(leaf_salt) == 32
            assert root(leaves) == stored
        assert (len(rows), root(leaves)) == store.history.position()

    @pytest.mark.parametrize(
        "change",
        [
            "UPDATE event SET actor = 'somebody' WHERE revision = 3",
            "UPDATE event SET body = replace(CAST(body AS TEXT), 'alpha', 'alphb') WHERE revision = 3",
            "DELETE FROM event WHERE revision = 3",
            "UPDATE event_detail SET content = CAST('{}' AS BLOB) WHERE revision = 1",
            "UPDATE event_detail SET undo = NULL WHERE revision = 1",
            "DELETE FROM event_detail WHERE revision = 1",
            "DELETE FROM event WHERE revision = (SELECT max(revision) FROM event)",
        ],
    )
    def test_a_start_refuses_what_was_rewritten_until_it_is_mended(
        self, open_hub: Open, sqlite_directory: Path, change: str
    ) -> None:
        hub = open_hub()
        desk = Desk(hub)
        desk.hash_set("alpha/list")
        desk.contribute("alpha/list", item(1))
        config = Config(data=str(sqlite_directory))
        head = examine(config).head
        hub.close()
        with opened(sqlite_directory) as c:
            c.execute(sa.text(change))
        with pytest.raises(DataLoss, match="changed outside hashhub"):
            open_hub()
        broken = examine(config)
        assert not broken.is_sound
        assert any("--mend" in line for line in broken.lines)
        if "max(" in change:
            return  # the end is gone: only a backup brings it back
        assert examine(config, mend="a disk was repaired").is_sound
        again = Desk(open_hub())
        assert again.known(1) == [1]
        assert kinds(history(again))[0] == "HISTORY_MENDED"
        behind = examine(config, head=head)  # its digest stands there, but what leads to it was changed
        assert not behind.is_sound
        assert any("does not lead to it" in line for line in behind.lines)

    def test_a_head_that_history_does_not_contain(self, open_hub: Open, sqlite_directory: Path) -> None:
        desk = Desk(open_hub())
        desk.hash_set("alpha/list")
        config = Config(data=str(sqlite_directory))
        head = examine(config).head
        desk.contribute("alpha/list", item(1))
        assert examine(config, head=head).is_sound
        revision, _, digest_ = head.partition(":")
        assert not examine(config, head=f"{revision}:{'0' * 64}").is_sound
        assert not examine(config, head=f"{int(revision) + 99}:{digest_}").is_sound
        with pytest.raises(InvalidArgument):
            examine(config, head="7")


def test_terms_that_run_out_are_an_event_once(desk: Desk) -> None:
    desk.hash_set("alpha/list", marking=Marking(tlp=TLP.AMBER, expire_time=now() + timedelta(days=1)))
    housekeeping = desk.hub.housekeeping
    assert housekeeping is not None
    housekeeping.round()
    assert "TERMS_EXPIRED" not in kinds(history(desk))
    ended = HashSet(contributor="alpha", id="list", marking=Marking(expire_time=now()))
    desk.hub.hash_sets.update(OPERATOR, ended, ["marking.expire_time"])
    housekeeping.round()
    housekeeping.round()
    assert kinds(history(desk)).count("TERMS_EXPIRED") == 1


def test_the_head_goes_to_the_log(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    hub: Hub = desk.hub
    with caplog.at_level("INFO"):
        week = timedelta(days=7)
        housekeeping = Housekeeping(
            hub.store, hub.matcher, hub.follower, Path("nowhere"), week, hub.renewals, lambda: None
        )
        housekeeping.round()
    position = hub.store.history.position()
    assert f"history head {position.revision}:{position.digest.hex()}" in caplog.text


class TestObjections:
    def test_one_cannot_be_carried_from_item_to_item(self, desk: Desk) -> None:
        """A contributor whose word counts restates what somebody objected to with the digests of others' items, one
        after the other.
        """
        for name in ("alpha", "beta", "delta"):
            desk.contributor(name, reliability="B")
            desk.hash_set(f"{name}/list")
        for name in ("alpha", "delta"):
            desk.contribute(f"{name}/list", *(item(n, algorithms=("SHA1",)) for n in (1, 2, 3)))
        logo = digest("MD5", 99)
        desk.contribute("beta/list", Record(position="1", hashes=(logo,), external_id="a"))
        (entry,) = desk.entries("beta/list")
        desk.hub.reviews.create(ALPHA, "beta", "list", entry.id, ReviewKind.FALSE_POSITIVE)
        desk.contribute("beta/list", Record(position="1", hashes=(digest("MD5", 98),), external_id="a"))
        for n in (1, 2, 3):
            carrying = Record(position="1", hashes=(logo, digest("SHA1", n)), external_id=str(n))
            desk.contribute("beta/list", carrying)
            answer = desk.match(digest("SHA1", n), policy="block")
            assert answer.verdict is Verdict.MATCH
            assert "CLAIM_DISPUTED" in [r.code for r in answer.reasons]


class TestAcceptance:
    def test_what_was_withdrawn_meanwhile_and_restored_later_is_not_accepted(self, desk: Desk) -> None:
        desk.hash_set("alpha/list")
        desk.hash_set("gamma/benign", purpose=Purpose.BENIGN)
        desk.contribute("alpha/list", item(1))
        desk.contribute("gamma/benign", item(1), item(2))
        gamma = Principal(name="gamma-desk", role=Role.CONTRIBUTOR, contributor="gamma")
        entry = entry_of(desk, 1, "gamma/benign")
        desk.hub.entries.withdraw(gamma, "gamma", "benign", entry.id, WithdrawalReason.ERROR)
        desk.hub.hash_sets.accept(OPERATOR, "gamma", "benign", desk.hub.revision())
        desk.hub.entries.restore(gamma, "gamma", "benign", entry.id)
        assert [desk.verdict(n) for n in (1, 2)] == [Verdict.MATCH, Verdict.BENIGN]
        desk.hub.hash_sets.accept(OPERATOR, "gamma", "benign", desk.hub.revision())
        assert desk.verdict(1) is Verdict.REVIEW


class TestHarmlessVerdicts:
    def test_those_beyond_the_daily_number_wait(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        """Whatever others list, or will list, seen or not: no order of statements makes more of them weigh."""
        from hashhub.hub import contribute

        monkeypatch.setattr(contribute, "DOUBTS_A_DAY", 3)
        desk.hash_set("beta/list")
        desk.hash_set("beta/hidden", marking=Marking(tlp=TLP.RED, recipients=("contributors/alpha",)))
        for name in ("alpha/list", "gamma/list", "gamma/other"):
            desk.hash_set(name, scheme="vic-us")

        def waiting(name: str, *items: Record) -> list[str]:
            desk.contribute(name, *items)
            return [e.provenance.position for e in desk.entries(name) if "AWAITS_ACCEPTANCE" in e.reasons]

        desk.contribute("beta/list", item(1))
        desk.contribute("beta/hidden", item(2))
        # About what another lists; what it may not see; what nobody lists yet. What claims harm does not count.
        assert waiting("gamma/list", *(item(n, value="4") for n in (1, 2, 3)), item(9, value="1")) == []
        assert waiting("gamma/list", item(4, value="4"), item(8, value="1")) == ["line 4"]
        assert waiting("gamma/other", item(5, value="4")) == ["line 5"]
        desk.contribute("beta/list", *(item(n) for n in (4, 5)))
        # The next contributor has a number of its own.
        assert waiting("alpha/list", item(6, value="4")) == []

    def test_they_count_by_what_they_may_doubt(self, desk: Desk) -> None:
        """Thirty records have each the PDQs of eight items of others."""
        for name in ("alpha", "beta", "gamma"):
            desk.contributor(name, reliability="B")
            desk.hash_set(f"{name}/list", scheme="vic-us" if name == "gamma" else "")
        algorithms = ["PDQ"] * 8
        probes = [digest(a, 100 * n + k) for n in range(30) for k, a in enumerate(algorithms)]
        for name in ("alpha", "beta"):
            desk.contribute(f"{name}/list", *(Record(position=str(i), hashes=(h,)) for i, h in enumerate(probes)))
        records = [probes[i : i + len(algorithms)] for i in range(0, len(probes), len(algorithms))]
        for start in (0, 15):  # and in two imports
            part = [Record(position=f"{n}", hashes=tuple(records[n]), value="4") for n in range(start, start + 15)]
            assert desk.contribute("gamma/list", *part).counts.accepted == 15
        doubted = [h for h in probes if desk.match(h, policy="block").verdict is Verdict.REVIEW]
        assert len(doubted) == 96
        assert sum("AWAITS_ACCEPTANCE" in e.reasons for e in desk.entries("gamma/list")) == 18
        desk.contribute("gamma/list", *(item(n, value="4") for n in range(9000, 9005)))
        later = [entry_of(desk, n, "gamma/list").reasons for n in range(9000, 9005)]
        assert later == [(), (), (), (), ("AWAITS_ACCEPTANCE",)]
        desk.hub.hash_sets.accept(OPERATOR, "gamma", "list", desk.hub.revision())
        assert all(desk.match(h, policy="block").verdict is Verdict.REVIEW for h in probes)

    @pytest.mark.parametrize("is_seen", [True, False])
    def test_what_others_list_counts_as_far_as_it_is_seen(
        self, any_desk: Desk, monkeypatch: pytest.MonkeyPatch, is_seen: bool
    ) -> None:
        """A record that binds digests of two items: whether it waits tells nothing of lists that are hidden."""
        from hashhub.hub import contribute

        monkeypatch.setattr(contribute, "DOUBTS_A_DAY", 3)
        red = Marking(tlp=TLP.RED, recipients=("contributors/alpha",))
        any_desk.hash_set("beta/list", marking=Marking() if is_seen else red)
        any_desk.hash_set("gamma/list", scheme="vic-us")
        any_desk.contribute("beta/list", *(item(n) for n in range(1, 7)))
        bound = [(digest("MD5", n), digest("SHA1", n + 1)) for n in (1, 3, 5)]
        records = [Record(position=f"{i}", hashes=h, value="4") for i, h in enumerate(bound)]
        for part in (records, [item(8, value="4")]):
            any_desk.contribute("gamma/list", *part)
        waits = ["AWAITS_ACCEPTANCE" in e.reasons for e in any_desk.entries("gamma/list")]
        assert waits == ([False, True, True] if is_seen else [False] * 3) + [not is_seen]

    def test_a_video_counts_by_its_scenes(self, desk: Desk) -> None:
        desk.hash_set("gamma/list", scheme="vic-us")

        def video(name: str, scenes: int) -> Record:
            seeds = [1000 * len(name) + s for s in range(scenes)]
            shown = [near(digest("PDQ", s), bits) for s in seeds for bits in (0, 4, 8)]
            frames = tuple(VideoFrame(1000 * at, 90, h.digest) for at, h in enumerate(shown))
            return Record(position=name, external_id=name, frames=frames, value="4")

        desk.contribute("gamma/list", video("a", 101), video("bb", 60), video("ccc", 60), video("dddd", 40))
        waits = {e.external_id: "AWAITS_ACCEPTANCE" in e.reasons for e in desk.entries("gamma/list")}
        assert waits == {"a": True, "bb": False, "ccc": True, "dddd": False}
