"""What can be known of an upload, by who knows its digests and its hashes: open cases, then the hub behind a breaker,
or (`local`) a copy of its lists.

Digests cost nothing, and tell in time that the hub is away. Hashing takes a child process, or the hub. What was learned
is remembered for some seconds. What becomes of the upload by it is `core`'s to say.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final, Protocol, TypeVar, runtime_checkable

import msgspec

from hashhub.config import MEDIA_BYTES
from hashhub.desk.cases.index import STOPPED, CaseIndex
from hashhub.desk.cases.life import Cases
from hashhub.desk.decision import Action, DecisionRecord, NoAnswer, severest
from hashhub.desk.hub import HubAnswer, Judge, client_of
from hashhub.desk.settings import Mode
from hashhub.errors import Cancelled, HashHubError, InvalidArgument, LimitExceeded, Reason, Unavailable
from hashhub.hashes import SEARCHED, VPDQ, parse
from hashhub.model import Coverage, Effort, MatchOptions, MatchResult, MediaResult, Query, ReasonLine, Verdict
from hashhub.trust import ReasonCode

if TYPE_CHECKING:
    from hashhub.client import Matched
    from hashhub.desk.records import Records
    from hashhub.hashing.media import MediaHashes
    from hashhub.hook.hashing import UploadBytes, UploadHasher
    from hashhub.hook.settings import HookSettings


_log = logging.getLogger("hashhub.hook")
_A = TypeVar("_A")
_CONNECT_SECONDS: Final = 10.0
_ANSWER_SHARE: Final = 0.75  # of `answer_seconds`; in the rest a hub that has not answered shows whether it is up
# The question is why, and not the hub: who is slow about one upload answers others. Uploads that the hub refuses must
# not cut off everybody.
_OF_THE_QUERY: Final = frozenset(
    {Reason.TOO_LARGE, Reason.UNKNOWN_ALGORITHM, Reason.DISTANCE_REQUIRED, Reason.HUB_SLOW}
)
_FOR_PEOPLE: Final = frozenset({Verdict.MATCH, Verdict.REVIEW})


class MediaAnswer(HubAnswer, frozen=True, kw_only=True):
    """The answer about an upload that the hub hashed."""

    media: MediaResult


@runtime_checkable
class MediaJudge(Judge, Protocol):
    """Hashes uploads, too: where the hook does not."""

    def judge_media(self, label: str, content: bytes) -> MediaAnswer:
        """Hash one upload and answer. Raises HashHubError when no answer can be had."""
        ...


_is_hub_passed_over: ContextVar[bool] = ContextVar("is_hub_passed_over", default=False)


@contextmanager
def without_hub() -> Iterator[None]:
    """Let questions to the hub fail at once within: it has just not answered about this upload."""
    before = _is_hub_passed_over.set(True)
    try:
        yield
    finally:
        _is_hub_passed_over.reset(before)


def options_of(settings: HookSettings) -> MatchOptions:
    """Return how a hook asks, by hashes or with the upload: in either way for what the hub looks for in a file."""
    # A picture may be one out of a listed video; PLAIN looks for nothing but the file.
    distances = {} if settings.effort is Effort.PLAIN else {VPDQ.name: VPDQ.default_max_distance or 0}
    return MatchOptions(policy=settings.policy, effort=settings.effort, max_distances=distances)


def query_of_nothing() -> Query:
    """Return a question about a digest that nobody has."""
    return Query(hashes=(parse("SHA256", secrets.token_hex(32)),))


class EmptyListWarning:
    """Says in the log that uploads are compared with nothing, once for each time that this begins."""

    def __init__(self, why: str) -> None:
        self._why = why
        self._is_listed = True

    def note(self, *, is_listed: bool) -> None:
        """Take in whether there is a list to compare with."""
        was, self._is_listed = self._is_listed, is_listed
        if was and not is_listed:
            _log.warning("uploads are compared with nothing, so that none matches: %s", self._why)
        elif is_listed and not was:
            _log.info("there are lists again that uploads are compared with")


class HubJudge:
    """Asks the hub, by a client of its own."""

    def __init__(self, settings: HookSettings) -> None:
        """Connect lazily. Raises InvalidArgument when a file that the settings name cannot be read."""
        self._options = options_of(settings)
        self._answer_seconds, self._slow_seconds = settings.answer_seconds, settings.slow_seconds
        self._media_seconds = settings.media_seconds
        self._revision = 0
        self._emptiness = EmptyListWarning("the hub has no list that this token may see; ask its operator")
        self.client = client_of(settings, timeout=settings.answer_seconds, retry_seconds=0.0)

    def judge(self, query: Query) -> HubAnswer:
        """Answer one query. Raises HashHubError; with HUB_SLOW when the hub answers others meanwhile."""
        try:
            answer = self.client.match(query, self._options, seconds=_ANSWER_SHARE * self._answer_seconds)
        except Unavailable as e:
            if e.reason is not Reason.DEADLINE_EXCEEDED:
                raise
            answer = self._ask_slow(query)
        self._revision = max(self._revision, answer.revision)
        judged = HubAnswer(result=answer.result, policy=answer.policy, revision=answer.revision)
        self._emptiness.note(is_listed=judged.is_listed)
        return judged

    def _ask_slow(self, query: Query) -> Matched:
        """Ask again with patience if the hub answers about nothing at once. Raises Unavailable, then HUB_SLOW."""
        self.client.match(query_of_nothing(), self._options, seconds=(1 - _ANSWER_SHARE) * self._answer_seconds)
        try:
            return self.client.match(query, self._options, seconds=self._slow_seconds)
        except Unavailable as e:
            if e.reason is not Reason.DEADLINE_EXCEEDED:
                raise
            raise Unavailable(
                f"the hub is up, and has not answered about this upload within {self._slow_seconds:g} seconds",
                reason=Reason.HUB_SLOW,
            ) from e

    def connect(self) -> None:
        """Connect, and wait up to 10 seconds for an answer. Raises HashHubError; at once where nothing listens."""
        until = time.monotonic() + _CONNECT_SECONDS
        while True:
            try:
                self.judge(query_of_nothing())
            except HashHubError as e:
                if e.reason is not Reason.DEADLINE_EXCEEDED or time.monotonic() > until:
                    raise
            else:
                return

    def judge_media(self, label: str, content: bytes) -> MediaAnswer:
        """Let the hub hash an upload and answer. Raises HashHubError when it does not in time, or refuses."""
        [answer] = self.client.match_media([(label, content)], self._options, seconds=self._media_seconds)
        self._revision = max(self._revision, answer.revision)
        return MediaAnswer(
            result=answer.media.result, policy=answer.policy, revision=answer.revision, media=answer.media
        )

    def revision(self) -> int:
        """Return the newest revision that the hub has answered with."""
        return self._revision

    def close(self) -> None:
        """Close the connection."""
        self.client.close()


class HubBreaker:
    """Asks a judge, until it fails so often in a row that it is not asked for some seconds; then one question tries it.
    `on_change` is told when asking ends (the error) and begins again (None); what it raises is logged.
    """

    def __init__(
        self,
        judge: HubJudge,
        *,
        failures: int,
        seconds: float,
        on_change: Callable[[HashHubError | None], None] | None = None,
    ) -> None:
        self._judge = judge
        self._most_failures = failures
        self._seconds = seconds
        self._on_change = on_change
        self._lock = threading.Lock()
        self._failures = 0
        self._until = 0.0
        self._error: HashHubError | None = None
        self._is_open = False

    @property
    def is_open(self) -> bool:
        """Whether the hub counts as away: it is asked at most once in so many seconds."""
        return self._is_open

    def judge(self, query: Query) -> HubAnswer:
        """Answer one query. Raises HashHubError; at once while the hub is not asked."""
        return self._ask(lambda: self._judge.judge(query))

    def judge_media(self, label: str, content: bytes) -> MediaAnswer:
        """Let the hub hash and answer. Raises HashHubError; at once while the hub is not asked."""
        return self._ask(lambda: self._judge.judge_media(label, content))

    def revision(self) -> int:
        """Return the newest revision that the hub has answered with."""
        return self._judge.revision()

    def close(self) -> None:
        """Let go of the hub."""
        self._judge.close()

    def _ask(self, question: Callable[[], _A]) -> _A:
        if _is_hub_passed_over.get():
            raise self._error or Unavailable("the hub does not answer")
        with self._lock:
            if self._is_open:
                wait = self._until - time.monotonic()
                if wait > 0:
                    raise Unavailable(
                        f"the hub is not asked for some seconds, because it failed {self._failures} times in a row; "
                        f"the last time: {self._error.message if self._error else 'unknown'}",
                        retry_after=wait,
                    )
                self._until = time.monotonic() + self._seconds  # this one tries; others come when it has failed
        try:
            answer = question()
        except HashHubError as e:
            if not isinstance(e, InvalidArgument) and e.reason not in _OF_THE_QUERY:
                self._count_failure(e)
            raise
        with self._lock:
            self._failures = 0
            was_open, self._is_open, self._error = self._is_open, False, None
        if was_open:
            self._tell(None)
        return answer

    def _count_failure(self, error: HashHubError) -> None:
        with self._lock:
            self._failures += 1
            self._error = error
            opens = not self._is_open and self._failures >= self._most_failures
            if opens:
                self._is_open = True
                self._until = time.monotonic() + self._seconds
        if opens:
            self._tell(error)

    def _tell(self, error: HashHubError | None) -> None:
        if error is None:
            _log.info("the hub answers again")
        else:
            _log.warning("the hub does not answer, and is asked less often: %s", error.message)
        if self._on_change is None:
            return
        try:
            self._on_change(error)
        except HashHubError as e:
            _log.warning("that the hub went away or came back could not be recorded: %s", e.message)


class CaseJudge:
    """Open cases before another judge, whatever that says. A case is no statement about an item: a copy is REVIEW,
    never MATCH by it, and `at_least` says what is done with it.
    """

    def __init__(self, behind: Judge, records: Records, settings: HookSettings, *, owns_records: bool = False) -> None:
        """The judge `behind` is closed with it, and the records if `owns_records`."""
        self._owns_records = owns_records
        self.behind = behind
        self._records = records
        self._settings = settings
        self._cases = Cases(records, settings.case)
        self._index = CaseIndex(self._cases)

    def judge(self, query: Query) -> HubAnswer:
        """Answer one query. Raises HashHubError when the judge has no answer and no case stops the upload."""
        action, lines = self.stops(query)
        try:
            judged = self.behind.judge(query)
        except HashHubError as e:
            if not lines:
                raise
            away = ReasonLine(code=e.reason, text=e.message)
            result = MatchResult(verdict=Verdict.REVIEW, reasons=(*lines, away), label=query.label)
            judged = HubAnswer(result=result, policy="", revision=self.behind.revision(), without_lists=True)
        else:
            if not lines:
                return judged
            verdict = judged.result.verdict
            is_unsaid = verdict is Verdict.UNAVAILABLE or (judged.is_past_limit and verdict not in _FOR_PEOPLE)
            judged = msgspec.structs.replace(
                judged, result=_stopped(judged.result, lines), at_least=action, without_lists=is_unsaid
            )
        if judged.without_lists:
            # What is done without an answer is chosen by the caller; a case makes it no milder.
            action = severest(action, self._settings.without_answer.hub_away)
        return msgspec.structs.replace(judged, at_least=action)

    def judge_media(self, label: str, content: bytes) -> MediaAnswer:
        """Let the hub hash an upload and answer. Raises HashHubError when no answer can be had."""
        if not isinstance(self.behind, MediaJudge):
            raise Unavailable("nobody hashes uploads for this hook; set hashing to here, or mode to online")
        judged = self.behind.judge_media(label, content)
        action, lines = self.stops(Query(hashes=judged.media.hashes))
        if self._lacks_frames(judged.media.media_type):
            text = "the hub does not say what the video's frames are, so it is not known whether a case is about one"
            action, lines = severest(action, Action.HOLD), (*lines, ReasonLine(code="CASES_UNREAD", text=text))
        if not lines:
            return judged
        if judged.result.verdict is Verdict.UNAVAILABLE:  # it stays unread; what the case does, the digests say
            return msgspec.structs.replace(judged, at_least=action)
        return msgspec.structs.replace(judged, result=_stopped(judged.result, lines), at_least=action)

    def has_cases(self) -> bool:
        """Whether any case stops uploads now; also where that cannot be read."""
        try:
            return self._index.has_cases()
        except HashHubError:
            return True

    def _lacks_frames(self, media_type: str) -> bool:
        try:
            return media_type.startswith("video/") and self._index.reads_frames()
        except HashHubError:
            return False  # `stops` has said so

    def is_stopped(self, query: Query, media_type: str) -> bool:
        """Whether a case is about this upload, or that is not known."""
        try:
            return bool(self._index.hits(query)) or (not query.frames and self._lacks_frames(media_type))
        except HashHubError:
            return True

    def stops(self, query: Query) -> tuple[Action, tuple[ReasonLine, ...]]:
        """Return what cases do with this upload at least, and why; ALLOW and nothing where no case is about it."""
        try:
            hits = self._index.hits(query)
        except HashHubError as e:
            text = f"the cases could not be read, so it is not known whether one is about this upload: {e.message}"
            return Action.HOLD, (ReasonLine(code="CASES_UNREAD", text=text),)
        if not hits:
            return Action.ALLOW, ()
        action = severest(*(hit.action for hit in hits))
        lines = tuple(
            ReasonLine(
                code=f"{STOPPED}{hit.action}",
                clause=hit.case,
                text=f"a copy of what {hit.case} is about: {hit.how}",
            )
            for hit in sorted(hits, key=lambda hit: hit.action is not action)
        )
        return action, lines

    def note(self, checked: DecisionRecord) -> None:
        """Count an upload in the cases that stopped it: once, however often they were asked about it."""
        names = {line.clause: None for line in checked.decision.reasons if line.code.startswith(STOPPED)}
        if names:
            with suppress(HashHubError):  # a count; the decision does not depend on it
                self._cases.note_stopped(names)

    def revision(self) -> int:
        """Return the judge's revision."""
        return self.behind.revision()

    def close(self) -> None:
        """Close the judge, and the records where they are its own."""
        self.behind.close()
        if self._owns_records:
            self._records.close()


def _stopped(result: MatchResult, lines: tuple[ReasonLine, ...]) -> MatchResult:
    verdict = result.verdict if result.verdict in _FOR_PEOPLE else Verdict.REVIEW
    # What decides comes first.
    reasons = (*result.reasons, *lines) if verdict is Verdict.MATCH else (*lines, *result.reasons)
    return msgspec.structs.replace(result, verdict=verdict, reasons=reasons)


_AWAY_SECONDS: Final = 0.42  # of the half second in which an upload is decided over while the hub is away
_LEAST_WAIT: Final = 0.02  # for hashes that are remembered, or as good as there
_LOOK_SECONDS: Final = 0.05  # between looks whether somebody still waits
_TOO_LARGE: Final = frozenset({Reason.MEDIA_TOO_LARGE, Reason.MEDIA_TOO_COSTLY, Reason.TOO_LARGE})
_UNREADABLE: Final = frozenset({Reason.UNREADABLE_MEDIA, Reason.MEDIA_PROCESS_DIED, Reason.MISSING_EXTRA})
_EXACT_ONLY: Final = ReasonCode.EXACT_ONLY.value
_FRAMES_SKIPPED: Final = ReasonCode.FRAMES_SKIPPED.value


class UploadEvidence(msgspec.Struct, kw_only=True):
    """What is known of one upload so far.

    `query`: what is asked about it, or could be. `if_unknown`: see PendingQuestion. `causes`: why there is no answer,
    or less of one; `lines` say so. `late`: its hashes, where the decision does not wait for them. `is_unhashed`: it is
    a picture or video of which nobody has computed more than digests yet: a case may be about it.
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
