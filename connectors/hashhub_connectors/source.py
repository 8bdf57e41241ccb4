"""Bytes to text and lines: encodings, byte order marks, long lines and positions, once for all text formats."""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Callable, Iterator, Mapping
from typing import BinaryIO, Final, cast

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
