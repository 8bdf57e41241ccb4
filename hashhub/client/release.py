"""What is contributed in one import: one source, or the parts of a release, which become visible together or not;
and what reads a source: the connector, told or recognised, and the list in it if it is a container.

Some lists come as several files (CAID's gold disk, NSRL). Read one by one, an incomplete release would go live; as one
import its parts are read in the order given, and a part that is missing or damaged leaves nothing visible. The
positions of several parts begin with the part's name (`part2.json: value[3]`), and their digest is that of the lines
that `sha256sum PART1 PART2` prints. One source is what it was before there were parts.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from io import UnsupportedOperation
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

import msgspec

from hashhub import connector as connectors
from hashhub import containers
from hashhub.connector import HEAD_BYTES, Certainty, Connector, Detector, Guess, HasTerms, each
from hashhub.errors import InvalidArgument, MalformedSource, Violation
from hashhub.model import HashSet, Record, Reject


class Detection(NamedTuple):
    """What a source may be: all guesses, best first, and where its list begins.

    `stream`: the list, at its beginning, and `container`: what it stands in, for people, such as `a gzip file`; empty
    where it is the source itself. `what`: what a file is that is no list (`a picture (JPEG)`), or nothing.
    """

    guesses: list[tuple[str, Guess]]
    stream: BinaryIO
    container: str
    what: str


class ReadySource(NamedTuple):
    """A list that can be read: the bytes for `connector`, at their beginning, and its options.

    `guess`: why this connector, where it was not told. `container`: as in Detection.
    """

    connector: Connector
    options: dict[str, str]
    stream: BinaryIO
    guess: Guess | None
    container: str


def name_of(source: BinaryIO) -> str:
    """Return the file name of a stream, empty where it has none."""
    name = getattr(source, "name", "")
    return Path(name).name if isinstance(name, str) and not name.startswith("<") else ""


def look(source: BinaryIO, head: bytes, name: str) -> Detection:
    """Return what `source`, whose first bytes are `head`, may be.

    Raises InvalidArgument for a container of other than one list, MalformedSource for a damaged one.
    """
    guesses = connectors.recognise(head, name)
    if containers.is_container(head) and (not guesses or guesses[0][1].certainty is Certainty.POSSIBLE):
        unpacked = containers.unpack(source, name)
        if unpacked is not None:
            inside = unpacked.stream.read(HEAD_BYTES)
            unpacked.stream.seek(0)
            return Detection(connectors.recognise(inside, unpacked.name), unpacked.stream, unpacked.container, "")
    return Detection(guesses, source, "", "an empty file" if containers.is_empty(head) else _named(head))


def ready(
    source: BinaryIO, head: bytes, name: str, connector: Connector | None, options: Mapping[str, str]
) -> ReadySource:
    """Return how to read `source`, whose first bytes are `head`: by `connector`, or by the one that recognises it.

    Raises InvalidArgument for what is no list, not one list, or perhaps of several formats; MalformedSource if damaged.
    """
    if connector is not None:
        return _told(source, head, name, connector, options)
    seen = look(source, head, name)
    chosen, guess = connectors.choose(seen.guesses, seen.what)
    return ReadySource(connectors.get(chosen), {**guess.options, **options}, seen.stream, guess, seen.container)


def _told(source: BinaryIO, head: bytes, name: str, connector: Connector, options: Mapping[str, str]) -> ReadySource:
    """Return how to read a source by a connector that was told, which wins over what others say."""
    claims = isinstance(connector, Detector) and _claims(connector, head, name)
    unpacked = containers.unpack(source, name) if containers.is_container(head) and not claims else None
    # What a connector without `detect` reads is not known, so that it gets binary files as they are.
    if unpacked is None and not claims and isinstance(connector, Detector) and (what := _named(head)):
        raise InvalidArgument(
            f"this is {what}; {connector.name} does not read it",
            violations=(Violation("source", f"is {what}", "CONTAINER"),),
        )
    if unpacked is None:
        return ReadySource(connector, dict(options), source, None, "")
    return ReadySource(connector, dict(options), unpacked.stream, None, unpacked.container)


def _named(head: bytes) -> str:
    """Return what a file is that is no list and was not unpacked, or nothing."""
    return containers.WORKBOOK if containers.is_container(head) else containers.describe(head)


def _claims(connector: Detector, head: bytes, name: str) -> bool:
    try:
        return connector.detect(head, name) is not None
    except Exception:  # noqa: BLE001 - anybody's code, which promises not to
        return False


_READ_BYTES: Final = 1024 * 1024
_NAME_SHOWN: Final = 255  # characters: what file systems allow


class Release:
    """Seekable sources, read one after the other. Raises InvalidArgument when there is none."""

    def __init__(self, sources: Sequence[BinaryIO]) -> None:
        if not sources:
            raise InvalidArgument.field("source", "must be one file or stream, or several; got none")
        self._sources = tuple(sources)
        self._names = _names(self._sources)
        self._sizes: list[int] = []
        self._before = 0  # bytes of the parts that are done
        self._current = self._sources[0]
        self._ready: list[ReadySource] = []
        self._heads: list[bytes] = []

    def size(self) -> int:
        """Return how many bytes all parts have."""
        self._sizes = [source.seek(0, os.SEEK_END) for source in self._sources]
        return sum(self._sizes)

    def written(self) -> list[tuple[int, int]]:
        """Return what changes when somebody writes to a part."""
        return [_written(source) for source in self._sources]

    def tell(self) -> int:
        """Return how many bytes of all parts were read."""
        return self._before + self._current.tell()

    def digest(self, progress: Callable[[int], None]) -> str:
        """Return the SHA-256 that identifies the release. `progress` is told how many bytes were read.

        Raises InvalidArgument when two parts have the same content: one was given twice, and another forgotten.
        """
        done = 0
        digests: list[str] = []
        for source in self._sources:
            sha = hashlib.sha256()
            source.seek(0)
            while block := source.read(_READ_BYTES):
                sha.update(block)
                done += len(block)
                progress(done)
            digests.append(sha.hexdigest())
        if len(digests) == 1:
            return digests[0]
        for i, digest in enumerate(digests):
            if (first := digests.index(digest)) < i:
                raise InvalidArgument.field(
                    "source",
                    f"part {i + 1} ({self._names[i]}) has the same content as part {first + 1} "
                    f"({self._names[first]}); give each part once, and all of them",
                    "DUPLICATE",
                )
        lines = "".join(f"{digest}  {name}\n" for digest, name in zip(digests, self._names, strict=True))
        return hashlib.sha256(lines.encode()).hexdigest()

    def recognise(self, connector: Connector | None, options: Mapping[str, str]) -> tuple[Connector, Mapping[str, str]]:
        """Return what reads all parts, and with which options: `connector`, or the one that recognises them.

        Raises as `sources.ready`, and InvalidArgument when the parts are not in one format.
        """
        self._ready, self._heads = [], []
        for source, name in zip(self._sources, self._names, strict=True):
            source.seek(0)
            head = source.read(HEAD_BYTES)
            given = ready(source, head, name_of(source), connector, options)
            first = self._ready[0] if self._ready else given
            if (given.connector.name, given.options) != (first.connector.name, first.options):
                raise InvalidArgument.field(
                    "source",
                    f"{name} is another kind of list than {self._names[0]} ({given.connector.name} "
                    f"{given.options or ''}, {first.connector.name} {first.options or ''}); the parts of a release "
                    "have one format: say which, or import them one by one",
                    "AMBIGUOUS",
                )
            self._ready.append(given)
            self._heads.append(head)
        return self._ready[0].connector, self._ready[0].options

    def hash_sets(self) -> list[HashSet]:
        """Return the hash sets that the parts name; `recognise` was called. Raises what the connector does."""
        stated: list[HashSet] = []
        for given in self._ready:
            if isinstance(given.connector, HasTerms):
                given.stream.seek(0)
                stated += given.connector.hash_sets(given.stream)
        return stated

    def read_as_own(self, hash_set: str) -> Mapping[str, str]:
        """Read the entries of this hash set as the importer's own, unless the options name one. Return the options."""
        self._ready = [given._replace(options={"hash_set": hash_set, **given.options}) for given in self._ready]
        return self._ready[0].options

    @property
    def why(self) -> str:
        """Why the first part is taken for what it is, and what it stands in, for people; empty where it was told."""
        first = self._ready[0]
        why = first.guess.why if first.guess else ""
        return f"in {first.container}: {why}" if first.container else why

    def described(self) -> str:
        """Return what the part that was read last is when it is no list, such as `a picture (JPEG)`, or nothing."""
        return containers.describe(self._heads[self._sources.index(self._current)])

    def read(self) -> Iterator[Record | Reject]:
        """Yield what is read of each part; `recognise` was called. Raises what the connector does, naming the part."""
        for i, (given, name) in enumerate(zip(self._ready, self._names, strict=True)):
            self._current, self._before = self._sources[i], sum(self._sizes[:i])
            given.stream.seek(0)
            items = _with_left_out(given.connector.read(given.stream, given.options))
            yield from items if len(self._sources) == 1 else _within(name, items)


def _with_left_out(items: Iterable[Record | Reject]) -> Iterator[Record | Reject]:
    """Yield the items, and behind them what was left out of them."""
    left_out = yield from each(items, lambda one: (one,))
    if left_out is not None:
        yield from left_out.told()


def _within(name: str, items: Iterable[Record | Reject]) -> Iterator[Record | Reject]:
    """Yield the items with positions that begin with the part's name."""
    try:
        for one in items:
            yield msgspec.structs.replace(one, position=f"{name}: {one.position}")
    except MalformedSource as e:
        raise MalformedSource(e.message.removeprefix(f"{e.position}: "), position=f"{name}: {e.position}") from e
    except InvalidArgument as e:
        e.add_note(f"this was said of {name}")
        raise


def _names(sources: Sequence[BinaryIO]) -> tuple[str, ...]:
    """Return the names of the parts' files, each once; `part 2` of a stream without one."""
    names: list[str] = []
    for number, source in enumerate(sources, 1):
        given = getattr(source, "name", None)
        name = Path(given).name if isinstance(given, str) else ""
        # A name need not be text, nor one line: it becomes part of every position.
        name = "".join(c for c in name.encode(errors="replace").decode() if c.isprintable())[:_NAME_SHOWN]
        name = name or f"part {number}"
        names.append(f"{name} ({number})" if name in names else name)
    return tuple(names)


def _written(source: BinaryIO) -> tuple[int, int]:
    """Return what changes when somebody writes to the file: size and time; of a stream in memory, nothing."""
    try:
        status = os.fstat(source.fileno())
    except UnsupportedOperation:
        return (0, 0)
    return (status.st_size, status.st_mtime_ns)
