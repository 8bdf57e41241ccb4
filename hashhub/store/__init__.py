"""The store: every statement, durable and attributed, in SQLite or PostgreSQL.

`Store` is the whole interface; SQLAlchemy does not show through it, and its errors are those of hashhub.errors.
"""

from __future__ import annotations

from hashhub.store.feeds import LAST_ENTRY, MatcherChange
from hashhub.store.locking import lock_data
from hashhub.store.packing import EntryRow
from hashhub.store.store import Position, Store

__all__ = ["LAST_ENTRY", "EntryRow", "MatcherChange", "Position", "Store", "lock_data"]
