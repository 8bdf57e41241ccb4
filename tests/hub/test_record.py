"""Who did what: the history as each may read it, the chain, withdrawals outside the database, and undoing what a token
did.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from hashhub.config import Config
from hashhub.errors import DataLoss, InvalidArgument, NotFound, PermissionDenied, Unauthenticated
from hashhub.hub import Hub
from hashhub.hub import reviews as reviews_module
from hashhub.hub.examine import examine
from hashhub.hub.housekeeping import Housekeeping
from hashhub.model import (
    TLP,
    Action,
    Contributor,
    ContributorKind,
    EntryState,
    Event,
    EventKind,
    Group,
    HashSet,
    Marking,
    Principal,
    Purpose,
    Record,
    Retention,
    RevertedEvent,
    ReviewKind,
    Role,
    Verdict,
    WithdrawalReason,
    now,
)
from hashhub.store.standing import Standing
from hashhub.store.undoing import Undoing
from tests.hub.conftest import AUDITOR, OPERATOR, PLATFORM, Desk, Open, Stock, digest, item
from tests.hub.test_entries import ALPHA, BETA, SECOND, entry_of, restore, withdraw

THIEF = Principal(name="thief", role=Role.CONTRIBUTOR, contributor="alpha")
MOLE = Principal(name="mole", role=Role.OPERATOR, contributor="operator")


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


def _fill(desk: Desk) -> None:
    desk.hash_set("alpha/list")
    desk.contributor("beta")
    desk.contribute("alpha/list", *(item(n) for n in range(1, 6)))


@pytest.fixture
def listed(any_stock: Stock) -> Desk:
    return any_stock(_fill)


class TestReading:
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
        listed.hub._store.history.verify_history(listed.hub._store.database_id)


class TestReviews:
    def test_an_objection_is_set_aside_with_a_reason(self, listed: Desk) -> None:
        entry = entry_of(listed, 1)
        made = listed.hub.reviews.create(BETA, "alpha", "list", entry.id, ReviewKind.FALSE_POSITIVE)
        other = entry_of(listed, 2)
        with pytest.raises(InvalidArgument, match="why"):
            listed.hub.reviews.set_aside(OPERATOR, "alpha", "list", entry.id, made.id, " ")
        with pytest.raises(PermissionDenied):
            listed.hub.reviews.set_aside(ALPHA, "alpha", "list", entry.id, made.id, "no")
        with pytest.raises(NotFound):
            listed.hub.reviews.set_aside(OPERATOR, "alpha", "list", other.id, made.id, "no")
        aside = listed.hub.reviews.set_aside(OPERATOR, "alpha", "list", entry.id, made.id, "we looked")
        assert (aside.kind, aside.sets_aside, aside.comment) == (ReviewKind.SET_ASIDE, made.id, "we looked")
        with pytest.raises(InvalidArgument, match="objection"):
            listed.hub.reviews.set_aside(OPERATOR, "alpha", "list", entry.id, aside.id, "no")
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
        before = listed.hub._store.history.position().digest
        withdraw(listed, 1, reason=WithdrawalReason.REQUESTED_BY_PERSON_SHOWN)
        entry = entry_of(listed, 1)
        event = listed.hub.history.list(BETA, f"entries/{entry.name}", "", None, 1, 0)[0][0]
        assert not event.reason
        stored = json.loads(listed.hub._store._db.fetch("SELECT body FROM event ORDER BY revision DESC LIMIT 1")[0][0])
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
        store = listed.hub._store
        rows = store._db.fetch(
            "SELECT e.body, e.digest, d.salt, d.content, d.undo FROM event e "
            "LEFT JOIN event_detail d ON d.revision = e.revision ORDER BY e.revision"
        )
        head = hashlib.sha256(b"hashhub-history-1\0" + store.database_id.encode()).digest()
        for number, (body, stored, salt, content, undo) in enumerate(rows, 1):
            event = json.loads(body)
            assert body == json.dumps(event, separators=(",", ":"), sort_keys=True, ensure_ascii=False).encode()
            assert event[:2] == ["hashhub-event-1", number]
            assert event[10] == hashlib.sha256(salt + content + b"\0" + (undo or b"")).hexdigest()
            head = hashlib.sha256(head + body).digest()
            assert head == stored
        assert (len(rows), head) == store.history.position()

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


class TestOutsideTheDatabase:
    def test_a_restored_backup_lacks_nothing_that_was_withdrawn(
        self, open_hub: Open, sqlite_directory: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        hub = open_hub()
        desk = Desk(hub)
        desk.hash_set("alpha/list")
        desk.contribute("alpha/list", *(item(n, external_id=f"secret-id-{n}") for n in range(1, 60)))
        hub.close()
        backup = sqlite_directory.parent / "backup.db"
        shutil.copy(sqlite_directory / "hashhub.db", backup)
        hub = open_hub()
        desk = Desk(hub)
        withdraw(desk, 1, reason="REQUESTED_BY_PERSON_SHOWN")
        withdraw(desk, 2)
        restored = withdraw(desk, 3)
        restore(desk, restored)
        gone = Record(position="x", action=Action.WITHDRAW, hashes=(digest("MD5", 4),))
        desk.contribute("alpha/list", gone, item(61))
        erased = entry_of(desk, 5)
        hub.entries.erase(OPERATOR, "alpha", "list", erased.id)
        hub.close()
        log = sqlite_directory / "withdrawals.log"
        assert b"secret-id" not in log.read_bytes()
        assert digest("MD5", 1).digest.hex().encode() not in log.read_bytes()
        assert log.stat().st_mode & 0o077 == 0

        for path in sqlite_directory.glob("hashhub.db*"):
            path.unlink()
        shutil.copy(backup, sqlite_directory / "hashhub.db")
        with caplog.at_level("WARNING"):
            hub = open_hub()
        assert "4 entries that had been withdrawn since were withdrawn again" in caplog.text
        desk = Desk(hub)
        assert desk.known(1, 2, 3, 4, 5, 6) == [3, 6]
        assert [e.reason for e in history(desk)[:4]] == ["REAPPLIED_AFTER_RESTORE"] * 4
        assert entry_of(desk, 1).withdrawal is not None
        assert hub.entries.get(OPERATOR, "alpha", "list", erased.id).reasons == ("ERASED",)
        with pytest.raises(PermissionDenied):
            restore(desk, entry_of(desk, 1))
        again = desk.contribute("alpha/list", *(item(n, external_id=f"secret-id-{n}") for n in (1, 2, 3, 5)))
        assert again.counts.stays_withdrawn == 3
        hub.close()
        caplog.clear()
        open_hub()
        assert "withdrawn again" not in caplog.text

    def test_nor_does_a_restored_backup_let_anybody_in_who_was_shut_out(
        self, open_hub: Open, sqlite_directory: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        hub = open_hub()
        desk = Desk(hub)
        for name in ("alpha", "beta"):
            desk.contributor(name)
        desk.contributor("gamma")
        names = ("deleted", "named", "stolen", "ended", "renewed", "kept")
        secrets = {
            name: hub.tokens.create(OPERATOR, Principal(name=name, role=Role.CONSUMER, contributor="alpha"))[1]
            for name in names
        }
        _, secrets["retired"] = hub.tokens.create(
            OPERATOR, Principal(name="retired", role=Role.CONSUMER, contributor="beta")
        )
        desk.hash_set("gamma/list", marking=Marking(recipients=("tokens/named",)))
        hub.close()
        backup = sqlite_directory.parent / "backup.db"
        shutil.copy(sqlite_directory / "hashhub.db", backup)
        hub = open_hub()
        hub.hash_sets.update(OPERATOR, HashSet(contributor="gamma", id="list"), ["marking.recipients"])
        for name in ("deleted", "named"):
            hub.tokens.delete(OPERATOR, name)
        for name, grace in (("stolen", timedelta(0)), ("renewed", timedelta(hours=2)), ("stolen", timedelta(0))):
            _, secrets[f"{name}, new"] = hub.tokens.rotate(OPERATOR, name, grace)
        over = Principal(name="ended", role=Role.CONSUMER, contributor="alpha", expire_time=now())
        hub.tokens.update(OPERATOR, over, ["expire_time"])
        hub.contributors.retire(OPERATOR, "beta", withdraw_entries=False)
        log = sqlite_directory / "withdrawals.log"
        until = time.monotonic() + 60
        while b"contributors/beta" not in log.read_bytes() and time.monotonic() < until:
            time.sleep(0.05)
        assert not any(secret.encode() in log.read_bytes() for secret in secrets.values())
        hub.close()
        for path in sqlite_directory.glob("hashhub.db*"):
            path.unlink()
        shutil.copy(backup, sqlite_directory / "hashhub.db")
        with caplog.at_level("WARNING"):
            hub = open_hub()

        def is_let_in(secret: str) -> bool:
            try:
                hub.tokens.authenticate(secret)
            except Unauthenticated:
                return False
            return True

        assert {name for name, secret in secrets.items() if is_let_in(secret)} == {
            "kept",
            "renewed",
            "renewed, new",
            "stolen, new",
        }
        assert "tokens/stolen" in caplog.text
        assert "contributors/beta" in caplog.text
        hub.close()
        caplog.clear()
        open_hub()
        assert "tokens/" not in caplog.text

    def test_nor_does_it_revive_older_statements_about_it_or_let_a_list_do_so(
        self, open_hub: Open, sqlite_directory: Path
    ) -> None:
        """The backup has an older entry of the item, an entry of it in another hash set, or none."""
        hub = open_hub()
        desk = Desk(hub)
        for name in ("alpha/list", "alpha/other", "beta/list"):
            desk.hash_set(name)
        everything = range(1, 60)
        pdq = item(30, hashes=(digest("PDQ", 30),))
        desk.contribute("alpha/list", *(item(n) for n in everything if n not in {7, 8, 9, 11, 30}), pdq)
        desk.contribute("alpha/list", item(11, external_id="a"), item(11, external_id="b"))
        for name in ("alpha/other", "beta/list"):
            desk.contribute(name, item(2), item(3), item(60))
        hub.close()
        backup = sqlite_directory.parent / "backup.db"
        shutil.copy(sqlite_directory / "hashhub.db", backup)
        hub = open_hub()
        desk = Desk(hub)
        new = {"tags": ("new",)}
        changed = [item(n, **new) for n in (1, 2, 3, 4, 5)]
        sibling = item(11, external_id="a", **new)
        desk.contribute("alpha/list", *changed, sibling, msgspec.structs.replace(pdq, tags=("new",)))
        desk.contribute("alpha/list", *(item(n) for n in (7, 8, 9)), item(60))
        for number, reason, who in (
            (1, "ERROR", OPERATOR),
            (2, "ERROR", OPERATOR),
            (3, "REQUESTED_BY_PERSON_SHOWN", OPERATOR),
            (7, "ERROR", OPERATOR),
            (8, "REQUESTED_BY_PERSON_SHOWN", ALPHA),
        ):
            withdraw(desk, number, who=who, reason=reason)
        for number in (4, 9, 60):
            (entry,) = [e for e in desk.entries("alpha/list", EntryState.ACTIVE) if digest("MD5", number) in e.hashes]
            hub.entries.withdraw(ALPHA, "alpha", "list", entry.id, WithdrawalReason.ERROR)
            hub.entries.withdraw(SECOND, "alpha", "list", entry.id, WithdrawalReason.ERROR)
        for entry in desk.entries("alpha/list", EntryState.ACTIVE):
            if entry.external_id == "a" or entry.hashes == pdq.hashes:
                hub.entries.withdraw(ALPHA, "alpha", "list", entry.id, WithdrawalReason.ERROR)
                hub.entries.withdraw(SECOND, "alpha", "list", entry.id, WithdrawalReason.ERROR)
        gone = withdraw(desk, 5, who=OPERATOR)
        restore(desk, gone, who=OPERATOR)
        hub.close()
        log = (sqlite_directory / "withdrawals.log").read_bytes()
        for number in (1, 2, 3, 7, 8, 9):
            for h in item(number).hashes:
                assert h.digest.hex().encode() not in log
                assert base64.b64encode(h.digest)[:12] not in log
        for path in sqlite_directory.glob("hashhub.db*"):
            path.unlink()
        shutil.copy(backup, sqlite_directory / "hashhub.db")
        for _ in range(2):  # the second start finds nothing left to do
            hub = open_hub()
            desk = Desk(hub)
            active = {
                name: sorted(
                    {
                        n
                        for n in range(1, 61)
                        for e in desk.entries(name, EntryState.ACTIVE)
                        if digest("MD5", n) in e.hashes
                    }
                )
                for name in ("alpha/list", "alpha/other", "beta/list")
            }
            assert active["beta/list"] == [2, 3, 60]
            assert active["alpha/other"] == [60]
            assert active["alpha/list"] == [n for n in everything if n not in {1, 2, 3, 4, 7, 8, 9, 30}]
            assert not [e for e in desk.entries("alpha/list", EntryState.ACTIVE) if e.hashes == pdq.hashes]
            assert [e.external_id for e in desk.entries("alpha/list", EntryState.ACTIVE) if e.external_id] == ["b"]
            revision = hub.revision()
            hub.close()
        hub = open_hub()
        desk = Desk(hub)
        assert hub.revision() == revision
        for week in range(2):
            tags = {"tags": (f"week {week}",)}
            done = desk.contribute("alpha/list", *(item(n, **tags) for n in (1, 2, 3, 4, 7, 8, 9)))
            assert (done.counts.accepted, done.counts.stays_withdrawn, done.counts.quarantined) == (0, 4, 3)
            assert {f.reason for f in desk.report(done)} == {"STAYS_WITHDRAWN"}
            other = desk.contribute("alpha/other", *(item(n, **tags) for n in (7, 8, 9)))
            assert (other.counts.accepted, other.counts.quarantined) == (1, 2)
            assert desk.contribute("beta/list", item(7, **tags)).counts.accepted == 1
        (waiting,) = [e for e in desk.entries("alpha/list", EntryState.QUARANTINED) if digest("MD5", 7) in e.hashes]
        hub.entries.release(OPERATOR, "alpha", "list", waiting.id)
        assert desk.contribute("alpha/list", item(7, tags=("at last",))).counts.accepted == 1

    def test_a_hold_on_what_was_withdrawn_already_is_kept_too(self, open_hub: Open, sqlite_directory: Path) -> None:
        hub = open_hub()
        desk = Desk(hub)
        desk.hash_set("alpha/list")
        desk.contribute("alpha/list", *(item(n) for n in range(1, 60)))
        desk.contribute("alpha/list", *(item(n) for n in range(2, 60)), replace=True)
        hub.close()
        backup = sqlite_directory.parent / "backup.db"
        shutil.copy(sqlite_directory / "hashhub.db", backup)
        hub = open_hub()
        desk = Desk(hub)
        desk.contribute("alpha/list", *(item(n) for n in range(3, 60)), replace=True)
        for number in (1, 2):  # both fell out of the list
            withdraw(desk, number, reason="REQUESTED_BY_PERSON_SHOWN")
        hub.close()
        for path in sqlite_directory.glob("hashhub.db*"):
            path.unlink()
        shutil.copy(backup, sqlite_directory / "hashhub.db")
        desk = Desk(open_hub())
        assert desk.contribute("alpha/list", item(1), item(2), item(3)).counts.stays_withdrawn == 2
        assert desk.known(1, 2, 3) == [3]

    def test_a_line_that_a_crash_cut_off_and_a_file_that_is_gone(self, open_hub: Open, sqlite_directory: Path) -> None:
        hub = open_hub()
        desk = Desk(hub)
        desk.hash_set("alpha/list")
        desk.contribute("alpha/list", *(item(n) for n in range(1, 60)))
        withdraw(desk, 1)
        log = sqlite_directory / "withdrawals.log"
        whole = log.read_bytes()
        log.write_bytes(whole[: len(whole) // 2])
        hub.close()
        hub = open_hub()
        assert log.read_bytes().splitlines()[-1] == whole.splitlines()[-1]
        hub.close()
        log.unlink()
        hub = open_hub()
        withdraw(Desk(hub), 2)
        assert len(log.read_bytes().splitlines()) == 2

    def test_two_processes_write_each_withdrawal_once(self, open_hub: Open, sqlite_directory: Path) -> None:
        first, second = Desk(open_hub()), Desk(open_hub(publisher=False))
        first.hash_set("alpha/list")
        first.contribute("alpha/list", *(item(n) for n in range(1, 60)))
        withdraw(first, 1)
        withdraw(second, 2)
        first.hub._follower.catch_up()
        lines = [json.loads(line) for line in (sqlite_directory / "withdrawals.log").read_bytes().splitlines()]
        assert len(lines) == len({line["revision"] for line in lines}) == 2


def revert(desk: Desk, actor: str, since: Any, **options: Any) -> list[RevertedEvent]:
    preview = desk.hub.history.revert(OPERATOR, actor, since, validate_only=True)
    before = desk.hub.revision()
    assert desk.hub.history.revert(OPERATOR, actor, since, validate_only=True) == preview
    assert desk.hub.revision() == before
    done = list(desk.hub.history.revert(OPERATOR, actor, since, comment="a stolen token", **options))
    if not options:
        assert [(x.event, x.outcome, x.reverted, x.entry_count) for x in done] == [
            (x.event, x.outcome, x.reverted, x.entry_count) for x in preview
        ]
    return done


class TestReverting:
    def test_how_long_entries_are_kept_and_holds(self, any_desk: Desk) -> None:
        desk = any_desk
        for name in ("alpha/list", "alpha/other", "alpha/erased", "alpha/held"):
            desk.hash_set(name)
        keep = desk.hub.retention
        keep.update(OPERATOR, "alpha", "list", days=365, hold=True, comment="court order")
        keep.update(OPERATOR, "alpha", "other", days=30)
        since = now()
        keep.update(MOLE, "alpha", "held", days=1, hold=True)
        keep.update(MOLE, "alpha", "list", hold=False)
        keep.update(MOLE, "alpha", "list", days=1)
        keep.update(MOLE, "alpha", "list", days=2)
        keep.update(MOLE, "alpha", "other", days=0)
        keep.update(OPERATOR, "alpha", "other", days=90)
        keep.update(MOLE, "alpha", "erased", hold=True)
        [erased] = desk.hub._store.history.list_events(actor="mole", limit=1)
        desk.hub.history.redact(OPERATOR, erased.revision)
        done = revert(desk, "mole", since)
        assert [(x.event.subject.rpartition("/")[2], x.reverted) for x in done] == [
            ("erased", False), ("other", False), ("list", True), ("list", True), ("list", True),
            ("held", True),
        ]  # fmt: skip
        assert "is not on record" in done[0].outcome
        assert done[1].outcome == "left as it is: days was changed since"
        # Days were lengthened, shortened, began to count, and were given to what was held.
        assert ["expired meanwhile" in x.outcome for x in done[2:]] == [False, True, True, False]
        assert keep.get(OPERATOR, "alpha", "list") == Retention(days=365, hold=True)
        assert keep.get(OPERATOR, "alpha", "other") == Retention(days=90)
        assert keep.get(OPERATOR, "alpha", "erased") == Retention(hold=True)

    def test_a_stolen_token_of_a_contributor(self, any_desk: Desk) -> None:
        desk = any_desk
        desk.hash_set("alpha/list")
        desk.hash_set("beta/list")
        desk.contribute("alpha/list", *(item(n) for n in range(1, 61)))
        desk.contribute("beta/list", item(100))
        since = now()
        states = {e.id: (e.state, e.reasons) for e in desk.entries("alpha/list")}
        withdraw(desk, 1, THIEF, "REQUESTED_BY_PERSON_SHOWN")
        for number in (2, 3, 4, 5, 6):
            withdraw(desk, number, THIEF)
        theirs = entry_of(desk, 100, "beta/list")
        desk.hub.reviews.create(THIEF, "beta", "list", theirs.id, ReviewKind.FALSE_POSITIVE)
        opened = desk.hub.contribute.open(THIEF, desk.open("alpha/list", replace=True))
        desk.hub.contribute.add(THIEF, opened.id, opened.batch_count, [item(10, tags=("evil",)), item(200)], [])
        desk.hub.contribute.commit(THIEF, opened.id, batch_count=1, allow_shrinking=True)
        assert desk.known(1, 2, 10, 50, 200) == [10, 200]
        with pytest.raises(PermissionDenied):
            desk.hub.history.revert(ALPHA, "thief", since, comment="x")
        with pytest.raises(InvalidArgument, match="why"):
            desk.hub.history.revert(OPERATOR, "thief", since)
        done = revert(desk, "thief", since)
        assert all(x.reverted for x in done), [(x.event.kind, x.outcome) for x in done]
        assert {e.id: (e.state, e.reasons) for e in desk.entries("alpha/list") if e.id in states} == states
        assert desk.known(1, 2, 6, 10, 50, 200) == [1, 2, 6, 10, 50]
        reviews = desk.hub.reviews.list(AUDITOR, "beta", "list", theirs.id, 10, 0)[0]
        assert [r.kind for r in reviews] == [ReviewKind.FALSE_POSITIVE, ReviewKind.SET_ASIDE]
        assert kinds(history(desk))[0] == "ACTOR_REVERTED"
        before = desk.hub.revision()
        again = desk.hub.history.revert(OPERATOR, "thief", since, comment="again")
        assert not any(x.reverted for x in again)
        assert desk.hub.revision() == before
        assert desk.contribute("alpha/list", item(1, tags=("t",))).counts.accepted == 1  # nothing holds it any more

    def test_only_withdrawals(self, listed: Desk) -> None:
        since = now()
        withdraw(listed, 1, THIEF)
        withdraw(listed, 2, ALPHA, "REQUESTED_BY_PERSON_SHOWN")
        done = listed.hub.history.revert(OPERATOR, "thief", since, withdrawals_only=True, comment="x")
        assert [x.entry_count for x in done] == [1]
        assert listed.known(1, 2) == [1]

    def test_what_others_changed_since_stays_and_is_told(self, listed: Desk) -> None:
        since = now()
        done = withdraw(listed, 1, THIEF)
        withdraw(listed, 2, THIEF, "REQUESTED_BY_PERSON_SHOWN")
        restore(listed, done)
        withdraw(listed, 1, ALPHA, "FALSE_POSITIVE", "it is one, though")
        (newest, oldest) = revert(listed, "thief", since)
        assert newest.reverted
        assert not oldest.reverted
        assert oldest.outcome == "1 entry changed by others since"
        assert listed.known(1, 2) == [2]

    def test_an_operators_stolen_token(self, desk: Desk) -> None:
        assert desk.hub.tokens.bootstrap()
        desk.hash_set("alpha/list", marking=Marking(tlp=TLP.AMBER))
        desk.contribute("alpha/list", *(item(n) for n in range(1, 6)))
        desk.hub.groups.create(OPERATOR, Group(id="allies", members=("alpha",)))
        quarantined = desk.hub.entries.quarantine(OPERATOR, "alpha", "list", entry_of(desk, 1).id)
        withdrawn = withdraw(desk, 2, OPERATOR)
        objected = entry_of(desk, 4)
        desk.contributor("beta")
        objection = desk.hub.reviews.create(BETA, "alpha", "list", objected.id, ReviewKind.FALSE_POSITIVE)
        terms = desk.hub.hash_sets.get(OPERATOR, "alpha", "list")
        since = now()
        hub = desk.hub
        hub.entries.release(MOLE, "alpha", "list", quarantined.id)
        restore(desk, withdrawn, MOLE)
        hub.entries.quarantine(MOLE, "alpha", "list", entry_of(desk, 3).id)
        hub.reviews.set_aside(MOLE, "alpha", "list", objected.id, objection.id, "hush")
        for tlp in (TLP.GREEN, TLP.CLEAR):
            hub.hash_sets.update(MOLE, HashSet(contributor="alpha", id="list", marking=Marking(tlp=tlp)), ["marking"])
        hub.groups.update(MOLE, Group(id="allies"), ["members"])
        hub.contributors.create(
            MOLE, Contributor(id="fake", display_name="F", kind=ContributorKind.NGO, jurisdiction="GB")
        )
        hub.tokens.create(MOLE, Principal(name="spare", role=Role.OPERATOR, contributor="operator"))
        hub.entries.erase(MOLE, "alpha", "list", entry_of(desk, 5).id)
        done = revert(desk, "mole", since)
        left = [(x.event.kind, x.outcome) for x in done if not x.reverted]
        assert [kind for kind, _ in left][:1] == [EventKind.ENTRY_ERASED]
        assert {kind for kind, _ in left} <= {EventKind.ENTRY_ERASED, EventKind.ENTRIES_WITHDRAWN}, left
        assert hub.hash_sets.get(OPERATOR, "alpha", "list") == terms
        assert hub.groups.get(OPERATOR, "allies").members == ("alpha",)
        assert hub.contributors.get(OPERATOR, "fake").retire_time is not None
        assert "spare" not in [t.name for t in hub.tokens.list(OPERATOR)]
        assert desk.known(1, 2, 3) == [3]
        assert entry_of(desk, 1).state is EntryState.QUARANTINED
        with pytest.raises(PermissionDenied):
            restore(desk, entry_of(desk, 2))
        aside = [r for r in hub.reviews.list(AUDITOR, "alpha", "list", objected.id, 10, 0)[0] if r.sets_aside]
        assert aside[1].sets_aside == aside[0].id

    def test_it_goes_on_where_it_was_cut_off(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        desk.hash_set("alpha/list")
        desk.contribute("alpha/list", *(item(n) for n in range(1, 61)))
        since = now()
        for number in (1, 2, 3):
            withdraw(desk, number, THIEF)
        real = Standing.restore_entries
        left = [1]

        def restore_once(self: Standing, *args: Any, **options: Any) -> Any:
            if not left:
                raise KeyboardInterrupt
            left.pop()
            return real(self, *args, **options)

        monkeypatch.setattr(Standing, "restore_entries", restore_once)
        with pytest.raises(KeyboardInterrupt):
            desk.hub.history.revert(OPERATOR, "thief", since, comment="x")
        monkeypatch.undo()
        assert desk.known(1, 2, 3) == [3]
        desk.hub.history.revert(OPERATOR, "thief", since, comment="x")
        assert desk.known(1, 2, 3) == [1, 2, 3]

    @pytest.mark.parametrize("is_cut_off", [False, True])
    def test_what_was_undone_is_not_undone_again(
        self, any_desk: Desk, monkeypatch: pytest.MonkeyPatch, *, is_cut_off: bool
    ) -> None:
        """What a newer list of the token had replaced does not stand again, not even for a moment, nor do terms that
        come back.
        """
        desk = any_desk
        desk.hash_set("alpha/list", marking=Marking(tlp=TLP.CLEAR))
        since = now()
        desk.contribute("alpha/list", *(item(n) for n in range(1, 31)))
        desk.contribute("alpha/list", *(item(n, tags=("new",)) for n in range(1, 31)))
        for tlp in (TLP.GREEN, TLP.CLEAR):
            desk.hub.hash_sets.update(
                ALPHA, HashSet(contributor="alpha", id="list", marking=Marking(tlp=tlp)), ["marking"]
            )
        if is_cut_off:

            def note(*_: object, **__: object) -> int:
                raise KeyboardInterrupt

            with monkeypatch.context() as patch:
                patch.setattr(Undoing, "note", note)
                with pytest.raises(KeyboardInterrupt):
                    desk.hub.history.revert(OPERATOR, "alpha-desk", since, comment="x")
            assert "ACTOR_REVERTED" not in kinds(history(desk))
        else:
            revert(desk, "alpha-desk", since)
        before = desk.hub.revision()
        preview = desk.hub.history.revert(OPERATOR, "alpha-desk", since, validate_only=True)
        again = desk.hub.history.revert(OPERATOR, "alpha-desk", since, comment="again")
        assert again == preview
        assert not any(x.reverted for x in again), again
        assert desk.hub.revision() == before + is_cut_off
        (told,) = [e for e in history(desk) if e.kind is EventKind.ACTOR_REVERTED]
        assert (told.facts["events"], told.facts["entries"]) == (4, 90)
        assert desk.known(*range(1, 31)) == []

    def test_what_was_undone_can_be_undone_again_once_that_was_undone(self, any_desk: Desk) -> None:
        desk = any_desk
        desk.hash_set("alpha/list")
        desk.contribute("alpha/list", *(item(n) for n in range(1, 4)))
        since = now()
        withdraw(desk, 1, THIEF)
        revert(desk, "thief", since)
        assert desk.known(1, 2) == [1, 2]
        revert(desk, "operator", since)
        assert desk.known(1, 2) == [2]
        (done,) = revert(desk, "thief", since)
        assert done.reverted
        assert desk.known(1, 2) == [1, 2]


def test_terms_that_run_out_are_an_event_once(desk: Desk) -> None:
    desk.hash_set("alpha/list", marking=Marking(tlp=TLP.AMBER, expire_time=now() + timedelta(days=1)))
    housekeeping = desk.hub._housekeeping
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
            hub._store, hub._matcher, hub._follower, Path("nowhere"), week, hub.renewals, lambda: None
        )
        housekeeping.round()
    position = hub._store.history.position()
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
