"""A case's life: who may take which step from where, until when an unconfirmed one holds, what is done with copies
meanwhile, where they are or were, and what is missing of its record. Each step is an event with its actor and reason.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

import msgspec

from hashhub.desk.cases.clocks import CasePurpose, ClockState, Deadline, check_receive_time, check_rules, clocks_of
from hashhub.desk.clock import Times, is_believed
from hashhub.desk.decision import Action
from hashhub.desk.people import ACCOUNT
from hashhub.errors import FailedPrecondition, InvalidArgument, LimitExceeded, NotFound, PermissionDenied, Reason
from hashhub.hashes import ALGORITHMS, VPDQ, Hash, is_exact
from hashhub.model import now

if TYPE_CHECKING:
    from hashhub.desk.cases.item import CaseItem
    from hashhub.desk.records import DeskEvent, Records, Version
    from hashhub.desk.settings import CaseSettings


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


class PartialFile(msgspec.Struct, frozen=True, kw_only=True):
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
    partial: tuple[PartialFile, ...] = ()

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
                copies=c, partly=i, partial=msgspec.json.decode(named, type=tuple[PartialFile, ...]),
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


_MOST_TEXT: Final = 2_000
_MOST_NAME: Final = 200
_FOREVER: Final = ""  # of `until`
_SELECT: Final = "SELECT id, state, outcome, until, facts, stopped, stopped_last FROM hook_case"


class CaseState(StrEnum):
    """Where a case stands; see the module. EXPIRED: nobody confirmed it in time, and it holds nothing any more."""

    OPEN = "OPEN"
    CONFIRMED = "CONFIRMED"
    DISPUTED = "DISPUTED"
    EXPIRED = "EXPIRED"
    CLOSED = "CLOSED"


class CaseOutcome(StrEnum):
    """How a case ended. UPHELD: copies stay stopped. REJECTED: the complaint was wrong. WITHDRAWN: by its maker."""

    UPHELD = "UPHELD"
    REJECTED = "REJECTED"
    WITHDRAWN = "WITHDRAWN"


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What was said when the case was opened."""

    purpose: CasePurpose
    complaint: str
    reason: str
    rules: tuple[str, ...]
    receive_time: datetime
    open_time: datetime
    opened_by: str
    exact_only: bool = False
    not_searched: tuple[str, ...] = ()


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """A case, without its digests. `action`: what is done with copies now, `until` when; None: it does not stop by
    itself. `exact_only`: only the very files are stopped, for want of a telling perceptual hash. `not_searched`: what
    is not looked for and why, in sentences. `stopped`: uploads held or blocked because of it.
    """

    name: str
    state: CaseState
    purpose: CasePurpose
    complaint: str
    reason: str
    receive_time: datetime
    open_time: datetime
    opened_by: str
    action: Action
    clocks: tuple[Deadline, ...]
    outcome: CaseOutcome | None = None
    until: datetime | None = None
    exact_only: bool = False
    not_searched: tuple[str, ...] = ()
    hash_counts: dict[str, int] = {}
    stopped: int = 0
    stopped_last: datetime | None = None
    copies_there: int = 0
    copies_removed: int = 0

    @property
    def first_due(self) -> Deadline | None:
        """The clock that runs out first, or did, among those by which something is to be done yet."""
        running = [c for c in self.clocks if c.due and c.standing in {ClockState.RUNNING, ClockState.OVERDUE}]
        return min(running, key=lambda c: c.due or self.open_time, default=None)

    @property
    def urgency(self) -> tuple[bool, datetime]:
        """Sorts what is due first before the rest."""
        clock = self.first_due
        return clock is None, (clock and clock.due) or self.open_time


class CaseRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What was taken down when, by whom. `missing`: what keeps the record from being complete, in sentences."""

    case: Case
    copies: tuple[CaseCopy, ...]
    scans: tuple[Scan, ...]
    history: tuple[dict[str, Any], ...]
    missing: tuple[str, ...]
    is_complete: bool
    write_time: datetime


class Cases:
    """The cases in the hook's records. Several processes may work on them."""

    def __init__(self, records: Records, settings: CaseSettings) -> None:
        self._records = records
        self._settings = settings
        self.copies = Copies(records)

    def open(
        self,
        item: CaseItem,
        *,
        purpose: CasePurpose,
        complaint: str,
        reason: str,
        actor: str,
        receive_time: datetime,
        by_rules: Sequence[str] = ("own-48h",),
        places: Sequence[str] = (),
    ) -> Case:
        """Open a case; once this returns, copies are stopped in every process that uses these records. `complaint`: the
        app's reference of the report. Raises InvalidArgument, PermissionDenied, LimitExceeded (`case.max_open`).
        """
        self._check(actor)
        complaint = plain_text("complaint", complaint, _MOST_NAME)
        reason = plain_text("reason", reason, _MOST_TEXT)
        places = tuple(dict.fromkeys(plain_text("place", place, MOST_PLACE) for place in places))
        opened = now()
        check_receive_time(receive_time, opened)
        check_rules(by_rules, purpose)
        name = f"case-{secrets.token_hex(6)}"
        facts = Facts(
            purpose=purpose,
            complaint=complaint,
            reason=reason,
            rules=tuple(dict.fromkeys(by_rules)),
            receive_time=min(receive_time.astimezone(UTC), opened),
            open_time=opened,
            opened_by=actor,
            exact_only=all(is_exact(h.algorithm) for h, _ in item.hashes),
            not_searched=item.not_searched,
        )
        until = opened + timedelta(days=self._settings.unconfirmed_days)
        with self._records.transaction():
            is_believed(self._records)  # so that it is on record if the clock by which `until` was reckoned went back
            self.end_unconfirmed()
            self._refuse_too_many()
            self._records.write(
                "INSERT INTO hook_case (id, state, outcome, change, until, facts) VALUES (?, 'OPEN', '', ?, ?, ?)",
                (name, self.last_change() + 1, until.isoformat(), msgspec.json.encode(facts)),
            )
            for h, variant in item.hashes:
                self._records.write("INSERT INTO case_hash VALUES (?, ?, ?, ?)", (name, h.algorithm, h.digest, variant))
            for place in places:
                self.copies.add(name, place, "named by the complaint", actor=actor)
            self._records.note(
                "case.opened",
                name,
                reason,
                actor=actor,
                purpose=purpose,
                complaint=complaint,
                rules=facts.rules,
                hash_count=len(item.hashes),
                places=len(places),
            )
        return self.get(name)

    def get(self, name: str) -> Case:
        """Return a case. Raises NotFound."""
        self.end_unconfirmed()
        rows = self._records.rows(f"{_SELECT} WHERE id = ?", (name,))
        if not rows:
            raise NotFound(f"there is no case {name[:40]!r}; see `hashhub hook case list`")
        return self._case(rows[0])

    def listed(self, states: Iterable[CaseState] = ()) -> list[Case]:
        """Return the cases in these states, or all, the oldest first."""
        self.end_unconfirmed()
        wanted = tuple(states) or tuple(CaseState)
        marks = ", ".join("?" * len(wanted))
        rows = self._records.rows(f"{_SELECT} WHERE state IN ({marks})", wanted)
        return sorted((self._case(row) for row in rows), key=lambda case: (case.open_time, case.name))

    def confirm(self, name: str, *, actor: str, reason: str) -> Case:
        """Record that a person has looked at the complaint and that it holds; copies are blocked from now on."""
        with self._records.transaction():  # nobody closes it between what is read and what is written
            case = self._at(name, actor, CaseState.OPEN, CaseState.DISPUTED, CaseState.CONFIRMED)
            if case.state is CaseState.CONFIRMED:
                return case
            if self._settings.two_persons and _name(actor) == _name(case.opened_by):
                raise PermissionDenied(
                    f"{actor} opened this case, and the settings want another person to confirm it (case.two_persons)",
                    reason=Reason.SECOND_PERSON_NEEDED,
                )
            return self._step(name, "case.confirmed", actor, reason, state=CaseState.CONFIRMED, until=_FOREVER)

    def dispute(self, name: str, *, actor: str, reason: str, by: str = "") -> Case:
        """Record an objection; nothing is blocked until a person decides. `by`: who objects, in the app's words."""
        by = plain_text("by", by, _MOST_NAME) if by else ""
        with self._records.transaction():
            self._at(name, actor, CaseState.OPEN, CaseState.CONFIRMED, CaseState.DISPUTED)
            is_believed(self._records)  # as in `open`
            until = (now() + timedelta(days=self._settings.unconfirmed_days)).isoformat()
            return self._step(name, "case.disputed", actor, reason, state=CaseState.DISPUTED, until=until, by=by)

    def taken_down(self, name: str, places: Sequence[str], *, actor: str, reason: str, stays: bool = False) -> int:
        """Record that copies (all that are there, if none is named) are gone, or may stay; return of how many that is
        news. Raises NotFound for a place that the case does not list.
        """
        self._at(name, actor, *CaseState)
        reason = plain_text("reason", reason, _MOST_TEXT)
        state = CopyState.STAYS if stays else CopyState.REMOVED
        with self._records.transaction():
            count = self.copies.settle(name, places, state, actor=actor, reason=reason)
            kind = "case.copies_stay" if stays else "case.copies_removed"
            self._records.note(kind, name, reason, actor=actor, count=count)
        return count

    def close(
        self, name: str, outcome: CaseOutcome, *, actor: str, reason: str, incomplete: bool = False
    ) -> CaseRecord:
        """End a case and return its record; other outcomes than UPHELD erase the hashes. Raises FailedPrecondition
        where an upheld case is not confirmed, or lacks something, unless `incomplete` says that this is known.
        """
        with self._records.transaction():
            case = self._at(name, actor, CaseState.OPEN, CaseState.CONFIRMED, CaseState.DISPUTED, CaseState.EXPIRED)
            if outcome is CaseOutcome.UPHELD:
                if case.state is not CaseState.CONFIRMED:
                    raise FailedPrecondition(
                        f"nobody has confirmed {name}, or somebody disputes it; run `hashhub hook case confirm` first"
                    )
                missing = _missing(case, self.copies.listed(name), self.copies.scans(name), closing=True)
                if missing and not incomplete:
                    raise FailedPrecondition(
                        f"{missing[0]}; do that, or close the case with --incomplete, and its record will say so"
                    )
            else:
                self._records.write("DELETE FROM case_hash WHERE case_id = ?", (name,))
            self._step(name, "case.closed", actor, reason, state=CaseState.CLOSED, until=_FOREVER, outcome=outcome)
        return self.record(name)

    def record(self, name: str) -> CaseRecord:
        """Return all that was done, and what is missing. Raises NotFound."""
        case = self.get(name)
        copies, scans = self.copies.listed(name), self.copies.scans(name)
        missing = _missing(case, copies, scans, closing=False)
        return CaseRecord(
            case=case,
            copies=tuple(copies),
            scans=tuple(scans),
            history=tuple(_without_subject(event) for event in self._records.events(subject=name)),
            missing=missing,
            is_complete=not missing,
            write_time=now(),
        )

    def hashes(self, name: str) -> list[tuple[Hash, str]]:
        """Return the digests of a case with the variants that they are of; none of one that was not upheld."""
        rows = self._records.rows("SELECT algorithm, digest, variant FROM case_hash WHERE case_id = ?", (name,))
        return [(Hash(algorithm, digest), variant) for algorithm, digest, variant in rows]

    def version(self) -> Version:
        """Return what differs once a case has changed, in whichever process."""
        return self._records.version()

    def last_change(self) -> int:
        """Return the number of the last change of a case."""
        [(last,)] = self._records.rows("SELECT coalesce(max(change), 0) FROM hook_case")
        number: int = last
        return number

    def changes(self, after: int) -> tuple[int, dict[str, tuple[Action, datetime | None, list[tuple[Hash, str]]]]]:
        """Return the number of the last change, and the cases that changed after that one: what is done with copies,
        until when, by which digests. A case that stops nothing has Action.ALLOW and no digests.
        """
        last = self.last_change()
        if last == after:
            return last, {}
        changed = {}
        for name, state, outcome, until in self._records.rows(
            "SELECT id, state, outcome, until FROM hook_case WHERE change > ?", (after,)
        ):
            action = self.action(CaseState(state), CaseOutcome(outcome) if outcome else None)
            hashes = self.hashes(name) if action is not Action.ALLOW else []
            changed[name] = (action, datetime.fromisoformat(until) if until else None, hashes)
        return last, changed

    def note_stopped(self, names: Iterable[str]) -> None:
        """Count an upload that was stopped because of these cases."""
        with self._records.transaction():
            for name in names:
                self._records.write(
                    "UPDATE hook_case SET stopped = stopped + 1, stopped_last = ? WHERE id = ?",
                    (now().isoformat(), name),
                )

    def action(self, state: CaseState, outcome: CaseOutcome | None) -> Action:
        """Return what a case in this state does with copies."""
        match state:
            case CaseState.OPEN:
                return self._settings.complaint
            case CaseState.DISPUTED:
                return Action.HOLD
            case CaseState.CONFIRMED:
                return self._settings.confirmed
            case CaseState.CLOSED if outcome is CaseOutcome.UPHELD:
                return self._settings.confirmed
        return Action.ALLOW

    def note_shared(self, name: str, hash_set: str, count: int, *, actor: str, reason: str) -> None:
        """Record that hashes of a case were contributed to a hash set at the hub."""
        self._records.note("case.shared", name, reason, actor=actor, hash_set=hash_set, hash_count=count)

    def check_reason(self, actor: str, reason: str) -> str:
        """Return the reason as it is recorded. Raises PermissionDenied for who may not work on cases."""
        self._check(actor)
        return plain_text("reason", reason, _MOST_TEXT)

    def _check(self, actor: str) -> None:
        if self._settings.people and _name(actor) not in self._settings.people:
            raise PermissionDenied(
                f"{actor} may not work on cases; the settings name who may (case.people)",
                reason=Reason.ROLE_NOT_ALLOWED,
            )

    def _at(self, name: str, actor: str, *states: CaseState) -> Case:
        self._check(actor)
        case = self.get(name)
        if case.state not in states:
            raise FailedPrecondition(f"{name} is {case.state.lower()}; this can be done with a case that is not")
        return case

    def _step(self, name: str, kind: str, actor: str, reason: str, *, state: CaseState, until: str,
              outcome: CaseOutcome | None = None, by: str = "") -> Case:  # fmt: skip
        reason = plain_text("reason", reason, _MOST_TEXT)
        with self._records.transaction():
            self._records.write(
                "UPDATE hook_case SET state = ?, until = ?, outcome = ?, change = ? WHERE id = ?",
                (state, until, outcome or "", self.last_change() + 1, name),
            )
            details = {**({"outcome": outcome} if outcome else {}), **({"by": by} if by else {})}
            self._records.note(kind, name, reason, actor=actor, **details)
        return self.get(name)

    def _refuse_too_many(self) -> None:
        """Raise LimitExceeded where no further case may be open."""
        [(count,)] = self._records.rows("SELECT count(*) FROM hook_case WHERE state IN ('OPEN', 'DISPUTED')")
        if count >= self._settings.max_open:
            raise LimitExceeded(
                f"{count} cases are open, as many as the settings allow (case.max_open); decide some of them, or "
                "look whether somebody floods you with complaints",
                reason=Reason.SHARE_EXCEEDED,
            )

    def end_unconfirmed(self) -> None:
        """End the cases that nobody confirmed in time, by a clock that is believed: until then they hold copies, and
        their hashes are gone for good after it. A case whose time was reckoned by a clock that was behind holds for
        as long from when that was set right.
        """
        late = self._records.rows(
            "SELECT id FROM hook_case WHERE state IN ('OPEN', 'DISPUTED') AND until <> '' AND until <= ?",
            (now().isoformat(),),
        )
        if not late:
            return
        is_due, times = is_believed(self._records), Times(self._records)
        for (name,) in late:
            with self._records.transaction():
                rows = self._records.rows(
                    "SELECT until FROM hook_case WHERE id = ? AND state IN ('OPEN', 'DISPUTED')", (name,)
                )
                if not rows:
                    continue  # another process did it
                until = self._latest_end(name, datetime.fromisoformat(rows[0][0]), times)
                if until > now():
                    self._hold_longer(name, until)
                elif is_due:
                    self._expire(name)

    def _latest_end(self, name: str, until: datetime, times: Times) -> datetime:
        """Return until when a case holds copies, where the clock by which that was reckoned was behind."""
        [(text,)] = self._records.rows(
            "SELECT time FROM event WHERE subject = ? AND kind IN ('case.opened', 'case.disputed', 'case.held_longer') "
            "ORDER BY number DESC LIMIT 1",
            (name,),
        )
        reckoned = datetime.fromisoformat(text)
        return until + (times.latest(reckoned, name) - reckoned)

    def _hold_longer(self, name: str, until: datetime) -> None:
        self._records.write(
            "UPDATE hook_case SET until = ?, change = ? WHERE id = ?", (until.isoformat(), self.last_change() + 1, name)
        )
        self._records.note(
            "case.held_longer", name, "the clock was behind when its time began", until=until.isoformat()
        )

    def _expire(self, name: str) -> None:
        self._records.write(
            "UPDATE hook_case SET state = 'EXPIRED', change = ? WHERE id = ?", (self.last_change() + 1, name)
        )
        self._records.write("DELETE FROM case_hash WHERE case_id = ?", (name,))
        self._records.note("case.expired", name, "nobody confirmed it in time")

    def _case(self, row: tuple[Any, ...]) -> Case:
        name, state, outcome, until, facts, stopped, stopped_last = row
        stated = msgspec.structs.asdict(msgspec.json.decode(facts, type=Facts))
        names, receive_time = stated.pop("rules"), stated["receive_time"]
        counts = dict(
            self._records.rows("SELECT algorithm, count(*) FROM case_hash WHERE case_id = ? GROUP BY 1", (name,))
        )
        copies = self.copies.counts(name)
        at, ended = CaseState(state), CaseOutcome(outcome) if outcome else None
        is_decided = at in {CaseState.CONFIRMED, CaseState.CLOSED}
        return Case(
            name=name,
            state=at,
            **stated,
            action=self.action(at, ended),
            clocks=clocks_of(
                names,
                self._records,
                case=name,
                receive_time=receive_time,
                done=self.copies.done_time(name) if is_decided else None,
                is_ended=at is CaseState.CLOSED and ended is not CaseOutcome.UPHELD,
            ),
            outcome=ended,
            until=datetime.fromisoformat(until) if until else None,
            hash_counts={name: counts[name] for name in (*ALGORITHMS, VPDQ.name) if name in counts},
            stopped=stopped,
            stopped_last=datetime.fromisoformat(stopped_last) if stopped_last else None,
            copies_there=copies.get(CopyState.THERE, 0),
            copies_removed=copies.get(CopyState.REMOVED, 0),
        )


def _missing(case: Case, copies: list[CaseCopy], scans: list[Scan], *, closing: bool) -> tuple[str, ...]:
    missing = []
    if case.state is CaseState.CLOSED and case.outcome is not CaseOutcome.UPHELD:
        return ()
    if case.state not in {CaseState.CONFIRMED, CaseState.CLOSED}:
        missing.append(f"no person has decided over the complaint: the case is {case.state.lower()}")
    if there := sum(c.state is CopyState.THERE for c in copies):
        missing.append(f"{there} {'copy is' if there == 1 else 'copies are'} not recorded as removed")
    if not scans:
        missing.append("nothing that was uploaded before was looked through")
    last_by_place = {scan.place: scan for scan in scans}
    missing += [
        f"of {scan.place}, {scan.unread} {'file' if scan.unread == 1 else 'files'} could not be read"
        for scan in last_by_place.values()
        if scan.unread
    ]
    missing += [
        f"of {scan.place}, {scan.partly} {'file was' if scan.partly == 1 else 'files were'} looked at in part only"
        for scan in last_by_place.values()
        if scan.partly
    ]
    for clock in case.clocks:
        if clock.standing is ClockState.OVERDUE and clock.due is not None:
            missing.append(f"{clock.rule} was due at {clock.due.isoformat()}")
        elif clock.standing is ClockState.UNPROVEN and clock.due is not None:
            missing.append(
                f"{clock.rule} was due at {clock.due.isoformat()}, and when it was done is known only by a clock "
                "that was behind"
            )
    if case.state is not CaseState.CLOSED and not closing:
        missing.append("the case is not closed")
    return tuple(missing)


def _name(actor: str) -> str:
    """Return the name of a person, or of the account that acts while there are no persons."""
    return actor.removeprefix(ACCOUNT)


def _without_subject(event: DeskEvent) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.to_builtins(event)
    del fields["subject"]
    return fields


def plain_text(field: str, text: str, most: int) -> str:
    """Return a text for records and drafts. Raises InvalidArgument: empty, control characters, beyond `most`."""
    text = text.strip()
    if not text:
        raise InvalidArgument.field(field, "must not be empty")
    if len(text) > most:
        raise InvalidArgument.field(field, f"must have at most {most} characters, got {len(text)}")
    if not text.replace("\n", " ").isprintable():
        raise InvalidArgument.field(field, "must not have control characters, or characters that turn the writing")
    return text
