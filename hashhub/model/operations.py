"""Work that goes on after its call was answered, and how the hub is."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

import msgspec

from hashhub.model.resources import Actor


class OperationState(StrEnum):
    """How far a long-running operation is. The last three have ended."""

    WAITING = "WAITING"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """What an operation failed with: code and reason as in `hashhub.errors`, by name."""

    code: str
    reason: str
    message: str


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """Work that goes on after the call that started it.

    `request` and `response` are JSON of what `method` takes and gives. `hash_sets`: those that it read, as
    CONTRIBUTOR/SET, known once it runs. `done` of `total` steps, 0 of 0 where that is not known. `size`: bytes of its
    rows and files. `expire_time`: when the result is dropped.
    """

    id: str
    method: str
    request: bytes
    actor: Actor
    state: OperationState = OperationState.WAITING
    hash_sets: tuple[str, ...] = ()
    done: int = 0
    total: int = 0
    doing: str = ""
    create_time: datetime
    update_time: datetime
    end_time: datetime | None = None
    expire_time: datetime | None = None
    response: bytes = b""
    failure: Failure | None = None
    size: int = 0
    is_cancelled: bool = False

    @property
    def has_ended(self) -> bool:
        """Whether nothing more becomes of it."""
        return self.state not in {OperationState.WAITING, OperationState.RUNNING}


class AlgorithmStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The matcher's state for one algorithm: distinct digests, how many of them in the tail, the planner's choice."""

    algorithm: str
    digest_count: int
    tail_count: int
    engine: str


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """The state of a hub. `revision`: the store's. `backup_time`: of the last backup, which has `backup_bytes`, None
    when none is known. `hub`: what it is called among hubs; empty: it has no name yet.
    """

    version: str
    database: str
    revision: int
    matcher_revision: int
    algorithms: tuple[AlgorithmStatus, ...] = ()
    warnings: tuple[str, ...] = ()
    backup_time: datetime | None = None
    hub: str = ""
    backup_bytes: int = 0
