"""What rows hold as bytes: the packed columns of an entry, so that one row is one entry, and sets of entry ids.

hashes   one byte of algorithm code, then the digest, repeated; an algorithm's digests have one width
flags    two bits for each field of model.Flags in order, lowest first: 0 not stated, 1 false, 2 true
details  MessagePack array of the fields `item.PACKED`, in their order; those at the end may be missing
reasons  JSON array of codes; of an entry that was moved from its state, followed by the code of that state and its
         reasons, and so on: `["EXPIRED"]2["LOW_QUALITY"]` was in quarantine. Nothing follows where an entry was ACTIVE
         without remarks.
ids      see `IdSet`
"""

from __future__ import annotations

import hashlib
import itertools
import json
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from operator import attrgetter
from types import MappingProxyType
from typing import Any, Final, NamedTuple, Self, TypeVar

import msgspec
import numpy as np
import pyroaring
from numpy.typing import NDArray

from hashhub.errors import DataLoss
from hashhub.hashes import ALGORITHMS, FRAMES, STORED, Hash, Metric
from hashhub.item import COMPARED, PACKED
from hashhub.model import EntryState, Flags, Record
from hashhub.store.schema import ALGORITHM_CODES, ENTRY_STATES, from_millis, to_millis

Shapes = Sequence[tuple[bytes, NDArray[np.int64], NDArray[np.uint8]]]
"""Packed hashes by shape, as `cut` yields them."""


class EntryColumns(NamedTuple):
    """Packed entries as `Store.stage_entries` takes them: columns of one length, `ids` ascending, None where there is
    nothing. `states` are codes. One with `frames` has the hash that stands for them. `statements` are of `statement`.
    """

    ids: Sequence[int]
    states: Sequence[int]
    positions: Sequence[str]
    external_ids: Sequence[str | None]
    classifications: Sequence[int | None]
    flags: Sequence[int]
    hashes: Sequence[bytes]
    details: Sequence[bytes | None]
    reasons: Sequence[str | None]
    expire_times: Sequence[int | None]
    frames: Sequence[bytes | None]
    statements: Sequence[bytes]


# Fields that most entries do not have. A new one comes last, so that what was packed before it can be read.
_Details: Final = msgspec.defstruct(
    "_Details", [(f.name, f.type, f.default) for f in PACKED], frozen=True, array_like=True
)
_DETAIL_NAMES: Final = tuple(f.name for f in PACKED)
_details_of: Final = attrgetter(*_DETAIL_NAMES)
_NO_DETAILS_ROW: Final = tuple(f.default for f in PACKED)
_NO_DETAILS: Final = MappingProxyType(dict(zip(_DETAIL_NAMES, _NO_DETAILS_ROW, strict=True)))
_CODE_BYTES: Final = {name: bytes([code]) for name, code in ALGORITHM_CODES.items()}
WIDTHS: Final = {code: STORED[name].digest_bytes for name, code in ALGORITHM_CODES.items()}
EXACT: Final = frozenset(a.code for a in ALGORITHMS.values() if a.metric is Metric.EXACT)
"""The codes of exact algorithms."""
NAMES: Final = {code: name for name, code in ALGORITHM_CODES.items()}
_TRI: Final = {None: 0, False: 1, True: 2}
_FROM_TRI: Final = (None, False, True)
_encode: Final = msgspec.msgpack.Encoder().encode
_decode_details: Final = msgspec.msgpack.Decoder(_Details).decode
_decode_reasons: Final = msgspec.json.Decoder(tuple[str, ...]).decode
_JSON: Final = json.JSONDecoder()
_COMPARED_DETAILS: Final = tuple(f.name for f in COMPARED if f.is_packed)
_compared_details_of: Final = attrgetter(*_COMPARED_DETAILS)
_NO_COMPARED_DETAILS: Final = _encode(_compared_details_of(_Details()))
STATEMENT_BYTES: Final = 16  # of a digest of what an item states; nobody finds two items with one of them
KEY_BYTES: Final = 16  # of an external id's key, and of a set of hashes'; nobody finds two with one of them
HEAD_BYTES: Final = 8  # of a digest: random ones are told apart and put in order by these
_Number = TypeVar("_Number", bound=np.integer[Any])
_CHUNK: Final = 100_000  # ids put into a bitmap at a time: 1.4 ms, between which other threads go on
_DENSE: Final = 8  # read a whole range and drop what is not asked for, as long as that is at most so many times as much
_MAX_SHAPES: Final = 16  # that are looked for in all rows at once; what is left is cut apart row by row


@cache
def pack_flags(flags: Flags) -> int:
    """Return the flags as a bit mask; 0 when nothing is stated."""
    return sum(_TRI[getattr(flags, name)] << 2 * i for i, name in enumerate(Flags.__struct_fields__))


@cache
def unpack_flags(mask: int) -> Flags:
    """Return the flags of a bit mask."""
    return Flags(**{name: _FROM_TRI[mask >> 2 * i & 3] for i, name in enumerate(Flags.__struct_fields__)})


def pack_hashes(hashes: Iterable[Hash]) -> bytes:
    """Return the hashes as bytes, in the given order."""
    return b"".join([part for h in hashes for part in (_CODE_BYTES[h.algorithm], h.digest)])


def unpack_hashes(packed: bytes) -> tuple[Hash, ...]:
    """Return the hashes in the order they were packed. Raises DataLoss when the bytes are not whole hashes."""
    hashes, at = [], 0
    for code in shape_of(packed):
        start, at = at + 1, at + 1 + WIDTHS[code]
        hashes.append(Hash(NAMES[code], packed[start:at]))
    return tuple(hashes)


def pack_reasons(reasons: tuple[str, ...]) -> str | None:
    """Return the reasons as JSON, or None when there are none."""
    return msgspec.json.encode(reasons).decode() if reasons else None


def unpack_reasons(packed: str | None) -> tuple[str, ...]:
    """Return the reasons of the present state."""
    if not packed:
        return ()
    try:
        return _decode_reasons(packed)
    except msgspec.DecodeError:
        return _split_reasons(packed)[0]


def reasons_before(packed: str | None) -> tuple[int, str | None]:
    """Return the code of the state that an entry was in before its present one, and its packed reasons there."""
    before = _split_reasons(packed)[1] if packed else ""
    if not before:
        return ENTRY_STATES[EntryState.ACTIVE], None
    return int(before[0]), None if before[1:] == "[]" else before[1:]


def replace_reasons(packed: str | None, reasons: tuple[str, ...]) -> str | None:
    """Return the packed reasons with other ones for the present state, and what stood before unchanged."""
    before = _split_reasons(packed)[1] if packed else ""
    return (pack_reasons(reasons) or "[]") + before if before else pack_reasons(reasons)


def _split_reasons(packed: str) -> tuple[tuple[str, ...], str]:
    """Return the first array, and what follows it."""
    reasons, end = _JSON.raw_decode(packed)
    return tuple(reasons), packed[end:]


def unpack_details(packed: bytes | None) -> Mapping[str, Any]:
    """Return the rarely used fields by name."""
    return msgspec.structs.asdict(_decode_details(packed)) if packed else _NO_DETAILS


def pack_details(record: Record) -> bytes | None:
    """Return the rarely used fields as bytes, or None when all of them say nothing."""
    details = _details_of(record)
    return _encode(details) if details != _NO_DETAILS_ROW else None


def compared_details(packed: bytes | None) -> bytes:
    """Return those of the rarely used fields in which two statements may differ, as bytes."""
    return _NO_COMPARED_DETAILS if packed is None else _encode(_compared_details_of(_decode_details(packed)))


def keys_of_texts(texts: Iterable[str]) -> NDArray[np.uint8]:
    """Return the keys by which external ids are compared, uint8[n, KEY_BYTES]."""
    keys = [hashlib.blake2b(text.encode(), digest_size=KEY_BYTES).digest() for text in texts]
    return np.frombuffer(b"".join(keys), np.uint8).reshape(-1, KEY_BYTES)


def statement(external_id: str, flags: int, expire_time: int | None, details: bytes, hashes: bytes) -> bytes:
    """Return a digest of what an item states, but for its raw value: equal for two that state the same.

    `expire_time`: in milliseconds; `details`: from `compared_details`; `hashes`: packed, from `ordered_hashes`.
    """
    stated = _encode((external_id, flags, expire_time)) + details + hashes
    return hashlib.blake2b(stated, digest_size=STATEMENT_BYTES).digest()


def statement_of(record: Record) -> bytes:
    """Return the digest of what a record states, as `statement` does."""
    packed = pack_hashes(record.hashes)
    return statement(
        record.external_id,
        pack_flags(record.flags),
        None if record.expire_time is None else to_millis(record.expire_time),
        _encode(_compared_details_of(record)),
        ordered_hashes(packed, shape_of(packed)),
    )


def shape_of(packed: bytes) -> bytes:
    """Return the algorithms of packed hashes, one code after the other. Raises DataLoss when they are no hashes."""
    at, end, codes = 0, len(packed), bytearray()
    try:
        while at < end:
            codes.append(packed[at])
            at += 1 + WIDTHS[packed[at]]
    except KeyError:
        at = -1
    if at != end:
        raise DataLoss("an entry's stored hashes cannot be read: restore the database from a backup")
    return bytes(codes)


def shape_width(shape: bytes) -> int:
    """Return how many bytes packed hashes of this shape have."""
    return len(shape) + sum(WIDTHS[code] for code in shape)


def is_ordered(shape: bytes) -> bool:
    """Whether packed hashes of this shape are distinct and in the one order already."""
    return all(a < b for a, b in itertools.pairwise(shape))


def ordered_hashes(packed: bytes, shape: bytes) -> bytes:
    """Return the distinct hashes in one order, whatever theirs is: the same bytes for the same set."""
    if is_ordered(shape):
        return packed
    parts, at = set(), 0
    for code in shape:
        end = at + 1 + WIDTHS[code]
        parts.add(packed[at:end])
        at = end
    return b"".join(sorted(parts))


def unpack_record(position: str, external_id: str, flags: int, expire_time: int | None, **stated: Any) -> Record:
    """Return the record of its packed columns; `stated`: `hashes`, `details`, and fields that have no column."""
    hashes, details = stated.pop("hashes"), stated.pop("details")
    return Record(
        position=position,
        external_id=external_id,
        flags=unpack_flags(flags),
        expire_time=None if expire_time is None else from_millis(expire_time),
        hashes=unpack_hashes(hashes),
        **{**unpack_details(details), **stated},
    )


def cut(packed: Sequence[bytes]) -> Iterator[tuple[bytes, NDArray[np.int64], NDArray[np.uint8]]]:
    """Yield packed hashes by shape: the shape, which have it (ascending), and their bytes, uint8[n, bytes]."""
    lengths = np.fromiter(map(len, packed), np.int64, len(packed))
    for length in ascending(lengths).tolist():
        if not length:
            continue
        rows = np.flatnonzero(lengths == length)
        of_length = packed if len(rows) == len(packed) else [packed[i] for i in rows.tolist()]
        matrix = np.frombuffer(b"".join(of_length), np.uint8).reshape(len(rows), length)
        for _ in range(_MAX_SHAPES):
            shape = shape_of(matrix[0].tobytes())
            has_shape = np.ones(len(rows), np.bool_)
            for i, code in enumerate(shape):
                has_shape &= matrix[:, shape_width(shape[:i])] == code
            # Mostly all of them have it: nothing is copied then.
            yield (shape, rows, matrix) if has_shape.all() else (shape, rows[has_shape], matrix[has_shape])
            rows, matrix = rows[~has_shape], matrix[~has_shape]
            if not len(rows):
                break
        by_shape: dict[bytes, list[int]] = {}
        for at, row in enumerate(matrix):
            by_shape.setdefault(shape_of(row.tobytes()), []).append(at)
        for shape, chosen in by_shape.items():
            yield shape, rows[chosen], matrix[chosen]


def columns_of(shape: bytes, matrix: NDArray[np.uint8]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Yield the algorithm's code and the digests, uint8[n, digest_bytes], of each place in a shape."""
    at = 1
    for code in shape:
        yield code, matrix[:, at : at + WIDTHS[code]]
        at += 1 + WIDTHS[code]


def digests_by_algorithm(packed: Iterable[bytes]) -> dict[str, NDArray[np.uint8]]:
    """Return the distinct digests in the given packed hashes: algorithm name to uint8[n, digest_bytes], in byte
    order. Those that tell lists of frames apart are left out.
    """
    parts: dict[int, list[NDArray[np.uint8]]] = {}
    for shape, _, matrix in cut(list(packed)):
        for code, digests in columns_of(shape, matrix):
            parts.setdefault(code, []).append(digests)
    parts.pop(FRAMES.code, None)
    return {NAMES[code]: distinct(np.concatenate(digests)) for code, digests in parts.items()}


def distinct(digests: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the distinct rows of uint8[n, bytes] in byte order."""
    width = digests.shape[1]
    if width >= HEAD_BYTES:
        heads = heads_of(digests)
        order = np.argsort(heads)
        heads = heads[order]
        if (heads[1:] != heads[:-1]).all():  # so are the rows, and the heads tell their order
            return np.take(digests, order, axis=0)
    flat = np.ascontiguousarray(digests).view(f"S{width}").ravel()  # fixed width: S compares like memcmp
    order = np.argsort(flat, kind="stable")
    ordered = np.take(digests, order, axis=0)
    if len(ordered) < 2:  # noqa: PLR2004 - nothing to compare
        return ordered
    fresh = np.ones(len(ordered), bool)
    fresh[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    return ordered[fresh]


def heads_of(digests: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Return the first HEAD_BYTES of each digest as a number of the same order, which sorts ten times as fast."""
    return np.ascontiguousarray(digests[:, :HEAD_BYTES]).view(">u8").ravel().astype(np.uint64)


class IdSet:
    """An immutable, non-empty set of entry ids, ascending where it is walked: an update of a million entries is one row
    of the feed.

    A contiguous range is its two ends (`ids` is None); any other set is a 64-bit Roaring bitmap in its portable form,
    which other languages read too (https://github.com/RoaringBitmap/RoaringFormatSpec): every second of a million ids
    takes 128 KiB.
    """

    __slots__ = ("_ids", "first", "last")

    def __init__(self, first: int, last: int, packed: bytes | None = None) -> None:
        """`packed`: as the property; None for the whole range. Raises DataLoss when it cannot be read."""
        self.first, self.last = first, last
        try:
            self._ids = None if packed is None else pyroaring.BitMap64.deserialize(packed)
        except (ValueError, TypeError, OverflowError) as e:
            raise DataLoss("a change of the feed cannot be read: restore the database from a backup") from e

    @classmethod
    def of(cls, ids: Iterable[int] | NDArray[np.int64]) -> Self:
        """Build from distinct or repeated ids in any order. Raises ValueError when there are none."""
        ordered = ascending(np.fromiter(ids, np.int64) if not isinstance(ids, np.ndarray) else ids)
        if not len(ordered):
            raise ValueError("a set of entry ids must not be empty")
        first, last = int(ordered[0]), int(ordered[-1])
        made = cls(first, last)
        if last - first + 1 != len(ordered):
            made._ids = pyroaring.BitMap64()
            for start in range(0, len(ordered), _CHUNK):
                made._ids |= pyroaring.BitMap64(array("Q", ordered[start : start + _CHUNK].astype(np.uint64).tobytes()))
            made._ids.run_optimize()
        return made

    @property
    def packed(self) -> bytes | None:
        """The bitmap as the store keeps it; None for a contiguous range."""
        return None if self._ids is None else bytes(self._ids.serialize())

    def parts(self, size: int) -> Iterator[IdSet]:
        """Yield the set in parts of at most `size` ids each; a range is one part, however long."""
        if self.is_range or len(self) <= size:
            yield self
        else:
            yield from (IdSet.of(piece) for piece in self.pieces(size))

    @property
    def is_range(self) -> bool:
        """Whether every id from `first` to `last` is in it."""
        return self._ids is None

    @property
    def is_dense(self) -> bool:
        """Whether reading the whole range and dropping the rest is cheaper than asking for each id."""
        return self.last - self.first + 1 <= _DENSE * len(self)

    def __len__(self) -> int:
        return self.last - self.first + 1 if self._ids is None else len(self._ids)

    def __contains__(self, entry_id: int) -> bool:
        return self.first <= entry_id <= self.last and (self._ids is None or entry_id in self._ids)

    def after(self, entry_id: int, limit: int) -> list[int]:
        """Return up to `limit` ids greater than `entry_id`, ascending."""
        start = max(entry_id + 1, self.first)
        if self._ids is None:
            return list(range(start, min(start + limit - 1, self.last) + 1))
        page: list[int] = []
        for value in self._ids.iter_equal_or_larger(start):
            page.append(value)
            if len(page) == limit:
                break
        return page

    def pieces(self, size: int) -> Iterator[NDArray[np.int64]]:
        """Yield all ids in pieces int64[n], n <= size, ascending."""
        if self._ids is None:
            for low in range(self.first, self.last + 1, size):
                yield np.arange(low, min(low + size, self.last + 1), dtype=np.int64)
            return
        whole = np.asarray(self._ids.to_array(), np.uint64).astype(np.int64)
        for low in range(0, len(whole), size):
            yield whole[low : low + size]


def ascending(values: NDArray[_Number]) -> NDArray[_Number]:
    """Return the distinct values in ascending order; `np.unique` takes several times as long, under Python's lock."""
    ordered = np.sort(values)
    if len(ordered) < 2:  # noqa: PLR2004 - nothing to compare
        return ordered
    return ordered[np.concatenate(([True], ordered[1:] != ordered[:-1]))]


def are_among(values: NDArray[_Number], ordered: NDArray[_Number]) -> NDArray[np.bool_]:
    """Return which values are among ascending ones, bool[n], without `np.unique` (see `ascending`)."""
    if not len(ordered):
        return np.zeros(len(values), np.bool_)
    nearest = np.minimum(np.searchsorted(ordered, values), len(ordered) - 1)
    is_there: NDArray[np.bool_] = ordered[nearest] == values
    return is_there


def runs(ids: Sequence[int]) -> list[tuple[int, int]]:
    """Return the maximal ranges of consecutive ids, both ends inclusive; `ids` are distinct and ascending."""
    if not ids:
        return []
    a = np.asarray(ids, np.int64)
    breaks = np.flatnonzero(np.diff(a) != 1)
    return list(zip(a[np.r_[0, breaks + 1]].tolist(), a[np.r_[breaks, len(a) - 1]].tolist(), strict=True))


def merged(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the ranges in order, those that touch joined."""
    merged: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if merged and merged[-1][1] + 1 >= first:
            merged[-1] = merged[-1][0], max(last, merged[-1][1])
        else:
            merged.append((first, last))
    return merged
