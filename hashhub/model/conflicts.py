"""Conflicts between what contributors state of one item."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from enum import StrEnum

import msgspec

from hashhub.hashes import Hash
from hashhub.model.entries import NO_FLAGS, EntryState, Flags
from hashhub.model.resources import Purpose, Reliability, Role


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
    """What a conflict comes to, as somebody sees it. LEFT_STANDING: both stand, their criteria differ. CORRECTED: a
    party corrects its statement. NOT_THE_SAME_ITEM: they are about different media. DECIDED_FOR: one party is right.
    """

    LEFT_STANDING = "LEFT_STANDING"
    CORRECTED = "CORRECTED"
    NOT_THE_SAME_ITEM = "NOT_THE_SAME_ITEM"
    DECIDED_FOR = "DECIDED_FOR"
    OTHER = "OTHER"


class ConflictAction(StrEnum):
    """What is done to conflicts."""

    ASSIGN = "ASSIGN"
    RESOLVE = "RESOLVE"
    REOPEN = "REOPEN"


class ConflictStatement(msgspec.Struct, frozen=True, kw_only=True):
    """What one entry of a conflict states: `entry` its name, `scheme` ID@VERSION or empty, `digests` exact ones."""

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
    side stands no more, `ended_side` whose (`CONTRIBUTOR/SET`). `etag` changes with its ground, and for
    overseers with its state and assignee.
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
    """Which conflicts are meant: those that fit every criterion that is given, each by any of its values, as a party's
    or, for `jurisdiction`, as the law that a LEGAL_STATUS conflict is about. `other`: with `contributor`, the other
    party. `states` empty: all that have not ended. `since_revision`: opened, or their ground changed, since.
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
    """Conflicts, counted. `contributors`: those with most first. `looked_upto`: a revision; None: not told."""

    counts: tuple[ConflictCount, ...]
    contributors: tuple[ConflictingContributor, ...]
    looked_upto: int | None = None


class ConflictOrder(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be done to many conflicts: `assignee` is for ASSIGN, `reason` and `decided_for` for RESOLVE, `comment`
    for RESOLVE and REOPEN. `expected_count`: when more fit, nothing is done; None: however many.
    """

    action: ConflictAction
    assignee: str = ""
    reason: ConflictReason | None = None
    comment: str = ""
    decided_for: str = ""
    expected_count: int | None = None


class ConflictChanges(msgspec.Struct, frozen=True, kw_only=True):
    """What was done, or with `validate_only` would be, to some of the conflicts that fit a filter, of which there were
    `total` before the first of them.

    `selected` is the sum of `changed` and `skipped`, by why: their state, NOT_A_PARTY of who was named, or NOT_FOUND.
    `revision`: of the last change; 0: nothing was done.
    """

    action: ConflictAction
    selected: int = 0
    changed: int = 0
    skipped: dict[str, int] = {}
    examples: tuple[str, ...] = ()
    revision: int = 0
    validate_only: bool = False
    total: int = 0

    def with_next(self, other: ConflictChanges) -> ConflictChanges:
        """Return what was done with what was done next."""
        return msgspec.structs.replace(
            other,
            selected=self.selected + other.selected,
            changed=self.changed + other.changed,
            skipped=dict(Counter(self.skipped) + Counter(other.skipped)),
            examples=self.examples or other.examples,
            revision=other.revision or self.revision,
            total=self.total or other.total,
        )
