"""The index beside a copy: which digests it holds, for exact and near look-ups.

    copy/mirror.db          entries, terms, reviews; the journal of digests that each page touched
    copy/index/snapshots/   the matcher's; written by the process that syncs, mapped by all
    copy/index/mark         the last page of the copy of which the snapshots may know anything

A missing digest would be a missed match. So an index is used only if the copy has been at the page of its mark and has
a journal of all later pages; otherwise it is built anew.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from hashhub.errors import DataLoss, Reason, Unavailable
from hashhub.hook.copy import SYNC
from hashhub.local_files import is_in_the_way, obstacle, open_file, read_file, shown
from hashhub.matcher import Matcher

if TYPE_CHECKING:
    from collections.abc import Callable

    from hashhub.hook.copy import CopyMoment, CopyReader, ListCopy

DIRECTORY: Final = "index"
_MARK: Final = "mark"
_PIECE: Final = 50_000  # digests of the journal taken at a time
_NOWHERE: Final = (0, b"")


class Index:
    """A matcher that follows a copy: one process publishes, the others read that and follow in memory."""

    def __init__(self, copy: ListCopy, directory: Path, *, publisher: bool) -> None:
        """Raises FailedPrecondition (DATA_IN_USE) beside another publisher, Unavailable for a bad directory."""
        self._copy = copy
        self._path = directory
        self._is_publisher = publisher
        self._lock = threading.Lock()
        self._page = _NOWHERE  # the matcher knows nothing of pages behind it
        self._is_sound = publisher  # the publisher's matcher verifies what it opened by itself
        self.matcher = self._open()

    def close(self) -> None:
        """Let go of the files."""
        self.matcher.close()

    def catch_up(self, look: CopyReader) -> bool:
        """Bring the index to a fresh look's moment; False when it was never complete. Raises Unavailable if another
        process has to publish first.
        """
        moment = look.moment
        if moment.complete_time is None:
            return False
        if not self._is_of(look):
            self._renew(look, moment)
        self._follow(look, moment)
        return True

    def look(self, then: Callable[[CopyReader], None] = lambda _: None) -> bool:
        """Bring the index to the moment of a look, and pass that on; False when the copy was never complete."""
        with self._lock:
            self.matcher.refresh()  # before the look: a publisher's snapshot is never ahead of what it committed
            with self._copy.look() as look:
                is_there = self.catch_up(look)
                if is_there:
                    then(look)
            return is_there

    def rebuild(self) -> None:
        """Write the index anew, so that nothing is left on the disk of digests that were dropped."""
        with self._lock, self._copy.look() as look:
            if look.moment.complete_time is not None:
                self._build(look, look.moment)

    def _open(self) -> Matcher:
        # Queries come one at a time, and threads of an app's worker must not wait for each other in a pool.
        return Matcher(self._path, publisher=self._is_publisher, threads=None if self._is_publisher else 1)

    def _is_of(self, look: CopyReader) -> bool:
        """Whether the matcher was made from this copy's past, and can follow from where it is."""
        page = self._page if self._page != _NOWHERE else self._read_mark()
        if self.matcher.revision == 0 or self.matcher.status().damaged:
            return False
        return look.has_been_at(page) and look.has_page(self.matcher.revision)

    def _renew(self, look: CopyReader, moment: CopyMoment) -> None:
        if self._is_publisher:
            self._build(look, moment)
            return
        self.matcher.close()
        self._page, self._is_sound = _NOWHERE, False
        self.matcher = self._open()
        if not self._is_of(look):
            raise Unavailable(
                f"the index beside the copy is missing, or is not of this copy; {SYNC}, which writes it",
                reason=Reason.MATCHER_NOT_READY,
            )

    def _build(self, look: CopyReader, moment: CopyMoment) -> None:
        # The mark first: snapshots without one are believed by nobody. Then the lock is let go of.
        self._remove(_MARK)
        self._remove("CURRENT")
        self.matcher.close()
        snapshots = self._path / "snapshots"
        shutil.rmtree(snapshots, ignore_errors=True)
        self.matcher = self._open()
        if self.matcher.revision:
            # With a new mark it would be believed, should this process be killed before the new one is there.
            raise Unavailable(
                f"{shown(snapshots)} holds an older index that cannot be removed; check its permissions, then {SYNC}",
                reason=Reason.MATCHER_NOT_READY,
            )
        self._write_mark(moment.page)
        self.matcher.rebuild(moment.page[0], look.all_digests(), or_in_memory=True)

    def _follow(self, look: CopyReader, moment: CopyMoment) -> None:
        if not self._is_sound:
            try:
                self.matcher.verify()
            except DataLoss as e:
                raise Unavailable(
                    f"the index beside the copy is damaged; {SYNC} --reindex", reason=Reason.SNAPSHOT_DAMAGED
                ) from e
            self._is_sound = True
        if self._page != moment.page:
            self._write_mark(moment.page)
        if self.matcher.revision >= moment.page[0]:
            return
        parts: defaultdict[str, list[NDArray[np.uint8]]] = defaultdict(list)
        count = 0
        for sequence, algorithm, digests in look.touched(self.matcher.revision):
            parts[algorithm].append(digests)
            count += len(digests)
            if count >= _PIECE:
                # A page may come in several pieces: until the last, the matcher stays behind it.
                self._apply(look, parts, sequence - 1)
                parts.clear()
                count = 0
        self._apply(look, parts, moment.page[0])

    def _apply(self, look: CopyReader, parts: dict[str, list[NDArray[np.uint8]]], sequence: int) -> None:
        withdraw = {}
        for algorithm, listed in parts.items():
            digests = np.unique(np.concatenate(listed), axis=0)
            is_held = np.zeros(len(digests), np.bool_)
            for key, of_set in look.holders(algorithm, digests).items():
                is_held |= of_set
                before = max(sequence - 1, self.matcher.revision)
                self.matcher.apply(before, add={algorithm: digests[of_set]}, hash_set=key)
            withdraw[algorithm] = digests[~is_held]
        self.matcher.apply(max(sequence, self.matcher.revision), withdraw=withdraw)

    def _read_mark(self) -> tuple[int, bytes]:
        """Return the page of the mark; what cannot be read is no page of any copy."""
        try:
            sequence, mark = read_file(self._path / _MARK).decode("ascii").split()
            return int(sequence), bytes.fromhex(mark)
        except (OSError, ValueError):
            return _NOWHERE

    def _write_mark(self, page: tuple[int, bytes]) -> None:
        """Write the mark before what it is of, at once; a torn one is no page of any copy. Where it cannot be written
        it is removed, and the next start indexes anew. Raises Unavailable where neither can be done.
        """
        if not self._is_publisher:
            self._page = page
            return
        line = f"{page[0]:20d} {page[1].hex():16s}\n".encode("ascii")
        path = self._path / _MARK
        try:
            file = open_file(path, os.O_WRONLY | os.O_CREAT)
            try:
                written = os.pwrite(file, line, 0)
            finally:
                os.close(file)
        except OSError:
            written = 0
        if written != len(line):
            self._remove(_MARK)
        self._page = page

    def _remove(self, name: str) -> None:
        """Remove a file of the index. Raises Unavailable where it stays: what it says would be believed."""
        try:
            (self._path / name).unlink(missing_ok=True)
        except OSError as e:
            what = "move it away" if is_in_the_way(e) else "check its disk and permissions"
            raise Unavailable(f"{obstacle(e, 'the hook')}; {what}, then {SYNC}", reason=Reason.MATCHER_NOT_READY) from e
