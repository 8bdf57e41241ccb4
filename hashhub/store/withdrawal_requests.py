"""Requests for a withdrawal, which wait for a second person, and how much a contributor withdraws in a day without."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final, NamedTuple

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.engine import Connection

from hashhub.model import Role, WithdrawalReason, now
from hashhub.store import schema as s
from hashhub.store.database import Database
from hashhub.store.entry_codec import replace_reasons, runs, unpack_reasons
from hashhub.store.entry_writes import PENDING, DeferredWithdrawals, by_set
from hashhub.store.events import touch
from hashhub.store.schema import ACTIVE

WISHES_A_DAY: Final = 100
"""Entries that a contributor's tokens withdraw at the request of persons shown in a day before events and the hub's
status say so: no second person need agree to these, so that whoever misuses the reason must be seen.
"""
_DAY: Final = timedelta(days=1)
_PERSON_SHOWN: Final = s.WITHDRAWAL_REASONS[WithdrawalReason.REQUESTED_BY_PERSON_SHOWN]

Ids = NDArray[np.int64]


class DailyLimit(NamedTuple):
    """How many `entries` of a hash set, and which `share`, one person may withdraw by hand in a day."""

    entries: int
    share: float


@dataclass(eq=False)
class WithdrawalRequests:
    """The part of the Store that knows which withdrawals are asked for."""

    _db: Database
    _outstanding: DeferredWithdrawals

    def waiting(self, ids: Ids) -> Ids:
        """Return those of the entries, by id, whose withdrawal waits for a second person."""
        return self._db.read(lambda c: np.fromiter(self.of(c, ids), np.int64))

    def made_at(self, revision: int) -> list[int]:
        """Return the entries whose withdrawal was asked for at a revision and still waits for a second person."""
        sql = "SELECT entry FROM withdrawal WHERE pending AND revision = ? ORDER BY entry"
        return [row[0] for row in self._db.fetch(sql, (revision,))]

    def of(self, c: Connection, ids: Ids) -> dict[int, tuple[str, WithdrawalReason]]:
        """Return who asked to withdraw which of the entries (ascending), and why, where a second person is awaited."""
        sql = (
            "SELECT entry, actor, reason FROM withdrawal "
            "WHERE pending AND hash_set = ? AND entry BETWEEN ? AND ? ORDER BY entry"
        )
        rows = [
            row
            for set_key, of_set in by_set(ids)
            for row in self._db.execute(c, sql, (set_key, int(of_set[0]), int(of_set[-1])))
        ]
        # Mostly there is none, and sorting a million ids would take a tenth of a second.
        is_meant = np.isin([row[0] for row in rows], ids) if rows else ()
        return {
            row[0]: (row[1], s.WITHDRAWAL_REASONS.members[row[2]])
            for row, is_one in zip(rows, is_meant, strict=True)
            if is_one
        }

    def end(self, c: Connection, ids: Ids) -> None:
        """Let no request wait for a second person any more, about entries (ascending) that have one."""
        if len(ids):
            touch(c, "withdrawal", ids.tolist())
            self._db.execute(c, "DELETE FROM withdrawal WHERE entry BETWEEN ? AND ? AND pending", runs(ids.tolist()))

    def is_beyond(self, c: Connection, set_key: int, limit: DailyLimit, more: int = 1) -> bool:
        """Whether so many more withdrawals by hand in a hash set need a second person; a day's first one does not."""
        w = s.withdrawal
        by_hand = (w.c.hash_set == set_key, w.c.reason != _PERSON_SHOWN, *_by_contributors_today())
        today = c.execute(sa.select(sa.func.count()).where(*by_hand)).scalar_one()
        # Those whose rows are still to be written count as well, some perhaps twice: that is on the safe side.
        today += self._outstanding.withdrawn_by_hand(c, set_key, s.to_millis(now() - _DAY))
        if not today and more == 1:
            return False
        if today + more > limit.entries:
            return True
        # Of those active now and those withdrawn today; no more are counted than decide.
        enough = int(np.ceil((today + more) / limit.share)) - today
        e = s.entry
        active = sa.select(e.c.id).where(e.c.hash_set == set_key, e.c.state == ACTIVE).limit(enough).subquery()
        count: int = c.execute(sa.select(sa.func.count()).select_from(active)).scalar_one()
        return count < enough

    def wishes_today(self) -> dict[str, int]:
        """Return by contributor how many entries were withdrawn today for persons shown, if more than WISHES_A_DAY."""
        counts = self._db.read(self._wishes_counted)
        return {contributor: n for contributor, n in counts.items() if n > WISHES_A_DAY}

    def wishes_beyond(self, c: Connection, contributor: str, more: int) -> int:
        """Return how many entries are withdrawn today for persons shown, with these; 0: no more than WISHES_A_DAY."""
        count = self._wishes_counted(c).get(contributor, 0) + more
        return count if count > WISHES_A_DAY else 0

    def _wishes_counted(self, c: Connection) -> dict[str, int]:
        """Return by contributor how many entries were withdrawn within a day for persons shown."""
        w, x = s.withdrawal, s.hash_set
        counted = sa.select(x.c.contributor, sa.func.count()).join(w, w.c.hash_set == x.c.key)
        rows = c.execute(
            counted.where(*_by_contributors_today(), w.c.reason == _PERSON_SHOWN).group_by(x.c.contributor)
        )
        return {row[0]: row[1] for row in rows}


def _by_contributors_today() -> tuple[sa.ColumnElement[bool], ...]:
    """Return the condition for withdrawals by contributors' tokens within a day."""
    w = s.withdrawal
    since = s.to_millis(now() - _DAY)
    return (w.c.time > since, w.c.pending.is_(False), w.c.role == s.ROLES[Role.CONTRIBUTOR])


def without_pending(packed: str | None) -> str | None:
    """Return packed reasons without the remark that a withdrawal waits for a second person."""
    reasons = unpack_reasons(packed)
    return replace_reasons(packed, tuple(r for r in reasons if r != PENDING)) if PENDING in reasons else packed
