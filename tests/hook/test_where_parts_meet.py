"""Parts of the hook together: none makes another's word weaker, and what one lacks another says."""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from hashhub.desk.cases.clocks import CasePurpose
from hashhub.desk.cases.item import item_of_hashes
from hashhub.desk.cases.life import CaseOutcome, Cases
from hashhub.desk.records import Records, UploadState
from hashhub.desk.settings import CaseSettings, Encryption, HashingSite, RecheckSettings, VaultSettings
from hashhub.desk.vault_keys import make_key
from hashhub.errors import FailedPrecondition, HashHubError, Reason
from hashhub.hashes import Hash
from hashhub.hook import Action, Decision, FollowUp, Hook, HookSettings, NoAnswer, WithoutAnswer
from hashhub.hook.decorator import UploadRefused, checked_upload
from hashhub.hook.examiner import CaseJudge, MediaAnswer
from hashhub.hook.factory import open_vault
from hashhub.hook.forms import answer_to
from hashhub.hook.hashing import UploadBytes
from hashhub.hook.settings import AppSettings, OnHold
from hashhub.hook.wsgi import WSGIUploadHook
from hashhub.model import MatchResult, MediaResult, ReasonLine, Verdict
from hashhub.senders import ByteBudget
from tests.hook.conftest import jpeg
from tests.hook.test_core import OneVerdict
from tests.hook.web import File, ask, form, serving_wsgi

if TYPE_CHECKING:
    from tests.hook.conftest import Listed

    MakeSettings = Callable[..., HookSettings]

STRICT = WithoutAnswer(
    hub_away=Action.BLOCK, unreadable=Action.BLOCK, too_large=Action.BLOCK, no_perceptual_hash=Action.ALLOW
)
LAX = WithoutAnswer(
    hub_away=Action.ALLOW, unreadable=Action.ALLOW, too_large=Action.ALLOW, no_perceptual_hash=Action.ALLOW
)
RARELY = RecheckSettings(seconds=3600.0)
REPORTED = b"a text that somebody reported"


@pytest.fixture
def open_with(make_settings: MakeSettings) -> Iterator[Callable[..., Hook]]:
    """Return a function that opens a hook as `open_hook` does, over a judge of the test's own."""
    made: list[Hook] = []

    def opened(judge: Any, *, told: list[FollowUp] | None = None, **given: Any) -> Hook:
        settings = make_settings(**{"recheck": RARELY, "cache_seconds": 0.0} | given)
        records = Records(Path(settings.data))
        vault = open_vault(settings, records)
        hook = Hook(
            settings,
            judge=CaseJudge(judge, records, settings),
            records=records,
            on_checked=[vault.on_checked] if vault else [],
            on_recheck=[told.append] if told is not None else [],
        )
        made.append(hook)
        return hook

    yield opened
    for hook in made:
        hook.close()


def report(hook: Hook, content: bytes = REPORTED, **settings: Any) -> str:
    """Open a case about these bytes, and return its name."""
    return of_hashes(hook, UploadBytes(ByteBudget(1 << 20), 1 << 20), content, **settings)


def of_hashes(hook: Hook, content: UploadBytes, given: bytes, **settings: Any) -> str:
    content.write(given)
    case = Cases(records_of(hook), CaseSettings(**settings)).open(
        item_of_hashes(content.digests),
        purpose=CasePurpose.INTIMATE_IMAGE,
        complaint="T-1",
        reason="came by the form",
        actor="ann",
        receive_time=datetime.now(UTC),
    )
    content.drop()
    return case.name


def records_of(hook: Hook) -> Records:
    assert hook.records is not None
    return hook.records


def state_of(hook: Hook, reference: str) -> UploadState | None:
    recorded = records_of(hook).get_upload(reference)
    return recorded[0] if recorded else None


def make_due(hook: Hook) -> None:
    records_of(hook).write("UPDATE recheck SET due = 0")
    records_of(hook).write("UPDATE telling SET due = 0")


def vault_of(directory: Path) -> VaultSettings:
    key = directory / "vault.key"
    make_key(key)
    return VaultSettings(encryption=Encryption.KEY_FILE, key_file=str(key), days_without_report=90, country="US")


class TestTheVault:
    """What should be in it and is not, is said."""

    def test_an_upload_whose_bytes_were_not_received(
        self, open_with: Callable[..., Hook], tmp_path: Path, listed: Listed
    ) -> None:
        hook = open_with(OneVerdict(Verdict.NO_MATCH), vault=vault_of(tmp_path), max_bytes=1000)
        decision = hook.check(listed.unknown)
        assert (decision.action, decision.no_answer) == (Action.HOLD, NoAnswer.TOO_LARGE)
        assert not decision.is_kept
        assert "vault.not_kept" in [event.kind for event in records_of(hook).events(subject=decision.reference)]

    def test_one_that_others_crowded_out(self, open_with: Callable[..., Hook], tmp_path: Path, listed: Listed) -> None:
        hook = open_with(OneVerdict(Verdict.MATCH), vault=vault_of(tmp_path), max_total_bytes=1000)
        decision = hook.check(listed.unknown)
        assert (decision.action, decision.is_kept) == (Action.BLOCK, False)

    def test_one_that_was_allowed_at_first_is_not_there(self, open_with: Callable[..., Hook], tmp_path: Path) -> None:
        judge = OneVerdict(Verdict.MATCH)
        judge.is_away = True
        hook = open_with(judge, vault=vault_of(tmp_path), without_answer=LAX)
        reference = hook.check(b"a text").reference
        judge.is_away = False
        make_due(hook)
        hook.recheck()
        assert state_of(hook, reference) is UploadState.BLOCKED
        kinds = [event.kind for event in records_of(hook).events(subject=reference)]
        assert kinds == ["upload.unanswered", "upload.rechecked", "vault.not_kept"]

    def test_what_nobody_can_read_leaves_room_for_what_is_listed(
        self, open_with: Callable[..., Hook], tmp_path: Path, listed: Listed
    ) -> None:
        """A stranger makes files by the thousand that are no pictures but in name."""
        judge = OneVerdict(Verdict.NO_MATCH)
        settings = msgspec.structs.replace(vault_of(tmp_path), max_total_bytes=10_000)
        hook = open_with(judge, vault=settings, max_records=10)
        junk = [hook.check(listed.unknown[:2000] + bytes([i])) for i in range(8)]
        assert [d.is_kept for d in junk] == [True] * 2 + [False] * 6  # two have room in the vault
        judge.verdict = judge.of_digests = Verdict.MATCH
        assert [hook.check(bytes([i]) * 1000).is_kept for i in range(5)] == [True] * 5

    def test_hashes_alone_lack_nothing(self, open_with: Callable[..., Hook], tmp_path: Path) -> None:
        hook = open_with(OneVerdict(Verdict.MATCH), vault=vault_of(tmp_path))
        assert hook.check([Hash("MD5", bytes(16))]).is_kept

    def test_what_the_vault_never_takes_is_not_asked_for_again_and_again(
        self, open_with: Callable[..., Hook], tmp_path: Path
    ) -> None:
        vault = msgspec.structs.replace(vault_of(tmp_path), max_upload_bytes=1000)
        app = AppSettings(on_hold=OnHold.KEEP)
        hook = open_with(OneVerdict(Verdict.REVIEW), vault=vault, app=app)
        answer = answer_to(hook.check(b"\0large" * 500), app)
        assert answer is not None
        assert (answer.status, answer.retry_after) == (413, None)
        crowded = open_with(OneVerdict(Verdict.REVIEW), vault=vault, app=app, max_total_bytes=1000)
        answer = answer_to(crowded.check(jpeg(3)), app)
        assert answer is not None
        assert (answer.status, answer.retry_after) == (503, 10)

    def test_no_door_says_accepted_of_what_nobody_has(
        self, open_with: Callable[..., Hook], tmp_path: Path, listed: Listed
    ) -> None:
        """The vault is full. Whoever took 202 for an answer would have deleted the only copy."""
        vault = msgspec.structs.replace(vault_of(tmp_path), max_total_bytes=3000)
        hook = open_with(OneVerdict(Verdict.REVIEW), vault=vault, app=AppSettings(on_hold=OnHold.KEEP))
        testing = pytest.importorskip("starlette.testclient", reason="needs hashhub[hook]")
        from hashhub.hook.sidecar.application import Sidecar

        def never(*_: Any) -> Any:
            raise AssertionError("the app got it")

        first, second = b"\0one" * 500, b"\0two" * 500
        with serving_wsgi(WSGIUploadHook(never, hook=hook)) as address:
            assert ask(address, form(File("a", "a", first))).status == 202
            reply = ask(address, form(File("a", "a", second)))
            assert (reply.status, reply.headers["retry-after"]) == (503, "10")
            assert json.loads(reply.body)["error"]["reason"] == "REQUEST_REFUSED"
            # Of two files, one that was taken in says nothing about the other.
            small = form(File("a", "a", b"\0small"), File("b", "b", second))
            assert ask(address, small).status == 503
        with testing.TestClient(Sidecar(hook), base_url="http://127.0.0.1") as client:
            answer = client.post("/check", content=second).json()
            assert (answer["action"], answer["is_kept"]) == ("HOLD", False)
            files = {"a": ("a", b"\0small"), "b": ("b", second)}
            answer = client.post("/check", files=files).json()
            assert (answer["action"], answer["is_kept"]) == ("HOLD", False)
            assert [file["decision"]["is_kept"] for file in answer["files"]] == [True, False]

        @checked_upload(argument="upload", hook=hook)
        def store(upload: bytes) -> None:
            raise AssertionError(upload)

        with pytest.raises(UploadRefused) as refused:
            store(second)
        assert not refused.value.decision.is_kept


class TestACase:
    """Makes an answer more careful, never less, and takes the place of none."""

    @pytest.mark.parametrize("how", ["away", "unavailable", "past the limit"])
    def test_where_the_lists_say_nothing_their_choice_counts_too(
        self, open_with: Callable[..., Hook], how: str
    ) -> None:
        verdict = Verdict.UNAVAILABLE if how == "unavailable" else Verdict.NO_MATCH
        judge = OneVerdict(verdict, is_past_limit=how == "past the limit")
        judge.is_away = how == "away"
        hook = open_with(judge, without_answer=STRICT)
        assert hook.check(REPORTED).action is Action.BLOCK  # without a case
        report(hook)
        decision = hook.check(REPORTED)
        assert (decision.action, decision.verdict) == (Action.BLOCK, Verdict.REVIEW)
        assert decision.no_answer is NoAnswer.HUB_AWAY

    def test_a_file_that_the_hub_could_not_read_is_still_unread(
        self, open_with: Callable[..., Hook], listed: Listed
    ) -> None:
        class Unread(OneVerdict):
            def judge_media(self, label: str, content: bytes) -> MediaAnswer:
                del label, content
                result = MatchResult(
                    verdict=Verdict.UNAVAILABLE,
                    reasons=(ReasonLine(code=Reason.UNREADABLE_MEDIA, text="cannot be decoded"),),
                )
                media = MediaResult(result=result, media_type="image/jpeg", hashes=reported)
                return MediaAnswer(result=result, media=media, policy="block@1", revision=7)

        content = UploadBytes(ByteBudget(1 << 20), 1 << 20)
        content.write(listed.unknown)
        reported = content.digests
        content.drop()
        hook = open_with(Unread(Verdict.NO_MATCH), without_answer=STRICT, hashing=HashingSite.HUB)
        report(hook, listed.unknown)
        decision = hook.check(listed.unknown)
        assert (decision.action, decision.no_answer) == (Action.BLOCK, NoAnswer.UNREADABLE)

    def test_the_lists_are_asked_later(self, open_with: Callable[..., Hook]) -> None:
        """The case holds it at once; who else knows it is asked when that can be."""
        judge, told = OneVerdict(Verdict.MATCH), list[FollowUp]()
        judge.is_away = True
        hook = open_with(judge, told=told)
        report(hook)
        reference = hook.check(REPORTED).reference
        assert state_of(hook, reference) is UploadState.HELD
        make_due(hook)
        hook.recheck()
        assert not told
        judge.is_away = False
        make_due(hook)
        hook.recheck()
        [rechecked] = told
        assert (rechecked.action, rechecked.verdict) == (Action.BLOCK, Verdict.MATCH)
        assert state_of(hook, reference) is UploadState.HELD  # a person decides

    def test_one_that_is_opened_meanwhile_stops_what_had_no_answer(self, open_with: Callable[..., Hook]) -> None:
        judge, told = OneVerdict(Verdict.MATCH), list[FollowUp]()
        judge.is_away = True
        hook = open_with(judge, told=told, without_answer=LAX)
        reference = hook.check(REPORTED).reference
        report(hook)
        for _ in range(2):  # the second changes nothing
            make_due(hook)
            hook.recheck()
        assert [(t.action, t.verdict) for t in told] == [(Action.HOLD, Verdict.REVIEW)]
        assert state_of(hook, reference) is UploadState.HELD
        judge.is_away = False
        make_due(hook)
        hook.recheck()
        assert [(t.action, t.verdict) for t in told[1:]] == [(Action.BLOCK, Verdict.MATCH)]

    def test_when_it_ends_the_queue_still_holds(self, open_with: Callable[..., Hook]) -> None:
        """The app is told nothing milder than what the queue says."""
        judge, told = OneVerdict(Verdict.NO_MATCH), list[FollowUp]()
        judge.is_away = True
        hook = open_with(judge, told=told)
        name = report(hook)
        reference = hook.check(REPORTED).reference
        Cases(records_of(hook), CaseSettings()).close(name, CaseOutcome.REJECTED, actor="ann", reason="no")
        judge.is_away = False
        make_due(hook)
        hook.recheck()
        assert state_of(hook, reference) is UploadState.HELD
        assert [t.action for t in told] == [Action.HOLD]

    @pytest.mark.parametrize("why", ["no room", "hashed at a hub that is away"])
    def test_a_picture_that_nobody_hashed_may_be_a_copy(
        self, open_with: Callable[..., Hook], listed: Listed, why: str
    ) -> None:
        judge = OneVerdict(Verdict.NO_MATCH)
        judge.is_away = why != "no room"
        given: dict[str, Any] = {"max_total_bytes": 1000} if why == "no room" else {"hashing": HashingSite.HUB}
        hook = open_with(judge, without_answer=LAX, **given)
        assert hook.check(listed.unknown).action is Action.ALLOW
        report(hook)
        decision = hook.check(listed.unknown)
        assert (decision.action, decision.no_answer) == (Action.HOLD, NoAnswer.HUB_AWAY)
        assert hook.check(listed.unknown[:500] if why == "no room" else b"no picture").action is Action.ALLOW

    def test_what_it_stops_is_counted_once(self, open_with: Callable[..., Hook], listed: Listed) -> None:
        hook = open_with(OneVerdict(Verdict.NO_MATCH))
        name = report(hook, listed.unknown)
        for _ in range(2):
            assert hook.check(listed.unknown).action is Action.HOLD
        assert Cases(records_of(hook), CaseSettings()).get(name).stopped == 2
        hook.probe()


class TestAPersonsWord:
    @pytest.mark.parametrize(
        ("state", "told_action"),
        [(UploadState.REMOVED, Action.BLOCK), (UploadState.HELD, Action.HOLD), (UploadState.RELEASED, Action.ALLOW)],
    )
    def test_a_later_answer_publishes_nothing_that_it_keeps_back(
        self, open_with: Callable[..., Hook], state: UploadState, told_action: Action
    ) -> None:
        judge, told = OneVerdict(Verdict.NO_MATCH), list[FollowUp]()
        judge.is_away = True
        hook = open_with(judge, told=told)
        reference = hook.check(b"a text").reference
        recorded = records_of(hook).get_upload(reference)
        assert recorded is not None
        records_of(hook).set_upload(state, recorded[1])
        judge.is_away = False
        make_due(hook)
        hook.recheck()
        assert [(t.action, t.verdict) for t in told] == [(told_action, Verdict.NO_MATCH)]
        assert state_of(hook, reference) is state


class TestSeveralProcesses:
    def test_the_app_is_told_whoever_finds_out(self, open_with: Callable[..., Hook]) -> None:
        """The clamd door shares the records with an app that has a callable; the door has none."""
        judge, told = OneVerdict(Verdict.MATCH), list[FollowUp]()
        judge.is_away = True
        door, app = open_with(judge), open_with(judge, told=told)
        reference = door.check(b"a text").reference
        judge.is_away = False
        make_due(door)
        door.recheck()
        assert state_of(app, reference) is UploadState.BLOCKED
        door.recheck()
        app.recheck()
        app.recheck()
        assert [t.reference for t in told] == [reference]

    def test_what_nobody_listens_to_does_not_pile_up(self, open_with: Callable[..., Hook]) -> None:
        judge = OneVerdict(Verdict.MATCH)
        judge.is_away = True
        hook = open_with(judge)
        hook.check(b"a text")
        judge.is_away = False
        make_due(hook)
        hook.recheck()
        records_of(hook).write("UPDATE telling SET since = 0")
        hook.recheck()
        assert not records_of(hook).rows("SELECT 1 FROM telling")

    def test_a_clock_that_was_wrong_puts_nothing_off_for_years(self, open_with: Callable[..., Hook]) -> None:
        judge, told = OneVerdict(Verdict.MATCH), list[FollowUp]()
        judge.is_away = True
        hook = open_with(judge, told=told)
        hook.check(b"a text")
        judge.is_away = False
        records_of(hook).write("UPDATE recheck SET due = due + 366 * 86400")
        hook.recheck()
        assert len(told) == 1

    def test_a_caller_that_asks_again_leaves_no_trace_each_time(
        self, open_with: Callable[..., Hook], tmp_path: Path
    ) -> None:
        judge = OneVerdict(Verdict.MATCH)
        judge.is_away = True
        hook = open_with(judge, vault=vault_of(tmp_path))
        for _ in range(3):
            with hook.receive(asks_again=True) as upload:
                upload.write(b"a text")
                assert upload.decide().no_answer is NoAnswer.HUB_AWAY
        assert records_of(hook).events() == []
        judge.is_away = False
        with hook.receive(asks_again=True) as upload:
            upload.write(b"a text")
            decision = upload.decide()
        assert state_of(hook, decision.reference) is UploadState.BLOCKED

    def test_records_that_were_opened_before_a_fork_are_refused(self, tmp_path: Path) -> None:
        records = Records(tmp_path / "hook")
        child = os.fork()
        if not child:
            try:
                records.note("b", "c", actor="a")
            except FailedPrecondition:
                os._exit(0)
            finally:
                os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        records.close()


class TestTheRecords:
    def test_a_change_that_cannot_be_made_durable_leaves_nothing_open(self, tmp_path: Path) -> None:
        """Else all that follows would be taken for a part of it, and be lost with it."""
        records = Records(tmp_path / "hook")

        def change() -> None:
            with records.transaction():
                records.write("PRAGMA defer_foreign_keys = ON")  # told at the end only, as a full disk is
                records.write("INSERT INTO case_hash VALUES ('no such case', 'MD5', x'00', '')")

        with pytest.raises(HashHubError):
            change()
        records.note("b", "c", actor="a")
        other = Records(tmp_path / "hook")
        assert [event.kind for event in other.events()] == ["b"]
        other.close()
        records.close()

    def test_a_full_disk_is_said_and_the_upload_held(self, open_with: Callable[..., Hook]) -> None:
        hook = open_with(OneVerdict(Verdict.MATCH))
        [(pages,)] = records_of(hook).rows("PRAGMA page_count")
        records_of(hook).rows(f"PRAGMA max_page_count = {pages}")
        decisions = [hook.check(f"text {i}".encode(), upload_id="x" * 1000) for i in range(30)]
        assert all(d.action is Action.BLOCK for d in decisions)
        [last] = {d.is_kept for d in decisions[-3:]}
        assert not last
        assert decisions[-1].reasons[-1].code == Reason.DISK_FULL
        records_of(hook).rows("PRAGMA max_page_count = 1000000")
        assert hook.check(b"a text").is_kept
        references = {event.subject for event in records_of(hook).events()}
        assert {d.reference for d in decisions if d.is_kept} < references
        assert not {d.reference for d in decisions if not d.is_kept} & references

    def test_who_locks_the_file_makes_nobody_wait_for_long(
        self, open_with: Callable[..., Hook], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Eight uploads that are to be recorded, one after the other, would wait eight times as long."""
        monkeypatch.setattr("hashhub.desk.records.WAIT_SECONDS", 0.5)
        hook = open_with(OneVerdict(Verdict.MATCH))
        blocker = sqlite3.connect(Path(hook.settings.data) / "hook.db", isolation_level=None)
        blocker.execute("BEGIN IMMEDIATE")
        decisions: list[Decision] = []
        threads = [
            threading.Thread(target=lambda i=i: decisions.append(hook.check(f"text {i}".encode()))) for i in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [(d.action, d.is_kept) for d in decisions] == [(Action.BLOCK, False)] * 8
        blocker.execute("ROLLBACK")
        blocker.close()
        assert hook.check(b"another").is_kept
