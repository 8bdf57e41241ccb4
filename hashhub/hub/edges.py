"""Sources and peers, as their processes report them in files beside the hub, which are read when somebody asks."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec.structs import replace

from hashhub.errors import FailedPrecondition
from hashhub.hub import access
from hashhub.local_files import obstacle, open_file
from hashhub.model import (
    REPORT,
    EdgeReport,
    Partners,
    PeerReport,
    PeerStatus,
    Principal,
    Role,
    SourceReport,
    SourceStatus,
    now,
)

if TYPE_CHECKING:
    from datetime import datetime

    from hashhub.config import Config

_MOST_BYTES: Final = 4 << 20
_GRACE: Final = timedelta(minutes=5)  # reports are written every few seconds


class EdgeReports:
    """Reads what the processes of sources and of peers report."""

    def __init__(self, config: Config) -> None:
        self._directories = {
            process: Path(path) for process, path in (("source", config.sources), ("peer", config.peers)) if path
        }

    def get(self, principal: Principal) -> Partners:
        """Return the sources and peers; to a contributor those sources that keep its own hash sets. Roles: operator,
        auditor, contributor.
        """
        access.allow(principal, Role.OPERATOR, Role.AUDITOR, Role.CONTRIBUTOR)
        partners = self._read()
        if principal.role in access.OVERSEERS:
            return partners
        own = f"{principal.contributor}/"
        return Partners(sources=tuple(one for one in partners.sources if one.hash_set.startswith(own)))

    def warnings(self) -> list[str]:
        """Return which sources and peers need a person."""
        partners = self._read()
        sources = (f"source {one.name} ({one.status}): {one.detail}" for one in partners.sources if not one.is_well)
        peers = (
            f"peer {one.name} ({one.status}) was followed to its end last {_told(one.complete_time)}"
            f"{one.detail and f': {one.detail}'}"
            for one in partners.peers
            if not one.is_well
        )
        return [*partners.faults, *sources, *peers]

    def _read(self) -> Partners:
        sources: list[SourceReport] = []
        peers: list[PeerReport] = []
        faults = []
        since = now() - _GRACE
        for process, directory in self._directories.items():
            try:
                report = _report(process, directory)
            except FailedPrecondition as e:
                faults.append(e.message)
                continue
            sources += [_aged(one, report.write_time, since) for one in report.sources]
            for one in report.peers:
                is_behind = one.complete_time is None or one.complete_time < since
                peers.append(replace(one, is_late=is_behind and one.status is PeerStatus.OK))
            if report.peers and report.write_time < since:
                faults.append(f"peers: nothing was heard of `hashhub peer run` since {_told(report.write_time)}")
        return Partners(sources=tuple(sources), peers=tuple(peers), faults=tuple(faults))


def _report(process: str, directory: Path) -> EdgeReport:
    """Return what the processes of a directory report. Raises FailedPrecondition where that cannot be known."""
    try:
        with os.fdopen(open_file(directory / REPORT, os.O_RDONLY), "rb") as file:
            content = file.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:
            raise ValueError(f"it is longer than {_MOST_BYTES:,} bytes")
        return msgspec.json.decode(content, type=EdgeReport)
    except OSError as e:
        why = obstacle(e, "the hub")
    except ValueError as e:  # also what msgspec raises
        why = f"{REPORT} is damaged: {e}"
    raise FailedPrecondition(
        f"{process}s: not known ({why}); `hashhub {process} run --dir {directory}` writes its report there, where the "
        "hub must be able to read it"
    )


def _aged(source: SourceReport, write_time: datetime, since: datetime) -> SourceReport:
    """Return a report as it is to be read now: what was under way is so only while somebody goes on saying it."""
    if source.status is SourceStatus.HELD:
        advice = f"`hashhub source fetch {source.name} --apply` applies what was fetched"
        return replace(source, detail=f"{source.detail}; {advice}")
    if source.begin_time is not None and write_time >= since:
        return source
    is_late = (source.next_time or write_time) < since
    advice = f"it is late, and was fetched last {_told(source.success_time)}: see that `hashhub source run` goes on"
    return replace(source, begin_time=None, is_late=is_late, detail=advice if is_late else source.detail)


def _told(time: datetime | None) -> str:
    return f"{time:%Y-%m-%d %H:%MZ}" if time else "never"
