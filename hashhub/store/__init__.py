"""The store: every statement, durable and attributed, in SQLite or PostgreSQL.

`Store` is the whole interface; SQLAlchemy does not show through it, and its errors are those of hashhub.errors.
"""

from __future__ import annotations

from hashhub.store.commits import BY_SOURCE, Overtaken
from hashhub.store.comparison import StatedEntries
from hashhub.store.conflict_pass import FoundConflict, Neighbourhood, Piece, Side, Stated
from hashhub.store.conflicts import ConflictQuery, ConflictRow, ConflictScope, PairCount, etag_of, no_conflict
from hashhub.store.entries import OBJECTIONS, EntryHit, SelectedEntries
from hashhub.store.entry_selector import Scope
from hashhub.store.entry_transitions import DailyLimit, TransitionCommand, TransitionResult, WithdrawalByHand
from hashhub.store.event_effects import EntriesMoved, EventEffect
from hashhub.store.events import Position
from hashhub.store.examination import Place
from hashhub.store.extract import ChangedIds, StandingEntries
from hashhub.store.feeds import Change, MatcherChange
from hashhub.store.holds import Hold, Origin, trace_of
from hashhub.store.idset import IdSet
from hashhub.store.packing import EntryColumns
from hashhub.store.pending import COUNTED as WAITING_COUNTED
from hashhub.store.pending import Waiting
from hashhub.store.reports import FindingRun
from hashhub.store.requests import Request
from hashhub.store.resources import Registry
from hashhub.store.store import Store

__all__ = [
    "BY_SOURCE",
    "OBJECTIONS",
    "WAITING_COUNTED",
    "Change",
    "ChangedIds",
    "ConflictQuery",
    "ConflictRow",
    "ConflictScope",
    "DailyLimit",
    "EntriesMoved",
    "EntryColumns",
    "EntryHit",
    "EventEffect",
    "FindingRun",
    "FoundConflict",
    "Hold",
    "IdSet",
    "MatcherChange",
    "Neighbourhood",
    "Origin",
    "Overtaken",
    "PairCount",
    "Piece",
    "Place",
    "Position",
    "Registry",
    "Request",
    "Scope",
    "SelectedEntries",
    "Side",
    "StandingEntries",
    "Stated",
    "StatedEntries",
    "Store",
    "TransitionCommand",
    "TransitionResult",
    "Waiting",
    "WithdrawalByHand",
    "etag_of",
    "no_conflict",
    "trace_of",
]
