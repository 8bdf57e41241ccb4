"""What a request brings, piece by piece, within bounds of bytes and time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, Final

from hashhub.errors import Cancelled, LimitExceeded, Reason, Unavailable

if TYPE_CHECKING:
    from starlette.types import Receive

    from hashhub.hook.settings import SidecarSettings
    from hashhub.hook.sidecar.turns import Turn

_SLOWEST: Final = 16  # a sender for whose place nobody waits may be so many times slower than others


class RequestBody:
    """A request's body. `size`: bytes so far; `is_whole`: it came to its end."""

    def __init__(self, receive: Receive, settings: SidecarSettings, *, most: int, turn: Turn | None = None) -> None:
        """`most`: bytes that are read; the piece that goes beyond is the last. `turn`: of the upload that it brings,
        which has a place whenever a piece is given.
        """
        self._receive = receive
        self._most = most
        self._turn = turn
        self._settings = settings
        self.size = 0
        self.is_whole = False

    async def pieces(self) -> AsyncIterator[bytes]:
        """Give the pieces as they come, and end early once there are more bytes than may be read.

        Raises Cancelled when the caller has gone, Unavailable when it sends too slowly, and LimitExceeded when it gets
        no place for what has come.
        """
        waited = 0.0
        while not self.is_whole and self.size <= self._most:
            # Only the time that the sender takes counts, not what is done with a piece.
            least = self._settings.slow_bytes_a_second / _SLOWEST
            allowed = self._settings.slow_seconds + self.size / least - waited
            began = asyncio.get_running_loop().time()
            message = await self._next(min(self._settings.slow_seconds, max(allowed, 0.0)))
            waited += asyncio.get_running_loop().time() - began
            if message["type"] == "http.disconnect":
                raise Cancelled("the caller has gone", reason=Reason.CALLER_GONE)
            piece: bytes = message.get("body", b"")
            self.is_whole = not message.get("more_body", False)
            self.size += len(piece)
            if self._turn is not None and (piece or self.is_whole):
                await self._turn.take()
            if piece:
                yield piece

    async def _next(self, seconds: float) -> Any:
        message: Any = {}
        try:
            async with asyncio.timeout(seconds) as patience:
                if self._turn is not None:
                    self._turn.begin(patience)
                message = await self._receive()
        except TimeoutError as e:
            raise Unavailable(
                f"the body came slower than {self._settings.slow_bytes_a_second} bytes a second; send it again",
                reason=Reason.SLOW_SENDER,
            ) from e
        finally:
            if self._turn is not None:
                self._turn.came(len(message.get("body", b"")))
        return message

    async def all(self, most: int) -> bytes:
        """Return a body that may have so many bytes at most. Raises LimitExceeded, and what `pieces` raises."""
        content = bytearray()
        async for piece in self.pieces():
            content += piece
            if len(content) > most:
                raise LimitExceeded(f"the body has more than {most} bytes; send less", reason=Reason.TOO_LARGE)
        return bytes(content)
