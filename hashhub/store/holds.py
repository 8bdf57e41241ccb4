"""Holds: what keeps an item withdrawn or quarantined although a list states it again.

An entry that somebody withdrew by hand stays withdrawn although a list still states its item; what an operator
quarantined stays so. A hold is about the item of one entry: its external id, its exact digests or, without either, its
very hashes. Without an entry, be it erased or lost (hub.withdrawal_log), only keyed traces of these are left.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any, Final, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from hashhub.hashes import Hash, is_exact
from hashhub.model import Actor, EntryState, EventKind, ImportState
from hashhub.store import schema as s
from hashhub.store.database import Database, Row
from hashhub.store.entry_codec import runs, unpack_hashes
from hashhub.store.events import Facts, append_event, touch

TRACE_BYTES: Final = 16
_PAGE: Final = 10_000  # entries read at a time

# What `hold_of_row` reads, in its order.
HOLD_SQL: Final = (
    "SELECT h.entry, h.hash_set, h.effect, h.origin, h.revision, h.source_time, e.external_id, e.hashes, h.traces"
)


class Origin(StrEnum):
    """Who made a hold, which says who may lift it, and which lists it stands against."""

    CONTRIBUTOR = "CONTRIBUTOR"
    OPERATOR = "OPERATOR"
    PERSON_SHOWN = "PERSON_SHOWN"
    SOURCE = "SOURCE"  # the source's own deletion message: stands against older lists only

    @property
    def is_operators(self) -> bool:
        """Whether only an operator lifts the hold, which stands in all sets of the contributor."""
        return self in {Origin.OPERATOR, Origin.PERSON_SHOWN}


class Hold(NamedTuple):
    """A hold on the item of entry `entry_id`, or, where that is negative, on an item without an entry.

    `hash_set`: empty for all sets of the contributor. `effect`: WITHDRAWN or QUARANTINED. `source_time`: of a source's
    deletion message, verbatim. `traces` instead of `external_id` and `hashes` where there is no entry any more.
    """

    entry_id: int
    hash_set: str
    effect: EntryState
    origin: Origin
    revision: int
    source_time: str = ""
    external_id: str = ""
    hashes: tuple[Hash, ...] = ()
    traces: frozenset[bytes] = frozenset()

    @property
    def is_of_erased(self) -> bool:
        """Whether all that is left of the entry is this."""
        return bool(self.traces) and self.entry_id > 0


class HeldItem(NamedTuple):
    """An item to hold of which there is no entry. `hash_set`: its id, empty for all sets of the contributor."""

    contributor: str
    hash_set: str
    origin: Origin
    traces: frozenset[bytes]


class LiveItem(NamedTuple):
    """By what the item of an entry that is not WITHDRAWN is known."""

    entry_id: int
    external_id: str
    hashes: tuple[Hash, ...]


class Holds:
    """The part of the Store that knows what is held."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def of_set(self, contributor: str, hash_set: str) -> list[Hold]:
        """Return the holds that stand in a hash set, those of all the contributor's sets included. Raises NotFound."""
        sql = (
            f"{HOLD_SQL} FROM hold h LEFT JOIN entry e ON e.id = h.entry "
            "WHERE h.contributor = ? AND h.hash_set IN (0, ?) ORDER BY h.entry"
        )
        rows = self._db.fetch(sql, (contributor, self._db.key_of_set(contributor, hash_set)))
        return [hold_of_row(row, hash_set) for row in rows]

    def erased_traces(self, entry_id: int) -> frozenset[bytes]:
        """Return what is left of an erased entry's item, nothing of another entry's."""
        rows = self._db.fetch("SELECT traces FROM hold WHERE entry = ? AND traces IS NOT NULL", (entry_id,))
        return frozenset(_traces(rows[0][0])) if rows else frozenset()

    def live_items(self, contributor: str, hash_set: str) -> Iterator[LiveItem]:
        """Yield a hash set's visible items that are not WITHDRAWN by their rows (`settle`), by id. Raises NotFound."""
        set_key = self._db.key_of_set(contributor, hash_set)
        columns = 'e.external_id, e.hashes, (SELECT i.state FROM "import" i WHERE i.key = e."import")'
        committed = s.IMPORT_STATES[ImportState.COMMITTED]
        for rows in self._db.entry_pages(columns, set_key, page=_PAGE):
            yield from (LiveItem(row[0], row[2] or "", unpack_hashes(row[3])) for row in rows if row[4] == committed)

    def hold_items(self, items: Sequence[HeldItem], *, by: Actor, reason: str, facts: Facts) -> None:
        """Hold items without an entry at one revision: in quarantine, or, by a source, against older lists."""
        with self._db.write_in_order() as c:
            revision = append_event(
                c, by, EventKind.ENTRIES_WITHDRAWN, reason=reason, facts={"held_items": len(items), **facts}
            )
            holds = [
                {
                    "contributor": item.contributor,
                    "hash_set": self._db.key_of_set(item.contributor, item.hash_set, c) if item.hash_set else 0,
                    "origin": str(item.origin),
                    "revision": revision,
                    "source_time": "",
                    "traces": b"".join(sorted(item.traces)),
                }
                for item in items
            ]
            hold_without_entries(c, holds)


def hold_of_row(row: Row, hash_set: str) -> Hold:
    """Build a hold from the columns of `HOLD_SQL`, as it stands in a hash set."""
    return Hold(
        entry_id=row[0],
        hash_set=hash_set if row[1] else "",
        effect=s.ENTRY_STATES.members[row[2]],
        origin=Origin(row[3]),
        revision=row[4],
        source_time=row[5],
        external_id=row[6] or "",
        hashes=unpack_hashes(row[7] or b""),
        traces=frozenset(_traces(row[8] or b"")),
    )


def put_holds(
    c: Connection,
    db: Database,
    ids: Sequence[int],
    origin: Origin,
    effect: EntryState,
    revision: int,
    *,
    source_times: Sequence[str] = (),
    traces: bytes | None = None,
) -> None:
    """Hold the items of entries, in place of earlier holds of the same effect; `source_times`: one for each id."""
    sql = (
        "INSERT INTO hold "  # noqa: S608 - our own text
        "(entry, contributor, hash_set, effect, origin, revision, source_time, traces) "
        "SELECT e.id, x.contributor, CASE WHEN ? = 1 THEN 0 ELSE e.hash_set END, CAST(? AS INTEGER), CAST(? AS TEXT), "
        f"CAST(? AS BIGINT), CAST(? AS TEXT), CAST(? AS {'BLOB' if db.is_sqlite else 'BYTEA'}) "
        "FROM entry e JOIN hash_set x ON x.key = e.hash_set WHERE e.id BETWEEN ? AND ? "
        "ON CONFLICT (entry, effect) DO UPDATE SET hash_set = excluded.hash_set, origin = excluded.origin, "
        "revision = excluded.revision, source_time = excluded.source_time, traces = excluded.traces"
    )
    if ids:
        touch(c, "hold", ids)
        code = s.ENTRY_STATES[effect]
        if source_times:
            ranges = [(time, entry, entry) for entry, time in zip(ids, source_times, strict=True)]
        else:
            ranges = [("", first, last) for first, last in runs(sorted(ids))]
        rows = [
            (int(origin.is_operators), code, str(origin), revision, time, traces, first, last)
            for time, first, last in ranges
        ]
        db.execute(c, sql, rows)


def hold_without_entries(c: Connection, holds: Sequence[Mapping[str, Any]]) -> None:
    """Hold items of which there is no entry: rows of the table but for `entry` and `effect`. What a list states of one
    waits in quarantine, where an operator can release it; one that a source deleted is withdrawn.
    """
    last = min(c.scalar(sa.select(sa.func.min(s.hold.c.entry))) or 0, 0)
    touch(c, "hold", range(last - len(holds), last))
    effects = {Origin.SOURCE: s.WITHDRAWN}
    rows = [
        {**hold, "entry": last - number, "effect": effects.get(Origin(hold["origin"]), s.QUARANTINED)}
        for number, hold in enumerate(holds, 1)
    ]
    c.execute(sa.insert(s.hold), rows)


def lift_holds(
    c: Connection, db: Database, ids: Sequence[int], effect: EntryState, *, only: Origin | None = None
) -> None:
    """Lift holds of this effect (of one origin: `only`) on entries, or on items without one; an erased one's stay."""
    if ids:
        touch(c, "hold", ids)
        where, origin = ("", ()) if only is None else (" AND origin = ?", (str(only),))
        sql = (
            "DELETE FROM hold WHERE entry BETWEEN ? AND ? AND effect = ? "  # noqa: S608 - our own text
            f"AND (traces IS NULL OR entry < 0){where}"
        )
        db.execute(c, sql, [(*ends, s.ENTRY_STATES[effect], *origin) for ends in runs(sorted(set(ids)))])


def _traces(packed: bytes) -> Iterator[bytes]:
    return (packed[at : at + TRACE_BYTES] for at in range(0, len(packed), TRACE_BYTES))


def traces_of(secret: bytes, external_id: str, hashes: Sequence[Hash]) -> frozenset[bytes]:
    """Return an item's keyed traces: of external id and exact digests or, without both, of all digests."""
    exact = [h for h in hashes if is_exact(h.algorithm)]
    known = exact if exact or external_id else hashes
    values = [(h.algorithm, h.digest) for h in known]
    if external_id:
        values.append(("EXTERNAL_ID", external_id.encode()))
    return frozenset(trace_of(secret, kind, value) for kind, value in values)


def trace_of(secret: bytes, kind: str, value: bytes) -> bytes:
    """Return the keyed trace of a value. `kind`: an algorithm or EXTERNAL_ID; `secret`: `Store.secret`."""
    return hmac.digest(secret, kind.encode() + b"\0" + value, hashlib.sha256)[:TRACE_BYTES]
