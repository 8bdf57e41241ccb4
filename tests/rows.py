"""Entries written straight into a store, without a list: for tests and measurements of what lies below."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from hashhub import frames
from hashhub.model import EntryState, Record
from hashhub.store import EntryColumns
from hashhub.store.entry_codec import (
    STATEMENT_BYTES,
    pack_details,
    pack_flags,
    pack_hashes,
    pack_reasons,
    statement_of,
)
from hashhub.store.schema import ENTRY_STATES, to_millis


class EntryRow(NamedTuple):
    """An entry before it is packed; contributor, hash set and provenance are those of the import.

    `id` comes from `Store.allocate_entries`, `classification` from `Store.classification_ids`.
    """

    id: int
    state: EntryState
    record: Record
    classification: int | None = None
    reasons: tuple[str, ...] = ()


def pack_entries(entries: Iterable[EntryRow]) -> EntryColumns:
    """Return the entries as columns."""
    rows = [
        (
            entry_id,
            ENTRY_STATES[state],
            record.position,
            record.external_id or None,
            classification,
            pack_flags(record.flags),
            pack_hashes(frames.known_by(record)),
            pack_details(record),
            pack_reasons(reasons),
            None if record.expire_time is None else to_millis(record.expire_time),
            frames.pack(record.frames) or None,
            _stated(record),
        )
        for entry_id, state, record, classification, reasons in entries
    ]
    return EntryColumns(*zip(*rows, strict=True)) if rows else EntryColumns(*([()] * len(EntryColumns._fields)))


def _stated(record: Record) -> bytes:
    """Return the digest of what a record states."""
    try:
        return statement_of(msgspec.structs.replace(record, hashes=frames.known_by(record)))
    except UnicodeEncodeError:  # the store says so
        return bytes(STATEMENT_BYTES)
