"""The real clamd behind the clamd door: a stream goes to it as it comes, and its answer comes back as it is.

FOUND     it found something; passed on unchanged
OK        it has read the whole stream and found nothing
ERROR     it said so, what it said was not understood, or it said nothing of a stream that it had begun to take
AWAY      it could not be reached, and has seen nothing of the stream

Only AWAY is for the caller to choose about. What happens after the first byte may be the upload's doing: one that is
longer than the real clamd takes resets the connection, and others slow or crash it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import struct
from enum import StrEnum
from typing import Final

import msgspec

from hashhub.errors import InvalidArgument

_log = logging.getLogger("hashhub.hook")

LENGTH: Final = struct.Struct("!L")  # before each chunk of a stream; 0 ends it
_LAST_PORT: Final = 0xFFFF
_CONNECT_SECONDS: Final = 5.0
_STALL_SECONDS: Final = 30.0  # it writes a stream to disk as it comes, so that only one in trouble takes none for long
_VERSION_SECONDS: Final = 5.0


class Kind(StrEnum):
    """What the real clamd's answer means."""

    OK = "OK"
    FOUND = "FOUND"
    ERROR = "ERROR"
    AWAY = "AWAY"


class ChainAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a stream, and its words (`stream: NAME FOUND`), without what ends them; empty where it is AWAY."""

    kind: Kind
    text: bytes = b""


_AWAY: Final = ChainAnswer(kind=Kind.AWAY)
_NO_ANSWER: Final = ChainAnswer(kind=Kind.ERROR, text=b"stream: the virus scanner gave no answer. ERROR")
_NOT_UNDERSTOOD: Final = ChainAnswer(
    kind=Kind.ERROR, text=b"stream: the virus scanner's answer was not understood. ERROR"
)


class Chain:
    """The way to the real clamd: a connection for each stream, as its other clients do."""

    def __init__(self, address: str, *, seconds: float) -> None:
        """`address`: HOST:PORT, or the path of a UNIX socket, which begins with a slash. `seconds`: for its answer,
        from a stream's end. Raises InvalidArgument for another address.
        """
        self.seconds = seconds
        self._path = address if address.startswith("/") else ""
        self._host, self._port = ("", 0) if self._path else host_and_port("clamd.chained", address)

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Return a new connection. Raises OSError, or TimeoutError (which is one)."""
        async with asyncio.timeout(_CONNECT_SECONDS):
            if self._path:
                return await asyncio.open_unix_connection(self._path)
            return await asyncio.open_connection(self._host, self._port)

    async def version(self) -> str:
        """Return what it answers to VERSION; empty where it is away."""
        try:
            reader, writer = await self.connect()
        except OSError as e:
            _log.warning("clamd: the real clamd cannot be reached: %s", e.strerror or type(e).__name__)
            return ""
        try:
            async with asyncio.timeout(_VERSION_SECONDS):
                writer.write(b"zVERSION\0")
                text = await reader.readuntil(b"\0")
        except (OSError, EOFError, asyncio.LimitOverrunError):
            return ""
        finally:
            writer.close()
        return text[:-1].decode("utf-8", "replace")

    async def scan(self) -> ChainScan:
        """Begin a stream. Never raises: where it is away, the answer will say so."""
        try:
            return ChainScan(await self.connect(), seconds=self.seconds)
        except OSError as e:
            _log.warning("clamd: the real clamd cannot be reached: %s", e.strerror or type(e).__name__)
            return ChainScan(None, seconds=self.seconds)


class ChainScan:
    """A stream to the real clamd. Written to by one task; nothing of it raises for what the real clamd does."""

    def __init__(self, connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None, *, seconds: float) -> None:
        self._seconds = seconds
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[bytes] | None = None
        self._is_whole = False
        if connection is not None:
            reader, self._writer = connection
            # Read from the start: it may answer in the middle (its own limit is lower than ours) and close, and what
            # is written then resets the connection with the answer in it.
            self._reading = asyncio.create_task(_words(reader))
            self._reading.add_done_callback(lambda task: task.cancelled() or task.exception())
            self._writer.write(b"zINSTREAM\0")

    async def write(self, piece: bytes) -> None:
        """Pass on the next bytes, one or more. Waits while it takes none."""
        await self._send(LENGTH.pack(len(piece)), piece)

    async def _send(self, *parts: bytes) -> bool:
        if self._writer is None or self._reading is None or self._reading.done():
            return False
        try:
            async with asyncio.timeout(_STALL_SECONDS):
                self._writer.writelines(parts)
                await self._writer.drain()
        except OSError:
            self._writer.close()  # an answer that came before is still read
            self._writer = None
            return False
        return True

    async def answer(self) -> ChainAnswer:
        """End the stream and return the answer."""
        self._is_whole = await self._send(LENGTH.pack(0))
        if self._reading is None:
            return _AWAY
        try:
            async with asyncio.timeout(self._seconds):
                text = await self._reading
        except TimeoutError:
            _log.warning("clamd: the real clamd gave no answer within %g s", self._seconds)
            return _NO_ANSWER
        except (OSError, EOFError, asyncio.LimitOverrunError):
            _log.warning("clamd: the real clamd went away in the middle of a stream")
            return _NO_ANSWER
        finally:
            self.close()
        return self._understood(text)

    def _understood(self, text: bytes) -> ChainAnswer:
        is_line = all(byte >= ord(" ") for byte in text)
        if is_line and text.startswith(b"stream: ") and text.endswith(b" FOUND"):
            return ChainAnswer(kind=Kind.FOUND, text=text)
        if is_line and text.endswith(b" ERROR"):
            return ChainAnswer(kind=Kind.ERROR, text=text)
        if text == b"stream: OK" and self._is_whole:
            return ChainAnswer(kind=Kind.OK, text=text)
        _log.warning("clamd: the real clamd's answer was not understood: %r", text[:200])
        return _NOT_UNDERSTOOD

    def close(self) -> None:
        """Let go of the connection, the stream being whole or not."""
        if self._reading is not None:
            self._reading.cancel()
        if self._writer is not None:
            with contextlib.suppress(OSError):
                self._writer.close()


async def _words(reader: asyncio.StreamReader) -> bytes:
    """Return an answer without the zero byte that ends it; at most 64 KiB, asyncio's own limit."""
    return (await reader.readuntil(b"\0"))[:-1]


def host_and_port(field: str, address: str) -> tuple[str, int]:
    """Return both parts of HOST:PORT ([HOST]:PORT for IPv6). Raises InvalidArgument."""
    host, colon, port = address.rpartition(":")
    if not colon or not host or not (port.isascii() and port.isdigit()) or int(port) > _LAST_PORT:
        raise InvalidArgument.field(field, f"must be HOST:PORT, or the path of a socket; got {address!r}")
    return host.removeprefix("[").removesuffix("]"), int(port)
