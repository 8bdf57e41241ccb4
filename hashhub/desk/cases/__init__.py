"""Cases: a report about one item, whose copies are stopped at once, searched for, and taken down in time.

    opened ── OPEN ── a person confirms ── CONFIRMED ── closed, UPHELD: its copies stay stopped
               │           ▲    │
               │           │    └── somebody disputes ── DISPUTED: holds, and blocks nothing, until a person decides
               └── nobody confirms in time: it holds nothing any more ── closed, REJECTED or WITHDRAWN: hashes erased

A complaint is a claim. It holds copies until a person has looked, and blocks nothing unless the settings say so. Each
step is an event with actor and reason. Digests stand in `case_hash` only, for as long as the case stops copies.
"""
