"""Policies and verdicts: pure functions of entries, reviews and who takes material from whom.

    statements ──> claims ──> disputes ──> clauses ──> Judgement(verdict, reasons)

A policy is data (`data/*.toml`, or a directory that the operator names; `docs/policies.md`). It can only be more or less demanding:
what counts as a claim, as independent and as a standing review is decided here, once, for all policies.
"""

from __future__ import annotations

from hashhub.trust.evaluation import Judgement, ReasonCode, Statement, evaluate
from hashhub.trust.policy import Clause, Dispute, Policy, explain, load, parse

__all__ = [
    "Clause",
    "Dispute",
    "Judgement",
    "Policy",
    "ReasonCode",
    "Statement",
    "evaluate",
    "explain",
    "load",
    "parse",
]
