"""What persons see of uploads: groups in an order in which nobody buries another's, and all that is known of one. Never
a picture; that somebody looked at one is an event.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

import msgspec
from msgspec.structs import replace

from hashhub.desk.cases.index import CaseHit, CaseIndex
from hashhub.desk.cases.life import Cases
from hashhub.desk.clock import AHEAD
from hashhub.desk.decision import Action
from hashhub.desk.queue.reviews import Feedback, LaterAnswers, ReviewSender
from hashhub.desk.queue.stored_decision import (
    CELLS,
    LaterAnswer,
    RecordedHit,
    asked_again,
    etag_of,
    facts_of,
    hits_of,
    lists_of,
    read_cells,
    read_time,
    recorded,
)
from hashhub.desk.records import UploadState
from hashhub.errors import DataLoss, InvalidArgument
from hashhub.hashes import is_exact
from hashhub.model import Coverage, Query, ReasonLine, Verdict, now

if TYPE_CHECKING:
    from hashhub.desk.decision import DecisionRecord
    from hashhub.desk.records import DeskEvent, Records
    from hashhub.desk.settings import DeskSettings

MAX_LISTED: Final = 1000
MAX_READ: Final = 20_000
"""Waiting uploads that one listing looks at, of each state and source the oldest; what is beyond them is told as a
number.
"""
_SHOWN_OF_GROUP: Final = 10
_RANKS: Final[dict[str, int]] = {Verdict.MATCH: 0, Verdict.REVIEW: 1}
# Where more wait than are read: of each state and source in turn, the oldest first. The source is `_source`'s.
_SOME: Final = """u.reference IN (
    SELECT reference FROM (
        SELECT reference, time, row_number() OVER (
            PARTITION BY state, substr(upload_id, 1, instr(upload_id, '/')) ORDER BY time, reference
        ) AS turn FROM upload WHERE state IN ({})
    ) ORDER BY turn, time, reference LIMIT ?
)"""
_T = TypeVar("_T")
_LONG_AGO: Final = datetime.min.replace(tzinfo=UTC)
DAMAGED: Final = "RECORD_DAMAGED"
"""Why a listing has no verdict of an upload whose record cannot be read."""
WAITING: Final = (UploadState.BLOCKED, UploadState.HELD, UploadState.UNANSWERED)


class RulingCode(StrEnum):
    """Why an upload is released. FALSE_POSITIVE: it is the listed file, not what the list says. NOT_ILLEGAL_HERE: it
    is, and is legal here. DIFFERENT_PICTURE: only near. OTHER: see the comment.
    """

    FALSE_POSITIVE = "FALSE_POSITIVE"
    NOT_ILLEGAL_HERE = "NOT_ILLEGAL_HERE"
    DIFFERENT_PICTURE = "DIFFERENT_PICTURE"
    OTHER = "OTHER"


class RulingProposal(msgspec.Struct, frozen=True, kw_only=True):
    """A release that a second person must confirm."""

    actor: str
    code: RulingCode
    comment: str
    time: datetime


class Ruling(msgspec.Struct, frozen=True, kw_only=True):
    """What persons decided: CONFIRM, RELEASE or ESCALATE."""

    ruling: str
    code: str
    comment: str
    actors: tuple[str, ...]
    time: datetime


class FiledReport(msgspec.Struct, frozen=True, kw_only=True):
    """A report that somebody filed: to whom, and by which number there."""

    recipient: str
    filed_as: str
    actor: str
    time: datetime


class QueueRow(msgspec.Struct, frozen=True, kw_only=True):
    """An upload in a listing. `time`: None in a damaged record. `verdict_now`: the hub's, asked again; or empty."""

    reference: str
    state: UploadState
    verdict: Verdict
    no_answer: str
    time: datetime | None
    door: str
    upload_id: str
    verdict_now: str = ""


class UploadGroup(msgspec.Struct, frozen=True, kw_only=True):
    """Uploads that hit the same entries, or have the same file digest: told once, with ten of them, of each source in
    turn. One whose record is damaged is a group of its own, with RECORD_DAMAGED for `no_answer`.
    """

    key: str
    count: int
    verdict: Verdict
    no_answer: str
    lists: tuple[str, ...]
    oldest: datetime | None
    uploads: tuple[QueueRow, ...]


class QueuePage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of the queue. `waiting`: uploads in it; `not_read`: waiting ones beyond what a listing looks at;
    `damaged`: those of which the record cannot be read, whether on this page or not.
    """

    groups: tuple[UploadGroup, ...]
    group_count: int
    waiting: int
    not_read: int
    damaged: int


class UploadCase(msgspec.Struct, frozen=True, kw_only=True):
    """A case that is about an upload now, by the hashes that are kept of it: what is done with copies, and by what it
    was noticed. It may have been opened after the upload was decided over.
    """

    case: str
    action: Action
    how: str


class QueuedUpload(msgspec.Struct, frozen=True, kw_only=True):
    """All that is known of one upload; never its content. `etag`: changes with what a decision over it rests on."""

    reference: str
    state: UploadState
    etag: str
    time: datetime
    door: str
    upload_id: str
    media_type: str
    size_bytes: int
    verdict: Verdict
    no_answer: str
    policy: str
    revision: int
    reasons: tuple[ReasonLine, ...]
    coverage: Coverage
    hashes: tuple[str, ...]
    hits: tuple[RecordedHit, ...]
    lists: tuple[str, ...]
    cases: tuple[UploadCase, ...]
    later_answer: LaterAnswer | None
    proposal: RulingProposal | None
    rulings: tuple[Ruling, ...]
    reports: tuple[FiledReport, ...]
    feedback: tuple[Feedback, ...]
    events: tuple[DeskEvent, ...]


class ReviewQueue:
    """What persons see of uploads. Safe to be shared by threads."""

    def __init__(self, records: Records, settings: DeskSettings) -> None:
        self._records = records
        self._cases = CaseIndex(Cases(records, settings.case))
        self._later = LaterAnswers(records)
        self._reviews = ReviewSender(records, settings)
        self._read: tuple[object, QueuePage] | None = None

    def page(self, *, states: Sequence[UploadState] = WAITING, limit: int = 50, skip: int = 0) -> QueuePage:
        """Return groups of uploads: matches and what is damaged, reviews, then what has no answer; within each, sources
        take turns, the oldest first. Raises InvalidArgument for a limit beyond MAX_LISTED.
        """
        if not 1 <= limit <= MAX_LISTED or skip < 0:
            raise InvalidArgument.field("limit", f"must be 1 to {MAX_LISTED}", "OUT_OF_RANGE")
        # Each change to an upload is an event of the same transaction; that somebody looked at one changes nothing.
        last = "SELECT number FROM event WHERE kind <> 'upload.viewed' ORDER BY number DESC LIMIT 1"
        found = self._records.rows(f"SELECT ({last}), (SELECT count(*) FROM later_answer)")  # noqa: S608 - as above
        version, read = (found, *states), self._read
        if read is None or read[0] != version:
            self._read = read = version, self._all(states)
        return replace(read[1], groups=read[1].groups[skip : skip + limit])

    def _all(self, states: Sequence[UploadState]) -> QueuePage:
        """Return all groups in their order, as one page."""
        places = ", ".join("?" * len(states))
        values = [str(state) for state in states]
        counting = f"SELECT count(*) FROM upload WHERE state IN ({places})"  # noqa: S608 - no value in it
        [(waiting,)] = self._records.rows(counting, values)
        which = "u.state IN ({})" if waiting <= MAX_READ else _SOME
        rows = self._records.many_rows(
            f"SELECT CAST(u.reference AS BLOB), {CELLS}, "  # noqa: S608 - no value in it
            "CAST(coalesce(a.verdict, '') AS BLOB) "
            f"FROM upload u LEFT JOIN later_answer a USING (reference) WHERE {which.format(places)} "
            "ORDER BY u.time, u.reference",
            [*values, *([MAX_READ] if waiting > MAX_READ else [])],
        )
        by_key: dict[str, list[tuple[QueueRow, tuple[str, ...]]]] = {}
        damaged_count = 0
        for name, *cells, now_said in rows:
            reference, verdict_now = _readable(name), _readable(now_said)
            try:
                state, time, door, upload_id, checked = read_cells(reference, *cells)
            except DataLoss:
                damaged_count += 1
                row = _damaged_row(reference, cells, verdict_now)
                by_key.setdefault(f"{DAMAGED} {reference}", []).append((row, ()))
                continue
            row = QueueRow(
                reference=reference,
                state=state,
                verdict=checked.decision.verdict,
                no_answer=checked.decision.no_answer or "",
                time=time,
                door=door,
                upload_id=upload_id,
                verdict_now=verdict_now,
            )
            by_key.setdefault(_group_key(checked, reference), []).append((row, lists_of(checked)))
        gathered = [_ranked_group(key, members) for key, members in by_key.items()]
        return QueuePage(
            groups=tuple(_in_order(gathered)),
            group_count=len(gathered),
            waiting=waiting,
            not_read=max(0, waiting - len(rows)),
            damaged=damaged_count,
        )

    def get(self, reference: str, *, actor: str = "") -> QueuedUpload:
        """Return one upload. With an actor, that they looked is an event, once a day. Raises NotFound."""
        state, time, door, upload_id, checked = recorded(self._records, reference)
        if actor:
            self._note_look(reference, actor)
        cases, later = self.cases_of(checked), self._later.of(reference, checked)
        return QueuedUpload(
            reference=reference,
            state=state,
            etag=etag_of(self._records, reference, facts_of(state, checked, later, cases)),
            time=time,
            door=door,
            upload_id=upload_id,
            media_type=checked.media_type,
            size_bytes=checked.size_bytes,
            verdict=checked.decision.verdict,
            no_answer=checked.decision.no_answer or "",
            policy=checked.decision.policy,
            revision=checked.decision.revision,
            reasons=checked.decision.reasons,
            coverage=checked.decision.coverage,
            hashes=tuple(h.text for h in checked.hashes),
            hits=hits_of(checked),
            lists=lists_of(checked),
            cases=tuple(UploadCase(case=c.case, action=c.action, how=c.how) for c in cases),
            later_answer=later,
            proposal=self.proposal(reference),
            rulings=tuple(self._rulings(reference)),
            reports=tuple(
                self._records.structs(
                    FiledReport,
                    "SELECT recipient, filed_as, actor, time FROM filed_report WHERE reference = ? ORDER BY time",
                    (reference,),
                )
            ),
            feedback=self._reviews.of(reference),
            events=tuple(self._records.events(subject=reference)),
        )

    def cases_of(self, checked: DecisionRecord) -> list[CaseHit]:
        """Return the cases that are about an upload now, by what is kept of it: hashes, and which cases stopped it."""
        query = asked_again(checked) or Query(hashes=checked.hashes)
        hits: dict[str, CaseHit] = {}
        for hit in (*self._cases.hits(query), *self._cases.noted(checked.decision.reasons)):
            if hit.case not in hits or hit.rank < hits[hit.case].rank:
                hits[hit.case] = hit
        return list(hits.values())

    def proposal(self, reference: str) -> RulingProposal | None:
        """Return the release of an upload that a second person must confirm."""
        sql = "SELECT actor, code, comment, time FROM proposal WHERE reference = ?"
        return next(iter(self._records.structs(RulingProposal, sql, (reference,))), None)

    def _rulings(self, reference: str) -> Iterable[Ruling]:
        for ruling, code, comment, actors, time in self._records.rows(
            "SELECT ruling, code, comment, actors, time FROM ruling WHERE reference = ? ORDER BY number", (reference,)
        ):
            yield Ruling(
                ruling=ruling,
                code=code,
                comment=comment,
                actors=tuple(actors.split()),
                time=datetime.fromisoformat(time),
            )

    def _note_look(self, reference: str, actor: str) -> None:
        at = now()
        with self._records.transaction():
            if not self._records.rows(
                "SELECT 1 FROM event WHERE kind = 'upload.viewed' AND subject = ? AND actor = ? AND time >= ? "
                "AND time <= ?",
                (reference, actor, at.date().isoformat(), (at + AHEAD).isoformat()),
            ):
                self._records.note("upload.viewed", reference, actor=actor)


def _group_key(checked: DecisionRecord, reference: str) -> str:
    """Return what uploads of one group have in common: the entries hit, else the file's digest, else nothing."""
    entries = sorted({hit.entry for hit in hits_of(checked)})
    if entries:
        return hashlib.sha256("\n".join([checked.decision.verdict, *entries]).encode()).hexdigest()[:16]
    # The longest: two files with one MD5 can be made.
    exact = max((h.text for h in checked.hashes if is_exact(h.algorithm)), key=len, default=reference)
    return hashlib.sha256(f"{checked.decision.no_answer} {exact}".encode()).hexdigest()[:16]


def _damaged_row(reference: str, cells: Sequence[Any], verdict_now: str) -> QueueRow:
    """Return what can still be said of an upload whose record is damaged, by its cells."""
    state, time, door, upload_id, _ = cells
    try:
        at = read_time(time)
    except ValueError:
        at = None
    return QueueRow(
        reference=reference,
        state=UploadState(state),
        verdict=Verdict.UNAVAILABLE,
        no_answer=DAMAGED,
        time=at,
        door=_readable(door),
        upload_id=_readable(upload_id),
        verdict_now=verdict_now,
    )


def _readable(cell: bytes) -> str:
    return cell.decode(errors="replace")


def _source(row: QueueRow) -> str:
    """Return whose upload it is, as far as the app says: what stands before the first `/` of its own name for it."""
    return row.upload_id.partition("/")[0] if "/" in row.upload_id else ""


class _RankedGroup(NamedTuple):
    """A group, whose uploads are in it, and whether it comes with matches (0), reviews (1) or the rest (2)."""

    group: UploadGroup
    sources: frozenset[str]
    rank: int


def _ranked_group(key: str, members: Sequence[tuple[QueueRow, tuple[str, ...]]]) -> _RankedGroup:
    """Return a group of these uploads, the oldest first, of which some are shown: one of each source in turn."""
    first, lists = members[0]
    rows = [row for row, _ in members]
    group = UploadGroup(
        key=key,
        count=len(rows),
        verdict=first.verdict,
        no_answer=first.no_answer,
        lists=lists,
        oldest=first.time,
        uploads=tuple(islice(_in_turn(rows, lambda row: (_source(row),)), _SHOWN_OF_GROUP)),
    )
    said = {first.verdict, *(row.verdict_now for row in rows)}
    rank = 0 if first.no_answer == DAMAGED else min(_RANKS.get(verdict, 2) for verdict in said)
    return _RankedGroup(group, frozenset(map(_source, rows)), rank)


def _in_order(gathered: Sequence[_RankedGroup]) -> Iterator[UploadGroup]:
    """Yield matches and what is damaged, then reviews, then the rest; within each, one group of each source in turn, so
    that whoever uploads ten thousand pictures delays each other group by one place, and by no more.
    """
    by_age = sorted(gathered, key=lambda one: (one.group.oldest or _LONG_AGO, one.group.key))
    for rank in range(3):
        for one in _in_turn([one for one in by_age if one.rank == rank], lambda one: sorted(one.sources)):
            yield one.group


def _in_turn(things: Iterable[_T], sources_of: Callable[[_T], Iterable[str]]) -> Iterator[_T]:
    """Yield each once, one of each source in turn; what belongs to several comes at the turn of any."""
    by_source: dict[str, deque[_T]] = {}
    for thing in things:
        for source in sources_of(thing):
            by_source.setdefault(source, deque()).append(thing)
    turns = deque(by_source.values())
    yielded: set[int] = set()
    while turns:
        turn = turns.popleft()
        while turn and id(turn[0]) in yielded:
            turn.popleft()
        if turn:
            yielded.add(id(turn[0]))
            yield turn.popleft()
            turns.append(turn)
