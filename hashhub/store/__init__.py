"""The store: every statement, durable and attributed, in SQLite or PostgreSQL. `Store` is the whole interface.

SQLAlchemy does not show through it, and its errors are those of hashhub.errors.

Revision: one counter. Every visible write increases it in its own transaction, appends its event and holds the lock
until the commit, so that the order of revisions is the order in which they became visible, on both databases.

Visibility: an entry belongs to an import and is visible once that import is COMMITTED; committing a million entries
changes one row of `import` and adds one `change` row for each contiguous range. Reads therefore look at the import.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from hashhub.store.approvals import ApprovalTable
from hashhub.store.backlog import COUNTED as WAITING_COUNTED
from hashhub.store.backlog import Backlog, BacklogItems
from hashhub.store.commits import BY_SOURCE, Commits, StaleCommit
from hashhub.store.comparison import EntryComparison, StatedEntries
from hashhub.store.conflict_pass import (
    ConflictPass,
    ConflictSide,
    DigestStatement,
    FoundConflict,
    Neighbourhood,
    PassPiece,
)
from hashhub.store.conflicts import (
    ConflictQuery,
    ConflictRow,
    ConflictScope,
    ConflictTable,
    PairCount,
    etag_of,
    no_conflict,
    parties_of,
    party_of,
)
from hashhub.store.database import Database, IdempotentRequest, WriteOptions
from hashhub.store.definitions import Definitions
from hashhub.store.deletion import DeletionTable
from hashhub.store.drivers import NoDatabase, locate
from hashhub.store.entries import EntryTable, HitRow, SelectedEntries
from hashhub.store.entry_codec import EntryColumns, IdSet
from hashhub.store.entry_selector import EntrySelector, Scope
from hashhub.store.entry_transitions import (
    EntryTransitions,
    TransitionCommand,
    TransitionResult,
    WithdrawalByHand,
)
from hashhub.store.entry_writes import DeferredWithdrawals, EntryWrites
from hashhub.store.event_effects import EventEffect, EventEffects, StaleEntries
from hashhub.store.events import Events, LogState, Position
from hashhub.store.examination import ExaminationPlace, RowExamination
from hashhub.store.extract import ChangedIds, ExtractRows, StandingEntries
from hashhub.store.feeds import FeedChange, Feeds, MatcherChange
from hashhub.store.holds import Hold, Holds, Origin, trace_of
from hashhub.store.imports import Imports
from hashhub.store.leases import Leases
from hashhub.store.operations import OperationTable
from hashhub.store.resources import Registry, Resources
from hashhub.store.retention import RetentionTable
from hashhub.store.stage import FindingRun, Reports, Stage
from hashhub.store.tokens import TokenTable
from hashhub.store.webhooks import WebhookTable
from hashhub.store.withdrawal_requests import DailyLimit, WithdrawalRequests

__all__ = [
    "BY_SOURCE",
    "WAITING_COUNTED",
    "BacklogItems",
    "ChangedIds",
    "ConflictQuery",
    "ConflictRow",
    "ConflictScope",
    "ConflictSide",
    "DailyLimit",
    "DigestStatement",
    "EntryColumns",
    "EventEffect",
    "ExaminationPlace",
    "FeedChange",
    "FindingRun",
    "FoundConflict",
    "HitRow",
    "Hold",
    "IdSet",
    "IdempotentRequest",
    "LogState",
    "MatcherChange",
    "Neighbourhood",
    "NoDatabase",
    "Origin",
    "PairCount",
    "PassPiece",
    "Position",
    "Registry",
    "Scope",
    "SelectedEntries",
    "StaleCommit",
    "StaleEntries",
    "StandingEntries",
    "StatedEntries",
    "Store",
    "TransitionCommand",
    "TransitionResult",
    "WithdrawalByHand",
    "WriteOptions",
    "etag_of",
    "no_conflict",
    "parties_of",
    "party_of",
    "trace_of",
]


class Store:
    """Everything the hub keeps, by what it is about; `Store.open` builds it.

    Thread-safe; several processes may open the same database.

    Methods of all parts raise Unavailable (DATABASE_UNAVAILABLE) when the database is away or busy, and LimitExceeded
    (DISK_FULL) when a write does not fit; neither leaves anything half-written. A write with a `request_id` returns the
    first call's result when it is repeated, and raises AlreadyExists when the id was used for something else.
    """

    def __init__(self, database: Database) -> None:
        self.database: Final = database
        row = self.database.fetch("SELECT database_id, secret FROM metadata")[0]
        self.database_id: str = row[0]
        """Random name of this database: what was derived from another one (a snapshot) does not belong to it."""
        self.secret: bytes = row[1]
        """Known to this hub's processes only: signs feed positions."""
        outstanding = DeferredWithdrawals(database)
        self.deferred_withdrawals: Final = outstanding
        writes = EntryWrites(database, outstanding)
        self.resources: Final = Resources(database)
        self.definitions: Final = Definitions(database)
        self.tokens: Final = TokenTable(database)
        self.approvals: Final = ApprovalTable(database)
        self.entries: Final = EntryTable(database, outstanding, writes)
        self.selector: Final = EntrySelector(database, outstanding, self.entries)
        self.withdrawal_requests: Final = WithdrawalRequests(database, outstanding)
        self.transitions: Final = EntryTransitions(
            database, outstanding, writes, self.entries, self.withdrawal_requests
        )
        self.holds: Final = Holds(database)
        self.comparison: Final = EntryComparison(database, outstanding, self.entries)
        self.extract: Final = ExtractRows(database, outstanding, self.entries)
        self.leases: Final = Leases(database)
        reports = Reports(database, self.leases)
        self.stage: Final = Stage(database, writes, self.leases, reports)
        self.imports: Final = Imports(database, self.leases, self.stage, reports)
        self.commits: Final = Commits(database, outstanding, writes, self.leases, self.stage, self.imports)
        self.feeds: Final = Feeds(database, outstanding, self.entries)
        self.history: Final = Events(database)
        self.event_effects: Final = EventEffects(database, outstanding)
        self.backlog: Final = Backlog(database, self.resources)
        self.operations: Final = OperationTable(database)
        self.webhooks: Final = WebhookTable(database)
        self.deletions: Final = DeletionTable(database, outstanding, writes, self.entries, self.secret, self.leases)
        self.retention: Final = RetentionTable(database, self.history, self.secret)
        self.conflict_pass: Final = ConflictPass(database, outstanding, self.secret)
        self.conflicts: Final = ConflictTable(database)

    def examination(self, place: ExaminationPlace) -> RowExamination:
        """Return a look, from a place on, at whether rows are what the history says of them."""
        return RowExamination(self.database, self.secret, place)

    def damage(self, *, is_full: bool) -> str:
        """Return what SQLite finds wrong with its file, or a warning that PostgreSQL would not notice; or nothing."""
        if self.database.is_sqlite:
            said = str(self.database.fetch(f"PRAGMA {'integrity' if is_full else 'quick'}_check(1)")[0][0])
            return "" if said == "ok" else f"the database file is damaged ({said[:200]}): restore a backup"
        if self.database.fetch("SHOW data_checksums")[0][0] == "on":
            return ""
        return (
            "warning: PostgreSQL keeps no checksums of its pages, so that what a bad disk changes is answered with; "
            "stop it, and run pg_checksums --enable"
        )

    @classmethod
    def open(cls, database: str | Path, *, create: bool = True) -> Store:
        """Open the database at a directory, a SQLite file or a postgresql+psycopg:// URL, in each process, after
        forking.

        Raises InvalidArgument for anything else; FailedPrecondition: it does not exist and `create` is false, it was
        written by a newer hashhub, or psycopg is missing.
        """
        return cls(Database(locate(database), create=create))

    def close(self) -> None:
        """Close the connections."""
        self.database.close()

    @property
    def kind(self) -> str:
        """SQLITE or POSTGRESQL."""
        return "SQLITE" if self.database.is_sqlite else "POSTGRESQL"

    def has_room(self) -> bool:
        """Whether writes fit on the database's disk, as far as is known without filling it. Raises Unavailable."""
        return self.database.has_room()

    def revision(self) -> int:
        """Return the last revision. Reads made after this call see at least everything up to it."""
        return self.history.position().revision
