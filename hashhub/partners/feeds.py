"""Feeds in partners' formats: a hash set's changes since a time, as pages that a partner's client takes.

    /{protocol}/{contributor}/{hash set}/…  ──►  ListChanges (since_time, reader)  ──►  the connector's own writer

A feed is of one hash set, which its address names: these formats have no place for whose word an item is, and know an
item by its hashes, of which another hash set may say something else. Each page says a time to ask from next. Until its
last page a client keeps the time that it asked from, so that one that breaks off asks again.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import ClassVar, Final, TypeVar

import msgspec
from google.protobuf.timestamp_pb2 import Timestamp

from hashhub import v1, wire
from hashhub.connector import Exported, get_writer
from hashhub.errors import InvalidArgument, NotFound
from hashhub.model import MAX_NUMBER, Entry, HashSet
from hashhub.partners.requests import PartnerAnswer, PartnerDoor, PartnerRequest

MOST: Final = 1000  # items of a page
LATEST: Final = 1 << 33  # seconds since 1970
_EMPTY_PAGES: Final = 20  # of the hub, in a row, before a page without items is answered
_DIGITS: Final = 15  # of a number that is read

_D = TypeVar("_D")


@dataclass(frozen=True, slots=True)
class FeedPart:
    """A part of a feed. `hash_set`: as it is; None: the caller may not have it any more. `entries`: ACTIVE as they are,
    or WITHDRAWN as they were; of one hash the last counts. `token`: where the client goes on; empty: this is all.
    `time`: from which it asks next, in seconds since 1970.
    """

    hash_set: HashSet | None
    entries: list[Entry]
    token: str
    time: int

    async def written(self, writer: str, document: type[_D]) -> _D:
        """Return what a writer of JSON makes of the part, which has no record of what its format cannot say."""
        written = await self.document(writer, {})
        return await asyncio.to_thread(msgspec.json.decode, written, type=document)

    async def document(self, writer: str, options: Mapping[str, str], time: datetime | None = None) -> bytes:
        """Return the document that a writer makes of the part, as of the part's time or another one."""
        return await asyncio.to_thread(self._document, writer, options, time or datetime.fromtimestamp(self.time, UTC))

    def _document(self, writer: str, options: Mapping[str, str], time: datetime) -> bytes:
        sets = {self.hash_set.name: self.hash_set} if self.hash_set else {}
        target = io.BytesIO()
        for _ in get_writer(writer).write(self.entries, target, Exported(sets, {}, time, is_delta=True), options):
            pass  # `hashhub export` tells what is left out of this format, and why
        return target.getvalue()


@dataclass(frozen=True, slots=True)
class HashSetFeed:
    """The feed of one hash set to the sender of a request. `name`: its resource name."""

    request: PartnerRequest
    reader: str
    name: str

    async def part(self, since: int, token: str, size: int) -> FeedPart:
        """Return what follows a time, or the part before. Raises NotFound where there is nothing that the caller may
        have, or might still hold.
        """
        hash_set = await self._find()
        asked = v1.ListChangesRequest(
            page_size=size, withdrawn_entries=True, hash_sets=[self.name], reader=self.reader, position=token
        )
        if not token:
            asked.since_time.CopyFrom(Timestamp(seconds=since))
        page, entries = await self._told(asked)
        if not page.complete:
            return FeedPart(hash_set, entries, page.next_position, since)
        if hash_set is None and not entries:
            raise self._none()
        return FeedPart(hash_set, entries, "", page.read_time.seconds if page.HasField("read_time") else since)

    async def first(self, time: int, number: int = 0, size: int = MOST) -> FeedPart:
        """Return the first entries that stand in the hash set from a number on, as of `time`."""
        asked = v1.ListChangesRequest(page_size=size, hash_sets=[self.name])
        if 0 < number <= MAX_NUMBER:
            asked.first_entry = f"{self.name}/entries/{number}"
        return FeedPart(await self._find(), (await self._told(asked))[1], "", time)

    async def hash_set(self) -> HashSet:
        """Return the hash set. Raises NotFound where the caller may not have its entries in bulk."""
        if (hash_set := await self._find()) is None:
            raise self._none()
        return hash_set

    async def _find(self) -> HashSet | None:
        page = await self._page(v1.ListChangesRequest(page_size=MOST, hash_sets=[self.name], from_now=True))
        pbs = [change.hash_set for change in page.changes if change.HasField("hash_set")]
        return wire.HASH_SET.from_pb(pbs[0], "hash_set") if pbs else None

    def _none(self) -> NotFound:
        shown = "/".join(wire.parse_hash_set(self.name))
        message = f"there is no hash set {shown} that this token may have in bulk; ask the hub's operator"
        return NotFound(message, kind="HashSet", name=self.name)

    async def _told(self, asked: v1.ListChangesRequest) -> tuple[v1.ListChangesResponse, list[Entry]]:
        """Return the next page that tells entries, or the last of several without, and its entries."""
        for _ in range(_EMPTY_PAGES):
            page = await self._page(asked)
            entries = await asyncio.to_thread(entries_of, page)
            if entries or page.complete:
                break
            asked.position = page.next_position
            asked.ClearField("since_time")
        return page, entries

    async def _page(self, asked: v1.ListChangesRequest) -> v1.ListChangesResponse:
        return await self.request.ask("ChangeService/ListChanges", asked, v1.ListChangesResponse)


def entries_of(page: v1.ListChangesResponse) -> list[Entry]:
    """Return the entries that a page tells, in its order, as a FeedPart has them."""
    entries = []
    for change in page.changes:
        if change.HasField("entry"):
            entries.append(wire.entry_from_pb(change.entry))
            entries += map(wire.entry_from_pb, change.same_hash_entries)
    return entries


class FeedDoor(PartnerDoor):
    """A protocol whose addresses begin with `/{contributor}/{hash set}/`."""

    slug: ClassVar[str]
    """Of it, in the names of readers."""

    async def answer(self, request: PartnerRequest) -> PartnerAnswer:
        """Answer a request. Raises a HashHubError, which `refusal` words."""
        contributor, hash_set, *path = (*(part for part in request.path.split("/") if part), "", "")
        name = f"contributors/{contributor}/hashSets/{hash_set}"
        try:
            wire.parse_hash_set(name)
        except InvalidArgument as e:
            raise no_path(request, "the id of a contributor and that of its hash set") from e
        reader = f"{self.slug}-{hashlib.sha256(name.encode()).hexdigest()[:12]}"
        return await self.route(request, HashSetFeed(request, reader, name), [part for part in path if part])

    @abstractmethod
    async def route(self, request: PartnerRequest, feed: HashSetFeed, path: list[str]) -> PartnerAnswer:
        """Answer a request for a path behind the hash set's."""


def no_path(request: PartnerRequest, expected: str) -> NotFound:
    """Return the error for a path that there is not. `expected`: instead."""
    return NotFound(f"there is no such path; expected {expected}", kind="Path", name=request.path[:80])


def number(request: PartnerRequest, name: str, otherwise: int) -> int:
    """Return a parameter of the query, `otherwise` where it is not given. Raises InvalidArgument for what is no number
    from 0 on, such as a time.
    """
    text = request.query.get(name, "")
    if not text:
        return otherwise
    if not (text.isascii() and text.isdecimal() and len(text) <= _DIGITS and int(text) <= LATEST):
        raise InvalidArgument.field(name, f"must be a whole number of 0 to {LATEST}, got {text[:20]!r}", "OUT_OF_RANGE")
    return int(text)
