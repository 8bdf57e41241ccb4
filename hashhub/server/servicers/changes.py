"""The change feed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Final

from hashhub import v1, wire
from hashhub.errors import Unavailable
from hashhub.model import Principal
from hashhub.server import pages
from hashhub.server.roles import EVERYBODY, served
from hashhub.server.servicers.requests import Service

_LIFE_SIGN_SECONDS: Final = 10.0  # a followed feed says something at least this often, so that a dead connection shows
_LOOK_SECONDS: Final = 0.5  # how soon a followed feed notices that its reader has gone or the server stops


class ChangeService(Service):
    """The change feed."""

    @served(EVERYBODY, limiter="pages")
    def list_changes(self, principal: Principal, request: v1.ListChangesRequest) -> v1.ListChangesResponse:
        """List changes behind a position."""
        size = pages.size(request.page_size)
        page = self._hub.changes.page(principal, request.position, from_now=request.from_now, page_size=size)
        return wire.feed_page_to_pb(v1.ListChangesResponse, page)

    @served(EVERYBODY, limiter="feeds")
    def follow_changes(
        self, caller: Callable[[], Principal], request: v1.FollowChangesRequest, is_wanted: Callable[[], bool]
    ) -> Iterator[v1.FollowChangesResponse]:
        """Stream changes behind a position, and those to come, until either side ends it."""
        position, from_now = request.position, request.from_now
        said, was_complete = 0.0, False
        while is_wanted():
            if self._is_stopping():
                raise Unavailable("the server is stopping; follow again from the last position", retry_after=1.0)
            # Each page is authorised anew.
            page = self._hub.changes.page(caller(), position, from_now=from_now)
            position, from_now = page.position, False
            is_news = bool(page.changes) or (page.is_complete and not was_complete)
            if is_news or time.monotonic() - said >= _LIFE_SIGN_SECONDS:
                yield wire.feed_page_to_pb(v1.FollowChangesResponse, page)
                said, was_complete = time.monotonic(), page.is_complete
            if page.is_complete:
                self._hub.changes.wait(page.revision, _LOOK_SECONDS)
