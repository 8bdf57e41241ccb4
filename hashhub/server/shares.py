"""How a call is let in: a share of each token, and a place in the room of its kind of work.

    call ──> the token's share of calls ──> a place in the room ──> bytes: the room's budget, the token's share ──> read

A **share** is what one token may take at a time of what all share; an operator can give a token another share than the
settings say. Both doors ask here, so that it does not matter by which of them a call came. Everything is counted in one
process. A refusal is LimitExceeded with a time to retry after, and is counted by what was exceeded.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final, Self

from hashhub.errors import LimitExceeded, Reason

if TYPE_CHECKING:
    from types import TracebackType

    from hashhub.config import Config
    from hashhub.model import Principal
    from hashhub.server.rooms import Room

_MINUTE: Final = 60.0
_LONGEST_RETRY: Final = 30.0  # seconds
_TOLD: Final[Mapping[str, str]] = {
    "calls": "{} calls in progress",
    "streams": "{} followed feeds and live streams",
    "message_bytes": "{} bytes of requests in progress",
    "media_seconds": "{} seconds of media hashing a minute",
}


class TokenShares:
    """What each token has taken, and the most that it may."""

    def __init__(self, config: Config, *, cores: int, clock: Callable[[], float] = time.monotonic) -> None:
        """`cores`: of the machine, for the share of media seconds where the settings name none."""
        self._most: Mapping[str, int] = {
            "calls": config.token_calls,
            "streams": config.token_streams,
            "message_bytes": config.token_message_bytes,
            "media_seconds": config.token_media_seconds or max(int(_MINUTE), cores * int(_MINUTE) // 2),
        }
        self._clock = clock
        self._lock = threading.Lock()
        self._taken: dict[tuple[str, str], int] = {}
        self._media: dict[str, tuple[float, float]] = {}  # by token: seconds owed, and as of when
        self.refused: Counter[str] = Counter()  # by share or room

    def most(self, principal: Principal, share: str) -> int:
        """Return how much of a share the token may take."""
        own: int = getattr(principal.shares, share)
        return own or self._most[share]

    def taken(self, token: str, share: str) -> int:
        """Return how much of a share a token has taken."""
        return self._taken.get((token, share), 0)

    def take(self, principal: Principal, share: str, count: int = 1) -> None:
        """Take so much of a share; `give` gives it back. Raises LimitExceeded when the token has no more of it."""
        key, most = (principal.name, share), self.most(principal, share)
        with self._lock:
            taken = self._taken.get(key, 0)
            # One request is always let in: a share below the size of a message would lock its token out.
            if not taken or taken + count <= most:
                self._taken[key] = taken + count
                return
        raise self.exceeded(principal.name, share, most, 1.0)

    def give(self, principal: Principal, share: str, count: int = 1) -> None:
        """Give back what was taken."""
        key = (principal.name, share)
        with self._lock:
            rest = self._taken.pop(key) - count
            if rest:  # what is kept is bounded by what goes on
                self._taken[key] = rest

    def count_refusal(self, what: str) -> None:
        """Count a refusal, by the share or room that was exceeded."""
        with self._lock:
            self.refused[what] += 1

    def check_media(self, principal: Principal) -> None:
        """Raise LimitExceeded while the token has used its media seconds up; time pays them back."""
        owed, most = self._owed(principal), self.most(principal, "media_seconds")
        if owed >= most:
            wait = (owed - most + 1) * _MINUTE / most  # until a second is free
            raise self.exceeded(principal.name, "media_seconds", most, min(wait, _LONGEST_RETRY))

    def charge_media(self, principal: Principal, seconds: float) -> None:
        """Count seconds of a core that hashing took: known afterwards, so a token may go into debt by what it has in
        progress.
        """
        owed = self._owed(principal) + seconds
        with self._lock:
            self._media[principal.name] = (owed, self._clock())

    def _owed(self, principal: Principal) -> float:
        with self._lock:
            owed, at = self._media.get(principal.name, (0.0, 0.0))
        return max(0.0, owed - (self._clock() - at) * self.most(principal, "media_seconds") / _MINUTE)

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

    `most_bytes`: the most that its request may have; so many are set aside until `settle` says how many it has.
    Entering raises LimitExceeded, and Unavailable when the answer is not wanted any more.
    """

    __slots__ = ("_bytes", "_principal", "_room", "_share", "_shares")

    def __init__(self, shares: TokenShares, principal: Principal, room: Room, share: str, most_bytes: int) -> None:
        self._shares, self._principal, self._room, self._share = shares, principal, room, share
        self._bytes = most_bytes if room.budget else 0

    def __enter__(self) -> Self:
        self._shares.take(self._principal, self._share)
        try:
            self._enter_room()
        except BaseException:
            self._shares.give(self._principal, self._share)
            raise
        return self

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
                self._shares.give(self._principal, "message_bytes", self._bytes)
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
            self._shares.give(self._principal, "message_bytes", beyond)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bytes:
            self._room.take_bytes(-self._bytes)
            self._shares.give(self._principal, "message_bytes", self._bytes)
        self._room.leave(self._principal.name)
        self._shares.give(self._principal, self._share)
