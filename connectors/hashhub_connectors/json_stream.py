"""A pull reader for JSON texts that are larger than memory.

It keeps a window of text and lets the standard library's scanner (in C) read each value that fits in the window. Only a
value that does not fit is descended into, member by member. So a record costs one C call, nothing is read twice but the
piece at a window's end, memory is bounded by MAX_LINE whatever the input, and every
error knows its byte. Why not ijson: see docs/decisions/0004-reading-json.md.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from enum import Enum
from typing import BinaryIO, Final, NoReturn

from hashhub.connector import MAX_LINE
from hashhub.errors import MalformedSource
from hashhub_connectors.source import READ_SIZE, TextReader

MAX_DEPTH: Final = 64  # levels of values that do not fit in the window; no supported format has more than four
_LOOKAHEAD: Final = (
    16  # a number is complete only when this much text (or the end) follows: `1` may go on as `12` or `1e-9`
)
_DIGITS: Final = 4300  # Python's own limit for reading an integer from text
_WORDS: Final = ("true", "false", "null", "-Infinity", "NaN")  # a text that ends inside one is cut off, not wrong
_SPACE: Final = re.compile(r"[ \t\r\n]*")


class Large(Enum):
    """The answer for a container that does not fit in the window."""

    LARGE = "LARGE"


LARGE: Final = Large.LARGE


class Object(dict[str, object]):
    """A JSON object in which a key stands more than once: the last value stays, and `repeated` has such keys."""

    def __init__(self, pairs: Iterable[tuple[str, object]] = ()) -> None:
        super().__init__(pairs)
        self.repeated: set[str] = set()


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    plain = dict(pairs)
    if len(plain) == len(pairs):
        return plain
    parsed = Object(pairs)
    parsed.repeated.update(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
    return parsed


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
