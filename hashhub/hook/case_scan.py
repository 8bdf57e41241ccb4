"""Copies of a case's item among what was uploaded before.

A file is hashed once: its hashes are remembered (`scan_memory`), so that the next case looks through memory, and a run
that was cut off goes on where it stood. What cannot be read is counted as unread, and what was not looked at as a whole
as looked at in part.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, NamedTuple

from hashhub.errors import FailedPrecondition, HashHubError, InvalidArgument, Reason
from hashhub.hook.case_judge import CaseIndex
from hashhub.hook.cases import Cases, Item, Partial, Scan, item_of
from hashhub.hook.hashing import limits_of
from hashhub.hook.places import Unlisted, shown
from hashhub.hook.scan_memory import ScanMemory, gaps_among
from hashhub.model import Effort, Query, ReasonLine, now

if TYPE_CHECKING:
    from hashhub.hashing.media import MediaHashes
    from hashhub.hashing.pool import MediaPool
    from hashhub.hook.places import Place
    from hashhub.hook.places import Stored as PlaceObject
    from hashhub.hook.settings import HookSettings

_MOST_NAMED: Final = 1_000  # unread, and looked at in part; all of them are counted


class Stored(NamedTuple):
    """A file that was uploaded before. `place`: its name in records. `stamp`: changes whenever its content may have.
    `modified`: when that was last, in seconds since 1970.

    `open` raises HashHubError where it cannot be read; so does a directory that cannot be listed.
    """

    place: str
    stamp: str
    modified: float
    open: Callable[[], IO[bytes]]


class Unread(NamedTuple):
    """A file of which nothing is known, and why."""

    place: str
    why: str


class ScanOutcome(NamedTuple):
    """What a look through gave. `unread`: the first _MOST_NAMED of them. `remembered`: files not read again."""

    scan: Scan
    new_copies: int
    remembered: int
    unread: tuple[Unread, ...]


def stored_in(place: Place, max_bytes: int) -> Iterator[Stored | Unread]:
    """Yield the objects of a bucket or folder. One of more than `max_bytes` is not downloaded, and is unread.

    Raises HashHubError when the place cannot be listed.
    """
    for item in place.objects():
        where = shown(f"{place.url.rstrip('/')}/{item.name}")
        if isinstance(item, Unlisted):
            yield Unread(where, item.error.message)
        elif item.size > max_bytes:
            yield Unread(where, f"larger than {max_bytes} bytes (max_bytes): it was not downloaded")
        else:
            yield Stored(where, item.stamp, item.modified, partial(_downloaded, place, item))


def _downloaded(place: Place, item: PlaceObject) -> IO[bytes]:
    """Return an object's bytes in memory that no file system has: nothing of an archive is written to disk."""
    file = os.fdopen(os.memfd_create("stored", os.MFD_CLOEXEC), "w+b")
    try:
        for piece in place.read(item):
            file.write(piece)
        file.flush()
        file.seek(0)
    except BaseException:
        file.close()
        raise
    return file


def scan_for_case(
    settings: HookSettings,
    cases: Cases,
    case: str,
    stored: Iterable[Stored | Unread],
    *,
    place: str,
    actor: str,
    progress: Callable[[int, str], None] | None = None,
) -> ScanOutcome:
    """Look for copies of a case's item, list them in the case, and record the look. No hub is asked, nothing is moved.

    `place`: what was looked through, as the record names it. Files may be of any kind of storage. Raises HashHubError
    where the records cannot be written, FailedPrecondition where the case ends meanwhile; what was listed until then
    stays.
    """
    look = _Look(cases, case, actor)
    memory = ScanMemory(settings)
    children = settings.hashing_processes or 2
    pool = _pool(settings, children, max_queued=2 * children)
    begin_time = now()
    hashing: deque[tuple[Stored, float, Future[_Hashed]]] = deque()  # what, since when

    def finish() -> None:
        item, begun, future = hashing.popleft()
        try:
            hashed = future.result()
        except HashHubError as e:
            look.leave(Unread(item.place, e.message))
            return
        look.compare(item.place, hashed.query, hashed.gaps)
        if hashed.why_unread:
            look.leave(Unread(item.place, hashed.why_unread))
        else:
            memory.remember(
                item.place,
                item.stamp,
                hashed.query,
                reference=None,
                gaps=hashed.gaps,
                modified=item.modified,
                begun=begun,
            )

    try:
        with ThreadPoolExecutor(children) as workers:
            for item in stored:
                look.looked += 1
                if progress is not None:
                    progress(look.looked, item.place)
                if isinstance(item, Unread):
                    look.leave(item)
                    continue
                known = memory.recall(item.place, item.stamp)
                if known.query is not None:
                    look.remembered += 1
                    look.compare(item.place, known.query, known.gaps)
                    continue
                hashing.append((item, time.time(), workers.submit(_hashed, pool, item, settings.effort)))
                if len(hashing) > 2 * children:
                    finish()
            while hashing:
                finish()
    finally:
        pool.close()
        memory.close()
    scan = Scan(
        place=place,
        begin_time=begin_time,
        end_time=now(),
        looked=look.looked,
        unread=look.unread_count,
        copies=look.copies,
        partly=look.partly,
        partial=tuple(look.partial),
    )
    cases.copies.add_scan(case, scan, actor=actor)
    return ScanOutcome(scan, look.new_copies, look.remembered, tuple(look.unread))


class _Look:
    """What a look through for a case has come to so far. For one thread."""

    def __init__(self, cases: Cases, case: str, actor: str) -> None:
        self._cases = cases
        self._case = case
        self._actor = actor
        self._index = CaseIndex(cases, only=case)
        self.looked = self.remembered = self.copies = self.new_copies = self.unread_count = self.partly = 0
        self.unread: list[Unread] = []
        self.partial: list[Partial] = []

    def compare(self, place: str, query: Query, gaps: tuple[ReasonLine, ...]) -> None:
        """List the file in the case if it is a copy, and note if not all of it was looked at.

        Raises FailedPrecondition when the case has ended meanwhile: there is nothing any more to compare with.
        """
        if gaps:
            self.partly += 1
            if len(self.partial) < _MOST_NAMED:
                self.partial.append(Partial(place=place, why="; ".join(line.text for line in gaps)))
        hits = self._index.hits(query)
        if not self._index.has_cases():
            raise FailedPrecondition(
                f"{self._case} ended while copies of it were sought, and its digests are gone: this look is not "
                "recorded; copies that were noticed before stay listed"
            )
        if hits:
            self.copies += 1
            self.new_copies += self._cases.copies.add(self._case, place, hits[0].how, actor=self._actor)

    def leave(self, file: Unread) -> None:
        """Count a file as unread."""
        self.unread_count += 1
        if len(self.unread) < _MOST_NAMED:
            self.unread.append(file)


class _Hashed(NamedTuple):
    """The hashes of a file. `gaps`: what of it was not looked at. `why_unread`: why it was not read as what it is."""

    query: Query
    gaps: tuple[ReasonLine, ...] = ()
    why_unread: str = ""


def _hashed(pool: MediaPool, stored: Stored, effort: Effort) -> _Hashed:
    """Return what is to be known of a file; exact digests there are in any case."""
    from hashhub.hashing.coverage import coverage

    with stored.open() as content:
        try:
            with pool.room() as room:
                media = room.hash(content, effort=effort)
        except HashHubError as e:
            content.seek(0)
            return _Hashed(_digests(content), why_unread=e.message)
    query = media.query()
    gaps = coverage(media, effort, query=query).gaps
    # A video is looked at without its frames where nothing reads them. Of what is neither picture nor video there is
    # nothing else to be looked for.
    in_part = gaps_among(gaps) or (gaps if _lacks_reader(media) else ())
    return _Hashed(query, in_part)


def _lacks_reader(media: MediaHashes) -> bool:
    from hashhub.hashing.media import can_read_videos

    return media.media_type.startswith("video/") and not media.video_frames and not can_read_videos()


def _pool(settings: HookSettings, children: int, *, max_queued: int) -> MediaPool:
    from hashhub.hashing.pool import MediaPool

    return MediaPool(
        children=children,
        max_queued=max_queued,
        seconds=settings.media_seconds,
        memory_bytes=settings.media_memory_bytes,
        limits=limits_of(settings),
    )


def _digests(content: IO[bytes]) -> Query:
    from hashhub.hashing import hash_media
    from hashhub.hashing.digest import DIGEST_ALGORITHMS

    try:
        return hash_media(content, algorithms=DIGEST_ALGORITHMS).query()  # type: ignore[arg-type]
    except OSError as e:
        raise InvalidArgument("the file could not be read to its end", reason=Reason.UNREADABLE_MEDIA) from e


def item_of_file(settings: HookSettings, path: Path) -> Item:
    """Hash a file that a complaint is about in a process of its own, and return what stops its copies. Nothing is kept
    of the file. Raises HashHubError for one that cannot be read.
    """
    pool = _pool(settings, 1, max_queued=1)
    try:
        with path.open("rb") as content, pool.room() as room:
            return item_of(room.hash(content, effort=Effort.STANDARD))
    except OSError as e:
        raise InvalidArgument.field("file", f"cannot be read: {e.strerror or type(e).__name__}") from e
    finally:
        pool.close()
