"""All parts of `hashhub hook`. Each adds its commands to the group when it is imported."""

from __future__ import annotations

from hashhub.cli.hook import (
    cases,
    checking,
    clamd,
    evidence,
    local,
    queue,
    reports,
    serving,
    starting,
    storing,
    trying,
    vault,
)

__all__ = [
    "cases",
    "checking",
    "clamd",
    "evidence",
    "local",
    "queue",
    "reports",
    "serving",
    "starting",
    "storing",
    "trying",
    "vault",
]
