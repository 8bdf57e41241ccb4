"""StopNCII: FetchHashes of a hash set, whose entries are StopNCII's own, as far as an operator has released them.

    /stopncii/{contributor}/{hash set}/FetchHashes

The token is the `x-functions-key`. SubmitHashes and SubmitFeedback are not taken: what they answer is not published.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from hashhub.errors import HashHubError
from hashhub.partners.feeds import MOST, FeedDoor, HashSetFeed, no_path, number
from hashhub.partners.requests import PartnerAnswer, PartnerRequest, status_of

_PAGE: Final = 800  # records, where a client does not say
_NOT_TAKEN: Final = ("SubmitHashes", "SubmitFeedback")


class _Document(msgspec.Struct, rename="camel"):
    hash_records: list[msgspec.Raw]


class StopNCIIDoor(FeedDoor):
    """Answers requests of StopNCII's clients."""

    name = "StopNCII"
    slug = "stopncii"

    def authorization(self, header: Callable[[bytes], str], query_string: str) -> str:  # noqa: ARG002 - as of all
        """Return the token, which is the key of the function."""
        return f"Bearer {key}" if (key := header(b"x-functions-key")) else header(b"authorization")

    async def route(self, request: PartnerRequest, feed: HashSetFeed, path: list[str]) -> PartnerAnswer:
        """Answer a request for a path behind the hash set's."""
        match path:
            case [submit] if submit in _NOT_TAKEN:
                return _refused(501, f"this feed is read-only: {submit} is not taken", ())
            case ["FetchHashes"] if request.verb != "GET":
                return _refused(405, "the method must be GET", ((b"allow", b"GET"),))
            case ["FetchHashes"]:
                return await self._fetch(request, feed)
        raise no_path(request, "FetchHashes behind the hash set's id")

    async def _fetch(self, request: PartnerRequest, feed: HashSetFeed) -> PartnerAnswer:
        since = number(request, "startTimestamp", 0)
        size = max(1, min(MOST, number(request, "pageSize", _PAGE)))
        part = await feed.part(since, request.query.get("nextPageToken", ""), size)
        records = (await part.written("stopncii", _Document)).hash_records
        return PartnerAnswer.json(
            {
                "count": len(records),
                "nextPageToken": part.token or None,
                "nextSetTimestamp": part.time,
                "hasMoreRecords": bool(part.token),
                "hashRecords": records,
            }
        )

    def refusal(self, error: HashHubError, path: str = "") -> PartnerAnswer:  # noqa: ARG002 - alike for all
        """Return the error as Azure's API management, behind which StopNCII stands, writes its own."""
        status, headers = status_of(error)
        return _refused(status, error.message, headers)


def _refused(status: int, message: str, headers: tuple[tuple[bytes, bytes], ...]) -> PartnerAnswer:
    return PartnerAnswer.json({"statusCode": status, "message": message}, status, headers)
