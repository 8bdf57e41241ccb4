"""What a request brings, and whose upload is received or decided over: as many at once as the sidecar takes, and no
place for who sends nothing.

A place is taken with an upload's first bytes. While others wait, one whose sender is behind lends its place, and takes
one again with its next bytes; what has come of it stays. So senders that stall hold nobody up, and one that is only
slow loses nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

from hashhub.errors import Cancelled, LimitExceeded, Reason, Unavailable
from hashhub.senders import ByteBudget, Message, SenderPace

if TYPE_CHECKING:
    from starlette.types import Receive

    from hashhub.hook.settings import SidecarSettings
    from hashhub.hook.sidecar.counts import SidecarMetrics

_SLOWEST: Final = 16  # a sender for whose place nobody waits may be so many times slower than others
_RETRY_SECONDS: Final = 1
_BEHIND_SECONDS: Final = 0.25
"""So far behind `slow_bytes_a_second` a sender lends its place. An answer from the other side of the world takes as
long; it must be short, as each of many new senders can stall for it.
"""
_LOOK_SECONDS: Final = 0.05  # between looks who is behind, while somebody waits


class UploadTurns:
    """The places, who has them and who waits. Belongs to one event loop."""

    def __init__(self, settings: SidecarSettings, counts: SidecarMetrics, *, most_lent_bytes: int) -> None:
        """`most_lent_bytes`: of uploads that have lent their places; one that would be beyond is cut off instead."""
        self._settings = settings
        self.counts = counts
        self.free = asyncio.Semaphore(settings.max_uploads)
        self.lent = ByteBudget(most_lent_bytes)
        self.receiving: set[Turn] = set()  # with a place, while their senders are waited for
        self._waiting = 0
        self._look: asyncio.TimerHandle | None = None

    @contextmanager
    def turn(self) -> Iterator[Turn]:
        """Give an upload a turn, which has no place yet."""
        turn = Turn(self, self._settings.slow_bytes_a_second)
        try:
            yield turn
        finally:
            turn.end()

    async def wait(self) -> None:
        """Wait for a free place. Raises LimitExceeded when that takes too long."""
        self._waiting += 1
        if self._look is None:
            self._look_later()
        try:
            async with asyncio.timeout(self._settings.wait_seconds):
                await self.free.acquire()
        except TimeoutError as e:
            raise LimitExceeded(
                f"{self._settings.max_uploads} uploads are being checked, as many as this sidecar takes; send it again",
                retry_after=_RETRY_SECONDS,
            ) from e
        finally:
            self._waiting -= 1

    def _reclaim(self) -> None:
        """Have as many places lent as others wait for, by those who are behind, the slowest first."""
        self._look = None
        if not self._waiting:
            return
        at = asyncio.get_running_loop().time()
        behind = [turn for turn in self.receiving if turn.pace.deadline < at]
        for turn in sorted(behind, key=lambda turn: turn.pace.deadline)[: self._waiting]:
            turn.lend()
        self._look_later()

    def _look_later(self) -> None:
        loop = asyncio.get_running_loop()
        # A step after the timer: what came while the loop stood still is taken in before anybody is held to be behind.
        self._look = loop.call_later(_LOOK_SECONDS, loop.call_soon, self._reclaim)


class Turn:
    """One upload's turn: whether it has a place, how much has come, and the pace by which its sender keeps it."""

    def __init__(self, turns: UploadTurns, bytes_a_second: float) -> None:
        self._turns = turns
        self.pace = SenderPace(bytes_a_second, _BEHIND_SECONDS, clock=asyncio.get_running_loop().time)
        self.has_place = False
        self._size = 0
        self._lent_bytes = 0

    async def take(self) -> None:
        """Take a place, if it has none. Raises LimitExceeded when that takes too long."""
        if self.has_place:
            return
        if self._turns.free.locked():
            await self._turns.wait()
        else:
            await self._turns.free.acquire()  # at once
        self._repay()
        self.has_place = True
        self._turns.counts.in_progress += 1

    async def next(self, body_pace: SenderPace, receive: Receive) -> Message:
        """Return the next message as `body_pace.next` does, by which the sender is cut off."""
        self._body_pace = body_pace
        self.pace.wait()
        if self.has_place:
            self._turns.receiving.add(self)
        count = 0
        try:
            message = await body_pace.next(receive)
            count = len(message.get("body", b""))
        finally:
            self.pace.came(count)
            self._size += count
            self._turns.receiving.discard(self)
        return message

    def lend(self) -> None:
        """Let others have the place; where too much was lent already, the sender is cut off."""
        self._turns.receiving.discard(self)
        if self._turns.lent.take(self._size):
            self._lent_bytes = self._size
            self._give_back()
        else:
            self._body_pace.cut_off()

    def end(self) -> None:
        """Let go of the place, and of what came."""
        self._turns.receiving.discard(self)
        self._repay()
        if self.has_place:
            self._give_back()

    def _repay(self) -> None:
        self._turns.lent.give_back(self._lent_bytes)
        self._lent_bytes = 0

    def _give_back(self) -> None:
        self.has_place = False
        self._turns.counts.in_progress -= 1
        self._turns.free.release()


class UploadBody:
    """A request's body. `size`: bytes so far; `is_whole`: it came to its end."""

    def __init__(self, receive: Receive, settings: SidecarSettings, *, most: int, turn: Turn | None = None) -> None:
        """`most`: bytes that are read, and one piece beyond. `turn`: has a place whenever a piece is given."""
        self._receive = receive
        self._most = most
        self._turn = turn
        self._settings = settings
        least, clock = settings.slow_bytes_a_second / _SLOWEST, asyncio.get_running_loop().time
        pace = SenderPace(least, settings.slow_seconds, self._too_slow, clock=clock)
        self._next = pace.next if turn is None else partial(turn.next, pace)
        self.size = 0
        self.is_whole = False

    async def pieces(self) -> AsyncIterator[bytes]:
        """Give the pieces as they come, until there are more bytes than may be read. Raises Cancelled without a caller,
        Unavailable when it is slow, LimitExceeded without a place.
        """
        while not self.is_whole and self.size <= self._most:
            message = await self._next(self._receive)
            if message["type"] == "http.disconnect":
                raise Cancelled("the caller has gone", reason=Reason.CALLER_GONE)
            piece: bytes = message.get("body", b"")
            self.is_whole = not message.get("more_body", False)
            self.size += len(piece)
            if self._turn is not None and (piece or self.is_whole):
                await self._turn.take()
            if piece:
                yield piece

    def _too_slow(self) -> Unavailable:
        return Unavailable(
            f"the body came slower than {self._settings.slow_bytes_a_second} bytes a second; send it again",
            reason=Reason.SLOW_SENDER,
        )

    async def all(self, most: int) -> bytes:
        """Return a body that may have so many bytes at most. Raises LimitExceeded, and what `pieces` raises."""
        content = bytearray()
        async for piece in self.pieces():
            content += piece
            if len(content) > most:
                raise LimitExceeded(f"the body has more than {most} bytes; send less", reason=Reason.TOO_LARGE)
        return bytes(content)
