"""What edges share that go on after a kill: a SQLite file with where one is, a lock that one process has, a report."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from hashhub.errors import Conflict
from hashhub.local_files import lock_file, written
from hashhub.model import REPORT, EdgeReport, PeerReport, SourceReport, now
from hashhub.state_file import StateFile

DATABASE: Final = ".db"
LOCK: Final = ".lock"
FILES: Final = (DATABASE, f"{DATABASE}-wal", f"{DATABASE}-shm", LOCK)
"""How the names of all files of a state end."""


class EdgeState(StateFile):
    """A state file, `what` it is of (a source, a peer). Reading needs no lock; it is changed within `locked`."""

    remedy = "move it away, and everything is fetched again"
    field = "dir"

    @contextmanager
    def locked(self, *, wait: bool = False) -> Iterator[None]:
        """Keep other processes from changing it meanwhile. Raises Conflict where one does, unless it is to `wait`."""
        with self._mapped():
            lock = lock_file(self._path.with_suffix(LOCK), wait=wait)
        if lock is None:
            raise Conflict(f"another process has {self._path.stem!r} in use; wait until it is done, or end it")
        with lock:
            yield


def write_report(directory: Path, *, sources: Iterable[SourceReport] = (), peers: Iterable[PeerReport] = ()) -> None:
    """Write what a hub on this machine may know of a directory's sources or peers, for it to read."""
    report = EdgeReport(write_time=now(), sources=tuple(sources), peers=tuple(peers))
    with written(directory / REPORT, replace=True, mode=0o644) as file:
        file.write(msgspec.json.encode(report))


def gauge_lines(prefix: str, label: str, metric: str, kind: str, values: dict[str, float]) -> list[str]:
    """Return lines of Prometheus' text for one metric of several sources or peers."""
    name = f"hashhub_{prefix}_{metric}"
    return [f"# TYPE {name} {kind}", *(f'{name}{{{label}="{one}"}} {value:g}' for one, value in values.items())]
