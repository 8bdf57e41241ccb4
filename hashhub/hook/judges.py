"""Who is asked about an upload: open cases, then the hub behind a breaker, or (`local`) a copy of its lists."""

from __future__ import annotations

import contextlib
import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final, Protocol, TypeVar, runtime_checkable

import msgspec

from hashhub.desk.cases.index import STOPPED, CaseIndex
from hashhub.desk.cases.life import Cases
from hashhub.desk.decision import Action, DecisionRecord, severest
from hashhub.desk.hub import HubAnswer, Judge, client_of
from hashhub.errors import HashHubError, InvalidArgument, Reason, Unavailable
from hashhub.hashes import VPDQ, parse
from hashhub.model import Effort, MatchOptions, MatchResult, MediaResult, Query, ReasonLine, Verdict

if TYPE_CHECKING:
    from hashhub.client import Matched
    from hashhub.desk.records import Records
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


@contextlib.contextmanager
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
            with contextlib.suppress(HashHubError):  # a count; the decision does not depend on it
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
