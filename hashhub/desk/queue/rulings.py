"""What persons decide over uploads, and who of them must say the same. Each decision is an event with its actors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from hashhub.desk.decision import Action
from hashhub.desk.people import ACCOUNT
from hashhub.desk.queue.reviews import LaterAnswers, ReviewSender
from hashhub.desk.queue.stored_decision import StoredDecision, changes_since, facts_of, hits_of, is_of_now, recorded
from hashhub.desk.queue.view import ReviewQueue, RulingCode
from hashhub.desk.records import HOOK, UploadState
from hashhub.desk.rounds import queue_follow_up
from hashhub.errors import Conflict, FailedPrecondition, InvalidArgument, NotFound, Reason
from hashhub.hashes import is_exact
from hashhub.model import ReviewKind, now

if TYPE_CHECKING:
    from hashhub.desk.cases.index import CaseHit
    from hashhub.desk.decision import DecisionRecord
    from hashhub.desk.records import Records
    from hashhub.desk.settings import DeskSettings

MAX_COMMENT: Final = 1000
_MAX_NAME: Final = 200
_OBJECTIONS: Final = {
    RulingCode.FALSE_POSITIVE: ReviewKind.FALSE_POSITIVE,
    RulingCode.NOT_ILLEGAL_HERE: ReviewKind.NOT_ILLEGAL_HERE,
}


class _FirstProposal(NamedTuple):
    """What the first of two persons said of a release. `facts`: a digest of all that it rests on."""

    actor: str
    code: str
    facts: bytes


class Rulings:
    """What persons decide. Safe to be shared by threads."""

    def __init__(self, records: Records, settings: DeskSettings, *, queue: ReviewQueue | None = None) -> None:
        """`queue`: one of the same records, whose memory of cases is used."""
        self._records = records
        self._settings = settings
        self._queue = queue or ReviewQueue(records, settings)
        self._later = LaterAnswers(records)
        self._reviews = ReviewSender(records, settings)

    def confirm(self, reference: str, *, actor: str, comment: str = "", etag: str = "") -> UploadState:
        """Say that the upload is what was found: it is removed, and a proposed release ends. Raises NotFound; Conflict
        when it was removed already, or is not as it was read (`etag`).
        """
        _check_comment(comment, needed=False)
        with self._records.transaction():
            upload = recorded(self._records, reference)
            state, checked = upload.state, upload.checked
            if state is UploadState.REMOVED:
                raise Conflict(f"{reference} was removed already; see `hashhub hook queue get`")
            if etag:
                self._refuse_overtaken(reference, etag, self._facts(reference, upload, self._queue.cases_of(checked)))
            if (proposal := self._queue.proposal(reference)) is not None:
                self._end_proposal(reference, actor, f"{actor} confirmed the match that {proposal.actor} would release")
            self._rule(reference, UploadState.REMOVED, "CONFIRM", "", comment, (actor,))
            queue_follow_up(self._records, self._settings, checked, Action.BLOCK, checked.decision.verdict)
            self._reviews.say(reference, checked, ReviewKind.CONFIRMED, was=state, becomes=UploadState.REMOVED)
        return UploadState.REMOVED

    def release(
        self, reference: str, *, code: RulingCode, actor: str, comment: str = "", etag: str = ""
    ) -> UploadState:
        """Let an upload go; return its state, which stays where a second person must say the same. `etag`: as it was
        read, needed for what was removed. Raises NotFound; InvalidArgument for OTHER without a comment, or a code that
        the hits do not bear; Conflict when it was released, is not as it was read, the second says something else, or
        the facts changed (the first's word ends then); FailedPrecondition when one person says it twice
        (SECOND_PERSON_NEEDED), or a confirmed case blocks it, unless this is only a near picture.
        """
        _check_comment(comment, needed=code is RulingCode.OTHER)
        is_stale = False
        with self._records.transaction():
            upload = recorded(self._records, reference)
            state, checked = upload.state, upload.checked
            if state is UploadState.RELEASED:
                raise Conflict(f"{reference} was released already; see `hashhub hook queue get`")
            cases = self._queue.cases_of(checked)
            if etag or state is UploadState.REMOVED:
                self._refuse_overtaken(reference, etag, self._facts(reference, upload, cases))
            _check_code(code, checked)
            _refuse_while_blocked(code, cases)
            actors: tuple[str, ...] = (actor,)
            if self._settings.queue.two_person_release:
                facts = self._facts(reference, upload, cases)
                first = self._first_word(reference, actor)
                if first is None:
                    self._propose(reference, _FirstProposal(actor, code, facts), comment)
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
                queue_follow_up(self._records, self._settings, checked, Action.ALLOW, checked.decision.verdict)
                self._reviews.say(reference, checked, _OBJECTIONS.get(code), was=state, becomes=UploadState.RELEASED)
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
            state = recorded(self._records, reference).state
            if self._queue.proposal(reference) is None:
                raise NotFound(f"nobody proposes to release {reference}")
            self._end_proposal(reference, actor, comment)
        return state

    def escalate(self, reference: str, *, actor: str, comment: str) -> UploadState:
        """Hand an upload on to whoever decides beyond the queue; it keeps its state. Raises NotFound."""
        _check_comment(comment, needed=True)
        with self._records.transaction():
            state = recorded(self._records, reference).state
            self._rule(reference, None, "ESCALATE", "", comment, (actor,))
        return state

    def reported(self, reference: str, *, recipient: str, filed_as: str, actor: str) -> None:
        """Note that somebody filed a report about an upload: what must be kept is kept from now on. Raises NotFound."""
        for field, text in (("recipient", recipient), ("filed_as", filed_as)):
            if not text.strip() or len(text) > _MAX_NAME or not text.isprintable():
                raise InvalidArgument.field(field, f"must be one line of 1 to {_MAX_NAME} characters", "REQUIRED")
        with self._records.transaction():
            recorded(self._records, reference)
            if self._records.write(
                "INSERT OR IGNORE INTO filed_report VALUES (?, ?, ?, ?, ?)",
                (reference, recipient, filed_as, actor, now().isoformat()),
            ):
                self._records.note("report.filed", reference, recipient, actor=actor, id=filed_as)

    def _facts(self, reference: str, upload: StoredDecision, cases: Sequence[CaseHit]) -> bytes:
        return facts_of(upload.state, upload.checked, self._later.of(reference, upload.checked), cases)

    def _refuse_overtaken(self, reference: str, etag: str, facts: bytes) -> None:
        """Raise Conflict unless the etag is of what is decided over now."""
        if is_of_now(self._records, reference, etag, facts):
            return
        meanwhile = [
            f"{event.kind} by {event.actor} at {event.time:%Y-%m-%d %H:%M:%SZ}"
            for event in changes_since(self._records, reference, etag)
        ]
        if not etag:
            raise Conflict(
                f"{reference} was removed{f' ({meanwhile[-1]})' if meanwhile else ''}, and nothing was decided. To "
                "release it all the same, read it and name the etag that it has then"
            )
        what = "; ".join(meanwhile) or "it is about other entries, or a case is about it that was not, or no more"
        raise Conflict(
            f"{reference} is not as it was read ({what}), and nothing was decided. Read it again, and name the "
            "etag that it has then"
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
            kind,
            reference,
            code,
            actor=actors[-1],
            comment=comment,
            actors=list(actors),
            viewed_by=[name for name in actors if (name,) in looked],
        )

    def _first_word(self, reference: str, actor: str) -> _FirstProposal | None:
        """Return who proposed the release, for which facts; None where nobody did whose word counts beside `actor`."""
        rows = self._records.rows("SELECT actor, code, facts FROM proposal WHERE reference = ?", (reference,))
        first = _FirstProposal(*rows[0]) if rows else None
        if first is not None and first.actor.startswith(ACCOUNT) and not actor.startswith(ACCOUNT):
            # Whoever used the account while there were no persons may be this very person.
            self._end_proposal(reference, HOOK, "an account proposed it, and there are persons now")
            return None
        return first

    def _propose(self, reference: str, first: _FirstProposal, comment: str) -> None:
        self._records.write(
            "INSERT INTO proposal VALUES (?, ?, ?, ?, ?, ?)",
            (reference, first.actor, first.code, comment, first.facts, now().isoformat()),
        )
        self._records.note("release.proposed", reference, first.code, actor=first.actor, comment=comment)

    def _end_proposal(self, reference: str, actor: str, why: str) -> None:
        self._records.write("DELETE FROM proposal WHERE reference = ?", (reference,))
        self._records.note("release.withdrawn", reference, why, actor=actor)


def _check_code(code: RulingCode, checked: DecisionRecord) -> None:
    """Raise InvalidArgument for a word about the listed file where the upload is not that file."""
    if code in _OBJECTIONS and not any(hit.exact for hit in hits_of(checked)):
        raise InvalidArgument.field(
            "code",
            f"{code} speaks about the listed file, and this upload is none, bit for bit; say "
            "DIFFERENT_PICTURE, or OTHER with a comment",
            "NOT_ALLOWED",
        )


def _refuse_while_blocked(code: RulingCode, cases: Sequence[CaseHit]) -> None:
    """Raise FailedPrecondition where a case blocks the upload, unless that is said to be only near."""
    for hit in cases:
        is_near = code is RulingCode.DIFFERENT_PICTURE and not is_exact(hit.algorithm)
        if hit.action is Action.BLOCK and not is_near:
            raise FailedPrecondition(
                f"{hit.case} is about this upload ({hit.how}) and blocks its copies; dispute or close the case "
                "first, or say DIFFERENT_PICTURE where it only comes near"
            )


def _check_agreed(reference: str, first: _FirstProposal, actor: str, code: RulingCode) -> None:
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
