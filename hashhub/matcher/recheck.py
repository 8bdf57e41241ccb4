"""Compares what a matcher answers from with its snapshot's checksums, again and again: a disk or memory that goes bad
would otherwise answer NO_MATCH in silence. Of the processes that share a directory one compares, whoever holds
`recheck.lock`, and names what is damaged in the file DAMAGED, which all look at each second.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hashhub.background import Background
from hashhub.matcher.index import SegmentParts
from hashhub.matcher.snapshot import Directory, Snapshot
from hashhub.matcher.state import LiveState

LOOK_SECONDS: Final = 1.0
SECONDS: Final = 30.0  # after which a file is compared again, if the rate allows
_BYTES: Final = 8 << 20  # compared in a second: about a fiftieth of a core
_DAY: Final = 86_400.0  # in which all of it is compared, at whatever rate that takes
_PIECE: Final = 1 << 20  # bytes; a file of no more is small, and is compared in time whatever else is


class SnapshotFile(NamedTuple):
    """A file of a segment as it is mapped, and the SHA-256 that it was written with."""

    segment: str
    part: str
    algorithm: str
    mapped: NDArray[Any]
    sha256: str

    def is_damaged(self, wait: Callable[[int], object] = bool) -> bool:
        """Whether it is not what was written; `wait` is told how many bytes were read, after each piece."""
        content = self.mapped.reshape(-1).view(np.uint8).data
        digest = hashlib.sha256()
        for at in range(0, len(content), _PIECE):
            digest.update(content[at : at + _PIECE])
            wait(min(_PIECE, len(content) - at))
        return digest.hexdigest() != self.sha256

    def __str__(self) -> str:
        return (
            f"the index of {self.algorithm} is damaged: its {self.part}, {self.mapped.nbytes} bytes, are not what was "
            "written; nothing is answered until it is rebuilt from the database. Check the machine's disk and memory"
        )


class Recheck:
    """The thread that compares. `is_damaged`: whether it is known already; `damaged` is told what differs."""

    def __init__(
        self, live: LiveState, directory: Directory, is_damaged: Callable[[], bool], damaged: Callable[[str], None]
    ) -> None:
        self._live = live
        self._directory = directory
        self._is_damaged = is_damaged
        self._damaged = damaged
        self._compared: dict[tuple[str, str], float] = {}  # when, by segment and part
        self.thread = Background(
            "matcher-recheck", self._round, complaint="the index is not compared again", pause=LOOK_SECONDS
        )

    def _round(self) -> None:
        """Compare the small files that are due, and the one of the others that was not compared for longest."""
        snapshot = self._live.now.snapshot
        if snapshot is None or self._is_damaged():
            return
        files = list(files_of(snapshot))
        self._compared = {f[:2]: at for f in files if (at := self._compared.get(f[:2])) is not None}
        marked = self._directory.marked_damaged()
        if any(f.segment == marked for f in files):
            self._damaged(str(next(f for f in files if f.segment == marked)))
        elif self._directory.may_recheck():
            rate = max(_BYTES, snapshot.nbytes / _DAY)
            small = [f for f in files if f.mapped.nbytes <= _PIECE]
            large = sorted((f for f in files if f.mapped.nbytes > _PIECE), key=lambda f: self._compared.get(f[:2], 0.0))

            def rest(n: int) -> None:
                self.thread.wait(n / rate)
                self._compare(small, rate)

            self._compare(small, rate)
            self._compare(large[:1], rate, rest)

    def _compare(self, files: Sequence[SnapshotFile], rate: float, rest: Callable[[int], object] | None = None) -> None:
        """Compare those of the files that are due, at so many bytes a second, or resting as told."""
        for file in files:
            if (
                self.thread.is_stopping
                or self._is_damaged()
                or time.monotonic() - self._compared.get(file[:2], -_DAY) < SECONDS
            ):
                continue
            is_damaged = file.is_damaged(rest or (lambda n: self.thread.wait(n / rate)))
            now = self._live.now.snapshot  # another one may have taken its place
            if is_damaged and now is not None and any(f.segment == file.segment for f in files_of(now)):
                self._directory.mark_damaged(file.segment)
                self._damaged(str(file))
            self._compared[file[:2]] = time.monotonic()


def files_of(snapshot: Snapshot) -> Iterator[SnapshotFile]:
    """Yield the mapped files of a snapshot."""
    by_name = {segment.name: segment for segments in snapshot.segments.values() for segment in segments}
    for entry in snapshot.manifest["segments"]:
        for part, described in entry["files"].items():
            segment = by_name[entry["name"]]
            if part == "owners" or part in SegmentParts._fields:  # bits of withdrawn rows are in memory, and change
                mapped = segment.owners.as_written if part == "owners" else getattr(segment.parts, part)
                yield SnapshotFile(entry["name"], part, entry["algorithm"], mapped, described["sha256"])
