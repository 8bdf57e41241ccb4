"""How much one request may hold, judged on its wire form before anything of it is converted.

    body ──(1) bytes──> (2) values, counted on the bytes ──> parse ──> (3) lengths of repeated fields ──> convert

A request's cost follows its parts, not its bytes: 8 MiB can be four million empty queries, each of which protobuf makes
a message of (20 to 95 ns, up to 240 bytes) and the model a value (2 µs, 800 bytes). So a body that could hold more
parts than its method allows is counted first, up to the limit and no further.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from hashhub.errors import InvalidArgument, LimitExceeded, Reason
from hashhub.model import (
    MAX_BATCH,
    MAX_FRAMES,
    MAX_HASHES_PER_ENTRY,
    MAX_HASHES_PER_QUERY,
    MAX_LIVE_PICTURE,
    MAX_MEDIA,
    MAX_QUERIES,
    MAX_SELECTED,
    MAX_VARIANTS,
)

MAX_NAMES: Final = 1000  # of contributors, groups and tokens that one resource names
MAX_MEMBERS: Final = 10_000  # of a group
MAX_WORDS: Final = 64  # purposes, states, paths of a mask: each is one of few

REPEATED: Final[Mapping[str, int]] = {
    "AlgorithmSequence.algorithms": MAX_HASHES_PER_ENTRY,
    "AddRecordsRequest.records": MAX_BATCH,
    "AddRecordsRequest.rejects": MAX_BATCH,
    "BatchMatchHashesRequest.queries": MAX_QUERIES,
    "BatchMatchMediaRequest.media": MAX_MEDIA,
    "Contributor.signing_keys": MAX_WORDS,
    "Contributor.takes_from": MAX_NAMES,
    "ComputeAgreementRequest.contributors": MAX_NAMES,
    "ComputeOverlapRequest.contributors": MAX_NAMES,
    "ConflictFilter.kinds": MAX_WORDS,
    "ConflictFilter.severities": MAX_WORDS,
    "ConflictFilter.states": MAX_WORDS,
    "DimensionCriterion.values": MAX_WORDS,
    "EntrySelection.dimensions": MAX_WORDS,
    "EntrySelection.external_ids": MAX_SELECTED,
    "EntrySelection.hashes": MAX_SELECTED,
    "EntrySelection.imports": MAX_NAMES,
    "EntrySelection.names": MAX_SELECTED,
    "EntrySelection.reasons": MAX_WORDS,
    "EntrySelection.series": MAX_NAMES,
    "EntrySelection.states": MAX_WORDS,
    "EntrySelection.tags": MAX_NAMES,
    "ExportEntriesRequest.hash_sets": MAX_NAMES,
    "FieldMask.paths": MAX_WORDS,
    "FindGapsRequest.contributors": MAX_NAMES,
    "FindLinksRequest.contributors": MAX_NAMES,
    "Group.members": MAX_MEMBERS,
    "HashSet.floors": MAX_NAMES,
    "Import.terms": MAX_NAMES,
    "ListChangesRequest.hash_sets": MAX_NAMES,
    "ListEntriesRequest.states": MAX_WORDS,
    "ListEventsRequest.kinds": MAX_WORDS,
    "ListFindingsRequest.dispositions": MAX_WORDS,
    "PeerOrigin.path": MAX_WORDS,
    "Marking.max_distances": MAX_WORDS,
    "Marking.permitted_purposes": MAX_WORDS,
    "Marking.recipients": MAX_NAMES,
    "MatchOptions.max_distances": MAX_WORDS,
    "ReadFilesRequest.paths": MAX_MEMBERS,
    "SimulatePolicyRequest.hash_sets": MAX_NAMES,
    "SimulatePolicyRequest.max_distances": MAX_WORDS,
    "SimulatePolicyRequest.queries": MAX_QUERIES,
    "Query.frames": MAX_FRAMES,
    "Query.hashes": MAX_HASHES_PER_QUERY,
    "Query.variants": MAX_VARIANTS,
    "Record.frames": MAX_FRAMES,
    "Record.faults": MAX_HASHES_PER_ENTRY,
    "Record.hashes": MAX_HASHES_PER_ENTRY,
    "Record.reviews": MAX_HASHES_PER_ENTRY,
    "Record.tags": MAX_HASHES_PER_ENTRY,
    "RecordColumns.external_ids": MAX_BATCH,
    "RecordColumns.media_sizes": MAX_BATCH,
    "RecordColumns.positions": MAX_BATCH,
    "RecordColumns.qualities": MAX_BATCH,
    "RecordColumns.sequence_indexes": MAX_BATCH,
    "RecordColumns.sequences": MAX_BATCH,
    "RecordColumns.source_times": MAX_BATCH,
    "RecordColumns.extras": MAX_BATCH,
    "RecordColumns.template_indexes": MAX_BATCH,
    "RecordColumns.templates": MAX_BATCH,
    "Token.addresses": MAX_WORDS,
    "Token.excluded": MAX_WORDS,
    "Token.identities": MAX_WORDS,
    "Token.purposes": MAX_WORDS,
    "UpdateGroupRequest.add_members": MAX_MEMBERS,
    "UpdateGroupRequest.remove_members": MAX_MEMBERS,
    "VariantHashes.frames": MAX_FRAMES,
    "VariantHashes.hashes": MAX_HASHES_PER_QUERY,
    "WriteReportRequest.contributors": MAX_NAMES,
    "WriteReportRequest.jurisdictions": MAX_NAMES,
    "Webhook.events": MAX_WORDS,
}
"""The most values of each repeated field of a request, by message and field."""

_BATCHES: Final = frozenset(
    {"records", "rejects", "queries", "media", "members", "add_members", "remove_members", "positions"}
)
# Whoever converts these looks at each length itself, in the loop that it has anyway.
_CONVERTED_ONE_BY_ONE: Final = frozenset({"AddRecordsRequest.records", "BatchMatchHashesRequest.queries"})
_SMALL_BYTES: Final = 1_114_112  # a position of the change feed is up to 1 MiB; everything else is far smaller
_SMALL_PARTS: Final = 25_000
_VARINT, _LENGTH_DELIMITED = 0, 2  # wire types; 3 and 4, groups, have no bytes of their own
_WIDTHS: Final = {1: 8, 5: 4}  # of the wire types of fixed width
_MORE: Final = 0x80  # the bit of a varint's byte that says that another follows
_VARINT_BITS: Final = 70  # of ten bytes: no varint has more
_COUNTED_FROM: Final = 65_536  # bytes; parsing fewer takes 3 ms at most, whatever they are


class Bounds(NamedTuple):
    """The most that a request may hold: bytes, and parts (values of its fields, those of messages inside included)."""

    bytes: int
    parts: int


def bounds_of(request: Descriptor, max_message_bytes: int) -> Bounds:
    """Return what a request of this kind may hold. `max_message_bytes`: the operator's limit, for the largest ones."""
    match request.name:
        case "AddRecordsRequest":
            return Bounds(max_message_bytes, 300_000)
        case "BatchMatchHashesRequest" | "SimulatePolicyRequest":
            return Bounds(min(max_message_bytes, 8 * 1024 * 1024), 100_000)
        case "SearchEntriesRequest" | "ChangeEntriesRequest":
            return Bounds(min(max_message_bytes, 8 * 1024 * 1024), 200_000)
        case "MatchLiveRequest":  # of each message
            return Bounds(min(max_message_bytes, MAX_LIVE_PICTURE + _COUNTED_FROM), _SMALL_PARTS)
        case "MatchHashesRequest" | "ExplainMatchRequest":
            return Bounds(min(max_message_bytes, _SMALL_BYTES), 100_000)  # all frames of a video have four parts each
        case "MatchMediaRequest" | "BatchMatchMediaRequest":
            return Bounds(max_message_bytes, _SMALL_PARTS)
        case _:
            return Bounds(min(max_message_bytes, _SMALL_BYTES), _SMALL_PARTS)


def parse(request: type[Message], body: bytes, bounds: Bounds) -> Message:
    """Return the message, within its bounds. Raises LimitExceeded (TOO_LARGE), InvalidArgument for a list that is too
    long, DecodeError for bytes that are no such message.
    """
    check_body(request, body, bounds)
    message = request.FromString(body)
    check_repeated(message)
    return message


def check_body(request: type[Message], body: bytes, bounds: Bounds) -> None:
    """Raise LimitExceeded when the encoded request has more bytes or parts than it may.

    What is no message at all passes: parsing will say so.
    """
    _check_size(len(body), bounds.bytes)
    if len(body) <= _COUNTED_FROM:
        return
    plan = _plan(request.DESCRIPTOR)
    for number, (name, most, _) in plan.items():
        if (
            most is not None
            and f"{request.DESCRIPTOR.name}.{name}" in _CONVERTED_ONE_BY_ONE
            and _count(body, number, most) > most
        ):
            raise _too_many(name, most, f"more than {most}")
    if len(body) > 2 * bounds.parts and _walk(body, plan, bounds.parts) > bounds.parts:
        raise _too_many_parts(bounds.parts)


def check_json(body: bytes, max_bytes: int, bounds: Bounds) -> None:
    """Raise LimitExceeded when a request in JSON has more bytes or parts than it may.

    Every part but the first of its list or object stands behind a comma or a bracket. Commas within texts count too:
    a limit far above what honest requests hold can be coarse.
    """
    _check_size(len(body), max_bytes)
    if len(body) > bounds.parts and body.count(b",") + body.count(b"{") + body.count(b"[") > 2 * bounds.parts:
        raise _too_many_parts(bounds.parts)


def check_repeated(message: Message, at: str = "") -> None:
    """Raise LimitExceeded or InvalidArgument for a repeated field that has more values than it may."""
    for name, most, inner in _plan(message.DESCRIPTOR).values():
        if most is not None:
            values = getattr(message, name)
            if len(values) > most:
                if name in _BATCHES:
                    raise _too_many(f"{at}{name}", most, str(len(values)))
                raise InvalidArgument.field(
                    f"{at}{name}", f"must be at most {most}, got {len(values)}; leave some out", "TOO_MANY"
                )
            if inner and f"{message.DESCRIPTOR.name}.{name}" not in _CONVERTED_ONE_BY_ONE:
                for index, value in enumerate(values):
                    check_repeated(value, f"{at}{name}[{index}].")
        elif message.HasField(name):
            check_repeated(getattr(message, name), f"{at}{name}.")


class _Child(NamedTuple):
    name: str
    most: int | None  # None: not repeated
    inner: Mapping[int, _Child]  # of a message; empty when nothing in it repeats


@functools.cache
def _plan(message: Descriptor) -> Mapping[int, _Child]:
    """Return by number the fields of a message that repeat, or hold a message in which something does.

    Raises KeyError for a repeated field without a bound: a server with one does not start.
    """
    plan = {}
    for field in message.fields:
        is_map = field.message_type is not None and field.message_type.GetOptions().map_entry
        inner = _plan(field.message_type) if field.message_type is not None and not is_map else {}
        if field.is_repeated or inner:
            most = REPEATED[f"{message.name}.{field.name}"] if field.is_repeated else None
            plan[field.number] = _Child(field.name, most, inner)
    return plan


def repeated_fields(message: Descriptor) -> Mapping[str, FieldDescriptor]:
    """Return the repeated fields of a request and of the messages inside, by message and field."""
    own = {f"{message.name}.{f.name}": f for f in message.fields if f.is_repeated}
    for field in message.fields:
        if field.message_type is not None and not field.message_type.GetOptions().map_entry:
            own |= repeated_fields(field.message_type)
    return own


def _count(body: bytes, wanted: int, most: int) -> int:
    """Return how often the field with this number stands in an encoded message; beyond `most` it is not counted."""
    count = 0
    for number, _, _ in _fields(body, 0, len(body)):
        count += number == wanted
        if count > most:
            break
    return count


def _walk(body: bytes, plan: Mapping[int, _Child], most: int) -> int:
    """Return how many fields a message and those inside that hold repeated ones have, counted up to `most`."""
    count = 0
    rest = [(0, len(body), plan)]
    while rest:
        start, end, children = rest.pop()
        for number, first, last in _fields(body, start, end):
            count += 1
            if count > most:
                return count
            if (child := children.get(number)) is not None and child.inner:
                rest.append((first, last, child.inner))
    return count


def _fields(body: bytes, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield each field of an encoded message: its number, and where its value begins and ends. Ends at what is none."""
    try:
        while at < end:
            tag = body[at]
            at += 1
            if tag >= _MORE:
                tag, at = _varint(body, at - 1)
            kind = tag & 7
            first = at
            if kind == _LENGTH_DELIMITED:
                size = body[at]
                at += 1
                if size >= _MORE:
                    size, at = _varint(body, at - 1)
                first = at
                at += size
            elif kind == _VARINT:
                _, at = _varint(body, at)
            elif kind in _WIDTHS:
                at += _WIDTHS[kind]
            if at > end:
                return
            yield tag >> 3, first, at
    except IndexError:
        return


def _varint(body: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = body[at]
        at += 1
        value |= (byte & ~_MORE) << shift
        if byte < _MORE:
            return value, at
        shift += 7
        if shift >= _VARINT_BITS:
            raise IndexError


def _check_size(size: int, most: int) -> None:
    if size > most:
        raise LimitExceeded(
            f"the request must be at most {most} bytes, got {size}; send smaller ones", reason=Reason.TOO_LARGE
        )


def _too_many(field: str, most: int, got: str) -> LimitExceeded:
    return LimitExceeded(
        f"{field} takes at most {most} in one request, got {got}; send several", reason=Reason.TOO_LARGE
    )


def _too_many_parts(most: int) -> LimitExceeded:
    return LimitExceeded(
        f"the request holds more than {most} values (items, hashes, texts, numbers); send several smaller ones",
        reason=Reason.TOO_LARGE,
    )
