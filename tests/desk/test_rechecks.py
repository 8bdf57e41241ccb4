"""Uploads without an answer, asked about again; and the app told."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.server
import io
import json
import threading
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from hashhub.answering.answer import nothing
from hashhub.desk.app_webhook import AppUrl
from hashhub.desk.clock import believe, is_believed
from hashhub.desk.hub import HubAnswer
from hashhub.desk.queue.rulings import Rulings
from hashhub.desk.queue.view import RulingCode
from hashhub.desk.records import Records, UploadState
from hashhub.desk.rounds import Rechecks
from hashhub.desk.settings import QueueSettings, RecheckSettings
from hashhub.errors import Conflict, DataLoss, InvalidArgument, Unavailable
from hashhub.hook import Action, FollowUp, Hook, NoAnswer, WithoutAnswer
from hashhub.model import Query, Verdict, now
from hashhub.testing.pictures import picture
from tests.hook.conftest import HELD
from tests.hook.test_core import OneVerdict
from tests.patience import wait_until

if TYPE_CHECKING:
    from hashhub.hook import HookSettings
    from tests.hook.conftest import Listed

    MakeSettings = Callable[..., HookSettings]

ALLOWED = WithoutAnswer(
    hub_away=Action.ALLOW, unreadable=Action.ALLOW, too_large=Action.ALLOW, no_perceptual_hash=Action.ALLOW
)


RARELY = RecheckSettings(seconds=3600.0)  # than by `recheck`, in a test


def opened(settings: HookSettings, judge: OneVerdict, told: list[FollowUp] | None = None) -> Hook:
    tell = () if told is None else (told.append,)
    return Hook(settings, judge=judge, records=Records(Path(settings.data)), on_recheck=tell)


def away(verdict: Verdict) -> OneVerdict:
    judge = OneVerdict(verdict)
    judge.is_away = True
    return judge


@pytest.mark.parametrize(
    ("verdict", "action", "state"),
    [
        (Verdict.MATCH, Action.BLOCK, UploadState.BLOCKED),
        (Verdict.REVIEW, Action.HOLD, UploadState.HELD),
        (Verdict.NO_MATCH, Action.ALLOW, UploadState.RELEASED),
        (Verdict.BENIGN, Action.ALLOW, UploadState.RELEASED),
    ],
)
@pytest.mark.parametrize("choice", [HELD, ALLOWED])
def test_what_had_no_answer_gets_one_and_the_app_is_told_once(
    make_settings: MakeSettings, listed: Listed, verdict: Verdict, action: Action, state: UploadState,
    choice: WithoutAnswer,
) -> None:  # fmt: skip
    settings = make_settings(recheck=RARELY, without_answer=choice)
    judge, told = away(verdict), list[FollowUp]()
    with opened(settings, judge, told) as hook:
        decision = hook.check(listed.unknown, upload_id="photo 7", door="test")
        assert decision.no_answer is NoAnswer.HUB_AWAY
        assert hook.records is not None
        wait_until(lambda: _hashes_of(hook, decision.reference) > 3)  # they may come after the decision
        hook.recheck()
        assert not told  # still away
        judge.is_away = False
        _make_due(hook)
        hook.recheck()
        wait_until(lambda: bool(told))
        hook.recheck()
        [rechecked] = told
        assert (rechecked.reference, rechecked.upload_id, rechecked.before, rechecked.action, rechecked.verdict) == (
            *(decision.reference, "photo 7", choice.hub_away, action, verdict),
        )
        recorded = hook.records.get_upload(decision.reference)
        assert recorded is not None
        assert (recorded[0], recorded[1].decision.action, recorded[1].decision.verdict) == (state, action, verdict)
        kinds = [event.kind for event in hook.records.events(subject=decision.reference)]
        assert kinds == ["upload.unanswered", "upload.rechecked"]


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE recheck SET pending = x'c1' WHERE reference = ?",
        "UPDATE upload SET checked = x'c1' WHERE reference = ?",
        "UPDATE telling SET rechecked = x'c1' WHERE number = 1 OR number = ?",
    ],
)
def test_what_is_damaged_keeps_no_other_from_its_answer(
    make_settings: MakeSettings, listed: Listed, damage: str
) -> None:
    settings = make_settings(recheck=RARELY)
    with opened(settings, away(Verdict.MATCH)) as hook:
        damaged, *others = [hook.check(listed.unknown + bytes([i])).reference for i in range(30)]
    records = Records(Path(settings.data))
    told: list[FollowUp] = []
    rechecks = Rechecks(settings, records, OneVerdict(Verdict.MATCH), (told.append,))
    if "telling" in damage:
        values = (0.0, time.time(), "callable", b"")
        records.write("INSERT INTO telling VALUES (1, ?, ?, 0, ?, ?)", values)
    records.write(damage, (damaged,))
    records.write("UPDATE recheck SET due = 0")
    with pytest.raises(DataLoss, match=f"upload {damaged} is damaged" if "telling" not in damage else "told"):
        rechecks.round()
    assert {rechecked.reference for rechecked in told} >= set(others)
    rechecks.round()  # what is damaged is not looked at again within the day
    if "telling" not in damage:
        assert records.count(UploadState.UNANSWERED) == 1  # no answer was made up for it
        assert records.rows("SELECT reference FROM recheck") == [(damaged,)]


def test_a_restart_in_the_middle_goes_on(make_settings: MakeSettings, listed: Listed) -> None:
    settings = make_settings(recheck=RARELY)
    with opened(settings, away(Verdict.MATCH)) as hook:
        references = [hook.check(listed.unknown + bytes([i])).reference for i in range(30)]
    told: list[FollowUp] = []
    with opened(settings, OneVerdict(Verdict.MATCH), told) as hook:
        _make_due(hook)
        hook.recheck()
        wait_until(lambda: len(told) == 30)
    assert sorted(r.reference for r in told) == sorted(references)


def test_one_that_never_gets_an_answer_keeps_no_other_from_having_one(make_settings: MakeSettings) -> None:
    settings = make_settings(recheck=RARELY)
    judge = away(Verdict.MATCH)
    with opened(settings, judge) as hook:
        references = sorted(hook.check(f"text {i}".encode()).reference for i in range(3))
        assert hook.records is not None
        recorded = hook.records.get_upload(references[0])  # the first in the table
        assert recorded is not None
        never, answer = recorded[1].hashes, judge.judge

        def fails_for_one(query: Query) -> HubAnswer:
            if query.hashes == never:
                raise Unavailable("the answer takes too long")
            return answer(query)

        judge.judge, judge.is_away = fails_for_one, False  # type: ignore[method-assign]
        for _ in range(60):
            _make_due(hook)
            hook.recheck()
        states = [_state(hook, reference) for reference in references]
    assert states == [UploadState.UNANSWERED, UploadState.BLOCKED, UploadState.BLOCKED]


def test_nothing_is_forgotten_by_a_clock_that_jumped(make_settings: MakeSettings, listed: Listed) -> None:
    settings = make_settings(recheck=RARELY, without_answer=ALLOWED)
    with opened(settings, OneVerdict(Verdict.NO_MATCH)) as hook:
        reference = hook.check(listed.known[:3000]).reference
        assert hook.records is not None
        is_believed(hook.records)
        hook.records.write("UPDATE clock SET time = '2026-01-01T00:00:00+00:00'")
        _make_due(hook, since=0.0)
        hook.recheck()
        assert _state(hook, reference) is UploadState.UNANSWERED
        believe(hook.records, actor="ann")
        _make_due(hook)
        hook.recheck()
        assert _state(hook, reference) is None


def test_two_processes_ask_once_about_each(make_settings: MakeSettings, listed: Listed) -> None:
    settings = make_settings(recheck=RARELY)
    told: list[FollowUp] = []
    first, second = away(Verdict.MATCH), away(Verdict.MATCH)
    with opened(settings, first, told) as one, opened(settings, second, told) as other:
        for i in range(50):
            one.check(f"text {i}".encode())
        for judge in (first, second):
            judge.queries.clear()
            judge.is_away = False
        _make_due(one)
        threads = [threading.Thread(target=hook.recheck) for hook in (one, other)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        wait_until(lambda: len(told) == 50)
        assert len(first.queries) + len(second.queries) == 50


def test_digests_alone_clear_no_picture(make_settings: MakeSettings, listed: Listed) -> None:
    """Its hashes were lost in a restart: nobody knows the digests, and nobody looked for the picture."""
    settings = make_settings(recheck=RARELY, without_answer=ALLOWED)
    with opened(settings, away(Verdict.NO_MATCH)) as hook:
        hook.hashing.close()  # type: ignore[union-attr]
        reference = hook.check(listed.unknown).reference
    with opened(settings, OneVerdict(Verdict.NO_MATCH)) as hook:
        _make_due(hook)
        hook.recheck()
        assert hook.records is not None
        wait_until(lambda: _state(hook, reference) is UploadState.HELD)


def test_what_a_person_decided_meanwhile_stays(make_settings: MakeSettings, listed: Listed) -> None:
    settings = make_settings(recheck=RARELY)
    judge, told = away(Verdict.MATCH), list[FollowUp]()
    with opened(settings, judge, told) as hook:
        reference = hook.check(b"a text").reference
        assert hook.records is not None
        recorded = hook.records.get_upload(reference)
        assert recorded is not None
        hook.records.set_upload(UploadState.RELEASED, recorded[1])
        judge.is_away = False
        _make_due(hook)
        hook.recheck()
        wait_until(lambda: bool(told))
        assert told[0].verdict is Verdict.MATCH
        assert _state(hook, reference) is UploadState.RELEASED


def test_an_unreadable_upload_that_was_allowed_is_looked_up_each_day_for_a_while(
    make_settings: MakeSettings, listed: Listed
) -> None:
    settings = make_settings(recheck=RARELY, without_answer=ALLOWED)
    judge, told = OneVerdict(Verdict.NO_MATCH), list[FollowUp]()
    with opened(settings, judge, told) as hook:
        first = hook.check(listed.known[:3000]).reference
        assert _state(hook, first) is UploadState.UNANSWERED
        _make_due(hook)
        assert hook.recheck() == 0
        assert _state(hook, first) is UploadState.UNANSWERED
        judge.verdict = judge.of_digests = Verdict.MATCH  # listed since
        _make_due(hook)
        hook.recheck()
        wait_until(lambda: _state(hook, first) is UploadState.BLOCKED)
        judge.verdict = judge.of_digests = Verdict.NO_MATCH
        judge.at += 1
        second = hook.check(listed.known[:3001]).reference
        _make_due(hook, since=time.time() - 31 * 86_400)
        hook.recheck()
        wait_until(lambda: _state(hook, second) is None)


def test_an_app_that_fails_is_told_again(make_settings: MakeSettings) -> None:
    settings = make_settings(recheck=RARELY)
    judge, calls = away(Verdict.NO_MATCH), list[FollowUp]()

    def tell(rechecked: FollowUp) -> None:
        calls.append(rechecked)
        if len(calls) == 1:
            raise RuntimeError("the app's database is locked")

    with Hook(settings, judge=judge, records=Records(Path(settings.data)), on_recheck=(tell,)) as hook:
        hook.check(b"a text")
        judge.is_away = False
        _make_due(hook)
        hook.recheck()
        wait_until(lambda: bool(calls))
        _make_due(hook)
        hook.recheck()
        wait_until(lambda: len(calls) == 2)
        assert calls[0] == calls[1]


def test_the_url_is_called_signed(tmp_path: Path) -> None:
    calls: list[tuple[dict[str, str], bytes]] = []

    class Receiver(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            calls.append(
                ({k.lower(): v for k, v in self.headers.items()}, self.rfile.read(int(self.headers["content-length"])))
            )
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    key = bytes(range(24))
    (tmp_path / "secret").write_text("whsec_" + base64.b64encode(key).decode() + "\n")
    rechecked = FollowUp(
        reference="ab12", upload_id="7", door="api", time=now(), before=Action.HOLD, action=Action.ALLOW,
        verdict=Verdict.NO_MATCH,
    )  # fmt: skip
    app = AppUrl(f"http://127.0.0.1:{server.server_port}/told?x=1", str(tmp_path / "secret"))
    # Told again since an answer was lost, and then what a later answer made of it: held by a case, and now listed.
    for told in (rechecked, rechecked, msgspec.structs.replace(rechecked, action=Action.BLOCK)):
        app(told)
    server.shutdown()
    server.server_close()
    first, again, later = (headers["webhook-id"] for headers, _ in calls)
    assert first == again
    assert later != first, "who takes a call that came twice once only would never block it"
    headers, body = calls[0]
    signed = hmac.digest(
        key, f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body, hashlib.sha256
    )
    assert headers["webhook-signature"] == f"v1,{base64.b64encode(signed).decode()}"
    told = json.loads(body)
    assert (told["type"], told["data"]["reference"], told["data"]["action"]) == ("upload.rechecked", "ab12", "ALLOW")


@pytest.mark.parametrize(
    "url", ["http://example.com/x", "ftp://127.0.0.1/x", "https://", "https://user:pw@example.com/", "https://a:99999/"]
)
def test_other_urls_are_refused(tmp_path: Path, url: str) -> None:
    (tmp_path / "secret").write_text(base64.b64encode(bytes(24)).decode())
    with pytest.raises(InvalidArgument, match="https"):
        AppUrl(url, str(tmp_path / "secret"))
    (tmp_path / "short").write_text("YWJj")
    with pytest.raises(InvalidArgument, match="secret_file"):
        AppUrl("https://example.com/", str(tmp_path / "short"))


def test_what_a_round_did_not_come_to_is_not_put_off_longer_than_what_it_asked(
    make_settings: MakeSettings, listed: Listed
) -> None:
    settings = make_settings(recheck=RARELY)
    with opened(settings, away(Verdict.NO_MATCH)) as hook:
        references = [hook.check(content, door="test").reference for content in (listed.unknown, b"one", b"two")]
        wait_until(lambda: _hashes_of(hook, references[0]) > 3)
        _make_due(hook)
        at = time.time()
        hook.recheck()
        assert hook.records is not None
        dues = [due for (due,) in hook.records.rows("SELECT due FROM recheck")]
        assert len(dues) == 3
        assert min(dues) >= at + RARELY.seconds  # and not the time of a lease


def test_a_hook_that_ends_hashes_what_had_no_answer(
    make_settings: MakeSettings, listed: Listed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hashhub.hook.hashing.END_SECONDS", 100.0)  # a loaded machine is no reason for another answer
    settings = make_settings(recheck=RARELY)
    with opened(settings, away(Verdict.NO_MATCH)) as hook:  # which has no child process yet
        reference = hook.check(listed.unknown, door="test").reference
    with opened(settings, OneVerdict(Verdict.NO_MATCH)) as hook:
        assert _hashes_of(hook, reference) > 3
        _make_due(hook)
        hook.recheck()
        # The hook's own thread may have taken it a moment before.
        wait_until(lambda: _state(hook, reference) is UploadState.RELEASED)


def _make_due(hook: Hook, *, since: float | None = None) -> None:
    assert hook.records is not None
    hook.records.write("UPDATE recheck SET due = 0, since = coalesce(?, since)", (since,))
    hook.records.write("UPDATE telling SET due = 0")


def _state(hook: Hook, reference: str) -> UploadState | None:
    assert hook.records is not None
    recorded = hook.records.get_upload(reference)
    return recorded[0] if recorded else None


def _hashes_of(hook: Hook, reference: str) -> int:
    assert hook.records is not None
    recorded = hook.records.get_upload(reference)
    return len(recorded[1].hashes) if recorded else 0


@cache  # each frame takes 15 ms to draw
def animation(frames: int) -> bytes:
    """Return an animation of which no two frames are alike."""
    pictures = [picture(seed, (64, 64)) for seed in range(frames)]
    out = io.BytesIO()
    pictures[0].save(out, "GIF", save_all=True, append_images=pictures[1:])
    return out.getvalue()


@pytest.mark.parametrize("choice", [Action.ALLOW, Action.HOLD, Action.BLOCK])
def test_what_becomes_of_an_upload_of_which_not_all_was_looked_at_is_chosen(
    make_settings: MakeSettings, choice: Action
) -> None:
    settings = make_settings(recheck=RARELY, on_frames_skipped=choice)
    with opened(settings, OneVerdict(Verdict.NO_MATCH)) as hook:
        for _ in range(2):  # the second time by a remembered answer
            decision = hook.check(animation(33))
            assert (decision.action, decision.verdict, decision.no_answer) == (choice, Verdict.NO_MATCH, None)
            assert "FRAMES_SKIPPED" in {line.code for line in decision.reasons}
        assert hook.check(animation(32)).action is Action.ALLOW
    with opened(settings, OneVerdict(Verdict.MATCH)) as hook:
        assert hook.check(animation(33)).action is Action.BLOCK


def test_what_was_not_looked_at_is_held_also_when_the_answer_comes_later(make_settings: MakeSettings) -> None:
    settings = make_settings(recheck=RARELY, on_frames_skipped=Action.HOLD)
    judge, told = away(Verdict.NO_MATCH), list[FollowUp]()
    with opened(settings, judge, told) as hook:
        decision = hook.check(animation(33))
        assert decision.no_answer is NoAnswer.HUB_AWAY
        wait_until(lambda: _hashes_of(hook, decision.reference) > 3)
        judge.is_away = False
        _make_due(hook)
        hook.recheck()
        assert hook.state_of(decision.reference) is UploadState.HELD
        assert not any(rechecked.action is Action.ALLOW for rechecked in told)


def test_nothing_is_released_by_an_answer_without_a_list_behind_it(make_settings: MakeSettings) -> None:
    """A copy was begun anew with a token that holds nothing in bulk."""
    settings = make_settings(recheck=RARELY)
    judge, told = away(Verdict.NO_MATCH), list[FollowUp]()
    with opened(settings, judge, told) as hook:
        reference = hook.check(b"a text").reference
        answer = judge.judge
        judge.is_away = False
        judge.judge = lambda query: HubAnswer(  # type: ignore[method-assign]
            result=nothing(query, is_listed=False), policy="block@1", revision=7
        )
        for judged, state in ((judge.judge, UploadState.UNANSWERED), (answer, UploadState.RELEASED)):
            judge.judge = judged  # type: ignore[method-assign]
            _make_due(hook)
            hook.recheck()
            assert _state(hook, reference) is state
    assert [one.action for one in told] == [Action.ALLOW]


def test_a_release_that_was_proposed_before_the_answer_came_ends_with_it(
    make_settings: MakeSettings, listed: Listed
) -> None:
    """Nobody releases with another's word what that other did not know to be blocked."""
    settings = make_settings(recheck=RARELY, queue=QueueSettings(two_person_release=True))
    judge = away(Verdict.MATCH)
    with opened(settings, judge) as hook:
        reference = hook.check(b"a text").reference
        assert hook.records is not None
        rulings = Rulings(hook.records, settings)

        def release(actor: str) -> UploadState:
            return rulings.release(reference, code=RulingCode.OTHER, comment="it may be seen", actor=actor)

        release("ann")
        judge.is_away = False
        _make_due(hook)
        hook.recheck()
        wait_until(lambda: _state(hook, reference) is UploadState.BLOCKED)
        with pytest.raises(Conflict, match="decide anew"):
            release("ben")
        assert _state(hook, reference) is UploadState.BLOCKED
        release("ben")
        assert release("ann") is UploadState.RELEASED
        kinds = [event.kind for event in hook.records.events(subject=reference)]
        in_question = [kind for kind in kinds if kind.startswith(("release.", "upload.re"))]
        assert in_question == [
            "release.proposed",
            "upload.rechecked",
            "release.withdrawn",
            "release.proposed",
            "upload.released",
        ]
