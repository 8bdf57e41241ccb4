"""The store: every statement, durable and attributed, in SQLite or PostgreSQL.

`Store` is the whole interface; SQLAlchemy does not show through it, and its errors are those of hashhub.errors.
"""

from __future__ import annotations

from hashhub.store.commits import BY_SOURCE, Overtaken
from hashhub.store.comparison import StatedEntries
from hashhub.store.conflict_pass import ConflictSide, DigestStatement, FoundConflict, Neighbourhood, PassPiece
from hashhub.store.conflicts import ConflictQuery, ConflictRow, ConflictScope, PairCount, etag_of, no_conflict
from hashhub.store.entries import OBJECTIONS, HitRow, SelectedEntries
from hashhub.store.entry_selector import Scope
from hashhub.store.entry_transitions import DailyLimit, TransitionCommand, TransitionResult, WithdrawalByHand
from hashhub.store.event_effects import EntriesMoved, EventEffect
from hashhub.store.events import Position
from hashhub.store.examination import ExaminationPlace
from hashhub.store.extract import ChangedIds, StandingEntries
from hashhub.store.feeds import FeedChange, MatcherChange
from hashhub.store.holds import Hold, Origin, trace_of
from hashhub.store.idset import IdSet
from hashhub.store.packing import EntryColumns
from hashhub.store.pending import COUNTED as WAITING_COUNTED
from hashhub.store.pending import PendingItems
from hashhub.store.reports import FindingRun
from hashhub.store.requests import IdempotentRequest, WriteOptions
from hashhub.store.resources import Registry
from hashhub.store.store import Store

__all__ = [
    "BY_SOURCE",
    "OBJECTIONS",
    "WAITING_COUNTED",
    "ChangedIds",
    "ConflictQuery",
    "ConflictRow",
    "ConflictScope",
    "ConflictSide",
    "DailyLimit",
    "DigestStatement",
    "EntriesMoved",
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
    "MatcherChange",
    "Neighbourhood",
    "Origin",
    "Overtaken",
    "PairCount",
    "PassPiece",
    "PendingItems",
    "Position",
    "Registry",
    "Scope",
    "SelectedEntries",
    "StandingEntries",
    "StatedEntries",
    "Store",
    "TransitionCommand",
    "TransitionResult",
    "WithdrawalByHand",
    "WriteOptions",
    "etag_of",
    "no_conflict",
    "trace_of",
]
