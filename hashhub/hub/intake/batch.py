"""A staged batch as columns, made when the batch is added, in the form in which it is decided about and written.

Everything that the store packs is packed here already; remarks of hygiene and reviews stand beside, by item.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import AnyStr, Final, Generic

import msgspec
import numpy as np
from numpy.typing import NDArray

from hashhub import frames, hygiene
from hashhub.connector import NCII_TAG, PURPOSE_TAG
from hashhub.errors import FailedPrecondition, Reason
from hashhub.item import stored_time
from hashhub.model import Action, Disposition, Purpose, Record, RecordReview, Reject
from hashhub.store.entry_codec import (
    STATEMENT_BYTES,
    columns_of,
    pack_details,
    pack_flags,
    pack_hashes,
    shape_of,
    shape_width,
    statement_of,
    unpack_record,
)
from hashhub.store.schema import to_millis

_FORM: Final = 4  # of the staged bytes; those of another one cannot be read
_NO_TIME: Final = np.iinfo(np.int64).min  # in `expire_times`: never
_PURPOSES: Final[dict[str, str]] = {PURPOSE_TAG + p.lower(): p for p in Purpose} | {NCII_TAG: "NCII"}
DISPOSITIONS: Final = tuple(Disposition)
CODE: Final = {disposition: code for code, disposition in enumerate(DISPOSITIONS)}
"""Dispositions as small integers, in arrays."""
# What stands for an item that does not state anything itself; hygiene gives neither.
_ASKED: Final = {Action.WITHDRAW: Disposition.WITHDRAWN, Action.REVIEW: Disposition.UNCHANGED}
_ACTION_OF: Final = {CODE[disposition]: action for action, disposition in _ASKED.items()}
_ENCODE: Final = msgspec.msgpack.Encoder().encode


class ItemKind(msgspec.Struct, frozen=True, array_like=True):
    """What the rules look at in an item beside its identity. `purpose`: stated by the source; empty: it is not."""

    value: str
    region: str
    scheme: str
    member: str
    purpose: str

    @classmethod
    def of(cls, record: Record) -> ItemKind:
        """Return a record's."""
        purpose = next((_PURPOSES[tag] for tag in record.tags if tag in _PURPOSES), "") if record.tags else ""
        return cls(record.value, record.region, record.scheme, record.member, str(purpose))


class Remarks(msgspec.Struct, frozen=True, array_like=True):
    """What hygiene says of an item: the reasons of its disposition, and notes as (code, detail)."""

    reasons: tuple[str, ...]
    notes: tuple[tuple[str, str], ...]

    @property
    def asides(self) -> list[tuple[str, str]]:
        """The notes about parts of the item, which are no reason of its disposition."""
        return [note for note in self.notes if note[0] not in self.reasons]

    @property
    def grounds(self) -> list[tuple[str, str]]:
        """The notes that are."""
        return [note for note in self.notes if note[0] in self.reasons]


NO_REMARKS: Final = Remarks((), ())


class JoinedValues(msgspec.Struct, Generic[AnyStr], frozen=True, array_like=True, dict=True):
    """A value of each item of a batch: all of them, one after the other, and the length of each, uint32."""

    whole: AnyStr
    packed_lengths: bytes

    @classmethod
    def joined(cls, values: Sequence[AnyStr], nothing: AnyStr) -> JoinedValues[AnyStr]:
        """Return the values joined. `nothing`: the empty value of their sort."""
        return cls(nothing.join(values), np.fromiter(map(len, values), "<u4", len(values)).tobytes())

    @cached_property
    def lengths(self) -> NDArray[np.uint32]:
        """The length of each value."""
        return np.frombuffer(self.packed_lengths, "<u4")

    @cached_property
    def ends(self) -> NDArray[np.int64]:
        """Where each value ends."""
        return np.cumsum(self.lengths, dtype=np.int64)

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, item: int) -> AnyStr:
        end = int(self.ends[item])
        return self.whole[end - int(self.lengths[item]) : end]

    def of(self, items: NDArray[np.int64]) -> list[AnyStr]:
        """Return the values of these items."""
        ends = self.ends[items]
        starts = ends - self.lengths[items]
        return [self.whole[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]


class _Columns(msgspec.Struct, frozen=True, array_like=True):
    """The staged bytes. Arrays are little-endian; `expire_times` is empty where no item has one."""

    form: int
    positions: JoinedValues[str]
    external_ids: JoinedValues[str]
    kinds: list[ItemKind]
    kind_of: bytes  # uint32
    dispositions: bytes  # uint8
    flags: bytes  # uint16
    expire_times: bytes  # int64, milliseconds
    shapes: list[bytes]
    shape_of: bytes  # uint32
    hashes: bytes
    details: JoinedValues[bytes]  # empty for None
    statements: bytes
    remarks: dict[int, Remarks]
    reviews: dict[int, tuple[RecordReview, ...]]
    rejects: list[Reject]
    frames: dict[int, bytes]  # packed


_DECODE: Final = msgspec.msgpack.Decoder(_Columns).decode


class Stager:
    """Gathers the items of one batch, in their order."""

    def __init__(self) -> None:
        self._positions: list[str] = []
        self._external_ids: list[str] = []
        self._kinds: dict[ItemKind, int] = {}
        self._kind_of: list[int] = []
        self._dispositions = bytearray()
        self._flags: list[int] = []
        self._expire_times: list[int] = []
        self._shapes: dict[bytes, int] = {}
        self._shape_of: list[int] = []
        self._hashes: list[bytes] = []
        self._details: list[bytes] = []  # empty: none
        self._statements: list[bytes] = []
        self._remarks: dict[int, Remarks] = {}
        self._reviews: dict[int, tuple[RecordReview, ...]] = {}
        self._frames: dict[int, bytes] = {}

    def add(self, record: Record) -> None:
        """Append a record, with the hashes and the reviews that hygiene leaves it."""
        item = len(self._positions)
        if record.expire_time is not None and record.expire_time.tzinfo is not None:
            record = msgspec.structs.replace(record, expire_time=stored_time(record.expire_time))
        inspection = hygiene.inspect(record)
        hashes = tuple(dict.fromkeys(inspection.hashes))
        if hashes != record.hashes or inspection.reviews != record.reviews:
            record = msgspec.structs.replace(record, hashes=hashes, reviews=inspection.reviews)
        if inspection.disposition is Disposition.REJECTED:
            record = Record(position=record.position)  # nothing else of it is read again, and it may be unstorable
        if record.frames:
            self._frames[item] = packed_frames = frames.pack(record.frames)
            # From here on all of them stand for one hash more: it tells items apart, and is what they are compared by.
            record = msgspec.structs.replace(record, hashes=(*record.hashes, frames.hash_of(packed_frames)), frames=())
        packed = pack_hashes(record.hashes)
        if inspection.notes:
            self._remarks[item] = Remarks(inspection.reasons, inspection.notes)
        if record.reviews:
            self._reviews[item] = record.reviews
        self._positions.append(record.position)
        self._external_ids.append(record.external_id)
        kind = ItemKind.of(record)
        self._kind_of.append(self._kinds.setdefault(kind, len(self._kinds)))
        self._dispositions.append(CODE[_ASKED.get(record.action, inspection.disposition)])
        self._flags.append(pack_flags(record.flags))
        self._expire_times.append(_NO_TIME if record.expire_time is None else to_millis(record.expire_time))
        self._shape_of.append(self._shapes.setdefault(shape_of(packed), len(self._shapes)))
        self._hashes.append(packed)
        self._details.append(pack_details(record) or b"")
        self._statements.append(statement_of(record))

    def staged(self, rejects: Sequence[Reject]) -> bytes:
        """Return the batch, with the items that the connector refused, as it is kept until the commit."""
        has_times = any(time != _NO_TIME for time in self._expire_times)
        return _ENCODE(
            _Columns(
                form=_FORM,
                positions=JoinedValues.joined(self._positions, ""),
                external_ids=JoinedValues.joined(self._external_ids, ""),
                kinds=list(self._kinds),
                kind_of=np.array(self._kind_of, "<u4").tobytes(),
                dispositions=bytes(self._dispositions),
                flags=np.array(self._flags, "<u2").tobytes(),
                expire_times=np.array(self._expire_times, "<i8").tobytes() if has_times else b"",
                shapes=list(self._shapes),
                shape_of=np.array(self._shape_of, "<u4").tobytes(),
                hashes=b"".join(self._hashes),
                details=JoinedValues.joined(self._details, b""),
                statements=b"".join(self._statements),
                remarks=self._remarks,
                reviews=self._reviews,
                rejects=list(rejects),
                frames=self._frames,
            )
        )


class Batch:
    """A staged batch as it is read: arrays, and what single items are. Items are counted from 0 in each batch."""

    def __init__(self, columns: _Columns) -> None:
        self._columns = columns
        self.positions = columns.positions
        self.external_ids = columns.external_ids  # empty for none
        self.kinds = columns.kinds
        self.details = columns.details  # empty for none
        self.reviews: Mapping[int, tuple[RecordReview, ...]] = columns.reviews
        self.rejects = columns.rejects
        self.frames: Mapping[int, bytes] = columns.frames
        self.kind_of = np.frombuffer(columns.kind_of, "<u4")
        self.dispositions = np.frombuffer(columns.dispositions, np.uint8)
        self.flags = np.frombuffer(columns.flags, "<u2")
        self.statements = np.frombuffer(columns.statements, np.uint8).reshape(-1, STATEMENT_BYTES)

    @classmethod
    def read(cls, staged: bytes) -> Batch:
        """Return a staged batch. Raises FailedPrecondition for one that another version of hashhub staged."""
        try:
            columns = _DECODE(staged)
        except msgspec.DecodeError:
            columns = None
        if columns is None or columns.form != _FORM:
            raise FailedPrecondition(
                "the import was begun under another version of hashhub, whose batches this one cannot read; "
                "cancel it and import the source again",
                reason=Reason.IMPORT_INCOMPLETE,
            )
        return cls(columns)

    def __len__(self) -> int:
        return len(self.positions)

    @property
    def has_external_ids(self) -> bool:
        """Whether any item has one."""
        return bool(self._columns.external_ids.whole)

    def expire_times_of(self, items: NDArray[np.int64]) -> list[int | None]:
        """Return the times of these items in milliseconds, None where there is none."""
        if not self._columns.expire_times:
            return [None] * len(items)
        times = np.frombuffer(self._columns.expire_times, "<i8")[items].tolist()
        return [None if time == _NO_TIME else time for time in times]

    @cached_property
    def _shape_of(self) -> NDArray[np.uint32]:
        return np.frombuffer(self._columns.shape_of, "<u4")

    @cached_property
    def hashes(self) -> JoinedValues[bytes]:
        """Packed hashes."""
        widths = np.array([shape_width(shape) for shape in self._columns.shapes], "<u4")
        return JoinedValues(self._columns.hashes, (widths[self._shape_of] if len(self) else widths).tobytes())

    def shapes(self) -> Iterator[tuple[bytes, NDArray[np.int64]]]:
        """Yield each sequence of algorithms that items have, and these items, ascending."""
        for number, shape in enumerate(self._columns.shapes):
            yield shape, np.flatnonzero(self._shape_of == number)

    def digests(self, shape: bytes, items: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """Yield the algorithm's code and the digests, uint8[n, digest_bytes], of each place in the items' shape."""
        flat = np.frombuffer(self._columns.hashes, np.uint8)
        if len(self._columns.shapes) == 1:  # usually: no place of each byte need be named
            matrix = flat.reshape(len(self), shape_width(shape))
            yield from columns_of(shape, matrix if len(items) == len(self) else np.take(matrix, items, axis=0))
        else:
            ends = self.hashes.ends[items]
            yield from columns_of(shape, flat[ends[:, None] + np.arange(-shape_width(shape), 0)])

    def remarks(self, item: int) -> Remarks:
        """Return what hygiene says of an item."""
        return self._columns.remarks.get(item, NO_REMARKS)

    @property
    def with_remarks(self) -> Sequence[int]:
        """The items of which hygiene says something."""
        return list(self._columns.remarks)

    def record(self, item: int) -> Record:
        """Return an item as hygiene left it; a hash stands for its frames, if it has any (`hashhub.frames`)."""
        kind = self.kinds[self.kind_of[item]]
        return unpack_record(
            self.positions[item],
            self.external_ids[item],
            int(self.flags[item]),
            self.expire_times_of(np.array([item]))[0],
            hashes=self.hashes[item],
            details=self.details[item] or None,
            value=kind.value,
            region=kind.region,
            scheme=kind.scheme,
            action=_ACTION_OF.get(int(self.dispositions[item]), Action.CONTRIBUTE),
            reviews=self.reviews.get(item, ()),
        )
