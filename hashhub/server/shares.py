"""How a call is let in: a share of each token, and a place in the room of its kind of work.

    call ──> the token's share of calls ──> a place in the room ──> bytes: the room's budget, the token's share ──> read

A **share** is what one token may take at a time of what all share; an operator can give a token another share than the
settings say. Both doors ask here, so that it does not matter by which of them a call came, and all workers count
together (`counts`), so that it does not matter at which of them it came. Rooms are about a worker's own threads and
memory, and are each worker's own. A refusal is LimitExceeded with a time to retry after.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final, Self

from hashhub.errors import LimitExceeded, Reason
from hashhub.server.counts import Counts

if TYPE_CHECKING:
    from types import TracebackType

    from hashhub.config import Config
    from hashhub.model import Principal
    from hashhub.server.live import Pace
    from hashhub.server.rooms import Room

_MINUTE: Final = 60.0
_LONGEST_RETRY: Final = 30.0  # seconds
_TOLD: Final[Mapping[str, str]] = {
    "calls": "{} calls in progress",
    "streams": "{} followed feeds and live streams",
    "message_bytes": "{} bytes of requests in progress, or of answers that it has not taken",
    "media_seconds": "{} seconds of media hashing a minute",
}


class TokenShares:
    """What each token may take, and takes, of the hub."""

    def __init__(
        self,
        config: Config,
        *,
        cores: int,
        counts: Counts | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`cores`: of the machine, for the share of media seconds where the settings name none. `counts`: what is
        taken; None: of this process alone.
        """
        self._most: Mapping[str, int] = {
            "calls": config.token_calls,
            "streams": config.token_streams,
            "message_bytes": config.token_message_bytes,
            "media_seconds": config.token_media_seconds or max(int(_MINUTE), cores * int(_MINUTE) // 2),
        }
        self._frames = config.token_live_frames_per_second
        self._counts = counts or Counts()
        self._clock = clock
        self._lock = threading.Lock()
        self.refused: Counter[str] = Counter()  # by share or room

    def most(self, principal: Principal, share: str) -> int:
        """Return how much of a share the token may take."""
        own: int = getattr(principal.shares, share)
        return own or self._most[share]

    def taken(self, token: str, share: str) -> int:
        """Return how much of a share a token has taken, at all workers."""
        return self._counts.held(token, share)

    def prepare(self, token: str) -> None:
        """See to it that taking from this token's shares waits for nothing; this may wait for a moment itself."""
        self._counts.prepare(token)

    def take(self, principal: Principal, share: str, count: int = 1) -> None:
        """Take so much of a share; `give` gives it back. Raises LimitExceeded when the token has no more of it."""
        most = self.most(principal, share)
        # One request is always let in: a share below the size of a message would lock its token out.
        if not self._counts.take(principal.name, share, count, most):
            raise self.exceeded(principal.name, share, most, 1.0)

    def give(self, token: str, share: str, count: int = 1) -> None:
        """Give back what was taken."""
        self._counts.give(token, share, count)

    def count_refusal(self, what: str) -> None:
        """Count a refusal, by the share or room that was exceeded."""
        with self._lock:
            self.refused[what] += 1

    def check_media(self, principal: Principal) -> None:
        """Raise LimitExceeded while the token has used its media seconds up; time pays them back."""
        most = self.most(principal, "media_seconds")
        beyond = self._counts.owed(principal.name, "media_seconds", self._clock()) - _MINUTE
        if beyond >= 0:
            wait = beyond + _MINUTE / most  # until a second is free
            raise self.exceeded(principal.name, "media_seconds", most, min(wait, _LONGEST_RETRY))

    def charge_media(self, principal: Principal, seconds: float) -> None:
        """Count seconds of a core that hashing took: known afterwards, so a token may go into debt by what it has in
        progress.
        """
        paid_in = seconds * _MINUTE / self.most(principal, "media_seconds")
        self._counts.owe(principal.name, "media_seconds", paid_in, self._clock())

    def take_frame(self, principal: Principal, own: Pace) -> float:
        """Take a frame of a live stream by the token's pace and the stream's own, or return the seconds until there may
        be one.
        """
        at_once = max(1.0, self._frames)
        now = self._clock()
        beyond = self._counts.owed(principal.name, "frames", now) - (at_once - 1.0) / self._frames
        wait = max(beyond, own.wait())
        if wait > 0:
            return wait
        self._counts.owe(principal.name, "frames", 1.0 / self._frames, now)
        own.take()
        return 0.0

    def exceeded(self, token: str, share: str, most: int, retry_after: float) -> LimitExceeded:
        """Count and return the refusal of a call by a token that has taken `most` of a share, all that it may."""
        self.count_refusal(share)
        return LimitExceeded(
            f"token {token} has taken its share of this server ({_TOLD[share].format(most)}); retry in "
            f"{retry_after:.1f} s, with less at once, or ask the operator for a larger share",
            reason=Reason.SHARE_EXCEEDED,
            retry_after=retry_after,
            metadata={"share": share, "most": str(most)},
        )


class Admission:
    """A call that is let in, for as long as the body runs.

    `share`: what it is counted by, empty where that is done. `most_bytes`: the most that its request may have; so many
    are set aside until `settle` says how many it has.
    Entering raises LimitExceeded, and Unavailable when the answer is not wanted any more.
    """

    __slots__ = ("_bytes", "_principal", "_room", "_share", "_shares")

    def __init__(self, shares: TokenShares, principal: Principal, room: Room, share: str, most_bytes: int) -> None:
        self._shares, self._principal, self._room, self._share = shares, principal, room, share
        self._bytes = most_bytes if room.budget else 0

    def __enter__(self) -> Self:
        if self._share:
            self._shares.take(self._principal, self._share)
        try:
            self._enter_room()
        except BaseException:
            self._give_share()
            raise
        return self

    def _give_share(self) -> None:
        if self._share:
            self._shares.give(self._principal.name, self._share)

    def _enter_room(self) -> None:
        try:
            self._room.enter(self._principal.name)
        except LimitExceeded:
            self._shares.count_refusal(self._room.name)
            raise
        if not self._bytes:
            return
        try:
            self._shares.take(self._principal, "message_bytes", self._bytes)
            try:
                self._room.take_bytes(self._bytes)
            except LimitExceeded:
                self._shares.give(self._principal.name, "message_bytes", self._bytes)
                self._shares.count_refusal(self._room.name)
                raise
        except BaseException:
            self._room.leave(self._principal.name)
            raise

    @property
    def is_counted(self) -> bool:
        """Whether its bytes are."""
        return self._bytes > 0

    def settle(self, size: int) -> None:
        """Give back what was set aside beyond the request's real size."""
        beyond = self._bytes - size
        if beyond > 0:
            self._bytes = size
            self._room.take_bytes(-beyond)
            self._shares.give(self._principal.name, "message_bytes", beyond)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bytes:
            self._room.take_bytes(-self._bytes)
            self._shares.give(self._principal.name, "message_bytes", self._bytes)
        self._room.leave(self._principal.name)
        self._give_share()
