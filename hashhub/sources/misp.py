"""A MISP feed: files on a web server, of which `manifest.json` says what there is. The position is what it said.

Events are kept, so that only those with another time are asked for; an import is of all of them, and replaces.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from types import MappingProxyType
from typing import Final
from uuid import UUID

import msgspec

from hashhub.errors import MalformedSource
from hashhub.sources.partner import Partner, decoded
from hashhub.sources.protocol import FetchedPage, FetchPosition, PartnerProtocol, older

_MANIFEST: Final = "/manifest.json"


class _Listed(msgspec.Struct):
    timestamp: int


class _Event(msgspec.Struct):
    uuid: str
    timestamp: int


class _File(msgspec.Struct):
    event: _Event = msgspec.field(name="Event")


class MISP(PartnerProtocol):
    """`url`: of the directory that has manifest.json. The credential is what the header Authorization says."""

    connector = "misp"
    credentials = ((), ("authorization",))
    headers = MappingProxyType({"authorization": "authorization"})
    is_kept = True
    is_list = True
    head = b"["
    tail = b"]\n"

    def pages(self, partner: Partner, position: FetchPosition) -> Iterator[FetchedPage]:
        """Yield a page for each event that is new or has another time, and one that takes away what is listed no more.
        A record's key is `UUID/TIME`.
        """
        manifest = decoded(partner.get(_MANIFEST).body, dict[str, _Listed], _MANIFEST)
        times = {_uuid(key): listed.timestamp for key, listed in manifest.items()}
        wanted = {f"{key}/{time}" for key, time in times.items()}
        cursor = hashlib.sha256("\n".join(sorted(wanted)).encode()).hexdigest()
        known = position.keys()
        for key in sorted(known - wanted):
            name, _, time = key.partition("/")
            if times.get(name, int(time)) < int(time):
                raise older(f"the event {name} is of {times[name]}, and was of {time} before", _MANIFEST)
        for key in sorted(wanted - known):
            name = key.partition("/")[0]
            path = f"/{name}.json"
            body = partner.get(path).body
            event = decoded(body, _File, path).event
            if event.timestamp < times[name]:
                raise older(f"the file is of {event.timestamp}, and manifest.json lists {times[name]}", path)
            if event.uuid.lower() != name:
                raise MalformedSource("the file holds another event than its name says", position=path)
            yield FetchedPage([(key, body)], key, cursor)
        yield FetchedPage([(key, b"") for key in known - wanted], "", cursor)


def _uuid(text: str) -> str:
    """Return the UUID that an event is listed by: it names a file, and nothing else may."""
    try:
        return str(UUID(text))
    except ValueError as e:
        told = f"{text[:60]!r} is listed as an event and is no UUID; expected a MISP feed's manifest"
        raise MalformedSource(told, position=_MANIFEST) from e
