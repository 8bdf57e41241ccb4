"""Cases before the lists: who is stopped because of an open case, whatever the hub says, and without it.

A case is no statement about an item, so it never makes a verdict MATCH. A copy is REVIEW, which a person decides, and
`at_least` says what is done with it until then.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

import msgspec

from hashhub.desk.cases import CaseIndex, Cases
from hashhub.desk.cases.index import STOPPED
from hashhub.desk.decision import Action, DecisionRecord, severest
from hashhub.desk.hub import HubAnswer, Judge
from hashhub.errors import HashHubError, Unavailable
from hashhub.hook.judges import MediaAnswer, MediaJudge
from hashhub.model import MatchResult, Query, ReasonLine, Verdict

if TYPE_CHECKING:
    from hashhub.desk.records import Records
    from hashhub.hook.settings import HookSettings

_FOR_PEOPLE: Final = frozenset({Verdict.MATCH, Verdict.REVIEW})


class CaseJudge:
    """A judge, and the cases before it."""

    def __init__(
        self,
        judge: Judge,
        records: Records,
        settings: HookSettings,
        *,
        media_judge: MediaJudge | None = None,
        owns_records: bool = False,
    ) -> None:
        """The judge is closed with it, and the records if `owns_records`."""
        self._owns_records = owns_records
        self._media_judge = media_judge
        self._judge = judge
        self._records = records
        self._settings = settings
        self._cases = Cases(records, settings.case)
        self._index = CaseIndex(self._cases)

    def judge(self, query: Query) -> HubAnswer:
        """Answer one query. Raises HashHubError when the judge has no answer and no case stops the upload."""
        action, lines = self.stops(query)
        try:
            judged = self._judge.judge(query)
        except HashHubError as e:
            if not lines:
                raise
            away = ReasonLine(code=e.reason, text=e.message)
            result = MatchResult(verdict=Verdict.REVIEW, reasons=(*lines, away), label=query.label)
            judged = HubAnswer(result=result, policy="", revision=self._judge.revision(), without_lists=True)
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
        if self._media_judge is None:
            raise Unavailable("nobody hashes uploads for this hook; set hashing to here, or mode to online")
        judged = self._media_judge.judge_media(label, content)
        action, lines = self.stops(Query(hashes=judged.media.hashes))
        if self._lacks_frames(judged.media.media_type):
            text = "the hub does not say what the video's frames are, so it is not known whether a case is about one"
            action, lines = severest(action, Action.HOLD), (*lines, ReasonLine(code="CASES_UNREAD", text=text))
        if not lines:
            return judged
        if judged.media.result.verdict is Verdict.UNAVAILABLE:  # it stays unread; what the case does, the digests say
            return msgspec.structs.replace(judged, at_least=action)
        media = msgspec.structs.replace(judged.media, result=_stopped(judged.media.result, lines))
        return msgspec.structs.replace(judged, media=media, at_least=action)

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
        return self._judge.revision()

    def close(self) -> None:
        """Close the judge, and the records where they are its own."""
        self._judge.close()
        if self._owns_records:
            self._records.close()


def _stopped(result: MatchResult, lines: tuple[ReasonLine, ...]) -> MatchResult:
    verdict = result.verdict if result.verdict in _FOR_PEOPLE else Verdict.REVIEW
    # What decides comes first.
    reasons = (*result.reasons, *lines) if verdict is Verdict.MATCH else (*lines, *result.reasons)
    return msgspec.structs.replace(result, verdict=verdict, reasons=reasons)
