"""An upload in, a decision out, against a real hub; and against hubs that do not answer."""

from __future__ import annotations

import asyncio
import io
import os
import threading
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import pytest

from hashhub.config import Config
from hashhub.desk.hub import HubAnswer
from hashhub.desk.records import Records, UploadState
from hashhub.errors import Cancelled, InvalidArgument, Unavailable
from hashhub.hashes import parse
from hashhub.hook import Action, DecisionRecord, Hook, NoAnswer, WithoutAnswer, load_settings, open_hook
from hashhub.hook.examiner import UploadEvidence
from hashhub.model import MatchResult, Query, Verdict
from hashhub.testing.pictures import picture
from hashhub.testing.videos import Clip, encoded
from tests.hook.conftest import HELD, jpeg
from tests.patience import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from hashhub.hook import HookSettings
    from tests.hook.conftest import Listed, MakeHook

ALLOWED = WithoutAnswer(
    hub_away=Action.ALLOW, unreadable=Action.ALLOW, too_large=Action.ALLOW, no_perceptual_hash=Action.ALLOW
)
BLOCKED = WithoutAnswer(
    hub_away=Action.BLOCK, unreadable=Action.BLOCK, too_large=Action.BLOCK, no_perceptual_hash=Action.BLOCK
)


class OneVerdict:
    """A judge with one verdict for all, which counts what it is asked. `digests`: another one for digests alone."""

    def __init__(self, verdict: Verdict, *, digests: Verdict | None = None, **judged: Any) -> None:
        self.verdict, self.of_digests, self.judged = verdict, digests or verdict, judged
        self.queries: list[Query] = []
        self.at = 7
        self.is_away = False

    def judge(self, query: Query) -> HubAnswer:
        self.queries.append(query)
        if self.is_away:
            raise Unavailable("away")
        is_exact = all(h.algorithm in {"MD5", "SHA1", "SHA256"} for h in query.hashes)
        verdict = self.of_digests if is_exact else self.verdict
        return HubAnswer(result=MatchResult(verdict=verdict), policy="block@1", revision=self.at, **self.judged)

    def revision(self) -> int:
        return self.at

    def close(self) -> None:
        pass


def test_a_listed_upload_is_blocked_however_it_comes(make_hook: MakeHook, listed: Listed, tmp_path: Path) -> None:
    hook = make_hook(cache_seconds=0)
    path = tmp_path / "upload.jpg"
    path.write_bytes(listed.known)
    for upload in (listed.known, bytearray(listed.known), memoryview(listed.known), path, io.BytesIO(listed.known)):
        decision = hook.check(upload)
        assert (decision.action, decision.verdict) == (Action.BLOCK, Verdict.MATCH), decision
        assert decision.policy.startswith("block@")
    assert hook.check(listed.unknown).action is Action.ALLOW
    saved_anew = io.BytesIO()
    from PIL import Image

    Image.open(io.BytesIO(listed.known)).save(saved_anew, "PNG")
    assert hook.check(saved_anew.getvalue()).action is not Action.ALLOW  # by its picture
    assert hook.memory_bytes == 0


def test_each_case_without_an_answer_is_as_chosen(make_hook: MakeHook, listed: Listed) -> None:
    away = make_hook(hub="127.0.0.1:9", answer_seconds=0.2)
    decision = away.check(listed.known)
    assert (decision.action, decision.verdict, decision.no_answer) == (
        Action.HOLD,
        Verdict.UNAVAILABLE,
        NoAnswer.HUB_AWAY,
    )
    small = make_hook(max_bytes=1000)
    assert small.check(listed.unknown).no_answer is NoAnswer.TOO_LARGE
    hook = make_hook()
    assert hook.check(listed.known[:3000]).no_answer is NoAnswer.UNREADABLE
    decision = hook.check(b"a text")
    assert (decision.action, decision.no_answer) == (Action.ALLOW, NoAnswer.NO_PERCEPTUAL_HASH)
    assert any(line.code == "EXACT_ONLY" for line in decision.reasons)


def test_a_known_digest_counts_where_nothing_can_be_decoded(make_hook: MakeHook, listed: Listed) -> None:
    """Verdicts stand above choices."""
    small = make_hook(max_bytes=1000, without_answer=ALLOWED)
    assert (small.check(listed.known).action, small.check(listed.known).no_answer) == (Action.BLOCK, None)
    damaged = listed.known[:3000]
    judge = OneVerdict(Verdict.NO_MATCH, digests=Verdict.MATCH)
    hook = make_hook(judge=judge, without_answer=ALLOWED)
    assert hook.check(damaged).action is Action.BLOCK
    assert _hashed(hook) == 0  # nobody had to decode it
    judge.of_digests = Verdict.REVIEW
    decision = hook.check(jpeg(3)[:3000])
    assert (decision.action, decision.verdict) == (Action.HOLD, Verdict.REVIEW)
    assert make_hook(judge=judge, without_answer=BLOCKED).check(jpeg(3)[:3000]).action is Action.BLOCK


@pytest.mark.parametrize("chosen", [ALLOWED, BLOCKED])
def test_no_choice_weakens_a_verdict(make_hook: MakeHook, listed: Listed, chosen: WithoutAnswer) -> None:
    for verdict, action in ((Verdict.MATCH, Action.BLOCK), (Verdict.REVIEW, Action.HOLD)):
        hook = make_hook(judge=OneVerdict(verdict), without_answer=chosen)
        decisions = [hook.check(upload) for upload in (listed.unknown, b"a text", (parse("MD5", "ab" * 16),))]
        assert [(d.action, d.verdict, d.no_answer) for d in decisions] == [(action, verdict, None)] * 3


def test_every_answer_and_every_case_weigh_as_they_are_told(make_hook: MakeHook) -> None:
    """All there are: verdicts, what went wrong, two choices for each; told in docs/hook/README.md, worked out here by
    rules of its own.
    """
    order = [Action.ALLOW, Action.HOLD, Action.BLOCK]
    cases = list(NoAnswer)
    for choice in (ALLOWED, HELD, BLOCKED):
        hook = make_hook(judge=OneVerdict(Verdict.NO_MATCH), without_answer=choice)
        for verdict in (None, *Verdict):
            for at_least in order:
                for bits in range(2 ** len(cases)):
                    causes = tuple(case for i, case in enumerate(cases) if bits >> i & 1)
                    judged = verdict and HubAnswer(
                        result=MatchResult(verdict=verdict), policy="block@1", revision=1, at_least=at_least
                    )
                    if judged is None and NoAnswer.HUB_AWAY not in causes:
                        continue
                    examined = UploadEvidence(query=Query(hashes=()), judged=judged, causes=causes)
                    action, weighed, cause = hook._weighed(examined)
                    floor = [at_least] if judged else []
                    if verdict is Verdict.MATCH:
                        assert (weighed, cause) == (Verdict.MATCH, None)
                        assert action is Action.BLOCK
                        continue
                    if verdict is Verdict.REVIEW:
                        floor.append(Action.HOLD)
                        assert weighed is Verdict.REVIEW
                    hard = set(causes) - {NoAnswer.NO_PERCEPTUAL_HASH}
                    floor += [choice.action(case) for case in hard]
                    assert all(order.index(action) >= order.index(least) for least in floor)
                    if hard or verdict is Verdict.UNAVAILABLE:
                        assert cause is not None
                        assert weighed in {Verdict.UNAVAILABLE, Verdict.REVIEW}
                    if action is Action.ALLOW:
                        assert verdict in {Verdict.NO_MATCH, Verdict.BENIGN} or choice is ALLOWED


def test_a_name_that_is_no_text_keeps_no_upload_from_being_recorded(make_hook: MakeHook, listed: Listed) -> None:
    hook = make_hook()
    blocked = hook.check(listed.known, upload_id="caf\udce9.jpg")  # as os.listdir gives it
    assert (blocked.action, blocked.is_kept) == (Action.BLOCK, True)
    assert hook.records is not None
    recorded = hook.records.get_upload(blocked.reference)
    assert recorded is not None
    assert recorded[1].upload_id == r"caf\udce9.jpg"


def test_what_only_a_stale_copy_says_allows_nothing(make_hook: MakeHook, listed: Listed) -> None:
    hook = make_hook(judge=OneVerdict(Verdict.NO_MATCH, is_past_limit=True), without_answer=ALLOWED)
    decision = hook.check(listed.unknown)
    assert (decision.action, decision.no_answer) == (Action.HOLD, NoAnswer.HUB_AWAY)
    hook = make_hook(judge=OneVerdict(Verdict.NO_MATCH, at_least=Action.BLOCK), without_answer=ALLOWED)
    assert hook.check(listed.unknown).action is Action.BLOCK


def test_a_blank_picture_is_said_to_be_one(make_hook: MakeHook) -> None:
    from PIL import Image

    blank = io.BytesIO()
    Image.new("RGB", (64, 64), "white").save(blank, "PNG")
    decision = make_hook(judge=OneVerdict(Verdict.NO_MATCH)).check(blank.getvalue())
    assert decision.action is Action.ALLOW
    assert "LOW_QUALITY" in {line.code for line in decision.reasons}


def test_the_uploader_is_told_nothing_of_the_lists(make_hook: MakeHook, listed: Listed) -> None:
    decision = make_hook().check(listed.known)
    assert decision.reasons
    assert decision.public.__struct_fields__ == ("action", "reference")
    assert (decision.public.action, decision.public.reference) == (decision.action, decision.reference)


@pytest.mark.parametrize(
    "wrong", ["text", "", [], [b"x"], 5, io.StringIO("text"), Path("/nowhere"), Path("/"), Path("a\0")]
)
def test_what_cannot_be_an_upload_is_refused(make_hook: MakeHook, wrong: Any) -> None:
    hook = make_hook(judge=OneVerdict(Verdict.NO_MATCH))
    with pytest.raises(InvalidArgument):
        hook.check(wrong)
    assert hook.memory_bytes == 0


def test_a_pipe_is_not_waited_for(make_hook: MakeHook, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InvalidArgument, match="regular"):
        make_hook(judge=OneVerdict(Verdict.NO_MATCH)).check(tmp_path / "pipe")


class TestMemory:
    def test_an_aborted_upload_frees_it_at_once(self, make_hook: MakeHook) -> None:
        hook = make_hook(judge=OneVerdict(Verdict.NO_MATCH))

        class Breaking(io.BytesIO):
            def read(self, size: int | None = -1, /) -> bytes:
                if self.tell() > 2 << 20:
                    raise ConnectionResetError
                return super().read(size)

        with pytest.raises(ConnectionResetError):
            hook.check(Breaking(bytes(8 << 20)))
        assert hook.memory_bytes == 0

    def test_all_uploads_together_are_bounded(self, make_hook: MakeHook) -> None:
        """Slow senders hold what they have sent, and no more than is allowed; who finds no room is not clean."""
        judge = OneVerdict(Verdict.NO_MATCH)
        hook = make_hook(judge=judge, max_total_bytes=1_000_000, cache_seconds=0, without_answer=WithoutAnswer(
            hub_away=Action.HOLD, unreadable=Action.ALLOW, too_large=Action.ALLOW, no_perceptual_hash=Action.ALLOW
        ))  # fmt: skip
        slow = [hook.receive() for _ in range(40)]
        for upload in slow:
            upload.write(bytes(50_000))
        assert hook.memory_bytes <= 1_000_000
        decision = hook.check(jpeg(4))
        assert (decision.action, decision.no_answer) == (Action.HOLD, NoAnswer.HUB_AWAY)
        assert hook.check(b"text").no_answer is NoAnswer.NO_PERCEPTUAL_HASH  # digests are all that is looked for
        judge.of_digests = Verdict.MATCH
        assert hook.check(jpeg(4)).action is Action.BLOCK  # its digest counts all the same
        for upload in slow:
            upload.close()
            upload.close()
        assert hook.memory_bytes == 0
        judge.of_digests = Verdict.NO_MATCH
        assert hook.check(jpeg(4)).action is Action.ALLOW

    def test_an_upload_beyond_its_bound_is_digested_and_not_kept(self, make_hook: MakeHook) -> None:
        judge = OneVerdict(Verdict.NO_MATCH)
        hook = make_hook(judge=judge, max_bytes=100_000)
        with hook.receive() as upload:
            for _ in range(50):
                upload.write(bytes(50_000))
                assert hook.memory_bytes <= 100_000
            decision = upload.decide()
        assert (decision.no_answer, upload.size) == (NoAnswer.TOO_LARGE, 2_500_000)
        import hashlib

        assert parse("SHA256", hashlib.sha256(bytes(2_500_000)).hexdigest()) in judge.queries[-1].hashes

    def test_an_abandoned_upload_is_given_up(self, make_hook: MakeHook, listed: Listed) -> None:
        hook = make_hook(judge=OneVerdict(Verdict.NO_MATCH))
        with hook.receive() as upload:
            upload.write(listed.unknown)
            upload.abandon()
            with pytest.raises(Cancelled):
                upload.decide()
        wait_until(lambda: hook.memory_bytes == 0)


class TestRemembering:
    def test_the_same_upload_is_hashed_once_and_asked_about_once(self, make_hook: MakeHook, listed: Listed) -> None:
        judge = OneVerdict(Verdict.NO_MATCH)
        hook = make_hook(judge=judge, cache_seconds=600)
        with ThreadPoolExecutor(8) as threads:
            decisions = list(threads.map(lambda _: hook.check(listed.unknown), range(200)))
        assert {d.action for d in decisions} == {Action.ALLOW}
        assert len({d.reference for d in decisions}) == 200
        assert _hashed(hook) == 1
        assert len(judge.queries) <= 2 * 8  # those that began before the first was answered

    def test_an_answer_ends_with_its_revision(self, make_hook: MakeHook, listed: Listed) -> None:
        judge = OneVerdict(Verdict.MATCH)
        hook = make_hook(judge=judge, cache_seconds=600)
        assert hook.check(listed.unknown).action is Action.BLOCK
        judge.verdict = judge.of_digests = Verdict.NO_MATCH
        assert hook.check(listed.unknown).action is Action.BLOCK  # the same revision, for so many seconds
        judge.at += 1  # another upload was answered at a newer one
        assert hook.check(listed.unknown).action is Action.ALLOW

    def test_an_answer_of_an_older_revision_is_not_remembered(
        self, make_hook: MakeHook, listed: Listed, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        judge = OneVerdict(Verdict.NO_MATCH)
        hook = make_hook(judge=judge, cache_seconds=600)
        monkeypatch.setattr(judge, "revision", lambda: 9)  # a hub whose one process lags behind
        hook.check(listed.unknown)
        asked = len(judge.queries)
        hook.check(listed.unknown)
        assert len(judge.queries) > asked

    def test_what_had_no_answer_is_not_remembered(self, make_hook: MakeHook, listed: Listed) -> None:
        judge = OneVerdict(Verdict.NO_MATCH)
        hook = make_hook(judge=judge, cache_seconds=600)
        judge.is_away = True
        assert hook.check(listed.unknown).no_answer is NoAnswer.HUB_AWAY
        judge.is_away = False
        assert hook.check(listed.unknown).no_answer is None

    def test_stated_hashes_say_nothing_of_a_content(self, make_hook: MakeHook, listed: Listed) -> None:
        """Who states the digest of a file beside hashes of another does not decide over that file."""
        import hashlib

        judge = OneVerdict(Verdict.NO_MATCH)
        hook = make_hook(judge=judge, cache_seconds=600)
        hook.check([parse("SHA256", hashlib.sha256(listed.known).hexdigest()), parse("PDQ", "ab" * 32)])
        judge.verdict = judge.of_digests = Verdict.MATCH
        assert hook.check(listed.known).action is Action.BLOCK

    def test_a_costly_upload_costs_once(self, make_hook: MakeHook) -> None:
        """The same picture that takes the CPU limit, time and again: that is paid once."""
        judge = OneVerdict(Verdict.NO_MATCH)
        hook = make_hook(judge=judge, media_seconds=0.01)
        big = jpeg(5, (3000, 2000))
        decisions = [hook.check(big) for _ in range(50)]
        assert {d.no_answer for d in decisions} == {NoAnswer.TOO_LARGE}
        assert _hashed(hook) == 1


@contextmanager
def hanging_server() -> Iterator[str]:
    """Accept connections and say nothing."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        taken: list[socket.socket] = []

        def accept() -> None:
            try:
                while True:
                    taken.append(server.accept()[0])
            except OSError:
                return

        threading.Thread(target=accept, daemon=True).start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        for connection in taken:
            connection.close()


class TestHubAway:
    def test_fifty_at_once_are_decided_over_while_it_hangs(
        self, make_hook: MakeHook, listed: Listed, make_settings: Callable[..., HookSettings]
    ) -> None:
        """Each waits for one answer at most; the bound here is for a loaded machine."""
        with hanging_server() as address:
            hook = make_hook(hub=address, answer_seconds=3.0)
            uploads = [jpeg(100 + i, (64, 48)) for i in range(50)]
            begun = time.monotonic()
            with ThreadPoolExecutor(50) as threads:
                decisions = list(threads.map(hook.check, uploads))
            assert time.monotonic() - begun < 120  # one after the other, 150
            assert {(d.action, d.verdict, d.no_answer) for d in decisions} == {
                (Action.HOLD, Verdict.UNAVAILABLE, NoAnswer.HUB_AWAY)
            }
            records = hook.records
            assert records is not None
            assert records.count(UploadState.UNANSWERED) == 50
            assert [e.kind for e in records.events() if e.kind.startswith("hub.")] == ["hub.away"]
            wait_until(lambda: hook.memory_bytes == 0)

    def test_a_refused_token_is_no_answer(self, make_hook: MakeHook, listed: Listed, tmp_path: Path) -> None:
        (tmp_path / "wrong.token").write_text("hh_wrong")
        decision = make_hook(token_file=str(tmp_path / "wrong.token")).check(listed.known)
        assert (decision.action, decision.no_answer) == (Action.HOLD, NoAnswer.HUB_AWAY)
        assert "TOKEN_UNKNOWN" in {line.code for line in decision.reasons}

    def test_a_certificate_beside_a_token_is_refused(self, make_hook: MakeHook) -> None:
        with pytest.raises(InvalidArgument, match="instead of a token"):
            make_hook(certificate="c.pem", certificate_key="c.key")

    def test_what_needs_no_hub_still_answers(self, make_hook: MakeHook, listed: Listed) -> None:
        """A judge that knows some hashes by itself is asked by all of them, also when the hub is away."""

        class Own(OneVerdict):
            def judge(self, query: Query) -> HubAnswer:
                if any(h.algorithm == "PDQ" for h in query.hashes):
                    return super().judge(query)
                raise Unavailable("away")

        hook = make_hook(judge=Own(Verdict.MATCH), without_answer=ALLOWED)
        assert hook.check(listed.unknown).action in {Action.BLOCK, Action.ALLOW}  # the latter before the children run
        wait_until(lambda: hook.check(listed.unknown).action is Action.BLOCK)


class TestKeeping:
    def test_only_what_was_not_simply_allowed_leaves_more_than_a_number(
        self, make_settings: Callable[..., HookSettings], listed: Listed
    ) -> None:
        from hashhub.hook import open_hook

        settings = make_settings()
        with open_hook(settings) as hook:
            allowed = hook.check(listed.unknown, upload_id="a", door="test")
            hook.check(b"text", door="test")
            blocked = hook.check(listed.known, upload_id="b", door="test")
            unread = hook.check(listed.known[:3000], upload_id="c", door="test")
            assert blocked.action is Action.BLOCK
        records = Records(Path(settings.data))
        states = {d.reference: records.get_upload(d.reference) for d in (allowed, blocked, unread)}
        assert states[allowed.reference] is None
        for decision, state in ((blocked, UploadState.BLOCKED), (unread, UploadState.HELD)):
            recorded = states[decision.reference]
            assert recorded is not None
            assert (recorded[0], recorded[1].decision) == (state, decision)
            [event] = records.events(subject=decision.reference)
            assert (event.actor, event.kind) == ("hook", f"upload.{state.lower()}")
        assert sum(row[0] for row in records.rows("SELECT count FROM tally WHERE door = 'test'")) == 4
        assert records.rows("SELECT sum(count) FROM tally WHERE action = 'ALLOW'") == [(2,)]
        assert records.verify() >= 2
        records.close()

    def test_what_was_decided_last_is_counted_when_the_hook_ends(
        self, make_settings: Callable[..., HookSettings]
    ) -> None:
        settings = make_settings(hub="127.0.0.1:1")
        with open_hook(settings) as hook:
            hook.check(b"synthetic", door="test")
        records = Records(Path(settings.data))
        assert records.rows("SELECT count FROM tally WHERE door = 'test'") == [(1,)]
        records.close()

    def test_what_cannot_be_recorded_is_held_at_least(self, make_hook: MakeHook, listed: Listed) -> None:
        hook = make_hook(max_records=1, without_answer=ALLOWED, hub="127.0.0.1:9", answer_seconds=0.2)
        assert hook.check(listed.unknown).action is Action.ALLOW
        decision = hook.check(listed.unknown)
        assert (decision.action, decision.no_answer) == (Action.HOLD, NoAnswer.HUB_AWAY)
        assert "recorded" in decision.reasons[-1].text

    def test_uploads_without_an_answer_do_not_crowd_out_matches(self, make_hook: MakeHook, listed: Listed) -> None:
        hook = make_hook(max_records=3, without_answer=ALLOWED)
        for i in range(6):
            hook.check(listed.known[: 3000 + i])
        decision = hook.check(listed.known)
        assert hook.records is not None
        assert hook.records.get_upload(decision.reference) is not None

    @pytest.mark.parametrize("error", [RuntimeError("no"), Unavailable("no"), OSError(28, "No space left on device")])
    def test_a_listener_that_fails_holds_the_upload(
        self, make_settings: Callable[..., HookSettings], listed: Listed, error: Exception
    ) -> None:
        def fail(checked: DecisionRecord, content: IO[bytes] | None) -> None:
            raise error

        with Hook(make_settings(), judge=OneVerdict(Verdict.NO_MATCH), on_checked=fail) as hook:
            assert hook.check(listed.unknown).action is Action.HOLD
        with Hook(make_settings(), judge=OneVerdict(Verdict.MATCH), on_checked=fail) as hook:
            assert hook.check(listed.unknown).action is Action.BLOCK

    def test_listeners_get_the_bytes_each_from_their_begin(
        self, make_settings: Callable[..., HookSettings], listed: Listed
    ) -> None:
        contents: list[bytes] = []

        def keep(checked: DecisionRecord, content: IO[bytes] | None) -> None:
            assert content is not None
            contents.append(content.read())

        with Hook(make_settings(), judge=OneVerdict(Verdict.MATCH), on_checked=(keep, keep)) as hook:
            hook.check(listed.known)
        assert contents == [listed.known] * 2


class TestAsync:
    def test_it_decides_as_the_other_does(self, make_hook: MakeHook, listed: Listed, tmp_path: Path) -> None:
        hook = make_hook()
        path = tmp_path / "upload.jpg"
        path.write_bytes(listed.known)

        async def pieces() -> AsyncIterator[bytes]:
            for i in range(0, len(listed.known), 1000):
                yield listed.known[i : i + 1000]

        class Awaited:
            def __init__(self) -> None:
                self.rest = io.BytesIO(listed.known)

            async def read(self, size: int) -> bytes:
                await asyncio.sleep(0)
                return self.rest.read(min(size, 1000))

        async def run() -> list[Action]:
            uploads: list[Any] = [listed.known, path, io.BytesIO(listed.known), pieces(), Awaited()]
            decisions = await asyncio.gather(*(hook.acheck(upload) for upload in uploads))
            return [d.action for d in decisions]

        assert asyncio.run(run()) == [Action.BLOCK] * 5
        assert hook.memory_bytes == 0

    def test_the_loop_goes_on_and_a_cancelled_task_frees_its_upload(self, make_hook: MakeHook, listed: Listed) -> None:
        entered, go_on = threading.Event(), threading.Event()

        class Waiting(OneVerdict):
            def judge(self, query: Query) -> HubAnswer:
                entered.set()
                assert go_on.wait(180)
                return super().judge(query)

        hook = make_hook(judge=Waiting(Verdict.NO_MATCH))

        async def run() -> None:
            async def pieces() -> AsyncIterator[bytes]:
                yield listed.unknown

            task = asyncio.create_task(hook.acheck(pieces()))
            await asyncio.to_thread(entered.wait, 180)  # a blocked loop would not come back from here
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            go_on.set()

        asyncio.run(run())
        wait_until(lambda: hook.memory_bytes == 0)


def test_a_video_too_long_for_its_seconds_is_read_by_its_key_frames(
    make_hook: MakeHook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hashhub.hashing.pool.WALL", 1000)
    shown = np.asarray(picture(7, (1920, 1080)))
    hook = make_hook(media_seconds=1.0)
    decision = hook.check(encoded(Clip([shown] * 84, 25)))  # 84 frames of 2 megapixels: 1 s is 72
    assert (decision.action, decision.no_answer) == (Action.ALLOW, None)
    assert any("key frames alone were read" in line.text for line in decision.reasons)


class TestHashedAtTheHub:
    def test_the_hub_hashes(self, make_hook: MakeHook, listed: Listed) -> None:
        hook = make_hook(hashing="HUB", cache_seconds=0)
        assert hook.check(listed.known).action is Action.BLOCK
        assert hook.check(listed.unknown).action is Action.ALLOW
        decision = hook.check(listed.known[:3000])
        assert (decision.action, decision.no_answer) == (Action.HOLD, NoAnswer.UNREADABLE)
        assert hook.check(b"text").no_answer is NoAnswer.NO_PERCEPTUAL_HASH
        largest = Config().max_media_bytes
        whole = hook.check(listed.unknown.ljust(largest, b"\0"))
        assert (whole.action, whole.no_answer) == (Action.ALLOW, None)
        assert hook.check(listed.unknown.ljust(largest + 1, b"\0")).no_answer is NoAnswer.TOO_LARGE

    def test_no_library_that_hashes_is_loaded(self, make_settings: Callable[..., HookSettings]) -> None:
        import subprocess
        import sys

        import msgspec

        settings = make_settings(hashing="HUB")
        script = (
            "import sys, msgspec; from hashhub.hook import HookSettings, open_hook\n"
            "hook = open_hook(msgspec.json.decode(sys.stdin.buffer.read(), type=HookSettings))\n"
            "hook.check(b'\\xff\\xd8\\xff\\xe0' + bytes(100)); hook.check(b'text'); hook.close()\n"
            "print(sorted({'numpy', 'PIL', 'av', 'numba', 'sqlalchemy', 'faiss'} & set(sys.modules)))"
        )
        done = subprocess.run(
            [sys.executable, "-c", script],
            input=msgspec.json.encode(settings),
            capture_output=True,
            timeout=300,
            check=True,
        )
        assert done.stdout.decode().strip() == "[]"


def _hashed(hook: Hook) -> int:
    assert hook.hashing is not None
    return hook.hashing.hashed


def test_settings_without_a_choice_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "hook.toml"
    file.write_text('policy = "block"\n[without_answer]\nhub_away = "hold"\nunreadable = "hold"\ntoo_large = "hold"\n')
    with pytest.raises(InvalidArgument, match="no_perceptual_hash"):
        load_settings(file, {})
    settings = load_settings(file, {"HASHHUB_HOOK_WITHOUT_ANSWER_NO_PERCEPTUAL_HASH": "allow"})
    assert settings.without_answer.no_perceptual_hash is Action.ALLOW
