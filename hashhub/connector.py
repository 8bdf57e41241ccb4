"""The plug-in API for formats: connectors read bytes into records and rejects, writers entries into bytes and losses.

A connector knows one format and no network, database or hub. It reads a stream once, front to back, and yields exactly
one `Record` or `Reject` for every item (conservation), or raises `MalformedSource`, and nothing of the import is
committed. A writer yields a `Loss` for what its format cannot say, and never writes what nobody stated. Both are entry
points, in the groups `hashhub.connectors` and `hashhub.writers`, and checked with `ConnectorContract` and
`WriterContract` of `hashhub.testing`.
"""

from __future__ import annotations

import re
from binascii import a2b_base64, a2b_hex
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from datetime import datetime
from enum import IntEnum
from functools import cache
from importlib.metadata import entry_points
from typing import Any, BinaryIO, Final, Protocol, TypeVar, runtime_checkable

import msgspec

from hashhub import hashes
from hashhub.errors import InvalidArgument, Reason, Violation
from hashhub.hashes import ALGORITHMS, Hash, HashError
from hashhub.hygiene import Code
from hashhub.model import Entry, HashFault, HashSet, Record, Reject
from hashhub.schemes import Scheme

GROUP: Final = "hashhub.connectors"  # of entry points that connectors are registered in
WRITER_GROUP: Final = "hashhub.writers"  # of entry points that writers are registered in
HEAD_BYTES: Final = 64 * 1024  # of a file, which `detect` is shown
# Bytes. A longer "line" or field is no line of any supported format, and must not fill memory.
MAX_LINE: Final = 1 << 20
_NAMES_TOLD: Final = 100  # of fields that are left out
_LEFT_OUT: Final = re.compile(r"left out ([0-9][0-9,]{0,18}) times?:")
_NAME_SHOWN: Final = 120  # characters of one
SAYS_NOTHING: Final[tuple[object, ...]] = (None, "", [], {})
"""Values by which a field says nothing."""
_Format = TypeVar("_Format")

# A tag `purpose:csam`, `purpose:exploitative` or `purpose:benign` is what the source itself says of all its items. The
# hub quarantines them in a hash set of another purpose, which would otherwise say of an unclassified one what nobody
# stated.
PURPOSE_TAG: Final = "purpose:"
# Intimate pictures of adults, shared without consent: the purpose of no hash set, so that they wait in each of them.
NCII_TAG: Final = "purpose:ncii"


_Read = TypeVar("_Read")
_Made = TypeVar("_Made")
Known = Mapping[str, "Known | None"]
"""The fields that are read of an object, and of those in it; None: the value is read as it is."""


class Option(msgspec.Struct, frozen=True):
    """A setting that a connector takes from the caller (`--option name=value`)."""

    name: str
    description: str
    required: bool = False


@runtime_checkable
class Connector(Protocol):
    """What a connector must offer. `version` changes whenever the same bytes would give other records."""

    name: str
    version: str
    summary: str
    options: tuple[Option, ...]

    def has_classifications(self, options: Mapping[str, str]) -> bool:
        """Whether what is read with these options carries classifications, so that an item without one says nothing.
        False: being in the hash set is the statement. Raises InvalidArgument for a wrong option.
        """
        ...

    def read(self, source: BinaryIO, options: Mapping[str, str]) -> Iterator[Record | Reject]:
        """Yield one Record or Reject for each item of `source`, streaming; besides, a `partial` where the source says
        it is incomplete. A generator that leaves fields out returns LeftOut.

        Raises MalformedSource where the source cannot be read any further, InvalidArgument for a wrong option.
        """
        ...


@runtime_checkable
class HasTerms(Protocol):
    """What a connector offers beside `Connector` when its format states terms. Its option `hash_set` names the
    importer's own.
    """

    def hash_sets(self, source: BinaryIO) -> tuple[HashSet, ...]:
        """Return the hash sets that the items come from. The terms of each are a floor, but for the very hash set that
        they are imported into: the one of this name and `create_time`. Raises MalformedSource.
        """
        ...


class Certainty(IntEnum):
    """How sure a connector is that a file is of its format."""

    POSSIBLE = 1  # nothing speaks against it, but other formats look alike: a person must say
    LIKELY = 2  # the shape fits, and no other format that hashhub reads has it
    CERTAIN = 3  # a signature, or names that only this format has


class Guess(msgspec.Struct, frozen=True):
    """What a file is taken for, and why in a clause; `options` for `read` that the file itself gives, such as the
    delimiter.
    """

    certainty: Certainty
    why: str
    options: Mapping[str, str] = {}


@runtime_checkable
class Detector(Protocol):
    """What a connector offers beside `Connector` when it can tell its files from others. One that reads binary files
    itself, such as gzip or ZIP, must claim them here: others' are unpacked, or refused (`hashhub.client.sources`).
    """

    def detect(self, head: bytes, name: str) -> Guess | None:
        """Return a guess from the first bytes (at most HEAD_BYTES; all of them if it is shorter) and the file's name,
        which may be empty. None: it is none of this connector's. Never raises.
        """
        ...


class Loss(msgspec.Struct, frozen=True):
    """What an export does not say of an entry (by name; empty: of all). `field`: `value`, a field, `hash:ALGORITHM`,
    `terms`, or `entry` where it is left out. `reason`: a code in capitals. `detail`: a sentence.
    """

    entry: str
    field: str
    reason: str
    detail: str


class Exported(msgspec.Struct, frozen=True):
    """What a writer is told of the export: `hash_sets` by CONTRIBUTOR/SET, all `schemes` by id, and whether it
    `is_delta`: only changes, with WITHDRAWN entries, which stand in no other export.
    """

    hash_sets: Mapping[str, HashSet]
    schemes: Mapping[str, Scheme]
    time: datetime
    is_delta: bool = False


@runtime_checkable
class Writer(Protocol):
    """What a writer must offer. `version` changes with its bytes. `reads_back`: the connector of its files.
    `has_withdrawals`: the format has them; otherwise each is a Loss. `suffix`: of its files, such as `.json`.
    """

    name: str
    version: str
    summary: str
    options: tuple[Option, ...]
    reads_back: str
    has_withdrawals: bool
    suffix: str

    def write(
        self, entries: Iterable[Entry], target: BinaryIO, exported: Exported, options: Mapping[str, str]
    ) -> Iterator[Loss]:
        """Write the entries to `target`, streaming, and yield losses as they occur; the file is whole once this has
        ended, without entries as well. Raises InvalidArgument for a wrong option, before anything is written.
        """
        ...


@runtime_checkable
class ReadBack(Protocol):
    """What a writer offers beside `Writer` when its files are read back with options."""

    def reading_options(self, exported: Exported, options: Mapping[str, str]) -> Mapping[str, str]:
        """Return the options with which `reads_back` reads the file that `write` makes of these."""
        ...


def reading_options(writer: Writer, exported: Exported, options: Mapping[str, str]) -> Mapping[str, str]:
    """Return the options with which the connector `reads_back` reads the file that the writer makes of these."""
    return writer.reading_options(exported, options) if isinstance(writer, ReadBack) else {}


def writers() -> dict[str, Writer]:
    """Return the installed writers by name. One that fails to load is an error, not a silent absence."""
    return _load(WRITER_GROUP)


def get_writer(name: str) -> Writer:
    """Return the writer with this name. Raises InvalidArgument (UNKNOWN_FORMAT) with the names that exist."""
    return _get(writers(), name, "writers")


def discover() -> dict[str, Connector]:
    """Return the installed connectors by name. One that fails to load is an error, not a silent absence."""
    return _load(GROUP)


def get(name: str) -> Connector:
    """Return the connector with this name. Raises InvalidArgument (UNKNOWN_FORMAT) with the names that exist."""
    return _get(discover(), name, "connectors")


def recognise(head: bytes, name: str = "") -> list[tuple[str, Guess]]:
    """Return what a file may be by its first bytes (HEAD_BYTES, or all), best first: (connector, guess) of every
    installed Detector; of guesses equally sure those that need a mapping last. A detector that fails has no guess.
    """
    guesses: list[tuple[str, Guess]] = []
    for connector_name, connector in discover().items():
        if not isinstance(connector, Detector):
            continue
        try:
            guess = connector.detect(head[:HEAD_BYTES], name)
        except Exception:  # noqa: BLE001, S112 - anybody's code; it must not keep others from reading the file
            continue
        if isinstance(guess, Guess):
            guesses.append((connector_name, guess))
    return sorted(guesses, key=lambda g: (-g[1].certainty, "mapping" in g[1].options, g[0]))


def choose(guesses: list[tuple[str, Guess]], what: str = "") -> tuple[str, Guess]:
    """Return the guess to act on: the only CERTAIN one, else the only LIKELY one. Raises InvalidArgument
    (UNKNOWN_FORMAT) that says what the file may be, or is (`what`), and how to say it.
    """
    if guesses:
        best = guesses[0][1].certainty
        if best > Certainty.POSSIBLE and [g.certainty for _, g in guesses].count(best) == 1:
            return guesses[0]
        candidates = "; ".join(f"{name} ({guess.certainty.name.lower()}: {guess.why})" for name, guess in guesses)
        message = f"cannot tell for sure what this file is: {candidates}. Say which it is with --format NAME"
    else:
        known = ", ".join(discover())
        what, _, todo = what.partition("; ")
        message = (
            f"this is {what}, which no installed connector reads; "
            f"{todo or f'give a list in one of these formats: {known}'}"
            if what
            else f"no format fits this file; formats are {known}. Say which it is with --format NAME"
        )
    raise InvalidArgument(
        message, reason=Reason.UNKNOWN_FORMAT, violations=(Violation("format", "must be told", "UNKNOWN_FORMAT"),)
    )


@cache
def _load(group: str) -> dict[str, Any]:
    loaded: dict[str, Any] = {}
    for point in sorted(entry_points(group=group), key=lambda p: p.name):
        try:
            one = point.load()()
        except Exception as e:
            raise InvalidArgument(
                f"{group.partition('.')[2].rstrip('s')} {point.name!r} from {point.value} cannot be loaded "
                f"({type(e).__name__}); repair or uninstall it",
                reason=Reason.UNKNOWN_FORMAT,
            ) from e
        loaded[point.name] = one
    return loaded


def _get(loaded: Mapping[str, _Format], name: str, kind: str) -> _Format:
    if name not in loaded:
        message = f"unknown format {name[:40]!r}; installed {kind} are"
        raise InvalidArgument.unknown_name("format", message, loaded, Reason.UNKNOWN_FORMAT)
    return loaded[name]


def check_options(connector: Connector | Writer, given: Mapping[str, str]) -> None:
    """Raise InvalidArgument when an option is unknown to the connector or a required one is missing."""
    known = {o.name for o in connector.options}
    has = f"it has {', '.join(sorted(known))}" if known else "it has none"
    wrong = [
        Violation(f"options.{n[:40]}", f"is no option of {connector.name}: {has}", "UNKNOWN")
        for n in given
        if n not in known
    ]
    wrong += [
        Violation(f"options.{o.name}", f"is required: {o.description}", "REQUIRED")
        for o in connector.options
        if o.required and not given.get(o.name)
    ]
    if wrong:
        raise InvalidArgument("; ".join(f"{v.field} {v.description}" for v in wrong), violations=tuple(wrong))


def partial(position: str, detail: str) -> Reject:
    """Return the Reject that marks a source as not the full list; no import replaces a set by it."""
    return Reject(position, Code.PARTIAL_SOURCE.value, detail)


class LeftOut:
    """Counts by name the fields of a source that are not kept. A connector calls `see` or `beyond` with what it does
    not know, and returns this at the end of `read`, so that nothing is left out in silence.
    """

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def see(self, name: str, times: int = 1) -> None:
        """Count a field. Names may be anything: they are shortened, made printable, and beyond a hundred are one."""
        if not times:
            return
        if name not in self._counts:
            name = "".join(c if c.isprintable() else "\ufffd" for c in name[:_NAME_SHOWN]).strip() or "without a name"
            if name not in self._counts and len(self._counts) >= _NAMES_TOLD:
                name = "of further names"
        self._counts[name] = self._counts.get(name, 0) + times

    def beyond(self, value: object, known: Known, path: str = "") -> None:
        """Count what objects say in fields that `known` does not have; null or empty says nothing."""
        for one in value if isinstance(value, list) else (value,):
            for key, inside in one.items() if isinstance(one, dict) else ():
                if key not in known:
                    if inside not in SAYS_NOTHING:
                        self.see(path + key)
                elif (below := known[key]) is not None and isinstance(inside, dict | list):
                    self.beyond(inside, below, f"{path}{key}.")

    def told(self) -> Iterator[Reject]:
        """Yield what tells the hub of each field, in the order in which they were met. They stand for no items."""
        for name, times in self._counts.items():
            detail = f"left out {times:,} time{'s' * (times != 1)}: hashhub keeps no such field"
            yield Reject(f"field {name}", Code.FIELD_LEFT_OUT.value, detail)

    @staticmethod
    def times(detail: str) -> int:
        """Return how often a field was left out, as `told` says it."""
        said = _LEFT_OUT.match(detail)
        return int(said[1].replace(",", "")) if said else 1


Items = Generator[Record | Reject, None, LeftOut]
"""What `read` of a connector gives that says what it left out."""


def each(items: Iterable[_Read], make: Callable[[_Read], Iterable[_Made]]) -> Generator[_Made, None, LeftOut | None]:
    """Yield what `make` gives of each item, and return what was left out, where `items` is a generator that says so."""
    iterator = iter(items)
    while True:
        try:
            one = next(iterator)
        except StopIteration as end:
            return end.value if isinstance(end.value, LeftOut) else None
        yield from make(one)


def read_hash(label: str, text: str) -> Hash | HashFault:
    """Return the hash that a source gives under `label`, or the fault: UNSUPPORTED_ALGORITHM for unknown labels,
    otherwise the reason of `hashes.parse` with `DIGEST_` before it.
    """
    try:
        return hashes.parse(label, text)
    except HashError as e:
        return HashFault(label, f"DIGEST_{e.violations[0].reason}", e.message)
    except InvalidArgument:
        return HashFault(
            label[:40],
            "UNSUPPORTED_ALGORITHM",
            f"this hub does not match {label[:40]!r} digests; the hash was left out",
        )


def read_hashes(pairs: list[tuple[str, str]]) -> tuple[tuple[Hash, ...], tuple[HashFault, ...]]:
    """Return the distinct hashes of (label, text) pairs in their order, and the faults."""
    good: list[Hash] = []
    faults: list[HashFault] = []
    for label, text in pairs:
        # The usual spellings, hexadecimal under the canonical name and PhotoDNA in base64: 1 µs less for each digest.
        try:
            if _HEX_DIGITS.get(label) == len(text):
                good.append(Hash(label, a2b_hex(text)))
                continue
            if label == "PHOTODNA" and len(text) == _PHOTODNA_BASE64 and not _HEX_ONLY.fullmatch(text):
                digest = a2b_base64(text, strict_mode=True)
                if len(digest) == _PHOTODNA_BYTES:
                    good.append(Hash(label, digest))
                    continue
        except ValueError:
            pass  # told below
        read = read_hash(label, text)
        if isinstance(read, Hash):
            good.append(read)
        else:
            faults.append(read)
    return tuple(good) if len(good) == 1 else tuple(dict.fromkeys(good)), tuple(faults)


_HEX_DIGITS: Final = {a.name: 2 * a.digest_bytes for a in ALGORITHMS.values()}
_HEX_ONLY: Final = re.compile(r"[0-9A-Fa-f]+")
_PHOTODNA_BYTES: Final = ALGORITHMS["PHOTODNA"].digest_bytes
_PHOTODNA_BASE64: Final = _PHOTODNA_BYTES * 4 // 3

# Words that sources use for tri-state flags, compared in lower case.
_TRUE: Final = frozenset({"true", "t", "yes", "y", "1"})
_FALSE: Final = frozenset({"false", "f", "no", "n", "0"})


def read_flag(value: object) -> bool | None:
    """Return a flag, from booleans or the words of real files ("false" is False), or None where it says neither."""
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower() if value is not None else ""
    return True if word in _TRUE else False if word in _FALSE else None
