"""A mapping proposed for a table, from its header and its first rows, for a person to check.

What a header calls a column counts, in the main European languages and Japanese, as far as the cells below it agree;
digests, dates and media types are told by their cells alone. What cannot be told stands in the proposal as a comment,
and in `notes`: a proposal that is used as it is never quarantines a list in silence.
"""

from __future__ import annotations

import codecs
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import BinaryIO, Final

import msgspec

from hashhub import schemes
from hashhub.connector import MAX_LINE
from hashhub.errors import MalformedSource
from hashhub.hashes import ALGORITHMS
from hashhub.model import Reject, SchemeStatus
from hashhub_connectors.delimited import Rows
from hashhub_connectors.mapping import DIGESTS, FLAGS, MIXED, TEXTS, TableLayout, canonical
from hashhub_connectors.source import BOMS, look_at, read_block
from hashhub_connectors.words import fields_of, read_word, unread
from hashhub_connectors.workbook import OLE_SIGNATURE, SIGNATURE, SheetRows, listed

SAMPLE_BYTES: Final = 256 << 10  # of a text that is looked at
SAMPLE_ROWS: Final = 300
_DELIMITERS: Final = ";,\t|"
_CUTS: Final = frozenset(_DELIMITERS)
_MAX_TITLES: Final = 20  # lines before the header that are looked through
_MOST: Final = 0.5  # of the cells of a column: more are of one kind
_NEARLY_ALL: Final = 0.9
_FEW_VALUES: Final = 30  # distinct ones, of a category
_LONGEST_VALUE: Final = 40  # characters of one
_SHOWN: Final = 8
_TELLING: Final = 4  # cells, from which digests tell by their bits PDQ from SHA-256, and letters a scheme
_PDQ_BITS: Final = 128  # set in each PDQ digest of a picture: it cuts at the median (see hashhub.hygiene)

HEX_LENGTHS: Final = {name: 2 * a.digest_bytes for name, a in ALGORITHMS.items()}
_HEX: Final = re.compile(r"[0-9A-Fa-f]{16,288}")
_BASE64: Final = re.compile(r"[A-Za-z0-9+/_-]{43}=?|[A-Za-z0-9+/_-]{192}")
_DATE: Final = re.compile(
    r"(?:[0-9]{4}-[0-9]{2}-[0-9]{2}|[0-9]{1,2}\. ?[0-9]{1,2}\. ?[0-9]{4}|([0-9]{1,2})[/-]([0-9]{1,2})[/-][0-9]{4})"
    r"(?:[ T,]+[0-9]{1,2}:[0-9]{2}[0-9:.]*(Z|[+-][0-9]{2}:?[0-9]{2})?)?"
)
_CLOCK: Final = re.compile(r"[0-9]{1,2}:[0-9]{2}")
_MEDIA_TYPE: Final = re.compile(r"(?:image|video|audio|application|text)/[A-Za-z0-9.+*-]+", re.IGNORECASE)
_SIZE: Final = re.compile(r"[0-9]{1,3}(?:[.,' \u00a0\u202f][0-9]{3})+(?:[.,]0+)?|[0-9]+(?:[.,]0+)?")
_NUMBER: Final = re.compile(r"[0-9]{1,3}(?:[.,][0-9]{1,9})?")
_GROUPS_BY_POINT: Final = re.compile(r"[0-9]{1,3}(?:\.[0-9]{3}){2,}|[0-9]{1,3}(?:\.[0-9]{3})+,[0-9]+")
_GROUPS_BY_COMMA: Final = re.compile(r"[0-9]{1,3}(?:,[0-9]{3}){2,}|[0-9]{1,3}(?:,[0-9]{3})+\.[0-9]+")
# First bytes of the two of usual characters: signs, kana, Hangul, and the first level of kanji and hanzi.
_LEADS: Final = {
    "cp932": frozenset({*range(0x81, 0x84), *range(0x87, 0x99)}),
    "gbk": frozenset({0xA1, 0xA3, *range(0xB0, 0xD8)}),
    "euc_jp": frozenset({0xA1, 0xA3, 0xA4, 0xA5, *range(0xB0, 0xD0)}),
    **dict.fromkeys(("euc_kr", "cp949"), frozenset({0xA1, 0xA3, *range(0xB0, 0xC9)})),
    "big5": frozenset({0xA1, *range(0xA4, 0xC7)}),
}
_KOREAN: Final = ("euc_kr", "cp949")  # the second has the first in it
_ANY_SECOND: Final = frozenset({"cp932", "big5"})  # whose second bytes may be ASCII
_HANGUL: Final = 12  # different ones, which no twelve kanji or hanzi would all pass for
_AS_MANY: Final = 0.95
_KANA: Final = re.compile("[\u3041-\u30fe]")
_SIGN_IN_LATIN: Final = re.compile(r"(?<=[A-Za-z])[^\x00-\x7f](?=[A-Za-z])")  # an accent that was read as a kanji
_TICKS: Final = frozenset("x✓✔☑•●")  # what people put in a cell for yes
# Letters of central and western Europe; what both code pages have at one place tells nothing.
_CENTRAL: Final = frozenset("ąćęłńóśźżčďěňřšťůžýáéíúőűöüäľĺôâăîșşţțđ")
_SIGN_IN_WORD: Final = re.compile(
    "(?<=[^\\W\\d_])[^\\w\\s\\x00-\\x7f\u2019](?=[^\\W\\d_])"
)  # such as \u00bf: no such word
_WESTERN: Final = frozenset("äöüßéèàçñáíóúâêîôûëïåæøãõœùìòýÿ")

# A number as spreadsheets show one of more than eleven digits, and as programs write a fraction.
_SCIENTIFIC: Final = re.compile(r"[+-]?[0-9]+(?:[.,][0-9]+)?[eE]([+-]?)[0-9]{1,3}")
_FRACTION: Final = re.compile(r"[0-9]{12,}[.,]0*")
_SIGNIFICANT: Final = 15  # digits that a spreadsheet's number keeps; those behind are zeros
_TELLING_ZEROS: Final = 8  # at the end of what else looks like a digest
_LOST_ZEROS: Final = 8  # at most so many leading zeros are taken for lost: more, and it is some other number


class MappingProposal:
    """What is proposed for one table.

    `digests`: (field, column's name) of the digest columns; `notes`: sentences for a person that the proposal cannot
    settle; `layout`: how the table is written; `has_items`: rows were seen whose digests are digests.
    """

    def __init__(self, table: _Table) -> None:
        self.has_header = table.has_header
        self.layout = table.layout
        self.columns = table.columns
        self.width = len(table.columns)
        self.notes: list[str] = []
        self._table = table
        self._fields: dict[str, list[_Column]] = {}
        self._remarks: dict[int, str] = {}  # behind the line of a column's field
        self._comments: list[str] = []  # lines about columns that are not read
        self._settings: list[str] = []
        self._lengths: list[str] = []
        self._words: dict[str, list[str]] = {}
        self._value_lines: list[str] = []
        self._find_digests()
        self._find_texts()
        self._find_flags()
        self._find_value()
        self.digests = [(f, c.name) for f in (*DIGESTS, MIXED) for c in self._fields.get(f, ())]
        self.has_items = any(c.digests for f in (*DIGESTS, MIXED) for c in self._fields.get(f, ()))

    @property
    def fields(self) -> dict[str, str]:
        """What the columns hold that are read, by their keys."""
        return {c.key: field for field, columns in self._fields.items() for c in columns}

    def values(self) -> list[str]:
        """Return the categories in the rows that were looked at."""
        return list(dict.fromkeys(cell for c in self._fields.get("value", ()) for cell in c.cells))

    def settle(self, fields: Mapping[str, str], values: Mapping[str, str], date_order: str) -> None:
        """Take what a person says instead: each column's field by its key, what categories mean, the order of dates."""
        self._fields = {}
        for c in self.columns:
            if field := fields.get(c.key):
                self._fields.setdefault(field, []).append(c)
        self._value_lines = [f"{_toml(cell)} = {_toml(value)}" for cell, value in values.items() if value]
        if date_order:
            self._settings = [line for line in self._settings if not line.startswith("date_order")]
            self._settings.append(f"date_order = {_toml(date_order)}")

    def text(self, *, unchecked: bool = False) -> str:
        """Return the TOML of the mapping; `unchecked`: with a line that keeps it from use until it was looked at."""
        t = self._table
        seen = f"the header and {len(t.rows)} rows" if t.has_header else f"{len(t.rows)} rows; there is no header"
        lines = [f"# A proposal made from {seen}. Check every line before you import with it."]
        if unchecked:
            lines.append("proposal = true  # remove this line once you have")
        lines += t.settings
        by_number = any(not c.is_nameable for columns in self._fields.values() for c in columns)
        if not t.has_header or by_number:
            lines.append("header = false")
        if skip := t.skip + (1 if t.has_header and by_number else 0):
            lines.append(f"skip = {skip}")
        lines += [*self._settings, "", "[columns]"]
        for field in (*DIGESTS, MIXED, "algorithm", *TEXTS, "tags"):
            if columns := self._fields.get(field):
                lines.append(self._line(field, columns, by_number=by_number))
        if not self.digests:
            expected = ", ".join((*DIGESTS, MIXED))
            lines.append(f'# No column looks like a digest. Name at least one of {expected}: md5 = "COLUMN"')
        lines += self._comments
        used = {id(c) for columns in self._fields.values() for c in columns}
        lines += [f"# not read: {_toml(c.name) if t.has_header else c.number}" for c in t.columns if id(c) not in used]
        if flags := [f for f in FLAGS if f in self._fields]:
            lines += ["", "[flags]", *(self._line(f, self._fields[f], by_number=by_number) for f in flags)]
        for flag, texts in self._words.items():
            lines += ["", f"[words.{flag}]", *texts]
        if self._lengths:
            lines += ["", "[lengths]", *self._lengths]
        if self._value_lines:
            lines += ["", "[values]", *self._value_lines]
        return "\n".join(lines) + "\n"

    def _line(self, field: str, columns: Sequence[_Column], *, by_number: bool) -> str:
        names = [_toml(c.name) if self._table.has_header and not by_number else str(c.number) for c in columns]
        text = f"[{', '.join(names)}]" if len(names) > 1 or field == "tags" else names[0]
        remarks = [self._remarks[c.number] for c in columns if c.number in self._remarks]
        if by_number and self._table.has_header:
            remarks.insert(0, ", ".join(c.name or "no name" for c in columns))
        return f"{field} = {text}" + (f"  # {_one_line('; '.join(remarks))}" if remarks else "")

    def _take(self, field: str, column: _Column, remark: str = "") -> None:
        self._fields.setdefault(field, []).append(column)
        column.is_taken = True
        if remark:
            self._remarks[column.number] = remark

    def _say(self, comment: str, note: str = "") -> None:
        self._comments.append(f"# {_one_line(comment)}")
        if note:
            self.notes.append(_one_line(note))

    def _find_digests(self) -> None:
        columns = self._table.columns
        algorithm = next((c for c in columns if c.names_algorithms()), None)
        for c in columns:
            named = next((f for f in c.fields if f in DIGESTS), "")
            if c is algorithm or not (named or c.is_of_digests()):
                continue
            if named and c.cells and not c.could_be_digests():
                continue
            if named and not c.digests and named in self._fields:
                continue  # a second, empty column
            field, remark = self._digest_field(c, named, has_algorithm=algorithm is not None)
            if field:
                self._take(field, c, remark)
        if algorithm is not None and MIXED in self._fields:
            self._take("algorithm", algorithm)

    def _digest_field(self, c: _Column, named: str, *, has_algorithm: bool) -> tuple[str, str]:
        """Return what a column of digests is to be called, and a remark; nothing where only a person can tell."""
        kinds = {kind for kind in (kind_of(cell) for cell in c.digests) if kind}
        if named and (not kinds or named in kinds or (named in {"sha256", "pdq"} and "64" in kinds)
                      or (named in {"phash", "dhash"} and "16" in kinds)):  # fmt: skip
            others = kinds - {named, "64" if named in {"sha256", "pdq"} else "", "16"}
            if not others:
                return named, ""
        if has_algorithm and not named:
            return MIXED, ""
        if kinds == {"64"}:
            told = _sha256_or_pdq(c.digests)
            if told:
                return told, f"by its bits: 64 digits may be SHA-256 or PDQ, and these are of {told.upper()}"
        elif kinds == {"16"} or not kinds:
            self._say(f"column {c.shown} may be phash or dhash: say which", f"{c.shown} may be phash or dhash")
            return "", ""
        elif len(kinds) == 1 and "prefixed" not in kinds:
            (kind,) = kinds
            return kind, "by the length of its digests" if not named else f"by its digests, although it says {named}"
        else:
            if "64" in kinds:
                told = _sha256_or_pdq([d for d in c.digests if kind_of(d) == "64"])
                if told:
                    self._lengths.append(f'64 = "{told}"  # by their bits')
                else:
                    self._lengths.append('# 64 = "sha256"  # or "pdq": nothing here tells')
                    self.notes.append(f"64 digits in {c.shown} may be SHA-256 or PDQ: say which under [lengths]")
            return MIXED, "digests of several algorithms"
        text = f"column {c.shown} holds 64 digits, which may be sha256 or pdq: say which"
        self._say(text, text)
        return "", ""

    def _find_texts(self) -> None:
        checks: dict[str, Callable[[_Column], bool]] = {
            "external_id": lambda c: len(set(c.cells)) == len(c.cells),
            "media_size": lambda c: c.share(_SIZE) >= _MOST,
            "media_type": lambda c: c.share(_MEDIA_TYPE) >= _MOST or not c.share(_DATE),
            "source_time": lambda c: c.share(_DATE) >= _MOST,
            "expire_time": lambda c: c.share(_DATE) >= _MOST,
            "quality": lambda c: c.share(_NUMBER) >= _MOST,
            "series": lambda c: True,  # noqa: ARG005 - any text
            "tags": lambda c: True,  # noqa: ARG005 - any text
        }
        for c in self._table.columns:
            for field in c.fields:
                if c.is_taken or field not in checks or (field in self._fields and field != "tags"):
                    continue
                if not c.cells or checks[field](c):
                    if field != "expire_time" or self._can_expire(c):
                        self._take(field, c)
                elif field == "external_id":
                    self._say(f"column {c.shown} is not read as the id: some ids stand in it twice")
        for c in self._table.columns:
            if c.is_taken or not c.cells or c.fields:
                continue
            if c.share(_DATE) >= _NEARLY_ALL and "source_time" not in self._fields:
                self._take("source_time", c, "by its dates; expire_time instead, if that is when entries end")
            elif c.share(_MEDIA_TYPE) >= _NEARLY_ALL and "media_type" not in self._fields:
                self._take("media_type", c)
        sizes = [cell for f in ("media_size", "quality") for c in self._fields.get(f, ()) for cell in c.cells]
        if any(map(_GROUPS_BY_POINT.fullmatch, sizes)):
            self._settings.append('decimal = ","')
        elif any(map(_GROUPS_BY_COMMA.fullmatch, sizes)):
            self._settings.append('decimal = "."')
        self._order_dates()

    def _can_expire(self, c: _Column) -> bool:
        """Whether the dates of a column can be read; where not, say so: an end that is not read is not never."""
        ordered = [m for cell in c.cells if (m := _DATE.fullmatch(cell)) and m[1]]
        if ordered and not _order(ordered):
            self._say(
                f'expire_time = {_toml(c.name)} needs date_order = "dmy" or "mdy": nothing here tells which',
                f"{c.shown} says until when entries hold, but its dates can be read in two ways: say date_order",
            )
            return False
        if any(_CLOCK.search(cell) and not m[3] for cell in c.cells if (m := _DATE.fullmatch(cell))):
            self._say(
                f'expire_time = {_toml(c.name)} needs utc_offset = "+01:00": its times do not say theirs',
                f"{c.shown} says until when entries hold, but its times lack an offset from UTC: say utc_offset",
            )
            return False
        return True

    def _order_dates(self) -> None:
        matches = [
            m
            for field in ("expire_time", "source_time")
            for c in self._fields.get(field, ())
            for cell in c.cells
            if (m := _DATE.fullmatch(cell)) and m[1]
        ]
        if matches and (order := _order(matches)):
            self._settings.append(f'date_order = "{order}"')

    def _find_flags(self) -> None:
        for c in self._table.columns:
            for field in c.fields:
                if c.is_taken or field not in FLAGS or field in self._fields:
                    continue
                others = unread(c.cells)
                if len(others) > _FEW_VALUES:
                    continue
                self._take(field, c)
                ticks = [text for text in others if text.casefold() in _TICKS]
                if len(ticks) == len(others) and ticks and not c.says_no():
                    texts = sorted({t.casefold() for t in ticks})
                    self._words[field] = [f"true = [{', '.join(map(_toml, texts))}]"]
                elif others:
                    shown = ", ".join(map(_toml, others[:_SHOWN]))
                    self._words[field] = [
                        f"# {_one_line(shown)}: say what these words mean; until then they are noted and not read",
                        '# true = ["…"]',
                        '# false = ["…"]',
                    ]
                    self.notes.append(_one_line(f"{c.shown} holds words for yes and no that are not known: {shown}"))
        for c in self._table.columns:
            if not c.is_taken and not c.fields and c.cells and len(set(c.cells)) <= len("yno") and not unread(c.cells):
                self._say(f"column {c.shown} says yes or no; a flag? one of {', '.join(FLAGS)}")

    def _find_value(self) -> None:
        column = next(
            (c for c in self._table.columns if not c.is_taken and "value" in c.fields and c.is_of_few_values()), None
        )
        by_content = False
        if column is None:
            column = next(
                (c for c in self._table.columns if not c.is_taken and not c.fields and c.names_values()), None
            )
            by_content = column is not None
        if column is None:
            return
        self._take("value", column, "by its values" if by_content else "")
        values = list(dict.fromkeys(column.cells))
        if not values:
            self._value_lines = ['# "as in the file" = "as in the scheme"']
            return
        shown = ", ".join(map(_toml, values[:_SHOWN])) + (" …" if len(values) > _SHOWN else "")
        fitting = _schemes_of(values)
        if fitting:
            self._settings.append(
                f"# The categories ({_one_line(shown)}) are values of {' and of '.join(fitting)}. Only if you know "
                f'that they are meant so: scheme = "{fitting[0]}"'
            )
            self._value_lines = ['# "as in the file" = "as in the scheme"']
            return
        text = (
            f"the categories in {column.shown} ({shown}) are of no scheme that comes with hashhub: say under [values] "
            "what each means in the hash set's scheme, or the import quarantines them as UNKNOWN_VALUE"
        )
        self.notes.append(_one_line(text))
        self._value_lines = [f"# {_one_line(text)}", *(f'# {_toml(v)} = "…"' for v in values[:_FEW_VALUES])]


class _Column:
    """A column of the sample: its header, and its cells that are not empty."""

    def __init__(self, number: int, name: str, cells: list[str], *, has_header: bool, is_nameable: bool) -> None:
        self.number = number
        self.name = name
        self.cells = cells
        self.is_nameable = is_nameable
        self.key = name if is_nameable else str(number)
        self.is_taken = False
        self.fields = list(fields_of(name)) if has_header and name else []
        self.shown = repr(name[:40]) if has_header and name else str(number)
        self.digests = [cell for cell in cells if kind_of(cell)]

    def share(self, pattern: re.Pattern[str]) -> float:
        return sum(pattern.fullmatch(cell) is not None for cell in self.cells) / max(len(self.cells), 1)

    def is_of_digests(self) -> bool:
        mangled = sum(is_mangled(cell) for cell in self.cells)
        return bool(self.digests) and len(self.digests) + mangled >= _MOST * len(self.cells)

    def could_be_digests(self) -> bool:
        """Whether the cells do not contradict a header that says so: there may be cut and mangled ones among them."""
        return bool(self.digests) or any(is_mangled(cell) or len(cell) > len("0123456789abcde") for cell in self.cells)

    def names_algorithms(self) -> bool:
        known = sum(bool(canonical(cell)) for cell in self.cells)
        return known >= (_MOST if "algorithm" in self.fields else _NEARLY_ALL) * max(len(self.cells), 1)

    def is_of_few_values(self) -> bool:
        distinct = set(self.cells)
        return len(distinct) <= _FEW_VALUES and all(len(v) <= _LONGEST_VALUE for v in distinct) and not self.digests

    def names_values(self) -> bool:
        """Whether all cells are letters or words of a scheme; numbers are too often something else."""
        values = list(dict.fromkeys(self.cells))
        is_told = len(self.cells) >= _TELLING and self.is_of_few_values() and not any(v.isdigit() for v in values)
        return is_told and bool(_schemes_of(values))

    def says_no(self) -> bool:
        return any(not _is_unread(cell) and read_word(cell) is False for cell in self.cells)


class _Table:
    """The first rows of a table: settings by which it is read, its columns, and whether it has a header."""

    def __init__(self, numbered: list[tuple[int, list[str]]], written: TableLayout, settings: list[str]) -> None:
        self.settings = settings
        counts = Counter(len(cells) for _, cells in numbered if len(cells) > 1)
        usual = counts.most_common(1)[0][0] if counts else 1
        first = 0
        # A title above the header is one cell; what has more may be a header that lacks one.
        while first < min(len(numbered) - 1, _MAX_TITLES) and usual > 1 and (
            sum(bool(cell.strip()) for cell in numbered[first][1]) < 2  # noqa: PLR2004 - a table
            and not any(map(looks_like_a_digest, numbered[first][1]))
        ):  # fmt: skip
            first += 1
        number, head = numbered[first]
        self.skip = number - 1 if first else 0
        self.has_header = not any(map(looks_like_a_digest, head))
        self.layout = msgspec.structs.replace(written, has_header=self.has_header, skip=self.skip)
        width = len(head)
        self.rows = [
            cells
            for _, cells in numbered[first + self.has_header :]
            # A header that stands again further down, as in files that were joined, is no item.
            if not (self.has_header and cells == head) and (len(cells) == width or _is_short(cells, width))
        ]
        names = [cell.strip() for cell in head]
        self.columns = [
            _Column(
                i + 1,
                names[i] if self.has_header else str(i + 1),
                [cell for row in self.rows if i < len(row) and (cell := row[i].strip())],
                has_header=self.has_header,
                is_nameable=not self.has_header or (bool(names[i]) and names.count(names[i]) == 1),
            )
            for i in range(width)
        ]


def _is_short(cells: list[str], width: int) -> bool:
    """Whether a row of a worksheet lacks empty cells at its end."""
    return isinstance(cells, _SheetRow) and len(cells) < width


class _SheetRow(list[str]):
    """The cells of a worksheet's row."""


def propose(source: bytes | BinaryIO, sheet: str = "") -> str:
    """Return the TOML of a mapping for a table, for a person to check: see `propose_for`."""
    return propose_for(io.BytesIO(source) if isinstance(source, bytes) else source, sheet).text()


def propose_for(source: BinaryIO, sheet: str = "", *, is_cut: bool = False) -> MappingProposal:
    """Return what is proposed for a table: its first SAMPLE_BYTES or SAMPLE_ROWS are looked at.

    `is_cut`: the source ends before the table does. Raises MalformedSource when there is no row in it, and as
    `SheetRows` does.
    """
    head, begun = look_at(source)
    if head.startswith(SIGNATURE):
        with SheetRows(begun, sheet, has_header=False, is_item=looks_like_a_digest) as rows:
            numbered: list[tuple[int, list[str]]] = []
            for _, cells in rows:
                numbered.append((rows.number, _SheetRow(cells)))
                if len(numbered) > SAMPLE_ROWS:
                    break
        if not numbered:
            raise MalformedSource("the sheet is empty; expected a header or items", position="row 1")
        several = f"# The sheet {listed((rows.sheet,))} of {listed(rows.sheets)}; --option sheet=NAME reads another."
        return MappingProposal(_Table(numbered, TableLayout(), [_one_line(several)] if len(rows.sheets) > 1 else []))
    if head.startswith(OLE_SIGNATURE):
        raise MalformedSource("an old or encrypted Excel file; save it as .xlsx, or as CSV", position="line 1")
    data = read_block(begun, SAMPLE_BYTES)
    is_cut = is_cut or len(data) == SAMPLE_BYTES
    encoding, note, likely = _guess_encoding(data)
    text = codecs.getincrementaldecoder(encoding)("replace").decode(data).removeprefix("\ufeff")
    lines = [line for line in text.split("\n", SAMPLE_ROWS * 4)[: SAMPLE_ROWS * 4] if len(line) <= MAX_LINE]
    if len(lines) > 2 and (is_cut or lines[-1]):  # noqa: PLR2004 - the header and one row
        lines.pop()  # it may be cut
    if not "".join(lines).strip() or text.startswith("\0"):
        raise MalformedSource("there is no header; expected a first line of column names", position="line 1")
    delimiter, rows_ = _guess_delimiter("\n".join(lines))
    settings = [f"delimiter = {_toml(delimiter)}", f"encoding = {_toml(encoding)}{note}"]
    proposal = MappingProposal(_Table(rows_, TableLayout(delimiter=delimiter, encoding=encoding), settings))
    if len(likely) > 1:
        proposal.notes.append(f"the text may be in {' or '.join(likely)}: say which as encoding, by how it reads")
    return proposal


def _guess_delimiter(text: str) -> tuple[str, list[tuple[int, list[str]]]]:
    """Return the delimiter by which the lines are most evenly cut, and the rows."""
    best: tuple[tuple[float, ...], str, list[tuple[int, list[str]]]] | None = None
    error: MalformedSource | None = None
    for delimiter in _DELIMITERS:
        try:
            told, rows = _rows(text, delimiter)
        except MalformedSource as e:
            error = error or e
            continue
        if not rows:
            continue
        if told != delimiter:  # Excel's first line
            return told, rows
        usual, count = Counter(len(cells) for _, cells in rows).most_common(1)[0]
        evenness = round(count / len(rows), 1)
        # A cell of the first row that holds another delimiter was hardly meant to be one.
        named = sum(bool(cell.strip()) and not _CUTS & set(cell) for cell in rows[0][1])
        rank = (float(usual > 1), evenness >= _NEARLY_ALL - 0.1, named, evenness, usual, delimiter == ",")
        if best is None or rank > best[0]:
            best = (rank, delimiter, rows)
    if best is None:
        raise error or MalformedSource("there is no row in the file; expected a header or items", position="line 1")
    return best[1], best[2]


def _rows(text: str, delimiter: str) -> tuple[str, list[tuple[int, list[str]]]]:
    """Return the delimiter that the text itself names, else the one given, and its rows with their line numbers."""
    data = io.BytesIO(text.encode("utf-8", "replace"))
    try:
        source = Rows(data, delimiter, has_header=False)
    except MalformedSource:  # it names another
        data.seek(0)
        source = Rows(data, None, has_header=False)
    rows: list[tuple[int, list[str]]] = []
    try:
        for row in source:
            if not isinstance(row, Reject):
                rows.append((int(row[0].rpartition(" ")[2]), row[1]))
            elif not rows:
                raise MalformedSource(f"the header is no row of cells: {row.detail}", position=row.position)
            if len(rows) > SAMPLE_ROWS:
                break
    except MalformedSource:
        if not rows:
            raise
    return source.delimiter, rows


def _guess_encoding(data: bytes) -> tuple[str, str, list[str]]:
    """Return an encoding that the bytes can be read in, a comment where it is a guess, and all that are as likely."""
    if marked := next((name for bom, name in BOMS if data.startswith(bom)), ""):
        return marked, "", []
    if data[1:2] == b"\0" and data[:1] != b"\0":
        return "utf-16-le", "  # a guess: there is no byte order mark", []
    if data[:1] == b"\0" and data[1:2] not in {b"\0", b""}:
        return "utf-16-be", "  # a guess: there is no byte order mark", []
    try:
        codecs.getincrementaldecoder("utf-8")().decode(data)
    except UnicodeDecodeError:
        if names := _east_asian(data):
            said = f"; one of {', '.join(names)}" if len(names) > 1 else ""
            return names[0], f"  # a guess: the file is not UTF-8{said}", names
        letters = [data.decode(name, "replace").lower() for name in ("cp1252", "cp1250")]
        western, central = (
            sum((c.isalpha() and c not in known) or c in "\u00b9\u00b3" for c in text if not c.isascii())
            + len(_SIGN_IN_WORD.findall(text))
            for text, known in zip(letters, (_WESTERN, _CENTRAL), strict=True)
        )
        name = "cp1250" if central < western else "cp1252"
        return name, "  # a guess: the file is not UTF-8", []
    return "utf-8", "", []


def _east_asian(data: bytes) -> list[str]:
    """Return the encodings in which most characters of two bytes are usual ones of Japanese, Chinese or Korean: the
    one with most of them first, and only such as have nearly as many.
    """
    usual_by_name: dict[str, int] = {}
    hangul = 0
    for name, leads in _LEADS.items():
        try:
            text = codecs.getincrementaldecoder(name)().decode(data)
        except UnicodeDecodeError:
            continue
        pairs = [b for c in text if not c.isascii() and len(b := c.encode(name, "replace")) > 1]
        usual = [b for b in pairs if b[0] in leads and (name in _ANY_SECOND or b[1] > 0xA0)]  # noqa: PLR2004
        # The kana of EUC-JP are kana in GBK, too, and no Chinese has many.
        count = len(usual) - len(_SIGN_IN_LATIN.findall(text)) - 3 * len(_KANA.findall(text)) * (name == "gbk")
        if count > _MOST * len(pairs) and not (name == "cp949" and "euc_kr" in usual_by_name):
            usual_by_name[name] = count
            hangul = len(set(usual)) if name in _KOREAN else hangul
    most = max(usual_by_name.values(), default=0)
    names = [name for name, count in usual_by_name.items() if count >= _AS_MANY * most]
    korean = [name for name in names if name in _KOREAN and hangul >= _HANGUL]
    return korean or sorted(names, key=lambda name: -usual_by_name[name])


def is_mangled(digest: str, lengths: Iterable[int] = ()) -> bool:
    """Whether a spreadsheet made a number of this digest, whose algorithm has one of `lengths` hexadecimal digits.

    It shows `1,23457E+31`, cuts leading zeros off, and keeps fifteen digits, with zeros behind.
    """
    expected = tuple(lengths) or (32, 40, 64)
    if match := _SCIENTIFIC.fullmatch(digest):
        # Sixteen hexadecimal digits may have one e among them: then nothing else shows a number.
        return len(digest) not in expected or bool(match[1]) or "." in digest or "," in digest
    if _FRACTION.fullmatch(digest):
        return True
    if not digest.isdigit() or not digest.isascii():
        return False
    zeros = len(digest) - len(digest.rstrip("0"))
    if zeros < len(digest) and len(digest) - zeros <= _SIGNIFICANT < len(digest):
        # A digest of sixteen digits that happens to end in a zero is one.
        return zeros >= _TELLING_ZEROS or len(digest) not in expected
    return any(0 < length - len(digest) <= _LOST_ZEROS for length in expected)


def kind_of(cell: str) -> str:
    """Return what digest a cell may be: a field, `64` or `16` digits, `prefixed` with its algorithm; empty for none."""
    if _HEX.fullmatch(cell):
        if is_mangled(cell, (len(cell),)):
            return ""
        name = {32: "md5", 40: "sha1", 64: "64", 288: "photodna"}.get(len(cell), "")
        return name or ("16" if len(cell) == 16 and not cell.isalpha() and not cell.isdigit() else "")  # noqa: PLR2004
    if _BASE64.fullmatch(cell) and all(any(map(kind, cell)) for kind in (str.isdigit, str.isupper, str.islower)):
        return "photodna" if len(cell) == 192 else "pdq"  # noqa: PLR2004 - 144 bytes
    name, colon, digest = cell.partition(":")
    return "prefixed" if colon and canonical(name) and kind_of(digest.strip()) else ""


def looks_like_a_digest(cell: str) -> bool:
    """Whether a cell of a first row is a digest, or what a spreadsheet made of one, and no name of a column."""
    cell = cell.strip()
    return bool(kind_of(cell)) or bool(_SCIENTIFIC.fullmatch(cell) and "+" in cell)


def _sha256_or_pdq(digests: Sequence[str]) -> str:
    """Return which of both 64-digit digests these are, by their set bits; nothing where too few tell."""
    if len(digests) < _TELLING:
        return ""
    halves = sum(int(d, 16).bit_count() == _PDQ_BITS for d in digests)
    return "pdq" if halves == len(digests) else "sha256" if halves <= len(digests) / 2 else ""


def _order(matches: Iterable[re.Match[str]]) -> str:
    """Return which comes first in these dates, the day or the month; nothing where none tells, or they differ."""
    orders = {"dmy" if int(m[1]) > 12 else "mdy" for m in matches if int(m[1]) > 12 or int(m[2]) > 12}  # noqa: PLR2004
    return orders.pop() if len(orders) == 1 else ""


def _is_unread(cell: str) -> bool:
    return bool(unread((cell,)))


def _schemes_of(values: Sequence[str]) -> list[str]:
    """Return the schemes that come with hashhub and have all of these values, drafts last."""
    fitting = [s for s in _schemes().list() if all(s.resolve(v) is not None for v in values)]
    return [s.name for s in sorted(fitting, key=lambda s: s.status is SchemeStatus.DRAFT)]


@cache
def _schemes() -> schemes.SchemeRegistry:
    return schemes.load()


def _one_line(text: str) -> str:
    """Return text that can stand in a comment: without line ends and control characters, which TOML refuses there."""
    return "".join(c if c.isprintable() else " " for c in text)


def _toml(text: str) -> str:
    """Return the text as a TOML basic string, which differs from JSON's in DEL alone."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
