"""What the desk does by itself, each at its interval: send reviews, ask again, erase what is due.

Rows of decided uploads are deleted after `records.keep_days`; events stay, and what evidence counts, in `forgotten`.
Nothing goes that is still needed: in the vault, a sample or an open case, or while a review, a release or an answer is
awaited.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, suppress
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from hashhub.background import Background
from hashhub.desk.cases.life import Cases
from hashhub.desk.clock import Times, is_believed
from hashhub.desk.decision import read_checked
from hashhub.desk.evidence import LAST_RULING, kind_of
from hashhub.desk.queue.reviews import LaterAnswers, ReviewSender
from hashhub.desk.queue.stored_decision import lists_of
from hashhub.desk.queue.view import ReviewQueue
from hashhub.desk.records import HOOK, UploadState
from hashhub.errors import DataLoss, HashHubError
from hashhub.model import now

if TYPE_CHECKING:
    from hashhub.desk.decision import DecisionRecord
    from hashhub.desk.hub import Judge
    from hashhub.desk.records import Records
    from hashhub.desk.settings import DeskSettings
    from hashhub.desk.vault import Vault

_LOG: Final = logging.getLogger("hashhub.hook")
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
            _LOG.debug("held uploads are not asked about again now: %s", e.message)
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
