"""The packed columns of an entry: its hashes, flags and rarely used fields as bytes, so that one row is one entry.

hashes   one byte of algorithm code, then the digest, repeated; an algorithm's digests have one width
flags    two bits for each field of model.Flags in order, lowest first: 0 not stated, 1 false, 2 true
details  MessagePack array of the fields `item.PACKED`, in their order; those at the end may be missing
reasons  JSON array of codes; of an entry that was moved from its state, followed by the code of that state and its
         reasons, and so on: `["EXPIRED"]2["LOW_QUALITY"]` was in quarantine. Nothing follows where an entry was ACTIVE
         without remarks.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from operator import attrgetter
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from hashhub.errors import DataLoss
from hashhub.hashes import ALGORITHMS, Hash
from hashhub.item import PACKED
from hashhub.model import NO_FLAGS, EntryState, Flags, Record
from hashhub.store.schema import ALGORITHM_CODES, ENTRY_STATES, to_millis


class EntryRow(NamedTuple):
    """An entry as `Store.stage_entries` takes it; contributor, hash set and provenance are those of the import.

    `id` comes from `Store.allocate_entries`, `classification` from `Store.classification_ids`.
    """

    id: int
    state: EntryState
    record: Record
    classification: int | None = None
    reasons: tuple[str, ...] = ()


# Fields that most entries do not have. A new one comes last, so that what was packed before it can be read.
_Details: Final = msgspec.defstruct(
    "_Details", [(f.name, f.type, f.default) for f in PACKED], frozen=True, array_like=True
)
_DETAIL_NAMES: Final = tuple(f.name for f in PACKED)
_details_of: Final = attrgetter(*_DETAIL_NAMES)
_NO_DETAILS_ROW: Final = tuple(f.default for f in PACKED)
_NO_DETAILS: Final = MappingProxyType(dict(zip(_DETAIL_NAMES, _NO_DETAILS_ROW, strict=True)))
_CODE_BYTES: Final = {name: bytes([code]) for name, code in ALGORITHM_CODES.items()}
WIDTHS: Final = {code: ALGORITHMS[name].digest_bytes for name, code in ALGORITHM_CODES.items()}
_NAMES: Final = {code: name for name, code in ALGORITHM_CODES.items()}
_TRI: Final = {None: 0, False: 1, True: 2}
_FROM_TRI: Final = (None, False, True)
_encode_details: Final = msgspec.msgpack.Encoder().encode
_decode_details: Final = msgspec.msgpack.Decoder(_Details).decode
_decode_reasons: Final = msgspec.json.Decoder(tuple[str, ...]).decode
_JSON: Final = json.JSONDecoder()
_flags_of_mask: Final[dict[int, Flags]] = {}
_mask_of_flags: Final[dict[Flags, int]] = {}


def pack_flags(flags: Flags) -> int:
    """Return the flags as a bit mask; 0 when nothing is stated."""
    mask = _mask_of_flags.get(flags)
    if mask is None:
        mask = sum(_TRI[getattr(flags, name)] << 2 * i for i, name in enumerate(Flags.__struct_fields__))
        _mask_of_flags[flags] = mask  # at most 3 ** 5 of them
    return mask


def unpack_flags(mask: int) -> Flags:
    """Return the flags of a bit mask."""
    flags = _flags_of_mask.get(mask)
    if flags is None:
        fields = Flags.__struct_fields__
        flags = Flags(**{name: _FROM_TRI[mask >> 2 * i & 3] for i, name in enumerate(fields)})
        _flags_of_mask[mask] = flags
    return flags


def pack_hashes(hashes: Iterable[Hash]) -> bytes:
    """Return the hashes as bytes, in the given order."""
    return b"".join([part for h in hashes for part in (_CODE_BYTES[h.algorithm], h.digest)])


def unpack_hashes(packed: bytes) -> tuple[Hash, ...]:
    """Return the hashes in the order they were packed. Raises DataLoss when the bytes are not whole hashes."""
    hashes = []
    at, end = 0, len(packed)
    try:
        while at < end:
            code = packed[at]
            start, at = at + 1, at + 1 + WIDTHS[code]
            hashes.append(Hash(_NAMES[code], packed[start:at]))
    except KeyError:
        at = -1
    if at != end:
        raise DataLoss("an entry's stored hashes cannot be read: restore the database from a backup")
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


def pack_entries(hash_set: int, import_key: int, entries: Iterable[EntryRow]) -> list[tuple[Any, ...]]:
    """Return the entries as rows of the table `entry`, in its column order."""
    rows: list[tuple[Any, ...]] = []
    for entry_id, state, record, classification, reasons in entries:
        details = _details_of(record)
        flags = record.flags
        rows.append(
            (
                entry_id,
                hash_set,
                import_key,
                ENTRY_STATES[state],
                record.position,
                record.external_id or None,
                classification,
                pack_flags(flags) if flags is not NO_FLAGS else 0,
                pack_hashes(record.hashes),
                _encode_details(details) if details != _NO_DETAILS_ROW else None,
                pack_reasons(reasons),
                0,
                None if record.expire_time is None else to_millis(record.expire_time),
            )
        )
    return rows


def digests_by_algorithm(packed: Iterable[bytes]) -> dict[str, NDArray[np.uint8]]:
    """Return the distinct digests in the given packed hashes: algorithm name to uint8[n, digest_bytes], in byte order.

    Entries with the same sequence of algorithms are cut apart together, which is what makes a million of them take a
    second.
    """
    by_shape: dict[bytes, list[bytes]] = {}
    for blob in packed:
        at, end, shape = 0, len(blob), b""
        while at < end:
            shape += blob[at : at + 1]
            at += 1 + WIDTHS[blob[at]]
        by_shape.setdefault(shape, []).append(blob)
    columns: dict[int, list[NDArray[np.uint8]]] = {}
    for shape, blobs in by_shape.items():
        width = sum(1 + WIDTHS[code] for code in shape)
        matrix = np.frombuffer(b"".join(blobs), np.uint8).reshape(len(blobs), width)
        at = 1
        for code in shape:
            columns.setdefault(code, []).append(matrix[:, at : at + WIDTHS[code]])
            at += 1 + WIDTHS[code]
    return {_NAMES[code]: distinct(np.concatenate(parts)) for code, parts in columns.items()}


def distinct(digests: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the distinct rows of uint8[n, bytes] in byte order."""
    width = digests.shape[1]
    flat = np.ascontiguousarray(digests).view(f"S{width}").ravel()  # fixed width: S compares like memcmp
    order = np.argsort(flat, kind="stable")
    ordered = digests[order]
    if len(ordered) < 2:  # noqa: PLR2004 - nothing to compare
        return ordered
    fresh = np.ones(len(ordered), bool)
    fresh[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    return ordered[fresh]
