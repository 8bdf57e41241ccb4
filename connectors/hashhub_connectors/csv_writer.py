"""Delimited text by a column mapping, the one that `csv` reads it with; or, without one, a full table.

Without the option `mapping` the table has a column for everything that a mapping can name, and one with the entry's
name; `own_mapping` is the mapping with which it is read back. With one it has that mapping's columns in its order, and
the values as its `[values]` spell them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import BinaryIO, Final

from hashhub import hashes
from hashhub.connector import Exported, Loss, Option, check_options
from hashhub.errors import InvalidArgument
from hashhub.model import NO_FLAGS, Entry, Flags
from hashhub_connectors import outgoing
from hashhub_connectors.csv_mapping import Columns, read_mapping
from hashhub_connectors.outgoing import Cells, Output, Speller, UnsupportedFields, is_plain, keeps_formulas, unwritable

_WHAT: Final = "the table"
_DIGESTS: Final = ("md5", "sha1", "sha256", "pdq", "phash", "dhash", "photodna")
_FIELDS: Final = (
    "value", "external_id", "series", "media_type", "media_size", "source_time", "expire_time", "quality", "tags",
)  # fmt: skip
_FLAGS: Final = Flags.__struct_fields__
_FLAG: Final = {True: "yes", False: "no", None: ""}
_NAME: Final = "entry"


class CSVWriter:
    """Writes delimited text."""

    name = "csv"
    version = "1"
    summary = "delimited text: by a column mapping in TOML, or a full table"
    options: tuple[Option, ...] = (
        Option("mapping", "the column mapping, as TOML text, that the reader will use; a full table unless given"),
        Option("formulas", "keep: write texts that a spreadsheet would calculate; unless given, they are lost"),
    )
    reads_back = "csv"
    has_withdrawals = False
    suffix = ".csv"

    def reading_options(self, exported: Exported, options: Mapping[str, str]) -> Mapping[str, str]:
        """Return the mapping with which the table is read."""
        return {"mapping": options.get("mapping") or own_mapping(outgoing.only_scheme(exported))}

    def write(
        self, entries: Iterable[Entry], target: BinaryIO, exported: Exported, options: Mapping[str, str]
    ) -> Iterator[Loss]:
        """Write a header and a row for each entry.

        Raises InvalidArgument for a wrong mapping, and for benign or test items beside others.
        """
        check_options(self, options)
        mapping = read_mapping(self.reading_options(exported, options)["mapping"])
        named = _names(mapping)
        if len(set(named)) < len(named):
            twice = sorted({n for n in named if named.count(n) > 1})
            raise InvalidArgument.field(
                "options.mapping", f"reads several fields from one column ({', '.join(twice)[:80]})", "DUPLICATE"
            )
        outgoing.refuse_mixed_purposes(exported, _WHAT)
        cells = Cells(mapping.delimiter, keeps_formulas=keeps_formulas(options.get("formulas", "")))
        row = _Row(mapping, cells, exported, has_names=not options.get("mapping"))
        output = Output(target)
        yield from outgoing.about_the_file(exported, _WHAT, scheme=row.unnamed_scheme, listed=not row.has_values)
        output.put(mapping.delimiter.join(map(cells.quoted, row.header)) + "\n")
        for entry in entries:
            refused = outgoing.withheld(entry, exported, has_withdrawals=False) or row.refuses(entry)
            if refused is not None:
                yield refused
                continue
            text, losses = row.of(entry)
            output.put(text)
            yield from losses
        output.flush()


def own_mapping(scheme: str) -> str:
    """Return the mapping of the full table, whose values are of this scheme (`id@version`, or empty)."""
    lines = [
        "# How hashhub reads the full table that it writes: hashhub import FILE --format csv --mapping THIS",
        'delimiter = ","',
        'encoding = "utf-8"',
        *([f"scheme = {json.dumps(scheme)}"] if scheme else []),
        "",
        "[columns]",
        *(f'{name} = "{name}"' for name in (*_DIGESTS, *_FIELDS)),
        "",
        "[flags]",
        *(f'{name} = "{name}"' for name in _FLAGS),
    ]
    return "\n".join(lines) + "\n"


def _names(mapping: Columns) -> list[str]:
    """Return the columns to write. Raises InvalidArgument for a mapping that no header with a column each can say."""
    if mapping.encoding != "utf-8":
        raise InvalidArgument.field(
            "options.mapping.encoding", f"is {mapping.encoding}; files are written in utf-8", "WORD"
        )
    beyond = {
        "header": not mapping.layout.has_header,
        "skip": mapping.layout.skip > 0,
        "constants": bool(mapping.constants or mapping.flags_stated),
        "defaults": bool(mapping.defaults),
        "words": any(mapping.words.values()),
        "decimal": bool(mapping.decimal),
        "date_order": bool(mapping.date_order),
        "utc_offset": mapping.utc_offset is not None,
        "columns": any(not a or mapping.columns.get(a.lower()) != column for a, column in mapping.digests),
    }
    if wrong := [name for name, is_so in beyond.items() if is_so]:
        raise InvalidArgument.field(
            f"options.mapping.{wrong[0]}",
            "can be read, but not written: a table is written with a header, a column for each field, and nothing that "
            "the mapping adds; leave it out",
            "NOT_ALLOWED",
        )
    columns = [*mapping.columns.values(), *mapping.tags, *mapping.flags.values()]
    return [name for name in columns if isinstance(name, str)]


class _Row:
    """Rows of one table: which column has what."""

    def __init__(self, mapping: Columns, cells: Cells, exported: Exported, *, has_names: bool) -> None:
        columns = mapping.columns
        self._cells, self._delimiter = cells, mapping.delimiter
        self._has_names = has_names
        self.has_values = "value" in columns
        scheme = mapping.scheme or outgoing.only_scheme(exported)
        self.unnamed_scheme = scheme if self.has_values and scheme and not mapping.scheme else ""
        self._spelling = {value: raw for raw, value in mapping.values.items()}
        taken = mapping.values.keys()
        self._values = Speller(
            _WHAT,
            scheme if self.has_values else "",
            exported,
            # A value that the mapping would read as another one cannot be spelled by itself.
            lambda value: is_plain(value) and (value in self._spelling or value not in taken),
        )
        # Without a column of values being listed is the claim.
        self._listing = None if self.has_values else outgoing.PurposeCheck(exported, _WHAT)
        self._algorithms = [name.upper() for name in _DIGESTS if name in columns]
        self._flags = [name for name in _FLAGS if name in mapping.flags]
        self._texts = [name for name in ("external_id", "series", "media_type", "source_time") if name in columns]
        self._has = {name for name in (*_FIELDS, *_DIGESTS) if name in columns}
        self._tags = mapping.tags
        names = mapping.names
        self.header = [*map(str, names), *([_NAME] if has_names else [])]
        self._at = {name: i for i, name in enumerate(names)}
        self._places = {field: self._at[name] for field, name in columns.items()}
        self._flag_places = [(field, self._at[mapping.flags[field]]) for field in self._flags]
        self._width = len(names)
        missing = [f for f in ("external_id", "series", "media_type", "media_size", "source_time", "expire_time",
                               "quality") if f not in columns]  # fmt: skip
        if not self._tags:
            missing.append("tags")
        self._no_place = UnsupportedFields(_WHAT, "member", "extra", *missing)

    def refuses(self, entry: Entry) -> Loss | None:
        """Return why the entry has no row, or None."""
        if self._listing is not None and (refused := self._listing.refuses(entry)) is not None:
            return refused
        if not any(h.algorithm in self._algorithms for h in entry.hashes):
            return Loss(entry.name, "entry", "NO_HASH", f"the entry has no digest of {', '.join(self._algorithms)}")
        return None

    def of(self, entry: Entry) -> tuple[str, list[Loss]]:
        """Return the line of an entry, and what it does not tell."""
        row = [""] * self._width
        losses: list[Loss] = []
        places = self._places
        for value in entry.hashes:
            at = places.get(value.algorithm.lower())
            if at is not None and not row[at]:
                row[at] = self._cells.quoted(hashes.encode(value))
            else:
                reason = "NO_PLACE" if at is None else "MORE_THAN_ONE"
                detail = f"{_WHAT} has {'no' if at is None else 'one'} column for {value.algorithm} digests"
                lost_hash = Loss(entry.name, f"hash:{value.algorithm}", reason, detail)
                if lost_hash not in losses:
                    losses.append(lost_hash)
        said = self._values.of(entry)
        if said.value:
            row[places["value"]] = self._cells.quoted(self._spelling.get(said.value, said.value))
        if said.reason:
            losses.append(Loss(entry.name, "value", said.reason, said.detail))
        for field in self._texts:
            if text := getattr(entry, field):
                cell, loss = self._cells.text(entry, field, text)
                if field == "media_type" and loss is None and text != text.lower():
                    cell, loss = "", unwritable(entry, field)
                row[places[field]] = cell
                if loss is not None:
                    losses.append(loss)
        if entry.media_size is not None and "media_size" in places:
            row[places["media_size"]] = str(entry.media_size)
        if entry.quality is not None and "quality" in places:
            row[places["quality"]] = str(entry.quality)
        if entry.expire_time is not None and "expire_time" in places:
            row[places["expire_time"]] = entry.expire_time.isoformat()
        if entry.flags is not NO_FLAGS:
            self._put_flags(entry, row, losses)
        if entry.tags and self._tags:
            self._put_tags(entry, row, losses)
        losses += self._no_place.losses(entry)
        if self._has_names:
            row.append(entry.name)
        return self._delimiter.join(row) + "\n", losses

    def _put_flags(self, entry: Entry, row: list[str], losses: list[Loss]) -> None:
        for field, at in self._flag_places:
            row[at] = _FLAG[getattr(entry.flags, field)]
        left = [n for n in _FLAGS if n not in self._flags and getattr(entry.flags, n) is not None]
        if left:
            losses.append(Loss(entry.name, "flags", "NO_PLACE", f"{_WHAT} has no column for {', '.join(left)}"))

    def _put_tags(self, entry: Entry, row: list[str], losses: list[Loss]) -> None:
        """Put the tags into the first of their columns, as `csv` splits them: at commas."""
        tags = [t for t in entry.tags if t and "," not in t and is_plain(t)]
        cell, loss = self._cells.text(entry, "tags", ",".join(tags)) if tags else ("", None)
        if len(tags) < len(entry.tags) and loss is None:
            loss = unwritable(entry, "tags")
        row[self._at[self._tags[0]]] = cell
        if loss is not None:
            losses.append(loss)
