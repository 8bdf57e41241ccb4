"""Reads of sources: bytes, texts in their encoding, lines, and JSON texts larger than memory.

`JSONReader` keeps a window of text and lets the standard library's scanner (in C) read each value that fits in it. Only
a value that does not fit is descended into, member by member. So a record costs one C call, nothing is read twice but
the piece at a window's end, memory is bounded by MAX_LINE whatever the input, and every error knows its byte. Why not
ijson: see docs/decisions/0004-reading-json.md.
"""

from __future__ import annotations

import codecs
import io
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import Enum
from typing import BinaryIO, Final, NoReturn, cast

from hashhub.connector import MAX_LINE
from hashhub.errors import InvalidArgument, MalformedSource


class ClassifiedFormat:
    """What connectors have in common whose format has a place for classifications, whatever the options."""

    def has_classifications(self, options: Mapping[str, str]) -> bool:  # noqa: ARG002 - the same with all options
        """Return True: an item without one is undecided."""
        return True


class UnclassifiedFormat:
    """What connectors have in common whose format has no place for classifications."""

    def has_classifications(self, options: Mapping[str, str]) -> bool:  # noqa: ARG002 - the same with all options
        """Return False: being listed is the statement."""
        return False


READ_SIZE: Final = 1 << 18  # bytes asked of the stream at a time; 64 KiB to 1 MiB measured alike, smaller ones slower

_LOOKED_AT: Final = 8  # bytes; the longest signature that we tell a file by
_ENDS: Final = re.compile("[\0\n]")
BOMS: Final = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
MAX_DEPTH: Final = 64  # levels of values that do not fit in the window; no supported format has more than four
_LOOKAHEAD: Final = (
    16  # a number is complete only when this much text (or the end) follows: `1` may go on as `12` or `1e-9`
)
_DIGITS: Final = 4300  # Python's own limit for reading an integer from text
_WORDS: Final = ("true", "false", "null", "-Infinity", "NaN")  # a text that ends inside one is cut off, not wrong
_SPACE: Final = re.compile(r"[ \t\r\n]*")


def read_block(source: BinaryIO, size: int = READ_SIZE) -> bytes:
    """Return the next `size` bytes, fewer only at the end of the stream, however short its reads are."""
    block = source.read(size)
    if len(block) == size or not block:
        return block
    parts, missing = [block], size - len(block)
    while missing > 0 and (part := source.read(missing)):
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)


def head_encoding(head: bytes) -> str:
    """Return the encoding that a file's byte order mark says, utf-8 without one."""
    return next((encoding for bom, encoding in BOMS if head.startswith(bom)), "utf-8")


def head_text(head: bytes) -> str:
    """Return a file's first bytes as text: by its mark, else UTF-8; what is none comes as replacement characters."""
    return head.decode(head_encoding(head), "replace").removeprefix("\ufeff")


class _PeekedStream(io.RawIOBase):
    """A stream whose first bytes have been looked at: `head`."""

    def __init__(self, source: BinaryIO, size: int) -> None:
        super().__init__()
        self._source = source
        self.head = self._rest = read_block(source, size)

    def read(self, size: int = -1, /) -> bytes:
        """Return up to `size` bytes."""
        if not self._rest:
            return self._source.read(size)
        first, self._rest = (self._rest[:size], self._rest[size:]) if size >= 0 else (self._rest, b"")
        return first


def look_at(source: BinaryIO, size: int = _LOOKED_AT) -> tuple[bytes, BinaryIO]:
    """Return the first bytes of a stream, and a stream that gives them again."""
    begun = _PeekedStream(source, size)
    return begun.head, cast("BinaryIO", begun)


class TextReader:
    """A byte stream as text in one encoding, read in blocks. `encoding` empty: that of the byte order mark, UTF-8
    without one.

    A byte order mark of that encoding is skipped; one of another encoding, or bytes that are not the encoding's, raise
    MalformedSource with the caller's position (`where()`) and the byte. All text before the bad byte is delivered
    first, so that the caller's position is exact.
    """

    def __init__(self, source: BinaryIO, encoding: str, where: Callable[[], str], block: int = READ_SIZE) -> None:
        self._source = source
        self._size = block
        self._follows_mark = not encoding
        self._encoding = encoding or "utf-8"
        self._where = where
        self._taken = 0
        self._bad: tuple[int, str] | None = None
        self._started = self._ended = False
        self.skipped = 0  # bytes of a byte order mark before the first character

    def size(self, text: str) -> int:
        """Return how many bytes of the source this piece of it is."""
        if self._encoding.startswith("utf-16"):
            return len(text.encode(self._encoding, "surrogatepass"))
        return len(text) if text.isascii() else len(text.encode())

    def read(self) -> str:
        """Return the next piece of text, empty only at the end. Raises MalformedSource for a wrong encoding."""
        while not self._ended:
            if self._bad:
                byte, message = self._bad
                raise MalformedSource(message, position=f"{self._where()}, byte {byte}")
            block = read_block(self._source, self._size)
            if not self._started:
                self._started = True
                block = self._begin(block)
            if text := self._decode(block):
                return text
        return ""

    def _begin(self, block: bytes) -> bytes:
        """Strip the byte order mark, and refuse one of another encoding, or NUL bytes where there can be none."""
        bom, marked = next(((b, e) for b, e in BOMS if block.startswith(b)), (b"", ""))
        if self._follows_mark and marked:
            self._encoding = marked
        if self._encoding == "utf-16":
            self._encoding = marked if marked.startswith("utf-16") else "utf-16-le"
        if marked not in {"", self._encoding}:
            raise self._wrong(marked)
        if not self._encoding.startswith("utf-16") and b"\0" in block[:4]:
            raise self._wrong("utf-16")
        self._decoder = codecs.getincrementaldecoder(self._encoding)()
        self.skipped = self._taken = len(bom)
        return block[len(bom) :]

    def _wrong(self, what: str) -> MalformedSource:
        return MalformedSource(
            f"the file looks like {what.upper()}; expected {self._encoding.upper()}; convert it, or declare its "
            "encoding"
            " where the format has an option for it",
            position=f"{self._where()}, byte 0",
        )

    def _decode(self, block: bytes) -> str:
        held = len(self._decoder.getstate()[0])
        try:
            text = self._decoder.decode(block, final=not block)
        except UnicodeDecodeError as e:
            byte = self._taken - held + e.start
            cut = not block and e.end == len(e.object)
            name = self._encoding.upper()
            what, advice = f"is not {name}", "convert it, or declare its encoding where the format has an option for it"
            if cut:
                what, advice = "ends in the middle of a character", "the file is cut off"
            self._bad = byte, f"the text {what}; expected {name} throughout; {advice}"
            return e.object[: e.start].decode(self._encoding)
        self._taken += len(block)
        self._ended = not block
        return text


def lines(source: BinaryIO, encoding: str = "utf-8", *, longest: int = MAX_LINE) -> Iterator[tuple[int, str]]:
    """Yield (number, text) of each line, from 1, without its LF; a CR before the LF stays.

    Raises MalformedSource for a wrong encoding, a line of more than `longest` characters, an empty file, and lines that
    end in CR alone.
    """
    for number, line, _ in ended_lines(source, encoding, longest=longest):
        yield number, line


def ended_lines(
    source: BinaryIO, encoding: str = "utf-8", *, may_be_nul: bool = False, longest: int = MAX_LINE
) -> Iterator[tuple[int, str, str]]:
    """Yield (number, text, end) of each line as `lines` does. `end` is what ended it: LF, nothing at the end of the
    file, or NUL for all lines where `may_be_nul` and a NUL stands before the first LF.
    """
    number, rest = 1, ""
    end = "\n"
    text = TextReader(source, encoding, lambda: f"line {number}")
    while chunk := text.read():
        if may_be_nul and (first := _ENDS.search(chunk)):
            end, may_be_nul = first[0], False
        *whole, rest = (rest + chunk).split(end)
        for line in whole:
            if len(line) > longest:
                raise _long(number, longest)
            yield number, line, end
            number += 1
        if len(rest) > longest:
            raise _long(number, longest)
    if number == 1 and not rest:
        raise MalformedSource("the file is empty; expected at least one line", position="line 1")
    if number == 1 and "\r" in rest.rstrip("\r"):
        raise MalformedSource("lines end in CR alone; expected LF or CR LF; convert the file", position="line 1")
    if rest:
        yield number, rest, ""


def _long(number: int, longest: int) -> MalformedSource:
    return MalformedSource(
        f"the line is longer than {longest} characters; expected a text file of short lines; is this another format?",
        position=f"line {number}",
    )


# Text encodings that lists come in. Python knows more, some of which (punycode, unicode_escape) are no plain text.
_ENCODINGS: Final = frozenset(
    {
        "utf-8", "utf-16", "utf-16-le", "utf-16-be", "ascii", "iso8859-1", "iso8859-2", "iso8859-5", "iso8859-15",
        "cp437", "cp850",
        "cp1250", "cp1251", "cp1252", "cp1253", "cp1254", "koi8-r", "shift_jis", "cp932", "euc_jp", "euc_kr", "cp949",
        "gbk",
        "gb18030", "big5",
    }
)  # fmt: skip


def text_encoding(field: str, name: str) -> str:
    """Return the encoding that `name` means, with or without a mark. Raises InvalidArgument about `field`."""
    try:
        codec = codecs.lookup(name.strip()).name
    except (LookupError, ValueError):
        codec = ""
    codec = {"utf-8-sig": "utf-8"}.get(codec, codec)
    if codec not in _ENCODINGS:
        raise InvalidArgument.field(
            field,
            f"unknown encoding {name[:40]!r}; expected one of {', '.join(sorted(_ENCODINGS))}",
            "UNKNOWN_ENCODING",
        )
    return codec


class Large(Enum):
    """The answer for a container that does not fit in the window."""

    LARGE = "LARGE"


LARGE: Final = Large.LARGE


class Object(dict[str, object]):
    """A JSON object in which a key stands more than once: the last value stays, and `repeated` has such keys."""

    def __init__(self, pairs: Iterable[tuple[str, object]] = ()) -> None:
        self.repeated: set[str] = set()
        for key, value in pairs:
            self[key] = value

    def __setitem__(self, key: str, value: object) -> None:
        if key in self:
            self.repeated.add(key)
        super().__setitem__(key, value)


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    plain = dict(pairs)
    return plain if len(plain) == len(pairs) else Object(pairs)


def _integer(text: str) -> int | float:
    return int(text) if len(text) <= _DIGITS else math.inf


_scan: Final = json.JSONDecoder(object_pairs_hook=_object).raw_decode
# Slower: a Python call for each integer.
_scan_huge: Final = json.JSONDecoder(object_pairs_hook=_object, parse_int=_integer).raw_decode


class JSONReader:
    """A cursor in a JSON text. `where` is the caller's name for the place it is at; errors carry it with the byte.

    `limit` is how many characters of one value are held; `block` how many bytes are read at a time. Every method raises
    MalformedSource where the text is not JSON, neither UTF-8 nor UTF-16 with a byte order mark, or ends.
    """

    def __init__(self, source: BinaryIO, where: str, *, limit: int = MAX_LINE, block: int = READ_SIZE) -> None:
        self.where = where
        self._limit = limit
        self._block = block
        self._text = TextReader(source, "", lambda: self.where, block)
        self._window = ""
        self._at = 0
        self._dropped = 0  # bytes of text that left the window
        self._ended = False

    def peek(self) -> str:
        """Return the next character that is no white space, empty at the end of the text."""
        while True:
            at = self._at
            if at < len(self._window) and (c := self._window[at]) > " ":
                return c
            space = _SPACE.match(self._window, at)
            self._at = space.end() if space else at
            if self._at < len(self._window):
                return self._window[self._at]
            if self._ended:
                return ""
            self._fill()

    def value(self) -> object:
        """Return the next value and go past it; LARGE, staying before it, for a container longer than the limit.

        An object with a repeated key comes as `Object`; NaN and infinities come as floats, and so do integers of
        thousands of digits. Raises MalformedSource for a longer string and for nesting deeper than the interpreter's
        limit.
        """
        self.peek()
        while True:
            error: tuple[str, int] | None = None
            try:
                value, end = _decode(self._window, self._at)
            except json.JSONDecodeError as e:
                error = e.msg, e.pos  # not the exception: it would keep the window, and this frame in a cycle
            except RecursionError:
                self.fail("values are nested too deeply; expected at most a few levels")
            else:
                if end + _LOOKAHEAD <= len(self._window) or self._ended:
                    self._at = end
                    return value
            if self._ended:
                self._fail_at(*error or ("", len(self._window)))
            if len(self._window) - self._at > self._limit:
                if self._window[self._at] in "{[":
                    return LARGE
                if error and error[1] + _LOOKAHEAD <= len(self._window) and not error[0].startswith("Unterminated"):
                    self._fail_at(*error)
                self.fail(f"a single value is longer than {self._limit} characters")
            self._fill()

    def read(self) -> object:
        """Return the next value and go past it: LARGE for one that `value` stays before."""
        value = self.value()
        if value is LARGE:
            self.skip()
        return value

    def members(self) -> Iterator[str]:
        """Yield each key of the object at the cursor; the caller reads its value before it asks for the next."""
        self._take("{", "an object")
        if self.peek() == "}":
            self._at += 1
            return
        while True:
            if self.peek() != '"':
                self._expected("a key in double quotes")
            key = self.value()
            self._take(":", "a colon after the key")
            yield str(key)
            if not self._more("}"):
                return

    def elements(self) -> Iterator[int]:
        """Yield each index of the array at the cursor; the caller goes past the element before it asks for the next."""
        self._take("[", "an array")
        if self.peek() == "]":
            self._at += 1
            return
        index = 0
        while True:
            yield index
            if not self._more("]"):
                return
            index += 1

    def skip(self, depth: int = 0) -> None:
        """Go past the next value, however large."""
        if self.value() is not LARGE:
            return
        if depth == MAX_DEPTH:
            self.fail("values are nested too deeply; expected at most a few levels")
        for _ in self.members() if self.peek() == "{" else self.elements():
            self.skip(depth + 1)

    def end(self) -> None:
        """Raise MalformedSource unless only white space follows."""
        if self.peek():
            self.fail("more text follows after the end of the JSON value; expected one JSON document in one file")

    def fail(self, message: str) -> NoReturn:
        """Raise MalformedSource at the cursor."""
        self._fail(message, self._at)

    def _fail(self, message: str, at: int) -> NoReturn:
        byte = self._text.skipped + self._dropped + self._text.size(self._window[:at])
        raise MalformedSource(message, position=f"{self.where}, byte {byte}")

    def _fail_at(self, message: str, at: int) -> NoReturn:
        """Raise what the scanner found at `at`, telling a text that ends too early from one that is wrong."""
        rest = self._window[at:].strip()
        if message.startswith("Unterminated") or any(word.startswith(rest) for word in _WORDS):
            self._cut_off()
        if message.startswith("Invalid \\") and len(rest) < _LOOKAHEAD and '"' not in rest:
            self._cut_off()  # inside an escape
        self._fail(f"the text is not JSON ({message.removesuffix(' at')})", at)

    def _cut_off(self) -> NoReturn:
        self._fail("the JSON text ends too early; the file is cut off", len(self._window))

    def _expected(self, what: str) -> NoReturn:
        character = self.peek()
        if not character:
            self._cut_off()
        self.fail(f"the text is not the expected JSON: expected {what}, found {character!r}")

    def _take(self, char: str, what: str) -> None:
        if self.peek() != char:
            self._expected(what)
        self._at += 1

    def _more(self, closing: str) -> bool:
        character = self.peek()
        if character not in {",", closing} or not character:
            self._expected(f"a comma or {closing}")
        self._at += 1
        return character == ","

    def _fill(self) -> None:
        """Drop what was read from the window and add the next piece of text."""
        self._dropped += self._text.size(self._window[: self._at])
        piece = self._text.read()
        self._ended = not piece
        self._window = self._window[self._at :] + piece
        self._at = 0


def _decode(text: str, at: int) -> tuple[object, int]:
    try:
        return _scan(text, at)
    except json.JSONDecodeError:
        raise
    except ValueError:  # an integer of more digits than Python reads
        return _scan_huge(text, at)
