"""The store: every statement, durable and attributed, in SQLite or PostgreSQL.

`Store` is the whole interface; SQLAlchemy does not show through it, and its errors are those of hashhub.errors.
"""

from __future__ import annotations

from hashhub.store.commits import BY_SOURCE
from hashhub.store.comparison import StatedEntries
from hashhub.store.entries import OBJECTIONS, EntryHit
from hashhub.store.events import Position
from hashhub.store.feeds import Change, MatcherChange
from hashhub.store.holds import Hold, Origin, trace_of
from hashhub.store.idset import IdSet
from hashhub.store.packing import EntryColumns
from hashhub.store.reports import FindingRun
from hashhub.store.resources import Registry
from hashhub.store.standing import DailyLimit
from hashhub.store.store import Store

__all__ = [
    "BY_SOURCE",
    "OBJECTIONS",
    "Change",
    "DailyLimit",
    "EntryColumns",
    "EntryHit",
    "FindingRun",
    "Hold",
    "IdSet",
    "MatcherChange",
    "Origin",
    "Position",
    "Registry",
    "StatedEntries",
    "Store",
    "trace_of",
]
