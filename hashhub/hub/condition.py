"""What the hub can do now: one small look a second, on a thread of its own.

A probe so costs nothing, and is answered at once while the database hangs.
"""

from __future__ import annotations

import time
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from hashhub.background import Background
from hashhub.errors import HashHubError

if TYPE_CHECKING:
    from hashhub.hub.follow import Follower
    from hashhub.store import Store

_SECONDS: Final = 1.0  # between two looks
ANSWER_SECONDS: Final = 5.0  # a look that takes longer than this is no answer


class Need(StrEnum):
    """What a service needs to answer."""

    DATABASE = "DATABASE"  # it can be read
    ROOM = "ROOM"  # it can be written
    MATCHER = "MATCHER"  # it has caught up, and is not behind


class Condition:
    """Which needs are met."""

    def __init__(self, store: Store, follower: Follower) -> None:
        """Until the first look was made the database counts as read: it was, a moment ago, to open it."""
        self._store = store
        self._follower = follower
        self._answered = time.monotonic()
        self._is_answering = True
        self._has_room = True
        self.revision = 0
        """The database's, at the last look."""
        self.thread = Background(
            "condition", self.look, complaint="the database does not answer", pause=_SECONDS, longest_pause=_SECONDS
        )

    def look(self) -> None:
        """Read one row; see whether writes would fit. Raises Unavailable when the database is away."""
        try:
            self.revision = self._store.revision()
            self._has_room = self._store.has_room()
        except BaseException:
            self._is_answering = False
            raise
        self._answered = time.monotonic()
        self._is_answering = True

    def met(self) -> frozenset[Need]:
        """Return what is there now; asks nobody."""
        needs = set()
        if self._is_answering and time.monotonic() - self._answered <= _SECONDS + ANSWER_SECONDS:
            needs.add(Need.DATABASE)
        if self._has_room:
            needs.add(Need.ROOM)
        try:
            self._follower.require_ready()
            needs.add(Need.MATCHER)
        except HashHubError:
            pass
        return frozenset(needs)
