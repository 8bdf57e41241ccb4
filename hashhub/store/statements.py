"""Pages of digests: what the entries of one piece of an import state, so that a list is compared with them without a
look at their rows.

A page is written with its entries and stands for their ids from the first to the last one, each of which has a place in
it: the digest of `packing.statement`, and which classification the entry has. A place of zeros says nothing: its entry,
if it is still there, must be read. Beside them the page has what its entries are known by, exact digests and external
ids, by which a new statement about the same item is told: nearly all entries of a list of which every item has changed.
A place is cleared by whatever changes what an entry states, and by what erases or deletes the entry: a digest of an
item tells whoever has the item that it was listed.

content   digests, STATEMENT_BYTES each, then classifications as little-endian int32, 0 for none
known_by  for each sort of key: a head, the places that have one as little-endian uint32 unless all have, the keys
imprints  of the rows of entries as they were staged, WHOLE bytes each (store.imprints)
form      which fields, and how, the digests are of; a page of another form is read as if all of it were zeros
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.engine import Connection

from hashhub.item import COMPARED
from hashhub.store import schema as s
from hashhub.store.database import Row
from hashhub.store.imprints import WHOLE, touch
from hashhub.store.packing import EXACT, KEY_BYTES, STATEMENT_BYTES, WIDTHS, EntryColumns, Shapes, columns_of

_VERSION: Final = 1  # raise it when `packing.statement` says the same fields otherwise
FORM: Final = zlib.crc32(repr((_VERSION, [f.name for f in COMPARED])).encode()) >> 1  # a new field is another form
NAMED: Final = 0  # of a sort of keys, in place of an exact algorithm's code: the keys of external ids
_HEAD: Final = struct.Struct("<BBI")  # of a sort of keys: the sort, whether every place has one, how many there are
_Keys = tuple[int, NDArray[np.uint8], NDArray[np.int64]]  # the sort, uint8[m, bytes], and the place of each, int64[m]


def page_of(entries: EntryColumns, shapes: Shapes, set_key: int, import_key: int, imprints: Sequence[bytes]) -> Row:
    """Return the row of a page for entries that are about to be written; `shapes`: their hashes; `imprints`: of their
    rows.
    """
    first, last = entries.ids[0], entries.ids[-1]
    places = np.asarray(entries.ids, np.int64) - first
    digests = np.zeros((last - first + 1, STATEMENT_BYTES), np.uint8)
    digests[places] = np.frombuffer(b"".join(entries.statements), np.uint8).reshape(-1, STATEMENT_BYTES)
    classifications = np.zeros(len(digests), "<i4")
    classifications[places] = [key or 0 for key in entries.classifications]
    content = digests.tobytes() + classifications.tobytes()
    digests[places] = np.frombuffer(b"".join(imprints), np.uint8).reshape(-1, WHOLE)
    known_by = _packed(_keys_of(entries.names, shapes, places), len(digests))
    return first, last, set_key, import_key, FORM, content, known_by, digests.tobytes()


def unpacked(first: int, last: int, form: int, content: bytes) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Return the digests of a page, uint8[n, STATEMENT_BYTES], and the classifications, int32[n]."""
    count = last - first + 1
    if form != FORM:
        return np.zeros((count, STATEMENT_BYTES), np.uint8), np.zeros(count, np.int32)
    digests = np.frombuffer(content, np.uint8, count * STATEMENT_BYTES).reshape(count, STATEMENT_BYTES)
    return digests, np.frombuffer(content, "<i4", count, count * STATEMENT_BYTES)


def unpacked_keys(packed: bytes) -> Iterator[_Keys]:
    """Yield what the entries of a page are known by: NAMED or an exact algorithm's code, the keys, uint8[m, bytes], and
    the place of each, int64[m]. An entry may have several of one algorithm.
    """
    at = 0
    while at < len(packed):
        sort, has_all, n = _HEAD.unpack_from(packed, at)
        at += _HEAD.size
        places = np.arange(n) if has_all else np.frombuffer(packed, "<u4", n, at).astype(np.int64)
        at += 0 if has_all else 4 * n
        width = KEY_BYTES if sort == NAMED else WIDTHS[sort]
        yield sort, np.frombuffer(packed, np.uint8, n * width, at).reshape(n, width), places
        at += n * width


def _keys_of(names: Sequence[bytes], shapes: Shapes, places: NDArray[np.int64]) -> Iterator[_Keys]:
    """Yield what entries at these places are known by."""
    named = np.fromiter(map(bool, names), np.bool_, len(places))
    if named.any():
        yield NAMED, np.frombuffer(b"".join(names), np.uint8).reshape(-1, KEY_BYTES), places[named]
    digests: dict[int, list[tuple[NDArray[np.uint8], NDArray[np.int64]]]] = {}
    for shape, rows, matrix in shapes:
        for code, column in columns_of(shape, matrix):
            if code in EXACT:
                digests.setdefault(code, []).append((column, places[rows]))
    for code, parts in digests.items():
        keys, at = (np.concatenate(part) for part in zip(*parts, strict=True))
        yield code, keys, at


def _packed(keys: Iterable[_Keys], count: int) -> bytes:
    """Return the keys of a page with so many places as bytes."""
    packed: list[bytes] = []
    for sort, values, places in keys:
        has_all = np.array_equal(places, np.arange(count))
        packed.append(_HEAD.pack(sort, has_all, len(places)))
        packed.append(b"" if has_all else places.astype("<u4").tobytes())
        packed.append(values.tobytes())
    return b"".join(packed)


def clear(c: Connection, ids: Sequence[int]) -> None:
    """Clear the places of entries, in the transaction that changes what they state, or after it has deleted them. `ids`
    ascend. A page stays for as long as there is an entry with a place in it, which is read only because of it.
    """
    t, e = s.statement_page, s.entry
    ordered = np.asarray(ids, np.int64)
    at = 0
    while at < len(ids):
        page = c.execute(
            sa.select(t.c.first_entry, t.c.last_entry, t.c.content, t.c.known_by, t.c.imprints)
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
            known_by = _without(page.known_by, places, count)
            c.execute(
                sa.update(t)
                .where(own)
                .values(content=content.tobytes(), known_by=known_by, imprints=imprints.tobytes())
            )
        else:
            c.execute(sa.delete(t).where(own))
        at = end


def _without(packed: bytes, places: NDArray[np.int64], count: int) -> bytes:
    """Return the keys of a page with so many places but for those of some places."""
    stays = np.ones(count, np.bool_)
    stays[places] = False
    return _packed(((sort, keys[stays[at]], at[stays[at]]) for sort, keys, at in unpacked_keys(packed)), count)
