"""The fields of an item, each defined once: the wire, hygiene, intake and the store's packed columns follow from it.

A new field stands in `model.Record` (name, type, default), in `model.Entry` if the hub keeps it, and in the messages
Record and Entry of the contract; what does not follow from its type stands in the tables here.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final, NamedTuple

import msgspec

from hashhub.model import NO_FLAGS, Entry, Flags, Record


class FieldKind(StrEnum):
    """What a field holds. Each kind has a value that says nothing: the empty text, no texts, None, NO_FLAGS."""

    TEXT = "TEXT"
    TEXTS = "TEXTS"
    NUMBER = "NUMBER"
    TIME = "TIME"
    FLAGS = "FLAGS"


class Field(NamedTuple):
    """A field of an item. `wire`, `column`: its names in messages and messages of columns, or empty. `maximum`: of a
    number, from 0. `entry_path`: in an Entry, or empty. `is_compared`: statements that differ in it differ.
    `is_packed`: kept in `details`.
    """

    name: str
    kind: FieldKind
    type: Any
    default: Any
    wire: str
    maximum: int
    entry_path: str
    is_compared: bool
    is_packed: bool
    column: str


# What a record has beside its item's fields: where it stands, what it asks for, its hashes and frames, and what others
# say of it.
_STRUCTURE: Final = frozenset({"position", "hashes", "frames", "faults", "action", "reviews"})
_KINDS: Final[dict[Any, FieldKind]] = {
    str: FieldKind.TEXT,
    tuple[str, ...]: FieldKind.TEXTS,
    int | None: FieldKind.NUMBER,
    datetime | None: FieldKind.TIME,
    Flags: FieldKind.FLAGS,
}
_WIRE_NAMES: Final = {"media_size": "media_size_bytes"}
_MAXIMA: Final = {"quality": 100}  # of PDQ
_MAX_INTEGER: Final = 2**63 - 1  # what both databases keep
_ENTRY_PATHS: Final = {"member": "provenance.member"}
# A new time stamp on the same words is no new statement. `value` is compared by its meaning (hub.intake).
_NOT_COMPARED: Final = frozenset({"source_time", "value"})
_MESSAGE_COLUMNS: Final = {
    "external_id": "external_ids",
    "media_size": "media_sizes",
    "quality": "qualities",
    "source_time": "source_times",
    "extra": "extras",
}
_COLUMNS: Final = frozenset({"external_id", "flags", "expire_time"})  # have a column of their own in the store


def _field(given: msgspec.structs.FieldInfo) -> Field:
    name = given.name
    entry_path = _ENTRY_PATHS.get(name, name if name in Entry.__struct_fields__ else "")
    return Field(
        name=name,
        kind=_KINDS[given.type],
        type=given.type,
        default=given.default,
        wire=_WIRE_NAMES.get(name, name),
        maximum=_MAXIMA.get(name, _MAX_INTEGER),
        entry_path=entry_path,
        is_compared=bool(entry_path) and name not in _NOT_COMPARED,
        is_packed=bool(entry_path) and name not in _COLUMNS,
        column=_MESSAGE_COLUMNS.get(name, ""),
    )


FIELDS: Final = tuple(_field(f) for f in msgspec.structs.fields(Record) if f.name not in _STRUCTURE)
KEPT: Final = tuple(f for f in FIELDS if f.entry_path)
OWN: Final = tuple(f for f in FIELDS if f.column)
"""Fields that differ from item to item; what an item has beside them and its hashes, it shares with many."""
PACKED: Final = tuple(f for f in FIELDS if f.is_packed)  # in this order in the store: a new one comes last

COMPARED: Final = tuple(f for f in KEPT if f.is_compared)
"""Two statements about an item that differ in one of these, in their hashes or in what their values mean, differ."""


def of_kind(*kinds: FieldKind) -> tuple[Field, ...]:
    """Return the fields of these kinds."""
    return tuple(f for f in FIELDS if f.kind in kinds)


def union(records: Sequence[Record]) -> Record:
    """Return the first record with what the others add; where several state a field, the first one's word stands."""
    first = records[0]
    merged = {f.name: _merged(f, [getattr(r, f.name) for r in records]) for f in FIELDS}
    return msgspec.structs.replace(
        first,
        hashes=tuple(dict.fromkeys(h for r in records for h in r.hashes)),
        frames=next((r.frames for r in records if r.frames), ()),
        reviews=tuple(dict.fromkeys(v for r in records for v in r.reviews)),
        **merged,
    )


def _merged(f: Field, values: list[Any]) -> Any:
    if f.kind is FieldKind.TEXTS:
        return tuple(dict.fromkeys(text for texts in values for text in texts))
    if f.kind is FieldKind.FLAGS:
        if all(v == NO_FLAGS for v in values[1:]):
            return values[0]
        names = Flags.__struct_fields__
        return Flags(**{n: next((x for v in values if (x := getattr(v, n)) is not None), None) for n in names})
    return next((v for v in values if v != f.default), f.default)


def stored_time(time: datetime) -> datetime:
    """Return a time that has an offset in UTC and to the millisecond, as the store keeps it."""
    time = time.astimezone(UTC)
    return time.replace(microsecond=time.microsecond // 1000 * 1000)
