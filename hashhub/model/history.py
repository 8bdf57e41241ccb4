"""What was done, when and by whom."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

import msgspec

from hashhub.model.resources import Actor


class EventKind(StrEnum):
    """What a revision did, by name. The history is read for years: never rename one."""

    HISTORY_MENDED = "HISTORY_MENDED"
    LOG_BEGUN = "LOG_BEGUN"
    CONTRIBUTOR_CREATED = "CONTRIBUTOR_CREATED"
    CONTRIBUTOR_UPDATED = "CONTRIBUTOR_UPDATED"
    CONTRIBUTOR_RETIRED = "CONTRIBUTOR_RETIRED"
    SIGNING_KEY_ADDED = "SIGNING_KEY_ADDED"
    SIGNING_KEY_REVOKED = "SIGNING_KEY_REVOKED"
    OBJECTIONS_ACCEPTED = "OBJECTIONS_ACCEPTED"
    SCHEME_PUT = "SCHEME_PUT"
    SCHEME_SIGNED_OFF = "SCHEME_SIGNED_OFF"
    SCHEME_RETIRED = "SCHEME_RETIRED"
    POLICY_PUT = "POLICY_PUT"
    POLICY_RETIRED = "POLICY_RETIRED"
    HUB_NAMED = "HUB_NAMED"
    GROUP_CREATED = "GROUP_CREATED"
    GROUP_UPDATED = "GROUP_UPDATED"
    GROUP_DELETED = "GROUP_DELETED"
    HASH_SET_CREATED = "HASH_SET_CREATED"
    HASH_SET_UPDATED = "HASH_SET_UPDATED"
    HASH_SET_ACCEPTED = "HASH_SET_ACCEPTED"
    TERMS_CHANGED = "TERMS_CHANGED"
    TERMS_EXPIRED = "TERMS_EXPIRED"
    TOKEN_CREATED = "TOKEN_CREATED"  # noqa: S105 - the name of an event
    TOKEN_UPDATED = "TOKEN_UPDATED"  # noqa: S105 - likewise
    TOKEN_ROTATED = "TOKEN_ROTATED"  # noqa: S105 - likewise
    TOKEN_DELETED = "TOKEN_DELETED"  # noqa: S105 - likewise
    IMPORT_STAGED = "IMPORT_STAGED"
    IMPORT_COMMITTED = "IMPORT_COMMITTED"
    IMPORT_EXPIRED = "IMPORT_EXPIRED"
    ENTRIES_WITHDRAWN = "ENTRIES_WITHDRAWN"
    WITHDRAWAL_ASKED = "WITHDRAWAL_ASKED"
    ENTRIES_RESTORED = "ENTRIES_RESTORED"
    ENTRIES_QUARANTINED = "ENTRIES_QUARANTINED"
    ENTRIES_RELEASED = "ENTRIES_RELEASED"
    ENTRIES_EXPIRED = "ENTRIES_EXPIRED"
    ENTRY_ERASED = "ENTRY_ERASED"
    ENTRIES_REVIEWED = "ENTRIES_REVIEWED"
    ENTRIES_EXPORTED = "ENTRIES_EXPORTED"
    CONFLICT_ASSIGNED = "CONFLICT_ASSIGNED"
    CONFLICT_COMMENTED = "CONFLICT_COMMENTED"
    CONFLICT_RESOLVED = "CONFLICT_RESOLVED"
    CONFLICT_REOPENED = "CONFLICT_REOPENED"
    ACTOR_REVERTED = "ACTOR_REVERTED"
    EVENT_REDACTED = "EVENT_REDACTED"
    RETENTION_CHANGED = "RETENTION_CHANGED"
    RETENTION_APPLIED = "RETENTION_APPLIED"
    HASH_SET_DELETION_ASKED = "HASH_SET_DELETION_ASKED"
    HASH_SET_DELETED = "HASH_SET_DELETED"
    HASH_SET_ERASED = "HASH_SET_ERASED"
    APPROVAL_ASKED = "APPROVAL_ASKED"
    APPROVAL_GIVEN = "APPROVAL_GIVEN"
    WEBHOOK_CREATED = "WEBHOOK_CREATED"
    WEBHOOK_UPDATED = "WEBHOOK_UPDATED"
    WEBHOOK_ROTATED = "WEBHOOK_ROTATED"
    WEBHOOK_DELETED = "WEBHOOK_DELETED"


class EventBody(msgspec.Struct, frozen=True, array_like=True):
    """What the log has of an event, in its canonical order; `time` in milliseconds since 1970."""

    version: str
    revision: int
    time: int
    actor: str
    contributor: str
    role: str
    kind: str
    subject: str
    reason: str
    facts: dict[str, str | int | tuple[str, ...]]
    commitment: str
    imprints: str = ""


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One visible write. `facts` are names and codes; `details`, erasable, everything that may name a person or hold a
    digest.

    `subject` is a resource as commands write it with its collection: `entries/nl/known/7`, `hash-sets/nl/known`,
    `tokens/alice`. `reason` is a code, such as a WithdrawalReason. `details` is None once redacted. `digest` is the
    root of the log with this event.
    """

    revision: int
    time: datetime
    actor: Actor
    kind: EventKind
    subject: str = ""
    reason: str = ""
    facts: dict[str, str | int | tuple[str, ...]] = {}
    details: dict[str, str] | None = None
    digest: bytes = b""


class RevertedEvent(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one event in a revert, or why nothing did, in a sentence; how many entries that changes."""

    event: Event
    outcome: str
    reverted: bool
    entry_count: int = 0
