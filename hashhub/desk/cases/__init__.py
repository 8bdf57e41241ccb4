"""Cases: a report about one item, whose copies are stopped at once, searched for, and taken down in time.

    opened ── OPEN ── a person confirms ── CONFIRMED ── closed, UPHELD: its copies stay stopped
               │           ▲    │
               │           │    └── somebody disputes ── DISPUTED: holds, and blocks nothing, until a person decides
               └── nobody confirms in time: it holds nothing any more ── closed, REJECTED or WITHDRAWN: hashes erased

A complaint is a claim. It holds copies until a person has looked, and blocks nothing unless the settings say so. Each
step is an event with actor and reason. Digests stand in `case_hash` only, for as long as the case stops copies.
"""

from __future__ import annotations

from hashhub.desk.cases.clocks import CasePurpose, Deadline, DeadlineRule, Standing, rules
from hashhub.desk.cases.copies import MOST_COPIES, CaseCopy, Copies, CopyState, Partial, Scan
from hashhub.desk.cases.index import CaseHit, CaseIndex
from hashhub.desk.cases.item import MOST_HASHES, CaseItem, item_of, item_of_hashes
from hashhub.desk.cases.life import Case, CaseOutcome, CaseRecord, Cases, CaseState
from hashhub.desk.cases.page import page

__all__ = [
    "MOST_COPIES",
    "MOST_HASHES",
    "Case",
    "CaseCopy",
    "CaseHit",
    "CaseIndex",
    "CaseItem",
    "CaseOutcome",
    "CasePurpose",
    "CaseRecord",
    "CaseState",
    "Cases",
    "Copies",
    "CopyState",
    "Deadline",
    "DeadlineRule",
    "Partial",
    "Scan",
    "Standing",
    "item_of",
    "item_of_hashes",
    "page",
    "rules",
]
