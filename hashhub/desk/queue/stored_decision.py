"""An upload as it was recorded: what it hit, and what can still be asked about it by what is kept."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from hashhub.desk.decision import DecisionRecord, damaged, read_checked
from hashhub.desk.records import UploadState
from hashhub.errors import NotFound
from hashhub.hashes import VPDQ, Hash, is_exact
from hashhub.model import Query, VariantHashes

if TYPE_CHECKING:
    from hashhub.desk.records import Records


# As bytes: SQLite's module refuses the whole answer for one text that is no UTF-8.
CELLS: Final = "u.state, CAST(u.time AS BLOB), CAST(u.door AS BLOB), CAST(u.upload_id AS BLOB), CAST(u.checked AS BLOB)"


class RecordedHit(msgspec.Struct, frozen=True, kw_only=True):
    """An entry that an upload hit: `exact`, by a digest of the file itself."""

    entry: str
    algorithm: str
    distance: int
    variant: str = ""
    exact: bool = False


class StoredDecision(NamedTuple):
    """The row of an upload."""

    state: UploadState
    time: datetime
    door: str
    upload_id: str
    checked: DecisionRecord


def recorded(records: Records, reference: str) -> StoredDecision:
    """Return what is on record of an upload. Raises NotFound."""
    sql = f"SELECT {CELLS} FROM upload u WHERE reference = ?"  # noqa: S608 - no value in it
    rows = records.rows(sql, (reference,))
    if not rows:
        raise NotFound(f"there is no upload {reference[:40]!r} in the queue; see `hashhub hook queue list`")
    return read_cells(reference, *rows[0])


def read_cells(reference: str, state: str, time: bytes, door: bytes, upload_id: bytes, stored: bytes) -> StoredDecision:
    """Return the row of an upload, read by `CELLS`. Raises DataLoss for what cannot be read."""
    try:
        return StoredDecision(
            *(UploadState(state), read_time(time), door.decode(), upload_id.decode()),
            checked=read_checked(stored, reference),
        )
    except ValueError as e:
        raise damaged(reference) from e


def read_time(cell: bytes) -> datetime:
    """Return the time in a row. Raises ValueError for what is none."""
    time = datetime.fromisoformat(cell.decode())
    if time.tzinfo is None:
        raise ValueError("a time without a zone")
    return time


def hits_of(checked: DecisionRecord) -> tuple[RecordedHit, ...]:
    """Return the entries that an upload hit, in the answer's order."""
    if checked.result is None:
        return ()
    return tuple(
        RecordedHit(
            entry=match.entry.name,
            algorithm=match.algorithm,
            distance=match.distance,
            variant=match.variant,
            exact=not match.variant and is_exact(match.algorithm),
        )
        for match in checked.result.matches
    )


def lists_of(checked: DecisionRecord) -> tuple[str, ...]:
    """Return the lists that have an entry which an upload hit, in the answer's order."""
    return tuple(dict.fromkeys(hit.entry.rpartition("/")[0] for hit in hits_of(checked)))


def asked_again(checked: DecisionRecord) -> Query | None:
    """Return what to ask about an upload by what is kept of it; None where that is not what was hit."""
    matches = checked.result.matches if checked.result is not None else ()
    is_picture = checked.media_type.startswith("image/")
    if not checked.hashes or (not is_picture and any(match.video is not None for match in matches)):
        return None
    digests: dict[str, set[Hash]] = {}
    for match in matches:
        h = Hash("PDQ" if match.algorithm == VPDQ.name else match.algorithm, match.query_digest)
        if match.variant and h not in checked.hashes:
            digests.setdefault(match.variant, set()).add(h)
    return Query(
        hashes=checked.hashes,
        variants=tuple(VariantHashes(variant, tuple(sorted(some))) for variant, some in sorted(digests.items())),
    )
