"""The history: who did what, when and why, as far as the one who asks may know it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from hashhub.errors import InvalidArgument
from hashhub.hub import access
from hashhub.hub.entries import TOLD
from hashhub.hub.revert import Revert
from hashhub.model import Actor, Entry, Event, EventKind, Principal, RevertedEvent, Role
from hashhub.store.writing import no_entry

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from hashhub.hub.follow import Follower
    from hashhub.store import Store

_SCAN: Final = 5_000  # events looked at for one page, where few of them are for the caller
_PIECE: Final = 500

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

    def __init__(self, store: Store, follower: Follower) -> None:
        self._store = store
        self._follower = follower

    def list(
        self, principal: Principal, subject: str, actor: str, since: datetime | None, page_size: int, before: int
    ) -> tuple[list[Event], int]:
        """Return events, the newest first, before the revision `before` (0: from the newest on), and where to go on (0:
        no more).

        `subject`: only about this resource, or what is in it, as events name it. Operators and auditors read
        everything. A contributor reads what concerns its own resources and those that its terms name, and what its
        tokens wrote; of others' entries that it may see, what happened to them. Where few events are for the caller a
        page may be short, even empty, and go on all the same.

        Raises NotFound for an entry that the caller may not see.
        """
        access.allow(principal, Role.OPERATOR, Role.AUDITOR, Role.CONTRIBUTOR)
        reader = _Reader(self._store, principal)
        entry = self._entry(reader, subject) if subject.startswith("entries/") else None
        revisions: Sequence[int] | None = None
        events: list[Event] = []
        scanned = 0
        while scanned < _SCAN:
            if entry is not None:
                revisions = self._about_entry(entry, subject, since, before)
                if not revisions:
                    return events, 0
            piece = self._store.history.list_events(
                subjects=() if revisions is not None or not subject else _subjects(subject),
                actor=actor,
                since=since,
                before_revision=before,
                revisions=revisions,
                limit=_PIECE,
            )
            for event in piece:
                shown = reader.shown(event, about=subject if revisions is not None else "")
                # Who is not told which token wrote something must not find it out by asking for one.
                if shown is not None and actor in {"", shown.actor.name}:
                    events.append(shown)
                before = event.revision
                if len(events) == page_size:
                    return events, before
            if len(piece if revisions is None else revisions) < _PIECE:
                return events, 0
            if revisions is not None:
                before = revisions[-1]
            scanned += _PIECE
        return events, before

    def redact(self, principal: Principal, revision: int) -> Event:
        """Erase the details of an event; the chain still verifies. Doing it twice is a success. Raises NotFound."""
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
        became of each.

        With `validate_only` it says what would become of each. Running it again goes on where it was cut off. Raises
        InvalidArgument without a comment.
        """
        access.allow(principal, Role.OPERATOR)
        if not validate_only and not comment.strip():
            raise InvalidArgument.field("comment", "must say why this is undone", "REQUIRED")
        revert = Revert(self._store, access.actor(principal), dry=validate_only)
        try:
            return revert.undo(actor, since, withdrawals_only=withdrawals_only, comment=comment)
        finally:
            self._follower.catch_up()

    def _entry(self, reader: _Reader, subject: str) -> Entry:
        """Return the entry that a subject is. Raises NotFound where the reader may not see it."""
        _, contributor, hash_set, entry_id = subject.split("/")
        if not reader.sees_set(f"{contributor}/{hash_set}"):
            raise no_entry(subject.removeprefix("entries/"))
        return self._store.entries.get_entry(contributor, hash_set, int(entry_id))

    def _about_entry(self, entry: Entry, subject: str, since: datetime | None, before: int) -> Sequence[int]:
        """Return the last revisions of an entry's history before one (0: of all), the newest first, _PIECE at most: all
        those since a time, and perhaps others.
        """
        store = self._store
        own = {entry.create_revision}
        if entry.withdrawal is not None and entry.withdrawal.pending:  # asked for together with others
            own.add(entry.withdrawal.revision)
        revisions: set[int] = set()
        for after, end in store.history.stretches(since, before):
            revisions.update(
                [r for r in own if after < r and (not end or r < end)],
                # No change is about an entry that is not there yet; a review can be: it was taken over.
                store.feeds.revisions_about(entry.id, max(after, entry.create_revision - 1), end, _PIECE),
                store.entries.review_revisions(entry.id, after, end, _PIECE),
                store.history.revisions_of(subject, after, end, _PIECE),
            )
            if len(revisions) >= _PIECE:
                break
        return sorted(revisions, reverse=True)[:_PIECE]


class _Reader:
    """What one principal may read of the history."""

    def __init__(self, store: Store, principal: Principal) -> None:
        self._principal = principal
        self._sees_all = principal.role in access.OVERSEERS
        registry = store.resources.registry()
        self._visible = access.sight(principal, registry, access.WayOut.ANSWER).visible
        self._tokens: set[str] = set()
        self._groups: frozenset[str] = frozenset()
        if not self._sees_all:
            self._tokens = {t.name for t in store.tokens.list_tokens() if t.contributor == principal.contributor}
            self._groups = access.groups_named_by(principal.contributor, registry)

    def sees_set(self, name: str) -> bool:
        return name in self._visible

    def shown(self, event: Event, *, about: str) -> Event | None:
        """Return the event as this reader may read it, None for nothing of it.

        `about`: the entry whose history is read.
        """
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
    """Return who acted without the token's name: others learn the contributor, not the person.

    The hub itself stays named.
    """
    return Actor("" if actor.contributor else actor.name, actor.contributor, actor.role)


def _subjects(subject: str) -> Sequence[str]:
    """Return what events about a resource, or about what is in it, name."""
    collection, _, name = subject.partition("/")
    if collection == "contributors":
        return [f"{c}/{name}" for c in ("contributors", "hash-sets", "entries", "imports", "webhooks")]
    if collection == "hash-sets":
        return [f"{c}/{name}" for c in ("hash-sets", "entries", "imports")]
    return [subject]
