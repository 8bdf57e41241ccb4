"""What the desk does by itself, each at its interval: send reviews, ask again about uploads without an answer and tell
the app what they turned out to be, erase what is due.

    an upload without an answer ── `recheck`: what to ask ── asked again, by a lease ── state, event ── `app_webhook`
                                                                                       the app: a callable, a URL

All of it stands in hook.db, so that a restart goes on; of several processes one takes a row. Rows of decided uploads
are deleted after `records.keep_days`, unless still needed: in the vault, in a sample, in an open case, or while a
review, a release or an answer is awaited. Events stay, and what evidence counts, in `forgotten`.
"""

from __future__ import annotations

import logging
import random
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, suppress
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import msgspec

from hashhub.background import Background
from hashhub.desk.app_webhook import AppUrl
from hashhub.desk.cases.life import Cases
from hashhub.desk.clock import Times, is_believed
from hashhub.desk.decision import Action, DecisionRecord, FollowUp, NoAnswer, damaged, read_checked, severest
from hashhub.desk.evidence import LAST_RULING, kind_of
from hashhub.desk.queue.reviews import LaterAnswers, ReviewSender
from hashhub.desk.queue.stored_decision import lists_of
from hashhub.desk.queue.view import ReviewQueue
from hashhub.desk.records import HOOK, Records, UploadState
from hashhub.desk.settings import Encryption
from hashhub.errors import DataLoss, HashHubError, InvalidArgument, Reason, Unavailable
from hashhub.model import Query, Verdict, now

if TYPE_CHECKING:
    from hashhub.desk.hub import HubAnswer, Judge
    from hashhub.desk.settings import DeskSettings
    from hashhub.desk.vault import Vault
    from hashhub.model import Coverage


_log = logging.getLogger("hashhub.hook")
OnRecheck = Callable[[FollowUp], None]
"""Tells the app; what it raises is logged, and it is called again later."""

_BATCH: Final = 20
_LEASE_SECONDS: Final = 60.0
_DAY: Final = 86_400.0
_FIRST_WAIT: Final = 5.0  # seconds before the app is told again; threefold with each attempt
_LONGEST_WAIT: Final = 3600.0
_TOLD_FOR: Final = 3 * _DAY
_LATEST: Final = 2 * _DAY  # nothing is put off longer than a day
_FOR_PEOPLE: Final = frozenset({Verdict.MATCH, Verdict.REVIEW})
_NEVER_TRULY: Final = frozenset({NoAnswer.UNREADABLE, NoAnswer.TOO_LARGE})
STATES: Final = {
    Action.ALLOW: UploadState.RELEASED,
    Action.HOLD: UploadState.HELD,
    Action.BLOCK: UploadState.BLOCKED,
}
_LEAST: Final = {
    UploadState.HELD: Action.HOLD,
    UploadState.BLOCKED: Action.BLOCK,
    UploadState.REMOVED: Action.BLOCK,
}
_CALLABLE: Final = "callable"  # of an app; the processes that have none leave it to those that do
_URL: Final = "url"


class PendingQuestion(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked about an upload once it can be. `if_unknown`: what is done with what nobody knows. `cause`: why
    there was no answer; UNREADABLE and TOO_LARGE have none but by digests, looked up daily for a while.
    """

    query: Query
    if_unknown: Action
    cause: NoAnswer


class Rechecks:
    """A background thread that rechecks uploads that had no answer. `tell`: how the app is told of each."""

    def __init__(self, settings: DeskSettings, records: Records, judge: Judge, tell: tuple[OnRecheck, ...]) -> None:
        self._settings = settings
        self._records = records
        self._should_be_kept = settings.vault.encryption is not Encryption.OFF
        self._judge = judge
        self._tell: dict[str, list[OnRecheck]] = {}
        for one in tell:
            self._tell.setdefault(_URL if isinstance(one, AppUrl) else _CALLABLE, []).append(one)
        self._background = Background(
            "hook-rechecks",
            self.round,
            complaint="uploads without an answer are not checked again",
            pause=settings.recheck.seconds,
        )

    def start(self) -> None:
        """Begin."""
        self._background.start()

    def close(self) -> None:
        """End after the question in hand."""
        self._background.close()

    def add(self, reference: str, pending: PendingQuestion, *, seconds: float = 0.0) -> None:
        """Ask about an upload, after so many seconds. Belongs into the transaction that records the upload."""
        at = time.time()
        self._records.write(
            "INSERT INTO recheck VALUES (?, ?, ?, ?)", (reference, at + seconds, at, msgspec.msgpack.encode(pending))
        )

    def complete(self, reference: str, pending: PendingQuestion, coverage: Coverage, **known: object) -> None:
        """Put in what became known of an upload meanwhile; `known` are fields of its DecisionRecord."""
        with self._records.transaction():
            changed = self._records.write(
                "UPDATE recheck SET pending = ?, due = min(due, ?) WHERE reference = ?",
                (msgspec.msgpack.encode(pending), time.time(), reference),
            )
            recorded = self._records.get_upload(reference) if changed else None
            if recorded is not None:
                state, checked = recorded
                decision = msgspec.structs.replace(checked.decision, coverage=coverage)
                self._records.set_upload(state, msgspec.structs.replace(checked, decision=decision, **known))

    def round(self) -> int:
        """Ask about what is due, tell the app what is due, and return how many uploads got an answer. Asking stops at
        the first question that the hub does not answer. Raises DataLoss in the end for what could not be read: that is
        put off for a day.
        """
        answered, damage = self._ask_due()
        damage = self._tell_due() or damage
        self._forget_untold()
        if damage is not None:
            raise damage
        return answered

    def _ask_due(self) -> tuple[int, DataLoss | None]:
        answered, damage = 0, None
        try:
            while batch := self._take("recheck", "reference, since, pending"):
                random.shuffle(batch)  # one that never gets an answer must not stand before the others each time
                for at, (reference, since, blob) in enumerate(batch):
                    try:
                        answered += self._ask(reference, since, _pending(reference, blob))
                    except DataLoss as e:
                        damage = e
                        self._later(reference, _DAY)
                    except Unavailable:
                        # Those that were not come to would else wait for the end of the lease.
                        for left, _, _ in batch[at + 1 :]:
                            self._later(left, self._settings.recheck.seconds)
                        raise
        except Unavailable as e:
            _log.debug("no answer yet: %s", e.message)
        return answered, damage

    def _tell_due(self) -> DataLoss | None:
        damage = None
        for listener in self._tell:
            while batch := self._take("telling", "number, since, attempts, rechecked", listener):
                for number, since, attempts, blob in batch:
                    try:
                        rechecked = msgspec.msgpack.decode(blob, type=FollowUp)
                    except msgspec.DecodeError:
                        damage = DataLoss(
                            f"what the app is to be told (telling {number} in hook.db) is damaged; keep the file as it "
                            "is, and restore a backup beside it"
                        )
                        self._records.write("UPDATE telling SET due = ? WHERE number = ?", (time.time() + _DAY, number))
                    else:
                        self._tell_app(listener, number, since, attempts, rechecked)
        return damage

    def _take(self, table: str, columns: str, listener: str = "") -> list[tuple[Any, ...]]:
        """Return what is due (or was written by a wrong clock), which nobody else gets during the lease."""
        at = time.time()
        key = columns.partition(",")[0]
        which = f"(due <= :at OR due > :never){' AND listener = :listener' if listener else ''}"
        values = {"at": at, "never": at + _LATEST, "listener": listener, "later": at + _LEASE_SECONDS, "most": _BATCH}
        if not self._records.rows(f"SELECT 1 FROM {table} WHERE {which} LIMIT 1", values):  # noqa: S608 - our own names
            return []
        return self._records.rows(
            f"UPDATE {table} SET due = :later WHERE {key} IN "  # noqa: S608 - likewise
            f"(SELECT {key} FROM {table} WHERE {which} ORDER BY due LIMIT :most) RETURNING {columns}",
            values,
        )

    def _forget_untold(self) -> None:
        """Drop what no process with a callable came for."""
        if _CALLABLE not in self._tell:
            values = (_CALLABLE, time.time() - _TOLD_FOR)
            if self._records.rows("SELECT 1 FROM telling WHERE listener = ? AND since < ? LIMIT 1", values):
                self._records.write("DELETE FROM telling WHERE listener = ? AND since < ?", values)

    def _ask(self, reference: str, since: float, pending: PendingQuestion) -> bool:
        judged: HubAnswer | None = None
        try:
            judged = self._judge.judge(pending.query)
        except HashHubError as e:
            if isinstance(e, InvalidArgument):
                _log.warning("an upload without an answer cannot be asked about: %s", e.message)
            else:
                self._later(reference, self._settings.recheck.seconds)
                if e.reason is Reason.HUB_SLOW:  # about this one; others are answered
                    return False
                raise Unavailable(e.message) from e
        if judged is not None and judged.without_lists:
            # A case was opened since: it stops what the choices let through, and the lists are still to be asked.
            action = severest(self._settings.on_review, pending.if_unknown, judged.at_least)
            self._answer(reference, action, judged.result.verdict, judged, pending, is_last=False)
        if judged is not None and (
            judged.result.verdict is Verdict.UNAVAILABLE
            or judged.without_lists
            or not judged.is_listed
            or (judged.is_past_limit and judged.result.verdict not in _FOR_PEOPLE)
        ):
            self._later(reference, self._settings.recheck.seconds)
            raise Unavailable("the hub, or the copy of its lists, cannot say yet who knows an upload")
        verdict = Verdict.UNAVAILABLE if judged is None else judged.result.verdict
        match verdict:
            case Verdict.MATCH:
                action = self._settings.on_match
            case Verdict.REVIEW:
                action = severest(self._settings.on_review, pending.if_unknown)
            case Verdict.UNAVAILABLE:  # it is for a person now
                action = severest(Action.HOLD, self._settings.without_answer.hub_away)
            case _:
                action = pending.if_unknown
        if judged is not None:
            action = severest(action, judged.at_least)
        if action is Action.ALLOW and pending.cause in _NEVER_TRULY:
            self._again_tomorrow(reference, since)
            return False
        self._answer(reference, action, verdict, judged, pending)
        return True

    def _later(self, reference: str, seconds: float) -> None:
        self._records.write("UPDATE recheck SET due = ? WHERE reference = ?", (time.time() + seconds, reference))

    def _again_tomorrow(self, reference: str, since: float) -> None:
        is_over = time.time() >= since + self._settings.recheck.keep_days * _DAY
        if not is_over or not is_believed(self._records):
            self._later(reference, _DAY)
            return
        with self._records.transaction():
            self._records.write("DELETE FROM recheck WHERE reference = ?", (reference,))
            self._records.write(
                "DELETE FROM upload WHERE reference = ? AND state = ?", (reference, UploadState.UNANSWERED)
            )
            self._records.note("upload.forgotten", reference, "nobody listed it within keep_days")

    def _answer(
        self,
        reference: str,
        action: Action,
        verdict: Verdict,
        judged: HubAnswer | None,
        pending: PendingQuestion,
        *,
        is_last: bool = True,
    ) -> None:
        """Record what the upload turned out to be, and that the app is to be told. `is_last`: it is not asked again."""
        with self._records.transaction():
            if is_last and not self._records.write("DELETE FROM recheck WHERE reference = ?", (reference,)):
                return  # another process had it before its time was up, and was slow
            recorded = self._records.get_upload(reference)
            if recorded is None or not (is_last or recorded[0] is UploadState.UNANSWERED):
                return
            state, checked = recorded
            before = checked.decision.action
            # Where a person has decided meanwhile, the answer is told and noted; what they decided stays theirs. The
            # app is told nothing milder than where the upload stands.
            becomes = STATES[action] if state is UploadState.UNANSWERED else state
            action = severest(action, _LEAST.get(becomes, Action.ALLOW))
            answered = _answered(checked, action, verdict, judged, pending if is_last else None)
            lacks = self._should_be_kept and before is Action.ALLOW and action is not Action.ALLOW
            if lacks:
                answered = msgspec.structs.replace(
                    answered, decision=msgspec.structs.replace(answered.decision, is_kept=False)
                )
            self._records.set_upload(becomes, answered)
            self._records.note(
                "upload.rechecked", reference, verdict=verdict, action=action, before=before, state=becomes
            )
            if lacks:
                reason = "it was allowed at first, so that its bytes were not kept"
                self._records.note("vault.not_kept", reference, reason)
            queue_follow_up(self._records, self._settings, checked, action, verdict)

    def _tell_app(self, listener: str, number: int, since: float, attempts: int, rechecked: FollowUp) -> None:
        try:
            for tell in self._tell[listener]:
                tell(rechecked)
        except Exception as e:  # noqa: BLE001 - the app's own code
            # Its message may hold anything of the app's.
            text = e.message if isinstance(e, HashHubError) else type(e).__name__
            _log.warning("the app could not be told of %s: %s", rechecked.reference, text)
            at = time.time()
            if at < since + _TOLD_FOR:
                wait = min(_FIRST_WAIT * 3**attempts, _LONGEST_WAIT) * (1 + random.random() / 4)  # noqa: S311
                self._records.write(
                    "UPDATE telling SET due = ?, attempts = attempts + 1 WHERE number = ?", (at + wait, number)
                )
                return
            self._records.note("app.not_told", rechecked.reference, f"for three days: {text}")
        self._records.write("DELETE FROM telling WHERE number = ?", (number,))


def queue_follow_up(
    records: Records, settings: DeskSettings, checked: DecisionRecord, action: Action, verdict: Verdict
) -> None:
    """Have the app told what becomes of an upload, in the transaction that records it. `checked`: as it was before."""
    told = FollowUp(
        reference=checked.decision.reference,
        upload_id=checked.upload_id,
        door=checked.door,
        time=now(),
        before=checked.decision.action,
        action=action,
        verdict=verdict,
    )
    at = time.time()
    for listener in (_CALLABLE, _URL) if settings.recheck.url else (_CALLABLE,):
        records.write(
            "INSERT INTO telling (due, since, attempts, listener, rechecked) VALUES (?, ?, 0, ?, ?)",
            (at, at, listener, msgspec.msgpack.encode(told)),
        )


def _pending(reference: str, stored: bytes) -> PendingQuestion:
    """Return what is to be asked. Raises DataLoss for what cannot be read."""
    try:
        return msgspec.msgpack.decode(stored, type=PendingQuestion)
    except msgspec.DecodeError:
        raise damaged(reference) from None


def _answered(
    checked: DecisionRecord, action: Action, verdict: Verdict, judged: HubAnswer | None, pending: PendingQuestion | None
) -> DecisionRecord:
    """Return what is known of the upload now. `pending`: what was asked; None while the lists are still to be asked."""
    is_whole = pending is not None and pending.if_unknown is Action.ALLOW and judged is not None
    decision = msgspec.structs.replace(
        checked.decision,
        action=action,
        verdict=verdict,
        reasons=judged.result.reasons if judged else checked.decision.reasons,
        no_answer=None if is_whole else checked.decision.no_answer,
        policy=judged.policy if judged else "",
        revision=judged.revision if judged else 0,
        stale_since=judged.stale_since if judged else None,
    )
    return msgspec.structs.replace(checked, decision=decision, result=judged.result if judged else None)


_ROUND_SECONDS: Final = 60.0
_RECHECK_SECONDS: Final = 3600.0  # between two looks for uploads whose answer is old
_ERASURE_SECONDS: Final = 3600.0
_ANSWER_AGE: Final = timedelta(days=1)
_ASKED_A_ROUND: Final = 100


class QueueRounds:
    """The desk's thread: sends reviews, asks again each day about what is held or blocked, and each hour ends
    unconfirmed cases and erases what is due. `judge`: knows the lists, without cases.
    """

    def __init__(self, records: Records, settings: DeskSettings, judge: Judge, *, vault: Vault | None = None) -> None:
        self._records, self._settings = records, settings
        self._reviews, self._later = ReviewSender(records, settings), LaterAnswers(records)
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
            if time.monotonic() >= self._next_erasure:
                rest.callback(self._erase)
                rest.callback(self._end_cases)
            if time.monotonic() >= self._next_recheck:
                rest.callback(self._recheck)
            self._reviews.send()

    def _recheck(self) -> None:
        try:
            asked, _ = self._later.recheck(self._judge, limit=_ASKED_A_ROUND, older_than=_ANSWER_AGE)
        except DataLoss:
            raise
        except HashHubError as e:
            _log.debug("held uploads are not asked about again now: %s", e.message)
            return
        if asked < _ASKED_A_ROUND:
            self._next_recheck = time.monotonic() + _RECHECK_SECONDS

    def _end_cases(self) -> None:
        is_believed(self._records)  # that the clock was set is noticed also where nothing is erased
        Cases(self._records, self._settings.case).end_unconfirmed()

    def _erase(self) -> None:
        erased: list[str] = []
        try:
            if self._vault is not None:
                erased = self._vault.sweep()
        finally:
            forget(self._records, self._settings, is_wanted=lambda: not self._background.is_stopping)
        if not erased:  # else there may be more, for the next round
            self._next_erasure = time.monotonic() + _ERASURE_SECONDS


_PIECE: Final = 100  # rows of one transaction, for which an upload may have to wait
_DECIDED: Final = (UploadState.RELEASED, UploadState.REMOVED)
_STAYS: Final = """(
    EXISTS (SELECT 1 FROM vault_item WHERE reference = u.reference AND erase_time IS NULL)
    OR EXISTS (SELECT 1 FROM legal_hold WHERE reference = u.reference)
    OR EXISTS (SELECT 1 FROM evidence_sample WHERE reference = u.reference)
    OR EXISTS (SELECT 1 FROM proposal WHERE reference = u.reference)
    OR EXISTS (SELECT 1 FROM recheck WHERE reference = u.reference)
    OR EXISTS (SELECT 1 FROM bucket_to_release WHERE reference = u.reference)
    OR EXISTS (SELECT 1 FROM feedback WHERE reference = u.reference AND state = 'QUEUED')
    OR EXISTS (SELECT 1 FROM event WHERE subject = u.reference AND time > :before AND kind <> 'upload.viewed')
)"""

_DROP: Final = f"DELETE FROM upload AS u WHERE reference = :reference AND state = :state AND NOT {_STAYS}"  # noqa: S608


def forget(
    records: Records, settings: DeskSettings, *, actor: str = HOOK, is_wanted: Callable[[], bool] = lambda: True
) -> int:
    """Delete rows that are due, piece by piece while `is_wanted`; return how many, none while the clock is doubted."""
    days = settings.records.keep_days
    if not days or not is_believed(records):
        return 0
    before = (now() - timedelta(days=days)).isoformat()
    queue, times = ReviewQueue(records, settings), Times(records)
    sql = (
        f"SELECT u.time, u.reference, u.checked, {LAST_RULING}, {_STAYS} FROM upload u "  # noqa: S608 - our own text
        "WHERE u.state = :state AND (u.time, u.reference) > (:time, :reference) AND u.time <= :before "
        "ORDER BY u.time, u.reference LIMIT :most"
    )
    count = 0
    for state in _DECIDED:
        values = {"state": state, "before": before, "most": _PIECE, "time": "", "reference": ""}
        while is_wanted() and (rows := records.rows(sql, values)):
            begun = time.monotonic()
            values["time"], values["reference"] = rows[-1][:2]
            changes = _case_changes(records)
            pending = {name for (name,) in records.rows("SELECT id FROM hook_case WHERE state <> 'CLOSED'")}
            due = []
            for time_recorded, reference, stored, ruling, stays in rows:
                if stays or _last_deed(records, reference, time_recorded, times) > before:
                    continue
                with suppress(DataLoss):  # what cannot be read stays, to be looked at
                    checked = read_checked(stored, reference)
                    if not (pending and _is_about(checked, queue, pending)):
                        due.append((reference, checked, ruling))
            if due:
                count += _delete(records, due, state, before, changes, actor, days)
            time.sleep(min(time.monotonic() - begun, 1.0))  # others have the file for as long
    if count:
        records.rows("PRAGMA wal_checkpoint(TRUNCATE)")  # which still holds the rows
    return count


def _last_deed(records: Records, reference: str, time_recorded: str, times: Times) -> str:
    """Return when something was done with an upload last, at the latest."""
    rows = records.rows("SELECT time FROM event WHERE subject = ? AND kind <> 'upload.viewed'", (reference,))
    said = [datetime.fromisoformat(text) for text in (time_recorded, *(text for (text,) in rows))]
    return max(times.latest(at, reference) for at in said).isoformat()


def _delete(
    records: Records,
    due: list[tuple[str, DecisionRecord, str | None]],
    state: UploadState,
    before: str,
    changes: int,
    actor: str,
    days: int,
) -> int:
    counts: Counter[tuple[str, str]] = Counter()
    with records.transaction():
        if _case_changes(records) != changes:
            return 0  # a case may be about them now: at the next time
        for reference, checked, ruling in due:
            # Looked at again: somebody may have drawn it, held it or taken the decision back meanwhile.
            values = {"reference": reference, "state": state, "before": before}
            if not records.write(_DROP, values):
                continue
            records.write("DELETE FROM later_answer WHERE reference = ?", (reference,))
            records.note(
                "upload.forgotten",
                reference,
                f"decided, and nothing was done for {days} days (records.keep_days)",
                actor=actor,
                state=state,
            )
            counts["UPLOADS", ""] += 1
            counts.update(("RECOGNISED", name) for name in lists_of(checked))
            of = kind_of(checked)
            if of and ruling is not None:
                counts["DECIDED", of] += 1
                counts["CONFIRMED", of] += ruling == "CONFIRM"
        for key, number in counts.items():
            records.write(
                "INSERT INTO forgotten VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET count = count + excluded.count",
                (*key, number),
            )
    return counts["UPLOADS", ""]


def _case_changes(records: Records) -> int:
    [(last,)] = records.rows("SELECT coalesce(max(change), 0) FROM hook_case")
    return int(last)


def _is_about(checked: DecisionRecord, queue: ReviewQueue, cases: set[str]) -> bool:
    """Return whether one of the cases stopped the upload, or is about it now."""
    stopped_by = {line.clause for line in checked.decision.reasons}
    return bool(stopped_by & cases) or any(hit.case in cases for hit in queue.cases_of(checked))
