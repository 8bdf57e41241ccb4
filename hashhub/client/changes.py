"""Calls for the change feed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from hashhub import v1, wire
from hashhub.client.mirror import Mirror
from hashhub.client.transport import PAGE, Calls, Rpc, following
from hashhub.errors import InvalidArgument
from hashhub.model import FeedPage


class ChangeCalls(Calls):
    """The change feed, and the mirror that is kept by it."""

    def list_changes(
        self,
        position: str = "",
        *,
        from_now: bool = False,
        withdrawn_entries: bool = False,
        reader: str = "",
        since_time: datetime | None = None,
    ) -> Iterator[FeedPage]:
        """Yield the pages of the change feed behind a position, up to the first that is complete. Needs a token that
        may mirror.

        Go on from the last page's `position`, kept with what was applied. Empty: all that the token may hold, as it is
        now; `from_now`: only what changes from now on. `withdrawn_entries`: each withdrawal with its entry. A `reader`
        (a name) may keep the last page's `read_time` instead, and give it as `since_time`; the first time, 1970. Raises
        FailedPrecondition (POSITION_UNKNOWN) when the hub's database was restored from an older backup: start again
        from nothing.
        """
        request = v1.ListChangesRequest(
            position=_position(position), page_size=PAGE, from_now=from_now, withdrawn_entries=withdrawn_entries,
            reader=reader, since_time=wire.timestamp(since_time),
        )  # fmt: skip

        def turn(answer: v1.ListChangesResponse) -> bool:
            request.position, request.from_now = answer.next_position, False
            request.ClearField("since_time")
            return not answer.complete

        return self._transport.items(Rpc(request=request, read=lambda answer: (_feed_page(answer),), turn=turn))

    def follow_changes(
        self, position: str = "", *, from_now: bool = False, withdrawn_entries: bool = False
    ) -> Iterator[FeedPage]:
        """Yield the pages of the change feed behind a position, and then those to come; an empty one is a sign of life.

        Position and errors as in `list_changes`; also raises Unavailable when the hub goes away, and Unauthenticated or
        PermissionDenied once the token does not allow it any more. A client certificate may be renewed meanwhile, up to
        a minute after its end.
        """
        request = v1.FollowChangesRequest(
            position=_position(position), from_now=from_now, withdrawn_entries=withdrawn_entries
        )
        return self._transport.stream(following(request, _feed_page))

    def mirror(self, directory: Path, *, journal: bool = False) -> Mirror:
        """Return the local copy in `directory` (docs/match/mirror.md); close it after use.
        `journal`: note which digests change, for an index beside it (docs/hook/local.md).
        """
        return Mirror(directory, self._transport, journal=journal)


def _position(text: str) -> str:
    if not text.isascii():
        raise InvalidArgument.field(
            "position", "is damaged; give the one that an earlier answer ended with", "POSITION"
        )
    return text


def _feed_page(answer: v1.ListChangesResponse | v1.FollowChangesResponse) -> FeedPage:
    read_time = None
    if isinstance(answer, v1.ListChangesResponse) and answer.HasField("read_time"):
        read_time = answer.read_time.ToDatetime(tzinfo=UTC)
    return FeedPage(
        changes=tuple(map(wire.changed_entry_from_pb, answer.changes)), position=answer.next_position, hub=answer.hub,
        revision=answer.revision, head=answer.head, is_complete=answer.complete, read_time=read_time,
    )  # fmt: skip
