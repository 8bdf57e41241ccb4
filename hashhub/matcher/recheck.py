"""Compares what a matcher answers from with the checksums of its snapshot, again and again: a disk or a memory that
goes bad after the start would otherwise answer NO_MATCH in silence.

Of the processes that share a directory one compares, whoever holds `recheck.lock`. What it finds damaged it names in
the file DAMAGED, which all of them look at each second.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hashhub.background import Background
from hashhub.errors import DataLoss
from hashhub.matcher.index import Parts, Segment
from hashhub.matcher.snapshot import Directory, Snapshot
from hashhub.matcher.state import LiveState

_log = logging.getLogger(__name__)

_LOOK_SECONDS: Final = 1.0
_SECONDS: Final = 30.0  # after which a file is compared again, if the rate allows
_BYTES: Final = 8 << 20  # compared in a second: about a fiftieth of a core
_DAY: Final = 86_400.0  # in which all of it is compared, at whatever rate that takes
_PIECE: Final = 1 << 20  # bytes; a file of no more is small, and is compared in time whatever else is


class _File(NamedTuple):
    """A file of a segment as it is mapped, and the SHA-256 that it was written with."""

    segment: str
    part: str
    algorithm: str
    mapped: NDArray[Any]
    sha256: str


class Recheck:
    """The thread that compares; `damaged` is told the first difference."""

    def __init__(self, live: LiveState, directory: Directory, damaged: Callable[[str], None]) -> None:
        self._live = live
        self._directory = directory
        self._damaged = damaged
        self._compared: dict[tuple[str, str], float] = {}
        self.thread = Background(
            "matcher-recheck", self._round, complaint="the index is not compared again", pause=_LOOK_SECONDS
        )

    def _round(self) -> None:
        snapshot = self._live.now.snapshot
        if snapshot is None:
            return
        damaged = self._directory.marked_damaged()
        for file in files_of(snapshot):
            if file.segment == damaged:
                self._damaged(_what(file))
                return
        if not self._directory.may_recheck():
            return
        try:
            self._compare_small(snapshot)
            files = [f for f in files_of(snapshot) if f.mapped.nbytes > _PIECE and self._is_due(f)]
            if files:
                rate = max(_BYTES, snapshot.nbytes / _DAY)
                self._compare(min(files, key=self._compared_at), rate, snapshot)
        except DataLoss as e:
            self._damaged(e.message)
        kept = {(f.segment, f.part) for f in files_of(snapshot)}
        self._compared = {key: at for key, at in self._compared.items() if key in kept}

    def _compared_at(self, file: _File) -> float:
        return self._compared.get((file.segment, file.part), 0.0)

    def _is_due(self, file: _File) -> bool:
        at = self._compared.get((file.segment, file.part))
        return at is None or time.monotonic() - at >= _SECONDS

    def _compare_small(self, snapshot: Snapshot) -> None:
        for file in files_of(snapshot):
            if file.mapped.nbytes <= _PIECE and self._is_due(file):
                self._compare(file, _BYTES, None)

    def _compare(self, file: _File, rate: float, snapshot: Snapshot | None) -> None:
        """Compare one file at so many bytes a second, and meanwhile the small ones of a snapshot that are due."""
        digest = hashlib.sha256()
        for piece in _pieces(file.mapped):
            digest.update(piece)
            if self.thread.wait(len(piece) / rate):
                return
            if snapshot is not None:
                self._compare_small(snapshot)
        if digest.hexdigest() != file.sha256:
            self._directory.mark_damaged(file.segment)
            raise DataLoss(_what(file))
        self._compared[file.segment, file.part] = time.monotonic()


def files_of(snapshot: Snapshot) -> Iterator[_File]:
    """Yield the mapped files of a snapshot."""
    mapped = {segment.name: segment for segments in snapshot.segments.values() for segment in segments}
    for entry in snapshot.manifest["segments"]:
        name, files = str(entry["name"]), entry["files"]
        for part, values in zip(Parts._fields, mapped[name].parts, strict=True):
            if part in files:
                yield _File(name, part, str(entry["algorithm"]), values, str(files[part]["sha256"]))


def verify_rows(snapshot: Snapshot, segment: Segment) -> None:
    """Compare the rows of a segment before they are written into another one, whose checksums would hide damage.
    Raises DataLoss.
    """
    for file in files_of(snapshot):
        is_meant = (file.segment, file.part) == (segment.name, "rows")
        if is_meant and hashlib.sha256(file.mapped.reshape(-1).view(np.uint8)).hexdigest() != file.sha256:
            raise DataLoss(_what(file))


def _pieces(mapped: NDArray[Any]) -> Iterator[NDArray[np.uint8]]:
    flat = mapped.reshape(-1).view(np.uint8)
    return (flat[at : at + _PIECE] for at in range(0, len(flat), _PIECE))


def _what(file: _File) -> str:
    return (
        f"the index of {file.algorithm} is damaged: its {file.part}, {file.mapped.nbytes} bytes, are not what was "
        "written; nothing is answered until it is rebuilt from the database. Check the machine's disk and memory"
    )
