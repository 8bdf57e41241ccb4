"""What a decision over an upload rests on, as an etag: whether it is still as somebody read it, and what came since."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from hashhub.desk.queue.stored_decision import hits_of

if TYPE_CHECKING:
    from hashhub.desk.cases.index import CaseHit
    from hashhub.desk.decision import DecisionRecord
    from hashhub.desk.queue.later_answers import LaterAnswer
    from hashhub.desk.records import DeskEvent, Records, UploadState

_MOST_TOLD: Final = 3
_CHANGES: Final = frozenset(
    {
        "upload.removed",
        "upload.released",
        "upload.rechecked",
        "upload.answer_changed",
        "upload.reasons_added",
        "release.proposed",
        "release.withdrawn",
    }
)


def facts_of(state: UploadState, checked: DecisionRecord, later: LaterAnswer | None, cases: Sequence[CaseHit]) -> bytes:
    """Return a digest of all that is known of an upload, which a proposed release rests on, too. A later answer that
    says the same is no other fact.
    """
    is_new = later is not None and (later.verdict != checked.decision.verdict or later.gone or later.added)
    said: list[Any] = [
        state,
        checked.decision.action,
        checked.decision.verdict,
        checked.decision.no_answer,
        sorted((hit.entry, hit.algorithm, hit.distance, hit.variant) for hit in hits_of(checked)),
        sorted(line.code for line in checked.decision.reasons),
        (later.verdict, later.gone, later.added) if later is not None and is_new else None,
        sorted((hit.case, hit.action) for hit in cases),
    ]
    return hashlib.sha256(msgspec.json.encode(said)).digest()


def etag_of(records: Records, reference: str, facts: bytes) -> str:
    """Return what changes with all that a decision rests on. It begins with the number of the last event, by which it
    can be told what came since.
    """
    [(last,)] = records.rows("SELECT coalesce(max(number), 0) FROM event WHERE subject = ?", (reference,))
    return f"{last}-{_digest(records, reference, facts)}"


def is_of_now(records: Records, reference: str, etag: str, facts: bytes) -> bool:
    """Return whether what a decision rests on is as it was when the etag was read."""
    return etag.partition("-")[2] == _digest(records, reference, facts)


def changes_since(records: Records, reference: str, etag: str) -> list[DeskEvent]:
    """Return the last events that changed what a decision rests on, of those since the etag; of all, without one."""
    number = etag.partition("-")[0]
    after = int(number) if number.isascii() and number.isdecimal() and len(number) < 19 else 0  # noqa: PLR2004 - int64
    events = records.events(subject=reference)
    return [event for event in events if event.number > after and event.kind in _CHANGES][-_MOST_TOLD:]


def _digest(records: Records, reference: str, facts: bytes) -> str:
    # What was released and removed again is as it was, and yet two persons decided meanwhile.
    [(decided,)] = records.rows(
        "SELECT count(*) FROM ruling WHERE reference = ? AND ruling <> 'ESCALATE'", (reference,)
    )
    # What one says of a release that is proposed ends it, or is the second word for it.
    proposed = records.rows("SELECT actor, code, comment, time FROM proposal WHERE reference = ?", (reference,))
    return hashlib.sha256(facts + msgspec.json.encode((decided, proposed))).hexdigest()[:16]
