"""Records as columns: what a batch of them is on the wire, at a third of the cost of rows.

Records of one list differ in little: position, digests and the fields `item.OWN`. All else they share with many others,
so that it is sent once, as a *template*: a record without those. The algorithms of a record's hashes are sent once for
all that have the same ones, in the same order.

What stands in the message once and counts for many records is bounded by what it comes to for all of them: a small
message must not become a large batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from operator import attrgetter
from typing import Any, Final

import msgspec

from hashhub import hashes, item, v1
from hashhub.errors import InvalidArgument, Violation
from hashhub.hashes import Hash
from hashhub.item import Field, FieldKind
from hashhub.model import MAX_HASHES_PER_ENTRY, MAX_TEXT, Record
from hashhub.wire.fields import WIDTHS, check_text, refuse, unsendable
from hashhub.wire.records import record_to_pb, records_from_pb

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
