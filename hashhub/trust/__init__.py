"""Policies and verdicts: pure functions of entries, reviews and who takes material from whom.

    statements ──> claims ──> doubts ──> clauses ──> Judgement(verdict, reasons)

`decide` knows no store and no matcher: the hub calls it with what a query hit, and so does whoever holds a copy.

A policy is data (`data/*.toml`, or a directory that the operator names; `docs/policies.md`). It can only be more or
less demanding: what counts as a claim, as independent and as a standing review is decided here, once, for all policies.
"""

from __future__ import annotations

from hashhub.trust.decision import AS_THEY_ARE, Judgement, ReasonCode, decide
from hashhub.trust.explanation import (
    ClauseTrace,
    DemandTrace,
    EntryTrace,
    Example,
    FailedDemand,
    Trace,
    Trial,
    VerdictChange,
    trace,
)
from hashhub.trust.hysteresis import FrameOutcome, SightingTracker, Span
from hashhub.trust.policy import Dispute, Policy, PolicyVersions, Version, check_variants, explain, load, parse
from hashhub.trust.statement import Clause, Closeness, Corroboration, HitPath, Statement, corroborations

__all__ = [
    "AS_THEY_ARE",
    "Clause",
    "ClauseTrace",
    "Closeness",
    "Corroboration",
    "DemandTrace",
    "Dispute",
    "EntryTrace",
    "Example",
    "FailedDemand",
    "FrameOutcome",
    "HitPath",
    "Judgement",
    "Policy",
    "PolicyVersions",
    "ReasonCode",
    "SightingTracker",
    "Span",
    "Statement",
    "Trace",
    "Trial",
    "VerdictChange",
    "Version",
    "check_variants",
    "corroborations",
    "decide",
    "explain",
    "load",
    "parse",
    "trace",
]
