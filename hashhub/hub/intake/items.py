"""The items of an import as columns: as they are staged, by batch, and what becomes of each; dicts for the rare rest.

A batch is in the form in which it is decided about and written: everything that the store packs is packed when it is
added. Texts are made when the report is written, so that a million items with one fault need no million texts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import AnyStr, Final, Generic, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from hashhub import frames, hygiene
from hashhub.connector import NCII_TAG, PURPOSE_TAG
from hashhub.errors import FailedPrecondition, Reason
from hashhub.hygiene import Code
from hashhub.item import stored_time
from hashhub.model import (
    Action,
    Classification,
    Disposition,
    HashSet,
    Purpose,
    Record,
    RecordReview,
    Reject,
    SchemeStatus,
)
from hashhub.schemes import Scheme, is_name
from hashhub.store import FindingRun, Hold
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
from hashhub.trust.policy import excludes_harm

_FORM: Final = 4  # of the staged bytes; those of another one cannot be read
_NO_TIME: Final = np.iinfo(np.int64).min  # in `expire_times`: never
_PURPOSES: Final[dict[str, str]] = {PURPOSE_TAG + p.lower(): p for p in Purpose} | {NCII_TAG: "NCII"}
DISPOSITIONS: Final = tuple(Disposition)
CODE: Final = {disposition: code for code, disposition in enumerate(DISPOSITIONS)}
"""Dispositions as small integers, in arrays."""
ACCEPTED: Final = CODE[Disposition.ACCEPTED]
QUARANTINED: Final = CODE[Disposition.QUARANTINED]
REJECTED: Final = CODE[Disposition.REJECTED]
DUPLICATE: Final = CODE[Disposition.DUPLICATE]
UNCHANGED: Final = CODE[Disposition.UNCHANGED]
WITHDRAWN: Final = CODE[Disposition.WITHDRAWN]
STAYS_WITHDRAWN: Final = CODE[Disposition.STAYS_WITHDRAWN]
WAITS: Final = len(DISPOSITIONS)
"""QUARANTINED, too, and the hash set has an entry that states it and waits for the same reasons: that one goes on."""
_NAMES_SHOWN: Final = 10  # in one sentence, however many there are
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
        """The notes that explain the item's disposition."""
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


class MergedItem(NamedTuple):
    """What the first of several items that are the same states with what the others add, packed as in a batch.

    `frames`: those of another of them; None: it has its own, or none has any.
    """

    external_id: str
    flags: int
    expire_time: int | None
    hashes: bytes
    details: bytes | None
    frames: bytes | None = None


class Decisions:
    """The items of a source by number, in its order.

    outcome: a disposition's code, uint8[n]. kind: see `KindMeanings`, uint32[n]. statements: uint8[n, STATEMENT_BYTES].
    refers_to, int64[n]: of an UNCHANGED item, and of one that WAITS, the entry that states the same; of a DUPLICATE the
    item that it was merged into; -1: nothing. lacks_value, bool[n]: a value was due, and there is none. grounds: why
    hygiene quarantines an item. `waits_for_value`: the sentence about an item that waits for one, or empty.
    """

    def __init__(self, values: KindMeanings, set_name: str) -> None:
        """`set_name`: the hash set's."""
        self.values = values
        self._set_name = set_name
        self.outcome: NDArray[np.uint8] = np.empty(0, np.uint8)
        self.kind: NDArray[np.uint32] = np.empty(0, np.uint32)
        self.statements: NDArray[np.uint8] = np.empty((0, 1), np.uint8)
        self.refers_to: NDArray[np.int64] = np.empty(0, np.int64)
        self.lacks_value: NDArray[np.bool_] = np.empty(0, np.bool_)
        self.grounds: dict[int, tuple[str, ...]] = {}
        self.waits_for_value = ""
        self.merged: dict[int, MergedItem] = {}
        self.reviews: dict[int, tuple[RecordReview, ...]] = {}
        self.withdrawn_by: dict[int, Hold] = {}  # what keeps an item from coming back
        self.overtaken: dict[int, list[int]] = {}  # entries that the source withdrew before, and now states again
        self.opinions: dict[int, str] = {}  # what is said of items that are only opinions, and have an entry
        self.asides: dict[int, tuple[str, str]] = {}  # what is remarked about an item whatever becomes of it
        self._position_of: dict[int, str] = {}  # of items that others were merged into
        self._first_kind: dict[int, int] = {}  # of those: their own kind, before others added to it
        self._held: dict[int, list[tuple[str, str]]] = {}  # what holds say, which comes before what the rules say
        self._remarks: dict[int, list[tuple[str, str]]] = {}

    def begin(self, outcome: NDArray[np.uint8], kind: NDArray[np.uint32], statements: NDArray[np.uint8]) -> None:
        """Set the initial columns: each item's disposition, kind, and digest of what it states."""
        count = len(outcome)
        self.outcome, self.kind, self.statements = outcome, kind, statements
        self.refers_to = np.full(count, -1, np.int64)
        self.lacks_value = np.zeros(count, np.bool_)

    @property
    def become_entries(self) -> NDArray[np.bool_]:
        """Which items would become entries as things stand."""
        return np.equal(self.outcome, ACCEPTED) | np.equal(self.outcome, QUARANTINED)

    def becomes_entry(self, item: int) -> bool:
        """Whether an item would become an entry as things stand."""
        return bool(self.outcome[item] in (ACCEPTED, QUARANTINED))

    def remark(self, item: int, code: str, detail: str) -> None:
        """Give a reason for what becomes of an item, once for each code."""
        if all(code != given for given, _ in self.remarks(item)):
            self._remarks.setdefault(item, []).append((code, detail))

    def hold(self, item: int, code: str, detail: str) -> None:
        """Let an item wait for an operator."""
        self.outcome[item] = QUARANTINED
        said = self._held.setdefault(item, [])
        if all(code != given for given, _ in said):
            said.append((code, detail))

    def quarantine(self, item: int, code: str, detail: str) -> None:
        """Let an item that would become an entry wait, and say why."""
        if self.becomes_entry(item):
            self.outcome[item] = QUARANTINED
            self.remark(item, code, detail)

    def drop_withdrawn(self, item: int) -> None:
        """Drop an item that would become an entry and that the source withdraws further on."""
        if self.becomes_entry(item):
            self.outcome[item] = DUPLICATE

    def merge(self, first: int, position: str, kind: int, merged: MergedItem, rest: Iterable[int]) -> None:
        """Let the first of several items state what all of them do; `kind`: of all of them together."""
        self.merged[first] = merged
        self._position_of[first] = position
        self._first_kind[first] = int(self.kind[first])
        self.kind[first] = kind
        for item in rest:
            self.outcome[item] = DUPLICATE
            self.refers_to[item] = first

    def refuse(self, item: int, code: str, detail: str) -> None:
        """Refuse an item, and say why."""
        self.outcome[item] = REJECTED
        self._remarks[item] = [(code, detail)]

    def keep_withdrawn(self, item: int, detail: str) -> None:
        """Let an item stay withdrawn, and say by which entry and who may restore it."""
        self.outcome[item] = STAYS_WITHDRAWN
        self._remarks[item] = [(Code.STAYS_WITHDRAWN, detail)]

    def is_undecided(self, item: int) -> bool:
        """Whether an item lacks a value that is due, also after what duplicates of it say."""
        return bool(self.lacks_value[item]) and not self.values.kinds[self.kind[item]].value

    def reasons(self, item: int) -> tuple[str, ...]:
        """Return the codes that an entry of a quarantined item has."""
        reasons = (*self.grounds.get(item, ()), *(str(code) for code, _ in self.remarks(item)))
        return tuple(dict.fromkeys((*reasons, Code.UNCLASSIFIED.value) if self.is_undecided(item) else reasons))

    def waits_for(self, item: int, reasons: tuple[str, ...]) -> bool:
        """Whether an entry that states what the item does and waits for these reasons goes on waiting."""
        return bool(self.outcome[item] == QUARANTINED) and (
            item in self._held or set(reasons) == set(self.reasons(item))
        )

    def unchanged(self, positions: list[str], entries: NDArray[np.int64]) -> FindingRun:
        """Return what is said of items that these entries state already."""
        before, after = f"entry {self._set_name}/", " already states exactly this"
        return FindingRun(Disposition.UNCHANGED, Code.IDENTICAL_ENTRY, before, after, positions, entries)

    def remarks(self, item: int) -> list[tuple[str, str]]:
        """Return why an item became what it did, as (code, detail), but for what hygiene says."""
        outcome = int(self.outcome[item])
        own = self._remarks.get(item, [])
        if outcome == UNCHANGED and item in self.opinions:
            return [(Code.OPINION_ONLY, self.opinions[item])]
        if outcome == UNCHANGED:
            (line,) = self.unchanged([""], self.refers_to[item : item + 1]).findings()
            return [(line.reason, line.detail)]
        if outcome == DUPLICATE:
            if (first := int(self.refers_to[item])) < 0:
                return [(Code.SUPERSEDED, "withdrawn further on in the same source")]
            text = f"the same item as {self._position_of[first]}; its hashes were merged into it"
            return [(Code.DUPLICATE_IN_SOURCE, text)]
        if outcome not in (ACCEPTED, QUARANTINED, WAITS):
            return own
        ground = self.values.meanings[self._first_kind.get(item, self.kind[item])].ground
        said = [ground] if ground is not None else []
        said += self._held.get(item, ())
        if self.waits_for_value and self.lacks_value[item]:
            said.append((Code.UNCLASSIFIED, self.waits_for_value))
        return said + own


def listed(names: Sequence[str], total: int | None = None) -> str:
    """Return names for a sentence, the first ones of very many. `total`: how many there are, if not all are given."""
    total = len(names) if total is None else total
    more = f" and {total - _NAMES_SHOWN} more" if total > _NAMES_SHOWN else ""
    return ", ".join(names[:_NAMES_SHOWN]) + more


class Meaning(NamedTuple):
    """What a kind of item is in the hash set. `ground`: why its items wait, as (code, detail). `is_raw`: kept although
    nothing says what its value means. `spelling`: the scheme's. `stated`: (scheme, value). `is_harmless`: its value
    leaves no harm possible, and the hash set's purpose does not tell that.
    """

    ground: tuple[str, str] | None
    is_raw: bool
    spelling: str
    stated: tuple[str, str] | None
    is_harmless: bool


class KindMeanings:
    """The kinds of a source's items, numbered as they come."""

    def __init__(self, hash_set: HashSet, scheme: Scheme | None) -> None:
        """`scheme` is the hash set's, or None."""
        self._hash_set = hash_set
        self._scheme = scheme
        self._numbers: dict[ItemKind, int] = {}
        self.kinds: list[ItemKind] = []
        self.meanings: list[Meaning] = []
        self._resolved: dict[str, Classification | None] = {}

    def number(self, kind: ItemKind) -> int:
        """Return the number of a kind."""
        number = self._numbers.get(kind)
        if number is None:
            number = self._numbers[kind] = len(self.kinds)
            self.kinds.append(kind)
            self.meanings.append(self._meaning(kind))
        return number

    def are(self, holds: Callable[[ItemKind, Meaning], bool]) -> NDArray[np.bool_]:
        """Return which kinds are so, by number."""
        return np.fromiter(map(holds, self.kinds, self.meanings), np.bool_, len(self.kinds))

    def codes(self, of: Callable[[ItemKind, Meaning], object]) -> NDArray[np.int64]:
        """Return a number for each kind, equal where `of` is."""
        codes: dict[object, int] = {}
        of_kinds = (codes.setdefault(of(k, m), len(codes)) for k, m in zip(self.kinds, self.meanings, strict=True))
        return np.fromiter(of_kinds, np.int64, len(self.kinds))

    def classification(self, kind: ItemKind) -> Classification | None:
        """Return what a kind's raw value is and implies; None without one. What the scheme lacks implies nothing."""
        if not kind.value:
            return None
        scheme_id, version, region = "", "", kind.region
        if not self._is_of_another_scheme(kind):
            if (known := self._resolve(kind.value)) is not None:
                return known
            if self._scheme is not None:
                scheme_id, version, region = self._scheme.id, self._scheme.version, self._scheme.region
        else:
            scheme_id, _, version = kind.scheme.partition("@")
        return Classification(
            scheme=scheme_id,
            version=version,
            region=region,
            value=kind.value,
            # nobody verified what it means: should it be released, it leads to no automatic match
            status=SchemeStatus.DRAFT,
            dimensions={},
        )

    def _meaning(self, kind: ItemKind) -> Meaning:
        classification = self.classification(kind)
        known = self._resolve(kind.value)
        is_told_by_purpose = self._hash_set.purpose in {Purpose.BENIGN, Purpose.TEST}
        is_raw = (
            bool(kind.value) and known is None and self._scheme is None and self._hash_set.purpose is Purpose.BENIGN
        )
        ground = self._ground(kind, known)
        return Meaning(
            ground=ground,
            is_raw=is_raw and ground is None,
            spelling=kind.value if known is None else known.value,
            stated=None if classification is None else (classification.scheme, classification.value),
            is_harmless=classification is not None
            and not is_told_by_purpose
            and excludes_harm(classification.dimensions),
        )

    def _ground(self, kind: ItemKind, known: Classification | None) -> tuple[str, str] | None:
        scheme, purpose = self._scheme, self._hash_set.purpose
        if scheme and scheme.contradicts_region(kind.region):
            return (
                Code.REGION_MISMATCH,
                f"the file says region {kind.region[:20]}, the hash set's scheme is for {scheme.region}",
            )
        if scheme and scheme.contradicts_name(kind.scheme):
            return (
                Code.SCHEME_MISMATCH,
                f"the source's values are of {kind.scheme[:80]!r}, those of the hash set of {scheme.name}",
            )
        if kind.purpose and kind.purpose != purpose and purpose is not Purpose.TEST:
            stated = f"its items are {kind.purpose.lower()}, those of the hash set are {purpose.lower()}"
            remedy = "import it into another" if kind.purpose in set(Purpose) else "no hash set here is for such items"
            return Code.PURPOSE_MISMATCH, f"the source says that {stated}; {remedy}"
        if not kind.value or known is not None:
            return None
        value = repr(kind.value[:40])
        if scheme:
            return Code.UNKNOWN_VALUE, f"the hash set's scheme ({self._hash_set.scheme}) has no value {value}"
        if purpose is Purpose.BENIGN:  # whatever the value means elsewhere, being in the set is the statement
            return None
        name = kind.scheme if is_name(kind.scheme) else "ID"
        command = f"hashhub hash-set create CONTRIBUTOR/SET --purpose {purpose.lower()} --scheme {name}"
        text = f"the hash set has no scheme to say what {value} means; import into one that has ({command})"
        return Code.UNKNOWN_VALUE, text

    def _is_of_another_scheme(self, kind: ItemKind) -> bool:
        scheme = self._scheme
        return scheme is not None and (scheme.contradicts_region(kind.region) or scheme.contradicts_name(kind.scheme))

    def _resolve(self, value: str) -> Classification | None:
        if value not in self._resolved:
            self._resolved[value] = self._scheme.resolve(value) if self._scheme and value else None
        return self._resolved[value]
