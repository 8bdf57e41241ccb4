"""NCMEC's hash sharing API, version 2: entries of a hash set in windows of time that end now.

    /ncmec/{contributor}/{hash set}/v2/entries?from=…&to=…
                                   /v2/status, /v2/members

The password is the token. An entry's time is when this feed was asked for it: no statement is told with an earlier time
than a deletion before it, which its reader would take for the newer word. A window that ended earlier is refused: what
changed in it may have been told since, and an empty answer would be taken for the whole of it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urlencode
from xml.sax.saxutils import escape, quoteattr

import msgspec

from hashhub.errors import HashHubError, InvalidArgument
from hashhub.partners.feeds import LATEST, MOST, FeedDoor, FeedPart, HashSetFeed, no_path
from hashhub.partners.requests import PartnerAnswer, PartnerRequest, status_of

_XML: Final = "application/xml"
_NAMESPACE: Final = "https://hashsharing.ncmec.org/hashsharing/v2"
_AFTER: Final = "after"  # the parameter of ours that says where a further page begins
WINDOW_ENTRIES: Final = 10_000
"""Of one answer: the threatexchange package takes other windows as soon as there is a further page."""
_AGO: Final = 300  # seconds before now at which a window may end


class NCMECDoor(FeedDoor):
    """Answers requests of NCMEC's clients."""

    name = "NCMEC"
    slug = "ncmec"

    def authorization(self, header: Callable[[bytes], str], query_string: str) -> str:  # noqa: ARG002 - as of all
        """Return the token, which is the password of the basic scheme."""
        scheme, _, given = header(b"authorization").partition(" ")
        if scheme.lower() != "basic":
            return header(b"authorization")
        try:
            password = base64.b64decode(given, validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            password = ""
        return f"Bearer {password}"

    async def route(self, request: PartnerRequest, feed: HashSetFeed, path: list[str]) -> PartnerAnswer:
        """Answer a request for a path behind the hash set's."""
        match path:
            case ["v2", "entries" | "feedback" | "categorizations", *rest] if request.verb != "GET" or rest:
                return PartnerAnswer(501, _error("this feed is read-only, and has no feedback"), _XML)
            case ["v2", "entries"]:
                return await self._entries(request, feed)
            case ["v2", "status" | "members" as what]:
                member = f"<member id={quoteattr(_number(feed))}>{escape((await feed.hash_set()).contributor)}</member>"
                return PartnerAnswer(200, f'<{what} xmlns="{_NAMESPACE}">{member}</{what}>'.encode(), _XML)
        raise no_path(request, "v2/entries, v2/status or v2/members behind the hash set's id")

    async def _entries(self, request: PartnerRequest, feed: HashSetFeed) -> PartnerAnswer:
        since, until = _time(request, "from", 0), _time(request, "to", LATEST)
        now = int(time.time())  # before anything is read, so that all up to then is told
        if until < now - _AGO:
            raise InvalidArgument.field(
                "to",
                f"is over: windows must end now, or later; the threatexchange package takes others once more than "
                f"{WINDOW_ENTRIES:,} entries are to be told, which it cannot be told here",
                "OUT_OF_RANGE",
            )
        part = await feed.part(since, request.query.get(_AFTER, ""), MOST)
        entries = part.entries
        while part.token and len(entries) < WINDOW_ENTRIES:
            part = await feed.part(since, part.token, MOST)
            entries += part.entries
        document = await _document(feed, FeedPart(part.hash_set, entries, "", now))
        if part.token:
            link = "/v2/entries?" + urlencode({**request.query, _AFTER: part.token})
            document = document.replace(
                b"</queryResult>", f"<paging><next>{escape(link)}</next></paging>\n</queryResult>".encode()
            )
        return PartnerAnswer(200, document, _XML)

    def refusal(self, error: HashHubError, path: str = "") -> PartnerAnswer:  # noqa: ARG002 - alike for all
        """Return the error in XML."""
        status, headers = status_of(error)
        basic = tuple((k, b"Basic" if k == b"www-authenticate" else v) for k, v in headers)
        return PartnerAnswer(status, _error(error.message), _XML, basic)


async def _document(feed: HashSetFeed, part: FeedPart) -> bytes:
    """Return a part as NCMEC's XML, each entry by its own number: another one may have the same external id."""
    told = datetime.fromtimestamp(part.time, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    numbered = [msgspec.structs.replace(entry, external_id="", source_time=told) for entry in part.entries]
    return await FeedPart(part.hash_set, numbered, "", part.time).document("ncmec-xml", {"member": _number(feed)})


def _number(feed: HashSetFeed) -> str:
    """Return the member's number, which is the hash set's: clients expect one, also once the hash set is lost."""
    return str(int.from_bytes(hashlib.sha256(feed.name.encode()).digest()[:4]))


def _time(request: PartnerRequest, name: str, otherwise: int) -> int:
    """Return a time of the query in seconds since 1970. Raises InvalidArgument for what is none."""
    text = request.query.get(name, "")
    try:
        given = datetime.fromisoformat(text) if text else datetime.fromtimestamp(otherwise, UTC)
        seconds = int((given if given.tzinfo else given.replace(tzinfo=UTC)).timestamp())
    except (ValueError, OverflowError):
        seconds = -1
    if not 0 <= seconds <= LATEST:
        raise InvalidArgument.field(name, f"must be a time such as 2026-01-02T03:04:05Z, got {text[:30]!r}", "PATTERN")
    return seconds


def _error(message: str) -> bytes:
    return f'<error xmlns="{_NAMESPACE}"><message>{escape(message)}</message></error>'.encode()
