"""Entries: what contributors state of items, what others say of them, how they change, and which imports bring them."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

import msgspec

from hashhub.hashes import Hash
from hashhub.model.resources import Contributor, HashSet, Marking, Role, SchemeStatus

MAX_HASHES_PER_ENTRY: Final = 64  # far above what any format carries; bounds what one record can cost
MAX_BATCH: Final = 10_000  # records and rejects in one call: bounds what one call can hold in memory
MAX_FRAMES: Final = 20_000  # of one video: five and a half hours at one frame a second
MAX_NUMBER: Final = (1 << 32) - 1  # of an entry in its hash set
MAX_SELECTED: Final = 50_000  # entries named one by one in one call, by name, hash or external id


class WithdrawalReason(StrEnum):
    """Why an entry was withdrawn by hand. REQUESTED_BY_PERSON_SHOWN is told to contributor and operators only."""

    FALSE_POSITIVE = "FALSE_POSITIVE"
    NOT_ILLEGAL_HERE = "NOT_ILLEGAL_HERE"
    REQUESTED_BY_PERSON_SHOWN = "REQUESTED_BY_PERSON_SHOWN"
    ERROR = "ERROR"
    OTHER = "OTHER"


def now() -> datetime:
    """Return the current time in UTC, to the millisecond (what both databases keep)."""
    t = datetime.now(UTC)
    return t.replace(microsecond=t.microsecond // 1000 * 1000)


def id_in_set(set_key: int, number: int) -> int:
    """Return the id of an entry, or of a review, by the key of its hash set and its number there."""
    return set_key << 32 | number


def set_key_of(id_: int) -> int:
    """Return the key of the hash set of an entry or a review."""
    return id_ >> 32


def number_of(id_: int) -> int:
    """Return the number of an entry or review in its hash set: all that is told, since ids count others', too."""
    return id_ & MAX_NUMBER


class EntryAction(StrEnum):
    """What is done to the entries that a selection hits."""

    WITHDRAW = "WITHDRAW"
    RESTORE = "RESTORE"
    QUARANTINE = "QUARANTINE"
    RELEASE = "RELEASE"


class QueueKind(StrEnum):
    """What waits for somebody: entries in quarantine, withdrawals and deletions (WITHDRAWAL_PENDING, DELETION_PENDING)
    for a second person, entries that others object to, what the operator must accept, imports that were never
    committed, lists that were not renewed as usual (OVERDUE), webhooks that are not reached, assigned conflicts,
    calls that a second person must make, too (APPROVAL).
    """

    QUARANTINED = "QUARANTINED"
    WITHDRAWAL_PENDING = "WITHDRAWAL_PENDING"
    OBJECTION = "OBJECTION"
    AWAITS_ACCEPTANCE = "AWAITS_ACCEPTANCE"
    OPEN_IMPORT = "OPEN_IMPORT"
    OVERDUE = "OVERDUE"
    WEBHOOK_FAILING = "WEBHOOK_FAILING"
    DELETION_PENDING = "DELETION_PENDING"
    CONFLICT = "CONFLICT"
    APPROVAL = "APPROVAL"


class EntryState(StrEnum):
    """ACTIVE entries match. QUARANTINED ones are visible and match once released. WITHDRAWN ones are history."""

    ACTIVE = "ACTIVE"
    QUARANTINED = "QUARANTINED"
    WITHDRAWN = "WITHDRAWN"


class ReviewKind(StrEnum):
    """What a review states about an entry."""

    CONFIRMED = "CONFIRMED"
    FALSE_POSITIVE = "FALSE_POSITIVE"
    NOT_ILLEGAL_HERE = "NOT_ILLEGAL_HERE"
    MISCLASSIFIED = "MISCLASSIFIED"
    DUPLICATE = "DUPLICATE"
    SET_ASIDE = "SET_ASIDE"  # the operator holds another review to be no reason for doubt


OBJECTIONS: Final = frozenset({ReviewKind.FALSE_POSITIVE, ReviewKind.NOT_ILLEGAL_HERE, ReviewKind.MISCLASSIFIED})
"""Reviews that speak against what an entry states."""


class ChangeKind(StrEnum):
    """UPSERT: the entries match from this revision on, or what is said of them changed. WITHDRAW: they do not."""

    UPSERT = "UPSERT"
    WITHDRAW = "WITHDRAW"


class Flags(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """Tri-state facts about an item: True, False, or None when the source did not say. Absent is not false."""

    victim_identified: bool | None = None
    offender_identified: bool | None = None
    distributed: bool | None = None
    suspected: bool | None = None
    self_generated: bool | None = None


NO_FLAGS: Final = Flags()  # nothing is stated


class VideoFrame(msgspec.Struct, frozen=True, array_like=True):
    """One picture of a video: its time from the start, its PDQ quality (0 to 100) and its PDQ digest."""

    offset_ms: int
    quality: int
    digest: bytes


class Classification(msgspec.Struct, frozen=True, kw_only=True):
    """A raw value in its scheme, and what it implies: the sorted values that are possible in each dimension."""

    scheme: str
    version: str
    region: str
    value: str
    status: SchemeStatus
    dimensions: dict[str, tuple[str, ...]]

    @property
    def text(self) -> str:
        """Scheme and value for people: `vic-us@2.0 1`, or `vic-us 1` where the source does not say which version."""
        return f"{self.scheme}@{self.version} {self.value}" if self.version else f"{self.scheme} {self.value}"


class Provenance(msgspec.Struct, frozen=True, kw_only=True):
    """Where an entry comes from. `position` is in the connector's terms: `line 12`, `value[3]`."""

    import_id: str
    connector: str
    connector_version: str
    source_digest: str
    position: str
    member: str = ""


class Withdrawal(msgspec.Struct, frozen=True, kw_only=True):
    """Who withdrew an entry by hand, when and why. `pending`: it still matches, until a second person agrees."""

    reason: WithdrawalReason
    comment: str = ""
    actor: str = ""
    role: Role = Role.CONTRIBUTOR
    revision: int = 0
    pending: bool = False


class RecordReview(msgspec.Struct, frozen=True, array_like=True):
    """Somebody's statement about the record, carried by the source (NCMEC feedback): kept as a review of the entry.

    `author` is whom the source names; the hub keeps it as `CONTRIBUTOR/author`, so that it can be nobody else's word.
    """

    kind: ReviewKind
    author: str
    comment: str = ""


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One media item as stated by one contributor in one hash set.

    `external_id` is the contributor's own stable id, empty when the source has none. `quality` is the PDQ quality (0 to
    100). `reasons` (hygiene reason codes) says why it is QUARANTINED, why it was WITHDRAWN, or what keeps an ACTIVE one
    from its full weight: UNCLASSIFIED (undecided, being listed is all that is known), AWAITS_ACCEPTANCE (a harmless
    verdict beyond the daily number), WITHDRAWAL_PENDING. `predecessors` and `successors`: names of the entries that it
    replaced, and that replaced it; filled in where one entry is read, not in lists. At `expire_time` it is withdrawn.
    `extra`: as in Record. `frame_count`: how many frames it has, if it is a video; `frames` themselves are filled in
    where one entry is read, in feeds and in exports. `frames_digest`: SHA-256 of them; empty: none, or not told.
    `reviews`: what is said of it, filled in in exports.
    """

    id: int
    contributor: str
    hash_set: str
    hashes: tuple[Hash, ...]
    state: EntryState
    provenance: Provenance
    classification: Classification | None = None
    flags: Flags = NO_FLAGS
    external_id: str = ""
    media_type: str = ""
    media_size: int | None = None
    series: str = ""
    tags: tuple[str, ...] = ()
    quality: int | None = None
    source_time: str = ""
    extra: str = ""
    expire_time: datetime | None = None
    reasons: tuple[str, ...] = ()
    withdrawal: Withdrawal | None = None
    predecessors: tuple[str, ...] = ()
    successors: tuple[str, ...] = ()
    create_revision: int = 0
    update_revision: int = 0
    frame_count: int = 0
    frames: tuple[VideoFrame, ...] = ()
    frames_digest: bytes = b""
    reviews: tuple[RecordReview, ...] = ()

    @property
    def name(self) -> str:
        """`CONTRIBUTOR/SET/NUMBER`: what answers and commands call it."""
        return f"{self.contributor}/{self.hash_set}/{number_of(self.id)}"


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """Which entries are meant: those that fit every criterion that is given, each by any of its values.

    `contributor` and `hash_set` (`CONTRIBUTOR/SET`) say where. `names` are entries (`CONTRIBUTOR/SET/ENTRY`), `imports`
    are `CONTRIBUTOR/SET/IMPORT`. `dimensions`: an entry fits when all that it may be in the dimension is among the
    values; one that says nothing there does not. `text` occurs in the external id, series, a tag, member, position,
    source time, or in what the source says beyond the fields, in upper or lower case.
    """

    contributor: str = ""
    hash_set: str = ""
    names: tuple[str, ...] = ()
    hashes: tuple[Hash, ...] = ()
    external_ids: tuple[str, ...] = ()
    imports: tuple[str, ...] = ()
    states: tuple[EntryState, ...] = ()
    reasons: tuple[str, ...] = ()
    dimensions: dict[str, tuple[str, ...]] = {}
    tags: tuple[str, ...] = ()
    series: tuple[str, ...] = ()
    text: str = ""

    @property
    def has_values(self) -> bool:
        """Whether it names entries one by one: by name, hash or external id."""
        return bool(self.names or self.hashes or self.external_ids)

    @property
    def is_empty(self) -> bool:
        """Whether it gives no criterion, not even where the entries are."""
        return self == Selection()


class SkippedEntries(msgspec.Struct, frozen=True, kw_only=True):
    """Entries that a selection hit and that stay as they are: why (a reason code), how many, some of their names."""

    reason: str
    count: int
    examples: tuple[str, ...] = ()


class EntryChanges(msgspec.Struct, frozen=True, kw_only=True):
    """What was done, or with `validate_only` would be, to the entries that a selection hit.

    `selected` is the sum of `changed`, `pending` and the counts of `skipped`. `changed`: moved by this call. `pending`:
    their withdrawal waits for a second person, and until then they match. `also`: further entries of the same items,
    withdrawn or superseded with them. `unmatched`: how many of the names, hashes and external ids given have no entry
    that the caller may change. `revision`: at which it was done; 0: nothing was.
    """

    action: EntryAction
    selected: int = 0
    changed: int = 0
    pending: int = 0
    also: int = 0
    skipped: tuple[SkippedEntries, ...] = ()
    examples: tuple[str, ...] = ()
    unmatched: int = 0
    unmatched_examples: tuple[str, ...] = ()
    revision: int = 0
    validate_only: bool = False


class QueueItem(msgspec.Struct, frozen=True, kw_only=True):
    """Something that waits for somebody: what, where, how much of it, and one of the entries or the import concerned.

    `hash_set` is `CONTRIBUTOR/SET`, empty where no hash set is meant. `reason`: a reason code, or a review's kind.
    `is_capped`: there are more than `count`. `since`: how long ago the oldest began, where that is known. Of conflicts
    `name` is the first one's, and `reason` to whom they were given.
    """

    kind: QueueKind
    hash_set: str = ""
    contributor: str = ""
    reason: str = ""
    count: int = 1
    is_capped: bool = False
    name: str = ""
    actor: str = ""
    since: datetime | None = None


class Review(msgspec.Struct, frozen=True, kw_only=True):
    """An append-only statement by `author` about an entry. No caller supplies the author, the actor or the role.

    `author` is a contributor, or `CONTRIBUTOR/MEMBER` for whom that contributor's source names. `actor` is the token
    that wrote it, `role` that token's. A SET_ASIDE review is about the review `sets_aside` of the same entry.
    `awaits_acceptance`: it is beyond the daily number and weighs once the operator has accepted it.
    """

    id: int
    entry_id: int
    author: str
    kind: ReviewKind
    comment: str = ""
    actor: str = ""
    role: Role = Role.CONTRIBUTOR
    sets_aside: int = 0
    awaits_acceptance: bool = False
    create_time: datetime | None = None
    revision: int = 0


class ChangedEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the change feed, as what it means to its reader.

    UPSERT: `entry` as it is now, with its reviews, or take over `hash_set` or `contributor`. WITHDRAW: drop the entry
    called `entry_name`, which was `entry` if the reader wants to be told so; or, with `hash_set_name` instead, all
    entries of that hash set, which the reader may not see any more. `same_hash`: others of the hash set that have one
    of its hashes, for a reader that knows entries by theirs.
    """

    revision: int
    kind: ChangeKind
    entry: Entry | None = None
    reviews: tuple[Review, ...] = ()
    hash_set: HashSet | None = None
    contributor: Contributor | None = None
    entry_name: str = ""
    hash_set_name: str = ""
    same_hash: tuple[Entry, ...] = ()


class FeedPage(msgspec.Struct, frozen=True, kw_only=True):
    """A stretch of the feed, with the history's `head`; `is_complete`: the reader has all up to `revision`. `hub`: what
    the hub is called among hubs, empty: it has no name yet. `read_time`: for readers that keep a time, where to go on
    next.
    """

    changes: tuple[ChangedEntry, ...]
    position: str
    revision: int
    head: str
    is_complete: bool
    hub: str = ""
    read_time: datetime | None = None


class ImportState(StrEnum):
    """OPEN takes batches; COMMITTING writes entries that are not visible yet; COMMITTED and CANCELLED are final."""

    OPEN = "OPEN"
    COMMITTING = "COMMITTING"
    COMMITTED = "COMMITTED"
    CANCELLED = "CANCELLED"


class Disposition(StrEnum):
    """What became of one item of a source, or (NOTED) of a part of it. All but NOTED add up to the number of items."""

    ACCEPTED = "ACCEPTED"
    QUARANTINED = "QUARANTINED"
    REJECTED = "REJECTED"
    DUPLICATE = "DUPLICATE"  # the same item stands elsewhere in this source; its hashes were merged into the first one
    UNCHANGED = "UNCHANGED"  # the hash set already holds an identical entry, or the item is an opinion about entries
    WITHDRAWN = "WITHDRAWN"  # the item asked for a withdrawal
    STAYS_WITHDRAWN = (
        "STAYS_WITHDRAWN"  # the item was withdrawn by hand, and is not revived by a list that still has it
    )
    NOTED = "NOTED"


class Action(StrEnum):
    """What a record asks for. REVIEW: that its reviews are added to the entries of its item; it becomes none."""

    CONTRIBUTE = "CONTRIBUTE"
    WITHDRAW = "WITHDRAW"
    REVIEW = "REVIEW"


class HashFault(msgspec.Struct, frozen=True, array_like=True):
    """A hash that a source gave and that cannot be one: the source's label, a hygiene reason code, a sentence."""

    algorithm: str
    reason: str
    detail: str


class Record(msgspec.Struct, frozen=True, kw_only=True, array_like=True, gc=False):
    """One item as a connector read it, before acceptance.

    `value` is the raw classification; `region` and `scheme` are what the file itself says of the scheme's region (VICS
    `US`) and of the scheme (`vic-us`, `vic-us@2`), empty when it does not. `member` is who inside the source stated it
    (NCMEC member). `faults` are hashes that could not be parsed. `extra` is what the source says of the item beyond the
    other fields: a JSON object of its own field names, kept as it is so that an export in the same format has it again.
    `frames`: of a video, in the order of their times; at most MAX_FRAMES.
    """

    position: str
    hashes: tuple[Hash, ...] = ()
    faults: tuple[HashFault, ...] = ()
    action: Action = Action.CONTRIBUTE
    external_id: str = ""
    value: str = ""
    region: str = ""
    member: str = ""
    flags: Flags = NO_FLAGS
    media_type: str = ""
    media_size: int | None = None
    series: str = ""
    tags: tuple[str, ...] = ()
    quality: int | None = None
    source_time: str = ""
    reviews: tuple[RecordReview, ...] = ()
    scheme: str = ""
    expire_time: datetime | None = None
    extra: str = ""
    frames: tuple[VideoFrame, ...] = ()


class Reject(msgspec.Struct, frozen=True, array_like=True):
    """A refused item: its position in the source, a hygiene reason code, a sentence."""

    position: str
    reason: str
    detail: str


class Finding(msgspec.Struct, frozen=True, array_like=True):
    """One line of an import's report: what became of the item at `position`, and why. `entry_id`: 0 for no entry."""

    position: str
    disposition: Disposition
    reason: str
    detail: str
    entry_id: int = 0


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """How many items an import had, and what became of them.

    Conservation: `items` is the sum of accepted, quarantined, rejected, duplicate, unchanged, withdrawn and
    stays_withdrawn. `superseded` and `absent` count entries of earlier imports that this one withdrew (newer statement;
    absent from a replacing list).
    """

    items: int = 0
    accepted: int = 0
    quarantined: int = 0
    rejected: int = 0
    duplicate: int = 0
    unchanged: int = 0
    withdrawn: int = 0
    stays_withdrawn: int = 0
    noted: int = 0
    superseded: int = 0
    absent: int = 0


class EntryProof(msgspec.Struct, frozen=True, kw_only=True):
    """That a signed list has an entry (`CONTRIBUTOR/SET/NUMBER`): the list's `signature`, by the key `signing_key`,
    what the entry states (`hashhub.signing.manifest.canonical_entry`), its place in the list, and RFC 6962's proof.
    """

    name: str
    signature: bytes
    signing_key: str
    canonical_entry: str
    index: int
    hashes: tuple[bytes, ...]


class Import(msgspec.Struct, frozen=True, kw_only=True):
    """One act of ingestion. `batch_count` batches with `item_count` items are stored; the next one has this index.

    `has_classifications`: whether the source's format carries classifications, so that an item without one says
    nothing; None: the contributor did not say. `terms`: what the source states of its items' terms, each a floor for
    those of the hash set. `actor` is the token that opened it.
    """

    id: str
    contributor: str
    hash_set: str
    connector: str
    connector_version: str
    source_digest: str
    replace: bool = False
    has_classifications: bool | None = None
    terms: tuple[Marking, ...] = ()
    state: ImportState = ImportState.OPEN
    batch_count: int = 0
    item_count: int = 0
    counts: Counts = Counts()
    revision: int = 0
    actor: str = ""
    create_time: datetime | None = None
    commit_time: datetime | None = None
    signature: bytes = b""
    signing_key: str = ""

    @property
    def is_only_checked(self) -> bool:
        """Whether its report is of a commit with `validate_only`: what would have become of its items."""
        return self.state is ImportState.CANCELLED and self.counts.items > 0
