"""A collection of TAXII 2.1. The position is the time at which its last object was added.

Opinions, markings and revocations refer to objects of earlier answers, so all objects are kept, each in its last
version, and an import is of all of them. What a server deletes it does not tell: now and then the list is a full one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import urlencode
from uuid import UUID, uuid5

import msgspec

from hashhub.errors import MalformedSource
from hashhub.sources.partner import Partner, decoded
from hashhub.sources.protocol import FetchedPage, FetchPosition, PartnerProtocol, check_more, older

_PATH: Final = "/objects/"
_MEDIA_TYPE: Final = "application/taxii+json"
_OURS: Final = UUID("0b5a2c8e-5a0e-4d0c-9b0a-3f6a4a1f7c11")


class _Envelope(msgspec.Struct):
    objects: list[msgspec.Raw] = []
    more: bool = False
    next: str = ""


class _Object(msgspec.Struct):
    id: str
    modified: str = ""


class TAXII(PartnerProtocol):
    """`url`: of a collection, such as https://taxii.example/api1/collections/91a7b528-80eb-42ed-a74d-c6fbd5a26116."""

    connector = "stix"
    credentials = ((), ("user", "password"))
    full_after = timedelta(days=7)
    is_kept = True
    accept = f"{_MEDIA_TYPE};version=2.1"
    head = f'{{"type":"bundle","id":"bundle--{uuid5(_OURS, "bundle")}","objects":['.encode()
    tail = b"]}\n"

    def pages(self, partner: Partner, position: FetchPosition) -> Iterator[FetchedPage]:
        """Yield the pages that follow a position."""
        token, reached = position.token, position.reached or position.cursor
        while True:
            asked = {"limit": str(self.settings.page_items)}
            asked |= {"added_after": position.cursor} if position.cursor else {}
            answer = partner.get(_PATH, urlencode(asked | ({"next": token} if token else {})))
            if not answer.headers.get("content-type", "").replace(" ", "").startswith(_MEDIA_TYPE):
                raise MalformedSource(f"the answer is no {_MEDIA_TYPE}; check the source's url", position=_PATH)
            envelope = decoded(answer.body, _Envelope, _PATH)
            check_more(_PATH, "more", "next", says_more=envelope.more, token=envelope.next)
            if envelope.objects:
                added = answer.headers.get("x-taxii-date-added-last", "")
                if _time(added) < _time(reached or added):
                    raise older(f"its last object was added at {added}, and one at {reached} before", _PATH)
                reached = added
            yield FetchedPage(_by_id(envelope.objects), envelope.next, reached)
            token = envelope.next
            if not token:
                return


def _by_id(objects: list[msgspec.Raw]) -> list[tuple[str, bytes]]:
    """Return objects by their ids, of several versions of one the last."""
    latest: dict[str, tuple[str, bytes]] = {}
    for raw in objects:
        one = decoded(bytes(raw), _Object, _PATH)
        if one.id not in latest or latest[one.id][0] <= one.modified:
            latest[one.id] = one.modified, bytes(raw)
    return [(key, content) for key, (_, content) in latest.items()]


def _time(text: str) -> datetime:
    """Return the time that a header says. Raises MalformedSource."""
    with suppress(ValueError):
        if (time := datetime.fromisoformat(text)).tzinfo is not None:
            return time
    raise MalformedSource("the answer has no X-TAXII-Date-Added-Last, which a fetch goes on from", position=_PATH)
