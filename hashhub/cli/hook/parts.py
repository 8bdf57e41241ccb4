"""All parts of `hashhub hook`. Each adds its commands to the group when it is imported."""

from __future__ import annotations

from hashhub.cli.hook import (
    cases,
    check,
    clamd,
    evidence,
    init,
    local,
    queue,
    reports,
    serve,
    storage,
    trial,
    vault,
)

__all__ = [
    "cases",
    "check",
    "clamd",
    "evidence",
    "init",
    "local",
    "queue",
    "reports",
    "serve",
    "storage",
    "trial",
    "vault",
]
