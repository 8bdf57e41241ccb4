"""The rows that go with those of entries: frames of videos, pages of digests; and deleting all of them for good.

Whatever deletes rows of `entry` or `hash` deletes frames, a few videos at a time: one may have 20,000.

A page says what the entries of one piece of an import state, so that a list is compared without a look at their rows.
Each id from the first to the last has a place in it; one of zeros says nothing: the entry must be read. Whatever
changes what an entry states clears its place: a digest tells whoever has the item that it was listed.

    content   digests (entry_codec.statement), then classifications as little-endian int32, 0 for none
    imprints  of the rows of entries as they were staged, WHOLE bytes each (store.imprints)
    form      which fields, and how, the digests are of; a page of another form is read as zeros
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.engine import Connection

from hashhub.frames import FRAME_BYTES, matching_digests
from hashhub.hashes import VPDQ
from hashhub.item import COMPARED
from hashhub.model import MAX_FRAMES
from hashhub.store import schema as s
from hashhub.store.database import Database, Row
from hashhub.store.entry_codec import STATEMENT_BYTES, EntryColumns, unpack_hashes
from hashhub.store.holds import Origin, hold_without_entries, traces_of
from hashhub.store.idset import runs
from hashhub.store.imprints import WHOLE, touch

VIDEOS_AT_ONCE: Final = 50  # videos whose frames are read together: at most 37 MB of them
MOST_FRAMES: Final = 5 * MAX_FRAMES  # deleted in one transaction: some 200 ms


class FrameCount(NamedTuple):
    """How many frames an entry has, and how many distinct digests its frames that match have."""

    frames: int
    digests: int


def frame_rows(entries: EntryColumns) -> list[Row]:
    """Return the rows of the table `frames` of packed entries."""
    return [
        (entry, len(packed) // FRAME_BYTES, len(matching_digests(packed)), packed)
        for entry, packed in zip(entries.ids, entries.frames, strict=True)
        if packed
    ]


def frame_counts(db: Database, ids: Iterable[int], c: Connection | None = None) -> dict[int, FrameCount]:
    """Return the counts of those of the entries that have frames."""
    sql = "SELECT f.entry, f.frame_count, f.digest_count FROM frames f WHERE f.entry {keys}"
    return {row[0]: FrameCount(row[1], row[2]) for row in db.by_keys(sql, "int8", (), sorted(set(ids)), c)}


def frames_of(db: Database, ids: Sequence[int], c: Connection | None = None) -> Iterator[tuple[int, bytes]]:
    """Yield the entries that have frames, ascending, with these, packed; a few at a time."""
    having = sorted(frame_counts(db, ids, c))
    sql = "SELECT f.entry, f.content FROM frames f WHERE f.entry {keys} ORDER BY f.entry"
    for start in range(0, len(having), VIDEOS_AT_ONCE):
        for row in db.by_keys(sql, "int8", (), having[start : start + VIDEOS_AT_ONCE], c):
            yield row[0], row[1]


def deletable(db: Database, rows: Sequence[Row]) -> Sequence[Row]:
    """Return the first rows, one at least, whose entries' frames can be deleted in one transaction."""
    counts: Mapping[int, FrameCount] = frame_counts(db, [row[0] for row in rows])
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
        db.execute(c, "DELETE FROM frames WHERE entry = ?", gone)
    return count


_VERSION: Final = 1  # raise it when `entry_codec.statement` says the same fields otherwise
FORM: Final = zlib.crc32(repr((_VERSION, [f.name for f in COMPARED])).encode()) >> 1  # a new field is another form


def page_of(entries: EntryColumns, set_key: int, import_key: int, imprints: Sequence[bytes]) -> Row:
    """Return the row of a page for entries that are about to be written; `imprints`: of their rows."""
    first, last = entries.ids[0], entries.ids[-1]
    places = np.asarray(entries.ids, np.int64) - first
    digests = np.zeros((last - first + 1, STATEMENT_BYTES), np.uint8)
    digests[places] = np.frombuffer(b"".join(entries.statements), np.uint8).reshape(-1, STATEMENT_BYTES)
    classifications = np.zeros(len(digests), "<i4")
    classifications[places] = [key or 0 for key in entries.classifications]
    content = digests.tobytes() + classifications.tobytes()
    digests[places] = np.frombuffer(b"".join(imprints), np.uint8).reshape(-1, WHOLE)
    return first, last, set_key, import_key, FORM, content, digests.tobytes()


def unpacked_page(first: int, last: int, form: int, content: bytes) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Return the digests of a page, uint8[n, STATEMENT_BYTES], and the classifications, int32[n]."""
    count = last - first + 1
    if form != FORM:
        return np.zeros((count, STATEMENT_BYTES), np.uint8), np.zeros(count, np.int32)
    digests = np.frombuffer(content, np.uint8, count * STATEMENT_BYTES).reshape(count, STATEMENT_BYTES)
    return digests, np.frombuffer(content, "<i4", count, count * STATEMENT_BYTES)


def clear_places(c: Connection, ids: Sequence[int]) -> None:
    """Clear the places of entries, in the transaction that changes what they state, or after it has deleted them. `ids`
    ascend. A page stays for as long as there is an entry with a place in it, which is read only because of it.
    """
    t, e = s.statement_page, s.entry
    ordered = np.asarray(ids, np.int64)
    at = 0
    while at < len(ids):
        page = c.execute(
            sa.select(t.c.first_entry, t.c.last_entry, t.c.content, t.c.imprints)
            .where(t.c.first_entry <= ids[at])
            .order_by(t.c.first_entry.desc())
            .limit(1)
            .with_for_update()
        ).first()
        if page is None or page.last_entry < ids[at]:  # it has none, nor has any up to the next page
            following = c.scalar(sa.select(sa.func.min(t.c.first_entry)).where(t.c.first_entry > ids[at]))
            at = len(ids) if following is None else int(np.searchsorted(ordered, following))
            continue
        end = int(np.searchsorted(ordered, page.last_entry, "right"))
        count = page.last_entry - page.first_entry + 1
        places = ordered[at:end] - page.first_entry
        content = np.frombuffer(page.content, np.uint8).copy()
        content[: count * STATEMENT_BYTES].reshape(count, STATEMENT_BYTES)[places] = 0
        content[count * STATEMENT_BYTES :].reshape(count, -1)[places] = 0
        imprints = np.frombuffer(page.imprints, np.uint8).copy()
        imprints.reshape(count, WHOLE)[places] = 0
        own = t.c.first_entry == page.first_entry
        touch(c, "statement_page", [page.first_entry])
        theirs = sa.select(e.c.id).where(e.c.id.between(page.first_entry, page.last_entry))
        if content.any() or c.scalar(theirs.limit(1)) is not None:
            c.execute(sa.update(t).where(own).values(content=content.tobytes(), imprints=imprints.tobytes()))
        else:
            c.execute(sa.delete(t).where(own))
        at = end


PURGED_AT_ONCE: Final = 2_000  # entries deleted in one transaction: some 100 ms
_STRENGTH: Final = {Origin.SOURCE: 0, Origin.CONTRIBUTOR: 1, Origin.OPERATOR: 2, Origin.PERSON_SHOWN: 3}


class PurgeResult(NamedTuple):
    """How many rows went with some entries, and how many of their items are still held."""

    entries: int
    hashes: int
    reviews: int
    holds: int


def purge_entries(
    c: Connection, db: Database, set_key: int, rows: Sequence[Row], *, secret: bytes, all_holds: bool
) -> PurgeResult:
    """Delete a hash set's entries: rows of (id, external id, packed hashes), by id; `all_holds`: the set stays."""
    ids = sorted(row[0] for row in rows)
    ranges = runs(ids)
    if not ranges:
        return PurgeResult(0, 0, 0, 0)
    for table in ("entry", "hold", "reviewed", "withdrawal"):
        touch(c, table, ids)
    hashes = {row[0]: unpack_hashes(row[2]) for row in rows}
    held = _keep_holds(c, db, set_key, {row[0]: (row[1] or "", hashes[row[0]]) for row in rows}, ids, secret, all_holds)
    gone = [(s.ALGORITHM_CODES[h.algorithm], h.digest, entry) for entry, own in hashes.items() for h in own]
    db.delete_hashes(c, gone)
    frame_digests = delete_frames(c, db, ids)
    reviews = sorted(
        {
            row[0]
            for ends in ranges
            for row in db.execute(
                c, "SELECT review FROM reviewed WHERE hash_set = ? AND entry BETWEEN ? AND ?", (set_key, *ends)
            )
        }
    )
    if reviews:
        touch(c, "review", reviews)
        db.execute(
            c,
            "DELETE FROM reviewed WHERE hash_set = ? AND entry BETWEEN ? AND ?",
            [(set_key, *ends) for ends in ranges],
        )
        db.execute(c, "DELETE FROM review WHERE id BETWEEN ? AND ?", runs(reviews))
    for sql in (
        "DELETE FROM withdrawal WHERE entry BETWEEN ? AND ?",
        "DELETE FROM succession WHERE earlier BETWEEN ? AND ?",
        "DELETE FROM succession WHERE later BETWEEN ? AND ?",
        "DELETE FROM entry WHERE id BETWEEN ? AND ?",
    ):
        db.execute(c, sql, ranges)
    clear_places(c, ids)
    return PurgeResult(len(ids), len(gone) + frame_digests, len(reviews), held)


def _keep_holds(
    c: Connection,
    db: Database,
    set_key: int,
    items: dict[int, tuple[str, tuple[object, ...]]],
    ids: Sequence[int],
    secret: bytes,
    all_holds: bool,  # noqa: FBT001 - as `purge_entries` has it
) -> int:
    """Delete the holds on some entries, and hold anew, without an entry, the items that stay held; return how many."""
    sql = "SELECT entry, contributor, hash_set, origin, revision, source_time FROM hold WHERE entry {keys}"
    strongest: dict[int, Row] = {}
    for row in db.by_keys(f"{sql} AND traces IS NULL", "int8", (), ids, c):
        if row[2] and not all_holds:
            continue
        known = strongest.get(row[0])
        if known is None or _STRENGTH[Origin(row[3])] > _STRENGTH[Origin(known[3])]:
            strongest[row[0]] = row
    db.execute(c, "DELETE FROM hold WHERE entry BETWEEN ? AND ? AND traces IS NULL", runs(ids))
    if not strongest:
        return 0
    held = []
    for entry, row in sorted(strongest.items()):
        external_id, hashes = items[entry]
        traces = traces_of(secret, external_id, hashes)  # type: ignore[arg-type]  # of the model
        held.append(
            {
                "contributor": row[1],
                "hash_set": row[2] and set_key,
                "origin": row[3],
                "revision": row[4],
                "source_time": row[5],
                "traces": b"".join(sorted(traces)),
            }
        )
    hold_without_entries(c, held)
    return len(held)
