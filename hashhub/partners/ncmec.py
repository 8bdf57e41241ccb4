"""NCMEC's hash sharing API, version 2: entries of a hash set in windows of time that end now.

    /ncmec/{contributor}/{hash set}/v2/entries?from=…&to=…
                                   /v2/status, /v2/members
                                   /v2/feedback/{type}/reasons
                                   /v2/entries/{member}/{entry}/{type}/feedback (PUT)

The password is the token. An entry's time is when this feed was asked for it: no statement is told with an earlier time
than a deletion before it, which its reader would take for the newer word. A window that ended earlier is refused: what
changed in it may have been told since, and an empty answer would be taken for the whole of it.

Feedback is on one fingerprint, a review on an entry. So a review that is made of feedback states all that its author
gave on the entry, and objects while some of it is negative.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urlencode
from uuid import UUID, uuid5
from xml.sax.saxutils import escape, quoteattr

import msgspec
from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import ParseError, fromstring

from hashhub import v1
from hashhub.errors import Conflict, InvalidArgument, NotFound
from hashhub.partners import reviews
from hashhub.partners.feeds import LATEST, MOST, FeedDoor, FeedPart, HashSetFeed, no_path
from hashhub.partners.requests import Headers, PartnerAnswer, PartnerRequest, basic_password

_XML: Final = "application/xml"
_NAMESPACE: Final = "https://hashsharing.ncmec.org/hashsharing/v2"
_AFTER: Final = "after"  # the parameter of ours that says where a further page begins
WINDOW_ENTRIES: Final = 10_000
"""Of one answer: the threatexchange package takes other windows as soon as there is a further page."""
_AGO: Final = 300  # seconds before now at which a window may end
_FINGERPRINTS: Final = ("MD5", "SHA1", "PDNA", "PDQ")  # that entries have here, as feedback names them
_OURS: Final = UUID("f0a3d0d1-6c57-4a0c-9d43-0a3c1f6a2b7e")  # namespace of the reasons' ids
_OBJECTIONS: Final[Mapping[str, v1.ReviewKind]] = {
    "False positive": v1.ReviewKind.REVIEW_KIND_FALSE_POSITIVE,
    "Not illegal here": v1.ReviewKind.REVIEW_KIND_NOT_ILLEGAL_HERE,
    "Misclassified": v1.ReviewKind.REVIEW_KIND_MISCLASSIFIED,
}  # by the name of a reason; of several the first counts
_REASONS: Final = {str(uuid5(_OURS, name)): name for name in _OBJECTIONS}
_STATED: Final = "NCMEC feedback: "  # how the comment of a review begins that is made of feedback
_MOST_BYTES: Final = 16_384  # of one submission
_TRIES: Final = 3
_LONGEST: Final = 18  # digits of an entry's number


class NCMECDoor(FeedDoor):
    """Answers requests of NCMEC's clients."""

    name = "NCMEC"
    slug = "ncmec"

    def authorization(self, header: Callable[[bytes], str], query_string: str) -> str:  # noqa: ARG002 - as of all
        """Return the token, which is the password of the basic scheme."""
        return basic_password(header(b"authorization"))

    async def route(self, request: PartnerRequest, feed: HashSetFeed, path: list[str]) -> PartnerAnswer:
        """Answer a request for a path behind the hash set's."""
        match path:
            case ["v2", "feedback", kind, "reasons"] if request.verb == "GET":
                return PartnerAnswer(200, _reasons(_fingerprint(kind)), _XML)
            case ["v2", "entries", member, *entry, kind, "feedback"] if request.verb == "PUT":
                return await _take_feedback(request, _entry(feed, member, "/".join(entry)), _fingerprint(kind))
            case ["v2", "entries"] if request.verb == "GET":
                return await self._entries(request, feed)
            case ["v2", "entries" | "feedback" | "categorizations", *_]:
                return self.refused(501, "entries are read-only, and have no categorizations")
            case ["v2", "status" | "members" as what]:
                member = f"<member id={quoteattr(_number(feed))}>{escape((await feed.hash_set()).contributor)}</member>"
                return PartnerAnswer(200, f'<{what} xmlns="{_NAMESPACE}">{member}</{what}>'.encode(), _XML)
        raise no_path(request, "v2/entries, v2/status or v2/members behind the hash set's id")

    async def _entries(self, request: PartnerRequest, feed: HashSetFeed) -> PartnerAnswer:
        since, until = _time(request, "from", 0), _time(request, "to", LATEST)
        now = int(time.time())  # before anything is read, so that all up to then is told
        if until < now - _AGO:
            told = (
                f"is over: windows must end now, or later; the threatexchange package takes others once more than "
                f"{WINDOW_ENTRIES:,} entries are to be told, which it cannot be told here"
            )
            raise InvalidArgument.field("to", told, "OUT_OF_RANGE")
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

    def refused(self, status: int, message: str, headers: Headers = ()) -> PartnerAnswer:
        """Return an error in XML."""
        basic = tuple((k, b"Basic" if k == b"www-authenticate" else v) for k, v in headers)
        error = f'<error xmlns="{_NAMESPACE}"><message>{escape(message)}</message></error>'
        return PartnerAnswer(status, error.encode(), _XML, basic)


async def _document(feed: HashSetFeed, part: FeedPart) -> bytes:
    """Return a part as NCMEC's XML, each entry by its own number: another one may have the same external id."""
    told = datetime.fromtimestamp(part.time, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    numbered = [msgspec.structs.replace(entry, external_id="", source_time=told) for entry in part.entries]
    return await FeedPart(part.hash_set, numbered, "", part.time).document("ncmec-xml", {"member": _number(feed)})


def _number(feed: HashSetFeed) -> str:
    """Return the member's number, which is the hash set's: clients expect one, also once the hash set is lost."""
    return str(int.from_bytes(hashlib.sha256(feed.name.encode()).digest()[:4]))


def _entry(feed: HashSetFeed, member: str, own_id: str) -> str:
    """Return the entry that this feed told by its member and id. Raises NotFound for those of none."""
    hash_set, _, number = own_id.rpartition("/")
    is_ours = member == _number(feed) and feed.name.endswith(f"/{hash_set}")
    if is_ours and number.isascii() and number.isdecimal() and len(number) <= _LONGEST:
        return f"{feed.name}/entries/{int(number)}"
    raise NotFound("there is no entry of this id; send the id that the feed told", kind="Entry", name=own_id[:80])


def _fingerprint(kind: str) -> str:
    name = re.sub(r"[\W_]", "", kind).upper()
    if name not in _FINGERPRINTS:
        message = f"there are no fingerprints of this type; expected one of {', '.join(_FINGERPRINTS)}"
        raise NotFound(message, kind="Fingerprint", name=kind[:40])
    return name


def _reasons(fingerprint: str) -> bytes:
    listed = "".join(f'<reason guid="{id_}" name="{name}" type="{fingerprint}"/>' for id_, name in _REASONS.items())
    return f'<availableFeedbackReasons xmlns="{_NAMESPACE}">{listed}</availableFeedbackReasons>'.encode()


async def _take_feedback(request: PartnerRequest, entry: str, fingerprint: str) -> PartnerAnswer:
    """Make feedback a review of its sender's contributor."""
    last = await reviews.latest(request, entry)  # before the body is read: who may not review is told so here
    body = await request.read()
    for tries in range(1, _TRIES + 1):
        given = dict(re.findall(rf"({'|'.join(_FINGERPRINTS)}) (.+?)(?:; |$)", last.comment.partition(_STATED)[2]))
        given[fingerprint] = _feedback(body)
        objections = [kind for name, kind in _OBJECTIONS.items() if any(name in text for text in given.values())]
        kind = objections[0] if objections else v1.ReviewKind.REVIEW_KIND_CONFIRMED
        comment = _STATED + "; ".join(f"{name} {given[name]}" for name in sorted(given))
        try:
            await reviews.add(request, entry, kind, comment, last)
        except Conflict:  # with feedback on another fingerprint
            if tries == _TRIES:
                raise
            last = await reviews.latest(request, entry)
        else:
            break
    return PartnerAnswer(200, f'<feedback xmlns="{_NAMESPACE}"/>'.encode(), _XML)


def _feedback(body: bytes) -> str:
    """Return what a submission says, in words: affirmative, or negative with its reasons. Raises InvalidArgument."""
    expected = (
        f"must be a feedbackSubmission of {_NAMESPACE} of at most {_MOST_BYTES} bytes, with affirmative, or negative "
        "with reasonIds, each guid one of /v2/feedback/TYPE/reasons"
    )
    try:
        root = fromstring(body if len(body) <= _MOST_BYTES else b"", forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError, LookupError) as e:
        raise InvalidArgument.field("body", expected, "NOT_DECODABLE") from e
    within = f"{{{_NAMESPACE}}}"
    guids = root.iterfind(f"{within}negative/{within}reasonIds/{within}guid")
    ids = {(guid.text or "").strip().lower() for guid in guids}
    if root.tag == f"{within}feedbackSubmission" and len(root) == 1:
        if root[0].tag == f"{within}affirmative" and not len(root[0]):
            return "affirmative"
        if root[0].tag == f"{within}negative" and ids and ids <= _REASONS.keys():
            return f"negative ({', '.join(name for id_, name in _REASONS.items() if id_ in ids)})"
    raise InvalidArgument.field("body", expected, "PATTERN")


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
