"""Copies of a case's item among what was uploaded before.

A file is hashed once: its hashes are remembered (`scan_memory`), so that the next case looks through memory, and a run
that was cut off goes on where it stood. What cannot be read is counted as unread, and what was not looked at as a whole
as looked at in part.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, NamedTuple, TypeAlias

from hashhub.desk.cases.index import CaseIndex
from hashhub.desk.cases.item import CaseItem, item_of
from hashhub.desk.cases.life import Cases, Partial, Scan
from hashhub.errors import FailedPrecondition, HashHubError, InvalidArgument, Reason
from hashhub.hook.archive import RememberedQuery, gaps_among, listed_in, scan_memory
from hashhub.hook.hashing import media_pool
from hashhub.model import Effort, Query, now
from hashhub.scans.engine import KnownFile, ListedFile, ScanEngine, UnreadableItem

if TYPE_CHECKING:
    from hashhub.hashing.pool import MediaPool
    from hashhub.hook.places import ObjectPlace, StoredObject
    from hashhub.hook.settings import HookSettings

MOST_NAMED: Final = 1_000  # unread, and looked at in part; all of them are counted


Source: TypeAlias = Callable[[], IO[bytes]] | str
"""What opens a file that was uploaded before, or why that cannot be; opening it may raise HashHubError."""


class ScanOutcome(NamedTuple):
    """What a look through gave. `unread`: the first MOST_NAMED of them. `remembered`: files not read again."""

    scan: Scan
    new_copies: int
    remembered: int
    unread: tuple[Partial, ...]


def stored_in(place: ObjectPlace, max_bytes: int) -> Iterator[ListedFile[Source]]:
    """Yield the objects of a place; one of more than `max_bytes` is unread. Raises HashHubError for the listing."""
    for listed in listed_in(place):
        item = listed.item
        source: Source
        if isinstance(item, UnreadableItem):
            source = item.error.message
        elif item.size > max_bytes:
            source = f"larger than {max_bytes} bytes (max_bytes): it was not downloaded"
        else:
            source = partial(_downloaded, place, item)
        yield ListedFile(source, listed.address, listed.stamp, listed.modified)


def _downloaded(place: ObjectPlace, item: StoredObject) -> IO[bytes]:
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
    listing: Iterable[ListedFile[Source]],
    *,
    place: str,
    actor: str,
    progress: Callable[[int, str], None] | None = None,
) -> ScanOutcome:
    """Look for copies of a case's item, list them in the case, and record the look. No hub is asked, nothing is moved.
    `place`: as the record names it. Raises HashHubError; FailedPrecondition where the case ends meanwhile.
    """
    index = CaseIndex(cases, only=case)
    counts: Counter[str] = Counter()
    unread: list[Partial] = []
    partly: list[Partial] = []
    children = settings.hashing_processes or 2
    begin_time = now()
    with (
        scan_memory(settings) as memory,
        closing(media_pool(settings, children, max_queued=2 * children)) as pool,
        ScanEngine(listing, partial(_read, pool, settings.effort), memory=memory, jobs=children) as engine,
    ):
        for done in filter(None, engine):
            name = os.fsencode(done.listed.address).decode("utf-8", "backslashreplace")
            hashed, why = done.result
            counts["looked"] += 1
            counts["remembered"] += done.known.hashes is not None
            if progress is not None:
                progress(counts["looked"], name)
            if hashed is not None:
                if hashed.gaps:
                    counts["partly"] += 1
                    _name(partly, name, "; ".join(line.text for line in hashed.gaps))
                hits = index.hits(hashed.query)
                if not index.has_cases():  # there is nothing any more to compare with
                    raise FailedPrecondition(
                        f"{case} ended while copies of it were sought, and its digests are gone: this look is not "
                        "recorded; copies that were noticed before stay listed"
                    )
                if hits:
                    counts["copies"] += 1
                    counts["new copies"] += cases.copies.add(case, name, hits[0].how, actor=actor)
            if why:
                counts["unread"] += 1
                _name(unread, name, why)
            elif done.known.hashes is None:
                memory.remember(done.listed, hashed, begun=done.begun)
    scan = Scan(
        place=place,
        begin_time=begin_time,
        end_time=now(),
        looked=counts["looked"],
        unread=counts["unread"],
        copies=counts["copies"],
        partly=counts["partly"],
        partial=tuple(partly),
    )
    cases.copies.add_scan(case, scan, actor=actor)
    return ScanOutcome(scan, counts["new copies"], counts["remembered"], tuple(unread))


def _name(files: list[Partial], place: str, why: str) -> None:
    if len(files) < MOST_NAMED:
        files.append(Partial(place=place, why=why))


def _read(
    pool: MediaPool, effort: Effort, source: Source, known: KnownFile[RememberedQuery]
) -> tuple[RememberedQuery | None, str]:
    """Return a file's hashes, exact ones where it can be opened, and why it was not read as what it is."""
    from hashhub.hashing.coverage import coverage
    from hashhub.hashing.media import can_read_videos

    if known.hashes is not None:
        return known.hashes, ""
    if isinstance(source, str):
        return None, source
    try:
        with source() as content:
            try:
                with pool.room() as room:
                    media = room.hash(content, effort=effort)
            except HashHubError as e:
                content.seek(0)
                return RememberedQuery(_digests(content)), e.message
    except HashHubError as e:
        return None, e.message
    query = media.query()
    gaps = coverage(media, effort, query=query).gaps
    # A video is looked at without its frames where nothing reads them. Of what is neither picture nor video there is
    # nothing else to be looked for.
    lacks_reader = media.media_type.startswith("video/") and not media.video_frames and not can_read_videos()
    return RememberedQuery(query, gaps_among(gaps) or (gaps if lacks_reader else ())), ""


def _digests(content: IO[bytes]) -> Query:
    from hashhub.hashing import hash_media
    from hashhub.hashing.media import DIGEST_ALGORITHMS

    try:
        return hash_media(content, algorithms=DIGEST_ALGORITHMS).query()  # type: ignore[arg-type]
    except OSError as e:
        raise InvalidArgument("the file could not be read to its end", reason=Reason.UNREADABLE_MEDIA) from e


def item_of_file(settings: HookSettings, path: Path) -> CaseItem:
    """Hash a complaint's file in a child process; nothing of it is kept. Raises HashHubError if it is unreadable."""
    pool = media_pool(settings, 1, max_queued=1)
    try:
        with path.open("rb") as content, pool.room() as room:
            return item_of(room.hash(content, effort=Effort.STANDARD))
    except OSError as e:
        raise InvalidArgument.field("file", f"cannot be read: {e.strerror or type(e).__name__}") from e
    finally:
        pool.close()
