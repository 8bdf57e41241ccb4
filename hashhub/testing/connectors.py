"""The contract that every connector keeps, as tests: subclass `ConnectorContract`, give a sample, and run it with
pytest.

    class TestMine(ConnectorContract):
        connector = MyConnector()
        sample = b"..."            # a small file with a few items, good and bad
        items = 3                  # how many items it has
        self_delimiting = True     # the format has an end mark, as JSON and XML do

Needs neither pytest nor hypothesis itself: the methods assert, and the mutations come from a fixed seed.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from random import Random
from typing import Any, ClassVar, Final, NoReturn

import msgspec

from hashhub import item
from hashhub.connector import Connector
from hashhub.errors import InvalidArgument, MalformedSource
from hashhub.hashes import Hash
from hashhub.item import FieldKind
from hashhub.model import MAX_HASHES_PER_ENTRY, MAX_TEXT, Record, Reject

MAX_READ: Final = 16 << 20  # bytes; a connector that asks for more at a time would not stream
_CODE: Final = re.compile(r"[A-Z][A-Z0-9_]{0,62}")
_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


class Trickle(io.RawIOBase):
    """A byte stream that gives at most `step` bytes at a time and refuses to be read whole."""

    def __init__(self, data: bytes, step: int) -> None:
        super().__init__()
        self._data = data
        self._step = step
        self._at = 0

    def readable(self) -> bool:
        """Return True: it is a source."""
        return True

    def readinto(self, buffer: Any, /) -> int:
        """Put the next bytes into `buffer` (Python 3.11 has no type for it)."""
        into = memoryview(buffer).cast("B")
        assert len(into) <= MAX_READ, f"the connector asked for {len(into)} bytes at once; it must stream"
        piece = self._data[self._at : self._at + min(self._step, len(into))]
        into[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)

    def readall(self) -> NoReturn:
        """Fail: a source may be larger than memory."""
        raise AssertionError("the connector read the whole source at once; it must ask for pieces of a bounded size")


class ConnectorContract:
    """What holds for every connector. Subclasses set `connector`, `sample`, `items`, and `options` where needed.
    `self_delimiting`: a cut file raises MalformedSource; else a cut may only change the last item, never into another
    hash. `truncation_step`: bytes between cuts. `mutations`: damaged samples read.
    """

    connector: ClassVar[Connector]
    sample: ClassVar[bytes]
    items: ClassVar[int]
    options: ClassVar[Mapping[str, str]] = {}
    self_delimiting: ClassVar[bool] = False
    truncation_step: ClassVar[int] = 1
    mutations: ClassVar[int] = 300

    def test_says_what_it_is(self) -> None:
        """Name, version, summary and options are there."""
        assert isinstance(self.connector, Connector)
        assert _NAME.fullmatch(self.connector.name), "the name must be 1 to 63 of a-z, 0-9 and -"
        assert self.connector.version.strip(), "a version is needed: imports are identified by it"
        assert self.connector.summary.strip()
        assert all(o.name and o.description for o in self.connector.options)
        assert self.connector.has_classifications(self.options) in {True, False}

    def test_accounts_for_every_item(self) -> None:
        """One Record or Reject for each item (conservation), each at a position of its own."""
        items, error = self._read(self.sample)
        assert error is None, f"the sample must be readable: {error}"
        assert len(items) == self.items
        assert len({f.position for f in items}) == len(items), "positions must be unique"
        assert any(isinstance(f, Record) for f in items), "the sample must have a good item"
        has_values = any(isinstance(f, Record) and f.value for f in items)
        assert self.connector.has_classifications(self.options) or not has_values, "values are what a format carries"

    def test_reads_pieces_of_any_size(self) -> None:
        """Short reads change nothing, and the source is never read whole."""
        whole = self._read(self.sample)[0]
        for step in (1, 2, 3, 7, 64, 4096):
            assert list(self.connector.read(io.BufferedReader(Trickle(self.sample, step), 1), self.options)) == whole
            assert self._read(self.sample, step)[0] == whole

    def test_gives_the_same_twice(self) -> None:
        """The same bytes give the same records, also from one connector object."""
        assert self._read(self.sample) == self._read(self.sample)

    def test_results_have_a_json_form(self) -> None:
        """Everything that comes out survives its JSON form, so that it can be sent and stored."""
        for result in self._read(self.sample)[0]:
            assert msgspec.json.decode(msgspec.json.encode(result), type=type(result)) == result

    def test_refuses_unknown_options(self) -> None:
        """An option that does not exist is an error, not ignored."""
        try:
            list(self.connector.read(io.BytesIO(self.sample), {**self.options, "no-such-option": "1"}))
        except InvalidArgument as e:
            refused: InvalidArgument | None = e
        else:
            refused = None
        assert refused is not None, "an unknown option must raise InvalidArgument"
        assert not isinstance(refused, MalformedSource), "the options are wrong, not the source"

    def test_arbitrary_bytes_are_read_or_refused(self) -> None:
        """Anything at all gives records, rejects, MalformedSource or InvalidArgument: no other exception."""
        random = Random(f"{self.connector.name} bytes")
        for size in (0, 1, 2, 3, 4, 16, 100, 1000, 5000):
            for _ in range(8):
                self._read(random.randbytes(size))
                self._read(
                    bytes(random.choices(b'{}[]<>/"\\,;:= \n\r\t0123456789abcdefMD%#*\xef\xbb\xbf\xff\0', k=size))
                )

    def test_damaged_files_are_read_or_refused(self) -> None:
        """Damaged samples give records, rejects or an error with a position, and every record is well formed."""
        random = Random(f"{self.connector.name} damage")
        for _ in range(self.mutations):
            self._read(_damaged(self.sample, random))

    def test_a_cut_file_never_passes_for_another(self) -> None:
        """A cut file gives a prefix of the items, whose last may have lost something but never holds other hashes."""
        whole = self._read(self.sample)[0]
        hashes = {f.position: set(f.hashes) for f in whole if isinstance(f, Record)}
        end = len(self.sample.rstrip())
        for cut in range(0, end, self.truncation_step):
            items, error = self._read(self.sample[:cut])
            if self.self_delimiting:
                assert isinstance(error, MalformedSource), f"the file cut at byte {cut} passed for a complete one"
            assert items[:-1] == whole[: len(items)][:-1], f"cut at byte {cut}"
            for last in items[-1:]:
                if isinstance(last, Record):
                    assert last.position == whole[len(items) - 1].position, f"cut at byte {cut}"
                    assert set(last.hashes) <= hashes.get(last.position, set()), f"another hash, cut at byte {cut}"

    def _read(self, data: bytes, step: int = 1 << 16) -> tuple[list[Record | Reject], InvalidArgument | None]:
        """Return what came out and how it ended, and check what holds whatever the bytes are."""
        items: list[Record | Reject] = []
        error: InvalidArgument | None = None
        try:
            source: Any = Trickle(data, step)  # raw streams do
            for one in self.connector.read(source, self.options):
                items.append(one)  # noqa: PERF402 - what came before an error counts
        except InvalidArgument as e:
            error = e
        if isinstance(error, MalformedSource):
            assert error.position, "an error must say where"
        for one in items:
            _check(one)
        return items, error


def _check(result: Record | Reject) -> None:
    assert result.position
    msgspec.json.encode(result)
    if isinstance(result, Reject):
        assert _CODE.fullmatch(result.reason), f"{result.reason!r} is no UPPER_SNAKE reason"
        assert result.detail
        return
    assert isinstance(result, Record)
    assert len(result.hashes) <= MAX_HASHES_PER_ENTRY
    assert all(Hash.of(h.algorithm, h.digest) == h for h in result.hashes)
    assert all(_CODE.fullmatch(f.reason) and f.detail for f in result.faults)
    for text in (*(getattr(result, f.name) for f in item.of_kind(FieldKind.TEXT)), *result.tags):
        assert len(text) <= MAX_TEXT
        assert "\0" not in text, "PostgreSQL cannot store NUL"


def _damaged(sample: bytes, random: Random) -> bytes:
    """Return the sample with one to four random changes."""
    data = bytearray(sample)
    for _ in range(random.randint(1, 4)):
        at, other = sorted((random.randint(0, len(data)), random.randint(0, len(data))))
        match random.randrange(6):
            case 0:
                data[at:at] = random.randbytes(random.randint(1, 4))
            case 1:
                del data[at : at + random.randint(1, 8)]
            case 2:
                data[at : at + 1] = bytes([random.randrange(256)])
            case 3:
                data[at:at] = data[at:other]
            case 4:
                data[at:at] = random.choice(_SPITE)
            case _:
                del data[other:]
    return bytes(data)


# What breaks readers: separators, encodings, numbers, references, and characters that no database keeps.
_SPITE: Final = (
    b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\xed\xa0\x80", b'"', b"'", b"\\", b"\\ud800", b"\\u0000", b"\r", b"\n\n",
    b"null", b"NaN",
    b"-Infinity", b"9" * 5000, b"1e999", b"true", b"[" * 3000, b'{"a":' * 500, b"}", b"]", b",,,", b";;;", b"<", b"&x;",
    b"&#0;",
    b"<!DOCTYPE a>", b"<!--", b"]]>", b"%%%% HASHDEEP-1.0\n", b"x" * 3000, "é".encode("latin-1"),
    "\u202e\u0301".encode(),
)  # fmt: skip
