"""The history: who did what, when and why, as far as the one who asks may know it; and whether it is whole."""

from __future__ import annotations

import re
import time
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from hashhub.errors import DataLoss, HashHubError, InvalidArgument, NotFound, PermissionDenied
from hashhub.hub import access
from hashhub.hub.access import TOLD
from hashhub.hub.log import LAST, TransparencyLog
from hashhub.hub.revert import Revert
from hashhub.local_files import written
from hashhub.model import Actor, Entry, Event, EventKind, Principal, RevertedEvent, Role
from hashhub.store import ExaminationPlace, Position, Store
from hashhub.store.entries import no_entry
from hashhub.store.events import MAX_REVISION

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from hashhub.config import Config
    from hashhub.hub.follow import Follower

_SCAN: Final = 5_000  # events looked at for one page, where few of them are for the caller
PIECE: Final = 500
CHANGES: Final = 20_000  # revisions whose changes are looked at for one page of an entry's history: some 10 ms
MOST: Final = 1_000_000  # entries, and digests, that one examination compares: half a minute
_PLACE: Final = "doctor.json"  # in the data directory: where the next look goes on
_TOLD: Final = 100  # differences of an examination
_HEAD: Final = re.compile(r"([0-9]{1,19}):([0-9a-f]{64})", re.IGNORECASE)
_Page = tuple[list[Event], int]

# What outsiders are told of an entry that they may see, and under which name.
_OF_ENTRIES: Final = {
    kind: kind
    for kind in (
        EventKind.IMPORT_COMMITTED,
        EventKind.ENTRIES_WITHDRAWN,
        EventKind.ENTRIES_RESTORED,
        EventKind.ENTRIES_QUARANTINED,
        EventKind.ENTRIES_RELEASED,
        EventKind.ENTRIES_REVIEWED,
    )
} | {EventKind.ENTRIES_EXPIRED: EventKind.ENTRIES_WITHDRAWN}

_UNTOLD: Final = frozenset({"request", "again"})  # facts of events that changed nothing which outsiders see


class History:
    """Events, and undoing them."""

    def __init__(self, store: Store, follower: Follower, log: TransparencyLog) -> None:
        self._store = store
        self._follower = follower
        self._log = log

    def list(
        self,
        principal: Principal,
        subject: str,
        actor: str,
        since: datetime | None,
        page_size: int,
        before: int,
        *,
        kinds: frozenset[str] = frozenset(),
    ) -> tuple[list[Event], int]:
        """Return events, the newest first, before the revision `before` (0: from the newest on), and where to go on (0:
        no more). A page may be short, even empty, and go on. `subject`: only about this resource, or what is in it.
        `kinds`: only these, as the caller is told them; none: all.

        Operators and auditors read everything. A contributor reads what concerns its own resources and those that its
        terms name, what its tokens wrote, and what happened to others' entries that it may see. Raises NotFound for an
        entry.
        """
        access.allow(principal, Role.OPERATOR, Role.AUDITOR, Role.CONTRIBUTOR)
        if unknown := sorted(kinds - set(EventKind)):
            raise InvalidArgument.field("kinds", f"must be kinds of events, got {unknown[0][:60]!r}", "UNKNOWN")
        if not 0 <= before <= MAX_REVISION:
            raise InvalidArgument.field("before_revision", "must be a revision, or 0", "OUT_OF_RANGE")
        reader = _Reader(self._store, principal)
        if subject.startswith("entries/"):
            return self._of_entry(reader, subject, actor, since, page_size, before, kinds)
        events: list[Event] = []
        for _ in range(0, _SCAN, PIECE):
            piece = self._store.history.list_events(
                subjects=_subjects(subject) if subject else (),
                actor=actor,
                since=since,
                before_revision=before,
                limit=PIECE,
            )
            for event in piece:
                before = event.revision
                shown = _asked_for(reader, event, actor, kinds, about="")
                if shown is not None:
                    events.append(shown)
                if len(events) == page_size:
                    return events, before
            if len(piece) < PIECE:
                return events, 0
        return events, before

    def _of_entry(
        self,
        reader: _Reader,
        subject: str,
        actor: str,
        since: datetime | None,
        page_size: int,
        before: int,
        kinds: frozenset[str],
    ) -> _Page:
        """Return a page of an entry's history, as `list` does."""
        _, contributor, hash_set, entry_id = subject.split("/")
        if not reader.sees_set(f"{contributor}/{hash_set}"):
            raise no_entry(subject.removeprefix("entries/"))
        entry = self._store.entries.get_entry(contributor, hash_set, int(entry_id))
        events: list[Event] = []
        looks = _EntryRevisions(self._store, entry, subject, since)
        for _ in range(0, _SCAN, PIECE):
            revisions, below = looks.before(before)
            # `since` holds for each event, not only for the stretch that it is in.
            for event in self._store.history.list_events(actor=actor, since=since, revisions=revisions, limit=PIECE):
                shown = _asked_for(reader, event, actor, kinds, about=subject)
                if shown is not None:
                    events.append(shown)
                if len(events) == page_size:
                    return events, event.revision
            before = below
            if not below or not looks.remaining:
                break
        return events, before

    def receipt(self, principal: Principal, revision: int) -> tuple[bytes, bytes]:
        """Return an event as the log has it, salt first, and the proof that it does, to who may read all of it. Raises
        NotFound, PermissionDenied; FailedPrecondition and Unavailable as `TransparencyLog.receipt`.
        """
        access.allow(principal, Role.OPERATOR, Role.AUDITOR, Role.CONTRIBUTOR)
        event = self._store.history.get_event(revision)
        shown = _Reader(self._store, principal).shown(event, about="")
        if shown is None:
            raise NotFound(f"there is no event {revision}", kind="Event", name=str(revision))
        if shown != event:
            raise PermissionDenied(
                f"event {revision} names a token of others; ask them, or an operator, for the receipt"
            )
        return self._log.receipt(revision)

    def redact(self, principal: Principal, revision: int) -> Event:
        """Erase the details of an event; the log still verifies. Doing it twice is a success. Raises NotFound."""
        access.allow(principal, Role.OPERATOR)
        return self._store.history.redact_event(revision, by=access.actor(principal))

    def revert(
        self,
        principal: Principal,
        actor: str,
        since: datetime,
        *,
        withdrawals_only: bool = False,
        comment: str = "",
        validate_only: bool = False,
    ) -> Sequence[RevertedEvent]:
        """Undo what a token wrote since a time, the newest first, as far as nobody else has changed it since; say what
        became, or with `validate_only` would become, of each. It goes on where it was cut off. Raises InvalidArgument.
        """
        access.allow(principal, Role.OPERATOR)
        if not validate_only and not comment.strip():
            raise InvalidArgument.field("comment", "must say why this is undone", "REQUIRED")
        revert = Revert(self._store, access.actor(principal), dry=validate_only)
        try:
            return revert.undo(actor, since, withdrawals_only=withdrawals_only, comment=comment)
        finally:
            self._follower.catch_up()


class _EntryRevisions:
    """Where an entry's history is looked for, for one page: `remaining` more revisions of the feed at most."""

    def __init__(self, store: Store, entry: Entry, subject: str, since: datetime | None) -> None:
        self._store, self._entry, self._subject, self._since = store, entry, subject, since
        self.remaining = CHANGES
        self._own = {entry.create_revision}
        if entry.withdrawal is not None and entry.withdrawal.pending:  # asked for together with others
            self._own.add(entry.withdrawal.revision)
        # No change is about an entry that is not there yet, and none since it was moved last, but for a list that lets
        # reviews of earlier statements count for it.
        self._last = MAX_REVISION
        if not store.entries.is_reviewed(entry.id):
            self._last = max(entry.create_revision, entry.update_revision)

    def before(self, before: int) -> tuple[Sequence[int], int]:
        """Return the last revisions of the entry's history before one (0: of all), the newest first, PIECE at most and
        perhaps some others, and below which one to go on (0: there are no more).
        """
        store, entry = self._store, self._entry
        low = 0 if self._since is None else store.history.first_since(self._since) - 1
        end = before or store.history.position().revision + 1
        below = 0
        first, last = max(low, entry.create_revision - 1), min(end, self._last + 1)
        if last - first - 1 > self.remaining:  # both ends are left out
            low = first = last - 1 - self.remaining
            below = low + 1
        self.remaining -= max(0, last - first - 1)
        revisions = {
            *(r for r in self._own if low < r < end),
            # A review can be older than the entry: it was taken over.
            *store.entries.review_revisions(entry.id, low, end, PIECE),
            *store.history.revisions_of(self._subject, low, end, PIECE),
        }
        if first < last:
            revisions.update(store.feeds.revisions_about(entry.id, first, last, PIECE))
        page = sorted(revisions, reverse=True)[:PIECE]
        return page, page[-1] if len(page) == PIECE else below


def _asked_for(reader: _Reader, event: Event, actor: str, kinds: frozenset[str], *, about: str) -> Event | None:
    """Return the event as the reader may read it; None for nothing of it, where another than `actor` wrote it, and
    where it is of none of the `kinds`.
    """
    shown = reader.shown(event, about=about)
    # Who is not told which token wrote something, or what kind it is of, must not find it out by asking for one.
    is_meant = shown is not None and actor in {"", shown.actor.name} and (not kinds or shown.kind in kinds)
    return shown if is_meant else None


class _Reader:
    """What one principal may read of the history."""

    def __init__(self, store: Store, principal: Principal) -> None:
        self._principal = principal
        self._sees_all = principal.role in access.OVERSEERS
        registry = store.resources.registry()
        self._visible = access.sight(principal, registry, access.DisclosureChannel.ANSWER).visible
        self._tokens: set[str] = set()
        self._groups: frozenset[str] = frozenset()
        if not self._sees_all:
            self._tokens = {t.name for t in store.tokens.list_tokens() if t.contributor == principal.contributor}
            self._groups = access.groups_named_by(principal.contributor, registry)

    def sees_set(self, name: str) -> bool:
        return name in self._visible

    def shown(self, event: Event, *, about: str) -> Event | None:
        """Return the event as this reader may read it, None for nothing of it. `about`: whose history it is."""
        # What an operator wrote is about everybody, whichever organisation its token belongs to.
        is_own = event.actor.contributor == self._principal.contributor and event.actor.role is not Role.OPERATOR
        if self._sees_all or is_own:
            return event
        if self._concerns(about or event.subject):
            return msgspec.structs.replace(event, actor=_without_name(event.actor))
        subject = about or event.subject
        kind = _OF_ENTRIES.get(event.kind)
        # That an entry which is withdrawn already was withdrawn once more, or erased, would tell that it is the wish of
        # the person shown.
        if kind is None or not event.facts.keys().isdisjoint(_UNTOLD) or not subject.startswith("entries/"):
            return None
        _, contributor, hash_set, _ = subject.split("/")
        if not self.sees_set(f"{contributor}/{hash_set}"):
            return None
        is_told = kind is EventKind.ENTRIES_REVIEWED or event.reason in TOLD
        return Event(
            revision=event.revision,
            time=event.time,
            actor=_without_name(event.actor),
            kind=kind,
            subject=subject,
            reason=event.reason if is_told else "",
            details={},
            digest=event.digest,
        )

    def _concerns(self, subject: str) -> bool:
        collection, _, name = subject.partition("/")
        match collection:
            case "contributors" | "hash-sets" | "entries" | "imports" | "webhooks":
                return name.partition("/")[0] == self._principal.contributor
            case "tokens":
                return name in self._tokens
            case "groups":
                return name in self._groups
            case _:
                return False


def _without_name(actor: Actor) -> Actor:
    """Return who acted without the token's name, unless it was the hub itself."""
    return Actor("" if actor.contributor else actor.name, actor.contributor, actor.role)


def _subjects(subject: str) -> Sequence[str]:
    """Return what events about a resource, or about what is in it, name."""
    collection, _, name = subject.partition("/")
    if collection == "contributors":
        return [f"{c}/{name}" for c in ("contributors", "hash-sets", "entries", "imports", "webhooks")]
    if collection == "hash-sets":
        return [f"{c}/{name}" for c in ("hash-sets", "entries", "imports")]
    return [subject]


class Examination(msgspec.Struct, frozen=True, kw_only=True):
    """What was found. `head`: `REVISION:SHA256` of the history as it is, empty when it is broken."""

    is_sound: bool
    head: str
    lines: tuple[str, ...]


def head_text(position: Position) -> str:
    """Return the head of a history as people and commands write it."""
    return f"{position.revision}:{position.digest.hex()}"


def examine(
    config: Config, *, head: str | None = None, checkpoint: bytes = b"", mend: str = "", is_full: bool = False
) -> Examination:
    """Verify the history of the configured database, and compare the rows that decide with it: MOST entries and digests
    from where the last look ended, or with `is_full` all. `head`: it must have been there once, as must what a
    `checkpoint` says. `mend`: begin a new log behind a break, for this reason. Raises NotFound, FailedPrecondition
    without a database.
    """
    expected = None
    if head is not None:
        parts = _HEAD.fullmatch(head.strip())
        if parts is None:
            raise InvalidArgument.field(
                "head", "must be REVISION:SHA256, the digest in 64 hexadecimal digits", "PATTERN"
            )
        expected = Position(int(parts[1]), bytes.fromhex(parts[2]))
    store = Store.open(config.database_url() or Path(config.data), create=False)
    try:
        lines: list[str] = []
        log = TransparencyLog(store, config)
        began = time.monotonic()
        try:
            position = store.history.verify_history(store.database_id)
        except DataLoss as e:
            lines.append(e.message)
            if not mend:
                lines.append("if no backup is left and the cause is known: hashhub doctor --mend --comment TEXT")
                return Examination(is_sound=False, head="", lines=tuple(lines))
            log.begin(EventKind.HISTORY_MENDED, comment=mend)
            position = store.history.verify_history(store.database_id)
            lines.append(f"a new log begins at revision {position.revision}; the break stays on record")
        lines.append(f"the history is whole: {position.revision} revisions, read in {time.monotonic() - began:.1f} s")
        lines.append(f"head {head_text(position)}")
        is_sound = True
        if expected is not None:
            is_sound, line = _compared(store, expected, position)
            lines.append(line)
        if checkpoint:
            lacking = log.lacks(checkpoint)
            is_sound &= not lacking
            lines.append(lacking or "it contains the checkpoint")
        if (Path(config.data) / LAST).exists() and (faults := log.warnings()):
            is_sound = False
            lines += faults
        if damage := store.damage(is_full=is_full):
            is_sound &= damage.startswith("warning")
            lines.append(damage)
        path = Path(config.data) / _PLACE
        try:
            place = ExaminationPlace() if is_full else msgspec.json.decode(path.read_bytes(), type=ExaminationPlace)
        except (OSError, msgspec.MsgspecError):
            place = ExaminationPlace()
        before, began, look = store.revision(), time.monotonic(), store.examination(place)
        most = None if is_full else MOST
        # Of what stood in a broken part nothing is known any more: who mends it has looked at that.
        different = [] if mend else list(islice(look.differences(most), _TOLD + 1))
        if different and store.revision() > before:  # a hub that runs has written between one read and the next
            look = store.examination(place)
            again = set(islice(look.differences(most), 10 * _TOLD))
            different = [line for line in different if line in again]
        lines += different[:_TOLD]
        lines.append(
            f"NOT as the history says: the {'first ' if different[_TOLD:] else ''}{len(different[:_TOLD])} above"
            if different
            else "the rows that decide are what the history says of them"
        )
        is_all = not (place.entry or look.place.entry or place.digest or look.place.digest)
        how = "all" if is_all else "the next look goes on behind these; --full compares all"
        lines.append(f"{look.entries} entries compared ({how}), in {time.monotonic() - began:.1f} s")
        if not different:
            with suppress(HashHubError), written(path, replace=True) as file:
                file.write(msgspec.json.encode(look.place))
        is_sound &= not different
        return Examination(is_sound=is_sound, head=head_text(position), lines=tuple(lines))
    finally:
        store.close()


def _compared(store: Store, expected: Position, end: Position) -> tuple[bool, str]:
    """Return whether the history contains a head, and say so. A mended break may lie before it."""
    head = head_text(expected)
    if expected.revision > end.revision or not store.history.has_been_at(expected):
        return (
            False,
            f"it does NOT contain the head {head}: it was rewritten since, or a backup made before was restored",
        )
    try:
        store.history.verify_history(store.database_id, expected)
    except DataLoss as e:
        return False, f"the head {head} stands in it, but the history does not lead to it ({e.message})"
    return True, f"it contains the head {head}"
