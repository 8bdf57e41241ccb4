"""What the hub says later of uploads that were held or blocked: who is asked about first, and what counts as news. It
changes nothing by itself: persons decide.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

import msgspec

from hashhub.desk.clock import AHEAD
from hashhub.desk.queue.stored_decision import asked_again, hits_of, recorded
from hashhub.desk.records import HOOK, UploadState
from hashhub.errors import DataLoss, NotFound, Reason, Unavailable
from hashhub.model import Verdict, now

if TYPE_CHECKING:
    from hashhub.desk.decision import DecisionRecord
    from hashhub.desk.hub import HubAnswer, Judge
    from hashhub.desk.records import Records

_MOST_ASKED: Final = 1000


class LaterAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What the hub said when it was asked again. `gone`: entries that were hit and are not found now: withdrawn, or not
    to be seen any more. `added`: those found since. It changes nothing by itself: persons decide.
    """

    time: datetime
    verdict: Verdict
    revision: int
    gone: tuple[str, ...]
    added: tuple[str, ...]


class LaterAnswers:
    """The answers to what was asked again."""

    def __init__(self, records: Records) -> None:
        self._records = records

    def recheck(
        self, judge: Judge, *, limit: int = _MOST_ASKED, older_than: timedelta = timedelta(0)
    ) -> tuple[int, int]:
        """Ask again about uploads that were held or blocked, those first that were not asked about for longest; return
        about how many, and of how many the answer changed. What changed is shown, and an event; nothing is released.
        `older_than`: leaves out what has a younger answer, but not one that the clock gave when it was days ahead.

        Asked is what hit: the upload's own hashes, and those of its variants that hit. A video that was hit by its
        frames is not asked about, as its frames are not kept. Raises HashHubError when no answer can be had; what was
        asked until then stays. Raises DataLoss in the end where a record could not be read.
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
                    actor=HOOK,
                    kind="upload.answer_changed",
                    subject=reference,
                    reason=judged.result.verdict,
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
