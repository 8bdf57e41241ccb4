"""Where copies of a case's item are or were, and what was looked through for them. By both it is known when the last
thing was done that a case asks for.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Final

import msgspec

from hashhub.errors import LimitExceeded, NotFound, Reason
from hashhub.model import now

if TYPE_CHECKING:
    from hashhub.desk.records import Records

MOST_COPIES: Final = 100_000
"""Copies that one case lists. A case that finds more is no case about one item."""
MOST_PLACE: Final = 4_096  # bytes of a path, and of a key in a bucket four times over


class CopyState(StrEnum):
    """What became of a copy. STAYS: a person decided that it is none, or may stay, and said why."""

    THERE = "THERE"
    REMOVED = "REMOVED"
    STAYS = "STAYS"


class CaseCopy(msgspec.Struct, frozen=True, kw_only=True):
    """A place where a copy is or was. `how`: by what it was noticed. `time`, `actor`, `reason`: of the last step."""

    place: str
    how: str
    state: CopyState
    time: datetime
    actor: str
    reason: str = ""


class Partial(msgspec.Struct, frozen=True, kw_only=True):
    """A file of which not all was looked at, and what was not, such as the film behind a picture."""

    place: str
    why: str


class Scan(msgspec.Struct, frozen=True, kw_only=True):
    """One look through what was there. `unread`: files that could not be read, of which nothing is known. `partly`:
    files of which not all was looked at; `partial` names the first of them.
    """

    place: str
    begin_time: datetime
    end_time: datetime
    looked: int
    unread: int
    copies: int
    partly: int = 0
    partial: tuple[Partial, ...] = ()

    @property
    def is_whole(self) -> bool:
        """Whether all of every file was looked at."""
        return not self.unread and not self.partly


class Copies:
    """The copies that cases list, and the looks for them, in the hook's records."""

    def __init__(self, records: Records) -> None:
        self._records = records

    def listed(self, name: str) -> list[CaseCopy]:
        """Return the copies that a case lists, by their places."""
        sql = "SELECT place, how, state, time, actor, reason FROM case_copy WHERE case_id = ? ORDER BY place"
        return self._records.structs(CaseCopy, sql, (name,))

    def scans(self, name: str) -> list[Scan]:
        """Return the looks through what was there, the oldest first."""
        rows = self._records.rows(
            "SELECT place, begin_time, end_time, looked, unread, copies, partly, partial FROM case_scan "
            "WHERE case_id = ? ORDER BY number",
            (name,),
        )
        return [
            Scan(
                place=p, begin_time=datetime.fromisoformat(b), end_time=datetime.fromisoformat(e), looked=n, unread=u,
                copies=c, partly=i, partial=msgspec.json.decode(named, type=tuple[Partial, ...]),
            )
            for p, b, e, n, u, c, i, named in rows
        ]  # fmt: skip

    def counts(self, name: str) -> dict[str, int]:
        """Return how many copies of a case are in which state."""
        return dict(self._records.rows("SELECT state, count(*) FROM case_copy WHERE case_id = ? GROUP BY 1", (name,)))

    def done_time(self, name: str) -> datetime | None:
        """Return when the last copy was gone and every place looked through; None while something of it is missing."""
        copies, looked = self.listed(name), _looked_through(self.scans(name))
        if any(c.state is CopyState.THERE for c in copies) or looked is None:
            return None
        return max([looked, *(c.time for c in copies)])

    def add(self, name: str, place: str, how: str, *, actor: str) -> bool:
        """List a copy; return whether it is new, also where one was removed or another file may stay."""
        with self._records.transaction():
            place = place[:MOST_PLACE]
            [(count,)] = self._records.rows("SELECT count(*) FROM case_copy WHERE case_id = ?", (name,))
            if count >= MOST_COPIES:
                raise LimitExceeded(
                    f"the case lists {count} copies, as many as a case can; look at what it is about",
                    reason=Reason.SHARE_EXCEEDED,
                )
            values = (name, place, how, now().isoformat(), actor)
            return bool(
                self._records.write(
                    "INSERT INTO case_copy VALUES (?, ?, ?, 'THERE', ?, ?, '') ON CONFLICT DO UPDATE SET "
                    "how = excluded.how, state = 'THERE', time = excluded.time, actor = excluded.actor, "
                    "reason = 'was there again' WHERE state = 'REMOVED' OR (state = 'STAYS' AND how <> excluded.how)",
                    values,
                )
            )

    def settle(self, name: str, places: Sequence[str], state: CopyState, *, actor: str, reason: str) -> int:
        """Note the state of the copies at these places, or all that are there; return how many are new. Raises
        NotFound.
        """
        with self._records.transaction():
            before = dict(self._records.rows("SELECT place, state FROM case_copy WHERE case_id = ?", (name,)))
            count = 0
            for place in places or [p for p, there in before.items() if there == CopyState.THERE]:
                if place not in before:
                    raise NotFound(f"the case lists no copy at {place[:80]!r}; see `hashhub hook case get {name}`")
                count += self._records.write(
                    "UPDATE case_copy SET state = ?, time = ?, actor = ?, reason = ? "
                    "WHERE case_id = ? AND place = ? AND state <> ?",
                    (state, now().isoformat(), actor, reason, name, place, state),
                )
        return count

    def add_scan(self, name: str, scan: Scan, *, actor: str) -> None:
        """Record a look through what was there."""
        with self._records.transaction():
            self._records.write(
                "INSERT INTO case_scan (case_id, place, begin_time, end_time, looked, unread, copies, partly, partial) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (name, scan.place[:MOST_PLACE], scan.begin_time.isoformat(), scan.end_time.isoformat(), scan.looked,
                 scan.unread, scan.copies, scan.partly, msgspec.json.encode(scan.partial)),
            )  # fmt: skip
            self._records.note(
                "case.scanned",
                name,
                actor=actor,
                looked=scan.looked,
                unread=scan.unread,
                copies=scan.copies,
                partly=scan.partly,
            )


def _looked_through(scans: list[Scan]) -> datetime | None:
    """Return when every place had been looked through without a gap, the first time; None where one has not."""
    since: dict[str, datetime | None] = {}
    for scan in scans:
        since[scan.place] = since.get(scan.place) or scan.end_time if scan.is_whole else None
    times = [time for time in since.values() if time is not None]
    return max(times) if times and len(times) == len(since) else None
