"""Deleting entries' rows for good, and what outlives them: the holds that keep their items from coming back.

What hangs on an entry goes with it: its hashes and frames, its reviews, who withdrew it, what took its place. A hold
that must outlast the entry becomes one on an item without an entry, known by keyed traces only (store.holds): a list
that states the item again finds it in quarantine, where an operator can release it. What is left of an erased entry
stays as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from hashhub.model import EntryState
from hashhub.store import schema as s
from hashhub.store.database import Database, Row
from hashhub.store.holds import Origin, traces_of
from hashhub.store.idset import runs
from hashhub.store.imprints import touch
from hashhub.store.packing import unpack_hashes
from hashhub.store.statements import clear
from hashhub.store.videos import delete_frames

PIECE: Final = 2_000  # entries deleted in one transaction: some 100 ms
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
    """Delete entries of one hash set in this transaction: rows of (id, external id, packed hashes), by id.

    `all_holds`: the hash set stays, so that holds within it outlast its entries, too. `secret`: `Store.secret`.
    """
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
            for row in c.exec_driver_sql(
                db.sql("SELECT review FROM reviewed WHERE hash_set = ? AND entry BETWEEN ? AND ?"), (set_key, *ends)
            )
        }
    )
    if reviews:
        touch(c, "review", reviews)
        c.exec_driver_sql(
            db.sql("DELETE FROM reviewed WHERE hash_set = ? AND entry BETWEEN ? AND ?"),
            [(set_key, *ends) for ends in ranges],
        )
        c.exec_driver_sql(db.sql("DELETE FROM review WHERE id BETWEEN ? AND ?"), runs(reviews))
    for sql in (
        "DELETE FROM withdrawal WHERE entry BETWEEN ? AND ?",
        "DELETE FROM succession WHERE earlier BETWEEN ? AND ?",
        "DELETE FROM succession WHERE later BETWEEN ? AND ?",
        "DELETE FROM entry WHERE id BETWEEN ? AND ?",
    ):
        c.exec_driver_sql(db.sql(sql), ranges)
    clear(c, ids)
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
    sql = "SELECT entry, contributor, hash_set, effect, origin, revision, source_time FROM hold WHERE entry {keys}"
    strongest: dict[int, Row] = {}
    for row in db.by_keys(f"{sql} AND traces IS NULL", "int8", (), ids, c):
        if row[2] and not all_holds:
            continue
        known = strongest.get(row[0])
        if known is None or _STRENGTH[Origin(row[4])] > _STRENGTH[Origin(known[4])]:
            strongest[row[0]] = row
    c.exec_driver_sql(db.sql("DELETE FROM hold WHERE entry BETWEEN ? AND ? AND traces IS NULL"), runs(ids))
    if not strongest:
        return 0
    last = min(c.scalar(sa.select(sa.func.min(s.hold.c.entry))) or 0, 0)
    held = []
    for number, (entry, row) in enumerate(sorted(strongest.items()), 1):
        external_id, hashes = items[entry]
        traces = traces_of(secret, external_id, hashes)  # type: ignore[arg-type]  # of the model
        effect = EntryState.WITHDRAWN if Origin(row[4]) is Origin.SOURCE else EntryState.QUARANTINED
        held.append(
            {
                "entry": last - number,
                "contributor": row[1],
                "hash_set": row[2] and set_key,
                "effect": s.ENTRY_STATES[effect],
                "origin": row[4],
                "revision": row[5],
                "source_time": row[6],
                "traces": b"".join(sorted(traces)),
            }
        )
    c.execute(sa.insert(s.hold), held)
    touch(c, "hold", [row["entry"] for row in held])
    return len(held)
