"""Sources and peers, as the processes that fetch and follow them report them to their hub."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Final, TypeAlias

import msgspec

REPORT: Final = "report.json"
"""The file of an `EdgeReport`, in the directory of sources or of peers."""
_Name: TypeAlias = Annotated[str, msgspec.Meta(pattern="^[a-z0-9-]{1,63}$")]
_Time: TypeAlias = Annotated[datetime, msgspec.Meta(tz=True)]
_HashSetName: TypeAlias = Annotated[str, msgspec.Meta(pattern="^([a-z0-9-]{1,63}/[a-z0-9-]{1,63})?$")]


class SourceStatus(StrEnum):
    """What is known of a source. HELD: what was fetched waits for a person. SILENT: nothing new for unusually long."""

    NEW = "NEW"
    OK = "OK"
    SILENT = "SILENT"
    HELD = "HELD"
    FAILED = "FAILED"


class PeerStatus(StrEnum):
    """INVITED: it has a line, and has not answered. AWAY: it does not answer, and what it stated stands. FAILED: what
    it gives cannot be taken. REFUSED: it lets this hub in no more, and what it stated is withdrawn here.
    """

    INVITED = "INVITED"
    NEW = "NEW"
    OK = "OK"
    AWAY = "AWAY"
    FAILED = "FAILED"
    REFUSED = "REFUSED"


class SourceReport(msgspec.Struct, frozen=True, kw_only=True):
    """How far a source is. `protocol`, `hash_set` (`CONTRIBUTOR/SET`): empty where its settings cannot be read.

    `detail`: why it is not well, and what to do. `position`: up to where the hub has all, in the partner's words.
    `items`: that its fetches brought. `has_credentials`: some are set. `begin_time`: of the fetch that is under way;
    `end_time`: of the last one, however it ended; `success_time`: of the last one that was applied; `next_time`: when
    it is due. `is_late`: it is overdue.
    """

    name: _Name
    protocol: str = ""
    hash_set: _HashSetName = ""
    status: SourceStatus
    detail: str = ""
    position: str = ""
    items: int = 0
    has_credentials: bool = False
    begin_time: _Time | None = None
    end_time: _Time | None = None
    success_time: _Time | None = None
    next_time: _Time | None = None
    is_late: bool = False

    @property
    def is_well(self) -> bool:
        """Whether nobody need do anything."""
        return self.status in {SourceStatus.NEW, SourceStatus.OK} and not self.is_late


class PeerReport(msgspec.Struct, frozen=True, kw_only=True):
    """How far a peer was followed. `complete_time`: when this hub had all of it last; `answer_time`: when it answered
    last. `entries`: that stand here by it. `taken`, `given`: how many hash sets come and go, by label. `detail`: what
    holds it up. `is_late`: it is behind for longer than usual.
    """

    name: _Name
    status: PeerStatus
    detail: str = ""
    join_time: _Time | None = None
    answer_time: _Time | None = None
    complete_time: _Time | None = None
    entries: int = 0
    taken: dict[str, int] = {}
    given: dict[str, int] = {}
    is_late: bool = False

    @property
    def is_well(self) -> bool:
        """Whether nobody need do anything."""
        return self.status in {PeerStatus.INVITED, PeerStatus.OK} and not self.is_late


class EdgeReport(msgspec.Struct, frozen=True, kw_only=True):
    """What the processes of one directory report, as of a time. Nothing secret stands in it."""

    write_time: _Time
    sources: tuple[SourceReport, ...] = ()
    peers: tuple[PeerReport, ...] = ()


class Partners(msgspec.Struct, frozen=True, kw_only=True):
    """The sources and peers of a hub. `faults`: what cannot be known of them, and why."""

    sources: tuple[SourceReport, ...] = ()
    peers: tuple[PeerReport, ...] = ()
    faults: tuple[str, ...] = ()
