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

import re
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

import msgspec

from hashhub.errors import InvalidArgument, Violation
from hashhub.hashes import Hash

_SLUG: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_JURISDICTION: Final = re.compile(r"[A-Z]{2}|ZZ")
_RECIPIENT: Final = re.compile(rf"(?:contributors|groups)/{_SLUG.pattern}|tokens/[a-z0-9-]{{1,63}}")
MAX_HASHES_PER_ENTRY: Final = 64  # far above what any format carries; bounds what one record can cost
MAX_HASHES_PER_QUERY: Final = 1024  # 32 frames with all rotations and flips have fewer: 32 x 8 x 3, and digests
MAX_QUERIES: Final = 1000  # in one call
MAX_MEDIA: Final = 100  # files in one call
MAX_VARIANTS: Final = 32  # of one query
MAX_FRAMES: Final = 20_000  # of one video: five and a half hours at one frame a second
MAX_ENTER_FRAMES: Final = 60  # of a live stream: a minute at one frame a second
MAX_LIVE_RATE: Final = 60  # frames a second that a live stream may announce
MAX_LIVE_PICTURE: Final = 4 * 1024 * 1024  # bytes of one frame: a 1080p JPEG has some 500 KB
MAX_BATCH: Final = 10_000  # records and rejects in one call: bounds what one call can hold in memory
MAX_SELECTED: Final = 50_000  # entries named one by one in one call, by name, hash or external id
MAX_RETENTION_DAYS: Final = 36_500  # a hundred years: catches typing errors
MAX_TEXT: Final = 1024  # characters in any one free-text field of a record


# Here, above the types: their defaults are built, and so checked, while this module loads.
def _slug(field: str, value: str) -> list[Violation]:
    if _SLUG.fullmatch(value):
        return []
    return [Violation(field, "must be 1 to 63 of a-z, 0-9 and -, not beginning or ending with -", "PATTERN")]


def _text(field: str, value: str, *, required: bool = True) -> list[Violation]:
    if required and not value.strip():
        return [Violation(field, "must not be empty", "REQUIRED")]
    if len(value) > MAX_TEXT:
        return [Violation(field, f"must be at most {MAX_TEXT} characters, got {len(value)}", "TOO_LONG")]
    return []


def _refuse(what: str, wrong: list[Violation]) -> None:
    if wrong:
        raise InvalidArgument(
            f"invalid {what}: " + "; ".join(f"{v.field} {v.description}" for v in wrong), violations=tuple(wrong)
        )


class ContributorKind(StrEnum):
    """What sort of organisation a contributor is."""

    HOTLINE = "HOTLINE"
    LAW_ENFORCEMENT = "LAW_ENFORCEMENT"
    CLEARINGHOUSE = "CLEARINGHOUSE"
    PLATFORM = "PLATFORM"
    NGO = "NGO"


class Reliability(StrEnum):
    """Admiralty (NATO AJP-2.1) source reliability. F means that it cannot be judged, not that it is worse than E."""

    A = "A"
    B = "B"
    C = "C"
    D = "D"
    E = "E"
    F = "F"


class Purpose(StrEnum):
    """What being in a hash set states about an item, when the entry itself says nothing more precise."""

    CSAM = "CSAM"
    EXPLOITATIVE = "EXPLOITATIVE"
    BENIGN = "BENIGN"
    TEST = "TEST"


class TLP(StrEnum):
    """Traffic Light Protocol 2.0 (FIRST, 2022)."""

    CLEAR = "CLEAR"
    GREEN = "GREEN"
    AMBER = "AMBER"
    AMBER_STRICT = "AMBER_STRICT"
    RED = "RED"


class Unclassified(StrEnum):
    """What an item without a classification becomes when its source's format carries classifications.

    QUARANTINED waits for a person. LISTED is active and undecided: being listed is all that is known, which is no claim
    of harm.
    """

    QUARANTINED = "QUARANTINED"
    LISTED = "LISTED"


class WithdrawalReason(StrEnum):
    """Why somebody withdrew an entry by hand.

    REQUESTED_BY_PERSON_SHOWN is told to the contributor and the hub's operators only.
    """

    FALSE_POSITIVE = "FALSE_POSITIVE"
    NOT_ILLEGAL_HERE = "NOT_ILLEGAL_HERE"
    REQUESTED_BY_PERSON_SHOWN = "REQUESTED_BY_PERSON_SHOWN"
    ERROR = "ERROR"
    OTHER = "OTHER"


class EntryAction(StrEnum):
    """What is done to the entries that a selection hits."""

    WITHDRAW = "WITHDRAW"
    RESTORE = "RESTORE"
    QUARANTINE = "QUARANTINE"
    RELEASE = "RELEASE"


class QueueKind(StrEnum):
    """What waits for somebody.

    QUARANTINED: entries that do not match until they are released. WITHDRAWAL_PENDING: entries whose withdrawal waits
    for a second person. OBJECTION: entries that others object to. AWAITS_ACCEPTANCE: what waits for the operator's
    acceptance. OPEN_IMPORT: an import that was never committed. OVERDUE: a list that was not renewed when it usually
    is. WEBHOOK_FAILING: calls of a webhook that do not get through. DELETION_PENDING: a hash set whose deletion waits
    for a second person.
    """

    QUARANTINED = "QUARANTINED"
    WITHDRAWAL_PENDING = "WITHDRAWAL_PENDING"
    OBJECTION = "OBJECTION"
    AWAITS_ACCEPTANCE = "AWAITS_ACCEPTANCE"
    OPEN_IMPORT = "OPEN_IMPORT"
    OVERDUE = "OVERDUE"
    WEBHOOK_FAILING = "WEBHOOK_FAILING"
    DELETION_PENDING = "DELETION_PENDING"


class Role(StrEnum):
    """What a token may do: write its own contributor's sets; match; everything; read everything."""

    CONTRIBUTOR = "CONTRIBUTOR"
    CONSUMER = "CONSUMER"
    OPERATOR = "OPERATOR"
    AUDITOR = "AUDITOR"


class EntryState(StrEnum):
    """ACTIVE entries match. QUARANTINED ones are stored and visible but never match until released. WITHDRAWN ones are
    history.
    """

    ACTIVE = "ACTIVE"
    QUARANTINED = "QUARANTINED"
    WITHDRAWN = "WITHDRAWN"


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
    """What a record asks for.

    REVIEW: its reviews are added to the hash set's live entries with its external id or one of its hashes; it never
    becomes an entry itself.
    """

    CONTRIBUTE = "CONTRIBUTE"
    WITHDRAW = "WITHDRAW"
    REVIEW = "REVIEW"


class ReviewKind(StrEnum):
    """What a review states about an entry."""

    CONFIRMED = "CONFIRMED"
    FALSE_POSITIVE = "FALSE_POSITIVE"
    NOT_ILLEGAL_HERE = "NOT_ILLEGAL_HERE"
    MISCLASSIFIED = "MISCLASSIFIED"
    DUPLICATE = "DUPLICATE"
    SET_ASIDE = "SET_ASIDE"  # the operator holds another review to be no reason for doubt


class ChangeKind(StrEnum):
    """UPSERT: the entries match from this revision on, or what is said of them changed.

    WITHDRAW: they no longer match.
    """

    UPSERT = "UPSERT"
    WITHDRAW = "WITHDRAW"


class Verdict(StrEnum):
    """A policy's answer about one query.

    UNAVAILABLE means that the question could not be answered; a caller must never treat it as NO_MATCH.
    """

    MATCH = "MATCH"
    REVIEW = "REVIEW"
    BENIGN = "BENIGN"
    NO_MATCH = "NO_MATCH"
    UNAVAILABLE = "UNAVAILABLE"


class SchemeStatus(StrEnum):
    """Whether a scheme's table was checked against its owner's text. DRAFT never leads to an automatic block."""

    VERIFIED = "VERIFIED"
    DRAFT = "DRAFT"


class Contributor(msgspec.Struct, frozen=True, kw_only=True):
    """An organisation that states something.

    `takes_from` names the contributors whose material it passes on: two entries count as independent only when neither
    contributor takes from the other, directly or through others, and they share no common source. Once retired its
    tokens do not work; what it stated stands. `objections_accepted_revision`: its objections beyond the daily number
    weigh up to this revision.
    """

    id: str
    display_name: str
    kind: ContributorKind
    jurisdiction: str
    reliability: Reliability = Reliability.F
    takes_from: tuple[str, ...] = ()
    create_time: datetime | None = None
    retire_time: datetime | None = None
    objections_accepted_revision: int = 0

    def __post_init__(self) -> None:
        """Raise InvalidArgument with every violation."""
        wrong = [*_slug("id", self.id), *_text("display_name", self.display_name)]
        if not _JURISDICTION.fullmatch(self.jurisdiction):
            wrong.append(
                Violation(
                    "jurisdiction", "must be an ISO 3166-1 alpha-2 code in capitals, such as GB; ZZ for none", "PATTERN"
                )
            )
        for i, other in enumerate(self.takes_from):
            wrong += _slug(f"takes_from[{i}]", other)
        if self.id in self.takes_from:
            wrong.append(Violation("takes_from", "must not name the contributor itself", "SELF_REFERENCE"))
        _refuse("contributor", wrong)


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """A named list of contributors that terms can name as a recipient. An empty one admits nobody."""

    id: str
    display_name: str = ""
    members: tuple[str, ...] = ()
    create_time: datetime | None = None

    def __post_init__(self) -> None:
        """Raise InvalidArgument with every violation."""
        wrong = [*_slug("id", self.id), *_text("display_name", self.display_name, required=False)]
        for i, member in enumerate(self.members):
            wrong += _slug(f"members[{i}]", member)
        _refuse("group", wrong)


class Marking(msgspec.Struct, frozen=True, kw_only=True):
    """Handling terms of a hash set. `hashhub.hub.access` enforces them at every way out; docs/terms.md tells what each
    does.

    `recipients`: `contributors/ID`, `groups/ID` or `tokens/ID`, the only ones that may see the entries; empty: everyone
    whom the TLP allows. `permitted_purposes`: a caller must have stated one of these; empty means any.
    `disclose_existence`: a caller that may not see an entry is told that something is known (verdict REVIEW) without by
    whom; otherwise it learns nothing. `bulk`: digests may leave in lists, feeds, mirrors and exports, and not only in
    answers to queries. `expire_time`: from then on only the contributor and the hub's operators and auditors see the
    entries.
    """

    tlp: TLP = TLP.AMBER
    permitted_purposes: tuple[str, ...] = ()
    legal_basis: str = ""
    redistribution: bool = False
    recipients: tuple[str, ...] = ()
    disclose_existence: bool = False
    bulk: bool = False
    expire_time: datetime | None = None

    def __post_init__(self) -> None:
        """Raise InvalidArgument: TLP:RED without recipients would be visible to nobody or, worse, to everybody."""
        wrong = _text("marking.legal_basis", self.legal_basis, required=False)
        for i, recipient in enumerate(self.recipients):
            if not _RECIPIENT.fullmatch(recipient):
                wrong.append(
                    Violation(
                        f"marking.recipients[{i}]", "must be contributors/ID, groups/ID or tokens/ID", "RECIPIENT"
                    )
                )
        if self.tlp is TLP.RED and not self.recipients:
            wrong.append(Violation("marking.recipients", "TLP:RED needs at least one named recipient", "REQUIRED"))
        _refuse("marking", wrong)


class HashSet(msgspec.Struct, frozen=True, kw_only=True):
    """A named collection of one contributor under one set of terms.

    `scheme` is `id@version` from the registry, or empty when the set's items carry no classification. `review_depth` is
    how many qualified people looked at each item before it was listed; 0 means not stated. `unclassified`: see there;
    LISTED needs an operator. `accepted_revision`: what the set says against harm (a benign set's entries, harmless
    verdicts beyond the daily number) weighs as far as an operator accepted it, which is up to this revision; 0: not at
    all.
    """

    contributor: str
    id: str
    display_name: str = ""
    scheme: str = ""
    purpose: Purpose = Purpose.CSAM
    review_depth: int = 0
    marking: Marking = Marking()
    unclassified: Unclassified = Unclassified.QUARANTINED
    accepted_revision: int = 0
    create_time: datetime | None = None

    @property
    def name(self) -> str:
        """`CONTRIBUTOR/SET`, as commands and answers write it."""
        return f"{self.contributor}/{self.id}"

    def __post_init__(self) -> None:
        """Raise InvalidArgument with every violation."""
        wrong = [*_slug("contributor", self.contributor), *_slug("id", self.id)]
        wrong += _text("display_name", self.display_name, required=False)
        # Nobody has a hundred reviewers: catches units and typing errors.
        if not 0 <= self.review_depth <= 100:  # noqa: PLR2004 - see above
            wrong.append(Violation("review_depth", "must be between 0 and 100", "OUT_OF_RANGE"))
        _refuse("hash set", wrong)


class Retention(msgspec.Struct, frozen=True, kw_only=True):
    """How long a hash set's entries are kept; only its contributor, operators and auditors are told.

    `days`: an entry that was not listed for so long expires; 0: never. `hold`: nothing of the hash set is deleted or
    expires by age while it is held; only operators set and lift it. `asked_by`: the token that asked for the hash set's
    deletion, which waits for a second person, and `ask_time`.
    """

    days: int = 0
    hold: bool = False
    asked_by: str = ""
    ask_time: datetime | None = None

    def __post_init__(self) -> None:
        """Raise InvalidArgument for a number of days that cannot be meant."""
        if not 0 <= self.days <= MAX_RETENTION_DAYS:
            _refuse("retention", [Violation("days", f"must be 0 to {MAX_RETENTION_DAYS}", "OUT_OF_RANGE")])


class Deletion(msgspec.Struct, frozen=True, kw_only=True):
    """What a deletion of a hash set does, or with a dry run would do: its rows, by what they are.

    `revision`: at which it was deleted, or its deletion was asked for (`pending`: a second person must agree); 0: a dry
    run. `holds`: what stays of withdrawals and quarantines that hold beyond the hash set.
    """

    hash_set: str
    entries: int = 0
    imports: int = 0
    findings: int = 0
    reviews: int = 0
    holds: int = 0
    pending: bool = False
    revision: int = 0


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
    """A raw value in its scheme, and what it implies.

    `dimensions` maps a dimension's name to the sorted values that are possible; a missing dimension is unknown. See
    hashhub.schemes.
    """

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


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One media item as stated by one contributor in one hash set.

    `external_id` is the contributor's own stable id, empty when the source has none. `quality` is the PDQ quality (0 to
    100). `reasons` (hygiene reason codes) says why it is QUARANTINED, why it was WITHDRAWN, or what keeps an ACTIVE one
    from its full weight: UNCLASSIFIED (undecided, being listed is all that is known), AWAITS_ACCEPTANCE (a harmless
    verdict beyond the daily number), WITHDRAWAL_PENDING. `predecessors` and `successors`: names of the entries that it
    replaced, and that replaced it; filled in where one entry is read, not in lists. At `expire_time` it is withdrawn.
    `extra`: as in Record. `frame_count`: how many frames it has, if it is a video; `frames` themselves are filled in
    where one entry is read, in feeds and in exports. `frames_digest`: SHA-256 of them; empty: none, or not told.
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

    @property
    def name(self) -> str:
        """`CONTRIBUTOR/SET/ID`: what answers and commands call it."""
        return f"{self.contributor}/{self.hash_set}/{self.id}"


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
    """Entries that a selection hit and that stay as they are: why (a reason code), how many, and some of their
    names.
    """

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
    `is_capped`: there are more than `count`. `since`: how long ago the oldest began, where that is known.
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


class HashFault(msgspec.Struct, frozen=True, array_like=True):
    """A hash that a source gave but that cannot be one: the label the source used, a hygiene reason code, a
    sentence.
    """

    algorithm: str
    reason: str
    detail: str


class RecordReview(msgspec.Struct, frozen=True, array_like=True):
    """Somebody's statement about the record, carried by the source (NCMEC feedback): kept as a review of the entry.

    `author` is whom the source names; the hub keeps it as `CONTRIBUTOR/author`, so that it can be nobody else's word.
    """

    kind: ReviewKind
    author: str
    comment: str = ""


class Record(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
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
    """One line of an import's report: what became of the item at `position`, and why. `entry_id` is 0 when there is no
    entry.
    """

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


class Import(msgspec.Struct, frozen=True, kw_only=True):
    """One act of ingestion. `batch_count` batches with `item_count` items are stored; the next one has this index.

    `has_classifications`: whether the source's format carries classifications, so that an item without one says
    nothing; None: the contributor did not say. `actor` is the token that opened it.
    """

    id: str
    contributor: str
    hash_set: str
    connector: str
    connector_version: str
    source_digest: str
    replace: bool = False
    has_classifications: bool | None = None
    state: ImportState = ImportState.OPEN
    batch_count: int = 0
    item_count: int = 0
    counts: Counts = Counts()
    revision: int = 0
    actor: str = ""
    create_time: datetime | None = None
    commit_time: datetime | None = None

    @property
    def is_only_checked(self) -> bool:
        """Whether its report is of a commit with `validate_only`: what would have become of its items. An import that
        was cancelled otherwise has no counts.
        """
        return self.state is ImportState.CANCELLED and self.counts.items > 0


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


class Shares(msgspec.Struct, frozen=True, kw_only=True):
    """How much of a hub one token may take at a time, of all its workers together; 0: as the server's settings say.

    `calls`: in progress or waiting. `streams`: followed feeds, live streams and exports. `message_bytes`: of requests
    that are being read or worked on, and of answers that were not taken yet. `media_seconds`: of a core, for hashing
    media, in a minute.
    """

    calls: int = 0
    streams: int = 0
    message_bytes: int = 0
    media_seconds: int = 0

    def __post_init__(self) -> None:
        """Raise InvalidArgument for a share below 0."""
        wrong = tuple(
            Violation(f"shares.{name}", f"must not be negative, got {getattr(self, name)}", "OUT_OF_RANGE")
            for name in self.__struct_fields__
            if getattr(self, name) < 0
        )
        if wrong:
            raise InvalidArgument("; ".join(f"{v.field} {v.description}" for v in wrong), violations=wrong)


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """Who calls: a token of one contributor.

    `shares`: how much of the server it may take at a time, where that differs from the settings.
    `purposes`: for which it may see entries. `acts_for_others`: it answers for clients of its contributor, which some
    terms exclude. `may_mirror`: it reads the change feed. `max_effort`: with which its media are hashed at most; None:
    as the settings say. `last_use_time` is true to a minute. `by_old_secret`: it was let in by a secret that another
    one has taken the place of; not kept, and not sent.
    """

    name: str
    role: Role
    contributor: str = ""
    purposes: tuple[str, ...] = ()
    description: str = ""
    acts_for_others: bool = False
    may_mirror: bool = False
    max_effort: Effort | None = None
    shares: Shares = Shares()
    create_time: datetime | None = None
    expire_time: datetime | None = None
    last_use_time: datetime | None = None
    by_old_secret: bool = False


class DefinitionKind(StrEnum):
    """What can be defined in the hub's store, besides in files."""

    SCHEME = "SCHEME"
    POLICY = "POLICY"


class SignOff(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody answers for a definition: the token, the contributor that it belongs to, when, and what they say."""

    actor: str
    contributor: str
    time: datetime
    comment: str = ""


class Definition(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a scheme or policy that somebody put into the hub. A version's text never changes.

    `text` is TOML, as in a file. `actor` is the token that put it. `retire_time`: since when it is used no more.
    """

    kind: DefinitionKind
    id: str
    version: str
    text: str
    actor: str = ""
    create_time: datetime | None = None
    sign_offs: tuple[SignOff, ...] = ()
    retire_time: datetime | None = None

    @property
    def name(self) -> str:
        """`ID@VERSION`."""
        return f"{self.id}@{self.version}"


class OperationState(StrEnum):
    """How far a long-running operation is. The last three have ended."""

    WAITING = "WAITING"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """What an operation failed with: code and reason as in `hashhub.errors`, by name."""

    code: str
    reason: str
    message: str


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """Work that goes on after the call that started it.

    `request` and `response` are JSON of what `method` takes and gives. `hash_sets`: those that it read, as
    CONTRIBUTOR/SET, known once it runs. `done` of `total` steps, 0 of 0 where that is not known. `size`: bytes of its
    rows and files. `expire_time`: when the result is dropped.
    """

    id: str
    method: str
    request: bytes
    actor: Actor
    state: OperationState = OperationState.WAITING
    hash_sets: tuple[str, ...] = ()
    done: int = 0
    total: int = 0
    doing: str = ""
    create_time: datetime
    update_time: datetime
    end_time: datetime | None = None
    expire_time: datetime | None = None
    response: bytes = b""
    failure: Failure | None = None
    size: int = 0
    is_cancelled: bool = False

    @property
    def has_ended(self) -> bool:
        """Whether nothing more becomes of it."""
        return self.state not in {OperationState.WAITING, OperationState.RUNNING}


class WebhookEvent(StrEnum):
    """What a webhook tells of.

    ENTRY_DISPUTED: somebody else objects to an entry of the webhook's contributor. CONFLICT_OPENED: a conflict to which
    it is a party, and of which it may know, was found or opened again.
    """

    ENTRY_DISPUTED = "ENTRY_DISPUTED"
    CONFLICT_OPENED = "CONFLICT_OPENED"


class Webhook(msgspec.Struct, frozen=True, kw_only=True):
    """Where a contributor wants to be called when something happens; its secret is no part of it.

    `all_contributors`: it is told what concerns any contributor, as operators are; only they make and change it.
    `actor`: the token that registered it. `old_secret_until`: until then calls are signed with the secret before, too.
    """

    contributor: str
    id: str
    url: str
    events: tuple[WebhookEvent, ...]
    description: str = ""
    all_contributors: bool = False
    actor: str = ""
    create_time: datetime | None = None
    create_revision: int = 0
    old_secret_until: datetime | None = None

    @property
    def name(self) -> str:
        """`CONTRIBUTOR/WEBHOOK`, as commands and answers write it."""
        return f"{self.contributor}/{self.id}"

    def __post_init__(self) -> None:
        """Raise InvalidArgument with every violation. What the URL may lead to is for the hub to say."""
        wrong = [*_slug("contributor", self.contributor), *_slug("id", self.id), *_text("url", self.url)]
        wrong += _text("description", self.description, required=False)
        if not self.events:
            wrong.append(Violation("events", "must name at least one event", "REQUIRED"))
        _refuse("webhook", wrong)


class DeliveryState(StrEnum):
    """PENDING: to be made, or made again. DROPPED: nothing of it may be told any more. The others are final, too."""

    PENDING = "PENDING"
    DELIVERED = "DELIVERED"
    GIVEN_UP = "GIVEN_UP"
    DROPPED = "DROPPED"


class DeliveryError(StrEnum):
    """Why a webhook's call did not get through.

    ADDRESS_NOT_ALLOWED: its host has no address that may be called. STATUS: the answer was none of success; a redirect
    is none. NOT_HTTP: the answer was no HTTP.
    """

    ADDRESS_NOT_ALLOWED = "ADDRESS_NOT_ALLOWED"
    CONNECT_FAILED = "CONNECT_FAILED"
    TLS_FAILED = "TLS_FAILED"
    TIMED_OUT = "TIMED_OUT"
    NOT_HTTP = "NOT_HTTP"
    STATUS = "STATUS"


class WebhookDelivery(msgspec.Struct, frozen=True, kw_only=True):
    """One call of a webhook, which is made until it succeeds or is given up; `id` is its `webhook-id`.

    `event`: None for a test. `count`: how much happened that it tells of. `status`: HTTP's of the last answer, 0:
    none came. `next_attempt_time`: of a PENDING one.
    """

    id: str
    contributor: str
    webhook: str
    event: WebhookEvent | None
    state: DeliveryState
    count: int = 0
    attempts: int = 0
    status: int = 0
    error: DeliveryError | None = None
    create_time: datetime | None = None
    last_attempt_time: datetime | None = None
    next_attempt_time: datetime | None = None


class ConflictKind(StrEnum):
    """In what two statements about one item cannot both hold.

    BENIGN_AGAINST_HARMFUL: a benign set's entry, or a claim of no harm, against a claim of harm. CONTRADICTORY_DIGESTS:
    they share one exact digest and bind different digests of another exact algorithm. The others are dimensions of
    `hashhub.schemes`, by name; LEGAL_STATUS is compared within one jurisdiction.
    """

    BENIGN_AGAINST_HARMFUL = "BENIGN_AGAINST_HARMFUL"
    VERDICT = "VERDICT"
    AGE_BAND = "AGE_BAND"
    ACT = "ACT"
    MEDIUM = "MEDIUM"
    LEGAL_STATUS = "LEGAL_STATUS"
    CONTRADICTORY_DIGESTS = "CONTRADICTORY_DIGESTS"
    PERSONS = "PERSONS"
    SELF_GENERATED = "SELF_GENERATED"


class Severity(StrEnum):
    """How grave a conflict is, by its kind and its parties' reliability (`hashhub.trust.contradiction`)."""

    LOW = "LOW"
    MEDIUM = "MEDIUM"
    HIGH = "HIGH"


class ConflictState(StrEnum):
    """OPEN conflicts wait for somebody, ASSIGNED ones for whom they were given to. RESOLVED: an operator has said what
    it comes to. ENDED: one of the statements does not stand any more.
    """

    OPEN = "OPEN"
    ASSIGNED = "ASSIGNED"
    RESOLVED = "RESOLVED"
    ENDED = "ENDED"


class ConflictReason(StrEnum):
    """What a conflict comes to, as somebody sees it.

    LEFT_STANDING: both stand, their criteria differ. CORRECTED: a party has corrected its statement, or will.
    NOT_THE_SAME_ITEM: they are about different media. DECIDED_FOR: one party is right.
    """

    LEFT_STANDING = "LEFT_STANDING"
    CORRECTED = "CORRECTED"
    NOT_THE_SAME_ITEM = "NOT_THE_SAME_ITEM"
    DECIDED_FOR = "DECIDED_FOR"
    OTHER = "OTHER"


class ConflictStatement(msgspec.Struct, frozen=True, kw_only=True):
    """What one entry of a conflict states. `entry` is its name, `scheme` ID@VERSION, empty where it is not classified;
    `digests`: of exact algorithms.
    """

    entry: str
    state: EntryState
    scheme: str = ""
    value: str = ""
    dimensions: dict[str, tuple[str, ...]] = {}
    flags: Flags = NO_FLAGS
    digests: tuple[Hash, ...] = ()
    create_revision: int = 0
    update_revision: int = 0


class ConflictParty(msgspec.Struct, frozen=True, kw_only=True):
    """One side of a conflict: a hash set (`CONTRIBUTOR/SET`), and how many of its entries are concerned.

    `statements`: of some of them; filled in where one conflict is read, not in lists.
    """

    hash_set: str
    contributor: str
    jurisdiction: str
    reliability: Reliability
    purpose: Purpose
    entry_count: int
    statements: tuple[ConflictStatement, ...] = ()


class ConflictResolution(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody says that a conflict comes to. `closes`: an operator's word; a contributor's is its view.

    `decided_for`: the contributor that is right. `stands`: the statements are still those that it was said of.
    """

    contributor: str
    actor: str
    role: Role
    reason: ConflictReason
    comment: str
    decided_for: str = ""
    closes: bool = False
    stands: bool = True
    create_time: datetime | None = None
    revision: int = 0


class Conflict(msgspec.Struct, frozen=True, kw_only=True):
    """Statements about one item of two hash sets that cannot both hold.

    `name` is random. `dimension` says more of the kind: `legal_status:GB`, an algorithm. `why`: a sentence without a
    digest; empty in lists. `revision`: the hub's when it was opened or its ground last changed. `ended_by`: why one
    side stands no more, `ended_side` whose (`CONTRIBUTOR/SET`). `etag` changes with its ground.
    """

    name: str
    kind: ConflictKind
    dimension: str
    severity: Severity
    state: ConflictState
    left: ConflictParty
    right: ConflictParty
    why: str = ""
    assignee: str = ""
    resolutions: tuple[ConflictResolution, ...] = ()
    open_time: datetime | None = None
    update_time: datetime | None = None
    revision: int = 0
    ended_by: str = ""
    ended_side: str = ""
    etag: str = ""


class ConflictFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which conflicts are meant: those that fit every criterion that is given, each by any of its values.

    `contributor`, `hash_set` (`CONTRIBUTOR/SET`), `entry` (`CONTRIBUTOR/SET/ENTRY`) and `jurisdiction` fit by either
    party, `jurisdiction` also by the law that a LEGAL_STATUS conflict is about. `other`: with `contributor`, the other
    party. `states` empty: all that have not ended. `since_revision`: opened, or their ground changed, at this revision
    or later.
    """

    kinds: tuple[ConflictKind, ...] = ()
    severities: tuple[Severity, ...] = ()
    states: tuple[ConflictState, ...] = ()
    contributor: str = ""
    other: str = ""
    hash_set: str = ""
    jurisdiction: str = ""
    assignee: str = ""
    entry: str = ""
    since_revision: int = 0


class ConflictCount(msgspec.Struct, frozen=True, kw_only=True):
    """How many conflicts of a kind and severity, in a state, two contributors have with each other; `left` and `right`
    in order of name, equal where two hash sets of one contributor contradict each other.
    """

    left: str
    right: str
    kind: ConflictKind
    severity: Severity
    state: ConflictState
    count: int


class ConflictingContributor(msgspec.Struct, frozen=True, kw_only=True):
    """How many conflicts that have not ended a contributor has, about how many items, with how many others."""

    contributor: str
    reliability: Reliability
    conflicts: int
    items: int
    others: int


class ConflictSummary(msgspec.Struct, frozen=True, kw_only=True):
    """Conflicts, counted. `contributors`: those with most conflicts first. `looked_upto`: the revision up to which
    conflicts were looked for; None where that is not told.
    """

    counts: tuple[ConflictCount, ...]
    contributors: tuple[ConflictingContributor, ...]
    looked_upto: int | None = None


class EventKind(StrEnum):
    """What a revision did, by name. The history is read for years: never rename one."""

    HISTORY_BEGUN = "HISTORY_BEGUN"
    HISTORY_MENDED = "HISTORY_MENDED"
    CONTRIBUTOR_CREATED = "CONTRIBUTOR_CREATED"
    CONTRIBUTOR_UPDATED = "CONTRIBUTOR_UPDATED"
    CONTRIBUTOR_RETIRED = "CONTRIBUTOR_RETIRED"
    OBJECTIONS_ACCEPTED = "OBJECTIONS_ACCEPTED"
    SCHEME_PUT = "SCHEME_PUT"
    SCHEME_SIGNED_OFF = "SCHEME_SIGNED_OFF"
    SCHEME_RETIRED = "SCHEME_RETIRED"
    POLICY_PUT = "POLICY_PUT"
    POLICY_RETIRED = "POLICY_RETIRED"
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
    ACTOR_REVERTED = "ACTOR_REVERTED"
    EVENT_REDACTED = "EVENT_REDACTED"
    RETENTION_CHANGED = "RETENTION_CHANGED"
    RETENTION_APPLIED = "RETENTION_APPLIED"
    HASH_SET_DELETION_ASKED = "HASH_SET_DELETION_ASKED"
    HASH_SET_DELETED = "HASH_SET_DELETED"
    HASH_SET_ERASED = "HASH_SET_ERASED"
    WEBHOOK_CREATED = "WEBHOOK_CREATED"
    WEBHOOK_UPDATED = "WEBHOOK_UPDATED"
    WEBHOOK_ROTATED = "WEBHOOK_ROTATED"
    WEBHOOK_DELETED = "WEBHOOK_DELETED"


class Actor(msgspec.Struct, frozen=True, array_like=True):
    """Who writes: the token, the contributor that it belongs to, and its role; kept with what it wrote."""

    name: str
    contributor: str
    role: Role


SYSTEM: Final = Actor("system", "", Role.OPERATOR)
"""The hub itself: migrations, expiry, what it does at a start."""


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One visible write. `facts` are names and codes; `details`, erasable, everything that may name a person or hold a
    digest.

    `subject` is a resource as commands write it with its collection: `entries/nl/known/7`, `hash-sets/nl/known`,
    `tokens/alice`. `reason` is a code, such as a WithdrawalReason. `details` is None once redacted. `digest` is the
    chain's head after this event.
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
    """What became of one event in a revert: what is done, in a sentence, or why nothing is; how many entries that
    changes.
    """

    event: Event
    outcome: str
    reverted: bool
    entry_count: int = 0


class Effort(StrEnum):
    """Which variants of an upload are looked for besides the upload as it was sent."""

    PLAIN = "PLAIN"  # none
    STANDARD = "STANDARD"  # how reference tools read the file (READINGS); its border removed, its content box
    THOROUGH = "THOROUGH"  # if nothing is known of those: crops, too


READINGS: Final = frozenset({"as-stored", "without-alpha", "grey-clipped"})
"""Variants that are the upload as it was sent, read as reference tools read such a file: not turned as its EXIF
orientation says or by the numbers of its palette (`as-stored`), its transparency left out, its 16-bit grey clipped. A
list made with those tools holds exactly these hashes of the file, so a hit by one of them is a hit by the upload
itself. See docs/media.md."""

VARIANTS: Final = READINGS | {
    "flip-left-right",
    "flip-top-bottom",
    "rotate-90",
    "rotate-180",
    "rotate-270",
    "transpose",
    "transverse",
    "border-removed",
    "content-box",
    "crop",
    "mirror-pad",
    "frame",
}
"""All variants that hashhub makes; `frame` is a picture of a video. Callers may make others."""


class VariantHashes(msgspec.Struct, frozen=True):
    """The hashes of a further picture that was derived from an upload.

    `variant`: how, as a policy's `variants` names it: a-z, 0-9 and -.
    """

    variant: str
    hashes: tuple[Hash, ...]


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """One item to match. Its hashes are alternatives: each is searched. `label` is the caller's own and comes back.

    `variants`: hashes of what was derived from the upload; searched as well, and told apart. `frames`: of a video, in
    the order of their times.
    """

    hashes: tuple[Hash, ...]
    label: str = ""
    variants: tuple[VariantHashes, ...] = ()
    frames: tuple[VideoFrame, ...] = ()


class MatchOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How to search and judge.

    `policy` has no default: which statements suffice is a safety decision. `max_distances` maps an algorithm to an
    inclusive distance in its metric's unit; algorithms that it lacks use their default, and PHOTODNA has none. VPDQ
    stands for the frames of videos: where it is named, pictures are looked for among them, too.
    `dihedral` and `effort` are for media that the hub hashes.
    """

    policy: str
    max_distances: dict[str, int] = {}
    match_limit: int = 100
    dihedral: bool = False
    effort: Effort = Effort.STANDARD


class ReasonLine(msgspec.Struct, frozen=True, kw_only=True):
    """Why a verdict: a stable code, the policy's clause, a sentence, and the names of the entries concerned."""

    code: str
    clause: str = ""
    text: str = ""
    entries: tuple[str, ...] = ()


class TimeRange(msgspec.Struct, frozen=True, array_like=True):
    """A stretch of the query's video that an entry's video has as well, in milliseconds from the start of each. Ends
    are the times of the last frames that match.
    """

    begin_ms: int
    end_ms: int
    entry_begin_ms: int
    entry_end_ms: int


class VideoMatch(msgspec.Struct, frozen=True, kw_only=True):
    """How far two videos agree, frame by frame.

    `query_share`, `entry_share`: of the distinct frames of quality that each has, those that the other has as well, in
    percent. `ranges`: where, of the nearest entries; of a still picture's entry where the query shows it.
    """

    query_share: float
    entry_share: float
    ranges: tuple[TimeRange, ...] = ()


class EntryMatch(msgspec.Struct, frozen=True, kw_only=True):
    """An entry that was found: by which algorithm, at which distance, from which of the query's digests.

    `variant`: of the upload, whose digest that is; empty: the upload as it was sent. `video`: of a hit by frames, of
    which `distance` is that of the nearest.
    """

    entry: Entry
    algorithm: str
    distance: int
    query_digest: bytes
    reviews: dict[ReviewKind, int] = {}
    marking: Marking = Marking()
    variant: str = ""
    video: VideoMatch | None = None


class MatchResult(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to one query. `matches` is in order of distance; `truncated` and `withheld` say what it lacks."""

    verdict: Verdict
    reasons: tuple[ReasonLine, ...] = ()
    matches: tuple[EntryMatch, ...] = ()
    label: str = ""
    truncated: bool = False
    withheld: bool = False


class Coverage(msgspec.Struct, frozen=True, kw_only=True):
    """What was looked for of one file, and what was not.

    Attributes:
        algorithms: By which hash algorithms, in the order of the registry.
        effort: What was asked for, or what the caller's token may have if that is less.
        variants: Which variants of the upload were looked for, each named once.
        frame_count: Frames or pages of the file; 0: it was not decoded.
        frames_hashed: How many of them were hashed and looked for, or equal one that was.
        gaps: What was not looked for and why: EXACT_ONLY, LOW_QUALITY, FRAMES_SKIPPED and so on. Empty: all that was
            asked for was done.
    """

    algorithms: tuple[str, ...] = ()
    effort: Effort = Effort.PLAIN
    variants: tuple[str, ...] = ()
    frame_count: int = 0
    frames_hashed: int = 0
    gaps: tuple[ReasonLine, ...] = ()


class MediaResult(msgspec.Struct, frozen=True, kw_only=True):
    """The answer about one media file, what was computed from it, and what was looked for. `media_type` is empty when
    it was not decoded.
    """

    result: MatchResult
    hashes: tuple[Hash, ...] = ()
    quality: int | None = None
    media_type: str = ""
    coverage: Coverage = Coverage()


class Hysteresis(msgspec.Struct, frozen=True, kw_only=True):
    """When a live stream counts as showing an entry, and when not any more.

    Attributes:
        enter_hits: It does once so many of the last `enter_frames` frames have hit the entry. Likewise at once when a
            frame of quality is the listed picture itself: the same file, or PDQ distance 0.
        enter_frames: 1 to MAX_ENTER_FRAMES.
        leave_ms: It does no more after so many milliseconds of frames that were looked for and did not hit it.
        unread_frames: After so many frames in a row that could not be looked for, a stream is not clean any more: its
            verdict is UNAVAILABLE, unless it is MATCH or REVIEW.
    """

    enter_hits: int = 2
    enter_frames: int = 3
    leave_ms: int = 10_000
    unread_frames: int = 5

    def __post_init__(self) -> None:
        """Raise InvalidArgument for a value out of its bounds."""
        bounds = (
            ("enter_frames", 1, MAX_ENTER_FRAMES),
            ("enter_hits", 1, max(1, self.enter_frames)),
            ("leave_ms", 1, 600_000),
            ("unread_frames", 1, 1_000),
        )
        wrong = [
            Violation(name, f"must be {least} to {most}, got {value}", "OUT_OF_RANGE")
            for name, least, most in bounds
            if not least <= (value := getattr(self, name)) <= most
        ]
        if wrong:
            _refuse("hysteresis", wrong)


class LiveOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How to watch a live stream.

    `frames_per_second`: how many frames the caller means to send; a gap between two frames counts as watched for as
    long as two of them take, and no longer. `changes_only`: answer when the verdict or the matches change, and every
    10 seconds, instead of to each frame.
    """

    match: MatchOptions
    label: str = ""
    frames_per_second: float = 1.0
    hysteresis: Hysteresis = Hysteresis()
    changes_only: bool = False

    def __post_init__(self) -> None:
        """Raise InvalidArgument for a value out of its bounds."""
        wrong = _text("label", self.label, required=False)
        if not 0 < self.frames_per_second <= MAX_LIVE_RATE:
            text = f"must be above 0 and at most {MAX_LIVE_RATE}, got {self.frames_per_second:g}"
            wrong.append(Violation("frames_per_second", text, "OUT_OF_RANGE"))
        if wrong:
            _refuse("live options", wrong)


class LivePicture(msgspec.Struct, frozen=True):
    """A frame of a live stream as a picture file, for the hub to hash: its time from the start, and its bytes."""

    offset_ms: int
    content: bytes


class LiveRange(msgspec.Struct, frozen=True, kw_only=True):
    """When a live stream showed an entry: the times of the first and the last frame that hit it, in milliseconds, and
    how many did. `is_ended`: it counts as shown no more.

    `video`: of an entry that the stream plays as a video; the shares are of the last minute, the ranges the newest.
    """

    entry: str
    begin_ms: int
    end_ms: int
    hit_count: int
    is_ended: bool = False
    video: VideoMatch | None = None


class LiveAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What a live stream shows now.

    Attributes:
        offset_ms: Of the frame that the answer is about.
        verdict: The policy's, about all that is shown now; UNAVAILABLE while the frames cannot be looked for.
        result: The same with its reasons and matches, if it differs from the last answer's.
        ranges: Of each entry that is shown and may be seen, and once of each that is shown no more.
        hit_count: Entries that this frame hit, whether they count as shown or not.
        quality: PDQ's, of this frame; None if it was not hashed.
        unread: Why this frame was not looked for; None if it was.
        frames_hashed: Frames that were looked for so far.
        frames_unread: Frames that could not be looked for so far.
        frames_skipped: Frames that were left out so far, because newer ones were there and there was no time for all.
        policy: The policy applied, NAME@VERSION.
        revision: The hub's, of which the verdict is true.
    """

    offset_ms: int
    verdict: Verdict
    result: MatchResult | None = None
    ranges: tuple[LiveRange, ...] = ()
    hit_count: int = 0
    quality: int | None = None
    unread: ReasonLine | None = None
    frames_hashed: int = 0
    frames_unread: int = 0
    frames_skipped: int = 0
    policy: str = ""
    revision: int = 0


class ChangedEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the change feed, as what it means to its reader.

    UPSERT: `entry` as it is now, with its reviews, or take over `hash_set` or `contributor`. WITHDRAW: drop the entry
    called `entry_name`; or, with `hash_set_name` instead, all entries of that hash set, which the reader may not see
    any more.
    """

    revision: int
    kind: ChangeKind
    entry: Entry | None = None
    reviews: tuple[Review, ...] = ()
    hash_set: HashSet | None = None
    contributor: Contributor | None = None
    entry_name: str = ""
    hash_set_name: str = ""


class FeedPage(msgspec.Struct, frozen=True, kw_only=True):
    """A stretch of the feed. `position`: where to go on, opaque. `is_complete`: the reader now has everything up to
    `revision`.

    `head`: the history's last revision and the chain's head there.
    """

    changes: tuple[ChangedEntry, ...]
    position: str
    revision: int
    head: str
    is_complete: bool


class AlgorithmStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The matcher's state for one algorithm: distinct digests, how many of them in the tail, and the planner's
    choice.
    """

    algorithm: str
    digest_count: int
    tail_count: int
    engine: str


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """The state of a hub, for operators. `revision` is the store's; the matcher has caught up when both are equal."""

    version: str
    database: str
    revision: int
    matcher_revision: int
    algorithms: tuple[AlgorithmStatus, ...] = ()
    warnings: tuple[str, ...] = ()


def now() -> datetime:
    """Return the current time in UTC, to the millisecond (what both databases keep)."""
    t = datetime.now(UTC)
    return t.replace(microsecond=t.microsecond // 1000 * 1000)
