"""What was uploaded before the hook stood in the way: every object of a place is checked, and nothing is moved.

An object is downloaded once: what was asked about it is remembered (`DATA/scan.db`), and asked again in the next scan
while it is as it was, so that a scan that is cut short is continued. An object that is held or blocked anew, for the
same reasons, is the same upload in the records.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

import msgspec
from msgspec.structs import replace

from hashhub.desk.decision import Decision, NoAnswer
from hashhub.desk.settings import HashingSite
from hashhub.errors import Conflict, HashHubError, Unavailable
from hashhub.hashes import SEARCHED
from hashhub.hook.places import ObjectPlace, StoredObject
from hashhub.local_files import lock_file, make_directory
from hashhub.model import Query, ReasonLine
from hashhub.scans.engine import KnownFile, ListedFile, ScanEngine, ScanMemory, UnreadableItem
from hashhub.trust import ReasonCode

if TYPE_CHECKING:
    from hashhub.desk.records import UploadState
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
