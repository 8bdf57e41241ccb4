"""Items: records, singly and as columns, and entries, to the model and back. The table `hashhub.item` has their fields.

A batch of records is sent as columns, at a third of the cost of rows. Records of one list differ in little: position,
digests and the fields `item.OWN`. All else they share with many others, so that it is sent once, as a *template*: a
record without those. The algorithms of a record's hashes are sent once for all that have the same ones, in the same
order. What stands in the message once and counts for many records is bounded by what it comes to for all of them: a
small message must not become a large batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from operator import attrgetter
from typing import Any, Final

import msgspec

from hashhub import cancellation, hashes, item, v1
from hashhub.errors import InvalidArgument, Violation
from hashhub.hashes import Hash
from hashhub.item import Field, FieldKind
from hashhub.model import (
    MAX_FRAMES,
    MAX_HASHES_PER_ENTRY,
    MAX_TEXT,
    Classification,
    Entry,
    HashFault,
    Provenance,
    Record,
    RecordReview,
    Role,
    SchemeStatus,
    VideoFrame,
    Withdrawal,
)
from hashhub.wire.codec import FieldCodec, Ids, MessageCodec, flags_from_pb, flags_to_pb, name_of
from hashhub.wire.fields import (
    ACTION,
    ENTRY_STATE,
    REVIEW_KIND,
    ROLE,
    WIDTHS,
    Violations,
    build,
    check_text,
    checked,
    collect,
    entry_name,
    import_name,
    parse_entry,
    parse_import,
    read_hash,
    read_time,
    refuse,
    resource_name,
    timestamp,
    unsendable,
)

_BETWEEN_LOOKS: Final = 500  # records, some 5 ms, between two looks whether the answer is still wanted
_NOT_STATED: Final = -1  # in a column of numbers
_MAX_SHARED_BYTES: Final = 32 * 1024 * 1024  # of templates, counted for each record: as much as a message of rows holds
_PLACE: Final = "template"  # a position is what every record must have
_own_texts_of: Final = attrgetter("position", *(f.wire for f in item.OWN if f.kind is FieldKind.TEXT))  # of a message
_OWN_NUMBERS: Final = tuple(f.wire for f in item.OWN if f.kind is FieldKind.NUMBER)
_OWN_NAMES: Final = tuple(f.name for f in item.OWN)
_own_of: Final = attrgetter(*_OWN_NAMES)
_algorithm_of: Final = attrgetter("algorithm")
_digest_of: Final = attrgetter("digest")
_SHARED: Final = tuple(f for f in Record.__struct_fields__ if f not in {"position", "hashes", *_OWN_NAMES})
_shared_of: Final = attrgetter(*_SHARED)


def record_to_pb(record: Record) -> v1.Record:
    """Return the message of a record.

    Raises InvalidArgument for text that is not Unicode or a number that does not fit.
    """
    pb = v1.Record()
    try:
        pb.position = record.position
        pb.hashes.extend(map(hash_to_pb, record.hashes))
        for fault in record.faults:
            pb.faults.add(algorithm=fault.algorithm, reason=fault.reason, detail=fault.detail)
        pb.action = ACTION.to_pb(record.action)
        put_fields(pb, item.FIELDS, record)
        put_frames(pb, record.frames)
        put_reviews(pb, record.reviews)
    except ValueError as e:
        raise unsendable(f"record at {record.position[:80]!r}") from e
    except (AttributeError, TypeError) as e:
        raise InvalidArgument.field("record", f"must be Record, its hashes a sequence of Hash ({e})") from e
    return pb


def records_from_pb(records: Iterable[v1.Record], at: str = "records") -> list[Record]:
    """Return the records, or raise InvalidArgument with the violations of all of them.

    No field may hold NUL or endless text.
    """
    wrong = Violations()
    read = []
    for i, pb in enumerate(records):
        if i % _BETWEEN_LOOKS == 0:
            cancellation.check()
        read.append(_record(pb, f"{at}[{i}]", wrong))
    refuse(wrong)
    return read


def put_frames(pb: v1.Record | v1.Entry | v1.Query | v1.VariantHashes, frames: Iterable[VideoFrame]) -> None:
    """Set the frames of a message that has some."""
    add = pb.frames.add
    for frame in frames:
        add(offset_ms=frame.offset_ms, quality=frame.quality, digest=frame.digest)


def read_frames(pb: v1.Record | v1.Entry) -> tuple[VideoFrame, ...]:
    """Return the first MAX_FRAMES frames of a message as they stand there; hygiene says what is wrong with them."""
    return tuple([VideoFrame(f.offset_ms, f.quality, f.digest) for f in pb.frames[:MAX_FRAMES]])


def put_reviews(pb: v1.Record | v1.EntryReviews, reviews: Iterable[RecordReview]) -> None:
    """Set the reviews of a message."""
    for review in reviews:
        pb.reviews.add(kind=REVIEW_KIND.to_pb(review.kind), author=review.author, comment=review.comment)


_PUT: Final[dict[FieldKind, Callable[[Any, str, Any], None]]] = {
    FieldKind.TEXT: setattr,
    FieldKind.NUMBER: setattr,
    FieldKind.TEXTS: lambda pb, name, value: getattr(pb, name).extend(value),
    FieldKind.TIME: lambda pb, name, value: getattr(pb, name).CopyFrom(timestamp(value)),
    FieldKind.FLAGS: lambda pb, name, value: getattr(pb, name).CopyFrom(flags_to_pb(value)),
}


def _read_field(f: Field, pb: Any, at: str, wrong: list[Violation]) -> Any:
    """Return a field of a record's or an entry's message; note what is wrong with it."""
    where = f"{at}.{f.wire}"
    if f.kind is FieldKind.TEXT:
        text: str = getattr(pb, f.wire)
        check_text(text, where, wrong)
        return text
    if f.kind is FieldKind.TEXTS:
        count = len(getattr(pb, f.wire))
        if count > MAX_HASHES_PER_ENTRY:
            wrong.append(Violation(where, f"must be at most {MAX_HASHES_PER_ENTRY}, got {count}", "TOO_MANY"))
        texts = tuple(getattr(pb, f.wire)[:MAX_HASHES_PER_ENTRY])
        for i, text in enumerate(texts):
            check_text(text, f"{where}[{i}]", wrong)
        return texts
    if not pb.HasField(f.wire):
        return f.default
    if f.kind is FieldKind.FLAGS:
        return flags_from_pb(getattr(pb, f.wire))
    if f.kind is FieldKind.TIME:
        time = read_time(pb, f.wire, at, wrong)
        return None if time is None else item.stored_time(time)
    number: int = getattr(pb, f.wire)
    if not 0 <= number <= f.maximum:
        wrong.append(Violation(where, f"must be between 0 and {f.maximum}, got {number}", "OUT_OF_RANGE"))
    return number


def _read_fields(fields: Iterable[Field], pb: Any, at: str, wrong: list[Violation]) -> dict[str, Any]:
    stated = {descriptor.name for descriptor, _ in pb.ListFields()}  # few: to read each takes three times as long
    return {f.name: _read_field(f, pb, at, wrong) if f.wire in stated else f.default for f in fields}


def _record(pb: v1.Record, at: str, wrong: list[Violation]) -> Record:
    if not pb.position:
        wrong.append(Violation(f"{at}.position", "must not be empty", "REQUIRED"))
    check_text(pb.position, f"{at}.position", wrong)
    for name, count in (("hashes", len(pb.hashes)), ("faults", len(pb.faults)), ("reviews", len(pb.reviews))):
        if count > MAX_HASHES_PER_ENTRY:
            wrong.append(Violation(f"{at}.{name}", f"must be at most {MAX_HASHES_PER_ENTRY}, got {count}", "TOO_MANY"))
    hashes, faults = pb.hashes[:MAX_HASHES_PER_ENTRY], pb.faults[:MAX_HASHES_PER_ENTRY]
    reviews = pb.reviews[:MAX_HASHES_PER_ENTRY]
    for i, fault in enumerate(faults):
        for text in ("algorithm", "reason", "detail"):
            check_text(getattr(fault, text), f"{at}.faults[{i}].{text}", wrong)
    for i, review in enumerate(reviews):
        for text in ("author", "comment"):
            check_text(getattr(review, text), f"{at}.reviews[{i}].{text}", wrong)
    if len(pb.frames) > MAX_FRAMES:
        wrong.append(Violation(f"{at}.frames", f"must be at most {MAX_FRAMES}, got {len(pb.frames)}", "TOO_MANY"))
    fields = _read_fields(item.FIELDS, pb, at, wrong)
    return Record(
        position=pb.position,
        hashes=tuple(read_hash(h, f"{at}.hashes[{i}]", wrong) for i, h in enumerate(hashes)),
        faults=tuple(HashFault(f.algorithm, f.reason, f.detail) for f in faults),
        action=ACTION.from_pb(pb.action, f"{at}.action", wrong),
        reviews=tuple(
            RecordReview(REVIEW_KIND.from_pb(r.kind, f"{at}.reviews[{i}].kind", wrong), r.author, r.comment)
            for i, r in enumerate(reviews)
        ),
        frames=read_frames(pb),
        **fields,
    )


ENTRY_FIELDS: Final = tuple(f for f in item.KEPT if f.entry_path == f.name)


def put_fields(pb: v1.Record | v1.Entry, fields: Iterable[Field], value: Record | Entry) -> None:
    """Set the fields of an item in its message."""
    for f in fields:
        if (stated := getattr(value, f.name)) != f.default:
            _PUT[f.kind](pb, f.wire, stated)


def read_entry_fields(pb: v1.Entry, at: str, wrong: list[Violation]) -> dict[str, Any]:
    """Return the fields of an item from an entry's message by name; note what is wrong with them."""
    return _read_fields(ENTRY_FIELDS, pb, at, wrong)


def hash_to_pb(value: Hash) -> v1.Hash:
    return v1.Hash(algorithm=value.algorithm, digest=value.digest)


_CLASSIFICATION: Final = MessageCodec(
    Classification,
    v1.Classification,
    ids=Ids(("scheme", "version"), "{}@{}".format, lambda name, _: name.partition("@")[::2], "scheme"),
    status=FieldCodec(
        lambda status: status is SchemeStatus.DRAFT,
        lambda pb, *_: SchemeStatus.DRAFT if pb.draft else SchemeStatus.VERIFIED,
        "draft",
    ),
)
classification_to_pb: Final = _CLASSIFICATION.to_pb
classification_from_pb: Final = _CLASSIFICATION.from_pb


def dimensions_from_pb(dimensions: Mapping[str, v1.DimensionValues]) -> dict[str, tuple[str, ...]]:
    return {name: tuple(dimensions[name].values) for name in sorted(dimensions)}


def entry_to_pb(entry: Entry) -> v1.Entry:
    pb = v1.Entry()
    put_entry(pb, entry)
    return pb


def put_entry(pb: v1.Entry, entry: Entry) -> None:
    """Set all of an empty message, in place: copying would be felt in a feed of a million entries."""
    provenance = entry.provenance
    pb.name = entry_name(entry.contributor, entry.hash_set, entry.id)
    pb.state = ENTRY_STATE.to_pb(entry.state)
    if entry.reasons:
        pb.reasons.extend(entry.reasons)
    source = pb.provenance
    source.connector = provenance.connector
    source.connector_version = provenance.connector_version
    source.source_digest = provenance.source_digest
    source.position = provenance.position
    source.member = provenance.member
    setattr(source, "import", import_name(entry.contributor, entry.hash_set, provenance.import_id))
    pb.create_revision = entry.create_revision
    pb.update_revision = entry.update_revision
    put_fields(pb, ENTRY_FIELDS, entry)
    add = pb.hashes.add
    for value in entry.hashes:
        add(algorithm=value.algorithm, digest=value.digest)
    if entry.classification is not None:
        pb.classification.CopyFrom(classification_to_pb(entry.classification))
    if entry.withdrawal is not None:
        pb.withdrawal.CopyFrom(_WITHDRAWAL.to_pb(entry.withdrawal))
    if entry.frame_count:
        pb.frame_count = entry.frame_count
        put_frames(pb, entry.frames)
    if entry.predecessors:
        pb.predecessors.extend(resource_name("Entry", name) for name in entry.predecessors)
    if entry.successors:
        pb.successors.extend(resource_name("Entry", name) for name in entry.successors)


def entry_from_pb(pb: v1.Entry, at: str = "entry") -> Entry:
    wrong: list[Violation] = []
    contributor, hash_set, entry_id = checked(wrong, parse_entry, pb.name, f"{at}.name") or ("", "", 0)
    source = getattr(pb.provenance, "import")
    _, _, import_id = checked(wrong, parse_import, source, f"{at}.provenance.import") or ("", "", "")
    values = {
        "id": entry_id,
        "contributor": contributor,
        "hash_set": hash_set,
        "hashes": tuple([read_hash(h, f"{at}.hashes[{i}]", wrong) for i, h in enumerate(pb.hashes)]),
        "state": ENTRY_STATE.from_pb(pb.state, f"{at}.state", wrong),
        "provenance": Provenance(
            import_id=import_id,
            connector=pb.provenance.connector,
            connector_version=pb.provenance.connector_version,
            source_digest=pb.provenance.source_digest,
            position=pb.provenance.position,
            member=pb.provenance.member,
        ),
        "classification": classification_from_pb(pb.classification) if pb.HasField("classification") else None,
        "reasons": tuple(pb.reasons),
        "create_revision": pb.create_revision,
        "update_revision": pb.update_revision,
        **read_entry_fields(pb, at, wrong),
        "withdrawal": collect(wrong, _WITHDRAWAL.from_pb, pb.withdrawal, f"{at}.withdrawal", None)
        if pb.HasField("withdrawal")
        else None,
        "predecessors": _entry_names(pb.predecessors, f"{at}.predecessors", wrong) if pb.predecessors else (),
        "successors": _entry_names(pb.successors, f"{at}.successors", wrong) if pb.successors else (),
        "frame_count": pb.frame_count,
        "frames": read_frames(pb) if pb.frames else (),
    }
    return build(Entry, values, wrong, at, {})


_WITHDRAWAL: Final = MessageCodec(
    Withdrawal,
    v1.Withdrawal,
    at="withdrawal",
    actor=name_of("Token"),
    role=FieldCodec(
        ROLE.to_pb,
        lambda pb, _, at, wrong: ROLE.from_pb(pb.role, f"{at}.role", wrong) if pb.actor else Role.CONTRIBUTOR,
    ),
    revision="withdraw_revision",
    # Outsiders are not told by which token an entry was withdrawn.
    derived=lambda withdrawal: {} if withdrawal.actor else {"role": v1.Role.ROLE_UNSPECIFIED},
)


def _entry_names(pb: Iterable[str], at: str, wrong: list[Violation]) -> tuple[str, ...]:
    parsed = [checked(wrong, parse_entry, name, f"{at}[{i}]") or ("", "", 0) for i, name in enumerate(pb)]
    return tuple(f"{contributor}/{hash_set}/{entry_id}" for contributor, hash_set, entry_id in parsed)


def columns_to_pb(records: Sequence[Record], into: v1.RecordColumns | None = None) -> v1.RecordColumns:
    """Return the message of records as columns: `into`, which must be empty, where it is given.

    Raises InvalidArgument for text that is not Unicode, a number that does not fit, and what is no record.
    """
    pb = v1.RecordColumns() if into is None else into
    templates: dict[tuple[Any, ...], int] = {}
    sequences: dict[tuple[str, ...], int] = {}
    try:
        pb.positions.extend([record.position for record in records])
        shared = list(map(_shared_of, records))
        pb.template_indexes.extend([templates.setdefault(one, len(templates)) for one in shared])
        algorithms = [tuple(map(_algorithm_of, record.hashes)) for record in records]
        pb.sequence_indexes.extend([sequences.setdefault(one, len(sequences)) for one in algorithms])
        pb.digests = b"".join(map(_digest_of, chain.from_iterable(record.hashes for record in records)))
        own = zip(*map(_own_of, records), strict=True)
    except (AttributeError, TypeError) as e:
        raise InvalidArgument.field("items", f"must be Record, its hashes a sequence of Hash ({e})") from e
    except ValueError as e:
        raise _unsendable(records) from e
    try:
        for values in templates:
            template = Record(position="", **dict(zip(_SHARED, values, strict=True)))
            pb.templates.append(record_to_pb(template))
        pb.sequences.extend(v1.AlgorithmSequence(algorithms=sequence) for sequence in sequences)
        for f, column in zip(item.OWN, own, strict=bool(records)):
            if any(value != f.default for value in column):
                sent = [_NOT_STATED if v is None else v for v in column] if f.kind is FieldKind.NUMBER else column
                getattr(pb, f.column).extend(sent)
    except (ValueError, InvalidArgument) as e:
        raise _unsendable(records) from e
    return pb


def _unsendable(records: Sequence[Record]) -> InvalidArgument:
    return unsendable(f"records at {records[0].position[:80]!r} and after")


def columns_from_pb(pb: v1.RecordColumns, at: str = "columns") -> list[Record]:
    """Return the records, or raise InvalidArgument with what is wrong with them."""
    wrong: list[Violation] = []
    positions = list(pb.positions)
    count = len(positions)
    _check_texts(positions, f"{at}.positions", wrong, required=True)
    template_of, sequence_of = list(pb.template_indexes), list(pb.sequence_indexes)
    _check_indexes(template_of, count, len(pb.templates), f"{at}.template_indexes", wrong)
    _check_indexes(sequence_of, count, len(pb.sequences), f"{at}.sequence_indexes", wrong)
    refuse(wrong)
    sizes = [template.ByteSize() for template in pb.templates]
    shared = sum(sizes[i] for i in template_of)
    if shared > _MAX_SHARED_BYTES:
        text = f"must come to at most {_MAX_SHARED_BYTES} bytes over all records, got {shared}; send smaller batches"
        raise InvalidArgument.field(f"{at}.templates", text, "TOO_LONG")
    sequences = _sequences(pb.sequences, f"{at}.sequences", wrong)
    own = {f.name: values for f in item.OWN if (values := _own(f, pb, count, at, wrong)) is not None}
    templates = _templates(pb.templates, f"{at}.templates", wrong)
    refuse(wrong)
    widths = [sum(WIDTHS[name] for name in sequence) for sequence in sequences]
    expected = sum(widths[i] for i in sequence_of)
    if len(pb.digests) != expected:
        text = f"must be the {expected} bytes that the sequences of algorithms have, got {len(pb.digests)}"
        raise InvalidArgument.field(f"{at}.digests", text, "WRONG_LENGTH")
    records, start, replace = [], 0, msgspec.structs.replace
    parts = [tuple((name, WIDTHS[name]) for name in sequence) for sequence in sequences]
    digests = pb.digests
    for number, position in enumerate(positions):
        given = []
        for name, width in parts[sequence_of[number]]:
            given.append(Hash(name, digests[start : start + width]))
            start += width
        stated = {name: values[number] for name, values in own.items()}
        template = templates[template_of[number]]
        records.append(replace(template, position=position, hashes=tuple(given), **stated))
    return records


def _templates(templates: Sequence[v1.Record], at: str, wrong: list[Violation]) -> list[Record]:
    """Return the templates, which have nothing that differs from record to record."""
    for i, template in enumerate(templates):
        # A look at all of them together: the list of a message's fields takes ten times as long.
        if any(_own_texts_of(template)) or template.hashes or any(map(template.HasField, _OWN_NUMBERS)):
            given = {field.name for field, _ in template.ListFields()}
            wrong += [
                Violation(f"{at}[{i}].{name}", "stands in a column of its own; must not be given here", "NOT_ALLOWED")
                for name in ("position", "hashes", *(f.wire for f in item.OWN))
                if name in given
            ]
        template.position = _PLACE
    try:
        read = records_from_pb(templates, at)
    except InvalidArgument as e:
        wrong += e.violations
        return []
    return [msgspec.structs.replace(record, position="") for record in read]


def _sequences(sequences: Sequence[v1.AlgorithmSequence], at: str, wrong: list[Violation]) -> list[tuple[str, ...]]:
    """Return the sequences of algorithms by their canonical names."""
    read = []
    for i, sequence in enumerate(sequences):
        names = []
        if len(sequence.algorithms) > MAX_HASHES_PER_ENTRY:
            text = f"must be at most {MAX_HASHES_PER_ENTRY}, got {len(sequence.algorithms)}"
            wrong.append(Violation(f"{at}[{i}].algorithms", text, "TOO_MANY"))
            continue
        for j, name in enumerate(sequence.algorithms):
            try:
                names.append(hashes.algorithm(name).name)
            except InvalidArgument as e:
                wrong.append(Violation(f"{at}[{i}].algorithms[{j}]", e.message, e.violations[0].reason))
        read.append(tuple(names))
    return read


def _own(f: Field, pb: v1.RecordColumns, count: int, at: str, wrong: list[Violation]) -> list[Any] | None:
    """Return a column of a field, None where no record states it."""
    values, where = list(getattr(pb, f.column)), f"{at}.{f.column}"
    if not values:
        return None
    if len(values) != count:
        text = f"must be one for each of the {count} records or none, got {len(values)}"
        wrong.append(Violation(where, text, "WRONG_LENGTH"))
    elif f.kind is FieldKind.TEXT:
        _check_texts(values, where, wrong)
    elif min(values) < _NOT_STATED or max(values) > f.maximum:
        text = f"must be between 0 and {f.maximum}, or {_NOT_STATED} where it is not stated"
        wrong += [
            Violation(f"{where}[{i}]", f"{text}, got {v}", "OUT_OF_RANGE")
            for i, v in enumerate(values)
            if not _NOT_STATED <= v <= f.maximum
        ]
    else:
        values = [None if v == _NOT_STATED else v for v in values]
    return values


def _check_texts(texts: Sequence[str], at: str, wrong: list[Violation], *, required: bool = False) -> None:
    """Note what is wrong with texts; the usual case takes one look at all of them together."""
    together = "".join(texts)
    if "\0" in together or max(map(len, texts), default=0) > MAX_TEXT:
        for i, text in enumerate(texts):
            check_text(text, f"{at}[{i}]", wrong)
    if required and not all(texts):
        wrong += [Violation(f"{at}[{i}]", "must not be empty", "REQUIRED") for i, text in enumerate(texts) if not text]


def _check_indexes(indexes: Sequence[int], count: int, limit: int, at: str, wrong: list[Violation]) -> None:
    if len(indexes) != count:
        text = f"must be one for each of the {count} records, got {len(indexes)}"
        wrong.append(Violation(at, text, "WRONG_LENGTH"))
    elif max(indexes, default=-1) >= limit:
        wrong.append(Violation(at, f"must be below {limit}, got {max(indexes)}", "OUT_OF_RANGE"))
