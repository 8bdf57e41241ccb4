"""The common schema: every statement the hub keeps, as frozen types whose invariants stand here and nowhere else.

    Contributor ──< HashSet ──< Entry ──< Hash        an Entry is one item as one contributor states it in a hash set
         │             │          │
         │             │          ├── Classification  the raw value in the contributor's scheme, and what it implies
         │             │          ├── Flags           tri-state: stated true, stated false, not stated
         │             │          ├── Provenance      which import, by which connector, from which bytes and position
         │             │          └──< Review         append-only statements by others
         │             └── Marking                    handling terms; they travel with every entry
         └── takes_from                               whom it takes material from: decides who counts as independent

    Import: one act of ingestion. A connector turns bytes into Records and Rejects; the hub turns Records into Entries
    and accounts for every item in Findings. Change: one row of the change feed.

The types are `msgspec` structs rather than dataclasses: an import builds several million of them, and msgspec builds
them five to ten times faster and gives them their JSON form (docs/decisions/0001).
"""

from __future__ import annotations

from hashhub.model.actors import (
    SYSTEM,
    Actor,
    Role,
)
from hashhub.model.checks import (
    MAX_TEXT,
    now,
)
from hashhub.model.conflicts import (
    Conflict,
    ConflictCount,
    ConflictFilter,
    ConflictingContributor,
    ConflictKind,
    ConflictParty,
    ConflictReason,
    ConflictResolution,
    ConflictState,
    ConflictStatement,
    ConflictSummary,
    Severity,
)
from hashhub.model.contributors import (
    Contributor,
    ContributorKind,
    Group,
    Reliability,
)
from hashhub.model.definitions import (
    Definition,
    DefinitionKind,
    SchemeStatus,
    SignOff,
)
from hashhub.model.entries import (
    MAX_FRAMES,
    MAX_HASHES_PER_ENTRY,
    MAX_SELECTED,
    NO_FLAGS,
    ChangedEntry,
    ChangeKind,
    Classification,
    Entry,
    EntryAction,
    EntryChanges,
    EntryState,
    FeedPage,
    Flags,
    Provenance,
    QueueItem,
    QueueKind,
    Review,
    ReviewKind,
    Selection,
    SkippedEntries,
    VideoFrame,
    Withdrawal,
    WithdrawalReason,
)
from hashhub.model.hash_sets import (
    MAX_RETENTION_DAYS,
    TLP,
    Deletion,
    HashSet,
    Marking,
    Purpose,
    Retention,
    Unclassified,
)
from hashhub.model.history import (
    Event,
    EventKind,
    RevertedEvent,
)
from hashhub.model.imports import (
    MAX_BATCH,
    Action,
    Counts,
    Disposition,
    Finding,
    HashFault,
    Import,
    ImportState,
    Record,
    RecordReview,
    Reject,
)
from hashhub.model.live import (
    MAX_ENTER_FRAMES,
    MAX_LIVE_PICTURE,
    MAX_LIVE_RATE,
    Hysteresis,
    LiveAnswer,
    LiveOptions,
    LivePicture,
    LiveRange,
)
from hashhub.model.matching import (
    MAX_HASHES_PER_QUERY,
    MAX_MEDIA,
    MAX_QUERIES,
    MAX_VARIANTS,
    READINGS,
    VARIANTS,
    Coverage,
    Effort,
    EntryMatch,
    MatchOptions,
    MatchResult,
    MediaResult,
    Query,
    ReasonLine,
    TimeRange,
    VariantHashes,
    Verdict,
    VideoMatch,
)
from hashhub.model.operations import (
    Failure,
    Operation,
    OperationState,
)
from hashhub.model.status import (
    AlgorithmStatus,
    Status,
)
from hashhub.model.tokens import (
    Principal,
    Shares,
)
from hashhub.model.webhooks import (
    DeliveryError,
    DeliveryState,
    Webhook,
    WebhookDelivery,
    WebhookEvent,
)

__all__ = [
    "MAX_BATCH",
    "MAX_ENTER_FRAMES",
    "MAX_FRAMES",
    "MAX_HASHES_PER_ENTRY",
    "MAX_HASHES_PER_QUERY",
    "MAX_LIVE_PICTURE",
    "MAX_LIVE_RATE",
    "MAX_MEDIA",
    "MAX_QUERIES",
    "MAX_RETENTION_DAYS",
    "MAX_SELECTED",
    "MAX_TEXT",
    "MAX_VARIANTS",
    "NO_FLAGS",
    "READINGS",
    "SYSTEM",
    "TLP",
    "VARIANTS",
    "Action",
    "Actor",
    "AlgorithmStatus",
    "ChangeKind",
    "ChangedEntry",
    "Classification",
    "Conflict",
    "ConflictCount",
    "ConflictFilter",
    "ConflictKind",
    "ConflictParty",
    "ConflictReason",
    "ConflictResolution",
    "ConflictState",
    "ConflictStatement",
    "ConflictSummary",
    "ConflictingContributor",
    "Contributor",
    "ContributorKind",
    "Counts",
    "Coverage",
    "Definition",
    "DefinitionKind",
    "Deletion",
    "DeliveryError",
    "DeliveryState",
    "Disposition",
    "Effort",
    "Entry",
    "EntryAction",
    "EntryChanges",
    "EntryMatch",
    "EntryState",
    "Event",
    "EventKind",
    "Failure",
    "FeedPage",
    "Finding",
    "Flags",
    "Group",
    "HashFault",
    "HashSet",
    "Hysteresis",
    "Import",
    "ImportState",
    "LiveAnswer",
    "LiveOptions",
    "LivePicture",
    "LiveRange",
    "Marking",
    "MatchOptions",
    "MatchResult",
    "MediaResult",
    "Operation",
    "OperationState",
    "Principal",
    "Provenance",
    "Purpose",
    "Query",
    "QueueItem",
    "QueueKind",
    "ReasonLine",
    "Record",
    "RecordReview",
    "Reject",
    "Reliability",
    "Retention",
    "RevertedEvent",
    "Review",
    "ReviewKind",
    "Role",
    "SchemeStatus",
    "Selection",
    "Severity",
    "Shares",
    "SignOff",
    "SkippedEntries",
    "Status",
    "TimeRange",
    "Unclassified",
    "VariantHashes",
    "Verdict",
    "VideoFrame",
    "VideoMatch",
    "Webhook",
    "WebhookDelivery",
    "WebhookEvent",
    "Withdrawal",
    "WithdrawalReason",
    "now",
]
