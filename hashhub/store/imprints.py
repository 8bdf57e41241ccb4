"""Digests of the rows that decide, as events left them: rows that were edited underneath no longer have theirs.

    touch    a write names the rows that it changes, by table and lead (schema.DECIDING)
    taken    at the end of its transaction they are read back: an imprint is a keyed digest of all rows with a lead,
             then two bytes for each field, by which it is said what differs
    event    has the imprints in a column of its own, to which its body holds a SHA-256

Imprints of imported entries stand in their page of statements. A withdrawal of many, written behind its event, has
none: `doctor` compares the state before it (store.examination).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any, Final

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from hashhub.store import schema as s
from hashhub.store.drivers import NOTES

Imprints = Mapping[str, Mapping[int | str, bytes]]
"""By table and lead; empty bytes where there is no row."""

WHOLE: Final = 16  # bytes of the digest of rows
_HINT: Final = 2  # of a field
_TOUCHED: Final = "touched"
_AT_ONCE: Final = 500  # leads read together
_JSON: Final = frozenset({"content", "retention"})  # columns whose fields are told apart
TABLES_OF: Final = {
    "contributors": ("contributor",),
    "groups": ("contributor_group",),
    "hash-sets": ("hash_set",),
    "policies": ("definition",),
    "schemes": ("definition",),
    "tokens": ("token", "secret"),
    "webhooks": ("webhook",),
}
"""The tables that have what events name, by collection."""
_encode: Final = msgspec.msgpack.Encoder().encode


def touch(c: Connection, table: str, leads: Iterable[int | str]) -> None:
    """Have the event of this transaction tell what its rows with these leads are in the end."""
    c.info[NOTES].setdefault(_TOUCHED, {}).setdefault(table, set()).update(leads)


def touched(c: Connection, table: str) -> list[Any]:
    """Return the leads of a table that this transaction has touched so far."""
    return sorted(c.info[NOTES].get(_TOUCHED, {}).get(table, ()))


def touch_resource(c: Connection, subject: str) -> None:
    """Do as `touch`, of what an event names."""
    collection, _, name = subject.partition("/")
    for table in TABLES_OF[collection]:
        touch(c, table, [name])


def taken(c: Connection, secret: bytes) -> bytes | None:
    """Return the imprints of what was touched, packed, or None where nothing was."""
    touched: dict[str, set[int | str]] = c.info[NOTES].get(_TOUCHED, {})
    imprints: dict[str, dict[int | str, bytes]] = {}
    for table, leads in touched.items():
        ordered: list[Any] = sorted(leads)  # of one table they are of one type
        imprints[table] = dict.fromkeys(ordered, b"")
        for start in range(0, len(ordered), _AT_ONCE):
            groups: dict[int | str, list[Sequence[Any]]] = {}
            where = lead_of(table).in_(ordered[start : start + _AT_ONCE])
            for lead, *row in c.execute(rows_of(table).where(where)):
                groups.setdefault(lead, []).append(row)
            imprints[table].update({lead: imprint(secret, table, rows) for lead, rows in groups.items()})
    return _encode(imprints) if touched else None


def unpacked(packed: bytes) -> Imprints:
    """Return imprints as `taken` packs them."""
    return msgspec.msgpack.decode(packed, type=dict[str, dict[int | str, bytes]])


def lead_of(table: str) -> sa.ColumnElement[Any]:
    """Return what the rows of a table are told by: a column, or several with something between."""
    columns = s.tables.tables[table].c
    name, *others = s.DECIDING[table].lead
    lead: sa.ColumnElement[Any] = columns[name]
    for between, other in zip(others[::2], others[1::2], strict=True):
        lead = lead + between + columns[other]
    return lead


@cache
def rows_of(table: str) -> sa.Select[Any]:
    """Return the query for the rows of a table: the lead, then what an imprint is of."""
    compared = [column for column in s.tables.tables[table].c if column.name not in s.DECIDING[table].left_out]
    query = sa.select(lead_of(table).label("lead"), *compared)
    if table == "entry":  # with what it refers to
        e, f, k = s.entry, s.frames, s.classification
        query = query.add_columns(k.c.content_digest, f.c.frame_count, f.c.digest_count, f.c.content)
        query = query.select_from(e.outerjoin(k, k.c.id == e.c.classification).outerjoin(f, f.c.entry == e.c.id))
    return query


@cache
def names_of(table: str) -> tuple[str, ...]:
    """Return the names of what an imprint is of."""
    return tuple(column.name for column in rows_of(table).selected_columns)[1:]


def whole(secret: bytes, rows: Sequence[Sequence[Any]]) -> bytes:
    """Return the digest of rows with one lead, in whatever order."""
    packed = b"".join(sorted(map(_encode, rows))) if len(rows) > 1 else _encode(tuple(rows[0]))
    return hashlib.blake2b(packed, digest_size=WHOLE, key=secret).digest()


def imprint(secret: bytes, table: str, rows: Sequence[Sequence[Any]]) -> bytes:
    """Return the imprint of rows with one lead, of the columns of `rows_of`."""
    rows = sorted((tuple(bytes(x) if isinstance(x, memoryview) else x for x in row) for row in rows), key=_encode)
    fields = _fields(table, rows)
    hints = (hashlib.blake2b(_encode(fields[name]), digest_size=_HINT, key=secret).digest() for name in sorted(fields))
    return whole(secret, rows) + b"".join(hints)


def differing(table: str, before: bytes, after: bytes, rows: Sequence[Sequence[Any]]) -> list[str]:
    """Return the names of the fields in which imprints differ; `rows`: those that `after` is of."""
    names = sorted(_fields(table, rows))
    if len(before) != len(after):  # fields came or went
        return []
    hints = (range(WHOLE + i * _HINT, WHOLE + (i + 1) * _HINT) for i in range(len(names)))
    return [name for name, at in zip(names, hints, strict=True) if any(before[i] != after[i] for i in at)]


def _fields(table: str, rows: Sequence[Sequence[Any]]) -> dict[str, list[Any]]:
    fields: dict[str, list[Any]] = {}
    for row in rows:
        for name, value in zip(names_of(table), row, strict=True):
            is_json = name in _JSON and table not in {"entry", "statement_page"} and value is not None
            try:
                parts = msgspec.json.decode(value) if is_json else {name: value}
            except msgspec.DecodeError:
                parts = {name: value}
            for part, of_part in (parts if isinstance(parts, dict) else {name: value}).items():
                fields.setdefault(part, []).append(of_part)
    return fields
