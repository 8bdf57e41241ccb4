"""Records as columns: what a batch of them is on the wire and until it is staged, at a third of the cost of rows.

Records of one list differ in little: position, digests and the fields `item.OWN`. All else they share with many others,
so that it is kept once, as a *template*: a record without those. The algorithms of a record's hashes are kept once for
all that have the same ones, in the same order. `columns_of` and `RecordColumns.record` are each other's inverse.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate, chain, repeat
from operator import attrgetter
from typing import Any, Final

import msgspec

from hashhub import item
from hashhub.hashes import ALGORITHMS, Hash
from hashhub.model import Record

_OWN: Final = tuple(f.name for f in item.OWN)
_DEFAULTS: Final = tuple(f.default for f in item.OWN)
_own_of: Final = attrgetter(*_OWN)
_algorithm_of: Final = attrgetter("algorithm")
_digest_of: Final = attrgetter("digest")
_SHARED: Final = tuple(f for f in Record.__struct_fields__ if f not in {"position", "hashes", *_OWN})
_shared_of: Final = attrgetter(*_SHARED)
_WIDTHS: Final = {name: a.digest_bytes for name, a in ALGORITHMS.items()}


class RecordColumns(msgspec.Struct, frozen=True):
    """Records by number, in their order.

    `template_of` and `sequence_of` are indexes. `sequences`: of algorithms; `digests`: of all records, in a row.
    `own`: the fields that differ, by name; one that no record states is missing.
    """

    positions: Sequence[str]
    templates: Sequence[Record]
    template_of: Sequence[int]
    sequences: Sequence[tuple[str, ...]]
    sequence_of: Sequence[int]
    digests: bytes
    own: Mapping[str, Sequence[Any]]

    def __len__(self) -> int:
        return len(self.positions)

    def starts(self) -> list[int]:
        """Return where the digests of each record begin, and at last where all end."""
        widths = [sum(_WIDTHS[name] for name in sequence) for sequence in self.sequences]
        return list(accumulate(map(widths.__getitem__, self.sequence_of), initial=0))

    def record(self, number: int, start: int) -> Record:
        """Return a record; `start`: where its digests begin."""
        hashes = []
        for name in self.sequences[self.sequence_of[number]]:
            end = start + _WIDTHS[name]
            hashes.append(Hash(name, self.digests[start:end]))
            start = end
        own = {name: values[number] for name, values in self.own.items()}
        template = self.templates[self.template_of[number]]
        return msgspec.structs.replace(template, position=self.positions[number], hashes=tuple(hashes), **own)

    def part(self, first: int, last: int, starts: Sequence[int]) -> RecordColumns:
        """Return the records from number `first` to before `last`; `starts`: what `starts` returns."""
        here = slice(first, last)
        return RecordColumns(
            positions=self.positions[here],
            templates=self.templates,
            template_of=self.template_of[here],
            sequences=self.sequences,
            sequence_of=self.sequence_of[here],
            digests=self.digests[starts[first] : starts[last]],
            own={name: values[here] for name, values in self.own.items()},
        )

    def records(self) -> list[Record]:
        """Return all records."""
        return [self.record(number, start) for number, start in zip(range(len(self)), self.starts(), strict=False)]


def columns_of(records: Iterable[Record]) -> RecordColumns:
    """Return the records as columns."""
    positions: list[str] = []
    templates: dict[tuple[Any, ...], int] = {}
    template_of: list[int] = []
    sequences: dict[tuple[str, ...], int] = {}
    sequence_of: list[int] = []
    digests: list[bytes] = []
    own: list[tuple[Any, ...]] = []
    for record in records:
        positions.append(record.position)
        shared = _shared_of(record)
        number = templates.get(shared)
        if number is None:
            number = templates[shared] = len(templates)
        template_of.append(number)
        hashes = record.hashes
        algorithms = tuple(map(_algorithm_of, hashes))
        number = sequences.get(algorithms)
        if number is None:
            number = sequences[algorithms] = len(sequences)
        sequence_of.append(number)
        digests.extend(map(_digest_of, hashes))
        own.append(_own_of(record))
    columns = zip(_OWN, _DEFAULTS, zip(*own, strict=True) if own else [()] * len(_OWN), strict=True)
    return RecordColumns(
        positions=positions,
        templates=[Record(position="", **dict(zip(_SHARED, shared, strict=True))) for shared in templates],
        template_of=template_of,
        sequences=list(sequences),
        sequence_of=sequence_of,
        digests=b"".join(digests),
        own={name: values for name, default, values in columns if any(value != default for value in values)},
    )


def joined(parts: Sequence[RecordColumns]) -> RecordColumns:
    """Return the records of all parts, one part after the other."""
    templates: list[Record] = []
    numbers: dict[tuple[Any, ...], int] = {}  # of templates, by what they say
    numbers_by_id: dict[int, int] = {}  # parts of one list share their templates
    sequences: dict[tuple[str, ...], int] = {}
    template_of: list[int] = []
    sequence_of: list[int] = []
    shared: Sequence[Record] | None = None  # the templates of the part before
    renumbered: dict[int, int] = {}
    for part in parts:
        if part.templates is not shared:
            shared, renumbered = part.templates, {}
        for i in dict.fromkeys(part.template_of):
            if i in renumbered:
                continue
            template = part.templates[i]
            number = numbers_by_id.get(id(template))
            if number is None:
                number = numbers.setdefault(_shared_of(template), len(templates))
                numbers_by_id[id(template)] = number
                if number == len(templates):
                    templates.append(template)
            renumbered[i] = number
        template_of += map(renumbered.__getitem__, part.template_of)
        used = {i: part.sequences[i] for i in dict.fromkeys(part.sequence_of)}
        places = {i: sequences.setdefault(sequence, len(sequences)) for i, sequence in used.items()}
        sequence_of += map(places.__getitem__, part.sequence_of)
    own = {
        name: list(chain.from_iterable(part.own.get(name, repeat(default, len(part))) for part in parts))
        for name, default in zip(_OWN, _DEFAULTS, strict=True)
        if any(value != default for part in parts for value in part.own.get(name, ()))
    }
    return RecordColumns(
        positions=list(chain.from_iterable(part.positions for part in parts)),
        templates=templates,
        template_of=template_of,
        sequences=list(sequences),
        sequence_of=sequence_of,
        digests=b"".join(part.digests for part in parts),
        own=own,
    )
