"""Whose upload is received or decided over: as many at once as the sidecar takes, and no place for who sends nothing.

A place is taken with an upload's first bytes. While others wait, one whose sender is behind lends its place, and takes
one again with its next bytes; what has come of it stays. So senders that stall hold nobody up, and one that is only
slow loses nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from hashhub.byte_budget import ByteBudget
from hashhub.errors import LimitExceeded

if TYPE_CHECKING:
    from hashhub.hook.settings import SidecarSettings
    from hashhub.hook.sidecar.counts import SidecarMetrics

_RETRY_SECONDS: Final = 1
_BEHIND_SECONDS: Final = 0.25
"""So far behind `slow_bytes_a_second` a sender lends its place. An answer from the other side of the world takes as
long; it must be short, as each of many new senders can stall for it.
"""
_LOOK_SECONDS: Final = 0.05  # between looks who is behind, while somebody waits


class Turns:
    """The places, who has them and who waits. Belongs to one event loop."""

    def __init__(self, settings: SidecarSettings, counts: SidecarMetrics, *, most_lent_bytes: int) -> None:
        """`most_lent_bytes`: of uploads that have lent their places; one that would be beyond is cut off instead."""
        self._settings = settings
        self._counts = counts
        self._free = asyncio.Semaphore(settings.max_uploads)
        self.lent = ByteBudget(most_lent_bytes)
        self._receiving: set[Turn] = set()  # with a place, while their senders are waited for
        self._waiting = 0
        self._look: asyncio.TimerHandle | None = None

    @contextmanager
    def turn(self) -> Iterator[Turn]:
        """Give an upload a turn, which has no place yet."""
        turn = Turn(self, self._settings.slow_bytes_a_second)
        try:
            yield turn
        finally:
            self._end(turn)

    async def take(self, turn: Turn) -> None:
        """Take a place. Raises LimitExceeded when that takes too long."""
        if turn.has_place:
            return
        if self._free.locked():
            await self._wait()
        else:
            await self._free.acquire()  # at once
        self.lent.give_back(turn.lent_bytes)
        turn.lent_bytes = 0
        turn.has_place = True
        self._counts.in_progress += 1

    async def _wait(self) -> None:
        self._waiting += 1
        if self._look is None:
            self._look_later()
        try:
            async with asyncio.timeout(self._settings.wait_seconds):
                await self._free.acquire()
        except TimeoutError as e:
            raise LimitExceeded(
                f"{self._settings.max_uploads} uploads are being checked, as many as this sidecar takes; send it again",
                retry_after=_RETRY_SECONDS,
            ) from e
        finally:
            self._waiting -= 1

    def begin(self, turn: Turn, patience: asyncio.Timeout) -> None:
        """Say that the upload's sender is waited for. `patience`: brought to its end where it is to be cut off."""
        turn.patience = patience
        turn.since = asyncio.get_running_loop().time()
        if turn.has_place:
            self._receiving.add(turn)

    def came(self, turn: Turn, count: int) -> None:
        """Say that so many bytes have come; 0 where none will."""
        turn.debt = max(0.0, turn.behind(asyncio.get_running_loop().time()) - count / turn.bytes_a_second)
        turn.patience = None
        turn.size += count
        self._receiving.discard(turn)

    def _reclaim(self) -> None:
        """Have as many places lent as others wait for, by those who are behind, the slowest first."""
        self._look = None
        if not self._waiting:
            return
        at = asyncio.get_running_loop().time()
        behind = [turn for turn in self._receiving if turn.behind(at) > _BEHIND_SECONDS]
        for turn in sorted(behind, key=lambda turn: turn.behind(at), reverse=True)[: self._waiting]:
            self._receiving.discard(turn)
            if not self.lent.take(turn.size):
                if turn.patience is not None:
                    turn.patience.reschedule(at)
                continue
            turn.lent_bytes = turn.size
            self._give_back(turn)
        self._look_later()

    def _look_later(self) -> None:
        loop = asyncio.get_running_loop()
        # A step after the timer: what came while the loop stood still is taken in before anybody is held to be behind.
        self._look = loop.call_later(_LOOK_SECONDS, loop.call_soon, self._reclaim)

    def _give_back(self, turn: Turn) -> None:
        turn.has_place = False
        self._counts.in_progress -= 1
        self._free.release()

    def _end(self, turn: Turn) -> None:
        self._receiving.discard(turn)
        self.lent.give_back(turn.lent_bytes)
        turn.lent_bytes = 0
        if turn.has_place:
            self._give_back(turn)


class Turn:
    """One upload's turn: whether it has a place, how much has come, and how far its sender is behind."""

    def __init__(self, turns: Turns, bytes_a_second: float) -> None:
        self._turns = turns
        self.bytes_a_second = bytes_a_second
        self.has_place = False
        self.size = 0
        self.lent_bytes = 0
        self.debt = 0.0  # seconds; what came fast before excuses no stall
        self.since = 0.0
        self.patience: asyncio.Timeout | None = None

    def behind(self, at: float) -> float:
        """Return by how many seconds the sender is behind, while it is waited for."""
        return self.debt + at - self.since

    async def take(self) -> None:
        """Take a place, if it has none. Raises LimitExceeded when that takes too long."""
        await self._turns.take(self)

    def begin(self, patience: asyncio.Timeout) -> None:
        """Say that the sender is waited for, as `Turns.begin`."""
        self._turns.begin(self, patience)

    def came(self, count: int) -> None:
        """Say that so many bytes have come."""
        self._turns.came(self, count)
