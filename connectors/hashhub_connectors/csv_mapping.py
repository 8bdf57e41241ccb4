r"""Any delimited list with a header, read by a declared column mapping: for the hotlines whose format nobody published.

The mapping is TOML, given as the option `mapping`. `propose` writes one from a header, for a person to check:

    delimiter = ";"                  # one character; "\t" for a tab
    encoding = "utf-8"
    scheme = "uk-sentencing"         # what the values are of, if it is known: ID or ID@VERSION; a hash set of another
                                     # one refuses them

    [columns]                        # what the hub keeps = the name of the column
    md5 = "MD5 hash"                 # md5, sha1, sha256, pdq, phash, dhash, photodna: at least one
    value = "Category"               # the raw classification
    external_id = "Reference"
    series = "Series"
    media_size = "Bytes"             # a whole number
    media_type = "Mime type"
    source_time = "Added"
    expire_time = "Valid until"      # 2027-01-31, or with a time and its offset from UTC
    quality = "PDQ quality"          # 0 to 100; a fraction is cut
    tags = ["Age band", "Keywords"]  # one column or several

    [flags]                          # victim_identified, offender_identified, distributed, suspected, self_generated
    self_generated = "Self generated"

    [values]                         # what a cell of the value column says = the scheme's value; others stay as is
    "Cat. A" = "A"

Column names are compared exactly, but for surrounding white space.
"""

from __future__ import annotations

import io
import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, BinaryIO, Final

import msgspec

from hashhub.connector import MAX_LINE, Option, check_options
from hashhub.errors import InvalidArgument, MalformedSource, Violation
from hashhub.model import MAX_TEXT, Flags, HashFault, Record, Reject
from hashhub.schemes import is_name
from hashhub_connectors import items
from hashhub_connectors.delimited import Rows
from hashhub_connectors.source import text_encoding

_DIGESTS: Final = ("md5", "sha1", "sha256", "pdq", "phash", "dhash", "photodna")
_TEXTS: Final = ("value", "external_id", "series", "media_type", "source_time", "expire_time", "media_size", "quality")
_FLAGS: Final = Flags.__struct_fields__
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_MAX_QUALITY: Final = 100  # of PDQ, inclusive
_QUALITY: Final = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,9})?")

# Header names that hint at a field, without case and punctuation; the first column that fits a field gets it.
_HINTS: Final = {
    **{name: name for name in _DIGESTS},
    "md5hash": "md5", "hashmd5": "md5", "sha1hash": "sha1", "hashsha1": "sha1", "sha256hash": "sha256",
    "hashsha256": "sha256",
    "pdqhash": "pdq", "hashpdq": "pdq", "imagepdq": "pdq", "perceptualhash": "phash", "differencehash": "dhash",
    "pdna": "photodna",
    "photodnahash": "photodna", "category": "value", "classification": "value", "class": "value", "baseline": "value",
    "grade": "value", "level": "value", "id": "external_id", "imageid": "external_id", "externalid": "external_id",
    "reference": "external_id", "ref": "external_id", "uuid": "external_id", "series": "series", "seriesname": "series",
    "size": "media_size", "filesize": "media_size", "mediasize": "media_size", "bytes": "media_size",
    "mimetype": "media_type",
    "mediatype": "media_type", "date": "source_time", "dateadded": "source_time", "dateupdated": "source_time",
    "timestamp": "source_time", "updated": "source_time", "created": "source_time", "expires": "expire_time",
    "validuntil": "expire_time", "expiry": "expire_time",
    "quality": "quality", "pdqquality": "quality",
    "tags": "tags", "tag": "tags", "keywords": "tags", "labels": "tags", "ageband": "tags",
    "victimidentified": "victim_identified",
    "offenderidentified": "offender_identified", "distributed": "distributed", "isdistributed": "distributed",
    "suspected": "suspected", "issuspected": "suspected", "selfgenerated": "self_generated",
}  # fmt: skip


class Columns(msgspec.Struct, frozen=True, kw_only=True):
    """A checked mapping: field to column name, and the texts that values are translated to."""

    delimiter: str
    encoding: str
    columns: dict[str, str]
    tags: tuple[str, ...]
    flags: dict[str, str]
    values: dict[str, str]
    scheme: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """Every column that the header must have."""
        return tuple(dict.fromkeys((*self.columns.values(), *self.tags, *self.flags.values())))


class MappedCSV:
    """Reads delimited text by a mapping. Positions are `line 12`, where the row begins."""

    name = "csv"
    version = "3"
    summary = "delimited text with a header, by a declared column mapping in TOML"
    options: tuple[Option, ...] = (Option("mapping", "the column mapping, as TOML text", required=True),)

    def has_classifications(self, options: Mapping[str, str]) -> bool:
        """Return whether the mapping names a column of values. Raises InvalidArgument for a wrong mapping."""
        check_options(self, options)
        return "value" in read_mapping(options["mapping"]).columns

    def read(self, source: BinaryIO, options: Mapping[str, str]) -> Iterator[Record | Reject]:
        """Yield one Record or Reject for each row that is not blank.

        Raises InvalidArgument for a wrong mapping, MalformedSource when the header lacks a mapped column, and as `Rows`
        does.
        """
        check_options(self, options)
        mapping = read_mapping(options["mapping"])
        rows = Rows(source, mapping.delimiter, mapping.encoding)
        missing = [name for name in mapping.names if name not in rows.header]
        if missing:
            raise MalformedSource(
                f"the header lacks {items.listing(missing)}; found {items.listing(rows.header)} with the delimiter "
                f"{mapping.delimiter!r}; change the mapping or the file",
                position=rows.header_position,
            )
        twice = [name for name in mapping.names if rows.header.count(name) > 1]
        if twice:
            raise MalformedSource(
                f"the header names {items.listing(twice)} twice; expected it once", position=rows.header_position
            )
        at = {name: rows.header.index(name) for name in mapping.names}
        for row in rows:
            yield row if isinstance(row, Reject) else _record(*row, mapping, at, len(rows.header))


def read_mapping(text: str) -> Columns:
    """Return the checked mapping of a TOML text. Raises InvalidArgument with every violation."""
    try:
        given = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as e:
        where = str(e).rpartition("(")[2].rstrip(")")[:60]
        raise InvalidArgument.field("options.mapping", f"is not TOML ({where})", "NOT_TOML") from e
    wrong: list[Violation] = [
        Violation(
            f"options.mapping.{key[:40]}",
            "unknown; expected delimiter, encoding, scheme, columns, flags or values",
            "UNKNOWN",
        )
        for key in given
        if key not in {"delimiter", "encoding", "scheme", "columns", "flags", "values"}
    ]
    delimiter = given.get("delimiter", ",")
    if not isinstance(delimiter, str) or len(delimiter) != 1 or delimiter in '"\r\n ' or not delimiter.isascii():
        wrong.append(
            Violation("options.mapping.delimiter", "must be one ASCII character such as , or ; or a tab", "PATTERN")
        )
    encoding = given.get("encoding", "utf-8")
    if not isinstance(encoding, str):
        wrong.append(Violation("options.mapping.encoding", "must be a text", "TYPE"))
    scheme = given.get("scheme", "")
    if not isinstance(scheme, str) or (scheme and not is_name(scheme)):
        wrong.append(Violation("options.mapping.scheme", "must be ID or ID@VERSION, such as uk-sentencing", "PATTERN"))
    columns = _table(given, "columns", (*_DIGESTS, *_TEXTS, "tags"), wrong)
    flags = _table(given, "flags", _FLAGS, wrong)
    values = _table(given, "values", None, wrong)
    tags = columns.pop("tags", [])
    if not isinstance(tags, list):
        tags = [tags]
    named = [*((f"columns.{k}", v) for k, v in columns.items()), *(("columns.tags", t) for t in tags)]
    for path, name in (*named, *((f"flags.{k}", v) for k, v in flags.items())):
        if not isinstance(name, str) or not name.strip():
            wrong.append(Violation(f"options.mapping.{path}", "must be the name of a column", "TYPE"))
    if any(not key.strip() for key in values):
        wrong.append(
            Violation("options.mapping.values", "must not say what an empty cell means: it says nothing", "INVALID")
        )
    for key, value in values.items():
        if not isinstance(value, str) or len(value) > MAX_TEXT:
            wrong.append(Violation(f"options.mapping.values.{key[:40]}", "must be a text", "TYPE"))
    if not any(name in columns for name in _DIGESTS):
        wrong.append(Violation("options.mapping.columns", f"must name one of {', '.join(_DIGESTS)}", "REQUIRED"))
    if wrong:
        raise InvalidArgument("; ".join(f"{v.field} {v.description}" for v in wrong), violations=tuple(wrong))
    return Columns(
        delimiter=delimiter,
        encoding=text_encoding("options.mapping.encoding", encoding),
        columns={field: name.strip() for field, name in columns.items()},
        tags=tuple(tag.strip() for tag in tags),
        flags={field: name.strip() for field, name in flags.items()},
        values={raw.strip(): value for raw, value in values.items()},
        scheme=scheme,
    )


def _table(given: dict[str, Any], name: str, known: tuple[str, ...] | None, wrong: list[Violation]) -> dict[str, Any]:
    table = given.get(name, {})
    if not isinstance(table, dict):
        wrong.append(Violation(f"options.mapping.{name}", "must be a table", "TYPE"))
        return {}
    if known is not None:
        wrong += [
            Violation(f"options.mapping.{name}.{key[:40]}", f"unknown; expected {', '.join(known)}", "UNKNOWN")
            for key in table
            if key not in known
        ]
    return dict(table)


def propose(header_bytes: bytes) -> str:
    """Return the TOML of a mapping for a file that begins with `header_bytes`, for a person to check: only the first
    line is read.

    Raises MalformedSource when there is no header in them.
    """
    encoding, note = _guess_encoding(header_bytes)
    first = header_bytes.decode(encoding, errors="replace").removeprefix("\ufeff").split("\n", 1)[0].rstrip("\r")
    if not first.strip() or len(first) > MAX_LINE:
        raise MalformedSource("there is no header; expected a first line of column names", position="line 1")
    delimiter = max(",;\t|", key=first.count)
    header = Rows(io.BytesIO(first.encode()), delimiter).header
    labels_by_field: dict[str, list[str]] = {}
    unused: list[str] = []
    for name in header:
        field = _HINTS.get("".join(c for c in name.lower() if c.isalnum()), "")
        if not name or header.count(name) > 1 or not field or (field in labels_by_field and field != "tags"):
            unused.append(name)
        else:
            labels_by_field.setdefault(field, []).append(name)
    lines = [
        "# A proposal made from the header alone. Check every line before you import with it.",
        f"delimiter = {_toml(delimiter)}",
        f"encoding = {_toml(encoding)}{note}",
        "",
        "[columns]",
    ]
    lines += [
        f"{field} = {_toml(labels_by_field[field][0])}" for field in (*_DIGESTS, *_TEXTS) if field in labels_by_field
    ]
    if "tags" in labels_by_field:
        lines.append(f"tags = [{', '.join(map(_toml, labels_by_field['tags']))}]")
    if not labels_by_field.keys() & set(_DIGESTS):
        lines.append(f'# No column looks like a digest. Name at least one of {", ".join(_DIGESTS)}: md5 = "COLUMN"')
    lines += [f"# not read: {_toml(name)}" for name in unused]
    if flags := [f"{field} = {_toml(labels_by_field[field][0])}" for field in _FLAGS if field in labels_by_field]:
        lines += ["", "[flags]", *flags]
    if "value" in labels_by_field:
        lines += ["", "[values]", '# "as in the file" = "as in the scheme"']
    return "\n".join(lines) + "\n"


def _guess_encoding(header: bytes) -> tuple[str, str]:
    """Return an encoding that the bytes can be read in, and a comment where it is a guess."""
    if header.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16-le" if header[0] == 0xFF else "utf-16-be", ""  # noqa: PLR2004 - the byte order mark
    try:
        header.split(b"\n", 1)[0].decode()
    except UnicodeDecodeError:
        return "cp1252", "  # a guess: the header is not UTF-8"
    return "utf-8", ""


def _toml(text: str) -> str:
    """Return the text as a TOML basic string. JSON's differ in DEL alone, once nothing is escaped in surrogate
    pairs.
    """
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _record(position: str, cells: list[str], mapping: Columns, at: dict[str, int], count: int) -> Record | Reject:
    if len(cells) != count:
        return Reject(position, "WRONG_COLUMN_COUNT", f"expected {count} cells as in the header, found {len(cells)}")

    def cell(field: str) -> str:
        name = mapping.columns.get(field)
        return cells[at[name]].strip() if name is not None else ""

    faults: list[HashFault] = []
    external_id = cell("external_id")
    if refused := items.bad_id(position, external_id):
        return refused
    value = cell("value")
    value = mapping.values.get(value, value)
    if len(value) > MAX_TEXT:
        return Reject(position, "BAD_FIELD", f"the value has {len(value)} characters; expected at most {MAX_TEXT}")
    expire_time = None
    if until := cell("expire_time"):
        expire_time = _time(until)
        if expire_time is None:  # leaving it out would say: never
            expected = "a date such as 2027-01-31, or a time with its offset from UTC"
            return Reject(position, "BAD_FIELD", f"expire_time is {items.kind(until)}; expected {expected}")
    stated = tuple(cells[at[mapping.flags[field]]] if field in mapping.flags else None for field in _FLAGS)
    tags = ",".join(cells[at[name]] for name in mapping.tags)
    return items.finish(
        position,
        [(field.upper(), digest) for field in _DIGESTS if (digest := cell(field))],
        faults,
        external_id=external_id,
        value=items.text(value, "value", faults),
        scheme=mapping.scheme,
        flags=items.flags(stated, _FLAGS, faults),
        media_type=items.text(cell("media_type"), "media_type", faults).lower(),
        media_size=items.size(cell("media_size"), "media_size", faults),
        series=items.text(cell("series"), "series", faults),
        tags=items.tags(tags, "tags", faults),
        quality=_quality(cell("quality"), faults),
        source_time=items.text(cell("source_time"), "source_time", faults),
        expire_time=expire_time,
    )


def _time(cell: str) -> datetime | None:
    """Return the moment that a cell names; a date alone lasts to its end in UTC. None where it names none."""
    try:
        if _DATE.fullmatch(cell):
            return datetime.combine(date.fromisoformat(cell), time(), UTC) + timedelta(days=1)
        moment = datetime.fromisoformat(cell)
    except (ValueError, OverflowError):
        return None
    return moment if moment.tzinfo is not None else None


def _quality(cell: str, faults: list[HashFault]) -> int | None:
    """Return the PDQ quality, rounded down so that 49.9 stays below 50: what writes tables may write whole numbers as
    49.0.
    """
    if not cell:
        return None
    if _QUALITY.fullmatch(cell) and (number := float(cell)) <= _MAX_QUALITY:
        return int(number)
    faults.append(items.bad_field("quality", f"a number of 0 to {_MAX_QUALITY}", cell))
    return None
