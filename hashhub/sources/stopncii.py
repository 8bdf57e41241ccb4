"""StopNCII: FetchHashes, whose position is the time that its last page names."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Final
from urllib.parse import urlencode

import msgspec

from hashhub.errors import MalformedSource
from hashhub.sources.partner import Partner, decoded
from hashhub.sources.protocol import FetchedPage, FetchPosition, PartnerProtocol, older

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
    lapses_after = timedelta(days=30)
    head = b'{"hashRecords":['
    tail = b"]}\n"

    def partner(self, is_cancelled: Callable[[], bool]) -> Partner:
        """Return what asks, with the secrets as they are now."""
        keys = self.secrets()
        headers = {
            "x-functions-key": keys["functions_key"],
            "ocp-apim-subscription-key": keys["subscription_key"],
            "accept": "application/json",
        }
        return Partner(self.settings, headers=headers, is_cancelled=is_cancelled)

    def pages(self, partner: Partner, position: FetchPosition) -> Iterator[FetchedPage]:
        """Yield the pages that follow a position."""
        start, token = int(position.cursor or 0), position.token
        number = position.page
        while True:
            asked = {"startTimestamp": start, "pageSize": self.settings.page_items}
            answer = decoded(
                partner.get(_PATH, urlencode(asked | ({"nextPageToken": token} if token else {}))).body, _Answer, _PATH
            )
            token = str(answer.next_page_token or "")
            until = answer.next_set_timestamp
            if answer.has_more_records != bool(token):
                raise MalformedSource(
                    "the answer says hasMoreRecords without a nextPageToken, or the other way round; expected both or "
                    "neither",
                    position=_PATH,
                )
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
