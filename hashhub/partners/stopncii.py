"""StopNCII: FetchHashes of a hash set, whose entries are StopNCII's own, as far as an operator has released them.

    /stopncii/{contributor}/{hash set}/FetchHashes
                                      /SubmitHashes (POST): an import into the contributor's own hash set
                                      /SubmitFeedback (POST): reviews of the entries that have a hash

The token is the `x-functions-key`. The bodies are those that the `threatexchange` package sends, which looks at nothing
but the status: where anything of one was not taken, the answer is an error that says so.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import msgspec

from hashhub import connector, v1, wire
from hashhub.errors import InvalidArgument, NotFound, Unavailable
from hashhub.model import MAX_BATCH, MAX_TEXT, Reject
from hashhub.partners import imports, reviews
from hashhub.partners.feeds import MOST, FeedDoor, HashSetFeed, no_path, number
from hashhub.partners.requests import Headers, PartnerAnswer, PartnerRequest

_PAGE: Final = 800  # records, where a client does not say
_CONNECTOR: Final = "stopncii"
_TYPE: Final = "StopNCIISignalType."  # before each type of signal that the threatexchange package submits
_FIRST_STATUS: Final = "Received"  # of a hash, says StopNCII
_MOST_FEEDBACKS: Final = 100  # of one request: each is some calls
_MOST_MATCHES: Final = 1000
_MOST_REVIEWS: Final = 1000
_KINDS: Final = {
    "Blocked": v1.ReviewKind.REVIEW_KIND_CONFIRMED,
    "NotBlocked": v1.ReviewKind.REVIEW_KIND_NOT_ILLEGAL_HERE,
}
_ALGORITHMS: Final = {64: "PDQ", 32: "MD5"}  # by digits


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
            case ["FetchHashes" | "SubmitHashes" | "SubmitFeedback" as what]:
                wanted = "GET" if what == "FetchHashes" else "POST"
                if request.verb != wanted:
                    return self.refused(405, f"the method must be {wanted}", ((b"allow", wanted.encode()),))
                if what == "FetchHashes":
                    return await self._fetch(request, feed)
                take = _take_hashes if what == "SubmitHashes" else _take_feedback
                return PartnerAnswer.json(await take(request, feed.name))
        raise no_path(request, "FetchHashes, SubmitHashes or SubmitFeedback behind the hash set's id")

    async def _fetch(self, request: PartnerRequest, feed: HashSetFeed) -> PartnerAnswer:
        since = number(request, "startTimestamp", 0)
        size = max(1, min(MOST, number(request, "pageSize", _PAGE)))
        part = await feed.part(since, request.query.get("nextPageToken", ""), size)
        records = (await part.written("stopncii", _Document)).hash_records
        following = {"nextPageToken": part.token or None, "nextSetTimestamp": part.time}
        return PartnerAnswer.json(
            {"count": len(records), **following, "hasMoreRecords": bool(part.token), "hashRecords": records}
        )

    def refused(self, status: int, message: str, headers: Headers = ()) -> PartnerAnswer:
        """Return an error as Azure's API management, behind which StopNCII stands, writes its own."""
        return PartnerAnswer.json({"statusCode": status, "message": message}, status, headers)


async def _take_hashes(request: PartnerRequest, hash_set: str) -> dict[str, Any]:
    """Contribute the hashes, and return what became of them."""
    reader = connector.get(_CONNECTOR)
    wanted = v1.Import(
        connector=reader.name, connector_version=reader.version, has_classifications=reader.has_classifications({})
    )
    await imports.open_one(request, hash_set, wanted, validate_only=True)  # who may not contribute is told so before
    listed = await _items(request, "hashRecords", MAX_BATCH)
    records = await asyncio.to_thread(_records, reader, listed, request.contributor)
    made = await imports.take(request, hash_set, wanted, records)
    counts = wire.IMPORT.from_pb(made).counts
    if counts.rejected:
        message = f"has {counts.rejected} that the hub refused, and the others were taken; {made.name} says why"
        raise InvalidArgument.field("hashRecords", message, "NOT_ALLOWED")
    return {"import": made.name, **msgspec.to_builtins(counts)}


def _records(reader: connector.Connector, listed: list[dict[str, Any]], contributor: str) -> list[v1.Record]:
    """Return the records of a submission. Raises InvalidArgument where one cannot be read as a whole."""
    for one in listed:
        one["signalType"] = str(one.get("signalType", "")).removeprefix(_TYPE)
        one.setdefault("hashStatus", _FIRST_STATUS)
        for feedback in one["CSPFeedbacks"] if isinstance(one.get("CSPFeedbacks"), list) else ():
            if isinstance(feedback, dict) and not feedback.get("source"):
                feedback["source"] = contributor
    try:
        body = msgspec.json.encode({"hashRecords": listed})
    except (ValueError, OverflowError, RecursionError) as e:
        raise InvalidArgument.field("hashRecords", "has text that is no Unicode, or a number too large") from e
    records = []
    for item in reader.read(io.BytesIO(body), {}):
        for fault in (item,) if isinstance(item, Reject) else item.faults:
            detail = f"{item.position}: {fault.reason}: {fault.detail}; nothing was taken"
            raise InvalidArgument.field("hashRecords", detail, "NOT_ALLOWED")
        if not isinstance(item, Reject):
            records.append(wire.record_to_pb(item))
    return records


async def _take_feedback(request: PartnerRequest, hash_set: str) -> dict[str, Any]:
    """Review the entries of the hash set that have the hashes, and return how many there are."""
    with suppress(NotFound):  # who may not review is told so before the body is read, whether there is such an entry
        await reviews.latest(request, f"{hash_set}/entries/1")
    given: list[tuple[str, v1.ReviewKind, str]] = []
    for at, one in enumerate(await _items(request, "hashFeedbacks", _MOST_FEEDBACKS)):
        kind, tags = _KINDS.get(str(one.get("feedbackValue"))), one.get("tags") or []
        is_read = isinstance(tags, list) and all(isinstance(tag, str) and tag.isprintable() for tag in tags)
        comment = ", ".join((f"StopNCII feedback: {one.get('feedbackValue')}", *sorted(tags))) if is_read else ""
        if kind is None or not 0 < len(comment) <= MAX_TEXT:
            expected = (
                f"must have a feedbackValue of {' or '.join(_KINDS)}, and short tags; others become no review here"
            )
            raise InvalidArgument.field(f"hashFeedbacks[{at}]", expected, "WORD")
        entries = await _entries_with(request, hash_set, str(one.get("hashValue", "")), f"hashFeedbacks[{at}]")
        given += [(entry, kind, comment) for entry in entries]
        if len(given) > _MOST_REVIEWS:
            raise InvalidArgument.field("hashFeedbacks", f"are about more than {_MOST_REVIEWS} entries; send fewer")
    for entry, kind, comment in given:
        await reviews.add(request, entry, kind, comment, await reviews.latest(request, entry))
    return {"count": len(given)}


async def _entries_with(request: PartnerRequest, hash_set: str, value: str, at: str) -> list[str]:
    """Return the entries of the hash set that have exactly this hash, and that the sender may see in an answer."""
    try:
        algorithm, digest = _ALGORITHMS[len(value)], bytes.fromhex(value)
    except (KeyError, ValueError) as e:
        raise InvalidArgument.field(f"{at}.hashValue", "must be a PDQ or an MD5 in hexadecimal", "PATTERN") from e
    asked = v1.MatchHashesRequest(
        query=v1.Query(hashes=[v1.Hash(algorithm=algorithm, digest=digest)]),
        options=v1.MatchOptions(policy="any", match_limit=_MOST_MATCHES),
    )
    if algorithm == "PDQ":
        asked.options.max_distances[algorithm] = 0
    result = (await request.ask("MatchService/MatchHashes", asked, v1.MatchHashesResponse)).result
    if result.truncated:
        raise Unavailable(f"more than {_MOST_MATCHES} entries have the hash of {at}; review them by their names")
    entries = [m.entry.name for m in result.matches if not m.distance and m.entry.name.startswith(f"{hash_set}/")]
    if not entries:
        raise NotFound(f"no entry of the hash set has the hash of {at}; nothing was taken", kind="Entry", name=at)
    return entries


async def _items(request: PartnerRequest, name: str, most: int) -> list[dict[str, Any]]:
    """Return the objects that a submission lists. Raises InvalidArgument."""
    body = await request.read_json()
    listed = body.get(name)
    if not isinstance(listed, list) or not 0 < len(listed) <= most or not all(isinstance(one, dict) for one in listed):
        raise InvalidArgument.field(name, f"must list 1 to {most} objects", "OUT_OF_RANGE")
    if body.get("count", len(listed)) != len(listed):
        raise InvalidArgument.field("count", f"is not that of {name}, which has {len(listed)}", "CONTRADICTION")
    return listed
