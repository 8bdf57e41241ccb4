"""What was uploaded before the hook stood in the way: every object of a place is checked, or compared with the item of
a case, and nothing is moved.

An object is downloaded once: what was asked about it is remembered (`DATA/scan.db`), and asked again in the next scan
while it is as it was, so that a scan that is cut short is continued. An object that is held or blocked anew, for the
same reasons, is the same upload in the records. For a case what cannot be read is counted as unread, and what was not
looked at as a whole as looked at in part.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, NamedTuple, TypeAlias

import msgspec
from msgspec.structs import replace

from hashhub.desk.cases.index import CaseIndex
from hashhub.desk.cases.item import CaseItem, item_of
from hashhub.desk.cases.life import Cases, PartialFile, Scan
from hashhub.desk.decision import Decision, NoAnswer
from hashhub.desk.settings import HashingSite
from hashhub.errors import Conflict, FailedPrecondition, HashHubError, InvalidArgument, Reason, Unavailable
from hashhub.hashes import SEARCHED
from hashhub.hook.hashing import media_pool
from hashhub.hook.places import ObjectPlace, StoredObject
from hashhub.local_files import lock_file, make_directory
from hashhub.model import Effort, Query, ReasonLine, now
from hashhub.scans.engine import KnownFile, ListedFile, ScanEngine, ScanMemory, UnreadableItem
from hashhub.trust import ReasonCode

if TYPE_CHECKING:
    from hashhub.desk.records import UploadState
    from hashhub.hashing.pool import MediaPool
    from hashhub.hook.core import Hook
    from hashhub.hook.settings import HookSettings


DOOR: Final = "scan"
_LOCK: Final = "scan.lock"
FILE_NAME: Final = "scan.db"
"""What is remembered, by this and by the search for copies of a case, which may go on side by side."""
_AWAY_AFTER: Final = 3


class RememberedQuery(msgspec.Struct, frozen=True):
    """What to ask about an object. `gaps`: what of it was not looked at when its hashes were computed."""

    query: Query
    gaps: tuple[ReasonLine, ...] = ()


HookMemory: TypeAlias = ScanMemory[RememberedQuery]


def scan_memory(settings: HookSettings) -> HookMemory:
    """Open the memory of one scan. Raises HashHubError when the file cannot be used."""
    from hashhub.hashing.coverage import software

    directory = Path(settings.data)
    make_directory(directory, field="data")
    at_hub = ", at the hub" if settings.hashing is HashingSite.HUB else ""
    return ScanMemory(
        directory / FILE_NAME, RememberedQuery, hashed_by=f"{software()}, {settings.effort}{at_hub}", is_shared=True
    )


def gaps_among(lines: Iterable[ReasonLine]) -> tuple[ReasonLine, ...]:
    """Return the lines that say what of an object was not looked at."""
    return tuple(line for line in lines if line.code == ReasonCode.FRAMES_SKIPPED)


class ScannedObject(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one object: a `decision`, or the `error` of reading it. `is_remembered`: it was not downloaded
    again. `state`: in the records; RELEASED and REMOVED are a person's, and change no decision.
    """

    name: str
    where: str
    size: int = 0
    decision: Decision | None = None
    error: HashHubError | None = None
    is_remembered: bool = False
    state: UploadState | None = None


@contextmanager
def only_scan(settings: HookSettings) -> Iterator[None]:
    """Raise Conflict while another scan of an archive is under way with the data directory of these settings."""
    directory = Path(settings.data)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = lock_file(directory / _LOCK)
    if lock is None:
        raise Conflict("another scan is under way with this data directory; wait until it is done")
    with lock:
        yield


def scan_storage(
    hook: Hook, place: ObjectPlace, *, memory: HookMemory | None = None, jobs: int = 4
) -> Iterator[ScannedObject]:
    """Check every object of a place, as they are done; nothing is moved. Objects beyond the hook's limit are not
    downloaded. Raises Unavailable when the place cannot be reached, or the hub has not answered several times: what was
    not scanned must not look as if it was.
    """
    misses = 0
    with ScanEngine(listed_in(place), partial(_scanned, hook, place), memory=memory, jobs=jobs) as engine:
        for done in engine:
            if done is None:
                continue
            scanned, hashed = done.result
            if isinstance(scanned.error, Unavailable) and isinstance(done.listed.item, StoredObject):
                raise scanned.error
            if scanned.decision is not None:
                reference = scanned.decision.reference if scanned.state is not None else ""
                if memory is not None:
                    memory.remember(done.listed, hashed, begun=done.begun, reference=reference)
                misses = misses + 1 if scanned.decision.no_answer is NoAnswer.HUB_AWAY else 0
            yield scanned
            if misses >= _AWAY_AFTER:
                raise Unavailable(
                    f"the hub did not answer for {misses} objects in a row; run the same command again when it does: "
                    "what was downloaded is remembered"
                )


def listed_in(place: ObjectPlace) -> Iterator[ListedFile[StoredObject | UnreadableItem]]:
    """Yield the objects of a place for a scan."""
    for item in place.objects():
        address = f"{place.url.rstrip('/')}/{item.name}"
        if isinstance(item, UnreadableItem):
            yield ListedFile(item, address)
        else:
            yield ListedFile(item, address, item.stamp, item.modified)


def _scanned(
    hook: Hook, place: ObjectPlace, stored: StoredObject | UnreadableItem, known: KnownFile[RememberedQuery]
) -> tuple[ScannedObject, RememberedQuery | None]:
    scanned = ScannedObject(name=stored.name, where=f"{place.url.rstrip('/')}/{stored.name}")
    if isinstance(stored, UnreadableItem):
        return replace(scanned, error=stored.error), None
    scanned = replace(scanned, size=stored.size)
    try:
        if (hashed := known.hashes) is not None:
            decision = hook.check(
                hashed.query, upload_id=scanned.where, door=DOOR, earlier=known.reference, gaps=hashed.gaps
            )
            query: Query | None = hashed.query
        else:
            with hook.receive(upload_id=scanned.where, door=DOOR, earlier=known.reference) as upload:
                if stored.size > hook.settings.max_bytes:
                    upload.pass_over(stored.size)
                else:
                    for piece in place.read(stored):
                        upload.write(piece)
                decision = upload.decide()
                query = upload.query if upload.query is not None and _is_whole(upload.query, decision) else None
        state = hook.state_of(decision.reference)
    except HashHubError as e:
        return replace(scanned, error=e), None
    scanned = replace(scanned, decision=decision, is_remembered=known.hashes is not None, state=state)
    return scanned, None if query is None else RememberedQuery(query, gaps_among(decision.reasons))


def _is_whole(query: Query, decision: Decision) -> bool:
    """Whether all was computed that can be: what matched by its digests, or could not be decoded, was not hashed."""
    return (
        decision.no_answer is NoAnswer.NO_PERCEPTUAL_HASH
        or bool(query.frames)
        or any(SEARCHED[h.algorithm].is_perceptual for h in query.hashes)
    )


MOST_NAMED: Final = 1_000  # unread, and looked at in part; all of them are counted


Source: TypeAlias = Callable[[], IO[bytes]] | str
"""What opens a file that was uploaded before, or why that cannot be; opening it may raise HashHubError."""


class ScanOutcome(NamedTuple):
    """What a look through gave. `unread`: the first MOST_NAMED of them. `remembered`: files not read again."""

    scan: Scan
    new_copies: int
    remembered: int
    unread: tuple[PartialFile, ...]


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
    unread: list[PartialFile] = []
    partly: list[PartialFile] = []
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


def _name(files: list[PartialFile], place: str, why: str) -> None:
    if len(files) < MOST_NAMED:
        files.append(PartialFile(place=place, why=why))


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
