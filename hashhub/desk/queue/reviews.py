"""What the hub is told of decisions: once of each entry that was hit, nothing of the upload, and never of an entry what
an upload does not bear that only comes near to it.
"""

from __future__ import annotations

import logging
import uuid
from enum import StrEnum
from itertools import islice
from typing import TYPE_CHECKING, Final

import msgspec

from hashhub.desk.queue.stored_decision import RecordedHit, hits_of
from hashhub.desk.records import HOOK, UploadState
from hashhub.errors import HashHubError, LimitExceeded, NotFound, Unavailable
from hashhub.model import ReviewKind, now

if TYPE_CHECKING:
    from hashhub.client import Client
    from hashhub.desk.decision import DecisionRecord
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
        return tuple(
            Feedback(entry=entry, kind=kind, state=FeedbackState(fate), detail=detail)
            for entry, kind, fate, detail in self._records.rows(
                "SELECT entry, kind, state, detail FROM feedback WHERE reference = ? ORDER BY number", (reference,)
            )
        )

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
        """Send the reviews that wait, and return how many came to which state. The hub away: they wait on.

        A review that was sent, and of which the answer was lost, is sent again by its request id and made once.
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
                        self._records.note(
                            actor=HOOK, kind=f"feedback.{fate.lower()}", subject=reference, reason=kind, entry=entry
                        )
        finally:
            if own:
                asked.close()
        return fates

    def resend(self, *, actor: str) -> int:
        """Queue again what was refused, after the token was changed; return how many. Of each entry it is the last word
        that counts, once, and none that the hub has.
        """
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
                self._records.note(actor=actor, kind="feedback.queued_again", subject="feedback", count=len(again))
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
