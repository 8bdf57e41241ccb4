"""What a source is: the connector that reads it, told or recognised, and the list in it if it is a container."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO, NamedTuple

from hashhub import connector as connectors
from hashhub import containers
from hashhub.connector import HEAD_BYTES, Certainty, Connector, Detector, Guess
from hashhub.errors import InvalidArgument, Violation


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

    `guess`: why this connector, where it was not told. `container`: as in Look.
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

    Raises InvalidArgument where a file is no list, is a container of other than one list, or may be of several formats;
    MalformedSource for a damaged container.
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
