"""How the hub is."""

from __future__ import annotations

from datetime import datetime

import msgspec


class AlgorithmStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The matcher's state for one algorithm: distinct digests, how many of them in the tail, and the planner's
    choice.
    """

    algorithm: str
    digest_count: int
    tail_count: int
    engine: str


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """The state of a hub, for operators. `revision` is the store's; the matcher has caught up when both are equal.
    `backup_time`: of the last backup that `hashhub backup` took, None when none is known.
    """

    version: str
    database: str
    revision: int
    matcher_revision: int
    algorithms: tuple[AlgorithmStatus, ...] = ()
    warnings: tuple[str, ...] = ()
    backup_time: datetime | None = None
