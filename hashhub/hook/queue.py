"""The queue: uploads that wait for a person, what persons decide, and what the hub is told of it.

                 confirm                              release (two persons, where the settings say so)
    UNANSWERED ──────────▶ REMOVED   ◀───────────▶   RELEASED
    HELD, BLOCKED ─▲          │  a decision can be taken back by the other one, never undone: each is an event

Nothing here shows a picture, or holds one. A release is of one upload, by its reference: what looks alike may differ.

What goes back to the hub is about the entries that were hit. To confirm an upload says CONFIRMED of each. To object to
an entry (FALSE_POSITIVE, NOT_ILLEGAL_HERE) needs an upload that is the listed file, bit for bit: an upload that only
comes near in a perceptual hash is another picture, and what it shows says nothing about the entry. Otherwise whoever
draws pictures that come near would have others' entries disputed by the persons who clear them.
"""

from __future__ import annotations

import hashlib
import logging
import uuid
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import islice
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from hashhub.background import Background
from hashhub.errors import (
    Conflict,
    FailedPrecondition,
    HashHubError,
    InvalidArgument,
    LimitExceeded,
    NotFound,
    Reason,
    Unavailable,
)
from hashhub.hashes import VPDQ, Hash, is_exact
from hashhub.hook.case_judge import CaseHit, CaseIndex
from hashhub.hook.cases import Cases
from hashhub.hook.clock import AHEAD, is_believed
from hashhub.hook.decision import Action, Checked
from hashhub.hook.people import ACCOUNT
from hashhub.hook.records import HOOK, UploadState
from hashhub.model import Query, ReasonLine, ReviewKind, VariantHashes, Verdict, now

if TYPE_CHECKING:
    from hashhub.client import Client
    from hashhub.hook.judges import Judge, Judged
    from hashhub.hook.records import Event, Records
    from hashhub.hook.settings import HookSettings
    from hashhub.hook.vault import Vault

_LOG: Final = logging.getLogger("hashhub.hook")
MAX_COMMENT: Final = 1000
MAX_LISTED: Final = 1000
MAX_READ: Final = 20_000
"""Waiting uploads that one listing looks at, the oldest first; what is beyond them is told as a number."""
_SHOWN_OF_GROUP: Final = 10
_MAX_REVIEWED: Final = 50  # entries that one decision is told about
_MAX_NAME: Final = 200
_SAID_LATER: Final = "what was said of this entry later counts"
_SEND_SECONDS: Final = 10.0
_ROUND_SECONDS: Final = 60.0
_RECHECK_SECONDS: Final = 3600.0  # between two looks for uploads whose answer is old
_ERASURE_SECONDS: Final = 3600.0
_ANSWER_AGE: Final = timedelta(days=1)
_ASKED_A_ROUND: Final = 100


WAITING: Final = (UploadState.BLOCKED, UploadState.HELD, UploadState.UNANSWERED)


class Code(StrEnum):
    """Why an upload is released.

    FALSE_POSITIVE: the upload is the listed file, and is not what the list says. NOT_ILLEGAL_HERE: it is, and is legal
    here. DIFFERENT_PICTURE: it only comes near to what is listed. OTHER: the comment says why.
    """

    FALSE_POSITIVE = "FALSE_POSITIVE"
    NOT_ILLEGAL_HERE = "NOT_ILLEGAL_HERE"
    DIFFERENT_PICTURE = "DIFFERENT_PICTURE"
    OTHER = "OTHER"


_OBJECTIONS: Final = {
    Code.FALSE_POSITIVE: ReviewKind.FALSE_POSITIVE,
    Code.NOT_ILLEGAL_HERE: ReviewKind.NOT_ILLEGAL_HERE,
}


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


class Hit(msgspec.Struct, frozen=True, kw_only=True):
    """An entry that an upload hit: `exact`, by a digest of the file itself."""

    entry: str
    algorithm: str
    distance: int
    variant: str = ""
    exact: bool = False


class Proposal(msgspec.Struct, frozen=True, kw_only=True):
    """A release that a second person must confirm."""

    actor: str
    code: Code
    comment: str
    time: datetime


class _FirstWord(NamedTuple):
    """What the first of two persons said of a release. `facts`: a digest of all that it rests on."""

    actor: str
    code: str
    facts: bytes


class Ruling(msgspec.Struct, frozen=True, kw_only=True):
    """What persons decided: CONFIRM, RELEASE or ESCALATE."""

    ruling: str
    code: str
    comment: str
    actors: tuple[str, ...]
    time: datetime


class Feedback(msgspec.Struct, frozen=True, kw_only=True):
    """What the hub is told about an entry, and what came of it."""

    entry: str
    kind: str
    state: FeedbackState
    detail: str


class Filed(msgspec.Struct, frozen=True, kw_only=True):
    """A report that somebody filed: to whom, and by which number there."""

    recipient: str
    filed_as: str
    actor: str
    time: datetime


class LaterAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What the hub said when it was asked again. `gone`: entries that were hit and are not found now: withdrawn, or not
    to be seen any more. `added`: those found since. It changes nothing by itself: persons decide.
    """

    time: datetime
    verdict: Verdict
    revision: int
    gone: tuple[str, ...]
    added: tuple[str, ...]


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """An upload in a listing. `verdict_now`: the hub's, when it was asked again; empty: it was not."""

    reference: str
    state: UploadState
    verdict: Verdict
    no_answer: str
    time: datetime
    door: str
    upload_id: str
    verdict_now: str = ""


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """Uploads that hit the same entries, or have the same file digest: told once, with the first ten of them."""

    key: str
    count: int
    verdict: Verdict
    no_answer: str
    lists: tuple[str, ...]
    oldest: datetime
    uploads: tuple[Row, ...]


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """A page of the queue. `waiting`: uploads in it; `not_read`: waiting ones beyond what a listing looks at."""

    groups: tuple[Group, ...]
    group_count: int
    waiting: int
    not_read: int


class AboutCase(msgspec.Struct, frozen=True, kw_only=True):
    """A case that is about an upload now, by the hashes that are kept of it: what is done with copies, and by what it
    was noticed. It may have been opened after the upload was decided over.
    """

    case: str
    action: Action
    how: str


class QueuedUpload(msgspec.Struct, frozen=True, kw_only=True):
    """All that is known of one upload; never its content."""

    reference: str
    state: UploadState
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
    hashes: tuple[str, ...]
    hits: tuple[Hit, ...]
    lists: tuple[str, ...]
    cases: tuple[AboutCase, ...]
    later_answer: LaterAnswer | None
    proposal: Proposal | None
    rulings: tuple[Ruling, ...]
    reports: tuple[Filed, ...]
    feedback: tuple[Feedback, ...]
    events: tuple[Event, ...]


class Queue:
    """What persons see of uploads, and what they decide. Safe to be shared by threads."""

    def __init__(self, records: Records, settings: HookSettings) -> None:
        self._records = records
        self._settings = settings
        self._cases = CaseIndex(Cases(records, settings.case))

    # Reading

    def page(self, *, states: Sequence[UploadState] = WAITING, limit: int = 50, skip: int = 0) -> Listing:
        """Return groups of uploads: matches first, then what is to be reviewed, then what has no answer; within each,
        the sources take turns (see `_source`), and the oldest come first.

        Raises InvalidArgument for a limit beyond MAX_LISTED.
        """
        if not 1 <= limit <= MAX_LISTED or skip < 0:
            raise InvalidArgument.field("limit", f"must be 1 to {MAX_LISTED}", "OUT_OF_RANGE")
        places = ", ".join("?" * len(states))
        values = [str(state) for state in states]
        counting = f"SELECT count(*) FROM upload WHERE state IN ({places})"  # noqa: S608 - no value in it
        [(waiting,)] = self._records.rows(counting, values)
        rows = self._records.rows(
            "SELECT u.reference, u.state, u.time, u.door, u.upload_id, u.checked, "  # noqa: S608 - likewise
            "coalesce(a.verdict, '') "
            f"FROM upload u LEFT JOIN later_answer a USING (reference) WHERE u.state IN ({places}) "
            "ORDER BY u.time, u.reference LIMIT ?",
            [*values, MAX_READ],
        )
        by_key: dict[str, list[tuple[Row, tuple[str, ...]]]] = {}
        for reference, state, time, door, upload_id, blob, verdict_now in rows:
            checked = read_checked(blob)
            row = Row(
                reference=reference,
                state=UploadState(state),
                verdict=checked.decision.verdict,
                no_answer=checked.decision.no_answer or "",
                time=datetime.fromisoformat(time),
                door=door,
                upload_id=upload_id,
                verdict_now=verdict_now,
            )
            by_key.setdefault(_group_key(checked, reference), []).append((row, _lists(checked)))
        groups = [
            Group(
                key=key,
                count=len(members),
                verdict=members[0][0].verdict,
                no_answer=members[0][0].no_answer,
                lists=members[0][1],
                oldest=members[0][0].time,
                uploads=tuple(row for row, _ in members[:_SHOWN_OF_GROUP]),
            )
            for key, members in by_key.items()
        ]
        skip = min(skip, MAX_READ)
        page = islice(_in_turn(groups), skip, skip + limit)
        return Listing(
            groups=tuple(page), group_count=len(groups), waiting=waiting, not_read=max(0, waiting - len(rows))
        )

    def get(self, reference: str, *, actor: str = "") -> QueuedUpload:
        """Return one upload. With an actor, that they looked is an event, once a day. Raises NotFound."""
        state, time, door, upload_id, checked = self._row(reference)
        if actor:
            self._note_look(reference, actor)
        return QueuedUpload(
            reference=reference,
            state=state,
            time=datetime.fromisoformat(time),
            door=door,
            upload_id=upload_id,
            media_type=checked.media_type,
            size_bytes=checked.size_bytes,
            verdict=checked.decision.verdict,
            no_answer=checked.decision.no_answer or "",
            policy=checked.decision.policy,
            revision=checked.decision.revision,
            reasons=checked.decision.reasons,
            hashes=tuple(h.text for h in checked.hashes),
            hits=hits_of(checked),
            lists=_lists(checked),
            cases=tuple(AboutCase(case=c.case, action=c.action, how=c.how) for c in self.cases_of(checked)),
            later_answer=self._later_answer(reference, checked),
            proposal=self._proposal(reference),
            rulings=tuple(self._rulings(reference)),
            reports=tuple(
                Filed(recipient=to, filed_as=name, actor=by, time=datetime.fromisoformat(at))
                for to, name, by, at in self._records.rows(
                    "SELECT recipient, filed_as, actor, time FROM filed_report WHERE reference = ? ORDER BY time",
                    (reference,),
                )
            ),
            feedback=tuple(
                Feedback(entry=entry, kind=kind, state=FeedbackState(fate), detail=detail)
                for entry, kind, fate, detail in self._records.rows(
                    "SELECT entry, kind, state, detail FROM feedback WHERE reference = ? ORDER BY number", (reference,)
                )
            ),
            events=tuple(self._records.events(subject=reference)),
        )

    def recheck(
        self, judge: Judge, *, limit: int = MAX_LISTED, older_than: timedelta = timedelta(0)
    ) -> tuple[int, int]:
        """Ask again about uploads that were held or blocked, those first that were not asked about for longest; return
        about how many, and of how many the answer changed. What changed is shown, and an event; nothing is released.
        `older_than`: leaves out what has a younger answer, but not one that the clock gave when it was days ahead.

        Asked is what hit: the upload's own hashes, and those of its variants that hit. A video that was hit by its
        frames is not asked about, as its frames are not kept. Raises HashHubError when no answer can be had; what was
        asked until then stays.
        """
        at = now()
        rows = self._records.rows(
            "SELECT u.reference FROM upload u LEFT JOIN later_answer a USING (reference) "
            "WHERE u.state IN (?, ?) AND (coalesce(a.time, u.time) <= ? OR coalesce(a.time, u.time) > ?) "
            "ORDER BY coalesce(a.time, ''), u.time, u.reference",
            (UploadState.HELD, UploadState.BLOCKED, (at - older_than).isoformat(), (at + AHEAD).isoformat()),
        )
        asked = changed = 0
        for (reference,) in rows:
            if asked >= limit:
                break
            try:
                *_, checked = self._row(reference)
            except NotFound:
                continue  # forgotten meanwhile
            query = _asked_again(checked)
            if query is None:
                continue
            judged = judge.judge(query)
            if judged.result.verdict is Verdict.UNAVAILABLE or judged.stale_since is not None or judged.without_lists:
                raise Unavailable("the answer is no current one; ask again when the hub, or its copy, is up to date")
            asked += 1
            changed += self._note_answer(reference, checked, judged)
        return asked, changed

    def _note_answer(self, reference: str, checked: Checked, judged: Judged) -> bool:
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
                answer = self._later_answer(reference, checked)
                self._records.note(
                    actor=HOOK,
                    kind="upload.answer_changed",
                    subject=reference,
                    reason=judged.result.verdict,
                    gone=list(answer.gone) if answer else [],
                    added=list(answer.added) if answer else [],
                )
        return is_new

    def _later_answer(self, reference: str, checked: Checked) -> LaterAnswer | None:
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

    # Deciding

    def confirm(self, reference: str, *, actor: str, comment: str = "") -> UploadState:
        """Say that the upload is what was found: it is removed, and a proposed release ends. Raises NotFound,
        Conflict when it was removed already.
        """
        _check_comment(comment, needed=False)
        with self._records.transaction():
            state, *_, checked = self._row(reference)
            if state is UploadState.REMOVED:
                raise Conflict(f"{reference} was removed already; see `hashhub hook queue get`")
            if (proposal := self._proposal(reference)) is not None:
                self._end_proposal(reference, actor, f"{actor} confirmed the match that {proposal.actor} would release")
            self._rule(reference, UploadState.REMOVED, "CONFIRM", "", comment, (actor,))
            self._say(reference, checked, ReviewKind.CONFIRMED, was=state, becomes=UploadState.REMOVED)
        return UploadState.REMOVED

    def release(self, reference: str, *, code: Code, actor: str, comment: str = "") -> UploadState:
        """Let an upload go; return its state, which stays where a second person must say the same.

        Raises NotFound; InvalidArgument for OTHER without a comment, or a code that the hits do not bear; Conflict when
        it was released already, the second says something else than the first, or the facts changed since (the first's
        word is withdrawn then); FailedPrecondition (SECOND_PERSON_NEEDED) when one person says it twice, and when a
        confirmed case blocks it: that is disputed or closed first, unless this is only a near picture.
        """
        _check_comment(comment, needed=code is Code.OTHER)
        is_stale = False
        with self._records.transaction():
            state, *_, checked = self._row(reference)
            if state is UploadState.RELEASED:
                raise Conflict(f"{reference} was released already; see `hashhub hook queue get`")
            _check_code(code, checked)
            cases = self.cases_of(checked)
            _refuse_while_blocked(code, cases)
            actors: tuple[str, ...] = (actor,)
            if self._settings.queue.two_person_release:
                facts = _facts(state, checked, self._later_answer(reference, checked), cases)
                first = self._first_word(reference, actor)
                if first is None:
                    self._propose(reference, _FirstWord(actor, code, facts), comment)
                    return state
                is_stale = first.facts != facts
                if is_stale:
                    # Committed with this transaction; the error comes after it.
                    self._end_proposal(reference, HOOK, "the facts changed since it was proposed")
                else:
                    _check_agreed(reference, first, actor, code)
                    actors = (first.actor, actor)
            if not is_stale:
                self._records.write("DELETE FROM proposal WHERE reference = ?", (reference,))
                self._rule(reference, UploadState.RELEASED, "RELEASE", code, comment, actors)
                self._say(reference, checked, _OBJECTIONS.get(code), was=state, becomes=UploadState.RELEASED)
        if is_stale:
            raise Conflict(
                f"what is known of {reference} changed since its release was proposed; the proposal ended. Read it "
                "again and decide anew"
            )
        return UploadState.RELEASED

    def withdraw(self, reference: str, *, actor: str, comment: str = "") -> UploadState:
        """End a proposed release: one's own, or another's that one does not agree with. Raises NotFound."""
        _check_comment(comment, needed=False)
        with self._records.transaction():
            state, *_ = self._row(reference)
            if self._proposal(reference) is None:
                raise NotFound(f"nobody proposes to release {reference}")
            self._end_proposal(reference, actor, comment)
        return state

    def escalate(self, reference: str, *, actor: str, comment: str) -> UploadState:
        """Hand an upload on to whoever decides beyond the queue; it keeps its state. Raises NotFound."""
        _check_comment(comment, needed=True)
        with self._records.transaction():
            state, *_ = self._row(reference)
            self._rule(reference, None, "ESCALATE", "", comment, (actor,))
        return state

    def reported(self, reference: str, *, recipient: str, filed_as: str, actor: str) -> None:
        """Note that somebody filed a report about an upload: what must be kept is kept from now on. Raises NotFound."""
        for field, text in (("recipient", recipient), ("filed_as", filed_as)):
            if not text.strip() or len(text) > _MAX_NAME or not text.isprintable():
                raise InvalidArgument.field(field, f"must be one line of 1 to {_MAX_NAME} characters", "REQUIRED")
        with self._records.transaction():
            self._row(reference)
            if self._records.write(
                "INSERT OR IGNORE INTO filed_report VALUES (?, ?, ?, ?, ?)",
                (reference, recipient, filed_as, actor, now().isoformat()),
            ):
                self._records.note(actor=actor, kind="report.filed", subject=reference, reason=recipient, id=filed_as)

    # Telling the hub

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
            asked = client or review_client(self._settings)
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

    # Within

    def _row(self, reference: str) -> tuple[UploadState, str, str, str, Checked]:
        rows = self._records.rows(
            "SELECT state, time, door, upload_id, checked FROM upload WHERE reference = ?", (reference,)
        )
        if not rows:
            raise NotFound(f"there is no upload {reference[:40]!r} in the queue; see `hashhub hook queue list`")
        state, time, door, upload_id, blob = rows[0]
        return UploadState(state), time, door, upload_id, read_checked(blob)

    def cases_of(self, checked: Checked) -> list[CaseHit]:
        """Return the cases that are about an upload now, by what is kept of it: hashes, and which cases stopped it."""
        query = _asked_again(checked) or Query(hashes=checked.hashes)
        hits: dict[str, CaseHit] = {}
        for hit in (*self._cases.hits(query), *self._cases.noted(checked.decision.reasons)):
            if hit.case not in hits or hit.rank < hits[hit.case].rank:
                hits[hit.case] = hit
        return list(hits.values())

    def _proposal(self, reference: str) -> Proposal | None:
        rows = self._records.rows("SELECT actor, code, comment, time FROM proposal WHERE reference = ?", (reference,))
        if not rows:
            return None
        actor, code, comment, time = rows[0]
        return Proposal(actor=actor, code=Code(code), comment=comment, time=datetime.fromisoformat(time))

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

    def _rule(
        self, reference: str, state: UploadState | None, ruling: str, code: str, comment: str, actors: tuple[str, ...]
    ) -> None:
        if state is not None:
            self._records.write("UPDATE upload SET state = ? WHERE reference = ?", (state, reference))
        self._records.write(
            "INSERT INTO ruling (reference, ruling, code, comment, actors, time) VALUES (?, ?, ?, ?, ?, ?)",
            (reference, ruling, code, comment, " ".join(actors), now().isoformat()),
        )
        kind = {"CONFIRM": "upload.removed", "RELEASE": "upload.released", "ESCALATE": "upload.escalated"}[ruling]
        looked = self._records.rows(
            "SELECT DISTINCT actor FROM event WHERE kind = 'upload.viewed' AND subject = ?", (reference,)
        )
        self._records.note(
            actor=actors[-1],
            kind=kind,
            subject=reference,
            reason=code,
            comment=comment,
            actors=list(actors),
            viewed_by=[name for name in actors if (name,) in looked],
        )

    def _first_word(self, reference: str, actor: str) -> _FirstWord | None:
        """Return who proposed the release, for which facts; None where nobody did whose word counts beside `actor`."""
        rows = self._records.rows("SELECT actor, code, facts FROM proposal WHERE reference = ?", (reference,))
        first = _FirstWord(*rows[0]) if rows else None
        if first is not None and first.actor.startswith(ACCOUNT) and not actor.startswith(ACCOUNT):
            # Whoever used the account while there were no persons may be this very person.
            self._end_proposal(reference, HOOK, "an account proposed it, and there are persons now")
            return None
        return first

    def _propose(self, reference: str, first: _FirstWord, comment: str) -> None:
        self._records.write(
            "INSERT INTO proposal VALUES (?, ?, ?, ?, ?, ?)",
            (reference, first.actor, first.code, comment, first.facts, now().isoformat()),
        )
        self._records.note(
            actor=first.actor, kind="release.proposed", subject=reference, reason=first.code, comment=comment
        )

    def _end_proposal(self, reference: str, actor: str, why: str) -> None:
        self._records.write("DELETE FROM proposal WHERE reference = ?", (reference,))
        self._records.note(actor=actor, kind="release.withdrawn", subject=reference, reason=why)

    def _note_look(self, reference: str, actor: str) -> None:
        at = now()
        with self._records.transaction():
            if not self._records.rows(
                "SELECT 1 FROM event WHERE kind = 'upload.viewed' AND subject = ? AND actor = ? AND time >= ? "
                "AND time <= ?",
                (reference, actor, at.date().isoformat(), (at + AHEAD).isoformat()),
            ):
                self._records.note(actor=actor, kind="upload.viewed", subject=reference)

    def _say(
        self, reference: str, checked: Checked, kind: ReviewKind | None, *, was: UploadState, becomes: UploadState
    ) -> None:
        """Queue what the hub is told about each entry that was hit: once for each entry, however many copies come."""
        hits: dict[str, Hit] = {}
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


class QueueRounds:
    """What the hook does by itself with what it keeps, in a thread: sends the reviews that wait, asks again each day
    about what is held or blocked, and each hour ends cases that nobody confirmed in time and erases what is due in the
    vault and in the records.

    `judge`: who knows the lists, without cases, which `Queue.get` shows by itself.
    """

    def __init__(self, records: Records, settings: HookSettings, judge: Judge, *, vault: Vault | None = None) -> None:
        self._records, self._settings = records, settings
        self._queue = Queue(records, settings)
        self._judge = judge
        self._vault = vault
        self._next_recheck = self._next_erasure = 0.0
        self._background = Background(
            "hook-queue",
            self.round,
            complaint="reviews are not sent to the hub, or what is due is not erased",
            pause=_ROUND_SECONDS,
        )

    def start(self) -> None:
        """Begin."""
        self._background.start()

    def close(self) -> None:
        """End after the piece in hand."""
        self._background.close()

    def round(self) -> None:
        """Send what waits, ask about what is due, erase what is due; what cannot be had now is had in a later round."""
        with ExitStack() as rest:  # what goes wrong with one of them keeps none of the others from its turn
            if monotonic() >= self._next_erasure:
                rest.callback(self._erase)
                rest.callback(self._end_cases)
            if monotonic() >= self._next_recheck:
                rest.callback(self._recheck)
            self._queue.send()

    def _recheck(self) -> None:
        try:
            asked, _ = self._queue.recheck(self._judge, limit=_ASKED_A_ROUND, older_than=_ANSWER_AGE)
        except HashHubError as e:
            _LOG.debug("held uploads are not asked about again now: %s", e.message)
            return
        if asked < _ASKED_A_ROUND:
            self._next_recheck = monotonic() + _RECHECK_SECONDS

    def _end_cases(self) -> None:
        is_believed(self._records)  # that the clock was set is noticed also where nothing is erased
        Cases(self._records, self._settings.case).end_unconfirmed()

    def _erase(self) -> None:
        from hashhub.hook.forgetting import forget

        erased: list[str] = []
        try:
            if self._vault is not None:
                erased = self._vault.sweep()
        finally:
            forget(self._records, self._settings, is_wanted=lambda: not self._background.is_stopping)
        if not erased:  # else there may be more, for the next round
            self._next_erasure = monotonic() + _ERASURE_SECONDS


def review_client(settings: HookSettings) -> Client:
    """Return a client that may review, if the settings' token may. Raises InvalidArgument for a missing file."""
    from hashhub.hook.judges import client_of

    return client_of(settings, timeout=_SEND_SECONDS, retry_seconds=0.0, token_file=settings.queue.review_token_file)


def read_checked(blob: bytes) -> Checked:
    """Return what `upload.checked` holds."""
    return msgspec.msgpack.decode(blob, type=Checked)


def hits_of(checked: Checked) -> tuple[Hit, ...]:
    """Return the entries that an upload hit, in the answer's order."""
    if checked.result is None:
        return ()
    return tuple(
        Hit(
            entry=match.entry.name,
            algorithm=match.algorithm,
            distance=match.distance,
            variant=match.variant,
            exact=not match.variant and is_exact(match.algorithm),
        )
        for match in checked.result.matches
    )


def _lists(checked: Checked) -> tuple[str, ...]:
    return tuple(dict.fromkeys(hit.entry.rpartition("/")[0] for hit in hits_of(checked)))


def _group_key(checked: Checked, reference: str) -> str:
    """Return what uploads of one group have in common: the entries hit, else the file's digest, else nothing."""
    entries = sorted({hit.entry for hit in hits_of(checked)})
    if entries:
        return hashlib.sha256("\n".join([checked.decision.verdict, *entries]).encode()).hexdigest()[:16]
    exact = next((h.text for h in checked.hashes if is_exact(h.algorithm)), reference)
    return hashlib.sha256(f"{checked.decision.no_answer} {exact}".encode()).hexdigest()[:16]


def _asked_again(checked: Checked) -> Query | None:
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


def _facts(state: UploadState, checked: Checked, later: LaterAnswer | None, cases: Sequence[CaseHit]) -> bytes:
    """Return a digest of all that a release rests on. A later answer that says the same is no other fact."""
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


def _source(row: Row) -> str:
    """Return whose upload it is, as far as the app says: what stands before the first `/` of its own name for it."""
    return row.upload_id.partition("/")[0] if "/" in row.upload_id else ""


def _in_turn(groups: list[Group]) -> Iterable[Group]:
    """Yield matches, then reviews, then the rest; within each, one group of each source in turn, so that whoever
    uploads ten thousand pictures delays each other group by one place, and by no more.
    """
    order: dict[str, int] = {Verdict.MATCH: 0, Verdict.REVIEW: 1}
    for rank in range(3):
        by_source: dict[str, deque[Group]] = {}
        for group in sorted(groups, key=lambda g: (g.oldest, g.key)):
            if min(order.get(v, 2) for v in (group.verdict, *(row.verdict_now for row in group.uploads))) == rank:
                by_source.setdefault(_source(group.uploads[0]), deque()).append(group)
        turns = deque(by_source.values())
        while turns:
            turn = turns.popleft()
            yield turn.popleft()
            if turn:
                turns.append(turn)


def _fate(hit: Hit, was: UploadState, becomes: UploadState) -> str:
    """Return what the hub is told: the hit and the hold's fate; nothing of who sent the upload or who decided."""
    how = (
        f"has this entry's {hit.algorithm}"
        if hit.exact
        else f"is within {hit.distance} ({hit.algorithm}) of this entry"
    )
    return f"A person decided on an upload that {how}: {was.lower()} by the upload hook, then {becomes.lower()}."


def _check_code(code: Code, checked: Checked) -> None:
    """Raise InvalidArgument for a word about the listed file where the upload is not that file."""
    if code in _OBJECTIONS and not any(hit.exact for hit in hits_of(checked)):
        raise InvalidArgument.field(
            "code",
            f"{code} speaks about the listed file, and this upload is none, bit for bit; say "
            "DIFFERENT_PICTURE, or OTHER with a comment",
            "NOT_ALLOWED",
        )


def _refuse_while_blocked(code: Code, cases: Sequence[CaseHit]) -> None:
    """Raise FailedPrecondition where a case blocks the upload, unless that is said to be only near."""
    for hit in cases:
        is_near = code is Code.DIFFERENT_PICTURE and not is_exact(hit.algorithm)
        if hit.action is Action.BLOCK and not is_near:
            raise FailedPrecondition(
                f"{hit.case} is about this upload ({hit.how}) and blocks its copies; dispute or close the case "
                "first, or say DIFFERENT_PICTURE where it only comes near"
            )


def _check_agreed(reference: str, first: _FirstWord, actor: str, code: Code) -> None:
    """Raise unless another person than the first says the same."""
    if first.actor == actor:
        raise FailedPrecondition(
            f"{actor} proposed the release of {reference}; another person must say the same",
            reason=Reason.SECOND_PERSON_NEEDED,
        )
    if first.code != code:
        raise Conflict(
            f"{first.actor} said {first.code}, and not {code}; both must say the same. {first.actor} can withdraw it"
        )


def _check_comment(comment: str, *, needed: bool) -> None:
    if needed and not comment.strip():
        raise InvalidArgument.field("comment", "must say why", "REQUIRED")
    if len(comment) > MAX_COMMENT or not comment.isprintable():
        raise InvalidArgument.field("comment", f"must be one line of at most {MAX_COMMENT} characters", "OUT_OF_RANGE")
