"""`Examiner`: what can be known of an upload, by who knows its digests, and its hashes.

Digests cost nothing, and tell in time that the hub is away. Hashing takes a child process, or the hub. What was learned
is remembered for some seconds. What becomes of the upload by it is `core`'s to say.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import msgspec

from hashhub.config import MEDIA_BYTES
from hashhub.desk.decision import Action, NoAnswer, severest
from hashhub.desk.settings import Mode
from hashhub.errors import Cancelled, HashHubError, LimitExceeded, Reason
from hashhub.hashes import SEARCHED
from hashhub.hook.judges import CaseJudge, MediaJudge, without_hub
from hashhub.model import Coverage, Effort, Query, ReasonLine, Verdict
from hashhub.trust import ReasonCode

if TYPE_CHECKING:
    from collections.abc import Callable

    from hashhub.desk.hub import HubAnswer, Judge
    from hashhub.hashing.media import MediaHashes
    from hashhub.hook.hashing import UploadHasher
    from hashhub.hook.settings import HookSettings
    from hashhub.hook.upload_bytes import UploadBytes

_AWAY_SECONDS: Final = 0.42  # of the half second in which an upload is decided over while the hub is away
_LEAST_WAIT: Final = 0.02  # for hashes that are remembered, or as good as there
_LOOK_SECONDS: Final = 0.05  # between looks whether somebody still waits
_TOO_LARGE: Final = frozenset({Reason.MEDIA_TOO_LARGE, Reason.MEDIA_TOO_COSTLY, Reason.TOO_LARGE})
_UNREADABLE: Final = frozenset({Reason.UNREADABLE_MEDIA, Reason.MEDIA_PROCESS_DIED, Reason.MISSING_EXTRA})
_EXACT_ONLY: Final = ReasonCode.EXACT_ONLY.value
_FRAMES_SKIPPED: Final = ReasonCode.FRAMES_SKIPPED.value


class UploadEvidence(msgspec.Struct, kw_only=True):
    """What is known of one upload so far.

    `query`: what is asked about it, or could be. `if_unknown`: see Pending. `causes`: why there is no answer, or less
    of one; `lines` say so. `late`: its hashes, where the decision does not wait for them. `is_unhashed`: it is a
    picture or video of which nobody has computed more than digests yet: a case may be about it.
    """

    media_type: str = ""
    query: Query
    coverage: Coverage = Coverage()
    judged: HubAnswer | None = None
    causes: tuple[NoAnswer, ...] = ()
    lines: tuple[ReasonLine, ...] = ()
    if_unknown: Action = Action.HOLD
    late: Future[MediaHashes] | None = None
    is_unhashed: bool = False

    @property
    def is_slow(self) -> bool:
        """Whether there is no answer although the hub is up."""
        return any(line.code == Reason.HUB_SLOW for line in self.lines)

    def lacks(self, cause: NoAnswer, code: str, text: str) -> None:
        """Note why there is no answer, or less of one."""
        if cause not in self.causes:
            self.causes = (*self.causes, cause)
        self.lines = (*self.lines, ReasonLine(code=code, text=text))


class AnswerCache:
    """Evidence about uploads that had an answer, by the SHA-256 digest computed here, never one that a caller states.
    It holds for `seconds`, and at the revision of the answer. Safe to be shared by threads.
    """

    def __init__(self, *, most: int, seconds: float) -> None:
        self._most = most
        self._seconds = seconds
        self._lock = threading.Lock()
        self._answers: OrderedDict[bytes, tuple[float, int, UploadEvidence]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._answers)

    def get(self, key: bytes, revision: int) -> UploadEvidence | None:
        """Return the evidence that holds at the revision, None without one."""
        with self._lock:
            until, at, answer = self._answers.get(key, (0.0, 0, None))
            return answer if at == revision and time.monotonic() < until else None

    def put(self, key: bytes, answer: UploadEvidence, revision: int, *, asked: float) -> None:
        """Remember what was answered at a revision. `asked`: when it was asked for, by the monotonic clock."""
        if self._most and self._seconds:
            with self._lock:
                self._answers[key] = (asked + self._seconds, revision, answer)
                self._answers.move_to_end(key)
                while len(self._answers) > self._most:
                    self._answers.popitem(last=False)


class Examiner:
    """Finds out what can be known of uploads. `is_closing`, set from any thread: none waits any more."""

    def __init__(self, settings: HookSettings, *, judge: Judge, hashing: UploadHasher | None) -> None:
        """See `Hook`."""
        # Imported here: no upload waits for it, and who opens no hook does without.
        from hashhub.hashing.coverage import EXACT_UNSEARCHED, coverage, unsearched
        from hashhub.hashing.structure import media_type_of

        self._coverage, self._media_type_of = coverage, media_type_of
        self._exact_only, self._unsearched = Coverage(unsearched=EXACT_UNSEARCHED), unsearched
        self._settings = settings
        self._judge = judge
        self._hashing = hashing
        # A copy is asked each time: its policy and its age change at one revision.
        most = settings.cache_entries if settings.mode is Mode.ONLINE else 0
        self.answers = AnswerCache(most=most, seconds=settings.cache_seconds)
        self._with_hub = threading.BoundedSemaphore(settings.max_waiting)
        self.is_closing = False

    def examine_hashes(self, query: Query, gaps: tuple[ReasonLine, ...] = ()) -> UploadEvidence:
        """Return what is known by hashes that others computed. `gaps`: what was not looked at then."""
        effort = self._settings.effort if query.variants else Effort.PLAIN
        covered = Coverage(effort=effort, gaps=gaps, unsearched=self._unsearched(effort, is_video=bool(query.frames)))
        examined = UploadEvidence(query=query, coverage=covered, if_unknown=if_skipped(self._settings, covered))
        every = (*query.hashes, *(h for variant in query.variants for h in variant.hashes))
        if not query.frames and not any(SEARCHED[h.algorithm].is_perceptual for h in every if h.algorithm in SEARCHED):
            self._only_exact(examined, "only exact digests were given")
        try:
            examined.judged = self._judge.judge(query)
        except HashHubError as e:
            examined.lacks(NoAnswer.HUB_AWAY, e.reason, e.message)
        return examined

    def examine_late(self, query: Query, late: Future[MediaHashes]) -> UploadEvidence | None:
        """Return what hashes tell that came after the decision; None if they never came. `query`: without them."""
        examined = UploadEvidence(query=query)
        try:
            self._hashed(examined, late.result(timeout=0))
        except HashHubError as e:
            self._not_hashed(examined, e)
        except (CancelledError, FutureTimeoutError):
            return None
        return examined

    def examine(self, content: UploadBytes, *, is_wanted: Callable[[], bool]) -> UploadEvidence:
        """Return what is known of an upload. Raises Cancelled once it `is_wanted` no more."""
        begun, key = time.monotonic(), content.key
        # 1. What is remembered of these very bytes.
        remembered = self._remembered(key)
        if remembered is not None:
            return msgspec.structs.replace(remembered)
        # 2. Who knows its digests.
        examined = UploadEvidence(
            query=Query(hashes=content.digests),
            media_type=self._media_type_of(content.head),
            coverage=self._exact_only,
        )
        self._ask(examined)
        # 3. Its hashes, and who knows them.
        if examined.judged is None or examined.judged.result.verdict is not Verdict.MATCH:
            self._look(examined, content, begun, is_wanted)
        if not is_wanted():
            raise given_up()
        # 4. It is remembered.
        if key and examined.judged is not None and _is_to_be_remembered(examined.judged, examined.causes):
            answer = msgspec.structs.replace(examined, lines=(), late=None)
            self.answers.put(key, answer, examined.judged.revision, asked=begun)
        return examined

    def _remembered(self, key: bytes) -> UploadEvidence | None:
        if not key:
            return None
        answer = self.answers.get(key, self._judge.revision())
        # A case may have been opened since; it stops what the lists allowed a moment ago.
        if answer is not None and isinstance(self._judge, CaseJudge):
            return None if self._judge.is_stopped(answer.query, answer.media_type) else answer
        return answer

    def _ask(self, examined: UploadEvidence) -> None:
        if not examined.query.hashes:
            return
        try:
            examined.judged = self._judge.judge(examined.query)
        except HashHubError as e:
            examined.lacks(NoAnswer.HUB_AWAY, e.reason, e.message)

    def _look(
        self, examined: UploadEvidence, content: UploadBytes, begun: float, is_wanted: Callable[[], bool]
    ) -> None:
        """Find out more than digests tell."""
        if content.is_too_large:
            sought = "only identical files were looked for" if content.digests else "nothing was looked for"
            text = f"larger than {self._settings.max_bytes} bytes: {sought}"
            self._failed(examined, NoAnswer.TOO_LARGE, Reason.MEDIA_TOO_LARGE, text)
        elif examined.media_type.partition("/")[0] not in {"image", "video"}:
            self._only_exact(examined, f"not a picture or a video ({examined.media_type})")
        elif content.is_crowded_out:
            examined.is_unhashed = True
            text = f"other uploads have all {self._settings.max_total_bytes} bytes that uploads may have in memory"
            examined.lacks(NoAnswer.HUB_AWAY, Reason.TOO_MANY_REQUESTS, text)
        elif self._hashing is not None:
            examined.is_unhashed = True
            self._hash_here(self._hashing, examined, content, begun, is_wanted)
        else:
            examined.is_unhashed = True
            self._hash_at_hub(examined, content)

    def _only_exact(self, examined: UploadEvidence, why: str) -> None:
        examined.lacks(NoAnswer.NO_PERCEPTUAL_HASH, _EXACT_ONLY, f"only identical files were looked for: {why}")
        examined.coverage = msgspec.structs.replace(
            self._exact_only, algorithms=tuple(h.algorithm for h in examined.query.hashes), gaps=examined.lines[-1:]
        )
        examined.if_unknown = self._settings.without_answer.no_perceptual_hash

    def _failed(self, examined: UploadEvidence, cause: NoAnswer, code: str, text: str) -> None:
        examined.lacks(cause, code, text)
        examined.coverage = msgspec.structs.replace(
            self._exact_only, effort=self._settings.effort, gaps=examined.lines[-1:]
        )
        examined.if_unknown = self._settings.without_answer.action(cause)
        examined.is_unhashed = cause is NoAnswer.HUB_AWAY  # what cannot be hashed is as chosen

    def _hash_here(
        self,
        hashing: UploadHasher,
        examined: UploadEvidence,
        content: UploadBytes,
        begun: float,
        is_wanted: Callable[[], bool],
    ) -> None:
        is_away = examined.judged is None or examined.judged.without_lists
        try:
            future = hashing.submit(content)
        except LimitExceeded as e:
            examined.lacks(NoAnswer.HUB_AWAY, e.reason, e.message)
            return
        try:
            media = self._awaited(future, begun, is_wanted, is_away=is_away)
        except (FutureTimeoutError, CancelledError):
            if not is_wanted():
                hashing.give_up(content, future)
                return
            examined.late = future
            if not is_away:
                text = f"waited {self._settings.waiting_seconds:g} seconds for its turn to be hashed"
                examined.lacks(NoAnswer.HUB_AWAY, Reason.TOO_MANY_REQUESTS, text)
            return
        except HashHubError as e:
            self._not_hashed(examined, e)
            return
        self._hashed(examined, media)
        if examined.query.hashes == content.digests and not examined.query.frames and not examined.query.variants:
            return  # these were asked about
        if not is_away:
            self._ask(examined)
            return
        try:
            with without_hub():
                examined.judged = self._judge.judge(examined.query)
        except HashHubError:
            return
        examined.causes = tuple(c for c in examined.causes if c is not NoAnswer.HUB_AWAY)
        examined.lines = ()

    def _awaited(
        self, future: Future[MediaHashes], begun: float, is_wanted: Callable[[], bool], *, is_away: bool
    ) -> MediaHashes:
        """Return the hashes. Raises TimeoutError when the decision waits no longer, and what hashing raises."""
        at = time.monotonic()
        until = max(begun + _AWAY_SECONDS, at + _LEAST_WAIT) if is_away else at + self._settings.waiting_seconds
        while True:
            wait = until - time.monotonic()
            if wait <= 0 and (is_away or not future.running() or self.is_closing):
                return future.result(timeout=0)
            # Once it is being hashed the limits of the child processes hold.
            with suppress(FutureTimeoutError):
                return future.result(timeout=min(wait, _LOOK_SECONDS) if wait > 0 else _LOOK_SECONDS)
            if not is_wanted():
                raise FutureTimeoutError

    def _not_hashed(self, examined: UploadEvidence, error: HashHubError) -> None:
        if error.reason in _UNREADABLE:
            self._failed(examined, NoAnswer.UNREADABLE, error.reason, error.message)
        elif isinstance(error, LimitExceeded) and error.reason in _TOO_LARGE:
            self._failed(examined, NoAnswer.TOO_LARGE, error.reason, error.message)
        else:
            examined.lacks(NoAnswer.HUB_AWAY, error.reason, error.message)

    def _hashed(self, examined: UploadEvidence, media: MediaHashes) -> None:
        examined.query = media.query()
        examined.media_type = media.media_type
        examined.coverage = self._coverage(media, self._settings.effort, query=examined.query)
        examined.if_unknown = if_skipped(self._settings, examined.coverage)
        examined.is_unhashed = False
        if not media.frames and not media.video_frames:
            self._only_exact(examined, media.not_perceptual or "it has no frames")

    def _hash_at_hub(self, examined: UploadEvidence, content: UploadBytes) -> None:
        if examined.judged is None or examined.judged.without_lists:
            return  # the hub is away
        if content.size > MEDIA_BYTES:
            text = f"larger than the {MEDIA_BYTES} bytes that a hub takes: only identical files were looked for"
            self._failed(examined, NoAnswer.TOO_LARGE, Reason.MEDIA_TOO_LARGE, text)
            return
        file = content.open()
        if not isinstance(self._judge, MediaJudge) or file is None:
            examined.lacks(NoAnswer.HUB_AWAY, Reason.INTERNAL, "nobody hashes uploads for this hook")
            return
        with file:
            if not self._with_hub.acquire(timeout=self._settings.waiting_seconds):
                text = f"{self._settings.max_waiting} uploads are being hashed at the hub; see max_waiting"
                examined.lacks(NoAnswer.HUB_AWAY, Reason.TOO_MANY_REQUESTS, text)
                return
            try:
                judged = self._judge.judge_media("", file.read())
            except HashHubError as e:
                self._not_hashed(examined, e)
                return
            finally:
                self._with_hub.release()
        media = judged.media
        at_least = severest(examined.judged.at_least, judged.at_least)
        if judged.result.verdict is Verdict.UNAVAILABLE:
            codes = {line.code for line in judged.result.reasons}
            cause = (
                NoAnswer.UNREADABLE if codes & _UNREADABLE else
                NoAnswer.TOO_LARGE if codes & _TOO_LARGE else NoAnswer.HUB_AWAY
            )  # fmt: skip
            examined.judged = msgspec.structs.replace(examined.judged, at_least=at_least)
            unknown = ReasonLine(code=Reason.INTERNAL, text="the hub could not hash it")
            line = next(iter(judged.result.reasons), unknown)
            self._failed(examined, cause, line.code, line.text)
            return
        examined.judged = msgspec.structs.replace(judged, at_least=at_least)
        examined.query = Query(hashes=media.hashes)
        examined.coverage, examined.media_type = media.coverage, media.media_type
        examined.if_unknown = if_skipped(self._settings, examined.coverage)
        examined.is_unhashed = False
        if any(gap.code == _EXACT_ONLY for gap in media.coverage.gaps):
            self._only_exact(examined, f"the hub did not decode it ({media.media_type})")


def if_skipped(settings: HookSettings, covered: Coverage) -> Action:
    """Return what becomes at least of an upload of which so much was looked at."""
    for gap in covered.gaps:
        if gap.code == _FRAMES_SKIPPED:
            return settings.on_frames_skipped
    return Action.ALLOW


def given_up() -> Cancelled:
    """Return what is raised for an upload for whose decision nobody waits."""
    return Cancelled("the upload was given up before it was decided over")


def _is_to_be_remembered(judged: HubAnswer, causes: tuple[NoAnswer, ...]) -> bool:
    return (
        judged.result.verdict is not Verdict.UNAVAILABLE
        and judged.stale_since is None
        and not judged.is_past_limit
        and judged.at_least is Action.ALLOW
        and (judged.result.verdict is Verdict.MATCH or all(c is NoAnswer.NO_PERCEPTUAL_HASH for c in causes))
    )
