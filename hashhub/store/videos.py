"""The frames of entries that are videos: in a table of their own, and the digests of those that match among the hashes.

Whatever deletes rows of `entry` or `hash` deletes these, a few videos at a time: one may have 20,000 frames.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from sqlalchemy.engine import Connection

from hashhub.frames import FRAME_BYTES, matching_digests
from hashhub.hashes import VPDQ
from hashhub.model import MAX_FRAMES
from hashhub.store.database import Database, Row
from hashhub.store.packing import EntryColumns

AT_ONCE: Final = 50  # videos whose frames are read together: at most 37 MB of them
MOST_FRAMES: Final = 5 * MAX_FRAMES  # deleted in one transaction: some 200 ms


class FrameCount(NamedTuple):
    """How many frames an entry has, and how many distinct digests its frames that match have."""

    frames: int
    digests: int


def rows_of(entries: EntryColumns) -> list[Row]:
    """Return the rows of the table `frames` of packed entries."""
    return [
        (entry, len(packed) // FRAME_BYTES, len(matching_digests(packed)), packed)
        for entry, packed in zip(entries.ids, entries.frames, strict=True)
        if packed
    ]


def counts_of(db: Database, ids: Iterable[int], c: Connection | None = None) -> dict[int, FrameCount]:
    """Return the counts of those of the entries that have frames."""
    sql = "SELECT f.entry, f.frame_count, f.digest_count FROM frames f WHERE f.entry {keys}"
    return {row[0]: FrameCount(row[1], row[2]) for row in db.by_keys(sql, "int8", (), sorted(set(ids)), c)}


def frames_of(db: Database, ids: Sequence[int], c: Connection | None = None) -> Iterator[tuple[int, bytes]]:
    """Yield the entries that have frames, ascending, with these, packed; a few at a time."""
    having = sorted(counts_of(db, ids, c))
    sql = "SELECT f.entry, f.content FROM frames f WHERE f.entry {keys} ORDER BY f.entry"
    for start in range(0, len(having), AT_ONCE):
        for row in db.by_keys(sql, "int8", (), having[start : start + AT_ONCE], c):
            yield row[0], row[1]


def deletable(db: Database, rows: Sequence[Row]) -> Sequence[Row]:
    """Return the first rows, one at least, whose entries' frames can be deleted in one transaction."""
    counts: Mapping[int, FrameCount] = counts_of(db, [row[0] for row in rows])
    total = 0
    for number, row in enumerate(rows if counts else ()):
        total += counts[row[0]].frames if row[0] in counts else 0
        if total > MOST_FRAMES and number:
            return rows[:number]
    return rows


def delete_frames(c: Connection, db: Database, ids: Sequence[int]) -> int:
    """Delete the frames of entries in this transaction, and their digests; return how many digests."""
    count = 0
    gone: list[tuple[int]] = []
    for entry, packed in frames_of(db, ids, c):
        digests = [(VPDQ.code, digest.tobytes(), entry) for digest in matching_digests(packed)]
        db.delete_hashes(c, digests)
        count += len(digests)
        gone.append((entry,))
    if gone:
        c.exec_driver_sql(db.sql("DELETE FROM frames WHERE entry = ?"), gone)
    return count
