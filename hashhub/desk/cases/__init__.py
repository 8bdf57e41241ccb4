"""Cases: a report about one item, whose copies are stopped at once, looked for in what is there, and taken down by a
time that a rule names.

    opened ── OPEN ── a person confirms ── CONFIRMED ── closed, UPHELD: its copies stay stopped
               │           ▲    │
               │           │    └── somebody disputes ── DISPUTED: holds, and blocks nothing, until a person decides
               └── nobody confirms in time: it holds nothing any more ── closed, REJECTED or WITHDRAWN: hashes erased

A complaint is a claim of whoever complains. It holds copies back until a person has looked, and blocks nothing by
itself unless the settings say so. Each step is an event with its actor and reason. Events and records of cases hold no
digests; these stand in `case_hash` for as long as the case stops copies, and in no other place.
"""

from __future__ import annotations

from hashhub.desk.cases.clocks import CasePurpose, Clock, Rule, Standing, rules
from hashhub.desk.cases.copies import MOST_COPIES, Copies, Copy, CopyState, Partial, Scan
from hashhub.desk.cases.index import CaseHit, CaseIndex
from hashhub.desk.cases.item import MOST_HASHES, Item, item_of, item_of_hashes
from hashhub.desk.cases.life import Case, CaseOutcome, CaseRecord, Cases, CaseState
from hashhub.desk.cases.page import page

__all__ = [
    "MOST_COPIES",
    "MOST_HASHES",
    "Case",
    "CaseHit",
    "CaseIndex",
    "CaseOutcome",
    "CasePurpose",
    "CaseRecord",
    "CaseState",
    "Cases",
    "Clock",
    "Copies",
    "Copy",
    "CopyState",
    "Item",
    "Partial",
    "Rule",
    "Scan",
    "Standing",
    "item_of",
    "item_of_hashes",
    "page",
    "rules",
]
