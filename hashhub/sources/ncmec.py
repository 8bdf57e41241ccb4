"""NCMEC hash sharing v2: windows of time, whose pages come in no order. The position is the latest time of an entry."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import urlencode

import msgspec
from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import ParseError, fromstring, tostring

from hashhub.errors import MalformedSource
from hashhub.model import now
from hashhub.sources.partner import Partner
from hashhub.sources.protocol import FetchedPage, FetchPosition, PartnerProtocol, older

_PATH: Final = "/v2/entries"
_NAMESPACE: Final = "https://hashsharing.ncmec.org/hashsharing/v2"
_IN: Final = f"{{{_NAMESPACE}}}"
_OVERLAP: Final = timedelta(minutes=10)  # what was written while it was read may come with an earlier time
_AHEAD: Final = timedelta(days=1)  # of this machine's clock: the partner's may be, too


class NCMEC(PartnerProtocol):
    """`url`: of an environment, such as https://hashsharing.ncmec.org/npo; the option `environment` says which."""

    connector = "ncmec-xml"
    credentials = (("user", "password"),)
    head = f'<queryResult xmlns="{_NAMESPACE}">\n'.encode()
    tail = b"\n</queryResult>\n"
    between = b"\n"
    accept = "application/xml"

    def pages(self, partner: Partner, position: FetchPosition) -> Iterator[FetchedPage]:
        """Yield the pages that follow a position. All pages of a window are of the times that its first one asked for:
        they stand in the query that the partner names.
        """
        before = datetime.fromisoformat(position.cursor) if position.cursor else None
        begin = before - _OVERLAP if before else datetime(1970, 1, 1, tzinfo=UTC)
        latest = datetime.fromisoformat(position.reached) if position.reached else before
        query = position.token or urlencode({"from": _text(begin), "to": _text(now() + _AHEAD)})
        number = position.page
        while query:
            root = _parsed(partner.get(_PATH, query).body)
            for item in root.iterfind("*/*"):
                if (time := _time(item.findtext(f"{_IN}timestamp", ""))) is None:
                    continue
                if time < begin.replace(microsecond=0):
                    told = f"an entry of {_text(time)}, where only those from {_text(begin)} were asked for"
                    raise older(told, _PATH)
                latest = max(latest or time, time)
            link = (root.findtext(f"{_IN}paging/{_IN}next", "") or "").strip()
            query = partner.query_of(link, _PATH) if link else ""
            yield FetchedPage(list(_records(root, number)), query, latest.isoformat() if latest else "")
            number += 1


def _records(root: Any, page: int) -> Iterator[tuple[str, bytes]]:
    """Yield each entry, deleted or not, in a list of its own, by its member, kind and id."""
    for listed in root:
        if listed.tag == f"{_IN}paging":
            continue
        for number, item in enumerate(listed):
            member = item.find(f"{_IN}member")
            own = item.findtext(f"{_IN}id", "").strip()
            known = (listed.tag, "" if member is None else member.get("id", "").strip(), own)
            key = msgspec.json.encode(known if all(known) else (page, *known, number)).decode()
            begin, end = (f"<{mark}{listed.tag.removeprefix(_IN)}>".encode() for mark in ("", "/"))
            yield key, begin + tostring(item, encoding="utf-8") + end


def _parsed(body: bytes) -> Any:
    try:
        root = fromstring(body, forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError, LookupError) as e:
        told = f"the partner's answer is no XML that may be read ({type(e).__name__}); check the source's url"
        raise MalformedSource(told, position=_PATH) from e
    if root.tag != f"{_IN}queryResult":
        told = f"the answer's root element is {root.tag[:80]!r}; expected queryResult of NCMEC's version 2"
        raise MalformedSource(told, position=_PATH)
    return root


def _time(text: str) -> datetime | None:
    try:
        time = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)


def _text(time: datetime) -> str:
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
