"""Many Media of VICS at once, as columns: what `vics_media` makes of each, at a third of the cost.

Media of a hash set have the same keys, and share the values of most of them. What is shared is read once, as a
template; digests, sizes and dates are looked at a column at a time. A Media of which anything is unusual is read alone.
"""

from __future__ import annotations

import re
from binascii import a2b_base64, a2b_hex
from collections.abc import Sequence
from itertools import chain, compress
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import UNSET

from hashhub.columns import RecordColumns
from hashhub.connector import LeftOut
from hashhub.model import Record, Reject
from hashhub_connectors import items
from hashhub_connectors.flat_objects import FlatObjects, Table
from hashhub_connectors.json_stream import JSONReader
from hashhub_connectors.vics_media import (
    DIGESTS,
    KNOWN_KEPT,
    MEDIA,
    SHARED_FIELDS,
    USUAL,
    is_plain,
    is_usual,
    read_alone,
    record_of,
)

SEEN_FIRST: Final = 64  # Media of an array, before many are read at once
_MOST_FAILURES: Final = 12  # after which 262,144 Media are read alone before the next try
_NOTHING: Final = frozenset({type(None)})
_UNSTATED: Final = frozenset({None, ""})
_OF_CASES: Final = ("Media", "Media@odata.nextLink")
_ANY_MD5: Final = "0" * 32
_DIGITS: Final = {"MD5": 32, "SHA1": 40, "PHOTODNA": 192}  # of the usual spellings
_HEX_ONLY: Final = re.compile(r"[0-9A-Fa-f]+")


class ManyMedia:
    """Reads the Media of an array many at a time, once some of them were seen.

    `next_look`: the index of the Media from which it is worth a try. Each try that fails doubles how many are read
    alone before the next one.
    """

    def __init__(self, name: str, region: str, scheme: str, left_out: LeftOut) -> None:
        """`name`: of the array, in positions. `region`, `scheme`: as in `record_of`."""
        self._name, self._region, self._scheme = name, region, scheme
        self._left_out = left_out
        self._failures = 0
        self.next_look = SEEN_FIRST
        self._objects = FlatObjects()
        self._layout: _Layout | None = None

    def see(self, element: object) -> None:
        """Take note of an element that was read alone."""
        if self._objects.see(element):
            self._layout = None

    def take(self, reader: JSONReader, first: int) -> tuple[int, list[Record | Reject | RecordColumns]]:
        """Go past elements from the cursor on, of which the first is number `first`, and return how many they are, and
        their items; 0, staying before them, where they must be read alone.
        """
        if self._layout is None:
            if not _is_usual_list(self._objects):
                self._objects = FlatObjects()
                self._read_alone_until(first)
                return 0, []
            self._layout = _Layout(self._objects, self._region, self._scheme)
        layout = self._layout
        tried: list[str] = []

        def read(text: str) -> Table | None:
            tried.append(text)
            return layout.read(text)

        table = reader.objects(read)
        if table is None:
            # What was in the way is among those that were tried, and must be seen before the next try.
            self._read_alone_until(first + sum(text.count("{") for text in tried))
            return 0, []
        for key in layout.left_out:
            values = table.columns[key]
            self._left_out.see(key, len(values) - sum(map(values.count, (UNSET, None, ""))))
        return table.count, self._items(table, layout.media(table), first)

    def _items(self, table: Table, media: _Media, first: int) -> list[Record | Reject | RecordColumns]:
        if len(media.odd) > table.count // 4:
            self._read_alone_until(first + table.count)
        else:
            self._failures = 0
        read: list[Record | Reject | RecordColumns] = []
        start = 0
        for end in (*sorted(media.odd), table.count):
            positions = [f"{self._name}[{index}]" for index in range(first + start, first + end)]
            if positions:
                columns = media.columns(slice(start, end), positions)
                if columns is None:  # a digest is none
                    read += [self._alone(table, number, first) for number in range(start, end)]
                else:
                    read.append(columns)
            if end < table.count:
                read.append(self._alone(table, end, first))
            start = end + 1
        return read

    def _alone(self, table: Table, number: int, first: int) -> Record | Reject:
        position = f"{self._name}[{first + number}]"
        return record_of(position, table.object(number), self._region, self._scheme, LeftOut())  # counted before

    def _read_alone_until(self, index: int) -> None:
        self.next_look = index + (SEEN_FIRST << self._failures)
        self._failures = min(self._failures + 1, _MOST_FAILURES)


def _is_usual_list(objects: FlatObjects) -> bool:
    """Whether Media like these can be read as columns."""
    return (
        objects.is_flat
        and any(objects.types(key) for key, _ in DIGESTS)
        and not any(objects.types(key) for key in _OF_CASES)
        and objects.types("AlternativeHashes") | objects.types("Segments") <= _NOTHING
        and objects.types("MediaSize") <= _NOTHING | {int}
        and all(objects.types(key) <= _NOTHING | {str} for key in ("DateUpdated", *dict(DIGESTS)))
    )


class _Media(NamedTuple):
    """The Media of a table by number. `odd`: those that must be read alone; all else holds only of the others.

    `digests`: of each algorithm, their texts; empty where there is none.
    """

    odd: set[int]
    templates: Sequence[Record]
    template_of: Sequence[int]
    digests: dict[str, Sequence[str]]
    own: dict[str, Sequence[Any]]

    def columns(self, here: slice, positions: list[str]) -> RecordColumns | None:
        """Return Media of which none is odd; None where a digest is none."""
        texts = {algorithm: column[here] for algorithm, column in self.digests.items()}
        try:
            digests = _digests(texts)
        except ValueError:
            return None
        sequences = {tuple(texts): 0}
        sequence_of = [0] * len(positions)
        if any("" in column for column in texts.values()):
            given = [tuple(compress(texts, of_one)) for of_one in zip(*texts.values(), strict=True)]
            sequences = {sequence: number for number, sequence in enumerate(dict.fromkeys(given))}
            sequence_of = [sequences[sequence] for sequence in given]
        own = {name: values[here] for name, values in self.own.items()}
        return RecordColumns(
            positions=positions,
            templates=self.templates,
            template_of=self.template_of[here],
            sequences=list(sequences),
            sequence_of=sequence_of,
            digests=digests,
            own={name: values for name, values in own.items() if any(value not in _UNSTATED for value in {*values})},
        )


class _Layout:
    """What there is to do for Media that have some of the same keys."""

    def __init__(self, objects: FlatObjects, region: str, scheme: str) -> None:
        self.read = objects.reader()
        self._region, self._scheme = region, scheme
        keys = objects.keys
        self._digests = [(key, algorithm) for key, algorithm in DIGESTS if key in keys]
        self._shared = [key for key in keys if key in SHARED_FIELDS]
        self.left_out = [key for key in keys if key not in MEDIA]
        self._forget_templates()

    def media(self, table: Table) -> _Media:
        """Return what the Media of a table say."""
        odd: set[int] = set()
        columns = table.columns
        digests: dict[str, Sequence[str]] = {}
        for key, algorithm in self._digests:
            digests[algorithm] = texts = [text or "" for text in columns[key]]
            usual = {0, _DIGITS[algorithm]}
            if not usual.issuperset(map(len, texts)):
                odd.update(number for number, text in enumerate(texts) if len(text) not in usual)
        if all("" in texts for texts in digests.values()):
            odd.update(number for number, texts in enumerate(zip(*digests.values(), strict=True)) if not any(texts))
        own: dict[str, Sequence[Any]] = {}
        if "MediaSize" in columns:
            own["media_size"] = sizes = [None if size is UNSET else size for size in columns["MediaSize"]]
            odd.update(n for n, size in enumerate(sizes) if size is not None and not 0 <= size <= items.MAX_SIZE)
        if "DateUpdated" in columns:
            own["source_time"] = times = [time or "" for time in columns["DateUpdated"]]
            together = "".join(times)
            if " " in together or not together.isprintable() or max(map(len, times)) > USUAL:
                odd.update(number for number, time in enumerate(times) if not is_plain(time))
        template_of = self._templates_of(table, odd)
        own["extra"] = list(map(self._template_extras.__getitem__, template_of))
        return _Media(odd, self._templates, template_of, digests, own)

    def _forget_templates(self) -> None:
        self._numbers: dict[tuple[object, ...], int] = {}  # of templates, by the shared values
        self._templates = [Record(position="")]  # the first one stands for odd Media
        self._template_extras = [""]

    def _templates_of(self, table: Table, odd: set[int]) -> list[int]:
        """Return the number of each Media's template; Media that have none are odd."""
        if len(self._numbers) >= KNOWN_KEPT:
            self._forget_templates()
        shared = [*zip(*map(table.columns.__getitem__, self._shared), strict=True)] or [()] * table.count
        numbers = [*map(self._numbers.get, shared)]
        if None not in numbers:
            return numbers  # type: ignore[return-value] # mypy does not know
        template_of = []
        for n, values in enumerate(shared):
            number = self._template(values)
            if not number:
                odd.add(n)
            template_of.append(number)
        return template_of

    def _template(self, values: tuple[object, ...]) -> int:
        """Return the number of the template of these shared values; 0 where something about them is unusual."""
        if (number := self._numbers.get(values)) is not None:
            return number
        media = {key: value for key, value in zip(self._shared, values, strict=True) if value is not UNSET}
        if not all(map(is_usual, media.values())):
            return 0
        record = read_alone("", {**media, "MD5": _ANY_MD5}, self._region, self._scheme, LeftOut())
        if isinstance(record, Reject) or record.faults:
            return 0
        number = self._numbers[values] = len(self._templates)
        self._templates.append(msgspec.structs.replace(record, hashes=(), extra=""))
        self._template_extras.append(record.extra)
        return number


def _digests(texts: dict[str, Sequence[str]]) -> bytes:
    """Return the digests of records in a row, each record's in the order of the algorithms.

    `texts`: of each algorithm, as long as its usual spelling is, or empty. Raises ValueError where one is no digest.
    """
    if "PHOTODNA" not in texts:
        return a2b_hex("".join(chain.from_iterable(zip(*texts.values(), strict=True))))
    parts = []
    for algorithm, column in texts.items():
        if algorithm != "PHOTODNA":
            parts.append(list(map(a2b_hex, column)))
            continue
        # Text that is hexadecimal, too, is no base64 of the usual kind.
        digests = [b"" if _HEX_ONLY.fullmatch(text) else a2b_base64(text, strict_mode=True) for text in column]
        if [len(digest) * 4 for digest in digests] != [len(text) * 3 for text in column]:
            raise ValueError
        parts.append(digests)
    return b"".join(chain.from_iterable(zip(*parts, strict=True)))
