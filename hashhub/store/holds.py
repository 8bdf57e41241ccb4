"""Holds: what an import must not bring back, or must not shed.

An entry that somebody withdrew by hand stays withdrawn although a weekly list still states its item, and what an operator quarantined
stays so whatever the contributor states next. A hold is about the item of one entry: its external id, its exact digests or, where it
has neither, its very hashes. Once the entry was erased, only keyed traces of these are left, which tell whether a value is the same
and nothing else.
"""

from __future__ import annotations

import hashlib
import hmac
from enum import StrEnum
from typing import Final, NamedTuple

from hashhub.hashes import Hash
from hashhub.model import EntryState
from hashhub.store import schema as s
from hashhub.store.packing import unpack_hashes
from hashhub.store.resources import Resources

TRACE_BYTES: Final = 16
_STATE_OF_CODE: Final = {code: state for state, code in s.ENTRY_STATES.items()}


class Origin(StrEnum):
    """Who made a hold, which says who may lift it, and which lists it stands against."""

    CONTRIBUTOR = "CONTRIBUTOR"
    OPERATOR = "OPERATOR"
    PERSON_SHOWN = "PERSON_SHOWN"
    SOURCE = "SOURCE"  # the source's own deletion message: stands against older lists only


class Hold(NamedTuple):
    """A hold on the item of entry `entry_id`.

    `hash_set`: where it holds, empty for all sets of the contributor. `effect`: WITHDRAWN or QUARANTINED. `source_time`: of a source's own
    deletion message, verbatim. `traces` instead of `external_id` and `hashes` once the entry was erased.
    """

    entry_id: int
    hash_set: str
    effect: EntryState
    origin: Origin
    revision: int
    source_time: str
    external_id: str
    hashes: tuple[Hash, ...]
    traces: frozenset[bytes]


class Holds(Resources):
    """The part of the Store that knows what is held."""

    def holds(self, contributor: str, hash_set: str) -> list[Hold]:
        """Return the holds that stand in a hash set, those of all the contributor's sets included. Raises NotFound."""
        sql = self._db.sql(
            "SELECT h.entry, h.hash_set, h.effect, h.origin, h.revision, h.source_time, e.external_id, e.hashes, h.traces "
            "FROM hold h JOIN entry e ON e.id = h.entry WHERE h.contributor = ? AND h.hash_set IN (0, ?) ORDER BY h.entry"
        )
        return [
            Hold(
                entry_id=row[0],
                hash_set=hash_set if row[1] else "",
                effect=_STATE_OF_CODE[row[2]],
                origin=Origin(row[3]),
                revision=row[4],
                source_time=row[5],
                external_id=row[6] or "",
                hashes=unpack_hashes(row[7]),
                traces=frozenset(row[8][at : at + TRACE_BYTES] for at in range(0, len(row[8] or b""), TRACE_BYTES)),
            )
            for row in self._db.fetch(sql, (contributor, self._set_key(contributor, hash_set)))
        ]


def trace_of(secret: bytes, kind: str, value: bytes) -> bytes:
    """Return the keyed trace of a value. `kind`: a hash algorithm's name, or `EXTERNAL_ID`; `secret`: `Store.secret`."""
    return hmac.digest(secret, kind.encode() + b"\0" + value, hashlib.sha256)[:TRACE_BYTES]
