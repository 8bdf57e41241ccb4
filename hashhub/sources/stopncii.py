"""StopNCII: FetchHashes, whose position is the time that its last page names."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import urlencode

import msgspec

from hashhub.errors import MalformedSource
from hashhub.sources.partner import Partner, decoded
from hashhub.sources.protocol import FetchedPage, FetchPosition, PartnerProtocol, check_more, older

_PATH: Final = "/FetchHashes"


class _Answer(msgspec.Struct, rename="camel"):
    hash_records: list[msgspec.Raw]
    next_page_token: str | int | None = None
    next_set_timestamp: int | None = None
    has_more_records: bool = False


class _Record(msgspec.Struct, rename="camel"):
    signal_type: str = ""
    hash_value: str = ""


class StopNCII(PartnerProtocol):
    """`url`: up to the version, such as https://api.stopncii.org/v1."""

    connector = "stopncii"
    credentials = (("functions_key", "subscription_key"),)
    headers = MappingProxyType({"functions_key": "x-functions-key", "subscription_key": "ocp-apim-subscription-key"})
    lapses_after = timedelta(days=30)
    head = b'{"hashRecords":['
    tail = b"]}\n"

    def pages(self, partner: Partner, position: FetchPosition) -> Iterator[FetchedPage]:
        """Yield the pages that follow a position."""
        start, token = int(position.cursor or 0), position.token
        number = position.page
        while True:
            asked: dict[str, Any] = {"startTimestamp": start, "pageSize": self.settings.page_items}
            asked |= {"nextPageToken": token} if token else {}
            answer = decoded(partner.get(_PATH, urlencode(asked)).body, _Answer, _PATH)
            token = str(answer.next_page_token or "")
            until = answer.next_set_timestamp
            check_more(_PATH, "hasMoreRecords", "nextPageToken", says_more=answer.has_more_records, token=token)
            if until is not None and until < start:
                raise older(f"nextSetTimestamp {until} is before {start}", _PATH)
            if not token and until is None and (number or answer.hash_records):
                raise MalformedSource("the last page has no nextSetTimestamp to go on from", position=_PATH)
            records = [(_key(record, number, i), bytes(record)) for i, record in enumerate(answer.hash_records)]
            yield FetchedPage(records, token, str(until or start))
            number += 1
            if not token:
                return


def _key(record: msgspec.Raw, page: int, index: int) -> str:
    """Return what a record is about, or where it stands if it is not one: the connector says what is wrong with it."""
    try:
        one = msgspec.json.decode(record, type=_Record)
    except (msgspec.DecodeError, UnicodeDecodeError):
        one = _Record()
    return f"{one.signal_type}:{one.hash_value}" if one.hash_value else f"page {page}, {index}"
