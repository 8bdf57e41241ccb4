"""How a call is let in: the quota of its token, and a place in the limiter of its kind.

    call ──> the token's quota of calls ──> the limiter ──> bytes: the limiter's budget, the token's quota ──> read

A quota is what one token may have in use at a time of what all use; an operator can give a token another than the
settings say. All workers count together (`quota_counts`). A refusal is LimitExceeded with a time to retry after.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final, Self

from hashhub.errors import LimitExceeded, Reason
from hashhub.server.bodies import take_bytes
from hashhub.server.quota_counts import QuotaCounts

if TYPE_CHECKING:
    from types import TracebackType

    from google.protobuf.message import Message

    from hashhub.config import Config
    from hashhub.model import Principal
    from hashhub.server.limiters import Limiter
    from hashhub.server.live import FrameRate

_MINUTE: Final = 60.0
_LONGEST_RETRY: Final = 30.0  # seconds
_WORDS: Final[Mapping[str, str]] = {
    "calls": "{} calls in progress",
    "streams": "{} followed feeds and live streams",
    "message_bytes": "{} bytes of requests in progress, or of answers that it has not taken",
    "media_seconds": "{} seconds of media hashing a minute",
}


class TokenQuotas:
    """What each token may take, and takes, of the hub."""

    def __init__(
        self,
        config: Config,
        *,
        cores: int,
        counts: QuotaCounts | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`cores`: of the machine, for the quota of media seconds where the settings name none. `counts`: what is
        taken; None: of this process alone.
        """
        self._most: Mapping[str, int] = {
            "calls": config.token_calls,
            "streams": config.token_streams,
            "message_bytes": config.token_message_bytes,
            "media_seconds": config.token_media_seconds or max(int(_MINUTE), cores * int(_MINUTE) // 2),
        }
        self._frames = config.token_live_frames_per_second
        self._counts = counts or QuotaCounts()
        self.clock = clock
        self._lock = threading.Lock()
        self.refused: Counter[str] = Counter()  # by quota or limiter

    def most(self, principal: Principal, quota: str) -> int:
        """Return how much of a quota the token may take."""
        own: int = getattr(principal.shares, quota)
        return own or self._most[quota]

    def taken(self, token: str, quota: str) -> int:
        """Return how much of a quota a token has in use, at all workers."""
        return self._counts.held(token, quota)

    def prepare(self, token: str) -> None:
        """See to it that taking from this token's quotas waits for nothing; this may wait for a moment itself."""
        self._counts.prepare(token)

    def take(self, principal: Principal, quota: str, count: int = 1) -> None:
        """Take so much of a quota; `give` gives it back. Raises LimitExceeded when the token has no more of it."""
        most = self.most(principal, quota)
        # One request is always let in: a quota below the size of a message would lock its token out.
        if not self._counts.take(principal.name, quota, count, most):
            raise self.exceeded(principal.name, quota, most, 1.0)

    def give(self, token: str, quota: str, count: int = 1) -> None:
        """Give back what was taken."""
        self._counts.give(token, quota, count)

    def count_refusal(self, what: str) -> None:
        """Count a refusal, by the quota or limiter that was exceeded."""
        with self._lock:
            self.refused[what] += 1

    def check_media(self, principal: Principal) -> None:
        """Raise LimitExceeded while the token has used its media seconds up; time pays them back."""
        most = self.most(principal, "media_seconds")
        beyond = self._counts.owed(principal.name, "media_seconds", self.clock()) - _MINUTE
        if beyond >= 0:
            wait = beyond + _MINUTE / most  # until a second is free
            raise self.exceeded(principal.name, "media_seconds", most, min(wait, _LONGEST_RETRY))

    def charge_media(self, principal: Principal, seconds: float) -> None:
        """Count seconds of a core that hashing took: known afterwards, so a token may go into debt by what it has in
        progress.
        """
        paid_in = seconds * _MINUTE / self.most(principal, "media_seconds")
        self._counts.owe(principal.name, "media_seconds", paid_in, self.clock())

    def take_frame(self, principal: Principal, own: FrameRate) -> float:
        """Take a frame of a live stream by the token's pace and the stream's own, or return the seconds until there may
        be one.
        """
        at_once = max(1.0, self._frames)
        now = self.clock()
        beyond = self._counts.owed(principal.name, "frames", now) - (at_once - 1.0) / self._frames
        wait = max(beyond, own.wait())
        if wait > 0:
            return wait
        self._counts.owe(principal.name, "frames", 1.0 / self._frames, now)
        own.take()
        return 0.0

    def exceeded(self, token: str, quota: str, most: int, retry_after: float) -> LimitExceeded:
        """Count and return the refusal of a call by a token that has taken `most` of a quota, all that it may."""
        self.count_refusal(quota)
        return LimitExceeded(
            f"token {token} has taken its share of this server ({_WORDS[quota].format(most)}); retry in "
            f"{retry_after:.1f} s, with less at once, or ask the operator for a larger share",
            reason=Reason.SHARE_EXCEEDED,
            retry_after=retry_after,
            metadata={"share": quota, "most": str(most)},
        )


class Admission:
    """A call that is let in, for as long as the body runs.

    `most_bytes`: the most that its request may have; so many are set aside until `settle` says how many it has.
    Entering raises LimitExceeded, and Unavailable when the caller goes while it waits.
    """

    __slots__ = ("_bytes", "_limiter", "_principal", "_quota", "_quotas")

    def __init__(
        self, quotas: TokenQuotas, principal: Principal, limiter: Limiter, quota: str, most_bytes: int
    ) -> None:
        self._quotas, self._principal, self._limiter, self._quota = quotas, principal, limiter, quota
        self._bytes = most_bytes if limiter.budget else 0

    async def __aenter__(self) -> Self:
        self._quotas.take(self._principal, self._quota)
        try:
            await self._enter_room()
        except BaseException:
            self._quotas.give(self._principal.name, self._quota)
            raise
        return self

    async def _enter_room(self) -> None:
        try:
            await self._limiter.enter(self._principal.name)
        except LimitExceeded:
            self._quotas.count_refusal(self._limiter.name)
            raise
        try:
            self._take_bytes()
        except BaseException:
            self._limiter.leave(self._principal.name)
            raise

    def _take_bytes(self) -> None:
        if not self._bytes or self._limiter.budget is None:
            return
        self._quotas.take(self._principal, "message_bytes", self._bytes)
        try:
            take_bytes(self._limiter.budget, self._principal.name, self._bytes)
        except LimitExceeded:
            self._quotas.give(self._principal.name, "message_bytes", self._bytes)
            self._quotas.count_refusal(self._limiter.name)
            raise

    def settle(self, message: Message) -> None:
        """Give back what was set aside beyond the request's real size. May be called on any thread."""
        if self._bytes > (size := message.ByteSize() if self._bytes else 0):
            self._give_bytes(self._bytes - size)
            self._bytes = size

    def _give_bytes(self, count: int) -> None:
        if count > 0 and self._limiter.budget is not None:
            self._limiter.budget.give_back(count, self._principal.name)
            self._quotas.give(self._principal.name, "message_bytes", count)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._give_bytes(self._bytes)
        self._limiter.leave(self._principal.name)
        self._quotas.give(self._principal.name, self._quota)
