"""Records as columns, message to model and back (`hashhub.columns`).

What stands in the message once and counts for many records is bounded by what it comes to for all of them: a small
message must not become a large batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import Any, Final

import msgspec

from hashhub import hashes, item, v1
from hashhub.columns import RecordColumns
from hashhub.errors import InvalidArgument, Violation
from hashhub.item import Field, Kind
from hashhub.model import MAX_HASHES_PER_ENTRY, MAX_TEXT, Record
from hashhub.wire.fields import WIDTHS, check_text, refuse, unsendable
from hashhub.wire.records import record_to_pb, records_from_pb

_NOT_STATED: Final = -1  # in a column of numbers
_MAX_SHARED_BYTES: Final = 32 * 1024 * 1024  # of templates, counted for each record: as much as a message of rows holds
_PLACE: Final = "template"  # a position is what every record must have
_own_texts_of: Final = attrgetter("position", *(f.wire for f in item.OWN if f.kind is Kind.TEXT))  # of a message
_OWN_NUMBERS: Final = tuple(f.wire for f in item.OWN if f.kind is Kind.NUMBER)


def columns_to_pb(columns: RecordColumns, into: v1.RecordColumns | None = None) -> v1.RecordColumns:
    """Return the message of records as columns: `into`, which must be empty, where it is given.

    Raises InvalidArgument for text that is not Unicode or a number that does not fit.
    """
    pb = v1.RecordColumns() if into is None else into
    try:
        pb.positions.extend(columns.positions)
        pb.templates.extend(map(record_to_pb, columns.templates))
        pb.template_indexes.extend(columns.template_of)
        pb.sequences.extend(v1.AlgorithmSequence(algorithms=sequence) for sequence in columns.sequences)
        pb.sequence_indexes.extend(columns.sequence_of)
        pb.digests = columns.digests
        for f in item.OWN:
            if (values := columns.own.get(f.name)) is not None:
                sent = [_NOT_STATED if v is None else v for v in values] if f.kind is Kind.NUMBER else values
                getattr(pb, f.column).extend(sent)
    except (ValueError, InvalidArgument) as e:
        raise unsendable(f"records at {columns.positions[0][:80]!r} and after") from e
    return pb


def columns_from_pb(pb: v1.RecordColumns, at: str = "columns") -> RecordColumns:
    """Return the records as columns, or raise InvalidArgument with what is wrong with them."""
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
    return RecordColumns(
        positions=positions,
        templates=templates,
        template_of=template_of,
        sequences=sequences,
        sequence_of=sequence_of,
        digests=pb.digests,
        own=own,
    )


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
    elif f.kind is Kind.TEXT:
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
