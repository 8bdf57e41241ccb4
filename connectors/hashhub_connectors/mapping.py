"""The mapping language: which column of a table holds what, in TOML. docs/contribute/csv.md explains it.

Column names are compared exactly, but for surrounding white space.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from datetime import UTC, timedelta, timezone
from functools import lru_cache
from typing import Any, Final

import msgspec

from hashhub import hashes
from hashhub.errors import InvalidArgument, Violation
from hashhub.model import MAX_TEXT, Flags
from hashhub.schemes import is_name
from hashhub_connectors.source import text_encoding
from hashhub_connectors.words import word

DIGESTS: Final = ("md5", "sha1", "sha256", "pdq", "phash", "dhash", "photodna")
MIXED: Final = "digest"  # a column of digests whose algorithm stands elsewhere
TEXTS: Final = ("value", "external_id", "series", "media_type", "source_time", "expire_time", "media_size", "quality")
FLAGS: Final = Flags.__struct_fields__
_DEFAULTS: Final = ("algorithm", "series", "media_type", "source_time", "expire_time", "tags")
_CONSTANTS: Final = ("scheme", "value", *_DEFAULTS, *FLAGS)
_ORDERS: Final = ("dmy", "mdy")
_WORDS: Final = {"true": True, "false": False, "unknown": None}
_OFFSET: Final = re.compile(r"([+-])([01][0-9]):([0-5][0-9])")
_BESIDE: Final = re.compile(r"hash(?:wert|value)?|digest|summe|sum|[()]", re.IGNORECASE)  # of an algorithm's name
_MAX_COLUMN: Final = 16_384  # of a worksheet
_MAX_SKIP: Final = 1_000
TABLES: Final = ("columns", "flags", "words", "values", "lengths", "algorithms", "constants", "defaults")
_KEYS: Final = (
    "delimiter", "encoding", "header", "skip", "scheme", "decimal", "date_order", "utc_offset", "proposal", *TABLES,
)  # fmt: skip

Column = str | int
"""The name of a column, or its number from 1 in a table without a header."""


class TableLayout(msgspec.Struct, frozen=True, kw_only=True):
    """How a table is written. `delimiter` and `encoding` are empty where the file itself is to tell."""

    delimiter: str = ""
    encoding: str = ""
    has_header: bool = True
    skip: int = 0


class Columns(msgspec.Struct, frozen=True, kw_only=True):
    """A checked mapping.

    `digests`: (algorithm, column), in the order in which an item's hashes stand; the algorithm is empty for a column of
    mixed ones. `columns`: the other fields, and the first column of each algorithm. `words`: of each flag, its own
    words. `constants` and `defaults` hold texts by field; tags as one text with commas; `flags_stated` the flags that
    every item has. `delimiter` and `encoding` are what is read where neither the layout nor the file says any.
    """

    layout: TableLayout
    delimiter: str
    encoding: str
    columns: dict[str, Column]
    digests: tuple[tuple[str, Column], ...]
    tags: tuple[Column, ...]
    flags: dict[str, Column]
    words: dict[str, dict[str, bool | None]]
    values: dict[str, str]
    lengths: dict[int, str]
    algorithms: dict[str, str]
    constants: dict[str, str]
    defaults: dict[str, str]
    flags_stated: dict[str, bool]
    scheme: str = ""
    decimal: str = ""
    date_order: str = ""
    utc_offset: timezone | None = None

    @property
    def names(self) -> tuple[Column, ...]:
        """Every column that is read."""
        digests = (column for _, column in self.digests)
        return tuple(dict.fromkeys((*digests, *self.columns.values(), *self.tags, *self.flags.values())))

    @property
    def has_values(self) -> bool:
        """Whether items carry classifications."""
        return "value" in self.columns or "value" in self.constants


def read_mapping(text: str) -> Columns:
    """Return the checked mapping of a TOML text. Raises InvalidArgument with every violation."""
    try:
        given = tomllib.loads(text.removeprefix("\ufeff").replace("\r\n", "\n"))
    except (tomllib.TOMLDecodeError, RecursionError) as e:
        where = str(e).rpartition("(")[2].rstrip(")")[:60]
        raise InvalidArgument.field("options.mapping", f"is not TOML ({where})", "NOT_TOML") from e
    if given.get("proposal") is True:
        raise InvalidArgument.field(
            "options.mapping",
            "is a proposal that nobody has looked at, and a table is never imported by a guess; print it with "
            "--propose-mapping, check and save it, and give the file with --mapping",
            "REQUIRED",
        )
    return _MappingParser(given).columns()


@lru_cache(maxsize=256)
def canonical(name: str) -> str:
    """Return the algorithm that a name means, also where it says `MD5 hash` or `Hash (SHA-256)`; empty for none."""
    for text in (name, _BESIDE.sub(" ", name)):
        try:
            return hashes.algorithm(text).name
        except InvalidArgument:
            continue
    return ""


class _MappingParser:
    """Reads one mapping, and gathers all that is wrong with it."""

    def __init__(self, given: dict[str, Any]) -> None:
        self._given = given
        self._wrong: list[Violation] = [
            Violation(f"options.mapping.{key[:40]}", f"unknown; expected {', '.join(_KEYS)}", "UNKNOWN")
            for key in given
            if key not in _KEYS
        ]
        self._has_header = given.get("header", True)
        if not isinstance(self._has_header, bool):
            self._fault("header", "must be true or false", "TYPE")
            self._has_header = True

    def columns(self) -> Columns:
        """Return the mapping. Raises InvalidArgument with every violation."""
        delimiter = self._given.get("delimiter", ",")
        if not isinstance(delimiter, str) or len(delimiter) != 1 or delimiter in '"\r\n ' or not delimiter.isascii():
            self._fault("delimiter", "must be one ASCII character such as , or ; or a tab", "PATTERN")
        encoding = self._given.get("encoding", "utf-8")
        if not isinstance(encoding, str):
            self._fault("encoding", "must be a text", "TYPE")
        skip = self._given.get("skip", 0)
        if type(skip) is not int or not 0 <= skip <= _MAX_SKIP:
            self._fault(
                "skip", f"must be a whole number of 0 to {_MAX_SKIP}: how many lines stand before", "OUT_OF_RANGE"
            )
        columns = self._table("columns", (*DIGESTS, MIXED, "algorithm", *TEXTS, "tags"))
        tags, digests = self._columns(columns)
        flags = self._table("flags", FLAGS)
        for name, column in flags.items():
            self._check_column(f"flags.{name}", column)
        values = self._table("values", None)
        if any(not key.strip() for key in values):
            self._fault("values", "must not say what an empty cell means: it says nothing", "INVALID")
        for key, value in values.items():
            if not isinstance(value, str) or len(value) > MAX_TEXT:
                self._fault(f"values.{key[:40]}", "must be a text", "TYPE")
        constants = self._texts("constants", _CONSTANTS)
        stated = {name: constants.pop(name) for name in FLAGS if name in constants}
        self._check_constants({**constants, **stated}, columns, tags, flags)
        defaults = self._texts("defaults", _DEFAULTS)
        scheme = self._scheme(constants.pop("scheme", ""))
        words, lengths, algorithms = self._words(), self._lengths(), self._algorithms()
        for table in (constants, defaults):
            if "algorithm" in table and isinstance(table["algorithm"], str):
                table["algorithm"] = self._algorithm("algorithm", table["algorithm"])
        decimal = self._one_of("decimal", (",", "."))
        order = self._one_of("date_order", _ORDERS)
        offset = self._offset()
        if self._wrong:
            raise InvalidArgument(
                "; ".join(f"{v.field} {v.description}" for v in self._wrong), violations=tuple(self._wrong)
            )
        encoding = text_encoding("options.mapping.encoding", encoding)
        return Columns(
            layout=TableLayout(
                delimiter=delimiter if "delimiter" in self._given else "",
                encoding=encoding if "encoding" in self._given else "",
                has_header=self._has_header,
                skip=skip,
            ),
            delimiter=delimiter,
            encoding=encoding,
            columns={field: _stripped(column) for field, column in columns.items()},
            digests=tuple((algorithm, _stripped(column)) for algorithm, column in digests),
            tags=tuple(map(_stripped, tags)),
            flags={field: _stripped(column) for field, column in flags.items()},
            words=words,
            values={raw.strip(): value for raw, value in values.items()},
            lengths=lengths,
            algorithms=algorithms,
            constants={field: value for field, value in constants.items() if value},
            defaults={field: value for field, value in defaults.items() if value},
            flags_stated=stated,
            scheme=scheme,
            decimal=decimal,
            date_order=order,
            utc_offset=offset,
        )

    def _fault(self, path: str, description: str, reason: str) -> None:
        self._wrong.append(Violation(f"options.mapping.{path}", description, reason))

    def _table(self, name: str, known: tuple[str, ...] | None) -> dict[str, Any]:
        table = self._given.get(name, {})
        if not isinstance(table, dict):
            self._fault(name, "must be a table", "TYPE")
            return {}
        if known is not None:
            for key in table:
                if key not in known:
                    self._fault(f"{name}.{key[:40]}", f"unknown; expected {', '.join(known)}", "UNKNOWN")
        return dict(table)

    def _check_column(self, path: str, column: object) -> None:
        if self._has_header:
            if not isinstance(column, str) or not column.strip():
                self._fault(path, "must be the name of a column; numbers are for header = false", "TYPE")
        elif type(column) is not int or not 1 <= column <= _MAX_COLUMN:
            self._fault(path, f"must be the number of a column, from 1 to {_MAX_COLUMN}, since header = false", "TYPE")

    def _columns(self, columns: dict[str, Any]) -> tuple[list[Any], list[tuple[str, Any]]]:
        """Return the columns of tags, and those of digests with their algorithms; leave single ones in `columns`."""
        tags = columns.pop("tags", [])
        if not isinstance(tags, list):
            tags = [tags]
        for tag in tags:
            self._check_column("columns.tags", tag)
        digests: list[tuple[str, Any]] = []
        for name in list(columns):
            if name in {*DIGESTS, MIXED} and isinstance(columns[name], list) and columns[name]:
                several, columns[name] = columns[name], columns[name][0]
            else:
                several = [columns[name]]
            for column in several:
                self._check_column(f"columns.{name}", column)
        given = self._given.get("columns")
        for name in (*DIGESTS, MIXED):
            if name in columns and isinstance(given, dict):
                these = given[name] if isinstance(given[name], list) else [given[name]]
                digests += [("" if name == MIXED else name.upper(), column) for column in these]
        if not digests:
            self._fault("columns", f"must name one of {', '.join((*DIGESTS, MIXED))}", "REQUIRED")
        if "algorithm" in columns and MIXED not in columns:
            self._fault("columns.algorithm", "needs a column `digest`: the algorithm is that of its digest", "INVALID")
        return tags, digests

    def _texts(self, name: str, known: tuple[str, ...]) -> dict[str, Any]:
        table = self._table(name, known)
        if name == "defaults" and "value" in table:
            self._fault("defaults.value", "must not say what an empty cell means: it says nothing", "INVALID")
        for field, value in table.items():
            if field in FLAGS:
                is_right, expected = isinstance(value, bool), "true or false"
            elif field == "tags":
                tags = value if isinstance(value, list) else [value]
                is_right, expected = all(isinstance(t, str) and len(t) <= MAX_TEXT for t in tags), "a text or several"
                if is_right:
                    table[field] = ",".join(tags)
            else:
                is_right, expected = isinstance(value, str) and len(value) <= MAX_TEXT, "a text"
            if not is_right and field in known:
                self._fault(f"{name}.{field}", f"must be {expected}", "TYPE")
        return table

    def _check_constants(
        self, constants: Mapping[str, Any], columns: Mapping[str, Any], tags: list[Any], flags: Mapping[str, Any]
    ) -> None:
        for field in constants:
            if field in columns or field in flags or (field == "tags" and tags):
                self._fault(f"constants.{field}", "is a column, too; a constant is what no column says", "INVALID")

    def _scheme(self, constant: object) -> str:
        scheme = self._given.get("scheme", constant)
        if not isinstance(scheme, str) or (scheme and not is_name(scheme)):
            self._fault("scheme", "must be ID or ID@VERSION, such as uk-sentencing", "PATTERN")
            return ""
        if constant and scheme != constant:
            self._fault("constants.scheme", "contradicts scheme; say it once", "INVALID")
        return scheme

    def _words(self) -> dict[str, dict[str, bool | None]]:
        """Return the own words of each flag: its own before those of all."""
        given = self._table("words", (*_WORDS, *FLAGS))
        shared = self._word_list("words", {name: given[name] for name in _WORDS if name in given})
        words: dict[str, dict[str, bool | None]] = {}
        for flag in FLAGS:
            own = given.get(flag, {})
            if not isinstance(own, dict) or not set(own) <= set(_WORDS):
                self._fault(f"words.{flag}", "must be a table of true, false and unknown", "TYPE")
                own = {}
            words[flag] = {**shared, **self._word_list(f"words.{flag}", own)}
        return words

    def _word_list(self, path: str, lists: Mapping[str, Any]) -> dict[str, bool | None]:
        meanings: dict[str, bool | None] = {}
        for name, texts in lists.items():
            if not isinstance(texts, list) or not all(isinstance(t, str) and len(t) <= MAX_TEXT for t in texts):
                self._fault(f"{path}.{name}", "must be a list of words", "TYPE")
                continue
            for text in texts:
                if not word(text):
                    self._fault(f"{path}.{name}", "must not say what an empty cell means: it says nothing", "INVALID")
                elif word(text) in meanings:
                    self._fault(f"{path}.{name}", f"gives {text[:40]!r} a second meaning; say it once", "INVALID")
                meanings[word(text)] = _WORDS[name]
        return meanings

    def _lengths(self) -> dict[int, str]:
        lengths: dict[int, str] = {}
        for key, name in self._table("lengths", None).items():
            if not key.isascii() or not key.isdigit() or len(key) > 3:  # noqa: PLR2004 - 576 is PhotoDNA's longest
                self._fault(f"lengths.{key[:40]}", "must be a number of characters, such as 64", "PATTERN")
                continue
            lengths[int(key)] = self._algorithm(f"lengths.{key}", name)
        return lengths

    def _algorithms(self) -> dict[str, str]:
        given = self._table("algorithms", None)
        return {word(own): self._algorithm(f"algorithms.{own[:40]}", name) for own, name in given.items()}

    def _algorithm(self, path: str, name: object) -> str:
        algorithm = canonical(name) if isinstance(name, str) else ""
        if not algorithm:
            self._fault(path, f"must be one of {', '.join(hashes.ALGORITHMS)}", "UNKNOWN")
        return algorithm

    def _one_of(self, name: str, known: tuple[str, ...]) -> str:
        text = self._given.get(name, "")
        if text and text not in known:
            self._fault(name, f"must be one of {', '.join(map(repr, known))}", "INVALID")
        return text if isinstance(text, str) else ""

    def _offset(self) -> timezone | None:
        text = self._given.get("utc_offset", "")
        if not text:
            return None
        if text == "Z":
            return UTC
        match = _OFFSET.fullmatch(text) if isinstance(text, str) else None
        if match is None:
            self._fault("utc_offset", "must be Z or like +01:00", "PATTERN")
            return None
        span = timedelta(hours=int(match[2]), minutes=int(match[3]))
        return timezone(-span if match[1] == "-" else span)


def _stripped(column: Any) -> Column:
    return column.strip() if isinstance(column, str) else column
