"""TAXII 2.1: a hash set is an API root with one collection, whose objects are its entries (the STIX writer's versions).

    /taxii2/                                                          discovery: the hash sets that the token may have
           /{contributor}/{hash set}/                                 API root
                                    /collections/[{id}/]
                                    /collections/{id}/objects/[{object}/[versions/]]
                                    /collections/{id}/manifest/

Each object has one version, the one told last, and is added when this feed tells it. On all pages but the last the date
added is the one that was asked from, so that a client which breaks off asks again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID, uuid5

import msgspec

from hashhub import v1, wire
from hashhub.errors import InvalidArgument, NotFound
from hashhub.model import HashSet, now
from hashhub.partners.feeds import MOST, FeedDoor, FeedPart, HashSetFeed, no_path, number
from hashhub.partners.requests import Headers, PartnerAnswer, PartnerRequest, basic_password

_MEDIA: Final = "application/taxii+json;version=2.1"
_ACCEPTED: Final = frozenset({_MEDIA, "application/taxii+json", "*/*"})
_STIX: Final = "application/stix+json;version=2.1"
_OURS: Final = UUID("8a1d6c2e-0f57-4a57-9f1c-5d0a7a2f9b63")  # namespace of the collections' ids
_ABOUT: Final = 6  # objects that entries refer to, and which stand before them: identities, our extension, markings
_OF_EACH: Final = 2  # objects of one entry at most
_AROUND: Final = 20  # lines of the feed that are read for one object
_MATCHES: Final = ("id", "type", "version", "spec_version")


class _Bundle(msgspec.Struct):
    objects: list[dict[str, Any]]


class TAXIIDoor(FeedDoor):
    """Answers requests of TAXII clients."""

    name = "TAXII"
    slug = "taxii"

    def authorization(self, header: Callable[[bytes], str], query_string: str) -> str:  # noqa: ARG002 - as of all
        """Return the token, which is the password of whatever user."""
        return basic_password(header(b"authorization"))

    async def answer(self, request: PartnerRequest) -> PartnerAnswer:
        """Answer a request. Raises a HashHubError, which `refusal` words."""
        accepted = {part.replace(" ", "") for part in request.accept.split(",")}
        if not accepted & _ACCEPTED:
            return self.refused(406, f"the header Accept must be {_MEDIA}")
        if request.verb not in {"GET", "HEAD"}:
            is_write = request.path.rstrip("/").endswith("/objects") or "/objects/" in request.path
            message = "this collection is read-only; the method must be GET"
            return self.refused(403 if is_write else 405, message, ((b"allow", b"GET"),))
        return await (super().answer(request) if request.path.strip("/") else self._discovery(request))

    async def route(self, request: PartnerRequest, feed: HashSetFeed, path: list[str]) -> PartnerAnswer:
        """Answer a request for a path behind the hash set's."""
        own = str(uuid5(_OURS, feed.name))
        match path:
            case []:
                root = {"title": (await feed.hash_set()).name, "versions": [_MEDIA], "max_content_length": 65_536}
                return _said(root)
            case ["collections"]:
                return _said({"collections": [_collection(own, await feed.hash_set())]})
            case ["collections", id_] if id_ == own:
                return _said(_collection(own, await feed.hash_set()))
            case ["collections", id_, "objects"] if id_ == own:
                return await self._objects(request, feed)
            case ["collections", id_, "manifest"] if id_ == own:
                # Who reads the manifest has taken nothing in.
                return await self._objects(request, HashSetFeed(request, f"{feed.reader}-m", feed.name), of=_listed)
            case ["collections", id_, "objects", found] if id_ == own:
                return _said({"objects": [await _found(feed, found)]})
            case ["collections", id_, "objects", found, "versions"] if id_ == own:
                return _said({"versions": [_version(await _found(feed, found))]})
        raise no_path(request, f"collections/{own}/objects/, /manifest/, or what stands above them")

    async def _discovery(self, request: PartnerRequest) -> PartnerAnswer:
        """Return where the hash sets are that the sender may have in bulk."""
        asked = v1.ListChangesRequest(page_size=MOST, from_now=True)
        roots: list[str] = []
        while True:
            page = await request.ask("ChangeService/ListChanges", asked, v1.ListChangesResponse)
            names = [change.hash_set.name for change in page.changes if change.HasField("hash_set")]
            roots += [f"{request.url}/{'/'.join(wire.parse_hash_set(name))}/" for name in names]
            if page.complete:
                break
            asked.position, asked.from_now = page.next_position, False
        default = {"default": roots[0], "api_roots": roots} if roots else {}
        return _said({"title": "hashhub", "description": "Hash sets; each is an API root.", **default})

    async def _objects(
        self, request: PartnerRequest, feed: HashSetFeed, of: Callable[[dict[str, Any], str], Any] | None = None
    ) -> PartnerAnswer:
        since = _time(request.query.get("added_after", ""))
        limit = number(request, "limit", MOST) or 1
        size = max(1, min(MOST, (limit - _ABOUT) // _OF_EACH))
        token, _, last = request.query.get("next", "").partition("/")
        part = await feed.part(since, token, size)
        # A client learns the date to go on from by objects only, so that the last of several pages is never without.
        is_empty = not part.entries and not request.query.get("next")
        objects = [] if is_empty else [one for one in await _written(part) if _matches(request, one)]
        # A part of more objects than the limit is read again for each page of it, whose `next` names the object before:
        # where another part is read then, none is skipped.
        ids = [one["id"] for one in objects]
        begin = ids.index(last) + 1 if last in ids else 0
        is_cut = begin + limit < len(objects)
        objects = objects[begin : begin + limit]
        following = f"{token}/{objects[-1]['id']}" if is_cut else part.token
        answer: dict[str, Any] = {"more": True, "next": following} if following else {}
        added = _text(since if is_cut else part.time)
        if objects:
            answer["objects"] = objects if of is None else [of(one, added) for one in objects]
        headers = ((b"x-taxii-date-added-first", added.encode()), (b"x-taxii-date-added-last", added.encode()))
        return _said(answer, headers if objects else ())

    def refused(self, status: int, message: str, headers: Headers = ()) -> PartnerAnswer:
        """Return an error as TAXII writes it."""
        return _said({"title": message, "http_status": str(status)}, headers, status)


async def _written(part: FeedPart) -> list[dict[str, Any]]:
    """Return what a part says: of each object the version that it told last."""
    # A version is the telling of it, so that a later one counts, also of an entry that is what it was before.
    document = await part.document("stix", {"items": "versions"}, now())
    bundle = await asyncio.to_thread(msgspec.json.decode, document, type=_Bundle)
    return list({one["id"]: one for one in bundle.objects}.values())


async def _found(feed: HashSetFeed, id_: str) -> dict[str, Any]:
    """Return an object that stands in the collection. Raises NotFound."""
    await feed.hash_set()
    with suppress(ValueError):
        from hashhub_connectors.stix import number_in  # with all that its writer needs: not before it is asked for

        for one in await _written(await feed.first(0, number_in(UUID(id_.partition("--")[2])), _AROUND)):
            if one["id"] == id_:
                return one
    raise NotFound("the collection has no object of this id", kind="Object", name=id_[:80])


def _matches(request: PartnerRequest, one: dict[str, Any]) -> bool:
    """Whether an object is one that the request asks for."""
    has = {**one, "version": _version(one), "spec_version": one.get("spec_version", "2.1")}
    for name in _MATCHES:
        wanted = set(filter(None, request.query.get(f"match[{name}]", "").split(",")))
        if name == "version" and wanted & {"last", "first", "all"}:
            continue
        if wanted and has[name] not in wanted:
            return False
    return True


def _version(one: dict[str, Any]) -> str:
    return str(one.get("modified") or one.get("created") or _text(0))


def _listed(one: dict[str, Any], added: str) -> dict[str, str]:
    return {"id": one["id"], "date_added": added, "version": _version(one), "media_type": _STIX}


def _collection(id_: str, hash_set: HashSet) -> dict[str, Any]:
    about = f"Hash set {hash_set.name}, purpose {hash_set.purpose}."
    said = {"id": id_, "title": hash_set.display_name or hash_set.name, "description": about}
    return {**said, "can_read": True, "can_write": False, "media_types": [_STIX]}


def _time(text: str) -> int:
    """Return seconds since 1970, 0 for no time. Raises InvalidArgument."""
    if not text:
        return 0
    try:
        time = datetime.fromisoformat(text)
        if time.tzinfo is not None:
            return max(0, int(time.timestamp()))
    except (ValueError, OverflowError):
        pass
    raise InvalidArgument.field("added_after", f"must be a time as 2026-01-02T03:04:05Z, got {text[:40]!r}", "PATTERN")


def _text(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.000000Z")


def _said(value: Any, headers: Headers = (), status: int = 200) -> PartnerAnswer:
    return PartnerAnswer(status, msgspec.json.encode(value), _MEDIA, headers)
