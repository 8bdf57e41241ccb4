"""What was uploaded before the hook stood in the way: every object of a place is checked, and nothing is moved.

    scan_storage(hook, place_of("s3://app/media/", settings.bucket))

An object is downloaded once: what was asked about it is remembered (`scan_memory`), and asked again in the next scan
while the object is as it was. A scan that is cut short is continued by another, which downloads only what the first has
not. An object that is held or blocked anew, for the same reasons, is the same upload in the records.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from hashhub.errors import Conflict, HashHubError, Unavailable
from hashhub.hashes import SEARCHED
from hashhub.hook.decision import Decision, NoAnswer
from hashhub.hook.places import Place, Stored, Unlisted
from hashhub.hook.scan_memory import Known, ScanMemory, gaps_among

if TYPE_CHECKING:
    from hashhub.hook.core import Hook
    from hashhub.hook.records import UploadState
    from hashhub.hook.settings import HookSettings
    from hashhub.model import Query

DOOR: Final = "scan"
_LOCK: Final = "scan.lock"
_AWAY_AFTER: Final = 3


class Scanned(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one object. Either `decision` or `error`: why it could not be read. `is_remembered`: it was not
    downloaded, since it is as it was. `state`: where the upload stands in the records; RELEASED and REMOVED are what a
    person has decided over this very object, for these reasons, and change nothing about the decision.
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
    lock = os.open(directory / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as e:
            raise Conflict("another scan is under way with this data directory; wait until it is done") from e
        yield
    finally:
        os.close(lock)


def scan_storage(hook: Hook, place: Place, *, memory: ScanMemory | None = None, jobs: int = 4) -> Iterator[Scanned]:
    """Check every object of a place, in the order in which they are done.

    Nothing is written but what `memory` remembers, and moved nothing at all. Objects beyond the hook's limit of bytes
    are not downloaded: TOO_LARGE, and not even their digests are known.

    Raises Unavailable when the place cannot be reached, or the hub has not answered several times in a row: what was
    not scanned then must not look as if it was.
    """
    listing = place.objects()
    under_way: dict[Future[tuple[Scanned, Query | None]], tuple[Stored, float]] = {}
    misses = 0
    is_at_end = False
    threads = ThreadPoolExecutor(jobs, "hook-scan")
    try:
        while not is_at_end or under_way:
            while not is_at_end and len(under_way) < 2 * jobs:
                item = next(listing, None)
                if item is None:
                    is_at_end = True
                elif isinstance(item, Unlisted):
                    yield Scanned(name=item.name, where=_where(place, item.name), error=item.error)
                else:
                    known = memory.recall(_where(place, item.name), item.stamp) if memory is not None else Known()
                    under_way[threads.submit(_scanned, hook, place, item, known)] = (item, time.time())
            done, _ = wait(under_way, return_when=FIRST_COMPLETED)
            for future in done:
                item, begun = under_way.pop(future)
                scanned, query = future.result()
                if isinstance(scanned.error, Unavailable):
                    raise scanned.error
                if memory is not None and scanned.decision is not None:
                    reference = scanned.decision.reference if scanned.state is not None else ""
                    memory.remember(
                        scanned.where,
                        item.stamp,
                        query,
                        reference=reference,
                        gaps=gaps_among(scanned.decision.reasons),
                        modified=item.modified,
                        begun=begun,
                    )
                is_away = scanned.decision is not None and scanned.decision.no_answer is NoAnswer.HUB_AWAY
                misses = misses + 1 if is_away else 0
                yield scanned
                if misses >= _AWAY_AFTER:
                    raise Unavailable(
                        f"the hub did not answer for {misses} objects in a row; run the same command again when it "
                        "does: what was downloaded is remembered"
                    )
    finally:
        threads.shutdown(wait=True, cancel_futures=True)
        close = getattr(listing, "close", None)
        if close is not None:
            close()


def _scanned(hook: Hook, place: Place, stored: Stored, known: Known) -> tuple[Scanned, Query | None]:
    where = _where(place, stored.name)
    query = known.query
    try:
        if query is not None:
            decision = hook.check(query, upload_id=where, door=DOOR, earlier=known.reference, gaps=known.gaps)
        else:
            with hook.receive(upload_id=where, door=DOOR, earlier=known.reference) as upload:
                if stored.size > hook.settings.max_bytes:
                    upload.pass_over(stored.size)
                else:
                    for piece in place.read(stored):
                        upload.write(piece)
                decision = upload.decide()
                query = upload.query if upload.query is not None and _is_whole(upload.query, decision) else None
        state = hook.state_of(decision.reference)
    except HashHubError as e:
        return Scanned(name=stored.name, where=where, size=stored.size, error=e), None
    scanned = Scanned(
        name=stored.name,
        where=where,
        size=stored.size,
        decision=decision,
        is_remembered=known.query is not None,
        state=state,
    )
    return scanned, query


def _is_whole(query: Query, decision: Decision) -> bool:
    """Whether all was computed that can be: what matched by its digests, or could not be decoded, was not hashed."""
    return (
        decision.no_answer is NoAnswer.NO_PERCEPTUAL_HASH
        or bool(query.frames)
        or any(SEARCHED[h.algorithm].is_perceptual for h in query.hashes)
    )


def _where(place: Place, name: str) -> str:
    return f"{place.url.rstrip('/')}/{name}"
