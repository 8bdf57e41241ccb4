"""Pages of digests: what the entries of one piece of an import state, so that a list is compared with them without a
look at their rows.

A page is written with its entries and stands for their ids from the first to the last one, each of which has a place in
it: the digest of `packing.statement`, and which classification the entry has. A place of zeros says nothing: its entry,
if it is still there, must be read. A place is cleared by whatever changes what an entry states, and by what erases or
deletes the entry: a digest of an item tells whoever has the item that it was listed.

content   digests, STATEMENT_BYTES each, then classifications as little-endian int32, 0 for none
imprints  of the rows of entries as they were staged, WHOLE bytes each (store.imprints)
form      which fields, and how, the digests are of; a page of another form is read as if all of it were zeros
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Final

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.engine import Connection

from hashhub.item import COMPARED
from hashhub.store import schema as s
from hashhub.store.database import Row
from hashhub.store.imprints import WHOLE, touch
from hashhub.store.packing import STATEMENT_BYTES, EntryColumns

_VERSION: Final = 1  # raise it when `packing.statement` says the same fields otherwise
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


def unpacked(first: int, last: int, form: int, content: bytes) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Return the digests of a page, uint8[n, STATEMENT_BYTES], and the classifications, int32[n]."""
    count = last - first + 1
    if form != FORM:
        return np.zeros((count, STATEMENT_BYTES), np.uint8), np.zeros(count, np.int32)
    digests = np.frombuffer(content, np.uint8, count * STATEMENT_BYTES).reshape(count, STATEMENT_BYTES)
    return digests, np.frombuffer(content, "<i4", count, count * STATEMENT_BYTES)


def clear(c: Connection, ids: Sequence[int]) -> None:
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
