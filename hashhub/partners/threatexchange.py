"""ThreatExchange: `threat_updates` of a privacy group, which is a hash set, and what the group is.

    /threatexchange/{contributor}/{hash set}/{group}/threat_updates/
                                            /{group}
                                            /{app}/threat_privacy_groups_member

An update's `last_updated` is when this feed told it, since clients ask on from the latest one that they saw. On all
pages but the last it is the time that was asked from. A client that is told nothing new is told one update again, as by
ThreatExchange, whose `start_time` is inclusive: the `threatexchange` package fails at an empty page.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import parse_qs, urlencode

import msgspec

from hashhub.errors import InvalidArgument
from hashhub.model import HashSet, Purpose
from hashhub.partners.feeds import MOST, FeedDoor, FeedPart, HashSetFeed, no_path, number
from hashhub.partners.requests import Headers, PartnerAnswer, PartnerRequest

_TOKEN: Final = "access_token"  # noqa: S105 - the name of a parameter
_PAGE: Final = 100  # updates, where a client does not say
_AFTER: Final = "after"  # the parameter of ours that says where a further page begins
_HARM: Final = (Purpose.CSAM, Purpose.EXPLOITATIVE)
# The Graph API's codes of errors by HTTP status; that of a parameter otherwise.
_CODES: Final = {401: 190, 403: 200, 404: 803, 429: 4, 503: 2, 500: 1, 501: 3}
_PARAMETER: Final = 100


class _Update(msgspec.Struct, omit_defaults=True):
    indicator: str
    type: str
    last_updated: int
    should_delete: bool
    id: str = ""
    descriptors: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class _Document(msgspec.Struct):
    data: list[_Update]


class ThreatExchangeDoor(FeedDoor):
    """Answers requests of ThreatExchange's clients."""

    name = "ThreatExchange"
    slug = "threatexchange"

    def authorization(self, header: Callable[[bytes], str], query_string: str) -> str:
        """Return the token, which stands in the query, alone or behind the number of an app: `APP|TOKEN`."""
        given = parse_qs(query_string).get(_TOKEN)
        return f"Bearer {given[0].rpartition('|')[2]}" if given else header(b"authorization")

    async def route(self, request: PartnerRequest, feed: HashSetFeed, path: list[str]) -> PartnerAnswer:
        """Answer a request for a path behind the hash set's."""
        match path:
            case _ if request.verb != "GET":
                return self.refused(501, "this feed is read-only; the method must be GET", ((b"allow", b"GET"),))
            case [group, "threat_updates"] if group.isdecimal():
                return await self._updates(request, feed, group)
            case [app, "threat_privacy_groups_member"] if app.isdecimal():
                return PartnerAnswer.json({"data": [_group(await feed.hash_set())]})
            case [group] if group.isdecimal():
                return PartnerAnswer.json(_group(await feed.hash_set()))
        raise no_path(request, "NUMBER/threat_updates/, NUMBER/threat_privacy_groups_member, or a group's NUMBER")

    async def _updates(self, request: PartnerRequest, feed: HashSetFeed, group: str) -> PartnerAnswer:
        since = number(request, "start_time", 0)
        limit = max(1, min(MOST, number(request, "limit", _PAGE)))
        number(request, "stop_time", 0)  # what came later is told all the same: as it is now, and then once more
        types = set(filter(None, request.query.get("types", "").split(",")))
        part = await feed.part(since, request.query.get(_AFTER, ""), limit)
        data = await _updates(part, types)
        if not data and not part.token:
            data = (await _updates(await feed.first(part.time), types))[:1]
        answer: dict[str, Any] = {"data": data}
        if part.token:
            asked = urlencode({**request.query, _AFTER: part.token})
            where = feed.name.removeprefix("contributors/").replace("/hashSets/", "/")
            answer["paging"] = {"next": f"{request.url}/{where}/{group}/threat_updates/?{asked}"}
        return PartnerAnswer.json(answer)

    def refused(self, status: int, message: str, headers: Headers = ()) -> PartnerAnswer:
        """Return an error as the Graph API writes it."""
        kind = "OAuthException" if status in {401, 403} else "GraphMethodException"
        error = {"message": message, "type": kind, "code": _CODES.get(status, _PARAMETER)}
        return PartnerAnswer.json({"error": error}, status, headers)


async def _updates(part: FeedPart, types: set[str]) -> list[_Update]:
    """Return the updates of some types, or all. Raises InvalidArgument for a hash set that claims no harm."""
    if part.hash_set is not None and part.hash_set.purpose not in _HARM:
        told = (
            f"{part.hash_set.name} has the purpose {part.hash_set.purpose}, and ThreatExchange tells what is harmful; "
            "take it by another format"
        )
        raise InvalidArgument.field("hash_set", told, "PURPOSES")
    updates = [u for u in (await part.written("threatexchange", _Document)).data if not types or u.type in types]
    for update in updates:  # one for each indicator, whatever ids its items came with
        known = f"{update.type}:{update.indicator}".encode()
        update.id = str(int.from_bytes(hashlib.sha256(known).digest()[:7]))
    return updates


def _group(hash_set: HashSet) -> dict[str, Any]:
    time = hash_set.create_time or datetime.fromtimestamp(0, UTC)
    stamp = time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S+0000")
    return {
        "id": str(hash_set.bank_number), "name": hash_set.name, "description": hash_set.display_name,
        "last_updated": stamp, "added_on": stamp,
        **dict.fromkeys(("members_can_see", "members_can_use", "threat_updates_enabled"), True),
    }  # fmt: skip
