"""ThreatExchange's threat_updates of a privacy group. The position is the latest `last_updated`; deletions are told for
90 days, so that an older position begins again with the full list.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Final
from urllib.parse import urlencode

import msgspec

from hashhub.sources.partner import Partner, decoded, without
from hashhub.sources.protocol import FetchedPage, FetchPosition, PartnerProtocol, older

_PATH: Final = "/threat_updates/"
_TOKEN: Final = "access_token"  # noqa: S105 - the name of a field
_FIELDS: Final = "id,indicator,type,last_updated,should_delete,descriptors{id,reactions,owner{id},tags,status,added_on}"


class _Paging(msgspec.Struct):
    next: str = ""


class _Answer(msgspec.Struct):
    data: list[msgspec.Raw]
    paging: _Paging | None = None


class _Update(msgspec.Struct):
    id: str | int
    last_updated: int | None = None


class ThreatExchange(PartnerProtocol):
    """`url`: with the privacy group, such as https://graph.facebook.com/v21.0/1234567890."""

    connector = "threatexchange"
    credentials = ((_TOKEN,),)
    lapses_after = timedelta(days=85)
    head = b'{"data":['
    tail = b"]}\n"

    def pages(self, partner: Partner, position: FetchPosition) -> Iterator[FetchedPage]:
        """Yield the pages that follow a position. The token stands in each URL, and in none that is kept."""
        start = int(position.cursor or 0)
        latest = int(position.reached or start)
        query = position.token or urlencode({"start_time": start, "limit": self.settings.page_items, "fields": _FIELDS})
        token = urlencode({_TOKEN: self.secrets()[_TOKEN]})
        while query:
            answer = decoded(partner.get(_PATH, f"{query}&{token}").body, _Answer, _PATH)
            records = []
            for record in answer.data:
                update = decoded(bytes(record), _Update, _PATH)
                records.append((str(update.id), bytes(record)))
                if update.last_updated is not None:
                    if update.last_updated < start:
                        raise older(f"last_updated {update.last_updated} is before {start}", _PATH)
                    latest = max(latest, update.last_updated)
            link = answer.paging.next if answer.paging else ""
            query = without(partner.query_of(link, _PATH), _TOKEN) if link else ""
            yield FetchedPage(records, query, str(latest))
