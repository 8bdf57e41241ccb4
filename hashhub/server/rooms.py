"""Rooms: places for each kind of work, so that no kind waits for another.

    calls     small calls: matching by hashes, names, reviews
    pages     lists of up to a thousand lines, and what is done to many entries at once
    imports   batches of records, which are large and take tens of milliseconds each
    commits   what writes a whole list, or undoes one: seconds to minutes, one at a time
    media     hashing of files
    feeds     followed feeds: each holds its place for as long as it is read
    live      live streams: each holds its place for as long as it lasts, and a thread that reads its frames
    waits     calls that wait for the end of an operation
    exports   entries on their way to a file: seconds to minutes, as fast as the caller writes it
    webhooks  test calls, which wait for somebody else's server for up to 10 s
    trials    what another policy would change, one at a time: some seconds a piece, most of them at rest

A call says its room beside its roles (`roles.served`). In a room so many calls work at a time and so many more wait;
one beyond those is told at once when to come again. Rooms are each worker's own, as its threads and memory are. Both
doors use the same rooms.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final, Literal

from hashhub import cancellation
from hashhub.errors import LimitExceeded

if TYPE_CHECKING:
    from hashhub.config import Config

_LOOK_SECONDS: Final = 0.2  # how soon a call that waits for its turn notices that its caller has gone
RoomName = Literal[
    "calls", "pages", "imports", "commits", "media", "feeds", "live", "waits", "exports", "webhooks", "trials"
]
FOLLOWERS: Final = 64  # followed feeds in one process; each holds a thread that mostly sleeps


class Room:
    """Places for one kind of work.

    `working`: calls at a time. `waiting`: further ones that wait for a place. `retry_seconds`: how long the others are
    told to stay away: about what one call takes. `budget`: bytes of requests that are read or worked on; 0: no limit
    but the places. One token works on three quarters of the places at most: however slowly it sends and however long
    its calls take, somebody else finds a place.
    """

    def __init__(self, name: RoomName, working: int, waiting: int, *, retry_seconds: float, budget: int = 0) -> None:
        self.name, self.working, self.waiting = name, working, waiting
        self.retry_seconds, self.budget = retry_seconds, budget
        self._changed = threading.Condition()
        self.most_each = max(1, working * 3 // 4)
        self._inside = self._queued = self._bytes = 0
        self._inside_by_token: dict[str, int] = {}

    @property
    def depth(self) -> tuple[int, int]:
        """How many calls work, and how many wait."""
        return self._inside, self._queued

    def enter(self, token: str) -> None:
        """Wait for a place and take it; `leave` gives it back.

        Raises LimitExceeded when as many wait already as may; Unavailable when the answer is not wanted any more.
        """
        with self._changed:
            by_token = self._inside_by_token
            if self._inside >= self.working or by_token.get(token, 0) >= self.most_each:
                self._wait(token)
            self._inside += 1
            by_token[token] = by_token.get(token, 0) + 1

    def _wait(self, token: str) -> None:
        if self._queued >= self.waiting:
            raise self.full()
        self._queued += 1
        try:
            while self._inside >= self.working or self._inside_by_token.get(token, 0) >= self.most_each:
                self._changed.wait(_LOOK_SECONDS)
                cancellation.check()
        finally:
            self._queued -= 1

    def leave(self, token: str) -> None:
        """Give the place back."""
        with self._changed:
            self._inside -= 1
            rest = self._inside_by_token.pop(token) - 1
            if rest:
                self._inside_by_token[token] = rest
            if self._queued:
                self._changed.notify_all()  # the first may be one whose token has places enough

    def full(self) -> LimitExceeded:
        """Return the refusal of a call for which there is no place."""
        return self._refusal("has as many calls in progress and waiting as it takes")

    def take_bytes(self, count: int) -> None:
        """Set so many bytes aside, or, below 0, give them back. Raises LimitExceeded when the budget does not hold
        them.
        """
        if not self.budget:
            return
        with self._changed:
            if count > 0 and self._bytes and self._bytes + count > self.budget:
                raise self._refusal("is reading as many bytes of requests as it takes")
            self._bytes += count

    def _refusal(self, why: str) -> LimitExceeded:
        return LimitExceeded(
            f"the server {why} (room: {self.name}); retry in {self.retry_seconds:g} s, with fewer at once",
            retry_after=self.retry_seconds,
            metadata={"room": self.name},
        )


def rooms_of(config: Config) -> dict[RoomName, Room]:
    """Return the rooms of one process, by name."""
    bytes_in_progress = config.max_bytes_in_progress
    rooms = (
        Room("calls", config.threads, max(0, config.max_concurrent_calls - config.threads), retry_seconds=0.5),
        Room("pages", 4, 60, retry_seconds=1.0),
        Room("imports", 4, 28, retry_seconds=0.5, budget=bytes_in_progress),
        Room("commits", 1, config.max_waiting_commits, retry_seconds=2.0),
        Room("media", config.media_children(), config.max_queued_media, retry_seconds=1.0, budget=bytes_in_progress),
        Room("feeds", FOLLOWERS, 0, retry_seconds=5.0),
        Room("live", config.max_live_streams, 0, retry_seconds=5.0, budget=bytes_in_progress),
        Room("waits", 16, 0, retry_seconds=2.0),
        Room("exports", 4, 8, retry_seconds=5.0),
        Room("webhooks", 2, 4, retry_seconds=5.0),
        Room("trials", 1, 3, retry_seconds=2.0),
    )
    return {room.name: room for room in rooms}
