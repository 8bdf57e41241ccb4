"""What desk and hub tell each other after a decision. The hub is told once of each entry that was hit, nothing of the
upload, and never of an entry what an upload does not bear that only comes near to it. What the hub says later of
uploads that were held or blocked changes nothing by itself: persons decide.
"""

from __future__ import annotations

import logging
import uuid
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import islice
from typing import TYPE_CHECKING, Final

import msgspec

from hashhub.desk.clock import AHEAD
from hashhub.desk.queue.stored_decision import LaterAnswer, RecordedHit, asked_again, hits_of, recorded
from hashhub.desk.records import UploadState
from hashhub.errors import DataLoss, HashHubError, LimitExceeded, NotFound, Reason, Unavailable
from hashhub.model import ReviewKind, Verdict, now

if TYPE_CHECKING:
    from hashhub.client import Client
    from hashhub.desk.decision import DecisionRecord
    from hashhub.desk.hub import HubAnswer, Judge
    from hashhub.desk.records import Records
    from hashhub.desk.settings import DeskSettings

_LOG: Final = logging.getLogger("hashhub.hook")
_MAX_REVIEWED: Final = 50  # entries that one decision is told about
_SAID_LATER: Final = "what was said of this entry later counts"
_SEND_SECONDS: Final = 10.0


class FeedbackState(StrEnum):
    """QUEUED: to be sent. SENT: the hub has it. REFUSED: the token may not review. GONE: the entry cannot be seen now.
    COVERED: the hub was told the same of this entry before, or what was said later. NOT_SAID: the decision says nothing
    about the entry.
    """

    QUEUED = "QUEUED"
    SENT = "SENT"
    REFUSED = "REFUSED"
    GONE = "GONE"
    COVERED = "COVERED"
    NOT_SAID = "NOT_SAID"


class Feedback(msgspec.Struct, frozen=True, kw_only=True):
    """What the hub is told about an entry, and what came of it."""

    entry: str
    kind: str
    state: FeedbackState
    detail: str


class ReviewSender:
    """The reviews that decisions became, until the hub has them."""

    def __init__(self, records: Records, settings: DeskSettings) -> None:
        self._records = records
        self._settings = settings

    def of(self, reference: str) -> tuple[Feedback, ...]:
        """Return what the hub is told because of an upload."""
        sql = "SELECT entry, kind, state, detail FROM feedback WHERE reference = ? ORDER BY number"
        return tuple(self._records.structs(Feedback, sql, (reference,)))

    def say(
        self,
        reference: str,
        checked: DecisionRecord,
        kind: ReviewKind | None,
        *,
        was: UploadState,
        becomes: UploadState,
    ) -> None:
        """Queue what the hub is told about each entry that was hit: once for each entry, however many copies come."""
        hits: dict[str, RecordedHit] = {}
        for hit in hits_of(checked):  # the exact one of several, else the nearest
            if hit.entry not in hits or (hit.exact and not hits[hit.entry].exact):
                hits[hit.entry] = hit
        for hit in islice(hits.values(), _MAX_REVIEWED):
            state, detail = FeedbackState.QUEUED, ""
            last = self._records.rows(
                "SELECT kind FROM feedback WHERE entry = ? AND state IN (?, ?) ORDER BY number DESC LIMIT 1",
                (hit.entry, FeedbackState.QUEUED, FeedbackState.SENT),
            )
            if kind is None:
                state, detail = FeedbackState.NOT_SAID, "the decision is about the upload, not about what is listed"
            elif kind is not ReviewKind.CONFIRMED and not hit.exact:
                state, detail = FeedbackState.NOT_SAID, "the upload is not the listed file, so nothing is said of it"
            elif last == [(kind,)]:
                state, detail = FeedbackState.COVERED, "said of this entry before"
            self._records.write(
                "INSERT INTO feedback (reference, entry, kind, comment, request_id, state, detail, time) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    reference,
                    hit.entry,
                    kind or "",
                    _fate(hit, was, becomes),
                    str(uuid.uuid4()),
                    state,
                    detail,
                    now().isoformat(),
                ),
            )

    def send(self, client: Client | None = None) -> dict[FeedbackState, int]:
        """Send the reviews that wait, and return how many came to which state; the hub away, they wait on. One whose
        answer was lost is sent again by its request id and made once.
        """
        rows = self._records.rows(
            "SELECT number, reference, entry, kind, comment, request_id FROM feedback WHERE state = ? ORDER BY number",
            (FeedbackState.QUEUED,),
        )
        fates = dict.fromkeys(FeedbackState, 0)
        if not rows:
            return fates
        own = client is None
        try:
            asked = client or _review_client(self._settings)
        except HashHubError as e:
            _LOG.warning("reviews wait: %s", e.message)
            fates[FeedbackState.QUEUED] = len(rows)
            return fates
        try:
            for done, (number, reference, entry, kind, comment, request_id) in enumerate(rows):
                try:
                    asked.create_review(entry, ReviewKind(kind), comment, request_id=request_id)
                    fate, detail = FeedbackState.SENT, ""
                except (Unavailable, LimitExceeded) as e:
                    if isinstance(e, LimitExceeded) and e.retry_after is None:  # of this entry so many were made today
                        _LOG.warning("a review waits: %s", e.message)
                        fates[FeedbackState.QUEUED] += 1
                        continue
                    _LOG.warning("reviews wait: %s", e.message)
                    fates[FeedbackState.QUEUED] += len(rows) - done
                    break
                except NotFound as e:
                    fate, detail = FeedbackState.GONE, e.reason
                except HashHubError as e:
                    fate, detail = FeedbackState.REFUSED, e.reason
                fates[fate] += 1
                with self._records.transaction():
                    if self._records.write(
                        "UPDATE feedback SET state = ?, detail = ? WHERE number = ? AND state = ?",
                        (fate, detail, number, FeedbackState.QUEUED),
                    ):
                        self._records.note(f"feedback.{fate.lower()}", reference, kind, entry=entry)
        finally:
            if own:
                asked.close()
        return fates

    def resend(self, *, actor: str) -> int:
        """Queue the last word on each entry that was refused, unless the hub has it; return how many."""
        refused = FeedbackState.REFUSED
        newest: dict[str, str] = {}
        at_hub: dict[str, str] = {}
        numbers: dict[tuple[str, str], list[int]] = {}
        with self._records.transaction():
            for number, entry, kind, state in self._records.rows(
                "SELECT number, entry, kind, state FROM feedback WHERE state <> ? "
                "AND entry IN (SELECT entry FROM feedback WHERE state = ?) ORDER BY number",
                (FeedbackState.NOT_SAID, refused),
            ):
                newest[entry] = kind
                if state in {FeedbackState.QUEUED, FeedbackState.SENT}:
                    at_hub[entry] = kind
                elif state == refused:
                    numbers.setdefault((entry, kind), []).append(number)
            again = {
                some[-1]
                for (entry, kind), some in numbers.items()
                if newest[entry] == kind and at_hub.get(entry) != kind
            }
            for number in (number for some in numbers.values() for number in some):
                fate = (FeedbackState.QUEUED, "") if number in again else (FeedbackState.COVERED, _SAID_LATER)
                self._records.write("UPDATE feedback SET state = ?, detail = ? WHERE number = ?", (*fate, number))
            if numbers:
                self._records.note("feedback.queued_again", "feedback", actor=actor, count=len(again))
        return len(again)


def _review_client(settings: DeskSettings) -> Client:
    """Return a client that may review, if the settings' token may. Raises InvalidArgument for a missing file."""
    from hashhub.desk.hub import client_of

    return client_of(settings, timeout=_SEND_SECONDS, retry_seconds=0.0, token_file=settings.queue.review_token_file)


def _fate(hit: RecordedHit, was: UploadState, becomes: UploadState) -> str:
    """Return what the hub is told: the hit and the hold's fate; nothing of who sent the upload or who decided."""
    how = (
        f"has this entry's {hit.algorithm}"
        if hit.exact
        else f"is within {hit.distance} ({hit.algorithm}) of this entry"
    )
    return f"A person decided on an upload that {how}: {was.lower()} by the upload hook, then {becomes.lower()}."


_MOST_ASKED: Final = 1000


class LaterAnswers:
    """The answers to what was asked again."""

    def __init__(self, records: Records) -> None:
        self._records = records

    def recheck(
        self, judge: Judge, *, limit: int = _MOST_ASKED, older_than: timedelta = timedelta(0)
    ) -> tuple[int, int]:
        """Ask again about up to `limit` uploads that are held or blocked and have no answer younger than `older_than`,
        the longest not asked first; return about how many, and how many answers changed. Nothing is released.

        Asked are the upload's own hashes and those of variants that hit, no frames of videos, which are not kept.
        Raises HashHubError when no answer can be had, DataLoss in the end for records that could not be read.
        """
        at = now()
        rows = self._records.rows(
            "SELECT u.reference FROM upload u LEFT JOIN later_answer a USING (reference) "
            "WHERE u.state IN (?, ?) AND (coalesce(a.time, u.time) <= ? OR coalesce(a.time, u.time) > ?) "
            "ORDER BY coalesce(a.time, ''), u.time, u.reference",
            (UploadState.HELD, UploadState.BLOCKED, (at - older_than).isoformat(), (at + AHEAD).isoformat()),
        )
        asked = changed = 0
        damage: DataLoss | None = None
        for (reference,) in rows:
            if asked >= limit:
                break
            try:
                checked = recorded(self._records, reference).checked
            except NotFound:
                continue  # forgotten meanwhile
            except DataLoss as e:
                damage = e  # told once the others were asked about
                continue
            query = asked_again(checked)
            if query is None:
                continue
            try:
                judged = judge.judge(query)
            except Unavailable as e:
                if e.reason is not Reason.HUB_SLOW:
                    raise
                continue  # others are answered
            if judged.result.verdict is Verdict.UNAVAILABLE or judged.stale_since is not None or judged.without_lists:
                raise Unavailable("the answer is no current one; ask again when the hub, or its copy, is up to date")
            asked += 1
            changed += self._note_answer(reference, checked, judged)
        if damage is not None:
            raise damage
        return asked, changed

    def _note_answer(self, reference: str, checked: DecisionRecord, judged: HubAnswer) -> bool:
        entries = sorted({match.entry.name for match in judged.result.matches})
        with self._records.transaction():
            last = self._records.rows("SELECT verdict, entries FROM later_answer WHERE reference = ?", (reference,))
            before = last or [(checked.decision.verdict, "\n".join(sorted({h.entry for h in hits_of(checked)})))]
            is_new = before != [(judged.result.verdict, "\n".join(entries))]
            self._records.write(
                "INSERT OR REPLACE INTO later_answer VALUES (?, ?, ?, ?, ?)",
                (reference, now().isoformat(), judged.result.verdict, judged.revision, "\n".join(entries)),
            )
            if is_new:
                answer = self.of(reference, checked)
                self._records.note(
                    "upload.answer_changed",
                    reference,
                    judged.result.verdict,
                    gone=list(answer.gone) if answer else [],
                    added=list(answer.added) if answer else [],
                )
        return is_new

    def of(self, reference: str, checked: DecisionRecord) -> LaterAnswer | None:
        """Return the last answer about an upload, beside what it hit at first; None: it was not asked about."""
        rows = self._records.rows(
            "SELECT time, verdict, revision, entries FROM later_answer WHERE reference = ?", (reference,)
        )
        if not rows:
            return None
        time, verdict, revision, entries = rows[0]
        at_first, at_last = {hit.entry for hit in hits_of(checked)}, set(entries.split())
        return LaterAnswer(
            time=datetime.fromisoformat(time),
            verdict=Verdict(verdict),
            revision=revision,
            gone=tuple(sorted(at_first - at_last)),
            added=tuple(sorted(at_last - at_first)),
        )
