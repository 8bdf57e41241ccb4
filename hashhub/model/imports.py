"""Imports: what a connector reads, and what became of each item."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Final

import msgspec

from hashhub.hashes import Hash
from hashhub.model.entries import NO_FLAGS, Flags, RecordReview, VideoFrame
from hashhub.model.hash_sets import Marking

MAX_BATCH: Final = 10_000  # records and rejects in one call: bounds what one call can hold in memory


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

    @property
    def is_only_checked(self) -> bool:
        """Whether its report is of a commit with `validate_only`: what would have become of its items."""
        return self.state is ImportState.CANCELLED and self.counts.items > 0
