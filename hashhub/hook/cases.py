"""Cases: a report about one item, whose copies are stopped at once, looked for in what is there, and taken down by a
time that a rule names.

    opened ── OPEN ── a person confirms ── CONFIRMED ── closed, UPHELD: its copies stay stopped
               │           ▲    │
               │           │    └── somebody disputes ── DISPUTED: holds, and blocks nothing, until a person decides
               └── nobody confirms in time: it holds nothing any more ── closed, REJECTED or WITHDRAWN: hashes erased

A complaint is a claim of whoever complains. It holds copies back until a person has looked, and blocks nothing by
itself unless the settings say so. Each step is an event with its actor and reason. Events and records of cases hold no
digests; these stand in `case_hash` for as long as the case stops copies, and in no other place.
"""

from __future__ import annotations

import secrets
import tomllib
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

import msgspec

from hashhub.errors import FailedPrecondition, InvalidArgument, LimitExceeded, NotFound, PermissionDenied, Reason
from hashhub.hashes import ALGORITHMS, VPDQ, Hash, is_exact
from hashhub.hook.clock import Times, is_believed
from hashhub.hook.decision import Action
from hashhub.hook.people import ACCOUNT
from hashhub.hook.records import HOOK
from hashhub.hygiene import MIN_PDQ_QUALITY, inspect
from hashhub.model import Disposition, Record, now

if TYPE_CHECKING:
    from hashhub.hashing.media import MediaHashes
    from hashhub.hook.records import Event, Records
    from hashhub.hook.settings import CaseSettings

MOST_HASHES: Final = 512
"""Digests of one case: a picture has some 20 with its variants and turns, a video one for each frame."""
MOST_COPIES: Final = 100_000
"""Copies that one case lists. A case that finds more is no case about one item."""
_MOST_TEXT: Final = 2_000
_MOST_NAME: Final = 200
_MOST_PLACE: Final = 4_096  # bytes of a path, and of a key in a bucket four times over
_SKEW: Final = timedelta(minutes=1)  # of the clock that stamped the complaint
_EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)  # that a complaint may have come
_FOREVER: Final = ""  # of `until`


class CasePurpose(StrEnum):
    """What the complaint says that the item is."""

    CSAM = "CSAM"
    INTIMATE_IMAGE = "INTIMATE_IMAGE"
    OTHER = "OTHER"


class CaseState(StrEnum):
    """Where a case stands; see the module. EXPIRED: nobody confirmed it in time, and it holds nothing any more."""

    OPEN = "OPEN"
    CONFIRMED = "CONFIRMED"
    DISPUTED = "DISPUTED"
    EXPIRED = "EXPIRED"
    CLOSED = "CLOSED"


class CaseOutcome(StrEnum):
    """How a case ended. UPHELD: its copies stay stopped. REJECTED: the complaint was wrong. WITHDRAWN: by whoever made
    it.
    """

    UPHELD = "UPHELD"
    REJECTED = "REJECTED"
    WITHDRAWN = "WITHDRAWN"


class CopyState(StrEnum):
    """What became of a copy. STAYS: a person decided that it is none, or may stay, and said why."""

    THERE = "THERE"
    REMOVED = "REMOVED"
    STAYS = "STAYS"


class Standing(StrEnum):
    """Where a clock stands. NO_NUMBER: the rule names no time that could be counted. UNPROVEN: what it asks for was
    done, but when is known only by a clock that was behind, so that it may have been too late.
    """

    RUNNING = "RUNNING"
    OVERDUE = "OVERDUE"
    UNPROVEN = "UNPROVEN"
    MET = "MET"
    NO_NUMBER = "NO_NUMBER"
    ENDED = "ENDED"


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """By when something is due, and where that is written. `hours`: None where the source names no number."""

    name: str
    title: str
    starts: str
    purposes: tuple[CasePurpose, ...]
    text: str
    source: str
    hours: int | None = None


class Clock(msgspec.Struct, frozen=True, kw_only=True):
    """One rule's time for one case. `due` is None for a rule without a number of hours."""

    rule: str
    title: str
    due: datetime | None
    standing: Standing
    source: str
    note: str = "for legal review: whether the rule applies to you is not decided here"


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
    """A case, without its digests.

    Attributes:
        action: What is done with copies now.
        until: When an unconfirmed case stops holding copies; None: it does not stop by itself.
        exact_only: Only the very files are stopped: there is no perceptual hash, or one that would match strangers'.
        not_searched: Which hashes were left out, and why, in sentences.
        stopped: Uploads that were held or blocked because of it.
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
    clocks: tuple[Clock, ...]
    outcome: CaseOutcome | None = None
    until: datetime | None = None
    exact_only: bool = False
    not_searched: tuple[str, ...] = ()
    hash_counts: dict[str, int] = {}
    stopped: int = 0
    stopped_last: datetime | None = None
    copies_there: int = 0
    copies_removed: int = 0


class Copy(msgspec.Struct, frozen=True, kw_only=True):
    """A place where a copy is or was. `how`: by what it was noticed. `time`, `actor`, `reason`: of the last step."""

    place: str
    how: str
    state: CopyState
    time: datetime
    actor: str
    reason: str = ""


class Scan(msgspec.Struct, frozen=True, kw_only=True):
    """One look through what was there. `unread`: files that could not be read, of which nothing is known."""

    place: str
    begin_time: datetime
    end_time: datetime
    looked: int
    unread: int
    copies: int


class CaseRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What was taken down when, by whom. `missing`: what keeps the record from being complete, in sentences."""

    case: Case
    copies: tuple[Copy, ...]
    scans: tuple[Scan, ...]
    history: tuple[dict[str, Any], ...]
    missing: tuple[str, ...]
    is_complete: bool
    write_time: datetime


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """The digests that stop copies of an item, each with the variant that it is of; empty for the item itself.

    `not_searched`: what was left out and why, in sentences.
    """

    hashes: tuple[tuple[Hash, str], ...]
    not_searched: tuple[str, ...] = ()


@cache
def rules() -> dict[str, Rule]:
    """Return the rules by their ids."""
    table = tomllib.loads(files("hashhub.hook").joinpath("data/case_rules.toml").read_text("utf-8"))
    return {name: msgspec.convert({"name": name, **fields}, Rule) for name, fields in table["rules"].items()}


def item_of(media: MediaHashes) -> Item:
    """Return what stops copies of a file: its digests, and PDQ of the picture, its turns and what is in its border.

    A picture with too little in it has a PDQ that strangers' pictures have as well; it is looked for as that file only.
    """
    hashes: dict[Hash, str] = {}
    left_out: list[str] = []
    for h in media.digests:
        _take(hashes, h, "", None, left_out)
    for frame in media.frames:
        for h in frame.hashes:
            if h.algorithm == "PDQ":
                _take(hashes, h, "", frame.quality, left_out)
        for variant in frame.variants:
            for h in variant.hashes:
                if h.algorithm == "PDQ":
                    _take(hashes, h, variant.name, variant.quality, left_out)
    for shot in media.video_frames:
        if shot.quality >= MIN_PDQ_QUALITY and _why_useless(Hash("PDQ", shot.digest), shot.quality) is None:
            hashes.setdefault(Hash(VPDQ.name, shot.digest), "")
    return _bounded(hashes, left_out)


def item_of_hashes(given: Sequence[Hash]) -> Item:
    """Return what stops copies of an item of which only hashes are known."""
    hashes: dict[Hash, str] = {}
    left_out: list[str] = []
    for h in given:
        if is_exact(h.algorithm) or h.algorithm == "PDQ":
            _take(hashes, h, "", None, left_out)
        else:
            left_out.append(f"{h.algorithm}: cases are looked for by exact digests and PDQ")
    return _bounded(hashes, left_out)


def _take(hashes: dict[Hash, str], h: Hash, variant: str, quality: int | None, left_out: list[str]) -> None:
    if why := _why_useless(h, quality):
        line = f"{h.algorithm}: {why}"
        if line not in left_out:
            left_out.append(line)
    else:
        hashes.setdefault(h, variant)


def _why_useless(h: Hash, quality: int | None) -> str | None:
    """Return why this digest would stop what it is not about, or None."""
    inspection = inspect(Record(position="1", hashes=(h,), quality=quality if h.algorithm == "PDQ" else None))
    if inspection.disposition is Disposition.ACCEPTED:
        return None
    return inspection.notes[0][1] if inspection.notes else "it would match unrelated files"


def _bounded(hashes: dict[Hash, str], left_out: list[str]) -> Item:
    if not hashes:
        why = "; ".join(left_out) or "there are none"
        raise InvalidArgument.field("hashes", f"none of them can be looked for: {why}")
    taken = sorted(hashes.items(), key=lambda pair: (not is_exact(pair[0].algorithm), pair[1]))
    if len(taken) > MOST_HASHES:
        left_out.append(f"{len(taken) - MOST_HASHES} further digests: a case has {MOST_HASHES} at most")
    return Item(hashes=tuple(taken[:MOST_HASHES]), not_searched=tuple(left_out))


class Cases:
    """The cases in the hook's records. Several processes may work on them."""

    def __init__(self, records: Records, settings: CaseSettings) -> None:
        self._records = records
        self._settings = settings

    def open(
        self,
        item: Item,
        *,
        purpose: CasePurpose,
        complaint: str,
        reason: str,
        actor: str,
        receive_time: datetime,
        by_rules: Sequence[str] = ("own-48h",),
        places: Sequence[str] = (),
    ) -> Case:
        """Open a case; from when this returns, copies are stopped in every process that uses these records.

        `complaint`: the app's own reference of the report. `places`: where the complaint says that copies are.
        Raises InvalidArgument, PermissionDenied, or LimitExceeded when as many cases are open as the settings allow.
        """
        self._check(actor)
        complaint = plain_text("complaint", complaint, _MOST_NAME)
        reason = plain_text("reason", reason, _MOST_TEXT)
        places = tuple(dict.fromkeys(plain_text("place", place, _MOST_PLACE) for place in places))
        opened = now()
        _check_receive_time(receive_time, opened)
        _check_rules(by_rules, purpose)
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
                self._add_copy(name, place, "named by the complaint", actor)
            self._records.note(
                actor=actor,
                kind="case.opened",
                subject=name,
                reason=reason,
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
        """Record that somebody objects, such as whose upload was stopped: nothing is blocked until a person decides.

        `by`: who objects, as a reference of the app's own.
        """
        by = plain_text("by", by, _MOST_NAME) if by else ""
        with self._records.transaction():
            self._at(name, actor, CaseState.OPEN, CaseState.CONFIRMED, CaseState.DISPUTED)
            is_believed(self._records)  # as in `open`
            until = (now() + timedelta(days=self._settings.unconfirmed_days)).isoformat()
            return self._step(name, "case.disputed", actor, reason, state=CaseState.DISPUTED, until=until, by=by)

    def taken_down(self, name: str, places: Sequence[str], *, actor: str, reason: str, stays: bool = False) -> int:
        """Record that copies are gone, or that they may stay and why; none named: all that are there. Return how many;
        what is recorded so already keeps its time.

        Raises NotFound for a place that the case does not list.
        """
        self._at(name, actor, *CaseState)
        reason = plain_text("reason", reason, _MOST_TEXT)
        state = CopyState.STAYS if stays else CopyState.REMOVED
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
            kind = "case.copies_stay" if stays else "case.copies_removed"
            self._records.note(actor=actor, kind=kind, subject=name, reason=reason, count=count)
        return count

    def add_copy(self, name: str, place: str, how: str, *, actor: str) -> bool:
        """List a copy; return whether it is new. One that was removed and is there again is listed as there, and so is
        one of a place where another file may stay: one that was noticed by something else.
        """
        with self._records.transaction():
            return self._add_copy(name, place, how, actor)

    def _add_copy(self, name: str, place: str, how: str, actor: str) -> bool:
        place = place[:_MOST_PLACE]
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

    def add_scan(self, name: str, scan: Scan, *, actor: str) -> None:
        """Record a look through what was there."""
        with self._records.transaction():
            self._records.write(
                "INSERT INTO case_scan (case_id, place, begin_time, end_time, looked, unread, copies) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                (name, scan.place[:_MOST_PLACE], scan.begin_time.isoformat(), scan.end_time.isoformat(), scan.looked,
                 scan.unread, scan.copies),
            )  # fmt: skip
            self._records.note(
                actor=actor,
                kind="case.scanned",
                subject=name,
                looked=scan.looked,
                unread=scan.unread,
                copies=scan.copies,
            )

    def close(
        self, name: str, outcome: CaseOutcome, *, actor: str, reason: str, incomplete: bool = False
    ) -> CaseRecord:
        """End a case and return its record. UPHELD needs a person's confirmation; other outcomes erase the hashes.

        Raises FailedPrecondition when something is missing of a case that is upheld, unless `incomplete` says that this
        is known; the record says what.
        """
        with self._records.transaction():
            case = self._at(name, actor, CaseState.OPEN, CaseState.CONFIRMED, CaseState.DISPUTED, CaseState.EXPIRED)
            if outcome is CaseOutcome.UPHELD:
                if case.state is not CaseState.CONFIRMED:
                    raise FailedPrecondition(
                        f"nobody has confirmed {name}, or somebody disputes it; run `hashhub hook case confirm` first"
                    )
                missing = self._missing(case, self.copies(name), self.scans(name), closing=True)
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
        copies, scans = self.copies(name), self.scans(name)
        missing = self._missing(case, copies, scans, closing=False)
        return CaseRecord(
            case=case,
            copies=tuple(copies),
            scans=tuple(scans),
            history=tuple(_shown(event) for event in self._records.events(subject=name)),
            missing=missing,
            is_complete=not missing,
            write_time=now(),
        )

    def copies(self, name: str) -> list[Copy]:
        """Return the copies that a case lists, by their places."""
        rows = self._records.rows(
            "SELECT place, how, state, time, actor, reason FROM case_copy WHERE case_id = ? ORDER BY place", (name,)
        )
        return [
            Copy(place=p, how=h, state=CopyState(s), time=datetime.fromisoformat(t), actor=a, reason=r)
            for p, h, s, t, a, r in rows
        ]

    def scans(self, name: str) -> list[Scan]:
        """Return the looks through what was there, the oldest first."""
        rows = self._records.rows(
            "SELECT place, begin_time, end_time, looked, unread, copies FROM case_scan WHERE case_id = ? "
            "ORDER BY number",
            (name,),
        )
        return [
            Scan(
                place=p, begin_time=datetime.fromisoformat(b), end_time=datetime.fromisoformat(e), looked=n, unread=u,
                copies=c,
            )
            for p, b, e, n, u, c in rows
        ]  # fmt: skip

    def hashes(self, name: str) -> list[tuple[Hash, str]]:
        """Return the digests of a case with the variants that they are of; none of one that was not upheld."""
        rows = self._records.rows("SELECT algorithm, digest, variant FROM case_hash WHERE case_id = ?", (name,))
        return [(Hash(algorithm, digest), variant) for algorithm, digest, variant in rows]

    def version(self) -> tuple[int, int]:
        """Return what differs once a case has changed, in whichever process."""
        return self._records.version()

    def take(self) -> bool:
        """Have the records, as `Records.take`."""
        return self._records.take()

    def give_back(self) -> None:
        """Let others have the records."""
        self._records.give_back()

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
        self._records.note(
            actor=actor, kind="case.shared", subject=name, reason=reason, hash_set=hash_set, hash_count=count
        )

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
            self._records.note(actor=actor, kind=kind, subject=name, reason=reason, **details)
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
            actor=HOOK,
            kind="case.held_longer",
            subject=name,
            reason="the clock was behind when its time began",
            until=until.isoformat(),
        )

    def _expire(self, name: str) -> None:
        self._records.write(
            "UPDATE hook_case SET state = 'EXPIRED', change = ? WHERE id = ?", (self.last_change() + 1, name)
        )
        self._records.write("DELETE FROM case_hash WHERE case_id = ?", (name,))
        self._records.note(actor=HOOK, kind="case.expired", subject=name, reason="nobody confirmed it in time")

    def _case(self, row: tuple[Any, ...]) -> Case:
        name, state, outcome, until, facts, stopped, stopped_last = row
        said = msgspec.json.decode(facts, type=Facts)
        counts = dict(
            self._records.rows("SELECT algorithm, count(*) FROM case_hash WHERE case_id = ? GROUP BY 1", (name,))
        )
        copies = dict(self._records.rows("SELECT state, count(*) FROM case_copy WHERE case_id = ? GROUP BY 1", (name,)))
        ended = CaseOutcome(outcome) if outcome else None
        case = Case(
            name=name,
            state=CaseState(state),
            purpose=said.purpose,
            complaint=said.complaint,
            reason=said.reason,
            receive_time=said.receive_time,
            open_time=said.open_time,
            opened_by=said.opened_by,
            action=self.action(CaseState(state), ended),
            clocks=(),
            outcome=ended,
            until=datetime.fromisoformat(until) if until else None,
            exact_only=said.exact_only,
            not_searched=said.not_searched,
            hash_counts={name: counts[name] for name in (*ALGORITHMS, VPDQ.name) if name in counts},
            stopped=stopped,
            stopped_last=datetime.fromisoformat(stopped_last) if stopped_last else None,
            copies_there=copies.get(CopyState.THERE, 0),
            copies_removed=copies.get(CopyState.REMOVED, 0),
        )
        return msgspec.structs.replace(case, clocks=self._clocks(case, said.rules))

    def _clocks(self, case: Case, names: Sequence[str]) -> tuple[Clock, ...]:
        done = self._done_time(case)
        clocks = []
        for name in names:
            rule = rules()[name]
            due = case.receive_time + timedelta(hours=rule.hours) if rule.hours is not None else None
            if case.state is CaseState.CLOSED and case.outcome is not CaseOutcome.UPHELD:
                standing = Standing.ENDED
            elif due is None:
                standing = Standing.NO_NUMBER
            elif done is not None and done > due:
                standing = Standing.OVERDUE
            elif done is not None:
                standing = Standing.MET if self._is_proven(case, done, due) else Standing.UNPROVEN
            else:
                standing = Standing.RUNNING if now() <= due else Standing.OVERDUE
            clocks.append(Clock(rule=name, title=rule.title, due=due, standing=standing, source=rule.source))
        return tuple(clocks)

    def _is_proven(self, case: Case, done: datetime, due: datetime) -> bool:
        """Whether it was done in time whatever the clock says: not before there was anything to do, nor by a clock
        that was behind.
        """
        return done >= case.receive_time and Times(self._records).latest(done, case.name) <= due

    def _done_time(self, case: Case) -> datetime | None:
        """Return when the last thing was done that the case asks for; None while something is missing."""
        if case.state not in {CaseState.CONFIRMED, CaseState.CLOSED}:
            return None
        copies, looked = self.copies(case.name), _looked_through(self.scans(case.name))
        if any(c.state is CopyState.THERE for c in copies) or looked is None:
            return None
        return max([looked, *(c.time for c in copies)])

    def _missing(self, case: Case, copies: list[Copy], scans: list[Scan], *, closing: bool) -> tuple[str, ...]:
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
        for clock in case.clocks:
            if clock.standing is Standing.OVERDUE and clock.due is not None:
                missing.append(f"{clock.rule} was due at {clock.due.isoformat()}")
            elif clock.standing is Standing.UNPROVEN and clock.due is not None:
                missing.append(
                    f"{clock.rule} was due at {clock.due.isoformat()}, and when it was done is known only by a clock "
                    "that was behind"
                )
        if case.state is not CaseState.CLOSED and not closing:
            missing.append("the case is not closed")
        return tuple(missing)


def _check_receive_time(receive_time: datetime, at: datetime) -> None:
    """Raise InvalidArgument for a complaint of the future, one of long ago, and one whose time has no time zone."""
    if receive_time.tzinfo is None:
        raise InvalidArgument.field("received", "must have a time zone, such as 2027-01-31T12:00:00Z")
    if receive_time < _EARLIEST:
        raise InvalidArgument.field("received", "is too long ago to be when a complaint came; check the year")
    if receive_time > at + _SKEW:
        raise InvalidArgument.field(
            "received",
            f"lies in the future by this machine's clock, which says {_time(at)}; give the time at which the "
            "complaint came, or set the clock",
        )


def _check_rules(names: Sequence[str], purpose: CasePurpose) -> None:
    """Raise InvalidArgument unless these are rules about such cases, one at least."""
    for name in names:
        rule = rules().get(name)
        if rule is None:
            raise InvalidArgument.field("rule", f"must be one of {', '.join(rules())}, got {name[:40]!r}")
        if purpose not in rule.purposes:
            raise InvalidArgument.field("rule", f"{name} is not about cases of purpose {purpose.lower()}")
    if not names:
        raise InvalidArgument.field("rule", "name at least one, so that there is a clock")


def _name(actor: str) -> str:
    """Return the name of a person, or of the account that acts while there are no persons."""
    return actor.removeprefix(ACCOUNT)


def _looked_through(scans: list[Scan]) -> datetime | None:
    """Return when every place had been looked through without a gap; None where one has not. A later look that comes
    upon nothing makes that no later.
    """
    since: dict[str, datetime | None] = {}
    for scan in scans:
        since[scan.place] = None if scan.unread else since.get(scan.place) or scan.end_time
    times = [time for time in since.values() if time is not None]
    return max(times) if times and len(times) == len(since) else None


_SELECT: Final = "SELECT id, state, outcome, until, facts, stopped, stopped_last FROM hook_case"


def _shown(event: Event) -> dict[str, Any]:
    return {
        "number": event.number,
        "time": event.time.isoformat().replace("+00:00", "Z"),
        "actor": event.actor,
        "kind": event.kind,
        "reason": event.reason,
        "details": event.details,
    }


def plain_text(field: str, text: str, most: int) -> str:
    """Return a text that may stand in records and drafts. Raises InvalidArgument for an empty one, one with control
    characters or of more than `most` characters.
    """
    text = text.strip()
    if not text:
        raise InvalidArgument.field(field, "must not be empty")
    if len(text) > most:
        raise InvalidArgument.field(field, f"must have at most {most} characters, got {len(text)}")
    if not text.replace("\n", " ").isprintable():
        raise InvalidArgument.field(field, "must not have control characters, or characters that turn the writing")
    return text


def page(record: CaseRecord) -> str:
    """Return the record as a page to read or print (Markdown)."""
    case = record.case
    state = f"{case.state.lower()}, {case.outcome.lower()}" if case.outcome else case.state.lower()
    lines = [
        f"# {case.name}",
        "",
        f"{'Complete.' if record.is_complete else 'NOT complete:'}",
        *(f"- {line}" for line in record.missing),
        "",
        f"- complaint: {_cell(case.complaint)}, about {case.purpose.lower().replace('_', ' ')}",
        f"- received {_time(case.receive_time)}, opened {_time(case.open_time)} by {_cell(case.opened_by)}",
        f"- reason: {_cell(case.reason)}",
        f"- state: {state}; copies are now: {case.action}",
        f"- uploads stopped: {case.stopped}",
        *(f"- not looked for: {_cell(line)}" for line in case.not_searched),
        "",
        "## Clocks (for legal review)",
        "",
        "| rule | due | standing | source |",
        "|---|---|---|---|",
        *(f"| {_cell(c.title)} | {_due(c)} | {_standing(c)} | {c.source} |" for c in case.clocks),
        "",
        "## Copies",
        "",
        *_copies(record.copies),
        "",
        "## Looked through",
        "",
        *(
            f"- {_cell(s.place)}: {s.looked} files, {s.unread} unread, {s.copies} copies; "
            f"{_time(s.begin_time)} to {_time(s.end_time)}"
            for s in record.scans
        ),
        *(["Nothing."] if not record.scans else []),
        "",
        "## What was done",
        "",
        *(f"- {e['time']} {e['kind']} by {_cell(e['actor'])}{_because(e['reason'])}" for e in record.history),
        "",
        f"Written {_time(record.write_time)}.",
        "",
    ]
    return "\n".join(lines)


def _copies(copies: Sequence[Copy]) -> list[str]:
    if not copies:
        return ["None were noticed."]
    return [
        "| place | noticed | state | when | by whom | reason |",
        "|---|---|---|---|---|---|",
        *(
            f"| {_cell(c.place)} | {_cell(c.how)} | {c.state.lower()} | {_time(c.time)} | {_cell(c.actor)} | "
            f"{_cell(c.reason)} |"
            for c in copies
        ),
    ]


def _due(clock: Clock) -> str:
    return _time(clock.due) if clock.due else "no number of hours"


def _standing(clock: Clock) -> str:
    return clock.standing.lower() if clock.due else "-"


def _because(reason: str) -> str:
    return f": {_cell(reason)}" if reason else ""


def _cell(text: str) -> str:
    """Return the text on one line, without what a page would read as its own."""
    shown = "".join(c if c.isprintable() else " " for c in text)
    return "".join(f"\\{c}" if c in "\\|`*_[]<>#&" else c for c in shown)


def _time(time: datetime) -> str:
    return time.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
