"""What the hook does by itself with what it keeps, beside its doors: what is due at which interval, and that what fails
keeps nothing else from its turn.
"""

from __future__ import annotations

import logging
from contextlib import ExitStack
from datetime import timedelta
from time import monotonic
from typing import TYPE_CHECKING, Final

from hashhub.background import Background
from hashhub.desk.cases import Cases
from hashhub.desk.clock import is_believed
from hashhub.desk.queue import LaterAnswers, ReviewSender
from hashhub.desk.record_expiry import forget
from hashhub.errors import DataLoss, HashHubError

if TYPE_CHECKING:
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
    """What the hook does by itself with what it keeps, in a thread: sends the reviews that wait, asks again each day
    about what is held or blocked, and each hour ends cases that nobody confirmed in time and erases what is due in the
    vault and in the records.

    `judge`: who knows the lists, without cases, which `Queue.get` shows by itself.
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
            if monotonic() >= self._next_erasure:
                rest.callback(self._erase)
                rest.callback(self._end_cases)
            if monotonic() >= self._next_recheck:
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
            self._next_recheck = monotonic() + _RECHECK_SECONDS

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
            self._next_erasure = monotonic() + _ERASURE_SECONDS
