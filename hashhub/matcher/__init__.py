"""Exact matching of digests at the speed of memory: `Matcher`.

live.py       the Matcher
state.py      what searches read, and how it changes
search.py     from segments to one answer in order, and which digests match too much
compaction.py merges, snapshots and rebuilds, in the background
snapshot.py   snapshots on disk
index.py      immutable segments: build, look up, search, and which hash sets have what
plan.py       which engine answers, with which thresholds, and why nothing is missed
pairs.py      which digests of a set are near one another
kernels.py    the compiled loops
"""

from __future__ import annotations

from hashhub.matcher.live import IndexStatus, Matcher, MatcherStatus, has_kernels, warm_up
from hashhub.matcher.pairs import DigestPair, NearDigests
from hashhub.matcher.plan import SearchEngine
from hashhub.matcher.search import CircuitBreaker, HashSets, Matches, Plan, SegmentHits, TrippedDigest

__all__ = [
    "CircuitBreaker",
    "DigestPair",
    "HashSets",
    "IndexStatus",
    "Matcher",
    "MatcherStatus",
    "Matches",
    "NearDigests",
    "Plan",
    "SearchEngine",
    "SegmentHits",
    "TrippedDigest",
    "has_kernels",
    "warm_up",
]
