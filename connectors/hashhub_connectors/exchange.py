"""What the exchange formats (ThreatExchange, StopNCII, STIX, MISP) share: which entries a file may hold, how a value
travels with its scheme, and streams that are looked at before they are read.

A value goes out as `SCHEME@VERSION=VALUE`, the value with percent signs for whatever is no letter, digit, dot, hyphen
or underscore of ASCII, so that it fits into any tag. An entry that is classified by nobody, in a hash set whose purpose
says what being in it means, goes out as `listed`: it reads back as an item without a value.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import BinaryIO, Final, cast

import msgspec

from hashhub.connector import Exported, Loss, Option, partial, read_flag
from hashhub.errors import InvalidArgument, MalformedSource
from hashhub.hygiene import Code
from hashhub.model import (
    MAX_HASHES_PER_ENTRY,
    MAX_TEXT,
    Classification,
    Entry,
    EntryState,
    HashFault,
    HashSet,
    Purpose,
    Record,
    Reject,
)
from hashhub.schemes import is_name
from hashhub_connectors import items
from hashhub_connectors.outgoing import Output
from hashhub_connectors.source import READ_SIZE, JSONReader

LISTED: Final = "listed"
# A member of the outermost object of files that we write: they hold changes, and are no list to replace one with.
CHANGES_ONLY: Final = "x_hashhub_changes_only"
_HARM: Final = frozenset({"csam", "exploitative"})
_PURPOSES: Final = {Purpose.CSAM: frozenset({"csam"}), Purpose.EXPLOITATIVE: frozenset({"exploitative"})}
_MAX_QUALITY: Final = 100  # of PDQ
_PICKLE: Final = re.compile(rb"\x80[\x00-\x05]|[\]})]q\x00|(?:\(dp|\(lp|ccopy_reg\n|c__builtin__\n|c__main__\n)")
_ESCAPED: Final = re.compile(r"%([0-9A-F]{2})")
_UNSTORABLE: Final = re.compile("[\0\ud800-\udfff]")


class OptionalClassification:
    """The option of connectors whose format has a place for classifications that only hashhub uses."""

    options: tuple[Option, ...] = (
        Option(
            "classified",
            "no: being in the file is the statement, as in a plain list of hashes; items that state a classification "
            "or call themselves benign are refused; yes unless given",
        ),
    )

    def has_classifications(self, options: Mapping[str, str]) -> bool:
        """Return what the option `classified` says: yes unless it says no. Raises InvalidArgument for other words."""
        stated = options.get("classified", "yes")
        flag = read_flag(stated)
        if flag is None:
            raise InvalidArgument.field("options.classified", f"must be yes or no, got {stated[:20]!r}", "PATTERN")
        return flag


# --- What may be written ----------------------------------------------------------------------------------------------


def harm(entry: Entry, hash_set: HashSet | None) -> frozenset[str]:
    """Return the verdicts by which an entry claims harm: those of its classification or, without one, its hash set's
    purpose.

    Empty where it claims none: undecided, harmless, or in a set of benign or of test items.
    """
    if hash_set is None or hash_set.purpose not in _PURPOSES or Code.UNCLASSIFIED.value in entry.reasons:
        return frozenset()
    if entry.classification is None:
        return _PURPOSES[hash_set.purpose]
    verdicts = frozenset(entry.classification.dimensions.get("verdict", ()))
    return verdicts if verdicts <= _HARM else frozenset()


def hash_set_of(entry: Entry, exported: Exported) -> HashSet | None:
    """Return the hash set that the entry is in, or None where the export does not tell of it."""
    return exported.hash_sets.get(f"{entry.contributor}/{entry.hash_set}")


def no_frames(entry: Entry, form: str) -> Iterator[Loss]:
    """Yield the loss of the frames of a video that stands, for which the format has no place."""
    if entry.frame_count and entry.state is not EntryState.WITHDRAWN:
        yield Loss(entry.name, "frames", "NO_PLACE", f"{form} has no place for the frames of a video")


def withdrawal_of_all(entry: Entry, exported: Exported) -> Loss | None:
    """Return why a withdrawal must not be written in a format that withdraws digests, whoever else lists them."""
    if entry.state is not EntryState.WITHDRAWN or len(exported.hash_sets) <= 1:
        return None
    detail = "the format withdraws a digest, which another hash set of this export may list; export one at a time"
    return Loss(entry.name, "entry", "WITHDRAWAL_OF_ALL", detail)


def no_hash(entry: Entry, form: str) -> Loss:
    """Return the loss of an entry of which the format can write no hash."""
    return Loss(entry.name, "entry", "NO_HASH", f"{form} has no name for any algorithm of the entry's hashes")


def survives(text: str) -> bool:
    """Whether our connectors, which trim texts and drop control characters, read this text as it is."""
    return items.text(text, "", []) == text


# --- A value with its scheme ------------------------------------------------------------------------------------------


def spell(classification: Classification) -> str:
    """Return the value with its scheme as one word of ASCII; `unspell` reads it."""
    version = f"@{classification.version}" if classification.version else ""
    value = "".join(
        c if c.isascii() and (c.isalnum() or c in "._-") else "".join(f"%{b:02X}" for b in c.encode())
        for c in classification.value
    )
    return f"{classification.scheme}{version}={value}"


def unspell(word: str) -> tuple[str, str] | None:
    """Return (scheme, value) of what `spell` wrote, ("", "") for `listed`, or None for any other text."""
    if word == LISTED:
        return "", ""
    scheme, equals, value = word.partition("=")
    if not equals or not value or not value.isascii() or (scheme and not is_name(scheme)):
        return None
    try:
        value = _ESCAPED.sub(lambda m: chr(int(m[1], 16)), value).encode("latin-1").decode()
    except UnicodeDecodeError:
        return None
    return None if _UNSTORABLE.search(value) or len(value) > MAX_TEXT else (scheme, value)


def with_terms(read: Record, label: str, new: Iterable[str]) -> Record:
    """Return the record with a note of the terms that the file states from it on, where there are any."""
    words = "; ".join(sorted(new))[:200]
    if not words or len(read.hashes) + len(read.faults) >= MAX_HASHES_PER_ENTRY:
        return read
    detail = f"from here on the file states {words} of items; the terms of the hash set hold"
    return msgspec.structs.replace(read, faults=(*read.faults, HashFault(label, Code.TERMS_STATED.value, detail)))


# --- Texts, times, further fields -------------------------------------------------------------------------------------


def as_written(value: object, label: str, faults: list[HashFault]) -> str:
    """Return a text of hashhub's own fields exactly as it is, and any other value as `items.text` does."""
    if isinstance(value, str) and len(value) <= MAX_TEXT and not _UNSTORABLE.search(value):
        return value
    return items.text(value, label, faults)


def quality(value: object, label: str, faults: list[HashFault]) -> int | None:
    """Return a PDQ quality from an integer or its text; None when it is absent or, with BAD_FIELD, none."""
    number = items.size(value, label, faults)
    if number is None or number <= _MAX_QUALITY:
        return number
    faults.append(items.bad_field(label, f"a whole number of 0 to {_MAX_QUALITY}", value))
    return None


def own_id(value: object) -> str:
    """Return a source's identifier, however long: `items.bad_id` tells whether it can be kept as it is."""
    return str(value).strip() if isinstance(value, str | int) and not isinstance(value, bool) else ""


def time_text(time: datetime) -> str:
    """Return a time as STIX and MISP write it: UTC, milliseconds, `Z`."""
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def read_time(value: object, label: str, faults: list[HashFault]) -> datetime | None:
    """Return the time that a text with an offset spells, or None and BAD_FIELD."""
    if value is None or value == "":
        return None
    if isinstance(value, str):
        try:
            time = datetime.fromisoformat(value)
            if time.tzinfo is not None:
                return time.astimezone(UTC)
        except (ValueError, OverflowError):
            pass
    faults.append(items.bad_field(label, "a time with its offset from UTC, such as 2026-01-02T03:04:05Z", value))
    return None


# --- Streams ----------------------------------------------------------------------------------------------------------


@contextmanager
def seekable(source: BinaryIO) -> Iterator[BinaryIO]:
    """Yield the source, or a temporary copy of one that can be read only once."""
    if source.seekable():
        yield source
        return
    with tempfile.TemporaryFile() as copy:
        shutil.copyfileobj(source, copy, READ_SIZE)
        copy.seek(0)
        yield cast("BinaryIO", copy)


def start_of(head: bytes) -> bytes:
    """Return the first bytes of a file without a byte order mark and white space."""
    return head.removeprefix(b"\xef\xbb\xbf").lstrip(b" \t\r\n")


def refuse_pickle(head: bytes) -> None:
    """Raise MalformedSource for Python's pickles, which the `threatexchange` package keeps its state in."""
    if _PICKLE.match(head):
        raise MalformedSource(
            "the file is a Python pickle, which can run code when it is read and is never opened; export the state as "
            "text instead: threatexchange dataset -P --csv",
            position="byte 0",
        )


def elements(reader: JSONReader, array: str) -> Iterator[tuple[str, object]]:
    """Yield (position, element) of the array at the cursor; an element longer than the window comes as LARGE."""
    for index in reader.elements():
        reader.where = position = f"{array}[{index}]"
        yield position, reader.read()


def changes_only() -> Reject:
    """Return what tells the hub that a file of ours holds changes only."""
    return partial(CHANGES_ONLY, "the file was exported as changes since an earlier one")


class JSONArray:
    """A JSON array that is written element by element, one on each line."""

    def __init__(self, sink: Output) -> None:
        self._sink = sink
        self._is_empty = True

    def add(self, element: bytes) -> None:
        """Write one element."""
        self._sink.put((b"\n" if self._is_empty else b",\n") + element)
        self._is_empty = False


encode: Final = msgspec.json.Encoder().encode
