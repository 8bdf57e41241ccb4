"""An upload as it was recorded: what it hit, what can still be asked about it, what a decision over it rests on (as an
etag), and whether a later decision over the same file says the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from hashhub.desk.decision import DecisionRecord, damaged, read_checked, severest
from hashhub.desk.records import UploadState
from hashhub.errors import NotFound
from hashhub.hashes import VPDQ, Hash, is_exact
from hashhub.model import Query, VariantHashes, Verdict

if TYPE_CHECKING:
    from hashhub.desk.cases.index import CaseHit
    from hashhub.desk.records import DeskEvent, Records

# As bytes: SQLite's module refuses the whole answer for one text that is no UTF-8.
CELLS: Final = "u.state, CAST(u.time AS BLOB), CAST(u.door AS BLOB), CAST(u.upload_id AS BLOB), CAST(u.checked AS BLOB)"


class RecordedHit(msgspec.Struct, frozen=True, kw_only=True):
    """An entry that an upload hit: `exact`, by a digest of the file itself."""

    entry: str
    algorithm: str
    distance: int
    variant: str = ""
    exact: bool = False


class LaterAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What the hub said when it was asked again. `gone`: entries that were hit and are not found now: withdrawn, or not
    to be seen any more. `added`: those found since. It changes nothing by itself: persons decide.
    """

    time: datetime
    verdict: Verdict
    revision: int
    gone: tuple[str, ...]
    added: tuple[str, ...]


class StoredDecision(NamedTuple):
    """The row of an upload."""

    state: UploadState
    time: datetime
    door: str
    upload_id: str
    checked: DecisionRecord


def recorded(records: Records, reference: str) -> StoredDecision:
    """Return what is on record of an upload. Raises NotFound."""
    sql = f"SELECT {CELLS} FROM upload u WHERE reference = ?"  # noqa: S608 - no value in it
    rows = records.rows(sql, (reference,))
    if not rows:
        raise NotFound(f"there is no upload {reference[:40]!r} in the queue; see `hashhub hook queue list`")
    return read_cells(reference, *rows[0])


def read_cells(reference: str, state: str, time: bytes, door: bytes, upload_id: bytes, stored: bytes) -> StoredDecision:
    """Return the row of an upload, read by `CELLS`. Raises DataLoss for what cannot be read."""
    try:
        return StoredDecision(
            *(UploadState(state), read_time(time), door.decode(), upload_id.decode()),
            checked=read_checked(stored, reference),
        )
    except ValueError as e:
        raise damaged(reference) from e


def read_time(cell: bytes) -> datetime:
    """Return the time in a row. Raises ValueError for what is none."""
    time = datetime.fromisoformat(cell.decode())
    if time.tzinfo is None:
        raise ValueError("a time without a zone")
    return time


def hits_of(checked: DecisionRecord) -> tuple[RecordedHit, ...]:
    """Return the entries that an upload hit, in the answer's order."""
    if checked.result is None:
        return ()
    return tuple(
        RecordedHit(
            entry=match.entry.name,
            algorithm=match.algorithm,
            distance=match.distance,
            variant=match.variant,
            exact=not match.variant and is_exact(match.algorithm),
        )
        for match in checked.result.matches
    )


def lists_of(checked: DecisionRecord) -> tuple[str, ...]:
    """Return the lists that have an entry which an upload hit, in the answer's order."""
    return tuple(dict.fromkeys(hit.entry.rpartition("/")[0] for hit in hits_of(checked)))


def asked_again(checked: DecisionRecord) -> Query | None:
    """Return what to ask about an upload by what is kept of it; None where that is not what was hit."""
    matches = checked.result.matches if checked.result is not None else ()
    is_picture = checked.media_type.startswith("image/")
    if not checked.hashes or (not is_picture and any(match.video is not None for match in matches)):
        return None
    digests: dict[str, set[Hash]] = {}
    for match in matches:
        h = Hash("PDQ" if match.algorithm == VPDQ.name else match.algorithm, match.query_digest)
        if match.variant and h not in checked.hashes:
            digests.setdefault(match.variant, set()).add(h)
    return Query(
        hashes=checked.hashes,
        variants=tuple(VariantHashes(variant, tuple(sorted(some))) for variant, some in sorted(digests.items())),
    )


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
    """Return a digest of all that is known of an upload; a later answer that says the same is no new fact."""
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
    """Return what changes with all that a decision rests on: the last event's number, then a digest."""
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


def is_same(state: UploadState, recorded: DecisionRecord, checked: DecisionRecord) -> bool:
    """Return whether a decision says of a file what is recorded already. What a person decided stands while nobody else
    speaks about the file, and nothing worse is to be done with what they released.
    """
    is_to_be_kept_yet = checked.decision.is_kept and not recorded.decision.is_kept
    if is_to_be_kept_yet or _exact(recorded) != _exact(checked):
        return False
    if state in {UploadState.RELEASED, UploadState.REMOVED}:
        before, after = recorded.decision.action, checked.decision.action
        is_worse = state is UploadState.RELEASED and severest(before, after) is not before
        return not is_worse and _speakers(checked) <= _speakers(recorded)
    return _said(recorded) == _said(checked)


def is_same_with_more_reasons(state: UploadState, recorded: DecisionRecord, checked: DecisionRecord) -> bool:
    """Return whether a decision says of a file that waits for a person all that is recorded of it, and more."""
    before, after = recorded.decision, checked.decision
    return (
        state in {UploadState.HELD, UploadState.BLOCKED}
        and (before.is_kept or not after.is_kept)
        and _exact(recorded) == _exact(checked)
        and (before.action, before.verdict, before.no_answer) == (after.action, after.verdict, after.no_answer)
        and _speakers(recorded) < _speakers(checked)
    )


def _exact(checked: DecisionRecord) -> frozenset[str]:
    return frozenset(h.text for h in checked.hashes if is_exact(h.algorithm))


def _speakers(checked: DecisionRecord) -> frozenset[str]:
    """Return the entries and cases that speak about an upload."""
    if checked.result is None:
        return frozenset()
    cases = (line.clause for line in checked.result.reasons if line.code.startswith("CASE_"))
    return frozenset([*(m.entry.name for m in checked.result.matches), *cases])


def _said(checked: DecisionRecord) -> tuple[object, ...]:
    """Return what was decided, and by whose statements. Sentences may tell times, and revisions move on."""
    decision, result = checked.decision, checked.result
    if result is None:
        return decision.action, decision.verdict, decision.no_answer
    lines = frozenset((line.code, line.clause, frozenset(line.entries)) for line in result.reasons)
    entries = frozenset(
        (m.entry.name, m.entry.state, (c.scheme, c.value) if (c := m.entry.classification) else None)
        for m in result.matches
    )
    return decision.action, decision.verdict, decision.no_answer, lines, entries
